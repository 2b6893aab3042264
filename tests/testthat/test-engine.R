# The compiled engine, against the slow interpreter of helper-program.R, the slow scores of
# helper-oracle.R, and under changes that must not affect a run: lanes, threads, instruction set,
# chunks.

every_sampler <- function(steps = 12, grid = "quadratic", end = .01) {
  c(lapply(unname(mixguide:::shipped_samplers()), function(make) make(steps, grid, end)),
    list(sampler_ddim(steps, grid, end, eta = .6)))
}

# The run in slow R, from the noise that guided_sample() is given.
slow_run <- function(plain, sampler, schedule, horizon, noise, class = NULL, strength = 0) {
  times <- sampler_times(sampler, schedule, horizon)
  score_at <- function(x, t) {
    oracle_rows(oracle_guided(plain, class, strength, schedule$a(t), schedule$b2(t), by_formula), x)
  }
  sd <- if (schedule$vp) 1 else sqrt(schedule$b2(times[1]))
  slice <- function(i) matrix(noise[, , i], nrow(noise))
  jacobian_at <- function(x, t) {
    score_jacobian(plain$mixture, x, t, schedule, if (!is.null(class)) guidance(class, strength))
  }
  # the engine runs along the eigenvectors of a common covariance
  common <- plain$mixture$form == "common full"
  interpret_program(sampler_program(sampler, times, schedule), sd * slice(1), score_at,
                    function(i) slice(i + 1), jacobian_at,
                    if (common) plain$mixture$vectors else diag(ncol(noise)))
}

# A run of the engine, prepared except for the settings that must not affect its result.
prepared <- function(mixture, sampler, guide = guidance("a", 1), derivative = "none", save = FALSE,
                     horizon = 3) {
  schedule <- schedule_ou()
  times <- sampler_times(sampler, schedule, horizon)
  models <- guidance_models(guide, mixture)
  program <- compile_program(sampler_program(sampler, times, schedule), times,
                             mixture_dim(mixture), 1, derivative, save, times[length(times)],
                             nrow(models$models))
  levels <- list(a = schedule$a(program$level_times), b2 = schedule$b2(program$level_times),
                 coef = vapply(program$level_times, models$coef, double(nrow(models$models))))
  function(n, ...) {
    run <- core_run(core_pool(mixture), models$models, levels, program, n,
                    scalars = seq_len(program$scalars), key = c(12, 34), ...)
    # one row per particle
    cbind(matrix(run$output, n), do.call(cbind, run$scalar))
  }
}

# The log-density that a run carries along, against log|det| of its whole map by numerical
# differentiation; and the flag of folds, against the sign of the determinant.
map_error <- function(m, sampler, z, guide, horizon = 2) {
  map <- function(z, how = "none") {
    guided_sample(m, nrow(z), guide, sampler, horizon = horizon, noise = array(z, c(dim(z), 1)),
                  log_density = how)
  }
  run <- map(t(z), "map")
  truth <- determinant(slopes_of_map(function(z) map(z)$x, z))
  c(error = abs(run$log_density - (sum(dnorm(z, log = TRUE)) - truth$modulus[1])),
    sign = abs(run$folded - (truth$sign < 0)))
}

engine_name <- function() .Call(ffi_engine)

# ---- The interpreter

test_that("every sampler gives what the slow interpreter gives", {
  set.seed(201)
  for (form in c("isotropic", "common full", "full")) {
    plain <- random_mixture(form, 2, 4)
    for (sampler in every_sampler()) {
      # a triangular root is that of the run's coordinates, here the eigenvectors
      if (form == "common full" && identical(sampler$params$variance, "matched")) next
      noise <- NULL
      run <- guided_sample(plain$mixture, 3, guidance("a", .8), sampler, horizon = 2,
                           noise = function(n, d, m) noise <<- array(rnorm(n * d * m), c(n, d, m)))
      slow <- slow_run(plain, sampler, schedule_ou(), 2, noise, "a", .8)
      expect_lt(max(abs(run$x - slow)) / max(abs(slow)), 1e-12, label = paste(form, sampler$label))
    }
  }
})

test_that("so it does under every schedule, in one dimension and in five", {
  skip_on_cran()
  set.seed(202)
  schedules <- list(schedule_vp(), schedule_cosine(), schedule_ve(), schedule_subvp(),
                    schedule_flow(), schedule_ddpm(1 - seq(1e-3, .05, length.out = 50)))
  for (schedule in schedules) {
    plain <- random_mixture("diagonal", if (schedule$name == "ve") 1 else 5, 3)
    for (sampler in every_sampler(8, end = .02 * schedule$max)) {
      noise <- NULL
      run <- guided_sample(plain$mixture, 2, guidance("b", 1), sampler, schedule,
                           noise = function(n, d, m) noise <<- array(rnorm(n * d * m), c(n, d, m)))
      slow <- slow_run(plain, sampler, schedule, schedule$horizon, noise, "b", 1)
      # of a clipped covariance, a root has half the digits
      expect_lt(max(abs(run$x - slow)) / max(abs(slow)), if (any(run$clipped)) 1e-6 else 1e-11,
                label = paste(schedule$name, sampler$label))
    }
  }
})

test_that("coefficients may differ from coordinate to coordinate", {
  set.seed(203)
  h <- c(.1, .05, .2)
  step <- function(k, times, schedule) {
    list(op_eval("s", "x", times[k]),
         op_noise("z"),
         op_linear("y", list(x = 1 + h, s = h, z = .3 * h)),
         op_eval("s", "y", times[k + 1]),
         op_linear("x", list(x = .5, y = .5, s = h / 2, z = c(.1, 0, -.1))))
  }
  sampler <- sampler("test", step, 6, end = .1, stochastic = TRUE)
  still <- sampler("test", function(k, times, schedule) {
    ops <- step(k, times, schedule)[-2]
    lapply(ops, function(op) {
      if (op$op == "linear") op$coef$z <- NULL
      op
    })
  }, 6, end = .1)
  for (form in c("isotropic", "common full", "full", "common diagonal")) {
    plain <- random_mixture(form, 3, 3)
    noise <- array(rnorm(2 * 3 * 7), c(2, 3, 7))
    run <- guided_sample(plain$mixture, 2, guidance("a", 2), sampler, horizon = 1, noise = noise)
    slow <- slow_run(plain, sampler, schedule_ou(), 1, noise, "a", 2)
    expect_lt(max(abs(run$x - slow)), 1e-12 * max(abs(slow)))
    # their map has the right determinant, too
    expect_lt(max(map_error(plain$mixture, still, noise[1, , 1], NULL, 1)), 1e-8)
    # the divergence form takes scalars only
    expect_mixguide_error(guided_sample(plain$mixture, 1, NULL, still, horizon = 1,
                                        log_density = "divergence"), "log_density")
  }
})

test_that("a register keeps its value from step to step", {
  # two-step Adams-Bashforth reads the score of the step before
  step <- function(k, times, schedule) {
    h <- times[k] - times[k + 1]
    if (k == 1) return(list(op_eval("s", "x", times[k]), op_linear("old", c(s = 1)),
                            op_linear("x", c(x = 1 + h, s = h))))
    list(op_eval("s", "x", times[k]), op_linear("x", c(x = 1 + h, s = 1.5 * h, old = -.5 * h)),
         op_linear("old", c(s = 1)), op_linear("x", c(x = 1)))
  }
  two_step <- sampler("ab2", step, 10, divergence = FALSE)
  set.seed(204)
  plain <- random_mixture("full", 2, 3)
  noise <- array(rnorm(6), c(3, 2, 1))
  run <- guided_sample(plain$mixture, 3, guidance("a", 1), two_step, noise = noise, horizon = 2)
  slow <- slow_run(plain, two_step, schedule_ou(), 2, noise, "a", 1)
  expect_lt(max(abs(run$x - slow)), 1e-12 * max(abs(slow)))
  expect_lt(max(map_error(plain$mixture, two_step, noise[1, , 1], guidance("a", 1))), 1e-6)
})

# ---- What must not matter

test_that("bits do not depend on lanes, threads or chunks", {
  set.seed(205)
  samplers <- list(sampler_ddpm(5), sampler_dpmpp_2m(5, end = .1), sampler_heun(5))
  for (form in FORMS) for (sampler in samplers) {
    m <- random_mixture(form, 3, 3)$mixture
    derivative <- if (sampler$stochastic) "none" else "map"
    run <- prepared(m, sampler, derivative = derivative, save = TRUE)
    n <- 1100
    reference <- with_threads(1, run(n))
    expect_true(all(is.finite(reference)))
    for (lanes in c(8L, 16L, 64L, 512L)) expect_identical(run(n, lanes = lanes), reference)
    for (threads in c(2, 7)) expect_identical(with_threads(threads, run(n)), reference)
    expect_identical(with_threads(7, run(n, lanes = 8L)), reference)
    for (cut in c(1, 8, 500)) {
      expect_identical(rbind(run(cut), run(n - cut, first = cut)), reference)
    }
  }
})

test_that("a particle's noise is that of its number, however large", {
  m <- gaussmix(1, c(0, 0, 0), 1)
  run <- prepared(m, sampler_em(2), guide = NULL)
  far <- run(20, first = 2^40)
  expect_identical(run(3, first = 2^40 + 17), far[18:20, ])
  expect_false(any(far[, 1:3] == run(20)[, 1:3]))
})

test_that("every instruction set agrees with the slow interpreter and with the others", {
  set.seed(206)
  best <- engine_name()
  available <- unique(vapply(c("portable", "avx2", "avx512"),
                             function(name) with_engine(name, engine_name()), ""))
  expect_true("portable" %in% available)
  expect_true(best %in% available)
  for (form in FORMS) {
    m <- random_mixture(form, 5, 4)$mixture
    x <- matrix(rnorm(5 * 37, 0, 2), 37)
    run <- function() {
      list(score(m, x, .1, guidance = guidance("a", 3)), score_jacobian(m, x, .1), posterior(m, x),
           dgaussmix(x, m, log = TRUE),
           guided_sample(m, 37, guidance("a", 1), sampler_heun(10), key = c(5, 6))$log_density,
           guided_sample(m, 37, guidance("a", 1), sampler_ddpm(10), key = c(5, 6))$x,
           guided_sample(m, 37, NULL, sampler_euler(10), key = c(5, 6),
                         log_density = "divergence")$log_density)
    }
    results <- lapply(available, function(name) with_engine(name, run()))
    for (i in seq_along(available)[-1]) {
      for (j in seq_along(results[[1]])) {
        scale <- max(abs(results[[1]][[j]]))
        expect_lt(max(abs(results[[i]][[j]] - results[[1]][[j]])) / scale, 1e-12,
                  label = paste(available[i], form, j))
      }
    }
  }
})

# ---- The log-density of the map

test_that("the log-density of a map is that of numerical differentiation", {
  set.seed(207)
  samplers <- Filter(function(s) !s$stochastic, every_sampler(10))
  for (d in 1:3) for (form in c("isotropic", "common full", "full")) for (sampler in samplers) {
    m <- random_mixture(form, d, 3)$mixture
    expect_lt(max(map_error(m, sampler, rnorm(d), guidance("a", 1))), 1e-6,
              label = paste(form, d, sampler$label))
  }
})

test_that("the determinant is right in nine dimensions, where pivots change places", {
  set.seed(208)
  for (form in c("diagonal", "full")) {
    m <- random_mixture(form, 9, 4)$mixture
    for (make in list(sampler_dpmpp_2m, sampler_heun)) {
      sampler <- make(6, "quadratic", .05)
      expect_lt(map_error(m, sampler, rnorm(9), guidance("b", 2))["error"], 1e-7)
    }
  }
  # Jacobians c I - P with zeros on the diagonal need a pivot exchange: determinants -q^2 and q^2 p
  P <- matrix(c(2, 1, 0, 1, 2, 0, 0, 0, 3), 3)
  step <- function(k, times, schedule) list(op_eval("s", "x", 0), op_linear("x", c(x = 2, s = 1)))
  for (d in 2:3) {
    # a second component, far away, keeps the covariances different
    m <- gaussmix(c(1, 1), rbind(rep(0, d), rep(1e3, d)), list(solve(P[1:d, 1:d]), 1))
    exchange <- sampler("exchange", step, 1, divergence = FALSE)
    run <- guided_sample(m, 5, NULL, exchange,
                         noise = array(rep(c(.3, .1, -.2)[1:d], each = 5), c(5, d, 1)))
    expect_identical(run$folded, rep(d == 2, 5))
    expect_equal(run$log_density, rep(sum(dnorm(c(.3, .1, -.2)[1:d], log = TRUE)), 5),
                 tolerance = 1e-12)
  }
})

test_that("in one dimension the density follows by the change of variables", {
  m <- gaussmix(c(.3, .7), c(-1.5, 1), c(.3, 1), class = c("a", "b"))
  z <- seq(-8, 8, length.out = 4001)
  for (sampler in list(sampler_ddim(60, grid = "quadratic"), sampler_rk4(60, "quadratic"),
                       sampler_dpmpp_2m(60, "quadratic"), sampler_heun(60, "quadratic"))) {
    for (guide in list(NULL, guidance("a", 1), guidance("b", 3))) {
      run <- guided_sample(m, 4001, guide, sampler, noise = array(z, c(4001, 1, 1)))
      x <- run$x[, 1]
      expect_true(all(diff(x) > 0) && !any(run$folded))
      # the density between neighbours equals the probability that started between them
      middle <- (run$log_density[-1] + run$log_density[-4001]) / 2
      expect_equal(exp(middle[1000:3000]), (diff(pnorm(z)) / diff(x))[1000:3000], tolerance = 1e-4)
      expect_equal(sum(exp(middle) * diff(x)), 1, tolerance = 1e-4)
    }
  }
  # unguided, with fine steps, the density is that of the mixture itself
  run <- guided_sample(m, 4001, NULL, sampler_rk4(100, "quadratic"), horizon = 8,
                       noise = array(z, c(4001, 1, 1)))
  inside <- abs(z) < 3
  expect_equal(run$log_density[inside], dgaussmix(run$x, m, log = TRUE)[inside], tolerance = 1e-3)
})

test_that("the divergence form converges to the map as steps grow, at the sampler's order", {
  m <- gaussmix(c(.4, .6), rbind(c(-1, 0), c(1, 1)), list(.5, c(1, .3)), class = c("a", "b"))
  gap <- function(make, steps) {
    vapply(steps, function(steps) {
      run <- function(how) {
        guided_sample(m, 200, guidance("a", 1), make(steps, grid = "quadratic"), log_density = how,
                      key = c(1, 2))
      }
      mean(abs(run("divergence")$log_density - run("map")$log_density))
    }, 0)
  }
  for (make in list(sampler_euler, sampler_ddim, sampler_exponential)) {
    ratio <- gap(make, c(100, 200))
    expect_equal(ratio[1] / ratio[2], 2, tolerance = .1)
  }
  ratio <- gap(sampler_heun, c(50, 100))
  expect_gt(ratio[1] / ratio[2], 3)
  ratio <- gap(sampler_rk4, c(30, 60))
  expect_gt(ratio[1] / ratio[2], 10)
})

test_that("folds are flagged where the map of D3 folds (theory/folds.csv), and nowhere else", {
  D3 <- gaussmix(rep(1, 3), c(0, -3, 3), 1)
  z <- seq(-4, 4, length.out = 2001)
  fold <- function(strength, steps = 20) {
    run <- guided_sample(D3, 2001, guidance("1", strength), sampler_euler(steps, "uniform"),
                         noise = array(z, c(2001, 1, 1)), trajectory = TRUE)
    list(flag = mean(run$folded),
         # a negative slope between neighbours at some step
         seen = any(apply(run$trajectory[, , 1], 1, function(x) any(diff(x) * sign(diff(z)) < 0))),
         run = run)
  }
  for (strength in c(0, 1, 4)) {
    found <- fold(strength)
    expect_identical(found$flag, 0)
    expect_false(found$seen)
  }
  for (strength in c(30, 60)) {
    found <- fold(strength)
    expect_gt(found$flag, .1)
    expect_true(found$seen)
  }
  # the entropy of theory section 2.8: .3122 at strength 1, -6.1537 at 4, 3.3794 at 30
  entropy <- function(strength) {
    n <- 40001
    z <- seq(-9, 9, length.out = n)
    run <- guided_sample(D3, n, guidance("1", strength), sampler_euler(20, "uniform"),
                         noise = array(z, c(n, 1, 1)))
    sum(-run$log_density * dnorm(z)) / sum(dnorm(z))
  }
  expect_equal(c(entropy(1), entropy(4), entropy(30)), c(.3122, -6.1537, 3.3794), tolerance = 2e-4)
  # two folds in one step give a positive determinant, and the flag uses its sign only
  flat <- sampler("flip", function(k, times, schedule) list(op_linear("x", c(x = -1))), 1)
  expect_true(all(guided_sample(D3, 5, NULL, flat)$folded))
  expect_false(any(guided_sample(gaussmix(1, c(0, 0), 1), 5, NULL, flat)$folded))
})

test_that("a map that squashes everything to a point has log-density Inf, not NaN", {
  m <- gaussmix(1, c(0, 0), 1)
  squash <- sampler("squash", function(k, times, schedule) list(op_linear("x", c(x = 0))), 2)
  run <- guided_sample(m, 3, NULL, squash, log_density = "map")
  expect_identical(run$log_density, rep(Inf, 3))
  expect_equal(run$x, matrix(0, 3, 2), ignore_attr = TRUE)
})

test_that("trajectories lead from the start to x, and keep bits", {
  set.seed(209)
  for (form in c("isotropic", "common full", "full")) {
    m <- random_mixture(form, 2, 3)$mixture
    start <- matrix(rnorm(10), 5)
    for (make in list(sampler_ddim, sampler_dpmpp_2m, sampler_rk4)) {
      sampler <- make(7, end = .1)
      run <- guided_sample(m, guidance = guidance("a", 1), sampler = sampler, start = start,
                           trajectory = TRUE)
      short <- guided_sample(m, guidance = guidance("a", 1), sampler = sampler, start = start)
      expect_identical(dim(run$trajectory), c(8L, 5L, 2L))
      expect_equal(run$trajectory[1, , ], start, tolerance = 1e-15, ignore_attr = TRUE)
      expect_identical(unname(run$trajectory[8, , ]), unname(run$x))
      expect_identical(short$x, run$x)
      expect_null(short$trajectory)
      # each state is the start of the rest of the run
      later <- mixguide::sampler("later", sampler$step, grid = run$times[5:8])
      if (sampler$name != "dpmpp_2m") {
        rest <- guided_sample(m, guidance = guidance("a", 1), sampler = later,
                              start = run$trajectory[5, , ])
        expect_equal(rest$x, run$x, tolerance = 1e-13)
      }
    }
  }
})

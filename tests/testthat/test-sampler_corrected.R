# A run of operations, against a loop that draws the same noises in the same order.
expect_loop <- function(sampler, loop, horizon = 1) {
  withr::local_seed(1)
  times <- sampler_times(sampler, schedule_ou(), horizon)
  program <- sampler_program(sampler, times, schedule_ou())
  count <- sum(vapply(unlist(program, recursive = FALSE), function(op) op$op == "noise", NA))
  noise <- matrix(rnorm(3 * count), 3)
  mixture <- named_mixture("A1")
  s <- function(x, t) score(mixture, x, t)
  result <- interpret_program(program, matrix(c(-1, .3, 2)), s, function(i) noise[, i])
  drawn <- 0
  truth <- loop(matrix(c(-1, .3, 2)), times, s, function() noise[, drawn <<- drawn + 1])
  expect_identical(drawn, count + 0)
  expect_equal(result, truth, tolerance = 1e-12)
}

ode_step <- function(x, t, u, s) exp(t - u) * x + expm1(t - u) * s(x, t)

test_that("an overdamped corrector is the unadjusted Langevin algorithm, where it is asked for", {
  predictor <- sampler_exponential(6, grid = "uniform", end = .1)
  loop <- function(after, steps, size) {
    function(x, times, s, z) {
      for (k in 1:6) {
        u <- times[k + 1]
        x <- ode_step(x, times[k], u, s)
        h <- size(u)
        for (i in seq_len(steps * (k %in% after))) x <- x + h * s(x, u) + sqrt(2 * h) * z()
      }
      x
    }
  }
  expect_loop(sampler_corrected(predictor, corrector_langevin(.03)), loop(1:6, 1, function(t) .03))
  expect_loop(sampler_corrected(predictor, corrector_langevin(.03, 3), after = c(2, 6)),
              loop(c(2, 6), 3, function(t) .03))
  expect_loop(sampler_corrected(predictor, corrector_langevin(function(t) t / 20, 2)),
              loop(1:6, 2, function(t) t / 20))
})

test_that("an underdamped corrector is the exponential integrator of Langevin dynamics", {
  one <- underdamped_constants(.1, 4)
  # the covariance of (xi, eta) by quadrature over the times r before the end at which noise enters
  g <- 4
  root <- function(f) integrate(f, 0, .1, rel.tol = 1e-13)$value
  of_v <- function(r) exp(-g * r)
  of_x <- function(r) -expm1(-g * r) / g
  V <- 2 * g * matrix(c(root(function(r) of_x(r)^2), root(function(r) of_x(r) * of_v(r)), 0,
                        root(function(r) of_v(r)^2)), 2)
  V[1, 2] <- V[2, 1]
  expect_equal(V, matrix(c(.0019969512516, .0271722180115, .0271722180115, .5506710358828), 2),
               tolerance = 1e-10)
  L <- matrix(c(one$sd_x, one$of_x, 0, one$sd_v), 2)
  expect_equal(L %*% t(L), V, tolerance = 1e-12)
  # so small that the closed form has no correct digit: 2 g h^3/3
  tiny <- underdamped_constants(1e-6, 4)
  expect_equal(tiny$sd_x^2, 2 * 4 * 1e-18 / 3, tolerance = 1e-5)
  # the series and the closed form meet
  expect_equal(underdamped_constants(.25 - 1e-9, 4), underdamped_constants(.25 + 1e-9, 4),
               tolerance = 1e-7)

  predictor <- sampler_exponential(4, grid = "uniform", end = .1)
  expect_loop(sampler_corrected(predictor, corrector_underdamped(.1, 3, 4), after = c(1, 4)),
              function(x, times, s, z) {
                for (k in 1:4) {
                  u <- times[k + 1]
                  x <- ode_step(x, times[k], u, s)
                  if (k %in% 2:3) next
                  v <- z()
                  for (i in 1:3) {
                    slope <- s(x, u)
                    z1 <- z()
                    moved <- x + one$psi * v + one$phi * slope + L[1, 1] * z1
                    # the last velocity is not used, so it is not drawn
                    if (i < 3) v <- one$e * v + one$psi * slope + L[2, 1] * z1 + L[2, 2] * z()
                    x <- moved
                  }
                }
                x
              })
})

test_that("correctors have the law that they should, up to a bias that vanishes with their step", {
  gaussian <- gaussmix(1, 1.5, .25)
  stay <- sampler("stay", function(k, times, schedule) list(op_linear("x", c(x = 1))),
                  grid = c(.5, .4))
  target <- diffuse(gaussian, .4)
  bias <- function(corrector) {
    law <- guided_moments(gaussian, sampler = sampler_corrected(stay, corrector))
    expect_equal(law$mean, drop(target$means), tolerance = 1e-6)
    drop(law$cov / target$values - 1)
  }
  # overdamped with precision p: v = 1/(p - h p^2/2)
  p <- 1 / drop(target$values)
  for (h in c(.1, .05)) {
    expect_equal(bias(corrector_langevin(h, 400)), 1 / (1 - h * p / 2) - 1, tolerance = 1e-6)
  }
  # underdamped, many steps without a new velocity: also of first order
  under <- vapply(c(.05, .025), function(h) bias(corrector_underdamped(h, 40 / h)), 0)
  expect_equal(under[1] / under[2], 2, tolerance = .015)
  expect_lt(abs(under[2]), .01)
})

test_that("any sampler can be corrected, on any schedule, and all steps at once", {
  m <- gaussmix(c(.3, .7), c(-1, 2), .5)
  run <- function(sampler) guided_sample(m, 50, sampler = sampler, key = c(1, 2))
  own <- corrector("none", function(t, schedule) list(op_linear("x", c(x = 1))))
  expect_output(print(own), "<corrector> none", fixed = TRUE)
  for (predictor in list(sampler_dpmpp_2m(10), sampler_heun(10), sampler_ddpm(10))) {
    same <- sampler_corrected(predictor, own)
    expect_true(same$stochastic)
    expect_equal(run(same)$x, run(predictor)$x, tolerance = 1e-12)
    expect_gt(max(abs(run(sampler_corrected(predictor))$x - run(predictor)$x)), .01)
  }
  together <- sampler_corrected(sampler_euler(10), corrector_underdamped(function(t) .1 + t, 2))
  expect_true(together$vectorised)
  one_by_one <- together
  one_by_one$vectorised <- FALSE
  expect_identical(run(together)$x, run(one_by_one)$x)
  discrete <- schedule_ddpm(1 - seq(1e-3, .05, length.out = 50))
  sampler <- sampler_corrected(sampler_ddpm(NULL), corrector_langevin(.01), after = c(10, 20))
  expect_identical(evaluations(sampler, discrete), 52)
  expect_true(all(is.finite(guided_sample(m, 10, sampler = sampler, schedule = discrete)$x)))
  # a point mass has no score at t = 0
  expect_error(guided_sample(gaussmix(1, 0, 0), 5, sampler = sampler_corrected(sampler_ddim(5))),
               "`sampler`", class = "mixguide_error")
})

test_that("score evaluations are counted", {
  expect_identical(evaluations(sampler_euler(20)), 20)
  expect_identical(evaluations(sampler_rk4(20)), 80)
  expect_identical(evaluations(sampler_dpmpp_2m(20)), 20)
  expect_identical(evaluations(sampler_dpm_2(20)), 40)
  expect_identical(evaluations(sampler_corrected(sampler_em(20), corrector_langevin(1, 3))),
                   80)
  expect_identical(evaluations(sampler_ddpm(NULL), schedule_ddpm(rep(.9, 30))), 30)
})

test_that("DPOM and DPUM have the known mean, variance and divergence for N(1.5, .25)", {
  known <- theory("gaussian-correctors")
  for (i in seq_len(nrow(known))) {
    row <- known[i, ]
    corrected <- if (row$sampler == "DPUM") sampler_dpum else sampler_dpom
    sampler <- corrected(4, row$h_pred, row$h_corr, horizon = 3, end = 1e-4)
    if (row$sampler == "predictor") sampler <- sampler_exponential(grid = sampler$grid)
    law <- guided_moments(named_mixture("G1"), sampler = sampler)
    expect_identical(evaluations(sampler), row$scores)
    expect_lt(abs(law$kl / row$kl - 1), 1e-8)
    if (is.na(row$mean)) next
    expect_lt(abs(law$mean - row$mean), 1e-11)
    expect_lt(abs(law$cov - row$variance), 1e-11)
  }
  # sizes that fit 1/L up to rounding
  L <- 15.2
  expect_identical(evaluations(sampler_dpom(L, 1 / (2 * L), 1 / L, 3, 1e-3)) -
                     evaluations(sampler_exponential(
                       grid = sampler_dpom(L, 1 / (2 * L), 1 / L, 3, 1e-3)$grid)),
                   floor((3 - 1 / (2 * L)) * L) + 1)
})

test_that("DPOM prints what it is, and bad input to correctors names the argument", {
  expect_said(print(sampler_dpom(4, .025, .0125, 3, 1e-4)),
              paste("DPOM (L = 4, predictor_step = 0.025, corrector_step = 0.0125, scores =",
                    "367), 127 steps, given grid to t = 1e-04, stochastic"), fixed = TRUE)
  expect_said(print(sampler_corrected(sampler_ddim(10), corrector_underdamped(.1, 3), after = 5)),
              paste("DDIM (eta = 0), corrected after 1 step by 3 underdamped Langevin steps of",
                    "0.1 with friction 2, 10 steps"), fixed = TRUE)
  bad <- expect_mixguide_error
  bad(sampler_corrected("ddim"), "predictor")
  bad(sampler_corrected(sampler_ddim(), "langevin"), "corrector")
  bad(sampler_corrected(sampler_ddim(10), after = 11), "after")
  bad(sampler_corrected(sampler_ddim(10), after = .5), "after")
  bad(corrector_langevin(0), "step")
  bad(corrector_langevin(c(1, 2)), "step")
  bad(corrector_langevin(function() 1), "step")
  bad(corrector_langevin(.1, 0), "steps")
  bad(corrector_underdamped(.1, friction = 0), "friction")
  bad(corrector("own", 1), "step")
  bad(corrector(1, function(t, schedule) NULL), "name")
  bad(evaluations("ddim"), "sampler")
  for (make in list(sampler_dpom, sampler_dpum)) {
    bad(make(0), "lipschitz")
    bad(make(Inf), "lipschitz")
    bad(make(4, .3), "predictor_step")
    bad(make(4, -.1), "predictor_step")
    bad(make(4, .1, 0), "corrector_step")
    bad(make(4, .1, .1, .05), "horizon")
    bad(make(4, .1, end = 0), "end")
    bad(make(4, .1, end = .1), "end")
  }
})

test_that("a step that is a function may be 0 but not negative", {
  still <- function(make) {
    guided_moments(gaussmix(1, 1, 2),
                   sampler = sampler_corrected(sampler_ddim(3), make(function(t) 0 * t)))$cov
  }
  alone <- guided_moments(gaussmix(1, 1, 2), sampler = sampler_ddim(3))$cov
  expect_equal(still(corrector_langevin), alone)
  expect_equal(still(corrector_underdamped), alone)
  back <- sampler_corrected(sampler_ddim(3), corrector_langevin(function(t) -1))
  expect_mixguide_error(guided_sample(gaussmix(1, 1, 2), 3, sampler = back), "step")
})

test_that("a corrector may come before the step", {
  predictor <- sampler_exponential(6, grid = "uniform", end = .1)
  for (after in list(1:6, c(1, 4))) {
    expect_loop(sampler_corrected(predictor, corrector_langevin(.03, 2), after, "before"),
                function(x, times, s, z) {
                  for (k in 1:6) {
                    t <- times[k]
                    for (i in seq_len(2 * (k %in% after))) {
                      x <- x + .03 * s(x, t) + sqrt(.06) * z()
                    }
                    x <- ode_step(x, t, times[k + 1], s)
                  }
                  x
                })
  }
  # for one Gaussian it repairs a start that is too early, and needs no score at the end
  gaussian <- gaussmix(1, 1.5, .25)
  kl <- function(...) {
    guided_moments(gaussian,
                   sampler = sampler_corrected(sampler_ddim(50), corrector_langevin(.2, 20), ...),
                    horizon = 1)$kl
  }
  expect_lt(kl(1, "before"),
            guided_moments(gaussian, sampler = sampler_ddim(50), horizon = 1)$kl / 4)
  points <- gaussmix(c(.5, .5), c(-1, 1), 0)
  expect_error(guided_sample(points, 5, sampler = sampler_corrected(sampler_ddim(9))),
               class = "mixguide_error_singular")
  run <- guided_sample(points, 5, key = c(1, 2),
                       sampler = sampler_corrected(sampler_ddim(40), order = "before"))
  expect_true(all(abs(abs(run$x) - 1) < .05))
  expect_output(print(sampler_corrected(sampler_ddim(9), order = "before")),
                "corrected before each step by 1 Langevin step")
  expect_mixguide_error(sampler_corrected(sampler_ddim(9), order = "first"), "order")
})

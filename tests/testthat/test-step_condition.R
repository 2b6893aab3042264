em <- function(n) sampler_em(n, "uniform")
euler <- function(n) sampler_euler(n, "uniform")
condition <- function(mixture, sampler, strength = 1, ...) {
  rows <- step_condition(mixture, guidance("1", strength), sampler, horizon = 5, ...)
  stats::setNames(split(rows, seq_len(4)), rows$claim)
}
two <- gaussmix(c(.5, .5), c(2, -2), 1)

test_that("one-score steps have the coefficients of the literature", {
  h <- .1
  known <- list(list(euler(50), c(1 + h, h)), list(em(50), c(1 + h, 2 * h)),
                list(sampler_exponential(50, "uniform"), c(exp(h), expm1(h))),
                list(sampler_exponential(50, "uniform", stochastic = TRUE),
                     c(exp(h), 2 * expm1(h))))
  for (case in known) {
    step <- one_score_steps(case[[1]], time_grid(50, 5, "uniform"), schedule_ou())
    expect_equal(step$alpha, rep(case[[2]][1], 50))
    expect_equal(step$beta, rep(case[[2]][2], 50))
    expect_equal(step$t, 5 - 0:49 / 10)
    # written for one step or for all steps
    case[[1]]$vectorised <- FALSE
    expect_equal(one_score_steps(case[[1]], time_grid(50, 5, "uniform"), schedule_ou()), step)
  }
  expect_null(one_score_steps(sampler_rk4(5), time_grid(5), schedule_ou()))
  expect_null(one_score_steps(sampler_dpmpp_2m(5), time_grid(5), schedule_ou()))
  early <- function(k, times, schedule) {
    list(op_noise("z"), op_linear("x", c(x = 1, z = 1)), op_eval("s", t = times[k]),
         op_linear("x", c(x = 1, s = 1)))
  }
  expect_null(one_score_steps(sampler("early", early, 5, stochastic = TRUE), time_grid(5),
                              schedule_ou()))
})

test_that("weights of the scores are those of the gain identity: log-odds to 1e-11", {
  withr::local_seed(1)
  values <- c(.5, 1, 2)
  mixture <- gaussmix(c(.3, .2, .5), rbind(c(1, 0, 0), c(-1, 1, 0), c(0, -1, 2)), diag(values))
  D <- mixture$means[1, ] - t(mixture$means[-1, ])
  times <- sampler_times(em(20), schedule_ou(), 5)
  program <- compile_program(sampler_program(em(20), times, schedule_ou()), times, 3)
  runs <- lapply(c(0, 3), function(eta) {
    guided_sample(mixture, 5, guidance("1", eta), em(20), horizon = 5, key = c(1, 2),
                  trajectory = TRUE)
  })
  step <- one_score_steps(em(20), times, schedule_ou())
  map <- affine_map(program, list(a = step$a, b2 = step$b2), values)
  gain <- 0
  for (k in seq_along(map$score_time)) {
    q <- posterior(mixture, matrix(runs[[2]]$trajectory[k, , ], 5), step$t[k])[, -1]
    p <- 1 / (step$a[k]^2 * values + step$b2[k])
    gain <- gain + 3 * q %*% crossprod(D, map$score[, k] * step$a[k] * p / values * D)
  }
  odds <- function(run) {
    l <- log(posterior(mixture, run$x))
    l[, 1] - l[, -1]
  }
  expect_lt(max(abs(odds(runs[[2]]) - odds(runs[[1]]) - gain)), 1e-11)
})

test_that("with the identity as covariance the step may be any for DDIM, 1 and log 2 for DDPM", {
  for (sampler in list(euler(1), euler(3), em(5), em(6),
                       sampler_exponential(8, "uniform", stochastic = TRUE))) {
    row <- condition(two, sampler)$confidence
    expect_true(row$holds)
    expect_identical(row$strength, Inf)
  }
  for (sampler in list(em(4), sampler_exponential(7, "uniform", stochastic = TRUE))) {
    row <- condition(two, sampler)$confidence
    expect_identical(c(row$holds, row$strength), c(NA, 0))
  }
  expect_identical(condition(two, em(50))$confidence$steps, 5)
  expect_identical(condition(two, em(2))$confidence$steps, 5)
  expect_identical(condition(two, sampler_exponential(50, "uniform",
                                                      stochastic = TRUE))$confidence$steps, 8)
  expect_identical(condition(two, euler(50))$confidence$steps, 1)
})

test_that("other covariances bound the step by their smallest eigenvalue", {
  # Euler DDIM: step <= v/(1 - v), DDPM: step <= v/(2 - v), where v is the variance at the step's
  # time
  narrow <- gaussmix(c(.5, .5), c(1, -1), .05)
  fails <- function(sampler, factor) {
    t <- sampler_times(sampler, schedule_ou(), 5)
    v <- 1 - .95 * exp(-2 * t[-length(t)])
    any(((t[1] - t[2]) * (factor / v - 1))[-1] > 1)
  }
  for (n in c(5, 10, 20, 40, 80)) {
    expect_identical(is.na(condition(narrow, euler(n))$confidence$holds), fails(euler(n), 1))
    expect_identical(is.na(condition(narrow, em(n))$confidence$holds), fails(em(n), 2))
  }
})

test_that("bounds for monotonicity are those of two classes", {
  # strength * step * a^2 |D|^2 <= 4; step + strength * step * a^2 |D|^2/2 <= 1
  a2 <- exp(-1)
  expect_equal(condition(two, euler(10))$monotone$strength, 4 / (.5 * a2 * 16))
  expect_equal(condition(two, em(10))$monotone$strength, .5 * 2 / (.5 * a2 * 16))
  expect_true(condition(named_mixture("G4"), euler(50))$monotone$holds)
  expect_match(condition(named_mixture("C3"), euler(50))$monotone$note, "right angles")
  expect_match(condition(named_mixture("F2"), euler(50))$monotone$note, "eigenvector")
})

test_that("beyond the bound a stronger guidance lowers the confidence of some, as known", {
  lowest <- function(n, strength) {
    runs <- vapply(strength, function(eta) {
      guided_sample(two, guidance = guidance("1", eta), sampler = euler(n), horizon = 5,
                    start = matrix(seq(-6, 6, .01)), log_density = "none")$confidence
    }, double(1201))
    min(runs[, 2] - runs[, 1])
  }
  expect_lt(abs(lowest(10, 2:3) + 1.95e-4), 1e-6)
  expect_gt(lowest(10, 1:2), -1e-12)
  expect_lt(abs(lowest(5, c(4, 6)) + 1.31e-6), 1e-7)
  expect_gt(lowest(5, c(3, 4)), -1e-12)
  for (eta in c(1, 4, 12)) expect_gt(lowest(20, c(eta, eta + 4)), -1e-12)
})

test_that("what is said to be guaranteed holds on random mixtures", {
  skip_on_cran()
  withr::local_seed(2)
  seen <- c(confidence = 0, monotone = 0, entropy = 0, "no fold" = 0)
  for (i in 1:40) {
    d <- sample(2, 1)
    K <- sample(2:3, 1)
    cov <- if (i %% 3 && d == 2) diag(runif(2, .3, 2)) else runif(1, .3, 2)
    mixture <- gaussmix(runif(K, .1, 1), matrix(rnorm(K * d, sd = 2), K), cov)
    sampler <- list(euler, em, sampler_heun, sampler_ddim)[[sample(4, 1)]](sample(c(4, 8, 20), 1))
    strength <- exp(runif(1, -2, 2))
    rows <- condition(mixture, sampler, strength)
    holds <- vapply(rows, function(row) isTRUE(row$holds), NA)
    seen <- seen + holds
    sweep <- guidance_sweep(mixture, 400, "1", strength * c(0, .7, 1), sampler, horizon = 5)
    if (holds[["confidence"]]) expect_identical(sweep$fraction_down, c(0, 0, 0))
    if (holds[["monotone"]]) expect_identical(sweep$fraction_down_previous, c(0, 0, 0))
    if (holds[["no fold"]]) {
      expect_true(all(sweep$folded == 0))
      expect_true(all(diff(sweep$entropy) <= 1e-9))
    }
    if (holds[["entropy"]]) {
      spread <- lapply(c(0, strength), function(eta) {
        cov(guided_sample(mixture, 2000, guidance("1", eta), sampler, horizon = 5, key = c(i, 1),
                          log_density = "none")$x)
      })
      # no direction is wider than without guidance, up to noise
      expect_gt(min(eigen(spread[[1]] * 1.2 - spread[[2]])$values), 0)
    }
  }
  expect_true(all(seen >= 3))
})

test_that("up to the strength allowed, entropy and variance of a DDPM are below the unguided", {
  skip_on_cran()
  for (name in c("D3", "A2", "NC1")) for (n in c(12, 40)) {
    allowed <- condition(named_mixture(name), em(n))$entropy$strength
    laws <- lapply(c(0, .5, 1) * allowed, function(eta) {
      guided_law(named_mixture(name), guidance("1", eta), em(n), horizon = 5)
    })
    h <- vapply(laws, function(law) entropy(law)$estimate, 0)
    v <- vapply(laws, function(law) moments(law)$cov[1], 0)
    expect_true(all(h[-1] < h[1] & v[-1] < v[1]))
  }
})

test_that("the largest variance of the means is a maximum, or a bound", {
  geometry <- step_geometry(named_mixture("D3"), "1")
  x <- seq(-20, 20, .001)
  for (a in c(.1, .5, 1)) {
    q <- vapply(c(0, -3, 3), function(mu) exp(a * mu * x - a^2 * mu^2 / 2), x)
    q <- q / rowSums(q)
    variance <- drop(q %*% c(0, 9, 9) - (q %*% c(0, -3, 3))^2)
    expect_equal(largest_variance(geometry, a, 1), max(variance), tolerance = 1e-6)
  }
  many <- gaussmix(rep(1, 150), seq(-1, 1, length.out = 150), 1)
  expect_equal(largest_variance(step_geometry(many, "1"), 1, 1), 1)
  # two means: a quarter of the square of their distance
  expect_equal(largest_variance(step_geometry(two, "1"), .3, 1), 4)
  expect_equal(largest_variance(step_geometry(named_mixture("C3"), "1"), 1, c(1, 1)), 3)
  # on a line in the plane the result is that on the line
  line <- gaussmix(c(1, 1, 1), rbind(c(0, 0), c(-3, 0), c(3, 0)), 1)
  expect_equal(largest_variance(step_geometry(line, "1"), .5, c(1, 1)),
               largest_variance(geometry, .5, 1))
})

test_that("nothing is said of other covariances or classes; one component has nothing to lose", {
  of_several <- gaussmix(c(.5, .3, .2), c(0, 1, 2), 1, class = c("1", "1", "2"))
  expect_match(condition(of_several, em(9))$confidence$note, "several components")
  expect_match(condition(named_mixture("B2"), em(9))$entropy$note,
               "covariances of the components differ")
  expect_match(condition(gaussmix(c(.5, .5), c(0, 1), 0), em(9))$monotone$note, "singular")
  expect_match(condition(named_mixture("H3"), em(9))$confidence$note, "obtuse")
  expect_true(all(vapply(condition(gaussmix(1, 0, 1), euler(5)), `[[`, NA, "holds")))
  zero <- condition(named_mixture("H3"), euler(9), strength = 0)
  expect_true(zero[["no fold"]]$holds)
  expect_identical(condition(two, euler(9), strength = 1e6)$monotone$steps, NA_real_)
  given <- step_condition(two, guidance("1", 1), sampler_em(grid = c(5, 2, 0)))
  expect_true(all(is.na(given$steps)))
})

test_that("a capped strength keeps the class whole, whatever the strength", {
  withr::local_seed(3)
  mixture <- named_mixture("D3")
  for (sampler in list(euler(20), em(20))) for (claim in c("entropy", "no fold")) {
    if (sampler$stochastic && claim == "no fold") next
    strength <- capped_strength(mixture, guidance("1", 200), sampler, horizon = 5, claim = claim)
    run <- guided_sample(mixture, 2000, guidance("1", strength), sampler, horizon = 5)
    expect_gt(mean(run$confidence), .85)
    if (claim == "no fold") expect_false(any(run$folded))
    plain <- guided_sample(mixture, 2000, guidance("1", 200), sampler, horizon = 5)
    expect_lt(mean(plain$confidence), .1)
  }
  free <- capped_strength(mixture, guidance("1", .1), euler(50), horizon = 5)
  expect_identical(free(2), .1)
  expect_output(print(free), "<capped_strength> 0.1, which no step caps", fixed = TRUE)
  expect_output(print(strength), "200, capped at [0-9]+ of 20 steps: from")
  expect_output(print(guidance("1", strength)), "strength 200 capped for")
  expect_error(capped_strength(named_mixture("B2"), guidance("1", 1)),
               "covariances of the components differ",
               class = "mixguide_error")
})

test_that("it prints what is known, and bad input is refused", {
  x <- step_condition(named_mixture("C3"), guidance("1", 1), em(50), horizon = 5)
  expect_output(print(x), "\\[yes\\] no particle's confidence falls below")
  expect_output(print(x), "guidance any +5")
  expect_null(attr(as.data.frame(x), "setup"))
  expect_drawn(autoplot(x))
  expect_error(autoplot(step_condition(gaussmix(1, 0, 1), guidance("1", 1), euler(5))),
               class = "mixguide_error")
  expect_error(step_condition(two, guidance("1", -1)), "`strength`", class = "mixguide_error")
  expect_error(step_condition(two, "3"), "`guidance`", class = "mixguide_error")
  # one component: there is no rival; a stochastic sampler has no map that could fold
  alone <- gaussmix(1, 0, .01)
  expect_identical(step_condition(alone, guidance("1", 1), em(5))$holds, c(TRUE, TRUE, TRUE, NA))
  expect_identical(step_condition(alone, guidance("1", 1), sampler_ddim(5))$holds[4], TRUE)
})

test_that("nothing is claimed of steps whose noise depends on the score", {
  m <- gaussmix(rep(1, 3), rbind(c(0, 0), c(1, 2), c(2, -.5)), .3)
  found <- as.data.frame(step_condition(m, guidance("1", 1),
                                        sampler_ddpm(40, variance = "matched")))
  expect_false(any(found$holds %in% TRUE))
  expect_true(any(as.data.frame(step_condition(m, guidance("1", 1),
                                               sampler_ddpm(40)))$holds %in% TRUE))
})

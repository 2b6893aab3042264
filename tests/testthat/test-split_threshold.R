# Known numbers: tests/REFERENCES.md, three components in a row.

euler <- function(n) sampler_euler(n, "uniform")

test_that("the thresholds have the known digits, and are maxima of the slope", {
  known <- split_threshold(c(.5, 2, 8))
  expect_equal(known$kappa, c(.157185, .463056, 1.040112), tolerance = 1e-6)
  expect_equal(known$b, c(2.3144, 2.9261, 4.0802), tolerance = 2e-5)
  expect_equal(known$ddim, c(6.36193, 2.15957, .961434), tolerance = 2e-6)
  for (i in 1:3) {
    rho <- known$rho[i]
    expect_lt(abs(known$kappa[i] * exp(known$kappa[i]) - rho / exp(1)), 1e-12)
    slope <- function(b) b * rho * exp(-b / 2) / (1 + rho * exp(-b / 2))
    b <- seq(0, 10, 1e-4)
    expect_lt(abs(2 / max(slope(b)) - known$ddim[i]), 1e-8)
    expect_lt(abs(2 / slope(known$b[i]) - known$ddim[i]), 1e-9)
    expect_equal(1 / known$ddim[i], known$kappa[i], tolerance = 1e-12)
  }
  # if the means are too close for the maximum, it is at the end
  near <- split_threshold(2, m = 1)
  kappa <- 2 * exp(-.5)
  expect_equal(near$ddim, 2 * (1 + kappa) / kappa)
  # extreme weights neither overflow nor stall
  far <- split_threshold(c(1e-300, 1e300))
  expect_equal(far$kappa + log(far$kappa), log(far$rho) - 1, tolerance = 1e-12)
})

test_that("the guarantee and the threshold of a DDPM have the known digits", {
  expect_equal(2 / split_threshold(2, c(2, 3, 6, 10))$global, c(.98511, 1.22765, 1.63298, 1.81855),
               tolerance = 1e-5)
  expect_equal(split_threshold(8, c(2.5, 6))$global, split_threshold(8, c(2.5, 6))$ddim)
  expect_identical(split_threshold(2)$global, 1)
  expect_equal(split_threshold(2, 3, .1)$ddpm / .1, 10.258, tolerance = 1e-4)
  # S is a supremum over the guidance that score() computes
  mixture <- named_mixture("D3")
  x <- seq(.02, 6, .02)
  secant <- vapply(seq(0, 1, .02), function(t) {
    pull <- score(mixture, x, t, guidance = "1") - score(mixture, x, t, guidance = guidance("1", 1))
    max(pull / x)
  }, 0)
  expect_lt(abs(max(secant) - 2 / split_threshold(2, 3)$global), 1e-4)
})

test_that("up to the guarantee no particle loses confidence, beyond some do", {
  limit <- split_threshold(2, 3)$global
  for (n in c(5, 50)) {
    sweep <- guidance_sweep(named_mixture("D3"), 501, "1", c(0, .5, 1) * limit * n / 5, euler(n),
                            horizon = 5)
    expect_identical(sweep$fraction_down, rep(0, 3))
  }
  beyond <- guidance_sweep(named_mixture("D3"), 501, "1", c(0, 40 * limit), euler(50), horizon = 5)
  expect_gt(beyond$fraction_down[2], .5)
})

test_that("the Lyapunov sum has the known values, those of the Jacobians along the centre", {
  lyapunov <- function(strength, sampler) {
    split_threshold(2, 3, strength = strength, sampler = sampler, horizon = 5)$lyapunov
  }
  lambda <- lyapunov(c(100, 150), euler(100))
  expect_lt(max(abs(lambda - c(-6.29, 10.19))), .006)
  centre <- structure(matrix(0), log_density = 0)
  for (sampler in list(euler(20), sampler_ddim(20), sampler_exponential(20))) {
    run <- guided_sample(named_mixture("D3"), 1, guidance("1", 4), sampler, horizon = 5,
                         start = centre)
    expect_equal(lyapunov(4, sampler), -run$log_density, tolerance = 1e-9)
  }
  # stochastic steps have a slope, too: 1 - h - 2 strength h f
  t <- 5 - 0:49 / 10
  b <- 9 * exp(-2 * t)
  f <- b * 2 * exp(-b / 2) / (1 + 2 * exp(-b / 2))
  expect_equal(lyapunov(7, sampler_em(50, "uniform")),
               sum(log(abs(1 - .1 - 2 * 7 * .1 * f))))
  expect_error(lyapunov(1, sampler_heun(10)), "`sampler`.*one score", class = "mixguide_error")
  # one row for each strength, with the thresholds of the call without strengths
  both <- as.data.frame(split_threshold(2, 3, .1, c(4, 7), sampler_em(50, "uniform"), horizon = 5))
  expect_identical(both$lyapunov[2], lyapunov(7, sampler_em(50, "uniform")))
  expect_identical(both[1, setdiff(names(both), c("strength", "lyapunov"))],
                   as.data.frame(split_threshold(2, 3, .1)))
})

test_that("bad input is refused, and it prints", {
  expect_error(split_threshold(0), "`rho`", class = "mixguide_error")
  expect_error(split_threshold(1:2, 1:3), "`rho`", class = "mixguide_error")
  expect_error(split_threshold(1, m = -1), "`m`", class = "mixguide_error")
  expect_error(split_threshold(1, step = 2), "`step`", class = "mixguide_error")
  expect_error(split_threshold(2, 3, strength = "a"), "`strength`", class = "mixguide_error")
  expect_error(split_threshold(2, strength = 1), "`m`", class = "mixguide_error")
  expect_error(split_threshold(1:2, 3, strength = 1:3), "`rho`", class = "mixguide_error")
  expect_output(print(split_threshold(2, 3)), "1.629")
  expect_output(print(split_threshold(2, 3, strength = 1)), "lyapunov, by DDIM")
  expect_identical(class(as.data.frame(split_threshold(2))), "data.frame")
})

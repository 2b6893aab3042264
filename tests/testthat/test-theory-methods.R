# Published results on guidance beyond the three papers: numbers of tests/REFERENCES.md.

test_that("guidance on Gaussians in closed form: ODE, SDE and tilt", {
  # class N(c, 1), whole N(0, 2), variance exploding from sigma = 1000; scale w
  c <- 1.3
  class <- gaussmix(1, c, 1, class = "a")
  whole <- gaussmix(1, 0, 2, class = "a")
  w <- c(1, 1.5, 2, 3, 4, 5, 8, 16)
  phi <- c(1, 1.34935, 1.62323, 2, 2.21742, 2.33333, 2.39177, 2.20021)
  sde_mean <- c(1, 1.29289, 1.5, 1.75, 1.875, 1.9375, 1.99219, 1.99997)
  sde_variance <- c(1, .75, .58333, .3875, .28348, .22179, .13333, .06452)
  for (i in seq_along(w)) {
    towards <- guidance("a", w[i] - 1, negative = whole)
    at <- function(sampler, schedule) {
      moments(suppressWarnings(guided_law(class, towards, sampler, schedule = schedule)))
    }
    ode <- at(sampler_rk4(200, "logsnr", end = 1e-3), schedule_ve(1e-3, 1000))
    expect_equal(ode$mean[[1]] / c, phi[i], tolerance = 2e-3)
    expect_equal(ode$cov[[1]], 2^(1 - w[i]), tolerance = 5e-3)
    if (w[i] <= 5) {
      sde <- at(sampler_em(600, "logsnr", end = .002), schedule_ve(.2, 1000))
      expect_equal(sde$mean[[1]] / c, sde_mean[i], tolerance = 5e-3)
      expect_equal(sde$cov[[1]], sde_variance[i], tolerance = 1e-2)
    }
  }
  # the closed form behind the column of the ODE's mean
  form <- function(w) {
    2^((1 - w) / 2) * w / 2 *
      integrate(function(v) (1 + v)^((w - 1) / 2) / sqrt(v), 0, 1, rel.tol = 1e-10)$value
  }
  expect_equal(vapply(w, form, 0), phi, tolerance = 1e-5)
})

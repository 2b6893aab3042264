# Weighted guided particles, against the tilt itself.

A2 <- named_mixture("A2")
flat <- withr::with_seed(1, random_mixture("full", 2, 3)$mixture)

weighted_moments <- function(run) {
  m <- sum(run$weights * run$x)
  c(m, sum(run$weights * (run$x - m)^2), confidence(run)$estimate, entropy(run)$estimate,
    run$log_normaliser$estimate)
}

moments_of_tilt <- function(law) {
  at <- moments(law)
  c(at$mean[[1]], at$cov, confidence(law)$estimate, entropy(law)$estimate, law$log_normaliser)
}

# Deviations of a weighted sample from the tilt, in standard errors: mean, confidence, entropy,
# normaliser.
deviations <- function(run, law) {
  mean <- summary(run)$variables
  estimates <- rbind(confidence(run)[ESTIMATE], entropy(run)[ESTIMATE], run$log_normaliser)
  truth <- c(confidence(law)$estimate, entropy(law)$estimate, law$log_normaliser)
  c((mean$mean - mean(law)) / mean$mean_se, (estimates$estimate - truth) / estimates$se)
}

test_that("Feynman-Kac weights turn the ODE's law into the tilt, by quadrature to 1e-6", {
  for (eta in c(1, 2, 4)) {
    run <- tilted_sample(A2, 4001, guidance("1", eta), sampler_rk4(150), horizon = 6, exact = TRUE)
    expect_lt(max(abs(weighted_moments(run) - moments_of_tilt(tilted_law(A2, guidance("1", eta))))),
              1e-6)
    expect_identical(c(confidence(run)$method, entropy(run)$method, run$log_normaliser$method),
                     rep("quadrature", 3))
    expect_null(run$ancestor)
  }
})

test_that("weights of whole paths do so at any number of steps and by other guidance", {
  truth <- moments_of_tilt(tilted_law(A2, guidance("1", 2)))
  by <- function(guide, sampler, ...) {
    weighted_moments(tilted_sample(A2, 4001, guide, sampler, horizon = 5, exact = TRUE,
                                   weights = "path", ...))
  }
  expect_equal(by(guidance("1", 2), sampler_euler(10)), truth, tolerance = 1e-8)
  expect_equal(by(guidance("1", .5), sampler_ddim(5), strength = 2), truth, tolerance = 1e-8)
  expect_equal(by(guidance("1", 3, c(.1, 1)), sampler_dpmpp_2m(30, end = 0), strength = 2), truth,
               tolerance = 1e-8)
})

test_that("a map that folds cannot be weighted, which a warning says", {
  expect_warning(tilted_sample(named_mixture("D3"), 200, guidance("1", 30), sampler_euler(20),
                               weights = "path"), "fold")
})

test_that("in continuous time the two kinds of weights are the same, under every schedule", {
  for (schedule in all_schedules()[1:6]) {
    weights <- lapply(c("feynman-kac", "path"), function(kind) {
      tilted_sample(flat, 40, guidance("a", 1.5), sampler_rk4(150), schedule,
                    weights = kind, key = c(1, 2))
    })
    expect_equal(weights[[1]]$x, weights[[2]]$x, tolerance = 1e-12)
    expect_lt(max(abs(log(weights[[1]]$weights / weights[[2]]$weights))), 2e-3)
    expect_equal(weights[[1]]$log_normaliser$estimate, weights[[2]]$log_normaliser$estimate,
                 tolerance = 2e-3)
  }
})

test_that("the SDE's particles, weighted, have the tilt's moments; unweighted they do not", {
  # the mean without weights is 1.757 (tests/REFERENCES.md, weighted particles)
  run <- tilted_sample(A2, 4e4, guidance("1", 2), sampler_em(400, "uniform"), horizon = 6,
                       start = "exact", resample = 0, key = c(5, 6))
  law <- tilted_law(A2, guidance("1", 2))
  # the tail is too heavy for trustworthy standard errors, and the result says so
  expect_match(confidence(run)$note, "heavy tail")
  run$heavy <- NULL
  expect_lt(max(abs(deviations(run, law)), na.rm = TRUE), 4)
  expect_lt(abs(mean(run$x) - 1.757), 4 * sqrt(.581 / 4e4 * 2))
  # few particles carry the weight (.195 in the table)
  expect_gt(run$ess / 4e4, .05)
  expect_lt(run$ess / 4e4, .3)
  plain <- guided_sample(A2, 4e4, guidance("1", 2), sampler_em(400, "uniform"), horizon = 6,
                         start = "exact", key = c(5, 6))
  expect_identical(run$x, plain$x)
  expect_identical(run$confidence, plain$confidence)
})

test_that("between ODE and SDE the Feynman-Kac weights are the same", {
  withr::local_seed(12)
  law <- tilted_law(A2, guidance("1", 1))
  run <- tilted_sample(A2, 4000, guidance("1", 1), sampler_ddim(200, eta = .5), resample = 0)
  expect_lt(max(abs(deviations(run, law))), 4.5)
  # without weights the mean confidence is above that of the tilt
  expect_gt(mean(run$confidence), confidence(law)$estimate + .03)
})

test_that("particles that overflow have no weight", {
  withr::local_seed(13)
  m <- gaussmix(c(.5, .5), c(-1, 1), c(1e-3, 2), class = c("a", "b"))
  expect_warning(run <- tilted_sample(m, 100, guidance("a", 1e3), sampler_euler(5, "uniform"),
                                      start = structure(matrix(c(rep(0, 99), 1e305)),
                                                        log_density = rep(0, 100))),
                 "overflowed")
  expect_identical(run$weights[100], 0)
  run$heavy <- NULL
  expect_true(all(is.finite(unlist(c(confidence(run)[2:3], entropy(run)[2:3])))))
})

test_that("standard errors of weighted means are honest", {
  withr::local_seed(3)
  law <- tilted_law(A2, guidance("1", .5))
  for (sampler in list(sampler_em(15, "uniform"), sampler_ddpm(15, variance = "large"))) {
    z <- vapply(1:50, function(i) {
      deviations(tilted_sample(A2, 1000, guidance("1", .5), sampler, weights = "path",
                               resample = 0), law)
    }, double(4))
    for (j in 1:4) expect_honest(z[j, ])
  }
})

test_that("errors of Feynman-Kac weights hold that of the steps, near and far from the data", {
  # errors from particles alone would cover the entropy 1 time in 20 with a mode 20 standard
  # deviations away
  for (far in c(2, 20)) {
    m <- gaussmix(c(.3, .3, .4), c(0, far, 1.5), 1, class = c("a", "a", "b"))
    law <- tilted_law(m, guidance("a", 1))
    z <- vapply(1:12, function(i) {
      run <- tilted_sample(m, 500, guidance("a", 1), sampler_em(50), key = c(i, 77))
      deviations(run, law)
    }, double(4))
    expect_gt(mean(abs(z) < 2, na.rm = TRUE), .9)
    expect_gt(mean(is.finite(z)), .3)
    # a class given by its name has the same error
    run <- tilted_sample(m, 500, guidance("a", 1), sampler_em(50), key = c(1, 77))
    expect_equal(confidence(run, "a")$se, confidence(run)$se)
    expect_equal(confidence(run, "b")$se, confidence(run)$se)
  }
})

test_that("resampling keeps the weights right, in more dimensions and for several classes", {
  withr::local_seed(4)
  m <- gaussmix(c(.3, .3, .4), rbind(c(-1, 0), c(1, .5), c(.5, -1)), .8, class = c("a", "b", "c"))
  law <- tilted_law(m, guidance(c("a", "b"), 1))
  runs <- lapply(1:25, function(i) {
    tilted_sample(m, 500, guidance(c("a", "b"), 1), sampler_em(20), weights = "path",
                  resample = .9)
  })
  expect_true(all(vapply(runs, function(run) sum(run$history$resampled) >= 1, NA)))
  z <- vapply(runs, deviations, double(5), law)
  # systematic resampling is better than its standard error, which is that of multinomial resampling
  expect_lt(max(abs(rowMeans(z))), 4 / 5)
  expect_lt(max(rowMeans(z^2)), 1.9)
  run <- runs[[1]]
  expect_identical(run$families, length(unique(run$ancestor)))
  expect_equal(run$ess, 1 / sum(run$weights^2))
  expect_identical(nrow(run$history), 20L)
})

test_that("strength 0 and -1 need no Feynman-Kac weights beyond the start's", {
  for (eta in c(0, -1)) {
    run <- tilted_sample(A2, 50, guidance("1", eta), sampler_em(20), start = "exact", resample = 0,
                         key = c(1, 2))
    if (eta == 0) expect_equal(run$weights, rep(1 / 50, 50))
    # p(x | y) p(y | x)^-1 = p(x) / p(y)
    tilt <- if (eta == 0) dgaussmix(run$x, class_law(A2, "1")) else dgaussmix(run$x, A2) / .5
    expect_equal(run$log_density + run$log_normaliser$estimate, log(tilt))
  }
})

test_that("results are the same for any number of threads, and from the key", {
  for (kind in c("feynman-kac", "path")) {
    run <- function() {
      tilted_sample(flat, 300, guidance("a", 1), sampler_em(20), weights = kind, resample = 1,
                    key = c(7, 8))
    }
    one <- with_threads(1, run())
    expect_true(any(one$history$resampled > 0))
    expect_identical(one, with_threads(2, run()))
    withr::local_seed(9)
    expect_identical(one$x, run()$x)
  }
})

test_that("a guided step is a conditional step of the ODE and a Langevin step of another tilt", {
  # Bradley and Nakkiran (2024): with G^2/2 for the rate,
  # -f x + G^2 s_eta = (-f x + G^2/2 s_y) + G^2/2 (s_y + 2 eta g)
  withr::local_seed(10)
  x <- matrix(rnorm(60), 30)
  z <- array(rnorm(60), c(30, 2, 1))
  for (schedule in all_schedules()[1:6]) {
    t <- schedule$horizon * .6
    h <- t / 50
    step <- function(sampler, strength, ...) {
      guided_sample(flat, guidance = guidance("a", strength), sampler = sampler(grid = c(t, t - h)),
                    schedule = schedule, start = x, log_density = "none", ...)$x
    }
    guided <- step(sampler_em, 1.7, noise = z)
    rate <- schedule$diffusion2(t)
    predicted <- step(sampler_euler, 0)
    # s_y + 2 eta g is the score of the tilt with 2 eta
    corrected <- h * rate / 2 * score(flat, x, t, schedule, guidance("a", 2 * 1.7)) +
      sqrt(h * rate) * z[, , 1]
    expect_equal(guided, predicted + corrected, tolerance = 1e-12)
  }
})

test_that("what is printed, summarised, tabled and drawn uses the weights", {
  withr::local_seed(11)
  run <- tilted_sample(A2, 2000, guidance("1", 2), sampler_em(50))
  expect_output(print(run), "p\\(x \\| 1\\) p\\(1 \\| x\\)\\^2 by Feynman-Kac")
  expect_output(print(run), "effective sample size")
  table <- as.data.frame(run)
  expect_identical(table$.weight, run$weights)
  expect_equal(sum(table$x * table$.weight), summary(run)$variables$mean)
  expect_drawn(autoplot(run))
  few <- tilted_sample(A2, 50, guidance("1", 2), sampler_em(20), resample = 0)
  expect_output(print(few), "confidence: unknown: heavy tail.*Few particles carry the weight")
  expect_identical(confidence(few)[2:3], data.frame(estimate = NA_real_, se = NA_real_))
  plane <- tilted_sample(flat, 100, guidance("a", 1), sampler_rk4(20))
  expect_drawn(autoplot(plane))
})

test_that("what cannot be weighted is refused by name", {
  guide <- guidance("1", 1)
  changing <- guidance("1", function(t) t)
  expect_mixguide_error(tilted_sample(A2, 10, NULL), "guidance")
  expect_mixguide_error(tilted_sample(A2, 0, guide), "n")
  expect_mixguide_error(tilted_sample(A2, 10, changing), "strength")
  expect_mixguide_error(tilted_sample(A2, 10, changing, strength = 1), "strength")
  expect_mixguide_error(tilted_sample(A2, 10, guide, strength = 2), "strength")
  expect_mixguide_error(tilted_sample(A2, 10, guide, resample = 2), "resample")
  expect_mixguide_error(tilted_sample(A2, 10, guide, weights = "none"), "weights")
  expect_mixguide_error(tilted_sample(A2, 10, guide, start = matrix(0, 10, 1)), "start")
  expect_mixguide_error(tilted_sample(A2, 10, guide, exact = TRUE), "exact")
  # no noise in the last step
  expect_mixguide_error(tilted_sample(A2, 10, guide, sampler_ddpm(10), weights = "path"),
                        "sampler")
  points <- gaussmix(c(.5, .5), c(-1, 1), 0)
  expect_error(tilted_sample(points, 10, guide), class = "mixguide_error_singular")
  expect_s3_class(tilted_sample(points, 10, guide, sampler_em(10, end = .1)), "tilted_sample")
})

test_that("one start, or one particle, has no standard error", {
  one <- tilted_sample(named_mixture("A2"), 1, guidance("1", 2), sampler_em(5), key = c(6, 1))
  expect_identical(c(confidence(one)$se, entropy(one)$se, one$log_normaliser$se), rep(NA_real_, 3))
  expect_output(print(one), "confidence: 0.949 \\(error unknown\\)")
})

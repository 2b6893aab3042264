# E log q and E 1/q along the guided SDE, the entropy along the ODE: both sides.

A2 <- named_mixture("A2")

test_that("both sides of both identities agree to 1e-3 in continuous time, and with the table", {
  # A2, horizon 5, extrapolated from 100 and 200 uniform steps
  known <- theory("sde-identities")
  sides <- guidance_identities(A2, NULL, "1", known$strength, sampler_em(100, "uniform"),
                               horizon = 5, limit = TRUE)
  log_q <- sides[sides$mean_of == "log q", ]
  inverse <- sides[sides$mean_of == "1/q", ]
  expect_lt(max(abs(log_q$change - known$change)), 1e-5)
  expect_lt(max(abs(log_q$integral - known$integral)), 1e-3)
  expect_lt(max(abs(inverse$end - known$end)), 1e-5)
  expect_lt(max(abs(log_q$gap)), 1e-3)
  # uniform steps are coarse where the confidence is near 0
  expect_lt(max(abs(inverse$gap)), 3e-3)
  sides <- guidance_identities(A2, NULL, "1", c(0, 2), sampler_em(120), horizon = 5, limit = TRUE)
  expect_lt(max(abs(sides$gap)), 1e-3)
})

test_that("they hold for unequal covariances, classes of several components, other schedules", {
  m <- gaussmix(c(.3, .3, .4), c(-1, 0, 1.5), c(.5, 1, .8), class = c("a", "b", "a"))
  cases <- list(
    guidance_identities(m, NULL, "a", c(-.5, 1.5), sampler_em(60), limit = TRUE),
    guidance_identities(m, NULL, "b", 1, sampler_exponential(80, stochastic = TRUE),
                        schedule = schedule_vp(), limit = TRUE),
    guidance_identities(m, NULL, "a", 1, sampler_em(60, "uniform"), schedule = schedule_flow(),
                        horizon = .9, limit = TRUE),
    # no geometric condition is needed: the angle is obtuse
    guidance_identities(named_mixture("H3"), NULL, "1", 1, sampler_em(36), limit = TRUE)
  )
  for (sides in cases) {
    expect_lt(max(abs(sides$gap) / (.1 + abs(sides$change))), .01)
    expect_identical(unique(sides$method), "quadrature")
  }
})

test_that("the part of the integral that is due to guidance is 2 eta of 1 + 2 eta, or all", {
  strength <- c(-.5, 0, 2)
  sides <- guidance_identities(A2, 20, "1", strength, sampler_em(20), key = 1:2)
  log_q <- sides[sides$mean_of == "log q", ]
  expect_equal(log_q$guidance * (1 + 2 * strength), 2 * strength * log_q$integral)
  inverse <- sides[sides$mean_of == "1/q", ]
  expect_identical(inverse$guidance, inverse$integral)
})

test_that("from the exact start, unguided, the mean of 1/q stays 1/w", {
  sides <- guidance_identities(A2, NULL, "1", 0, sampler_em(100), start = "exact", limit = TRUE)
  expect_equal(sides$start[2], 2, tolerance = 1e-9)
  expect_equal(sides$end[2], 2, tolerance = 1e-3)
  expect_identical(sides$integral[2], 0)
})

test_that("particles agree with quadrature, with honest paired standard errors", {
  withr::local_seed(1)
  exact <- guidance_identities(named_mixture("C3"), NULL, "1", 1, sampler_em(30))
  z <- vapply(1:40, function(i) {
    sides <- guidance_identities(named_mixture("C3"), 200, "1", 1, sampler_em(30))
    c((sides$gap - exact$gap)[1] / sides$gap_se[1],
      (sides$change - exact$change)[1] / sides$change_se[1])
  }, double(2))
  for (j in 1:2) expect_honest(z[j, ])
  # four dimensions that do not reduce to two
  sides <- guidance_identities(named_mixture("G4"), 500, "1", 1, sampler_em(100))
  expect_lt(max(abs(sides$gap) / sides$gap_se), 4.5)
  expect_error(guidance_identities(named_mixture("G4"), NULL, "1", 1), class = "mixguide_error")
})

test_that("it prints, and refuses what it cannot do by name", {
  sides <- guidance_identities(A2, 50, "1", 1, sampler_em(10))
  expect_output(print(sides), "by particles")
  expect_s3_class(as.data.frame(sides), "data.frame", exact = TRUE)
  expect_mixguide_error(guidance_identities(A2, guidance = "3"), "guidance")
  expect_mixguide_error(guidance_identities(A2, NULL, "1", "a"), "strength")
  expect_mixguide_error(guidance_identities(A2, 1, "1", 1), "n")
  expect_mixguide_error(guidance_identities(A2, 50, "1", 1, sampler_ddim(), limit = TRUE), "sampler")
  given <- sampler_em(grid = seq(5, 0, length.out = 11))
  expect_mixguide_error(guidance_identities(A2, NULL, "1", 1, given, limit = TRUE), "sampler")
  expect_mixguide_error(guidance_identities(A2, NULL, "1", 1, start = "given"), "start")
  points <- gaussmix(c(.5, .5), c(-1, 1), 0)
  expect_error(guidance_identities(points, NULL, "1", 1), class = "mixguide_error_singular")
})

test_that("the entropy and its formula agree, with the tables, from n = NULL on", {
  withr::local_seed(621)
  known <- theory_exact$A2[theory_exact$A2$strength %in% c(.5, 8), ]
  found <- guidance_identities(A2, 1000, "1", known$strength, sampler_rk4(100), horizon = 5)
  expect_identical(found$mean_of, rep("-log p", 2))
  expect_lt(max(abs(found$end - known$entropy) / found$end_se), 4)
  expect_lt(max(abs(found$start + found$integral - known$entropy) / found$integral_se), 4)
  # the two sides use the same particles, so they agree far beyond their standard errors
  expect_lt(max(abs(found$gap)), 1e-3)
  expect_equal(found$gap, found$change - found$integral)
  # the flow of a class that is one Gaussian does not depend on the strength
  expect_equal(diff(found$integral - found$guidance), 0)
  expect_true(all(found$guidance < 0))
  expect_identical(attr(guidance_identities(A2, NULL, "1", 0, sampler_heun(3)), "setup")$n, 1e4)
})

test_that("the formula holds for any weights, means and common covariance, and any schedule", {
  withr::local_seed(622)
  mixture <- gaussmix(c(.2, .3, .1, .4), matrix(rnorm(12), 4),
                      crossprod(matrix(rnorm(9), 3)) / 3 + diag(.3, 3), c("a", "b", "b", "c"))
  for (class in c("a", "b")) for (schedule in list(schedule_ou(), schedule_vp())) {
    found <- guidance_identities(mixture, 200, class, 2, sampler_rk4(80), schedule = schedule)
    expect_lt(abs(found$gap), 5e-3)
    # the start may be a law whose entropy is not known
    exact <- guidance_identities(mixture, 200, class, 2, sampler_rk4(80), schedule = schedule,
                                 start = "exact")
    expect_lt(abs(exact$gap), 5e-3)
    expect_true(exact$start_se > 0)
  }
})

test_that("without guidance towards one Gaussian nothing is random", {
  found <- guidance_identities(named_mixture("F2"), 50, "1", 0, sampler_rk4(100))
  expect_identical(unlist(found[endsWith(names(found), "_se")], use.names = FALSE), double(6))
  expect_identical(found$method, "exact")
  # covariance diag(2, .2) at the end, nearly N(0, I) at the start
  expect_equal(c(found$start, found$guidance), c(log(2 * pi * exp(1)), 0))
  expect_equal(found$integral, log(.4) / 2, tolerance = 1e-3)
  expect_output(print(found), "mean_of.*start.*guidance.*-log p +2.838")
})

test_that("guidance lowers the covariance of the SDE on C3, as tabulated", {
  # the differences of the means lie in one eigenspace: Cov(eta) <= Cov(0)
  steps <- sampler_em(100, "uniform")
  covs <- c(list(guided_moments(gaussmix(1, t(c(2, 0)), 1), sampler = steps, horizon = 5)$cov),
            lapply(c(1, 4), function(eta) {
              moments(guided_law(named_mixture("C3"), guidance("1", eta), steps, horizon = 5))$cov
            }))
  expect_lt(max(eigen(covs[[2]] - covs[[1]])$values), 0)
  expect_lt(max(eigen(covs[[3]] - covs[[1]])$values), 0)
  # the table is from 2e4 particles
  known <- list(c(.683, .854), c(.646, .829))
  for (i in 1:2) {
    expect_equal(rev(eigen(covs[[i + 1]])$values), known[[i]], tolerance = .015)
  }
})

test_that("units of the data change the entropies by their logarithm, and nothing else", {
  found <- lapply(c(1, 100), function(unit) {
    m <- standardise(gaussmix(c(.4, .6), c(-1, 1) * unit, .5 * unit^2))
    guidance_identities(m, 50, "1", 1, sampler_heun(10), key = 1:2)
  })
  expect_equal(found[[2]][c("start", "end")], found[[1]][c("start", "end")] + log(100))
  same <- c("change", "integral", "guidance", "gap", "end_se")
  expect_equal(found[[2]][same], found[[1]][same])
})

test_that("the entropy refuses what it cannot do by name", {
  expect_mixguide_error(guidance_identities(named_mixture("A1"), 50, "1", 1, sampler_rk4(9)),
                        "mixture")
  expect_mixguide_error(guidance_identities(A2, 50, guidance("1", 1), NA, sampler_rk4(9)), "strength")
  expect_mixguide_error(guidance_identities(A2, 0, "1", 1, sampler_rk4(9)), "n")
  points <- gaussmix(c(.5, .5), c(-1, 1), 0)
  expect_error(guidance_identities(points, 50, "1", 1, sampler_rk4(9)),
               class = "mixguide_error_singular")
})

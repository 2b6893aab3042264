# E log q and E 1/q along the guided SDE: both sides.

A2 <- named_mixture("A2")

test_that("both sides of both identities agree to 1e-3 in continuous time, and with the table", {
  # A2, horizon 5, extrapolated from 100 and 200 uniform steps
  known <- theory("sde-identities")
  sides <- sde_identities(A2, "1", known$strength, sampler = sampler_em(100, "uniform"),
                          horizon = 5, limit = TRUE)
  log_q <- sides[sides$mean_of == "log q", ]
  inverse <- sides[sides$mean_of == "1/q", ]
  expect_lt(max(abs(log_q$change - known$change)), 1e-5)
  expect_lt(max(abs(log_q$integral - known$integral)), 1e-3)
  expect_lt(max(abs(inverse$end - known$end)), 1e-5)
  expect_lt(max(abs(log_q$gap)), 1e-3)
  # uniform steps are coarse where the confidence is near 0
  expect_lt(max(abs(inverse$gap)), 3e-3)
  sides <- sde_identities(A2, "1", c(0, 2), sampler = sampler_em(120), horizon = 5, limit = TRUE)
  expect_lt(max(abs(sides$gap)), 1e-3)
})

test_that("they hold for unequal covariances, classes of several components, other schedules", {
  m <- gaussmix(c(.3, .3, .4), c(-1, 0, 1.5), c(.5, 1, .8), class = c("a", "b", "a"))
  cases <- list(
    sde_identities(m, "a", c(-.5, 1.5), sampler = sampler_em(60), limit = TRUE),
    sde_identities(m, "b", 1, schedule = schedule_vp(), limit = TRUE,
                   sampler = sampler_exponential(80, stochastic = TRUE)),
    sde_identities(m, "a", 1, schedule = schedule_flow(), horizon = .9,
                   sampler = sampler_em(60, "uniform"), limit = TRUE),
    # no geometric condition is needed: the angle is obtuse
    sde_identities(named_mixture("H3"), "1", 1, sampler = sampler_em(36), limit = TRUE)
  )
  for (sides in cases) {
    expect_lt(max(abs(sides$gap) / (.1 + abs(sides$change))), .01)
    expect_identical(unique(sides$method), "quadrature")
  }
})

test_that("from the exact start, unguided, the mean of 1/q stays 1/w", {
  sides <- sde_identities(A2, "1", 0, sampler = sampler_em(100), start = "exact", limit = TRUE)
  expect_equal(sides$start[2], 2, tolerance = 1e-9)
  expect_equal(sides$end[2], 2, tolerance = 1e-3)
  expect_identical(sides$integral[2], 0)
})

test_that("particles agree with quadrature, with honest paired standard errors", {
  withr::local_seed(1)
  exact <- sde_identities(named_mixture("C3"), "1", 1, sampler = sampler_em(30))
  z <- vapply(1:40, function(i) {
    sides <- sde_identities(named_mixture("C3"), "1", 1, 200, sampler_em(30))
    c((sides$gap - exact$gap)[1] / sides$gap_se[1],
      (sides$change - exact$change)[1] / sides$change_se[1])
  }, double(2))
  for (j in 1:2) expect_honest(z[j, ])
  # four dimensions that do not reduce to two
  sides <- sde_identities(named_mixture("G4"), "1", 1, 500, sampler_em(100))
  expect_lt(max(abs(sides$gap) / sides$gap_se), 4.5)
  expect_error(sde_identities(named_mixture("G4"), "1", 1), class = "mixguide_error")
})

test_that("it prints, and refuses what it cannot do by name", {
  sides <- sde_identities(A2, "1", 1, 50, sampler_em(10))
  expect_output(print(sides), "by particles")
  expect_s3_class(as.data.frame(sides), "data.frame", exact = TRUE)
  expect_mixguide_error(sde_identities(A2, "3"), "guidance")
  expect_mixguide_error(sde_identities(A2, "1", "a"), "strength")
  expect_mixguide_error(sde_identities(A2, "1", 1, n = 1), "n")
  expect_mixguide_error(sde_identities(A2, "1", 1, sampler = sampler_ddim()), "sampler")
  expect_mixguide_error(sde_identities(A2, "1", 1, start = "given"), "start")
  points <- gaussmix(c(.5, .5), c(-1, 1), 0)
  expect_error(sde_identities(points, "1", 1), class = "mixguide_error_singular")
})

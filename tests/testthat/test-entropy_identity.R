test_that("the entropy from the log-density and the trace formula agree with the tables", {
  withr::local_seed(621)
  for (i in which(theory_exact$A2$strength %in% c(.5, 8))) {
    rows <- theory_exact$A2
    found <- entropy_identity(named_mixture("A2"), guidance = guidance("1", rows$strength[i]),
                              n = 1000, horizon = 5)
    both <- found[1:2, ]
    expect_identical(both$quantity, c("log_density", "trace_formula"))
    expect_lt(max(abs(both$estimate - rows$entropy[i]) / both$se), 4)
    # the two sides use the same particles, so they agree far beyond their standard errors
    expect_lt(abs(diff(both$estimate)), 1e-3)
    terms <- by_quantity(found)[c("start", "flow", "guidance")]
    expect_equal(sum(unlist(terms)), by_quantity(found)$trace_formula)
  }
})

test_that("the formula holds for any weights, means and common covariance, and any schedule", {
  withr::local_seed(622)
  mixture <- gaussmix(c(.2, .3, .1, .4), matrix(rnorm(12), 4),
                      crossprod(matrix(rnorm(9), 3)) / 3 + diag(.3, 3), c("a", "b", "b", "c"))
  for (class in c("a", "b")) for (schedule in list(schedule_ou(), schedule_vp())) {
    found <- entropy_identity(mixture, guidance = guidance(class, 2), n = 200,
                              sampler = sampler_rk4(80), schedule = schedule)
    expect_lt(abs(diff(found$estimate[1:2])), 5e-3)
  }
})

test_that("without guidance towards one Gaussian nothing is random", {
  found <- entropy_identity(named_mixture("F2"), guidance = guidance("1", 0), n = 50)
  expect_identical(found$se[2], 0)
  terms <- unlist(by_quantity(found))
  # covariance diag(2, .2) at the end, nearly N(0, I) at the start
  expect_equal(unname(terms[c("start", "guidance")]), c(log(2 * pi * exp(1)), 0))
  expect_equal(terms[["flow"]], log(.4) / 2, tolerance = 1e-3)
  expect_output(print(found), "trace formula.*start +2.838 +exact.*guidance +0 +Monte Carlo")
  expect_output(print(found[1, ]), "log_density")
  expect_identical(class(as.data.frame(found)), "data.frame")
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

test_that("bad arguments are answered by name", {
  expect_error(entropy_identity(named_mixture("A1"), guidance = guidance("1", 1)), "`mixture`",
               class = "mixguide_error")
  expect_error(entropy_identity(named_mixture("A2"), guidance = guidance("1", NA)), "`strength`",
               class = "mixguide_error")
  expect_error(entropy_identity(named_mixture("A2"), guidance = guidance("1", 1),
                                sampler = sampler_em()), "`sampler`",
               class = "mixguide_error")
  expect_error(entropy_identity(named_mixture("A2"), guidance = guidance("1", 1), n = 0), "`n`",
               class = "mixguide_error")
})

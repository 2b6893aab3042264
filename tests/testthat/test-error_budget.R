exponential_sde <- function(n, grid = "uniform") sampler_exponential(n, grid, stochastic = TRUE)
value_of <- function(budget, statement, quantity = "kl") {
  budget$estimate[budget$quantity == quantity & budget$statement == statement]
}

test_that("bounds for A1 and B2 are the known ones", {
  check <- function(name, steps, simple, stepwise, with_L = NULL) {
    budget <- error_budget(named_mixture(name), sampler = exponential_sde(steps), horizon = 3,
                           measure = FALSE)
    expect_equal(value_of(budget, "bound without L, stepwise"), stepwise, tolerance = 2e-5)
    if (!is.null(simple)) {
      expect_equal(value_of(budget, "bound without L, simple"), simple, tolerance = 4e-5)
      expect_equal(value_of(budget, "bound with L"), with_L, tolerance = 2e-3)
    } else expect_identical(value_of(budget, "bound with L"), NA_real_)
    integrated <- value_of(budget, "bound without L, integrated")
    expect_lt(integrated, value_of(budget, "bound without L, stepwise"))
    expect_gt(integrated, value_of(budget, "path KL"))
  }
  check("A1", 50, 1.2669, .67440, 41.6)
  check("B2", 50, NULL, 1.1209)
})

test_that("bounds of the start of A1 are the known ones", {
  budget <- error_budget(named_mixture("A1"), sampler = exponential_sde(5), horizon = 1,
                         measure = FALSE)
  expect_equal(value_of(budget, "path KL: initialisation"), 1.383032e-2, tolerance = 1e-6)
  expect_equal(value_of(budget, "initialisation, log-Sobolev bound"), 7.589e-2, tolerance = 1e-4)
  expect_equal(value_of(budget, "initialisation, convexity bound"), .1679, tolerance = 3e-4)
})

test_that("with a wrong score the error of A1 is the known one, and below its path divergence", {
  budget <- error_budget(named_mixture("A1"), sampler = exponential_sde(200), horizon = 3,
                         score_error = score_error(bias = .1), lipschitz = 15.2)
  expect_equal(value_of(budget, "measured"), 2.388863e-2, tolerance = 1e-4)
  expect_equal(value_of(budget, "measured", "total_variation"), .086739, tolerance = 1e-3)
  expect_equal(value_of(budget, "path KL"), .07779691, tolerance = 1e-6)
  expect_equal(value_of(budget, "by the path KL", "total_variation"), sqrt(.07779691 / 2),
               tolerance = 1e-6)
})

test_that("measured errors, path divergences and bounds are in order on random mixtures", {
  samplers <- list(exponential_sde, function(n) sampler_em(n), function(n) {
    sampler_ddpm(n, variance = "scaled")
  })
  for (i in 1:3) {
    set.seed(i)
    mixture <- random_mixture("isotropic", 1, sample(2:4, 1))$mixture
    budget <- error_budget(mixture, sampler = samplers[[i %% 3 + 1]](sample(5:30, 1)),
                           horizon = 2.5)
    ladder <- c("measured", "path KL, at grid times", "path KL", "bound without L, integrated")
    ladder <- vapply(ladder, value_of, 0, budget = budget)
    expect_gt(min(diff(ladder)), -1e-12)
    for (bound in c("bound without L, simple", "bound with L")) {
      expect_gt(value_of(budget, bound), ladder[["path KL"]])
    }
    expect_gt(value_of(budget, "bound without L, simple"), ladder[[4]])
    begin <- vapply(c("path KL: initialisation", "initialisation, log-Sobolev bound",
                      "initialisation, convexity bound"), value_of, 0, budget = budget)
    expect_gt(min(begin[-1]), begin[1])
    variation <- budget[budget$quantity == "total_variation" & budget$kind != "rate", ]
    expect_identical(which.min(variation$estimate), 1L)
  }
  plane <- gaussmix(c(.5, .5), rbind(c(-1, 0), c(1, .5)),
                    list(c(.6, 1), matrix(c(.8, .2, .2, .7), 2)))
  budget <- error_budget(plane, sampler = exponential_sde(5), horizon = 1.5)
  ladder <- c("measured", "path KL, at grid times", "path KL", "bound without L, integrated",
              "bound without L, simple")
  expect_gt(min(diff(vapply(ladder, value_of, 0, budget = budget))), 0)
})

test_that("bounds of F and I hold at all times, in up to three dimensions", {
  for (i in 1:12) {
    set.seed(i)
    mixture <- random_mixture(FORMS[i %% 6 + 1], i %% 3 + 1, 3)$mixture
    pieces <- mixguide:::precision_pieces(mixture)
    for (t in c(0, .2, 1)) {
      bound <- mixguide:::curvature_bound(pieces, exp(-t), -expm1(-2 * t))
      exact <- information(mixture, t, n = 2000)
      expect_lt(exact$curvature - 4 * exact$curvature_se, bound[["sharp"]])
      expect_lte(bound[["sharp"]], bound[["simple"]])
      expect_lt(exact$fisher - 4 * exact$fisher_se, bound[["fisher"]])
    }
  }
  # for one Gaussian the bound with B its precision is the truth, and d at infinity
  one <- mixguide:::precision_pieces(gaussmix(1, c(1, 2), matrix(c(2, .5, .5, 1), 2)))
  truth <- information(gaussmix(1, c(1, 2), matrix(c(2, .5, .5, 1), 2)))$curvature
  expect_equal(mixguide:::curvature_bound(one, 1, 0)[["sharp"]], truth)
  far <- mixguide:::curvature_bound(mixguide:::precision_pieces(named_mixture("B2")), 1e-6, 1)
  expect_equal(far[["sharp"]], 2, tolerance = 1e-6)
})

test_that("a deterministic sampler carries the error of the start to the end", {
  budget <- error_budget(named_mixture("A1"), sampler = sampler_rk4(60), horizon = 1)
  expect_equal(value_of(budget, "error of the start"), 1.383032e-2, tolerance = 1e-6)
  expect_equal(value_of(budget, "measured"), 1.383032e-2, tolerance = 1e-5)
  expect_lte(value_of(budget, "measured", "total_variation"),
             value_of(budget, "sum of the two (triangle inequality)", "total_variation"))
  expect_null(attr(budget, "path"))
})

test_that("published rates are the stated formulas, and are there only where they apply", {
  A1 <- named_mixture("A1")
  rates <- function(mixture, sampler, ...) {
    budget <- error_budget(mixture, sampler = sampler, ..., measure = FALSE)
    stats::setNames(budget$estimate[budget$kind == "rate"], budget$statement[budget$kind == "rate"])
  }
  # e0 = .1, T = 2, N = 10, L = 15.2 and, for A1, m2^2 = 2.807, KL(p0 || N) = .5607811889
  found <- rates(A1, exponential_sde(10), horizon = 2, score_error = score_error(bias = .1),
                 lipschitz = 15.2)
  expect_equal(found[["Chen, Chewi et al. 2023"]],
               sqrt(.5607811889) * exp(-2) + .1 * sqrt(2) +
                 15.2 * (sqrt(.2) + sqrt(2.807) * .2) * sqrt(2), tolerance = 1e-8)
  lee <- 3.807 * exp(-4) + 4 * .01
  expect_equal(found[["Chen, Lee and Lu 2023"]], lee + 16 * 15.2^2 / 10)
  expect_identical(found[["Benton et al. 2024"]], NA_real_)
  found <- rates(A1, sampler_em(10), horizon = 2, lipschitz = 15.2,
                 score_error = score_error(bias = .1))
  expect_equal(unname(found), lee + 16 * 15.2^2 / 10 + 64 * 2.807 / 100)
  found <- rates(A1, exponential_sde(10, "exponential"), horizon = 2, lipschitz = 15.2,
                 score_error = score_error(bias = .1))
  expect_equal(found[["Chen, Lee and Lu 2023"]], lee + (4 + log(15.2))^2 / 10)
  # data of variance 1, and a sampler that stops early
  white <- gaussmix(c(.5, .5), c(-.6, .6), .64)
  times <- c(2, 1, .4, .1)
  found <- rates(white, sampler_exponential(stochastic = TRUE, grid = times), lipschitz = 2)
  expect_equal(found[["Benton et al. 2024"]], 9 * 3 + 3 * 2 + exp(-4))
  found <- rates(A1, sampler_dpom(15.2, 1 / 30.4, 1 / 60.8, 3, .001))
  expect_equal(unname(found), (1 + sqrt(2.807)) * exp(-3) + 15.2^2 * 3 / 30.4 +
                 15.2^1.5 * 3 / sqrt(60.8), tolerance = 1e-8)
  # the statement supposes L >= 1
  expect_identical(rates(A1, exponential_sde(5), lipschitz = .5),
                   rates(A1, exponential_sde(5), lipschitz = 1))
  expect_length(rates(A1, sampler_heun(5)), 0)
  expect_length(rates(A1, exponential_sde(5), schedule = schedule_ve()), 0)
})

test_that("the slope of the bound of a total variation is its derivative", {
  kl <- c(1e-6, .1, 1, 2, 5)
  bound <- mixguide:::variation_bound
  expect_equal(mixguide:::variation_slope(kl),
               (bound(kl * (1 + 1e-6)) - bound(kl * (1 - 1e-6))) / (2e-6 * kl), tolerance = 1e-6)
})

test_that("odd cases are in the table, with the reason", {
  A1 <- named_mixture("A1")
  # a run needs a score_error(), so the error of a bare field is not measured
  budget <- error_budget(A1, sampler = exponential_sde(5), score_error = function(x, t) .1 * x)
  expect_identical(value_of(budget, "measured"), NA_real_)
  expect_match(budget$note[1], "score_error")
  expect_true(all(is.finite(budget$estimate[budget$kind == "bound"])))
  budget <- error_budget(A1, sampler = sampler_ddpm(20, variance = "large"))
  expect_setequal(budget$statement[budget$kind == "bound"],
                  c("path KL, at grid times", "by the path KL, at grid times"))
  points <- gaussmix(c(.5, .5), c(-1, 1), 0)
  budget <- error_budget(points, sampler = exponential_sde(5, c(2, 1, .3, .1)), horizon = 2)
  expect_false(anyNA(budget$estimate[budget$kind != "rate"]))
  # every missing number has its reason
  expect_match(budget$note[is.na(budget$estimate)], "infinite|covariance")
  one <- error_budget(gaussmix(1, t(1:3), diag(1:3)), sampler = exponential_sde(5), horizon = 1)
  expect_false(anyNA(one$estimate[one$kind != "rate"]))
  expect_error(error_budget(points, sampler = exponential_sde(5)),
               class = "mixguide_error_singular")
  expect_mixguide_error(error_budget(A1, lipschitz = 0), "lipschitz")
  expect_mixguide_error(error_budget(A1, measure = 2), "measure")
  expect_mixguide_error(error_budget(A1, score_error = 2), "score_error")
})

test_that("an error_budget prints, draws and is a data frame", {
  budget <- error_budget(named_mixture("A1"), sampler = sampler_em(10), horizon = 2)
  expect_output(print(budget), "no bounds")
  expect_output(print(budget), "measured +[0-9.e-]+ +quadrature")
  expect_output(print(budget[1:2]), "statement")
  expect_drawn(autoplot(budget))
  expect_identical(class(as.data.frame(budget)), "data.frame")
  expect_s3_class(attr(budget, "path"), "path_kl")
})

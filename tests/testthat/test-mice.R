# A mixture as an imputation method of mice, and imputations as objects of mice and mitools.
skip_if_not_installed("mice")
skip_if_not_installed("mclust")
by_mice <- function(data, ..., seed = 1) {
  mice::mice(data, method = "gaussmix", printFlag = FALSE, seed = seed, ...)
}

test_that("mice calls the method by its name, and imputes from the law given the predictors", {
  # two branches: y is near x or near -x, never between them
  withr::local_seed(1)
  x <- runif(600, 2, 4)
  y <- x * sample(c(-1, 1), 600, TRUE) + rnorm(600, sd = .1)
  gone <- rep(c(TRUE, FALSE), c(200, 400))
  data <- data.frame(x, y = replace(y, gone, NA))
  filled <- by_mice(data, m = 2, maxit = 1)
  for (i in 1:2) {
    drawn <- mice::complete(filled, i)$y[gone]
    expect_lt(mean(abs(abs(drawn) - x[gone])), .3)
    # 200 draws of a sign
    expect_lt(abs(mean(drawn > 0) - .5), 4 * .5 / sqrt(200))
  }
  # the seed determines them
  expect_identical(mice::complete(by_mice(data, m = 2, maxit = 1), 1), mice::complete(filled, 1))
})

test_that("of one Gaussian the imputed mean has the error that it should", {
  withr::local_seed(2)
  means <- suppressWarnings(replicate(60, {
    x <- rnorm(80)
    y <- x + rnorm(80)
    y[1:30] <- NA
    filled <- by_mice(data.frame(x, y), m = 5, maxit = 1, G = 1, seed = NA)
    pooled <- summary(mice::pool(with(filled, lm(y ~ 1))), conf.int = TRUE)
    c(pooled$estimate, abs(pooled$estimate) < 2 * pooled$std.error)
  }))
  expect_lt(abs(mean(means[1, ])), 4 * sd(means[1, ]) / sqrt(60))
  expect_gt(sum(means[2, ]), 50)
})

test_that("nhanes and boys are imputed, and a variable without missing values is left alone", {
  suppressWarnings({
    filled <- by_mice(mice::nhanes, m = 2, maxit = 2, G = 1)
    numbers <- mice::boys[seq(1, 748, by = 4), c("age", "hgt", "wgt", "bmi", "hc")]
    boys <- by_mice(numbers, m = 1, maxit = 1, G = 1:2)
  })
  expect_false(anyNA(mice::complete(filled)))
  expect_false(anyNA(mice::complete(boys)))
  expect_identical(mice::complete(filled)$age, mice::nhanes$age)
})

test_that("what does not fit is an error that names the argument", {
  y <- c(1, 2, NA, 4, 2, 3)
  x <- matrix(1:6)
  expect_mixguide_error(mice.impute.gaussmix(letters[1:6], !is.na(y), x), "y")
  expect_mixguide_error(mice.impute.gaussmix(y, 1, x), "ry")
  expect_mixguide_error(mice.impute.gaussmix(y, !is.na(y), x, wy = NA), "wy")
  expect_mixguide_error(mice.impute.gaussmix(y, !is.na(y), matrix(NA_real_, 6)), "x")
  expect_mixguide_error(mice.impute.gaussmix(y, !is.na(y), x[1:3, , drop = FALSE]), "x")
  expect_identical(mice.impute.gaussmix(y, !is.na(y), x, wy = rep(FALSE, 6)), double())
  expect_identical(mice.impute.gaussmix(c(3, 3, NA), c(TRUE, TRUE, FALSE), cbind(1:3)), 3)
})

test_that("imputations are pooled by mice and by mitools as by hand", {
  withr::local_seed(3)
  mixture <- as_gaussmix(stats::na.omit(airquality[1:4]), class = rep("all", 111))
  filled <- suppressWarnings(impute(mixture, airquality, m = 5))
  fits <- lapply(filled$imputations, function(data) lm(Ozone ~ Wind + Temp, data))
  estimate <- sapply(fits, coef)
  within <- rowMeans(sapply(fits, function(fit) diag(vcov(fit))))
  se <- sqrt(within + (1 + 1 / 5) * apply(estimate, 1, var))
  # the function is no generic and takes the long form alone, as the help page says
  expect_error(mice::as.mids(filled), ".imp", fixed = TRUE)
  mids <- mice::as.mids(as.data.frame(filled))
  pooled <- summary(mice::pool(with(mids, lm(Ozone ~ Wind + Temp))))
  expect_equal(pooled$estimate, unname(rowMeans(estimate)))
  expect_equal(pooled$std.error, unname(se))
  skip_if_not_installed("mitools")
  combined <- mitools::MIcombine(with(filled, lm(Ozone ~ Wind + Temp)))
  expect_equal(stats::coef(combined), rowMeans(estimate))
  expect_equal(sqrt(diag(stats::vcov(combined))), se)
})

# Imputation against conditioning row by row, quadrature, and the coverage of intervals.

holes <- function(x, share) {
  x[matrix(stats::runif(length(x)) < share, nrow(x))] <- NA
  x
}

test_that("a cell has the mean, sd and quantiles of its conditional law", {
  withr::local_seed(63)
  for (form in c("common diagonal", "common full", "full")) {
    m <- random_mixture(form, 3, 3)$mixture
    colnames(m$means) <- c("a", "b", "c")
    data <- as.data.frame(holes(rgaussmix(30, m)[, ], .4))
    filled <- impute(m, data, m = 0)
    expect_length(filled$imputations, 0)
    cells <- summary(filled, level = .8)
    expect_identical(nrow(cells), sum(is.na(data)))
    for (i in sample(nrow(cells), 8)) {
      row <- unlist(data[cells$row[i], ])
      law <- if (all(is.na(row))) m else condition(m, row[!is.na(row)])
      law <- marginal(law, cells$variable[i])
      expect_equal(cells$mean[i], mean(law)[[1]], tolerance = 1e-10)
      expect_equal(cells$sd[i], sqrt(moments(law)$cov[1]), tolerance = 1e-10)
      expect_equal(c(cells$lower[i], cells$upper[i]), qgaussmix(c(.1, .9), law), tolerance = 1e-8)
    }
  }
})

test_that("draws have the conditional law, and keep what is observed", {
  withr::local_seed(64)
  m <- named_mixture("M2")
  data <- data.frame(x1 = c(.8, NA, NA), x2 = c(NA, 0, NA), other = letters[1:3])
  filled <- impute(gaussmix(m$weights, `colnames<-`(m$means, c("x1", "x2")),
                            lapply(1:3, component_cov, mixture = m)), data, m = 4000)
  draws <- vapply(filled$imputations, function(x) as.matrix(x[1:2]), matrix(0, 3, 2))
  expect_true(all(draws[1, 1, ] == .8) && all(draws[2, 2, ] == 0))
  # mean and sd of the missing value (tests/REFERENCES.md, posterior of M2)
  cells <- filled$cells
  expect_lt(max(abs(cells$mean[1:2] - c(.8208, .9339))), 5.1e-5)
  expect_lt(max(abs(cells$sd[1:2] - c(1.0236, 1.5993))), 5.1e-5)
  where <- cbind(cells$row, match(cells$variable, c("x1", "x2")))
  z <- vapply(seq_len(nrow(cells)), function(i) {
    (mean(draws[where[i, 1], where[i, 2], ]) - cells$mean[i]) / (cells$sd[i] / sqrt(4000))
  }, 0)
  expect_honest(z)
  # tests of the whole distribution, and of the dependence between two missing cells
  law <- condition(m, c(x1 = .8))
  expect_gt(suppressWarnings(ks.test(draws[1, 2, ], pgaussmix, law))$p.value, 1e-6)
  mean_of <- moments(m)$mean
  both <- crossprod(t(draws[3, , ]) - rep(mean_of, each = 4000)) / 4000
  # fourth moments from far more draws
  products <- apply(rgaussmix(1e5, m) - rep(mean_of, each = 1e5), 1, tcrossprod)
  z <- (both - moments(m)$cov) / (apply(products, 1, sd) / sqrt(4000))
  expect_honest(z[c(1, 2, 4)])
  expect_identical(filled$imputations[[1]]$other, data$other)
})

test_that("intervals cover: a mixture fitted to airquality, its own cells taken away", {
  withr::local_seed(65)
  complete <- stats::na.omit(airquality[1:4])
  complete$Ozone <- log(complete$Ozone)
  fit <- as_gaussmix(complete, class = rep("all", nrow(complete)))
  hidden <- as.data.frame(holes(as.matrix(complete), .25))
  cells <- summary(impute(fit, hidden, m = 0), level = .9)
  truth <- as.matrix(complete)[cbind(cells$row, match(cells$variable, names(complete)))]
  covered <- mean(truth >= cells$lower & truth <= cells$upper)
  # 0.9, as far as one Gaussian fits these data
  expect_lt(abs(covered - .9), .07)
  # draws from the mixture itself: binomial, with a false alarm of 1e-6
  m <- named_mixture("M2")
  x <- rgaussmix(2000, m)[, ]
  gone <- cbind(rep(c(TRUE, FALSE), 1000), rep(c(FALSE, TRUE), 1000))
  cells <- summary(impute(m, replace(x, gone, NA), m = 0), level = .9)
  truth <- x[cbind(cells$row, match(cells$variable, c("V1", "V2")))]
  inside <- sum(truth > cells$lower & truth < cells$upper)
  expect_gt(inside, qbinom(5e-7, 2000, .9))
  expect_lt(inside, qbinom(1 - 5e-7, 2000, .9))
})

test_that("known classes narrow the law", {
  m <- as_gaussmix(Species ~ ., iris)
  data <- iris[c(1, 60, 120), ]
  data$Petal.Length <- NA
  data$Species[3] <- NA
  cells <- impute(m, data, m = 0, class = "Species")$cells
  one <- function(class, i) {
    condition(mixguide:::class_law(m, class), unlist(data[i, c(1, 2, 4)]))
  }
  expect_equal(cells$mean, unname(c(mean(one("setosa", 1)), mean(one("versicolor", 2)),
                                    mean(one(NULL, 3)))))
  expect_equal(impute(m, data, m = 0, class = as.character(data$Species))$cells, cells)
  expect_mixguide_error(impute(m, data, class = c("a", "b", "c")), "class")
  expect_mixguide_error(impute(m, data, class = 1:2), "class")
})

test_that("the forms that other packages read", {
  withr::local_seed(66)
  m <- as_gaussmix(Species ~ ., iris)
  data <- iris[c(1, 51, 101), c(5, 2, 1, 4, 3)]
  data[1, 2] <- data[3, 3] <- NA
  filled <- impute(m, data, m = 2)
  expect_s3_class(filled, "imputationList")
  expect_named(filled$imputations[[1]], names(data))
  expect_identical(filled$patterns, data.frame(missing = c("Sepal.Width", "Sepal.Length"),
                                               rows = c(1L, 1L)))
  long <- as.data.frame(filled)
  expect_identical(long$.imp, rep(0:2, each = 3))
  expect_identical(long$.id, rep(1:3, 3))
  expect_identical(is.na(long$Sepal.Width), c(TRUE, rep(FALSE, 8)))
  expect_equal(long[4:6, -(1:2)], filled$imputations[[1]], ignore_attr = TRUE)
  expect_output(print(filled), "2 missing cells in 2 of 3 rows")
  expect_drawn(autoplot(filled))
  withr::local_seed(66)
  expect_equal(impute(m, data, m = 2)$imputations, filled$imputations)
})

test_that("nothing, or all, is missing; columns of NA; one variable", {
  m <- named_mixture("M2")
  none <- impute(m, diag(2))
  expect_identical(nrow(none$cells), 0L)
  expect_identical(none$imputations[[5]], as.data.frame(diag(2)))
  expect_output(print(none), "0 missing cells")
  expect_identical(nrow(summary(none)), 0L)
  expect_identical(nrow(impute(m, diag(2)[0, ])$cells), 0L)
  all <- impute(m, data.frame(a = NA, b = NA), m = 1)
  expect_equal(all$cells$mean, unname(mean(m)))
  expect_equal(all$cells$sd^2, unname(diag(moments(m)$cov)))
  one <- impute(named_mixture("A1"), data.frame(x = c(NA, 1)), m = 1)
  expect_equal(one$cells$mean, unname(mean(named_mixture("A1"))))
  # a variable that the observed one determines
  line <- impute(gaussmix(1, t(c(0, 0)), matrix(1, 2, 2)), cbind(.7, NA), m = 1)
  expect_equal(line$imputations[[1]][1, 2], .7)
  expect_identical(line$cells$sd, 0)
  expect_equal(unlist(summary(line)[c("lower", "upper")], use.names = FALSE), c(.7, .7))
})

test_that("bad data are answered by name", {
  m <- as_gaussmix(Species ~ ., iris)
  expect_mixguide_error(impute(m, 1:3), "data")
  expect_mixguide_error(impute(m, iris[1:3]), "data")
  expect_mixguide_error(impute(m, replace(iris, 1, letters[1])), "data")
  expect_mixguide_error(impute(m, replace(iris, 1, Inf)), "data")
  expect_mixguide_error(impute(m, iris, m = -1), "m")
  expect_mixguide_error(impute(named_mixture("M2"), diag(3)), "data")
  atoms <- gaussmix(c(.5, .5), diag(2), 0)
  expect_error(impute(atoms, rbind(c(1, NA), c(.5, NA))), "row 2",
               class = "mixguide_error_impossible")
})

test_that("what cannot be is said as it is", {
  z <- gaussmix(c(1, 0), c(0, 1), 1, class = c("a", "b"))
  expect_error(impute(z, data.frame(x = c(NA, 1)), class = c("b", "a")), "row 1.*weight 0",
               class = "mixguide_error_impossible")
  expect_error(condition(z, observation(1e160, cbind(1), 1)), "too far",
               class = "mixguide_error_impossible")
  none <- impute(z, data.frame(x = c(NA_real_, NA)), m = 0)
  expect_output(print(none), "0 imputations")
  expect_error(plot(none), "`m` > 0", class = "mixguide_error")
})

test_that("how unlikely a point is: against closed forms and quadrature, in any units", {
  withr::local_seed(67)
  x <- c(0, 1, 3, 5, 7)
  for (unit in c(1e-6, 1, 1e6)) {
    # one Gaussian, and two equal ones
    S <- matrix(c(1, .6, .6, 2), 2) * unit^2
    direction <- drop(t(chol(S)) %*% c(.6, .8))
    for (law in list(gaussmix(1, t(c(3, -2) * unit), S),
                     gaussmix(c(.3, .7), rbind(c(3, -2), c(3, -2)) * unit, list(S, S)))) {
      p <- density_tail(law, rep(c(3, -2) * unit, each = 5) + outer(x, direction))
      expect_equal(log(p[-1]), -x[-1]^2 / 2, tolerance = .01)
      expect_equal(p[1], 1)
    }
    m <- gaussmix(c(.9, .1), c(-1, 3) * unit, c(1, .01) * unit^2)
    at <- c(-5, -3, -1, 1.5, 2, 3, 3.5) * unit
    grid <- seq(-9, 6, length.out = 2e5) * unit
    mass <- dgaussmix(grid, m) * (grid[2] - grid[1])
    truth <- vapply(dgaussmix(at, m), function(p) {
      sum(mass[dgaussmix(grid, m) <= p]) + 2 * pnorm(-8) * .9
    }, 0)
    expect_equal(density_tail(m, matrix(at)), truth, tolerance = .03)
  }
  # data from the mixture give uniform values
  for (i in 1:6) {
    d <- sample(4, 1)
    spread <- sample(c(.3, 1.5, 5), 1)
    m <- random_mixture(sample(FORMS, 1), d, sample(5, 1), spread = spread)$mixture
    p <- density_tail(m, rgaussmix(2000, m))
    expect_gt(suppressWarnings(ks.test(p, "punif"))$p.value, 1e-4)
    expect_lt(sum(p < .01), qbinom(1e-6, 2000, .01, lower.tail = FALSE))
    expect_gt(sum(p < .01), qbinom(1e-6, 2000, .01))
  }
  state <- .Random.seed
  density_tail(m, rgaussmix(0, m))
  expect_identical(.Random.seed, state)
})

test_that("tables from the mixture raise no alarm, and rows from elsewhere do", {
  withr::local_seed(68)
  m <- random_mixture("full", 3, 2, spread = 3)$mixture
  colnames(m$means) <- c("a", "b", "c")
  x <- holes(rgaussmix(5000, m)[, ], .3)
  expect_silent(clean <- impute(m, x, m = 0))
  expect_identical(clean$rows$row, which(rowSums(is.na(x)) > 0))
  expect_identical(clean$rows$observed, as.integer(rowSums(!is.na(x)))[clean$rows$row])
  expect_true(all(clean$rows$probability[clean$rows$observed == 0] == 1))
  # one far row among many, and many rows that are a little off
  far <- rbind(x[1:50, ], c(NA, 40, -40))
  expect_warning(filled <- impute(m, far, m = 1), class = "mixguide_warning_unlikely")
  expect_identical(filled$rows$row[filled$rows$probability < 1e-9], 51L)
  expect_output(print(filled), "1 row (51)", fixed = TRUE)
  off <- x[1:500, ]
  off[, 3] <- off[, 3] + 9
  expect_warning(impute(m, off, m = 0), "extrapolates", class = "mixguide_warning_unlikely")
  # under the known class
  iris_mixture <- as_gaussmix(Species ~ ., iris)
  row <- replace(iris[1, ], 2, NA)
  expect_silent(impute(iris_mixture, row, m = 0, class = "setosa"))
  expect_warning(impute(iris_mixture, row, m = 0, class = "virginica"),
                 class = "mixguide_warning_unlikely")
  # there is no density, so nothing to compare
  atoms <- gaussmix(c(.5, .5), diag(2), 0)
  expect_identical(impute(atoms, rbind(c(1, NA)), m = 0)$rows$probability, NA_real_)
})

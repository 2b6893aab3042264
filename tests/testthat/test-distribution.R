# An error of class mixguide_error whose message starts with the argument and has `words`.
expect_input_error <- function(code, arg, words = NULL) {
  error <- testthat::expect_error(code, class = "mixguide_error")
  for (part in c(paste0("`", arg, "`"), words)) {
    testthat::expect_match(conditionMessage(error), part, fixed = TRUE)
  }
}

# Mixtures of each form in d dimensions, with K components.
mixture_of <- function(form, K, d) {
  square <- function() crossprod(matrix(rnorm(d * d), d)) / d + diag(.2, d)
  cov <- switch(form, "common isotropic" = .7, "common diagonal" = diag(runif(d, .5, 2), d),
                "common full" = square(), isotropic = as.list(runif(K, .5, 2)),
                diagonal = lapply(seq_len(K), function(k) runif(d, .5, 2)),
                full = lapply(seq_len(K), function(k) square()))
  gaussmix(runif(K), matrix(rnorm(K * d, sd = 2), K), cov)
}
forms <- c("common isotropic", "common diagonal", "common full", "isotropic", "diagonal", "full")

test_that("the log-density agrees with mvnfast for each form, dimension and number of components", {
  skip_if_not_installed("mvnfast")
  withr::local_seed(1)
  for (form in forms) for (d in c(1, 2, 5, 50)) for (K in c(1, 3, 100)) {
    mixture <- mixture_of(form, K, d)
    x <- matrix(rnorm(7 * d, sd = 3), 7)
    oracle <- mvnfast::dmixn(x, mixture$means, lapply(seq_len(K), component_cov, mixture = mixture),
                             mixture$weights, log = TRUE)
    expect_equal(dgaussmix(x, mixture, log = TRUE), drop(oracle), tolerance = 1e-10,
                 info = paste(form, d, K))
  }
})

test_that("the density agrees with mclust", {
  skip_if_not_installed("mclust")
  withr::local_package("mclust")
  fit <- Mclust(iris[1:4], G = 3, modelNames = "VEV", verbose = FALSE)
  expect_equal(dgaussmix(iris[1:4], as_gaussmix(fit), log = TRUE),
               dens(iris[1:4], "VEV", fit$parameters, logarithm = TRUE),
               tolerance = 1e-10)
})

# dgaussmix() looks at single points only if a log-density is not finite, or if a point is far out.
test_that("a point that is not finite has no finite log-density, whatever the form", {
  withr::local_seed(2)
  for (form in forms) for (d in c(1, 3)) for (K in c(1, 4)) {
    mixture <- mixture_of(form, K, d)
    x <- matrix(rnorm(700 * d), 700)
    finite <- dgaussmix(x, mixture, log = TRUE)
    for (row in c(1, 600)) for (column in seq_len(d)) {
      for (bad in c(NA, NaN)) {
        x_bad <- x
        x_bad[row, column] <- bad
        expect_error(dgaussmix(x_bad, mixture), paste("NA in 1 of 700 rows, first in row", row),
                     class = "mixguide_error")
      }
      for (bad in c(Inf, -Inf)) {
        x_bad <- x
        x_bad[row, column] <- bad
        expect_identical(dgaussmix(x_bad, mixture, log = TRUE), replace(finite, row, -Inf),
                         info = paste(form, d, K, row, column, bad))
      }
    }
  }
})

test_that("the log-density stays right 60 standard deviations out and with weights of 1e-300", {
  mixture <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1, 0)), 1)
  far <- c(60, 0)
  expect_equal(dgaussmix(far, mixture, log = TRUE),
               log(.5) - log(2 * pi) - 59^2 / 2 + log1p(exp(59^2 / 2 - 1800)), tolerance = 1e-14)
  tiny <- gaussmix(c(1, 1e-300), c(0, 100), 1)
  expect_equal(dgaussmix(100, tiny, log = TRUE), log(1e-300) + dnorm(0, log = TRUE),
               tolerance = 1e-14)
  expect_identical(dgaussmix(1e6, gaussmix(c(1, 0), c(0, 1e6), 1)), 0)
})

test_that("the density does not depend on the order of components, and moves and turns with them", {
  withr::local_seed(2)
  mixture <- mixture_of("full", 3, 2)
  x <- matrix(rnorm(10), 5)
  logp <- dgaussmix(x, mixture, log = TRUE)
  covs <- lapply(1:3, component_cov, mixture = mixture)
  turn <- qr.Q(qr(matrix(rnorm(4), 2)))
  turned <- gaussmix(mixture$weights[3:1], mixture$means[3:1, ] %*% turn + 5,
                     lapply(covs[3:1], function(S) crossprod(turn, S %*% turn)))
  expect_equal(dgaussmix(x %*% turn + 5, turned, log = TRUE), logp, tolerance = 1e-12)
})

test_that("points come as a matrix, a data frame in any order, or a vector", {
  mixture <- gaussmix(c(.5, .5), cbind(u = 0:1, v = 2:3), 1)
  points <- data.frame(v = c(1, 2), other = "a", u = c(0, 1))
  expect_identical(dgaussmix(points, mixture), dgaussmix(cbind(c(0, 1), c(1, 2)), mixture))
  expect_identical(dgaussmix(c(0, 1), mixture), dgaussmix(cbind(0, 1), mixture))
  expect_length(dgaussmix(matrix(0, 0, 2), mixture), 0)
  expect_equal(dgaussmix(1:3, gaussmix(1, 0, 1), log = FALSE), dnorm(1:3), tolerance = 1e-14)
})

test_that("a density of a singular mixture is an error that says what to do", {
  expect_error(dgaussmix(0, gaussmix(1, 0, 0)), "diffuse", class = "mixguide_error_singular")
  expect_error(dgaussmix(c(0, 0), gaussmix(1, c(0, 0), diag(1:0))),
               class = "mixguide_error_singular")
})

test_that("probabilities are the integral of the density, in both tails and in logs", {
  mixture <- gaussmix(c(.4, .6), c(-1, 2), c(.25, 1))
  for (q in c(-3, 0, 1.5, 4)) {
    below <- integrate(dgaussmix, -Inf, q, mixture = mixture, rel.tol = 1e-10)$value
    expect_equal(pgaussmix(q, mixture), below, tolerance = 1e-8)
    expect_equal(pgaussmix(q, mixture, lower.tail = FALSE), 1 - below, tolerance = 1e-8)
  }
  q <- c(-60, -5, 0, 5, 60)
  one <- gaussmix(1, 2, 9)
  for (lower in c(TRUE, FALSE)) for (log in c(TRUE, FALSE)) {
    expect_equal(pgaussmix(q, one, lower, log), pnorm(q, 2, 3, lower, log), tolerance = 1e-13)
  }
  # 1 - 1e-300 in logs; the sum over components would give 0
  expect_equal(pgaussmix(38, gaussmix(c(.3, .7), c(0, 0), c(1, 1)), log.p = TRUE),
               pnorm(38, log.p = TRUE), tolerance = 1e-13)
})

test_that("quantiles invert probabilities in the far tails, in logs and at the ends", {
  mixture <- gaussmix(c(.4, .6), c(-1, 2), c(.25, 1))
  p <- c(1e-300, 1e-20, .1, .4, .5, .99)
  expect_equal(pgaussmix(qgaussmix(p, mixture), mixture), p, tolerance = 1e-12)
  expect_equal(pgaussmix(qgaussmix(p, mixture, FALSE), mixture, FALSE), p, tolerance = 1e-12)
  logp <- c(-1e7, -1e4, -30, -1, -1e-4, -1e-100)
  expect_equal(pgaussmix(qgaussmix(logp, mixture, log.p = TRUE), mixture, log.p = TRUE) / logp,
               rep(1, 6), tolerance = 1e-11)
  expect_identical(qgaussmix(c(0, 1), mixture), c(-Inf, Inf))
  expect_equal(qgaussmix(c(.001, .5, .9), gaussmix(1, 3, 4)), qnorm(c(.001, .5, .9), 3, 2),
               tolerance = 1e-14)
  # the density at this median is 1e-6, so probabilities determine it to 1e-10 only
  expect_lt(abs(qgaussmix(.5, gaussmix(c(1, 1), c(-5, 5), 1))), 1e-9)
  expect_identical(qgaussmix(numeric(), mixture), numeric())
  # point masses: the quantile is the smallest x that reaches p
  expect_identical(qgaussmix(c(.2, .5, .6), gaussmix(c(1, 1), c(3, 7), 0)), c(3, 3, 7))
})

test_that("draws have the mixture's weights, moments, names and labels", {
  withr::local_seed(3)
  for (form in forms) {
    mixture <- mixture_of(form, 3, 2)
    colnames(mixture$means) <- c("u", "v")
    n <- 4e4
    x <- rgaussmix(n, mixture)
    component <- attr(x, "component")
    expect_identical(dimnames(x), list(NULL, c("u", "v")))
    expect_identical(as.character(attr(x, "label")), mixture$class[component])
    expect_gt(chisq.test(tabulate(component, 3), p = mixture$weights)$p.value, 1e-6)
    for (k in 1:3) {
      rows <- x[component == k, ]
      white <- t(solve(chol(component_cov(mixture, k)))) %*% (t(rows) - mixture$means[k, ])
      expect_gt(ks.test(white[1, ], "pnorm")$p.value, 1e-6)
      expect_gt(ks.test(white[2, ], "pnorm")$p.value, 1e-6)
      expect_lt(abs(cor(white[1, ], white[2, ])) * sqrt(ncol(white)), 5)
    }
  }
})

test_that("draws obey set.seed(), a class, a number of zero and a singular covariance", {
  mixture <- gaussmix(c(.2, .3, .5), cbind(x = 1:3, y = 0), diag(1:0), c("a", "b", "b"))
  expect_identical(withr::with_seed(1, rgaussmix(5, mixture)),
                   withr::with_seed(1, rgaussmix(5, mixture)))
  x <- withr::with_seed(1, rgaussmix(100, mixture, class = "b"))
  expect_setequal(attr(x, "component"), 2:3)
  expect_identical(levels(attr(x, "label")), c("a", "b"))
  expect_true(all(x[, "y"] == 0))
  empty <- rgaussmix(0, mixture)
  expect_identical(dim(empty), c(0L, 2L))
  expect_identical(colnames(empty), c("x", "y"))
  expect_identical(attr(empty, "component"), integer())
  point <- withr::with_seed(1, rgaussmix(3, gaussmix(1, 5, 0)))
  expect_identical(as.vector(point), c(5, 5, 5))
  full <- gaussmix(c(1, 1), matrix(0, 2, 2), list(1, matrix(c(2, 1, 1, 2), 2)))
  expect_identical(dim(rgaussmix(0, full)), c(0L, 2L))
  expect_identical(dim(rgaussmix(1, full)), c(1L, 2L))
})

test_that("a large mixture is drawn from and evaluated", {
  withr::local_seed(4)
  mixture <- mixture_of("full", 100, 50)
  x <- rgaussmix(20, mixture)
  expect_true(all(is.finite(dgaussmix(x, mixture, log = TRUE))))
})

test_that("predict gives classes, probabilities, densities and scores", {
  mixture <- gaussmix(c(.2, .3, .5), c(-1, 0, 2), c(.5, 1, 2), class = c("a", "b", "b"))
  x <- c(-3, -1, 0, 5)
  joint <- cbind(a = .2 * dnorm(x, -1, sqrt(.5)),
                 b = .3 * dnorm(x, 0, 1) + .5 * dnorm(x, 2, sqrt(2)))
  expect_equal(predict(mixture, x, "density"), rowSums(joint), tolerance = 1e-13)
  expect_equal(predict(mixture, x, "prob"), joint / rowSums(joint), tolerance = 1e-13,
               ignore_attr = TRUE)
  expect_identical(colnames(predict(mixture, x, "prob")), c("a", "b"))
  expect_identical(predict(mixture, x),
                   factor(c("a", "b")[1 + (joint[, "b"] > joint[, "a"])], c("a", "b")))
  frame <- predict(mixture, x, "frame")
  expect_named(frame, c(".pred_class", ".pred_a", ".pred_b"))
  expect_identical(frame$.pred_class, predict(mixture, x))
  expect_identical(unname(as.matrix(frame[-1])), unname(predict(mixture, x, "prob")))
  expect_identical(augment(mixture, x)[names(frame)], frame)
  expect_identical(dim(predict(mixture, matrix(0, 0, 1), "frame")), c(0L, 3L))
  slope <- (predict(mixture, x + 1e-5, "density") - predict(mixture, x - 1e-5, "density")) / 2e-5
  expect_equal(as.vector(predict(mixture, x, "score")), slope / rowSums(joint), tolerance = 1e-6)
  expect_length(predict(mixture, matrix(0, 0, 1)), 0)
})

test_that("logLik is that of the fit or of new data, and works with AIC and BIC", {
  fitted <- as_gaussmix(Species ~ ., iris)
  logp <- dgaussmix(iris[1:4], fitted, log = TRUE)
  expect_equal(as.numeric(logLik(fitted)), sum(logp), tolerance = 1e-12)
  expect_equal(as.numeric(logLik(fitted, iris[1:10, ])), sum(logp[1:10]), tolerance = 1e-12)
  expect_equal(AIC(fitted), -2 * sum(logp) + 2 * 44, tolerance = 1e-12)
  expect_equal(BIC(fitted), -2 * sum(logp) + log(150) * 44, tolerance = 1e-12)
  expect_identical(nobs(fitted), 150L)
  written <- gaussmix(c(1, 1), c(0, 1), 1)
  expect_equal(attr(logLik(written, 1:3), "df"), 4)
  expect_input_error(logLik(written), "newdata")
  expect_input_error(nobs(written), "object")
})

test_that("simulate keeps the contract of stats", {
  mixture <- gaussmix(c(.5, .5), c(0, 1), 1, c("a", "b"))
  set.seed(1)
  before <- .Random.seed
  x <- simulate(mixture, 4, seed = 7)
  expect_identical(.Random.seed, before)
  expect_equal(as.vector(x), as.vector(withr::with_seed(7, rgaussmix(4, mixture))))
  expect_equal(attr(x, "seed"), 7, ignore_attr = TRUE)
  y <- simulate(mixture, 4)
  expect_identical(attr(y, "seed"), before)
  expect_false(identical(.Random.seed, before))
  expect_true(all(attr(simulate(mixture, 9, class = "b"), "label") == "b"))
})

test_that("bad arguments are errors that name the argument", {
  mixture <- gaussmix(c(.5, .5), cbind(x = 0:1, y = 0:1), 1)
  line <- marginal(mixture, 1)
  expect_input_error(dgaussmix(c(0, NA), mixture), "x", "missing")
  expect_input_error(dgaussmix(matrix(0, 1, 3), mixture), "x", "2 columns")
  expect_input_error(dgaussmix("a", mixture), "x")
  expect_input_error(dgaussmix(data.frame(x = 1, y = "a"), mixture), "x")
  expect_input_error(dgaussmix(c(0, 0), list()), "mixture")
  expect_input_error(dgaussmix(c(0, 0), mixture, log = NA), "log")
  expect_input_error(rgaussmix(-1, mixture), "n")
  expect_input_error(rgaussmix(1.5, mixture), "n")
  expect_input_error(rgaussmix(NA, mixture), "n")
  expect_input_error(rgaussmix(1:2, mixture), "n")
  expect_input_error(rgaussmix(1, 1), "mixture")
  expect_input_error(rgaussmix(1, mixture, class = "z"), "class", "1, 2")
  expect_input_error(pgaussmix(0, mixture), "mixture", "one dimension")
  expect_input_error(qgaussmix(.5, mixture), "mixture", "one dimension")
  expect_input_error(pgaussmix(NA_real_, line), "q")
  expect_input_error(pgaussmix("a", line), "q")
  expect_input_error(qgaussmix(1.5, line), "p", "between 0 and 1")
  expect_input_error(qgaussmix(NaN, line), "p")
  expect_input_error(qgaussmix(.5, line, log.p = TRUE), "p", "log")
  expect_input_error(predict(mixture), "newdata")
  expect_input_error(predict(mixture, c(0, 0), "classes"), "type")
  expect_input_error(predict(mixture, c(0, 0, 0)), "newdata")
  expect_input_error(simulate(mixture, -1), "nsim")
  expect_input_error(simulate(mixture, 1, seed = 1e12), "seed")
  expect_input_error(simulate(mixture, 1, seed = "a"), "seed")
})

test_that("draws of components are their means plus the symmetric roots of covariances", {
  set.seed(7)
  d <- 3
  means <- matrix(rnorm(4 * d, sd = 1e3), 4)
  spread <- replicate(4, crossprod(matrix(rnorm(d^2), d)))
  spread[, , 4] <- tcrossprod(1:3) # of rank one
  z <- matrix(rnorm(50 * d), 50)
  component <- c(sample.int(4, 49, TRUE), 4)
  root <- function(A) {
    parts <- eigen(A, TRUE)
    # eigenvalues of size rounding are 0, and the root of one is not small
    values <- ifelse(parts$values < 1e-12 * parts$values[1], 0, parts$values)
    parts$vectors %*% (sqrt(values) * t(parts$vectors))
  }
  of_forms <- list(1.7, diag(c(.5, 0, 2)), spread[, , 1], spread)
  for (cov in of_forms) {
    m <- gaussmix(rep(.25, 4), means, cov)
    full <- covariances(m)
    by_hand <- t(vapply(1:50, function(i) {
      means[component[i], ] + drop(root(full[, , component[i]]) %*% z[i, ])
    }, double(d)))
    expect_equal(place_draws(m, component, z), by_hand, tolerance = 1e-12)
  }
  expect_identical(dim(place_draws(m, integer(), z[0, ])), c(0L, 3L))
  expect_error(place_draws(m, rep(5L, 50), z), "internal error")
  expect_error(place_draws(m, rep(1L, 51), z), "internal error")
})

test_that("a normal number chooses each component as often as its weight says", {
  choose <- function(weights, u) choose_components(weights, qnorm(u))
  expect_identical(choose(c(0, 1, 0), c(1e-300, .5, 1 - 1e-16)), c(2L, 2L, 2L))
  expect_identical(choose(c(.2, 0, .3, .5, 0), c(1e-300, .199, .201, .499, .501, 1 - 1e-16)),
                   c(1L, 1L, 3L, 3L, 4L, 4L))
  expect_identical(choose(c(1e-300, 1), c(1e-301, 1e-299)), 1:2)
  expect_identical(choose(rep(.1, 10), 1 - 1e-16), 10L)
})

test_that("a row with missing cells is classified by the law of its other cells", {
  m <- as_gaussmix(Species ~ ., iris)
  x <- iris[c(1, 60, 110, 140, 75), 1:4]
  x[2, 1] <- x[3, c(2, 4)] <- x[4, ] <- NA
  probability <- predict(m, x, type = "prob")
  complete <- c(1, 5)
  expect_identical(probability[complete, ], posterior(m, x[complete, ]))
  expect_equal(probability[2, ], posterior(marginal(m, 2:4), x[2, 2:4])[1, ])
  # by hand: densities of the two cells times the weights
  by_hand <- vapply(1:3, function(k) {
    S <- component_cov(m, k)[c(1, 3), c(1, 3)]
    z <- unlist(x[3, c(1, 3)]) - m$means[k, c(1, 3)]
    exp(-sum(z * solve(S, z)) / 2) / sqrt(det(S))
  }, 0)
  expect_equal(unname(probability[3, ]), by_hand / sum(by_hand))
  expect_equal(unname(probability[4, ]), rep(1 / 3, 3))
  expect_identical(predict(m, x), augment(m, x)$.class)
  expect_equal(augment(m, x)$.pred_setosa, unname(probability[, "setosa"]))
  # a column of NA alone is logical
  only <- data.frame(Sepal.Length = NA, Sepal.Width = NA, Petal.Length = 5, Petal.Width = NA)
  expect_equal(predict(m, only, "prob")[1, ],
               posterior(marginal(m, "Petal.Length"), data.frame(Petal.Length = 5))[1, ])
  for (type in c("density", "score")) {
    expect_error(predict(m, x, type), "NA in 3 of 5 rows, first in row 2 ?$|first in row 2")
  }
  expect_mixguide_error(predict(m, replace(x, 1, Inf)), "newdata")
})

test_that("classes keep their order, and levels() names them", {
  cars <- transform(mtcars, cyl = factor(cyl, c(8, 4, 6), ordered = TRUE))
  m <- as_gaussmix(cyl ~ mpg + wt, cars)
  expect_identical(levels(m), c("8", "4", "6"))
  expect_true(is.ordered(predict(m, cars)))
  expect_gt(mean(predict(m, cars) == cars$cyl), .8)
  expect_true(is.ordered(attr(rgaussmix(3, m), "label")))
  expect_true(is.ordered(predict(marginal(m, "wt"), cars)))
  expect_false(is.ordered(predict(as_gaussmix(cyl ~ mpg, mtcars), mtcars)))
  union <- guided_sample(m, 10, guidance(levels(m), 0))
  expect_equal(union$confidence, rep(1, 10))
})

test_that("a singular mixture's prediction names cures that work", {
  m <- suppressWarnings(as_gaussmix(Species ~ ., iris[c(1:4, 51:150), ]))
  said <- tryCatch(predict(m, iris), mixguide_error_singular = conditionMessage)
  expect_match(said, "posterior(mixture, x, t = 0.01)", fixed = TRUE)
  expect_gt(mean(colnames(posterior(m, iris, t = .01))[
    max.col(posterior(m, iris, t = .01))] == iris$Species), .9)
  expect_match(tryCatch(predict(m, iris, t = .01), error = conditionMessage), "posterior(",
               fixed = TRUE)
  # the variables without the fault have a law
  expect_identical(predict(m, transform(iris[1:3, ], Sepal.Width = NA, Petal.Width = NA)),
                   predict(marginal(m, c(1, 3)), iris[1:3, ]))
})

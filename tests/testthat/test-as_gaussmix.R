# An error of class mixguide_error whose message starts with the argument and has `words`.
expect_input_error <- function(code, arg, words = NULL) {
  error <- testthat::expect_error(code, class = "mixguide_error")
  for (part in c(paste0("`", arg, "`"), words)) {
    testthat::expect_match(conditionMessage(error), part, fixed = TRUE)
  }
}

test_that("each model of Mclust gives its density and the simplest form", {
  skip_if_not_installed("mclust")
  form <- c(EII = "common isotropic", VII = "isotropic", EEI = "common diagonal",
            VEI = "diagonal", EVI = "diagonal", VVI = "diagonal", EEE = "common full",
            VEE = "full", EVE = "full", VVE = "full", EEV = "full", VEV = "full", EVV = "full",
            VVV = "full")
  withr::local_package("mclust")  # its functions find each other on the search path
  for (model in names(form)) {
    fit <- Mclust(iris[1:4], G = 2, modelNames = model, verbose = FALSE)
    mixture <- as_gaussmix(fit)
    expect_identical(mixture$form, form[[model]])
    expect_equal(dgaussmix(iris[1:4], mixture, log = TRUE),
                 dens(iris[1:4], model, fit$parameters, logarithm = TRUE),
                 tolerance = 1e-10, info = model)
    expect_equal(as.numeric(logLik(mixture)), as.numeric(logLik(fit)))
    expect_equal(attr(logLik(mixture), "df"), attr(logLik(fit), "df"))
  }
  expect_identical(variable_names(mixture), names(iris)[1:4])
  expect_identical(mixture$class, c("1", "2"))
  expect_identical(as_gaussmix(fit, class = c("a", "a"))$class, c("a", "a"))
  expect_input_error(as_gaussmix(fit, class = "a"), "class")
})

test_that("univariate fits and densities of mclust are taken, of one component too", {
  skip_if_not_installed("mclust")
  withr::local_package("mclust")
  for (model in c("E", "V", "X")) {
    fit <- densityMclust(faithful$waiting, G = if (model == "X") 1 else 2,
                                 modelNames = model, plot = FALSE, verbose = FALSE)
    mixture <- as_gaussmix(fit)
    expect_identical(mixture$form, if (model == "V") "isotropic" else "common isotropic")
    expect_equal(dgaussmix(faithful$waiting, mixture), as.vector(fit$density), tolerance = 1e-10)
  }
  expect_identical(mixture$fit$source, "densityMclust")
  one <- Mclust(faithful, G = 1, verbose = FALSE)
  expect_equal(mean(as_gaussmix(one)), colMeans(faithful))
  noisy <- Mclust(faithful, G = 2, initialization = list(noise = 1:10), verbose = FALSE)
  expect_input_error(as_gaussmix(noisy), "x", "noise")
})

test_that("MclustDA keeps its classes, posterior and likelihood", {
  skip_if_not_installed("mclust")
  withr::local_package("mclust")
  for (type in c("MclustDA", "EDDA")) {
    fit <- MclustDA(iris[1:4], iris$Species, modelType = type, verbose = FALSE)
    mixture <- as_gaussmix(fit)
    expect_identical(mixture_classes(mixture), levels(iris$Species))
    expect_equal(predict(mixture, iris, "prob"), predict(fit)$z, tolerance = 1e-8,
                 ignore_attr = TRUE)
    expect_equal(as.numeric(logLik(mixture)), as.numeric(logLik(fit)))
    expect_equal(as.numeric(logLik(mixture, iris)), as.numeric(logLik(fit)))
  }
})

test_that("fits of mixtools have its likelihood, whatever was held equal", {
  skip_if_not_installed("mixtools")
  withr::local_seed(1)
  quietly <- function(fit) {
    utils::capture.output(fit <- suppressMessages(fit))
    fit
  }
  waiting <- faithful$waiting
  both <- as.matrix(faithful)
  fits <- list(
    quietly(mixtools::normalmixEM(waiting, k = 2)),
    quietly(mixtools::normalmixEM(waiting, k = 2, arbvar = FALSE)),
    quietly(mixtools::normalmixEM(waiting, k = 2, arbmean = FALSE)),
    quietly(mixtools::mvnormalmixEM(both, k = 2)),
    quietly(mixtools::mvnormalmixEM(both, k = 2, arbvar = FALSE))
  )
  df <- c(5, 4, 4, 11, 8)
  for (i in seq_along(fits)) {
    fit <- fits[[i]]
    mixture <- as_gaussmix(fit)
    x <- if (fit$ft == "normalmixEM") waiting else both
    # mixtools reports the likelihood of the parameters before its last step
    expect_equal(as.numeric(logLik(mixture, x)), fit$loglik, tolerance = 1e-6)
    expect_equal(attr(logLik(mixture), "df"), df[i])
    expect_equal(nobs(mixture), 272)
  }
  expect_identical(variable_names(mixture), names(faithful))
  expect_identical(mixture$form, "common full")
  other <- structure(list(ft = "regmixEM"), class = "mixEM")
  expect_input_error(as_gaussmix(other), "x", "regmixEM")
})

test_that("one Gaussian per class is the maximum of the likelihood, as mclust finds it", {
  skip_if_not_installed("mclust")
  withr::local_package("mclust")
  models <- c("common isotropic" = "EII", isotropic = "VII", "common diagonal" = "EEI",
              diagonal = "VVI", "common full" = "EEE", full = "VVV")
  for (form in names(models)) {
    mixture <- as_gaussmix(iris, class = "Species", form = form)
    oracle <- mstep(iris[1:4], models[[form]], unmap(iris$Species))$parameters
    expect_identical(mixture$form, form)
    expect_equal(mixture$weights, oracle$pro)
    expect_equal(mixture$means, t(oracle$mean), ignore_attr = TRUE)
    for (k in 1:3) {
      expect_equal(component_cov(mixture, k), oracle$variance$sigma[, , k], tolerance = 1e-10,
                   ignore_attr = TRUE)
    }
    expect_equal(attr(logLik(mixture), "df"), nMclustParams(models[[form]], 4, 3))
  }
})

test_that("a formula, a column name and a vector of labels are the same", {
  mixture <- as_gaussmix(Species ~ ., iris)
  expect_identical(as_gaussmix(iris, class = "Species"), mixture)
  expect_identical(as_gaussmix(iris[1:4], class = iris$Species), mixture)
  expect_identical(as_gaussmix(iris[1:4], class = as.character(iris$Species)), mixture)
  expect_identical(mixture$class, levels(iris$Species))
  two <- as_gaussmix(Species ~ Sepal.Length + log(Petal.Width), iris, form = "diagonal")
  expect_identical(variable_names(two), c("Sepal.Length", "log(Petal.Width)"))
  some <- as_gaussmix(iris[1:100, ], class = "Species")
  expect_identical(some$class, c("setosa", "versicolor"))
  expect_identical(as_gaussmix(Species ~ 0 + ., iris), mixture)
  expect_identical(as_gaussmix(mixture), mixture)
})

test_that("one Mclust fit per class is the MclustDA model", {
  skip_if_not_installed("mclust")
  # before mclust is attached, because the package must not need that
  mixture <- as_gaussmix(Species ~ ., iris, method = "mclust", G = 2, modelNames = "EEE")
  withr::local_package("mclust")
  oracle <- as_gaussmix(MclustDA(iris[1:4], iris$Species, G = 2, modelNames = "EEE",
                                         verbose = FALSE))
  expect_equal(mixture$weights, oracle$weights)
  expect_equal(mixture$means, oracle$means)
  expect_equal(mixture$class, rep(levels(iris$Species), each = 2))
  expect_equal(mixture$fit$loglik, oracle$fit$loglik)
  expect_equal(mixture$fit$df, oracle$fit$df)
  # weights of classes and within them, means, three covariances of 10; valid for any version of
  # mclust
  expect_identical(mixture$fit$df, 2 + 3 * 1 + 6 * 4 + 3 * 10)
})

test_that("parameters are counted as mclust counts those of one mixture", {
  skip_if_not_installed("mclust")
  models <- c("EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV",
              "EVV", "VVV", "XII", "XXI", "XXX")
  for (model in models) for (d in c(2, 5)) for (G in c(1, 4)) {
    if (startsWith(model, "X")) G <- 1
    expect_equal(volume_shape_df(model, d, G), mclust::nVarParams(model, d, G), info = model)
  }
  for (model in c("E", "V")) {
    expect_equal(volume_shape_df(model, 1, 3), mclust::nVarParams(model, 1, 3))
  }
  withr::local_package("mclust")
  pooled <- as_gaussmix(MclustDA(iris[1:4], iris$Species, modelType = "EDDA", modelNames = "EEE",
                                 verbose = FALSE))
  expect_equal(pooled$fit$df, as_gaussmix(Species ~ ., iris, form = "common full")$fit$df)
})

test_that("points and a bandwidth are a kernel density", {
  x <- faithful$waiting
  at <- c(40, 60, 95)
  expect_equal(dgaussmix(at, as_gaussmix(x, bandwidth = 3)),
               vapply(at, function(q) mean(dnorm(q, x, 3)), 0), tolerance = 1e-12)
  scott <- sd(x) * 272^(-1 / 5)
  expect_equal(as_gaussmix(x)$values[1, 1], scott^2, tolerance = 1e-14)
  both <- as.matrix(faithful)
  expect_equal(as_gaussmix(both)$values[, 1], (apply(both, 2, sd) * 272^(-1 / 6))^2,
               tolerance = 1e-14, ignore_attr = TRUE)
  expect_identical(as_gaussmix(both, c(.2, 3))$form, "common diagonal")
  expect_identical(as_gaussmix(both, .5)$form, "common isotropic")
  H <- matrix(c(.1, .2, .2, 9), 2)
  expect_equal(component_cov(as_gaussmix(both, H), 5), H, tolerance = 1e-13, ignore_attr = TRUE)
  expect_identical(variable_names(as_gaussmix(both)), names(faithful))
  expect_true(is_singular(as_gaussmix(both, 0)))
  labelled <- as_gaussmix(as.matrix(iris[1:4]), class = iris$Species)
  expect_identical(mixture_classes(labelled), levels(iris$Species))
  expect_identical(mixture_size(as_gaussmix(1L, bandwidth = 1)), 1L)
})

test_that("a class with a singular covariance gives a warning and no fit", {
  few <- iris[c(1:4, 51:100), ]
  expect_warning(mixture <- as_gaussmix(few, class = "Species"), "class setosa")
  expect_true(is_singular(mixture))
  expect_null(mixture$fit)
  expect_silent(as_gaussmix(few, class = "Species", form = "common full"))
  flat <- data.frame(x = 1:4, y = 1, class = c("a", "a", "b", "b"))
  expect_warning(as_gaussmix(flat, class = "class", form = "diagonal"),
                 "class a (constant: y), b (constant: y)", fixed = TRUE)
})

test_that("the warning of a singular covariance has its cause", {
  few <- iris[c(41:44, 51:100), ]
  cause <- function(expected, ...) {
    expect_warning(as_gaussmix(...), paste0("class ", expected, ":"), fixed = TRUE)
  }
  cause("setosa (4 rows in 4 variables)", few, class = "Species")
  cause("setosa (1 row in 4 variables)", few[-(1:3), ], class = "Species", form = "isotropic")
  sums <- transform(iris, sum = Sepal.Length + Sepal.Width)
  cause(paste(levels(iris$Species), "(collinear variables)", collapse = ", "),
        Species ~ Sepal.Length + Sepal.Width + sum, sums)
  cause("setosa, versicolor, virginica (common to all; collinear variables)",
        Species ~ Sepal.Length + Sepal.Width + sum, sums, form = "common full")
  # constant in each class, not in all
  cause(paste(levels(iris$Species), "(constant: k)", collapse = ", "),
        Species ~ Sepal.Length + k, transform(iris, k = as.numeric(Species)))
})

test_that("a kernel density says what it is, and has no bandwidth 0 by default", {
  expect_output(print(as_gaussmix(as.matrix(USArrests))),
                "Kernel density: a component for each of 50")
  expect_input_error(as_gaussmix(c(1, 1, 1)), "bandwidth", "constant: x")
  expect_input_error(as_gaussmix(cbind(a = 1:3, b = 2)), "bandwidth", "constant: b")
  expect_true(is_singular(as_gaussmix(c(1, 1, 1), bandwidth = 0)))
})

test_that("a call without a first argument, or without rows, says what to do", {
  expect_input_error(as_gaussmix(), "x", "given")
  expect_input_error(as_gaussmix(formula = Species ~ ., data = iris), "x", "formula comes first")
  expect_input_error(as_gaussmix(Species ~ ., iris, subset = Species == "none"), "subset", "no row")
})

test_that("bad data are errors that name the argument", {
  expect_input_error(as_gaussmix("a"), "x", "Mclust")
  expect_input_error(as_gaussmix(NULL), "x")
  expect_input_error(as_gaussmix(list()), "x")
  expect_input_error(as_gaussmix(Species ~ 1, iris), "x", "column")
  expect_input_error(as_gaussmix(iris), "x", "class")
  expect_input_error(as_gaussmix(iris, class = "species"), "class")
  expect_input_error(as_gaussmix(iris[1:4], class = 1:3), "class", "150 labels")
  expect_input_error(as_gaussmix(iris, class = "Species", method = "lda"), "method")
  expect_input_error(as_gaussmix(iris, class = "Species", form = "round"), "form")
  expect_input_error(as_gaussmix(iris, class = "Species", from = "full"), "from", "form")
  expect_input_error(as_gaussmix(cbind(iris, a = "a"), class = "Species"), "x", "non-numeric a")
  missing <- replace(iris, 1, NA_real_)
  expect_input_error(as_gaussmix(missing, class = "Species"), "x", "row 1")
  expect_input_error(as_gaussmix(Species ~ ., missing), "x", "row 1")
  expect_input_error(as_gaussmix(c(1, NA)), "x", "row 2")
  expect_input_error(as_gaussmix(numeric()), "x")
  expect_input_error(as_gaussmix(5), "bandwidth")
  expect_input_error(as_gaussmix(1:5, bandwidth = -1), "bandwidth")
  expect_input_error(as_gaussmix(1:5, bandwidth = NA), "bandwidth")
  expect_input_error(as_gaussmix(cbind(1:5, 5:1), bandwidth = 1:3), "bandwidth")
  expect_input_error(as_gaussmix(cbind(1:5, 5:1), bandwidth = matrix(c(1, 2, 2, 1), 2)),
                     "bandwidth", "eigenvalue -1")
  expect_input_error(as_gaussmix(1:5, class = "a"), "class", "5 labels")
})

test_that("one Gaussian needs no class", {
  one <- as_gaussmix(iris[1:4], class = rep("1", 150))
  expect_equal(as_gaussmix(iris[1:4]), one)
  expect_equal(as_gaussmix(~ Sepal.Length + Sepal.Width + Petal.Length + Petal.Width, iris), one)
  expect_equal(covariances(one)[, , 1], stats::cov(iris[1:4]) * 149 / 150, ignore_attr = TRUE)
  expect_output(print(one), "one Gaussian to 150")
  logs <- as_gaussmix(~ log(Petal.Width), iris)
  expect_equal(as.vector(logs$means), mean(log(iris$Petal.Width)))
  expect_identical(dim(posterior(logs, iris)), c(150L, 1L))
  # a missing column does not mean that one class is wanted
  expect_mixguide_error(as_gaussmix(iris[1:4], class = iris$Speces), "class")
  expect_error(as_gaussmix(iris, class = "Speces"), "`class`.*did you mean `Species`",
               class = "mixguide_error")
  expect_error(as_gaussmix(iris), 'class = "Species"', class = "mixguide_error")
})

test_that("fits to incomplete data are taken, with the likelihood of what was seen", {
  # not in DESCRIPTION, because no code of the package needs it
  package <- "MGMM"
  skip_if_not_installed(package)
  fit <- getExportedValue(package, "FitGMM")
  withr::local_seed(1)
  x <- as.matrix(iris[1:4])
  x[sample(length(x), 60)] <- NA
  x[7, ] <- NA
  for (k in c(1, 3)) {
    utils::capture.output(of <- fit(x, k = k, maxit = 50))
    m <- as_gaussmix(of)
    expect_identical(mixture_size(m), as.integer(k))
    expect_identical(variable_names(m), names(iris)[1:4])
    expect_equal(covariances(m)[, , 1],
                 if (k == 1) of@Covariance else of@Covariances[[1]], ignore_attr = TRUE)
    by_row <- vapply(seq_len(150), function(i) {
      seen <- which(!is.na(x[i, ]))
      if (!length(seen)) return(0)
      log(sum(vapply(seq_len(k), function(j) {
        S <- matrix(covariances(m)[seen, seen, j], length(seen))
        m$weights[j] * exp(-stats::mahalanobis(x[i, seen], m$means[j, seen], S) / 2) /
          sqrt(det(2 * pi * S))
      }, 0)))
    }, 0)
    expect_equal(as.numeric(logLik(m)), sum(by_row))
    expect_identical(nobs(m), 150L)
    filled <- impute(m, as.data.frame(x), m = 1, key = c(1, 2))
    expect_false(anyNA(filled$imputations[[1]][-7, ]))
  }
})

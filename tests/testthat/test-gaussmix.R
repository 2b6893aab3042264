# An error of class mixguide_error whose message starts with the argument and has `words`.
expect_input_error <- function(code, arg, words = NULL) {
  error <- testthat::expect_error(code, class = "mixguide_error")
  for (part in c(paste0("`", arg, "`"), words)) {
    testthat::expect_match(conditionMessage(error), part, fixed = TRUE)
  }
}

test_that("each way to write the covariances gives the simplest form that holds them", {
  w <- c(1, 2, 3)
  m <- cbind(a = 1:3, b = 0)
  S <- matrix(c(2, 1, 1, 2), 2)
  form <- function(cov) gaussmix(w, m, cov)$form
  expect_identical(form(2), "common isotropic")
  expect_identical(form(0), "common isotropic")
  expect_identical(form(diag(2)), "common isotropic")
  expect_identical(form(diag(1:2)), "common diagonal")
  expect_identical(form(S), "common full")
  expect_identical(form(list(1, 2, 3)), "isotropic")
  expect_identical(form(list(1, 1:2, 3)), "diagonal")
  expect_identical(form(list(1, 1:2, S)), "full")
  expect_identical(form(list(S, S, S)), "common full")
  expect_identical(form(list(1, diag(2), c(1, 1))), "common isotropic")
  expect_identical(form(array(S, c(2, 2, 3))), "common full")
  expect_identical(form(array(c(S, diag(2), S), c(2, 2, 3))), "full")
  expect_identical(gaussmix(1, 0, 4)$form, "common isotropic")
  expect_identical(gaussmix(w, 1:3, c(1, 2, 3))$form, "isotropic")
  expect_identical(gaussmix(w, 1:3, array(1:3, c(1, 1, 3)))$form, "isotropic")
  expect_identical(gaussmix(1, 0, matrix(4))$values, matrix(4))
})

test_that("the spectrum gives back the covariances that were written down", {
  covs <- list(.5, c(1, 2, 3), crossprod(matrix(c(2, 1, 0, 1, 3, 1, 0, 1, 1), 3)))
  mixture <- gaussmix(c(1, 1, 1), matrix(0, 3, 3), covs)
  expect_equal(component_cov(mixture, 1), diag(.5, 3), tolerance = 1e-14)
  expect_equal(component_cov(mixture, 2), diag(1:3), tolerance = 1e-14)
  expect_equal(component_cov(mixture, 3), covs[[3]], tolerance = 1e-14)
  expect_true(isSymmetric(component_cov(mixture, 3), tol = 0))
  expect_identical(dim(mixture$values), c(3L, 3L))
  expect_identical(dim(mixture$vectors), c(3L, 3L, 3L))
  common <- gaussmix(c(1, 1), matrix(0, 2, 3), covs[[3]])
  expect_identical(dim(common$vectors), c(3L, 3L))
  expect_equal(component_cov(common, 2), covs[[3]], tolerance = 1e-14)
})

test_that("weights are normalised, however small, and zeros are kept", {
  expect_equal(gaussmix(c(1e-300, 3e-300), 1:2, 1)$weights, c(.25, .75), tolerance = 1e-15)
  expect_identical(gaussmix(c(0, 2), 1:2, 1)$weights, c(0, 1))
  expect_identical(gaussmix(c(a = .5, b = .5), 1:2, 1)$weights, c(.5, .5))
})

test_that("names of variables and labels of classes are kept", {
  mixture <- gaussmix(c(1, 1), data.frame(u = 1:2, v = 3:4), 1, class = factor(c("y", "x")))
  expect_identical(variable_names(mixture), c("u", "v"))
  expect_identical(mixture_classes(mixture), c("y", "x"))
  expect_null(rownames(mixture$means))
  expect_identical(names(mean(mixture)), c("u", "v"))
  expect_identical(gaussmix(c(1, 1), 1:2, 1)$class, c("1", "2"))
  expect_identical(gaussmix(1, c(u = 1, v = 2), 1)$means, cbind(u = 1, v = 2))
})

test_that("a class is named by label or number, and an unknown one is an error with the known", {
  mixture <- gaussmix(c(1, 1, 1), 1:3, 1, class = c(1, 2, 2))
  expect_identical(class_components(mixture, 2), c(FALSE, TRUE, TRUE))
  expect_identical(class_components(mixture, c("1", "2")), c(TRUE, TRUE, TRUE))
  expect_input_error(class_components(mixture, "3"), "class", "1, 2")
  expect_input_error(class_components(mixture, NULL), "class")
  expect_input_error(class_components(mixture, NA), "class")
  expect_input_error(class_components(mixture, mean), "class")
  expect_input_error(class_components(gaussmix(0:1, 0:1, 1), 1), "class", "positive weight")
})

test_that("bad weights, means and labels are errors that name the argument", {
  expect_input_error(gaussmix(c(1, -1), 1:2, 1), "weights", "component 2")
  expect_input_error(gaussmix(c(0, 0), 1:2, 1), "weights", "positive")
  expect_input_error(gaussmix(c(1, NA), 1:2, 1), "weights")
  expect_input_error(gaussmix(c(1, Inf), 1:2, 1), "weights")
  expect_input_error(gaussmix(c(1e308, 1e308), 1:2, 1), "weights", "finite")
  expect_input_error(gaussmix("a", 1, 1), "weights")
  expect_input_error(gaussmix(numeric(), 1, 1), "weights")
  expect_input_error(gaussmix(c(1, 1), 1:3, 1), "means", "2 rows")
  expect_input_error(gaussmix(c(1, 1), c(1, NA), 1), "means", "row 2")
  expect_input_error(gaussmix(c(1, 1), letters[1:2], 1), "means")
  expect_input_error(gaussmix(c(1, 1), matrix(0, 2, 0), 1), "means")
  expect_input_error(gaussmix(1, iris[1, ], 1), "means", "Species")
  expect_input_error(gaussmix(1, cbind(a = 1, a = 2), 1), "means", "distinct")
  expect_input_error(gaussmix(c(1, 1), 1:2, 1, class = "a"), "class", "2 labels")
  expect_input_error(gaussmix(c(1, 1), 1:2, 1, class = c("a", NA)), "class")
  expect_input_error(gaussmix(c(1, 1), 1:2, 1, class = list("a", "b")), "class")
})

test_that("bad covariances are errors that name the component and the eigenvalue", {
  m <- matrix(0, 2, 2)
  bad <- matrix(c(1, 2, 2, 1), 2)
  expect_input_error(gaussmix(c(1, 1), m, bad), "cov", "eigenvalue -1")
  expect_input_error(gaussmix(c(1, 1), m, list(1, bad)), "cov[[2]]", "eigenvalue -1")
  expect_input_error(gaussmix(c(1, 1), m, array(c(diag(2), bad), c(2, 2, 2))), "cov[, , 2]")
  expect_input_error(gaussmix(c(1, 1), 1:2, c(1, -3)), "cov[2]", "eigenvalue -3")
  expect_input_error(gaussmix(c(1, 1), m, -1), "cov", "semi-definite")
  expect_input_error(gaussmix(c(1, 1), m, list(c(1, -2), 1)), "cov[[1]]", "-2")
  expect_input_error(gaussmix(c(1, 1), m, matrix(c(1, .2, .1, 1), 2)), "cov", "symmetric")
  expect_input_error(gaussmix(c(1, 1), m, matrix(1, 3, 3)), "cov", "2 x 2")
  expect_input_error(gaussmix(c(1, 1), m, list(1)), "cov", "2 components")
  expect_input_error(gaussmix(c(1, 1), m, array(1, c(2, 2, 3))), "cov", "2 components")
  expect_input_error(gaussmix(c(1, 1), m, 1:2), "cov", "diag(v)")
  expect_input_error(gaussmix(c(1, 1), m, NA_real_), "cov", "finite")
  expect_input_error(gaussmix(c(1, 1), m, list(1, "a")), "cov[[2]]")
  expect_input_error(gaussmix(c(1, 1), m, NULL), "cov")
})

test_that("an asymmetry or a negative eigenvalue of rounding size is forgiven", {
  S <- matrix(c(1, 1, 1, 1), 2)
  expect_true(is_singular(gaussmix(1, c(0, 0), S)))
  S[1, 2] <- 1 + 1e-12
  mixture <- gaussmix(1, c(0, 0), S)
  expect_true(all(mixture$values >= 0))
  expect_true(isSymmetric(component_cov(mixture, 1), tol = 0))
  # the spectrum of a nearly singular matrix is not rounded away
  expect_false(is_singular(gaussmix(1, c(0, 0), matrix(c(1, 1 - 1e-12, 1 - 1e-12, 1), 2))))
})

test_that("moments agree with integration over one and two dimensions, and with the class law", {
  mixture <- gaussmix(c(.2, .3, .5), c(-1, 0, 2), c(.5, 1, 2), class = c("a", "b", "b"))
  integral <- function(f, class) {
    w <- mixture$weights * (mixture$class %in% class)
    p <- function(x) colSums(w / sum(w) * outer(1:3, x, function(k, x) {
      stats::dnorm(x, mixture$means[k, 1], sqrt(mixture$values[1, k]))
    }))
    stats::integrate(function(x) f(x) * p(x), -20, 25, rel.tol = 1e-10, subdivisions = 1000)$value
  }
  for (class in list(c("a", "b"), "b")) {
    exact <- moments(mixture, class)
    mean <- integral(identity, class)
    expect_equal(exact$mean, mean, tolerance = 1e-8)
    expect_equal(exact$cov[1, 1], integral(function(x) (x - mean)^2, class), tolerance = 1e-8)
    expect_equal(exact$second_moment, integral(function(x) x^2, class), tolerance = 1e-8)
  }
  expect_identical(moments(mixture), moments(mixture, c("a", "b")))
  expect_identical(exact$method, "exact")
})

test_that("moments of a far away mixture do not cancel", {
  near <- gaussmix(c(.5, .5), cbind(x = c(-1, 1), y = c(0, 1)), list(1, matrix(c(2, 1, 1, 2), 2)))
  far <- gaussmix(c(.5, .5), near$means + 2^30, list(1, matrix(c(2, 1, 1, 2), 2)))
  expect_equal(moments(far)$cov, moments(near)$cov, tolerance = 1e-7)
})

test_that("a margin has the marginal density and moments", {
  covs <- list(1, c(1, 2, 3), crossprod(matrix(c(2, 1, 0, 1, 3, 1, 0, 1, 1), 3)))
  mixture <- gaussmix(c(.2, .3, .5), cbind(x = 1:3, y = c(-1, 0, 1), z = 4), covs)
  margin <- marginal(mixture, c("z", "x"))
  expect_identical(variable_names(margin), c("z", "x"))
  expect_equal(moments(margin)$cov, moments(mixture)$cov[c("z", "x"), c("z", "x")],
               tolerance = 1e-13)
  expect_equal(component_cov(margin, 3), covs[[3]][c(3, 1), c(3, 1)], tolerance = 1e-13,
               ignore_attr = TRUE)
  expect_identical(marginal(mixture, 2)$form, "isotropic")
  expect_identical(marginal(gaussmix(1, c(0, 0, 0), diag(c(1, 1, 2))), 1:2)$form,
                   "common isotropic")
  expect_input_error(marginal(mixture, "w"), "variables", "x, y, z")
  expect_input_error(marginal(mixture, 4), "variables")
  expect_input_error(marginal(mixture, c(1, 1)), "variables")
  expect_input_error(marginal(1, 1), "mixture", "gaussmix")
})

test_that("free parameters are counted as mclust counts them", {
  skip_if_not_installed("mclust")
  d <- 3
  K <- 4
  random <- function(k) crossprod(matrix(stats::rnorm(d * d), d))
  set.seed(1)
  cases <- list(EII = 2, EEI = diag(1:3), EEE = random(), VII = as.list(1:4),
                VVI = list(1:3, 2:4, 3:5, 4:6), VVV = lapply(1:4, random))
  for (model in names(cases)) {
    mixture <- gaussmix(rep(1, K), matrix(stats::rnorm(K * d), K), cases[[model]])
    expect_equal(free_parameters(mixture), mclust::nMclustParams(model, d, K), info = model)
  }
})

test_that("print, format, summary and as.data.frame show what there is", {
  mixture <- gaussmix(c(.5, .25, .25), cbind(x = c(0, 1, 2), y = 0), .25, c("a", "b", "b"))
  expect_identical(format(mixture), paste("Gaussian mixture: 3 components of 2 classes in",
                                          "2 dimensions, common isotropic covariance"))
  table <- as.data.frame(mixture)
  expect_named(table, c("component", "class", "weight", "mean.x", "mean.y", "sd.x", "sd.y"))
  expect_equal(table$sd.y, rep(.5, 3))
  expect_equal(summary(mixture)$classes$weight, c(.5, .5))
  expect_identical(summary(mixture)$classes$components, 1:2)
  expect_output(expect_invisible(print(mixture)), "component class weight x y", fixed = TRUE)
  expect_output(print(summary(mixture)), "Classes:.*Whole mixture:")
  large <- gaussmix(rep(1, 100), matrix(0, 100, 50), 1)
  expect_output(print(large), "90 more components, 44 more variables", fixed = TRUE)
  expect_output(print(gaussmix(1, 0, 0)), "1 component in 1 dimension, common", fixed = TRUE)
  fitted <- as_gaussmix(Species ~ ., iris)
  expect_output(print(fitted), "150 observations: log-likelihood -182.9", fixed = TRUE)
})

test_that("means are printed to the digits that tell them apart", {
  m <- gaussmix(rep(1, 3), cbind(far = c(1000000.2, 1000001.3, 1000002), near = 1:3 / 3), .01)
  said <- capture.output(print(m))
  for (mean in c("1000000.2", "1000001.3", "1000002.0", "0.333")) {
    expect_true(any(grepl(mean, said, fixed = TRUE)))
  }
  expect_true(any(grepl("1000001.17", capture.output(print(summary(m))), fixed = TRUE)))
  expect_true(any(grepl("1000001.167", capture.output(print(moments(m))), fixed = TRUE)))
})

test_that("covariances are those that the mixture was made of", {
  set.seed(1)
  for (d in c(1, 2, 4)) for (K in c(1, 3)) for (kind in 1:5) {
    S <- function() crossprod(matrix(rnorm(d * d), d)) + diag(.1, d)
    one <- S()
    cov <- switch(kind, .5, one, lapply(seq_len(K), function(k) runif(d, .5, 2)),
                  as.list(seq_len(K) + 0), lapply(seq_len(K), function(k) S()))
    means <- matrix(rnorm(K * d), K, dimnames = list(NULL, letters[seq_len(d)]))
    labels <- c("z", "y", "z")[seq_len(K)]
    x <- covariances(gaussmix(rep(1, K), means, cov, class = labels))
    expect_equal(dim(x), c(d, d, K))
    expect_identical(dimnames(x), list(letters[seq_len(d)], letters[seq_len(d)], labels))
    whole <- function(S) if (is.matrix(S)) S else diag(S, d)
    for (k in seq_len(K)) {
      expect_equal(as.vector(x[, , k]), as.vector(whole(if (is.list(cov)) cov[[k]] else cov)),
                   tolerance = 1e-12)
    }
    # and gaussmix() makes the mixture from them again
    again <- gaussmix(rep(1, K), means, x, class = labels)
    expect_equal(covariances(again), x, tolerance = 1e-12)
  }
  expect_null(dimnames(covariances(gaussmix(c(.5, .5), 1:2, 1, class = c("a", "b"))))[[1]])
  expect_mixguide_error(covariances(1), "mixture")
})

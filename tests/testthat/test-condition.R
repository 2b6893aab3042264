# Conditioning, against the joint Gaussian of (x, y) written out, quadrature, and the known
# posterior of M2 (tests/REFERENCES.md).

# x | y by the blocks of the joint covariance, component by component.
oracle_condition <- function(plain, y, H, R) {
  parts <- lapply(seq_along(plain$weights), function(k) {
    S <- H %*% plain$covs[[k]] %*% t(H) + R
    K <- plain$covs[[k]] %*% t(H) %*% solve(S)
    rest <- y - H %*% plain$means[k, ]
    list(log_weight = log(plain$weights[k]) - (length(y) * log(2 * pi) + log(det(S)) +
                                                 sum(rest * solve(S, rest))) / 2,
         mean = drop(plain$means[k, ] + K %*% rest),
         cov = plain$covs[[k]] - K %*% H %*% plain$covs[[k]])
  })
  log_weight <- vapply(parts, `[[`, 0, "log_weight")
  weights <- exp(log_weight - max(log_weight))
  list(weights = weights / sum(weights), means = do.call(rbind, lapply(parts, `[[`, "mean")),
       covs = lapply(parts, `[[`, "cov"), evidence = max(log_weight) + log(sum(weights)))
}

expect_law <- function(law, weights, means, covs, tolerance = 1e-9) {
  expect_equal(law$weights, weights, tolerance = tolerance)
  expect_equal(unname(law$means), unname(means), tolerance = tolerance)
  found <- lapply(seq_along(covs), function(k) unname(component_cov(law, k)))
  expect_equal(found, lapply(covs, unname), tolerance = tolerance)
}

test_that("the posterior of M2 is the known one", {
  law <- condition(named_mixture("M2"), observation(.8, cbind(1, .5), .3^2))
  expect_lt(max(abs(law$weights - c(.00089629, .76935020, .22975351))), 1e-7)
  known <- rbind(c(.2247191, .48314607), c(.02840909, 1.52272727), c(1.32743363, -.75221239))
  expect_lt(max(abs(law$means - known)), 1e-7)
  whole <- moments(law)
  expect_lt(max(abs(whole$mean - c(.32704049, .99912014))), 1e-7)
  expect_lt(max(abs(whole$cov - matrix(c(.4470012, -.71160774, -.71160774, 1.3675023), 2))), 1e-7)
  # one variable observed exactly: mean and standard deviation of the other
  known <- list(x1 = rbind(c(-1.5, -.6616, .8369), c(0, 1.4736, .7809), c(.8, .8208, 1.0236)),
                x2 = rbind(c(-1.5, -1.2729, 1.8961), c(0, .9339, 1.5993), c(.8, .2510, .7822)))
  for (name in names(known)) {
    laws <- condition(named_mixture("M2"), matrix(known[[name]][, 1], dimnames = list(NULL, name)))
    found <- t(vapply(laws, function(law) c(mean(law), sqrt(moments(law)$cov)), double(2)))
    expect_lt(max(abs(found - known[[name]][, -1])), 5.1e-5)
  }
})

test_that("every form of covariance, H and noise agrees with the joint Gaussian", {
  withr::local_seed(61)
  for (form in FORMS) for (d in c(1, 3)) for (m in c(1, 4)) {
    plain <- random_mixture(form, d, 3)
    H <- matrix(rnorm(m * d), m)
    for (R in list(diag(runif(m, .1, 1), m), crossprod(matrix(rnorm(m * m), m)))) {
      y <- rnorm(m)
      law <- condition(plain$mixture, observation(y, H, R))
      known <- oracle_condition(plain, y, H, R)
      expect_law(law, known$weights, known$means, known$covs)
      expect_identical(law$class, plain$mixture$class)
      expect_equal(dgaussmix(t(y), marginal(plain$mixture, observation(H = H, noise = R)),
                             log = TRUE), known$evidence,
                   tolerance = 1e-9)
    }
  }
})

test_that("the density is that of Bayes, by quadrature", {
  m <- named_mixture("A1")
  law <- condition(m, observation(1.2, cbind(2), .5))
  bayes <- function(x) dgaussmix(x, m) * dnorm(1.2, 2 * x, sqrt(.5))
  total <- integrate(bayes, -8, 8, rel.tol = 1e-10)$value
  x <- seq(-3, 3, .5)
  expect_equal(dgaussmix(x, law), bayes(x) / total, tolerance = 1e-8)
  expect_equal(dgaussmix(1.2, marginal(m, observation(H = cbind(2), noise = .5))), total,
               tolerance = 1e-8)
})

test_that("one after the other is both at once, whatever the ranks", {
  withr::local_seed(62)
  plain <- random_mixture("full", 4, 3)
  H1 <- matrix(rnorm(8), 2)
  H2 <- rbind(c(1, 0, 0, 0), rnorm(4))
  # noise of rank 1, and one row without noise
  R2 <- tcrossprod(c(0, .7))
  y <- c(H1 %*% rnorm(4), .3, -.2)
  both <- condition(plain$mixture, observation(y, rbind(H1, H2), rbind(0, 0, cbind(0, 0, R2))),
                    drop = FALSE)
  first <- condition(plain$mixture, observation(y[1:2], H1))
  expect_true(is_singular(first))
  second <- condition(first, observation(y[3:4], H2, R2))
  expect_law(second, both$weights, both$means, lapply(1:3, component_cov, mixture = both), 1e-7)
  expect_lt(max(abs(both$means %*% t(H1) - rep(y[1:2], each = 3))), 1e-12)
  expect_lt(max(abs(both$means[, 1] - .3)), 1e-12)
  # exactly observed variables have no variance left, and repeated rows change nothing
  expect_lt(max(abs(H1 %*% component_cov(both, 1))), 1e-12)
  again <- condition(plain$mixture, observation(y[c(1, 2, 1)], H1[c(1, 2, 1), ]))
  expect_law(again, first$weights, first$means, lapply(1:3, component_cov, mixture = first), 1e-9)
})

test_that("little noise tends to none, and is right at 1e-9 of the prior", {
  m <- named_mixture("M2")
  exact <- condition(m, observation(.8, cbind(1, .5)))
  near <- condition(m, observation(.8, cbind(1, .5), 1e-18))
  expect_equal(near$weights, exact$weights, tolerance = 1e-9)
  expect_equal(near$means, exact$means, tolerance = 1e-9)
  expect_false(is_singular(near))
  # the variance along H is that of the noise
  H <- cbind(1, .5)
  for (k in 1:3) expect_equal(near$values[2, k] * sum(H^2), 1e-18, tolerance = 1e-6)
  # infinite noise gives no information
  expect_equal(condition(m, observation(.8, H, 1e30))$means, m$means, tolerance = 1e-9)
})

test_that("variables are observed by name, and drop out", {
  m <- as_gaussmix(Species ~ ., iris)
  law <- condition(m, c(Petal.Width = 1.5, Petal.Length = 4))
  expect_identical(colnames(law$means), c("Sepal.Length", "Sepal.Width"))
  expect_identical(law$class, m$class)
  plain <- list(weights = m$weights, means = m$means,
                covs = lapply(1:3, component_cov, mixture = m))
  H <- diag(4)[3:4, ]
  known <- oracle_condition(plain, c(4, 1.5), H, 0)
  expect_law(law, known$weights, known$means[, 1:2], lapply(known$covs, `[`, 1:2, 1:2))
  whole <- condition(m, observation(c(4, 1.5), H))
  expect_identical(colnames(whole$means), names(iris)[1:4])
  expect_equal(unname(whole$means[1, 3:4]), c(4, 1.5), tolerance = 1e-14)
  expect_true(all(component_cov(whole, 2)[3:4, ] == 0))
  expect_equal(marginal(whole, 1:2)$means, law$means)
  # many observations at once, columns of H by their names
  table <- data.frame(Petal.Length = c(4, 5), Petal.Width = c(1.5, 2), row.names = c("a", "b"))
  laws <- condition(m, table)
  expect_named(laws, c("a", "b"))
  expect_equal(laws$a, law)
  named <- H
  colnames(named) <- names(iris)[1:4]
  expect_equal(condition(m, observation(c(4, 1.5), named[, 4:1])), whole)
  expect_identical(colnames(marginal(m, 2:1)$means), names(iris)[2:1])
  # observations with noise, or with an H, take another path
  two <- observation(H = named[, 4:1], noise = 0)
  expect_equal(moments(marginal(m, two)), moments(marginal(m, 3:4)), ignore_attr = TRUE)
})

test_that("the form stays simple", {
  expect_identical(condition(gaussmix(c(.5, .5), diag(2), .3), c(x1 = 1))$form, "common isotropic")
  expect_identical(condition(gaussmix(c(.5, .5), diag(2), list(1, 2)), c(x1 = 1))$form, "isotropic")
  law <- condition(gaussmix(1, t(1:3), list(1:3)), c(x1 = 1), drop = FALSE)
  expect_identical(law$form, "common diagonal")
  expect_equal(law$values[, 1], c(0, 2, 3), tolerance = 1e-15)
  expect_identical(law$values[1, 1], 0)
  expect_identical(condition(named_mixture("F2"), observation(.3, cbind(1, 1), .1))$form,
                   "common full")
})

test_that("observations far away keep their weights", {
  m <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1, 0)), list(1, 4))
  law <- condition(m, c(x1 = 1e6))
  expect_identical(law$weights, c(0, 1))
  m <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1e-6, 0)), 1)
  expect_equal(condition(m, c(x1 = 1e6))$weights[2], plogis(1), tolerance = 1e-9)
  # a component of weight zero has no effect
  m <- gaussmix(c(0, 1), rbind(c(0, 0), c(1, 0)), 1)
  expect_identical(condition(m, c(x1 = 0))$weights, c(0, 1))
})

test_that("point masses, and components in fewer dimensions", {
  atoms <- gaussmix(c(.2, .8), rbind(c(0, 1), c(2, 3)), 0)
  expect_equal(condition(atoms, observation(.4, cbind(1, 0), 1))$weights,
               c(.2, .8) * dnorm(.4, c(0, 2)) / sum(c(.2, .8) * dnorm(.4, c(0, 2))))
  expect_identical(condition(atoms, c(x1 = 2))$weights, c(0, 1))
  expect_error(condition(atoms, c(x1 = 1)), "impossible", class = "mixguide_error_impossible")
  # a point mass that can produce y has all the weight, whatever the densities
  mixed <- gaussmix(c(.1, .9), rbind(c(1, 5), c(0, 0)), list(0, 1))
  expect_identical(condition(mixed, c(x1 = 1))$weights, c(1, 0))
  expect_identical(condition(mixed, c(x1 = 1.5))$weights, c(0, 1))
  # a line in the plane
  line <- gaussmix(1, t(c(0, 0)), matrix(1, 2, 2))
  expect_equal(unname(condition(line, c(x1 = .7))$means), matrix(.7))
  expect_error(condition(line, observation(c(1, 2), diag(2))), "impossible",
               class = "mixguide_error_impossible")
  expect_equal(unname(condition(line, observation(c(1, 1), diag(2)))$means), t(c(1, 1)))
  # an observation of no variables
  nothing <- condition(line, observation(0, cbind(0, 0)))
  expect_law(nothing, 1, t(c(0, 0)), list(matrix(1, 2, 2)))
  expect_error(condition(line, observation(1, cbind(0, 0))), class = "mixguide_error_impossible")
})

test_that("contradictions in y are found, row by row", {
  m <- named_mixture("M2")
  twice <- rbind(c(1, 0), c(1, 0))
  expect_error(condition(m, observation(rbind(c(1, 1), c(1, 1.001)), twice)), "row 2",
               class = "mixguide_error_impossible")
  expect_equal(condition(m, observation(c(1, 1 + 1e-12), twice))$weights,
               condition(m, c(x1 = 1))$weights)
  # with noise they are none
  mean <- condition(m, observation(1.5, cbind(1, 0), .05))
  noisy <- condition(m, observation(c(1, 2), twice, .1))
  expect_law(noisy, mean$weights, mean$means, lapply(1:3, component_cov, mixture = mean))
})

test_that("one variable, one component", {
  law <- condition(gaussmix(1, 1.5, .25), observation(2, cbind(1), .25))
  expect_equal(law$means[1], 1.75)
  expect_equal(law$values[1], .125)
  expect_identical(condition(gaussmix(1, 1.5, .25), c(x = 2), drop = FALSE)$values[1], 0)
})

test_that("bad input is answered by name", {
  m <- named_mixture("M2")
  expect_identical(condition(m, data.frame(x1 = double())), list())
  expect_mixguide_error(condition(1, 1), "mixture")
  expect_mixguide_error(condition(m, c(a = 1)), "observation")
  expect_mixguide_error(condition(m, 1), "observation")
  expect_mixguide_error(condition(m, observation(variables = 1)), "observation")
  expect_mixguide_error(condition(m, c(x1 = NA_real_)), "y")
  expect_mixguide_error(condition(m, c(x1 = Inf)), "y")
  expect_mixguide_error(condition(m, observation("a", cbind(1, 0))), "y")
  expect_mixguide_error(condition(m, observation(1:3, diag(2))), "y")
  expect_mixguide_error(condition(m, observation(1, t(1:3))), "observation")
  expect_mixguide_error(condition(m, observation(1, cbind(1, NA))), "H")
  labelled <- gaussmix(1, t(c(a = 1, b = 2)), 1)
  expect_mixguide_error(condition(labelled, observation(1, cbind(b = 1, c = 2))), "observation")
  expect_identical(condition(labelled, observation(1, cbind(b = 1, a = 2))),
                   condition(labelled, observation(1, cbind(2, 1))))
  expect_mixguide_error(condition(m, observation(1, cbind(1, 0), -1)), "noise")
  expect_mixguide_error(condition(m, observation(1, cbind(1, 0), diag(2))), "noise")
  expect_mixguide_error(condition(m, c(x1 = 1, x2 = 1)), "drop")
  expect_mixguide_error(condition(m, c(x1 = 1), drop = NA), "drop")
  expect_mixguide_error(marginal(m, observation()), "variables")
})

test_that("what is observed altogether is a point, whatever the covariances", {
  m <- named_mixture("M2")
  H <- rbind(c(1, 1), c(0, 1))
  law <- condition(m, observation(c(.5, .2), H))
  expect_equal(moments(law)$mean, c(.3, .2))
  expect_equal(moments(law)$cov, matrix(0, 2, 2))
  expect_equal(condition(m, observation(c(.3, .2), diag(2)))$weights, law$weights)
  # with added noise
  expect_equal(moments(diffuse(law, .5))$cov, schedule_ou()$b2(.5) * diag(2))
})

# Observations and the frame in which they are simple: against plain linear algebra.

random_observation <- function(p, d, rank = min(p, d), noise_rank = p) {
  H <- matrix(rnorm(p * rank), p) %*% matrix(rnorm(rank * d), rank)
  R <- tcrossprod(matrix(rnorm(p * noise_rank), p))
  list(H = H, R = R, y = drop(H %*% rnorm(d) + matrix(R, p) %*% rnorm(p)))
}

pseudo_inverse <- function(H) {
  s <- svd(H)
  keep <- s$d > 1e-10 * s$d[1]
  s$v[, keep, drop = FALSE] %*% (t(s$u[, keep, drop = FALSE]) / s$d[keep])
}

test_that("the range's basis makes H+ y independent observations", {
  set.seed(1)
  for (case in list(c(1, 3), c(2, 5), c(3, 3))) {
    o <- random_observation(case[1], case[2])
    range <- observed_range(observation(o$y, o$H, o$R))
    plus <- pseudo_inverse(o$H)
    expect_equal(crossprod(range$basis), diag(case[1]), tolerance = 1e-12)
    expect_equal(tcrossprod(range$basis), plus %*% o$H, tolerance = 1e-10)
    expect_equal(drop(range$basis %*% range$target), drop(plus %*% o$y), tolerance = 1e-10)
    expect_equal(range$basis %*% (range$nu * t(range$basis)), plus %*% o$R %*% t(plus),
                 tolerance = 1e-10)
  }
  # one variance: the singular vectors, with nu = sigma^2/s^2
  o <- random_observation(2, 4)
  range <- observed_range(observation(o$y, o$H, .25))
  expect_equal(range$nu, .25 / svd(o$H)$d^2, tolerance = 1e-12)
  expect_equal(abs(range$basis), abs(svd(o$H)$v), tolerance = 1e-12)
})

test_that("the frame is orthonormal, and a mixture in it has the same density", {
  set.seed(2)
  for (form in FORMS) {
    p <- random_mixture(form, 4, 3)
    x <- matrix(rnorm(20), 5)
    for (H in list(matrix(rnorm(8), 2), rbind(c(0, 0, -2, 0), c(1, 0, 0, 0)))) {
      frame <- complete_basis(observed_range(observation(c(1, 2), H, c(.1, .2))))
      W <- frame$complete
      expect_equal(crossprod(W), diag(4), tolerance = 1e-12)
      expect_equal(W[, 1:2], frame$basis, tolerance = 1e-12)
      expect_equal(frame$turn(t(x)), t(x %*% W), tolerance = 1e-12)
      inner <- turned_mixture(p$mixture, frame)
      expect_equal(dgaussmix(x %*% W, inner, TRUE), dgaussmix(x, p$mixture, TRUE),
                   tolerance = 1e-10)
      # picked variables leave diagonal covariances diagonal
      if (any(H == 0)) expect_identical(sub("full", "", inner$form), sub("full", "", form))
    }
  }
})

test_that("of dependent rows all that y tells is used: the posterior is the same", {
  set.seed(3)
  posterior <- function(H, R, y, S) {
    K <- S %*% t(H) %*% solve(H %*% S %*% t(H) + R)
    list(mean = drop(K %*% y), cov = S - K %*% H %*% S)
  }
  S <- crossprod(matrix(rnorm(9), 3)) + diag(3)
  for (noise_rank in c(4, 3)) {
    o <- random_observation(4, 3, rank = 2, noise_rank = noise_rank)
    range <- observed_range(observation(o$y, o$H, o$R))
    expect_length(range$target, 2)
    seen <- posterior(t(range$basis), diag(range$nu), range$target, S)
    # of singular noise a nonsingular neighbour
    truth <- posterior(o$H, o$R + diag(1e-9 * (noise_rank < 4), 4), o$y, S)
    expect_equal(seen, truth, tolerance = if (noise_rank < 4) 1e-5 else 1e-9)
  }
})

test_that("names and numbers of variables pick them", {
  m <- gaussmix(1, cbind(a = 0, b = 0, c = 0), 1)
  H <- rbind(c(0, 0, 1), c(1, 0, 0))
  for (o in list(observation(c(c = 1, a = 2)), observation(1:2, variables = c("c", "a")),
                 observation(1:2, variables = c(3, 1)))) {
    expect_equal(unname(as_observation(o, m)$H), H)
  }
  range <- observed_range(as_observation(observation(c(c = 1, a = 2), noise = c(.5, .1)), m))
  expect_equal(range$basis, t(H))
  expect_equal(range$target, 1:2)
  expect_equal(range$nu, c(.5, .1))
  expect_equal(observed_range(observation(1:2, H), "operator")$scale, c(1, 1))
})

test_that("what is wrong is said", {
  # a vector is no H: it might be coefficients, or the numbers of variables
  for (H in list(1, 1:2, c(1, .5), c(a = 1, b = 0), "a", sum)) {
    expect_error(observation(1, H), "`H` must be a matrix.*`variables = `",
                 class = "mixguide_error")
  }
  expect_mixguide_error(observation("a", variables = 1), "y")
  expect_mixguide_error(observation(c(1, NA), variables = 1:2), "y")
  expect_mixguide_error(observation(1:2, diag(3)), "H")
  expect_mixguide_error(observation(1:2), "H")
  expect_mixguide_error(observation(1:2, variables = c(1, 1)), "variables")
  expect_mixguide_error(observation(c(a = 1, b = 2), variables = c("b", "a")), "variables")
  expect_mixguide_error(observation(1, cbind(1, 0), variables = 1), "variables")
  expect_mixguide_error(observation(), "variables")
  expect_mixguide_error(observation(1:2, variables = c("a", NA)), "variables")
  expect_mixguide_error(observed_range(observation(1, matrix(0, 1, 3))), "H")
  expect_mixguide_error(observation(1:2, diag(2), noise = c(1, -1)), "noise")
  expect_mixguide_error(observation(1:2, diag(2), noise = matrix(c(1, 2, 2, 1), 2)), "noise")
  expect_mixguide_error(observation(1:2, diag(2), noise = 1:3), "noise")
  # y outside the range of H, without noise and with noise that is not there either
  twice <- rbind(c(1, 0), c(1, 0))
  expect_error(observed_range(observation(c(1, 2), twice)), "`y`",
               class = "mixguide_error_impossible")
  expect_error(observed_range(observation(c(1, 2), twice, matrix(1, 2, 2))), "`y`",
               class = "mixguide_error_impossible")
  expect_s3_class(observation(c(1, 1), twice), "observation")
  m <- gaussmix(1, cbind(a = 0, b = 0), 1)
  expect_mixguide_error(as_observation(observation(1, variables = "c"), m), "observation")
  expect_mixguide_error(as_observation(observation(1, variables = 3), m), "observation")
  expect_mixguide_error(as_observation(observation(1, diag(3)[1, , drop = FALSE]), m),
                        "observation")
  expect_mixguide_error(as_observation(observation(1, cbind(b = 1, c = 0)), m), "observation")
  expect_mixguide_error(as_observation(1, m), "observation")
})

test_that("an observation says what it is", {
  expect_identical(format(observation(c(x = 4))), "x = 4, without noise")
  expect_identical(format(observation(4, variables = 2, noise = .25)),
                   "x2 = 4, noise of variance 0.25")
  expect_output(print(observation(.8, cbind(1, .5), .09)),
                "1 number of 2 dimensions, y = 0.8, noise of variance 0.09", fixed = TRUE)
  expect_output(print(observation(1:2, rbind(1:2, 0:1),
                                  noise = matrix(c(2, 1, 1, 2), 2))),
                "noise of covariance 2 x 2")
})

test_that("variables and columns are found by their names, as condition() finds them", {
  m <- named_mixture("M2")
  expect_identical(unname(as_observation(c(x2 = 1), m)$H), t(c(0, 1)))
  named <- gaussmix(c(.3, .7), rbind(c(a = 0, b = 0), c(1, 1)), .5)
  y <- observation(1, cbind(b = 2, a = 1))
  expect_equal(unname(as_observation(y, named)$H), t(c(1, 2)))
  expect_equal(condition(named, y), condition(named, observation(1, cbind(1, 2))))
  expect_mixguide_error(as_observation(observation(1, cbind(b = 2, c = 1)), named),
                        "observation")
})

test_that("a row is no less for being small, and is nothing where it is others'", {
  expect_equal(observed_range(observation(1, cbind(2, 0)))$scale, 2)
  H <- diag(c(1, 1e-12))
  expect_equal(observed_range(observation(c(1, 0), H))$scale, c(1, 1e-12))
  # (1, 1) twice, but for 1e-11
  H <- rbind(c(1, 1), 1e-12 * c(1, 1 + 1e-11))
  expect_length(observed_range(observation(c(1, 1e-12), H))$scale, 1)
  # what is rounding for variables of one size is none where units differ
  H <- rbind(c(1, 0), c(1, 1e-16))
  y <- observation(c(1, 1), H)
  expect_length(observed_range(y, sd = c(1, 1))$scale, 1)
  expect_length(observed_range(y, sd = c(1, 1e16))$scale, 2)
})

test_that("an observation of everything without noise has its exact law", {
  m <- named_mixture("M2")
  y <- observation(c(.5, .2), rbind(c(1, 1), c(0, 1)))
  set.seed(1)
  run <- conditional_sample(m, 2000, y, zero_shot_exact(), schedule_etc(50))
  expect_equal(colMeans(run$x), c(.3, .2), tolerance = .02)
  expect_output(print(summary(run)), "exact")
})

# Observations and the coordinates in which they are diagonal, against plain linear algebra.

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
      W <- t(frame$back(diag(4)))
      expect_equal(crossprod(W), diag(4), tolerance = 1e-12)
      expect_equal(W[, 1:2], frame$basis, tolerance = 1e-12)
      expect_equal(frame$turn(t(x)), t(x %*% W), tolerance = 1e-12)
      inner <- turned_mixture(p$mixture, frame)
      expect_equal(dgaussmix(x %*% W, inner, TRUE), dgaussmix(x, p$mixture, TRUE),
                   tolerance = 1e-10)
      # chosen variables keep diagonal covariances diagonal
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
    # singular noise, with a nonsingular neighbour
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

test_that("whoever takes an observation takes numbers named by variables, and no others", {
  m <- gaussmix(1, t(c(a = 0, b = 1, c = 2)), crossprod(matrix(cos(1:9), 3)) + diag(3))
  short <- c(c = 1.5, a = -.5)
  method <- zero_shot_bo()
  schedule <- schedule_etc(20)
  takes <- list(
    function(y) condition(m, y), function(y) condition(m, y, drop = FALSE),
    function(y) conditional_sample(m, 5, y, method, schedule = schedule, key = c(1, 2))$x,
    function(y) score(m, diag(3), 5, schedule, observation = y, method = method),
    function(y) guided_moments(m, observation = y, method = method, schedule = schedule)[1:4],
    function(y) summary(mismatch(m, y, method, schedule)),
    function(y) {
      judge_samples(m, observation = y, methods = method, n = 40, schedule = schedule,
                    directions = 5, key = c(1, 2))$residual
    }
  )
  for (f in takes) suppressWarnings({
    known <- f(observation(c(1.5, -.5), variables = c(3, 1)))
    for (y in list(short, observation(short), observation(short, variables = c("c", "a")))) {
      expect_equal(f(y), known, tolerance = 1e-12)
    }
    # without names the variable is unknown; without y, the observed value
    expect_mixguide_error(f(c(1.5, -.5)), "observation")
    expect_mixguide_error(f("a"), "observation")
    expect_mixguide_error(f(c(z = 1)), "observation")
  })
  for (f in takes[c(3:5, 7)]) {
    expect_mixguide_error(f(observation(variables = "a")), "observation")
  }
  for (f in takes[-(1:2)]) {
    expect_mixguide_error(f(data.frame(a = 1:2)), "observation")
  }
})

test_that("where y does not count, variables do, and what might be either is asked back", {
  m <- gaussmix(1, t(c(a = 0, b = 1, c = 2)), crossprod(matrix(cos(1:9), 3)) + diag(3))
  known <- mutual_information(m, c("a", "c"))
  law <- marginal(m, c("a", "c"))
  for (seen in list(c(1, 3), which(c(a = TRUE, b = FALSE, c = TRUE)), observation(c(a = 9, c = 8)),
                    observation(variables = c(1, 3)), observation(data.frame(a = 1:3, c = 1)))) {
    expect_equal(mutual_information(m, seen), known)
    expect_equal(marginal(m, seen), law)
  }
  for (f in list(mutual_information, marginal)) {
    for (bad in list(c(a = 2), c(1, 1), "z", 4, 1.5, NULL, list(1), diag(3), character())) {
      expect_error(f(m, bad), "`(observation|variables)`", class = "mixguide_error")
    }
  }
  noisy <- marginal(m, observation(variables = c(1, 3), noise = c(1, 2)))
  expect_equal(moments(noisy)$cov, moments(law)$cov + diag(1:2))
  sum <- marginal(m, observation(H = rbind(sum = c(1, 0, 1))))
  expect_equal(moments(sum)$cov, matrix(sum(moments(law)$cov), 1, 1, FALSE, list("sum", "sum")))
})

test_that("what is wrong is said", {
  # a vector is no H: it might be coefficients, or numbers of variables
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
  # y outside the range of H, without noise and with noise that vanishes there
  twice <- rbind(c(1, 0), c(1, 0))
  expect_error(observed_range(observation(c(1, 2), twice)), "`y`",
               class = "mixguide_error_impossible")
  expect_error(observed_range(observation(c(1, 2), twice, matrix(1, 2, 2))), "`y`",
               class = "mixguide_error_impossible")
  expect_s3_class(observation(c(1, 1), twice), "mixguide_observation")
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
  # (1, 1) twice, up to 1e-11
  H <- rbind(c(1, 1), 1e-12 * c(1, 1 + 1e-11))
  expect_length(observed_range(observation(c(1, 1e-12), H))$scale, 1)
  # rounding for variables of one size is not rounding if units differ
  H <- rbind(c(1, 0), c(1, 1e-16))
  y <- observation(c(1, 1), H)
  expect_length(observed_range(y, sd = c(1, 1))$scale, 1)
  expect_length(observed_range(y, sd = c(1, 1e16))$scale, 2)
})

test_that("an observation of everything without noise has its exact law", {
  m <- named_mixture("M2")
  y <- observation(c(.5, .2), rbind(c(1, 1), c(0, 1)))
  set.seed(1)
  run <- conditional_sample(m, 2000, y, zero_shot_exact(), schedule = schedule_etc(50))
  expect_equal(colMeans(run$x), c(.3, .2), tolerance = .02)
  expect_output(print(summary(run)), "exact")
})

test_that("the basis of a run turns rows back as its matrix does, also those that overflowed", {
  set.seed(11)
  for (d in c(1, 2, 5, 40)) for (r in unique(pmin(d, c(1, 2, d)))) for (axes in c(TRUE, FALSE)) {
    Q <- if (axes) diag(c(-1, rep(1, d - 1)), d)[, sample(d, r), drop = FALSE] else {
      qr.Q(qr(matrix(rnorm(d * r), d)))
    }
    frame <- complete_basis(list(basis = Q))
    expect_identical(!is.null(frame$order), axes || d == 1)
    complete <- t(frame$turn(diag(d)))
    expect_equal(complete[, seq_len(r), drop = FALSE], Q, tolerance = 1e-13)
    expect_equal(crossprod(complete), diag(d), tolerance = 1e-13)
    x <- rbind(matrix(rnorm(3 * d), 3), 1e300)
    expect_equal(frame$back(x), tcrossprod(x, complete), tolerance = 1e-13)
    expect_equal(frame$back(x[1:3, , drop = FALSE]), tcrossprod(x[1:3, , drop = FALSE], complete),
                 tolerance = 1e-13)
    bad <- rbind(x[1, ], NaN, Inf)
    expect_equal(frame$back(bad)[1, ], frame$back(x)[1, ], tolerance = 1e-13)
    expect_false(any(is.finite(frame$back(bad)[2, ])))
    expect_identical(dim(frame$back(x[0, , drop = FALSE])), c(0L, as.integer(d)))
  }
})

# The derivative of the score as an operation: products and solutions, against the matrix itself.
# test-score.R tests the matrix against numerical derivatives.

# s, w = (I + .3 Ds) (u x) and v = (diag(2, 3) + .05 Ds)^-1 (u x) on the first two coordinates.
curved_run <- function(mixture, x, t, u, lanes = 0L) {
  ops <- list(op_eval("s", "x", t), op_linear("w", list(x = u)), op_linear("v", list(x = u)),
              op_product("w", "x", t, coef = .3), op_solve("v", "x", t, .05, diagonal = c(2, 3)),
              new_op("save", "x", from = "s"), new_op("save", "x", from = "w"),
              new_op("save", "x", from = "v"))
  program <- assemble_program(operation_table(ops, ncol(x)), scalars = SCALAR$start)
  level <- schedule_ou()
  core_run(core_pool(mixture, rotate = FALSE), rbind(log_weights(mixture)),
           list(a = level$a(t), b2 = level$b2(t), coef = 1), program, nrow(x), start = x,
           lanes = lanes)$output
}

test_that("products with the derivative of the score, and solutions, are those of the matrix", {
  set.seed(1)
  for (form in FORMS) {
    for (d in c(2, 5)) {
      m <- random_mixture(form, d, 3)$mixture
      x <- matrix(rnorm(7 * d, 0, 2), 7)
      u <- runif(d)
      got <- curved_run(m, x, .4, u)
      J <- score_jacobian(m, x, .4)
      expect_equal(got[, , 1], score(m, x, .4), tolerance = 1e-13)
      for (i in 1:7) {
        v <- u * x[i, ]
        expect_equal(got[i, , 2], v + .3 * drop(J[i, , ] %*% v), tolerance = 1e-12)
        v[1:2] <- solve(diag(2:3) + .05 * J[i, 1:2, 1:2], v[1:2])
        expect_equal(got[i, , 3], v, tolerance = 1e-12)
      }
      expect_identical(curved_run(m, x, .4, u, lanes = 8L), got)
      expect_equal(with_engine("portable", curved_run(m, x, .4, u)), got, tolerance = 1e-12)
    }
  }
})

test_that("they hold in dimensions where no precision matrices are made, and far out", {
  set.seed(2)
  d <- 130
  m <- random_mixture("full", d, 2)$mixture
  x <- rbind(rnorm(d), 60 * rnorm(d))
  u <- runif(d)
  got <- curved_run(m, x, .1, u)
  J <- score_jacobian(m, x, .1)
  for (i in 1:2) {
    v <- u * x[i, ]
    expect_equal(got[i, , 2], v + .3 * drop(J[i, , ] %*% v), tolerance = 1e-9)
    v[1:2] <- solve(diag(2:3) + .05 * J[i, 1:2, 1:2], v[1:2])
    expect_equal(got[i, , 3], v, tolerance = 1e-9)
  }
})

test_that("the operations say what they are, and what is wrong with them", {
  expect_output(print(op_product("w", "x", t = .5, coef = .6)), "w <- (I + 0.6 Ds(x, t = 0.5)) w",
                fixed = TRUE)
  expect_output(print(op_solve("w", "x", .5, .1, c(1, 2))),
                "(diag(1, 2) + 0.1 Ds(x, t = 0.5))^-1 w", fixed = TRUE)
  expect_output(print(op_root("z", "x", t = .5, coef = .6)),
                "z <- (I + 0.6 Ds(x, t = 0.5))^(1/2) z", fixed = TRUE)
  expect_mixguide_error(op_product("x", "x", 1, 1), "to")
  expect_mixguide_error(op_product("w", "x", -1, 1), "t")
  expect_mixguide_error(op_product("w", "x", 1, NA), "coef")
  expect_mixguide_error(op_solve("w", "x", 1, 1, "a"), "diagonal")
  expect_mixguide_error(op_solve("w", "x", 1, 1:2, 1), "coef")
})

# x + .1 w, where w is the score after the operations `what`.
curved_sampler <- function(what, steps = 1, ...) {
  sampler("curved", function(k, times, schedule) {
    list(op_eval("w", "x", times[k]), what(times[k]), op_linear("x", c(x = 1, w = .1)))
  }, steps, ...)
}

test_that("op_solve() is of the coordinates of the mixture, whatever the run takes place in", {
  solved <- curved_sampler(function(t) op_solve("w", "x", t, -.1, 1), stochastic = TRUE)
  x <- matrix(c(1, .3, 2), 1)
  turned <- gaussmix(c(.5, .5), rbind(c(-1, 0, 0), c(1, 0, 0)), .5 + .5 * diag(3))
  reducible <- gaussmix(c(.5, .5), rbind(c(-1, 1, 0), c(1, -1, 0)), .5)
  for (m in list(turned, reducible)) {
    w <- score(m, x, .5)
    w[1] <- w[1] / (1 - .1 * score_jacobian(m, x, .5)[1, 1, 1])
    run <- guided_sample(m, sampler = solved, start = x, horizon = .5)
    expect_equal(run$x, x + .1 * w, tolerance = 1e-12)
  }
  expect_mixguide_error(guided_moments(gaussmix(1, 1, 1), sampler = solved), "sampler")
})

test_that("what the engine could not do is said in words", {
  m <- gaussmix(c(.5, .5), c(-1, 1), .5)
  product <- function(t) op_product("w", "x", t, .1)
  expect_identical(guided_sample(m, 2, sampler = curved_sampler(product))$density_method, "none")
  expect_mixguide_error(guided_sample(m, 2, sampler = curved_sampler(product), log_density = "map"),
                        "log_density")
  expect_mixguide_error(guided_law(m, sampler = curved_sampler(product)), "sampler")
  noisy <- sampler("noisy", function(k, times, schedule) {
    c(list(op_eval("w", "x", times[k]), product(times[k])),
      if (k == 1) list(op_noise("z")), list(op_linear("x", c(x = 1, w = .1, if (k == 1) c(z = 1)))))
  }, 2, stochastic = TRUE)
  expect_mixguide_error(guided_law(m, sampler = noisy), "sampler")
  refused <- function(what, arg, ...) {
    expect_mixguide_error(guided_sample(m, 2, sampler = curved_sampler(what, ...)), arg)
  }
  refused(function(t) op_product("w", "x", t / 2, .1), "step")
  refused(function(t) op_product("w", "x", t, c(.1, .2)), "coef")
  refused(function(t) op_solve("w", "x", t, .1, c(1, 2)), "step")
  refused(function(t) op_solve("w", "x", t, .1, 1), "step", steps = 3, vectorised = TRUE)
  late <- sampler("late", function(k, times, schedule) {
    list(op_eval("w", "x", times[k]), op_linear("x", c(x = 1, w = .1)), product(times[k]),
         op_linear("x", c(x = 1, w = .1)))
  }, 1)
  expect_mixguide_error(guided_sample(m, 2, sampler = late), "step")
})

# L u with L L' = I + c Ds, a row for each point, and a flag where an eigenvalue was negative.
root_run <- function(mixture, x, t, c, u, guide = NULL, lanes = 0L) {
  ops <- list(op_eval("s", "x", t), op_linear("w", c(x = 0, s = 0)),
              new_op("constant", "w", coef = list(x = 1)), op_linear("w", list(w = u)),
              op_root("w", "x", t, c), new_op("save", "x", from = "w"))
  program <- assemble_program(operation_table(ops, ncol(x)), scalars = SCALAR$start)
  models <- guidance_models(guide, mixture)
  level <- list(a = exp(-t), b2 = -expm1(-2 * t), coef = models$coef(t))
  run <- core_run(core_pool(mixture, rotate = FALSE), models$models, level, program, nrow(x),
                  SCALAR$clipped, start = x, lanes = lanes)
  list(w = run$output, clipped = run$scalar[[SCALAR$clipped]])
}

test_that("roots are the triangular ones of the covariance", {
  set.seed(3)
  for (form in FORMS) {
    for (d in c(1, 2, 3, 12)) {
      m <- random_mixture(form, d, 3)$mixture
      x <- matrix(rnorm(19 * d, 0, 2), 19)
      u <- rnorm(d)
      b2 <- -expm1(-2 * .3)
      got <- root_run(m, x, .3, b2, u)
      expect_equal(got$w, by_root(score_jacobian(m, x, .3), b2, matrix(u, 19, d, TRUE)),
                   tolerance = 1e-10)
      expect_identical(got$clipped, double(19))
      expect_identical(root_run(m, x, .3, b2, u, lanes = 8L), got)
      # a particle's result does not depend on its neighbours
      expect_identical(root_run(m, x[5, , drop = FALSE], .3, b2, u)$w[1, ], got$w[5, ])
      expect_equal(with_engine("portable", root_run(m, x, .3, b2, u)), got, tolerance = 1e-10)
    }
  }
})

# The roots themselves, n x d x d: their columns are what becomes of the unit vectors.
roots <- function(x, ...) {
  d <- ncol(x)
  vapply(seq_len(d), function(j) root_run(x = x, u = diag(d)[j, ], ...)$w, x)
}

test_that("roots of matrices with negative eigenvalues take these as 0, and say so", {
  m <- gaussmix(rep(1, 4), rbind(c(-1, 0), c(1, .5), c(0, 2), c(2, 2)), .3,
                class = c("a", "b", "a", "b"))
  set.seed(4)
  x <- matrix(rnorm(400, 0, 2), 200)
  guide <- guidance("a", 6)
  got <- root_run(m, x, .3, .6, c(1, -.5), guide)
  J <- score_jacobian(m, x, .3, guidance = guidance("a", 6))
  least <- apply(J, 1, function(H) min(eigen(diag(2) + .6 * H, TRUE)$values))
  expect_identical(got$clipped > 0, least < 0)
  expect_gt(sum(least < 0), 5)
  L <- roots(x, mixture = m, t = .3, c = .6, guide = guide)
  for (i in 1:200) {
    expect_identical(L[i, 1, 2], 0)
    expect_equal(tcrossprod(L[i, , ]), clipped(diag(2) + .6 * J[i, , ]), tolerance = 1e-10)
  }
  expect_identical(root_run(m, x, .3, .6, c(1, -.5), guide, lanes = 8L), got)
  few <- c(which(least < 0)[1:3], which(least > 0)[1])
  expect_identical(root_run(m, x[few, ], .3, .6, c(1, -.5), guide)$w, got$w[few, ])
  # 60 standard deviations out
  far <- root_run(m, 60 * x, .3, .6, c(1, -.5))$w
  expect_equal(far, by_root(score_jacobian(m, 60 * x, .3), .6, matrix(c(1, -.5), 200, 2, TRUE)),
               tolerance = 1e-9)
})

test_that("roots change little where an eigenvalue changes its sign", {
  set.seed(5)
  d <- 5
  m <- gaussmix(rep(1, 4), matrix(rnorm(4 * d), 4), .5, class = c("a", "a", "b", "b"))
  x <- matrix(rnorm(40 * d), 40)
  L <- function(strength) {
    roots(x, mixture = m, t = .3, c = -expm1(-.6), guide = guidance("a", strength))
  }
  J <- function(strength) score_jacobian(m, x, .3, guidance = guidance("a", strength))
  least <- function(strength) {
    apply(J(strength), 1, function(H) min(eigen(diag(d) - expm1(-.6) * H, TRUE)$values))
  }
  i <- which(least(0) > 0 & least(20) < 0)
  expect_gt(length(i), 5)
  for (k in i[1:5]) {
    at <- stats::uniroot(function(strength) least(strength)[k], c(0, 20), tol = 1e-13)$root
    # a root moves by the square root of what its matrix moves by
    expect_lt(max(abs(L(at + 1e-10)[k, , ] - L(at - 1e-10)[k, , ])), 1e-4)
  }
})

test_that("a product that turns a vector around is no clipped covariance", {
  m <- gaussmix(c(.3, .3, .4), rbind(c(-1, 0), c(1, 1), c(2, -1)), .05)
  both <- sampler("both", function(k, times, schedule) {
    t <- times[k]
    # 1e-6 of the derivative changes no sign, 5 times it does
    list(op_eval("s", t = t), op_noise("z"), op_root("z", "x", t, 1e-6), op_linear("w", c(x = 1)),
         op_product("w", "x", t, 5), op_linear("x", list(x = 1, s = .01, z = .1)))
  }, 4, stochastic = TRUE)
  run <- quiet_sample(m, 200, sampler = both, key = 1:2)
  expect_false(any(run$clipped))
  expect_null(run$reversed)
})

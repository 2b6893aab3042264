# The engine's normals, as a user of R sees them. tools/core-tests has larger samples, and tests the
# generators themselves. All seeds are fixed; each bound has a false alarm of 1e-6, also bounds of a
# maximum.

BOUND <- 5e-7
quick <- nzchar(Sys.getenv("MIXGUIDE_SANITIZE")) || Sys.getenv("NOT_CRAN") != "true"
SCALE <- if (quick) .1 else 1

# Normals as particles x coordinates x draws.
draw_normals <- function(n, d = 3, draws = 4, key = c(2026, 7), first = 0, ...) {
  steps <- rep(list(list(op_noise("x"))), draws)
  program <- compile_program(steps, draws:0, d, save = TRUE)
  m <- gaussmix(1, rep(0, d), 1)
  levels <- list(a = double(), b2 = double(), coef = double())
  run <- core_run(core_pool(m), rbind(0), levels, program, n, key = key, first = first, ...)
  array(run$output, c(n, d, draws + 1))[, , -1, drop = FALSE]
}

# The largest correlation of a column of x with one of y, and of their squares, in standard errors,
# relative to its bound. With y = NULL, of different columns of x.
largest_correlation <- function(x, y = NULL) {
  largest <- function(f) {
    r <- abs(crossprod(f(x), f(if (is.null(y)) x else y))) / sqrt(nrow(x))
    if (is.null(y)) r <- r[upper.tri(r)]
    max(r) / qnorm(1 - BOUND / length(r))
  }
  max(largest(identity), largest(function(z) (z^2 - 1) / sqrt(2)))
}

expect_uniform <- function(cells, count) {
  expected <- length(cells) / count
  chisq <- sum((tabulate(cells, count) - expected)^2) / expected
  testthat::expect_lt(chisq, qchisq(2 * BOUND, count - 1, lower.tail = FALSE))
}

test_that("the normals are those of the published generators, under every instruction set", {
  keys <- list(c(0, 0), c(1, 2), c(4294967295, 4294967295), c(123456789, 987654321))
  # also for particle numbers around 2^32 and 2^48
  first <- c(11, 11, 2^32 - 3, 2^48 + 2^33 + 5)
  for (k in seq_along(keys)) {
    truth <- t(vapply(first[k] + 0:4, oracle_normals, double(12), key = keys[[k]], n = 12))
    for (name in c("portable", "avx2", "avx512")) {
      z <- with_engine(name, draw_normals(5, key = keys[[k]], first = first[k]))
      expect_equal(matrix(z, 5), truth, tolerance = 1e-15)
    }
  }
})

test_that("the law of a normal is normal", {
  z <- draw_normals(1e5 * SCALE)
  N <- length(z)
  bound <- qnorm(1 - BOUND)
  deviation <- function(x, mean, variance) abs(mean(x) - mean) * sqrt(N / variance)
  moment <- function(p) if (p %% 2) 0 else prod(seq(1, p - 1, 2))
  for (p in 1:6) {
    expect_lt(deviation(z^p, moment(p), moment(2 * p) - moment(p)^2), bound,
              label = paste("moment", p))
  }
  for (q in c(1, 2, 3, 4)) for (side in c(-1, 1)) {
    p <- pnorm(-q)
    expect_lt(deviation(side * z > q, p, p * (1 - p)), bound, label = paste("tail", q * side))
  }
  expect_lt(max(abs(z)), 8.5)
  uniform <- pnorm(matrix(z, dim(z)[1]))
  expect_uniform(floor(1000 * uniform) + 1, 1000)
  # pairs of draws of one particle: both of one Box-Muller pair (1, 2), and of different pairs
  for (pair in list(1:2, 2:3, 3:4, c(1, 4), c(1, 12))) {
    expect_uniform(floor(32 * uniform[, pair[1]]) * 32 + floor(32 * uniform[, pair[2]]) + 1, 1024)
  }
  expect_gt(ks.test(as.vector(z[seq_len(2e4 * SCALE), , ]), "pnorm")$p.value, 2 * BOUND)
})

test_that("the normals are independent along a particle and across particles", {
  z <- matrix(draw_normals(1e5 * SCALE), ncol = 12)
  n <- nrow(z)
  expect_lt(largest_correlation(z), 1)
  for (lag in c(1, 2, 7, 8, 16, 64, 512)) {
    expect_lt(largest_correlation(z[-seq_len(lag), ], z[seq_len(n - lag), ]), 1,
              label = paste("lag", lag))
  }
  expect_identical(anyDuplicated(as.vector(z)), 0L)
})

test_that("keys that differ in one bit give unrelated noise", {
  n <- 2e4 * SCALE
  bits <- c(lapply(2^(0:31), function(bit) c(0, bit)), lapply(2^(0:31), function(bit) c(bit, 0)))
  keys <- c(list(c(0, 0)), bits)
  z <- vapply(keys, function(key) as.vector(draw_normals(n, 1, 1, key)), double(n))
  expect_lt(largest_correlation(z), 1)
  expect_identical(anyDuplicated(as.vector(z)), 0L)
  # a key and a particle number that change places
  few <- 100
  swap <- vapply(seq_len(few), function(k) {
    matrix(draw_normals(few, 4, 1, c(0, k), first = 1), few)
  }, matrix(0, few, 4))
  for (j in 1:4) {
    one <- swap[, j, ]
    expect_lt(largest_correlation(cbind(one[upper.tri(one)]), cbind(t(one)[upper.tri(one)])), 1)
  }
})

test_that("a particle has one stream, however its numbers are taken", {
  # with an odd number of coordinates the second of a pair waits for the next draw
  whole <- matrix(draw_normals(37, 60, 1), 37)
  for (d in c(1, 2, 3, 4, 5, 12, 15)) {
    expect_identical(matrix(draw_normals(37, d, 60 / d), 37), whole)
  }
  # and for any neighbours
  for (lanes in c(8L, 24L, 64L)) {
    expect_identical(matrix(draw_normals(37, 3, 20, lanes = lanes), 37), whole)
  }
  for (i in c(1, 8, 9, 37)) {
    expect_identical(matrix(draw_normals(1, 3, 20, first = i - 1), 1), whole[i, , drop = FALSE])
  }
})

test_that("keyed draws follow the mixture, and have nothing to do with the noise of their key", {
  n <- 1e5 * SCALE
  normal <- gaussmix(1, t(c(0, 0)), 1)
  z <- keyed_draws(normal, n, c(3, 4))
  expect_identical(keyed_draws(normal, n, c(3, 4)), z)
  expect_lt(largest_correlation(cbind(z, matrix(draw_normals(n, 2, 2, c(3, 4)), n))), 1)
  m <- gaussmix(c(.2, 0, .8), cbind(c(-20, 0, 20), 1:3), list(1, 1, c(4, .25)))
  x <- keyed_draws(m, n, c(5, 6))
  last <- x[, 1] > 0
  expect_lt(abs(sum(last) - .8 * n), qnorm(1 - BOUND) * sqrt(.16 * n))
  standard <- x
  standard[last, ] <- t((t(x[last, ]) - c(20, 3)) / c(2, .5))
  standard[!last, ] <- t(t(x[!last, ]) - c(-20, 1))
  expect_lt(largest_correlation(standard), 1)
  for (j in 1:2) for (part in list(last, !last)) expect_honest(standard[part, j])
})

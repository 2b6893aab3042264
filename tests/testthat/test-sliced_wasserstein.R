# W_p of two weighted samples on a line, by brute force over a fine grid of quantiles.
brute_force <- function(x, y, p, wx = rep(1, length(x)), wy = rep(1, length(y)), m = 20000) {
  quantile_of <- function(x, w, q) {
    o <- order(x)
    x[o][pmin(findInterval(q, cumsum(w[o]) / sum(w)) + 1, length(x))]
  }
  q <- (seq_len(m) - .5) / m
  mean(abs(quantile_of(x, wx, q) - quantile_of(y, wy, q))^p)^(1 / p)
}

test_that("in one dimension it is the Wasserstein distance, for any sizes and weights", {
  expect_equal(sliced_wasserstein(c(0, 3), c(1, 1))$estimate, sqrt((1 + 4) / 2))
  expect_equal(sliced_wasserstein(c(3, 0), c(1, 1), p = 1)$estimate, 1.5)
  expect_identical(sliced_wasserstein(1, 4)$method, "exact")
  # 3 against 2 points: quantiles agree on thirds and halves
  expect_equal(sliced_wasserstein(c(0, 1, 2), c(0, 2), p = 1)$estimate, 1 / 6 + 1 / 6)
  set.seed(1)
  x <- rnorm(40)
  y <- rexp(25)
  wx <- sample(0:3, 40, TRUE)
  wy <- sample(1:4, 25, TRUE)
  for (p in c(1, 2, 3)) {
    expect_equal(sliced_wasserstein(x, y, p = p)$estimate, brute_force(x, y, p), tolerance = 1e-6)
    expect_equal(sliced_wasserstein(x, y, p = p, weights_x = wx, weights_y = wy)$estimate,
                 brute_force(x, y, p, wx, wy), tolerance = 2e-3)
  }
  # a weight of 2 counts as the point twice
  expect_equal(sliced_wasserstein(c(0, 5), c(1, 2, 4), weights_x = c(2, 1))$estimate,
               sliced_wasserstein(c(0, 0, 5), c(1, 2, 4))$estimate)
})

test_that("a shift by v is at distance |v|/sqrt(d), within the standard error", {
  set.seed(2)
  for (d in c(2, 5)) {
    x <- matrix(rnorm(300 * d), ncol = d)
    v <- rnorm(d)
    row <- sliced_wasserstein(x, sweep(x, 2, v, `+`), directions = 2000)
    expect_lt(abs(row$estimate - sqrt(sum(v^2) / d)), 5 * row$se)
    expect_gt(row$se, 0)
    expect_identical(sliced_wasserstein(x, x)$estimate, 0)
  }
})

test_that("of any order it is that of the quantile functions: normals on a line", {
  # W_p of N(0, 1) and N(m, s^2): of order 1 the mean of |m + (s - 1) z|
  n <- 20000
  z <- qnorm(ppoints(n))
  for (case in list(c(.5, 1), c(.3, 2), c(0, .4))) {
    gap <- function(z) abs(case[1] + (case[2] - 1) * z)
    for (p in c(1, 2, 3)) {
      truth <- integrate(function(z) gap(z)^p * dnorm(z), -12, 12, rel.tol = 1e-9,
                         subdivisions = 500)$value^(1 / p)
      at <- function(maximum) {
        sliced_wasserstein(z, case[1] + case[2] * z, p = p, draws = FALSE, maximum = maximum)
      }
      expect_equal(at(FALSE)$estimate, truth, tolerance = 2e-3)
      expect_identical(at(TRUE), at(FALSE))
    }
  }
})

test_that("the largest over directions of a shift by v is |v|, of every order", {
  set.seed(4)
  for (d in c(2, 3)) {
    x <- matrix(rnorm(200 * d), ncol = d)
    v <- rnorm(d)
    moved <- sweep(x, 2, v, `+`)
    u <- mixguide:::random_directions(d, 600, c(5, 0))
    for (p in c(1, 2)) {
      at <- function(...) {
        sliced_wasserstein(x, moved, directions = 600, p = p, key = c(5, 0), ...)
      }
      row <- at(maximum = TRUE)
      expect_equal(row$estimate, max(abs(v %*% u)), tolerance = 1e-12)
      expect_equal(row$estimate, sqrt(sum(v^2)), tolerance = 5e-3)
      expect_identical(row$covers, "draws")
      given <- at(maximum = TRUE, draws = FALSE)
      expect_identical(c(given$method, given$covers), c("bound", "nothing"))
      # the moments over a random direction u of |u'v|^p are known
      mean_power <- c(gamma(d / 2) / (sqrt(pi) * gamma((d + 1) / 2)), 1 / d)[p]
      row <- at()
      expect_lt(abs(row$estimate - sqrt(sum(v^2)) * mean_power^(1 / p)), 5 * row$se)
    }
  }
  # by brute force, for other laws and weights
  y <- matrix(rexp(50 * 3), ncol = 3)
  w <- sample(1:4, 50, TRUE)
  u40 <- mixguide:::random_directions(3, 40, c(6, 0))
  by_hand <- apply(u40, 2, function(u) brute_force(x %*% u, y %*% u, 1, wy = w))
  row <- sliced_wasserstein(x, y, 40, p = 1, weights_y = w, key = c(6, 0), maximum = TRUE)
  expect_equal(row$estimate, max(by_hand), tolerance = 2e-3)
  expect_mixguide_error(sliced_wasserstein(x, y, maximum = 1), "maximum")
})

test_that("directions are settled by the key and fall evenly", {
  set.seed(3)
  x <- matrix(rnorm(200), ncol = 2)
  y <- matrix(rnorm(200), ncol = 2)
  once <- sliced_wasserstein(x, y, key = c(1, 0))
  expect_identical(sliced_wasserstein(x, y, key = c(1, 0)), once)
  expect_false(identical(sliced_wasserstein(x, y), once))
  u <- mixguide:::random_directions(3, 20000, c(1, 0))
  expect_equal(colSums(u^2), rep(1, 20000))
  expect_lt(max(abs(tcrossprod(u) / 20000 - diag(3) / 3)), 5 * sqrt(4 / 45 / 20000))
  # in parts or at once
  big <- matrix(rnorm(2^15), ncol = 2)
  moved <- big[rev(seq_len(nrow(big))), ] + 1
  expect_equal(sliced_wasserstein(big, moved, directions = 300, key = c(1, 0))$estimate^2,
               mean(colSums(mixguide:::random_directions(2, 300, c(1, 0)))^2))
})

test_that("what is no cloud of points is an error that names the argument", {
  x <- matrix(0, 3, 2)
  expect_mixguide_error(sliced_wasserstein(x, 1:3), "y")
  expect_mixguide_error(sliced_wasserstein("a", x), "x")
  expect_mixguide_error(sliced_wasserstein(x, replace(x, 1, NA)), "y")
  expect_mixguide_error(sliced_wasserstein(x, x, directions = 1), "directions")
  expect_mixguide_error(sliced_wasserstein(x, x, p = .5), "p")
  expect_mixguide_error(sliced_wasserstein(x, x, weights_x = 1:2), "weights_x")
  expect_mixguide_error(sliced_wasserstein(x, x, weights_y = c(-1, 1, 1)), "weights_y")
  expect_mixguide_error(sliced_wasserstein(x, x, key = 1), "key")
})

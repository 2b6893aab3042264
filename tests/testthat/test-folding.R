D3 <- named_mixture("D3")
folds <- function(strength, ...) {
  folding(D3, "1", strength, sampler = sampler_euler(20, "uniform"), horizon = 5, ...)
}

test_that("the entropy of a folded map is that of its output: D3 in 20 Euler steps", {
  known <- theory("folds")
  x <- folds(known$strength)
  off <- abs(x$entropy_bound - known$entropy)
  expect_lt(max(off[1:5]), 6e-4)
  expect_lt(off[6], 1e-3)
  expect_identical(x$injective, c(TRUE, TRUE, TRUE, TRUE, FALSE, FALSE))
  expect_identical(x$turns, c(FALSE, rep(TRUE, 5)))
  expect_identical(x$pieces[1], 1)
  expect_lt(max(abs(x$entropy - x$entropy_bound)[1:4]), 1e-7)
  expect_lt(max(abs(x$entropy - x$entropy_bound)[5]), 3e-4)
  # the known value is from a histogram, which blurs the peaks where the map turns
  expect_lt(abs(x$entropy[6] - 2.8964), 1e-2)
  expect_lt(x$entropy[6], 2.8964)
  law <- guided_law(D3, guidance("1", 30), sampler_euler(20, "uniform"), horizon = 5)
  expect_lt(abs(x$entropy[6] - entropy(law)$estimate), 2e-3)
})

test_that("branches are summed: a map with known folds", {
  # x^2 of a normal has two branches, each with half of the density
  x <- seq(-8, 8, length.out = 20001)
  x <- x[x != 0]
  y <- x^2
  log_density <- dnorm(x, log = TRUE) - log(2 * abs(x))
  expect_length(turning_nodes(y), 1)
  inner <- y > .01 & y < 20
  expect_lt(max(abs(branch_density(y, y, log_density) - dchisq(y, 1, log = TRUE))[inner]), 1e-5)
})

test_that("K = 1 does not fold, d > 1 and stochastic samplers are refused, and it prints", {
  one <- folding(gaussmix(1, 2, .5), "1", c(0, 3), n = 101)
  expect_identical(one$injective, c(TRUE, TRUE))
  expect_equal(one$entropy, rep(one$entropy_bound[1], 2))
  expect_error(folding(named_mixture("C3"), "1"), class = "mixguide_error")
  expect_error(folding(D3, "1", sampler = sampler_em()), "`sampler`", class = "mixguide_error")
  x <- folds(c(1, 30), n = 501)
  expect_output(print(x), "folded")
  expect_null(attr(as.data.frame(x), "map"))
  expect_drawn(autoplot(x))
})

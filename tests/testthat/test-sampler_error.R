# Divergences and total variation between outputs and targets: against the theory's numbers, closed
# forms, and each other.

A1 <- named_mixture("A1")
G1 <- named_mixture("G1")
exact <- function(...) sampler_error(..., horizon = 3, start = "exact")$estimate

test_that("one Gaussian has the known error in closed form, which the nodes confirm", {
  by_nodes <- exact(G1, sampler_em(100, "uniform"), method = "quadrature")
  closed <- sampler_error(G1, sampler_em(100, "uniform"), horizon = 3, start = "exact")
  expect_equal(closed$estimate, by_nodes, tolerance = 1e-5)
  expect_equal(closed$estimate[1], 3.1928399023e-3, tolerance = 1e-9)
  expect_identical(unique(closed$method), "exact")
  known <- integrate(function(x) {
    abs(dnorm(x, 1.494595341743, sqrt(.280249080095)) - dnorm(x, 1.5, .5)) / 2
  }, -3, 6, rel.tol = 1e-10, subdivisions = 1000)$value
  expect_equal(closed$estimate[3], known, tolerance = 1e-7)
})

test_that("A1 has the tabulated error under every sampler", {
  check <- function(make, kl, variation) {
    found <- sapply(c(50, 100), function(N) exact(A1, make(N))[c(1, 3)])
    expect_lt(max(abs(found[1, ] / kl - 1)), 1e-4)
    expect_lt(max(abs(found[2, ] / variation - 1)), 1e-3)
  }
  check(function(N) sampler_exponential(N, TRUE, "uniform"), c(1.657396e-2, 4.898024e-3),
        c(6.8236e-2, 3.5757e-2))
  check(function(N) sampler_em(N, "uniform"), c(1.597556e-2, 4.805213e-3),
        c(6.6470e-2, 3.5122e-2))
  check(function(N) sampler_ddpm(N, "scaled", "uniform"), c(1.900341e-2, 5.694552e-3),
        c(7.3037e-2, 3.8711e-2))
})

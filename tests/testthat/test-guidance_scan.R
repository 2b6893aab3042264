euler <- function(n) sampler_euler(n, "uniform")
D3 <- named_mixture("D3")

test_that("a scan has the rows of sweeps, with one noise", {
  scan <- guidance_scan(D3, "1", c(0, 2, 16), c(5, 20), euler, n = 501, horizon = 5, exact = FALSE,
                        key = c(1, 2))
  expect_identical(scan$steps, rep(c(5, 20), each = 3))
  for (n in c(5, 20)) {
    sweep <- guidance_sweep(D3, "1", c(0, 2, 16), 501, euler(n), horizon = 5, exact = FALSE,
                            key = c(1, 2))
    expect_equal(as.data.frame(scan)[scan$steps == n, -1], as.data.frame(sweep),
                 ignore_attr = "row.names")
  }
  expect_output(print(scan), "501 coupled particles \\(se up to")
})

test_that("in one dimension that of a stochastic sampler is exact, with the known entropy", {
  skip_on_cran()
  scan <- guidance_scan(D3, "1", c(0, 6, 8, 10, 12, 50), 50, function(n) sampler_em(n, "uniform"),
                        n = 50, horizon = 5)
  expect_equal(scan$entropy, c(1.4446, .6552, .7150, 1.5260, 1.9872, 2.0937), tolerance = 1e-4)
  expect_identical(unique(scan$method), "quadrature")
})

test_that("laws are those of the sweep's own guidance, and wrong scores are not judged by them", {
  em <- function(n) sampler_em(n, "uniform")
  falling <- guidance("1", function(t) exp(-t))
  scan <- guidance_scan(D3, falling, 2, 20, em, n = 50, horizon = 5)
  law <- guided_law(D3, guidance("1", function(t) 2 * exp(-t)), em(20), horizon = 5)
  expect_equal(scan$confidence, confidence(law)$estimate)

  wrong <- score_error(scale = .5)
  for (sampler in list(em, euler)) for (error in list(wrong, score_error(noise = 1))) {
    scan <- guidance_scan(D3, "1", c(0, 2), 20, sampler, n = 50, horizon = 5, key = c(1, 2),
                          score_error = error)
    sweep <- guidance_sweep(D3, "1", c(0, 2), 50, sampler(20), horizon = 5, key = c(1, 2),
                            score_error = error)
    expect_identical(scan$confidence, sweep$confidence)
  }
})

test_that("more steps cure what strength spoils, and it shows", {
  scan <- guidance_scan(D3, "1", c(0, 16), c(10, 20), euler, n = 501, horizon = 5)
  expect_lt(scan$gain[2], -.3)
  expect_gt(scan$gain[4], .17)
  expect_output(print(scan), "quadrature")
  for (quantity in c("confidence", "gain", "entropy", "fraction_down")) {
    expect_drawn(autoplot(scan, quantity))
  }
  expect_error(autoplot(scan, "steps"), "`quantity`", class = "mixguide_error")
  expect_error(guidance_scan(D3, "1", sampler = euler(2)), "`sampler`", class = "mixguide_error")
  expect_error(guidance_scan(D3, "1", steps = 0), "`steps`", class = "mixguide_error")
})

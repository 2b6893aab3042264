D3 <- named_mixture("D3")

test_that("the density is a histogram of the runs, and the path their summary", {
  withr::local_seed(1)
  split <- bifurcation(D3, "1", c(0, 8, 20), sampler_em(50, "uniform"), horizon = 5, n = 2000,
                       bins = 50, limits = c(-12, 12), exact = FALSE, key = c(3, 4))
  run <- guided_sample(D3, 2000, guidance("1", 20), sampler_em(50, "uniform"), horizon = 5,
                       key = c(3, 4))
  counts <- hist(run$x, seq(-12, 12, length.out = 51), plot = FALSE)$counts
  expect_equal(unname(split$density[, 3]), counts / 2000 / .48)
  expect_equal(split$path$confidence[3], confidence(run)$estimate)
  expect_equal(split$path$sd[3], sd(run$x) * sqrt(1999 / 2000))
  known <- theory("em")
  known <- known[known$mixture == "D3" & known$steps == 50 & known$strength %in% c(0, 8, 20), ]
  expect_lt(max(abs(split$path$confidence - known$confidence) /
                  pmax(split$path$confidence_se, 2e-4)), 4)
  expect_equal(split$path$sd, known$sd, tolerance = .02)
  expect_identical(split$method, "Monte Carlo")
  expect_output(print(split), "2000 coupled particles")
  expect_drawn(autoplot(split))
})

test_that("DDPM on the aligned example: the transition of confidence is exact", {
  skip_on_cran()
  known <- theory("em")
  known <- known[known$mixture == "D3" & known$steps == 50, ]
  split <- bifurcation(D3, "1", known$strength, sampler = sampler_em(50, "uniform"), horizon = 5)
  expect_lt(max(abs(split$path$confidence - known$confidence)), 1e-6)
  expect_lt(max(abs(split$path$sd - known$sd)), 1e-5)
  # modes at 3.60, 4.48, 6.00, and the density at 0 relative to the modes
  x <- split$edges[-1] - diff(split$edges) / 2
  peak <- vapply(8:10, function(i) abs(x[which.max(split$density[, i])]), 0)
  expect_lt(max(abs(peak - c(3.60, 4.48, 6.00))), diff(x)[1])
  middle <- split$density[which.min(abs(x)), 8] / max(split$density[, 8])
  expect_lt(abs(middle - .741), .01)
  expect_output(print(split), "exact law")
  # with twice the distance the transition is at the same strengths
  far <- bifurcation(gaussmix(c(1, 1, 1), c(0, -6, 6), 1), "1", c(8, 10, 12, 15),
                     sampler = sampler_em(50, "uniform"), horizon = 5)
  expect_lt(max(abs(far$path$confidence - c(.9967, .7489, .2465, .0232))), 1e-4)
})

test_that("deterministic runs are by quadrature, any variable can be shown, bad input is refused", {
  split <- bifurcation(D3, "1", 0:2, sampler_euler(10), horizon = 5, n = 501)
  expect_identical(split$method, "quadrature")
  expect_equal(split$path$confidence_se, rep(0, 3))
  expect_lt(max(abs(colSums(split$density * diff(split$edges)) - 1)), .01)
  plane <- gaussmix(c(.5, .5), cbind(u = c(0, 2), v = c(1, 0)), 1)
  expect_identical(bifurcation(plane, "1", 0:1, sampler_ddim(5), n = 50, variable = "v")$variable,
                   "v")
  expect_error(bifurcation(D3, "1", c(1, 0)), "`strength`", class = "mixguide_error")
  expect_error(bifurcation(plane, "1", 0:1, variable = 3), "`variable`", class = "mixguide_error")
  expect_error(bifurcation(plane, "1", 0:1, limits = 1:0), "`limits`", class = "mixguide_error")
})

test_that("of fewer than two particles nothing is drawn", {
  for (m in list(named_mixture("A1"), named_mixture("M2"))) for (n in 0:1) {
    expect_mixguide_error(bifurcation(m, "1", 0:1, sampler_em(5), n = n), "n")
  }
  none <- matrix(0, 0, 2)
  expect_mixguide_error(bifurcation(named_mixture("M2"), "1", 0:1, start = none), "start")
})

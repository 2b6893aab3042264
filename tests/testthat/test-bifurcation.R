D3 <- named_mixture("D3")

test_that("the density is a histogram of the runs, and the path their summary", {
  withr::local_seed(1)
  split <- bifurcation(D3, "1", c(0, 8, 20), sampler_em(50, "uniform"), horizon = 5, n = 2000,
                       bins = 50, limits = c(-12, 12), key = c(3, 4))
  run <- guided_sample(D3, 2000, guidance("1", 20), sampler_em(50, "uniform"), horizon = 5,
                       key = c(3, 4))
  counts <- hist(run$x, seq(-12, 12, length.out = 51), plot = FALSE)$counts
  expect_equal(unname(split$density[, 3]), counts / 2000 / .48)
  expect_equal(split$path$confidence[3], confidence(run)$estimate)
  expect_equal(split$path$sd[3], sd(run$x) * sqrt(1999 / 2000))
  # exact propagation of the density: .794348, .941909 and .000527, sd 1.02598, .50110 and 6.04089
  expect_lt(max(abs(split$path$confidence - c(.794348, .941909, .000527)) /
                  pmax(split$path$confidence_se, 2e-4)), 4)
  expect_equal(split$path$sd, c(1.02598, .5011, 6.04089), tolerance = .06)
  expect_identical(split$method, "Monte Carlo")
  expect_output(print(split), "2000 coupled particles")
  expect_s3_class(autoplot(split), "ggplot")
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
  expect_error(bifurcation(plane, "1", 0:1, variable = 3), "`variables`", class = "mixguide_error")
})

# Runs as draws of package posterior.
skip_if_not_installed("posterior")
m <- as_gaussmix(Species ~ ., iris)
key <- c(1, 2)

test_that("runs are draws, with the names of the variables", {
  run <- guided_sample(m, 50, guidance("virginica", 1), sampler_ddim(50), key = key)
  draws <- posterior::as_draws(run)
  expect_s3_class(draws, "draws_matrix")
  expect_identical(posterior::variables(draws), names(iris)[1:4])
  expect_equal(unclass(draws), run$x, ignore_attr = TRUE)
  expect_identical(posterior::as_draws_matrix(run), draws)
  expect_equal(as.numeric(posterior::summarise_draws(draws, "mean")$mean), unname(colMeans(run$x)))
  line <- gaussmix(c(.4, .6), c(-1, 2), .5)
  given <- suppressWarnings(conditional_sample(line, 20, observation(1, variables = 1, noise = .2),
                                               zero_shot_bo(), schedule = schedule_etc(20)))
  expect_identical(posterior::ndraws(posterior::as_draws(given)), 20L)
})

test_that("a tilted sample keeps its weights", {
  two <- gaussmix(c(.4, .6), c(-1, 1.5), .5, c("a", "b"))
  run <- tilted_sample(two, 500, guidance("a", 1), sampler_em(20), resample = 0, key = key)
  expect_gt(stats::sd(run$weights), 0)
  draws <- posterior::as_draws(run)
  expect_equal(stats::weights(draws), run$weights / sum(run$weights))
})

test_that("what has no points is an error of ours", {
  expect_mixguide_error(posterior::as_draws(m), "x")
})

# Real data with values removed: airquality, with a Gaussian fitted to every other row and the
# logarithm of Ozone hidden in the rest.
test_that("zero-shot imputation is too wide on real data, exact imputation covers", {
  x <- na.omit(airquality[1:4])
  x$Ozone <- log(x$Ozone)
  x <- data.frame(scale(x))
  odd <- seq(1, nrow(x), by = 2)
  mixture <- as_gaussmix(cbind(x[odd, ], all = "one"), class = "all")
  test <- as.matrix(x[-odd, ])
  set.seed(1)
  rows <- vapply(seq_len(nrow(test)), function(i) {
    seen <- test[i, -1]
    exact <- qgaussmix(c(.05, .95), condition(mixture, seen))
    run <- conditional_sample(mixture, 100, observation(seen), zero_shot_ddnm(),
                              schedule = schedule_etc(30))
    zero_shot <- stats::quantile(run$x[, "Ozone"], c(.05, .95))
    c(exact = exact[1] <= test[i, 1] & test[i, 1] <= exact[2], width = diff(exact),
      zero_shot_width = unname(diff(zero_shot)))
  }, c(0, 0, 0))
  n <- ncol(rows)
  expect_lt(abs(mean(rows["exact", ]) - .9), 3.5 * sqrt(.09 / n))
  gain <- rows["zero_shot_width", ] / rows["width", ]
  expect_gt(mean(gain) - 4 * sd(gain) / sqrt(n), 1.2)
  # the mutual information predicts this
  about <- mutual_information(mixture, c("Solar.R", "Wind", "Temp"))
  expect_identical(about$method, "exact")
  expect_gt(about$estimate, .3)
  # without draws
  law <- guided_moments(mixture, observation = observation(test[1, -1]), method = zero_shot_ddnm(),
                        schedule = schedule_etc(30))
  expect_gt(law$cov["Ozone", "Ozone"], 1.3 * law$target$cov["Ozone", "Ozone"])
})

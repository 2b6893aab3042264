m <- gaussmix(c(.2, .3, .5), cbind(u = c(-1, 0, 2)), c(1, .5, 1), class = c("a", "b", "a"))

test_that("a guidance says what it is", {
  g <- guidance("a", 2)
  expect_s3_class(g, "guidance")
  expect_identical(g$class, "a")
  expect_identical(g$strength(.3), 2)
  expect_null(g$interval)
  expect_match(format(g), "strength 2 (guidance scale 3)", fixed = TRUE)
  expect_match(format(guidance(c("a", "b"), .5)), "a or b", fixed = TRUE)
  expect_output(print(g), "<guidance> towards a", fixed = TRUE)
  expect_identical(guidance(3)$class, "3")
  expect_identical(guidance(factor("b", c("a", "b")))$class, "b")
  by_time <- guidance("a", function(t) 2 * t)
  expect_identical(by_time$strength(3), 6)
  expect_output(print(by_time), "function of t")
  expect_no_warning(format(by_time))
  expect_match(format(guidance("a", 2, c(.1, 1))), "[0.1, 1.0]", fixed = TRUE)
})

test_that("models are the class and the whole, with coefficients 1 + strength and -strength", {
  models <- guidance_models(guidance("a", 2), m)
  expect_equal(exp(models$models), rbind(c(2, 0, 5) / 7, c(.2, .3, .5)), ignore_attr = TRUE)
  expect_equal(models$coef(.4), c(3, -2))
  expect_equal(exp(models$log_prior), .7)
  expect_equal(guidance_models(guidance("a", 2, c(.1, 1)), m)$coef(2), c(1, 0))
  expect_equal(guidance_models(guidance("a", 2, c(.1, 1)), m)$coef(.05), c(1, 0))
  for (t in c(.1, .5, 1)) {
    expect_equal(guidance_models(guidance("a", 2, c(.1, 1)), m)$coef(t), c(3, -2))
  }
  expect_equal(guidance_models(guidance("a", function(t) t^2), m)$coef(3), c(10, -9))
  expect_equal(guidance_models(NULL, m)$coef(1), 1)
  expect_equal(exp(guidance_models(NULL, m)$models), t(m$weights), ignore_attr = TRUE)
})

test_that("an interval and a function of time that vanish alike sample alike", {
  run <- function(guide) guided_sample(m, 20, guide, sampler_ddim(30), key = c(1, 2))$x
  expect_identical(run(guidance("a", 3, c(.5, 1))),
                   run(guidance("a", function(t) 3 * (t >= .5 && t <= 1))))
  expect_identical(run(guidance("a", 3, c(6, 7))), run(guidance("a", 0)))
  expect_identical(run(guidance("a", 3, c(0, 5))), run(guidance("a", 3)))
  expect_equal(run(guidance("a", -1)), run(NULL), tolerance = 1e-13)
  expect_equal(run(guidance(c("b", "a"), 7)), run(NULL), tolerance = 1e-12)
})

test_that("bad arguments are answered by name", {
  for (class in list(NULL, character(), NA, c("a", NA), list("a"), mean)) {
    expect_mixguide_error(guidance(class), "class")
  }
  for (strength in list(NaN, NA, Inf, -Inf, "2", NULL, c(1, 2), list(1))) {
    expect_mixguide_error(guidance("a", strength), "strength")
  }
  for (interval in list(1, c(2, 1), c(1, 1), c(NA, 1), "a", 1:3, list(0, 1))) {
    expect_mixguide_error(guidance("a", 1, interval), "interval")
  }
  for (strength in list(function(t) NaN, function(t) NULL, function(t) "1", function(t) c(t, t),
                        function(t) Inf)) {
    expect_mixguide_error(guided_sample(m, 2, guidance("a", strength)), "strength")
  }
  expect_mixguide_error(guided_sample(m, 2, guidance("c")), "class")
  expect_mixguide_error(guided_sample(m, 2, "a"), "guidance")
  zero <- gaussmix(c(1, 0), c(0, 1), 1)
  expect_mixguide_error(guided_sample(zero, 2, guidance("2")), "class")
})

test_that("coefficients at several times are those at each", {
  t <- c(0, .1, .5, 1, 3)
  for (guide in list(NULL, guidance("a", 2), guidance("a", function(t) 2 * t, c(.1, 1)))) {
    models <- guidance_models(guide, m)
    expect_identical(models$coef(t), unlist(lapply(t, models$coef)))
  }
})

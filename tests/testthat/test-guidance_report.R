test_that("a report answers its five questions, for one class and one variable too", {
  quick <- function(...) guidance_report(..., n = 200, strength = c(0, 2), evaluations = 8)
  m <- gaussmix(c(.5, .5), c(-1, 1), .5, class = c("<b>", "a|b"))
  report <- quick(m, key = c(1, 2))
  expect_length(report$answers, 5)
  expect_identical(report$classes, c("<b>", "a|b"))
  expect_identical(quick(m, key = c(1, 2))$answers, report$answers)
  expect_output(print(report), "How do I impute")
  expect_null(report$imputing)
  alone <- quick(gaussmix(1, 0, 1))
  expect_match(alone$answers[[1]], "single class")
  expect_mixguide_error(guidance_report(m, strength = 1:2), "strength")
  # what follows goes to as_gaussmix() or diffusion(), which look
  expect_error(guidance_report(m, no_such_argument = 1), "no_such_argument",
               class = "mixguide_error")
})

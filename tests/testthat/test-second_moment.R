# Theory: smoothness.md 3.

test_that("A1, B2 and C2 have the known second moments and bounds", {
  at <- function(name, t = 0) unlist(as.data.frame(second_moment(named_mixture(name), t))[1, -1])
  expect_equal(unname(at("A1")[c("exact", "paper")]), c(2.807, 6.75), tolerance = 1e-14)
  expect_equal(unname(at("B2")), c(3.1415, 3.31, 3.892843), tolerance = 1e-7)
  expect_equal(unname(at("C2")[c("exact", "paper")]), c(3.0565, 3.41), tolerance = 1e-14)
  later <- second_moment(named_mixture("A1"), c(.5, 1, 2))$exact
  expect_lt(max(abs(later - c(1.66475815020, 1.24455085681, 1.03309635947))), 1e-11)
})

test_that("they are the moments of the diffused mixture, and bounds are above, on any schedule", {
  withr::local_seed(1)
  for (i in 1:20) {
    m <- random_mixture(FORMS[(i - 1) %% 6 + 1], d = 1 + i %% 3, K = 1 + i %% 4)$mixture
    schedule <- list(schedule_ou(), schedule_ve(), schedule_subvp())[[1 + i %% 3]]
    t <- c(0, .3, .9)
    x <- second_moment(m, t, schedule)
    known <- vapply(t, function(t) moments(diffuse(m, t, schedule))$second_moment, 0)
    expect_equal(x$exact, known, tolerance = 1e-13)
    expect_true(all(x$exact <= x$component * (1 + 1e-14)))
    expect_true(all(x$component <= x$paper * (1 + 1e-14)))
  }
})

test_that("a component without weight counts for nothing, and point masses are welcome", {
  x <- second_moment(gaussmix(c(1, 0), c(2, 100), c(0, 50)))
  expect_identical(unlist(as.data.frame(x)[1, ], use.names = FALSE), c(0, 4, 4, 4))
  expect_error(second_moment(gaussmix(1, 0, 1), -1), class = "mixguide_error", "`t`")
  expect_error(second_moment("A1"), class = "mixguide_error", "mixture")
})

test_that("they are printed and drawn", {
  x <- second_moment(named_mixture("A1"), seq(0, 3, by = .1))
  expect_output(print(x, max = 12), "second_moment.*12 of 31 rows")
  expect_drawn(autoplot(x))
  expect_identical(class(as.data.frame(x)), "data.frame")
})

test_that("all_finite() is its definition, wherever the number stands", {
  withr::local_seed(1)
  for (n in 0:9) {
    x <- rnorm(n)
    expect_true(all_finite(x))
    for (i in seq_len(n)) for (bad in c(NA, NaN, Inf, -Inf)) {
      expect_false(all_finite(replace(x, i, bad)))
    }
    for (i in seq_len(n)) {
      expect_true(all_finite(replace(x, i, -5), 5))
      expect_false(all_finite(replace(x, i, -5.1), 5))
    }
  }
  expect_true(all_finite(c(-1, 1) * .Machine$double.xmax))
})

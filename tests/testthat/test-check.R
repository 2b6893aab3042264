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

test_that("a mixture that was tampered with is refused where it enters", {
  set.seed(5)
  mixtures <- list(gaussmix(c(.3, .7), c(0, 1), 1), gaussmix(1, t(c(0, 1)), diag(2)),
                   gaussmix(c(.3, .7), diag(2), matrix(c(1, .5, .5, 1), 2)),
                   gaussmix(c(.3, .7), diag(2), list(matrix(c(1, .5, .5, 1), 2), 1)),
                   gaussmix(c(.3, .7), diag(2), list(c(1, 2), 1)), named_mixture("A2"))
  tamper <- list(
    function(m) { m$weights[] <- 0; m }, function(m) { m$weights <- double(); m },
    function(m) { m$weights[1] <- NA; m }, function(m) { m$weights <- m$weights * 2; m },
    function(m) { m$weights <- c(m$weights, 0); m }, function(m) { m$means <- NULL; m },
    function(m) { m$means <- as.vector(m$means); m }, function(m) { m$means[1] <- Inf; m },
    function(m) { storage.mode(m$means) <- "integer"; m }, function(m) { m$form <- "odd"; m },
    function(m) { m$form <- NULL; m }, function(m) { m$values[1] <- -1; m },
    function(m) { m$values <- m$values[0, , drop = FALSE]; m },
    function(m) { m$values <- cbind(m$values, m$values, m$values); m },
    function(m) { m$class <- NULL; m }, function(m) { m$class <- seq_along(m$class); m },
    function(m) structure(list(), class = "gaussmix"), function(m) structure(1, class = "gaussmix")
  )
  for (m in mixtures) {
    expect_identical(check_mixture(m), m)
    for (change in tamper) {
      expect_error(check_mixture(change(m)), "changed, or is damaged", class = "mixguide_error")
    }
    expect_error(denoise(tamper[[1]](m), m$means, 1), class = "mixguide_error")
  }
  full <- mixtures[[4]]
  full$vectors <- full$vectors[, , 1]
  expect_error(check_mixture(full), class = "mixguide_error")
})

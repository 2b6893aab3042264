# Results that are tables: a part, or several together, are data frames.

m <- gaussmix(c(.4, .6), c(-1, 1.5), .5, class = c("a", "b"))
tables <- function() {
  list(guidance_sweep(m, "a", 0:2, n = 50), guided_error(m, sampler = sampler_heun(10)),
       information(m, c(.1, 1)), lipschitz(m, c(.1, 1)), information(m, c(.1, 1),
                                                                     quantity = "second_moment"),
       path_kl(m, sampler = sampler_exponential(10, stochastic = TRUE)),
       error_budget(m, sampler = sampler_exponential(10, stochastic = TRUE), measure = FALSE),
       guidance_sweep(m, "a", steps = c(5, 10), strength = 0:1, n = 50),
       step_condition(m, guidance("a", 2)), folding(m, "a", c(0, 2), sampler = sampler_ddim(10)),
       gain_bound(m, "a", 1, n = 3), sde_identities(m, "a", 1, n = 100, sampler = sampler_em(10)),
       entropy_identity(m, guidance = guidance("a", 1), n = 50), split_threshold(20, 3, .1),
       convergence_order(m, sampler_heun, steps = c(5, 10)))
}

test_that("a whole table prints with its head, a part as a data frame with all columns", {
  for (x in suppressWarnings(tables())) {
    class <- class(x)[1]
    expect_s3_class(x, c(class, "mixguide_table", "data.frame"), exact = TRUE)
    expect_output(print(x), paste0("<", class, ">"), fixed = TRUE)
    expect_identical(class(as.data.frame(x)), "data.frame")
    expect_named(attributes(as.data.frame(x)), c("names", "row.names", "class"))
    parts <- list(x[1, ], x[1:2], x[rev(seq_len(nrow(x))), ], utils::head(x, 1), subset(x, TRUE),
                  rbind(x, x), rbind(as.data.frame(x), x)[1, ])
    for (part in parts) {
      expect_identical(class(part), "data.frame", info = class)
      expect_named(attributes(part), c("names", "row.names", "class"), ignore.order = TRUE)
    }
    expect_identical(rbind(x, x, x)[[1]], rep(x[[1]], 3))
    expect_identical(x[, 1], x[[1]])
    # a cell that is changed leaves the rest
    expect_identical(class(replace(x, 1, x[[1]])), class(x))
  }
})

test_that("results bound by dplyr are plain, with the column of their names", {
  skip_if_not_installed("dplyr")
  x <- guidance_sweep(m, "a", 0:1, n = 50)
  both <- dplyr::bind_rows(one = x, two = x, .id = "sampler")
  expect_identical(class(both), "data.frame")
  expect_identical(both$sampler, rep(c("one", "two"), each = 2))
  expect_identical(class(dplyr::filter(x, strength > 0)), "data.frame")
})

test_that("a table without a picture of its own shows its estimates", {
  x <- guided_error(m, sampler = sampler_heun(10))
  picture <- expect_drawn(autoplot(x))
  expect_identical(ggplot2::layer_data(picture)$x, x$estimate)
  expect_mixguide_error(autoplot(split_threshold(20, 3, .1)), "object")
})

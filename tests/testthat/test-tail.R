# Means that depend on a few draws.

pareto <- function(n, k) (stats::runif(n)^-k - 1) / k

test_that("the shape of a Pareto tail is found", {
  withr::local_seed(1)
  for (k in c(.1, .4, .7, 1.2)) {
    found <- replicate(40, pareto_k(tail_of(log(pareto(4000, k)), tail_size(4000))))
    m <- tail_size(4000)
    # shrunk towards 1/2 by 10 values; the standard deviation is about (1 + k)/sqrt(m)
    expect_lt(abs(mean(found) - (m * k + 5) / (m + 10)), 4 * (1 + k) / sqrt(40 * m) + .02)
    expect_lt(stats::sd(found), 1.5 * (1 + k) / sqrt(m))
  }
  # the exponential, and bounded variables
  expect_lt(abs(pareto_k(tail_of(log(stats::rexp(1e5)), 900))), .15)
  expect_lt(pareto_k(tail_of(log(stats::runif(1e5)), 900)), -.5)
})

test_that("it is that of another implementation", {
  # posterior 1.7.0: pareto_khat(x, tail = "right", ndraws_tail = tail_size(length(x)))
  cases <- list(
    list(exp(2 * stats::qnorm(stats::ppoints(5000))), 0.617709163062),
    list(exp(stats::qnorm(stats::ppoints(5000)) / 2), 0.0861623672035),
    list(stats::qexp(stats::ppoints(2000)), 0.045913666797),
    list(stats::ppoints(1000)^-.7, 0.670657768314),
    list(stats::ppoints(4000)^-1.2, 1.14927158406),
    list(stats::ppoints(3000), -0.883188839541),
    list(stats::qcauchy((1 + stats::ppoints(800)) / 2), 0.922569286438)
  )
  for (case in cases) {
    x <- case[[1]]
    expect_equal(pareto_k(tail_of(log(x), tail_size(length(x)))), case[[2]], tolerance = 1e-6)
  }
})

test_that("units do not matter, nor how large the weights are", {
  withr::local_seed(3)
  l <- 2 * stats::rnorm(1000)
  k <- pareto_k(tail_of(l, 90))
  for (shift in c(-1e4, 1e3)) expect_equal(pareto_k(tail_of(l + shift, 90)), k, tolerance = 1e-6)
  expect_identical(pareto_k(tail_of(c(l, Inf), 90)), Inf)
  expect_identical(pareto_k(rep(1, 50)), -Inf)
  expect_identical(pareto_k(rep(-Inf, 50)), -Inf)
  expect_identical(pareto_k(1:3), NA_real_)
})

test_that("tails of parts make that of the whole", {
  withr::local_seed(4)
  l <- stats::rnorm(5000)
  parts <- split(l, cut(seq_along(l), c(0, 10, 700, 4000, 5000)))
  merged <- Reduce(merge_tails, lapply(parts, tail_part, n = 5000), NULL)
  expect_identical(merged, tail_part(l, 5000))
  expect_identical(merged$log, sort(l, decreasing = TRUE)[seq_len(tail_size(5000) + 1)])
})

test_that("a mean with a heavy tail is no number, and says so", {
  withr::local_seed(5)
  expect_identical(mean_of_weights(3 * stats::rnorm(1e4)), heavy_row())
  l <- stats::rnorm(1e4) / 2
  expect_equal(mean_of_weights(l), sample_mean(exp(l)))
  expect_match(format_estimate(heavy_row()), "heavy tail")
  m <- named_mixture("A2")
  sweep <- guidance_sweep(m, 4000, "1", c(0, 4), sampler = sampler_em(20), key = c(4, 2))
  expect_identical(is.na(sweep$mean_inverse_confidence), c(TRUE, FALSE))
  expect_identical(is.na(sweep$mean_inverse_confidence_se), c(TRUE, FALSE))
  expect_gt(sweep$inverse_confidence_tail[1], .5)
  expect_said(print(sweep), "no mean_inverse_confidence, for its tail is heavy")
  s <- guided_summary(m, 4000, guidance("1", 0), sampler_em(20), key = c(4, 2))
  expect_identical(s$inverse_confidence, heavy_row())
  expect_output(print(s), "1/confidence: unknown: heavy tail")
})

test_that("an error of 0 is printed where it is exact only", {
  m <- as_gaussmix(Species ~ ., iris)
  run <- guided_sample(m, 50, guidance("setosa", 0), key = c(1, 2))
  expect_identical(entropy(run)[c("se", "method")],
                   data.frame(se = 0, method = "exact", stringsAsFactors = FALSE))
  expect_output(print(run), "entropy: +[0-9.-]+, exact")
  sweep <- guidance_sweep(m, 50, "setosa", 0:1, key = c(1, 2))
  expect_identical(entropy(sweep)$method, c("exact", "Monte Carlo"))
  expect_identical(sweep$entropy_se[1], 0)
  expect_equal(sweep$entropy[1], entropy(run)$estimate)
  # all draws are equal: a standard error of 0 would be false
  expect_identical(format_estimate(sample_mean(rep(.1, 7) + 1e-17)), "0.1")
  expect_identical(format_estimate(estimate_row(3e-15, 1e-16, "Monte Carlo")), "3.0e-15 (1e-16)")
})

test_that("a confidence whose rest a few particles carry allows for those that were not drawn", {
  # 1 - confidence is .00095 at most particles, and near 1 at some in a hundred thousand
  m <- gaussmix(c(.02, .28, .7), c(3, 0, -1), c(.05, 1, .3), class = c("r", "b", "c"))
  d <- without_faults(diffusion(m, guidance("b", 8), sampler_ddim(40)))
  truth <- confidence(without_faults(guided_law(d)))$estimate
  rows <- do.call(rbind, lapply(1:30, function(i) {
    rows <- lapply(c("sobol", "random"), function(points) {
      confidence(without_faults(guided_summary(d, 2000, key = c(i, 3), points = points)))
    })
    do.call(rbind, lapply(rows, as.data.frame))
  }))
  expect_gt(mean(abs(rows$estimate - truth) < 2 * rows$se), .88)
  expect_gt(mean(rows$note == "a few particles carry 1 - confidence"), .88)
  # never more than two standard errors of nothing seen
  expect_lt(max(rows$se), 2.5 / 2000)
  run <- without_faults(guided_sample(d, 4000, key = c(1, 2)))
  expect_match(confidence(run)$note, "few particles")
  expect_equal(confidence(run, "b")$se, confidence(run)$se, tolerance = 1e-6)
  sweep <- without_faults(guidance_sweep(d, strength = c(0, 8), n = 4000, exact = FALSE,
                                         key = c(1, 2)))
  expect_match(sweep$note[2], "few particles")
  expect_gt(sweep$confidence_se[2], 1e-4)
  expect_gt(sweep$gain_se[2], 1e-4)
  expect_identical(sweep$gain_se[1], 0)
  # light tails, and those of rounding errors, change nothing
  for (at in list(list(named_mixture("A2"), "1"), list(as_gaussmix(Species ~ ., iris), "setosa"))) {
    run <- guided_sample(at[[1]], 4000, guidance(at[[2]], 1), sampler_ddim(20), key = c(1, 2))
    expect_identical(confidence(run)[ESTIMATE], particle_mean(run, run$confidence))
  }
})

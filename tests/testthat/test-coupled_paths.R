# Paths under several strengths (tests/REFERENCES.md, guidance: pathwise identity).

full <- function(seed) {
  withr::local_seed(seed)
  gaussmix(c(.2, .5, .3), matrix(rnorm(9), 3), crossprod(matrix(rnorm(9), 3)) + diag(.2, 3))
}

samplers <- list(sampler_euler(20), sampler_em(20), sampler_ddim(20), sampler_ddim(20, eta = .5),
                 sampler_ddpm(20), sampler_exponential(20),
                 sampler_exponential(20, stochastic = TRUE),
                 sampler_heun(10), sampler_rk4(10), sampler_dpmpp_2m(15, end = .01))

test_that("what a path gains is the guidance it met, to rounding, for every sampler", {
  mixtures <- list(named_mixture("C3"), named_mixture("F2"), full(1), full(1), named_mixture("E3"))
  for (mixture in mixtures) for (sampler in samplers) {
    paths <- coupled_paths(mixture, 20, "1", c(1, 5), sampler, key = c(1, 2))
    expect_lt(max(paths$table$identity_error), 1e-12, label = format(sampler))
    expect_gt(max(abs(paths$log_odds_gain)), .1)
  }
})

test_that("for other schedules, starts, intervals and given noise as well", {
  m <- full(2)
  for (schedule in all_schedules()) {
    sampler <- sampler_heun(20, end = if (schedule$max > 10) 1 else 1e-3)
    paths <- coupled_paths(m, 10, "2", 2, sampler, schedule, key = c(1, 2))
    scale <- max(1, abs(paths$log_odds))
    expect_lt(max(paths$table$identity_error) / scale, 1e-11, label = schedule$label)
  }
  starts <- list("exact", gaussmix(1, t(c(1, 1, 1)), 2), matrix(1:6 / 3, 2))
  for (start in starts) {
    paths <- coupled_paths(m, 10, "2", 2, sampler_em(10), start = start, key = c(1, 2))
    expect_lt(max(paths$table$identity_error), 1e-12)
  }
  drawn <- function(n, d, m) array(sin(seq_len(n * d * m)), c(n, d, m))
  paths <- coupled_paths(m, 10, guidance("2", 1, c(.2, 1)), 2, sampler_em(10), noise = drawn)
  expect_lt(max(paths$table$identity_error), 1e-12)
  expect_identical(coupled_paths(m, 10, guidance("2", 1, c(6, 7)), 2, sampler_em(10),
                                 key = c(1, 2))$table$gain, c(0, 0))
})

test_that("the identity is the sum of G_kj times the posterior of the rivals", {
  # weights for isotropic covariance: delta a for Euler, 2 delta a (1 - delta)^remaining for
  # Euler-Maruyama
  m <- named_mixture("H3")
  D <- rep(m$means[1, ], each = 2) - m$means[2:3, ]
  delta <- .25
  for (stochastic in c(FALSE, TRUE)) {
    sampler <- if (stochastic) sampler_em(20, "uniform") else sampler_euler(20, "uniform")
    paths <- coupled_paths(m, 10, "1", 3, sampler, horizon = 5, key = c(3, 4))
    gain <- 0
    for (k in 1:20) {
      t <- paths$times[k]
      q <- posterior(m, paths$trajectory[k, , , 2], t)[, 2:3]
      weight <- delta * exp(-t) * if (stochastic) 2 * (1 - delta)^(20 - k) else 1
      gain <- gain + 3 * weight * q %*% tcrossprod(D)
    }
    expect_lt(max(abs(gain - paths$guidance_met[, , 2])), 1e-12)
    expect_lt(max(abs(gain - paths$log_odds_gain[, , 2])), 1e-12)
  }
})

test_that("paths are those of guided_sample() and the log-odds those of posterior()", {
  for (sampler in samplers[c(2, 9)]) for (m in list(full(3), named_mixture("B2"))) {
    paths <- coupled_paths(m, 15, "1", c(0, 2), sampler, key = c(5, 6))
    run <- guided_sample(m, 15, guidance("1", 2), sampler, trajectory = TRUE, key = c(5, 6))
    near <- function(a, b) expect_equal(as.vector(a), as.vector(b), tolerance = 1e-13)
    near(paths$trajectory[, , , 2], run$trajectory)
    near(paths$x[, , 2], run$x)
    near(paths$confidence[, 2], run$confidence)
    if (is.null(paths$why)) {
      q <- posterior(m, run$x)
      expect_equal(paths$log_odds[, , 2], log(q[, 1] / q[, 2:3]), ignore_attr = TRUE)
      expect_equal(paths$confidence[, 2], 1 / (1 + rowSums(exp(-paths$log_odds[, , 2]))))
    }
  }
})

test_that("its table is that of the paths, and agrees with a sweep", {
  m <- named_mixture("E3")
  paths <- coupled_paths(m, 200, "1", c(.5, 2), sampler_rk4(20), key = c(1, 1))
  sweep <- guidance_sweep(m, 200, "1", c(0, .5, 2), sampler_rk4(20), exact = FALSE, key = c(1, 1))
  for (column in c("confidence", "confidence_se", "gain", "gain_se", "fraction_down",
                   "fraction_down_previous")) {
    expect_equal(paths$table[[column]], sweep[[column]], info = column)
  }
  expect_identical(summary(paths), paths$table)
  expect_equal(paths$table$min_gain, c(0, min(paths$confidence[, 2] - paths$confidence[, 1]),
                                       min(paths$confidence[, 3] - paths$confidence[, 1])))
  rows <- as.data.frame(paths)
  expect_identical(nrow(rows), 600L)
  expect_identical(rows$confidence, as.vector(paths$confidence))
  expect_identical(rows$log_odds_gain_2[rows$strength == 2], paths$log_odds_gain[, 1, 3])
  expect_output(print(paths), "agree to")
})

test_that("in E3 paths lose confidence though the mean rises, in C3 none does", {
  withr::local_seed(31)
  E3 <- coupled_paths(named_mixture("E3"), 4000, "1", c(.5, 1, 2, 4), sampler_rk4(60), horizon = 5)
  expect_true(all(diff(E3$table$confidence) > 0))
  share <- c(.1992, .2104, .2048, .1458)
  expect_lt(max(abs(E3$table$fraction_down[-1] - share) / sqrt(share * (1 - share) / 4000)), 4)
  # the worst known path loses .0247 at strength 2
  expect_lt(abs(E3$table$min_gain[4] + .0247), 2e-4)
  C3 <- coupled_paths(named_mixture("C3"), 4000, "1", c(.5, 1, 2, 4), sampler_rk4(60), horizon = 5)
  expect_identical(C3$table$fraction_down, rep(0, 5))
  expect_true(all(C3$table$min_log_odds_gain[-1] > 0))
  # along the SDE paths of E3 lose far more
  sde <- coupled_paths(named_mixture("E3"), 4000, "1", 2, sampler_em(200, "uniform"), horizon = 5)
  expect_lt(sde$table$min_gain[2], -.2)
})

test_that("at a corner along eigenvectors, and at an end of a line, every increase helps", {
  withr::local_seed(32)
  corner <- gaussmix(c(.1, .4, .5), rbind(c(0, 0), c(2, 0), c(0, 1)), diag(c(.5, 2)))
  line <- gaussmix(c(.2, .3, .5), c(0, 1, 3), .7)
  for (mixture in list(corner, line)) {
    for (sampler in list(sampler_rk4(60), sampler_em(250, "uniform"))) {
      paths <- coupled_paths(mixture, 300, "1", 2^(-2:4), sampler, horizon = 5)
      expect_identical(paths$table$fraction_down_previous, rep(0, 8))
      expect_true(all(paths$table$min_gain[-1] > 0))
    }
  }
})

test_that("where there is no identity it says why", {
  why <- function(...) coupled_paths(..., n = 5)$why
  expect_match(why(named_mixture("B2"), "1", 1), "covariances")
  expect_match(why(named_mixture("C2"), "1", 1, sampler = sampler_ddpm(5, variance = "matched")),
               "derivative")
  two <- gaussmix(c(1, 1, 1), c(0, 1, 2), 1, class = c("a", "a", "b"))
  expect_match(why(two, "a", 1), "several components")
  dots <- gaussmix(c(1, 1), c(0, 1), 0)
  expect_match(why(dots, "1", 1, sampler = sampler_ddim(10)), "singular")
  expect_null(why(dots, "1", 1, sampler = sampler_ddim(10, end = .01)))
  per_coordinate <- sampler("two", function(k, times, schedule) {
    list(op_eval("s", "x", times[k]), op_linear("x", list(x = c(1, 1, 1), s = c(.1, .2, .3))))
  }, 5, divergence = FALSE)
  expect_match(why(full(4), "1", 1, sampler = per_coordinate), "coordinate")
  diagonal <- gaussmix(c(1, 1), rbind(0, c(1, 2, 3)), diag(c(1, 2, 3)))
  paths <- coupled_paths(diagonal, 5, "1", 2, per_coordinate)
  expect_lt(max(paths$table$identity_error), 1e-12)
  expect_output(print(coupled_paths(two, 5, "a", 1)), "No gain identity")
})

test_that("one component, one path, one dimension, strength 0 alone", {
  alone <- coupled_paths(gaussmix(1, 0, 1), 4, "1", 3)
  expect_identical(alone$confidence, matrix(1, 4, 2))
  expect_output(print(alone), "coupled_paths")
  expect_identical(nrow(as.data.frame(alone)), 8L)
  one <- coupled_paths(named_mixture("A2"), 1, "1", 3)
  expect_identical(dim(one$trajectory), c(201L, 1L, 1L, 2L))
  expect_lt(max(one$table$identity_error), 1e-12)
  none <- coupled_paths(named_mixture("A2"), 3, "1", 0)
  expect_identical(none$table$gain, 0)
  expect_identical(none$table$fraction_down_previous, 0)
})

test_that("set.seed() rules, and bad arguments are answered by name", {
  m <- named_mixture("A2")
  set.seed(1)
  one <- coupled_paths(m, 5, "1", 1, sampler_em(5))
  set.seed(1)
  expect_identical(coupled_paths(m, 5, "1", 1, sampler_em(5)), one)
  expect_mixguide_error(coupled_paths(1, guidance = "1"), "mixture")
  expect_mixguide_error(coupled_paths(m, guidance = "9"), "guidance")
  for (bad in list("1", NA, -1, Inf)) {
    expect_mixguide_error(coupled_paths(m, guidance = "1", strength = bad), "strength")
  }
  for (bad in list(0, -1, 1.5)) expect_mixguide_error(coupled_paths(m, bad, "1", 1), "n")
  expect_mixguide_error(coupled_paths(m, guidance = "1", sampler = "ddim"), "sampler")
  expect_mixguide_error(coupled_paths(m, guidance = "1", key = 1), "key")
  expect_mixguide_error(autoplot(coupled_paths(m, 3, "1", 0)), "object")
})

test_that("its picture has a dot per path and strength", {
  picture <- ggplot2::ggplot_build(autoplot(coupled_paths(named_mixture("E3"), 30, "1", c(1, 2))))
  expect_identical(nrow(picture$data[[2]]), 60L)
})

# The particle filter in both of its uses: islands of tilted_sample(), sets of conditional_sample().

A2 <- named_mixture("A2")
gauss <- gaussmix(1, t(c(.5, -.2)), matrix(c(1, .6, .6, 1), 2))
given <- observation(1.4, cbind(1, .5), .3^2)
to_data <- sampler_ddpm(NULL, variance = "scaled")
tilt <- function(n, ...) {
  tilted_sample(A2, n, guidance("1", 1), sampler_em(12), weights = "path", ...)
}
zero_shot <- function(n, method, ...) {
  conditional_sample(gauss, n, given, method, sampler = to_data, schedule = schedule_etc(15), ...)
}

test_that("the evidence is unbiased in both uses, with and without resampling", {
  # the constant of the tilt, from log p(x | y) p(y | x) minus the log-density of the run
  known <- tilted_law(A2, guidance("1", 1))$log_normaliser
  log_constant <- function(run) {
    x <- run$x[1]
    log_p <- dgaussmix(x, class_law(A2, "1"), log = TRUE)
    2 * log_p + log(.5) - dgaussmix(x, A2, log = TRUE) - run$log_density[1]
  }
  withr::local_seed(1)
  for (resample in c(0, .9)) {
    # by the mean over islands
    ratio <- exp(replicate(25, log_constant(tilt(256, resample = resample))) - known)
    expect_lt(abs(mean(ratio) - 1) / (sd(ratio) / sqrt(25)), 4)
    expect_lt(sd(ratio) / sqrt(25), .02)
  }
  # for one Gaussian the chain's own law is Gaussian, and so is its evidence of y
  chain <- guided_moments(gauss, sampler = to_data, schedule = schedule_etc(15))
  h <- c(1, .5)
  known <- dnorm(1.4, sum(h * chain$mean), sqrt(drop(h %*% chain$cov %*% h) + .3^2))
  for (variance in c(1, 6)) {
    z <- exp(zero_shot(1500, zero_shot_tds(8, variance))$log_evidence) / known
    expect_lt(abs(mean(z) - 1) / (sd(z) / sqrt(1500)), 4)
    expect_lt(sd(z) / sqrt(1500), .02)
  }
})

test_that("no chunk, no thread and no folder changes a bit, in either use", {
  in_chunks <- function(sets, run) {
    home <- asNamespace("mixguide")
    own <- home$run_filter
    unlockBinding("run_filter", home)
    on.exit({
      assign("run_filter", own, home)
      lockBinding("run_filter", home)
    })
    assign("run_filter", function(name, work, job, n, size, ...) {
      own(name, work, job, n, sets * job$each, ...)
    }, home)
    run()
  }
  folder <- withr::local_tempdir()
  uses <- list(
    function(...) tilt(203, key = c(1, 2), ...),
    function(...) tilt(203, key = c(1, 2), start = "exact", ...),
    function(...) tilt(130, key = c(1, 2), start = gaussmix(1, .1, 2), ...),
    function(...) zero_shot(11, zero_shot_tds(6), key = c(1, 2), cloud = TRUE, ...),
    function(...) {
      zero_shot(11, zero_shot_mcgdiff(6, resampling = "every step"), key = c(1, 2), ...)
    },
    function(...) zero_shot(11, zero_shot_smcdiffopt(6), key = c(1, 2), cloud = TRUE, ...)
  )
  for (use in uses) {
    alone <- unclass(use())
    exact <- setdiff(names(alone), "history")
    for (sets in c(1, 3)) {
      expect_identical(unclass(in_chunks(sets, use))[exact], alone[exact])
      there <- in_chunks(sets, function() use(folder = folder))
      expect_identical(unclass(there)[exact], alone[exact])
      # sums in another order
      expect_equal(there$history, alone$history, tolerance = 1e-12)
      files <- list.files(folder)
      expect_identical(in_chunks(sets, function() use(folder = folder))$x, alone$x)
      expect_identical(list.files(folder), files)
    }
    expect_identical(unclass(with_threads(2, use())), alone)
  }
  expect_identical(dim(zero_shot(0, zero_shot_tds(6))$x), c(0L, 2L))
})

test_that("a set without weight keeps none, and the others are as they were", {
  job <- list(key = c(1, 2), each = 5, looks = 3, resample = 1)
  filter <- function(lost) {
    move <- function(state, i) {
      if (i == 2) state$log_w[lost] <- NaN
      state$log_w <- state$log_w + log(state$own$x[, 1])
      state
    }
    particle_filter(list(own = list(x = cbind(1:18 + 0))), move, job, 5, 18)
  }
  whole <- filter(integer())
  some <- filter(6:10)
  expect_identical(some$log_mean[2], -Inf)
  expect_identical(some$log_mean[-2], whole$log_mean[-2])
  expect_identical(some$own$x[-(6:10), ], whole$own$x[-(6:10), ])
  expect_identical(some$log_w[6:10], rep(-Inf, 5))
  expect_identical(some$own$ancestor[-(6:10)], 5L + as.integer(some$own$x[-(6:10), 1]))
  expect_equal(some$history[3, 1], whole$history[3, 1] -
                 sum(whole$w[, 2])^2 / sum(whole$w[, 2]^2))
})

test_that("a systematic sample takes each particle n w times, to the next whole number", {
  w <- matrix(c(.35, 0, .2, .05, .4))
  for (u in c(1e-300, .3, .999)) {
    taken <- tabulate(systematic(w, u), 5)
    expect_identical(sum(taken), 5L)
    expect_true(all(abs(taken - 5 * w) < 1))
    expect_identical(length(systematic(w, u, 3)), 3L)
  }
  expect_identical(systematic(matrix(c(0, 0, 1)), .999999), c(3L, 3L, 3L))
})

test_that("resampling draws in proportion to the weights, in each set for itself", {
  withr::local_seed(6)
  w <- matrix(rexp(5 * 40), 5)
  w[2, ] <- 0
  w[, 7] <- c(0, 0, 0, 0, 1)
  counts <- 0
  for (i in 1:200) {
    chosen <- systematic(w, runif(40))
    expect_true(all((chosen - 1) %/% 5 == rep(0:39, each = 5)))
    counts <- counts + tabulate(chosen, 200)
  }
  p <- w / rep(colSums(w), each = 5)
  expect_true(all(counts[w == 0] == 0))
  # with 1000 draws per set, each count is within one of its share in every round
  expect_lt(max(abs(counts / 1000 - p)), .06)
  one <- systematic(w, runif(40), 1)
  expect_true(all(one %in% which(w > 0)))
  expect_identical((one - 1L) %/% 5L, 0:39)
  expect_identical(one[7], 35L)
  # the indices of a set stay within it, and never choose a particle of weight zero
  for (u in c(1e-300, 1)) {
    chosen <- systematic(w, rep(u, 40))
    expect_identical((chosen - 1L) %/% 5L, rep(0:39, each = 5))
    expect_true(all(w[chosen] > 0))
  }
})

test_that("multinomial draws are independent and in proportion to the weights", {
  withr::local_seed(9)
  w <- cbind(c(.1, .2, .7), c(0, 1, 0), c(1, 0, 1))
  n <- 2e4
  draws <- replicate(n, multinomial(w, matrix(runif(9), 3)))
  for (j in 1:3) {
    own <- draws[1:3 + 3 * (j - 1), ] - 3 * (j - 1)
    p <- w[, j] / sum(w[, j])
    expect_true(all(abs(tabulate(own, 3) / (3 * n) - p) <= 4.5 * sqrt(p * (1 - p) / (3 * n))))
    # the first set is independent of the second
    both <- mean(own[1, ] == 3 & own[2, ] == 3)
    expect_lte(abs(both - p[3]^2), 4.5 * sqrt(p[3]^2 * (1 - p[3]^2) / n))
  }
  expect_identical(multinomial(w, matrix(1, 3, 3)), c(3, 3, 3, 5, 5, 5, 9, 9, 9))
})

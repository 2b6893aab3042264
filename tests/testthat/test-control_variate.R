# What is known at strength 0 settles the first row, and makes the others more precise.

m <- gaussmix(c(1, 2, 1), rbind(c(1, 0), c(-1, 0), c(0, 1.5)),
              list(diag(2), matrix(c(1, .4, .4, .7), 2), .5 * diag(2)), class = c("a", "b", "b"))

sweep_of <- function(...) without_faults(guidance_sweep(..., key = c(4, 2)))

test_that("strength 0 is the mean over the run's own Gaussian law, by a grid", {
  side <- seq(-9, 9, by = .05)
  x <- as.matrix(expand.grid(side, side))
  for (start in c("normal", "exact")) {
    for (sampler in list(sampler_ddim(6), sampler_ddpm(6), sampler_heun(4, end = .01))) {
      sweep <- sweep_of(m, 1024, "a", c(0, .2), sampler, start = start)
      law <- guided_moments(gaussmix(1, t(c(1, 0)), diag(2)), sampler = sampler, start = start,
                            horizon = attr(sweep, "setup")$horizon)
      at <- diffuse(m, sampler$end)
      p <- dgaussmix(x, gaussmix(1, t(law$mean), law$cov)) * .05^2
      exact <- sum(p * posterior(at, x)[, "a"])
      expect_lt(abs(sweep$confidence[1] - exact), 4 * sweep$confidence_se[1] + 1e-9)
      expect_lt(sweep$confidence_se[1], 1e-4)
      expect_identical(c(sweep$gain[1], sweep$gain_se[1]), c(0, 0))
      expect_match(sweep$note[1], "known law of the run")
    }
  }
})

test_that("other strengths agree with independent draws, and are more precise than without", {
  for (sampler in list(sampler_ddim(8), sampler_ddpm(8))) {
    own <- sweep_of(m, 4096, "a", c(0, .1), sampler)
    plain <- sweep_of(m, 2^17, "a", c(0, .1), sampler, points = "random")
    alone <- sweep_of(m, 4096, "a", .1, sampler)
    expect_match(own$note[2], "known at strength 0")
    expect_equal(plain$note, c("", ""))
    expect_lt(abs(own$confidence[2] - plain$confidence[2]), 4 * plain$confidence_se[2])
    expect_lt(abs(own$gain[2] - plain$gain[2]), 4 * plain$gain_se[2])
    expect_equal(own$gain[2], own$confidence[2] - own$confidence[1])
    expect_lt(own$confidence_se[2]^2, alone$confidence_se^2 / 5)
  }
})

test_that("in one dimension exact laws are covered", {
  A2 <- named_mixture("A2")
  d <- diffusion(A2, "1", sampler_ddpm(8))
  strengths <- c(0, .1, .5)
  truth <- vapply(strengths, function(strength) {
    confidence(without_faults(guided_law(d, guidance = guidance("1", strength))))$estimate
  }, 0)
  runs <- vapply(1:200, function(i) {
    sweep <- without_faults(guidance_sweep(d, strength = strengths, n = 1024, key = c(i, 3)))
    c(sweep$confidence, sweep$confidence_se, sweep$gain, sweep$gain_se)
  }, double(12))
  covered <- function(estimate, se, truth) rowMeans(abs(estimate - truth) <= 1.96 * se)
  of <- c(covered(runs[1:3, ], runs[4:6, ], truth),
          covered(runs[8:9, ], runs[11:12, ], truth[-1] - truth[1]))
  # by chance once in 1000, if it is .91 or .98
  expect_gt(min(of), .88)
  off <- (rowMeans(runs[1:3, ]) - truth) / apply(runs[1:3, ], 1, sd) * sqrt(200)
  expect_lt(max(abs(off)), 4)
})

test_that("a control that tells nothing changes nothing, and none is biased", {
  known <- list(estimate = 1, se = 0)
  with_key <- function(seed) withr::with_seed(seed, {
    control <- 1 + rnorm(16)
    controlled(cbind(control, 2 + 3 * (control - 1) + .1 * rnorm(16), rnorm(16)), rep(64, 16), 1,
               known)
  })
  made <- lapply(1:400, with_key)
  of <- function(what) vapply(made, `[[`, double(3), what)
  expect_true(all(of("estimate")[1, ] == 1))
  for (i in 2:3) {
    x <- of("estimate")[i, ]
    expect_lt(abs(mean(x) - c(1, 2, 0)[i]), 4 * sd(x) / 20)
  }
  expect_true(all(vapply(made, function(one) one$used[2], NA)))
  expect_lt(mean(vapply(made, function(one) one$used[3], NA)), .02)
  expect_equal(sd(of("estimate")[2, ]), .1 / 4, tolerance = .15)
  # confidences that are all 1
  flat <- controlled(cbind(rep(1, 16), rnorm(16)), rep(64, 16), 1, known)
  expect_identical(flat$used, c(TRUE, FALSE))
})

test_that("where the law of strength 0 is not known nothing is used", {
  at <- function(...) sweep_of(..., strength = c(0, .1), n = 1024, sampler = sampler_ddim(4))$note
  none <- c("", "")
  expect_equal(at(m, "b"), none)
  expect_equal(at(m, guidance("a", power = .5)), none)
  expect_equal(at(m, guidance("a", rule = guidance_rule("apg"))), none)
  expect_equal(at(m, "a", score_error = score_error(scale = 1.1)), none)
  expect_equal(at(m, "a", start = m), none)
  expect_equal(at(m, "a", points = "random"), none)
  expect_equal(sweep_of(m, 1024, "a", c(.1, .2), sampler_ddim(4))$note, none)
  # an operation has a strength of its own
  expect_equal(sweep_of(m, 1024, "a", c(0, .2), sampler_zigzag(4))$note, none)
  expect_match(sweep_of(m, 1024, "a", c(0, .2), sampler_pcg(4))$note[1], "known law")
  # a fit, in coordinates of its own
  fit <- as_gaussmix(Species ~ Petal.Length + Petal.Width, iris)
  expect_match(at(fit, "versicolor")[1], "known law")
})

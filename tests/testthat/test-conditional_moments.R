pair <- gaussmix(1, t(c(0, 0)), matrix(c(1, .8, .8, 1), 2))
first <- function(sd, y = 1) observation(y, cbind(1, 0), sd^2)

methods <- list(exact = zero_shot_exact(), bo = zero_shot_bo(), ddnm = zero_shot_ddnm(),
                ddnm_plus = zero_shot_ddnm_plus(), ccdf = zero_shot_ccdf())

test_that("divergences of the bivariate Gaussian are the known ones", {
  rows <- theory("zero-shot-divergences")
  for (i in seq_len(nrow(rows))) for (name in names(methods)) {
    if (is.na(rows[i, name])) next
    kl <- conditional_moments(pair, first(rows$noise[i]), methods[[name]],
                              schedule = schedule_etc(rows$steps[i]))$kl
    expect_lt(abs(kl - rows[i, name]), 1e-5, paste(name, "in row", i))
  }
})

test_that("mean and covariance are those of simulated draws, for every affine method", {
  set.seed(3)
  prior <- gaussmix(1, t(c(.5, -.3, .2)), crossprod(matrix(rnorm(9), 3)) / 3 + diag(.3, 3))
  y <- observation(c(.4, -.9), rbind(c(1, .5, 0), c(0, -.3, 1)), diag(c(.2, .05)))
  methods <- list(zero_shot_exact(), zero_shot_ddnm(), zero_shot_bo(), zero_shot_bo(TRUE),
                  zero_shot_ccdf(), zero_shot_repaint(2), zero_shot_ddnm_plus(), zero_shot_ddrm(),
                  zero_shot_diffpir(.5, .3), zero_shot_pigdm(), zero_shot_tmpd())
  n <- 10000
  for (method in methods) {
    law <- conditional_moments(prior, y, method, schedule = schedule_etc(40))
    x <- conditional_sample(prior, n, y, method, schedule = schedule_etc(40), key = c(3, 4))$x
    # Hotelling's statistic, and the largest deviation of the covariance of the whitened draws
    root <- chol(law$cov)
    white <- (x - rep(law$mean, each = n)) %*% solve(root)
    expect_lt(n * sum(colMeans(white)^2), qchisq(1 - 1e-6, 3))
    expect_lt(max(abs(crossprod(white) / n - diag(3))), 5.5 * sqrt(2 / n))
  }
})

test_that("on random Gaussians the exact score is best, then BO, DDNM and DDNM+", {
  set.seed(11)
  for (i in 1:8) {
    d <- sample(2:4, 1)
    prior <- gaussmix(1, t(rnorm(d) / 2), cov2cor(crossprod(matrix(rnorm(d^2), d)) / d +
                                                    diag(.2, d)))
    m <- sample(d - 1, 1)
    y <- observation(rnorm(m), variables = seq_len(m), noise = runif(1, .03, .4)^2)
    methods <- list(zero_shot_exact(), zero_shot_bo(), zero_shot_ddnm(), zero_shot_ddnm_plus())
    kl <- vapply(methods, function(method) {
      conditional_moments(prior, y, method, schedule = schedule_etc(50))$kl
    }, 0)
    expect_identical(order(kl), 1:4)
  }
})

test_that("TMPD is the exact score for one Gaussian, and other samplers work", {
  y <- first(.3)
  tmpd <- conditional_moments(pair, y, zero_shot_tmpd(), schedule = schedule_etc(50))
  exact <- conditional_moments(pair, y, zero_shot_exact(), schedule = schedule_etc(50))
  expect_equal(unlist(tmpd), unlist(exact), tolerance = 1e-9)
  # the exact score is the unconditional score of the exact conditional law
  plain <- guided_moments(condition(pair, observation(1, cbind(1, 0), .09)),
                          sampler = sampler_heun(30, end = .01),
                           horizon = 3)
  same <- conditional_moments(pair, y, zero_shot_exact(), schedule = schedule_ou(),
                              sampler = sampler_heun(30, end = .01), horizon = 3)
  expect_equal(same[c("mean", "cov", "kl")], plain, ignore_attr = TRUE, tolerance = 1e-9)
})

test_that("BO overspreads where singular values are small, and generalised BO does not", {
  # the bias of BO is small, that of DDNM large
  prior <- gaussmix(1, t(c(0, 0)), 1)
  y <- observation(c(1, .1), diag(c(1, .1)), .01)
  B <- function(method) {
    parts <- summary(mismatch(prior, y, method, schedule_etc(300)))
    parts$estimate[parts$quantity == "bias"]
  }
  expect_equal(B(zero_shot_bo()), .2151, tolerance = 5e-2)
  expect_gt(B(zero_shot_ddnm()), 300)
  variance <- function(method) {
    law <- conditional_moments(prior, y, method, schedule = schedule_etc(300))
    c(law$cov[2, 2], law$target$cov[2, 2])
  }
  # the posterior variance of a N(0, 1) seen with noise of variance 1 is 1/2
  bo <- variance(zero_shot_bo())
  expect_gt(bo[1], 1.7 * bo[2])
  best <- variance(zero_shot_bo(TRUE))
  expect_equal(best[1], best[2], tolerance = .05)
})

test_that("at coarse steps the larger bias may go with the smaller divergence", {
  prior <- gaussmix(1, 0, 1)
  y <- observation(1, matrix(1), 1e-4)
  kl <- function(method) conditional_moments(prior, y, method, schedule = schedule_etc(300))$kl
  expect_lt(abs(kl(zero_shot_bo()) - .00140), 5e-6)
  expect_lt(abs(kl(zero_shot_ddnm()) - .00007), 5e-6)
  B <- function(method) {
    summary(mismatch(prior, y, method, schedule_etc(300)))$estimate[3]
  }
  expect_lt(B(zero_shot_bo()), 5e-6)
  expect_equal(B(zero_shot_ddnm()), .00208, tolerance = 5e-3)
})

test_that("what is not affine, or no Gaussian, is an error that names the argument", {
  expect_mixguide_error(conditional_moments(pair, first(.3), zero_shot_dps()), "method")
  expect_mixguide_error(conditional_moments(pair, first(.3), zero_shot_mcg()), "method")
  expect_mixguide_error(conditional_moments(pair, first(.3), zero_shot_tds()), "method")
  expect_mixguide_error(conditional_moments(named_mixture("M2"), first(.3), zero_shot_bo()),
                        "mixture")
  expect_mixguide_error(conditional_moments(pair, 1, zero_shot_bo()), "observation")
})

test_that("the exact score of one Gaussian is that of its posterior, however it is asked", {
  y <- observation(.7, H = rbind(c(1, .5)), noise = .2^2)
  # from a horizon where the denoised point forgets the data; with the noise of matched steps
  forgotten <- schedule_ddpm(c(rep(.7, 6), .5, 0))
  for (case in list(list(sampler_ddim(NULL), forgotten), list(sampler_ddpm(NULL), forgotten),
                    list(sampler_ddpm(10, variance = "matched", end = .1), schedule_ou()),
                    list(sampler_dpmpp_2m(10, end = .1), schedule_vp()))) {
    made <- conditional_moments(pair, y, zero_shot_exact(), sampler = case[[1]],
                                schedule = case[[2]])
    own <- guided_moments(condition(pair, y), sampler = case[[1]], schedule = case[[2]])
    expect_equal(made$mean, own$mean, tolerance = 1e-12)
    expect_equal(made$cov, own$cov, tolerance = 1e-12)
  }
})

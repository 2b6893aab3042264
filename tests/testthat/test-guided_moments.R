G1 <- gaussmix(1, 1.5, .25)
law <- function(sampler, start) guided_moments(G1, sampler = sampler, horizon = 3, start = start)

test_that("every sampler has the known mean, variance and divergence for N(1.5, .25)", {
  check <- function(sampler, row) {
    result <- law(sampler, row$start)
    expect_lt(abs(result$mean - row$mean), 1e-12)
    expect_lt(abs(result$cov - row$variance), 1e-12)
    expect_lt(abs(result$kl / row$kl - 1), 1e-9)
  }
  known <- theory("gaussian")
  for (i in seq_len(nrow(known))) {
    check(smooth_samplers[[known$sampler[i]]](known$steps[i], "uniform", 0), known[i, ])
  }
  # noise of matched variance is exact for a Gaussian, in one step and in a hundred
  check(sampler_ddpm(1, variance = "matched"), known[known$sampler == "MM", ])
})

test_that("deterministic samplers converge with their order", {
  order <- function(make, order, ..., within = .06) {
    error <- function(steps) {
      sampler <- make(steps, ...)
      target <- diffuse(G1, sampler$end)
      result <- law(sampler, "exact")
      abs(result$mean - target$means) + abs(result$cov - target$values)
    }
    expect_lt(abs(log2(error(100) / error(200)) - order), within)
  }
  order(sampler_euler, 1)
  order(sampler_exponential, 1)
  order(sampler_ddim, 1, grid = "logsnr", end = .01)
  order(sampler_heun, 2)
  order(function(...) sampler_exponential(..., order = 2), 2)
  order(sampler_dpmpp_2m, 2, grid = "logsnr", end = .01)
  # but for the first two steps
  order(sampler_dpmpp_3m, 3, grid = "logsnr", end = .01, within = .35)
  order(sampler_dpm_2, 2, grid = "logsnr", end = .01)
  order(sampler_rk4, 4)
})

test_that("on every schedule a fine sampler ends at the data, from the exact start", {
  for (schedule in all_schedules()[1:6]) {
    end <- 1e-3 * schedule$horizon
    for (make in list(sampler_ddim, sampler_exponential, sampler_ddpm)) {
      kl <- function(steps) {
        sampler <- make(steps, grid = "logsnr", end = end)
        guided_moments(G1, sampler = sampler, schedule = schedule, start = "exact")$kl
      }
      # first order: the divergence falls with the square of the step
      expect_lt(kl(200), .02)
      expect_lt(abs(log2(kl(100) / kl(200)) - 2), .15)
    }
    for (make in list(sampler_dpm_2, function(...) sampler_exponential(..., order = 2))) {
      kl <- function(steps) {
        guided_moments(G1, sampler = make(steps, grid = "logsnr", end = end), schedule = schedule,
                       start = "exact")$kl
      }
      expect_lt(kl(200), 1e-4)
      expect_lt(abs(log2(kl(100) / kl(200)) - 4), .3)
    }
    rk4 <- sampler_rk4(50, grid = "logsnr", end = end)
    expect_lt(guided_moments(G1, sampler = rk4, schedule = schedule, start = "exact")$kl, 1e-8)
  }
})

test_that("simulation of the program has the moments computed", {
  cov <- matrix(c(1, .6, .6, .8), 2)
  mixture <- gaussmix(1, rbind(c(1, -1)), cov)
  n <- 2e5
  for (sampler in list(sampler_ddpm(15, variance = "large"), sampler_dpmpp_2m(15),
                       sampler_ddim(15, eta = .5))) {
    times <- sampler_times(sampler, schedule_ou(), 2)
    score <- function(x, t) {
      S <- exp(-2 * t) * cov + (1 - exp(-2 * t)) * diag(2)
      -sweep(x, 2, exp(-t) * c(1, -1)) %*% solve(S)
    }
    set.seed(3)
    x <- interpret_program(sampler_program(sampler, times, schedule_ou()), matrix(rnorm(2 * n), n),
                           score, function(i) matrix(rnorm(2 * n), n))
    exact <- guided_moments(mixture, sampler = sampler, horizon = 2)
    se <- sqrt(diag(exact$cov) / n)
    expect_lt(max(abs(colMeans(x) - exact$mean) / se), 4.5)
    se <- sqrt((exact$cov^2 + tcrossprod(diag(exact$cov))) / n)
    expect_lt(max(abs(cov(x) - exact$cov) / se), 4.5)
  }
})

test_that("a start with any mean and covariance is carried through", {
  cov <- matrix(c(1, .6, .6, .8), 2)
  mixture <- gaussmix(1, rbind(c(a = 1, b = -1)), cov)
  begin <- list(mean = c(3, -2), cov = matrix(c(2, -.5, -.5, .4), 2))
  # explicit matrices for Euler
  times <- time_grid(40, 3, "uniform")
  m <- begin$mean
  C <- begin$cov
  for (k in 1:40) {
    t <- times[k]
    h <- t - times[k + 1]
    P <- solve(exp(-2 * t) * cov + (1 - exp(-2 * t)) * diag(2))
    M <- (1 + h) * diag(2) - h * P
    m <- drop(M %*% m + h * P %*% (exp(-t) * c(1, -1)))
    C <- M %*% C %*% t(M)
  }
  result <- guided_moments(mixture, sampler = sampler_euler(40, "uniform"), horizon = 3,
                           start = begin)
  expect_equal(result$mean, c(a = m[1], b = m[2]), tolerance = 1e-12)
  expect_equal(unname(result$cov), C, tolerance = 1e-12)
  expect_identical(dimnames(result$cov), list(c("a", "b"), c("a", "b")))
  gap <- c(1, -1) - m
  kl <- (sum(diag(solve(C, cov))) + sum(gap * solve(C, gap)) - 2 + log(det(C) / det(cov))) / 2
  expect_equal(result$kl, kl, tolerance = 1e-12)
})

test_that("noise is N(0, I) for variance-preserving schedules and N(0, b^2 I) otherwise", {
  one <- sampler("stay", function(k, times, schedule) list(op_linear("x", c(x = 1))), 1)
  for (schedule in all_schedules()) {
    b2 <- if (schedule$vp) 1 else schedule$b2(schedule$horizon)
    expect_equal(drop(guided_moments(G1, sampler = one, schedule = schedule)$cov), b2)
  }
})

test_that("singular Gaussians have moments but no divergence", {
  point <- gaussmix(1, 2, 0)
  result <- guided_moments(point, sampler = sampler_ddim(20, grid = "uniform"))
  expect_equal(result$mean, 2, tolerance = 1e-2)
  expect_true(is.na(result$kl))
  expect_true(is.finite(guided_moments(point,
                                       sampler = sampler_ddim(20, end = .01, grid = "uniform"))$kl))
  expect_error(guided_moments(point, sampler = sampler_heun(20, "uniform")), "`sampler`.*t = 0",
               class = "mixguide_error")
  collapse <- sampler("zero", function(k, times, schedule) list(op_linear("x", c(x = 0))), 1)
  expect_identical(guided_moments(G1, sampler = collapse)$kl, Inf)
})

test_that("coefficients by coordinate need axes that do not turn", {
  step <- function(k, times, schedule) list(op_linear("x", list(x = c(2, 3))))
  stretch <- sampler("stretch", step, 1)
  straight <- gaussmix(1, rbind(c(0, 0)), diag(c(1, 4)))
  expect_equal(guided_moments(straight, sampler = stretch)$cov, diag(c(4, 9)))
  turned <- gaussmix(1, rbind(c(0, 0)), matrix(c(2, 1, 1, 2), 2))
  expect_error(guided_moments(turned, sampler = stretch), "`sampler`", class = "mixguide_error")
  expect_error(guided_moments(G1, sampler = stretch), "`sampler`", class = "mixguide_error")
})

test_that("bad input to guided_moments() names the argument", {
  bad <- function(code, arg) {
    error <- expect_error(code, class = "mixguide_error")
    expect_match(conditionMessage(error), paste0("^`", arg, "`"))
  }
  bad(guided_moments(gaussmix(c(.5, .5), 1:2, 1), sampler = sampler_ddim()), "mixture")
  bad(guided_moments(1, sampler = sampler_ddim()), "mixture")
  bad(guided_moments(G1, sampler = "ddim"), "sampler")
  bad(guided_moments(G1, sampler = sampler_ddim(), schedule = "ou"), "schedule")
  bad(guided_moments(G1, sampler = sampler_ddim(), horizon = Inf), "horizon")
  bad(guided_moments(G1, sampler = sampler_ddim(), start = "prior"), "start")
  bad(guided_moments(G1, sampler = sampler_ddim(), start = list(mean = 1)), "start\\$cov")
  bad(guided_moments(G1, sampler = sampler_ddim(), start = list(mean = 1:2, cov = 1)),
      "start\\$mean")
  bad(guided_moments(G1, sampler = sampler_ddim(), start = list(mean = 0, cov = -1)), "start\\$cov")
})

# ---- Given an observation

given_moments <- function(mixture, observation, method, ...) {
  guided_moments(mixture, ..., observation = observation, method = method)
}
pair <- gaussmix(1, t(c(0, 0)), matrix(c(1, .8, .8, 1), 2))
first <- function(sd, y = 1) observation(y, cbind(1, 0), sd^2)

methods <- list(exact = zero_shot_exact(), bo = zero_shot_bo(), ddnm = zero_shot_ddnm(),
                ddnm_plus = zero_shot_ddnm_plus(), ccdf = zero_shot_ccdf())

test_that("divergences of the bivariate Gaussian are the known ones", {
  rows <- theory("zero-shot-divergences")
  for (i in seq_len(nrow(rows))) for (name in names(methods)) {
    if (is.na(rows[i, name])) next
    kl <- given_moments(pair, first(rows$noise[i]), methods[[name]],
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
    law <- given_moments(prior, y, method, schedule = schedule_etc(40))
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
      given_moments(prior, y, method, schedule = schedule_etc(50))$kl
    }, 0)
    expect_identical(order(kl), 1:4)
  }
})

test_that("TMPD is the exact score for one Gaussian, and other samplers work", {
  y <- first(.3)
  tmpd <- given_moments(pair, y, zero_shot_tmpd(), schedule = schedule_etc(50))
  exact <- given_moments(pair, y, zero_shot_exact(), schedule = schedule_etc(50))
  expect_equal(unlist(tmpd), unlist(exact), tolerance = 1e-9)
  # the exact score is the unconditional score of the exact conditional law
  plain <- guided_moments(condition(pair, observation(1, cbind(1, 0), .09)),
                          sampler = sampler_heun(30, end = .01),
                           horizon = 3)
  same <- given_moments(pair, y, zero_shot_exact(), schedule = schedule_ou(),
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
    law <- given_moments(prior, y, method, schedule = schedule_etc(300))
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
  kl <- function(method) given_moments(prior, y, method, schedule = schedule_etc(300))$kl
  expect_lt(abs(kl(zero_shot_bo()) - .00140), 5e-6)
  expect_lt(abs(kl(zero_shot_ddnm()) - .00007), 5e-6)
  B <- function(method) {
    summary(mismatch(prior, y, method, schedule_etc(300)))$estimate[3]
  }
  expect_lt(B(zero_shot_bo()), 5e-6)
  expect_equal(B(zero_shot_ddnm()), .00208, tolerance = 5e-3)
})

test_that("what is not affine, or no Gaussian, is an error that names the argument", {
  expect_mixguide_error(given_moments(pair, first(.3), zero_shot_dps()), "method")
  expect_mixguide_error(given_moments(pair, first(.3), zero_shot_mcg()), "method")
  expect_mixguide_error(given_moments(pair, first(.3), zero_shot_tds()), "method")
  expect_mixguide_error(given_moments(named_mixture("M2"), first(.3), zero_shot_bo()),
                        "mixture")
  expect_mixguide_error(given_moments(pair, 1, zero_shot_bo()), "observation")
  expect_mixguide_error(given_moments(pair, first(.3), NULL), "method")
  expect_mixguide_error(given_moments(pair, NULL, zero_shot_bo()), "method")
})

test_that("the exact score of one Gaussian is that of its posterior, however it is asked", {
  y <- observation(.7, H = rbind(c(1, .5)), noise = .2^2)
  # from a horizon where the denoised point forgets the data; with the noise of matched steps
  forgotten <- schedule_ddpm(c(rep(.7, 6), .5, 0))
  for (case in list(list(sampler_ddim(NULL), forgotten), list(sampler_ddpm(NULL), forgotten),
                    list(sampler_ddpm(10, variance = "matched", end = .1), schedule_ou()),
                    list(sampler_dpmpp_2m(10, end = .1), schedule_vp()))) {
    made <- given_moments(pair, y, zero_shot_exact(), sampler = case[[1]],
                                schedule = case[[2]])
    own <- guided_moments(condition(pair, y), sampler = case[[1]], schedule = case[[2]])
    expect_equal(made$mean, own$mean, tolerance = 1e-12)
    expect_equal(made$cov, own$cov, tolerance = 1e-12)
  }
})

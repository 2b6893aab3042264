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

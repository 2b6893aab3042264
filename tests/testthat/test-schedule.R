test_that("a and b^2 at t = .3 are the known ones", {
  known <- theory("schedules")
  for (schedule in all_schedules()[1:5]) {
    row <- known[known$schedule == schedule$name, ]
    expect_equal(c(schedule$a(.3), schedule$b2(.3)), c(row$a, row$b2), tolerance = 1e-11,
                 info = schedule$name)
  }
})

test_that("every schedule starts with the data and forgets with time", {
  for (schedule in all_schedules()) {
    t <- seq(0, schedule$horizon, length.out = 101)
    expect_identical(schedule$a(0), 1)
    expect_identical(schedule$b2(0), 0)
    expect_true(all(diff(schedule$a(t)^2 / schedule$b2(t))[-1] < 0), info = schedule$name)
    expect_equal(schedule$vp, isTRUE(all.equal(schedule$b2(t), 1 - schedule$a(t)^2)))
  }
})

test_that("f and G^2 are the coefficients of the SDE that has the law of a and b^2", {
  for (schedule in all_schedules()) {
    # not at the whole times of discrete schedules, where f jumps
    t <- schedule$horizon * c(.031, .113, .507, .911)
    step <- 1e-5 * schedule$horizon
    slope <- function(g) {
      (8 * (g(t + step) - g(t - step)) - g(t + 2 * step) + g(t - 2 * step)) / (12 * step)
    }
    f <- slope(function(t) log(schedule$a(t)))
    expect_equal(schedule$drift(t), f, tolerance = 1e-8, info = schedule$name)
    expect_equal(schedule$diffusion2(t), slope(schedule$b2) - 2 * f * schedule$b2(t),
                 tolerance = 1e-8, info = schedule$name)
  }
})

test_that("solving the moment equations of the SDE gives a and b^2 back", {
  for (schedule in all_schedules()) {
    t <- .7 * schedule$horizon
    # exp(int f) and int (a(t)/a(u))^2 G^2(u) du, over the pieces on which f is smooth
    cuts <- if (is.null(schedule$steps)) c(0, t) else c(seq(0, floor(t)), if (t > floor(t)) t)
    integral <- function(g) {
      sum(mapply(function(from, to) integrate(g, from, to, rel.tol = 1e-10)$value,
                 cuts[-length(cuts)], cuts[-1]))
    }
    expect_equal(exp(integral(schedule$drift)), schedule$a(t), tolerance = 1e-8)
    spread <- integral(function(u) (schedule$a(t) / schedule$a(u))^2 * schedule$diffusion2(u))
    expect_equal(spread, schedule$b2(t), tolerance = 1e-8, info = schedule$name)
  }
})

test_that("reverse_gain() is its integral", {
  for (schedule in all_schedules()) {
    # within one interval of the discrete schedules
    for (span in list(c(.6, .595), c(.02, .0105), c(.99, .9805))) {
      t <- schedule$horizon * span[1]
      s <- schedule$horizon * span[2]
      value <- integrate(function(u) schedule$a(s) / schedule$a(u) * schedule$diffusion2(u) / 2,
                         s, t, rel.tol = 1e-11)$value
      expect_equal(reverse_gain(schedule, t, s), value, tolerance = 1e-9, info = schedule$name)
    }
  }
})

test_that("relative accuracy is kept at both ends", {
  tiny <- 1e-12
  leading <- c(ou = 2, vp = .1, ve = 1e-4 * 2 * log(5000))
  for (schedule in all_schedules()[c(1, 2, 4)]) {
    expect_equal(schedule$b2(tiny), leading[[schedule$name]] * tiny, tolerance = 1e-9)
  }
  expect_equal(schedule_subvp()$b2(tiny), (.1 * tiny)^2, tolerance = 1e-9)
  # G^2(0) t
  expect_equal(schedule_cosine()$b2(tiny), schedule_cosine()$diffusion2(0) * tiny, tolerance = 1e-9)
  u <- pi / 2 / 1.008
  near <- 2^-40
  expect_equal(schedule_cosine()$a(1 - near), u * near / cos(u * .008), tolerance = 1e-14)
  expect_equal(schedule_cosine()$drift(1 - near), -1 / near, tolerance = 1e-9)
  expect_identical(schedule_cosine()$a(1), 0)
  expect_identical(schedule_flow()$a(1), 0)
})

test_that("a discrete schedule has the cumulative products of alpha at whole times", {
  alpha <- 1 - seq(1e-4, .02, length.out = 1000)
  schedule <- schedule_ddpm(alpha)
  expect_equal(schedule$a(0:1000)^2, c(1, cumprod(alpha)), tolerance = 1e-12)
  expect_equal(schedule$b2(1), 1e-4, tolerance = 1e-12)
  expect_equal(log(schedule$a(10.25)), .75 * log(schedule$a(10)) + .25 * log(schedule$a(11)),
               tolerance = 1e-12)
  expect_identical(schedule$steps, 1000L)
})

test_that("the exponential-then-constant sequence is the one written down", {
  steps <- 100
  k <- 4 * log(steps) / steps
  expect_equal(k, .18420681, tolerance = 1e-7)
  a2 <- 1
  for (t in seq_len(steps)) {
    beta <- if (t == 1) 1e-3 else k * min(1e-3 * (1 + k)^t, 1)
    a2 <- a2 * (1 - beta)
    expect_equal(schedule_etc(steps)$a(t)^2, a2, tolerance = 1e-12)
  }
})

test_that("functions of a schedule are vectorised", {
  for (schedule in all_schedules()) {
    t <- schedule$horizon * c(0, .2, .9)
    for (part in c("a", "b2", "drift", "diffusion2")) {
      expect_equal(schedule[[part]](t), vapply(t, schedule[[part]], 0), info = schedule$name)
      expect_length(schedule[[part]](double()), 0)
    }
  }
})

test_that("diffuse() gives the law of a x + b z", {
  cov <- matrix(c(2, .3, .3, 1), 2)
  mixture <- gaussmix(c(.4, .6), rbind(c(-1, 0), c(2, 3)), list(cov, diag(2)), class = c("u", "v"))
  later <- diffuse(mixture, .3, schedule_subvp())
  a <- schedule_subvp()$a(.3)
  b2 <- schedule_subvp()$b2(.3)
  expect_equal(later$means, a * mixture$means)
  expect_equal(component_cov(later, 1), a^2 * cov + b2 * diag(2))
  expect_equal(component_cov(later, 2), (a^2 + b2) * diag(2))
  expect_identical(later[c("weights", "class", "form")], mixture[c("weights", "class", "form")])
  expect_identical(diffuse(mixture, 0), mixture)
  # A1 at t = .3: theory/schedules.csv
  A1 <- gaussmix(c(.3, .5, .2), c(-2, 0, 2.5), list(.25, .5, .16))
  at <- diffuse(A1, .3)
  expect_equal(sum(at$weights * (at$means^2 + at$values[1, ])), 1.991702626, tolerance = 1e-9)
})

test_that("bad input to schedules names the argument", {
  bad <- function(code, arg) {
    error <- expect_error(code, class = "mixguide_error")
    expect_match(conditionMessage(error), paste0("^`", arg, "`"))
  }
  mixture <- gaussmix(1, 0, 1)
  bad(schedule_vp(beta_min = -1), "beta_min")
  bad(schedule_vp(1, .5), "beta_max")
  bad(schedule_vp(0, 0), "beta_max")
  bad(schedule_cosine(NaN), "s")
  bad(schedule_ve(1, 1), "sigma_max")
  bad(schedule_ddpm(c(.9, 1.1)), "alpha")
  bad(schedule_ddpm(double()), "alpha")
  bad(schedule_ddpm(c(.9, NA)), "alpha")
  bad(schedule_etc(4), "steps")
  bad(schedule_etc(10.5), "steps")
  bad(diffuse(mixture, -1), "t")
  bad(diffuse(mixture, NaN), "t")
  bad(diffuse(mixture, Inf), "t")
  bad(diffuse(mixture, c(.1, .2)), "t")
  bad(diffuse(mixture, 2, schedule_vp()), "t")
  bad(diffuse(mixture, 1, "ou"), "schedule")
  bad(diffuse(1, 1), "mixture")
})

test_that("schedules print in two lines and plot", {
  expect_output(print(schedule_vp()), "variance preserving, linear \\(beta_min = 0.1")
  expect_output(print(schedule_etc(100)), "100 discrete steps")
  pdf(NULL)
  on.exit(dev.off())
  for (schedule in all_schedules()) expect_identical(plot(schedule), schedule)
})

# ---- Schedules of the user

test_that("schedule() derives what is not given", {
  for (known in all_schedules()[1:6]) {
    own <- schedule(known$a, known$b2, max = known$max, horizon = known$horizon)
    given <- schedule(known$a, known$b2, known$drift, known$diffusion2, max = known$max,
                      horizon = known$horizon)
    expect_identical(own$vp, known$vp)
    t <- known$horizon * c(1, .99, .7, .3, .1, .01, 1e-3)
    expect_equal(own$drift(t), known$drift(t), tolerance = 1e-8, info = known$name)
    expect_equal(own$diffusion2(t), known$diffusion2(t), tolerance = 1e-7, info = known$name)
    for (one in list(own, given)) {
      expect_equal(reverse_gain(one, t[-7], t[-1]), reverse_gain(known, t[-7], t[-1]),
                   tolerance = 1e-7, info = known$name)
    }
    m <- gaussmix(c(.3, .7), c(-1, 2), c(.25, .5), c("a", "b"))
    run <- function(schedule) {
      guided_sample(m, 9, guidance("a", 1), sampler_exponential(20), schedule, key = c(1, 2))
    }
    expect_equal(run(own)[c("x", "log_density")], run(known)[c("x", "log_density")],
                 tolerance = 1e-6, info = known$name)
  }
  # f of a discrete schedule jumps
  known <- schedule_ddpm(1 - seq(1e-3, .05, length.out = 50))
  expect_silent(schedule(known$a, known$b2, known$drift, known$diffusion2, max = 50))
})

test_that("a schedule may leave a noise in the data", {
  # the VPSchedule of the Python package azula: alpha_min = sigma_min = .001
  alpha <- function(t) exp(log(.001) * t^2)
  azula <- schedule(alpha, function(t) 1 - alpha(t)^2 + .001^2, max = 1, name = "azula")
  expect_false(azula$vp)
  expect_output(print(azula), "azula")
  t <- c(.1, .5, .9)
  expect_equal(azula$drift(t), 2 * log(.001) * t, tolerance = 1e-9)
  expect_equal(azula$diffusion2(t), -2 * 2 * log(.001) * t * (1 + .001^2), tolerance = 1e-8)
  one <- gaussmix(1, 1.5, .04)
  exact <- guided_moments(one, sampler = sampler_ddim(400), schedule = azula)
  expect_equal(c(exact$mean, exact$cov), c(1.5, .04 + 1e-6), tolerance = .01)
  expect_equal(guided_moments(gaussmix(1, 0, .09), sampler = sampler_ddpm(20, variance = "matched"),
                              schedule = azula)$cov,
               .09 + 1e-6, tolerance = 1e-5, ignore_attr = TRUE)
})

test_that("schedule() says what is missing and what does not agree", {
  bad <- function(code, arg, words = "") {
    error <- expect_error(code, class = "mixguide_error")
    expect_match(conditionMessage(error), paste0("^`", arg, "`.*", words))
  }
  a <- function(t) exp(-t)
  b2 <- function(t) t
  bad(schedule(b2 = b2), "a", "given")
  bad(schedule(a), "b2", "given")
  bad(schedule(1, b2), "a")
  bad(schedule(a, b2), "horizon", "max")
  bad(schedule(a, b2, horizon = 0), "horizon")
  bad(schedule(a, b2, max = -1), "max")
  bad(schedule(a, function(t) 1, horizon = 2), "b2", "vectorised")
  bad(schedule(function(t) 1 / t, b2, horizon = 2), "a", "finite")
  bad(schedule(a, function(t) -t, horizon = 2), "b2")
  bad(schedule(function(t) a(t) / 2, b2, horizon = 2), "a", "1 at t = 0")
  bad(schedule(function(t) 1 + 0 * t, function(t) 1 - t / 9, horizon = 2), "b2", "grows")
  bad(schedule(a, b2, function(t) -1.001 + 0 * t, horizon = 2), "drift", "-1 at t = .*got -1.001")
  bad(schedule(a, b2, diffusion2 = function(t) 1 + t, horizon = 2), "diffusion2", "at t =")
  bad(schedule(a, b2, vp = TRUE, horizon = 2), "vp")
  bad(schedule(a, b2, name = 1, horizon = 2), "name")
})

test_that("an edited schedule is an error, its horizon apart", {
  m <- gaussmix(c(.5, .5), c(-1, 1), .25)
  for (part in c("a", "b2", "drift", "diffusion2", "gain")) {
    edited <- schedule_ou()
    edited[[part]] <- function(t) t
    expect_error(guided_sample(m, 5, NULL, sampler_exponential(5), edited), "schedule\\(\\)",
                 class = "mixguide_error")
  }
  later <- schedule_ou()
  later$horizon <- 7
  expect_identical(guided_sample(m, 5, schedule = later)$horizon, 7)
  # a schedule that is written and read is the same
  file <- withr::local_tempfile()
  saveRDS(schedule_cosine(), file)
  expect_s3_class(check_schedule(readRDS(file)), "mixguide_schedule")
})

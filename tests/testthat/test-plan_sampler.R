test_that("a plan meets the wanted error with the fewest evaluations of what was tried", {
  A1 <- named_mixture("A1")
  plan <- plan_sampler(A1, error = .03, samplers = c("sampler_heun", "sampler_ddim", "sampler_em"),
                       grids = "quadratic")
  made <- guided_error(A1, sampler = plan$sampler, horizon = plan$horizon)
  expect_lte(made$estimate[3], .03)
  expect_equal(plan$error$estimate, made$estimate[3])
  expect_identical(plan$evaluations, evaluations(plan$sampler, horizon = plan$horizon))
  expect_identical(plan$evaluations, min(plan$tried$evaluations, na.rm = TRUE))
  # one step fewer misses the error
  fewer <- sampler_heun(plan$sampler$steps - 1)
  expect_identical(plan$sampler$name, "heun")
  expect_gt(guided_error(A1, sampler = fewer, horizon = plan$horizon)$estimate[3], .03)
  # guarantees need far more steps
  expect_gt(plan$guaranteed, 100 * plan$evaluations)
  expect_output(print(plan), "Heun")
  expect_output(print(plan), "a guarantee would ask for some")
  expect_drawn(autoplot(plan))
  expect_identical(as.data.frame(plan), plan$tried)
})

test_that("what the guarantee asks for is enough for its bound", {
  A1 <- named_mixture("A1")
  steps <- mixguide:::guaranteed_steps(A1, schedule_ou(), 0, .5, "kl")
  expect_gt(steps, 20)
  expect_lt(steps, 400)
  horizon <- stats::uniroot(function(t) mixguide:::start_by_convexity(A1, t, schedule_ou()) - .25,
                            c(.1, 5))$root
  budget <- error_budget(A1, sampler = sampler_exponential(steps, "uniform", stochastic = TRUE),
                         horizon = horizon,
                         measure = FALSE)
  bound <- budget$estimate[budget$statement == "bound without L, integrated"]
  expect_lte(bound, .5)
  expect_gt(bound, .2)
})

test_that("plans are made for divergences, other schedules, given horizons and own samplers", {
  A1 <- named_mixture("A1")
  own <- list(mine = function(steps, grid, end) sampler_heun(steps, grid, end))
  plan <- plan_sampler(A1, error = .01, measure = "kl", samplers = own, grids = "uniform",
                       schedule = schedule_vp(), horizon = .8)
  expect_identical(plan$horizon, .8)
  expect_identical(plan$tried$sampler, "mine")
  expect_lte(guided_error(A1, sampler = plan$sampler, schedule = schedule_vp(),
                          horizon = .8)$estimate[1], .01)
  # point masses, down to some noise
  points <- gaussmix(c(.5, .5), c(-1, 1), 0)
  plan <- plan_sampler(points, error = .1, end = .05, samplers = "sampler_em", grids = "quadratic")
  expect_lte(plan$error$estimate, .1)
  expect_identical(plan$sampler$end, .05)
  plan <- plan_sampler(points, error = .05, end = .1, samplers = "sampler_heun",
                       grids = "quadratic")
  expect_lte(plan$error$estimate, .05)
  # a schedule of a thousand steps, whose times the OU process does not reach
  discrete <- schedule_ddpm(1 - seq(1e-4, .02, length.out = 1000))
  plan <- plan_sampler(A1, error = .05, samplers = "sampler_heun", grids = "uniform",
                       schedule = discrete)
  expect_lte(plan$error$estimate, .05)
  expect_gt(plan$guaranteed, 100)
  # one Gaussian, in closed form
  one <- gaussmix(1, t(c(1, 2)), diag(c(.5, 2)))
  plan <- plan_sampler(one, error = .01, measure = "kl", samplers = "sampler_heun",
                       grids = "uniform")
  expect_identical(plan$error$method, "exact")
  expect_lte(plan$error$estimate, .01)
})

test_that("where nothing meets the error the plan says so", {
  plan <- plan_sampler(named_mixture("A1"), error = 1e-5, samplers = "sampler_ddim",
                       grids = "uniform",
                       most = 20)
  expect_null(plan$sampler)
  expect_output(print(plan), "no sampler that was tried meets it")
  expect_mixguide_error(autoplot(plan), "object")
  expect_mixguide_error(plan_sampler(named_mixture("A1"), error = 2), "error")
  expect_mixguide_error(plan_sampler(named_mixture("A1"), samplers = "sampler_none"), "samplers")
  expect_mixguide_error(plan_sampler(named_mixture("A1"), samplers = list(1)), "samplers")
  expect_mixguide_error(plan_sampler(named_mixture("A1"), grids = "some"), "grids")
  expect_error(plan_sampler(gaussmix(1, 0, 0)), class = "mixguide_error_singular")
})

test_that("the end is part of the search, against the mixture itself", {
  D3 <- named_mixture("D3")
  some <- c("sampler_dpmpp_2m", "sampler_heun")
  free <- plan_sampler(D3, error = .01, samplers = some)
  still <- plan_sampler(D3, error = .01, samplers = some, end = 0)
  expect_lte(free$evaluations, still$evaluations)
  expect_true(all(still$tried$end == 0) && !"logsnr" %in% still$tried$grid)
  late <- free$tried[free$tried$grid == "logsnr", ]
  expect_true(all(late$end > 0) && all(free$tried$end[free$tried$grid != "logsnr"] == 0))
  # the error includes the noise that stopping leaves: it compares the law of the output with the
  # mixture, not with the mixture at that time
  row <- late[!is.na(late$error), ][1, ]
  maker <- list(sampler_dpmpp_2m = sampler_dpmpp_2m, sampler_heun = sampler_heun)[[row$sampler]]
  # (a horizon that has a share of the error is too short for a plain run)
  made <- suppressWarnings(guided_law(D3, sampler = maker(row$steps, "logsnr", row$end),
                                       horizon = row$horizon))
  expect_equal(by_quantity(law_distance(made, D3))$total_variation, row$error, tolerance = 1e-6)
  expect_lte(row$error, .01)
})

test_that("a budget is spent as well as may be", {
  D3 <- named_mixture("D3")
  some <- c("sampler_dpmpp_2m", "sampler_heun", "sampler_ddim")
  plan <- plan_sampler(D3, evaluations = 20, samplers = some)
  expect_lte(plan$evaluations, 20)
  expect_identical(plan$evaluations, evaluations(plan$sampler, horizon = plan$horizon))
  expect_true(all(plan$tried$evaluations <= 20))
  expect_equal(plan$error$estimate, min(plan$tried$error, na.rm = TRUE))
  expect_lt(plan$error$estimate, .01)
  expect_output(print(plan), "least total variation for at most 20 score evaluations")
  expect_drawn(autoplot(plan))
  # at least as good as the defaults at the same cost
  for (s in list(sampler_heun(10), sampler_dpmpp_2m(20))) {
    expect_lte(plan$error$estimate, guided_error(D3, sampler = s)$estimate[3])
  }
  kl <- plan_sampler(D3, evaluations = 8, measure = "kl", samplers = some, grids = "quadratic")
  expect_equal(kl$error$estimate, min(kl$tried$error))
  none <- plan_sampler(D3, evaluations = 1, samplers = "sampler_rk4", grids = "uniform")
  expect_null(none$sampler)
  expect_output(print(none), "can be had for it")
  expect_mixguide_error(plan_sampler(D3, error = .1, evaluations = 4), "error")
  expect_mixguide_error(plan_sampler(D3, evaluations = 0), "evaluations")
})

test_that("a search ends when its time is over, and obeys a time limit", {
  plan <- plan_sampler(named_mixture("A1"), error = .01, seconds = 0)
  expect_false(plan$complete)
  expect_identical(nrow(plan$tried), 1L)
  expect_output(print(plan), "its\\s+time was over")
  # some seconds of work, and a limit that may end any call in it
  for (limit in c(.05, .1, .2, .4)) {
    expect_error({
      setTimeLimit(elapsed = limit, transient = TRUE)
      plan_sampler(named_mixture("A1"), error = 1e-4, seconds = 20)
    }, "time limit")
  }
  # a limit that ends a call of the user's sampler
  struck <- function(steps, grid, end) {
    sampler("struck", steps, grid, end, step = function(...) {
      stop(gettext("reached elapsed time limit", domain = "R"))
    })
  }
  expect_error(plan_sampler(named_mixture("A1"), error = .1, samplers = list(struck = struck)),
               "time limit", class = "simpleError")
  set.seed(4)
  m <- gaussmix(c(.3, .3, .4), matrix(rnorm(12), 3), list(.5, diag(c(1, .5, .3, .4)), 1))
  plan <- plan_sampler(m, evaluations = 12, seconds = 0)
  expect_identical(nrow(plan$tried), 1L)
  expect_false(is.null(plan$sampler))
})

test_that("above two dimensions a budget is planned by particles, which says so", {
  m <- as_gaussmix(Species ~ ., iris)
  some <- c("sampler_ddim", "sampler_dpmpp_2m")
  plan <- plan_sampler(m, evaluations = 20, samplers = some, grids = "quadratic", n = 2000)
  expect_identical(plan$measure, "distance")
  expect_lte(max(plan$tried$evaluations), 20)
  expect_false(is.unsorted(plan$tried$error))
  expect_output(print(plan), "standard\\s+deviations of the mixture")
  # the fine run is far nearer to its own limit than any candidate is
  expect_lt(plan$reference$estimate, .01 * plan$error$estimate)
  # more scores give a smaller distance
  more <- plan_sampler(m, evaluations = 80, samplers = some, grids = "quadratic", n = 2000)
  expect_lt(more$error$estimate, plan$error$estimate)
  expect_mixguide_error(plan_sampler(m, evaluations = 9, samplers = "sampler_em"), "samplers")
  expect_mixguide_error(plan_sampler(m, error = .1, measure = "distance"), "evaluations")
})

test_that("a budget has an answer within its time, by particles above one dimension", {
  m <- as_gaussmix(Species ~ Petal.Length + Petal.Width, iris)
  within <- function(seconds, ...) {
    took <- system.time(plan <- plan_sampler(m, evaluations = 20, seconds = seconds, ...))
    # one run may have begun before the time was over
    expect_lt(took[["elapsed"]], seconds + 2)
    plan
  }
  plan <- within(10, n = 2000, samplers = c("sampler_ddim", "sampler_dpmpp_2m"))
  expect_identical(plan$measure, "distance")
  expect_true(plan$complete)
  expect_identical(plan$reference$n, 200)
  # an exact law in the plane, given up during the call
  plan <- suppressMessages(within(.5, measure = "total_variation"))
  expect_false(plan$complete)
  expect_output(print(plan), "give it more `seconds`")
  # slow samplers get fewer particles, and have an answer
  job <- list(n = 2e4, seconds = 2, elapsed = function() 0)
  slow <- function(n) Sys.sleep(.01 + n / 4000)
  some <- mixguide:::affordable_particles(slow, 200, 4000, job)
  expect_true(some > 20 && some < 800)
  expect_identical(mixguide:::affordable_particles(slow, 200, 10, job), 2000)
})

test_that("what runs too long is given up, and only that", {
  m <- named_mixture("A1")
  expect_error(mixguide:::within_seconds(-1, score(m, matrix(0), 1)),
               class = "mixguide_error_late")
  # an inner limit does not extend an outer one
  expect_error(mixguide:::within_seconds(-1, mixguide:::within_seconds(9, score(m, 0, 1))),
               class = "mixguide_error_late")
  expect_length(score(m, matrix(0), 1), 1)
})

test_that("a plan meets the wanted error with the fewest evaluations of what was tried", {
  A1 <- named_mixture("A1")
  plan <- plan_sampler(A1, .03, samplers = c("sampler_heun", "sampler_ddim", "sampler_em"),
                       grids = "quadratic")
  made <- sampler_error(A1, plan$sampler, horizon = plan$horizon)
  expect_lte(made$estimate[3], .03)
  expect_equal(plan$error$estimate, made$estimate[3])
  expect_identical(plan$evaluations, score_evaluations(plan$sampler, horizon = plan$horizon))
  expect_identical(plan$evaluations, min(plan$tried$evaluations, na.rm = TRUE))
  # one step fewer does not do
  fewer <- sampler_heun(plan$sampler$steps - 1)
  expect_identical(plan$sampler$name, "heun")
  expect_gt(sampler_error(A1, fewer, horizon = plan$horizon)$estimate[3], .03)
  # guarantees ask for far more
  expect_gt(plan$guaranteed, 100 * plan$evaluations)
  expect_output(print(plan), "Heun")
  expect_output(print(plan), "a guarantee would ask for some")
  expect_s3_class(autoplot(plan), "ggplot")
  expect_identical(as.data.frame(plan), plan$tried)
})

test_that("what the guarantee asks for is enough for its bound", {
  A1 <- named_mixture("A1")
  steps <- mixguide:::guaranteed_steps(A1, schedule_ou(), 0, .5, "kl")
  expect_gt(steps, 20)
  expect_lt(steps, 400)
  horizon <- stats::uniroot(function(t) mixguide:::start_by_convexity(A1, t, schedule_ou()) - .25,
                            c(.1, 5))$root
  budget <- error_budget(A1, sampler_exponential(steps, TRUE, "uniform"), horizon = horizon,
                         measure = FALSE)
  bound <- budget$value[budget$statement == "bound without L, integrated"]
  expect_lte(bound, .5)
  expect_gt(bound, .2)
})

test_that("plans are made for divergences, other schedules, given horizons and own samplers", {
  A1 <- named_mixture("A1")
  own <- list(mine = function(steps, grid, end) sampler_heun(steps, grid, end))
  plan <- plan_sampler(A1, .01, "kl", own, "uniform", schedule_vp(), horizon = .8)
  expect_identical(plan$horizon, .8)
  expect_identical(plan$tried$sampler, "mine")
  expect_lte(sampler_error(A1, plan$sampler, schedule_vp(), .8)$estimate[1], .01)
  # point masses, down to some noise
  points <- gaussmix(c(.5, .5), c(-1, 1), 0)
  plan <- plan_sampler(points, .1, end = .05, samplers = "sampler_em", grids = "quadratic")
  expect_lte(plan$error$estimate, .1)
  expect_identical(plan$sampler$end, .05)
  plan <- plan_sampler(points, .05, end = .1, samplers = "sampler_heun", grids = "quadratic")
  expect_lte(plan$error$estimate, .05)
  # a schedule of a thousand steps, whose times are numbers that the OU process does not get to
  discrete <- schedule_ddpm(1 - seq(1e-4, .02, length.out = 1000))
  plan <- plan_sampler(A1, .05, samplers = "sampler_heun", grids = "uniform", schedule = discrete)
  expect_lte(plan$error$estimate, .05)
  expect_gt(plan$guaranteed, 100)
  # one Gaussian, in closed form
  one <- gaussmix(1, t(c(1, 2)), diag(c(.5, 2)))
  plan <- plan_sampler(one, .01, "kl", "sampler_heun", "uniform")
  expect_identical(plan$error$method, "exact")
  expect_lte(plan$error$estimate, .01)
})

test_that("where nothing meets the error the plan says so", {
  plan <- plan_sampler(named_mixture("A1"), 1e-5, samplers = "sampler_ddim", grids = "uniform",
                       most = 20)
  expect_null(plan$sampler)
  expect_output(print(plan), "no sampler that was tried meets it")
  expect_mixguide_error(autoplot(plan), "object")
  expect_mixguide_error(plan_sampler(named_mixture("A1"), 2), "error")
  expect_mixguide_error(plan_sampler(named_mixture("A1"), samplers = "sampler_none"), "samplers")
  expect_mixguide_error(plan_sampler(named_mixture("A1"), samplers = list(1)), "samplers")
  expect_mixguide_error(plan_sampler(named_mixture("A1"), grids = "some"), "grids")
  expect_error(plan_sampler(gaussmix(1, 0, 0)), class = "mixguide_error_singular")
})

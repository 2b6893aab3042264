m <- gaussmix(c(.3, .7), c(-1, 1), .5, class = c("a", "b"))
boom <- function(...) stop("boom")
late <- function(t) if (any(t < 1)) stop("boom") else 0 * t

test_that("a function of the user's that fails is an error of ours that names it and the time", {
  fails <- function(call, words) {
    expect_error(call, paste0(words, ".*boom"), class = "mixguide_error_function")
  }
  g <- guidance("a", 2)
  fails(guided_sample(m, 5, guidance("a", function(t) late(t))), "`strength` failed at t = ")
  fails(score(m, 0, .5, guidance = guidance("a", function(t) late(t))), "`strength` .* t = 0.5")
  for (part in c("bias", "scale", "noise")) {
    error <- do.call(score_error, stats::setNames(list(function(t) boom()), part))
    fails(guided_sample(m, 5, g, score_error = error), paste0("`", part, "` failed at t = 5"))
  }
  step <- function(k, times, schedule) if (k == 2) boom() else list(op_linear("x", c(x = 1)))
  own <- sampler("own", step, steps = 3, stochastic = FALSE)
  fails(guided_sample(m, 5, g, own), "`step` failed at step 2, t = ")
  fails(guided_sample(m, 5, g, noise = boom), "`noise` failed")
  fails(mismatch(m, model = function(x, t) boom(), n = 10), "`model` failed at t = ")
  fails(convergence_order(m, samplers = boom, steps = c(4, 8)), "`samplers` failed")
  a <- function(t) if (any(t > 1)) boom() else exp(-t)
  process <- schedule(a, function(t) 1 - exp(-2 * t), horizon = .9)
  fails(diffuse(m, 3, process), "`a` failed at t = 3")
})

test_that("what such a function must not return is refused, and so is one of other arguments", {
  a <- function(t) ifelse(t > 1, NaN, exp(-t))
  process <- schedule(a, function(t) 1 - exp(-2 * t), horizon = .9)
  expect_error(diffuse(m, 3, process), "`a` must be.*NaN at t = 3", class = "mixguide_error")
  minus <- score_error(noise = function(t) -1)
  expect_error(guided_sample(m, 5, score_error = minus), "`noise`.*>= 0", class = "mixguide_error")
  expect_error(sampler("own", function() list(), 3), "`step`", class = "mixguide_error")
  expect_error(corrector("own", function() list()), "`step`", class = "mixguide_error")
})

test_that("an object that was changed by hand is refused where it enters", {
  objects <- list(guidance = guidance("a", 2), sampler = sampler_ddim(3),
                  score_error = score_error(.1))
  for (name in names(objects)) {
    for (field in names(objects[[name]])) {
      changed <- objects[[name]]
      changed[field] <- list(quote(x))
      arguments <- stats::setNames(list(m, 5, changed), c("", "", name))
      call <- function() do.call(guided_sample, arguments)
      expect_error(call(), "changed, or is damaged", class = "mixguide_error", label = field)
    }
  }
})

test_that("the end of a time limit is no failure of a function or of what is tried", {
  limited <- function(value) {
    on.exit(setTimeLimit())
    setTimeLimit(elapsed = .3, transient = TRUE)
    value
  }
  sleeps <- guidance("a", function(t) {
    repeat Sys.sleep(.01)
  })
  expect_error(limited(guided_sample(m, 5, sleeps)), "time limit")
  expect_error(limited(if_error(repeat Sys.sleep(.01), function(e) "another value")), "time limit")
  expect_identical(if_error(stop("no"), conditionMessage), "no")
})

test_that("other arguments that were let through are refused", {
  refused <- function(call, arg) expect_error(call, paste0("`", arg, "`"), class = "mixguide_error")
  refused(score(m, 0, 1, guidance = function(t) 2), "guidance")
  refused(marginal(m, sum), "variables")
  refused(marginal(m, observation(H = sum)), "H")
  refused(marginal(m, sum), "variables")
  refused(plan_sampler(m, grids = character()), "grids")
  refused(schedule_ddpm(quote(a + b)), "alpha")
  refused(split_threshold(1, 3, strength = 1, schedule = list()), "schedule")
  refused(guided_summary(m, 2^53, guidance("a", 1)), "n")
  plane <- gaussmix(c(.5, .5), cbind(0:1, 0), 1)
  refused(path_kl(m, sampler = sampler_em(3), score_error = score_error(model = plane)), "model")
  refused(mismatch(standardise(m), model = plane, n = 10), "model")
  huge <- gaussmix(c(.5, .5), c(-1e200, 1e200), 1e100, class = c("a", "b"))
  refused(step_condition(huge, "a"), "mixture")
  expect_identical(guidance("a", 2, interval = t(c(.1, 1)))$interval, t(c(.1, 1)))
})

test_that("a component of no weight plays no part in quadrature, and no bound makes no budget", {
  used <- gaussmix(c(.2, .8), cbind(c(-1, 1), 0:1), list(1, 2), class = c("a", "b"))
  more <- gaussmix(c(.2, 0, .8), cbind(c(-1, 9, 1), c(0, 9, 1)), list(1, 0, 2),
                   class = c("a", "a", "b"))
  expect_equal(confidence(more)$estimate, confidence(used)$estimate, tolerance = 1e-12)
  none <- error_budget(m, sampler = sampler_ddpm(5, variance = "matched"), measure = FALSE)
  expect_identical(nrow(none), 0L)
  expect_output(print(none), "error_budget")
  expect_error(autoplot(none), class = "mixguide_error")
})

test_that("a map of which rounding is left has no density; a plan knows where a = 0", {
  points <- gaussmix(c(.3, .7), c(-1, 1), 0, class = c("a", "b"))
  expect_warning(law <- guided_law(points, guidance("a", 1), sampler_ddim()), "do not see")
  expect_match(row_of(summary(law), "folded")$note, "rounding is left")
  expect_error(branch_density(law$x[, 1], law$x[, 1], law$branch), "rounding is left",
               class = "mixguide_error_folds")
  forgets <- schedule_ddpm(c(1 - seq(1e-4, .02, length.out = 29), 0))
  expect_identical(plan_horizons(m, forgets, 0, c(.1, .01), "total_variation", 100), c(30, 30))
  expect_identical(plan_cost(sampler_heun(3), forgets, 30), Inf)
})

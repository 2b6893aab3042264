# The exact flow of one variable keeps the order of the points: it leads each quantile of the law at
# the horizon to the same quantile at the end.
line_flow <- function(mixture, x, horizon, end) {
  qgaussmix(pgaussmix(x, diffuse(mixture, horizon)), diffuse(mixture, end))
}

# Root mean square distance from the exact ends, in their standard deviations.
line_error <- function(mixture, sampler, horizon, end) {
  x <- matrix(qnorm(ppoints(2000)))
  exact <- line_flow(mixture, drop(x), horizon, end)
  run <- guided_sample(mixture, 2000, sampler = sampler, start = x, horizon = horizon,
                       log_density = "none")
  sqrt(mean((drop(run$x) - exact)^2)) / sd(exact)
}

test_that("the best grid is nearer to the exact flow, by the errors that it states", {
  for (case in list(list("D3", sampler_dpmpp_3m, 3), list("A2", sampler_dpmpp_2m, 3),
                    list("A2", sampler_ddim, 1.3))) {
    mixture <- named_mixture(case[[1]])
    make <- case[[2]]
    found <- best_grid(mixture, sampler = make(10, "logsnr", end = .01), horizon = 5, n = 512,
                       key = c(1, 2))
    expect_true(all(diff(found$times) < 0))
    expect_identical(found$times[c(1, 11)], c(5, .01))
    expect_identical(found$own, time_grid(10, 5, "logsnr", .01))
    own <- line_error(mixture, make(10, "logsnr", end = .01), 5, .01)
    best <- line_error(mixture, found$sampler, 5, .01)
    expect_lt(best, own / case[[3]])
    # the estimates are right within their errors; the tails of the squares are heavy
    gap <- abs(found$error$estimate - c(own, best))
    expect_true(all(gap < 3 * found$error$se + .2 * c(own, best)))
    expect_true(all(found$error$se < found$error$estimate / 3))
  }
})

test_that("half as many steps do on iris", {
  fit <- as_gaussmix(Species ~ ., iris)
  d <- diffusion(fit, guidance("versicolor", 1), horizon = 5, key = c(3, 4))
  best <- best_grid(d, sampler = sampler_dpmpp_3m(10, "logsnr", end = .003), n = 128)
  ends <- function(sampler) {
    run <- quiet_sample(d, 500, sampler = sampler, key = c(5, 6), log_density = "none")
    scale(run$x, FALSE, apply(iris[iris$Species == "versicolor", 1:4], 2, sd))
  }
  exact <- ends(sampler_rk4(100, "logsnr", end = .003))
  error <- function(sampler) sqrt(mean((ends(sampler) - exact)^2))
  few <- error(best$sampler)
  expect_lt(few, error(sampler_dpmpp_3m(10, "logsnr", end = .003)) / 5)
  expect_lt(few, 1.5 * error(sampler_dpmpp_3m(20, "logsnr", end = .003)))
})

test_that("the search begins at the sampler's own grid, which comes back where nothing is better", {
  m <- named_mixture("A2")
  d <- diffusion(m, sampler = sampler_heun(6, "quadratic", end = .1), key = c(1, 2))
  warp <- grid_warp(d)
  expect_equal(warp(c(0, 0)), d$times, tolerance = 1e-14)
  expect_equal(warp(double(4)), d$times, tolerance = 1e-14)
  # the logarithms of the factors are those of the knots
  even <- grid_warp(update(d, sampler = sampler_heun(5, "uniform", end = .1)))(log(c(2, 4)))
  expect_equal(diff(even)[c(3, 5)] / diff(even)[1], c(2, 4), tolerance = 1e-12)
  # times of one's own
  given <- c(4, 3, 1, .5, .1)
  own <- diffusion(m, sampler = sampler_heun(grid = given), key = c(1, 2))
  expect_equal(grid_warp(own)(c(0, 0)), given, tolerance = 1e-14)
  found <- best_grid(own, n = 64)
  expect_length(found$times, 5)
  expect_lt(found$error$estimate[2], found$error$estimate[1])
  expect_identical(as.data.frame(found), data.frame(step = 0:4, own = given, best = found$times))
  # nothing to choose
  one <- best_grid(d, sampler = sampler_heun(1, end = .1), n = 64)
  expect_equal(one$times, c(d$horizon, .1))
  expect_identical(one$error$estimate[1], one$error$estimate[2])
})

test_that("it takes other schedules, ends, starts, guidance and scores", {
  m <- gaussmix(c(.4, .6), cbind(x = c(-1, 1), y = c(0, .5)), .2, class = c("a", "b"))
  better <- function(...) {
    error <- best_grid(m, ..., n = 64, key = c(1, 2))$error
    expect_lt(error$estimate[2], error$estimate[1])
  }
  better("a", sampler_ddim(5))
  better(guidance("a", 1, power = 1), sampler_ddim(5))
  better(guidance("a", function(t) exp(-t)), sampler_dpm_2(4, end = .01), start = "exact")
  better(sampler = sampler_dpmpp_2m(5, "karras", end = .01), schedule = schedule_ve())
  better(sampler = sampler_dpmpp_2m(5), schedule = schedule_vp(), start = diffuse(m, 1))
  model <- score_model(function(x, t, class) score(m, x, t), variables = c("x", "y"))
  # the same scores, so the same grid
  ddim <- sampler_ddim(4)
  expect_equal(best_grid(model, sampler = ddim, n = 32, key = c(1, 2))$times,
               best_grid(m, sampler = ddim, n = 32, key = c(1, 2))$times, tolerance = 1e-6)
})

test_that("what a grid cannot be chosen for is refused", {
  m <- named_mixture("A2")
  ddim <- sampler_ddim(4)
  bad <- function(arg, ...) expect_mixguide_error(best_grid(m, ...), arg)
  bad("sampler", sampler = sampler_em(4))
  bad("sampler", sampler = sampler_ddim(NULL), schedule = schedule_etc(10))
  bad("sampler", sampler = ddim, score_error = score_error(noise = .1))
  bad("start", sampler = ddim, start = matrix(0, 10))
  bad("guidance", guidance = guidance("1", 1, rule = "cfg_zero"), sampler = ddim)
  bad("guidance", guidance = guidance("1", strength_profile("linear", 2)), sampler = ddim)
  bad("n", sampler = ddim, n = 1)
  bad("schedule", sampler = ddim, schedule = schedule_flow(), horizon = 1)
  points <- gaussmix(c(1, 1), c(-1, 1), 0)
  expect_error(best_grid(points, sampler = ddim), class = "mixguide_error_singular")
})

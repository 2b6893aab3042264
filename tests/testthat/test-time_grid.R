types <- c("uniform", "quadratic", "logsnr", "karras", "exponential")

test_that("every grid falls from the horizon to the end in the given number of steps", {
  for (schedule in all_schedules()) {
    for (type in types) {
      for (steps in c(1, 2, 7, 200)) {
        for (end in schedule$horizon * c(1e-5, .1)) {
          times <- time_grid(steps, type = type, end = end, schedule = schedule)
          expect_length(times, steps + 1)
          expect_identical(times[c(1, steps + 1)], as.double(c(schedule$horizon, end)))
          expect_true(all(diff(times) < 0), info = paste(schedule$name, type, steps, end))
        }
      }
    }
  }
})

test_that("the spacing of each grid is the one documented", {
  expect_equal(time_grid(4, 5, "uniform"), c(5, 3.75, 2.5, 1.25, 0))
  expect_equal(time_grid(4, 5, "quadratic"), 5 * c(1, .75, .5, .25, 0)^2)
  expect_identical(time_grid(4, 5), time_grid(4, 5, "quadratic"))
  expect_equal(time_grid(2, 5, "quadratic", end = 1), c(5, 2, 1))

  times <- time_grid(20, type = "logsnr", end = .01, schedule = schedule_cosine())
  cosine <- schedule_cosine()
  logsnr <- log(cosine$a(times) / sqrt(cosine$b2(times)))
  expect_equal(diff(logsnr), rep(diff(range(logsnr)) / 20, 20), tolerance = 1e-10)

  times <- time_grid(100, 3, "exponential", floor = .05)
  ratio <- -diff(times) / pmin(pmax(times[-101], .05), 1)
  expect_equal(ratio, rep(ratio[1], 100), tolerance = 1e-10)
  times <- time_grid(100, 3, "exponential", end = 1e-4)
  ratio <- -diff(times) / pmin(times[-101], 1)
  expect_equal(ratio, rep(ratio[1], 100), tolerance = 1e-10)
  # Chen, Lee and Lu's rule for L-Lipschitz scores, followed down with the h that was found
  L <- 15.2
  times <- time_grid(69, 3, "exponential", floor = 1 / (4 * L))
  h <- (3 - times[2]) / 1
  expect_lt(abs(h * 69 / (3 + log(4 * L)) - 1), .05)
  walk <- 3
  for (k in 1:69) walk <- c(walk, walk[k] - h * min(max(walk[k], 1 / (4 * L)), 1))
  expect_equal(walk, times, tolerance = 1e-10)
  # with as many steps as the horizon is long, steps exceed the remaining time
  expect_true(all(diff(time_grid(2, 5, "exponential", end = .01)) < 0))
})

test_that("the grid of Karras et al. is theirs in sigma = b/a", {
  for (schedule in all_schedules()) {
    end <- 1e-3 * schedule$horizon
    times <- time_grid(12, type = "karras", end = end, schedule = schedule)
    sigma <- function(t) sqrt(schedule$b2(t)) / schedule$a(t)
    range <- sigma(c(schedule$horizon, end))^(1 / 7)
    expect_equal(sigma(times), (range[1] + 0:12 / 12 * (range[2] - range[1]))^7, tolerance = 1e-9,
                 info = schedule$name)
  }
  edm <- schedule(function(t) 1 + 0 * t, function(t) t^2, max = 80)
  times <- time_grid(17, type = "karras", end = .002, schedule = edm)
  expect_equal(times, (80^(1 / 7) + 0:17 / 17 * (.002^(1 / 7) - 80^(1 / 7)))^7, tolerance = 1e-12)
  # their algorithm 1 without churn, on one Gaussian: d = (x - D)/sigma, D = x + sigma^2 s
  m <- gaussmix(1, .5, .3)
  run <- guided_sample(m, 5, NULL, sampler_heun(17, "karras", .002), edm, start = matrix(80 * -2:2))
  x <- 80 * -2:2
  slope <- function(x, t) -t * drop(score(m, x, t, edm))
  for (k in 1:17) {
    h <- times[k + 1] - times[k]
    d <- slope(x, times[k])
    x <- x + h * (d + slope(x + h * d, times[k + 1])) / 2
  }
  expect_equal(drop(run$x), x, tolerance = 1e-10)
})

test_that("whole times of a discrete schedule are hit exactly", {
  uniform <- function(...) time_grid(..., type = "uniform", schedule = schedule_ddpm(rep(.99, 300)))
  expect_identical(uniform(300), as.double(300:0))
  expect_identical(uniform(299, end = 1), as.double(300:1))
  expect_identical(uniform(100), as.double(seq(300, 0, -3)))
})

test_that("times given by the user are checked and returned", {
  expect_identical(time_grid(2, 5, c(5, 1, 0)), c(5, 1, 0))
})

test_that("bad input to time_grid() names the argument", {
  bad <- function(code, arg) {
    error <- expect_error(code, class = "mixguide_error")
    expect_match(conditionMessage(error), paste0("^`", arg, "`"))
  }
  bad(time_grid(0, 5), "steps")
  bad(time_grid(2.5, 5), "steps")
  bad(time_grid(NaN, 5), "steps")
  bad(time_grid(NULL, 5), "steps")
  bad(time_grid(5, Inf), "horizon")
  bad(time_grid(5, 0), "horizon")
  bad(time_grid(5, -1), "horizon")
  bad(time_grid(5, NaN), "horizon")
  bad(time_grid(5, "5"), "horizon")
  bad(time_grid(5, 2, schedule = schedule_vp()), "horizon")
  bad(time_grid(5, 1, "logsnr", .01, schedule_flow()), "horizon")
  bad(time_grid(5, 1, "karras", .01, schedule_flow()), "horizon")
  bad(time_grid(5, 5, "karras"), "end")
  bad(time_grid(5, 5, "cosine"), "type")
  bad(time_grid(5, 5, TRUE), "type")
  bad(time_grid(5, 5, end = 5), "end")
  bad(time_grid(5, 5, end = -1), "end")
  bad(time_grid(5, 5, end = NA), "end")
  bad(time_grid(5, 5, "logsnr"), "end")
  bad(time_grid(5, 5, "exponential", floor = 0), "floor")
  bad(time_grid(5, 5, "exponential", floor = NaN), "floor")
  bad(time_grid(5, 5, schedule = 1), "schedule")
  bad(time_grid(2, 5, c(5, 1, 2)), "type")
  bad(time_grid(2, 5, c(5, NaN, 0)), "type")
  bad(time_grid(3, 5, c(5, 1, 0)), "type")
  bad(time_grid(2, 4, c(5, 1, 0)), "type")
  bad(time_grid(2, 5, c(5, 1, 0), end = .1), "type")
})

test_that("a grid that is adapted to a mixture has equal steps in both shares, and gains", {
  D3 <- named_mixture("D3")
  times <- time_grid(12, 4, "uniform", .1, mixture = D3)
  expect_length(times, 13)
  expect_identical(times[c(1, 13)], c(4, .1))
  # the shares, by quadrature
  h <- vapply(times, function(t) {
    at <- diffuse(D3, t)
    at$class <- as.character(seq_along(at$weights))
    side <- seq(-12, 12, by = .01)
    p <- posterior(at, side)
    sum(dgaussmix(side, at) * -rowSums(ifelse(p > 0, p * log(p), 0))) * .01
  }, 0)
  share <- ((h[1] - h) / (h[1] - h[13]) + (4 - times) / 3.9) / 2
  expect_lt(max(abs(share - 0:12 / 12)), .01)
  # deterministic, and nothing of R's generator is drawn
  set.seed(1)
  before <- .Random.seed
  expect_identical(time_grid(12, 4, "uniform", .1, mixture = D3), times)
  expect_identical(.Random.seed, before)
  # one component has nothing to decide
  one <- gaussmix(1, 0, 1)
  expect_equal(time_grid(7, 5, "logsnr", .01, mixture = one), time_grid(7, 5, "logsnr", .01),
               tolerance = 1e-3)
  # point masses, and zero terminal signal-to-noise ratio
  points <- gaussmix(c(1, 1), c(-1, 1), 0)
  expect_true(all(diff(time_grid(5, 5, mixture = points)) < 0))
  ddpm <- schedule_ddpm(c(rep(.9, 9), 0))
  expect_true(all(diff(time_grid(5, type = "uniform", schedule = ddpm, mixture = D3)) < 0))
  expect_error(time_grid(5, mixture = 1), class = "mixguide_error_input")
  # exact errors of DDIM on A2 and D3
  for (mixture in list(named_mixture("A2"), D3)) {
    error <- function(grid) {
      at <- guided_error(mixture, sampler = sampler_ddim(20, grid), horizon = 5)
      at$estimate[at$quantity == "total_variation"]
    }
    expect_lt(error(time_grid(20, 5, mixture = mixture)), error(time_grid(20, 5)))
  }
  # ends of iris, from the same starts
  fit <- as_gaussmix(Species ~ ., iris)
  ends <- function(sampler) {
    quiet_sample(fit, 500, sampler = sampler, horizon = 5, key = c(1, 1), log_density = "none")$x
  }
  exact <- ends(sampler_rk4(300, end = .003))
  off <- function(...) {
    x <- ends(sampler_heun(20, time_grid(20, 5, "logsnr", .003, ...), .003))
    sqrt(mean(scale(x - exact, FALSE, apply(exact, 2, sd))^2))
  }
  expect_lt(off(mixture = fit), off() / 2)
})

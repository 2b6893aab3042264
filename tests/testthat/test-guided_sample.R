m <- gaussmix(c(.3, .3, .4), cbind(u = c(-1, 0, 2), v = c(0, 1, 0)),
              list(.5, c(1, .3), matrix(c(.6, .2, .2, .4), 2)), class = c("a", "b", "a"))
line <- gaussmix(c(.5, .5), c(1, -1), 1, class = c("a", "b"))
quick <- sampler_ddim(20)

test_that("a run has the parts that it says, under their names", {
  run <- guided_sample(m, 7, guidance("a", 2), quick, trajectory = TRUE)
  expect_s3_class(run, "guided_sample")
  expect_identical(dimnames(run$x), list(NULL, c("u", "v")))
  expect_identical(dim(run$x), c(7L, 2L))
  expect_length(run$log_density, 7)
  expect_length(run$confidence, 7)
  expect_type(run$folded, "logical")
  expect_length(run$folded, 7)
  expect_identical(run$times, sampler_times(quick, schedule_ou()))
  expect_identical(run$horizon, 5)
  expect_identical(dim(run$trajectory), c(21L, 7L, 2L))
  expect_identical(dimnames(run$trajectory)[[3]], c("u", "v"))
  expect_identical(run$density_method, "map")
  expect_identical(run$start, "normal")
  expect_identical(run$mixture, m)
  expect_identical(run$confidence_time, 0)
  expect_identical(as.matrix(run), run$x)
  plain <- guided_sample(m, 7, sampler = sampler_ddpm(5))
  for (part in c("log_density", "confidence", "folded", "trajectory", "guidance")) {
    expect_null(plain[[part]])
    expect_true(part %in% names(plain))
  }
  expect_identical(plain$density_method, "none")
})

test_that("the confidence is the posterior of the class at the result", {
  run <- guided_sample(m, 50, guidance("a", 1), quick)
  expect_equal(run$confidence, posterior(m, run$x)[, "a"], tolerance = 1e-12, ignore_attr = TRUE)
  expect_equal(exp(run$log_confidence), run$confidence, tolerance = 1e-15)
  early <- guided_sample(m, 50, guidance("b", 1), sampler_ddpm(10, end = .3))
  expect_equal(early$confidence, posterior(m, early$x, .3)[, "b"], tolerance = 1e-12,
               ignore_attr = TRUE)
  both <- guided_sample(m, 50, guidance(c("a", "b"), 1), quick)
  expect_identical(both$confidence, rep(1, 50))
  # the logarithm stays exact if the number itself rounds to 0
  far <- guided_sample(line, guidance = guidance("b", -1), start = matrix(c(50, 500)),
                       sampler = sampler_ddim(1, end = 4.99))
  expect_equal(far$log_confidence, plogis(-2 * exp(-4.99) * far$x[, 1], log.p = TRUE),
               tolerance = 1e-10)
})

test_that("set.seed() rules, and a run takes one key from R's random numbers", {
  set.seed(1)
  one <- guided_sample(m, 5, guidance("a"), sampler_ddpm(5))
  after <- runif(1)
  set.seed(1)
  two <- guided_sample(m, 5, guidance("a"), sampler_ddpm(5))
  expect_identical(two$x, one$x)
  expect_false(identical(guided_sample(m, 5, guidance("a"), sampler_ddpm(5))$x, one$x))
  # a run advances R's generator by the same amount for any n, and not at all if the key is given
  set.seed(1)
  guided_sample(line, 1000, sampler = sampler_rk4(3))
  expect_identical(runif(1), after)
  set.seed(1)
  state <- .Random.seed
  again <- guided_sample(m, 5, guidance("a"), sampler_ddpm(5), key = one$key)
  expect_identical(.Random.seed, state)
  expect_identical(again$x, one$x)
  set.seed(1)
  key <- draw_key()
  expect_identical(runif(1), after)
  expect_identical(key, one$key)
  # errors leave R's generator alone
  set.seed(1)
  state <- .Random.seed
  try(guided_sample(m, -1), silent = TRUE)
  expect_true(identical(.Random.seed, state))
})

test_that("runs of the same key meet the same noise", {
  one <- guided_sample(m, 30, guidance("a", 0), sampler_ddpm(20), key = c(8, 9), trajectory = TRUE)
  two <- guided_sample(m, 30, guidance("b", 3), sampler_ddpm(20), key = c(8, 9), trajectory = TRUE)
  expect_identical(one$trajectory[1, , ], two$trajectory[1, , ])
  # a longer run begins with the particles of the shorter one
  longer <- guided_sample(m, 40, guidance("a", 0), sampler_ddpm(20), key = c(8, 9))
  expect_identical(longer$x[1:30, ], one$x)
  expect_lt(var(two$x[, 1] - one$x[, 1]), var(one$x[, 1]))
})

test_that("n = 0 and n = 1 have the right shapes", {
  for (sampler in list(quick, sampler_em(5), sampler_dpmpp_2m(5))) {
    for (mixture in list(m, line, gaussmix(c(.5, .5), diag(2), matrix(c(2, 1, 1, 2), 2),
                                           class = c("a", "b")))) {
      d <- mixture_dim(mixture)
      none <- guided_sample(mixture, 0, guidance("a", 1), sampler, trajectory = TRUE)
      expect_identical(dim(none$x), c(0L, as.integer(d)))
      expect_identical(dim(none$trajectory), c(length(none$times), 0L, as.integer(d)))
      expect_identical(none$confidence, double())
      expect_output(print(none), "0 particles")
      expect_output(print(summary(none)), "0 particles")
      expect_identical(nrow(as.data.frame(none)), 0L)
      one <- guided_sample(mixture, 1, guidance("a", 1), sampler, trajectory = TRUE)
      expect_identical(dim(one$x), c(1L, as.integer(d)))
      expect_identical(dim(one$trajectory), c(length(one$times), 1L, as.integer(d)))
      expect_output(print(one), "particle")
      expect_output(print(summary(one)), "mean")
      expect_identical(nrow(as.data.frame(one)), 1L)
    }
  }
  empty <- guided_sample(m, start = matrix(0, 0, 2), guidance = guidance("a"))
  expect_identical(dim(empty$x), c(0L, 2L))
})

test_that("particles may start anywhere", {
  x0 <- cbind(u = c(0, 1), v = c(2, 3))
  run <- guided_sample(m, guidance = guidance("a"), sampler = quick, start = x0)
  expect_identical(run$start, "given")
  expect_identical(nrow(run$x), 2L)
  expect_null(run$log_density)
  expect_identical(guided_sample(m, guidance = guidance("a"), sampler = quick,
                                 start = as.data.frame(x0))$x, run$x)
  expect_identical(guided_sample(line, sampler = quick, start = c(1, 2, 3))$x,
                   guided_sample(line, sampler = quick, start = cbind(1:3))$x)
  # the noise does not depend on the start
  one <- guided_sample(m, sampler = sampler_em(5), start = x0, key = c(1, 2))
  two <- guided_sample(m, sampler = sampler_em(5), start = 0 * x0, key = c(1, 2))
  expect_false(identical(one$x, two$x))
  # "exact" is the diffused class; unguided fine steps then give the mixture itself
  set.seed(301)
  run <- guided_sample(m, 20000, guidance("a"), sampler_rk4(30, "quadratic"), horizon = 2,
                       start = "exact")
  truth <- moments(m, class = "a")
  expect_lt(max(abs(colMeans(run$x) - truth$mean) / sqrt(diag(truth$cov) / 20000)), 5)
  expect_equal(run$log_density, dgaussmix(run$x, class_law(m, "a"), log = TRUE),
               tolerance = 1e-2)
  expect_identical(run$start, "exact")
  # a mixture as the law of the start, also one of point masses
  law <- gaussmix(1, c(1, 2), .25)
  run <- guided_sample(m, 20000, sampler = sampler_ddim(1, end = 4.999), start = law)
  expect_lt(max(abs(colMeans(run$x) - c(1, 2)) / sqrt(.25 / 20000)), 6)
  run <- guided_sample(m, 4, sampler = quick, start = gaussmix(1, c(1, 2), 0), log_density = "none")
  expect_identical(run$x, guided_sample(m, sampler = quick, start = cbind(rep(1, 4), 2))$x)
  # without variance preservation the noise has the variance of the horizon
  run <- guided_sample(line, 20000, sampler = sampler_ddim(1, grid = c(1, .9999)),
                       schedule = schedule_ve(), trajectory = TRUE)
  expect_lt(abs(var(run$trajectory[1, , 1]) / schedule_ve()$b2(1) - 1), 5 * sqrt(2 / 20000))
  expect_identical(nrow(run$x), 20000L)
})

test_that("the noise may be given", {
  noise <- array(rnorm(4 * 2 * 6), c(4, 2, 6))
  run <- guided_sample(m, 4, guidance("a", 1), sampler_em(5), noise = noise)
  asked <- NULL
  again <- guided_sample(m, 4, guidance("a", 1), sampler_em(5), noise = function(n, d, m) {
    asked <<- c(n, d, m)
    noise
  })
  expect_identical(asked, c(4, 2, 6))
  expect_identical(again$x, run$x)
  expect_identical(guided_sample(m, 4, guidance("a", 1), sampler_em(5), noise = noise,
                                 key = c(1, 2))$x, run$x)
  # antithetic noise on a symmetric mixture gives mirrored particles
  mirror <- guided_sample(gaussmix(c(1, 1), rbind(c(1, 1), c(-1, -1)), .5), 4,
                          sampler = sampler_em(5), noise = noise)
  other <- guided_sample(gaussmix(c(1, 1), rbind(c(1, 1), c(-1, -1)), .5), 4,
                         sampler = sampler_em(5), noise = -noise)
  expect_equal(other$x, -mirror$x, tolerance = 1e-13)
  none <- guided_sample(m, 0, sampler = sampler_em(5), noise = array(0, c(0, 2, 6)))
  expect_identical(dim(none$x), c(0L, 2L))
  expect_identical(dim(guided_sample(line, 4, sampler = sampler_em(5), noise = matrix(0, 4, 6))$x),
                   c(4L, 1L))
})

test_that("the log-density comes by the method asked for", {
  method <- function(...) guided_sample(m, 3, guidance("a", 1), ...)$density_method
  expect_identical(method(quick), "map")
  expect_identical(method(quick, log_density = "divergence"), "divergence")
  expect_identical(method(quick, log_density = "none"), "none")
  expect_identical(method(sampler_em(5)), "none")
  expect_identical(method(sampler_dpmpp_2m(5)), "map")
  # d evaluations of the Jacobian per step are too many for a default
  wide <- gaussmix(c(1, 1), rbind(rep(0, 40), rep(1, 40)), 1)
  expect_identical(guided_sample(wide, 2, sampler = quick, reduce = FALSE)$density_method, "none")
  run <- guided_sample(wide, 2, sampler = quick, log_density = "map")
  expect_identical(run$density_method, "map")
  expect_null(guided_sample(m, 3, sampler = quick, log_density = "divergence")$folded)
  expect_null(guided_sample(m, 3, sampler = quick, start = matrix(0, 3, 2))$log_density)
})

test_that("point masses are reached, with the confidence of the last noise", {
  points <- gaussmix(c(.5, .5), rbind(c(-2, 0), c(2, 0)), 0, class = c("l", "r"))
  run <- guided_sample(points, 200, guidance("r", 0), sampler_ddim(100, grid = "quadratic"))
  # the last step of DDIM, to t = 0, goes to the denoised point
  expect_lt(max(abs(run$x - rep(c(2, 0), each = 200))), 1e-8)
  expect_identical(run$confidence_time, run$times[100])
  expect_true(all(run$confidence > .999))
  expect_error(guided_sample(points, 5, sampler = sampler_heun(5)), class = "mixguide_error")
  expect_false(anyNA(guided_sample(points, 5, sampler = sampler_heun(5, end = .01))$x))
})

test_that("particles that overflow are counted in a warning", {
  expect_warning(run <- guided_sample(line, 10, guidance("a", 1e200), sampler_euler(30)),
                 "overflowed")
  expect_identical(dim(run$x), c(10L, 1L))
})

test_that("a run prints, sums up and becomes a data frame", {
  set.seed(302)
  run <- guided_sample(m, 400, guidance("a", 2), quick)
  expect_output(print(run), "400 particles in 2 dimensions")
  expect_output(print(run), "towards a, strength 2 (guidance scale 3)", fixed = TRUE)
  expect_output(print(run), "confidence: 0\\.\\d+ \\(0\\.0")
  expect_output(expect_false(withVisible(print(run))$visible))
  s <- summary(run)
  expect_equal(s$variables$mean, colMeans(run$x), ignore_attr = TRUE)
  expect_identical(rownames(s$variables), c("u", "v"))
  expect_output(print(s), "variable mean +sd")
  frame <- as.data.frame(run)
  expect_identical(names(frame), c("u", "v", ".confidence", ".log_density"))
  expect_identical(frame$u, run$x[, "u"])
  expect_identical(names(as.data.frame(guided_sample(line, 3, sampler = sampler_em(5)))), "x")
  expect_output(print(guided_sample(line, 3, sampler = sampler_em(5))), "guidance: none")
})

test_that("bad arguments are answered by name", {
  bad <- function(arg, ...) {
    arguments <- list(mixture = m, n = 4, guidance = guidance("a"), sampler = sampler_em(5))
    changed <- list(...)
    arguments[names(changed)] <- changed
    expect_mixguide_error(do.call(guided_sample, arguments), arg)
  }
  for (mixture in list(NULL, 1, list(), iris)) bad("mixture", mixture = mixture)
  for (n in list(-1, 1.5, NA, NaN, Inf, "3", NULL, c(1, 2), 3e9)) bad("n", n = n)
  for (guide in list("z", 1, list(), TRUE)) bad("guidance", guidance = guide)
  for (sampler in list("ddim", sampler_ddim, list())) bad("sampler", sampler = sampler)
  for (schedule in list(NULL, "ou", schedule_ou, list())) bad("schedule", schedule = schedule)
  for (horizon in list(Inf, -1, 0, NA, NaN, "5", c(1, 2))) bad("horizon", horizon = horizon)
  # DDIM starts there
  bad("sampler", horizon = 1, schedule = schedule_flow(), sampler = sampler_euler(5))
  bad("horizon", horizon = 1.01, schedule = schedule_vp())
  for (start in list(NULL, "noise", matrix(0, 3, 3), cbind(NA, 0), cbind("a", "b"), list(0, 0),
                     gaussmix(1, 0, 1), cbind(Inf, 0), cbind(-Inf, 0))) {
    bad("start", start = start)
  }
  for (noise in list(1, "a", array(0, c(4, 2, 5)), array(NA_real_, c(4, 2, 6)),
                     array(Inf, c(4, 2, 6)), function(n, d, m) 1, function(n, d, m) NULL,
                     matrix(0, 4, 12), list())) {
    bad("noise", noise = noise)
  }
  for (how in list("other", NA, 1, NULL, "map", "divergence")) bad("log_density", log_density = how)
  bad("log_density", log_density = "divergence", sampler = sampler_dpmpp_2m(5))
  bad("log_density", log_density = "map", sampler = quick, start = matrix(0, 3, 2))
  for (flag in list(NA, "yes", 1, NULL, c(TRUE, FALSE))) bad("trajectory", trajectory = flag)
  for (key in list(1, c(1, NA), c(-1, 0), c(.5, 1), c(2^32, 0), "ab", 1:3, list(1, 2))) {
    bad("key", key = key)
  }
  for (steps in list(0, -1, 1.5, NA, Inf, "10", c(1, 2))) {
    for (make in list(sampler_ddim, sampler_ddpm, sampler_euler, sampler_em, sampler_heun,
                      sampler_rk4, sampler_exponential, sampler_dpmpp_2m)) {
      expect_mixguide_error(make(steps), "steps")
    }
  }
})

test_that("a run gives its memory back and stays below the result and 64 MB", {
  skip_on_cran()
  skip_if(nzchar(Sys.getenv("MIXGUIDE_SANITIZE")), "the sanitizer's own memory")
  skip_on_os(c("windows", "mac"))
  peak <- function() {
    line <- grep("VmHWM", readLines("/proc/self/status"), value = TRUE)
    as.numeric(sub("\\D+(\\d+).*", "\\1", line))
  }
  skip_if_not(file.exists("/proc/self/clear_refs") && file.access("/proc/self/clear_refs", 2) == 0)
  invisible(gc(full = TRUE))
  writeLines("5", "/proc/self/clear_refs")  # measures the peak from here on
  before <- peak()
  run <- guided_sample(line, 2e6, guidance("a", 1), sampler_ddim(3))
  # x, log_density, confidence, log_confidence, density_change (double), folded (logical)
  result <- as.numeric(utils::object.size(run)) / 1024
  expect_lt(peak() - before, result + 64 * 1024)
  expect_lt(result, 2e6 * 50 / 1024)
  # the result of a sweep has no particles
  rm(run)
  invisible(gc(full = TRUE))
  writeLines("5", "/proc/self/clear_refs")
  before <- peak()
  guidance_sweep(line, 2e6, "a", 0:1, sampler = sampler_ddim(3), exact = FALSE)
  expect_lt(peak() - before, 64 * 1024)
})

test_that("particles that overflow have no confidence and no density", {
  m <- named_mixture("C3")
  expect_warning(run <- guided_sample(m, 5, guidance("1", 1e200), sampler_euler(5)), "overflowed")
  expect_true(all(is.nan(run$confidence)) && all(is.nan(run$log_density)))
})

test_that("an exact start is settled by the key and has the law of the class at the horizon", {
  m <- gaussmix(c(.2, 0, .5, .3), rbind(c(0, 0), c(9, 9), c(2, 1), c(-1, 3)),
                list(matrix(c(1, .5, .5, 1), 2), 1, .3, c(.1, 2)), class = c("a", "b", "a", "b"))
  stay <- sampler("stay", function(k, times, schedule) list(op_linear("x", c(x = 1))), 1)
  run <- guided_sample(m, 2e4, guidance("a"), stay, horizon = .3, start = "exact", key = c(3, 4))
  again <- guided_sample(m, 2e4, guidance("a"), stay, horizon = .3, start = "exact", key = c(3, 4))
  expect_identical(run$x, again$x)
  law <- moments(diffuse(m, .3), "a")
  se <- sqrt(diag(law$cov) / 2e4)
  expect_true(all(abs(colMeans(run$x) - law$mean) < 5 * se))
  expect_equal(cov(run$x), unname(law$cov), tolerance = .05)
  expect_error(guided_sample(m, start = structure(matrix(0, 2, 2), log_density = 1)), "log_density",
               class = "mixguide_error")
})

test_that("columns go by name in matrices too", {
  m <- gaussmix(1, cbind(u = 0, v = 5), 1)
  expect_identical(score(m, cbind(v = 5, u = 1)), score(m, cbind(u = 1, v = 5)))
  expect_error(score(m, cbind(u = 1, w = 5)), "u, v", class = "mixguide_error")
})

m <- gaussmix(c(.2, .3, .5), cbind(u = c(-1, 0, 2)), c(1, .5, 1), class = c("a", "b", "a"))

test_that("a guidance says what it is", {
  g <- guidance("a", 2)
  expect_s3_class(g, "mixguide_guidance")
  expect_identical(g$class, "a")
  expect_identical(g$strength(.3), 2)
  expect_null(g$interval)
  expect_match(format(g), "strength 2 (guidance scale 3)", fixed = TRUE)
  expect_match(format(guidance(c("a", "b"), .5)), "a or b", fixed = TRUE)
  expect_output(print(g), "<guidance> towards a", fixed = TRUE)
  expect_identical(guidance(3)$class, "3")
  expect_identical(guidance(factor("b", c("a", "b")))$class, "b")
  by_time <- guidance("a", function(t) 2 * t)
  expect_identical(by_time$strength(3), 6)
  expect_output(print(by_time), "function of t")
  expect_no_warning(format(by_time))
  expect_match(format(guidance("a", 2, c(.1, 1))), "[0.1, 1.0]", fixed = TRUE)
})

test_that("models are the class and the whole, with coefficients 1 + strength and -strength", {
  models <- guidance_models(guidance("a", 2), m)
  expect_equal(exp(models$models), rbind(c(2, 0, 5) / 7, c(.2, .3, .5)), ignore_attr = TRUE)
  expect_equal(models$coef(.4), c(3, -2))
  expect_equal(exp(models$log_prior), .7)
  expect_equal(guidance_models(guidance("a", 2, c(.1, 1)), m)$coef(2), c(1, 0))
  expect_equal(guidance_models(guidance("a", 2, c(.1, 1)), m)$coef(.05), c(1, 0))
  for (t in c(.1, .5, 1)) {
    expect_equal(guidance_models(guidance("a", 2, c(.1, 1)), m)$coef(t), c(3, -2))
  }
  expect_equal(guidance_models(guidance("a", function(t) t^2), m)$coef(3), c(10, -9))
  expect_equal(guidance_models(NULL, m)$coef(1), 1)
  expect_equal(exp(guidance_models(NULL, m)$models), t(m$weights), ignore_attr = TRUE)
})

test_that("an interval and a function of time that vanish alike sample alike", {
  run <- function(guide) guided_sample(m, 20, guide, sampler_ddim(30), key = c(1, 2))$x
  expect_identical(run(guidance("a", 3, c(.5, 1))),
                   run(guidance("a", function(t) 3 * (t >= .5 && t <= 1))))
  expect_identical(run(guidance("a", 3, c(6, 7))), run(guidance("a", 0)))
  expect_identical(run(guidance("a", 3, c(0, 5))), run(guidance("a", 3)))
  expect_equal(run(guidance("a", -1)), run(NULL), tolerance = 1e-13)
  expect_equal(run(guidance(c("b", "a"), 7)), run(NULL), tolerance = 1e-12)
})

test_that("bad arguments are answered by name", {
  for (class in list(NULL, character(), NA, c("a", NA), list("a"), mean)) {
    expect_mixguide_error(guidance(class), "class")
  }
  for (strength in list(NaN, NA, Inf, -Inf, "2", NULL, c(1, 2), list(1))) {
    expect_mixguide_error(guidance("a", strength), "strength")
  }
  for (interval in list(1, c(2, 1), c(1, 1), c(NA, 1), "a", 1:3, list(0, 1))) {
    expect_mixguide_error(guidance("a", 1, interval), "interval")
  }
  for (strength in list(function(t) NaN, function(t) NULL, function(t) "1", function(t) c(t, t),
                        function(t) Inf)) {
    expect_mixguide_error(guided_sample(m, 2, guidance("a", strength)), "strength")
  }
  expect_mixguide_error(guided_sample(m, 2, guidance("c")), "guidance")
  for (bad in list(list(), "", NA, sum)) expect_mixguide_error(guided_sample(m, 2, bad), "guidance")
  zero <- gaussmix(c(1, 0), c(0, 1), 1)
  expect_mixguide_error(guided_sample(zero, 2, guidance("2")), "guidance")
})

test_that("coefficients at several times are those at each", {
  t <- c(0, .1, .5, 1, 3)
  for (guide in list(NULL, guidance("a", 2), guidance("a", function(t) 2 * t, c(.1, 1)))) {
    models <- guidance_models(guide, m)
    expect_identical(models$coef(t), unlist(lapply(t, models$coef)))
  }
})

# ---- Other kinds

# The scores of some classes of a mixture (NULL: all classes), from densities written out.
scores_of <- function(plain, classes, t) {
  at <- function(class) {
    keep <- if (is.null(class)) rep(TRUE, length(plain$class)) else plain$class %in% class
    oracle(plain, exp(-t), -expm1(-2 * t), keep)$score
  }
  fields <- lapply(classes, at)
  function(x) lapply(fields, function(field) oracle_rows(field, x))
}

# The run of a deterministic sampler with the score `field(x, t)`, in plain R.
slow_path <- function(x, sampler, field) {
  times <- sampler_times(sampler, schedule_ou())
  interpret_program(sampler_program(sampler, times, schedule_ou()), x, field)
}

# Kinds of guidance with their scores by definition. s holds the scores of a, b, the whole mixture,
# and of a in a worse model.
kinds_of <- function(worse) {
  power <- function(g, p) rowSums(g^2)^(p / 2) * g
  list(
    list(guidance("a", 2, negative = "b"), function(s, t) 3 * s[[1]] - 2 * s[[2]]),
    list(guidance("a", 2, negative = worse), function(s, t) 3 * s[[1]] - 2 * s[[4]]),
    list(guidance("a", 2) + guidance("b", -2),
         function(s, t) s[[3]] + 3 * (s[[1]] - s[[3]]) - (s[[2]] - s[[3]])),
    list(guidance("a", 2, c(.5, 1)) + guidance("b", function(t) -t) + guidance("a", 1),
         function(s, t) s[[3]] + (3 + 2 * (t >= .5 && t <= 1)) * (s[[1]] - s[[3]]) +
           (1 - t) * (s[[2]] - s[[3]])),
    list(guidance("a", 2, negative = worse) + guidance("b", 1),
         function(s, t) 3 * s[[1]] - 2 * s[[4]] + 2 * (s[[2]] - s[[3]])),
    list(guidance("a", 2, power = .7), function(s, t) s[[1]] + 2 * power(s[[1]] - s[[3]], .7)),
    list(guidance("a", -2, power = -.5), function(s, t) s[[1]] - 2 * power(s[[1]] - s[[3]], -.5)),
    list(guidance("a", function(t) 1 - t, negative = worse, power = 1),
         function(s, t) s[[1]] + (1 - t) * power(s[[1]] - s[[4]], 1)),
    list(guidance("a", function(t) if (t > 1) -2 else 4),
         function(s, t) s[[1]] + (if (t > 1) -2 else 4) * (s[[1]] - s[[3]]))
  )
}

test_that("every kind of guidance has the score of its definition, at a point and along a run", {
  withr::local_seed(31)
  for (form in c("common isotropic", "common full", "full", "diagonal")) {
    d <- if (form == "common isotropic") 3 else 2
    plain <- random_mixture(form, d, 3)
    bad <- random_mixture(form, d, 4)
    x <- matrix(rnorm(3 * d), 3)
    for (kind in kinds_of(bad$mixture)) {
      field <- function(x, t) {
        kind[[2]](c(scores_of(plain, list("a", "b", NULL), t)(x), scores_of(bad, "a", t)(x)), t)
      }
      expect_lt(relative_error(score(plain$mixture, x, .7, guidance = kind[[1]]), field(x, .7)),
                1e-12)
      for (sampler in list(sampler_heun(4, end = .05), sampler_dpmpp_2m(4, end = .05))) {
        run <- guided_sample(plain$mixture, 3, kind[[1]], sampler, start = x, log_density = "none")
        expect_lt(relative_error(run$x, slow_path(x, sampler, field)), 1e-11,
                  label = paste(form, format(kind[[1]])))
        expect_equal(run$confidence, posterior(plain$mixture, run$x, .05)[, "a"], tolerance = 1e-10)
      }
    }
  }
})

test_that("reduced runs of every kind end where whole ones do, with the same density", {
  withr::local_seed(32)
  narrow <- random_mixture("common isotropic", 6, 3)
  means <- narrow$means[c(1, 2, 2), ] * c(1, 1, .5)
  worse <- gaussmix(c(1, 2, 1), means, max(narrow$covs[[1]]), c("a", "b", "b"))
  x <- matrix(rnorm(24), 4)
  attr(x, "log_density") <- rowSums(dnorm(x, log = TRUE))
  for (kind in kinds_of(worse)) {
    run <- function(reduce) {
      guided_sample(narrow$mixture, 4, kind[[1]], sampler_ddim(6), start = x, reduce = reduce)
    }
    reduced <- run(TRUE)
    whole <- run(FALSE)
    expect_match(reduced$reduced, "6 -> [23] dimensions")
    expect_null(whole$reduced)
    for (what in c("x", "log_density", "confidence")) {
      expect_equal(reduced[[what]], whole[[what]], tolerance = 1e-11, info = format(kind[[1]]))
    }
    expect_identical(is.null(whole$log_density), kind[[1]]$power != 0)
  }
  # equal in law for a stochastic sampler: outside the reduced space the run follows the class
  noisy <- function(reduce) {
    guided_sample(narrow$mixture, 4000, guidance("a", 2, power = .5), sampler_em(8),
                  reduce = reduce, key = c(3, 4))$x
  }
  a <- noisy(TRUE)
  b <- noisy(FALSE)
  se <- sqrt((apply(a, 2, var) + apply(b, 2, var)) / 4000)
  expect_lt(max(abs(colMeans(a) - colMeans(b)) / se), 5)
})

test_that("kinds that say the same do the same", {
  run <- function(guide) guided_sample(m, 20, guide, sampler_ddim(30), key = c(1, 2))$x
  plain <- run(guidance("a", 2))
  expect_equal(run(guidance("a", 2) + guidance("b", -1)), plain, tolerance = 1e-13)
  expect_equal(run(guidance("a", 2, negative = c("b", "a"))), plain, tolerance = 1e-13)
  expect_equal(run(guidance("a", 0, negative = "b")), run(guidance("a", 0)), tolerance = 1e-13)
  # guidance away from the same class of the same mixture is no guidance
  expect_equal(run(guidance("a", 2, negative = m)), run(guidance("a", 0)), tolerance = 1e-12)
  expect_equal(run(guidance("a", 0, power = 2)), run(guidance("a", 0)), tolerance = 1e-13)
  # a power near 0 is plain guidance
  expect_equal(run(guidance("a", 2, power = 1e-12)), plain, tolerance = 1e-9)
  one <- guided_sample(m, 20, guidance("a", 2), sampler_em(30), key = c(1, 2))
  two <- guided_sample(m, 20, guidance("a", 2) + guidance("b", -1), sampler_em(30), key = c(1, 2))
  expect_equal(two$confidence, one$confidence, tolerance = 1e-12)
})

test_that("a power of nothing is nothing, and of very much no number", {
  run <- function(guide) guided_sample(m, 9, guide, sampler_euler(5), key = c(1, 2))$x
  for (p in c(-.9, -.5, .5, 3)) {
    expect_equal(run(guidance("a", 2, negative = "a", power = p)), run(guidance("a")),
                 tolerance = 1e-14)
  }
  expect_warning(guided_sample(m, 9, guidance("a", 1e300, power = 9), sampler_euler(30)),
                 "overflowed")
})

test_that("a sweep takes any kind as its template", {
  worse <- gaussmix(c(.5, .5), 0:1, 2, class = c("a", "b"))
  kinds <- list(guidance("a", 7, negative = worse), guidance("a", negative = "b"),
                guidance("a", power = .5), guidance("a", interval = c(.2, 2)),
                guidance("a") + guidance("b", -2))
  for (kind in kinds) {
    sweep <- guidance_sweep(m, 50, kind, c(0, 3), sampler_ddim(9), exact = FALSE, key = c(1, 2))
    kind <- with_strength(kind, 3)
    run <- guided_sample(m, 50, kind, sampler_ddim(9), key = c(1, 2))
    expect_equal(sweep$confidence[2], confidence(run)$estimate, tolerance = 1e-14)
    expect_identical(is.na(sweep$entropy[2]), kind$power != 0)
  }
  # a strength that is a function of time is multiplied
  shape <- guidance_sweep(m, 50, guidance("a", function(t) exp(-t)), c(1, 5), sampler_ddim(9))
  run <- guidance_sweep(m, 50, guidance("a", function(t) 5 * exp(-t)), 1, sampler_ddim(9))
  expect_identical(shape$confidence[2], run$confidence)
  expect_output(print(guidance_sweep(m, 50, kinds[[1]], 1)), "away from another model")
})

test_that("a guidance of another kind says so", {
  worse <- gaussmix(c(.5, .5), 0:1, 2, class = c("a", "b"))
  expect_match(format(guidance("a", 2, negative = worse)),
               "strength 2 (guidance scale 3), away from another model (a gaussian mixture: 2",
               fixed = TRUE)
  expect_match(format(guidance("a", 2, negative = c("b", "c"))), "away from b or c")
  expect_match(format(guidance("a", 2, power = .5)), "times |g|^0.5", fixed = TRUE)
  sum <- guidance("a", 2) + guidance("b", -2) + guidance("c")
  expect_length(sum$others, 2)
  expect_match(format(sum), paste("towards a, strength 2 (guidance scale 3) + towards b, strength",
                                  "-2 (guidance scale -1) + towards c, strength 0 (guidance"),
               fixed = TRUE)
  expect_output(print(sum), "s + sum of (guidance scale) grad log p(class | x); confidence: that",
                fixed = TRUE)
  run <- guided_sample(m, 5, guidance("a", 1, power = 1))
  expect_output(print(run), "times |g|^1", fixed = TRUE)
})

test_that("kinds that cannot be are answered by name", {
  for (negative in list(NA, list("a"), mean, character())) {
    expect_mixguide_error(guidance("a", 1, negative = negative), "negative")
  }
  for (power in list(-1, -2, NA, "1", 1:2, Inf)) {
    expect_mixguide_error(guidance("a", 1, power = power), "power")
  }
  expect_mixguide_error(guidance("a", power = 1) + guidance("b"), "guidance")
  expect_mixguide_error(guidance("a") + guidance("b", power = 1), "guidance")
  expect_mixguide_error(guidance("a") + 1, "e2")
  expect_mixguide_error("a" + guidance("a"), "e1")
  expect_mixguide_error(guided_sample(m, 2, guidance("a", 1, negative = "c")), "negative")
  other <- gaussmix(c(.5, .5), 0:1, 2, class = c("b", "c"))
  expect_mixguide_error(guided_sample(m, 2, guidance("a", 1, negative = other)), "negative")
  wide <- gaussmix(1, t(c(0, 1)), 1, class = "a")
  expect_mixguide_error(guided_sample(m, 2, guidance("a", 1, negative = wide)), "negative")
  expect_mixguide_error(guided_sample(m, 2, guidance("a") + guidance("c")), "guidance")
  expect_mixguide_error(guided_sample(m, 2, guidance("a", 1, power = 1), log_density = "map"),
                        "log_density")
  expect_mixguide_error(score_jacobian(m, 0, guidance = guidance("a", 1, power = 1)), "guidance")
})

test_that("powers and biases are the same for every engine, block and number of threads", {
  withr::local_seed(33)
  plain <- random_mixture("full", 3, 4)
  guide <- guidance("a", 2, power = -.3)
  x <- matrix(rnorm(300), 100) * 10^(-50:49)
  run <- function() {
    guided_sample(plain$mixture, 100, guide, sampler_euler(5), start = x,
                  score_error = score_error(bias = c(1, 0, -1)))$x
  }
  whole <- run()
  expect_true(all(is.finite(whole)))
  for (engine in c("portable", "avx2")) {
    expect_lt(relative_error(with_engine(engine, run()), whole), 1e-9)
  }
  for (threads in 1:3) expect_identical(with_threads(threads, run()), whole)
  plan <- sampling_plan(diffusion(plain$mixture, guide, sampler_euler(5), start = x), 100,
                        log_density = "none")
  aim <- plan_aim(plan, guide)
  blocks <- lapply(c(8, 64, 512), function(lanes) {
    core_run(plan$pool, aim$models, aim$levels, plan$program, 100, start = x, lanes = lanes)$output
  })
  expect_identical(blocks[[1]], blocks[[2]])
  expect_identical(blocks[[1]], blocks[[3]])
  # a power has no derivative, and powers of -1 or less are errors
  bad <- plan$program
  bad$derivative <- 2L
  run_bad <- function(program) core_run(plan$pool, aim$models, aim$levels, program, 100, start = x)
  expect_error(run_bad(bad), "not valid")
  bad <- plan$program
  bad$coef[bad$coef == -.3] <- -1.1
  expect_error(run_bad(bad), "not valid")
})

test_that("labels may hold anything", {
  labels <- c("a", "b", "a\rb", "a, b", "1, 2", "2")
  m <- gaussmix(rep(1, 6) / 6, c(-3, -1, 1, 3, 5, 7), 1, class = labels)
  x <- matrix(c(-1, .5, 2))
  for (other in labels[3:6]) {
    models <- guidance_models(guidance(c("a", "b"), 2, negative = other), m)
    guided <- core_eval(m, x, 1, 0, models$models, models$coef(1), "score")
    to <- function(class) score(m, x, guidance = class)
    expect_equal(guided, 3 * to(c("a", "b")) - 2 * to(other), ignore_attr = TRUE)
  }
})

test_that("what is wrong with a function `scale` is said of `scale`", {
  m <- named_mixture("D3")
  says <- function(scale, words) {
    expect_error(guided_sample(m, 5, guidance("1", scale = scale), sampler_ddim(3)), words,
                 class = "mixguide_error")
  }
  says(function(t) c(3, 4), "`scale` must be .*one finite number; got .*3, 4.* at t = 5")
  says(function(t) NaN, "`scale` must be .*NaN at t = 5")
  says(function(t, sigma) stop("oh"), "`scale` failed at t = 5: oh")
  says(function(t, q) "a", "`scale` must be .*finite numbers")
})

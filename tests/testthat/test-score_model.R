mixture <- gaussmix(c(.3, .3, .4), rbind(c(3, 1), c(1, 3), c(4, 4)), 1, class = c("a", "b", "c"))

# The mixture itself as a function, in each parametrisation.
as_function <- function(m, type, schedule = schedule_ou()) {
  score_model(function(x, t, class) {
    s <- score(m, x, t, schedule, guidance = class)
    unit <- if (is.null(m$coordinates)) 1 else rep(m$coordinates$scale, each = nrow(x))
    switch(type, score = s, denoised = denoise(m, x, t, schedule, guidance = class),
           noise = -sqrt(schedule$b2(t)) * unit * s)
  }, type)
}

test_that("a model that is the mixture gives the run of the mixture", {
  kinds <- list(NULL, "a", guidance("a", 2), guidance("a", function(t) t, negative = "b"),
                guidance("a", 2, power = .5), guidance("a", 2, rule = "apg"),
                guidance("a", 2, rule = "cfg_zero"),
                guidance("a", 2, rule = "perp_neg", negative = "b"))
  samplers <- list(sampler_ddim(8), sampler_em(8), sampler_dpmpp_2m(8), sampler_heun(4, end = 1e-3))
  # each kind with each sampler, and each type with each of both
  types <- c("score", "denoised", "noise")
  for (m in list(mixture, standardise(mixture))) {
    errors <- lapply(types, function(type) score_error(model = as_function(m, type)))
    for (i in seq_along(kinds)) {
      for (j in seq_along(samplers)) {
        run <- function(...) {
          quiet_sample(m, 40, kinds[[i]], samplers[[j]], key = c(1, 2), log_density = "none",
                       reduce = FALSE, ...)
        }
        plain <- run()
        own <- run(score_error = errors[[(i + j) %% 3 + 1]])
        expect_equal(own$x, plain$x, tolerance = 1e-9)
        expect_equal(own$confidence, plain$confidence, tolerance = 1e-9)
      }
    }
  }
})

test_that("bits depend neither on blocks nor on threads, and errors of the score come on top", {
  error <- score_error(model = as_function(mixture, "score"), scale = .9, bias = c(.1, 0))
  run <- function(n = 3000) {
    guided_sample(mixture, n, guidance("a", 2), sampler_ddim(5), score_error = error,
                  key = c(1, 2))$x
  }
  whole <- run()
  expect_identical(run(700), whole[1:700, ])
  old <- mixguide_threads(1)
  on.exit(mixguide_threads(old))
  expect_identical(run(), whole)
  plain <- guided_sample(mixture, 3000, guidance("a", 2), sampler_ddim(5), key = c(1, 2),
                         score_error = score_error(scale = .9, bias = c(.1, 0)))
  expect_equal(whole, plain$x, tolerance = 1e-10)
})

test_that("laws, sweeps and summaries take it", {
  m <- named_mixture("D3")
  error <- score_error(model = as_function(m, "score"))
  at <- guidance("1", 2)
  expect_equal(confidence(guided_law(m, at, sampler_em(10), score_error = error))$estimate,
               confidence(guided_law(m, at, sampler_em(10)))$estimate, tolerance = 1e-8)
  for (sampler in list(sampler_ddim(10), sampler_ddpm(10))) {
    expect_equal(entropy(guided_law(m, at, sampler, score_error = error))$estimate,
                 entropy(guided_law(m, at, sampler))$estimate, tolerance = 1e-7)
  }
  sweep <- function(...) {
    guidance_sweep(m, "1", strength = c(0, 1, 3), n = 1024, sampler = sampler_ddim(10),
                   key = c(1, 2), exact = FALSE, ...)$confidence
  }
  expect_equal(sweep(score_error = error), sweep(), tolerance = 1e-6)
  total <- function(...) guided_summary(m, 1024, at, sampler_ddim(10), key = c(1, 2), ...)
  expect_equal(confidence(total(score_error = error))$estimate, confidence(total())$estimate,
               tolerance = 1e-6)
})

test_that("a function that fails is an error that says where", {
  run <- function(f, ...) {
    guided_sample(mixture, 20, guidance("a", 2), sampler_ddim(3),
                  score_error = score_error(model = score_model(f)), ...)
  }
  expect_error(run(function(x, t, class) stop("no such layer")), "class a: no such layer",
               class = "mixguide_error")
  expect_error(run(function(x, t, class) x[1, ]), "20 x 2 numbers", class = "mixguide_error")
  expect_error(run(function(x, t, class) x * NA), "20 x 2 numbers", class = "mixguide_error")
  expect_error(run(function(x, t, class) if (is.null(class)) "a" else x), "class NULL",
               class = "mixguide_error")
  input <- function(code) expect_error(code, class = "mixguide_error_input")
  input(score_model(3))
  input(score_model(function(x) x))
  input(score_model(function(x, t, class) x, "velocity"))
  own <- score_error(model = as_function(mixture, "score"))
  input(guided_sample(mixture, 10, "a", score_error = own, folder = tempfile()))
  input(guided_sample(mixture, 10, guidance("a") + guidance("b"), score_error = own))
  input(guided_sample(mixture, 10, "a", sampler_ddpm(5, variance = "matched"), score_error = own))
  one <- named_mixture("D3")
  own <- score_error(model = as_function(one, "score"))
  input(path_kl(one, score_error = own))
  input(error_budget(one, score_error = own))
  input(plan_sampler(one, score_error = own))
  expect_said(print(own), "returns the score")
})

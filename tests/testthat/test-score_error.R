m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(1, 1)), .5, class = c("a", "b"))

# Euler's steps of the reverse ODE or SDE in plain R, with the score `wrong(s, k, t)`: the whole
# path.
euler_path <- function(x, times, score_at, wrong, noise = NULL) {
  path <- list(x)
  for (k in seq_len(length(times) - 1)) {
    h <- times[k] - times[k + 1]
    s <- wrong(score_at(x, times[k]), k, times[k])
    x <- x + h * (x + s * if (is.null(noise)) 1 else 2) +
      if (is.null(noise)) 0 else sqrt(2 * h) * noise(k)
    path[[k + 1]] <- x
  }
  path
}

guided_by <- function(plain, class, strength) {
  function(x, t) {
    oracle_rows(oracle_guided(plain, class, strength, exp(-t), -expm1(-2 * t), by_formula), x)
  }
}

last <- function(path) path[[length(path)]]

test_that("a wrong score is scaled, shifted and made noisy as it says", {
  withr::local_seed(41)
  shift <- c(.3, -.2, .1)
  for (form in c("common isotropic", "common full", "full")) {
    plain <- random_mixture(form, 3, 3)
    z <- array(rnorm(4 * 3 * 13), c(4, 3, 13))
    slice <- function(i) matrix(z[, , i], 4)
    # the noise of the score is drawn before the sampler's own
    errors <- list(
      list(score_error(scale = .8), function(s, i, t) .8 * s, 0),
      list(score_error(bias = shift), function(s, i, t) s + rep(shift, each = 4), 0),
      list(score_error(bias = .4), function(s, i, t) s + .4, 0),
      list(score_error(bias = function(t) t * shift, scale = function(t) 1 + t),
           function(s, i, t) (1 + t) * s + t * rep(shift, each = 4), 0),
      list(score_error(noise = .3), function(s, i, t) s + .3 * slice(i), 1),
      list(score_error(noise = sqrt, bias = shift, scale = .5),
           function(s, i, t) .5 * s + rep(shift, each = 4) + sqrt(t) * slice(i), 1)
    )
    for (error in errors) for (stochastic in c(FALSE, TRUE)) {
      sampler <- (if (stochastic) sampler_em else sampler_euler)(6)
      each <- error[[3]] + stochastic
      times <- sampler_times(sampler, schedule_ou())
      run <- guided_sample(plain$mixture, 4, guidance("a", 2), sampler, log_density = "none",
                           noise = z[, , 1:(1 + 6 * each), drop = FALSE],
                           score_error = error[[1]])
      path <- euler_path(slice(1), times, guided_by(plain, "a", 2),
                         function(s, k, t) error[[2]](s, 2 + each * (k - 1), t),
                         if (stochastic) function(k) slice(1 + each * k))
      expect_lt(relative_error(run$x, last(path)), 1e-11,
                label = paste(form, format(error[[1]]), stochastic))
      expect_equal(run$confidence, posterior(plain$mixture, run$x)[, "a"], tolerance = 1e-10)
      expect_identical(run$score_error, error[[1]])
    }
  }
})

test_that("with a power, the whole score is scaled and shifted", {
  withr::local_seed(42)
  plain <- random_mixture("common isotropic", 2, 3)
  x <- matrix(rnorm(8), 4)
  field <- function(x, t) {
    s <- guided_by(plain, "a", 0)(x, t)
    g <- s - guided_by(plain, NULL, 0)(x, t)
    s + 3 * sqrt(rowSums(g^2)) * g
  }
  path <- euler_path(x, sampler_times(sampler_euler(5), schedule_ou()), field,
                     function(s, k, t) (1 + t) * s + .2)
  run <- guided_sample(plain$mixture, 4, guidance("a", 3, power = 1), sampler_euler(5), start = x,
                       score_error = score_error(bias = .2, scale = function(t) 1 + t))
  expect_lt(relative_error(run$x, last(path)), 1e-11)
})

test_that("the scale of the score of one Gaussian has its closed form, with its density", {
  # N(0, I) has the score -x at every time: a step multiplies x by 1 + h (1 - scale)
  gaussian <- gaussmix(1, t(rep(0, 5)), 1)
  scale <- function(t) 1 + t / 4
  times <- sampler_times(sampler_euler(400), schedule_ou(), 2)
  factor <- prod(1 - diff(times) * (1 - scale(times[-401])))
  for (method in c("map", "divergence")) for (reduce in c(TRUE, FALSE)) {
    run <- guided_sample(gaussian, 3, NULL, sampler_euler(400), horizon = 2, key = c(1, 2),
                         log_density = method, reduce = reduce,
                         score_error = score_error(scale = scale))
    expect_identical(is.null(run$reduced), !reduce)
    if (method == "map") {
      truth <- rowSums(dnorm(run$x / factor, log = TRUE)) - 5 * log(factor)
      expect_equal(run$log_density, truth, tolerance = 1e-12)
    }
    # in continuous time the factor is exp(int (1 - scale)) = exp(-1/2)
    expect_equal(entropy(run)$estimate, 5 * (log(2 * pi * exp(1)) / 2 - 1 / 2), tolerance = .003)
  }
  exact <- guided_sample(gaussian, 3, NULL, sampler_euler(400), horizon = 2, key = c(1, 2))
  expect_equal(run$x, exact$x * factor, tolerance = 1e-12)
})

test_that("noise of the score adds its variance, in all dimensions of a reduced run", {
  # ten dimensions that reduce to one: x <- x + h noise z for a standard normal
  gaussian <- gaussmix(1, t(rep(0, 10)), 1)
  times <- sampler_times(sampler_euler(10), schedule_ou())
  sd <- sqrt(1 + sum((.5 * diff(times))^2))
  x <- guided_sample(gaussian, 2000, NULL, sampler_euler(10), key = c(5, 6),
                     score_error = score_error(noise = .5))
  expect_match(x$reduced, "10 -> 1")
  expect_lt(abs(mean(x$x^2) / sd^2 - 1) * sqrt(2e4 / 2), 4.5)
  expect_lt(abs(mean(x$x)) / sd * sqrt(2e4), 4.5)
  # noise of size 0 is drawn nevertheless
  none <- guided_sample(m, 9, sampler = sampler_em(5), key = c(1, 2))$x
  zero <- guided_sample(m, 9, sampler = sampler_em(5), key = c(1, 2),
                        score_error = score_error(noise = 0))$x
  expect_gt(max(abs(none - zero)), .1)
  run <- function(...) {
    guided_sample(m, 9, sampler = sampler_euler(5), key = c(1, 2), reduce = FALSE, ...)$x
  }
  expect_equal(run(score_error = score_error(noise = 0)), run(), tolerance = 1e-14)
})

test_that("another model samples as the mixture it is, and is judged by the true one", {
  withr::local_seed(43)
  for (form in c("common isotropic", "full")) for (d in c(1, 4)) {
    true <- random_mixture(form, d, 3)$mixture
    model <- random_mixture(form, d, 4)$mixture
    for (sampler in list(sampler_ddim(5), sampler_ddpm(5))) {
      for (guide in list(guidance("b", 1.5), guidance("a", 1, power = .5), NULL)) {
        run <- guided_sample(true, 50, guide, sampler, key = c(1, 2), reduce = FALSE,
                             score_error = score_error(model = model))
        truth <- guided_sample(model, 50, guide, sampler, key = c(1, 2), reduce = FALSE)
        expect_equal(run$x, truth$x, tolerance = 1e-11)
        expect_equal(run$log_density, truth$log_density, tolerance = 1e-10)
        if (is.null(guide)) {
          expect_null(run$confidence)
        } else {
          expect_equal(run$confidence, posterior(true, run$x)[, guide$class], tolerance = 1e-10)
        }
      }
    }
  }
})

test_that("a reduced run holds what both mixtures differ in", {
  withr::local_seed(44)
  true <- random_mixture("common isotropic", 8, 2)
  model <- gaussmix(c(.5, .5), true$means + 1, true$covs, c("a", "b"))
  run <- function(reduce) {
    guided_sample(true$mixture, 9, guidance("a", 2), sampler_ddim(6), key = c(1, 2),
                  start = matrix(sin(1:72), 9), reduce = reduce,
                  score_error = score_error(scale = 1.2, model = model))
  }
  # the difference of the means, and the shift between the models
  expect_match(run(TRUE)$reduced, "8 -> 2")
  expect_equal(run(TRUE)$x, run(FALSE)$x, tolerance = 1e-12)
  expect_lt(max(abs(run(TRUE)$log_confidence - run(FALSE)$log_confidence)), 1e-13)
  # a bias prevents reduction
  biased <- guided_sample(true$mixture, 2, guidance("a", 2), sampler_ddim(6),
                          score_error = score_error(bias = .1))
  expect_null(biased$reduced)
})

test_that("points in place of the law are remembered, and judged with the last noise", {
  points <- as_gaussmix(rbind(c(-1, 0), c(-1.5, .5), c(1, 1)), bandwidth = 0,
                        class = c("a", "a", "b"))
  run <- guided_sample(m, 30, guidance("a", 1), sampler_ddim(100), key = c(1, 2),
                       score_error = score_error(model = points))
  nearest <- apply(run$x, 1, function(x) min(colSums((t(points$means) - x)^2)))
  expect_lt(max(nearest), 1e-6)
  expect_identical(run$confidence_time, run$times[100])
  expect_equal(run$confidence, posterior(m, run$x, run$confidence_time)[, "a"], tolerance = 1e-10)
})

test_that("the gain identity of guidance holds with what the wrong model estimates", {
  # the pathwise identity (tests/REFERENCES.md) for Sigma = I and Euler steps: the gain is the sum
  # over steps of h a q_j (mu_y - mu_j)
  withr::local_seed(45)
  true <- gaussmix(rep(1, 3), matrix(rnorm(6), 3), 1, c("a", "b", "c"))
  means <- true$means + rnorm(6, 0, .3)
  model <- gaussmix(c(1, 2, 1), means, 1, c("a", "b", "c"))
  run <- function(eta) {
    guided_sample(true, 20, guidance("a", eta), sampler_euler(30), key = c(1, 2),
                  trajectory = TRUE, log_density = "none",
                  score_error = score_error(bias = c(1, -.5), model = model))
  }
  guided <- run(3)
  h <- -diff(guided$times)
  pull <- 0
  for (k in seq_along(h)) {
    q <- posterior(model, guided$trajectory[k, , ], guided$times[k])
    pull <- pull + h[k] * exp(-guided$times[k]) * (rep(1, 20) %o% means[1, ] - q %*% means)
  }
  expect_lt(max(abs(guided$x - run(0)$x - 3 * pull)), 1e-12)
})

test_that("for two classes with Sigma = I the ODE forgives biases and scales, not wrong turns", {
  # vignette "questions" derives this: the coupled gain in log-odds is eta <D, D'> times a positive
  # number, where D' is the difference of the means in the model
  true <- gaussmix(c(.4, .6), rbind(c(1, 0), c(-1, 0)), 1, c("a", "b"))
  down <- function(error) {
    guidance_sweep(true, 500, "a", c(0, 1, 4), sampler_euler(40), horizon = 5, key = c(1, 2),
                   log_density = "none", score_error = error)$fraction_down
  }
  model <- function(angle) {
    turned <- cbind(cos(angle), sin(angle))
    score_error(model = gaussmix(c(.7, .3), rbind(turned, -turned), 1, c("a", "b")))
  }
  for (error in list(score_error(bias = c(-1, .5)), score_error(scale = .7),
                     score_error(scale = 1.5, bias = -1), model(1.5))) {
    expect_identical(down(error), c(0, 0, 0), info = format(error))
  }
  expect_identical(down(model(1.65)), c(0, 1, 1))
})

test_that("sweeps and summaries take a wrong score as samples do", {
  error <- score_error(bias = .2, scale = .9)
  sweep <- guidance_sweep(m, 60, "a", c(0, 2), sampler_ddim(9), key = c(1, 2), score_error = error)
  run <- guided_sample(m, 60, guidance("a", 2), sampler_ddim(9), key = c(1, 2),
                       score_error = error)
  expect_equal(sweep$confidence[2], mean(run$confidence), tolerance = 1e-14)
  expect_equal(sweep$entropy[2], entropy(run)$estimate, tolerance = 1e-13)
  expect_output(print(sweep), "score:    (0.9) * s + bias (0.2)", fixed = TRUE)
  summary <- guided_summary(m, 60, guidance("a", 2), sampler_ddim(9), key = c(1, 2),
                            score_error = error)
  expect_equal(summary$confidence$estimate, mean(run$confidence), tolerance = 1e-12)
  expect_output(print(summary), "score: ")
  # in one dimension there is still a quadrature, unless the score is noisy
  line <- gaussmix(c(.5, .5), c(-1, 1), 1)
  expect_identical(guidance_sweep(line, 9, "1", 1, score_error = error)$method, "quadrature")
  noisy <- guidance_sweep(line, 9, "1", 1, sampler_ddim(5), score_error = score_error(noise = .1))
  expect_identical(noisy$method, "Monte Carlo")
  expect_true(is.na(noisy$entropy))
})

test_that("a wrong score sends no functions to workers, and gives the same bits in parts", {
  error <- score_error(bias = sin, noise = function(t) .1)
  plan <- sampling_plan(diffusion(m, guidance("a", 1), sampler_ddim(4), score_error = error), 40)
  aim <- plan_aim(plan, guidance("a", 1))
  job <- particle_job(plan, aim, c(1, 2))
  expect_false(any(rapply(job, is.function, how = "unlist")))
  expect_identical(run_particles(plan, aim, c(1, 2), size = 7),
                   run_particles(plan, aim, c(1, 2), size = Inf))
})

test_that("an error says what it is, and errors about it name what is wrong", {
  expect_output(print(score_error(scale = .9, bias = c(.1, 0), noise = sqrt)),
                "<score_error> (0.9) * s + bias (0.1, 0) + (function of t) * noise", fixed = TRUE)
  expect_match(format(score_error(model = m)), "s_model, model: Gaussian mixture: 2 components")
  expect_identical(format(score_error()), "s")
  for (bias in list("a", NA, Inf, list(1), numeric(), function() 1)) {
    expect_mixguide_error(score_error(bias = bias), "bias")
  }
  for (scale in list(1:2, NA, "1", NULL)) expect_mixguide_error(score_error(scale = scale), "scale")
  for (noise in list(-1, 1:2, NaN)) expect_mixguide_error(score_error(noise = noise), "noise")
  expect_mixguide_error(score_error(model = 1), "model")
  run <- function(error, guide = guidance("a", 1), ...) {
    guided_sample(m, 2, guide, sampler_ddim(3), score_error = error, ...)
  }
  expect_mixguide_error(run(1), "score_error")
  expect_mixguide_error(run(score_error(bias = 1:3)), "bias")
  expect_mixguide_error(run(score_error(bias = function(t) NA)), "bias")
  expect_mixguide_error(run(score_error(scale = function(t) 1:2)), "scale")
  expect_mixguide_error(run(score_error(noise = function(t) "1")), "noise")
  expect_mixguide_error(run(score_error(model = gaussmix(1, 0, 1))), "model")
  expect_mixguide_error(run(score_error(model = gaussmix(1, t(c(0, 1)), 1))), "model")
  expect_mixguide_error(run(score_error(noise = 1), log_density = "map"), "log_density")
  named <- gaussmix(c(1, 1), cbind(u = 0:1, v = 0), 1, c("a", "b"))
  expect_identical(nrow(run(score_error(model = named))$x), 2L)
  other <- gaussmix(c(1, 1), cbind(v = 0:1, u = 0), 1, c("a", "b"))
  expect_mixguide_error(guided_sample(named, 2, score_error = score_error(model = other)), "model")
})

test_that("a bias of another number of coordinates is answered by name", {
  error <- score_error(bias = c(1, 2, 3))
  expect_error(guided_sample(named_mixture("B2-guidance"), 2, guidance("1"), score_error = error),
               "`bias` must be one finite number or 2 of them at every time",
               class = "mixguide_error")
})

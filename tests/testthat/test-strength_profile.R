# The strengths at the beginning of each step of a run.
met <- function(profile, steps = 10, mixture = named_mixture("D3"), ...) {
  d <- diffusion(mixture, guidance("1", profile), sampler_ddim(steps), ...)
  list(t = d$times[-(steps + 1)], to = d$times[-1],
       strength = guidance_strength(d$guidance, d$times[-(steps + 1)]))
}

test_that("profiles are their formulas, at the average that is asked for", {
  f <- (0:9) / 10
  expect_equal(met(strength_profile("triangle", 3))$strength, 6 * (1 - abs(2 * f - 1)))
  expect_equal(met(strength_profile("linear", 3))$strength, 6 * f)
  expect_equal(met(strength_profile("linear", 3, down = 1))$strength, 6 * (1 - f))
  expect_equal(met(strength_profile("cosine", 3))$strength, 3 * (1 - cos(pi * f)))
  expect_equal(met(strength_profile("exponential", 3, rate = 2))$strength,
               4 * exp(2 * f) * 2 / (exp(2) - 1) - 1)
  expect_equal(met(strength_profile("beta", 3, shape1 = 3))$strength, 3 * dbeta(f, 3, 2))
  at <- met(strength_profile("line", -1, slope = 2))
  expect_equal(at$strength, -1 + 2 * at$t)
  at <- met(strength_profile("interval", 3, low = .5, high = 2))
  sigma <- sqrt(exp(2 * at$t) - 1)
  expect_equal(at$strength, 3 * (sigma > .5 & sigma <= 2))
  at <- met(strength_profile("dg", 3))
  size <- (1 - exp(-2 * at$t)) * exp(-at$t) / (1 - exp(-2 * (at$t - at$to)))
  expect_equal(at$strength, 3 * size / mean(size))
  for (shape in c("triangle", "linear", "cosine", "beta")) {
    expect_equal(mean(met(strength_profile(shape, 3), 4000)$strength), 3, tolerance = 1e-3)
  }
  expect_equal(mean(1 + met(strength_profile("exponential", 3, rate = 5), 4000)$strength), 4,
               tolerance = 1e-2)
})

test_that("beta guidance with a power of its length is its formula along a run", {
  m <- named_mixture("H3")
  x <- cbind(c(-1, 0, 2), c(.5, -2, 1))
  at <- guidance("1", strength_profile("beta", 3), power = -.4)
  run <- guided_sample(m, guidance = at, sampler = sampler_ddim(6), start = x)
  for (k in 1:6) {
    t <- run$times[k + 0:1]
    c <- score(m, x, t[1], guidance = "1")
    g <- c - score(m, x, t[1])
    s <- c + 3 * dbeta((k - 1) / 6, 2, 2) * g / rowSums(g^2)^.2
    a <- exp(-t)
    b <- sqrt(1 - a^2)
    x <- a[2] / a[1] * (x + b[1]^2 * s) - b[2] * b[1] * s
  }
  expect_equal(run$x, x, tolerance = 1e-10, ignore_attr = TRUE)
})

test_that("CFG++ is guidance by lambda/(1 - r) on DDIM", {
  mixture <- named_mixture("C3")
  x <- cbind(c(-1, 0, 2, 8), c(.5, 3, 2, -4))
  run <- guided_sample(mixture, guidance = guidance("1", strength_profile("cfgpp", lambda = .7)),
                       sampler = sampler_ddim(12), start = x)
  ou <- schedule_ou()
  state <- x
  for (k in 1:12) {
    t <- run$times[k + 0:1]
    whole <- denoise(mixture, state, t[1])
    D <- whole + .7 * (denoise(mixture, state, t[1], guidance = "1") - whole)
    eps <- (state - ou$a(t[1]) * whole) / sqrt(ou$b2(t[1]))
    state <- ou$a(t[2]) * D + sqrt(ou$b2(t[2])) * eps
  }
  expect_equal(run$x, state, tolerance = 1e-12, ignore_attr = TRUE)
  r <- with(met(strength_profile("terminal", 3)),
            sqrt((exp(2 * to) - 1) / (exp(2 * t) - 1)))
  expect_equal(met(strength_profile("terminal", 3))$strength, (r - r^4) / (1 - r))
})

test_that("one's own strength may ask for what is known of a run", {
  own <- function(t, fraction, r) fraction + 10 * r
  linear <- met(strength_profile("linear", .5))
  r <- with(linear, sqrt((exp(2 * to) - 1) / (exp(2 * t) - 1)))
  expect_equal(met(own)$strength, linear$strength + 10 * r)
  # every part of a sum; another grid determines it anew; sweeps multiply it
  d <- diffusion(named_mixture("D3"), guidance("1") + guidance("2", own), sampler_ddim(4))
  expect_equal(guidance_strength(d$guidance$others[[1]], d$times[3]), .5 + 10 * sqrt(
    (exp(2 * d$times[4]) - 1) / (exp(2 * d$times[3]) - 1)))
  d <- diffusion(named_mixture("D3"), guidance("1", strength_profile("linear")), sampler_ddim(4))
  expect_equal(guidance_strength(d$guidance, d$times[3]), 1)
  e <- update(d, sampler = sampler_ddim(8))
  expect_equal(guidance_strength(e$guidance, e$times[3]), .5)
  twice <- settle_guidance(with_strength(e$guidance, 2), e$schedule, e$times)
  expect_equal(guidance_strength(twice, e$times[3]), 1)
  # intermediate times of a step
  d <- diffusion(named_mixture("D3"), guidance("1", strength_profile("linear", 1)),
                 sampler_euler(2, "uniform"), horizon = 4)
  expect_equal(guidance_strength(d$guidance, c(4, 3, 2, 1, 0)), c(0, .5, 1, 1.5, 2))
})

test_that("a profile without a run, or with wrong arguments, is refused", {
  input <- function(code) expect_error(code, class = "mixguide_error_input")
  m <- named_mixture("D3")
  input(score(m, 0, .5, guidance = guidance("1", strength_profile("linear"))))
  input(fokker_planck(m, guidance("1", strength_profile("cfgpp"))))
  expect_identical(score(m, 1, .5, guidance = guidance("1", strength_profile("interval", 2))),
                   score(m, 1, .5, guidance = guidance("1", 2)))
  input(strength_profile("lineal"))
  input(strength_profile("linear", Inf))
  input(strength_profile("interval", low = 3, high = 1))
  input(strength_profile("beta", shape1 = .5))
  input(strength_profile("linear", 1, rate = 2))
  input(diffusion(m, guidance("1", function(t, fraction) NA), sampler_ddim(4)) |> guided_sample(4))
  expect_output(print(guidance("1", strength_profile("cfgpp"))), "profile \"cfgpp\"")
  expect_output(print(guidance("1", function(t, r) r)), "function of t, r")
})

test_that("CFG++ is told to be another guidance, or to explode", {
  m <- named_mixture("D3")
  told <- function(sampler, ..., words) {
    d <- diffusion(m, guidance("1", strength_profile("cfgpp", ...)), sampler)
    expect_warning(run <- guided_sample(d, 5), words, class = "mixguide_warning_strength")
    expect_said(print(run), "Warning: the .*cfgpp")
    expect_said(print(d), "Warning: the .*cfgpp")
  }
  told(sampler_ddim(20, eta = 1), words = "DDIM without noise alone")
  told(sampler_em(20), words = "DDIM without noise alone")
  told(sampler_ddim(1000), words = "strength of \"cfgpp\" is 1.*; take fewer steps")
  expect_warning(guidance_sweep(m, 50, guidance("1", strength_profile("cfgpp")), c(0, 8),
                                sampler_ddim(50)), class = "mixguide_warning_strength")
  expect_no_warning(guided_sample(m, 5, guidance("1", strength_profile("cfgpp")), sampler_ddim(20)))
  expect_no_warning(guided_sample(m, 5, guidance("1", strength_profile("cfgpp", lambda = .1)),
                                  sampler_ddim(100)))
})

test_that("the profile \"dg\" is refused where `a` does not change", {
  expect_error(guided_sample(named_mixture("D3"), 5, guidance("1", strength_profile("dg")),
                             sampler_ddim(5), schedule = schedule_ve(.01, 500)),
               "whose `a` changes", class = "mixguide_error_input")
})

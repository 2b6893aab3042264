# Published results on guidance beyond the three papers: numbers of tests/REFERENCES.md.

test_that("guidance on Gaussians in closed form: ODE, SDE and tilt", {
  # class N(c, 1), whole N(0, 2), variance exploding from sigma = 1000; scale w
  c <- 1.3
  class <- gaussmix(1, c, 1, class = "a")
  whole <- gaussmix(1, 0, 2, class = "a")
  w <- c(1, 1.5, 2, 3, 4, 5, 8, 16)
  phi <- c(1, 1.34935, 1.62323, 2, 2.21742, 2.33333, 2.39177, 2.20021)
  sde_mean <- c(1, 1.29289, 1.5, 1.75, 1.875, 1.9375, 1.99219, 1.99997)
  sde_variance <- c(1, .75, .58333, .3875, .28348, .22179, .13333, .06452)
  for (i in seq_along(w)) {
    towards <- guidance("a", w[i] - 1, negative = whole)
    at <- function(sampler, schedule) {
      moments(suppressWarnings(guided_law(class, towards, sampler, schedule = schedule)))
    }
    ode <- at(sampler_rk4(200, "logsnr", end = 1e-3), schedule_ve(1e-3, 1000))
    expect_equal(ode$mean[[1]] / c, phi[i], tolerance = 2e-3)
    expect_equal(ode$cov[[1]], 2^(1 - w[i]), tolerance = 5e-3)
    sde <- at(sampler_em(2000, "logsnr", end = .002), schedule_ve(.2, 1000))
    expect_equal(sde$mean[[1]] / c, sde_mean[i], tolerance = 5e-3)
    expect_equal(sde$cov[[1]], sde_variance[i], tolerance = 5e-3)
    # a class so rare that the whole is N(0, 2) up to a factor 1 + 4e-12
    rare <- gaussmix(c(1e-12, 1), c(c, 0), c(1, 2), class = c("a", "b"))
    tilt <- moments(tilted_law(rare, guidance("a", w[i] - 1)))
    expect_equal(tilt$mean[[1]], 2 * w[i] * c / (1 + w[i]), tolerance = 1e-9)
    expect_equal(tilt$cov[[1]], 2 / (1 + w[i]), tolerance = 1e-9)
  }
  # the closed form behind the table's mean of the ODE
  form <- function(w) {
    2^((1 - w) / 2) * w / 2 *
      integrate(function(v) (1 + v)^((w - 1) / 2) / sqrt(v), 0, 1, rel.tol = 1e-10)$value
  }
  expect_equal(vapply(w, form, 0), phi, tolerance = 1e-5)
})

test_that("a strength of three terms on the flow: the variance that is published", {
  class <- gaussmix(1, .9, .6, class = "a")
  # their time is 1 at the data
  towards <- guidance("a", function(t) .9 - 1.7 * (1 - t) + .4 * sin(7 * (1 - t)),
                      negative = gaussmix(1, 0, 1.7, class = "a"))
  law <- guided_law(class, towards, sampler_rk4(200, "uniform", end = 0),
                    schedule = schedule_flow(), horizon = 1 - 1e-7)
  expect_equal(moments(law)$cov[[1]], .59997559927, tolerance = 1e-9)
  # the same by the integral of the slope of the velocity
  slope <- function(s, v) (s * v - (1 - s)) / (s^2 * v + (1 - s)^2)
  guided <- function(s) {
    slope(s, .6) + towards$strength(1 - s) * (slope(s, .6) - slope(s, 1.7))
  }
  by_integral <- exp(2 * integrate(guided, 0, 1, rel.tol = 1e-12)$value)
  expect_equal(by_integral, .59997559927, tolerance = 1e-10)
})

test_that("the wrong side has a probability of exp(-Omega(w^2)), what is below sqrt(w) has more", {
  # the ODE is monotone, so that the law of what comes out is that of the start, at its place
  m <- named_mixture("A2")
  tails <- vapply(c(1, 2, 4, 8), function(w) {
    start_of <- function(at) {
      end <- function(z) {
        guided_sample(m, guidance = guidance("1", w - 1), sampler = sampler_rk4(200), horizon = 5,
                      start = matrix(z), log_density = "none")$x[[1]] - at
      }
      uniroot(end, c(-20, 5), tol = 1e-6)$root
    }
    -pnorm(c(start_of(0), start_of(sqrt(w))), log.p = TRUE) / c(w^2, w)
  }, double(2))
  expect_true(all(tails[1, ] > 1.1))
  # -log P(x < sqrt w)/w falls throughout: no sign of the bound exp(-Omega(w)), as it was
  # handed down, with the constant 1 before sqrt(w)
  expect_equal(tails[2, ], c(.688, .427, .289, .191), tolerance = .01)
})

# The reverse ODE of Ornstein-Uhlenbeck, guided from class to whole, for starts on the line, by
# Runge-Kutta in plain R. `class`, `whole`: weights, means and the variance of their components.
line_score <- function(law, t) {
  a <- exp(-t)
  v <- a^2 * law$var + 1 - a^2
  function(x) {
    gap <- outer(x, a * law$means, `-`)
    l <- rep(log(law$weights), each = length(x)) - gap^2 / (2 * v)
    r <- exp(l - apply(l, 1, max))
    -rowSums(r * gap) / rowSums(r) / v
  }
}
line_flow <- function(z, class, whole, strength, from, to = 0, steps = 2000) {
  times <- to + (from - to) * seq(1, 0, length.out = steps + 1)^2
  speed <- function(x, t) {
    eta <- strength(t)
    x + (1 + eta) * line_score(class, t)(x) - eta * line_score(whole, t)(x)
  }
  for (i in seq_len(steps)) {
    t <- times[i]
    h <- t - times[i + 1]
    k1 <- speed(z, t)
    k2 <- speed(z + h / 2 * k1, t - h / 2)
    k3 <- speed(z + h / 2 * k2, t - h / 2)
    z <- z + h / 6 * (k1 + 2 * k2 + 2 * k3 + speed(z + h * k3, t - h))
  }
  z
}

test_that("overshoot and shrinkage in high dimensions: gone by noise, not by the ODE", {
  # two classes N(+-m, I) with |m|^2 = d: only the direction of m is guided, so d is a distance
  d <- 4^(0:4)
  strength <- 3
  law_of <- function(d, sampler, horizon) {
    m <- gaussmix(c(.5, .5), sqrt(d) * c(1, -1), 1)
    at <- moments(guided_law(m, guidance("1", strength), sampler, horizon = horizon))
    c(at$mean[[1]] - sqrt(d), at$cov[[1]])
  }
  # dx/du = 1 + 2 strength/(1 + exp(2 u x)), u = a |m|, depends on d through its limits alone: the
  # shift stays
  ode <- vapply(d, law_of, c(0, 0), sampler_rk4(100, "quadratic"), 14)
  x <- qnorm((1:1000 - .5) / 1000)
  h <- 4 / 1000
  for (u in (1:1000 - .5) * h) {
    speed <- function(x) 1 + 2 * strength * plogis(-2 * u * x)
    x <- x + h * speed(x + h / 2 * speed(x))
  }
  expect_equal(ode[1, 3:5], rep(mean(x) - 4, 3), tolerance = 1e-3)
  expect_equal(ode[2, 3:5], rep(mean((x - mean(x))^2), 3), tolerance = 2e-3)
  # relative to |m| the shift vanishes like 1/sqrt(d), and so does the mean shrinkage over variables
  expect_lt(ode[1, 5] / sqrt(d[5]), .1)
  # noise forgets: of the push at time log(m), 1/m is left
  sde <- vapply(d, law_of, c(0, 0), sampler_ddpm(200, "quadratic"), 8)
  expect_equal(sde[1, 2:4] / sde[1, 3:5], rep(2, 3), tolerance = .05)
  expect_true(all(diff(sde[2, ]) > 0))
  expect_gt(sde[2, 5], .94)
  # in all d dimensions at once
  wide <- gaussmix(c(.5, .5), rbind(rep(1, 16), rep(-1, 16)), 1)
  run <- guided_summary(wide, 4096, guidance("1", strength), sampler_ddpm(200, "quadratic"),
                        horizon = 8)
  off <- sqrt(16 * sum(run$mean_se^2)) / 4
  expect_lt(abs(sum(run$mean) / 4 - 4 - sde[1, 3]), 4 * off)
})

test_that("distortion stays if classes are exponentially many; a negative window undoes it", {
  # K classes N(mu_k, I/4), mu_k from N(0, I): the mean along mu_1 and the variance, relative to the
  # class's own
  strength <- 2
  scan <- function(d, K, guide = guidance("1", strength), centres = 4, n = 300) {
    found <- vapply(seq_len(centres), function(key) {
      mu <- matrix(keyed_draws(gaussmix(1, 0, 1), K * d, c(key, K)), K)
      run <- guided_sample(gaussmix(rep(1, K), mu, .25), n, guide, sampler_heun(25, "quadratic"),
                           log_density = "none", key = c(key, 1))
      c(sum(colMeans(run$x) * mu[1, ]) / sum(mu[1, ]^2), mean(apply(run$x, 2, var)) * 4,
        mean(run$confidence))
    }, double(3))
    rowMeans(found)
  }
  # few classes: the loss falls like 1/d, since they differ in 3 directions
  few <- vapply(c(4, 16, 64, 256), scan, double(3), K = 4)
  expect_true(all(diff(few[1, ]) < -.02))
  expect_true(all(diff(few[2, ]) > 0))
  expect_gt(few[2, 4], .96)
  # e^(.4 d) classes: enough that the distortion stays
  many <- vapply(c(8, 14, 20), function(d) scan(d, round(exp(.4 * d))), double(3))
  expect_true(all(many[2, ] < .72))
  expect_true(all(many[1, ] > 1.3))
  expect_true(all(many[3, ] > .98))
  # In the limit the other classes look like N(0, 5/4) until the class itself outweighs them (a
  # random energy model). The path is x = p mu + r z, by midpoint steps.
  limit <- function(alpha, steps = 6000, h = 6 / steps) {
    p <- 0
    r <- 1
    for (t in 6 - (seq_len(steps) - .5) * h) {
      v <- 1 - .75 * exp(-2 * t)
      V <- v + exp(-2 * t)
      own <- -((p - exp(-t))^2 + r^2) / (2 * v) - log(v) / 2 - alpha
      eta <- if (own < -(p^2 + r^2) / (2 * V) - log(V) / 2) strength else 0
      for_p <- function(p) p - (1 + eta) * (p - exp(-t)) / v + eta * p / V
      p <- p + h * for_p(p + h / 2 * for_p(p))
      rate <- 1 - (1 + eta) / v + eta / V
      r <- r * exp(h * rate)
    }
    c(p, 4 * r^2)
  }
  expect_equal(many[1, 3], limit(.4)[1], tolerance = .05)
  expect_equal(many[2, 3], limit(.4)[2], tolerance = .25)
  expect_equal(limit(.01), c(1, 1), tolerance = .1)

  # Here the whole is N(0, 5/4) at all times, because there are so many classes. The ODE then
  # multiplies the variance by exp(-2 int eta (1/v - 1/V) dt), below 1 for every strength that is
  # nowhere negative.
  rate <- function(t) {
    v <- 1 - .75 * exp(-2 * t)
    1 / v - 1 / (v + exp(-2 * t))
  }
  factor_of <- function(eta) {
    exp(-2 * integrate(function(t) eta(t) * rate(t), 0, 20, rel.tol = 1e-10)$value)
  }
  whole <- gaussmix(1, 0, 1.25, class = "1")
  at <- function(strength) {
    law <- guided_law(gaussmix(1, 1, .25, class = "1"), guidance("1", strength, negative = whole),
                      sampler_rk4(100, "quadratic"), start = "exact", horizon = 12)
    unlist(unclass(moments(law))[c("mean", "cov")])
  }
  plain <- at(strength)
  expect_equal(4 * plain[[2]], factor_of(function(t) rep(strength, length(t))), tolerance = 1e-5)
  crowd <- scan(2, 2000)
  expect_equal(crowd[1:2], plain * c(1, 4), tolerance = .1, ignore_attr = TRUE)
  shapes <- c("interval", "triangle", "linear", "cosine", "exponential", "beta", "dg", "terminal")
  for (shape in shapes) expect_lt(4 * at(strength_profile(shape, strength))[[2]], .8)
  # a strength of both signs that keeps the variance of the class has its mean further out
  slope <- uniroot(function(s) log(factor_of(function(t) s * t - 1)), c(1, 20), tol = 1e-10)$root
  signed <- at(strength_profile("line", -1, slope = slope))
  expect_equal(4 * signed[[2]], 1, tolerance = 1e-4)
  expect_gt(signed[[1]], 1.05)
  # a window of negative strength helps while the class is in doubt (until .8 by `limit()`), and
  # nothing helps once the other classes are out of reach
  windowed <- function(window) {
    scan(14, round(exp(.4 * 14)), guidance("1", function(t) {
      if (t < window[1]) 0 else if (t < window[2]) -1.8 else strength
    }))
  }
  undone <- windowed(c(0, .8))
  expect_gt(undone[2], many[2, 2] + .2)
  expect_gt(undone[3], .95)
  expect_lt(windowed(c(0, .1))[2], many[2, 2] + .05)
})

test_that("with exact scores guided steps end at point masses, however strong", {
  # within the noise b of the last time, times its factor in two dimensions
  points <- rbind(c(0, 0), c(1, 1), c(-1, .5), c(.3, -1))
  m <- gaussmix(rep(1, 4), points, 0, class = c("a", "b", "a", "b"))
  b <- sqrt(-expm1(-2 * .001))
  away <- function(strength, sampler) {
    x <- guided_sample(m, 2000, guidance("a", strength), sampler, horizon = 5,
                       log_density = "none", key = c(1, 1))$x
    sqrt(pmin(rowSums((x - rep(points[1, ], each = 2000))^2),
              rowSums((x - rep(points[3, ], each = 2000))^2))) / b
  }
  for (strength in c(0, 1, 3, 10, 30)) {
    # DDPM: the noise of the last time alone, |N(0, I)|
    sde <- away(strength, sampler_ddpm(50, "logsnr", end = .001))
    expect_gt(ks.test(sde^2 / 2, "pexp")$p.value, 1e-4)
    # DDIM: near the only point that is left, x - a mu shrinks like b
    for (steps in c(20, 50)) {
      expect_lt(max(away(strength, sampler_ddim(steps, "logsnr", end = .001))), 12)
    }
  }
  # the same steps in plain R
  times <- diffusion(m, sampler = sampler_ddim(20, "logsnr", end = .001), horizon = 5)$times
  start <- matrix(keyed_draws(gaussmix(1, 0, 1), 40, c(1, 2)), 20)
  x <- start
  for (i in 1:20) {
    a <- exp(-times[i + 0:1])
    noise <- sqrt(-expm1(-2 * times[i + 0:1]))
    denoised <- function(which) {
      l <- apply(points[which, ], 1, function(p) -rowSums((x - rep(a[1] * p, each = 20))^2))
      r <- exp((l - apply(l, 1, max)) / (2 * noise[1]^2))
      r %*% points[which, ] / rowSums(r)
    }
    D <- 11 * denoised(c(1, 3)) - 10 * denoised(1:4)
    x <- a[2] * D + noise[2] / noise[1] * (x - a[1] * D)
  }
  run <- guided_sample(m, 20, guidance("a", 10), sampler_ddim(20, "logsnr", end = .001),
                       horizon = 5, start = start, log_density = "none")
  expect_equal(run$x, x, tolerance = 1e-8, ignore_attr = TRUE)
  # the paper uses points; with covariances a strong guidance leaves the class's ellipses
  wide <- gaussmix(rep(1, 4), points, .1, class = m$class)
  x <- guided_sample(wide, 2000, guidance("a", 10), sampler_ddim(50, "logsnr", end = .001),
                     horizon = 5, log_density = "none", key = c(1, 1))$x
  expect_gt(mean(is_outside(x, class_law(wide, "a"))), .1)
})

test_that("three stages of a class of two modes: their shares early, their widths late", {
  # the mode at 2 lies before the other class, the mode at 4.5 behind it
  weights <- c(.35, .15, .5)
  means <- c(2, 4.5, -2)
  m <- gaussmix(weights, means, .3, class = c("a", "a", "b"))
  class <- list(weights = weights[1:2], means = means[1:2], var = .3)
  whole <- list(weights = weights, means = means, var = .3)
  # share of the mode behind, variance of the mode in front
  stage <- function(strength, interval = NULL) {
    law <- guided_law(m, guidance("a", strength, interval = interval),
                      sampler_heun(60, "logsnr", end = 1e-3), horizon = 6)
    x <- law$x[, 1]
    w <- law$weights
    front <- x > 0 & x < 3.25
    centre <- weighted.mean(x[front], w[front])
    c(sum(w[x >= 3.25]) / sum(w), weighted.mean((x[front] - centre)^2, w[front]) / .3)
  }
  none <- stage(0)
  expect_equal(none[1], .3, tolerance = .02)
  # early guidance increases the share of the mode behind, whatever its weight; later guidance less
  early <- stage(3, c(1.5, 6))
  middle <- stage(3, c(.6, 1))
  late <- stage(3, c(0, .4))
  expect_gt(early[1], .7)
  expect_lt(abs(middle[1] - none[1]), .05)
  # late guidance leaves the shares, and the mode shrinks
  expect_equal(late[1], none[1], tolerance = 1e-3)
  expect_lt(late[2], .75)
  # by the share of starts that end behind, since paths on the line keep their order
  share <- function(strength) {
    z <- qnorm((1:300 - .5) / 300)
    mean(line_flow(z, class, whole, strength, 6, 1e-3, 200) >= 3.25)
  }
  expect_equal(early[1], share(function(t) 3 * (t >= 1.5)), tolerance = .02)
  expect_equal(stage(3)[1], share(function(t) 3), tolerance = .01)
  # the mode in front, the heavier one, is lost as the strength grows
  lost <- vapply(c(0, 1, 3, 8), function(s) 1 - stage(s)[1], 0)
  expect_true(all(diff(lost) < 0))
  expect_lt(lost[4], .01)
})

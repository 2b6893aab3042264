# Samplers with a strength per operation, against plain R and against DDPM by laws.

mixture <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(1, 1)), list(diag(c(.5, .3)), diag(2)),
                    class = c("a", "b"))
x <- cbind(c(-1, 0, 2), c(.5, 1, -2))
a <- function(t) exp(-t)
b <- function(t) sqrt(1 - exp(-2 * t))
s_at <- function(x, t, strength) score(mixture, x, t, guidance = guidance("a", strength))
ddim_step <- function(x, t, s) a(t[2]) * (x + b(t[1])^2 * s) / a(t[1]) - b(t[2]) * b(t[1]) * s

test_that("predictor and corrector have their own strengths", {
  z <- array(sin(1:24), c(3, 2, 4))
  run <- quiet_sample(mixture, guidance = guidance("a", 3), start = x, noise = z, horizon = 1,
                      sampler = sampler_pcg(2, end = .01, corrections = 2, size = .5))
  y <- x
  for (k in 1:2) {
    t <- run$times[k + 0:1]
    y <- ddim_step(y, t, s_at(y, t[1], 0))
    h <- .25 * (b(t[1])^2 - (a(t[1]) / a(t[2]))^2 * b(t[2])^2)
    for (i in 1:2) y <- y + h * s_at(y, t[2], 3) + sqrt(2 * h) * z[, , 2 * k - 2 + i]
  }
  expect_equal(run$x, y, tolerance = 1e-11)
  # the same sampler, assembled by hand
  once <- quiet_sample(mixture, guidance = guidance("a", 3), start = x, noise = z[, , 1:2],
                       horizon = 1, sampler = sampler_corrected(
                         sampler_ddim(2, end = .01), corrector_langevin(.1), strength = -1))
  y <- x
  for (k in 1:2) {
    t <- run$times[k + 0:1]
    y <- ddim_step(y, t, score(mixture, y, t[1]))
    y <- y + .1 * s_at(y, t[2], 3) + sqrt(.2) * z[, , k]
  }
  expect_equal(once$x, y, tolerance = 1e-11)
})

test_that("Z-sampling goes back with the weaker score", {
  for (low in c(-1, .5)) for (rounds in 1:2) {
    run <- guided_sample(mixture, guidance = guidance("a", 3), start = x, horizon = 1,
                         sampler = sampler_zigzag(3, low = low, rounds = rounds))
    y <- x
    for (k in 1:3) {
      t <- run$times[k + 0:1]
      to <- ddim_step(y, t, s_at(y, t[1], 3))
      for (i in seq_len(rounds * (k < 3))) {
        e <- -b(t[1]) * s_at(to, t[1], low)
        back <- a(t[1]) / a(t[2]) * to + (b(t[1]) - a(t[1]) / a(t[2]) * b(t[2])) * e
        to <- ddim_step(back, t, s_at(back, t[1], 3))
      }
      y <- to
    }
    expect_equal(run$x, y, tolerance = 1e-11)
  }
  # with one strength back and forth it is DDIM, except for the error of the inversion
  line <- named_mixture("A2")
  at <- guidance("1", 2)
  ends <- function(sampler) guided_sample(line, guidance = at, sampler = sampler,
                                          start = matrix(seq(-2, 2, .5)), horizon = 4)$x
  gap <- vapply(c(100, 200), function(n) {
    max(abs(ends(sampler_zigzag(n, low = 2)) - ends(sampler_ddim(n))))
  }, 0)
  expect_lt(gap[2], .05)
  expect_lt(gap[2], .6 * gap[1])
})

test_that("predictor-corrector guidance of scale 2 w - 1 tends to DDPM of scale w", {
  m <- named_mixture("A2")
  law <- function(strength, sampler) guided_law(m, guidance = guidance("1", strength),
                                                sampler = sampler)
  away <- vapply(c(50, 100, 200), function(n) {
    law_distance(law(2, sampler_pcg(n)), law(1, sampler_ddpm(n)))$estimate[3]
  }, 0)
  expect_lt(away[1], .05)
  # the error is proportional to the length of the steps
  expect_equal(away[-1] / away[-3], c(.5, .5), tolerance = .1)
  # with two strengths the difference stays
  expect_gt(law_distance(law(3, sampler_pcg(200)), law(1, sampler_ddpm(200)))$estimate[3],
            5 * away[3])
})

test_that("a strength of its own is plain guidance, whatever the guidance is", {
  fixed <- sampler("fixed", function(k, times, schedule) {
    list(op_eval("s", t = times[k], strength = 1.5), op_linear("x", c(x = 1, s = .1)))
  }, steps = 2, end = .1)
  ends <- function(guidance, ...) {
    guided_sample(mixture, guidance = guidance, sampler = fixed, start = x, horizon = 1, ...)$x
  }
  times <- diffusion(mixture, sampler = fixed, horizon = 1)$times
  usual <- ends(guidance("a", 1.5))
  y <- x
  for (t in times[1:2]) y <- y + .1 * s_at(y, t, 1.5)
  expect_equal(usual, y, tolerance = 1e-12)
  own <- score_error(model = score_model(function(x, t, class) score(mixture, x, t,
                                                                     guidance = class)))
  for (at in list(guidance("a", 7), guidance("a", 7, power = .5), guidance("a", 7, rule = "apg"),
                  guidance("a", c(x1 = 2)), guidance("a", 2, rule = "recfg"),
                  guidance("a", 2, rule = "characteristic"), guidance("a", function(t) 4 * t),
                  guidance("a", function(t, q) 4 * q))) {
    expect_equal(ends(at), usual, tolerance = 1e-12)
    expect_equal(ends(at, score_error = score_error(bias = c(0, 0), scale = .8)),
                 ends(guidance("a", 1), score_error = score_error(scale = .8)), tolerance = 1e-12)
    if (!any(at$rule$kind %in% names(other_rules)) && !depends_on_q(at)) {
      expect_equal(ends(at, score_error = own), usual, tolerance = 1e-10)
    }
  }
  y <- x
  for (t in times[1:2]) y <- y + .1 * score(mixture, y, t)
  expect_equal(ends(NULL), y, tolerance = 1e-12)
  # a density by the map, and a run that reduces
  long <- gaussmix(c(.5, .5), rbind(rep(0, 6), 1:6 / 4), .5, class = c("a", "b"))
  start <- rgaussmix(20, long)
  attr(start, "log_density") <- dgaussmix(start, long, log = TRUE)
  both <- lapply(c(TRUE, FALSE), function(reduce) {
    guided_sample(long, guidance = guidance("b", 3), sampler = sampler_zigzag(6), start = start,
                  reduce = reduce)
  })
  expect_equal(both[[1]]$x, both[[2]]$x, tolerance = 1e-9)
  expect_equal(both[[1]]$log_density, both[[2]]$log_density, tolerance = 1e-8)
  expect_false(is.null(both[[1]]$reduced))
})

test_that("what is proved of one strength is not said of several", {
  m <- named_mixture("A2")
  at <- step_condition(m, guidance = guidance("1", 2), sampler = sampler_pcg(20))
  expect_true(all(!(at$strength > 0)))
  expect_mixguide_error(autoplot(at), "object")
  expect_true(all(!(step_condition(m, guidance = guidance("1", 2),
                                   sampler = sampler_zigzag(20))$strength > 0)))
  expect_mixguide_error(tilted_sample(m, 100, guidance = guidance("1", 1),
                                      sampler = sampler_pcg(20)), "sampler")
  paths <- coupled_paths(m, n = 5, guidance = guidance("1", 1), sampler = sampler_pcg(5))
  expect_match(paths$why, "strength of their own")
  expect_mixguide_error(sampler_pcg(size = 0), "size")
  expect_mixguide_error(sampler_pcg(corrections = 0), "corrections")
  expect_mixguide_error(sampler_zigzag(low = NA), "low")
  expect_mixguide_error(sampler_zigzag(rounds = 0), "rounds")
  expect_mixguide_error(op_eval("s", t = 1, strength = "a"), "strength")
  expect_mixguide_error(sampler_corrected(sampler_ddim(2), strength = Inf), "strength")
  expect_output(print(op_eval("s", t = 1, strength = -1)), "strength -1")
  expect_output(print(sampler_corrected(sampler_ddim(2), strength = 0)), "at strength 0")
})

test_that("extremes: one component, from where the data are forgotten, point masses", {
  one <- gaussmix(1, 2, .5)
  for (s in list(sampler_pcg(200), sampler_zigzag(200))) {
    law <- guided_law(one, sampler = s)
    expect_equal(unname(moments(law)$mean), 2, tolerance = .05)
    expect_equal(c(moments(law)$cov), .5, tolerance = .1)
    run <- guided_sample(mixture, 50, guidance("a", 2), s, schedule = schedule_flow(),
                         horizon = 1)
    expect_true(all(is.finite(run$x)))
  }
  points <- gaussmix(c(.5, .5), c(-1, 1), 0, class = c("a", "b"))
  run <- guided_sample(points, 50, guidance("b", 2), sampler_zigzag(50))
  expect_lt(max(abs(run$x - 1)), 1e-3)
})

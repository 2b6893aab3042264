# Strengths that are matrices, against their formula in plain R.

mixture <- gaussmix(c(.3, .3, .4), rbind(c(3, 1), c(1, 3), c(4, 4)), cbind(c(1, .3), c(.3, .7)),
                    class = c("a", "b", "c"))
x <- cbind(c(-1, 0, 2, 3, 1.5, 5), c(.5, 3, 2, -1, 1.5, 7))
even <- gaussmix(mixture$weights, mixture$means, diag(c(.7, 1)), class = mixture$class)
E <- rbind(c(2, -.5), c(1, .7))

test_that("a matrix turns what guidance adds", {
  for (t in c(1e-3, .5, 3)) {
    class <- score(mixture, x, t, guidance = "a")
    g <- class - score(mixture, x, t)
    for (matrix in list(E, diag(c(3, 0)), -E)) {
      expect_equal(score(mixture, x, t, guidance = guidance("a", matrix)),
                   class + g %*% t(matrix), tolerance = 1e-11)
    }
    expect_equal(score(mixture, x, t, guidance = guidance("a", c(x2 = 3))),
                 class + cbind(0, 3 * g[, 2]), tolerance = 1e-11)
    expect_equal(score(mixture, x, t, guidance = guidance("a", c(x2 = 3, x1 = 4))),
                 class + g * rep(c(4, 3), each = 6), tolerance = 1e-11)
    expect_equal(score(mixture, x, t, guidance = guidance("a", diag(2, 2))),
                 score(mixture, x, t, guidance = guidance("a", 2)), tolerance = 1e-11)
    away <- guidance("a", E, negative = "b", interval = c(.2, 1))
    other <- class - score(mixture, x, t, guidance = "b")
    expect_equal(score(mixture, x, t, guidance = away),
                 class + (t == .5) * other %*% t(E), tolerance = 1e-11)
  }
})

test_that("its Jacobian is that of the class and E times that of what is added", {
  of <- function(guidance) score_jacobian(mixture, x, .5, guidance = guidance)
  expect_equal(of(guidance("a", E)), {
    J <- of("a")
    gain <- J - of(NULL)
    for (i in seq_len(nrow(x))) J[i, , ] <- J[i, , ] + E %*% gain[i, , ]
    J
  }, tolerance = 1e-11)
})

test_that("the matrix is about the variables, in whatever coordinates the process runs", {
  m <- standardise(gaussmix(mixture$weights, mixture$means * rep(c(1, 50), each = 3),
                            list(diag(c(1, 2500)), diag(c(2, 2000)), cbind(c(1, 9), c(9, 900))),
                            class = mixture$class))
  colnames(m$means) <- NULL
  at <- x * rep(c(1, 50), each = 6)
  class <- denoise(m, at, .5, guidance = "a")
  expect_equal(denoise(m, at, .5, guidance = guidance("a", E)),
               class + (class - denoise(m, at, .5)) %*% t(E), tolerance = 1e-10)
  s <- score(m, at, .5, guidance = "a")
  expect_equal(score(m, at, .5, guidance = guidance("a", c(x2 = 3))),
               s + cbind(0, 3 * (s - score(m, at, .5))[, 2]), tolerance = 1e-10)
  named <- E
  dimnames(named) <- list(c("x2", "x1"), c("x2", "x1"))
  expect_equal(denoise(m, at, .5, guidance = guidance("a", named)),
               denoise(m, at, .5, guidance = guidance("a", E[2:1, 2:1])), tolerance = 1e-12)
})

test_that("samplers meet the same, with the log-density of their map", {
  start <- x
  attr(start, "log_density") <- rep(-2, 6)
  at <- guidance("a", E)
  run <- guided_sample(mixture, guidance = at, sampler = sampler_euler(8, end = .01), start = start,
                       horizon = 1)
  y <- start
  attr(y, "log_density") <- NULL
  change <- 0
  times <- run$times
  for (k in 1:8) {
    h <- times[k] - times[k + 1]
    J <- score_jacobian(mixture, y, times[k], guidance = at)
    change <- change - vapply(1:6, function(i) {
      log(abs(det(diag(1 + h, 2) + h * J[i, , ])))
    }, 0)
    y <- y + h * (y + score(mixture, y, times[k], guidance = at))
  }
  expect_equal(run$x, y, tolerance = 1e-11)
  expect_equal(run$log_density, -2 + change, tolerance = 1e-10)
  # (in the mixture's own axes, so that the noise is the same) one strength for all variables is
  # plain guidance, for every quantity that a step evaluates
  for (s in list(sampler_ddim(20), sampler_rk4(5, "logsnr", end = 1e-3), sampler_em(20))) {
    plain <- guided_sample(even, 50, guidance("a", 2), s, key = c(1, 2), reduce = FALSE)
    same <- guided_sample(even, 50, guidance("a", diag(2, 2) + 1e-300), s, key = c(1, 2))
    expect_equal(same$x, plain$x, tolerance = 1e-9)
    expect_equal(same$log_density, plain$log_density, tolerance = 1e-8)
  }
})

test_that("laws of samplers have it, too", {
  m <- gaussmix(c(.5, .5), rbind(c(-1, -1), c(1, 1)), .3, class = c("a", "b"))
  at <- guidance("b", c(x1 = 3))
  law <- guided_law(m, guidance = at, sampler = sampler_ddim(30))
  run <- guided_sample(m, 4e4, at, sampler_ddim(30), key = c(3, 1))
  expect_equal(moments(law)$mean, colMeans(run$x), tolerance = .02, ignore_attr = TRUE)
  # guidance moves the other variable through the first one only, so the law differs from plain
  # guidance's
  plain <- guided_law(m, guidance = guidance("b", 3), sampler = sampler_ddim(30))
  expect_gt(moments(plain)$mean[2] - moments(law)$mean[2], .1)
  line <- named_mixture("A2")
  mean_of <- function(strength) {
    moments(guided_law(line, guidance = guidance("1", strength), sampler = sampler_em(40)))$mean
  }
  expect_equal(mean_of(c(x = 2)), mean_of(2), tolerance = 1e-8)
  expect_equal(moments(fokker_planck(line, guidance = guidance("1", c(x = 2)), nodes = 200,
                                     steps = 100))$mean,
               moments(fokker_planck(line, guidance = guidance("1", 2), nodes = 200,
                                     steps = 100))$mean, tolerance = 1e-10)
})

test_that("a sweep takes multiples, and scores of one's own have it", {
  key <- c(5, 6)
  sweep <- function(strength) {
    guidance_sweep(even, guidance = guidance("a", strength), strength = c(0, 3), n = 500, key = key,
                   sampler = sampler_ddim(20))$confidence
  }
  expect_equal(sweep(diag(2)), sweep(function(t) 1), tolerance = 1e-10)
  expect_false(isTRUE(all.equal(sweep(c(x1 = 1)), sweep(diag(2)))))
  model <- score_model(function(x, t, class) score(mixture, x, t, guidance = class))
  run <- function(error) {
    guided_sample(mixture, 20, guidance("a", E), sampler_ddim(10), key = key,
                  score_error = error)$x
  }
  expect_equal(run(score_error(model = model)), run(NULL), tolerance = 1e-9)
  expect_equal(run(score_error(scale = 1 + 1e-12)), run(NULL), tolerance = 1e-8)
  expect_false(isTRUE(all.equal(run(score_error(scale = .8)), run(NULL))))
})

test_that("bands are projectors", {
  P <- lapply(1:3, function(k) strength_bands(8, diag(3)[k, ], c(1, 3, 4)))
  expect_equal(Reduce(`+`, P), diag(8), tolerance = 1e-13)
  for (j in 1:3) for (k in 1:3) {
    expect_equal(P[[j]] %*% P[[k]], (j == k) * P[[j]], tolerance = 1e-13)
  }
  expect_equal(P[[1]], matrix(1 / 8, 8, 8), tolerance = 1e-13)
  expect_equal(strength_bands(8, c(2, 5, -1), c(1, 3, 4)), 2 * P[[1]] + 5 * P[[2]] - P[[3]],
               tolerance = 1e-13)
  expect_equal(strength_bands(1, 4), matrix(4))
  expect_equal(sum(diag(strength_bands(7, c(1, 0)))), 3)
  series <- gaussmix(c(.5, .5), rbind(rep(0, 8), 1:8 / 8), .2, class = c("flat", "rising"))
  at <- matrix(sin(1:16), 2)
  s <- score(series, at, .5, guidance = "rising")
  expect_equal(score(series, at, .5, guidance = guidance("rising", 3 * P[[2]])),
               s + 3 * (s - score(series, at, .5)) %*% P[[2]], tolerance = 1e-11)
})

test_that("what a strength per variable has not is refused", {
  at <- guidance("a", E)
  expect_mixguide_error(guidance("a", E, power = 1), "power")
  expect_mixguide_error(guidance("a", E, rule = "apg"), "rule")
  expect_mixguide_error(guidance("a", c(x1 = 1, x2 = NA)), "strength")
  # a vector could mean strengths to be tried one after the other
  expect_mixguide_error(guidance("a", c(1, 2)), "strength")
  expect_mixguide_error(guidance("a", matrix(1, 2, 3)), "strength")
  expect_mixguide_error(guidance("a", c(x1 = 1, x1 = 2)), "strength")
  expect_mixguide_error(guidance("a", scale = c(1, 2)), "scale")
  third <- guidance("a", c(x1 = 1, x3 = 2))
  expect_mixguide_error(score(mixture, x, .5, guidance = third), "strength")
  expect_mixguide_error(score(mixture, x, .5, guidance = guidance("a", c(y = 1))), "strength")
  expect_mixguide_error(score(mixture, x, .5, guidance = guidance("a", diag(3))), "strength")
  expect_mixguide_error(at + guidance("b", 1), "guidance")
  expect_mixguide_error(tilted_law(mixture, at), "guidance")
  expect_mixguide_error(guided_sample(mixture, 5, at, sampler_ddim(5), log_density = "divergence"),
                        "log_density")
  expect_mixguide_error(guided_sample(mixture, 5, at, sampler_ddpm(5, variance = "matched")),
                        "guidance")
  expect_mixguide_error(step_condition(mixture, guidance = at), "guidance")
  expect_mixguide_error(strength_bands(3, 1:4), "strength")
  expect_mixguide_error(strength_bands(3, 1:2, c(1, 1)), "widths")
  expect_output(print(guidance("a", c(x1 = 2))), "strength x1 = 2", fixed = TRUE)
})

test_that("extremes: one component, one dimension, point masses, large strengths, small times", {
  one <- gaussmix(1, t(c(1, 2)), .5)
  expect_equal(score(one, x, .5, guidance = guidance("1", E)), score(one, x, .5), tolerance = 1e-12)
  points <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1, 1)), 0, class = c("a", "b"))
  run <- guided_sample(points, 200, guidance("b", c(x1 = 2)), sampler_ddim(20))
  expect_lt(max(abs(run$x - 1)), 1e-6)
  at <- guidance("a", 1000 * E)
  s <- score(mixture, x, 1e-8, guidance = "a")
  expect_equal(score(mixture, x, 1e-8, guidance = at),
               s + 1000 * (s - score(mixture, x, 1e-8)) %*% t(E), tolerance = 1e-9)
})

# A process in its own coordinates is the plain process of the transformed mixture.

cov2 <- function(a, b, c) matrix(c(a, b, b, c), 2)
plain_frame <- function(x) {
  x <- as.data.frame(x)
  attributes(x) <- attributes(x)[c("names", "row.names", "class")]
  x
}

moved_pair <- function() {
  center <- c(140, -3)
  scale <- c(20, .05)
  means <- rbind(c(-1, .4), c(1.2, 1), c(.5, -1.6))
  covs <- list(cov2(.4, .1, .3), cov2(.3, -.1, .5), cov2(.25, 0, .3))
  class <- c("a", "b", "b")
  weights <- c(.4, .35, .25)
  plain <- gaussmix(weights, means, covs, class)
  back <- function(u) u * rep(scale, each = nrow(u)) + rep(center, each = nrow(u))
  units <- gaussmix(weights, back(means), lapply(covs, function(S) S * outer(scale, scale)), class)
  list(x = standardise(units, center, scale), u = plain, back = back, scale = scale,
       center = center, volume = sum(log(scale)))
}

test_that("standardise() takes the moments of the mixture, numbers, or nothing", {
  m <- gaussmix(c(.5, .5), cbind(x = c(-1, 3), y = 7), list(c(1, 0), c(3, 0)))
  s <- standardise(m)
  expect_equal(s$coordinates, list(center = c(x = 1, y = 7), scale = c(x = sqrt(6), y = 1)))
  expect_null(standardise(s, FALSE, FALSE)$coordinates)
  expect_equal(unname(standardise(m, 2, c(3, 4))$coordinates$scale), c(3, 4))
  expect_mixguide_error(standardise(m, scale = 0), "scale")
  expect_mixguide_error(standardise(m, scale = 1:3), "scale")
  expect_mixguide_error(standardise(m, center = "x"), "center")
  expect_null(m$coordinates)
  expect_null(named_mixture("A1")$coordinates)
})

test_that("mixtures from data are standardised, unless told not to", {
  f <- as_gaussmix(Species ~ ., iris)
  expect_equal(f$coordinates$center, colMeans(iris[1:4]))
  expect_equal(f$coordinates$scale^2, diag(cov(iris[1:4])) * 149 / 150)
  expect_null(as_gaussmix(Species ~ ., iris, standardise = FALSE)$coordinates)
  expect_equal(as_gaussmix(faithful$waiting)$coordinates$center, mean(faithful$waiting))
  expect_output(print(f), "standardised")
})

test_that("what is known at t = 0 does not know the coordinates", {
  at <- moved_pair()
  plain <- standardise(at$x, FALSE, FALSE)
  x <- rgaussmix(5, plain)
  expect_identical(dgaussmix(x, at$x), dgaussmix(x, plain))
  expect_identical(posterior(at$x, x), posterior(plain, x))
  expect_identical(score(at$x, x), score(plain, x))
  expect_identical(diffuse(at$x, 0)$means, plain$means)
  expect_equal(condition(at$x, c(x2 = -3))[1:5], condition(plain, c(x2 = -3))[1:5])
})

test_that("the process is that of the moved mixture: law, score, denoised point, classes", {
  at <- moved_pair()
  u <- rbind(c(0, 0), c(1, -2), c(-3, 1))
  x <- at$back(u)
  for (schedule in list(schedule_ou(), schedule_ve(), schedule_flow())) {
    t <- .4
    law <- diffuse(at$x, t, schedule)
    inner <- diffuse(at$u, t, schedule)
    expect_equal(dgaussmix(x, law, log = TRUE), dgaussmix(u, inner, log = TRUE) - at$volume,
                 tolerance = 1e-12)
    expect_equal(law$coordinates, at$x$coordinates)
    expect_equal(score(at$x, x, t, schedule, guidance("a", 2)),
                 score(at$u, u, t, schedule, guidance("a", 2)) / rep(at$scale, each = 3),
                 tolerance = 1e-10)
    expect_equal(score_jacobian(at$x, x, t, schedule),
                 score_jacobian(at$u, u, t, schedule) / rep(outer(at$scale, at$scale), each = 3),
                 tolerance = 1e-9)
    expect_equal(denoise(at$x, x, t, schedule), at$back(denoise(at$u, u, t, schedule)),
                 tolerance = 1e-10)
    expect_equal(posterior(at$x, x, t, schedule), posterior(at$u, u, t, schedule),
                 tolerance = 1e-10)
    # the score is the gradient of the density, whatever the coordinates
    expect_equal(score(at$x, x, t, schedule), score(law, x), tolerance = 1e-9)
  }
})

test_that("runs are those of the moved mixture", {
  at <- moved_pair()
  key <- c(3, 4)
  step <- sampler_ddim(20)
  a <- guided_sample(at$x, 50, guidance("a", 1), step, horizon = 5, key = key, trajectory = TRUE)
  b <- guided_sample(at$u, 50, guidance("a", 1), step, horizon = 5, key = key, trajectory = TRUE)
  expect_equal(a$x, at$back(b$x), tolerance = 1e-9)
  expect_equal(a$confidence, b$confidence, tolerance = 1e-8)
  expect_equal(a$log_density, b$log_density - at$volume, tolerance = 1e-8)
  expect_equal(a$trajectory[7, , ], at$back(b$trajectory[7, , ]), tolerance = 1e-9)
  expect_equal(entropy(a)$estimate, entropy(b)$estimate + at$volume, tolerance = 1e-8)
  # other starts: a law, points with a log-density, the exact start
  law <- gaussmix(1, t(c(.2, -.1)), 1.5)
  start <- gaussmix(1, at$back(law$means), list(1.5 * at$scale^2))
  points <- rgaussmix(30, law)
  attr(points, "log_density") <- dgaussmix(points, law, log = TRUE)
  placed <- at$back(points)
  attr(placed, "log_density") <- attr(points, "log_density") - at$volume
  for (starts in list(list(start, law), list(placed, points), list("exact", "exact"))) {
    a <- guided_sample(at$x, 30, guidance("b", 3), step, horizon = 5, key = key,
                       start = starts[[1]])
    b <- guided_sample(at$u, 30, guidance("b", 3), step, horizon = 5, key = key,
                       start = starts[[2]])
    expect_equal(a$x, at$back(b$x), tolerance = 1e-8)
    expect_equal(a$log_density, b$log_density - at$volume, tolerance = 1e-7)
  }
  # guidance away from another model, and a wrong score
  worse <- gaussmix(1, at$back(t(c(0, 0))), list(4 * at$scale^2), "b")
  bad <- gaussmix(1, t(c(0, 0)), 4, "b")
  a <- guided_sample(at$x, 30, guidance("b", 1, negative = worse), step,
                     horizon = 5, key = key, score_error = score_error(bias = c(.1, .2) / at$scale))
  b <- guided_sample(at$u, 30, guidance("b", 1, negative = bad), step, horizon = 5,
                     key = key, score_error = score_error(bias = c(.1, .2)))
  expect_equal(a$x, at$back(b$x), tolerance = 1e-8)
})

test_that("summaries, sweeps, paths and tilts are", {
  at <- moved_pair()
  key <- c(5, 6)
  step <- sampler_ddim(20)
  both <- function(f, ...) lapply(at[c("x", "u")], f, ..., horizon = 5, key = key)
  s <- both(guided_summary, 500, guidance("a", 1), step)
  expect_equal(s$x$mean, drop(at$back(t(s$u$mean))), tolerance = 1e-8, ignore_attr = TRUE)
  expect_equal(s$x$sd, s$u$sd * at$scale, tolerance = 1e-8, ignore_attr = TRUE)
  expect_equal(s$x$entropy$estimate, s$u$entropy$estimate + at$volume, tolerance = 1e-8)
  s <- both(guidance_sweep, 400, "b", c(0, 2), step)
  expect_equal(s$x$confidence, s$u$confidence, tolerance = 1e-8)
  expect_equal(s$x$entropy, s$u$entropy + at$volume, tolerance = 1e-8)
  p <- both(coupled_paths, 20, "a", c(1, 4), sampler_euler(30))
  expect_equal(p$x$table, p$u$table, tolerance = 1e-6)
  w <- both(tilted_sample, 200, guidance("a", 1), sampler_em(20))
  expect_equal(w$x$x, at$back(w$u$x), tolerance = 1e-8)
  expect_equal(w$x$log_normaliser, w$u$log_normaliser, tolerance = 1e-8)
  expect_equal(w$x$log_density, w$u$log_density - at$volume, tolerance = 1e-8)
})

test_that("laws, errors and bounds are", {
  at <- moved_pair()
  u <- rbind(c(0, 0), c(1, -1))
  same <- function(f, ..., tolerance = 1e-6) {
    expect_equal(plain_frame(f(at$x, ...)), plain_frame(f(at$u, ...)), tolerance = tolerance)
  }
  one <- function(m) marginal(m, 1)
  law <- lapply(at[c("x", "u")], function(m) {
    guided_law(one(m), guidance("a", 1), sampler_em(30), horizon = 5)
  })
  expect_equal(drop(law$x$x), 140 + 20 * drop(law$u$x), tolerance = 1e-9, ignore_attr = TRUE)
  expect_equal(entropy(law$x)$estimate, entropy(law$u)$estimate + log(20), tolerance = 1e-9)
  expect_equal(law_density(law$x, 140 + 20 * u[, 1]), law_density(law$u, u[, 1]) / 20,
               tolerance = 1e-9)
  expect_equal(by_quantity(law_distance(law$x, one(at$x)))$kl,
               by_quantity(law_distance(law$u, one(at$u)))$kl,
               tolerance = 1e-7)
  tilt <- lapply(at[c("x", "u")], tilted_law, guidance("a", 2))
  expect_equal(law_density(tilt$x, at$back(u), log = TRUE),
               law_density(tilt$u, u, log = TRUE) - at$volume, tolerance = 1e-9)
  flow <- lapply(at[c("x", "u")], function(m) {
    fokker_planck(one(m), guidance("a", 1), nodes = 100, steps = 50, horizon = 5)
  })
  expect_equal(law_density(flow$x, 140 + 20 * u[, 1]), law_density(flow$u, u[, 1]) / 20,
               tolerance = 1e-6)
  same(function(m) guided_error(one(m), sampler = sampler_ddim(20), horizon = 5))
  same(function(m) path_kl(one(m), sampler = sampler_em(50, "uniform"), horizon = 5))
  same(function(m) error_budget(one(m), sampler = sampler_em(50, "uniform"), horizon = 5))
  same(lipschitz, t = .1)
  same(information, t = c(0, 1), quantity = "second_moment")
  same(function(m) guidance_sweep(one(m), guidance = "a", strength = c(0, 1),
                                  sampler = sampler_ddim(10),
                                  horizon = 5)[c("confidence", "gain")])
  fisher <- lapply(at[c("x", "u")], information, c(0, .5))
  expect_equal(fisher$x$fisher, fisher$u$fisher, tolerance = 1e-8)
  expect_equal(fisher$x$entropy, fisher$u$entropy + at$volume, tolerance = 1e-8)
  expect_equal(fisher$x$entropy[1], entropy(at$x)$estimate, tolerance = 1e-2)
})

test_that("a reduced law keeps the coordinates beside what is reduced", {
  center <- c(10, -20, 3)
  scale <- c(2, 3, .1)
  means <- rbind(c(-1, 0, 0), c(1, 1, 0))
  back <- function(u) u * rep(scale, each = nrow(u)) + rep(center, each = nrow(u))
  u <- gaussmix(c(.5, .5), means, .5)
  x <- standardise(gaussmix(c(.5, .5), back(means), list(.5 * scale^2, .5 * scale^2)), center,
                   scale)
  law <- lapply(list(x = x, u = u), guided_law, guidance("1", 1), sampler_em(20), horizon = 5)
  at <- rbind(c(0, .2, 1), c(1, 1, -1))
  expect_equal(law_density(law$x, back(at), log = TRUE),
               law_density(law$u, at, log = TRUE) - sum(log(scale)), tolerance = 1e-8)
  expect_equal(entropy(law$x)$estimate, entropy(law$u)$estimate + sum(log(scale)),
               tolerance = 1e-8)
  expect_equal(unname(mean(law$x)), drop(back(t(unname(mean(law$u))))), tolerance = 1e-8)
  expect_equal(unname(moments(law$x)$cov), unname(moments(law$u)$cov) * outer(scale, scale),
               tolerance = 1e-8)
  expect_equal(by_quantity(law_distance(law$x, x))$kl, by_quantity(law_distance(law$u, u))$kl,
               tolerance = 1e-6)
  run <- lapply(list(x = x, u = u), guided_sample, 20, guidance("2", 1), sampler_ddim(20),
                horizon = 5, key = c(1, 2))
  expect_match(run$x$reduced, "->")
  expect_equal(run$x$log_density, run$u$log_density - sum(log(scale)), tolerance = 1e-8)
})

test_that("one Gaussian's sampler has its moments in the variables of the mixture", {
  center <- c(5, -2)
  scale <- c(3, .2)
  S <- cov2(.5, .2, .4)
  u <- gaussmix(1, t(c(.3, -.5)), S)
  x <- standardise(gaussmix(1, t(center + scale * c(.3, -.5)), S * outer(scale, scale)), center,
                   scale)
  a <- guided_moments(x, sampler = sampler_ddim(20), horizon = 5)
  b <- guided_moments(u, sampler = sampler_ddim(20), horizon = 5)
  expect_equal(a$mean, center + scale * b$mean, tolerance = 1e-10)
  expect_equal(a$cov, b$cov * outer(scale, scale), tolerance = 1e-10)
  expect_equal(a$kl, b$kl, tolerance = 1e-8)
})

test_that("zero-shot methods run in the coordinates of the process", {
  at <- moved_pair()
  # of length 1, as the rows of an observation are in these coordinates
  H <- t(c(.8, -.6))
  y <- .3
  in_x <- observation(drop(y + H %*% (at$center / at$scale)), H / at$scale, .04)
  in_u <- observation(y, H, .04)
  for (method in list(zero_shot_exact(), zero_shot_bo(), zero_shot_dps(), zero_shot_tds(8))) {
    a <- conditional_sample(at$x, 20, in_x, method, key = c(7, 8))
    b <- conditional_sample(at$u, 20, in_u, method, key = c(7, 8))
    expect_equal(a$x, at$back(b$x), tolerance = 1e-6)
  }
  point <- t(c(.1, .2))
  expect_equal(score(at$x, at$back(point), 20, observation = in_x, method = zero_shot_bo()),
               score(at$u, point, 20, observation = in_u, method = zero_shot_bo()) / at$scale,
               tolerance = 1e-8)
  expect_equal(plain_frame(mismatch(at$x, in_x, zero_shot_bo(), nodes = 20)),
               plain_frame(mismatch(at$u, in_u, zero_shot_bo(), nodes = 20)),
               tolerance = 1e-6)
  expect_equal(mutual_information(at$x, observation(H = H / at$scale))$estimate,
               mutual_information(at$u, observation(H = H))$estimate, tolerance = 1e-6)
})

test_that("units of the data, and of what was observed, change nothing", {
  at <- moved_pair()
  scale <- at$scale * c(1e4, 1e-5)
  x <- standardise(at$u, c(1, 2), c(3, 1))
  units <- function(m) {
    if (identical(m, x)) list(D = c(1, 1), c = c(0, 0)) else list(D = scale, c = c(5e4, -3))
  }
  place <- function(u, m) {
    to <- units(m)
    u * rep(to$D, each = nrow(u)) + rep(to$c, each = nrow(u))
  }
  to <- list(D = scale, c = c(5e4, -3))
  y <- standardise(gaussmix(x$weights, x$means * rep(to$D, each = 3) + rep(to$c, each = 3),
                            lapply(1:3, function(k) component_cov(x, k) * outer(to$D, to$D)),
                            x$class),
                   x$coordinates$center * to$D + to$c, x$coordinates$scale * to$D)
  key <- c(1, 2)
  # the first variable by its name, and two sums in their own units
  one <- function(m) observation(c(x1 = place(t(c(.3, 0)), m)[1]), noise = .1 * units(m)$D[1]^2)
  two <- function(m) {
    H <- rbind(c(1, 2), c(.5, -1)) / rep(units(m)$D, each = 2)
    observation(c(.2, -.4) + drop(H %*% units(m)$c), H, c(.1, .2))
  }
  rough <- function(m) {
    H <- 50 * rbind(c(1, 2), c(.5, -1)) / rep(units(m)$D, each = 2)
    observation(50 * c(.2, -.4) + drop(H %*% units(m)$c), H, 2500 * diag(c(.1, .2)))
  }
  worse <- function(m, ...) {
    g <- gaussmix(1, place(t(c(.1, .1)), m), list(4 * units(m)$D^2), "a")
    standardise(g, ...)
  }
  model <- function(m) {
    function(z, t) {
      z <- (z - rep(units(m)$c, each = nrow(z))) / rep(units(m)$D, each = nrow(z))
      (-1.1 * z) / rep(units(m)$D, each = nrow(z))
    }
  }
  step <- sampler_ddim(15)
  of_run <- function(m, ...) {
    run <- guided_sample(m, 60, ..., sampler = step, key = key)
    list((run$x - place(0 * run$x, m)) / rep(units(m)$D, each = 60), run$confidence)
  }
  zero_shot <- function(m, obs, method) {
    run <- conditional_sample(m, 50, obs(m), method, key = key)
    list((run$x - place(0 * run$x, m)) / rep(units(m)$D, each = 50),
         judge_samples(run, directions = 10, key = key)[, -1])
  }
  calls <- list(
    negative = function(m) of_run(m, guidance("a", 1, negative = worse(m, FALSE, FALSE))),
    others = function(m) of_run(m, guidance("a", 1, negative = worse(m, c(7, 8), c(3, 2)))),
    model = function(m) {
      of_run(m, guidance("a", 1), score_error = score_error(model = worse(m, 3, 2)))
    },
    start = function(m) of_run(m, guidance("b", 1), start = worse(m, 3, 2)),
    mismatch = function(m) as.data.frame(mismatch(m, model = model(m), nodes = 6)),
    other_mixture = function(m) as.data.frame(mismatch(m, model = worse(m, 3, 2), nodes = 6)),
    expected = function(m) {
      as.data.frame(mismatch(m, observation(variables = 1), zero_shot_bo(), times = c(50, 20, 1),
                             n = 20))
    },
    dps = function(m) zero_shot(m, one, zero_shot_dps(.01)),
    mcg = function(m) zero_shot(m, two, zero_shot_mcg(.1)),
    rough = function(m) zero_shot(m, rough, zero_shot_dps(.1)),
    scan = function(m) {
      sweep <- guidance_sweep(m, guidance = "a", strength = c(0, 2), n = 100, steps = c(10, 15),
                              key = key)
      sweep[c("confidence", "gain")]
    },
    target = function(m) {
      sweep <- guidance_sweep(m, 100, "a", c(0, 2), step, key = key)
      attr(sweep, "setup")$target[c("confidence", "shift")]
    },
    tilt = function(m) {
      tilted_sample(m, 100, guidance("a", 2), sampler_em(10), key = key)$log_normaliser_check
    },
    bend = function(m) {
      sweep <- guidance_sweep(m, 50, "a", 0:1, step, key = key, keep = TRUE)
      ends <- sweep_density(sweep, 1, 20, NULL)
      ends$density * diff(ends$edges)
    },
    identities = function(m) {
      as.data.frame(guidance_identities(m, 50, "a", 1, sampler_em(10), key = key))
    },
    sharp = function(m) as.data.frame(lipschitz(m, .1, center = place(t(c(1, -1)), m)[1, ]))
  )
  for (name in names(calls)) {
    expect_equal(suppressWarnings(calls[[name]](y)), suppressWarnings(calls[[name]](x)),
                 tolerance = 1e-5, label = name)
  }
  # the second form of the observation is equivalent for methods that ignore noise
  of <- function(obs) zero_shot(x, obs, zero_shot_dps(.1))[[1]]
  expect_equal(of(rough), of(two),
               tolerance = 1e-6)
})

test_that("coordinates in which digits are lost, or that were damaged, are errors", {
  m <- gaussmix(c(.5, .5), c(-1, 1), .5)
  expect_mixguide_error(standardise(m, 3, 1e-200), "scale")
  expect_mixguide_error(standardise(m, 0, 1e200), "scale")
  expect_mixguide_error(standardise(m, 1e17, 1), "center")
  expect_null(standardise(gaussmix(1, 1e17, 1), FALSE, FALSE)$coordinates)
  for (bad in list(c(1, 2), -1, NA_real_, "1", numeric())) {
    for (field in c("center", "scale")) {
      if (field == "center" && identical(bad, -1)) next
      changed <- standardise(m, 1, 2)
      changed$coordinates[[field]] <- bad
      expect_mixguide_error(guided_sample(changed, 2), "mixture")
    }
  }
})

test_that("a mixture of the same variables in another order is refused, wherever it comes", {
  m <- gaussmix(c(.5, .5), cbind(u = c(-1, 1), v = c(20, 30)), diag(c(1, 9)), c("a", "b"))
  other <- marginal(m, c("v", "u"))
  step <- sampler_ddim(20)
  expect_mixguide_error(guided_sample(m, 3, start = other), "start")
  expect_mixguide_error(guided_law(m, NULL, step, start = other), "start")
  expect_mixguide_error(guided_error(m, sampler = step, start = other), "start")
  expect_mixguide_error(guided_sample(m, 3, guidance("a", 1, negative = other)), "negative")
  expect_mixguide_error(guided_sample(m, 3, score_error = score_error(model = other)), "model")
  expect_mixguide_error(mismatch(m, model = other, nodes = 3), "model")
  expect_mixguide_error(law_distance(tilted_law(m, "a"), other), "target")
  expect_mixguide_error(law_distance(tilted_law(m, "a"), tilted_law(other, "a")), "target")
  # points with their own names
  x <- rgaussmix(50, m)
  expect_identical(judge_samples(x[, 2:1], m, directions = 5, key = c(1, 2)),
                   judge_samples(x, m, directions = 5, key = c(1, 2)))
})

# Strengths that depend on q = p(class | x), against the formula in plain R, against theorems, and
# against plain guidance where they are constant.

mixture <- gaussmix(c(.3, .3, .4), rbind(c(3, 1), c(1, 3), c(4, 4)), 1, class = c("a", "b", "c"))
x <- cbind(c(-1, 0, 2, 3, 1.5, 5), c(.5, 3, 2, -1, 1.5, 7))
t <- .5

# s_c + eta g, with g = s_c - s and q from posterior().
plain_score <- function(m, x, t, class, eta) {
  s_c <- score(m, x, t, guidance = class)
  s_c + eta(posterior(m, x, t)[, class]) * (s_c - score(m, x, t))
}

# D s_c + eta Dg + eta'(log q) g g' at each point; `slope` is eta'(log q).
plain_jacobian <- function(m, x, t, class, eta, slope) {
  q <- posterior(m, x, t)[, class]
  J <- score_jacobian(m, x, t, guidance = class)
  g <- score(m, x, t, guidance = class) - score(m, x, t)
  J <- J + eta(q) * (J - score_jacobian(m, x, t))
  for (i in seq_len(nrow(x))) J[i, , ] <- J[i, , ] + slope(q[i]) * outer(g[i, ], g[i, ])
  J
}

# For each kind: the strength, eta and its derivative by log q. The class has probability p.
kinds <- function(p) {
  skip_if_not_installed("numDeriv")
  capped <- function(q) pmin(3 * .9 * q / p / (.9 * q / p + .1), 1) - 1
  free <- function(q) {
    L <- q / p
    ifelse(L > .1 & .1 < 4 * (L - .1), .1 / (L - .1), 4)
  }
  by_log <- function(f) function(q) numDeriv::grad(function(l) f(exp(l)), log(q))
  kinds <- list(
    one = list(function(t, q) 4 * q * (1 - q)^2, function(q) 4 * q * (1 - q)^2),
    logs = list(function(t, log_q, log_not_q) 1 - exp(log_q) * log_not_q,
                function(q) 1 - q * log1p(-q)),
    feedback = list(strength_profile("feedback", pi = .9, most = 3), capped),
    unmixed = list(strength_profile("feedback", pi = .9, most = 5, mixed = 0), free),
    dng = list(strength_profile("dng", lambda = .7), function(q) -1 - .7 * q / (1 - q),
               function(q) -.7 * q / (1 - q)^2),
    q_power = list(strength_profile("q_power", 2, sure = 1, unsure = .5),
                   function(q) 2 * q * sqrt(1 - q))
  )
  lapply(kinds, function(kind) if (length(kind) == 3) kind else c(kind, by_log(kind[[2]])))
}

test_that("scores and their derivatives are the formulas, for every form of covariances", {
  set.seed(1)
  for (form in FORMS) {
    for (size in list(c(1, 3), c(3, 4), c(2, 40))) {
      m <- random_mixture(form, size[1], size[2])$mixture
      at <- matrix(rnorm(5 * size[1], 0, 2), 5)
      p <- sum(m$weights[m$class == "a"])
      for (name in names(kinds(p))) {
        kind <- kinds(p)[[name]]
        towards <- guidance("a", kind[[1]])
        info <- paste(form, size[1], name)
        expect_equal(score(m, at, .3, guidance = towards), plain_score(m, at, .3, "a", kind[[2]]),
                     tolerance = 1e-10, info = info, ignore_attr = TRUE)
        expect_equal(score_jacobian(m, at, .3, guidance = towards),
                     plain_jacobian(m, at, .3, "a", kind[[2]], kind[[3]]),
                     tolerance = 1e-8, info = info, ignore_attr = TRUE)
      }
    }
  }
})

test_that("the derivative is that of the score, also of a denoised point", {
  skip_if_not_installed("numDeriv")
  for (kind in kinds(.3)[c("one", "unmixed", "dng")]) {
    towards <- guidance("a", kind[[1]])
    J <- score_jacobian(mixture, x, t, guidance = towards)
    for (i in seq_len(nrow(x))) {
      slope <- numDeriv::jacobian(function(x) score(mixture, x, t, guidance = towards), x[i, ])
      expect_equal(unname(J[i, , ]), slope, tolerance = 1e-7)
    }
    expect_equal(denoise(mixture, x, t, guidance = towards),
                 (x + (1 - exp(-1)) * score(mixture, x, t, guidance = towards)) / exp(-.5),
                 tolerance = 1e-12)
  }
  # divergence and products, by the engine alone
  kind <- guidance("a", strength_profile("q_power", 2, sure = 1))
  guide <- guidance_models(kind, mixture)
  level <- noise_level(mixture, t, schedule_ou())
  eval <- function(what, ...) {
    core_eval(mixture, x, level$a, level$b2, guide$models, guide$coef(t), what, ...,
              push = guide$push(t))
  }
  J <- eval("jacobian")
  expect_equal(eval("divergence"), J[, 1, 1] + J[, 2, 2], tolerance = 1e-13)
  D <- eval("jacobian", "denoised")
  expect_equal(D, (rep(diag(2), each = 6) + level$b2 * J) / level$a, tolerance = 1e-12,
               ignore_attr = TRUE)
  moved <- guided_sample(mixture, guidance = kind, start = x, sampler = sampler(
    "product", function(k, times, schedule) {
      list(op_eval("s", "x", times[k]), op_product("s", "x", times[k], coef = .3),
           op_linear("x", c(x = 1, s = .1)))
    }, 1), horizon = t)$x
  s <- score(mixture, x, t, guidance = kind)
  by_hand <- t(vapply(1:6, function(i) x[i, ] + .1 * drop((diag(2) + .3 * J[i, , ]) %*% s[i, ]),
                      double(2)))
  expect_equal(moved, by_hand, tolerance = 1e-13, ignore_attr = TRUE)
})

test_that("feedback guidance gives the score of the class back from a mixed model", {
  # the model's conditional law is pi p(x | a) + (1 - pi) p(x), a mixture of all components
  pi <- .8
  mixed <- gaussmix(pi * (mixture$class == "a") + (1 - pi) * mixture$weights, mixture$means, 1)
  a <- exp(-t)
  ratio <- dgaussmix(x, diffuse(mixed, t)) / dgaussmix(x, diffuse(mixture, t))
  for (most in c(1.5, 4, Inf)) {
    w <- pmin(ratio / (ratio - (1 - pi)), most)
    learned <- w * score(mixed, x, t) + (1 - w) * score(mixture, x, t)
    at <- guidance("a", strength_profile("feedback", pi = pi, most = most))
    expect_equal(score(mixture, x, t, guidance = at), learned, tolerance = 1e-10)
    if (most == Inf) expect_equal(learned, score(mixture, x, t, guidance = "a"), tolerance = 1e-10)
  }
  # also far from the class, where the scale reaches its cap; a capped strength is not exact there
  one <- named_mixture("A2")
  law <- function(...) guided_law(one, guidance("1", ...), sampler_em(40))
  exact <- law(strength_profile("feedback", pi = .95))
  expect_equal(exact$log_density, law(0)$log_density, tolerance = 1e-10)
  capped <- law(strength_profile("feedback", pi = .95, most = 10))
  tv <- law_distance(capped, law(0))
  expect_equal(tv$estimate[tv$quantity == "total_variation"], 6e-6, tolerance = .02)
})

test_that("dynamic negative guidance of 1 is not the class", {
  dng <- guidance("a", strength_profile("dng"))
  for (t in c(.01, .5, 3)) {
    expect_equal(score(mixture, x, t, guidance = dng), score(mixture, x, t, guidance = c("b", "c")),
                 tolerance = 1e-10)
    expect_equal(score_jacobian(mixture, x, t, guidance = dng),
                 score_jacobian(mixture, x, t, guidance = c("b", "c")), tolerance = 1e-10)
  }
  # where q is 1 up to rounding, and the two scores of the printed formula are the same
  deep <- rbind(c(60, -20))
  expect_equal(score(mixture, deep, t, guidance = dng), score(mixture, deep, t,
                                                              guidance = c("b", "c")),
               tolerance = 1e-10)
  one <- named_mixture("D3")
  dng <- guidance("1", strength_profile("dng"))
  # the nodes follow the class, and differ
  same <- function(of, z = seq(-6, 6, .5)) {
    laws <- list(of(dng), of(c("2", "3")))
    expect_equal(entropy(laws[[1]])$estimate, entropy(laws[[2]])$estimate, tolerance = 1e-10)
    expect_equal(moments(laws[[1]]), moments(laws[[2]]), tolerance = 1e-10)
    expect_equal(law_density(laws[[1]], z), law_density(laws[[2]], z), tolerance = 1e-9)
  }
  for (sampler in list(sampler_em(30), sampler_ddim(30), sampler_ddpm(20, variance = "matched"))) {
    same(function(guidance) guided_law(one, guidance, sampler))
  }
  # on one grid
  density <- function(guidance) {
    run <- list(mixture = one, guidance = settle_guidance(as_guidance(guidance), schedule_ou()),
                schedule = schedule_ou(), start = gaussmix(1, 0, 1), horizon = 4, end = 0,
                grid = "quadratic")
    process_density(run, 300, 100, c(-8, 8))$density
  }
  expect_equal(density(dng), density(c("2", "3")), tolerance = 1e-10)
})

test_that("a constant function of q is plain guidance, with all that is carried along", {
  constant <- guidance("a", function(t, q) 3)
  plain <- guidance("a", 3)
  same <- function(of, ...) expect_equal(of(constant), of(plain), ..., tolerance = 1e-12,
                                         ignore_attr = TRUE)
  for (sampler in list(sampler_rk4(8), sampler_ddim(10), sampler_dpmpp_2m(10), sampler_heun(8))) {
    same(function(g) {
      guided_sample(mixture, 50, g, sampler, key = c(1, 2))[c("x", "log_density", "confidence")]
    })
  }
  same(function(g) {
    guided_sample(mixture, 50, g, sampler_ddim(10), key = c(1, 2),
                  log_density = "divergence")$log_density
  })
  for (sampler in list(sampler_ddpm(10), sampler_ddpm(10, variance = "matched"), sampler_em(9),
                       sampler_dpom(5))) {
    same(function(g) guided_sample(mixture, 50, g, sampler, key = c(1, 2))$x)
  }
  same(function(g) guided_sample(mixture, 50, g, sampler_ddim(5), key = c(1, 2),
                                 score_error = score_error(.1, 1.1, .2))$x)
  same(function(g) guided_summary(mixture, 500, g, sampler_ddim(5), key = c(1, 2))$mean)
  same(function(g) as.data.frame(guidance_sweep(mixture, guidance = g, strength = c(0, .5, 2),
                                                n = 200, key = c(1, 2),
                                                sampler = sampler_ddim(5)))$confidence[1])
  same(function(g) guided_law(mixture, g, sampler_ddim(5), nodes = 60)$log_density)
  same(function(g) {
    run <- law_run(process_diffusion(diffusion(mixture, g, sampler_ddim(10))), reduce = FALSE)
    pull_back(run, x)$log_density
  })
})

test_that("runs reduce, and stay what they are", {
  set.seed(2)
  means <- matrix(rnorm(30), 3) %*% diag(c(rep(1, 9), 2))
  m <- gaussmix(c(.2, .3, .5), means, .5, class = c("a", "b", "c"))
  for (strength in list(function(t, q) 4 * (1 - q), strength_profile("q_power", 4),
                        strength_profile("dng", lambda = 2))) {
    run <- function(...) guided_sample(m, 200, guidance("a", strength), ..., key = c(1, 2))
    small <- run(sampler_ddim(10))
    expect_match(small$reduced, "10 -> 2 dimensions")
    large <- run(sampler_ddim(10), reduce = FALSE)
    expect_equal(small$x, large$x, tolerance = 1e-10)
    expect_equal(small$log_density, large$log_density, tolerance = 1e-10)
  }
  # the function, and the compiled one
  run <- function(strength) guided_sample(m, 200, guidance("a", strength), key = c(1, 2))
  expect_equal(run(function(t, q) 4 * (1 - q))[c("x", "log_density")],
               run(strength_profile("q_power", 4))[c("x", "log_density")], tolerance = 1e-9)
})

test_that("log-densities that are carried along are those of the map", {
  one <- named_mixture("D3")
  for (strength in list(function(t, q) 5 * q * exp(-t), strength_profile("q_power", 5),
                        strength_profile("feedback", pi = .9, most = 3, mixed = 0))) {
    at <- function(x, ...) {
      guided_sample(one, guidance = guidance("1", strength), sampler = sampler_ddim(40),
                    start = structure(cbind(x), log_density = dnorm(x, log = TRUE)), ...)
    }
    z <- seq(-3, 3, length.out = 41)
    run <- at(z)
    # five-point differences of the map
    h <- 1e-3
    moved <- lapply(c(-2, -1, 1, 2), function(i) at(z + i * h)$x[, 1])
    slope <- (8 * (moved[[3]] - moved[[2]]) - (moved[[4]] - moved[[1]])) / (12 * h)
    expect_equal(run$log_density, dnorm(z, log = TRUE) - log(abs(slope)), tolerance = 1e-6)
  }
})

test_that("a law, its particles and continuous time agree", {
  one <- named_mixture("D3")
  towards <- guidance("1", function(t, q) 6 * (1 - q)^2)
  law <- guided_law(one, towards, sampler_em(50))
  run <- guided_sample(one, 2^14, towards, sampler_em(50), key = c(1, 2))
  q <- confidence(run)
  expect_lt(abs(confidence(law)$estimate - q$estimate), 5 * q$se)
  # the limit of small steps
  limit <- confidence(fokker_planck(one, towards, nodes = 1000))$estimate
  twice <- guided_law(one, towards, sampler_em(100))
  gap <- c(confidence(law)$estimate, confidence(twice)$estimate) - limit
  expect_lt(abs(gap[2]), .7 * abs(gap[1]))
})

test_that("sweeps multiply the strength, and intervals end it", {
  own <- guidance("a", function(t, q) 1 - q)
  named <- guidance("a", strength_profile("q_power"))
  sweep <- function(g) {
    guidance_sweep(mixture, guidance = g, strength = c(0, 1, 4), n = 500, key = c(1, 2),
                   sampler = sampler_ddim(10),
                   points = "random")
  }
  expect_equal(sweep(own)$confidence, sweep(named)$confidence, tolerance = 1e-9)
  by_hand <- guided_sample(mixture, 500, guidance("a", function(t, q) 4 * (1 - q)),
                           sampler_ddim(10), key = c(1, 2))
  expect_equal(sweep(own)$confidence[3], mean(by_hand$confidence), tolerance = 1e-10)
  within <- guidance("a", function(t, q) if (t > 1) stop("not there") else q, interval = c(0, 1))
  expect_equal(score(mixture, x, 2, guidance = within), score(mixture, x, 2, guidance = "a"))
  expect_equal(score(mixture, x, .5, guidance = within),
               plain_score(mixture, x, .5, "a", function(q) q), tolerance = 1e-12)
})

test_that("what a strength knows of the run it may ask for beside q", {
  met <- list()
  towards <- guidance("a", function(t, q, fraction, r) {
    met[[length(met) + 1]] <<- c(t, fraction, r, length(q))
    q
  })
  run <- guided_sample(mixture, 20, towards, sampler_ddim(4), log_density = "none")
  expect_equal(vapply(met, `[`, 0, 2), (0:3) / 4)
  expect_equal(vapply(met, `[`, 0, 1), run$times[1:4])
  expect_true(all(vapply(met, `[`, 0, 4) == 20))
  expect_error(fokker_planck(named_mixture("D3"), guidance("1", function(t, q, r) q)),
               class = "mixguide_error_input")
})

test_that("extremes stay numbers", {
  far <- gaussmix(c(.5, .5), c(-40, 40), 1, class = c("a", "b"))
  at <- c(-45, -40, 0, 1e-3, 8.5, 40, 1e4)
  q <- posterior(far, at, .01)[, "a"]
  expect_true(any(q == 1) && any(q < 1e-300) && any(q > 1e-300 & q < 1e-200))
  for (strength in list(strength_profile("feedback", pi = .5, most = 1e3), function(t, q) 1000 * q,
                        strength_profile("q_power", 1000, sure = 3),
                        strength_profile("feedback", pi = .5, most = 1e3, mixed = 0),
                        strength_profile("dng", lambda = 1000), function(t, log_q) log_q)) {
    towards <- guidance("a", strength)
    expect_true(all(is.finite(score(far, at, .01, guidance = towards))))
    expect_true(all(is.finite(score_jacobian(far, at, .01, guidance = towards))))
  }
  # a class that is the whole mixture, and a mixture of one component
  for (m in list(gaussmix(1, 0, 1, class = "a"), gaussmix(c(.5, .5), c(0, 1), 1,
                                                          class = c("a", "a")))) {
    for (strength in list(function(t, q) stop("no one asks"), strength_profile("dng"))) {
      expect_equal(score(m, c(-1, 2), .1, guidance = guidance("a", strength)),
                   score(m, c(-1, 2), .1))
      expect_length(guided_sample(m, 5, guidance("a", strength))$x, 5)
    }
  }
})

test_that("a wrong model has its own q", {
  wrong <- gaussmix(c(.6, .2, .2), mixture$means + .5, 2, class = c("a", "b", "c"))
  towards <- guidance("a", strength_profile("q_power", 3))
  run <- guided_sample(mixture, guidance = towards, sampler = sampler_ddim(6), start = x,
                       score_error = score_error(model = wrong))
  expect_equal(run$x, guided_sample(wrong, guidance = towards, sampler = sampler_ddim(6),
                                    start = x)$x, tolerance = 1e-12, ignore_attr = TRUE)
})

test_that("engines and blocks agree", {
  towards <- guidance("a", strength_profile("feedback", pi = .9, most = 3))
  run <- function() guided_sample(mixture, 333, towards, sampler_ddim(7), key = c(3, 4))
  here <- run()
  expect_equal(with_engine("portable", run())$x, here$x, tolerance = 1e-10)
  expect_identical(guided_sample(mixture, 100, towards, sampler_ddim(7), key = c(3, 4))$x,
                   here$x[1:100, ])
})

test_that("what has no meaning is refused, and bad functions are named with their time", {
  input <- function(code, ...) expect_error(code, ..., class = "mixguide_error_input")
  q <- function(t, q) q
  one <- named_mixture("D3")
  input(guidance("a", q, negative = "b"), "negative")
  input(guidance("a", q, power = 1), "power")
  input(guidance("a", strength_profile("dng"), rule = "apg"), "rule")
  input(guidance("a", q) + guidance("b", 1), "sum")
  input(guidance("a", 1) + guidance("b", strength_profile("dng")), "sum")
  input(tilted_law(mixture, guidance("a", q)), "depends on q")
  input(tilted_sample(mixture, 10, guidance("a", q)), "time alone")
  input(coupled_paths(one, guidance = guidance("1", q), n = 10), "time alone")
  input(strength_limit(one, guidance = guidance("1", q)), "time alone")
  own <- score_error(model = score_model(function(x, t, class) x))
  input(guided_sample(mixture, 10, guidance("a", q), score_error = own), "knows no q")
  input(strength_profile("feedback", mixed = 0), "most")
  input(strength_profile("feedback", pi = 0), "pi")
  input(strength_profile("q_power", sure = -1), "sure")
  bad <- function(f) guided_sample(mixture, 10, guidance("a", f), sampler_ddim(3))
  fails <- function(f, text) expect_error(bad(f), text, class = "mixguide_error")
  fails(function(t, q) q[-1], "`strength`.*length 49 .* at t = ")
  fails(function(t, q) "a", "at t = ")
  fails(function(t, q) replace(q, 2, NA), "NA at t = .* and q = ")
  fails(function(t, q) 1 / 0, "Inf at t = ")
  fails(function(t, q) stop("oh"), "`strength` failed at t = .*oh")
  input(score(mixture, x, t, guidance = guidance("a", function(t, q) NA)), "NA at t = 0.5")
  input(guided_sample(mixture, 10, guidance("a", q), folder = withr::local_tempdir()), "folder")
})

test_that("a scale is one more than a strength, whatever it asks for", {
  scale <- guidance("a", scale = function(t, q, sigma) sigma + q + 1)
  strength <- guidance("a", function(t, q, sigma) sigma + q)
  expect_equal(score(mixture, x, t, guidance = scale), score(mixture, x, t, guidance = strength),
               tolerance = 1e-13)
  of_run <- function(...) {
    guided_sample(mixture, guidance = guidance("a", ...), sampler = sampler_ddim(4), start = x)$x
  }
  expect_equal(of_run(scale = function(t, fraction) 2 + fraction),
               of_run(function(t, fraction) 1 + fraction), tolerance = 1e-13)
})

test_that("such a strength says what it is", {
  expect_said(print(guidance("a", function(t, q) q)), "strength function of t, q", fixed = TRUE)
  expect_output(print(strength_profile("dng", lambda = 2)), "\"dng\" (lambda = 2)", fixed = TRUE)
})

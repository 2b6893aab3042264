# Each rule against its formula in plain R, in its own space.

mixture <- gaussmix(c(.3, .3, .4), rbind(c(3, 1), c(1, 3), c(4, 4)), 1, class = c("a", "b", "c"))
x <- cbind(c(-1, 0, 2, 3, 1.5, 5), c(.5, 3, 2, -1, 1.5, 7))
t <- .5

# The values for the class, the whole and class b in a space, and the way back to the score.
space_parts <- function(space, schedule = schedule_ou()) {
  a <- schedule$a(t)
  b2 <- schedule$b2(t)
  by <- switch(space, score = c(0, 1), denoised = c(1, b2) / a, noise = c(0, -sqrt(b2)),
               velocity = c(schedule$drift(t), -schedule$diffusion2(t) / 2))
  taken <- function(class) by[1] * x + by[2] * score(mixture, x, t, schedule, guidance = class)
  list(c = taken("a"), u = taken(NULL), n = taken("b"),
       back = function(value) (value - by[1] * x) / by[2])
}

rule_score <- function(kind, strength, ..., negative = NULL, schedule = schedule_ou()) {
  rule <- guidance_rule(kind, ...)
  score(mixture, x, t, schedule,
        guidance = guidance("a", strength, negative = negative, rule = rule))
}

size <- function(x) sqrt(rowSums(x^2))
dot <- function(x, y) rowSums(x * y)
along <- function(x, y) dot(x, y) / dot(y, y) * y

test_that("rules are their formulas", {
  for (space in c("score", "denoised", "noise", "velocity")) {
    of <- space_parts(space)
    c <- of$c
    u <- of$u
    eta <- 3
    w <- 4
    d <- u + w * (c - u)
    same <- function(kind, value, ..., negative = NULL) {
      expect_equal(rule_score(kind, eta, ..., space = space, negative = negative), of$back(value),
                   tolerance = 1e-10, info = paste(kind, space))
    }
    G <- c - u
    same("apg", c + eta * (G - along(G, c)))
    cut <- G * pmin(1, .5 / size(G))
    same("apg", c + eta * (cut - .8 * along(cut, c)), parallel = .2, radius = .5)
    s <- dot(c, u) / dot(u, u)
    same("cfg_zero", s * u + w * (c - s * u))
    sd_of <- function(x) apply(x, 1, sd)
    same("rescale", d * (.6 * sd_of(c) / sd_of(d) + .4), amount = .6)
    same("ep", d * .9 * size(c) / size(d), ratio = .9)
    same("renorm", d * pmin(1, .9 * size(c) / size(d)), ratio = .9)
    same("mambo_g", c + eta * exp(-2 * size(G) / size(u)) * G, rate = 2)
    angle <- acos(pmin(dot(c, u) / size(c) / size(u), 1))
    turned <- angle + pmin(eta * angle, 1)
    first <- u / size(u)
    second <- c - along(c, u)
    second <- second / size(second)
    same("adg", size(c) * (cos(turned) * first + sin(turned) * second), most = 1)
    projected <- t(vapply(seq_len(nrow(x)), function(i) {
      v <- svd(rbind(u[i, ], c[i, ]))$v[, 1]
      sum(u[i, ] * v) * v
    }, double(2)))
    same("tcfg", projected + w * (c - projected))
    N <- of$n - u
    same("perp_neg", u + w * (G - .5 * (N - along(N, G))), weight = .5, negative = "b")
  }
})

# The compiled rules that are functions of inner products, written as user's functions.
plain_rules <- list(
  apg = list(list(parallel = .2, radius = .5), function(t, inner, strength) with(inner, {
    cut <- pmin(.5 / sqrt(gg), 1) * strength
    list(c = 1 + cut * (1 - .8 * (cc - cu) / cc), u = -cut)
  })),
  cfg_zero = list(list(zero_steps = 0), function(t, inner, strength) with(inner, {
    list(c = 1 + strength, u = -strength * cu / uu)
  })),
  ep = list(list(ratio = .9), function(t, inner, strength) with(inner, {
    w <- 1 + strength
    by <- .9 * sqrt(cc / (w^2 * cc - 2 * w * strength * cu + strength^2 * uu))
    list(c = by * w, u = -by * strength)
  })),
  renorm = list(list(), function(t, inner, strength) with(inner, {
    w <- 1 + strength
    by <- pmin(sqrt(cc / (w^2 * cc - 2 * w * strength * cu + strength^2 * uu)), 1)
    list(c = by * w, u = -by * strength)
  })),
  mambo_g = list(list(rate = 2), function(t, inner, strength) {
    by <- strength * ifelse(inner$uu > 0, exp(-2 * sqrt(inner$gg / inner$uu)), 0)
    list(c = 1 + by, u = -by)
  }),
  adg = list(list(most = 1), function(t, inner, strength) with(inner, {
    sine <- sqrt(pmax(cc * gg - (cc - cu)^2, 0))
    angle <- atan2(sine, cu)
    by <- pmin(strength * angle, 1)
    alike <- sine == 0
    list(c = ifelse(alike, 1, sin(angle + by) / sin(angle)),
         u = ifelse(alike, 0, -sqrt(cc / uu) * sin(by) / sin(angle)))
  })),
  tcfg = list(list(), function(t, inner, strength) with(inner, {
    half <- (cc - uu) / 2
    root <- sqrt(half^2 + cu^2)
    a <- ifelse(half > 0, root + half, cu)
    b <- ifelse(half > 0, cu, root - half)
    list(c = 1 + strength - strength * a * b / (a^2 + b^2), u = -strength * b^2 / (a^2 + b^2))
  }))
)

test_that("a rule of one's own is the compiled one along a run", {
  for (name in names(plain_rules)) {
    of <- plain_rules[[name]]
    for (space in c("score", "denoised", "noise", "velocity")) {
      named <- do.call(guidance_rule, c(list(name), of[[1]], space = space))
      run <- function(rule, ...) {
        guided_sample(mixture, guidance = guidance("a", 2, rule = rule), start = x, ...)$x
      }
      own <- guidance_rule(of[[2]], space = space)
      expect_equal(run(own, sampler_ddim(12)), run(named, sampler_ddim(12)),
                   tolerance = 1e-12, info = paste(name, space))
    }
    expect_equal(run(own, sampler_heun(6, end = .01), score_error = score_error(.1, 1.1)),
                 run(named, sampler_heun(6, end = .01), score_error = score_error(.1, 1.1)),
                 tolerance = 1e-12, info = name)
  }
  # a rule that needs the point: the origin of the class's posterior, in plain R
  pull <- function(t, inner) list(x = -inner$xc / inner$xx, c = 2)
  c <- score(mixture, x, t, guidance = "a")
  expect_equal(score(mixture, x, t, guidance = guidance("a", rule = pull)),
               2 * c - along(c, x), tolerance = 1e-12)
  # guidance away from another class; sweeps; a model of the user
  own <- function(t, inner, strength) list(c = 1 + strength, u = -strength)
  expect_equal(score(mixture, x, t, guidance = guidance("a", 3, negative = "b", rule = own)),
               score(mixture, x, t, guidance = guidance("a", 3, negative = "b")), tolerance = 1e-12)
  sweep <- function(rule) {
    guidance_sweep(mixture, guidance = guidance("a", rule = rule), strength = c(0, 3), n = 50,
                   key = c(1, 2),
                   sampler = sampler_ddim(5))$confidence
  }
  expect_equal(sweep(own), sweep(NULL), tolerance = 1e-10)
  exact <- score_error(model = score_model(function(x, t, class) score(mixture, x, t,
                                                                       guidance = class)))
  own <- guidance_rule(plain_rules$mambo_g[[2]], space = "velocity")
  expect_equal(run(own, sampler_ddim(5), score_error = exact),
               run(guidance_rule("mambo_g", rate = 2), sampler_ddim(5)), tolerance = 1e-10)
  law <- function(rule) {
    guided_law(named_mixture("D3"), guidance("1", 2, rule = rule), sampler_em(10))$log_density
  }
  expect_equal(law(own), law(guidance_rule("mambo_g", rate = 2)), tolerance = 1e-10)
})

test_that("a rule of one's own may return whole numbers", {
  run <- function(rule) {
    guided_sample(mixture, 20, guidance("a", 2, rule = rule), sampler_ddim(4), key = c(1, 2))$x
  }
  expect_identical(run(function(t, inner) list(c = 2L, u = -1L)),
                   run(function(t, inner) list(c = 2, u = -1)))
  expect_identical(run(function(t, inner) list(c = ifelse(inner$cu > 0, 2L, 1L))),
                   run(function(t, inner) list(c = ifelse(inner$cu > 0, 2, 1))))
})

test_that("outside its interval the guidance of every rule is the class", {
  own <- function(t, inner) list(c = 3, u = -2)
  of_strength <- function(t, inner, strength) list(c = 1 + strength, u = .2 * inner$cc)
  rules <- list(own, of_strength, guidance_rule(own, space = "denoised"),
                guidance_rule("ep", ratio = .5), guidance_rule("renorm", ratio = .5),
                guidance_rule("ep", ratio = .5, space = "score"), guidance_rule("perp_neg"),
                guidance_rule("cfg_zero"), guidance_rule("apg", momentum = .5),
                guidance_rule("adaptive"), guidance_rule("feedback"), guidance_rule("dng"))
  for (rule in rules) {
    name <- if (is.function(rule)) "own" else rule$kind
    at <- function(interval) guidance("a", 2, interval, negative = "b", rule = rule)
    # samplers that take the noise, the denoised point and the score
    for (sampler in list(sampler_ddim(8), sampler_dpmpp_2m(8), sampler_euler(8))) {
      run <- function(guide, ...) {
        guided_sample(mixture, 20, guide, sampler, key = c(1, 2), log_density = "none", ...)$x
      }
      exact <- score_error(model = score_model(function(x, t, class) {
        score(mixture, x, t, guidance = class)
      }))
      never <- at(c(0, 1e-9))
      expect_equal(run(never), run("a"), tolerance = 1e-9, info = name)
      expect_equal(run(never, score_error = exact), run("a"), tolerance = 1e-9, info = name)
      # exact scores end "adaptive" before
      changes <- !isTRUE(all.equal(run(at(c(0, 2))), run("a")))
      expect_identical(changes, name != "adaptive", info = name)
    }
    expect_equal(score(mixture, x, t, guidance = at(c(1, 2))),
                 score(mixture, x, t, guidance = "a"), tolerance = 1e-10, info = name)
    expect_equal(score(mixture, x, t, guidance = at(c(.1, 2))),
                 score(mixture, x, t, guidance = at(NULL)), tolerance = 1e-12, info = name)
  }
})

test_that("a rule that takes no strength is refused where strengths are varied", {
  own <- guidance("a", 2, rule = function(t, inner) list(c = 3, u = -2))
  refused <- function(code) expect_mixguide_error(code, "guidance")
  refused(guidance_sweep(mixture, 50, own, c(0, 1), sampler_ddim(4)))
  refused(compare_guidance(mixture, guidance = own, sampler = sampler_ddim(4), n = 64,
                           confidence = .9))
  refused(strength_limit(mixture, guidance = own, sampler = sampler_ddim(4)))
})

test_that("bad rules of one's own are named with their time", {
  fails <- function(rule, text) {
    expect_error(guided_sample(mixture, 10, guidance("a", 2, rule = rule), sampler_ddim(3)), text,
                 class = "mixguide_error")
  }
  fails(function(t, inner) stop("oh"), "`rule` failed at t = .*oh")
  fails(function(t, inner) inner$cc, "`rule` must be a function that returns a list.* at t = ")
  fails(function(t, inner) list(c = NA_real_), "NA for c at t = ")
  fails(function(t, inner) list(c = inner$cc / 0), "Inf for c at t = ")
  fails(function(t, inner) list(u = inner$cc[-1]), "length 9.* for u at t = ")
  fails(function(t, inner) list(cc = 1), "at t = ")
  fails(function(t, inner) list(c = NULL), "NULL for c at t = ")
  fails(function(t, inner) list(c = NA_integer_), "NA for c at t = ")
  fails(function(t, inner) list(c = TRUE), "TRUE for c at t = ")
  input <- function(code, ...) expect_error(code, ..., class = "mixguide_error_input")
  input(guidance_rule(function(t) 1), "kind")
  input(guidance_rule(function(t, inner) 1, space = "nowhere"), "space")
  expect_error(guidance_rule(function(t, inner) 1, radius = 1), "radius", class = "mixguide_error")
  own <- guidance("a", 2, rule = function(t, inner) list(c = 1))
  input(guided_sample(mixture, 5, own, folder = withr::local_tempdir()), "folder")
  input(guided_sample(mixture, 5, own, log_density = "map"), "a rule of one's own")
  expect_said(print(own), "by a rule of one's own (space = \"score\") that takes no strength",
              fixed = TRUE)
})

test_that("adaptive guidance is over for good, for each particle", {
  at <- guidance("a", 3, rule = guidance_rule("adaptive", cosine = .9))
  # at a late horizon both noises are x/b, so guidance ends at once
  run <- guided_sample(mixture, guidance = at, sampler = sampler_ddim(12), start = x, horizon = .4)
  ou <- schedule_ou()
  state <- x
  over <- logical(nrow(x))
  when <- integer(nrow(x))
  for (k in 1:12) {
    time <- run$times[k]
    c <- score(mixture, state, time, guidance = "a")
    u <- score(mixture, state, time)
    alike <- dot(c, u) / size(c) / size(u) > .9
    over <- over | alike
    when <- when + !over
    s <- ifelse(over, 0, 3) * (c - u) + c
    a <- ou$a(run$times[k + 0:1])
    b <- sqrt(ou$b2(run$times[k + 0:1]))
    state <- a[2] * (state + b[1]^2 * s) / a[1] - b[2] * b[1] * s
  }
  expect_equal(run$x, state, tolerance = 1e-10, ignore_attr = TRUE)
  expect_gt(length(unique(when)), 1)
  # not a chain in x alone
  expect_error(guided_law(named_mixture("D3"), guidance("1", 2, rule = "adaptive"), sampler_em(10)),
               class = "mixguide_error_input")
})

# The authors' loops, in y = x/a and s = b/a: steps of DDPM with the noise z, or of DDIM without.
plain_estimate <- function(x, times, z, scale, begin, grow) {
  ou <- schedule_ou()
  s2 <- ou$b2(times) / ou$a(times)^2
  y <- x / ou$a(times[1])
  known <- rep(begin, nrow(x))
  all <- known
  for (i in seq_len(length(times) - 1)) {
    c <- denoise(mixture, y * ou$a(times[i]), times[i], guidance = "a")
    u <- denoise(mixture, y * ou$a(times[i]), times[i])
    D <- u + scale(known) * (c - u)
    r2 <- s2[i + 1] / s2[i]
    v <- s2[i + 1] * (1 - r2)
    new <- if (is.null(z)) D + sqrt(r2) * (y - D) else {
      r2 * y + (1 - r2) * D + sqrt(v) * z[, , i]
    }
    off <- function(D) rowSums((new - r2 * y - (1 - r2) * D)^2)
    known <- grow(known, off(c) - off(u), v, ou$a(times[i + 1])^2)
    all <- c(all, known)
    y <- new
  }
  list(x = y * ou$a(times[length(times)]), known = all)
}

test_that("running estimates are those of the authors", {
  times <- c(3, 2, 1.4, 1, .7, .5, .3, .2, .1, .05, .01)
  set.seed(3)
  z <- array(rnorm(6 * 2 * 10), c(6, 2, 10))
  s2 <- exp(2 * times) - 1
  v <- rev(s2[-1] * (1 - s2[-1] / s2[-11]))
  pi <- .9
  feedback <- function(tau, offset) list(function(known) {
    exp(known) / (exp(known) - (1 - pi))
  }, 0, function(known, diff, v, a2) {
    pmax(pmin(known - tau / (2 * v) * diff + offset, 3), log((1 - pi) * 5 / 4))
  })
  offset <- log(1.5 * .1) / (.5 * 10)
  cases <- list(
    list(guidance_rule("feedback", pi = pi, most = 5, tau = .3, offset = -.1), feedback(.3, -.1)),
    list(guidance_rule("feedback", pi = pi, most = 5, rise = .45),
         feedback(abs(.2 * mean(v[5:6]) * offset), offset)),
    list(guidance_rule("dng", lambda = 2, prior = .1, offset = .02, most = .8), list(function(p) {
      -2 * exp(p) / (1 - exp(p))
    }, log(.1), function(known, diff, v, a2) {
      log(pmax(pmin(exp(known + (-.2 * diff + .02 / a2) / (2 * v)), .8), 1e-6))
    }))
  )
  for (case in cases) {
    at <- guidance("a", 1, rule = case[[1]])
    same <- function(sampler, noise) {
      run <- guided_sample(mixture, guidance = at, sampler = sampler, start = x, noise = noise)
      plain <- do.call(plain_estimate, c(list(x, times, noise), case[[2]]))
      expect_gt(length(unique(plain$known)), 20)
      expect_equal(run$x, plain$x, tolerance = 1e-9, ignore_attr = TRUE)
    }
    same(sampler_ddpm(grid = times, variance = "posterior"), z)
    same(sampler_ddim(grid = times), NULL)
  }
  # steps that are compiled together, and sweeps
  at <- guidance("a", 1, rule = "feedback")
  run <- guided_sample(mixture, 100, at, sampler_ddim(30), key = c(1, 2))
  sweep <- guidance_sweep(mixture, guidance = guidance("a", rule = "feedback"), strength = c(0, 1),
                          n = 100,
                          key = c(1, 2), sampler = sampler_ddim(30), points = "random")
  expect_equal(sweep$confidence[2], mean(run$confidence), tolerance = 1e-12)
  input <- function(code, ...) expect_error(code, ..., class = "mixguide_error_input")
  input(guided_sample(mixture, 5, at, sampler_heun(5)), "2 scores in a step")
  input(guided_sample(mixture, 5, at, sampler_dpm_2(5)), "in a step")
  for (rule in list("dng", "adaptive", guidance_rule("apg", momentum = -.5))) {
    input(fokker_planck(named_mixture("D3"), guidance("1", 1, rule = rule)), "remembers")
  }
  input(guided_law(named_mixture("D3"), guidance("1", 1, rule = "dng"), sampler_em(10)))
  input(guidance_rule("dng", space = "score"), "space")
})

test_that("units do not matter to a rule in the denoised point", {
  unit <- 1e100
  large <- gaussmix(mixture$weights, unit * mixture$means, unit^2, class = mixture$class)
  for (kind in setdiff(names(rules), "perp_neg")) {
    at <- guidance("a", 2, rule = guidance_rule(kind, space = "denoised"))
    # at this horizon noise of size 1 has no effect, so the denoised point of every model is x/a
    expect_equal(denoise(large, unit * x, t, guidance = at) / unit, x / exp(-t),
                 tolerance = 1e-12, info = kind)
  }
})

test_that("without strength a rule is the class, and runs meet the same as score()", {
  for (kind in setdiff(names(rules), "perp_neg")) {
    expect_equal(rule_score(kind, 0), score(mixture, x, t, guidance = "a"), tolerance = 1e-12,
                 info = kind)
    # one Euler step by hand
    at <- guidance("a", 2, rule = kind)
    # cfg_zero gives no guidance in its first steps, and there is only one step here
    if (kind == "cfg_zero") at <- guidance("a", 2, rule = guidance_rule(kind, zero_steps = 0))
    run <- guided_sample(mixture, guidance = at, sampler = sampler_euler(1, end = .3),
                         horizon = .5, start = x)
    ou <- schedule_ou()
    velocity <- ou$drift(.5) * x - ou$diffusion2(.5) / 2 * score(mixture, x, .5, guidance = at)
    expect_equal(run$x, x - .2 * velocity, tolerance = 1e-12, info = kind, ignore_attr = TRUE)
  }
})

test_that("CFG-Zero* stands still in its first steps, and APG remembers", {
  at <- guidance("a", 2, rule = guidance_rule("cfg_zero", zero_steps = 2))
  run <- guided_sample(mixture, guidance = at, sampler = sampler_euler(4), start = x,
                       trajectory = TRUE)
  expect_equal(run$trajectory[3, , ], run$trajectory[1, , ], tolerance = 1e-12)
  expect_false(isTRUE(all.equal(run$trajectory[4, , ], run$trajectory[3, , ])))

  ou <- schedule_ou()
  for (space in c("denoised", "noise", "score", "velocity")) {
    rule <- guidance_rule("apg", momentum = -.5, radius = .8, space = space)
    run <- guided_sample(mixture, guidance = guidance("a", 2, rule = rule),
                         sampler = sampler_ddim(3), start = x, horizon = 1)
    state <- x
    push <- 0
    for (k in 1:3) {
      t <- run$times[k]
      a <- ou$a(t)
      b2 <- ou$b2(t)
      by <- switch(space, score = c(0, 1), denoised = c(1, b2) / a, noise = c(0, -sqrt(b2)),
                   velocity = c(-1, -1))
      point <- function(class) by[1] * state + by[2] * score(mixture, state, t, guidance = class)
      c <- point("a")
      push <- c - point(NULL) - .5 * push
      cut <- push * pmin(1, .8 / size(push))
      s <- (c + 2 * (cut - along(cut, c)) - by[1] * state) / by[2]
      D <- (state + b2 * s) / a
      state <- ou$a(run$times[k + 1]) * D - sqrt(ou$b2(run$times[k + 1])) * sqrt(b2) * s
    }
    expect_equal(run$x, state, tolerance = 1e-10, ignore_attr = TRUE, info = space)
  }
})

test_that("a rule is its formula in every form of the kernel", {
  set.seed(4)
  means <- function(K, d) matrix(rnorm(K * d), K)
  full <- function(d) crossprod(matrix(rnorm(d^2), d)) / d + diag(.3, d)
  # common, diagonal and full covariances with little noise; many components; components far apart
  cases <- list(list(means(5, 7), 1), list(means(3, 9), lapply(1:3, function(k) diag(k / 1:9))),
                list(means(3, 6), lapply(1:3, function(k) full(6))),
                list(means(40, 3), 1), list(means(40, 3), lapply(1:40, function(k) full(3))),
                list(1e4 * means(4, 5), 1))
  for (case in cases) {
    K <- nrow(case[[1]])
    m <- gaussmix(rep(1, K), case[[1]], case[[2]], class = rep_len(c("a", "b", "b"), K))
    for (n in c(3, 9, 40)) for (t in c(.01, .7, 6)) {
      x <- rgaussmix(n, diffuse(m, t))
      attributes(x) <- list(dim = dim(x))
      at <- function(...) score(m, x, t, guidance = guidance("a", 2, ...))
      c <- score(m, x, t, guidance = "a")
      u <- score(m, x, t)
      cut <- (c - u) * pmin(1, .5 / pmax(size(c - u), 1e-300))
      expect_equal(at(rule = guidance_rule("apg", space = "score", radius = .5)),
                   c + 2 * (cut - along(cut, c)), tolerance = 1e-10)
      D <- denoise(m, x, t, guidance = "a")
      shorter <- 3 * D - 2 * denoise(m, x, t)
      shorter <- shorter * size(D) / size(shorter)
      expect_equal(denoise(m, x, t, guidance = guidance("a", 2, rule = "ep")), shorter,
                   tolerance = 1e-10)
    }
  }
})

test_that("sweeps run a rule at each strength, laws and particles agree", {
  rule <- guidance_rule("mambo_g", rate = .5)
  at <- guidance("1", rule = rule)
  sweep <- guidance_sweep(named_mixture("D3"), guidance = at, strength = c(0, 2), n = 2^13,
                          sampler = sampler_em(20), key = c(1, 2))
  for (i in 1:2) {
    law <- confidence(guided_law(named_mixture("D3"), guidance("1", c(0, 2)[i], rule = rule),
                                 sampler_em(20)))
    expect_lt(abs(sweep$confidence[i] - law$estimate), 5 * sweep$confidence_se[i])
  }
  expect_gt(abs(sweep$confidence[2] - sweep$confidence[1]), 20 * sweep$confidence_se[2])
})

test_that("laws of deterministic samplers under rules come from differences of the map", {
  # this rule equals plain guidance, whose Jacobian the core carries along
  usual <- guidance_rule("apg", parallel = 1)
  law <- function(mixture, sampler, ...) guided_law(mixture, guidance("1", 2, ...), sampler)
  for (name in c("D3", "H3")) for (sampler in list(sampler_ddim(20), sampler_ddpm(20))) {
    m <- named_mixture(name)
    by_rule <- law(m, sampler, rule = usual)
    plain <- law(m, sampler)
    expect_equal(entropy(by_rule)$estimate, entropy(plain)$estimate, tolerance = 1e-11)
    expect_lt(by_rule$off, 1e-10)
    target <- gaussmix(1, m$means[1, , drop = FALSE], 1)
    expect_equal(law_distance(by_rule, target)$estimate, law_distance(plain, target)$estimate,
                 tolerance = 1e-9)
  }
  # in one dimension the distribution function follows the map without a derivative
  rule <- guidance_rule("mambo_g", rate = .5)
  m <- named_mixture("D3")
  by_rule <- law(m, sampler_ddim(20), rule = rule)
  ends <- function(z) {
    guided_sample(m, guidance = guidance("1", 2, rule = rule), sampler = sampler_ddim(20),
                  horizon = by_rule$times[1], start = matrix(z))$x[, 1]
  }
  z <- seq(-2, 2, .25)
  expect_equal(quantile(by_rule, pnorm(z), names = FALSE), ends(z), tolerance = 1e-6)
  slope <- (ends(z + 1e-4) - ends(z - 1e-4)) / 2e-4
  expect_equal(law_density(by_rule, ends(z)), dnorm(z) / slope, tolerance = 1e-6)
  # a clipped rule has kinks, and its stated error includes them
  clipped <- guidance("1", 2, rule = guidance_rule("apg", radius = 2.5))
  cut <- lapply(c(201, 401), function(nodes) {
    entropy(guided_law(named_mixture("H3"), clipped, sampler_ddim(20), nodes = nodes))
  })
  between <- abs(cut[[1]]$estimate - cut[[2]]$estimate)
  expect_gt(between, 1e-3)
  expect_lt(between, cut[[1]]$se)
  expect_lt(cut[[1]]$se, .1)
})

test_that("what a rule cannot do is refused", {
  one <- named_mixture("D3")
  input <- function(code) expect_error(code, class = "mixguide_error_input")
  input(guidance_rule("apq"))
  input(guidance_rule("apg", radius = -1))
  input(guidance_rule("apg", ratio = 1))
  input(guidance_rule("apg", space = "nowhere"))
  input(guidance("a", 1, rule = "perp_neg"))
  input(guidance("a", 1, power = .5, rule = "apg"))
  input(guidance("a", 1, rule = 3))
  input(guidance("a", 1, rule = "apg") + guidance("b", 1))
  input(score(one, 0, .5, guidance = guidance("1", 1, rule = "rescale")))
  input(score_jacobian(mixture, x, .5, guidance = guidance("a", 1, rule = "apg")))
  input(guided_sample(mixture, 10, guidance("a", 1, rule = "apg"), log_density = "map"))
  input(guided_sample(mixture, 10, guidance("a", 1, rule = "apg"), sampler_rk4(5)))
  input(guided_law(one, guidance("1", 1, rule = "ep"), sampler_ddim(10),
                   log_density = "divergence"))
  input(tilted_law(one, guidance("1", 1, rule = "ep")))
  input(coupled_paths(one, guidance = guidance("1", 1, rule = "ep"), n = 10))
})

test_that("a rule says what it is", {
  expect_said(print(guidance("a", 4, rule = guidance_rule("apg", radius = 3))),
              "by the rule \"apg\" (radius = 3)", fixed = TRUE)
  expect_output(print(guidance_rule("ep", space = "noise")), "space = \"noise\"")
})

test_that("a scale is one more than a strength", {
  expect_identical(guidance("a", scale = 3)$strength(1), 2)
  expect_identical(guidance("a", scale = function(t) 1 + t)$strength(2), 2)
  expect_error(guidance("a", 2, scale = 3), class = "mixguide_error_input")
  expect_error(guidance("a", scale = "big"), class = "mixguide_error_input")
})

# Characteristic guidance against its equation, and against the tilted law with noise added.

test_that("its score is that of its equation", {
  skip_if_not_installed("numDeriv")
  m <- gaussmix(c(.3, .3, .4), rbind(c(3, 1), c(1, 3), c(4, 4)), cbind(c(1, .3), c(.3, .7)),
                class = c("a", "b", "c"))
  x <- cbind(c(-1, 0, 2, 3, 1.5, 5), c(.5, 3, 2, -1, 1.5, 7))
  for (t in c(.1, .5, 2)) for (eta in c(.5, 2)) {
    b2 <- 1 - exp(-2 * t)
    s_c <- function(x) score(m, x, t, guidance = "a")
    s_u <- function(x) score(m, x, t)
    # damped iterations of the equation itself, from 0, then Newton's method by differences
    image <- function(x, Delta) b2 * (s_c(x + eta * Delta) - s_u(x + (1 + eta) * Delta))
    Delta <- 0 * x
    for (i in 1:100) Delta <- Delta + .1 * (image(x, Delta) - Delta)
    for (i in seq_len(nrow(x))) for (k in 1:6) {
      f <- function(z) drop(z - image(x[i, , drop = FALSE], t(z)))
      z <- Delta[i, ]
      Delta[i, ] <- z - solve(numDeriv::jacobian(f, z), f(z))
    }
    expect_lt(max(abs(image(x, Delta) - Delta)), 1e-10)
    expect_equal(score(m, x, t, guidance = guidance("a", eta, rule = "characteristic")),
                 (1 + eta) * s_c(x + eta * Delta) - eta * s_u(x + (1 + eta) * Delta),
                 tolerance = 1e-7)
  }
})

test_that("of two Gaussians it is the tilted law with noise added, exactly", {
  # class N(1, 1), whole N(0, 2): the tilt is N(2 w/(1 + w), 2/(1 + w))
  class <- gaussmix(1, 1, 1, class = "a")
  whole <- gaussmix(1, 0, 2, class = "a")
  x <- matrix(seq(-3, 3, .5))
  for (eta in c(.5, 3, 1000)) {
    w <- 1 + eta
    tilt <- gaussmix(1, 2 * w / (1 + w), 2 / (1 + w))
    at <- guidance("a", eta, negative = whole, rule = "characteristic")
    for (t in c(1e-3, .5, 2)) {
      expect_equal(score(class, x, t, guidance = at), score(tilt, x, t), tolerance = 1e-9)
    }
  }
  plain <- score(class, x, .5, guidance = guidance("a", 3, negative = whole))
  expect_gt(max(abs(plain - score(gaussmix(1, 1.6, .4), x, .5))), 1)
})

test_that("with one Gaussian per class it is nearer to the tilted law than plain guidance", {
  m <- named_mixture("A2")
  eta <- 2
  x <- seq(-2, 4, .25)
  z <- seq(-12, 12, length.out = 4001)
  tilt <- exp((1 + eta) * log(dnorm(z, 1)) - eta * log(dnorm(z, 1) + dnorm(z, -1)))
  for (t in c(.3, 1)) {
    a <- exp(-t)
    b2 <- 1 - a^2
    kernel <- dnorm(outer(x, a * z, `-`), 0, sqrt(b2))
    exact <- ((kernel * outer(x, z, function(x, z) -(x - a * z) / b2)) %*% tilt) / (kernel %*% tilt)
    away <- function(...) {
      max(abs(score(m, matrix(x), t, guidance = guidance("1", eta, ...)) - exact))
    }
    expect_lt(away(rule = "characteristic"), .2 * away())
  }
})

test_that("runs meet the same, by its laws and in the coordinates of their process", {
  m <- named_mixture("A2")
  at <- guidance("1", 2, rule = "characteristic")
  x <- matrix(c(-1, 0, .5, 2))
  run <- guided_sample(m, guidance = at, sampler = sampler_ddim(3), start = x, horizon = 1)
  y <- x
  for (k in 1:3) {
    t <- run$times[k + 0:1]
    b <- sqrt(1 - exp(-2 * t))
    eps <- -b[1] * score(m, y, t[1], guidance = at)
    y <- exp(t[1] - t[2]) * (y - b[1] * eps) + b[2] * eps
  }
  expect_equal(run$x, y, tolerance = 1e-9)
  expect_null(run$log_density)
  law <- guided_law(m, guidance = at, sampler = sampler_ddpm(30, end = .01))
  sample <- guided_sample(m, 1e4, at, sampler_ddpm(30, end = .01), key = c(1, 1))
  expect_equal(unname(moments(law)$mean), mean(sample$x), tolerance = .03)
  units <- standardise(gaussmix(m$weights, 10 * m$means + 5, 100, class = m$class), 5, 10)
  expect_equal(10 * score(units, 10 * x + 5, .5, guidance = at), score(m, x, .5, guidance = at),
               tolerance = 1e-9)
})

test_that("what is not solved is counted, and plain guidance takes its place", {
  m <- named_mixture("A2")
  x <- matrix(seq(-3, 3, .5))
  once <- guidance("1", 2, rule = guidance_rule("characteristic", most = 1))
  expect_warning(s <- score(m, x, .5, guidance = once), "13 of 13 equations were not solved")
  expect_equal(s, score(m, x, .5, guidance = guidance("1", 2)), tolerance = 1e-12)
  # one warning for a run and for a law, whatever the number of chunks
  seen <- 0
  count <- function(code) {
    seen <<- 0
    withCallingHandlers(code, warning = function(w) {
      if (grepl("equations", conditionMessage(w))) {
        seen <<- seen + 1
        expect_match(conditionMessage(w), words)
      }
      invokeRestart("muffleWarning")
    })
  }
  words <- "1,000 of 1,000"
  count(guided_sample(m, 100, once, sampler_ddim(10)))
  expect_identical(seen, 1)
  words <- "equations were not solved"
  count(guided_law(m, guidance = once, sampler = sampler_em(10)))
  expect_identical(seen, 1)
})

test_that("extremes and what is refused", {
  at <- guidance("1", 2, rule = "characteristic")
  one <- gaussmix(1, 2, .5)
  x <- matrix(c(-1, 0, 3))
  expect_equal(score(one, x, .5, guidance = at), score(one, x, .5), tolerance = 1e-9)
  m <- named_mixture("A2")
  expect_equal(score(m, x, .5, guidance = guidance("1", 0, rule = "characteristic")),
               score(m, x, .5, guidance = "1"), tolerance = 1e-12)
  # without noise there is no equation to solve
  expect_equal(score(m, x, 0, guidance = at), score(m, x, 0, guidance = guidance("1", 2)),
               tolerance = 1e-12)
  expect_equal(score(m, x, 1e-9, guidance = at), score(m, x, 1e-9, guidance = guidance("1", 2)),
               tolerance = 1e-6)
  points <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1, 1)), 0, class = c("a", "b"))
  run <- suppressWarnings(guided_sample(points, 50, guidance("b", 2, rule = "characteristic"),
                                        sampler_ddim(20, end = .001)))
  expect_true(all(is.finite(run$x)))
  big <- suppressWarnings(score(m, x, .5, guidance = guidance("1", 1000, rule = "characteristic")))
  expect_true(all(is.finite(big)))
  expect_mixguide_error(score_jacobian(m, x, .5, guidance = at), "guidance")
  expect_mixguide_error(guided_sample(m, 5, at, sampler_ddim(5), log_density = "map"),
                        "log_density")
  expect_mixguide_error(guidance_rule("characteristic", tol = 0), "tol")
  expect_mixguide_error(guidance_rule("characteristic", space = "score"), "space")
  own <- score_model(function(x, t, class) score(m, x, t, guidance = class))
  expect_mixguide_error(guided_sample(m, 5, at, sampler_ddim(5),
                                      score_error = score_error(model = own)), "guidance")
})

test_that("where Newton's steps lead nowhere the flow does", {
  m <- gaussmix(rep(1, 8), matrix(sin(1:64), 8) * 3, .5, class = rep(c("a", "b"), 4))
  set.seed(3)
  # at high noise solutions are far away
  for (t in c(.3, 1, 4)) {
    b2 <- 1 - exp(-2 * t)
    x <- rgaussmix(100, diffuse(m, t))
    attributes(x) <- list(dim = dim(x))
    guide <- guidance_models(guidance("a", 2, rule = "characteristic"), m)
    of <- function(x, model) {
      core_eval(guidance_pool(guide), x, exp(-t), b2, guide$models, guide$coef(t, model), "all")
    }
    found <- solve_characteristic(x, 2, b2, of, list(tol = 1e-8, most = 50))
    expect_gte(mean(found$found), .99)
    Delta <- found$delta[found$found, ]
    x <- x[found$found, ]
    gap <- Delta - b2 * (score(m, x + 2 * Delta, t, guidance = "a") - score(m, x + 3 * Delta, t))
    expect_lt(max(abs(gap)), 1e-6)
    expect_equal(found$score[found$found, ], 3 * score(m, x + 2 * Delta, t, guidance = "a") -
                   2 * score(m, x + 3 * Delta, t), tolerance = 1e-10)
  }
})

test_that("many linear systems are solved at once", {
  set.seed(2)
  for (d in 1:6) {
    A <- array(rnorm(20 * d * d), c(20, d, d))
    A[1, 1, 1] <- 0
    b <- matrix(rnorm(20 * d), 20)
    x <- solve_each(A, b)
    rest <- vapply(seq_len(20)[d > 1 | 1:20 > 1], function(i) {
      max(abs(matrix(A[i, , ], d) %*% x[i, ] - b[i, ]))
    }, 0)
    expect_lt(max(rest), 1e-9)
  }
  singular <- array(1, c(2, 3, 3))
  expect_true(all(rowSums(!is.finite(solve_each(singular, matrix(1:6, 2)))) > 0))
})

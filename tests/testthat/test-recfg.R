# ReCFG against its formula, with expectations by integrate() and by draws.

of <- function(at, quantity, column = "estimate") at[[column]][at$quantity == quantity]

test_that("weights on the line are their integrals", {
  m <- gaussmix(c(.2, .3, .5), c(-1, .5, 2), c(.3, .2, .6), class = c("a", "a", "b"))
  for (t in c(.01, .3, 2)) {
    law <- diffuse(gaussmix(c(.4, .6), c(-1, .5), c(.3, .2)), t)
    mean_of <- function(f) {
      integrate(function(x) f(x) * dgaussmix(x, law), -9, 9, rel.tol = 1e-10,
                subdivisions = 1000)$value
    }
    s_c <- function(x) drop(score(m, matrix(x), t, guidance = "a"))
    s_u <- function(x) drop(score(m, matrix(x), t))
    ratio <- mean_of(function(x) s_c(x) * s_u(x)) / mean_of(function(x) s_u(x)^2)
    at <- recfg_weights(m, guidance("a", 3), t)
    expect_equal(of(at, "class"), 4)
    expect_equal(of(at, "other"), -3 * ratio, tolerance = 1e-7)
    expect_identical(at$se, double(3))
    expect_identical(at$method, c("exact", "quadrature", "quadrature"))
    # the printed formula has a numerator of 0 for exact scores
    expect_lt(abs(of(at, "printed")), 1e-10)
    # by parts: E s_c f = -E f'
    expect_equal(ratio, -mean_of(function(x) score_jacobian(m, matrix(x), t)[, 1, 1]) /
                   mean_of(function(x) s_u(x)^2), tolerance = 1e-7)
  }
})

test_that("beyond the line they are means with their error", {
  m <- gaussmix(c(.3, .3, .4), rbind(c(3, 1), c(1, 3), c(4, 4)), cbind(c(1, .3), c(.3, .7)),
                class = c("a", "b", "c"))
  t <- .5
  at <- recfg_weights(m, guidance("a", 3, negative = "b"), t)
  set.seed(1)
  x <- rgaussmix(2e5, diffuse(gaussmix(1, rbind(c(3, 1)), cbind(c(1, .3), c(.3, .7))), t))
  attributes(x) <- list(dim = dim(x))
  s_c <- score(m, x, t, guidance = "a")
  s_u <- score(m, x, t, guidance = "b")
  ratio <- colMeans(s_c * s_u) / colMeans(s_u^2)
  expect_lt(max(abs(of(at, "other") + 3 * ratio)), .03)
  expect_lt(max(at$se), .02)
  more <- recfg_weights(m, guidance("a", 3, negative = "b"), t, n = 2^15)
  expect_lt(max(abs(of(more, "other") - of(at, "other")) / of(at, "other", "se")), 6)
  expect_identical(of(at, "other", "variable"), c("x1", "x2"))
})

test_that("the draws are new ones, unless a key is given, and the error is theirs", {
  m <- gaussmix(c(.3, .7), rbind(c(3, 1), c(1, 3)), 1, class = c("a", "b"))
  ask <- function(...) recfg_weights(m, guidance("a", 3), .5, n = 1024, ...)
  set.seed(1)
  many <- replicate(50, of(ask(), "other")[1])
  expect_identical(anyDuplicated(many), 0L)
  se <- of(ask(), "other", "se")[1]
  expect_gt(sd(many), se / 2)
  expect_lt(sd(many), 2 * se)
  set.seed(1)
  expect_identical(of(ask(), "other")[1], many[1])
  expect_identical(ask(key = 1:2), ask(key = 1:2))
  at <- ask(key = 1:2)
  expect_identical(names(as.data.frame(at)),
                   c("quantity", "variable", "t", "estimate", "se", "method", "note"))
  expect_output(print(at), "guidance: towards a")
  expect_mixguide_error(ask(key = "x"), "key")
})

test_that("the rule is these weights, in scores, runs and laws", {
  m <- gaussmix(c(.3, .3, .4), rbind(c(3, 1), c(1, 3), c(4, 4)), 1, class = c("a", "b", "c"))
  x <- cbind(c(-1, 0, 2, 3), c(.5, 3, 2, -1))
  at <- guidance("a", 2, rule = "recfg")
  for (t in c(.1, 1)) {
    # the draws of a run
    w <- of(recfg_weights(m, at, t, key = c(0, 0)), "other")
    formula <- function(f) {
      f(m, x, t, guidance = "a") * 3 + f(m, x, t) * rep(w, each = length(x) / 2)
    }
    expect_equal(score(m, x, t, guidance = at), formula(score), tolerance = 1e-12)
    J <- score_jacobian(m, x, t, guidance = at)
    by_row <- 3 * score_jacobian(m, x, t, guidance = "a") +
      score_jacobian(m, x, t) * rep(w, each = nrow(x))
    expect_equal(J, by_row, tolerance = 1e-11, ignore_attr = TRUE)
    expect_equal(denoise(m, x, t, guidance = at),
                 (x + (1 - exp(-2 * t)) * formula(score)) / exp(-t), tolerance = 1e-11)
  }
  run <- guided_sample(m, guidance = at, sampler = sampler_ddim(2), horizon = 1, start = x)
  y <- x
  a <- function(t) exp(-t)
  b <- function(t) sqrt(1 - exp(-2 * t))
  for (k in 1:2) {
    t <- run$times[k]
    s <- run$times[k + 1]
    eps <- -b(t) * score(m, y, t, guidance = at)
    y <- a(s) * (y - b(t) * eps) / a(t) + b(s) * eps
  }
  expect_equal(run$x, y, tolerance = 1e-11)
  # one dimension: the map carries the density of the law's nodes
  line <- gaussmix(c(.2, .3, .5), c(-1, .5, 2), c(.3, .2, .6), class = c("a", "a", "b"))
  law <- guided_law(line, guidance = at, sampler = sampler_ddim(60))
  sample <- guided_sample(line, 2e4, at, sampler_ddim(60), key = c(1, 1))
  expect_equal(entropy(law)$estimate, entropy(sample)$estimate, tolerance = .02)
  expect_equal(unname(moments(law)$mean), mean(sample$x), tolerance = .02)
})

test_that("extremes and what is refused", {
  # one component: class and whole are the same, and so is every weight
  one <- gaussmix(1, 2, .5)
  expect_equal(of(recfg_weights(one, guidance("1", 3), .5), "other"), -3, tolerance = 1e-12)
  m <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1, 1)), 0, class = c("a", "b"))
  expect_true(is.finite(of(recfg_weights(m, guidance("a", 3), 1e-4), "other")[1]))
  expect_error(recfg_weights(m, guidance("a", 3), 0), class = "mixguide_error_singular")
  expect_equal(of(recfg_weights(m, guidance("a", 0), .1), "other"), c(0, 0))
  big <- recfg_weights(named_mixture("D3"), guidance("1", 1000), .5)
  expect_true(all(is.finite(of(big, "other"))))
  units <- standardise(gaussmix(c(.5, .5), c(100, 200), 400, class = c("a", "b")))
  expect_true(is.finite(of(recfg_weights(units, guidance("a", 3), .5), "other")))
  expect_mixguide_error(recfg_weights(m, NULL, .1), "guidance")
  for (odd in list(guidance("a", 2) + guidance("b", 1), guidance("a", 2, power = 1),
                   guidance("a", diag(2)), guidance("a", 2, rule = "apg"),
                   guidance("a", function(t, q) q))) {
    expect_mixguide_error(recfg_weights(m, odd, .1), "guidance")
  }
  expect_identical(recfg_weights(m, guidance("a", 2, rule = "recfg"), .1, key = 1:2)$estimate,
                   recfg_weights(m, guidance("a", 2), .1, key = 1:2)$estimate)
  expect_mixguide_error(recfg_weights(m, "a", -1), "t")
  expect_mixguide_error(recfg_weights(m, "a", .1, n = 10), "n")
  expect_mixguide_error(guidance_rule("recfg", space = "noise"), "space")
  expect_mixguide_error(guidance_rule("recfg", n = 10), "n")
  expect_mixguide_error(tilted_law(m, guidance("a", 2, rule = "recfg")), "guidance")
  expect_mixguide_error(step_condition(m, guidance = guidance("a", 2, rule = "recfg")), "guidance")
  # if the data are forgotten the coefficients would have to sum to 1
  flow <- named_mixture("A2")
  expect_mixguide_error(guided_sample(flow, 5, guidance("1", 2, rule = "recfg"), sampler_ddim(5),
                                      schedule = schedule_flow(), horizon = 1), "horizon")
})

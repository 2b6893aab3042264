line <- gaussmix(c(.3, .7), c(1, -1), c(1, .25), class = c("a", "b"))
plane <- gaussmix(c(.3, .3, .4), cbind(u = c(-1, 0, 2), v = c(0, 1, 0)),
                  list(.5, c(1, .3), matrix(c(.6, .2, .2, .4), 2)), class = c("a", "b", "a"))

slow_entropy <- function(weights, means, sds) {
  f <- function(x) {
    p <- rowSums(vapply(seq_along(weights), function(k) weights[k] * dnorm(x, means[k], sds[k]),
                        double(length(x))))
    ifelse(p > 0, -p * log(p), 0)
  }
  at <- c(-40, -12, -6, -3, -1, 1, 3, 6, 12, 40)
  cuts <- sort(unique(c(outer(at, sds) + rep(means, each = 10))))
  sum(vapply(seq_along(cuts)[-1], function(i) {
    stats::integrate(f, cuts[i - 1], cuts[i], rel.tol = 1e-11)$value
  }, 0))
}

test_that("one Gaussian has its closed form", {
  S <- matrix(c(2, .5, .5, 1), 2)
  expect_equal(as.data.frame(entropy(gaussmix(1, c(3, 4), S))),
               data.frame(quantity = "entropy", estimate = log((2 * pi * exp(1))^2 * det(S)) / 2,
                          se = 0, method = "exact", note = ""))
  expect_equal(entropy(gaussmix(1, 0, 4))$estimate, log(2 * pi * exp(1) * 4) / 2, tolerance = 1e-14)
  expect_identical(entropy(plane, "b")$method, "exact")
  expect_equal(entropy(plane, "b")$estimate, log((2 * pi * exp(1))^2 * .3) / 2, tolerance = 1e-14)
  # the same with further components of weight zero
  expect_identical(entropy(gaussmix(c(0, 1), c(0, 1), c(1, 4)))$method, "exact")
  wide <- gaussmix(1, rep(0, 50), 1e-12)
  expect_equal(entropy(wide)$estimate, 25 * log(2 * pi * exp(1) * 1e-12), tolerance = 1e-13)
})

test_that("in one dimension the entropy of a mixture is an integral", {
  result <- entropy(line)
  expect_identical(names(result), c("quantity", "estimate", "se", "method", "note"))
  expect_identical(result$method, "quadrature")
  expect_identical(result$se, 0)
  expect_equal(result$estimate, slow_entropy(c(.3, .7), c(1, -1), c(1, .5)), tolerance = 1e-10)
  # far apart, the entropies of components and that of the weights add up
  expect_equal(entropy(gaussmix(c(.3, .7), c(0, 1e4), c(1, 4)))$estimate,
               log(2 * pi * exp(1)) / 2 + .7 * log(2) - .3 * log(.3) - .7 * log(.7),
               tolerance = 1e-12)
  # the entropy of a class
  three <- gaussmix(c(.2, .3, .5), c(0, 1, 3), c(1, .3, .5), class = c("a", "b", "a"))
  expect_equal(entropy(three, "a")$estimate,
               slow_entropy(c(2, 5) / 7, c(0, 3), sqrt(c(1, .5))), tolerance = 1e-10)
  expect_equal(entropy(three, c("a", "b")), entropy(three), tolerance = 1e-12)
})

test_that("so it is where components are of very different width", {
  for (width in c(1e-2, 1e-4, 1e-6)) {
    m <- gaussmix(c(.5, .2, .3), c(0, .5, 1), c(1, width^2, .25))
    expect_equal(entropy(m)$estimate, slow_entropy(c(.5, .2, .3), c(0, .5, 1), c(1, width, .5)),
                 tolerance = 1e-8)
  }
})

test_that("in the plane it is an integral, and beyond a mean with an honest standard error", {
  step <- .05
  grid <- unname(as.matrix(expand.grid(seq(-9, 9, step), seq(-9, 9, step))))
  p <- dgaussmix(grid, plane, log = TRUE)
  truth <- -sum(exp(p) * p) * step^2
  row <- entropy(plane)
  expect_identical(unlist(row[c("se", "method")]), c(se = "0", method = "quadrature"))
  expect_equal(row$estimate, truth, tolerance = 1e-9)
  # a third variable, independent of the others
  solid <- gaussmix(plane$weights, cbind(plane$means, 0), lapply(1:3, function(k) {
    rbind(cbind(mixguide:::component_cov(plane, k), 0), c(0, 0, .5))
  }))
  truth <- truth + log(2 * pi * exp(1) * .5) / 2
  set.seed(601)
  rows <- lapply(1:200, function(i) entropy(solid, n = 400))
  expect_identical(unique(vapply(rows, `[[`, "", "method")), "Monte Carlo")
  expect_honest(vapply(rows, function(r) (r$estimate - truth) / r$se, 0))
})

test_that("the entropy of a guided sample has an honest standard error", {
  exact <- guidance_sweep(line, 2001, "a", 1, sampler_ddim(20))
  set.seed(602)
  rows <- lapply(1:200, function(i) {
    entropy(guided_sample(line, 400, guidance("a", 1), sampler_ddim(20)))
  })
  expect_identical(rows[[1]]$method, "Monte Carlo")
  expect_honest(vapply(rows, function(r) (r$estimate - exact$entropy) / r$se, 0))
  # at strength 0 and with one component the map is affine, and the entropy exact
  row <- entropy(guided_sample(line, 100, guidance("a", 0), sampler_ddim(20)))
  law <- guided_moments(gaussmix(1, 1, 1), sampler = sampler_ddim(20))
  expect_equal(row$estimate, log(2 * pi * exp(1) * law$cov[1]) / 2, tolerance = 1e-12)
  expect_lt(row$se, 1e-12)
  row <- entropy(guided_sample(plane, 100, guidance("b", 0), sampler_rk4(20)))
  law <- guided_moments(gaussmix(1, c(0, 1), diag(c(1, .3))), sampler = sampler_rk4(20))
  expect_equal(row$estimate, log((2 * pi * exp(1))^2 * det(law$cov)) / 2, tolerance = 1e-12)
})

test_that("from an exact start it is the mean of the log-density itself", {
  set.seed(603)
  run <- guided_sample(line, 20000, NULL, sampler_rk4(30, "quadratic"), start = "exact",
                       horizon = 2)
  row <- entropy(run)
  expect_equal(row$estimate, -mean(run$log_density))
  expect_lt(abs(row$estimate - entropy(line)$estimate) / row$se, 5.5)
})

test_that("what has no entropy says so", {
  expect_error(entropy(gaussmix(c(.5, .5), c(-1, 1), 0)), class = "mixguide_error")
  expect_error(entropy(gaussmix(1, c(0, 0), tcrossprod(1:2))), class = "mixguide_error")
  expect_mixguide_error(entropy(line, "z"), "class")
  for (n in list(-1, 0, 1.5, NA, "9")) expect_mixguide_error(entropy(plane, n = n), "n")
  none <- entropy(guided_sample(line, 0, guidance("a"), sampler_ddim(5)))
  expect_identical(nrow(none), 1L)
  expect_true(is.na(none$estimate))
  skip_if_not_installed("FNN")
  expect_match(entropy(guided_sample(line, 5, sampler = sampler_ddpm(5)))$note, "too few")
})

test_that("entropy, confidence and information know components at any distance", {
  at <- function(p, v) sum(-p * log(p) + p * log(2 * pi * exp(1) * v) / 2)
  for (apart in 10^c(2, 4, 8, 16, 100)) {
    m <- gaussmix(c(.3, .7), apart * c(-1, 1), c(1, 2), class = c("a", "b"))
    expect_equal(entropy(m)$estimate, at(c(.3, .7), 1:2), tolerance = 1e-13)
    expect_equal(confidence(m)$estimate, c(1, 1), tolerance = 1e-13)
    row <- information(m)
    expect_equal(row$entropy, at(c(.3, .7), 1:2), tolerance = 1e-13)
    expect_equal(row$fisher, .3 + .7 / 2, tolerance = 1e-12)
    # two components overlap, one is far off; at any place
    three <- gaussmix(c(.2, .3, .5), c(apart, 0, 1), c(1, .25, .25), class = c("far", "a", "b"))
    two <- gaussmix(c(.3, .5) / .8, c(0, 1), .25, class = c("a", "b"))
    expect_equal(entropy(three)$estimate,
                 .8 * entropy(two)$estimate - .8 * log(.8) + at(.2, 1), tolerance = 1e-12)
    expect_equal(confidence(three, "a")$estimate, confidence(two, "a")$estimate, tolerance = 1e-12)
  }
  moved <- gaussmix(c(.3, .7), 1e6 + c(0, 1), c(.2, .3))
  expect_equal(entropy(moved), entropy(gaussmix(c(.3, .7), c(0, 1), c(.2, .3))), tolerance = 1e-12)
})

test_that("the entropy of a map that folds is printed as the bound that it is", {
  m <- gaussmix(c(.5, .5), c(1, -1), .05, class = c("a", "b"))
  folds <- suppressWarnings(guided_sample(m, 500, guidance("a", 20), sampler_euler(4), key = 1:2))
  expect_true(any(folds$folded))
  expect_match(capture.output(print(folds)), "entropy: +at most", all = FALSE)
  smooth <- guided_sample(m, 500, guidance("a", 1), sampler_ddim(100), key = 1:2)
  expect_false(any(smooth$folded))
  expect_false(any(grepl("at most", capture.output(print(smooth)))))
})

test_that("stochastic samplers have an entropy by nearest neighbours, with an honest error", {
  skip_if_not_installed("FNN")
  # across the first variable the law is Gaussian, so the law of each component is known
  wide <- gaussmix(c(.5, .5), rbind(c(1, 0, 0), c(-1, 0, 0)), cov = diag(c(.3, 1, 2)),
                   class = c("a", "b"))
  narrow <- gaussmix(c(.5, .5), c(1, -1), cov = .3, class = c("a", "b"))
  sampler <- sampler_ddpm(30)
  of_law <- function(...) entropy(without_faults(guided_law(..., sampler = sampler)))$estimate
  rest <- of_law(gaussmix(1, 0, 1)) + of_law(gaussmix(1, 0, 2))
  truth <- of_law(narrow, guidance("a", 2)) + rest
  runs <- lapply(1:20, function(i) {
    quiet_sample(wide, 4000, guidance("a", 2), sampler, key = c(i, 1))
  })
  honest <- function(rows) {
    z <- vapply(rows, function(row) (row$estimate - truth) / row$se, 0)
    expect_lt(max(abs(z)), 4)
    expect_lt(abs(mean(z)), 1)
    expect_gt(stats::sd(z), .3)
  }
  rows <- lapply(runs, entropy)
  expect_identical(c(rows[[1]]$method, rows[[1]]$note), c("Monte Carlo", "by nearest neighbours"))
  honest(rows)
  # neighbours in all coordinates, of which the first alone is not Gaussian
  all <- lapply(runs, function(run) points_entropy(run$x, wide, run$key))
  honest(all)
  expect_lt(sum(vapply(rows, `[[`, 0, "se")^2), sum(vapply(all, `[[`, 0, "se")^2))
  # in any units, with a key
  run <- runs[[1]]
  expect_identical(entropy(run), rows[[1]])
  expect_equal(points_entropy(1e-6 * run$x, NULL, 1:2)$estimate,
               points_entropy(run$x, NULL, 1:2)$estimate + 3 * log(1e-6))
  scaled <- standardise(wide)
  expect_lt(abs(entropy(quiet_sample(scaled, 4000, guidance("a", 2), sampler, key = 1:2))$estimate -
                  truth), .15)
  # R's generator is left alone
  withr::with_seed(1, {
    before <- .Random.seed
    entropy(run)
    expect_identical(.Random.seed, before)
  })
  # objects without an entropy give an error with its cure
  expect_error(entropy(quiet_sample(wide, 2000, sampler = sampler, points = "sobol")),
               "independent particles", class = "mixguide_error")
  expect_error(entropy(quiet_sample(wide, 50, sampler = sampler_ddim(5), log_density = "none")),
               "no log-density: take log_density =", class = "mixguide_error")
  expect_error(entropy(quiet_sample(wide, 50, sampler = sampler, start = matrix(0, 50, 3))),
               "given starts", class = "mixguide_error")
  expect_error(entropy(without_faults(guided_summary(wide, 50, sampler = sampler))),
               "entropy\\(\\) of a guided_sample", class = "mixguide_error")
  many <- gaussmix(c(.5, .5), matrix(0, 2, 20), list(seq(1, 2, length.out = 20), 3))
  expect_error(entropy(quiet_sample(many, 50, sampler = sampler)), "at most 16",
               class = "mixguide_error")
  expect_identical(entropy(quiet_sample(wide, 0, sampler = sampler))$note, "no particles")
  expect_match(entropy(quiet_sample(wide, 9, sampler = sampler))$note, "too few")
  none <- function(x) expect_null(points_entropy(x, NULL, 1:2))
  none(cbind(1:200, 1))
  none(cbind(1:200, 2 * (1:200)))
  none(matrix(rep(rnorm(40), 10), 200, byrow = TRUE))
})

test_that("the entropy of a stochastic run that follows one Gaussian is exact", {
  d <- 20
  m <- gaussmix(c(.5, .5), rbind(rep(0, d), rep(1, d)), list(seq(.1, 2, length.out = d), 1),
                class = c("a", "b"))
  part <- gaussmix(1, rep(0, d), diag(seq(.1, 2, length.out = d)))
  run <- quiet_sample(m, 10, guidance("a", 0), sampler_ddpm(10))
  law <- without_faults(guided_moments(part, sampler = sampler_ddpm(10), horizon = run$horizon))
  truth <- c(determinant(2 * pi * exp(1) * law$cov)$modulus) / 2
  expect_identical(entropy(run)$method, "exact")
  expect_equal(entropy(run)$estimate, truth, tolerance = 1e-12)
  one <- quiet_sample(part, 10, sampler = sampler_ddpm(10), horizon = run$horizon)
  expect_equal(entropy(one)$estimate, truth, tolerance = 1e-12)
  # in the variables of the mixture
  units <- quiet_sample(standardise(m), 10, guidance("a", 0), sampler_ddpm(100))
  expect_equal(entropy(units)$estimate, entropy(part)$estimate, tolerance = .1)
})

test_that("neighbours see narrow components, and what is left of their bias", {
  skip_if_not_installed("FNN")
  # a component of width .01 inside one of width 1
  m <- gaussmix(c(.5, .5), matrix(0, 2, 3), list(c(1, .1, 1), c(1e-4, .1, 1)))
  line <- gaussmix(c(.5, .5), c(0, 0), c(1, 1e-4))
  truth <- entropy(line)$estimate + log((2 * pi * exp(1))^2 * .1) / 2
  rows <- lapply(1:10, function(i) {
    x <- withr::with_seed(i, rgaussmix(3000, m))
    rbind(points_entropy(x, m, c(i, 1)), points_entropy(x, NULL, c(i, 1)))
  })
  z <- vapply(rows, function(row) (row$estimate - truth) / row$se, c(0, 0))
  expect_lt(max(abs(z[1, ])), 4)
  expect_lt(abs(mean(z[1, ])), 1)
  # without the components the bias is large, and so is the error
  expect_gt(mean(vapply(rows, function(row) row$se[2] / row$se[1], 0)), 2)
})

test_that("runs by a rule, a power or a model of one's own have an entropy", {
  m <- gaussmix(c(.3, .3, .4), rbind(c(3, 1), c(1, 3), c(4, 4)), 1, class = c("a", "b", "c"))
  close <- function(run, exact, extra = 0) {
    row <- entropy(run)
    expect_lt(abs(row$estimate - exact) / sqrt(row$se^2 + extra^2), 4.5)
  }
  rule <- guidance("a", 2, rule = "mambo_g")
  d <- diffusion(m, rule, sampler_ddim(10), key = c(1, 2))
  close(guided_sample(d, 1000), entropy(guided_law(d))$estimate)
  one <- named_mixture("D3")
  model <- score_model(function(x, t, class) score(one, x, t, guidance = class), variables = "x",
                       class = c("1", "2", "3"))
  plain <- entropy(guided_law(one, guidance("1", 2), sampler_ddim(10)))$estimate
  for (points in c("random", "sobol")) {
    run <- function(of, ...) guided_sample(of, 1024, ..., sampler = sampler_ddim(10),
                                           points = points, key = c(1, 2))
    close(run(one, guidance("1", 2), score_error = score_error(model = model)), plain)
    close(run(model, guidance("1", 2)), plain)
    close(run(one, guidance("1", 2, power = .5)),
          entropy(guided_law(one, guidance("1", 2, power = .5), sampler_ddim(10)))$estimate)
  }
  skip_if_not_installed("FNN")
  law <- guided_law(one, guidance("1", 2, power = .5), sampler_ddpm(10))
  close(guided_sample(one, 4000, guidance("1", 2, power = .5), sampler_ddpm(10), key = c(1, 2)),
        entropy(law)$estimate)
  # a model by itself, whose output is Gaussian
  own <- score_model(function(x, t, class) -x, variables = 2)
  sample <- guided_sample(own, 4000, sampler = sampler_ddpm(5), key = c(1, 2))
  close(sample, log(2 * pi * exp(1)) + log(det(stats::cov(sample$x))) / 2)
})

test_that("where no entropy follows, the error names what has one", {
  m <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1, 1)), 0, class = c("a", "b"))
  rule <- guidance("a", 2, rule = "mambo_g")
  says <- function(code, words) expect_error(code, words, class = "mixguide_error_input")
  says(entropy(guided_sample(m, 50, rule, sampler_ddim(5))), "\"mambo_g\".*guided_law\\(\\)")
  says(entropy(guided_summary(named_mixture("D3"), 50, guidance("1", 2, power = .5),
                              sampler_ddim(5))), "a power.*guided_law.*compare_guidance")
  says(entropy(guided_sample(named_mixture("D3"), 50, sampler = sampler_ddim(5),
                             log_density = "none")), "log_density = \"map\"")
})

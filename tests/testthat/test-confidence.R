line <- gaussmix(c(.5, .5), c(1, -1), 1, class = c("a", "b"))
plane <- gaussmix(c(.3, .3, .4), cbind(u = c(-1, 0, 2), v = c(0, 1, 0)),
                  list(.5, c(1, .3), matrix(c(.6, .2, .2, .4), 2)), class = c("a", "b", "a"))

# E f(X) by integrate(), in pieces at every component's scale, to 12 standard deviations.
slow_expectation <- function(weights, means, sds, f, all_means = means, all_sds = sds) {
  cuts <- sort(unique(c(outer(c(-12, -6, -3, -1, 1, 3, 6, 12), all_sds) +
                          rep(all_means, each = 8))))
  total <- 0
  for (k in seq_along(weights)) {
    inside <- cuts[abs(cuts - means[k]) <= 12 * sds[k]]
    for (i in seq_along(inside)[-1]) {
      piece <- integrate(function(x) f(x) * dnorm(x, means[k], sds[k]), inside[i - 1], inside[i],
                         rel.tol = 1e-11)
      total <- total + weights[k] * piece$value
    }
  }
  total
}

# E f over a mixture in the plane, by the trapezoidal rule.
plane_integral <- function(f, density, step = .05) {
  grid <- unname(as.matrix(expand.grid(seq(-9, 9, step), seq(-9, 9, step))))
  sum(f(grid) * density(grid)) * step^2
}

test_that("in one dimension the confidence of a mixture is an integral", {
  result <- confidence(line)
  expect_identical(names(result), c("quantity", "class", "estimate", "se", "method", "note"))
  expect_identical(result$class, c("a", "b"))
  expect_identical(result$method, rep("quadrature", 2))
  expect_identical(result$se, c(0, 0))
  truth <- slow_expectation(1, 1, 1, function(x) plogis(2 * x))
  expect_equal(result$estimate, rep(truth, 2), tolerance = 1e-10)
  expect_equal(confidence(line, "b")$estimate, truth, tolerance = 1e-10)
})

test_that("so it is where components are of very different width", {
  for (width in c(1e-2, 1e-4, 1e-6)) {
    m <- gaussmix(c(.4, .3, .3), c(0, .5, 1), c(1, width^2, .25), class = c("a", "b", "a"))
    q <- function(x) {
      a <- .4 * dnorm(x) + .3 * dnorm(x, 1, .5)
      a / (a + .3 * dnorm(x, .5, width))
    }
    sds <- c(1, width, .5)
    truth_a <- slow_expectation(c(.4, .3) / .7, c(0, 1), sds[c(1, 3)], q, c(0, .5, 1), sds)
    truth_b <- slow_expectation(1, .5, width, function(x) 1 - q(x), c(0, .5, 1), sds)
    expect_equal(confidence(m)$estimate, c(truth_a, truth_b), tolerance = 1e-8)
  }
})

test_that("a class that is everything has confidence 1", {
  expect_equal(confidence(gaussmix(c(.5, .5), c(0, 1), 1, class = c("a", "a")))[ESTIMATE],
               data.frame(estimate = 1, se = 0, method = "exact", note = ""))
  expect_equal(confidence(gaussmix(1, c(0, 0), 1))$estimate, 1)
})

test_that("in the plane it is an integral, and beyond a mean with an honest standard error", {
  q <- function(x) posterior(plane, x)[, "b"]
  law <- gaussmix(1, c(0, 1), diag(c(1, .3)))
  truth <- plane_integral(q, function(x) dgaussmix(x, law))
  row <- confidence(plane, "b")
  expect_identical(unlist(row[c("se", "method")]), c(se = "0", method = "quadrature"))
  expect_equal(row$estimate, truth, tolerance = 1e-9)
  # a third variable without information about the class
  solid <- gaussmix(plane$weights, cbind(plane$means, 0), lapply(1:3, function(k) {
    rbind(cbind(mixguide:::component_cov(plane, k), 0), c(0, 0, .5))
  }), class = plane$class)
  set.seed(501)
  rows <- lapply(1:200, function(i) confidence(solid, "b", n = 400))
  expect_identical(unique(vapply(rows, `[[`, "", "method")), "Monte Carlo")
  expect_honest(vapply(rows, function(r) (r$estimate - truth) / r$se, 0))
})

test_that("the confidence of a guided sample is a mean with an honest standard error", {
  exact <- guidance_sweep(line, 2001, "a", 1, sampler_ddim(20))
  set.seed(502)
  rows <- lapply(1:200, function(i) {
    confidence(guided_sample(line, 400, guidance("a", 1), sampler_ddim(20), log_density = "none"))
  })
  expect_identical(names(rows[[1]]), c("quantity", "estimate", "se", "method", "note"))
  expect_identical(rows[[1]]$method, "Monte Carlo")
  expect_honest(vapply(rows, function(r) (r$estimate - exact$confidence) / r$se, 0))
  # an unguided run has no gain, and a run without particles has no estimate
  unguided <- guided_sample(line, 5, sampler = sampler_ddim(5))
  expect_error(confidence(unguided), class = "mixguide_error")
  none <- confidence(guided_sample(line, 0, guidance("a"), sampler_ddim(5)))
  expect_identical(nrow(none), 1L)
  expect_true(is.na(none$estimate) && is.na(none$se))
  expect_true(is.na(confidence(guided_sample(line, 1, guidance("a"), sampler_ddim(5)))$se))
})

test_that("bad arguments are answered by name", {
  for (class in list("c", NA, list("a"), character())) {
    expect_mixguide_error(confidence(line, class), "class")
  }
  for (n in list(-1, 1, 1.5, NA, Inf, "9")) expect_mixguide_error(confidence(plane, "a", n), "n")
  expect_error(confidence(gaussmix(c(.5, .5), c(-1, 1), 0)), class = "mixguide_error")
  expect_error(confidence(gaussmix(c(.5, .5), diag(2), 0)), class = "mixguide_error")
})

test_that("of points the confidence in any class is computed", {
  set.seed(11)
  for (i in 1:5) {
    d <- sample(3, 1)
    m <- gaussmix(c(.3, .3, .4), matrix(rnorm(3 * d, 0, 2), 3), runif(1, .2, 2),
                  class = c("a", "b", "c"))
    end <- c(0, .1)[1 + i %% 2]
    law <- diffuse(m, end)
    run <- guided_sample(m, 200, guidance("b", 1), sampler_ddim(10, end = end))
    q <- posterior(law, run$x)
    expect_equal(confidence(run, c("c", "a", "b"))[ESTIMATE],
                 do.call(rbind, lapply(c("c", "a", "b"), function(y) sample_mean(q[, y]))),
                 tolerance = 1e-10)
    expect_identical(confidence(run, c("c", "a"))$class, c("c", "a"))
    expect_equal(confidence(run, "b")$estimate, confidence(run)$estimate, tolerance = 1e-10)
    plain <- guided_sample(m, 200, sampler = sampler_ddim(10))
    expect_error(confidence(plain), class = "mixguide_error_input")
    expect_equal(confidence(plain, "c")$estimate, mean(posterior(m, plain$x)[, "c"]))
  }
  expect_error(confidence(run, "d"), "`class`", class = "mixguide_error_input")

  # point masses, at the last time with noise
  points <- gaussmix(c(.5, .5), c(-1, 1), 0, class = c("a", "b"))
  run <- guided_sample(points, 50, guidance("b", 0), sampler_ddim(10))
  expect_equal(confidence(run, c("b", "a"))$estimate, confidence(run)$estimate * c(1, -1) + 0:1)

  tilted <- tilted_sample(line, 400, guidance("a", 1), key = c(1, 2))
  expect_equal(sum(confidence(tilted, c("a", "b"))$estimate), 1)
  expect_equal(confidence(tilted, "a")$estimate, confidence(tilted)$estimate)
})

test_that("so it is of laws, and of sweeps that kept their samples", {
  law <- guided_law(line, guidance("a", 1), sampler_em(20))
  expect_equal(confidence(law, c("a", "b"))$estimate,
               c(confidence(law)$estimate, 1 - confidence(law)$estimate))
  high <- gaussmix(c(.5, .5), rbind(c(1, 0, 0), c(-1, 1, 0)), .5, class = c("a", "b"))
  law <- guided_law(high, guidance("a", 1), sampler_ddim(20))
  expect_false(is.null(law$rest))
  expect_equal(sum(confidence(law, c("a", "b"))$estimate), 1)
  expect_equal(confidence(law, "a")$estimate, confidence(law)$estimate)

  sweep <- guidance_sweep(plane, 100, "a", c(0, 2), sampler_ddim(10), keep = TRUE)
  both <- confidence(sweep, c("a", "b"))
  expect_identical(both$strength, c(0, 0, 2, 2))
  expect_equal(both$estimate[both$class == "a"], sweep$confidence)
  expect_equal(both$estimate[both$class == "b"], 1 - sweep$confidence)
})

test_that("what was kept for one class says nothing of another", {
  sweep <- guidance_sweep(plane, 100, "a", c(0, 2), sampler_ddim(10))
  summary <- guided_summary(plane, 100, guidance("a", 2), sampler_ddim(10))
  for (x in list(sweep, summary)) {
    expect_error(confidence(x, "b"), 'NULL or "a"', class = "mixguide_error_input")
    expect_error(confidence(x, c("a", "b")), class = "mixguide_error_input")
    expect_equal(confidence(x, "a")[names(confidence(x))], as.data.frame(confidence(x)))
  }
})

test_that("a run of no particles has no confidence, and says why", {
  run <- guided_sample(line, 0, guidance("a", 1), sampler_ddim(5))
  for (row in list(confidence(run), entropy(run), confidence(run, "b")[-1])) {
    expect_true(is.na(row$estimate) && is.na(row$se))
    expect_identical(row[c("method", "note")],
                     data.frame(method = "unknown", note = "no particles"))
  }
})

test_that("draws for a mean are made in blocks, however many variables there are", {
  d <- 2e5
  m <- gaussmix(c(.5, .5), rbind(rep(1, d), rep(0, d)), 1)
  sizes <- NULL
  x <- NULL
  mean <- mean_of_draws(m, 60, function(drawn) {
    sizes <<- c(sizes, nrow(drawn))
    x <<- c(x, rowMeans(drawn))
    rowMeans(drawn)
  }, c(1, 2))
  expect_identical(sizes, c(20L, 20L, 20L))
  # the mean of each draw is that of its component, to 4 standard errors
  expect_true(all(pmin(abs(x), abs(x - 1)) < 5 / sqrt(d)))
  expect_true(sum(x > .5) %in% 15:45)
  expect_identical(x, rowMeans(keyed_draws(m, 60, c(1, 2))))
  expect_identical(mean, sample_mean(x))
})

test_that("all classes of a mixture have the draws of one key", {
  m <- gaussmix(c(.2, .3, .5), rbind(0, c(1, 2, 0), c(-1, 0, 2)), list(1, .5, 2),
                class = c("a", "b", "c"))
  set.seed(1)
  drawn <- confidence(m, n = 2000)
  set.seed(1)
  key <- draw_key()
  expect_identical(drawn, confidence(m, n = 2000, key = key))
  for (class in m$class) {
    expect_identical(drawn[drawn$class == class, "estimate"],
                     confidence(m, class, n = 2000, key = key)$estimate)
  }
})

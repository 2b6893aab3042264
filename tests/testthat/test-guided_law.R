# The law of a discrete chain against theory/em.csv, samples, and an independent program.

em_law <- function(name, strength, steps, ...) {
  guided_law(named_mixture(name), guidance("1", strength), sampler_em(steps, "uniform"),
              horizon = 5, ...)
}
numbers <- function(law) c(confidence(law)$estimate, entropy(law)$estimate)

test_that("Euler-Maruyama on A2 and D3 has the tabulated confidence and entropy", {
  skip_on_cran()
  check <- function(mixture, steps, tolerance) {
    known <- theory_em(mixture, steps)
    found <- sapply(as.numeric(colnames(known)), function(eta) numbers(em_law(mixture, eta, steps)))
    expect_lt(max(abs(found - known)), tolerance)
  }
  check("A2", 100, 1e-7)
  check("A2", 200, 1e-7)
  check("D3", 100, 1e-6)
})

test_that("the centre of D3 splits in 50 coarse steps of the SDE as tabulated", {
  known <- theory("em")
  known <- known[known$mixture == "D3" & known$steps == 50, ]
  for (i in seq_len(nrow(known))) {
    law <- em_law("D3", known$strength[i], 50)
    found <- c(numbers(law), sqrt(moments(law)$cov))
    expect_lt(max(abs(found - unlist(known[i, 4:6])) / c(1e-6, 1e-5, 1e-5)), .51)
  }
  # the places of modes, and the depth between them
  law <- em_law("D3", 12, 50)
  x <- seq(0, 8, .001)
  density <- law_density(law, x)
  expect_equal(x[which.max(density)], 3.60, tolerance = 5e-3)
  expect_equal(density[1] / max(density), .741, tolerance = 1e-3)
})

test_that("the coarse SDE on NC1 has the tabulated confidence", {
  known <- theory_em("NC1", 100)["confidence", ]
  found <- sapply(as.numeric(names(known)), function(eta) {
    confidence(em_law("NC1", eta, 100))$estimate
  })
  expect_lt(max(abs(found - known)), 1e-6)
})

test_that("an independent program has the same law for other samplers and grids", {
  x <- seq(-7, 7, .05)
  for (sampler in list(sampler_exponential(40, "uniform", stochastic = TRUE),
                       sampler_ddpm(40, variance = "large"))) {
    sampler$grid <- "uniform"
    law <- guided_law(named_mixture("E3"), guidance("1", 1), sampler, horizon = 4)
    known <- grid_law(named_mixture("E3"), sampler, 1, x, 4)
    expect_lt(max(abs(numbers(law) - known)), 1e-7)
  }
})

test_that("samples of every stochastic sampler agree with its law", {
  withr::local_seed(601)
  mixture <- named_mixture("E3")
  for (sampler in list(sampler_ddpm(20), sampler_ddim(20, eta = .5), sampler_em(20))) {
    law <- guided_law(mixture, guidance("1", 1), sampler, start = "exact")
    run <- guided_sample(mixture, 2e4, guidance("1", 1), sampler, start = "exact")
    row <- confidence(run)
    expect_lt(abs(row$estimate - confidence(law)$estimate) / row$se, 4)
    # distribution function
    grid <- stats::quantile(run$x, 1:9 / 10)
    expect_lt(max(abs(mixguide:::law_cdf(law)(grid) - 1:9 / 10)), 4 * .5 / sqrt(2e4))
  }
})

test_that("one Gaussian has the law that guided_moments() gives", {
  for (sampler in list(sampler_em(30), sampler_ddpm(30), sampler_ddpm(30, variance = "scaled"),
                       sampler_rk4(8))) {
    exact <- guided_moments(named_mixture("G1"), sampler = sampler, horizon = 3)
    law <- guided_law(named_mixture("G1"), sampler = sampler, horizon = 3)
    expect_equal(unname(moments(law)$mean), exact$mean, tolerance = 1e-9)
    expect_equal(c(moments(law)$cov), c(exact$cov), tolerance = 1e-8)
    expect_equal(entropy(law)$estimate, entropy(gaussmix(1, exact$mean, exact$cov))$estimate,
                 tolerance = 1e-8)
  }
})

test_that("in two dimensions the law of a product is the product of the laws", {
  # the second coordinate is the same in both components and has its own noise
  plane <- gaussmix(c(.5, .5), rbind(c(1, 0), c(-1, 0)), diag(c(1, .5)))
  steps <- sampler_em(15, "uniform")
  law <- guided_law(plane, guidance("1", 2), steps, horizon = 3, reduce = FALSE)
  line <- guided_law(named_mixture("A2"), guidance("1", 2), steps, horizon = 3)
  other <- guided_law(gaussmix(1, 0, .5), sampler = steps, horizon = 3)
  expect_equal(entropy(law)$estimate, entropy(line)$estimate + entropy(other)$estimate,
               tolerance = 1e-8)
  expect_equal(confidence(law)$estimate, confidence(line)$estimate, tolerance = 1e-9)
  x <- cbind(c(.3, 2, -1), c(-1, 0, .7))
  expect_equal(law_density(law, x),
               law_density(line, x[, 1]) * law_density(other, x[, 2]), tolerance = 1e-3)
  # the law uses this reduction
  reduced <- guided_law(plane, guidance("1", 2), steps, horizon = 3)
  expect_identical(ncol(reduced$x), 1L)
  expect_equal(summary(reduced)$estimate, summary(law)$estimate, tolerance = 1e-7)
  expect_equal(law_density(reduced, x), law_density(law, x), tolerance = 1e-3)
})

test_that("a run in six dimensions reduces to two, with exact moments for the rest", {
  withr::local_seed(602)
  mixture <- gaussmix(c(.3, .3, .4), matrix(rnorm(18), 3), .5)
  for (sampler in list(sampler_em(15), sampler_rk4(6))) {
    law <- guided_law(mixture, guidance("1", 2), sampler, nodes = if (!sampler$stochastic) 101)
    run <- guided_sample(mixture, 2e4, guidance("1", 2), sampler)
    expect_identical(ncol(law$x), 2L)
    at <- moments(law)
    deviation <- (colMeans(run$x) - at$mean) / sqrt(diag(at$cov) / 2e4)
    expect_lt(max(abs(deviation)), 4)
    expect_lt(max(abs(cov(run$x) - at$cov)), 6 * max(at$cov) / sqrt(2e4))
    expect_lt(abs(confidence(run)$estimate - confidence(law)$estimate) / confidence(run)$se, 4)
  }
  expect_equal(entropy(law)$estimate, entropy(run)$estimate, tolerance = 6 * entropy(run)$se)
})

test_that("deterministic samplers have the law of continuous time as tabulated", {
  for (rows in theory_exact) {
    rows <- rows[rows$strength %in% c(0, 2, 8), ]
    for (i in seq_len(nrow(rows))) {
      law <- guided_law(named_mixture(rows$mixture[i]), guidance("1", rows$strength[i]),
                         sampler_rk4(120), horizon = 5, log_density = "divergence")
      found <- c(numbers(law), sum(law$weights * exp(-law$log_confidence)))
      expect_lt(max(abs(found - unlist(rows[i, -(1:2)]))), 1e-6)
    }
  }
  law <- guided_law(named_mixture("A2"), guidance("1", 4), sampler_rk4(60), horizon = 5)
  expect_equal(unname(moments(law)$mean), 2.59963499, tolerance = 1e-6)
  expect_equal(c(moments(law)$cov), .30957380, tolerance = 1e-5)
})

test_that("branches of a folded map add up to a density, and to less entropy", {
  coarse <- sampler_euler(20, "uniform")
  fold <- guided_law(named_mixture("D3"), guidance("1", 30), coarse, horizon = 5)
  expect_equal(fold$folded, 1, tolerance = 1e-9)
  # the places of the mass: between the branch points
  x <- seq(-40, 40, length.out = 400001)
  expect_equal(sum(law_density(fold, x)) * (x[2] - x[1]), 1, tolerance = 2e-2)
  # without the fold 3.3794; a histogram has 2.8964
  expect_equal(entropy(fold)$estimate, 2.8964, tolerance = 4e-3)
  law <- guided_law(named_mixture("D3"), guidance("1", 4), coarse, horizon = 5)
  expect_lt(law$folded, 1e-9)
  expect_equal(entropy(law)$estimate, -6.1537, tolerance = 1e-5)
})

folds_of <- function(law) {
  row <- as.data.frame(summary(law))
  stats::setNames(as.list(row$estimate), row$quantity)
}

test_that("the entropy of a folded map is that of its output: D3 in 20 Euler steps", {
  known <- theory("folds")
  # as many starts as for the known numbers
  laws <- lapply(known$strength, function(eta) {
    guided_law(named_mixture("D3"), guidance("1", eta), sampler_euler(20, "uniform"), horizon = 5,
               nodes = 20001)
  })
  x <- do.call(rbind, lapply(laws, function(law) data.frame(folds_of(law), check.names = FALSE)))
  off <- abs(x$"entropy bound" - known$entropy)
  expect_lt(max(off[1:5]), 6e-4)
  expect_lt(off[6], 1e-3)
  expect_identical(x$folded < 1e-6, c(TRUE, TRUE, TRUE, TRUE, FALSE, FALSE))
  expect_identical(x$turns > 0, c(FALSE, rep(TRUE, 5)))
  expect_identical(x$pieces[1], 1)
  expect_lt(max(abs(x$entropy - x$"entropy bound")[1:4]), 1e-7)
  expect_lt(max(abs(x$entropy - x$"entropy bound")[5]), 3e-4)
  # the known value is from a histogram, which blurs the peaks where the map turns
  expect_lt(abs(x$entropy[6] - 2.8964), 1e-2)
  expect_lt(x$entropy[6], 2.8964)
  law <- guided_law(named_mixture("D3"), guidance("1", 30), sampler_euler(20, "uniform"),
                    horizon = 5)
  expect_lt(abs(x$entropy[6] - entropy(law)$estimate), 2e-3)
  # the map has all nodes, and its picture those of the mass
  expect_named(as.data.frame(laws[[6]]),
               c("x", ".confidence", ".log_density", ".start", ".weight"), ignore.order = TRUE)
  expect_drawn(autoplot(laws[[6]], "map"))
  expect_match(autoplot(laws[[6]], "map")$labels$subtitle, "Strength 30")
  expect_match(autoplot(laws[[6]], "map")$labels$caption, "folds")
  expect_null(autoplot(laws[[1]], "map")$labels$caption)
})

test_that("K = 1 does not fold, and laws without such a map have no folds", {
  one <- gaussmix(1, 2, .5)
  for (eta in c(0, 3)) {
    law <- guided_law(one, guidance("1", eta), sampler_ddim(50))
    rows <- folds_of(law)
    expect_identical(unlist(rows[c("folded", "turns", "pieces")], use.names = FALSE), c(0, 0, 1))
    expect_equal(rows$entropy, rows$"entropy bound")
  }
  # in the variables of the mixture
  wide <- standardise(gaussmix(c(.4, .6), cbind(u = c(100, 130)), 80, class = c("a", "b")))
  law <- guided_law(wide, guidance("a", 2), sampler_ddim(20))
  expect_equal(folds_of(law)$"entropy bound", entropy(law)$estimate, tolerance = 1e-12)
  run <- guided_sample(wide, guidance = guidance("a", 2), sampler = sampler_ddim(20),
                       start = law$from[c(900, 1100), , drop = FALSE])
  expect_equal(unname(run$x[, 1]), unname(law$x[c(900, 1100), 1]), tolerance = 1e-9)
  noisy <- guided_law(named_mixture("D3"), guidance("1", 1), sampler_em(20))
  plane <- guided_law(named_mixture("C3"), guidance("1", 1), sampler_ddim(5), nodes = 31)
  for (law in list(noisy, plane)) {
    expect_null(folds_of(law)$folded)
    expect_error(autoplot(law, "map"), "deterministic sampler on a line", class = "mixguide_error")
  }
  expect_error(autoplot(law, "maps"), "`what`", class = "mixguide_error")
})

test_that("branches are summed: a map with known folds", {
  # x^2 of a normal has two branches, each with half of the density
  x <- seq(-8, 8, length.out = 20001)
  x <- x[x != 0]
  y <- x^2
  log_density <- dnorm(x, log = TRUE) - log(2 * abs(x))
  expect_length(turning_nodes(y), 1)
  inner <- y > .01 & y < 20
  expect_lt(max(abs(branch_density(y, y, log_density) - dchisq(y, 1, log = TRUE))[inner]), 1e-5)
})

test_that("threads do not change a bit", {
  before <- mixguide_threads()
  withr::defer(mixguide_threads(before))
  laws <- lapply(1:2, function(threads) {
    mixguide_threads(threads)
    guided_law(named_mixture("C3"), guidance("1", 1), sampler_em(5), nodes = 61)
  })
  expect_identical(laws[[1]]$log_density, laws[[2]]$log_density)
})

test_that("a grid that is too coarse is warned of", {
  expect_warning(em_law("A2", 1, 100, nodes = 60), "too coarse")
  expect_error(em_law("A2", 1, 100, nodes = 20), class = "mixguide_error_nodes")
  law <- em_law("A2", 1, 20, nodes = 101)
  expect_identical(nrow(law$x), 101L)
  expect_lt(abs(law$mass - 1), 1e-9)
})

test_that("what has no law of this kind is answered by name", {
  mixture <- named_mixture("A2")
  expect_error(guided_law(named_mixture("G4"), guidance("1", 1)), "`mixture`.*two dimensions",
               class = "mixguide_error")
  expect_error(guided_law(mixture, start = matrix(0)), "`start`", class = "mixguide_error")
  expect_error(guided_law(mixture, start = gaussmix(1, 0, 0)), class = "mixguide_error_singular")
  expect_error(guided_law(mixture, guidance("z")), "`guidance`", class = "mixguide_error")
  expect_error(guided_law(mixture, nodes = 2), "`nodes`", class = "mixguide_error")
  noisy <- sampler("noisy", function(k, times, schedule) {
    list(op_noise("z"), op_linear("y", c(x = 1, z = .1)),
         op_eval("s", from = "y", t = times[k]), op_linear("x", c(y = 1, s = .1)))
  }, steps = 5, stochastic = TRUE)
  expect_error(guided_law(mixture, sampler = noisy), "`sampler`.*score sees the noise",
               class = "mixguide_error")
  remembering <- sampler("memory", function(k, times, schedule) {
    list(op_eval("s", t = times[k]),
         if (k == 1) op_noise("v") else op_linear("v", c(v = .5)),
         op_linear("x", c(x = 1, s = .1, v = .1)))
  }, steps = 5, stochastic = TRUE)
  expect_error(guided_law(mixture, sampler = remembering), "`sampler`.*remembers x alone",
               class = "mixguide_error")
})

test_that("point masses, one component and strength 0 have laws too", {
  points <- gaussmix(c(.5, .5), c(-1, 1), 0)
  law <- guided_law(points, guidance("1", 1), sampler_em(30))
  expect_equal(law$mass, 1, tolerance = 1e-9)
  expect_true(is.finite(entropy(law)$estimate))
  expect_null(guided_law(gaussmix(1, 0, 1), sampler = sampler_em(5))$log_confidence)
  expect_equal(confidence(guided_law(gaussmix(1, 0, 1), guidance("1"), sampler_em(5)))$estimate, 1)
})

test_that("Richardson extrapolation leads to the tabulated limits for A2", {
  known <- theory_em("A2", Inf)
  for (strength in c("0", "2", "8")) {
    limit <- guided_limit(named_mixture("A2"), guidance("1", as.numeric(strength)), horizon = 5)
    rows <- match(c("confidence", "entropy"), limit$quantity)
    expect_lt(max(abs(limit$estimate[rows] - known[, strength])), 1.1e-5)
    expect_true(all(limit$se[rows] > 0))
  }
  expect_output(print(limit), "as its steps shrink")
  expect_identical(class(as.data.frame(limit)), "data.frame")
  expect_error(guided_limit(named_mixture("A2"), sampler = sampler_em(10)), "`sampler`",
               class = "mixguide_error")
})

test_that("guidance by another model, by several classes and by a power has its law", {
  withr::local_seed(603)
  mixture <- named_mixture("E3")
  guides <- list(guidance("1", 1, negative = gaussmix(c(.5, .5), c(-1, 3), 2)),
                 guidance("1", 1) + guidance("2", -.5), guidance("1", 1, power = .5))
  for (guide in guides) {
    run <- guided_sample(mixture, 2e4, guide, sampler_em(20))
    row <- confidence(run)
    law <- guided_law(mixture, guide, sampler_em(20))
    expect_lt(abs(row$estimate - confidence(law)$estimate) / row$se, 4)
    expect_lt(abs(mean(run$x) - moments(law)$mean) / (sd(run$x) / sqrt(2e4)), 4)
    # the limit of small steps
    process <- fokker_planck(mixture, guide, nodes = 400, steps = 200)
    limit <- guided_limit(mixture, guide, sampler_em(80, "uniform"))
    expect_lt(abs(confidence(process)$estimate - limit$estimate[1]), limit$se[1] + 1e-3)
  }
  # a model in other directions than the mixture's: the mixture's own reduction does not hold
  plane <- named_mixture("B2-guidance")
  other <- guidance("1", 1, negative = gaussmix(1, t(c(1, -2)), 2))
  law <- guided_law(plane, other, sampler_em(10))
  run <- guided_sample(plane, 2e4, other, sampler_em(10))
  expect_identical(ncol(law$x), 2L)
  expect_lt(max(abs(colMeans(run$x) - moments(law)$mean) / apply(run$x, 2, sd)) * sqrt(2e4), 4)
})

test_that("a sampler that collapses onto points has a law, but no density between its nodes", {
  points <- gaussmix(c(.5, .5), c(-1, 1), 0, class = c("a", "b"))
  expect_warning(law <- guided_law(points, guidance("a", 2), sampler_ddim(40)), "do not see")
  expect_equal(unname(moments(law)$mean), -1)
  expect_equal(confidence(law)$estimate, 1)
  expect_error(law_density(law, 0), "at its nodes only", class = "mixguide_error")
})

test_that("one step without noise needs no grid for its noise", {
  expect_warning(law <- guided_law(named_mixture("A2"), guidance("1", 2), sampler_ddpm(1)), NA)
  # the posterior mean is that of DDIM
  other <- guided_law(named_mixture("A2"), guidance("1", 2), sampler_ddim(1))
  expect_equal(entropy(law)$estimate, entropy(other)$estimate, tolerance = 1e-6)
})

test_that("steps that overflow are answered by name", {
  guide <- guidance("1", 1e200)
  m <- named_mixture("A2")
  expect_error(guided_law(m, guide, sampler_em(5)), class = "mixguide_error_overflow")
  expect_error(suppressWarnings(guided_law(m, guide, sampler_ddim(5))),
               class = "mixguide_error_overflow")
  expect_error(fokker_planck(m, guide, nodes = 50, steps = 10), class = "mixguide_error_overflow")
})

# The moments of a law against those that guided_moments() finds.
expect_moments <- function(mixture, sampler, tolerance = 1e-8) {
  exact <- guided_moments(mixture, sampler = sampler, horizon = 3)
  law <- guided_law(mixture, sampler = sampler, horizon = 3, reduce = FALSE)
  expect_equal(unname(moments(law)$mean), unname(exact$mean), tolerance = tolerance)
  expect_equal(unname(moments(law)$cov), unname(exact$cov), tolerance = tolerance)
  expect_lt(abs(law$mass - 1), 1e-8)
}

test_that("noise in some steps, several times in one, and in the middle of one has its law", {
  push <- function(h) op_linear("x", c(x = 1 + h, s = h))
  ops <- list(quiet = list(op_eval("s", t = 1), push(.05)),
              once = list(op_eval("s", t = 1), op_noise("z"), op_noise("w"), push(.1),
                          op_linear("x", c(x = 1, z = .3, w = -.2))),
              middle = list(op_noise("z"), op_linear("x", c(x = 1, z = .4)), op_eval("s", t = .5),
                            push(.05)))
  for (order in list(c(1, 2, 1, 1, 2), c(2, 3, 1), c(3, 2), c(3, 1, 1, 3), c(1, 1, 1))) {
    mixed <- sampler("mixed", function(k, times, schedule) ops[[order[k]]], steps = length(order),
                     stochastic = TRUE)
    expect_moments(named_mixture("G1"), mixed)
  }
  expect_moments(gaussmix(1, t(c(1, -1)), matrix(c(1, .4, .4, .5), 2)), mixed)
  for (sampler in list(sampler_dpom(4, .1, .1, 3, .01), sampler_dpum(4, .1, .5, 3, .01))) {
    expect_moments(named_mixture("G1"), sampler)
  }
  # predictor, then two Langevin steps: three parts per step
  corrected <- sampler_corrected(sampler_em(6), corrector_langevin(.1, 2))
  law <- guided_law(named_mixture("E3"), guidance("1", 1), corrected)
  withr::local_seed(604)
  run <- guided_sample(named_mixture("E3"), 2e4, guidance("1", 1), corrected)
  row <- confidence(run)
  expect_lt(abs(row$estimate - confidence(law)$estimate) / row$se, 4)
  expect_lt(abs(mean(run$x^3) - sum(law$weights * law$x^3)) / (sd(run$x^3) / sqrt(2e4)), 4)
  # a velocity that outlives its step, and noise that enters x in the next step only
  late <- sampler("late", function(k, times, schedule) {
    list(if (k == 1) op_noise("v") else op_linear("v", c(v = .5)), op_linear("x", c(x = 1, v = .1)))
  }, steps = 5, stochastic = TRUE)
  law <- guided_law(named_mixture("A2"), sampler = late)
  expect_equal(c(moments(law)$cov), 1 + .01 * sum(.5^(0:4))^2, tolerance = 1e-9)
  expect_error(guided_law(named_mixture("A1"), sampler = sampler_dpum(15, 1 / 30, .1)),
               "`sampler`.*velocity", class = "mixguide_error")
})

test_that("noise with a covariance that depends on the place has its law", {
  matched <- sampler_ddpm(6, variance = "matched")
  expect_moments(named_mixture("G1"), matched)
  tilted <- gaussmix(1, t(c(1, -1)), matrix(c(1, .4, .4, .5), 2))
  expect_moments(tilted, matched)
  # a product of mixtures, rotated, so that covariances share no axes
  mean <- c(-1, 1.5)
  variance <- c(.3, .5)
  line <- gaussmix(c(.4, .6), mean, variance)
  turn <- matrix(c(.6, .8, -.8, .6), 2)
  plane <- gaussmix(c(.4, .6), cbind(mean, 1) %*% t(turn),
                    lapply(variance, function(v) turn %*% diag(c(v, .5)) %*% t(turn)))
  law <- guided_law(plane, sampler = matched, horizon = 3, reduce = FALSE)
  one <- guided_law(line, sampler = matched, horizon = 3)
  other <- guided_law(gaussmix(1, 1, .5), sampler = matched, horizon = 3)
  u <- law$x %*% turn
  for (power in 1:4) {
    expect_equal(sum(law$weights * u[, 1]^power), sum(one$weights * one$x^power), tolerance = 1e-8)
  }
  expect_equal(entropy(law)$estimate, entropy(one)$estimate + entropy(other)$estimate,
               tolerance = 1e-8)
})

test_that("wrong scores have their laws", {
  G1 <- named_mixture("G1")
  steps <- sampler_em(20)
  law <- function(error, mixture = G1, ...) {
    guided_law(mixture, sampler = steps, horizon = 3, score_error = error, ...)
  }
  # the law of the model itself
  model <- gaussmix(1, -1, .7)
  exact <- guided_moments(model, sampler = steps, horizon = 3)
  found <- moments(law(score_error(model = model)))
  expect_equal(c(found$mean, found$cov), c(exact$mean, exact$cov), tolerance = 1e-8,
               ignore_attr = TRUE)
  # noise in the score is noise in the step
  noisy <- steps
  noisy$step <- function(k, times, schedule) {
    ops <- steps$step(k, times, schedule)
    ops[[3]]$coef$z <- sqrt(ops[[3]]$coef$z^2 + (.5 * ops[[3]]$coef$s)^2)
    ops
  }
  expect_equal(summary(law(score_error(noise = .5)))$estimate,
               summary(guided_law(G1, sampler = noisy, horizon = 3))$estimate, tolerance = 1e-9)
  # a number per coordinate, and a scale: a product remains one
  A1 <- named_mixture("A1")
  plane <- gaussmix(A1$weights, cbind(A1$means, 1.5), lapply(A1$values, function(v) c(v, .25)))
  bias <- c(.2, -.3)
  both <- law(score_error(bias = bias, scale = .9), plane)
  for (j in 1:2) {
    one <- law(score_error(bias = bias[j], scale = .9), list(A1, G1)[[j]])
    expect_equal(sum(both$weights * both$x[, j]^2), sum(one$weights * one$x^2), tolerance = 1e-8)
  }
  expect_output(print(both), "score: .*bias")
  # a scale alone still reduces
  expect_equal(summary(law(score_error(scale = .9), plane))$estimate,
               summary(law(score_error(scale = .9), plane, reduce = FALSE))$estimate,
               tolerance = 1e-7)
  expect_error(law(score_error(noise = .1), named_mixture("A2"), reduce = 1), "`reduce`",
               class = "mixguide_error")
  expect_error(guided_law(A1, sampler = sampler_heun(5), score_error = score_error(noise = .1)),
               "`sampler`", class = "mixguide_error")
  expect_error(law(.1), "`score_error`", class = "mixguide_error")
})

test_that("what has no noise at all is said to have no density", {
  law <- function(...) guided_law(sampler = sampler_ddpm(10, variance = "matched", ...),
                                  gaussmix(1, 0, 0))
  expect_error(law(), class = "mixguide_error_singular")
  expect_equal(moments(law(end = .01))$cov[1], -expm1(-.02), tolerance = 1e-6)
})

test_that("matched noise that guidance makes vanish in places leaves mass and moments right", {
  m <- named_mixture("A1")
  sampler <- sampler_ddpm(20, variance = "matched")
  law <- expect_silent(guided_law(m, guidance("1", 4), sampler))
  expect_lt(abs(law$mass - 1), 1e-6)
  n <- 1e5
  x <- drop(guided_sample(m, n, guidance("1", 4), sampler, key = c(18, 5))$x)
  at <- moments(law)
  expect_lt(abs(mean(x) - at$mean) / sqrt(at$cov / n), 4.5)
  expect_lt(abs(var(x) - at$cov) / sqrt((mean((x - mean(x))^4) - at$cov^2) / n), 4.5)
  # in the plane, at points where both eigenvalues are 0
  form <- noise_form(list(cbind(c(1, 0), c(0, 0)), cbind(c(0, 0), c(2, 0))))
  expect_identical(form$least, c(1, 0))
  wide <- grid_noise(form, c(.5, .5), c(.1, .1))
  expect_equal(wide$own, cbind(c(2, .08), 0, c(1, .08)), ignore_attr = TRUE)
  expect_equal(wide$added, c(.0032, .0032))
})

test_that("what a sampler cannot do with point masses or huge units is an error of ours", {
  points <- gaussmix(c(.5, .5), c(-1, 1), 0)
  both <- sampler_corrected(sampler_ddpm(5), corrector_langevin(.05))
  expect_error(guided_law(points, NULL, both), class = "mixguide_error_singular")
  huge <- gaussmix(c(.5, .5), c(-1e200, 1e200), 1)
  expect_mixguide_error(guided_law(huge, NULL, sampler_ddim(3)), "mixture")
  expect_mixguide_error(tilted_law(huge, "1"), "mixture")
  expect_mixguide_error(information(huge), "mixture")
  expect_mixguide_error(path_kl(huge, sampler = sampler_ddpm(3)), "mixture")
  expect_mixguide_error(gain_bound(huge, guidance = "1"), "mixture")
  expect_error(fokker_planck(gaussmix(c(.5, .5), c(-1e8, 1e8), 1), nodes = 50, steps = 10),
               class = "mixguide_error")
})

test_that("numbers of a law whose nodes miss what the map does have an error", {
  torn <- guided_law(named_mixture("D3"), guidance("1", 30), sampler_heun(20), horizon = 5,
                      nodes = 2001)
  fine <- guided_law(named_mixture("D3"), guidance("1", 30), sampler_heun(20), horizon = 5,
                      nodes = 64001)
  expect_gt(confidence(torn)$se, 0)
  expect_lt(abs(confidence(torn)$estimate - confidence(fine)$estimate), 5 * confidence(torn)$se)
  smooth <- guided_law(named_mixture("A2"), guidance("1", 2), sampler_heun(20))
  expect_identical(c(confidence(smooth)$se, entropy(smooth)$se), c(0, 0))
  sweep <- guidance_sweep(named_mixture("D3"), guidance = "1", strength = c(0, 30),
                          sampler = sampler_heun(20),
                          horizon = 5, n = 2001)
  expect_identical(sweep$confidence_se[1], 0)
  expect_gt(sweep$confidence_se[2], 1e-5)
})

test_that("a law whose sum is no integral is an error, not a number", {
  class <- gaussmix(1, 1.3, 1, class = "a")
  expect_error(suppressWarnings(
    guided_law(class, "a", sampler_em(500, "logsnr", end = 1e-3),
               schedule = schedule_ve(1e-3, 1000))
  ), "no grid resolves the law: its total mass is", class = "mixguide_error")
})

test_that("a map that jumps has no density by differences, and no bound comes of it", {
  m <- gaussmix(rep(1, 3) / 3, c(.63, -.13, -.49), c(1.53, .46, .38), class = c("L", "M", "H"))
  of <- function(rule) guided_law(m, guidance("M", 2, rule = rule))
  normal <- function(law) log(2 * pi * exp(1) * moments(law)$cov[1]) / 2
  adg <- of("adg")
  expect_identical(entropy(adg)$method, "unknown")
  expect_match(entropy(adg)$note, "jumps")
  expect_output(print(adg), "the map jumps")
  expect_identical(unique(law_distance(adg, m)$method), "unknown")
  expect_warning(error <- guided_error(m, guidance = guidance("M", 2, rule = "adg"),
                                       method = "quadrature"),
                 "jumps")
  expect_identical(unique(error$method), "unknown")
  # its moments need no density: against starts pushed forward
  z <- matrix(seq(-8, 8, length.out = 1e5))
  x <- guided_sample(m, start = z, guidance = guidance("M", 2, rule = "adg"),
                     log_density = "none")$x
  w <- dnorm(z) / sum(dnorm(z))
  expect_equal(moments(adg)$mean[[1]], sum(w * x), tolerance = 1e-3)
  for (rule in c("ep", "renorm", "cfg_zero", "tcfg", "adaptive", "apg")) {
    law <- of(rule)
    expect_identical(entropy(law)$method, "quadrature")
    expect_lt(entropy(law)$estimate, normal(law) + 2 * entropy(law)$se + 1e-6)
  }
})

test_that("neighbours tell whether their densities are right", {
  z <- seq(-6, 6, length.out = 4001) + 1e-4
  w <- dnorm(z) * (z[2] - z[1])
  fault <- function(x, slope) cell_fault(x, dnorm(z, log = TRUE) - log(abs(slope)), w)
  expect_lt(fault(2 * z, 2), 1e-5)
  # a fold, whose density has a pole
  expect_lt(fault(z^2, 2 * z), .01)
  expect_gt(fault(2 * z, 1), .4)
  wide <- list(x = matrix(2 * z), log_density = dnorm(2 * z, 0, 2, log = TRUE))
  expect_equal(entropy_excess(wide, w), 0, tolerance = 1e-6)
})

test_that("the entropy of branches in the plane is a bound, and rough maps have errors", {
  m <- gaussmix(c(.5, .5), rbind(c(-1, 0), c(1, .5)), list(diag(c(.3, .6)), diag(c(.5, .2))),
                class = c("a", "b"))
  law <- function(rule) {
    guided_law(m, guidance("a", 3, rule = rule), sampler_ddim(10), nodes = 101)
  }
  folded <- law("adg")
  expect_gt(folded$folded, 1e-3)
  expect_identical(entropy(folded)$method, "bound")
  expect_match(entropy(folded)$note, "upper bound")
  expect_match(summary(folded)$note[4], "upper bound")
  expect_output(print(folded), "at most")
  # the runs of other nodes have the same moments, within the errors of both
  other <- summary(guided_law(m, guidance("a", 3, rule = "adg"), sampler_ddim(10), nodes = 151))
  rows <- summary(folded)
  known <- rows$method == "quadrature"
  expect_true(any(rows$se[known] > 1e-5))
  expect_true(all(abs(rows$estimate - other$estimate)[known] <= 3 * (rows$se + other$se)[known]))
  heavy <- summary(law("rescale"))
  expect_identical(heavy$method[heavy$quantity == "sd of x1"], "unknown")
  # with the derivative of the core nothing is rough
  smooth <- guided_law(m, guidance("a", 1), sampler_ddim(40), nodes = 101)
  expect_false(smooth$rough)
  expect_identical(max(summary(smooth)$se), 0)
})

test_that("an entropy at the end of a run to a class without a density says its time", {
  m <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1, 0)), list(diag(c(1, 0)), diag(c(.5, 0))),
                class = c("a", "b"))
  end <- "at t = 1e-05 (the class has no density)"
  expect_identical(entropy(guided_law(m, guidance("a", 1)))$note, end)
  expect_identical(entropy(guided_sample(m, 100, guidance("a", 1)))$note, end)
  expect_identical(entropy(guided_summary(m, 100, guidance("a", 1)))$note, end)
  expect_output(print(guided_sample(m, 100, guidance("a", 1))), "the class has no density")
  said <- function(m, class) {
    lines <- capture.output(print(guidance_sweep(m, guidance = class, strength = 0:1, n = 100)))
    gsub(" +", " ", paste(lines, collapse = " "))
  }
  expect_match(said(m, "a"), end, fixed = TRUE)
  expect_no_match(said(named_mixture("B2-guidance"), "1"), "no density")
})

# Gains of the ODE with two classes (tests/REFERENCES.md, guidance).

line <- named_mixture("A2")

test_that("one rival: gain and bounds have all the digits known", {
  x <- gain_bound(line, guidance = "1", strength = c(.5, 2, 8), start = c(0, -2, 2), horizon = 5)
  at <- function(path, column) x[[column]][x$path == path]
  expect_equal(at(1, "gain"), c(.6195, 1.9169, 4.7297), tolerance = 5e-5)
  expect_equal(at(2, "gain"), c(1.4000, 3.8174, 7.2248), tolerance = 5e-5)
  expect_equal(at(3, "gain"), c(.2679, .9776, 3.0710), tolerance = 1e-4)
  expect_equal(at(1, "bound_one"), c(.2173, .6908, 1.6362), tolerance = 1e-4)
  # the theory's supremum is over a grid, up to 1e-4 too low
  known <- rbind(c(.3624, 1.2154, 3.2828), c(.798, 1.966, 3.920), c(.1184, .4577, 1.6330))
  found <- rbind(at(1, "bound"), at(2, "bound"), at(3, "bound"))
  expect_lt(max(abs(found[-2, ] - known[-2, ])), 1.1e-4)
  expect_lt(max(abs(found[2, ] - known[2, ])), 5.1e-4)
})

test_that("for strong guidance the end of the path from 0 is the known one", {
  known <- theory("reach")
  x <- gain_bound(line, guidance = "1", strength = known$strength, start = 0, horizon = 5)
  end <- 1 - exp(-5) + x$gain / 2
  expect_equal(end, known$x, tolerance = 1e-5)
  exponent <- diff(log(end)) / log(4)
  expect_true(all(exponent > .41 & exponent < .46))
})

test_that("the gain is that of a sampler with many steps, for any schedule and variance", {
  withr::local_seed(1)
  mixtures <- list(gaussmix(c(.3, .7), rbind(c(1, 2, 0), c(-1, 0, 1)), .6),
                   gaussmix(c(.2, .3, .5), rbind(c(0, 0, 0), c(2, .5, 0), c(1, 2, 1)), 1.4),
                   # D along one eigenvector, the others in a plane
                   gaussmix(c(.4, .6), rbind(c(0, 0, 0), c(2, 0, 0)), diag(c(.5, 3, .1))))
  odds <- function(run) {
    q <- posterior(run$mixture, run$x)
    log(q[, 1]) - log(q[, -1])
  }
  start <- matrix(rnorm(12), 4)
  for (m in mixtures) for (schedule in all_schedules()[c(1, 2, 4)]) {
    run <- function(eta) {
      guided_sample(m, guidance = guidance("1", eta), sampler = sampler_rk4(200),
                    schedule = schedule, start = start, log_density = "none")
    }
    bound <- gain_bound(m, guidance = "1", strength = 3, start = start, schedule = schedule)
    expect_equal(bound$log_odds, as.vector(odds(run(0))), tolerance = 1e-6)
    expect_equal(bound$gain, as.vector(odds(run(3)) - odds(run(0))), tolerance = 1e-5)
  }
})

test_that("bounds hold, for one rival and for several, and the best is no worse than the first", {
  withr::local_seed(2)
  one <- gain_bound(named_mixture("B2-guidance"), guidance = "1", strength = c(.1, 1, 10, 100),
                    n = 100)
  expect_true(all(one$bound >= one$bound_one * (1 - 1e-12)))
  expect_true(all(one$gain > one$bound & one$bound_one > 0))
  # the median ratios in the theory, from 200 paths, lie between .036 and .052
  several <- gain_bound(named_mixture("C3"), guidance = "1", strength = c(.5, 2, 8), n = 1000)
  expect_true(all(several$gain > several$bound & several$bound > 0))
  ratio <- tapply(several$ratio, several$strength, median)
  expect_true(all(ratio > .026 & ratio < .077))
  expect_true(all(is.na(several$bound_one)))
  # at a right angle the other rivals guarantee no gain, so the bound is 0
  expect_identical(unique(gain_bound(named_mixture("G4"), guidance = "1", strength = 2,
                                     n = 20)$bound), 0)
})

test_that("the root is Lambert's closed form, and nothing overflows", {
  # W0(z) by its defining equation
  lambert <- function(z) {
    uniroot(function(w) w * exp(w) - z, c(0, max(1, log1p(z))), tol = 1e-14)$root
  }
  for (m in c(-3, 0, 2)) for (target in c(.01, 1, 10)) {
    B <- target + exp(m)
    expect_equal(gain_root(m, 1, target), B - lambert(exp(m + B)), tolerance = 1e-8)
  }
  for (m in c(-1e4, -700, 0, 700, 1e4)) for (target in c(0, 1e-10, 1, 1e4)) for (s in c(1e-3, 1)) {
    u <- gain_root(m, s, target)
    expect_true(is.finite(u) && u >= 0 && u <= target)
    if (u * s + m < 700 && m > -700) {
      expect_equal(u + exp(m) * expm1(s * u) / s, target, tolerance = 1e-9)
    }
  }
  extreme <- gain_bound(line, guidance = "1", strength = c(0, 1e-6, 1e3), start = c(-300, 300))
  expect_true(all(is.finite(as.matrix(extreme[c("log_odds", "gain", "bound_one", "bound")]))))
  expect_identical(extreme$gain[extreme$strength == 0], c(0, 0))
})

test_that("where the bounds do not apply it says why", {
  expect_mixguide_error(gain_bound(named_mixture("E3"), guidance = "1"), "class")
  expect_error(gain_bound(named_mixture("E3"), guidance = "1"), "obtuse")
  expect_error(gain_bound(named_mixture("F2"), guidance = "1"), "eigenspace")
  expect_error(gain_bound(named_mixture("B2"), guidance = "1"), "covariances")
  expect_error(gain_bound(gaussmix(1, 0, 1), guidance = "1"), "no rival")
  expect_error(gain_bound(gaussmix(c(1, 1), c(0, 0), 1), guidance = "1"), "no rival")
  expect_error(gain_bound(gaussmix(c(1, 1, 1), 0:2, 1, c("a", "a", "b")), guidance = "a"),
               "several")
  expect_error(gain_bound(gaussmix(c(1, 1), c(0, 1), 0), guidance = "1"),
               class = "mixguide_error_singular")
  for (bad in list(-1, NA, "1", numeric())) {
    expect_mixguide_error(gain_bound(line, guidance = "1", strength = bad), "strength")
  }
  expect_mixguide_error(gain_bound(line, guidance = "1", n = 0), "n")
  expect_mixguide_error(gain_bound(line, guidance = "1", start = "there"), "start")
  expect_mixguide_error(gain_bound(line, guidance = "9"), "guidance")
})

test_that("print, data frame and picture", {
  withr::local_seed(3)
  few <- gain_bound(line, guidance = "1", strength = 1, start = c(0, 1))
  expect_output(print(few), "bound_one")
  many <- gain_bound(named_mixture("C3"), guidance = "1", strength = c(1, 2), n = 30)
  expect_output(print(many), "median ratio")
  expect_identical(class(as.data.frame(many)), "data.frame")
  expect_drawn(autoplot(many))
  drawn <- ggplot2::ggplot_build(autoplot(gain_bound(line, guidance = "1", strength = c(1, 2),
                                                     n = 20)))$data[[1]]
  expect_identical(nrow(drawn), 120L)
  expect_s3_class(gain_bound(line, guidance = "1", strength = 1, start = "exact", n = 3),
                  "gain_bound")
})

# The law of continuous time against closed forms, Richardson extrapolation and a slow solver.

test_that("the Fokker-Planck equation and the limit of small steps agree", {
  for (strength in c(0, 2, 8)) {
    law <- fokker_planck(named_mixture("A2"), guidance("1", strength), horizon = 5)
    limit <- guided_limit(named_mixture("A2"), guidance("1", strength), horizon = 5)
    at <- stats::setNames(limit$estimate, limit$quantity)
    # the second-order error that is left in the limit is a third of the stated error
    error <- stats::setNames(limit$se, limit$quantity)
    expect_lt(abs(confidence(law)$estimate - at["confidence"]),
              .5 * error["confidence"] + law$error["confidence"])
    expect_lt(abs(entropy(law)$estimate - at["entropy"]),
              .5 * error["entropy"] + law$error["entropy"])
  }
  # the same after removing the second order from the limit, too
  laws <- lapply(50 * 2^(0:2), function(n) {
    guided_law(named_mixture("A2"), guidance("1", 8), sampler_em(n, "uniform"), horizon = 5)
  })
  h <- vapply(laws, function(law) entropy(law)$estimate, 0)
  expect_lt(abs(entropy(law)$estimate - (8 * h[3] - 6 * h[2] + h[1]) / 3), 1.5e-4)
})

test_that("a single Gaussian has its law, from any start and for any schedule", {
  # x_0 given x_T, from the joint Gaussian of the forward process
  exact <- function(schedule, horizon, mu, v, m0, v0) {
    a <- schedule$a(horizon)
    S <- a^2 * v + schedule$b2(horizon)
    gain <- v * a / S
    c(mu + gain * (m0 - a * mu), v - gain^2 * S + gain^2 * v0)
  }
  cases <- list(list(schedule_ou(), 1), list(schedule_vp(), .8),
                list(schedule_ve(.01, 3), 1), list(schedule_flow(), .9))
  for (case in cases) {
    law <- fokker_planck(gaussmix(1, 1.5, .25), schedule = case[[1]], horizon = case[[2]],
                         start = gaussmix(1, -.5, 2))
    known <- exact(case[[1]], case[[2]], 1.5, .25, -.5, 2)
    expect_lt(abs(entropy(law)$estimate - log(2 * pi * exp(1) * known[2]) / 2),
              law$error[["entropy"]])
    expect_lt(law$error[["entropy"]], .02)
    expect_equal(unname(moments(law)$mean), known[1], tolerance = 1e-3)
  }
})

test_that("from its exact start the unguided process ends in the class", {
  for (class in c("1", "2")) {
    law <- fokker_planck(named_mixture("A1"), guidance(class), start = "exact")
    part <- mixguide:::class_law(named_mixture("A1"), class)
    expect_lt(by_quantity(law_distance(law, part))$kl, 1e-6)
  }
})

test_that("errors are of second order in the step of the grid and of time", {
  error <- vapply(c(100, 200, 400), function(nodes) {
    law <- fokker_planck(named_mixture("A1"), guidance("2"), start = "exact", nodes = nodes,
                         steps = nodes)
    abs(entropy(law)$estimate - entropy(named_mixture("A1"), "2")$estimate)
  }, 0)
  expect_gt(min(error[-3] / error[-1]), 3)
})

test_that("the step solves the equations of a slow solver", {
  withr::local_seed(611)
  # weak drifts, and drifts that a coarse grid does not resolve
  for (case in list(c(2, 1), c(3, 1), c(4, 1), c(17, 1), c(50, 1), c(17, 30), c(17, 1e3))) {
    n <- case[1]
    h <- .3
    dt <- .2
    D <- .7
    score <- case[2] * rnorm(n - 1)
    x <- -1.2 + h * seq_len(n)
    drift <- 2 * D * score - .4 * (x[-1] - h / 2)
    p <- runif(n)
    # the same flux with the exact coth
    w <- drift * h / (2 * D)
    e <- w / tanh(w)
    L <- matrix(0, n, n)
    for (i in seq_len(n - 1)) {
      flow <- D / h^2 * c(e[i] + w[i], -(e[i] - w[i]))
      L[i, i + 0:1] <- L[i, i + 0:1] - flow
      L[i + 1, i + 0:1] <- L[i + 1, i + 0:1] + flow
    }
    known <- solve(diag(n) - dt / 2 * L, p + dt / 2 * L %*% p)
    found <- mixguide:::fokker_planck_steps(p, x, dt, 2 * D, .4, score)
    expect_equal(found, drop(known), tolerance = 1e-6)
    expect_equal(sum(found), sum(p), tolerance = 1e-13)
  }
})

test_that("two classes in the plane reduce to one dimension, with the rest in closed form", {
  law <- fokker_planck(named_mixture("B2-guidance"), guidance("1", 2))
  limit <- guided_limit(named_mixture("B2-guidance"), guidance("1", 2),
                         sampler_em(80, "uniform"))
  expect_lt(max(abs(summary(law)$estimate - limit$estimate) / (limit$se + 1e-4)), 1)
})

test_that("strong guidance widens the grid, and prints its error", {
  law <- fokker_planck(named_mixture("A2"), guidance("1", 200), nodes = 400, steps = 100)
  expect_gt(unname(moments(law)$mean), 4)
  expect_lt(law$log_density[length(law$log_density)], -20)
  expect_output(print(law), "half the nodes and steps")
})

test_that("a grid that is too coarse says so, and puts the mass in the right cells", {
  narrow <- gaussmix(c(.5, .5), c(-1, 1), 1e-6, class = c("a", "b"))
  expect_warning(law <- fokker_planck(narrow, guidance("a", 2)), "do not resolve")
  expect_equal(confidence(law)$estimate, 1, tolerance = 1e-6)
  expect_equal(unname(moments(law)$mean), -1, tolerance = .01)
  expect_lt(sqrt(drop(moments(law)$cov)), law$x[2] - law$x[1])
})

test_that("what has no such law is answered by name", {
  expect_error(fokker_planck(named_mixture("C3"), guidance("1")), "`mixture`.*one dimension",
               class = "mixguide_error")
  expect_error(fokker_planck(gaussmix(c(.5, .5), c(-1, 1), 0)), class = "mixguide_error_singular")
  expect_error(fokker_planck(named_mixture("A2"), nodes = 3), "`nodes`", class = "mixguide_error")
  expect_error(fokker_planck(named_mixture("A2"), steps = 0), "`steps`", class = "mixguide_error")
  expect_error(fokker_planck(named_mixture("A2"), end = 9), "`end`", class = "mixguide_error")
})

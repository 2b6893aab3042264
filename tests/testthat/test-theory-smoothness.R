# Numbers of smoothness theory (tests/REFERENCES.md). Tolerances are half a unit of the last known
# digit, or better.

expect_near <- function(x, known, tolerance = 1e-9) {
  expect_lt(max(abs(unname(drop(x)) - known)), tolerance)
}

test_that("A1 has the known density, score and derivative at time .3 under five schedules", {
  A1 <- named_mixture("A1")
  known <- theory("schedules")
  schedules <- list(schedule_ou(), schedule_vp(), schedule_cosine(), schedule_ve(),
                    schedule_subvp())
  for (i in seq_along(schedules)) {
    s <- schedules[[i]]
    expect_identical(s$name, known[i, 1])
    at <- diffuse(A1, .3, s)
    x <- c(s$a(.3), s$b2(.3), moments(at)$second_moment, dgaussmix(.7, at, log = TRUE),
           score(A1, .7, .3, s), score_jacobian(A1, .7, .3, s))
    expect_near(x, unlist(known[i, -1]))
  }
})

test_that("B2 has the known density, score and Jacobian, and those of the textbook formulas", {
  B2 <- named_mixture("B2")
  x <- c(.3, -.4)
  expect_near(dgaussmix(x, B2, log = TRUE), -4.519803067775825, 1e-12)
  expect_near(score(B2, x), c(.84570621, -2.79598137), 5e-9)
  expect_near(score_jacobian(B2, x)[c(1, 3, 4)], c(1.08350338, .53159363, 8.87157204), 5e-9)
  expect_near(dgaussmix(x, diffuse(B2, .5), log = TRUE), -2.249496775016496, 1e-12)
  expect_near(score(B2, x, .5), c(-.22429225, .23489407), 5e-9)
  expect_near(score_jacobian(B2, x, .5)[c(1, 3, 4)], c(-.59295568, .03910641, -.51855254), 5e-9)

  S <- list(matrix(c(.4, .1, .1, .3), 2), matrix(c(.3, -.1, -.1, .5), 2), diag(.25, 2))
  mu <- list(c(-1.5, 0), c(1.2, 1), c(.5, -1.6))
  for (t in c(0, .5)) {
    P <- lapply(S, function(S) solve(exp(-2 * t) * S + (1 - exp(-2 * t)) * diag(2)))
    g <- Map(function(P, mu) drop(P %*% (exp(-t) * mu - x)), P, mu)
    p <- c(.4, .35, .25) * mapply(function(P, g) {
      exp(-sum(g * solve(P, g)) / 2) * sqrt(det(P)) / (2 * pi)
    }, P, g)
    r <- p / sum(p)
    s <- Reduce(`+`, Map(`*`, r, g))
    H <- Reduce(`+`, Map(function(r, P, g) r * (tcrossprod(g) - P), r, P, g)) - tcrossprod(s)
    expect_near(dgaussmix(x, diffuse(B2, t), log = TRUE), log(sum(p)), 1e-12)
    expect_near(score(B2, x, t), s, 1e-12)
    expect_near(score_jacobian(B2, x, t), H, 1e-12)
  }
})

test_that("moments of A1, B2 and C2 are the known ones, also of A1 at later times", {
  second <- function(mixture) moments(mixture)$second_moment
  A1 <- named_mixture("A1")
  expect_near(c(mean(A1), moments(A1)$cov, second(A1)), c(-.1, 2.797, 2.807), 1e-14)
  expect_near(mean(named_mixture("B2")), c(-.055, -.05), 1e-15)
  expect_near(second(named_mixture("B2")), 3.1415, 1e-14)
  expect_near(second(named_mixture("C2")), 3.0565, 1e-14)
  known <- theory("information")
  known <- known[known$mixture == "A1" & !is.na(known$second_moment), ]
  later <- vapply(known$t, function(t) second(diffuse(A1, t)), 0)
  expect_near(later, known$second_moment, 1e-11)
})

test_that("the entropy of A1 is the known one at each time", {
  known <- by_mixture(theory("information"))$A1
  h <- vapply(known$t, function(t) entropy(diffuse(named_mixture("A1"), t))$estimate, 0)
  expect_near(h[1], known$entropy[1], 1e-10)
  expect_near(h[-1], known$entropy[-1], 5e-9)
})

test_that("with different covariances the derivative of the score grows without bound", {
  mixture <- gaussmix(c(.5, .5), matrix(0, 2, 2), list(c(1, 4), c(4, 1)))
  for (r in c(5, 10, 20, 40)) {
    H <- score_jacobian(mixture, c(r, r) / sqrt(2))
    expect_equal(max(eigen(H[1, , ])$values), 9 * r^2 / 64 - 5 / 8, tolerance = 1e-12)
  }
})

# Relative deviations of the package's total variations from a table, samplers x steps.
order_deviation <- function(name, samplers, steps, ...) {
  x <- theory_orders[[name]]
  found <- measured_orders(x, samplers, steps, ...)
  found <- matrix(found$estimate[found$quantity == "total_variation"], length(samplers),
                  byrow = TRUE)
  found / x$table[samplers, match(steps, x$steps), drop = FALSE] - 1
}

test_that("on A1 every sampler has the known errors, and its order", {
  samplers <- rownames(theory_orders[["A1 uniform"]]$table)
  expect_lt(max(abs(order_deviation("A1 uniform", samplers, c(50, 100)))), 1e-3)
  finest <- summary(measured_orders(theory_orders[["A1 uniform"]], c("EI", "Heun"), c(400, 800)))
  expect_near(finest$order[finest$quantity == "total_variation"], c(.995, 2.012), 1e-3)
  expect_near(finest$order[finest$quantity == "kl"], c(1.956, 4.032), 1e-3)
  expect_lt(max(abs(order_deviation("A1 uniform, RK4", "RK4", c(50, 100), nodes = 8001))), 1e-3)
})

test_that("on A1 the solvers have the known errors on a grid uniform in log-SNR", {
  samplers <- rownames(theory_orders[["A1 logsnr"]]$table)
  expect_lt(max(abs(order_deviation("A1 logsnr", samplers, c(25, 100)))), 1e-3)
})

test_that("on B2 errors and orders are the known ones", {
  error <- guided_error(named_mixture("B2"), sampler = smooth_samplers$EI(25, "uniform", 0),
                        horizon = 3,
                         start = "exact")
  expect_equal(total_variation(error), .1901, tolerance = 5e-4)
  expect_lt(max(abs(order_deviation("B2 uniform", c("Euler", "Heun"), c(25, 50)))), 1e-3)
})

test_that("the exponential grid has the known errors", {
  known <- theory("exponential")
  for (i in 1:3) {
    times <- exponential_times(known$h[i])
    expect_length(times, known$steps[i] + 1)
    for (sampler in c("EI", "ODE", "Heun")) {
      error <- guided_error(named_mixture("A1"), sampler = smooth_samplers[[sampler]](1, times, 0),
                             start = "exact")
      expect_equal(total_variation(error), known[[sampler]][i], tolerance = 1e-3)
      if (sampler == "EI") {
        expect_equal(divergence(error), known$EI_kl[i], tolerance = 1e-4)
      }
    }
  }
})

test_that("the horizon is a trade-off: steps against the error of the start", {
  known <- theory("horizons")
  known <- known[known$horizon %in% 1:3, ]
  for (sampler in c("EI", "ODE", "Heun")) {
    tv <- vapply(known$horizon, function(t) {
      total_variation(guided_error(named_mixture("A1"),
                                    sampler = smooth_samplers[[sampler]](60, "uniform",
                                                                         0), horizon = t))
    }, 0)
    expect_equal(tv, known[[sampler]], tolerance = 1e-3)
    # the best of 1, 2 and 3 differs between the samplers
    expect_identical(which.min(tv), match(sampler, c("EI", "ODE", "Heun")))
  }
})

test_that("correctors have the known costs and errors on A1, and do not beat the predictor", {
  rows <- theory("correctors")[c(1, 2, 4, 7, 9, 12, 13), ]
  tv <- NULL
  for (i in seq_len(nrow(rows))) {
    row <- rows[i, ]
    sampler <- corrector_sampler(row)
    if (!is.na(row$scores)) expect_equal(evaluations(sampler), row$scores)
    error <- guided_error(named_mixture("A1"), sampler = sampler)
    tv[i] <- total_variation(error)
    expect_equal(tv[i], row$tv, tolerance = 1e-3)
    if (!is.na(row$kl)) expect_equal(divergence(error), row$kl, tolerance = 1e-4)
  }
  # 370 and 367 evaluations
  expect_gt(tv[5], 1.5 * tv[6])
})

test_that("on one Gaussian the orders of KL are 2 and 4", {
  who <- c("EM", "EI", "ANC", "Euler", "ODE", "Heun", "EI-Heun")
  makers <- lapply(smooth_samplers[who], function(make) function(n) make(n, "uniform", 0))
  orders <- summary(convergence_order(named_mixture("G1"), samplers = makers, steps = c(100, 200),
                                      horizon = 3))
  orders <- orders$order[orders$quantity == "kl"]
  expect_equal(orders, rep(c(2, 4), c(5, 2)), tolerance = .03)
})

test_that("the path divergence falls half as fast as the divergence of the output", {
  known <- theory("paths")
  known <- known[known$steps %in% c(200, 400), ]
  path <- vapply(known$steps, function(n) {
    x <- path_kl(named_mixture("A1"), sampler = smooth_samplers$EI(n, "uniform", 0), horizon = 3,
                 start = "exact")
    x$estimate[x$quantity == "path_kl"]
  }, 0)
  expect_equal(path, known$EI_path, tolerance = 1e-8)
  expect_near(log2(path[1] / path[2]), .9883, 1e-4)
})

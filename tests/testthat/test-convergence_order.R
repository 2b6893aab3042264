uniform <- list(Euler = sampler_euler(grid = "uniform"), Heun = sampler_heun(grid = "uniform"),
                SDE = function(n) sampler_em(n, "uniform"))

# The errors of one quantity, samplers x steps.
errors_of <- function(x, quantity) {
  x <- x[x$quantity == quantity, ]
  matrix(x$estimate, length(unique(x$sampler)), byrow = TRUE)
}

test_that("on one Gaussian the errors are those of its exact mean and variance", {
  G1 <- named_mixture("G1")
  steps <- c(20, 40)
  x <- convergence_order(G1, samplers = uniform, steps = steps, horizon = 3, start = "normal")
  expect_identical(unique(x$method), "exact")
  for (i in seq_along(uniform)) for (j in seq_along(steps)) {
    sampler <- list(sampler_euler, sampler_heun, sampler_em)[[i]](steps[j], "uniform")
    law <- guided_moments(G1, sampler = sampler, horizon = 3)
    m <- law$mean
    v <- c(law$cov)
    expect_equal(errors_of(x, "kl")[i, j], law$kl, tolerance = 1e-12)
    expect_equal(errors_of(x, "kl_reverse")[i, j],
                 (log(.25 / v) + (v + (m - 1.5)^2) / .25 - 1) / 2, tolerance = 1e-9)
    gap <- function(z) abs(dnorm(z, m, sqrt(v)) - dnorm(z, 1.5, .5)) / 2
    expect_equal(errors_of(x, "total_variation")[i, j],
                 integrate(gap, -4, 7, rel.tol = 1e-9, subdivisions = 1000)$value,
                 tolerance = 1e-6)
  }
})

test_that("orders are slopes in the logarithms, whatever the steps", {
  x <- convergence_order(named_mixture("G1"), samplers = uniform, steps = c(32, 48, 192),
                         horizon = 3)
  e <- errors_of(x, "total_variation")
  known <- cbind(NA, log(e[, 1] / e[, 2]) / log(1.5), log(e[, 2] / e[, 3]) / log(4))
  expect_equal(matrix(x$order[x$quantity == "total_variation"], 3, byrow = TRUE), known)
  finest <- summary(x)
  expect_identical(finest$steps, rep(192, 9))
  kl <- finest$quantity == "kl"
  expect_equal(finest$order[kl], c(2, 4, 2), tolerance = .03)
  expect_equal(finest$order[finest$quantity == "total_variation"], c(1, 2, 1), tolerance = .03)
  expect_identical(x$order_se[!is.na(x$order)], rep(0, 18))
})

test_that("the cost is the number of score evaluations of a run", {
  x <- convergence_order(named_mixture("G1"),
                         samplers = list(Heun = sampler_heun(), RK4 = sampler_rk4()),
                         steps = c(3, 6), horizon = 3)
  x <- x[x$quantity == "total_variation", ]
  expect_equal(x$evaluations, c(6, 12, 12, 24))
})

test_that("a start that is not the true law is a floor: the order ends at 0", {
  x <- convergence_order(named_mixture("A1"), samplers = uniform["Heun"], steps = c(100, 200, 400),
                         horizon = 1,
                         start = "normal")
  x <- summary(x)
  expect_lt(max(abs(x$order)), .05)
  # KL(p_T || g) at T = 1 is unchanged at the end
  expect_equal(x$estimate[x$quantity == "kl"], 1.383032e-2, tolerance = 1e-3)
})

test_that("where errors are drawn the orders have standard errors", {
  withr::local_seed(701)
  # all three covariances differ, so the three dimensions do not reduce
  m <- gaussmix(c(.5, .5), rbind(c(1, 0, 0), c(-1, 0, 1)), list(c(.3, .5, .7), c(.6, .4, .9)))
  x <- convergence_order(m, samplers = sampler_euler(grid = "uniform"), steps = c(10, 20),
                         horizon = 2, n = 4000)
  expect_identical(unique(x$method), "Monte Carlo")
  expect_true(all(x$se > 0))
  last <- summary(x)
  rows <- matrix(x$se / x$estimate, 2)
  expect_equal(last$order_se, sqrt(colSums(rows^2)) / log(2))
  tv <- last[last$quantity == "total_variation", ]
  expect_lt(abs(tv$order - 1), .2 + 4 * tv$order_se)
  expect_output(print(x), "standard errors up to .*%.*total variation.*\\([0-9.]+\\)")
  expect_drawn(autoplot(x))
})

test_that("samplers of the package are all there by default, on the grid that is asked for", {
  x <- convergence_order(named_mixture("G1"), steps = c(4, 8), grid = "logsnr", end = .05)
  expect_true(all(c("dpm_2", "ddpm", "exponential(order = 2)") %in% x$sampler))
  expect_false(anyNA(x$estimate))
  expect_identical(dim(summary(x)), c(3L * length(unique(x$sampler)), 10L))
})

test_that("an error that rounding decides has no order, and an exact sampler none", {
  gaussian <- gaussmix(1, 0, 1)
  x <- convergence_order(gaussian, samplers = list(Euler = sampler_euler(grid = "uniform")),
                         steps = c(2, 4))
  expect_identical(x$order, rep(NA_real_, 6))
  expect_output(print(x), "exact\n.*Euler +0 +0 +- +- +-")
  expect_drawn(autoplot(x))
})

test_that("names come from the list, and else from the samplers", {
  m <- named_mixture("G1")
  of <- function(samplers) unique(convergence_order(m, samplers = samplers,
                                                    steps = c(2, 4))$sampler)
  expect_identical(of(sampler_ddpm(variance = "large")), "DDPM (variance = large)")
  expect_identical(of(list(sampler_em(), a = sampler_heun(), sampler_em())),
                   c("Euler-Maruyama (SDE)", "a", "Euler-Maruyama (SDE) 1"))
  expect_identical(of(list(function(n) sampler_em(n),
                           function(n) sampler_ddpm(n, variance = "large"))),
                   c("Euler-Maruyama (SDE)", "DDPM (variance = large)"))
  # the same sampler with steps of another size
  expect_identical(of(function(n) sampler_dpom(4, .5 / n, .2, 1, .01)), "DPOM")
})

test_that("prints as a table of errors and orders, plots as slopes", {
  x <- convergence_order(named_mixture("A1"), samplers = uniform, steps = c(25, 50), horizon = 3)
  expect_output(print(x), "<convergence_order>.*from t = 3, start exact; errors by quadrature")
  expect_output(print(x), "KL +reverse KL +TV *\n Euler .*Heun .*SDE ")
  expect_output(print(x, "kl"), "KL\\(target \\|\\| output\\) at each")
  expect_output(print(as.data.frame(x)[1:2, 1:3]), "sampler")
  expect_identical(class(as.data.frame(x)), "data.frame")
  for (quantity in unique(x$quantity)) for (against in c("steps", "evaluations")) {
    expect_drawn(autoplot(x, quantity, against))
  }
  expect_match(levels(autoplot(x)$data$label)[3], "^Heun: 2\\.")
  expect_output(print(x[1:2, ]), "Euler")
})

test_that("what is no sampler, and what is no sequence of steps, is answered by name", {
  m <- named_mixture("G1")
  wrong <- function(pattern, samplers, steps = c(25, 50), ...) {
    expect_error(convergence_order(m, samplers = samplers, steps = steps, ...), pattern,
                 class = "mixguide_error")
  }
  wrong("`samplers`", "sampler_em")
  wrong("`samplers`", list())
  wrong("`samplers`", list(3))
  wrong("`samplers`.*functions of the number of steps", sampler_em(grid = c(3, 1, 0)))
  wrong("`samplers`.*a sampler", function(n) n)
  wrong("`parts`", uniform, c(2, 4), parts = TRUE)
  wrong("`steps`", uniform, 10)
  wrong("`steps`", uniform, c(20, 10))
  wrong("`steps`.*whole", uniform, c(2.5, 5))
  x <- convergence_order(m, samplers = uniform, steps = c(2, 4))
  expect_error(autoplot(x, "mean"), "`quantity`", class = "mixguide_error")
  expect_error(convergence_order(3, samplers = uniform), "`mixture`", class = "mixguide_error")
})

test_that("a table whose errors are unknown says so once", {
  m <- gaussmix(c(.9991, .0009), c(0, 20), 1)
  told <- testthat::capture_warnings(
    x <- convergence_order(m, samplers = list(em = sampler_em(), ddpm = sampler_ddpm()),
                           steps = c(20, 40),
                           score_error = score_error(model = gaussmix(1, 0, 1)))
  )
  expect_length(grep("is unknown", told), 1)
  expect_match(told[grep("is unknown", told)], "and 3 more, see the column `note`", fixed = TRUE)
  expect_identical(x$method[x$quantity == "kl"], rep("unknown", 4))
})

# The statements of guidance theory, on mixtures with known numbers (tests/REFERENCES.md).

# The tests take seconds and more: not on CRAN, nor under the sanitizers.
skip_slow <- function() {
  skip_on_cran()
  skip_if(nzchar(Sys.getenv("MIXGUIDE_SANITIZE")), "slow under the sanitizers")
}

expect_within <- function(x, bound) expect_lt(max(abs(x)), bound)

test_that("the names lead to mixtures with a class per component, and others are refused", {
  mixtures <- lapply(setdiff(named_mixture(), "karras"), named_mixture)
  expect_length(mixtures, 15)
  for (m in mixtures) expect_identical(m$class, as.character(seq_along(m$weights)))
  expect_error(named_mixture("B3"), "`name`.*\"B2-guidance\"", class = "mixguide_error")
})

for (name in names(theory_ode)) {
  test_that(paste("guidance of", name, "along the ODE agrees with independent programs"), {
    skip_slow()
    withr::local_seed(1)
    sweep <- ode_sweep(theory_ode[[name]])
    expect_within(coupled_deviation(sweep, theory_ode[[name]]), 4)
    expect_true(all(sweep$entropy[-1] < sweep$entropy[1]))
  })

  test_that(paste("guidance of", name, "along the SDE agrees with independent programs"), {
    skip_slow()
    withr::local_seed(1)
    expect_within(coupled_deviation(sde_sweep(theory_sde[[name]]), theory_sde[[name]]), 4)
  })
}

test_that("in one dimension quadrature gives confidence, entropy and E[1/q] to 1e-6", {
  skip_slow()
  for (rows in theory_exact) {
    # 120 steps, because at strength 32 the entropy with 60 is off by 8e-6
    sweep <- ode_sweep(rows, 1001, 120, exact = TRUE)
    expect_identical(unique(sweep$method), "quadrature")
    expect_within(exact_deviation(sweep, rows), 1e-6)
  }
})

test_that("the density of Euler-Maruyama, carried on a grid, has the known entropy", {
  skip_slow()
  x <- seq(-6, 8, .14)
  for (steps in c(100, 200)) for (strength in c("0", "2")) {
    law <- grid_law(named_mixture("A2"), sampler_em(steps, "uniform"), as.numeric(strength), x)
    expect_within(law - theory_em("A2", steps)[, strength], 1e-6)
  }
})

test_that("samples of Euler-Maruyama have the confidence of its exact law", {
  skip_slow()
  withr::local_seed(2)
  for (steps in c(100, 200)) {
    sweep <- guidance_sweep(named_mixture("A2"), guidance = "1", n = 4000,
                            sampler = sampler_em(steps, "uniform"), horizon = 5)
    exact <- theory_em("A2", steps)["confidence", ]
    expect_within((sweep$confidence - exact) / sweep$confidence_se, 4)
  }
})

test_that("where no angle at the class is obtuse no path loses confidence, coarse steps or not", {
  withr::local_seed(3)
  for (name in c("C3", "G4")) for (steps in c(2, 5, 20)) {
    # the ODE for any step, the SDE for steps of length at most 1
    for (sampler in list(sampler_euler(steps, "uniform"), sampler_em(max(steps, 5), "uniform"))) {
      sweep <- guidance_sweep(named_mixture(name), guidance = "1", strength = c(0, 1, 10, 100),
                              n = 2000,
                              sampler = sampler, horizon = 5, log_density = "none")
      expect_identical(sweep$fraction_down, rep(0, 4), info = paste(name, format(sampler)))
      expect_true(all(sweep$gain[-1] > 0))
    }
  }
})

test_that("with two classes Euler-Maruyama loses no path up to steps of length 1, but beyond", {
  withr::local_seed(4)
  mixture <- gaussmix(c(.5, .5), c(2, -2), 1)
  down <- function(length, n = 2000) {
    guidance_sweep(mixture, n, "1", c(0, 1), sampler_em(10, "uniform"),
                   horizon = 10 * length)$fraction_down[2]
  }
  for (length in c(.3, .75, 1)) expect_identical(down(length), 0)
  for (length in c(1.2, 1.5)) {
    # 9.6 %, known to three decimals
    expect_within((down(length, 2e4) - .096) / sqrt(.096 * .904 / 2e4 + 1e-6 / 12), 4)
  }
})

test_that("guidance lowers the entropy of the ODE for any mixture of common covariance", {
  skip_on_cran()
  withr::local_seed(5)
  for (d in rep(1:3, each = 3)) {
    K <- sample(2:4, 1)
    mixture <- gaussmix(runif(K), matrix(rnorm(K * d, sd = 2), K),
                        crossprod(matrix(rnorm(d * d), d)) / d + diag(.2, d))
    sweep <- guidance_sweep(mixture, guidance = "1", strength = c(0, .5, 4), n = 500,
                            log_density = "divergence",
                            sampler = sampler_rk4(40, "quadratic"), horizon = 5, exact = FALSE)
    # unguided, the change of entropy is the same for every path
    expect_lt(sweep$entropy_se[1], 1e-12)
    expect_true(all(diff(sweep$entropy) < 0))
  }
})

test_that("coarse Euler steps fold the map of D3, which the log-determinants follow and flag", {
  # Beyond strength 4 the slope at the class is negative in some steps. Up to 10 the doubly covered
  # mass is negligible, and the entropy is that of a histogram.
  known <- theory("folds")
  sweep <- guidance_sweep(named_mixture("D3"), guidance = "1", strength = known$strength, n = 2e4,
                          sampler = sampler_euler(20, "uniform"), horizon = 5)
  expect_within((sweep$entropy - known$entropy)[1:5], 6e-4)
  expect_within((sweep$entropy - known$entropy)[6], 2e-3)
  expect_within(sweep$folded - c(0, 0, 1, 1, 1, 1), 1e-9)
})

test_that("guidance lowers the mean confidence of NC1 and NC2, though it lowers the entropy too", {
  skip_slow()
  known <- by_mixture(theory("counterexamples"))
  sweep <- ode_sweep(known$NC1, 1001, 120, exact = TRUE)
  expect_within(sweep$confidence - known$NC1$confidence, 1e-6)
  expect_within(sweep$entropy - known$NC1$entropy, 1e-6)

  # in the plane, by quadrature over 101 x 101 starts
  found <- vapply(known$NC2$strength, function(eta) {
    law <- guided_law(named_mixture("NC2"), guidance("1", eta), sampler_rk4(60), horizon = 5,
                       nodes = 101, log_density = "divergence")
    confidence(law)$estimate
  }, 0)
  expect_within(found - known$NC2$confidence, 1e-5)
})

test_that("from the exact start E[1/q] is 1/w at every time, in the ODE and in the SDE", {
  skip_slow()
  withr::local_seed(7)
  mixture <- gaussmix(c(.3, .2, .5), rbind(c(0, 0), c(1, .5), c(-.5, .5)), .8,
                      class = c("a", "a", "b"))
  samplers <- list(sampler_rk4(20, "quadratic"), sampler_em(500, "uniform"))
  for (class in c("a", "b")) for (sampler in samplers) {
    run <- guided_sample(mixture, 5000, guidance(class), sampler, horizon = 5, start = "exact",
                         log_density = "none", trajectory = TRUE)
    for (i in seq(1, length(run$times), by = sampler$steps / 20)) {
      inverse <- 1 / posterior(mixture, run$trajectory[i, , ], run$times[i])[, class]
      expect_within((mean(inverse) - 2) / (sd(inverse) / sqrt(5000)), 4)
    }
  }
})

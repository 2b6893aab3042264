bivariate <- function(rho) gaussmix(1, t(c(0, 0)), matrix(c(1, rho, rho, 1), 2))
quantity <- function(x, what) {
  parts <- summary(x)
  parts$estimate[parts$quantity == what]
}
of_first <- observation(variables = 1)

test_that("mutual information of a Gaussian is the closed form, for variables and for H", {
  expect_equal(mutual_information(bivariate(.8), 1)$estimate, -log(1 - .64) / 2)
  expect_identical(mutual_information(bivariate(.8), 1)$method, "exact")
  set.seed(1)
  S <- crossprod(matrix(rnorm(16), 4)) + diag(.2, 4)
  g <- gaussmix(1, t(setNames(rnorm(4), letters[1:4])), S)
  det_of <- function(i) det(S[i, i, drop = FALSE])
  known <- log(det_of(2:3) * det_of(c(1, 4)) / det(S)) / 2
  expect_equal(mutual_information(g, c("b", "c"))$estimate, known)
  expect_equal(mutual_information(g, c(1, 4))$estimate, known)
  # only the range of H counts, not the observed value
  H <- rbind(c(0, 1, 2, 0), c(0, 3, -1, 0), c(0, 1, 1, 0))
  expect_equal(mutual_information(g, observation(H = H))$estimate, known)
  expect_equal(mutual_information(g, observation(c(5, 6), H[1:2, ], 3))$estimate, known)
  expect_identical(mutual_information(g, observation(H = diag(4)))$estimate, 0)
})

test_that("that of M2 is the integral over the plane, and draws agree", {
  M2 <- named_mixture("M2")
  x <- mutual_information(M2, 1)
  grid <- as.matrix(expand.grid(seq(-6, 6, by = .05), seq(-6, 6, by = .05)))
  p <- dgaussmix(grid, M2) * .05^2
  known <- sum(p * (dgaussmix(grid, M2, log = TRUE) -
                      dgaussmix(grid[, 1], marginal(M2, 1), log = TRUE) -
                      dgaussmix(grid[, 2], marginal(M2, 2), log = TRUE)))
  expect_equal(x$estimate, known, tolerance = 1e-6)
  expect_identical(x$method, "quadrature")
  # the known value is from draws, with standard error .0010 (tests/REFERENCES.md)
  expect_lt(abs(x$estimate - .5176), 4 * .0010)
  # two more coordinates, independent of the rest
  covs <- lapply(1:3, function(k) {
    S <- diag(c(0, 0, 1, 1 + k))
    S[1:2, 1:2] <- component_cov(M2, k)
    S
  })
  set.seed(2)
  four <- gaussmix(M2$weights, cbind(M2$means, 0, M2$means[, 2]), covs)
  by_draws <- mutual_information(four, c(1, 3), n = 4000)
  plain <- marginal(four, c(1, 2, 4))
  expect_identical(by_draws$method, "Monte Carlo")
  other <- mutual_information(plain, 1, n = 4000)
  expect_lt(abs(by_draws$estimate - other$estimate), 5 * sqrt(by_draws$se^2 + other$se^2))
})

test_that("the expected bias of bivariate Gaussians is the known one, half of the information", {
  known <- list(c(.2, .01003), c(.99, .96250))
  for (row in known) {
    x <- mismatch(bivariate(row[1]), of_first, zero_shot_bo(), schedule_etc(1000))
    expect_lt(abs(quantity(x, "bias") - row[2]), 1e-5)
    expect_lt(quantity(x, "bias"), quantity(x, "mutual_information") / 2)
    expect_gt(quantity(x, "bias"), .97 * quantity(x, "mutual_information") / 2)
    expect_lt(abs(quantity(x, "range")), 1e-12)
  }
  kl <- guided_moments(bivariate(.95), observation = observation(1, variables = 1),
                       method = zero_shot_ddnm(), schedule = schedule_etc(1000))$kl
  # quadratic in y, which has variance 1
  expect_lt(abs(kl - .26041), 1e-5)
})

test_that("E B of H and of its complement approach the information in three dimensions", {
  set.seed(3)
  g <- gaussmix(1, t(rnorm(3)), crossprod(matrix(rnorm(9), 3)) / 3 + diag(.2, 3))
  H <- rbind(c(1, 2, -1))
  rest <- rbind(c(2, -1, 0), c(1, 0, 1))
  share <- vapply(c(100, 400), function(steps) {
    schedule <- schedule_etc(steps, c = 6, delta = 1e-5)
    x <- mismatch(g, observation(H = H), zero_shot_bo(), schedule)
    y <- mismatch(g, observation(H = rest), zero_shot_bo(), schedule)
    expect_equal(quantity(x, "mutual_information"), quantity(y, "mutual_information"))
    (quantity(x, "bias") + quantity(y, "bias")) / quantity(x, "mutual_information")
  }, 0)
  expect_lt(max(share), 1)
  expect_gt(share[2], .93)
  # the remainder shrinks as log T/T
  limit <- share[2] + (share[2] - share[1]) /
    ((log(100) / 100) / (log(400) / 400) - 1)
  expect_equal(limit, 1, tolerance = .03)
})

test_that("of a mixture it is the mean over y of the bias given y, and below the information", {
  M2 <- named_mixture("M2")
  schedule <- schedule_etc(20, c = 4, delta = 1e-3)
  joint <- mismatch(M2, of_first, zero_shot_bo(), schedule, nodes = 24)
  y <- seq(-4.5, 4.5, by = .5)
  given <- vapply(y, function(y) {
    parts <- summary(mismatch(M2, observation(y, variables = 1), zero_shot_ddnm(), schedule,
                              nodes = 40))
    parts$estimate[parts$quantity == "bias"]
  }, 0)
  expect_equal(quantity(joint, "bias"), sum(given * dgaussmix(y, marginal(M2, 1))) * .5,
               tolerance = 1e-3)
  expect_lt(quantity(joint, "bias"), quantity(joint, "mutual_information"))
  expect_identical(joint$method[1], "quadrature")
})

test_that("with noise and by draws, in honest standard errors", {
  M2 <- named_mixture("M2")
  schedule <- schedule_etc(20)
  known <- summary(mismatch(M2, observation(H = cbind(1, .5), noise = .3), zero_shot_ddnm(),
                            schedule, nodes = 16))
  covs <- lapply(1:3, function(k) {
    S <- diag(c(0, 0, 1.5))
    S[1:2, 1:2] <- component_cov(M2, k)
    S
  })
  # an independent unobserved coordinate adds nothing
  three <- gaussmix(M2$weights, cbind(M2$means, 0), covs)
  set.seed(4)
  z <- replicate(8, {
    x <- mismatch(three, observation(H = cbind(1, .5, 0), noise = .3), zero_shot_ddnm(), schedule,
                  n = 400)
    ((summary(x)$estimate - known$estimate) / summary(x)$se)[1:2]
  })
  expect_honest(z[1, ])
  expect_honest(z[2, ])
})

test_that("it prints the bound, and what does not fit is an error that names the argument", {
  x <- mismatch(bivariate(.5), of_first, zero_shot_bo(), schedule_etc(20))
  expect_output(print(x), "bias (B)  ", fixed = TRUE)
  expect_output(print(x), "on average over y")
  expect_output(print(x), "given x1, without noise, on average over y")
  expect_output(print(x), "on average at most the mutual information")
  expect_output(print(x[1, ]), "bias")
  expect_mixguide_error(mutual_information(1, 1), "mixture")
  expect_mixguide_error(mutual_information(bivariate(0), 3), "observation")
  expect_mixguide_error(mutual_information(bivariate(0), list(1)), "observation")
  expect_error(mutual_information(gaussmix(1, t(c(0, 0)), 0), 1), class = "mixguide_error_singular")
  expect_mixguide_error(mismatch(bivariate(0), of_first, zero_shot_dps()),
                        "method")
})

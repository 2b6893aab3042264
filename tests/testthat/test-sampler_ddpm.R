# The effect of "matched" noise in a run. test-op.R and test-engine.R test its operations,
# test-guided_moments.R that it reproduces a Gaussian.

B2 <- named_mixture("B2")

test_that("one matched step from the exact law keeps mean and covariance, whatever the mixture", {
  set.seed(1)
  n <- 2e5
  check <- function(m, schedule, times, reduce = TRUE) {
    x <- guided_sample(m, n, NULL, sampler_ddpm(variance = "matched", grid = times), schedule,
                       start = "exact", reduce = reduce)$x
    target <- diffuse(m, times[2], schedule)
    centred <- x - rep(mean(target), each = n)
    expect_lt(max(abs(colMeans(centred)) / (apply(x, 2, sd) / sqrt(n))), 5)
    V <- vcov_of(target)
    for (i in seq_len(ncol(x))) for (j in seq_len(i)) {
      product <- centred[, i] * centred[, j]
      expect_lt(abs(mean(product) - V[i, j]) / (sd(product) / sqrt(n)), 5)
    }
  }
  vcov_of <- function(m) {
    centred <- m$means - rep(mean(m), each = nrow(m$means))
    inside <- lapply(seq_along(m$weights), function(k) m$weights[k] * component_cov(m, k))
    unname(crossprod(centred, m$weights * centred) + Reduce(`+`, inside))
  }
  # a step so long that neither "posterior" nor "large" is accurate
  check(B2, schedule_ou(), c(.8, .1))
  check(B2, schedule_cosine(), c(.6, 0))
  check(named_mixture("A1"), schedule_ve(.01, 5), c(.9, .5))
  # a reduction draws the other dimensions from their own Gaussian
  flat <- gaussmix(c(.4, .6), rbind(c(-1, 0, 1), c(1, 0, 0)), .3)
  check(flat, schedule_ou(), c(.8, .1))
  check(flat, schedule_ou(), c(.8, .1), reduce = FALSE)
})

test_that("matched steps approach the target faster than the others", {
  m <- named_mixture("A1")
  gap <- function(variance) {
    set.seed(2)
    x <- guided_sample(m, 4e4, NULL, sampler_ddpm(25, "uniform", variance = variance), horizon = 3,
                       start = "exact")$x
    suppressWarnings(stats::ks.test(x, function(q) pgaussmix(q, m))$statistic)
  }
  # 4e4 draws of the target itself have a distance of some .005
  expect_lt(gap("matched"), .025)
  expect_gt(gap("large"), .03)
})

test_that("strong guidance makes covariances that are none, and a run says so", {
  m <- gaussmix(rep(1, 3), rbind(c(-1, 0), c(1, .5), c(0, 2)), .3, class = c("a", "b", "b"))
  run <- guided_sample(m, 2000, guidance("a", 8), sampler_ddpm(30, variance = "matched"),
                       key = c(1, 2))
  expect_gt(mean(run$clipped), .01)
  expect_output(print(run), "clipped: +negative eigenvalues")
  run <- guided_sample(m, 500, NULL, sampler_ddpm(30, variance = "matched"))
  expect_identical(run$clipped, rep(FALSE, 500))
  expect_null(guided_sample(m, 5, NULL, sampler_ddpm(30))$clipped)
  # in one dimension noise is turned exactly where beta Ds < -2
  run <- guided_sample(named_mixture("D3"), 500, guidance("1", 50), key = c(1, 2),
                       sampler_ddpm(3, "uniform", variance = "accelerated"), trajectory = TRUE)
  turned <- Reduce(`|`, lapply(1:3, function(k) {
    t <- run$times[k]
    beta <- run$schedule$b2(t) - (run$schedule$a(t) / run$schedule$a(run$times[k + 1]))^2 *
      run$schedule$b2(run$times[k + 1])
    at <- matrix(run$trajectory[k, , ])
    beta * c(score_jacobian(named_mixture("D3"), at, t, guidance = guidance("1", 50))) < -2
  }))
  expect_identical(run$reversed, turned)
  expect_gt(mean(turned), .1)
  expect_output(print(run), "reversed: +too long steps")
  run <- guided_sample(m, 500, NULL, sampler_ddpm(30, variance = "accelerated"))
  expect_identical(run$reversed, rep(FALSE, 500))
  expect_null(run$clipped)
  # the reduced run has the same law
  wide <- gaussmix(c(.3, .7), cbind(c(-1, 1), c(0, .5), 0, 0), .4, class = c("a", "b"))
  both <- lapply(c(TRUE, FALSE), function(reduce) {
    guided_sample(wide, 2e4, guidance("a", 2), sampler_ddpm(20, variance = "matched"),
                  reduce = reduce)
  })
  difference <- confidence(both[[1]])$estimate - confidence(both[[2]])$estimate
  se <- sqrt(confidence(both[[1]])$se^2 + confidence(both[[2]])$se^2)
  expect_lt(abs(difference), 5 * se)
  for (j in 1:4) {
    x <- cbind(both[[1]]$x[, j], both[[2]]$x[, j])
    expect_lt(abs(diff(colMeans(x))), 5 * sqrt(sum(apply(x, 2, var)) / 2e4))
  }
})

test_that("matched noise is refused where there is none", {
  set.seed(5)
  many <- gaussmix(rep(1, 40), matrix(rnorm(40 * 35), 40), 1)
  expect_error(guided_sample(many, 5, sampler = sampler_ddpm(3, variance = "matched")),
               "`sampler`.*32 dimensions; got one with it in 35", class = "mixguide_error")
  expect_mixguide_error(guided_sample(B2, 5, guidance("1", 1, power = 1),
                                      sampler_ddpm(3, variance = "matched")), "guidance")
  expect_mixguide_error(guided_sample(B2, 5, NULL, sampler_ddpm(3, variance = "matched"),
                                      log_density = "map"), "log_density")
  # no error where components differ in a few dimensions only, or at a point mass
  few <- gaussmix(rep(1, 3), matrix(rnorm(3 * 60), 3), 1)
  expect_true(all(is.finite(guided_sample(few, 5,
                                          sampler = sampler_ddpm(3, variance = "matched"))$x)))
  points <- gaussmix(c(.5, .5), c(-1, 1), 0)
  x <- guided_sample(points, 500, sampler = sampler_ddpm(60, variance = "matched"))$x
  expect_lt(max(abs(abs(x) - 1)), .5)
})

test_that("the accelerated step is its formula, and of second order", {
  m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(2, 1)), list(c(.25, .5), c(.5, .3)), c("a", "b"))
  aim <- guidance("a", 2)
  s <- schedule_ou()
  x <- matrix(c(.3, -1, 2, .1, .5, -.4), 3)
  times <- c(.8, .5)
  beta <- s$b2(.8) - (s$a(.8) / s$a(.5))^2 * s$b2(.5)
  J <- score_jacobian(m, x, .8, s, aim)
  z <- matrix(c(1, -1, .5, .2, -.3, 2), 3)
  noise <- t(vapply(1:3, function(i) z[i, ] + beta / 2 * drop(J[i, , ] %*% z[i, ]), double(2)))
  by_hand <- s$a(.5) / s$a(.8) * (x + beta * score(m, x, .8, s, aim) + sqrt(beta) * noise)
  run <- guided_sample(m, 3, aim, sampler_ddpm(grid = times, variance = "accelerated"), s,
                       start = x, noise = array(z, c(3, 2, 1)))
  expect_equal(run$x, by_hand, tolerance = 1e-12, ignore_attr = TRUE)

  # one Gaussian of variance v: each step is exact, except for beta^2/4 Ds^2 of its noise
  grid <- time_grid(20, 3, "uniform")
  v <- .25
  own <- 1
  for (k in 1:20) {
    t <- grid[k + 0:1]
    beta <- s$b2(t[1]) - (s$a(t[1]) / s$a(t[2]))^2 * s$b2(t[2])
    p <- 1 / (s$a(t[1])^2 * v + s$b2(t[1]))
    ratio <- s$a(t[2]) / s$a(t[1])
    own <- ratio^2 * ((1 - beta * p)^2 * own + beta * (1 - beta * p / 2)^2)
  }
  at <- guided_moments(gaussmix(1, 0, v), sampler = sampler_ddpm(20, "uniform",
                                                                 variance = "accelerated"),
                       horizon = 3)
  expect_equal(at$cov[[1]], own, tolerance = 1e-12)

  order <- function(variance) {
    errors <- vapply(c(50, 100), function(steps) {
      law <- guided_law(named_mixture("A1"), NULL, sampler_ddpm(steps, "exponential", end = .01,
                                                                variance = variance),
                        horizon = 6, start = "exact")
      target <- diffuse(named_mixture("A1"), .01)
      law_distance(law, target)$estimate[3]
    }, 0)
    log2(errors[1] / errors[2])
  }
  expect_gt(order("accelerated"), 1.7)
  expect_lt(order("scaled"), 1.3)
})

# Particle methods: unbiased evidence, the posterior for many particles, resampling.

m2 <- named_mixture("M2")
given <- observation(.8, cbind(1, .5), .3^2)
to_data <- sampler_ddpm(NULL, variance = "scaled")

test_that("TDS and SMCDiffOpt estimate the evidence of their own chain without bias", {
  schedule <- schedule_etc(30)
  set.seed(1)
  chain <- guided_sample(m2, 1e5, sampler = to_data, schedule = schedule)$x
  truth <- dnorm(.8, chain %*% c(1, .5), .3)
  for (method in list(zero_shot_tds(16, 1), zero_shot_tds(16, 8), zero_shot_smcdiffopt(16))) {
    run <- conditional_sample(m2, 500, given, method, schedule = schedule, sampler = to_data)
    z <- exp(run$log_evidence)
    se <- sqrt(var(z) / 500 + var(truth) / 1e5)
    expect_lt(abs(mean(z) - mean(truth)) / se[1], 4.5)
  }
})

test_that("the evidence is the density of y, whatever the units of H", {
  # one Gaussian with Pi-GDM's variance: the twist is exact, and all weights are nearly equal
  m <- gaussmix(1, t(c(.5, 0)), 1)
  y <- observation(c(2, 1), diag(c(3, .5)), c(.5, .2))
  set.seed(2)
  log_p <- sum(dnorm(c(2, 1), c(1.5, 0), sqrt(c(9, .25) + c(.5, .2)), log = TRUE))
  run <- conditional_sample(m, 50, y, zero_shot_tds(32), schedule = schedule_etc(300),
                            sampler = to_data)
  expect_equal(mean(run$log_evidence), log_p, tolerance = .01)
  expect_gt(min(run$history$ess), 28)
})

test_that("particle methods come close to the posterior of M2", {
  skip_on_cran()
  set.seed(3)
  truth <- moments(exact_posterior(m2, given))
  for (method in list(zero_shot_tds(64), zero_shot_mcgdiff(64), zero_shot_smcdiffopt(128))) {
    run <- conditional_sample(m2, 1000, given, method, sampler = to_data)
    # the steps of T = 100 spread draws by some 8 % more; 1000 draws have errors of .04 and 4.5 %
    expect_lt(max(abs(colMeans(run$x) - truth$mean)), .12, format(method))
    expect_lt(max(abs(cov(run$x) / truth$cov - 1.08)), .14, format(method))
    residual <- mean((run$x %*% c(1, .5) - .8)^2)
    expect_lt(abs(residual - .0764), .02)
  }
})

test_that("SMCDiffOpt moves its particles freely, and weighs them by psi", {
  H <- rbind(c(1, .5, 0), c(0, 1, -1))
  R <- matrix(c(1.2, .3, .3, .9), 2)
  y <- c(.5, -.2)
  set.seed(11)
  m <- random_mixture("full", 3, 2)$mixture
  schedule <- schedule_ou()
  times <- c(.3, .1, .02)
  draw <- function(...) {
    without_faults(
      conditional_sample(m, 1, observation(y, H, R), zero_shot_smcdiffopt(6, ...), cloud = TRUE,
                         schedule = schedule, key = c(2, 3),
                         sampler = sampler_ddpm(grid = times, variance = "scaled"))
    )
  }
  run <- draw()
  expect_identical(run$history$resampled, c(0, 0, 0))
  psi <- function(x, t) {
    a <- schedule$a(t)
    S <- schedule$b2(t) * H %*% t(H) + a^2 * R
    apply(x, 1, function(x) {
      u <- a * y - drop(H %*% x)
      exp(-sum(u * solve(S, u)) / 2) / sqrt(det(2 * pi * S))
    })
  }
  # particles that were not resampled keep the weight of their end, on any path
  w <- psi(run$cloud$x, times[3])
  expect_equal(run$cloud$weights[, 1], w / sum(w), tolerance = 1e-10)
  expect_equal(run$history$ess[3], sum(w)^2 / sum(w^2), tolerance = 1e-10)
  expect_identical(draw(resampling = "every step")$history$resampled, c(1, 1, 0))
  expect_error(conditional_sample(m2, 2, observation(.8, cbind(1, .5)), zero_shot_smcdiffopt(4),
                                  sampler = to_data, schedule = schedule_etc(100)),
               "SMCDiffOpt needs noise", class = "mixguide_error_singular")
})

test_that("SMCDiffOpt has the law of one Gaussian, and needs no noise in its steps", {
  set.seed(12)
  m <- gaussmix(1, t(c(0, .5)), matrix(c(1, .7, .7, 1), 2))
  y <- observation(1.2, variables = 1, noise = .2)
  exact <- moments(exact_posterior(m, y))
  for (sampler in list(to_data, sampler_ddim(60, end = 0))) {
    run <- conditional_sample(m, 500, y, zero_shot_smcdiffopt(64), schedule = schedule_etc(60),
                              sampler = sampler)
    expect_lt(max(abs(colMeans(run$x) - exact$mean)), .2)
    expect_lt(max(abs(cov(run$x) - exact$cov)), .2)
  }
})

test_that("MCGdiff has the law of one Gaussian, with noises of several sizes and none", {
  set.seed(4)
  S <- matrix(c(1, .7, .3, .7, 1, .2, .3, .2, 1), 3)
  m <- gaussmix(1, t(c(0, .5, 0)), S)
  for (noise in list(c(.5, .01), 0)) {
    y <- observation(c(.8, -.3), variables = 1:2, noise = noise)
    run <- conditional_sample(m, 600, y, zero_shot_mcgdiff(32), schedule = schedule_etc(80),
                              sampler = to_data)
    exact <- moments(exact_posterior(m, y))
    sd <- sqrt(pmax(diag(exact$cov), 1e-3))
    expect_lt(max(abs(colMeans(run$x) - exact$mean) / sd), .25)
    expect_lt(max(abs(cov(run$x) - exact$cov) / outer(sd, sd)), .25)
  }
})

test_that("more particles come closer", {
  skip_on_cran()
  # two components that differ in the weight that y gives them
  m <- gaussmix(c(.5, .5), rbind(c(-2, -2), c(2, 2)), .25)
  y <- observation(.5, variables = 1, noise = 1)
  right <- exact_posterior(m, y)$weights[2]
  share <- function(particles) {
    set.seed(5)
    run <- conditional_sample(m, 400, y, zero_shot_tds(particles), schedule = schedule_etc(60),
                              sampler = to_data)
    mean(run$x[, 2] > 0)
  }
  error <- abs(vapply(c(1, 32), share, 0) - right)
  expect_lt(error[2], .08)
  expect_lt(error[2], error[1] / 2 + .03)
})

test_that("runs in several chunks are those in one", {
  m <- gaussmix(c(.5, .5), rbind(rep(-1, 300), rep(1, 300)), 1)
  y <- observation(.5, variables = 1, noise = .5)
  # 2^20 numbers: 64 sets of 48 particles in 300 dimensions
  draw <- function(n) {
    conditional_sample(m, n, y, zero_shot_mcgdiff(48), schedule = schedule_etc(10),
                       sampler = to_data, key = c(1, 2))
  }
  run <- draw(70)
  few <- draw(60)
  expect_identical(run$x[1:60, ], few$x)
})

test_that("the evidence counts what is noise alone", {
  # y = (x + n1, n2, n2 + n3), correlated noises
  m <- gaussmix(1, t(.5), 1)
  R <- rbind(c(.5, .1, .1), c(.1, .2, .1), c(.1, .1, .4))
  H <- cbind(c(1, 0, 0))
  y <- c(1, -.2, .3)
  truth <- dgaussmix(t(y), marginal(m, observation(H = H, noise = R)), log = TRUE)
  set.seed(5)
  run <- conditional_sample(m, 50, observation(y, H, R), zero_shot_tds(32),
                            schedule = schedule_etc(300),
                          sampler = to_data)
  expect_lt(abs(mean(run$log_evidence) - truth), .04)
})

test_that("MCGdiff resamples at every step if asked, and then few particles do worse", {
  set.seed(8)
  S <- matrix(c(1, .7, .7, 1), 2)
  m <- gaussmix(1, t(c(0, .5)), S)
  y <- observation(1.2, variables = 1, noise = .2)
  exact <- moments(exact_posterior(m, y))
  own <- zero_shot_mcgdiff(100, resampling = "every step")
  run <- conditional_sample(m, 300, y, own, schedule = schedule_etc(50), sampler = to_data)
  expect_identical(run$history$resampled, c(rep(1, 50), 0))
  expect_lt(max(abs(colMeans(run$x) - exact$mean)), .3)
  expect_said(print(own), "resampling = every step")
  expect_output(print(zero_shot_mcgdiff(64)), "particles = 64, kappa = 1e-04)", fixed = TRUE)
  expect_mixguide_error(zero_shot_mcgdiff(resampling = "never"), "resampling")
})

test_that("the last step of MCGdiff may have no noise", {
  set.seed(10)
  m <- gaussmix(1, t(c(0, .5)), matrix(c(1, .7, .7, 1), 2))
  y <- observation(1.2, variables = 1, noise = .2)
  exact <- moments(exact_posterior(m, y))
  quiet <- sampler_ddpm(NULL, variance = "posterior")
  run <- conditional_sample(m, 500, y, zero_shot_mcgdiff(32), schedule = schedule_etc(80),
                            sampler = quiet)
  expect_lt(max(abs(colMeans(run$x) - exact$mean)), .2)
  expect_lt(max(abs(cov(run$x) - exact$cov)), .2)
  expect_mixguide_error(conditional_sample(m, 2, y, zero_shot_tds(4), schedule = schedule_etc(20),
                                           sampler = quiet),
                        "sampler")
})

test_that("the particles of a set are there if asked for", {
  plain <- conditional_sample(m2, 6, given, zero_shot_mcgdiff(16), sampler = to_data, key = c(3, 4))
  run <- conditional_sample(m2, 6, given, zero_shot_mcgdiff(16), sampler = to_data, key = c(3, 4),
                          cloud = TRUE)
  expect_null(plain$cloud)
  expect_identical(run$x, plain$x)
  expect_identical(dim(run$cloud$x), c(96L, 2L))
  expect_equal(colSums(run$cloud$weights), rep(1, 6))
  # each draw belongs to its set
  for (i in 1:6) {
    gap <- abs(t(run$cloud$x[16 * (i - 1) + 1:16, ]) - run$x[i, ])
    expect_lt(min(colSums(gap)), 1e-12)
  }
  # in the variables of the mixture, whatever the coordinates of the process
  m <- standardise(gaussmix(c(.5, .5), rbind(c(100, 1), c(120, 2)), list(c(25, .1), c(9, .2))))
  given <- observation(112, cbind(1, 0), 9)
  run <- conditional_sample(m, 4, given, zero_shot_mcgdiff(16), cloud = TRUE)
  expect_lt(min(abs(run$cloud$x[1:16, 1] - run$x[1, 1])), 1e-10)
  expect_mixguide_error(conditional_sample(m2, 6, given, zero_shot_bo(), cloud = TRUE), "cloud")
})

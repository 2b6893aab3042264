# Runs of zero-shot methods: the simulation table (theory/zero-shot-samples.csv), and changes that
# must not affect a run.

m2 <- named_mixture("M2")
given <- observation(.8, cbind(1, .5), .3^2)

test_that("the posterior of M2 is the known one", {
  law <- exact_posterior(m2, given)
  expect_equal(law$weights, c(.00089629, .76935020, .22975351), tolerance = 1e-7)
  expect_equal(unname(law$means), rbind(c(.2247191, .48314607), c(.02840909, 1.52272727),
                                        c(1.32743363, -.75221239)), tolerance = 1e-7)
  exact <- moments(law)
  expect_equal(unname(exact$mean), c(.32704049, .99912014), tolerance = 1e-7)
  expect_equal(as.vector(exact$cov), c(.4470012, -.71160774, -.71160774, 1.3675023),
               tolerance = 1e-6)
})

# Means and covariances of 8000 draws at T = 100 (RePaint: 4000). The theory's own draws have an
# error of .013 in the means; the theory allows .05 for means and .08 for covariances.
methods <- list(
  exact = zero_shot_exact(), repaint = zero_shot_repaint(5), ddrm = zero_shot_ddrm(),
  tmpd = zero_shot_tmpd(), pigdm = zero_shot_pigdm(), mcg = zero_shot_mcg(),
  bo_general = zero_shot_bo(general = TRUE), ddnm_plus = zero_shot_ddnm_plus(),
  ccdf = zero_shot_ccdf(), bo = zero_shot_bo(), ddnm = zero_shot_ddnm(), dps = zero_shot_dps(1)
)

test_that("the simulation table of M2 is reproduced", {
  skip_on_cran()
  set.seed(7)
  known <- theory("zero-shot-samples")
  expect_setequal(known$method, names(methods))
  for (i in seq_len(nrow(known))) {
    name <- known$method[i]
    run <- conditional_sample(m2, if (name == "repaint") 4000 else 8000, given, methods[[name]],
                              sampler = sampler_ddpm(NULL, variance = "scaled"))
    expect_lt(max(abs(colMeans(run$x) - unlist(known[i, 2:3]))), .05, name)
    expect_lt(max(abs(cov(run$x)[c(1, 2, 4)] - unlist(known[i, 4:6]))), .08, name)
  }
})

test_that("without noise BO and DDNM are the same run, and miss the weights of the components", {
  y <- observation(.8, cbind(1, .5))
  set.seed(1)
  bo <- conditional_sample(m2, 4000, y, zero_shot_bo(), schedule = schedule_etc(200))
  set.seed(1)
  expect_equal(conditional_sample(m2, 4000, y, zero_shot_ddnm(), schedule = schedule_etc(200))$x,
               bo$x)
  expect_lt(max(abs(colMeans(bo$x) - c(.52, .55))), .08)
  # the place of the truth
  expect_equal(unname(moments(exact_posterior(m2, y))$mean), c(.2686, 1.0629), tolerance = 1e-3)
})

test_that("the exact score with matched noise is near the posterior in few steps", {
  set.seed(10)
  run <- conditional_sample(m2, 8000, given, zero_shot_exact(), schedule = schedule_etc(60),
                          sampler = sampler_ddpm(NULL, end = 1, variance = "matched"))
  exact <- moments(exact_target(run))
  expect_lt(max(abs(colMeans(run$x) - exact$mean)), .06)
  expect_lt(max(abs(cov(run$x) - exact$cov)), .06)
})

test_that("one Gaussian: methods that are exact have the exact law, in any dimension of H", {
  set.seed(2)
  d <- 4
  S <- crossprod(matrix(rnorm(d * d), d)) / d + diag(.2, d)
  m <- gaussmix(1, t(rnorm(d)), S)
  y <- observation(c(.5, -1), matrix(rnorm(2 * d), 2), matrix(c(.3, .1, .1, .2), 2))
  for (method in list(zero_shot_exact(), zero_shot_tmpd())) {
    run <- conditional_sample(m, 4000, y, method, schedule = schedule_etc(400))
    exact <- moments(exact_target(run))
    z <- (colMeans(run$x) - exact$mean) / sqrt(diag(exact$cov) / 4000)
    expect_lt(max(abs(z)), 5)
    expect_lt(max(abs(cov(run$x) / sqrt(tcrossprod(diag(exact$cov))) - stats::cov2cor(exact$cov))),
              .12)
  }
})

test_that("a run obeys set.seed(), the key and nothing else", {
  for (method in list(zero_shot_bo(), zero_shot_dps(), zero_shot_tmpd(), zero_shot_exact(),
                      zero_shot_tds(8), zero_shot_mcgdiff(8), zero_shot_smcdiffopt(8),
                      zero_shot_diffpir())) {
    run <- function(...) conditional_sample(m2, 100, given, method, schedule = schedule_etc(20),
                                            ...)
    set.seed(3)
    one <- run()
    set.seed(3)
    expect_identical(with_threads(1, run())$x, one$x)
    expect_identical(with_threads(2, run(key = one$key))$x, one$x)
    expect_false(identical(run()$x, one$x))
    folder <- withr::local_tempdir()
    expect_identical(run(key = one$key, folder = folder)$x, one$x)
    expect_length(list.files(folder), 1)
    expect_identical(run(key = one$key, folder = folder)$x, one$x)
  }
})

test_that("names, one dimension, everything observed, one component, other samplers", {
  m <- gaussmix(c(.4, .6), cbind(a = c(-1, 2), b = c(0, 1)), list(1, c(.3, 2)))
  run <- conditional_sample(m, 200, observation(c(b = .5)), zero_shot_ddnm(),
                            schedule = schedule_etc(30))
  expect_identical(colnames(run$x), c("a", "b"))
  # the range is y plus the noise that is left at the end
  expect_lt(max(abs(run$x[, "b"] - .5)), 6 * sqrt(schedule_etc(30)$b2(1) * 2))
  line <- gaussmix(c(.4, .6), c(-1, 2), .5)
  for (method in list(zero_shot_bo(), zero_shot_bo(TRUE), zero_shot_dps(), zero_shot_mcg(),
                      zero_shot_tmpd(), zero_shot_pigdm(), zero_shot_ddrm(), zero_shot_ddnm_plus(),
                      zero_shot_repaint(2), zero_shot_exact(), zero_shot_tds(4),
                      zero_shot_mcgdiff(4), zero_shot_smcdiffopt(4), zero_shot_diffpir())) {
    run <- conditional_sample(line, 20, observation(1, variables = 1, noise = .2), method,
                              schedule = schedule_etc(20))
    expect_identical(dim(run$x), c(20L, 1L))
    expect_true(all(is.finite(run$x)))
    run <- conditional_sample(m, 5, observation(c(1, 0), diag(2), c(.2, .1)), method,
                            schedule = schedule_etc(20))
    expect_true(all(is.finite(run$x)))
    expect_identical(nrow(conditional_sample(m, 0, observation(c(a = 1), noise = 1), method,
                                           schedule = schedule_etc(20))$x), 0L)
  }
  # TMPD is exact for one Gaussian, whatever the sampler
  one <- gaussmix(1, t(c(1, 0)), matrix(c(1, .6, .6, 1), 2))
  y <- observation(c(x1 = 0), noise = .5)
  set.seed(5)
  run <- conditional_sample(one, 4000, y, zero_shot_tmpd(), schedule = schedule_ou(),
                            sampler = sampler_heun(60))
  exact <- moments(exact_posterior(one, y))
  expect_lt(max(abs(colMeans(run$x) - exact$mean)), .08)
  expect_lt(max(abs(cov(run$x) - exact$cov)), .08)
})

test_that("point masses, impossible distances and other schedules end in numbers", {
  points <- gaussmix(c(.5, .5, 0), rbind(c(0, 0), c(1, 2), c(5, 5)), list(0, 0, 1))
  methods <- list(zero_shot_exact(), zero_shot_ddnm(), zero_shot_bo(TRUE), zero_shot_ccdf(),
                  zero_shot_ddnm_plus(), zero_shot_ddrm(), zero_shot_mcg(), zero_shot_pigdm(),
                  zero_shot_tmpd(), zero_shot_tds(4), zero_shot_mcgdiff(4), zero_shot_smcdiffopt(4),
                  zero_shot_diffpir())
  finite <- function(...) all(is.finite(conditional_sample(...)$x))
  H <- cbind(1, .5)
  for (method in methods) {
    expect_true(finite(points, 8, observation(2, H), method, schedule = schedule_etc(20)))
    expect_true(finite(points, 8, observation(.8, H, .1), method, schedule = schedule_etc(20)))
    expect_true(finite(m2, 8, observation(1e6, H, .1), method, schedule = schedule_etc(20)))
    expect_true(finite(m2, 8, given, method, schedule = schedule_ve(),
                       sampler = sampler_ddpm(20, end = .01, variance = "scaled")))
  }
  # the only point that y = 2 allows
  run <- conditional_sample(points, 200, observation(2, H), zero_shot_exact(),
                            schedule = schedule_etc(100))
  expect_lt(max(abs(colMeans(run$x) - c(1, 2))), .02)
})

test_that("where y and the rest are independent DDNM is exact but for the steps", {
  m <- gaussmix(c(.3, .7), rbind(c(0, -1, 2), c(0, 2, 0)), .5)
  set.seed(6)
  run <- conditional_sample(m, 8000, observation(.7, variables = 1), zero_shot_ddnm(),
                            schedule = schedule_etc(200))
  exact <- moments(exact_target(run))
  z <- (colMeans(run$x) - exact$mean) / sqrt(diag(exact$cov) / 8000)
  expect_lt(max(abs(z[2:3])), 5)
  expect_lt(max(abs(cov(run$x)[2:3, 2:3] - exact$cov[2:3, 2:3])), .12)
})

test_that("BO spreads too far at small singular values, which generalised BO repairs", {
  # H = diag(1, .1), sigma = .1, prior N(0, I)
  m <- gaussmix(1, t(c(0, 0)), 1)
  y <- observation(c(.5, .05), diag(c(1, .1)), .01)
  n <- 4e4
  spread <- function(method) {
    var(conditional_sample(m, n, y, method, schedule = schedule_etc(300), key = c(9, 0))$x[, 2])
  }
  # the exact value is .5, and .525 with steps; BO uses the noise's 1, generalised BO is exact here
  general <- zero_shot_bo(general = TRUE)
  exact <- guided_moments(m, observation = y, method = general,
                          schedule = schedule_etc(300))$cov[2, 2]
  expect_lt(abs(spread(general) / exact - 1), 4.5 * sqrt(2 / n))
  expect_gt(spread(zero_shot_bo()), .9)
  expect_lt(spread(zero_shot_ddnm()), .01)
})

test_that("what is wrong is said", {
  expect_mixguide_error(conditional_sample(1, 5, given, zero_shot_bo()), "mixture")
  expect_mixguide_error(conditional_sample(m2, -1, given, zero_shot_bo()), "n")
  expect_mixguide_error(conditional_sample(m2, 5, 1, zero_shot_bo()), "observation")
  expect_mixguide_error(conditional_sample(m2, 5, given, "bo"), "method")
  expect_mixguide_error(conditional_sample(m2, 5, given, zero_shot_bo(), sampler = 1), "sampler")
  expect_mixguide_error(conditional_sample(m2, 5, given, zero_shot_ddnm_plus(),
                                         sampler = sampler_em(9)), "sampler")
  expect_mixguide_error(conditional_sample(m2, 5, given, zero_shot_tds(4),
                                         sampler = sampler_heun(9)), "sampler")
  matched <- sampler_ddpm(NULL, end = 1, variance = "matched")
  expect_mixguide_error(conditional_sample(m2, 5, given, zero_shot_bo(), sampler = matched),
                        "sampler")
  expect_mixguide_error(conditional_sample(m2, 5, given, zero_shot_tds(4), sampler = matched),
                        "sampler")
  # no noise in the last step, so there are no weights
  expect_mixguide_error(conditional_sample(m2, 5, given, zero_shot_tds(4),
                                           schedule = schedule_etc(20),
                                         sampler = sampler_ddpm(NULL,
                                                                variance = "posterior")), "sampler")
  expect_error(conditional_sample(m2, 5, observation(.8, cbind(1, .5)), zero_shot_tds(4),
                                  schedule = schedule_etc(20),
                                  sampler = sampler_ddpm(NULL, variance = "scaled")),
               class = "mixguide_error_singular")
  # Heun needs the score at t = 0, where it does not exist
  expect_error(conditional_sample(m2, 5, observation(.8, cbind(1, .5)), zero_shot_ddnm(),
                                schedule = schedule_ou(), sampler = sampler_heun(9)),
               class = "mixguide_error_singular")
})

test_that("a run is printed, summarised, turned into a table and drawn", {
  set.seed(8)
  run <- conditional_sample(m2, 500, given, zero_shot_bo(), schedule = schedule_etc(30))
  expect_output(print(run), "E|y - Hx|^2: ", fixed = TRUE)
  expect_output(print(run), "BO-DDNM", fixed = TRUE)
  s <- summary(run)
  expect_equal(s$variables$mean, unname(colMeans(run$x)))
  law <- exact_target(run)
  expect_equal(s$variables$exact_mean, unname(moments(law)$mean))
  x <- rgaussmix(2e5, law)
  expect_equal(s$residual$exact, mean((x %*% c(1, .5) - .8)^2), tolerance = .02)
  expect_output(print(s), "exact value")
  expect_identical(as.matrix(run), run$x)
  expect_identical(names(as.data.frame(run)), variable_labels(m2))
  expect_output(print(conditional_sample(m2, 20, given, zero_shot_tds(4),
                                         schedule = schedule_etc(20))),
                "effective sample size")
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  expect_silent(print(autoplot(run)))
  line <- gaussmix(c(.4, .6), c(-1, 2), .5)
  run <- conditional_sample(line, 50, observation(1, variables = 1, noise = .2), zero_shot_bo(),
                            schedule = schedule_etc(20))
  expect_identical(expect_invisible(plot(run)), run)
})

# The bivariate Gaussian of theory/zero-shot-bias.csv, with its first variable observed.
pair <- gaussmix(1, t(c(0, 0)), matrix(c(1, .8, .8, 1), 2))
first <- function(sd, y = 1) observation(y, cbind(1, 0), sd^2)
parts_of <- function(...) {
  parts <- summary(mismatch(...))
  stats::setNames(parts$estimate, parts$quantity)
}

# The divergence of two Gaussian chains (x_T, ..., x_1), from their joint laws: q runs forward from
# x_1 ~ N(m, S), p backward from N(0, I) with the score G_t x + c_t.
chain_divergence <- function(m, S, alpha, G, c) {
  d <- length(m)
  N <- length(alpha) + 1
  joint <- function(mean, cov, step) {
    for (k in seq_len(N - 1)) {
      one <- step(k)
      last <- nrow(cov) - d + seq_len(d)
      across <- one$M %*% cov[last, , drop = FALSE]
      own <- one$M %*% cov[last, last] %*% t(one$M) + diag(one$v, d)
      mean <- c(mean, one$M %*% mean[last] + one$k)
      cov <- rbind(cbind(cov, t(across)), cbind(across, own))
    }
    list(mean = mean, cov = cov)
  }
  q <- joint(m, S, function(k) list(M = diag(sqrt(alpha[k]), d), k = 0, v = 1 - alpha[k]))
  p <- joint(rep(0, d), diag(d), function(k) {
    a <- alpha[N - k]
    list(M = (diag(d) + (1 - a) * G[[N - k]]) / sqrt(a), k = (1 - a) / sqrt(a) * c[[N - k]],
         v = (1 - a) / a)
  })
  order <- as.vector(matrix(seq_len(d * N), d)[, rev(seq_len(N))])
  gap <- p$mean[order] - q$mean
  P <- solve(p$cov[order, order])
  (sum(diag(P %*% q$cov)) + sum(gap * (P %*% gap)) - d * N -
     determinant(P)$modulus - determinant(q$cov)$modulus)[1] / 2
}

test_that("the parts add up to the divergence of the paths, computed from the joint laws", {
  schedule <- schedule_ddpm(c(.9, .8, .6, .3, .2))
  target <- gaussmix(1, t(c(.7, -.4)), matrix(c(.5, .3, .3, .8), 2))
  model <- gaussmix(1, t(c(-.2, .1)), matrix(c(1.2, -.2, -.2, .6), 2))
  bias <- c(.3, -.2)
  P <- lapply(2:5, function(t) {
    a2 <- schedule$a(t)^2
    solve(a2 * matrix(c(1.2, -.2, -.2, .6), 2) + diag(1 - a2, 2))
  })
  start <- diffuse(target, 1, schedule)
  scale <- 1.1
  known <- chain_divergence(start$means[1, ], moments(start)$cov, c(.8, .6, .3, .2),
                            lapply(P, function(P) -scale * P),
                            Map(function(P, t) scale * P %*% c(-.2, .1) * schedule$a(t) + bias, P,
                                2:5))
  error <- score_error(bias = bias, scale = scale)
  x <- mismatch(target, schedule = schedule, model = model, score_error = error)
  parts <- summary(x)
  expect_equal(parts$estimate[parts$quantity == "path"], known, tolerance = 1e-10)
  expect_identical(parts$method[1], "quadrature")
  expect_equal(sum(parts$estimate[parts$quantity != "path"]), known, tolerance = 1e-10)
  # an error that is a function, and no error, by the rule of 2 d nodes
  same <- function(x, t) (scale - 1) * score(model, x, t, schedule) + rep(bias, each = nrow(x))
  expect_equal(summary(mismatch(target, schedule = schedule, model = model, score_error = same)),
               parts)
  plain <- mismatch(target, schedule = schedule, model = model)
  expect_identical(unique(plain$method), "exact")
  expect_equal(plain$bias, x$bias, tolerance = 1e-10)
  expect_equal(plain$discretisation, x$discretisation, tolerance = 1e-10)
  # noise of the score: its variance in each coordinate counts
  noisy <- mismatch(target, schedule = schedule, model = model,
                    score_error = score_error(noise = .3))
  expect_equal(noisy$score_error, noisy$beta / 2 * 2 * .09, tolerance = 1e-10)
})

test_that("bias and path divergence of the bivariate Gaussian are the known ones", {
  noiseless <- parts_of(pair, first(0), zero_shot_ddnm(), schedule_etc(1000))
  expect_equal(unname(noiseless[c("path", "bias", "range", "null")]),
               c(.616547, .250935, 0, .250935), tolerance = 2e-6)
  expect_equal(unname(noiseless["initialisation"] + noiseless["discretisation"]), .365612,
               tolerance = 2e-6)
  known <- theory("zero-shot-bias")
  for (i in seq_len(nrow(known))) {
    bias_of <- function(method) {
      parts_of(pair, first(known$noise[i]), method, schedule_etc(known$steps[i]))
    }
    bo <- bias_of(zero_shot_bo())
    ddnm <- bias_of(zero_shot_ddnm())
    expect_lt(max(abs(c(bo[c("bias", "range")], ddnm["bias"]) - unlist(known[i, 3:5]))), 1e-5)
    # both methods use the unconditional score for the unobserved part
    expect_equal(ddnm["null"], bo["null"], tolerance = 1e-10)
  }
})

test_that("and so they are at 1000 steps with noise", {
  path <- c(parts_of(pair, first(.3), zero_shot_bo(), schedule_etc(1000))[c("path", "bias")],
            parts_of(pair, first(.3), zero_shot_ddnm(), schedule_etc(1000))[c("path", "bias")])
  expect_lt(max(abs(path - c(.606513, .279395, 41.804576, 41.477458))), 1e-5)
  more <- c(parts_of(pair, first(.1), zero_shot_bo(), schedule_etc(1000))[c("bias", "range")],
            parts_of(pair, first(1), zero_shot_ddnm(), schedule_etc(1000))["bias"])
  expect_lt(max(abs(more - c(.253346, .011559, 361.403287))), 1e-5)
})

test_that("bias on the mixture M2 is the known one", {
  M2 <- named_mixture("M2")
  methods <- list(ddnm = zero_shot_ddnm(), bo = zero_shot_bo(), bo_general = zero_shot_bo(TRUE))
  known <- theory("zero-shot-bias-m2")
  for (i in seq_len(nrow(known))) {
    y <- observation(.8, cbind(1, .5), known$noise[i]^2)
    # NULL for "none"
    x <- parts_of(M2, y, methods[[known$method[i]]], schedule_etc(200), nodes = 30)
    expect_lt(max(abs(x[c("bias", "range")] - unlist(known[i, 3:4]))), 1e-5)
  }
})

test_that("and without noise, where DDNM and BO are one and best on the range", {
  M2 <- named_mixture("M2")
  y <- observation(.8, cbind(1, .5))
  ddnm <- parts_of(M2, y, zero_shot_ddnm(), schedule_etc(200))
  expect_lt(abs(ddnm["bias"] - .124680), 1e-5)
  expect_lt(abs(ddnm["range"]), 1e-10)
  expect_equal(parts_of(M2, y, zero_shot_bo(), schedule_etc(200)), ddnm, tolerance = 1e-8)
  none <- parts_of(M2, y, NULL, schedule_etc(200))
  expect_lt(max(abs(none[c("bias", "range")] - c(2.822979, 2.698299))), 1e-5)
})

test_that("as delta goes to 0 the bias of DDNM grows without bound, and that of BO does not", {
  B <- function(method, delta) {
    parts_of(pair, first(.3), method, schedule_etc(2000, delta = delta))[["bias"]]
  }
  expect_equal(B(zero_shot_bo(), 1e-5), .2829, tolerance = 2e-4)
  # the B of DDNM grows by noise/delta times the steps' share; a shorter chain shows it
  ddnm <- vapply(c(1e-2, 1e-3, 1e-4), function(delta) {
    parts_of(pair, first(.3), zero_shot_ddnm(), schedule_etc(150, delta = delta))[["bias"]]
  }, 0)
  expect_equal(ddnm[-1] / ddnm[-3], c(10, 10), tolerance = .25)
})

test_that("BO has the smaller bias on random Gaussians, and the score class one null part", {
  set.seed(5)
  for (i in 1:8) {
    d <- sample(2:4, 1)
    prior <- gaussmix(1, t(rnorm(d)), crossprod(matrix(rnorm(d^2), d)) / d + diag(.2, d))
    m <- sample(d - 1, 1)
    y <- observation(rnorm(m), matrix(rnorm(m * d), m), runif(1, .1, 1)^2)
    schedule <- schedule_etc(sample(c(30, 60), 1))
    bo <- parts_of(prior, y, zero_shot_bo(), schedule)
    ddnm <- parts_of(prior, y, zero_shot_ddnm(), schedule)
    best <- parts_of(prior, y, zero_shot_bo(TRUE), schedule)
    expect_lt(bo["bias"], ddnm["bias"])
    expect_equal(bo["null"], ddnm["null"], tolerance = 1e-8)
    # the bound holds for the output
    kl <- guided_moments(prior, observation = y, method = zero_shot_bo(), schedule = schedule)$kl
    expect_lt(kl, bo["path"])
  }
})

test_that("draws agree with quadrature, within honest standard errors", {
  set.seed(6)
  M2 <- named_mixture("M2")
  y <- observation(.8, cbind(1, .5), .09)
  # two more independent coordinates, the second of them observed: four dimensions
  covs <- lapply(1:3, function(k) {
    S <- diag(c(0, 0, 1.3, .6))
    S[1:2, 1:2] <- component_cov(M2, k)
    S
  })
  four <- gaussmix(M2$weights, cbind(M2$means, 0, 0), covs)
  H <- rbind(c(1, .5, 0, 0), c(0, 0, 0, 1))
  given <- observation(c(.8, .5), H, diag(c(.09, .04)))
  schedule <- schedule_etc(40)
  known <- parts_of(M2, y, zero_shot_bo(), schedule)
  rest <- gaussmix(1, t(c(0, 0)), diag(c(1.3, .6)))
  known <- known + parts_of(rest, observation(.5, cbind(0, 1), .04), zero_shot_bo(), schedule)
  z <- vapply(1:8, function(i) {
    x <- summary(mismatch(four, given, zero_shot_bo(), schedule, n = 400, key = c(i, 1)))
    expect_identical(x$method[1], "Monte Carlo")
    (x$estimate - known) / x$se
  }, known)
  expect_honest(z["bias", ])
  expect_honest(z["path", ])
  expect_honest(z["range", ])
})

test_that("in one dimension the field is that of the definition, and continuous schedules work", {
  target <- gaussmix(c(.4, .6), c(-1, 1.5), c(.2, .4))
  model <- gaussmix(c(.5, .5), c(-1, 1), c(.3, .3))
  times <- time_grid(6, 2, "quadratic", end = .05)
  x <- mismatch(target, schedule = schedule_ou(), times = times, model = model)
  for (k in c(1, 6)) {
    at <- diffuse(target, times[k])
    known <- integrate(function(u) {
      (score(target, u, times[k]) - score(model, u, times[k]))[, 1]^2 * dgaussmix(u, at)
    }, -8, 8, rel.tol = 1e-9)$value
    expect_equal(x$mismatch[k], known, tolerance = 1e-6)
    h <- times[k] - times[k + 1]
    expect_equal(x$beta[k], -expm1(-2 * h))
  }
  expect_equal(x$fisher, information(target, times[1:6])$fisher, tolerance = 1e-6)
  # the same score has no bias
  expect_equal(mismatch(target, schedule = schedule_ou(), times = times, model = target)$bias,
               rep(0, 6))
})

test_that("a mismatch prints its parts and draws them", {
  x <- mismatch(pair, first(.3), zero_shot_bo(), schedule_etc(20))
  expect_output(print(x), "bias (B)", fixed = TRUE)
  expect_output(print(x), "of it null")
  expect_output(print(x[1:3, ]), "t_next")
  expect_drawn(autoplot(x))
  expect_identical(class(as.data.frame(x)), "data.frame")
})

test_that("without mismatch it is the path divergence of DDPM", {
  m <- named_mixture("A1")
  grid <- sampler_ddpm(NULL, "uniform", end = 1, variance = "scaled")
  schedule <- schedule_etc(20)
  parts <- summary(mismatch(m, schedule = schedule, model = m))
  path <- path_kl(m, sampler = grid, schedule = schedule)
  expect_equal(parts$estimate[1:2], path$estimate[1:2], tolerance = 1e-6)
})

test_that("what does not fit is an error that names the argument", {
  x <- gaussmix(1, 0, 1)
  expect_mixguide_error(mismatch(1, model = x), "mixture")
  expect_mixguide_error(mismatch(x, model = 1), "model")
  expect_mixguide_error(mismatch(x, model = pair), "model")
  expect_mixguide_error(mismatch(x, schedule = schedule_etc(20), model = function(x, t) 1), "model")
  expect_mixguide_error(mismatch(x, schedule = schedule_ou(), model = x), "times")
  expect_mixguide_error(mismatch(x, schedule = schedule_etc(20), times = c(1, 5), model = x),
                        "times")
  expect_mixguide_error(mismatch(x, schedule = schedule_etc(20), model = x, score_error = 1),
                        "score_error")
  expect_mixguide_error(mismatch(x, schedule = schedule_etc(20), model = x,
                                 score_error = function(x) x),
                        "score_error")
  expect_mixguide_error(mismatch(x, schedule = schedule_etc(20), model = x,
                                 score_error = score_error(model = x)),
                        "score_error")
    expect_mixguide_error(mismatch(pair, first(.3), zero_shot_ccdf()),
                          "method")
  expect_error(mismatch(gaussmix(1, 0, 0), schedule = schedule_ou(), times = c(1, 0), model = x),
               class = "mixguide_error_singular")
})

test_that("the error of a rule covers what more nodes change", {
  M2 <- named_mixture("M2")
  few <- schedule_etc(12)
  one <- gaussmix(1, t(c(0, 0)), 1)
  runs <- list(function(nodes) mismatch(M2, model = one, schedule = few, nodes = nodes),
               function(nodes) mismatch(M2, observation(variables = 1), zero_shot_ddnm(), few,
                                        nodes = nodes),
               function(nodes) mismatch(M2, c(x1 = .8), zero_shot_bo(), few, nodes = nodes))
  for (run in runs) {
    best <- run(40)
    for (nodes in c(10, 15, 20)) {
      rough <- run(nodes)
      expect_true(all(abs(rough$mismatch - best$mismatch) <= rough$mismatch_se + 1e-12))
      parts <- as.data.frame(summary(rough))
      off <- abs(parts$estimate - as.data.frame(summary(best))$estimate)
      expect_true(all(off <= parts$se + 1e-12))
      bias <- parts[parts$quantity == "bias", ]
      expect_true(bias$se > 0 && bias$se < .1 * bias$estimate)
    }
  }
})

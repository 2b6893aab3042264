# The oracle (helper-oracle.R) is slow R on the mixture's weights, means and covariances.

agreement <- function(form, d, K, t, schedule = schedule_ou(), n = 1) {
  plain <- random_mixture(form, d, K)
  m <- plain$mixture
  x <- plain$means[sample.int(K, n, TRUE), , drop = FALSE] * schedule$a(t) +
    matrix(rnorm(n * d, 0, sqrt(1 + schedule$b2(t))), n)
  a <- schedule$a(t)
  b2 <- schedule$b2(t)
  plainly <- function(field) oracle_guided(plain, NULL, 0, a, b2, field)
  guided <- function(field) oracle_guided(plain, "a", 1.7, a, b2, field)
  s <- oracle_rows(plainly(by_gradient), x)
  guided_s <- oracle_rows(guided(by_gradient), x)
  inside <- vapply(unique(plain$class), function(y) {
    apply(x, 1, oracle(plain, a, b2, plain$class == y)$logp)
  }, double(n))
  prior <- tapply(plain$weights, factor(plain$class, unique(plain$class)), sum)
  joint <- matrix(inside, n) + rep(log(prior), each = n)
  truth <- apply(x, 1, oracle(plain, a, b2)$logp)
  c(score = relative_error(score(m, x, t, schedule), s),
    guided = relative_error(score(m, x, t, schedule, guidance("a", 1.7)), guided_s),
    denoise = relative_error(denoise(m, x, t, schedule),
                             if (t == 0) x else (x + b2 * s) / a),
    posterior = relative_error(posterior(m, x, t, schedule), exp(joint - truth)),
    density = relative_error(cbind(dgaussmix(x, diffuse(m, t, schedule), log = TRUE), 1),
                             cbind(truth, 1)),
    jacobian = relative_error(score_jacobian(m, x, t, schedule, guidance("a", 1.7)),
                              oracle_rows(oracle_jacobian(guided(by_formula)), x)))
}

expect_agreement <- function(...) {
  error <- agreement(...)
  label <- paste("largest relative error:", names(which.max(error)), toString(list(...)))
  expect_lt(max(error), 1e-6, label = label)
  expect_lt(max(error[c("posterior", "density")]), 1e-10, label = label)
}

test_that("scores, Jacobians, denoisers and posteriors agree with numerical differentiation", {
  set.seed(101)
  for (form in FORMS) for (d in c(1, 2, 5)) for (K in c(1, 3)) for (t in c(0, .4)) {
    expect_agreement(form, d, K, t, n = 2)
  }
})

test_that("they agree with a hundred components, and in fifty dimensions", {
  skip_on_cran()
  set.seed(102)
  for (form in FORMS) {
    for (d in c(1, 2, 5)) expect_agreement(form, d, 100, .4)
    for (K in c(1, 3)) expect_agreement(form, 50, K, .4)
    expect_agreement(form, 50, 3, 0)
  }
})

test_that("they agree with a hundred components in fifty dimensions", {
  skip_on_cran()
  set.seed(103)
  for (form in FORMS) {
    t <- if (form %in% FORMS[c(1, 3, 5)]) 0 else .4
    plain <- random_mixture(form, 50, 100)
    x <- plain$means[1, , drop = FALSE] + rnorm(50)
    law <- function(field) {
      oracle_guided(plain, "a", 1.7, exp(-t), -expm1(-2 * t), field)
    }
    expect_lt(relative_error(score(plain$mixture, x, t, guidance = guidance("a", 1.7)),
                             oracle_rows(law(by_gradient), x)), 1e-6)
    expect_lt(relative_error(score_jacobian(plain$mixture, x, t, guidance = guidance("a", 1.7)),
                             oracle_rows(oracle_jacobian(law(by_formula)), x)), 1e-6)
  }
})

test_that("they agree under every schedule", {
  set.seed(104)
  schedules <- list(schedule_vp(), schedule_cosine(), schedule_ve(), schedule_subvp(),
                    schedule_flow(), schedule_ddpm(1 - seq(1e-4, .02, length.out = 100)))
  for (schedule in schedules) for (form in c("isotropic", "common full", "full")) {
    expect_agreement(form, 2, 3, .3 * schedule$max, schedule)
  }
})

test_that("a slow formula and the engine agree to the last digits", {
  set.seed(105)
  for (form in FORMS) {
    plain <- random_mixture(form, 3, 5)
    x <- matrix(rnorm(60, 0, 3), 20)
    truth <- oracle_rows(oracle_guided(plain, "b", 3, exp(-.2), -expm1(-.4), by_formula), x)
    expect_lt(relative_error(score(plain$mixture, x, .2, guidance = guidance("b", 3)), truth),
              1e-11)
  }
})

test_that("few components in few dimensions agree, alone and for rules, whatever the classes", {
  set.seed(114)
  a <- exp(-.2)
  b2 <- -expm1(-.4)
  for (K in 1:5) for (d in 1:5) for (classes in 1:3) {
    plain <- random_mixture("common isotropic", d, K, classes)
    x <- matrix(rnorm(11 * d, 0, 3), 11)
    taken <- function(strength, ...) {
      score(plain$mixture, x, .2, guidance = guidance("a", strength, ...))
    }
    truth <- function(strength) {
      oracle_rows(oracle_guided(plain, "a", strength, a, b2, by_formula), x)
    }
    for (strength in c(-1, 0, 3)) {
      expect_lt(relative_error(taken(strength), truth(strength), 1e-14), 1e-11)
    }
    # a rule that returns the vector of one model, or of the other
    of <- function(name) function(t, inner) stats::setNames(list(1), name)
    expect_lt(relative_error(taken(3, rule = of("c")), truth(0), 1e-14), 1e-11)
    expect_lt(relative_error(taken(3, rule = of("u")), truth(-1), 1e-14), 1e-11)
  }
})

test_that("the density is that of mvnfast and of mclust", {
  skip_if_not_installed("mvnfast")
  skip_if_not_installed("mclust")
  set.seed(106)
  for (d in c(1, 2, 5, 50)) for (form in FORMS) {
    plain <- random_mixture(form, d, 3)
    x <- matrix(rnorm(20 * d, 0, 3), 20)
    log_density <- dgaussmix(x, plain$mixture, log = TRUE)
    expect_lt(max(abs(log_density - mvnfast::dmixn(x, plain$means, plain$covs, plain$weights,
                                                   log = TRUE)) / abs(log_density)), 1e-10)
    if (d == 1) {
      sigma <- list(modelName = "V", sigmasq = unlist(plain$covs))
    } else {
      sigma <- array(unlist(plain$covs), c(d, d, 3))
      sigma <- list(modelName = "VVV", sigma = sigma,
                    cholsigma = array(apply(sigma, 3, chol), c(d, d, 3)))
    }
    by_mclust <- mclust::dens(x, sigma$modelName, list(pro = plain$weights, mean = t(plain$means),
                                                      variance = sigma), logarithm = TRUE)
    expect_lt(max(abs(log_density - by_mclust) / abs(log_density)), 1e-10)
  }
})

# ---- Guided scores

test_that("a class of several components has its mixture's score, and strength extrapolates it", {
  set.seed(107)
  plain <- random_mixture("full", 3, 7, classes = 3)
  m <- plain$mixture
  x <- matrix(rnorm(15, 0, 2), 5)
  part <- plain$class == "b"
  alone <- gaussmix(plain$weights[part], plain$means[part, ], plain$covs[part])
  expect_equal(score(m, x, .3, guidance = "b"), score(alone, x, .3), tolerance = 1e-13)
  expect_equal(score(m, x, .3, guidance = guidance("b", -1)), score(m, x, .3), tolerance = 1e-13)
  expect_equal(score(m, x, .3, guidance = guidance("b", 2.5)),
               3.5 * score(alone, x, .3) - 2.5 * score(m, x, .3), tolerance = 1e-12)
  both <- plain$class %in% c("a", "b")
  alone <- gaussmix(plain$weights[both], plain$means[both, ], plain$covs[both])
  expect_equal(score(m, x, .3, guidance = guidance(c("b", "a"), 1)),
               2 * score(alone, x, .3) - score(m, x, .3), tolerance = 1e-12)
  expect_equal(score(m, x, .3, guidance = guidance(c("c", "a", "b"), 50)), score(m, x, .3),
               tolerance = 1e-12)
  expect_equal(score_jacobian(m, x, .3, guidance = guidance("b", 2.5)),
               3.5 * score_jacobian(m, x, .3, guidance = "b") - 2.5 * score_jacobian(m, x, .3),
               tolerance = 1e-11)
  expect_equal(denoise(m, x, .3, guidance = guidance("b", 2.5)),
               3.5 * denoise(m, x, .3, guidance = "b") - 2.5 * denoise(m, x, .3), tolerance = 1e-11)
})

test_that("guidance is the gradient of the log posterior of the class", {
  skip_if_not_installed("numDeriv")
  set.seed(108)
  m <- random_mixture("diagonal", 2, 6, classes = 3)$mixture
  x <- matrix(rnorm(8), 4)
  gain <- score(m, x, .2, guidance = guidance("a", 5)) - score(m, x, .2,
                                                               guidance = guidance("a", 4))
  slope <- oracle_rows(function(z) {
    numDeriv::grad(function(u) log(posterior(m, z + u, .2)[, "a"]), 0 * z, method.args = STEP)
  }, x)
  expect_lt(relative_error(gain, slope), 1e-7)
})

test_that("at strength 1000 the guided score keeps its digits", {
  set.seed(109)
  for (form in FORMS) {
    plain <- random_mixture(form, 2, 4)
    x <- matrix(rnorm(20, 0, 3), 10)
    f <- oracle_guided(plain, "a", 1000, 1, 0, by_formula)
    s <- score(plain$mixture, x, guidance = guidance("a", 1000))
    expect_lt(max(abs(s - oracle_rows(f, x))) / max(abs(s)), 1e-11)
    J <- score_jacobian(plain$mixture, x, guidance = guidance("a", 1000))
    truth <- oracle_rows(oracle_jacobian(f), x)
    expect_lt(relative_error(J, truth), 1e-6)
    # far out, where class and mixture agree, guidance adds nothing
    far <- rbind(1e4 * (plain$means[1, ] - colMeans(plain$means)))
    if (startsWith(form, "common")) {
      direction <- plain$class[which.max(far %*% solve(plain$covs[[1]], t(plain$means)))]
      expect_equal(score(plain$mixture, far, guidance = guidance(direction, 1000)),
                   score(plain$mixture, far), tolerance = 1e-11)
    }
  }
})

# ---- Extremes

test_that("sixty standard deviations out the score is that of the dominating component", {
  set.seed(110)
  for (form in FORMS) for (d in c(1, 2, 5, 50)) {
    plain <- random_mixture(form, d, 3)
    direction <- rnorm(d)
    direction <- direction / sqrt(sum(direction^2))
    for (distance in c(60, 1e3, 1e6)) {
      x <- distance * direction * sqrt(max(vapply(plain$covs, max, 0)))
      logs <- vapply(1:3, function(k) {
        oracle(plain, keep = seq_len(3) == k)$logp(x) + log(plain$weights[k])
      }, 0)
      if (max(sort(logs, TRUE)[2] - max(logs)) > -40) next
      top <- which.max(logs)
      s <- score(plain$mixture, t(x))
      expect_lt(relative_error(s, t(solve(plain$covs[[top]], plain$means[top, ] - x))), 1e-10)
      J <- score_jacobian(plain$mixture, t(x))
      expect_lt(relative_error(matrix(J, 1), t(as.vector(-solve(plain$covs[[top]])))), 1e-9)
      expect_lt(abs(dgaussmix(t(x), plain$mixture, log = TRUE) / logs[top] - 1), 1e-12)
      p <- posterior(plain$mixture, t(x))
      expect_lt(abs(p[, plain$class[top]] - 1), 1e-12)
    }
  }
})

test_that("on the far boundary between components the Jacobian keeps its digits", {
  # means +-1, unit variance, x = 1e5 along the boundary: s = (tanh(x1) - x1, -x2)
  m <- gaussmix(c(.5, .5), rbind(c(-1, 0), c(1, 0)), 1)
  x <- cbind(c(0, .5, -2), c(1e5, -1e7, 1e8))
  expect_lt(relative_error(score(m, x), cbind(tanh(x[, 1]) - x[, 1], -x[, 2])), 1e-15)
  expect_equal(score(m, x)[, 1], tanh(x[, 1]) - x[, 1], tolerance = 1e-8)
  J <- score_jacobian(m, x)
  expect_equal(J[, 1, 1], 1 / cosh(x[, 1])^2 - 1, tolerance = 1e-8)
  expect_equal(J[, 2, 2], rep(-1, 3), tolerance = 1e-15)
  expect_equal(J[, 1, 2], rep(0, 3), tolerance = 1e-8)
})

test_that("weights of 1e-300 count where they should, and zero weights never", {
  m <- gaussmix(c(1, 1e-300), c(0, 1), 1, class = c("a", "b"))
  # equal responsibilities where x - 1/2 = 300 log 10
  x <- 300 * log(10) + .5
  expect_equal(score(m, x)[1], .5 - x, tolerance = 1e-13)
  expect_equal(score(m, x + 50)[1], 1 - (x + 50), tolerance = 1e-13)
  expect_equal(posterior(m, c(x, x + log(3)))[, "b"], c(.5, .75), tolerance = 1e-11)
  expect_equal(posterior(m, .5)[, "b"], c(b = 1e-300), tolerance = 1e-11, ignore_attr = TRUE)
  expect_equal(score(m, 3, guidance = "b")[1], -2, tolerance = 1e-15)
  expect_equal(score(m, 3, guidance = guidance("b", 1))[1], -1, tolerance = 1e-15)
  m <- gaussmix(c(.3, 0, .7, 0), c(0, 1, 5, 1e300), c(1, 2, 3, 1e-300), c("a", "z", "b", "z"))
  without <- gaussmix(c(.3, .7), c(0, 5), c(1, 3), c("a", "b"))
  x <- c(-10, 0, 1, 2, 1e3)
  expect_identical(score(m, x), score(without, x))
  expect_identical(score(m, x, .1, guidance = guidance("a", 3)),
                   score(without, x, .1, guidance = guidance("a", 3)))
  expect_identical(score_jacobian(m, x), score_jacobian(without, x))
  p <- posterior(without, x)
  expect_identical(posterior(m, x), cbind(a = p[, "a"], z = 0, b = p[, "b"]))
})

test_that("point masses have a score as soon as there is noise", {
  m <- gaussmix(c(.25, .75), rbind(c(-1, 0), c(2, 1)), 0, class = c("a", "b"))
  plain <- list(weights = c(.25, .75), means = rbind(c(-1, 0), c(2, 1)),
                covs = rep(list(diag(0, 2)), 2), class = c("a", "b"))
  x <- matrix(rnorm(10, 0, 2), 5)
  for (t in c(1e-10, 1e-3, 1)) {
    f <- oracle(plain, exp(-t), -expm1(-2 * t))$score
    expect_lt(relative_error(score(m, x, t), oracle_rows(f, x), rounding(plain, x, t)), 1e-9)
  }
  expect_error(score(m, x), class = "mixguide_error_singular")
  expect_error(posterior(m, x), class = "mixguide_error_singular")
  expect_error(score_jacobian(m, x), class = "mixguide_error_singular")
  # the denoiser of point masses is a weighted mean of them
  r <- posterior(m, x, .5)
  expect_equal(denoise(m, x, .5), unname(r %*% rbind(c(-1, 0), c(2, 1))), tolerance = 1e-12)
  # a singular covariance is singular in one direction only
  S <- tcrossprod(c(1, 2))
  m <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1, 1)), S)
  expect_error(score(m, x), class = "mixguide_error_singular")
  t <- 1e-6
  plain <- list(weights = c(.5, .5), means = rbind(c(0, 0), c(1, 1)), covs = list(S, S))
  expect_lt(relative_error(score(m, x, t),
                           oracle_rows(oracle(plain, exp(-t), -expm1(-2 * t))$score, x)), 1e-6)
})

test_that("nearly singular covariances are right", {
  set.seed(111)
  # diagonal forms are exact in the spectrum
  narrow <- list(weights = c(.4, .6), means = rbind(c(0, 0), c(1, 2)),
                 covs = list(diag(c(1e-12, 1)), diag(c(1, 1e-12))))
  m <- gaussmix(narrow$weights, narrow$means, narrow$covs)
  x <- rbind(c(1e-6, 1), c(1, 2 + 2e-6), c(.5, .5), c(0, 2))
  expect_lt(relative_error(score(m, x), oracle_rows(oracle(narrow)$score, x), rounding(narrow, x)),
            1e-12)
  # a full covariance that is small as a whole
  plain <- random_mixture("full", 3, 3)
  plain$covs <- lapply(plain$covs, `*`, 1e-12)
  m <- gaussmix(plain$weights, plain$means, plain$covs)
  x <- plain$means + 1e-6 * rnorm(9)
  expect_lt(relative_error(score(m, x), oracle_rows(oracle(plain)$score, x), rounding(plain, x)),
            1e-11)
  # a full covariance of condition 1e12: its entries determine some four digits
  V <- qr.Q(qr(matrix(rnorm(9), 3)))
  S <- V %*% diag(c(1, 1, 1e-12)) %*% t(V)
  m <- gaussmix(c(.5, .5), rbind(0, c(3, 0, 0)), (S + t(S)) / 2)
  s <- score(m, t(1e-6 * V[, 3]))
  expect_equal(sum(s * V[, 3]), -1e6, tolerance = 1e-3)
  expect_lt(max(abs(s %*% V[, 1:2])), 1e-6)
})

test_that("times near zero are right", {
  m <- gaussmix(c(.5, .5), c(-1, 1), c(1e-10, 1))
  plain <- list(weights = c(.5, .5), means = cbind(c(-1, 1)), covs = list(diag(1e-10, 1), diag(1)))
  x <- c(-1 + 1e-5, -1, 0, 1)
  for (t in c(1e-16, 1e-10, 1e-8)) {
    truth <- oracle_rows(oracle(plain, exp(-t), -expm1(-2 * t))$score, cbind(x))
    expect_lt(relative_error(score(m, x, t), truth, rounding(plain, x, t)), 1e-9)
  }
  expect_equal(denoise(m, x, 1e-10), cbind(x), tolerance = 1e-4, ignore_attr = TRUE)
  expect_identical(denoise(m, x, 0)[, 1], x)
})

test_that("points that are infinite or out of reach do not give NaN in silence", {
  m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(1, 1)), .5)
  expect_mixguide_error(score(m, cbind(Inf, 0)), "x")
  expect_mixguide_error(score_jacobian(m, cbind(0, -Inf)), "x")
  expect_mixguide_error(denoise(m, cbind(Inf, 0), .1), "x")
  expect_mixguide_error(posterior(m, cbind(Inf, 0)), "x")
  # either an error that names x, or a number
  for (far in c(1e100, 1e150, 1e160, 1e300)) {
    s <- tryCatch(score(m, cbind(far, 0)), mixguide_error = function(e) 0)
    expect_false(anyNA(s))
    p <- tryCatch(posterior(m, cbind(far, 0)), mixguide_error = function(e) 0)
    expect_false(anyNA(p))
  }
})

# ---- Invariances and closed forms

test_that("one component has its closed form", {
  set.seed(112)
  S <- crossprod(matrix(rnorm(9), 3)) + diag(3)
  m <- gaussmix(1, c(1, 2, 3), S)
  x <- matrix(rnorm(12), 4)
  at <- exp(-2 * .3) * S + diag(-expm1(-.6), 3)
  expect_equal(score(m, x, .3), t(solve(at, exp(-.3) * 1:3 - t(x))), tolerance = 1e-13)
  expect_equal(score_jacobian(m, x, .3)[2, , ], -solve(at), tolerance = 1e-13)
  expect_identical(posterior(m, x), matrix(1, 4, 1, dimnames = list(NULL, "1")))
})

test_that("translation, also by 1e6, moves the score along", {
  set.seed(113)
  for (form in FORMS) {
    plain <- random_mixture(form, 2, 3)
    x <- matrix(rnorm(10), 5)
    shift <- c(1e6, -2^20)
    moved <- gaussmix(plain$weights, sweep(plain$means, 2, shift, `+`), plain$covs, plain$class)
    expect_equal(score(moved, sweep(x, 2, shift, `+`), guidance = guidance("a", 2)),
                 score(plain$mixture, x, guidance = guidance("a", 2)), tolerance = 1e-8)
    expect_equal(score(moved, sweep(x, 2, exp(-.5) * shift, `+`), .5),
                 score(plain$mixture, x, .5), tolerance = 1e-8)
    expect_equal(score_jacobian(moved, sweep(x, 2, shift, `+`)), score_jacobian(plain$mixture, x),
                 tolerance = 1e-8)
  }
})

test_that("rotation and the order of the components do not matter", {
  set.seed(114)
  for (form in FORMS) {
    plain <- random_mixture(form, 3, 4)
    V <- qr.Q(qr(matrix(rnorm(9), 3)))
    x <- matrix(rnorm(12), 4)
    turned <- gaussmix(plain$weights, plain$means %*% V,
                       lapply(plain$covs, function(S) t(V) %*% S %*% V), plain$class)
    expect_equal(score(turned, x %*% V, .1, guidance = guidance("a", 2)),
                 score(plain$mixture, x, .1, guidance = guidance("a", 2)) %*% V, tolerance = 1e-12)
    expect_equal(score_jacobian(turned, x %*% V, .1)[3, , ],
                 t(V) %*% score_jacobian(plain$mixture, x, .1)[3, , ] %*% V, tolerance = 1e-12)
    order <- c(3, 1, 4, 2)
    mixed <- gaussmix(plain$weights[order], plain$means[order, ], plain$covs[order],
                      plain$class[order])
    expect_equal(score(mixed, x, guidance = guidance("b", 2)),
                 score(plain$mixture, x, guidance = guidance("b", 2)), tolerance = 1e-13)
    expect_equal(posterior(mixed, x)[, c("a", "b")], posterior(plain$mixture, x), tolerance = 1e-13)
  }
})

test_that("the Jacobian is symmetric to the last bit, and far in time the score is that of noise", {
  set.seed(115)
  m <- random_mixture("full", 4, 3)$mixture
  x <- matrix(rnorm(12), 3)
  J <- score_jacobian(m, x, .1, guidance = guidance("a", 3))
  expect_identical(J, aperm(J, c(1, 3, 2)))
  expect_equal(score(m, x, 40), -x, tolerance = 1e-14)
})

test_that("exp and the logarithm of the engine are right to the last digits", {
  # at the mean of one component the score is that of the other, (m, m), times its responsibility;
  # the squared length of m under its covariance, halved, is m^2
  S <- matrix(c(2, 1, 1, 2), 2)
  other <- matrix(c(2, -1, -1, 2), 2)
  for (m in seq(.01, 26, .41)) for (w in c(1, 1e3, 1e-3)) {
    mixture <- gaussmix(c(1, w), rbind(c(0, 0), c(m, m)), list(S, other))
    odds <- log(mixture$weights[2]) - log(mixture$weights[1]) - m^2
    expect_lt(max(abs(score(mixture, c(0, 0)) / (m * stats::plogis(odds)) - 1)),
              2e-15 * (4 + abs(odds)))
  }
  # log p at 0 where N(0; 0, v) = 1: the logarithm of 1 + exp(-m^2 / 2v) less log 2
  v <- 1 / (2 * pi)
  mean <- seq(0, 2, .01)
  found <- vapply(mean, function(m) dgaussmix(0, gaussmix(c(.5, .5), c(0, m), v), log = TRUE), 0)
  expect_equal(found, log1p(exp(-mean^2 / (2 * v))) - log(2), tolerance = 1e-15)
})

# ---- Shapes and arguments

test_that("no points give an empty result of the right shape", {
  for (form in c("isotropic", "common full", "full")) {
    m <- random_mixture(form, 2, 3)$mixture
    none <- matrix(0, 0, 2)
    expect_identical(dim(score(m, none)), c(0L, 2L))
    expect_identical(dim(score(m, none, .1, guidance = guidance("a", 2))), c(0L, 2L))
    expect_identical(dim(denoise(m, none, .1)), c(0L, 2L))
    expect_identical(dim(denoise(m, none, 0)), c(0L, 2L))
    expect_identical(dim(score_jacobian(m, none)), c(0L, 2L, 2L))
    expect_identical(dimnames(posterior(m, none)), list(NULL, c("a", "b")))
    expect_identical(nrow(posterior(m, none)), 0L)
    expect_identical(dgaussmix(none, m), double())
  }
  expect_identical(dim(score(gaussmix(1, 0, 1), double())), c(0L, 1L))
})

test_that("names of rows, variables and classes are kept", {
  m <- gaussmix(c(.5, .5), cbind(u = 0:1, v = 1:2), list(1, matrix(c(2, 1, 1, 2), 2)), c("p", "q"))
  x <- data.frame(v = c(1, 2), extra = "z", u = 3:4, row.names = c("first", "second"))
  s <- score(m, x)
  expect_identical(dimnames(s), list(c("first", "second"), c("u", "v")))
  expect_equal(s, score(m, cbind(3:4, 1:2)), ignore_attr = TRUE)
  expect_identical(dimnames(denoise(m, x, .1)), dimnames(s))
  expect_identical(dimnames(score_jacobian(m, x)), c(dimnames(s), list(c("u", "v"))))
  expect_identical(dimnames(posterior(m, x)), list(c("first", "second"), c("p", "q")))
  expect_identical(dimnames(score(m, x[1, ])), list("first", c("u", "v")))
  expect_identical(score(m, c(1, 2)), score(m, rbind(c(1, 2))))
})

test_that("bad arguments are answered by name", {
  m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(1, 1)), .5, class = c("a", "b"))
  x <- cbind(0, 0)
  for (f in list(score, score_jacobian, denoise, posterior)) {
    expect_mixguide_error(f(1, x, .1), "mixture")
    expect_mixguide_error(f(m, cbind(NA, 0), .1), "x")
    expect_mixguide_error(f(m, cbind(NaN, 0), .1), "x")
    expect_mixguide_error(f(m, "a", .1), "x")
    expect_mixguide_error(f(m, NULL, .1), "x")
    expect_mixguide_error(f(m, list(1, 2), .1), "x")
    expect_mixguide_error(f(m, matrix(0, 2, 3), .1), "x")
    expect_mixguide_error(f(m, 1:3, .1), "x")
    expect_mixguide_error(f(m, array(0, c(1, 2, 1)), .1), "x")
    expect_mixguide_error(f(m, data.frame(u = "1", v = 2), .1), "x")
    expect_mixguide_error(f(m, x, -1), "t")
    expect_mixguide_error(f(m, x, Inf), "t")
    expect_mixguide_error(f(m, x, NA), "t")
    expect_mixguide_error(f(m, x, "0"), "t")
    expect_mixguide_error(f(m, x, c(0, 1)), "t")
    expect_mixguide_error(f(m, x, NULL), "t")
    expect_mixguide_error(f(m, x, 1.5, schedule_vp()), "t")
    expect_mixguide_error(f(m, x, .1, "ou"), "schedule")
  }
  for (f in list(score, score_jacobian, denoise)) {
    expect_mixguide_error(f(m, x, .1, guidance = "c"), "guidance")
    expect_mixguide_error(f(m, x, .1, guidance = NA), "guidance")
    expect_mixguide_error(f(m, x, .1, guidance = list("a")), "guidance")
    for (bad in list(NaN, Inf, "1", 1:2)) {
      expect_mixguide_error(f(m, x, .1, guidance = guidance("a", bad)), "strength")
    }
  }
  # if the data are forgotten, the posterior is the same at every point
  expect_equal(denoise(m, x, 1, schedule_flow()),
               unname(matrix(mean(m), nrow(rbind(x)), length(mean(m)), byrow = TRUE)))
})

# ---- The denoised point and the noise, late times

# sum_k rho_k m_k, m_k = mu_k + a S_k P_k (x - a mu_k), and its derivative, at one point, for
# coefficients of several models (rows of log-weights).
oracle_denoised <- function(plain, models, coef, a, b2) {
  d <- ncol(plain$means)
  P <- lapply(plain$covs, function(S) solve(a^2 * S + diag(b2, d)))
  constant <- vapply(P, function(p) sum(log(diag(chol(p)))), 0)
  function(x) {
    dx <- x - a * t(plain$means)
    m <- vapply(seq_along(P), function(k) plain$means[k, ] + a * plain$covs[[k]] %*% P[[k]] %*%
                  dx[, k], double(d))
    m <- matrix(m, d)
    logit <- constant - vapply(seq_along(P), function(k) sum(dx[, k] * (P[[k]] %*% dx[, k])), 0) / 2
    point <- (1 - sum(coef)) * if (sum(coef) == 1) 0 * x else x / a
    slope <- (if (sum(coef) == 1) 0 else (1 - sum(coef)) / a) * diag(d)
    for (j in seq_along(coef)) {
      l <- logit + models[j, ]
      r <- exp(l - max(l)) / sum(exp(l - max(l)))
      centre <- drop(m %*% r)
      point <- point + coef[j] * centre
      for (k in which(r > 0)) {
        slope <- slope + coef[j] * r[k] *
          (a / b2 * tcrossprod(m[, k] - centre) + a * plain$covs[[k]] %*% P[[k]])
      }
    }
    list(point = point, slope = slope)
  }
}

test_that("the denoised point and the noise are right for every form, at every a", {
  set.seed(118)
  for (form in FORMS) {
    for (size in list(c(1, 3), c(2, 4), c(3, 5), c(2, 40))) {
      d <- size[1]
      plain <- random_mixture(form, d, size[2])
      m <- plain$mixture
      models <- rbind(log_weights(m, m$class == "a"), log_weights(m))
      x <- matrix(rnorm(4 * d, 0, 2), 4)
      for (a in c(.9, .1, 1e-3, 1e-20, 0)) {
        b2 <- 1 - a^2
        for (coef in list(c(2.5, -1.5), c(0, 1), c(0, .7))) {
          if (a == 0 && sum(coef) != 1) next
          f <- oracle_denoised(plain, models, coef, a, b2)
          truth <- apply(x, 1, f)
          point <- vapply(truth, function(at) at$point, numeric(d))
          at <- function(what, want) core_eval(m, x, a, b2, models, coef, what, want)
          expect_lt(relative_error(at("score", "denoised"), t(matrix(point, d))), 1e-12)
          slope <- t(vapply(truth, function(at) c(at$slope), numeric(d^2)))
          J <- matrix(at("jacobian", "denoised"), 4)
          expect_lte(max(abs(J - matrix(slope, 4))), 1e-11 * max(abs(slope)))
          div <- at("divergence", "denoised")
          traces <- matrix(slope, 4)[, seq(1, d^2, d + 1), drop = FALSE]
          expect_lte(max(abs(div - rowSums(traces))), 1e-11 * max(abs(traces)))
          s <- at("score", "score")
          expect_equal(at("score", "noise"), -sqrt(b2) * s, tolerance = 1e-13)
          expect_equal(at("jacobian", "noise"), -sqrt(b2) * at("jacobian", "score"),
                       tolerance = 1e-11)
          if (a > .05) expect_equal(at("score", "denoised"), (x + b2 * s) / a, tolerance = 1e-11)
        }
      }
    }
  }
})

test_that("denoise() keeps its digits at late times", {
  m <- gaussmix(c(.3, .7), c(-1, 2), c(.25, .5))
  expect_equal(vapply(c(36, 40, 300, 800), function(t) drop(denoise(m, 1.3, t)), 0), rep(1.1, 4),
               tolerance = 1e-13)
  # guidance with a power has a denoised point unless the data are forgotten
  aim <- guidance("1", 2, power = .5)
  expect_equal(denoise(m, 1.3, 1, guidance = aim),
               (1.3 + (1 - exp(-2)) * score(m, 1.3, 1, guidance = aim)) / exp(-1),
               tolerance = 1e-12)
  expect_mixguide_error(denoise(m, 1.3, 1, schedule_flow(), aim), "t")
})

# ---- Components and points far away

test_that("components far apart are as right as any", {
  set.seed(119)
  for (form in FORMS) {
    for (K in c(3, 45)) {
      d <- sample(3, 1)
      plain <- random_mixture(form, d, K)
      # a common full covariance is rotated for a score only if no digits are lost
      plain$means <- plain$means * 10^runif(K * d, 0, 9)
      plain$mixture <- gaussmix(plain$weights, plain$means, plain$covs, plain$class)
      near <- sample(K, 3)
      x <- plain$means[near, , drop = FALSE] + rnorm(3 * d)
      f <- oracle(plain)
      expect_equal(dgaussmix(x, plain$mixture, log = TRUE), apply(x, 1, f$logp), tolerance = 1e-10)
      expect_lt(relative_error(score(plain$mixture, x), oracle_rows(f$score, x)), 1e-9)
      guided <- oracle_guided(plain, "a", 2, 1, 0, function(law) law$score)
      x <- plain$means[which(plain$class == "a")[1:2], , drop = FALSE] + rnorm(2 * d)
      expect_lt(relative_error(score(plain$mixture, x, guidance = guidance("a", 2)),
                               oracle_rows(guided, x)), 1e-9)
      J <- matrix(score_jacobian(plain$mixture, x), 2)
      truth <- apply(x, 1, function(x) {
        g <- mapply(function(S, k) solve(S, plain$means[k, ] - x), plain$covs, seq_len(K))
        g <- matrix(g, d)
        one <- function(k) oracle(plain, keep = seq_len(K) == k)$logp(x)
        r <- plain$weights * exp(vapply(seq_len(K), one, 0) - f$logp(x))
        at <- g - drop(g %*% r)
        at %*% (r * t(at)) - Reduce(`+`, Map(function(S, r) r * solve(S), plain$covs, r))
      })
      expect_lt(max(abs(t(J) - matrix(truth, ncol = 2))), 1e-9 * max(abs(truth)))
    }
  }
  # a missing-value code among the data
  expect_equal(dgaussmix(.05, as_gaussmix(c(0, 1, 3, 999999999), bandwidth = .1), log = TRUE),
               log(.25) + dnorm(.05, 0, .1, log = TRUE), tolerance = 1e-14)
  # two components overlap, one is far off
  three <- gaussmix(c(.3, .3, .4), c(1e7, 0, 1), 1, class = c("far", "a", "b"))
  expect_equal(posterior(three, .2)[, "a"], c(a = 1 / (1 + 4 / 3 * exp(.2 - .5))),
               tolerance = 1e-13)
})

test_that("of points far out the posterior is right, or there is an error", {
  set.seed(120)
  lost <- 0
  for (i in 1:150) {
    d <- sample(3, 1)
    plain <- random_mixture(sample(FORMS, 1), d, 3)
    m <- plain$mixture
    x <- rnorm(d) * 10^runif(1, 4, 17)
    p <- tryCatch(posterior(m, t(x)), mixguide_error_far = function(e) NULL)
    if (is.null(p)) {
      lost <- lost + 1
      next
    }
    # logits relative to the first, in units of |x|: the differences are of order 1 and 1/|x|
    unit <- max(abs(x))
    P <- lapply(plain$covs, solve)
    w <- log(plain$weights) + vapply(P, function(p) sum(log(diag(chol(p)))), 0)
    gap <- vapply(1:3, function(k) {
      square <- if (identical(plain$covs[[k]], plain$covs[[1]])) 0 else {
        sum(x / unit * ((P[[k]] - P[[1]]) %*% (x / unit)))
      }
      shift <- P[[k]] %*% plain$means[k, ] - P[[1]] %*% plain$means[1, ]
      unit * (-square / 2 * unit + sum(x / unit * shift)) + w[k] - w[1] -
        (sum(plain$means[k, ] * (P[[k]] %*% plain$means[k, ])) -
           sum(plain$means[1, ] * (P[[1]] %*% plain$means[1, ]))) / 2
    }, 0)
    r <- exp(gap - max(gap)) / sum(exp(gap - max(gap)))
    expect_equal(p[, "a"], sum(r[plain$class == "a"]), tolerance = 1e-5, ignore_attr = TRUE)
  }
  expect_lt(lost, 10)
  m <- gaussmix(c(.3, .7), c(-1, 1), 1, class = c("a", "b"))
  expect_identical(posterior(m, c(-1e17, 1e17))[, "a"], c(1, 0))
  three <- gaussmix(c(.3, .3, .4), c(-1, 1, 0), c(1, 1, .25), class = c("a", "b", "c"))
  expect_identical(posterior(three, c(-1e17, 1e17))[, "a"], c(1, 0))
  # two components tie, up to rounding, as the widest in this direction
  tied <- gaussmix(c(.5, .5), rbind(c(0, 1e-6), 0), list(c(1, 4), c(4, 1)))
  for (f in list(score, posterior, score_jacobian)) {
    expect_error(f(tied, c(1e10, 1e10)), class = "mixguide_error_far")
  }
  for (f in list(score, posterior, score_jacobian, function(m, x) denoise(m, x, 1),
                 function(m, x) dgaussmix(x, m, log = TRUE))) {
    expect_error(f(three, 2e150), class = "mixguide_error_far")
  }
  expect_identical(dgaussmix(c(2e150, 1e300), m), c(0, 0))
  wide <- gaussmix(c(.5, .5), c(0, 1e100), 1e200, class = c("a", "b"))
  expect_equal(posterior(wide, 1e100)[, "a"], c(a = 1 / (1 + exp(.5))), tolerance = 1e-13)
})

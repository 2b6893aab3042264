# Zero-shot methods for one evaluation or one step, against their formulas in the coordinates of the
# data, by plain linear algebra.

pinv <- function(H) {
  s <- svd(H)
  s$v %*% (t(s$u) / s$d)
}

case <- function(d = 3, p = 2, noise = "variance", seed = 1) {
  set.seed(seed)
  plain <- random_mixture("full", d, 3)
  H <- matrix(rnorm(p * d), p)
  R <- switch(noise, variance = diag(.2, p), none = diag(0, p),
              covariance = crossprod(matrix(rnorm(p * p), p)) / 4 + diag(.1, p))
  list(m = plain$mixture, H = H, R = R, y = rnorm(p), x = matrix(rnorm(5 * d, 0, 1.5), 5),
       plus = pinv(H), P = pinv(H) %*% H, N = diag(d) - pinv(H) %*% H)
}
seen <- function(case, noise = case$R) {
  observation(case$y, case$H, if (all(noise == diag(noise[1], nrow(noise)))) noise[1] else noise)
}
by_row <- function(x, f) t(vapply(seq_len(nrow(x)), f, double(ncol(x))))

etc <- schedule_etc(30)
alpha_of <- function(t) (etc$a(t) / etc$a(t - 1))^2

test_that("the class N s + f has the f of its formulas, for any noise", {
  for (noise in c("variance", "covariance", "none")) {
    o <- case(noise = noise)
    t <- 12
    a <- etc$a(t)
    v <- etc$b2(t)
    s <- score(o$m, o$x, t, etc)
    gap <- a * rep(1, 5) %*% t(o$plus %*% o$y) - o$x %*% o$P
    ddnm <- s %*% o$N + gap / v
    expect_equal(score(o$m, o$x, t, etc, observation = seen(o), method = zero_shot_ddnm()), ddnm,
                 tolerance = 1e-12)
    Q <- solve(v * diag(3) + a^2 * o$plus %*% o$R %*% t(o$plus)) %*% o$P
    bo <- s %*% o$N + gap %*% t(Q)
    expect_equal(score(o$m, o$x, t, etc, observation = seen(o), method = zero_shot_bo()), bo,
                 tolerance = 1e-12)
    if (noise == "none") expect_equal(bo, ddnm, tolerance = 1e-12)
  }
})

test_that("DDNM's own algorithm is the same step to 1e-12", {
  o <- case(noise = "none")
  t <- 9
  A <- etc$a(t)^2
  A_next <- etc$a(t - 1)^2
  alpha <- A / A_next
  s <- score(o$m, o$x, t, etc)
  x0 <- (o$x + (1 - A) * s) / sqrt(A)
  x0 <- rep(1, 5) %*% t(o$plus %*% o$y) + x0 %*% o$N
  mean <- (sqrt(A_next) * (1 - alpha) * x0 + sqrt(alpha) * (1 - A_next) * o$x) / (1 - A)
  g <- score(o$m, o$x, t, etc, observation = seen(o), method = zero_shot_ddnm())
  expect_lt(max(abs(mean - (o$x + (1 - alpha) * g) / sqrt(alpha))), 1e-12)
})

test_that("PiGDM and TMPD guide as their formulas say", {
  for (noise in c("variance", "covariance", "none")) {
    o <- case(noise = noise, seed = 2)
    t <- 14
    a <- etc$a(t)
    v <- etc$b2(t)
    s <- score(o$m, o$x, t, etc)
    J <- score_jacobian(o$m, o$x, t, etc)
    x0 <- (o$x + v * s) / a
    guided <- function(spread) {
      by_row(o$x, function(i) {
        Ji <- (diag(3) + v * J[i, , ]) / a
        S <- o$H %*% spread(Ji) %*% t(o$H) + o$R
        s[i, ] + drop(t(Ji) %*% t(o$H) %*% solve(S, o$y - o$H %*% x0[i, ]))
      })
    }
    score_of <- function(method) score(o$m, o$x, t, etc, observation = seen(o), method = method)
    expect_equal(score_of(zero_shot_pigdm()), guided(function(J) v * diag(3)), tolerance = 1e-10)
    expect_equal(score_of(zero_shot_pigdm(4)), guided(function(J) v * 4 / (v + a^2 * 4) * diag(3)),
                 tolerance = 1e-10)
    expect_equal(score_of(zero_shot_pigdm(Inf)), guided(function(J) v / a^2 * diag(3)),
                 tolerance = 1e-10)
    expect_equal(score_of(zero_shot_tmpd()), guided(function(J) v / a * J), tolerance = 1e-9)
  }
})

# One step of the DDPM sampler from t = 10 to 9 by a method, from points x. The noise is in the
# coordinates of the data. Returns x' and the noises.
one_step <- function(o, method, noises, noise = o$R, variance = "scaled") {
  ob <- seen(o, noise)
  frame <- zero_shot_frame(o$m, ob, method)
  times <- c(10, 9)
  sampler <- sampler_ddpm(grid = times, variance = variance)
  steps <- zero_shot_program(method, frame, sampler, times, etc)
  program <- compile_program(steps, times, 3)
  expect_identical(program$noises, as.integer(noises))
  z <- array(rnorm(15 * noises), c(5, 3, noises))
  inner <- turned_mixture(o$m, frame)
  levels <- c(program_levels(program, etc), list(coef = rep(1, length(program$level_times))))
  complete <- t(frame$back(diag(frame$d)))
  run <- core_run(core_pool(inner, rotate = FALSE), rbind(log_weights(inner)), levels, program, 5,
                  start = o$x %*% complete, noise = each_slice(z, `%*%`, complete))
  list(x = tcrossprod(run$output, complete), z = z)
}

step_case <- function(...) {
  o <- case(...)
  o$a <- etc$a(10)
  o$a1 <- etc$a(9)
  o$v <- etc$b2(10)
  o$v1 <- etc$b2(9)
  o$alpha <- (o$a / o$a1)^2
  o$s <- score(o$m, o$x, 10, etc)
  o$x0 <- (o$x + o$v * o$s) / o$a
  o$yb <- rep(1, 5) %*% t(o$plus %*% o$y)
  # the unconditional step with noise z
  o$plain <- function(z) {
    (o$x + (1 - o$alpha) * o$s) / sqrt(o$alpha) + sqrt((1 - o$alpha) / o$alpha) * z
  }
  J <- score_jacobian(o$m, o$x, 10, etc)
  o$J <- function(i) (diag(3) + o$v * J[i, , ]) / o$a
  o
}

test_that("CCDF and RePaint replace the range by the diffused observation", {
  o <- step_case(seed = 3)
  put <- function(x, z) x %*% o$N + (o$a1 * o$yb + sqrt(o$v1) * z) %*% o$P
  got <- one_step(o, zero_shot_ccdf(), 2)
  expect_equal(got$x, put(o$plain(got$z[, , 1]), got$z[, , 2]), tolerance = 1e-12)
  got <- one_step(o, zero_shot_repaint(1), 2)
  expect_equal(got$x, put(o$plain(got$z[, , 1]), got$z[, , 2]), tolerance = 1e-12)
  got <- one_step(o, zero_shot_repaint(2), 5)
  once <- put(o$plain(got$z[, , 1]), got$z[, , 2])
  again <- sqrt(o$alpha) * once + sqrt(1 - o$alpha) * got$z[, , 3]
  mean <- (again + (1 - o$alpha) * score(o$m, again, 10, etc)) / sqrt(o$alpha)
  twice <- put(mean + sqrt((1 - o$alpha) / o$alpha) * got$z[, , 4], got$z[, , 5])
  expect_equal(got$x, twice, tolerance = 1e-11)
})

test_that("DPS and MCG add the gradient of the residual's norm", {
  for (noise in c("variance", "covariance")) {
    o <- step_case(seed = 4, noise = noise)
    push <- by_row(o$x, function(i) {
      rest <- drop(o$y - o$H %*% o$x0[i, ])
      drop(t(o$J(i)) %*% t(o$H) %*% rest) / sqrt(sum(rest^2))
    })
    got <- one_step(o, zero_shot_dps(.7), 1)
    expect_equal(got$x, o$plain(got$z[, , 1]) + .7 * push, tolerance = 1e-11)
    got <- one_step(o, zero_shot_mcg(.7), 2)
    moved <- o$plain(got$z[, , 1]) + .7 * push
    expect_equal(got$x, moved %*% o$N + (o$a1 * o$yb + sqrt(o$v1) * got$z[, , 2]) %*% o$P,
                 tolerance = 1e-11)
  }
})

test_that("DDNM+ and DDRM take each singular vector by its noise", {
  # singular values 2 and .1: one coordinate is known better than the step's noise, one worse
  o <- step_case(seed = 5)
  V <- qr.Q(qr(matrix(rnorm(9), 3)))
  o$H <- diag(c(2, .1)) %*% t(V[, 1:2])
  o$R <- diag(.04, 2)
  s <- c(2, .1, 0)
  sig <- .2
  yb <- rep(1, 5) %*% t(c(o$y / s[1:2], 0))
  x <- o$x %*% V
  x0 <- o$x0 %*% V
  z <- function(got) got$z[, , 1] %*% V
  got <- one_step(o, zero_shot_ddnm_plus(), 1)
  k <- o$a1 * (1 - o$alpha) / o$v
  s2 <- (1 - o$alpha) / o$alpha
  expect_true(sqrt(s2) > k * sig / s[1] && sqrt(s2) < k * sig / s[2])
  l <- c(1, sqrt(s2) * s[2] / (k * sig), 0)
  gam <- s2 - c(k * sig / s[1], sqrt(s2), 0)^2
  x0l <- x0 - (x0 - yb) * rep(l, each = 5)
  mean <- k * x0l + sqrt(o$alpha) * o$v1 / o$v * x
  expect_equal(got$x %*% V, mean + z(got) * rep(sqrt(pmax(gam, 0)), each = 5), tolerance = 1e-11)

  eta <- .85
  for (eta_b in c(1, .6)) {
    got <- one_step(o, zero_shot_ddrm(eta, eta_b), 1)
    now <- sqrt(o$v) / o$a
    then <- sqrt(o$v1) / o$a1
    expect_true(then >= sig / s[1] && then < sig / s[2])
    xb <- x / o$a
    n <- z(got)
    kept <- sqrt(1 - eta^2) * then
    to <- cbind(
      (1 - eta_b) * x0[, 1] + eta_b * yb[, 1] + sqrt(then^2 - eta_b^2 * sig^2 / s[1]^2) * n[, 1],
      x0[, 2] + kept * (yb[, 2] - x0[, 2]) / (sig / s[2]) + eta * then * n[, 2],
      x0[, 3] + kept * (xb[, 3] - x0[, 3]) / now + eta * then * n[, 3]
    )
    expect_equal(got$x %*% V, o$a1 * to, tolerance = 1e-11)
  }
})

test_that("DiffPIR solves for y near the denoised point, and adds noise anew in part", {
  for (noise in c("variance", "covariance", "none")) {
    o <- step_case(seed = 6, noise = noise)
    for (lambda in c(0, 1, 7)) {
      for (zeta in c(0, .3, 1)) {
        got <- one_step(o, zero_shot_diffpir(lambda, zeta), 1)
        near <- by_row(o$x0, function(i) {
          rho <- lambda * o$a^2 / o$v
          if (noise == "none" || lambda == 0) {
            # the nearest of all points that satisfy y
            return(drop(o$x0[i, ] + o$plus %*% (o$y - o$H %*% o$x0[i, ])))
          }
          solve(t(o$H) %*% solve(o$R, o$H) + rho * diag(3),
                t(o$H) %*% solve(o$R, o$y) + rho * o$x0[i, ])
        })
        e <- (o$x - o$a * near) / sqrt(o$v)
        expect_equal(got$x, o$a1 * near + sqrt(o$v1) * (sqrt(1 - zeta) * e +
                                                          sqrt(zeta) * got$z[, , 1]),
                     tolerance = 1e-10)
      }
    }
  }
  # the authors' rho for noise of standard deviation sigma: the normal equations of |y - H x|^2 +
  # lambda sigma^2/q^2 |x - x0|^2
  o <- step_case(seed = 7)
  rho <- 2 * .2 / (o$v / o$a^2)
  near <- by_row(o$x0, function(i) {
    solve(crossprod(o$H) + rho * diag(3), crossprod(o$H, o$y) + rho * o$x0[i, ])
  })
  got <- one_step(o, zero_shot_diffpir(2, 1), 1)
  expect_equal(got$x, o$a1 * near + sqrt(o$v1) * got$z[, , 1], tolerance = 1e-10)
})

test_that("on one Gaussian DiffPIR has the law of its recursion, and its draws have it", {
  S <- matrix(c(1, .7, .7, 2), 2)
  m <- gaussmix(1, t(c(.5, 0)), S)
  noise <- .3
  y <- observation(1.2, variables = 1, noise = noise)
  lambda <- 1.5
  zeta <- .4
  mean <- c(0, 0)
  V <- diag(2)
  for (t in 30:2) {
    a <- etc$a(t)
    v <- etc$b2(t)
    a1 <- etc$a(t - 1)
    v1 <- etc$b2(t - 1)
    G <- a * S %*% solve(a^2 * S + v * diag(2)) # x0 = mu + G (x - a mu)
    x0 <- c(.5, 0) - drop(G %*% (a * c(.5, 0)))
    g <- diag(c(v / (v + lambda * a^2 * noise), 0))
    A <- (diag(2) - g) %*% G
    shift <- drop((diag(2) - g) %*% x0 + g %*% c(1.2, 0))
    kept <- sqrt((1 - zeta) * v1 / v)
    M <- (a1 - kept * a) * A + kept * diag(2)
    mean <- drop(M %*% mean) + (a1 - kept * a) * shift
    V <- M %*% V %*% t(M) + zeta * v1 * diag(2)
  }
  method <- zero_shot_diffpir(lambda, zeta)
  law <- guided_moments(m, observation = y, method = method, schedule = etc)
  expect_equal(unname(law$mean), mean, tolerance = 1e-10)
  expect_equal(unname(law$cov), V, tolerance = 1e-10)
  set.seed(9)
  x <- conditional_sample(m, 4000, y, method, schedule = etc)$x
  expect_lt(max(abs(colMeans(x) - mean) / sqrt(diag(V) / 4000)), 4.5)
  expect_lt(max(abs(cov(x) - V) / sqrt(outer(diag(V), diag(V)) / 2000)), 4.5)
})

test_that("methods say what they are and refuse what they cannot do", {
  expect_output(print(zero_shot_bo()), "<zero_shot_method> BO-DDNM: a score", fixed = TRUE)
  expect_output(print(zero_shot_dps(2)), "DPS (zeta = 2): a step of its own", fixed = TRUE)
  expect_output(print(zero_shot_tds(8)), "weighted particles")
  expect_output(print(zero_shot_exact()), "the conditional law itself")
  expect_mixguide_error(zero_shot_bo(1), "general")
  expect_mixguide_error(zero_shot_repaint(0), "repeats")
  expect_mixguide_error(zero_shot_ddrm(2), "eta")
  expect_mixguide_error(zero_shot_ddrm(eta_b = -1), "eta_b")
  expect_mixguide_error(zero_shot_dps(-1), "zeta")
  expect_mixguide_error(zero_shot_diffpir(-1), "lambda")
  expect_mixguide_error(zero_shot_diffpir(zeta = 1.1), "zeta")
  expect_mixguide_error(zero_shot_smcdiffopt(0), "particles")
  expect_mixguide_error(zero_shot_smcdiffopt(resampling = "never"), "resampling")
  expect_mixguide_error(zero_shot_mcg("a"), "zeta")
  expect_mixguide_error(zero_shot_pigdm(0), "prior_variance")
  expect_mixguide_error(zero_shot_tds(0), "particles")
  expect_mixguide_error(zero_shot_mcgdiff(kappa = 0), "kappa")
  o <- case()
  expect_mixguide_error(score(o$m, o$x, 1, etc, observation = seen(o), method = zero_shot_ccdf()),
                        "method")
  expect_mixguide_error(score(o$m, o$x, 1, etc, observation = seen(o)), "method")
  expect_mixguide_error(score(o$m, o$x, 1, etc, method = zero_shot_bo()), "method")
  expect_mixguide_error(score(o$m, o$x, 1, etc, "1", seen(o), zero_shot_bo()), "guidance")
  expect_mixguide_error(score(o$m, o$x, 1, etc, observation = seen(o), method = "bo"), "method")
  expect_error(score(o$m, o$x, 0, etc, observation = seen(o), method = zero_shot_ddnm()),
               class = "mixguide_error_singular")
  # with noise BO has a score at t = 0
  bo <- score(o$m, o$x, 0, etc, observation = seen(o), method = zero_shot_bo())
  expect_true(all(is.finite(bo)))
})

test_that("without noise no score exists at t = 0, and every method says so", {
  m <- named_mixture("M2")
  y <- observation(.8, cbind(1, .5))
  for (method in list(zero_shot_ddnm(), zero_shot_bo(), zero_shot_pigdm(), zero_shot_tmpd())) {
    expect_error(score(m, t(c(0, 0)), 0, observation = y, method = method), "t = 0",
                 class = "mixguide_error_singular")
  }
})

test_that("DDRM's own start knows the observation, where the noise of the start is above its", {
  one <- list(a = .2, b2 = .96, start_sd = 1)
  frame <- list(r = 2, d = 3, target = c(3, 5), nu = c(4, 100))
  ops <- informed_start(one, frame)
  expect_identical(ops[[2]]$to, "x")
  coef <- ops[[2]]$coef
  # x/a = y + sqrt(q^2 - nu) z; the second coordinate is as noisy as the start
  expect_equal(coef[["(one)"]], c(.2 * 3, 0, 0))
  expect_equal(coef$x, c(.2 * sqrt(.96 / .04 - 4), 1, 1))
  # with few steps a run from an early time is closer
  m <- gaussmix(1, t(c(0, 0)), matrix(c(4, 1, 1, 1), 2))
  y <- observation(2.5, variables = 1, noise = .01)
  law <- moments(exact_posterior(m, y))
  gap <- vapply(c(FALSE, TRUE), function(informed) {
    set.seed(1)
    run <- conditional_sample(m, 2000, y, zero_shot_ddrm(eta_b = .3, informed = informed),
                            schedule = schedule_ou(), sampler = sampler_ddpm(4, end = .01,
                                                                             variance = "scaled"),
                            horizon = .5)
    abs(mean(run$x[, 1]) - law$mean[1])
  }, 0)
  expect_lt(gap[2], gap[1])
  expect_mixguide_error(zero_shot_ddrm(informed = 1), "informed")
})

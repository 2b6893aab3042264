exponential_sde <- function(n) sampler_exponential(n, "uniform", stochastic = TRUE)
euler_maruyama <- function(n) sampler_em(n, "uniform")
scaled_ddpm <- function(n) sampler_ddpm(n, "uniform", variance = "scaled")
total <- function(mixture, sampler, ...) {
  path_kl(mixture, sampler = sampler, ..., horizon = 3, start = "exact")$estimate[4]
}

# the four numbers: tests/REFERENCES.md, information
test_that("single steps lose the known amounts, also in the form with F", {
  A1 <- named_mixture("A1")
  loss <- function(t, h) {
    sampler <- sampler_exponential(stochastic = TRUE, grid = c(t, t - h))
    attr(path_kl(A1, sampler = sampler, start = "exact"), "steps")$discretisation
  }
  expect_equal(loss(.3, .1), .00802037778019, tolerance = 1e-10)
  expect_equal(loss(.1, .1), .0542155250779, tolerance = 1e-10)
  expect_equal(loss(1, .5), .129914101123, tolerance = 1e-10)
  expect_equal(loss(3, 1), .722962263805, tolerance = 1e-10)
  by_curvature <- function(t, h) {
    rate <- function(u) information(A1, u)$curvature * -expm1(-2 * (u - t + h))
    stats::integrate(rate, t - h, t, rel.tol = 1e-11)$value +
      information(A1, t)$fisher * (h + 2 * expm1(-h) - expm1(-2 * h) / 2)
  }
  for (t in c(.3, 1)) expect_equal(loss(t, .2), by_curvature(t, .2), tolerance = 1e-9)
})

test_that("path divergences of A1 and B2 are the known ones", {
  A1 <- named_mixture("A1")
  known <- theory("paths")
  found <- c(total(A1, exponential_sde(50)), total(A1, euler_maruyama(50)),
             total(A1, scaled_ddpm(50)))
  coarse <- known[known$steps == 50, c("EI_path", "EM_path", "ANC_path")]
  expect_lt(max(abs(found / unlist(coarse) - 1)), 1e-8)
  expect_equal(total(A1, exponential_sde(200)), known$EI_path[known$steps == 200],
               tolerance = 1e-8)
  B2 <- named_mixture("B2")
  expect_equal(total(B2, exponential_sde(50)), .452024, tolerance = 2e-6)
})

test_that("the start of A1 and B2 has the known divergence", {
  known <- theory("starts")
  check <- function(name, t, tolerance) {
    begin <- path_kl(named_mixture(name), sampler = exponential_sde(2), horizon = t)$estimate[1]
    expect_equal(begin, known$kl[known$mixture == name & known$t == t], tolerance = tolerance)
  }
  for (t in c(1, 3, 8)) check("A1", t, 1e-6)
  check("B2", 3, 1e-7)
})

test_that("the error of the start is right far away from it, and in any dimension", {
  far <- function(p, start, horizon = 1) {
    mixguide:::start_error(p, p, schedule_ou(), horizon, start, n = 1e5)
  }
  # a component far away counts alone: KL of each, and the entropy of the weights
  p <- gaussmix(c(.3, .7), c(-40, 40), 1)
  expect_equal(far(p, "normal")$estimate[1], 800 + .3 * log(.3) + .7 * log(.7), tolerance = 1e-9)
  expect_equal(far(p, "normal")$estimate[3], 1, tolerance = 1e-9)
  near <- far(diffuse(named_mixture("B2"), 1), "normal")
  expect_equal(near$estimate[1], 4.58791697e-3, tolerance = 1e-7)
  # with independent variables beside it, first equal for all components, then different. The first
  # axis has the sign of the eigenvectors: mirrored nodes are other nodes, and give another result
  # where densities cross
  Q <- -qr.Q(qr(matrix(c(1, 2, 0, 1, 0, 1, 3, 1, 1, 0, 1, 2, 0, 2, 1, 1), 4)))
  place <- function(values) {
    gaussmix(c(.3, .7), c(-1, 1) %o% Q[, 1], list(Q %*% (c(.5, values) * t(Q)),
                                                  Q %*% (c(.7, values) * t(Q))))
  }
  flat <- gaussmix(c(.3, .7), c(-1, 1), c(.5, .7))
  expect_equal(far(place(c(1, 1, 1)), "normal")$estimate, far(flat, "normal")$estimate,
               tolerance = 1e-6)
  uneven <- far(place(c(.8, 1, 1.3)), "normal")
  rest <- c(sum(c(.8, 1.3) - 1 - log(c(.8, 1.3))), sum(1 / c(.8, 1.3) - 1 + log(c(.8, 1.3)))) / 2
  expect_equal(uneven$estimate[1:2], far(flat, "normal")$estimate[1:2] + rest, tolerance = 1e-6)
  set.seed(1)
  drawn <- mixguide:::mixture_distance(place(c(.8, 1, 1.3)), gaussmix(1, t(rep(0, 4)), 1), 1e5)
  expect_lt(max(abs(drawn$estimate - uneven$estimate) / c(drawn$se[1:2], 2 * drawn$se[3])), 5)
})

# One Gaussian in one dimension: scores are affine, and everything has a closed form.
gaussian_case <- function(sampler, times, scale = 1, bias = 0, m = 1.5, v = .25,
                          schedule = schedule_ou(), start_sd = 1) {
  a <- schedule$a(times)
  variance <- a^2 * v + schedule$b2(times)
  N <- length(times) - 1
  # covariances of the true states, from the last time to the first
  true <- outer(a, a) * outer(variance / a^2, variance / a^2, pmin)
  step <- mixguide:::one_score_steps(sampler, times, schedule)
  slope <- step$alpha - step$beta * scale / variance[-(N + 1)]
  shift <- step$beta * (scale * a[-(N + 1)] * m / variance[-(N + 1)] + bias)
  mean <- rep(0, N + 1)
  # x = mean + L z
  L <- diag(start_sd, N + 1)
  for (k in seq_len(N)) {
    mean[k + 1] <- slope[k] * mean[k] + shift[k]
    L[k + 1, ] <- slope[k] * L[k, ]
    L[k + 1, k + 1] <- step$sigma[k]
  }
  w <- forwardsolve(L, a * m - mean)
  root <- forwardsolve(L, t(chol(true)))
  (sum(root^2) + sum(w^2) - N - 1) / 2 - sum(log(abs(diag(root))))
}

test_that("at grid times the divergence is that of two multivariate normal laws", {
  G1 <- named_mixture("G1")
  cases <- list(sampler_em(7), sampler_exponential(5, stochastic = TRUE),
                sampler_ddpm(6, variance = "scaled"),
                sampler_ddpm(6, variance = "large"),
                sampler_ddpm(6, end = .02, variance = "posterior"),
                sampler_ddim(5, eta = .7, end = .05))
  error <- score_error(bias = .3, scale = .8)
  for (sampler in cases) {
    times <- time_grid(sampler$steps, 2, sampler$grid, sampler$end)
    expect_equal(path_kl(G1, sampler = sampler, horizon = 2, along = "grid")$estimate[4],
                 gaussian_case(sampler, times), tolerance = 1e-8)
    wrong <- path_kl(G1, sampler = sampler, horizon = 2, along = "grid", score_error = error)
    expect_equal(wrong$estimate[4], gaussian_case(sampler, times, .8, .3), tolerance = 1e-8)
    expect_equal(sum(wrong$estimate[1:3]), wrong$estimate[4])
  }
  for (schedule in list(schedule_vp(), schedule_ve(.01, 5), schedule_subvp(), schedule_flow())) {
    sampler <- sampler_exponential(8, end = .02, stochastic = TRUE)
    times <- time_grid(8, NULL, "quadratic", .02, schedule)
    expected <- gaussian_case(sampler, times, .8, .3, schedule = schedule,
                              start_sd = mixguide:::start_sd(schedule, times[1]))
    found <- path_kl(G1, sampler = sampler, schedule = schedule, score_error = error,
                     along = "grid")$estimate[4]
    expect_equal(found, expected, tolerance = 1e-7)
  }
})

test_that("paths of one Gaussian have the integral of the squared difference of drifts", {
  # 1/2 int |drift - frozen drift|^2/G^2 of affine functions of (x_t, x_k), t between the times
  m <- 1.5
  v <- .25
  oracle <- function(sampler, from, to, scale, bias, schedule, frozen) {
    rate <- function(t) {
      a <- schedule$a(c(t, from))
      S <- a^2 * v + schedule$b2(c(t, from))
      cov <- matrix(c(S[1], a[2] / a[1] * S[1], a[2] / a[1] * S[1], S[2]), 2)
      G2 <- schedule$diffusion2(t)
      f <- schedule$drift(t)
      # the score at each time is -(x - a m)/S; freezing it gives coefficients of x_k and of its
      # score
      k <- frozen(t, a[2] / a[1], f, G2)
      on <- c(-f - G2 / S[1], 0)
      constant <- G2 * a[1] * m / S[1]
      if (k$linear) on[2] <- on[2] - k$x else on[1] <- on[1] + f
      on[2] <- on[2] + k$s * scale / S[2]
      constant <- constant - k$s * (scale * a[2] * m / S[2] + bias)
      (sum(on * cov %*% on) + (sum(on * a * m) + constant)^2) / (2 * G2)
    }
    stats::integrate(Vectorize(rate), to, from, rel.tol = 1e-11)$value
  }
  exponential <- function(t, c, f, G2) list(linear = FALSE, s = G2)
  best <- function(t, c, f, G2) list(linear = FALSE, s = G2 * c)
  euler <- function(t, c, f, G2) list(linear = TRUE, x = -f, s = G2)
  error <- score_error(bias = .3, scale = .8)
  check <- function(sampler, frozen, schedule = schedule_ou(), from = .6, to = .2) {
    sampler <- sampler(grid = c(from, to))
    found <- path_kl(named_mixture("G1"), sampler = sampler, schedule = schedule,
                     score_error = error)
    expect_equal(sum(found$estimate[2:3]),
                 oracle(sampler, from, to, .8, .3, schedule, frozen), tolerance = 1e-8)
  }
  ei <- function(grid) sampler_exponential(stochastic = TRUE, grid = grid)
  ddpm <- function(grid) sampler_ddpm(variance = "scaled", grid = grid)
  check(ei, exponential)
  check(ddpm, best)
  check(function(grid) sampler_em(grid = grid), euler)
  for (schedule in list(schedule_vp(), schedule_ve(.01, 5), schedule_subvp())) {
    check(ei, exponential, schedule)
    check(ddpm, best, schedule)
  }
})

test_that("a variance-preserving schedule is the Ornstein-Uhlenbeck process on its clock", {
  vp <- schedule_vp()
  times <- time_grid(10, type = "uniform", schedule = vp)
  clock <- -log(vp$a(times))
  clock[11] <- 0
  run <- function(times, schedule) {
    path_kl(named_mixture("A1"), sampler = sampler_exponential(stochastic = TRUE, grid = times),
            schedule = schedule)
  }
  expect_equal(run(times, vp)$estimate, run(clock, schedule_ou())$estimate, tolerance = 1e-9)
})

test_that("errors of the score add what the identity says, in whatever form they are given", {
  A1 <- named_mixture("A1")
  run <- function(error, sampler = exponential_sde(20), along = "paths") {
    path_kl(A1, sampler = sampler, horizon = 3, score_error = error, along = along)$estimate[3]
  }
  expect_equal(run(score_error(bias = .2)), .04 * 3, tolerance = 1e-12)
  wrong <- gaussmix(c(.4, .4, .2), c(-2, .1, 2.5), c(.3, .5, .16))
  for (sampler in list(exponential_sde(9), euler_maruyama(9), scaled_ddpm(9))) {
    expect_equal(run(function(x, t) 0 * x + .2 * t, sampler),
                 run(score_error(bias = function(t) .2 * t), sampler), tolerance = 1e-9)
    by_model <- run(score_error(model = wrong), sampler)
    field <- function(x, t) score(wrong, x, t) - score(A1, x, t)
    expect_equal(run(field, sampler), by_model, tolerance = 1e-8)
    expect_equal(run(score_error(model = A1, scale = .9), sampler),
                 run(score_error(scale = .9), sampler), tolerance = 1e-8)
  }
  # noise adds its mean square times the length of the run; noise at grid times acts over a wider
  # step
  expect_equal(run(score_error(noise = .3)), .09 * 3, tolerance = 1e-12)
  noisy <- run(score_error(noise = .3), along = "grid")
  expect_gt(noisy, 0)
  expect_lt(noisy, .09 * 3)
})

test_that("the divergence adds up over independent variables, by draws too", {
  one <- gaussmix(c(.4, .6), c(-1, 1), c(.3, .6))
  d <- 3
  which <- as.matrix(expand.grid(1:2, 1:2, 1:2))
  three <- gaussmix(apply(matrix(one$weights[which], 8), 1, prod), matrix(one$means[which], 8),
                    lapply(1:8, function(k) one$values[which[k, ]]))
  set.seed(1)
  for (sampler in list(exponential_sde(20), euler_maruyama(20), scaled_ddpm(20))) {
    drawn <- path_kl(three, sampler = sampler, horizon = 3, start = "exact", n = 4000)
    expect_identical(drawn$method[2], "Monte Carlo")
    expect_lt(abs(drawn$estimate[4] - 3 * total(one, sampler)), 5 * drawn$se[4])
    expect_lt(drawn$se[4], .1 * drawn$estimate[4])
  }
  error <- path_kl(three, sampler = exponential_sde(5), horizon = 3, n = 4000,
                   score_error = function(x, t) .1 * x)
  exact <- path_kl(one, sampler = exponential_sde(5), horizon = 3,
                   score_error = function(x, t) .1 * x)
  expect_lt(abs(error$estimate[3] - 3 * exact$estimate[3]), 5 * error$se[3])
})

test_that("components that differ in a subspace only are no harder than there", {
  one <- gaussmix(c(.4, .6), c(-1, 1), .3)
  Q <- qr.Q(qr(matrix(c(1, 2, 0, 1, 0, 1, 3, 1, 1, 0, 1, 2, 0, 2, 1, 1), 4)))
  four <- gaussmix(one$weights, one$means %*% Q[1, , drop = FALSE], .3)
  rest <- total(gaussmix(1, 0, .3), exponential_sde(10))
  expect_equal(total(four, exponential_sde(10)), total(one, exponential_sde(10)) + 3 * rest,
               tolerance = 1e-7)
})

test_that("what has no path divergence says so", {
  A1 <- named_mixture("A1")
  expect_mixguide_error(path_kl(A1, sampler = sampler_ddim(5)), "sampler")
  expect_mixguide_error(path_kl(A1, sampler = sampler_corrected(sampler_em(5))), "sampler")
  expect_mixguide_error(path_kl(A1, sampler = sampler_em(5), schedule = schedule_vp()), "along")
  expect_mixguide_error(path_kl(A1, sampler = sampler_ddpm(5, variance = "large")), "along")
  expect_mixguide_error(path_kl(A1, score_error = 1), "score_error")
  expect_mixguide_error(path_kl(A1, sampler = exponential_sde(3), score_error = function(x, t) 1:3),
                        "score_error")
  expect_mixguide_error(path_kl(A1, score_error = function(x) x), "score_error")
  expect_error(path_kl(gaussmix(c(.5, .5), c(0, 1), 0), sampler = exponential_sde(3)),
               class = "mixguide_error_singular")
  # a last step without noise
  expect_identical(path_kl(A1, sampler = sampler_ddpm(5), along = "grid")$estimate[4], Inf)
  # point masses work if some noise is left; so do far means
  points <- gaussmix(c(.5, .5, 0), c(-1, 1, 50), 0)
  expect_true(is.finite(path_kl(points, sampler = sampler_em(10, end = .05))$estimate[4]))
  far <- gaussmix(c(.5, .5), c(-300, 300), 1)
  expect_true(is.finite(path_kl(far, sampler = sampler_em(10, end = .05))$estimate[4]))
})

test_that("a path_kl prints, draws and is a data frame", {
  path <- path_kl(named_mixture("A1"), sampler = sampler_em(10),
                  score_error = score_error(bias = .1))
  expect_output(print(path), "path KL +[0-9.]+ +quadrature")
  expect_output(print(path[1:2, ]), "quantity")
  expect_drawn(autoplot(path))
  expect_identical(class(as.data.frame(path)), "data.frame")
  steps <- attr(path, "steps")
  expect_equal(sum(steps$discretisation), path$estimate[2])
  expect_equal(sum(steps$score_error), path$estimate[3])
})

# Graded covariances: variances, noises and rows of H that differ by up to 1e18. They are tested
# against numbers of 80 digits (tools/graded-values.py) and against the same problem in other units.
# Signs, order and basis of eigenvectors must not affect a result.

graded_cases <- function() {
  table <- utils::read.csv(test_path("graded-values.csv"), colClasses = "character")
  lapply(split(table, as.integer(table$case)), function(case) {
    lapply(split(case, case$name), function(x) {
      matrix(as.numeric(x$value), as.integer(x$rows[1]), as.integer(x$columns[1]))
    })
  })
}

mixture_of_case <- function(case) {
  covs <- if (identical(case$cov1, case$cov2)) case$cov1 else list(case$cov1, case$cov2)
  gaussmix(c(.25, .75), rbind(t(case$mean1), t(case$mean2)), covs)
}

# Errors relative to the standard deviations; those of a covariance relative to sd_i sd_j.
expect_near <- function(x, known, size = max(abs(known)), tolerance = 1e-10) {
  expect_lt(max(abs(unname(x) - unname(known)) / size), tolerance)
}
expect_cov <- function(S, known, tolerance = 1e-10) {
  sd <- sqrt(diag(as.matrix(known)))
  expect_near(S, known, outer(sd, sd), tolerance)
}

# sds from 1e-9 to 1e9, correlations about .5
random_graded <- function(d, sd = 10^stats::runif(d, -9, 9)) {
  A <- matrix(stats::rnorm(3 * d * d), d) + stats::rnorm(3 * d, sd = .9)[col(diag(3 * d))[1:d, ]]
  S <- stats::cov2cor(tcrossprod(A)) * outer(sd, sd)
  (S + t(S)) / 2
}

random_graded_mixture <- function(d, common = FALSE) {
  sd <- 10^stats::runif(d, -9, 9)
  covs <- replicate(2, random_graded(d, sd * stats::runif(d, .5, 2)), FALSE)
  means <- matrix(stats::rnorm(2 * d), 2) * rep(sd, each = 2)
  x <- matrix(stats::rnorm(4 * d), 4) * rep(sd, each = 4)
  list(mixture = gaussmix(c(.4, .6), means, if (common) covs[[1]] else covs), covs = covs, sd = sd,
       x = x, means = means)
}

test_that("densities, scores and conditional laws have the digits of 80-digit arithmetic", {
  for (case in graded_cases()) {
    m <- mixture_of_case(case)
    sd <- sqrt(diag(case$cov1))
    expect_cov(component_cov(m, 1), case$cov1, 1e-14)
    expect_cov(component_cov(m, 2), case$cov2, 1e-14)
    expect_near(dgaussmix(t(case$x), m, TRUE), case$logp)
    expect_near(score(m, t(case$x)) * sd, t(case$score * sd))
    expect_near(score(m, t(case$noised), 2^-20) * sd, t(case$noised_score * sd))

    y <- drop(case$y)
    law <- condition(m, observation(y, case$H, case$R))
    expect_near(law$weights, drop(case$weights), 1)
    expect_near(law$means[1, ], drop(case$means1), abs(drop(case$means1)))
    expect_near(law$means[2, ], drop(case$means2), abs(drop(case$means2)))
    expect_cov(component_cov(law, 1), case$covs1)
    expect_cov(component_cov(law, 2), case$covs2)
    expect_near(dgaussmix(t(y), marginal(m, observation(H = case$H, noise = case$R)), TRUE),
                case$evidence)

    range <- observed_range(observation(y, case$H, case$R))
    expect_near(range$basis %*% range$target, case$plus_y)
    expect_cov(range$basis %*% (range$nu * t(range$basis)), case$plus_R)

    gone <- seq(case$observed + 1, nrow(case$x))
    cells <- impute(m, t(replace(case$x, gone, NA)), 0)$cells
    expect_near(cells$mean, drop(case$imputed_mean), abs(drop(case$imputed_mean)))
    expect_near(cells$sd, drop(case$imputed_sd), drop(case$imputed_sd))
  }
})

test_that("a variance is no less for being small", {
  R <- matrix(c(1, .5, .3, .5, 1, .2, .3, .2, 1), 3)
  D <- diag(c(1e-9, 1, .5))
  m <- gaussmix(1, t(c(a = 0, b = 0, c = 0)), D %*% R %*% D)
  expect_equal(moments(m)$cov[1, 1], 1e-18, tolerance = 1e-14)
  expect_false(is_singular(m))
  set.seed(1)
  expect_equal(apply(rgaussmix(1e4, m), 2, sd) / c(1e-9, 1, .5), rep(1, 3), tolerance = .03,
               ignore_attr = TRUE)
  for (i in 1:20) {
    d <- sample(2:12, 1)
    S <- random_graded(d)
    m <- gaussmix(1, t(rep(0, d)), S)
    expect_cov(moments(m)$cov, S, 1e-13)
    expect_equal(crossprod(m$vectors), diag(d), tolerance = 1e-13)
    some <- sample(d, 2)
    expect_cov(moments(marginal(m, some))$cov, S[some, some], 1e-13)
    expect_cov(component_cov(join_mixtures(list(m, m)), 2), S, 1e-13)
  }
})

test_that("results do not depend on units: variables times powers of 2", {
  set.seed(2)
  for (i in 1:12) {
    d <- sample(2:5, 1)
    this <- random_graded_mixture(d, i %% 2 == 0)
    by <- 2^sample(-40:40, d)
    times <- function(x) x * rep(by, each = nrow(x))
    covs <- lapply(this$covs, function(S) S * outer(by, by))
    other <- gaussmix(c(.4, .6), times(this$means), if (i %% 2 == 0) covs[[1]] else covs)
    x <- this$x
    expect_near(dgaussmix(times(x), other, TRUE) + sum(log(by)), dgaussmix(x, this$mixture, TRUE),
                tolerance = 1e-12)
    expect_near(times(times(score(other, times(x)))) / rep(by / this$sd, each = 4),
                score(this$mixture, x) * rep(this$sd, each = 4), tolerance = 1e-11)
    expect_near(score_jacobian(other, times(x))[2, , ] * outer(by * this$sd, by * this$sd),
                score_jacobian(this$mixture, x)[2, , ] * outer(this$sd, this$sd),
                tolerance = 1e-11)
    # missing values, and their draws
    gaps <- x
    gaps[1, 1] <- gaps[2, -1] <- gaps[3, d] <- NA
    filled <- lapply(list(list(this$mixture, gaps), list(other, times(gaps))), function(these) {
      set.seed(3)
      impute(these[[1]], these[[2]], 2)$imputations
    })
    expect_near(as.matrix(filled[[2]][[2]]), times(as.matrix(filled[[1]][[2]])),
                times(matrix(this$sd, 4, d, TRUE)), 1e-11)
  }
})

test_that("results do not depend on the units of observations", {
  set.seed(4)
  for (i in 1:20) {
    d <- sample(2:4, 1)
    p <- sample(1:6, 1)
    rank <- max(1, min(p, d) - i %% 2)
    this <- random_graded_mixture(d)
    m <- this$mixture
    beside <- rep(this$sd, each = 2)
    H <- matrix(rnorm(p * rank), p) %*% matrix(rnorm(rank * d), rank) / rep(this$sd, each = p)
    R <- if (p > 1) random_graded(p, 10^runif(p, -6, 6)) else matrix(1)
    y <- drop(H %*% this$x[1, ]) + sqrt(diag(R)) * rnorm(p)
    by <- 2^sample(-40:40, p)
    one <- condition(m, observation(y, H, R))
    other <- condition(m, observation(y * by, H * by, R * outer(by, by)))
    expect_near(other$weights, one$weights, 1, 1e-11)
    expect_near(other$means, one$means, beside, 1e-11)
    density <- dgaussmix(t(y), marginal(m, observation(H = H, noise = R)), TRUE)
    expect_near(dgaussmix(t(y * by),
                          marginal(m, observation(H = H * by, noise = R * outer(by, by))), TRUE),
                density - sum(log(by)), tolerance = 1e-11)
    # another way to the same numbers: the information of y on the range of H' alone
    range <- observed_range(observation(y, H, R), sd = this$sd)
    expect_length(range$target, rank)
    seen <- condition(m, observation(range$target, t(range$basis), range$nu))
    expect_near(seen$means, one$means, beside, 1e-8)
    for (k in 1:2) {
      expect_cov(component_cov(other, k), component_cov(one, k), 1e-11)
      expect_cov(component_cov(seen, k), component_cov(one, k), 1e-10)
    }
  }
})

test_that("an observation counts by its own noise, however much or little", {
  m <- gaussmix(c(.5, .5), rbind(c(a = 0, b = 0), c(1, 1)), matrix(c(1, .5, .5, 1), 2))
  y <- c(a = 3, b = .4)
  # an almost uninformative observation equals none
  law <- condition(m, observation(y, noise = c(1e20, 1)))
  expect_identical(colnames(law$means), c("a", "b"))
  known <- condition(m, observation(.4, cbind(0, 1), 1))
  expect_near(law$means, known$means, 1, 1e-9)
  expect_equal(moments(law)$cov, moments(known)$cov, tolerance = 1e-9)
  # almost no noise: the remaining variance is that of the noise
  law <- condition(m, observation(y, noise = c(1, 1e-16)))
  expect_identical(colnames(law$means), c("a", "b"))
  expect_equal(moments(law)$cov[2, 2], 1e-16, tolerance = 1e-12)
  expect_equal(component_cov(condition(m, observation(y, noise = 1e-30)), 1)[1], 1e-30,
               tolerance = 1e-12)
  # a row in other units
  H <- rbind(c(1, 0), c(0, 1e-9))
  expect_equal(moments(condition(m, observation(c(.2, .4e-9), H), drop = FALSE))$mean,
               c(a = .2, b = .4))
  expect_false(is_singular(marginal(m, observation(H = H))))
  # one number twice, with little noise: half the variance
  twice <- rbind(c(1, 1), c(1, 1))
  law <- condition(m, observation(c(1, 1), twice, 1e-22))
  direction <- c(1, 1) / sqrt(2)
  expect_equal(law$values[2, 1], 1e-22 / 4, tolerance = 1e-6)
})

test_that("singular is what is so after scaling", {
  sd <- c(1e-9, 1, 1e6)
  half <- matrix(c(1, .5, -.2, .3, 1, .4), 3)
  S <- tcrossprod(half) / outer(sqrt(rowSums(half^2)), sqrt(rowSums(half^2))) * outer(sd, sd)
  m <- gaussmix(1, t(rep(0, 3)), S)
  expect_identical(m$values[3, 1], 0)
  expect_cov(component_cov(m, 1), S, 1e-13)
  expect_equal(crossprod(m$vectors), diag(3), tolerance = 1e-14)
  expect_near(S %*% (m$vectors[, 3]), 0, sd * sum(sd * abs(m$vectors[, 3])), 1e-14)
  # a constant among variables of any size
  S <- rbind(0, cbind(0, random_graded(2, c(1e-8, 1))))
  m <- gaussmix(1, t(rep(0, 3)), S)
  expect_identical(m$values[3, 1], 0)
  expect_identical(m$vectors[, 3], c(1, 0, 0))
  expect_cov(component_cov(m, 1)[-1, -1], S[-1, -1], 1e-14)
  # a matrix that is no covariance is found at any size
  bad <- function(S) gaussmix(1, t(rep(0, nrow(S))), S)
  expect_error(bad(matrix(c(1e-18, 2e-9, 2e-9, 1), 2)), "of the correlations",
               class = "mixguide_error")
  expect_error(bad(matrix(c(1e-18, 6e-10, 5e-10, 1), 2)), "symmetric", class = "mixguide_error")
  expect_error(bad(matrix(c(0, 1e-3, 1e-3, 1), 2)), "variance of 0", class = "mixguide_error")
  expect_error(observation(1:2, diag(2), matrix(c(1e-18, 2e-9, 2e-9, 1), 2)), "`noise`",
               class = "mixguide_error")
})

test_that("components that differ in a small variance only do differ", {
  # two components one sd apart, one far off
  m <- gaussmix(rep(1, 3), rbind(c(0, 0), c(1e10, 0), c(0, 1e-5)), diag(c(1, 1e-10)))
  expect_null(reduced_space(m))
  tiny <- 1e-9^2 * c(1, 1.0001)
  m <- gaussmix(c(.5, .5), matrix(0, 2, 3), list(c(1, 1, tiny[1]), c(1, 1, tiny[2])))
  expect_equal(sort(reduced_space(m)$mixture$values), tiny, tolerance = 1e-12)
})

# ---- Signs, order and basis of eigenvectors

# The same mixture with other eigenvectors: signs flipped, and those of equal values rotated.
by_other_vectors <- function(mixture) {
  d <- mixture_dim(mixture)
  K <- ncol(mixture$values)
  for (k in seq_len(K)) {
    values <- mixture$values[, k]
    turn <- diag(sample(c(-1, 1), d, TRUE))
    for (at in split(seq_len(d), match(values, unique(values)))) {
      if (length(at) > 1) turn[at, at] <- qr.Q(qr(matrix(stats::rnorm(length(at)^2), length(at))))
    }
    order <- sample(d)
    V <- (array(mixture$vectors, c(d, d, K))[, , k] %*% turn)[, order]
    if (length(dim(mixture$vectors)) == 3) mixture$vectors[, , k] <- V else mixture$vectors <- V
    mixture$values[, k] <- values[order]
  }
  mixture
}

# eigenvalues 1, 1, 1, 4 and smaller ones, in a random basis or in the given one
repeated_cov <- function(d) {
  Q <- qr.Q(qr(matrix(stats::rnorm(d * d), d)))
  S <- Q %*% (rep_len(c(1, 1, 4, 1, .2), d) * t(Q))
  (S + t(S)) / 2
}

test_that("draws do not depend on the eigenvectors' signs, order and basis", {
  set.seed(5)
  for (d in c(3, 6)) for (common in c(TRUE, FALSE)) {
    covs <- if (common) repeated_cov(d) else list(repeated_cov(d), repeated_cov(d))
    m <- gaussmix(c(.5, .5), matrix(rnorm(2 * d), 2), covs, class = c("a", "b"))
    other <- by_other_vectors(m)
    expect_gt(max(abs(other$vectors - m$vectors)), .1)
    for (f in list(function(m) unclass(rgaussmix(20, m)),
                   function(m) simulate(m, 20, seed = 4),
                   function(m) keyed_draws(m, 20, c(1, 2)),
                   function(m) confidence(m, "a", n = 100)$estimate,
                   function(m) condition(m, observation(1, t(rep(1, d)), .5))$vectors,
                   function(m) marginal(m, d:1)$vectors,
                   function(m) score(m, diag(d), .1),
                   function(m) impute(m, rbind(c(NA, NA, rep(0, d - 2)), 0), 2)$imputations[[1]])) {
      set.seed(6)
      first <- f(m)
      set.seed(6)
      expect_equal(f(other), first, tolerance = 1e-11, ignore_attr = TRUE)
    }
  }
})

test_that("draws are by the symmetric root", {
  set.seed(7)
  S <- repeated_cov(4)
  e <- eigen(S)
  z <- matrix(rnorm(20), 5)
  m <- gaussmix(1, t(1:4), S)
  expect_equal(place_draws(m, rep(1, 5), z),
               z %*% e$vectors %*% (sqrt(e$values) * t(e$vectors)) + rep(1:4, each = 5))
  sd <- 10^c(-9, 0, 9, 3)
  S <- random_graded(4, sd)
  root <- place_draws(gaussmix(1, t(rep(0, 4)), S), rep(1, 4), diag(4))
  expect_cov(crossprod(root), S, 1e-13)
})

test_that("eigenvectors are settled by the covariance", {
  set.seed(8)
  for (d in c(2, 5, 30)) {
    values <- sort(rep_len(c(1, 1, 3, 1, 2), d), decreasing = TRUE)
    Q <- qr.Q(qr(matrix(rnorm(d * d), d)))
    one <- settle(values, Q, 0, 1e-12)
    expect_equal(one$vectors %*% (values * t(one$vectors)), Q %*% (values * t(Q)),
                 tolerance = 1e-13)
    expect_equal(crossprod(one$vectors), diag(d), tolerance = 1e-13)
    turn <- diag(sample(c(-1, 1), d, TRUE))
    for (at in split(seq_len(d), values)) {
      if (length(at) > 1) turn[at, at] <- qr.Q(qr(matrix(rnorm(length(at)^2), length(at))))
    }
    noise <- 1e-15 * rnorm(d)
    other <- settle(sort(values + noise, decreasing = TRUE), Q %*% turn, 1e-13, 0)
    expect_equal(other$vectors, one$vectors, tolerance = 1e-11)
    expect_identical(anyDuplicated(round(other$values)) > 0, anyDuplicated(other$values) > 0)
    expect_equal(settle(1, cbind(-abs(Q[, 1])), 0, 0)$vectors, cbind(abs(Q[, 1])))
  }
  # equal correlations: all values but one are the same
  S <- matrix(.5, 6, 6) + diag(.5, 6)
  expect_equal(gaussmix(1, t(rep(0, 6)), S)$vectors,
               gaussmix(1, t(rep(0, 6)), S[6:1, 6:1])$vectors, tolerance = 1e-12)
})

test_that("runs in an eigenbasis or a reduced space are settled by the covariance", {
  set.seed(9)
  S <- repeated_cov(5)
  m <- gaussmix(c(.5, .5), rbind(rnorm(5), rnorm(5)), S, class = c("a", "b"))
  # LAPACK's result for a matrix that differs by rounding
  near <- m
  e <- eigen(S * (1 + 1e-15 * outer(1:5, 1:5) %% 3), symmetric = TRUE)
  e$vectors <- e$vectors %*% diag(c(1, -1, -1, 1, -1))
  near[c("values", "vectors")] <- settle(e$values, e$vectors, 1e-13, 0)
  near$values <- matrix(near$values)
  run <- function(m) {
    set.seed(1)
    guided_sample(m, 20, guidance("a", 1), sampler_ddpm(20))$x
  }
  expect_equal(run(near), run(m), tolerance = 1e-9)
  # a subspace with other basis vectors
  x <- matrix(rnorm(12), 6)
  expect_equal(span(x %*% matrix(c(1, 1, -2, 1), 2), 1e-13, matrix(0, 6, 0)),
               span(x, 1e-13, matrix(0, 6, 0)), tolerance = 1e-12)
})

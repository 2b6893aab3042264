# Slow, obvious R versions of what the core computes. They use the weights, means and covariance
# matrices of a mixture, never its spectrum.

FORMS <- c("common isotropic", "common diagonal", "common full", "isotropic", "diagonal", "full")

# A mixture of a given form, by gaussmix() and as a plain list. Components go to the classes in
# turn, so with K > 2 components a class has several.
random_mixture <- function(form, d, K, classes = 2, spread = 1.5) {
  one <- function() {
    switch(sub("common ", "", form),
           isotropic = diag(stats::runif(1, .3, 1.5), d),
           diagonal = diag(stats::runif(d, .3, 1.5), d),
           full = crossprod(matrix(stats::rnorm(d * d), d)) / d + diag(.3, d))
  }
  covs <- if (startsWith(form, "common")) rep(list(one()), K) else replicate(K, one(), FALSE)
  plain <- list(weights = stats::runif(K, .2, 1), means = matrix(stats::rnorm(K * d, 0, spread), K),
                covs = covs, class = letters[(seq_len(K) - 1) %% classes + 1])
  plain$weights <- plain$weights / sum(plain$weights)
  plain$mixture <- gaussmix(plain$weights, plain$means, plain$covs, plain$class)
  plain
}

# The law of x_t = a x_0 + sqrt(b2) z for the components in `keep` only, as functions of one point.
oracle <- function(plain, a = 1, b2 = 0, keep = rep(TRUE, length(plain$weights))) {
  d <- ncol(plain$means)
  w <- plain$weights[keep] / sum(plain$weights[keep])
  means <- a * plain$means[keep, , drop = FALSE]
  covs <- lapply(plain$covs[keep], function(S) a^2 * S + diag(b2, d))
  precision <- lapply(covs, solve)
  constant <- log(w) - d / 2 * log(2 * pi) -
    vapply(covs, function(S) sum(log(diag(chol(S)))), 0)
  # column k: the score of component k
  pull <- function(x) {
    matrix(vapply(seq_along(w), function(k) precision[[k]] %*% (means[k, ] - x), double(d)), d)
  }
  joint <- function(x, g = pull(x)) constant + colSums(g * (x - t(means))) / 2
  list(
    logp = function(x) {
      l <- joint(x)
      max(l) + log(sum(exp(l - max(l))))
    },
    score = function(x) {
      g <- pull(x)
      l <- joint(x, g)
      r <- exp(l - max(l))
      drop(g %*% (r / sum(r)))
    }
  )
}

# The guided score from its definition. `field` computes the score of one law.
oracle_guided <- function(plain, class, strength, a, b2, field) {
  all <- oracle(plain, a, b2)
  if (is.null(class)) return(field(all))
  inside <- field(oracle(plain, a, b2, plain$class %in% class))
  outside <- field(all)
  function(x) (1 + strength) * inside(x) - strength * outside(x)
}

# Differentiated at 0, because numDeriv's step depends on the size of x elsewhere.
STEP <- list(eps = 1e-3, r = 2)
by_gradient <- function(law) {
  testthat::skip_if_not_installed("numDeriv")
  function(x) numDeriv::grad(function(u) law$logp(x + u), 0 * x, method.args = STEP)
}
by_formula <- function(law) law$score

oracle_jacobian <- function(f) {
  testthat::skip_if_not_installed("numDeriv")
  function(x) {
    as.vector(numDeriv::jacobian(function(u) f(x + u), 0 * x, method.args = STEP))
  }
}

# The Jacobian of a map of points (rows) at one point z, by a five-point stencil, in one call.
slopes_of_map <- function(map, z, h = 1e-3) {
  d <- length(z)
  at <- function(step) map(rep(z, each = d) + diag(step, d))
  t((8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h))
}

oracle_rows <- function(f, x) {
  matrix(t(apply(x, 1, f)), nrow(x), dimnames = NULL)
}

# Largest error, relative to the largest number of the same row (the same point), beyond `slack`.
relative_error <- function(x, truth, slack = 0) {
  x <- matrix(as.double(x), nrow(x))
  truth <- matrix(as.double(truth), nrow(truth))
  stopifnot(identical(dim(x), dim(truth)), all(is.finite(truth)))
  error <- pmax(abs(x - truth) - slack, 0) / pmax(apply(abs(truth), 1, max), .Machine$double.xmin)
  if (anyNA(error)) Inf else max(error)
}

# The score's error by rounding of x and the means: a few units in their last place, times the
# largest precision.
rounding <- function(plain, x, t = 0) {
  narrow <- min(vapply(plain$covs, function(S) min(eigen(S, TRUE)$values), 0))
  8 * .Machine$double.eps * max(abs(x), abs(plain$means)) / (exp(-2 * t) * narrow - expm1(-2 * t))
}

# An error of class mixguide_error whose message names the argument.
expect_mixguide_error <- function(code, arg) {
  error <- testthat::expect_error(code, class = "mixguide_error")
  if (inherits(error, "error")) {
    testthat::expect_match(conditionMessage(error), paste0("`", arg, "`"), fixed = TRUE)
  }
}

# The printed text contains the words, wherever its lines end.
expect_said <- function(code, text, ...) {
  said <- paste(trimws(utils::capture.output(code)), collapse = " ")
  testthat::expect_match(said, text, ...)
}

# The squares of `z` average to 1 if the standard errors are right; false alarm 1e-6.
expect_honest <- function(z) {
  n <- length(z)
  testthat::expect_gt(sum(z^2), stats::qchisq(5e-7, n))
  testthat::expect_lt(sum(z^2), stats::qchisq(1 - 5e-7, n))
  testthat::expect_lt(abs(mean(z)), stats::qnorm(1 - 5e-7) / sqrt(n))
}

# Runs code under one instruction set. ffi_engine names the engine that really runs.
with_engine <- function(name, code) withr::with_envvar(c(MIXGUIDE_ENGINE = name), code)

with_threads <- function(n, code) {
  old <- mixguide_threads(n)
  on.exit(mixguide_threads(old))
  code
}

# The first `n` normals of particle `i` (from 0) of a key, by the published algorithms in limbs of
# 16 bits: splitmix64 makes the state of xoshiro256++, and its top 52 bits are the uniforms of Box
# and Muller.
oracle_normals <- function(key, i, n) {
  limbs <- function(x) floor(x / 2^(16 * 0:3)) %% 65536
  hex <- function(x) strtoi(substring(x, c(13, 9, 5, 1), c(16, 12, 8, 4)), 16)
  carry <- function(x) {
    for (j in 1:3) x[j + 1] <- x[j + 1] + floor(x[j] / 65536)
    x %% 65536
  }
  add <- function(x, y) carry(x + y)
  multiply <- function(x, y) {
    sums <- rep(0, 4)
    for (j in 1:4) for (l in seq_len(5 - j)) sums[j + l - 1] <- sums[j + l - 1] + x[j] * y[l]
    carry(sums)
  }
  xor <- function(x, y) as.double(bitwXor(x, y))
  bits <- function(x) unlist(lapply(x, function(limb) limb %/% 2^(0:15) %% 2))
  of_bits <- function(b) colSums(matrix(b, 16) * 2^(0:15))
  right <- function(x, k) of_bits(c(bits(x)[-seq_len(k)], rep(0, k)))
  left <- function(x, k) of_bits(c(rep(0, k), bits(x)[seq_len(64 - k)]))
  rotate <- function(x, k) left(x, k) + right(x, 64 - k)

  state <- NULL
  splitmix <- function() {
    state <<- add(state, hex("9e3779b97f4a7c15"))
    x <- multiply(xor(state, right(state, 30)), hex("bf58476d1ce4e5b9"))
    x <- multiply(xor(x, right(x, 27)), hex("94d049bb133111eb"))
    xor(x, right(x, 31))
  }
  state <- 65535 - c(limbs(key[2])[1:2], limbs(key[1])[1:2])  # so that (k, i) and (i, k) differ
  mixed <- splitmix()
  state <- limbs(i)
  state <- xor(mixed, splitmix())
  s <- list(splitmix(), splitmix(), splitmix(), splitmix())
  uniform <- function() {
    result <- add(rotate(add(s[[1]], s[[4]]), 23), s[[1]])
    t <- left(s[[2]], 17)
    s[[3]] <<- xor(s[[3]], s[[1]])
    s[[4]] <<- xor(s[[4]], s[[2]])
    s[[2]] <<- xor(s[[2]], s[[3]])
    s[[1]] <<- xor(s[[1]], s[[4]])
    s[[3]] <<- xor(s[[3]], t)
    s[[4]] <<- rotate(s[[4]], 45)
    sum(right(result, 12) * 65536^(0:3)) / 2^52
  }
  pair <- function() {
    u1 <- 1 - uniform()
    u2 <- uniform()
    sqrt(-2 * log(u1)) * c(cospi(2 * u2), sinpi(2 * u2))
  }
  as.vector(replicate(ceiling(n / 2), pair()))[seq_len(n)]
}

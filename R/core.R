# The way into the C core: a pool of components, models (the pool under other weights), noise levels
# and a compiled program.

# A common covariance is diagonal in its eigenbasis, where a score costs O(K d) instead of
# O(K d^2): the whole run takes place there, and `basis` leads back.
core_pool <- function(mixture, rotate = TRUE) {
  # a component of weight zero is not there: its 0 * Inf could only do harm
  used <- mixture$weights > 0
  means <- mixture$means[used, , drop = FALSE]
  values <- mixture$values
  vectors <- mixture$vectors
  basis <- NULL
  if (ncol(values) > 1) values <- values[, used, drop = FALSE]
  if (mixture$form == "full") vectors <- vectors[, , used]
  if (mixture$form == "common full") {
    if (rotate) {
      basis <- vectors
      means <- means %*% basis
      vectors <- NULL
    } else {
      vectors <- rep(vectors, sum(used))
      values <- values[, rep(1, sum(used))]
    }
  }
  list(mean = t(unname(means)), value = as.double(values),
       vector = if (!is.null(vectors)) as.double(vectors), basis = basis, used = used)
}

# One model: log weights normalised over the components kept.
log_weights <- function(mixture, keep = TRUE) {
  w <- mixture$weights * keep
  log(w) - log(sum(w))
}

# A key for the core's random numbers, drawn from R's: 64 bits as two whole numbers.
draw_key <- function() floor(stats::runif(2) * 2^32)

# Runs a compiled program on n particles. `start` n x d or NULL (zero); `noise` n x d x noises or
# NULL (generated from `key`). Returns output (n x d, or n x d x outputs if there are several),
# scalar (a list: n numbers for each of those wanted) and jacobian.
core_run <- function(pool, models, levels, program, n, scalars = integer(), start = NULL,
                     noise = NULL, key = c(0, 0), first = 0, lanes = 0L) {
  basis <- pool$basis
  if (!is.null(basis)) {
    if (!is.null(start)) start <- start %*% basis
    if (!is.null(noise)) noise <- rotate_slices(noise, basis)
  }
  levels$coef <- as.double(levels$coef)
  job <- list(n = as.integer(n), scalars = as.integer(seq_len(program$scalars) %in% scalars),
              start = start, noise = noise, key = as.double(key),
              first = as.double(first), lanes = as.integer(lanes))
  models <- t(models[, pool$used, drop = FALSE])
  result <- .Call(ffi_run, pool, list(log_weight = models), levels, program, job)
  if (!is.null(basis)) result$output <- rotate_slices(result$output, t(basis))
  result
}

# Draws from a mixture by the core's generator, settled by the key alone: not the noise that a
# sampler meets under that key, but that of another one.
keyed_draws <- function(mixture, n, key) {
  d <- mixture_dim(mixture)
  program <- list(
    op = rbind(code = op_code(c("noise", "noise", "save", "save")), to = c(0L, 1L, 0L, 0L),
               from = c(0L, 0L, 0L, 1L), at = c(0L, 1L, 0L, 1L), n = 0L),
    term = matrix(0L, 3, 0), coef = double(), registers = 2L, scalars = 2L, outputs = 2L,
    noises = 2L, derivative = 0L
  )
  storage.mode(program$op) <- "integer"
  plain <- gaussmix(1, t(rep(0, d)), 1)
  levels <- list(a = double(), b2 = double(), coef = double())
  z <- core_run(core_pool(plain), rbind(0), levels, program, n,
                key = c((key[1] + 2^31) %% 2^32, key[2]))$output
  component <- findInterval(stats::pnorm(z[, 1, 2]), cumsum(mixture$weights)) + 1
  component <- pmin(component, max(which(mixture$weights > 0)))
  place_draws(mixture, component, matrix(z[, , 1], n, d))
}

# x[, , i] %*% basis for every i
rotate_slices <- function(x, basis) {
  if (length(dim(x)) == 2) return(x %*% basis)
  for (i in seq_len(dim(x)[3])) x[, , i] <- matrix(x[, , i], ncol = ncol(basis)) %*% basis
  x
}

# The kernel itself at the points x (n x d), at one noise level: x_t = a x_0 + sqrt(b2) z.
# `models` is J x K log-weights, `coef` J. What is asked for of: score (n x d), logp (n x J, the log
# density of each model), divergence (n), jacobian (n x d x d) of the score.
core_eval <- function(mixture, x, a, b2, models, coef,
                      what = c("score", "logp", "divergence", "jacobian")) {
  J <- nrow(models)
  derivative <- if ("jacobian" %in% what) 2L else if ("divergence" %in% what) 1L else 0L
  logp <- "logp" %in% what
  program <- list(
    op = rbind(code = op_code("eval"), to = 1L, from = 0L, at = 0L, n = if (logp) 2L else -1L),
    term = matrix(0L, 3, 0), coef = double(), registers = 2L, scalars = 2L + J, outputs = 1L,
    noises = 0L, derivative = derivative
  )
  last <- c("save", "save_divergence", "save_jacobian")[derivative + 1]
  more <- cbind(c(op_code("save"), 0L, 1L, 0L, 0L),
                if (derivative) c(op_code(last), 0L, 1L, 0L, 0L))
  program$op <- cbind(program$op, more)
  storage.mode(program$op) <- "integer"
  pool <- core_pool(mixture, rotate = derivative < 2)
  result <- core_run(pool, models, list(a = as.double(a), b2 = as.double(b2), coef = coef), program,
                     nrow(x), c(1, if (logp) 2 + seq_len(J)), start = x)
  list(score = name_dims(result$output, rownames(x), variable_names(mixture)),
       logp = if (logp) matrix(unlist(result$scalar[2 + seq_len(J)]), nrow(x), J),
       divergence = if (derivative == 1) result$scalar[[1]],
       jacobian = result$jacobian)
}

# The interface to the C core: a pool of components, models (weights of the pool), noise levels and
# a compiled program.

# A common covariance is diagonal in its eigenbasis, where a score costs O(K d) instead of
# O(K d^2): the whole run takes place there, and `basis` leads back.
core_pool <- function(mixture, rotate = TRUE) {
  # components of weight zero are dropped: their 0 * Inf would be NaN
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

# Are components so far apart that an eigenbasis would cost digits? In it the coordinates of a
# component are as large as the distance. The same rule as in gm_level_fill().
is_far <- function(mixture, a, b2) {
  if (mixture$form != "common full") return(FALSE)
  means <- mixture$means[mixture$weights > 0, , drop = FALSE]
  half <- (apply(means, 2, max) - apply(means, 2, min)) / 2
  !(sum((a * half)^2) <= 500^2 * (a^2 * min(mixture$values) + b2))
}

# One model: log weights normalised over the components kept.
log_weights <- function(mixture, keep = TRUE) {
  w <- mixture$weights * keep
  log(w) - log(sum(w))
}

# A key for the core's random numbers, drawn from R's generator: 64 bits as two whole numbers.
draw_key <- function() floor(stats::runif(2) * 2^32)

# Runs a compiled program on n particles. `start` n x d or NULL (zero); `noise` n x d x noises or
# NULL (generated from `key`, or points of a `net`, of which they take the coordinates `at`).
# Returns output (n x d, or n x d x outputs if there are several), scalar (a list: n numbers for
# each of those wanted) and jacobian.
core_run <- function(pool, models, levels, program, n, scalars = integer(), start = NULL,
                     noise = NULL, key = c(0, 0), first = 0, lanes = 0L, net = NULL, at = NULL) {
  if (deadline$at < Inf && now() > deadline$at) abort("the time for it is over", "late")
  basis <- pool$basis
  if (!is.null(basis)) {
    if (!is.null(start)) start <- start %*% basis
    if (!is.null(noise)) noise <- each_slice(noise, `%*%`, basis)
  }
  levels$coef <- as.double(levels$coef)
  if (is.null(levels$want)) levels$want <- integer(length(levels$a))
  job <- list(n = as.integer(n), scalars = as.integer(seq_len(program$scalars) %in% scalars),
              start = start, noise = noise, key = as.double(key),
              first = as.double(first), lanes = as.integer(lanes), net = net, at = at)
  models <- t(models[, pool$used, drop = FALSE])
  result <- counting_unsolved(.Call(ffi_run, pool, list(log_weight = models), levels, program, job))
  if (!is.null(basis)) result$output <- each_slice(result$output, `%*%`, t(basis))
  result
}

# Draws from a mixture by the core's generator, determined by the key and the particles' numbers
# alone. They are independent of the noise of a sampler under this key.
keyed_draws <- function(mixture, n, key, first = 0, net = NULL) {
  draws_from(mixture, keyed_normals(mixture_dim(mixture), n, key, first, net))
}

# Standard normal numbers, n x d.
keyed_noise <- function(d, n, key, first = 0) {
  unname(keyed_draws(gaussmix(1, t(double(d)), 1), n, key, first))
}

# The normals of which they are made, n x d x 2.
keyed_normals <- function(d, n, key, first = 0, net = NULL) {
  plain <- list(mean = matrix(0, d), value = rep(1, d), used = TRUE)
  levels <- list(a = double(), b2 = double(), coef = double())
  # one number chooses the component
  columns <- if (!is.null(net)) c(net$draws[-1], net$draws[1], rep(-1L, d - 1))
  core_run(plain, rbind(0), levels, eval_program("draws", 0), n, key = stream(key, "draws"),
           first = first, net = keyed_net(net, key), at = columns)$output
}

draws_from <- function(mixture, z) {
  place_draws(mixture, choose_components(mixture$weights, z[, 1, 2]), z)
}

# The component that a standard normal number chooses.
choose_components <- function(weights, z) {
  used <- which(weights > 0)
  if (length(used) == 1) return(rep.int(used, length(z)))
  # the last component has what rounding leaves
  cuts <- stats::qnorm(pmin(cumsum(weights[used]), 1))[-length(used)]
  used[findInterval(z, cuts) + 1L]
}

# The value of `expr`. Runs that begin after `seconds` are an error of class `mixguide_error_late`.
within_seconds <- function(seconds, expr) {
  before <- deadline$at
  on.exit(deadline$at <- before)
  deadline$at <- min(before, now() + seconds)
  expr
}

deadline <- new.env(parent = emptyenv())
deadline$at <- Inf

# f of each n x d slice x[, , i], or of x itself
each_slice <- function(x, f, ...) {
  size <- dim(x)
  if (length(size) == 2) return(f(x, ...))
  for (i in seq_len(size[3])) x[, , i] <- f(matrix(x[, , i], size[1], size[2]), ...)
  x
}

# The kernel itself at the points x (n x d), at one noise level: x_t = a x_0 + sqrt(b2) z. `models`
# is J x K log-weights, `coef` J. `what`: the "score" (n x d), its "divergence" (n) or "jacobian"
# (n x d x d), or "logp", a list of the n log-densities of each model; "all": a list of these but
# the divergence. `want`: "denoised" or "noise" for these in place of the score. `push`, `ask`: see
# guidance_models().
core_eval <- function(mixture, x, a, b2, models, coef, what, want = "score", push = NULL,
                      ask = NULL) {
  program <- eval_program(what, nrow(models), ask)
  scalars <- if (what %in% c("logp", "all")) operations()$scalars + seq_len(nrow(models)) else
    if (what == "divergence") 1
  levels <- list(a = as.double(a), b2 = as.double(b2), coef = coef, want = want_code[[want]],
                 push = push)
  rotate <- !what %in% c("jacobian", "all") && !is_far(mixture, a, b2)
  pool <- core_pool(mixture, rotate = rotate)
  run <- core_run(pool, models, levels, program, nrow(x), scalars, start = x)
  names <- variable_names(mixture)
  switch(what, score = name_dims(run$output, rownames(x), names), logp = run$scalar[scalars],
         divergence = run$scalar[[1]],
         jacobian = name_dims(run$jacobian, rownames(x), names, names),
         all = list(score = run$output, logp = run$scalar[scalars], jacobian = run$jacobian))
}

# The programs of core_eval() and, as "draws", of keyed_normals() are kept: making one takes as long
# as evaluating 1000 points.
eval_programs <- new.env(parent = emptyenv())
eval_program <- function(what, n_models, ask = NULL) {
  name <- paste(what, n_models)
  if (is.null(ask) && !is.null(eval_programs[[name]])) return(eval_programs[[name]])
  own <- operations()$scalars
  s <- op_eval("s", t = 0)
  ops <- switch(what, draws = list(op_noise("x"), op_noise("z"), new_op("save", "x"),
                                   new_op("save", "x", from = "z")),
                logp = list(new_op("eval", to = "", t = 0, scalar = own + 1)),
                score = list(s, new_op("save", "x", from = "s")),
                divergence = list(s, new_op("save_divergence", "x", from = "s", scalar = 1)),
                jacobian = list(s, new_op("save_jacobian", "x", from = "s")),
                all = list(replace(s, "scalar", own + 1), new_op("save", "x", from = "s"),
                           new_op("save_jacobian", "x", from = "s")))
  if (!is.null(ask)) ops <- c(list(ask_op(s, ask)), ops)
  derivative <- switch(what, jacobian = , all = "map", divergence = "divergence", "none")
  program <- assemble_program(operation_table(ops), derivative, own + n_models)
  if (is.null(ask)) eval_programs[[name]] <- program
  program
}

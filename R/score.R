#' Exact scores of a diffused mixture
#'
#' The score is the gradient in `x` of the log-density of the mixture at time `t` of a forward
#' process. `score_jacobian()` is its derivative, `denoise()` the expectation of the data given
#' `x_t = x`, and `posterior()` the probability of each class given `x_t = x`.
#'
#' @details At time `t` component `k` is `N(a mu_k, S_k)`, `S_k = a^2 Sigma_k + b^2 I` (see
#'   [diffuse()]), in the coordinates of the process ([standardise()]). Points, scores and Jacobians
#'   are in the variables of the mixture. With responsibilities `r_k`, `P_k = S_k^-1` and
#'   `g_k = -P_k (x - a mu_k)`,
#'
#' * score `s = sum_k r_k g_k`;
#' * Jacobian `sum_k r_k (g_k - s)(g_k - s)' - sum_k r_k P_k`;
#' * denoiser `sum_k r_k m_k`, `m_k = mu_k + a Sigma_k P_k (x - a mu_k)`; by Tweedie's formula it
#'   equals `(x + b^2 s)/a`, whose digits cancel at late times, where `a` is small.
#'
#' With `guidance` the score is that of the guided sampler, `(1 + strength) s_class - strength
#' s_all` or another formula of [guidance()], at the strength of time `t`. `denoise()` applies
#' Tweedie's formula to it, as samplers do; for a strength other than 0 the result is no conditional
#' expectation. Guidance with a power has no Jacobian here.
#'
#' Responsibilities are computed in logarithms, so they are right far out (60 standard deviations
#' and more) and for weights as small as 1e-300. The Jacobian is centred as written above, which
#' keeps the digits that `sum r g g' - s s'` loses.
#'
#' @param mixture A [gaussmix()], or a [diffusion()] of one.
#' @param x Points: an n x d matrix or data frame, a vector of n points if d = 1, or one point as
#'   a vector of length d; by name where both have names, as in [dgaussmix()].
#' @param t One time, 0 or later, in the clock of the schedule. At `t = 0` every covariance must be
#'   nonsingular.
#' @param schedule The forward process, see [schedule].
#' @param guidance A [guidance()], or the label of a class (or several, for their union) for the
#'   score of the class; `NULL` for the plain score.
#' @param observation,method `NULL`, or an [observation()], as for [condition()], and the
#'   [zero_shot] method whose score is wanted; an error for methods with a step of their own, or
#'   particles. The process then is by default that of [conditional_sample()], in whose schedule
#'   noise is left at `t = 1`; without noise in the observation such a score does not exist at
#'   `t = 0`.
#' @return `score()` and `denoise()`: n x d matrices with the names of the variables.
#'   `score_jacobian()`: an n x d x d array, symmetric in the last two. `posterior()`: an n x
#'   classes matrix whose rows sum to 1.
#' @source Wu et al. (2024), \doi{10.48550/arXiv.2403.01639}, for the guided score; Liang et al.
#'   (2024), \doi{10.48550/arXiv.2405.16418}, for the diffused mixture.
#' @examples
#' m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(1, 1)), cov = .5, class = c("a", "b"))
#' x <- rbind(c(0, 0), c(60, -60))
#' score(m, x)
#' score(m, x, t = .5, guidance = guidance("a", 2))
#' score_jacobian(m, x)[1, , ]
#' denoise(m, x, t = .5)
#' posterior(m, x)
#' # the score that a zero-shot method follows
#' score(m, x, t = 10, observation = observation(.8, H = cbind(1, .5), noise = .09),
#'       method = zero_shot_bo())
#' @export
score <- function(mixture, x, t = 0,
                  schedule = if (is.null(observation)) schedule_ou() else schedule_etc(100),
                  guidance = NULL, observation = NULL, method = NULL) {
  unpack_diffusion()
  if (!is.null(observation)) {
    if (!is.null(guidance)) abort_input("guidance", "NULL for an `observation`", format(guidance))
    check_mixture(mixture)
    x <- check_points(x, mixture)
    observation <- in_process(as_observation(observation, mixture), mixture)
    check_zero_shot(method)
    scorer <- conditional_scorer(in_process(mixture), observation, method, schedule)
    value <- derivative_from_process(scorer(to_process(x, mixture), t), mixture)
    return(name_dims(value, rownames(x), variable_names(mixture)))
  }
  refuse_method(method)
  at <- guided_eval(mixture, x, t, schedule, guidance, "score")
  derivative_from_process(at$value, at$units)
}

#' @rdname score
#' @export
score_jacobian <- function(mixture, x, t = 0, schedule = schedule_ou(), guidance = NULL) {
  unpack_diffusion()
  at <- guided_eval(mixture, x, t, schedule, guidance, "jacobian")
  derivative_from_process(at$value, at$units)
}

#' @rdname score
#' @export
denoise <- function(mixture, x, t, schedule = schedule_ou(), guidance = NULL) {
  unpack_diffusion()
  at <- guided_eval(mixture, x, t, schedule, guidance, "score", want = "denoised")
  from_process(at$value, at$units)
}

#' @rdname score
#' @export
posterior <- function(mixture, x, t = 0, schedule = schedule_ou()) {
  unpack_diffusion()
  check_mixture(mixture)
  x <- check_points(x, mixture)
  classes <- mixture_classes(mixture)
  inside <- lapply(classes, function(class) mixture$class == class)
  prior <- vapply(inside, function(keep) sum(mixture$weights[keep]), 0)
  models <- do.call(rbind, lapply(inside[prior > 0], function(keep) log_weights(mixture, keep)))
  level <- noise_level(mixture, t, schedule)
  units <- units_at(mixture, level)
  mixture <- in_process(mixture, units)
  x <- to_process(x, units)
  joint <- core_eval(mixture, x, level$a, level$b2, models, rep(0, nrow(models)), "logp")
  joint <- Map(`+`, joint, log(prior[prior > 0]))
  far <- far_rows(mixture, x, level$a, level$b2)
  if (length(far)) {
    logits <- far_logits(mixture, x[far, , drop = FALSE], level$a, level$b2)
    class <- mixture$class[mixture$weights > 0]
    joint <- Map(function(all, y) {
      replace(all, far, log(rowSums(exp(logits[, class == y, drop = FALSE]))))
    }, joint, classes[prior > 0])
  }
  top <- do.call(pmax, joint)
  joint <- lapply(joint, function(term) exp(term - top))
  result <- matrix(0, nrow(x), length(classes), dimnames = list(rownames(x), classes))
  result[, prior > 0] <- unlist(joint) / Reduce(`+`, joint)
  result
}

guided_eval <- function(mixture, x, t, schedule, guidance, what, want = "score") {
  check_mixture(mixture)
  x <- check_points(x, mixture)
  guidance <- as_guidance(guidance)
  level <- noise_level(mixture, t, schedule, singular_ok = TRUE)
  guidance <- settle_guidance(guidance, schedule)
  units <- units_at(mixture, level)
  x <- to_process(x, units)
  guidance <- in_process(guidance, units)
  guide <- guidance_models(guidance, in_process(mixture, units))
  pool <- guidance_pool(guide)
  level <- noise_level(pool, t, schedule, singular_ok = want == "denoised")
  if (want == "denoised" && level$b2 == 0) return(list(x = x, value = x / level$a, units = units))
  far <- far_rows(pool, x, level$a, level$b2)
  # the kernel takes logits by distances, unless a common covariance is diagonal; for components of
  # one covariance only the Jacobian depends on logits so far out
  curved <- what == "jacobian"
  if (length(far) && (!startsWith(pool$form, "common") || curved && pool$form == "common full")) {
    far_logits(pool, x[far, , drop = FALSE], level$a, level$b2, by_distance = curved)
  }
  if (want == "denoised" && level$a == 0 && abs(sum(guide$coef(t)) - 1) > 1e-9) {
    abort_input("guidance", "one whose coefficients sum to 1 where a = 0", describe(t))
  }
  if (curved) refuse_nonlinear(guidance, "for a Jacobian")
  own_space <- guide$linear && !identical(guide$rule$kind, "recfg") ||
    identical(guide$rule$space, "denoised")
  if (want == "denoised" && level$a == 0 && !own_space) {
    abort_input("t", paste("a time before the data are forgotten (a > 0) for guidance with",
                           format(guide$rule)), describe(t))
  }
  value <- if (guide$linear && !is_uneven(guide)) {
    ask <- guide$ask
    core_eval(pool, x, level$a, level$b2, guide$models, guide$coef(t), what, want,
              guide$push(t), if (!is.null(ask)) function(zero, ...) ask(t, ...))
  } else driven_score(pool, x, t, schedule, guide, want, curved)
  list(x = x, value = value, units = units)
}

# The score, or another quantity that a sampler wants, by the operations of its steps.
driven_score <- function(pool, x, t, schedule, guide, want = "score", curved = FALSE) {
  d <- ncol(x)
  ops <- drive_operations(list(op_eval("s", t = t, want = want)), guide, NULL, d, schedule)
  save <- new_op(if (curved) "save_jacobian" else "save", "x", from = "s")
  program <- assemble_program(operation_table(c(ops, list(save)), d), if (curved) "map" else "none")
  levels <- program_levels(program, schedule)
  levels$coef <- guide$coef(program$level_times, program$level_of)
  levels$push <- guide$push(program$level_times, program$level_of)
  run <- core_run(core_pool(pool, !curved && !is_by_coordinate(program)), guide$models, levels,
                  program, nrow(x), start = unname(x))
  names <- variable_names(pool)
  if (curved) return(name_dims(run$jacobian, rownames(x), names, names))
  name_dims(run$output, rownames(x), names)
}

# The mixture whose coordinates an evaluation runs in: those of its process if there is noise,
# otherwise its own.
units_at <- function(mixture, level) {
  if (level$b2 == 0) mixture["coordinates"] <- list(NULL)
  mixture
}

# Points so far from all means that differences of their squared distances lose digits: beyond 3e4
# standard deviations, where the rounding error of a logit may reach 1e-6. An error if the square
# overflows.
far_rows <- function(mixture, x, a, b2) {
  used <- mixture$weights > 0
  sd <- sqrt(a^2 * min(used_values(mixture)) + b2)
  size <- max(abs(a * mixture$means[used, ])) + 3e4 * sd
  if (all_finite(x, size)) return(integer())
  if (!all_finite(x, max(size, 1e149 * sd))) {
    row <- which(rowSums(abs(x) > 1e149 * sd) > 0)[1]
    abort_input("x", "no farther than 1e149 standard deviations from the means",
                describe(unname(x[row, ])), "far")
  }
  which(rowSums(abs(x) > size) > 0)
}

# The logits of the components of positive weight, minus the largest, n x K. For one covariance they
# differ by a linear function of x, and keep their digits at any distance. Otherwise they differ by
# squared distances; an error if rounding loses the difference. `by_distance`: use distances also
# for one covariance, as the kernel does.
far_logits <- function(mixture, x, a, b2, by_distance = FALSE) {
  used <- which(mixture$weights > 0)
  weights <- mixture$weights[used]
  d <- mixture_dim(mixture)
  column <- if (ncol(mixture$values) == 1) rep(1, length(used)) else used
  variance <- a^2 * mixture$values[, column, drop = FALSE] + b2
  frame <- function(k) component_axes(mixture, used[k])
  means <- a * unname(mixture$means[used, , drop = FALSE])
  constant <- log(weights) - colSums(log(variance)) / 2
  alike <- function(k, l) {
    identical(variance[, k], variance[, l]) && identical(frame(k), frame(l))
  }
  logits <- vapply(seq_len(nrow(x)), function(i) {
    at <- x[i, ]
    # in units without overflow of squares
    unit <- max(abs(at))
    q <- vapply(seq_along(used), function(k) {
      sum(crossprod(frame(k), at / unit - means[k, ] / unit)^2 / variance[, k])
    }, 0)
    logit <- constant / unit / unit - q / 2
    top <- which.max(logit)
    other <- vapply(seq_along(used), function(k) {
      if (k == top) return(0)
      one <- alike(k, top)
      gap <- (logit[k] - logit[top]) * unit * unit
      if (one) {
        V <- frame(k)
        step <- crossprod(V, means[k, ] - means[top, ]) / variance[, k]
        gap <- constant[k] - constant[top] +
          sum(step * crossprod(V, at - means[k, ] / 2 - means[top, ] / 2))
      }
      rounding <- 4 * .Machine$double.eps * (d + 2) * (q[k] + q[top]) * unit * unit
      if ((by_distance || !one) && rounding > 1e-6 && abs(gap) <= 40 + 2 * rounding) {
        abort_input("x", paste("nearer to the means, or where the densities of two components",
                               "differ by more than rounding"), describe(unname(at)), "far")
      }
      gap
    }, 0)
    other - max(other)
  }, double(length(used)))
  matrix(logits, nrow(x), byrow = TRUE)
}

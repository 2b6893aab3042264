#' Differential entropy
#'
#' `-E log p(x)`, in nats. For a mixture (or one of its classes): closed form for one component,
#' quadrature in one or two dimensions, Monte Carlo beyond. For a guided sample: the entropy of the
#' law of its output, from the log-density of each particle; no density is estimated.
#'
#' @details
#' For a sample with a `"normal"` start the entropy `h` of the start is exact and only the change of
#' the log-density is averaged, so the standard error is small:
#' `h + E sum log|det|` (Wu et al.'s identity for DDIM in its discrete form). An affine map changes
#' the log-density by the same number everywhere, so the entropy of the run's output is exact. (The
#' output itself may still be far from the target.) If steps fold, the number is an upper bound;
#' `summary()` of the sample shows folds, and [folding()] gives the entropy in one dimension.
#'
#' **Stochastic samplers** carry no log-density. In one and two dimensions [entropy()] of their
#' [guided_law()] needs no random numbers. The entropy of a sample in up to 16 dimensions is
#' estimated from the distances of nearest neighbours (Kozachenko and Leonenko 1987; the fourth, in
#' whitened variables; package FNN), of 1e5 particles at most. Such estimates are biased by some
#' hundredths of a nat. The bias is measured by as many particles of the default sampler, whose
#' entropy is known, and subtracted. The standard error counts both samples, and half of the
#' subtracted bias. Particles that overlap or lie in fewer dimensions have no entropy. Where the
#' guidance is by a rule or a power, those of the default sampler are of the class.
#'
#' **Deterministic runs by a rule, a power or a [score_model()]** carry no log-density either. Their
#' entropy comes from differences of their map, which takes some 6 runs for each dimension; the
#' standard error counts the error of the differences.
#'
#' @param x A [gaussmix()], a [guided_sample()] or [guided_summary()] with a log-density, a
#'   [tilted_sample()], a [guidance_sweep()] or a [law].
#' @param class For a mixture: the class, or `NULL` for the whole.
#' @param n Number of draws if neither a closed form nor quadrature is possible.
#' @param key `NULL`, to draw a key from R's generator if draws are needed, or two whole numbers
#'   that determine the draws.
#' @param ... Must be empty.
#' @inherit confidence return
#' @source Wu et al. (2024), \doi{10.48550/arXiv.2403.01639}; Kozachenko and Leonenko (1987),
#'   Problemy Peredachi Informatsii 23, 9-16.
#' @examples
#' entropy(gaussmix(1, 0, 1))
#' m <- gaussmix(c(.5, .5), c(1, -1), cov = 1)
#' entropy(m)
#' entropy(guided_sample(m, 1000, guidance("1", 2)))
#' @export
entropy <- function(x, ...) UseMethod("entropy")

#' @export
entropy.default <- function(x, ...) no_estimate(x)

#' @rdname entropy
#' @export
entropy.gaussmix <- function(x, class = NULL, n = 2^14, key = NULL, ...) {
  check_dots(...)
  key <- check_key(key)
  x <- class_law(x, class)
  used <- which(x$weights > 0)
  if (is_singular(x)) {
    abort("`x` has a singular covariance: its differential entropy is -Inf", "singular")
  }
  row <- if (length(used) == 1) {
    values <- x$values[, min(used, ncol(x$values))]
    estimate_row(sum(log(2 * pi * exp(1) * values)) / 2, 0, "exact")
  } else {
    expectations(list(x), list(function(from) {
      x <- moved(x, from)
      function(z) -dgaussmix(z, x, log = TRUE)
    }), n, x, key)[[1]]
  }
  estimate_table("entropy", row, format(x))
}

#' @rdname entropy
#' @export
entropy.guided_sample <- function(x, ...) {
  check_dots(...)
  estimate_table("entropy", sample_entropy(x), particle_words(x))
}

# A class without a density has an entropy while there is noise: the end of the run matters.
time_note <- function(mixture, class, times) {
  known <- inherits(mixture, "gaussmix") && is.null(mixture$model)
  if (!known || !is_singular(class_law(mixture, class))) return("")
  paste0("at t = ", format(times[length(times)], digits = 2), " (",
         if (is.null(class)) "the mixture" else "the class", " has no density)")
}

sample_entropy <- function(x) {
  row <- carried_entropy(x)
  note <- time_note(x$mixture, x$guidance$class, x$times)
  if (row$method != "unknown" && nzchar(note)) row$note <- note
  row
}

carried_entropy <- function(x) {
  if (is.null(x$log_density)) {
    return(if (x$sampler$stochastic) neighbour_entropy(x) else difference_entropy(x))
  }
  if (is.null(x$start_entropy)) return(particle_mean(x, -x$log_density))
  # an affine map changes all log-densities by one number
  row <- exact_if_constant(particle_mean(x, -x$density_change))
  row$estimate <- row$estimate + x$start_entropy
  row
}

# If steps fold, several starts end in one place, and its density is the sum over them.
format_entropy <- function(x) {
  paste0(if (any(x$folded > 0, na.rm = TRUE)) "at most ", format_estimate(entropy(x)))
}

# The entropy of a sample without log-density, from its nearest neighbours and those of another
# sample with known entropy.
neighbour_entropy <- function(x) {
  if (ncol(x$x) > 16 || inherits(x$mixture, "score_model")) no_log_density(x)
  if (!nrow(x$x)) return(unknown_row("no particles"))
  if (!is.null(x$family)) {
    abort(paste("the entropy of a stochastic sampler takes independent particles:",
                'points = "random"'), "input")
  }
  if (!x$start %in% c("normal", "exact")) no_log_density(x)
  need_packages("the entropy of a stochastic sampler", "FNN")
  # a rule, or another model to lead away from, leaves no density of the other sample
  guide <- x$guidance
  if (!is.null(nonlinear_words(guide)) || inherits(guide$negative, "score_model")) {
    guide <- guidance(guide$class)
  }
  known <- quiet_sample(x$mixture, min(nrow(x$x), 1e5), guide, schedule = x$schedule,
                        horizon = x$horizon, start = x$start, key = stream(x$key, "neighbours"))
  if (is.null(known$log_density)) no_log_density(x)
  other <- entropy(known)
  own <- neighbour_surprise(x$x)
  taken <- neighbour_surprise(known$x)
  if (is.null(own)) return(unknown_row("too few particles, or they lie in fewer dimensions"))
  if (is.null(taken)) no_log_density(x)
  off <- mean(taken) - other$estimate
  se <- sqrt(stats::var(own) / length(own) + stats::var(taken) / length(taken) + off^2 / 4)
  estimate_row(mean(own) - off, se, "Monte Carlo", "by nearest neighbours")
}

# Minus the log-density at each point, up to a constant mean error, from the distance of its k-th
# neighbour; NULL if points lie in fewer dimensions.
neighbour_surprise <- function(x, k = 4) {
  x <- x[rowSums(!is.finite(x)) == 0, , drop = FALSE]
  x <- x[seq_len(min(nrow(x), 1e5)), , drop = FALSE]
  n <- nrow(x)
  d <- ncol(x)
  if (n < 16 * (d + 1)) return(NULL)
  sd <- apply(x, 2, stats::sd)
  if (!all(sd > 0)) return(NULL)
  z <- scale(x, scale = sd)
  root <- if_error(chol(stats::cov(z)), function(e) NULL)
  if (is.null(root) || min(diag(root)) < 1e-6) return(NULL)
  distance <- FNN::knn.dist(t(backsolve(root, t(z), transpose = TRUE)), k)[, k]
  if (any(distance == 0)) return(NULL)
  ball <- d / 2 * log(pi) - lgamma(d / 2 + 1)
  digamma(n) - digamma(k) + ball + d * log(distance) + sum(log(diag(root) * sd))
}

# The entropy of a deterministic run whose log-density the core does not carry along, by differences
# of its map.
difference_entropy <- function(x) {
  if (is.null(without_density(x)) || is_singular_at_end(x)) no_log_density(x)
  if (!nrow(x$x)) return(unknown_row("no particles"))
  d <- diffusion_of_run(x)
  run <- if (!is.null(d)) without_faults(with_density(x, d))
  if (is.null(run$log_density)) no_log_density(x)
  entropy_of_run(run)
}

is_singular_at_end <- function(x) {
  !inherits(x$mixture, "score_model") && is_singular(x$mixture) &&
    x$schedule$b2(x$times[length(x$times)]) == 0
}

# What a run is by that leaves it without a log-density, in words, or NULL.
without_density <- function(x) {
  own <- inherits(x$mixture, "score_model") || inherits(x$score_error$model, "score_model")
  if (own) "a score_model()" else nonlinear_words(x$guidance)
}

no_log_density <- function(x) {
  words <- without_density(x)
  abort(paste0("`x` carries no log-density", if (is.null(words)) {
    ': take a deterministic sampler, or log_density = "map" or "divergence"'
  } else {
    paste0(" by ", words, ": in one and two dimensions take entropy() of its guided_law()",
           if (!inherits(x$mixture, "score_model")) ", otherwise see compare_guidance()")
  }), "input")
}

#' @rdname entropy
#' @export
entropy.guidance_sweep <- function(x, ...) sweep_column(x, "entropy", ...)

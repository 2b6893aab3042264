#' Differential entropy
#'
#' `-E log p(x)`, in nats. For a mixture of itself (or of one class): closed form for one
#' component, quadrature in one or two dimensions, Monte Carlo beyond. For a guided sample of the
#' law of its output, from the log-density that rode along: no density is estimated.
#'
#' @details
#' For a sample with a `"normal"` start the entropy `h` of the start is exact and only the change of
#' the log-density is averaged, which makes the standard error small:
#' `h + E sum log|det|` (Wu et al.'s identity for DDIM in its discrete form). An affine map changes
#' it by the same number everywhere: the entropy of what the run puts out is then exact, which is
#' not to say that the run puts out what it should. Where steps fold the
#' number is an upper bound; `summary()` of the sample tells, and in one dimension [folding()] has
#' the entropy itself. Stochastic samplers have none but by their [guided_law()].
#'
#' @param x A [gaussmix()], a [guided_sample()] or [guided_summary()] with a log-density, a
#'   [tilted_sample()], a [guidance_sweep()] or a [law].
#' @param class For a mixture: the class, or `NULL` for the whole.
#' @param n Number of draws where neither a closed form nor quadrature is possible.
#' @param key `NULL`, to draw one from R's generator where there are draws, or two whole numbers
#'   that settle them.
#' @param ... Must be empty.
#' @inherit confidence return
#' @source Wu et al. (2024), \doi{10.48550/arXiv.2403.01639}.
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
  if (length(used) == 1) {
    values <- x$values[, min(used, ncol(x$values))]
    row <- estimate_row(sum(log(2 * pi * exp(1) * values)) / 2, 0, "exact")
    return(estimate_table("entropy", row, format(x)))
  }
  row <- expectation(x, function(from) {
    x <- moved(x, from)
    function(z) -dgaussmix(z, x, log = TRUE)
  }, n, key = key)
  estimate_table("entropy", row, format(x))
}

#' @rdname entropy
#' @export
entropy.guided_sample <- function(x, ...) {
  check_dots(...)
  if (is.null(x$log_density)) no_log_density()
  if (is.null(x$start_entropy)) {
    return(estimate_table("entropy", particle_mean(x, -x$log_density), particle_words(x)))
  }
  # of an affine map the change is the same everywhere
  row <- exact_if_constant(particle_mean(x, -x$density_change))
  row$estimate <- row$estimate + x$start_entropy
  estimate_table("entropy", row, particle_words(x))
}

# Where steps fold several starts end in one place, and their density is more than each one tells.
format_entropy <- function(x) {
  paste0(if (any(x$folded > 0, na.rm = TRUE)) "at most ", format_estimate(entropy(x)))
}

no_log_density <- function() {
  abort(paste("`x` carries no log-density: take a deterministic sampler, or",
              'log_density = "map" or "divergence"'), "input")
}

#' @rdname entropy
#' @export
entropy.guidance_sweep <- function(x, ...) sweep_column(x, "entropy", ...)

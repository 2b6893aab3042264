#' Classification confidence
#'
#' The mean probability `E p(class | x)` that the mixture's own classifier gives to the class aimed
#' at. For a mixture, `x` comes from the class itself: the confidence that perfect conditional
#' sampling has. For a guided sample, `x` is the output of the sampler.
#'
#' @details Of a sample, a sweep that kept its samples (`keep = TRUE`) and a law, the confidence in
#'   any class can be had, from its points; of a summary and other sweeps only that in the class
#'   that they aimed at was kept, and another one is an error.
#'
#' @param x A [gaussmix()], a [guided_sample()] or [tilted_sample()], a [guided_summary()], a
#'   [guidance_sweep()] or a [law].
#' @param class One or more classes, each of which has a row. `NULL`: of a mixture each of its
#'   classes, otherwise the class (or the union of classes) aimed at.
#' @param n Number of draws where quadrature is not possible (mixtures with d > 2).
#' @param ... Must be empty.
#' @return A data frame with columns `estimate`, `se` and `method`: `"exact"`, `"quadrature"`,
#'   `"Monte Carlo"`, or `"heavy tail"`, with `NA` for the numbers, where a few weights carry the
#'   mean (see [tilted_sample()]); before them `class` for a mixture or where it was given,
#'   `strength` for a sweep.
#' @source Wu et al. (2024), \doi{10.48550/arXiv.2403.01639}.
#' @examples
#' m <- gaussmix(c(.5, .5), c(1, -1), cov = 1, class = c("a", "b"))
#' confidence(m)
#' confidence(guided_sample(m, 1000, guidance("a", 2)))
#' @export
confidence <- function(x, ...) UseMethod("confidence")

#' @export
confidence.default <- function(x, ...) no_estimate(x)

no_estimate <- function(x) {
  abort_input("x", "a gaussmix, a guided_sample, a guided_summary, a guidance_sweep or a law",
              paste("a", class(x)[1]))
}

#' @rdname confidence
#' @export
confidence.gaussmix <- function(x, class = NULL, n = 1e5, ...) {
  check_dots(...)
  if (is_singular(x)) {
    abort("`x` has a singular covariance and no density; add noise by diffuse() first", "singular")
  }
  class_rows(x, if (is.null(class)) mixture_classes(x) else class, function(y) {
    inside <- class_components(x, y)
    part <- class_law(x, y)
    if (all(x$weights[!inside] == 0)) return(estimate_row(1, 0, "exact"))
    expectation(part, function(from) class_probability(moved(x, from), y), n, cut_at = x)
  })
}

# A row for each class.
class_rows <- function(mixture, class, row) {
  class_components(mixture, class)
  class <- label_text(class)
  cbind(class = class, do.call(rbind, lapply(class, row)), stringsAsFactors = FALSE)
}

#' @rdname confidence
#' @export
confidence.guided_sample <- function(x, class = NULL, ...) {
  check_dots(...)
  if (is.null(class)) {
    if (is.null(x$confidence)) no_class()
    return(particle_mean(x, x$confidence))
  }
  q <- sample_posterior(x)
  class_rows(x$mixture, class, function(y) particle_mean(x, q[, y]))
}

# p(class | x) of the points of a guided_sample, a column per class: as its confidence, at the last
# time at which the law has a density. NaN where a particle overflowed.
sample_posterior <- function(x) {
  t <- closing_time(x$mixture, x$times, x$schedule)
  there <- rowSums(!is.finite(x$x)) == 0
  q <- posterior(x$mixture, x$x[there, , drop = FALSE], t, x$schedule)
  all <- matrix(NaN, length(there), ncol(q), dimnames = list(NULL, colnames(q)))
  all[there, ] <- q
  all
}

no_class <- function() {
  abort("`x` was sampled without guidance: there is no class to be confident of", "input")
}

#' @rdname confidence
#' @export
confidence.guidance_sweep <- function(x, class = NULL, ...) {
  check_dots(...)
  setup <- attr(x, "setup")
  if (is.null(class)) return(sweep_column(x, "confidence"))
  if (length(setup$samples) != nrow(x)) {
    return(aimed_row(sweep_column(x, "confidence"), class, setup$class))
  }
  rows <- Map(function(strength, sample) {
    row <- confidence(sample, class)
    cbind(row["class"], strength = strength, row[names(row) != "class"])
  }, x$strength, setup$samples)
  do.call(rbind, unname(rows))
}

# What was kept for the class aimed at alone: with it, or an error if another one is asked for.
aimed_row <- function(row, class, aim) {
  if (!(is.atomic(class) && length(aim) == 1 && identical(label_text(class), aim))) {
    abort_input("class", paste0("NULL", if (length(aim) == 1) paste0(' or "', aim, '"'),
                                ": nothing was kept of other classes, which confidence() of a ",
                                "guided_sample() has"), describe(class))
  }
  cbind(class = aim, row, stringsAsFactors = FALSE)
}

# p(class | z) as a function of points z (n x d), for one class or the union of several.
class_probability <- function(mixture, class) {
  log_q <- log_class_probability(mixture, class)
  function(z) exp(log_q(z))
}

log_class_probability <- function(mixture, class) {
  guide <- guidance_models(guidance(class), mixture)
  function(z) {
    logp <- core_eval(mixture, z, 1, 0, guide$models, c(0, 0), "logp")
    pmin(guide$log_prior + logp[[1]] - logp[[2]], 0)
  }
}

estimate_row <- function(estimate, se, method) {
  data.frame(estimate = estimate, se = se, method = method, stringsAsFactors = FALSE)
}

# The mean of f over draws, or over quadrature nodes where there are weights; over draws that have
# weights if it is known which of them are dependent, by the number of their `family`.
sample_mean <- function(x, weights = NULL, family = NULL) {
  if (is.null(weights)) {
    mean <- mean(x)
    se <- stats::sd(x) / sqrt(length(x))
    return(estimate_row(mean, if (is_rounding(se, mean)) 0 else se, "Monte Carlo"))
  }
  there <- weights > 0
  mean <- sum((weights * x)[there])
  if (is.null(family)) return(estimate_row(mean, 0, "quadrature"))
  estimate_row(mean, families_se((weights * (x - mean))[there], family[there]), "Monte Carlo")
}

# The same for a guided_sample.
particle_mean <- function(object, x) {
  if (!length(x)) return(estimate_row(NA_real_, NA_real_, "no particles"))
  if (!is.null(object$heavy)) return(heavy_row())
  sample_mean(x, object$weights, object$family)
}

# The standard error of a sum over particles, of mean zero, of which only different families are
# independent. One family tells nothing of it.
families_se <- function(x, family) {
  sums <- rowsum(x, family)
  if (length(sums) < 2) return(NA_real_)
  sqrt(sum(sums^2)) * few_factor(length(sums))
}

# The standard error of the mean of a few independent replicates.
replicates_se <- function(x) {
  n <- length(x)
  if (n < 2) NA_real_ else stats::sd(x) * sqrt((n - 1) / n) / sqrt(n) * few_factor(n)
}

# What a root of the mean square of n deviations from their mean is multiplied by, so that twice the
# result covers what two standard errors should, by Student's law.
few_factor <- function(n) {
  sqrt(n / (n - 1)) * stats::qt(stats::pnorm(2), n - 1) / 2
}

# Is what is left of a constant's standard error rounding?
is_rounding <- function(se, scale) !is.na(se) & se <= 1e-13 * abs(scale)

# The mean of what is the same for all particles where a map is affine: then it is exact.
exact_if_constant <- function(row) {
  if (row$method == "Monte Carlo" && is_rounding(row$se, max(1, abs(row$estimate)))) {
    row$se <- 0
    row$method <- "exact"
  }
  row
}

format_estimate <- function(row) {
  if (row$method == "heavy tail") return("heavy tail: a mean of the draws would say nothing")
  if (row$method != "Monte Carlo") {
    error <- if (isTRUE(row$se > 0)) paste(", error", format(row$se, digits = 1))
    return(paste0(format(row$estimate, digits = 6), " (", row$method, error, ")"))
  }
  if (is.nan(row$estimate)) return("NaN: particles overflowed")
  if (is.na(row$se)) return(paste(format(row$estimate, digits = 6), "(one draw)"))
  # not exact: others may differ
  if (is_rounding(row$se, row$estimate)) {
    return(paste(format(row$estimate, digits = 6), "(all draws alike)"))
  }
  if (row$se < 1e-14) {
    return(paste0(format(row$estimate, digits = 2), " (se ", format(row$se, digits = 1), ")"))
  }
  # as many decimals as leave two digits of the standard error
  digits <- if (is.finite(row$se)) max(0, min(15, 1 - floor(log10(row$se)))) else 4
  decimal <- function(x) formatC(x, digits = digits, format = "f")
  paste0(decimal(row$estimate), " (se ", decimal(row$se), ")")
}

# E f(X) for X from a mixture: quadrature in one or two dimensions, Monte Carlo beyond. `f_of`
# returns the function in coordinates that count from a place, of an n x d matrix; in one or two
# dimensions it may vary as fast as the components of `cut_at` do.
expectation <- function(mixture, f_of, n, cut_at = mixture) {
  d <- mixture_dim(mixture)
  if (d > 1) n <- check_count(n, "n", 2)
  in_plane <- if (d == 2) plane_expectation(mixture, f_of(0), cut_at)
  if (!is.null(in_plane)) return(in_plane)
  if (d > 1) return(sample_mean(mapped_draws(mixture, n, f_of(0))))
  parts <- vapply(panel_nodes(cut_at), function(piece) {
    mixture <- moved(mixture, piece$from)
    sum(piece$weight * f_of(piece$from)(piece$x) * dgaussmix(piece$x, mixture))
  }, 0)
  estimate_row(sum(parts), 0, "quadrature")
}

# f of n draws, in blocks of 2^22 numbers; those of several blocks are other draws than those of one
# call.
mapped_draws <- function(mixture, n, f) {
  from <- seq(0, n - 1, by = max(1, floor(2^22 / mixture_dim(mixture))))
  unlist(Map(function(first, last) f(rgaussmix(last - first, mixture)), from, c(from[-1], n)))
}

# The mixture in coordinates that count from `from`.
moved <- function(mixture, from) {
  mixture$means <- mixture$means - rep(from, each = mixture_size(mixture))
  mixture
}

# Integrals over the line of what varies as fast as the components: for each piece where components
# live, nodes (n x 1), which count from the place `from`, and weights. Between the pieces there is
# nothing; and a node far from 0 would be rounded to more than a component's width.
panel_nodes <- function(mixture) {
  used <- mixture$weights > 0
  mean <- mixture$means[used, 1]
  sd <- sqrt(rep_len(mixture$values, mixture_size(mixture))[used])
  reach <- 12
  low <- mean - reach * sd
  by_low <- order(low)
  gap <- low[by_low][-1] > cummax((mean + reach * sd)[by_low])[-length(low)]
  piece <- integer(length(low))
  piece[by_low] <- cumsum(c(TRUE, gap))
  rule <- gauss_legendre(16)
  lapply(split(seq_along(low), piece), function(k) {
    narrow <- k[which.min(sd[k])]
    from <- mean[narrow]
    # panels no wider than any component's sd where that component lives; thinned, so that the many
    # components of a kernel density share them
    cuts <- sort(as.vector(outer(sd[k], -reach:reach) + (mean[k] - from)))
    cuts <- cuts[!duplicated(floor(cuts / (sd[narrow] / 2)))]
    half <- diff(cuts) / 2
    list(from = from, x = matrix(outer(rule$node, half) + rep(cuts[-1] - half, each = 16)),
         weight = as.vector(outer(rule$weight, half)))
  })
}

# Nodes and weights on [-1, 1] (Golub and Welsch 1969).
gauss_legendre <- function(n) {
  k <- seq_len(n - 1)
  jacobi <- matrix(0, n, n)
  jacobi[cbind(k, k + 1)] <- jacobi[cbind(k + 1, k)] <- k / sqrt(4 * k^2 - 1)
  e <- eigen(jacobi, symmetric = TRUE)
  list(node = e$values, weight = 2 * e$vectors[1, ]^2)
}

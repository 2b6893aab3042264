#' Classification confidence
#'
#' The mean probability `E p(class | x)` that the mixture's own classifier gives to the class aimed
#' at. For a mixture, `x` comes from the class itself: the confidence that perfect conditional
#' sampling has. For a guided sample, `x` is the output of the sampler.
#'
#' @param x A [gaussmix()], a [guided_sample()] or [tilted_sample()], a [guided_summary()], a
#'   [guidance_sweep()] or a [law].
#' @param class The class (for a mixture); `NULL`: each of them.
#' @param n Number of draws where quadrature is not possible (mixtures with d > 1).
#' @param ... Not used.
#' @return A data frame with columns `estimate`, `se` and `method`: `"exact"`, `"quadrature"`,
#'   `"Monte Carlo"`, or `"heavy tail"`, with `NA` for the numbers, where a few weights carry the
#'   mean (see [tilted_sample()]); before them `class` for a mixture, `strength` for a sweep.
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
  classes <- mixture_classes(x)
  if (!is.null(class)) {
    class_components(x, class)
    classes <- as.character(class)
  }
  if (is_singular(x)) {
    abort("`x` has a singular covariance and no density; add noise by diffuse() first", "singular")
  }
  rows <- lapply(classes, function(y) {
    inside <- class_components(x, y)
    part <- class_law(x, y)
    if (all(x$weights[!inside] == 0)) return(estimate_row(1, 0, "exact"))
    expectation(part, class_probability(x, y), n, cut_at = x)
  })
  data.frame(class = classes, do.call(rbind, rows))
}

#' @rdname confidence
#' @export
confidence.guided_sample <- function(x, ...) {
  if (is.null(x$confidence)) no_class()
  particle_mean(x, x$confidence)
}

no_class <- function() {
  abort("`x` was sampled without guidance: there is no class to be confident of", "input")
}

#' @rdname confidence
#' @export
confidence.guidance_sweep <- function(x, ...) sweep_column(x, "confidence")

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

# A table of results without what made it.
plain_table <- function(x) {
  attributes(x) <- c(attributes(x)[c("names", "row.names")], class = "data.frame")
  x
}

format_estimate <- function(row) {
  if (row$method == "heavy tail") return("heavy tail: a mean of the draws would say nothing")
  if (row$method != "Monte Carlo") {
    return(paste0(format(row$estimate, digits = 6), " (", row$method, ")"))
  }
  if (is.nan(row$estimate)) return("NaN: particles overflowed")
  if (is.na(row$se)) return(paste(format(row$estimate, digits = 6), "(one draw)"))
  # not exact: others may differ
  if (is_rounding(row$se, row$estimate)) {
    return(paste(format(row$estimate, digits = 6), "(all draws alike)"))
  }
  # as many decimals as leave two digits of the standard error
  digits <- if (is.finite(row$se)) max(0, min(15, 1 - floor(log10(row$se)))) else 4
  decimal <- function(x) formatC(x, digits = digits, format = "f")
  paste0(decimal(row$estimate), " (se ", decimal(row$se), ")")
}

# E f(X) for X from a mixture: quadrature in one dimension, Monte Carlo beyond. f takes an n x d
# matrix; in one dimension it may vary as fast as the components of `cut_at` do.
expectation <- function(mixture, f, n, cut_at = mixture) {
  if (mixture_dim(mixture) > 1) return(sample_mean(f(rgaussmix(check_count(n, "n", 2), mixture))))
  nodes <- panel_nodes(cut_at)
  estimate_row(sum(nodes$weight * f(nodes$x) * dgaussmix(nodes$x, mixture)), 0, "quadrature")
}

# Nodes (n x 1) and weights of an integral over the line of what varies as fast as the components.
panel_nodes <- function(mixture) {
  used <- mixture$weights > 0
  mean <- mixture$means[used, 1]
  sd <- sqrt(rep_len(mixture$values, mixture_size(mixture))[used])
  # panels no wider than any component's sd where that component lives; thinned, so that the many
  # components of a kernel density share them
  cuts <- sort(as.vector(outer(sd, -12:12) + mean))
  cuts <- cuts[!duplicated(floor(cuts / (min(sd) / 2)))]
  rule <- gauss_legendre(16)
  half <- diff(cuts) / 2
  list(x = matrix(outer(rule$node, half) + rep(cuts[-1] - half, each = 16)),
       weight = as.vector(outer(rule$weight, half)))
}

# Nodes and weights on [-1, 1] (Golub and Welsch 1969).
gauss_legendre <- function(n) {
  k <- seq_len(n - 1)
  jacobi <- matrix(0, n, n)
  jacobi[cbind(k, k + 1)] <- jacobi[cbind(k + 1, k)] <- k / sqrt(4 * k^2 - 1)
  e <- eigen(jacobi, symmetric = TRUE)
  list(node = e$values, weight = 2 * e$vectors[1, ]^2)
}

#' Classification confidence
#'
#' The mean probability `E p(class | x)` that the mixture's own classifier gives to the class aimed
#' at. For a mixture, `x` comes from the class itself: the confidence that perfect conditional
#' sampling has. For a guided sample, `x` is the output of the sampler.
#'
#' @param x A [gaussmix()], a [guided_sample()] or [tilted_sample()], a [guided_summary()], a
#'   [guidance_sweep()] or a [law].
#' @param class The class (for a mixture); `NULL`: each of them.
#' @param n Number of draws where quadrature is not possible (mixtures with d > 2).
#' @param ... Not used.
#' @return A data frame with columns `estimate`, `se` and `method`: `"exact"`, `"quadrature"` or
#'   `"Monte Carlo"`; before them `class` for a mixture, `strength` for a sweep.
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
# weights if it is known from which start each descends.
sample_mean <- function(x, weights = NULL, ancestor = NULL) {
  if (is.null(weights)) return(estimate_row(mean(x), stats::sd(x) / sqrt(length(x)), "Monte Carlo"))
  there <- weights > 0
  mean <- sum((weights * x)[there])
  if (is.null(ancestor)) return(estimate_row(mean, 0, "quadrature"))
  estimate_row(mean, family_se((weights * (x - mean))[there], ancestor[there]), "Monte Carlo")
}

# The same for a guided_sample.
particle_mean <- function(object, x) sample_mean(x, object$weights, object$ancestor)

# The standard error of a sum over particles, of mean zero: those of one ancestor are dependent,
# families are not (Chan and Lai 2013). One family tells nothing of it.
family_se <- function(x, ancestor) {
  sums <- rowsum(x, ancestor)
  if (length(sums) > 1) sqrt(sum(sums^2)) else NA_real_
}

# A table of results without what made it.
plain_table <- function(x) {
  attributes(x) <- c(attributes(x)[c("names", "row.names")], class = "data.frame")
  x
}

format_estimate <- function(row) {
  if (row$method != "Monte Carlo") {
    error <- if (isTRUE(row$se > 0)) paste(", error", format(row$se, digits = 1))
    return(paste0(format(row$estimate, digits = 6), " (", row$method, error, ")"))
  }
  # as many decimals as leave two digits of the standard error
  if (is.nan(row$estimate)) return("NaN: particles overflowed")
  if (is.na(row$se)) return(paste(format(row$estimate, digits = 6), "(one draw)"))
  digits <- if (is.finite(row$se) && row$se > 0) max(0, min(15, 1 - floor(log10(row$se)))) else 4
  decimal <- function(x) formatC(x, digits = digits, format = "f")
  paste0(decimal(row$estimate), " (se ", decimal(row$se), ")")
}

# E f(X) for X from a mixture: quadrature in one or two dimensions, Monte Carlo beyond. f takes an
# n x d matrix; in one or two dimensions it may vary as fast as the components of `cut_at` do.
expectation <- function(mixture, f, n, cut_at = mixture) {
  if (mixture_dim(mixture) > 1) n <- check_count(n, "n", 2)
  in_plane <- if (mixture_dim(mixture) == 2) plane_expectation(mixture, f, cut_at)
  if (!is.null(in_plane)) return(in_plane)
  if (mixture_dim(mixture) > 1) return(sample_mean(f(rgaussmix(n, mixture))))
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

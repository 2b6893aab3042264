# Estimates: rows of `estimate`, `se` and `method`, how they are made of particles, and printed.

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

# "0.123(4)": the standard error in units of the last digit.
short_estimate <- function(estimate, se) {
  if (is.na(estimate)) return("NA")
  if (!is.finite(se) || se <= 0) return(format(estimate, digits = 3))
  digits <- max(0, min(6, -floor(log10(se))))
  paste0(formatC(estimate, digits = digits, format = "f"), "(",
         formatC(se * 10^digits, digits = 0, format = "f"), ")")
}

# Estimates: rows of `estimate`, `se`, `method` and `note`, how they are made of particles, and
# printed.

# How a number can be known.
METHODS <- c("exact", "quadrature", "Monte Carlo", "bound", "unknown")

DIVERGENCES <- c(kl = "KL(target || output)", kl_reverse = "KL(output || target)",
                 total_variation = "total variation")

# The same in the heads of columns, and what these stand for.
DIVERGENCE_HEADS <- c(kl = "KL", kl_reverse = "reverse KL", total_variation = "TV")

divergence_words <- function(names) {
  toString(paste0(DIVERGENCE_HEADS[names], ": ", DIVERGENCES[names]))
}

# The columns of every estimate.
ESTIMATE <- c("estimate", "se", "method", "note")

# The one constructor of estimates. A note says more than the method does. One table may need some
# hundred rows, for which data.frame() would take thirty times as long.
estimate_row <- function(estimate, se, method, note = "") {
  if (!all(method %in% METHODS)) {
    stop("internal error: no such method: ", toString(setdiff(method, METHODS)))
  }
  n <- length(estimate)
  list2DF(list(estimate = unname(estimate), se = rep_len(unname(se), n),
               method = rep_len(method, n), note = rep_len(note, n)))
}

unknown_row <- function(note = "") estimate_row(NA_real_, NA_real_, "unknown", note)

# The method of a number that is made of several estimates: the least certain of theirs.
joint_method <- function(methods) METHODS[max(match(methods, METHODS))]

# The sum of estimates from separate draws.
sum_row <- function(...) {
  rows <- rbind(...)
  estimate_row(sum(rows$estimate), sqrt(sum(rows$se^2)), joint_method(rows$method))
}

# The mean of f over draws. With weights alone the points are quadrature nodes. With weights and a
# `family` they are weighted draws, and draws of one family depend on each other.
sample_mean <- function(x, weights = NULL, family = NULL) {
  drawn <- function(mean, se) {
    estimate_row(mean, if (is_rounding(se, mean)) 0 else se, "Monte Carlo")
  }
  if (is.null(weights) && is.null(family)) return(drawn(mean(x), stats::sd(x) / sqrt(length(x))))
  if (is.null(weights)) weights <- 1 / length(x)
  there <- weights > 0
  if (!all(there)) {
    x <- x[there]
    weights <- weights[there]
    family <- family[there]
  }
  mean <- sum(weights * x)
  if (is.null(family)) return(estimate_row(mean, 0, "quadrature"))
  drawn(mean, families_se(weights * (x - mean), family))
}

# The same for a guided_sample.
particle_mean <- function(object, x) {
  if (!length(x)) return(unknown_row("no particles"))
  if (!is.null(object$heavy)) return(heavy_row())
  sample_mean(x, object$weights, object$family)
}

# That of its confidences, or of other probabilities.
mean_confidence <- function(object, q = object$confidence, log_q = object$log_confidence) {
  row <- particle_mean(object, q)
  if (!is.null(object$weights) || !length(q)) return(row)
  with_unseen(row, tail_of(-log_q[!is.na(log_q)], tail_size(length(q))), length(q))
}

# The weights of particles; equal ones if the run has none.
run_weights <- function(run) {
  if (is.null(run$weights)) rep(1 / nrow(run$x), nrow(run$x)) else run$weights
}

# The standard error of a sum of mean zero over particles. Only different families are independent,
# so that a single family does not determine it.
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

# The factor of a standard deviation of n values, by Student's law: twice the result then covers as
# much as two standard errors should.
few_factor <- function(n) sqrt(n / (n - 1)) * stats::qt(stats::pnorm(2), n - 1) / 2

# Is a standard error so small that it is the rounding error of a constant?
is_rounding <- function(se, scale) !is.na(se) & se <= 1e-13 * abs(scale)

# The mean of a value that affine maps make the same for all particles; it is exact for these.
exact_if_constant <- function(row) {
  if (row$method == "Monte Carlo" && is_rounding(row$se, max(1, abs(row$estimate)))) {
    row$se <- 0
    row$method <- "exact"
  }
  row
}

# Quantities that are differences of numbers near 1: below 1e-15 they are rounding errors.
OF_SIZE_ONE <- c(names(DIVERGENCES), "gain", "initialisation", "discretisation", "bias", "range",
                 "null", "score_error", "cross", "path", "gap")

# "0.9993 (0.0001)": the decimals end with the first digit of the standard error. An estimate stands
# alone if it has no error, or if it was not drawn and its error is below the digits shown.
# `of_one`: is the number rounding if it is below 1e-15?
show_estimate <- function(estimate, se, method, digits = 4, of_one = FALSE) {
  show <- function(estimate, se, method, of_one) {
    if (of_one && isTRUE(abs(estimate) < 1e-15)) return(if (estimate > 0) "< 1e-15" else "0")
    bare <- format(estimate, digits = digits)
    if (is.na(estimate)) return(bare)
    # a long row of nines would fill the screen
    if (isTRUE(se > 0) && estimate < 1 && 1 - estimate < 1e-6) {
      return(paste("1 -", show(1 - estimate, se, method, FALSE)))
    }
    drawn <- method == "Monte Carlo"
    if (is.na(se) && !drawn || is_rounding(se, estimate)) return(bare)
    # one draw has no standard error
    if (is.na(se)) return(paste(bare, "(error unknown)"))
    if (!is.finite(se) || !is.finite(estimate)) return(paste0(bare, " (", format(se), ")"))
    if (!drawn && signif(estimate + se, digits) == signif(estimate, digits)) return(bare)
    se <- signif(se, 1)
    last <- floor(log10(se) + 1e-9)
    size <- floor(log10(max(abs(estimate), se)) + 1e-9)
    if (size < -4 || size > 8) {
      return(paste0(formatC(estimate, digits = max(0, size - last), format = "e"), " (",
                    format(se, digits = 1), ")"))
    }
    decimal <- function(x) formatC(x, digits = min(15, max(0, -last)), format = "f")
    paste0(decimal(estimate), " (", decimal(se), ")")
  }
  as.character(unlist(Map(show, estimate, se, method, of_one)))
}

# One estimate in a line of print, with its method unless it was drawn.
format_estimate <- function(row, digits = 4) {
  if (row$method == "unknown" && is.na(row$estimate)) {
    return(paste0("unknown", if (nzchar(row$note)) paste0(": ", row$note)))
  }
  if (is.nan(row$estimate)) return("NaN: particles overflowed")
  paste0(show_estimate(row$estimate, row$se, row$method, digits),
         if (row$method != "Monte Carlo") paste0(", ", row$method),
         if (nzchar(row$note)) paste0("; ", row$note))
}

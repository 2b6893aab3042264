# Means of weights and of reciprocals. A few draws may dominate them, or the draws that should
# dominate may be missing. Then neither the mean nor its standard error is reliable.

# The number of largest values that describe the tail of n draws: as in Vehtari et al. (2024), at
# most 2000.
tail_size <- function(n) ceiling(min(.2 * n, 3 * sqrt(n), 2000))

# The largest of log-values, in order, and the one below them.
tail_of <- function(log_x, size) {
  if (length(log_x) > 4 * size) {
    log_x <- log_x[log_x >= -sort.int(-log_x, partial = size + 1)[size + 1]]
  }
  utils::head(sort.int(log_x, decreasing = TRUE), size + 1)
}

# The shape k of a generalised Pareto law of the excesses over the least of some log-values: the
# r-th moment is finite for r < 1/k. NA for fewer than 5. The fit is that of Zhang and Stephens
# (2009), shrunk towards 1/2 by the weight of 10 values as in Vehtari et al. (2024).
pareto_k <- function(log_tail) {
  m <- length(log_tail) - 1
  if (m < 5 || anyNA(log_tail)) return(NA_real_)
  if (max(log_tail) == Inf) return(Inf)
  if (max(log_tail) == -Inf) return(-Inf)
  x <- sort(exp(log_tail - max(log_tail)))
  x <- (x - x[1])[-1]
  # all are equal, to rounding
  if (x[m] <= 1e-12) return(-Inf)
  x <- x[x > 0]
  n <- length(x)
  if (n < 5) return(NA_real_)
  size <- 30 + floor(sqrt(n))
  theta <- 1 / x[n] + (1 - sqrt(size / (seq_len(size) - .5))) / (3 * x[floor(n / 4 + .5)])
  shape <- function(theta) mean(log1p(-theta * x))
  k <- vapply(theta, shape, 0)
  profile <- n * (log(-theta / k) - k - 1)
  weight <- exp(profile - max(profile))
  k <- shape(sum(theta * weight) / sum(weight))
  (n * k + 5) / (n + 10)
}

# Is the mean of n draws unreliable? For k above 1/2 the variance is infinite, and so is the
# quantity that a standard error estimates; few draws need a lighter tail still, 1 - 1/log10(n). The
# tail does not matter if the excesses are negligible beside the sum, as if 1/q is 1 up to
# rounding.
is_heavy <- function(log_tail, n, mean, k = pareto_k(log_tail)) {
  if (is.na(k) || k <= heavy_from(n)) return(FALSE)
  share <- (exp(max(log_tail)) - exp(min(log_tail))) / (n * mean)
  !isTRUE(share < 1e-4)
}

heavy_from <- function(n) min(.5, 1 - 1 / log10(n))

# The row of an unreliable mean, without a number.
heavy_row <- function() unknown_row("heavy tail: a mean of the draws would say nothing")

# The mean of probabilities 1 - p is bounded, and useful for any tail; but its standard error misses
# the few particles that were not drawn. What these add, as a standard error: by the Pareto law of
# the tail, and at most 1.5/n, because two standard errors of what n particles never show are 3/n. 0
# if the tail is light, or its excesses are negligible beside 1.
unseen_share <- function(log_tail, n) {
  excess <- exp(max(log_tail)) - exp(min(log_tail))
  k <- pareto_k(log_tail)
  if (is.na(k) || k <= heavy_from(n) || excess < 1e-5) return(0)
  # two standard errors of k above it
  k <- k + 2 * (1 + k) / sqrt(length(log_tail))
  min(1.5, if (k < 1) excess * k / (1 - k)) / n
}

# The row of a mean of p, with the error of particles that were not drawn if it is larger than what
# the row has. `log_tail`: the largest of -log p.
with_unseen <- function(row, log_tail, n) {
  if (!row$method %in% "Monte Carlo" || is.na(row$estimate)) return(row)
  unseen <- unseen_share(log(-expm1(-log_tail)), n)
  if (!isTRUE(unseen > row$se)) return(row)
  row$se <- sqrt(row$se^2 + unseen^2)
  row$note <- FEW_CARRY
  row
}

FEW_CARRY <- "a few particles carry 1 - confidence"

# The mean of weights or reciprocals, whose logarithms are given.
mean_of_weights <- function(log_x, x = exp(log_x)) {
  n <- length(log_x)
  if (is_heavy(tail_of(log_x, tail_size(n)), n, mean(exp(log_x)))) heavy_row() else sample_mean(x)
}

# The same for sums over chunks: their tails can be merged.
tail_part <- function(log_x, n) {
  size <- tail_size(n)
  list(size = size, log = tail_of(log_x[!is.na(log_x)], size))
}

merge_tails <- function(a, b) {
  if (is.null(a)) return(b)
  list(size = a$size, log = tail_of(c(a$log, b$log), a$size))
}

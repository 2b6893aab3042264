# Small numerics: logarithms of sums, triangular systems, Lambert's W.

# log sum exp, of a list of vectors of one length.
log_sum <- function(terms) {
  top <- pmax(do.call(pmax, terms), -.Machine$double.xmax)  # -Inf - -Inf would be NaN
  top + log(Reduce(`+`, lapply(terms, function(term) exp(term - top))))
}

log_mean <- function(log_w, nodes = NULL) {
  log_w <- log_w + if (is.null(nodes)) -log(length(log_w)) else log(nodes)
  max(log_w) + log(sum(exp(log_w - max(log_w))))
}

row_max <- function(x) {
  if (ncol(x)) x[cbind(seq_len(nrow(x)), max.col(x, "first"))] else double(nrow(x))
}

# backsolve() fails for a matrix without rows
solve_lower <- function(L, x) if (nrow(L)) backsolve(L, x, upper.tri = FALSE) else x

# W0(exp(log_x)): w + log w = log_x, in u = log w, where the left side is convex and rises: Newton
# from the right of the root converges, and nothing overflows.
lambert_w <- function(log_x) {
  u <- ifelse(log_x > 1, log(pmax(log_x, 1)), log_x)
  for (i in 1:50) u <- u - (exp(u) + u - log_x) / (exp(u) + 1)
  exp(u)
}

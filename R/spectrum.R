# Spectra of covariances whose variances may differ by any factor: rounding is judged variable by
# variable, never relative to the largest. The covariance alone determines the eigenvectors.

# Eigenvalues and eigenvectors, with signs and bases that do not depend on LAPACK. LAPACK's are
# right to the rounding of the largest variance; if variances differ much, these are right to that
# of each.
spectrum <- function(S, d, arg) {
  if (!is.matrix(S)) S <- diag(S, d)
  if (is_graded(diag(S))) return(root_spectrum(cov_root(S, arg), 0))
  decomposition <- eigen(S, symmetric = TRUE)
  values <- check_psd(decomposition$values, arg)
  rounding <- d * .Machine$double.eps * values[1]
  values[values < rounding] <- 0
  settle(values, decomposition$vectors, rounding, 0)
}

# Do variances differ so much that two digits of the smallest could be lost?
is_graded <- function(variances) max(variances) > 100 * min(variances)

# A root of S by the Cholesky factor of the correlations, so that units do not affect whether S
# counts as singular, or as no covariance.
cov_root <- function(S, arg) {
  variances <- check_psd(diag(S), arg)
  d <- length(variances)
  there <- variances > 0
  sd <- sqrt(variances[there])
  R <- S[there, there, drop = FALSE] / sd / rep(sd, each = length(sd))
  half <- suppressWarnings(chol(R, pivot = TRUE, tol = 8 * d * .Machine$double.eps))
  rank <- attr(half, "rank")
  L <- matrix(0, length(sd), rank)
  L[attr(half, "pivot"), ] <- t(half[seq_len(rank), , drop = FALSE])
  if (max(abs(R - tcrossprod(L))) > 1e-10) {
    values <- eigen(R, symmetric = TRUE, only.values = TRUE)$values
    if (min(values) < -1e-10 * values[1]) {
      abort_input(arg, "positive semi-definite",
                  paste("eigenvalue", format(min(values), digits = 6), "of the correlations"))
    }
  }
  beside <- abs(S[!there, , drop = FALSE])
  if (any(beside > 1e-10 * max(variances))) {
    abort_input(arg, "positive semi-definite", sprintf("%g beside a variance of 0", max(beside)))
  }
  root <- matrix(0, d, rank)
  root[there, ] <- sd * L
  root
}

# The spectrum of L L'. A row of L counts as dependent on the others if they leave less than `least`
# of it, or of `size`.
root_spectrum <- function(root, least = 1e-13, size = 0) {
  d <- nrow(root)
  size <- rep_len(pmax(size, sqrt(rowSums(root^2))), d)
  if (is_graded(size^2)) {
    whole <- .Call(ffi_spectrum, root, least * size)
    return(settle(whole$values, whole$vectors, 0, max(d, 10) * .Machine$double.eps))
  }
  # a point has no root
  if (!ncol(root)) root <- matrix(0, d, 1)
  whole <- svd(root, nu = d, nv = 0)
  sd <- c(whole$d, double(d - length(whole$d)))
  sd[sd <= least * max(sd, size)] <- 0
  whole <- settle(sd, whole$u, max(d, 10) * .Machine$double.eps * sd[1], 0)
  list(values = whole$values^2, vectors = whole$vectors)
}

# Signs of eigenvectors, and bases for equal eigenvalues, that depend on the covariance alone.
# Values within `absolute`, or within `relative` of themselves, are equal.
settle <- function(values, vectors, absolute, relative) {
  .Call(ffi_settle, list(values = values, vectors = vectors), c(absolute, relative))
}

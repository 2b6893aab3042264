# Exact conditioning on y = H x + n. Everything is done by roots of covariances, L L' = Sigma_k and
# N N' = R, so that standard deviations, not variances, meet the rounding. With the singular values
# of what makes y of standard normals, [H L, N] = U s W', and the orthonormal rest Z of W,
#   y - H mu = U s e,  x - mu = L (W_x e + Z_x z),  z standard normal,
# where W_x and Z_x are the rows that belong to x: mean, gain and a root of the posterior at once.

#' Condition a mixture on a linear observation
#'
#' The exact law of `x` given `y = H x + n`, where `x` comes from a mixture and `n` is independent
#' Gaussian noise of mean zero: again a mixture, with the same classes. `observed_law()` is the law
#' of `y` itself.
#'
#' @details
#' Given the observation, component `k` has (with `S_k = H Sigma_k H' + R`, `K_k = Sigma_k H'
#' S_k^+`)
#'
#' * the weight `w_k N(y; H mu_k, S_k)`, divided by the sum of them;
#' * the mean `mu_k + K_k (y - H mu_k)`;
#' * the covariance `(I - K_k H) Sigma_k (I - K_k H)' + K_k R K_k'`.
#'
#' `H` may have any rank and `R`, the covariance of the noise, too, 0 included; where `S_k` is
#' singular, `S_k^+` is its pseudo-inverse and the density is that on its range. A component that
#' cannot have made `y` gets the weight 0; if none can, that is an error. Where components live in
#' spaces of different dimension, those of the smallest that can have made `y` share all the weight,
#' as a point mass does beside a density.
#'
#' With noise in every direction of `y` the posterior has a density if the prior has. Observed
#' exactly, a direction of `x` has variance 0: variables observed so are left out of the result
#' (`drop`), or it has no density before noise is added ([diffuse()]).
#'
#' @section Numerical notes:
#' Weights are computed in logarithms: they are right for observations at any distance. Roots of
#' covariances are decomposed (SVD), never `S_k`: posterior standard deviations are right down to
#' 1e-13 of the prior's, below which they count as 0. Directions in which `y` varies less than 1e-10
#' of the most (in standard deviations) count as free of noise, where `y` must agree with the model
#' to 1e-8 of its size.
#'
#' @param mixture The law of `x`: a [gaussmix()].
#' @param y The observation: without `H` a vector named by the variables observed, otherwise one
#'   number per row of `H`. A matrix or data frame has an observation per row (without `H`, a column
#'   per variable observed).
#' @param H What is observed: an m x d matrix, or a vector of length d for one number. Columns are
#'   matched to the variables by their names, if they have those. `NULL`: the variables that `y` (or
#'   `variables`) names; those of a mixture without names are called `"x1"`, `"x2"`, ... (`"x"` if
#'   d = 1).
#' @param noise The covariance of the noise: one variance (0: none), a vector of m variances, or an
#'   m x m matrix.
#' @param drop Whether to leave out variables that are observed without noise.
#' @param variables The names or numbers of the variables observed, in place of `H`.
#' @return `condition()`: a [gaussmix()] with the names and classes of `mixture` and no `fit`; for a
#'   matrix or data frame, a list of them, one per row, that share their covariances.
#'   `observed_law()`: the law of `y`, a [gaussmix()] in m variables, named by the rows of `H` or as
#'   the variables observed. Both have one covariance if `mixture` has.
#' @section Errors: Of class `mixguide_error`; of kind `mixguide_error_impossible` for a `y` that no
#'   component can have made.
#' @source Textbook formulas; roots and the rule for spaces of different dimension are derived for
#'   this package. Setting: Liang, Ju, Liang and Shroff (2024), \doi{10.48550/arXiv.2410.13746}.
#' @seealso [impute()] for data with missing values, [marginal()], [rgaussmix()] for conditional
#'   simulation, [dgaussmix()] for the conditional density.
#' @examples
#' m <- as_gaussmix(Species ~ ., iris)
#' condition(m, c(Petal.Length = 4, Petal.Width = 1.5))
#'
#' # a noisy measurement of a combination; its log-density
#' m2 <- named_mixture("M2")
#' condition(m2, .8, H = c(1, .5), noise = .3^2)
#' dgaussmix(.8, observed_law(m2, c(1, .5), .3^2), log = TRUE)
#'
#' # a regression line with its spread, exactly
#' given <- condition(m, data.frame(Petal.Length = 1:6))
#' t(sapply(given, mean))
#' @export
condition <- function(mixture, y, H = NULL, noise = 0, drop = is.null(H)) {
  check_mixture(mixture)
  check_flag(drop, "drop")
  y <- plain_numbers(y)
  many <- is.matrix(y) || is.data.frame(y)
  if (is.data.frame(y)) y <- frame_to_matrix(y, "y")
  if (!is.numeric(y) || !(many || length(y))) abort_input("y", "numbers", describe(y))
  if (!many) y <- t(y)
  H <- observed_by(mixture, H, colnames(y), "y")
  if (ncol(y) != nrow(H)) {
    abort_input("y", paste(count_of(nrow(H), "number"), "(one per row of `H`)"), paste(ncol(y)))
  }
  if (!all(is.finite(y))) {
    abort_input("y", "finite and without missing values (see impute() for those)",
                toString(y[!is.finite(y)], 40))
  }
  root <- noise_root(noise, nrow(H))
  keep <- rep(TRUE, ncol(H))
  if (drop) {
    exact <- rowSums(root^2) == 0 & rowSums(H != 0) == 1
    keep <- colSums(H[exact, , drop = FALSE] != 0) == 0
    if (!any(keep)) abort_input("drop", "FALSE where every variable is observed without noise")
  }
  given <- conditional_parts(mixture, H, root, keep)
  at <- condition_rows(given, y)
  means <- mixture$means[, keep, drop = FALSE]
  if (!all(keep)) colnames(means) <- variable_labels(mixture)[keep]
  law <- rooted_mixture(mixture, means, lapply(given$parts, `[[`, "root"),
                        sqrt(apply(mixture$values, 2, max)))
  laws <- lapply(seq_len(nrow(y)), function(i) {
    law$weights <- at$weights[i, ]
    law$means[] <- at$means[i, , ]
    law
  })
  if (many) stats::setNames(laws, rownames(y)) else laws[[1]]
}

#' @rdname condition
#' @export
observed_law <- function(mixture, H = NULL, noise = 0, variables = NULL) {
  check_mixture(mixture)
  H <- observed_by(mixture, H, variables, "variables")
  root <- noise_root(noise, nrow(H))
  roots <- lapply(seq_len(ncol(mixture$values)), function(k) {
    cbind(H %*% component_root(mixture, k), root)
  })
  rooted_mixture(mixture, tcrossprod(mixture$means, H), roots, 0)
}

# H as a matrix, m x d; without one, the rows of the identity that the names (or numbers) of
# variables in the argument `arg` choose.
observed_by <- function(mixture, H, variables, arg) {
  labels <- variable_labels(mixture)
  d <- length(labels)
  if (is.null(H)) {
    rows <- if (is.numeric(variables)) match(variables, seq_len(d)) else match(variables, labels)
    if (!length(rows) || anyNA(rows) || anyDuplicated(rows)) {
      abort_input(arg, paste0(if (arg == "y") "named by ", "distinct variables among ",
                              toString(labels, 200), " (or give `H`)"), describe(variables))
    }
    return(name_dims(diag(1, d)[rows, , drop = FALSE], labels[rows], labels))
  }
  if (is.data.frame(H)) H <- frame_to_matrix(H, "H")
  if (is.null(dim(H))) H <- t(H)
  if (!is.numeric(H) || length(dim(H)) != 2 || ncol(H) != d || !nrow(H) || !all(is.finite(H))) {
    abort_input("H", paste("a matrix of finite numbers with", count_of(d, "column")), describe(H))
  }
  if (!is.null(colnames(H))) {
    if (setequal(colnames(H), labels)) return(H[, labels, drop = FALSE])
    if (!is.null(variable_names(mixture))) {
      abort_input("H", paste("without column names, or with those of the variables,",
                             toString(labels, 200)), toString(colnames(H), 60))
    }
  }
  H
}

# A root of the covariance of the noise, without columns of zeros.
noise_root <- function(noise, m) {
  if (is.numeric(noise) && is.null(dim(noise)) && length(noise) == m) noise <- diag(noise, m)
  of_noise <- spectrum(check_covariance(noise, m, "noise"), m, "noise")
  there <- of_noise$values > 0
  of_noise$vectors[, there, drop = FALSE] * rep(sqrt(of_noise$values[there]), each = m)
}

# For each covariance of the mixture what an observation makes of the variables `keep`: per unit of
# e, and as a root of the covariance that is left. See the head of this file.
conditional_parts <- function(mixture, H, noise, keep = rep(TRUE, ncol(H))) {
  d <- ncol(H)
  parts <- lapply(seq_len(ncol(mixture$values)), function(k) {
    L <- component_root(mixture, k)
    A <- cbind(H %*% L, noise)
    whole <- if (nrow(A)) svd(A) else list(d = double(), u = diag(0, 0), v = matrix(0, ncol(A), 0))
    r <- sum(whole$d > 1e-10 * whole$d[1])
    W <- whole$v[, seq_len(r), drop = FALSE]
    Z <- if (r) qr.Q(qr(W), complete = TRUE)[, -seq_len(r), drop = FALSE] else diag(1, ncol(A))
    within <- seq_len(d)
    L <- L[keep, , drop = FALSE]
    root <- L %*% Z[within, , drop = FALSE]
    # what is rounding beside the prior is nothing
    root[rowSums(root^2) <= 1e-26 * rowSums(L^2), ] <- 0
    list(s = whole$d[seq_len(r)], U = whole$u[, seq_len(r), drop = FALSE],
         gain = L %*% W[within, , drop = FALSE], root = root)
  })
  list(mixture = mixture, H = H, keep = keep, parts = parts, means = unname(mixture$means))
}

# Observations (n x m): the weights of the components given each, n x K (zero where none can have
# made it), and their means, n x K x d. `prior`: log-weights, n x K or alike for all. `rows`, `arg`:
# what an error calls them.
condition_rows <- function(given, y, prior = t(log_weights(given$mixture)), arg = "y",
                           rows = if (nrow(y) > 1) seq_len(nrow(y))) {
  n <- nrow(y)
  K <- nrow(given$means)
  prior <- prior[rep_len(seq_len(nrow(prior)), n), , drop = FALSE]
  log_weight <- matrix(-Inf, n, K)
  means <- array(0, c(n, K, sum(given$keep)))
  rank <- vapply(given$parts, function(part) length(part$s), 0L)
  rank <- rep_len(rank, K)
  off <- matrix(0, n, K)
  for (k in seq_len(K)) {
    part <- given$parts[[min(k, length(given$parts))]]
    at <- drop(given$H %*% given$means[k, ])
    rest <- y - rep(at, each = n)
    e <- rest %*% part$U
    size <- pmax(row_max(abs(y)), max(abs(at), part$s, .Machine$double.xmin))
    off[, k] <- row_max(abs(rest - tcrossprod(e, part$U))) / size
    e <- e * rep(1 / part$s, each = n)
    means[, k, ] <- rep(given$means[k, given$keep], each = n) + tcrossprod(e, part$gain)
    log_weight[, k] <- prior[, k] - rowSums(e^2) / 2 - sum(log(part$s)) - rank[k] / 2 * log(2 * pi)
  }
  log_weight[off > 1e-8] <- -Inf
  # a density is nothing beside one in fewer dimensions
  if (any(rank != rank[1])) {
    in_space <- ifelse(log_weight > -Inf, rep(rank, each = n), Inf)
    log_weight[in_space > -row_max(-in_space)] <- -Inf
  }
  impossible <- which(row_max(log_weight) == -Inf)
  if (length(impossible)) {
    i <- impossible[1]
    nearest <- min(off[i, ])
    abort(paste0("`", arg, "`", if (!is.null(rows)) paste(" in row", rows[i]),
                 " is impossible: no component gives it; ", if (nearest > 1e-8) {
                   paste("the nearest is off by", format(nearest, digits = 2),
                         "of its size in a direction without noise")
                 } else "those that might have the weight 0, or are too far for doubles"),
          "impossible")
  }
  weights <- exp(log_weight - row_max(log_weight))
  list(weights = weights / rowSums(weights), means = means)
}

row_max <- function(x) {
  if (ncol(x)) x[cbind(seq_len(nrow(x)), max.col(x, "first"))] else double(nrow(x))
}

# The mixture's weights and classes with these means and roots of covariances, in the simplest form.
# Standard deviations below 1e-13 of `scale` (one for each root) or of the largest are zero.
rooted_mixture <- function(mixture, means, roots, scale) {
  d <- ncol(means)
  # only what was diagonal, or has one variable, can be diagonal
  covs <- if (d == 1 || is.null(mixture$vectors)) lapply(roots, diagonal_cov)
  if (length(covs) && !any(vapply(covs, is.null, NA))) {
    names(covs) <- paste("component", seq_along(covs))
    return(assemble_gaussmix(mixture$weights, means, covs, mixture$class))
  }
  spectra <- Map(function(root, scale) {
    # a point has no root
    if (!ncol(root)) root <- matrix(0, d, 1)
    whole <- svd(root, nu = d, nv = 0)
    sd <- c(whole$d, double(d - length(whole$d)))
    list(values = (sd * (sd > 1e-13 * max(sd, scale)))^2, vectors = whole$u)
  }, roots, scale)
  values <- vapply(spectra, `[[`, double(d), "values")
  vectors <- vapply(spectra, `[[`, matrix(0, d, d), "vectors")
  common <- length(roots) == 1
  if (common) dim(vectors) <- c(d, d)
  new_gaussmix(mixture$weights, means, if (common) "common full" else "full", matrix(values, d),
               vectors, mixture$class)
}

# L L' as a number or d variances; NULL if it is not diagonal.
diagonal_cov <- function(root) {
  S <- tcrossprod(root)
  off <- abs(S) > 1e-14 * sqrt(outer(diag(S), diag(S)))
  if (any(off[row(S) != col(S)])) NULL else simplify_cov(diag(S, names = FALSE))
}

# Exact conditioning on y = H x + n. All steps use roots of covariances, L L' = Sigma_k and
# N N' = R, so that rounding affects standard deviations, not variances. Reflections of the standard
# normals make H L = [F, 0] with a triangle F: x - mu = B e + C z, and y depends on e alone. Others
# make [F, N] a triangle, [T, 0]: y - H mu = T f and e = G f + E g. The posterior of x has mean
# mu + B G f and root [B E, C]. Rows and columns keep their own scale throughout (lower_form()).

#' Condition a mixture on a linear observation
#'
#' The exact law of `x` given `y = H x + n`, where `x` comes from a mixture and `n` is independent
#' Gaussian noise of mean zero. The law is again a mixture, with the same classes. The law of `y`
#' itself is a [marginal()].
#'
#' @details
#' Given the observation, component `k` has (with `S_k = H Sigma_k H' + R`, `K_k = Sigma_k H'
#' S_k^+`)
#'
#' * the weight `w_k N(y; H mu_k, S_k)`, divided by the sum of them;
#' * the mean `mu_k + K_k (y - H mu_k)`;
#' * the covariance `(I - K_k H) Sigma_k (I - K_k H)' + K_k R K_k'`.
#'
#' `H` and the covariance `R` of the noise may have any rank, 0 included. If `S_k` is singular,
#' `S_k^+` is its pseudo-inverse and the density is the one on its range. A component that cannot
#' have made `y` gets the weight 0; if none can, this is an error. If components live in spaces of
#' different dimension, those of the smallest dimension that can have made `y` share all the weight,
#' as a point mass does beside a density.
#'
#' With noise in every direction of `y` the posterior has a density if the prior has. A direction of
#' `x` that is observed exactly has variance 0. `drop` leaves such variables out of the result;
#' otherwise it has no density before noise is added ([diffuse()]).
#'
#' @section Numerical notes:
#' Weights are computed in logarithms: they are right for observations at any distance. Roots of
#' covariances are decomposed, never `S_k`, and rounding is judged row by row, so that results do
#' not depend on units. Variances of the noise, rows of `H` and variances of `x` may differ by any
#' factor (`noise = c(1e20, 1)`: the first number was hardly observed). A row of `H` counts as
#' dependent on others if it is to 1e-13. If such a row has no noise, `y` must agree with the model
#' to 1e-8 of the size of its terms.
#'
#' @param mixture The law of `x`: a [gaussmix()].
#' @param observation An [observation()] of one or several `y`, or numbers named by the observed
#'   variables: a vector, or a matrix or data frame with an observation per row.
#' @param drop Whether to leave out variables that are observed without noise. `NULL`: only if the
#'   observation is of chosen variables, not of an `H`.
#' @return A [gaussmix()] with the names and classes of `mixture` and no `fit`, and with one
#'   covariance if `mixture` has one. For a `y` with rows: a list of such mixtures, one per row,
#'   that share their covariances.
#' @section Errors: Of class `mixguide_error`; of kind `mixguide_error_impossible` if no component
#'   can have made `y`.
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
#' y <- observation(.8, H = cbind(1, .5), noise = .3^2)
#' condition(m2, y)
#' dgaussmix(.8, marginal(m2, y), log = TRUE)
#'
#' # a regression line with its spread, exactly
#' given <- condition(m, data.frame(Petal.Length = 1:6))
#' t(sapply(given, mean))
#' @export
condition <- function(mixture, observation, drop = NULL) {
  check_mixture(mixture)
  observation <- as_observation(observation, mixture, seen = "any")
  if (is.null(drop)) drop <- !is.null(observation$variables)
  check_flag(drop, "drop")
  H <- observation$H
  many <- is.matrix(observation$y)
  y <- if (many) observation$y else t(observation$y)
  root <- noise_root(observation$noise, nrow(H))
  keep <- rep(TRUE, ncol(H))
  if (drop) {
    exact <- rowSums(root^2) == 0 & rowSums(H != 0) == 1
    keep <- colSums(H[exact, , drop = FALSE] != 0) == 0
    if (!any(keep)) abort_input("drop", "FALSE where every variable is observed without noise")
  }
  given <- conditional_parts(mixture, H, root, keep)
  posterior <- condition_rows(given, y)
  means <- mixture$means[, keep, drop = FALSE]
  if (!all(keep)) colnames(means) <- variable_labels(mixture)[keep]
  law <- rooted_mixture(mixture, means, lapply(given$parts, `[[`, "root"))
  law["coordinates"] <- list(kept_coordinates(mixture, keep))
  laws <- lapply(seq_len(nrow(y)), function(i) {
    law$weights <- posterior$weights[i, ]
    law$means[] <- posterior$means[i, , ]
    law
  })
  if (many) stats::setNames(laws, rownames(y)) else laws[[1]]
}

# The law of y.
law_of_observed <- function(mixture, observation) {
  H <- observation$H
  root <- noise_root(observation$noise, nrow(H))
  L <- lapply(seq_len(ncol(mixture$values)), component_root, mixture = mixture)
  law <- rooted_mixture(mixture, tcrossprod(mixture$means, H),
                        lapply(L, function(L) cbind(H %*% L, root)),
                        lapply(L, size_of_terms, H = H))
  if (is.null(mixture$coordinates)) law else standardise(law)
}

# For each row of H L, the size of the terms in its sum.
size_of_terms <- function(H, L) sqrt(rowSums((abs(H) %*% abs(L))^2))

# A root of the covariance of the noise, without columns of zeros.
noise_root <- function(noise, m) {
  if (!is.matrix(noise)) {
    variances <- rep_len(check_psd(noise, "noise"), m)
    return(diag(sqrt(variances), m)[, variances > 0, drop = FALSE])
  }
  of_noise <- spectrum(noise, m, "noise")
  there <- of_noise$values > 0
  of_noise$vectors[, there, drop = FALSE] * rep(sqrt(of_noise$values[there]), each = m)
}

# For each covariance of the mixture, the effect of an observation on the variables `keep`: y - H mu
# = `lower` f, whose rows `rows`, in this order, are a triangle that determines the others; `gain`,
# per unit of f; and a root of the remaining covariance. See the head of this file.
conditional_parts <- function(mixture, H, noise, keep = rep(TRUE, ncol(H))) {
  parts <- lapply(seq_len(ncol(mixture$values)), function(k) {
    L <- component_root(mixture, k)
    terms <- size_of_terms(H, L)
    own <- L[keep, , drop = FALSE]
    of_noise <- sqrt(rowSums(noise^2))
    # the most precise number first: its value is not blurred by the others
    signal <- lower_form(H %*% L, own, 1e-13 * c(terms, sqrt(rowSums(own^2))),
                         1 / pmax(of_noise, 1e-16 * terms))
    part <- list(rows = signal$rows, lower = signal$A, gain = signal$B, root = signal$rest)
    if (ncol(noise)) {
      r <- length(signal$rows)
      late <- !seq_along(terms) %in% signal$rows
      prefer <- 1 / (of_noise * late)
      prefer[signal$rows] <- Inf
      both <- lower_form(cbind(signal$A, noise), diag(1, r, r + ncol(noise)),
                         c(1e-13 * of_noise * late, double(r)), prefer, signal$rows)
      part <- list(rows = both$rows, lower = both$A, gain = signal$B %*% both$B,
                   root = cbind(signal$B %*% both$rest, signal$rest))
    }
    part$log_det <- log_volume(part$lower, part$rows)
    c(part, list(terms = sqrt(terms^2 + of_noise^2)))
  })
  list(mixture = mixture, H = H, keep = keep, parts = parts, means = unname(mixture$means))
}

# The logarithm of the square root of det L'L, whose rows `rows` are a triangle.
log_volume <- function(lower, rows) {
  square <- if (length(rows) == nrow(lower)) lower[rows, , drop = FALSE] else qr.R(qr(lower))
  sum(log(abs(diag(square))))
}

# Householder's reflections of the columns of A and B. One row of A after the other gets zeros
# beyond its place in a triangle: first those of `rows`, then the row with the longest rest times
# `prefer`. A rest of length `least` (for each row of A, then of B) is rounding, and becomes 0. The
# largest entry of a row is the pivot: the number added to a column is then no larger than the
# column (Cox and Higham, 1998, for columns instead of rows). The columns of B are split where the
# triangle ends. `weigh`: the factors of columns in lengths.
lower_form <- function(A, B, least, prefer, rows = integer(), weigh = rep(1, ncol(A))) {
  m <- nrow(A)
  M <- rbind(A, B)
  given <- length(rows)
  for (k in seq_len(min(m, ncol(M)))) {
    rest <- k:ncol(M)
    size <- sqrt(drop(M[, rest, drop = FALSE]^2 %*% weigh[rest]^2))
    M[size <= least, rest] <- 0
    size[size <= least] <- 0
    if (k > given) {
      score <- size[seq_len(m)] * prefer
      score[c(rows, which(size[seq_len(m)] == 0))] <- -Inf
      if (max(score) == -Inf) break
      rows <- c(rows, which.max(score))
    }
    i <- rows[k]
    pivot <- k - 1 + which.max(abs(M[i, rest]))
    M[, c(k, pivot)] <- M[, c(pivot, k)]
    weigh[c(k, pivot)] <- weigh[c(pivot, k)]
    v <- M[i, rest]
    end <- if (v[1] > 0) -sqrt(sum(v^2)) else sqrt(sum(v^2))
    v[1] <- v[1] - end
    M[, rest] <- M[, rest] - tcrossprod(M[, rest, drop = FALSE] %*% v, v * (2 / sum(v^2)))
    M[i, rest] <- c(end, double(length(rest) - 1))
  }
  r <- length(rows)
  first <- seq_len(ncol(M)) <= r
  # the remains of the last reflection
  size <- sqrt(drop(M[, !first, drop = FALSE]^2 %*% weigh[!first]^2))
  M[size <= least, !first] <- 0
  of_B <- m + seq_len(nrow(B))
  list(rows = rows, A = M[seq_len(m), first, drop = FALSE], B = M[of_B, first, drop = FALSE],
       rest = M[of_B, !first, drop = FALSE])
}

# For observations y (n x m): the weights of the components given each, n x K (zero if none can have
# made it), and their means, n x K x d. `prior`: log-weights, n x K or the same for all. `rows`,
# `arg`: their names in errors.
condition_rows <- function(given, y, prior = t(log_weights(given$mixture)), arg = "y",
                           rows = if (nrow(y) > 1) seq_len(nrow(y))) {
  n <- nrow(y)
  K <- nrow(given$means)
  prior <- prior[rep_len(seq_len(nrow(prior)), n), , drop = FALSE]
  log_weight <- matrix(-Inf, n, K)
  means <- array(0, c(n, K, sum(given$keep)))
  rank <- vapply(given$parts, function(part) length(part$rows), 0L)
  rank <- rep_len(rank, K)
  off <- matrix(0, n, K)
  for (k in seq_len(K)) {
    part <- given$parts[[min(k, length(given$parts))]]
    expected <- drop(given$H %*% given$means[k, ])
    rest <- y - rep(expected, each = n)
    e <- t(solve_lower(part$lower[part$rows, , drop = FALSE], t(rest[, part$rows, drop = FALSE])))
    # the rows that depend on the others, relative to the size of their terms
    late <- setdiff(seq_along(expected), part$rows)
    follow <- part$lower[late, , drop = FALSE]
    terms <- pmax(part$terms, drop(abs(given$H) %*% abs(given$means[k, ])))[late]
    size <- pmax(abs(y[, late, drop = FALSE]), tcrossprod(abs(e), abs(follow)),
                 rep(pmax(terms, .Machine$double.xmin), each = n))
    if (length(late)) {
      off[, k] <- row_max(abs(rest[, late, drop = FALSE] - tcrossprod(e, follow)) / size)
    }
    means[, k, ] <- rep(given$means[k, given$keep], each = n) + tcrossprod(e, part$gain)
    log_weight[, k] <- prior[, k] - rowSums(e^2) / 2 - part$log_det - rank[k] / 2 * log(2 * pi)
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

# The mixture's weights and classes with these means and roots of covariances, in the simplest form.
# `sizes`: see root_spectrum(), one for each root.
rooted_mixture <- function(mixture, means, roots, sizes = list(0)) {
  d <- ncol(means)
  # only a diagonal covariance, or one variable, gives a diagonal one
  covs <- if (d == 1 || is.null(mixture$vectors)) lapply(roots, diagonal_cov)
  if (length(covs) && !any(vapply(covs, is.null, NA))) {
    names(covs) <- paste("component", seq_along(covs))
    return(assemble_gaussmix(mixture$weights, means, covs, mixture$class))
  }
  spectra <- Map(function(root, size) root_spectrum(root, size = size), roots, sizes)
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

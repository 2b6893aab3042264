# A linear observation y = H x + n, and the coordinates in which it is simple: an orthonormal basis
# [Q, N] of R^d in which what y tells of the first r coordinates are r independent numbers, and of
# the others nothing.

#' A linear observation
#'
#' `y = H x + n`, where `x` comes from a mixture and the noise `n` is Gaussian of mean zero and
#' independent of it: what [zero_shot_sample()] and [zero_shot_score()] are conditional on.
#'
#' @details
#' Zero-shot methods see `y` through the pseudo-inverse `H+` of `H`: `H+ y` estimates the part of
#' `x` in the range of `H'`, with an error of covariance `H+ R H+'`, `R` the covariance of `n`, and
#' says nothing of the rest. In the eigenvectors of `H+ R H+'`, the first `r` of an orthonormal
#' basis of all `d` dimensions, that are `r` independent observations `y_i = x_i + sqrt(nu_i) z_i`.
#' If `R` is a variance times the identity, these are the right singular vectors of `H` and `nu_i`
#' is the variance over `s_i^2`, with `s_i` the singular values. Those up to 1e-10 of the largest
#' count as zero.
#'
#' If rows of `H` depend on each other, part of `y` is noise alone. Where it is correlated with the
#' rest, it tells of the noise there, which is taken into account first: the `r` numbers are always
#' all that `y` tells of `x`. (Derived for this package: if `U` spans the range of `H`, and `W` what
#' is orthogonal to it, `U'y` is replaced by `U'y - B W'y` and its noise by `U'RU - B W'RU`, `B =
#' U'RW (W'RW)^+`.)
#'
#' @param y The numbers that were observed.
#' @param H A `length(y)` x d matrix; or which variables were observed: their names or numbers.
#'   Columns of a matrix are matched to the variables by their names, if they have those; those of
#'   a mixture without names are called `"x1"`, `"x2"`, ... (`"x"` if d = 1).
#' @param noise The covariance of the noise: a variance, `length(y)` variances or a matrix, of any
#'   rank; 0 for observations without error.
#' @return An object of class `observation`, with `format` and `print`: a list with `y`, `H` (a
#'   matrix, or `NULL`), `variables` (names or numbers, or `NULL`) and `noise` as given.
#' @section Errors: of class `mixguide_error`, for arguments of the wrong kind, an `H` of rank 0,
#'   and a `y` that is impossible: without noise, one outside the range of `H`.
#' @source Liang, Ju, Liang and Shroff (2024), \doi{10.48550/arXiv.2410.13746}, for `H+ y` and
#'   `R = sigma^2 I`.
#' @seealso [condition()] for the exact law given an observation.
#' @family zero-shot conditional sampling
#' @examples
#' # one number, a sum of two variables, measured with an error of variance .09
#' observation(.8, H = cbind(1, .5), noise = .3^2)
#' # the first of the variables of a mixture, without error
#' observation(c(Petal.Length = 4))
#' @export
observation <- function(y, H = names(y), noise = 0) {
  if (!(is.numeric(y) && is.null(dim(y)) && length(y) && all(is.finite(y)))) {
    abort_input("y", "finite numbers", describe(y))
  }
  p <- length(y)
  variables <- NULL
  if (is.matrix(H) || is.data.frame(H)) {
    H <- check_table(H, "H")
    if (nrow(H) != p) abort_input("H", paste("a matrix with", count_of(p, "row")), describe(H))
  } else {
    variables <- H
    H <- NULL
    named <- is.character(variables) && !anyNA(variables)
    numbered <- is.numeric(variables) && all(is.finite(variables)) &&
      all(variables >= 1 & variables == floor(variables))
    if (!(named || numbered) || length(variables) != p || anyDuplicated(variables)) {
      abort_input("H", paste0("a matrix, or the names or numbers of ", count_of(p, "variable")),
                  describe(variables))
    }
  }
  noise <- check_covariance(noise, p, "noise")
  check_psd(if (is.matrix(noise)) eigen(noise, TRUE, only.values = TRUE)$values else noise, "noise")
  x <- structure(list(y = as.double(y), H = H, variables = variables, noise = noise),
                 class = "observation")
  # what can be wrong without a mixture
  if (!is.null(H)) observed_range(x, H)
  x
}

#' @export
format.observation <- function(x, ...) {
  check_dots(..., also = format.default)
  p <- length(x$y)
  noise <- if (identical(x$noise, 0)) "without noise" else paste0("noise ", switch(
    if (is.matrix(x$noise)) "covariance" else if (length(x$noise) > 1) "variances" else "variance",
    covariance = paste("of covariance", p, "x", p),
    variances = paste("of variances", toString(format(x$noise, digits = 3), 30)),
    variance = paste("of variance", format(x$noise, digits = 3))
  ))
  what <- if (is.null(x$H)) {
    names <- if (is.numeric(x$variables)) paste0("x", x$variables) else x$variables
    toString(paste(names, "=", vapply(x$y, format, "", digits = 4)), 60)
  } else {
    paste0(count_of(p, "number"), " of ", count_of(ncol(x$H), "dimension"), ", y = ",
           toString(vapply(x$y, format, "", digits = 4), 40))
  }
  paste0(what, ", ", noise)
}

#' @export
print.observation <- function(x, ...) {
  check_dots(..., also = print.default)
  cat("<observation> ", format(x), "\n", sep = "")
  if (!is.null(x$H)) {
    range <- observed_range(x, x$H)
    cat("  rank ", length(range$scale), ", singular values ",
        toString(format(range$scale, digits = 3), 40), "\n", sep = "")
  }
  invisible(x)
}

check_observation <- function(x, mixture, arg = "observation") {
  if (!inherits(x, "observation")) {
    abort_input(arg, "an observation (see observation())", paste("a", class(x)[1]))
  }
  observation_matrix(x, mixture, arg)
  x
}

# H for the variables of a mixture.
observation_matrix <- function(observation, mixture, arg = "observation") {
  H <- observation$H
  d <- mixture_dim(mixture)
  labels <- variable_labels(mixture)
  if (is.null(H)) {
    at <- match(observation$variables,
                if (is.character(observation$variables)) labels else seq_len(d))
    if (anyNA(at)) {
      abort_input(arg, paste("of variables among", toString(c(labels, seq_len(d)), 200)),
                  toString(observation$variables[is.na(at)], 60))
    }
    H <- matrix(0, length(at), d)
    H[cbind(seq_along(at), at)] <- 1
  } else {
    given <- colnames(H)
    named <- !is.null(given) && (!is.null(variable_names(mixture)) || setequal(given, labels))
    if (ncol(H) != d || named && !setequal(given, labels)) {
      abort_input(arg, paste("of the variables", toString(labels, 200)),
                  if (is.null(given)) count_of(ncol(H), "of them") else toString(given, 60))
    }
    if (named) H <- H[, labels, drop = FALSE]
  }
  H
}

# What y tells of x: `target` = target_i = x_i + sqrt(nu_i) z_i in the r orthonormal columns of
# `basis`. `by`: these are the eigenvectors of the error's covariance ("noise"), or the right
# singular vectors of H ("operator": without nu). `scale`: the singular values; `log_rest`: the
# log-density of the part of y that is noise alone.
observed_range <- function(observation, H, by = "noise") {
  y <- observation$y
  R <- observation$noise
  s <- selection_svd(H)
  if (is.null(s)) {
    s <- svd(H)
    r <- sum(s$d > 1e-10 * s$d[1])
    if (r == 0) abort_input("H", "of rank 1 at least", "rank 0")
    s <- list(d = s$d[seq_len(r)], u = s$u[, seq_len(r), drop = FALSE],
              v = s$v[, seq_len(r), drop = FALSE])
  }
  r <- length(s$d)
  full <- if (is.matrix(R)) R else diag(R, length(y))
  target <- drop(crossprod(s$u, y))
  log_rest <- 0
  spread <- crossprod(s$u, full %*% s$u)
  if (!is.matrix(R) && length(R) == 1) spread <- diag(R, r)
  if (length(y) > r) {
    W <- qr.Q(qr(s$u), complete = TRUE)[, -seq_len(r), drop = FALSE]
    known <- drop(crossprod(W, y))
    own <- eigen(crossprod(W, full %*% W), symmetric = TRUE)
    there <- own$values > 1e-12 * max(abs(full))
    known <- drop(crossprod(own$vectors, known))
    if (any(abs(known[!there]) > 1e-8 * sqrt(sum(y^2)))) {
      abort(paste("`y` is impossible: the part of it that no x and no noise can make is",
                  format(max(abs(known[!there])), digits = 3)), "impossible")
    }
    log_rest <- sum(stats::dnorm(known[there], 0, sqrt(own$values[there]), log = TRUE))
    W <- W %*% own$vectors[, there, drop = FALSE]
    across <- crossprod(s$u, full %*% W)
    target <- target - drop(across %*% (known[there] / own$values[there]))
    spread <- spread - across %*% (t(across) / own$values[there])
  }
  target <- target / s$d
  spread <- spread / outer(s$d, s$d)
  rest <- list(scale = s$d, log_rest = log_rest)
  if (by == "operator") return(c(list(basis = s$v, target = target), rest))
  c(turn_range(s$v, target, spread), rest)
}

# The range in the eigenvectors of a covariance in it: the basis itself, if that is diagonal.
turn_range <- function(basis, target, cov) {
  if (all(cov[row(cov) != col(cov)] == 0)) {
    return(list(basis = basis, target = target, nu = pmax(diag(cov), 0)))
  }
  e <- eigen((cov + t(cov)) / 2, symmetric = TRUE)
  nu <- replace(e$values, e$values < 1e-14 * e$values[1], 0)
  list(basis = basis %*% e$vectors, target = drop(crossprod(e$vectors, target)), nu = nu)
}

# The singular vectors of a matrix that picks variables, as they stand: LAPACK may mix them where
# singular values repeat, and coordinates that are axes keep diagonal covariances diagonal.
selection_svd <- function(H) {
  there <- H != 0
  if (!all(rowSums(there) == 1) || any(colSums(there) > 1)) return(NULL)
  p <- nrow(H)
  at <- max.col(there, "first")
  value <- H[cbind(seq_len(p), at)]
  # what counts as zero is dropped by the other way
  if (min(abs(value)) <= 1e-10 * max(abs(value))) return(NULL)
  v <- matrix(0, ncol(H), p)
  v[cbind(at, seq_len(p))] <- sign(value)
  list(d = abs(value), u = diag(p), v = v)
}

# ---- The frame of a run: all d coordinates

# An orthonormal basis whose first r columns are those of a range (observed_range()): `turn` takes
# columns of numbers into it.
complete_basis <- function(range) {
  Q <- range$basis
  d <- nrow(Q)
  r <- ncol(Q)
  axes <- all(rowSums(Q != 0) <= 1) && all(colSums(Q != 0) == 1)
  if (axes) {
    at <- max.col(t(Q != 0), "first")
    order <- c(at, setdiff(seq_len(d), at))
    sign <- c(Q[cbind(at, seq_len(r))], rep(1, d - r))
    basis <- matrix(0, d, d)
    basis[cbind(order, seq_len(d))] <- sign
    turn <- function(x) x[order, , drop = FALSE] * sign
  } else {
    reflections <- qr(Q)
    # of orthonormal columns the triangle is a diagonal of signs
    sign <- c(sign(diag(qr.R(reflections))), rep(1, d - r))
    basis <- qr.Q(reflections, complete = TRUE) * rep(sign, each = d)
    turn <- function(x) qr.qty(reflections, x) * sign
  }
  c(range, list(d = d, r = r, complete = basis, order = if (axes) order, turn = turn))
}

# A mixture in these coordinates. Nothing is decomposed anew: eigenvectors are turned.
turned_mixture <- function(mixture, frame) {
  means <- t(frame$turn(t(unname(mixture$means))))
  form <- mixture$form
  values <- mixture$values
  vectors <- mixture$vectors
  d <- frame$d
  if (endsWith(form, "diagonal") && !is.null(frame$order)) {
    values <- values[frame$order, , drop = FALSE]
  } else if (endsWith(form, "diagonal")) {
    form <- sub("diagonal", "full", form)
    vectors <- frame$turn(diag(d))
    if (form == "full") vectors <- array(vectors, c(d, d, ncol(values)))
  } else if (endsWith(form, "full")) {
    size <- dim(vectors)
    vectors <- frame$turn(matrix(vectors, d))
    dim(vectors) <- size
  }
  new_gaussmix(mixture$weights, means, form, values, vectors, mixture$class)
}

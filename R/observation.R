# A linear observation y = H x + n, and the coordinates in which it is simple: an orthonormal basis
# [Q, N] of R^d in which what y tells of the first r coordinates are r independent numbers, and of
# the others nothing.

#' A linear observation
#'
#' `y = H x + n`, where `x` comes from a mixture and the noise `n` is Gaussian of mean zero and
#' independent of it: what [conditional_sample()] and [conditional_score()] are conditional on.
#'
#' @details
#' Zero-shot methods see `y` through the pseudo-inverse `H+` of `H`: `H+ y` estimates the part of
#' `x` in the range of `H'`, with an error of covariance `H+ R H+'`, `R` the covariance of `n`, and
#' says nothing of the rest. In the eigenvectors of `H+ R H+'`, the first `r` of an orthonormal
#' basis of all `d` dimensions, that are `r` independent observations `y_i = x_i + sqrt(nu_i) z_i`.
#' If `R` is a variance times the identity, these are the right singular vectors of `H` and `nu_i`
#' is the variance over `s_i^2`, with `s_i` the singular values. A row of `H` that depends on
#' others to 1e-10 of its length counts as one that does. Rows and noises may differ by any factor:
#' all of this is computed to the precision of each.
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
  noise <- check_covariance(noise, p, "noise", names(y))
  noise_root(noise, p)
  x <- structure(list(y = as.double(y), H = H, variables = variables, noise = noise),
                 class = object_class("observation"))
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
  check_made(x, arg, "observation()", y = function(y) is.double(y) && length(y) && all_finite(y),
             H = maybe(function(H) is.numeric(H) && is.matrix(H)), noise = is.numeric,
             variables = maybe(function(of) is.numeric(of) || is.character(of)))
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
# log-density of the part of y that is noise alone. `sd`: those of the variables.
observed_range <- function(observation, H, by = "noise", sd = NULL) {
  y <- observation$y
  R <- observation$noise
  space <- row_space(H, sd)
  rows <- space$rows
  r <- length(rows)
  if (r == 0) abort_input("H", "of rank 1 at least", "rank 0")
  # x = Q z + what is not seen, y = L z + noise; r rows of L are a triangle
  front <- space$lower[rows, , drop = FALSE]
  noise <- noise_root(R, length(y))
  target <- drop(solve_lower(front, y[rows]))
  root <- solve_lower(front, noise[rows, , drop = FALSE])
  log_rest <- 0
  if (length(y) > r) {
    # what the others add is noise alone, and may tell of that of the first
    follow <- space$lower[-rows, , drop = FALSE]
    known <- y[-rows] - drop(follow %*% target)
    size <- pmax(abs(y[-rows]), drop(abs(follow) %*% abs(target)), .Machine$double.xmin)
    own <- noise[-rows, , drop = FALSE]
    terms <- sqrt(rowSums(own^2) + size_of_terms(follow, root)^2)
    part <- lower_form(own - follow %*% root, root,
                       c(1e-12 * terms, 1e-13 * sqrt(rowSums(root^2))), 1 / terms)
    f <- drop(solve_lower(part$A[part$rows, , drop = FALSE], known[part$rows]))
    off <- abs(known - drop(part$A %*% f))
    if (any(off > 1e-8 * size)) {
      abort(paste("`y` is impossible: the part of it that no x and no noise can make is",
                  format(max(off), digits = 3)), "impossible")
    }
    log_rest <- -log_volume(part$A, part$rows) - sum(f^2) / 2 - length(f) / 2 * log(2 * pi)
    target <- target - drop(part$B %*% f)
    root <- part$rest
  }
  operator <- singular_values(space)
  log_rest <- log_rest + sum(log(operator$scale)) - log_volume(front, seq_len(r))
  rest <- list(scale = operator$scale, log_rest = log_rest)
  turned <- list(basis = space$Q %*% operator$vectors,
                 target = drop(crossprod(operator$vectors, target)))
  if (by == "operator") return(c(turned, rest))
  # these are the eigenvectors for noise of one variance
  if (length(R) == 1) return(c(turned, list(nu = drop(R) / operator$scale^2), rest))
  c(turn_range(space$Q, target, tcrossprod(root), root), rest)
}

# H = L Q', Q with orthonormal columns; the rows `rows` of L, `lower`, are a triangle, in this
# order. A row depends on others if these leave 1e-10 of it, in the units of the variables, `sd`:
# where these are not known, the columns of H are taken to be alike.
row_space <- function(H, sd) {
  picked <- picked_variables(H)
  if (!is.null(picked)) return(picked)
  across <- sqrt(colSums(H^2))
  for (i in 1:5) {
    down <- sqrt(rowSums((H / rep(replace(across, across == 0, 1), each = nrow(H)))^2))
    across <- sqrt(colSums((H / replace(down, down == 0, 1))^2))
  }
  weigh <- 1 / replace(across, across == 0, 1)
  if (!is.null(sd)) weigh[sd > 0] <- sd[sd > 0]
  down <- sqrt(drop(H^2 %*% weigh^2))
  form <- lower_form(H, diag(ncol(H)), c(1e-10 * down, double(ncol(H))), 1 / down, weigh = weigh)
  list(rows = form$rows, lower = form$A, Q = form$B)
}

# The singular values of H, decreasing, and its right singular vectors in the coordinates of Q.
singular_values <- function(space) {
  lower <- space$lower
  if (all(lower[row(lower) != col(lower)] == 0)) {
    # as they stand: LAPACK may mix vectors where values repeat
    return(list(scale = abs(diag(lower)), vectors = diag(ncol(lower))))
  }
  e <- root_spectrum(t(lower), 0)
  list(scale = sqrt(e$values), vectors = e$vectors)
}

# The row space of a matrix that picks variables: coordinates that are axes keep diagonal
# covariances diagonal.
picked_variables <- function(H) {
  there <- H != 0
  if (!all(rowSums(there) == 1) || any(colSums(there) > 1)) return(NULL)
  p <- nrow(H)
  at <- max.col(there, "first")
  value <- H[cbind(seq_len(p), at)]
  Q <- matrix(0, ncol(H), p)
  Q[cbind(at, seq_len(p))] <- sign(value)
  list(rows = seq_len(p), lower = diag(abs(value), p), Q = Q)
}

# The range in the eigenvectors of a covariance in it: the basis itself, if that is diagonal.
# `root`: one of the covariance, if there is one.
turn_range <- function(basis, target, cov, root = NULL) {
  if (all(cov[row(cov) != col(cov)] == 0)) {
    return(list(basis = basis, target = target, nu = pmax(diag(cov), 0)))
  }
  e <- if (!is.null(root)) root_spectrum(root) else {
    e <- eigen((cov + t(cov)) / 2, symmetric = TRUE)
    nu <- replace(e$values, e$values < 1e-14 * e$values[1], 0)
    settle(nu, e$vectors, 1e-14 * nu[1], 0)
  }
  list(basis = basis %*% e$vectors, target = drop(crossprod(e$vectors, target)), nu = e$values)
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

# A linear observation y = H x + n, and the coordinates in which it is diagonal: an orthonormal
# basis [Q, N] of R^d in which y gives an independent number for each of the first r coordinates and
# no information about the others.

#' A linear observation
#'
#' An observation is `y = H x + n`, where `x` comes from a mixture and the noise `n` is Gaussian
#' with mean zero and independent of `x`. [condition()], [conditional_sample()] and other functions
#' are conditional on it. Without `y` an observation describes the measurement before its result:
#' [marginal()] gives the law of `y`, and [mutual_information()] and [mismatch()] say what to expect
#' of it.
#'
#' @details
#' **Shorthand.** An argument `observation` also takes numbers named by variables of the mixture, as
#' a vector or a row of a table. If a function ignores `y`, names or numbers of variables are
#' enough.
#'
#' **The range.** Zero-shot methods use `y` through the pseudo-inverse `H+` of `H`: `H+ y` estimates
#' the part of `x` in the range of `H'`, with an error of covariance `H+ R H+'`, where `R` is the
#' covariance of `n`, and says nothing about the rest. The eigenvectors of `H+ R H+'` are the first
#' `r` vectors of an orthonormal basis of all `d` dimensions. In this basis `H+ y` consists of `r`
#' independent observations `y_i = x_i + sqrt(nu_i) z_i`. If `R` is a variance times the identity,
#' the vectors are the right singular vectors of `H`, and `nu_i` is the variance over `s_i^2`, with
#' `s_i` the singular values. A row of `H` counts as dependent on others if they explain it up to
#' 1e-10 of its length. Rows and noises may differ by any factor, and each keeps its own precision.
#'
#' If rows of `H` depend on each other, part of `y` is noise alone. If this part is correlated with
#' the other noise, it informs about that noise, and is used first: the `r` numbers contain all
#' information of `y` about `x`. (Derived for this package: if `U` spans the range of `H`, and `W`
#' its orthogonal complement, `U'y` is replaced by `U'y - B W'y` and its noise by `U'RU - B W'RU`,
#' `B = U'RW (W'RW)^+`.)
#'
#' @param y The p observed numbers. A matrix or a data frame of p columns has an observation per
#'   row, for [condition()]. `NULL`: the observation before its result.
#' @param H A p x d matrix. Its columns are matched to the variables by name, if they have names;
#'   the variables of a mixture without names are called `"x1"`, `"x2"`, ... (`"x"` if d = 1).
#' @param noise The covariance of the noise: a variance (times the identity), p variances (a
#'   diagonal) or a p x p matrix, of any rank; 0 for observations without error.
#' @param variables In place of `H`, the observed variables: their names or numbers. `NULL`: the
#'   names of `y`.
#' @return An object of class `mixguide_observation`, with `format` and `print`: a list with `y`,
#'   `H` (a matrix, or `NULL`), `variables` (names or numbers, or `NULL`) and `noise`.
#' @section Errors: Errors are of class `mixguide_error`, for arguments of the wrong kind. Errors
#' that depend on the mixture come where the observation is used: unknown variables, and an
#' impossible `y`, such as one outside the range of `H` without noise (`mixguide_error_impossible`).
#' @source Liang, Ju, Liang and Shroff (2024), \doi{10.48550/arXiv.2410.13746}, for `H+ y` and
#'   `R = sigma^2 I`.
#' @seealso [condition()] for the exact law given an observation.
#' @family zero-shot conditional sampling
#' @examples
#' # one number, a sum of two variables, measured with an error of variance .09
#' observation(.8, H = cbind(1, .5), noise = .3^2)
#' # some of the variables of a mixture, without error
#' observation(c(Petal.Length = 4))
#' observation(c(4, 1.5), variables = 3:4)
#' # an observation before its result
#' observation(variables = "Petal.Length", noise = .01)
#' @export
observation <- function(y = NULL, H = NULL, noise = 0, variables = NULL) {
  y <- plain_numbers(y)
  if (is.data.frame(y)) y <- frame_to_matrix(y, "y")
  several <- length(dim(y)) == 2
  if (!is.null(y) && !(is.numeric(y) && (several || is.null(dim(y)) && length(y)))) {
    abort_input("y", "numbers", describe(y))
  }
  if (!all(is.finite(y))) {
    abort_input("y", "finite and without missing values (see impute() for those)",
                toString(y[!is.finite(y)], 40))
  }
  names <- if (several) colnames(y) else names(y)
  if (is.null(H)) variables <- check_observed(variables, names) else {
    if (!is.null(variables)) abort_input("variables", "NULL where `H` is given",
                                         describe(variables))
    H <- check_operator(H)
  }
  p <- if (is.null(H)) length(variables) else nrow(H)
  if (!is.null(y) && p != if (several) ncol(y) else length(y)) {
    abort_input("y", paste0(count_of(p, "number"), " (one per ", if (is.null(H)) "variable" else
      "row of `H`", ")"), describe(y))
  }
  if (is.character(variables)) names <- variables
  noise <- check_covariance(noise, p, "noise", if (is.null(names)) rownames(H) else names)
  noise_root(noise, p)
  if (several) {
    storage.mode(y) <- "double"
    y <- name_dims(y, rownames(y), NULL)
  } else if (!is.null(y)) y <- as.double(y)
  structure(list(y = y, H = H, variables = variables, noise = noise),
            class = object_class("mixguide_observation"))
}

check_observed <- function(variables, names) {
  chosen <- if (is.null(variables)) names else variables
  named <- is.character(chosen) && !anyNA(chosen)
  numbered <- is.numeric(chosen) && all(is.finite(chosen)) &&
    all(chosen >= 1 & chosen == floor(chosen))
  if (!(named || numbered) || !length(chosen) || anyDuplicated(chosen)) {
    abort_input("variables", paste("the names or numbers of distinct variables (or name `y` by",
                                   "them, or give `H`)"), describe(chosen))
  }
  if (is.character(variables) && !is.null(names) && !identical(variables, names)) {
    abort_input("variables", paste("those that `y` is named by,", listed(names)),
                toString(variables, 60))
  }
  unname(chosen)
}

# H as a finite matrix, with its names.
check_operator <- function(H) {
  if (!is.matrix(H) && !is.data.frame(H)) {
    abort_input("H", paste("a matrix, as cbind(1, .5) for one number (chosen variables, by name or",
                           "number, are `variables = `)"), describe(H))
  }
  if (is.data.frame(H)) H <- frame_to_matrix(H, "H")
  rows <- rownames(H)
  H <- check_table(H, "H")
  name_dims(H, rows, colnames(H))
}

in_words.mixguide_observation <- function(x) {
  p <- if (is.null(x$variables)) nrow(x$H) else length(x$variables)
  noise <- if (identical(x$noise, 0)) "without noise" else if (is.matrix(x$noise)) {
    paste("noise of covariance", p, "x", p)
  } else {
    paste("noise of", if (length(x$noise) > 1) "variances" else "variance",
          toString(format(x$noise, digits = 3), 30))
  }
  several <- is.matrix(x$y)
  y <- if (!several) vapply(x$y, format, "", digits = 4)
  what <- if (!is.null(x$variables)) {
    names <- if (is.numeric(x$variables)) paste0("x", x$variables) else x$variables
    toString(if (length(y)) paste(names, "=", y) else names, 60)
  } else {
    paste0(count_of(p, "number"), " of ", count_of(ncol(x$H), "dimension"),
           if (length(y)) paste(", y =", toString(y, 40)))
  }
  paste0(if (several) paste(count_of(nrow(x$y), "observation"), "of "), what, ", ", noise)
}

print_body.mixguide_observation <- function(x, ...) {
  if (is.null(x$variables)) {
    scale <- singular_values(row_space(unname(x$H), NULL))$scale
    say_line("rank ", length(scale), ", singular values ", toString(format(scale, digits = 3), 40))
  }
}

# An observation of a mixture, from an observation() or shorthand: its `H` is a matrix in the
# variables of the mixture. `seen`: "one" y, a vector; "any" number of them; or "none", where only H
# and the noise count and y is 0.
as_observation <- function(x, mixture, arg = "observation", seen = "one") {
  if (!inherits(x, "mixguide_observation")) {
    x <- short_observation(plain_numbers(x), mixture, arg, seen)
  }
  check_made(x, arg, "observation()", y = maybe(function(y) is.double(y) && all_finite(y)),
             H = maybe(function(H) is.numeric(H) && is.matrix(H)), noise = is.numeric,
             variables = maybe(function(of) is.numeric(of) || is.character(of)))
  x$H <- observed_rows(x, mixture, arg)
  if (!is.null(x$variables)) x$variables <- rownames(x$H)
  p <- nrow(x$H)
  if (seen == "none") x$y <- double(p)
  if (is.null(x$y)) abort_input(arg, "with `y`, the numbers that were observed", "one without")
  if (seen == "one" && is.matrix(x$y)) {
    if (nrow(x$y) != 1) {
      abort_input(arg, "a single one (condition() takes several)",
                  count_of(nrow(x$y), "observation"))
    }
    x$y <- x$y[1, ]
  }
  if (p != if (is.matrix(x$y)) ncol(x$y) else length(x$y)) {
    abort_input(arg, "as observation() makes it", "one that was changed, or is damaged")
  }
  x
}

# Numbers named by variables; or the variables alone, if y is ignored.
short_observation <- function(x, mixture, arg, seen) {
  names <- if (is.null(dim(x))) names(x) else colnames(x)
  if (seen != "none") {
    if ((is.numeric(x) || is.data.frame(x)) && !is.null(names)) return(observation(x))
    abort_input(arg, "an observation(), or numbers named by the variables observed", describe(x))
  }
  if (!(is.numeric(x) || is.character(x)) || !is.null(dim(x))) {
    abort_input(arg, "names or numbers of variables, or an observation()", describe(x))
  }
  # is c(x1 = 2) the second variable, or the value 2 of the first?
  if (is.numeric(x) && !is.null(names) && !identical(names, variable_labels(mixture)[x])) {
    abort_input(arg, "names or numbers of variables, or an observation() of named numbers",
                unknown_names(setdiff(names, variable_labels(mixture)), variable_labels(mixture),
                              paste("numbers named", listed(names))))
  }
  observation(variables = unname(x))
}

# H in the variables of a mixture, with columns in their order.
observed_rows <- function(observation, mixture, arg) {
  labels <- variable_labels(mixture)
  d <- length(labels)
  variables <- observation$variables
  if (!is.null(variables)) {
    rows <- match(variables, if (is.character(variables)) labels else seq_len(d))
    if (anyNA(rows)) {
      abort_input(arg, paste("of variables among", toString(c(labels, seq_len(d)), 200)),
                  unknown_names(variables[is.na(rows)], labels))
    }
    return(name_dims(diag(1, d)[rows, , drop = FALSE], labels[rows], labels))
  }
  H <- observation$H
  given <- colnames(H)
  named <- !is.null(given) && (!is.null(variable_names(mixture)) || setequal(given, labels))
  if (ncol(H) != d || named && !setequal(given, labels)) {
    abort_input(arg, paste("of the variables", toString(labels, 200)),
                if (is.null(given)) count_of(ncol(H), "of them") else {
                  unknown_names(setdiff(given, labels), labels, listed(given))
                })
  }
  if (named) H[, labels, drop = FALSE] else H
}

# The information of y about x: `target` = target_i = x_i + sqrt(nu_i) z_i in the r orthonormal
# columns of `basis`. `by`: the columns are the eigenvectors of the error's covariance ("noise"), or
# the right singular vectors of H ("operator": without nu). `scale`: the singular values;
# `log_rest`: the log-density of the part of y that is noise alone. `sd`: standard deviations of the
# variables.
observed_range <- function(observation, by = "noise", sd = NULL) {
  y <- observation$y
  R <- observation$noise
  space <- row_space(unname(observation$H), sd)
  rows <- space$rows
  r <- length(rows)
  if (r == 0) abort_input("H", "of rank 1 at least", "rank 0")
  # x = Q z + the unobserved part, y = L z + noise; r rows of L are a triangle
  front <- space$lower[rows, , drop = FALSE]
  noise <- noise_root(R, length(y))
  target <- drop(solve_lower(front, y[rows]))
  root <- solve_lower(front, noise[rows, , drop = FALSE])
  log_rest <- 0
  if (length(y) > r) {
    # the other rows are noise alone, which may inform about the noise of the first r
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
# order. A row depends on others if 1e-10 of it or less is left after them, in the units of the
# variables, `sd`. If these are unknown, all columns of H count as equally large.
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
    # as they are: LAPACK may mix vectors of repeated values
    return(list(scale = abs(diag(lower)), vectors = diag(ncol(lower))))
  }
  e <- root_spectrum(t(lower), 0)
  list(scale = sqrt(e$values), vectors = e$vectors)
}

# The row space of a matrix that selects variables. Its coordinates are axes, which keep diagonal
# covariances diagonal.
picked_variables <- function(H) {
  there <- H != 0
  if (!all(rowSums(there) == 1) || any(colSums(there) > 1)) return(NULL)
  p <- nrow(H)
  variable <- max.col(there, "first")
  value <- H[cbind(seq_len(p), variable)]
  Q <- matrix(0, ncol(H), p)
  Q[cbind(variable, seq_len(p))] <- sign(value)
  list(rows = seq_len(p), lower = diag(abs(value), p), Q = Q)
}

# The range in the eigenvectors of its error covariance: the basis itself, if that is diagonal.
# `root`: a root of the covariance, if known.
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

# ---- The basis of a run: all d coordinates

# An orthonormal basis whose first r columns span the range of observed_range(): `turn` maps columns
# of numbers into it, `back` rows of particles out of it. The reflections that make it are
# I - B Y' with r columns: a product with the d x d basis would take as long as a whole run.
complete_basis <- function(range) {
  Q <- range$basis
  d <- nrow(Q)
  r <- ncol(Q)
  axes <- all(rowSums(Q != 0) <= 1) && all(colSums(Q != 0) == 1)
  if (axes) {
    variable <- max.col(t(Q != 0), "first")
    order <- c(variable, setdiff(seq_len(d), variable))
    sign <- c(Q[cbind(variable, seq_len(r))], rep(1, d - r))
    turn <- function(x) x[order, , drop = FALSE] * sign
    back <- function(x) {
      x[, order] <- x * rep(sign, each = nrow(x))
      x
    }
  } else {
    reflections <- qr(Q)
    # of orthonormal columns the triangle is a diagonal of signs
    sign <- c(sign(diag(qr.R(reflections))), rep(1, d - r))
    turn <- function(x) qr.qty(reflections, x) * sign
    # the vectors of the reflections, as LINPACK keeps them; in the last of d there is none
    first <- seq_len(min(r, d - 1))
    Y <- reflections$qr[, first, drop = FALSE]
    Y[row(Y) < col(Y)] <- 0
    Y[cbind(first, first)] <- reflections$qraux[first]
    unit <- diag(1, d, length(first))
    B <- (unit - qr.qy(reflections, unit)) %*% t(solve(Y[first, , drop = FALSE]))
    # not by qr.qy(), which stops at particles that overflowed
    back <- function(x) {
      x <- x * rep(sign, each = nrow(x))
      x - tcrossprod(x %*% Y, B)
    }
  }
  c(range, list(d = d, r = r, order = if (axes) order, turn = turn, back = back))
}

# A mixture in these coordinates. Eigenvectors are rotated, so nothing is decomposed anew.
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

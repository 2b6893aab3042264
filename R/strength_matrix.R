#' A strength per variable, or per band
#'
#' A strength of [guidance()] that is a matrix `E`: it adds `E g` to the class's score `s_c` in
#' place of `strength * g`, where `g = s_c - s_all` is the guidance term of strength 1. With
#' projectors `P_k` on bands of frequencies `E = sum_k eta_k P_k`, made by `strength_bands()`, it is
#' frequency-decoupled guidance.
#'
#' @details Numbers named by variables are a diagonal `E`: `guidance("a", c(x1 = 2))` guides the
#' first variable, and others have strength 0. A d x d matrix need not be symmetric; its names, if
#' any, are those of the variables.
#'
#' `E` refers to the variables of the mixture, also if the process runs in others (see
#' [standardise()]): the denoised point is that of the class plus `E` times its difference from that
#' of the whole mixture. For one strength per variable the process makes no difference.
#'
#' Guidance by `E` is linear in the scores. Log-densities (by the map, up to 16 dimensions unless
#' asked for), laws of samplers in one and two dimensions and [score_jacobian()] are as for any
#' guidance. Unless `E` is a multiple of the identity it is not a gradient, the Jacobian is not
#' symmetric, and no run reduces to fewer dimensions. `log_density = "divergence"`, sums of
#' guidances, powers, rules and theorems for a strength that is a number are refused. A sweep over
#' strengths takes multiples of `E`.
#'
#' @param d Number of variables, taken as a series in their order.
#' @param strength A number for each band, from low frequencies to high.
#' @param widths Number of frequencies in each band, together `d`; by default as equal as possible.
#' @return A symmetric d x d matrix.
#' @source Frequency-decoupled guidance Sadat et al. (2025), \doi{10.48550/arXiv.2506.19713}, read
#'   in the code of package diffusers, with Laplacian pyramids of images for bands, which are no
#'   projectors; these here are those of the orthonormal cosine basis.
#' @examples
#' m <- gaussmix(c(.5, .5), rbind(c(-1, -1), c(1, 1)), .3, class = c("a", "b"))
#' one <- guidance("b", c(x1 = 3))
#' one
#' colMeans(guided_sample(m, 1000, one, sampler_ddim(50))$x)
#'
#' # a level and a slope, of a series of 8
#' rising <- guidance("rising", strength_bands(8, c(0, 4), widths = c(1, 7)))
#' series <- gaussmix(c(.5, .5), rbind(rep(0, 8), 1:8 / 8), .2, class = c("flat", "rising"))
#' score(series, rep(0, 8), t = .5, guidance = rising)
#' @export
strength_bands <- function(d, strength, widths = NULL) {
  d <- check_count(d, "d")
  if (!is.numeric(strength) || !length(strength) || !all(is.finite(strength)) ||
        length(strength) > d) {
    abort_input("strength", paste("at most", count_of(d, "finite number")), describe(strength))
  }
  bands <- length(strength)
  if (is.null(widths)) widths <- tabulate(ceiling(seq_len(d) * bands / d), bands)
  ok <- is.numeric(widths) && length(widths) == bands && all(widths %in% seq_len(d)) &&
    sum(widths) == d
  if (!ok) abort_input("widths", paste(bands, "counts with the sum", d), describe(widths))
  basis <- cos(outer(seq_len(d) - .5, seq_len(d) - 1) * pi / d) *
    rep(sqrt(c(1, rep(2, d - 1)) / d), each = d)
  tcrossprod(basis * rep(rep(strength, widths), each = d), basis)
}

is_matrix_strength <- function(x) {
  is.numeric(x) && (is.matrix(x) || length(x) > 0 && !is.null(names(x)))
}

check_strength_matrix <- function(x) {
  if (!all(is.finite(x))) abort_input("strength", "finite numbers", describe(x))
  if (is.matrix(x) && nrow(x) != ncol(x)) {
    abort_input("strength", "a matrix with a row and a column for each variable", describe(x))
  }
  if (!is.matrix(x) && (anyDuplicated(names(x)) || !all(nzchar(names(x))))) {
    abort_input("strength", "named by variables, each once", toString(names(x), 60))
  }
  if (is.matrix(x)) x + 0 else stats::setNames(as.double(x), names(x))
}

# Is the guidance term linear in the scores, but not the same multiple in every coordinate?
is_uneven <- function(guide) !is.null(guide$matrix) || identical(guide$rule$kind, "recfg")

# The matrix for the variables of a mixture: d numbers, without names, if it is diagonal, else d x
# d; numbers without names are returned unchanged. It multiplies the guidance term of the denoised
# point; in variables divided by `scale` it is another matrix.
strength_matrix <- function(matrix, mixture, scale = NULL) {
  if (is.null(matrix)) return(NULL)
  d <- mixture_dim(mixture)
  variables <- variable_labels(mixture)
  wanted <- function(what) {
    abort_input("strength", paste(what, "the variables", toString(variables, 100)),
                if (is.matrix(matrix)) describe(matrix) else toString(names(matrix), 60))
  }
  if (is.matrix(matrix)) {
    if (nrow(matrix) != d) wanted("a matrix with a row for each of")
    names <- Filter(length, dimnames(matrix))
    if (!all(vapply(names, setequal, NA, variables))) wanted("a matrix named by")
    if (!is.null(rownames(matrix))) matrix <- matrix[variables, , drop = FALSE]
    if (!is.null(colnames(matrix))) matrix <- matrix[, variables, drop = FALSE]
    if (!is.null(scale)) matrix <- matrix * outer(1 / scale, scale)
    diagonal <- all(matrix[row(matrix) != col(matrix)] == 0)
    return(unname(if (diagonal) diag(matrix) else matrix))
  }
  if (is.null(names(matrix))) return(matrix)
  places <- match(names(matrix), variables)
  if (anyNA(places)) wanted("numbers named by")
  replace(double(d), places, matrix)
}

matrix_words <- function(x) {
  if (is.matrix(x)) return(paste0("a ", nrow(x), " x ", ncol(x), " matrix"))
  words <- vapply(x, format, "", digits = 4)
  if (!is.null(names(x))) words <- paste(names(x), "=", words)
  toString(words, 60)
}

# The operations of an evaluation with such a strength: evaluations of the class and the other
# model, and their combination. Its coefficients sum to the identity, so the result is the quantity
# that the evaluation wants, the score or another.
matrix_operations <- function(op, guide, schedule) {
  to <- op$to
  by <- guide$strength(op$t)
  eval <- function(to, of) {
    op$to <- to
    op$of <- of
    if (is.null(guide$score_model)) list(op) else asked_operations(op, guide, schedule)
  }
  ops <- c(eval(to, "class"), eval("(away)", "away"))
  named <- function(...) stats::setNames(list(...), c(to, "(away)"))
  if (is.matrix(guide$matrix)) {
    return(c(ops, list(op_linear("(away)", named(1, -1)),
                       new_op("matrix", to = "(away)", coef = list(x = as.vector(guide$matrix))),
                       op_linear(to, named(1, by)))))
  }
  by <- by * guide$matrix
  c(ops, list(op_linear(to, named(1 + by, -by))))
}

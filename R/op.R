# The operations in the steps of a sampler, see sampler() and src/core/operations.h.

#' @rdname sampler
#' @export
op_eval <- function(to, from = "x", t, want = "score", strength = NULL) {
  if (identical(to, from)) abort_input("to", "another register than `from`", describe(to))
  if (!are_numbers(t) || any(t < 0)) abort_input("t", "one finite number >= 0", describe(t))
  known <- is.character(want) && length(want) && all(want %in% c(names(want_code), "velocity"))
  if (!known || length(unique(want)) > 1 && "velocity" %in% want) {
    abort_input("want", paste0(toString(dQuote(names(want_code), FALSE)),
                               ", or \"velocity\" in all steps"), describe(want))
  }
  check_string(to, "to")
  check_string(from, "from")
  op <- if (all(want == "score")) new_op("eval", to = to, from = from, t = t) else {
    new_op("eval", to = to, from = from, t = t, want = want)
  }
  if (!is.null(strength)) op$of <- of_strength(check_number(strength, "strength"))
  op
}

# Evaluations with a strength of their own, in the words of guidance_models(); and guided scores,
# with this strength or that of the guidance.
of_strength <- function(strength) paste("at", format(strength, digits = 17))
is_fixed <- function(of) startsWith(of, "at ")
fixed_strength <- function(of) as.numeric(sub("at ", "", of, fixed = TRUE))
is_guided <- function(of) of == "guided" | is_fixed(of)

# The same operations with another strength, unless they have their own.
with_own_strength <- function(ops, strength) {
  if (is.null(strength)) return(ops)
  lapply(ops, function(op) {
    if (op$op == "eval" && is.null(op$of)) op$of <- of_strength(strength)
    op
  })
}

has_fixed <- function(steps) {
  models <- lapply(unlist(steps, recursive = FALSE), `[[`, "of")
  any(is_fixed(as.character(unlist(models))))
}

# An error for methods that rewrite steps with one strength at each time.
refuse_own_strength <- function(steps, label) {
  if (has_fixed(steps)) {
    abort_input("sampler", "one whose scores all have the strength of the guidance, here", label)
  }
}

#' @rdname sampler
#' @export
op_noise <- function(to) new_op("noise", to = check_string(to, "to"))

#' @rdname sampler
#' @export
op_linear <- function(to, coef) {
  registers <- names(coef)
  if (is.null(registers) || !all(nzchar(registers)) || anyDuplicated(registers)) {
    abort_input("coef", "named by register, each once", describe(coef))
  }
  if (!are_numbers(coef)) {
    odd <- which(!vapply(coef, are_numbers, NA))
    if (length(odd)) {
      abort_input("coef", "finite numbers", paste(registers[odd[1]], "=", describe(coef[[odd[1]]])))
    }
  }
  new_op("linear", to = check_string(to, "to"), coef = coef)
}

# structure() would take longer than the rest of a step.
new_op <- function(op, to, ...) {
  x <- list(op = op, to = to, ...)
  class(x) <- object_class("mixguide_op")
  x
}

#' Operations with the derivative of the score
#'
#' Parts of a [sampler()]'s step: a register times, or divided by, a matrix made from the derivative
#' `Ds` of the score (or of the denoised point or the noise) at each particle.
#'
#' @details They use the derivative from the last [op_eval()] before them, which must have the same
#' `from` and `t`, and whose register `from` must not have been written since.
#' * `op_product(to, from, t, coef)`: register `to` becomes `(I + coef Ds(from, t)) to`, in any
#'   dimension, without the matrix. With `coef = b^2(t)`, `a` times the derivative of the denoised
#'   `from`.
#' * `op_solve(to, from, t, coef, diagonal)`: the leading r coordinates of `to`, as many as
#'   `diagonal` has, become `(diag(diagonal) + coef Ds(from, t))^-1` times themselves, with the
#'   leading r x r block of `Ds`; the others stay. The matrix should be positive definite: pivots of
#'   the elimination are at least 1e-13 of `diagonal`.
#' * `op_root(to, from, t, coef)`: register `to` becomes `L to`, where `L` is lower triangular and
#'   `L L' = I + coef Ds(from, t)`, in at most 32 dimensions (of the run: see the reductions of
#'   [guided_sample()]). Negative eigenvalues, which guidance can make, count as 0. It is for noise,
#'   which becomes noise of covariance `I + coef Ds`. `L` is triangular in the coordinates of the
#'   run, which may be eigenvectors of a common covariance; the law of the noise is the same in all.
#'
#' For a [score_error()] `Ds` is the derivative of the part without noise; guidance with a power is
#' refused. A run with these operations has no log-density.
#'
#' @inheritParams sampler
#' @param coef A number.
#' @param diagonal Numbers, r of them.
#' @return An object of class `mixguide_op`, see [sampler()].
#' @seealso [score_jacobian()] for `Ds` itself.
#' @family samplers
#' @examples
#' op_product("w", from = "x", t = .5, coef = .6)
#' @export
op_product <- function(to, from = "x", t, coef) new_hessian_op("product", to, from, t, coef, NULL)

#' @rdname op_product
#' @export
op_solve <- function(to, from = "x", t, coef, diagonal) {
  if (!are_numbers(diagonal)) abort_input("diagonal", "finite numbers", describe(diagonal))
  new_hessian_op("solve", to, from, t, coef, diagonal)
}

#' @rdname op_product
#' @export
op_root <- function(to, from = "x", t, coef) new_hessian_op("root", to, from, t, coef, NULL)

# The engine takes the numbers together, for a solution after their count.
new_hessian_op <- function(kind, to, from, t, coef, diagonal) {
  eval <- op_eval(to, from, t)
  if (!are_numbers(coef)) abort_input("coef", "a finite number", describe(coef))
  if (kind == "solve") coef <- c(length(diagonal), check_number(coef, "coef"), diagonal)
  new_op(kind, to = to, from = from, t = eval$t, coef = stats::setNames(list(coef), to))
}

in_words.mixguide_op <- function(x) {
  place <- paste0("(", x$from, ", t = ", format(x$t, digits = 4))
  right <- switch(
    x$op,
    eval = paste0(if (is.null(x$want)) "score" else x$want[1], place,
                  if (!is.null(x$of) && is_fixed(x$of)) {
                    paste0(", strength ", format(fixed_strength(x$of), digits = 4))
                  }, ")"),
    noise = "noise",
    root = ,
    product = paste0("(I + ", format(x$coef[[1]], digits = 4), " Ds", place, "))",
                     if (x$op == "root") "^(1/2)", " ", x$to),
    solve = paste0("(diag(", toString(format(x$coef[[1]][-(1:2)], digits = 4), 30), ") + ",
                   format(x$coef[[1]][2], digits = 4), " Ds", place, "))^-1 ", x$to),
    linear = paste(vapply(x$coef, function(w) toString(format(w, digits = 4), 30), ""),
                   names(x$coef), collapse = " + "),
    paste0(x$op, "(", x$to, ")")
  )
  paste(x$to, "<-", gsub("+ -", "- ", right, fixed = TRUE))
}

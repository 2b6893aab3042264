# What a step makes of its registers, read off its operations in one pass. A register is a sum of x
# as it was, of the scores that the step takes and of the noises that it draws, each times a number:
# a matrix with a column for each of these and a row for each of n steps that the operations may
# stand for. An entry is NA where the register depends on that in another way.
#
# Of the new `x` this matrix, with its first column that of x, then `scores` and `noises` columns;
# `eval`: the operations that take the scores; `fresh`: is each taken at x as it was; `held`: the
# registers that hold the noises in the end, NA where nothing does.
step_form <- function(ops, n = 1) {
  kind <- vapply(ops, `[[`, "", "op")
  scores <- sum(kind == "eval")
  noises <- sum(kind == "noise")
  width <- 1 + scores + noises
  unit <- function(column) matrix(rep(seq_len(width) == column, each = n), n) + 0
  # other numbers for each coordinate
  smear <- function(form) replace(form, form != 0, NA)
  # depends on what `form` depends on, and on x and scores in any way
  blur <- function(form) {
    form[, seq_len(1 + scores)] <- NA
    smear(form)
  }
  times <- function(w, form) if (length(w) %in% c(1, n)) w * form else smear(form)
  # what an earlier step left knows nothing of these noises
  value <- function(register) {
    if (is.null(held[[register]])) blur(matrix(0, n, width)) else held[[register]]
  }
  held <- list(x = unit(1))
  fresh <- logical()
  drawn <- 0
  for (op in ops) {
    held[[op$to]] <- switch(
      op$op,
      eval = {
        at <- value(op$from)
        fresh <- c(fresh, identical(at, unit(1)))
        # the denoised point and the noise are no scores, see score_form()
        form <- if (is.null(op$want)) unit(1 + length(fresh)) else blur(matrix(0, n, width))
        noisy <- is.na(at) | at != 0
        noisy[, seq_len(1 + scores)] <- FALSE
        replace(form, noisy, NA)
      },
      noise = {
        drawn <- drawn + 1
        unit(1 + scores + drawn)
      },
      linear = Reduce(`+`, Map(times, op$coef, lapply(names(op$coef), value))),
      constant = blur(matrix(0, n, width)),
      blur(value(op$to))
    )
  }
  holder <- function(j) {
    of <- vapply(held, identical, NA, unit(1 + scores + j))
    if (any(of)) names(held)[of][1] else NA_character_
  }
  list(x = held$x, scores = 1 + seq_len(scores), noises = 1 + scores + seq_len(noises),
       eval = ops[kind == "eval"], fresh = fresh,
       held = vapply(seq_len(noises), holder, ""))
}

# Steps of the form x' = alpha x + beta s(x, t) + sigma z: a row each, with a and b^2 at the time t
# of the score; NULL if some are of another form.
one_score_steps <- function(sampler, times, schedule) {
  n <- length(times) - 1
  programs <- lapply(sampler_program(sampler, times, schedule, one_is_enough = TRUE), score_form,
                     schedule)
  rows <- lapply(programs, one_score_step, if (length(programs) < n) n else 1)
  if (any(vapply(rows, is.null, NA))) return(NULL)
  rows <- do.call(rbind, rows)
  cbind(rows, a = schedule$a(rows$t), b2 = schedule$b2(rows$t))
}

one_score_step <- function(ops, n = 1) {
  form <- step_form(ops, n)
  if (!identical(form$fresh, TRUE) || anyNA(form$x)) return(NULL)
  data.frame(t = form$eval[[1]]$t, alpha = form$x[, 1], beta = form$x[, 2],
             sigma = sqrt(rowSums(form$x[, form$noises, drop = FALSE]^2)))
}

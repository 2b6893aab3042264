# One pass over a program writes its registers as sums. From these follow the form of a step, the
# places where a chain can be cut, and the effect of a program on one Gaussian.

# The forms of a compiled program, from each cut to the next. Cuts are the ends of steps; with
# `alone` also all places where x is written while no other register is alive.
#
# A register is a sum of columns, each times a number. The first columns are the registers as they
# were at the cut before. Then there is one for each source: a score, a noise, a constant, or a
# register times a matrix, a power or numbers by coordinate. The sums are complete, and the kind of
# a source says which terms are not affine. A form has
#   end: the operation before the next cut;
#   to: each register there, a row of these numbers;
#   alive: the registers that are read later, x among them;
#   op, kind: the operation of each source, and what it is ("by coordinate" for a term of a sum);
#   of: the register that the source is made of, a row of the same numbers;
#   term: the term of a "by coordinate".
program_forms <- function(program, alone = FALSE) {
  kind <- op_kinds(program)
  to <- program$op["to", ] + 1L
  from <- ifelse(op_field(kind, "to") == "change", to, program$op["from", ] + 1L)
  first <- program$op["at", ]
  n <- program$op["n", ]
  linear <- kind == "linear"
  made_of_nothing <- kind %in% c("noise", "constant")
  register <- program$term["register", ] + 1L
  coef <- program$coef[program$term["at", ] + 1]
  by_coordinate <- program$term["by_coordinate", ] == 1
  R <- program$registers
  alive <- alive_after(program$op, program$term, R)
  writes <- writes_register(kind) & to > 0
  cuts <- kind == "end"
  if (alone) cuts <- cuts | (writes & to == 1 & !rowSums(alive))
  form <- function(ops, end) {
    terms <- unlist(lapply(ops[linear[ops]], function(i) first[i] + seq_len(n[i])))
    width <- R + sum(!linear[ops]) + sum(by_coordinate[terms])
    held <- diag(1, R, width)
    inputs <- matrix(0, width - R, width)
    op <- term <- integer(width - R)
    made <- 0
    for (i in ops) {
      value <- double(width)
      if (linear[i]) {
        j <- first[i] + seq_len(n[i])
        own <- j[by_coordinate[j]]
        j <- j[!by_coordinate[j]]
        value <- colSums(coef[j] * held[register[j], , drop = FALSE])
        read <- register[own]
      } else {
        own <- NA_integer_
        read <- from[i]
      }
      for (k in seq_along(own)) {
        made <- made + 1
        op[made] <- i
        term[made] <- own[k]
        if (!made_of_nothing[i]) inputs[made, ] <- held[read[k], ]
        value[R + made] <- 1
      }
      held[to[i], ] <- value
    }
    list(end = end, to = held, alive = c(1, 1 + which(alive[end, ])), op = op,
         kind = ifelse(is.na(term), kind[op], "by coordinate"), of = inputs, term = term)
  }
  pieces <- split(which(writes), (cumsum(cuts) - cuts)[writes])
  ends <- c(which(cuts), length(kind))[as.integer(names(pieces)) + 1]
  unname(Map(form, pieces, ends))
}

# The registers other than x that are read after each operation before they are written again: a
# row for each operation.
alive_after <- function(op, term, registers) {
  kind <- op_kinds(list(op = op))
  is <- function(field, what) which(op_field(kind, field) %in% what)
  changed <- is("to", "change")
  from <- is("from", c("read", "point"))
  other <- is("at", "read")
  linear <- is("at", "terms")
  read <- c(op["to", changed], op["from", from], op["at", other], term["register", ])
  read_at <- c(changed, from, other, rep(linear, op["n", linear]))
  written_at <- is("to", c("write", "maybe"))
  written <- op["to", written_at]
  next_of <- function(at) {
    following <- rep(Inf, length(kind) + 1)
    following[at] <- at
    rev(cummin(rev(following)))[-1]
  }
  alive <- vapply(seq_len(registers - 1), function(r) {
    next_read <- next_of(read_at[read == r])
    # an operation reads before it writes
    next_read < Inf & next_read <= next_of(written_at[written == r])
  }, logical(length(kind)))
  matrix(alive, length(kind))
}

# Sums of the rows of `x`, each times a weight; a row of weight 0 may be NA.
weigh_rows <- function(weights, x) {
  unknown <- is.na(x)
  replace(weights %*% replace(x, unknown, 0), (weights != 0) %*% unknown > 0, NA)
}

# The forms of steps, each of which has a list of operations, or of n steps that have one list: the
# coefficients of the new `x`, for the old x, `scores` and `noises` (NA if x depends on them in
# another way); the time `t` of each score; `fresh`: is each score taken at the old x; `held`: the
# registers that hold the noises at the end, NA for noises that none holds.
step_forms <- function(steps, n = 1) {
  end <- list(new_op("end", "x", coef = list(x = 1)))
  ops <- unlist(lapply(steps, c, end), recursive = FALSE)
  sizes <- lengths(unlist(lapply(ops, .subset2, "coef"), recursive = FALSE))
  table <- operation_table(ops, max(sizes), n)
  program <- assemble_program(table)
  lapply(program_forms(program), plain_form, program, setdiff(c("x", table$to), ""))
}

# The form of a step that is one of program_forms().
plain_form <- function(form, program, registers) {
  score <- form$kind == "eval"
  noise <- form$kind == "noise"
  level <- program$op["at", form$op[score]] + 1
  scores <- 1 + seq_len(sum(score))
  noises <- 1 + sum(score) + seq_len(sum(noise))
  width <- 1 + length(scores) + length(noises)
  unit <- function(column) as.double(seq_len(width) == column)
  # registers that depend on x or on scores in any way
  blur <- function(row) replace(row, c(1, scores), NA)
  # registers that an earlier step left do not contain these noises
  R <- nrow(form$to)
  column <- rbind(unit(1), matrix(blur(double(width)), R - 1, width, byrow = TRUE),
                  matrix(0, length(score), width))
  for (s in seq_along(score)) {
    weights <- drop(weigh_rows(form$of[s, ], column))
    smeared <- replace(weights, !weights %in% 0, NA)
    column[R + s, ] <- if (noise[s]) {
      unit(noises[sum(noise[seq_len(s)])])
    } else if (score[s]) {
      now <- sum(score[seq_len(s)])
      # the denoised point and the noise are no scores, see score_form(), and a score with a
      # strength of its own is not that of the guidance
      usual <- program$level_want[level[now]] == 0 && program$level_of[level[now]] == "guided"
      value <- if (usual) unit(1 + now) else blur(double(width))
      replace(value, noises, smeared[noises])
    } else if (form$kind[s] == "by coordinate") smeared else blur(smeared)
  }
  to <- weigh_rows(form$to, column)
  holder <- function(j) which(colSums(t(to) == unit(j)) == width)[1]
  list(x = to[1, ], scores = scores, noises = noises, t = program$level_times[level],
       fresh = form$of[score, 1] == 1 & rowSums(form$of[score, , drop = FALSE] != 0) == 1,
       held = registers[vapply(noises, holder, 0L)])
}

# Steps of the form x' = alpha x + beta s(x, t) + sigma z: a row each, with a and b^2 at the time t
# of the score; NULL if some are of another form.
one_score_steps <- function(sampler, times, schedule) {
  n <- length(times) - 1
  steps <- lapply(sampler_program(sampler, times, schedule, one_is_enough = TRUE), score_form,
                  schedule)
  rows <- lapply(step_forms(steps, if (length(steps) < n) n else 1), one_score_form)
  if (any(lengths(rows) == 0)) return(NULL)
  rows <- as.data.frame(do.call(rbind, rows))
  cbind(rows, a = schedule$a(rows$t), b2 = schedule$b2(rows$t))
}

# The same of one form, NULL if it is another.
one_score_form <- function(form) {
  if (!identical(form$fresh, TRUE) || anyNA(form$x)) return(NULL)
  c(t = form$t, alpha = form$x[1], beta = form$x[2], sigma = sqrt(sum(form$x[-(1:2)]^2)))
}

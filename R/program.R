# Compiles operations (see sampler()) into the tables that the C engine runs.

# The engine's table of operations (src/core/operations.h): the meaning of their fields, by name,
# and the engine's limits.
operations <- local({
  table <- NULL
  function() {
    if (is.null(table)) table <<- .Call(ffi_operations)
    table
  }
})

op_code <- function(name) match(name, operations()$name) - 1L

# The meaning of the fields `to`, `from`, `at` and `n` for operations of a kind.
op_field <- function(kind, field) operations()[[field]][match(kind, operations()$name)]

# The kinds of the operations of a compiled program.
op_kinds <- function(program) operations()$name[program$op["code", ] + 1L]

# Does an operation read the derivative of the score? Does it write, or change, `to`? May it come
# with a derivative (a log_density of "map" or "divergence")?
reads_hessian <- function(kind) op_field(kind, "from") == "point"
writes_register <- function(kind) op_field(kind, "to") %in% c("write", "maybe", "change")
carries <- function(kind, derivative) {
  op_field(kind, "when") %in% c("always", if (derivative != "divergence") "without trace",
                                if (derivative == "none") "plain")
}

derivative_code <- c(none = 0L, divergence = 1L, map = 2L)
want_code <- c(score = 0L, denoised = 1L, noise = 2L)

# The scalars by their use in the engine (which has two more) and in compile_program(), counted from
# 1. Those from `closing` on hold log p_j, j = 1..J.
SCALAR <- list(change = 1, folded = 2, clipped = 3, reversed = 4, start = 7, closing = 8)

# `steps`: a list of operations per step, or a single one for all steps (see sampler_program()).
# `start_sd`: the start is drawn from N(0, start_sd^2 I), or NULL when it is given. `save`: keep the
# state at every time, or at the last only. `closing`: the time at which log p_j is taken in the
# end, or NULL. The last few programs are kept: making one takes as long as a short run.
compile_program <- local({
  kept <- list()
  function(steps, times, d, start_sd = NULL, derivative = "none", save = FALSE, closing = NULL,
           n_models = 1) {
    from <- list(steps, times, d, start_sd, derivative, save, closing, n_models)
    for (one in kept) if (identical(one$from, from)) return(one$program)
    program <- do.call(new_program, from)
    # a user's functions, and what they hold, are not kept
    if (is.null(program$call)) {
      kept <<- utils::head(c(list(list(from = from, program = program)), kept), 4)
    }
    program
  }
})

new_program <- function(steps, times, d, start_sd, derivative, save, closing, n_models) {
  several <- (length(times) - 1) / length(steps)
  check_hessian_ops(steps, d, several)
  save_x <- list(new_op("save", "x"))
  before <- if (!is.null(start_sd)) {
    # log N(x; 0, sd^2 I) of x = sd z
    density <- c(-d * log(2 * pi * start_sd^2) / 2, -.5)
    c(list(op_noise("x"), new_op("dot", "x", scalar = SCALAR$start, coef = list(x = density))),
      if (start_sd != 1) list(op_linear("x", c(x = start_sd))),
      list(new_op("begin", "x")))
  }
  ended <- function(ops) {
    # the last operation writes x
    alpha <- if (derivative == "divergence") as.list(ops[[length(ops)]]$coef)[["x"]] else 1
    if (is.null(alpha) || any(alpha <= 0)) no_divergence()
    c(ops, list(new_op("end", "x", coef = list(x = alpha))), if (save) save_x)
  }
  after <- if (!is.null(closing)) {
    list(new_op("eval", to = if (derivative == "none") "" else "(closing)", from = "x",
                t = closing, scalar = SCALAR$closing))
  }
  table <- Map(c, operation_table(c(before, if (save) save_x), d),
               operation_table(unlist(lapply(steps, ended), recursive = FALSE), d, several),
               operation_table(c(if (!save) save_x, after), d))
  assemble_program(table, derivative, SCALAR$closing - 1 + n_models)
}

kinds_of <- function(ops) vapply(ops, .subset2, "", "op")
kinds_in <- function(steps) kinds_of(unlist(steps, recursive = FALSE))
uses_hessian <- function(ops) any(reads_hessian(kinds_of(ops)))

# Operations that read the derivative of the score need an evaluation before them, at the same place
# and time. An element of `steps` is one step, or stands for several.
check_hessian_ops <- function(steps, d, several) {
  if (!any(reads_hessian(kinds_in(steps)))) return(invisible())
  for (k in seq_along(steps)) {
    last <- NULL
    for (op in steps[[k]]) {
      if (reads_hessian(op$op)) {
        wanted <- if (!identical(last$from, op$from) || !identical(last$t, op$t)) {
          "op_product() and the like follow op_eval() of the same `from` and `t`"
        } else if (op$op == "solve" && (several > 1 || op$coef[[1]][1] > d)) {
          paste("op_solve() has", if (several > 1) "one time" else {
            paste("at most", count_of(d, "number"), "in `diagonal`")
          })
        }
        if (!is.null(wanted)) {
          abort_input("step", paste("a function whose", wanted),
                      paste0("`", format(op)[1], "` at step ", k), "program")
        }
        if (op$op != "solve") check_sizes(op$coef, several, "coef")
      } else if (op$op == "eval") {
        last <- op
      } else if (!is.null(last) && op$to == last$from) {
        last <- NULL
      }
    }
  }
}

# The trace form needs a scalar coefficient alpha > 0 of the old state in the new.
no_divergence <- function() {
  abort_input("log_density", 'other than "divergence" for this sampler', kind = "program")
}

# Operations as columns, in tables that can be joined: what they are (`kind` to `scalar`), how many
# coefficients they have (`count`), the coefficients (`register`, `size`), and the numbers of which
# times and coefficients consist. Operations that stand for several steps come once for each, with
# its numbers. Those that samplers do not have are as in operations.h: an "eval" to "" is of the
# log-densities alone; a "dot" with coef = list(r = c(c0, c1)) adds c0 + c1 <from, r>; a "call",
# "mix" or "ask" has a function `fun` of the time `when`, of what it reads, and of whether
# derivatives are wanted. `of`: which score an "eval" is of, see guidance_models().
operation_table <- function(ops, d = 1, steps = 1) {
  # all fields of all operations in one list: a loop over operations would take most of the time
  entry <- unlist(unname(ops), recursive = FALSE)
  owner <- rep(seq_along(ops), lengths(ops))
  entries <- function(name) unname(entry[names(entry) == name])
  column <- function(name, default, value = unlist(entries(name))) {
    replace(rep(default, length(ops)), owner[names(entry) == name], value)
  }
  kind <- column("op", "")
  count <- column("coef", 0L, lengths(entries("coef")))
  coefs <- unlist(entries("coef"), recursive = FALSE)
  t <- entries("t")
  check_sizes(coefs[rep(kind == "linear", count)], if (steps > 1) steps else d, "coef")
  check_sizes(t, steps, "t")
  each <- list(kind = kind, to = column("to", ""), from = column("from", "x"),
               of = column("of", "guided"), scalar = column("scalar", 0), count = count,
               register = names(coefs),
               size = if (steps > 1) rep(1L, sum(count)) else lengths(coefs))
  numbers <- function(x) {
    # a column per step: its numbers come one after the other
    if (steps > 1) x <- t(vapply(x, rep_len, double(steps), steps))
    as.double(unlist(x, use.names = FALSE))
  }
  # what an operation with a time wants; those that read a derivative want that of the evaluation
  want <- rep(list(0L), length(t))
  wanted <- match(owner[names(entry) == "want"], owner[names(entry) == "t"])
  want[wanted] <- lapply(entries("want"), function(w) want_code[w])
  check_sizes(want, steps, "want")
  c(lapply(c(each, list(fun = entries("fun"))), rep, steps),
    list(t = numbers(t), want = numbers(want), coef = numbers(coefs),
         when = numbers(entries("when"))))
}

check_sizes <- function(x, most, arg) {
  wrong <- which(lengths(x) != 1 & lengths(x) != most)
  if (length(wrong)) {
    x <- x[wrong[1]]
    abort_input(arg, paste0("one number", if (most > 1) paste(" or", most),
                            if (!is.null(names(x))) paste(" for register", names(x))),
                lengths(x), "program")
  }
}

# The program of a table. Names become numbers, by the meaning of each operation's fields, and
# noises, levels and scalars are counted in the order of the operations.
assemble_program <- function(table, derivative = "none", scalars = operations()$scalars) {
  kind <- table$kind
  registers <- setdiff(c("x", table$to, table$from, table$register), "")
  most <- operations()$registers
  if (length(registers) > most) {
    abort_input("sampler", paste("at most", most, "registers"), length(registers), kind = "program")
  }
  id <- function(name) match(name, registers, 0) - 1
  offset <- function(n) cumsum(n) - n

  coef_at <- offset(table$size)
  of_linear <- rep(kind == "linear", table$count)
  term <- rbind(register = id(table$register), at = coef_at, by_coordinate = table$size > 1)
  term <- term[, of_linear, drop = FALSE]
  uneven <- any(term["by_coordinate", ] == 1) || any(op_field(kind, "when") == "without trace")
  if (derivative == "divergence" && uneven) no_divergence()

  op <- rbind(code = op_code(kind), to = id(table$to), from = id(table$from), at = 0, n = 0)
  fields <- lapply(c(to = "to", at = "at", n = "n"), function(field) op_field(kind, field))
  fill <- function(field, is, value) {
    columns <- fields[[field]] == is
    op[field, columns] <<- value(columns)
  }
  for (field in c("to", "at")) fill(field, "scalar", function(at) table$scalar[at] - 1)
  fill("n", "calls", function(at) seq_len(sum(at)) - 1)
  for (slices in c("noises", "outputs")) fill("at", slices, function(at) seq_len(sum(at)) - 1)
  fill("at", "terms", function(at) offset(table$count[at]))
  fill("at", "read", function(at) id(table$register[offset(table$count)[at] + 1]))
  fill("n", "logp", function(at) table$scalar[at] - 1)
  fill("n", "count", function(at) table$count[at])
  fill("n", "coef", function(at) coef_at[offset(table$count)[at] + 1])
  at_time <- which(fields$at == "level")
  models <- table$of[at_time]
  want <- table$want[cummax(ifelse(kind[at_time] == "eval", seq_along(at_time), 1))]
  level <- paste(match(table$t, unique(table$t)), models, want)
  first <- which(!duplicated(level))
  op["at", at_time] <- match(level, level[first]) - 1
  if (derivative == "map") fill("at", "alive", function(at) live_registers(op, term))
  integers <- function(x) {
    storage.mode(x) <- "integer"
    dimnames(x) <- list(rownames(x), NULL)
    x
  }
  count <- function(is) sum(fields$at == is)
  list(op = integers(op), term = integers(term), coef = table$coef, registers = length(registers),
       scalars = as.integer(scalars), outputs = count("outputs"), noises = count("noises"),
       derivative = derivative_code[[derivative]], level_times = table$t[first],
       level_of = models[first], level_want = as.integer(want[first]),
       call = program_call(table$fun, table$when), columns = lapply(table$fun, attr, "columns"))
}

# The functions of a program as one, of their number and what the operation hands over. One that has
# an attribute `columns` gets its points with these names, which here would cost a copy.
program_call <- function(fun, when) {
  if (!length(fun)) return(NULL)
  force(when)
  function(k, read, curved) {
    on.exit(read <- NULL) # as in model_value()
    fun[[k]](when[k], read, curved)
  }
}

takes_root <- function(program) any(op_kinds(program) == "root")

# Is noise multiplied by a matrix that may turn it around?
turns_noise <- function(program) {
  kind <- op_kinds(program)
  products <- which(kind == "product" & c("", kind[-length(kind)]) == "noise")
  any(program$op["to", products] == program$op["to", products - 1])
}

# Roots of matrices are taken in a few dimensions only.
check_root <- function(program, d) {
  most <- operations()$root
  if (takes_root(program) && d > most) {
    abort_input("sampler", paste("one without op_root() in more than", most, "dimensions"),
                paste("one with it in", d), kind = "program")
  }
}

# Does a program treat coordinates differently? Then no other basis and no reduction is allowed.
is_by_coordinate <- function(program) {
  kind <- op_kinds(program)
  coef_of <- function(of) program$coef[program$op["n", kind == of] + 1]
  fixed <- op_field(kind, "frame") == "fixed"
  # 0 in every coordinate stays that
  fixed[kind == "constant"] <- coef_of("constant") != 0
  any(program$term["by_coordinate", ] == 1) || any(fixed) ||
    rules$rescale$code %in% coef_of("rule")
}

# The noise levels of a program, and the factor of the score there (a function of time; NULL: 1).
program_levels <- function(program, schedule, scale = NULL) {
  t <- program$level_times
  guided <- is_guided(program$level_of)
  scale <- if (is.null(scale)) rep(1, length(t)) else {
    replace(rep(1, length(t)), guided, at_times(scale, t[guided], "scale"))
  }
  want <- program$level_want
  # (x + b^2 s)/a of a score that is no law's
  need_memory(t[want == want_code[["denoised"]] & scale != 1], schedule, "a score of another scale")
  list(a = schedule$a(t), b2 = schedule$b2(t), want = want, scale = scale)
}

# The factors of a term's register.
term_coefs <- function(program, term, d) {
  wide <- program$term["by_coordinate", term] == 1
  program$coef[program$term["at", term] + seq_len(if (wide) d else 1)]
}

# For each step, the registers other than x that outlive it, as bits.
live_registers <- function(op, term) {
  registers <- max(op["to", ])
  drop(alive_after(op, term, registers + 1)[op_kinds(list(op = op)) == "end", , drop = FALSE] %*%
         2^seq_len(registers))
}

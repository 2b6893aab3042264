# Compiles what a sampler says (see sampler()) into the tables that the C engine runs.

# As in src/core/gm.h.
op_code <- function(name) {
  match(name, c("eval", "noise", "linear", "dot", "end", "save", "save_divergence",
                "save_jacobian", "begin")) - 1L
}
derivative_code <- c(none = 0L, divergence = 1L, map = 2L)

# Scalars, counted from 1: what the engine and compile_program() keep in them; log p_j, j = 1..J, in
# those from `closing` on.
SCALAR <- list(change = 1, folded = 2, start = 3, closing = 4)

# `steps`: a list of operations per step (sampler_program()). `start_sd`: the start is drawn from
# N(0, start_sd^2 I), or NULL when it is given. `save`: keep the state at every time, or at the last
# only. `closing`: the time at which log p_j is taken in the end, or NULL.
compile_program <- function(steps, times, d, start_sd = NULL, derivative = "none", save = FALSE,
                            closing = NULL, n_models = 1) {
  registers <- unique(c("x", unlist(lapply(unlist(steps, recursive = FALSE), `[[`, "to")),
                        if (!is.null(closing)) "(closing)"))
  if (length(registers) > 24) {
    abort_input("sampler", "at most 24 registers", length(registers), kind = "program")
  }
  id <- function(name) match(name, registers) - 1L
  ops <- list()
  terms <- list()
  coefs <- list()
  n_ops <- n_terms <- n_coefs <- n_noise <- n_saved <- 0L
  level_times <- double()

  emit <- function(code, to = 0L, from = 0L, at = 0L, n = 0L) {
    n_ops <<- n_ops + 1L
    ops[[n_ops]] <<- c(op_code(code), to, from, at, n)
  }
  constant <- function(x) {
    at <- n_coefs
    coefs[[length(coefs) + 1]] <<- as.double(x)
    n_coefs <<- n_coefs + length(x)
    at
  }
  # the trace form needs a scalar coefficient alpha > 0 of the old state in the new
  no_divergence <- function() {
    abort_input("log_density", 'other than "divergence" for this sampler', kind = "program")
  }
  level <- function(t) {
    at <- match(t, level_times)
    if (is.na(at)) {
      level_times <<- c(level_times, t)
      at <- length(level_times)
    }
    at - 1L
  }
  noise <- function(to) {
    emit("noise", to, at = n_noise)
    n_noise <<- n_noise + 1L
  }
  linear <- function(to, coef) {
    first <- n_terms
    for (name in names(coef)) {
      value <- coef[[name]]
      if (!length(value) %in% c(1L, d)) {
        abort_input("coef", paste("one number or", d, "for register", name), length(value),
                    "program")
      }
      if (length(value) > 1 && derivative == "divergence") no_divergence()
      n_terms <<- n_terms + 1L
      terms[[n_terms]] <<- c(id(name), constant(value), length(value) > 1)
    }
    emit("linear", to, at = first, n = length(coef))
  }
  save_state <- function() {
    emit("save", from = 0L, at = n_saved)
    n_saved <<- n_saved + 1L
  }

  if (!is.null(start_sd)) {
    noise(0L)
    # log N(x; 0, sd^2 I) of x = sd z
    emit("dot", SCALAR$start - 1, 0L, 0L, constant(c(-d * log(2 * pi * start_sd^2) / 2, -.5)))
    if (start_sd != 1) linear(0L, c(x = start_sd))
    emit("begin", 0L)
  }
  if (save) save_state()
  live <- if (derivative == "map") live_registers(steps)
  for (k in seq_along(steps)) {
    for (op in steps[[k]]) {
      switch(op$op,
             eval = emit("eval", id(op$to), id(op$from), level(op$t), -1L),
             noise = noise(id(op$to)),
             linear = linear(id(op$to), op$coef))
    }
    # op is now the last one, which writes x
    alpha <- if (derivative == "divergence") as.list(op$coef)[["x"]] else 1
    if (is.null(alpha) || length(alpha) > 1 || alpha <= 0) {
      no_divergence()
    }
    emit("end", 0L, at = sum(2^id(live[[k]])), n = constant(alpha))
    if (save || k == length(steps)) save_state()
  }
  if (!is.null(closing)) {
    emit("eval", id("(closing)"), 0L, level(closing), SCALAR$closing - 1)
  }
  integers <- function(x, rows) matrix(as.integer(unlist(x)), rows)
  list(op = integers(ops, 5), term = integers(terms, 3), coef = as.double(unlist(coefs)),
       registers = length(registers),
       scalars = as.integer(SCALAR$closing - 1 + n_models), outputs = n_saved,
       noises = n_noise, derivative = derivative_code[[derivative]], level_times = level_times)
}

# For each step, the registers other than x that outlive it: those that a later step reads before
# any step writes them again.
live_registers <- function(steps) {
  live <- vector("list", length(steps))
  after <- character()
  for (k in rev(seq_along(steps))) {
    live[[k]] <- setdiff(after, "x")
    written <- stale <- character()
    for (op in steps[[k]]) {
      stale <- union(stale, setdiff(c(op$from, names(op$coef)), written))
      written <- union(written, op$to)
    }
    after <- union(stale, setdiff(after, written))
  }
  live
}

# A sample of calls that reaches every compiled routine and every operation of the engine, for tools
# that are too slow for the tests; tools/sanitize lists them. Usage: Rscript tools/sanitize.R
# LIBRARY [--gctorture]. A routine or operation that the sample does not reach is a failure. With
# --gctorture R collects garbage at every allocation within a routine; the results must stay the
# same.
options(warn = 1, mixguide.threads = 2)
given <- commandArgs(TRUE)
torture <- "--gctorture" %in% given
library(mixguide, lib.loc = given[1])
ns <- asNamespace("mixguide")
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
pool <- new.env()
source(file.path(here, "fuzz-pool.R"), local = pool)

# Each object of fuzz-pool.R in turn, and then calls that need other routines.
each <- function(group, text) sprintf(text, paste0(group, "$", names(pool[[group]])))
calls <- c(
  each("m", "guided_sample(%s, 9, 'a', s$ddim, key = 1:2)"),
  each("m", "guided_sample(%s, 5, sampler = s$heun, log_density = 'map', key = 1:2)"),
  each("g", "guided_sample(m$iso, 9, %s, s$ddpm, key = 1:2)"),
  each("g", "guided_sample(m$full, 40, %s, s$rk4, trajectory = TRUE, key = 1:2)"),
  each("s", "guided_sample(m$full, 9, 'a', %s, log_density = 'divergence', key = 1:2)"),
  each("s", "guided_sample(m$common, 9, g$a, %s, log_density = 'none', key = 1:2)"),
  each("sc", "guided_sample(m$diag, 9, g$a, s$ddim, schedule = %s, key = 1:2)"),
  each("e", "guided_sample(m$line, 9, g$a, s$ddim, score_error = %s, key = 1:2)"),
  each("z", "conditional_sample(m$full, 9, o$noisy, method = %s, sampler = s$ddpm, key = 1:2)"),
  each("o", "conditional_sample(m$full, 9, %s, z$ddrm, sampler = s$ddim, key = 1:2)"),
  "guided_sample(own, 9, 'a', s$ddim, key = 1:2)",
  "guided_sample(m$wide, 9, 'a', s$em, points = 'sobol', key = 1:2)",
  "guided_summary(m$five, 33, 'a', s$ddim, covariance = TRUE, folder = tempfile(), key = 1:2)",
  "guided_summary(m$line, 33, 'a', s$em, points = 'sobol', key = 1:2)",
  "guided_law(m$line, 'a', s$ddpm, nodes = 200)", "guided_law(m$iso, 'a', s$em, nodes = 20)",
  "fokker_planck(m$line, 'a', nodes = 50, steps = 8)",
  "put_part(matrix(0, 4, 2), matrix(1, 2, 2), 1, 2)",
  "core_eval(m$full, plane, .9, .1, t(log_weights(m$full)), 1, 'divergence')",
  "score_jacobian(m$full, plane, .1)", ".Call(ffi_operations)", "mixguide_threads(2)",
  "gaussmix(1, t(1:3), diag(c(1, 1e-12, 1e12)) + 1e-8)",
  # long enough for two threads, with and without functions of R between the operations
  "guided_sample(m$many, 1e5, 'a', s$ddim, key = 1:2)",
  "guided_sample(m$many, 5e4, g$own, s$ddim, key = 1:2)",
  "guided_law(m$iso, 'a', s$em, nodes = 60)"
)

# ---- The routines and operations that were called, and the kinds of their arguments

routines <- names(getDLLRegisteredRoutines("mixguide")$.Call)
operations <- ns$operations()$name
reached <- tortured <- character()
failed <- 0
kind <- function(x) if (is.list(x)) paste0("(", toString(lapply(x, kind)), ")") else typeof(x)
shadow <- pool$with_call(function(.NAME, ...) {
  used <- c(.NAME$name, if (.NAME$name == "ffi_run") ns$op_kinds(list(...)[[4]]))
  reached <<- union(reached, used)
  # collecting garbage takes a hundredth of a second: once for each kind of arguments
  used <- c(used, paste(.NAME$name, kind(list(...))))
  if (!torture || all(used %in% tortured)) return(base::.Call(.NAME, ...))
  tortured <<- union(tortured, used)
  arguments <- list(...)
  if (.NAME$name == "ffi_run" && is.function(arguments[[4]]$call)) {
    # the routine's own allocations, not those of the R functions that it calls
    asked <- arguments[[4]]$call
    arguments[[4]]$call <- function(...) {
      gctorture(FALSE)
      on.exit(gctorture(TRUE))
      asked(...)
    }
  }
  gctorture(TRUE)
  on.exit(gctorture(FALSE))
  do.call(base::.Call, c(list(.NAME), arguments), quote = TRUE)
})
parent.env(pool) <- shadow

# Our own errors are legal: not all arguments fit together.
answer <- function(text) {
  set.seed(1)
  tryCatch(suppressMessages(suppressWarnings(eval(parse(text = text)[[1]], pool))),
           mixguide_error = conditionMessage)
}
wrong <- function(...) {
  cat(..., "\n", sep = "")
  failed <<- failed + 1
}
for (text in calls) {
  value <- answer(text)
  if (torture) {
    torture <- FALSE
    same <- isTRUE(all.equal(answer(text), value, tolerance = 0))
    torture <- TRUE
    if (!same) wrong("changes: ", text)
  }
}
for (name in setdiff(c(routines, operations), reached)) wrong("not in the sample: ", name)
cat(length(calls) + length(routines) + length(operations) - failed, "passed,", failed, "failed\n")
quit(status = as.integer(failed > 0))

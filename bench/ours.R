# mixguide on the cases: Rscript bench/ours.R speed|check|memory|scaling CASE [NUMBER]
# It measures whole calls: checks, tables, all steps, copying out. check: NUMBER particles.
# memory: the summary mode on NUMBER particles, if given.
source("bench/cases.R")
suppressPackageStartupMessages(library(mixguide))
arguments <- commandArgs(TRUE)
what <- arguments[1]
case <- read_case(arguments[2])
number <- as.numeric(arguments[3])
mixguide_threads(as.numeric(Sys.getenv("OMP_NUM_THREADS", "1")))

mixture_of <- function(case) {
  part <- parameters(case)
  cov <- part$cov
  if (is.matrix(cov)) cov <- lapply(seq_len(nrow(cov)), function(k) cov[k, ])
  class <- if (!is.null(case$towards)) ifelse(seq_len(case$K) <= case$towards, "a", "b")
  gaussmix(part$weights, part$means, cov, class)
}

# Returns a function of further arguments of the case's call; the mixture and the points are made
# before.
call_of <- function(case) {
  if (case$name == "E1") return(diffusion_call(case))
  mixture <- mixture_of(case)
  if (is.null(case$towards) || startsWith(case$name, "D")) {
    x <- points_of(case$n, case$d)
    return(if (is.null(case$towards)) function() score(mixture, x)
           else function() dgaussmix(x, mixture, log = TRUE))
  }
  function(..., sample = guided_sample) {
    sample(mixture, case$n, guidance = guidance("a", 1), sampler = sampler_ddpm(NULL),
           schedule = schedule_ddpm(1 - betas(case$steps)), ...)
  }
}

# The steps as fokker_planck() takes them, without the scores, because the peers have none: the
# linear drift alone.
diffusion_call <- function(case) {
  job <- diffusion(case)
  function(...) {
    each <- rep(1, case$steps)
    mixguide:::fokker_planck_steps(job$p, job$x, job$dt * each, 2 * job$D * each,
                                   job$theta(seq_len(case$steps)))
  }
}

with_sizes <- function(case, ...) utils::modifyList(case, list(...))

# Exact reductions can be turned off.
reduces <- "reduce" %in% names(formals(guided_sample))
variants <- function(case) {
  both <- reduces && case$name == "S4"
  c(list(mixguide = list()), if (both) list("mixguide (reduce = FALSE)" = list(reduce = FALSE)))
}

speed <- function() {
  do.call(call_of(with_sizes(case, n = 10)), list())  # R reads and compiles its functions
  for (who in names(variants(case))) {
    call <- call_of(case)
    seconds <- time_of(function() do.call(call, variants(case)[[who]]))
    emit_time(case, who, seconds, case$n * case$steps)
  }
}

check <- function() {
  set.seed(1)
  call <- call_of(with_sizes(case, n = number))
  for (who in names(variants(case))) {
    result <- do.call(call, variants(case)[[who]])
    emit_check(case, who, if (is.list(result)) result$x else result)
  }
}

# Peak memory of a call, beyond the memory before it and the result; and the peak of the whole
# process.
memory <- function() {
  summary <- !is.na(number)
  if (summary && !"guided_summary" %in% getNamespaceExports("mixguide")) return()
  if (summary) case <- with_sizes(case, n = number, steps = 50)
  call <- call_of(case)
  megabytes <- function(field) {
    line <- grep(field, readLines("/proc/self/status"), value = TRUE)
    as.numeric(gsub("[^0-9]", "", line)) / 1024
  }
  gc()
  writeLines("5", "/proc/self/clear_refs")  # the peak starts anew
  before <- megabytes("VmRSS")
  result <- if (summary) call(sample = mixguide::guided_summary) else call()
  peak <- megabytes("VmHWM")
  size <- as.numeric(utils::object.size(result)) / 2^20
  who <- if (summary) "mixguide (summary)" else "mixguide"
  emit(case, who, "peak over result", peak - before - size, "MB", "n", case$n)
  emit(case, who, "peak of process", peak, "MB", "n", case$n)
}

# Seconds of whole calls as one size grows. Parts that do not grow with it (compiling the steps, the
# noise as K grows) should be small at the smallest size.
scales <- list(
  S1 = list(n = list(n = 1e5 * 2^(0:4), steps = 200), steps = list(n = 1e5, steps = 100 * 2^(0:4)),
            K = list(n = 4e4, steps = 100, K = 16 * 2^(0:4)),
            d = list(n = 4e4, steps = 100, d = 16 * 2^(0:4))),
  S2 = list(n = list(n = 1e5 * 2^(0:3), steps = 50), steps = list(n = 2e4, steps = 50 * 2^(0:4)),
            K = list(n = 2e4, steps = 50, K = 16 * 2^(0:4)),
            d = list(n = 2e4, steps = 50, d = 16 * 2^(0:4))),
  S3 = list(n = list(n = 4e3 * 2^(0:4), steps = 20), steps = list(n = 4e3, steps = 20 * 2^(0:4)),
            K = list(n = 4e3, steps = 20, K = 4 * 2^(0:4)),
            d = list(n = 8e3, steps = 20, d = 32 * 2^(0:2)))
)
scaling <- function() {
  shrink <- cases[[case$name]]$n / case$n
  do.call(call_of(with_sizes(case, n = 10)), list())
  for (vary in names(scales[[case$name]])) {
    sizes <- scales[[case$name]][[vary]]
    for (at in sizes[[vary]]) {
      sizes[[vary]] <- at
      at_size <- do.call(with_sizes, c(list(case), sizes))
      at_size$n <- at_size$n / shrink
      call <- call_of(at_size)
      more <- if (reduces && vary == "d") list(reduce = FALSE) else list()
      seconds <- time_of(function() do.call(call, more), least = .1)
      emit(case, "mixguide", "cpu", seconds[["cpu"]], "s", vary, at_size[[vary]])
    }
  }
}

switch(what, speed = speed(), check = check(), memory = memory(), scaling = scaling())

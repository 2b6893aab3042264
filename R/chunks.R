# A run is cut into chunks of particles, in sizes that depend on the run alone: so that its memory
# is bounded, that workers can share it, and that what is finished can be kept.

#' Large runs
#'
#' [guided_sample()], [guided_summary()] and [guidance_sweep()] run their particles in chunks: one
#' after the other in this process, or, if a plan of package future is set, on its workers. What a
#' particle meets depends on its number and the key of the run alone, so that the result is the
#' same, to the last bit, in one process, on any number of workers, and resumed.
#'
#' @details
#' **Memory.** A chunk of a sample holds a few million numbers, and is put in its place in the
#' result at once: a run takes the memory of its result, of the mixture, and some 40 MB more (of 64
#' particles, if these are more). [guided_summary()] and [guidance_sweep()] (unless it keeps its
#' samples) take the same for any number of particles; a summary of many variables also some copies
#' of its histograms, `bins` numbers per variable, and of its fourth moments, which of d variables
#' with covariances are `4 d^2` numbers.
#'
#' **Workers.** After `future::plan(future::multisession, workers = 4)`, or another plan of package
#' future (`cluster` for several hosts, `future.batchtools::batchtools_slurm` for a batch system),
#' runs of several chunks (a chunk is about a second of work of one core, a few in a summary) are
#' sent to the workers, on which mixguide must be installed; those of a summary in groups of up to
#' 64, but several groups for each worker. A worker computes with one thread, or with the number in
#' `options(mixguide.worker_threads = )` of the calling session.
#'
#' Workers with the same instruction set give the same bits; between AVX-512, AVX2 and other
#' processors results agree to rounding.
#'
#' **Progress** is reported, chunk by chunk, through package progressr: nothing is shown unless you
#' ask, by `progressr::handlers(global = TRUE)` or `progressr::with_progress()`.
#'
#' **Errors.** An error in a chunk, or a worker that is lost, ends the run with an error of class
#' `mixguide_error_chunk` (and `mixguide_error`) that names the chunk and its particles; its fields
#' `chunk` (the number of the chunk, or numbers), `chunks` (how many there are), `first` and `last`
#' (the numbers of the particles, from 1), `key` and `parent` (the error itself) hold the same for
#' programs.
#'
#' **Keeping and resuming.** With `folder = "name"` each chunk is written to that folder as soon as
#' it is finished. The same call again takes the chunks that are there and runs the others; so does
#' one with a larger `n`. The key must be the same: give `key`, or call [set.seed()] before each;
#' the error above tells the key. A file's name is made from a digest of all that settles its
#' content (mixture, guidance, sampler, times, start, key, version and instruction set), so that a
#' folder can hold many runs and never gives the chunk of another, and from a checksum: a file that
#' is damaged or cut short is removed, with a warning, and its chunk run again. Delete the folder
#' when you no longer need it.
#'
#' @seealso [mixguide_threads()] for threads; `vignette("scaling-out", "mixguide")`.
#' @examples
#' m <- gaussmix(c(.3, .7), c(-1, 1), cov = .5, class = c("a", "b"))
#' folder <- tempfile("run")
#' run <- guided_sample(m, 1000, guidance("a", 2), key = c(1, 2), folder = folder)
#' again <- guided_sample(m, 1000, guidance("a", 2), key = c(1, 2), folder = folder) # only reads
#' identical(again$x, run$x)
#' unlink(folder, recursive = TRUE)
#' @name scaling
NULL

# ---- Sizes: powers of two, settled by the run

# Particles in memory at a time, with what is computed from them: some `numbers`.
batch_size <- function(plan, numbers = 2^20) {
  power_of_two(max(64, numbers / particle_numbers(plan)))
}

particle_numbers <- function(plan) {
  drawn <- if (is.null(plan$begin$law)) 0 else 6
  mixture_dim(plan$mixture) * (plan$program$outputs + drawn) + 8
}

# Particles of a sample that are run, sent and kept together: about a second of one core, and larger
# batches, for each is copied to its place. A small run is not cut if nobody asks for chunks.
chunk_size <- function(plan, cut = TRUE) {
  n <- plan$begin$n
  if (!cut && n * particle_numbers(plan) <= 6e6) return(max(n, 1))
  min(batch_size(plan, 2^21), max(2^11, power_of_two(2^34 / particle_work(plan))))
}

# The same where only summaries are sent: some seconds' work in whole batches. `runs`: how often
# each particle is run.
summary_chunk_size <- function(plan, runs = 1) {
  max(batch_size(plan), power_of_two(2^36 / particle_work(plan) / runs))
}

# R collects garbage when its heap is full, and the heap grows with the result: after every few
# chunks the young garbage goes, before it adds up. (Nothing that has become garbage may still have
# a name then: what survives is looked at again much later.)
collect_garbage <- function(i, every) if (i %% every == 0) gc(FALSE, full = FALSE)

power_of_two <- function(x) 2^floor(log2(x))

# Flops of a particle, roughly.
particle_work <- function(plan) {
  op <- plan$program$op[1, ]
  d <- nrow(plan$pool$mean)
  K <- ncol(plan$pool$mean)
  score <- K * (20 + if (is.null(plan$pool$vector)) 8 * d else 4 * d^2)
  derivative <- switch(plan$method, none = 0, divergence = 8 * K * d, map = K * d^2 + 2 * d^3)
  1 + sum(op == op_code("eval")) * (score + derivative) + sum(op == op_code("noise")) * 20 * d +
    sum(op == op_code("root")) * (K * d^2 + 50 * d^3)
}

# The part of a plan that the `count` particles after the first `first` need.
plan_part <- function(plan, first, count) {
  before <- if (is.null(plan$first)) 0 else plan$first
  if (before == first && count == plan$begin$n) return(plan)
  if (!is.null(plan$begin$x) || !is.null(plan$noise)) {
    rows <- first - before + seq_len(count)
    plan$begin$x <- plan$begin$x[rows, , drop = FALSE]
    plan$begin$log_density <- plan$begin$log_density[rows]
    plan$noise <- plan$noise[rows, , , drop = FALSE]
  }
  plan$begin$n <- count
  plan$first <- first
  plan
}

# ---- The chunks of a run

# Runs all chunks of a task over n particles and hands what comes out to collect(value, first,
# count), in the order of the particles. A task is a list of `work`, a function of this package
# that is called as work(job, first, count), here or on a worker; `job`, all that it needs to know:
# a list with `plan` and `key`; and `small`: are the values so small that a worker may return those
# of many chunks together? `here`: in this process, whatever the plan.
each_chunk <- function(task, n, size, collect, folder = NULL, here = FALSE) {
  first <- seq(0, by = min(size, max(n, 1)), length.out = max(1, ceiling(n / size)))
  count <- pmin(size, n - first)
  chunks <- length(first)
  runner <- if (chunks > 1 && !here && has_workers()) on_workers() else in_this_process
  group <- if (isTRUE(task$small)) runner$group(chunks) else 1
  groups <- unname(split(seq_len(chunks), (seq_len(chunks) - 1) %/% group))
  kept <- chunk_folder(folder, task)
  progress <- chunk_progress(chunks, environment())
  waiting <- list()
  begin <- function(g) {
    ids <- groups[[g]]
    values <- lapply(ids, function(i) kept$get(first[i], count[i]))
    missing <- which(vapply(values, is.null, NA))
    if (!length(missing)) return(function() values)
    need <- ids[missing]
    last <- need[length(need)]
    job <- task$job
    job$plan <- plan_part(job$plan, first[need[1]], first[last] + count[last] - first[need[1]])
    wait <- runner$start(task$work, job, first[need], count[need], paste("mixguide group", g))
    function() {
      values[missing] <- Map(kept$put, wait(), first[need], count[need])
      values
    }
  }
  failed <- function(error, g) {
    # what else was begun may yet be finished and kept
    if (!is.null(folder)) {
      for (other in waiting[names(waiting) != g]) if_error(other(), function(e) NULL)
    }
    # a future that cannot be launched may tell of the end of another
    label <- attr(error, "future")$label
    if (any(grepl("^mixguide group", label))) g <- as.integer(sub("\\D+", "", label))
    abort_chunk(error, groups[[g]], first, count, task$job$key, folder)
  }
  begun <- 0
  for (g in seq_along(groups)) {
    while (begun < min(length(groups), g + runner$ahead)) {
      begun <- begun + 1
      waiting[[paste(begun)]] <- if_error(begin(begun), function(e) failed(e, begun))
    }
    values <- if_error(waiting[[paste(g)]](), function(e) failed(e, g))
    waiting[[paste(g)]] <- NULL
    for (i in seq_along(values)) {
      id <- groups[[g]][i]
      collect(values[[i]], first[id], count[id])
      progress()
    }
    values <- NULL
    collect_garbage(g, 2)
  }
}

abort_chunk <- function(error, ids, first, count, key, folder) {
  last <- ids[length(ids)]
  end <- first[last] + count[last]
  begin <- first[ids[1]] + 1
  number <- function(x) format(x, scientific = FALSE, big.mark = ",")
  span <- if (last > ids[1]) paste0("chunks ", ids[1], " to ", last) else paste("chunk", last)
  message <- paste0(
    span, " of ", length(first), " (particles ", number(begin), " to ", number(end), ") failed: ",
    conditionMessage(error),
    if (!is.null(folder)) {
      paste0("\nWhat was finished is in `folder`: the same call with key = c(",
             paste(format(key, scientific = FALSE, trim = TRUE), collapse = ", "), ") resumes")
    }
  )
  stop(errorCondition(message, class = c("mixguide_error_chunk", "mixguide_error"),
                      call = user_call(), chunk = ids, chunks = length(first), first = begin,
                      last = end, key = key, parent = error))
}

# The batches of a chunk.
each_batch <- function(first, count, size, run) {
  from <- seq(0, max(count - 1, 0), by = size)
  for (i in seq_along(from)) {
    run(first + from[i], min(size, count - from[i]))
    collect_garbage(i, 4)
  }
}

# A way to run chunks: start() begins some and returns a function that waits for their values;
# `ahead` is how many may be begun before the first is asked for; group() says how many chunks go
# together.
in_this_process <- list(
  ahead = 0, group = function(chunks) 1,
  start = function(work, job, first, count, label) {
    values <- run_chunks(work, job, first, count)
    function() values
  }
)

# The user's plan, if there is one.
has_workers <- function() {
  isNamespaceLoaded("future") && !inherits(future::plan(), "sequential")
}

on_workers <- function() {
  threads <- getOption("mixguide.worker_threads", 1)
  check_count(threads, "options(mixguide.worker_threads)", min = 1)
  workers <- future::nbrOfWorkers()
  list(
    ahead = 2 * workers,
    # several for each worker, so that slow ones do not hold up the others
    group = function(chunks) min(64, max(1, floor(chunks / (8 * workers)))),
    start = function(work, job, first, count, label) {
      # without R's random numbers, hence no seed
      f <- future::future(run_on_worker(work, job, first, count, threads), label = label,
                          globals = list(run_on_worker = run_on_worker, work = work, job = job,
                                         first = first, count = count, threads = threads))
      function() future::value(f)
    }
  )
}

run_on_worker <- function(work, job, first, count, threads) {
  before <- mixguide_threads(threads)
  on.exit(mixguide_threads(before))
  run_chunks(work, job, first, count)
}

run_chunks <- function(work, job, first, count) {
  Map(function(first, count) work(job, first, count), first, count)
}

# Whoever has asked to see progress has loaded progressr.
has_progress <- function() isNamespaceLoaded("progressr")

# Does anybody but this process want to have a run in chunks?
is_shared <- function(folder) !is.null(folder) || has_workers() || has_progress()

# A function to be called after each chunk.
chunk_progress <- function(chunks, frame) {
  if (chunks == 1 || !has_progress()) return(function() NULL)
  progressr::progressor(steps = chunks, envir = frame)
}

# ---- Where chunks come together

# Room for n particles of the kind that `part`, of fewer, holds: a vector, or an array whose last
# dimension but one is the particles'.
room_for <- function(part, n) {
  size <- dim(part)
  if (is.null(size)) return(vector(typeof(part), n))
  size[length(size) - 1] <- n
  room <- vector(typeof(part), prod(size))
  dim(room) <- size
  dimnames(room) <- dimnames(part)
  room
}

# Puts part, the particles after the first `first`, where they belong in `room`: in place.
put_part <- function(room, part, first, count) {
  size <- dim(part)
  columns <- if (is.null(size)) 1 else size[length(size)]
  .Call(ffi_place, room, part, columns, first * (length(part) / columns / count))
}

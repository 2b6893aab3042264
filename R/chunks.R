# A run is cut into chunks of particles, in sizes that depend on the run alone. Chunks bound the
# memory, let workers share a run, and let finished parts be kept.

#' Large runs
#'
#' [guided_sample()], [guided_summary()] and [guidance_sweep()] run their particles in chunks: one
#' after the other in this process or, with a plan of package future, on its workers. The noise of a
#' particle depends on its number and the key of the run alone. The result therefore is the same, to
#' the last bit, in one process, on any number of workers, and resumed.
#'
#' @details
#' **Memory.** A run takes the memory of its result, of the mixture, and some 40 MB more (of 64
#' particles, if these are more). [guided_summary()] and [guidance_sweep()] (unless it keeps its
#' samples) take the same memory for any number of particles. A summary also holds some copies of
#' its histograms, `bins` numbers per variable, and of its fourth moments, `4 d^2` numbers for d
#' variables with covariances.
#'
#' **Workers.** After `future::plan(future::multisession, workers = 4)`, or another plan of package
#' future (`cluster` for several hosts, `future.batchtools::batchtools_slurm` for a batch system),
#' runs of several chunks go to the workers, on which mixguide must be installed. (A chunk is about
#' a second of work of one core, a few in a summary.) This session runs the first chunk and measures
#' its time. The other chunks go in groups that are worth the start of a worker, or stay here if
#' none is. Each worker, or job, gets the mixture once. Another version of the package on a worker
#' is an error, and a newer processor computes with the instructions of this session's.
#'
#' Four options of the calling session control this:
#' * `mixguide.worker_threads`: threads of a worker; the default is 1, and in a job of a batch
#'   system the number of CPUs of the job;
#' * `mixguide.worker_start`: seconds until a worker begins; the default is 0.1, or 15 in a batch
#'   system;
#' * `mixguide.worker_timeout`: seconds after which a group of chunks without an answer is given up.
#'   The default is 20 times the expected time of the group, and at least 600. There is no limit in
#'   a batch system, where a job may wait.
#' * `mixguide.threads`, see [mixguide_threads()].
#'
#' Between AVX-512, AVX2 and other processors results agree to rounding.
#'
#' **Hosts over ssh.** If the link to a host breaks, R does not notice unless ssh checks:
#' `future::plan(future::cluster, workers = hosts, rshopts = c("-o", "ServerAliveInterval=10", "-o",
#' "ServerAliveCountMax=3"), timeout = 600, connectTimeout = 60)` ends the connection after 30
#' seconds without an answer, and the worker counts as lost. `timeout` and `connectTimeout` limit
#' R's own waiting, otherwise 30 days, for a worker that is lost while R reads from it or starts it
#' anew.
#'
#' **Progress.** In an interactive session a run of several chunks that will take more than 3
#' seconds shows a bar with the time left; `options(mixguide.progress = FALSE)` turns it off. If
#' package progressr is loaded, it gets the chunks instead, and shows them by its `handlers()` or
#' `with_progress()`. Scripts, documents of knitr and tests show nothing.
#'
#' **Errors.** A group of chunks whose worker is lost is sent once more. If the group fails again,
#' or a chunk ends with an error, the run ends with an error of class `mixguide_error_chunk` (and
#' `mixguide_error`). Its fields are `chunk` (the number of the chunk, or numbers), `chunks` (their
#' total number), `first` and `last` (the numbers of the particles, from 1), `key` and `parent` (the
#' original error). Jobs of the run in a batch system are then cancelled, and also on an interrupt;
#' the message names the chunks that other workers are still computing.
#'
#' **Keeping and resuming.** With `folder = "name"` each finished chunk is written to this folder at
#' once: by the worker, if it sees the folder, as on a shared disk, otherwise by this session. The
#' same call then reads the chunks in the folder and runs the others, also with a larger `n` if
#' particles are independent (`points = "random"`). The key must be the same: give `key`, or call
#' [set.seed()] before each call. The error above tells the key, and the message of a run that was
#' interrupted (Ctrl-C) how much is kept.
#'
#' The name of a file contains a digest of all that determines its content (mixture, guidance,
#' sampler, times, start, key, version and instruction set). A folder can therefore hold many runs,
#' also at the same time, and never returns the chunk of another run. The name also contains a
#' checksum: a damaged or truncated file is removed, with a warning, and its chunk runs again. A
#' file with code counts as damaged, whatever its checksum. Delete the folder when you no longer
#' need it.
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

# ---- Sizes: powers of two, determined by the run

# Particles in memory at a time, with their intermediate results: some `numbers`.
batch_size <- function(plan, numbers = 2^20) {
  power_of_two(max(64, numbers / particle_numbers(plan)))
}

particle_numbers <- function(plan) {
  drawn <- if (is.null(plan$begin$law)) 0 else 6
  mixture_dim(plan$mixture) * (plan$program$outputs + drawn) + 8
}

# Particles of a sample that are run, sent and kept together: about a second of one core, in larger
# batches because each is copied to its place. A small run is cut only if chunks are asked for.
chunk_size <- function(plan, cut = TRUE) {
  n <- plan$begin$n
  if (!cut && n * particle_numbers(plan) <= 6e6) return(max(n, 1))
  min(batch_size(plan, 2^21), max(2^11, power_of_two(2^34 / particle_work(plan))))
}

# The chunk size of a run that returns summaries: some seconds' work in whole batches. `runs`: the
# number of runs of each particle.
summary_chunk_size <- function(plan, runs = 1) {
  max(batch_size(plan), power_of_two(2^36 / particle_work(plan) / runs))
}

# R collects garbage when its heap is full, and the heap grows with the result. Collecting the young
# garbage after every few chunks keeps it from adding up. (Garbage must have no name by then:
# objects that survive are examined again much later.)
collect_garbage <- function(i, every) if (i %% every == 0) gc(FALSE, full = FALSE)

power_of_two <- function(x) 2^floor(log2(x))

# Flops of a particle, roughly, by the costs of the engine's operations.
particle_work <- function(plan) {
  .Call(ffi_cost, plan$pool, plan$program, plan$program$scalars - SCALAR$closing + 1)
}

# The part of a plan that the `count` particles after the first `first` need.
plan_part <- function(plan, first, count) {
  before <- particles_before(plan)
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

# The number of the run's particles before those of a plan.
particles_before <- function(plan) if (is.null(plan$first)) 0 else plan$first

# ---- The chunks of a run

# Runs all chunks of a task over n particles and passes each result to collect(value, first,
# count), in the order of the particles. A task is a list of `work`, a function of this package
# called as work(job, first, count), here or on a worker; and `job`, a list with `plan`, `key` and
# all else that it needs. `here`: in this process, whatever the plan.
each_chunk <- function(task, n, size, collect, folder = NULL, here = FALSE) {
  first <- seq(0, by = min(size, max(n, 1)), length.out = max(1, ceiling(n / size)))
  count <- pmin(size, n - first)
  run <- list(task = task, first = first, count = count, folder = folder,
              kept = chunk_folder(folder, task),
              progress = chunk_progress(length(first), environment()))
  on.exit(run$progress(end = TRUE))
  value <- function(i) run_here(run, i)
  if (length(first) > 1 && !here && has_workers()) {
    workers <- on_workers(run)
    on.exit(workers$stop(), add = TRUE)
    value <- workers$value
  }
  done <- 0
  counting_unsolved(withCallingHandlers(
    for (i in seq_along(first)) {
      result <- value(i)
      collect(result, first[i], count[i])
      result <- NULL
      done <- i
      collect_garbage(i, 2)
    },
    interrupt = function(condition) {
      run$progress(end = TRUE)
      if (length(first) > 1) message(kept_words(run, done))
    }
  ))
}

# The message about a run that was interrupted after `done` chunks.
kept_words <- function(run, done) {
  chunks <- length(run$first)
  if (is.null(run$folder)) {
    return(paste0("Interrupted after ", done, " of ", count_of(chunks, "chunk"),
                  ": nothing is kept. With `folder` what is finished would be (see ?scaling)."))
  }
  kept <- sum(run$kept$has(run$first, run$count))
  paste0("Interrupted: ", kept, " of ", count_of(chunks, "chunk"), if (kept == 1) " is" else " are",
         " kept in `folder`: ", resume_words(run), ".")
}

resume_words <- function(run) {
  paste0("the same call with key = c(",
         paste(format(run$task$job$key, scientific = FALSE, trim = TRUE), collapse = ", "),
         ") resumes")
}

# The value of a chunk, in this process: read from the folder, or run and kept there.
run_here <- function(run, i, signal = TRUE) {
  first <- run$first[i]
  count <- run$count[i]
  value <- run$kept$get(first, count)
  read <- !is.null(value)
  if (!read) {
    value <- if_error(run$kept$put(run$task$work(run$task$job, first, count), first, count),
                      function(e) abort_chunk(e, i, run))
  }
  if (signal) run$progress(read)
  value
}

# `still`: chunks that workers are computing and that could not be cancelled.
abort_chunk <- function(error, ids, run, still = NULL) {
  last <- ids[length(ids)]
  end <- run$first[last] + run$count[last]
  begin <- run$first[ids[1]] + 1
  key <- run$task$job$key
  chunks <- length(run$first)
  span <- if (last > ids[1]) paste0("chunks ", ids[1], " to ", last) else paste("chunk", last)
  message <- paste0(
    span, " of ", chunks, " (particles ", number(begin), " to ", number(end), ") failed: ",
    conditionMessage(error),
    if (grepl("no package called .mixguide", conditionMessage(error))) {
      "\nInstall mixguide on every worker, where its R finds it"
    },
    if (inherits(error, "FutureError")) {
      "\nA worker that is gone may stay so until the plan is set again"
    },
    if (length(still)) {
      paste0("\nWorkers are still at chunks ", paste(still, collapse = ", "), ", and end with them")
    },
    if (!is.null(run$folder)) {
      paste0("\nWhat was finished is in `folder`: ", resume_words(run))
    }
  )
  stop(errorCondition(message, class = c("mixguide_error_chunk", "mixguide_error"),
                      call = user_call(), chunk = ids, chunks = chunks, first = begin, last = end,
                      key = key, parent = error))
}

# The batches of a chunk.
each_batch <- function(first, count, size, run) {
  from <- seq(0, max(count - 1, 0), by = size)
  for (i in seq_along(from)) {
    run(first + from[i], min(size, count - from[i]))
    collect_garbage(i, 4)
  }
}

# A user who wants progress from progressr has loaded it.
has_progress <- function() isNamespaceLoaded("progressr")

# Is the session interactive, and the bar not turned off?
is_watched <- function(interactive = base::interactive()) {
  interactive && isTRUE(getOption("mixguide.progress", TRUE)) &&
    !isTRUE(getOption("knitr.in.progress")) && !identical(Sys.getenv("TESTTHAT"), "true")
}

# Does a folder, a worker or a progress bar need the run in chunks?
is_shared <- function(folder) {
  !is.null(folder) || has_workers() || has_progress() || is_watched()
}

# A function to call after each chunk, with whether it was `read` or run, and at the `end`.
chunk_progress <- function(chunks, frame, watched = is_watched()) {
  if (chunks == 1 || !has_progress() && !watched) return(function(read = FALSE, end = FALSE) NULL)
  show <- if (has_progress()) {
    signal <- progressr::progressor(steps = chunks, envir = frame)
    function(share, spent, left) signal(message = if (!is.null(left)) left_words(left))
  } else progress_bar()
  began <- now()
  done <- run <- 0
  function(read = FALSE, end = FALSE) {
    if (end) return(if (!has_progress()) show(NULL))
    done <<- done + 1
    run <<- run + !read
    spent <- now() - began
    show(done / chunks, spent, if (run > 0) spent / run * (chunks - done))
  }
}

left_words <- function(seconds) {
  paste(if (seconds < 90) paste(round(seconds), "s") else if (seconds < 5400) {
    paste(round(seconds / 60), "min")
  } else paste(round(seconds / 3600, 1), "h"), "left")
}

# A terminal line that is overwritten, shown once a run will take more than 3 seconds. It is erased
# when the share is 1, or NULL at the end of an interrupted run.
progress_bar <- function(out = stderr()) {
  shown <- 0
  put <- function(text) {
    cat("\r", formatC(text, width = -shown), if (!nzchar(text)) "\r", sep = "", file = out)
    shown <<- nchar(text)
  }
  function(share, spent, left) {
    if (is.null(share) || share == 1) {
      if (shown) put("")
    } else if (shown || !is.null(left) && spent + left > 3) {
      put(paste0("  |", formatC(strrep("=", round(30 * share)), width = -30), "| ",
                 round(100 * share), " %", if (!is.null(left)) paste0(", ", left_words(left))))
    }
  }
}

# ---- Assembling chunks

# Room for n particles, shaped like `part`, which holds fewer: a vector, or an array whose last
# dimension but one counts particles.
room_for <- function(part, n) {
  size <- dim(part)
  if (is.null(size)) return(vector(typeof(part), n))
  size[length(size) - 1] <- n
  room <- vector(typeof(part), prod(size))
  dim(room) <- size
  dimnames(room) <- dimnames(part)
  room
}

# Copies part, the particles after the first `first`, to its place in `room`, without a copy of it.
put_part <- function(room, part, first, count) {
  size <- dim(part)
  columns <- if (is.null(size)) 1 else size[length(size)]
  .Call(ffi_place, room, part, columns, first * (length(part) / columns / count))
}

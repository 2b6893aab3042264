# Chunks on the workers of a plan of package future. Consecutive chunks go in groups, by their time.
# A worker keeps its finished chunks. Results are checked and put in order; a group is sent once
# more if its worker was lost.

# The user's plan, if there is one.
has_workers <- function() isNamespaceLoaded("future") && !inherits(future::plan(), "sequential")

# value(i): the value of chunk i of a run, asked for in order; stop() ends the running chunks.
on_workers <- function(run) {
  pool <- worker_pool()
  chunks <- length(run$first)
  task <- run$task
  home <- worker_home(run, pool$batch)
  arrived <- vector("list", chunks)
  # chunks on disk are not sent
  sent <- logical(chunks)
  there <- run$kept$has(run$first, run$count)
  out <- list()
  seconds <- NULL
  shipped <- 0
  most <- 64

  value <- function(i) {
    if (is.null(seconds) && !there[i]) return(measured(i))
    repeat {
      if (there[i]) {
        # a file may be damaged
        there[i] <<- FALSE
        sent[i] <<- TRUE
        return(run_here(run, i, signal = is.null(arrived[[i]])))
      }
      if (!is.null(arrived[[i]])) {
        result <- arrived[[i]]$value
        arrived[i] <<- list(NULL)
        return(result)
      }
      rest <- which(!sent & !there)
      if (!length(out) && length(rest) * seconds <= pool$start_up) {
        sent[i] <<- TRUE
        return(run_here(run, i))
      }
      launch(i, rest)
      look(i)
    }
  }

  # The first chunk is run here: it gives the time and the size of a chunk.
  measured <- function(i) {
    began <- now()
    result <- run_here(run, i)
    sent[i] <<- TRUE
    threads <- mixguide_threads()
    seconds <<- max(now() - began, 1e-4) * threads / if (pool$batch) threads else home$threads
    most <<- min(most, max(1, floor(2^28 / as.double(utils::object.size(result)))))
    result
  }

  launch <- function(i, rest) {
    while (length(rest) && length(out) < pool$workers) {
      time <- min(pool$longest,
                  max(2 * pool$start_up, length(rest) * seconds / (4 * pool$workers)))
      size <- min(most, max(1, floor(time / seconds)))
      # results that wait for their turn are in memory, unless they are on disk
      if (is.null(run$folder) && rest[1] - i > 4 * pool$workers * size) return()
      ids <- rest[seq_len(min(size, length(rest)))]
      ids <- ids[ids < ids[1] + size]
      rest <- setdiff(rest, ids)
      sent[ids] <<- TRUE
      begin(list(ids = ids, again = FALSE, job = !pool$stay || shipped < pool$workers))
    }
  }

  begin <- function(group) {
    ids <- group$ids
    first <- run$first[ids]
    span <- c(first[1], first[length(ids)] + run$count[ids[length(ids)]] - first[1])
    sending <- c(home, list(work = task$work, first = first, count = run$count[ids],
                            rows = start_rows(plan_part(task$job$plan, span[1], span[2])),
                            job = if (group$job) without_rows(task$job)))
    # names of jobs may not have spaces
    group$label <- paste0("mixguide-chunk-", ids[1], if (length(ids) > 1) {
      paste0("-to-", ids[length(ids)])
    })
    group$began <- now()
    group$doubt <- NULL
    # without R's random numbers, hence no seed
    group$future <- if_error(
      future::future(run_on_worker(sending), label = group$label,
                     globals = list(run_on_worker = run_on_worker, sending = sending)),
      identity
    )
    if (!inherits(group$future, "error")) {
      out[[group$label]] <<- group
      shipped <<- shipped + group$job
      return()
    }
    # an error at launch may belong to the end of another future
    error <- group$future
    other <- attr(error, "future")$label
    if (isTRUE(other %in% names(out))) {
      lost(out[[other]], error)
      begin(group)
    } else lost(group, error)
  }

  # Collects results; waits several times as long as a look takes.
  look <- function(i) {
    began <- now()
    came <- FALSE
    for (group in out) {
      if (is.null(out[[group$label]])) next
      answer <- if_error(if (future::resolved(group$future)) list(future::value(group$future)),
                         identity)
      if (inherits(answer, "error")) {
        # a batch system may drop a job before its result is seen, or be unreachable for a while
        if (is.null(group$doubt)) {
          group$doubt <- now()
          out[[group$label]] <<- group
        }
        grace <- pool$grace * if (inherits(answer, "FutureError")) 1 else 10
        if (now() - group$doubt >= grace) lost(group, answer)
      } else if (!is.null(answer)) {
        take(group, answer[[1]], i)
        came <- TRUE
      } else {
        out[[group$label]]$doubt <<- NULL
        overdue(group)
      }
    }
    if (!came) Sys.sleep(min(5, max(.005, 4 * (now() - began))))
  }

  take <- function(group, answer, i) {
    out[[group$label]] <<- NULL
    if (isTRUE(answer$needs_job)) {
      group$job <- TRUE
      return(begin(group))
    }
    wrong <- worker_fault(answer, home)
    if (!is.null(wrong)) fail(simpleError(wrong), group$ids)
    for (j in seq_along(answer$values)) {
      id <- group$ids[j]
      result <- answer$values[[j]]
      if (!answer$kept[j]) {
        result <- if_error(run$kept$put(result, run$first[id], run$count[id]),
                           function(e) fail(e, id))
      }
      run$progress()
      # a result far from its turn is read again later
      far <- !is.null(run$folder) && id - i > 2 * pool$workers
      arrived[[id]] <<- list(value = if (!far) result)
      there[id] <<- far
    }
    if (!is.null(answer$error)) {
      fail(simpleError(answer$error), group$ids[length(answer$values) + 1])
    }
    if (answer$seconds > 0) seconds <<- answer$seconds / length(group$ids)
  }

  # A group without an answer: sent once more, unless it is a user's error.
  lost <- function(group, error) {
    out[[group$label]] <<- NULL
    if (group$again || !inherits(error, "FutureError") || pool$workers < 1) {
      fail(error, group$ids)
    }
    group$again <- TRUE
    group$job <- TRUE
    # its finished chunks are on disk
    kept <- run$kept$has(run$first[group$ids], run$count[group$ids])
    there[group$ids[kept]] <<- TRUE
    group$ids <- group$ids[!kept]
    if (length(group$ids)) begin(group)
  }

  overdue <- function(group) {
    limit <- pool$timeout
    if (is.null(limit)) limit <- max(600, 20 * seconds * length(group$ids))
    if (now() - group$began <= limit) return()
    # its worker is not used again
    pool$workers <<- pool$workers - 1
    message <- paste0("no answer for ", format(limit, digits = 3),
                      " s: is a host or its link down? options(mixguide.worker_timeout = ) ",
                      "sets the limit, see ?scaling")
    lost(group, errorCondition(message, class = "FutureError"))
  }

  fail <- function(error, ids) {
    still <- halt(if (is.null(run$folder)) 0 else 5 + 3 * pool$longest)
    abort_chunk(error, ids, run, still)
  }

  # Cancels running chunks. Those that cannot be cancelled may still end in `patience` seconds, and
  # are kept. Returns the chunks that still run.
  halt <- function(patience = 0) {
    groups <- out
    out <<- list()
    cancelled <- vapply(groups, function(group) cancel_future(group$future), NA)
    groups <- groups[!cancelled]
    limit <- now() + min(patience, 5 + 3 * sum(seconds) * most)
    repeat {
      done <- vapply(groups, function(group) {
        if_error(future::resolved(group$future), function(e) TRUE)
      }, NA)
      for (group in groups[done]) if_error(keep(group), function(e) NULL)
      groups <- groups[!done]
      if (!length(groups) || now() > limit) break
      Sys.sleep(.05)
    }
    if (dir.exists(home$folder)) unlink(file.path(home$folder, home$marker))
    unlist(lapply(groups, `[[`, "ids"), use.names = FALSE)
  }

  keep <- function(group) {
    answer <- future::value(group$future)
    if (!is.null(worker_fault(answer, home))) return()
    for (j in which(!answer$kept)) {
      run$kept$put(answer$values[[j]], run$first[group$ids[j]], run$count[group$ids[j]])
    }
  }

  list(value = value, stop = halt)
}

# The plan's workers: their number, the time until one begins, how long one should be busy, and
# whether they stay for the next group. After `timeout` seconds a worker is given up.
worker_pool <- function() {
  batch <- any(grepl("batchtools", class(future::plan())))
  option <- function(name, default) {
    value <- getOption(paste0("mixguide.", name), default)
    ok <- is.null(value) || is.numeric(value) && length(value) == 1 && isTRUE(value >= 0)
    if (!ok) abort_input(paste0("options(mixguide.", name, ")"), "one number >= 0", describe(value))
    value
  }
  list(batch = batch, workers = min(future::nbrOfWorkers(), 100),
       stay = inherits(future::plan(), "cluster"), grace = if (batch) 10 else 0,
       start_up = option("worker_start", if (batch) 15 else .1), longest = if (batch) 600 else 30,
       # a batch job may wait for days
       timeout = option("worker_timeout", if (batch) Inf))
}

# The facts of this session and of the run that every worker gets.
worker_home <- function(run, batch) {
  # a job of a batch system uses all its CPUs
  threads <- getOption("mixguide.worker_threads", if (batch) 0 else 1)
  check_count(threads, "options(mixguide.worker_threads)", min = if (batch) 0 else 1)
  home <- list(version = package_version_text(), engine = .Call(ffi_engine), threads = threads,
               id = basename(tempfile("run-")), folder = "", digest = "")
  home$marker <- paste0("draft-", home$id)
  if (is.character(run$kept$digest)) {
    home$folder <- tools::file_path_as_absolute(run$folder)
    home$digest <- run$kept$digest
    # a worker that sees this file sees the folder
    file.create(file.path(home$folder, home$marker))
  }
  home
}

package_version_text <- function() as.character(utils::packageVersion("mixguide"))

# Rows of a given start or noise: those of a group go with it, the rest of a job once.
start_rows <- function(plan) {
  begin <- plan$begin
  list(begin = begin[intersect(c("x", "log_density", "n"), names(begin))], noise = plan$noise,
       first = plan$first)
}

without_rows <- function(job) {
  job$plan$begin[c("x", "log_density")] <- NULL
  job$plan$noise <- NULL
  job
}

# The job of the last run, on a worker.
worker_memory <- new.env(parent = emptyenv())

# Runs on a worker, whose package may be another version: it reports its version first.
run_on_worker <- function(sent) {
  own <- list(version = as.character(utils::packageVersion("mixguide")),
              host = Sys.info()[["nodename"]])
  if (own$version != sent$version) return(own)
  before <- Sys.getenv("MIXGUIDE_ENGINE", NA)
  on.exit(if (is.na(before)) Sys.unsetenv("MIXGUIDE_ENGINE") else {
    Sys.setenv(MIXGUIDE_ENGINE = before)
  })
  # a newer processor uses the instructions of the session's
  Sys.setenv(MIXGUIDE_ENGINE = sent$engine)
  own$engine <- .Call(ffi_engine)
  if (own$engine != sent$engine) return(own)
  if (is.null(sent$job)) {
    if (!identical(worker_memory$id, sent$id)) return(c(own, needs_job = TRUE))
  } else {
    worker_memory$id <- sent$id
    worker_memory$job <- sent$job
  }
  threads <- mixguide_threads(if (sent$threads > 0) sent$threads else {
    future::availableCores(methods = c("Slurm", "PBS", "SGE", "LSF"), default = 1)
  })
  on.exit(mixguide_threads(threads), add = TRUE)
  job <- utils::modifyList(worker_memory$job, list(plan = sent$rows))
  c(own, run_chunks(sent$work, job, sent))
}

# The chunks one after the other, each kept as soon as it is finished, up to the first that fails.
run_chunks <- function(work, job, sent) {
  kept <- nzchar(sent$folder) && file.exists(file.path(sent$folder, sent$marker))
  put <- if (kept) folder_at(sent$folder, sent$digest)$put else function(value, ...) value
  values <- list()
  began <- now()
  error <- NULL
  for (i in seq_along(sent$first)) {
    error <- if_error({
      value <- work(job, sent$first[i], sent$count[i])
      values[[i]] <- put(value, sent$first[i], sent$count[i])
      NULL
    }, conditionMessage)
    if (!is.null(error)) break
  }
  list(values = values, kept = rep(kept, length(values)), error = error, seconds = now() - began)
}

# The fault of the worker that gave an answer, with the cure.
worker_fault <- function(answer, home) {
  if (is.null(answer$version)) return("a worker gave no answer that this version understands")
  if (answer$version != home$version) {
    return(paste0("the worker on ", answer$host, " has mixguide ", answer$version,
                  ", this session has ", home$version, ": install the same on both"))
  }
  if (answer$engine != home$engine) {
    paste0("the processor of ", answer$host, " knows ", answer$engine, ", that of this session ",
           home$engine, ", so that the last digits would differ: ",
           "Sys.setenv(MIXGUIDE_ENGINE = \"", answer$engine, "\") makes all use the former")
  }
}

# Cancels a job of a batch system; other workers end with their group. Returns whether it could.
cancel_future <- function(future) {
  if (!inherits(future, "BatchtoolsFuture")) return(FALSE)
  if_error({
    if ("cancel" %in% getNamespaceExports("future")) {
      getExportedValue("future", "cancel")(future)
    } else {
      getExportedValue("batchtools", "killJobs")(reg = future$config$reg)
    }
    TRUE
  }, function(e) FALSE)
}

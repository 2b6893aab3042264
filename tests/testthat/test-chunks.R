m <- gaussmix(c(.3, .3, .4), cbind(u = c(-1, 0, 2), v = c(0, 1, 0)),
              list(.5, c(1, .3), matrix(c(.6, .2, .2, .4), 2)), class = c("a", "b", "a"))
common <- gaussmix(c(.5, .5), diag(2), matrix(c(2, 1, 1, 2), 2), class = c("a", "b"))
line <- gaussmix(c(.5, .5), c(1, -1), 1, class = c("a", "b"))

plan_of <- function(mixture, n, sampler, class = "a", start = "normal", noise = NULL,
                    log_density = "auto", trajectory = FALSE) {
  sampling_plan(diffusion(mixture, class, sampler, start = start), n, noise, log_density,
                trajectory)
}

# The particles from chunks of each size, compared with those of one run.
expect_no_seams <- function(plan, sizes = c(1, 7, 64), key = c(5, 6)) {
  aim <- plan_aim(plan, guidance("a", 2))
  whole <- run_particles(plan, aim, key, size = Inf)
  for (size in sizes) expect_identical(run_particles(plan, aim, key, size = size), whole)
}

# Runs `code` under a plan of package future with two processes of this machine.
with_workers <- function(strategy, code) {
  # sends chunks to workers even if they would be done before a worker starts
  withr::local_options(mixguide.worker_start = 0)
  before <- switch(strategy, multisession = future::plan(future::multisession, workers = 2),
                   cluster = future::plan(future::cluster, workers = 2))
  on.exit({
    future::plan(before)
    if (inherits(before, "sequential")) future::plan("sequential") # ends the processes
  })
  force(code)
}

# Replaces functions of the package until the caller returns.
local_replaced <- function(..., frame = parent.frame()) {
  home <- asNamespace("mixguide")
  put <- function(functions) {
    for (name in names(functions)) {
      unlockBinding(name, home)
      assign(name, functions[[name]], home)
      lockBinding(name, home)
    }
  }
  new <- list(...)
  old <- mget(names(new), home)
  force(frame)
  put(new)
  withr::defer(put(old), frame)
}

skip_without_workers <- function() {
  skip_on_cran()
  skip_if_not_installed("future")
  skip_if(nzchar(Sys.getenv("MIXGUIDE_SANITIZE")), "what workers compute is tried without them")
  # workers load the installed package
  skip_if_not(basename(find.package("mixguide")) == "mixguide" &&
                file.exists(system.file("libs", package = "mixguide")))
}

test_that("a run in chunks is the run in one piece, to the last bit", {
  for (sampler in list(sampler_ddim(6), sampler_ddpm(6), sampler_dpmpp_2m(6))) {
    for (mixture in list(m, common, line)) expect_no_seams(plan_of(mixture, 100, sampler))
  }
  expect_no_seams(plan_of(m, 100, sampler_heun(4), log_density = "divergence"))
  expect_no_seams(plan_of(m, 30, sampler_ddpm(4), trajectory = TRUE))
  expect_no_seams(plan_of(line, 30, sampler_ddim(4), trajectory = TRUE))
  expect_no_seams(plan_of(m, 0, sampler_ddim(4)))
  expect_no_seams(plan_of(line, 60, sampler_ddim(4), start = "exact"))
  expect_no_seams(plan_of(m, 60, sampler_ddim(4), start = "exact"))
  # runs in fewer dimensions
  flat <- gaussmix(c(.4, .6), rbind(1:5, 5:1), .5, class = c("a", "b"))
  for (sampler in list(sampler_ddim(4), sampler_ddpm(4))) {
    expect_false(is.null(plan_of(flat, 60, sampler)$reduction))
    expect_no_seams(plan_of(flat, 60, sampler))
    expect_no_seams(plan_of(flat, 60, sampler, start = "exact"))
  }
  set.seed(11)
  x <- matrix(rnorm(120), 60)
  attr(x, "log_density") <- rowSums(dnorm(x, log = TRUE))
  expect_no_seams(plan_of(m, NULL, sampler_ddim(4), start = x))
  expect_no_seams(plan_of(m, 60, sampler_em(4), noise = function(n, d, m) {
    array(rnorm(n * d * m), c(n, d, m))
  }))
})

test_that("lost particles are counted once, over all chunks", {
  plan <- plan_of(line, 100, sampler_euler(30))
  aim <- plan_aim(plan, guidance("a", 1e200))
  whole <- suppressWarnings(run_particles(plan, aim, c(1, 2), size = Inf))
  message <- NULL
  parts <- withCallingHandlers(run_particles(plan, aim, c(1, 2), size = 9), warning = function(w) {
    message <<- c(message, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  expect_identical(parts, whole)
  expect_length(message, 1)
  expect_match(message, paste(sum(!is.finite(whole$x)), "of 100 particles overflowed"))
})

test_that("chunks have sizes that bound memory, settled by the run alone", {
  for (d in c(1, 2, 64, 1000)) {
    wide <- gaussmix(c(1, 1), rbind(rep(0, d), rep(1, d)), 1, class = c("a", "b"))
    for (steps in c(2, 500)) {
      plan <- plan_of(wide, 10, sampler_ddpm(steps))
      for (size in c(batch_size(plan), chunk_size(plan), summary_chunk_size(plan))) {
        expect_identical(size, 2^round(log2(size)))
      }
      expect_lte(chunk_size(plan) * d, 2^21)
      expect_identical(summary_chunk_size(plan) %% batch_size(plan), 0)
      expect_identical(chunk_size(plan_of(wide, 1e6, sampler_ddpm(steps))), chunk_size(plan))
      # an expensive run has smaller chunks, down to a size that is worth its overhead
      expect_gte(chunk_size(plan), min(batch_size(plan), 2^11))
    }
  }
  # a law to draw the start from takes room, too
  expect_lt(batch_size(plan_of(m, 10, sampler_ddim(3), start = "exact")),
            batch_size(plan_of(m, 10, sampler_ddim(3))))
})

test_that("chunks cover the particles in order", {
  seen <- function(n, size) {
    parts <- NULL
    each_chunk(list(name = "test", work = function(job, first, count) first,
                    job = list(plan = list(begin = list(n = n)))), n, size,
               function(value, first, count) {
                 expect_identical(value, first)
                 parts <<- rbind(parts, c(first, count))
               })
    parts
  }
  expect_identical(seen(10, 4), cbind(c(0, 4, 8), c(4, 4, 2)))
  expect_identical(seen(8, 4), cbind(c(0, 4), c(4, 4)))
  expect_identical(seen(3, Inf), cbind(0, 3))
  expect_identical(seen(0, 4), cbind(0, 0))
  expect_identical(seen(4e9, 3e9), cbind(c(0, 3e9), c(3e9, 1e9)))
})

test_that("particles have numbers beyond those of R's integers", {
  plan <- plan_of(m, 8, sampler_ddpm(3))
  aim <- plan_aim(plan, guidance("a", 1))
  job <- particle_job(plan, aim, c(1, 2))
  far <- sample_chunk(job, 2^31 - 3, 8)$x
  expect_identical(sample_chunk(job, 2^31 + 1, 4)$x, far[5:8, ])
  expect_false(identical(sample_chunk(job, 1, 4)$x, far[5:8, ]))
  further <- sample_chunk(job, 2^32 + 1, 4)$x
  expect_false(identical(further, sample_chunk(job, 1, 4)$x))
  expect_false(identical(further, far[5:8, ]))
  exact <- particle_job(plan_of(line, 8, sampler_ddim(3), start = "exact"),
                        plan_aim(plan_of(line, 8, sampler_ddim(3)), guidance("a", 1)), c(1, 2))
  expect_identical(sample_chunk(exact, 2^31 + 1, 4)$x[1:2, ],
                   sample_chunk(exact, 2^31 - 1, 4)$x[3:4, ])
})

test_that("an error in a chunk names the chunk, its particles and the key", {
  task <- list(name = "test", job = list(plan = list(begin = list(n = 10)), key = c(3, 4)),
               work = function(job, first, count) if (first == 4) stop("no luck") else first)
  error <- tryCatch(each_chunk(task, 10, 4, function(...) NULL), error = identity)
  expect_s3_class(error, c("mixguide_error_chunk", "mixguide_error", "error"))
  expect_match(conditionMessage(error), "chunk 2 of 3 (particles 5 to 8) failed: no luck",
               fixed = TRUE)
  expect_identical(unclass(error)[c("chunk", "chunks", "first", "last", "key")],
                   list(chunk = 2L, chunks = 3L, first = 5, last = 8, key = c(3, 4)))
  expect_identical(conditionMessage(error$parent), "no luck")
  # with a folder, finished chunks stay, and the next call begins there
  folder <- withr::local_tempdir()
  error <- tryCatch(each_chunk(task, 10, 4, function(...) NULL, folder), error = identity)
  expect_match(conditionMessage(error), "key = c(3, 4)", fixed = TRUE)
  expect_length(list.files(folder), 1)
  calls <- NULL
  task$work <- function(job, first, count) {
    calls <<- c(calls, first)
    first
  }
  each_chunk(task, 10, 4, function(value, first, count) expect_identical(value, first), folder)
  expect_identical(calls, c(4, 8))
})

test_that("a worker computes with one thread unless the user says", {
  before <- mixguide_threads()
  threads <- function(job, first, count) mixguide_threads()
  sent <- list(version = package_version_text(), engine = .Call(ffi_engine), threads = 1,
               id = "test", folder = "", job = list(), work = threads, first = 0, count = 1)
  expect_identical(run_on_worker(sent)$values, list(1L))
  expect_identical(mixguide_threads(), before)
})

test_that("runs are the same on any workers, and leave R's random numbers alone", {
  skip_without_workers()
  n <- 3e5 # three chunks
  # the steps are coarse, but not compared with the noise that is left
  quick <- sampler_ddim(3, end = .5)
  runs <- function() {
    set.seed(12)
    sample <- guided_sample(m, n, guidance("a", 2), quick)
    start <- guided_sample(line, guidance = guidance("a"), sampler = quick,
                           start = matrix(seq(-2, 2, length.out = n)))
    list(sample[c("x", "log_confidence", "log_density", "folded", "key")], start$x, runif(1))
  }
  expect_gt(n, 2 * chunk_size(plan_of(m, n, quick)))
  alone <- runs()
  for (strategy in c("multisession", "cluster")) {
    expect_no_warning(there <- with_workers(strategy, runs()))
    expect_identical(there, alone)
  }
})

test_that("particle filters are the same on workers", {
  skip_without_workers()
  runs <- function() {
    tilted <- tilted_sample(line, 3e5, guidance("a", 1), sampler_em(8), key = c(1, 2))
    seen <- observation(c(u = .5), noise = .1)
    drawn <- conditional_sample(diffuse(m, .1), 9000, seen, zero_shot_tds(64), key = c(3, 4),
                                schedule = schedule_etc(10))
    list(tilted[c("x", "weights", "ancestor", "history", "log_normaliser")],
         drawn[c("x", "history", "log_evidence")])
  }
  alone <- suppressWarnings(runs())
  there <- suppressWarnings(with_workers("multisession", runs()))
  expect_equal(there[[1]]$history, alone[[1]]$history, tolerance = 1e-12)
  there[[1]]$history <- alone[[1]]$history
  expect_identical(there, alone)
})

test_that("sweeps and summaries are the same on workers", {
  skip_without_workers()
  # chunks of some seconds are too long for a test
  local_replaced(summary_chunk_size = function(plan, runs = 1) batch_size(plan))
  sampler <- sampler_ddpm(40)
  n <- 2 * batch_size(plan_of(line, 10, sampler)) + 1000
  runs <- function() {
    sweep <- guidance_sweep(line, n, "a", 0:1, sampler, key = c(1, 2))
    summary <- guided_summary(line, n, guidance("a", 1), sampler, key = c(1, 2))
    list(as.data.frame(sweep), summary[setdiff(names(summary), c("sampler", "schedule",
                                                                 "guidance"))])
  }
  expect_identical(with_workers("multisession", runs()), runs())
})

test_that("chunks whose values are small go to workers in groups, with the same values", {
  skip_without_workers()
  x <- matrix(1:100 + 0)
  task <- list(name = "test", job = list(plan = list(begin = list(n = 100, x = x)),
                                                       key = c(1, 2)),
               work = function(job, first, count) {
                 if (first == 50 && file.exists(job$trap)) stop("no luck")
                 # the rows that were sent, in the task's own numbers
                 rows <- first - if (is.null(job$plan$first)) 0 else job$plan$first
                 list(pid = Sys.getpid(), sum = sum(job$plan$begin$x[rows + seq_len(count), ]))
               })
  environment(task$work) <- globalenv()
  folder <- withr::local_tempdir()
  task$job$trap <- withr::local_tempfile()
  run <- function() {
    sums <- NULL
    each_chunk(task, 100, 2, function(value, first, count) sums <<- c(sums, value$sum), folder)
    sums
  }
  truth <- colSums(matrix(1:100, 2))
  cat("armed", file = task$job$trap)
  error <- tryCatch(with_workers("multisession", run()), error = identity)
  expect_match(conditionMessage(error), fixed = TRUE,
               "chunk 26 of 50 (particles 51 to 52) failed: no luck")
  expect_identical(error$chunk, 26L)
  unlink(task$job$trap)
  expect_identical(with_workers("multisession", run()), truth)
  expect_identical(run(), truth)
  expect_length(list.files(folder), 50)
})

# A task of 50 particles that looks for the file `trap`; `work` runs on workers.
trapped_task <- function(trap, work) {
  environment(work) <- globalenv()
  list(name = "test", work = work,
       job = list(plan = list(begin = list(n = 50)), key = c(1, 2), trap = trap))
}

test_that("a worker that dies is an error that names its chunk and loses no other", {
  skip_without_workers()
  skip_on_os("windows")
  folder <- withr::local_tempdir()
  trap <- withr::local_tempfile(lines = "armed")
  task <- trapped_task(trap, function(job, first, count) {
    if (first == 20 && file.exists(job$trap)) {
      tools::pskill(Sys.getpid(), 9)
      Sys.sleep(10)
    }
    first
  })
  error <- with_workers("multisession", {
    tryCatch(each_chunk(task, 50, 10, function(...) NULL, folder), error = identity)
  })
  expect_s3_class(error, "mixguide_error_chunk")
  expect_match(conditionMessage(error), "chunk 3 of 5 (particles 21 to 30) failed", fixed = TRUE)
  done <- length(list.files(folder))
  expect_gte(done, 2)
  expect_lte(done, 4)
  unlink(trap)
  values <- NULL
  with_workers("multisession", {
    each_chunk(task, 50, 10, function(value, first, count) values <<- c(values, value), folder)
  })
  expect_identical(values, c(0, 10, 20, 30, 40))
})

test_that("a run of which a worker is killed goes on, or can be resumed", {
  skip_without_workers()
  skip_on_os("windows")
  folder <- withr::local_tempdir()
  run <- function(...) {
    guided_sample(m, 3e5, guidance("a"), sampler_ddim(3, end = .5), key = c(8, 9), ...)$x
  }
  # older versions of future ask the dead worker again
  ends <- with_workers("multisession", {
    tools::pskill(future::value(future::future(Sys.getpid())), 9)
    Sys.sleep(.5)
    tryCatch(run(folder = folder), mixguide_error_chunk = function(e) "a named error")
  })
  if (!identical(ends, "a named error")) expect_identical(ends, run())
  expect_identical(run(folder = folder), run())
})

test_that("another version or instruction set of a worker is an error with the cure", {
  home <- list(version = "1.0", engine = "avx512")
  same <- list(version = "1.0", engine = "avx512", host = "node7")
  expect_null(worker_fault(same, home))
  expect_match(worker_fault(replace(same, "version", "0.9"), home),
               "node7 has mixguide 0.9, this session has 1.0: install the same")
  expect_match(worker_fault(replace(same, "engine", "avx2"), home), fixed = TRUE,
               'Sys.setenv(MIXGUIDE_ENGINE = "avx2")')
  # a worker reports its version before it computes
  sent <- list(version = "0.0.1", engine = .Call(ffi_engine), work = function(...) stop("ran"))
  expect_identical(run_on_worker(sent)$version, package_version_text())
  sent <- list(version = package_version_text(), engine = "none", work = sent$work)
  answer <- run_on_worker(sent)
  expect_false(identical(answer$engine, "none") || "values" %in% names(answer))
  # a worker computes with the session's instruction set
  withr::local_envvar(MIXGUIDE_ENGINE = NA)
  sent <- list(version = package_version_text(), engine = "portable", threads = 1, id = "test",
               folder = "", job = list(), first = 0, count = 1,
               work = function(...) .Call(ffi_engine))
  expect_identical(run_on_worker(sent)$values, list("portable"))
  expect_identical(Sys.getenv("MIXGUIDE_ENGINE"), "")
  # a job is sent once
  expect_true(run_on_worker(replace(sent, "id", "other")[names(sent) != "job"])$needs_job)
  expect_identical(run_on_worker(sent[names(sent) != "job"])$values, list("portable"))
})

test_that("a worker keeps what it finishes, up to the chunk that fails", {
  folder <- withr::local_tempdir()
  sent <- list(first = c(0, 5, 10), count = c(5, 5, 5), folder = folder, marker = "draft-here",
               digest = "digest")
  work <- function(job, first, count) if (first == 10) stop("no luck") else first
  answer <- run_chunks(work, NULL, sent)
  expect_identical(answer[c("values", "kept", "error")],
                   list(values = list(0, 5), kept = c(FALSE, FALSE), error = "no luck"))
  expect_length(list.files(folder), 0)
  # the worker sees the folder of the session
  file.create(file.path(folder, "draft-here"))
  expect_identical(run_chunks(work, NULL, sent)$kept, c(TRUE, TRUE))
  expect_identical(folder_at(folder, "digest")$has(sent$first, sent$count), c(TRUE, TRUE, FALSE))
})

test_that("a frozen worker is given up, its chunk is run by another", {
  skip_without_workers()
  skip_on_os("windows")
  folder <- withr::local_tempdir()
  trap <- withr::local_tempfile(lines = "armed")
  task <- trapped_task(trap, function(job, first, count) {
    if (first == 10 && file.exists(job$trap)) {
      unlink(job$trap)
      Sys.sleep(8)
    }
    first
  })
  withr::local_options(mixguide.worker_timeout = 2)
  values <- NULL
  time <- system.time(with_workers("multisession", {
    each_chunk(task, 50, 10, function(value, first, count) values <<- c(values, value), folder)
  }))
  expect_identical(values, c(0, 10, 20, 30, 40))
  withr::local_options(mixguide.worker_timeout = -1)
  expect_mixguide_error(with_workers("multisession", each_chunk(task, 50, 10, function(...) 0)),
                        "options(mixguide.worker_timeout)")
})

test_that("progress is signalled once per chunk, and shown to nobody who has not asked", {
  skip_if_not_installed("progressr")
  loadNamespace("progressr")
  withr::local_options(progressr.enable = TRUE)
  count <- function(expr) {
    types <- NULL
    withCallingHandlers(expr, progression = function(p) types <<- c(types, p$type))
    sum(types == "update")
  }
  run <- function(n) guided_sample(line, n, sampler = sampler_ddim(2), log_density = "none")
  chunk <- chunk_size(plan_of(line, 10, sampler_ddim(2), class = NULL, log_density = "none"))
  expect_identical(count(run(6 * chunk + 1)), 7L)
  expect_identical(count(run(10)), 0L)
  expect_silent(run(6 * chunk + 1))
})

test_that("a bar shows itself where someone waits for more than 3 seconds, and is wiped out", {
  # no bar appears in tests, in scripts, in documents, or after it is turned off
  expect_false(is_watched())
  withr::local_envvar(TESTTHAT = "")
  expect_true(is_watched(TRUE))
  expect_false(is_watched(FALSE))
  expect_false(withr::with_options(list(mixguide.progress = FALSE), is_watched(TRUE)))
  expect_false(withr::with_options(list(knitr.in.progress = TRUE), is_watched(TRUE)))
  # progressr receives the chunks if it is loaded
  local_replaced(has_progress = function() FALSE)
  # the terminal's text after chunks that take these seconds, by a clock that the test sets
  seen <- function(seconds, read = FALSE, end = FALSE) {
    file <- withr::local_tempfile()
    out <- file(file, "wt")
    clock <- 0
    local_replaced(now = function() clock,
                          progress_bar = function() unmocked(out))
    step <- chunk_progress(length(seconds), environment(), watched = TRUE)
    for (i in seq_along(seconds)[if (end) -length(seconds) else TRUE]) {
      clock <- clock + seconds[i]
      step(read = read)
    }
    step(end = TRUE)
    close(out)
    paste(readChar(file, 1e5), collapse = "")
  }
  unmocked <- progress_bar
  expect_identical(seen(rep(.2, 10)), "")
  slow <- seen(rep(1, 10))
  expect_match(slow, "10 %, 9 s left", fixed = TRUE)
  expect_match(slow, "90 %, 1 s left", fixed = TRUE)
  expect_identical(sub(".*\r( *)\r$", "\\1", slow), strrep(" ", 49))
  # a run that slows down shows its bar then; a run that is cut short leaves no bar
  expect_match(seen(c(.1, .1, 5, 5)), "75 %", fixed = TRUE)
  expect_match(seen(rep(1, 10), end = TRUE), "\r *\r$")
  # kept chunks say nothing about the time of the remaining ones
  expect_identical(seen(rep(.01, 1000), read = TRUE), "")
})

test_that("a watched run has the same bits, and an interrupted one says what is kept", {
  size <- chunk_size(plan_of(line, 10, sampler_ddim(2), class = NULL, log_density = "none"))
  run <- function(...) {
    guided_sample(line, 3 * size, sampler = sampler_ddim(2), log_density = "none", key = c(1, 2),
                  ...)
  }
  plain <- run()
  folder <- withr::local_tempdir()
  local_replaced(is_watched = function(...) TRUE, has_progress = function() FALSE)
  expect_identical(run()$x, plain$x)
  # Ctrl-C in the second chunk
  asked <- 0
  interrupted <- function(...) {
    said <- NULL
    local_replaced(sample_chunk = function(job, first, count) {
      if (first > 0) signalCondition(structure(class = c("interrupt", "condition"), list()))
      part_of(job, first, count)
    })
    tryCatch(withCallingHandlers(run(...), message = function(m) {
      said <<- conditionMessage(m)
      invokeRestart("muffleMessage")
    }), interrupt = function(condition) NULL)
    said
  }
  part_of <- sample_chunk
  expect_match(interrupted(), "after 1 of 3 chunks: nothing is kept. With `folder`", fixed = TRUE)
  expect_match(interrupted(folder = folder),
               "1 of 3 chunks is kept in `folder`: the same call with key = c(1, 2) resumes",
               fixed = TRUE)
  expect_identical(run(folder = folder)$x, plain$x)
})

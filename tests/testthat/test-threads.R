m <- gaussmix(c(.3, .7), rbind(c(-1, 0, 1), c(1, 1, 0)), list(.5, c(1, .3, 2)), class = c("a", "b"))

test_that("the number of threads is what was asked for, within the environment's limits", {
  old <- mixguide_threads()
  on.exit(mixguide_threads(old))
  expect_type(old, "integer")
  expect_identical(withVisible(mixguide_threads(1))$visible, FALSE)
  expect_identical(mixguide_threads(), 1L)
  expect_identical(mixguide_threads(1), 1L)
  mixguide_threads(2)
  withr::with_envvar(c(OMP_THREAD_LIMIT = "1"), expect_identical(mixguide_threads(), 1L))
  withr::with_envvar(c(OMP_NUM_THREADS = "1"), expect_identical(mixguide_threads(), 1L))
  withr::with_envvar(c(OMP_NUM_THREADS = "nonsense"), expect_gte(mixguide_threads(), 1L))
  withr::with_envvar(c(OMP_NUM_THREADS = "-3"), expect_gte(mixguide_threads(), 1L))
  for (n in list(0, -1, 1.5, NA, "2", 1:2, Inf)) expect_mixguide_error(mixguide_threads(n), "n")
})

test_that("the default is at most two threads, and the option is obeyed", {
  skip_on_cran()
  skip_if(Sys.getenv("R_COVR") == "true")
  child <- function(code) {
    rscript <- file.path(R.home("bin"), "Rscript")
    lib <- dirname(system.file(package = "mixguide"))
    code <- paste0(".libPaths(c('", lib, "', .libPaths())); ", code)
    system2(rscript, c("--vanilla", "-e", shQuote(code)), stdout = TRUE, stderr = FALSE,
            env = "OMP_NUM_THREADS=")
  }
  skip_if(system.file("libs", package = "mixguide") == "", "not installed")
  n <- as.integer(child("cat(mixguide::mixguide_threads())"))
  expect_true(n %in% 1:2)
  expect_identical(child("options(mixguide.threads = 1); cat(mixguide::mixguide_threads())"), "1")
})

test_that("results are the same to the last bit for 1, 2 and 7 threads", {
  results <- lapply(c(1, 2, 7), function(n) {
    with_threads(n, list(
      guided_sample(m, 3000, guidance("a", 2), sampler_ddim(10), key = c(1, 2))[1:5],
      guided_sample(m, 3000, guidance("a", 2), sampler_ddpm(10), key = c(1, 2))[1:5],
      as.data.frame(guidance_sweep(m, 2000, "a", c(0, 1, 4), sampler_heun(5), key = c(3, 4))),
      score(m, matrix(seq(-3, 3, length.out = 9000), ncol = 3))
    ))
  })
  expect_identical(results[[2]], results[[1]])
  expect_identical(results[[3]], results[[1]])
})

test_that("a forked child works after its parent ran in parallel", {
  skip_on_os("windows")
  run <- function(key) guided_sample(m, 5000, guidance("a", 2), sampler_ddim(20), key = c(key, 0))$x
  with_threads(2, {
    here <- lapply(1:2, run)
    for (key in 1:2) {
      job <- parallel::mcparallel(list(mixguide_threads(), run(key)))
      done <- parallel::mccollect(job, wait = FALSE, timeout = 20)
      if (is.null(done)) {
        tools::pskill(job$pid, tools::SIGKILL)
        stop("the child hangs")
      }
      suppressWarnings(parallel::mccollect(job))
      # a forked child uses one thread, and gets the same bits
      expect_identical(unname(done), list(list(1L, here[[key]])))
    }
    # the parent continues
    expect_identical(run(1), here[[1]])
    expect_identical(parallel::mclapply(1:2, run, mc.cores = 2), here)
  })
})

test_that("a forked child that loads the package itself does not hang either", {
  skip_on_cran()
  skip_on_os("windows")
  skip_if_not_installed("data.table")
  lib <- dirname(system.file(package = "mixguide"))
  skip_if(system.file("libs", package = "mixguide") == "", "not installed")
  # another package has used OpenMP in the parent
  code <- paste(
    ".libPaths(c('%s', .libPaths())); data.table::setDTthreads(2)",
    "x <- data.table::data.table(a = runif(2e6), b = sample(1e6, 2e6, TRUE))",
    "data.table::setkey(x, b)",
    "job <- parallel::mcparallel({ mixguide::mixguide_threads(2)",
    "m <- mixguide::gaussmix(c(.5, .5), c(-1, 1), 1)",
    "x <- mixguide::guided_sample(m, 20000, sampler = mixguide::sampler_ddim(20))",
    "mixguide::mixguide_threads() })",
    "done <- parallel::mccollect(job, wait = FALSE, timeout = 20)",
    "if (is.null(done)) tools::pskill(job$pid, tools::SIGKILL)",
    "cat(unlist(done))", sep = "; ")
  rscript <- file.path(R.home("bin"), "Rscript")
  out <- system2(rscript, c("--vanilla", "-e", shQuote(sprintf(code, lib))), stdout = TRUE,
                 stderr = FALSE, env = "OMP_NUM_THREADS=")
  expect_identical(out, "1")
})

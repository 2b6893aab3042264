m <- gaussmix(c(.3, .7), cbind(u = c(-1, 2), v = c(0, 1)), list(.5, c(1, .3)), class = c("a", "b"))
quick <- sampler_ddim(3)

test_that("a run that is kept is read again, with only what is missing run", {
  folder <- file.path(withr::local_tempdir(), "deep", "runs")
  run <- function(n = 3e5, ...) guided_sample(m, n, guidance("a", 1), quick, key = c(1, 2), ...)
  plain <- run()
  kept <- run(folder = folder)
  fields <- c("x", "log_density", "confidence", "log_confidence", "folded", "density_change")
  expect_identical(kept[fields], plain[fields])
  files <- list.files(folder, all.files = TRUE, no.. = TRUE)
  expect_length(files, 3) # no unfinished files
  times <- file.mtime(file.path(folder, files))
  unlink(file.path(folder, files[2]))
  expect_identical(run(folder = folder)[fields], plain[fields])
  # the same particles give the same checksum
  expect_identical(list.files(folder), files)
  expect_identical(file.mtime(file.path(folder, files))[-2], times[-2])
  # a longer run continues from there, except for the last chunk
  longer <- run(4e5, folder = folder)
  expect_identical(longer$x, run(4e5)$x)
  expect_length(setdiff(list.files(folder), files), 2)
})

test_that("no argument that matters meets the chunk of another", {
  folder <- withr::local_tempdir()
  x <- matrix(1, 50, 2)
  base <- list(mixture = m, n = 50, guidance = guidance("a", 1), sampler = quick, key = c(1, 2))
  changes <- list(
    list(), list(mixture = gaussmix(c(.4, .6), m$means, 1, class = c("a", "b"))),
    list(n = 51), list(guidance = guidance("a", 1.5)), list(guidance = guidance("b", 1)),
    list(guidance = guidance("a", 1, interval = c(1, 2))), list(guidance = NULL),
    list(sampler = sampler_ddim(4)), list(sampler = sampler_ddpm(3)),
    list(sampler = sampler_ddim(3, grid = "uniform")), list(schedule = schedule_vp()),
    list(horizon = 4), list(start = "exact"), list(start = x), list(start = x + 1),
    list(log_density = "none"), list(log_density = "divergence"), list(trajectory = TRUE),
    list(key = c(1, 3)), list(noise = array(0, c(50, 2, 1))), list(noise = array(1, c(50, 2, 1)))
  )
  for (i in seq_along(changes)) {
    arguments <- base
    arguments[names(changes[[i]])] <- changes[[i]]
    kept <- do.call(guided_sample, c(arguments, folder = folder))
    expect_identical(kept$x, do.call(guided_sample, arguments)$x)
    expect_length(list.files(folder), i)
    again <- do.call(guided_sample, c(arguments, folder = folder))
    expect_identical(again$x, kept$x)
    expect_length(list.files(folder), i)
  }
})

test_that("a damaged file is not read", {
  folder <- withr::local_tempdir()
  run <- function(...) {
    guided_sample(m, 50, guidance("a"), sampler_ddim(3, end = .5), key = c(1, 2), ...)$x
  }
  good <- run(folder = folder)
  file <- list.files(folder, full.names = TRUE)
  bytes <- readBin(file, "raw", 1e5)
  flipped <- bytes
  flipped[length(bytes) - 100] <- xor(flipped[length(bytes) - 100], as.raw(1))
  for (damaged in list(flipped, bytes[1:200], raw())) {
    writeBin(damaged, file)
    expect_warning(again <- run(folder = folder), "damaged")
    expect_identical(again, good)
    expect_identical(readBin(file, "raw", 1e5), bytes)
  }
  expect_no_warning(run(folder = folder))
})

test_that("without a key set.seed() makes two calls the same", {
  folder <- withr::local_tempdir()
  run <- function() {
    set.seed(1)
    guided_sample(m, 50, guidance("a"), quick, folder = folder)$x
  }
  expect_identical(run(), run())
  expect_length(list.files(folder), 1)
  guided_sample(m, 50, guidance("a"), quick, folder = folder)
  expect_length(list.files(folder), 2)
})

test_that("sweeps and summaries are kept too", {
  folder <- withr::local_tempdir()
  sweep <- function(...) {
    as.data.frame(guidance_sweep(m, 200, "a", 0:1, quick, key = c(1, 2), ...))
  }
  expect_identical(sweep(folder = folder), sweep())
  expect_identical(sweep(folder = folder), sweep())
  expect_length(list.files(folder), 1)
  kept <- guidance_sweep(m, 200, "a", 0:1, quick, key = c(1, 2), keep = TRUE, folder = folder)
  expect_identical(as.data.frame(kept), sweep())
  expect_length(list.files(folder), 3)
  sum_up <- function(...) guided_summary(m, 200, guidance("a"), quick, key = c(1, 2), ...)$cov
  expect_identical(sum_up(folder = folder), sum_up())
  expect_identical(sum_up(folder = folder), sum_up())
  expect_length(list.files(folder), 4)
  sum_up(folder = folder, bins = 10)
  expect_length(list.files(folder), 5)
})

test_that("a folder that cannot be is refused", {
  run <- function(folder) guided_sample(m, 5, sampler = quick, folder = folder)
  for (folder in list(1, NA_character_, c("a", "b"), "", TRUE)) {
    expect_mixguide_error(run(folder), "folder")
  }
  file <- withr::local_tempfile(lines = "a file")
  expect_mixguide_error(run(file), "folder")
  expect_mixguide_error(run(file.path(file, "below")), "folder")
})

test_that("a digest is that of the values, however they came about", {
  job <- function(x) list(name = "test", job = list(plan = list(begin = list(n = 3), x = x)))
  expect_identical(task_digest(job(1:3)), task_digest(job(c(1L, 2L, 3L))))
  expect_false(task_digest(job(1:3)) == task_digest(job(c(1, 2, 3))))
})

test_that("a file that was cut short before it got its checksum is run again", {
  folder <- withr::local_tempdir()
  m <- gaussmix(c(.3, .7), c(-1, 1), .5, class = c("a", "b"))
  run <- function() {
    guided_sample(m, 1000, sampler = sampler_ddim(4), key = c(1, 2), folder = folder)
  }
  first <- run()
  file <- list.files(folder, full.names = TRUE)
  expect_length(file, 1)
  bytes <- readBin(file, "raw", file.size(file))
  short <- tempfile(tmpdir = folder)
  writeBin(bytes[seq_len(length(bytes) - 2000)], short)
  name <- sub("[0-9a-f]{32}[.]rds$", paste0(tools::md5sum(short), ".rds"), file)
  file.rename(short, name)
  unlink(file)
  expect_warning(again <- run(), "is damaged, its chunk is run again")
  expect_identical(again$x, first$x)
  expect_identical(list.files(folder, full.names = TRUE), file)
})

test_that("only plain data are read, whatever the checksum", {
  plain <- list(
    NULL, 1:3, c(a = 1, b = NA), c(TRUE, NA), "text", c("\u00e4", NA),
    list(1, list(x = matrix(1:4, 2))), array(0, 1:3, list(NULL, c("u", "v"), NULL)),
    data.frame(n = 1, e = NA_character_), raw(3), 1i, factor(c("a", "b")),
    structure(list(), class = "c", note = list("a", b = 2))
  )
  for (x in plain) expect_true(is_plain_data(serialize(x, NULL, version = 2)))
  code <- list(
    function() 1, quote(f(x)), globalenv(), new.env(), baseenv(), sum, expression(1),
    structure(1, f = function() 1), list(a = list(quote(x + y))), y ~ x, asNamespace("stats")
  )
  for (x in code) expect_false(is_plain_data(serialize(x, NULL, version = 2)))
  # files that are cut, longer or changed, and paths that lead out of the folder
  bytes <- serialize(list(1:3, c(a = 1)), NULL, version = 2)
  for (n in seq_along(bytes)) expect_false(is_plain_data(bytes[seq_len(n - 1)]))
  expect_false(is_plain_data(c(bytes, as.raw(0))))
  expect_false(is_plain_data(serialize(1, NULL, version = 3)))
  expect_false(is_plain_data(serialize(1, NULL, ascii = TRUE, version = 2)))
  for (i in seq_along(bytes)) {
    for (other in list(0, 3, 4, 5, 6, 16, 19, 25, 127, 238, 255)) {
      hurt <- replace(bytes, i, as.raw(other))
      if (is_plain_data(hurt)) {
        expect_false(is.function(tryCatch(unserialize(hurt), error = function(e) NULL)))
      }
    }
  }
  # damage in the folder of a run
  folder <- withr::local_tempdir()
  run <- function() guided_sample(m, 50, sampler = sampler_ddim(3, end = .5), key = c(1, 2),
                                  folder = folder)$x
  first <- run()
  file <- list.files(folder, full.names = TRUE)
  bad <- tempfile(tmpdir = folder)
  saveRDS(list(x = first, f = function() stop("ran")), bad, version = 2, compress = FALSE)
  unlink(file)
  file.rename(bad, sub("[0-9a-f]{32}[.]rds$", paste0(tools::md5sum(bad), ".rds"), file))
  expect_warning(again <- run(), "is damaged, its chunk is run again")
  expect_identical(again, first)
})

test_that("what cannot be written is an error with the cure", {
  skip_on_os("windows")
  folder <- withr::local_tempdir()
  at <- folder_at(folder, "digest")
  expect_identical(at$put(list(1), 0, 5), list(1))
  expect_identical(at$get(0, 5), list(1))
  expect_identical(at$has(c(0, 5, 0), c(5, 5, 4)), c(TRUE, FALSE, FALSE))
  gone <- folder_at(file.path(folder, "gone"), "digest")
  expect_error(gone$put(list(1), 0, 5), "could not write .*gone.*is there room")
  # a device that is always full: the error comes at the end, as on a full disk
  skip_if_not(file.exists("/dev/full"))
  expect_match(.Call(ffi_write, "/dev/full", raw(10)), "space", ignore.case = TRUE)
  expect_null(.Call(ffi_write, file.path(folder, "file"), as.raw(1:3)))
  expect_identical(readBin(file.path(folder, "file"), "raw", 9), as.raw(1:3))
})

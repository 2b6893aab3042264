# Finished chunks on disk. A chunk's file is named <digest>-<first>-<count>-<md5>.rds: the digest of
# all that settles its content, its particles, and the checksum of the file itself.

# How to get() a chunk that is there (or NULL) and put() one, which returns it.
chunk_folder <- function(folder, task) {
  if (is.null(folder)) {
    return(list(get = function(first, count) NULL, put = function(value, first, count) value))
  }
  check_folder(folder)
  digest <- task_digest(task)
  stem <- function(first, count) sprintf("%s-%.0f-%.0f-", digest, first, count)
  get <- function(first, count) {
    for (file in list.files(folder, paste0("^", stem(first, count), "[0-9a-f]{32}[.]rds$"))) {
      path <- file.path(folder, file)
      whole <- endsWith(file, paste0(tools::md5sum(path), ".rds"))
      # what was cut short before it got its name agrees with its checksum
      value <- if (whole) if_error(readRDS(path), function(e) NULL)
      if (!is.null(value)) return(value)
      warning("`folder`: ", file, " is damaged, its chunk is run again", call. = FALSE)
      unlink(path)
    }
  }
  put <- function(value, first, count) {
    # renamed when it is whole: a file of that name is always complete
    draft <- tempfile("draft-", folder)
    on.exit(unlink(draft))
    saveRDS(value, draft, version = 2, compress = FALSE)
    name <- paste0(stem(first, count), tools::md5sum(draft), ".rds")
    # a disk that is full is only a warning when a file is closed
    kept <- if_error(identical(readRDS(draft), value), function(e) FALSE)
    if (!kept || !file.rename(draft, file.path(folder, name))) {
      stop("could not write to the folder ", folder, call. = FALSE)
    }
    value
  }
  list(get = get, put = put)
}

check_folder <- function(folder) {
  if (!(is.character(folder) && length(folder) == 1 && !is.na(folder) && nzchar(folder))) {
    abort_input("folder", "NULL or the name of a folder", describe(folder))
  }
  if (!dir.exists(folder)) dir.create(folder, showWarnings = FALSE, recursive = TRUE)
  if (!dir.exists(folder) || file.access(folder, 2) != 0) {
    abort_input("folder", "a folder to write in", describe(folder))
  }
}

# The number of particles does not count: a longer run goes on from a shorter one.
task_digest <- function(task) {
  job <- task$job
  if (is.null(job$plan$begin$x)) job$plan$begin$n <- NULL
  file <- tempfile("digest-")
  on.exit(unlink(file))
  # the older format writes a sequence like any other vector
  saveRDS(list(task$name, as.character(utils::packageVersion("mixguide")), .Call(ffi_engine), job),
          file, version = 2, compress = FALSE)
  substr(unname(tools::md5sum(file)), 1, 16)
}

# Finished chunks on disk. A chunk's file is named <digest>-<first>-<count>-<md5>.rds: the digest of
# all that determines its content, its particles, and the checksum of the file.

# Functions to get() a kept chunk (or NULL), to put() one, which returns it, and to ask which of
# several chunks the folder has().
chunk_folder <- function(folder, task) {
  if (is.null(folder)) {
    return(list(get = function(first, count) NULL, put = function(value, first, count) value,
                has = function(first, count) logical(length(first))))
  }
  check_folder(folder)
  # drafts left by killed sessions
  drafts <- list.files(folder, "^draft-", full.names = TRUE)
  unlink(drafts[difftime(Sys.time(), file.mtime(drafts), units = "days") > 7])
  folder_at(folder, task_digest(task))
}

folder_at <- function(folder, digest) {
  stem <- function(first, count) sprintf("%s-%.0f-%.0f-", digest, first, count)
  ending <- "[0-9a-f]{32}[.]rds$"
  get <- function(first, count) {
    for (file in list.files(folder, paste0("^", stem(first, count), ending))) {
      path <- file.path(folder, file)
      bytes <- if_error(readBin(path, "raw", file.size(path)), function(e) raw())
      whole <- endsWith(file, paste0(tools::md5sum(path), ".rds"))
      # a file truncated before it was named agrees with its checksum
      value <- if (whole && is_plain_data(bytes)) {
        if_error(unserialize(bytes), function(e) NULL)
      }
      if (!is.null(value)) return(value)
      warning("`folder`: ", file, " is damaged, its chunk is run again", call. = FALSE)
      unlink(path)
    }
  }
  put <- function(value, first, count) {
    bytes <- serialize(value, NULL, version = 2)
    # renamed when complete: a file with the final name is always whole. Processes on several hosts
    # may have the same number.
    draft <- tempfile(paste("draft", make.names(Sys.info()[["nodename"]]), Sys.getpid(), "",
                            sep = "-"), folder)
    on.exit(unlink(draft))
    fault <- .Call(ffi_write, path.expand(draft), bytes)
    if (is.null(fault)) {
      again <- if_error(readBin(draft, "raw", length(bytes) + 1), function(e) NULL)
      if (!identical(again, bytes)) fault <- "what was written is not what is read"
    }
    if (is.null(fault)) {
      name <- paste0(stem(first, count), tools::md5sum(draft), ".rds")
      moved <- suppressWarnings(file.rename(draft, file.path(folder, name)))
      if (!moved) fault <- "a file cannot be renamed"
    }
    if (!is.null(fault)) {
      stop("could not write to the folder ", folder, " (", fault,
           "): is there room, and the right to write?", call. = FALSE)
    }
    value
  }
  has <- function(first, count) {
    files <- sub(ending, "", list.files(folder, paste0("^", digest, "-.*", ending)))
    stem(first, count) %in% files
  }
  list(get = get, put = put, has = has, digest = digest)
}

# Are these the bytes of serialize(version = 2) of vectors, lists and their attributes, and nothing
# else? Data with code, or with a place for code, are not read, whatever their checksum.
is_plain_data <- function(bytes) {
  position <- 14
  size <- length(bytes)
  if (size < 18 || !identical(bytes[1:6], as.raw(c(0x58, 0x0a, 0, 0, 0, 2)))) return(FALSE)
  integers <- function(n) {
    if (position + 4 * n > size) stop("too short")
    value <- readBin(bytes[position + seq_len(4 * n)], "integer", n, endian = "big")
    position <<- position + 4 * n
    value
  }
  skip <- function(n) {
    if (n < 0 || position + n > size) stop("too short")
    position <<- position + n
  }
  item <- function(depth = 0, text = FALSE) {
    if (depth > 50) stop("too deep")
    flags <- integers(1)
    kind <- as.character(bitwAnd(flags, 255L))
    if ((kind == "9") != text) stop("text where there is none, or the reverse")
    attributes <- bitwAnd(flags, 512L) > 0
    width <- c("9" = 1, "10" = 4, "13" = 4, "14" = 8, "15" = 16, "24" = 1)[kind]
    if (kind == "254") return() # NULL
    if (kind == "255" && flags > 255) return() # a name that was there before
    if (kind == "1") return(item(depth + 1, TRUE)) # a name
    if (kind == "2") { # attributes
      if (bitwAnd(flags, 1024L) == 0 || attributes) stop("not a list of attributes")
      item(depth + 1)
      item(depth + 1)
      return(item(depth))
    }
    n <- integers(1)
    if (kind == "9" && n == -1) return() # NA
    # beyond R's integers
    if (n == -1) n <- sum(integers(2) %% 2^32 * c(2^32, 1))
    if (!is.na(width)) {
      skip(n * width)
    } else if (kind %in% c("16", "19")) {
      if (4 * n > size) stop("too short")
      for (i in seq_len(n)) item(depth + 1, kind == "16")
    } else stop("not a vector")
    if (attributes && kind != "9") item(depth + 1)
  }
  if_error({
    item()
    position == size
  }, function(e) FALSE)
}

check_folder <- function(folder) {
  if (!is_text(folder) || !nzchar(folder)) {
    abort_input("folder", "NULL or the name of a folder", describe(folder))
  }
  if (!dir.exists(folder)) dir.create(folder, showWarnings = FALSE, recursive = TRUE)
  if (!dir.exists(folder) || file.access(folder, 2) != 0) {
    abort_input("folder", "a folder to write in", describe(folder))
  }
}

# The digest ignores the number of particles: a longer run continues a shorter one.
task_digest <- function(task) {
  job <- task$job
  programs <- c(list(job$plan[["program"]]), lapply(job$plan$programs, `[[`, "program"))
  if (length(unlist(lapply(programs, `[[`, "call")))) {
    abort_input("folder", paste("NULL for a run that asks a function, as one with a score_model()",
                                "or a strength of q does: nobody can tell whether it is what it",
                                "was"))
  }
  if (is.null(job$plan$begin$x)) job$plan$begin$n <- NULL
  file <- tempfile("digest-")
  on.exit(unlink(file))
  # the older format has no special form for sequences
  saveRDS(list(task$name, package_version_text(), .Call(ffi_engine), job), file, version = 2,
          compress = FALSE)
  substr(unname(tools::md5sum(file)), 1, 16)
}

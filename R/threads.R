#' Number of threads
#'
#' Gets or sets the number of threads of the core. Results do not depend on it, to the last bit.
#'
#' @details The default is 2, or the option `mixguide.threads` when the package is loaded. It is
#'   always capped by the environment variables `OMP_THREAD_LIMIT` and `OMP_NUM_THREADS`, and is 1
#'   in a forked process and if R was built without OpenMP. Runs of a few milliseconds use one.
#' @param n A whole number >= 1 (more than 256 count as 256), or `NULL` to leave it as it is.
#' @return The number of threads in use, before the change; invisibly if `n` is given.
#' @examples
#' mixguide_threads()
#' old <- mixguide_threads(1)
#' mixguide_threads(old)
#' @export
mixguide_threads <- function(n = NULL) {
  old <- .Call(ffi_threads, NULL)
  if (is.null(n)) return(old)
  .Call(ffi_threads, as.integer(check_count(n, "n", min = 1)))
  invisible(old)
}

.onLoad <- function(libname, pkgname) {
  # The C code detects only forks after it was loaded, and another package may have used OpenMP in
  # the parent of a child of parallel::mclapply() or the like.
  forked <- isNamespaceLoaded("parallel") && get("isChild", asNamespace("parallel"))()
  if (forked) .Call(ffi_threads, 0L)
  n <- getOption("mixguide.threads")
  if (is.null(n)) return()
  tryCatch(mixguide_threads(n), mixguide_error = function(e) {
    warning("option mixguide.threads is ignored: ", conditionMessage(e), call. = FALSE)
  })
}

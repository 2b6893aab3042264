# What the package's lists have in common: mixtures, schedules, samplers and their like, and results
# that are no tables. What a class adds is in its own file.

# A class whose name would be a plain word ("law", "sampler") is called "mixguide_<word>": of two
# packages with methods for one name the later loaded would silently replace the other's.
object_class <- function(class) c(class, "mixguide_object")

# What a value is called in prints and messages.
class_word <- function(x) sub("^mixguide_", "", class(x)[1])

# Its format() says all there is to say.
#' @export
print.mixguide_object <- function(x, ...) {
  check_dots(..., also = print.default)
  say(paste0("<", class_word(x), "> ", format(x)), indent = 0)
  invisible(x)
}

#' @rdname plot.gaussmix
#' @export
plot.mixguide_object <- function(x, ...) show_plot(x, ...)

# Points, with what is known of each; or the table that a result is about.
#' @export
as.data.frame.mixguide_object <- function(x, row.names = NULL, optional = FALSE, ...) {
  check_dots(..., also = frame_dots)
  table <- if (!is.null(x$path)) x$path else x$tried
  if (!is.null(table)) return(table)
  of_law <- inherits(x, "mixguide_law")
  if (!is.matrix(x$x) || is.null(x$mixture) && !of_law) {
    abort_input("x", "a result that has a table", paste("a", class_word(x)))
  }
  points <- x$x
  if (!of_law) colnames(points) <- variable_labels(x$mixture)
  columns <- list(as.data.frame(points))
  columns$.confidence <- if (!of_law) x$confidence else if (!is.null(x$log_confidence)) {
    exp(x$log_confidence)
  }
  columns$.log_density <- x$log_density
  if (of_law || !is.null(x$tilt)) columns$.weight <- x$weights
  do.call(data.frame, c(columns, list(row.names = row.names, check.names = FALSE)))
}

#' @export
as.matrix.mixguide_object <- function(x, ...) {
  check_dots(...)
  if (!is.matrix(x$x)) abort_input("x", "a result that has points", paste("a", class_word(x)))
  x$x
}

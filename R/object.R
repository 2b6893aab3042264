# What the package's lists have in common: mixtures, schedules, samplers and their like, and results
# that are no tables. What a class adds is in its own file.

# A class whose name would be a plain word ("law", "sampler") is called "mixguide_<word>": of two
# packages with methods for one name the later loaded would silently replace the other's.
object_class <- function(class) c(class, "mixguide_object")

# What a value is called in prints and messages.
class_word <- function(x) sub("^mixguide_", "", class(x)[1])

# ---- What a class says of itself
#
# The methods of these are found in the package and are not registered: format(), print() and
# autoplot() have one method each for all of them, which checks. Only a class whose picture has
# arguments of its own has a method of autoplot().

# What format() gives: the object in a line.
in_words <- function(x) UseMethod("in_words")

# What print() says beside the class, where that is not the same.
headline <- function(x) UseMethod("headline")
headline.default <- function(x) in_words(x)

# What print() shows below that; `digits` and `max`, if the user gave them, are checked.
print_body <- function(x, ...) UseMethod("print_body")
print_body.default <- function(x, ...) NULL

# What autoplot() gives, of a table with its `setup`.
picture <- function(object, setup) UseMethod("picture")
picture.default <- function(object, setup) {
  abort_input("object", "what there is a picture of", paste("a", class_word(object)))
}

#' @export
format.mixguide_object <- function(x, ...) {
  check_dots(..., also = format.default)
  in_words(x)
}

#' @rdname mixguide_table
#' @export
print.mixguide_object <- function(x, ...) {
  check_dots(..., also = print.default)
  given <- list(...)
  for (name in intersect(c("digits", "max"), names(given))) {
    check_count(given[[name]], name, min = 1)
  }
  print_title(x, headline(x))
  print_body(x, ...)
  print_faults(x$faults)
  invisible(x)
}

print_title <- function(x, words) say(paste0("<", class_word(x), "> ", words), indent = 0)

# ---- Generics of others

#' @rdname plot.gaussmix
#' @export
plot.mixguide_object <- function(x, ...) show_plot(x, ...)

#' @rdname plot.gaussmix
#' @export
autoplot.mixguide_object <- function(object, ...) {
  check_dots(...)
  picture(object)
}

#' @rdname mixguide_table
#' @export
as.data.frame.mixguide_object <- function(x, row.names = NULL, optional = FALSE, ...) {
  check_dots(..., also = frame_dots)
  table <- as_table(x)
  if (!is.null(row.names)) row.names(table) <- row.names
  table
}

# The table that a result is about; or its points, with what is known of each.
as_table <- function(x) UseMethod("as_table")
as_table.default <- function(x) {
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
  do.call(data.frame, c(columns, list(row.names = NULL, check.names = FALSE)))
}

#' @export
as.matrix.mixguide_object <- function(x, ...) {
  check_dots(...)
  if (!is.matrix(x$x)) abort_input("x", "a result that has points", paste("a", class_word(x)))
  x$x
}

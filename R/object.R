# The common parts of the package's lists: mixtures, schedules, samplers and the like, and results
# that are no tables. The methods of a class are in its own file.

# A class whose name would be a plain word ("law", "sampler") is called "mixguide_<word>": of two
# packages with methods for one name the later loaded would silently replace the other's.
object_class <- function(class) c(class, "mixguide_object")

# The word for a value in prints and messages.
class_word <- function(x) sub("^mixguide_", "", class(x)[1])

a_class <- function(x) {
  word <- class_word(x)
  paste(if (grepl("^[aeiou]", word)) "an" else "a", word)
}

# ---- The generics that a class implements
#
# The methods of these are found in the package and are not registered. format(), print() and
# autoplot() have one method for all classes, which checks. Only a class whose picture has arguments
# of its own has a method of autoplot().

# The value of format(): the object in a line.
in_words <- function(x) UseMethod("in_words")

# The first line of print() after the class, if it differs from in_words().
headline <- function(x) UseMethod("headline")
headline.default <- function(x) in_words(x)

# The lines of print() below the first; `digits` and `max`, if the user gave them, are checked.
print_body <- function(x, ...) UseMethod("print_body")
print_body.default <- function(x, ...) NULL

# The value of autoplot(), for a table with its `setup`.
picture <- function(object, setup) UseMethod("picture")
picture.default <- function(object, setup) {
  abort_input("object", "what there is a picture of", a_class(object))
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
  print_faults(parts_of(x)$faults)
  invisible(x)
}

print_title <- function(x, words) say(paste0("<", class_word(x), "> ", words), indent = 0)

# ---- Generics of other packages

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
  if (is.null(table)) refuse_tableless(x)
  if (!is.null(row.names)) row.names(table) <- row.names
  table
}

refuse_tableless <- function(x) {
  abort_input("x", "a result that has a table", a_class(x))
}

# The table of a result; or its points, with the values known of each. NULL if it has none.
as_table <- function(x) UseMethod("as_table")
as_table.default <- function(x) {
  # "$" would take "paths" for "path"
  table <- if (!is.null(x[["path"]])) x[["path"]] else x[["tried"]]
  if (!is.null(table)) return(table)
  of_law <- inherits(x, "mixguide_law")
  if (!is.matrix(x$x) || is.null(x$mixture) && !of_law) return(NULL)
  points <- x$x
  if (!of_law) colnames(points) <- variable_labels(x$mixture)
  columns <- list(as.data.frame(points))
  columns$.confidence <- if (!of_law) x$confidence else if (!is.null(x$log_confidence)) {
    exp(x$log_confidence)
  }
  columns$.log_density <- x$log_density
  if (of_law && !is.null(x$from)) columns$.start <- x$from[, 1]
  if (of_law || !is.null(x$tilt)) columns$.weight <- x$weights
  do.call(data.frame, c(columns, list(row.names = NULL, check.names = FALSE)))
}

#' @export
as.matrix.mixguide_object <- function(x, ...) {
  check_dots(...)
  if (!is.matrix(x$x)) abort_input("x", "a result that has points", a_class(x))
  x$x
}

# The parts of an object; a function has none.
parts_of <- function(x) if (is.list(x)) x else list()

#' @rdname mixguide_table
#' @export
summary.mixguide_object <- function(object, ...) {
  check_dots(...)
  table <- as_table(object)
  if (is.null(table)) object else table
}

# The table that summary() of a result shows, or is.
summary_table <- function(x) {
  table <- summary(x)
  if (is.data.frame(table)) return(table)
  rows <- parts_of(table)$variables
  if (!is.data.frame(rows)) refuse_tableless(x)
  data.frame(variable = rownames(rows), rows, row.names = NULL)
}

#' @rdname mixguide_table
#' @export
tidy.mixguide_object <- function(x, ...) {
  check_dots(...)
  table <- summary_table(x)
  drawn <- is_drawn(x)
  # the terms are the variables, if their means are known
  if (all(c("variable", "mean") %in% names(table))) {
    se <- table$mean_se
    if (is.null(se)) se <- rep(if (drawn) NA_real_ else 0, nrow(table))
    more <- table[setdiff(names(table), c("variable", "mean", "mean_se"))]
    return(data.frame(term = table$variable, estimate = table$mean, std.error = se, more,
                      check.names = FALSE))
  }
  if (!is_estimates(table)) {
    text <- names(table)[!vapply(table, is.numeric, NA)]
    table$method <- rep(if (drawn) "Monte Carlo" else "exact", nrow(table))
    table <- new_table(table, class(x)[1], NULL, keys = c(names(table)[1], text, "scale"))
  }
  long <- tidy(table)
  # the method of a number without an error of its own is not known
  more <- setdiff(names(long), c("quantity", "estimate", "se", if (!is_estimates(table)) ESTIMATE))
  data.frame(term = long$quantity, estimate = long$estimate, std.error = long$se, long[more],
             check.names = FALSE)
}

# Are the numbers of a result means over draws?
is_drawn <- function(x) {
  x <- parts_of(x)
  method <- if (is.data.frame(x[["error"]])) x$error$method else x[["method"]]
  if (is.character(method)) "Monte Carlo" %in% method else !is.null(x[["n"]])
}

#' @rdname mixguide_table
#' @export
glance.mixguide_object <- function(x, ...) {
  check_dots(...)
  table <- summary_table(x)
  setup <- unclass(parts_of(x))
  if (is.null(setup[["class"]])) setup$class <- setup$guidance$class
  if (is.null(setup[["n"]]) && !inherits(x, "mixguide_law")) setup$n <- nrow(setup[["x"]])
  if (is.null(table$method) && is.character(setup[["method"]])) table$method <- setup$method
  row <- experiment_row(x, table, setup)
  if (!is.numeric(setup[["estimate"]])) return(row)
  data.frame(row, estimate = setup$estimate, std.error = setup$se)
}

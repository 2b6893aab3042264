#' Tables of results
#'
#' What most analyses return is a data frame that knows what made it: it prints with a head that
#' says so, and [plot()] and [autoplot()] draw it. A part of it (rows or columns), several of them
#' bound together, and [as.data.frame()] are plain data frames, of which every column is shown.
#'
#' @param x,object A table of results, as of [guidance_sweep()] or [guided_error()].
#' @param i,j,drop As for data frames.
#' @param ... For `plot()`, what the `autoplot()` method takes; for `rbind()`, tables; otherwise as
#'   for data frames.
#' @param deparse.level As in [rbind()].
#' @return `[`, `rbind()` and `as.data.frame()`: data frames. `autoplot()`: a ggplot; where a table
#'   has no picture of its own, its estimates with bars of two standard errors. `plot()`: `x`.
#' @seealso [autoplot.gaussmix()] for what is not a table.
#' @examples
#' m <- gaussmix(c(.5, .5), c(-1, 1), .5, class = c("a", "b"))
#' sweep <- guidance_sweep(m, "a", 0:2, n = 100)
#' sweep[sweep$strength > 0, c("strength", "confidence")]
#' other <- guidance_sweep(m, "b", 0:2, n = 100)
#' rbind(cbind(class = "a", sweep[1:2]), cbind(class = "b", other[1:2]))
#' @name mixguide_table
NULL

table_class <- function(class) c(class, "mixguide_table", "data.frame")

# Without what made it.
plain_table <- function(x) {
  attributes(x) <- c(attributes(x)[c("names", "row.names")], class = "data.frame")
  x
}

#' @rdname mixguide_table
#' @export
as.data.frame.mixguide_table <- function(x, ...) {
  check_dots(..., also = frame_dots)
  plain_table(x)
}

#' @rdname mixguide_table
#' @export
`[.mixguide_table` <- function(x, i, j, ..., drop) {
  part <- NextMethod()
  if (is.data.frame(part)) plain_table(part) else part
}

#' @rdname mixguide_table
#' @export
rbind.mixguide_table <- function(..., deparse.level = 1) {
  plain <- lapply(list(...), function(x) if (inherits(x, "mixguide_table")) plain_table(x) else x)
  do.call(rbind, c(plain, deparse.level = deparse.level))
}

# dplyr's verbs ask what their results are.
#' @exportS3Method dplyr::dplyr_reconstruct
dplyr_reconstruct.mixguide_table <- function(data, template) plain_table(data)

#' @rdname mixguide_table
#' @export
plot.mixguide_table <- function(x, ...) show_plot(x, ...)

#' @rdname mixguide_table
#' @export
autoplot.mixguide_table <- function(object, ...) {
  check_dots(...)
  rows <- as.data.frame(object)
  if (!all(c("estimate", "se") %in% names(rows))) {
    abort_input("object", "a table of estimates", paste("a", class(object)[1]))
  }
  words <- rows[setdiff(names(rows)[vapply(rows, is.character, NA)], c("method", "note"))]
  rows$what <- factor(seq_len(nrow(rows)), rev(seq_len(nrow(rows))),
                      rev(do.call(paste, c(words, sep = ", "))))
  rows <- rows[is.finite(rows$estimate), ]
  rows$reach <- ifelse(is.finite(rows$se), 2 * rows$se, 0)
  ggplot(rows, aes(.data$estimate, .data$what)) +
    geom_pointrange(aes(xmin = .data$estimate - .data$reach,
                        xmax = .data$estimate + .data$reach)) +
    labs(x = "estimate", y = NULL) + look() +
    words(gsub("_", " ", class(object)[1]), attr(object, "label"),
          if (any(rows$reach > 0)) "Bars: 2 standard errors" else toString(unique(rows$method)))
}

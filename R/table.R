#' Tables of results
#'
#' Most analyses return a data frame with its experiment, which its print describes, and which
#' [plot()] and [autoplot()] draw. A part of it (rows or columns), itself with other columns,
#' several bound together, [summary()] and [as.data.frame()] are plain data frames.
#'
#' @details A table of *estimates* has columns that identify a row, first `quantity`, and then
#' * `estimate`, the number, `NA` if it is not known;
#' * `se`, its standard error: 0 if nothing was drawn, `NA` if it is not known. A number by
#'   quadrature may have an error too;
#' * `method`, the source of the number: `"exact"` (a closed form), `"quadrature"`, `"Monte Carlo"`,
#'   `"bound"` or `"unknown"`, and nothing else;
#' * `note`, a remark, or `""`.
#'
#' Divergences are called `kl` (from the first law to the second; of a target and an output,
#' `KL(target || output)`), `kl_reverse` and `total_variation`; in the heads of prints KL, reverse
#' KL and TV.
#'
#' A *sweep* ([guidance_sweep()], [information()] along the diffusion, [judge_samples()], ...) is
#' wide: columns that identify a run, such as `strength`, a column per quantity with its standard
#' error in `<quantity>_se`, and `method`. `tidy()` gives it the columns of a table of estimates, a
#' row per run and quantity, with notes beside their quantities, and other columns last.
#'
#' Other results ([strength_limit()], [guided_summary()], [moments()], a [law], ...) are lists with
#' a table: `summary()` returns it, `glance()` describes their experiment, and `tidy()` has its
#' numbers by the names of \pkg{broom}: `term`, `estimate`, `std.error`, then the other columns. A
#' term is a variable, if the means of variables are known, or else a quantity. `std.error` is like
#' `se`. Of [guided_sample()] and [conditional_sample()] the table is `summary(x)$variables`.
#'
#' @param x,object A table or another result; for `print()` and `summary()` any of our objects.
#' @param i,j,drop,row.names,optional As for data frames.
#' @param digits Number of significant digits. The standard error of a number that was drawn, as in
#'   `0.9993 (0.0001)`, determines them.
#' @param max The largest number of rows printed, evenly spread.
#' @param ... For `plot()`, arguments of the `autoplot()` method; for `print()` of other objects,
#'   `digits` and `max`, if they print numbers or rows; for `rbind()`, tables; otherwise as for data
#'   frames.
#' @param deparse.level As in [rbind()].
#' @return `[`, `rbind()`, `summary()` and `as.data.frame()`: data frames; `summary()` of an object
#'   without a table, such as a sampler: the object. `autoplot()`: a ggplot; for a table without its
#'   own plot, the estimates of `tidy()` with bars of two standard errors, a panel per quantity.
#'   `plot()` and `print()`: `x`. `tidy()`: a data frame with the columns of a table of estimates,
#'   or those of broom. `glance()`: a row with the experiment, and of a [strength_limit()] its
#'   `estimate` and `std.error`. `augment()`: a row per particle, if the table kept its samples
#'   (`guidance_sweep(keep = TRUE)`), as of [guided_sample()], with `.strength`.
#' @seealso [autoplot.gaussmix()] for other objects; [tidy.gaussmix()].
#' @examples
#' m <- gaussmix(c(.5, .5), c(-1, 1), .5, class = c("a", "b"))
#' sweep <- guidance_sweep(m, guidance = "a", strength = 0:2, n = 100)
#' sweep[sweep$strength > 0, c("strength", "confidence")]
#' other <- guidance_sweep(m, guidance = "b", strength = 0:2, n = 100)
#' rbind(cbind(class = "a", sweep[1:2]), cbind(class = "b", other[1:2]))
#' guided_error(m, sampler = sampler_heun(10))
#' @name mixguide_table
NULL

# The one constructor of tables. `setup` is a list of the experiment (with its `faults`). print()
# takes `head`, lines that describe it; `shown`, the columns, named by their labels; `labels`, words
# for quantities; `foot`, lines below; `body`, a function of the table, whose value is printed in
# place of its rows, or `words`, of table and digits, whose value is printed as it is; `groups`, a
# line above the rows of each class, named by the classes. For a sweep `keys` are the columns that
# identify a row, `methods` those of single quantities, `noted` the quantities of notes that are not
# about the whole row, a list named by the notes. Other parts of a table are attributes (`...`),
# among them its `summary`, if this is another table.
new_table <- function(rows, class, head, setup = list(), keys = NULL, methods = NULL, noted = NULL,
                      shown = NULL, labels = NULL, foot = NULL, body = NULL, words = NULL,
                      groups = NULL, ...) {
  rownames(rows) <- NULL
  structure(rows, class = c(class, "mixguide_table", "data.frame"), setup = setup,
            look = list(head = unlist(head), keys = unique(intersect(keys, names(rows))),
                        methods = methods, noted = noted, shown = shown, labels = labels,
                        foot = foot, body = body, words = words, groups = groups), ...)
}

# Estimates of a quantity, with a head that names their object.
estimate_table <- function(quantity, rows, of) {
  new_table(data.frame(quantity = quantity, rows), "mixguide_estimates", of)
}

row_of <- function(table, quantity) {
  row <- which(table$quantity == quantity)
  if (length(row) != 1) {
    stop("internal error: ", count_of(length(row), "row"), ' of quantity "', quantity, '"')
  }
  as.data.frame(table)[row, , drop = FALSE]
}

# One list from lists of the same tables, with the rows of all in each.
together <- function(lists) do.call(Map, c(rbind, Filter(length, lists)))

plain_table <- function(x) {
  attributes(x) <- c(attributes(x)[c("names", "row.names")], class = "data.frame")
  x
}

is_estimates <- function(rows) all(ESTIMATE %in% names(rows))

# The columns that identify a row of estimates.
key_columns <- function(rows) names(rows)[seq_len(match("estimate", names(rows)) - 1)]

# The numeric columns of a sweep, each perhaps with its standard error beside it.
sweep_quantities <- function(x) {
  numbers <- names(x)[vapply(x, is.numeric, NA)]
  setdiff(numbers[!endsWith(numbers, "_se")], attr(x, "look")$keys)
}

quantity_method <- function(x, name) {
  given <- attr(x, "look")$methods
  if (name %in% names(given)) return(rep(given[[name]], nrow(x)))
  se <- x[[paste0(name, "_se")]]
  method <- if (!is.null(x$method)) x$method else if (is.null(se)) "exact" else "Monte Carlo"
  method <- rep_len(method, nrow(x))
  # an affine map changes every log-density by the same number, and a path gains nothing on itself
  if (name %in% c("entropy", "gain", "fraction_down", "fraction_down_previous")) {
    method[method == "Monte Carlo" & se %in% 0] <- "exact"
  }
  method
}

# The notes of a column of a sweep: all that are not about other columns.
quantity_note <- function(x, name) {
  if (is.null(x$note)) return(rep("", nrow(x)))
  noted <- attr(x, "look")$noted
  others <- names(noted)[!vapply(noted, function(names) name %in% names, NA)]
  if (!length(others)) return(x$note)
  vapply(strsplit(x$note, "; ", fixed = TRUE), function(notes) {
    paste(setdiff(notes, others), collapse = "; ")
  }, "")
}

#' @rdname mixguide_table
#' @export
as.data.frame.mixguide_table <- function(x, ...) {
  check_dots(..., also = frame_dots)
  plain_table(x)
}

#' @rdname mixguide_table
#' @export
summary.mixguide_table <- function(object, ...) {
  check_dots(...)
  own <- attr(object, "summary")
  if (is.null(own)) plain_table(object) else own
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

# A table with other columns or rows is not that of its experiment. `before`: shape() of the table.
shape <- function(x) c(nrow(x), names(x))

if_kept <- function(before, x) if (identical(before, shape(x))) x else plain_table(x)

#' @export
`$<-.mixguide_table` <- function(x, name, value) if_kept(shape(x), NextMethod())

#' @export
`[[<-.mixguide_table` <- function(x, i, j, value) if_kept(shape(x), NextMethod())

#' @export
`[<-.mixguide_table` <- function(x, i, j, value) if_kept(shape(x), NextMethod())

#' @export
`names<-.mixguide_table` <- function(x, value) if_kept(shape(x), NextMethod())

# The class of results of dplyr's verbs, and of the functions of vctrs.
#' @exportS3Method dplyr::dplyr_reconstruct
dplyr_reconstruct.mixguide_table <- function(data, template) plain_table(data)

#' @exportS3Method vctrs::vec_restore
vec_restore.mixguide_table <- function(x, to, ...) {
  check_dots(...)
  plain_table(x)
}

# ---- Print

#' @rdname mixguide_table
#' @export
print.mixguide_table <- function(x, digits = 4, max = 30, ...) {
  check_dots(..., also = print.default)
  digits <- check_count(digits, "digits", min = 1)
  max <- check_count(max, "max", min = 1)
  print_head(x)
  look <- attr(x, "look")
  words <- if (!is.null(look$words)) look$words(x, digits) else {
    table_words(if (is.null(look$body)) x else look$body(x), digits)
  }
  print_rows(words, digits, max, look$groups, shown_keys(x, words))
  print_foot(x)
  invisible(x)
}

print_head <- function(x) {
  head <- attr(x, "look")$head
  print_title(x, head[1])
  say(head[-1])
}

# Notes, the table's own remarks, and its faults.
print_foot <- function(x) {
  writeLines(c(note_lines(x), fit_lines(attr(x, "look")$foot)))
  print_faults(attr(x, "setup")$faults)
}

# The columns of a table as they are printed, an estimate with its standard error in one.
table_words <- function(x, digits) {
  look <- if (inherits(x, "mixguide_table")) attr(x, "look")
  rows <- plain_table(x)
  shown <- look$shown
  if (is_estimates(rows)) {
    of_one <- if (is.null(rows$quantity)) FALSE else rows$quantity %in% OF_SIZE_ONE
    rows$estimate <- show_estimate(rows$estimate, rows$se, rows$method, digits, of_one)
    rows$se <- NULL
  } else {
    for (name in sweep_quantities(x)) {
      se <- rows[[paste0(name, "_se")]]
      if (is.null(se) || !is.numeric(se)) next
      rows[[name]] <- show_estimate(rows[[name]], se, quantity_method(x, name), digits,
                                    name %in% OF_SIZE_ONE)
      rows[[paste0(name, "_se")]] <- NULL
    }
    if (length(unique(rows$method)) == 1 && is.null(shown)) rows$method <- NULL
  }
  rows$note <- NULL
  if (!is.null(rows$quantity)) rows$quantity <- labelled(rows$quantity, look$labels)
  if (is.null(shown)) return(rows)
  shown <- shown[shown %in% names(rows)]
  stats::setNames(rows[shown], ifelse(nzchar(names_of(shown)), names_of(shown), shown))
}

# Words for keys: those given, or the keys themselves without underscores.
labelled <- function(keys, labels) {
  keys <- as.character(keys)
  words <- gsub("_", " ", keys, fixed = TRUE)
  known <- keys %in% names(labels)
  replace(words, known, labels[keys[known]])
}

# The columns that identify a row of a table in `words`: the first, and the keys as printed.
shown_keys <- function(table, words) {
  look <- attr(table, "look")
  keys <- if (is_estimates(table)) key_columns(table) else look$keys
  intersect(names(words), c(names(words)[1], keys, names(look$shown)[look$shown %in% keys]))
}

# Text, and estimates with their errors, are aligned to the left, numbers to the right. Rows wider
# than the screen are split, class by class in groups; each piece starts with the columns `keys`.
print_rows <- function(rows, digits, max = Inf, groups = NULL, keys = names(rows)[1]) {
  if (!nrow(rows)) return(cat("  (no rows)\n"))
  seen <- evenly(nrow(rows), max)
  shown <- rows[seen, , drop = FALSE]
  if (length(groups)) shown$class <- NULL
  group <- if (length(groups)) rows$class[seen] else rep("", length(seen))
  pieces <- row_pieces(column_lines(shown, digits), names(shown) %in% keys, seen)
  apart <- length(pieces) > 1
  for (class in unique(group)) {
    if (length(groups) && apart) say(groups[[class]], indent = 1)
    for (lines in pieces) {
      if (apart || class == group[1]) writeLines(lines[1])
      if (length(groups) && !apart) say(groups[[class]], indent = 1)
      writeLines(lines[-1][group == class])
    }
  }
  if (length(seen) < nrow(rows)) cat("  ", length(seen), " of ", nrow(rows), " rows\n", sep = "")
}

# Each column as lines of one width, the first its name.
column_lines <- function(rows, digits) {
  Map(function(name, x) {
    text <- is.character(x) || is.factor(x)
    cells <- if (!text) format(x, digits = digits) else ifelse(is.na(x), "NA", as.character(x))
    # a text too wide for the screen
    most <- getOption("width") - 5
    long <- nchar(cells, "width") > most
    cells[long] <- paste0(strtrim(cells[long], most - 3), "...")
    paste0(" ", format(c(name, cells), justify = if (text) "left" else "right"))
  }, names(rows), rows)
}

# Columns side by side in as few pieces as the screen allows. If the keys leave no room beside them,
# every piece starts with the number of the row.
row_pieces <- function(columns, is_key, numbers) {
  width <- vapply(columns, function(lines) nchar(lines[1], "width"), 0)
  room <- getOption("width")
  paste_lines <- function(columns) do.call(paste0, unname(columns))
  if (sum(width) <= room) return(list(paste_lines(columns)))
  if (sum(width[is_key]) + max(width[!is_key], 0) > room) {
    columns <- c(list(paste0(" ", format(c("", numbers), justify = "right"))), columns)
    is_key <- c(TRUE, rep(FALSE, length(is_key)))
    width <- c(nchar(columns[[1]][1]), width)
  }
  room <- room - sum(width[is_key])
  # the first column of each piece begins where the row would grow too wide
  used <- Reduce(function(used, w) if (used + w > room) w else used + w, width[!is_key],
                 accumulate = TRUE)
  piece <- cumsum(used == width[!is_key])
  lapply(split(columns[!is_key], piece), function(beside) paste_lines(c(columns[is_key], beside)))
}

# Every note once, with its rows.
note_lines <- function(x) {
  if (is.null(x$note) || !any(nzchar(x$note))) return(character())
  rows <- plain_table(x)
  key <- intersect(c("statement", "quantity", "claim"), names(rows))
  name <- if (length(key)) labelled(rows[[key[1]]], attr(x, "look")$labels) else run_names(x)
  notes <- unique(rows$note[nzchar(rows$note)])
  fit_lines(vapply(notes, function(note) {
    about <- unique(name[rows$note == note])
    apart <- if (any(grepl(",", about, fixed = TRUE))) "; " else ", "
    many <- !length(key) && length(about) > 4
    paste0(if (many) count_of(sum(rows$note == note), "row") else paste(about, collapse = apart),
           ": ", note)
  }, ""))
}

# Words for the rows of a sweep, by the keys that distinguish them.
run_names <- function(x) {
  rows <- plain_table(x)
  keys <- setdiff(attr(x, "look")$keys, "scale")
  keys <- Filter(function(key) length(unique(rows[[key]])) > 1, keys)
  if (!length(keys)) return(rep("all rows", nrow(rows)))
  do.call(paste, c(unname(Map(paste, keys, rows[keys])), sep = ", "))
}

# ---- Pictures

#' @rdname mixguide_table
#' @export
plot.mixguide_table <- function(x, ...) show_plot(x, ...)

#' @rdname mixguide_table
#' @export
autoplot.mixguide_table <- function(object, ...) {
  check_dots(...)
  picture(object, attr(object, "setup"))
}

# Without a picture of its own a table shows its estimates.
picture.mixguide_table <- function(object, setup) {
  look <- attr(object, "look")
  tidy_picture(tidy(object), gsub("_", " ", class_word(object)), look$head, look$labels,
               fault_words(setup$faults))
}

# The numbers of tidy(): against a key that is a number, a panel for each quantity, the other keys
# by colour; or else one below the other.
tidy_picture <- function(long, title, subtitle = NULL, labels = NULL, caption = NULL) {
  keys <- setdiff(key_columns(long), c("quantity", "scale"))
  keys <- Filter(function(key) length(unique(long[[key]])) > 1, keys)
  along <- utils::head(Filter(function(key) is.numeric(long[[key]]), keys), 1)
  rivals <- setdiff(keys, along)
  long$panel <- factor(long$quantity, unique(long$quantity),
                       labelled(unique(long$quantity), labels))
  long$reach <- ifelse(is.finite(long$se), 2 * long$se, 0)
  long$what <- if (length(rivals)) do.call(paste, c(unname(long[rivals]), sep = ", ")) else {
    as.character(long$panel)
  }
  long <- long[is.finite(long$estimate), ]
  if (!nrow(long)) abort_input("object", "a table with a finite estimate", "one without any")
  known <- if (any(long$reach > 0)) "Bars: 2 standard errors" else toString(unique(long$method))
  panels <- facet_wrap(vars(.data$panel), scales = if (length(along)) "free_y" else "free_x")
  if (!length(along)) {
    long$what <- factor(long$what, rev(unique(long$what)))
    return(ggplot(long, aes(.data$estimate, .data$what)) +
             geom_pointrange(aes(xmin = .data$estimate - .data$reach,
                                 xmax = .data$estimate + .data$reach)) +
             (if (length(keys)) panels) +
             finish(title, subtitle, c(known, caption), x = "estimate", y = NULL))
  }
  # without rivals one colour
  long$what <- if (length(rivals)) factor(long$what, unique(long$what)) else factor("")
  legend <- paste(rivals, collapse = ",\n")
  ggplot(long, aes(.data[[along]], .data$estimate, colour = .data$what, shape = .data$what)) +
    geom_line(data = long[stats::ave(long$reach, long$panel, long$what, FUN = length) > 1, ]) +
    geom_pointrange(aes(ymin = .data$estimate - .data$reach, ymax = .data$estimate + .data$reach),
                    size = .3) +
    panels + ggplot2::guides(colour = ggplot2::guide_legend(ncol = 2)) +
    scale_colour_manual(values = class_palette(nlevels(long$what))) +
    scale_shape_manual(values = rep_len(c(16, 17, 15, 18, 1, 2), nlevels(long$what))) +
    finish(title, subtitle, c(known, caption), x = along, y = NULL, colour = legend,
           shape = legend, legend = if (length(rivals)) "bottom" else "none")
}

# ---- The generics of broom

#' @rdname mixguide_table
#' @export
tidy.mixguide_table <- function(x, ...) {
  check_dots(...)
  rows <- plain_table(x)
  if (is_estimates(rows)) return(rows)
  keys <- attr(x, "look")$keys
  quantities <- sweep_quantities(x)
  more <- setdiff(names(rows), c(keys, quantities, paste0(quantities, "_se"), ESTIMATE))
  do.call(rbind, lapply(quantities, function(name) {
    method <- quantity_method(x, name)
    se <- rows[[paste0(name, "_se")]]
    if (is.null(se)) se <- replace(rep(0, nrow(rows)), method == "Monte Carlo", NA)
    unknown <- is.na(rows[[name]])
    data.frame(quantity = rep(name, nrow(rows)), rows[keys],
               estimate_row(as.double(rows[[name]]), replace(se, unknown, NA),
                            replace(method, unknown, "unknown"), quantity_note(x, name)),
               rows[more], row.names = NULL)
  }))
}

#' @rdname mixguide_table
#' @export
glance.mixguide_table <- function(x, ...) {
  check_dots(...)
  experiment_row(x, x, attr(x, "setup"))
}

# A row with the experiment of a result, which has a `table`. `setup` has the experiment's parts.
experiment_row <- function(x, table, setup) {
  words <- function(x, how = format) if (is.null(x)) NA_character_ else how(x)
  number <- function(x) if (is.null(x)) NA_real_ else x
  data.frame(result = class_word(x), rows = nrow(table), n = number(setup$n),
             variables = number(if (!is.null(setup$mixture)) mixture_dim(setup$mixture)),
             class = words(setup$class, function(class) paste(class, collapse = " or ")),
             sampler = words(setup$sampler), schedule = words(setup$schedule),
             horizon = number(setup$horizon),
             method = words(table$method, function(method) toString(unique(method))),
             faults = toString(names(setup$faults)))
}

#' @rdname mixguide_table
#' @export
augment.mixguide_table <- function(x, ...) {
  check_dots(...)
  setup <- attr(x, "setup")
  samples <- if (is.null(setup$runs)) setup$samples else {
    unlist(lapply(setup$runs, `[[`, "samples"), recursive = FALSE)
  }
  if (is.null(samples)) {
    abort_input("x", "a table with its samples, as of guidance_sweep(keep = TRUE)",
                paste(a_class(x), "without"))
  }
  do.call(rbind, Map(function(sample, strength) {
    cbind(augment.guided_sample(sample), .strength = strength)
  }, samples, x$strength))
}

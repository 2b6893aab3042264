# Every message to the user about an argument is made here. It names the argument, the value wanted
# and the value given, and has class `mixguide_error`.

abort_input <- function(arg, wanted, got = NULL, kind = "input", call = user_call()) {
  message <- paste0("`", arg, "` must be ", wanted, if (!is.null(got)) paste0("; got ", got))
  abort(message, kind, call)
}

abort <- function(message, kind, call = user_call()) {
  stop(errorCondition(message, class = c(paste0("mixguide_error_", kind), "mixguide_error"),
                      call = call))
}

# The value of `expr`, or of `failed` called with its error, unless this is the user's time limit.
if_error <- function(expr, failed) {
  tryCatch(expr, error = function(e) if (is_time_limit(e)) stop(e) else failed(e))
}

is_time_limit <- function(error) {
  limits <- paste("reached", c("elapsed", "CPU", "session elapsed", "session CPU"), "time limit")
  said <- unique(c(limits, gettext(limits, domain = "R")))
  any(vapply(said, grepl, NA, conditionMessage(error), fixed = TRUE))
}

# The call the user typed: the outermost frame that belongs to a function of this package.
user_call <- function() {
  home <- topenv()
  for (i in seq_len(sys.nframe())) {
    if (identical(topenv(environment(sys.function(i))), home)) return(sys.call(i))
  }
}

# An error if a method with `...` gets an argument that it does not know. `also`: the names of more
# arguments that belong to the generic, or a function with these arguments.
check_dots <- function(..., also = NULL) {
  if (!...length()) return(invisible())
  given <- names(substitute(list(...)))[-1]
  own <- names(formals(sys.function(sys.parent())))
  more <- if (is.function(also)) names(formals(also)) else also
  unknown <- if (is.null(given)) "" else setdiff(given, setdiff(c(own, more), "..."))
  if (length(unknown)) no_such_argument(unknown[1], setdiff(own, "..."), more)
}

# Arguments that print() passes to elements of a list, and data.frame() to as.data.frame().
frame_dots <- c("optional", "stringsAsFactors")

no_such_argument <- function(name, known, more) {
  call <- user_call()
  f <- call[[1]]
  # package::function
  if (is.call(f) && length(f) == 3) f <- f[[3]]
  # a method is known by its generic
  method <- "^(\\w+)[.]mixguide_(object|diffusion|table)$"
  whose <- if (is.name(f)) paste0(" of ", sub(method, "\\1", as.character(f)), "()")
  if (!nzchar(name)) {
    abort(paste0("an argument too many", whose, ": it takes ", toString(known)), "input", call)
  }
  near <- nearest_name(name, setdiff(c(known, more), "..."))
  takes_guidance <- "guidance" %in% c(known, more)
  cure <- if (takes_guidance && name %in% names(formals(guidance))) {
    paste0("; it belongs in guidance: guidance = guidance(\"label of a class\"",
           if (name != "class") paste0(", ", name, " = ..."), ")")
  } else if (!is.null(near)) paste0("; did you mean `", near, "`?") else {
    paste0("; it takes ", toString(c(known, if (takes_guidance) setdiff(more, known))))
  }
  abort(paste0("`", name, "` is not an argument", whose, cure), "input", call)
}

# The known name nearest to `name`, if one is near enough to be meant.
nearest_name <- function(name, known) {
  # a text of this length is no name, and exceeds the limit of adist()
  if (!length(known) || is.na(name)) return(NULL)
  name <- encodeString(name)
  if (nchar(name) > 100) return(NULL)
  distance <- drop(utils::adist(name, known, ignore.case = TRUE))
  # a name that begins with the text, or contains it, is near too
  within <- drop(utils::adist(name, known, ignore.case = TRUE, partial = TRUE)) == 0
  distance[within] <- pmin(distance[within], 1)
  best <- which.min(distance)
  # no other name is near to a name of one letter
  if (distance[best] <= max(1, nchar(name) / 2) && distance[best] < nchar(name)) known[best]
}

# Is text valid in its declared encoding? Invalid bytes have neither letters nor width.
is_readable <- function(x) validEnc(x) & Encoding(x) != "bytes"

listed <- function(x) toString(if (is.character(x)) encodeString(x) else x, 60)

# The names of a list, "" where there is none.
names_of <- function(x) if (is.null(names(x))) character(length(x)) else names(x)

# An error text for names that are not among those `known`, with the nearest known ones.
unknown_names <- function(names, known, said = listed(names)) {
  near <- unique(unlist(lapply(utils::head(names, 3), nearest_name, known)))
  paste0(said, if (length(near)) paste0("; did you mean ", toString(paste0("`", near, "`")), "?"))
}

# The value of a user's function, whose errors become ours: they name it and say `where`.
from_user <- function(value, arg, where = NULL) {
  if_error(value, function(e) {
    if (inherits(e, "mixguide_error")) stop(e)
    abort(paste0("`", arg, "` failed", where, ": ", conditionMessage(e)), "function")
  })
}

now <- function() proc.time()[["elapsed"]]

# A function of the number of finished parts of n, which announces that the rest takes above 10 s.
forecast <- function(what, n) {
  begun <- now()
  told <- FALSE
  function(done) {
    spent <- now() - begun
    if (told || spent < 1 || !done) return(invisible())
    left <- spent / done * (n - done)
    if (left > 10) {
      told <<- TRUE
      message(what, ": ", done, " of ", n, " steps done, the others take some ",
              number(signif(left, 1)), " s")
    }
  }
}

takes_arguments <- function(f, n) {
  arguments <- names(formals(args(f)))
  "..." %in% arguments || length(arguments) >= n
}

describe <- function(x) {
  if (is.null(x)) return("NULL")
  if (is.factor(x) || is.list(x) || is.function(x)) {
    return(paste0(a_class(x), if (!is.function(x)) paste(" of length", length(x))))
  }
  if (!is.null(dim(x))) {
    return(paste0("a ", paste(dim(x), collapse = " x "), " ", typeof(x), " array"))
  }
  if (length(x) == 1) {
    return(if (is.character(x)) paste0('"', listed(x), '"') else format(x, digits = 6))
  }
  if (!length(x)) return(paste0(typeof(x), "(0)"))
  paste0("a ", typeof(x), " vector of length ", length(x), " (", listed(utils::head(x, 4)), ")")
}

# Numbers as R's own doubles or integers: a data.table or a tibble becomes a data frame, a time
# series a vector or a matrix, an integer64 a double (others misread its bits).
plain_numbers <- function(x) {
  if (is.data.frame(x)) {
    # as.data.frame() may be a method that leaves the class
    x <- as.data.frame(x)
    long <- vapply(x, inherits, NA, "integer64")
    x[long] <- lapply(x[long], plain_numbers)
    return(x)
  }
  # a data frame without rows becomes a logical matrix
  if (is.logical(x) && is.matrix(x) && !length(x)) storage.mode(x) <- "double"
  if (!is.object(x) || !is.numeric(x)) return(x)
  shape <- attributes(x)[c("dim", "dimnames", "names")]
  x <- if (inherits(x, "integer64")) integer64_value(x) else as.vector(unclass(x))
  attributes(x) <- shape[!vapply(shape, is.null, NA)]
  x
}

# An integer64 is the 64 bits of a whole number in place of a double; the smallest one is NA.
integer64_value <- function(x) {
  words <- readBin(writeBin(as.vector(unclass(x)), raw(), endian = "little"), "integer",
                   2 * length(x), endian = "little")
  low <- words[c(TRUE, FALSE)]
  high <- words[c(FALSE, TRUE)]
  missing <- is.na(high) & !is.na(low) & low == 0
  # R reads the integer -2^31 as NA
  low[is.na(low)] <- -2^31
  high[is.na(high)] <- -2^31
  replace(high * 2^32 + low %% 2^32, missing, NA)
}

check_number <- function(x, arg, min = -Inf, max = Inf, open = FALSE) {
  x <- plain_numbers(x)
  ok <- is_number(x) && (if (open) x > min && x < max else x >= min && x <= max)
  if (!ok) abort_input(arg, paste0("one finite number", range_words(min, max, open)), describe(x))
  as.double(x)
}

range_words <- function(min, max, open) {
  if (is.infinite(min) && is.infinite(max)) return("")
  if (is.infinite(max)) return(paste0(if (open) " > " else " >= ", min))
  if (is.infinite(min)) return(paste0(if (open) " < " else " <= ", max))
  paste0(" between ", min, " and ", max, if (open) " (exclusive)")
}

check_strengths <- function(x, min = -Inf) {
  x <- plain_numbers(x)
  if (!are_numbers(x) || any(x < min)) {
    abort_input("strength", paste0("one or more finite numbers", range_words(min, Inf, FALSE)),
                describe(x))
  }
  as.double(x)
}

# The largest number of rows of an R matrix is 2^31 - 1. `more`: the functions for larger counts.
check_count <- function(x, arg, min = 0, max = .Machine$integer.max, more = NULL) {
  x <- plain_numbers(x)
  if (is_number(x) && x >= min && x == round(x) && x <= max) return(as.double(x))
  above <- is.numeric(x) && isTRUE(x > max)
  range <- if (above) paste(" from", min, "to", number(max)) else paste(" >=", min)
  abort_input(arg, paste0("one whole number", range,
                          if (above && !is.null(more)) paste0(" (", more, ")")), describe(x))
}

# The `n` of an analysis, which comes before its guidance.
check_n <- function(n, ...) {
  if (is.character(n) || inherits(n, "mixguide_guidance") || is.list(n) && !is.object(n)) {
    abort_input("n", "one whole number (a guidance goes by name: guidance =)", describe(n))
  }
  check_count(n, "n", ...)
}

check_particles <- function(n, min = 0) check_n(n, min, more = "guided_summary() takes more")

# Each step has a list of operations, so more steps than this are a slip of the pen.
check_steps <- function(x, arg = "steps", min = 1) check_count(x, arg, min, max = 1e6)

check_flag <- function(x, arg) {
  if (!is_flag(x)) abort_input(arg, "TRUE or FALSE", describe(x))
  x
}

# match.arg() with our error; `choices` untouched (the default argument) means the first.
check_choice <- function(x, choices, arg) {
  if (identical(x, choices)) return(choices[1])
  if (!(is.character(x) && length(x) == 1 && x %in% choices)) {
    abort_input(arg, paste("one of", paste0('"', choices, '"', collapse = ", ")),
                if (is_text(x)) unknown_names(x, choices, describe(x)) else describe(x))
  }
  x
}

check_mixture <- function(x, arg = "mixture") {
  check_class(x, "gaussmix", arg, "a gaussmix (see gaussmix() and as_gaussmix())")
  if (!is_whole_mixture(x)) {
    abort_input(arg, "a gaussmix as gaussmix() makes it", "one that was changed, or is damaged")
  }
  x
}

# A covariance that leaves no density; the message in parts.
refuse_singular <- function(mixture, ...) {
  if (is_singular(mixture)) abort(paste(...), "singular")
}

# Does a mixture have the fields, sizes and types on which the C code and a run rely? A mixture may
# be edited or read from a file. Checks that cost more than reading the means are left out.
is_whole_mixture <- function(x) {
  if (!is.list(x)) return(FALSE)
  # every evaluation calls this: `$` of an object with a class looks for methods first
  x <- unclass(x)
  if (!is.double(x$weights) || !is.double(x$means) || !is.double(x$values)) return(FALSE)
  size <- dim(x$means)
  if (length(size) != 2 || any(size == 0) || length(dim(x$values)) != 2 || !is.character(x$form) ||
      !isTRUE(x$form %in% FORMS)) return(FALSE)
  spectra <- if (startsWith(x$form, "common")) 1 else size[1]
  length(x$weights) == size[1] && length(x$class) == size[1] && is.character(x$class) &&
    all(dim(x$values) == c(size[2], spectra)) &&
    (!endsWith(x$form, "full") ||
       is.double(x$vectors) && length(x$vectors) == size[2]^2 * spectra) &&
    all_finite(x$weights) && all_finite(x$means) && all_finite(x$values) &&
    all(x$weights >= 0) && abs(sum(x$weights) - 1) < 1e-6 && all(x$values >= 0) &&
    is_whole_place(x$coordinates, size[2])
}

FORMS <- c("isotropic", "diagonal", "full", "common isotropic", "common diagonal", "common full")

is_whole_place <- function(at, d) {
  whole <- function(x) is.double(x) && length(x) == d && all_finite(x)
  is.null(at) || is.list(at) && whole(at$center) && whole(at$scale) && all(at$scale > 0)
}

check_class <- function(x, class, arg, wanted) {
  if (!inherits(x, class)) abort_input(arg, wanted, came_instead(x, class))
}

# The arguments that take the objects of this package.
OWN_ARGUMENTS <- c(mixguide_guidance = "guidance", mixguide_sampler = "sampler",
                   mixguide_schedule = "schedule", mixguide_observation = "observation",
                   zero_shot_method = "method", score_error = "score_error")

# Describes the value given in place of an object of `class`. If the value is the name of a function
# that makes one, this function itself, or an object for another argument, it suggests the remedy.
came_instead <- function(x, class = NULL) {
  own <- intersect(names(OWN_ARGUMENTS), class(x))
  if (length(own)) {
    return(paste0(a_class(x), ", which belongs to `", OWN_ARGUMENTS[[own[1]]],
                  "`: arguments go by name, or in their order"))
  }
  prefix <- paste0(sub("_method", "", sub("^mixguide_", "", class)), "_")
  exports <- getNamespaceExports(topenv())
  makers <- if (length(class)) sort(exports[startsWith(exports, prefix)])
  if (is_text(x)) {
    bare <- function(name) sub(paste0("^", prefix), "", encodeString(name))
    near <- nearest_name(bare(x), bare(makers))
    return(paste0(describe(x), if (!is.null(near)) paste0("; did you mean ", prefix, near, "()?")))
  }
  made_by <- Filter(function(name) identical(x, get(name, topenv())), makers)
  if (length(made_by)) return(paste0("a function; did you mean ", made_by[1], "()?"))
  if (is.null(x)) "nothing (NULL)" else a_class(x)
}

# Each function of `...` must be TRUE of the field of its name. `by`: what makes such objects.
check_made <- function(object, arg, by, ...) {
  kinds <- list(...)
  fields <- if (is.list(object)) unclass(object)
  ok <- vapply(names(kinds), function(name) isTRUE(kinds[[name]](fields[[name]])), NA)
  if (!all(ok)) {
    abort_input(arg, paste("as", by, "makes it"), "one that was changed, or is damaged")
  }
  object
}

is_text <- function(x) is.character(x) && length(x) == 1 && !is.na(x)
is_flag <- function(x) is.logical(x) && length(x) == 1 && !is.na(x)
is_number <- function(x) is.numeric(x) && length(x) == 1 && is.finite(x)
are_numbers <- function(x) is.numeric(x) && length(x) > 0 && all(is.finite(x))
is_mixture <- function(x) inherits(x, "gaussmix") && is_whole_mixture(x)
maybe <- function(is) function(x) is.null(x) || is(x)

frame_to_matrix <- function(x, arg) {
  x <- plain_numbers(x)
  # R reads a column of NA alone as logical
  numeric <- vapply(x, function(x) is.numeric(x) || is.logical(x) && all(is.na(x)), NA)
  if (!all(numeric)) {
    abort_input(arg, "numeric in every column",
                paste("non-numeric", toString(colnames(x)[!numeric], 60)))
  }
  x <- as.matrix(x)
  storage.mode(x) <- "double" # no rows make a logical matrix
  x
}

# Points as an n x d double matrix. Columns are matched by name if they and the mixture have names,
# otherwise by place. A vector is n points if d = 1, and one point if its length is d. `look`: check
# that all points are finite.
check_points <- function(x, mixture, arg = "x", look = TRUE) {
  d <- mixture_dim(mixture)
  names <- variable_names(mixture)
  x <- plain_numbers(x)
  # one point as a named vector
  if (is.null(dim(x)) && is.numeric(x) && d > 1 && length(x) == d && !is.null(names(x))) x <- t(x)
  x <- own_columns(x, mixture, arg)
  if (is.data.frame(x)) x <- frame_to_matrix(x, arg)
  if (!is.numeric(x)) abort_input(arg, paste("a numeric matrix with", d, "columns"), describe(x))
  if (is.null(dim(x)) && (d == 1 || length(x) == d)) x <- matrix(x, ncol = d)
  if (length(dim(x)) != 2 || ncol(x) != d) {
    columns <- count_of(d, "column", "columns (one per variable)")
    abort_input(arg, paste("a matrix with", columns), describe(x))
  }
  # an assignment would copy x
  if (!is.double(x)) storage.mode(x) <- "double"
  if (look && !all_finite(x)) {
    check_missing(x, arg)
    check_infinite(x, arg)
  }
  name_dims(x, rownames(x), names)
}

# The columns of a table that hold the mixture's variables: by name, or computed by its formula.
own_columns <- function(x, mixture, arg) {
  names <- variable_names(mixture)
  came <- colnames(x)
  if (is.null(names) || is.null(came) || identical(came, names)) return(x)
  if (!is.null(mixture$terms) && !all(names %in% came)) {
    return(term_columns(mixture$terms, as.data.frame(x), arg))
  }
  check_columns(names, came, arg)
  x[, names, drop = FALSE]
}

check_columns <- function(wanted, came, arg) {
  lacking <- setdiff(wanted, came)
  if (length(lacking)) {
    abort_input(arg, paste("a table with the columns", toString(wanted, 200)),
                unknown_names(lacking[1], setdiff(came, wanted),
                              paste0(toString(came, 100), ": no `", lacking[1], "`")))
  }
  twice <- intersect(wanted, came[duplicated(came)])
  if (length(twice)) {
    abort_input(arg, "with one column per variable", paste("several named", toString(twice, 60)))
  }
}

check_infinite <- function(x, arg, wanted = "finite") {
  infinite <- rowSums(is.infinite(x)) > 0
  if (any(infinite)) abort_input(arg, wanted, paste("an infinite value in row", which(infinite)[1]))
}

# `cure`: what to do, in words.
check_missing <- function(x, arg, cure = "impute() fills them") {
  if (anyNA(x)) {
    holes <- which(rowSums(is.na(x)) > 0)
    abort_input(arg, paste0("without missing values (", cure, ")"),
                paste0("NA in ", length(holes), " of ", count_of(nrow(x), "row"), ", first in row ",
                       holes[1]))
  }
}

# all(abs(x) <= limit) of doubles, FALSE if some are missing: in one pass that makes no vector.
all_finite <- function(x, limit = .Machine$double.xmax) .Call(ffi_all_within, x, limit)

# No dimension names rather than a list of NULLs, so that nameless results equal nameless matrices.
name_dims <- function(x, ...) {
  names <- list(...)
  if (all(vapply(names, is.null, NA))) names <- NULL
  # dimnames that are right stay: an assignment would copy x
  if (!identical(dimnames(x), names)) dimnames(x) <- names
  x
}

check_string <- function(x, arg) {
  if (!is_text(x) || !nzchar(x)) abort_input(arg, "one non-empty string", describe(x))
  x
}

check_positive <- function(x, arg, open = TRUE, finite = TRUE) {
  ok <- is.numeric(x) && length(x) && !anyNA(x) && all(if (open) x > 0 else x >= 0) &&
    (!finite || all(is.finite(x)))
  if (!ok) abort_input(arg, if (open) "positive numbers" else "numbers >= 0", describe(x))
  as.double(x)
}

check_times <- function(t, schedule) {
  check_schedule(schedule)
  if (!is.numeric(t) || !length(t)) abort_input("t", "one or more times", describe(t))
  vapply(t, check_time, 0, schedule)
}

check_range <- function(range, d, arg = "range") {
  if (is.null(range)) return(NULL)
  ok <- are_numbers(range) && length(range) %in% c(2, 2 * d)
  range <- if (ok) matrix(as.double(range), 2, d)
  if (!ok || !all(range[1, ] < range[2, ])) {
    abort_input(arg, paste("NULL or increasing numbers, 2 or a matrix of 2 x", d))
  }
  range
}

check_key <- function(key) {
  if (is.null(key)) return(NULL)
  ok <- are_numbers(key) && length(key) == 2 && all(key >= 0 & key < 2^32 & key == floor(key))
  if (!ok) abort_input("key", "NULL or two whole numbers, as the `key` of a run", describe(key))
  as.double(key)
}

need_packages <- function(what, packages) {
  lacking <- packages[!vapply(packages, requireNamespace, NA, quietly = TRUE)]
  if (length(lacking)) {
    abort(paste0(what, " needs ", paste("the package", lacking, collapse = " and "),
                 ": install.packages(c(", toString(dQuote(lacking, FALSE)), "))"), "package")
  }
}

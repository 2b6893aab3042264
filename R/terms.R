# The formula of a mixture, and how it reads new data, as in lm(). The terms are kept with the
# values that they refer to beyond the data, and with nothing else of their environment.

# The table of a formula's variables, the labels of classes, and, unless each variable is itself a
# column, the terms for new data.
formula_data <- function(formula, data, subset, na.action) {
  frame <- formula_frame(formula, data, "x", subset, na.action)
  warn_omitted(length(attr(frame, "na.action")), nrow(frame))
  terms <- attr(frame, "terms")
  check_columns(intersect(all.vars(terms), names(data)), names(data), "data")
  if (!is.null(attr(terms, "offset"))) abort_input("x", "a formula without offset()")
  if (!nrow(frame)) {
    abort_input(if (is.null(subset)) "data" else "subset", "such that rows are left", "no row")
  }
  predictors <- used_terms(stats::delete.response(terms))
  refuse_extraction(predictors, formula)
  columns <- term_matrix(predictors, frame, "x")
  if (!setequal(colnames(columns), all.vars(predictors))) {
    predictors <- lean_terms(predictors, data, formula)
    check_rowwise(predictors, data, formula)
  } else predictors <- NULL
  list(columns = columns, class = stats::model.response(frame), terms = predictors)
}

# The terms without the variables that the formula leaves out, as `sex` in `~ . - sex`. R keeps
# these among the variables.
used_terms <- function(terms) {
  factors <- attr(terms, "factors")
  used <- if (length(factors)) rowSums(factors) > 0 else TRUE
  if (all(used)) return(terms)
  kept <- attributes(terms)
  for (part in intersect(c("variables", "predvars"), names(kept))) {
    kept[[part]] <- kept[[part]][c(TRUE, used)]
  }
  kept$factors <- factors[used, , drop = FALSE]
  kept$dataClasses <- kept$dataClasses[used]
  terms <- stats::reformulate(kept$term.labels)
  attributes(terms) <- kept
  terms
}

# The names of the variables as columns of a model frame.
frame_names <- function(terms) {
  vapply(as.list(attr(terms, "variables"))[-1], function(variable) {
    paste(deparse(variable, width.cutoff = 500), collapse = " ")
  }, "")
}

# Of `iris$Sepal.Length` new data would have no column.
refuse_extraction <- function(terms, formula) {
  taken <- vapply(as.list(attr(terms, "variables"))[-1], function(variable) {
    is.call(variable) && deparse(variable[[1]]) %in% c("$", "[[", "[", "@")
  }, NA)
  if (any(taken)) {
    abort_input("x", "a formula of the names of columns, with `data`: class ~ x, data = table",
                toString(deparse(formula), 60))
  }
}

# A warning: complete cases are another population unless values are missing by chance.
warn_omitted <- function(omitted, left) {
  if (omitted) {
    warning(count_of(omitted, "row"), " of ", omitted + left, " with missing values left out: ",
            "the mixture is that of complete rows, and of all only if what is missing does not ",
            "depend on the values (missing completely at random)", call. = FALSE)
  }
}

# R's error about a formula that it cannot evaluate, as an error about the argument `arg`.
formula_frame <- function(formula, data, arg, subset = NULL, na.action = stats::na.pass) {
  wanted <- if (arg == "x") "a formula that can be evaluated in `data`" else {
    "such that the mixture's formula can be evaluated in it"
  }
  if_error(do.call(stats::model.frame, list(formula, data, subset = subset, na.action = na.action)),
           function(e) abort_input(arg, wanted, conditionMessage(e)))
}

# A column per variable, of numbers only: R would make dummy variables of a factor.
term_matrix <- function(terms, frame, arg) {
  kind <- vapply(frame[frame_names(terms)], function(x) {
    if (is.numeric(x)) "" else class(x)[1]
  }, "")
  other <- which(kind != "")
  if (length(other)) {
    what <- paste0(names(kind)[other], " (", kind[other], ")")
    abort_input(arg, paste("numeric in every variable; leave others out, or make numbers of them",
                           "that mean something, such as as.numeric(sex == \"f\")"),
                toString(what, 60))
  }
  columns <- stats::model.matrix(terms, frame)
  columns <- columns[, colnames(columns) != "(Intercept)", drop = FALSE]
  # a name that R quotes is that of a column
  quoted <- grepl("^`[^`]*`$", colnames(columns))
  colnames(columns)[quoted] <- gsub("`", "", colnames(columns)[quoted], fixed = TRUE)
  matrix(columns, nrow(frame), ncol(columns), dimnames = list(NULL, colnames(columns)))
}

# The variables of a mixture, for the rows of a data frame.
term_columns <- function(terms, data, arg) {
  check_columns(attr(terms, "needed"), names(data), arg)
  columns <- term_matrix(terms, formula_frame(terms, data, arg), arg)
  if (.row_names_info(data) > 0) rownames(columns) <- row.names(data)
  columns
}

# The terms in an environment of their own, with the constants and functions that they name. Its
# parent is the package or the workspace in which they were written. A value as long as the data is
# a variable, and must come with new data.
lean_terms <- function(terms, data, formula) {
  from <- environment(formula)
  home <- new.env(parent = topenv(from))
  # of the first variable, evaluated
  n <- NROW(eval(attr(terms, "variables")[[2]], data, from))
  needed <- character()
  for (name in unique(all.names(attr(terms, "predvars")))) {
    value <- if (!name %in% names(data)) written_value(name, from)
    if (name %in% names(data) || !is.null(value) && !is.function(value) && NROW(value) == n) {
      needed <- c(needed, name)
    } else if (!is.null(value)) {
      # the source text of a function would keep that of its whole file
      if (is.function(value) && !is.primitive(value)) value <- utils::removeSource(value)
      assign(name, value, home)
    }
  }
  structure(terms, .Environment = home, needed = intersect(all.vars(terms), needed))
}

# The value of a name where the formula was written, short of packages.
written_value <- function(name, env) {
  repeat {
    if (exists(name, env, inherits = FALSE)) return(get(name, env, inherits = FALSE))
    if (identical(env, topenv(env)) || identical(env, emptyenv())) return(NULL)
    env <- parent.env(env)
  }
}

# A variable that depends on other rows, such as x - mean(x), has no value for new data.
check_rowwise <- function(terms, data, formula) {
  needed <- attr(terms, "needed")
  table <- lapply(stats::setNames(nm = needed), function(name) {
    if (name %in% names(data)) data[[name]] else get(name, environment(formula))
  })
  if (!length(needed)) abort_input("x", "a formula with variables", "constants")
  table <- structure(table, class = "data.frame", row.names = seq_len(NROW(table[[1]])))
  table <- table[stats::complete.cases(table), , drop = FALSE]
  all <- term_columns(terms, table, "x")
  for (row in intersect(c(1, nrow(table)), seq_len(nrow(table)))) {
    alone <- term_columns(terms, table[row, , drop = FALSE], "x")
    same <- mapply(function(x, y) isTRUE(all.equal(x, y, tolerance = 1e-6)), alone, all[row, ])
    if (!all(same)) {
      abort_input("x", paste("a formula whose variables depend on one row each",
                             "(or use scale(x), poly(x))"),
                  paste0(colnames(all)[!same][1], ", which depends on other rows"))
    }
  }
}

#' Impute missing values from a mixture
#'
#' Fills the missing cells of a table by draws from their exact law given the observed cells of the
#' same row: multiple imputations, each a completed table. The rows are assumed to be independent
#' draws from the mixture, and the values missing at random.
#'
#' @details
#' Given the observed cells of a row, the missing cells follow a mixture ([condition()], without
#' noise). Its covariances are the same for all rows that miss the same variables, and are computed
#' once for each such pattern. Draws need no iterations and are independent of each other. Their
#' mean and standard deviation need no draws at all.
#'
#' **Extrapolation.** `rows` has, for each row with a missing cell, the probability that the same
#' variables of a draw from the mixture (given the class, if known) have a density as low as the
#' observed ones. For one Gaussian this is the chi-squared probability of the Mahalanobis distance,
#' exactly. For more components it comes from up to 10,000 draws whose distances are spread over all
#' tail probabilities down to 1e-14, with a relative error of some 3%. It is `NA` if the observed
#' values have no density. For data from the mixture these probabilities are uniform. `impute()`
#' warns (`mixguide_warning_unlikely`) if the smallest, or the number of those below 1e-4, is one
#' that a table of draws has once in 5,000 times; `print()` names the rows.
#'
#' The mixture is taken as known. To include the error of its estimation, use a mixture per
#' imputation, each fitted to a bootstrap sample, for example.
#'
#' **Other software.** The result is an `imputationList` as \pkg{mitools} makes it, so that its
#' `with()` and `MIcombine()` work, and `as.data.frame()` gives the long form (columns `.imp`, 0 for
#' the data as given, and `.id`) that \pkg{mice} reads: `pool(with(as.mids(as.data.frame(x)),
#' ...))`. Its `as.mids()` is no generic: given the imputations themselves it says that `.imp` is
#' not found. [mice.impute.gaussmix()] is a method for \pkg{mice} itself.
#'
#' @param mixture The law of a row: a [gaussmix()].
#' @param data A data frame or matrix with missing cells (`NA`). Its columns are matched to the
#'   variables of the mixture by name, in any order; other columns stay as they are. If the mixture
#'   has no names there must be d columns, in its order.
#' @param m The number of imputations; 0 for the means and standard deviations alone.
#' @param class The known classes of the rows: the name of a column of `data`, or a label per row;
#'   missing if unknown. `NULL`: all are unknown.
#' @param key `NULL`, to draw a key from R's generator if draws are needed, or two whole numbers
#'   that determine the imputations.
#' @return An object of classes `imputed` and `imputationList`, a list of
#'   * `imputations`: `m` tables like `data` (a tibble or a data.table stays one, a data.table
#'     without its key; a matrix becomes a data frame), without missing cells in the variables of
#'     the mixture;
#'   * `cells`: a data frame with a row per missing cell: `row`, `variable`, and the exact `mean`
#'     and `sd` of its law;
#'   * `patterns`: a data frame with a row per set of variables missing together: `missing` (their
#'     names) and `rows` (the number of rows);
#'   * `rows`: a data frame with a row per row of `data` with missing cells: `row`, `observed` (the
#'     number of observed variables) and `probability` (see Details);
#'   * `data`, `mixture`, `law` (the weights, means and standard deviations of each cell's mixture)
#'     and `call`.
#'
#'   `summary()` gives `cells` with the ends `lower` and `upper` of the equal-tailed interval of
#'   probability `level`, by exact quantiles. `as.data.frame()` is the long form.
#' @section Errors: Of class `mixguide_error`; of kind `mixguide_error_impossible` if no component
#'   can have made a row.
#' @source Liang, Ju, Liang and Shroff (2024), \doi{10.48550/arXiv.2410.13746}, for the setting; the
#'   formulas are those of [condition()].
#' @seealso [condition()] for one law, and for observations with noise.
#' @examples
#' complete <- na.omit(airquality[1:4])
#' complete$all <- 1
#' m <- as_gaussmix(complete, class = "all")
#' filled <- impute(m, airquality)
#' filled
#' head(summary(filled, level = .9))
#'
#' # a regression on each, pooled by Rubin's rules
#' fits <- lapply(filled$imputations, function(data) lm(Ozone ~ Wind + Temp, data))
#' estimate <- sapply(fits, coef)
#' within <- rowMeans(sapply(fits, function(fit) diag(vcov(fit))))
#' between <- apply(estimate, 1, var)
#' cbind(estimate = rowMeans(estimate), se = sqrt(within + (1 + 1/5) * between))
#' @export
impute <- function(mixture, data, m = 5, class = NULL, key = NULL) {
  check_mixture(mixture)
  key <- check_key(key)
  m <- check_count(m, "m")
  if (!is.data.frame(data) && !is.matrix(data)) {
    abort_input("data", "a data frame or a matrix", describe(data))
  }
  if (is.matrix(data)) data <- as.data.frame(plain_numbers(data))
  frame <- plain_numbers(data)
  columns <- imputed_columns(mixture, frame)
  # R reads a column of NA alone as logical; draws are not integers
  frame[columns] <- lapply(frame[columns], function(x) {
    if (anyNA(x) && (is.numeric(x) || all(is.na(x)))) storage.mode(x) <- "double"
    x
  })
  x <- frame_to_matrix(frame[columns], "data")
  check_infinite(x, "data", "finite or missing")
  x[is.nan(x)] <- NA
  prior <- known_classes(mixture, frame, class)
  missing <- is.na(x)
  touched <- colSums(missing) > 0
  # patterns in the order in which they appear
  some <- which(rowSums(missing) > 0)
  pattern <- vapply(some, function(i) paste(which(missing[i, ]), collapse = " "), "")
  groups <- split(some, factor(pattern, unique(pattern)))
  # the draws of a row do not depend on missing cells elsewhere
  drawn <- if (length(some)) seq_len(m)
  if (length(drawn)) key <- own_key(key)
  noise <- lapply(drawn, function(i) {
    keyed_noise(ncol(x) + 1, length(some), stream(key, "imputation", i))
  })
  parts <- lapply(groups, function(rows) {
    own <- match(rows, some)
    impute_rows(mixture, x, prior, rows, lapply(noise, function(z) z[own, , drop = FALSE]))
  })
  draws <- lapply(seq_len(m), function(i) {
    filled <- frame[columns]
    for (part in parts) {
      for (j in seq_along(part$variables)) {
        filled[[part$variables[j]]][part$rows] <- part$draws[, j, i]
      }
    }
    with_columns(data, columns[touched], filled[touched])
  })
  typical <- observed_tail(mixture, x, prior, groups)
  names <- names(frame)[columns]
  cells <- lapply(parts, function(part) {
    data.frame(row = rep(part$rows, length(part$variables)),
               variable = rep(names[part$variables], each = length(part$rows)),
               mean = as.vector(part$mean), sd = as.vector(part$sd))
  })
  cells <- do.call(rbind, c(list(data.frame(row = integer(), variable = character(),
                                            mean = double(), sd = double())), unname(cells)))
  law <- lapply(c(weights = "weights", means = "means", sds = "sds"), function(what) {
    do.call(rbind, c(list(matrix(0, 0, mixture_size(mixture))), lapply(unname(parts), `[[`, what)))
  })
  order <- order(cells$row, match(cells$variable, names))
  patterns <- data.frame(
    missing = vapply(parts, function(part) toString(names[part$variables]), ""),
    rows = vapply(parts, function(part) length(part$rows), 0L), row.names = NULL
  )
  result <- structure(list(imputations = draws,
                           cells = data.frame(cells[order, ], row.names = NULL),
                           patterns = patterns, rows = typical, data = frame, mixture = mixture,
                           law = lapply(law, function(x) x[order, , drop = FALSE]),
                           call = match.call()),
                      class = object_class(c("mixguide_imputed", "imputationList")))
  if (too_unlikely(typical)) {
    warning(warningCondition(unlikely_words(result), class = "mixguide_warning_unlikely",
                             call = user_call()))
  }
  result
}

# The data, of whatever class, with columns replaced.
with_columns <- function(data, columns, values) {
  own <- inherits(data, "data.table")
  # drop the key: imputed values need not follow its order
  if (own) data <- as.data.frame(data)
  data[columns] <- values
  own <- own && requireNamespace("data.table", quietly = TRUE)
  if (own) data.table::as.data.table(data) else data
}

# For each row with missing cells the probability that a draw of its observed variables has a
# density as low. NA if there is no density.
observed_tail <- function(mixture, x, prior, groups) {
  names <- seq_len(mixture_dim(mixture))
  probability <- rep(NA_real_, nrow(x))
  for (rows in groups) {
    seen <- names[!is.na(x[rows[1], ])]
    if (!length(seen)) {
      probability[rows] <- 1
      next
    }
    law <- marginal(mixture, seen)
    # rows by their known classes
    if (nrow(prior) > 1) {
      kind <- apply(prior[rows, , drop = FALSE] > -Inf, 1, function(x) paste(+x, collapse = ""))
    } else kind <- rep("", length(rows))
    for (mine in split(rows, kind)) {
      law$weights <- exp(prior[min(mine[1], nrow(prior)), ])
      law$weights <- law$weights / sum(law$weights)
      if (!is_singular(law)) {
        probability[mine] <- density_tail(law, x[mine, seen, drop = FALSE])
      }
    }
  }
  rows <- sort(as.integer(unlist(groups)))
  data.frame(row = rows, observed = as.integer(rowSums(!is.na(x[rows, , drop = FALSE]))),
             probability = probability[rows])
}

# P(p(X) <= p(x)) for X from the mixture. For one Gaussian it is a chi-squared probability, exactly.
# For more components it comes from draws of X, spread over the tail probability of their distance
# from the component's mean and over its logarithm, and weighted accordingly: tails down to 1e-13
# are covered as well as the middle. The draws are fixed nodes of a quadrature: a row's probability
# depends on no key.
density_tail <- function(law, x) {
  at <- dgaussmix(unname(x), law, log = TRUE)
  d <- mixture_dim(law)
  used <- which(law$weights > 0)
  if (length(used) == 1) {
    top <- dgaussmix(unname(law$means[used, , drop = FALSE]), law, log = TRUE)
    return(stats::pchisq(2 * pmax(top - at, 0), d, lower.tail = FALSE))
  }
  n <- 2 * round(max(1000, min(5000, 2e6 / length(used))))
  z <- keyed_noise(d, n, c(1, 0))
  # the golden ratio spreads the components over each range of distances
  component <- findInterval((seq_len(n) * (sqrt(5) - 1) / 2) %% 1, cumsum(law$weights)) + 1
  component <- pmin(component, max(used))
  # half of the tail probabilities are uniform, half log-uniform
  reach <- log(1e14)
  half <- (seq_len(n / 2) - .5) / (n / 2)
  tail <- as.vector(rbind(half, exp(-reach * half)))
  mass <- 2 / (1 + 1 / (tail * reach))
  radius <- sqrt(stats::qchisq(tail, d, lower.tail = FALSE))
  drawn <- dgaussmix(unname(place_draws(law, component, z / sqrt(rowSums(z^2)) * radius)), law,
                     log = TRUE)
  order <- order(drawn)
  mass <- cumsum(mass[order])
  c(0, mass / mass[n])[findInterval(at, drawn[order]) + 1]
}

# Rows so unlikely that a table of draws from the mixture has them once in 5,000 times: one that is
# too far out, or too many below UNLIKELY.
UNLIKELY <- 1e-4

too_unlikely <- function(rows) {
  p <- rows$probability[!is.na(rows$probability)]
  n <- length(p)
  n > 0 && (min(p) * n < UNLIKELY ||
    stats::pbinom(sum(p < UNLIKELY) - 1, n, UNLIKELY, lower.tail = FALSE) < UNLIKELY)
}

unlikely_words <- function(x) {
  far <- x$rows[which(x$rows$probability < UNLIKELY), ]
  far <- far[order(far$probability), ]
  paste0("what is observed of ", count_of(nrow(far), "row"), " (",
         toString(far$row[seq_len(min(nrow(far), 6))]), if (nrow(far) > 6) ", ...",
         ") is too unlikely under the mixture (the probability of a density as low is ",
         if (far$probability[1] < 1e-14) "below 1e-14" else format(far$probability[1], digits = 1),
         "), and what is imputed there extrapolates: see `rows`")
}

# The columns of the data that are the variables of the mixture.
imputed_columns <- function(mixture, data) {
  names <- variable_names(mixture)
  if (is.null(names)) {
    if (ncol(data) != mixture_dim(mixture)) {
      abort_input("data", paste("a table with", count_of(mixture_dim(mixture), "column")),
                  paste(ncol(data)))
    }
    return(seq_along(data))
  }
  check_columns(names, names(data), "data")
  match(names, names(data))
}

# The log-weights of the components before a row is read: n x K, or 1 x K.
known_classes <- function(mixture, data, class) {
  prior <- t(log_weights(mixture))
  if (is.null(class)) return(prior)
  if (is.character(class) && length(class) == 1 && class %in% names(data)) class <- data[[class]]
  if (!is.atomic(class) || length(class) != nrow(data)) {
    abort_input("class", "the name of a column or a label per row", describe(class))
  }
  known <- which(!is.na(class))
  class_components(mixture, unique(class[known]))
  prior <- prior[rep(1, nrow(data)), , drop = FALSE]
  prior[known, ][outer(label_text(class)[known], mixture$class, `!=`)] <- -Inf
  prior
}

# Rows that miss the same variables: draws (rows x variables x m), and for each cell its mixture,
# its mean and its sd, with the rows of one variable after those of another. `noise`: for each of m
# imputations normals (rows x (d + 1)), the last of which choose components.
impute_rows <- function(mixture, x, prior, rows, noise) {
  gone <- is.na(x[rows[1], ])
  K <- mixture_size(mixture)
  n <- length(rows)
  given <- conditional_parts(mixture, diag(1, length(gone))[!gone, , drop = FALSE],
                             matrix(0, sum(!gone), 0), gone)
  if (nrow(prior) > 1) prior <- prior[rows, , drop = FALSE]
  at <- condition_rows(given, x[rows, !gone, drop = FALSE], prior, "data", rows)
  roots <- lapply(given$parts, function(part) symmetric_root(part$root))[rep_len(
    seq_along(given$parts), K)]
  draws <- array(0, c(n, sum(gone), length(noise)))
  for (i in seq_along(noise)) {
    u <- stats::pnorm(noise[[i]][, length(gone) + 1])
    component <- max.col(cumulate_rows(at$weights) > u, "first")
    for (k in unique(component)) {
      mine <- which(component == k)
      z <- noise[[i]][mine, which(gone), drop = FALSE]
      draws[mine, , i] <- at$means[mine, k, ] + tcrossprod(z, roots[[k]])
    }
  }
  variances <- vapply(roots, function(root) rowSums(root^2), double(sum(gone)))
  variances <- matrix(variances, sum(gone))
  each <- rep(seq_len(n), sum(gone))
  weights <- at$weights[each, , drop = FALSE]
  means <- matrix(aperm(at$means, c(1, 3, 2)), n * sum(gone))
  variances <- variances[rep(seq_len(sum(gone)), each = n), , drop = FALSE]
  mean <- rowSums(weights * means)
  list(rows = rows, variables = which(gone), draws = draws, weights = weights, means = means,
       sds = sqrt(variances), mean = mean,
       sd = sqrt(rowSums(weights * (variances + (means - mean)^2))))
}

# D R^(1/2) for a root of D R D, with correlations R: its draws are the same for every root and in
# any units.
symmetric_root <- function(root) {
  sd <- sqrt(rowSums(root^2))
  whole <- svd(root / pmax(sd, .Machine$double.xmin), nv = 0)
  sd * tcrossprod(whole$u * rep(whole$d, each = length(sd)), whole$u)
}

cumulate_rows <- function(x) {
  for (k in seq_len(ncol(x))[-1]) x[, k] <- x[, k] + x[, k - 1]
  x / x[, ncol(x)]
}

#' @rdname impute
#' @param x,object A result of `impute()`.
#' @param level The probability of the intervals.
#' @param row.names,optional Not used.
#' @param ... Must be empty.
#' @export
summary.mixguide_imputed <- function(object, level = .95, ...) {
  check_dots(...)
  level <- check_number(level, "level", min = 0, max = 1, open = TRUE)
  cbind(object$cells, lower = law_quantiles(object$law, (1 - level) / 2),
        upper = law_quantiles(object$law, (1 + level) / 2))
}

# The p-quantiles of many mixtures in one dimension, a row each, by bisection.
law_quantiles <- function(law, p) {
  there <- law$weights > 0
  ends <- law$means + stats::qnorm(p) * law$sds
  low <- -row_max(ifelse(there, -ends, -Inf))
  high <- row_max(ifelse(there, ends, -Inf))
  for (i in 1:60) {
    middle <- (low + high) / 2
    below <- rowSums(law$weights * stats::pnorm(middle, law$means, law$sds)) < p
    low[below] <- middle[below]
    high[!below] <- middle[!below]
  }
  high
}

in_words.mixguide_imputed <- function(x) {
  paste0(count_of(length(x$imputations), "imputation"), " of ",
         count_of(nrow(x$cells), "missing cell"), " in ", length(unique(x$cells$row)), " of ",
         count_of(nrow(x$data), "row"), " (exact draws)")
}

# Registered, because the class is also one of another package.
#' @export
print.mixguide_imputed <- function(x, digits = 3, ...) {
  print.mixguide_object(x, digits = digits, ...)
}

print_body.mixguide_imputed <- function(x, digits, ...) {
  if (nrow(x$cells)) {
    variables <- unique(x$cells$variable[order(match(x$cells$variable, names(x$data)))])
    table <- do.call(rbind, lapply(variables, function(variable) {
      cells <- x$cells[x$cells$variable == variable, ]
      observed <- x$data[[variable]]
      data.frame(variable = variable, missing = nrow(cells),
                 observed_mean = if (all(is.na(observed))) NA_real_ else {
                   mean(observed, na.rm = TRUE)
                 },
                 imputed_mean = mean(cells$mean),
                 cell_sd = sqrt(mean(cells$sd^2)))
    }))
    print_rows(table, digits)
  }
  if (any(x$rows$probability < UNLIKELY, na.rm = TRUE)) {
    say(unlikely_words(x), exdent = 2)
  }
}

#' @rdname impute
#' @export
as.data.frame.mixguide_imputed <- function(x, row.names = NULL, optional = FALSE, ...) {
  check_dots(..., also = frame_dots)
  tables <- c(list(x$data), x$imputations)
  do.call(rbind, lapply(seq_along(tables), function(i) {
    data.frame(.imp = rep(i - 1L, nrow(x$data)), .id = seq_len(nrow(x$data)), tables[[i]],
               check.names = FALSE, row.names = NULL)
  }))
}

picture.mixguide_imputed <- function(object, ...) {
  long <- as.data.frame(object)
  variables <- unique(object$cells$variable)
  if (!length(variables)) abort_input("object", "imputations of something", "no missing cell")
  if (!length(object$imputations)) abort_input("object", "made with `m` > 0", "no imputation")
  values <- do.call(rbind, lapply(variables, function(variable) {
    gone <- rep(is.na(object$data[[variable]]), length.out = nrow(long))
    shown <- (long$.imp == 0) != gone
    data.frame(variable = variable, value = long[[variable]][shown], .imp = long$.imp[shown],
               what = ifelse(long$.imp[shown] == 0, "observed", "imputed"))
  }))
  values$variable <- factor(values$variable, variables)
  values$what <- factor(values$what, c("observed", "imputed"))
  # a curve through a few values has no meaning
  many <- stats::ave(values$value, values$variable, values$.imp, FUN = length) >= 5
  ggplot(values, aes(.data$value, colour = .data$what, group = .data$.imp)) +
    geom_line(data = values[many, ], stat = "density") +
    geom_rug(data = values[values$.imp > 0, ], alpha = .5, show.legend = FALSE) +
    facet_wrap(vars(.data$variable), scales = "free") +
    scale_colour_manual(values = class_palette(2), name = NULL) +
    finish("Observed values, and those imputed",
           paste0(count_of(length(object$imputations), "imputation"), " of ",
                  count_of(nrow(object$cells), "missing cell"), ": a line each, and ticks"),
           x = NULL, y = "density")
}

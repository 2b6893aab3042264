#' Tidy tables, by the generics of broom
#'
#' Methods for the generics of package \pkg{generics}, with the column names of \pkg{broom}. They
#' return plain data frames.
#'
#' @param x A [gaussmix()] or a [guided_sample()]; for tables of results see [mixguide_table].
#' @param data Points to classify: a data frame or matrix as `x` of [dgaussmix()].
#' @param ... Must be empty.
#' @return
#' * `tidy()` of a mixture: a row per component with `component`, `class`, `proportion`, `variance`
#'   (isotropic covariances; otherwise `variance.*` for each variable) and `mean.*`. Of a sample: a
#'   row per variable with `term`, `estimate` (its mean), `std.error` and `sd`.
#' * `glance()`: one row. Of a mixture its `form`, the numbers of components, classes and variables
#'   and, `NA` unless it is a fit, `logLik`, `AIC`, `BIC` (smaller is better, unlike mclust's), `df`
#'   and `nobs`. Of a sample: its experiment, confidence and entropy, with standard errors.
#' * `augment()` of a mixture: `data` with `.class`, the most probable class, and `.uncertainty`,
#'   the probability of the others, as broom has it for fits by mclust; and by the names of
#'   tidymodels `.pred_class` and the probability `.pred_<label>` of each class. A tibble or a
#'   data.table stays one, and rows with missing cells are classified by the others. Of a sample:
#'   [as.data.frame()] with `.class` and `.uncertainty`.
#' @examples
#' mixture <- as_gaussmix(Species ~ ., iris)
#' tidy(mixture)
#' glance(mixture)
#' head(augment(mixture, iris))
#'
#' run <- guided_sample(mixture, 200, guidance("virginica", 1), sampler_ddim(50))
#' tidy(run)
#' glance(run)
#' @name tidy.gaussmix
NULL

#' @rdname tidy.gaussmix
#' @export
tidy.gaussmix <- function(x, ...) {
  check_dots(...)
  table <- as.data.frame(x)
  means <- table[startsWith(names(table), "mean.")]
  variances <- if (endsWith(x$form, "isotropic")) {
    data.frame(variance = rep_len(x$values[1, ], nrow(table)))
  } else table[startsWith(names(table), "sd.")]^2
  names(variances) <- sub("sd", "variance", names(variances), fixed = TRUE)
  if (ncol(means) == 1) names(means) <- "mean"
  cbind(table[c("component", "class")], proportion = x$weights, variances, means)
}

#' @rdname tidy.gaussmix
#' @export
glance.gaussmix <- function(x, ...) {
  check_dots(...)
  of_fit <- function(value) if (is.null(x$fit)) NA_real_ else value
  data.frame(form = x$form, components = mixture_size(x), classes = length(mixture_classes(x)),
             variables = mixture_dim(x), logLik = of_fit(as.numeric(stats::logLik(x))),
             AIC = of_fit(stats::AIC(x)), BIC = of_fit(stats::BIC(x)), df = of_fit(x$fit$df),
             nobs = of_fit(x$fit$nobs))
}

#' @rdname tidy.gaussmix
#' @export
augment.gaussmix <- function(x, data, ...) {
  check_dots(...)
  if (missing(data)) abort_input("data", "given: the points to classify")
  probability <- observed_posterior(x, data, "data")
  added <- cbind(classified(probability, x), pred_columns(probability, x))
  with_columns(if (is.data.frame(data)) data else as.data.frame(data), names(added), added)
}

# The probabilities of classes by the names of tidymodels.
pred_columns <- function(probability, mixture) {
  each <- stats::setNames(as.data.frame(probability), paste0(".pred_", colnames(probability)))
  data.frame(.pred_class = classified(probability, mixture)$.class, each, check.names = FALSE)
}

#' @rdname tidy.gaussmix
#' @export
glance.guided_sample <- function(x, ...) {
  check_dots(...)
  confidence <- if (is.null(x$confidence)) unknown_row() else confidence(x)
  entropy <- if (is.null(x$log_density)) unknown_row() else entropy(x)
  guided <- !is.null(x$guidance)
  data.frame(n = nrow(x$x), variables = ncol(x$x),
             class = if (guided) paste(x$guidance$class, collapse = " or ") else NA_character_,
             strength = if (guided) x$guidance$label else NA_character_,
             sampler = format(x$sampler), schedule = format(x$schedule), horizon = x$horizon,
             confidence = confidence$estimate, confidence_se = confidence$se,
             entropy = entropy$estimate, entropy_se = entropy$se,
             folded = if (is.null(x$folded)) NA_real_ else mean(x$folded))
}

#' @rdname tidy.gaussmix
#' @export
augment.guided_sample <- function(x, ...) {
  check_dots(...)
  table <- as.data.frame(x)
  if (inherits(x$mixture, "score_model") && is.null(x$mixture$classifier)) return(table)
  cbind(table, classified(sample_posterior(x), x$mixture))
}

classified <- function(probability, mixture) {
  best <- max.col(probability, "first")
  classes <- colnames(probability)
  data.frame(.class = factor(classes[best], classes, ordered = isTRUE(mixture$ordered)),
             .uncertainty = 1 - probability[cbind(seq_along(best), best)])
}

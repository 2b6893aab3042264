#' Runs as draws of package posterior
#'
#' `as_draws()` of package \pkg{posterior}, and functions that use it, accept results of
#' [guided_sample()], [conditional_sample()] and [tilted_sample()]: a row per particle, a column per
#' variable of the mixture. The weights of a tilted sample become weights of the draws. They form
#' one chain without an order, so convergence diagnostics have no meaning.
#'
#' @param x A run that has points.
#' @param ... Must be empty.
#' @return A `draws_matrix`.
#' @section Errors: Of class `mixguide_error`.
#' @examplesIf requireNamespace("posterior", quietly = TRUE)
#' m <- as_gaussmix(Species ~ ., iris)
#' run <- guided_sample(m, 500, guidance("virginica", 1), sampler_ddim(50))
#' posterior::summarise_draws(posterior::as_draws(run), "mean", "sd", "quantile2")
#' @name as_draws.mixguide_object
#' @exportS3Method posterior::as_draws
as_draws.mixguide_object <- function(x, ...) {
  check_dots(...)
  points <- as.matrix(x)
  colnames(points) <- variable_labels(x$mixture)
  draws <- posterior::as_draws_matrix(points)
  if (is.null(x$tilt)) draws else posterior::weight_draws(draws, x$weights)
}

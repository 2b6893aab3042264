#' Where guided particles end, against strength
#'
#' The density of one variable of the output for each of many strengths, with the confidence below:
#' how a class contracts under guidance and, beyond what the steps can bear, splits.
#'
#' @details All strengths meet the same noise. For d = 1 and a deterministic sampler the starts are
#'   the nodes of a quadrature (see [guidance_sweep()]), otherwise particles.
#'
#' @inheritParams strength_limit
#' @param strength Numbers, in increasing order.
#' @param variable Name or number of the variable to show.
#' @param bins Number of bins.
#' @param limits `NULL`, or the ends of the bins: the default spans all but the outer 0.1% on either
#'   side, over all strengths.
#' @return An object of class `bifurcation`: a list with `density`, a matrix (bins x strengths) of the
#'   probability of each bin over its width; `edges` of the bins; `path`, a data frame with
#'   `strength`, `confidence`, `confidence_se`, `mean`, `sd`; `method`; and what made it.
#'   `as.data.frame()` gives the path.
#' @section Errors: of class `mixguide_error`.
#' @source Phenomenon: Wu, Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639}.
#' @examples
#' split <- bifurcation(named_mixture("D3"), "1", seq(0, 20, 1), sampler_em(50, "uniform"),
#'                      horizon = 5, n = 500)
#' split
#' plot(split)
#' @export
bifurcation <- function(mixture, class, strength = seq(0, 20, .5), sampler = sampler_ddim(),
                        schedule = schedule_ou(), horizon = NULL, start = c("normal", "exact"),
                        shape = NULL, n = 4000, variable = 1, bins = 160, limits = NULL, key = NULL,
                        reduce = TRUE) {
  check_mixture(mixture)
  check_sampler(sampler)
  strength <- check_strengths(strength)
  if (is.unsorted(strength, strictly = TRUE)) {
    abort_input("strength", "increasing numbers", describe(strength))
  }
  label <- variable_labels(marginal(mixture, variable))
  if (length(label) != 1) abort_input("variable", "one variable", describe(variable))
  column <- if (is.character(variable)) match(variable, variable_names(mixture)) else variable
  bins <- check_count(bins, "bins", min = 2)
  key <- if (is.null(key)) draw_key() else check_key(key)
  times <- sampler_times(sampler, check_schedule(schedule), horizon)
  begin <- sweep_start(start, NULL, mixture, check_count(n, "n", 2), sampler, schedule, times[1])
  runs <- lapply(strength, function(eta) {
    eta_of <- if (is.null(shape)) eta else function(t) eta * shape(t)
    run <- guided_sample(mixture, n, guidance(class, eta_of), sampler, schedule, times[1],
                         begin$start, log_density = "none", key = key, reduce = reduce)
    list(x = run$x[, column], confidence = run$confidence)
  })
  weights <- begin$weights
  if (is.null(weights)) weights <- rep(1 / length(runs[[1]]$x), length(runs[[1]]$x))
  limits <- if (is.null(limits)) end_limits(runs, weights) else check_range(limits, 1)
  edges <- seq(limits[1], limits[2], length.out = bins + 1)
  density <- vapply(runs, function(run) {
    bin <- findInterval(run$x, edges, rightmost.closed = TRUE)
    bin[is.na(bin)] <- 0
    held <- rowsum(c(weights, double(bins)), c(bin, seq_len(bins)))
    held[as.character(seq_len(bins)), 1] / diff(edges)
  }, double(bins))
  path <- do.call(rbind, Map(function(eta, run) {
    confidence <- sample_mean(run$confidence, begin$weights)
    mean <- sum(weights * run$x)
    data.frame(strength = eta, confidence = confidence$estimate, confidence_se = confidence$se,
               mean = mean, sd = sqrt(sum(weights * (run$x - mean)^2)))
  }, strength, runs))
  structure(list(density = density, edges = edges, path = path,
                 method = if (is.null(begin$weights)) "Monte Carlo" else "quadrature",
                 variable = label, mixture = mixture, class = as.character(class),
                 sampler = sampler, schedule = schedule, horizon = times[1],
                 n = length(weights), key = key), class = "bifurcation")
}

# All but the outer 0.1% on either side, of every strength.
end_limits <- function(runs, weights) {
  ends <- vapply(runs, function(run) {
    sorted <- order(run$x)
    held <- cumsum(weights[sorted])
    run$x[sorted[c(which(held > .001)[1], which(held >= .999)[1])]]
  }, double(2))
  limits <- range(ends[is.finite(ends)])
  limits + c(-1, 1) * max(.05 * diff(limits), 1e-8)
}

#' @export
print.bifurcation <- function(x, digits = 4, ...) {
  cat("<bifurcation> of ", x$variable, ", towards ", paste(x$class, collapse = " or "), ", ",
      if (x$method == "quadrature") "by quadrature over " else "", x$n,
      if (x$method == "quadrature") " starts" else " coupled particles", "\n  ",
      format(x$sampler), "; ", format(x$schedule), ", from t = ", format(x$horizon), "\n", sep = "")
  print(every_row(x$path, 12), digits = digits, row.names = FALSE)
  invisible(x)
}

# At most `max` rows, evenly spread.
every_row <- function(table, max) {
  table[unique(round(seq(1, nrow(table), length.out = min(max, nrow(table))))), ]
}

#' @export
as.data.frame.bifurcation <- function(x, ...) x$path

#' @rdname bifurcation
#' @param x,object A `bifurcation`.
#' @param ... Not used.
#' @export
autoplot.bifurcation <- function(object, ...) {
  path <- object$path
  strength <- path$strength
  half <- if (length(strength) > 1) diff(strength) / 2 else .5
  left <- strength - half[c(1, seq_along(half))][seq_along(strength)]
  right <- strength + half[c(seq_along(half), length(half))][seq_along(strength)]
  peak <- pmax(apply(object$density, 2, max), .Machine$double.xmin)
  bins <- nrow(object$density)
  panels <- factor(c(object$variable, "confidence"), c(object$variable, "confidence"))
  cells <- data.frame(xmin = rep(left, each = bins), xmax = rep(right, each = bins),
                      ymin = object$edges[-(bins + 1)], ymax = object$edges[-1],
                      shade = as.vector(sqrt(sweep(object$density, 2, peak, "/"))),
                      panel = panels[1])
  path$panel <- panels[2]
  ggplot() +
    geom_rect(aes(xmin = .data$xmin, xmax = .data$xmax, ymin = .data$ymin, ymax = .data$ymax,
                  fill = .data$shade), cells[cells$shade > 0, ]) +
    geom_line(aes(.data$strength, .data$confidence), path, colour = ink) +
    geom_ribbon(aes(.data$strength, ymin = .data$confidence - 2 * .data$confidence_se,
                    ymax = .data$confidence + 2 * .data$confidence_se), path, alpha = .25) +
    geom_blank(aes(y = .data$y), data.frame(y = 0:1, panel = panels[2])) +
    scale_fill_gradient(low = "white", high = class_palette(1), guide = "none") +
    facet_wrap(vars(.data$panel), ncol = 1, scales = "free_y") +
    labs(x = "strength of guidance", y = NULL) + look() +
    words(paste("Where particles guided towards", aim_words(object$class), "end"),
          c(format(object$sampler), format(object$schedule)),
          "Shading: root of the density, relative to its maximum at each strength")
}

#' @rdname bifurcation
#' @export
plot.bifurcation <- function(x, ...) show_plot(x, ...)

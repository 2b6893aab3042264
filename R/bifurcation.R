#' Where guided particles end, against strength
#'
#' The density of one variable of the output for each of many strengths, and the confidence. A class
#' contracts under guidance and, with too few steps for the strength, splits.
#'
#' @details For d = 1 there are no random numbers: the output of a deterministic sampler comes from
#'   the nodes of a quadrature (see [guidance_sweep()]), the density of a stochastic one from
#'   [guided_law()]. Otherwise particles meet the same noise under all strengths.
#'
#' @inheritParams guidance_sweep
#' @param guidance A class or several, or a [guidance()]. A strength that is a function of time is
#'   multiplied by each of the strengths.
#' @param sampler A [sampler()]; `NULL` for that of the diffusion.
#' @param strength Numbers, in increasing order.
#' @param variable Name or number of the variable to show.
#' @param bins Number of bins.
#' @param limits `NULL`, or the ends of the bins: the default spans all but the outer 0.1% on either
#'   side, over all strengths.
#' @param ... Further arguments of [diffusion()] that follow the mixture there.
#' @return An object of class `mixguide_bifurcation`: a list with `density`, a matrix (bins x
#'   strengths) of the probability of each bin over its width; `edges` of the bins; `path`, a data
#'   frame with `strength`, `confidence`, `confidence_se`, `mean`, `sd`; `method`; and the arguments
#'   of the run. `as.data.frame()` gives the path.
#' @source Phenomenon: Wu, Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639}.
#' @examples
#' split <- bifurcation(named_mixture("D3"), "1", seq(0, 20, 2),
#'                      sampler = sampler_em(50, "uniform"),
#'                      horizon = 5, bins = 60)
#' split
#' plot(split)
#' @export
bifurcation <- function(mixture, guidance = NULL, strength = seq(0, 20, .5), n = 1e4,
                        sampler = NULL, ..., variable = 1, bins = 160, limits = NULL,
                        exact = NULL, reduce = TRUE) {
  d <- as_diffusion(mixture, ..., own = list(guidance = guidance, sampler = sampler),
                    without = "score_error")
  mixture <- d$mixture
  start <- d$start
  strength <- check_strengths(strength)
  if (is.unsorted(strength, strictly = TRUE)) {
    abort_input("strength", "increasing numbers", describe(strength))
  }
  known <- c(variable_names(mixture), seq_len(mixture_dim(mixture)))
  if (length(variable) != 1 || !variable %in% known) {
    abort_input("variable", paste("one of", toString(known, 200)),
                if (is_text(variable)) unknown_names(variable, known) else describe(variable))
  }
  column <- if (is.character(variable)) match(variable, variable_names(mixture)) else variable
  bins <- check_count(bins, "bins", min = 2)
  n <- check_particles(n, min = 2)
  if (is.matrix(start) && nrow(start) < 2) {
    abort_input("start", "two points at least", count_of(nrow(start), "row"))
  }
  limits <- check_range(limits, 1, "limits")
  tried <- strength_runs(d, n, exact, reduce)
  by_law <- tried$exact == "law"
  if (by_law && mixture_dim(mixture) > 1) abort_input("exact", "FALSE for more than one dimension")
  runs <- lapply(strength, function(eta) {
    run <- tried$at(eta)
    weights <- if (by_law) run$weights else tried$weights
    list(x = run$x[, column], smooth = by_law && d$sampler$stochastic,
         weights = if (is.null(weights)) rep(1 / nrow(run$x), nrow(run$x)) else weights,
         confidence = if (by_law) confidence(run) else sample_mean(run$confidence, weights))
  })
  if (is.null(limits)) limits <- end_limits(runs)
  edges <- seq(limits[1], limits[2], length.out = bins + 1)
  density <- vapply(runs, binned_density, double(bins), edges)
  path <- do.call(rbind, Map(function(eta, run) {
    mean <- sum(run$weights * run$x)
    data.frame(strength = eta, confidence = run$confidence$estimate,
               confidence_se = run$confidence$se, mean = mean,
               sd = sqrt(sum(run$weights * (run$x - mean)^2)))
  }, strength, runs))
  structure(list(density = density, edges = edges, path = path,
                 method = if (tried$exact == "particles") "Monte Carlo" else "quadrature",
                 variable = variable_labels(mixture)[column], mixture = mixture,
                 class = d$guidance$class, sampler = d$sampler, schedule = d$schedule,
                 horizon = d$horizon, start = start_words(d$start),
                 n = if (!by_law) length(runs[[1]]$x), key = tried$key, faults = tried$faults),
            class = object_class("mixguide_bifurcation"))
}

# The probability of each bin over its width: a histogram, or differences of the distribution
# function between nodes on a grid.
binned_density <- function(run, edges) {
  bins <- length(edges) - 1
  if (run$smooth) {
    below <- stats::splinefun(run$x, cumsum(run$weights) - run$weights / 2, "monoH.FC")
    return(pmax(diff(below(pmin(pmax(edges, min(run$x)), max(run$x)))), 0) / diff(edges))
  }
  bin <- findInterval(run$x, edges, rightmost.closed = TRUE)
  bin[is.na(bin)] <- 0
  held <- rowsum(c(run$weights, double(bins)), c(bin, seq_len(bins)))
  held[as.character(seq_len(bins)), 1] / diff(edges)
}

# All but the outer 0.1% on either side, of every strength.
end_limits <- function(runs) {
  ends <- vapply(runs, function(run) {
    sorted <- order(run$x)
    held <- cumsum(run$weights[sorted])
    run$x[sorted[c(which(held > .001)[1], which(held >= .999)[1])]]
  }, double(2))
  limits <- range(ends[is.finite(ends)])
  limits + c(-1, 1) * max(.05 * diff(limits), 1e-8)
}

in_words.mixguide_bifurcation <- function(x) {
  paste0("of ", x$variable, ", towards ", aim_words(x$class), ", ",
         if (is.null(x$n)) "exact law" else if (x$method == "quadrature") {
           paste("by quadrature over", x$n, "starts")
         } else paste(x$n, "coupled particles"))
}

print_body.mixguide_bifurcation <- function(x, digits = 4, ...) {
  say(process_lines(x, "guidance"))
  path <- x$path
  path$mean <- mean_to_show(path$mean, path$sd)
  path$method <- x$method
  print_rows(table_words(path, digits), digits, 12)
}

picture.mixguide_bifurcation <- function(object, ...) {
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
                  fill = .data$shade), cells[cells$shade > .01, ]) +
    geom_line(aes(.data$strength, .data$confidence), path, colour = ink) +
    geom_ribbon(aes(.data$strength, ymin = .data$confidence - 2 * .data$confidence_se,
                    ymax = .data$confidence + 2 * .data$confidence_se), path, alpha = .25) +
    geom_blank(aes(y = .data$y), data.frame(y = 0:1, panel = panels[2])) +
    scale_fill_gradient(low = "white", high = class_palette(1), guide = "none") +
    facet_wrap(vars(.data$panel), ncol = 1, scales = "free_y") +
    finish(paste("Where particles guided towards", aim_words(object$class), "end"),
           c(format(object$sampler), schedule_words(object)),
           c("Shading: root of the density, relative to its maximum at each strength",
             fault_words(object$faults)), x = "strength of guidance", y = NULL)
}

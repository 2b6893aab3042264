#' Judge samplers by the exact law
#'
#' A table of the distances of samples from the mixture that they should come from: sliced
#' Wasserstein distance beside its floor, means, spread, calibration of the observation, coverage of
#' credible intervals and, in one or two dimensions, the Kullback-Leibler divergence and total
#' variation. Given a mixture and an observation it runs [zero_shot] methods and judges them.
#'
#' @details
#' The last row judges independent exact draws, as many as the largest sample: its values are due to
#' chance alone. All columns are in the coordinates of the target's process (see [standardise()]):
#' the variables of a mixture from data have equal weight, and the rows of `H` have length 1.
#'
#' | column | meaning | right value |
#' |---|---|---|
#' | `sw2` | [sliced_wasserstein()] distance to exact draws, as many as in the largest | `floor` |
#' | `floor` | the same for as many exact draws as the sample has (5 such samples) | |
#' | `mean_error` | Euclidean distance of the mean from the exact one | about its `se` |
#' | `spread` | root of the ratio of total variances, sample over exact | 1 |
#' | `residual` | `E abs(y - H x)^2`, if there is an observation (*) | `residual_exact` |
#' | `coverage` | exact probability of the sample's central intervals, over variables | `level` |
#' | `kl_reverse`, `total_variation` | distances of the sample from the exact law, on cells | 0 |
#' | `distance` | as `sw2`, by `p` and `maximum`, if they are not the default | `distance_floor` |
#'
#' (*) of a mixture with standardised variables (see [standardise()]) in these, with each row of `H`
#' divided by its length there, so that units do not matter. The print of a [conditional_sample()]
#' has the same in the units of the observation.
#'
#' **Coverage** is for a user who takes the sample as the posterior: the probability, under the
#' exact law, of the interval between the sample's quantiles. Its standard error comes from the
#' jackknife over 20 groups of draws.
#'
#' **Cells.** The Rosenblatt transform makes the exact law uniform on the unit interval or square,
#' which is cut into `cells` cells of equal probability (a square number of them in the plane). The
#' shares of the draws are compared with equal shares. The divergence `KL(sample || exact law)`,
#' called `kl_reverse` as everywhere in this package (`kl` is that of the target from the output),
#' and the total variation are lower bounds for those of the laws (data processing), plus an effect
#' of chance: about `(cells - 1)/(2 n)` is subtracted from the first; the last row has the second
#' for exact draws. There is no density estimate: for a nearly singular law it would be wrong.
#'
#' @param samples Draws: an n x d matrix or data frame, a [conditional_sample()] or a
#'   [guided_sample()]; or a named list of these. Or the law of `x` before the observation, a
#'   [gaussmix()] or [diffusion()]: then `methods` draw from it, given `observation`.
#' @param target The exact law, a [gaussmix()]; `NULL` for zero-shot samples: the exact conditional
#'   law at the end time of the first sample.
#' @param observation `NULL`, or the [observation()] for the column `residual`; taken from zero-shot
#'   samples.
#' @param level Probability of the credible intervals.
#' @param directions Number of directions of the sliced Wasserstein distance.
#' @param p,maximum Order of a further Wasserstein distance, and whether to take the largest over
#'   the directions, see [sliced_wasserstein()]. Values other than the defaults add columns
#'   `distance`, `distance_se` and `distance_floor`, which `print()` and `plot()` then use.
#' @param cells Number of cells, at least 4.
#' @param key `NULL`, to draw a key from R's generator, or two whole numbers that determine the
#'   exact draws, the directions and, for a mixture, the runs.
#' @param methods For a mixture: a list of [zero_shot] methods; names, if any, are shown.
#'   `NULL`: all of them with their default settings, and 32 particles.
#' @param n For a mixture: the number of draws, one for all or one per method.
#' @param ... For a mixture: `schedule`, `sampler` and `horizon` of [conditional_sample()].
#' @return A data frame of class `sampler_judgement` with a row per sample and one of exact draws,
#'   and columns `sampler`, `n` and those above, each with a standard error in a column `..._se`
#'   (over the draws; for `sw2` also over directions); and `method`. For methods also `seconds` and
#'   `evaluations` (scores per draw).
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit.
#' @source Derived for this package.
#' @seealso [guided_moments()] for exact divergences on one Gaussian.
#' @examples
#' m <- named_mixture("M2")
#' y <- observation(.8, H = cbind(1, .5), noise = .3^2)
#' methods <- list(zero_shot_exact(), zero_shot_bo(), zero_shot_ddnm())
#' table <- judge_samples(m, observation = y, methods = methods, n = 200, directions = 100,
#'                        key = c(1, 2), schedule = schedule_etc(40))
#' table
#' plot(table)
#' @export
judge_samples <- function(samples, target = NULL, observation = NULL, level = .9,
                          directions = 500, cells = 100, key = NULL, methods = NULL, n = 1000,
                          ..., p = 2, maximum = FALSE) {
  check_dots(..., also = c("schedule", "sampler", "horizon"))
  key <- own_key(check_key(key))
  if (inherits(samples, c("gaussmix", "mixguide_diffusion"))) {
    runs <- method_runs(samples, observation, methods, n, key, ...)
    return(judge_samples(runs, target, NULL, level, directions, cells, stream(key, "judge"),
                         p = p, maximum = maximum))
  }
  check_dots(...)
  if (!is.null(methods)) abort_input("methods", "NULL for given samples", describe(methods))
  several <- is.list(samples) && !is_run(samples) && !is.data.frame(samples)
  runs <- if (several) samples else list(sample = samples)
  if (!length(runs)) abort_input("samples", "at least one sample", "an empty list")
  names(runs) <- sample_names(runs)
  faults <- unlist(lapply(Filter(is_run, unname(runs)), `[[`, "faults"))
  of_run <- Filter(function(run) inherits(run, "conditional_sample"), runs)
  if (is.null(target)) {
    if (!length(of_run)) abort_input("target", "given: the exact law", "NULL")
    target <- exact_target(of_run[[1]])
  }
  check_mixture(target, "target")
  if (is.null(observation) && length(of_run)) observation <- of_run[[1]]$observation
  if (!is.null(observation)) observation <- as_observation(observation, target)
  level <- check_number(level, "level", 0, 1, open = TRUE)
  directions <- check_count(directions, "directions", min = 2)
  cells <- check_count(cells, "cells", min = 4)
  p <- check_number(p, "p", min = 1)
  maximum <- check_flag(maximum, "maximum")
  points <- lapply(seq_along(runs), function(i) {
    run <- runs[[i]]
    x <- check_points(if (is_run(run)) run$x else run, target, paste0("samples[[", i, "]]"))
    if (nrow(x) < 40) abort_input("samples", "of 40 draws at least", nrow(x))
    # in the coordinates of the process all variables count alike
    to_process(unname(x), target)
  })
  names(points) <- names(runs)
  given <- list(target = target, observation = observation)
  observation <- in_process(observation, target)
  target <- in_process(target)
  size <- vapply(points, nrow, 0)
  draw <- function(n, i) unname(keyed_draws(target, n, stream(key, "exact", i)))
  points$"exact draws" <- draw(max(size), 1)
  compare <- draw(max(size), 2)
  # one floor for each size, from several exact samples: one is too random
  sizes <- unique(size)
  floors <- lapply(sizes, function(n) lapply(2 + seq_len(5), function(i) draw(n, i)))
  measure <- function(p, maximum) {
    of <- distance_to(compare, directions, p, key, maximum = maximum)
    floor <- vapply(floors, function(exact) {
      mean(vapply(exact, function(x) of(x, draws = FALSE)$estimate, 0)^p)^(1 / p)
    }, 0)
    list(of = of, floor = floor)
  }
  sw2 <- measure(2, FALSE)
  other <- if (is_other_distance(p, maximum)) measure(p, maximum)
  exact <- moments(target)
  rows <- lapply(names(points), function(name) {
    x <- points[[name]]
    n <- nrow(x)
    by_sw2 <- sw2$of(x)
    gap <- colMeans(x) - exact$mean
    mean_error <- sqrt(sum(gap^2))
    total <- rowSums((x - rep(colMeans(x), each = n))^2)
    spread <- sqrt(mean(total) / sum(diag(exact$cov)))
    covered <- interval_coverage(x, target, level)
    row <- data.frame(sampler = name, n = n + 0, sw2 = by_sw2$estimate, sw2_se = by_sw2$se,
                      floor = sw2$floor[match(n, sizes)], mean_error = mean_error,
                      mean_error_se = sqrt(mean(total) / n), spread = spread,
                      spread_se = stats::sd(total) / sqrt(n) / mean(total) * spread / 2,
                      coverage = covered$estimate, coverage_se = covered$se)
    if (!is.null(observation)) {
      row[c("residual", "residual_se")] <-
        sample_mean(residual(x, observation))[c("estimate", "se")]
    }
    u <- rosenblatt(target, x)
    if (!is.null(u)) row <- cbind(row, cell_distances(u, cells))
    if (!is.null(other)) {
      by_other <- other$of(x)
      row$distance <- by_other$estimate
      row$distance_se <- by_other$se
      row$distance_floor <- other$floor[match(n, sizes)]
    }
    row
  })
  table <- do.call(rbind, rows)
  if (!is.null(observation)) table$residual_exact <- expected_residual(exact, observation)
  table$method <- "Monte Carlo"
  # of runs made here
  seconds <- attr(samples, "seconds")
  if (!is.null(seconds)) {
    table$seconds <- c(seconds, NA)
    table$evaluations <- c(vapply(runs, zero_shot_cost, 0), NA)
  }
  setup <- c(given, list(level = level, directions = directions, p = p, maximum = maximum,
                         faults = faults[!duplicated(faults)]))
  by <- judged_by(table)
  label <- distance_label(p, maximum)
  shown <- c("sampler", "n", stats::setNames(by, c(label, "floor")), "mean error" = "mean_error",
             "spread", stats::setNames("residual", residual_label(given$target)), "coverage",
             "reverse KL" = "kl_reverse")
  over <- if (maximum) "" else paste0(" (of ", label, " over the directions too)")
  right <- c(paste0("Right would be: ", label, " the floor, spread 1,"),
             paste0("coverage ", format(level), ","),
             if (!is.null(observation)) {
               paste0(residual_label(given$target), " ",
                      format(table$residual_exact[1], digits = 3), ",")
             }, paste0("else 0. Standard errors are over the draws", over, "."))
  new_table(table, "sampler_judgement",
            c(paste("by", format(given$target)),
              if (!is.null(observation)) paste("given:", format(given$observation))),
            setup, keys = c("sampler", "n"), shown = shown, foot = paste(right, collapse = " "),
            methods = c(residual_exact = "exact", evaluations = "exact"), body = best_first)
}

# The residual of a standardised mixture is not in the units of the observation.
residual_label <- function(target) {
  paste0("E|y-Hx|^2", if (!is.null(target$coordinates)) " (standardised)")
}

# A name for each sample, other than that of the exact draws.
sample_names <- function(runs) {
  names <- names_of(runs)
  none <- is.na(names) | names == ""
  names[none] <- paste("sample", seq_along(runs))[none]
  make.unique(c("exact draws", names), " ")[-1]
}

is_run <- function(x) inherits(x, c("conditional_sample", "guided_sample"))

# The exact probability of the intervals between the sample's quantiles, averaged over variables.
interval_coverage <- function(x, target, level, groups = 20) {
  d <- ncol(x)
  tails <- c(1 - level, 1 + level) / 2
  sd <- component_sd(target)
  covered <- function(x) {
    q <- apply(x, 2, stats::quantile, tails, names = FALSE)
    mean(vapply(seq_len(d), function(j) {
      p <- vapply(q[, j], function(q) {
        sum(target$weights * stats::pnorm(q, target$means[, j], sd[j, ]))
      }, 0)
      p[2] - p[1]
    }, 0))
  }
  group <- rep_len(seq_len(groups), nrow(x))
  without <- vapply(seq_len(groups), function(g) covered(x[group != g, , drop = FALSE]), 0)
  estimate_row(covered(x), sqrt((groups - 1) / groups * sum((without - mean(without))^2)),
               "Monte Carlo")
}

# Points that are uniform on the unit cube if x comes from the mixture, for d <= 2: the distribution
# function of the first coordinate, and that of the second given the first.
rosenblatt <- function(mixture, x) {
  d <- mixture_dim(mixture)
  if (d > 2 || is_singular(mixture)) return(NULL)
  if (d == 1) return(matrix(pgaussmix(x[, 1], mixture)))
  u <- v <- total <- 0
  log_top <- -.Machine$double.xmax
  for (k in which(mixture$weights > 0)) {
    S <- unname(component_cov(mixture, k))
    from <- x - rep(mixture$means[k, ], each = nrow(x))
    sd <- sqrt(S[1, 1])
    u <- u + mixture$weights[k] * stats::pnorm(from[, 1], 0, sd)
    r <- log(mixture$weights[k]) + stats::dnorm(from[, 1], 0, sd, log = TRUE)
    z <- (from[, 2] - S[1, 2] / S[1, 1] * from[, 1]) / sqrt(S[2, 2] - S[1, 2]^2 / S[1, 1])
    # log weights relative to the largest so far
    top <- pmax(log_top, r)
    scale <- exp(log_top - top)
    total <- total * scale + exp(r - top)
    v <- v * scale + exp(r - top) * stats::pnorm(z)
    log_top <- top
  }
  unname(cbind(u, v / total))
}

# Shares of equal cells of the unit cube against equal shares.
cell_distances <- function(u, cells) {
  side <- if (ncol(u) == 1) cells else floor(sqrt(cells))
  cells <- side^ncol(u)
  cell <- pmin(floor(u * side), side - 1) %*% side^(seq_len(ncol(u)) - 1) + 1
  n <- nrow(u)
  share <- tabulate(cell, cells) / n
  ratio <- log(cells * share)[cell]
  sign <- sign(share - 1 / cells)[cell]
  data.frame(kl_reverse = mean(ratio) - (sum(share > 0) - 1) / (2 * n),
             kl_reverse_se = stats::sd(ratio) / sqrt(n),
             total_variation = sum(abs(share - 1 / cells)) / 2,
             total_variation_se = stats::sd(sign) / 2 / sqrt(n))
}

# A run of each method under one key, and its time in seconds.
method_runs <- function(mixture, observation, methods, n, key, ...) {
  about <- if (inherits(mixture, "mixguide_diffusion")) mixture$mixture else mixture
  observation <- as_observation(observation, about)
  methods <- named_methods(methods)
  if (!length(n) %in% c(1, length(methods))) {
    abort_input("n", paste("one number, or", length(methods)), describe(n))
  }
  n <- rep_len(n, length(methods))
  seconds <- double(length(methods))
  runs <- list()
  faults_once(for (i in seq_along(methods)) {
    seconds[i] <- system.time(
      runs[[i]] <- conditional_sample(mixture, n[i], observation, methods[[i]], key = key, ...),
      gcFirst = FALSE
    )[["elapsed"]]
  })
  structure(runs, names = names(methods), seconds = seconds)
}

# The number of scores per draw of a run.
zero_shot_cost <- function(run) {
  method <- run$method
  # a score for each particle at each time
  if (!is.null(method$twist)) return(method$params$particles * length(run$times))
  frame <- if (method$name != "exact") zero_shot_frame(run$mixture, run$observation, method)
  steps <- zero_shot_program(method, frame, run$sampler, run$times, run$schedule)
  sum(vapply(unlist(steps, recursive = FALSE), function(op) op$op == "eval", NA))
}

# Exact draws last.
best_first <- function(x) {
  order <- order(x$sampler == "exact draws", x[[judged_by(x)[1]]])
  x[] <- plain_table(x)[order, ]
  x
}

picture.sampler_judgement <- function(object, setup) {
  by <- judged_by(object)
  label <- paste(distance_label(setup$p, setup$maximum), "(lines: floor)")
  panels <- c(stats::setNames(label, by[1]), spread = "spread",
              residual = residual_label(setup$target),
              coverage = "coverage", kl_reverse = "reverse KL on cells")
  panels <- panels[names(panels) %in% names(object)]
  if (length(panels) == 5) panels <- panels[names(panels) != "spread"]
  long <- long_form(object, panels, "sampler")
  long$sampler <- factor(long$sampler, object$sampler[order(-object[[by[1]]])])
  right <- c(stats::setNames(NA, by[1]), spread = 1, residual = object$residual_exact[1],
             coverage = setup$level, kl_reverse = 0)[names(panels)]
  right <- data.frame(value = right, kind = factor(panels, panels))
  floor <- data.frame(sampler = factor(object$sampler, levels(long$sampler)),
                      value = object[[by[2]]], kind = factor(panels[[by[1]]], panels))
  ggplot(long, aes(.data$value, .data$sampler)) +
    geom_vline(aes(xintercept = .data$value), right[!is.na(right$value), ], linetype = "22",
               colour = "grey50") +
    geom_point(aes(.data$value, .data$sampler), floor, shape = 124, size = 4, colour = "grey50") +
    geom_segment(aes(x = .data$value - 2 * .data$se, xend = .data$value + 2 * .data$se,
                     yend = .data$sampler), colour = class_palette(1)) +
    geom_point(colour = class_palette(1), size = 1.8) +
    facet_wrap(vars(.data$kind), scales = "free_x", nrow = if (length(panels) <= 3) 1 else 2) +
    finish("Samplers judged by the exact law",
           if (!is.null(setup$observation)) format(setup$observation),
           c("Dashed: the right value; bars: 2 standard errors", fault_words(setup$faults)),
           x = NULL, y = NULL)
}

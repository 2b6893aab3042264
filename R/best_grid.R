#' The best time grid for a sampler
#'
#' Chooses the lengths of a sampler's steps by trial runs: of the grids tried, the one whose ends
#' are nearest to those of the exact flow from the same starts. A few steps then often do what twice
#' as many do on a standard grid.
#'
#' @details
#' The search multiplies the steps of the sampler's own grid by factors whose logarithm is a natural
#' spline over the run. It tries 25 splines through 3 knots, improves the best by Nelder and Mead's
#' method ([stats::optim()]), and then once more with 5 knots. It minimises the root mean square
#' distance from the exact ends, per coordinate and in their standard deviations, over `n`
#' particles. The exact ends are those of 200 steps of Runge-Kutta 4 from the same starts. The
#' result is a local minimum, for one mixture, guidance, sampler and number of steps. Another `n`
#' particles judge it; if they find the sampler's own grid better, the own grid is returned. With 10
#' steps the search costs as much as a run of some 100 000 particles.
#'
#' *Before* is the least distance of Heun, RK4, DPM-Solver-2, 2M and 3M on `"logsnr"` from 5 to .003
#' and on that grid adapted to the mixture ([time_grid()]), for so many score evaluations. *After*
#' is the lesser distance of 2M and 3M on their best grids:
#'
#' | | 8 | 10 | 15 | 20 | 30 |
#' |---|---|---|---|---|---|
#' | iris, versicolor, strength 1: before | .14 | .10 | .025 | .0078 | .0024 |
#' | after | .020 | .010 | .0025 | .00093 | .00019 |
#' | iris, versicolor, strength 4: before | .54 | .33 | .11 | .042 | .011 |
#' | after | .11 | .056 | .0064 | .0027 | .00089 |
#' | iris, no guidance: before | .082 | .047 | .017 | .014 | .0041 |
#' | after | .045 | .027 | .016 | .0099 | .0014 |
#' | A2: before | .0090 | .0090 | .0027 | .00047 | .00016 |
#' | after | .00013 | .00007 | < .00001 | < .00001 | < .00001 |
#' | D3: before | .016 | .011 | .0040 | .0017 | .00046 |
#' | after | .00071 | .00041 | .00010 | .00005 | .00003 |
#'
#' **Adaptive step sizes**, one for all particles, by the embedded error of a pair of methods, gain
#' less. Of DPM-Solver-12 and -23 (of the noise, as in k-diffusion, and of the data),
#' Bogacki-Shampine 3(2), Dormand-Prince 5(4) and 2M in 3M, the last is mostly the best, with .10,
#' .0070 and .0017 at 10, 20 and 30 evaluations on iris at strength 1, and .44, .012 and .0046 at
#' strength 4 (the best of 19 tolerances). The steps also depend on the other particles of the run.
#'
#' @param mixture A [gaussmix()], a [score_model()] or a [diffusion()].
#' @param ... Arguments of [diffusion()] that follow the mixture there. The sampler must be
#'   deterministic and have a number of steps. `start` must not be a matrix. The guidance must not
#'   depend on the grid: no rule, and no profile that knows the run.
#' @param n Number of particles of the search, and of the judgement.
#' @return An object of class `best_grid`, a list with `sampler`, the sampler on the best grid;
#'   `times` and `own`, the best and its own grid; `error`, the distances of both by the particles
#'   that judge (see [mixguide_table]); and the arguments. `as.data.frame()`: the times of both.
#' @section Errors: Of class `mixguide_error`, also where the sampler's own grid leads to ends that
#'   are not finite, and for singular covariances if `end` is 0.
#' @source Tong et al. (2024), \doi{10.48550/arXiv.2405.15506}, also learn a solver's times from the
#'   ends of a fine solution (recalled, not verified against the paper). Splines and search: derived
#'   for this package.
#' @seealso [time_grid()], [plan_sampler()].
#' @examples
#' m <- named_mixture("D3")
#' best <- best_grid(m, sampler = sampler_dpmpp_3m(10, "logsnr", end = .003), key = c(1, 2))
#' best
#' plot(best)
#' guided_sample(m, 1000, sampler = best$sampler)
#' @export
best_grid <- function(mixture, n = 256, ...) {
  d <- as_diffusion(mixture, ..., takes_model = TRUE)
  n <- check_n(n, min = 2)
  refuse_own_grid(d)
  own <- d$times
  d$key <- run_key(d)
  ends <- function(sampler, n) {
    setting <- list(sampler = sampler, horizon = own[1])
    suppressWarnings(guided_sample(change_diffusion(d, setting), n, log_density = "none"))$x
  }
  grid <- if (d$sampler$end > 0) "logsnr" else "quadratic"
  exact <- ends(sampler_rk4(200, grid, end = d$sampler$end), 2 * n)
  scale <- apply(exact, 2, stats::sd)
  # the mean square of each particle; the first n choose, the others judge
  squares <- function(times, rows) {
    x <- ends(with_grid(d$sampler, times), max(rows))
    gap <- sweep(x[rows, , drop = FALSE] - exact[rows, , drop = FALSE], 2, scale, "/")
    rowMeans(gap[, scale > 0, drop = FALSE]^2)
  }
  warp <- grid_warp(d)
  value <- function(knots) {
    # a grid may ask for a step that the sampler refuses
    found <- if_error(mean(squares(check_grid(warp(knots)), seq_len(n))), function(e) Inf)
    if (is.finite(found)) log(max(found, 1e-300)) / 2 else 1e3
  }
  search <- function(knots) {
    stats::optim(knots, value, control = list(maxit = 200, reltol = 1e-3))$par
  }
  judged <- function(times) root_mean_row(squares(times, n + seq_len(n)))
  before <- judged(own)
  times <- own
  after <- before
  if (length(own) > 2 && !before$estimate %in% 0) {
    # the best of a few grids first: there are several local minima
    tried <- as.matrix(expand.grid(-2:2, -2:2))
    begin <- tried[which.min(apply(tried, 1, value)), ]
    times <- warp(search(knot_spline(search(begin), 5)[-1]))
    after <- judged(times)
    if (!isTRUE(after$estimate < before$estimate | is.na(before$estimate))) {
      times <- own
      after <- before
    }
  }
  rows <- data.frame(quantity = "distance", grid = c("own", "best"), rbind(before, after))
  d <- replace(d, c("sampler", "times"), list(with_grid(d$sampler, times), times))
  structure(setup_of(d, own = own, error = rows, n = n, faults = diffusion_faults(d)),
            class = object_class("best_grid"))
}

with_grid <- function(sampler, times) {
  replace(sampler, c("grid", "end"), list(times, times[length(times)]))
}

# The root of a mean of squares, as an estimate.
root_mean_row <- function(squares) {
  if (!all(is.finite(squares))) return(unknown_row("particles overflow"))
  mean <- sample_mean(squares)
  root <- sqrt(mean$estimate)
  estimate_row(root, if (root > 0) mean$se / (2 * root) else 0, "Monte Carlo")
}

# A grid whose steps are those of the own grid times factors, as a function of the logarithms of the
# factors at knots; the factor at the first is 1.
grid_warp <- function(d) {
  own <- d$times
  grid <- d$sampler$grid
  steps <- length(own) - 1
  fine <- if (is.numeric(grid)) own else {
    time_grid(16 * steps, own[1], grid, d$sampler$end, d$schedule)
  }
  time_at <- stats::splinefun(seq(0, 1, length.out = length(fine)), fine, method = "monoH.FC")
  function(knots) {
    share <- exp(knot_spline(knots, steps))
    times <- time_at(c(0, cumsum(share)) / sum(share))
    replace(times, c(1, steps + 1), own[c(1, steps + 1)])
  }
}

# The natural spline through 0 and the values at the other, equidistant knots, at n places.
knot_spline <- function(knots, n) {
  stats::spline(seq(0, 1, length.out = length(knots) + 1), c(0, knots), method = "natural",
                xout = seq(0, 1, length.out = n))$y
}

refuse_own_grid <- function(d) {
  sampler <- d$sampler
  if (with_noise(sampler, d$score_error)$stochastic || is.null(sampler$steps)) {
    refuse_sampler(d, "a deterministic sampler with a number of steps", "sampler_dpmpp_3m(20)")
  }
  # what the exact ends need
  noise_level(d$mixture, sampler$end, d$schedule)
  if (d$schedule$a(d$horizon) == 0) {
    abort_input("schedule", "one that keeps something of the data at the horizon (a > 0)",
                format(d$schedule))
  }
  if (is.matrix(d$start)) {
    abort_input("start", '"normal", "exact" or a gaussmix', describe(d$start))
  }
  guidance <- d$guidance
  if (!is.null(guidance$rule)) {
    abort_input("guidance", "without a rule, which knows the grid", nonlinear_words(guidance))
  }
  if (length(setdiff(strength_needs(guidance$profile), c("sigma", q_facts)))) {
    abort_input("guidance", "of a strength that does not depend on the grid",
                format_strength(guidance))
  }
}

in_words.best_grid <- function(x) {
  paste0(count_of(length(x$times) - 1, "step"), ", by ", number(x$n), " particles")
}

print_body.best_grid <- function(x, digits = 4, ...) {
  say(process_lines(x))
  say("distance from the exact flow, in standard deviations:")
  shown <- show_estimate(x$error$estimate, x$error$se, x$error$method, digits)
  print_rows(data.frame(grid = x$error$grid, distance = shown), digits)
  say(paste("times:", paste(vapply(signif(x$times, 3), format, ""), collapse = " ")))
}

as_table.best_grid <- function(x) {
  data.frame(step = seq_along(x$times) - 1L, own = x$own, best = x$times)
}

picture.best_grid <- function(object, ...) {
  rows <- as_table(object)
  label <- paste0(c("own", "best"), " (", vapply(signif(object$error$estimate, 2), format, ""), ")")
  rows <- data.frame(step = rows$step, time = c(rows$own, rows$best),
                     grid = factor(rep(label, each = nrow(rows)), label))
  ggplot(rows[rows$time > 0, ], aes(.data$step, .data$time, colour = .data$grid)) +
    geom_line() +
    geom_point() +
    scale_colour_manual(values = class_palette(2)) +
    scale_y_log10() +
    finish("Where the steps are", c(format(object$sampler), format(object$mixture)),
           "In brackets: the distance from the exact flow, in standard deviations",
           x = "step", y = "time", colour = "grid")
}

# Which sampler is cheapest for a wanted error: not by a bound, but by computing the errors.

#' The cheapest sampler for a wanted error
#'
#' For a mixture and an error that one is willing to accept: the sampler, the number of steps, the
#' time grid and the horizon that need the fewest score evaluations. They are found by computing the
#' error itself ([sampler_error()]) of many candidates, not by guarantees, which ask for far more.
#'
#' @details
#' The error is that of the whole: it counts what the start `N(0, I)` at a finite horizon does, the
#' discretisation, and the error of the score if there is one. Since a horizon too short spoils the
#' start and one too long takes steps away from where they are needed, horizons are tried at which
#' the start alone makes a given share of the wanted error: half of it, for all candidates; then
#' 0.8, 0.2 and 0.05 of it, for stochastic samplers, which forget the start, also 2 and 8 times, for
#' the candidates that were within 1.5 times of the best. The number of steps is found by doubling
#' and bisection, to about 3%; a search ends where it needs four times as much as the best so far.
#' The errors of all samplers have been observed, not proved, to fall with the number of steps
#' (but for very few steps), which the bisection takes for granted: the answer meets the wanted
#' error, and could in rare cases be beaten by a smaller number of steps.
#'
#' A plan for one mixture, and its exact score, says little of others: it is computed, not proved.
#' What a guarantee would ask for stands beside it: the number of steps of the exponential
#' integrator of the SDE, on a uniform grid, for which the bound without Lipschitz constant (see
#' [error_budget()]) is at most the wanted error, by extrapolation in `1/steps`.
#'
#' @inheritParams sampler_error
#' @param error The wanted error, positive: total variation (below 1) or nats.
#' @param measure `"total_variation"`, or `"kl"` for `KL(target || output)`.
#' @param samplers `NULL`, names of functions (`"sampler_heun"`), or a named list of functions of
#'   `steps`, `grid` and `end` that return a [sampler()]. By default all of the package's with such
#'   arguments; in more than one dimension (after reductions) the deterministic ones only, for the
#'   others take long there. `'sampler_ddpm(variance = "matched")'` is there by name only: its
#'   steps also take the derivative of the score, which score evaluations do not count.
#' @param grids Kinds of [time_grid()]. `NULL`: `"uniform"`, `"quadratic"`, `"exponential"` (but for
#'   schedules of discrete steps) and, if `end` is positive, `"logsnr"`.
#' @param horizon `NULL`: chosen; or a time.
#' @param end The time at which to stop, whose law is then the target; positive for mixtures with
#'   singular covariances.
#' @param most The largest number of score evaluations to consider.
#' @param n Number of draws where the error is found by Monte Carlo; the error that is met is then
#'   the estimate and two standard errors.
#' @return An object of class `plan_sampler`, a list with `sampler`, `horizon`, `evaluations` and
#'   `error` (a row as of [sampler_error()]) of the best, or `NULL` where none was found; `tried`, a
#'   data frame with a row per candidate: `sampler`, `grid`, `horizon`, `steps`, `evaluations`,
#'   `error` (`NA` where the search ended early); `guaranteed`, the steps that a guarantee asks for;
#'   and `schedule`, `wanted`, `measure`, `count` (how many errors were computed).
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit.
#' @source Derived for this package.
#' @seealso [error_budget()], [convergence_order()].
#' @examples
#' plan <- plan_sampler(named_mixture("A1"), error = .05, grids = "quadratic",
#'                      samplers = c("sampler_heun", "sampler_ddim", "sampler_em"))
#' plan
#' x <- guided_sample(named_mixture("A1"), 1000, sampler = plan$sampler, horizon = plan$horizon)
#' @export
plan_sampler <- function(mixture, error = 0.01, measure = c("total_variation", "kl"),
                         samplers = NULL, grids = NULL, schedule = schedule_ou(), horizon = NULL,
                         end = 0, score_error = NULL, most = 1000, n = 2e4) {
  check_mixture(mixture)
  check_schedule(schedule)
  check_score_error(score_error)
  measure <- check_choice(measure, c("total_variation", "kl"), "measure")
  error <- check_number(error, "error", min = 0, open = TRUE,
                        max = if (measure == "kl") Inf else 1)
  end <- check_number(end, "end", min = 0)
  most <- check_count(most, "most", min = 1)
  if (!is.null(horizon)) check_horizon(horizon, schedule)
  noise_level(mixture, end, schedule)
  inner <- law_dimension(mixture)
  makers <- plan_makers(samplers, inner)
  grids <- plan_grids(grids, schedule, end)
  count <- 0
  row_of <- if (measure == "kl") 1 else 3
  job <- list(schedule = schedule, end = end, most = most, wanted = error,
              # fewer nodes are enough to search in the plane
              error = function(sampler, horizon, nodes = if (inner == 2) 101) {
                count <<- count + 1
                row <- quiet_error(mixture, sampler, schedule, horizon, score_error, n, nodes)
                row <- row[row_of, ]
                replace(row, "met", isTRUE(row$estimate + 2 * row$se <= error))
              })
  shares <- c(.5, .8, .2, .05, 2, 8)
  horizons <- if (is.null(horizon)) {
    plan_horizons(mixture, schedule, end, shares * error, row_of, n)
  } else rep(horizon, length(shares))
  candidates <- expand.grid(sampler = names(makers), grid = grids, stringsAsFactors = FALSE)
  best <- Inf
  try_all <- function(rows, share) {
    do.call(rbind, lapply(rows, function(i) {
      row <- plan_steps(makers[[candidates$sampler[i]]], candidates$grid[i],
                        horizons[share], job, 4 * best)
      if (!is.na(row$error)) best <<- min(best, row$evaluations)
      data.frame(candidates[i, , drop = FALSE], row, candidate = i, stringsAsFactors = FALSE)
    }))
  }
  tried <- try_all(seq_len(nrow(candidates)), 1)
  if (is.null(horizon)) {
    near <- which(is.na(tried$error) & !is.finite(best) | tried$evaluations <= 1.5 * best)
    for (share in which(!duplicated(horizons))[-1]) {
      rows <- if (shares[share] < 1) near else near[tried$stochastic[near]]
      tried <- rbind(tried, if (length(rows)) try_all(rows, share))
    }
  }
  tried <- tried[order(is.na(tried$error), tried$evaluations, tried$error), ]
  tried <- tried[!duplicated(tried$candidate), ]
  sampler <- row <- NULL
  if (!is.na(tried$error[1])) {
    repeat {
      sampler <- makers[[tried$sampler[1]]](tried$steps[1], tried$grid[1], end)
      row <- job$error(sampler, tried$horizon[1], NULL)
      if (isTRUE(row$met) || inner < 2) break
      tried$steps[1] <- tried$steps[1] + 1
    }
    tried$error[1] <- row$estimate
    tried$evaluations[1] <- score_evaluations(sampler, schedule, tried$horizon[1])
  }
  tried <- tried[c("sampler", "grid", "horizon", "steps", "evaluations", "error")]
  rownames(tried) <- NULL
  structure(list(sampler = sampler, horizon = if (!is.null(sampler)) tried$horizon[1],
                 evaluations = if (!is.null(sampler)) tried$evaluations[1], error = row[1:4],
                 tried = tried, schedule = schedule, wanted = error, measure = measure,
                 mixture = mixture, count = count,
                 guaranteed = if (is.null(score_error)) {
                   guaranteed_steps(mixture, schedule, end, error, measure)
                 }),
            class = "plan_sampler")
}

# sampler_error() without warnings: what it warns of, or cannot do, has no known error.
quiet_error <- function(mixture, sampler, schedule, horizon, score_error, n, nodes) {
  none <- function(condition) {
    estimate <- estimate_row(rep(NA_real_, 3), 0, "not known")
    data.frame(quantity = "", estimate, stringsAsFactors = FALSE)
  }
  tryCatch(as.data.frame(sampler_error(mixture, sampler, schedule, horizon,
                                       score_error = score_error, n = n, nodes = nodes)),
           warning = none, mixguide_error = none)
}

# In how many dimensions the law of a run is to be computed: after reductions, and 1 where there is
# a closed form.
law_dimension <- function(mixture) {
  if (mixture_size(mixture) == 1) return(1)
  space <- reduced_space(mixture)
  mixture_dim(if (is.null(space)) mixture else space$mixture)
}

# Samplers as functions of steps, grid and end.
plan_makers <- function(samplers, inner) {
  made_here <- list(
    sampler_heun = sampler_heun,
    "sampler_exponential(order = 2)" = function(steps, grid, end) {
      sampler_exponential(steps, FALSE, grid, end, order = 2)
    },
    sampler_dpm_2 = sampler_dpm_2, sampler_rk4 = sampler_rk4,
    sampler_dpmpp_2m = sampler_dpmpp_2m,
    sampler_ddim = function(steps, grid, end) sampler_ddim(steps, 0, grid, end),
    sampler_exponential = function(steps, grid, end) sampler_exponential(steps, FALSE, grid, end),
    sampler_euler = sampler_euler,
    sampler_ddpm = function(steps, grid, end) sampler_ddpm(steps, "posterior", grid, end),
    'sampler_ddpm(variance = "matched")' = function(steps, grid, end) {
      sampler_ddpm(steps, "matched", grid, end)
    },
    "sampler_exponential(stochastic = TRUE)" = function(steps, grid, end) {
      sampler_exponential(steps, TRUE, grid, end)
    },
    sampler_em = sampler_em
  )
  if (is.null(samplers)) {
    matched <- names(made_here) == 'sampler_ddpm(variance = "matched")'
    return(made_here[if (inner == 1) !matched else 1:8])
  }
  if (is.character(samplers)) {
    unknown <- setdiff(samplers, names(made_here))
    if (length(unknown) || !length(samplers)) {
      abort_input("samplers", paste("among", toString(names(made_here))), toString(unknown))
    }
    return(made_here[samplers])
  }
  ok <- is.list(samplers) && length(samplers) && !is.null(names(samplers)) &&
    all(vapply(samplers, is.function, NA))
  if (!ok) {
    abort_input("samplers", "NULL, names of samplers or a named list of functions",
                describe(samplers))
  }
  lapply(samplers, function(maker) {
    if (!takes_arguments(maker, 3)) {
      abort_input("samplers", "functions of `steps`, `grid` and `end`",
                  paste("one of", count_of(length(formals(args(maker))), "argument")))
    }
    function(steps, grid, end) check_sampler(maker(steps, grid, end), "samplers")
  })
}

plan_grids <- function(grids, schedule, end) {
  if (is.null(grids)) {
    return(c("quadratic", "uniform", if (is.null(schedule$steps)) "exponential",
             if (end > 0) "logsnr"))
  }
  vapply(grids, check_choice, "", eval(formals(time_grid)$type), "grids", USE.NAMES = FALSE)
}

# The times at which the start alone makes these errors, or the last that there is.
plan_horizons <- function(mixture, schedule, end, errors, row, n) {
  at <- function(t) {
    start_error(diffuse(mixture, t, schedule), mixture, schedule, t, "normal", n)$estimate[row]
  }
  last <- if (is.finite(schedule$max)) schedule$horizon else 20
  first <- end + (last - end) / 1000
  # all bisections share what they find; errors span decades
  t <- exp(seq(log(first), log(last), length.out = 25))
  # at early times nodes may not see a narrow law: then the error is near its largest anyway
  e <- suppressWarnings(vapply(t, at, 0))
  e <- rev(cummax(rev(pmax(e, .Machine$double.xmin))))
  keep <- !duplicated(e)
  if (sum(keep) < 2) return(rep(last, length(errors)))
  guess <- exp(stats::approx(log(e[keep]), log(t[keep]), log(errors), rule = 2)$y)
  signif(pmin(pmax(guess, first), last), 3)
}

# The least number of steps that meets the error, as far as `limit` evaluations.
plan_steps <- function(maker, grid, horizon, job, limit) {
  limit <- min(limit, job$most)
  at <- function(steps) {
    sampler <- maker(steps, grid, job$end)
    cost <- score_evaluations(sampler, job$schedule, horizon)
    row <- if (cost <= limit) job$error(sampler, horizon)
    list(steps = steps, cost = cost, error = row, over = cost > limit,
         met = isTRUE(row$met), stochastic = sampler$stochastic)
  }
  low <- 1
  now <- at(2)
  while (!now$met && !now$over) {
    low <- now$steps
    now <- at(2 * low)
  }
  if (now$over && now$steps > 2) {
    # what is left below the limit
    top <- at(max(low, floor(low * limit / at_cost(now, low))))
    if (top$met) now <- top
  }
  while (now$met && now$steps - low > max(1, .03 * low)) {
    middle <- at(floor((low + now$steps) / 2))
    if (middle$met) now <- middle else low <- middle$steps
  }
  data.frame(horizon = horizon, steps = if (now$met) now$steps else NA_real_,
             evaluations = if (now$met) now$cost else NA_real_,
             error = if (now$met) now$error$estimate else NA_real_, stochastic = now$stochastic)
}

# What `steps` cost, from what more of them do.
at_cost <- function(now, steps) now$cost * steps / now$steps

# Steps of the exponential integrator of the SDE on a uniform grid for which the bound without L is
# at most the wanted error: half of it for the start, half for the steps, whose bound falls as C/N.
guaranteed_steps <- function(mixture, schedule, end, error, measure) {
  # the divergence from which the error follows
  kl <- if (measure == "kl") error else max(2 * error^2, -log1p(-error^2))
  excess <- function(t) log(2 * start_by_convexity(mixture, t, schedule) / kl)
  last <- if (is.finite(schedule$max)) schedule$horizon else 50
  if (!schedule$vp || excess(last) > 0) return(NULL)
  horizon <- if (excess(end + last / 1000) < 0) end + last / 1000 else {
    stats::uniroot(excess, c(end + last / 1000, last))$root
  }
  steps <- 200
  times <- time_grid(steps, horizon, "uniform", end, schedule)
  bound <- discretisation_bounds(mixture, schedule, times,
                                 "exponential")[["bound without L, integrated"]]
  ceiling(steps * max(bound / (kl / 2), 1 / steps))
}

# ---- Showing

measure_words <- c(total_variation = "total variation", kl = "KL(target || output)")

#' @export
format.plan_sampler <- function(x, ...) {
  check_dots(..., also = format.default)
  if (is.null(x$sampler)) return("no sampler that was tried meets it")
  paste0(format(x$sampler), ", from t = ", format(x$horizon), ": ",
         count_of(number(x$evaluations), "score evaluation"))
}

#' @export
print.plan_sampler <- function(x, ...) {
  check_dots(..., also = print.default)
  line <- function(...) cat("  ", ..., "\n", sep = "")
  cat("<plan_sampler> ", measure_words[[x$measure]], " at most ", format(x$wanted), "\n", sep = "")
  line(format(x$mixture))
  line(format(x))
  if (!is.null(x$sampler)) line("its error: ", format_estimate(x$error))
  others <- x$tried[!is.na(x$tried$error), ][-1, ]
  others <- others[!duplicated(others$sampler), ]
  others <- others[others$sampler != x$tried$sampler[1], ]
  if (nrow(others)) {
    line("others that meet it, with their evaluations:")
    line("  ", paste0(others$sampler, " (", others$grid, ", from ", others$horizon, ") ",
                      others$evaluations, collapse = "\n    "))
  }
  lost <- setdiff(x$tried$sampler, x$tried$sampler[!is.na(x$tried$error)])
  if (length(lost)) {
    writeLines(strwrap(paste("more than is worth while, or not met:", toString(lost)), 96, 2, 4))
  }
  if (!is.null(x$guaranteed)) {
    steps <- signif(x$guaranteed, 2)
    line("a guarantee would ask for some ",
         count_of(if (steps < 1e7) number(steps) else format(steps), "step"),
         " (exponential integrator of the SDE)")
  }
  line(count_of(nrow(x$tried), "combination"), " of sampler and grid, ",
       count_of(number(x$count), "error"), " computed")
  invisible(x)
}

#' @rdname plan_sampler
#' @param x A `plan_sampler`; `plot()` draws what each sampler needs on each grid.
#' @param row.names,optional Not used.
#' @param ... For `plot()`, passed to `autoplot()`; otherwise empty.
#' @export
as.data.frame.plan_sampler <- function(x, row.names = NULL, optional = FALSE, ...) {
  check_dots(..., also = frame_dots)
  x$tried
}

#' @rdname plan_sampler
#' @param object A `plan_sampler`.
#' @export
autoplot.plan_sampler <- function(object, ...) {
  check_dots(...)
  rows <- object$tried[!is.na(object$tried$error), ]
  if (!nrow(rows)) abort_input("object", "a plan that found a sampler", "one that found none")
  rows$sampler <- factor(rows$sampler, rev(unique(rows$sampler)))
  ticks <- c(outer(c(1, 1.5, 2, 3, 5, 7), 10^(0:6)))
  ticks <- ticks[ticks >= min(rows$evaluations) / 2 & ticks <= 2 * max(rows$evaluations)]
  ggplot(rows, aes(log10(.data$evaluations), .data$sampler, colour = .data$grid,
                   shape = .data$grid)) +
    geom_point(size = 2.6) +
    scale_colour_manual(values = class_palette(length(unique(rows$grid)))) +
    scale_x_continuous(breaks = log10(ticks), labels = ticks, minor_breaks = NULL) +
    labs(x = "score evaluations", y = NULL) + look() + theme(legend.position = "bottom") +
    words(paste("What it takes:", measure_words[[object$measure]], "at most",
                format(object$wanted)),
          c(format(object), format(object$mixture)),
          "Each at the best horizon that was tried for it")
}

#' @rdname plan_sampler
#' @export
plot.plan_sampler <- function(x, ...) show_plot(x, ...)

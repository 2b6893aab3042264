#' The cheapest sampler for a wanted error, or the best for a budget
#'
#' For a mixture and an acceptable error: the sampler, the number of steps, the time grid, the
#' horizon and the end that need the fewest score evaluations. For an affordable number of score
#' evaluations: those with the least error. The search computes the errors of many candidates
#' ([guided_error()]): of the start `N(0, I)` at a finite horizon, of the steps, of stopping early,
#' and of the score if it has one.
#'
#' @details
#' **The horizon.** A short horizon spoils the start; a long one takes steps from where they are
#' needed. Horizons are those at which the start alone makes a share of the error: first a half (for
#' a budget, where the start makes .02, or .001 nats). Candidates within 1.5 times the best (for a
#' budget, twice its error) are also tried with 0.8, 0.2 and 0.05, and stochastic samplers, which
#' forget the start, with 2 and 8.
#'
#' **The end.** A grid uniform in the log-SNR cannot lead to `t = 0`, and often is the best. It ends
#' where the noise has 0.03 times the variance of the narrowest component, for the best candidates
#' also 0.1, 0.01 and 0.003 times. The target is the mixture itself, unless `end` is given.
#'
#' **The number of steps** for a wanted error is found by doubling and bisection, to about 3%, up to
#' four times the evaluations of the best so far. Bisection assumes that errors fall with the number
#' of steps, which is observed for all samplers (except at very few steps), not proved. The answer
#' meets the wanted error; in rare cases a smaller number of steps would, too.
#'
#' **Cost.** A search computes some hundred errors, which takes seconds in one dimension (after
#' reductions) and more in the plane. In three dimensions or more errors come from draws, `n/10`
#' while it searches. A message announces searches of more than ten seconds. After `seconds` the
#' search gives up the error it is computing and ends with the best so far, as the print says.
#'
#' **Distance of particles.** In two dimensions or more laws take too long, and a budget ranks
#' deterministic samplers by particles. Each candidate and 400 steps of Runge-Kutta 4 take the same
#' `n/10` starts (fewer if that would take more than half of the `seconds`) to the data. The error
#' is the root mean square difference of their ends, per coordinate, in standard deviations of the
#' mixture, with its standard error. It bounds the Wasserstein-2 distance of both clouds from above
#' (in these units, per coordinate). It is no total variation, and does not count the start, which
#' is the same for all, at the default horizon (see [horizon]). The print shows how far Runge-Kutta
#' is from its own result with half as many steps: smaller differences mean nothing. Stochastic
#' samplers are refused. [best_grid()] improves the grid of a deterministic sampler further.
#'
#' A plan proves nothing about other mixtures or scores. Beside it stands the number of steps that a
#' guarantee asks for, often far more: those of the exponential integrator of the SDE, on a uniform
#' grid, for which the bound without Lipschitz constant (see [error_budget()]) is at most the wanted
#' error, by extrapolation in `1/steps`.
#'
#' @inheritParams guided_error
#' @param error The wanted error, positive: total variation (below 1) or nats. `NULL`: 0.01, unless
#'   `evaluations` are given.
#' @param measure `"total_variation"`, `"kl"` for `KL(target || output)`, or, for a budget,
#'   `"distance"` of particles, the default for a budget in two dimensions or more.
#' @param samplers `NULL`, names of functions (`"sampler_heun"`), or a named list of functions of
#'   `steps`, `grid` and `end` that return a [sampler()]. By default all of the package's with such
#'   arguments; in more than one dimension (after reductions) the deterministic ones. By name only:
#'   `'sampler_ddpm(variance = "matched")'`, whose derivatives of the score do not count as
#'   evaluations, `"large"` and `"scaled"`.
#' @param grids Kinds of [time_grid()]. `NULL`: `"uniform"`, `"quadratic"` and, but for schedules of
#'   discrete steps, `"exponential"` and `"logsnr"` (not if `end` is 0).
#' @param end `NULL`: chosen, and the target is the mixture; or the time at which to stop, whose law
#'   is then the target: positive for mixtures with singular covariances.
#' @param evaluations `NULL`, or the number of score evaluations that may be spent: then the least
#'   error is looked for.
#' @param most For a wanted error, the largest number of score evaluations to consider.
#' @param n Number of draws where the error is found by Monte Carlo; a wanted error is then met by
#'   the estimate and two standard errors.
#' @param seconds The time after which the search ends.
#' @param ... Further arguments of [diffusion()] that follow the mixture there, but no
#'   `guidance` or `start`: `schedule`, `horizon` (`NULL`: chosen) and `score_error`. The `sampler`
#'   does not count.
#' @return An object of class `plan_sampler`, a list with `sampler`, `horizon`, `evaluations` and
#'   `error` (a row as of [guided_error()]) of the best, or `NULL` where none was found; `tried`, a
#'   data frame with a row per sampler and grid, the best first (`error` is `NA` where the search
#'   ended early); `guaranteed`, the steps that a guarantee asks for; and `schedule`, `wanted` (an
#'   error, or `NULL`), `budget` (evaluations, or `NULL`), `measure`, `count` (of errors computed),
#'   `complete` (`FALSE` if the time ran out). `plot()` draws what each sampler needs on each grid.
#' @source Derived for this package.
#' @seealso [error_budget()], [convergence_order()], [best_grid()].
#' @examples
#' plan <- plan_sampler(named_mixture("A1"), error = .05, grids = "quadratic",
#'                      samplers = c("sampler_heun", "sampler_ddim", "sampler_em"))
#' plan
#' x <- guided_sample(named_mixture("A1"), 1000, sampler = plan$sampler, horizon = plan$horizon)
#' # the best for 10 score evaluations
#' plan_sampler(named_mixture("D3"), evaluations = 10, samplers = c("sampler_heun",
#'              "sampler_dpmpp_2m"))
#' @export
plan_sampler <- function(mixture, n = 1e4, ..., error = NULL,
                         measure = c("total_variation", "kl", "distance"), samplers = NULL,
                         grids = NULL, end = NULL, evaluations = NULL, most = 1000, seconds = 30) {
  d <- as_diffusion(mixture, ..., without = c("guidance", "start"))
  refuse_own_model(d)
  local_key(d)
  schedule <- d$schedule
  horizon <- d$given$horizon
  score_error <- check_score_error(d$score_error)
  if (!is.null(horizon)) check_horizon(horizon, schedule)
  chosen <- !missing(measure)
  measure <- check_choice(measure, c("total_variation", "kl", "distance"), "measure")
  if (!is.null(evaluations)) {
    if (!is.null(error)) abort_input("error", "NULL where `evaluations` are given", describe(error))
    evaluations <- check_count(evaluations, "evaluations", min = 1, max = 1e6)
  } else {
    error <- check_number(if (is.null(error)) .01 else error, "error", min = 0, open = TRUE,
                          max = if (measure == "kl") Inf else 1)
  }
  free <- is.null(end)
  end <- if (free) 0 else check_number(end, "end", min = 0)
  most <- check_count(most, "most", min = 1)
  n <- check_n(n, min = 2)
  seconds <- check_number(seconds, "seconds", min = 0)
  noise_level(d$mixture, end, schedule)
  score_error <- in_process(score_error, d$mixture)
  mixture <- in_process(d$mixture)
  inner <- law_dimension(mixture)
  if (!chosen && !is.null(evaluations) && inner > 1 && is.null(score_error)) measure <- "distance"
  if (measure == "distance") {
    if (is.null(evaluations)) abort_input("evaluations", "given for the distance", "NULL")
    if (!is.null(score_error)) abort_input("score_error", "NULL for the distance", "an error")
  }
  makers <- plan_makers(samplers, if (measure == "distance") max(inner, 2) else inner)
  grids <- plan_grids(grids, schedule, free || end > 0)
  job <- plan_job(
    seconds, diffusion = d, mixture = mixture, schedule = schedule, horizon = horizon, end = end,
    ends = if (free && "logsnr" %in% grids) plan_ends(mixture, schedule),
    score_error = score_error, measure = measure, wanted = error, budget = evaluations,
    most = most, n = n, inner = inner, makers = makers,
    candidates = expand.grid(sampler = names(makers), grid = grids, stringsAsFactors = FALSE)
  )
  best <- if (measure == "distance") plan_by_distance(job) else {
    plan_final(plan_search(job, plan_likely(job)), job)
  }
  tried <- best$tried[c("sampler", "grid", "horizon", "end", "steps", "evaluations", "error")]
  rownames(tried) <- NULL
  found <- !is.null(best$sampler)
  structure(list(sampler = best$sampler, horizon = if (found) tried$horizon[1],
                 evaluations = if (found) tried$evaluations[1],
                 error = best$row[c("quantity", ESTIMATE)],
                 tried = tried, schedule = schedule, wanted = error, budget = evaluations,
                 measure = measure, mixture = d$mixture, count = job$state$count,
                 complete = !job$state$over, reference = best$reference,
                 guaranteed = if (is.null(score_error) && !is.null(error)) {
                   guaranteed_steps(mixture, schedule, end, error, measure)
                 }),
            class = object_class("plan_sampler"))
}

# A search with its settings (`...`); `state` has the number of errors computed, the best value, all
# that was tried, and whether time is over.
plan_job <- function(seconds, ...) {
  begun <- now()
  job <- list(..., seconds = seconds, elapsed = function() now() - begun,
              state = list2env(list(count = 0, best = Inf, over = FALSE), parent = emptyenv()))
  # is the time over?
  job$late <- function() {
    job$state$over <- job$state$over || now() - begun > seconds
    job$state$over
  }
  target <- diffuse(job$mixture, job$end, job$schedule)
  # fewer nodes and draws are enough to search
  job$error <- function(sampler, horizon, search = TRUE) {
    job$state$count <- job$state$count + 1
    left <- seconds - (now() - begun)
    row <- within_seconds(left, quiet_error(
      target, job$mixture, sampler, job$schedule, horizon, job$score_error,
      if (search && job$inner > 2) max(1000, ceiling(job$n / 10)) else job$n,
      if (search && job$inner == 2) 101
    ))
    row <- row_of(row, job$measure)
    replace(row, "met", isTRUE(row$estimate + 2 * row$se <= job$wanted))
  }
  job
}

# The sampler of a row of what was, or is to be, tried.
plan_made <- function(job, row) job$makers[[row$sampler]](row$steps, row$grid, row$end)

# The order in which candidates are tried: in one dimension as they come; in several, where an error
# takes seconds, by the distance of a few particles after 20 evaluations.
plan_likely <- function(job) {
  all <- seq_len(nrow(job$candidates))
  stochastic <- vapply(job$makers, function(make) make(2, "uniform", job$end)$stochastic, NA)
  if (job$inner < 2 || !is.null(job$score_error) || any(stochastic)) return(all)
  quick <- replace(job, c("budget", "n"), list(20, 2000))
  quick["ends"] <- list(utils::head(job$ends, 1))
  likely <- if_error(plan_by_distance(quick), function(e) NULL)
  c(likely$tried$candidate, setdiff(all, likely$tried$candidate))
}

# All candidates at one horizon and end, then those that come near the best at others.
plan_search <- function(job, order) {
  budget <- !is.null(job$budget)
  free <- is.null(job$horizon)
  shares <- c(.5, .8, .2, .05, 2, 8)
  horizons_for <- function(errors) {
    if (!free) return(rep(job$horizon, length(errors)))
    plan_horizons(job$mixture, job$schedule, job$end, errors, job$measure, min(job$n, 5000))
  }
  horizons <- if (budget) horizons_for(if (job$measure == "kl") 1e-3 else .02) else {
    horizons_for(shares * job$wanted)
  }
  # `most`: the evaluations of each that another horizon or end is to beat
  try_all <- function(candidates, horizons, ends, most = rep(Inf, length(candidates))) {
    for (k in seq_along(candidates)) {
      first <- is.null(job$state$tried)
      if (!first && job$late()) return()
      row <- plan_try(job, candidates[k], horizons[k], ends[k], most[k])
      if (!is.na(row$error)) {
        job$state$best <- min(job$state$best, if (budget) row$error else row$evaluations)
      }
      job$state$tried <- rbind(job$state$tried, row)
      if (first) plan_announce(job)
    }
  }
  near <- function() {
    now <- best_of_each(job$state$tried, budget)
    value <- if (budget) now$error else now$evaluations
    close <- value <= (if (budget) 2 else 1.5) * job$state$best
    now[ifelse(is.na(now$error), !is.finite(job$state$best), close), ]
  }
  logsnr <- job$candidates$grid == "logsnr" & length(job$ends) > 0
  first_end <- replace(rep(job$end, length(logsnr)), logsnr, job$ends[1])
  try_all(order, rep(horizons[1], length(logsnr)), first_end[order])
  if (free) {
    if (budget && is.finite(job$state$best)) {
      horizons <- c(horizons, horizons_for(shares * job$state$best))
      shares <- c(1, shares)
    }
    rows <- near()
    for (share in which(!duplicated(horizons))[-1]) {
      on <- if (shares[share] <= 1) rows else rows[rows$stochastic, ]
      try_all(on$candidate, rep(horizons[share], nrow(on)), on$end, on$evaluations)
    }
  }
  for (end in job$ends[-1]) {
    rows <- near()
    rows <- rows[rows$grid == "logsnr", ]
    try_all(rows$candidate, rows$horizon, rep(end, nrow(rows)), rows$evaluations)
  }
  best_of_each(job$state$tried, budget)
}

# The best of what was tried of each candidate, in order.
best_of_each <- function(tried, budget) {
  tried <- tried[if (budget) order(is.na(tried$error), tried$error, tried$evaluations) else {
    order(is.na(tried$error), tried$evaluations, tried$error)
  }, ]
  tried[!duplicated(tried$candidate), ]
}

# Deterministic candidates, ranked by the distance of their ends from those of a fine Runge-Kutta.
plan_by_distance <- function(job) {
  d <- job$diffusion
  key <- run_key(d)
  scale <- sqrt(diag(moments(d$mixture)$cov))
  used <- scale > 0
  run <- function(sampler, n) {
    setting <- change_diffusion(d, list(guidance = NULL, sampler = sampler, key = key))
    x <- suppressWarnings(guided_sample(setting, n, log_density = "none"))$x
    sweep(x[, used, drop = FALSE], 2, scale[used], "/")
  }
  distance <- function(x, y) {
    square <- rowMeans((x - y)^2)
    if (!all(is.finite(square))) return(unknown_row("particles overflow"))
    mean <- sample_mean(square)
    root <- sqrt(mean$estimate)
    estimate_row(root, if (root > 0) mean$se / (2 * root) else 0, "Monte Carlo")
  }
  todo <- do.call(rbind, lapply(seq_len(nrow(job$candidates)), function(i) {
    logsnr <- job$candidates$grid[i] == "logsnr" && length(job$ends)
    data.frame(candidate = i, end = if (logsnr) job$ends else job$end)
  }))
  # a last step to the end of the target, as all candidates on this grid take it
  fine <- function(steps) sampler_rk4(steps, "quadratic", end = job$end)
  n <- affordable_particles(function(n) run(fine(50), n), 50 * 4,
                            600 * 4 + nrow(todo) * job$budget, job)
  truth <- run(fine(400), n)
  doubt <- distance(run(fine(200), n), truth)
  job$error <- function(sampler, horizon) {
    job$state$count <- job$state$count + 1
    if_error(distance(run(sampler, n), truth), function(e) unknown_row(conditionMessage(e)))
  }
  tried <- NULL
  for (k in seq_len(nrow(todo))) {
    if (k > 1 && job$late()) break
    i <- todo$candidate[k]
    trial <- plan_made(job, list(sampler = job$candidates$sampler[i], steps = 2,
                                 grid = job$candidates$grid[i], end = todo$end[k]))
    if (trial$stochastic) {
      abort_input("samplers", 'deterministic for measure = "distance"', format(trial))
    }
    tried <- rbind(tried, plan_try(job, i, d$horizon, todo$end[k]))
  }
  tried <- best_of_each(tried, TRUE)
  if (is.na(tried$error[1])) return(list(tried = tried))
  list(tried = tried, reference = replace(doubt, "n", n), sampler = plan_made(job, tried[1, ]),
       row = data.frame(quantity = "distance",
                        estimate_row(tried$error[1], tried$se[1], "Monte Carlo")))
}

# The number of particles: n/10, or as many as half of the time left allows. `run(n)` takes `pilot`
# evaluations, the search will take `all`. The time of a run without particles does not count.
affordable_particles <- function(run, pilot, all, job) {
  most <- max(200, ceiling(job$n / 10))
  seconds <- function(n) {
    begun <- now()
    run(n)
    now() - begun
  }
  few <- min(400, most)
  seconds(8)
  each <- (seconds(few) - seconds(8)) / (few * pilot)
  room <- (job$seconds - job$elapsed()) / 2
  if (each * all * most <= room) most else min(most, max(20, floor(room / (each * all))))
}

# Announces a long search, after the first of several candidates.
plan_announce <- function(job) {
  candidates <- nrow(job$candidates)
  expected <- job$elapsed() * (candidates - 1) * 2
  if (expected > 10) {
    message("plan_sampler(): ", candidates, " combinations of sampler and grid to try, some ",
            number(signif(expected, 1)), " s; ends after ", format(job$seconds), " s")
  }
}

# Candidate i: for a wanted error the least number of steps that meets it, for a budget what it pays
# for. `most`: of no use are more evaluations, for a wanted error.
plan_try <- function(job, i, horizon, end, most = Inf) {
  candidate <- job$candidates[i, , drop = FALSE]
  # a number of steps, with its error if its evaluations are within the limit
  tried <- function(steps, limit) {
    sampler <- plan_made(job, c(candidate, steps = steps, end = end))
    cost <- plan_cost(sampler, job$schedule, horizon)
    error <- if (cost <= limit) job$error(sampler, horizon) else unknown_row()
    list(steps = steps, evaluations = cost, error = error, over = cost > limit,
         met = isTRUE(error$met), stochastic = sampler$stochastic)
  }
  found <- if (is.null(job$budget)) {
    plan_steps(tried, min(4 * job$state$best, most, job$most, na.rm = TRUE), job$late)
  } else plan_budget(tried, job$budget)
  data.frame(candidate, horizon = horizon, end = end, steps = found$steps,
             evaluations = found$evaluations, error = found$error$estimate, se = found$error$se,
             stochastic = found$stochastic, candidate = i)
}

# The most steps that a budget pays for; a single step may be more than it pays for.
plan_budget <- function(at, budget) {
  steps <- budget
  repeat {
    now <- at(steps, budget)
    if (!now$over || steps == 1) return(now)
    steps <- max(1, min(steps - 1, floor(steps * budget / now$evaluations)))
  }
}

# The least number of steps that meets the error, as far as `limit` evaluations. More steps may miss
# an error that fewer meet, so the largest number cannot come first, to tell whether there is one.
plan_steps <- function(at, limit, late) {
  low <- 1
  now <- at(2, limit)
  while (!now$met && !now$over && !late()) {
    low <- now$steps
    now <- at(2 * low, limit)
  }
  if (now$over && now$steps > 2) {
    # the most steps that the limit allows
    top <- at(max(low, floor(limit * now$steps / now$evaluations)), limit)
    if (top$met) now <- top
  }
  while (now$met && now$steps - low > max(1, .03 * low)) {
    middle <- at(floor((low + now$steps) / 2), limit)
    if (middle$met) now <- middle else low <- middle$steps
  }
  if (now$met) now else {
    replace(now, c("steps", "evaluations", "error"), list(NA_real_, NA_real_, unknown_row()))
  }
}

# The best, with its error by all nodes or draws; by those of the search where the time is over.
plan_final <- function(tried, job) {
  if (is.na(tried$error[1])) return(list(tried = tried))
  first <- tried[1, ]
  repeat {
    sampler <- plan_made(job, tried[1, ])
    row <- job$error(sampler, first$horizon, search = FALSE)
    if (!is.null(job$budget) || isTRUE(row$met) || job$inner < 2 || job$late()) break
    tried$steps[1] <- tried$steps[1] + 1
  }
  if (is.na(row$estimate)) {
    how <- c("quadrature", "quadrature", "Monte Carlo")[min(job$inner, 3)]
    row[ESTIMATE] <- estimate_row(first$error, first$se, how, if (job$inner > 1) {
      "by the few nodes or draws of the search"
    } else "")
  }
  tried$error[1] <- row$estimate
  tried$evaluations[1] <- evaluations(sampler, job$schedule, first$horizon)
  list(sampler = sampler, row = row, tried = tried)
}

# guided_error() against a target of any time, without warnings: what it warns of, or cannot do,
# has no known error.
quiet_error <- function(target, mixture, sampler, schedule, horizon, score_error, n, nodes) {
  none <- function(condition) unknown_rows(conditionMessage(condition))
  tryCatch({
    process <- diffusion(mixture, NULL, sampler, schedule, horizon, score_error = score_error)
    error_rows(target, process, "auto", n, nodes)
  }, warning = none, mixguide_error = none)
}

# The last time that a search considers.
last_horizon <- function(schedule, most = 20) {
  if (is.finite(schedule$max)) schedule$horizon else most
}

# Times at which the noise is a share of the narrowest component's variance.
plan_ends <- function(mixture, schedule) {
  last <- last_horizon(schedule)
  noise <- c(.03, .1, .01, .003) * min(used_values(mixture))
  end <- signif(logsnr_time(-log(noise) / 2, rep(0, 4), rep(last, 4), schedule), 2)
  unique(end[end > 0 & end < last / 4])
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
  made_here <- shipped_samplers()
  if (is.null(samplers)) {
    # of the variances of DDPM its default alone
    plain <- made_here[!grepl("variance", names(made_here))]
    stochastic <- vapply(plain, function(make) make(2, "uniform", 0)$stochastic, NA)
    return(plain[inner == 1 | !stochastic])
  }
  if (is.character(samplers)) {
    unknown <- setdiff(samplers, names(made_here))
    if (length(unknown) || !length(samplers)) {
      abort_input("samplers", paste("among", toString(names(made_here))),
                  unknown_names(paste0("sampler_", sub("^sampler_", "", unknown)),
                                names(made_here), toString(unknown, 60)))
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
    named <- all(c("steps", "grid", "end") %in% names(formals(args(maker))))
    function(steps, grid, end) {
      made <- from_user(
        if (named) maker(steps = steps, grid = grid, end = end) else maker(steps, grid, end),
        "samplers", paste(" at", steps, "steps")
      )
      check_sampler(made, "samplers")
    }
  })
}

plan_grids <- function(grids, schedule, logsnr) {
  if (is.null(grids)) {
    return(c("quadratic", if (logsnr && is.null(schedule$steps)) "logsnr", "uniform",
             if (is.null(schedule$steps)) "exponential"))
  }
  if (!is.character(grids) || !length(grids)) {
    abort_input("grids", "NULL, or kinds of time_grid()", describe(grids))
  }
  vapply(grids, check_choice, "", eval(formals(time_grid)$type), "grids", USE.NAMES = FALSE)
}

# The times at which the start alone makes these errors, or the last that there is.
plan_horizons <- function(mixture, schedule, end, errors, quantity, n) {
  error_at <- function(t) {
    row_of(start_error(diffuse(mixture, t, schedule), mixture, schedule, t, "normal", n),
           quantity)$estimate
  }
  last <- last_horizon(schedule)
  first <- end + (last - end) / 1000
  # one table of errors serves all bisections; errors span decades
  t <- exp(seq(log(first), log(last), length.out = if (law_dimension(mixture) > 1) 13 else 25))
  # exp(log(t)) may exceed t
  t <- pmin(t, last)
  # at early times nodes may not see a narrow law: then the error is near its largest anyway
  e <- suppressWarnings(vapply(t, error_at, 0))
  e <- rev(cummax(rev(pmax(e, .Machine$double.xmin))))
  # where a = 0 nothing is left of the data, so times there are not interpolated
  gone <- schedule$a(t) == 0
  keep <- !duplicated(e) & !gone
  if (sum(keep) < 2) return(rep(if (any(gone)) t[gone][1] else last, length(errors)))
  guess <- exp(stats::approx(log(e[keep]), log(t[keep]), log(errors), rule = 2)$y)
  if (any(gone)) guess[errors < min(e[keep])] <- t[gone][1]
  signif(pmin(pmax(guess, first), last), 3)
}

# The score evaluations of a run; Inf for samplers that cannot start at the horizon, such as those
# that need the score where a = 0.
plan_cost <- function(sampler, schedule, horizon) {
  tryCatch(evaluations(sampler, schedule, horizon), mixguide_error = function(e) {
    if (inherits(e, "mixguide_error_function")) stop(e)
    Inf
  })
}

# Steps of the exponential integrator of the SDE on a uniform grid for which the bound without L is
# at most the wanted error: half of it for the start, half for the steps, whose bound falls as C/N.
guaranteed_steps <- function(mixture, schedule, end, error, measure) {
  # the divergence from which the error follows
  kl <- if (measure == "kl") error else max(2 * error^2, -log1p(-error^2))
  excess <- function(t) {
    log(pmax(2 * start_by_convexity(mixture, t, schedule) / kl, .Machine$double.xmin))
  }
  last <- last_horizon(schedule, 50)
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

in_words.plan_sampler <- function(x) {
  if (is.null(x$sampler)) {
    if (!x$complete) return("none was found in the time: give it more `seconds`")
    return(paste("no sampler that was tried", if (is.null(x$budget)) "meets it" else {
      "can be had for it"
    }))
  }
  paste0(format(x$sampler), ", from t = ", format(x$horizon, digits = 4), ": ",
         count_of(number(x$evaluations), "score evaluation"))
}

headline.plan_sampler <- function(x) plan_words(x)

print_body.plan_sampler <- function(x, ...) {
  budget <- !is.null(x$budget)
  say(c(format(x$mixture), format(x)))
  if (!is.null(x$sampler)) {
    say_line(if (x$measure == "distance") "its distance: " else "its error: ",
             format_estimate(x$error))
  }
  known <- x$tried[!is.na(x$tried$error), ]
  others <- known[!duplicated(known$sampler), ][-1, ]
  if (nrow(others)) {
    say(if (budget) "others, with their errors:" else "others that meet it:")
    print_rows(others[c("sampler", "grid", "horizon", "end",
                        if (budget) "error" else c("steps", "evaluations"))], 4)
  }
  lost <- setdiff(x$tried$sampler, x$tried$sampler[!is.na(x$tried$error)])
  if (length(lost) && !budget) {
    say_line("more than is worth while, or not met: ", toString(lost))
  }
  if (!is.null(x$reference)) {
    say_line("ranked by the root mean square distance of ", number(x$reference$n),
             " particles' ends to those of a fine Runge-Kutta 4 (in standard deviations of the ",
             "mixture, without the error of the start), whose own doubt is ",
             format(signif(x$reference$estimate, 2)))
  }
  if (!is.null(x$guaranteed)) {
    say_line("a guarantee would ask for some ",
             count_of(format(signif(x$guaranteed, 2), big.mark = ",", scientific = 3), "step"),
             " (exponential integrator of the SDE)")
  }
  say_line(count_of(nrow(x$tried), "combination"), " of sampler and grid, ",
           count_of(number(x$count), "error"), " computed",
           if (!x$complete) "; ended early, since its time was over")
}

plan_measure <- function(x) {
  if (x$measure == "distance") "distance to the exact flow" else DIVERGENCES[[x$measure]]
}

plan_words <- function(x) {
  if (is.null(x$budget)) return(paste(plan_measure(x), "at most", format(x$wanted)))
  paste("least", plan_measure(x), "for at most",
        count_of(number(x$budget), "score evaluation"))
}

picture.plan_sampler <- function(object, ...) {
  rows <- object$tried[!is.na(object$tried$error), ]
  if (!nrow(rows)) abort_input("object", "a plan that found a sampler", "one that found none")
  rows$sampler <- factor(rows$sampler, rev(unique(rows$sampler)))
  budget <- !is.null(object$budget)
  rows$shown <- pmax(if (budget) rows$error else rows$evaluations, .Machine$double.xmin)
  ggplot(rows, aes(.data$shown, .data$sampler, colour = .data$grid, shape = .data$grid)) +
    geom_point(size = 2.6) +
    scale_colour_manual(values = class_palette(length(unique(rows$grid)))) +
    scale_x_log10() +
    finish(paste0(if (!budget) "What it takes: ", sub("^least", "Least", plan_words(object))),
           c(format(object), format(object$mixture)),
           "Each at the best horizon and end that were tried for it",
           x = if (budget) plan_measure(object) else "score evaluations", y = NULL,
           legend = "bottom")
}

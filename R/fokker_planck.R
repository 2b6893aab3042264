#' Law of the guided process in continuous time
#'
#' The law that a stochastic sampler approaches as its steps shrink, by the Fokker-Planck equation
#' of the guided reverse process, in one dimension (more, if the mixture reduces to one).
#'
#' @details The process `dX = (-f X + G^2 s) dt + G dB` in the reversed time, with the guided score
#' `s` (see [sampler()]), has the density `p_t = -((-f x + G^2 s) p)_x + (G^2/2) p_xx`. It is solved
#' on an equispaced grid with the flux of Chang and Cooper, which keeps the mass and is exact for
#' stationary laws, and in time with the rule of Crank and Nicolson (scores are taken in the middle
#' of a step). Both are of second order. Nothing flows through the ends of the grid, which is
#' widened until almost no mass lies there. The equation is solved again with half the nodes and
#' half the steps: what this changes is about three times the remaining error.
#'
#' @inheritParams guided_law
#' @param end Time at which to stop: 0, or later for mixtures with point masses.
#' @param nodes Number of nodes.
#' @param steps Number of time steps.
#' @param grid The kind of [time_grid()].
#' @param ... Further arguments of [diffusion()] that follow the mixture there; time is continuous,
#'   so the `sampler` has no effect. `start` is `"normal"`, `"exact"` or a [gaussmix()].
#' @return A [law] with `schedule`, `times` and `error`, which is printed: the changes of
#'   `confidence` (if there is guidance) and `entropy` from half the nodes and steps.
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit, a mixture that does
#'   not reduce to one dimension, or components too narrow for the nodes; a warning if mass reaches
#'   the ends of the grid, or if `error` exceeds 0.05.
#' @source Chang and Cooper (1970), \doi{10.1016/0021-9991(70)90001-X}; the equation: Song et al.
#'   (2021), \doi{10.48550/arXiv.2011.13456}. The solution of the tridiagonal systems from both ends
#'   is derived for this package.
#' @seealso [guided_limit()], which reaches the same law from that of a sampler.
#' @examples
#' law <- fokker_planck(named_mixture("A2"), guidance("1", 2), nodes = 400, steps = 200)
#' law
#' plot(law)
#' @export
fokker_planck <- function(mixture, ..., end = 0, nodes = 1000, steps = 400, grid = "quadratic",
                          reduce = TRUE) {
  d <- as_diffusion(mixture, ..., without = "score_error")
  check_extent(d$mixture)
  schedule <- d$schedule
  check_flag(reduce, "reduce")
  nodes <- check_count(nodes, "nodes", min = 20)
  steps <- check_count(steps, "steps", min = 4)
  times <- time_grid(steps, check_horizon(d$horizon, schedule), grid, end, schedule)
  need_memory(times, schedule, "continuous time")
  process <- process_diffusion(d)
  mixture <- process$mixture
  # continuous time has no steps
  guidance <- settle_guidance(process$guidance, schedule)
  if (has_memory(guidance$rule)) {
    abort_input("guidance", "without a rule that remembers the steps before", format(guidance$rule))
  }
  faults <- warn_faults(if (identical(d$start, "normal")) {
    start_fault(mixture, schedule, times[1], TRUE)
  })
  start <- start_law(process$start, mixture, guidance$class, schedule, times[1])
  run <- list(mixture = mixture, guidance = guidance, schedule = schedule, start = start,
              horizon = times[1], end = end, grid = grid)
  if (reduce && is_inner(guidance, mixture)) {
    run <- reduced_run(run, process_map(schedule, times[1], end))
  }
  check_low(run, 1)
  target <- diffuse(run$mixture, end, schedule)
  refuse_singular(target, "`mixture` is singular at the `end`, where there is no score;",
                  "take a later one")
  if (!is.null(run$rest)) run$rest$mixture <- target
  range <- process_range(run, target)
  solve <- function(nodes, steps) {
    solution <- process_density(run, nodes, steps, range)
    log_confidence <- if (!is.null(guidance)) {
      log_class_probability(target, guidance$class)(matrix(solution$x))
    }
    new_law(solution$x, solution$density, log(solution$density), log_confidence,
            diffuse(mixture, end, schedule), guidance$class, run$rest, list(solution$x),
            label = "the guided SDE in continuous time", horizon = times[1],
            start = start_words(d$start), guidance = guidance, schedule = schedule, times = times,
            floor = log(1e-12))
  }
  law <- counting_unsolved(solve(nodes, steps))
  half <- solve(ceiling(nodes / 2), ceiling(steps / 2))
  change <- function(of) abs(of(law)$estimate - of(half)$estimate)
  law$error <- c(confidence = if (!is.null(guidance)) change(confidence), entropy = change(entropy))
  if (!isTRUE(all(law$error < .05))) {
    warn_law("the nodes and steps do not resolve the law: half of them change it by ",
             format(max(law$error), digits = 1))
  }
  law$faults <- faults
  law$note <- paste0("half the nodes and steps change them by ",
                     paste(format(law$error, digits = 1), collapse = " and "))
  law_from_process(law, d$mixture)
}

# The reverse SDE on one Gaussian of given variances, exactly: the law of x_end given x_horizon, in
# the form of affine_map().
process_map <- function(schedule, horizon, end) {
  a <- schedule$a(c(end, horizon))
  b2 <- schedule$b2(c(end, horizon))
  function(values) {
    variances <- outer(values, a^2) + rep(b2, each = length(values))
    gain <- variances[, 1] * (a[2] / a[1]) / variances[, 2]
    list(gain = gain, shift = a[1] - gain * a[2],
         variance = variances[, 1] - gain^2 * variances[, 2])
  }
}

# The range of the process: from the start to the class aimed at, and beyond as far as coarse
# solutions find mass.
process_range <- function(run, target) {
  range <- range(start_range(run$start), start_range(target))
  for (i in 1:20) {
    w <- process_density(run, 200, 50, range)$density
    w <- w / sum(w)
    grow <- c(sum(w[1:4]), sum(w[197:200])) > 1e-13
    if (!any(grow)) return(range)
    range <- range + c(-.4, .4) * grow * diff(range)
  }
  warn_law("mass reaches the ends of the grid")
  range
}

# The density at the end on `nodes` nodes over the range.
process_density <- function(run, nodes, steps, range) {
  times <- time_grid(steps, run$horizon, run$grid, run$end, run$schedule)
  x <- seq(range[1], range[2], length.out = nodes)
  between <- matrix(x[-1] - (x[2] - x[1]) / 2)
  density <- dgaussmix(x, run$start)
  # scores of a few steps at a time, so that they stay in cache
  for (k in split(seq_len(steps), (seq_len(steps) - 1) %/% 20)) {
    middle <- (times[k] + times[k + 1]) / 2
    density <- fokker_planck_steps(density, x, times[k] - times[k + 1],
                                   run$schedule$diffusion2(middle), run$schedule$drift(middle),
                                   guided_scores(run, between, middle))
  }
  if (!all_finite(density)) abort_overflow()
  # the rule of Crank and Nicolson leaves rounding errors of either sign
  density <- pmax(density, 0)
  if (sum(density) <= 0) {
    abort(paste("the nodes do not see the law: the components are too narrow for how far the",
                "process goes; take more `nodes`, or other units"), "overflow")
  }
  list(x = x, density = density / (sum(density) * (x[2] - x[1])))
}

# Steps of lengths dt on the nodes x, with G^2 and f (one each) and the score (a column each; NULL:
# zero) midway between the nodes.
fokker_planck_steps <- function(density, x, dt, diffusion2, drift, score = NULL) {
  .Call(ffi_fokker_planck, density, list(low = x[1], h = x[2] - x[1], dt = dt,
                                         diffusion2 = diffusion2, drift = drift, score = score))
}

# The guided score of points (n x 1) at several times, a column each.
guided_scores <- function(run, x, t) {
  guide <- guidance_models(run$guidance, run$mixture)
  ops <- unlist(lapply(t, function(t) {
    c(drive_operations(list(op_eval("s", t = t)), guide, NULL, 1, run$schedule),
      list(new_op("save", "x", from = "s")))
  }), recursive = FALSE)
  matrix(program_map(run, assemble_program(operation_table(ops)))(x), nrow(x))
}

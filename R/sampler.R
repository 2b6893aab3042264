#' Samplers as step programs
#'
#' A sampler is a description, not a loop: a function that returns, for each step, a short list of
#' operations on registers (each an n x d matrix). One engine runs all samplers, so a new one takes
#' about twenty lines of R and runs as fast as the others.
#'
#' @details
#' Step `k` leads from `times[k]` to the smaller `times[k + 1]`. Its operations are
#' * `op_eval(to, from, t, want, strength)`: register `to` becomes the guided score `s` of register
#'   `from` at time `t`, or the denoised point, the noise or the velocity,
#' * `op_noise(to)`: register `to` becomes fresh standard normal noise,
#' * `op_linear(to, coef)`: register `to` becomes a linear combination of registers; `to` itself may
#'   be one of them,
#' * [op_product()], [op_solve()], [op_root()]: register `to` is multiplied by a matrix made from
#'   the derivative of the score.
#'
#' The noise is `-b s`, the velocity `f x - G^2 s/2`, the `dx/dt` of the probability flow (see
#' [schedule]). The denoised point `(x + b^2 s)/a` is not computed from the score. It is the mean of
#' the components' own denoised points, so it keeps all its digits where `a` is small, and exists
#' where `a = 0` (except for a score that is wrong by a factor). DDIM, DDPM and the DPM-Solvers take
#' it in steps that multiply `a` by a thousand or more, and may start where `a = 0` (zero terminal
#' signal-to-noise ratio).
#'
#' The state is register `x`; the last operation of every step writes it. Another register exists
#' once it is written, and keeps its value from step to step, so a multistep method reads the value
#' of an earlier step.
#'
#' Most samplers discretise one of two processes in the reversed time `T - t`, which have the
#' marginal laws of the forward process (`f` and `G^2` as in [schedule], `s` the score): the
#' ordinary differential equation `dx = (-f x + G^2 s/2) dt` and the stochastic one
#' `dx = (-f x + G^2 s) dt + G dB`.
#'
#' @param name A short name.
#' @param step A function of `k`, `times` and `schedule` (see [schedule]) that returns the list of
#'   the operations of step `k`.
#' @param steps Number of steps. `NULL`: the sampler follows a schedule with discrete steps
#'   ([schedule_ddpm()]) through every whole time between the horizon and `end`.
#' @param grid The kind of [time_grid()], or the times themselves, decreasing from the horizon;
#'   these determine `steps` and `end`. The default takes short steps near the data.
#' @param end The time at which to stop.
#' @param stochastic Does the sampler draw noise? `NULL`: its operations with [schedule_ou()] tell
#'   ([schedule_etc()] if `steps` is `NULL`); if they cannot be computed there, it counts as
#'   stochastic. A run whose operations draw noise despite `FALSE` is an error.
#' @param divergence Does the divergence of the guided score, summed along the path, give the
#'   log-density of the result to the order of the sampler? It does for ODE steps of two forms:
#'   `alpha x + beta s`, and `x` plus a Runge-Kutta combination of registers `-f y + G^2 s/2`. If
#'   not, the log-density comes from the Jacobian of the steps.
#' @param label The printed name.
#' @param params A named list of settings, to print.
#' @param vectorised May `step` be called with several `k` at once? Then the times and coefficients
#'   in its operations are vectors along `k` (coefficients in a list), or single numbers, and the
#'   operations are otherwise the same in every step. A run then calls `step` once, not once per
#'   step, which saves time with thousands of steps.
#' @param to,from Names of registers.
#' @param t A time.
#' @param want `"score"`, `"denoised"`, `"noise"` or `"velocity"`.
#' @param strength `NULL`, for the score of the run's guidance; or a number, for plain guidance of
#'   this strength, whatever the run's guidance (0: the class; -1: the whole).
#' @param coef The coefficients, named by register: a numeric vector, or a list in which an entry
#'   may also have one number per coordinate.
#' @param sampler A sampler.
#' @param schedule,horizon The forward process, see [schedule], and the time of the start.
#' @return `sampler()`: an object of class `mixguide_sampler`, a list of the arguments. `op_*()`: an
#'   object of class `mixguide_op`, a list with `op` (`"eval"`, `"noise"`, `"linear"`, ...), `to`
#'   and the other arguments. `evaluations()`: the number of scores in one particle's run, at equal
#'   numbers of which samplers should be compared; those of the class and of the whole, which are
#'   evaluated together, count once.
#' @seealso [guided_moments()], which gives a sampler's exact law on one Gaussian: the first test
#'   of a new one.
#' @family samplers
#' @examples
#' # Annealed Langevin dynamics (Song and Ermon 2019): at every time a Langevin step for the law at
#' # that time, with a size proportional to the variance of the noise.
#' sampler_annealed <- function(steps = 200, grid = "quadratic", end = .01, size = .2) {
#'   step <- function(k, times, schedule) {
#'     t <- times[k + 1]
#'     h <- size * schedule$b2(t)
#'     list(
#'       op_eval("s", from = "x", t = t),
#'       op_noise("z"),
#'       op_linear("x", c(x = 1, s = h, z = sqrt(2 * h)))
#'     )
#'   }
#'   sampler("annealed", step, steps, grid, end, label = "Annealed Langevin",
#'           params = list(size = size))
#' }
#' sampler_annealed()
#' sampler_annealed()$step(1, time_grid(200, 5), schedule_ou())
#' evaluations(sampler_annealed())
#' # the exact law for one Gaussian shows the bias of these steps
#' gaussian <- gaussmix(1, 1.5, .25)
#' guided_moments(gaussian, sampler = sampler_annealed())
#' @export
sampler <- function(name, step, steps = 200, grid = "quadratic", end = 0, stochastic = NULL,
                    divergence = !stochastic, label = name, params = list(),
                    vectorised = FALSE) {
  check_string(name, "name")
  if (!is.function(step) || !takes_arguments(step, 3)) {
    abort_input("step", "a function of k, times and schedule", describe(step))
  }
  if (is.numeric(grid)) {
    grid <- check_grid(grid, arg = "grid")
    steps <- length(grid) - 1
    end <- grid[steps + 1]
  } else {
    grid <- check_choice(grid, eval(formals(time_grid)$type), "grid")
    if (is.null(steps)) grid <- "uniform" else steps <- check_steps(steps)
    end <- check_number(end, "end", min = 0)
  }
  made <- list(name = name, label = check_string(label, "label"), steps = steps, grid = grid,
               end = end, stochastic = TRUE, divergence = FALSE, step = step, params = params,
               vectorised = check_flag(vectorised, "vectorised"))
  if (is.null(stochastic)) stochastic <- step_draws(made)
  made$stochastic <- check_flag(stochastic, "stochastic")
  made$divergence <- check_flag(divergence, "divergence")
  structure(made, class = object_class("mixguide_sampler"))
}

# Does a sampler's step draw noise? If it cannot be called, the answer is yes: missed noise would
# make the log-density wrong, and assumed noise only costs the log-density.
step_draws <- function(sampler) {
  schedule <- if (is.null(sampler$steps)) schedule_etc(10) else schedule_ou()
  horizon <- if (!is.numeric(sampler$grid) && sampler$end >= schedule$horizon) 2 * sampler$end
  if_error({
    times <- sampler_times(sampler, schedule, horizon)
    draws_noise(sampler_program(sampler, times, schedule, one_is_enough = TRUE))
  }, function(e) TRUE)
}

draws_noise <- function(steps) any(kinds_in(steps) == "noise")

# The operations rewritten with scores alone, for code that rewrites or reads scores.
score_form <- function(ops, schedule) {
  wanted <- !vapply(ops, function(op) is.null(op$want), NA)
  if (any(wanted) && uses_hessian(ops)) {
    abort_input("sampler", paste("without the derivative of a denoised point for what rewrites",
                                 "scores: take more steps near the start"),
                format(ops[[which(wanted)[1]]]))
  }
  for (op in ops[wanted]) {
    need_memory(op$t[op$want == "denoised"], schedule, "what needs the score itself")
  }
  by_score(ops, names(want_code), schedule)
}

# Evaluations that want one of `wants`, rewritten as a score and a sum.
by_score <- function(ops, wants, schedule) {
  unlist(lapply(ops, function(op) {
    if (!any(op$want %in% wants)) return(list(op))
    coef <- stats::setNames(quantity_form(op$want, op$t, schedule), c(op$from, op$to))
    op$want <- NULL
    list(op, op_linear(op$to, coef))
  }), recursive = FALSE)
}

# What op_eval() may want, at times t, as by_x x + by_score s.
quantity_form <- function(want, t, schedule) {
  if (want[1] == "velocity") {
    return(stats::setNames(lapply(reverse_drift(schedule, t), `-`), c("by_x", "by_score")))
  }
  a <- schedule$a(t)
  b2 <- schedule$b2(t)
  want <- rep_len(want, length(t))
  denoised <- want == "denoised"
  list(by_x = ifelse(denoised, 1 / a, 0),
       by_score = ifelse(denoised, b2 / a, ifelse(want == "noise", -sqrt(b2), 1)))
}

check_sampler <- function(x, arg = "sampler") {
  check_class(x, "mixguide_sampler", arg, "a sampler such as sampler_ddim()")
  check_made(x, arg, "sampler()", name = is_text, label = is_text, step = is.function,
             steps = maybe(function(n) is_number(n) && n >= 1 && n == round(n)),
             grid = is.atomic, end = function(end) is_number(end) && end >= 0,
             stochastic = is_flag, divergence = is_flag, vectorised = is_flag, params = is.list)
}

# The samplers of the package as functions of steps, grid and end, named by the calls that make
# them.
shipped_samplers <- function() {
  with_own <- function(make, ...) function(steps, grid, end) make(steps, grid, end, ...)
  list(sampler_heun = sampler_heun,
       "sampler_exponential(order = 2)" = with_own(sampler_exponential, order = 2),
       sampler_dpm_2 = sampler_dpm_2,
       sampler_rk4 = sampler_rk4,
       sampler_dpmpp_2m = sampler_dpmpp_2m,
       sampler_dpmpp_3m = sampler_dpmpp_3m,
       sampler_ddim = sampler_ddim,
       sampler_exponential = sampler_exponential,
       sampler_euler = sampler_euler,
       sampler_ddpm = sampler_ddpm,
       'sampler_ddpm(variance = "large")' = with_own(sampler_ddpm, variance = "large"),
       'sampler_ddpm(variance = "scaled")' = with_own(sampler_ddpm, variance = "scaled"),
       'sampler_ddpm(variance = "matched")' = with_own(sampler_ddpm, variance = "matched"),
       'sampler_ddpm(variance = "accelerated")' = with_own(sampler_ddpm, variance = "accelerated"),
       "sampler_exponential(stochastic = TRUE)" = with_own(sampler_exponential, stochastic = TRUE),
       sampler_em = sampler_em)
}

#' @rdname sampler
#' @export
evaluations <- function(sampler, schedule = schedule_ou(), horizon = NULL) {
  check_sampler(sampler)
  check_schedule(schedule)
  times <- sampler_times(sampler, schedule, horizon)
  steps <- sampler_program(sampler, times, schedule, one_is_enough = TRUE)
  sum(kinds_in(steps) == "eval") * (length(times) - 1) / length(steps)
}

# The times of one run; the mixture is needed to choose a horizon.
sampler_times <- function(sampler, schedule, horizon = NULL, mixture = NULL) {
  grid <- sampler$grid
  if (is.numeric(grid)) {
    if (!is.null(horizon) && !isTRUE(all.equal(horizon, grid[1]))) {
      abort_input("horizon", paste("the first time of the sampler's grid,", grid[1]),
                  describe(horizon))
    }
    horizon <- grid[1]
  }
  horizon <- check_horizon(horizon, schedule, mixture, forgotten = TRUE)
  steps <- sampler$steps
  if (is.null(steps)) {
    if (is.null(schedule$steps)) {
      abort_input("steps", "a number unless the schedule has discrete steps", "NULL")
    }
    steps <- horizon - sampler$end
  }
  time_grid(steps, horizon, grid, sampler$end, schedule)
}

# The operations of a run: one list per step; or a single list for all steps together, if the
# sampler is vectorised.
sampler_program <- function(sampler, times, schedule, one_is_enough = FALSE) {
  k <- seq_len(length(times) - 1)
  steps <- lapply(if (one_is_enough && sampler$vectorised) list(k) else k, function(k) {
    from_user(sampler$step(k, times, schedule), "step", paste0(" at step ", k[1], ", t = ",
                                                               format(times[k[1]])))
  })
  for (k in seq_along(steps)) {
    ops <- steps[[k]]
    ok <- is.list(ops) && length(ops) && all(vapply(ops, inherits, NA, "mixguide_op")) &&
      ops[[length(ops)]]$to == "x"
    if (!ok) {
      abort_input("step", "a function that returns a list of operations, the last one writing x",
                  paste(describe(ops), "at step", k))
    }
  }
  check_reads(steps)
  if (!sampler$stochastic && draws_noise(steps)) {
    abort_input("stochastic", "TRUE, or NULL, for a sampler whose steps have op_noise()", "FALSE")
  }
  # a velocity by the score keeps all digits at every time
  lapply(steps, by_score, "velocity", schedule)
}

# Checks that an earlier operation has written every register that an operation reads; x is there.
check_reads <- function(steps) {
  ops <- unlist(steps, recursive = FALSE)
  reads <- lapply(ops, function(op) c(.subset2(op, "from"), names(.subset2(op, "coef"))))
  reader <- rep(seq_along(ops), lengths(reads))
  reads <- unlist(reads)
  written <- match(reads, vapply(ops, .subset2, "", "to"), nomatch = length(ops) + 1L)
  early <- which(written >= reader & reads != "x")[1]
  if (!is.na(early)) {
    step <- rep(seq_along(steps), lengths(steps))[reader[early]]
    abort_input("step", "a function whose operations read registers that have been written",
                paste0(reads[early], " in `", format(ops[[reader[early]]]), "` at step ", step))
  }
}

# Coefficients of the drift of the reverse ODE, or SDE, at time t.
reverse_drift <- function(schedule, t, stochastic = FALSE) {
  list(x = -schedule$drift(t), s = schedule$diffusion2(t) * if (stochastic) 1 else 1 / 2)
}

# For samplers that need the score itself, and so a > 0 at every time of an evaluation.
need_score <- function(k, times, schedule, label) {
  forgotten <- times[k][schedule$a(times[k]) == 0]
  if (length(forgotten)) {
    abort_input("sampler", paste("one that starts where a > 0, or that uses the denoised point, as",
                                 "sampler_ddim(), sampler_ddpm() and sampler_dpmpp_2m()"),
                paste0(label, " at t = ", forgotten[1], ", where the data are forgotten (a = 0)"),
                "forgotten")
  }
}

# For other code that needs a > 0 at the start of a run.
need_memory <- function(times, schedule, what) {
  if (any(schedule$a(times) == 0)) {
    abort_input("horizon", paste0("a time at which the data are not yet forgotten (a > 0) for ",
                                  what), format(times[1], digits = 6), "forgotten")
  }
}

in_words.mixguide_sampler <- function(x) {
  grid <- if (is.numeric(x$grid)) "given" else x$grid
  steps <- if (is.null(x$steps)) "the schedule's steps" else count_of(x$steps, "step")
  paste0(format_label(x), ", ", steps, ", ", grid, " grid",
         if (x$end > 0) paste0(" to t = ", format(x$end, digits = 4)))
}

format_label <- function(sampler) paste0(sampler$label, format_params(sampler$params))

headline.mixguide_sampler <- function(x) {
  paste0(format(x), ", ", if (x$stochastic) "stochastic" else "deterministic")
}

#' Zero-shot conditional sampling
#'
#' Draws `x` given an [observation()] by one of the [zero_shot] methods. They use the unconditional
#' score alone: of the mixture, or of a [score_model()], by itself or as the `score_error` of a
#' mixture. For a mixture [condition()] gives the exact law to compare with.
#'
#' @details
#' A run uses the engine and random numbers of [guided_sample()]: `set.seed()` determines it, and
#' results do not depend on the number of threads. Methods that change the score work with any
#' [sampler()]. `zero_shot_ccdf()`, `zero_shot_repaint()`, `zero_shot_dps()` and `zero_shot_mcg()`
#' add to the sampler's steps. `zero_shot_ddnm_plus()` takes the variance of the steps from
#' [sampler_ddpm()]. `zero_shot_ddrm()` and `zero_shot_diffpir()` take the times alone. All start
#' from the normal law at the horizon. A [score_model()] drives methods that use the score without
#' its derivative: DDNM, BO-DDNM, CCDF, RePaint, DDNM+, DDRM, DiffPIR, MCGdiff and SMCDiffOpt.
#'
#' The default stops at `t = 1` of the schedule, where the variance of the noise is still `delta`:
#' without noise in the observation the conditional law has no density at `t = 0`. `end = 0` goes
#' on to the data. [summary()] compares with the exact conditional law at the end time.
#'
#' **Particle methods** run `n` independent sets of `particles` particles. Each set returns one
#' particle, drawn by the weights at the end.
#'
#' @param mixture A [diffusion()], or a [gaussmix()], the law of `x` before the observation.
#' @param n Number of draws.
#' @param observation An [observation()], or numbers named by the variables observed.
#' @param method One of the [zero_shot] methods.
#' @param folder `NULL`, or the name of a folder that keeps finished chunks of the run, see
#'   [scaling].
#' @param cloud Whether to return all particles of a particle method.
#' @param ... Further arguments of [diffusion()] that follow the mixture there: `sampler`, the
#'   unconditional one that the method modifies, `schedule`, `horizon`, `score_error` (a
#'   [score_model()] alone) and `key`. The default is the process of the theorems,
#'   `sampler_ddpm(NULL, variance = "scaled", end = 1)` on `schedule_etc(100)`.
#' @return `conditional_sample()`: an object of class `conditional_sample`, a list with `x`, the n x
#'   d draws with the names of the variables; `times`; and the arguments: `mixture`, `observation`,
#'   `method`, `sampler`, `schedule`, `horizon`, `key`. A particle method also has `history`, a data
#'   frame with, at each time `t`, the mean effective sample size `ess` of a set and the share of
#'   sets `resampled`. `zero_shot_tds()` and `zero_shot_smcdiffopt()` also have `log_evidence`: the
#'   logarithms of n estimates of the density of `y`, unbiased for the law of the unconditional
#'   steps if they go to `t = 0`. With `cloud` there is `cloud`: a list of `x`, the particles of one
#'   set after the other, and `weights`, a column per set, of sum 1. There are methods for `print`,
#'   `summary` (means and standard deviations beside the exact ones, and `E|y - H x|^2`),
#'   `as.matrix`, `as.data.frame` and `plot`.
#' @section Errors: of class `mixguide_error`. A run in which particles overflow ends with a warning
#'   that counts them.
#' @source Liang, Ju, Liang and Shroff (2024), \doi{10.48550/arXiv.2410.13746}, for the setting.
#' @family zero-shot conditional sampling
#' @examples
#' m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(1, 1)), cov = .5)
#' y <- observation(.8, H = cbind(1, .5), noise = .09)
#' set.seed(1)
#' run <- conditional_sample(m, 1000, y, zero_shot_bo(), schedule = schedule_etc(50))
#' run
#' summary(run)
#' # the score that the run followed
#' score(m, rbind(c(0, 0), c(1, 1)), t = 10, schedule_etc(50), observation = y,
#'       method = zero_shot_bo())
#' @export
conditional_sample <- function(mixture, n, observation, method, ..., folder = NULL,
                               cloud = FALSE) {
  d <- as_diffusion(mixture, ..., default = zero_shot_default(), without = c("guidance", "start"),
                    takes_model = TRUE)
  check_flag(cloud, "cloud")
  needed <- c(n = "the number of draws", observation = "what is observed, see observation()",
              method = "a zero-shot method, such as zero_shot_bo() or zero_shot_exact()")
  lacking <- c(missing(n), missing(observation), missing(method))
  if (any(lacking)) {
    abort_input(names(needed)[lacking][1], paste("given:", needed[lacking][1]))
  }
  call <- call_of("conditional_sample", d)
  model <- zero_shot_model(d, method)
  n <- check_particles(n)
  observation <- as_observation(observation, d$mixture)
  mixture <- d$mixture
  sampler <- d$sampler
  schedule <- d$schedule
  times <- d$times
  check_method(method, d)
  if (cloud && is.null(method$twist)) {
    abort_input("cloud", "FALSE for a method without particles", "TRUE")
  }
  key <- run_key(d)
  given <- list(mixture = said_mixture(mixture), observation = observation)
  observation <- in_process(observation, mixture)
  mixture <- in_process(mixture)
  faults <- c(run_faults(mixture, schedule, times, "normal", exact = FALSE),
              model_faults(model, NULL, mixture, schedule, times, "normal"))
  warn_faults(faults)
  run <- if (!is.null(method$twist)) {
    run_particle_method(mixture, n, observation, method, sampler, schedule, times, key,
                        folder, cloud, model)
  } else {
    task <- zero_shot_task(mixture, observation, method, sampler, times, schedule, model)
    plan <- zero_shot_plan(task$mixture, n, task$steps, times, schedule,
                           rotate = method$name == "exact")
    list(x = task$back(run_particles(plan, plain_aim(task$mixture, plan), key, folder)$x))
  }
  to_user <- function(x) name_dims(from_process(x, given$mixture), NULL, variable_names(mixture))
  run$x <- to_user(run$x)
  if (cloud) run$cloud$x <- to_user(run$cloud$x)
  run <- structure(c(run, given, list(method = method, sampler = sampler, schedule = schedule,
                                      times = times, horizon = times[1], key = key,
                                      score_error = d$score_error, faults = faults)),
                   class = object_class("conditional_sample"))
  with_call(run, call, key)
}

# The default process of the zero-shot methods: DDPM over all steps of its own schedule.
zero_shot_default <- function() {
  list(schedule = schedule_etc(100), sampler = sampler_ddpm(NULL, end = 1, variance = "scaled"))
}

# The user's own score_model() that drives a method, in the coordinates of the process, or NULL.
zero_shot_model <- function(d, method) {
  error <- d$score_error
  if (is.null(error)) return(NULL)
  own <- inherits(error, "score_error") && inherits(error$model, "score_model")
  if (!own || !is.null(error$bias) || !is.null(error$scale) || !is.null(error$noise)) {
    abort_input("score_error", "NULL or a score_model(), without bias, scale and noise",
                format(error))
  }
  # generalised BO needs the moments of the observed variables
  if (method$name == "exact" || method$range == "posterior") {
    abort_input("method", "one that follows the score alone, for a score_model()", format(method))
  }
  if (identical(method$twist, "tds")) refuse_derivative(method)
  check_beside(error$model, d$mixture, "score_error$model")
  model <- in_process(error, d$mixture)$model
  model$names <- variable_labels(d$mixture)
  model
}

# A plan as of sampling_plan(), for run_particles().
zero_shot_plan <- function(mixture, n, steps, times, schedule, rotate = FALSE) {
  program <- compile_program(steps, times, mixture_dim(mixture), start_sd(schedule, times[1]))
  levels <- program_levels(program, schedule)
  check_levels(mixture, levels, program$level_times)
  check_root(program, mixture_dim(mixture))
  begin <- list(n = n, sd = start_sd(schedule, times[1]), label = "normal")
  list(mixture = mixture, schedule = schedule, times = times, begin = begin, method = "none",
       program = program, levels = levels, pool = core_pool(mixture, rotate), trajectory = FALSE)
}

plain_aim <- function(mixture, plan) {
  levels <- plan$levels
  levels$coef <- levels$scale
  list(models = rbind(log_weights(mixture)), levels = levels, scalars = integer(),
       log_prior = NULL)
}

refuse_method <- function(method) {
  if (!is.null(method)) abort_input("method", "NULL without an `observation`", describe(method))
}

check_method <- function(method, d) {
  check_zero_shot(method)
  if (method$ddpm && d$sampler$name != "ddpm") {
    refuse_sampler(d, paste("sampler_ddpm() for", method$label), "sampler_ddpm(50)")
  }
}

# The score that a method follows, as a function of points and a time.
conditional_scorer <- function(mixture, observation, method, schedule) {
  if (method$name == "exact") {
    law <- exact_posterior(mixture, observation)
    return(function(x, t) score(law, x, t, schedule))
  }
  if (is.null(method$score)) {
    abort_input("method", "one that is a score, as zero_shot_bo()", format(method))
  }
  frame <- zero_shot_frame(mixture, observation, method)
  inner <- turned_mixture(mixture, frame)
  pool <- core_pool(inner, rotate = FALSE)
  function(x, t) {
    level <- noise_level(mixture, t, schedule)
    ops <- c(method$score(op_eval("s", t = t), frame, level$a, level$b2),
             list(new_op("save", "x", from = "s")))
    program <- assemble_program(operation_table(ops, frame$d))
    run <- core_run(pool, rbind(log_weights(inner)), c(level, coef = 1), program, nrow(x),
                    start = t(frame$turn(t(x))))
    frame$back(run$output)
  }
}

# ---- Summary and plot

# The exact conditional law at the end time of a run.
exact_target <- function(x) {
  law <- exact_posterior(x$mixture, x$observation)
  diffuse(law, x$times[length(x$times)], x$schedule)
}

# |y - H x|^2 of points, and its mean under a law of known moments.
residual <- function(x, observation) {
  rowSums((tcrossprod(x, observation$H) - rep(observation$y, each = nrow(x)))^2)
}

run_residual <- function(run) sample_mean(residual(run$x, run$observation))

expected_residual <- function(moments, observation) {
  H <- unname(observation$H)
  sum((observation$y - drop(H %*% moments$mean))^2) + sum((H %*% unname(moments$cov)) * H)
}

in_words.conditional_sample <- function(x) in_dimensions(count_of(nrow(x$x), "draw"), ncol(x$x))

headline.conditional_sample <- function(x) about_process(x, in_words(x))

print_body.conditional_sample <- function(x, ...) {
  say_line("given:    ", format(x$observation))
  say_line("method:   ", format(x$method))
  if (!is.null(x$score_error)) say_line("score:    ", format(x$score_error))
  say_line("sampler:  ", format(x$sampler))
  say_line("schedule: ", schedule_words(x), ", from t = ", format(x$horizon, digits = 4), " to ",
           format(x$times[length(x$times)], digits = 4))
  if (nrow(x$x) > 1) say_line("E|y - Hx|^2: ", format_estimate(run_residual(x)))
  if (!is.null(x$history) && nrow(x$x)) {
    say_line("effective sample size: ", format(min(x$history$ess), digits = 3), " of ",
             x$method$params$particles, " on average, at its least")
  }
}

#' @export
summary.conditional_sample <- function(object, ...) {
  check_dots(...)
  x <- object$x
  sd <- apply(x, 2, stats::sd)
  variables <- data.frame(mean = if (nrow(x)) colMeans(x) else NA_real_,
                          mean_se = sd / sqrt(nrow(x)),
                          sd = sd,
                          row.names = variable_labels(object$mixture))
  residual <- run_residual(object)
  if (!inherits(object$mixture, "score_model")) {
    exact <- moments(exact_target(object))
    variables <- cbind(variables[c("mean", "mean_se")], exact_mean = exact$mean, sd = sd,
                       exact_sd = sqrt(diag(exact$cov)))
    residual <- cbind(residual, exact = expected_residual(exact, object$observation))
  }
  structure(list(sample = object, variables = variables, residual = residual),
            class = "summary.conditional_sample")
}

#' @export
print.summary.conditional_sample <- function(x, digits = 4, max = 10, ...) {
  check_dots(..., also = print.default)
  print(x$sample)
  if (!is.null(x$residual$exact)) {
    say(paste("exact value:", format(x$residual$exact, digits = digits)))
  }
  rows <- data.frame(variable = rownames(x$variables), x$variables)
  print_rows(table_words(utils::head(rows, max), digits), digits)
  more <- nrow(x$variables) - max
  if (more > 0) cat("... and", count_of(more, "more variable"), "\n")
  invisible(x)
}

#' @rdname plot.gaussmix
#' @export
autoplot.conditional_sample <- function(object, variables = NULL, ...) {
  check_dots(..., also = autoplot.gaussmix)
  if (inherits(object$mixture, "score_model")) {
    abort_input("object", "of a mixture, whose exact conditional law is shown", "a score_model()")
  }
  law <- exact_target(object)
  law$class[] <- merged
  # no crosses at components without weight
  law$weights[law$weights < 1e-3] <- 0
  law$weights <- law$weights / sum(law$weights)
  there <- rowSums(!is.finite(object$x)) == 0
  picture <- autoplot(law, data = object$x[there, , drop = FALSE], variables = variables, ...)
  flat <- ncol(object$x) == 1 || length(variables) == 1
  seen <- if (flat) "Line:" else "Lines hold 50% and 95% of"
  picture + words(paste(number(nrow(object$x)), "draws by", format(object$method)),
                  c(format(object$observation),
                    paste0(seen, " the exact conditional law, at t = ",
                           format(object$times[length(object$times)]))),
                  c(picture$labels$caption, fault_words(object$faults)))
}

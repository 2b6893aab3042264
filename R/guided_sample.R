#' Sample from a mixture by guided diffusion
#'
#' `guided_sample()` draws n particles from noise at the horizon and moves them to the data by a
#' sampler, whose score is the exact, guided score of the mixture.
#'
#' @details **Random numbers.** Particle `i` has its own stream, seeded by `(key, i)`. Runs with the
#'   same `key` and `points` (and, of nets, the same `n`) meet the same noise, whatever the
#'   strength, the class or the number of threads: they are coupled, and differences between them
#'   have small standard errors. (This holds for one mixture: the noise of a common full covariance
#'   is that of its eigenbasis, and a stochastic run meets other noise with a reduction than
#'   without.)
#'
#' **Log-density.** A deterministic sampler computes the density of the result:
#' * `"map"`: minus the sum of `log|det|` of the Jacobians of the steps. It is the exact log-density
#'   of the output as long as no step folds (has a negative determinant somewhere). It costs about d
#'   score evaluations per step.
#' * `"divergence"`: the integral of the divergence of the ODE by the sampler's own quadrature. It
#'   approximates the log-density of the continuous-time law, for samplers of the ODE; slowly with
#'   first-order ones (Euler, DDIM), because within a step narrow components change the density by
#'   much more than the divergence at its start.
#' * `"auto"`: `"map"` for deterministic samplers if d <= 16 (after a reduction), the density of the
#'   start is known and that of the result exists; otherwise `"none"`.
#'
#' **Reductions.** If components differ in a subspace only, of r dimensions, the run takes place
#' there; on the other directions all models are one Gaussian. The subspace is the smallest that
#' contains the differences of the means, is invariant under the covariances, and outside which the
#' covariances are equal:
#' * a common isotropic covariance: the span of the mean differences, r <= K - 1;
#' * another common covariance: their projections onto each of its eigenspaces, r <= K - 1 for each
#'   distinct eigenvalue; this helps if eigenvalues repeat or means agree;
#' * a covariance for each component: also all directions in which they differ.
#'
#' Deterministic samplers then take every particle to the same place as without reduction, up to
#' rounding (differences below 1e-13 of the scale of the mixture count as rounding). Stochastic
#' samplers have exactly the same law: the other directions are drawn, once, from the Gaussian that
#' the steps produce there. Log-density, confidence and entropy are those of all d dimensions.
#' There is no reduction for `trajectory = TRUE`, for a given `noise`, for samplers with one
#' coefficient per coordinate, and for a log-density if the steps fold the other directions.
#'
#' What a [guidance_rule()] does is the same in every orthonormal basis (except by `"rescale"`,
#' `"recfg"` and `"characteristic"`), and without noise it only lengthens or shortens the rest of a
#' particle. Such a run of a deterministic sampler takes place in the span of the means themselves,
#' r <= K, and in one dimension more for each distinct eigenvalue outside it: the length of the
#' rest.
#'
#' **Point masses** have no score at `t = 0`. Samplers never evaluate one there, and the confidence
#' is that at the last time with a score.
#'
#' @param mixture A [diffusion()], or a [gaussmix()]; some functions also take a [score_model()]
#'   that stands alone, see there.
#' @param n Number of particles (ignored if `start` is a matrix).
#' @param ... Arguments of [diffusion()] that follow the mixture there: `guidance`, `sampler`,
#'   `schedule`, `horizon`, `start`, `score_error`, `key`, `points`.
#' @param noise `NULL`, or the noise itself: an n x d x m array, or a function of n, d and m that
#'   returns one. m is the number of noise terms that the sampler and the `score_error` draw (one
#'   per step for `sampler_em()`), plus one, the first, for a `"normal"` start.
#' @param log_density How to compute the log-density, see Details.
#' @param trajectory Keep the particles at every time?
#' @param reduce Run in fewer dimensions if this is exact? See Details.
#' @param folder `NULL`, or the name of a folder for finished chunks of the run, from which an
#'   interrupted run can be resumed: see [scaling].
#' @return An object of class `guided_sample`: a list with
#'   * `x`: n x d matrix, with the names of the variables;
#'   * `log_density`: n log-densities of the law of the output, or `NULL`;
#'   * `confidence`: n probabilities `p(class | x)`, or `NULL` without guidance; `log_confidence`,
#'     their logarithms;
#'   * `folded`: n, did a step fold at this particle? (or `NULL`);
#'   * `clipped`: n, did a covariance of the noise have a negative eigenvalue, which was taken as 0?
#'     (only for `sampler_ddpm(variance = "matched")`); `reversed`, n, did a step turn its noise
#'     around? (only for `variance = "accelerated"`);
#'   * `trajectory`: times x n x d array, or `NULL`; `times`, the N + 1 times;
#'   * `family`: for evenly spread points (see [net]), the replicate of each particle;
#'   * `weights`: quadrature weights of the particles (those that [guidance_sweep()] keeps in one
#'     dimension), otherwise `NULL`;
#'   * the inputs and choices of the run: `mixture`, `guidance`, `sampler`, `schedule`, `horizon`,
#'     `start`, `key`, `density_method`, `confidence_time`, `score_error`; `reduced`, the reduction
#'     or `NULL`; `faults`, the faults of its start and steps ([horizon]).
#' @section Errors and warnings: Errors are of class `mixguide_error`, of a lost worker of class
#' `mixguide_error_chunk`, see [scaling]. Warnings of class `mixguide_warning` say that the start or
#' the last step is not right for the mixture, see [horizon]. A run in which particles overflow
#' (Euler steps with a very large strength) ends with a warning that counts them.
#' @seealso [guidance_sweep()] to compare strengths; [guided_summary()] for more particles than
#'   memory holds; [guided_law()] for the law of the output without particles; [tilted_sample()] to
#'   sample `p(x | class) p(class | x)^strength`, which guidance does not; [scaling] for several
#'   processes or hosts; [confidence()], [entropy()] for estimates.
#' @examples
#' m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(1, 1)), cov = .5, class = c("a", "b"))
#' set.seed(1)
#' run <- guided_sample(m, 1000, guidance("a", 2))
#' run
#' confidence(run)
#' entropy(run)
#' @export
guided_sample <- function(mixture, n = 1e4, ..., noise = NULL,
                          log_density = c("auto", "map", "divergence", "none"),
                          trajectory = FALSE, reduce = TRUE, folder = NULL) {
  d <- as_diffusion(mixture, ..., takes_points = TRUE, takes_model = TRUE)
  call <- call_of("guided_sample", d)
  refuse_noise(d, noise)
  plan <- sampling_plan(d, n, noise, log_density, trajectory, reduce)
  plan$faults <- warn_faults(plan_faults(plan))
  key <- run_key(d)
  with_call(run_plan(plan, d$guidance, key, folder), call, key)
}

quiet_sample <- function(...) without_faults(guided_sample(...))

# All of a run except the guidance's strength and the key: checked, compiled, with its start. `pool`
# has the components that the run uses; they may be more than the mixture's.
sampling_plan <- function(setting, n, noise = NULL, log_density = "auto", trajectory = FALSE,
                          reduce = TRUE) {
  check_flag(trajectory, "trajectory")
  check_flag(reduce, "reduce")
  mixture <- setting$mixture
  guidance <- setting$guidance
  schedule <- setting$schedule
  times <- setting$times
  process <- in_process(mixture)
  error <- check_score_error(setting$score_error)
  sampler <- with_noise(setting$sampler, error)
  wrong <- in_process(error, mixture)
  class <- guidance$class
  guide <- guidance_models(in_process(guidance, mixture), process, wrong$model)
  pool <- guidance_pool(guide)
  begin <- run_start(setting$start, mixture, n, class, schedule, times[1])
  closing <- if (!is.null(class)) closing_time(pool, times, schedule)
  d <- mixture_dim(mixture)
  by_rule <- !is.null(guide$rule)
  whole <- !reduce || trajectory || !is.null(noise) || !is.null(guide$score_model) ||
    !is.null(guide$matrix) || by_rule && (sampler$stochastic || !is_inner_rule(guide$rule))
  space <- if (!whole) reduced_space(pool, by_length = by_rule)
  inner <- if (is.null(space)) pool else space$mixture
  singular <- closing_time(pool, times, schedule) > times[length(times)]
  steps <- driven_steps(sampler, times, schedule, guide, wrong, d)
  method <- check_density_method(log_density, sampler, begin, mixture_dim(inner), singular,
                                 nonlinear_words(guide),
                                 unique(kinds_in(steps)))
  # the start of a reduced map is drawn in all d coordinates, not by the program
  start_sd <- if (is.null(space) || sampler$stochastic) begin$sd
  compiled <- function(steps) {
    compile_program(steps, times, d, start_sd, method, trajectory, closing,
                    n_models = nrow(guide$models))
  }
  program <- compiled(steps)
  levels <- program_levels(program, schedule, wrong$scale)
  check_levels(pool, levels, program$level_times)
  check_root(program, mixture_dim(inner))
  per_coordinate <- is_by_coordinate(program)
  rest <- if (!is.null(space)) {
    # lengths across W may follow a rule, with its memory
    kinds <- setdiff(op_kinds(program), if (by_rule) c("rule", "mix", "constant"))
    reducible <- !per_coordinate && !any(strange_on_gaussian(kinds))
    if (reducible && (sampler$stochastic || program$noises == 0)) {
      reduction(space, program, levels, begin, sampler$stochastic, pool$form == "full")
    }
  }
  if (is.null(rest) && !is.null(space)) {
    return(sampling_plan(setting, n, noise, log_density, trajectory, reduce = FALSE))
  }
  components <- core_pool(inner, rotate = !per_coordinate)
  components$used <- pool$weights > 0
  net <- if (identical(setting$points, "sobol") && is.null(noise)) {
    net_plan(begin$n, program, begin, rest, mixture_dim(inner))
  }
  # rules, matrices and users' models have the strength in the program
  in_program <- by_rule || !is.null(guide$score_model) || !is.null(guide$matrix)
  compile <- if (in_program) function(guide) {
    compiled(driven_steps(sampler, times, schedule, guide, wrong, d))
  }
  list(mixture = mixture, class = class, process = process, sampler = sampler, schedule = schedule,
       guidance = guidance, guide = guide, compile = compile, times = times, begin = begin,
       method = method, closing = closing, program = program, levels = levels, pool = components,
       reduction = rest, net = net, trajectory = trajectory, error = error, wrong = wrong,
       noise = check_noise(noise, begin$n, d, program$noises))
}

run_plan <- function(plan, guidance, key, folder = NULL) {
  aim <- plan_aim(plan, guidance)
  run <- run_particles(plan, aim, key, folder)
  structure(c(run, made_by(plan, guidance, key)), class = object_class("guided_sample"))
}

# The parts that a guidance adds to a plan: models and coefficients, the scalars wanted, and the
# log-probability of the class (NULL if unguided).
plan_aim <- function(plan, guidance) {
  guide <- plan[["guide"]]
  own <- !is.null(guide) && identical(guidance, plan$guidance)
  if (!own) {
    guide <- guidance_models(in_process(guidance, plan$mixture), plan$process, plan$wrong$model)
  }
  levels <- plan$levels
  levels$coef <- guide$coef(plan$program$level_times, plan$program$level_of)
  levels$push <- guide$push(plan$program$level_times, plan$program$level_of)
  if (!is.null(levels$scale)) {
    levels$coef <- levels$coef * rep(levels$scale, each = nrow(guide$models))
  }
  scalars <- c(if (plan$method != "none") unlist(SCALAR[c("change", "folded", "start")]),
               if (takes_root(plan$program)) SCALAR$clipped,
               if (turns_noise(plan$program)) SCALAR$reversed,
               if (!is.null(guidance)) SCALAR$closing + 0:1)
  list(models = guide$models, levels = levels, scalars = scalars, log_prior = guide$log_prior,
       program = if (!is.null(plan$compile) && !own) plan$compile(guide))
}

made_by <- function(plan, guidance, key) {
  list(mixture = said_mixture(plan$mixture), guidance = guidance, sampler = plan$sampler,
       schedule = plan$schedule, times = plan$times, horizon = plan$times[1],
       start = plan$begin$label, key = key, density_method = plan$method,
       points = if (!is.null(plan$net)) "sobol", confidence_time = plan$closing,
       score_error = plan$error, reduced = plan$reduction$label, faults = plan$faults)
}

# All particles of a plan, chunk by chunk, as the first elements of a guided_sample().
run_particles <- function(plan, aim, key, folder = NULL,
                          size = chunk_size(plan, is_shared(folder))) {
  n <- plan$begin$n
  task <- list(name = "sample", work = sample_chunk, job = particle_job(plan, aim, key))
  run <- list()
  lost <- 0
  each_chunk(task, n, size, folder = folder, collect = function(part, first, count) {
    lost <<- lost + part$lost
    part$lost <- NULL
    if (count == n) return(run <<- part) # one chunk is the run
    if (first == 0) run <<- lapply(part, room_for, n)
    for (name in names(part)) put_part(run[[name]], part[[name]], first, count)
  })
  warn_lost(lost, n)
  fields <- c("x", "log_density", "confidence", "log_confidence", "folded", "trajectory")
  run <- c(stats::setNames(run[fields], fields), run[setdiff(names(run), fields)])
  if (plan$method != "none") run$start_entropy <- plan$begin$entropy
  if (!is.null(plan$net)) run$family <- replicate_of(plan$net, 0, n)
  run
}

# The parts of a plan that a worker needs. Functions would bring their environments along, so the
# list has only those that the program calls.
particle_job <- function(plan, aim, key) {
  left <- c("sampler", "schedule", "error", "wrong", "process", "compile", "guidance", "guide")
  list(plan = plan[setdiff(names(plan), left)], aim = aim, key = key)
}

sample_chunk <- function(job, first, count) {
  plan <- draw_start(plan_part(job$plan, first, count), job$key)
  read_chunk(run_chunk(plan, job$aim, job$key), plan, job$aim$log_prior)
}

# Draws a start that is given as a law, and returns the plan with it.
draw_start <- function(plan, key) {
  law <- plan$begin$law
  if (is.null(law)) return(plan)
  plan$begin$law <- NULL
  plan$begin$x <- keyed_draws(law, plan$begin$n, key, particles_before(plan), plan$net)
  if (plan$method != "none") plan$begin$log_density <- dgaussmix(plan$begin$x, law, log = TRUE)
  plan
}

# The particles of a plan, or of a plan_part(), as if there were no others: the noise of a particle
# depends on its number alone.
run_chunk <- function(plan, aim, key) {
  program <- if (is.null(aim$program)) plan$program else aim$program
  net <- keyed_net(plan$net, key)
  run <- function(start) {
    core_run(plan$pool, aim$models, aim$levels, program, plan$begin$n, aim$scalars, start,
             plan$noise, key, particles_before(plan), net = net, at = plan$net$at)
  }
  if (is.null(plan$reduction)) run(plan$begin$x) else run_reduced(plan, key, net, run)
}

# The start of a run, in the coordinates of its process: n, and x with its log-density (NULL if
# unknown), or the sd of a normal that the engine draws, or a law to draw from. `entropy`: that of
# the start, in the variables of the mixture, if it is exact.
run_start <- function(start, mixture, n, class, schedule, horizon) {
  d <- mixture_dim(mixture)
  if (is.character(start)) {
    start <- check_choice(start, c("normal", "exact"), "start")
    label <- start
    if (start == "normal") {
      sd <- start_sd(schedule, horizon)
      return(list(n = check_particles(n), sd = sd, label = "normal",
                  entropy = d * log(2 * pi * exp(1) * sd^2) / 2 + log_units(mixture)))
    }
    law <- diffuse(class_law(in_process(mixture), class), horizon, schedule)
  } else if (inherits(start, "gaussmix")) {
    check_same_variables(start, mixture, "start")
    law <- in_process(start, mixture)
    label <- "mixture"
  } else {
    x <- check_points(start, mixture, "start")
    log_density <- attr(start, "log_density")
    ok <- is.null(log_density) || is.numeric(log_density) && length(log_density) == nrow(x) &&
      all(is.finite(log_density))
    if (!ok) {
      abort_input("start", paste("with", nrow(x), "finite numbers as attribute log_density"),
                  describe(log_density))
    }
    if (!is.null(log_density)) log_density <- as.double(log_density) + log_units(mixture)
    return(list(n = nrow(x), x = to_process(x, mixture), log_density = log_density,
                label = "given"))
  }
  list(n = check_particles(n), law = law, label = label)
}

# The faults of a plan's run. `start`: points or a law, if the user gave them, or its kind.
plan_faults <- function(plan, guidance = plan$guidance, start = given_start(plan$begin)) {
  c(run_faults(plan$process, plan$schedule, plan$times, start),
    profile_faults(guidance, plan$sampler, plan$times),
    model_faults(plan$wrong$model, guidance, plan$mixture, plan$schedule, plan$times, start))
}

given_start <- function(begin) {
  switch(begin$label, given = begin$x, mixture = begin$law, begin$label)
}

check_density_method <- function(method, sampler, begin, d, singular, nonlinear, kinds) {
  method <- check_choice(method, c("auto", "map", "divergence", "none"), "log_density")
  if (method == "none") return(method)
  known <- !is.null(begin$sd) || !is.null(begin$log_density) ||
    (!is.null(begin$law) && !is_singular(begin$law))
  without <- kinds[!carries(kinds, "map")]
  wanted <- if (sampler$stochastic) '"none" for a stochastic sampler or a noisy score' else
    if (!is.null(nonlinear)) paste('"none" for a guidance with', nonlinear) else
      if (any(reads_hessian(kinds))) {
        '"none" for a sampler that uses the derivative of the score'
      } else if (!known) '"none" for a start whose density is not known' else
        if (length(without)) paste0('"none" for a step with op_', without[1], "()") else
          if (method == "divergence" && !sampler$divergence) {
            paste('"map" or "none" for', sampler$label)
          }
  if (method == "auto") return(if (is.null(wanted) && !singular && d <= 16) "map" else "none")
  if (!is.null(wanted)) abort_input("log_density", wanted, describe(method))
  method
}

# The time of the confidence: the last, or for point masses the last with noise.
closing_time <- function(mixture, times, schedule) {
  last <- times[length(times)]
  if (is_singular(mixture) && schedule$b2(last) == 0) times[length(times) - 1] else last
}

# Heun and Runge-Kutta steps evaluate the score at their end; point masses have none at t = 0.
check_levels <- function(mixture, levels, times) {
  without <- levels$a^2 * min(used_values(mixture)) + levels$b2 <= 0
  if (any(without)) {
    abort(paste0("`sampler` takes the score at t = ", format(times[without][1]), ", where this ",
                 "mixture has none (a covariance is singular); take a sampler with `end` > 0"),
          "singular")
  }
}

check_noise <- function(noise, n, d, m) {
  if (is.null(noise)) return(NULL)
  if (is.function(noise)) noise <- from_user(noise(n, d, m), "noise")
  if (is.numeric(noise) && length(dim(noise)) == 2 && d == 1) dim(noise) <- c(dim(noise)[1], 1, m)
  ok <- is.numeric(noise) && length(dim(noise)) == 3 && all(dim(noise) == c(n, d, m))
  if (ok) storage.mode(noise) <- "double"
  if (!ok || !all_finite(noise)) {
    abort_input("noise", paste0("finite numbers in an array ", n, " x ", d, " x ", m,
                                ", or a function that returns them"), describe(noise))
  }
  noise
}

# Larger values overflow when squared, and so do densities.
LARGEST <- 1e149

# The core's results for some particles, as elements of a guided_sample(); and the number of lost
# particles.
read_chunk <- function(result, plan, log_prior) {
  scalar <- result$scalar
  x <- each_slice(result$output, from_process, plan$mixture)
  names <- variable_names(plan$mixture)
  part <- list()
  if (plan$trajectory) {
    part$trajectory <- aperm(x, c(3, 1, 2))
    dimnames(part$trajectory) <- list(t = format(plan$times, digits = 4), NULL, names)
    x <- matrix(x[, , length(plan$times)], dim(x)[1], dim(x)[2])
  }
  part$x <- name_dims(x, NULL, names)
  if (plan$method != "none") {
    part$density_change <- scalar[[SCALAR$change]]
    start <- if (is.null(plan$begin$sd)) plan$begin$log_density else scalar[[SCALAR$start]]
    part$log_density <- start + part$density_change - log_units(plan$mixture)
    if (plan$method == "map") part$folded <- scalar[[SCALAR$folded]] > 0
  }
  if (takes_root(plan$program)) part$clipped <- scalar[[SCALAR$clipped]] > 0
  if (turns_noise(plan$program)) part$reversed <- scalar[[SCALAR$reversed]] > 0
  if (!is.null(plan$mixture$model)) {
    if (!is.null(plan$class)) {
      part$log_confidence <- model_log_confidence(plan$mixture$model, part$x, plan$class)
    }
  } else if (!is.null(log_prior)) {
    odds <- scalar[[SCALAR$closing]] - scalar[[SCALAR$closing + 1]]
    part$log_confidence <- pmin(log_prior + odds, 0)
  }
  if (!is.null(part$log_confidence)) part$confidence <- exp(part$log_confidence)
  part$lost <- 0
  if (!all_finite(x, LARGEST)) {
    lost <- rowSums(is.na(x) | abs(x) > LARGEST) > 0
    part$lost <- sum(lost) + 0
    part$x[lost, ] <- NaN
    for (field in c("log_density", "density_change", "log_confidence", "confidence")) {
      if (!is.null(part[[field]])) part[[field]][lost] <- NaN
    }
  }
  part
}

warn_lost <- function(lost, n) {
  if (!lost) return()
  warning(lost, " of ", n, " particles overflowed: the steps are too large for this strength",
          call. = FALSE)
}

# The head lines of a run's print.
say_setup <- function(x) {
  say(c(process_lines(x), if (!is.null(x$reduced)) paste0("reduced:  ", x$reduced)))
}

in_words.guided_sample <- function(x) in_dimensions(count_of(nrow(x$x), "particle"), ncol(x$x))

print_body.guided_sample <- function(x, ...) {
  say_setup(x)
  if (nrow(x$x)) {
    if (!is.null(x$confidence)) say_line("confidence: ", format_estimate(confidence(x)))
    if (!is.null(x$log_density)) say_line("entropy:    ", format_entropy(x))
  }
  say_share("clipped:    negative eigenvalues of the noise's covariance at ", x$clipped)
  say_share("reversed:   too long steps turn the noise around at ", x$reversed)
}

say_share <- function(words, is) {
  if (any(is)) say_line(words, format(mean(is), digits = 3), " of the particles")
}

#' @export
summary.guided_sample <- function(object, ...) {
  check_dots(...)
  x <- object$x
  rows <- lapply(seq_len(ncol(x)), function(j) {
    mean <- particle_mean(object, x[, j])
    square <- particle_mean(object, (x[, j] - mean$estimate)^2)
    # one particle has no spread
    sd <- if (nrow(x) > 1) sqrt(square$estimate) else NA_real_
    data.frame(mean = mean$estimate, mean_se = mean$se, sd = sd)
  })
  variables <- do.call(rbind, rows)
  rownames(variables) <- variable_labels(object$mixture)
  structure(list(sample = object, variables = variables), class = "summary.guided_sample")
}

#' @export
print.summary.guided_sample <- function(x, digits = 4, ...) {
  check_dots(..., also = print.default)
  print(x$sample)
  folded <- x$sample$folded
  if (any(folded)) {
    share <- particle_mean(x$sample, as.double(folded))$estimate
    cat("  folded:     ", format(share, digits = 3), " of the particles\n", sep = "")
  }
  print_rows(table_words(data.frame(variable = rownames(x$variables), x$variables), digits), digits)
  invisible(x)
}

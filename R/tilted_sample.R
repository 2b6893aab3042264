# Guidance does not sample the tilted law p(x | y) p(y | x)^eta. Weighted particles do: a weight is
# the density of the tilted law over that of the sampler's law at the particle.

#' Sample from the tilted law, by weights
#'
#' Guidance of strength `eta` is often thought to sample the tilted law, with density
#' proportional to `p(x | class) p(class | x)^eta` (see [tilted_law()]). It does not, but its
#' particles can be weighted so that they do. `tilted_sample()` runs a guided sampler, weights its
#' particles, and resamples them during the run when too few of them carry the weight.
#'
#' @details Let `gamma_t(x) = p_t(x | class) p_t(class | x)^eta` and `g = grad log p_t(class | x)`.
#'
#' **`"feynman-kac"` weights.** In continuous time the guided ODE, the guided SDE and everything
#' between them follow `gamma_t` exactly, if a particle's weight grows by `d log W = eta (1 + eta)
#' |g|^2 G^2/2 dt`, where `G^2` is that of the [schedule] (`G^2/2 = 1` for the Ornstein-Uhlenbeck
#' process); `eta` must be one number. Here the paths have steps: the error is that of the sampler.
#' The integral has fourth order along the paths of deterministic samplers; along the others it is
#' done by the trapezoidal rule.
#'
#' **`"path"` weights.** A stochastic sampler draws `x' = m(x) + sd z` in each step. The weight of
#' its path is `gamma(x_0) prod N(x; (a/a') x', beta I) / (q(x_T) prod N(x'; m(x), sd^2 I))`, where
#' the products are over the steps from `t` to `t'`, the numerator is the forward process that leads
#' from the tilted law back to the path, and `q` is the density of the start. For a deterministic
#' sampler the weight is `gamma(x_0)` divided by the density of the result, as long as no step folds
#' (a warning says so). These weights are exact for *any* number of steps and any guidance, also of
#' another strength than the tilt, changing with time or in an interval only; coarse steps cost
#' variance. The weights need noise in every step: not the `"posterior"` variance of
#' [sampler_ddpm()] down to `t = 0`.
#'
#' **The start** is weighted too, by `gamma_T(x) / q(x)`: a finite horizon causes no error.
#'
#' **Resampling.** The particles of a stochastic sampler are divided into 16 islands (fewer if there
#' are less than 128). At some 50 times an island is resampled if its effective sample size
#' `1 / sum(w^2)` is below `resample` times its size: its particles are drawn anew in proportion to
#' their weights, which then are equal (systematic resampling; copies separate in the steps that
#' follow), and the island keeps its mean weight. Particles of deterministic samplers are not
#' resampled, because they would only be copied.
#'
#' **Standard errors** are those of a ratio of means, by the delta method (for the normalising
#' constant on the log scale), over independent units: the particles, or the islands if any was
#' resampled. Islands are few, so two standard errors cover as under Student's law. With
#' `"feynman-kac"` weights estimates also have the error of the steps. For strengths >= 0 the
#' normalising constant, the confidence, the entropy and the means in `summary()` are compared with
#' 1e4 draws or more of the class itself, which have no such error: if they differ by more than the
#' error of the particles, the difference is the standard error.
#'
#' **Heavy tails.** Guidance leads away from a part of the mass of the tilted law. The few particles
#' that stay there carry all the weight, and if there are none, every estimate is wrong and looks
#' precise. Estimates are `NA`, with a note, in three cases: the weights have a Pareto tail with `k`
#' above 1/2 (without resampling; see [guidance_sweep()]); the relative standard error of the
#' normalising constant is above 10%; or the constant differs from that by draws of the class itself
#' (by more than 3 standard errors and, if `"feynman-kac"` weights have the error of the steps, 15%;
#' the weights of these draws are at most 1). The cure is more particles, guidance of less strength
#' than the tilt (with `"path"` weights), or draws of the class, weighted by `p(class | x)^eta`.
#'
#' **Random numbers.** With `resample = 0`, and for deterministic samplers, the particles are those
#' of an unreduced [guided_sample()] with the same `key`.
#'
#' @inheritParams guided_sample
#' @param strength Strength `eta` of the tilt; `NULL` for that of the guidance, the only one for
#'   `"feynman-kac"` weights.
#' @param weights The kind of weights.
#' @param resample An island is resampled if its effective sample size is below this share of its
#'   particles; 1: at every look, 0: never.
#' @param exact Whether to use quadrature instead of draws. It needs d = 1, a deterministic sampler
#'   and a `"normal"` start. The start's `n` nodes (at least 4001) span 20 standard deviations to
#'   each side, because the tilted law may come from the start's tails.
#' @param folder As in [guided_sample()]; chunks are whole islands.
#' @param ... Further arguments of [diffusion()] that follow the mixture there. `guidance` is
#'   towards one class. The default `sampler` is `sampler_em()`; `"path"` weights need one whose
#'   steps draw one noise each, and add it at the end. A `start` that is a matrix needs its
#'   attribute `log_density`.
#' @return An object of class `tilted_sample`, a [guided_sample()] in which
#'   * `weights`: n weights, which sum to 1; [confidence()], [entropy()] and `summary()` use them;
#'   * `log_density`: of the *tilted* law, with its estimated normalising constant;
#'   * `ess`: the effective sample size, which counts copies as independent; `families`, the number
#'     of starts from which particles descend; `ancestor`, n numbers of these starts; `family`, n
#'     numbers of the independent units, particles or islands (`NULL` if exact);
#'   * `log_normaliser`: `log E[p(class | x)^eta | class]`, a data frame with `estimate`, `se` and
#'     `method`; `log_normaliser_check`: the same by draws of the class, or `NULL` if exact or for
#'     `eta < 0`;
#'   * `heavy`: `NULL`, or the reason for giving no estimate;
#'   * `history`: a data frame of the looks, the times `t` at which islands may be resampled, with
#'     the mean effective sample size of an island, `ess`, and the share of the islands that were
#'     `resampled` (`NULL` if exact);
#'   * `tilt`, the strength, and `weighting`, the kind of weights.
#' @section Errors: of class `mixguide_error`: for point masses down to `t = 0`, starts without a
#'   density, and samplers or guidance that a kind of weights cannot follow.
#' @source The Feynman-Kac weight is that of Skreta et al. (2025), \doi{10.48550/arXiv.2503.02819},
#'   for classifier-free guidance; in the form for any schedule, and the path weights, derived for
#'   this package; the latter are a case of Del Moral, Doucet and Jasra (2006),
#'   \doi{10.1111/j.1467-9868.2006.00553.x}. Islands, and the comparison with draws of the class,
#'   are this package's. Pareto tails of weights: Vehtari, Simpson, Gelman, Yao and Gabry (2024),
#'   \doi{10.48550/arXiv.1507.02646}.
#' @seealso [tilted_law()] for the tilted law itself in low dimension.
#' @examples
#' m <- named_mixture("A2")
#' set.seed(1)
#' tilted <- tilted_sample(m, 1000, guidance("1", 1), sampler_em(100))
#' tilted
#' # what guidance samples instead
#' confidence(guided_sample(m, 1000, guidance("1", 1), sampler_em(100)))
#' confidence(tilted_law(m, guidance("1", 1)))
#' @export
tilted_sample <- function(mixture, n = 1e4, ..., weights = c("feynman-kac", "path"),
                          strength = NULL, resample = 1, exact = FALSE, folder = NULL) {
  d <- as_diffusion(mixture, ..., default = list(sampler = sampler_em()), without = "score_error")
  call <- call_of("tilted_sample", d)
  guidance <- plain_guidance(d)
  mixture <- d$mixture
  sampler <- d$sampler
  schedule <- d$schedule
  kind <- check_choice(weights, c("feynman-kac", "path"), "weights")
  strength <- tilt_strength(guidance, strength, kind)
  resample <- check_number(resample, "resample", min = 0, max = 1)
  key <- run_key(d)
  nodes <- list(start = d$start)
  if (check_flag(exact, "exact")) nodes <- sweep_start(d, TRUE, max(n, 4001), reach = 20)
  d$start <- nodes$start
  method <- if (kind == "path" && !sampler$stochastic) "map" else "none"
  plan <- sampling_plan(d, n, log_density = method, reduce = FALSE)
  if (plan$begin$n == 0) abort_input("n", "at least 1", "0")
  if (plan$closing > plan$times[length(plan$times)]) {
    abort("`mixture` has a singular covariance, and so has the tilt: stop the sampler at `end` > 0",
          "singular")
  }
  plan <- draw_start(replace(plan, "method", "map"), key)
  if (is.null(plan$begin$sd) && is.null(plan$begin$log_density)) {
    abort_input("start", "of known density (attribute log_density)", plan$begin$label)
  }
  plan$method <- method
  # the nodes stand for a normal start
  faults <- if (exact) plan_faults(plan, start = "normal") else plan_faults(plan)
  plan$faults <- warn_faults(faults)
  if (exact) plan$begin$label <- "normal, by quadrature"
  aim <- guidance_models(guidance, plan$process)
  run <- run_weighted(plan, aim, strength, kind, resample, key, nodes$weights, folder)
  if (any(run$folded)) {
    warning("steps fold the map at ", format(mean(run$folded), digits = 2), " of the particles: ",
            "where several starts end they count several times; take more steps", call. = FALSE)
  }
  plan$method <- "tilt"
  run <- structure(c(run, list(tilt = strength, weighting = kind), made_by(plan, guidance, key)),
                   class = object_class(c("tilted_sample", "guided_sample")))
  with_call(if (exact) run else judge_weights(run), call, key)
}

# The strength of the tilt to which the particles of a guidance are weighted.
tilt_strength <- function(guidance, strength, kind) {
  own <- if (is.null(guidance$interval) && !is.null(guidance$scale)) guidance$strength(0)
  if (is.null(strength)) {
    if (is.null(own)) abort_input("strength", "given for a guidance whose strength varies")
    return(own)
  }
  strength <- check_number(strength, "strength")
  if (kind == "feynman-kac" && !identical(strength, own)) {
    abort_input("strength", paste("that of the guidance, which must be one number,",
                                  'unless weights = "path"'), format(strength))
  }
  strength
}

# log p(x | class) p(class | x)^eta, from the log-densities of the class and of the mixture.
log_tilt <- function(log_class, log_all, log_prior, strength) {
  log_class + strength * pmin(log_prior + log_class - log_all, 0)
}

# ---- Running

# All islands. `nodes`: weights of a quadrature.
run_weighted <- function(plan, aim, strength, kind, resample, key, nodes = NULL, folder = NULL) {
  n <- plan$begin$n
  N <- length(plan$times) - 1
  often <- if (resample > 0 && plan$sampler$stochastic) min(N, 50) else 1
  looks <- ceiling(N * seq_len(often) / often)
  drawn <- is.null(nodes)
  job <- c(particle_job(plan, aim[c("models", "log_prior")], key),
           list(parts = weighted_parts(plan, aim, strength, kind, looks), strength = strength,
                kind = kind, each = island_size(n), looks = often, resample = resample))
  run <- run_filter("tilt", island_chunk, job, n, chunk_size(plan, is_shared(folder)),
                    plan$times[looks + 1], folder, here = !drawn)
  w <- relative_weights(run$log_w, nodes)
  log_z <- log_mean(run$log_w, nodes)
  resampled <- any(run$history$resampled > 0)
  family <- if (drawn) if (resampled) (seq_len(n) - 1) %/% job$each + 1 else seq_len(n)
  z <- if (drawn) {
    estimate_row(log_z, families_se(w - 1 / n, family), "Monte Carlo")
  } else estimate_row(log_z, 0, "quadrature")
  list(x = name_dims(from_process(run$x, plan$mixture), NULL, variable_names(plan$mixture)),
       log_density = run$log_tilt - log_z - log_units(plan$mixture),
       confidence = exp(run$log_confidence), log_confidence = run$log_confidence,
       folded = run$folded, trajectory = NULL, weights = w, ess = 1 / sum(w^2),
       families = if (drawn) length(unique(run$ancestor[w > 0])),
       ancestor = if (drawn) run$ancestor, family = family, log_normaliser = z,
       history = if (drawn) run$history)
}

# Particles of an island: 16 islands, or as many as leave each 8 particles.
island_size <- function(n) ceiling(n / max(1, min(16, n %/% 8)))

island_chunk <- function(job, first, count) {
  plan <- plan_part(job$plan, first, count)
  tilt <- function(log_p) log_tilt(log_p[[1]], log_p[[2]], job$aim$log_prior, job$strength)
  move <- function(state, i) {
    own <- state$own
    key <- if (i == 1) job$key else stream(job$key, "steps", i)
    part <- run_part(plan, job$aim$models, job$parts[[i]], own$x, count, key, first)
    own$x <- part$x
    log_w <- state$log_w + part$weight
    if (i == 1) {
      log_start <- if (is.null(plan$begin$sd)) plan$begin$log_density else part$start
      own$tilt <- tilt(part$first)
      log_w <- log_w + own$tilt - log_start
    }
    # the path weights telescope to the density; Feynman-Kac weights integrate it
    if (i == job$looks || job$kind == "path") {
      before <- own$tilt
      own$tilt <- tilt(part$closing)
      if (job$kind == "path") log_w <- log_w + own$tilt - before
    }
    list(own = own, log_w = log_w, closing = part$closing, folded = part$folded)
  }
  run <- particle_filter(list(own = list(x = plan$begin$x)), move, job, first, count)
  own <- run$own
  log_q <- pmin(job$aim$log_prior + (run$closing[[1]] - run$closing[[2]]), 0)
  list(x = own$x, log_w = run$log_w, log_tilt = own$tilt, log_confidence = log_q,
       folded = run$folded, ancestor = own$ancestor, history = run$history)
}

# The reason why the weights are unreliable, if they are; it is the note of the missing numbers.
judge_weights <- function(run) {
  z <- run$log_normaliser
  n <- length(run$weights)
  path <- run$weighting == "path"
  check <- if (run$tilt >= 0) class_draws(run)
  # is it farther from the value by draws of the class than both errors explain? Feynman-Kac weights
  # have the error of the steps, too
  apart <- function(row, other, most) {
    # errors from 16 islands: beyond 4 of them lies 1 run in 1000
    far <- max(4 * sqrt(sum(row$se^2, other$se^2)), if (path) 1e-9 else most)
    isTRUE(abs(row$estimate - other$estimate) > far)
  }
  both <- function(what, row, other) {
    paste0(what, " is ", format_estimate(row), ", by draws of the class ", format_estimate(other))
  }
  q <- sample_mean(run$confidence, run$weights, run$family)
  known_q <- if (!is.null(check)) sample_mean(check$confidence, check$weights, check$family)
  tail <- tail_of(log(run$weights), tail_size(n))
  run["heavy"] <- list(
    if (max(run$family) == n && is_heavy(tail, n, 1 / n)) {
      paste0("the weights have a Pareto tail of k = ", format(pareto_k(tail), digits = 2))
    } else if (isTRUE(z$se > .1)) {
      paste0("the normalising constant has a relative standard error of ", format(z$se, digits = 2))
    } else if (apart(z, check$log_normaliser, .15)) {
      both("the logarithm of the normalising constant", z, check$log_normaliser)
    } else if (apart(q, known_q, .03)) both("the mean confidence", q, known_q)
  )
  run["log_normaliser_check"] <- list(check$log_normaliser)
  run$log_normaliser <- if (is.null(run$heavy)) {
    with_step_error(z, run, function(check) check$log_normaliser, check)
  } else heavy_row()
  run
}

# Another sample of the same tilted law: draws of the class, whose weights p(class | x)^eta are at
# most 1 and have no error of steps.
class_draws <- function(run) {
  n <- max(1e4, min(nrow(run$x), 1e5))
  law <- diffuse(in_process(run$mixture), run$times[length(run$times)], run$schedule)
  part <- class_law(law, run$guidance$class)
  x <- unname(keyed_draws(part, n, stream(run$key, "check")))
  log_q <- log_class_probability(law, run$guidance$class)(x)
  z <- log_of_mean(mean_of_weights(run$tilt * log_q))
  own <- list(x = name_dims(from_process(x, run$mixture), NULL, variable_names(run$mixture)),
              log_density = dgaussmix(x, part, log = TRUE) + run$tilt * log_q - z$estimate -
                log_units(run$mixture),
              confidence = exp(log_q), log_confidence = log_q,
              weights = relative_weights(run$tilt * log_q), family = seq_len(n),
              log_normaliser = z, weighting = "draws of the class")
  run[names(own)] <- own
  run$heavy <- run$folded <- NULL
  run
}

# Feynman-Kac weights also have the error of the steps. The difference of an estimate from that by
# draws of the class, beyond its own error, is its standard error if it is larger.
with_step_error <- function(rows, run, estimate, check = class_draws(run)) {
  sure <- run$weighting != "feynman-kac" || is.null(run$family) || run$tilt < 0
  if (sure || !is.null(run$heavy)) return(rows)
  known <- estimate(check)
  gap2 <- (rows$estimate - known$estimate)^2 - known$se^2
  rows$se <- sqrt(ifelse(is.na(gap2), rows$se^2, pmax(rows$se^2, gap2)))
  rows
}

relative_weights <- function(log_w, nodes = NULL) {
  if (!is.null(nodes)) log_w <- log_w + log(nodes)
  top <- max(log_w)
  if (top == -Inf) abort("no particle is left that has a weight", "weights")
  w <- exp(log_w - top)
  w / sum(w)
}

# ---- Programs

# Scalars beside those of compile_program(): the weight, and log p_j at the start.
WEIGHT <- SCALAR$closing + 2
FIRST <- SCALAR$closing + 3:4

# The programs between the looks, with their levels.
weighted_parts <- function(plan, aim, strength, kind, looks) {
  steps <- sampler_program(plan$sampler, plan$times, plan$schedule)
  refuse_own_strength(steps, plan$sampler$label)
  ops <- switch(kind, path = path_weights, feynman_kac)(plan, steps, looks, strength)
  lapply(seq_along(looks), function(i) {
    k <- seq(if (i == 1) 1 else looks[i - 1] + 1, looks[i])
    check_reads(steps[k])
    times <- plan$times[c(k, k[length(k)] + 1)]
    own <- ops[k]
    if (i == 1) {
      look <- new_op("eval", to = "", from = "x", t = times[1], scalar = FIRST[1])
      # an evaluation with a derivative needs a register
      if (plan$method == "map") look$to <- "(first)"
      own[[1]] <- c(list(look), own[[1]])
    }
    closing <- if (i == length(looks) || kind == "path") times[length(times)]
    program <- compile_program(own, times, mixture_dim(plan$mixture), if (i == 1) plan$begin$sd,
                               plan$method, closing = closing, n_models = 5)
    t <- program$level_times
    list(program = program,
         levels = list(a = plan$schedule$a(t), b2 = plan$schedule$b2(t), want = program$level_want,
                       coef = aim$coef(t, program$level_of)))
  })
}

# Runs one of these programs. Returns the particles, the growth of their log-weights, and log p_j at
# the start and at the end, if they are wanted.
run_part <- function(plan, models, part, x, n, key, first) {
  wanted <- c(unlist(SCALAR[c("change", "folded", "start")]), SCALAR$closing + 0:4)
  run <- core_run(plan$pool, models, part$levels, part$program, n, wanted, x, key = key,
                  first = first)
  scalar <- run$scalar
  map <- plan$method == "map"
  list(x = run$output, weight = scalar[[WEIGHT]] - map * scalar[[SCALAR$change]],
       closing = scalar[SCALAR$closing + 0:1], start = scalar[[SCALAR$start]],
       first = scalar[FIRST], folded = if (map) scalar[[SCALAR$folded]] > 0)
}

# Operations of all steps, and those that add eta (1 + eta) |g|^2 G^2/2 times the coefficients of a
# quadrature over the times between two looks.
feynman_kac <- function(plan, steps, looks, strength) {
  times <- plan$times
  rate <- strength * (1 + strength) * plan$schedule$diffusion2(times) / 2
  at <- function(k, weight) {
    list(new_op("eval", to = "(gain)", from = "x", t = times[k], of = "gain"),
         new_op("dot", to = "x", from = "(gain)", scalar = WEIGHT,
                coef = list("(gain)" = c(0, weight * rate[k]))))
  }
  if (strength %in% c(0, -1)) return(steps)
  need_memory(times, plan$schedule, "these weights")
  ends <- c(0, looks)
  for (i in seq_along(looks)) {
    k <- seq(ends[i] + 1, ends[i + 1])
    weight <- grid_quadrature(times[c(k, max(k) + 1)], if (plan$sampler$stochastic) 2 else 4)
    steps[k] <- Map(function(ops, k, weight) c(at(k, weight), ops), steps[k], k,
                    weight[-length(weight)])
    steps[[max(k)]] <- c(steps[[max(k)]], at(max(k) + 1, weight[length(weight)]))
  }
  steps
}

# The same, with those that add log N(x; (a/a') x', beta I) - log N(x'; m(x), sd^2 I).
path_weights <- function(plan, steps, looks, strength) {
  if (!plan$sampler$stochastic) return(steps)
  d <- mixture_dim(plan$mixture)
  one <- step_constants(seq_along(steps), plan$times, plan$schedule)
  Map(function(ops, ratio, beta, k) {
    noise <- step_noise(ops, k)
    constant <- d * (log(noise$sd) - log(beta) / 2)
    z <- stats::setNames(list(c(constant, .5)), noise$register)
    c(list(op_linear("(old)", c(x = 1))), ops,
      list(new_op("dot", to = "x", from = noise$register, scalar = WEIGHT, coef = z),
           op_linear("(old)", c("(old)" = 1, x = -1 / ratio)),
           new_op("dot", to = "x", from = "(old)", scalar = WEIGHT,
                  coef = list("(old)" = c(0, -1 / (2 * beta))))))
  }, steps, one$ratio, one$beta, seq_along(steps))
}

# The register and the standard deviation of the noise of a step x' = m(x) + sd z.
step_noise <- function(ops, k) {
  form <- step_forms(list(ops))[[1]]
  sd <- form$x[form$noises]
  if (length(sd) != 1 || !isTRUE(sd > 0) || is.na(form$held)) {
    abort_input("sampler", paste("one that adds noise of positive variance at the end of every",
                                 'step, unless weights = "feynman-kac"'),
                paste("another at step", k))
  }
  list(register = form$held, sd = sd)
}

# ---- Methods

#' @export
confidence.tilted_sample <- function(x, class = NULL, ...) {
  check_dots(...)
  with_step_error(NextMethod(), x, function(check) confidence(check, class))
}

#' @export
summary.tilted_sample <- function(object, ...) {
  check_dots(...)
  result <- NextMethod()
  mean_rows <- function(variables) list(estimate = variables$mean, se = variables$mean_se)
  result$variables$mean_se <- with_step_error(mean_rows(result$variables), object, function(check) {
    mean_rows(summary(check)$variables)
  })$se
  result
}

#' @rdname entropy
#' @export
entropy.tilted_sample <- function(x, ...) {
  check_dots(...)
  row <- particle_mean(x, -x$log_density)
  # the normalising constant is an estimate from the same particles
  if (row$method == "Monte Carlo") {
    there <- x$weights > 0
    h <- replace(1 - x$log_density - row$estimate, !there, 0)
    row$se <- families_se(x$weights * h - 1 / length(h), x$family)
  }
  row <- with_step_error(row, x, entropy)
  estimate_table("entropy", row, particle_words(x))
}

in_words.tilted_sample <- function(x) {
  in_dimensions(count_of(number(nrow(x$x)), "particle"), ncol(x$x))
}

headline.tilted_sample <- function(x) about_process(x, in_words(x))

print_body.tilted_sample <- function(x, ...) {
  say_setup(x)
  aim <- aim_words(x$guidance$class)
  say_line("tilted:   p(x | ", aim, ") p(", aim, " | x)^", format(x$tilt), " by ",
           c("feynman-kac" = "Feynman-Kac", path = "path")[[x$weighting]], " weights")
  if (!is.null(x$ancestor)) {
    times <- sum(x$history$resampled > 0)
    say_line("weights:  effective sample size ", number(round(x$ess)),
             if (times) paste0("; resampled ", if (times == 1) "once" else paste(times, "times"),
                               ", from ", count_of(number(x$families), "start")))
  }
  say_line("confidence: ", format_estimate(confidence(x)))
  say_line("entropy:    ", format_estimate(entropy(x)))
  if (!is.null(x$log_normaliser_check)) {
    say_line("log of the normaliser: ", format_estimate(x$log_normaliser))
    say_line("  by draws of the class: ", format_estimate(x$log_normaliser_check))
  }
  if (!is.null(x$heavy)) {
    say_line("Few particles carry the weight: ", x$heavy)
  } else if (!is.null(x$ancestor) && round(min(x$ess, x$families)) < 100) {
    say("Few particles carry the weight: estimates and standard errors are unreliable")
  }
}

#' @rdname plot.gaussmix
#' @export
autoplot.tilted_sample <- function(object, variables = NULL, ...) {
  check_dots(..., also = autoplot.guided_sample)
  flat <- length(variables) == 1 || ncol(object$x) == 1
  shown <- object
  if (!flat) {
    # a cloud of equal points, resampled by the weights
    chosen <- systematic(matrix(object$weights), .5)
    shown$x <- object$x[chosen, , drop = FALSE]
    shown$confidence <- object$confidence[chosen]
  }
  picture <- autoplot.guided_sample(shown, variables, ...)
  picture$labels$title <- paste(picture$labels$title, "and weighted to the tilt")
  if (ncol(object$x) > 1) return(picture)
  law <- tilted_law(object$mixture, guidance(object$guidance$class, object$tilt),
                    object$times[length(object$times)], object$schedule)
  seen <- law$log_density > max(law$log_density) - 8
  curve <- data.frame(x = law$x[seen, 1], density = exp(law$log_density[seen]))
  picture$labels$subtitle <- paste0(picture$labels$subtitle, "\nOrange line: the tilted law")
  picture + geom_line(aes(.data$x, .data$density), curve, colour = class_palette(2)[2],
                      linewidth = .8)
}

#' Compare strengths of guidance
#'
#' Runs the same particles, with the same noise, under each strength, and reports the confidence,
#' its gain over the first strength, the entropy and how many paths lose confidence.
#'
#' @details The runs are coupled (see [guided_sample()]), so that the gain is a paired difference
#'   with a paired standard error, far smaller than that of two independent runs.
#'
#' **Exact in one dimension.** For d = 1 and a deterministic sampler every expectation is an
#' integral over the start, which is done by the trapezoidal rule over 9 standard deviations to
#' each side (`n` nodes, but at least 2001): `method` is then `"quadrature"` and standard errors
#' are 0. The value is that of the sampler with its steps, not of continuous time.
#'
#' **Entropy** is there for deterministic samplers (see [entropy()] and the `log_density` of
#' [guided_sample()]), `NA` otherwise.
#'
#' @inheritParams guided_sample
#' @param class Label of the class to guide to, or several labels for their union.
#' @param strength Numbers, in the order in which they are to be compared; the first is the
#'   baseline.
#' @param n Number of particles, or of quadrature nodes.
#' @param exact Use quadrature? Default: where it is possible, that is for d = 1, a deterministic
#'   sampler and a `"normal"` start.
#' @param interval As in [guidance()].
#' @param keep Keep the samples (a list of [guided_sample()]) for plots?
#' @return An object of class `guidance_sweep`, a data frame with a row per strength and columns
#'   * `strength`; `scale` = 1 + strength, the guidance scale of other software;
#'   * `confidence`, `confidence_se`: mean of `p(class | x)`;
#'   * `gain`, `gain_se`: paired difference to the first row;
#'   * `entropy`, `entropy_se`: differential entropy of the output, in nats;
#'   * `fraction_down`, `fraction_down_previous`: share of the paths whose confidence is below
#'     that of the first, or the previous, row (by more than 1e-9);
#'   * `mean_inverse_confidence`, `mean_inverse_confidence_se`: `E 1/p(class | x)`;
#'   * `folded`: share of particles at which the map folded, which makes the entropy an upper bound;
#'   * `method`: `"quadrature"` or `"Monte Carlo"`.
#'
#'   Attribute `setup` holds what made it, and `target`: confidence and entropy of the class
#'   itself, which a sampler without error shows at strength 0. `print()` shortens `..._se` to
#'   `se` and `fraction_down` to `down`.
#' @source Wu, Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639}; `E 1/p` after Li and
#'   Jiao (2025), \doi{10.48550/arXiv.2505.01382}.
#' @examples
#' m <- gaussmix(c(.5, .5), c(1, -1), cov = 1, class = c("a", "b"))
#' sweep <- guidance_sweep(m, "a", strength = c(0, 1, 4), sampler = sampler_rk4(60, "quadratic"))
#' sweep
#' plot(sweep)
#' @export
guidance_sweep <- function(mixture, class, strength = c(0, 0.5, 1, 2, 4, 8), n = 1e4,
                           sampler = sampler_ddim(),
                           schedule = schedule_ou(), horizon = NULL, start = c("normal", "exact"),
                           noise = NULL,
                           log_density = c("auto", "map", "divergence", "none"), exact = NULL,
                           interval = NULL, keep = FALSE, key = NULL, reduce = TRUE) {
  check_mixture(mixture)
  check_sampler(sampler)
  class_components(mixture, class)
  n <- check_count(n, "n", min = 2)
  check_flag(keep, "keep")
  if (!(is.numeric(strength) && length(strength) && all(is.finite(strength)))) {
    abort_input("strength", "one or more finite numbers", describe(strength))
  }
  check_key(key)
  times <- sampler_times(sampler, check_schedule(schedule), horizon)
  plan_for <- function(begin) {
    sampling_plan(mixture, n, class, sampler, schedule, horizon, begin$start, noise, log_density,
                  trajectory = FALSE, reduce)
  }
  begin <- sweep_start(start, exact, mixture, n, sampler, schedule, times[1])
  plan <- plan_for(begin)
  if (is.null(key)) key <- draw_key()
  plan <- draw_start(plan, key)
  sweep <- sweep_runs(plan, begin, class, strength, interval, key, keep)
  # more nodes where a strength tears neighbouring starts apart
  while (sweep$unresolved > 1e-6 && plan$begin$n < 1e5) {
    begin <- sweep_start(start, exact, mixture, 4 * plan$begin$n, sampler, schedule, times[1])
    plan <- plan_for(begin)
    sweep <- sweep_runs(plan, begin, class, strength, interval, key, keep)
  }
  rows <- do.call(rbind, sweep$rows)
  if (sweep$unresolved > 1e-6) {
    rows$method <- sprintf("quadrature, unresolved share %.0e", sweep$unresolved)
  }
  structure(rows, class = c("guidance_sweep", "data.frame"),
            setup = list(mixture = mixture, class = as.character(class), sampler = sampler,
                         schedule = schedule, horizon = times[1], times = times,
                         n = plan$begin$n, exact = !is.null(begin$weights), interval = interval,
                         key = key, confidence_time = plan$closing,
                         density_method = plan$method, reduced = plan$reduction$label,
                         target = class_target(mixture, class, plan, key),
                         samples = sweep$samples))
}

# One run per strength; of those that are not kept only the confidence outlives its row.
sweep_runs <- function(plan, begin, class, strength, interval, key, keep) {
  rows <- samples <- list()
  first <- previous <- NULL
  torn <- 0
  for (eta in strength) {
    run <- run_plan(plan, guidance(class, eta, interval), key)
    run$weights <- begin$weights
    if (!is.null(begin$entropy)) run$start_entropy <- begin$entropy
    if (is.null(first)) first <- previous <- run["confidence"]
    rows <- c(rows, list(sweep_row(eta, run, first, previous)))
    previous <- run["confidence"]
    torn <- max(torn, unresolved(run))
    if (keep) samples <- c(samples, list(run))
  }
  list(rows = rows, samples = if (keep) samples, unresolved = torn)
}

# The share of the start in intervals between quadrature nodes whose ends come to lie further apart
# than the narrowest component is wide: what happens there the nodes do not see.
unresolved <- function(run) {
  w <- run$weights
  if (is.null(w)) return(0)
  torn <- which(abs(diff(run$x[, 1])) > sqrt(min(used_values(run$mixture))))
  sum(pmax(w[-1], w[-length(w)])[torn])
}

# What perfect sampling of the class at the last time would show.
class_target <- function(mixture, class, plan, key) {
  last <- plan$times[length(plan$times)]
  law <- diffuse(mixture, last, plan$schedule)
  if (is_singular(law)) return(NULL)
  part <- class_law(law, class)
  q <- class_probability(law, class)
  if (mixture_dim(law) == 1) {
    return(list(confidence = expectation(part, q, 0, cut_at = law), entropy = entropy(part)))
  }
  draws <- keyed_draws(part, 1e4, key)
  one <- sum(part$weights > 0) == 1
  list(confidence = sample_mean(q(draws)),
       entropy = if (one) entropy(part) else sample_mean(-dgaussmix(draws, part, log = TRUE)))
}

# The start that all strengths share: as given, or the nodes and weights of the quadrature.
sweep_start <- function(start, exact, mixture, n, sampler, schedule, horizon) {
  normal <- is.character(start) && check_choice(start, c("normal", "exact"), "start") == "normal"
  possible <- mixture_dim(mixture) == 1 && !sampler$stochastic && normal
  exact <- if (is.null(exact)) possible else check_flag(exact, "exact")
  if (!exact) return(list(start = start))
  if (!possible) {
    abort_input("exact", 'FALSE unless d = 1, the sampler is deterministic and start is "normal"')
  }
  sd <- start_sd(schedule, horizon)
  z <- seq(-9, 9, length.out = max(n, 2001))
  x <- matrix(sd * z)
  attr(x, "log_density") <- stats::dnorm(z, log = TRUE) - log(sd)
  weights <- stats::dnorm(z)
  list(start = x, weights = weights / sum(weights), entropy = log(2 * pi * exp(1) * sd^2) / 2)
}

sweep_row <- function(strength, run, first, previous) {
  average <- function(x) sample_mean(as.double(x), run$weights)
  confidence <- confidence(run)
  gain <- average(run$confidence - first$confidence)
  none <- estimate_row(NA_real_, NA_real_, NA_character_)
  entropy <- if (is.null(run$log_density)) none else entropy(run)
  inverse <- average(exp(-run$log_confidence))
  down <- function(other) average(run$confidence < other$confidence - 1e-9)
  down_first <- down(first)
  down_previous <- down(previous)
  data.frame(
    strength = strength, scale = 1 + strength,
    confidence = confidence$estimate, confidence_se = confidence$se,
    gain = gain$estimate, gain_se = gain$se,
    entropy = entropy$estimate, entropy_se = entropy$se,
    fraction_down = down_first$estimate, fraction_down_se = down_first$se,
    fraction_down_previous = down_previous$estimate, fraction_down_previous_se = down_previous$se,
    mean_inverse_confidence = inverse$estimate, mean_inverse_confidence_se = inverse$se,
    folded = if (is.null(run$folded)) NA_real_ else average(run$folded)$estimate,
    method = confidence$method, stringsAsFactors = FALSE
  )
}

sweep_column <- function(x, column) {
  data.frame(strength = x$strength, estimate = x[[column]], se = x[[paste0(column, "_se")]],
             method = x$method, stringsAsFactors = FALSE)
}

#' @export
print.guidance_sweep <- function(x, digits = 4, ...) {
  setup <- attr(x, "setup")
  if (!is.null(setup)) {
    cat("<guidance_sweep> towards ", paste(setup$class, collapse = " or "), ", ",
        if (setup$exact) "by quadrature over " else "", setup$n,
        if (setup$exact) " starts" else " coupled particles", "\n", sep = "")
    cat("  ", format(setup$sampler), "; ", format(setup$schedule), ", from t = ",
        format(setup$horizon), "\n", sep = "")
    if (!is.null(setup$reduced)) cat("  reduced: ", setup$reduced, "\n", sep = "")
  }
  shown <- c(strength = "strength", scale = "scale", confidence = "confidence",
             confidence_se = "se", gain = "gain", gain_se = "se", entropy = "entropy",
             entropy_se = "se", fraction_down = "down")
  shown <- shown[names(shown) %in% names(x)]
  table <- as.data.frame(x)[names(shown)]
  errors <- shown == "se"
  table[errors] <- lapply(table[errors], signif, 1)
  print(stats::setNames(table, shown), digits = digits, row.names = FALSE)
  if (!is.null(setup$target)) {
    cat("  The class itself: confidence ", format_estimate(setup$target$confidence), ", entropy ",
        format_estimate(setup$target$entropy), "\n", sep = "")
  }
  if (!is.null(setup)) note_coarse(setup$mixture, setup$schedule, setup$times)
  if (any(x$folded > 0, na.rm = TRUE)) {
    cat("Some steps fold the map: the entropy is an upper bound (see `folded`).\n")
  }
  invisible(x)
}

#' @export
as.data.frame.guidance_sweep <- function(x, ...) {
  attr(x, "setup") <- NULL
  class(x) <- "data.frame"
  x
}

#' @export
summary.guidance_sweep <- function(object, ...) as.data.frame(object)

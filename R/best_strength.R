#' The best strength along a run
#'
#' Finds the strength of guidance, a function of the fraction of the run, whose output is nearest to
#' a target law for this sampler and these steps, at a wanted confidence if one is given. The best
#' multiples of a constant and of the published profiles are compared with it.
#'
#' @details
#' The strength is linear between `knots` equidistant places of the run, and within 50 on either
#' side of 0. The measure is computed from the exact law of the sampler's output ([guided_law()]).
#' In dimensions without one it is a mean over `n` particles of a deterministic sampler with their
#' densities, the same for all strengths. The wanted confidence is a constraint, handled by an
#' augmented Lagrangian. [stats::nlminb()] solves the unconstrained problems with gradients by
#' differences, from the constant strength and from the best profile. The result is a local minimum;
#' a check confirms that no knot alone improves it.
#'
#' Of all laws with one mean log confidence, a tilted law is the nearest to the class in
#' `KL(. || class)`. With a fixed mean confidence this does not hold, so both targets are offered.
#'
#' @inheritParams guided_sample
#' @param ... Arguments of [diffusion()] that follow the mixture there. The strength of `guidance`
#'   is ignored; its class counts.
#' @param confidence `NULL`, or the mean confidence that the output must have.
#' @param target `"class"` or `"tilt"`, the [tilted_law()] of strength `tilt`.
#' @param tilt For the tilt: its strength.
#' @param measure The measure to minimise: `"kl_reverse"`, `KL(output || target)`, or
#'   `"total_variation"`.
#' @param knots Number of values of the strength, at least 2.
#' @param profiles Names of profiles of [strength_profile()] to compare, beside a constant.
#' @param n Number of particles, if particles are used.
#' @return An object of class `best_strength`: a list with
#'   * `guidance`: a [guidance()] of the best strength;
#'   * `knots`: a data frame with the `fraction` of the run and the `strength` there;
#'   * `tried`: a data frame with a row for the best, the constant and each profile, and columns
#'     `schedule`, `multiple` (the factor of the profile of strength 1), `confidence` and the
#'     measure with their standard errors, and `excess`, the measure less that of the best; `NA` if
#'     no multiple reaches the confidence, or the measure is not known;
#'   * `measure`, `target`, `wanted`, and the arguments of the run.
#'
#'   It is an error of class `mixguide_error` if no constant strength reaches the confidence.
#' @source Derived for this package. The profiles: see [strength_profile()].
#' @seealso [compare_guidance()], [strength_profile()], [capped_strength()].
#' @examples
#' best <- best_strength(named_mixture("A2"), guidance = "1", sampler = sampler_ddim(6),
#'                       target = "tilt", tilt = 2,
#'                       profiles = "linear", knots = 3)
#' best
#' plot(best)
#' # it is guidance like any other
#' guided_law(named_mixture("A2"), best$guidance, sampler_ddim(6))
#' @export
best_strength <- function(mixture, n = 1e4, ..., confidence = NULL, target = c("class", "tilt"),
                          tilt = 1, measure = c("kl_reverse", "total_variation"), knots = 5,
                          profiles = c("interval", "triangle", "linear", "cosine", "exponential",
                                       "beta", "dg")) {
  d <- as_diffusion(mixture, ...)
  target <- check_choice(target, c("class", "tilt"), "target")
  measure <- check_choice(measure, c("kl_reverse", "total_variation"), "measure")
  check_number(tilt, "tilt")
  if (!is.null(confidence)) check_number(confidence, "confidence", 0, 1, open = TRUE)
  knots <- check_count(knots, "knots", min = 2, max = 50)
  profiles <- check_profiles(profiles)
  plain_guidance(d)
  if (is.null(confidence) && target == "class") {
    abort_input("confidence", 'given where the target is "class": strength 0 is its guidance',
                "NULL")
  }
  n <- check_n(n, min = 16)
  d$key <- run_key(d)
  faults <- warn_faults(diffusion_faults(d))
  judge <- strength_judge(d, target, tilt, measure, n)
  class <- d$guidance$class
  rivals <- c(list(constant = function(by) guidance(class, by)),
              lapply(stats::setNames(nm = profiles), function(shape) {
                of_one <- guidance(class, strength_profile(shape, 1))
                function(by) with_strength(of_one, by)
              }))
  tried <- lapply(rivals, best_multiple, judge, confidence)
  if (is.na(tried$constant$multiple)) {
    abort_input("confidence",
                paste0("between ", format(tried$constant$range[1], digits = 4), " and ",
                       format(tried$constant$range[2], digits = 4),
                       ", which constant strengths reach"), format(confidence))
  }
  places <- seq(0, 1, length.out = knots)
  value <- function(row) replace(row$value$estimate, is.na(row$value$estimate), Inf)
  starts <- unique(c(1, which.min(vapply(tried, value, 0))))
  found <- lapply(starts, function(i) {
    begin <- strength_at(rivals[[i]](tried[[i]]$multiple), d, places)
    descend_strength(begin, function(values) piecewise_guidance(class, places, values), judge,
                     confidence)
  })
  best <- found[[which.min(vapply(found, value, 0))]]
  all <- c(list(best = c(list(multiple = NA_real_), best)), tried)
  estimates <- function(what) {
    columns <- lapply(c("estimate", "se"), function(column) {
      vapply(all, function(row) row[[what]][[column]], 0)
    })
    stats::setNames(columns, paste0(if (what == "value") measure else what, c("", "_se")))
  }
  rows <- data.frame(schedule = names(all), multiple = vapply(all, `[[`, 0, "multiple"),
                     estimates("confidence"), estimates("value"), row.names = NULL)
  rows$excess <- rows[[measure]] - rows[[measure]][1]
  exact <- best$value$method != "Monte Carlo"
  shapes <- Map(function(rival, row) if (!is.na(row$multiple)) rival(row$multiple), rivals, tried)
  d$guidance <- piecewise_guidance(class, places, best$at)
  structure(c(list(knots = data.frame(fraction = places, strength = best$at), tried = rows,
                   measure = measure, target = target, tilt = if (target == "tilt") tilt,
                   wanted = confidence, gap = best$gap, exact = exact, rivals = shapes),
              setup_of(d, n = if (!exact) n, faults = faults)),
            class = object_class("best_strength"))
}

check_profiles <- function(names) {
  # a multiple does not strengthen these in their own way
  known <- setdiff(names(profiles), c("line", "cfgpp", "terminal"))
  vapply(names, check_choice, "", known, "profiles", USE.NAMES = FALSE)
}

piecewise_guidance <- function(class, places, values) {
  strength_at_place <- stats::approxfun(places, values)
  guide <- guidance(class, function(t, fraction) strength_at_place(fraction))
  guide$vectorised <- TRUE
  guide
}

# A strength at places of the run.
strength_at <- function(guide, d, places) {
  guide <- settle_guidance(guide, d$schedule, d$times)
  t <- stats::approx(seq(0, 1, length.out = length(d$times)), d$times, places)$y
  # a profile may not be defined at the very end
  last <- length(t)
  t[last] <- min(t[last - 1], d$times[length(d$times) - 1])
  guidance_strength(guide, t)
}

# The judge of a guidance. `at` returns its `value` (Inf if unknown) and its mean `confidence`, on
# points that are the same for all guidances: nodes of a quadrature or particles. `final` returns
# the rows of both, by the exact law if there is one.
strength_judge <- function(d, target, tilt, measure, n) {
  goal <- compared_goal(d, if (target == "tilt") tilt)
  if (goal$singular) {
    abort_input("mixture", "without singular covariances at the end of the run", format(d$mixture))
  }
  log_target <- if (target == "tilt") function(x) log_tilt_at(goal, x) else {
    function(x) dgaussmix(x, goal$part, log = TRUE)
  }
  quantity <- if (target == "tilt") paste0("tilt_", measure) else measure
  points <- judged_points(d, n)
  judged <- function(guide) {
    out <- if_error(points(guide), function(e) NULL)
    if (is.null(out) || anyNA(out$x) || out$folded > 1e-3) {
      return(list(value = Inf, confidence = sum(out$weights * out$confidence)))
    }
    there <- out$weights > 0
    u <- (log_target(out$x) - out$log_density)[there]
    w <- out$weights[there]
    value <- if (measure == "kl_reverse") -sum(w * u) else sum(w * pmax(-expm1(pmin(u, 700)), 0))
    list(value = if (is.finite(value)) value else Inf, confidence = sum(w * out$confidence[there]))
  }
  final <- function(guide) {
    setting <- change_diffusion(d, list(guidance = guide))
    rows <- rows_of_law(setting, goal)
    if (is.null(rows)) {
      run <- without_faults(guided_sample(setting, n, points = default_points(d, n)$points))
      rows <- c(particle_rows(run, goal), particle_distances(run, goal))
    }
    list(value = rows[[quantity]], confidence = rows$confidence)
  }
  list(at = judged, final = final)
}

# The output of a guidance as points with weights, log-density and confidence.
judged_points <- function(d, n) {
  own <- inherits(d$score_error$model, "score_model")
  if (own && mixture_dim(d$mixture) > 2) {
    abort_input("mixture", "of one or two dimensions, where a score_model() drives the run",
                count_of(mixture_dim(d$mixture), "dimension"))
  }
  if (own || with_noise(d$sampler, d$score_error)$stochastic) {
    return(function(guide) {
      law <- suppressWarnings(guided_law(change_diffusion(d, list(guidance = guide)),
                                         reduce = FALSE))
      list(x = law$x, weights = law$weights, log_density = law$log_density,
           confidence = exp(law$log_confidence), folded = max(law$unsummed, 0))
    })
  }
  nodes <- mixture_dim(d$mixture) == 1 && identical(d$start, "normal")
  begin <- sweep_start(d, nodes, 601, least = 601)
  setting <- replace(default_points(d, n), "start", list(begin$start))
  plan <- sampling_plan(setting, n, log_density = "map")
  weights <- begin$weights
  if (is.null(weights)) weights <- rep(1 / plan$begin$n, plan$begin$n)
  function(guide) {
    run <- run_plan(plan, settle_guidance(guide, d$schedule, d$times), d$key)
    list(x = run$x, weights = weights, log_density = run$log_density, confidence = run$confidence,
         folded = sum(weights * run$folded))
  }
}

# The multiple of a shape with the wanted confidence, or with the least value.
best_multiple <- function(shape, judge, wanted, most = 256) {
  value_at <- function(by) judge$at(shape(by))
  if (is.null(wanted)) {
    found <- stats::optimize(function(log_by) min(value_at(expm1(log_by))$value, 1e9),
                             log1p(c(0, most)), tol = 1e-4)
    by <- expm1(found$minimum)
    return(c(list(multiple = by), judge$final(shape(by))))
  }
  reached <- multiple_for(function(by) value_at(by)$confidence, wanted, most)
  if (is.null(reached$by)) {
    return(c(list(multiple = NA_real_, confidence = unknown_row(), value = unknown_row()), reached))
  }
  found <- with_confidence(shape, reached$by, judge, wanted)
  c(list(multiple = found$by), found[c("confidence", "value")])
}

# The multiple `by` with the wanted confidence, which rises with it; or the `range` of the
# confidences found.
multiple_for <- function(confidence, wanted, most) {
  off <- function(by) confidence(by) - wanted
  # strengths below 0 lower the confidence
  low <- if (isTRUE(off(0) > 0)) -1 else 0
  at_low <- off(low)
  high <- low
  at_high <- at_low
  while (isTRUE(at_high < 0) && high < most) {
    low <- high
    at_low <- at_high
    high <- if (high <= 0) high + .5 else 1.5 * high
    at_high <- off(high)
  }
  if (!isTRUE(at_low <= 0) || !isTRUE(at_high >= 0)) {
    return(list(range = wanted + range(c(at_low, at_high), na.rm = TRUE)))
  }
  list(by = stats::uniroot(off, c(low, high), f.lower = at_low, f.upper = at_high, tol = 1e-6)$root)
}

# Corrects a multiple from the confidence of the points to that of the law, by the points' slope.
with_confidence <- function(shape, by, judge, wanted, step = 1e-3 * max(1, abs(by))) {
  slope <- (judge$at(shape(by + step))$confidence - judge$at(shape(by - step))$confidence) /
    (2 * step)
  final <- judge$final(shape(by))
  for (i in 1:5) {
    off <- final$confidence$estimate - wanted
    if (!isTRUE(abs(off) > 1e-7) || !isTRUE(slope > 0)) break
    by <- by - off / slope
    final <- judge$final(shape(by))
  }
  c(list(by = by), final)
}

# Where both models agree, as at the start of a run, a strength has almost no effect.
MOST_STRENGTH <- 50

# The least value over strengths at places of the run, at the wanted confidence, by an augmented
# Lagrangian.
descend_strength <- function(begin, guide, judge, wanted) {
  at_knots <- function(values) judge$at(guide(values))
  penalised <- function(values, multiplier, weight) {
    found <- at_knots(values)
    off <- if (is.null(wanted)) 0 else found$confidence - wanted
    total <- found$value + multiplier * off + weight / 2 * off^2
    if (is.finite(total)) total else 1e6
  }
  slopes <- function(values, ..., h = 1e-6) {
    here <- penalised(values, ...)
    vapply(seq_along(values), function(i) {
      (penalised(replace(values, i, values[i] + h), ...) - here) / h
    }, 0)
  }
  values <- pmin(pmax(begin, -MOST_STRENGTH), MOST_STRENGTH)
  multiplier <- 0
  for (weight in if (is.null(wanted)) 0 else c(10, 100, 100)) {
    values <- stats::nlminb(values, penalised, slopes, multiplier = multiplier, weight = weight,
                            control = list(iter.max = 100, rel.tol = 1e-8),
                            lower = -MOST_STRENGTH, upper = MOST_STRENGTH)$par
    if (!is.null(wanted)) multiplier <- multiplier + weight * (at_knots(values)$confidence - wanted)
  }
  final <- if (is.null(wanted)) c(list(by = 0), judge$final(guide(values))) else {
    with_confidence(function(by) guide(values + by), 0, judge, wanted)
  }
  # does one knot alone improve it, with the multiplier as the price of confidence?
  price <- function(values) penalised(values, multiplier, 0)
  moved <- vapply(seq_along(values), function(i) {
    step <- replace(0 * values, i, .05)
    min(price(values + step), price(values - step))
  }, 0)
  list(at = values + final$by, value = final$value, confidence = final$confidence,
       gap = price(values) - min(moved))
}

in_words.best_strength <- function(x) {
  paste0("towards ", aim_words(x$class), ", by ",
         if (x$exact) "exact laws" else paste(number(x$n), "particles"))
}

print_body.best_strength <- function(x, ...) {
  target <- if (x$target == "class") paste("class", aim_words(x$class)) else {
    tilt_words(x$class, x$tilt)
  }
  say(process_lines(x, "guidance"))
  say(paste0(DIVERGENCES[[x$measure]], " is least; target: ", target,
             if (!is.null(x$wanted)) paste0("; at confidence ", format(x$wanted))))
  print_rows(data.frame("fraction of the run" = format(x$knots$fraction, digits = 3),
                        strength = format(x$knots$strength, digits = 4), check.names = FALSE), 4)
  tried <- table_words(x$tried, 4)
  tried$multiple <- c("", format(tried$multiple[-1], digits = 3))
  print_rows(tried, 4)
  if (isTRUE(x$gap > 1e-6)) {
    say(paste("a step of one knot would still gain", format(x$gap, digits = 2)))
  }
}

picture.best_strength <- function(object, ...) {
  d <- object[c("schedule", "times")]
  last <- length(object$times) - 1
  places <- unique(c(seq(0, (last - 1) / last, length.out = 201), object$knots$fraction))
  places <- sort(places[places <= (last - 1) / last])
  shapes <- c(list(best = object$guidance), object$rivals[lengths(object$rivals) > 0])
  value <- stats::setNames(object$tried[[object$measure]], object$tried$schedule)
  label <- function(name) paste0(name, " (", format(value[[name]], digits = 3), ")")
  curves <- do.call(rbind, lapply(names(shapes), function(name) {
    data.frame(fraction = places, strength = strength_at(shapes[[name]], d, places),
               schedule = label(name))
  }))
  order <- intersect(names(sort(value, na.last = TRUE)), names(shapes))
  curves$schedule <- factor(curves$schedule, vapply(order, label, ""))
  colours <- c(ink, class_palette(max(length(order) - 1, 1)))[seq_along(order)]
  ggplot(curves, aes(.data$fraction, .data$strength, colour = .data$schedule,
                     linewidth = .data$schedule)) +
    geom_line() +
    scale_colour_manual(values = colours, name = NULL) +
    scale_linewidth_manual(values = c(1.2, rep(.5, length(order) - 1)), name = NULL) +
    finish(paste("The best strength towards", aim_words(object$class)),
           c(format(object$sampler), schedule_words(object)),
           c(paste0("In brackets: ", DIVERGENCES[[object$measure]],
                    if (!is.null(object$wanted)) paste(", all at confidence", object$wanted)),
             fault_words(object$faults)), x = "fraction of the run", y = "strength")
}

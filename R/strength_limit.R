#' The strength from which a sampler loses by guidance
#'
#' Guidance that is too strong for its steps moves particles past the class. `strength_limit()`
#' finds the smallest strength at which the mean confidence falls by `loss` below that at strength
#' 0, and also the strength with the greatest confidence.
#'
#' @details Strengths grow by a factor of `2^(1/4)` from `range[1]` on until the confidence is lost;
#' bisection refines the limit. A loss that recovers within one such factor is not seen.
#'
#' For d = 1 the mean is taken by quadrature: over `n` starts for deterministic samplers with a
#' `"normal"` start, as in [guidance_sweep()], otherwise over the exact law, see [guided_law()].
#' With `exact = TRUE` the exact law also serves other runs that reduce to one or two dimensions.
#' Otherwise the mean is over `n` particles with the same noise under each strength, and `se` is
#' that of the paired difference at the limit over its slope there. Far beyond the step conditions
#' a map tears neighbouring particles apart, and the limit depends on the nodes, and on rounding, in
#' the third digit.
#'
#' @inheritParams guidance_sweep
#' @param loss The fall of the mean confidence below that at strength 0 which defines the limit.
#' @param range The smallest and the largest strength to try.
#' @param tol Relative accuracy of the bisection.
#' @param exact Whether to use quadrature. Default: for d = 1, if it is possible.
#' @param ... Further arguments of [diffusion()] that follow the mixture there. A strength of the
#'   `guidance` that is a function of time is the shape of the strengths tried, which are multiples
#'   of it; any other strength is ignored.
#' @return An object of class `strength_limit`: a list with
#'   * `estimate`, `se`, `method`: the limit, `Inf` if there is none up to `range[2]`;
#'   * `bracket`: two strengths, between which it lies;
#'   * `best`: the row of `path` with the greatest confidence;
#'   * `path`: a data frame of all strengths tried, with `strength`, `confidence`, `confidence_se`,
#'     `gain`, `gain_se`;
#'   * the arguments.
#'
#'   `as.data.frame()` gives the path, `plot()` shows it.
#' @source The phenomenon: Wu, Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639}. The
#'   definition of the limit is this package's.
#' @seealso [split_threshold()] for a case in closed form; [step_condition()] for strengths with
#'   guarantees.
#' @examples
#' limit <- strength_limit(named_mixture("D3"), guidance = "1",
#'                         sampler = sampler_euler(10, "uniform"), horizon = 5,
#'                         n = 2001)
#' limit
#' plot(limit)
#' @export
strength_limit <- function(mixture, n = 1e4, ..., loss = 1e-3, range = c(.25, 1024), tol = 1e-3,
                           exact = NULL, reduce = TRUE) {
  d <- as_diffusion(mixture, ..., without = "score_error")
  n <- check_n(n, min = 2)
  loss <- check_number(loss, "loss", min = 0)
  tol <- check_number(tol, "tol", min = 1e-9, max = .5)
  if (!(is.numeric(range) && length(range) == 2 && all(is.finite(range)) && range[1] > 0 &&
        range[2] > range[1])) {
    abort_input("range", "two increasing positive numbers", describe(range))
  }
  shape <- plain_guidance(d)
  # a strength that is a function of time is multiplied by numbers
  if (!is.null(shape$scale)) shape <- with_strength(shape, 1)
  d$key <- run_key(d)
  exact <- exact_means(exact, d)
  faults <- warn_faults(diffusion_faults(d))
  begin <- sweep_start(d, exact == "nodes", n)
  setting <- replace(d, c("guidance", "start"), list(shape, begin$start))
  confidences <- confidences_at(setting, n, exact, reduce)
  weights <- if (exact == "law") 1 else begin$weights
  baseline <- confidences(0)
  row_at <- function(eta, reached = confidences(eta)) {
    confidence <- sample_mean(reached, weights)
    gain <- sample_mean(reached - baseline, weights)
    data.frame(strength = eta, confidence = confidence$estimate, confidence_se = confidence$se,
               gain = gain$estimate, gain_se = gain$se)
  }
  path <- row_at(0, baseline)
  low <- 0
  high <- range[1]
  repeat {
    path <- rbind(path, row_at(high))
    found <- path$gain[nrow(path)] < -loss
    if (found || high >= range[2]) break
    low <- high
    high <- min(high * 2^(1 / 4), range[2])
  }
  while (found && high - low > tol * high) {
    middle <- (low + high) / 2
    path <- rbind(path, row_at(middle))
    if (path$gain[nrow(path)] < -loss) high <- middle else low <- middle
  }
  path <- path[order(path$strength), ]
  rownames(path) <- NULL
  structure(c(limit_estimate(path, low, high, found, !is.null(weights)),
              list(best = path[which.max(path$confidence), ], path = path),
              setup_of(d, loss = loss, n = if (exact != "law") length(baseline), faults = faults)),
            class = object_class("strength_limit"))
}

# The confidences of particles with the same noise, or the mean confidence of the law, as a function
# of the strength. `exact`: see exact_means().
confidences_at <- function(d, n, exact, reduce) {
  guide <- function(eta) with_strength(d$guidance, eta)
  if (exact == "law") {
    return(function(eta) {
      law <- quiet_law(replace(d, "guidance", list(guide(eta))), reduce = reduce)
      confidence(law)$estimate
    })
  }
  plan <- without_faults(sampling_plan(d, n, log_density = "none", reduce = reduce))
  function(eta) {
    run <- suppressWarnings(run_plan(plan, guide(eta), d$key))
    # particles that overflow count as lost
    replace(run$confidence, is.nan(run$confidence), 0)
  }
}

# The way to take means over the output: over the "nodes" of a quadrature, over the exact "law" (see
# guided_law()), or over "particles".
exact_means <- function(exact, d) {
  flat <- mixture_dim(d$mixture) == 1
  nodes <- flat && !d$sampler$stochastic && identical(d$start, "normal")
  exact <- if (!is.null(exact)) check_flag(exact, "exact") else if (nodes) TRUE else {
    flat && !is.numeric(d$start) && !is_singular(d$mixture) &&
      !is.null(one_score_steps(d$sampler, d$times, d$schedule))
  }
  if (nodes && exact) "nodes" else if (exact) "law" else "particles"
}

# The limit with its standard error: that of the gain there, over the slope of the gain between the
# nearest strengths that are some standard errors apart.
limit_estimate <- function(path, low, high, found, exact) {
  method <- if (exact) "quadrature" else "Monte Carlo"
  if (!found) return(list(estimate = Inf, se = 0, method = method, bracket = c(high, Inf)))
  se <- 0
  if (!exact) {
    last <- which(path$strength == high)
    apart <- abs(path$gain - path$gain[last]) > 4 * path$gain_se[last]
    near <- which.min(ifelse(apart, abs(path$strength - high), NA))
    slope <- (path$gain[near] - path$gain[last]) / (path$strength[near] - high)
    se <- if (length(near)) path$gain_se[last] / abs(slope) else NA_real_
  }
  list(estimate = (low + high) / 2, se = se, method = method, bracket = c(low, high))
}

in_words.strength_limit <- function(x) {
  paste0("towards ", aim_words(x$class), if (x$method != "Monte Carlo") paste0(", by ", x$method))
}

print_body.strength_limit <- function(x, ...) {
  row <- function(part) show_estimate(part[[1]], part[[2]], x$method)
  say(c(process_lines(x, "guidance"),
        paste("confidence without guidance:", row(x$path[x$path$strength == 0, 2:3])),
        paste0("best of those tried:         ", row(x$best[2:3]), " at strength ",
               format(x$best$strength, digits = 4)),
        if (is.finite(x$estimate)) {
          c(paste0("lost (by more than ", format(x$loss), ") from strength ",
                   row(x[c("estimate", "se")]), " on"),
            paste("bisected to between", paste(format(x$bracket, digits = 6), collapse = " and ")))
        } else paste("not lost up to strength", format(x$bracket[1]))))
}

picture.strength_limit <- function(object, ...) {
  path <- object$path
  marks <- data.frame(strength = object$estimate)
  marks <- marks[is.finite(marks$strength), , drop = FALSE]
  ggplot(path, aes(asinh(.data$strength), .data$confidence)) +
    geom_hline(yintercept = path$confidence[path$strength == 0], linetype = "22",
               colour = "grey50") +
    geom_vline(aes(xintercept = asinh(.data$strength)), marks, colour = class_palette(2)[2]) +
    geom_line(colour = ink) +
    geom_errorbar(aes(ymin = .data$confidence - 2 * .data$confidence_se,
                      ymax = .data$confidence + 2 * .data$confidence_se),
                  path[path$confidence_se > 0, ], colour = ink, width = .05) +
    geom_point(colour = ink, size = 1) +
    strength_axis(c(0, .5, outer(c(1, 2, 5), 10^(0:3)))) +
    finish(paste("Where guidance towards", aim_words(object$class), "is lost"),
           c(format(object$sampler), schedule_words(object)),
           c("Dashed: without guidance", if (nrow(marks)) {
             paste("Line: lost from strength", format(object$estimate, digits = 4), "on")
           }, fault_words(object$faults)), x = "strength of guidance", y = "mean confidence")
}

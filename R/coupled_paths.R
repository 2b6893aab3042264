#' Coupled paths under several strengths of guidance
#'
#' Runs the same particles, with the same noise, unguided and under each strength, keeps the paths,
#' and explains the gain of each in the log-odds of the class against every other component: to
#' rounding, it is a sum over the guidance on the path.
#'
#' @details
#' **The gain identity.** Let all components share one covariance `Sigma` and let the class be a
#' single component `y`. Then the score of the class is linear in `x`, and the difference `e` of a
#' guided path from the unguided one obeys a linear equation driven by guidance alone. In continuous
#' time this gives the integral in [guidance_condition()]. The steps of a sampler are linear in
#' their scores, and the difference is the sum over all scores of the run
#'
#' `e = sum_i strength(t_i) W_i g_i`, with `g_i = grad log p(y | x)` at the point and time of score
#' `i`,
#'
#' exactly, for every sampler and number of steps. `W_i`, a number per eigenvalue of `Sigma`, is
#' the weight of score `i` in the result if the class is the whole mixture. The gain in the log-odds
#' against component `k` is then `D_k' S^-1 a e` with `D_k = mu_y - mu_k` and `a`, `S` of the last
#' time. `identity_error` is the difference between the two sides.
#'
#' There is no identity, and `why` holds the reason, if covariances differ, for a class of several
#' components, for covariances that are singular at the last time, or for samplers with one
#' coefficient per coordinate unless the covariance is diagonal.
#'
#' @inheritParams guidance_sweep
#' @param strength Numbers; 0 comes first in any case.
#' @param n Number of paths. All are kept: n x d numbers for each time and strength, and as many
#'   again for the guidance at each score while a strength runs.
#' @param ... Further arguments of [diffusion()] that follow the mixture there; the default
#'   `sampler` is `sampler_euler()`. For `plot()`: passed to `autoplot()`.
#' @return An object of class `coupled_paths`, a list with
#'   * `table`: a data frame with a row per strength: `confidence` and its paired `gain` over
#'     strength 0, with standard errors; `min_gain`, the smallest gain of a path; `fraction_down`,
#'     `fraction_down_previous`, the shares of the paths whose confidence is below that of strength
#'     0, or of the previous one (by more than 1e-9); `min_log_odds_gain`, the smallest over paths
#'     and rivals; `identity_error`, the largest difference between the two sides of the identity;
#'   * `confidence`: n x strengths; `x`: n x d x strengths, the ends; `trajectory`: times x n x d x
#'     strengths; `times`;
#'   * `log_odds`: n x rivals x strengths, and `log_odds_gain`, `guidance_met`, the two sides of the
#'     identity; `NULL` if there is none, and `why`;
#'   * `n`, `strength`, and the arguments, as in [guided_sample()].
#'
#'   `as.data.frame()` has a row per path and strength, `summary()` gives `table`.
#' @source The identity is derived for this package; coupling as in the comparison theorems of Wu,
#'   Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639}.
#' @seealso [guidance_condition()] for when no path loses, [guidance_sweep()] for many particles.
#' @examples
#' set.seed(1)
#' coupled_paths(named_mixture("C3"), guidance = "1", strength = c(1, 4), n = 50,
#'               sampler = sampler_em(50, "uniform"))
#' lopsided <- coupled_paths(named_mixture("E3"), guidance = "1", strength = 1,
#'                           sampler = sampler_heun(30))
#' lopsided
#' plot(lopsided)
#' @export
coupled_paths <- function(mixture, n = 200, guidance = NULL, strength = c(0, 1, 4), sampler = NULL,
                          ..., noise = NULL) {
  d <- as_diffusion(mixture, ..., own = list(guidance = guidance, sampler = sampler),
                    default = list(sampler = sampler_euler()), without = "score_error")
  template <- plain_guidance(d)
  strength <- unique(c(0, check_strengths(strength, min = 0)))
  guides <- lapply(strength, with_strength, guidance = template)
  sampler <- d$sampler
  d$sampler <- observe_gain(sampler)
  plan <- sampling_plan(d, n, noise, "none", trajectory = TRUE, reduce = FALSE)
  if (!plan$begin$n) abort_input("n", "one path at least", "0")
  plan$faults <- warn_faults(plan_faults(plan))
  key <- run_key(d)
  plan <- draw_start(plan, key)
  geometry <- path_geometry(plan, template$class)
  runs <- lapply(guides, path_run, plan, key, geometry)
  paths <- c(list(table = NULL, n = plan$begin$n, strength = strength,
                  confidence = stack_runs(runs, "confidence"), x = stack_runs(runs, "x"),
                  trajectory = stack_runs(runs, "trajectory"),
                  log_odds = stack_runs(runs, "log_odds"),
                  log_odds_gain = stack_runs(runs, "log_odds", runs[[1]]$log_odds),
                  guidance_met = stack_runs(runs, "guidance_met"), why = geometry$why),
             made_by(plan, guides[[1]], key))
  paths$sampler <- sampler
  paths$table <- strength_table(paths)
  structure(paths, class = object_class("coupled_paths"))
}

# A sampler that also evaluates and saves the guidance term at each score.
observe_gain <- function(sampler) {
  step <- sampler$step
  sampler$step <- function(...) {
    ops <- lapply(step(...), function(op) {
      if (op$op != "eval") return(list(op))
      # before the score: operations with a derivative use that of the last score
      list(new_op("eval", to = "(gain)", from = op$from, t = op$t, of = "gain"),
           new_op("save", to = "x", from = "(gain)"), op)
    })
    unlist(ops, recursive = FALSE)
  }
  sampler
}

# The geometry of the class, and two parts of the program for the identity: the times of the scores,
# and the weight of each score in the result, per eigenvalue (d x scores).
path_geometry <- function(plan, class) {
  geometry <- class_geometry(plan$process, class)
  if (!is.null(geometry$why)) return(geometry)
  last <- plan$times[length(plan$times)]
  geometry$end <- list(a = plan$schedule$a(last), b2 = plan$schedule$b2(last))
  why <- c(if (geometry$end$a^2 * min(geometry$values) + geometry$end$b2 <= 0) {
    "the covariance is singular at the last time"
  }, if (!is.null(geometry$vectors) && is_by_coordinate(plan$program)) {
    "the sampler has a coefficient per coordinate"
  }, if (any(is_fixed(plan$program$level_of))) {
    "the sampler has scores with a strength of their own"
  }, if (any(reads_hessian(op_kinds(plan$program)))) {
    "the sampler takes the derivative of the score"
  })
  if (length(why)) return(list(why = why[1]))
  need_memory(plan$times, plan$schedule, "this identity")
  c(geometry, affine_map(plan$program, plan$levels, geometry$values)[c("score", "score_time")])
}

# One strength: its paths, and with a geometry its log-odds and the right-hand side of the identity.
path_run <- function(guide, plan, key, geometry) {
  aim <- plan_aim(plan, guide)
  result <- run_chunk(plan, aim, key)
  op <- plan$program$op
  observed <- op["from", op_kinds(plan$program) == "save"] > 0
  gains <- result$output[, , observed, drop = FALSE]
  result$output <- result$output[, , !observed, drop = FALSE]
  run <- read_chunk(result, plan, aim$log_prior)
  warn_lost(run$lost, plan$begin$n)
  run <- run[c("x", "trajectory", "confidence")]
  if (!is.null(geometry$why)) return(run)

  strength <- guidance_strength(guide, geometry$score_time)
  e <- 0
  for (i in seq_along(strength)) {
    g <- geometry$turn(matrix(gains[, , i], plan$begin$n))
    e <- e + strength[i] * g * rep(geometry$score[, i], each = plan$begin$n)
  }
  end <- geometry$end
  slope <- end$a * geometry$differ /
    rep(end$a^2 * geometry$values + end$b2, each = nrow(geometry$differ))
  c(run, list(log_odds = class_log_odds(geometry, to_process(run$x, plan$mixture), end$a, end$b2),
              guidance_met = name_dims(tcrossprod(e, slope), NULL, geometry$rivals)))
}

# One field of all runs, minus a baseline, in an array whose last dimension is the run.
stack_runs <- function(runs, field, baseline = 0) {
  first <- runs[[1]][[field]]
  if (is.null(first)) return(NULL)
  size <- if (is.null(dim(first))) length(first) else dim(first)
  array(unlist(lapply(runs, function(run) run[[field]] - baseline)), c(size, length(runs)),
        if (!is.null(dimnames(first))) c(dimnames(first), list(NULL)))
}

strength_table <- function(paths) {
  q <- paths$confidence
  gain <- q - q[, 1]
  means <- function(x) do.call(rbind, lapply(seq_len(ncol(x)), function(i) sample_mean(x[, i])))
  mean <- means(q)
  paired <- means(gain)
  each <- function(x, f) {
    if (is.null(x)) NA_real_ else apply(x, 3, function(x) if (length(x)) f(x) else NA_real_)
  }
  data.frame(strength = paths$strength, scale = 1 + paths$strength,
             confidence = mean$estimate, confidence_se = mean$se,
             gain = paired$estimate, gain_se = paired$se, min_gain = apply(gain, 2, min),
             fraction_down = colMeans(gain < -1e-9),
             fraction_down_previous = c(0, colMeans(q[, -1, drop = FALSE] <
                                                      q[, -ncol(q), drop = FALSE] - 1e-9)),
             min_log_odds_gain = each(paths$log_odds_gain, min),
             identity_error = each(if (!is.null(paths$log_odds)) {
               abs(paths$log_odds_gain - paths$guidance_met)
             }, max))
}

in_words.coupled_paths <- function(x) {
  paste0(in_dimensions(count_of(nrow(x$confidence), "path"), dim(x$x)[2]), ", towards ",
         aim_words(x$guidance$class))
}

print_body.coupled_paths <- function(x, digits = 4, ...) {
  say(process_lines(x, "guidance"))
  shown <- c(strength = "strength", confidence = "confidence", gain = "gain", min_gain = "least",
             fraction_down = "down", fraction_down_previous = "prev",
             min_log_odds_gain = "log-odds")
  if (!is.null(x$why)) shown <- shown[shown != "log-odds"]
  table <- table_words(x$table, digits)[names(shown)]
  table$min_gain <- format(table$min_gain, digits = 2)
  print_rows(stats::setNames(table, shown), digits)
  say(c(paste0("gain: the rise in confidence against strength ", format(x$table$strength[1]),
               "; least: the smallest of a path",
               if (is.null(x$why)) "; log-odds: the same in log-odds"),
        "down, prev: the share of paths that lose confidence against that and the row before",
        if (is.null(x$why)) {
          paste("Log-odds gained and guidance met along the path agree to",
                format(max(x$table$identity_error, 0, na.rm = TRUE), digits = 2))
        } else paste("No gain identity:", x$why)))
}

#' @export
summary.coupled_paths <- function(object, ...) {
  check_dots(...)
  object$table
}

as_table.coupled_paths <- function(x) {
  n <- nrow(x$confidence)
  rows <- data.frame(path = rep(seq_len(n), length(x$strength)),
                     strength = rep(x$strength, each = n),
                     confidence = as.vector(x$confidence),
                     gain = as.vector(x$confidence - x$confidence[, 1]))
  if (is.null(x$log_odds) || !dim(x$log_odds)[2]) return(rows)
  each <- function(field) {
    values <- matrix(aperm(x[[field]], c(1, 3, 2)), nrow(rows))
    colnames(values) <- paste0(field, "_", dimnames(x$log_odds)[[2]])
    values
  }
  cbind(rows, each("log_odds"), each("log_odds_gain"))
}

#' @rdname coupled_paths
#' @param object A `coupled_paths`.
#' @param max_points The largest number of paths to draw, for each strength.
#' @export
autoplot.coupled_paths <- function(object, max_points = 2000, ...) {
  check_dots(...)
  max_points <- check_count(max_points, "max_points", min = 1)
  if (length(object$strength) < 2) abort_input("object", "of a strength above 0, too")
  n <- nrow(object$confidence)
  shown <- every_kth(which(rowSums(!is.finite(object$confidence)) == 0), max_points)
  dots <- as.data.frame(object)
  dots <- dots[dots$strength > 0 & dots$path %in% shown, ]
  dots$unguided <- object$confidence[dots$path, 1]
  dots$outcome <- ifelse(dots$gain < -1e-9, "loses confidence", "keeps or gains")
  share <- object$table$fraction_down[-1]
  panels <- paste0("strength ", format(object$strength[-1], trim = TRUE, drop0trailing = TRUE),
                   ": ", format(100 * share, digits = 2, trim = TRUE), "% lose")
  dots$panel <- factor(panels[match(dots$strength, object$strength[-1])], panels)
  ggplot(dots, aes(.data$unguided, .data$confidence)) +
    ggplot2::geom_abline(slope = 1, intercept = 0, colour = "grey50") +
    geom_point(aes(colour = .data$outcome, shape = .data$outcome), size = 1,
               alpha = opacity(dots)) +
    facet_wrap(vars(.data$panel)) +
    scale_colour_manual(values = c("keeps or gains" = "#0072B2", "loses confidence" = "#D55E00"),
                        name = NULL) +
    scale_shape_manual(values = c("keeps or gains" = 19, "loses confidence" = 17), name = NULL) +
    ggplot2::guides(colour = ggplot2::guide_legend(override.aes = list(alpha = 1, size = 2))) +
    scale_x_continuous(breaks = c(0, .5, 1)) + coord_equal(xlim = c(0, 1), ylim = c(0, 1)) +
    finish(paste("Paths with the same noise, guided towards", aim_words(object$guidance$class)),
           c(format(object$sampler), schedule_words(object)),
           c("A dot per path; below the line guidance has cost it confidence",
             shown_words(shown, n, "paths"), fault_words(object$faults)),
           x = "unguided confidence", y = "guided confidence", legend = "bottom")
}

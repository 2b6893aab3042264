#' Compare kinds of guidance
#'
#' For each kind of guidance, at the same sampler and steps: confidence, entropy, place and spread
#' of the samples, the distances of their law from the class and from the tilted law, and the cost.
#'
#' @details
#' In one and two dimensions, and for runs that reduce to these, the numbers come from the exact law
#' of the sampler's output ([guided_law()]), except `outside` and `fraction_down`. Otherwise they
#' come from `n` particles, which all kinds of guidance share. For entropy and distances
#' deterministic samplers carry the density along or, with rules, get it from differences of the
#' map, for `5e4 / (6 d)` particles at most. If the map jumps, differences are no density, and these
#' numbers are not known; nor are the distances of stochastic samplers, which have no density. Where
#' steps fold starts onto each other, the entropy is at most, and the total variation at least the
#' number given.
#'
#' | quantity | meaning | value of the class itself |
#' |---|---|---|
#' | `confidence` | mean of `p(class | x)` | |
#' | `entropy` | differential entropy, in nats | |
#' | `shift` | distance of the mean from the class's, over its sd (*) | 0 |
#' | `spread` | standard deviation over the class's (*) | 1 |
#' | `total_variation`, `kl_reverse` | from the class: `KL(output || class)` | 0 |
#' | `tilt_total_variation`, `tilt_kl_reverse` | the same from the [tilted_law()] | |
#' | `outside` | share beyond the 99 % ellipse of every component of the class | at most .01 |
#' | `fraction_down` | share of the paths that end with less confidence than at strength 0 | 0 |
#' | `evaluations` | evaluations of a model's score, per particle | |
#'
#' (*) The root mean square over variables.
#'
#' @inheritParams guided_sample
#' @param guidance A list of guidances towards one class, whose names are shown; or one
#'   [guidance()]: plain guidance, the power law of exponent 1 and all rules of [guidance_rule()]
#'   with their usual arguments then run at its class and strength. Rules that are not defined for
#'   this run are left out, and so is `"characteristic"` in more than two dimensions, where it is
#'   slow.
#' @param n Number of particles.
#' @param tilt Strength of the tilted law; `NULL`: the first strength in `guidance` that is one
#'   number.
#' @param confidence `NULL`, or a mean confidence at which all kinds of guidance are compared. Each
#'   kind then runs at the least multiple of its own strength (of 1, if that is a number) at which
#'   the particles have this confidence, `strength` in the table. Kinds that never reach it are left
#'   out.
#' @return A table of estimates ([mixguide_table]) of class `guidance_comparison`, with a row for
#'   each `quantity` and `guidance`, the last of the class itself and of the tilted law.
#' @section Errors: Of class `mixguide_error`, also for guidances towards different classes.
#' @source Derived for this package. Chidambaram, Gatmiry, Chen, Lee and Lu (2024),
#'   \doi{10.48550/arXiv.2409.13074}, show that guidance does not sample the tilted law.
#' @seealso [guidance_sweep()] for strengths, samplers and steps of one kind of guidance;
#'   [best_strength()] for the strength nearest to a target.
#' @examples
#' m <- named_mixture("D3")
#' compared <- compare_guidance(m, guidance = list(
#'   plain = guidance("1", 3),
#'   interval = guidance("1", strength_profile("interval", 3)),
#'   power = guidance("1", 3, power = 1)
#' ), sampler = sampler_ddim(20))
#' compared
#' plot(compared)
#' @export
compare_guidance <- function(mixture, n = 1e4, guidance = NULL, ..., tilt = NULL,
                             confidence = NULL) {
  single <- if (!is.list(guidance) || is.object(guidance)) guidance
  d <- as_diffusion(mixture, ..., own = list(guidance = single), takes_points = TRUE)
  n <- check_particles(n, min = 2)
  d <- default_points(d, n)
  if (!is.null(confidence)) check_number(confidence, "confidence", 0, 1, open = TRUE)
  guides <- compared_guides(guidance, d)
  check_class_of_all(guides)
  check_rivals(guides, d$mixture)
  if (is.null(tilt)) tilt <- first_strength(guides) else check_number(tilt, "tilt")
  d$key <- run_key(d)
  d <- change_diffusion(d, list(guidance = guides[[1]]))
  goal <- compared_goal(d, tilt)
  multiples <- NULL
  aims <- guides
  if (!is.null(confidence)) {
    multiples <- vapply(guides, confident_multiple, 0, d, min(n, 4096), confidence)
    has <- !is.na(multiples)
    if (!any(has)) abort_input("confidence", "one that some guidance has", format(confidence))
    aims <- Map(with_strength, guides[has], multiples[has])
  }
  warn_faults(diffusion_faults(d))
  plain <- without_faults(guided_sample(d, n, guidance = guidance(goal$class), key = d$key))
  rows <- lapply(names(aims), function(name) {
    setting <- change_diffusion(d, list(guidance = aims[[name]]))
    rows <- without_faults(judged_guidance(setting, n, goal, plain))
    if (!is.null(multiples)) {
      found <- estimate_row(multiples[[name]], 0, "Monte Carlo")
      rows <- rbind(data.frame(quantity = "strength", found), rows)
    }
    data.frame(guidance = name, rows)
  })
  rows <- do.call(rbind, c(rows, goal_rows(goal)))
  rows <- rows[c("quantity", setdiff(names(rows), "quantity"))]
  never <- names(multiples)[is.na(multiples)]
  left_words <- function(why, names) {
    if (length(names)) paste0("left out, since ", why, ": ", toString(names))
  }
  foot <- c(left_words("not defined here", attr(guides, "left_out")),
            left_words("slow in so many dimensions (a list may name it)", attr(guides, "slow")),
            left_words(paste("never of confidence", format(confidence)), never),
            paste("shift: of the mean, in the class's sd; spread: sd over the class's; outside:",
                  "beyond the 99 % ellipses of the class; down: paths that end with less",
                  "confidence than at strength 0; TV, reverse KL: total variation and",
                  "KL(output || .) from the class, or from the tilt; scores: evaluations of a",
                  "model per particle"))
  new_table(rows, "guidance_comparison",
            c(paste("towards", aim_words(goal$class)), process_lines(d, without = "guidance")),
            setup_of(d, n = n, tilt = tilt, confidence = confidence, faults = diffusion_faults(d)),
            labels = COMPARED, foot = foot, words = comparison_words)
}

# Of the divergences the heads, DIVERGENCE_HEADS.
COMPARED <- c(strength = "strength", confidence = "confidence", entropy = "entropy",
              shift = "shift", spread = "spread", total_variation = "TV class",
              kl_reverse = "reverse KL class", tilt_total_variation = "TV tilt",
              tilt_kl_reverse = "reverse KL tilt", outside = "outside", fraction_down = "down",
              evaluations = "scores")

# ---- The guidances

compared_guides <- function(guidance, d) {
  if (!is.list(guidance) || is.object(guidance)) return(every_rule(d))
  guides <- listed_guides(guidance)
  names <- names_of(guides)
  plain <- names == ""
  names[plain] <- vapply(guides[plain], format_strength, "")
  stats::setNames(guides, make.unique(names, " "))
}

# Each rule at the class and the strength of one guidance, as far as it is defined. The rule that
# leads away from the class is left out.
every_rule <- function(d) {
  from <- d$guidance
  if (is.null(from)) {
    abort_input("guidance", "a guidance with a strength, or a list of guidances", "NULL")
  }
  refuse_nonlinear(from, "where all rules are to be compared")
  if (length(from$others)) abort_input("guidance", "one guidance, or a list", "a sum")
  kinds <- setdiff(names(all_rules()), "dng")
  guides <- c(list(plain = from, power = replace(from, "power", 1)),
              lapply(stats::setNames(nm = kinds), function(kind) {
                replace(from, "rule", list(guidance_rule(kind)))
              }))
  slow <- mixture_dim(d$mixture) > 2 & vapply(guides, is_solved, NA)
  left_slow <- names(guides)[slow]
  guides <- guides[!slow]
  defined <- vapply(guides, function(guide) {
    # a rule about an angle, which a line does not have
    if (identical(guide$rule$kind, "adg") && mixture_dim(d$mixture) == 1) return(FALSE)
    if_error({
      check_guidance(do.call(guidance, guide[c("class", "negative", "rule")]))
      sampling_plan(change_diffusion(d, list(guidance = guide)), 2)
      TRUE
    }, function(e) FALSE)
  }, NA)
  structure(guides[defined], left_out = names(guides)[!defined], slow = left_slow)
}

check_class_of_all <- function(guides) {
  classes <- lapply(guides, `[[`, "class")
  other <- which(!vapply(classes, setequal, NA, classes[[1]]))
  if (length(other)) {
    abort_input("guidance", paste("a list of guidances towards one class, as the first is towards",
                                  aim_words(classes[[1]])),
                paste("one towards", aim_words(classes[[other[1]]])))
  }
}

# Guidance needs something to lead away from.
check_rivals <- function(guides, mixture) {
  present <- present_classes(mixture)
  own <- vapply(guides, function(guide) !is.null(guide$negative), NA)
  if (any(own) || !all(present %in% guides[[1]]$class)) return()
  abort_input("mixture", "of several classes, not all in the guidance (which then changes nothing)",
              if (length(present) > 1) "their union" else "a single class")
}

# NULL if there is none.
first_strength <- function(guides) {
  constant <- Filter(function(guide) !is.null(guide$scale) && is.null(guide$interval), guides)
  if (length(constant)) constant[[1]]$scale - 1
}

# NA if no multiple up to 64 has the wanted confidence.
confident_multiple <- function(guide, d, n, wanted) {
  setting <- change_diffusion(d, list(guidance = guide))
  plan <- sampling_plan(setting, n, log_density = "none")
  key <- run_key(setting)
  confidence_of <- function(by) {
    mean(run_plan(plan, with_strength(setting$guidance, by), key)$confidence)
  }
  found <- multiple_for(confidence_of, wanted, 64)$by
  if (is.null(found)) NA_real_ else found
}

# ---- The targets

# The class and the tilted law at the end of the run, in the variables of the mixture.
compared_goal <- function(d, tilt) {
  class <- d$guidance$class
  last <- d$times[length(d$times)]
  law <- diffuse(d$mixture, last, d$schedule)
  part <- class_law(law, class)
  wanted <- moments(part)
  singular <- is_singular(law)
  tilted <- if (!is.null(tilt) && !singular) {
    if_error(tilted_law(d$mixture, guidance(class, tilt), last, d$schedule), function(e) NULL)
  }
  goal <- list(class = class, law = law, part = part, mean = wanted$mean,
               sd = sqrt(diag(wanted$cov)),
               tilt = tilt, tilted = tilted, key = stream(d$key, "target"), singular = singular)
  if (!is.null(tilt) && !singular && is.null(tilted)) {
    goal$log_z <- log_of_mean(mean_of_draws(part, 2^16, function(x) {
      exp(tilt * log_class_probability(law, class)(x))
    }, goal$key))
  }
  goal
}

log_of_mean <- function(row) {
  row$se <- row$se / row$estimate
  row$estimate <- log(row$estimate)
  row
}

# The log-density of the tilted law, if it has one.
log_tilt_at <- function(goal, x) {
  if (!is.null(goal$tilted)) return(law_density(goal$tilted, x, log = TRUE))
  dgaussmix(x, goal$part, log = TRUE) + goal$tilt * log_class_probability(goal$law, goal$class)(x) -
    goal$log_z$estimate
}

goal_rows <- function(goal) {
  exact <- function(value) estimate_row(value, 0, "exact")
  rows_of <- function(name, rows) {
    data.frame(guidance = name, quantity = names(rows), do.call(rbind, unname(rows)))
  }
  class <- list(shift = exact(0), spread = exact(1), total_variation = exact(0),
                kl_reverse = exact(0), fraction_down = exact(0))
  if (!goal$singular) {
    q <- function(x) exp(log_class_probability(goal$law, goal$class)(x))
    class$confidence <- mean_of_draws(goal$part, 2^16, q, goal$key)
    class$entropy <- if (!is.null(goal$tilted)) {
      own <- tilted_law(goal$law, guidance(goal$class))
      class$confidence <- confidence(own)[ESTIMATE]
      tilt_distances <- law_distance(goal$tilted, own)
      class[c("tilt_total_variation", "tilt_kl_reverse")] <- list(
        row_of(tilt_distances, "total_variation")[ESTIMATE], row_of(tilt_distances, "kl")[ESTIMATE])
      entropy(own)[ESTIMATE]
    } else entropy(goal$part, key = goal$key)[1, ESTIMATE]
    class$outside <- if (sum(goal$part$weights > 0) == 1) exact(.01) else {
      mean_of_draws(goal$part, 2^16, function(x) is_outside(x, goal$part), goal$key)
    }
  }
  tilted <- if (!is.null(goal$tilted)) {
    distances <- law_distance(goal$tilted, goal$part)
    rows_of(paste0("(the tilt, ", format(goal$tilt), ")"),
            c(law_rows(goal$tilted, goal),
              list(total_variation = row_of(distances, "total_variation")[ESTIMATE],
                   kl_reverse = row_of(distances, "kl_reverse")[ESTIMATE],
                   tilt_total_variation = exact(0), tilt_kl_reverse = exact(0))))
  }
  list(rows_of("(the class)", class), tilted)
}

# ---- One guidance

judged_guidance <- function(d, n, goal, plain) {
  plan <- sampling_plan(d, n)
  aim <- plan_aim(plan, d$guidance)
  run <- run_plan(plan, d$guidance, d$key)
  program <- if (is.null(aim$program)) plan$program else aim$program
  # nodes in the plane are too many for a rule that calls R at each
  slow <- !is.null(program$call) && mixture_dim(d$mixture) > 1
  # a law with a larger spread, over the class's, would need too large a grid
  wide <- spread_of(apply(run$x, 2, stats::var), goal) >= 10
  rows <- if (!slow && !wide) rows_of_law(d, goal)
  if (is.null(rows)) {
    dense <- if (is.null(run$log_density) && !goal$singular) density_run(run, d) else run
    rows <- c(particle_rows(run, goal, dense), particle_distances(dense, goal))
  }
  rows$outside <- if (goal$singular) unknown_row("a covariance is singular") else {
    share_row(run, is_outside(run$x, goal$part))
  }
  same <- identical(run$confidence, plain$confidence)
  rows$fraction_down <- if (same) estimate_row(0, 0, "exact") else {
    share_row(run, run$confidence < plain$confidence - 1e-9)
  }
  rows$evaluations <- if (is_solved(d$guidance)) {
    unknown_row("as many scores as the solution of its equation takes")
  } else estimate_row(model_evaluations(program, aim), 0, "exact")
  data.frame(quantity = names(rows), do.call(rbind, unname(rows)))
}

# A share of 0 in n still has an error: two standard errors are 3/n.
share_row <- function(run, are) {
  row <- particle_mean(run, as.double(are))
  if (row$estimate %in% 0:1) row$se <- 1.5 / length(are)
  row
}

# The rows from the exact law, NULL if there is none. A rule that jumps has images that no grid
# resolves: in the plane the difference of two grids measures the error.
rows_of_law <- function(d, goal) {
  from <- function(...) {
    law <- if_error(suppressWarnings(guided_law(d, ...)), function(e) NULL)
    if (!is.null(law)) c(law_rows(law, goal), law_distances(law, goal))
  }
  jumps <- with_noise(d$sampler, d$score_error)$stochastic && !is.null(nonlinear_words(d$guidance))
  if (!jumps || mixture_dim(d$mixture) != 2) return(from())
  fine <- from(nodes = 257)
  rough <- from(nodes = 129)
  if (is.null(fine) || is.null(rough)) return(NULL)
  Map(function(fine, rough) {
    replace(fine, "se", pmax(fine$se, abs(fine$estimate - rough$estimate)))
  }, fine, rough)
}

# The number of model scores per particle: scores at the same place and time count once.
model_evaluations <- function(program, aim) {
  op <- program$op
  kind <- op_kinds(program)
  used <- matrix(aim$levels$coef, nrow(aim$models)) != 0
  total <- sum(kind == "call")
  place <- NULL
  models <- rep(FALSE, nrow(used))
  for (i in which(writes_register(kind))) {
    # evaluations with a scalar read log-densities
    if (kind[i] == "eval" && op["n", i] < 0) {
      level <- op["at", i] + 1
      here <- c(program$level_times[level], op["from", i])
      if (!identical(here, place)) models[] <- FALSE
      place <- here
      total <- total + sum(used[, level] & !models)
      models <- models | used[, level]
    }
    if (op["to", i] %in% place[2]) place <- NULL
  }
  total
}

# Beyond the 99 % ellipse of every component.
is_outside <- function(x, mixture) {
  outside <- rep(TRUE, nrow(x))
  for (k in which(mixture$weights > 0)) {
    cov <- unname(component_cov(mixture, k))
    distance <- stats::mahalanobis(unname(x), unname(mixture$means[k, ]), cov)
    outside <- outside & !(distance <= stats::qchisq(.99, ncol(x)))
  }
  outside
}

law_rows <- function(law, goal) {
  place <- law_numbers(law, function(law) {
    found <- moments(law)
    c(shift = shift_of(found$mean, goal), spread = spread_of(diag(found$cov), goal))
  }, function(values) c(max(1, values[[1]][["shift"]]), values[[1]][["spread"]]))
  c(list(confidence = confidence(law)[ESTIMATE], entropy = entropy(law)[ESTIMATE]),
    lapply(place, known_in_sd, goal))
}

shift_of <- function(mean, goal) {
  shift <- sqrt(mean(in_sd(mean - goal$mean, goal)^2))
  # a shift by rounding
  if (shift < 1e-12) 0 else shift
}

spread_of <- function(variance, goal) sqrt(mean(in_sd(sqrt(variance), goal)^2))

# If a variable does not vary in the class, a shift or spread of 0 stays 0.
in_sd <- function(x, goal) ifelse(x == 0, 0, x / goal$sd)

# Any other one is infinite.
known_in_sd <- function(row, goal) {
  still <- goal$sd == 0
  if (is.finite(row$estimate) || !any(still)) return(row)
  unknown_row(paste("the class does not vary in", toString(variable_labels(goal$law)[still], 60)))
}

law_distances <- function(law, goal) {
  if (goal$singular) return(unknown_distances("a covariance is singular"))
  if (!is.null(law$doubt)) return(unknown_distances(law$doubt))
  from <- function(target) {
    if (is_folded(law)) {
      if (inherits(target, "gaussmix")) target <- mixture_as_law(target, law)
      ratio <- law_ratio(law, target)
      alike <- max(unlist(ratio$rest)) < 1e-12
      rows <- folded_rows(if (alike) node_variation(ratio) else NA)
      rows[[1]] <- rough_row(rows[[1]], law, ratio$forth, missing_mass)
      return(rows)
    }
    rows <- law_distance(law, target)
    rows <- lapply(c("total_variation", "kl_reverse"), function(name) row_of(rows, name)[ESTIMATE])
    # the densities have an error of their own
    lapply(rows, function(row) replace(row, "se", max(row$se, law$off)))
  }
  c(stats::setNames(from(goal$part), FROM_CLASS),
    if (!is.null(goal$tilted)) stats::setNames(from(goal$tilted), FROM_TILT))
}

FROM_CLASS <- c("total_variation", "kl_reverse")
FROM_TILT <- paste0("tilt_", FROM_CLASS)

unknown_distances <- function(note) {
  stats::setNames(rep(list(unknown_row(note)), 4), c(FROM_CLASS, FROM_TILT))
}

# Where steps fold starts onto each other, only the density of each branch is known.
folded_rows <- function(variation, se = 0) {
  note <- "at least: steps fold starts onto others, and densities are known of each branch alone"
  list(if (is.na(variation)) unknown_row(note) else estimate_row(variation, se, "bound", note),
       unknown_row("unknown where steps fold starts onto others"))
}

# ---- By particles

particle_rows <- function(run, goal, dense = run) {
  x <- run$x
  mean <- colMeans(x)
  shift <- shift_of(mean, goal)
  spread <- spread_of(colMeans(sweep(x, 2, mean)^2), goal)
  # both are roots of means of smooth functions: their errors by the delta method
  z <- sweep(sweep(x, 2, mean), 2, goal$sd, "/")
  z[, goal$sd == 0] <- 0
  drawn <- function(value, each, by) {
    known_in_sd(estimate_row(value, particle_mean(run, each)$se / by, "Monte Carlo"), goal)
  }
  d <- ncol(x)
  list(confidence = mean_confidence(run), entropy = entropy_of_run(dense),
       shift = drawn(shift, drop(z %*% in_sd(mean - goal$mean, goal)), d * max(shift, 1e-300)),
       spread = drawn(spread, rowSums(z^2), 2 * d * spread))
}

entropy_of_run <- function(run) {
  if (is.null(run$log_density)) {
    return(if_error(entropy(run)[1, ESTIMATE], function(e) unknown_row(no_density_note(run))))
  }
  row <- particle_mean(run, -run$log_density)
  row$se <- sqrt(row$se^2 + off_of(run)^2)
  if (any(run$folded)) {
    row[c("method", "note")] <- list("bound", "at most: steps fold starts onto others")
  }
  row
}

# The mean error of log-densities that come from differences.
off_of <- function(run) if (is.null(run$off)) 0 else mean(pmin(run$off, 1))

no_density_note <- function(run) {
  if (!is.null(run$doubt)) return(run$doubt)
  if (!run$sampler$stochastic) return("no log-density is carried along")
  if (ncol(run$x) > 2) return("no density is known of a stochastic sampler in so many dimensions")
  "no grid resolves the law"
}

particle_distances <- function(run, goal) {
  if (goal$singular) return(unknown_distances("a covariance is singular"))
  if (is.null(run$log_density)) return(unknown_distances(no_density_note(run)))
  folds <- mean(run$folded) > 1e-3
  off <- off_of(run)
  from <- function(log_target, extra = 0) {
    u <- log_target - run$log_density
    variation <- particle_mean(run, pmax(-expm1(pmin(u, 700)), 0))
    if (folds) return(folded_rows(variation$estimate, variation$se))
    rows <- list(variation, particle_mean(run, -u))
    lapply(rows, function(row) replace(row, "se", sqrt(row$se^2 + off^2 + extra^2)))
  }
  rows <- c(from(dgaussmix(run$x, goal$part, log = TRUE)), if (!is.null(goal$tilt)) {
    from(log_tilt_at(goal, run$x), if (is.null(goal$log_z)) 0 else goal$log_z$se)
  })
  stats::setNames(rows, c(FROM_CLASS, FROM_TILT)[seq_along(rows)])
}

# The same run, or a smaller one, with its density if differences can tell it: they take at least
# six further runs for each variable. The points of a stochastic sampler become independent, since
# those of nets are too far from their neighbours for an entropy.
density_run <- function(run, d) {
  if (run$sampler$stochastic || !is.null(run$score_error$noise)) {
    if (is.null(run$family) || ncol(run$x) > 16) return(run)
    return(guided_sample(replace(d, "points", "random"), nrow(run$x), key = d$key))
  }
  solved <- is_solved(d$guidance)
  if (solved && ncol(run$x) > 2) {
    run$doubt <- "no density: differences of a rule that solves an equation take too long"
    return(run)
  }
  most <- if (solved) 256 else max(2^floor(log2(5e4 / (6 * ncol(run$x)))), 64)
  if (nrow(run$x) > most) run <- guided_sample(d, most, log_density = "none", key = d$key)
  with_density(run, d)
}

is_solved <- function(guidance) identical(guidance$rule$kind, "characteristic")

# A deterministic run with its density from differences of its map.
with_density <- function(run, d) {
  start <- run_starts(d, nrow(run$x))
  law <- if_error(start_law(process_diffusion(d)$start, in_process(d$mixture), d$guidance$class,
                            d$schedule, d$horizon), function(e) NULL)
  if (is.null(law)) return(run)
  z <- to_process(start, d$mixture)
  go <- function(z) {
    guided_sample(d, start = from_process(z, d$mixture), log_density = "none", key = d$key)$x
  }
  det <- det_by_differences(go, z, 1e-3 * start_scale(law))
  if (mean(!(det$off < .1)) > MOST_APART) {
    run$doubt <- JUMPS
    return(run)
  }
  # a density per unit of the process at the start, and of the variables at the end
  run$log_density <- dgaussmix(z, law, log = TRUE) - det$log
  run$folded <- det$negative
  run$off <- det$off
  run
}

# The starts of a run: the output of a sampler without steps.
run_starts <- function(d, n) {
  idle <- change_diffusion(d, list(sampler = idle_sampler(d$horizon), guidance = NULL))
  guided_sample(idle, n, log_density = "none", reduce = FALSE)$x
}

# ---- Print and picture

# A row for each guidance, a column for each quantity.
comparison_words <- function(x, digits) {
  rows <- plain_table(x)
  names <- unique(rows$guidance)
  cell <- function(quantity) {
    own <- rows[rows$quantity == quantity, ]
    own <- own[match(names, own$guidance), ]
    own$method[is.na(own$method)] <- "unknown"
    shown <- show_estimate(own$estimate, own$se, own$method, digits, quantity %in% OF_SIZE_ONE)
    side <- if (quantity == "entropy") "<= " else ">= "
    shown <- paste0(ifelse(own$method == "bound", side, ""), shown)
    replace(shown, is.na(own$estimate), "")
  }
  # the scale is the strength and 1
  short <- sub(" \\(guidance scale [^()]*\\)", "", names)
  known <- intersect(names(COMPARED), rows$quantity[!is.na(rows$estimate)])
  cells <- stats::setNames(lapply(known, cell), COMPARED[known])
  data.frame(guidance = if (anyDuplicated(short)) names else short, cells, check.names = FALSE)
}

picture.guidance_comparison <- function(object, setup) {
  rows <- plain_table(object)
  same <- c("evaluations", "strength", if (!is.null(setup$confidence)) "confidence")
  rows <- rows[is.finite(rows$estimate) & !rows$quantity %in% same, ]
  reference <- startsWith(rows$guidance, "(")
  panel <- function(rows) factor(COMPARED[rows$quantity], COMPARED)
  lines <- data.frame(rows[reference, c("estimate", "guidance")], panel = panel(rows[reference, ]))
  shown <- rows[!reference, ]
  shown$panel <- panel(shown)
  shown$guidance <- factor(shown$guidance, rev(unique(shown$guidance)))
  shown$reach <- ifelse(is.finite(shown$se), 2 * shown$se, 0)
  shown$known <- ifelse(shown$method != "bound", "this",
                        ifelse(shown$quantity == "entropy", "at most", "at least"))
  lines <- lines[lines$panel %in% shown$panel, ]
  sides <- c("at least (>)"[any(shown$known == "at least")],
             "at most (<)"[any(shown$known == "at most")])
  ggplot(shown, aes(.data$estimate, .data$guidance)) +
    geom_vline(aes(xintercept = .data$estimate, linetype = .data$guidance), lines,
               colour = "grey45") +
    geom_segment(aes(x = .data$estimate - .data$reach, xend = .data$estimate + .data$reach,
                     yend = .data$guidance), colour = class_palette(1)) +
    geom_point(aes(shape = .data$known), colour = class_palette(1), size = 1.8) +
    scale_shape_manual(values = c(this = 16, "at least" = 62, "at most" = 60), guide = "none") +
    facet_wrap(vars(.data$panel), scales = "free_x", nrow = 2) +
    scale_x_continuous(n.breaks = 3, expand = expansion(.1)) +
    finish(paste("Kinds of guidance towards", aim_words(setup$class)),
           c(format(setup$sampler), schedule_words(setup), if (!is.null(setup$confidence)) {
             paste("All at confidence", format(setup$confidence))
           }),
           c(paste0("Bars: 2 standard errors. Lines: the class itself",
                    if (any(startsWith(lines$guidance, "(the tilt"))) " and the tilted law"),
             if (length(sides)) paste("Arrowheads: bounds,", paste(sides, collapse = " and ")),
             fault_words(setup$faults)), x = NULL, y = NULL, linetype = NULL, legend = "bottom") +
    # labels of neighbouring panels stay apart
    theme(panel.spacing.x = unit(1.3, "lines"), plot.margin = margin(6, 16, 6, 6))
}

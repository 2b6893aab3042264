#' Compare strengths of guidance
#'
#' A sweep runs the same particles, with the same noise, under each strength. It reports the
#' confidence, its gain over the first strength, the entropy and the share of paths that lose
#' confidence.
#'
#' @details The gain is a paired difference, whose standard error is far smaller than that of two
#' independent runs.
#'
#' **Exact in one dimension.** For d = 1 and a deterministic sampler every expectation is an
#' integral over the start, computed by the trapezoidal rule over 9 standard deviations to each side
#' (`n` nodes, but at least 2001). `method` is then `"quadrature"`. Standard errors are 0; if the
#' map tears or folds the space between nodes, they are the change of the value when every other
#' node is left out. The value is that of the sampler with its steps, not of continuous time.
#'
#' **Known at strength 0.** If the class is one Gaussian and guidance adds a multiple of a
#' difference of scores, a run at strength 0 is an affine map of normals. The law of its output,
#' with the errors of its steps, is that of [guided_moments()], and its confidence is the mean over
#' `4 n` points of that law (2^14 to 2^18), without steps. If points are nets (see [net]), the
#' other strengths use it as a control variate: each replicate subtracts the error of the same
#' particles at strength 0, times the slope of a regression over the other replicates, so nothing
#' is biased. This is done if it leaves at most half of the variance, and `note` says so.
#'
#' @inheritParams guided_sample
#' @param guidance Label of the class to guide to, or several labels for their union; or a
#'   [guidance()] of any kind, whose strength each of `strength` replaces (that of the first term,
#'   in a sum; a strength that is a function of time is multiplied instead); or a list of these.
#'   `NULL`: the guidance of the diffusion, or each class of the mixture in turn.
#' @param strength Numbers, in the order of comparison; the first is the baseline.
#' @param n Number of particles, or of quadrature nodes.
#' @param sampler `NULL` for that of the diffusion, a sampler, or a named list of samplers.
#' @param steps `NULL`, or numbers of steps, which each sampler takes in turn; they show where
#'   strong guidance needs shorter steps.
#' @param exact Use quadrature? By default yes if it is possible: for d = 1, a deterministic sampler
#'   and a `"normal"` start. With `TRUE`, a stochastic sampler of one score and d = 1 gets
#'   confidence, gain and entropy from its exact [guided_law()].
#' @param keep Keep the samples (a list of [guided_sample()]), and the exact laws, for plots of
#'   where the particles end? Otherwise the memory of a sweep does not grow with `n`.
#' @return An object of class `guidance_sweep`, a data frame with a row per class, sampler, number
#'   of steps and strength, and columns
#'   * `class`, `sampler`, `steps`, `strength`; `scale` = 1 + strength, the guidance scale of other
#'     software;
#'   * `confidence`, `confidence_se`: mean of `p(class | x)`;
#'   * `gain`, `gain_se`: paired difference to the first row;
#'   * `entropy`, `entropy_se`: differential entropy of the output, in nats; `NA` for stochastic
#'     samplers (see [entropy()] and the `log_density` of [guided_sample()]);
#'   * `fraction_down`, `fraction_down_previous`: share of the paths whose confidence is below that
#'     of the first, or the previous, row (by more than 1e-9);
#'   * `mean_inverse_confidence`, with its `_se`: `E 1/p(class | x)`, `NA` if a few particles carry
#'     the mean: if `inverse_confidence_tail`, the Pareto `k` of the largest values (Vehtari et al.
#'     2024), is above 1/2, where the variance is infinite (or `1 - 1/log10(n)`, if that is less);
#'   * `folded`: share of particles at which the map folded; the entropy is then an upper bound;
#'   * `method`: `"quadrature"` or `"Monte Carlo"`; `note`: a control variate, if one was used, or
#'     that a few particles carry `1 - confidence` (see [confidence()]).
#'
#'   Attribute `setup` holds the inputs, what was kept (`samples`, `laws`), and `target`: confidence
#'   and entropy of the class itself, which a sampler without error has at strength 0, and `off`,
#'   how far the run of strength 0 is from it: `mean`, of the worst variable in its standard
#'   deviations; `sd`, the relative error along the worst principal axis of the class (up to 32
#'   variables); `confidence`. The print shows the largest, and there is a warning of class
#'   `mixguide_warning_location` if mean or sd is off by more than `.1 + 4/sqrt(n)`. For several
#'   sweeps it has `runs`, a list of the setups.
#' @source Wu, Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639}; `E 1/p` after Li and
#'   Jiao (2025), \doi{10.48550/arXiv.2505.01382}.
#' @seealso [coupled_paths()] to keep the paths, [strength_limit()] for the strength from which
#'   guidance loses, [guidance_condition()] for the proved statements.
#' @examples
#' m <- gaussmix(c(.5, .5), c(1, -1), cov = 1, class = c("a", "b"))
#' sweep <- guidance_sweep(m, guidance = "a", strength = c(0, 1, 4),
#'                         sampler = sampler_rk4(60, "quadratic"))
#' sweep
#' plot(sweep)
#' # where the particles end: too few steps for the strength split the class
#' split <- guidance_sweep(named_mixture("D3"), guidance = "1", strength = seq(0, 20, 2), n = 1000,
#'                         horizon = 5,
#'                         sampler = sampler_em(50, "uniform"), exact = TRUE, keep = TRUE)
#' plot(split, variable = 1)
#' # every class, at several numbers of steps
#' guidance_sweep(m, strength = c(0, 4), sampler = sampler_ddim(), steps = c(5, 20))
#' @export
guidance_sweep <- function(mixture, n = 1e4, guidance = NULL, strength = c(0, 0.5, 1, 2, 4, 8),
                           sampler = NULL, ..., steps = NULL, noise = NULL,
                           log_density = c("auto", "map", "divergence", "none"), exact = NULL,
                           keep = FALSE, reduce = TRUE, folder = NULL) {
  single <- function(x) if (!is.list(x) || is.object(x)) x
  d <- as_diffusion(mixture, ...,
                    own = list(guidance = single(guidance), sampler = single(sampler)),
                    takes_points = TRUE, takes_model = TRUE)
  if (!is.null(d$mixture$model) && is.null(d$mixture$model$classifier)) {
    abort_input("mixture", "a score_model() with a classifier, for a sweep of the confidence",
                format(d$mixture$model))
  }
  strength <- check_strengths(strength)
  n <- check_particles(n, min = 2)
  if (is.matrix(d$start) && nrow(d$start) < 2) {
    abort_input("start", "two points at least", count_of(nrow(d$start), "row"))
  }
  call <- call_of("guidance_sweep", d)
  # single values are part of the diffusion
  call$args <- call$args[!(names(call$args) %in% c("guidance", "sampler") &
                             vapply(call$args, function(x) !is.null(single(x)) || is.null(x), NA))]
  refuse_noise(d, noise)
  d <- default_points(d, n)
  check_flag(keep, "keep")
  guides <- if (is.list(guidance) && !is.object(guidance)) listed_guides(guidance) else
    if (!is.null(d$guidance)) list(d$guidance) else lapply(present_classes(d$mixture), as_guidance)
  samplers <- sweep_samplers(sampler, steps, d)
  d$key <- run_key(d)
  cells <- expand.grid(sampler = seq_along(samplers), guide = seq_along(guides))
  if (nrow(cells) > 1 && !is.null(folder)) {
    abort_input("folder", "NULL for a sweep of several classes or samplers", describe(folder))
  }
  sweeps <- faults_once(lapply(seq_len(nrow(cells)), function(i) {
    cell <- list(guidance = guides[[cells$guide[i]]], sampler = samplers[[cells$sampler[i]]])
    setting <- if (identical(cell, unclass(d)[names(cell)])) d else change_diffusion(d, cell)
    one_sweep(setting, strength, n, noise, log_density, exact, keep, reduce, folder,
              quiet = !is.null(steps))
  }))
  setups <- lapply(sweeps, attr, "setup")
  rows <- Map(function(sweep, setup, sampler) {
    data.frame(class = aim_words(setup$class), sampler = sampler, steps = length(setup$times) - 1,
               sweep)
  }, sweeps, setups, names(samplers)[cells$sampler])
  rows <- do.call(rbind, rows)
  setup <- setups[[1]]
  if (length(setups) > 1) {
    if ("class" %in% sweep_keys(rows)) setup["target"] <- NULL else setup$target["off"] <- NULL
    setup[c("samples", "laws")] <- NULL
    setup$faults <- unlist(lapply(setups, `[[`, "faults"))
    setup$faults <- setup$faults[!duplicated(setup$faults)]
    setup$runs <- setups
  }
  keys <- sweep_keys(rows)
  table <- new_table(rows, "guidance_sweep", sweep_head(setup, keys), setup,
                     keys = c("class", "sampler", "steps", "strength", "scale"),
                     noted = c(SWEEP_NOTED,
                               stats::setNames(list(c("confidence", "gain")), FEW_CARRY)),
                     # the rows fit the screen without the scale, which is 1 + strength
                     shown = c(keys, "strength", "confidence", "gain", "entropy",
                               down = "fraction_down"),
                     foot = sweep_foot(rows, setup, keys), groups = sweep_groups(setup, keys))
  with_call(table, call, d$key)
}

listed_guides <- function(guidance) {
  if (!length(guidance)) abort_input("guidance", "a guidance, or a list of them", "an empty list")
  lapply(guidance, function(each) check_guidance(as_guidance(each), optional = FALSE))
}

# The samplers of a sweep, by name, with each number of steps.
sweep_samplers <- function(sampler, steps, d) {
  samplers <- if (is.list(sampler) && !is.object(sampler)) sampler else list(d$sampler)
  if (!length(samplers)) abort_input("sampler", "a sampler, or a list of them", "an empty list")
  for (each in samplers) check_sampler(each)
  labels <- vapply(samplers, `[[`, "", "label")
  twins <- labels %in% labels[duplicated(labels)]
  labels[twins] <- vapply(samplers[twins], format, "")
  named <- names_of(samplers)
  labels[named != ""] <- named[named != ""]
  if (is.null(steps)) return(stats::setNames(samplers, labels))
  if (!(is.numeric(steps) && length(steps))) {
    abort_input("steps", "one or more whole numbers >= 1", describe(steps))
  }
  for (each in samplers) {
    if (is.null(each$steps) || is.numeric(each$grid)) {
      abort_input("sampler", "one of any number of steps where `steps` are given", format(each))
    }
  }
  several <- lapply(samplers, function(each) {
    lapply(steps, function(count) replace(each, "steps", check_steps(count)))
  })
  stats::setNames(unlist(several, recursive = FALSE), rep(labels, each = length(steps)))
}

# The strengths of one sampler and one guidance. `quiet`: no warning about coarse steps, because the
# sweep is meant to show their effect.
one_sweep <- function(d, strength, n, noise, log_density, exact, keep, reduce, folder, quiet) {
  template <- d$guidance
  # can confidence and entropy of the output come from its exact law, if nodes do not give them?
  by_law <- isTRUE(exact) && mixture_dim(d$mixture) == 1 && is.null(d$score_error) &&
    exact_means(TRUE, d) == "law"
  plan_for <- function(begin) {
    plan <- sampling_plan(replace(d, "start", list(begin$start)), n, noise, log_density,
                          reduce = reduce)
    if (!is.null(begin$entropy)) plan$begin$entropy <- begin$entropy
    plan
  }
  begin <- sweep_start(d, if (by_law) FALSE else exact, n)
  plan <- plan_for(begin)
  # the nodes stand for a normal start, and a model is asked what its strongest guidance asks
  start <- if (is.null(begin$weights)) given_start(plan$begin) else "normal"
  strongest <- with_strength(template, strength[which.max(abs(strength))])
  plan$faults <- plan_faults(plan, strongest, start)
  warned <- if (quiet) plan$faults[names(plan$faults) != "steps"] else plan$faults
  warn_faults(warned)
  guides <- lapply(strength, with_strength, guidance = template)
  axes <- class_axes(plan)
  sweep <- sweep_runs(plan, begin, guides, d$key, axes, keep, folder)
  # more nodes where a strength moves neighbouring starts apart
  while (sweep$torn > 1e-6 && plan$begin$n < 1e5) {
    begin <- sweep_start(d, exact, 4 * plan$begin$n)
    plan <- replace(plan_for(begin), "faults", list(plan$faults))
    sweep <- sweep_runs(plan, begin, guides, d$key, axes, keep, folder)
  }
  rows <- sweep_rows(strength, sweep, plan, begin)
  rows <- controlled_rows(rows, sweep, guides, plan, d)
  if (is.null(begin$weights)) rows <- unseen_rows(rows, sweep$tails, plan$begin$n)
  if (sweep$torn > 1e-6) rows$note <- sprintf("unresolved share %.0e", sweep$torn)
  target <- class_target(template$class, plan, d$key)
  # is strength 0 meant to give the class?
  meant <- !length(template$others) && is.null(d$score_error) && d$sampler$name != "zigzag" &&
    (is.null(template$rule) || zero_is_class(template$rule))
  if (!is.null(target) && 0 %in% strength && meant) {
    zero <- match(0, strength)
    target$off <- class_off(sweep$sums[[zero]], plan, axes, rows$confidence[zero], target)
    if (!quiet) {
      warn_faults(location_fault(target$off, if (is.null(begin$weights)) n else Inf))
    }
  }
  laws <- if (by_law) lapply(guides, function(guide) {
    quiet_law(change_diffusion(d, list(guidance = guide)))
  })
  if (by_law) rows <- exact_rows(rows, laws)
  plan$faults <- warned
  structure(rows, setup = c(made_by(plan, template, d$key),
                            list(class = template$class, n = plan$begin$n,
                                 exact = !is.null(begin$weights), target = target,
                                 samples = sweep$samples, laws = if (keep) laws)))
}

# The rows of a sweep with the confidence and entropy of the exact laws.
exact_rows <- function(rows, laws) {
  rows$confidence <- vapply(laws, function(law) confidence(law)$estimate, 0)
  rows$entropy <- vapply(laws, function(law) entropy(law)$estimate, 0)
  rows$gain <- rows$confidence - rows$confidence[1]
  rows[c("confidence_se", "gain_se", "entropy_se")] <- 0
  rows$method <- "quadrature"
  rows
}

# Runs all strengths, chunk by chunk. For each strength only sums over the columns of a sweep
# remain, unless samples are kept.
sweep_runs <- function(plan, begin, guides, key, axes, keep, folder) {
  n <- plan$begin$n
  aims <- lapply(guides, function(guide) plan_aim(plan, guide))
  job <- c(particle_job(plan, aims, key),
           list(weights = begin$weights,
                axes = axes,
                width = narrowest(plan$mixture, plan$times, plan$schedule)))
  if (keep) {
    job$samples <- lapply(guides, function(guide) {
      run <- run_plan(plan, guide, key, folder)
      run$weights <- begin$weights
      run
    })
    folder <- NULL
  }
  # the nodes of a quadrature are neighbours
  size <- if (is.null(begin$weights)) summary_chunk_size(plan, length(guides)) else n
  total <- NULL
  task <- list(name = "sweep", work = sweep_chunk, job = job)
  each_chunk(task, n, size, folder = folder, here = keep, collect = function(value, first, count) {
    total <<- merge_sweeps(total, value)
  })
  if (!keep) for (lost in total$lost) warn_lost(lost, n)
  c(total, list(samples = job$samples))
}

sweep_chunk <- function(job, first, count) {
  size <- if (is.null(job$weights)) batch_size(job$plan, 2^18) else count
  total <- NULL
  each_batch(first, count, size, function(first, count) {
    total <<- merge_sweeps(total, sweep_batch(job, first, count))
  })
  total
}

sweep_batch <- function(job, first, count) {
  plan <- draw_start(plan_part(job$plan, first, count), job$key)
  replicate <- replicate_of(plan$net, first, count)
  lost <- double()
  torn <- 0
  moments <- tails <- sums <- list()
  for (i in seq_along(job$aim)) {
    part <- if (is.null(job$samples)) {
      aim <- job$aim[[i]]
      read_chunk(run_chunk(plan, aim, job$key), plan, aim$log_prior)
    } else sample_part(job$samples[[i]], first, count)
    # a few particles need little memory, and collecting it takes as long as to run them
    if (length(part$x) > 2^16) collect_garbage(i, 4)
    lost[i] <- part$lost
    torn <- max(torn, unresolved(part$x, job$weights, job$width))
    sums[[i]] <- location_sums(part$x, job$weights, job$axes)
    if (i == 1) baseline <- previous <- part$confidence
    columns <- averaged_columns(part, baseline, previous, !is.null(plan$begin$entropy))
    previous <- part$confidence
    tails[[i]] <- tail_part(-part$log_confidence, job$plan$begin$n)
    moments[[i]] <- if (is.null(job$weights)) replicate_moments(columns, replicate) else {
      list(list(n = count, mean = t(colSums(job$weights * columns)), cross = t(0 * columns[1, ]),
                error = node_error(columns, job$weights)))
    }
  }
  list(moments = moments, tails = tails, lost = lost, torn = torn, sums = sums)
}

# The weights of the particles that are not lost, and the sums of their coordinates and of their
# squares along the class's axes.
location_sums <- function(x, w = NULL, axes = NULL) {
  there <- is.finite(rowSums(x))
  if (is.null(w)) w <- rep(1, nrow(x))
  if (!all(there)) {
    x <- x[there, , drop = FALSE]
    w <- w[there]
  }
  z <- if (!is.null(axes)) (x - rep(axes$mean, each = nrow(x))) %*% axes$turn
  c(sum(w), colSums(w * x), if (!is.null(z)) colSums(w * z^2))
}

# The mean of the class at the end of a run, and directions along which its variance is 1. NULL for
# many variables, and where there is no class to compare with.
class_axes <- function(plan) {
  if (mixture_dim(plan$mixture) > 32 || !is.null(plan$mixture$model)) return(NULL)
  wanted <- class_moments(plan)
  e <- eigen(wanted$cov, symmetric = TRUE)
  if (!isTRUE(min(e$values) > 1e-13 * max(e$values))) return(NULL)
  list(mean = unname(wanted$mean), turn = e$vectors / rep(sqrt(e$values), each = nrow(e$vectors)))
}

class_moments <- function(plan) {
  moments(diffuse(plan$mixture, plan$times[length(plan$times)], plan$schedule), plan$class)
}

# The values that a sweep averages, for each particle; NA if unknown.
averaged_columns <- function(part, baseline, previous, entropy_known) {
  unknown <- rep(NA_real_, length(part$confidence))
  cbind(
    confidence = part$confidence, gain = part$confidence - baseline,
    entropy = surprise(part, entropy_known, unknown),
    fraction_down = part$confidence < baseline - 1e-9,
    fraction_down_previous = part$confidence < previous - 1e-9,
    mean_inverse_confidence = exp(-part$log_confidence),
    folded = if (is.null(part$folded)) unknown else part$folded
  )
}

# The values that the entropy averages: minus the change of the log-density if the entropy of the
# start is known, otherwise minus the log-density.
surprise <- function(part, entropy_known, none = NULL) {
  if (is.null(part$log_density)) return(none)
  -(if (entropy_known) part$density_change else part$log_density)
}

merge_sweeps <- function(a, b) {
  if (is.null(a)) return(b)
  list(moments = Map(merge_replicates, a$moments, b$moments),
       tails = Map(merge_tails, a$tails, b$tails), lost = a$lost + b$lost,
       sums = Map(`+`, a$sums, b$sums), torn = max(a$torn, b$torn))
}

# Some particles of a sample, in the form of read_chunk().
sample_part <- function(run, first, count) {
  fields <- c("confidence", "log_confidence", "log_density", "density_change", "folded")
  rows <- first + seq_len(count)
  c(lapply(run[intersect(fields, names(run))], `[`, rows),
    list(x = run$x[rows, , drop = FALSE], lost = 0))
}

# The result of perfect sampling of the class at the last time.
class_target <- function(class, plan, key) {
  if (!is.null(plan$mixture$model)) return(NULL)
  law <- diffuse(plan$process, plan$times[length(plan$times)], plan$schedule)
  if (is_singular(law)) return(NULL)
  part <- class_law(law, class)
  q <- function(from) class_probability(moved(law, from), class)
  target <- if (mixture_dim(law) == 1) {
    list(confidence = expectations(list(part), list(q), 0, law)[[1]],
         entropy = entropy(part)[ESTIMATE])
  } else {
    mean_of <- function(f) mean_of_draws(part, 2^14, f, stream(key, "target"))
    one_gaussian <- sum(part$weights > 0) == 1
    list(confidence = mean_of(q(0)),
         entropy = if (one_gaussian) entropy(part)[ESTIMATE] else {
           mean_of(function(x) -dgaussmix(x, part, log = TRUE))
         })
  }
  target$entropy$estimate <- target$entropy$estimate + log_units(plan$mixture)
  target$entropy$note <- time_note(plan$process, class, plan$times)
  target
}

# How far a run at strength 0 is from the class: `mean`, in the standard deviations of the variable
# with the largest distance; `sd`, the largest relative error along an axis of the class; and
# `confidence`.
class_off <- function(sums, plan, axes, confidence, target) {
  wanted <- class_moments(plan)
  d <- length(wanted$mean)
  off <- sums[1 + seq_len(d)] / sums[1] - wanted$mean
  sd <- if (!is.null(axes)) {
    squares <- sums[-seq_len(d + 1)] / sums[1]
    max(abs(sqrt(pmax(squares - drop(off %*% axes$turn)^2, 0)) - 1))
  }
  c(mean = max(abs(off) / sqrt(diag(wanted$cov))), sd = sd,
    confidence = abs(confidence - target$confidence$estimate))
}

# Wrong samples may have the right confidence and entropy, or the right mean.
location_fault <- function(off, n) {
  wrong <- names(which(off[names(off) != "confidence"] > .1 + 4 / sqrt(n)))
  if (!length(wrong)) return(NULL)
  c(location = paste0("at strength 0 ", paste(off_phrases(off)[wrong], collapse = " and "),
                      " from that of the class: the start or the steps are not right for this ",
                      "mixture"))
}

off_phrases <- function(off) {
  size <- vapply(round(off * ifelse(names(off) == "sd", 100, 1), 6), format, "", digits = 2)
  forms <- c(mean = "the mean of the worst variable is off by %s sd",
             sd = "the sd along the worst axis is off by %s%%",
             confidence = "the confidence is off by %s")
  stats::setNames(sprintf(forms[names(off)], size), names(off))
}

# The start that all strengths share: a given one, or the nodes and weights of the quadrature, over
# `reach` standard deviations to each side.
sweep_start <- function(d, exact, n, reach = 9, least = 2001) {
  noisy <- with_noise(d$sampler, d$score_error)$stochastic
  possible <- mixture_dim(d$mixture) == 1 && !noisy && identical(d$start, "normal")
  # the width of a model that stands alone is unknown, so nodes might miss it
  exact <- if (is.null(exact)) possible && is.null(d$mixture$model) else check_flag(exact, "exact")
  if (!exact) return(list(start = d$start))
  if (!possible) {
    abort_input("exact", 'FALSE unless d = 1, the sampler is deterministic and start is "normal"')
  }
  sd <- start_sd(d$schedule, d$horizon)
  z <- seq(-reach, reach, length.out = max(n, least))
  x <- from_process(matrix(sd * z), d$mixture)
  volume <- log(sd) + log_units(d$mixture)
  attr(x, "log_density") <- stats::dnorm(z, log = TRUE) - volume
  weights <- stats::dnorm(z)
  list(start = x, weights = weights / sum(weights), entropy = log(2 * pi * exp(1)) / 2 + volume)
}

sweep_rows <- function(strength, sweep, plan, begin) {
  exact <- !is.null(begin$weights)
  entropy <- plan$begin$entropy
  rows <- Map(function(strength, moments, tail) {
    found <- moment_estimates(moments, !is.null(plan$net))
    if (!is.null(entropy)) found$estimate["entropy"] <- found$estimate["entropy"] + entropy
    # if all gains, or all changes of an entropy, are the same, only rounding is left
    if (exact) found$se[] <- moments[[1]]$error else {
      found$se[is_rounding(found$se, pmax(1, abs(found$estimate)))] <- 0
      # none of n paths lost, which does not prove none at all: two standard errors are 3/n
      none <- startsWith(names(found$estimate), "fraction_") & found$estimate %in% 0:1
      if (found$se[["gain"]] > 0) found$se[none] <- 1.5 / plan$begin$n
    }
    k <- if (exact) NA_real_ else pareto_k(tail$log)
    inverse <- found$estimate[["mean_inverse_confidence"]]
    if (!exact && is_heavy(tail$log, plan$begin$n, inverse, k)) {
      found$estimate["mean_inverse_confidence"] <- found$se["mean_inverse_confidence"] <- NA
    }
    # as many columns again, each next to its estimate
    values <- rbind(found$estimate, found$se)
    names <- rbind(names(found$estimate), paste0(names(found$estimate), "_se"))
    c(strength = strength, scale = 1 + strength, stats::setNames(c(values), names),
      inverse_confidence_tail = k)
  }, strength, sweep$moments, sweep$tails)
  rows <- as.data.frame(do.call(rbind, unname(rows)))
  if (plan$method == "none") rows[c("entropy", "entropy_se")] <- NA_real_
  rows$folded_se <- NULL
  rows$method <- if (exact) "quadrature" else "Monte Carlo"
  heavy <- !exact & is.na(rows$mean_inverse_confidence) & !is.na(rows$inverse_confidence_tail)
  rows$note <- ifelse(heavy, names(SWEEP_NOTED)[1], "")
  rows
}

# Notes of a row, with the quantities that they are about.
SWEEP_NOTED <- list("no mean_inverse_confidence, for its tail is heavy" = "mean_inverse_confidence",
                    "confidence by that known at strength 0" = c("confidence", "gain"),
                    "confidence by the known law of the run" = c("confidence", "gain"))

# Rows whose confidence and gain use what is known of strength 0 (see control_variate.R).
controlled_rows <- function(rows, sweep, guides, plan, d) {
  zero <- match(0, rows$strength)
  if (is.na(zero) || any(sweep$lost > 0)) return(rows)
  known <- known_confidence(d, plan, plan_aim(plan, guides[[zero]]))
  if (is.null(known)) return(rows)
  y <- vapply(sweep$moments, function(replicates) {
    vapply(replicates, function(one) one$mean[1, "confidence"], 0)
  }, double(length(sweep$moments[[zero]])))
  made <- controlled(y, replicate_sizes(sweep$moments[[zero]]), zero, known)
  rows[c("confidence", "confidence_se", "gain", "gain_se")] <-
    made[c("estimate", "se", "gain", "gain_se")]
  known_by <- replace(rep(names(SWEEP_NOTED)[2], nrow(rows)), zero, names(SWEEP_NOTED)[3])
  rows$note <- joint_notes(ifelse(made$used, known_by, ""), rows$note)
  rows
}

joint_notes <- function(a, b) {
  ifelse(nzchar(a) & nzchar(b), paste(a, b, sep = "; "), paste0(a, b))
}

# Rows whose confidence and gain allow for particles that were not drawn (see tail.R).
unseen_rows <- function(rows, tails, n) {
  unseen <- vapply(seq_along(tails), function(i) {
    drawn <- estimate_row(rows$confidence[i], rows$confidence_se[i], "Monte Carlo")
    row <- with_unseen(drawn, tails[[i]]$log, n)
    sqrt(row$se^2 - drawn$se^2)
  }, 0)
  few <- unseen > 0 & !is.na(unseen)
  unseen[!few] <- 0
  rows$confidence_se <- sqrt(rows$confidence_se^2 + unseen^2)
  # a gain of 0 without an error is that of a row against itself
  own <- rows$gain_se %in% 0
  rows$gain_se <- ifelse(own, 0, sqrt(rows$gain_se^2 + unseen^2 + unseen[1]^2))
  rows$note <- joint_notes(rows$note, ifelse(few, FEW_CARRY, ""))
  rows
}

sweep_column <- function(x, column, ...) {
  check_dots(...)
  rows <- tidy.mixguide_table(x)
  rows <- rows[rows$quantity == column, c("quantity", sweep_keys(x), "strength", ESTIMATE)]
  new_table(rows, "mixguide_estimates", attr(x, "look")$head)
}

# The columns besides the strength that distinguish the rows of a sweep.
sweep_keys <- function(x) {
  keys <- c("class", "sampler", "steps")
  keys[vapply(x[keys], function(key) length(unique(key)) > 1, NA)]
}

sweep_head <- function(setup, keys) {
  several <- !is.null(setup$runs)
  kind <- format_kind(setup$guidance)
  c(paste0(if (!"class" %in% keys) paste0("towards ", aim_words(setup$class), ", "),
           if (setup$exact) "by quadrature over ", number(setup$n),
           if (setup$exact) " starts" else " coupled particles"),
    if (!several) all_classes_note(setup$mixture, setup$class),
    if (nzchar(kind)) paste0("guidance", kind),
    # the nodes stand for a normal start
    process_lines(replace(setup, "start", if (setup$exact) "normal" else setup$start),
                  c("guidance", if ("sampler" %in% keys) "sampler"),
                  sampler = if ("steps" %in% keys) setup$sampler$label),
    if (!is.null(setup$reduced) && !several) paste0("reduced:  ", setup$reduced))
}

sweep_foot <- function(rows, setup, keys) {
  target <- setup$target
  c(paste0("gain: how much the mean confidence rises against strength ", format(rows$strength[1]),
           "; down: the share of the paths on which it falls."),
    if (!"class" %in% keys && !is.null(target)) paste0("The class itself: ", target_words(target)),
    if (!is.null(target$off)) off_words(target$off),
    if (any(rows$folded > 0, na.rm = TRUE)) {
      "Some steps fold the map: the entropy is an upper bound (see `folded`)."
    })
}

# The largest of the errors at strength 0, with its name.
off_words <- function(off) {
  paste0("(at strength 0 ", off_phrases(off)[[which.max(off)]],
         if (length(off) > 1) ", all else by less", ")")
}

target_words <- function(target) {
  paste0("confidence ", format_estimate(target$confidence), "; entropy ",
         format_estimate(target$entropy))
}

# The line above the rows of each class of a sweep of several.
sweep_groups <- function(setup, keys) {
  if (!"class" %in% keys) return(NULL)
  aims <- vapply(setup$runs, function(run) aim_words(run$class), "")
  runs <- setup$runs[!duplicated(aims)]
  stats::setNames(vapply(runs, function(run) {
    paste0("towards ", aim_words(run$class), if (!is.null(run$target)) {
      paste0("; the class itself: ", target_words(run$target))
    })
  }, ""), unique(aims))
}

# ---- Where the particles end

# The density of a variable of the output in bins, a column for each strength in increasing order
# (`rows` of the sweep): from the particles that the sweep kept, or their exact laws.
sweep_density <- function(object, variable, bins, limits) {
  setup <- attr(object, "setup")
  if (is.null(setup$samples)) {
    abort_input("variable", paste("NULL, unless the sweep is of one class and sampler and kept its",
                                  "samples (keep = TRUE)"), describe(variable))
  }
  labels <- variable_labels(setup$mixture)
  known <- c(labels, seq_along(labels))
  if (length(variable) != 1 || !variable %in% known) {
    abort_input("variable", paste("one of", toString(known, 200)),
                if (is_text(variable)) unknown_names(variable, known) else describe(variable))
  }
  column <- if (is.character(variable)) match(variable, labels) else variable
  bins <- check_count(bins, "bins", min = 2)
  limits <- check_range(limits, 1, "limits")
  rows <- order(object$strength)
  ends <- if (is.null(setup$laws)) setup$samples else setup$laws
  runs <- lapply(ends[rows], function(end) {
    sorted <- order(end$x[, column], na.last = NA)
    weights <- run_weights(end)[sorted]
    list(x = end$x[sorted, column], weights = weights, held = cumsum(weights))
  })
  if (is.null(limits)) limits <- end_limits(runs)
  edges <- seq(limits[1], limits[2], length.out = bins + 1)
  # the distribution function between nodes on a grid is smooth
  smooth <- !is.null(setup$laws) && setup$sampler$stochastic
  density <- vapply(runs, function(run) {
    below <- if (!smooth) c(0, run$held)[findInterval(edges, run$x, left.open = TRUE) + 1] else {
      held <- stats::splinefun(run$x, run$held - run$weights / 2, "monoH.FC")
      held(pmin(pmax(edges, min(run$x)), max(run$x)))
    }
    pmax(diff(below), 0) / diff(edges)
  }, double(bins))
  list(density = density, edges = edges, rows = rows, variable = labels[column])
}

# All but the outer 0.1% on either side, of every strength.
end_limits <- function(runs) {
  ends <- vapply(runs, function(run) {
    run$x[c(which(run$held > .001)[1], which(run$held >= .999)[1])]
  }, double(2))
  limits <- range(ends[is.finite(ends)])
  limits + c(-1, 1) * max(.05 * diff(limits), 1e-8)
}

density_picture <- function(object, variable, bins, limits) {
  ends <- sweep_density(object, variable, bins, limits)
  setup <- attr(object, "setup")
  path <- plain_table(object)[ends$rows, ]
  strength <- path$strength
  half <- if (length(strength) > 1) diff(strength) / 2 else .5
  sides <- c(strength[1] - half[1], strength + half[pmin(seq_along(strength), length(half))])
  peak <- pmax(apply(ends$density, 2, max), .Machine$double.xmin)
  panels <- factor(c(ends$variable, "confidence"), c(ends$variable, "confidence"))
  cells <- data.frame(xmin = rep(sides[-length(sides)], each = bins),
                      xmax = rep(sides[-1], each = bins),
                      ymin = ends$edges[-(bins + 1)], ymax = ends$edges[-1],
                      shade = as.vector(sqrt(sweep(ends$density, 2, peak, "/"))),
                      panel = panels[1])
  path$panel <- panels[2]
  ggplot() +
    geom_rect(aes(xmin = .data$xmin, xmax = .data$xmax, ymin = .data$ymin, ymax = .data$ymax,
                  fill = .data$shade), cells[cells$shade > .01, ]) +
    geom_line(aes(.data$strength, .data$confidence), path, colour = ink) +
    geom_ribbon(aes(.data$strength, ymin = .data$confidence - 2 * .data$confidence_se,
                    ymax = .data$confidence + 2 * .data$confidence_se), path, alpha = .25) +
    geom_blank(aes(y = .data$y), data.frame(y = 0:1, panel = panels[2])) +
    scale_fill_gradient(low = "white", high = class_palette(1), guide = "none") +
    facet_wrap(vars(.data$panel), ncol = 1, scales = "free_y") +
    finish(paste("Where particles guided towards", aim_words(setup$class), "end"),
           c(format(setup$sampler), schedule_words(setup)),
           c("Shading: root of the density, relative to its maximum at each strength",
             fault_words(setup$faults)), x = "strength of guidance", y = NULL)
}

#' A report on what guidance does to a mixture
#'
#' Answers five questions about a fit, labelled data or a mixture. The answers are printed and, with
#' `file`, written as a page of HTML.
#'
#' @details The questions, and the call that answers each alone, with `m <- as_gaussmix(fit)`:
#' 1. What does guidance do to my classes? `guidance_sweep(m)`
#' 2. Which sampler for 20 evaluations? `plan_sampler(m, evaluations = 20)`
#' 3. Where does it break? `strength_limit(m, guidance = class)`
#' 4. What is sampled? `tilted_sample(m, class)` beside `guided_sample(m, guidance = class)`
#' 5. How do I impute? `impute(m, data)`
#'
#' Results for each class:
#' * **sweep**: a [guidance_sweep()], with its samples, which `augment(report$sweep)` returns.
#' * **outside**: the share of the particles where the class itself is rare: its density there is
#'   below that at 99% of its own draws. A run that samples the class has a share of 1%.
#' * **lost**: the mean loss of confidence of the paths that lose any.
#' * **limits**: [strength_limit()] up to strength 64, to 5%, for the sampler of the run and for
#'   DDIM with `evaluations` steps; and `paths`, the strengths tried by it.
#' * **theorems**: [guidance_condition()], and [step_condition()] at strength 1, for the sampler of
#'   the run if it is given, otherwise for [sampler_ddim()]; [split_threshold()] if the mixture is
#'   its three components in a row.
#' * **sampled**: at strength 1 (or the first above 0) confidence and mean log-odds of the run, of
#'   the class, and of the [tilted_law()], by weighted draws of the class. If the run differs from
#'   one of these by more than four standard errors, as every established difference does, it does
#'   not sample this law; otherwise the claim is neither proved nor refuted.
#'
#' and for the mixture as a whole:
#' * **plan**: [plan_sampler()] for `evaluations`, without guidance.
#' * **imputing**: in draws of the mixture one variable at a time is deleted. The share of its
#'   variance explained by the others is 1 minus the mean variance of [impute()]'s exact conditional
#'   law over its own variance.
#'
#' @param x An input of [as_gaussmix()]: a fit of \pkg{mclust} or \pkg{mixtools}, a formula (then
#'   `data` follows), points; a [gaussmix()]; or a [diffusion()].
#' @param ... Arguments of [as_gaussmix()] (`data`, `class`, ...), and those of [diffusion()]
#'   (`sampler`, `schedule`, `horizon`, `key`). For `autoplot()` and `plot()`: unused.
#' @param classes Labels of the classes to report on; `NULL`: those of a diffusion's guidance, or
#'   else all, or the eight of largest weight.
#' @param strength Strengths of the sweep, increasing from 0.
#' @param evaluations Number of score evaluations of the sampler to be found.
#' @param n Number of particles of each run.
#' @param file `NULL`, or the name of an HTML file to write, which needs \pkg{rmarkdown} and pandoc.
#' @param seconds Limit of the computing time, of which an eighth is for [plan_sampler()].
#' @return An object of class `guidance_report`: a list with `mixture`, `diffusion`, `classes`,
#'   the tables `sweep`, `outside`, `lost`, `limits`, `paths`, `theorems`, `sampled` and `imputing`
#'   (each `NULL` if it does not apply), the `plan` of [plan_sampler()], `split` of
#'   [split_threshold()] (or `NULL`), `points` (the data, if `x` holds them, and their `label`),
#'   `missing` (results not computed, and why) and `answers`, the sentences under their questions.
#'   `plot()` draws the figure of a question.
#' @seealso [guidance_sweep()], [strength_limit()], [plan_sampler()], [impute()].
#' @examples
#' m <- gaussmix(c(.5, .5), c(-1, 1), .5, class = c("a", "b"))
#' report <- guidance_report(m, classes = "a", n = 200, strength = c(0, 1, 4), evaluations = 8)
#' report
#' plot(report, "sampled")
#' @export
guidance_report <- function(x, ..., classes = NULL, strength = c(0, .5, 1, 2, 4, 8),
                            evaluations = 20, n = 2000, file = NULL, seconds = 120) {
  strength <- check_strengths(strength)
  if (strength[1] != 0 || length(strength) < 2 || is.unsorted(strength, strictly = TRUE)) {
    abort_input("strength", "two or more increasing numbers, of which the first is 0",
                describe(strength))
  }
  evaluations <- check_count(evaluations, "evaluations", min = 1, max = 1e5)
  n <- check_particles(n, min = 10)
  seconds <- check_number(seconds, "seconds", min = 0)
  target <- report_file(file)
  args <- list(...)
  data <- x
  of_run <- names_of(args) %in% c("sampler", "schedule", "horizon", "start", "key")
  ready <- inherits(x, c("gaussmix", "mixguide_diffusion"))
  if (!ready) x <- do.call(as_gaussmix, c(list(data), args[!of_run]), quote = TRUE)
  if (ready && any(!of_run)) {
    strange <- names_of(args)[!of_run]
    abort_input("...", paste("named arguments of diffusion() for a gaussmix or a diffusion",
                             "(the class is `classes`)"),
                toString(ifelse(nzchar(strange), strange, "one without a name")))
  }
  d <- do.call(as_diffusion, c(list(x), args[of_run], list(without = "score_error")), quote = TRUE)
  if (is.null(classes)) classes <- d$guidance$class
  mixture <- d$mixture
  d <- change_diffusion(d, list(guidance = NULL))
  d$key <- run_key(d)
  faults <- warn_faults(diffusion_faults(d))
  points <- if (!ready) if_error(report_points(data, args, mixture), function(e) NULL)
  report <- list(mixture = mixture, diffusion = d, classes = report_classes(mixture, classes),
                 points = points, faults = unname(faults), strength = strength,
                 evaluations = evaluations, n = n)
  report <- c(report, report_parts(report, seconds))
  report$answers <- stats::setNames(
    list(answer_classes(report), answer_sampler(report), c(report$faults, answer_limits(report)),
         answer_sampled(report), answer_imputing(report)),
    report_questions(report)$question
  )
  report <- structure(report, class = object_class("guidance_report"))
  if (!is.null(target)) report_render(report, target)
  report
}

report_classes <- function(mixture, classes) {
  if (!is.null(classes)) {
    class_components(mixture, classes, "classes")
    return(unique(as.character(classes)))
  }
  present <- present_classes(mixture)
  weight <- vapply(present, function(y) sum(mixture$weights[mixture$class == y]), 0)
  present[sort(utils::head(order(-weight), 8))]
}

# The points that a fit or its data hold, with their labels if they are classes of the mixture.
report_points <- function(x, args, mixture) {
  fit <- engine_fit(x)
  table <- if (inherits(fit, "formula")) args$data else if (is.data.frame(fit)) fit else
    if (inherits(fit, "mixEM")) fit$x else if (is.list(fit)) fit$data else fit
  label <- if (inherits(fit, "formula")) eval(fit[[2]], table, environment(fit)) else
    if (is.data.frame(fit)) if (is_text(args$class)) fit[[args$class]] else args$class else
      if (inherits(fit, "MclustDA")) fit$class else
        if (!is.null(fit$classification)) mixture$class[fit$classification]
  points <- check_points(table, mixture, look = FALSE)
  whole <- which(is.finite(rowSums(points)))
  label <- as.character(label)
  known <- length(label) == nrow(points) && all(label[whole] %in% mixture$class)
  list(x = points[whole, , drop = FALSE], label = if (known) label[whole])
}

# The full name of a page's file, if rmarkdown, pandoc and its folder are there.
report_file <- function(file) {
  if (is.null(file)) return(NULL)
  check_string(file, "file")
  need_packages("a page", "rmarkdown")
  if (!rmarkdown::pandoc_available()) abort("a page needs pandoc, which was not found", "package")
  folder <- dirname(path.expand(file))
  if (!dir.exists(folder)) abort_input("file", "in a folder that exists", folder)
  if (dir.exists(file)) abort_input("file", "the name of a file", "a folder")
  file.path(tools::file_path_as_absolute(folder), basename(file))
}

report_render <- function(report, file) {
  work <- tempfile("report")
  dir.create(work)
  on.exit(unlink(work, recursive = TRUE))
  source <- file.path(work, "report.Rmd")
  file.copy(system.file("report", "report.Rmd", package = "mixguide"), source)
  # the code of the page uses this file's functions
  space <- list2env(list(report = report), parent = topenv())
  rmarkdown::render(source, output_file = file, envir = space, quiet = TRUE)
}

# ---- The parts

report_parts <- function(report, seconds) {
  lacking <- character()
  begun <- now()
  # The value of a part, or NULL and the reason.
  part <- function(name, value) {
    tryCatch(within_seconds(seconds - (now() - begun), without_faults(value)),
             mixguide_error = function(e) {
               late <- if (inherits(e, "mixguide_error_late")) ": give more `seconds`"
               lacking[[name]] <<- paste0(conditionMessage(e), late)
               NULL
             })
  }
  each <- function(name, f) {
    lapply(report$classes, function(y) part(paste0(name, ", ", y), f(report, y)))
  }
  found <- list()
  d <- report$diffusion
  found$plan <- part("samplers", plan_sampler(report$mixture, evaluations = report$evaluations,
                                              key = d$key, schedule = d$schedule,
                                              horizon = d$given$horizon, seconds = seconds / 8))
  if (mixture_dim(report$mixture) > 1) found$imputing <- part("imputing", report_imputing(report))
  if (length(present_classes(report$mixture)) > 1) {
    report$sweep <- found$sweep <- part("classes", {
      guidance_sweep(d, report$n, as.list(report$classes), report$strength, keep = TRUE)
    })
    if (!is.null(found$sweep)) found <- c(found, together(each("sampled", report_sampled)))
    found$theorems <- do.call(rbind, each("theorems", report_theorems))
    found$split <- part("split", report_split(report))
    found <- c(found, together(each("limits", report_limits)))
  }
  c(found, list(missing = lacking))
}

towards <- function(report, class, sampler = report$diffusion$sampler) {
  change_diffusion(report$diffusion, list(guidance = guidance(class, 1), sampler = sampler))
}

# The strength at which the run and the tilted law are compared.
tilt_of <- function(report) if (1 %in% report$strength) 1 else report$strength[2]

# The runs of the sweep towards a class, one for each strength.
report_runs <- function(report, class) {
  setup <- attr(report$sweep, "setup")
  if (is.null(setup$runs)) return(setup$samples)
  setup$runs[[match(class, report$classes)]]$samples
}

report_limits <- function(report, class) {
  samplers <- list(report$diffusion$sampler, sampler_ddim(report$evaluations))
  each <- lapply(samplers, function(sampler) {
    limit <- strength_limit(towards(report, class, sampler), n = report$n, range = c(.25, 64),
                            tol = .05)
    row <- data.frame(class = class, sampler = format(sampler))
    note <- if (is.finite(limit$estimate)) "" else "not lost up to 64"
    list(limits = data.frame(row, estimate_row(limit$estimate, limit$se, limit$method, note)),
         paths = data.frame(row, limit$path))
  })
  together(each)
}

report_theorems <- function(report, class) {
  d <- towards(report, class)
  time <- guidance_condition(d)
  if (is.null(report$diffusion$given$sampler)) d <- towards(report, class, sampler_ddim())
  steps <- step_claims(as_diffusion(d, without = "score_error"), search = FALSE)
  continuous <- time$holds[c("ode", "sde")] %in% TRUE
  note <- c(rep(if (is.null(time$why)) "" else time$why, 2), steps$note)
  data.frame(class = class,
             claim = c("no path loses confidence by guidance, in continuous time (ODE)",
                       "no path loses confidence by guidance, in continuous time (SDE)",
                       paste0(claim_words[steps$claim], ", by ", sampler_words(format(d$sampler)))),
             proved = c(continuous, steps$holds %in% TRUE),
             "up to strength" = c(ifelse(continuous, Inf, 0), steps$strength),
             note = sub("^nothing is proved: ", "", note), row.names = NULL, check.names = FALSE)
}

# Three in a row, of unit variance in the process, the outer two of equal weight and distance.
report_split <- function(report) {
  mixture <- in_process(report$mixture)
  used <- which(mixture$weights > 0)
  close <- function(x, y) all(abs(x - y) <= 1e-6 * max(abs(y), 1e-300))
  if (length(used) != 3 || !close(used_values(mixture), 1) ||
      report$diffusion$schedule$label != schedule_ou()$label) return(NULL)
  for (middle in used) {
    outer <- setdiff(used, middle)
    arms <- t(mixture$means[outer, , drop = FALSE]) - mixture$means[middle, ]
    apart <- close(arms[, 1], -arms[, 2]) && close(diff(mixture$weights[outer]), 0)
    if (apart && mixture$class[middle] %in% report$classes &&
        !mixture$class[middle] %in% mixture$class[outer]) {
      split <- split_threshold(sum(mixture$weights[outer]) / mixture$weights[middle],
                               sqrt(sum(arms[, 1]^2)))
      return(cbind(class = mixture$class[middle], split[1, ]))
    }
  }
  NULL
}

# At one strength: confidence and log-odds of the run, and of class and tilted law, by weighted
# draws of the class; and for each strength the share of the run where the class is rare.
report_sampled <- function(report, class) {
  if (is_singular(report$mixture)) {
    abort("the mixture has a singular covariance: neither class nor tilt has a density", "singular")
  }
  runs <- report_runs(report, class)
  chosen <- match(tilt_of(report), report$strength)
  run <- runs[[chosen]]
  draws <- class_draws(c(unclass(run), list(tilt = report$strength[chosen])))
  # probabilities and their order are the same in all coordinates
  mixture <- in_process(report$mixture)
  part <- class_law(mixture, class)
  odds <- function(x) log_odds(to_process(x, report$mixture), mixture, class)
  class_odds <- odds(draws$x)
  run_odds <- odds(run$x)
  of_draws <- list(draws$confidence, class_odds)
  means <- c(list(mean_confidence(run), particle_mean(run, run_odds)),
             lapply(of_draws, sample_mean),
             lapply(of_draws, sample_mean, draws$weights, draws$family))
  sampled <- data.frame(class = class, law = rep(c("run", "class", "tilt"), each = 2),
                        quantity = c("confidence", "log-odds"), do.call(rbind, means))
  low <- stats::quantile(dgaussmix(to_process(draws$x, report$mixture), part, log = TRUE), .01)
  outside <- lapply(seq_along(runs), function(i) {
    rare <- dgaussmix(to_process(runs[[i]]$x, report$mixture), part, log = TRUE) < low
    data.frame(class = class, strength = report$strength[i], quantity = "outside",
               particle_mean(runs[[i]], as.double(rare)))
  })
  # the loss of the paths that lose confidence
  before <- runs[[1]]$confidence
  lost <- vapply(runs, function(run) {
    less <- before - run$confidence
    some <- which(less > 1e-9)
    w <- if (is.null(run$weights)) rep(1, length(less)) else run$weights
    if (length(some)) sum(w[some] * less[some]) / sum(w[some]) else 0
  }, 0)
  curve <- function(law, odds, weights) data.frame(class = class, law = law, odds, weights)
  list(sampled = sampled, outside = do.call(rbind, outside),
       lost = data.frame(class = class, strength = report$strength, lost = lost),
       odds = rbind(curve("run", run_odds, run_weights(run)),
                    curve("class", class_odds, 1 / length(class_odds)),
                    curve("tilt", class_odds, draws$weights)))
}

# log p(class | x) - log p(others | x), which keeps its digits if either is almost 0.
log_odds <- function(x, mixture, class) {
  rivals <- setdiff(present_classes(mixture), class)
  log_class_probability(mixture, class)(x) - log_class_probability(mixture, rivals)(x)
}

# The share of each variable explained by the others, by the exact conditional law of impute().
report_imputing <- function(report) {
  mixture <- report$mixture
  draws <- keyed_draws(mixture, min(report$n, 500), stream(report$diffusion$key, "check"))
  labels <- variable_labels(mixture)
  colnames(draws) <- labels
  total <- diag(moments(mixture)$cov)
  rows <- lapply(which(total > 0), function(j) {
    draws[, j] <- NA
    cells <- summary(impute(mixture, draws, m = 1, key = report$diffusion$key))
    left <- sample_mean(cells$sd^2 / total[j])
    data.frame(variable = labels[j], quantity = "explained",
               estimate_row(1 - left$estimate, left$se, "Monte Carlo"))
  })
  do.call(rbind, rows)
}

# ---- Words

# Each question with the name of its figure and the call that answers it alone.
report_questions <- function(report) {
  y <- dQuote(report$classes[1], FALSE)
  data.frame(
    question = c("What does guidance do to my classes?",
                 paste("Which sampler for", report$evaluations, "evaluations?"),
                 "Where does it break?", "What is sampled?", "How do I impute?"),
    figure = c("classes", "samplers", "limits", "sampled", "imputing"),
    call = c("guidance_sweep(m)", paste0("plan_sampler(m, evaluations = ", report$evaluations, ")"),
             paste0("strength_limit(m, guidance = ", y, ")"),
             paste0("tilted_sample(m, guidance = ", y, ")"), "impute(m, data)")
  )
}

# An estimate in words; without a standard error, or with one of 0, the number stands alone.
shown <- function(row) {
  drawn <- row$method == "Monte Carlo" && is.finite(row$se) && !is_rounding(row$se, row$estimate)
  show_estimate(row$estimate, row$se, if (drawn) "Monte Carlo" else "quadrature")
}

# The same with only as many decimals as are significant.
brief <- function(row, decimals) {
  value <- shown(row)
  if (isTRUE(row$se >= .5 * 10^-decimals) && nchar(value) < 16) return(value)
  formatC(row$estimate, digits = decimals, format = "f")
}

# A probability; values almost 1 are not told apart from 1.
share <- function(row) if (isTRUE(row$estimate > .99995)) "> 0.9999" else brief(row, 4)

percent <- function(x) {
  if (x <= 0) return("0%")
  if (x < 1e-3) return("< 0.1%")
  if (x < 1 && x > .9995) return("> 99.9%")
  paste0(format(100 * x, digits = if (x > .99) 3 else 2), "%")
}

# "rises (classes a, b); falls (class c)", or "rises (all classes)" if all were looked at.
by_verdict <- function(classes, verdicts, report) {
  groups <- split(classes, factor(verdicts, unique(verdicts)))
  all <- length(groups) == 1 && length(classes) > 1 &&
    all(present_classes(report$mixture) %in% classes)
  paste0(names(groups), " (", if (all) "all classes" else vapply(groups, some_classes, ""), ")",
         collapse = "; ")
}

some_classes <- function(x) {
  if (length(x) > 4) return(paste(length(x), "classes"))
  paste(if (length(x) > 1) "classes" else "class", toString(x))
}

# The sweep's rows of a class: a quantity at the first and last strengths.
sweep_ends <- function(report, class, quantity) {
  rows <- tidy.mixguide_table(report$sweep)
  rows <- rows[rows$quantity == quantity & rows$class == aim_words(class), ]
  list(first = rows[1, ], last = rows[nrow(rows), ])
}

established <- function(change, se) isTRUE(abs(change) > max(4 * se, 1e-9, na.rm = TRUE))

# The change of a quantity: `words` for a rise, a fall, or neither established.
verdict <- function(change, se, words) {
  if (!is.finite(change)) return("not known")
  words[if (!established(change, se)) 3 else if (change > 0) 1 else 2]
}

answer_classes <- function(report) {
  if (length(present_classes(report$mixture)) < 2) {
    return("There is a single class, without rivals: guidance changes nothing.")
  }
  if (is.null(report$sweep)) return("Not known (see below).")
  none <- "no change beyond the errors"
  verdicts <- vapply(report$classes, function(y) {
    gain <- sweep_ends(report, y, "gain")$last
    p <- sweep_ends(report, y, "confidence")
    h <- sweep_ends(report, y, "entropy")
    near <- min(p$first$estimate, p$last$estimate) > .995
    c(verdict(gain$estimate, gain$se, if (near) c("stays near 1", "falls", "stays near 1") else
        c("rises", "falls", none)),
      verdict(h$last$estimate - h$first$estimate, sqrt(sum(h$last$se^2, h$first$se^2)),
              c("rises, the sample spreads out", "falls, the sample draws together", none)))
  }, c("", ""))
  c(paste0("Confidence, strength 0 to ", format(max(report$strength)), ": ",
           by_verdict(report$classes, verdicts[1, ], report), "."),
    paste0("Entropy: ", by_verdict(report$classes, verdicts[2, ], report), "."))
}

# Confidence and entropy without and with the strongest guidance, for each class.
table_classes <- function(report) {
  if (is.null(report$sweep)) return(NULL)
  ends <- paste("at", format(range(report$strength), trim = TRUE))
  rows <- lapply(report$classes, function(y) {
    p <- sweep_ends(report, y, "confidence")
    h <- sweep_ends(report, y, "entropy")
    data.frame(y, share(p$first), share(p$last), brief(h$first, 3), brief(h$last, 3))
  })
  stats::setNames(do.call(rbind, rows),
                  c("class", paste("confidence", ends), paste("entropy", ends)))
}

answer_sampler <- function(report) {
  plan <- report$plan
  if (is.null(plan)) return("Not known (see below).")
  if (is.null(plan$sampler)) return(paste0(format(plan), "."))
  distance <- plan$measure == "distance"
  c(paste0(format(plan$sampler), ", from t = ", format(plan$horizon, digits = 4), "."),
    paste0(if (distance) paste0("Particles end ", shown(plan$error), " sd from the exact flow") else
      paste("From the mixture:", plan_measure(plan), shown(plan$error)),
      ", without guidance."),
    paste0("To run it: guided_sample(m, 1000, ", if (length(present_classes(report$mixture)) > 1) {
      paste0(dQuote(report$classes[1], FALSE), ", ")
    }, "sampler = report$plan$sampler, horizon = report$plan$horizon)."),
    if (!plan$complete) "The search ended early.",
    if (distance) {
      paste("The distance is the root mean square per variable, from the same starts;",
            "deterministic samplers are ranked by it. Guidance needs shorter steps.")
    })
}

answer_limits <- function(report) {
  if (length(present_classes(report$mixture)) < 2) return("There is nothing to guide away from.")
  c(limit_words(report), loser_words(report), outside_words(report), split_words(report),
    theorem_words(report))
}

# "DDIM, 20 steps"
sampler_words <- function(x) sub("^([^,]*?)( \\(eta = 0\\))?(, [0-9]+ steps?)?(,.*)?$", "\\1\\3", x,
                                 perl = TRUE)

limit_words <- function(report) {
  rows <- report$limits
  if (is.null(rows)) return("Limits of the strength: not known (see below).")
  by <- sampler_words(rows$sampler)
  lost <- which(is.finite(rows$estimate))
  if (!length(lost)) {
    return(paste0("Mean confidence: never below that without guidance, to strength 64 (",
                  paste(unique(by), collapse = "; "), ")."))
  }
  lost <- lost[order(rows$estimate[lost])]
  first <- utils::head(lost, 3)
  words <- paste0(vapply(rows$estimate[first], format, "", digits = 3), " (class ",
                  rows$class[first], "; ", by[first], ")")
  more <- length(lost) - length(first)
  paste0("Mean confidence falls below that without guidance from strength ", toString(words),
         if (more) paste(" and", more, "more"), "; else not, to 64.")
}

loser_words <- function(report) {
  rows <- as.data.frame(report$sweep)
  worst <- rows[which.max(rows$fraction_down), ]
  if (!NROW(worst)) return(NULL)
  if (worst$fraction_down == 0) {
    return(paste0("No single path was seen to lose confidence, to strength ",
                  format(max(report$strength)), "."))
  }
  lost <- report$lost
  by <- lost$lost[lost$class == worst$class & lost$strength == worst$strength]
  paste0("Single paths: up to ", percent(worst$fraction_down), " lose confidence",
         if (length(by)) {
           paste0(", ", if (by < 1e-4) "< 0.0001" else format(by, digits = 1, scientific = FALSE),
                  " on average")
         }, " (", worst$class, ", strength ", format(worst$strength), ").")
}

outside_words <- function(report) {
  rows <- report$outside
  if (is.null(rows)) return(NULL)
  rows <- rows[rows$strength == max(rows$strength), ]
  worst <- rows[which.max(rows$estimate), ]
  if (!NROW(worst)) return(NULL)
  paste0("At strength ", format(worst$strength), if (worst$estimate > .02) {
    paste0(", ", percent(worst$estimate), " of the sample lie where only 1% of class ",
           worst$class, " does.")
  } else " the samples keep to where their classes are.")
}

split_words <- function(report) {
  split <- report$split
  if (is.null(split)) return(NULL)
  paste0("Three in a row: the sample splits (", split$class, ") if strength x step is above ",
         format(split$ddpm, digits = 3), " (DDPM), ", format(split$ddim, digits = 3), " (DDIM).")
}

theorem_words <- function(report) {
  rows <- report$theorems
  if (is.null(rows)) return(NULL)
  proved <- rows[rows$proved, ]
  if (!nrow(proved)) {
    why <- unique(rows$note[nzchar(rows$note)])
    return(paste0("No theorem tells it in advance (", paste(utils::head(why, 2), collapse = "; "),
                  "): all this is computed."))
  }
  claims <- split(proved$class, factor(proved$claim, unique(proved$claim)))
  paste0("Proved at strength 1: ", names(claims), " (", vapply(claims, some_classes, ""), ").")
}

# Words about which of the two laws the run does not sample.
sampled_verdicts <- function(report) {
  rows <- report$sampled
  vapply(unique(rows$class), function(y) {
    laws <- split(rows[rows$class == y, ], rows$law[rows$class == y])
    differs <- function(law) {
      any(mapply(established, laws$run$estimate - law$estimate, sqrt(laws$run$se^2 + law$se^2)))
    }
    paste(differs(laws$class), differs(laws$tilt))
  }, "")
}

answer_sampled <- function(report) {
  rows <- report$sampled
  if (is.null(rows)) {
    return(if (length(present_classes(report$mixture)) < 2) {
      "The mixture itself: there is no class to guide to."
    } else "Not known (see below).")
  }
  said <- c("TRUE TRUE" = "neither class nor tilt", "TRUE FALSE" = "the tilt, as far as seen",
            "FALSE TRUE" = "the class, as far as seen",
            "FALSE FALSE" = "class or tilt, not told apart")
  verdicts <- sampled_verdicts(report)
  q <- rows[rows$quantity == "confidence", ]
  gap <- abs(q$estimate[q$law == "run"] - q$estimate[q$law == "tilt"])
  y <- names(verdicts)[which.max(gap)]
  # for confidences almost 1 the odds say more
  near <- min(q$estimate[q$class == y]) > .995
  quantity <- if (near) "log-odds" else "confidence"
  value <- function(law) {
    row <- rows[rows$class == y & rows$law == law & rows$quantity == quantity, ]
    sub(" \\(.*", "", if (near) shown(row) else share(row))
  }
  strength <- format(tilt_of(report))
  tilt <- paste0("p(x | class) p(class | x)", if (strength != "1") paste0("^", strength))
  alike <- length(unique(verdicts)) == 1
  c(paste0("Strength ", strength, ": ",
           by_verdict(names(verdicts), sub("tilt", paste0("tilt", if (alike) paste0(" ", tilt)),
                                           said[verdicts]), report), "."),
    paste0("Mean ", quantity, " of ", y, ": class ", value("class"), ", tilt ", value("tilt"),
           ", run ",
           value("run"), "."),
    if (alike) "tilted_sample() samples the tilt." else
      paste0("The tilt is ", tilt, "; tilted_sample() samples it."))
}

answer_imputing <- function(report) {
  rows <- report$imputing
  if (is.null(rows)) {
    return(if (mixture_dim(report$mixture) > 1) "Not known (see below)." else
      "There is one variable: nothing else tells of it.")
  }
  ends <- rows[order(rows$estimate)[unique(c(1, nrow(rows)))], ]
  told <- vapply(ends$estimate, percent, "")
  all <- length(unique(told)) == 1
  told <- if (all) told[1] else paste0(told, " (", ends$variable, ")", collapse = " to ")
  # one sentence, which print() does not cut
  paste0("impute(m, data) draws missing values from their exact law, given the others, which ",
         if (max(rows$estimate) < 1e-3) "tell nothing of them." else
           paste0("explain ", told, " of ", if (all) "each variable's" else "the", " variance."))
}

in_words.guidance_report <- function(x) {
  m <- x$mixture
  paste0(count_of(length(present_classes(m)), "class", "classes"), ", ",
         count_of(mixture_size(m), "component"), ", ", count_of(mixture_dim(m), "variable"))
}

# At most 24 lines of 80 columns. The rest is in `answers` and on the page.
print_body.guidance_report <- function(x, ...) {
  table <- table_classes(x)
  # lines for each answer, depending on the parts there are
  full <- length(x$missing) > 0
  most <- c(2, 2, 4 - full, if (NROW(table) > 3) 2 else 3, 2)
  width <- min(79, getOption("width"))
  most <- ceiling(most * 79 / width)
  for (i in seq_along(x$answers)) {
    writeLines(substring(names(x$answers)[i], 1, width))
    few_lines(x$answers[[i]], most[i], width)
    if (i == 1) few_rows(table, 3, width)
  }
  if (length(x$missing)) {
    writeLines(paste0("Not computed (see `missing`): ",
                      toString(unique(sub(",.*", "", names(x$missing))), width - 31)))
  }
  writeLines(substring(paste0("Errors in brackets; entropy in nats; ", number(x$n),
                              " particles by ", x$diffusion$sampler$label), 1, width))
}

# As many whole sentences as fit.
few_lines <- function(text, most, width) {
  lines <- lapply(text, strwrap, width, indent = 2, exdent = 4)
  if (length(lines[[1]]) > most) lines <- list(c(lines[[1]][seq_len(most - 1)], "    ..."))
  writeLines(unlist(lines[cumsum(lengths(lines)) <= most]))
}

few_rows <- function(table, most, width) {
  if (is.null(table)) return(invisible())
  more <- nrow(table) > most + 1
  rows <- if (more) table[seq_len(most), ] else table
  cells <- rbind(names(rows), as.matrix(rows))
  # labels are shortened to make room for the numbers
  room <- max(width - 3 - sum(apply(nchar(cells), 2, max)[-1] + 1), 6)
  long <- nchar(cells[, 1]) > room
  cells[long, 1] <- paste0(substring(cells[long, 1], 1, room - 2), "..")
  lines <- do.call(paste, lapply(seq_len(ncol(cells)), function(j) format(cells[, j])))
  lines <- sub(" +$", "", paste0("  ", lines))
  if (max(nchar(lines)) <= width) writeLines(lines) else print_rows(rows, 4)
  if (more) writeLines(paste0("  and ", nrow(table) - most, " more classes"))
}

# ---- Figures

#' @rdname guidance_report
#' @param object A `guidance_report`.
#' @param what The figure: `"classes"` (confidence and entropy against strength), `"samples"` (over
#'   the data), `"mixture"`, `"samplers"`, `"limits"` (gain up to strength 64), `"sampled"` (run,
#'   class and tilted law) or `"imputing"`.
#' @export
autoplot.guidance_report <- function(object, what = c("classes", "samples", "mixture", "samplers",
                                                      "limits", "sampled", "imputing"), ...) {
  check_dots(...)
  what <- check_choice(what, eval(formals()$what), "what")
  part <- switch(what, classes = , samples = object$sweep, samplers = object$plan,
                 limits = object$paths, sampled = object$odds, imputing = object$imputing,
                 object$mixture)
  if (is.null(part)) {
    if (what == "classes") return(figure_mixture(object))
    abort_input("what", "what the report has a figure of", describe(what))
  }
  switch(what, classes = , samplers = autoplot(part), samples = figure_samples(object),
         mixture = figure_mixture(object), limits = figure_limits(object),
         sampled = figure_sampled(object),
         imputing = tidy_picture(part, "How well each variable can be imputed", labels = c(
           explained = "share of the variance that the other variables explain")) +
           expand_limits(x = 0))
}

# The two variables in which the classes are furthest apart.
report_variables <- function(mixture) {
  d <- mixture_dim(mixture)
  if (d <= 2) return(seq_len(d))
  whole <- diag(moments(mixture)$cov)
  own <- Reduce(`+`, lapply(present_classes(mixture), function(y) {
    sum(mixture$weights[mixture$class == y]) * diag(moments(mixture, y)$cov)
  }))
  apart <- ifelse(whole > 0, 1 - own / whole, 0)
  sort(order(-apart)[1:2])
}

figure_mixture <- function(report) {
  points <- report$points
  autoplot(report$mixture, points$x, points$label, variables = report_variables(report$mixture))
}

# Samples at strength 0, at the strength of the tilted law and at the last, over the data.
figure_samples <- function(report, classes = 4, each = 400) {
  mixture <- report$mixture
  labels <- variable_labels(mixture)[report_variables(mixture)]
  shown <- unique(c(0, tilt_of(report), max(report$strength)))
  classes <- utils::head(report$classes, classes)
  cells <- expand.grid(strength = shown, class = classes, stringsAsFactors = FALSE)
  drawn <- do.call(rbind, Map(function(strength, class) {
    run <- report_runs(report, class)[[match(strength, report$strength)]]
    rows <- systematic(matrix(run_weights(run)), .5, min(each, nrow(run$x)))
    x <- as_columns(run$x[rows, , drop = FALSE], mixture)
    data.frame(x[labels], .strength = strength, .class = class, check.names = FALSE)
  }, cells$strength, cells$class))
  drawn$.strength <- factor(paste("strength", drawn$.strength), paste("strength", shown))
  drawn$.class <- factor(paste("towards", drawn$.class), paste("towards", classes))
  points <- report$points$x
  data <- if (!is.null(points)) {
    as_columns(points[every_kth(seq_len(nrow(points)), 1000), , drop = FALSE], mixture)[labels]
  }
  flat <- length(labels) == 1
  place <- if (flat) aes(.data[[labels]]) else aes(.data[[labels[1]]], .data[[labels[2]]])
  orange <- class_palette(2)[2]
  layers <- list(
    if (!is.null(data)) {
      if (flat) geom_rug(place, data, colour = "grey75") else
        geom_point(place, data, colour = "grey75", size = .9)
    },
    if (!flat) geom_point(place, drawn, size = .7, alpha = .5, colour = orange) else {
      geom_histogram(aes(.data[[labels]], after_stat(.data$density)), drawn, bins = 40,
                     fill = orange)
    },
    labs(x = labels[1], y = if (flat) "density" else labels[2])
  )
  ggplot() + layers + facet_grid(vars(.data$.class), vars(.data$.strength)) +
    scale_x_continuous(n.breaks = 4) + look() +
    words("What is drawn at growing strength",
          paste0("Orange: ", each, " particles", if (!is.null(data)) "; grey: the data"),
          c(margin_words(marginal(mixture, labels), mixture, "those that tell the classes apart"),
            if (length(report$classes) > length(classes)) {
              paste(length(classes), "of", length(report$classes), "classes shown")
            }))
}

figure_limits <- function(report) {
  rows <- report$paths
  rows$class <- factor(paste("towards", rows$class), unique(paste("towards", rows$class)))
  rows$sampler <- factor(rows$sampler, unique(rows$sampler))
  ggplot(rows, aes(asinh(.data$strength), .data$gain, colour = .data$sampler,
                   linetype = .data$sampler)) +
    geom_hline(yintercept = 0, colour = "grey50") +
    geom_ribbon(aes(ymin = .data$gain - 2 * .data$gain_se, ymax = .data$gain + 2 * .data$gain_se,
                    group = .data$sampler), fill = "grey50", alpha = .2, colour = NA) +
    geom_line(linewidth = .7) +
    geom_blank(data = data.frame(strength = 0, gain = c(-.002, .002), sampler = rows$sampler[1])) +
    facet_wrap(vars(.data$class), scales = "free_y") +
    line_scales(class_palette(2), c("solid", "22"), levels(rows$sampler)) +
    strength_axis(c(0, 1, 4, 16, 64)) +
    finish("Where the mean confidence is lost",
           "Below the line guidance makes the sample less like its class",
           "Bands: 2 standard errors of the paired difference",
           x = "strength of guidance", y = "gain in mean confidence", legend = "bottom") +
    theme(legend.direction = "vertical")
}

figure_sampled <- function(report) {
  rows <- report$odds[is.finite(report$odds$odds), ]
  rows$class <- factor(paste("towards", rows$class), unique(paste("towards", rows$class)))
  laws <- c(class = "the class", tilt = "the tilt", run = "what is sampled")
  rows$law <- factor(laws[rows$law], laws)
  ggplot(rows, aes(.data$odds, weight = .data$weights, colour = .data$law, linetype = .data$law)) +
    geom_line(stat = "density", linewidth = .8) +
    geom_vline(xintercept = 0, colour = "grey50") +
    facet_wrap(vars(.data$class), scales = "free") +
    line_scales(c("grey45", class_palette(1), class_palette(2)[2]), c("22", "44", "solid"), laws) +
    scale_x_continuous(n.breaks = 4) +
    finish(paste("What strength", format(tilt_of(report)), "samples"),
           "Where the solid line meets neither of the others, neither is sampled",
           "Right of 0 the class is likelier than all others together",
           x = "log-odds of the class", y = "density", legend = "bottom")
}

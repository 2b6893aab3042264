# One line to a report: the questions of a newcomer, answered with figures. What is computed is
# here; inst/report/report.Rmd shows it.

#' A report on what guidance does to a mixture
#'
#' From a fit, labelled data or a mixture to the answers to five questions: What does guidance do to
#' my classes? Which sampler for 20 score evaluations? Where does it break? What is sampled? How do
#' I impute? In the console and, with `file`, as a page of HTML.
#'
#' @details One question alone, with `m <- as_gaussmix(fit)`:
#' 1. What does guidance do to my classes? `guidance_sweep(m)`
#' 2. Which sampler for 20 evaluations? `plan_sampler(m, evaluations = 20)`
#' 3. Where does it break? `strength_limit(m, class)`
#' 4. What is sampled? `tilted_sample(m, class)` beside `guided_sample(m, guidance = class)`
#' 5. How do I impute? `impute(m, data)`
#'
#' What is computed, for each class:
#' * **classes**: a [guidance_sweep()]: confidence, gain and entropy, and the share of the paths
#'   that end with less confidence than at strength 0.
#' * **limits**: [strength_limit()] up to strength 64, to 5%, for the sampler of the run and for
#'   DDIM with `evaluations` steps.
#' * **theorems**: [guidance_condition()], and [step_condition()] at strength 1, for the sampler of
#'   the run if it is given, otherwise for [sampler_ddim()].
#' * **sampled**: at strength 1, confidence of the run, and that of the tilt, with density
#'   proportional to `p(x | class) p(class | x)`, by weighted draws of the class. Where they differ
#'   by more than four standard errors, the run does not sample the tilt; where not, that is
#'   neither proved nor refuted.
#'
#' and of the mixture as a whole:
#' * **samplers**: [plan_sampler()] for `evaluations`, without guidance.
#' * **imputing**: of draws of the mixture one variable at a time is deleted, and the share of its
#'   variance that the mean of [impute()]'s exact conditional law explains is estimated.
#'
#' A difference counts as established beyond four standard errors. What could not be computed is
#' listed with the reason.
#'
#' @param x What [as_gaussmix()] takes: a fit of \pkg{mclust} or \pkg{mixtools}, a formula (then
#'   `data` follows), points; or a [gaussmix()]. Of a fit of \pkg{parsnip} or \pkg{tidyclust} the
#'   engine's own fit is taken.
#' @param ... Arguments of [as_gaussmix()] (`data`, `class`, ...), and those of [diffusion()]
#'   (`sampler`, `schedule`, `horizon`, `key`). For `autoplot()` and `plot()`: unused.
#' @param classes Labels of the classes to report on; `NULL`: all, or the eight of largest weight.
#' @param strength Strengths of the sweep, increasing from 0.
#' @param evaluations For how many score evaluations a sampler is looked for.
#' @param n Number of particles of each run.
#' @param file `NULL`, or the name of an HTML file to write, which needs \pkg{rmarkdown} and pandoc.
#' @return An object of class `guidance_report`: a list with `mixture`, `diffusion`, `classes`, the
#'   tables `sweep`, `limits`, `theorems`, `sampled` and `imputing` (each `NULL` where it does not
#'   apply), the `plan` of [plan_sampler()], `samples` (a [guided_sample()] for each class at
#'   strength 1), `missing` (what could not be computed, and why) and `answers`, the sentences
#'   under their questions. `plot()` draws the sweep.
#' @seealso [guidance_sweep()], [strength_limit()], [plan_sampler()], [impute()].
#' @examples
#' m <- gaussmix(c(.5, .5), c(-1, 1), .5, class = c("a", "b"))
#' report <- guidance_report(m, classes = "a", n = 200, strength = c(0, 1, 4), evaluations = 8)
#' report
#' @export
guidance_report <- function(x, ..., classes = NULL, strength = c(0, .5, 1, 2, 4, 8),
                            evaluations = 20, n = 2000, file = NULL) {
  strength <- check_strengths(strength)
  if (strength[1] != 0 || length(strength) < 2 || is.unsorted(strength, strictly = TRUE)) {
    abort_input("strength", "two or more increasing numbers, of which the first is 0",
                describe(strength))
  }
  evaluations <- check_count(evaluations, "evaluations", min = 1, max = 1e5)
  n <- check_particles(n, min = 10)
  target <- report_file(file)
  args <- list(...)
  of_run <- rep(FALSE, length(args))
  if (!is.null(names(args))) {
    of_run <- names(args) %in% c("sampler", "schedule", "horizon", "start", "key")
  }
  if (inherits(x, c("model_fit", "cluster_fit"))) x <- x$fit
  mixture <- if (inherits(x, "gaussmix")) x else do.call(as_gaussmix, c(list(x), args[!of_run]))
  if (inherits(x, "gaussmix") && any(!of_run)) {
    abort_input("...", "arguments of diffusion(), for a gaussmix", toString(names(args)[!of_run]))
  }
  d <- do.call(diffusion, c(list(check_mixture(mixture)), args[of_run]))
  d$key <- run_key(d)
  faults <- diffusion_faults(d)
  warn_faults(faults)
  report <- list(mixture = mixture, diffusion = d, classes = report_classes(mixture, classes),
                 faults = unname(faults),
                 given = "sampler" %in% names(args), strength = strength,
                 evaluations = evaluations, n = n)
  report <- c(report, report_parts(report))
  report$answers <- report_answers(report)
  report <- structure(report, class = object_class("guidance_report"))
  if (!is.null(target)) report_render(report, target)
  report
}

report_classes <- function(mixture, classes) {
  present <- present_classes(mixture)
  if (!is.null(classes)) {
    class_components(mixture, classes, "classes")
    return(unique(as.character(classes)))
  }
  weight <- vapply(present, function(y) sum(mixture$weights[mixture$class == y]), 0)
  present[sort(utils::head(order(-weight), 8))]
}

# The full name of a file that can be written, by a rmarkdown that is there.
report_file <- function(file) {
  if (is.null(file)) return(NULL)
  if (!is.character(file) || length(file) != 1 || is.na(file)) {
    abort_input("file", "NULL or the name of a file", describe(file))
  }
  if (!requireNamespace("rmarkdown", quietly = TRUE) || !rmarkdown::pandoc_available()) {
    abort_input("file", "NULL without the package rmarkdown and pandoc", describe(file))
  }
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
  space <- new.env(parent = globalenv())
  space$report <- report
  rmarkdown::render(source, output_file = file, envir = space, quiet = TRUE)
}

# ---- The parts

report_parts <- function(report) {
  lacking <- character()
  # The value of a part, or NULL, and why.
  part <- function(name, value) {
    tryCatch(without_faults(value), mixguide_error = function(e) {
      lacking <<- c(lacking, stats::setNames(conditionMessage(e), name))
      NULL
    })
  }
  each <- function(name, f) {
    do.call(rbind, lapply(report$classes, function(y) part(paste0(name, ", ", y), f(report, y))))
  }
  rivals <- length(present_classes(report$mixture)) > 1
  found <- list()
  if (rivals) {
    found$sweep <- part("classes", guidance_sweep(report$diffusion, as.list(report$classes),
                                                  report$strength, report$n))
    found$limits <- each("limits", report_limits)
    found$theorems <- each("theorems", report_theorems)
    found$sampled <- each("sampled", report_sampled)
  }
  plan_args <- report$diffusion$given
  found$plan <- part("samplers", do.call(plan_sampler, c(
    list(report$mixture, evaluations = report$evaluations, key = report$diffusion$key,
         schedule = report$diffusion$schedule, seconds = 15),
    if (!is.null(plan_args$horizon)) list(horizon = plan_args$horizon)
  )))
  if (mixture_dim(report$mixture) > 1) found$imputing <- part("imputing", report_imputing(report))
  found$samples <- lapply(stats::setNames(nm = report$classes), function(y) {
    part(paste0("samples, ", y), guided_sample(towards(report, y, 1), min(report$n, 500)))
  })
  c(found, list(missing = lacking))
}

towards <- function(report, class, strength, sampler = report$diffusion$sampler) {
  change_diffusion(report$diffusion, list(guidance = guidance(class, strength), sampler = sampler))
}

report_limits <- function(report, class) {
  samplers <- list(report$diffusion$sampler, sampler_ddim(report$evaluations))
  rows <- lapply(samplers, function(sampler) {
    limit <- strength_limit(towards(report, class, 1, sampler), n = report$n, range = c(.25, 64),
                            tol = .05)
    data.frame(class = class, sampler = format(sampler), estimate = limit$estimate, se = limit$se,
               method = limit$method,
               note = if (is.finite(limit$estimate)) "" else "not lost up to 64")
  })
  do.call(rbind, rows)
}

report_theorems <- function(report, class) {
  d <- towards(report, class, 1)
  time <- guidance_condition(d)
  if (!report$given) d <- towards(report, class, 1, sampler_ddim())
  steps <- step_condition(d)
  data.frame(class = class, claim = c("every path gains, ODE", "every path gains, SDE",
                                      paste0(steps$claim, ", ", format(d$sampler))),
             proved = c(time$holds[c("ode", "sde")] %in% TRUE, steps$holds %in% TRUE),
             up_to = c(ifelse(time$holds[c("ode", "sde")] %in% TRUE, Inf, 0), steps$strength),
             why = c(rep(if (is.null(time$why)) "" else time$why, 2), steps$why),
             row.names = NULL)
}

# Confidence of the run, and of the tilt by weighted draws of the class.
report_sampled <- function(report, class) {
  run <- guided_sample(towards(report, class, 1), report$n, log_density = "none")
  if (is_singular(report$mixture)) {
    abort("the mixture has a singular covariance: neither class nor tilt has a density", "singular")
  }
  # confidences are the same in all coordinates
  mixture <- in_process(report$mixture)
  draws <- keyed_draws(class_law(mixture, class), max(report$n, 1e4),
                       stream(report$diffusion$key, "target"))
  w <- exp(log_class_probability(mixture, class)(draws))
  value <- sum(w^2) / sum(w)
  tilt_se <- stats::sd(w / mean(w) * (w - value)) / sqrt(length(w))
  own <- sample_mean(run$confidence)
  rows <- rbind(own, estimate_row(value, tilt_se, "Monte Carlo"))
  data.frame(class = class, law = c("the run", "the tilt"), quantity = "confidence", rows)
}

# How much of each variable the others explain, by the exact conditional law of impute().
report_imputing <- function(report) {
  mixture <- report$mixture
  draws <- keyed_draws(mixture, min(report$n, 500), stream(report$diffusion$key, "check"))
  labels <- variable_labels(mixture)
  colnames(draws) <- labels
  total <- diag(moments(mixture)$cov)
  rows <- lapply(which(total > 0), function(j) {
    holes <- draws
    holes[, j] <- NA
    cells <- summary(impute(mixture, holes, m = 1, key = report$diffusion$key))
    left <- sample_mean((draws[, j] - cells$mean)^2 / total[j])
    data.frame(variable = labels[j], quantity = "explained",
               estimate_row(1 - left$estimate, left$se, "Monte Carlo"))
  })
  do.call(rbind, rows)
}

# ---- Words

report_answers <- function(report) {
  list("What does guidance do to my classes?" = answer_classes(report),
       "Which sampler?" = answer_sampler(report),
       "Where does it break?" = c(report$faults, answer_limits(report)),
       "What is sampled?" = answer_sampled(report),
       "How do I impute?" = answer_imputing(report))
}

shown <- function(row) show_estimate(row$estimate, row$se, row$method)

# A confidence: beyond 0.999999 there is nothing to tell apart.
share <- function(estimate, se, method) {
  if (is.finite(estimate) && estimate > 1 - 1e-6) "above 0.999999" else {
    show_estimate(estimate, se, method)
  }
}

answer_classes <- function(report) {
  sweep <- report$sweep
  if (is.null(sweep)) {
    return(if (length(present_classes(report$mixture)) > 1) "Not known (see below)." else
      "There is a single class, without rivals: its confidence is 1 and guidance changes nothing.")
  }
  rows <- as.data.frame(sweep)
  vapply(report$classes, function(y) {
    own <- rows[rows$class == aim_words(y), ]
    first <- own[1, ]
    last <- own[nrow(own), ]
    top <- own[which.max(own$confidence), ]
    apart <- function(change, se) is.finite(change) && abs(change) > max(4 * se, 1e-9, na.rm = TRUE)
    fall <- last$entropy - first$entropy
    fall_se <- sqrt(first$entropy_se^2 + last$entropy_se^2)
    paste0(y, ": confidence ", share(first$confidence, first$confidence_se, first$method),
           " at 0, ", share(last$confidence, last$confidence_se, last$method), " at strength ",
           format(last$strength),
           if (top$strength != last$strength && apart(top$gain - last$gain, last$gain_se)) {
             paste0(" (greatest at ", format(top$strength), ")")
           },
           "; entropy ", if (is.na(fall)) "not known" else {
             paste0(show_estimate(first$entropy, first$entropy_se, first$method), " to ",
                    show_estimate(last$entropy, last$entropy_se, last$method),
                    if (apart(fall, fall_se)) if (fall < 0) " (falls)" else " (rises)" else
                      " (no change established)")
           },
           "; at most ", format(100 * max(own$fraction_down, na.rm = TRUE), digits = 2),
           "% of the paths end with less confidence than without guidance.")
  }, "", USE.NAMES = FALSE)
}

answer_sampler <- function(report) {
  plan <- report$plan
  if (is.null(plan)) return("Not known (see below).")
  if (is.null(plan$sampler)) return(paste0("For ", report$evaluations, " scores: ", format(plan)))
  c(paste0("For at most ", report$evaluations, " scores: ", format(plan), "; ", plan_measure(plan),
           " ", format_estimate(plan$error), if (!plan$complete) "; the search ended early", "."),
    "That is without guidance; the stronger the guidance, the shorter the steps must be.",
    if (plan$measure == "distance") {
      paste("Ranked by the distance of particles' ends to a fine Runge-Kutta 4 from the same",
            "starts, in standard deviations, per coordinate: deterministic samplers only.")
    })
}

answer_limits <- function(report) {
  limits <- report$limits
  if (is.null(limits)) return("Nothing to guide away from, or not known.")
  words <- vapply(seq_len(nrow(limits)), function(i) {
    row <- limits[i, ]
    paste0(row$class, ", ", row$sampler, ": ", if (is.finite(row$estimate)) {
      paste0("the mean confidence is below that without guidance from strength ", shown(row))
    } else "no loss of mean confidence up to strength 64", ".")
  }, "")
  theorems <- report$theorems
  proved <- theorems[theorems$proved, ]
  why <- unique(theorems$why[!theorems$proved & nzchar(theorems$why)])
  c(words, if (is.null(theorems)) NULL else if (nrow(proved)) {
    paste0("Proved at strength 1 for ", proved$class, ": ", proved$claim, ".")
  } else paste0("No theorem applies: ", paste(why, collapse = "; "), ". The figures are computed."))
}

answer_sampled <- function(report) {
  sampled <- report$sampled
  if (is.null(sampled)) return("The mixture itself: there is no class to guide to.")
  vapply(unique(sampled$class), function(y) {
    own <- sampled[sampled$class == y, ]
    differ <- abs(diff(own$estimate)) > max(4 * sqrt(sum(own$se^2)), 1e-9)
    paste0(y, ", strength 1: confidence of the run ",
           share(own$estimate[1], own$se[1], own$method[1]),
           ", of the tilt p(x | class) p(class | x) ",
           share(own$estimate[2], own$se[2], own$method[2]),
           if (differ) ": the tilt is not what is sampled; tilted_sample() does." else
             ": no difference established here, which does not make them equal.")
  }, "", USE.NAMES = FALSE)
}

answer_imputing <- function(report) {
  rows <- report$imputing
  if (is.null(rows)) return("There is one variable, from which nothing else can be imputed.")
  c("impute(as_gaussmix(fit), data) draws what is missing from its exact conditional law.",
    paste0("Of its variance the others explain: ",
           paste(rows$variable, vapply(seq_len(nrow(rows)), function(i) shown(rows[i, ]), ""),
                 collapse = ", "), "."))
}

#' @export
format.guidance_report <- function(x, ...) {
  check_dots(..., also = format.default)
  paste0("on ", format(x$mixture))
}

#' @export
print.guidance_report <- function(x, ...) {
  check_dots(..., also = print.default)
  cat("<guidance_report> ", format(x), "\n", sep = "")
  for (question in names(x$answers)) {
    cat(question, "\n", sep = "")
    writeLines(strwrap(x$answers[[question]], 96, indent = 2, exdent = 4))
  }
  if (length(x$missing)) {
    cat("Not computed\n")
    writeLines(strwrap(paste0(names(x$missing), ": ", x$missing), 96, indent = 2, exdent = 4))
  }
  cat("Standard errors in brackets; entropy in nats; ", x$n, " particles per run, ",
      format(x$diffusion$sampler), "\n", sep = "")
  invisible(x)
}

#' @rdname guidance_report
#' @param object A `guidance_report`.
#' @export
autoplot.guidance_report <- function(object, ...) {
  check_dots(...)
  if (is.null(object$sweep)) autoplot(object$mixture) else autoplot(object$sweep)
}

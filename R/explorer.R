# The explorer. The app evaluates calls of the package's functions and shows the same calls as code,
# which so reproduces its numbers. The end of the file connects its functions to shiny.

#' Explore guidance in the browser
#'
#' Opens a 'shiny' app. You choose two variables, the class, the kind and the strength of guidance,
#' the sampler, its steps and the forward process. The app shows the cloud over the exact density
#' lines, the law of one variable, paths, confidence and entropy beside those of the class itself,
#' the theorems that apply, and the R code that reproduces the numbers.
#'
#' @details
#' * The *presets* are three components in a row, whose particles split; the tilted law
#'   `p(x | y) p(y | x)^strength`, which guidance is often, wrongly, said to sample; a zero-shot
#'   method beside the exact conditional law; and the iris data.
#' * The *theorems* are those that [guidance_condition()] and [step_condition()] prove of this
#'   mixture, class and process. Their conditions are sufficient and not necessary, so a statement
#'   that is not proved may be true.
#' * Guidance *zero-shot* draws given an observation of the first variable without noise, by
#'   [conditional_sample()]. Class and strength then have no effect.
#'
#' Warnings and errors are shown in the app as text. Nothing comes from the network.
#'
#' @param x A [gaussmix()], an input of [as_gaussmix()], or a [diffusion()], whose horizon, start
#'   and score error are kept; missing: the presets.
#' @param ... Arguments of [as_gaussmix()], such as `class` for a data frame.
#' @param n Number of particles.
#' @return An app, of class `shiny.appobj`; printing it runs it.
#' @section Errors: of class `mixguide_error`, also if shiny or bslib is not installed.
#' @examples
#' if (interactive()) {
#'   explorer()
#'   explorer(Species ~ ., data = iris)
#' }
#' @export
explorer <- function(x, ..., n = 2000) {
  if (missing(x)) check_dots(...)
  n <- check_count(n, "n", min = 2, max = 1e5)
  need_packages("explorer()", c("shiny", "bslib"))
  own <- if (!missing(x)) explorer_source(x, ..., code = substitute(list(x, ...)))
  shiny::shinyApp(explorer_page(own), explorer_server(own, n))
}

# ---- Input

# A mixture, the code that makes it, the diffusion if one was given, and the first settings.
explorer_source <- function(x, ..., code = quote(list(x, ...)), settings = list()) {
  d <- if (inherits(x, "mixguide_diffusion")) check_diffusion(x, "x")
  if (!is.null(d) && ...length()) abort_input("...", "empty for a diffusion")
  mixture <- if (is.null(d)) as_gaussmix(x, ...) else d$mixture
  given <- code[-1]
  # an object in place of an expression, as from do.call(), has no code
  if (!is.language(given[[1]])) given[[1]] <- quote(x)
  make <- if (!is.null(d)) call("$", given[[1]], quote(mixture)) else {
    if (inherits(x, "gaussmix")) given[[1]] else as.call(c(quote(as_gaussmix), as.list(given)))
  }
  list(mixture = mixture, make = make, diffusion = d, given = given[[1]],
       settings = replace(explorer_defaults(mixture, d), names(settings), settings))
}

explorer_presets <- function() {
  list(
    three = list(
      label = "Three in a row that split", make = quote(named_mixture("D3")),
      note = paste("The class lies between two others. Guidance drives its particles away from",
                   "both, and from some strength and step on they jump to and fro and split."),
      settings = list(class = "1", strength = 12, sampler = "euler", steps = 5)),
    tilt = list(
      label = "The tilt that is not sampled", make = quote(named_mixture("A2")),
      note = paste("The dotted curve is the tilted law p(x | y) p(y | x)^strength. Guidance is",
                   "often said to sample it; the histogram shows what it samples."),
      settings = list(class = "1", strength = 6)),
    zero = list(
      label = "Zero-shot against exact", make = quote(named_mixture("M2")),
      note = paste("The first variable is observed. The curve is the exact law of the second one",
                   "given it, the histogram what the zero-shot method draws."),
      settings = list(kind = "zero", sampler = "ddpm", steps = 100, observed = 0, shown = 2)),
    iris = list(
      label = "Iris", make = quote(as_gaussmix(Species ~ ., iris)),
      note = "One Gaussian for each species, fitted to four measurements of 150 flowers.",
      settings = list(class = "versicolor", strength = 2)))
}

preset_source <- function(name) {
  presets <- explorer_presets()
  preset <- presets[[check_choice(name, names(presets), "preset")]]
  mixture <- eval(preset$make, list(), topenv())
  explorer_source(mixture, code = call("list", preset$make), settings = preset$settings)
}

explorer_defaults <- function(mixture, d = NULL) {
  classes <- mixture_classes(mixture)
  list(first = 1, second = min(2, mixture_dim(mixture)), shown = 1,
       kind = if (is.null(d$guidance)) "plain" else "given",
       class = c(d$guidance$class, classes)[1], strength = c(d$guidance$scale - 1, 2)[1],
       low = .1, high = 2, power = .5, negative = classes[length(classes)], observed = 0,
       method = "bo", sampler = if (is.null(d)) "rk4" else "given", steps = 50,
       schedule = if (is.null(d)) "ou" else "given", key = 1)
}

# The choices of every list in the app, by its input.
explorer_choices <- function(own) {
  given <- if (!is.null(own$diffusion)) c("as in the diffusion" = "given")
  classes <- mixture_classes(own$mixture)
  labels <- variable_labels(own$mixture)
  variables <- stats::setNames(seq_along(labels), labels)
  list(
    class = classes, negative = classes, first = variables, second = variables, shown = variables,
    kind = c(if (!is.null(own$diffusion$guidance)) given,
             c("plain" = "plain", "within an interval of time" = "interval", "power law" = "power",
               "away from a negative class" = "negative", "none: the class itself" = "none"),
             if (mixture_dim(own$mixture) > 1) c("zero-shot: first variable observed" = "zero")),
    sampler = c(given, "Runge-Kutta 4 (ODE)" = "rk4", "Heun (ODE)" = "heun",
                "Euler (ODE)" = "euler", "DDIM" = "ddim", "DPM-Solver++ 2M" = "dpmpp_2m",
                "Euler-Maruyama (SDE)" = "em", "DDPM" = "ddpm"),
    schedule = c(given, "Ornstein-Uhlenbeck" = "ou", "variance preserving" = "vp",
                 "cosine" = "cosine", "variance exploding" = "ve", "linear flow" = "flow"),
    method = c("BO" = "bo", "DDNM" = "ddnm", "CCDF" = "ccdf", "RePaint" = "repaint",
               "DDRM" = "ddrm", "DPS" = "dps", "PiGDM" = "pigdm", "TMPD" = "tmpd",
               "exact score" = "exact"))
}

# ---- Calls

# The calls that compute the results shown, in order. The mixture is `m`.
explorer_calls <- function(own, s, n = 2000) {
  for (field in c("kind", "sampler", "schedule", "method")) {
    check_choice(s[[field]], unname(explorer_choices(own)[[field]]), field)
  }
  parts <- Filter(Negate(is.null), list(
    sampler = sampler_call(own, s),
    schedule = if (s$schedule != "given") call(paste0("schedule_", s$schedule)), key = key_call(s)
  ))
  given <- !is.null(own$diffusion)
  make <- if (given) list(quote(update), own$given) else list(quote(diffusion), quote(m))
  if (s$kind == "zero") {
    if (given) parts["guidance"] <- list(NULL)
    observed <- check_number(s$observed, "observed")
    return(list(
      d = as.call(c(make, parts)),
      y = call("observation", observed, variables = as.double(s$first)),
      run = call("conditional_sample", quote(d), n, quote(y), call(paste0("zero_shot_", s$method))),
      exact = quote(condition(m, y))))
  }
  list(g = guidance_call(own, s), d = as.call(c(make, guidance = quote(g), parts)),
       run = call("guided_sample", quote(d), n))
}

key_call <- function(s) call("c", check_count(s$key, "key"), 0)

guidance_call <- function(own, s) {
  if (s$kind == "given") return(call("$", own$given, quote(guidance)))
  make <- call("guidance", s$class)
  if (s$kind == "none") return(make)
  make$strength <- check_number(s$strength, "strength")
  if (s$kind == "interval") make$interval <- call("c", s$low, s$high)
  if (s$kind == "power") make$power <- s$power
  if (s$kind == "negative") make$negative <- s$negative
  make
}

sampler_call <- function(own, s) {
  if (s$sampler == "given") return(NULL)
  # limits that keep an app alive; in code there are none
  make <- call(paste0("sampler_", s$sampler), check_count(s$steps, "steps", min = 1, max = 1000))
  # the grid and end of the default sampler
  if (s$sampler == "rk4") make[c("grid", "end")] <- list("logsnr", 1e-5)
  make
}

number_calls <- function(s) {
  if (s$kind == "zero") {
    return(list(colMeans = quote(colMeans(run$x)), mean = quote(mean(exact))))
  }
  class <- if (s$kind == "given") quote(g$class) else s$class
  list(confidence = quote(confidence(run)), entropy = quote(entropy(run)),
       own_confidence = call("confidence", quote(m), class, key = key_call(s)),
       own_entropy = call("entropy", quote(m), class, key = key_call(s)))
}

# `failed`: messages of calls that ended in an error, by name; these calls become comments.
explorer_code <- function(own, s, n = 2000, failed = character()) {
  text <- function(call) paste(deparse(call, width.cutoff = 90), collapse = "\n")
  made <- c(list(m = own$make), explorer_calls(own, s, n))
  asked <- c(number_calls(s), if (s$kind != "zero") {
    list(continuous = quote(guidance_condition(d)), steps = quote(step_condition(d)))
  })
  lines <- vapply(asked, text, "")
  wrong <- intersect(names(asked), names(failed))
  lines[wrong] <- paste0("# ", lines[wrong], " is an error: ", gsub("\n", " ", failed[wrong]))
  made <- paste(names(made), "<-", vapply(made, text, ""))
  paste(c(text(call("library", quote(mixguide))), made, lines), collapse = "\n")
}

# ---- Computing

# A value, or the error in its place, with the warnings on the way.
heard <- function(expr) {
  said <- character()
  result <- if_error(list(value = withCallingHandlers(expr, warning = function(w) {
    said <<- c(said, conditionMessage(w))
    invokeRestart("muffleWarning")
  })), function(e) list(error = conditionMessage(e)))
  c(result, list(warnings = unique(said)))
}

# All results shown. `cache`: an environment for those that do not depend on the strength.
explorer_result <- function(own, s, n = 2000, cache = new.env()) {
  run <- heard(explorer_run(own, s, n))
  if (!is.null(run$error)) return(list(error = run$error, warnings = run$warnings, settings = s))
  numbers <- explorer_numbers(run$value, s, cache)
  theorems <- explorer_theorems(run$value, s, cache)
  failed <- c(attr(numbers, "failed"), attr(theorems, "failed"))
  list(settings = s, env = run$value, numbers = numbers, theorems = theorems,
       warnings = run$warnings, code = explorer_code(own, s, n, failed),
       lines = explorer_lines(own, s, cache))
}

explorer_run <- function(own, s, n) {
  for (field in c("first", "second", "shown")) {
    check_count(s[[field]], field, min = 1, max = mixture_dim(own$mixture))
  }
  env <- new.env(parent = topenv())
  env$m <- own$mixture
  # the code refers to a diffusion by the user's expression for it, which may be any
  env$given <- own$diffusion
  own$given <- quote(given)
  calls <- explorer_calls(own, s, n)
  for (name in names(calls)) assign(name, eval(calls[[name]], env), env)
  env
}

# A row for each number of the run and of its reference laws, or the reason for its absence.
explorer_numbers <- function(env, s, cache) {
  if (s$kind == "zero") return(zero_numbers(env, s))
  class <- env$g$class
  calls <- number_calls(s)
  number_row <- function(call) {
    row <- heard(eval(call, env))
    failed <- is.null(row$value)
    value <- if (failed) unknown_row() else row$value
    data.frame(value[c("estimate", "se")], failed = failed,
               words = if (failed) row$error else format_estimate(value))
  }
  base <- kept(cache, c("class", class, s$key), lapply(calls[3:4], number_row))
  rows <- do.call(rbind, c(lapply(calls[1:2], number_row), base))
  failed <- stats::setNames(rows$words, names(calls))[rows$failed]
  structure(data.frame(quantity = c("confidence", "entropy"),
                       of = rep(c("run", "class itself"), each = 2),
                       rows[c("estimate", "se", "words")], row.names = NULL), failed = failed)
}

zero_numbers <- function(env, s) {
  x <- env$run$x
  exact <- moments(env$exact)
  labels <- variable_labels(env$exact)
  x <- x[, match(labels, variable_labels(env$m)), drop = FALSE]
  estimate <- c(colMeans(x), exact$mean)
  se <- c(apply(x, 2, stats::sd) / sqrt(nrow(x)), 0 * exact$mean)
  known <- rep(c("Monte Carlo", "exact"), each = length(labels))
  data.frame(quantity = paste("mean of", labels),
             of = rep(c("run", "exact law"), each = length(labels)), estimate = estimate, se = se,
             words = show_estimate(estimate, se, known), row.names = NULL)
}

kept <- function(cache, key, value) {
  key <- paste(key, collapse = "\r")
  if (is.null(cache[[key]])) assign(key, value, cache)
  cache[[key]]
}

# Statements with `proved` (TRUE or FALSE) and why, in words. `failed`: errors of calls.
explorer_theorems <- function(env, s, cache) {
  zero <- s$kind == "zero"
  strength <- if (!zero) heard(constant_strength(env$g))$value
  why <- c("these theorems are about guidance, not zero-shot runs"[zero],
           "the theorems are about strengths from 0 on"[any(strength < 0)])
  if (length(why)) return(structure(theorem_row("guidance", FALSE, why), failed = c(steps = why)))
  continuous <- heard(guidance_condition(env$d))
  steps <- heard(proved_steps(env, s, strength, cache))
  process <- if (isTRUE(env$d$sampler$stochastic)) "sde" else "ode"
  structure(rbind(time_theorem(continuous, process), steps_theorems(steps)),
            failed = c(continuous = continuous$error, steps = steps$error))
}

# step_condition() of the run, without its search for numbers of steps. The largest strength with a
# proof does not depend on the current strength, so one search serves a whole slider.
proved_steps <- function(env, s, strength, cache) {
  if (is.null(strength) || !s$kind %in% c("plain", "none")) {
    return(as.data.frame(step_condition(env$d)))
  }
  key <- c("steps", unlist(s[c("class", "sampler", "steps", "schedule")]))
  rows <- kept(cache, key, {
    d <- as_diffusion(env$d, guidance = guidance(s$class), without = "score_error")
    geometry <- step_geometry(in_process(d$mixture), s$class)
    claims_at(0, geometry, d, steps_allow(geometry, d))
  })
  rows$holds <- rows$holds %in% TRUE & strength <= rows$strength
  rows
}

theorem_row <- function(statement, proved, why) data.frame(statement, proved, why)

# guidance_condition() as it was heard().
time_theorem <- function(heard, process) {
  condition <- heard$value
  why <- c(heard$error, condition$why)[1]
  if (is.null(why)) why <- if (!NROW(condition$pairs)) rival_words(condition) else {
    angle_words(condition, process, one_eigenspace(condition$geometry))
  }
  theorem_row(paste0("continuous time (", toupper(process),
                     "): no path loses confidence by guidance"),
              isTRUE(condition$holds[[process]]), why)
}

# step_condition() as it was heard().
steps_theorems <- function(heard) {
  steps <- heard$value
  if (is.null(steps)) return(theorem_row("these steps", FALSE, heard$error))
  words <- c(confidence = "no particle loses confidence by guidance",
             monotone = "more strength, more confidence for each particle",
             entropy = "entropy at most that without guidance",
             "no fold" = "the map from start to output is injective")
  limited <- steps$strength > 0 & is.finite(steps$strength)
  limit <- ifelse(limited, paste0("up to strength ", format(steps$strength, digits = 3), "; "), "")
  theorem_row(paste0("these steps: ", words[steps$claim]), steps$holds %in% TRUE,
              paste0(limit, steps$note))
}

explorer_lines <- function(own, s, cache) {
  if (s$first == s$second) return(NULL)
  kept(cache, c("lines", s$first, s$second, s$class), {
    law <- show_variables(own$mixture, c(s$first, s$second))
    heard(class_lines(merge_classes(law, s$class)))$value
  })
}

# ---- Drawing

draw_frame <- function(xlim, ylim, xlab, ylab) {
  graphics::par(mar = c(3.4, 4.2, .6, .6), mgp = c(2.1, .6, 0), las = 1, tcl = -.25, cex = 1)
  graphics::plot.new()
  graphics::plot.window(xlim, ylim)
  graphics::grid(col = "grey92", lty = 1)
  for (side in 1:2) graphics::axis(side, col = "grey60")
  graphics::title(xlab = xlab)
  graphics::title(ylab = ylab, line = 3)
}

finite_range <- function(...) {
  x <- Filter(is.finite, unlist(list(...)))
  if (!length(x)) return(c(-1, 1))
  range <- range(x)
  if (diff(range) > 0) range else range + c(-1, 1) * max(abs(range), 1) * .1
}

draw_text <- function(text) {
  graphics::par(mar = rep(.5, 4))
  graphics::plot.new()
  graphics::text(.5, .5, paste(strwrap(text, 50), collapse = "\n"), col = ink)
}

draw_cloud <- function(result) {
  if (!is.null(result$error)) return(draw_text("Nothing to draw: see the message."))
  s <- result$settings
  run <- result$env$run
  labels <- variable_labels(result$env$m)
  lines <- result$lines
  across <- run$x[, s$first]
  up <- run$x[, s$second]
  ylab <- labels[s$second]
  # one variable against the confidence, if there is one
  flat <- s$first == s$second
  if (flat) up <- if (is.null(run$confidence)) seq_along(across) else run$confidence
  if (flat) ylab <- if (is.null(run$confidence)) "draw" else "confidence p(class | x)"
  draw_frame(finite_range(across, lines$x), finite_range(up, lines$y, if (flat) 0:1),
             labels[s$first], ylab)
  graphics::points(across, up, pch = 16, cex = .55, col = grDevices::adjustcolor("grey25", .35))
  if (is.null(lines) || !nrow(lines)) return(invisible())
  all <- mixture_classes(result$env$m)
  classes <- unique(lines$class)
  inks <- class_palette(length(all))[match(classes, all)]
  # classes that are drawn as one
  inks[is.na(inks)] <- "grey50"
  own <- classes %in% if (s$kind != "zero") result$env$g$class
  type <- ifelse(own, 1, 2)
  width <- ifelse(own, 2.5, 1.3)
  for (line in split(lines, factor(lines$group, unique(lines$group)))) {
    k <- match(line$class[1], classes)
    graphics::lines(line$x, line$y, lwd = width[k], lty = type[k], col = inks[k])
  }
  k <- seq_len(min(8, length(classes)))
  draw_key_of("topright", classes[k], inks[k], type[k], width[k], title = "class")
}

# Fonts in plots of a web page may be wider than R assumes.
draw_key_of <- function(place, labels, col, lty, lwd = 1, ...) {
  graphics::legend(place, labels, col = col, lty = lty, lwd = lwd, bg = "#FFFFFFCC", box.col = NA,
                   cex = .85, text.width = 1.3 * max(graphics::strwidth(labels, cex = .85)), ...)
}

draw_law <- function(result) {
  if (!is.null(result$error)) return(draw_text("Nothing to draw: see the message."))
  s <- result$settings
  env <- result$env
  name <- variable_labels(env$m)[s$shown]
  x <- env$run$x[, s$shown]
  x <- x[is.finite(x)]
  if (!length(x)) return(draw_text("All particles overflowed."))
  bars <- graphics::hist(x, breaks = 50, plot = FALSE)
  parts <- univariate_parts(marginal(env$m, s$shown))
  axis <- finite_range(x, parts$mean - 3 * parts$sd, parts$mean + 3 * parts$sd)
  points <- seq(axis[1], axis[2], length.out = 400)
  curves <- law_curves(result, points)
  draw_frame(axis, c(0, max(bars$density[is.finite(bars$density)], unlist(curves)) * 1.15), name,
             "density")
  graphics::rect(utils::head(bars$breaks, -1), 0, bars$breaks[-1], bars$density, col = "grey85",
                 border = "grey70")
  inks <- class_palette(length(curves))
  for (i in seq_along(curves)) graphics::lines(points, curves[[i]], col = inks[i], lty = i, lwd = 2)
  draw_key_of("topright", c("run", names(curves)), c("grey70", inks),
              c(1, seq_along(curves)), c(8, rep(2, length(curves))))
}

# Exact densities at the points `at`; laws without a density are left out.
law_curves <- function(result, at) {
  s <- result$settings
  env <- result$env
  name <- variable_labels(env$m)[s$shown]
  density <- function(law) heard(dgaussmix(at, show_variables(law, name)))$value
  curves <- if (s$kind == "zero") {
    list("exact law given it" = density(env$exact), "before observing" = density(env$m))
  } else {
    list("class itself" = density(class_law(env$m, env$g$class)), "whole mixture" = density(env$m),
         "tilted law" = if (mixture_dim(env$m) == 1 && s$kind == "plain") {
           heard(law_density(tilted_law(env$m, env$g), at))$value
         })
  }
  Filter(function(density) !is.null(density) && all(is.finite(density)), curves)
}

# Paths of the first particles of the run, against the steps.
draw_paths <- function(result, paths = 40) {
  if (!is.null(result$error)) return(draw_text("Nothing to draw: see the message."))
  s <- result$settings
  if (s$kind == "zero") return(draw_text("Zero-shot runs keep no paths."))
  run <- heard(guided_sample(result$env$d, paths, trajectory = TRUE, log_density = "none"))
  if (is.null(run$value)) return(draw_text(run$error))
  run <- run$value
  path <- matrix(run$trajectory[, , s$shown], length(run$times))
  draw_frame(c(1, nrow(path)), finite_range(path), "step (labels: time)",
             variable_labels(result$env$m)[s$shown])
  ticks <- evenly(nrow(path), 6)
  graphics::axis(3, ticks, vapply(signif(run$times[ticks], 2), format, ""),
                 line = -1.3, tick = FALSE, cex.axis = .8, col.axis = "grey40")
  sure <- !is.na(run$confidence) & run$confidence > .5
  graphics::matlines(seq_len(nrow(path)), path, lty = ifelse(sure, 1, 2),
                     col = grDevices::adjustcolor(ifelse(sure, "#0072B2", "#D55E00"), .6))
  draw_key_of("bottomright", c("confidence above 1/2 at the end", "at most 1/2"),
              c("#0072B2", "#D55E00"), 1:2)
}

# ---- The app

explorer_page <- function(own) {
  tags <- shiny::tags
  presets <- vapply(explorer_presets(), `[[`, "", "label")
  choices <- c(if (!is.null(own)) c("Your own" = "own"), stats::setNames(names(presets), presets))
  when <- shiny::conditionalPanel
  select <- function(id, label, choices = character()) {
    shiny::selectInput(id, label, choices, selectize = FALSE, width = "100%")
  }
  numeric <- function(id, label, value, step = .1, min = NA) {
    shiny::numericInput(id, label, value, step = step, min = min, width = "100%")
  }
  card <- function(title, ...) {
    bslib::card(bslib::card_header(tags$h2(class = "h6 m-0", title)), bslib::card_body(...))
  }
  plot <- function(id) shiny::plotOutput(id, height = "300px")
  file <- function(name) system.file("explorer", name, package = "mixguide", mustWork = TRUE)
  guided <- "input.kind != 'zero'"
  controls <- tags$form(
    class = "explorer-controls", `aria-label` = "Settings", onsubmit = "return false",
    select("preset", "Mixture", choices),
    tags$p(class = "small", shiny::textOutput("about", inline = TRUE)),
    when(guided, select("class", "Class")),
    select("kind", "Guidance"),
    when(paste(guided, "&& input.kind != 'none' && input.kind != 'given'"),
         range_input("strength", "Strength", -1, 16, 2, .25)),
    when("input.kind == 'interval'", numeric("low", "Acts from time", .1),
         numeric("high", "to time", 2)),
    when("input.kind == 'power'", numeric("power", "Power", .5)),
    when("input.kind == 'negative'", select("negative", "Negative class")),
    when("input.kind == 'zero'", numeric("observed", "Observed value of the first variable", 0),
         select("method", "Zero-shot method")),
    select("sampler", "Sampler"),
    when("input.sampler != 'given'", range_input("steps", "Steps", 2, 200, 50, 1)),
    select("schedule", "Schedule"),
    select("first", "First variable"),
    select("second", "Second variable"),
    select("shown", "Variable of the law and the paths"),
    numeric("key", "Key of the random numbers", 1, 1, 0))
  results <- tags$main(
    class = "explorer-results",
    tags$div(`aria-live` = "polite", role = "status", shiny::uiOutput("messages")),
    tags$div(
      class = "explorer-plots",
      card("Cloud over the lines of 50% and 95% of each class", plot("cloud")),
      card("Law of one variable", plot("law"))),
    tags$div(
      class = "explorer-plots",
      card("Numbers, with standard errors", shiny::tableOutput("numbers"),
           shiny::textOutput("took")),
      card("Theorems", shiny::uiOutput("theorems"))),
    when(guided, card("Paths of 40 particles", plot("paths"))),
    card("R code of what is seen",
         shiny::tagAppendAttributes(shiny::verbatimTextOutput("code"), tabindex = "0",
                                    role = "region", `aria-label` = "R code"),
         tags$button(id = "copy", type = "button", class = "btn btn-outline-primary btn-sm",
                     onclick = "explorerCopy()", "Copy the code"),
         tags$span(id = "copied", role = "status", class = "small ms-2")))
  bslib::page_fluid(
    theme = bslib::bs_theme(version = 5), lang = "en", title = "mixguide explorer",
    tags$head(shiny::includeCSS(file("explorer.css"))),
    tags$h1(class = "h4 my-2", "What guidance does to a mixture"),
    tags$div(class = "explorer", controls, results),
    shiny::includeScript(file("explorer.js")))
}

# The browser's own slider, because that of shiny 1.7 fails when moved by keys.
range_input <- function(id, label, min, max, value, step) {
  tags <- shiny::tags
  tags$div(class = "form-group",
           tags$label(`for` = id, class = "control-label", paste(label, "\u00a0"),
                      tags$output(id = paste0(id, "-value"), `for` = id, value)),
           tags$input(id = id, type = "range", class = "form-range explorer-range", min = min,
                      max = max, step = step, value = value))
}

explorer_server <- function(own, n) {
  function(input, output, session) {
    sources <- new.env()
    fields <- names(explorer_defaults(preset_source("three")$mixture))
    source <- shiny::reactive({
      name <- shiny::req(input$preset)
      mixture <- function() if (name == "own" && !is.null(own)) own else preset_source(name)
      kept(sources, name, c(mixture(), list(cache = new.env())))
    })
    shiny::observeEvent(source(), explorer_update(session, source()))
    settings <- shiny::reactive({
      s <- lapply(stats::setNames(nm = fields), function(field) input[[field]])
      for (field in c("first", "second", "shown")) s[[field]] <- as.integer(s[[field]])
      # after a change of mixture the browser sends the old inputs until it is updated
      choices <- explorer_choices(source())
      known <- function(id) length(s[[id]]) == 1 && s[[id]] %in% choices[[id]]
      shiny::req(all(vapply(names(choices), known, NA)))
      s
    })
    result <- shiny::reactive({
      begun <- now()
      # forced here, so that an interrupt by shiny does not count as an error of a run
      current <- source()
      s <- settings()
      c(explorer_result(current, s, n, current$cache), list(seconds = now() - begun))
    })
    output$about <- shiny::renderText({
      preset <- explorer_presets()[[input$preset]]
      if (is.null(preset)) format(source()$mixture) else preset$note
    })
    output$messages <- shiny::renderUI(message_boxes(result()))
    drawn <- function(draw, alt) shiny::renderPlot(draw(result()), alt = shiny::reactive(alt))
    output$cloud <- drawn(draw_cloud, "The particles over the lines of equal density of each class")
    output$law <- drawn(draw_law,
                        "Histogram of one variable of the particles, with exact densities")
    output$paths <- drawn(draw_paths, "Paths of particles from the start to the end")
    output$numbers <- shiny::renderTable({
      numbers <- result()$numbers
      if (is.null(numbers)) return(NULL)
      wide <- split(numbers$words, factor(numbers$of, unique(numbers$of)))
      data.frame(quantity = unique(numbers$quantity), wide, check.names = FALSE)
    })
    output$took <- shiny::renderText({
      paste0(n, " particles, computed in ", round(1000 * result()$seconds), " ms")
    })
    output$theorems <- shiny::renderUI(theorem_boxes(result()$theorems))
    output$code <- shiny::renderText(result()$code)
  }
}

explorer_update <- function(session, own) {
  s <- own$settings
  choices <- explorer_choices(own)
  for (id in names(choices)) {
    shiny::updateSelectInput(session, id, choices = choices[[id]], selected = s[[id]])
  }
  session$sendInputMessage("strength", list(value = s$strength, max = max(16, s$strength)))
  session$sendInputMessage("steps", list(value = s$steps))
  for (id in c("low", "high", "power", "observed", "key")) {
    shiny::updateNumericInput(session, id, value = s[[id]])
  }
}

text_box <- function(class, head, ...) {
  shiny::tags$div(class = class, shiny::tags$strong(head), ...)
}

message_boxes <- function(result) {
  list(if (!is.null(result$error)) {
    text_box("alert alert-danger py-2", "\u2716 Not possible: ", result$error)
  }, lapply(result$warnings, text_box, class = "alert alert-warning py-2",
            head = "\u26a0 Warning: "))
}

theorem_boxes <- function(theorems) {
  Map(function(proved, statement, why) {
    text_box(paste("theorem", if (proved) "proved" else "open"),
             if (proved) "\u2714 Proved:" else "\u2716 Not proved:", paste0(statement, ". "),
             shiny::tags$span(class = "small", why))
  }, theorems$proved, theorems$statement, theorems$why)
}

#' Steps times strength
#'
#' A [guidance_sweep()] over strengths for each of several numbers of steps, all with the same
#' particles and noise: where strong guidance needs short steps, it shows.
#'
#' @details For d = 1 confidence, gain and entropy are exact: by the quadrature of the sweep, or,
#'   for a stochastic sampler, by its [guided_law()], which gives it an entropy, too. What concerns
#'   single paths then still comes from `n` particles, and so does all of a stochastic sampler with
#'   a [score_error()].
#'
#' @param mixture,class,strength,n,key As in [guidance_sweep()]; the first strength is the baseline.
#' @param steps Numbers of steps, each at least 1.
#' @param sampler A function of the number of steps that returns a [sampler()], such as
#'   `sampler_euler` itself.
#' @param exact Use quadrature? As in [strength_limit()].
#' @param ... Passed to [guidance_sweep()]: `schedule`, `horizon`, `start`, ...; for `plot()`, to
#'   `autoplot()`.
#' @return A data frame of class `guidance_scan`: the rows of the sweeps, with the number of `steps`
#'   before them. Attribute `setup` holds what made it. `plot()` draws a map of one `quantity`.
#' @section Errors: of class `mixguide_error`.
#' @source The measures are those of Wu, Chen, Li, Wang and Wei (2024),
#'   \doi{10.48550/arXiv.2403.01639}.
#' @seealso [step_condition()] for what is guaranteed; [strength_limit()].
#' @examples
#' scan <- guidance_scan(named_mixture("D3"), "1", strength = c(0, 4, 16, 64),
#'                       steps = c(5, 10, 20), n = 501, horizon = 5,
#'                       sampler = function(n) sampler_euler(n, "uniform"))
#' scan
#' plot(scan)
#' @export
guidance_scan <- function(mixture, class, strength = c(0, .5, 1, 2, 4, 8, 16, 32),
                          steps = c(5, 10, 20, 50, 100), sampler = sampler_euler, n = 5000,
                          exact = NULL, key = NULL, ...) {
  check_dots(..., also = guidance_sweep)
  if (!is.function(sampler)) {
    abort_input("sampler", "a function of the number of steps, such as sampler_euler",
                describe(sampler))
  }
  if (!(is.numeric(steps) && length(steps))) {
    abort_input("steps", "one or more whole numbers >= 1", describe(steps))
  }
  key <- if (is.null(key)) draw_key() else check_key(key)
  sweeps <- faults_once(lapply(steps, function(count) {
    count <- check_count(count, "steps", min = 1)
    sampler <- check_sampler(from_user(sampler(count), "sampler", paste(" of", count, "steps")))
    how <- scan_means(exact, check_mixture(mixture), sampler, ...)
    # that few steps are coarse is what a scan shows
    sweep <- withCallingHandlers(
      guidance_sweep(mixture, class, strength, n, sampler, key = key, exact = how == "nodes", ...),
      mixguide_warning_steps = function(w) invokeRestart("muffleWarning"),
      mixguide_warning_location = function(w) invokeRestart("muffleWarning")
    )
    if (how == "law") exact_sweep(sweep, ...) else sweep
  }))
  setup <- attr(sweeps[[length(sweeps)]], "setup")
  rows <- Map(function(count, sweep) cbind(steps = count, as.data.frame(sweep)), steps, sweeps)
  setup <- setup[c("mixture", "class", "sampler", "schedule", "horizon", "n", "key", "faults")]
  setup$faults <- setup$faults[names(setup$faults) != "steps"]
  rows <- do.call(rbind, rows)
  nodes <- all(rows$method != "Monte Carlo")
  new_table(rows, "guidance_scan",
            c(paste0("towards ", aim_words(setup$class), ": mean confidence by steps and strength",
                     if (nodes) ", by quadrature" else {
                       paste0(", ", setup$n, " coupled particles (se up to ",
                              format(max(rows$confidence_se, na.rm = TRUE), digits = 2), ")")
                     }),
              paste0(setup$sampler$label, ", from t = ", format(setup$horizon))),
            setup, keys = c("steps", "strength", "scale"), body = scan_rows)
}

scan_means <- function(exact, mixture, sampler, schedule = schedule_ou(), horizon = NULL,
                       start = "normal", score_error = NULL, ...) {
  sampler <- with_noise(sampler, check_score_error(score_error))
  how <- exact_means(exact, mixture, sampler, schedule, horizon, start)
  # the laws are those of exact scores
  if (how == "law" && !is.null(score_error)) "particles" else how
}

# A sweep with the confidence and entropy of the exact laws.
exact_sweep <- function(sweep, start = "normal", ...) {
  setup <- attr(sweep, "setup")
  laws <- lapply(sweep$strength, function(eta) {
    quiet_law(setup$mixture, with_strength(setup$guidance, eta), setup$sampler, setup$schedule,
              setup$horizon, start)
  })
  sweep$confidence <- vapply(laws, function(law) confidence(law)$estimate, 0)
  sweep$entropy <- vapply(laws, function(law) entropy(law)$estimate, 0)
  sweep$gain <- sweep$confidence - sweep$confidence[1]
  sweep[c("confidence_se", "gain_se", "entropy_se")] <- 0
  sweep$method <- "quadrature"
  sweep
}

# The confidence, a row per number of steps and a column per strength.
scan_rows <- function(x) {
  table <- tapply(x$confidence, x[c("steps", "strength")], c)
  data.frame(steps = unique(sort(x$steps)), unclass(table), check.names = FALSE)
}

#' @rdname guidance_scan
#' @param object A `guidance_scan`.
#' @param quantity The column to draw: `"confidence"`, `"gain"`, `"entropy"` or `"fraction_down"`.
#' @export
autoplot.guidance_scan <- function(object, quantity = c("confidence", "gain", "entropy",
                                                        "fraction_down"), ...) {
  check_dots(...)
  quantity <- check_choice(quantity, eval(formals()$quantity), "quantity")
  setup <- attr(object, "setup")
  steps <- sort(unique(object$steps))
  strength <- sort(unique(object$strength))
  cells <- data.frame(x = match(object$strength, strength), y = match(object$steps, steps),
                      value = object[[quantity]])
  cells <- cells[is.finite(cells$value), ]
  if (!nrow(cells)) abort_input("quantity", "a column with values", describe(quantity))
  size <- cells$value - if (quantity == "confidence") .5 else if (quantity == "gain") 0 else {
    min(cells$value)
  }
  cells$dark <- abs(size) > .7 * max(abs(size))
  aim <- aim_words(setup$class)
  what <- c(confidence = "Mean confidence",
            gain = paste("Gain in confidence over strength", format(object$strength[1])),
            entropy = "Entropy (nats)", fraction_down = "Share of paths that lose confidence")
  fill <- switch(quantity, confidence = confidence_scale(aim, "fill"),
                 gain = scale_fill_gradient2(low = "#D55E00", high = "#0072B2", name = NULL),
                 scale_fill_gradient(low = "white", high = "#0072B2", name = NULL))
  ggplot(cells, aes(.data$x, .data$y)) +
    geom_raster(aes(fill = .data$value)) +
    geom_text(aes(label = formatC(.data$value, digits = 2, format = "f"), colour = .data$dark),
              size = 2.8) +
    scale_colour_manual(values = c("FALSE" = ink, "TRUE" = "white"), guide = "none") +
    fill +
    scale_x_continuous(breaks = seq_along(strength), labels = format(strength, trim = TRUE,
                                                                     drop0trailing = TRUE),
                       minor_breaks = NULL) +
    scale_y_continuous(breaks = seq_along(steps), labels = steps, minor_breaks = NULL) +
    labs(x = "strength of guidance", y = "steps") + look() +
    theme(panel.grid = element_blank()) +
    words(paste0(what[[quantity]], ", towards ", aim),
          c(setup$sampler$label, schedule_words(setup)), fault_words(setup$faults))
}

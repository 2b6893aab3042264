#' Plots of mixtures, samples, summaries, sweeps and schedules
#'
#' `autoplot()` returns a ggplot, to which layers, scales and themes can be added; `plot()` draws
#' it.
#'
#' @details
#' * **A mixture** in one dimension: the density of the whole and of each class times its weight,
#'   over the histograms of the points of each class (for three classes or more, of all points, with
#'   a row of ticks for each class). In two: around each class, the lines of equal density that hold
#'   50% and 95% of its probability, and crosses at the means of the components. In more: the same
#'   for each pair of the first five variables (`variables` takes others), from their exact
#'   [marginal()] laws. A point mass is a spike in one dimension. A component that is singular in
#'   two is drawn by its ellipse, which may be a line or a point.
#' * **A guided sample** is drawn over the classes, with the class aimed at in solid lines. The
#'   confidence `p(class | x)` is its colour. In one dimension the sample is a histogram, coloured
#'   by the mean confidence in each bar. If the run kept its trajectories, some paths are drawn
#'   instead; in one dimension against time, over the exact law of the class at each time.
#' * **A summary** of a run: the histogram of each variable, with the exact density of the class
#'   aimed at (solid) and of the whole mixture (dashed).
#' * **A sweep**: confidence, gain over the first strength, entropy and the share of the paths that
#'   lose confidence, against strength. Bars are 2 standard errors; exact numbers have none. The
#'   axis of strengths is linear near 0 and logarithmic further out (`asinh`). Of more than 12 runs,
#'   such as those of many classes, one `quantity` is drawn, in a panel for each run. With a
#'   `variable`, a sweep that kept its samples shows where they end: the density of the variable at
#'   each strength, above the confidence. A class contracts under guidance and, with too few steps
#'   for the strength, splits (Wu et al. 2024, \doi{10.48550/arXiv.2403.01639}).
#' * **A [law]**: its density, over the densities of the class aimed at and of the mixture, or, in
#'   two dimensions, over the lines of the classes.
#' * **A schedule**: the factor `a` of the data and the standard deviation `b` of the noise.
#'
#' More than 12 classes (beside the class aimed at) cannot be told apart. They are drawn as one, the
#' lines are those of their union, and labels have no colours; the subtitle says so.
#'
#' @section Numerical notes:
#' The lines of a class with one component are exact ellipses. For other classes the level is a
#' quantile of the density over equally probable points of each component, 4000 or more in all. It
#' errs by about 0.001 in probability. The line is read from a grid that is denser near the means.
#' Plots draw no random numbers: of more than `max_points` points they show every k-th, and the
#' caption says so.
#'
#' @param object,x What is to be drawn: see Details.
#' @param data Points to draw over the mixture, as `x` of [dgaussmix()], or `NULL`.
#' @param label The class of each point, or `NULL`. Draws of [rgaussmix()] carry their labels.
#' @param variables Names or numbers of the variables to show; `NULL` for all, at most five.
#' @param t,schedule Show the mixture at this time of this forward process, see [diffuse()].
#' @param max_points The largest number of points to draw.
#' @param paths The number of paths to draw if the run kept trajectories; 0 draws the sample.
#' @param quantity For a sweep of several numbers of steps, or of more than 12 runs, the column to
#'   draw: `"confidence"`, `"gain"`, `"entropy"` or `"fraction_down"`.
#' @param variable Name or number of the variable whose density a sweep of one run shows, kept by
#'   `guidance_sweep(keep = TRUE)`. In one dimension that of a stochastic sampler is without random
#'   numbers if the sweep is `exact = TRUE`.
#' @param bins Number of bins of that density.
#' @param limits `NULL`, or the ends of the bins: the default spans all but the outer 0.1% on either
#'   side, over all strengths.
#' @param ... For `plot()`, passed to `autoplot()`; otherwise empty.
#'
#' @return `autoplot()`: a ggplot. `plot()`: `x`, invisibly.
#' @examples
#' petals <- as_gaussmix(Species ~ Petal.Length + Petal.Width, iris)
#' plot(petals, data = iris, label = iris$Species)
#' plot(guided_sample(petals, 500, guidance("versicolor", 2), sampler_ddim(50)))
#' plot(guidance_sweep(marginal(petals, "Petal.Length"), guidance = "versicolor",
#'                     strength = c(0, 1, 4), n = 200))
#' @name plot.gaussmix
NULL

#' @rdname plot.gaussmix
#' @export
autoplot.gaussmix <- function(object, data = NULL, label = attr(data, "label"), variables = NULL,
                              t = 0, schedule = schedule_ou(), max_points = 5000, ...) {
  check_dots(...)
  max_points <- check_count(max_points, "max_points", min = 1)
  law <- merge_classes(show_variables(diffuse(object, t, schedule), variables))
  points <- labelled_points(data, label, object)[c(variable_labels(law), ".class")]
  flat <- mixture_dim(law) == 1
  shown <- every_kth(seq_len(NROW(points)), if (flat) Inf else max_points)
  layers <- if (flat) curve_layers(law, points) else region_layers(law, points[shown, ])
  note <- if (flat) curve_words(law, points) else region_words(law, "crosses are component means")
  ggplot() + layers + class_colours(present_classes(law)) +
    words(sub(",.*", "", format(object)),
          c(if (t > 0) paste0("Diffused to t = ", format(t), ": ", format(schedule)), note),
          c(margin_words(law, object), shown_words(shown, NROW(points), "points")))
}

#' @rdname plot.gaussmix
#' @export
autoplot.guided_sample <- function(object, variables = NULL, max_points = 5000, paths = 50, ...) {
  check_dots(...)
  max_points <- check_count(max_points, "max_points", min = 1)
  paths <- check_count(paths, "paths")
  aim <- aim_words(object$guidance$class)
  law <- law_behind(object, aim, variables)
  flat <- mixture_dim(law) == 1
  moving <- !is.null(object$trajectory) && paths > 0
  finite <- which(rowSums(!is.finite(object$x)) == 0)
  lost <- nrow(object$x) - length(finite)
  shown <- every_kth(finite, if (moving) paths else if (flat) Inf else max_points)
  layers <- if (!flat) cloud_layers else if (moving) path_layers else histogram_layers
  ends <- if (moving && !flat) "dots are the ends of paths"
  note <- if (!is.null(law$unknown)) ends else if (!flat) region_words(law, ends) else if (moving) {
    paste0("Shading: exact law of ", if (is.null(aim)) "the mixture" else paste("class", aim),
           " at each time, relative to its mode")
  } else {
    c(paste0("Bars: the sample", if (!is.null(aim)) ", coloured by mean confidence"),
      if (nrow(point_masses(law))) "Dotted lines: point masses")
  }
  ggplot() + layers(object, law, shown, aim, moving) +
    words(run_title(number(nrow(object$x)), aim), c(run_words(object, aim), note),
          c(margin_words(law, object$mixture),
            shown_words(shown, length(finite), if (moving) "paths" else "particles"),
            if (lost) paste(count_of(lost, "particle"), "overflowed and cannot be shown"),
            fault_words(object$faults)))
}

#' @rdname plot.gaussmix
#' @export
autoplot.guided_summary <- function(object, variables = NULL, ...) {
  check_dots(...)
  aim <- aim_words(object$guidance$class)
  law <- law_behind(object, aim, variables)
  labels <- variable_labels(law)
  each <- function(table) {
    do.call(rbind, lapply(labels, function(label) {
      rows <- table(label)
      cbind(rows, variable = factor(rep(label, nrow(rows)), labels))
    }))
  }
  curves <- each(function(label) {
    if (is.null(law$unknown)) aim_curves(marginal(law, label), aim) else data.frame()
  })
  masses <- each(function(label) point_masses(marginal(law, label)))
  outside <- sum(object$histogram$below[labels] + object$histogram$above[labels])
  ggplot() +
    geom_rect(aes(xmin = .data$from, xmax = .data$to, ymin = 0, ymax = .data$density),
              each(function(label) summary_bars(object$histogram, label)),
              fill = class_palette(1), colour = class_palette(1), linewidth = .1, alpha = .5) +
    role_curves(curves, aim) +
    geom_vline(aes(xintercept = .data$x), masses, linetype = "12", colour = ink) +
    (if (length(labels) > 1) facet_wrap(vars(.data$variable), scales = "free")) +
    finish(run_title(number(object$n), aim),
           c(run_words(object, aim), "Bars: 99.9% of the particles"),
           c(margin_words(law, object$mixture, "exact laws"),
             if (outside) paste(number(outside), "coordinates outside the histograms"),
             if (object$lost) paste(count_of(number(object$lost), "particle"), "overflowed"),
             fault_words(object$faults)), x = if (length(labels) == 1) labels, y = "density")
}

#' @rdname plot.gaussmix
#' @export
autoplot.guidance_sweep <- function(object, quantity = "confidence", variable = NULL, bins = 160,
                                    limits = NULL, ...) {
  check_dots(...)
  if (!is.null(variable)) return(density_picture(object, variable, bins, limits))
  panels <- c(confidence = "confidence: mean of p(class | x)",
              gain = paste("gain in confidence over strength", format(object$strength[1])),
              entropy = "differential entropy (nats)",
              fraction_down = "share of the paths that lose confidence")
  quantity <- check_choice(quantity, names(panels), "quantity")
  keys <- sweep_keys(object)
  if (identical(keys, "steps")) return(sweep_map(object, quantity))
  long <- tidy.mixguide_table(object)
  long <- long[long$quantity %in% names(panels), ]
  long$panel <- factor(panels[long$quantity], panels)
  long$bound <- long$quantity == "entropy" & !is.na(object$folded) & object$folded > 0
  long$run <- if (length(keys)) do.call(paste, c(long[keys], sep = ", ")) else ""
  long$run <- factor(long$run, unique(long$run))
  long <- long[!is.na(long$estimate), ]
  runs <- nlevels(long$run)
  if (runs > 12) return(sweep_each(long[long$quantity == quantity, ], panels[[quantity]], object))
  single <- runs == 1
  baseline <- object$strength[1]
  ggplot(long, aes(asinh(.data$strength), .data$estimate, colour = .data$run)) +
    (if (single) geom_hline(aes(yintercept = .data$estimate), long[!duplicated(long$quantity), ],
                            linetype = "22", colour = "grey50")) +
    (if (any(object$strength != baseline)) geom_line(aes(linetype = .data$run))) +
    sweep_layers(object, long, 1 / 40, notes = c(
      if (single) paste("Dashed lines: strength", format(baseline)),
      if (any(long$bound)) "Hollow points: steps fold, the entropy is an upper bound"
    ), legend = if (single) "none" else "bottom") +
    geom_point(aes(shape = .data$bound), fill = "white", size = 1.8) +
    # a share that is 0 throughout still needs an axis
    geom_blank(data = data.frame(strength = baseline, estimate = c(0, .05), run = long$run[1],
                                 panel = factor(panels[["fraction_down"]], panels))) +
    facet_wrap(vars(.data$panel), scales = "free_y", ncol = 2) +
    scale_shape_manual(values = c("FALSE" = 19, "TRUE" = 21), guide = "none") +
    scale_colour_manual(values = if (single) ink else class_palette(runs), labels = wrapped,
                        name = NULL) +
    scale_linetype_manual(values = rep(c("solid", "22"), each = 6)[seq_len(runs)],
                          labels = wrapped, name = NULL) +
    # a longer key, to show the type of a line
    (if (runs > 6) theme(legend.key.width = unit(2.5, "lines")))
}

# Bars of two standard errors, `bar` of the axis wide, the axis of strengths, words and the theme.
sweep_layers <- function(object, long, bar, said = NULL, notes = NULL, legend = "right", ...) {
  setup <- attr(object, "setup")
  keys <- sweep_keys(object)
  drawn <- any(object$method == "Monte Carlo")
  aim <- if (!"class" %in% keys) c("towards", aim_words(setup$class))
  list(
    geom_errorbar(aes(ymin = .data$estimate - 2 * .data$se, ymax = .data$estimate + 2 * .data$se),
                  long[drawn & long$se > 0, ], width = diff(range(asinh(object$strength))) * bar,
                  ...),
    strength_axis(unique(object$strength)),
    finish(paste(c("Guidance", aim, "at growing strength"), collapse = " "),
           c(said, if (!"sampler" %in% keys) format(setup$sampler), schedule_words(setup)),
           c(if (!drawn) "Exact, by quadrature" else {
               paste("Bars: 2 standard errors of", number(setup$n), "coupled particles")
             }, notes, fault_words(setup$faults)),
           x = "strength of guidance (guidance scale - 1)", y = NULL, legend = legend)
  )
}

# An axis of asinh(strength): linear near 0 and logarithmic further out.
strength_axis <- function(breaks) {
  scale_x_continuous(breaks = asinh(breaks), minor_breaks = NULL,
                     labels = format(breaks, trim = TRUE, drop0trailing = TRUE),
                     guide = guide_axis(check.overlap = TRUE))
}

# One quantity of a sweep of many runs: a panel for each, over the lines of all.
sweep_each <- function(long, what, object) {
  blue <- class_palette(1)
  all <- data.frame(long[c("strength", "estimate")], other = long$run)
  ggplot(long, aes(asinh(.data$strength), .data$estimate)) +
    geom_line(aes(group = .data$other), all, colour = "grey85") +
    geom_line(colour = blue) +
    sweep_layers(object, long, 1 / 20, paste0(toupper(substring(what, 1, 1)), substring(what, 2)),
                 "Grey: the other runs; `quantity` draws another quantity", colour = blue) +
    geom_point(colour = blue, size = 1) +
    facet_wrap(vars(.data$run), labeller = as_labeller(wrapped))
}

# One quantity of a sweep, steps x strengths.
sweep_map <- function(object, quantity) {
  setup <- attr(object, "setup")
  steps <- sort(unique(object$steps))
  strength <- sort(unique(object$strength))
  cells <- data.frame(x = match(object$strength, strength), y = match(object$steps, steps),
                      value = object[[quantity]])
  cells <- cells[is.finite(cells$value), ]
  if (!nrow(cells)) abort_input("quantity", "a column with values", describe(quantity))
  size <- abs(cells$value - switch(quantity, confidence = .5, gain = 0, min(cells$value)))
  cells$dark <- size > .7 * max(size)
  aim <- aim_words(setup$class)
  what <- c(confidence = "Mean confidence",
            gain = paste("Gain in confidence over strength", format(object$strength[1])),
            entropy = "Entropy (nats)", fraction_down = "Share of paths that lose confidence")
  fill <- switch(quantity, confidence = confidence_scale(aim, "fill"),
                 gain = scale_fill_gradient2(low = "#D55E00", high = "#0072B2", name = NULL),
                 scale_fill_gradient(low = "white", high = "#0072B2", name = NULL))
  ggplot(cells, aes(.data$x, .data$y)) +
    geom_raster(aes(fill = .data$value)) + fill +
    geom_text(aes(label = formatC(.data$value, digits = 2, format = "f"), colour = .data$dark),
              size = 2.8) +
    scale_colour_manual(values = c("FALSE" = ink, "TRUE" = "white"), guide = "none") +
    scale_x_continuous(breaks = seq_along(strength), minor_breaks = NULL,
                       labels = format(strength, trim = TRUE, drop0trailing = TRUE)) +
    scale_y_continuous(breaks = seq_along(steps), labels = steps, minor_breaks = NULL) +
    finish(paste0(what[[quantity]], ", towards ", aim),
           c(setup$sampler$label, schedule_words(setup)), fault_words(setup$faults),
           x = "strength of guidance", y = "steps") +
    theme(panel.grid = element_blank())
}

picture.mixguide_schedule <- function(object, ...) {
  t <- seq(0, object$horizon, length.out = 401)
  names <- c("a: factor of the data", "b: standard deviation of the noise")
  curves <- data.frame(t = t, value = c(object$a(t), sqrt(object$b2(t))),
                       curve = rep(factor(names), each = length(t)))
  ggplot(curves, aes(.data$t, .data$value, colour = .data$curve, linetype = .data$curve)) +
    geom_line(linewidth = .8) +
    # where the noise is much larger than the data, one axis cannot show both
    (if (max(curves$value) > 2) facet_wrap(vars(.data$curve), scales = "free_y")) +
    scale_colour_manual(values = class_palette(2)) +
    finish(paste("Schedule:", object$label),
           paste0("x_t = a(t) x_0 + b(t) z", format_params(object$params)),
           x = if (is.null(object$steps)) "time t" else "time t (discrete steps)", y = NULL,
           colour = NULL, linetype = NULL, legend = "bottom")
}

show_plot <- function(x, ...) {
  print(autoplot(x, ...))
  invisible(x)
}

# ---- Layers

# A mixture in one dimension: each class's density times its weight, over a histogram of points.
curve_layers <- function(law, points) {
  curves <- class_densities(law)
  list(
    if (in_lanes(points)) lane_layers(points, curves) else if (NROW(points)) {
      geom_rect(aes(xmin = .data$from, xmax = .data$to, ymin = 0, ymax = .data$density,
                    fill = .data$class), class_bars(points), alpha = .35)
    },
    geom_ribbon(aes(.data$x, ymin = 0, ymax = .data$density, fill = .data$class), curves,
                alpha = if (is.null(points)) .3 else 0),
    geom_line(aes(.data$x, .data$density, colour = .data$class), curves),
    if (length(present_classes(law)) > 1) {
      geom_line(aes(.data$x, .data$density), whole_density(curves), colour = ink)
    },
    geom_segment(aes(.data$x, 0, xend = .data$x, yend = .data$weight, colour = .data$class),
                 point_masses(law), linewidth = 1),
    labs(x = variable_labels(law), y = if (nrow(curves)) "density" else "probability"), look()
  )
}

# Histograms of more than two classes would hide each other.
in_lanes <- function(points) NROW(points) > 0 && length(unique(points$.class)) > 2

MOST_TICKS <- 2000

# The histogram of all points, and below it a lane of ticks for each class.
lane_layers <- function(points, curves) {
  whole <- class_bars(transform(points, .class = NA_character_))
  top <- max(whole$density, whole_density(curves)$density)
  classes <- unique(points$.class)
  classes <- c(intersect(curves$class, classes), setdiff(classes, curves$class))
  height <- top * min(.04, .6 / length(classes))
  ticks <- points[every_kth(seq_len(nrow(points)), MOST_TICKS), ]
  ticks <- data.frame(x = ticks[[1]], class = ticks$.class,
                      y = -height * (match(ticks$.class, classes) - .1))
  list(
    geom_rect(aes(xmin = .data$from, xmax = .data$to, ymin = 0, ymax = .data$density), whole,
              fill = "grey85"),
    geom_segment(aes(.data$x, .data$y, xend = .data$x, yend = .data$y + .8 * height,
                     colour = .data$class), ticks, alpha = opacity(ticks), show.legend = FALSE),
    scale_y_continuous(breaks = function(limits) pretty(c(0, limits[2])))
  )
}

# A mixture in more: lines around the classes, means of the components, points.
region_layers <- function(law, points) {
  labels <- variable_labels(law)
  lines <- class_lines(law)
  means <- data.frame(law$means, .class = law$class, check.names = FALSE)[law$weights > 0, ]
  list(
    if (!is.null(points)) {
      geom_point(aes(.data$x, .data$y, colour = .data$.class), pairwise(points, labels),
                 size = .7, alpha = opacity(points), show.legend = FALSE)
    },
    geom_path(aes(.data$x, .data$y, colour = .data$class, group = .data$group), lines),
    geom_point(aes(.data$x, .data$y, colour = .data$.class), pairwise(means, labels), shape = 3,
               size = if (nrow(means) > 50) .3 else 2, stroke = 1, show.legend = FALSE),
    panes(labels, lines)
  )
}

# A sample in more than one dimension: particles, or paths with their ends, over the classes.
cloud_layers <- function(object, law, shown, aim, moving) {
  labels <- variable_labels(law)
  known <- is.null(law$unknown)
  ends <- particle_table(object, shown)
  lines <- if (known) class_lines(law) else pairwise(ends, labels)
  list(
    if (moving) {
      geom_path(aes(.data$x, .data$y, colour = .data$.confidence, group = .data$.particle),
                pairwise(path_table(object, shown), labels), linewidth = .3, alpha = .7)
    },
    geom_point(aes(.data$x, .data$y, colour = .data$.confidence), pairwise(ends, labels),
               size = .7, alpha = opacity(ends)),
    if (known) role_lines(lines, aim),
    confidence_scale(aim, "colour"), panes(labels, lines)
  )
}

# The lines of classes, beside the class aimed at.
role_lines <- function(lines, aim) {
  lines$role <- if (is.null(aim)) rep("each class", nrow(lines)) else {
    ifelse(lines$class == aim, paste("class", aim), "other classes")
  }
  list(geom_path(aes(.data$x, .data$y, linetype = .data$role, group = .data$group), lines,
                 colour = ink), role_scale(aim))
}

# A sample in one dimension: bars with their mean confidence, the densities of class and mixture.
histogram_layers <- function(object, law, shown, aim, moving) {
  particles <- particle_table(object, shown)
  bars <- bars_of(particles[[variable_labels(law)]], run_weights(object)[shown],
                  particles$.confidence)
  list(
    geom_rect(aes(xmin = .data$from, xmax = .data$to, ymin = 0, ymax = .data$density,
                  fill = .data$value), bars),
    if (is.null(law$unknown)) role_curves(aim_curves(law, aim), aim),
    geom_vline(aes(xintercept = .data$x), point_masses(law), linetype = "12", colour = ink),
    confidence_scale(aim, "fill"),
    labs(x = variable_labels(law), y = "density"), look()
  )
}

# Point masses have no curves, so their plot has no scale of roles.
role_curves <- function(curves, aim) {
  if (nrow(curves)) {
    list(geom_line(aes(.data$x, .data$density, linetype = .data$role), curves, colour = ink),
         role_scale(aim))
  }
}

# Paths of a sample in one dimension, from noise (left) to data (right).
path_layers <- function(object, law, shown, aim, moving) {
  paths <- path_table(object, shown)
  names(paths)[names(paths) == variable_labels(law)] <- ".x"
  reach <- range(paths$.x, law$means[, 1] + outer(univariate_sd(law), c(-3, 3)))
  list(
    if (is.null(law$unknown)) {
      geom_raster(aes(.data$t, .data$x, fill = .data$density), law_in_time(object, reach))
    },
    geom_path(aes(.data$.t, .data$.x, colour = .data$.confidence, group = .data$.particle), paths,
              linewidth = .3, alpha = .7),
    scale_fill_gradient(low = "white", high = "grey60", guide = "none"), scale_x_reverse(),
    confidence_scale(aim, "colour"),
    labs(x = "time t, from noise to data", y = variable_labels(law)), look()
  )
}

# One panel for two variables, a triangle of panels for more.
panes <- function(labels, lines) {
  if (length(labels) == 2) {
    return(list(labs(x = labels[1], y = labels[2]), equal_axes(lines), look()))
  }
  list(
    geom_rect(data = unique(lines[c("across", "up")]), xmin = -Inf, xmax = Inf, ymin = -Inf,
              ymax = Inf, fill = NA, colour = "grey70", inherit.aes = FALSE),
    facet_grid(up ~ across, scales = "free", switch = "both"),
    scale_x_continuous(breaks = inner_breaks, guide = guide_axis(check.overlap = TRUE)),
    labs(x = NULL, y = NULL), look(),
    theme(panel.grid = element_blank(), strip.placement = "outside")
  )
}

# One scale for both axes, unless one would be a line.
equal_axes <- function(points) {
  extent <- apply(points[c("x", "y")], 2, function(x) diff(range(x)))
  if (max(extent) <= 3 * min(extent)) coord_equal()
}

# Breaks away from the ends, where a label would run into that of the next panel.
inner_breaks <- function(limits) {
  breaks <- pretty(limits, 4)
  room <- .07 * diff(limits)
  breaks <- breaks[breaks >= limits[1] + room & breaks <= limits[2] - room]
  wide <- length(breaks) > 2 && max(nchar(format(breaks))) > 5
  if (wide) breaks[c(TRUE, FALSE)] else breaks
}

# ---- Tables behind the layers

present_classes <- function(mixture) unique(mixture$class[mixture$weights > 0])

# The law of the chosen variables, all of them named.
show_variables <- function(mixture, variables) {
  colnames(mixture$means) <- variable_labels(mixture)
  if (is.null(variables) && mixture_dim(mixture) <= 5) return(mixture)
  if (inherits(variables, "mixguide_observation")) {
    abort_input("variables", "names or numbers of the mixture's variables", describe(variables))
  }
  marginal(mixture, if (is.null(variables)) 1:5 else variables)
}

# The exact law at the last time of a run, with the classes aimed at merged into one.
law_behind <- function(object, aim, variables) {
  if (inherits(object$mixture, "score_model")) {
    # of a model alone only the variables are known
    law <- show_variables(stand_in(object$mixture), variables)
    law$unknown <- TRUE
    return(law)
  }
  law <- diffuse(object$mixture, object$times[length(object$times)], object$schedule)
  law$class[law$class %in% object$guidance$class] <- aim
  merge_classes(show_variables(law, variables), keep = aim)
}

merge_classes <- function(mixture, keep = NULL) {
  rest <- !mixture$class %in% keep
  classes <- length(unique(mixture$class[rest]))
  if (classes > 12) {
    mixture$class[rest] <- merged
    mixture$merged <- classes
  }
  mixture
}

merged <- "all together"

as_columns <- function(x, mixture) {
  colnames(x) <- variable_labels(mixture)
  as.data.frame(x)
}

labelled_points <- function(data, label, mixture) {
  if (is.null(data)) return(NULL)
  points <- as_columns(check_points(data, mixture, "data"), mixture)
  points$.class <- rep(NA_character_, nrow(points))
  if (!is.null(label)) points$.class <- check_labels(label, nrow(points), "point", "label")
  points
}

particle_table <- function(object, shown) {
  confidence <- if (is.null(object$confidence)) rep(NA_real_, nrow(object$x)) else object$confidence
  cbind(as_columns(object$x[shown, , drop = FALSE], object$mixture),
        .confidence = confidence[shown], .particle = shown)
}

path_table <- function(object, shown) {
  path <- object$trajectory[, shown, , drop = FALSE]
  each <- rep(seq_along(shown), each = dim(path)[1])
  ends <- particle_table(object, shown)[each, c(".confidence", ".particle")]
  cbind(as_columns(matrix(path, ncol = dim(path)[3]), object$mixture),
        .t = rep(object$times, length(shown)), ends)
}

# The rows of `wide` once per pair of the variables `labels`, as columns x and y.
pairwise <- function(wide, labels) {
  in_pairs(labels, function(pair) {
    cbind(data.frame(x = wide[[pair[1]]], y = wide[[pair[2]]]), wide[startsWith(names(wide), ".")])
  })
}

# `table(pair)` for each pair of the variables, labelled with its panel.
in_pairs <- function(labels, table) {
  panel <- function(pair) {
    rows <- table(pair)
    place <- function(label) factor(rep(label, nrow(rows)), labels)
    cbind(rows, across = place(pair[1]), up = place(pair[2]))
  }
  do.call(rbind, utils::combn(labels, 2, panel, simplify = FALSE))
}

# Histogram bars; `weight` is each point's share of the whole, `value` is averaged in each bar.
bars_of <- function(x, weight, value = NA_real_, breaks = bar_breaks(x)) {
  bin <- findInterval(x, breaks, all.inside = TRUE)
  sums <- rowsum(cbind(rep_len(weight, length(x)), weight * value), bin)
  bin <- sort(unique(bin))
  bars <- data.frame(from = breaks[bin], to = breaks[bin + 1],
                     density = sums[, 1] / diff(breaks)[bin], value = sums[, 2] / sums[, 1])
  bars[bars$density > 0, ]
}

bar_breaks <- function(x) {
  if (!length(x)) return(0:1)
  size <- max(abs(x))
  width <- diff(range(x)) / min(60, ceiling(3 * length(x)^(1 / 3)))
  # a point mass is a bar, not a rounding error
  if (width <= 1e-8 * size) width <- if (size > 0) size / 50 else 1
  seq(min(x) - width / 2, max(x) + width, by = width)
}

# At most 60 bars of whole bins, over all but the outer 0.05% on either side.
summary_bars <- function(histogram, label) {
  count <- histogram$count[, label]
  held <- cumsum(count) / sum(count)
  bins <- which(held > .0005)[1]:which(held >= .9995)[1]
  size <- ceiling(length(bins) / 60)
  bar <- (seq_along(bins) - 1) %/% size
  from <- histogram$low[[label]] + histogram$width[[label]] * (bins[1] - 1 + size * unique(bar))
  to <- from + histogram$width[[label]] * size
  total <- sum(count) + histogram$below[[label]] + histogram$above[[label]]
  data.frame(from = from, to = to,
             density = as.vector(rowsum(count[bins], bar)) / total / (to - from))
}

class_bars <- function(points) {
  breaks <- bar_breaks(points[[1]])
  do.call(rbind, lapply(unique(points$.class), function(class) {
    bars <- bars_of(points[[1]][points$.class %in% class], 1 / nrow(points), breaks = breaks)
    cbind(bars, class = rep(class, nrow(bars)))
  }))
}

# ---- The exact law

univariate_sd <- function(law) rep_len(sqrt(law$values[1, ]), mixture_size(law))

# d = 1: on a common grid, the density of each class times `share`, its weight.
class_densities <- function(law) {
  sd <- univariate_sd(law)
  smooth <- law$weights > 0 & sd > 0
  x <- if (any(smooth)) resolving_grid(law$means[smooth, 1], sd[smooth], 512)
  rows <- lapply(unique(law$class[smooth]), function(class) {
    keep <- smooth & law$class == class
    share <- sum(law$weights[keep])
    data.frame(x = x, density = share * dgaussmix(x, keep_components(law, keep)), class = class,
               share = share)
  })
  none <- data.frame(x = numeric(), density = numeric(), class = character(), share = numeric())
  do.call(rbind, c(list(none), rows))
}

# d = 1: the densities of the class aimed at, by itself, and of the whole.
aim_curves <- function(law, aim) {
  curves <- class_densities(law)
  target <- curves[curves$class %in% aim, ]
  rbind(
    data.frame(target["x"], density = target$density / target$share,
               role = rep(paste("class", aim), nrow(target))),
    cbind(whole_density(curves), role = rep("whole mixture", length(unique(curves$x))))
  )
}

whole_density <- function(curves) {
  data.frame(x = sort(unique(curves$x)), density = as.vector(rowsum(curves$density, curves$x)))
}

point_masses <- function(law) {
  there <- law$weights > 0 & univariate_sd(law) == 0
  data.frame(x = law$means[there, 1], weight = law$weights[there], class = law$class[there])
}

# Equally spaced points and as many again where the components are, however narrow.
resolving_grid <- function(mean, sd, size) {
  even <- seq(min(mean - 4 * sd), max(mean + 4 * sd), length.out = size)
  around <- sort(mean + outer(sd, seq(-4, 4, length.out = 65)))
  sort(unique(c(even, every_kth(around, size))))
}

# d = 1: the law of the class aimed at (or of the mixture) over time, relative to its mode.
law_in_time <- function(object, range) {
  size <- 120
  law <- object$mixture
  aim <- if (is.null(object$guidance)) law$class else object$guidance$class
  law <- keep_components(law, law$class %in% aim & law$weights > 0)
  ends <- range(object$times)
  x <- seq(range[1], range[2], length.out = size)
  # midpoints: never t = 0, where point masses have no density
  t <- ends[1] + (seq_len(size) - .5) / size * diff(ends)
  density <- vapply(t, function(t) dgaussmix(x, diffuse(law, t, object$schedule)), x)
  data.frame(x = x, t = rep(t, each = size),
             density = as.vector(sweep(density, 2, apply(density, 2, max), "/")))
}

# d > 1, for each pair of variables: lines of equal density that hold 50% and 95% of each class.
class_lines <- function(law) {
  in_pairs(variable_labels(law), function(pair) {
    law <- if (mixture_dim(law) == 2) law else marginal(law, pair)
    do.call(rbind, lapply(present_classes(law), function(class) {
      own <- keep_components(law, law$class == class & law$weights > 0)
      draw <- if (mixture_size(own) == 1 || is_singular(own)) ellipses else contours
      lines <- draw(own, c(.5, .95))
      data.frame(x = lines$x, y = lines$y, class = class, group = paste(class, lines$group))
    }))
  })
}

# The points z, drawn from N(0, I) or around its mean, moved to component k.
to_component <- function(z, mixture, k) place_draws(mixture, rep.int(k, nrow(z)), z)

ellipses <- function(mixture, content) {
  angle <- seq(0, 2 * pi, length.out = 121)
  each <- expand.grid(k = seq_len(mixture_size(mixture)), content = content)
  do.call(rbind, Map(function(k, content) {
    radius <- sqrt(stats::qchisq(content, 2))
    points <- to_component(radius * cbind(cos(angle), sin(angle)), mixture, k)
    data.frame(x = points[, 1], y = points[, 2], group = paste(k, content))
  }, each$k, each$content))
}

contours <- function(mixture, content) {
  sd <- component_sd(mixture)
  x <- resolving_grid(mixture$means[, 1], sd[1, ], 100)
  y <- resolving_grid(mixture$means[, 2], sd[2, ], 100)
  # in logs, which are close to quadratic between grid points
  log_density <- dgaussmix(axis_nodes(list(x, y)), mixture, log = TRUE)
  lines <- grDevices::contourLines(x, y, matrix(log_density, length(x)),
                                   levels = density_levels(mixture, content))
  do.call(rbind, lapply(seq_along(lines), function(piece) {
    data.frame(lines[[piece]][c("x", "y")], group = piece)
  }))
}

# The log-density that is exceeded with probability `content`.
density_levels <- function(mixture, content) {
  K <- mixture_size(mixture)
  size <- ceiling(4000 / K)
  # a sunflower: equally probable points of N(0, I)
  i <- seq_len(size)
  angle <- i * pi * (3 - sqrt(5))
  z <- sqrt(stats::qchisq((i - .5) / size, 2)) * cbind(cos(angle), sin(angle))
  points <- do.call(rbind, lapply(seq_len(K), function(k) to_component(z, mixture, k)))
  log_density <- dgaussmix(points, mixture, log = TRUE)
  order <- order(log_density, decreasing = TRUE)
  held <- cumsum(rep(mixture$weights / size, each = size)[order])
  log_density[order][findInterval(content, held) + 1]
}

# The columns of a table that have `words`, one below the other, with their standard errors.
long_form <- function(table, words, keys) {
  do.call(rbind, lapply(names(words), function(name) {
    long <- data.frame(table[keys], value = table[[name]], kind = factor(words[[name]], words))
    long$se <- table[[paste0(name, "_se")]]
    long
  }))
}

# ---- Words, colours, looks

words <- function(title, subtitle = NULL, caption = NULL) {
  lines <- function(x, width) {
    if (length(x)) paste(unlist(lapply(x, strwrap, width)), collapse = "\n")
  }
  labs(title = lines(title, 60), subtitle = lines(subtitle, 72), caption = lines(caption, 72))
}

run_title <- function(n, aim) {
  paste(count_of(n, "particle"),
        if (is.null(aim)) "without guidance" else paste("guided towards", aim))
}

run_words <- function(object, aim) {
  c(if (!is.null(aim)) paste0("S", substring(format_strength(object$guidance), 2)),
    format(object$sampler), schedule_words(object))
}

schedule_words <- function(run) paste0(format(run$schedule), coordinate_words(run$mixture))

fault_words <- function(faults) if (length(faults)) paste0("Warning: ", faults)

region_words <- function(law, more = NULL) {
  shown <- present_classes(law)
  what <- if (identical(shown, merged)) "the whole" else if (is.null(law$merged)) "a class" else {
    paste("class", setdiff(shown, merged), "and of the", law$merged, "others, as one")
  }
  c(paste(c(paste("Lines hold 50% and 95% of", what), more), collapse = "; "),
    if (identical(shown, merged)) merged_words(law))
}

# Of a mixture whose classes are drawn as one.
merged_words <- function(law) {
  if (!is.null(law$merged)) {
    paste(law$merged, "classes, too many to tell apart, are drawn as one, without colours")
  }
}

curve_words <- function(law, points) {
  several <- length(present_classes(law)) > 1
  c(if (several) "Dark line: the whole; coloured: each class times its weight",
    merged_words(law),
    if (!is.null(points)) {
      paste0("Bars: ", count_of(number(nrow(points)), "point"),
             if (in_lanes(points)) "; ticks: those of each class",
             if (in_lanes(points) && nrow(points) > MOST_TICKS) ", some of them")
    },
    if (nrow(point_masses(law))) "Spikes: point masses, as high as their probability")
}

shown_words <- function(shown, n, what) {
  if (length(shown) < n) {
    paste(number(length(shown)), "of", number(n), what, "shown, 1 in", diff(shown[1:2]))
  }
}

margin_words <- function(law, mixture, law_words = "their exact joint law") {
  shown <- mixture_dim(law)
  all <- mixture_dim(mixture)
  if (shown < all) paste(shown, "of", all, "variables shown:", law_words)
}

ink <- "grey15"

# Okabe and Ito's colours, which people with any colour vision tell apart, then darker ones.
class_palette <- function(n) {
  colours <- c("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
               "#00304B", "#6B2F00", "#004D38", "#7A2E58", "#8A7A00", "#777777")
  if (n <= length(colours)) colours[seq_len(n)] else grDevices::hcl.colors(n, "viridis")
}

# Labels of legends in lines of some 25 characters.
wrapped <- function(x) {
  vapply(as.character(x), function(label) {
    if (is.na(label) || nchar(label) <= 25) return(label)
    short <- gsub("(\\S{25})(?=\\S)", "\\1 ", label, perl = TRUE)
    paste(strwrap(short, 26), collapse = "\n")
  }, "", USE.NAMES = FALSE)
}

class_colours <- function(classes) {
  n <- length(classes)
  lines <- max(1, lengths(strsplit(wrapped(classes), "\n")))
  list(
    scale_colour_manual(values = stats::setNames(class_palette(n), classes), breaks = classes,
                        labels = wrapped, aesthetics = c("colour", "fill"), name = "class",
                        guide = if (n > 1 && n <= 12) "legend" else "none"),
    # labels of several lines would touch
    if (lines > 1) theme(legend.key.height = unit(lines + .3, "lines"))
  )
}

confidence_scale <- function(aim, aesthetic) {
  scale_colour_gradientn(colours = c("#D55E00", "#E69F00", "#56B4E9", "#0072B2"), limits = c(0, 1),
                         na.value = "#0072B2", aesthetics = aesthetic,
                         name = wrapped(paste0("p(", aim, " | x)")),
                         guide = if (is.null(aim)) "none" else "colourbar")
}

role_scale <- function(aim) {
  solid <- if (is.null(aim)) c("each class", "whole mixture") else paste("class", aim)
  roles <- unique(c(solid, "other classes", "whole mixture"))
  scale_linetype_manual(values = stats::setNames(ifelse(roles %in% solid, "solid", "22"), roles),
                        labels = wrapped, name = NULL,
                        guide = if (is.null(aim)) "none" else "legend")
}

# One legend, without a title, for lines with their own colours and types.
line_scales <- function(colours, types, names = NULL) {
  list(scale_colour_manual(values = stats::setNames(colours, names), name = NULL),
       scale_linetype_manual(values = stats::setNames(types, names), name = NULL))
}

opacity <- function(points) if (nrow(points) > 1000) .25 else .7

look <- function(legend = "right") {
  theme_minimal(base_size = 11) +
    theme(legend.position = legend, panel.grid.minor = element_blank(),
          plot.title.position = "plot", plot.caption.position = "plot",
          plot.title = element_text(size = rel(1.1)),
          plot.subtitle = element_text(size = rel(.85), colour = "grey30"))
}

finish <- function(title, subtitle = NULL, caption = NULL, ..., legend = "right") {
  list(labs(...), words(title, subtitle, caption), look(legend))
}

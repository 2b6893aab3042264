#' Measured orders of convergence
#'
#' How fast the law of a sampler's output tends to the target as steps are added: the error at
#' several numbers of steps, and its order, the slope in a log-log plot.
#'
#' @details If the error for `n` steps is about `c n^-p`, then `p = log(e/e')/log(n'/n)` for the
#' errors `e` and `e'` at `n` and `n' > n` steps. The order of the finest pair is the one to quote,
#' and the steps before it show whether it has settled. It is measured, not proved.
#'
#' Errors are those of [guided_error()]. With `start = "exact"`, the default, they are those of the
#' steps alone; with `"normal"`, the default of runs, they include that of the start, a floor that
#' steps cannot lower, and the order ends at 0.
#'
#' On a uniform grid down to `t = 0` the samplers that count in `log(a/b)` (DDIM, DDPM with the
#' posterior variance, the DPM-Solvers) lose their order to the last steps, which on the default
#' grid all but [sampler_dpmpp_2m()] and 3M keep (observed, not proved). Where the output has a
#' smooth density the divergences have twice the order of the total variation. Guarantees promise
#' less: for samplers of the reverse SDE a total variation of order 1/2 (see [error_budget()]).
#'
#' @inheritParams guided_error
#' @param samplers A [sampler()], whose number of steps is changed, or a function of the number of
#'   steps that returns one; or a list of these, whose names, or else the samplers' labels, are
#'   those of the result. `NULL`: the sampler of the diffusion, or, for a mixture, those of the
#'   package.
#' @param steps Two or more increasing numbers of steps. For a function they may be anything that
#'   makes its sampler finer.
#' @param grid,end For `samplers = NULL`, see [sampler()].
#' @param ... Further arguments of [diffusion()] that follow the mixture there, with the default
#'   `start = "exact"`. For `plot()`: passed to `autoplot()`.
#' @return A table of estimates ([mixguide_table]) of class `convergence_order` with a row per
#'   `quantity` (the three of [guided_error()]), `sampler` and number of `steps`: `evaluations` (of
#'   the score, in one run), the error, and its `order` over the row before with the standard error
#'   `order_se` (0 for quadrature). The order is `NA` where rounding may decide: a total variation
#'   below 1e-12, a divergence below 1e-15. `summary()` has the rows of the finest pairs.
#' @source The orders are measured, and none is taken from a paper. Setting: Liang, Shi, Song and
#'   Zhou (2024), \doi{10.48550/arXiv.2405.16418}.
#' @seealso [guided_moments()], the exact law on one Gaussian; [guided_limit()], which makes use
#'   of a known order.
#' @examples
#' few <- list("Euler" = sampler_euler(grid = "uniform"), "Heun" = sampler_heun(grid = "uniform"),
#'             "SDE" = function(n) sampler_em(n, "uniform"))
#' orders <- convergence_order(named_mixture("A1"), samplers = few, steps = c(25, 50, 100),
#'                             horizon = 3)
#' orders
#' plot(orders)
#' @export
convergence_order <- function(mixture, n = 1e4, ..., samplers = NULL, steps = c(25, 50, 100, 200),
                              grid = "quadratic", end = 0,
                              method = c("auto", "exact", "quadrature", "Monte Carlo"),
                              nodes = NULL) {
  d <- as_diffusion(mixture, ..., default = list(start = "exact"))
  if (!(is.numeric(steps) && length(steps) > 1 && all(is.finite(steps)) && all(diff(steps) > 0) &&
        steps[1] > 0)) {
    abort_input("steps", "two or more increasing positive numbers", describe(steps))
  }
  if (is.null(samplers)) samplers <- d$given$sampler
  if (is.null(samplers)) {
    samplers <- lapply(shipped_samplers(), function(make) make(2, grid, end))
    names(samplers) <- sub("^sampler_", "", names(samplers))
  }
  samplers <- sampler_makers(samplers, steps)
  rows <- unknown_once(lapply(names(samplers), function(name) {
    each <- lapply(steps, function(count) {
      setting <- change_diffusion(d, list(sampler = check_sampler(samplers[[name]](count),
                                                                  "samplers")))
      error <- as.data.frame(guided_error(setting, method = method, n = n, nodes = nodes))
      data.frame(quantity = error$quantity, sampler = name, steps = count,
                 evaluations = evaluations(setting$sampler, d$schedule, setting$horizon),
                 error[ESTIMATE])
    })
    each <- do.call(rbind, each)
    do.call(rbind, lapply(split(each, factor(each$quantity, unique(each$quantity))), with_orders))
  }))
  rows <- do.call(rbind, rows)
  finest <- rows[!duplicated(rows[c("sampler", "quantity")], fromLast = TRUE), ]
  rownames(finest) <- NULL
  new_table(rows, "convergence_order",
            c(paste0(if (identical(d$start, "exact")) "about an exact start, ", format(d$mixture)),
              paste0(schedule_words(d), ", from t = ", format(d$horizon, digits = 4), ", start ",
                     start_words(d$start), "; ", se_words(rows))),
            setup_of(d), labels = DIVERGENCES, summary = finest)
}

# The value of `code`, with a single warning for all errors that are unknown.
unknown_once <- function(code) {
  unknown <- character()
  value <- withCallingHandlers(code, mixguide_warning_unknown = function(w) {
    unknown <<- c(unknown, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  n <- length(unknown)
  if (n) {
    warn_law(unknown[1], if (n > 1) paste0("; and ", n - 1, " more, see the column `note`"))
  }
  value
}

# The errors of one sampler in one quantity, by rising numbers of steps.
with_orders <- function(rows) {
  n <- nrow(rows)
  e <- rows$estimate
  log_ratio <- log(rows$steps[-1] / rows$steps[-n])
  # the largest value that rounding and quadrature leave of an error of 0
  floor <- if (rows$quantity[1] == "total_variation") 1e-12 else 1e-15
  seen <- e[-1] > floor
  relative <- rows$se / e
  rows$order <- c(NA, ifelse(seen, log(e[-n] / e[-1]) / log_ratio, NA_real_))
  rows$order_se <- c(NA, ifelse(seen, sqrt(relative[-n]^2 + relative[-1]^2) / log_ratio, NA_real_))
  rows
}

# A named list of functions of the number of steps.
sampler_makers <- function(x, steps) {
  if (inherits(x, "mixguide_sampler") || is.function(x)) x <- list(x)
  if (!(is.list(x) && length(x))) {
    abort_input("samplers", "a sampler, a function that returns one, or a list of these",
                came_instead(x, "mixguide_sampler"))
  }
  names <- names_of(x)
  makers <- lapply(x, function(one) {
    if (is.function(one)) {
      return(function(n) from_user(one(n), "samplers", paste(" of", n, "steps")))
    }
    check_sampler(one, "samplers")
    if (is.numeric(one$grid)) {
      abort_input("samplers", "functions of the number of steps where times are given", format(one))
    }
    function(n) {
      one$steps <- check_count(n, "steps", min = 1)
      one
    }
  })
  unnamed <- !nzchar(names)
  names[unnamed] <- vapply(makers[unnamed], function(make) {
    made <- lapply(steps[1:2], function(n) check_sampler(make(n), "samplers"))
    labels <- unique(vapply(made, format_label, ""))
    # parameters that change with the steps are not part of the name
    if (length(labels) == 1) labels else made[[1]]$label
  }, "")
  stats::setNames(makers, make.unique(names, " "))
}

# A row per sampler, and a column per number of steps.
#' @rdname convergence_order
#' @param digits Number of significant digits.
#' @export
print.convergence_order <- function(x, quantity = "total_variation", digits = 4, ...) {
  check_dots(..., also = print.default)
  quantity <- check_choice(quantity, unique(x$quantity), "quantity")
  print_head(x)
  say(paste0(DIVERGENCES[[quantity]], " at each number of steps; the orders of the last pair are ",
             "of ", divergence_words(names(DIVERGENCES))))
  errors <- x[x$quantity == quantity, ]
  table <- tapply(errors$estimate,
                  list(factor(errors$sampler, unique(errors$sampler)), errors$steps), c)
  finest <- summary(x)
  orders <- split(order_words(finest$order, finest$order_se),
                  factor(finest$quantity, names(DIVERGENCE_HEADS), DIVERGENCE_HEADS))
  print_rows(data.frame(sampler = rownames(table), formatC(table, digits = digits, format = "g"),
                        orders, check.names = FALSE), digits)
  print_foot(x)
  invisible(x)
}

se_words <- function(x) {
  drawn <- x$method == "Monte Carlo"
  if (!any(drawn)) return(if (all(x$method == "exact")) "exact" else "errors by quadrature")
  share <- max(x$se[drawn] / x$estimate[drawn], na.rm = TRUE)
  paste0("standard errors up to ", format(100 * share, digits = 2), "%")
}

# Two decimals, with the standard error if there is one.
order_words <- function(order, se) {
  ifelse(is.na(order), "-", paste0(formatC(order, digits = 2, format = "f"),
                                   ifelse(se > 0, paste0(" (", format(se, digits = 1), ")"), "")))
}

#' @rdname convergence_order
#' @param x,object A `convergence_order`.
#' @param quantity Which error to print or draw.
#' @param against What to draw the errors over: `"steps"`, or `"evaluations"` of the score, which
#'   is what a run costs.
#' @export
autoplot.convergence_order <- function(object, quantity = "total_variation",
                                       against = c("steps", "evaluations"), ...) {
  check_dots(...)
  quantity <- check_choice(quantity, unique(object$quantity), "quantity")
  against <- check_choice(against, c("steps", "evaluations"), "against")
  setup <- attr(object, "setup")
  drawn <- plain_table(object)
  drawn <- drawn[drawn$quantity == quantity & drawn$estimate > 0, ]
  finest <- summary(object)
  finest <- finest[finest$quantity == quantity, ]
  finest <- finest[order(finest$estimate, decreasing = TRUE), ]
  label <- paste0(finest$sampler, ": ", order_words(finest$order, finest$order_se))
  drawn$label <- factor(label[match(drawn$sampler, finest$sampler)], label)
  ggplot(drawn, aes(.data[[against]], .data$estimate, colour = .data$label, shape = .data$label)) +
    geom_line() +
    geom_errorbar(aes(ymin = pmax(.data$estimate - 2 * .data$se, .data$estimate / 10),
                      ymax = .data$estimate + 2 * .data$se),
                  drawn[drawn$se > 0, ], width = 0) +
    geom_point() +
    (if (against == "steps") scale_x_log10(breaks = unique(drawn$steps)) else scale_x_log10()) +
    scale_y_log10() +
    # the last colour of a long palette is too light for lines
    scale_colour_manual(values = class_palette(length(label) + 1)[seq_along(label)]) +
    scale_shape_manual(values = rep_len(c(16, 17, 15, 18, 1, 2, 0, 5, 6, 3, 4, 8), length(label))) +
    finish("Error of the sampler's law", c(format(setup$mixture),
                                           paste0(format(setup$schedule), ", from t = ",
                                                  format(setup$horizon, digits = 4))),
           colour = "sampler: order", shape = "sampler: order", y = DIVERGENCES[[quantity]],
           x = if (against == "steps") "steps" else "evaluations of the score")
}

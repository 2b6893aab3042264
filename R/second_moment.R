# E|x_t|^2, which the guarantees of samplers ask for, and bounds of it that do not know the weights.

#' Second moment along the diffusion
#'
#' `E|x_t|^2` of a mixture at time `t`, beside two bounds that hold for any weights and any number
#' of components: guarantees of samplers ask for a finite second moment, and for mixtures it is this
#' one.
#'
#' @details
#' With the means `mu_i` and covariances `S_i` of the data, `smax` the largest eigenvalue of any of
#' them:
#'
#' | column | at the data | what it is |
#' |---|---|---|
#' | `exact` | `sum_i w_i (abs(mu_i)^2 + tr S_i)` | exact |
#' | `component` | `max_i (abs(mu_i)^2 + tr S_i)` | the sharper bound; derived for this package |
#' | `paper` | `d smax + max_i abs(mu_i)^2` | the bound of the paper's kind; its form is recalled |
#'
#' (`abs` is the Euclidean norm). The recalled form was not verified against the paper; that it is a
#' bound is derived for this package. At time `t` each is `a^2` times what it is at the data,
#' plus `d b^2`. Along the Ornstein-Uhlenbeck process they go monotonically to `d`.
#'
#' @inheritParams information
#' @return A data frame of class `second_moment` with a row per time and columns `t`, `exact`,
#'   `component` and `paper`. Nothing in it is estimated.
#' @section Errors: Of class `mixguide_error`, for arguments of the wrong kind.
#' @source Liang, Shi, Song and Zhou (2024), \doi{10.48550/arXiv.2405.16418}, for the form of
#'   `paper` (recalled).
#' @seealso [moments()], [information()], [lipschitz()].
#' @examples
#' second_moment(named_mixture("A1"), c(0, .5, 1, 2))
#' plot(second_moment(named_mixture("A1"), seq(0, 3, by = .1)))
#' @export
second_moment <- function(mixture, t = 0, schedule = schedule_ou()) {
  check_mixture(mixture)
  t <- check_times(t, schedule)
  units <- mixture
  mixture <- in_process(mixture)
  used <- mixture$weights > 0
  d <- mixture_dim(mixture)
  norm2 <- rowSums(mixture$means[used, , drop = FALSE]^2)
  at_data <- list(exact = moments(mixture)$second_moment,
                  component = max(norm2 + colSums(used_values(mixture))),
                  paper = d * max(used_values(mixture)) + max(norm2))
  later <- lapply(at_data, function(m2) second_moments(mixture, t, schedule, m2))
  new_table(data.frame(t = t, later), "second_moment",
            c(paste("E|x_t|^2 of", format(units)),
              paste0(format(schedule), "; `exact`, and the bounds `component` and `paper`")),
            list(mixture = units, schedule = schedule), keys = "t",
            methods = c(component = "bound", paper = "bound"))
}

# E|x_t|^2, or a bound of it, from that of the data.
second_moments <- function(mixture, t, schedule, at_data = moments(mixture)$second_moment) {
  schedule$a(t)^2 * at_data + schedule$b2(t) * mixture_dim(mixture)
}

#' @rdname second_moment
#' @param object A `second_moment`.
#' @param ... For `plot()`, passed to `autoplot()`; otherwise empty.
#' @export
autoplot.second_moment <- function(object, ...) {
  check_dots(...)
  setup <- attr(object, "setup")
  kinds <- c(exact = "exact", component = "bound: largest component",
             paper = "bound of the paper's kind (recalled)")
  rows <- do.call(rbind, lapply(names(kinds), function(kind) {
    data.frame(t = object$t, value = object[[kind]], kind = factor(kinds[[kind]], kinds))
  }))
  ggplot(rows, aes(.data$t, .data$value, colour = .data$kind, linetype = .data$kind)) +
    (if (nrow(object) > 1) geom_line(linewidth = .8) else geom_point(size = 2)) +
    scale_colour_manual(values = c(ink, class_palette(2)), name = NULL) +
    scale_linetype_manual(values = c("solid", "22", "12"), name = NULL) +
    labs(x = "time t", y = expression(E * "|" * x[t] * "|"^2)) + look() +
    theme(legend.position = "bottom") +
    words("Second moment along the diffusion", c(format(setup$mixture), format(setup$schedule)))
}

# Second moment, entropy, Fisher information and mean squared Hessian along the diffusion: the
# error of discretisation is made of these.

#' Entropy, information and second moment along the diffusion
#'
#' For the law `p_t` of a mixture at time `t`: the second moment `E|x_t|^2`, the differential
#' entropy `h = -E log p_t`, the Fisher information `I = E|grad log p_t|^2` and the curvature
#' `F = E||Hess log p_t||_F^2`, the mean squared Frobenius norm of the derivative of the score.
#'
#' @details Along the Ornstein-Uhlenbeck process in `d` dimensions `h' = I - d` (de Bruijn's
#' identity) and `I' = 2 I - 2 F`; any other variance-preserving schedule is this process at the
#' time `-log a(t)`. Both are derived for this package, and hold for every mixture. Of a Gaussian
#' with the covariance of `p_t`, `h` is at least and `I` and `F` are at most what they are of `p_t`
#' (maximum entropy, and the inequality of Cramer and Rao): `plot()` draws these beside the curves.
#'
#' **How.** One Gaussian: closed forms. In one dimension: Gauss-Legendre rules on panels that follow
#' all components, to about 1e-11. In two: the trapezoidal rule on a grid; steps are shortened by
#' the root of 2 until all three change by less than 1e-7, which leaves an error of about 1e-10
#' (relative, or absolute below 1). Components that differ in a subspace only are integrated there:
#' across it the law is an independent Gaussian. All else, and what would take more than a million
#' nodes, is averaged over `n` draws, the same ones at all times, so that curves are smooth and
#' differences more precise than the standard errors say.
#'
#' **The second moment** has a closed form for every mixture, point masses included. Asked for
#' alone, it stands beside two bounds that hold for any weights and any number of components. With
#' the means `mu_i` and covariances `S_i` of the data, and `smax` the largest eigenvalue of any of
#' them:
#'
#' | column | at the data | what it is |
#' |---|---|---|
#' | `second_moment` | `sum_i w_i (abs(mu_i)^2 + tr S_i)` | exact |
#' | `bound_component` | `max_i (abs(mu_i)^2 + tr S_i)` | the sharper bound, derived here |
#' | `bound_paper` | `d smax + max_i abs(mu_i)^2` | the paper's kind of bound, recalled |
#'
#' (`abs` is the Euclidean norm; the recalled form was not verified against the paper; that it is a
#' bound is derived here). At time `t` each is `a^2` times what it is at the data, plus `d b^2`.
#' Along the Ornstein-Uhlenbeck process they go monotonically to `d`.
#'
#' @param mixture A [gaussmix()], or a [diffusion()] of one. One with coordinates (see
#'   [standardise()]) is looked at in those of its process, but for the entropy, which is that of
#'   its variables.
#' @param t Times, 0 or later, in the clock of the schedule.
#' @param schedule The forward process, see [schedule].
#' @param n Number of draws where quadrature is not possible; from 1024 on they are points of nets,
#'   see [net].
#' @param quantity One or several of `"second_moment"`, `"entropy"`, `"fisher"`, `"curvature"`.
#' @param key `NULL`, to draw one from R's generator where there are draws, or two whole numbers
#'   that settle them.
#' @return A data frame of class `mixguide_information` with a row per time and columns `t`;
#'   `second_moment`, exact; `entropy` (nats), `fisher` and `curvature`, each followed
#'   by its standard error (`entropy_se`, ...), 0 where there is none; and `method`: `"exact"`,
#'   `"quadrature"` or `"Monte Carlo"`. For the second moment alone: `t`, `second_moment`,
#'   `bound_component`, `bound_paper` and `method`. `plot()` draws them against time.
#' @section Errors: Of class `mixguide_error`, for arguments of the wrong kind; of class
#'   `mixguide_error_singular` where a covariance is singular and there is no noise, but for the
#'   second moment alone.
#' @source Derived for this package; the setting, and the form of `bound_paper` (recalled): Liang,
#'   Shi, Song and Zhou (2024), \doi{10.48550/arXiv.2405.16418}.
#' @seealso [entropy()], [moments()], [lipschitz()].
#' @examples
#' information(named_mixture("A1"), c(0, .5, 1, 2))
#' plot(information(named_mixture("B2"), seq(0, 2, by = .1)))
#' information(named_mixture("A1"), c(0, 1, 3), quantity = "second_moment")
#' @export
information <- function(mixture, t = 0, schedule = schedule_ou(), n = 1e4,
                        quantity = c("second_moment", "entropy", "fisher", "curvature"),
                        key = NULL) {
  unpack_diffusion()
  check_mixture(mixture)
  t <- check_times(t, schedule)
  n <- check_count(n, "n", min = 2)
  key <- check_key(key)
  known <- eval(formals()$quantity)
  if (!is.character(quantity) || !length(quantity)) {
    abort_input("quantity", paste("among", toString(known)), describe(quantity))
  }
  for (word in quantity) check_choice(word, known, "quantity")
  batches <- NULL
  if (all(quantity == "second_moment")) {
    rows <- data.frame(moment_bounds(in_process(mixture), t, schedule), method = "exact")
  } else {
    all <- information_rows(mixture, t, schedule, n, key)
    batches <- attr(all, "batches")
    rows <- all[sub("_se$", "", names(all)) %in% c(quantity, "method")]
  }
  new_table(data.frame(t = t, rows), "mixguide_information",
            c(format(mixture), paste0(format(schedule), "; ", toString(unique(rows$method)))),
            list(mixture = mixture, schedule = schedule), keys = "t",
            methods = c(second_moment = "exact", bound_component = "bound", bound_paper = "bound"),
            batches = batches)
}

# The second moment and its bounds at times t.
moment_bounds <- function(mixture, t, schedule) {
  used <- mixture$weights > 0
  norm2 <- rowSums(mixture$means[used, , drop = FALSE]^2)
  values <- used_values(mixture)
  at_data <- list(second_moment = moments(mixture)$second_moment,
                  bound_component = max(norm2 + colSums(values)),
                  bound_paper = mixture_dim(mixture) * max(values) + max(norm2))
  lapply(at_data, function(m2) second_moments(mixture, t, schedule, m2))
}

# E|x_t|^2, or a bound of it, from that of the data.
second_moments <- function(mixture, t, schedule, at_data = moments(mixture)$second_moment) {
  schedule$a(t)^2 * at_data + schedule$b2(t) * mixture_dim(mixture)
}

# All quantities of a mixture, a row per time; with the means of batches of the draws, where there
# are draws.
information_rows <- function(mixture, t, schedule, n, key) {
  check_extent(mixture)
  for (s in t) noise_level(mixture, s, schedule)
  units <- mixture
  mixture <- in_process(mixture)
  used <- keep_components(mixture, mixture$weights > 0)
  alone <- mixture_size(used) == 1
  space <- if (!alone) reduced_space(used)
  inner <- if (!alone) along_axes(if (is.null(space)) used else space$mixture)
  # the part that is independent of the inner coordinates: `count` Gaussians of each variance
  rest <- if (alone) list(values = used$values[, 1], count = rep(1, mixture_dim(used))) else {
    list(values = as.double(space$values), count = as.double(space$rest))
  }
  # the same normals at all times, if any are drawn
  delayedAssign("net", draws_net(inner, n))
  delayedAssign("drawn_key", own_key(key))
  rows <- lapply(t, function(time) {
    law <- if (!alone) diffuse(inner, time, schedule)
    row <- if (alone) information_row(rep(0, 3), method = "exact") else node_information(law)
    if (is.null(row)) {
      x <- unname(keyed_draws(law, n, drawn_key, net = net))
      row <- drawn_information(law, x, draws_family(net, n))
    }
    v <- schedule$a(time)^2 * rest$values + schedule$b2(time)
    more <- colSums(rest$count * cbind(log(2 * pi * exp(1) * v) / 2, 1 / v, 1 / v^2))
    more[1] <- more[1] + log_units(units)
    row[c("entropy", "fisher", "curvature")] <- row[c("entropy", "fisher", "curvature")] + more
    batches <- attr(row, "batches")
    structure(row, batches = if (!is.null(batches)) t(t(batches) + more))
  })
  structure(data.frame(second_moment = second_moments(mixture, t, schedule), do.call(rbind, rows)),
            batches = lapply(rows, attr, "batches"))
}

information_row <- function(mean, se = rep(0, 3), method = "quadrature") {
  data.frame(entropy = mean[1], entropy_se = se[1], fisher = mean[2], fisher_se = se[2],
             curvature = mean[3], curvature_se = se[3], method = method)
}

# By quadrature; NULL if there is no rule.
node_information <- function(mixture) {
  if (mixture_dim(mixture) > 2) return(NULL)
  if (mixture_dim(mixture) == 1) {
    sums <- lapply(panel_nodes(mixture), function(piece) {
      information_sums(moved(mixture, piece$from), piece$x, piece$weight)
    })
    return(information_row(Reduce(`+`, sums)))
  }
  sums <- settled_sums(mixture, function(nodes) {
    information_sums(mixture, nodes$x, nodes$weight)
  }, 2e-8)
  if (!is.null(sums)) information_row(sums)
}

# -E log p, E|s|^2 and E||H||_F^2 over nodes; weights are those of an integral, or NULL for means
# with their standard errors over draws.
information_terms <- function(mixture, x) {
  core <- core_eval(mixture, x, 1, 0, rbind(log_weights(mixture)), 1, "all")
  cbind(-core$logp[[1]], rowSums(core$score^2), rowSums(matrix(core$jacobian, nrow(x))^2))
}

information_sums <- function(mixture, x, weight) {
  sums <- 0
  # some at a time: Jacobians take space
  for (rows in split(seq_along(weight), (seq_along(weight) - 1) %/% 1e5)) {
    terms <- information_terms(mixture, x[rows, , drop = FALSE])
    sums <- sums + colSums(weight[rows] * exp(-terms[, 1]) * terms)
  }
  sums
}

# `family`: the replicates, where the draws are points of nets.
drawn_information <- function(mixture, x, family = NULL) {
  terms <- information_terms(mixture, x)
  n <- nrow(x)
  row <- do.call(rbind, lapply(1:3, function(j) sample_mean(terms[, j], family = family)))
  row <- information_row(row$estimate, row$se, "Monte Carlo")
  # a number made of several times needs the joint errors
  batch <- if (is.null(family)) rep_len(seq_len(max(1, min(20, n %/% 2))), n) else family
  sums <- rowsum(cbind(terms, 1), batch)
  structure(row, batches = unname(sums[, 1:3, drop = FALSE] / sums[, 4]))
}

information_words <- c(entropy = "entropy h (nats)", fisher = "Fisher information I",
                       curvature = "curvature F: mean square of the Hessian")
moment_words <- c(second_moment = "exact", bound_component = "bound: largest component",
                  bound_paper = "bound of the paper's kind (recalled)")

picture.mixguide_information <- function(object, setup) {
  shown <- intersect(names(information_words), names(object))
  if (!length(shown)) return(plot_moments(object, setup))
  like <- moments(in_process(setup$mixture))
  gauss <- information(gaussmix(1, t(like$mean), like$cov), object$t, setup$schedule)
  long <- function(table, law) cbind(long_form(table, information_words[shown], "t"), law = law)
  rows <- rbind(long(object, "the mixture"), long(gauss, "a Gaussian of the same covariance"))
  drawn <- any(rows$se > 0)
  ggplot(rows, aes(.data$t, .data$value, linetype = .data$law)) +
    (if (drawn) geom_ribbon(aes(ymin = .data$value - 2 * .data$se,
                                ymax = .data$value + 2 * .data$se), rows[rows$se > 0, ],
                            fill = class_palette(1), alpha = .3, show.legend = FALSE)) +
    (if (nrow(object) > 1) geom_line(colour = ink) else geom_point(aes(shape = .data$law))) +
    facet_wrap(vars(.data$kind), scales = "free_y", ncol = 1) +
    scale_linetype_manual(values = c("the mixture" = "solid",
                                     "a Gaussian of the same covariance" = "22"), name = NULL) +
    finish("Entropy and information along the diffusion",
           c(format(setup$mixture), format(setup$schedule)),
           if (drawn) "Shading: 2 standard errors" else "There is no sampling error",
           x = "time t", y = NULL, legend = "bottom")
}

plot_moments <- function(object, setup) {
  rows <- long_form(object, moment_words, "t")
  ggplot(rows, aes(.data$t, .data$value, colour = .data$kind, linetype = .data$kind)) +
    (if (nrow(object) > 1) geom_line(linewidth = .8) else geom_point(size = 2)) +
    line_scales(c(ink, class_palette(2)), c("solid", "22", "12")) +
    finish("Second moment along the diffusion", c(format(setup$mixture), format(setup$schedule)),
           x = "time t", y = expression(E * "|" * x[t] * "|"^2), legend = "bottom")
}

# A distribution that is known on nodes, exactly or by quadrature: the law of a sampler's output, of
# a stochastic process, or a tilted target. No random numbers: what is computed from it is exact up
# to quadrature.

# x: m x r nodes, r <= 2; weights: the probability at each (normalised here); log_density,
# log_confidence (log p(class | x), or NULL): at the nodes. axes: r vectors if the nodes are their
# tensor grid, first fastest, else NULL: then they are, in order, the images of a grid. density: the
# log-density as a function of an n x r matrix, or NULL to interpolate. rest: of a reduced law, what
# is independent of these coordinates (see law_rest()). label: in words, what it is the law of.
# `...`: what made it.
new_law <- function(x, weights, log_density, log_confidence = NULL, mixture = NULL, class = NULL,
                    rest = NULL, axes = NULL, density = NULL, label = "a law", ...) {
  x <- as.matrix(x)
  colnames(x) <- if (is.null(rest) && !is.null(mixture)) variable_labels(mixture) else {
    paste0(if (is.null(rest)) "x" else "u", if (ncol(x) > 1) seq_len(ncol(x)))
  }
  structure(list(x = x, weights = weights / sum(weights), log_density = log_density,
                 log_confidence = log_confidence, mixture = mixture, class = class, rest = rest,
                 axes = axes, density = density, label = label, ...), class = "law")
}

# A law in the coordinates of a process as one in the variables of the mixture. Reduced coordinates
# stay what they are: then `rest` says how to get there.
law_from_process <- function(law, mixture) {
  if (is.null(mixture$coordinates)) return(law)
  volume <- log_units(mixture)
  if (!is.null(law$mixture)) law$mixture <- from_process(law$mixture, mixture)
  if (!is.null(law$rest)) {
    law$rest$coordinates <- mixture$coordinates
    law$rest$entropy <- law$rest$entropy + volume
    return(law)
  }
  inner <- law$density
  if (!is.null(inner)) law$density <- function(x) inner(to_process(x, mixture)) - volume
  law$x <- from_process(law$x, mixture)
  law$log_density <- law$log_density - volume
  if (!is.null(law$axes)) {
    law$axes <- Map(function(axis, center, scale) center + scale * axis, law$axes,
                    mixture$coordinates$center, mixture$coordinates$scale)
  }
  law
}

# What a reduction leaves: x = within u + across v, with orthonormal columns, u on the nodes and
# v_i ~ N(mean_i, variance_i), all independent. `mixture`: the mixture in the coordinates u.
law_rest <- function(within, across, mean, variance, mixture) {
  list(within = within, across = across, mean = mean, variance = variance, mixture = mixture,
       entropy = sum(log(2 * pi * exp(1) * variance)) / 2)
}

#' Laws on nodes
#'
#' The distribution of a sampler's output ([sampler_law()]), of the continuous-time process
#' ([fokker_planck()], [sampler_limit()]) or of a tilted target, known exactly or by quadrature on
#' nodes in one or two dimensions (more, if the rest is an independent Gaussian). There are no
#' random numbers in it, and its numbers have no standard error.
#'
#' `law_density()` evaluates the density, `law_distance()` compares two laws; [confidence()],
#' [entropy()], [moments()], `summary()` and `plot()` say what there is to say of one.
#'
#' @details
#' **Between the nodes** the log-density is interpolated: in one dimension by a cubic spline,
#' continued beyond the outer nodes as a quadratic; in two, on a grid, by the cubics through the
#' four nearest nodes along each axis; beyond it the density, next to nothing, is that of the border
#' of the grid. Where a deterministic sampler folds its starts onto each other the density is the
#' sum over the branches, each interpolated linearly; of more than 500 there is none.
#'
#' **Distances.** With nodes `x_i` of mass `w_i`, densities `f` and `g` of the two laws and
#' `r_i = (g/f)(x_i)`, `KL(from || to) = -sum w_i log r_i`, `KL(to || from) =
#' sum w_i (r_i log r_i - r_i + 1)` and the total variation is `sum w_i (1 - r_i)_+`: the second
#' law is evaluated at the nodes of the first, which must be where the first has its mass. For
#' `KL(to || from)` they must see the mass of the second too: `sum w_i r_i` is 1, or the value `NA`
#' if it is not to 1e-3. The Wasserstein distance `W1`, the integral of the absolute difference of
#' the distribution functions, is given in one dimension.
#'
#' @param law,object,from A law.
#' @param x Points, as `x` of [dgaussmix()]; for the methods, a law.
#' @param class One or more classes; `NULL`: that which the law was made towards.
#' @param log Whether to return the logarithm.
#' @param to A law or a [gaussmix()] in the same variables.
#' @param row.names,optional Not used.
#' @param ... Must be empty.
#' @return
#' * `law_density()`: a vector, one number per point.
#' * `law_distance()`: a data frame with one row and columns `kl`, which is KL(from || to), in nats,
#'   `kl_reverse`, KL(to || from), `total_variation` (`NA` if what a reduction leaves differs, see
#'   [sampler_error()]), `wasserstein` (`NA` for d > 1) and `method`.
#' * `confidence()`, `entropy()`: data frames as for a mixture, `method` `"quadrature"`.
#' * `moments()`: as for a mixture, in all d variables.
#' * `summary()`: a data frame of estimates: confidence, `E log p(class | x)`, `E 1/p(class | x)`,
#'   entropy, mean and standard deviation of each variable.
#' * `as.data.frame()`: a row per node with its coordinates, `.weight`, `.log_density`,
#'   `.confidence`.
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit and for a density that
#'   is not known between the nodes.
#' @source Derived for this package.
#' @examples
#' m <- named_mixture("A2")
#' law <- sampler_law(m, guidance("1", 2), sampler_em(50))
#' law
#' summary(law)
#' law_density(law, c(0, 2))
#' # far from the class itself
#' law_distance(law, gaussmix(1, 1, 1))
#' plot(law)
#' @name law
NULL

#' @rdname law
#' @export
law_density <- function(law, x, log = FALSE) {
  check_law(law)
  check_flag(log, "log")
  like <- if (is.null(law$mixture)) gaussmix(1, t(rep(0, ncol(law$x))), 1) else law$mixture
  x <- unname(check_points(x, like))
  rest <- law$rest
  x <- to_process(x, rest)
  value <- if (is.null(rest)) log_density_at(law, x) else {
    v <- x %*% rest$across
    log_density_at(law, x %*% rest$within) +
      colSums(stats::dnorm(t(v), rest$mean, sqrt(rest$variance), log = TRUE)) - log_units(rest)
  }
  if (log) value else exp(value)
}

# In the coordinates of the nodes.
log_density_at <- function(law, x) {
  if (!is.null(law$density)) return(law$density(x))
  if (ncol(x) == 1) return(branch_density(x[, 1], law$x[, 1], law$log_density))
  if (is.null(law$axes)) no_density_between()
  grid_interpolation(x, law$axes, law$log_density)
}

no_density_between <- function(...) {
  abort(paste("the density of this law is known at its nodes only;",
              "as `from` of law_distance() it needs no more"), "input")
}

check_law <- function(x, arg = "law") {
  if (!inherits(x, "law")) abort_input(arg, "a law (see sampler_law())", paste("a", class(x)[1]))
  x
}

# One dimension. Where the nodes do not rise (or fall) throughout there is a branch for each stretch
# in which they do, with a pole of the density at its ends: nothing for a spline.
branch_density <- function(at, x, log_density) {
  keep <- is.finite(log_density) & c(TRUE, diff(x) != 0)
  x <- x[keep]
  log_density <- log_density[keep]
  turns <- turning_nodes(x)
  if (!length(turns)) return(continued_spline(at, x, log_density))
  terms <- Map(function(from, to) {
    term <- stats::approx(x[from:to], log_density[from:to], at)$y
    replace(term, is.na(term), -Inf)
  }, c(1, turns), c(turns, length(x)))
  log_sum(terms)
}

# Where the nodes turn back; some may stand still.
turning_nodes <- function(x) {
  moving <- which(diff(x) != 0)
  moving[-1][diff(sign(diff(x)[moving])) != 0]
}

continued_spline <- function(at, x, y) {
  f <- stats::splinefun(x, y, "fmm")
  inner <- pmin(pmax(at, min(x)), max(x))
  step <- at - inner
  value <- f(inner)
  out <- step != 0
  value[out] <- value[out] + step[out] * f(inner[out], 1) +
    step[out]^2 / 2 * pmin(f(inner[out], 2), 0)
  value
}

# Two dimensions, on equispaced axes: cubic Lagrange polynomials through the four nodes around a
# point along each axis; beyond the grid the value of its border, for cubics would rise there again.
grid_interpolation <- function(x, axes, value) {
  size <- lengths(axes)
  place <- lapply(1:2, function(j) {
    at <- (x[, j] - axes[[j]][1]) / (axes[[j]][2] - axes[[j]][1])
    at <- pmin(pmax(at, 0), size[j] - 1)
    cell <- pmin(pmax(floor(at), 1), size[j] - 3)
    s <- at - cell
    list(cell = cell, weight = cbind(-s * (s - 1) * (s - 2) / 6, (s + 1) * (s - 1) * (s - 2) / 2,
                                     -(s + 1) * s * (s - 2) / 2, (s + 1) * s * (s - 1) / 6))
  })
  value[!is.finite(value)] <- min(value[is.finite(value)])
  result <- 0
  for (j in 1:4) for (i in 1:4) {
    node <- place[[1]]$cell + i - 1 + size[1] * (place[[2]]$cell + j - 2)
    result <- result + place[[1]]$weight[, i] * place[[2]]$weight[, j] * value[node]
  }
  result
}

#' @rdname law
#' @export
law_distance <- function(from, to) {
  check_law(from, "from")
  if (inherits(to, "gaussmix")) to <- mixture_as_law(to, from$rest)
  check_law(to, "to")
  if (ncol(from$x) != ncol(to$x) || !same_rest(from$rest, to$rest)) {
    abort_input("to", "a law or a gaussmix in the variables (and reduced ones) of `from`",
                to$label)
  }
  at <- law_ratio(from, to)
  alike <- at$rest$kl < 1e-12
  data.frame(ratio_kl(at),
             total_variation = if (alike) node_variation(at) else NA_real_,
             wasserstein = if (alike && ncol(from$x) == 1 && is.null(from$rest)) {
               wasserstein(from, to)
             } else NA_real_, method = "quadrature", stringsAsFactors = FALSE)
}

# What distances are made of: the masses w of the nodes of `from`, log r = log(to/from) there, the
# mass of `to` that they see, and what a reduction leaves adds to both divergences.
law_ratio <- function(from, to) {
  there <- from$weights > 0
  w <- from$weights[there]
  log_r <- log_density_at(to, unname(from$x[there, , drop = FALSE])) - from$log_density[there]
  # one exponential: far out r may overflow
  list(w = w, log = log_r, seen = sum(exp(log(w) + log_r)), flat = ncol(from$x) == 1,
       rest = list(kl = rest_kl(from$rest, to$rest), kl_reverse = rest_kl(to$rest, from$rest)))
}

# Both divergences. Where the nodes see all of `to` the sum of w log r has the w (r - 1) beside it
# that add up to nothing: then no term is negative, and what is small has its digits.
ratio_kl <- function(at) {
  wr <- exp(log(at$w) + at$log)
  more <- wr - at$w
  near <- abs(at$log) < 1
  more[near] <- (at$w * expm1(at$log))[near]
  forward <- sum((abs(at$seen - 1) < 1e-7) * more - at$w * at$log)
  reverse <- sum(ifelse(wr > 0, wr * at$log, 0) - more)
  list(kl = at$rest$kl + forward,
       kl_reverse = at$rest$kl_reverse + if (abs(at$seen - 1) < 1e-3) reverse else NA_real_)
}

# sum w (1 - r)_+. In one dimension, over the nodes of a grid in their order: where f = w (1 - r)
# changes its sign, a share u of a cell away from a node, the trapezoidal rule errs by
# (u^2 - u + 1/6)/2 times the change of f (Euler and Maclaurin). In the plane u takes all values
# along the curve on which f is 0, and the mean of that is zero.
node_variation <- function(at) {
  f <- -at$w * expm1(pmin(at$log, 700))
  kink <- at$flat & f[-1] * f[-length(f)] < 0
  change <- abs(diff(f))[kink]
  u <- pmax(f[-1], f[-length(f)])[kink] / change
  sum(pmax(f, 0)) + sum((u^2 - u + 1 / 6) / 2 * change)
}

# The reduced coordinates of two laws of one mixture are the same.
same_rest <- function(a, b) {
  if (is.null(a) || is.null(b)) return(is.null(a) && is.null(b))
  isTRUE(all.equal(a$within, b$within)) && isTRUE(all.equal(a$across, b$across))
}

rest_kl <- function(a, b) {
  if (is.null(a)) return(0)
  # what has no variance in the first has none in the second, or infinity
  point <- a$variance == 0
  if (any(point & (b$variance > 0 | a$mean != b$mean))) return(Inf)
  if (all(point)) return(0)
  gaussian_kl(a$mean[!point], a$variance[!point], b$mean[!point],
              diag(b$variance[!point], sum(!point)))
}

# A mixture as the second law of a distance, in the coordinates of a reduction if there is one.
mixture_as_law <- function(mixture, rest) {
  if (is_singular(mixture)) {
    abort("`to` has a singular covariance and no density; add noise by diffuse() first", "singular")
  }
  inner <- mixture
  if (!is.null(rest)) {
    split <- split_mixture(in_process(mixture, rest), rest)
    inner <- split$inner
    rest <- split$rest
  }
  d <- mixture_dim(inner)
  used <- inner$weights > 0
  x <- inner$means[used, , drop = FALSE]
  new_law(x, rep(1, nrow(x)), dgaussmix(x, inner, log = TRUE), rest = rest, mixture = mixture,
          density = function(x) dgaussmix(x, inner, log = TRUE), label = format(mixture),
          cdf = if (d == 1) function(x) pgaussmix(x, inner),
          # these take a while, and only wasserstein() asks for them
          quantiles = if (d == 1) function() {
            qgaussmix(c(1e-16, stats::ppoints(4001), 1 - 1e-16), inner)
          })
}

# A mixture whose components are alike across a reduction, and independent of what is within.
split_mixture <- function(mixture, rest) {
  used <- which(mixture$weights > 0)
  means <- unname(mixture$means[used, , drop = FALSE])
  across <- means %*% rest$across
  covs <- lapply(used, function(k) unname(component_cov(mixture, k)))
  variance <- diag(crossprod(rest$across, covs[[1]] %*% rest$across))
  size <- 1e-9 * max(vapply(covs, max, 0), means^2)
  alike <- all(abs(across - rep(across[1, ], each = nrow(across)))^2 <= size) &&
    all(vapply(covs, function(S) {
      part <- S %*% rest$across
      max(abs(part - rest$across * rep(variance, each = nrow(part)))) <= size
    }, NA))
  if (!alike) abort_input("to", "the same in all components across the reduction", format(mixture))
  inner <- lapply(covs, function(S) simplify_cov(crossprod(rest$within, S %*% rest$within)))
  names(inner) <- paste("component", used)
  inner <- assemble_gaussmix(mixture$weights[used], means %*% rest$within, inner,
                             mixture$class[used])
  list(inner = inner, rest = law_rest(rest$within, rest$across, across[1, ], variance, inner))
}

# The integral of |F - G|, by the trapezoidal rule over the nodes of both.
wasserstein <- function(from, to) {
  nodes <- function(law) {
    if (is.null(law$quantiles)) law$x[law$weights > 0] else law$quantiles()
  }
  x <- sort(unique(c(nodes(from), nodes(to))))
  gap <- abs(law_cdf(from)(x) - law_cdf(to)(x))
  sum(diff(x) * (gap[-1] + gap[-length(gap)])) / 2
}

# The distribution function in one dimension: half of a node's mass lies below it.
law_cdf <- function(law) {
  if (!is.null(law$cdf)) return(law$cdf)
  order <- order(law$x)
  w <- law$weights[order]
  x <- law$x[order]
  keep <- !duplicated(x, fromLast = TRUE)
  stats::approxfun(x[keep], (cumsum(w) - w / 2)[keep], yleft = 0, yright = 1)
}

# ---- What there is to say of a law

law_mean <- function(law, value) {
  there <- law$weights > 0
  estimate_row(sum((law$weights * value)[there]), 0, "quadrature")
}

#' @rdname law
#' @export
confidence.law <- function(x, class = NULL, ...) {
  check_dots(...)
  if (is.null(class)) {
    if (is.null(x$log_confidence)) no_class()
    return(law_mean(x, exp(x$log_confidence)))
  }
  # the mixture at the time of the law, in the coordinates of the nodes
  mixture <- if (is.null(x$rest)) x$mixture else x$rest$mixture
  if (is_singular(mixture)) return(aimed_row(confidence(x), class, x$class))
  class_rows(mixture, class, function(y) law_mean(x, class_probability(mixture, y)(x$x)))
}

#' @rdname law
#' @export
entropy.law <- function(x, ...) {
  check_dots(...)
  row <- law_mean(x, -x$log_density)
  if (!is.null(x$rest)) row$estimate <- row$estimate + x$rest$entropy
  row
}

#' @rdname law
#' @export
moments.law <- function(x, ...) {
  check_dots(...)
  mean <- colSums(x$weights * x$x)
  cov <- crossprod(sqrt(x$weights) * sweep(x$x, 2, mean))
  rest <- x$rest
  if (!is.null(rest)) {
    mean <- drop(rest$within %*% mean + rest$across %*% rest$mean)
    cov <- rest$within %*% cov %*% t(rest$within) +
      rest$across %*% (rest$variance * t(rest$across))
    at <- moments_from_process(mean, cov, rest)
    mean <- at$mean
    cov <- at$cov
    names <- variable_labels(x$mixture)
    names(mean) <- names
    dimnames(cov) <- list(names, names)
  }
  list(mean = mean, cov = cov, second_moment = sum(mean^2) + sum(diag(cov)),
       method = "quadrature")
}

#' @export
mean.law <- function(x, ...) {
  check_dots(...)
  moments(x)$mean
}

#' @rdname law
#' @export
summary.law <- function(object, ...) {
  check_dots(...)
  at <- moments(object)
  rows <- c(
    if (!is.null(object$log_confidence)) {
      list(confidence = confidence(object),
           "mean log confidence" = law_mean(object, object$log_confidence),
           "mean inverse confidence" = law_mean(object, exp(-object$log_confidence)))
    },
    list(entropy = entropy(object)),
    lapply(c(stats::setNames(at$mean, paste("mean of", names(at$mean))),
             stats::setNames(sqrt(diag(at$cov)), paste("sd of", names(at$mean)))),
           estimate_row, se = 0, method = "quadrature")
  )
  data.frame(quantity = names(rows), do.call(rbind, unname(rows)), stringsAsFactors = FALSE)
}

#' @export
print.law <- function(x, ...) {
  check_dots(..., also = print.default)
  line <- function(...) cat("  ", ..., "\n", sep = "")
  d <- if (is.null(x$rest)) ncol(x$x) else nrow(x$rest$within)
  cat("<law> of ", x$label, "\n", sep = "")
  line("known on ", number(nrow(x$x)), " nodes in ", count_of(ncol(x$x), "dimension"),
       if (d > ncol(x$x)) paste0(" of ", d, "; the rest is Gaussian, exactly"))
  if (!is.null(x$guidance)) line("guidance:   ", format(x$guidance))
  if (!is.null(x$score_error)) line("score:      ", format(x$score_error))
  if (!is.null(x$log_confidence)) line("confidence: ", format_estimate(confidence(x)))
  line("entropy:    ", format_estimate(entropy(x)))
  at <- moments(x)
  shown <- seq_len(min(d, 6))
  sd <- sqrt(diag(at$cov))
  line("mean (sd):  ", toString(paste0(format(mean_to_show(at$mean, sd)[shown], digits = 4), " (",
                                       format(sd[shown], digits = 4), ")")),
       if (d > 6) ", ...")
  if (!is.null(x$note)) line(x$note)
  print_faults(x$faults)
  invisible(x)
}

# A mean of 1e-14 is rounding.
mean_to_show <- function(mean, sd) ifelse(abs(mean) < 1e-9 * sd, 0, mean)

#' @rdname law
#' @export
as.data.frame.law <- function(x, row.names = NULL, optional = FALSE, ...) {
  check_dots(..., also = frame_dots)
  columns <- list(as.data.frame(x$x), .weight = x$weights, .log_density = x$log_density)
  if (!is.null(x$log_confidence)) columns$.confidence <- exp(x$log_confidence)
  do.call(data.frame, c(columns, list(row.names = row.names, check.names = FALSE)))
}

# ---- Pictures

#' @rdname plot.gaussmix
#' @export
autoplot.law <- function(object, ...) {
  check_dots(...)
  aim <- aim_words(object$class)
  mixture <- if (is.null(object$rest)) object$mixture else object$rest$mixture
  if (!is.null(mixture)) {
    colnames(mixture$means) <- colnames(object$x)
    mixture$class[mixture$class %in% object$class] <- aim
  }
  flat <- ncol(object$x) == 1
  layers <- if (flat) law_curve(object, mixture, aim) else law_surface(object, mixture, aim)
  label <- object$label
  ggplot() + layers + look() +
    words(paste("Law of", label),
          c(if (!is.null(object$guidance)) {
            strength <- format_strength(object$guidance)
            paste0("S", substring(strength, 2), ", towards ", aim)
          },
            if (!flat && !is.null(mixture)) region_words(mixture)),
          c(if (!is.null(object$rest)) "Coordinates of the reduction; the rest is Gaussian",
            "By quadrature: there is no sampling error", fault_words(object$faults)))
}

law_curve <- function(law, mixture, aim) {
  density <- exp(law$log_density)
  # what one sees of it
  keep <- range(law$x[density > 1e-4 * max(density), 1])
  x <- sort(unique(law$x[law$x[, 1] >= keep[1] & law$x[, 1] <= keep[2], 1]))
  curves <- data.frame(x = x, density = exp(log_density_at(law, matrix(x))), role = "this law")
  if (!is.null(mixture) && !is_singular(mixture)) {
    curves <- rbind(curves, aim_curves(mixture, aim))
  }
  roles <- unique(curves$role)
  list(geom_line(aes(.data$x, .data$density, linetype = .data$role, colour = .data$role), curves),
       scale_linetype_manual(values = stats::setNames(c("solid", "solid", "22")[seq_along(roles)],
                                                      roles), name = NULL),
       scale_colour_manual(values = stats::setNames(c(class_palette(2)[2], ink,
                                                      ink)[seq_along(roles)], roles), name = NULL),
       labs(x = colnames(law$x), y = "density"))
}

law_surface <- function(law, mixture, aim) {
  labels <- colnames(law$x)
  points <- data.frame(x = law$x[, 1], y = law$x[, 2], density = exp(law$log_density))
  seen <- function() points[points$density > 1e-4 * max(points$density), ]
  points <- seen()
  if (!is.null(law$axes)) {
    fine <- lapply(points[1:2], function(x) seq(min(x), max(x), length.out = 150))
    points <- do.call(expand.grid, fine)
    points$density <- exp(log_density_at(law, unname(as.matrix(points))))
    points <- seen()
  }
  lines <- if (!is.null(mixture) && !is_singular(mixture)) class_lines(mixture)
  fill <- if (is.null(law$axes)) {
    geom_point(aes(.data$x, .data$y, colour = .data$density), points, size = .6)
  } else geom_raster(aes(.data$x, .data$y, fill = .data$density), points)
  list(fill,
       scale_colour_gradientn(colours = c("#E8F1F8", "#56B4E9", "#0072B2", "#00304B"),
                              aesthetics = if (is.null(law$axes)) "colour" else "fill",
                              name = "density"),
       if (!is.null(lines)) {
         lines$role <- if (is.null(aim)) "each class" else {
           ifelse(lines$class == aim, paste("class", aim), "other classes")
         }
         list(geom_path(aes(.data$x, .data$y, group = .data$group, linetype = .data$role), lines,
                        colour = ink), role_scale(aim))
       },
       labs(x = labels[1], y = labels[2]), coord_equal())
}

#' @rdname plot.gaussmix
#' @export
plot.law <- function(x, ...) show_plot(x, ...)

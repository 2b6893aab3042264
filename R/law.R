# x: m x r nodes, r <= 2; weights: the probability at each node (normalised here); log_density,
# log_confidence (log p(class | x), or NULL): at the nodes. axes: r vectors if the nodes are their
# tensor grid, first axis fastest; NULL if the nodes are the images of a grid, in its order.
# density: the log-density as a function of an n x r matrix (known within `span`, if there is one),
# or NULL to interpolate. rest: for a reduced law, the independent other coordinates (see
# law_rest()). label: the name of the law in words. `...`: its inputs, and the `floor`: see
# density_parts(). A law with the map of a deterministic sampler on a line has the starts `from`
# which the nodes came, and the log-density `branch` of each as if nothing folded.
new_law <- function(x, weights, log_density, log_confidence = NULL, mixture = NULL, class = NULL,
                    rest = NULL, axes = NULL, density = NULL, label = "a law", ...) {
  x <- as.matrix(x)
  colnames(x) <- if (is.null(rest) && !is.null(mixture)) variable_labels(mixture) else {
    paste0(if (is.null(rest)) "x" else "u", if (ncol(x) > 1) seq_len(ncol(x)))
  }
  structure(list(x = x, weights = weights / sum(weights), log_density = log_density,
                 log_confidence = log_confidence, mixture = mixture, class = class, rest = rest,
                 axes = axes, density = density, label = label, ...),
            class = object_class("mixguide_law"))
}

# Converts a law in the coordinates of a process to the variables of the mixture. Reduced
# coordinates stay; `rest` then has the map to the variables.
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
  if (!is.null(law$span)) law$span <- drop(from_process(matrix(law$span), mixture))
  if (!is.null(law$from)) law$from <- from_process(law$from, mixture)
  if (!is.null(law$branch)) law$branch <- law$branch - volume
  law$log_density <- law$log_density - volume
  if (!is.null(law$axes)) {
    law$axes <- Map(function(axis, center, scale) center + scale * axis, law$axes,
                    mixture$coordinates$center, mixture$coordinates$scale)
  }
  law
}

# The part outside a reduction: x = within u + across v, with orthonormal columns, u on the nodes
# and v_i ~ N(mean_i, variance_i), all independent. `mixture`: the mixture in the coordinates u.
law_rest <- function(within, across, mean, variance, mixture) {
  list(within = within, across = across, mean = mean, variance = variance, mixture = mixture,
       entropy = sum(log(2 * pi * exp(1) * variance)) / 2)
}

#' Laws on nodes
#'
#' A law is the distribution of a sampler's output ([guided_law()]), of the continuous-time process
#' ([fokker_planck()]) or of a tilted target ([tilted_law()]). It is known exactly or by quadrature
#' on nodes in one or two dimensions (more, if the rest is an independent Gaussian). It has no
#' random numbers: `se` of its numbers is 0. Where a map tears or folds the space between nodes (in
#' two dimensions: where it folds, or its Jacobian comes from differences), `se` is the change of
#' the number when every other node is left out. If that is more than a tenth, a few nodes carry the
#' number, and it is `"unknown"`.
#'
#' @details **Between the nodes** the log-density is interpolated: in one dimension by a cubic
#' spline; in two, on a grid, by polynomials through the six nearest nodes along each axis. Beyond
#' the nodes it continues as the tail of a Gaussian, a concave quadratic through three nodes (in two
#' dimensions along the ray from the highest node). Branches of a folded map are interpolated
#' linearly; with more than 500 there is no density.
#'
#' **Folds.** Guidance that is too strong for the steps of a deterministic sampler folds its map `F`
#' from noise to data. On a line, the density at `y` is `sum p(x)/|F'(x)|` over all starts `x` with
#' `F(x) = y` and density `p(x)`. The sum of `log|det|` along single paths ([entropy()]) then gives
#' an upper bound of the entropy. It exceeds the entropy by the information about the start that is
#' lost, the mean entropy of the branch given the output. `summary()` then has four more rows:
#' `"entropy bound"`, `h(start) + E sum log|det|`; `"folded"`, the probability that another start
#' with the same end, drawn from all of these, lies on another branch; `"turns"`, the share of
#' starts at which a step has a negative slope; and `"pieces"`, the number of monotone pieces of the
#' map. Nodes resolve folds wider than their distance: if neighbours are torn far apart, `"pieces"`
#' is unreliable and the entropy has two or three digits. Without folds the bound is the identity of
#' Wu, Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639}, in discrete form.
#'
#' Where branches are not summed (in two dimensions, or if there are more than 500), the entropy is
#' an upper bound, `method` `"bound"`. Where the map jumps, as that of the rule "ADG" on a line,
#' differences give no density, and entropy and distances are `"unknown"`. The signs are differences
#' that depend on their order at more than 5% of the mass; on a line more than 10% of the mass
#' between neighbours that their densities do not account for; and an entropy above that of the
#' Gaussian of the same covariance.
#'
#' **Distances.** Each divergence is a mean over the nodes of its first law, where that law has its
#' mass, of the logarithm of the ratio of the densities. So mass of one law counts in full, even if
#' the nodes of the other do not see it. If a density is continued beyond its nodes, the part of the
#' divergence that comes from there is its error. `note` reports it, and if it is more than a tenth
#' of the whole, the divergence is `NA`. The total variation is `sum w_i (1 - r_i)_+` over nodes of
#' mass `w_i` with the ratio `r_i` of the densities. The Wasserstein distance `W1`, the integral of
#' the absolute difference of the distribution functions, exists in one dimension, to some eight
#' digits.
#'
#' @param law,object A law.
#' @param x Points, as `x` of [dgaussmix()]; for the methods, a law.
#' @param class One or more classes; `NULL`: the class that the law is guided to.
#' @param log Whether to return the logarithm.
#' @param target The law to compare with: a [gaussmix()] in the same variables, or another law.
#' @param ... Must be empty.
#' @return
#' * `law_density()`: a vector, one number per point.
#' * `law_distance()`: a table of estimates ([mixguide_table]) with the rows `kl`,
#'   `KL(target || law)` in nats; `kl_reverse`, `KL(law || target)`; `total_variation` (unknown if
#'   what a reduction leaves differs, see [guided_error()]); and `wasserstein` (unknown for d > 1).
#' * `quantile()`: in one dimension, a vector; 0 and 1 are `-Inf` and `Inf`.
#' * `confidence()`, `entropy()`, `moments()`: as for a mixture, in all d variables.
#' * `summary()`: a table of estimates: confidence, `E log p(class | x)`, `E 1/p(class | x)`,
#'   entropy, what folds do, mean and standard deviation of each variable.
#' * `as.data.frame()`: a row per node with its coordinates, `.confidence`, `.log_density`,
#'   `.weight`, and `.start`, from where a deterministic sampler on a line leads there.
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit and a density that is
#'   not known between the nodes.
#' @source Derived for this package.
#' @examples
#' m <- named_mixture("A2")
#' law <- guided_law(m, guidance("1", 2), sampler_em(50))
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
log_density_at <- function(law, x) density_parts(law, x)$value

# The log-density, and whether it is known there. Nodes know it as far as they go, and down to the
# law's `floor`; below it their values are rounding and truncation.
density_parts <- function(law, x) {
  if (!is.null(law$density)) {
    known <- if (is.null(law$span)) rep(TRUE, nrow(x)) else {
      x[, 1] >= law$span[1] & x[, 1] <= law$span[2]
    }
    value <- law$density(x)
    return(list(value = value, known = known & !is.na(value)))
  }
  floor <- if (is.null(law$floor)) -Inf else law$floor
  if (ncol(x) == 1) return(line_density(x[, 1], law$x[, 1], law$log_density, floor))
  if (is.null(law$axes)) no_density_between()
  plane_density(x, law$axes, law$log_density, floor)
}

no_density_between <- function(...) {
  abort(paste("the density of this law is known at its nodes only;",
              "as `law` of law_distance() it needs no more"), "input")
}

check_law <- function(x, arg = "law") {
  check_class(x, "mixguide_law", arg, "a law (see guided_law())")
  check_made(x, arg, "guided_law()", x = function(x) is.double(x) && is.matrix(x),
             weights = is.double, log_density = is.double)
}

line_density <- function(at, x, log_density, floor = -Inf) {
  high <- range(which(log_density >= max(log_density) + floor & is.finite(log_density)))
  kept <- high[1]:high[2]
  span <- range(x[kept])
  list(value = branch_density(at, x[kept], log_density[kept]),
       known = at >= span[1] & at <= span[2])
}

# One dimension. If the nodes do not rise (or fall) throughout, each stretch in which they do is a
# branch, with a pole of the density at its ends, which no spline can follow.
branch_density <- function(at, x, log_density) {
  keep <- is.finite(log_density) & c(TRUE, diff(x) != 0)
  x <- x[keep]
  log_density <- log_density[keep]
  if (length(x) < 2) abort_rounding("leads to one point, or nowhere")
  turns <- turning_nodes(x)
  if (!length(turns)) return(continued_spline(at, x, log_density))
  from <- c(1, turns)
  to <- c(turns, length(x))
  # each branch is evaluated at the places that it reaches
  order <- order(at, na.last = NA)
  sorted <- at[order]
  first <- findInterval(pmin(x[from], x[to]), sorted, left.open = TRUE)
  last <- findInterval(pmax(x[from], x[to]), sorted)
  if (sum(last - first) > 5e7) abort_rounding("turns back ", number(length(turns)), " times")
  value <- rep(-Inf, length(at))
  for (i in which(last > first)) {
    inside <- order[(first[i] + 1):last[i]]
    stretch <- from[i]:to[i]
    term <- stats::approx(x[stretch], log_density[stretch], at[inside])$y
    term[is.na(term)] <- -Inf
    gap <- abs(value[inside] - term)
    gap[is.na(gap)] <- Inf # nothing and nothing
    value[inside] <- pmax(value[inside], term) + log1p(exp(-gap))
  }
  value
}

# The error for a map without a density.
abort_rounding <- function(...) {
  abort(paste0("the map ", ..., ": rounding is left of it; take a sampler with an `end` > 0, or a ",
               "smaller strength"), "folds")
}

# The places where the nodes turn back; some may stand still.
turning_nodes <- function(x) {
  moving <- which(diff(x) != 0)
  moving[-1][diff(sign(diff(x)[moving])) != 0]
}

continued_spline <- function(at, x, y) {
  n <- length(x)
  if (x[n] < x[1]) {
    x <- rev(x)
    y <- rev(y)
  }
  value <- stats::splinefun(x, y, "fmm")(pmin(pmax(at, x[1]), x[n]))
  below <- which(at < x[1])
  above <- which(at > x[n])
  value[below] <- end_tail(x[1] - at[below], x - x[1], y)
  value[above] <- end_tail(at[above] - x[n], x[n] - rev(x), rev(y))
  value
}

# The tail at distances `s` beyond the first of some nodes; the nodes' distances from it are `r`.
end_tail <- function(s, r, y) {
  if (!length(s)) return(double())
  higher <- function(by, after) {
    i <- which(y > y[1] + by & seq_along(y) > after)
    if (length(i)) i[1] else which.max(y)
  }
  i1 <- higher(TAIL_RISE[1], 1)
  i2 <- higher(TAIL_RISE[2], i1)
  gaussian_tail(s, r[i1], r[i2], y[1], y[i1], y[i2])
}

# The height of nodes above the last one that makes rounding irrelevant to the tail.
TAIL_RISE <- c(2, 6)

# Beyond the last node a log-density continues as the quadratic through it and two others, at the
# distances r1 < r2 inwards: the tail of a Gaussian, concave and falling for any nodes.
gaussian_tail <- function(s, r1, r2, y0, y1, y2) {
  slope <- ifelse(r1 > 0 & y1 > y0, (y1 - y0) / r1, 0)
  bend <- ifelse(r2 > r1 & slope > 0, ((y2 - y1) / (r2 - r1) - slope) / r2, 0)
  # nodes that do not fall outwards have no tail
  replace(y0 - slope * s + pmin(bend, 0) * s * (s + r1), rep_len(slope <= 0, length(s)), -Inf)
}

# Two dimensions, on equispaced axes. Beyond the grid's known part, the tail along the ray from the
# highest node.
plane_density <- function(x, axes, value, floor = -Inf) {
  low <- max(max(value) + floor, min(value[is.finite(value)]))
  # polynomials through the border of the known part should not see a cliff
  value[!(value > low - 20)] <- low - 20
  inside <- Reduce(`&`, lapply(1:2, function(j) {
    x[, j] >= axes[[j]][1] & x[, j] <= axes[[j]][length(axes[[j]])]
  }))
  result <- rep(NA_real_, nrow(x))
  result[inside] <- grid_interpolation(x[inside, , drop = FALSE], axes, value)
  known <- inside & !is.na(result) & result >= low
  rest <- which(!known)
  # some at a time: each takes many nodes along its ray
  for (rows in split(rest, (seq_along(rest) - 1) %/% 5000)) {
    result[rows] <- ray_tail(x[rows, , drop = FALSE], axes, value, low)
  }
  list(value = result, known = known)
}

ray_tail <- function(x, axes, value, low, steps = 64) {
  top <- arrayInd(which.max(value), lengths(axes))
  top <- c(axes[[1]][top[1]], axes[[2]][top[2]])
  ray <- x - rep(top, each = nrow(x))
  # the length of the ray on the grid, the same for all x on it, so that nodes do not depend on x
  exit <- lapply(1:2, function(j) {
    edge <- ifelse(ray[, j] > 0, axes[[j]][length(axes[[j]])], axes[[j]][1]) - top[j]
    ifelse(ray[, j] == 0, Inf, edge / ray[, j])
  })
  along <- outer(pmin(exit[[1]], exit[[2]]), seq(0, 1, length.out = steps))
  nodes <- cbind(top[1] + as.vector(along * ray[, 1]), top[2] + as.vector(along * ray[, 2]))
  y <- matrix(grid_interpolation(nodes, axes, value), nrow(x))
  row <- seq_len(nrow(x))
  last <- max.col(y >= low & along <= 1, "last")
  y0 <- y[cbind(row, last)]
  inner <- function(by, before) {
    there <- y > y0 + by & col(y) < before
    ifelse(rowSums(there) > 0, max.col(there, "last"), 1)
  }
  i1 <- inner(TAIL_RISE[1], last)
  i2 <- inner(TAIL_RISE[2], i1)
  length <- sqrt(rowSums(ray^2))
  place <- function(i) along[cbind(row, i)] * length
  gaussian_tail(length - place(last), place(last) - place(i1), place(last) - place(i2), y0,
                y[cbind(row, i1)], y[cbind(row, i2)])
}

# Lagrange polynomials through the `points` nodes around a point along each axis.
grid_interpolation <- function(x, axes, value, points = 6) {
  size <- lengths(axes)
  place <- lapply(1:2, function(j) {
    place <- (x[, j] - axes[[j]][1]) / (axes[[j]][2] - axes[[j]][1])
    place <- pmin(pmax(place, 0), size[j] - 1)
    first <- pmin(pmax(floor(place) - points / 2 + 1, 0), size[j] - points)
    s <- place - first
    weight <- vapply(seq_len(points) - 1, function(i) {
      others <- setdiff(seq_len(points) - 1, i)
      Reduce(`*`, lapply(others, function(k) (s - k) / (i - k)))
    }, s)
    list(first = first, weight = matrix(weight, nrow(x), points))
  })
  result <- 0
  for (j in seq_len(points)) for (i in seq_len(points)) {
    node <- place[[1]]$first + i + size[1] * (place[[2]]$first + j - 1)
    result <- result + place[[1]]$weight[, i] * place[[2]]$weight[, j] * value[node]
  }
  result
}

# ---- Numbers of a law

law_mean <- function(law, value) {
  law$value <- value
  law_numbers(law, function(law) {
    there <- law$weights > 0
    sum((law$weights * law$value)[there])
  })[[1]]
}

# The rows of numbers f(law), whose errors are what changes with a part of the nodes. `scale_of`:
# their scales, a function of the values of all nodes and of each part.
law_numbers <- function(law, f, scale_of = function(values) pmax(1, abs(values[[1]]))) {
  values <- c(list(f(law)), lapply(node_parts(law), function(rows) f(law_part(law, rows))))
  change <- do.call(pmax, lapply(values, function(value) abs(value - values[[1]])))
  Map(number_row, values[[1]], unname(change), scale_of(values))
}

# If a number changes by more than a tenth of its scale, a few nodes carry it, and more of them
# would give another one.
number_row <- function(estimate, change, scale) {
  # the entropy of a point
  if (identical(estimate, -Inf)) return(estimate_row(-Inf, 0, "quadrature"))
  if (!is.finite(estimate)) return(unknown_row("heavy tail: the nodes do not resolve it"))
  rounding <- 1e-9 * max(1, abs(estimate))
  if (!isTRUE(change <= max(scale / 10, rounding))) {
    return(unknown_row(paste0("heavy tail, or not resolved: ", format(estimate, digits = 3),
                              " changes by ", format(change, digits = 2),
                              " with a part of the nodes")))
  }
  estimate_row(estimate, if (change <= rounding) 0 else change, "quadrature")
}

# Every other node of a line; in the plane the four grids of every other node along both axes, if
# the map that moved the nodes may be rough. NULL for nodes that need no check.
node_parts <- function(law) {
  n <- nrow(law$x)
  if (ncol(law$x) == 1) return(list(seq(1, n, by = 2)))
  if (!isTRUE(law$rough)) return(NULL)
  odd <- seq_len(round(sqrt(n))) %% 2 == 1
  both <- function(i, j) which(outer(i, j, "&"))
  list(both(odd, odd), both(odd, !odd), both(!odd, odd), both(!odd, !odd))
}

law_part <- function(law, rows) {
  law$x <- law$x[rows, , drop = FALSE]
  law$weights <- law$weights[rows] / sum(law$weights[rows])
  law$value <- law$value[rows]
  law
}

# Means and standard deviations of all variables, each with its error. A mean is on the scale of the
# least standard deviation of any part of the nodes, since a heavy tail makes that of all of them
# large.
moment_rows <- function(law) {
  d <- law_dim(law)
  sd <- d + seq_len(d)
  rows <- law_numbers(law, function(law) {
    found <- moments(law)
    c(found$mean, sqrt(diag(found$cov)))
  }, function(values) c(do.call(pmin, lapply(values, `[`, sd)), values[[1]][sd]))
  stats::setNames(rows, paste(rep(c("mean of", "sd of"), each = d), names(rows)[seq_len(d)]))
}

#' @rdname law
#' @export
confidence.mixguide_law <- function(x, class = NULL, ...) {
  check_dots(...)
  mixture <- inner_mixture(x)
  rows <- if (is.null(class)) {
    if (is.null(x$log_confidence)) no_class(x)
    law_mean(x, exp(x$log_confidence))
  } else if (inherits(mixture, "score_model")) {
    q <- model_posterior(mixture, x$x)
    if (is.null(q)) no_class(x)
    class_rows(mixture, class, function(y) law_mean(x, q[, y]))
  } else {
    if (is_singular(mixture)) return(aimed_row(confidence(x), class, x$class))
    class_rows(mixture, class, function(y) law_mean(x, class_probability(mixture, y)(x$x)))
  }
  estimate_table("confidence", rows, x$label)
}

# The mixture at the time of the law, in the coordinates of the nodes.
inner_mixture <- function(law) if (is.null(law$rest)) law$mixture else law$rest$mixture

#' @rdname law
#' @export
entropy.mixguide_law <- function(x, ...) {
  check_dots(...)
  estimate_table("entropy", law_entropy(x), x$label)
}

# Densities of single branches give an upper bound.
law_entropy <- function(law, log_density = law$log_density) {
  if (!is.null(law$doubt)) return(unknown_row(law$doubt))
  row <- law_mean(law, -log_density)
  if (row$method == "unknown") return(row)
  row$se <- max(row$se, law$off)
  if (!is.null(law$rest)) row$estimate <- row$estimate + law$rest$entropy
  if (!is.null(law$timed)) row$note <- law$timed
  if (isTRUE(law$unsummed > 1e-9)) row[c("method", "note")] <- list("bound", law$note)
  row
}

# What folds do to a law that has the map from noise to data.
fold_rows <- function(law) {
  if (is.null(law$from)) return(NULL)
  by_nodes <- function(number) estimate_row(number, 0, "quadrature")
  pieces <- length(turning_nodes(law$x[, 1])) + 1
  folded <- if (!is.null(law$doubt)) unknown_row(law$doubt) else if (pieces > MOST_BRANCHES) {
    unknown_row(paste("the map turns back", number(pieces - 1), "times: rounding is left of it"))
  } else law_mean(law, -expm1(law$branch - law$log_density))
  list("entropy bound" = law_entropy(replace(law, "unsummed", 0), law$branch), folded = folded,
       turns = by_nodes(law$folded), pieces = by_nodes(pieces))
}

#' @rdname law
#' @export
moments.mixguide_law <- function(x, ...) {
  check_dots(...)
  mean <- colSums(x$weights * x$x)
  cov <- crossprod(sqrt(x$weights) * sweep(x$x, 2, mean))
  rest <- x$rest
  if (!is.null(rest)) {
    mean <- drop(rest$within %*% mean + rest$across %*% rest$mean)
    cov <- rest$within %*% cov %*% t(rest$within) +
      rest$across %*% (rest$variance * t(rest$across))
    whole <- moments_from_process(mean, cov, rest)
    mean <- whole$mean
    cov <- whole$cov
    names <- variable_labels(x$mixture)
    names(mean) <- names
    dimnames(cov) <- list(names, names)
  }
  new_moments(mean, cov, second_moment = sum(mean^2) + sum(diag(cov)), method = "quadrature")
}

#' @export
mean.mixguide_law <- function(x, ...) {
  check_dots(...)
  moments(x)$mean
}

#' @rdname law
#' @export
summary.mixguide_law <- function(object, ...) {
  check_dots(...)
  rows <- c(
    if (!is.null(object$log_confidence)) {
      list(confidence = confidence(object)[ESTIMATE],
           "mean log confidence" = law_mean(object, object$log_confidence),
           "mean inverse confidence" = law_mean(object, exp(-object$log_confidence)))
    },
    list(entropy = entropy(object)[ESTIMATE]), fold_rows(object), moment_rows(object)
  )
  estimate_table(names(rows), do.call(rbind, unname(rows)), object$label)
}

in_words.mixguide_law <- function(x) paste("of", x$label)

headline.mixguide_law <- function(x) {
  d <- law_dim(x)
  known <- paste0("known on ", number(nrow(x$x)), " nodes in ", count_of(ncol(x$x), "dimension"),
                  if (d > ncol(x$x)) paste0(" of ", d, "; the rest is Gaussian, exactly"))
  # the head has the sampler
  if (!is.null(x$sampler)) return(known)
  if (is.null(x$horizon)) paste0(in_words(x), ", ", known) else {
    about_time(paste0("the guided SDE, ", known))
  }
}

print_body.mixguide_law <- function(x, ...) {
  if (!is.null(x$horizon)) say(process_lines(x, if (is.null(x$sampler)) "sampler"))
  if (!is.null(x$log_confidence)) say_line("confidence: ", format_estimate(confidence(x)))
  h <- law_entropy(x)
  said <- h
  if (!is.null(x$doubt) || h$method == "bound") said$note <- "" # which follows
  if (h$method == "bound") said$method <- "quadrature"
  say_line("entropy:    ", if (h$method == "bound") "at most ", format_estimate(said))
  rows <- do.call(rbind, moment_rows(x))
  d <- nrow(rows) / 2
  shown <- seq_len(min(d, 6))
  sd <- rows$estimate[d + shown]
  word <- function(x) {
    known <- !is.na(x)
    replace(rep("unknown", length(x)), known, format(x[known], digits = 4))
  }
  mean <- mean_to_show(rows$estimate[shown], sd)
  say_line("mean (sd):  ", toString(paste0(word(mean), " (", word(sd), ")")), if (d > 6) ", ...")
  if (anyNA(rows$estimate)) say_line("unknown: ", rows$note[nzchar(rows$note)][1])
  # an entropy that is unknown is no bound
  if (h$method != "unknown" || !isTRUE(x$unsummed > 0) || !is.null(x$doubt)) say(x$note)
}

# A mean of 1e-14 is rounding.
mean_to_show <- function(mean, sd) ifelse(abs(mean) < 1e-9 * sd & !is.na(sd), 0, mean)

# ---- Pictures

#' @rdname law
#' @param what `"density"`, or `"map"`, the map from noise to data of a deterministic sampler on a
#'   line.
#' @export
autoplot.mixguide_law <- function(object, what = c("density", "map"), ...) {
  check_dots(...)
  what <- check_choice(what, c("density", "map"), "what")
  if (what == "map") law_map(object) else picture(object)
}

law_map <- function(law) {
  if (is.null(law$from)) {
    abort_input("object", "the law of a deterministic sampler on a line", format(law))
  }
  # 4 standard deviations of a normal start
  seen <- law$weights > exp(-8) * max(law$weights)
  map <- data.frame(start = law$from[seen, 1], end = law$x[seen, 1])
  injective <- isTRUE(fold_rows(law)$folded$estimate < 1e-6)
  ggplot(map, aes(.data$start, .data$end)) +
    geom_line(colour = class_palette(1)) +
    finish("The map from noise to data", run_words(law, aim_words(law$class)),
           c(if (!injective) "It folds: several starts lead to one end", reduction_words(law),
             fault_words(law$faults)))
}

reduction_words <- function(law) {
  if (!is.null(law$rest)) "Coordinates of the reduction; the rest is Gaussian"
}

picture.mixguide_law <- function(object, ...) {
  aim <- aim_words(object$class)
  mixture <- inner_mixture(object)
  if (inherits(mixture, "score_model")) mixture <- NULL
  if (!is.null(mixture)) {
    colnames(mixture$means) <- colnames(object$x)
    mixture$class[mixture$class %in% object$class] <- aim
  }
  flat <- ncol(object$x) == 1
  layers <- if (flat) law_curve(object, mixture, aim) else law_surface(object, mixture, aim)
  ggplot() + layers + look() +
    words(paste("Law of", object$label),
          c(if (!is.null(object$guidance)) {
            paste0(run_words(object, aim)[1], ", towards ", aim)
          },
            if (!flat && !is.null(mixture)) region_words(mixture)),
          c(reduction_words(object),
            "By quadrature: there is no sampling error", fault_words(object$faults)))
}

law_curve <- function(law, mixture, aim) {
  density <- exp(law$log_density)
  # the visible part
  keep <- range(law$x[density > 1e-4 * max(density), 1])
  x <- sort(unique(law$x[law$x[, 1] >= keep[1] & law$x[, 1] <= keep[2], 1]))
  curves <- data.frame(x = x, density = exp(log_density_at(law, matrix(x))), role = "this law")
  if (!is.null(mixture) && !is_singular(mixture)) curves <- rbind(curves, aim_curves(mixture, aim))
  roles <- unique(curves$role)
  list(geom_line(aes(.data$x, .data$density, linetype = .data$role, colour = .data$role), curves),
       line_scales(c(class_palette(2)[2], ink, ink)[seq_along(roles)],
                   c("solid", "solid", "22")[seq_along(roles)], roles),
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
  fill <- if (is.null(law$axes)) {
    geom_point(aes(.data$x, .data$y, colour = .data$density), points, size = .6)
  } else geom_raster(aes(.data$x, .data$y, fill = .data$density), points)
  list(fill,
       scale_colour_gradientn(colours = c("#E8F1F8", "#56B4E9", "#0072B2", "#00304B"),
                              aesthetics = if (is.null(law$axes)) "colour" else "fill",
                              name = "density"),
       if (!is.null(mixture) && !is_singular(mixture)) role_lines(class_lines(mixture), aim),
       labs(x = labels[1], y = labels[2]), equal_axes(points))
}

#' Sliced Wasserstein distance between samples
#'
#' The Wasserstein distance of order `p` between two clouds of points, over many directions:
#' `(mean over directions u of W_p(u'X, u'Y)^p)^(1/p)`, or, with `maximum`, the largest of them
#' ("max-sliced"). In one dimension it is the Wasserstein distance itself.
#'
#' @details
#' In each direction the distance between the two empirical laws is exact, whatever their sizes and
#' weights: the integral over `q` from 0 to 1 of the `p`-th power of the difference of the two
#' quantile functions, which are steps. The directions are uniform on the sphere, and the same for
#' the same `key`, so that distances of several samples can be compared. A shift by `v` is at
#' distance `|v|/sqrt(d)` for `p = 2`. With `maximum` it is at the largest `|u'v|`, at most `|v|`.
#' This is the largest over the directions drawn, not a search over the sphere: it grows with their
#' number, and falls further short of the largest over all directions the higher d is.
#'
#' @section Two samples of one law are not at distance 0:
#' The distance of two independent samples of the same law is the *floor*: no sampler can get below
#' it at that size. It falls about as `n^(-1/2)`, more slowly for heavy tails. [judge_samples()]
#' reports it. The distance estimates its own mean at these sizes, which is above the floor.
#'
#' @section Standard errors: Points that are `draws` are cut into up to 20 parts, each of `x`
#' against one of `y`. The distances of parts of n/20 points vary `sqrt(20)` times as much as the
#' distance of all, whether the laws are the same or not. The error of the mean over directions is
#' added; a maximum, being that over the directions drawn, has none. Points that are not draws, or
#' fewer than 20, have the error of directions only. The column `covers` names the errors covered.
#'
#' @param x,y Points: matrices or data frames with the same columns, by name where both have names
#'   and otherwise by place, or vectors for d = 1.
#' @param directions Number of directions.
#' @param p Order, at least 1.
#' @param weights_x,weights_y `NULL`, or a weight >= 0 for each point.
#' @param key `NULL`, to draw a key from R's generator if d > 1, or two whole numbers that determine
#'   the directions.
#' @param draws Whether the points are independent draws, in an order without meaning.
#' @param maximum Whether to take the largest distance over the directions, not a mean of powers.
#' @return A table of estimates ([mixguide_table]) with one row and a further column `covers`, the
#'   sources of the standard error: `"draws, directions"`, `"draws"` (d = 1, or `maximum`),
#'   `"directions"` or `"nothing"` (d = 1, exact; a `maximum` of given points is a lower bound of
#'   that over all directions).
#' @source Rabin, Peyre, Delon and Bernot (2012), \doi{10.1007/978-3-642-24785-9_37} (recalled, not
#'   verified against the paper). The maximum over drawn directions: as in Python's package POT,
#'   `ot.sliced.max_sliced_wasserstein_distance()`.
#' @examples
#' m <- named_mixture("M2")
#' set.seed(1)
#' sliced_wasserstein(rgaussmix(1000, m), rgaussmix(1000, m))
#' sliced_wasserstein(rgaussmix(1000, m), rgaussmix(1000, diffuse(m, .5)))
#' sliced_wasserstein(rgaussmix(1000, m), rgaussmix(1000, diffuse(m, .5)), p = 1, maximum = TRUE)
#' @export
sliced_wasserstein <- function(x, y, directions = 500, p = 2, weights_x = NULL, weights_y = NULL,
                               key = NULL, draws = TRUE, maximum = FALSE) {
  x <- check_cloud(x, "x")
  y <- check_cloud(y, "y")
  if (ncol(x) != ncol(y)) {
    abort_input("y", paste("points with", count_of(ncol(x), "column"), "as `x` has"), describe(y))
  }
  if (!is.null(colnames(x)) && !is.null(colnames(y))) {
    check_columns(colnames(x), colnames(y), "y")
    y <- y[, colnames(x), drop = FALSE]
  }
  x <- unname(x)
  y <- unname(y)
  directions <- check_count(directions, "directions", min = 2)
  p <- check_number(p, "p", min = 1)
  wx <- check_point_weights(weights_x, nrow(x), "weights_x")
  wy <- check_point_weights(weights_y, nrow(y), "weights_y")
  key <- check_key(key)
  draws <- check_flag(draws, "draws")
  maximum <- check_flag(maximum, "maximum")
  row <- distance_to(y, directions, p, key, wy, maximum)(x, wx, draws)
  estimate_table("sliced_wasserstein", row,
                 paste(count_of(number(nrow(x)), "point"), "and", number(nrow(y)), "in",
                       count_of(ncol(x), "dimension")))
}

# The distance from any x to y: the projections of y are sorted once. `draws`: with their error.
distance_to <- function(y, directions, p, key, wy = NULL, maximum = FALSE) {
  u <- if (ncol(y) > 1) random_directions(ncol(y), directions, own_key(key)) else matrix(1)
  over <- if (maximum) max else mean
  of_y <- y %*% u
  sorted_y <- sorted_columns(of_y, wy)
  function(x, wx = NULL, draws = TRUE) {
    of_x <- x %*% u
    powers <- quantile_gaps(sorted_columns(of_x, wx), sorted_y, p)
    estimate <- over(powers)^(1 / p)
    by_direction <- ncol(u) > 1 && !maximum
    # the delta method
    se <- if (by_direction && estimate > 0) {
      stats::sd(powers) / sqrt(directions) * estimate^(1 - p) / p
    } else 0
    parts <- if (draws) min(20, nrow(x) %/% 10, nrow(y) %/% 10) else 0
    if (parts > 1) {
      # 50 directions show how a mean varies, but not how a maximum does
      some <- if (maximum) seq_len(ncol(u)) else seq_len(min(ncol(u), 50))
      of_parts <- part_distances(of_x[, some, drop = FALSE], of_y[, some, drop = FALSE], wx, wy,
                                 parts, p, over)
      se <- sqrt(se^2 + replicates_se(of_parts)^2)
    }
    covers <- c(if (parts > 1) "draws", if (by_direction) "directions")
    # for given points, the largest over some directions is a lower bound of that over all
    known <- if (ncol(u) > 1) "bound" else "exact"
    cbind(estimate_row(estimate, se, if (length(covers)) "Monte Carlo" else known),
          covers = if (length(covers)) toString(covers) else "nothing")
  }
}

# The distances of disjoint parts, whose spread gives the standard error over draws.
part_distances <- function(of_x, of_y, wx, wy, parts, p, over) {
  part_of <- function(of, w, i) {
    rows <- which(rep_len(seq_len(parts), nrow(of)) == i)
    w <- w[rows]
    # parts without weight have no law
    if (!is.null(w)) w <- if (sum(w) > 0) w / sum(w) else w + 1 / length(w)
    sorted_columns(of[rows, , drop = FALSE], w)
  }
  vapply(seq_len(parts), function(i) {
    over(quantile_gaps(part_of(of_x, wx, i), part_of(of_y, wy, i), p))^(1 / p)
  }, 0)
}

# Tables use another sliced distance than that of order 2 if it is asked for.
is_other_distance <- function(p, maximum) p != 2 || maximum

judged_by <- function(table) {
  if ("distance" %in% names(table)) c("distance", "distance_floor") else c("sw2", "floor")
}

distance_label <- function(p, maximum) paste0(if (maximum) "max-", "SW", format(p))

# Finite points, one at least.
check_cloud <- function(x, arg) {
  x <- plain_numbers(x)
  if (is.numeric(x) && is.null(dim(x))) x <- matrix(x)
  check_table(x, arg)
}

check_point_weights <- function(weights, n, arg) {
  if (is.null(weights)) return(NULL)
  if (length(weights) != n) {
    abort_input(arg, paste("NULL or", count_of(n, "number")), describe(weights))
  }
  check_weights(weights, arg)
}

# d x n, each column of length 1.
random_directions <- function(d, n, key) {
  u <- t(keyed_noise(d, n, stream(key, "directions")))
  u / rep(sqrt(colSums(u^2)), each = d)
}

# Each column sorted, and the level up to which each number is the quantile: one column of levels
# for all if the weights are equal.
sorted_columns <- function(x, w) {
  n <- nrow(x)
  if (is.null(w)) {
    for (j in seq_len(ncol(x))) x[, j] <- sort.int(x[, j], method = "quick")
    return(list(x = x, level = NULL))
  }
  level <- 0 * x
  for (j in seq_len(ncol(x))) {
    order <- order(x[, j])
    x[, j] <- x[order, j]
    level[, j] <- cumsum(w[order])
  }
  level[n, ] <- 1
  list(x = x, level = level)
}

# The integral of |quantile of one - quantile of the other|^p, column by column.
quantile_gaps <- function(a, b, p) {
  n <- nrow(a$x)
  m <- nrow(b$x)
  power <- function(gap) if (p == 2) gap^2 else abs(gap)^p
  if (is.null(a$level) && is.null(b$level)) {
    if (n == m) return(colMeans(power(a$x - b$x)))
    step <- common_steps(seq_len(n) / n, seq_len(m) / m)
    return(colSums(step$width * power(a$x[step$a, , drop = FALSE] - b$x[step$b, , drop = FALSE])))
  }
  level <- function(part, j, n) if (is.null(part$level)) seq_len(n) / n else part$level[, j]
  vapply(seq_len(ncol(a$x)), function(j) {
    step <- common_steps(level(a, j, n), level(b, j, m))
    sum(step$width * power(a$x[step$a, j] - b$x[step$b, j]))
  }, 0)
}

# The intervals of levels on which two quantile functions are constant, and the numbers' indices.
common_steps <- function(a, b) {
  q <- sort(unique(c(a, b)))
  middle <- (c(0, q[-length(q)]) + q) / 2
  list(width = diff(c(0, q)), a = findInterval(middle, a) + 1, b = findInterval(middle, b) + 1)
}

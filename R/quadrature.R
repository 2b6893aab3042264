# Nodes and weights in one dimension and in several, and checks of their resolution.

# E f(X) for X from each of some laws: quadrature in one or two dimensions, Monte Carlo beyond, from
# the same numbers. Its `f_of` returns the function of an n x d matrix in coordinates relative to a
# place. In one or two dimensions it may vary as fast as the components of `cut_at`.
expectations <- function(laws, f_of, n, cut_at, key = NULL) {
  d <- mixture_dim(cut_at)
  if (d == 1) return(Map(line_expectation, laws, f_of, list(cut_at)))
  n <- check_count(n, "n", 2)
  f <- lapply(f_of, function(f_of) f_of(0))
  rows <- if (d > 2) vector("list", length(f)) else Map(plane_expectation, laws, f, list(cut_at))
  drawn <- vapply(rows, is.null, NA)
  if (any(drawn)) rows[drawn] <- means_of_draws(laws[drawn], n, f[drawn], own_key(key))
  rows
}

line_expectation <- function(mixture, f_of, cut_at) {
  parts <- vapply(panel_nodes(cut_at), function(piece) {
    mixture <- moved(mixture, piece$from)
    sum(piece$weight * f_of(piece$from)(piece$x) * dgaussmix(piece$x, mixture))
  }, 0)
  estimate_row(sum(parts), 0, "quadrature")
}

# E f(X) for X from a mixture in the plane, if f varies as fast as the components of `cut_at`. NULL
# if this needs too many nodes.
plane_expectation <- function(mixture, f, cut_at = mixture) {
  value <- settled_sums(cut_at, function(nodes) {
    sum(nodes$weight * f(nodes$x) * dgaussmix(nodes$x, mixture))
  }, 1e-7, min(1e6, max(1e5, 1e8 / mixture_size(cut_at))))
  if (!is.null(value)) estimate_row(value, 0, "quadrature")
}

# The mixture in coordinates relative to `from`.
moved <- function(mixture, from) {
  mixture$means <- mixture$means - rep(from, each = mixture_size(mixture))
  mixture
}

# Integrals over the line of functions that vary as fast as the components: for each interval with
# components, nodes (n x 1), relative to the place `from`, and weights. There is no mass between the
# intervals; and a node far from 0 would be rounded by more than a component's width.
panel_nodes <- function(mixture) {
  used <- mixture$weights > 0
  mean <- mixture$means[used, 1]
  sd <- sqrt(rep_len(mixture$values, mixture_size(mixture))[used])
  reach <- 12
  low <- mean - reach * sd
  by_low <- order(low)
  gap <- low[by_low][-1] > cummax((mean + reach * sd)[by_low])[-length(low)]
  piece <- integer(length(low))
  piece[by_low] <- cumsum(c(TRUE, gap))
  lapply(split(seq_along(low), piece), function(k) {
    narrow <- k[which.min(sd[k])]
    from <- mean[narrow]
    # panels are no wider than the sd of any component there; thinned, so that the many components
    # of a kernel density share them
    cuts <- sort(as.vector(outer(sd[k], -reach:reach) + (mean[k] - from)))
    cuts <- cuts[!duplicated(floor(cuts / (sd[narrow] / 2)))]
    c(list(from = from), panel_rule(cuts, 16))
  })
}

# Between the cuts, Gauss and Legendre's rule.
panel_rule <- function(cuts, order = 8) {
  rule <- gauss_legendre(order)
  half <- diff(cuts) / 2
  list(x = matrix(outer(rule$node, half) + rep(cuts[-1] - half, each = order)),
       weight = as.vector(outer(rule$weight, half)))
}

# Nodes, and weights that sum to 1, of a symmetric density whose orthogonal polynomials have these
# coefficients of recurrence (Golub and Welsch 1969).
golub_welsch <- function(off) {
  k <- seq_along(off)
  jacobi <- matrix(0, length(off) + 1, length(off) + 1)
  jacobi[cbind(k, k + 1)] <- jacobi[cbind(k + 1, k)] <- off
  e <- eigen(jacobi, symmetric = TRUE)
  list(node = e$values, weight = e$vectors[1, ]^2)
}

# Nodes and weights on [-1, 1].
gauss_legendre <- function(n) {
  k <- seq_len(n - 1)
  rule <- golub_welsch(k / sqrt(4 * k^2 - 1))
  list(node = rule$node, weight = 2 * rule$weight)
}

# The tensor rule for N(0, I) in d dimensions, without weights lost in rounding: more than half of
# the nodes in the plane, and most of those in space.
hermite_nodes <- function(nodes, d) {
  rule <- golub_welsch(sqrt(seq_len(nodes - 1)))
  x <- unname(as.matrix(expand.grid(rep(list(rule$node), d))))
  weight <- Reduce(function(w, i) as.vector(outer(w, rule$weight)), seq_len(d), 1)
  keep <- weight > 1e-16
  list(x = x[keep, , drop = FALSE], weight = weight[keep] / sum(weight[keep]))
}

# A rule for a mixture of Gaussians with these weights: standard normal nodes `z` to be moved to
# `component`; exact to degree 3 if only quadratics are needed. NULL if there is none.
quadrature_points <- function(weights, d, quadratic, nodes) {
  if (!quadratic && d > 3) return(NULL)
  rule <- if (quadratic) {
    list(x = rbind(diag(sqrt(d), d), diag(-sqrt(d), d)), weight = rep(1 / (2 * d), 2 * d))
  } else hermite_nodes(nodes, d)
  m <- length(rule$weight)
  K <- length(weights)
  weight <- rule$weight * rep(weights, each = m)
  method <- if (quadratic) "exact" else "quadrature"
  list(component = rep(seq_len(K), each = m), z = rule$x[rep(seq_len(m), K), , drop = FALSE],
       weight = weight, method = method,
       mean = function(f) estimate_row(sum(weight * f), 0, method))
}

# The equispaced grid of a box in the plane that holds all components to 8.5 standard deviations
# (1e-16 of each), with its weights; NULL if that is too many nodes. The steps along an axis are
# `step` times the least standard deviation of any component given the other coordinate.
box_nodes <- function(mixture, step, most = 1e6) {
  V <- if (is.null(mixture$vectors)) diag(2) else mixture$vectors
  # one for all components, or one for each
  square <- array(V^2, c(2, 2, length(V) / 4))
  used <- which(mixture$weights > 0)
  along <- function(values) {
    matrix(vapply(used, function(k) {
      square[, , min(k, dim(square)[3])] %*% values[, min(k, ncol(values))]
    }, c(0, 0)), 2)
  }
  reach <- 8.5 * sqrt(along(mixture$values))
  means <- t(mixture$means[used, , drop = FALSE])
  low <- apply(means - reach, 1, min)
  high <- apply(means + reach, 1, max)
  size <- step * apply(1 / sqrt(along(1 / mixture$values)), 1, min)
  if (prod((high - low) / size) > most) return(NULL)
  x <- unname(as.matrix(expand.grid(seq(low[1], high[1], by = size[1]),
                                    seq(low[2], high[2], by = size[2]))))
  list(x = x, weight = rep(prod(size), nrow(x)))
}

# Sums over box_nodes(), a function of these, at ever shorter steps, until they change by `tol` at
# most (relative, or absolute below 1). NULL if this needs too many nodes or gives no number. The
# error at a step over the root of 2 is that at this step to the power of the root of 2.
settled_sums <- function(mixture, sums, tol, most = 1e6) {
  step <- .7
  value <- Inf
  repeat {
    nodes <- box_nodes(mixture, step, most)
    if (is.null(nodes)) return(NULL)
    before <- value
    value <- sums(nodes)
    if (!all(is.finite(value))) return(NULL)
    if (all(abs(value - before) <= tol * pmax(abs(value), 1))) return(value)
    step <- step / sqrt(2)
  }
}

# The same law in other axes, with a small box around it: the axes of a common covariance, in which
# it is diagonal, or those of the law's covariance.
along_axes <- function(mixture) {
  form <- mixture$form
  if (grepl("diagonal", form) || mixture_dim(mixture) == 1) return(mixture)
  axes <- if (form == "common full") mixture$vectors else {
    spectrum(unname(moments(mixture)$cov), mixture_dim(mixture), "mixture")$vectors
  }
  mixture$means <- mixture$means %*% axes
  if (form == "full") {
    mixture$vectors[] <- apply(mixture$vectors, 3, function(V) crossprod(axes, V))
  } else {
    mixture$form <- sub("full", "diagonal", form)
    mixture["vectors"] <- list(NULL)
  }
  mixture
}

# Nodes and weights for integrals of functions like the mixture's density; NULL if draws are better.
quadrature_nodes <- function(mixture) {
  used <- keep_components(mixture, mixture$weights > 0)
  switch(min(mixture_dim(used), 3), line_nodes(used), box_nodes(used, .4), NULL)
}

# Those of panel_nodes(), as places on the line; NULL if rounding would move them too much.
line_nodes <- function(mixture) {
  pieces <- panel_nodes(mixture)
  x <- unlist(lapply(pieces, function(piece) piece$x + piece$from))
  if (max(abs(x)) * .Machine$double.eps > 1e-7 * sqrt(min(mixture$values))) return(NULL)
  list(x = matrix(x), weight = unlist(lapply(pieces, `[[`, "weight")))
}

# Weights of the times of a grid for the integral over it: in each interval the integral of the
# polynomial through the `order` nearest times.
grid_quadrature <- function(times, order) {
  N <- length(times) - 1
  order <- min(order, N + 1)
  weight <- 0 * times
  for (k in seq_len(N)) {
    near <- min(max(k - order / 2 + 1, 1), N + 2 - order)
    near <- seq(floor(near), length.out = order)
    h <- times[k] - times[k + 1]
    s <- (times[k] - times[near]) / h
    power <- seq_len(order) - 1
    weight[near] <- weight[near] + h * solve(t(outer(s, power, "^")), 1 / (power + 1))
  }
  weight
}

# The share of the start in intervals between quadrature nodes whose ends move further apart than
# the width of the narrowest component: the nodes do not resolve these.
unresolved <- function(x, w, width) {
  if (is.null(w)) return(0)
  torn <- which(abs(diff(x[, 1])) > width)
  sum(pmax(w[-1], w[-length(w)])[torn])
}

# The change of means over nodes on a line if every other node is left out. It is 0, up to rounding,
# for functions that are smooth between nodes, such as maps that do not tear neighbours apart.
node_error <- function(values, weights) {
  values <- as.matrix(values)
  mean_of <- function(rows) {
    w <- weights[rows] / sum(weights[rows])
    there <- w > 0
    colSums(w[there] * values[rows[there], , drop = FALSE])
  }
  all <- mean_of(seq_along(weights))
  change <- abs(mean_of(seq(1, length(weights), by = 2)) - all)
  ifelse(is.na(change) | change > 1e-9 * pmax(1, abs(all)), change, 0)
}

# The standard deviation of the narrowest component at the end of a run.
narrowest <- function(mixture, times, schedule) {
  sqrt(min(used_values(diffuse(mixture, times[length(times)], schedule))))
}

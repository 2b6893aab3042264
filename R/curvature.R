# Finds where the Hessian H of the log-density is largest: evaluates many points, and climbs from
# the best of them.

# The smallest and the largest eigenvalue of H at points, n x 2.
curvature_range <- function(mixture, x) {
  eigen_range(core_eval(mixture, x, 1, 0, rbind(log_weights(mixture)), 1, "jacobian"))
}

# The same for symmetric matrices: one, or n x d x d.
eigen_range <- function(H) {
  if (length(dim(H)) == 2) H <- array(H, c(1, dim(H)))
  d <- dim(H)[2]
  if (d == 1) return(cbind(H[, 1, 1], H[, 1, 1]))
  if (d == 2) {
    middle <- (H[, 1, 1] + H[, 2, 2]) / 2
    half <- sqrt((H[, 1, 1] - H[, 2, 2])^2 / 4 + H[, 1, 2]^2)
    return(cbind(middle - half, middle + half))
  }
  t(apply(H, 1, function(h) range(eigen(h, TRUE, TRUE)$values)))
}

# One dimension: on an interval, or everywhere. H has features around components, and where two of
# them tie. Far out it tends to -1/variance of the widest component.
scan_range <- function(mixture, interval = c(-Inf, Inf)) {
  x <- scan_points(mixture)
  x <- x[x > interval[1] & x < interval[2]]
  ends <- interval[is.finite(interval)]
  if (length(ends)) x <- c(x, seq(ends[1], ends[2], length.out = 501))
  x <- sort(unique(x))
  H <- function(x) curvature_range(mixture, matrix(x))[, 1]
  found <- H(x)
  most <- function(sign) {
    peaks <- order(sign * found, decreasing = TRUE)[1]
    # and the best point of each other hill
    hills <- which(diff(sign(diff(sign * found))) < 0) + 1
    hills <- hills[order(sign * found[hills], decreasing = TRUE)]
    peaks <- unique(c(peaks, utils::head(hills, 3)))
    max(sign * found, vapply(peaks, function(i) {
      near <- x[c(max(i - 1, 1), min(i + 1, length(x)))]
      stats::optimize(function(x) sign * H(x), near, maximum = TRUE,
                      tol = 1e-6 * diff(near))$objective
    }, 0))
  }
  c(-most(-1), most(1), if (!length(ends)) -1 / max(mixture$values))
}

scan_points <- function(mixture) {
  K <- mixture_size(mixture)
  v <- rep_len(mixture$values[1, ], K)
  local <- mixture$means[, 1] + outer(sqrt(v), seq(-12, 12, by = if (K > 50) .2 else .05))
  if (K > 200) return(as.vector(local))
  middle <- sum(mixture$weights * mixture$means[, 1])
  m <- mixture$means[, 1] - middle
  # l_i - l_j = A x^2/2 + B x + C
  pairs <- utils::combn(K, 2)
  i <- pairs[1, ]
  j <- pairs[2, ]
  level <- log(mixture$weights) - log(v) / 2 - m^2 / (2 * v)
  A <- 1 / v[j] - 1 / v[i]
  B <- m[i] / v[i] - m[j] / v[j]
  C <- level[i] - level[j]
  square <- B^2 - 2 * A * C
  q <- -(B + ifelse(B < 0, -1, 1) * sqrt(replace(square, square < 0, NA)))
  roots <- data.frame(x = c(q / A, 2 * C / q), slope = 0, i = i)
  roots$slope <- abs(A * roots$x + B)
  # doubles do not resolve which component is on top in a tie further out
  roots <- roots[which(abs(roots$x) < 1e7 * max(sqrt(v), abs(m)) & roots$slope > 0), ]
  if (!nrow(roots)) return(as.vector(local))
  # keep ties near the top of all components
  l <- vapply(seq_len(K), function(k) {
    level[k] + roots$x * m[k] / v[k] - roots$x^2 / (2 * v[k])
  }, roots$x)
  l <- matrix(l, ncol = K)
  on_top <- l[cbind(seq_len(nrow(roots)), roots$i)] >= apply(l, 1, max) - 60
  roots <- roots[on_top, ]
  # of very many ties keep the steepest, where H may be largest, and the outermost
  if (nrow(roots) > 600) {
    roots <- roots[unique(c(order(-roots$slope)[1:300], order(-abs(roots$x))[1:300])), ]
  }
  ties <- roots$x + outer(1 / roots$slope, seq(-40, 40, by = .5))
  c(local, middle + ties)
}

# More dimensions, one covariance: the largest eigenvalue. Pairs of components tie on a plane; the
# others vanish far out on it, if the pair is an edge of the hull of the P mu.
common_top <- function(mixture) {
  g <- component_slopes(mixture, 0 * mixture$means[1, ])
  # of very many pairs keep the outer ones
  outer_ones <- order(rowSums((g - rep(colMeans(g), each = nrow(g)))^2), decreasing = TRUE)
  pairs <- utils::combn(utils::head(outer_ones, 40), 2)
  apart <- sqrt(rowSums((g[pairs[1, ], , drop = FALSE] - g[pairs[2, ], , drop = FALSE])^2))
  pairs <- pairs[, order(apart, decreasing = TRUE)[seq_len(min(length(apart), 100))], drop = FALSE]
  starts <- each_pair(pairs, function(i, j) {
    D <- mixture$means[i, ] - mixture$means[j, ]
    along <- g[i, ] - g[j, ]
    # the tie of the two on the line through their means
    tie <- (mixture$means[i, ] + mixture$means[j, ]) / 2 -
      log(mixture$weights[i] / mixture$weights[j]) / sum(D * along) * D
    # the lead over the others on the plane of the tie
    behind <- rep(g[i, ], each = nrow(g) - 2) - g[-c(i, j), , drop = FALSE]
    behind <- behind - outer(drop(behind %*% along) / sum(along^2), along)
    away <- nearest_in_hull(behind)
    lead <- sqrt(sum(away^2))
    if (!is.finite(lead) || lead < 1e-9 * max(apart)) return(t(tie))
    # distances at which the others are down by these exponents
    t(tie + outer(away / lead, c(0, 1, 5, 20, 100, 1000) / lead))
  })
  starts <- rbind(starts, points_around(mixture))
  starts_range(mixture, starts[is.finite(rowSums(starts)), , drop = FALSE])[2]
}

# The rows that a function returns for each pair, in one matrix.
each_pair <- function(pairs, f) do.call(rbind, Map(f, pairs[1, ], pairs[2, ]))

# The point of the convex hull of the rows of q nearest to 0 (Gilbert's algorithm). In its direction
# the smallest projection of the rows is largest.
nearest_in_hull <- function(q) {
  v <- q[which.min(rowSums(q^2)), ]
  for (i in 1:200) {
    gap <- v - q[which.min(q %*% v), ]
    if (!(sum(v * gap) > 1e-8 * sum(v^2))) break
    v <- v - min(1, sum(v * gap) / sum(gap^2)) * gap
  }
  v
}

# More dimensions, a ball.
local_range <- function(mixture, center, radius) {
  d <- length(center)
  if (d == 1) return(scan_range(mixture, center + c(-radius, radius)))
  project <- function(x) into_ball(x, center, radius)
  points <- ball_points(center, radius)
  starts_range(mixture, rbind(points, border_ties(mixture, points, center, radius),
                              project(pair_points(mixture))), project)
}

# Points of the border of a ball where two components tie, found by bisection between neighbours (of
# the first half of `points`) at which different ones are on top: ridges of H may be thin there.
border_ties <- function(mixture, points, center, radius) {
  z <- points[seq_len(nrow(points) / 2), ] - rep(center, each = nrow(points) / 2)
  each <- function(z) component_logs(mixture, z + rep(center, each = nrow(z)))
  top <- max.col(each(z), "first")
  change <- utils::head(which(diff(top) != 0), 300)
  if (!length(change)) return(NULL)
  low <- z[change, , drop = FALSE]
  high <- z[change + 1, , drop = FALSE]
  rows <- seq_along(change)
  for (i in 1:40) {
    middle <- (low + high) / 2
    middle <- middle * radius / sqrt(rowSums(middle^2))
    l <- each(middle)
    below <- l[cbind(rows, top[change])] > l[cbind(rows, top[change + 1])]
    low[below, ] <- middle[below, ]
    high[!below, ] <- middle[!below, ]
  }
  low + rep(center, each = length(change))
}

# More dimensions, everywhere, if that is bounded.
spread_range <- function(mixture) {
  starts_range(mixture, rbind(points_around(mixture), pair_points(mixture), tie_points(mixture)))
}

# Points of the surfaces where two components tie above all others, at any distance. H grows along
# a surface, until it closes or a third component takes over. The pairs with the most similar
# precisions tie furthest out.
tie_points <- function(mixture, most = 100) {
  K <- mixture_size(mixture)
  P <- precisions(mixture)
  P <- P[if (length(P) == 1) rep(1, K) else seq_len(K)]
  pairs <- utils::combn(K, 2)
  if (ncol(pairs) > most) {
    apart <- apply(pairs, 2, function(p) sum((P[[p[1]]] - P[[p[2]]])^2))
    pairs <- pairs[, order(apart)[seq_len(most)], drop = FALSE]
  }
  level <- log(mixture$weights) - colSums(log(matrix(mixture$values, ncol(mixture$means), K))) / 2
  # l_k at points
  logits <- function(x) {
    matrix(vapply(seq_len(K), function(k) {
      z <- x - rep(mixture$means[k, ], each = nrow(x))
      level[k] - rowSums((z %*% P[[k]]) * z) / 2
    }, double(nrow(x))), nrow(x))
  }
  slopes <- function(x, k) -(x - rep(mixture$means[k, ], each = nrow(x))) %*% P[[k]]
  points <- each_pair(pairs, function(i, j) {
    tie <- list(A = P[[i]] - P[[j]], b = P[[i]] %*% mixture$means[i, ] -
                  P[[j]] %*% mixture$means[j, ],
                c = diff(logits(0 * mixture$means[1, , drop = FALSE])[c(j, i)]))
    # the lead of the two over all others (negative: behind)
    lead <- function(x) {
      if (K == 2) return(rep(Inf, nrow(x)))
      l <- logits(x)
      pmin(l[, i], l[, j]) - apply(l[, -c(i, j), drop = FALSE], 1, max)
    }
    height <- function(x) rowSums((slopes(x, i) - slopes(x, j))^2)
    arcs <- tie_arcs(tie, sqrt(max(mixture$values)))
    do.call(rbind, lapply(arcs, arc_points, lead, height))
  })
  points[is.finite(rowSums(points)), , drop = FALSE]
}

# The surface c + b'x - x'A x/2 = 0 in pieces, each a function of a parameter with its values:
# curves in the plane, points with more dimensions.
tie_arcs <- function(tie, scale) {
  d <- nrow(tie$A)
  e <- eigen(tie$A, TRUE)
  curved <- abs(e$values) > 1e-12 * max(abs(e$values), .Machine$double.xmin)
  if (max(abs(e$values)) == 0) curved[] <- FALSE
  lambda <- e$values[curved]
  b <- drop(crossprod(e$vectors, tie$b))
  middle <- replace(double(d), curved, b[curved] / lambda)
  # sum(lambda w^2) = 2 c + 2 b'y of the flat directions, w from the middle
  c <- tie$c + sum(b[curved]^2 / lambda) / 2
  slope <- replace(b, curved, 0)
  flat <- sqrt(sum(slope^2)) > 1e-10 * max(abs(b), .Machine$double.xmin)
  put <- function(y) tcrossprod(y + rep(middle, each = nrow(y)), e$vectors)
  # far out by powers of e
  far <- seq(-16, 16, by = .05)
  free <- if (d == 2) NULL else {
    z <- stats::qnorm(even_points(some_points(d), d + 1))
    list(z = z[, -1, drop = FALSE], size = scale * exp(4 * z[, 1]))
  }
  if (flat || !any(curved)) {
    if (!flat) return(list())
    # solved for y along b, all other coordinates are free
    along <- slope / sum(slope^2)
    arc <- function(y) {
      y <- y - outer(drop(y %*% slope) / sum(slope^2), slope)
      put(y + outer(drop(y[, curved, drop = FALSE]^2 %*% lambda) / 2 - c, along))
    }
    if (d > 2) return(list(list(x = arc(free$z * free$size))))
    across <- if (any(curved)) as.double(curved) else c(-slope[2], slope[1]) / sqrt(sum(slope^2))
    return(list(list(at = far, point = function(s) arc(outer(scale * sinh(s), across)))))
  }
  up <- if (c > 0) lambda > 0 else lambda < 0
  if (!any(up) || c == 0) return(list())
  size <- sqrt(2 * abs(c) / abs(lambda))
  if (d > 2) {
    z <- free$z[, curved, drop = FALSE]
    length_of <- function(on) sqrt(rowSums(z[, on, drop = FALSE]^2))
    reach <- if (all(up)) rep(0, nrow(z)) else asinh(free$size / scale)
    z[, up] <- z[, up] * cosh(reach) / length_of(up)
    if (!all(up)) z[, !up] <- z[, !up] * sinh(reach) / length_of(!up)
    y <- free$z * free$size
    y[, curved] <- z * rep(size, each = nrow(z))
    return(list(list(x = put(y))))
  }
  on <- which(curved)
  branch <- function(at, first, second) {
    list(at = at, point = function(s) {
      y <- matrix(0, length(s), 2)
      y[, on] <- cbind(first(s), second(s))[, seq_along(on)] * rep(size, each = length(s))
      if (length(on) == 1) y[, -on] <- scale * sinh(s)
      put(y)
    })
  }
  if (length(on) == 1) {
    return(list(branch(far, function(s) 1 + 0 * s, identity),
                branch(far, function(s) -1 + 0 * s, identity)))
  }
  if (all(up)) return(list(branch(seq(0, 2 * pi, length.out = 721), cos, sin)))
  lapply(c(-1, 1), function(sign) {
    bow <- function(s) sign * cosh(s)
    if (up[1]) branch(far, bow, sinh) else branch(far, sinh, bow)
  })
}

# Points of an arc where two components tie: those at which they are on top, the highest more
# exactly, and points around places where a third component takes over.
arc_points <- function(arc, lead, height) {
  x <- if (is.null(arc$at)) arc$x else arc$point(arc$at)
  top <- lead(x)
  seen <- which(top > -40)
  if (is.null(arc$at)) return(x[seen, , drop = FALSE])
  above <- top > 0
  above[is.na(above)] <- FALSE
  ends <- utils::head(which(diff(above) != 0), 20)
  crossing <- bisection(function(s) {
    ifelse((lead(arc$point(s)) > 0) == above[ends], -1, 1)
  }, arc$at[ends], arc$at[ends + 1])
  points <- x[seen, , drop = FALSE]
  if (length(ends)) {
    crossings <- arc$point(crossing)
    along <- x[ends + 1, , drop = FALSE] - x[ends, , drop = FALSE]
    along <- along / sqrt(rowSums(along^2) * pmax(height(crossings), .Machine$double.xmin))
    points <- rbind(points, do.call(rbind, lapply(c(0, 2^(-1:7), -2^(-1:7)), function(s) {
      crossings + s * along
    })))
  }
  h <- ifelse(above, height(x), -Inf)
  hills <- which(diff(sign(diff(c(-Inf, h, -Inf)))) < 0 & is.finite(h))
  hills <- utils::head(hills[order(h[hills], decreasing = TRUE)], 3)
  finer <- vapply(hills, function(k) {
    ends <- arc$at[pmin(pmax(k + c(-1, 1), 1), length(h))]
    stats::optimize(function(s) height(arc$point(s)), ends, maximum = TRUE, tol = 1e-10)$maximum
  }, 0)
  if (length(finer)) points <- rbind(points, arc$point(finer))
  points
}

# Points around the components, up to some 30 standard deviations.
points_around <- function(mixture) {
  d <- mixture_dim(mixture)
  z <- stats::qnorm(even_points(some_points(d), d))
  component <- rep_len(seq_len(mixture_size(mixture)), nrow(z))
  do.call(rbind, lapply(c(1, 3, 10), function(reach) place_draws(mixture, component, reach * z)))
}

starts_range <- function(mixture, x, project = identity) {
  scale <- sqrt(min(mixture$values))
  found <- curvature_range(mixture, project(x))
  side <- function(sign, column) {
    climb(function(x) sign * curvature_range(mixture, project(x))[, column], x, scale,
          sign * found[, column])
  }
  c(-side(-1, 1), side(1, 2))
}

# The largest value of f (of points n x d) that quasi-Newton steps find from the best of `x`.
climb <- function(f, x, scale, value = f(x)) {
  d <- ncol(x)
  starts <- if (d > 20) 1 else 3
  best <- max(value)
  step <- diag(1e-4 * scale, d)
  slope <- function(p) {
    ahead <- f(rep(p, each = 2 * d) + rbind(step, -step))
    (ahead[seq_len(d)] - ahead[-seq_len(d)]) / (2e-4 * scale)
  }
  for (i in seq_len(starts)) {
    if (!length(value)) break
    top <- x[which.max(value), ]
    end <- stats::optim(top, function(p) f(t(p)), slope, method = "BFGS",
                        control = list(fnscale = -1, maxit = if (d > 20) 30 else 200,
                                       reltol = 1e-13))
    best <- max(best, end$value)
    # the next start, from another hill
    apart <- rowSums((x - rep(top, each = nrow(x)))^2) > (2 * scale)^2
    x <- x[apart, , drop = FALSE]
    value <- value[apart]
  }
  best
}

# Points of a ball, as many again on its border, and their way in.
ball_points <- function(center, radius) {
  d <- length(center)
  n <- some_points(d)
  cube <- even_points(n, d + 1)
  z <- stats::qnorm(cube[, seq_len(d), drop = FALSE])
  z <- z / sqrt(rowSums(z^2))
  if (d == 2) {
    angle <- 2 * pi * seq_len(n) / n
    edge <- cbind(cos(angle), sin(angle))
  } else edge <- z
  rep(center, each = 2 * n) + radius * rbind(edge, cube[, d + 1]^(1 / d) * z)
}

into_ball <- function(x, center, radius) {
  z <- x - rep(center, each = nrow(x))
  far <- sqrt(rowSums(z^2)) / radius
  rep(center, each = nrow(x)) + z / pmax(far, 1)
}

# The number of points whose matrices H fit in memory.
some_points <- function(d) max(200, min(2000, floor(2e5 / d^2)))

# For each two components (the first 200 pairs): points between their means, and points near the
# surface where they tie, along the line through the means and along the directions in which their
# precisions differ.
pair_points <- function(mixture) {
  P <- precisions(mixture)
  level <- log(mixture$weights) - colSums(log(mixture$values)) / 2
  pairs <- utils::combn(mixture_size(mixture), 2)
  each_pair(pairs[, seq_len(min(ncol(pairs), 200)), drop = FALSE], function(i, j) {
    from <- mixture$means[i, ]
    D <- mixture$means[j, ] - from
    second <- P[[min(j, length(P))]]
    A <- second - P[[min(i, length(P))]]
    lines <- eigen(A, TRUE)$vectors
    if (any(D != 0)) lines <- cbind(D / sqrt(sum(D^2)), lines)
    # l_i - l_j = a s^2/2 - b s + gap at from + s u
    gap <- level[i] - level[j] + sum(D * (second %*% D)) / 2
    ties <- lapply(seq_len(ncol(lines)), function(line) {
      u <- lines[, line]
      a <- sum(u * (A %*% u))
      b <- sum(u * (second %*% D))
      q <- b + (if (b < 0) -1 else 1) * sqrt(max(b^2 - 2 * a * gap, 0))
      s <- c(q / a, 2 * gap / q)
      s <- c(s + outer(1 / abs(a * s - b), c(-20, -5, 0, 5, 20)))
      s <- s[is.finite(s)]
      from + outer(u, s)
    })
    t(cbind(from + outer(D, seq(0, 1, by = .125)), do.call(cbind, ties)))
  })
}

# n points that fill the unit cube evenly: multiples of the powers of the root of
# x^(d + 1) = x + 1 (Roberts's sequence).
even_points <- function(n, d) {
  root <- 2
  for (i in 1:40) root <- (1 + root)^(1 / (d + 1))
  (outer(seq_len(n), root^-seq_len(d)) + .5) %% 1
}

# The logarithm of the least density found in a ball.
log_density_floor <- function(mixture, center, radius) {
  f <- function(x) -dgaussmix(into_ball(x, center, radius), mixture, log = TRUE)
  -climb(f, ball_points(center, radius), sqrt(min(mixture$values)))
}

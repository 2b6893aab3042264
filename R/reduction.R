# Exact reductions: a run whose components differ in a subspace W only takes place in W. Let W hold
# the differences of the means, be invariant under every covariance, and hold all differences of
# covariances. Across W the scores of all models are those of one Gaussian, linear and independent
# of the part in W. So is the guided score, because the coefficients of the models sum to 1, or to
# the scale of a wrong score. (Those of the guidance term sum to 0, and it vanishes across W.) The
# part of a particle across W therefore moves by one affine map per eigenvalue (affine_map()).
#
# A rule of guidance multiplies scores by numbers that differ from particle to particle, and its
# inner products need all of a vector. But without noise the part of a particle across W, in each
# eigenspace, then stays a multiple of what it was at the start, if W holds the means themselves.
# Turned onto one axis it is one coordinate more, its length, and the run in these coordinates is
# the whole run: nothing in it depends on the basis.

# The smallest W: in each eigenspace of the first covariance, the span of the projections of the
# mean differences and of the columns of the other covariances minus the first. NULL if that is all
# there is; else, in the basis of the first one's eigenvectors,
#   basis: these, or NULL for the identity;  within: d x r, orthonormal columns that span W;
#   mixture: the components in these r coordinates;  mean: of one of them, in all d;
#   values: the distinct eigenvalues;  group: which of them each of the d coordinates has;
#   rest: the dimensions of each eigenspace that are not in W;  how: W in words.
# With `by_length`, W holds the means, and each eigenspace that is not in W has a last coordinate of
# `mixture`, for the length across W;  across: which of them belongs to each of the d coordinates,
# counted from 0, or -1.
# The neglected parts move a particle by `tol` of the largest scale at most, and by 1000 times that
# of its own. If nothing reduces, the search costs three products of d x d matrices, and an SVD if
# an eigenvalue repeats.
reduced_space <- function(mixture, by_length = FALSE, tol = 1e-13) {
  d <- mixture_dim(mixture)
  if (d == 1) return(NULL)
  parts <- in_eigenbasis(mixture)
  values <- parts$values
  first <- values[, 1]
  # the change of a variance that moves its square root by no more than that
  slack <- function(x, y) 2 * tol * sqrt(pmin(max(values), 1e6 * pmax(x, y)) * pmax(x, y))
  group <- same_values(first, slack)
  # each coordinate whose variances differ is in W
  own <- rep(FALSE, d)
  if (mixture$form != "full") own <- rowSums(abs(values - first) > slack(values, first)) > 0
  group[own] <- -which(own)
  group <- match(group, unique(group))

  rows <- unname(split(seq_len(d), group))
  several <- lengths(rows) > 1
  spans <- lapply(rows, function(i) matrix(0, length(i), 0))
  grow <- function(x) {
    alone <- unlist(rows[!several])
    spans[!several][rowSums(x[alone, , drop = FALSE]^2) > tol^2] <<- list(diag(1))
    spans[several] <<- Map(function(i, U) span(x[i, , drop = FALSE], tol, U), rows[several],
                           spans[several])
  }
  dims <- function() vapply(spans, ncol, 0L)
  # in standard deviations, and for each component relative to the largest of its own
  sd <- sqrt(pmax(first, min(c(first[first > 0], 1))))
  differ <- cbind(parts$differ, if (by_length) parts$means[, 1])
  differ <- differ / if (any(first > 0)) sd else max(abs(differ), .Machine$double.xmin)
  most <- if (ncol(differ)) apply(abs(differ), 2, max) else double()
  grow(cbind(differ / rep(pmax(most, 1), each = d), own))
  # the covariances that equal the first one
  same <- seq_len(ncol(values)) == 1
  if (mixture$form == "full") {
    unit <- pmax(outer(first, first, slack) / tol, tol^2 * max(values))
    for (k in which(!same)) {
      if (sum(dims()) == d) break
      excess <- (tcrossprod(parts$root(k)) - diag(first)) / unit
      same[k] <- max(abs(excess)) <= tol
      grow(excess)
    }
  }
  if (sum(dims()) == d) return(NULL)
  alike <- sum(dims()) == 0
  # a program needs at least one coordinate
  if (alike) spans[[1]] <- matrix(replace(0 * rows[[1]], 1, 1))

  column <- rep(seq_along(rows), dims())
  within <- matrix(0, d, length(column))
  for (g in seq_along(rows)) within[rows[[g]], column == g] <- spans[[g]]
  rest <- lengths(rows) - dims()
  longer <- if (by_length) which(rest > 0)
  if (length(column) + length(longer) == d) return(NULL)
  leading <- vapply(rows, `[`, 0L, 1)
  covs <- lapply(seq_len(ncol(values)), function(k) {
    variances <- ifelse(own[leading], values[leading, k], first[leading])[c(column, longer)]
    if (mixture$form != "full" || same[k]) return(variances)
    inside <- seq_along(column)
    S <- diag(variances, length(variances))
    S[inside, inside] <- tcrossprod(crossprod(within, parts$root(k)))
    S
  })
  names(covs) <- paste("component", seq_along(covs))
  means <- cbind(crossprod(parts$means, within), matrix(0, ncol(parts$means), length(longer)))
  reduced <- assemble_gaussmix(parts$weights, means, lapply(covs, simplify_cov), parts$class)
  if (is_singular(reduced) && !is_singular(mixture)) return(NULL)
  differing <- if (by_length) "means" else "mean differences"
  how <- if (alike) "all components are one Gaussian" else if (ncol(values) > 1) {
    "where components differ"
  } else if (mixture$form == "common isotropic") paste("span of the", differing) else {
    paste(differing, "in each eigenspace")
  }
  list(basis = parts$basis, within = within, mixture = reduced, mean = parts$means[, 1],
       values = first[leading], group = group, rest = rest, how = how,
       across = if (by_length) match(group, longer, 0L) - 1L)
}

# The components of positive weight, in the eigenvectors of the first one's covariance: means and
# their differences from the first, a column each; covariance k is tcrossprod(root(k)).
in_eigenbasis <- function(mixture) {
  used <- which(mixture$weights > 0)
  values <- used_values(mixture)
  d <- nrow(values)
  vectors <- function(k) {
    if (mixture$form == "full") matrix(mixture$vectors[, , used[k]], d) else mixture$vectors
  }
  basis <- vectors(1)
  turn <- function(x) if (is.null(basis)) x else crossprod(basis, x)
  means <- t(unname(mixture$means[used, , drop = FALSE]))
  list(weights = mixture$weights[used], class = mixture$class[used], values = values, basis = basis,
       means = turn(means), differ = turn(means[, -1, drop = FALSE] - means[, 1]),
       root = function(k) turn(vectors(k)) * rep(sqrt(values[, k]), each = d))
}

# Groups of equal numbers: neighbours in size that differ by `slack` at most.
same_values <- function(x, slack) {
  by_size <- order(x)
  x <- x[by_size]
  number <- integer(length(x))
  number[by_size] <- cumsum(c(TRUE, diff(x) > slack(x[-1], x[-length(x)])))
  number
}

# An orthonormal basis of the span of `basis` and of the columns of x, without parts of size tol. It
# depends on the span alone. Of many columns the first slice often determines it.
span <- function(x, tol, basis) {
  m <- nrow(x)
  width <- max(m, 64)
  for (from in seq_len(ceiling(ncol(x) / width)) * width - width) {
    left <- m - ncol(basis)
    if (left == 0) break
    rest <- x[, seq(from + 1, min(from + width, ncol(x))), drop = FALSE]
    rest <- rest - basis %*% crossprod(basis, rest)
    rest <- rest[, colSums(rest^2) > tol^2, drop = FALSE]
    if (!ncol(rest)) next
    # cheaper than the singular values, and enough if everything is spanned
    if (ncol(rest) >= left && qr(rest)$rank >= left) return(diag(m))
    new <- svd(rest, nu = min(dim(rest)), nv = 0)
    basis <- qr.Q(qr(cbind(basis, new$u[, new$d > tol])))
  }
  if (ncol(basis) == m) return(diag(m))
  if (ncol(basis)) settle(rep(1, ncol(basis)), basis, 0, 0)$vectors else basis
}

# The part of a particle across W, in the coordinates of the space: shift + gain * start + sd *
# normals. `change`: of its log-density. NULL if a step folds there, which the run would not see.
reduction <- function(space, program, levels, begin, stochastic, full) {
  drawn <- !is.null(begin$sd)
  # normals are drawn in the coordinates of the unreduced run
  turned <- !drawn || full
  map <- list(space = list(within = space$within, across = space$across,
                           from = if (turned) space$basis, to = space$basis),
              start_sd = if (drawn) begin$sd else 0, label = reduction_label(space, stochastic))
  if (!is.null(space$across)) {
    d <- nrow(space$within)
    return(c(map, list(gain = rep(1, d), shift = double(d), change = 0)))
  }
  rest <- space$rest > 0
  affine <- affine_map(program, levels, space$values)
  # nothing if W is the whole space
  spread <- function(x) (x * rest)[space$group]
  change <- 0
  if (program$derivative > 0) {
    change <- lapply(space$values[rest], rest_change, program, levels)
    if (any(vapply(change, `[[`, 0, SCALAR$folded) > 0)) return(NULL)
    change <- sum(space$rest[rest] * vapply(change, `[[`, 0, SCALAR$change))
  }
  c(map, list(gain = if (!(drawn && stochastic)) spread(affine$gain),
              shift = spread(affine$shift) * space$mean,
              sd = if (any(affine$variance > 0)) spread(sqrt(affine$variance)), change = change))
}

reduction_label <- function(space, stochastic) {
  d <- nrow(space$within)
  r <- mixture_dim(space$mixture)
  longer <- r - ncol(space$within)
  paste0(d, " -> ", count_of(r, "dimension"), " (", space$how,
         if (longer) paste(", and", count_of(longer, "length")), "); the rest ",
         if (longer) "keeps its directions" else {
           paste("is Gaussian,", if (stochastic) "drawn" else "mapped", "exactly")
         })
}

# Scalars of a run on one Gaussian of variance v in one dimension, if they are the same for all
# particles.
rest_change <- function(v, program, levels) {
  J <- program$scalars - SCALAR$closing + 1
  total <- levels$scale * is_guided(program$level_of)
  levels$coef <- rbind(total, matrix(0, J - 1, length(total)))
  # one Gaussian has no class probability to ask for
  program$op <- program$op[, op_kinds(program) != "ask", drop = FALSE]
  pool <- core_pool(gaussmix(1, 0, v))
  unlist(core_run(pool, matrix(0, J, 1), levels, program, 1, seq_len(SCALAR$start))$scalar)
}

# run_chunk() of a reduced run. `run`: the run within W from a start there.
run_reduced <- function(plan, key, net, run) {
  map <- plan$reduction
  job <- list(n = as.integer(plan$begin$n), start = plan$begin$x, start_sd = map$start_sd,
              key = as.double(key), first = as.double(particles_before(plan)), lanes = 0L,
              net = net, at = plan$net$start, rest = plan$net$rest)
  begin <- if (!is.null(map$gain)) .Call(ffi_project, map$space, job)
  result <- run(begin$start)
  map$inside <- result$output
  # other normals than those of the program
  map$noise_key <- stream(key, "rest")
  result$output <- .Call(ffi_expand, map$space, job, map)
  if (plan$method != "none") {
    result$scalar[[SCALAR$change]] <- result$scalar[[SCALAR$change]] + map$change
    if (!is.null(begin$square)) {
      d <- nrow(map$space$within)
      result$scalar[[SCALAR$start]] <- -(d * log(2 * pi * map$start_sd^2) + begin$square) / 2
    }
  }
  result
}

# The density of a deterministic sampler's output at given points, in any dimension. It finds the
# starts that lead to the points, and carries their density along.

# run: see law_run(), unreduced or not. known: NULL, or starts and their images, which tell where to
# begin a search. For each row of x: `log_density`, NA if no start was `found`; and whether steps
# `folded` there.
pull_back <- function(run, x, known = NULL) {
  rows <- seq_len(nrow(x))
  if (length(rows) <= 50000) return(pull_some(run, x, known))
  parts <- lapply(split(rows, (rows - 1) %/% 50000), function(rows) {
    pull_some(run, x[rows, , drop = FALSE], known)
  })
  do.call(Map, c(c, unname(parts)))
}

# Let F be the sampler and E the flow of its own ODE back to the horizon: E F is near the identity,
# and z' = z + E(x) - E(F(z)) tends to the start that leads to x. Newton's method solves the few
# points for which it does not, and from the nearest known image those that are left.
pull_some <- function(run, x, known = NULL) {
  encode <- flow_back(run)
  goal <- encode(x)
  near <- 1e-9 * narrowest(run$mixture, run$times, run$schedule)
  # at starts z of the points `at`: E(F(z)) - E(x), and whether F(z) is the point
  miss_by <- function(encode, goal) function(z, at) {
    image <- push(run, z, "none")$x
    list(gap = encode(image) - goal[at, , drop = FALSE],
         there = rowSums(abs(image - x[at, , drop = FALSE]) > near) %in% 0)
  }
  newton <- function(state, miss) {
    descend(state, miss, function(at, z, gap) newton_step(z, at, gap, miss), 40)
  }
  miss <- miss_by(encode, goal)
  state <- list(z = goal, found = logical(nrow(x)))
  state <- descend(state, miss, function(at, z, gap) -gap, 30)
  left <- sum(!state$found)
  if (left > 0 && left * ncol(x)^2 < 1e6) state <- newton(state, miss)
  left <- which(!state$found)
  if (!is.null(known) && length(left) && length(left) <= 5000) {
    state$z[left, ] <- known$start[nearest_rows(x[left, , drop = FALSE], known$image), ]
    state <- newton(state, miss_by(identity, x))
  }
  found <- state$found
  result <- list(log_density = rep(NA_real_, nrow(x)), found = found, folded = logical(nrow(x)))
  if (any(found)) {
    out <- push(run, state$z[found, , drop = FALSE], "map")
    result$log_density[found] <- out$log_density
    result$folded[found] <- out$folded
  }
  result
}

# For each row of x the nearest row of `to`.
nearest_rows <- function(x, to) {
  vapply(seq_len(nrow(x)), function(i) which.min(colSums((t(to) - x[i, ])^2)), 0L)
}

# Steps in a direction, a function of the points `at`, their starts and their misses, until all
# starts are found. A step that leads no nearer is halved.
descend <- function(state, miss, direction, most) {
  z <- state$z
  found <- state$found
  step <- rep(1, nrow(z))
  off <- rep(Inf, nrow(z))
  move <- 0 * z
  for (i in seq_len(most)) {
    left <- which(!found & is.finite(rowSums(z)))
    if (!length(left)) break
    missed <- miss(z[left, , drop = FALSE], left)
    found[left] <- missed$there
    size <- sqrt(rowSums(missed$gap^2))
    better <- !is.na(size) & size < off[left]
    go <- left[better & !missed$there]
    off[left[better]] <- size[better]
    if (length(go)) {
      move[go, ] <- direction(go, z[go, , drop = FALSE],
                              missed$gap[better & !missed$there, , drop = FALSE])
      step[go] <- pmin(1.5 * step[go], 1)
      z[go, ] <- z[go, , drop = FALSE] + step[go] * move[go, , drop = FALSE]
    }
    # back by half of the failed step
    back <- left[!better & !missed$there]
    step[back] <- step[back] / 2
    z[back, ] <- z[back, , drop = FALSE] - step[back] * move[back, , drop = FALSE]
  }
  list(z = z, found = found)
}

# The derivative by differences.
newton_step <- function(z, at, gap, miss, h = 1e-6) {
  slopes <- vapply(seq_len(ncol(z)), function(j) {
    there <- z
    there[, j] <- there[, j] + h
    (miss(there, at)$gap - gap) / h
  }, gap)
  slopes <- array(slopes, c(nrow(z), ncol(z), ncol(z)))
  step <- -solve_each(slopes, gap)
  singular <- rowSums(!is.finite(step)) > 0
  step[singular, ] <- -gap[singular, ]
  step
}

# The solution x of A x = b for each row of `b`; not finite if A is singular. All at once, by
# Cramer's rule in the plane and by elimination beyond.
solve_each <- function(A, b) {
  if (ncol(b) == 1) return(b / A[, , 1])
  if (ncol(b) == 2) {
    det <- A[, 1, 1] * A[, 2, 2] - A[, 1, 2] * A[, 2, 1]
    return(cbind(A[, 2, 2] * b[, 1] - A[, 1, 2] * b[, 2],
                 A[, 1, 1] * b[, 2] - A[, 2, 1] * b[, 1]) / det)
  }
  d <- ncol(b)
  rows <- seq_len(nrow(b))
  for (k in seq_len(d)) {
    below <- k:d
    size <- abs(matrix(A[, below, k], nrow(b)))
    pivot <- cbind(rows, k - 1L + max.col(replace(size, is.na(size), 0), "first"))
    for (j in below) {
      top <- A[cbind(pivot, j)]
      A[cbind(pivot, j)] <- A[, k, j]
      A[, k, j] <- top
    }
    top <- b[pivot]
    b[pivot] <- b[, k]
    b[, k] <- top
    for (i in setdiff(below, k)) {
      by <- A[, i, k] / A[, k, k]
      A[, i, below] <- A[, i, below] - by * A[, k, below]
      b[, i] <- b[, i] - by * b[, k]
    }
  }
  for (k in rev(seq_len(d))) {
    b[, k] <- b[, k] / A[, k, k]
    for (i in seq_len(k - 1)) b[, i] <- b[, i] - A[, i, k] * b[, k]
  }
  b
}

# The flow of the run's ODE from its end to the horizon, by the classical Runge-Kutta method.
flow_back <- function(run) {
  times <- rev(run$times)
  d <- mixture_dim(run$mixture)
  guide <- guidance_models(run$guidance, run$mixture, run$score_error$model)
  steps <- lapply(sampler_program(sampler_rk4(), times, run$schedule, FALSE), drive_operations,
                  guide, run$score_error, d, run$schedule)
  program_map(run, compile_program(steps, times, d))
}

# A program as a function of points.
program_map <- function(run, program) {
  levels <- program_levels(program, run$schedule, run$score_error$scale)
  aim <- program_aim(run, program, levels)
  pool <- core_pool(score_pool(run))
  function(x) core_run(pool, aim$models, aim$levels, program, nrow(x), start = unname(x))$output
}

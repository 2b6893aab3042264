# The density of a deterministic sampler's output at given points, in any dimension: the starts that
# lead there are found, and carry their density along.

# run: see law_run(), unreduced or not. For each row of x: `log_density`, NA where no start was found
# or steps fold; and the share of each.
pull_back <- function(run, x, most = 60) {
  n <- nrow(x)
  result <- list(log_density = rep(NA_real_, n), found = logical(n), folded = logical(n))
  for (rows in split(seq_len(n), (seq_len(n) - 1) %/% 50000)) {
    part <- pull_some(run, x[rows, , drop = FALSE], most)
    for (name in names(result)) result[[name]][rows] <- part[[name]]
  }
  result
}

# Let F be the sampler and E the flow of its own ODE back to the horizon: E F is near the identity,
# and z' = z + E(x) - E(F(z)) tends to the start that leads to x. Where it does not come nearer the
# step is halved.
pull_some <- function(run, x, most) {
  encode <- flow_back(run)
  goal <- encode(x)
  z <- goal
  found <- logical(nrow(x))
  step <- rep(1, nrow(x))
  off <- rep(Inf, nrow(x))
  move <- 0 * z
  near <- 1e-9 * narrowest(run$mixture, run$times, run$schedule)
  for (i in seq_len(most)) {
    left <- which(!found & is.finite(rowSums(z)))
    if (!length(left)) break
    image <- push(run, z[left, , drop = FALSE], "none")$x
    found[left] <- rowSums(abs(image - x[left, , drop = FALSE]) > near) %in% 0
    gap <- goal[left, , drop = FALSE] - encode(image)
    size <- sqrt(rowSums(gap^2))
    better <- !is.na(size) & size < off[left]
    go <- left[better & !found[left]]
    off[left[better]] <- size[better]
    move[left[better], ] <- gap[better, , drop = FALSE]
    step[go] <- pmin(2 * step[go], 1)
    z[go, ] <- z[go, , drop = FALSE] + step[go] * move[go, , drop = FALSE]
    # back by half of the step that led nowhere
    back <- left[!better & !found[left]]
    step[back] <- step[back] / 2
    z[back, ] <- z[back, , drop = FALSE] - step[back] * move[back, , drop = FALSE]
  }
  log_density <- rep(NA_real_, nrow(x))
  folded <- logical(nrow(x))
  if (any(found)) {
    out <- push(run, z[found, , drop = FALSE], "map")
    log_density[found] <- out$log_density
    folded[found] <- out$folded
  }
  list(log_density = log_density, found = found, folded = folded)
}

# The flow of the run's ODE from its end to the horizon, by the classical Runge-Kutta method.
flow_back <- function(run) {
  times <- rev(run$times)
  d <- mixture_dim(run$mixture)
  power <- guidance_models(run$guidance, run$mixture, run$error$model)$power
  steps <- lapply(sampler_program(sampler_rk4(), times, run$schedule, FALSE), drive_operations,
                  power, run$error, d)
  program <- compile_program(steps, times, d)
  levels <- program_levels(program, run$schedule, run$error$scale)
  aim <- plan_aim(list(mixture = run$mixture, program = program, levels = levels, method = "none",
                       error = run$error), run$guidance)
  pool <- score_pool(run)
  function(x) core_run(pool, aim$models, aim$levels, program, nrow(x), start = unname(x))$output
}

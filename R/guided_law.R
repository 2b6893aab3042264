#' Exact law of a sampler's output
#'
#' The distribution of a sampler's output, with its steps and its guidance, without particles: its
#' density on nodes in one or two dimensions, or more if the run reduces to these (see
#' [guided_sample()]). Its entropy, confidence, moments and distances have no sampling error.
#'
#' @details **Stochastic samplers** are Markov chains with Gaussian kernels `x' = m(x) + sd z`
#' between the places where the state `x` alone is remembered: `m` is a map of the state, and no
#' score sees the fresh normal noise `z` before it is in `x`. Steps have one such piece, those of
#' predictor-corrector samplers several; steps without noise are part of the map of the next piece.
#' Two cases have another form: several underdamped Langevin steps in a row ([sampler_dpum()] with
#' `corrector_step` below `1/sqrt(lipschitz)`), which remember a velocity, too, and a noisy score in
#' a step of several scores.
#'
#' The density then obeys `rho'(y) = int rho(x) N(y; m(x), sd^2 I) dx`, which the trapezoidal rule
#' turns into a sum over the nodes of a grid. Each time has its own grid. Its range follows the mass
#' (down to 1e-20 of the largest density, 1e-16 in two dimensions), and its spacing the noise before
#' and after it, so that the sum is right to rounding: its error is `exp(-2 (pi sd/s)^2)` for images
#' `m(x)` at distance `s`, 4e-14 for `s = 0.8 sd`. If `nodes` does not allow this, or mass gets
#' lost, a warning says so. Noise with a covariance that depends on `x`, as that of
#' `sampler_ddpm(variance = "matched")`, may be too narrow for a grid. It is then widened to 0.8 of
#' the nodes' distance, and the law's `note`, or a warning, gives the added variance. A last step
#' without noise moves the nodes and their densities.
#'
#' **Deterministic samplers** move the nodes of a quadrature (9 standard deviations of the start to
#' each side, or more) together with the log-density. In one dimension there are enough nodes to
#' resolve the space between them, the branches of folded starts are added (see [law]), and nodes of
#' no mass, further out, give the density as far as the mixture extends. With a
#' power, a [guidance_rule()] or a [score_model()] the Jacobian comes from central differences of
#' order 6 of the whole map. The standard error of the entropy is then the change under differences
#' of order 4: 1e-13 for smooth rules, more at the kinks of rules that clip. Rules whose map jumps
#' have no density by differences.
#'
#' @inheritParams guided_sample
#' @param nodes Nodes along each axis. `NULL`: as many as are needed, up to 20001 in one dimension
#'   (32016 if a map folds, 128064 if it tears neighbours apart) and 1025 in two.
#' @param log_density For deterministic samplers, how to compute the log-density: `"map"`, by the
#'   Jacobian of the steps, exact for the chain; or `"divergence"`, as for [guided_sample()].
#' @param ... Further arguments of [diffusion()] that follow the mixture there. Here `start` is
#'   `"normal"`, `"exact"` or a [gaussmix()]; a `score_error` with a `bias` (if d > 1) or a `model`
#'   does not reduce.
#' @return A [law] with these further elements: `sampler`, `schedule`, `times`, `mass` (the total
#'   that the quadrature found, 1 up to its error) and `folded` (the share of the mass at which
#'   steps folded; `NULL` for stochastic samplers).
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit, a sampler whose steps
#'   do not have the form above and a run in more than two dimensions.
#' @source Kernel propagation and its accuracy are derived for this package. The chains: see the
#'   samplers. Setting: Wu, Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639}.
#' @seealso [law], [guided_moments()] for a single Gaussian in any dimension; [guided_limit()] and
#'   [fokker_planck()], the law of continuous time.
#' @examples
#' m <- named_mixture("D3")
#' # guidance lowers the entropy of the chain, until it is too strong for its steps
#' for (strength in c(0, 2, 12)) {
#'   print(entropy(guided_law(m, guidance("1", strength), sampler_em(50, "uniform"))))
#' }
#' @export
guided_law <- function(mixture, ..., nodes = NULL, log_density = c("map", "divergence"),
                       reduce = TRUE) {
  d <- as_diffusion(mixture, ..., takes_model = TRUE)
  check_flag(reduce, "reduce")
  if (!is.null(nodes)) nodes <- check_count(nodes, "nodes", min = 5)
  log_density <- check_choice(log_density, c("map", "divergence"), "log_density")
  process <- process_diffusion(d)
  law <- law_of_run(law_run(process, nodes, log_density, reduce), process$mixture)
  law <- law_from_process(law, d$mixture)
  law[c("horizon", "start")] <- list(d$horizon, start_words(d$start))
  if (!is.null(d$mixture$model)) law$mixture <- d$mixture$model
  law$faults <- warn_faults(c(
    diffusion_faults(d),
    model_faults(process$score_error$model, d$guidance, d$mixture, d$schedule, d$times, d$start)
  ))
  law
}

quiet_law <- function(...) without_faults(guided_law(...))

# The law of a run, in the variables of the run's mixture.
law_of_run <- function(run, mixture) {
  class <- run$guidance$class
  schedule <- run$schedule
  times <- run$times
  law <- counting_unsolved(if (run$sampler$stochastic) chain_law(run) else pushed_law(run))
  closing <- closing_time(run$mixture, times, schedule)
  model <- run$mixture$model
  if (!is.null(class)) {
    law$log_confidence <- if (is.null(model)) {
      log_class_probability(diffuse(run$mixture, closing, schedule), class)(law$x)
    } else model_log_confidence(model, from_process(law$x, model), class)
  }
  last <- times[length(times)]
  if (!is.null(run$rest)) run$rest$mixture <- diffuse(run$rest$mixture, last, schedule)
  setup <- run[intersect(names(run), c("guidance", "sampler", "schedule", "times", "score_error",
                                       "rest"))]
  do.call(new_law, c(law, setup, list(
    mixture = diffuse(mixture, last, schedule), class = class, label = format(run$sampler),
    timed = time_note(mixture, class, times)
  )))
}

# Everything needed for the law of a diffusion in the coordinates of its process, or of a reduction
# if there is one; `rest` then is the part outside it. `visit`: see chain_law().
law_run <- function(process, nodes = NULL, log_density = "map", reduce = TRUE, visit = NULL) {
  run <- unclass(process)
  mixture <- check_extent(run$mixture)
  error <- run$score_error
  run$start <- start_law(run$start, mixture, run$guidance$class, run$schedule, run$times[1])
  run$sampler <- with_noise(run$sampler, error)
  guide <- guidance_models(run$guidance, mixture, error$model)
  run$steps <- driven_steps(run$sampler, run$times, run$schedule, guide, error,
                            mixture_dim(mixture))
  run[c("nodes", "log_density", "visit")] <- list(nodes, log_density, visit)
  if (reduce && is_inner(run$guidance, mixture) && is.null(error$model)) {
    run <- reduced_run(run, sampler_map(run))
  }
  run
}

check_low <- function(run, most = 2) {
  if (mixture_dim(run$mixture) > most) {
    wanted <- c("of one dimension, or one that reduces to it",
                "of at most two dimensions, or one that reduces to them")
    abort_input("mixture", wanted[most],
                paste(mixture_dim(run$mixture), "after what reductions there are"))
  }
}

# Squares of distances must not overflow.
check_extent <- function(mixture, arg = "mixture") {
  used <- mixture$weights > 0
  size <- max(abs(mixture$means[used, ]), sqrt(max(used_values(mixture))))
  if (!(size < 1e120)) {
    abort_input(arg, "of means and standard deviations below 1e120, in other units",
                format(size, digits = 3))
  }
  mixture
}

# The law at the horizon, as a mixture.
start_law <- function(start, mixture, class, schedule, horizon) {
  if (!is.character(start) && !inherits(start, "gaussmix")) {
    abort_input("start", '"normal", "exact" or a gaussmix', describe(start))
  }
  begin <- run_start(start, mixture, 1, class, schedule, horizon)
  law <- if (is.null(begin$law)) gaussmix(1, t(rep(0, mixture_dim(mixture))), begin$sd^2) else {
    begin$law
  }
  refuse_singular(law, "`start` has a singular covariance and no density")
  law
}

# The effect of the sampler on one Gaussian, as a function of its variances (see affine_map()); NULL
# if the sampler treats coordinates differently.
sampler_map <- function(run) {
  program <- compile_program(run$steps, run$times, mixture_dim(run$mixture))
  if (is_by_coordinate(program)) return(NULL)
  levels <- program_levels(program, run$schedule, run$score_error$scale)
  function(values) affine_map(program, levels, values)
}

# A run in the coordinates of the subspace to which it reduces, mixture and start, with the exact
# Gaussian outside it as `rest`. The run itself if nothing reduces.
reduced_run <- function(run, affine) {
  space <- if (!is.null(affine)) reduced_space(run$mixture)
  if (is.null(space)) return(run)
  axes <- reduced_axes(space)
  start <- tryCatch(split_mixture(run$start, axes), mixguide_error = function(e) NULL)
  if (is.null(start)) return(run)
  map <- affine(space$values)
  group <- axes$group
  mean <- map$gain[group] * start$rest$mean + map$shift[group] * axes$mean
  variance <- map$gain[group]^2 * start$rest$variance + map$variance[group]
  rest <- law_rest(axes$within, axes$across, mean, variance, space$mixture)
  replace(run, c("mixture", "start", "rest"), list(space$mixture, start$inner, rest))
}

# Does the guidance use only the components of the mixture, and linear terms? Then it reduces with
# the mixture.
is_inner <- function(guidance, mixture) {
  guide <- guidance_models(guidance, mixture)
  length(guide$sources) == 1 && guide$linear && !is_uneven(guide)
}

# The components whose scores a guided score combines.
score_pool <- function(run) {
  guidance_pool(guidance_models(run$guidance, run$mixture, run$score_error$model))
}

# The models of a run's program, and their coefficients at the levels.
program_aim <- function(run, program, levels, method = "none") {
  plan_aim(list(process = run$mixture, program = program, levels = levels, method = method,
                wrong = run$score_error), run$guidance)
}

# The directions within a reduced space and across it, in the variables of the mixture. For the
# directions across: the `mean` of every component, and the eigenvalue of each direction.
reduced_axes <- function(space) {
  turn <- function(x) if (is.null(space$basis)) x else space$basis %*% x
  # the rest of each eigenspace, in the eigenvectors of the first covariance
  across <- lapply(seq_along(space$values), function(g) {
    rows <- which(space$group == g)
    inside <- space$within[rows, colSums(space$within[rows, , drop = FALSE]^2) > .5, drop = FALSE]
    basis <- matrix(0, nrow(space$within), space$rest[g])
    if (ncol(basis)) {
      basis[rows, ] <- qr.Q(qr(inside), complete = TRUE)[, ncol(inside) + seq_len(ncol(basis))]
    }
    basis
  })
  group <- rep(seq_along(across), vapply(across, ncol, 0L))
  across <- do.call(cbind, across)
  list(within = turn(space$within), across = turn(across), group = group,
       mean = drop(space$mean %*% across))
}

#' The limit of small steps
#'
#' The limit of a sampler's law for ever shorter steps, by Richardson extrapolation from the laws
#' ([guided_law()]) for a quarter, half and all of its steps.
#'
#' @details Let `q_n` be a number of the law for `n` steps, with an error of order `p` in `1/n`. The
#' limit is `q_n + (q_n - q_{n/2})/(2^p - 1)`. `se` is the difference of this limit to that of `n/2`
#' and `n/4` steps: an indication, not a bound (for smooth `q` it is some `2^{p+1}` times the
#' remaining error). Euler-Maruyama, DDPM and the exponential integrators have order 1.
#'
#' @inheritParams guided_law
#' @param order The order `p` of the sampler. The sampler has a multiple of 4 steps and a grid that
#'   is not given by its times; the default is `sampler_em(200, "uniform")`.
#' @return A table of estimates ([mixguide_table]) of class `guided_limit` with the rows of
#'   `summary()` of a [law], without those of folds, and a column `finest`, for all steps.
#' @source The extrapolation is Richardson's; its use here is derived for this package.
#' @seealso [fokker_planck()], which has the law of continuous time in one dimension.
#' @examples
#' guided_limit(named_mixture("A2"), guidance("1", 2), sampler_em(40, "uniform"))
#' @export
guided_limit <- function(mixture, ..., nodes = NULL, log_density = c("map", "divergence"),
                         reduce = TRUE, order = 1) {
  d <- as_diffusion(mixture, ..., default = list(sampler = sampler_em(200, "uniform")))
  order <- check_number(order, "order", min = 0, open = TRUE)
  sampler <- d$sampler
  steps <- sampler$steps
  if (is.numeric(sampler$grid) || is.null(steps) || steps %% 4) {
    refuse_sampler(d, "one with a multiple of 4 steps on a grid that it makes itself",
                   'sampler_em(200, "uniform")')
  }
  # only the faults of the finest grid matter
  laws <- lapply(steps / c(4, 2, 1), function(n) {
    law_of <- if (n == steps) guided_law else quiet_law
    law <- law_of(change_diffusion(d, list(sampler = replace(sampler, "steps", n))), nodes = nodes,
                  log_density = log_density, reduce = reduce)
    # a fold of coarse steps has no limit
    replace(law, "from", list(NULL))
  })
  rows <- lapply(laws, summary)
  q <- vapply(rows, `[[`, rows[[1]]$estimate, "estimate")
  limit <- q[, -1, drop = FALSE] + (q[, -1, drop = FALSE] - q[, -3, drop = FALSE]) / (2^order - 1)
  estimate <- estimate_row(limit[, 2], abs(limit[, 2] - limit[, 1]), "quadrature")
  new_table(data.frame(quantity = rows[[1]]$quantity, estimate, finest = q[, 3]), "guided_limit",
            c(about_process(d, "the law as its steps shrink"), process_lines(d)),
            setup_of(d, faults = laws[[3]]$faults),
            foot = "By Richardson extrapolation; in brackets what it changes with half the steps")
}

# ---- Deterministic samplers

pushed_law <- function(run) {
  check_low(run)
  if (uses_hessian(unlist(run$steps, recursive = FALSE))) abort_hessian(run$sampler$label)
  flat <- mixture_dim(run$mixture) == 1
  size <- if (!is.null(run$nodes)) run$nodes else if (flat) 2001 else 201
  repeat {
    axes <- grid_axes(start_range(run$start, if (is.null(run$reach)) GRID_REACH else run$reach),
                      size)
    x <- axis_nodes(axes)
    weights <- dgaussmix(x, run$start) * prod(vapply(axes, step_of, 0))
    out <- push(run, x)
    if (!all_finite(out$x)) abort_overflow()
    torn <- if (flat) {
      unresolved(out$x, weights, narrowest(run$mixture, run$times, run$schedule))
    } else 0
    # the density has a pole where branches meet, which needs more nodes
    enough <- if (torn > 1e-6) 1e5 else if (flat && any(out$folded)) 2e4 else 0
    if (size >= enough || !is.null(run$nodes)) break
    size <- 4 * size
  }
  if (torn > 1e-6) {
    warn_law("the nodes do not see what happens to ", format(min(torn, 1), digits = 1),
             " of the mass")
  }
  density <- note <- from <- NULL
  branch <- out$log_density
  off <- mean_off(out$off, weights)
  folded <- if (!is.null(out$folded)) sum(weights * out$folded)
  if (isTRUE(folded > 1e-9)) {
    note <- "steps fold starts onto each other: the entropy is an upper bound"
  }
  jumps <- !is.null(out$off) && map_jumps(out, weights)
  if (flat && any(out$folded)) {
    branches <- out[c("x", "log_density")]
    # a chaotic map, or points that rounding puts in order, have no sum over branches
    density <- no_density_between
    if (length(turning_nodes(branches$x[, 1])) <= MOST_BRANCHES) {
      density <- function(x) branch_density(x[, 1], branches$x[, 1], branches$log_density)
      out$log_density <- density(out$x)
      note <- NULL
    }
  }
  unsummed <- if (is.null(note)) 0 else folded
  # no law has a larger entropy than the Gaussian of its covariance
  doubt <- if (jumps || !is.null(out$off) && entropy_excess(out, weights) > .05) JUMPS
  if (!is.null(doubt)) note <- doubt
  span <- if (!is.null(density)) range(out$x)
  if (flat && !is.null(out$folded)) from <- x
  if (flat && is.null(density)) {
    tails <- outer_nodes(run, range(axes[[1]]), range(out$x))
    out$x <- rbind(tails$low$x, out$x, tails$high$x)
    if (!is.null(from)) from <- rbind(tails$low$from, from, tails$high$from)
    branch <- c(tails$low$log_density, branch, tails$high$log_density)
    out$log_density <- branch
    weights <- c(0 * tails$low$log_density, weights, 0 * tails$high$log_density)
  }
  list(x = out$x, weights = weights, log_density = out$log_density, density = density,
       mass = sum(weights), folded = folded, note = note, span = span, off = off,
       unsummed = unsummed, doubt = doubt,
       rough = !is.null(out$off) || isTRUE(folded > 1e-9), from = from,
       branch = if (!is.null(from)) branch)
}

JUMPS <- paste("the map jumps, and densities by differences across jumps are wrong: entropy and",
               "distances are unknown")

# The largest mass whose differences may depend on their order.
MOST_APART <- .05

# Does the map jump, so that densities by differences are not those of the images? Differences
# across jumps depend on their order, and on a line neighbours tell the density, too.
map_jumps <- function(out, weights) {
  sum(weights[!(out$off < .1)]) > MOST_APART ||
    ncol(out$x) == 1 && cell_fault(out$x[, 1], out$log_density, weights) > .1
}

# How much the entropy of a law exceeds that of the Gaussian of its covariance.
entropy_excess <- function(law, weights) {
  there <- weights > 0
  w <- weights[there] / sum(weights)
  x <- law$x[there, , drop = FALSE]
  cov <- crossprod(sqrt(w) * sweep(x, 2, colSums(w * x)))
  -sum(w * law$log_density[there]) - log(det(2 * pi * exp(1) * cov)) / 2
}

# The mass between neighbours on a line that the density of their images does not account for.
cell_fault <- function(x, log_density, weights) {
  density <- exp(log_density)
  n <- length(x)
  held <- abs(diff(x)) * (density[-1] + density[-n]) / 2
  mass <- (weights[-1] + weights[-n]) / 2
  off <- pmin(abs(held - mass), mass)
  sum(ifelse(is.na(off), mass, off))
}

# The images of points under a deterministic sampler (which needs no key), with their log-densities.
# If guidance is not linear, these come from differences, with their possible error `off`.
push <- function(run, x, log_density = run$log_density) {
  go <- function(x, log_density) {
    quiet_sample(run$mixture, guidance = run$guidance, sampler = run$sampler,
                 schedule = run$schedule, horizon = run$times[1], start = x,
                 log_density = log_density, reduce = FALSE, score_error = run$score_error,
                 key = c(0, 0))
  }
  if (log_density != "none") attr(x, "log_density") <- dgaussmix(x, run$start, log = TRUE)
  if (log_density != "map" || is_carried(run)) return(go(x, log_density))
  out <- go(x, "none")
  det <- det_by_differences(function(x) go(x, "none")$x, x, 1e-3 * start_scale(run$start))
  out$log_density <- attr(x, "log_density") - det$log
  out$folded <- det$negative
  out$off <- det$off
  out
}

start_scale <- function(start) sqrt(min(used_values(start)))

# Can the core carry the derivative of this guidance along?
is_carried <- function(run) {
  guide <- guidance_models(run$guidance, run$mixture, run$score_error$model)
  is.null(nonlinear_words(guide))
}

# In one dimension: nodes of no mass further out, to each side, so that the density is known where
# the mixture may be. Their images continue from `image` as long as they are in order and reach it.
outer_nodes <- function(run, range, image) {
  target <- start_range(diffuse(run$mixture, run$times[length(run$times)], run$schedule))
  width <- diff(range) / 2
  steps <- width * (cumprod(rep(c(1.1, 1.3), c(70, 50))) - 1)
  starts <- matrix(c(range[1] - steps, range[2] + steps))
  out <- push(run, starts)
  # from the nodes outwards, in the order of the nodes
  side <- function(places, sign, end, goal) {
    x <- sign * out$x[places, 1]
    fine <- is.finite(x) & is.finite(out$log_density[places])
    if (!is.null(out$folded)) fine <- fine & !out$folded[places]
    fine <- cumsum(!(fine & diff(c(sign * end, x)) > 0)) == 0
    kept <- seq_len(min(sum(fine), sum(x < sign * goal, na.rm = TRUE) + 1))
    if (sign * end >= sign * goal) kept <- integer()
    places <- sort(places[kept], decreasing = sign < 0)
    list(x = out$x[places, , drop = FALSE], log_density = out$log_density[places],
         from = starts[places, , drop = FALSE])
  }
  n <- length(steps)
  list(low = side(seq_len(n), -1, image[1], target[1]),
       high = side(n + seq_len(n), 1, image[2], target[2]))
}

MOST_BRANCHES <- 500

# The mean error of densities from differences.
mean_off <- function(off, weights) {
  if (!is.null(off)) sum((weights * pmin(off, 1))[weights > 1e-16])
}

# Methods that move the nodes carry the log-density along.
abort_hessian <- function(label) {
  abort_input("sampler", "one without the derivative of the score in steps without noise", label)
}

abort_overflow <- function() {
  abort("the law overflows: the steps are too large for this strength", "overflow")
}

warn_law <- function(...) warning(..., call. = FALSE)

# ---- Stochastic samplers

# A chain of Gaussian kernels, piece by piece (see chain_pieces()). Each piece starts on its own
# grid, which depends on the range of the law there and on the noise just before and just after it;
# the last grid also depends on the components of the mixture. A function run$visit(k, x, mass), if
# there is one, is called with the law at each time.
chain_law <- function(run) {
  check_low(run)
  program <- compile_program(run$steps, run$times, mixture_dim(run$mixture), derivative = "map")
  pieces <- chain_pieces(program, run$sampler$label)
  sd <- pieces$sd
  N <- length(sd)
  if (!is.null(run$visit) && !pieces$are_steps) {
    abort_input("sampler", "one that draws noise once in every step but the last",
                run$sampler$label)
  }
  move <- chain_map(run, program, pieces)
  least <- sqrt(min(used_values(run$start)))
  last <- diffuse(run$mixture, run$times[length(run$times)], run$schedule)
  finest <- if (is_singular(last)) Inf else sqrt(min(used_values(last)))
  grid <- chain_grid(run, start_range(run$start), least, sd[1],
                     function(axes, x) structure(dgaussmix(x, run$start), added = 0), move, 1)
  coarse <- grid$coarse
  added <- 0
  tell <- forecast("The law of a chain", N)
  for (k in seq_len(N)) {
    tell(k - 1)
    y <- grid$y
    mass <- grid$density[grid$keep] * grid$cell
    added <- added + attr(grid$density, "added")
    if (!is.null(run$visit)) run$visit(k, grid$x[grid$keep, , drop = FALSE], mass)
    if (!is.na(sd[k]) && sd[k] == 0) break
    reach <- GRID_REACH * y$most
    range <- rbind(apply(y$x, 2, min) - reach, apply(y$x, 2, max) + reach)
    fill <- function(axes, x) spread(y, mass, axes)
    grid <- if (k == N) chain_grid(run, range, y$least, finest, fill) else {
      chain_grid(run, range, y$least, sd[k + 1], fill, move, k + 1)
    }
    coarse <- max(coarse, grid$coarse)
  }
  density <- as.vector(grid$density)
  mass <- sum(density) * grid$cell
  if (!isTRUE(mass > 0)) abort_overflow()
  # if the sum does not approximate an integral, no number is right
  if (abs(mass - 1) > .01) {
    abort(paste0("no grid resolves the law: its total mass is ", format(mass, digits = 3),
                 "; take more `nodes`, fewer steps near the data, or a sampler with a later `end`"),
          "nodes")
  }
  added <- max((added + attr(grid$density, "added")) / grid_variance(grid$x, density))
  if (coarse > 1) {
    warn_law("the grid is too coarse by a factor of ", format(coarse, digits = 2),
             " for the noise of a step; take more `nodes`")
  } else if (abs(mass - 1) > 1e-6) {
    warn_law("the total mass is ", format(mass, digits = 8), "; take more `nodes`")
  }
  note <- NULL
  if (added > 1e-6) {
    note <- paste("where noise is too narrow for the grid it was widened: variances are too large",
                  "by some", format(added, digits = 1))
    if (added > 1e-3) warn_law(note, " of themselves; take more `nodes`")
  }
  # the kernels end at 9 standard deviations, and negligible masses are left out
  law <- list(x = grid$x, weights = density * grid$cell, log_density = log(density / mass),
              axes = grid$axes, mass = mass, floor = log(if (ncol(grid$x) == 1) 1e-16 else 1e-12),
              note = note)
  if (!is.null(grid$y)) {
    law[c("x", "weights")] <- list(y$x, law$weights[grid$keep])
    law$log_density <- law$log_density[grid$keep] + grid$y$change
    law$off <- mean_off(grid$y$off, law$weights / sum(law$weights))
    law$axes <- NULL
  }
  if (!is.null(run$visit)) run$visit(N + 1, law$x, law$weights)
  law
}

# Cuts the operations into pieces x' = m(x) + sd z with fresh noise z. A piece ends as soon as x
# contains noise while no other register is alive, so that the next piece starts from x alone. Steps
# without noise are part of the next piece; operations after the last noise are a piece of their
# own, with sd = 0. Returns the `piece` of each operation (0: the final save), the `sd` of each
# piece (NA: the covariance depends on x), and whether pieces are the steps.
chain_pieces <- function(program, label) {
  kind <- op_kinds(program)
  # the coefficient of each noise of the piece in each register
  none <- matrix(0, program$registers, 0)
  held <- none
  end <- integer()
  sd <- double()
  for (form in program_forms(program, alone = TRUE)) {
    noise <- form$kind == "noise"
    column <- rbind(cbind(held, matrix(0, nrow(held), sum(noise))),
                    matrix(0, length(noise), ncol(held) + sum(noise)))
    for (s in seq_along(noise)) {
      weights <- weigh_rows(form$of[s, ], column)
      noisy <- !all(weights %in% 0)
      if (noisy && form$kind[s] == "by coordinate") {
        abort_input("sampler", "one whose noise has single numbers as coefficients", label)
      }
      if (noisy && !reads_hessian(kind[form$op[s]])) abort_chain(label)
      # times a matrix that depends on where x is
      column[nrow(held) + s, ] <- replace(weights, is.na(weights) | weights != 0, NA)
      if (noise[s]) column[nrow(held) + s, ncol(held) + sum(noise[seq_len(s)])] <- 1
    }
    held <- weigh_rows(form$to, column)
    if (length(form$alive) == 1 && !all(held[1, ] %in% 0)) {
      end <- c(end, form$end)
      sd <- c(sd, sqrt(sum(held[1, ]^2)))
      held <- none
    }
  }
  writes <- writes_register(kind)
  if (any(which(writes) > max(0, end))) {
    end <- c(end, length(kind))
    sd <- c(sd, 0)
  }
  piece <- pmin(findInterval(seq_along(kind), end, left.open = TRUE) + 1, length(sd))
  piece[kind == "save"] <- 0
  list(piece = piece, sd = sd, are_steps = all((piece - cumsum(kind == "end"))[writes] == 1))
}

abort_chain <- function(label) {
  abort_input("sampler", paste("one whose steps are x' = m(x) + sd z with fresh noise z, and which",
                               "remembers x alone when a score sees the noise"),
              paste(label, "(which keeps a velocity, an earlier score or the like)"))
}

# The maps m as a function of points and the number of the piece. They return x; for a last piece
# without noise the `change` of the log-density; and the `least` (at each point, or of all) and the
# `most` of the noise's standard deviations, with its covariance in `cov` if that depends on the
# point. All pieces are compiled together; one runs with its operations and levels.
chain_map <- function(run, program, pieces) {
  sd <- pieces$sd
  N <- length(sd)
  still <- !is.na(sd[N]) && sd[N] == 0
  carried <- still && is_carried(run)
  rough <- still && !carried
  if (still && any(reads_hessian(op_kinds(program)[pieces$piece == N]))) {
    abort_hessian(run$sampler$label)
  }
  levels <- program_levels(program, run$schedule, run$score_error$scale)
  pool <- score_pool(run)
  check_levels(pool, levels, program$level_times)
  pool <- core_pool(pool, !is_by_coordinate(program))
  aim <- program_aim(run, program, levels, if (carried) "map" else "none")
  coef <- matrix(aim$levels$coef, nrow(aim$models))
  is_noise <- function(part) op_kinds(part) == "noise"
  d <- mixture_dim(run$mixture)
  # the images of x for noises z of the piece (a column for each coordinate of each noise)
  go <- function(part, x, z, change) {
    n <- nrow(x)
    noise <- array(rep(z, each = n), c(n, d, part$noises))
    # a few nodes are one block, for which a second thread would only wait
    core_run(pool, aim$models, part$levels, part, n, if (change) SCALAR$change, x,
             noise, lanes = min(512, 8 * ceiling(n / 8)))
  }
  function(x, k) {
    part <- program
    part$op <- program$op[, pieces$piece %in% c(k, 0), drop = FALSE]
    at_level <- op_field(op_kinds(part), "at") == "level"
    level <- unique(part$op["at", at_level])
    part$op["at", at_level] <- match(part$op["at", at_level], level) - 1L
    level <- level + 1
    part$levels <- list(a = levels$a[level], b2 = levels$b2[level], want = levels$want[level],
                        coef = coef[, level], push = aim$levels$push[, level])
    part$noises <- sum(is_noise(part))
    part$op["at", is_noise(part)] <- seq_len(part$noises) - 1L
    last <- still && k == N
    if (!last || rough) part$derivative <- derivative_code[["none"]]
    none <- double(d * part$noises)
    out <- go(part, x, none, last && carried)
    y <- list(x = out$output, change = if (last && carried) out$scalar[[SCALAR$change]],
              least = sd[k], most = sd[k])
    if (last && rough) {
      before <- diffuse(run$mixture, run$times[length(run$times) - 1], run$schedule)
      det <- det_by_differences(function(x) go(part, x, none, FALSE)$output, x,
                                1e-3 * start_scale(before))
      y[c("change", "off")] <- list(-det$log, det$off)
    }
    if (!is.na(sd[k])) return(y)
    # the effect of a unit of each noise is a column of a root of the covariance
    columns <- lapply(seq_along(none), function(i) {
      go(part, x, replace(none, i, 1), FALSE)$output - y$x
    })
    c(y[c("x", "change")], noise_form(columns))
  }
}

# The normal noise with covariance sum c c' over the columns c, a row for each point: `cov` has the
# entries (1, 1), (1, 2) and (2, 2).
noise_form <- function(columns) {
  entry <- function(i, j) Reduce(`+`, lapply(columns, function(c) c[, i] * c[, j]))
  if (ncol(columns[[1]]) == 1) {
    own <- sqrt(entry(1, 1))
    check_noise_form(max(own))
    return(list(least = own, most = max(own), cov = cbind(own^2)))
  }
  a <- entry(1, 1)
  b <- entry(1, 2)
  c <- entry(2, 2)
  high <- (a + c + sqrt((a - c)^2 + 4 * b^2)) / 2
  most <- sqrt(max(high))
  check_noise_form(most)
  low <- ifelse(high > 0, pmax(a * c - b^2, 0) / high, 0)
  list(least = sqrt(low), most = most, cov = cbind(a, b, c))
}

# Widens noise that is too narrow for the grid. Returns the noise of each point as gm_spread() takes
# it, and the added variance along each axis.
grid_noise <- function(y, mass, step) {
  least <- (.8 * step)^2
  if (ncol(y$cov) == 1) {
    v <- pmax(y$cov[, 1], least)
    return(list(own = sqrt(v), most = sqrt(max(v)), added = sum(mass * (v - y$cov[, 1]))))
  }
  c <- pmax(y$cov[, 3], least[2])
  slope <- y$cov[, 2] / c
  given <- y$cov[, 1] - y$cov[, 2] * slope
  v <- pmax(given, least[1])
  list(own = cbind(sqrt(c), slope, sqrt(v)), most = sqrt(max(v + slope^2 * c, c)),
       added = c(sum(mass * (v - given)), sum(mass * (c - y$cov[, 3]))))
}

check_noise_form <- function(most) {
  if (!is.finite(most)) abort_overflow()
  if (most == 0) {
    abort(paste("the noise of a step has the covariance 0 and the law no density;",
                "take a sampler with `end` > 0"), "singular")
  }
}

# Nodes over `range` (2 x r) before piece k, with the density there from `fill`, and, for the nodes
# that it keeps, the images `y` under the piece's map. The spacing has at least `per_sd` nodes per
# sd of the noise `before` and `ahead`, and images no further apart than the sd ahead over 1.5
# (coarse > 1: further than .8 sd). After the last piece there is no map to `move` the nodes. The
# noise ahead is then replaced by the narrowest component, and because kinks are possible there are
# many nodes.
chain_grid <- function(run, range, before, ahead, fill, move = NULL, k = NULL) {
  flat <- ncol(range) == 1
  per_sd <- if (flat) 2.5 else 1.5
  bounds <- if (flat) c(400, 20000) else c(80, 1024)
  if (is.null(move)) bounds[1] <- if (flat) 1000 else 160
  width <- range[2, ] - range[1, ]
  step <- min(before, ahead[!is.na(ahead) & ahead > 0]) / per_sd
  repeat {
    cells <- pmin(pmax(ceiling(width / step), bounds[1]), bounds[2])
    if (!is.null(run$nodes)) cells <- rep(run$nodes - 1, ncol(range))
    axes <- grid_axes(range, cells + 1)
    x <- axis_nodes(axes)
    density <- fill(axes, x)
    level <- density / max(density)
    keep <- which(level > if (flat) 1e-20 else 1e-16)
    if (!length(keep)) abort_overflow()
    y <- if (!is.null(move)) move(x[keep, , drop = FALSE], k)
    if (!is.null(y) && !all_finite(y$x)) abort_overflow()
    now <- max(vapply(axes, step_of, 0))
    # without the far tails, where the derivative of the score may be large
    seen <- level[keep] > if (flat) 0 else 1e-10
    # grid_noise() treats noise that is much narrower in some places than in others
    if (length(y$least) > 1) y$least <- max(min(y$least[seen]), y$most * if (flat) .01 else .25)
    ahead <- if (is.null(y) || y$least == 0) Inf else y$least
    apart <- if (is.null(y)) 0 else spacing(y$x[seen, , drop = FALSE], keep[seen], lengths(axes))
    excess <- max(1.5 * apart, per_sd * now) / ahead
    if (excess <= 1 + 1e-9 || !is.null(run$nodes) || all(cells >= bounds[2])) break
    step <- step / (1.05 * excess)
  }
  list(axes = axes, x = x, y = y, density = density, keep = keep,
       cell = prod(vapply(axes, step_of, 0)),
       coarse = max(now / min(before, ahead), apart / ahead) / .8)
}

grid_variance <- function(x, density) {
  w <- density / sum(density)
  colSums(w * sweep(x, 2, colSums(w * x))^2)
}

# The largest distance between the images of neighbours on a grid, for its nodes `at`.
spacing <- function(y, at, size) {
  max(0, vapply(seq_len(ncol(y)), function(j) {
    image <- matrix(NA_real_, size[1], prod(size[-1]))
    image[at] <- y[, j]
    max(0, abs(diff(image)), abs(diff(t(image))), na.rm = TRUE)
  }, 0))
}

# The density at the nodes of a grid, of masses at y that are spread by their noise; and the added
# variance.
spread <- function(y, mass, axes) {
  step <- vapply(axes, step_of, 0)
  noise <- if (is.null(y$cov)) list(most = y$most, added = 0) else grid_noise(y, mass, step)
  density <- .Call(ffi_spread, list(x = as.double(y$x), mass = mass, sd = noise$most,
                                    own = noise$own, low = vapply(axes, `[`, 0, 1), step = step,
                                    size = lengths(axes)))
  structure(density, added = noise$added)
}

# ---- Grids

# In standard deviations: further out a normal density is less than 1e-22 of its peak.
GRID_REACH <- 10

start_range <- function(law, reach = GRID_REACH) {
  used <- law$weights > 0
  each <- vapply(which(used), function(k) sqrt(diag(component_cov(law, k))), law$means[1, ])
  each <- reach * t(matrix(each, mixture_dim(law)))
  means <- law$means[used, , drop = FALSE]
  rbind(apply(means - each, 2, min), apply(means + each, 2, max))
}

grid_axes <- function(range, size) {
  size <- rep_len(size, ncol(range))
  lapply(seq_len(ncol(range)), function(j) seq(range[1, j], range[2, j], length.out = size[j]))
}

axis_nodes <- function(axes) {
  if (length(axes) == 1) return(matrix(axes[[1]]))
  cbind(rep(axes[[1]], length(axes[[2]])), rep(axes[[2]], each = length(axes[[1]])))
}

step_of <- function(axis) axis[2] - axis[1]

# Particle methods: the sampler's steps move sets of particles and pull them to the observation.
# Weights correct for the pull, so that the weighted set has the conditional law. Each step is one
# short program of the engine; particle_filter() weighs and resamples. All constants of a run are
# data (particle_plan()), so that sets can be run in chunks and on workers.

#' @rdname zero_shot
#' @export
zero_shot_tds <- function(particles = 64, prior_variance = 1) {
  particle_method("tds", "TDS", particles, prior_variance = check_prior_variance(prior_variance))
}

#' @rdname zero_shot
#' @export
zero_shot_mcgdiff <- function(particles = 64, kappa = 1e-4,
                              resampling = c("adaptive", "every step")) {
  particle_method("mcgdiff", "MCGdiff", particles,
                  kappa = check_number(kappa, "kappa", min = 0, open = TRUE),
                  resampling = resampling)
}

#' @rdname zero_shot
#' @export
zero_shot_smcdiffopt <- function(particles = 64, resampling = c("adaptive", "every step")) {
  particle_method("smcdiffopt", "SMCDiffOpt", particles, resampling = resampling)
}

particle_method <- function(name, label, particles, ..., resampling = "adaptive") {
  params <- list(particles = check_count(particles, "particles", min = 1), ...)
  # a parameter only if it is not the default
  resampling <- check_choice(resampling, c("adaptive", "every step"), "resampling")
  if (resampling != "adaptive") params$resampling <- resampling
  new_zero_shot(name, label, params, twist = name)
}

run_particle_method <- function(mixture, n, observation, method, sampler, schedule, times, key,
                                folder = NULL, cloud = FALSE, model = NULL) {
  frame <- zero_shot_frame(mixture, observation, method)
  M <- method$params$particles
  often <- identical(method$params$resampling, "every step")
  job <- list(plan = particle_plan(turned_mixture(mixture, frame), n * M, method, frame, sampler,
                                   schedule, times, model),
              key = key, kind = method$twist, cloud = cloud, each = M, looks = length(times),
              resample = if (often) Inf else .5, multinomial = often)
  run <- run_filter("particles", particle_chunk, job, n * M, 2^20 / frame$d, times, folder)
  list(x = frame$back(run$x),
       cloud = if (cloud) list(x = frame$back(run$cloud), weights = matrix(run$weights, M)),
       history = run$history,
       log_evidence = if (method$twist %in% c("tds", "smcdiffopt")) {
         run$log_evidence - sum(log(frame$scale)) + frame$log_rest
       })
}

# The data of all steps. A step of the sampler is x' = m(x) + sd z with m = alpha x + beta s.
particle_plan <- function(mixture, n, method, frame, sampler, schedule, times, model = NULL) {
  need_memory(times, schedule, method$label)
  steps <- sampler_program(sampler, times, schedule)
  a <- schedule$a(times)
  b2 <- schedule$b2(times)
  weights <- switch(method$twist, tds = tds_weights, mcgdiff = mcgdiff_weights,
                    smcdiffopt = smcdiffopt_weights)
  own <- weights(method, frame, a, b2)
  rows <- lapply(step_forms(steps), one_score_form)
  ask <- if (is.null(model)) identity else asked_op(model, frame, schedule)
  # the last program moves nothing
  programs <- lapply(seq_along(times), function(k) {
    # A weight by the density of a step needs noise. MCGdiff has no such weight in the last step,
    # SMCDiffOpt in none.
    still <- switch(method$twist, tds = FALSE, mcgdiff = k == length(times) - 1, smcdiffopt = TRUE)
    kernel <- if (k < length(times)) one_kernel(rows[[k]], k, times[k], still)
    particle_program(kernel, frame, times[k], a[k], b2[k], own$twist[[k]], ask)
  })
  level_times <- unique(unlist(lapply(programs, function(p) p$program$level_times)))
  check_levels(mixture, list(a = schedule$a(level_times), b2 = schedule$b2(level_times)),
               level_times)
  list(begin = list(n = n), mixture = mixture, pool = core_pool(mixture, rotate = FALSE),
       times = times, a = a, b2 = b2, programs = programs, weights = own$weights, r = frame$r,
       target = frame$target, start_sd = start_sd(schedule, times[1]))
}

# The coefficients of a step x' = alpha x + beta s + sd z from time t, given one_score_form();
# `still`: sd may be 0.
one_kernel <- function(step, k, t, still = FALSE) {
  fits <- !is.null(step) && step[["t"]] == t && (step[["sigma"]] > 0 || still)
  if (!fits) {
    abort_input("sampler", paste("one whose steps take one score and add noise,",
                                 if (!still) "also the last,", "as",
                                 'sampler_ddpm(variance = "scaled")'),
                paste("another at step", k))
  }
  list(alpha = step[["alpha"]], beta = step[["beta"]], sd = step[["sigma"]])
}

# A program that saves m and z of a step. With a twist it also saves the twisting function's
# logarithm and the vector that the function adds to m. Without a `kernel` nothing moves. `ask`
# makes of an evaluation that of a user's model.
particle_program <- function(kernel, frame, t, a, b2, twist, ask) {
  s <- ask(op_eval("s", from = "x", t = t))
  save <- function(from) new_op("save", "x", from = from)
  moves <- !is.null(kernel)
  ops <- list()
  if (!is.null(twist)) {
    # u_i = (target_i - x0_i)/sd_i: log N(target; x0, sd^2), whose gradient is J'(u/sd)
    weight <- 1 / sqrt(twist)
    seen <- list(s = fill_range(-weight * b2 / a, frame), x = fill_range(-weight / a, frame),
                 "(one)" = fill_range(weight * frame$target, frame))
    # at t = 0 there is no noise, and x0 is x
    if (b2 == 0) seen$s <- NULL
    constant <- -sum(log(2 * pi * twist)) / 2
    ops <- c(if (b2 > 0) list(s), constant_one,
             list(new_op("linear", to = "(u)", coef = seen),
                  new_op("dot", to = "x", from = "(u)", scalar = 1,
                         coef = list("(u)" = c(constant, -.5)))),
             if (moves) list(op_linear("(u)", list("(u)" = fill_range(weight, frame))),
                             op_product("(u)", "x", t, coef = b2),
                             op_linear("(u)", c("(u)" = kernel$beta / a)), save("(u)")))
  } else if (moves) ops <- list(s)
  if (moves) {
    ops <- c(ops, list(op_linear("(m)", c(x = kernel$alpha, s = kernel$beta)), op_noise("(z)"),
                       save("(m)"), save("(z)")))
  }
  if (!length(ops)) return(list())
  list(program = assemble_program(operation_table(ops, frame$d)), kernel = kernel)
}

# TDS: the twisting function at time t is N(target_i; x0_i, r^2 + nu_i), at t = 0 the likelihood.
tds_weights <- function(method, frame, a, b2) {
  v <- method$params$prior_variance
  twist <- lapply(seq_along(a), function(k) spread_given(v, a[k], b2[k]) + frame$nu)
  need_likelihood(twist[[length(twist)]], method)
  list(twist = twist)
}

# SMCDiffOpt: the variances of the coordinates of x_t around a target_i.
smcdiffopt_weights <- function(method, frame, a, b2) {
  V <- outer(frame$nu, a^2) + rep(b2, each = frame$r)
  need_likelihood(V[, ncol(V)], method)
  list(weights = list(V = V))
}

need_likelihood <- function(variance, method) {
  if (any(variance == 0)) {
    abort(paste(method$label, "needs noise in the observation, or noise at the end:",
                "take a sampler with `end` > 0"), "singular")
  }
}

# MCGdiff: coordinate i is held to N(a target_i, V_i(t)), V_i(t) = Var(x_t | x_tau) + kappa
# (a/a_tau)^2, until the time tau_i at which the noise of the process equals that of the
# observation, b^2/a^2 = nu_i. There x_tau and y_i hold the same information, and the coordinate is
# released. tau_i is a time of the grid, so the two noises differ a little; a weight at the end
# corrects for this. A coordinate whose tau_i is not reached is held to the end.
mcgdiff_weights <- function(method, frame, a, b2) {
  kappa <- method$params$kappa
  last <- length(a)
  ratio <- b2 / a^2
  held <- matrix(FALSE, frame$r, last)
  V <- matrix(0, frame$r, last)
  off <- double(frame$r) # the noise at tau less nu; Inf: never held
  for (i in seq_len(frame$r)) {
    nu <- frame$nu[i]
    tau <- if (nu > ratio[last]) max(0, which(ratio >= nu)) else last + 1
    held[i, ] <- seq_len(last) <= tau
    if (tau > last) V[i, ] <- b2 + a^2 * (nu + kappa) else if (tau > 0) {
      V[i, ] <- b2 - (a / a[tau])^2 * (b2[tau] - kappa)
      off[i] <- ratio[tau] - nu
    } else off[i] <- Inf
  }
  list(weights = list(held = held, V = V, off = off, nu = frame$nu))
}

# A chunk of whole sets. One program gives the weights at a time and the means of the next step.
particle_chunk <- function(job, first, count) {
  plan <- job$plan
  weigh <- switch(job$kind, tds = tds_weigh, mcgdiff = mcgdiff_weigh, smcdiffopt = smcdiffopt_weigh)
  move <- function(state, k) {
    if (k > 1) state <- propose(state, plan, k - 1)
    look <- particle_look(plan, k, state$own$x, job$key, first)
    state <- weigh(state, look, plan, k)
    if (k < job$looks) {
      # until the next step the x of the particles is its mean
      state$own$x <- look$mean
      state$z <- look$z
    }
    state
  }
  z <- keyed_noise(nrow(plan$pool$mean), count, job$key, first)
  start <- list(own = list(x = held_draw(0 * z, z, plan$start_sd, plan, 1)))
  run <- particle_filter(start, move, job, first, count)
  x <- run$own$x
  w <- run$w
  drawn <- systematic(w, set_uniforms(w, job, job$looks, first), 1)
  c(list(x = x[drawn, , drop = FALSE], log_evidence = run$log_mean, history = run$history),
    if (job$cloud) list(cloud = x, weights = as.vector(w / rep(colSums(w), each = job$each))))
}

# The output of the k-th program: log psi, the twist's addition to the mean of the step (`push`),
# this mean, and the noise.
particle_look <- function(plan, k, x, key, first) {
  program <- plan$programs[[k]]$program
  if (is.null(program)) return(NULL)
  t <- program$level_times
  levels <- list(a = rep(plan$a[k], length(t)), b2 = rep(plan$b2[k], length(t)),
                 coef = rep(1, length(t)))
  run <- core_run(plan$pool, rbind(log_weights(plan$mixture)), levels, program, nrow(x),
                  scalars = 1, start = x, key = stream(key, "steps", k), first = first)
  saved <- utils::tail(c("push", "mean", "z"), program$outputs)
  output <- function(i) matrix(run$output[, , i], nrow(x), ncol(x))
  c(list(log_psi = run$scalar[[1]]), stats::setNames(lapply(seq_along(saved), output), saved))
}

# The step from the k-th time.
propose <- function(state, plan, k) {
  sd <- plan$programs[[k]]$kernel$sd
  push <- state$own$push
  if (!is.null(push)) {
    # log N(x'; m, sd^2) - log N(x'; m + push, sd^2)
    ratio <- -rowSums(push^2) / (2 * sd^2) - rowSums(push * state$z) / sd
    state$log_w <- state$log_w + ratio - state$own$log_psi
    state$own$x <- state$own$x + push
  }
  state$own$x <- held_draw(state$own$x, state$z, sd, plan, k + 1)
  state
}

# Adds log psi(x) to the weights, which already hold log p/q - log psi of the point before.
tds_weigh <- function(state, look, plan, k) {
  state$log_w <- state$log_w + look$log_psi
  state$own$push <- look$push
  state$own$log_psi <- look$log_psi
  state
}

# The weights hold log psi at the particles' places.
smcdiffopt_weigh <- function(state, look, plan, k) {
  log_psi <- log_normals(state$own$x, seq_len(plan$r), plan$a[k] * plan$target, plan$weights$V[, k])
  before <- if (k > 1) state$own$log_psi else 0
  state$log_w <- state$log_w + log_psi - before
  state$own$log_psi <- log_psi
  state
}

# The log-density of each row of x in the columns i, which are independent.
log_normals <- function(x, i, mean, variance) {
  x <- x[, i, drop = FALSE]
  rowSums((x - rep(mean, each = nrow(x)))^2 * rep(-1 / (2 * variance), each = nrow(x))) -
    sum(log(2 * pi * variance)) / 2
}

# Before a step the weight is that of the step's mean. After the last step it corrects for the
# grid.
mcgdiff_weigh <- function(state, look, plan, k) {
  w <- plan$weights
  x <- state$own$x
  if (k == length(plan$times)) {
    seen <- x / plan$a[k]
    free <- plan$b2[k] / plan$a[k]^2
    i <- which(w$off > 0)
    log_w <- log_normals(seen, i, plan$target[i], free + w$nu[i])
    i <- which(w$off > 0 & w$off < Inf)
    log_w <- log_w - log_normals(seen, i, plan$target[i], free + w$nu[i] + w$off[i])
    state$log_w <- state$log_w + log_w
    return(state)
  }
  i <- which(w$held[, k + 1])
  spread <- plan$programs[[k]]$kernel$sd^2 + w$V[i, k + 1]
  state$log_w <- state$log_w + log_normals(look$mean, i, plan$a[k + 1] * plan$target[i], spread) -
    log_normals(x, i, plan$a[k] * plan$target[i], w$V[i, k])
  state
}

# Draws mean + sd z, in which the coordinates that a method holds at the k-th time are conditioned
# on their targets.
held_draw <- function(mean, z, sd, plan, k) {
  held <- plan$weights$held
  if (is.null(held)) return(mean + sd * z)
  n <- nrow(z)
  i <- which(held[, k])
  V <- plan$weights$V[i, k]
  gain <- sd^2 / (sd^2 + V)
  aim <- gain * plan$a[k] * plan$target[i]
  mean[, i] <- mean[, i] * rep(1 - gain, each = n) + rep(aim, each = n)
  sd <- replace(rep(sd, ncol(z)), i, sqrt(gain * V))
  mean + z * rep(sd, each = n)
}

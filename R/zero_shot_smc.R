# Particle methods: sets of particles are moved by the sampler's steps, pulled to the observation,
# and weighted by what that changes, so that the weighted set has the conditional law. Each step is
# one short program of the engine; weights and resampling are R's, set by set. All constants of a
# run are data (particle_plan()), so that sets can be run in chunks and on workers.

#' @rdname zero_shot
#' @export
zero_shot_tds <- function(particles = 64, prior_variance = 1) {
  new_zero_shot("tds", "TDS", list(particles = check_count(particles, "particles", min = 1),
                                   prior_variance = check_prior_variance(prior_variance)),
                twist = "tds")
}

#' @rdname zero_shot
#' @export
zero_shot_mcgdiff <- function(particles = 64, kappa = 1e-4,
                              resampling = c("adaptive", "every step")) {
  resampling <- check_choice(resampling, c("adaptive", "every step"), "resampling")
  new_zero_shot("mcgdiff", "MCGdiff",
                c(list(particles = check_count(particles, "particles", min = 1),
                       kappa = check_number(kappa, "kappa", min = 0, open = TRUE)),
                  if (resampling != "adaptive") list(resampling = resampling)),
                twist = "mcgdiff")
}

run_particle_method <- function(mixture, n, observation, method, sampler, schedule, times, key,
                                folder = NULL, cloud = FALSE) {
  frame <- zero_shot_frame(mixture, observation, method)
  inner <- turned_mixture(mixture, frame)
  plan <- particle_plan(inner, n, method, frame, sampler, schedule, times)
  plan$cloud <- cloud
  task <- list(name = "particles", work = particle_chunk, job = list(plan = plan, key = key))
  M <- method$params$particles
  size <- power_of_two(max(1, 2^20 / (M * frame$d)))
  x <- matrix(0, n, frame$d)
  log_evidence <- double(n)
  all <- if (cloud) list(x = matrix(0, n * M, frame$d), weights = matrix(0, M, n))
  ess <- again <- 0
  lost <- 0
  each_chunk(task, n, size, folder = folder, collect = function(part, first, count) {
    rows <- first + seq_len(count)
    x[rows, ] <<- part$x
    log_evidence[rows] <<- part$log_evidence
    if (cloud) {
      all$x[first * M + seq_len(count * M), ] <<- part$cloud$x
      all$weights[, rows] <<- part$cloud$weights
    }
    ess <<- ess + part$ess
    again <<- again + part$again
    lost <<- lost + part$lost
  })
  warn_lost(lost, n)
  list(x = tcrossprod(x, frame$complete),
       cloud = if (cloud) {
         list(x = tcrossprod(all$x, frame$complete), weights = all$weights)
       },
       ess = data.frame(t = times, ess = ess / max(n, 1), resampled = again / max(n, 1)),
       log_evidence = if (method$twist == "tds") {
         log_evidence - sum(log(frame$scale)) + frame$log_rest
       })
}

# Everything that the steps need, as data. A step of the sampler is x' = m(x) + sd z, m = alpha x +
# beta s.
particle_plan <- function(mixture, n, method, frame, sampler, schedule, times) {
  need_memory(times, schedule, method$label)
  steps <- sampler_program(sampler, times, schedule)
  a <- schedule$a(times)
  b2 <- schedule$b2(times)
  at <- switch(method$twist, tds = tds_weights, mcgdiff = mcgdiff_weights)(method, frame, a, b2,
                                                                          times)
  # the last program only looks
  programs <- lapply(seq_along(times), function(k) {
    # without noise there is no weight by the density of a step, but MCGdiff has none in the last
    still <- method$twist == "mcgdiff" && k == length(times) - 1
    ops <- if (k < length(times)) one_kernel(steps[[k]], k, times[k], still)
    particle_program(ops, frame, times[k], a[k], b2[k], at$twist[[k]])
  })
  level_times <- unique(unlist(lapply(programs, function(p) p$program$level_times)))
  check_levels(mixture, list(a = schedule$a(level_times), b2 = schedule$b2(level_times)),
               level_times)
  list(begin = list(n = n), mixture = mixture, pool = core_pool(mixture, rotate = FALSE),
       times = times, a = a, b2 = b2, programs = programs, weights = at$weights,
       particles = method$params$particles, r = frame$r, target = frame$target,
       start_sd = start_sd(schedule, times[1]), kind = method$twist,
       always = identical(method$params$resampling, "every step"))
}

# The coefficients of a step x' = alpha x + beta s + sd z from time t; `still`: sd may be 0.
one_kernel <- function(ops, k, t, still = FALSE) {
  step <- one_score_step(ops)
  if (is.null(step) || step$t != t || !(step$sigma > 0 || still)) {
    abort_input("sampler", paste("one whose steps take one score and add noise,",
                                 if (!still) "also the last,", "as",
                                 'sampler_ddpm(variance = "scaled")'),
                paste("another at step", k))
  }
  list(alpha = step$alpha, beta = step$beta, sd = step$sigma)
}

# A program that saves m and z of a step (`kernel`, or NULL: only looks), and for a twist also what
# the twisting function adds to m, and its logarithm.
particle_program <- function(kernel, frame, t, a, b2, twist) {
  s <- op_eval("s", from = "x", t = t)
  save <- function(from) new_op("save", "x", from = from)
  moves <- !is.null(kernel)
  ops <- list()
  if (!is.null(twist)) {
    # u_i = (target_i - x0_i)/sd_i: log N(target; x0, sd^2), whose gradient is J'(u/sd)
    weight <- 1 / sqrt(twist)
    seen <- list(s = fill_range(-weight * b2 / a, frame), x = fill_range(-weight / a, frame),
                 "(one)" = fill_range(weight * frame$target, frame))
    # at t = 0 there is no noise, and no need of a score
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
tds_weights <- function(method, frame, a, b2, times) {
  v <- method$params$prior_variance
  twist <- lapply(seq_along(times), function(k) spread_given(v, a[k], b2[k]) + frame$nu)
  if (any(twist[[length(twist)]] == 0)) {
    abort(paste("TDS needs noise in the observation, or noise at the end:",
                "take a sampler with `end` > 0"), "singular")
  }
  list(twist = twist)
}

# MCGdiff: coordinate i is held to N(a target_i, V_i(t)) down to the time tau_i at which the noise
# of the process has come down to that of the observation, b^2/a^2 = nu_i, where to know x_tau is to
# know y_i; then it goes free. V_i(t) = Var(x_t | x_tau) + kappa (a/a_tau)^2. What the grid leaves
# between the two noises is made good by a weight in the end. Coordinates that reach the end first
# are held to it.
mcgdiff_weights <- function(method, frame, a, b2, times) {
  kappa <- method$params$kappa
  last <- length(times)
  ratio <- b2 / a^2
  held <- matrix(FALSE, frame$r, last)
  V <- matrix(0, frame$r, last)
  off <- double(frame$r) # by what the noise at tau is more than nu; Inf: never held
  for (i in seq_len(frame$r)) {
    nu <- frame$nu[i]
    tau <- if (nu > ratio[last]) max(0, which(ratio >= nu)) else last + 1
    held[i, ] <- seq_len(last) <= tau
    if (tau > last) V[i, ] <- b2 + a^2 * (nu + kappa) else if (tau > 0) {
      V[i, ] <- b2 - (a / a[tau])^2 * (b2[tau] - kappa)
      off[i] <- ratio[tau] - nu
    } else off[i] <- Inf
  }
  list(twist = vector("list", last),
       weights = list(held = held, V = V, off = off, nu = frame$nu))
}

# `count` sets of particles after the first `first`.
particle_chunk <- function(job, first, count) {
  plan <- job$plan
  key <- job$key
  M <- plan$particles
  n <- count * M
  d <- nrow(plan$pool$mean)
  last <- length(plan$times)
  uniform <- function(i) {
    stats::pnorm(keyed_draws(gaussmix(1, 0, 1), count, stream(key, "resampling", i), first)[, 1])
  }
  # as many as there are particles, from streams of their own
  uniforms <- function(i) {
    own <- stream(key, "multinomial", i)
    matrix(stats::pnorm(keyed_draws(gaussmix(1, 0, 1), n, own, first * M)[, 1]), M)
  }
  state <- list(x = plan$start_sd * unname(keyed_draws(gaussmix(1, t(rep(0, d)), 1), n, key,
                                                        first * M)),
                log_w = matrix(0, M, count), log_z = double(count))
  if (plan$kind == "mcgdiff") state <- mcgdiff_start(state, plan)
  ess <- again <- double(last)
  models <- rbind(log_weights(plan$mixture))
  for (k in seq_len(last)) {
    step <- plan$programs[[k]]
    look <- if (!is.null(step$program)) {
      t <- step$program$level_times
      levels <- list(a = rep(plan$a[k], length(t)), b2 = rep(plan$b2[k], length(t)),
                     coef = rep(1, length(t)))
      core_run(plan$pool, models, levels, step$program, n, scalars = 1, start = state$x,
               key = stream(key, "steps", k), first = first * M)
    }
    move <- switch(plan$kind, tds = tds_move, mcgdiff = mcgdiff_move)
    now <- move(state, look, plan, k)
    log_w <- now$log_w
    log_w[!is.finite(log_w)] <- -Inf
    top <- apply(log_w, 2, max)
    # a set that is lost altogether counts alike
    log_w[, top == -Inf] <- 0
    top[top == -Inf] <- 0
    w <- exp(log_w - rep(top, each = M))
    sums <- colSums(w)
    size <- sums^2 / colSums(w^2)
    ess[k] <- sum(size)
    chosen <- k < last & (plan$always | size < M / 2)
    state$log_w <- log_w
    if (k == last) break
    parent <- seq_len(n)
    if (any(chosen)) {
      parent <- if (plan$always) multinomial_sets(w, uniforms(k)) else {
        systematic_sets(w, uniform(k), chosen)
      }
      again[k] <- sum(chosen)
      state$log_z[chosen] <- state$log_z[chosen] + top[chosen] + log(sums[chosen] / M)
      state$log_w[, chosen] <- 0
    }
    state <- now$propose(state, parent)
  }
  pick <- systematic_one(w, uniform(last))
  x <- state$x[pick, , drop = FALSE]
  list(x = x, log_evidence = state$log_z + top + log(sums / M), ess = ess, again = again,
       cloud = if (plan$cloud) list(x = state$x, weights = w / rep(sums, each = M)),
       lost = sum(rowSums(!is.finite(x)) > 0))
}

# Draws in proportion to each column of w, at equal distances that u settles; columns that are not
# `chosen` stay. Numbers of rows of all sets one after the other.
systematic_sets <- function(w, u, chosen = rep(TRUE, ncol(w))) {
  all <- seq_along(w)
  w <- w[, chosen, drop = FALSE]
  u <- u[chosen]
  M <- nrow(w)
  set <- rep(seq_len(ncol(w)) - 1, each = M)
  total <- apply(w, 2, cumsum)
  dim(total) <- dim(w)
  total <- total / rep(total[M, ], each = M)
  at <- findInterval((seq_len(M) - 1 + rep(u, each = M)) / M + set, total + set) + 1
  # rounding at the end of a set must not reach the next, nor one of weight 0
  heaviest <- rep(max.col(t(w), "first"), each = M) + set * M
  own <- at > set * M & at <= (set + 1) * M
  at[!own] <- heaviest[!own]
  chosen <- rep(chosen, each = M)
  replace(all, chosen, all[chosen][at])
}

# Independent draws in proportion to each column of w, settled by as many numbers u. Numbers of rows
# of all sets one after the other.
multinomial_sets <- function(w, u) {
  M <- nrow(w)
  unlist(lapply(seq_len(ncol(w)), function(j) {
    p <- cumsum(w[, j]) / sum(w[, j])
    (j - 1) * M + pmin(findInterval(u[, j], p) + 1, max(which(w[, j] > 0)))
  }))
}

# One row of each set.
systematic_one <- function(w, u) {
  n <- ncol(w)
  vapply(seq_len(n), function(j) {
    p <- cumsum(w[, j]) / sum(w[, j])
    (j - 1) * nrow(w) + min(findInterval(u[j], p) + 1, max(which(w[, j] > 0)))
  }, 0)
}

# One of the n x d matrices that a program saves.
output <- function(look, i) {
  x <- look$output[, , i]
  dim(x) <- dim(look$output)[1:2]
  x
}

# Adds log psi(x) to the weights, which until then hold log p/q - log psi of where it came from.
tds_move <- function(state, look, plan, k) {
  M <- plan$particles
  log_psi <- look$scalar[[1]]
  kernel <- plan$programs[[k]]$kernel
  propose <- function(state, parent) {
    push <- output(look, 1)[parent, , drop = FALSE]
    z <- output(look, 3)
    state$x <- output(look, 2)[parent, , drop = FALSE] + push + kernel$sd * z
    # log N(x'; m, sd^2) - log N(x'; m + push, sd^2)
    ratio <- -rowSums(push^2) / (2 * kernel$sd^2) - rowSums(push * z) / kernel$sd
    state$log_w <- state$log_w + matrix(ratio - log_psi[parent], M)
    state
  }
  list(log_w = state$log_w + matrix(log_psi, M), propose = propose)
}

mcgdiff_start <- function(state, plan) {
  w <- plan$weights
  i <- which(w$held[, 1])
  if (!length(i)) return(state)
  v <- plan$start_sd^2
  V <- w$V[i, 1]
  mean <- plan$a[1] * plan$target[i]
  n <- nrow(state$x)
  state$x[, i] <- state$x[, i] * rep(sqrt(V / (v + V)), each = n) +
    rep(mean * v / (v + V), each = n)
  state
}

# The weight of the step to come is that of its mean; after the last step, that of the grid.
mcgdiff_move <- function(state, look, plan, k) {
  M <- plan$particles
  w <- plan$weights
  x <- state$x
  gauss <- function(x, mean, variance) {
    rowSums((x - rep(mean, each = nrow(x)))^2 * rep(-1 / (2 * variance), each = nrow(x))) -
      sum(log(2 * pi * variance)) / 2
  }
  if (k == length(plan$times)) {
    i <- which(w$off > 0)
    a <- plan$a[k]
    free <- plan$b2[k] / a^2
    seen <- x[, i, drop = FALSE] / a
    log_w <- gauss(seen, plan$target[i], free + w$nu[i])
    i <- which(w$off > 0 & w$off < Inf)
    seen <- x[, i, drop = FALSE] / a
    log_w <- log_w - gauss(seen, plan$target[i], free + w$nu[i] + w$off[i])
    return(list(log_w = state$log_w + matrix(log_w, M)))
  }
  kernel <- plan$programs[[k]]$kernel
  i <- which(w$held[, k + 1])
  V <- w$V[i, k + 1]
  aim <- plan$a[k + 1] * plan$target[i]
  m <- output(look, 1)
  v <- kernel$sd^2
  log_w <- gauss(m[, i, drop = FALSE], aim, v + V) -
    gauss(x[, i, drop = FALSE], plan$a[k] * plan$target[i], w$V[i, k])
  propose <- function(state, parent) {
    z <- output(look, 2)
    m <- m[parent, , drop = FALSE]
    n <- nrow(m)
    sd <- rep(kernel$sd, ncol(m))
    sd[i] <- sqrt(v * V / (v + V))
    gain <- v / (v + V)
    m[, i] <- m[, i] * rep(1 - gain, each = n) + rep(gain * aim, each = n)
    state$x <- m + z * rep(sd, each = n)
    state
  }
  list(log_w = state$log_w + matrix(log_w, M), propose = propose)
}

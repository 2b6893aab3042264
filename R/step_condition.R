#' Guarantees at a given number of steps
#'
#' In continuous time guidance provably raises the confidence, path by path, if no two differences
#' of the class's mean from others make an obtuse angle, and lowers the entropy. Discrete steps that
#' are too long break such statements. `step_condition()` checks, for a mixture, a class, a sampler
#' and a strength, which remain guaranteed, up to which strength, and from how many steps.
#'
#' @details All statements are for mixtures with one common covariance, a class of one component,
#' exact scores and strengths `>= 0`. Otherwise nothing is proved, and `holds` is `NA`. It is also
#' `NA` if the condition fails, because conditions are sufficient and not necessary.
#'
#' **confidence**: *every particle's confidence is at least its confidence, with the same noise,
#' without guidance.* Guidance is `g = a P sum_j q_j D_j`, with the differences of the means
#' `D_j = mu_class - mu_j`, probabilities `q_j` and `P` the common precision at that time. Scores
#' are affine except for `g`. In a run of any sampler guidance therefore adds to the log-odds
#' against component `k` a sum over the evaluations of the score, `strength * sum_i sum_j G^i_kj
#' q_j` with `G^i_kj = a_0 D_k' P_0 W_i a_i P_i D_j`: `W_i`, a number for each eigenvalue of the
#' covariance, is the weight of evaluation `i` in the result, from the sampler's own coefficients
#' (index 0: the time at which the confidence is taken). The condition is `G^i_kj >= 0` for all `i`,
#' `k`, `j`; the claim then holds for every strength, also a varying one. With steps
#' `x' = alpha x + beta s + sigma z` and covariance the identity: no angle between two `D` is
#' obtuse, and `alpha >= beta` from the second step on (any step for Euler's DDIM, steps up to 1 for
#' Euler's DDPM, log 2 for the exponential integrator).
#'
#' **monotone**: *of two strengths the larger gives every particle at least the confidence that the
#' smaller gives it.* The conditions are: two components, or differences `D_k` at right angles, that
#' are eigenvectors of the covariance (of eigenvalue `1/p_k` at the time of the step); steps of the
#' form above; and `strength beta a^2 p_k^2 |D_k|^2/4 <= alpha - beta p_k` from the second step on.
#' For Euler's DDIM and covariance the identity this is `strength step a^2 |D|^2 <= 4`. Whether
#' acute angles suffice is not known: some thousand random mixtures gave no counterexample.
#'
#' **entropy**: *the entropy of the output is at most that without guidance.* The conditions are:
#' all `D_k` in one eigenspace of the covariance; a `"normal"` start; steps of the form above with
#' `alpha >= beta p`; and `strength beta a^2 p^2 V <= 2 (alpha - beta p)` in every step, with `V`
#' the largest variance along a direction that the means can have under probabilities `q`. Then a
#' step contracts at least as much as without guidance. Poincare's inequality keeps the constant,
#' and with it the covariance, `Cov(X) <= Cov(X without guidance)`, whose Gaussian has the entropy
#' without guidance. With several eigenspaces it follows from "no fold", for deterministic samplers.
#'
#' **no fold**: *the map from start to output is injective*, so that the entropy summed from
#' `log|det|` is exact (see [law]). The conditions are: a deterministic sampler, steps of the
#' form above, and `strength beta a^2 V < alpha - beta p` in every step, with `V` the largest
#' variance of the means times `P` and `p` the largest eigenvalue of `P`. Every Jacobian, and
#' therefore the entropy, is then at most that without guidance.
#'
#' `V` is found by maximisation if the means lie on a line, otherwise bounded by a quarter of the
#' square of the largest distance.
#'
#' @inheritParams guidance_sweep
#' @param ... Further arguments of [diffusion()] that follow the mixture there: `guidance` towards
#'   one class with the strength to check; the default `sampler` is `sampler_ddim()`.
#' @return A data frame of class `step_condition`, with a row for each `claim` above and the columns
#'   * `holds`: `TRUE` if it is guaranteed at this strength and these steps, otherwise `NA`;
#'   * `strength`: the largest strength with a guarantee at these steps (`Inf`: any; 0: none);
#'   * `steps`: the number of steps, on a grid of the same kind, from which the claim is guaranteed
#'     at this strength (`NA`: none up to 1024, or the grid is given, or nothing is proved);
#'   * `note`: the reason for `strength`.
#'
#'   Attribute `setup` has a data frame `at` of the steps (`NULL` for other forms than that above):
#'   time `t`, `alpha`, `beta`, and the strengths `monotone`, `entropy` and `no fold` that each step
#'   allows, which `plot()` draws.
#' @source The claims in continuous time: Wu, Chen, Li, Wang and Wei (2024),
#'   \doi{10.48550/arXiv.2403.01639}. Conditions and proofs for steps are derived for this package.
#' @seealso [capped_strength()], which keeps a strength within these limits; [strength_limit()],
#'   which finds the limit by computation.
#' @examples
#' step_condition(named_mixture("C3"), guidance("1", 1), sampler_em(50, "uniform"), horizon = 5)
#' # the class lies between two others: nothing is proved of the confidence of its particles
#' between <- step_condition(named_mixture("D3"), guidance("1", 1), sampler_euler(50, "uniform"),
#'                           horizon = 5)
#' between
#' plot(between)
#' @export
step_condition <- function(mixture, ...) {
  step_claims(as_diffusion(mixture, ..., default = list(sampler = sampler_ddim()),
                           without = "score_error"))
}

# `search`: also find the numbers of steps, which takes longer than the rest.
step_claims <- function(d, search = TRUE) {
  strength <- claimed_strength(d)
  mixture <- in_process(d$mixture)
  geometry <- step_geometry(mixture, d$guidance$class)
  allowed <- steps_allow(geometry, d)
  rows <- claims_at(strength, geometry, d, allowed)
  if (search) rows$steps <- unname(steps_needed(geometry, d, strength))
  new_table(rows, "step_condition", c(format(d$mixture), process_lines(d)),
            replace(setup_of(d, strength = strength, at = allowed), "mixture", list(mixture)),
            keys = "claim", methods = c(strength = "bound", steps = "bound"),
            noted = lapply(stats::setNames(nm = unique(rows$note)), function(note) "strength"),
            body = claim_rows,
            foot = c("Proved up to a strength, and from a number of steps on.",
                     "[yes]: proved; [ ? ]: not known, the conditions are sufficient only."))
}

claim_words <- c(confidence = "no particle's confidence falls below that without guidance",
                 monotone = "no particle's confidence falls as the strength grows",
                 entropy = "the entropy is at most that without guidance",
                 "no fold" = "the map is injective")

claims <- names(claim_words)

# The rows of a step_condition(), without the search for numbers of steps.
claims_at <- function(strength, geometry, d, at) {
  do.call(rbind, lapply(claims, function(claim) {
    allowed <- allowed_strength(claim, geometry, d, at)
    data.frame(claim = claim, holds = if (isTRUE(strength <= allowed)) TRUE else NA,
               strength = if (is.na(allowed)) 0 else as.double(allowed), steps = NA_real_,
               note = attr(allowed, "why"))
  }))
}

# The strength to check, of guidance towards one class.
claimed_strength <- function(d) {
  check_number(constant_strength(plain_guidance(d)), "strength", min = 0)
}

# The parts of class_geometry() for the proofs, with columns for rows: the means (d x K) and the
# differences D. `problem` says why nothing is proved.
step_geometry <- function(mixture, class) {
  shared <- class_geometry(mixture, class)
  values <- shared$values
  problem <- if (any(values == 0)) "the covariance is singular" else shared$why
  if (!is.null(problem)) return(list(problem = paste("nothing is proved:", problem)))
  used <- mixture$weights > 0
  D <- t(shared$differ)
  there <- abs(D) > 1e-13 * max(abs(D), 0)
  # directions in which the means agree do not matter
  needed <- rowSums(abs(D)) > 1e-13 * max(abs(D), 0)
  products <- crossprod(D)
  norm2 <- diag(products)
  same <- function(x) length(x) < 2 || diff(range(x)) <= 1e-12 * max(x)
  K <- sum(used)
  list(values = values, weights = mixture$weights[used],
       means = t(shared$turn(mixture$means[used, , drop = FALSE])), D = D, needed = needed,
       pairs = if (K > 1 && K <= 100) utils::combn(K, 2),
       one_space = same(values[needed]),
       # the eigenvalue of each D, if it has one
       own = apply(there, 2, function(on) if (same(values[on])) values[on][1] else NA),
       right_angles = all(abs(products - diag(norm2, length(norm2))) <=
                            1e-12 * sqrt(outer(norm2, norm2))),
       norm2 = norm2)
}

# For each step of the run `d`, the strengths it allows.
steps_allow <- function(geometry, d) {
  steps <- if (is.null(geometry$problem)) one_score_steps(d$sampler, d$times, d$schedule)
  if (is.null(steps)) return(NULL)
  precision <- function(values) 1 / (outer(steps$a^2, values) + steps$b2)
  # the largest strength with strength * load <= room, none if there is no room
  most <- function(room, load) ifelse(room < 0, NA, ifelse(load > 0, room / load, Inf))
  lowest <- function(x) if (ncol(x)) do.call(pmin, as.data.frame(x)) else rep(Inf, nrow(x))
  p <- precision(geometry$own)
  load <- steps$beta * steps$a^2 * p^2 * rep(geometry$norm2, each = nrow(steps)) / 4
  steps$monotone <- lowest(most(steps$alpha - steps$beta * p, load))
  # all strengths have the same particles before the first step
  steps$monotone[1] <- Inf
  p <- if (!any(geometry$needed)) 1 / steps$b2 else {
    precision(geometry$values[geometry$needed][1])[, 1]
  }
  P <- precision(geometry$values)
  V <- vapply(seq_len(nrow(steps)), function(k) largest_variance(geometry, steps$a[k], P[k, ]), 0)
  # V is of the means times P; in one eigenspace P is the number p
  load <- steps$beta * steps$a^2 * V
  steps$entropy <- most(2 * (steps$alpha - steps$beta * p), load)
  steps[["no fold"]] <- most(steps$alpha - steps$beta * row_max(P), load)
  # a map without folds has no larger determinant than without guidance, in any eigenspaces
  if (!geometry$one_space) steps$entropy <- steps[["no fold"]]
  if (any(steps$beta < 0)) steps[c("monotone", "entropy", "no fold")] <- NA
  steps
}

# The largest variance, along any direction, of P mu_k under probabilities q_k ~ w_k exp(a x'P mu_k
# - a^2 mu_k'P mu_k/2): over all x where the means are on a line, else a bound.
largest_variance <- function(geometry, a, P) {
  K <- length(geometry$weights)
  if (K == 1) return(0)
  means <- P * (geometry$means - geometry$means[, 1])
  pairs <- geometry$pairs
  # very many means are replaced by a ball that holds them
  if (is.null(pairs)) return(max(colSums((means - rowMeans(means))^2)))
  gap2 <- colSums((means[, pairs[1, ], drop = FALSE] - means[, pairs[2, ], drop = FALSE])^2)
  if (K == 2 || max(gap2) == 0) return(max(gap2) / 4)
  far <- means[, which.max(colSums(means^2))]
  y <- colSums(means * far) / sqrt(sum(far^2))
  if (sum(means^2) - sum(y^2) > 1e-12 * sum(y^2)) return(max(gap2) / 4)
  # on a line q_k ~ exp(level_k + theta y_k), with any theta
  level <- log(geometry$weights) - a^2 * colSums(geometry$means * P * geometry$means) / 2
  gap <- y[pairs[1, ]] - y[pairs[2, ]]
  even <- ((level[pairs[2, ]] - level[pairs[1, ]]) / gap)[gap != 0]
  variance <- function(theta) {
    l <- level + outer(y, theta)
    q <- exp(l - rep(row_max(t(l)), each = K))
    total <- colSums(q)
    colSums(q * y^2) / total - (colSums(q * y) / total)^2
  }
  reach <- 4 / abs(gap[gap != 0])
  theta <- seq(min(even - reach), max(even + reach), length.out = 129)
  best <- which.max(variance(theta))
  stats::optimize(variance, theta[pmin(pmax(best + c(-1, 1), 1), length(theta))],
                  maximum = TRUE, tol = 1e-6)$objective
}

# The largest strength with a guarantee, NA if there is none, with the reason in words.
allowance <- function(strength, ...) structure(strength, why = paste(...))

# The reason why no number of steps can prove a claim, or NULL.
out_of_reach <- function(claim, geometry, sampler) {
  if (!is.null(geometry$problem)) return(geometry$problem)
  # without a rival only the steps of the class itself can fold
  if (!length(geometry$norm2) && claim != "no fold") return(NULL)
  why <- switch(
    claim,
    # near the end of the run G tends to a multiple of D_k' P^2 D_j
    confidence = if (min(crossprod(geometry$D / geometry$values)) < -1e-12) {
      if (length(unique(geometry$values)) == 1) "an angle at the class is obtuse" else
        "near the data guidance lowers some log-odds"
    },
    monotone = if (anyNA(geometry$own)) "a difference of means is no eigenvector" else
      if (!geometry$right_angles) "differences of means are not at right angles",
    entropy = if (sampler$stochastic && !geometry$one_space) {
      "differences of means lie in several eigenspaces"
    },
    "no fold" = if (sampler$stochastic) "the sampler is stochastic"
  )
  if (!is.null(why)) paste("nothing is proved:", why)
}

allowed_strength <- function(claim, geometry, d, at) {
  why <- out_of_reach(claim, geometry, d$sampler)
  if (!is.null(why)) return(allowance(NA_real_, why))
  if (!length(geometry$norm2) && claim != "no fold") {
    return(allowance(Inf, "there is nothing to guide away from"))
  }
  if (claim == "confidence") return(allowed_by_weights(geometry, d))
  if (is.null(at)) {
    return(allowance(NA_real_, "nothing is proved: a step is not alpha x + beta s + noise"))
  }
  strength <- at[[claim]]
  if (anyNA(strength)) return(allowance(NA_real_, "not guaranteed: too long steps"))
  worst <- which.min(strength)
  if (is.infinite(strength[worst])) return(allowance(Inf, "no step sets a limit"))
  allowance(strength[worst], "the step from t =", format(d$times[worst], digits = 3),
            "allows least")
}

# The claim "confidence": all G^i_kj >= 0.
allowed_by_weights <- function(geometry, d) {
  times <- d$times
  schedule <- d$schedule
  steps <- sampler_program(d$sampler, times, schedule, one_is_enough = TRUE)
  need_memory(times, schedule, "this condition")
  nothing <- function(why) allowance(NA_real_, "nothing is proved:", why)
  if (has_fixed(steps)) return(nothing("scores with a strength of their own"))
  program <- compile_program(steps, times, length(geometry$values))
  if (is_by_coordinate(program)) return(nothing("one coefficient per coordinate"))
  if (any(reads_hessian(op_kinds(program)))) return(nothing("the noise depends on the score"))
  values <- geometry$values[geometry$needed]
  D <- geometry$D[geometry$needed, , drop = FALSE]
  map <- affine_map(program, program_levels(program, schedule), values)
  a <- schedule$a(map$score_time)
  b2 <- schedule$b2(map$score_time)
  last <- times[length(times)]
  ends <- schedule$a(last) / (schedule$a(last)^2 * values + schedule$b2(last))
  least <- vapply(seq_along(a), function(i) {
    min(crossprod(D, ends * map$score[, i] * a[i] / (a[i]^2 * values + b2[i]) * D))
  }, 0)
  if (all(least >= -1e-12 * max(abs(least)))) {
    return(allowance(Inf, "every evaluation of the score raises the log-odds"))
  }
  allowance(NA_real_, "not guaranteed: what is added at t =",
            format(map$score_time[which.min(least)], digits = 3), "may lower log-odds")
}

# The number of steps, on the sampler's kind of grid, from which each claim is guaranteed: from the
# present number by halving or doubling, then by bisection.
steps_needed <- function(geometry, d, strength, most = 1024) {
  sampler <- d$sampler
  none <- stats::setNames(rep(NA_real_, length(claims)), claims)
  if (!is.null(geometry$problem) || is.numeric(sampler$grid) || is.null(sampler$steps)) return(none)
  known <- list()
  holds <- function(claim, n) {
    d$sampler$steps <- n
    d$times <- sampler_times(d$sampler, d$schedule, d$horizon)
    if (claim != "confidence" && is.null(known[[paste(n)]])) {
      known[[paste(n)]] <<- list(steps_allow(geometry, d))
    }
    allowed <- allowed_strength(claim, geometry, d, known[[paste(n)]][[1]])
    isTRUE(strength <= allowed)
  }
  needed <- function(claim) {
    if (!is.null(out_of_reach(claim, geometry, sampler))) return(NA_real_)
    # a guarantee fails at `low` and holds at `high`
    low <- high <- sampler$steps
    while (low >= 1 && holds(claim, low)) {
      high <- low
      low <- floor(low / 2)
    }
    while (!holds(claim, high)) {
      low <- high
      high <- 2 * high
      # more steps have the same form
      other <- claim != "confidence" && is.null(known[[paste(low)]][[1]])
      if (other || high > most) return(NA_real_)
    }
    while (high - low > 1) {
      middle <- floor((low + high) / 2)
      if (holds(claim, middle)) high <- middle else low <- middle
    }
    high
  }
  vapply(claims, needed, 0)
}

#' Strength that the steps can bear
#'
#' A strength for [guidance()] that is reduced, step by step, to the limit of [step_condition()]:
#' the cure if long steps and strong guidance split a class.
#'
#' @inheritParams step_condition
#' @param claim The claim to keep guaranteed: `"entropy"` (no step takes particles further apart
#'   than without guidance; up to twice the strength), `"no fold"`, or `"monotone"`.
#' @param share The share of the limit to use, above 0 and at most 1, with which a step may lead
#'   many particles to the same place.
#' @return A function of time, for the `strength` of a [guidance()]: constant between the times at
#'   which the sampler takes scores. `as.data.frame()` has these times `t` and the `strength` there.
#' @section Errors: of class `mixguide_error`; among others if nothing is proved.
#' @source Derived for this package.
#' @examples
#' mixture <- named_mixture("D3")
#' sampler <- sampler_euler(50, "uniform")
#' run <- function(strength) {
#'   guided_sample(mixture, 500, guidance("1", strength), sampler, horizon = 5)
#' }
#' confidence(run(100))
#' confidence(run(capped_strength(mixture, guidance("1", 100), sampler, horizon = 5)))
#' @export
capped_strength <- function(mixture, ..., claim = c("entropy", "no fold", "monotone"),
                            share = .9) {
  d <- as_diffusion(mixture, ..., default = list(sampler = sampler_ddim()), without = "score_error")
  strength <- claimed_strength(d)
  claim <- check_choice(claim, claims[c(3, 4, 2)], "claim")
  share <- check_number(share, "share", min = 1e-6, max = 1)
  geometry <- step_geometry(in_process(d$mixture), d$guidance$class)
  limits <- steps_allow(geometry, d)
  allowed <- allowed_strength(claim, geometry, d, limits)
  if (is.na(allowed)) {
    abort(paste0("no strength is known to be safe for \"", claim, "\": ", attr(allowed, "why")),
          "input")
  }
  t <- if (is.null(limits)) d$times[1] else limits$t
  capped <- pmin(strength, share * if (is.infinite(allowed)) Inf else limits[[claim]])
  structure(nearest_strength(data.frame(t = t, strength = capped)),
            class = object_class("capped_strength"), strength = strength, claim = claim)
}

# The strength at the nearest of the times.
nearest_strength <- function(steps) {
  force(steps)
  function(t) steps$strength[which.min(abs(steps$t - t))]
}

as_table.capped_strength <- function(x) environment(x)$steps

in_words.capped_strength <- function(x) {
  steps <- environment(x)$steps
  below <- steps$strength < attr(x, "strength")
  cap <- function(extreme) format(extreme(steps$strength), digits = 3)
  paste0(format(attr(x, "strength")), if (!any(below)) ", which no step caps" else {
    paste0(", capped at ", sum(below), " of ", count_of(nrow(steps), "step"), ": from ", cap(min),
           " at t = ", format(steps$t[which.min(steps$strength)], digits = 3), " to ", cap(max))
  }, " (\"", attr(x, "claim"), "\")")
}

claim_rows <- function(x) {
  data.frame(" " = ifelse(x$holds %in% TRUE, "[yes]", "[ ? ]"),
             claim = unname(claim_words[x$claim]),
             "up to" = ifelse(is.infinite(x$strength), "any",
                              ifelse(x$strength > 0, format(x$strength, digits = 4), "-")),
             steps = ifelse(is.na(x$steps), "-", x$steps), check.names = FALSE)
}

picture.step_condition <- function(object, setup) {
  allowed <- setup$at
  known <- intersect(claims[-1], object$claim[object$strength > 0])
  # no steps if nothing is proved
  curves <- do.call(rbind, lapply(if (!is.null(allowed)) known, function(claim) {
    curve <- data.frame(t = allowed$t, strength = allowed[[claim]], claim = claim)
    curve[is.finite(curve$strength), ]
  }))
  if (!NROW(curves)) abort_input("object", "one of steps that set a limit", "none")
  ggplot(curves, aes(.data$t, .data$strength, colour = .data$claim)) +
    geom_hline(yintercept = if (setup$strength > 0) setup$strength, linetype = "22",
               colour = "grey50") +
    geom_line() + geom_point(size = .8) + scale_x_reverse() + scale_y_log10() +
    scale_colour_manual(values = stats::setNames(class_palette(3), claims[-1]), name = "claim") +
    finish("The strength that each step allows", c(format(setup$sampler), format(setup$schedule)),
           paste("Dashed: strength", format(setup$strength)),
           x = "time t of the step, from noise to data", y = "largest strength")
}

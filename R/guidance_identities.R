#' Identities of guided sampling, both sides
#'
#' What guidance does to some means is known exactly, whatever the geometry of the mixture: to those
#' of `log q` and `1/q`, `q = p_t(class | x_t)`, along the reverse SDE (a stochastic sampler), and
#' to the entropy along the probability-flow ODE (a deterministic one). Both sides are computed.
#'
#' @details All expectations are over the guided particles, `g = grad log q`, and `G^2` is that of
#' the [schedule].
#'
#' **SDE**, for *any* mixture, class and strength `eta`:
#' * `E log q(end) - E log q(start) = (1 + 2 eta) int E|g|^2 G^2/2 dt`,
#' * `E 1/q(end) - E 1/q(start) = -2 eta int E[|g|^2/q] G^2/2 dt`.
#'
#' So for `eta >= 0` the mean of `log q` rises and that of `1/q` does not. (Neither implies that the
#' mean of `q` itself rises with `eta`: it may fall.)
#'
#' **ODE**, for components of a common covariance `Sigma`: let `S_t = a^2 Sigma + b^2 I`,
#' `P = S_t^-1`, and let `C_all`, `C_class` be the covariance of the component means under the
#' responsibilities of all components and of those of the class. Then for `h = -E log p`
#' `h(end) - h(start) = (log det S_end - log det S_start)/2
#'           + int (G^2/2) a^2 E[(1 + eta) tr(P C_class P) - eta tr(P C_all P)] dt`.
#' The first term is exact. If the class is one Gaussian it belongs to the class's own flow; then
#' `C_class = 0` and the integral, the term of guidance, is negative for any weights, means and
#' covariance. This is the theorem of Wu et al. on the entropy of DDIM.
#'
#' **Steps.** The identities hold in continuous time. Along the SDE, where the integral has fourth
#' order, steps of size `h` let the sides differ by O(h). `limit = TRUE` runs `steps` and `2 steps`
#' and extrapolates, twice the finer minus the coarser one, which leaves O(h^2). Along the ODE the
#' integral is taken along each trajectory by the trapezoidal rule, and `end` is the entropy by the
#' log-density `"map"` of the discrete steps: take many steps.
#'
#' @inheritParams guided_sample
#' @param n Number of particles. `NULL`: for the SDE none, but the exact law of the chain on a grid
#'   (see [guided_law()]), in one or two dimensions or in runs that reduce to them; for the ODE,
#'   whose identity needs particles, 1e4.
#' @param guidance Label of the class to guide to, or several for their union; `NULL` for the class
#'   of the diffusion.
#' @param strength Strengths of the guidance.
#' @param sampler A sampler of the reverse SDE, as [sampler_em()], the default with 100 steps,
#'   [sampler_exponential()] with `stochastic = TRUE` or [sampler_ddpm()]; or a deterministic one of
#'   the ODE, as `sampler_rk4(100)`.
#' @param limit Whether to extrapolate to continuous time (SDE only).
#' @param ... Further arguments of [diffusion()] that follow the mixture there. `start`: for the SDE
#'   `"normal"` or `"exact"`; from the exact start `E 1/q(start) = 1/p(class)`.
#' @return A sweep ([mixguide_table]) of class `guidance_identities` with a row per strength and
#'   identity: `strength`; `mean_of`, the function whose mean an identity is about (`"log q"` and
#'   `"1/q"`, or `"-log p"`, whose mean is the entropy in nats); this mean at `start` and `end`;
#'   `change`, the difference of the two; `integral`, its value by the identity; `guidance`, the
#'   part of the integral that is due to guidance (of `log q` `2 eta` of `1 + 2 eta`; of `1/q` all;
#'   of the entropy all but the first term); `gap = change - integral`; for particles the standard
#'   error of each (`start_se`, ...), paired for differences; `method` and `note`.
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit, for covariances that
#'   differ along the ODE, and for point masses down to `t = 0`.
#' @source Derived for this package. SDE, related: Li and Jiao (2025),
#'   \doi{10.48550/arXiv.2505.01382}, for `1/q`; Azangulov et al. (2025),
#'   \doi{10.48550/arXiv.2505.19367}, for the martingale. ODE: Wu, Chen, Li, Wang and Wei (2024),
#'   \doi{10.48550/arXiv.2403.01639}, for the conclusion; the formula in this form is ours.
#' @seealso [guidance_sweep()], whose `mean_inverse_confidence` is `E 1/q(end)`; [entropy()].
#' @examples
#' # a mixture for which the mean of q itself falls along the ODE
#' guidance_identities(named_mixture("NC1"), guidance = "1", strength = 0:1,
#'                     sampler = sampler_em(50))
#' guidance_identities(named_mixture("G4"), 1000, "1", 1, sampler_em(50))
#' # the entropy along the ODE
#' guidance_identities(named_mixture("A2"), 500, "1", 2, sampler_rk4(100))
#' @export
guidance_identities <- function(mixture, n = NULL, guidance = NULL,
                                strength = c(0, 0.5, 1, 2, 4, 8), sampler = NULL, ...,
                                limit = FALSE) {
  d <- as_diffusion(mixture, ..., own = list(guidance = guidance, sampler = sampler),
                    default = list(sampler = sampler_em(100)), without = "score_error")
  class <- plain_guidance(d)$class
  strength <- check_strengths(strength)
  sampler <- d$sampler
  stochastic <- sampler$stochastic
  if (is.null(n) && !stochastic) n <- 1e4
  if (!is.null(n)) n <- check_n(n, min = 2)
  if (stochastic) check_choice(d$start, c("normal", "exact"), "start")
  if (!stochastic && !startsWith(d$mixture$form, "common")) {
    abort_input("mixture", paste("one whose components have a common covariance, for the entropy",
                                 "along the ODE (for the SDE: sampler = sampler_em(100))"),
                d$mixture$form)
  }
  if (check_flag(limit, "limit")) {
    if (!stochastic) refuse_sampler(d, "one of the reverse SDE for `limit`", "sampler_em(100)")
    if (is.null(sampler$steps) || is.numeric(sampler$grid)) {
      abort_input("sampler", "one of a number of steps on a grid that can be refined", "another")
    }
  }
  d$key <- run_key(d)
  faults <- warn_faults(diffusion_faults(d))
  process <- process_diffusion(d)
  sides_of <- if (stochastic) class_sides else entropy_sides
  all_sides <- function(process) {
    need_memory(process$times, d$schedule, "these identities")
    if (closing_time(process$mixture, process$times, d$schedule) > min(process$times)) {
      abort("`mixture` has a singular covariance: stop the sampler at `end` > 0", "singular")
    }
    lapply(strength, function(eta) {
      sides_of(replace(process, "guidance", list(guidance(class, eta))), eta, n)
    })
  }
  sides <- all_sides(process)
  if (limit) {
    finer <- change_diffusion(process, list(sampler = replace(sampler, "steps", 2 * sampler$steps)))
    sides <- Map(function(fine, coarse) Map(function(fine, coarse) 2 * fine - coarse, fine, coarse),
                 all_sides(finer), sides)
  }
  rows <- do.call(rbind, Map(identity_rows, strength, sides))
  if (!stochastic) {
    rows[c("start", "end")] <- rows[c("start", "end")] + log_units(d$mixture)
    rows$note <- time_note(process$mixture, class, process$times)
  }
  new_table(rows, "guidance_identities",
            c(about_process(d, paste0("both sides, ",
                                      if (is.null(n)) "by quadrature" else "by particles",
                                      if (limit) ", extrapolated to continuous time")),
              process_lines(d, guidance = paste("towards", aim_words(class)))),
            setup_of(d, n = n, faults = faults), keys = c("strength", "mean_of"),
            methods = if (!stochastic && all(rows$start_se == 0)) c(start = "exact"),
            foot = paste0("change: end - start of the mean",
                          if (stochastic) ", q = p(class | x)" else " (the entropy)",
                          "; integral: what it is in continuous time; guidance: its part of that",
                          if (!stochastic) ", beside the class's own flow, which is exact",
                          "; gap: change - integral"))
}

# The rows of one strength, from both sides: matrices with a column per identity, and a row per
# particle, or a single one by quadrature.
identity_rows <- function(strength, sides) {
  change <- sides$end - sides$start
  sides <- list(start = sides$start, end = sides$end, change = change, integral = sides$integral,
                guidance = sides$guidance, gap = change - sides$integral)
  drawn <- nrow(change) > 1
  rows <- lapply(colnames(change), function(mean_of) {
    values <- lapply(sides, function(side) side[, mean_of])
    # the integral is a mean of 1/q, too
    heavy <- drawn && mean_of == "1/q" &&
      any(vapply(values[c("start", "end", "integral")], function(x) {
        is.na(mean_of_weights(log(abs(x)), x)$estimate)
      }, NA))
    means <- lapply(values, function(x) {
      if (heavy) heavy_row() else if (drawn) exact_if_constant(sample_mean(x)) else {
        estimate_row(x, 0, "quadrature")
      }
    })
    se <- lapply(means, `[[`, "se")
    numbers <- c(lapply(means, `[[`, "estimate"),
                 if (drawn) stats::setNames(se, paste0(names(se), "_se")))
    data.frame(strength = strength, mean_of = mean_of, numbers,
               method = joint_method(vapply(means, `[[`, "", "method")),
               note = means$start$note)
  })
  do.call(rbind, rows)
}

# Both sides of the identities of the SDE: by particles, whose sums are kept for each, or by the
# laws of the chain at all times.
class_sides <- function(process, strength, n) {
  mixture <- process$mixture
  times <- process$times
  weight <- grid_quadrature(times, 4) * process$schedule$diffusion2(times) / 2
  start <- end <- NULL
  total <- 0
  visit <- function(k, x, mass = NULL) {
    terms <- class_terms(mixture, process$guidance, x, times[k], process$schedule)
    if (!is.null(mass)) terms <- lapply(terms, function(term) t(colSums(mass * term)))
    if (k == 1) start <<- terms$value
    if (k == length(times)) end <<- terms$value
    total <<- total + weight[k] * terms$gain
  }
  if (is.null(n)) {
    run <- law_run(process, visit = visit)
    mixture <- run$mixture
    chain_law(run)
  } else {
    run <- quiet_sample(process, n, log_density = "none", trajectory = TRUE)
    for (k in seq_along(times)) visit(k, matrix(run$trajectory[k, , ], n))
  }
  scaled <- function(by) total * rep(by, each = nrow(total))
  list(start = start, end = end, integral = scaled(c(1 + 2 * strength, -2 * strength)),
       guidance = scaled(c(2, -2) * strength))
}

# log q and 1/q at the points x (`value`), and what their means are due to, |g|^2 and |g|^2/q.
class_terms <- function(mixture, guidance, x, t, schedule) {
  guide <- guidance_models(guidance, mixture)
  level <- noise_level(mixture, t, schedule)
  eval <- function(what) core_eval(mixture, x, level$a, level$b2, guide$models, c(1, -1), what)
  logp <- eval("logp")
  log_q <- pmin(guide$log_prior + logp[[1]] - logp[[2]], 0)
  square <- rowSums(eval("score")^2)
  list(value = cbind("log q" = log_q, "1/q" = exp(-log_q)),
       gain = cbind("log q" = square, "1/q" = square * exp(-log_q)))
}

# Both sides of the identity of the ODE, for each particle.
entropy_sides <- function(process, strength, n) {
  mixture <- process$mixture
  schedule <- process$schedule
  times <- process$times
  run <- quiet_sample(process, n, log_density = "map", trajectory = TRUE)
  weight <- grid_quadrature(times, 2)
  guidance <- 0
  for (k in seq_along(times)) {
    guidance <- guidance + weight[k] * trace_terms(process, strength, k, run$trajectory[k, , ])
  }
  log_det <- function(t) sum(log(diffused_values(mixture, schedule$a(t), schedule$b2(t))))
  flow <- (log_det(min(times)) - log_det(max(times))) / 2
  start <- if (is.null(run$start_entropy)) run$density_change - run$log_density else {
    rep(run$start_entropy, n)
  }
  named <- function(x) matrix(x, n, dimnames = list(NULL, "-log p"))
  list(start = named(start), end = named(start - run$density_change),
       integral = named(guidance + flow), guidance = named(guidance))
}

# (G^2/2) a^2 ((1 + eta) tr(P C_class P) - eta tr(P C_all P)) at points x of the k-th time.
trace_terms <- function(process, strength, k, x) {
  mixture <- process$mixture
  schedule <- process$schedule
  t <- process$times[k]
  inside <- class_components(mixture, process$guidance$class)
  mixture$class <- as.character(seq_along(mixture$class))
  q <- posterior(mixture, matrix(x, ncol = mixture_dim(mixture)), t, schedule)
  means <- unname(mixture$means %*% component_axes(mixture))
  variance <- diffused_values(mixture, schedule$a(t), schedule$b2(t))
  scaled <- means / rep(variance, each = nrow(means))
  # tr(P C P) = sum_k q_k |P mu_k|^2 - |sum_k q_k P mu_k|^2, over some components
  spread <- function(of) {
    q <- q[, of, drop = FALSE] / rowSums(q[, of, drop = FALSE])
    scaled <- scaled[of, , drop = FALSE]
    drop(q %*% rowSums(scaled^2)) - rowSums((q %*% scaled)^2)
  }
  within <- if (sum(inside) > 1) spread(inside) else 0
  schedule$diffusion2(t) / 2 * schedule$a(t)^2 * ((1 + strength) * within - strength * spread(TRUE))
}

#' The entropy of guided deterministic sampling, two ways
#'
#' Guidance lowers the entropy of the probability-flow ODE by a term with a formula. This function
#' evaluates both sides: the entropy from the log-densities of the particles, and the formula.
#'
#' @details For components of a common covariance let `S_t = a^2 Sigma + b^2 I`, `P = S_t^-1`, and
#' let `C_all`, `C_class` be the covariance of the component means under the responsibilities of all
#' components and of those of the class, at the particle. Then
#' `h(end) = h(start) + (log det S_end - log det S_start)/2
#'           + int (G^2/2) a^2 E[(1 + eta) tr(P C_class P) - eta tr(P C_all P)] dt`.
#' The first two terms are exact. If the class is one Gaussian they belong to its own flow; then
#' `C_class = 0` and the term of guidance, `-eta int (G^2/2) a^2 E tr(P C_all P) dt`, is negative
#' for any weights, means and covariance. This is the theorem of Wu et al. on the entropy of DDIM.
#' The expectation is over the guided particles.
#'
#' The integral is taken along the trajectories by the trapezoidal rule over the times of the
#' sampler. The log-density with `"map"` is that of the discrete steps. The two results, both means
#' over the same particles, agree up to the discretisation and their standard errors.
#'
#' @inheritParams guided_sample
#' @param ... Further arguments of [diffusion()] that follow the mixture there: `guidance`
#'   towards one class, of one strength; a deterministic `sampler` of the ODE, with many or
#'   high-order steps.
#' @return A table of estimates ([mixguide_table]) of class `entropy_identity`: the rows
#'   `"log_density"` and `"trace_formula"` of the column `quantity` are the entropy both ways; the
#'   rows `"start"`, `"flow"` (both exact) and `"guidance"` (Monte Carlo) are the terms of the
#'   formula.
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit, covariances that
#'   differ and stochastic samplers.
#' @source Wu, Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639}, for the conclusion;
#'   the formula in this form is derived for this package.
#' @examples
#' entropy_identity(named_mixture("A2"), guidance = guidance("1", 2), n = 500)
#' @export
entropy_identity <- function(mixture, n = 1e4, ...) {
  d <- as_diffusion(mixture, ..., default = list(sampler = sampler_rk4(100)),
                    without = "score_error")
  guidance <- plain_guidance(d)
  class <- guidance$class
  strength <- constant_strength(guidance)
  n <- check_count(n, "n", min = 2)
  mixture <- d$mixture
  schedule <- d$schedule
  if (!startsWith(mixture$form, "common")) {
    abort_input("mixture", "one whose components have a common covariance", mixture$form)
  }
  if (d$sampler$stochastic) refuse_sampler(d, "deterministic", "sampler_rk4(100)")
  volume <- log_units(mixture)
  mixture <- in_process(mixture)
  run <- guided_sample(process_diffusion(d), n, log_density = "map", trajectory = TRUE)
  need_memory(run$times, schedule, "this identity")
  log_variance <- function(t) log(diffused_values(mixture, schedule$a(t), schedule$b2(t)))
  integrand <- vapply(seq_along(run$times), function(i) {
    trace_terms(mixture, class, strength, matrix(run$trajectory[i, , ], ncol = ncol(run$x)),
                run$times[i], schedule)
  }, double(nrow(run$x)))
  step <- -diff(run$times)
  integrand <- matrix(integrand, nrow(run$x))
  path <- drop(integrand %*% (c(step, 0) + c(0, step)) / 2)
  guidance <- sample_mean(path)
  flow <- sum(log_variance(min(run$times)) - log_variance(max(run$times))) / 2
  exact <- function(value) estimate_row(value, 0, "exact")
  terms <- rbind(exact(run$start_entropy + volume), exact(flow), guidance)
  at_end <- entropy(run)[ESTIMATE]
  at_end$estimate <- at_end$estimate + volume
  rows <- rbind(at_end, estimate_row(sum(terms$estimate), guidance$se, "Monte Carlo"), terms)
  quantity <- c("log_density", "trace_formula", "start", "flow", "guidance")
  new_table(data.frame(quantity, rows), "entropy_identity",
            c(count_of(number(n), "particle"), process_lines(d)),
            setup_of(d, n = n, faults = run$faults),
            labels = c(log_density = "entropy by the log-density",
                       trace_formula = "entropy by the trace formula", start = "  of it, start",
                       flow = "  of it, flow of the class", guidance = "  of it, guidance"))
}

# (G^2/2) a^2 ((1 + eta) tr(P C_class P) - eta tr(P C_all P)) at the points x.
trace_terms <- function(mixture, class, strength, x, t, schedule) {
  inside <- class_components(mixture, class)
  mixture$class <- as.character(seq_along(mixture$class))
  q <- posterior(mixture, x, t, schedule)
  V <- mixture$vectors
  means <- unname(if (is.null(V)) mixture$means else mixture$means %*% V)
  variance <- diffused_values(mixture, schedule$a(t), schedule$b2(t))
  scaled <- means / rep(variance, each = nrow(means))
  # tr(P C P) = sum_k q_k |P mu_k|^2 - |sum_k q_k P mu_k|^2
  spread <- function(q) drop(q %*% rowSums(scaled^2)) - rowSums((q %*% scaled)^2)
  within <- 0
  if (sum(inside) > 1) {
    only <- q[, inside, drop = FALSE]
    full <- 0 * q
    full[, inside] <- only / rowSums(only)
    within <- spread(full)
  }
  schedule$diffusion2(t) / 2 * schedule$a(t)^2 * ((1 + strength) * within - strength * spread(q))
}

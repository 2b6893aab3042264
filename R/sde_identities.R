#' Two identities of the guided SDE that need no condition
#'
#' Along the guided reverse SDE the class probability `q = p_t(class | x_t)` obeys, for *any*
#' mixture, class and strength `eta`, with `g = grad log q` and the `G^2` of the [schedule],
#' * `E log q(end) - E log q(start) = (1 + 2 eta) int E|g|^2 G^2/2 dt`,
#' * `E 1/q(end) - E 1/q(start) = -2 eta int E[|g|^2/q] G^2/2 dt`.
#'
#' So the mean of `log q` rises and that of `1/q` does not, whatever the geometry, for `eta >= 0`.
#' (Neither implies that the mean of `q` itself rises with `eta`: it may fall.) The function
#' computes both sides.
#'
#' @details The integrals over the times of the sampler, of expectations that are smooth in time,
#' have fourth order. The identities hold in continuous time: with steps of size `h` the sides
#' differ by O(h). `limit = TRUE` therefore runs `steps` and `2 steps` and extrapolates, twice the
#' finer minus the coarser one, which leaves O(h^2).
#'
#' @inheritParams guided_sample
#' @param guidance Label of the class to guide to, or several for their union; `NULL` for the class
#'   of the diffusion.
#' @param strength Strengths of the guidance.
#' @param sampler A sampler of the reverse SDE: [sampler_em()], the default with 100 steps,
#'   [sampler_exponential()] with `stochastic = TRUE`, [sampler_ddpm()].
#' @param n `NULL`: by the exact law of the chain on a grid (see [guided_law()]), in one or two
#'   dimensions or in runs that reduce to them. A number: by as many particles.
#' @param limit Whether to extrapolate to continuous time.
#' @param ... Further arguments of [diffusion()] that follow the mixture there. `start`:
#'   `"normal"` or `"exact"`; from the exact start `E 1/q(start) = 1/p(class)`.
#' @return A sweep ([mixguide_table]) of class `sde_identities` with a row per strength and
#'   identity: `strength`; `mean_of`, the function whose mean an identity is about (`"log q"` or
#'   `"1/q"`); its `start` and `end`; `change`, the difference of the two, and `integral`, its value
#'   by the identity; `gap = change - integral`; for particles also `change_se`, `integral_se` and
#'   `gap_se`, which is paired (0 for quadrature); `method`; and `note`.
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit and for point masses
#'   down to `t = 0`.
#' @source Derived for this package. Related: Li and Jiao (2025),
#'   \doi{10.48550/arXiv.2505.01382}, for `1/q`; Azangulov et al. (2025),
#'   \doi{10.48550/arXiv.2505.19367}, for the martingale.
#' @seealso [guidance_sweep()], whose `mean_inverse_confidence` is `E 1/q(end)`.
#' @examples
#' # a mixture for which the mean of q itself falls along the ODE
#' sde_identities(named_mixture("NC1"), "1", c(0, 1), sampler = sampler_em(50))
#' sde_identities(named_mixture("G4"), "1", 1, n = 1000, sampler = sampler_em(50))
#' @export
sde_identities <- function(mixture, guidance = NULL, strength = c(0, 0.5, 1, 2, 4, 8), n = NULL,
                           sampler = NULL, ..., limit = FALSE) {
  d <- as_diffusion(mixture, ..., own = list(guidance = guidance, sampler = sampler),
                    default = list(sampler = sampler_em(100)), without = "score_error")
  class <- plain_guidance(d)$class
  strength <- check_strengths(strength)
  if (!is.null(n)) n <- check_count(n, "n", min = 2)
  sampler <- d$sampler
  if (!sampler$stochastic) refuse_sampler(d, "one of the reverse SDE", "sampler_em(100)")
  check_choice(d$start, c("normal", "exact"), "start")
  d$key <- run_key(d)
  faults <- warn_faults(diffusion_faults(d))
  process <- process_diffusion(d)
  one <- function(sampler) {
    process <- change_diffusion(process, list(sampler = sampler))
    times <- process$times
    if (closing_time(process$mixture, times, d$schedule) > times[length(times)]) {
      abort("`mixture` has a singular covariance: stop the sampler at `end` > 0", "singular")
    }
    do.call(rbind, lapply(strength, function(eta) {
      sides <- sde_sides(replace(process, "guidance", list(guidance(class, eta))), eta, n)
      data.frame(strength = eta, mean_of = c("log q", "1/q"), sides)
    }))
  }
  rows <- one(sampler)
  if (check_flag(limit, "limit")) {
    if (is.null(sampler$steps) || is.numeric(sampler$grid)) {
      abort_input("sampler", "one of a number of steps on a grid that can be refined", "another")
    }
    finer <- one(replace(sampler, "steps", 2 * sampler$steps))
    sides <- setdiff(names(rows)[vapply(rows, is.numeric, NA)], "strength")
    for (side in sides) {
      rows[[side]] <- if (endsWith(side, "_se")) sqrt(4 * finer[[side]]^2 + rows[[side]]^2) else {
        2 * finer[[side]] - rows[[side]]
      }
    }
  }
  new_table(rows, "sde_identities",
            c(about_process(d, paste0("both sides, ",
                                      if (is.null(n)) "by quadrature" else "by particles",
                                      if (limit) ", extrapolated to continuous time")),
              process_lines(d, guidance = paste("towards", aim_words(class)))),
            setup_of(d, n = n, faults = faults), keys = c("strength", "mean_of"),
            foot = paste("change: end - start of the mean, q = p(class | x); integral: what it is",
                         "in continuous time; gap: their difference"))
}

# Both sides of both identities: by particles, whose sums are kept for each, or by the laws of the
# chain at all times.
sde_sides <- function(process, strength, n) {
  mixture <- process$mixture
  times <- process$times
  schedule <- process$schedule
  need_memory(times, schedule, "these identities")
  weight <- grid_quadrature(times, 4) * schedule$diffusion2(times) / 2
  last <- length(times)
  begin <- end <- integral <- 0
  visit <- function(k, x, mass = NULL) {
    at <- class_gain(mixture, process$guidance, x, times[k], schedule)
    value <- cbind(at$log_q, exp(-at$log_q))
    rate <- cbind((1 + 2 * strength) * at$square, -2 * strength * at$square * value[, 2])
    if (!is.null(mass)) {
      value <- colSums(mass * value)
      rate <- colSums(mass * rate)
    }
    if (k == 1) begin <<- value
    if (k == last) end <<- value
    integral <<- integral + weight[k] * rate
  }
  if (is.null(n)) {
    run <- law_run(process, visit = visit)
    mixture <- run$mixture
    chain_law(run)
  } else {
    run <- quiet_sample(process, n, log_density = "none", trajectory = TRUE)
    for (k in seq_along(times)) visit(k, matrix(run$trajectory[k, , ], n))
  }
  sides <- list(start = begin, end = end, change = end - begin, integral = integral,
                gap = end - begin - integral)
  if (is.null(n)) return(data.frame(sides, method = "quadrature", note = ""))
  # means of 1/q at the start, at the end, and of the integral, which is such a mean too
  heavy <- any(vapply(list(begin, end, integral), function(side) {
    is.na(mean_of_weights(log(abs(side[, 2])), side[, 2])$estimate)
  }, NA))
  estimates <- lapply(sides, function(side) {
    at <- apply(side, 2, function(x) unlist(sample_mean(x)[c("estimate", "se")]))
    if (heavy) at[, 2] <- NA
    at
  })
  data.frame(lapply(estimates, function(x) x["estimate", ]),
             stats::setNames(lapply(estimates[3:5], function(x) x["se", ]),
                             paste0(names(sides)[3:5], "_se")),
             method = c("Monte Carlo", if (heavy) "unknown" else "Monte Carlo"),
             note = c("", if (heavy) heavy_row()$note else ""))
}

# log q and |g|^2 at the points x.
class_gain <- function(mixture, guidance, x, t, schedule) {
  guide <- guidance_models(guidance, mixture)
  level <- noise_level(mixture, t, schedule)
  eval <- function(what) core_eval(mixture, x, level$a, level$b2, guide$models, c(1, -1), what)
  logp <- eval("logp")
  list(log_q = pmin(guide$log_prior + logp[[1]] - logp[[2]], 0), square = rowSums(eval("score")^2))
}

#' DPOM and DPUM samplers
#'
#' Samplers of the probability-flow ODE with known polynomial guarantees: exponential-integrator
#' steps, followed after every stretch of time `1/L` by Langevin steps at the time reached,
#' overdamped (DPOM) or underdamped (DPUM).
#'
#' @details
#' `L = lipschitz`, times of the Ornstein-Uhlenbeck process. There are
#' `floor((horizon - predictor_step) L)` blocks of length `1/L`, each of
#' `ceil(1/(L predictor_step))` equal predictor steps and a correction; then a last block with steps
#' of `predictor_step` down to twice that, of half the time that is left from there on (but not
#' beyond `end`), and a correction at `end`. A correction is
#' * DPOM: `ceil(1/(L corrector_step))` steps of [corrector_langevin()], of total time `1/L`;
#' * DPUM: `ceil(1/(sqrt(L) corrector_step))` steps of [corrector_underdamped()] with a fresh
#'   velocity and friction `2 sqrt(L)`, of total time `1/sqrt(L)`.
#'
#' The guarantees (for a score and an estimate of it that are `L`-Lipschitz at all times, and errors
#' up to constants that the paper does not give) need `L^3 d/error^2` score evaluations for DPOM and
#' `L^2 sqrt(d)/error` for DPUM. Most mixtures in several dimensions have no global Lipschitz
#' constant. On mixtures with an exact score the predictor alone needs fewer evaluations for the
#' same error (observed, not proved); correctors remove the error of the start.
#'
#' The sizes determine the times, so there are no `steps` and `grid`. For other schedules,
#' predictors or sizes: [sampler_corrected()], which makes these two. The predictor alone, on the
#' same times, is `sampler_exponential(grid = sampler_dpom(...)$grid)`.
#'
#' @param lipschitz The Lipschitz constant `L` of the score that determines the sizes, positive.
#' @param predictor_step Size of the predictor's steps, at most `1/lipschitz`.
#' @param corrector_step Size of the corrector's steps.
#' @param horizon The time at which to start.
#' @param end The time at which to stop, positive and below `predictor_step`.
#' @return A [sampler()] on a grid of its own, so that runs start at `horizon`; `params$scores` is
#'   the number of score evaluations.
#' @source Chen, Chewi, Lee, Li, Lu and Salim (2023), \doi{10.48550/arXiv.2305.11798}. Of the paper
#'   the complexities are as published (stored); the structure of the algorithms is recalled, not
#'   verified against the paper; the friction, the blocks and the last block are fixed for this
#'   package.
#' @seealso [evaluations()]
#' @family samplers
#' @examples
#' sampler_dpom(4)
#' sampler_dpum(4)
#' # one Gaussian, exactly: with correctors, and the predictor alone
#' gaussian <- gaussmix(1, 1.5, .25)
#' dpom <- sampler_dpom(4, .025, .0125, horizon = 3, end = 1e-4)
#' guided_moments(gaussian, sampler = dpom)$kl
#' guided_moments(gaussian, sampler = sampler_exponential(grid = dpom$grid))$kl
#' @export
sampler_dpom <- function(lipschitz, predictor_step = 1 / (2 * lipschitz),
                         corrector_step = 1 / (4 * lipschitz), horizon = 5, end = 1e-3) {
  blocks_sampler("dpom", lipschitz, predictor_step, corrector_step, horizon, end, function(h, L) {
    corrector_langevin(h, whole(1 / (L * h), ceiling))
  })
}

#' @rdname sampler_dpom
#' @export
sampler_dpum <- function(lipschitz, predictor_step = 1 / (2 * lipschitz),
                         corrector_step = 1 / (4 * sqrt(lipschitz)), horizon = 5, end = 1e-3) {
  blocks_sampler("dpum", lipschitz, predictor_step, corrector_step, horizon, end, function(h, L) {
    corrector_underdamped(h, whole(1 / (sqrt(L) * h), ceiling), 2 * sqrt(L))
  })
}

blocks_sampler <- function(name, lipschitz, predictor_step, corrector_step, horizon, end,
                           corrector) {
  L <- check_number(lipschitz, "lipschitz", min = 0, open = TRUE)
  h <- check_number(predictor_step, "predictor_step", min = 0, open = TRUE)
  if (h * L > 1 + 1e-9) abort_input("predictor_step", "at most 1/lipschitz", describe(h))
  size <- check_number(corrector_step, "corrector_step", min = 0, open = TRUE)
  horizon <- check_number(horizon, "horizon", min = h, open = TRUE)
  end <- check_number(end, "end", min = 0, max = h, open = TRUE)
  per_block <- whole(1 / (L * h), ceiling)
  n <- whole((horizon - h) * L, floor)
  check_steps(n * per_block, "horizon * (steps per unit of time)", min = 0)
  times <- horizon - seq(0, n * per_block) / (L * per_block)
  t <- times[length(times)]
  while (t > end) {
    t <- max(t - if (whole(t / h, ceiling) > 2) h else t / 2, end)
    times <- c(times, t)
  }
  corrected <- sampler_corrected(sampler_exponential(grid = times), corrector(size, L),
                                 after = c(seq_len(n) * per_block, length(times) - 1))
  corrected$name <- name
  corrected$label <- toupper(name)
  corrected$params <- list(L = L, predictor_step = h, corrector_step = size)
  corrected$params$scores <- evaluations(corrected)
  corrected
}

# A number that is whole up to rounding, or the next one up (`ceiling`) or down (`floor`).
whole <- function(x, next_one) {
  near <- round(x)
  if (abs(x - near) <= 1e-9 * near) near else next_one(x)
}

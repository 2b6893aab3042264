#' Guidance by steps of different strength
#'
#' `sampler_pcg()` is predictor-corrector guidance: a step of DDIM with the class's own score, then
#' Langevin steps with the guided one. `sampler_zigzag()` is Z-sampling: a step of DDIM with the
#' guided score, an inverse step with a weaker one, and the step forward again.
#'
#' @details The run's guidance is that of the corrector, and of the steps forward; the other
#' strength belongs to the sampler.
#'
#' * `sampler_pcg()`: `x <- DDIM(x)` with the score of strength 0; then `corrections` times
#'   `x <- x + h s + sqrt(2 h) z` at the time t' that was reached, `h = size beta/2`, where `beta =
#'   b^2 - (a/a')^2 b'^2` is the variance of the noise that leads back from t' to t. With one
#'   correction of size 1 and ever more steps it is the reverse SDE with plain guidance of half the
#'   strength: for short steps, [sampler_ddpm()] of scale w is predictor-corrector guidance of scale
#'   2 w - 1. On A2 with strengths 1 and 2 the total variation between the two laws is
#'   .044, .023, .012 and .0063 at 50, 100, 200 and 400 steps: it falls like their length.
#' * `sampler_zigzag()`: in all steps but the last, `x' <- DDIM(x)`, then `rounds` times
#'   `x <- (a/a') x' + (b - (a/a') b') e`, with the noise `e` that a score of strength `low` sees in
#'   x' at the time t of the step's beginning, and `x' <- DDIM(x)` anew. `low = -1` is the authors'
#'   guidance scale of 0, the whole mixture; with `low` the strength of the guidance itself the way
#'   back and forth cancels up to the error of the inversion. Its log-density is that of the map.
#'
#' Results proved for samplers with one strength are not claimed for these.
#'
#' @inheritParams sampler
#' @param corrections Number of Langevin steps after each step.
#' @param size Size of the Langevin steps, relative to the step, positive.
#' @param low Strength of the inverse steps.
#' @param rounds How many times a step is taken back.
#' @return A [sampler()].
#' @source Bradley and Nakkiran (2024), \doi{10.48550/arXiv.2408.09000}, algorithm 2 (second-hand;
#'   the limit is derived, and computed in the tests); Bai et al. (2024),
#'   \doi{10.48550/arXiv.2412.10891}, read in the authors' code.
#' @seealso [op_eval()] for the strength of an evaluation; [sampler_corrected()].
#' @family samplers
#' @examples
#' m <- named_mixture("A2")
#' confidence(guided_law(m, guidance = guidance("1", 2), sampler = sampler_pcg(100)))
#' confidence(guided_law(m, guidance = guidance("1", 1), sampler = sampler_ddpm(100)))
#' confidence(guided_law(m, guidance = guidance("1", 2), sampler = sampler_zigzag(50)))
#' @export
sampler_pcg <- function(steps = 200, grid = "quadratic", end = 0, corrections = 1, size = 1) {
  corrections <- check_steps(corrections, "corrections")
  size <- check_number(size, "size", min = 0, open = TRUE)
  predictor <- sampler_ddim(steps, grid, end)
  step <- function(k, times, schedule) {
    h <- size / 2 * step_constants(k, times, schedule)$beta
    c(with_own_strength(predictor$step(k, times, schedule), 0),
      rep(langevin_step(times[k + 1], h), corrections))
  }
  sampler("pcg", step, steps, grid, end, stochastic = TRUE, label = "predictor-corrector guidance",
          params = list(corrections = corrections, size = size), vectorised = TRUE)
}

#' @rdname sampler_pcg
#' @export
sampler_zigzag <- function(steps = 200, grid = "quadratic", end = 0, low = -1, rounds = 1) {
  low <- check_number(low, "low")
  rounds <- check_steps(rounds, "rounds")
  forward <- sampler_ddim(steps, grid, end)
  step <- function(k, times, schedule) {
    ahead <- forward$step(k, times, schedule)
    if (k == length(times) - 1) return(ahead)
    const <- step_constants(k, times, schedule)
    back <- list(op_eval("(e)", t = times[k], want = "noise", strength = low),
                 op_linear("x", list(x = const$back, "(e)" = sqrt(const$b2) -
                                       const$back * sqrt(const$b2_next))))
    c(ahead, rep(c(back, ahead), rounds))
  }
  sampler("zigzag", step, steps, grid, end, stochastic = FALSE, divergence = FALSE,
          label = "Z-sampling", params = list(low = low, rounds = rounds))
}

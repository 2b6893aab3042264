#' Time grids
#'
#' The decreasing times at which a sampler stands, from the horizon (noise) to `end` (data).
#'
#' @details With `N = steps`, `T = horizon` and `k = 0, ..., N`:
#' * `"quadratic"`: `t_k = end + (T - end) ((N - k)/N)^2`, short steps near the data, where
#'   components of small variance need them. The default of every [sampler()], too.
#' * `"uniform"`: `t_k = end + (T - end) (N - k)/N`.
#' * `"logsnr"`: `log(a/b)` equispaced, the grid of the DPM-Solver family; needs `end > 0`.
#' * `"karras"`: `sigma^(1/7)` equispaced, where `sigma = b/a`, the grid of EDM; needs `end > 0`. On
#'   `schedule_ve()` the EDM sampler of Karras et al. (their algorithm 1, without churn) is
#'   `sampler_heun(grid = "karras")`, but for the last step to 0, and for their clock `t = sigma`,
#'   in which Heun's steps are theirs: `schedule(function(t) 1 + 0 * t, function(t) t^2, max = 80)`.
#' * `"exponential"`: `t_k - t_{k+1} = h min(max(t_k, floor), 1)`, with `h` such that `N` steps lead
#'   to `end`: constant steps, then steps that shrink with the time that is left, then (with a
#'   `floor`) constant ones. It is meant for clocks with a scale of about 1 (not `schedule_ddpm()`).
#'   With `floor = 1/(4 L)` this is the exponential-then-constant grid of Chen, Lee and Lu for an
#'   `L`-Lipschitz score, `h` being some `(T + log L)/N`, and with `floor = 0` the one that stops
#'   early, for any data. (They fix `h` and take as many steps as it needs; their clock, with
#'   `dX = -X/2 dt + dB`, runs twice as fast as that of `schedule_ou()`, which the rule has here.)
#'
#' **Adapted to a mixture.** Steps are best short where it is decided to which component a point
#' belongs. With a `mixture` half of the steps follow `type` and half the entropy of the component
#' given `x_t`: equal steps in the mean of the share of the steps that a grid of the type would have
#' taken, and the share of the entropy that is gone. The entropy is a mean over 2048 points of a
#' net, the same ones at every call. Errors (root mean square distance of the ends from those of the
#' exact flow, per coordinate, in units of the process; 20 steps to `t = .003`):
#'
#' | mixture | sampler | `"quadratic"` | adapted | `"logsnr"` | adapted |
#' |---|---|---|---|---|---|
#' | iris, d = 4 | Heun | .026 | .012 | .025 | .0076 |
#' | iris, d = 4 | DDIM | .097 | .081 | .12 | .085 |
#' | diagonal, d = 16 | Heun | .0066 | .0039 | .0099 | .0042 |
#' | B2 | Heun | .0049 | .0027 | .0090 | .0032 |
#' | A2 | Heun | .0028 | .0033 | .0052 | .0040 |
#' | D3 | Heun | .0068 | .011 | .010 | .011 |
#'
#' DDIM gained on all of them. DPM-Solver++ (2M) gained on some and lost on others (at `d = 16`,
#' from `"logsnr"`, twice the error). [best_grid()] also takes the sampler and the guidance into
#' account, and gains more.
#'
#' @param steps Number of steps `N`, at least 1.
#' @param horizon First time, positive and finite; `NULL` for the schedule's own.
#' @param type `"quadratic"`, `"uniform"`, `"logsnr"`, `"karras"`, `"exponential"`, or the times
#'   themselves: a strictly decreasing numeric vector, which is checked against the other arguments.
#' @param end Last time, from 0 to below the horizon. Stopping before 0 is needed for mixtures
#'   with point masses.
#' @param schedule The forward process, see [schedule]; it gives the log-SNR and the largest
#'   possible horizon.
#' @param floor The time below which the exponential grid keeps a constant step. The default is 0
#'   (`1/steps` if `end` is 0).
#' @param mixture `NULL`, or a [gaussmix()] to which the grid is adapted, with its `schedule`. A
#'   grid with a `floor` or a `mixture` goes to a sampler as times:
#'   `sampler_heun(20, grid = time_grid(20, 5, "logsnr", .003, mixture = m))`.
#' @return A strictly decreasing numeric vector of length `steps + 1`, from exactly `horizon` to
#'   exactly `end`.
#' @source Log-SNR: Lu, Zhou, Bao, Chen, Li and Zhu (2022), \doi{10.48550/arXiv.2206.00927}. Karras:
#'   Karras, Aittala, Aila and Laine (2022), \doi{10.48550/arXiv.2206.00364}, equation 5 with `rho =
#'   7`. Exponential: Chen, Lee and Lu (2023), \doi{10.48550/arXiv.2211.01916} (recalled, not
#'   verified against the paper). That the entropy of the component governs the error:
#'   \doi{10.48550/arXiv.2601.21943} (recalled, not verified against the paper); the mean of both
#'   shares was found by measurement.
#' @examples
#' time_grid(5)
#' time_grid(5, type = "uniform")
#' time_grid(5, type = "logsnr", end = .01)
#' time_grid(5, type = "karras", end = .01)
#' time_grid(5, type = "exponential", end = .01)
#' time_grid(8, 3, "exponential", floor = 1/(4 * 15))
#' # short steps where components part
#' time_grid(5, 5, mixture = named_mixture("D3"))
#' @export
time_grid <- function(steps, horizon = NULL,
                      type = c("quadratic", "uniform", "logsnr", "karras", "exponential"), end = 0,
                      schedule = schedule_ou(), floor = NULL, mixture = NULL) {
  check_schedule(schedule)
  steps <- check_steps(steps)
  horizon <- check_horizon(horizon, schedule, forgotten = TRUE)
  end <- check_number(end, "end", min = 0)
  if (end >= horizon) abort_input("end", paste0("below the horizon (", horizon, ")"), describe(end))
  if (is.numeric(type)) return(check_grid(type, steps, horizon, end))
  type <- check_choice(type, eval(formals()$type), "type")
  if (!is.null(mixture)) {
    check_mixture(mixture)
    fine <- time_grid(256, horizon, type, end, schedule, floor)
    return(adapted_grid(steps, fine, mixture, schedule))
  }
  left <- (steps - 0:steps) / steps
  times <- switch(
    type,
    # (horizon - end) (N - k)/N in this order: whole numbers stay whole
    uniform = end + (horizon - end) * (steps - 0:steps) / steps,
    quadratic = end + (horizon - end) * left^2,
    logsnr = logsnr_grid(left, horizon, end, schedule),
    karras = logsnr_grid(left, horizon, end, schedule, rho = 7),
    exponential = exponential_grid(steps, horizon, end, floor)
  )
  times[c(1, steps + 1)] <- c(horizon, end)
  times
}

# Equispaced in log(a/b), or in (b/a)^(1/rho).
logsnr_grid <- function(left, horizon, end, schedule, rho = Inf) {
  grid <- paste0('a "', if (is.finite(rho)) "karras" else "logsnr", '" grid')
  if (end == 0) abort_input("end", paste("positive with", grid), "0")
  if (schedule$a(horizon) == 0) {
    abort_input("horizon", paste("a time at which the data are not yet forgotten (a > 0) for",
                                 grid), describe(horizon))
  }
  most <- log_snr(end, schedule)
  least <- log_snr(horizon, schedule)
  target <- if (is.infinite(rho)) left * least + (1 - left) * most else {
    # relative to the largest sigma, which may overflow
    least - rho * log(left + (1 - left) * exp((least - most) / rho))
  }
  logsnr_time(target, rep(end, length(left)), rep(horizon, length(left)), schedule)
}

log_snr <- function(t, schedule) log(schedule$a(t)) - log(schedule$b2(t)) / 2

# The times between `low` and `high` with these log(a/b), which fall with t in every schedule.
logsnr_time <- function(target, low, high, schedule) {
  # infinities compare, where their difference is no number
  bisection(function(t) (log_snr(t, schedule) <= target) - .5, low, high)
}

# Equal steps in the mean of two shares: of the steps of the fine grid, and of the lost entropy of
# the component given x_t.
adapted_grid <- function(steps, fine, mixture, schedule) {
  # at times at which every law has a density
  h <- component_entropy(in_process(mixture), fine[fine > 0], schedule)
  # the entropy grows with time: a fall is rounding
  gone <- cummax(h[1] - h)
  most <- gone[length(gone)]
  gone <- c(gone, rep(most, length(fine) - length(gone)))
  even <- seq(0, 1, length.out = length(fine))
  share <- if (most > 1e-9) (gone / most + even) / 2 else even
  times <- stats::approx(share, fine, (0:steps) / steps, rule = 2)$y
  times[c(1, steps + 1)] <- fine[c(1, length(fine))]
  times
}

# The entropy of the component given x_t, at times t: a mean over points that are the same at every
# call and at all times.
component_entropy <- function(mixture, t, schedule) {
  mixture <- keep_components(mixture, mixture$weights > 0)
  mixture$class <- as.character(seq_len(mixture_size(mixture)))
  n <- min(2048, max(256, floor(2^22 / mixture_size(mixture))))
  net <- draws_net(mixture, n)
  vapply(t, function(t) {
    x <- unname(keyed_draws(diffuse(mixture, t, schedule), n, c(0, 0), net = net))
    p <- posterior(mixture, x, t, schedule)
    -sum(p * log(pmax(p, .Machine$double.xmin))) / n
  }, 0)
}

exponential_grid <- function(steps, horizon, end, floor) {
  if (is.null(floor)) floor <- if (end > 0) 0 else 1 / steps
  floor <- check_number(floor, "floor", min = 0)
  if (floor == 0 && end == 0) abort_input("floor", "positive when `end` is 0", "0")
  rate <- function(t) min(max(t, floor), 1)
  walk <- function(h) {
    Reduce(function(t, k) t - h * rate(t), seq_len(steps), horizon, accumulate = TRUE)
  }
  # h = 0 leads nowhere; at the other end of the interval the first step alone is more than enough
  h <- stats::uniroot(function(h) walk(h)[steps + 1] - end,
                      c(0, 2 * (horizon - end) / rate(horizon)), tol = .Machine$double.eps)$root
  walk(h)
}

# Times given by the user.
check_grid <- function(x, steps = length(x) - 1, horizon = x[1], end = x[length(x)],
                       arg = "type") {
  ok <- length(x) >= 2 && all(is.finite(x)) && all(diff(x) < 0) && x[length(x)] >= 0
  if (!ok) abort_input(arg, "at least two finite, strictly decreasing times >= 0", describe(x))
  if (length(x) != steps + 1) {
    abort_input(arg, paste("a vector of", steps + 1, "times (steps + 1)"), describe(x))
  }
  if (x[1] != horizon || x[length(x)] != end) {
    abort_input(arg, paste("times from", horizon, "(horizon) to", end, "(end)"), describe(x))
  }
  as.double(x)
}

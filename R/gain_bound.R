#' Lower bounds of the gain by guidance
#'
#' If a common covariance is isotropic for the differences of the means, the log-odds of a path of
#' the ODE obey equations of their own, in any dimension. These give the gain of each path exactly,
#' and lower bounds in closed form.
#'
#' @details Let the class be a single component `y`, and let all `D_k = mu_y - mu_k` lie in one
#' eigenspace of the common covariance, with variance `v`. (This holds for an isotropic covariance,
#' and for a single `D_k` along an eigenvector.) The gain `u_k` in log-odds against component `k`
#' then obeys an equation of its own in the clock `tau = a sqrt(v/(a^2 v + b^2))`, from `tau_T` at
#' the horizon to 1 at the data: `du_k/dtau = eta sum_j <D_k, D_j>/v q_j`, with the
#' probabilities `q` under the unguided log-odds `l(tau)` plus `tau u`,
#'
#' `l_k(tau) = log(w_y/w_k) + tau^2 |D_k|^2/(2 v) + tau D_k'z/sqrt(v)`, `z = (x_T - a_T mu_y)/b_T`
#'
#' (`b_T^2` the variance of the class at the horizon). It is integrated by Runge-Kutta steps, halved
#' until no value changes by more than 1e-9 of the largest gain (or by 1e-9, if that is more). The
#' bounds are Theorem 3 of `vignette("confidence")`:
#'
#' **One rival** (`|D|^2` for `|D|^2/v`). For every `tau*` between `tau_T` and 1, with `m` the
#' largest `l(tau)` up to `tau*`, the gain is at least the root `u` of
#' `u + (e^m/tau*) (e^(tau* u) - 1) = eta |D|^2 (tau* - tau_T)`. `bound_one` takes `tau* = 1`;
#' `bound` takes the best `tau*`.
#'
#' **Several rivals**, no two at an obtuse angle: let `0 <= c <= <D_k, D_j>/v <= C` for all `k`, `j`
#' and let `o` be the smallest value of `sum_k e^(-l_k)` along the unguided path. Each log-odds gain
#' at least `c z/C`, where `z` is the root of `z + (e^z - 1)/o = C eta (1 - tau_T)`. Valid, but
#' loose: a few per cent of the gain are common.
#'
#' @section Numerical notes:
#' Newton's method finds the roots from above, on an equation scaled so that nothing overflows, for
#' any strength and start. `bound` searches 100 values of `tau*` and refines the best; each gives a
#' valid bound. `o` is the smallest of 1001 values along the unguided path.
#'
#' @inheritParams guidance_condition
#' @param guidance Label of the class to guide to, or several for their union; `NULL` for the class
#'   of the diffusion.
#' @param strength Strengths, numbers >= 0.
#' @param n Number of paths, unless `start` is a matrix.
#' @param ... Further arguments of [diffusion()] that follow the mixture there; in continuous time
#'   the `sampler` has no effect. `start`: the first points of the paths, an n x d matrix, or
#'   `"normal"` or `"exact"`, drawn by R's generator.
#' @return An object of class `gain_bound`, a data frame with a row per path, strength and rival,
#'   and columns `path`, `strength`, `rival`; `log_odds`, unguided at the data; `gain`, the exact
#'   gain in log-odds; `bound_one` (one rival; `NA` for several); `bound`; and `ratio`, `bound`
#'   over `gain`. Only the start is random.
#' @section Errors: of class `mixguide_error`, with the reason, for a mixture and class to which the
#'   bounds do not apply.
#' @source Both bounds are derived for this package; whether they are those of Wu, Chen, Li, Wang
#'   and Wei (2024), \doi{10.48550/arXiv.2403.01639}, whose setting this is, is not known.
#' @seealso [guidance_condition()] for the sign of the gain, [coupled_paths()] for samplers.
#' @examples
#' gain_bound(named_mixture("A2"), guidance = "1", strength = c(.5, 2, 8), start = c(-2, 0, 2))
#' set.seed(1)
#' bounds <- gain_bound(named_mixture("C3"), guidance = "1", strength = c(.5, 2), n = 50)
#' bounds
#' plot(bounds)
#' @export
gain_bound <- function(mixture, n = 200, guidance = NULL, strength = c(0.5, 2, 8), ...) {
  d <- as_diffusion(mixture, ..., own = list(guidance = guidance), without = "score_error")
  local_key(d)
  class <- plain_guidance(d)$class
  mixture <- check_extent(d$mixture)
  schedule <- d$schedule
  strength <- check_strengths(strength, min = 0)
  horizon <- check_horizon(d$horizon, schedule)
  odds <- clock_log_odds(in_process(mixture), class, schedule, horizon,
                         bound_start(d$start, mixture, class, n, schedule, horizon))
  single <- length(odds$rivals) == 1
  rows <- lapply(strength, function(eta) {
    gain <- exact_gain(odds, eta)
    data.frame(path = as.vector(row(gain)), strength = eta, rival = odds$rivals[col(gain)],
               log_odds = as.vector(odds$at(1)), gain = as.vector(gain),
               bound_one = if (single) gain_at_least(odds, eta, 1) else NA_real_,
               bound = if (single) best_gain_bound(odds, eta) else joint_gain_bound(odds, eta))
  })
  rows <- do.call(rbind, rows)
  rows$ratio <- ifelse(rows$gain == 0, 1, rows$bound / rows$gain)
  setup <- setup_of(d, rivals = odds$rivals, n = length(unique(rows$path)))
  new_table(rows, "gain_bound",
            c(about_time(paste0("log-odds gained along the ODE, towards ", aim_words(setup$class),
                                ", ", count_of(setup$n, "path"))),
              process_lines(d, c("guidance", "sampler"))),
            setup, keys = c("path", "strength", "rival"),
            methods = c(bound = "bound", bound_one = "bound"), body = gain_rows,
            foot = c(paste0("Exact for each path", if (!single) "; one bound for all rivals"),
                     paste0("log_odds: at the data without guidance; gain: what guidance adds; ",
                            if (single) "bound_one, ", "bound: what it adds at least",
                            if (single) ", with one rival and any", "; ratio: bound over gain")))
}

bound_start <- function(start, mixture, class, n, schedule, horizon) {
  begin <- run_start(start, mixture, n, class, schedule, horizon)
  if (!begin$n) abort_input(if (is.null(begin$x)) "n" else "start", "one path at least", "none")
  if (!is.null(begin$x)) return(begin$x)
  if (!is.null(begin$law)) return(matrix(rgaussmix(begin$n, begin$law), begin$n))
  matrix(begin$sd * stats::rnorm(begin$n * mixture_dim(mixture)), begin$n)
}

# The log-odds of unguided paths as a function of the clock r, tau in the help (n x rivals), the
# products <D_k, D_j>/v, and the clock at the horizon.
clock_log_odds <- function(mixture, class, schedule, horizon, x) {
  geometry <- class_geometry(mixture, class)
  if (is.null(geometry$why) && !any(geometry$differ != 0)) {
    geometry$why <- "there is no rival of another mean"
  }
  if (is.null(geometry$why) && !one_eigenspace(geometry)) {
    geometry$why <- "the differences of the means are not in one eigenspace of the covariance"
  }
  wanted <- "a class to which the bounds apply (see ?gain_bound)"
  if (!is.null(geometry$why)) abort_input("class", wanted, paste("one where", geometry$why))
  D <- geometry$differ
  v <- sum(D^2 %*% geometry$values) / sum(D^2)
  if (!(v > 0)) abort("`mixture` has a singular covariance: its log-odds are infinite", "singular")
  a <- schedule$a(horizon)
  sd <- sqrt(a^2 * v + schedule$b2(horizon))
  product <- tcrossprod(D) / v
  if (any(product < -1e-10 * max(product))) abort_input("class", wanted, "one with an obtuse angle")
  own <- mixture$means[class_components(mixture, class) & mixture$weights > 0, ]
  z <- geometry$turn(x - rep(own, each = nrow(x)) * a) / sd
  slope <- tcrossprod(z, D) / sqrt(v)
  square <- rep(diag(product) / 2, each = nrow(x))
  prior <- rep(geometry$log_prior, each = nrow(x))
  list(at = function(r) prior + r^2 * square + r * slope, product = pmax(product, 0),
       from = a * sqrt(v) / sd, rivals = geometry$rivals)
}

# The exact gain: u at r = 1, n x rivals.
exact_gain <- function(odds, eta) {
  drift <- function(r, u) {
    l <- -(odds$at(r) + r * u)
    top <- pmax(0, do.call(pmax, lapply(seq_len(ncol(l)), function(k) l[, k])))
    q <- exp(l - top)
    eta * (q / (exp(-top) + rowSums(q))) %*% odds$product
  }
  integrate <- function(steps) {
    # short steps first, where strong guidance acts fast
    clock <- odds$from + (1 - odds$from) * (0:steps / steps)^2
    u <- 0 * odds$at(1)
    for (i in seq_len(steps)) {
      r <- clock[i]
      h <- clock[i + 1] - r
      k1 <- drift(r, u)
      k2 <- drift(r + h / 2, u + h / 2 * k1)
      k3 <- drift(r + h / 2, u + h / 2 * k2)
      u <- u + h / 6 * (k1 + 2 * k2 + 2 * k3 + drift(r + h, u + h * k3))
    }
    u
  }
  steps <- 128
  coarse <- integrate(steps)
  repeat {
    steps <- 2 * steps
    fine <- integrate(steps)
    change <- max(abs(fine - coarse))
    if (change <= 1e-9 * max(1, fine)) return(fine)
    if (steps >= 2^13) break
    coarse <- fine
  }
  warning("the gain at strength ", eta, " is known to ", format(change, digits = 1), " only",
          call. = FALSE)
  fine
}

# One rival: a lower bound of each path's gain from the clock up to the time s. The unguided
# log-odds are convex in r, so they are largest at an end.
gain_at_least <- function(odds, eta, s) {
  most <- pmax(odds$at(odds$from)[, 1], odds$at(s)[, 1])
  gain_root(most, s, eta * odds$product[1] * (s - odds$from))
}

# The best s, for each path: the best of a grid, then golden sections around it.
best_gain_bound <- function(odds, eta, size = 100) {
  s <- odds$from + (1 - odds$from) * seq_len(size) / size
  bounds <- vapply(s, function(s) gain_at_least(odds, eta, s), odds$at(1)[, 1])
  bounds <- matrix(bounds, ncol = size)
  best <- max.col(bounds, "last")
  low <- c(odds$from, s)[best]
  high <- c(s, 1)[best + 1]
  shrink <- (sqrt(5) - 1) / 2
  for (i in 1:40) {
    left <- high - shrink * (high - low)
    right <- low + shrink * (high - low)
    rises <- gain_at_least(odds, eta, left) < gain_at_least(odds, eta, right)
    low <- ifelse(rises, left, low)
    high <- ifelse(rises, high, right)
  }
  pmax(bounds[cbind(seq_along(best), best)], gain_at_least(odds, eta, (low + high) / 2))
}

# Several rivals: the common bound of all log-odds of a path.
joint_gain_bound <- function(odds, eta) {
  clock <- seq(odds$from, 1, length.out = 1001)
  # log sum_k e^(-l_k), the smallest along the path
  least <- Inf
  for (r in clock) least <- pmin(least, log_sum(as.list(as.data.frame(-odds$at(r)))))
  largest <- max(odds$product)
  min(odds$product) / largest * gain_root(-least, 1, largest * eta * (1 - odds$from))
}

# The root u of u + (e^m/s) (e^(s u) - 1) = target >= 0, by Newton's method from above: the left
# side is convex and grows. It is divided by e^max(m, 0), so that no term overflows.
gain_root <- function(m, s, target) {
  scale <- pmax(m, 0)
  reach <- pmax(m, log(s * target))
  u <- pmin(target, (reach - m + log(exp(m - reach) + exp(log(s * target) - reach))) / s)
  for (i in 1:200) {
    grown <- exp(m - scale + s * u)
    excess <- ifelse(s * u < 30, exp(m - scale) * expm1(s * u), grown)
    next_u <- pmax(u - ((u - target) * exp(-scale) + excess / s) / (exp(-scale) + grown), 0)
    if (all(abs(next_u - u) <= 1e-15 * u)) break
    u <- next_u
  }
  next_u
}

# For many paths: means and extremes for each strength.
gain_rows <- function(x) {
  rows <- plain_table(x)
  single <- length(unique(rows$rival)) == 1
  if (nrow(rows) <= 12) {
    return(rows[c("path", "strength", if (!single) "rival", "log_odds", "gain",
                  if (single) "bound_one", "bound", "ratio")])
  }
  each <- function(f) vapply(split(rows, rows$strength), f, 0)
  data.frame(strength = sort(unique(rows$strength)),
             "mean gain" = each(function(x) mean(x$gain)),
             "mean bound" = each(function(x) mean(x$bound)),
             "least slack" = each(function(x) min(x$gain - x$bound)),
             "median ratio" = each(function(x) stats::median(x$ratio)),
             "best ratio" = each(function(x) max(x$ratio)), check.names = FALSE)
}

picture.gain_bound <- function(object, setup) {
  single <- length(setup$rivals) == 1
  kinds <- c(gain = "gain", bound = if (single) "best bound" else "bound",
             bound_one = "bound, tau* = 1")[c("gain", "bound", if (single) "bound_one")]
  rows <- as.data.frame(object)
  long <- long_form(rows, kinds, c("log_odds", "strength"))
  long$strength <- factor(long$strength, labels = paste("strength", sort(unique(rows$strength))))
  long <- long[order(long$log_odds), ]
  layer <- if (single) {
    geom_line(aes(linetype = .data$kind), linewidth = .8)
  } else {
    geom_point(aes(shape = .data$kind), size = 1, alpha = opacity(long))
  }
  ggplot(long, aes(.data$log_odds, .data$value, colour = .data$kind)) + layer +
    facet_wrap(vars(.data$strength), scales = "free_y") +
    line_scales(class_palette(3), c("solid", "22", "12")) +
    scale_shape_manual(values = c(19, 17), name = NULL) +
    finish(paste("What guidance towards", aim_words(setup$class), "gains along the ODE"),
           if (single) "One rival: gain and bounds are exact" else {
             "One bound for all rivals of a path"
           },
           x = "unguided log-odds of the class", y = "gain in log-odds", legend = "bottom")
}

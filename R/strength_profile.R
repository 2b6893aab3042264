#' Strength that varies along a run
#'
#' A strength of [guidance()] that depends on where a run is: in time, in noise, in its steps. Each
#' profile is a published schedule, at a given average strength.
#'
#' @details Below, `f` is the fraction of the run's steps that lie behind, `sigma = b/a` the noise
#'   beside the signal, `r` the ratio of `sigma` after a step to that before, and `w = 1 + strength`
#'   the scale. In brackets how we know the formula: read in the authors' code, second-hand, from a
#'   catalogue, or checked.
#'
#' * `"interval"`: `strength` while `low = 0.28 < sigma <= high = 2.9`, else 0. (Read.)
#' * `"triangle"`: the scale goes from 1 up to `2 w - 1` and back. (Second-hand.)
#' * `"linear"`, `"cosine"`: from 0 up to `2 strength`; with `down = 1` from there to 0.
#'   (Second-hand.)
#' * `"exponential"`: the scale is as `exp(rate f)`, of average `w`; `rate = 1`. (Second-hand.)
#' * `"beta"`: `strength` times the density of Beta(`shape1 = 2`, `shape2 = 2`) at `f`.
#'   (Second-hand.)
#' * `"dg"`: as `b^2 a/beta`, where `1 - beta` is the square of the step's ratio of `a`, of average
#'   `strength` over the steps. (Second-hand.)
#' * `"line"`: `strength + slope t`, `slope = 1`: with a negative `strength` away from the class
#'   late. (Second-hand.)
#' * `"cfgpp"`: the scale is `lambda/(1 - r)`, `lambda = 0.6`: CFG++. (Checked.)
#' * `"terminal"`: `(r - r^w)/(1 - r)`, which long steps can bear. (Second-hand.)
#'
#' CFG++ at a fixed `lambda` is guidance whose strength grows like `lambda` over the step length: it
#' has no limit in continuous time, and twice the steps are another sampler. That `"cfgpp"` is CFG++
#' holds for [sampler_ddim()] without noise; others renoise by another model.
#'
#' A strength of one's own may also ask for these: `function(t, fraction) 8 * fraction` is a
#' function of `t` and of any of `sigma`, `fraction`, `to` (the time at the step's end) and `r`, by
#' these names, and is called for one time after the other.
#'
#' A profile is worked out where the steps are known, in [diffusion()]; [score()] knows a time and
#' no steps, and takes `"interval"` and `"line"` alone. Sweeps multiply a profile by their
#' strengths.
#'
#' @param shape Name of a profile, see the details.
#' @param strength A number, the average strength where a profile has one.
#' @param ... The profile's own arguments, by name.
#' @return An object of class `strength_profile`: a list of `shape`, `strength` and `params`.
#' @source Interval Kynkaanniemi et al. (2024), \doi{10.48550/arXiv.2404.07724}; triangle
#'   \doi{10.48550/arXiv.2509.22007}; ramps \doi{10.48550/arXiv.2404.13040}; exponential
#'   \doi{10.48550/arXiv.2603.08155}; beta \doi{10.48550/arXiv.2502.10574}; DG
#'   \doi{10.48550/arXiv.2607.19725}; line \doi{10.48550/arXiv.2602.00716}; CFG++ Chung et al.
#'   (2024), \doi{10.48550/arXiv.2406.08070}; terminal \doi{10.48550/arXiv.2607.07665}.
#' @seealso [guidance()], [capped_strength()].
#' @examples
#' m <- named_mixture("D3")
#' ramp <- guidance("1", strength_profile("linear", 3))
#' ramp
#' confidence(guided_sample(m, 1000, ramp, sampler_ddim(20)))
#' late <- guidance("1", function(t, fraction) if (fraction > .5) 4 else 0)
#' confidence(guided_sample(m, 1000, late, sampler_ddim(20)))
#' @export
strength_profile <- function(shape, strength = 1, ...) {
  shape <- check_choice(shape, names(profiles), "shape")
  check_number(strength, "strength")
  params <- own_params(profiles[[shape]], list(...), c("shape", "strength"))
  if (shape == "interval" && params$high <= params$low) {
    abort_input("high", paste("above `low`, which is", format(params$low)), params$high)
  }
  structure(list(shape = shape, strength = strength, params = params),
            class = object_class("strength_profile"))
}

# Of each: its parameters and their ranges, what of a run it needs, and its values there. `at`: what
# is known of the times wanted, a row each; `run`: of the beginning of each step.
profiles <- local({
  any <- c(-Inf, Inf)
  up <- c(0, Inf)
  by_fraction <- function(f, params = list(), range = list()) {
    list(params = params, range = range, needs = "fraction",
         value = function(s, p, at, run) f(s, p, at$fraction))
  }
  ramp <- function(up) by_fraction(function(s, p, f) s * up(if (p$down != 0) 1 - f else f),
                                   list(down = 0), list(down = c(0, 1)))
  list(
    interval = list(params = list(low = .28, high = 2.9), range = list(low = up, high = up),
                    needs = "sigma", value = function(s, p, at, run) {
                      s * (at$sigma > p$low & at$sigma <= p$high)
                    }),
    triangle = by_fraction(function(s, p, f) 2 * s * (1 - abs(2 * f - 1))),
    linear = ramp(function(f) 2 * f),
    cosine = ramp(function(f) 1 - cos(pi * f)),
    exponential = by_fraction(function(s, p, f) {
      mean <- if (p$rate == 0) 1 else expm1(p$rate) / p$rate
      (1 + s) * exp(p$rate * f) / mean - 1
    }, list(rate = 1), list(rate = c(-50, 50))),
    beta = by_fraction(function(s, p, f) s * stats::dbeta(f, p$shape1, p$shape2),
                       list(shape1 = 2, shape2 = 2), list(shape1 = c(1, Inf), shape2 = c(1, Inf))),
    dg = list(params = list(), range = list(), needs = c("to", "run"),
              value = function(s, p, at, run) {
                size <- function(x) x$b2 * x$a / (1 - (x$a / x$a_to)^2)
                s * size(at) / mean(size(run))
              }),
    line = list(params = list(slope = 1), range = list(slope = any), needs = character(),
                value = function(s, p, at, run) s + p$slope * at$t),
    cfgpp = list(params = list(lambda = .6), range = list(lambda = any), needs = "r",
                 value = function(s, p, at, run) p$lambda / (1 - at$r) - 1),
    terminal = list(params = list(), range = list(), needs = "r",
                    value = function(s, p, at, run) (at$r - at$r^(1 + s)) / (1 - at$r))
  )
})

# The parameters of one of a table of kinds, with those given in their place.
own_params <- function(kind, given, others) {
  params <- kind$params
  names <- if (is.null(names(given))) rep("", length(given)) else names(given)
  unknown <- setdiff(names, names(params))
  if (length(unknown)) no_such_argument(unknown[1], c(others, names(params)), NULL)
  for (arg in names) {
    endless <- identical(params[[arg]], Inf) && identical(given[[arg]], Inf)
    range <- kind$range[[arg]]
    if (!endless) params[[arg]] <- check_number(given[[arg]], arg, range[1], range[2])
  }
  params
}

# Those that are not as they come, in words.
param_words <- function(params, usual) {
  changed <- params[!vapply(names(params), function(p) identical(params[[p]], usual[[p]]), NA)]
  if (length(changed)) paste(names(changed), "=", vapply(changed, format, "", digits = 4))
}

#' @export
format.strength_profile <- function(x, ...) {
  check_dots(..., also = format.default)
  of_strength <- x$shape != "cfgpp"
  words <- c(if (of_strength) paste("strength =", format(x$strength, digits = 4)),
             param_words(x$params, profiles[[x$shape]]$params))
  paste0("\"", x$shape, "\"", if (length(words)) paste0(" (", toString(words), ")"))
}

# What of a run a strength needs to know beside the time.
run_facts <- c("sigma", "fraction", "to", "r")

strength_needs <- function(strength) {
  if (inherits(strength, "strength_profile")) return(profiles[[strength$shape]]$needs)
  intersect(names(formals(args(strength))), run_facts)
}

# A strength that knows no run yet.
unsettled <- function(needs) {
  force(needs)
  function(t) {
    abort_input("guidance", "of a strength that depends on time alone, where no steps are known",
                paste("one that depends on", toString(setdiff(needs, "run"))))
  }
}

# The guidance with its strengths as functions of time alone, for a run on these times, or, without
# times, for a schedule.
settle_guidance <- function(guidance, schedule, times = NULL) {
  if (is.null(guidance)) return(NULL)
  guidance$others <- lapply(guidance$others, settle_guidance, schedule, times)
  if (identical(guidance$rule$kind, "cfg_zero") && !is.null(times)) {
    zero <- min(guidance$rule$params$zero_steps, length(times) - 1)
    guidance$zero_until <- times[zero + 1]
  }
  profile <- guidance$profile
  if (is.null(profile)) return(guidance)
  needs <- strength_needs(profile)
  if (is.null(times) && length(setdiff(needs, "sigma"))) {
    guidance$strength <- unsettled(needs)
    return(guidance)
  }
  by <- guidance$multiple
  at <- run_facts_at(schedule, times)
  guidance$strength <- if (inherits(profile, "strength_profile")) {
    shape <- profiles[[profile$shape]]
    run <- if (!is.null(times)) at(times[-length(times)])
    function(t) by * shape$value(profile$strength, profile$params, at(t), run)
  } else {
    function(t) by * do.call(profile, c(list(t), at(t)[needs]))
  }
  guidance
}

# What is known of times, as a function of them.
run_facts_at <- function(schedule, times) {
  force(schedule)
  sigma <- function(t) {
    a <- schedule$a(t)
    ifelse(a > 0, sqrt(schedule$b2(t)) / a, Inf)
  }
  if (is.null(times)) return(function(t) list(t = t, sigma = sigma(t)))
  n <- length(times) - 1
  noise <- sigma(times)
  function(t) {
    # the step from times[k] to times[k + 1] has the times above its end
    k <- pmin(pmax(n + 1 - findInterval(t, rev(times), left.open = TRUE), 1), n)
    behind <- (times[k] - t) / (times[k] - times[k + 1])
    list(t = t, sigma = sigma(t), fraction = pmin(pmax((k - 1 + behind) / n, 0), 1),
         to = times[k + 1], r = ifelse(noise[k] < Inf, noise[k + 1] / noise[k], 0),
         a = schedule$a(times[k]), a_to = schedule$a(times[k + 1]), b2 = schedule$b2(times[k]))
  }
}

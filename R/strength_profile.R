#' Strength that varies along a run
#'
#' A strength of [guidance()] that varies along a run: with time, noise, the steps, or the
#' probability of the class at the particle. Most profiles are published schedules, at a given
#' average strength.
#'
#' @details Below, `f` is the fraction of the run's steps that are done, `sigma = b/a` the noise
#'   relative to the signal, `r` the ratio of `sigma` after a step to that before, and
#'   `w = 1 + strength` the scale. Brackets give the source of the formula: read in the authors'
#'   code, second-hand, from a catalogue, or checked.
#'
#' * `"interval"`: `strength` while `low = 0.28 < sigma <= high = 2.9`, else 0. (Read.)
#' * `"triangle"`: the scale goes from 1 up to `2 w - 1` and back. (Second-hand.)
#' * `"linear"`, `"cosine"`: from 0 up to `2 strength`; with `down = 1` from there to 0.
#'   (Second-hand.)
#' * `"exponential"`: the scale is proportional to `exp(rate f)`, of average `w`; `rate = 1`.
#'   (Second-hand.)
#' * `"beta"`: `strength` times the density of Beta(`shape1 = 2`, `shape2 = 2`) at `f`. The
#'   published one also divides the guidance term by a power of its length, a negative `power` of
#'   [guidance()]. (Second-hand.)
#' * `"dg"`: proportional to `b^2 a/beta`, where `1 - beta` is the square of the step's ratio of
#'   `a`, of average `strength` over the steps. (Second-hand.)
#' * `"line"`: `strength + slope t`, `slope = 1`: with a negative `strength` it leads away from the
#'   class late. (Second-hand.)
#' * `"cfgpp"`: the scale is `lambda/(1 - r)`, `lambda = 0.6`: CFG++. (Checked.)
#' * `"terminal"`: `(r - r^w)/(1 - r)`, which is stable for long steps. (Second-hand.)
#'
#' Three depend on `q = p_t(class | x)`, which needs a mixture (the published forms of the first two
#' estimate their ratios along the run, see [guidance_rule()]):
#'
#' * `"feedback"`: feedback guidance by the exact ratio. The model's own conditional is assumed to
#'   be `pi p(x | class) + (1 - pi) p(x)`, `pi = 0.95`, and its scale `L/(L - 1 + pi)`, at most
#'   `most = Inf`, where `L` is its ratio to `p(x)`. Without a cap this is exactly the class, at all
#'   times, because mixing commutes with adding noise. In terms of the exact score the strength is
#'   `min(most pi R/(pi R + 1 - pi), 1) - 1`, `R = p(x | class)/p(x)`. With `mixed = 0` the model is
#'   exact and the scale is still `R/(R - 1 + pi)`, and `most` if this is negative. (Checked.)
#' * `"dng"`: dynamic negative guidance, away from the class: the score `s_all - lambda q/(1 - q)
#'   (s_class - s_all)`; `lambda = 1`, by the exact q, is exactly all but the class. (Checked.)
#' * `"q_power"`: `strength q^sure (1 - q)^unsure`; `sure = 0`, `unsure = 1`: no strength once the
#'   class is reached. (Ours.)
#'
#' CFG++ at a fixed `lambda` is guidance whose strength grows like `lambda` over the step length. It
#' has no limit in continuous time: twice the steps make another sampler. `"cfgpp"` is CFG++ for
#' [sampler_ddim()] without noise; other samplers renoise by another model.
#'
#' Your own strength may depend on the same facts: `function(t, fraction) 8 * fraction` is a
#' function of `t` and of any of `sigma`, `fraction`, `to` (the time at the step's end) and `r`, by
#' these names, and is called with one time after the other. If it has an argument `q`, `log_q` (its
#' logarithm), or `log_not_q` (the logarithm of `1 - q`, which keeps its digits if q is nearly 1),
#' as `function(t, q) 8 * (1 - q)`, it gets the q of many particles at a time, and returns a number
#' for each, or one for all. The engine stops at every evaluation to ask it.
#'
#' Guidance of a strength that depends on q is still a gradient: `s_class + eta(t, q) g`, `g = grad
#' log q`, is the gradient of `log p(x | class) + H(log q)` with `H' = eta`, and its divergence is
#' `div s_class + eta tr Dg + (d eta/d log q) |g|^2`. So it has all that plain guidance has, as
#' log-densities and laws. If the derivative of your own function is needed, it is taken by
#' differences (of five points, 0.001 apart in the log-odds of q). Such strengths are refused in
#' sums of guidances, with `negative`, a power or a rule, for a [score_model()], and in statements
#' about plain guidance.
#'
#' [diffusion()], which knows the steps, computes a profile. [score()] has a time and no steps, and
#' takes `"interval"`, `"line"` and profiles of q alone. Sweeps multiply a profile by their
#' strengths.
#'
#' @param shape Name of a profile, see the details.
#' @param strength A number, the average strength if a profile has one.
#' @param ... The profile's own arguments, by name.
#' @return An object of class `strength_profile`: a list of `shape`, `strength` and `params`.
#' @source Interval Kynkaanniemi et al. (2024), \doi{10.48550/arXiv.2404.07724}; triangle
#'   \doi{10.48550/arXiv.2509.22007}; ramps \doi{10.48550/arXiv.2404.13040}; exponential
#'   \doi{10.48550/arXiv.2603.08155}; beta \doi{10.48550/arXiv.2502.10574}; DG
#'   \doi{10.48550/arXiv.2607.19725}; line \doi{10.48550/arXiv.2602.00716}; CFG++ Chung et al.
#'   (2024), \doi{10.48550/arXiv.2406.08070}; terminal \doi{10.48550/arXiv.2607.07665}; feedback
#'   \doi{10.48550/arXiv.2506.06085}, read in the authors' code; dynamic negative guidance
#'   \doi{10.48550/arXiv.2410.14398}. That strengths of q leave a gradient is derived for this
#'   package.
#' @seealso [guidance()], [capped_strength()].
#' @examples
#' m <- named_mixture("D3")
#' ramp <- guidance("1", strength_profile("linear", 3))
#' ramp
#' confidence(guided_sample(m, 1000, ramp, sampler_ddim(20)))
#' late <- guidance("1", function(t, fraction) if (fraction > .5) 4 else 0)
#' confidence(guided_sample(m, 1000, late, sampler_ddim(20)))
#'
#' # away from class 1 is, at lambda = 1, the two others
#' away <- guidance("1", strength_profile("dng"))
#' score(m, c(-1, 0, 2), .5, guidance = away)
#' score(m, c(-1, 0, 2), .5, guidance = c("2", "3"))
#' # as strong as the class is still in doubt; with its exact law
#' guided_law(m, guidance("1", function(t, q) 8 * (1 - q)), sampler_em(50))
#' @export
strength_profile <- function(shape, strength = 1, ...) {
  shape <- check_choice(shape, names(profiles), "shape")
  check_number(strength, "strength")
  params <- own_params(profiles[[shape]], list(...), c("shape", "strength"))
  if (shape == "interval" && params$high <= params$low) {
    abort_input("high", paste("above `low`, which is", format(params$low)), params$high)
  }
  if (shape == "feedback" && params$mixed == 0 && params$most == Inf) {
    abort_input("most", "finite where `mixed` is 0")
  }
  structure(list(shape = shape, strength = strength, params = params),
            class = object_class("strength_profile"))
}

# For each profile: its parameters and their ranges, the facts of a run that it needs, and its
# values at times. `at`: facts of these times; `run`: of the beginning of each step.
# Profiles of q have `push` in place of values: their code in gm.h and its parameters, or NULL.
profiles <- local({
  any <- c(-Inf, Inf)
  up <- c(0, Inf)
  by_fraction <- function(f, ...) {
    list(..., needs = "fraction", value = function(s, p, at, run) f(s, p, at$fraction))
  }
  ramp <- function(up) by_fraction(function(s, p, f) s * up(if (p$down != 0) 1 - f else f),
                                   params = list(down = 0), range = list(down = c(0, 1)))
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
    }, params = list(rate = 1), range = list(rate = c(-50, 50))),
    beta = by_fraction(function(s, p, f) s * stats::dbeta(f, p$shape1, p$shape2),
                       params = list(shape1 = 2, shape2 = 2),
                       range = list(shape1 = c(1, Inf), shape2 = c(1, Inf))),
    dg = list(needs = c("to", "run"),
              value = function(s, p, at, run) {
                size <- function(x) x$b2 * x$a / (1 - (x$a / x$a_to)^2)
                average <- mean(size(run))
                if (!is.finite(average)) {
                  abort_input("schedule", paste('one whose `a` changes in every step, for the',
                                                'profile "dg"'))
                }
                s * size(at) / average
              }),
    line = list(params = list(slope = 1), range = list(slope = any), needs = character(),
                value = function(s, p, at, run) s + p$slope * at$t),
    cfgpp = list(params = list(lambda = .6), range = list(lambda = any), needs = "r",
                 value = function(s, p, at, run) p$lambda / (1 - at$r) - 1),
    terminal = list(needs = "r",
                    value = function(s, p, at, run) (at$r - at$r^(1 + s)) / (1 - at$r)),
    feedback = list(params = list(pi = .95, most = Inf, mixed = 1), needs = "q",
                    range = list(pi = c(1e-6, 1), most = c(1, Inf), mixed = c(0, 1)),
                    push = function(s, p, log_prior) {
                      if (p$most == Inf || p$pi == 1) return(NULL) # nothing is left to add
                      c(2, p$pi, p$most, log_prior, p$mixed)
                    }),
    dng = list(params = list(lambda = 1), range = list(lambda = any), needs = "q",
               push = function(s, p, log_prior) c(3, p$lambda, 0, 0, 0)),
    q_power = list(params = list(sure = 0, unsure = 1), needs = "q",
                   range = list(sure = up, unsure = c(-1, Inf)),
                   push = function(s, p, log_prior) c(4, s, p$sure, p$unsure, 0))
  )
})

# The parameters of a kind from a table, replaced by those given.
own_params <- function(kind, given, others) {
  params <- as.list(kind$params)
  names <- names_of(given)
  unknown <- setdiff(names, names(params))
  if (length(unknown)) no_such_argument(unknown[1], c(others, names(params)), NULL)
  for (arg in names) {
    endless <- identical(params[[arg]], Inf) && identical(given[[arg]], Inf)
    range <- kind$range[[arg]]
    if (!endless) params[[arg]] <- check_number(given[[arg]], arg, range[1], range[2])
  }
  params
}

# The parameters that differ from the usual ones, in words.
param_words <- function(params, usual) {
  changed <- params[!vapply(names(params), function(p) identical(params[[p]], usual[[p]]), NA)]
  if (length(changed)) paste(names(changed), "=", vapply(changed, format, "", digits = 4))
}

in_words.strength_profile <- function(x) {
  of_strength <- !x$shape %in% c("cfgpp", "feedback", "dng")
  words <- c(if (of_strength) paste("strength =", format(x$strength, digits = 4)),
             param_words(x$params, profiles[[x$shape]]$params))
  paste0("\"", x$shape, "\"", if (length(words)) paste0(" (", toString(words), ")"))
}

# The facts that a strength may need besides the time: of a run, and of q = p(class | x).
run_facts <- c("sigma", "fraction", "to", "r")
q_facts <- c("q", "log_q", "log_not_q")

strength_needs <- function(strength) {
  if (inherits(strength, "strength_profile")) return(profiles[[strength$shape]]$needs)
  if (is.null(strength)) return(character())
  intersect(names(formals(args(strength))), c(run_facts, q_facts))
}

depends_on_q <- function(guidance) any(strength_needs(guidance$profile) %in% q_facts)

# A strength that is not yet tied to a run, or is no function of time.
unsettled <- function(needs) {
  force(needs)
  function(t) {
    abort_input("guidance", paste0("of a strength that depends on time alone",
                                   if (any(needs %in% run_facts)) ", where no steps are known"),
                paste("one that depends on", toString(setdiff(needs, "run"))))
  }
}

# The guidance with its strengths as functions of time alone, for a run on these times, or, without
# times, for a schedule. A strength of q gets `of_q`, a function of time and of the facts of q.
settle_guidance <- function(guidance, schedule, times = NULL) {
  if (is.null(guidance)) return(NULL)
  guidance$others <- lapply(guidance$others, settle_guidance, schedule, times)
  if (identical(guidance$rule$kind, "cfg_zero") && !is.null(times)) {
    zero <- min(guidance$rule$params$zero_steps, length(times) - 1)
    guidance$zero_until <- times[zero + 1]
  }
  if (!is.null(guidance$rule)) guidance$grid <- times
  profile <- guidance$profile
  if (is.null(profile)) return(guidance)
  needs <- strength_needs(profile)
  guidance$of_q <- NULL
  if (is.null(times) && length(setdiff(needs, c("sigma", q_facts)))) {
    guidance$strength <- unsettled(needs)
    return(guidance)
  }
  by <- guidance$multiple
  facts_at <- run_facts_at(schedule, times)
  if (depends_on_q(guidance)) {
    of_run <- intersect(needs, run_facts)
    guidance$of_q <- if (is.function(profile)) function(t, facts) {
      do.call(profile, c(list(t), as.list(facts_at(t)[of_run]), facts[intersect(needs, q_facts)]))
    }
    return(guidance)
  }
  guidance$strength <- if (inherits(profile, "strength_profile")) {
    shape <- profiles[[profile$shape]]
    run <- if (!is.null(times)) facts_at(times[-length(times)])
    function(t) by * shape$value(profile$strength, profile$params, facts_at(t), run)
  } else {
    wanted <- run_facts_at(schedule, times, needs)
    function(t) by * do.call(profile, c(list(t), wanted(t)[needs]))
  }
  guidance
}

# The facts of times, or the `wanted` ones, as a function of the times.
run_facts_at <- function(schedule, times, wanted = NULL) {
  force(schedule)
  sigma <- function(t) {
    a <- schedule$a(t)
    ifelse(a > 0, sqrt(schedule$b2(t)) / a, Inf)
  }
  if (is.null(times)) return(function(t) list(t = t, sigma = sigma(t)))
  n <- length(times) - 1
  rising <- rev(times)
  noise <- sigma(times)
  # in step k, from times[k] to times[k + 1]
  facts <- list(
    t = function(t, k) t,
    sigma = function(t, k) sigma(t),
    fraction = function(t, k) {
      behind <- (times[k] - t) / (times[k] - times[k + 1])
      pmin(pmax((k - 1 + behind) / n, 0), 1)
    },
    to = function(t, k) times[k + 1],
    r = function(t, k) ifelse(noise[k] < Inf, noise[k + 1] / noise[k], 0),
    a = function(t, k) schedule$a(times[k]),
    a_to = function(t, k) schedule$a(times[k + 1]),
    b2 = function(t, k) schedule$b2(times[k])
  )
  if (!is.null(wanted)) facts <- facts[wanted]
  function(t) {
    # a step has the times above its end
    k <- pmin(pmax(n + 1 - findInterval(t, rising, left.open = TRUE), 1), n)
    lapply(facts, function(fact) fact(t, k))
  }
}

# The faults of CFG++ in a run: its scale is that of DDIM's step, and grows with their number.
profile_faults <- function(guidance, sampler, times) {
  if (is.null(guidance)) return(NULL)
  terms <- Filter(function(term) {
    inherits(term$profile, "strength_profile") && term$profile$shape == "cfgpp"
  }, guidance_terms(guidance))
  if (!length(terms)) return(NULL)
  from <- times[-length(times)]
  strength <- unlist(lapply(terms, guidance_strength, from))
  worst <- which.max(abs(strength))
  most <- 20
  c(if (sampler$name != "ddim" || sampler$params$eta != 0) {
    c(strength = paste0('the profile "cfgpp" is CFG++ for DDIM without noise alone, and with ',
                        format(sampler), " is another guidance; take sampler_ddim()"))
  }, if (abs(strength[worst]) > most) {
    c(strength = paste0('the largest strength of "cfgpp" is ', format(strength[worst], digits = 3),
                        ", at t = ", format(rep_len(from, length(strength))[worst], digits = 3),
                        " (wanted: at most ", most, "), because it grows with the number of ",
                        "steps; take fewer steps, or a smaller `lambda`"))
  })
}

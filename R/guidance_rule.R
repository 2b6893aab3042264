#' Rules of guidance
#'
#' Guidance as usual adds a multiple of what the class's model says more than the other. The rules
#' here make something else of the same two: they turn it, clip it, or hold it to a length, by the
#' inner products of the two at each particle. [guidance()] takes one as its `rule`.
#'
#' @details Below, `c` is what the class's model says and `u` what guidance leads away from, in the
#'   rule's `space`; `G = c - u`, `eta` is the strength, `w = 1 + eta` the scale, `d = u + w G`
#'   guidance as usual; `G_along` is the part of `G` along `c`, and `G_across` the rest. In brackets
#'   the space, and how we know the formula: read in the authors' code or that of package diffusers,
#'   or second-hand, from a catalogue or summary.
#'
#' * `"apg"`: `c + eta (G_across + parallel G_along)`, after `G` is cut to length `radius`;
#'   `parallel = 0`, `radius = Inf`. `momentum = 0` is how much of the last `G` is added to each,
#'   evaluation by evaluation. The authors take `radius` 2.5 to 15, which depends on the size of
#'   the data, and `momentum` -0.5 to -0.75. (Denoised; second-hand.)
#' * `"cfg_zero"`: `s u + w (c - s u)` with `s = <c, u>/|u|^2`, and nothing at all in the first
#'   `zero_steps = 1` steps of a run. (Velocity; read.)
#' * `"rescale"`: `d (amount sd(c)/sd(d) + 1 - amount)`, sd over the coordinates; `amount = 0.7`.
#'   (Noise; read.)
#' * `"ep"`: `d`, made `ratio = 1` times as long as `c`. (Denoised; second-hand.)
#' * `"renorm"`: the same where `d` is longer than that. (Velocity; second-hand.)
#' * `"mambo_g"`: `c + eta exp(-rate |G|/|u|) G`; `rate = 8`. (Velocity; read.)
#' * `"adg"`: `c`, turned away from `u` by `eta` times the angle between them, `most = pi/3` at
#'   most. (Denoised; second-hand.)
#' * `"tcfg"`: `u' + w (c - u')`, where `u'` is the projection of `u` on the first right singular
#'   vector of the rows `u` and `c`. (Score; read.)
#' * `"perp_neg"`: `o + w (P - weight N_across)`, where `o` is of the whole mixture, `P = c - o`,
#'   `N = u - o`, and `N_across` its part across `P`; `weight = 1`; needs `negative`. (Score;
#'   second-hand.)
#' * `"adaptive"`: `d`, until the cosine between `c` and `u` is above `cosine = 0.991` at an
#'   evaluation, and for the rest of the run `c`: the two are as good as one, and a network would be
#'   spared. For each particle by itself. From a long horizon it is over at once, with exact scores:
#'   there both noises are `x/b`. (Noise; second-hand.)
#' * `"feedback"`, `"dng"`: feedback guidance and dynamic negative guidance by their running
#'   estimates, where [strength_profile()] has the exact ones; `strength = 1` is the authors'. In
#'   steps from t to t' a number is kept for each particle, which grows by `tau` times the log-ratio
#'   of two densities at x_t': those of the steps of DDPM from x_t by `c` and by `u`. It is the
#'   logarithm of L, from 0, grows by `offset` too, and is held between where the scale is `most =
#'   10` and 3; the scale is `L/(L - 1 + pi)`, `pi = 0.95`. Unless given, `offset` and `tau` are
#'   chosen by `onset = 0.5` and `rise = 0.4`, parts of the run that remain: `offset` alone would
#'   bring the scale to 3 at the one, and `tau` is in proportion to the variance of the step at the
#'   other. Or it is the logarithm of q, from `prior = 0.01`, with `tau = 0.2`; `offset = 0` over
#'   twice the variance is added, and q held between 1e-6 and `most = 0.99`; the score is
#'   `u - lambda q/(1 - q) (c - u)`, `lambda = 5`. For samplers that take the score once in a step.
#'   (Denoised; read.)
#'
#' Two are of another kind, and know no space:
#'
#' * `"recfg"`: `w s_c + gamma s_u`, whose weights do not sum to 1: `gamma` differs from coordinate
#'   to coordinate and from time to time, see [recfg_weights()]. It is linear in the scores, so that
#'   log-densities, laws and [score_jacobian()] stay. (Read.)
#' * `"characteristic"`: `w s_c(x + eta Delta) - eta s_u(x + w Delta)`, where `Delta = b^2 (s_c(x +
#'   eta Delta) - s_u(x + w Delta))`, the scores of both at other points. For two Gaussians that is
#'   exactly the score of the tilted law with noise added, where plain guidance is not. The equation
#'   is solved at each particle by Newton's method with the exact Jacobian, halving steps that lead
#'   nowhere, and where that does not help by implicit steps along its flow, to `tol = 1e-8` noise
#'   levels in at most `most = 50` steps (twice as many, and shorter ones, where these go round in
#'   circles); there may be several solutions, of which this is one. Where it fails plain guidance
#'   takes its place, and a warning counts how often: on A2 never, for up to 12 components in 8
#'   dimensions less than once in a thousand. R does this between evaluations, which takes 30 times
#'   as long as plain guidance and much more in many dimensions.
#'   (Read; theirs is Anderson's method to 1e-4.)
#'
#' At strength 0 the score is the class's, except by `"cfg_zero"` in its first steps, by `"ep"` and
#' `"renorm"` with another `ratio` than 1, by `"perp_neg"`, and perhaps by a rule of your own;
#' outside the `interval` of a guidance it is so by every rule.
#'
#' **A rule of your own** is a function of a time and of the inner products at many particles, as
#' `function(t, inner, strength)`; `strength`, if it is among the arguments, is that of the guidance
#' at `t`. `inner` is a list of vectors, an element for each particle: `xx`, `xc`, `xu`, `cc`, `cu`,
#' `uu` of the point x, in the coordinates of the process, and of `c` and `u`; and `gg`, of `c - u`
#' with itself. The function returns a list of what x, c and u are multiplied by, as
#' `list(c = 1 + strength, u = -strength)`: one number for all particles or one for each. What is
#' left out is 0. The engine stops at every evaluation to ask, as for a [score_model()].
#'
#' The spaces are the score, the denoised point, the noise and the velocity, see [sampler()]. The
#' same formula in another space is another rule. In the denoised point and the velocity, and for a
#' rule of your own that uses x, it matters where the origin of the data is: that of the coordinates
#' of the process (see [standardise()]).
#'
#' None of these is the gradient of anything in two or more dimensions, so that no log-density is
#' carried along. In one dimension `"apg"` and `"cfg_zero"` leave no guidance at all, by their
#' formulas, and `"rescale"` is not defined.
#'
#' Deterministic runs reduce to fewer dimensions, see [guided_sample()], and take 1.2 to 1.9 times
#' as long as by plain guidance; by `"adg"`, `"feedback"` and `"dng"` up to 2.7 times as long, on
#' mixtures of a few components. Stochastic runs, and those by `"rescale"`, do not reduce: where
#' plain guidance does, they take longer by as much as that saves.
#'
#' @param kind Name of a rule, or a function, see the details.
#' @param ... Its arguments, by name.
#' @param space `NULL`, for that of its authors (of a function: the score); or `"score"`,
#'   `"denoised"`, `"noise"` or `"velocity"`, in which it acts.
#' @return An object of class `guidance_rule`: a list of `kind`, `params` and `space`, and of a rule
#'   of one's own `fun`.
#' @source APG Sadat et al. (2024), \doi{10.48550/arXiv.2410.02416}; CFG-Zero* Fan et al. (2025),
#'   \doi{10.48550/arXiv.2503.18886}; rescaling Lin et al. (2023), \doi{10.48550/arXiv.2305.08891};
#'   EP-CFG \doi{10.48550/arXiv.2412.09966}; renormalisation \doi{10.48550/arXiv.2503.21758};
#'   MAMBO-G \doi{10.48550/arXiv.2508.03442}; ADG \doi{10.48550/arXiv.2506.11039}; TCFG
#'   \doi{10.48550/arXiv.2503.18137}; Perp-Neg Armandpour et al. (2023),
#'   \doi{10.48550/arXiv.2304.04968}; adaptive guidance \doi{10.48550/arXiv.2312.12487}; feedback
#'   guidance Koulischer et al. (2025), \doi{10.48550/arXiv.2506.06085}; dynamic negative guidance
#'   Koulischer et al. (2024), \doi{10.48550/arXiv.2410.14398}; ReCFG
#'   \doi{10.48550/arXiv.2410.18737}; characteristic guidance Zheng and Lan (2024),
#'   \doi{10.48550/arXiv.2312.07586}.
#' @seealso [guidance()]; its `power` is another rule of this kind.
#' @examples
#' m <- gaussmix(c(.3, .3, .4), rbind(c(3, 1), c(1, 3), c(4, 4)), 1, class = c("a", "b", "c"))
#' apg <- guidance("a", 4, rule = guidance_rule("apg", parallel = .2, radius = 3))
#' apg
#' score(m, rbind(c(2, 2)), .5, guidance = apg)
#' confidence(guided_sample(m, 1000, apg, sampler_ddim(50)))
#'
#' # at most as long as the class's own score
#' short <- function(t, inner, strength) {
#'   size <- sqrt((1 + strength)^2 * inner$cc - 2 * strength * (1 + strength) * inner$cu +
#'                  strength^2 * inner$uu)
#'   by <- pmin(sqrt(inner$cc) / size, 1)
#'   list(c = by * (1 + strength), u = -by * strength)
#' }
#' confidence(guided_sample(m, 1000, guidance("a", 4, rule = short), sampler_ddim(50)))
#' @export
guidance_rule <- function(kind, ..., space = NULL) {
  if (is.function(kind)) {
    check_dots(...)
    if (!takes_arguments(kind, 2)) {
      abort_input("kind", "the name of a rule, or a function of t and inner products",
                  describe(kind))
    }
    rule <- list(kind = "own", params = list(), space = "score", fun = kind)
  } else {
    kind <- check_choice(kind, names(all_rules()), "kind")
    usual <- all_rules()[[kind]]
    rule <- list(kind = kind, params = own_params(usual, list(...), c("kind", "space")),
                 space = usual$space)
    if (kind == "cfg_zero") check_count(rule$params$zero_steps, "zero_steps")
    if (!is.null(space) && kind %in% names(other_rules)) {
      abort_input("space", "NULL for a rule that knows none", describe(space))
    }
  }
  if (!is.null(space)) {
    known <- if (rule$kind %in% estimating_rules) "denoised" else rule_spaces
    rule$space <- check_choice(space, known, "space")
  }
  structure(rule, class = object_class("guidance_rule"))
}

# Parameters as of own_params(): of each its usual value, and the least and the largest one.
ranged <- function(...) {
  list(params = lapply(list(...), `[`, 1), range = lapply(list(...), `[`, -1))
}

# In the order of the core (gm_rule in gm.h), but "ep" and "renorm" are one there. `core`: the
# numbers that it gets, from the strength and the parameters.
rules <- local({
  rule <- function(code, space, core, ...) c(list(code = code, space = space, core = core),
                                             ranged(...))
  free <- c(-Inf, Inf)
  list(
    apg = rule(0, "denoised", function(eta, p) list(eta, p$parallel, p$radius),
               parallel = c(0, free), radius = c(Inf, 0, Inf), momentum = c(0, -1, 1)),
    cfg_zero = rule(1, "velocity", function(eta, p) list(1 + eta, 1, 0), zero_steps = c(1, 0, Inf)),
    rescale = rule(2, "noise", function(eta, p) list(1 + eta, p$amount, 0), amount = c(.7, 0, 1)),
    ep = rule(3, "denoised", function(eta, p) list(1 + eta, p$ratio, 0), ratio = c(1, 0, Inf)),
    renorm = rule(3, "velocity", function(eta, p) list(1 + eta, p$ratio, 1), ratio = c(1, 0, Inf)),
    mambo_g = rule(4, "velocity", function(eta, p) list(eta, p$rate, 0), rate = c(8, 0, Inf)),
    adg = rule(5, "denoised", function(eta, p) list(eta, p$most, 0), most = c(pi / 3, 0, pi)),
    tcfg = rule(6, "score", function(eta, p) list(1 + eta, 0, 0)),
    perp_neg = rule(7, "score", function(eta, p) list(1 + eta, p$weight, 0), weight = c(1, free)),
    adaptive = rule(8, "noise", function(eta, p) list(1 + eta, p$cosine, 0),
                    cosine = c(.991, -1, 1)),
    feedback = rule(9, "denoised", function(eta, p) {
      list(eta, p$pi, log((1 - p$pi) * p$most / (p$most - 1)))
    }, pi = c(.95, 1e-6, 1 - 1e-6), most = c(10, 1 + 1e-6, 1e6), onset = c(.5, 0, .999),
    rise = c(.4, 0, .999), tau = c(NA, free), offset = c(NA, free)),
    dng = rule(10, "denoised", function(eta, p) list(eta, p$lambda, log(p$most)),
               lambda = c(5, free), prior = c(.01, 1e-6, 1 - 1e-6), tau = c(.2, free),
               offset = c(0, free), most = c(.99, 1e-6, 1 - 1e-6))
  )
})
estimate_code <- 11
# Rules that keep a number for each particle, and those whose number is a running estimate.
remembering_rules <- c("adaptive", "feedback", "dng")
estimating_rules <- c("feedback", "dng")
has_memory <- function(rule) {
  isTRUE(rule$kind %in% remembering_rules || rule$kind == "apg" && rule$params$momentum != 0)
}

# Rules that are not made of inner products. `operations` makes theirs, like rule_operations().
other_rules <- list(
  recfg = c(ranged(n = c(4096, 1024, 2^20)), space = "score",
            operations = function(...) recfg_operations(...)),
  characteristic = c(ranged(tol = c(1e-8, 1e-14, 1), most = c(50, 1, 1e4)), space = "score",
                     operations = function(...) characteristic_operations(...))
)

all_rules <- function() c(rules, other_rules)

# Is a rule the same in every orthonormal basis? Deviations over the coordinates are not.
is_inner_rule <- function(rule) !rule$kind %in% c("rescale", names(other_rules))

# Is the score at strength 0 the class's own?
zero_is_class <- function(rule) {
  p <- rule$params
  switch(rule$kind, own = FALSE, cfg_zero = p$zero_steps == 0, ep = , renorm = p$ratio == 1,
         perp_neg = p$weight == 0, TRUE)
}

takes_strength <- function(fun) "strength" %in% names(formals(args(fun)))

# Does a rule use the strength of the guidance? All but some of the user's do.
knows_strength <- function(rule) rule$kind != "own" || takes_strength(rule$fun)

rule_spaces <- c("score", "denoised", "noise", "velocity")

as_rule <- function(rule) {
  if (is.null(rule)) return(NULL)
  if (is.character(rule)) check_choice(rule, names(all_rules()), "rule")
  check_rule(if (is.function(rule) || is.character(rule)) guidance_rule(rule) else rule)
}

check_rule <- function(rule) {
  check_class(rule, "guidance_rule", "rule",
              "NULL, the name of a rule, a function or a guidance_rule()")
  check_made(rule, "rule", "guidance_rule()", kind = is_text, params = is.list, space = is_text,
             fun = maybe(is.function))
}

in_words.guidance_rule <- function(x) {
  if (x$kind == "own") {
    return(paste0("by a rule of one's own (space = \"", x$space, "\")",
                  if (!knows_strength(x)) " that takes no strength"))
  }
  usual <- all_rules()[[x$kind]]
  other <- if (x$space != usual$space) paste0("space = \"", x$space, "\"")
  words <- toString(c(param_words(x$params, usual$params), other))
  paste0("by the rule \"", x$kind, "\"", if (nzchar(words)) paste0(" (", words, ")"))
}

# The part of a guidance that is not linear, in words, or NULL.
nonlinear_words <- function(guidance) {
  if (is.null(guidance)) return(NULL)
  if (!is.null(guidance$score_model)) return("a score_model()")
  rule <- guidance$rule$kind
  if (identical(rule, "recfg")) return(NULL)
  if (!is.null(rule)) return(if (rule == "own") "a rule of one's own" else {
    paste0("the rule \"", rule, "\"")
  })
  if (guidance$power != 0) "a power"
}

refuse_nonlinear <- function(guidance, what) {
  words <- nonlinear_words(guidance)
  if (!is.null(words)) abort_input("guidance", paste0("without a power or a rule ", what), words)
}

# Refuses guidances outside the theory, which is about one strength at each time.
refuse_odd <- function(guidance, what) {
  refuse_nonlinear(guidance, what)
  if (is_uneven(guidance)) {
    abort_input("guidance", paste("of one strength for all variables", what),
                format_strength(guidance))
  }
  if (depends_on_q(guidance)) {
    abort_input("guidance", paste("of a strength of time alone", what), format_strength(guidance))
  }
}

# The quantity of a rule's space, see quantity_form().
space_form <- function(space, t, schedule) {
  form <- quantity_form(space, t, schedule)
  bad <- which(!is.finite(form$by_x) | !is.finite(form$by_score) | form$by_score == 0)
  if (length(bad)) {
    cure <- if (schedule$b2(t[bad[1]]) == 0) "take a sampler with `end` > 0" else {
      "take a shorter `horizon`"
    }
    abort_input("rule", paste0("in a space that knows the score at all times, as \"", space,
                               "\" does not at t = ", format(t[bad[1]]), " (", cure, ")"))
  }
  form
}

# The operations of an evaluation by a rule. The rule combines the vectors of the class and of the
# model that guidance leads away from, and the result is written to `op$to`: as a score, or as the
# quantity that the evaluation wants if this is the rule's space. Only the two vectors and their
# combination are in that space; the rule converts them into it and back.
rule_operations <- function(op, guide, schedule) {
  rule <- guide$rule
  if (rule$kind %in% names(other_rules)) {
    return(other_rules[[rule$kind]]$operations(op, guide, schedule))
  }
  t <- op$t
  to <- op$to
  own <- !is.null(guide$score_model)
  space <- rule$space
  form <- if (space != "score") space_form(space, t, schedule)
  params <- rule$params
  back <- is.null(op$want)
  remembers <- isTRUE(params$momentum != 0)
  # rules use angles and ratios, except for a given radius; Perp-Neg uses differences only
  scaled <- space == "noise" && rule$kind != "own" && !remembers
  if (back && (scaled || rule$kind == "perp_neg")) {
    if (rule$kind == "apg") params$radius <- params$radius / abs(form$by_score)
    space <- "score"
  }
  # the value of a user's function becomes a score first
  want <- if (own || space == "velocity") "score" else space
  eval <- function(to, of) {
    made <- new_op("eval", to = to, from = op$from, t = t, of = of)
    if (want != "score") made$want <- want
    if (own) asked_operations(made, guide, schedule) else list(made)
  }
  linear <- function(to, registers, ...) list(op_linear(to, stats::setNames(list(...), registers)))
  # where guidance does not act, its score is the class's
  acts <- guide$acts(t)
  if (!any(acts) && !has_memory(rule)) {
    class <- new_op("eval", to = to, from = op$from, t = t, of = "class")
    class$want <- op$want
    if (!own) return(list(class))
    return(c(asked_operations(class, guide, schedule), if (!back) {
      linear(to, c(to, op$from), form$by_score, form$by_x)
    }))
  }
  blends <- !all(acts) && !zero_is_class(rule) && rule$kind != "own"
  # Conversions from the evaluated quantity into the rule's space, and out of it to the wanted one:
  # by the rule itself, or by sums before and after it. Perp-Neg uses differences from the whole.
  same <- list(by_x = 0, by_score = 1)
  into <- if (want != space) form else same
  inverse <- if (space == "score") same else {
    list(by_x = -form$by_x / form$by_score, by_score = 1 / form$by_score)
  }
  out <- if (back) inverse else same
  how <- if (rule$kind %in% c(remembering_rules, "own")) "around" else rule$kind
  form_of <- switch(how,
    around = list(before = into, into = same, out = same, after = out, point = op$from),
    perp_neg = list(before = same, into = list(by_x = -1, by_score = 1),
                    out = list(by_x = 1, by_score = 1), after = into, point = "(whole)"),
    list(before = same, into = into, out = out, after = same, point = op$from)
  )
  # one after the other, so that the engine takes their sums once
  ops <- c(eval(to, "class"), eval("(away)", "away"))
  if (blends) {
    # the class's vector as the result is wanted
    wanted <- if (back == (want == "score")) same else if (back) inverse else form
    ops <- c(ops, linear("(class)", c(to, op$from), wanted$by_score, wanted$by_x))
  }
  if (form_of$point == "(whole)") ops <- c(ops, eval("(whole)", "whole"))
  if (!identical(form_of$before, same)) {
    for (register in c(to, "(away)")) {
      ops <- c(ops, linear(register, c(op$from, register), form$by_x, form$by_score))
    }
  }
  if (rule$kind %in% estimating_rules) ops <- c(ops, estimate_operations(op, guide, schedule))
  if (remembers) {
    ops <- c(ops, linear("(push)", c(to, "(away)", "(push)"), into$by_score, -into$by_score,
                         params$momentum),
             linear("(away)", c(to, "(push)"), 1, -1 / into$by_score))
  }
  mix <- if (rule$kind == "own") {
    new_op("mix", to = to, from = "(away)", coef = stats::setNames(list(0), form_of$point),
           fun = mixed_by_rule(rule$fun, guide$strength, guide$acts), when = t)
  } else {
    coef <- c(list(rules[[rule$kind]]$code), rules[[rule$kind]]$core(guide$strength(t), params),
              unname(form_of$into), unname(form_of$out))
    if (rule$kind == "cfg_zero" && !is.null(guide$zero_until)) {
      coef[[3]] <- as.numeric(t <= guide$zero_until)
    }
    beside <- if (rule$kind %in% remembering_rules) "(known)" else form_of$point
    new_op("rule", to = to, from = "(away)", coef = stats::setNames(coef, rep(beside, 8)))
  }
  c(ops, list(mix), if (!identical(form_of$after, same)) {
    linear(to, c(to, op$from), form_of$after$by_score, form_of$after$by_x)
  }, if (blends) linear(to, c(to, "(class)"), acts + 0, 1 - acts))
}

# The function of a "mix" for a rule of the user's: it gets the inner products of x, c and u, and
# returns their coefficients.
mixed_by_rule <- function(fun, strength, acts) {
  of_strength <- takes_strength(fun)
  force(strength)
  force(acts)
  where <- function(t) paste(" at t =", format(t))
  function(t, inner, curved) {
    if (!acts(t)) return(list(0, 1, 0))
    eta <- if (of_strength) strength(t)
    names(inner) <- c("xx", "xc", "xu", "cc", "cu", "uu", "gg")
    there <- NULL
    n <- length(inner$xx)
    if (!is.finite(sum(vapply(inner, sum, 0)))) {
      # particles that overflowed have no inner products
      there <- is.finite(Reduce(`+`, inner))
      inner <- lapply(inner, `[`, there)
    }
    value <- from_user(if (of_strength) fun(t, inner, strength = eta) else fun(t, inner), "rule",
                       where(t))
    coef <- rule_coefficients(value, length(inner$xx), where(t))
    if (is.null(there)) coef else lapply(coef, function(by) replace(rep(NaN, n), there, by))
  }
}

rule_coefficients <- function(value, n, where) {
  wanted <- paste0("a function that returns a list of x, c and u (left out: 0), each one finite ",
                   "number or ", n, " of them")
  named <- is.list(value) && length(value) && !is.null(names(value)) &&
    all(names(value) %in% c("x", "c", "u")) && !anyDuplicated(names(value))
  if (!named) abort_input("rule", wanted, paste0(describe(value), where))
  lapply(c("x", "c", "u"), function(name) {
    if (!name %in% names(value)) return(0)
    coef <- value[[name]]
    whole <- is.numeric(coef) && length(coef) %in% c(1, n)
    if (whole) coef <- as.double(coef)
    if (!whole || !all_finite(coef)) {
      came <- if (whole) coef[!is.finite(coef)][1] else describe(coef)
      abort_input("rule", wanted, paste0(came, " for ", name, where))
    }
    coef
  })
}

# The running estimate of log L or log q, in the first coordinate of "(known)", after an evaluation
# that has left the denoised points in `op$to` and "(away)". From its place a step before, x would
# have come, by the step of DDPM, to m = (b'^2 a/(b^2 a')) x + k a' D with variance v a'^2, where D
# is a denoised point, k = 1 - (s'/s)^2, v = s'^2 k and s = b/a. The estimate grows by tau times the
# log-ratio of the two densities at the present x.
estimate_operations <- function(op, guide, schedule) {
  t <- op$t
  before <- step_before(t, guide$grid)
  first <- is.na(before)
  from <- ifelse(first, t, before)
  a <- cbind(schedule$a(from), schedule$a(t))
  b2 <- cbind(schedule$b2(from), schedule$b2(t))
  s2 <- b2[, 2] / a[, 2]^2
  r2 <- s2 * a[, 1]^2 / b2[, 1]
  k <- ifelse(first, 0, 1 - r2)
  p <- estimate_params(guide, schedule)
  add <- ifelse(first, p$at_first, p$add + p$by_variance / (2 * s2 * k * a[, 2]^2))
  by <- ifelse(first, 0, p$tau / (s2 * a[, 2]))
  gap <- list(1 + 0 * t, ifelse(first, 0, -s2 * a[, 2] * a[, 1] / b2[, 1]), -k * a[, 2])
  list(op_linear("(gap)", stats::setNames(gap, c(op$from, "(was)", "(held)"))),
       new_op("rule", to = "(known)", from = "(gap)",
              coef = stats::setNames(list(estimate_code, add, by, k * a[, 2] / 2, 0, 1, 0, 1),
                                     rep("(push)", 8))),
       op_linear("(was)", stats::setNames(list(1), op$from)),
       op_linear("(held)", list("(away)" = 1)),
       op_linear("(push)", stats::setNames(list(1, -1), c(op$to, "(away)"))))
}

# The time of the step before, NA for the first one or where no steps are known.
step_before <- function(t, grid) {
  if (is.null(grid)) return(NA * t)
  step <- match(t, grid[-length(grid)])
  if (anyNA(step)) {
    refuse_estimate(paste("the score at t =", format(t[is.na(step)][1])))
  }
  c(NA, grid)[step]
}

refuse_estimate <- function(came) {
  abort_input("sampler", paste("one that takes the score once in a step, at its beginning, for a",
                               "rule that estimates along the run"), came)
}

# The first value, the factor and the summand of the estimate, by the authors' code.
estimate_params <- function(guide, schedule) {
  p <- guide$rule$params
  if (guide$rule$kind == "dng") {
    return(list(at_first = log(p$prior), tau = p$tau, add = 0, by_variance = p$offset))
  }
  grid <- guide$grid
  if (is.null(grid)) return(list(at_first = 0, tau = 0, add = 0, by_variance = 0))
  n <- length(grid) - 1
  if (is.na(p$offset)) p$offset <- log(1.5 * (1 - p$pi)) / ((1 - p$onset) * n)
  if (is.na(p$tau)) {
    s2 <- schedule$b2(grid) / schedule$a(grid)^2
    variance <- s2[-1] * (1 - s2[-1] / s2[-(n + 1)])
    # counted from the data, between two steps
    rise <- if (n == 1) variance else {
      stats::approx(seq_len(n) - 1, rev(variance), p$rise * n, rule = 2)$y
    }
    p$tau <- abs(2 * rise / 10 * p$offset)
  }
  list(at_first = 0, tau = p$tau, add = p$offset, by_variance = 0)
}

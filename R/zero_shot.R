# Zero-shot conditional methods: how an unconditional sampler is made to see an observation without
# a new model. All work in the frame of the observation (complete_basis()): the first r coordinates
# are observed one by one, y_i = x_i + sqrt(nu_i) z_i, the others not at all. A method then is
#   score: operations that replace each evaluation of the unconditional score; or
#   step:  operations that replace those of a whole step of the sampler; or
#   twist: a particle method, see zero_shot_smc.R.

#' Zero-shot conditional methods
#'
#' How to sample from a mixture, given an [observation()] `y = H x + n`, with its unconditional
#' score alone. [conditional_sample()] runs these methods beside the exact answer, which a mixture
#' has; none but `zero_shot_exact()` is exact.
#'
#' @details Notation: `s` the unconditional score at `x = x_t`, `a` and `b^2` of the [schedule],
#' `x0 = (x + b^2 s)/a` the denoised `x`, `J = (I + b^2 Ds)/a` its derivative. A step leads from
#' `(a, b^2)` to `(a', b'^2)`, with `beta = b^2 - (a/a')^2 b'^2`; `z` is fresh normal noise. `R` is
#' the covariance of the noise of `y`. `P = H+ H` projects on what is observed, `N = I - P`; on
#' `P`, in the basis of [observation()], there are r numbers `y_i = x_i + sqrt(nu_i) z_i`, with
#' `nu_i = sigma^2/s_i^2` if `R = sigma^2 I` and `s_i` are the singular values of `H`.
#'
#' **Another score**, for any [sampler()]:
#' * `zero_shot_exact()`: that of the exact conditional law, [condition()]. Nothing is assumed.
#' * `zero_shot_ddnm()`: `s` on `N`, `(a y_i - x_i)/b^2` on `P`. With DDPM steps the same as DDNM's
#'   own algorithm, which replaces `x0` by `y_i` on `P` (held in a test). Assumes no noise in `y`.
#' * `zero_shot_bo()`: `s` on `N`, `(a y_i - x_i)/(b^2 + a^2 nu_i)` on `P`. Assumes that the
#'   observed part of `x_0`, given `y`, is normal around `H+ y` with the noise's covariance, and
#'   independent of the rest: the best score on `P` under that model, not for the true posterior.
#'   Where `nu_i` is larger than the prior's variance (small singular values) it spreads too far.
#' * `zero_shot_bo(general = TRUE)`: the same with the mean and covariance of `P x_0` given `y`,
#'   exact for a mixture, for `y_i` and `nu_i`, in the eigenvectors of that covariance. Assumes that
#'   `P x_0` given `y` is normal and independent of the rest.
#' * `zero_shot_pigdm()`: `s + J'H'(r^2 HH' + R)^-1 (y - H x0)`, `r^2 = b^2 v/(b^2 + a^2 v)`.
#'   Assumes that the data have covariance `v I` (`prior_variance`); `v = 1` is the published `r^2
#'   = b^2` of variance-preserving schedules.
#' * `zero_shot_tmpd()`: `s + J'H'(H C H' + R)^-1 (y - H x0)` with `C = (b^2/a) J`, the covariance
#'   of `x_0` given `x_t`. Assumes that `x_0` given `x_t` is normal; exact for one Gaussian. MMPS is
#'   the same score, which its authors approximate by a few conjugate gradients; here it is solved.
#'
#' No score that is `s` on `N` can mend what all of that class lack: what the observed part tells of
#' the rest is lost (`zero_shot_ddnm()`, `zero_shot_bo()`).
#'
#' **Steps**, made of those of the sampler:
#' * `zero_shot_ccdf()`: then `x_i <- a' y_i + b' z` on `P`. Assumes no noise in `y`.
#' * `zero_shot_repaint()`: the same, `repeats` times, with `x <- (a/a') x' + sqrt(beta) z` from the
#'   end of the step to its beginning between them. Assumes no noise in `y`.
#' * `zero_shot_dps()`: then `x <- x + zeta J'H'u/|u|`, `u = y - H x0` of the beginning. Assumes
#'   nothing of the noise, and has no right `zeta`.
#' * `zero_shot_mcg()`: the same, then as `zero_shot_ccdf()`. Assumes no noise in `y`.
#' * `zero_shot_ddnm_plus()`: the DDPM step `x' = k x0' + m x + noise`, `k = a' beta/b^2`, with `x0'
#'   = x0 - l_i (x0 - y_i)` on `P`, where `l_i = 1` if the variance `v` of the step (that of
#'   [sampler_ddpm()]) is at least `k^2 nu_i`, else `sqrt(v/nu_i)/k`, and noise of variance `v - (k
#'   l_i)^2 nu_i`: the noise that `y` brings counts as noise of the step. It denoises `y`; given `y`
#'   its law is narrower than DDNM's.
#' * `zero_shot_ddrm()`: steps in `x/a`, whose noise has standard deviation `q = b/a`, and `q'`
#'   after the step: on `N`, `x0 + sqrt(1 - eta^2) q' (x/a - x0)/q + eta q' z`; on `P`, if `q' <
#'   sqrt(nu_i)`, `x0 + sqrt(1 - eta^2) q' (y_i - x0)/sqrt(nu_i) + eta q' z`, else `(1 - eta_b) x0
#'   + eta_b y_i + sqrt(q'^2 - eta_b^2 nu_i) z`. Only the times of the sampler count. With
#'   `informed = TRUE` the start is the authors': `x/a = y_i + sqrt(q^2 - nu_i) z` on `P`, where
#'   `q^2 > nu_i`.
#' * `zero_shot_diffpir()`: the denoised point meets `y` half way: `x0'` minimises `|y - H x0'|^2 +
#'   rho |x0' - x0|^2` in the metric of the noise, `rho = lambda sigma^2 a^2/b^2`, which on `P` is
#'   `x0' = x0 + g_i (y_i - x0)`, `g_i = q^2/(q^2 + lambda nu_i)`; then the noise of `x`, `e = (x -
#'   a x0')/b`, is kept in part: `x' = a' x0' + b' (sqrt(1 - zeta) e + sqrt(zeta) z)`. Only the
#'   times of the sampler count. It takes `q^2/lambda` for the variance of `x_0` given `x_t`, which
#'   for `lambda = 1` is right where the data are far wider than the noise. Fresh noise of a fixed
#'   share `zeta` per step, however short, draws the points to the middle of modes.
#'
#' DPS and MCG measure `y - H x0` without regard to the noise, so that the units of `y` matter to
#' them: of a mixture with coordinates (see [standardise()]) each row of `H` is taken to have length
#' 1 there. Of an `H` with dependent rows they see what [observation()] makes of it.
#'
#' **Particles**, with samplers whose steps are one score and noise, `N(x'; m(x), v I)`:
#' * `zero_shot_tds()`: particles move by the sampler's steps with the score of
#'   `zero_shot_pigdm()`, `q(x' | x)`, and are weighted by `N(x'; m(x), v I) psi'(x')/(psi(x) q(x'
#'   | x))`, where `psi(x) = N(y; H x0, r^2 HH' + R)`, at `t = 0` the likelihood. Down to `t = 0`
#'   exact for many particles and small steps, whatever `prior_variance`; a run that ends before has
#'   the last `psi` in place of the likelihood.
#' * `zero_shot_mcgdiff()`: observed coordinate i is held to `N(x_i; a y_i, V_i)` down to the time
#'   `tau_i` of the grid at which the noise of the process is still at least that of `y_i`,
#'   `b^2/a^2 >= nu_i`, and then goes free: `V_i = b^2 - (a/a_tau)^2 (b_tau^2 - kappa)`. Steps are
#'   those of the sampler times these normals (the locally optimal proposal), weights what remains
#'   of them. What the grid leaves between `tau_i` and `nu_i` is made good by a weight at the end,
#'   exact at `t = 0` (derived for this package). Where `nu_i` is below the noise of the end, `V_i
#'   = b^2 + a^2 (nu_i + kappa)` throughout. Exact for many particles, small steps and `kappa`.
#' * `zero_shot_smcdiffopt()`: particles move by the sampler's unconditional steps, and are weighted
#'   by `psi(x')/psi(x)`, `psi(x) = N(a y; H x, b^2 HH' + a^2 R)`, at the start by `psi(x)`. Exact
#'   for many particles and small steps, as `zero_shot_tds()`; but `psi` looks at `x_t`, not at what
#'   it tells of `x_0`, and nothing leads the particles, so that more of them are needed.
#'
#' Sets of particles whose effective size falls below half are resampled systematically, each set
#' by itself. With `resampling = "every step"` all are, by independent draws (multinomially), as in
#' the program of MCGdiff's authors, which makes few particles much worse. MCGdiff takes samplers
#' whose last step has no noise, as [sampler_ddpm()] with the variance `"posterior"` down to `t =
#' 0`.
#'
#' @param general Use the exact mean and covariance of the observed part given `y`?
#' @param repeats How often each step is made.
#' @param eta,eta_b How much of the noise of a step is fresh, on coordinates that the observation
#'   does not determine, and how far coordinates that it does are moved to it; from 0 to 1.
#' @param informed Start from what the observation tells, not from noise alone?
#' @param zeta Size of the steps towards the observation. (Where the gradient is that of the squared
#'   norm of `y - H x0`, over the norm, as the authors write it, their 1 is 2 here.) Of
#'   `zero_shot_diffpir()`: the share of fresh noise, from 0 to 1.
#' @param lambda How much the denoised point weighs against `y`, at least 0: 0 takes `y` for free of
#'   noise. It and `zeta` are the authors' for noisy images.
#' @param prior_variance The variance of the data that the method assumes, `Inf` for a flat prior.
#' @param particles Number of particles of each draw.
#' @param kappa Variance that an observed coordinate keeps at the time at which it goes free.
#' @param resampling `"adaptive"` or `"every step"`, see above.
#' @return An object of class `zero_shot_method`, with `format` and `print`.
#' @seealso [judge_samples()], which compares all methods on one problem.
#' @source DDNM and BO were read in the first author's program for Liang, Ju, Liang and Shroff
#'   (2024), \doi{10.48550/arXiv.2410.13746}; the others are recalled, not verified against the
#'   papers. DDNM and DDNM+: Wang, Yu and Zhang (2023), \doi{10.48550/arXiv.2212.00490}; CCDF:
#'   Chung, Sim and Ye (2022), \doi{10.48550/arXiv.2112.05146}, its form (which is also ILVR's with
#'   a projection for its filter) is this package's reading; RePaint: Lugmayr et al. (2022),
#'   \doi{10.48550/arXiv.2201.09865}; DDRM: Kawar, Elad, Ermon and Song (2022),
#'   \doi{10.48550/arXiv.2201.11793}; DPS: Chung et al. (2023), \doi{10.48550/arXiv.2209.14687};
#'   MCG: Chung, Sim, Ryu and Ye (2022), \doi{10.48550/arXiv.2206.00941}; TMPD: Boys et al. (2023),
#'   \doi{10.48550/arXiv.2310.06721}; PiGDM: Song, Vahdat, Mardani and Kautz (2023); TDS: Wu,
#'   Trippe, Naesseth, Blei and Cunningham (2023), \doi{10.48550/arXiv.2306.17775}; MCGdiff:
#'   Cardoso, El Idrissi, Le Corff and Moulines (2023), \doi{10.48550/arXiv.2308.07983}. Read in
#'   their authors' programs: DiffPIR: Zhu et al. (2023), \doi{10.48550/arXiv.2305.08995}; MMPS:
#'   Rozet, Andry, Lanusse and Louppe (2024), \doi{10.48550/arXiv.2405.13712}; SMCDiffOpt: Dowling
#'   (2024), his thesis at Imperial College London and its program. As printed, its first step
#'   divides by a `psi` that was not there; the program has the start right, but returns the
#'   particles without their weights. Generalised BO and the forms for any schedule: derived for
#'   this package.
#' @family zero-shot conditional sampling
#' @examples
#' zero_shot_bo()
#' zero_shot_repaint(repeats = 10)
#' zero_shot_pigdm(prior_variance = 4)
#' # all of them
#' ls("package:mixguide", pattern = "^zero_shot_")
#' @name zero_shot
NULL

new_zero_shot <- function(name, label, params = list(), score = NULL, step = NULL, twist = NULL,
                          range = "noise", ddpm = FALSE) {
  structure(list(name = name, label = label, params = params, score = score, step = step,
                 twist = twist, range = range, ddpm = ddpm),
            class = object_class("zero_shot_method"))
}

# All methods with their default settings, and 32 particles, under their names.
all_methods <- function() {
  methods <- list(zero_shot_exact(), zero_shot_ddnm(), zero_shot_bo(), zero_shot_bo(general = TRUE),
                  zero_shot_ccdf(), zero_shot_repaint(), zero_shot_ddnm_plus(), zero_shot_ddrm(),
                  zero_shot_diffpir(), zero_shot_dps(), zero_shot_mcg(), zero_shot_pigdm(),
                  zero_shot_tmpd(), zero_shot_tds(32), zero_shot_mcgdiff(32),
                  zero_shot_smcdiffopt(32))
  stats::setNames(methods, vapply(methods, `[[`, "", "label"))
}

# A list of methods with names to show.
named_methods <- function(methods) {
  if (is.null(methods)) return(all_methods())
  if (inherits(methods, "zero_shot_method")) methods <- list(methods)
  if (!is.list(methods) || !length(methods)) {
    abort_input("methods", "a list of methods such as zero_shot_bo()", describe(methods))
  }
  for (i in seq_along(methods)) check_zero_shot(methods[[i]], paste0("methods[[", i, "]]"))
  labels <- names_of(methods)
  bare <- !nzchar(labels)
  labels[bare] <- vapply(methods[bare], `[[`, "", "label")
  stats::setNames(methods, make.unique(labels, " "))
}

#' @rdname zero_shot
#' @export
zero_shot_exact <- function() new_zero_shot("exact", "exact conditional score")

#' @rdname zero_shot
#' @export
zero_shot_ddnm <- function() {
  new_zero_shot("ddnm", "DDNM", score = function(op, frame, a, b2) {
    range_score(op, frame, a, rep(b2, frame$r))
  })
}

#' @rdname zero_shot
#' @export
zero_shot_bo <- function(general = FALSE) {
  check_flag(general, "general")
  new_zero_shot("bo", if (general) "generalised BO" else "BO-DDNM",
                range = if (general) "posterior" else "noise",
                score = function(op, frame, a, b2) {
                  range_score(op, frame, a, b2 + a^2 * frame$nu)
                })
}

#' @rdname zero_shot
#' @export
zero_shot_ccdf <- function() {
  new_zero_shot("ccdf", "CCDF", step = function(ops, step, frame) {
    c(ops, replace_range(step, frame))
  })
}

#' @rdname zero_shot
#' @export
zero_shot_repaint <- function(repeats = 5) {
  repeats <- check_steps(repeats, "repeats")
  new_zero_shot("repaint", "RePaint", list(repeats = repeats), step = function(ops, step, frame) {
    once <- c(ops, replace_range(step, frame))
    back <- list(op_noise("(z)"), op_linear("x", c(x = 1 / step$ratio, "(z)" = sqrt(step$beta))))
    c(rep(c(once, back), repeats - 1), once)
  })
}

#' @rdname zero_shot
#' @export
zero_shot_ddnm_plus <- function() {
  # x' = k x0' + m x + noise: the DDPM step from x0'. On the range x0' = x0 - l (x0 - y), and the
  # noise that y brings, (k l)^2 nu, counts as noise of the step
  new_zero_shot("ddnm_plus", "DDNM+", ddpm = TRUE, step = function(ops, step, frame) {
    sd <- as.list(ops[[length(ops)]]$coef)[["z"]]
    k <- step$a_next * step$beta / step$b2
    m <- step$b2_next / step$b2 / step$ratio
    allowed <- k * sqrt(frame$nu)
    l <- ifelse(sd >= allowed, 1, sd / allowed)
    own <- sqrt(pmax(sd^2 - allowed^2, 0))
    from_x0(step, frame, x0 = c(k * (1 - l), k), x = m, y = k * l, z = c(own, sd))
  })
}

#' @rdname zero_shot
#' @export
zero_shot_ddrm <- function(eta = .85, eta_b = 1, informed = FALSE) {
  check_flag(informed, "informed")
  eta <- check_number(eta, "eta", min = 0, max = 1)
  eta_b <- check_number(eta_b, "eta_b", min = 0, max = 1)
  # in the variance-exploding coordinate x/a, whose noise has variance b^2/a^2 = sigma^2
  params <- c(list(eta = eta, eta_b = eta_b), if (informed) list(informed = TRUE))
  new_zero_shot("ddrm", "DDRM", params, step = function(ops, step, frame) {
    now <- sqrt(step$b2) / step$a
    then <- sqrt(step$b2_next) / step$a_next
    kept <- sqrt(1 - eta^2) * then
    noisy <- then < sqrt(frame$nu)
    to_y <- ifelse(noisy, kept / sqrt(frame$nu), eta_b)
    z <- ifelse(noisy, eta * then, sqrt(pmax(then^2 - eta_b^2 * frame$nu, 0)))
    to_x <- kept / now # of x/a - x0
    scale <- step$a_next
    begin <- if (informed && step$k == 1) informed_start(step, frame)
    c(begin, from_x0(step, frame, x0 = scale * c(1 - to_y, 1 - to_x),
                     x = c(rep(0, frame$r), scale / step$a * to_x), y = scale * to_y,
                     z = scale * c(z, eta * then)))
  })
}

# If the start has more noise than y, its x/a is y plus the missing noise.
informed_start <- function(step, frame) {
  missing <- step$b2 / step$a^2 - frame$nu
  seen <- missing > 0
  noise <- ifelse(seen, step$a * sqrt(pmax(missing, 0)) / step$start_sd, 1)
  c(constant_one, list(linear_op("x", x = fill_range(noise, frame, 1),
                                 "(one)" = fill_range(step$a * frame$target * seen, frame))))
}

#' @rdname zero_shot
#' @export
zero_shot_diffpir <- function(lambda = 1, zeta = .1) {
  lambda <- check_number(lambda, "lambda", min = 0)
  zeta <- check_number(zeta, "zeta", min = 0, max = 1)
  new_zero_shot("diffpir", "DiffPIR", list(lambda = lambda, zeta = zeta),
                step = function(ops, step, frame) {
                  q2 <- step$b2 / step$a^2
                  to_y <- q2 / (q2 + lambda * frame$nu)
                  kept <- sqrt((1 - zeta) * step$b2_next / step$b2) # of x - a x0'
                  gain <- step$a_next - kept * step$a
                  from_x0(step, frame, x0 = gain * c(1 - to_y, 1), x = kept, y = gain * to_y,
                          z = sqrt(zeta * step$b2_next))
                })
}

#' @rdname zero_shot
#' @export
zero_shot_dps <- function(zeta = 1) pulling_method("dps", "DPS", zeta)

#' @rdname zero_shot
#' @export
zero_shot_mcg <- function(zeta = 1) pulling_method("mcg", "MCG", zeta, after = replace_range)

pulling_method <- function(name, label, zeta, after = function(step, frame) NULL) {
  zeta <- check_number(zeta, "zeta", min = 0)
  new_zero_shot(name, label, list(zeta = zeta), range = "operator",
                step = function(ops, step, frame) {
                  c(dps_step(ops, step, frame, zeta), after(step, frame))
                })
}

#' @rdname zero_shot
#' @export
zero_shot_pigdm <- function(prior_variance = 1) {
  prior_variance <- check_prior_variance(prior_variance)
  new_zero_shot("pigdm", "PiGDM", list(prior_variance = prior_variance),
                score = function(op, frame, a, b2) {
                  variance <- spread_given(prior_variance, a, b2) + frame$nu
                  check_noisy(variance)
                  guided_score(op, frame, a, b2, 1 / variance)
                })
}

#' @rdname zero_shot
#' @export
zero_shot_tmpd <- function() {
  # H C H' + R in the frame: (b^2/a^2) I + diag(nu) + (b^4/a^2) Ds
  new_zero_shot("tmpd", "TMPD", score = function(op, frame, a, b2) {
    variance <- frame$nu + b2 / a^2
    check_noisy(variance)
    solve <- op_solve("(pull)", op$from, op$t, coef = b2^2 / a^2, diagonal = variance)
    guided_score(op, frame, a, b2, 1, list(solve))
  })
}

# Var(x_0 | x_t) = r^2 of each coordinate, if that of x_0 is v.
spread_given <- function(v, a, b2) if (is.finite(v)) b2 * v / (b2 + a^2 * v) else b2 / a^2

check_prior_variance <- function(x) {
  if (identical(x, Inf)) return(x)
  check_number(x, "prior_variance", min = 0, open = TRUE)
}

in_words.zero_shot_method <- function(x) paste0(x$label, format_params(x$params))

headline.zero_shot_method <- function(x) {
  kind <- if (!is.null(x$score)) "a score" else if (!is.null(x$step)) "a step of its own" else {
    if (is.null(x$twist)) "the conditional law itself" else "weighted particles"
  }
  paste0(format(x), ": ", kind)
}

check_zero_shot <- function(x, arg = "method") {
  check_class(x, "zero_shot_method", arg, "a method such as zero_shot_bo()")
  check_made(x, arg, "its function", name = is_text, label = is_text, params = is.list,
             score = maybe(is.function), step = maybe(is.function), twist = maybe(is_text),
             range = is_text, ddpm = is_flag)
}

# ---- What methods are made of

# The frame in which a method works.
zero_shot_frame <- function(mixture, observation, method) {
  by <- if (method$range == "operator") "operator" else "noise"
  range <- observed_range(observation, by, mixture_sd(mixture))
  if (method$range == "posterior") {
    law <- moments(exact_posterior(mixture, observation))
    V <- range$basis
    range[c("basis", "target", "nu")] <-
      turn_range(V, drop(crossprod(V, law$mean)), crossprod(V, unname(law$cov) %*% V))
  }
  complete_basis(range)
}

# The run of a method without particles: a mixture, the steps on it, and the function that turns
# its points (rows) back.
zero_shot_task <- function(mixture, observation, method, sampler, times, schedule, model = NULL) {
  if (method$name == "exact") {
    return(list(mixture = exact_posterior(mixture, observation), back = identity,
                steps = zero_shot_program(method, NULL, sampler, times, schedule)))
  }
  frame <- zero_shot_frame(mixture, observation, method)
  steps <- zero_shot_program(method, frame, sampler, times, schedule)
  list(mixture = turned_mixture(mixture, frame), back = frame$back,
       steps = if (is.null(model)) steps else asked_steps(steps, model, frame, method, schedule))
}

# The same steps by the score of a score_model(), which is asked for it at the points turned back.
asked_steps <- function(steps, model, frame, method, schedule) {
  if (uses_hessian(unlist(steps, recursive = FALSE))) refuse_derivative(method)
  asked <- asked_op(model, frame, schedule)
  lapply(steps, lapply, function(op) if (op$op == "eval") asked(op) else op)
}

refuse_derivative <- function(method) {
  abort_input("method", paste("one that does not ask for the derivative of the score, which a",
                              "score_model() has not"), format(method))
}

# An evaluation as a call of the model, as a function of it.
asked_op <- function(model, frame, schedule) {
  asked <- model_score(model, NULL, schedule)
  turned <- function(t, from, curved) {
    t(frame$turn(t(asked(t, frame$back(from), curved))))
  }
  function(op) new_op("call", to = op$to, from = op$from, fun = turned, when = op$t)
}

# The mixture given the observation, in all variables.
exact_posterior <- function(mixture, observation) condition(mixture, observation, drop = FALSE)

# Numbers for the range, and one for all unobserved coordinates.
fill_range <- function(x, frame, rest = 0) c(x, rep(rest, frame$d - frame$r))
ends <- function(x, frame) {
  if (length(x) %in% c(1, frame$d)) return(x)
  fill_range(x[seq_len(frame$r)], frame, x[frame$r + 1])
}

constant_one <- list(new_op("constant", to = "(one)", coef = list(x = 1)))

linear_op <- function(to, ...) new_op("linear", to = to, coef = list(...))
sum_op <- function(to, registers, coef) {
  new_op("linear", to = to, coef = stats::setNames(coef, registers))
}

check_noisy <- function(variance) {
  if (any(variance == 0)) {
    abort(paste("the score given an observation without noise does not exist at t = 0;",
                "take a sampler with `end` > 0"), "singular")
  }
}

# s on N, (a target_i - x_i)/variance_i on P.
range_score <- function(op, frame, a, variance) {
  check_noisy(variance)
  coef <- list(fill_range(rep(0, frame$r), frame, 1), fill_range(-1 / variance, frame),
               fill_range(a * frame$target / variance, frame))
  c(list(op), constant_one, list(sum_op(op$to, c(op$to, op$from, "(one)"), coef)))
}

# s + J'w, where w_i = weight_i (target_i - x0_i) on P and 0 on N; `more` operations make of w,
# in register "(pull)", another. a J = I + b^2 Ds.
guided_score <- function(op, frame, a, b2, weight, more = NULL) {
  c(list(op), pull_to(op, frame, a, b2, rep_len(weight, frame$r)), more,
    list(op_product("(pull)", op$from, op$t, coef = b2),
         sum_op(op$to, c(op$to, "(pull)"), list(1, 1 / a))))
}

pull_to <- function(op, frame, a, b2, weight) {
  coef <- list(fill_range(-weight / a, frame), fill_range(-weight * b2 / a, frame),
               fill_range(weight * frame$target, frame))
  c(constant_one, list(sum_op("(pull)", c(op$from, op$to, "(one)"), coef)))
}

# x_i <- a' target_i + b' z on P.
replace_range <- function(step, frame) {
  c(constant_one,
    list(op_noise("(z)"),
         linear_op("x", x = fill_range(rep(0, frame$r), frame, 1),
                   "(one)" = fill_range(step$a_next * frame$target, frame),
                   "(z)" = fill_range(rep(sqrt(step$b2_next), frame$r), frame))))
}

# A step of a method's own: x' = (coefficients of) x0, x, y and noise; those of x0, x and z are one
# number, or r for P and one for N.
from_x0 <- function(step, frame, x0, x, y, z) {
  x0 <- ends(x0, frame)
  c(list(op_eval("s", from = "x", t = step$t)), constant_one,
    list(op_noise("(z)"),
         linear_op("x", x = ends(x, frame) + x0 / step$a, s = x0 * step$b2 / step$a,
                   "(one)" = fill_range(y * frame$target, frame), "(z)" = ends(z, frame))))
}

# The sampler's step, plus zeta J'H'(y - H x0)/|y - H x0| of its beginning.
dps_step <- function(ops, step, frame, zeta) {
  op <- ops[[1]]
  at_start <- op$op == "eval" && op$from == "x" && op$t == step$t
  if (at_start) ops <- ops[-1] else op <- op_eval("(s)", from = "x", t = step$t)
  c(list(op), pull_to(op, frame, step$a, step$b2, frame$scale),
    list(new_op("power", to = "(pull)", coef = list(x = -1)),
         linear_op("(pull)", "(pull)" = fill_range(frame$scale, frame)),
         op_product("(pull)", "x", step$t, coef = step$b2)),
    ops, list(linear_op("x", x = 1, "(pull)" = zeta / step$a)))
}

# The operations of all steps of a run by a method.
zero_shot_program <- function(method, frame, sampler, times, schedule) {
  steps <- sampler_program(sampler, times, schedule)
  if (method$name == "exact") return(steps)
  need_memory(times, schedule, method$label)
  steps <- lapply(steps, score_form, schedule)
  # such a step would give the noise the shape of the unconditional score
  if (uses_hessian(unlist(steps, recursive = FALSE))) {
    abort_input("sampler",
                paste("one that does not take the derivative of the score, for", method$label),
                format(sampler))
  }
  if (is.null(method$step)) {
    score <- function(op) {
      if (op$op != "eval") return(list(op))
      method$score(op, frame, schedule$a(op$t), schedule$b2(op$t))
    }
    return(lapply(steps, function(ops) unlist(lapply(ops, score), recursive = FALSE)))
  }
  lapply(seq_along(steps), function(k) {
    step <- c(step_constants(k, times, schedule), k = k, t = times[k],
              start_sd = start_sd(schedule, times[1]))
    method$step(steps[[k]], step, frame)
  })
}

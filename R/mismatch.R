# The distance of the score in use from the score of the target, and its cost along the path.

#' Score mismatch and its cost
#'
#' `mismatch()` measures the error of a sampler that runs on another score than its target's. It
#' measures the difference of the two fields, `D_t = grad log q_t - g_t`, along the forward process
#' of the target, and splits the Kullback-Leibler divergence between the path of the true reverse
#' process and that of the sampler into its start, its steps, its mismatch and its score error. The
#' target is the exact conditional law given an `observation`, with the score of a zero-shot
#' `method`; or the mixture itself, with the score of a `model`.
#'
#' @details The sampler is `sampler_ddpm(variance = "scaled")`, that of the analyses: `x' = (a'/a)
#' (x + beta g_t(x)) + sqrt(v) z` with `beta = b^2 - (a/a')^2 b'^2`, `v = (a'/a)^2 beta`; on the
#' whole times of a discrete schedule `beta = 1 - alpha_t`. Let `q_t` be the diffused target, `h`
#' its entropy, `I = E|grad log q_t|^2`, and let the score in use be `g_t + e_t`. For every target,
#' every field `g` and every grid
#'
#'     KL(path of q || path of the sampler)
#'       = KL(q_T || start)                                                    initialisation
#'       + sum over steps of h(t) - h(t') + d log(a'/a) - (beta/2) I(t)        discretisation
#'       + sum over steps of (beta/2) E|D_t|^2                                 bias, called B
#'       + sum over steps of (beta/2) E|e_t|^2                                 score error
#'       - sum over steps of beta E<D_t, e_t>                                  cross term
#'
#' with all expectations under `q_t`: an identity, derived for this package. As everywhere in this
#' package `kl` is from target to output: by the data-processing inequality the sum bounds
#' `KL(q_end || law of the output)`. `B` is a part of that bound, not a divergence: in the example
#' the output is nearer than `B`. In continuous time `B` becomes `(1/2) int G^2 E|D_t|^2 dt`.
#'
#' **Zero-shot methods.** With `P` the projection on the observed directions and `N = I - P`,
#' `|D|^2 = |P D|^2 + |N D|^2`. The methods `g = N s + f` with `f` in the range of `P` (DDNM, BO,
#' generalised BO) share the second part. On the range the best `f` is that of the exact conditional
#' score. Without noise this is DDNM's; with noise it needs the prior, which BO approximates (see
#' [zero_shot]).
#'
#' Two cautions, both measured, see `vignette("zero-shot", "mixguide")`. A smaller `B` is not a
#' smaller Wasserstein distance: if `H` has small singular values, BO has a far smaller `B` than
#' DDNM and can lie further from the target. At coarse steps the discretisation may compensate a
#' part of the mismatch, so that a larger `B` can come with a smaller divergence of the output.
#'
#' **Without `y`** the result is for all possible observations: `B` is its expectation over `y`, for
#' any noise, of `zero_shot_bo()`, `zero_shot_ddnm()` or the unconditional score. `y` and `x_t` are
#' jointly a mixture, whose score in `x_t` is that of the exact conditional law, so no law is
#' conditioned on each `y`. The result also has the [mutual_information()]; in continuous time and
#' without noise `B` is at most that.
#'
#' **Methods.** If target and model are single Gaussians, or the target is and `affine` says that
#' the difference of the fields is affine: a rule of `2 d` nodes that is exact for polynomials of
#' degree 3. In up to three dimensions: `nodes` Gauss-Hermite nodes along each axis of each
#' component. Beyond: Monte Carlo over `n` draws of the target, with new noise at each time; there
#' `I` comes from `E|s|^2 = d/b^2 - E|s + z/b|^2`, which varies far less than `|s|^2`. (Without `y`
#' the dimensions are those of `y` and `x` together.) The standard error of a sum by quadrature is
#' its largest difference from the sums with a half and two thirds of the nodes, which exceeds its
#' error.
#'
#' @inheritParams information
#' @param mixture The law of `x` before the observation, a [gaussmix()] or a [diffusion()] of one;
#'   without an observation the target, which may be singular if the grid stops early.
#' @param observation An [observation()], or numbers named by the observed variables; one without
#'   `y` for the mean over `y`. `NULL`: the target is the mixture.
#' @param method With an observation: one of the [zero_shot] methods that are a score; `NULL`: the
#'   unconditional score, which ignores `y`.
#' @param times Decreasing times; `NULL`: the whole times of a discrete schedule, from the horizon
#'   to 1, as in the analyses.
#' @param model Without an observation: the source of the score in use, a [gaussmix()], or a
#'   function of `x` (n x d) and `t` that returns n x d numbers.
#' @param score_error `NULL`, a function of `x` and `t` that returns an error to add to the score in
#'   use (n x d), or a [score_error()] without a model of its own.
#' @param affine Whether the difference of the two scores is an affine function of `x`. `NULL`: yes
#'   for two single Gaussians. Used only for a single Gaussian as target, and without score error.
#' @param nodes Gauss-Hermite nodes along each axis; `NULL`: 200, 60 or 20 in one,
#'   two or three dimensions (20 without `y`).
#' @return A data frame of class `mixguide_mismatch` with a row per step and columns `t`, `t_next`,
#'   `beta`; `mismatch`, `E|D_t|^2`, with `mismatch_se`; `fisher`, `E|grad log q_t|^2`; the parts of
#'   the step, `bias`, `discretisation`, `score_error`, `cross`; with an observation also `range`,
#'   the part of `bias` along the observed directions; and `method`: `"exact"`, `"quadrature"` or
#'   `"Monte Carlo"`. Without `y` only the bias is known. `plot()` shows the cumulative parts,
#'   without the start, from noise to data.
#'
#'   `summary()`: a table of estimates ([mixguide_table]); the column `quantity` is
#'   `"initialisation"`, `"discretisation"`, `"bias"`, `"score_error"` and `"cross"` (if there is an
#'   error), `"path"`, their sum; with an observation `"range"` and `"null"`, the parts of the bias;
#'   for one without `y` `"mutual_information"`.
#' @source Setting, and the names of the parts: Liang, Ju, Liang and Shroff (2024),
#'   \doi{10.48550/arXiv.2410.13746} (recalled, not verified against the paper, which drops the
#'   constant 1/2), also for the class and BO. The identity, and that BO is the best of the class
#'   for a normal law of the range given `y`, independent of the rest, and not for every posterior,
#'   are derived for this package.
#' @seealso [mutual_information()], which needs no sampler; [path_kl()] for other samplers with the
#'   score of their target.
#' @family zero-shot conditional sampling
#' @examples
#' # the score of N(0, I) in place of that of a mixture
#' schedule <- schedule_etc(50)
#' wrong <- mismatch(named_mixture("B2"), model = gaussmix(1, t(c(0, 0)), 1), schedule = schedule)
#' wrong
#' summary(wrong)
#' plot(wrong)
#'
#' # that of a zero-shot method in place of the exact conditional score
#' m <- named_mixture("M2")
#' y <- observation(.8, H = cbind(1, .5), noise = .3^2)
#' summary(mismatch(m, y, zero_shot_bo(), schedule))
#' # on average over y
#' mismatch(m, observation(variables = 1), zero_shot_ddnm(), schedule)
#' @export
mismatch <- function(mixture, observation = NULL, method = NULL, schedule = schedule_etc(100),
                     times = NULL, model = NULL, score_error = NULL, affine = NULL, nodes = NULL,
                     n = 1e4, key = NULL) {
  unpack_diffusion()
  check_mixture(mixture)
  check_schedule(schedule)
  if (!is.null(affine)) check_flag(affine, "affine")
  process <- in_process(mixture)
  if (is.null(observation)) {
    if (is.null(model)) abort_input("model", "given, or else an `observation`", "NULL")
    refuse_method(method)
    if (inherits(model, "gaussmix")) check_same_variables(model, mixture, "model")
    if (inherits(model, "gaussmix") || is.function(model)) {
      model <- in_process(model, mixture, "model")
    }
    target <- process
    field <- score_field(model, schedule)
    range <- NULL
  } else {
    if (!is.null(model)) abort_input("model", "NULL where `observation` is given", describe(model))
    if (!is.null(method)) check_zero_shot(method)
    if (inherits(observation, "mixguide_observation") && is.null(observation$y)) {
      observation <- as_observation(observation, mixture, seen = "none")
      if (!is.null(score_error)) abort_input("score_error", "NULL for an observation without `y`")
      if (!is.null(affine)) abort_input("affine", "NULL for an observation without `y`")
      return(expected_mismatch(mixture, observation, method, schedule, times, nodes, n, key))
    }
    observation <- in_process(as_observation(observation, mixture), mixture)
    target <- exact_posterior(process, observation)
    field <- method_field(process, observation, method, schedule)
    range <- observed_range(observation, sd = mixture_sd(process))$basis
  }
  if (!is.null(affine)) field$affine <- affine
  error <- in_process(check_score_field(score_error, mixture), mixture)
  mismatch_table(target, field, schedule, times, error, nodes, n, key, range)
}

# `range`: an orthonormal basis (d x r) of the observed directions, or NULL.
mismatch_table <- function(target, field, schedule, times, error, nodes, n, key, range) {
  times <- mismatch_times(times, schedule)
  target <- keep_components(target, target$weights > 0)
  for (t in times) noise_level(target, t, schedule)
  d <- mixture_dim(target)
  nodes <- if (is.null(nodes)) c(200, 60, 20)[min(d, 3)] else check_count(nodes, "nodes", min = 2)
  error <- error_moments(error, schedule)
  # a score error may be anything; a single Gaussian's own score is affine
  affine <- mixture_size(target) == 1 && field$affine && is.null(error)
  key <- own_key(check_key(key))
  one <- mismatch_steps(times, schedule)
  a <- c(one$a, one$a_next[length(one$a)])
  b2 <- c(one$b2, one$b2_next[length(one$b2)])
  sums <- by_rules(nodes, function(nodes) {
    points <- field_points(target, affine, nodes, n, key)
    place <- function(k) {
      law <- diffuse(target, times[k], schedule)
      drawn <- points$at(law, a[k], b2[k], k)
      c(drawn, list(log_p = dgaussmix(drawn$x, law, log = TRUE)))
    }
    step <- function(k, half, here) {
      s <- score(target, here$x, times[k], schedule)
      g <- field$at(here$x, times[k])
      D <- unname(s - g)
      e <- if (!is.null(error)) error$at(here$x, times[k], g)
      fisher <- here$square(s)
      D2 <- rowSums(D^2)
      there <- place(k + 1)
      list(mismatch = D2, fisher = fisher, there = there, parts = cbind(
        bias = half * D2,
        range = if (!is.null(range)) half * rowSums((D %*% range)^2),
        discretisation = there$log_p - here$log_p + d * log(one$ratio[k]) - half * fisher,
        score_error = if (!is.null(e)) half * (rowSums(e$mean^2) + d * e$sd^2),
        cross = if (!is.null(e)) -2 * half * rowSums(D * e$mean)
      ))
    }
    start <- place(1)
    sum_steps(points, one$beta, step, start,
              start_excess(start$x, start$log_p, times[1], schedule))
  })
  new_mismatch(sums, format(target), field$label, schedule, times, one$beta, n)
}

# Sums over a rule with the given nodes. For quadrature two coarser rules give an error bound: their
# sums differ from the sum by more than it differs from the truth.
by_rules <- function(nodes, sums) {
  fine <- sums(nodes)
  if (fine$method != "quadrature") return(fine)
  coarse <- lapply(setdiff(ceiling(nodes * c(1, 4 / 3) / 2), nodes), sums)
  change <- function(part, column) {
    value <- fine[[part]][[column]]
    change <- do.call(pmax, lapply(coarse, function(other) abs(other[[part]][[column]] - value)))
    replace(change, is_rounding(change, value), 0)
  }
  fine$rows$mismatch_se <- change("rows", "mismatch")
  fine$parts$se <- change("parts", "estimate")
  fine
}

mismatch_steps <- function(times, schedule) {
  need_memory(times, schedule, "this decomposition")
  step_constants(seq_len(length(times) - 1), times, schedule)
}

# A row for each step with the values of `step(k, beta/2, here)`, where `here` is what the step
# before left as `there`, and the sums of the parts: without an `initialisation` only those of the
# bias are known.
sum_steps <- function(points, beta, step, here = NULL, initialisation = NULL) {
  totals <- 0
  # a table for each step would take longer than its sums
  mean_of <- if (points$method == "Monte Carlo") points$mean else function(f) {
    list(estimate = sum(points$weight * f), se = 0)
  }
  rows <- vector("list", length(beta))
  for (k in seq_along(beta)) {
    value <- step(k, beta[k] / 2, here)
    here <- value$there
    totals <- totals + value$parts
    mean <- mean_of(value$mismatch)
    rows[[k]] <- c(mismatch = mean$estimate, mismatch_se = mean$se,
                   fisher = if (!is.null(value$fisher)) sum(points$weight * value$fisher),
                   colSums(points$weight * value$parts))
  }
  sums <- setdiff(colnames(totals), "range")
  totals <- cbind(initialisation, totals)
  if (!is.null(initialisation)) {
    totals <- cbind(totals, path = rowSums(totals[, c("initialisation", sums)]))
  }
  if ("range" %in% colnames(totals)) {
    totals <- cbind(totals, null = totals[, "bias"] - totals[, "range"])
  }
  parts <- intersect(c("initialisation", "discretisation", "bias", "range", "null", "score_error",
                       "cross", "path"), colnames(totals))
  means <- lapply(parts, function(name) points$mean(totals[, name]))
  list(rows = as.data.frame(do.call(rbind, rows)), method = points$method,
       parts = data.frame(quantity = parts, do.call(rbind, means)))
}

new_mismatch <- function(sums, target, model, schedule, times, beta, n,
                         foot = "The path's divergence bounds KL(target || output)") {
  method <- sums$method
  rows <- data.frame(t = times[-length(times)], t_next = times[-1], beta = beta, sums$rows,
                     method = method)
  setup <- list(target = target, model = model, schedule = schedule, horizon = times[1],
                times = times, n = if (method == "Monte Carlo") n)
  head <- c(paste("of", model), paste("target:", target),
            paste0(format(schedule), ", from t = ", format(times[1], digits = 4), " to ",
                   format(times[length(times)], digits = 4), " in ", count_of(nrow(rows), "step")))
  parts <- new_table(sums$parts, "mismatch_parts", head, setup, foot = foot,
                     labels = c(bias = "bias (B)", range = "bias, of it range",
                                null = "bias, of it null", path = "path, together"))
  new_table(rows, "mixguide_mismatch", head, setup, keys = c("t", "t_next", "beta"), foot = foot,
            body = summary, summary = parts)
}

# The bias on average over y, in the frame of the observation, where y and x_t are one mixture.
expected_mismatch <- function(mixture, observation, method, schedule, times, nodes, n, key) {
  if (!is.null(method) && !(method$name %in% c("ddnm", "bo") && method$range == "noise")) {
    abort_input("method", "zero_shot_bo(), zero_shot_ddnm() or NULL for an observation without `y`",
                format(method))
  }
  times <- mismatch_times(times, schedule)
  nodes <- if (is.null(nodes)) 20 else check_count(nodes, "nodes", min = 2)
  key <- own_key(check_key(key))
  frame <- observed_frame(observation, mixture)
  process <- in_process(mixture)
  inner <- turned_mixture(keep_components(process, process$weights > 0), frame)
  d <- frame$d
  inside <- seq_len(frame$r)
  # (y, x_0), and room for the noise
  map <- rbind(diag(d)[inside, , drop = FALSE], diag(d))
  joint <- function(a, b2) {
    image <- map * rep(c(1, a), c(frame$r, d))
    covs <- lapply(seq_len(ncol(inner$values)), function(k) {
      S <- image %*% component_cov(inner, k) %*% t(image)
      simplify_cov((S + t(S)) / 2 + diag(c(frame$nu, rep(b2, d)), frame$r + d))
    })
    names(covs) <- paste("component", seq_along(covs))
    assemble_gaussmix(inner$weights, inner$means %*% t(image), covs, inner$class)
  }
  one <- mismatch_steps(times, schedule)
  sums <- by_rules(nodes, function(nodes) {
    points <- field_points(inner, mixture_size(inner) == 1, nodes, n, key, frame$nu)
    sum_steps(points, one$beta, function(k, half, here) {
      a <- one$a[k]
      b2 <- one$b2[k]
      law <- joint(a, b2)
      yx <- points$at(law, a, b2, k)$x
      x <- yx[, -inside, drop = FALSE]
      g <- unname(score(inner, x, times[k], schedule))
      if (!is.null(method)) {
        variance <- b2 + (method$name == "bo") * a^2 * frame$nu
        g[, inside] <- (a * yx[, inside] - x[, inside]) / rep(variance, each = nrow(x))
      }
      D <- unname(score(law, yx))[, -inside, drop = FALSE] - g
      list(mismatch = rowSums(D^2),
           parts = cbind(bias = half * rowSums(D^2),
                         range = half * rowSums(D[, inside, drop = FALSE]^2)))
    })
  })
  if (!is_singular(inner)) {
    about <- as.data.frame(mutual_information(mixture, observation, 10 * n, stream(key, "check")))
    sums$parts <- rbind(sums$parts, about)
  }
  observation["y"] <- list(NULL)
  foot <- if (!is.null(method) && all(frame$nu == 0)) {
    "In continuous time B is on average at most the mutual information"
  }
  new_mismatch(sums, paste0("given ", format(observation), ", on average over y"),
               method_label(method), schedule, times, one$beta, n, foot)
}

mismatch_times <- function(times, schedule) {
  check_schedule(schedule)
  if (is.null(times)) {
    if (is.null(schedule$steps)) {
      abort_input("times", "given for a schedule without discrete steps (see time_grid())", "NULL")
    }
    if (schedule$steps < 2) abort_input("schedule", "one of at least 2 steps", schedule$steps)
    return(as.double(schedule$steps:1))
  }
  if (!is.numeric(times)) abort_input("times", "decreasing times", describe(times))
  times <- check_grid(times, arg = "times")
  check_horizon(times[1], schedule, arg = "times")
  times
}

# A score in use: at(x, t), n x d; whether it is affine; a label.
score_field <- function(model, schedule) {
  if (inherits(model, "gaussmix")) {
    return(list(at = function(x, t) score(model, x, t, schedule), label = format(model),
                affine = sum(model$weights > 0) == 1))
  }
  if (!is.function(model)) {
    abort_input("model", "a gaussmix or a function of x and t", describe(model))
  }
  list(at = function(x, t) check_field(model, x, t, "model"), label = "a function of x and t",
       affine = FALSE)
}

# The score that a zero-shot method follows. For one Gaussian each of them is affine.
method_field <- function(mixture, observation, method, schedule) {
  list(at = if (is.null(method)) function(x, t) score(mixture, x, t, schedule) else {
    conditional_scorer(mixture, observation, method, schedule)
  }, label = method_label(method), affine = sum(mixture$weights > 0) == 1)
}

method_label <- function(method) {
  if (is.null(method)) "the unconditional score" else format(method)
}

# The value of a user's function f of points and a time.
check_field <- function(f, x, t, arg) {
  value <- from_user(f(x, t), arg, paste(" at t =", format(t)))
  if (is.numeric(value) && is.null(dim(value)) && ncol(x) == 1) value <- matrix(value)
  if (!is.numeric(value) || !identical(dim(value), dim(x)) || !all(is.finite(value))) {
    abort_input(arg, paste0("a function that returns ", nrow(x), " x ", ncol(x),
                            " finite numbers"), describe(value))
  }
  unname(value)
}

# The error of the score: its mean (n x d) and the standard deviation of its noise.
error_moments <- function(error, schedule) {
  if (is.null(error)) return(NULL)
  if (!is.function(error) && !is.null(check_score_error(error)$model)) {
    abort_input("score_error", "without a model (which is what `model` is for)", format(error))
  }
  field <- error_field(error, schedule)
  list(at = function(x, t, g) list(mean = field(x, t, g), sd = error_noise(error, t)))
}

# Points under the law of x_t, with their weights: at(law, a, b2, i), the i-th time with that law
# itself, is a list of the points `x` and of square(), a function whose mean at their scores is
# E|s|^2. With the variances `noise` of an observation of the leading coordinates they are points
# (y, x_t) under the joint law.
field_points <- function(mixture, affine, nodes, n, key, noise = NULL) {
  d <- mixture_dim(mixture)
  rule <- quadrature_points(mixture$weights, length(noise) + d, affine, nodes)
  if (!is.null(rule)) {
    return(c(rule, list(at = function(law, a, b2, i) {
      list(x = unname(place_draws(law, rule$component, rule$z)), square = function(s) rowSums(s^2))
    })))
  }
  n <- check_count(n, "n", min = 2)
  x <- unname(keyed_draws(mixture, n, key))
  normals <- function(d, i) keyed_noise(d, n, stream(key, "noise", i))
  observed <- length(noise) > 0
  y <- if (observed) {
    x[, seq_along(noise), drop = FALSE] + normals(length(noise), 1) * rep(sqrt(noise), each = n)
  }
  at <- function(law, a, b2, i) {
    z <- normals(d, observed + i)
    b <- sqrt(b2)
    list(x = cbind(y, a * x + b * z), square = function(s) d / b^2 - rowSums((s + z / b)^2))
  }
  list(weight = rep(1 / n, n), method = "Monte Carlo", mean = sample_mean, at = at)
}

# log q_T - log of the density of the start.
start_excess <- function(x, log_p, horizon, schedule) {
  variance <- start_sd(schedule, horizon)^2
  log_p + ncol(x) / 2 * log(2 * pi * variance) + rowSums(x^2) / (2 * variance)
}

picture.mixguide_mismatch <- function(object, setup) {
  words_of <- c(bias = "bias B", range = "bias B, range part", discretisation = "discretisation",
                score_error = "score error", cross = "cross term")
  shown <- words_of[names(words_of) %in% names(object)]
  long <- do.call(rbind, lapply(names(shown), function(name) {
    data.frame(t = c(object$t[1], object$t_next), value = c(0, cumsum(object[[name]])),
               part = factor(shown[[name]], shown))
  }))
  ggplot(long, aes(.data$t, .data$value, colour = .data$part, linetype = .data$part)) +
    geom_line(linewidth = .8) + scale_x_reverse() +
    line_scales(class_palette(length(shown)),
                c("solid", "22", "42", "12", "4212")[seq_along(shown)]) +
    finish("What mismatch and steps add to the divergence of paths",
           if (!is.null(setup)) c(paste("Score in use:", setup$model), format(setup$schedule)),
           if (object$method[1] != "Monte Carlo") "There is no sampling error" else {
             paste("Monte Carlo,", number(setup$n), "draws")
           }, x = "time t, from noise to data", y = "nats so far", legend = "bottom")
}

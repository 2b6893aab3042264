# How far the score in use is from that of the law one wants, and what that costs along the path.

#' Score mismatch and what it costs
#'
#' A sampler that is driven by another score than that of its target: `mismatch()` measures the
#' difference of the two fields, `D_t = grad log q_t - g_t`, along the forward process of the
#' target, and splits the Kullback-Leibler divergence between the path of the true reverse process
#' and that of the sampler into its start, its steps, its mismatch and its score error.
#'
#' @details
#' The sampler is `sampler_ddpm(variance = "scaled")`, that of the analyses:
#' `x' = (a'/a) (x + beta g_t(x)) + sqrt(v) z` with `beta = b^2 - (a/a')^2 b'^2`,
#' `v = (a'/a)^2 beta`; on the whole times of a discrete schedule `beta = 1 - alpha_t`. Let `q_t` be
#' the diffused target, `h` its entropy, `I = E|grad log q_t|^2`, and let the score in use be
#' `g_t + e_t`. For every target, every field `g` and every grid
#'
#'     KL(path of q || path of the sampler)
#'       = KL(q_T || start)                                                    initialisation
#'       + sum over steps of h(t) - h(t') + d log(a'/a) - (beta/2) I(t)        discretisation
#'       + sum over steps of (beta/2) E|D_t|^2                                 bias, called B
#'       + sum over steps of (beta/2) E|e_t|^2                                 score error
#'       - sum over steps of beta E<D_t, e_t>                                  cross term
#'
#' with all expectations under `q_t`: an identity, derived for this package. By the data-processing
#' inequality it bounds `KL(q_end || law of the output)`. `B` is a part of that bound, not a
#' divergence: in the example the output is nearer than `B`. In continuous time `B` becomes
#' `(1/2) int G^2 E|D_t|^2 dt`.
#'
#' **How.** If target and model are single Gaussians, or the target is and `affine` says that the
#' difference of the fields is affine: a rule of `2 d` nodes that is exact for polynomials of degree
#' 3. In up to three dimensions: `nodes` Gauss-Hermite nodes along each axis of each component.
#' Beyond: Monte Carlo over `n` draws of the target, with noise that is drawn anew at each time;
#' there `I` is taken by `E|s|^2 = d/b^2 - E|s + z/b|^2`, which spreads far less than `|s|^2`.
#'
#' @param target The law that one wants to sample: a [gaussmix()]; it may be singular if the grid
#'   stops early.
#' @param model Whose score is in use: a [gaussmix()], or a function of `x` (n x d) and `t` that
#'   returns n x d numbers.
#' @param schedule The forward process, see [schedule].
#' @param times Decreasing times; `NULL`: the whole times of a discrete schedule, from the horizon
#'   to 1, as in the analyses.
#' @param score_error `NULL`, a function of `x` and `t` that returns what is added to the score of
#'   the model (n x d), or a [score_error()] without a model of its own.
#' @param affine Is the difference of the two scores an affine function of `x`? `NULL`: yes for two
#'   single Gaussians. Counts only for a single Gaussian as target, and without score error.
#' @param nodes Gauss-Hermite nodes along each axis; `NULL`: 200, 60 or 20 in one,
#'   two or three dimensions.
#' @param n Number of draws where quadrature is not possible.
#' @param key Settles the draws, see [guided_sample()].
#' @return A data frame of class `mismatch` with a row per step and columns `t`, `t_next`, `beta`;
#'   `mismatch`, `E|D_t|^2`, with `mismatch_se`; `fisher`, `E|grad log q_t|^2`; the parts of the
#'   step, `bias`, `discretisation`, `score_error`, `cross`; and `method`: `"exact"`, `"quadrature"`
#'   or `"Monte Carlo"`. From [zero_shot_mismatch()] also `range`, the part of `bias` along what is
#'   observed.
#'
#'   `mismatch_parts()`: a table of estimates ([mixguide_table]); the column `quantity` is
#'   `"initialisation"`, `"discretisation"`, `"bias"`, `"score_error"` and `"cross"` (if there is an
#'   error), `"path"`, their sum; and for a zero-shot sampler `"range"` and `"null"`, of which the
#'   bias consists.
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit.
#' @source Setting, and the names of the parts: Liang, Ju, Liang and Shroff (2024),
#'   \doi{10.48550/arXiv.2410.13746} (recalled, not verified against the paper, which drops the
#'   constant 1/2). The identity is derived for this package.
#' @seealso [zero_shot_mismatch()], [expected_mismatch()], [mutual_information()]; [path_kl()] for
#'   other samplers with the score of their target.
#' @examples
#' # the score of N(0, I) in place of that of a mixture
#' wrong <- mismatch(named_mixture("B2"), gaussmix(1, t(c(0, 0)), 1), schedule_etc(50))
#' wrong
#' mismatch_parts(wrong)
#' plot(wrong)
#' @export
mismatch <- function(target, model, schedule = schedule_etc(100), times = NULL,
                     score_error = NULL, affine = NULL, nodes = NULL, n = 1e4, key = NULL) {
  check_mixture(target, "target")
  if (inherits(model, "gaussmix")) check_same_variables(model, target, "model")
  if (inherits(model, "gaussmix") || is.function(model)) model <- in_process(model, target, "model")
  score_error <- in_process(score_error, target)
  target <- in_process(target)
  field <- score_field(model, target, schedule)
  if (!is.null(affine)) field$affine <- check_flag(affine, "affine")
  mismatch_table(target, field, schedule, times, score_error, nodes, n, key)
}

#' Score mismatch of a zero-shot sampler
#'
#' [mismatch()] of the exact conditional law ([condition()]) and the score that a [zero_shot] method
#' follows, split into the part along what is observed and the rest.
#'
#' @details
#' With `P` the projection on what is observed and `N = I - P`, `|D|^2 = |P D|^2 + |N D|^2`. The
#' methods `g = N s + f` with `f` in the range of `P` (DDNM, BO, generalised BO) share the second
#' part. On the range the best `f` is that of the exact conditional score, which without noise is
#' DDNM's; with noise it takes the prior, which BO approximates (see [zero_shot]).
#'
#' Two cautions, both measured, see `vignette("zero-shot", "mixguide")`. A smaller `B` is not a
#' smaller Wasserstein distance: where `H` has small singular values BO has far the smaller `B` than
#' DDNM and can lie further from the target. And at coarse steps the discretisation may make up for
#' a part of the mismatch, so that a larger `B` goes with a smaller divergence of the output.
#'
#' @inheritParams conditional_sample
#' @inheritParams mismatch
#' @param method One of the [zero_shot] methods that are a score; `NULL`: the unconditional score,
#'   which ignores `y`.
#' @return As [mismatch()], with a column `range`: the part of `bias` along what is observed.
#' @section Errors: Of class `mixguide_error`, for methods that are not a score.
#' @source Liang, Ju, Liang and Shroff (2024), \doi{10.48550/arXiv.2410.13746}, for the class and
#'   BO; that BO is the best of the class for a normal law of the range given `y`, independent of
#'   the rest, and not for every posterior, is derived for this package.
#' @family zero-shot conditional sampling
#' @examples
#' m <- named_mixture("M2")
#' y <- observation(.8, H = cbind(1, .5), noise = .3^2)
#' zero_shot_mismatch(m, y, zero_shot_bo(), schedule_etc(50))
#' mismatch_parts(zero_shot_mismatch(m, y, zero_shot_ddnm(), schedule_etc(50)))
#' @export
zero_shot_mismatch <- function(mixture, observation, method = NULL, schedule = schedule_etc(100),
                               times = NULL, score_error = NULL, nodes = NULL, n = 1e4,
                               key = NULL) {
  check_mixture(mixture)
  check_observation(observation, mixture)
  check_schedule(schedule)
  score_error <- in_process(score_error, mixture)
  observation <- in_process(observation, mixture)
  mixture <- in_process(mixture)
  single <- sum(mixture$weights > 0) == 1
  field <- if (is.null(method)) {
    list(at = function(x, t) score(mixture, x, t, schedule), affine = single,
         label = "the unconditional score")
  } else {
    check_zero_shot(method)
    # of one Gaussian every method that is a score is affine
    list(at = conditional_scorer(mixture, observation, method, schedule), affine = single,
         label = format(method))
  }
  range <- observed_range(observation, observation_matrix(observation, mixture),
                          sd = mixture_sd(mixture))
  mismatch_table(exact_posterior(mixture, observation), field, schedule, times, score_error, nodes,
                 n, key, range$basis)
}

# `range`: an orthonormal basis (d x r) of what is observed, or NULL.
mismatch_table <- function(target, field, schedule, times = NULL, error = NULL, nodes = NULL,
                           n = 1e4, key = NULL, range = NULL) {
  times <- mismatch_times(times, schedule)
  target <- keep_components(target, target$weights > 0)
  for (t in times) noise_level(target, t, schedule)
  d <- mixture_dim(target)
  nodes <- if (is.null(nodes)) c(200, 60, 20)[min(d, 3)] else check_count(nodes, "nodes", min = 2)
  error <- error_moments(error, schedule)
  # a score error may be anything; a single Gaussian's own score is affine
  affine <- mixture_size(target) == 1 && field$affine && is.null(error)
  points <- mismatch_points(target, affine, nodes, n, key)
  need_memory(times, schedule, "this decomposition")
  one <- step_constants(seq_len(length(times) - 1), times, schedule)
  log_ratio <- log(one$ratio)
  log_density <- function(x, t) dgaussmix(x, diffuse(target, t, schedule), log = TRUE)
  totals <- 0
  x <- points$at(schedule$a(times[1]), schedule$b2(times[1]))
  log_p <- log_density(x, times[1])
  initialisation <- start_excess(x, log_p, times[1], schedule)
  rows <- lapply(seq_along(one$beta), function(k) {
    t <- times[k]
    s <- score(target, x, t, schedule)
    g <- field$at(x, t)
    D <- unname(s - g)
    e <- if (!is.null(error)) error$at(x, t, g)
    s2 <- points$square(s)
    before <- log_p
    x <<- points$at(one$a_next[k], one$b2_next[k])
    log_p <<- log_density(x, times[k + 1])
    D2 <- rowSums(D^2)
    half <- one$beta[k] / 2
    step <- cbind(
      bias = half * D2,
      range = if (!is.null(range)) half * rowSums((D %*% range)^2),
      discretisation = log_p - before + d * log_ratio[k] - half * s2,
      score_error = if (!is.null(e)) half * (rowSums(e$mean^2) + d * e$sd^2),
      cross = if (!is.null(e)) -2 * half * rowSums(D * e$mean)
    )
    totals <<- totals + step
    mean <- points$mean(D2)
    c(mismatch = mean$estimate, mismatch_se = mean$se, fisher = sum(points$weight * s2),
      colSums(points$weight * step))
  })
  rows <- data.frame(t = times[-length(times)], t_next = times[-1], beta = one$beta,
                     do.call(rbind, rows), method = points$method, stringsAsFactors = FALSE)
  setup <- list(target = target, model = field$label, schedule = schedule, horizon = times[1],
                times = times, n = if (points$method == "Monte Carlo") n)
  parts <- new_table(mismatch_sums(points, totals, initialisation), "mismatch_parts",
                     mismatch_head(setup), setup, labels = mismatch_words)
  new_table(rows, "mismatch", mismatch_head(setup), setup, keys = c("t", "t_next", "beta"),
            foot = paste("Divergence of the sampler's path from that of the target, which bounds",
                         "that of its output"),
            body = mismatch_parts, parts = parts)
}

mismatch_words <- c(bias = "bias (B)", range = "bias, of it range", null = "bias, of it null",
                    score_error = "score error", cross = "cross term", path = "together")

mismatch_head <- function(setup) {
  times <- setup$times
  c(paste("of", setup$model), paste("target:", format(setup$target)),
    paste0(format(setup$schedule), ", from t = ", format(times[1]), " to ",
           format(times[length(times)]), " in ", count_of(length(times) - 1, "step")))
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

# A score in use: at(x, t), n x d; is it affine? a label.
score_field <- function(model, target, schedule, arg = "model") {
  if (inherits(model, "gaussmix")) {
    return(list(at = function(x, t) score(model, x, t, schedule), label = format(model),
                affine = sum(model$weights > 0) == 1))
  }
  if (!is.function(model)) abort_input(arg, "a gaussmix or a function of x and t", describe(model))
  list(at = function(x, t) check_field(model, x, t, arg), label = "a function of x and t",
       affine = FALSE)
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

# What is added to the score: its mean (n x d) and the standard deviation of its noise.
error_moments <- function(error, schedule) {
  if (is.null(error)) return(NULL)
  if (!is.function(error) && !is.null(check_score_error(error)$model)) {
    abort_input("score_error", "without a model (which is what `model` is for)", format(error))
  }
  field <- error_field(error, schedule)
  list(at = function(x, t, g) list(mean = field(x, t, g), sd = error_noise(error, t)))
}

# Points under the diffused target: at(a, b2), n x d, with their weights.
mismatch_points <- function(target, affine, nodes, n, key) {
  d <- mixture_dim(target)
  rule <- quadrature_points(target$weights, d, affine, nodes)
  if (!is.null(rule)) {
    at <- function(a, b2) {
      target$means <- a * target$means
      target$values <- diffused_values(target, a, b2)
      unname(place_draws(target, rule$component, rule$z))
    }
    return(c(rule, list(at = at, square = function(s) rowSums(s^2))))
  }
  n <- check_count(n, "n", min = 2)
  key <- check_key(key)
  if (is.null(key)) key <- draw_key()
  x <- unname(keyed_draws(target, n, key))
  normal <- gaussmix(1, t(rep(0, d)), 1)
  drawn <- 0
  z <- b <- NULL
  at <- function(a, b2) {
    drawn <<- drawn + 1
    z <<- keyed_draws(normal, n, stream(key, "noise", drawn))
    b <<- sqrt(b2)
    a * x + b * z
  }
  c(drawn_points(n), list(at = at, square = function(s) d / b^2 - rowSums((s + z / b)^2)))
}

drawn_points <- function(n) {
  list(weight = rep(1 / n, n), method = "Monte Carlo",
       mean = function(f) list(estimate = mean(f), se = stats::sd(f) / sqrt(n)))
}

# log q_T - log of the density of the start.
start_excess <- function(x, log_p, horizon, schedule) {
  variance <- start_sd(schedule, horizon)^2
  log_p + ncol(x) / 2 * log(2 * pi * variance) + rowSums(x^2) / (2 * variance)
}

mismatch_sums <- function(points, totals, initialisation) {
  totals <- cbind(initialisation, totals)
  sums <- setdiff(colnames(totals), "range")
  totals <- cbind(totals, path = rowSums(totals[, sums, drop = FALSE]))
  if ("range" %in% colnames(totals)) {
    totals <- cbind(totals, null = totals[, "bias"] - totals[, "range"])
  }
  parts <- intersect(c("initialisation", "discretisation", "bias", "range", "null", "score_error",
                       "cross", "path"), colnames(totals))
  rows <- lapply(parts, function(name) {
    mean <- points$mean(totals[, name])
    estimate_row(mean$estimate, mean$se, points$method)
  })
  data.frame(quantity = parts, do.call(rbind, rows), stringsAsFactors = FALSE)
}

#' @rdname mismatch
#' @export
mismatch_parts <- function(x) {
  if (!inherits(x, "mismatch")) abort_input("x", "a mismatch(), whole", describe(x))
  attr(x, "parts")
}

#' @rdname mismatch
#' @param x,object A `mismatch`. `plot()` shows how the parts of the path's divergence, without
#'   that of the start, add up from noise to data.
#' @param ... For `plot()`, passed to `autoplot()`; otherwise empty.
#' @export
autoplot.mismatch <- function(object, ...) {
  check_dots(...)
  setup <- attr(object, "setup")
  words_of <- c(bias = "bias B", range = "bias B, range part", discretisation = "discretisation",
                score_error = "score error", cross = "cross term")
  shown <- words_of[names(words_of) %in% names(object)]
  long <- do.call(rbind, lapply(names(shown), function(name) {
    data.frame(t = c(object$t[1], object$t_next), value = c(0, cumsum(object[[name]])),
               part = factor(shown[[name]], shown))
  }))
  ggplot(long, aes(.data$t, .data$value, colour = .data$part, linetype = .data$part)) +
    geom_line(linewidth = .8) + scale_x_reverse() +
    scale_colour_manual(values = class_palette(length(shown)), name = NULL) +
    scale_linetype_manual(values = c("solid", "22", "42", "12", "4212")[seq_along(shown)],
                          name = NULL) +
    labs(x = "time t, from noise to data", y = "nats so far") + look() +
    theme(legend.position = "bottom") +
    words("What mismatch and steps add to the divergence of paths",
          if (!is.null(setup)) c(paste("Score in use:", setup$model), format(setup$schedule)),
          if (object$method[1] != "Monte Carlo") "There is no sampling error" else {
            paste("Monte Carlo,", number(setup$n), "draws")
          })
}

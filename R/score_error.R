#' Errors of the score
#'
#' Replaces the exact score of a sampler by a wrong one, as a trained network gives it. It is an
#' argument of [diffusion()]; the output is still judged by the true mixture.
#'
#' @details In place of the guided score `s` the sampler gets `scale(t) s + bias(t) + noise(t) z`,
#' with new standard normals `z` at each evaluation; `s` is the guided score of `model` if there is
#' one. Estimated scores are usually trained to predict the noise, `-b s`, to a certain accuracy: an
#' error of this size in the score is `function(t) size / sqrt(schedule$b2(t))`.
#'
#' A bias and a scale leave the run deterministic, with the log-density of its own map; noise makes
#' any sampler stochastic. The `z` come from the particles' own streams, and change the sampler's
#' noise after them: `noise = 0`, which draws the `z` and does not use them, couples a run to one
#' with this noise. With a bias there is no reduction to fewer dimensions, see [guided_sample()].
#'
#' @param bias `NULL`, or a term added to the score: one number for all coordinates, d of them, or a
#'   function of time that returns either.
#' @param scale A factor of the score: a number or a function of time.
#' @param noise `NULL`, or the standard deviation, in each coordinate, of a random term: a number or
#'   a function of time.
#' @param model `NULL`, or a model of the score in place of the true mixture: a [gaussmix()] with
#'   other weights, means or covariances, or a fit to some points by [as_gaussmix()], with the
#'   variables and, for a guided run, the classes of the true mixture; or a [score_model()], your
#'   own function.
#' @return An object of class `score_error`: a list of the arguments, the first three as functions
#'   of time or `NULL`.
#' @source The question is that of score errors in Wu et al. (2024),
#'   \doi{10.48550/arXiv.2403.01639}; the model of the error is this package's.
#' @seealso [guidance()] with a worse mixture as `negative`, which uses a wrong model on purpose.
#' @examples
#' m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(1, 1)), cov = .5, class = c("a", "b"))
#' score_error(bias = c(.2, 0), noise = .1)
#' confidence(guided_sample(m, 1000, guidance("a", 2), score_error = score_error(scale = .9)))
#'
#' # scores of a mixture that was fitted to 40 points
#' set.seed(1)
#' x <- rgaussmix(40, m)
#' fitted <- as_gaussmix(data.frame(x), class = attr(x, "label"))
#' confidence(guided_sample(m, 1000, guidance("a", 2), score_error = score_error(model = fitted)))
#' @export
score_error <- function(bias = NULL, scale = 1, noise = NULL, model = NULL) {
  terms <- c(if (!is.null(bias)) list(bias = bias), if (!identical(scale, 1)) list(scale = scale),
             if (!is.null(noise)) list(noise = noise))
  wanted <- c(bias = "NULL, finite numbers", noise = "NULL, one finite number >= 0",
              scale = "one finite number")
  for (arg in names(terms)) {
    x <- terms[[arg]]
    if (is.function(x)) check_of_time(x, arg, wanted[[arg]]) else {
      ok <- are_numbers(x) && (arg == "bias" || length(x) == 1) && all(x >= error_min(arg))
      if (!ok) abort_input(arg, paste(wanted[[arg]], "or a function of time"), describe(x))
    }
  }
  words <- vapply(terms, function(x) {
    if (is.function(x)) "function of t" else if (length(x) > 4) describe(x) else {
      toString(vapply(x, format, "", digits = 4))
    }
  }, "")
  of_time <- lapply(terms, function(x) if (is.function(x)) x else function(t) as.double(x))
  if (is.function(model)) {
    abort_input("model", "a gaussmix or a score_model(), which makes a model of a function",
                "a function")
  }
  if (!is.null(model) && !inherits(model, "score_model")) check_mixture(model, "model")
  structure(list(bias = of_time$bias, scale = of_time$scale, noise = of_time$noise, model = model,
                 words = words),
            class = object_class("score_error"))
}

in_words.score_error <- function(x) {
  words <- x$words
  part <- function(name, before, after = "") {
    if (name %in% names(words)) paste0(before, words[[name]], after)
  }
  s <- if (is.null(x$model)) "s" else "s_model"
  paste0(part("scale", "(", ") * "), s, part("bias", " + bias (", ")"),
         part("noise", " + (", ") * noise"),
         if (!is.null(x$model)) paste0(", model: ", format(x$model)))
}

check_score_error <- function(x) {
  if (is.null(x)) return(x)
  check_class(x, "score_error", "score_error", "NULL or a score_error()")
  check_made(x, "score_error", "score_error()", bias = maybe(is.function), words = is.character,
             scale = maybe(is.function), noise = maybe(is.function),
             model = maybe(function(of) inherits(of, "score_model") || is_mixture(of)))
  if (inherits(x$model, "score_model")) check_score_model(x$model, "score_error$model")
  x
}

# A noisy score makes any sampler stochastic.
with_noise <- function(sampler, error) {
  if (!is.null(error$noise)) sampler$stochastic <- TRUE
  sampler
}

# A standard deviation is not negative.
error_min <- function(name) if (name == "noise") 0 else -Inf

# The steps of a sampler whose score is not the kernel's linear one. Operations for all steps at
# once cannot have a number per coordinate, as a bias or a strength may.
driven_steps <- function(sampler, times, schedule, guide, error, d) {
  alike <- d == 1 || is.null(error$bias) && !is_uneven(guide)
  lapply(sampler_program(sampler, times, schedule, alike), drive_operations, guide, error, d,
         schedule)
}

# The operations of a sampler whose score is not the kernel's linear one: each evaluation s is
# followed by
#   s <- s + scale |g|^p g + bias + noise z
# where s is already scaled by the coefficients of its level (program_levels()), and g is the "push"
# of guidance_models(). With a rule, s is the result of the rule, see rule_operations().
drive_operations <- function(ops, guide, error, d, schedule) {
  power <- guide$power
  rule <- guide$rule
  own <- !is.null(guide$score_model)
  right <- is.null(error$bias) && is.null(error$noise) && is.null(error$scale)
  asks <- !is.null(guide$ask)
  fixed <- function(op) !is.null(op$of) && is_fixed(op$of)
  asked <- function(op) {
    if (asks && op$op == "eval" && !fixed(op)) list(ask_op(op, guide$ask), op) else list(op)
  }
  uneven <- is_uneven(guide)
  if (guide$linear && !uneven && !own && is.null(error$bias) && is.null(error$noise)) {
    return(if (asks) unlist(lapply(ops, asked), recursive = FALSE) else ops)
  }
  if (uses_hessian(ops)) {
    if (own) {
      abort_input("sampler", "without the derivative of the score, which a score_model() has not")
    }
    for_it <- "for a sampler that uses the derivative of the score"
    refuse_nonlinear(guide, for_it)
    if (uneven) abort_input("guidance", paste("of one strength for all variables,", for_it))
  }
  if (d == 1 && identical(rule$kind, "rescale")) {
    abort_input("rule", "another than \"rescale\" in one dimension, where that is not defined")
  }
  if (isTRUE(rule$kind %in% estimating_rules)) {
    evals <- sum(kinds_of(ops) == "eval")
    if (evals > 1) refuse_estimate(paste(evals, "scores in a step"))
  }
  wanted <- unique(unlist(lapply(ops, `[[`, "want")))
  as_wanted <- right && (!is.null(guide$matrix) && !own ||
                           !is.null(rule) && identical(wanted, rule$space))
  if (!as_wanted) ops <- score_form(ops, schedule)
  unlist(lapply(ops, function(op) {
    if (op$op != "eval") return(list(op))
    error_at <- function(name, size = 1) at_times(error[[name]], op$t, name, size, error_min(name))
    terms <- stats::setNames(list(1), op$to)
    before <- asked(op)
    usual <- !fixed(op)
    if (!usual && right && !own) return(list(op))
    if (own || usual && (!is.null(rule) || uneven)) {
      operations <- if (usual && !is.null(rule)) rule_operations else
        if (usual && uneven) matrix_operations else asked_operations
      before <- operations(op, guide, schedule)
      if (right && (power == 0 || !usual)) return(before)
      if (!is.null(error$scale)) terms[[1]] <- error_at("scale")
    }
    if (power != 0 && usual) {
      push <- new_op("eval", to = "(push)", from = op$from, t = op$t, of = "push")
      before <- c(before, if (own) asked_operations(push, guide, schedule) else list(push),
                  list(new_op("power", to = "(push)", coef = list(x = power))))
      terms$"(push)" <- if (is.null(error$scale)) 1 else error_at("scale")
    }
    if (!is.null(error$bias)) {
      before <- c(before, list(new_op("constant", to = "(one)", coef = list(x = 1))))
      terms$"(one)" <- as.vector(error_at("bias", d))
    }
    if (!is.null(error$noise)) {
      before <- c(before, list(op_noise("(noise)")))
      terms$"(noise)" <- error_at("noise")
    }
    c(before, list(op_linear(op$to, terms)))
  }), recursive = FALSE)
}

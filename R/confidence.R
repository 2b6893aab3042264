#' Classification confidence
#'
#' The mean probability `E p(class | x)` that the mixture's own classifier gives to the class aimed
#' at. For a mixture, `x` comes from the class itself: this is the confidence of perfect conditional
#' sampling. For a guided sample, `x` is the output of the sampler.
#'
#' @details The mean over particles misses those that were not drawn. If a few particles carry the
#' mean of `1 - p` (a Pareto tail as in [guidance_sweep()], with excesses above 1e-5), the standard
#' error also counts what the tail says of larger values, and at most 1.5/n: two standard errors of
#' what n particles never show are 3/n. The `note` then says so.
#'
#' @param x A [gaussmix()], a [guided_sample()] or [tilted_sample()], a [guided_summary()], a
#'   [guidance_sweep()] or a [law].
#' @param class One or more classes, a row each. `NULL`: each class of a mixture, otherwise the
#'   class (or the union of classes) aimed at. A summary, and a sweep without its samples
#'   (`keep = TRUE`), know no other.
#' @param n Number of draws if quadrature is not possible (mixtures with d > 2).
#' @param key `NULL`, to draw a key from R's generator if draws are needed, or two whole numbers
#'   that determine the draws. All classes have the same random numbers.
#' @param ... Must be empty.
#' @return A table of estimates ([mixguide_table]) with the columns `quantity`; `class` for a
#'   mixture or where it was given; `strength` for a sweep; `estimate`, `se`, `method` and `note`.
#'   If a few weights dominate the mean (see [tilted_sample()]) it is `NA` and the note says so.
#' @source Wu et al. (2024), \doi{10.48550/arXiv.2403.01639}.
#' @examples
#' m <- gaussmix(c(.5, .5), c(1, -1), cov = 1, class = c("a", "b"))
#' confidence(m)
#' confidence(guided_sample(m, 1000, guidance("a", 2)))
#' @export
confidence <- function(x, ...) UseMethod("confidence")

#' @export
confidence.default <- function(x, ...) no_estimate(x)

no_estimate <- function(x) {
  abort_input("x", "a gaussmix, a guided_sample, a guided_summary, a guidance_sweep or a law",
              a_class(x))
}

#' @rdname confidence
#' @export
confidence.gaussmix <- function(x, class = NULL, n = 2^14, key = NULL, ...) {
  check_dots(...)
  key <- check_key(key)
  refuse_singular(x, "`x` has a singular covariance and no density; add noise by diffuse() first")
  rows <- class_rows(x, if (is.null(class)) mixture_classes(x) else class, rows = function(class) {
    others <- vapply(class, function(y) sum(x$weights[!class_components(x, y)]), 0)
    if (all(others == 0)) return(list(estimate_row(1, 0, "exact"))[rep(1, length(class))])
    expectations(lapply(class, class_law, mixture = x), lapply(class, function(y) {
      function(from) class_probability(moved(x, from), y)
    }), n, x, key)
  })
  estimate_table("confidence", rows, format(x))
}

# A row for each class, or a list of all `rows` at once.
class_rows <- function(mixture, class, row, rows = function(class) lapply(class, row)) {
  class_components(if (inherits(mixture, "score_model")) stand_in(mixture) else mixture, class)
  class <- label_text(class)
  data.frame(class = class, do.call(rbind, rows(class)))
}

#' @rdname confidence
#' @export
confidence.guided_sample <- function(x, class = NULL, ...) {
  check_dots(...)
  if (is.null(class) && is.null(x$confidence)) no_class(x)
  rows <- if (is.null(class)) mean_confidence(x) else {
    q <- sample_posterior(x)
    class_rows(x$mixture, class, function(y) mean_confidence(x, q[, y], log(q[, y])))
  }
  estimate_table("confidence", rows, particle_words(x))
}

# One line about a run.
particle_words <- function(x) {
  n <- if (is.null(x$n)) nrow(x$x) else x$n
  paste0(count_of(number(n), "particle"),
         if (!is.null(x$guidance)) paste(" guided", format(x$guidance)))
}

# p(class | x) of the points of a guided_sample, a column per class: as its confidence, at the last
# time at which the law has a density. NaN where a particle overflowed.
sample_posterior <- function(x) {
  if (inherits(x$mixture, "score_model")) {
    q <- model_posterior(x$mixture, x$x)
    if (is.null(q)) no_class(x)
    return(q)
  }
  t <- closing_time(x$mixture, x$times, x$schedule)
  there <- rowSums(!is.finite(x$x)) == 0
  q <- posterior(x$mixture, x$x[there, , drop = FALSE], t, x$schedule)
  all <- matrix(NaN, length(there), ncol(q), dimnames = list(NULL, colnames(q)))
  all[there, ] <- q
  all
}

no_class <- function(x) {
  model <- inherits(x$mixture, "score_model") && is.null(x$mixture$classifier)
  abort(if (model) "`x` is of a score_model() without a classifier: nobody knows its confidence"
        else "`x` was sampled without guidance: there is no class to be confident of", "input")
}

#' @rdname confidence
#' @export
confidence.guidance_sweep <- function(x, class = NULL, ...) {
  check_dots(...)
  setup <- attr(x, "setup")
  if (is.null(class)) return(sweep_column(x, "confidence"))
  if (length(setup$samples) != nrow(x)) {
    return(aimed_row(sweep_column(x, "confidence"), class, setup$class))
  }
  rows <- Map(function(strength, sample) {
    row <- as.data.frame(confidence(sample, class))
    cbind(row[c("quantity", "class")], strength = strength, row[ESTIMATE])
  }, x$strength, setup$samples)
  new_table(do.call(rbind, unname(rows)), "mixguide_estimates", attr(x, "look")$head)
}

# The row kept for the class aimed at; an error if another class is asked for.
aimed_row <- function(row, class, aim) {
  if (!(is.atomic(class) && length(aim) == 1 && identical(label_text(class), aim))) {
    abort_input("class", paste0("NULL", if (length(aim) == 1) paste0(' or "', aim, '"'),
                                ": nothing was kept of other classes, which confidence() of a ",
                                "guided_sample() has"), describe(class))
  }
  rows <- as.data.frame(row)
  new_table(cbind(rows["quantity"], class = aim, rows[names(rows) != "quantity"]),
            "mixguide_estimates", attr(row, "look")$head)
}

# p(class | z) as a function of points z (n x d), for one class or the union of several.
class_probability <- function(mixture, class) {
  log_q <- log_class_probability(mixture, class)
  function(z) exp(log_q(z))
}

log_class_probability <- function(mixture, class) {
  inside <- class_components(mixture, class)
  models <- rbind(log_weights(mixture, inside), log_weights(mixture))
  log_prior <- log(sum(mixture$weights[inside]))
  function(z) {
    logp <- core_eval(mixture, z, 1, 0, models, c(0, 0), "logp")
    pmin(log_prior + logp[[1]] - logp[[2]], 0)
  }
}

# The mixture as a distribution: d, p, q, r, and the generics of a fitted model.

#' Density, distribution function, quantiles and random draws of a Gaussian mixture
#'
#' `dgaussmix()` and `rgaussmix()` work in any dimension, `pgaussmix()` and `qgaussmix()` for
#' `d = 1`.
#'
#' @param x Points: an `n` x `d` matrix or data frame; if `d = 1`, a vector of `n` points; or one
#'   point, a vector of length `d`. Columns are matched by name, in any order and among others, if
#'   points and mixture both have names, otherwise by place. A mixture from a formula also takes the
#'   formula's variables, see [as_gaussmix()].
#' @param q,p A vector of quantiles or probabilities.
#' @param n The number of draws.
#' @param mixture A mixture, see [gaussmix()].
#' @param log,log.p Whether densities or probabilities are given as their logarithm.
#' @param lower.tail Whether probabilities are \eqn{P(X \le x)}{P(X <= x)}, else
#'   \eqn{P(X > x)}{P(X > x)}.
#' @param class `NULL` for the whole mixture, or the labels of one or more classes to draw from.
#'
#' @return `dgaussmix()`, `pgaussmix()` and `qgaussmix()`: a vector, one number per point.
#'   `rgaussmix()`: an `n` x `d` matrix with the names of the variables; its attribute
#'   `"component"` is the number of the component that each row came from, and `"label"` a factor
#'   with its class. `n = 0` gives no rows.
#'
#' @details Sums over components are computed in logarithms. Log-densities and log-probabilities
#'   are therefore right at any distance from the means and for weights as small as 1e-300.
#'   `pgaussmix()` sums the smaller tail. `qgaussmix()` returns the smallest `x` with
#'   \eqn{P(X \le x) \ge p}{P(X <= x) >= p}, also if components are point masses. It bisects on the
#'   log-probability of the smaller tail, to the last digit. `rgaussmix()` uses R's random numbers,
#'   so [set.seed()] determines the draws.
#'
#' @section Errors: Of class `mixguide_error`. The density of a mixture with a singular covariance
#'   is an error of kind `mixguide_error_singular`: it does not exist before noise is added, see
#'   [diffuse()].
#'
#' @seealso [predict.gaussmix()] for the class of a point.
#' @examples
#' mixture <- gaussmix(c(.4, .6), c(-1, 2), c(.25, 1), class = c("a", "b"))
#' dgaussmix(c(0, 60), mixture, log = TRUE)
#' qgaussmix(-1000, mixture, log.p = TRUE)
#' x <- rgaussmix(5, mixture)
#' attr(x, "label")
#' @export
dgaussmix <- function(x, mixture, log = FALSE) {
  check_mixture(mixture)
  x <- check_points(x, mixture, look = FALSE)
  check_flag(log, "log")
  if (is_singular(mixture)) {
    abort(paste("`mixture` has a singular covariance and no density;",
                "add noise by diffuse(mixture, t) first"), "singular")
  }
  logp <- core_eval(mixture, x, a = 1, b2 = 0, models = rbind(log_weights(mixture)), coef = 0,
                    what = "logp")[[1]]
  # For a point that is not finite the kernel returns NaN, an infinity or -GM_FAR/2. Checking the
  # results is cheaper than checking all coordinates.
  if (!all_finite(logp, 1e299)) {
    check_missing(x, "x")
    infinite <- rowSums(is.infinite(x)) > 0
    beyond <- !infinite & !(abs(logp) < 1e299)
    if (log && any(beyond)) {
      abort_input("x", "no farther than 1e149 standard deviations from the means",
                  describe(x[which(beyond)[1], ]), "far")
    }
    logp[infinite | beyond] <- -Inf
  }
  if (log) logp else exp(logp)
}

#' @rdname dgaussmix
#' @export
pgaussmix <- function(q, mixture, lower.tail = TRUE, log.p = FALSE) {
  check_univariate(mixture)
  if (!is.numeric(q) || anyNA(q)) abort_input("q", "numbers, none missing", describe(q))
  check_flag(lower.tail, "lower.tail")
  check_flag(log.p, "log.p")
  tails <- log_tails(as.vector(q), univariate_parts(mixture))
  p <- if (lower.tail) tails$lower else tails$upper
  if (log.p) p else exp(p)
}

#' @rdname dgaussmix
#' @export
qgaussmix <- function(p, mixture, lower.tail = TRUE, log.p = FALSE) {
  check_univariate(mixture)
  check_flag(lower.tail, "lower.tail")
  check_flag(log.p, "log.p")
  legal <- is.numeric(p) && !anyNA(p) && all(if (log.p) p <= 0 else p >= 0 & p <= 1)
  if (!legal) {
    abort_input("p", if (log.p) "log-probabilities (<= 0), none missing" else {
      "probabilities between 0 and 1, none missing"
    }, describe(p))
  }
  p <- if (log.p) as.vector(p) else log(as.vector(p))
  lower <- if (lower.tail) p else log1mexp(p)
  upper <- if (lower.tail) log1mexp(p) else p
  parts <- univariate_parts(mixture)
  # TRUE where P(X <= x) >= p, compared in the tail where p is small
  reached <- function(x) {
    tails <- log_tails(x, parts)
    ifelse(lower <= upper, tails$lower >= lower, tails$upper <= upper)
  }
  # The quantile lies between the components' smallest and largest. The slack covers the error of
  # qnorm() far out (1e-5 of log p before R 4.3).
  z <- stats::qnorm(p, lower.tail = lower.tail, log.p = TRUE)
  slack <- ifelse(is.finite(z), 1e-4 * (1 + abs(z)), 0)
  quantiles <- function(z) Map(function(mean, sd) mean + if (sd > 0) sd * z else 0 * slack,
                               parts$mean, parts$sd)
  low <- do.call(pmin, quantiles(z - slack))
  high <- do.call(pmax, quantiles(z + slack))
  done <- reached(low)
  high[done] <- low[done]
  repeat {
    middle <- low / 2 + high / 2
    open <- low < middle & middle < high &
      high - low > .Machine$double.eps * pmax(abs(high), min(parts$sd))
    if (!any(open)) return(high)
    up <- reached(middle)
    high[open & up] <- middle[open & up]
    low[open & !up] <- middle[open & !up]
  }
}

check_univariate <- function(mixture, arg = "mixture") {
  check_mixture(mixture, arg)
  if (mixture_dim(mixture) > 1) {
    abort_input(arg, "of one dimension (marginal() gives that of one variable)",
                count_of(mixture_dim(mixture), "dimension"))
  }
}

# log P(X <= x) and log P(X > x). The larger one is 1 minus the smaller, so that both have a small
# relative error.
log_tails <- function(x, parts) {
  tail <- function(lower.tail) {
    log_sum(Map(function(weight, mean, sd) {
      log(weight) + stats::pnorm(x, mean, sd, lower.tail, log.p = TRUE)
    }, parts$weight, parts$mean, parts$sd))
  }
  lower <- tail(TRUE)
  upper <- tail(FALSE)
  small <- lower <= upper
  upper[small] <- log1mexp(lower[small])
  lower[!small] <- log1mexp(upper[!small])
  list(lower = lower, upper = upper)
}

# The components of positive weight, in one dimension.
univariate_parts <- function(mixture) {
  there <- mixture$weights > 0
  sd <- rep_len(sqrt(mixture$values[1, ]), length(there))
  list(weight = mixture$weights[there], mean = mixture$means[there, 1], sd = sd[there])
}

# log(1 - exp(x)) for x <= 0, by the one of two forms that does not cancel (Maechler, 2012).
log1mexp <- function(x) ifelse(x > -log(2), log(-expm1(x)), log1p(-exp(x)))

#' @rdname dgaussmix
#' @export
rgaussmix <- function(n, mixture, class = NULL) {
  n <- check_count(n, "n")
  check_mixture(mixture)
  d <- mixture_dim(mixture)
  component <- sample.int(mixture_size(mixture), n, TRUE, class_weights(mixture, class))
  x <- place_draws(mixture, component, matrix(stats::rnorm(n * d), n, d))
  attr(x, "component") <- component
  attr(x, "label") <- factor(mixture$class[component], mixture_classes(mixture),
                             ordered = isTRUE(mixture$ordered))
  x
}

# Draws of given components from standard normals, the first n x d numbers of z. The symmetric root
# of the covariance, V sqrt(lambda) V', does not depend on the signs, order or basis of the
# eigenvectors. It exists for singular covariances, and keeps the digits of the smallest variances.
place_draws <- function(mixture, component, z) {
  laws <- list(mean = mixture$means, sd = sqrt(mixture$values), vector = mixture$vectors)
  x <- .Call(ffi_draw, laws, as.integer(component), z)
  colnames(x) <- colnames(mixture$means)
  x
}

#' A mixture as a classifier and as a fitted model
#'
#' @param object A mixture, see [gaussmix()].
#' @param newdata Points, as `x` of [dgaussmix()]. For the types `"class"`, `"prob"` and `"frame"`
#'   cells may be missing: a row is classified by the cells that it has, exactly, by their
#'   [marginal()] law (without any, by the weights of the classes).
#' @param type The prediction: `"class"`, the most probable class; `"prob"`, the posterior
#'   probabilities of the classes; `"frame"`, both as a data frame; `"density"`; or `"score"`, the
#'   gradient of the log-density.
#' @param nsim The number of draws.
#' @param seed `NULL` to continue R's random numbers, or a number for [set.seed()]. The previous
#'   state of the generator is then restored.
#' @param ... For `simulate()`, the `class` argument of [rgaussmix()].
#'
#' @return
#' * `predict()`, by `type`: a factor of `n` classes (of equally probable ones the first; ordered,
#'   if the classes of the data were); an `n` x classes matrix of probabilities; a data frame with
#'   the columns that `augment()` adds to the data, `.pred_class` and `.pred_<label>` for each class;
#'   `n` densities; or an `n` x `d` matrix of scores.
#' * `logLik()`: the log-likelihood \eqn{\sum_i \log p(x_i)}{sum_i log p(x_i)} of the points
#'   without their labels, for `newdata` or the data of the fit, with `nobs` and `df` (that of the
#'   fit, or the number of free weights, means and covariances of the form) for [stats::AIC()].
#' * `nobs()`: the number of observations in the data of the fit.
#' * `simulate()`: as [rgaussmix()], with the attribute `"seed"` of [stats::simulate()].
#'
#' @section Errors: Of class `mixguide_error`. `nobs()`, and `logLik()` without `newdata`, need a
#'   mixture that came from a fit, see [as_gaussmix()].
#'
#' @examples
#' mixture <- as_gaussmix(Species ~ ., iris)
#' table(predict(mixture, iris), iris$Species)
#' predict(mixture, iris[c(1, 71, 134), ], type = "frame")
#' AIC(mixture)
#' x <- simulate(mixture, 100, seed = 1, class = "setosa")
#' colMeans(x)
#' @name predict.gaussmix
NULL

#' @rdname predict.gaussmix
#' @exportS3Method stats::predict gaussmix
predict.gaussmix <- function(object, newdata,
                             type = c("class", "prob", "frame", "density", "score"), ...) {
  check_dots(...)
  # predict(t = .01): `t` matches `type`
  if (is.numeric(type)) {
    abort_input("type", "a word (posterior(mixture, x, t) takes a time)", describe(type))
  }
  type <- check_choice(type, eval(formals()$type), "type")
  if (missing(newdata)) abort_input("newdata", "given: the points to predict at")
  if (type %in% c("density", "score")) {
    x <- check_points(newdata, object, "newdata")
    return(if (type == "score") score(object, x) else dgaussmix(x, object))
  }
  probability <- observed_posterior(object, newdata, "newdata")
  switch(type, prob = probability, class = classified(probability, object)$.class,
         frame = pred_columns(probability, object))
}

# The probabilities of the classes, n x classes. A row is classified by the cells that it has: their
# marginal law is known.
observed_posterior <- function(mixture, data, arg) {
  check_mixture(mixture)
  x <- check_points(data, mixture, arg, look = FALSE)
  check_infinite(x, arg, "finite or missing")
  classes <- mixture_classes(mixture)
  probability <- matrix(0, nrow(x), length(classes), dimnames = list(rownames(x), classes))
  for (rows in rows_by_pattern(x)) {
    seen <- which(!is.na(x[rows[1], ]))
    if (!length(seen)) {
      prior <- rowsum(mixture$weights, factor(mixture$class, classes))
      probability[rows, ] <- rep(prior, each = length(rows))
      next
    }
    law <- if (length(seen) == ncol(x)) mixture else marginal(mixture, seen)
    if (is_singular(law)) {
      abort(paste("the mixture has a singular covariance and its classes no densities: take",
                  "posterior(mixture, x, t = 0.01), which adds noise, or another `form` in",
                  "as_gaussmix()"), "singular")
    }
    probability[rows, ] <- posterior(law, unname(x[rows, seen, drop = FALSE]))
  }
  probability
}

#' @rdname predict.gaussmix
#' @exportS3Method stats::logLik gaussmix
logLik.gaussmix <- function(object, newdata = NULL, ...) {
  check_dots(...)
  fit <- object$fit
  if (!is.null(newdata)) {
    newdata <- check_points(newdata, object, "newdata")
    df <- if (is.null(fit)) free_parameters(object) else fit$df
    fit <- list(loglik = sum(dgaussmix(newdata, object, log = TRUE)), df = df, nobs = nrow(newdata))
  }
  if (is.null(fit)) abort_input("newdata", "given for a mixture that is not a fit to data")
  structure(fit$loglik, df = fit$df, nobs = fit$nobs, class = "logLik")
}

#' @rdname predict.gaussmix
#' @exportS3Method stats::nobs gaussmix
nobs.gaussmix <- function(object, ...) {
  check_dots(...)
  if (is.null(object$fit)) abort_input("object", "a mixture that was fitted to data")
  object$fit$nobs
}

#' @rdname predict.gaussmix
#' @exportS3Method stats::simulate gaussmix
simulate.gaussmix <- function(object, nsim = 1, seed = NULL, ...) {
  check_dots(..., also = rgaussmix)
  nsim <- check_count(nsim, "nsim")
  # stats::simulate() wants the attribute "seed": the seed, or the state of the generator before
  if (!exists(".Random.seed", globalenv(), inherits = FALSE)) stats::runif(1)
  before <- get(".Random.seed", globalenv(), inherits = FALSE)
  if (!is.null(seed)) {
    check_count(seed, "seed", -.Machine$integer.max)
    on.exit(assign(".Random.seed", before, globalenv()))
    set.seed(seed)
  }
  structure(rgaussmix(nsim, object, ...),
            seed = if (is.null(seed)) before else structure(seed, kind = as.list(RNGkind())))
}

# The coordinates of the noise. The forward process of a mixture with `coordinates` runs in
# u = (x - center)/scale: u_t = a u_0 + b z, hence x_t = center + a (x_0 - center) + b scale z. All
# functions of a process work in u, on in_process(mixture), and map points back by from_process();
# functions of the data alone (densities, draws, conditioning) work in x.

#' The coordinates in which noise is added
#'
#' A forward process adds noise of the same size to every variable, around the origin. Its effect on
#' data therefore depends on their units, unless it runs in standardised variables:
#' \deqn{u = (x - m)/s, \qquad u_t = a(t) u_0 + b(t) z.}{u = (x - m)/s,  u_t = a(t) u_0 + b(t) z.}
#' In the variables `x` this is
#' \eqn{x_t = m + a(t)(x_0 - m) + b(t) s z}{x_t = m + a(t) (x_0 - m) + b(t) s z}.
#'
#' @details
#' Mixtures from data or from a fit ([as_gaussmix()]) are standardised, by their mean and the
#' standard deviation of each variable. A default run then does not depend on units: if the data are
#' multiplied by `D` and shifted by `c`, the points of a run are, too; confidence and gain do not
#' change, and the entropy grows by `log|D|`. Mixtures made by hand ([gaussmix()],
#' [named_mixture()]) keep their own coordinates.
#'
#' Only the process changes: densities, draws, margins, conditioning and the posterior at `t = 0`
#' do not. [diffuse()], [score()], [denoise()] and [posterior()] at later times, all samplers and
#' laws follow the process, and return points, scores and densities in the variables of the
#' mixture. Statements about the process itself are in its own coordinates: Lipschitz constants,
#' Fisher information, second moments at a time, bounds, conditions on means and covariances, and
#' the size of a [score_error()]'s noise.
#'
#' A `start` that is given to a run is in the variables of the mixture, see [diffusion()].
#'
#' Standardising makes an isotropic mixture anisotropic if the spreads of the variables differ. Some
#' reductions (see [guided_sample()]) and conditions of theorems are then lost.
#'
#' @param mixture A mixture, see [gaussmix()], or a [score_model()] by itself, which needs numbers.
#' @param center,scale As of [base::scale()]: `TRUE` for the mean and the standard deviations of the
#'   mixture, `FALSE` for 0 and 1, or a number for each variable (or one for all). The scale of a
#'   constant variable is 1.
#' @return The same mixture, with an element `coordinates`: `NULL` if the process runs in the
#'   mixture's own coordinates, else a list of `center` and `scale`.
#' @seealso [schedule], [diffuse()]
#' @examples
#' fit <- as_gaussmix(Species ~ ., iris)
#' fit$coordinates
#' diffuse(fit, t = 5)                            # close to center + scale * noise
#' diffuse(standardise(fit, FALSE, FALSE), t = 5) # close to noise of one size
#'
#' m <- standardise(gaussmix(c(.5, .5), c(140, 170), 25))
#' diffuse(m, t = .5)
#' @export
standardise <- function(mixture, center = TRUE, scale = TRUE) {
  alone <- inherits(mixture, "score_model")
  known <- moments(if (alone) stand_in(mixture) else check_mixture(mixture))
  if (alone && (isTRUE(center) || isTRUE(scale))) {
    abort_input(if (isTRUE(center)) "center" else "scale",
                "FALSE or numbers, since the moments of a score_model() are not known", "TRUE")
  }
  given <- is.numeric(center) || is.numeric(scale)
  center <- coordinate_numbers(center, "center", 0, known$mean, mixture)
  sd <- sqrt(diag(known$cov))
  sd[sd == 0] <- 1
  scale <- coordinate_numbers(scale, "scale", 1, sd, mixture)
  if (!all(scale > 0)) abort_input("scale", "positive", toString(scale[scale <= 0], 40))
  own <- all(center == 0) && all(scale == 1)
  if (given && !own && !alone) {
    away <- abs(center - known$mean) / scale
    # the limits of check_extent(), in the coordinates
    if (!isTRUE(all(sd / scale < 1e120 & scale < 1e120))) {
      abort_input("scale", "such that x and (x - center)/scale stay below 1e120",
                  toString(scale, 40))
    }
    if (any(away > 1e9)) {
      abort_input("center", "within 1e9 times `scale` of the mean, or points lose their digits",
                  toString(center[away > 1e9], 40))
    }
  }
  names(center) <- names(scale) <- variable_names(mixture)
  mixture["coordinates"] <- list(if (!own) list(center = center, scale = scale))
  mixture
}

coordinate_numbers <- function(x, arg, none, of_mixture, mixture) {
  d <- mixture_dim(mixture)
  if (isTRUE(x)) return(unname(of_mixture))
  if (isFALSE(x)) return(rep(none, d))
  if (!are_numbers(x) || !length(x) %in% c(1, d)) {
    abort_input(arg, paste("TRUE, FALSE or", count_of(d, "finite number")), describe(x))
  }
  if (length(x) == 1) rep(as.double(x), d) else as.vector(check_points(x, mixture, arg))
}

# `x` in the coordinates of the process of `mixture`: another mixture, a guidance or a score error
# with its mixtures, an observation (as of as_observation()), or a start. By default the mixture
# itself.
in_process <- function(x, mixture = x, arg = "mixture") {
  coordinates <- mixture$coordinates
  if (is.null(coordinates) || is.null(x)) return(x)
  center <- coordinates$center
  scale <- coordinates$scale
  if (inherits(x, "gaussmix")) {
    if (inherits(mixture, "gaussmix") && !identical(x, mixture)) {
      check_same_variables(x, mixture, arg)
    }
    model <- x$model
    x <- moved_mixture(x, center, scale)
    x["coordinates"] <- list(NULL)
    x$model <- model
  } else if (inherits(x, "mixguide_guidance")) {
    if (inherits(x$negative, "gaussmix")) x$negative <- in_process(x$negative, mixture, "negative")
    x$others <- lapply(x$others, in_process, mixture)
    x["matrix"] <- list(strength_matrix(x$matrix, mixture, scale))
  } else if (inherits(x, "score_error")) {
    # the score in u is that in x times the scale
    if (!is.null(x$bias)) {
      bias <- x$bias
      x$bias <- function(t) bias(t) * scale
    }
    x$model <- in_process(x$model, mixture, "model")
  } else if (inherits(x, "score_model")) {
    x$like <- list(coordinates = coordinates)
  } else if (inherits(x, "mixguide_observation")) {
    H <- unname(x$H)
    y <- x$y - drop(H %*% center)
    H <- H * rep(scale, each = nrow(H))
    # rows of length 1, so that the units of y do not matter either
    unit <- sqrt(rowSums(H^2))
    unit[unit == 0] <- 1
    x[c("y", "H")] <- list(y / unit, H / unit)
    x$noise <- x$noise / if (is.matrix(x$noise)) outer(unit, unit) else unit^2
    x["variables"] <- list(NULL)
  } else if (is.function(x)) {
    of_x <- x
    x <- function(u, t) {
      value <- of_x(from_process(u, mixture), t)
      # other values are refused by their user
      if (is.numeric(value) && length(value) == length(u)) value * rep(scale, each = nrow(u)) else
        value
    }
  }
  x
}

# A start of any kind (see run_start() and start_gaussian()) in the coordinates of the process.
process_start <- function(start, mixture) {
  if (inherits(start, "gaussmix")) check_same_variables(start, mixture, "start")
  scale <- mixture$coordinates$scale
  if (is.null(scale) || is.character(start)) return(start)
  if (inherits(start, "gaussmix")) return(in_process(start, mixture))
  if (is.list(start) && !is.data.frame(start)) {
    if (is.numeric(start$mean)) {
      start$mean <- drop(to_process(check_points(start$mean, mixture, "start$mean"), mixture))
    }
    if (is.numeric(start$cov)) {
      cov <- by_names(start$cov, variable_names(mixture), "start$cov")
      shrink <- diag(1 / scale, length(scale))
      start$cov <- shrink %*% (if (is.matrix(cov)) cov else diag(cov, length(scale))) %*% shrink
    }
    return(start)
  }
  log_density <- attr(start, "log_density")
  if (is.numeric(log_density)) log_density <- log_density + log_units(mixture)
  structure(to_process(check_points(start, mixture, "start"), mixture), log_density = log_density)
}

# Points (rows). from_process() takes mixtures, too.
to_process <- function(x, mixture) {
  place <- mixture$coordinates
  if (is.null(place)) return(x)
  (x - rep(place$center, each = nrow(x))) / rep(place$scale, each = nrow(x))
}

from_process <- function(u, mixture) {
  place <- mixture$coordinates
  if (is.null(place)) return(u)
  if (inherits(u, "gaussmix")) {
    u <- move_mixture(u, -place$center / place$scale, 1 / place$scale)
    u["coordinates"] <- list(place)
    return(u)
  }
  u * rep(place$scale, each = nrow(u)) + rep(place$center, each = nrow(u))
}

# Derivatives in u as derivatives in x: matrices or arrays, whose last dimension (or last two) are
# the coordinates.
derivative_from_process <- function(g, mixture) {
  scale <- mixture$coordinates$scale
  if (is.null(scale)) return(g)
  g / rep(if (length(dim(g)) == 2) scale else outer(scale, scale), each = dim(g)[1])
}

# A mean or a covariance in u, moved to x.
moments_from_process <- function(mean, cov, mixture) {
  scale <- mixture$coordinates$scale
  if (is.null(scale)) return(list(mean = mean, cov = cov))
  list(mean = stats::setNames(drop(from_process(t(mean), mixture)), names(mean)),
       cov = cov * outer(scale, scale))
}

# log dx/du: a log-density in x is the one in u minus this, an entropy the one in u plus this.
log_units <- function(mixture) {
  if (is.null(mixture$coordinates)) 0 else sum(log(mixture$coordinates$scale))
}

# The law of (x - center)/scale. The last result is kept, because decomposing a full covariance
# takes longer than the rest of an evaluation.
moved_mixture <- function(mixture, center, scale) {
  if (is.null(mixture$vectors)) return(move_mixture(mixture, center, scale))
  arguments <- list(mixture, center, scale)
  if (!identical(last_move$arguments, arguments)) {
    last_move$mixture <- move_mixture(mixture, center, scale)
    last_move$arguments <- arguments
  }
  last_move$mixture
}

last_move <- new.env(parent = emptyenv())

move_mixture <- function(mixture, center, scale) {
  K <- mixture_size(mixture)
  means <- (mixture$means - rep(center, each = K)) / rep(scale, each = K)
  if (all(scale == scale[1])) {
    mixture$means <- means
    mixture$values <- mixture$values / scale[1]^2
    mixture["fit"] <- list(NULL)
    mixture$terms <- NULL
    return(mixture)
  }
  result <- with_covariances(mixture, means, function(k) {
    if (is.null(mixture$vectors)) mixture$values[, k] / scale^2 else {
      component_cov(mixture, k) / outer(scale, scale)
    }
  })
  result["coordinates"] <- list(mixture$coordinates)
  result
}

# The coordinates of some of the variables.
kept_coordinates <- function(mixture, keep) {
  if (!is.null(mixture$coordinates)) lapply(mixture$coordinates, `[`, keep)
}

# Words that follow a schedule in prints.
coordinate_words <- function(mixture) if (!is.null(mixture$coordinates)) ", standardised"

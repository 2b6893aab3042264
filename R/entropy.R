#' Differential entropy
#'
#' `-E log p(x)`, in nats. For a mixture (or one of its classes): closed form for one component,
#' quadrature in one or two dimensions, Monte Carlo beyond. For a guided sample: the entropy of the
#' law of its output, from the log-density of each particle; no density is estimated.
#'
#' @details
#' For a sample with a `"normal"` start the entropy `h` of the start is exact and only the change of
#' the log-density is averaged, so the standard error is small:
#' `h + E sum log|det|` (Wu et al.'s identity for DDIM in its discrete form). An affine map changes
#' the log-density by the same number everywhere, so the entropy of the run's output is exact. (The
#' output itself may still be far from the target.) If steps fold, the number is an upper bound;
#' `summary()` of the sample shows folds, and that of a [guided_law()] on a line sums over them.
#'
#' **Stochastic samplers** carry no log-density. In one and two dimensions [entropy()] of their
#' [guided_law()] needs no random numbers. Of a sample, all that is Gaussian is exact: the whole
#' output of a run that follows the score of one Gaussian (a class of one component at strength 0),
#' and, if the run reduces to fewer dimensions (see [guided_sample()]), all that is outside these.
#' The rest, in up to 16 dimensions, is estimated from the distances of nearest neighbours
#' (Kozachenko and Leonenko 1987; the fourth; package FNN), of 1e5 particles at most.
#'
#' Such estimates are biased, the more so where a law is narrow in places and wide in others. So a
#' Gaussian mixture is fitted to the particles, by EM from the mixture's own components on. It cuts
#' the space into pieces, each with its most probable component, whose neighbours are found in its
#' own whitened variables. As many draws of the fit, whose entropy is known, have nearly the same
#' bias, which is subtracted. What is left of it grows with the number `k` of neighbours as
#' `k^(2/d)`. The change from 4 to 16 neighbours shows its size, which is part of the standard
#' error, with the noise of both samples. Particles that overlap or lie in fewer dimensions have no
#' entropy.
#'
#' **Deterministic runs by a rule, a power or a [score_model()]** carry no log-density either. Their
#' entropy comes from differences of their map, which takes some 6 runs for each dimension; the
#' standard error counts the error of the differences.
#'
#' @param x A [gaussmix()], a [guided_sample()] or [guided_summary()] with a log-density, a
#'   [tilted_sample()], a [guidance_sweep()] or a [law].
#' @param class For a mixture: the class, or `NULL` for the whole.
#' @param n Number of draws if neither a closed form nor quadrature is possible.
#' @param key `NULL`, to draw a key from R's generator if draws are needed, or two whole numbers
#'   that determine the draws.
#' @param ... Must be empty.
#' @inherit confidence return
#' @source Wu et al. (2024), \doi{10.48550/arXiv.2403.01639}; Kozachenko and Leonenko (1987),
#'   Problemy Peredachi Informatsii 23, 9-16. The correction by a fitted mixture is derived for this
#'   package.
#' @examples
#' entropy(gaussmix(1, 0, 1))
#' m <- gaussmix(c(.5, .5), c(1, -1), cov = 1)
#' entropy(m)
#' entropy(guided_sample(m, 1000, guidance("1", 2)))
#' @export
entropy <- function(x, ...) UseMethod("entropy")

#' @export
entropy.default <- function(x, ...) no_estimate(x)

#' @rdname entropy
#' @export
entropy.gaussmix <- function(x, class = NULL, n = 2^14, key = NULL, ...) {
  check_dots(...)
  key <- check_key(key)
  x <- class_law(x, class)
  used <- which(x$weights > 0)
  if (is_singular(x)) {
    abort("`x` has a singular covariance: its differential entropy is -Inf", "singular")
  }
  row <- if (length(used) == 1) {
    values <- x$values[, min(used, ncol(x$values))]
    estimate_row(sum(log(2 * pi * exp(1) * values)) / 2, 0, "exact")
  } else {
    expectations(list(x), list(function(from) {
      x <- moved(x, from)
      function(z) -dgaussmix(z, x, log = TRUE)
    }), n, x, key)[[1]]
  }
  estimate_table("entropy", row, format(x))
}

#' @rdname entropy
#' @export
entropy.guided_sample <- function(x, ...) {
  check_dots(...)
  estimate_table("entropy", sample_entropy(x), particle_words(x))
}

# A class without a density has an entropy while there is noise: the end of the run matters.
time_note <- function(mixture, class, times) {
  known <- inherits(mixture, "gaussmix") && is.null(mixture$model)
  if (!known || !is_singular(class_law(mixture, class))) return("")
  paste0("at t = ", format(times[length(times)], digits = 2), " (",
         if (is.null(class)) "the mixture" else "the class", " has no density)")
}

sample_entropy <- function(x) {
  row <- carried_entropy(x)
  note <- time_note(x$mixture, x$guidance$class, x$times)
  if (row$method != "unknown" && nzchar(note)) row$note <- note
  row
}

carried_entropy <- function(x) {
  if (is.null(x$log_density)) {
    return(if (x$sampler$stochastic) neighbour_entropy(x) else difference_entropy(x))
  }
  if (is.null(x$start_entropy)) return(particle_mean(x, -x$log_density))
  # an affine map changes all log-densities by one number
  row <- exact_if_constant(particle_mean(x, -x$density_change))
  row$estimate <- row$estimate + x$start_entropy
  row
}

# If steps fold, several starts end in one place, and its density is the sum over them.
format_entropy <- function(x) {
  paste0(if (any(x$folded > 0, na.rm = TRUE)) "at most ", format_estimate(entropy(x)))
}

# The entropy of a run of a stochastic sampler: exact where the law of its output is, otherwise from
# nearest neighbours, in the coordinates to which the run reduces.
neighbour_entropy <- function(x) {
  if (identical(x$start, "given")) no_log_density(x)
  if (!nrow(x$x)) return(unknown_row("no particles"))
  if (!is.null(x$family)) {
    abort(paste("the entropy of a stochastic sampler takes independent particles:",
                'points = "random"'), "input")
  }
  at <- neighbour_setting(x)
  if (!is.null(at$exact)) return(estimate_row(at$exact, 0, "exact"))
  if (ncol(at$x) > 16) no_log_density(x)
  need_packages("the entropy of a stochastic sampler", "FNN")
  row <- points_entropy(at$x, at$mixture, stream(x$key, "neighbours"))
  if (is.null(row)) return(unknown_row("too few particles, or they lie in fewer dimensions"))
  row$estimate <- row$estimate + at$more
  row
}

# What is known of a stochastic run's output: its entropy if it is one Gaussian (`exact`), or its
# points in the coordinates of the reduction, with the mixture there and the entropy of the rest.
neighbour_setting <- function(x) {
  # a score_model() has no components
  if (inherits(x$mixture, "score_model")) return(list(x = x$x, more = 0))
  units <- log_units(x$mixture)
  u <- unname(to_process(x$x, x$mixture))
  mixture <- in_process(x$mixture)
  rest <- NULL
  # nobody knows the law of a user's noise, nor that of the rest of another start
  if (is.null(attr(x, "call_of")$args$noise) && x$start %in% c("normal", "exact")) {
    # from its parts, because samples of a sweep do not know their call
    d <- diffusion(x$mixture, x$guidance, x$sampler, x$schedule, x$horizon, x$start, x$score_error)
    plan <- sampling_plan(d, 1, log_density = "none")
    end <- known_end(d, plan, plan_aim(plan, d$guidance))
    if (!is.null(end)) return(list(exact = gaussian_entropy(end$cov)))
    if (!is.null(plan$reduction)) {
      run <- law_run(process_diffusion(d))
      mixture <- run$mixture
      rest <- run$rest
    }
  }
  if (!is.null(rest)) u <- u %*% rest$within
  closing <- closing_time(mixture, x$times, x$schedule)
  list(x = u, mixture = diffuse(mixture, closing, x$schedule), more = sum(rest$entropy, units))
}

gaussian_entropy <- function(cov) {
  (ncol(cov) * log(2 * pi * exp(1)) + c(determinant(cov)$modulus)) / 2
}

# The entropy of independent points by the k[1]-th neighbour (Kozachenko and Leonenko), or NULL if
# there are too few points, or they lie in fewer dimensions. A Gaussian mixture is fitted to the
# points, from the components of `mixture` on. It cuts space into pieces, in which it whitens, and
# as many draws of it show the bias of the method on a law of this shape and this entropy. What is
# left of the bias grows as k^(2/d), so k[2] neighbours show it.
points_entropy <- function(x, mixture, key, k = c(4, 16)) {
  x <- x[rowSums(!is.finite(x)) == 0, , drop = FALSE]
  x <- x[seq_len(min(nrow(x), 1e5)), , drop = FALSE]
  n <- nrow(x)
  d <- ncol(x)
  if (n < 16 * (d + 1)) return(NULL)
  centre <- colMeans(x)
  sd <- apply(x, 2, stats::sd)
  if (!all(sd > 0)) return(NULL)
  z <- (x - rep(centre, each = n)) / rep(sd, each = n)
  root <- if_error(chol(stats::cov(z)), function(e) NULL)
  if (is.null(root) || min(diag(root)) < 1e-6) return(NULL)
  like <- if (!is.null(mixture)) moved_mixture(mixture, centre, sd)
  fit <- fitted_pieces(z, like)
  if (is.null(fit)) return(NULL)
  drawn <- keyed_draws(fit$law, n, key)
  own <- neighbour_surprise(z, fit, k)
  if (any(own == -Inf)) return(NULL)
  # the mean of each column is a bias
  off <- neighbour_surprise(drawn, fit, k) + dgaussmix(drawn, fit$law, log = TRUE)
  estimate <- colMeans(own) - colMeans(off)
  growth <- (k[2] / k[1])^(2 / d) - 1
  # Neighbours are neighbours of each other, which doubles the variance of a mean of distances; it
  # counts for both samples.
  noise <- 4 * c(stats::var(off[, 1]), stats::var(off[, 2] - off[, 1])) / n
  spread <- max(stats::var(own[, 1]), stats::var(dgaussmix(z, fit$law, log = TRUE))) / n
  left <- max(0, (estimate[2] - estimate[1])^2 - noise[2]) / growth^2
  estimate_row(estimate[1] + sum(log(sd)), sqrt(spread + noise[1] + left), "Monte Carlo",
               "by nearest neighbours")
}

# The entropy of a deterministic run whose log-density the core does not carry along, by differences
# of its map.
difference_entropy <- function(x) {
  if (is.null(without_density(x)) || is_singular_at_end(x)) no_log_density(x)
  if (!nrow(x$x)) return(unknown_row("no particles"))
  d <- driven_by_model(run_diffusion(x))
  run <- if (!is.null(d)) without_faults(with_density(x, d))
  if (is.null(run$log_density)) no_log_density(x)
  entropy_of_run(run)
}

is_singular_at_end <- function(x) {
  !inherits(x$mixture, "score_model") && is_singular(x$mixture) &&
    x$schedule$b2(x$times[length(x$times)]) == 0
}

# What a run is by that leaves it without a log-density, in words, or NULL.
without_density <- function(x) {
  own <- inherits(x$mixture, "score_model") || inherits(x$score_error$model, "score_model")
  if (own) "a score_model()" else nonlinear_words(x$guidance)
}

# A Gaussian mixture fitted to points by EM, with at most the 50 heaviest components of `like`, each
# of which starts with the points that most probably are its own. A component of few points keeps
# some of its own covariance. `roots`: of the covariances; `held`: the components with enough points
# to find neighbours among; NULL if a covariance is singular.
fitted_pieces <- function(z, like, steps = 10, least = 32) {
  # 20 000 points determine 50 components
  z <- z[seq_len(min(nrow(z), 2e4)), , drop = FALSE]
  n <- nrow(z)
  d <- ncol(z)
  p <- matrix(1, n, 1)
  prior <- list(matrix(0, d, d))
  if (!is.null(like)) {
    heaviest <- order(-like$weights)[seq_len(min(50, length(like$weights)))]
    like <- keep_components(like, heaviest)
    like$class <- as.character(seq_along(heaviest))
    p <- posterior(like, z)
    held <- which(tabulate(top_column(p), ncol(p)) >= least)
    if (length(held)) {
      p <- 1 * outer(top_column(p, held), seq_along(held), "==")
      prior <- lapply(held, component_cov, mixture = like)
    } else p <- matrix(1, n, 1)
  }
  for (i in seq_len(if (ncol(p) > 1) steps else 1)) {
    there <- colSums(p) >= 1
    p <- p[, there, drop = FALSE]
    prior <- prior[there]
    size <- colSums(p)
    means <- crossprod(p, z) / size
    covs <- lapply(seq_along(size), function(k) {
      y <- z - rep(means[k, ], each = n)
      few <- (d + 1) * any(prior[[k]] != 0)
      (crossprod(y * p[, k], y) + few * prior[[k]]) / (size[k] + few)
    })
    roots <- lapply(covs, function(S) if_error(chol(S), function(e) NULL))
    if (any(vapply(roots, is.null, NA))) return(NULL)
    names(covs) <- paste("component", seq_along(covs))
    law <- assemble_gaussmix(size / sum(size), means, lapply(covs, simplify_cov),
                             as.character(seq_along(size)))
    p <- posterior(law, z)
  }
  count <- tabulate(top_column(p), ncol(p))
  list(law = law, roots = roots, held = which(count >= min(least, max(count))))
}

# The number among `columns` of the largest value of each row.
top_column <- function(p, columns = seq_len(ncol(p))) {
  max.col(p[, columns, drop = FALSE], "first")
}

# Minus the log-density at each point, up to a bias, from the distance of its k-th neighbour in its
# piece: a column for each k. Where a piece has too few points it is that of the fit.
neighbour_surprise <- function(z, fit, k) {
  n <- nrow(z)
  d <- ncol(z)
  piece <- fit$held[top_column(posterior(fit$law, z), fit$held)]
  ball <- d / 2 * log(pi) - lgamma(d / 2 + 1)
  value <- matrix(-dgaussmix(z, fit$law, log = TRUE), n, length(k))
  for (i in split(seq_len(n), piece)) {
    m <- length(i)
    if (m <= max(k)) next
    root <- fit$roots[[piece[i[1]]]]
    y <- t(backsolve(root, t(z[i, , drop = FALSE]), transpose = TRUE))
    distance <- FNN::knn.dist(y, max(k))[, k]
    value[i, ] <- d * log(distance) + rep(digamma(m) - digamma(k), each = m) + ball +
      sum(log(diag(root))) - log(m / n)
  }
  value
}

# The error where there is no log-density, with the cure.
no_log_density <- function(x) {
  stochastic <- x$sampler$stochastic
  by <- if (!stochastic) without_density(x)
  words <- if (!is.null(by)) {
    paste0("none is carried along by ", by, ": in one and two dimensions take entropy() of its ",
           "guided_law()",
           if (!inherits(x$mixture, "score_model")) ", otherwise see compare_guidance()")
  } else if (!stochastic) {
    paste('take log_density = "map" or "divergence", which need a start of known density and a',
          "guidance that is linear in the scores")
  } else if (identical(x$start, "given")) {
    paste("a stochastic sampler takes none along, and of given starts nobody knows whether they",
          'are independent draws: take start = "normal", "exact" or a gaussmix, or a deterministic',
          "sampler")
  } else if (inherits(x, "guided_summary")) {
    paste("a stochastic sampler takes none along: take entropy() of a guided_sample() with",
          'points = "random", which finds it by nearest neighbours, or a deterministic sampler')
  } else {
    paste("a stochastic sampler takes none along, and nearest neighbours need at most 16",
          "dimensions: take a deterministic sampler")
  }
  abort(paste0("`x` carries no log-density: ", words), "input")
}

#' @rdname entropy
#' @export
entropy.guidance_sweep <- function(x, ...) sweep_column(x, "entropy", ...)

# Evenly spread particles: the particles of a replicate are the points of one scrambled Sobol net.
# The replicates are independent, so their spread gives the standard error.

#' Evenly spread points
#'
#' With `points = "sobol"` the random numbers of a run's particles are points of scrambled Sobol
#' nets, which fill the space of all starts and noises more evenly than independent draws do. Each
#' particle still has exactly the law of an independent one, and means over all particles have a
#' much smaller error.
#'
#' @details
#' The particles are cut into 16 replicates of `n/16` (more replicates beyond 2^30 particles). Each
#' replicate is a net of its own: a random linear scramble (Matousek 1998) of Sobol's sequence with
#' the direction numbers of Joe and Kuo (2008), and a digital shift. Estimates are means of the
#' replicates. Their standard error is that of 16 numbers times 1.09, so that two of them cover as
#' much of Student's law with 15 degrees of freedom as two do of the normal law. A net is best if
#' `n/16` is a power of two (`n` = 2^13 = 8192, 2^14 = 16384, ...).
#'
#' Nets have 1024 coordinates. The start takes the first ones; the noises of the steps follow, the
#' last step first, because the last noises reach the result unchanged. Further noises are
#' independent. The random numbers of a particle depend on its number, `n` and the key alone.
#'
#' [guided_summary()], [guidance_sweep()] and [compare_guidance()] use nets from 1024 particles on,
#' unless `points` says otherwise. Confidence, means and, of deterministic samplers, entropy gain
#' most. Second moments in tens of dimensions and what depends on all noises gain nothing: their
#' errors are within some 7 % of those of independent particles. The particles of [guided_sample()]
#' are independent by default: a sample from nets has the right law, but code that takes it for
#' independent draws gets its errors wrong.
#'
#' [confidence()], [entropy()], [information()], [mutual_information()] and [recfg_weights()] of
#' mixtures use nets, too: with 8192 draws the variance is 5 to 100 times smaller, except for the
#' curvature of narrow components, for which nets gain nothing.
#' @source Owen (1997), \doi{10.1214/aos/1031594731}; Matousek (1998),
#'   \doi{10.1006/jcom.1998.0489}; Joe and Kuo (2008), \doi{10.1137/070709359}.
#' @examples
#' m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(1, 1)), cov = .5, class = c("a", "b"))
#' # the standard errors show the gain
#' confidence(guided_sample(m, 4096, guidance("a", 2)))
#' confidence(guided_sample(m, 4096, guidance("a", 2), points = "sobol"))
#' @name net
NULL

check_kind_of_points <- function(points) {
  if (is.null(points)) NULL else check_choice(points, c("random", "sobol"), "points")
}

# By default estimates use nets, unless the replicates would be too small.
default_points <- function(d, n) {
  if (is.null(d$points)) d$points <- if (n >= LEAST_EVEN) "sobol" else "random"
  d
}

# A user's own noise replaces the normals that a net would give.
refuse_noise <- function(d, noise) {
  if (!is.null(noise) && identical(d$points, "sobol")) {
    abort_input("points", 'NULL or "random" where `noise` is given', describe(d$points))
  }
}

# With fewer particles a replicate has so few points that nets are no better than independent draws.
LEAST_EVEN <- 1024

# The leading `bits` of Sobol's generating matrices, one integer for each of their columns
# (bits x coordinates). The first are given (tools/sobol-table says how); the others follow by
# v[k] = v[k - s] ^ (v[k - s] >> s) ^ the v[k - i] of the polynomial's taps i < s, its degree.
sobol_matrices <- function(bits, coordinates) {
  degree <- SOBOL$degree[seq_len(coordinates)]
  v <- matrix(0L, bits, coordinates)
  given <- seq_len(min(bits, nrow(SOBOL$first)))
  first <- SOBOL$first[given, seq_len(coordinates), drop = FALSE]
  v[given, ] <- first * as.integer(2^(bits - given))
  # the first coordinate has no polynomial
  v[, 1] <- as.integer(2^(bits - seq_len(bits)))
  for (k in seq_len(bits)) {
    made <- which(degree > 0 & degree < k)
    s <- degree[made]
    back <- v[cbind(k - s, made)]
    new <- bitwXor(back, back %/% as.integer(2^s))
    for (i in seq_len(max(0, s - 1))) {
      tap <- i < s & bitwAnd(SOBOL$taps[made], as.integer(2^pmax(s - 1 - i, 0))) > 0
      new[tap] <- bitwXor(new[tap], v[k - i, made[tap]])
    }
    v[k, made] <- new
  }
  v
}

# The nets of a plan, or NULL if it draws nothing: `per`, the number of particles in a replicate;
# `sobol`, the generating matrices; and the coordinates of all normals, counted from 0 (-1:
# independent). `draws` belong to a start that is drawn from a law, `at` to the program, `start` and
# `rest` to the two ends of a reduced run.
net_plan <- function(n, program, begin, reduction, inner) {
  per <- max(1, ceiling(n / max(16, n / 2^26)))
  used <- 0
  coordinates <- length(SOBOL$degree)
  take <- function(count) {
    column <- used + seq_len(count) - 1
    used <<- used + count
    as.integer(ifelse(column < coordinates, column, -1))
  }
  # the component first
  draws <- if (!is.null(begin$law)) take(1 + mixture_dim(begin$law))
  d <- nrow(reduction$space$within)
  start <- if (!is.null(reduction$gain) && reduction$start_sd > 0) take(d)
  slices <- program$noises
  # the first noise of a program with a normal start is the start
  first <- min(slices, !is.null(begin$sd) && is.null(start))
  order <- c(seq_len(first), rev(seq_len(slices))[seq_len(slices - first)])
  noises <- matrix(-1L, inner, slices)
  noises[, order] <- take(inner * slices)
  rest <- if (!is.null(reduction$sd)) take(d)
  if (used == 0) return(NULL)
  columns <- max(1, ceiling(log2(per)))
  sobol <- sobol_matrices(columns, min(used, coordinates))
  list(per = per, sobol = sobol, draws = draws, at = c(noises), start = start, rest = rest)
}

# The nets of n draws of a mixture, or NULL if n is too small.
draws_net <- function(mixture, n) {
  if (n < LEAST_EVEN) return(NULL)
  net_plan(n, list(noises = 0), list(law = mixture), NULL, 1)
}

# The mean of f over n draws of a mixture.
mean_of_draws <- function(mixture, n, f, key) means_of_draws(list(mixture), n, list(f), key)[[1]]

# The mean of each f over n draws of its law, all of the same numbers, in blocks of 2^22 of them.
means_of_draws <- function(laws, n, f, key) {
  d <- mixture_dim(laws[[1]])
  net <- draws_net(laws[[1]], n)
  from <- seq(0, n - 1, by = max(1, floor(2^22 / d)))
  values <- Map(function(first, last) {
    z <- keyed_normals(d, last - first, key, first, net)
    Map(function(law, f) f(draws_from(law, z)), laws, f)
  }, from, c(from[-1], n))
  lapply(do.call(Map, c(c, values)), sample_mean, family = draws_family(net, n))
}

# The replicate of each of n draws, for sample_mean(); NULL for independent draws.
draws_family <- function(net, n) if (!is.null(net)) replicate_of(net, 0, n)

# The part of a net that the engine needs for the normals of one program.
keyed_net <- function(net, key) {
  if (is.null(net)) return(NULL)
  list(per = as.double(net$per), sobol = net$sobol, key = stream(key, "points"))
}

# The replicate of each particle.
replicate_of <- function(net, first, count) {
  if (is.null(net)) return(rep(1L, count))
  # as %/%, which takes five times as long; numbers are below 2^53
  as.integer((first + seq_len(count) - 1) / net$per) + 1L
}

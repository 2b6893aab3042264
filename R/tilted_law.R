#' The tilted law
#'
#' The law with density proportional to `p(x | class) p(class | x)^strength`, which guidance is
#' often thought to sample: by quadrature in one or two dimensions, or in more if the mixture
#' reduces to these (see [guided_sample()]), with a Gaussian rest that the tilt does not change.
#'
#' @details With `strength = eta`, this is `p(x | class)^(1 + eta) / p(x)^eta` up to a constant. At
#'   strength 0 it is the class itself, at -1 the whole mixture. A smaller one may give no law, if
#'   covariances differ. At `t > 0` it is the tilt of the laws at time `t`, which is *not* the law
#'   at time `t` of the diffused tilt. Guidance uses the score of the tilt at each time, and
#'   therefore samples another law (Chidambaram et al. 2024).
#'
#' @inheritParams diffuse
#' @param guidance The class and the strength of the tilt: labels, for the law of their union
#'   (strength 0), or a [guidance()] of one term, without a power and without another negative
#'   model. `NULL`: the mixture itself.
#' @param t The tilt of the laws at this time, with the strength of that time.
#' @param nodes Number of nodes (on each of two axes); `NULL`: 2001 (201), or more, up to 20001
#'   (601), until the normalising constant changes by at most 1e-10 without every other node.
#' @return A [law]: its density is known everywhere, not only on the nodes. It also has `strength`
#'   and `log_normaliser`, the logarithm of `E[p(class | x)^strength | class]`.
#' @section Errors: Of class `mixguide_error`: more than two dimensions that cannot be reduced,
#'   covariances that are singular at time `t`, and strengths without a law.
#' @section Numerical notes: The nodes are equispaced and span the region in which the log-density
#'   is within 45 of its largest value; the trapezoidal rule then converges faster than any power of
#'   their distance. A warning says if the largest number of nodes does not suffice.
#' @source Chidambaram, Gatmiry, Chen, Lee and Lu (2024), \doi{10.48550/arXiv.2409.13074};
#'   quadrature derived for this package.
#' @seealso [law] for its methods, among them the distance of a sampler's law from the tilt;
#'   [tilted_sample()], which weights guided particles so that they sample it.
#' @examples
#' m <- named_mixture("A2")
#' tilt <- tilted_law(m, guidance("1", 4))
#' tilt
#' # guidance of that strength goes much further
#' run <- guided_sample(m, 1000, guidance("1", 4), sampler_heun(40))
#' c(mean(tilt), mean(run$x))
#' plot(tilt)
#' @export
tilted_law <- function(mixture, guidance = NULL, t = 0, schedule = schedule_ou(), nodes = NULL) {
  unpack_diffusion()
  check_extent(check_mixture(mixture))
  guidance <- check_tilt(as_guidance(guidance))
  if (!is.null(nodes)) nodes <- check_count(nodes, "nodes", min = 16, max = 1e5)
  units <- mixture
  mixture <- diffuse(in_process(mixture), t, schedule)
  refuse_singular(mixture, "`mixture` has a singular covariance and no density at time `t`;",
                  "take t > 0")
  rest <- if (mixture_dim(mixture) > 2) plain_rest(mixture)
  inner <- if (is.null(rest)) mixture else rest$mixture
  guide <- guidance_models(guidance, inner)
  strength <- if (!is.null(guidance)) guidance_strength(guidance, t)
  logs <- function(x) {
    logp <- core_eval(inner, x, 1, 0, guide$models, double(nrow(guide$models)), "logp")
    if (is.null(guidance)) return(list(tilt = logp[[1]]))
    list(tilt = log_tilt(logp[[1]], logp[[2]], guide$log_prior, strength),
         confidence = pmin(guide$log_prior + logp[[1]] - logp[[2]], 0))
  }
  grid <- tilt_grid(function(x) logs(x)$tilt, inner, nodes)
  value <- logs(grid$x)
  weights <- exp(value$tilt - max(value$tilt))
  log_z <- max(value$tilt) + log(sum(weights) * grid$cell)
  law <- new_law(grid$x, weights, value$tilt - log_z, value$confidence, mixture,
                 guidance$class, rest, grid$axes, density = function(x) logs(x)$tilt - log_z,
                 label = tilt_words(guidance$class, strength), strength = strength,
                 log_normaliser = log_z)
  law_from_process(law, units)
}

# An error for guidance other than by one class and a strength, whose tilt is not computed.
check_tilt <- function(guidance) {
  odd <- c("several terms" = length(guidance$others) > 0,
           "another negative model" = !is.null(guidance$negative),
           "a power or a rule" = !is.null(nonlinear_words(guidance)),
           "a strength per variable" = is_uneven(guidance),
           "a strength that depends on q" = depends_on_q(guidance))
  if (any(odd)) {
    abort_input("guidance",
                "towards one class or union, away from the whole, without a power or a rule",
                paste("guidance with", names(odd)[odd][1]))
  }
  guidance
}

tilt_words <- function(class, strength) {
  if (is.null(class)) return("the mixture")
  paste0("the tilt p(x | ", aim_words(class), ") p(", aim_words(class), " | x)^", format(strength))
}

# The grid on which exp(f) is integrated: its nodes, their axes and the size of a cell.
tilt_grid <- function(f, mixture, nodes) {
  d <- mixture_dim(mixture)
  # the range of the law: coarsely, but with the scale of every component
  used <- which(mixture$weights > 0)
  sd <- sqrt(vapply(used, function(k) diag(component_cov(mixture, k)), double(d)))
  dim(sd) <- c(d, length(used))
  own <- lapply(seq_len(d), function(j) {
    resolving_grid(mixture$means[used, j], 3 * sd[j, ], if (d == 1) 2048 else 80)
  })
  box <- tilt_box(f, own)
  # closer, and further out if the law does not end at the border
  for (i in 1:8) {
    box <- tilt_box(f, Map(function(range, own) {
      range <- range + c(-1, 1) * box$open * diff(range)
      even <- seq(range[1], range[2], length.out = if (d == 1) 512 else 48)
      sort(unique(c(even, own[own > range[1] & own < range[2]])))
    }, box$range, own))
    if (!box$open && i > 1) break
  }
  if (box$open) abort_input("guidance", "of a strength at which the tilt has a finite integral")
  size <- if (is.null(nodes)) c(2001, 201)[d] else nodes
  repeat {
    axes <- grid_axes(do.call(cbind, box$range), size)
    x <- axis_nodes(axes)
    w <- f(x)
    w <- exp(w - max(w))
    odd <- Reduce(`&`, lapply(seq_len(d), function(j) match(x[, j], axes[[j]]) %% 2 == 1))
    error <- abs(sum(w[odd]) * 2^d / sum(w) - 1)
    if (!is.null(nodes) || error < 1e-10 || size >= c(20001, 601)[d]) break
    size <- min(2 * size - 1, c(20001, 601)[d])
  }
  if (error > 1e-6) {
    warning("the nodes do not resolve the tilt: half of them change its integral by ",
            format(error, digits = 1), call. = FALSE)
  }
  list(x = x, axes = axes, cell = prod(vapply(axes, step_of, 0)))
}

# The box that holds all of f within 45 of its largest value on the grid, a cell wider; and whether
# it is open, that is, f is so high at the border.
tilt_box <- function(f, axes) {
  value <- f(axis_nodes(axes))
  high <- array(value > max(value) - 45, lengths(axes))
  spans <- lapply(seq_along(axes), function(j) range(which(apply(high, j, any))))
  last <- lengths(axes)
  list(range = Map(function(axis, span, last) axis[c(max(span[1] - 1, 1), min(span[2] + 1, last))],
                   axes, spans, last),
       open = any(mapply(function(span, last) span[1] == 1 || span[2] == last, spans, last)))
}

# The part of a mixture outside a reduction to one or two dimensions, see law_rest().
plain_rest <- function(mixture) {
  space <- reduced_space(mixture)
  if (is.null(space) || ncol(space$within) > 2) {
    abort_input("mixture", "of at most two dimensions, or reducible to them",
                if (is.null(space)) count_of(mixture_dim(mixture), "dimension") else {
                  paste("reducible to", ncol(space$within))
                })
  }
  axes <- reduced_axes(space)
  law_rest(axes$within, axes$across, axes$mean, space$values[axes$group], space$mixture)
}

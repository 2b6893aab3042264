#' Exact law of a zero-shot sampler on one Gaussian
#'
#' For a single Gaussian every [zero_shot] method whose steps are affine puts out a Gaussian, whose
#' mean, covariance and divergence from the exact conditional law are computed without simulation.
#'
#' @details Every operation of the run (see [sampler()]) is applied to the mean and the joint
#' covariance of all registers, as full matrices: the score of a Gaussian is affine and its
#' derivative constant, so that the score class (DDNM, BO, exact), CCDF, RePaint, DDNM+, DDRM, PiGDM
#' and TMPD are all exact. For a score `g = G x + c` with the steps of
#' `sampler_ddpm(variance = "scaled")` this is the recursion
#' `m' = M m + (a'/a) beta c`, `V' = M V M' + (a'/a)^2 beta I`, `M = (a'/a) (I + beta G)`.
#'
#' DPS and MCG divide by the size of the residual, and particle methods resample: they are not
#' affine.
#'
#' @inheritParams conditional_sample
#' @param mixture A [gaussmix()] with one component.
#' @return A list with `mean` (d) and `cov` (d x d) of the output; `target`, a list with those of
#'   the exact conditional law at the time of the end; and `kl`, the divergence
#'   KL(target || output), `NA` if the target is singular, `Inf` if only the output is.
#' @section Errors: Of class `mixguide_error`, for a mixture of several components and a method that
#'   is not affine.
#' @source Derived for this package; the setting: Liang, Ju, Liang and Shroff (2024),
#'   \doi{10.48550/arXiv.2410.13746}.
#' @seealso [guided_moments()] for unconditional samplers, [mismatch()].
#' @family zero-shot conditional sampling
#' @examples
#' prior <- gaussmix(1, t(c(0, 0)), matrix(c(1, .8, .8, 1), 2))
#' y <- observation(1, H = cbind(1, 0), noise = .3^2)
#' for (method in list(zero_shot_exact(), zero_shot_bo(), zero_shot_ddnm())) {
#'   at <- conditional_moments(prior, y, method, schedule = schedule_etc(200))
#'   cat(format(method), "KL", at$kl, "\n")
#' }
#' @export
conditional_moments <- function(mixture, observation, method, ...) {
  d <- as_diffusion(mixture, ..., default = zero_shot_default(), without = not_zero_shot)
  mixture <- d$mixture
  sampler <- d$sampler
  schedule <- d$schedule
  if (sum(mixture$weights > 0) > 1) {
    abort_input("mixture", "a single Gaussian", paste("a mixture of", sum(mixture$weights > 0)))
  }
  mixture <- keep_components(mixture, mixture$weights > 0)
  observation <- as_observation(observation, mixture)
  check_zero_shot(method)
  check_method_sampler(method, sampler)
  if (!is.null(method$twist)) not_affine(method)
  times <- d$times
  units <- mixture
  observation <- in_process(observation, mixture)
  mixture <- in_process(mixture)
  frame <- if (method$name != "exact") zero_shot_frame(mixture, observation, method)
  posterior <- exact_posterior(mixture, observation)
  inner <- if (is.null(frame)) posterior else turned_mixture(mixture, frame)
  steps <- zero_shot_program(method, frame, sampler, times, schedule)
  d <- mixture_dim(mixture)
  law <- tryCatch(gaussian_program(steps, inner, schedule, start_sd(schedule, times[1])),
                  mixguide_error_affine = function(e) not_affine(method))
  back <- if (is.null(frame)) diag(d) else frame$complete
  target <- diffuse(posterior, times[length(times)], schedule)
  exact <- moments(target)
  mean <- drop(back %*% law$mean)
  cov <- back %*% law$cov %*% t(back)
  V <- if (is.null(target$vectors)) diag(d) else matrix(target$vectors, d)
  names <- variable_names(mixture)
  in_x <- moments_from_process(mean, (cov + t(cov)) / 2, units)
  list(mean = stats::setNames(in_x$mean, names), cov = name_dims(in_x$cov, names, names),
       target = moments_from_process(exact$mean, exact$cov, units),
       kl = gaussian_kl(drop(exact$mean %*% V), target$values[, 1], drop(mean %*% V),
                        crossprod(V, cov %*% V)))
}

not_affine <- function(method) {
  abort_input("method", "one whose steps are affine for a Gaussian", format(method))
}

# Mean and covariance of register x at the end of a program on one Gaussian, from N(0, sd^2 I). All
# registers are carried along as one Gaussian, d coordinates after d.
gaussian_program <- function(steps, gaussian, schedule, sd) {
  d <- mixture_dim(gaussian)
  ops <- unlist(steps, recursive = FALSE)
  registers <- unique(c("x", vapply(ops, `[[`, "", "to")))
  place <- stats::setNames(lapply(seq_along(registers), function(i) (i - 1) * d + seq_len(d)),
                           registers)
  mean <- rep(0, length(registers) * d)
  cov <- diag(rep(c(sd^2, 0), c(d, length(mean) - d)), length(mean))
  centre <- gaussian$means[1, ]
  V <- if (is.null(gaussian$vectors)) diag(d) else matrix(gaussian$vectors, d)
  t <- unique(unlist(lapply(ops, `[[`, "t")))
  a <- schedule$a(t)
  values <- matrix(gaussian$values[, 1], d, length(t))
  values <- values * rep(a^2, each = d) + rep(schedule$b2(t), each = d)
  if (any(values <= 0)) noise_level(gaussian, min(t), schedule)
  # minus the derivative of the score
  precision <- function(i) V %*% (t(V) / values[, i])
  # register `to` becomes the sum of maps (matrices, or numbers per coordinate) times registers, +
  # shift + sqrt(noise) z
  write <- function(to, maps = list(), shift = 0, noise = 0) {
    times <- function(map, x) if (is.matrix(map)) map %*% x else map * x
    here <- place[[to]]
    value <- rep(shift, length.out = d)
    across <- matrix(0, d, length(mean))
    own <- diag(noise, d)
    for (r in names(maps)) {
      value <- value + times(maps[[r]], mean[place[[r]]])
      across <- across + times(maps[[r]], cov[place[[r]], , drop = FALSE])
    }
    for (r in names(maps)) {
      own <- own + times(maps[[r]], t(across[, place[[r]], drop = FALSE]))
    }
    mean[here] <<- value
    cov[here, ] <<- across
    cov[, here] <<- t(across)
    cov[here, here] <<- own
  }
  for (op in ops) {
    switch(
      op$op,
      eval = {
        i <- match(op$t, t)
        P <- precision(i)
        write(op$to, stats::setNames(list(-P), op$from), drop(P %*% centre) * a[i])
      },
      noise = write(op$to, noise = 1),
      constant = write(op$to, shift = op$coef[[1]]),
      linear = write(op$to, as.list(op$coef)),
      product = ,
      solve = write(op$to, stats::setNames(list(hessian_map(op, -precision(match(op$t, t)))),
                                           op$to)),
      abort("not affine", "affine")
    )
  }
  x <- place[["x"]]
  list(mean = mean[x], cov = cov[x, x, drop = FALSE])
}

# What op_product() and op_solve() multiply by, where the derivative of the score is H.
hessian_map <- function(op, H) {
  coef <- op$coef[[1]]
  map <- diag(nrow(H))
  if (op$op == "product") return(map + coef * H)
  r <- seq_len(coef[1])
  map[r, r] <- solve(diag(coef[-(1:2)], coef[1]) + coef[2] * H[r, r])
  map
}

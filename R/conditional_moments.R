#' Exact law of a zero-shot sampler on one Gaussian
#'
#' For a single Gaussian every [zero_shot] method with affine steps has a Gaussian output. This
#' function computes its mean, covariance and divergence from the exact conditional law, without
#' simulation.
#'
#' @details Every operation of the run (see [sampler()]) is applied to the mean and the joint
#' covariance of all registers, as full matrices. The score of a Gaussian is affine with a constant
#' derivative, so the score class (DDNM, BO, exact), CCDF, RePaint, DDNM+, DDRM, PiGDM and TMPD
#' are all exact. For a score `g = G x + c` with the steps of
#' `sampler_ddpm(variance = "scaled")` this is the recursion
#' `m' = M m + (a'/a) beta c`, `V' = M V M' + (a'/a)^2 beta I`, `M = (a'/a) (I + beta G)`.
#'
#' DPS, MCG and particle methods have no such law: DPS and MCG divide by the size of the residual,
#' and particle methods resample.
#'
#' @inheritParams conditional_sample
#' @param mixture A [gaussmix()] with one component.
#' @return As of [moments()], a list with `mean` (d) and `cov` (d x d) of the output; `target`, a
#'   list with the `mean` and `cov` of the exact conditional law at the end time; and `kl`, the
#'   divergence KL(target || output), `NA` if the target is singular, `Inf` if only the output is.
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
  check_method(method, d)
  if (!is.null(method$twist)) not_affine(method)
  times <- d$times
  units <- mixture
  head <- c(paste0("given:    ", format(observation)), paste0("method:   ", format(method)),
            process_lines(d, "guidance"))
  observation <- in_process(observation, mixture)
  mixture <- in_process(mixture)
  task <- zero_shot_task(mixture, observation, method, sampler, times, schedule)
  program <- compile_program(task$steps, times, mixture_dim(mixture))
  if (any(op_kinds(program) == "power")) not_affine(method)
  law <- gaussian_program(program, task$mixture, program_levels(program, schedule),
                          start_sd(schedule, times[1]))
  target <- diffuse(exact_posterior(mixture, observation), times[length(times)], schedule)
  exact <- moments(target)
  mean <- drop(task$back(t(law$mean)))
  cov <- task$back(t(task$back(law$cov)))
  V <- component_axes(target)
  names <- variable_names(mixture)
  in_x <- moments_from_process(mean, (cov + t(cov)) / 2, units)
  new_moments(stats::setNames(in_x$mean, names), name_dims(in_x$cov, names, names),
              target = moments_from_process(exact$mean, exact$cov, units),
              kl = gaussian_kl(drop(exact$mean %*% V), target$values[, 1], drop(mean %*% V),
                               crossprod(V, cov %*% V)), head = head)
}

not_affine <- function(method) {
  abort_input("method", "one whose steps are affine for a Gaussian", format(method))
}

# Mean and covariance of x at the end of a program on one Gaussian, from N(0, sd^2 I). The live
# registers at a cut of program_forms() are propagated as one Gaussian, d coordinates for each.
gaussian_program <- function(program, gaussian, levels, sd) {
  d <- mixture_dim(gaussian)
  level <- gaussian_levels(program, levels, gaussian$values[, 1])
  V <- component_axes(gaussian)
  matrix_of <- function(values) V %*% (values * t(V))
  alive <- 1
  mean <- double(d)
  cov <- diag(sd^2, d)
  for (form in program_forms(program)) {
    noise <- form$kind == "noise"
    # a matrix times the carried registers and the noises; the last column is a shift
    width <- (length(alive) + sum(noise)) * d
    nothing <- matrix(0, d, width + 1)
    unit <- function(j) {
      nothing[, (j - 1) * d + seq_len(d)] <- diag(d)
      nothing
    }
    column <- vector("list", ncol(form$to))
    column[alive] <- lapply(seq_along(alive), unit)
    total <- function(weights) {
      used <- weights != 0
      Reduce(`+`, Map(`*`, weights[used], column[used]), nothing)
    }
    for (s in seq_along(noise)) {
      op <- program$op[, form$op[s]]
      of <- total(form$of[s, ])
      coef <- program$coef[op[["n"]] + seq_len(d + 2)]
      at <- op[["at"]] + 1
      column[[nrow(form$to) + s]] <- switch(
        form$kind[s],
        noise = unit(length(alive) + sum(noise[seq_len(s)])),
        constant = replace(nothing, seq_len(d) + width * d, coef[1]),
        "by coordinate" = term_coefs(program, form$term[s], d) * of,
        eval = {
          of <- matrix_of(level$by_x[, at]) %*% of
          shift <- matrix_of(level$by_mean[, at]) %*% gaussian$means[1, ]
          replace(of, seq_len(d) + width * d, of[, width + 1] + shift)
        },
        product = matrix_of(1 + coef[1] * level$by_x[, at]) %*% of,
        root = matrix_of(sqrt(pmax(1 + coef[1] * level$by_x[, at], 0))) %*% of,
        solve = {
          r <- seq_len(coef[1])
          divisor <- diag(coef[2 + r], coef[1]) + coef[2] * matrix_of(level$by_x[, at])[r, r]
          of[r, ] <- solve(divisor, of[r, , drop = FALSE])
          of
        }
      )
    }
    before <- rep(0, width)
    spread <- diag(width)
    carried <- seq_along(mean)
    before[carried] <- mean
    spread[carried, carried] <- cov
    alive <- form$alive
    map <- do.call(rbind, lapply(alive, function(r) total(form$to[r, ])))
    mean <- drop(map %*% c(before, 1))
    map <- map[, seq_len(width), drop = FALSE]
    cov <- map %*% spread %*% t(map)
  }
  list(mean = mean, cov = cov)
}

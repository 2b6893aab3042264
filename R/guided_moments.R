#' Exact law of a sampler on one Gaussian
#'
#' For a single Gaussian the score is affine, so the output of every sampler is an affine map of
#' independent normals, and so is that of every [zero_shot] method with affine steps. This function
#' computes its mean and covariance without simulation: they show discretisation error, bias of the
#' start, order of convergence, and the error of a method.
#'
#' @details Without an observation all is computed in the eigenvectors of the covariance, where the
#' coordinates do not mix. A pass backward from the end takes the weight of each register in the
#' result, and gives the weights of the start, of the mean and of every noise.
#'
#' With an observation every operation of the run (see [sampler()]) is applied to the mean and the
#' joint covariance of all registers, as full matrices: exact for the score class (DDNM, BO, exact),
#' CCDF, RePaint, DDNM+, DDRM, DiffPIR, PiGDM and TMPD. For a score `g = G x + c` with the steps of
#' `sampler_ddpm(variance = "scaled")` this is the recursion
#' `m' = M m + (a'/a) beta c`, `V' = M V M' + (a'/a)^2 beta I`, `M = (a'/a) (I + beta G)`. DPS, MCG
#' and particle methods have no such law: DPS and MCG divide by the size of the residual, and
#' particle methods resample.
#'
#' @param mixture A [diffusion()], or a [gaussmix()], with one component.
#' @param ... Further arguments of [diffusion()] that follow the mixture there, but no
#'   `guidance`. The coefficients of the `sampler` must be single numbers. `start` may also be a
#'   list with `mean` and `cov`. With an observation there is no `start`, and the default is the
#'   process of [conditional_sample()].
#' @param observation,method `NULL`, or an [observation()], as for [condition()], and the
#'   [zero_shot] method that follows it.
#' @return As of [moments()], a list with `mean` (length d), `cov` (d x d), and `kl`, the
#'   Kullback-Leibler divergence KL(target || output), where the target is the Gaussian at the last
#'   time of the grid; `NA` if the target is singular, `Inf` if only the output is. With an
#'   observation the target is the exact conditional law there, and `target` has its `mean` and
#'   `cov`.
#' @section Errors: Of class `mixguide_error`, for a mixture of several components and a method that
#'   is not affine.
#' @source Derived for this package; the setting of observations: Liang, Ju, Liang and Shroff
#'   (2024), \doi{10.48550/arXiv.2410.13746}.
#' @seealso [mismatch()]
#' @examples
#' gaussian <- gaussmix(1, 1.5, .25)
#' # the bias of Euler steps: halving the step halves it
#' for (steps in c(50, 100, 200)) {
#'   print(unlist(guided_moments(gaussian, sampler = sampler_euler(steps), horizon = 3,
#'                               start = "exact")))
#' }
#' # zero-shot methods
#' prior <- gaussmix(1, t(c(0, 0)), matrix(c(1, .8, .8, 1), 2))
#' y <- observation(1, H = cbind(1, 0), noise = .3^2)
#' for (method in list(zero_shot_exact(), zero_shot_bo(), zero_shot_ddnm())) {
#'   law <- guided_moments(prior, observation = y, method = method, schedule = schedule_etc(200))
#'   cat(format(method), "KL", law$kl, "\n")
#' }
#' @export
guided_moments <- function(mixture, ..., observation = NULL, method = NULL) {
  given <- !is.null(observation)
  d <- as_diffusion(mixture, ..., default = if (given) zero_shot_default() else list(),
                    without = c("guidance", "score_error", if (given) "start"))
  used <- d$mixture$weights > 0
  if (sum(used) > 1) {
    abort_input("mixture", "a single Gaussian", paste("a mixture of", sum(used)))
  }
  d$mixture <- keep_components(d$mixture, used)
  if (!given) refuse_method(method)
  law <- if (given) method_on_gaussian(d, observation, method) else sampler_on_gaussian(d)
  output <- moments_from_process(law$mean, law$cov, d$mixture)
  names <- variable_names(d$mixture)
  do.call(new_moments, c(list(stats::setNames(output$mean, names),
                              name_dims(output$cov, names, names)), law[["target"]],
                         list(kl = law$kl, head = law$head)))
}

# The law of the output in the coordinates of the process, its divergence, and the head of a print.
sampler_on_gaussian <- function(d) {
  process <- process_diffusion(d)
  mixture <- process$mixture
  schedule <- d$schedule
  times <- d$times
  start <- start_gaussian(process$start, diffuse(mixture, times[1], schedule),
                          if (schedule$vp) 1 else schedule$b2(times[1]))
  target <- diffuse(mixture, d$sampler$end, schedule)
  rotated <- !is.null(mixture$vectors)
  dim <- mixture_dim(mixture)
  V <- component_axes(mixture)

  steps <- sampler_program(d$sampler, times, schedule)
  widths <- unlist(lapply(unlist(steps, recursive = FALSE), function(op) lengths(op$coef)))
  if (any(widths > 1 & (rotated | widths != dim))) {
    abort_input("sampler", "one whose coefficients are single numbers",
                paste(max(widths), "of them"))
  }
  program <- compile_program(steps, times, dim)
  map <- affine_map(program, program_levels(program, schedule), drop(mixture$values))
  mean <- map$gain * drop(start$means %*% V) + map$shift * drop(mixture$means %*% V)
  start_cov <- crossprod(V, component_cov(start, 1) %*% V)
  cov <- map$gain * t(map$gain * start_cov) + diag(map$variance, dim)
  list(mean = drop(V %*% mean), cov = V %*% cov %*% t(V), head = process_lines(d),
       kl = gaussian_kl(drop(target$means %*% V), drop(target$values), mean, cov))
}

# The same of a method, given an observation, with the moments of the `target`.
method_on_gaussian <- function(d, observation, method) {
  observation <- as_observation(observation, d$mixture)
  check_method(method, d)
  refuse <- function() {
    abort_input("method", "one whose steps are affine for a Gaussian", format(method))
  }
  if (!is.null(method$twist)) refuse()
  head <- c(paste0("given:    ", format(observation)), paste0("method:   ", format(method)),
            process_lines(d, "guidance"))
  times <- d$times
  observation <- in_process(observation, d$mixture)
  mixture <- in_process(d$mixture)
  task <- zero_shot_task(mixture, observation, method, d$sampler, times, d$schedule)
  program <- compile_program(task$steps, times, mixture_dim(mixture))
  if (any(op_kinds(program) == "power")) refuse()
  law <- gaussian_program(program, task$mixture, program_levels(program, d$schedule),
                          start_sd(d$schedule, times[1]))
  target <- diffuse(exact_posterior(mixture, observation), times[length(times)], d$schedule)
  exact <- moments(target)
  mean <- drop(task$back(t(law$mean)))
  cov <- task$back(t(task$back(law$cov)))
  V <- component_axes(target)
  list(mean = mean, cov = (cov + t(cov)) / 2, head = head,
       target = list(target = moments_from_process(exact$mean, exact$cov, d$mixture)),
       kl = gaussian_kl(drop(exact$mean %*% V), target$values[, 1], drop(mean %*% V),
                        crossprod(V, cov %*% V)))
}

# The Gaussian from which the sampler starts, as a mixture with one component.
start_gaussian <- function(start, exact, noise_variance) {
  d <- mixture_dim(exact)
  if (is.list(start)) {
    mean <- check_points(start$mean, exact, "start$mean")
    if (nrow(mean) != 1) {
      abort_input("start$mean", paste("a vector of length", d), describe(start$mean))
    }
    covs <- check_covariances(start$cov, 1, d, "start$cov", variable_names(exact))
    return(assemble_gaussmix(1, mean, covs, "1"))
  }
  start <- check_choice(start, c("normal", "exact"), "start")
  if (start == "exact") exact else gaussmix(1, t(rep(0, d)), noise_variance)
}

# A compiled program on one Gaussian, coordinate by coordinate: x at the end is gain * (x at the
# start) + shift * mean + sqrt(variance) * z, for each of the variances `values` of the Gaussian.
# The pass goes backward from the end: `weight` is the weight of each register at that point in the
# final x. `score`: the weight of each guided score, values x scores, taken at `score_time`.
affine_map <- function(program, levels, values) {
  level <- gaussian_levels(program, levels, values)
  kind <- op_kinds(program)
  at <- program$op["at", ] + 1
  n <- program$op["n", ] + 1
  strange <- strange_on_gaussian(kind)
  if (any(strange)) {
    abort_input("sampler", paste0("one without op_", kind[strange][1], "()"), kind = "program")
  }
  guided <- kind == "eval" & program$op["to", ] >= 0
  guided[guided] <- is_guided(program$level_of[at[guided]])
  score <- matrix(0, length(values), length(kind))
  shift <- variance <- 0 * values
  weight <- matrix(rep(1:0, c(1, program$registers - 1)), length(values), program$registers,
                   byrow = TRUE)
  for (form in rev(program_forms(program))) {
    weight <- weight %*% form$to
    for (s in rev(seq_along(form$op))) {
      i <- form$op[s]
      w <- weight[, nrow(form$to) + s]
      by <- 1
      if (form$kind[s] == "noise") variance <- variance + w^2
      if (form$kind[s] == "by coordinate") by <- term_coefs(program, form$term[s], length(values))
      if (form$kind[s] == "eval") {
        by <- level$by_x[, at[i]]
        score[, i] <- w * level$by_score[, at[i]]
        shift <- shift + w * level$by_mean[, at[i]]
      }
      if (reads_hessian(kind[i])) by <- 1 + program$coef[n[i]] * level$by_x[, at[i]]
      if (form$kind[s] == "root") by <- sqrt(pmax(by, 0))
      weight <- weight + outer(w * by, form$of[s, ])
    }
    weight <- weight[, seq_len(nrow(form$to)), drop = FALSE]
  }
  list(gain = weight[, 1], shift = shift, variance = variance,
       score = score[, guided, drop = FALSE], score_time = program$level_times[at[guided]])
}

# Operations that affine_map() does not know. A power is of the guidance term, which is 0 there.
strange_on_gaussian <- function(kind) {
  writes_register(kind) & !kind %in% c("eval", "noise", "linear", "product", "root", "power")
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

# The evaluations of a program on one Gaussian with the variances `values`: at each level, a column
# of these matrices, the result is by_x x + by_mean mean, which is by_score times the score.
gaussian_levels <- function(program, levels, values) {
  precision <- 1 / (outer(values, levels$a^2) + rep(levels$b2, each = length(values)))
  # one Gaussian has no "gain" (see guidance_models()), hence no power of it
  precision[, !is_guided(program$level_of)] <- 0
  if (!all(is.finite(precision))) {
    abort_input("sampler", "one that evaluates no score where the Gaussian is singular",
                paste0("t = ", program$level_times[colSums(!is.finite(precision)) > 0][1],
                       " (set `end` above 0)"))
  }
  at_level <- function(x) rep(x, each = length(values))
  scale <- at_level(if (is.null(levels$scale)) 1 + 0 * levels$a else levels$scale)
  precision <- precision * scale
  by_x <- -precision
  by_mean <- precision * at_level(levels$a)
  by_score <- 1 + 0 * precision
  noise <- at_level(levels$want == want_code[["noise"]])
  denoised <- at_level(levels$want == want_code[["denoised"]])
  if (any(noise)) {
    by_score[noise] <- -at_level(sqrt(levels$b2))[noise]
    by_x[noise] <- (by_score * by_x)[noise]
    by_mean[noise] <- (by_score * by_mean)[noise]
  }
  if (any(denoised)) {
    # a law's own score has a denoised point also where a = 0
    rest <- ifelse(scale == 1, 0, (1 - scale) / at_level(levels$a))
    by_score[denoised] <- at_level(levels$b2 / levels$a)[denoised]
    by_x[denoised] <- (at_level(levels$a) * values * precision + rest)[denoised]
    by_mean[denoised] <- (at_level(levels$b2) * precision)[denoised]
  }
  list(by_x = by_x, by_mean = by_mean, by_score = by_score)
}

# KL(N(m0, diag(values)) || N(m1, cov)).
gaussian_kl <- function(m0, values, m1, cov) {
  if (any(values == 0)) return(NA_real_)
  root <- if_error(chol(cov), function(e) NULL)
  if (is.null(root)) return(Inf)
  inverse <- chol2inv(root)
  gap <- m1 - m0
  (sum(diag(inverse) * values) + sum(gap * (inverse %*% gap)) - length(m0) +
     2 * sum(log(diag(root))) - sum(log(values))) / 2
}

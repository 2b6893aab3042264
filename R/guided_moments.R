#' Exact law of a sampler on one Gaussian
#'
#' For a single Gaussian the score is affine, so the output of every sampler is an affine map of
#' independent normals. This function computes its mean and covariance without simulation: they show
#' discretisation error, bias of the start, and order of convergence.
#'
#' @details All is computed in the eigenvectors of the covariance, where the coordinates do not
#' mix. A pass backward from the end takes the weight of each register in the result, and gives the
#' weights of the start, of the mean and of every noise.
#'
#' @param mixture A [diffusion()], or a [gaussmix()], with one component.
#' @param ... Further arguments of [diffusion()] that follow the mixture there, but no
#'   `guidance`. The coefficients of the `sampler` must be single numbers. `start` may also be a
#'   list with `mean` and `cov`.
#' @return As of [moments()], a list with `mean` (length d), `cov` (d x d), and `kl`, the
#'   Kullback-Leibler divergence KL(target || output), where the target is the Gaussian at the last
#'   time of the grid; `NA` if the target is singular, `Inf` if only the output is.
#' @examples
#' gaussian <- gaussmix(1, 1.5, .25)
#' # the bias of Euler steps: halving the step halves it
#' for (steps in c(50, 100, 200)) {
#'   print(unlist(guided_moments(gaussian, sampler = sampler_euler(steps), horizon = 3,
#'                               start = "exact")))
#' }
#' @export
guided_moments <- function(mixture, ...) {
  d <- as_diffusion(mixture, ..., without = c("guidance", "score_error"))
  like <- d$mixture
  if (mixture_size(like) > 1) {
    abort_input("mixture", "a single Gaussian", paste("a mixture of", mixture_size(like)))
  }
  sampler <- d$sampler
  schedule <- d$schedule
  times <- d$times
  head <- process_lines(d)
  process <- process_diffusion(d)
  mixture <- process$mixture
  start <- start_gaussian(process$start, diffuse(mixture, times[1], schedule),
                          if (schedule$vp) 1 else schedule$b2(times[1]))
  target <- diffuse(mixture, sampler$end, schedule)
  rotated <- !is.null(mixture$vectors)
  d <- mixture_dim(mixture)
  V <- component_axes(mixture)

  steps <- sampler_program(sampler, times, schedule)
  widths <- unlist(lapply(unlist(steps, recursive = FALSE), function(op) lengths(op$coef)))
  if (any(widths > 1 & (rotated | widths != d))) {
    abort_input("sampler", "one whose coefficients are single numbers",
                paste(max(widths), "of them"))
  }
  program <- compile_program(steps, times, d)
  levels <- program_levels(program, schedule)
  map <- affine_map(program, levels, drop(mixture$values))
  mean <- map$gain * drop(start$means %*% V) + map$shift * drop(mixture$means %*% V)
  start_cov <- crossprod(V, component_cov(start, 1) %*% V)
  cov <- map$gain * t(map$gain * start_cov) + diag(map$variance, d)
  names <- variable_names(mixture)
  output <- moments_from_process(drop(V %*% mean), V %*% cov %*% t(V), like)
  new_moments(stats::setNames(output$mean, names),
              structure(output$cov, dimnames = if (!is.null(names)) list(names, names)),
              kl = gaussian_kl(drop(target$means %*% V), drop(target$values), mean, cov),
              head = head)
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

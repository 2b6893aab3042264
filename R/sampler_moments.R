#' Exact law of a sampler on one Gaussian
#'
#' For a single Gaussian the score is affine, so that the output of every sampler is an affine map
#' of independent normals. Its mean and covariance are computed without simulation: discretisation
#' error, bias of the start, order of convergence.
#'
#' @details Everything is done in the eigenvectors of the covariance, where the coordinates do not
#' mix: each register is `gain * (start) + shift + noise`, and the covariances of the noises of all
#' registers are carried along.
#'
#' @param mixture A [gaussmix()] with one component.
#' @param sampler A [sampler()] whose coefficients are single numbers.
#' @param schedule The forward process, see [schedule].
#' @param horizon The time at which the sampler starts; `NULL` for the schedule's own.
#' @param start `"normal"`: start from noise as one does in practice, `N(0, I)` for
#'   variance-preserving schedules and `N(0, b^2(horizon) I)` for the others. `"exact"`: start from
#'   the law of the diffused Gaussian at the horizon. Or a list with `mean` and `cov`.
#' @return A list with `mean` (length d), `cov` (d x d), and `kl`, the Kullback-Leibler divergence
#'   KL(target || output), where the target is the Gaussian at the last time of the grid; `NA` if
#'   the target is singular, `Inf` if only the output is.
#' @examples
#' gaussian <- gaussmix(1, 1.5, .25)
#' # the bias of Euler steps: halving the step halves it
#' for (steps in c(50, 100, 200)) {
#'   print(unlist(sampler_moments(gaussian, sampler_euler(steps), horizon = 3, start = "exact")))
#' }
#' @export
sampler_moments <- function(mixture, sampler, schedule = schedule_ou(), horizon = NULL,
                            start = c("normal", "exact")) {
  check_mixture(mixture)
  if (mixture_size(mixture) > 1) {
    abort_input("mixture", "a single Gaussian", paste("a mixture of", mixture_size(mixture)))
  }
  check_sampler(sampler)
  check_schedule(schedule)
  times <- sampler_times(sampler, schedule, horizon)
  start <- start_gaussian(start, diffuse(mixture, times[1], schedule),
                          if (schedule$vp) 1 else schedule$b2(times[1]))
  target <- diffuse(mixture, sampler$end, schedule)
  rotated <- !is.null(mixture$vectors)
  d <- mixture_dim(mixture)
  V <- if (rotated) matrix(mixture$vectors, d) else diag(d)

  map <- affine_map(sampler_program(sampler, times, schedule), drop(mixture$means %*% V),
                    drop(mixture$values), rotated, schedule)
  mean <- map$gain * drop(start$means %*% V) + map$shift
  start_cov <- crossprod(V, component_cov(start, 1) %*% V)
  cov <- map$gain * t(map$gain * start_cov) + diag(map$noise, d)
  names <- variable_names(mixture)
  list(mean = stats::setNames(drop(V %*% mean), names),
       cov = structure(V %*% cov %*% t(V), dimnames = if (!is.null(names)) list(names, names)),
       kl = gaussian_kl(drop(target$means %*% V), drop(target$values), mean, cov))
}

# The Gaussian from which the sampler starts, as a mixture with one component.
start_gaussian <- function(start, exact, noise_variance) {
  d <- mixture_dim(exact)
  if (is.list(start)) {
    mean <- check_means(start$mean, 1, "start$mean")
    if (ncol(mean) != d) {
      abort_input("start$mean", paste("a vector of length", d), describe(start$mean))
    }
    return(assemble_gaussmix(1, mean, check_covariances(start$cov, 1, d, "start$cov"), "1"))
  }
  start <- check_choice(start, c("normal", "exact"), "start")
  if (start == "exact") exact else gaussmix(1, t(rep(0, d)), noise_variance)
}

# Runs a program on registers that are affine in the start x and in independent noises, coordinate
# by coordinate: register r = gain[, r] x + shift[, r] + a normal with covariances noise[, r, ].
affine_map <- function(program, mean, values, rotated, schedule) {
  ops <- unlist(program, recursive = FALSE)
  registers <- unique(c("x", vapply(ops, `[[`, "", "to")))
  d <- length(mean)
  zero <- matrix(0, d, length(registers), dimnames = list(NULL, registers))
  gain <- shift <- zero
  gain[, "x"] <- 1
  noise <- array(0, c(dim(zero), length(registers)), list(NULL, registers, registers))

  for (op in ops) {
    # the new value is sum_r weight[, r] r + constant + sqrt(fresh) z
    weight <- zero
    constant <- fresh <- 0
    if (op$op == "eval") {
      a <- schedule$a(op$t)
      precision <- 1 / (a^2 * values + schedule$b2(op$t))
      if (!all(is.finite(precision))) {
        abort_input("sampler", "one that evaluates no score where the Gaussian is singular",
                    paste0("t = ", op$t, " (set `end` above 0)"))
      }
      weight[, op$from] <- -precision
      constant <- precision * a * mean
    } else if (op$op == "noise") {
      fresh <- 1
    } else {
      for (r in names(op$coef)) {
        w <- op$coef[[r]]
        if (length(w) > 1 && (rotated || length(w) != d)) {
          abort_input("sampler", "one whose coefficients are single numbers", describe(w))
        }
        weight[, r] <- w
      }
    }
    gain[, op$to] <- rowSums(weight * gain)
    shift[, op$to] <- rowSums(weight * shift) + constant
    covariance <- rowSums(aperm(c(weight) * noise, c(1, 3, 2)), dims = 2)
    noise[, op$to, ] <- noise[, , op$to] <- covariance
    noise[, op$to, op$to] <- rowSums(weight * covariance) + fresh
  }
  list(gain = gain[, "x"], shift = shift[, "x"], noise = noise[, "x", "x"])
}

# KL of N(m1, cov) from N(m0, diag(values)), which is the first argument of the divergence.
gaussian_kl <- function(m0, values, m1, cov) {
  if (any(values == 0)) return(NA_real_)
  root <- tryCatch(chol(cov), error = function(e) NULL)
  if (is.null(root)) return(Inf)
  inverse <- chol2inv(root)
  gap <- m1 - m0
  (sum(diag(inverse) * values) + sum(gap * (inverse %*% gap)) - length(m0) +
     2 * sum(log(diag(root))) - sum(log(values))) / 2
}

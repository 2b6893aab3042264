# Control variates: the run at strength 0, whose law may be known, reduces the variance of runs of
# the same particles at other strengths.

# The mean of p(class | x) at the end of a run at strength 0, estimated without steps, or NULL if it
# is not known. It is known if the class is one Gaussian: the run then follows the class's score
# alone, and its output is an affine map of normals for any steps. `aim` is that of strength 0.
known_confidence <- function(d, plan, aim) {
  end <- if (!is.null(plan$net)) known_end(d, plan, aim)
  if (is.null(end)) return(NULL)
  output <- gaussmix(1, t(unname(end$mean)), unname(end$cov + t(end$cov)) / 2)
  law_at_end <- diffuse(d$mixture, plan$closing, d$schedule)
  # more draws than particles: a draw is cheap, a particle takes many steps
  n <- min(max(4 * plan$begin$n, 2^14), 2^18)
  mean_of_draws(output, n, class_probability(law_at_end, plan$class), stream(d$key, "control"))
}

# The mean and covariance at the end of a run that follows the score of one Gaussian, or NULL.
known_end <- function(d, plan, aim) {
  if (!is.character(d$start) || !follows_class(plan, aim)) return(NULL)
  part <- keep_components(d$mixture, class_weights(d$mixture, plan$class) > 0)
  # an error means that the steps are no affine map
  end <- if_error(without_faults(guided_moments(part, sampler = d$sampler, schedule = d$schedule,
                                                horizon = d$horizon, start = d$start)),
                  function(e) NULL)
  if (is.null(end) || !all(is.finite(end$cov))) NULL else end
}

# Is the class one Gaussian, and does every evaluation give its score?
follows_class <- function(plan, aim) {
  one_gaussian <- sum(is.finite(aim$models[1, ])) == 1 && is.null(plan$mixture$model)
  untouched <- is.null(plan$error) && is.null(plan$wrong) && is.null(aim$program) &&
    all(aim$levels$push %in% 0)
  one_gaussian && untouched && all(aim$levels$coef == c(1, rep(0, nrow(aim$models) - 1)))
}

# Means over replicates with the column `zero` of `y` (replicates x strengths), whose mean is
# `known`, as a control variate: the error of `zero` times a regression slope is subtracted. Each
# replicate takes the slope of the other replicates, so the subtracted term has mean zero and
# nothing is biased. A strength is controlled if this halves its variance. `of`: the numbers of
# particles.
controlled <- function(y, of, zero, known) {
  control <- y[, zero]
  slope <- vapply(seq_along(control), function(r) {
    off <- control[-r] - mean(control[-r])
    if (sum(off^2) == 0) return(rep(0, ncol(y)))
    drop(off %*% y[-r, , drop = FALSE]) / sum(off^2)
  }, double(ncol(y)))
  slope <- t(matrix(slope, ncol(y)))
  slope[, zero] <- 1
  residual <- y - slope * (control - known$estimate)
  residual[, zero] <- known$estimate
  error <- function(x, slope) sqrt(nets_se(of, t(x))^2 + (slope * known$se)^2)
  slope <- drop(of %*% slope) / sum(of)
  used <- error(residual, slope) <= sqrt(.5) * error(y, 0)
  slope[!used] <- 0
  chosen <- y
  chosen[, used] <- residual[, used]
  gain <- chosen - chosen[, 1]
  list(used = used, estimate = drop(of %*% chosen) / sum(of), se = error(chosen, slope),
       gain = drop(of %*% gain) / sum(of), gain_se = error(gain, slope - slope[1]))
}

# What is known of a run at strength 0, used where it tells of the same particles at other
# strengths.

# The mean of p(class | x) at the end of a run at strength 0: an estimate without steps, or NULL
# where it is not known. `aim` is that of strength 0. Where the class is one Gaussian the run
# follows its score alone, and its output is an affine map of normals, whatever the steps.
known_confidence <- function(d, plan, aim) {
  if (is.null(plan$net) || !is.character(d$start) || !follows_class(plan, aim)) return(NULL)
  part <- keep_components(d$mixture, class_weights(d$mixture, plan$class) > 0)
  # samplers whose steps are no affine map
  end <- if_error(without_faults(guided_moments(part, sampler = d$sampler, schedule = d$schedule,
                                                horizon = d$horizon, start = d$start)),
                  function(e) NULL)
  if (is.null(end) || !all(is.finite(end$cov))) return(NULL)
  output <- gaussmix(1, t(unname(end$mean)), unname(end$cov + t(end$cov)) / 2)
  at <- diffuse(d$mixture, plan$closing, d$schedule)
  # some more than the particles, each of which takes many steps
  n <- min(max(4 * plan$begin$n, 2^14), 2^18)
  mean_of_draws(output, n, class_probability(at, plan$class), stream(d$key, "control"))
}

# Is the score of every evaluation that of the class, which is one Gaussian?
follows_class <- function(plan, aim) {
  one <- sum(is.finite(aim$models[1, ])) == 1 && is.null(plan$mixture$model)
  untouched <- is.null(plan$error) && is.null(plan$wrong) && is.null(aim$program) &&
    all(aim$levels$push %in% 0)
  one && untouched && all(aim$levels$coef == c(1, rep(0, nrow(aim$models) - 1)))
}

# Means over replicates, controlled: `y`, replicates x strengths, less what the column `zero`, whose
# mean is `known`, is off by, times the slope of a regression on it. The slope of each replicate is
# that of the others, so that what is taken away has mean zero: nothing is biased. Only where this
# leaves half of the variance or less; `of`, the numbers of particles.
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

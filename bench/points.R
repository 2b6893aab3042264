# Accuracy per second of evenly spread points (?net) beside independent ones, in one run:
#   Rscript bench/points.R [KEYS]
# For each case and quantity: how many times as long independent particles take to the same standard
# error, which is the ratio of variances times that of the seconds. Means over KEYS keys (8).
suppressPackageStartupMessages(library(mixguide))
keys <- c(as.numeric(commandArgs(TRUE)), 8)[1]

cube <- function(d, cov) {
  means <- outer(0:4, seq_len(d), function(k, j) .6 * sin(1.3 * k + .7 * j + .5 * k * j))
  gaussmix(rep(1, 5), means, cov, class = c("a", "a", "b", "b", "b"))
}
set.seed(1)
cases <- list(
  "iris, d = 4" = list(as_gaussmix(Species ~ ., iris), "versicolor"),
  "A2 in the plane" = list(gaussmix(c(1, 1), rbind(c(1, 0), c(-1, 0)), 1, c("a", "b")), "a"),
  "diagonal, d = 16" = list(cube(16, lapply(1:5, function(k) .1 + .4 * (k * 7 + 1:16) %% 5 / 4)),
                            "a"),
  "full, d = 64" = list(cube(64, lapply(1:5, function(k) {
    A <- matrix(rnorm(64^2), 64)
    .5 * tcrossprod(A) / 64 + diag(.2, 64)
  })), "a")
)
samplers <- list(DDIM = sampler_ddim(50), DDPM = sampler_ddpm(50))

# Mean variances of what is estimated, and the seconds of a run.
measure <- function(case, sampler, points, n) {
  runs <- lapply(seq_len(keys), function(key) {
    time <- system.time({
      run <- guided_summary(case[[1]], n, guidance(case[[2]], 1), sampler, key = c(key, 1),
                            points = points)
    })
    c(seconds = time[["elapsed"]], confidence = run$confidence$se^2,
      entropy = if (is.null(run$entropy)) NA else run$entropy$se^2,
      mean = mean(run$mean_se^2 / run$sd^2), sd = mean(run$sd_se^2 / run$sd^2))
  })
  rowMeans(do.call(cbind, runs))
}

for (name in names(cases)) {
  case <- cases[[name]]
  for (sampler in names(samplers)) {
    for (n in 2^c(11, 14, 17)) {
      if (n > 2^14 && ncol(case[[1]]$means) > 4) next
      of <- suppressWarnings(lapply(c("random", "sobol"), measure, case = case,
                                    sampler = samplers[[sampler]], n = n))
      slower <- of[[2]][["seconds"]] / of[[1]][["seconds"]]
      gain <- signif((of[[1]] / of[[2]])[-1] / slower, 2)
      cat(sprintf("%-17s %s  n = %6.0f  %4.2f times the seconds  gain: %s\n", name, sampler, n,
                  slower, paste(names(gain), gain, collapse = ", ")))
    }
  }
}

# The time to a standard error: Rscript bench/digits.R TABLE.csv [PYTHON [KEYS]]
#
# Compares evenly spread points (?net) with independent particles, also in numpy and torch if a
# Python has them, on two threads in one run. The number of independent particles follows
# from their variance; their time is that per particle of a large run. Evenly spread points run at
# growing sizes until the standard error is reached, the root mean square over KEYS keys (4). Beyond
# the largest run they count as independent.
suppressPackageStartupMessages(library(mixguide))
options(warn = -1)
arguments <- commandArgs(TRUE)
python <- if (length(arguments) > 1 && nzchar(arguments[2])) arguments[2]
keys <- if (length(arguments) > 2) as.integer(arguments[3]) else 4L
mixguide_threads(2)

cube <- function(d, cov) {
  means <- outer(0:4, seq_len(d), function(k, j) .6 * sin(1.3 * k + .7 * j + .5 * k * j))
  gaussmix(rep(1, 5), means, cov, class = c("a", "a", "b", "b", "b"))
}
set.seed(1)
species <- factor(iris$Species, c("versicolor", "setosa", "virginica"))
cases <- list(
  "iris, d = 4" = as_gaussmix(as.data.frame(scale(iris[1:4])), species, standardise = FALSE),
  "A2 in the plane" = gaussmix(c(1, 1), rbind(c(1, 0), c(-1, 0)), 1, c("a", "b")),
  "diagonal, d = 16" = cube(16, lapply(1:5, function(k) .1 + .4 * (k * 7 + 1:16) %% 5 / 4)),
  "full, d = 64" = cube(64, lapply(1:5, function(k) {
    A <- matrix(rnorm(64^2), 64)
    .5 * tcrossprod(A) / 64 + diag(.2, 64)
  }))
)
samplers <- list(DDIM = sampler_ddim(50), DDPM = sampler_ddpm(50))
targets <- c(confidence = 1e-4, entropy = 1e-3, moments = 1e-3)

# Seconds and squared standard errors: of the entropy, or, from runs without a density, of the
# confidence and the worst of mean and covariance in standard deviations.
measure <- function(d, n, points, key, entropy) {
  carried <- if (!entropy) list(log_density = "none")
  call <- c(list(d, n, key = c(key, 1), points = points), carried)
  time <- system.time(run <- do.call(guided_summary, call))[["elapsed"]]
  if (entropy) return(c(seconds = time, entropy = run$entropy$se^2))
  moments <- c(run$mean_se / run$sd, run$cov_se / outer(run$sd, run$sd))
  c(seconds = time, confidence = run$confidence$se^2, moments = max(moments)^2)
}
measures <- function(d, n, points, entropy) {
  keyed <- lapply(seq_len(keys), function(key) measure(d, n, points, key, entropy))
  mean <- Reduce(`+`, keyed) / keys
  list(seconds = mean[["seconds"]], left = mean[-1] / targets[names(mean)[-1]]^2)
}

# Seconds to each target.
independent <- function(d, n, entropy) {
  of <- measures(d, n, "random", entropy)
  list(seconds = of$seconds * of$left, particles = n * of$left)
}
spread <- function(d, most, entropy) {
  before <- NULL
  seconds <- NA
  for (n in 2^(8:most)) {
    of <- measures(d, n, "sobol", entropy)
    # interpolates between this size and the one before, on a scale of logarithms
    part <- if (is.null(before)) 1 else log(before$left) / log(before$left / of$left)
    from <- if (is.null(before)) of$seconds else before$seconds
    seconds <- ifelse(is.na(seconds) & of$left <= 1, from^(1 - part) * of$seconds^part, seconds)
    if (!anyNA(seconds)) break
    before <- of
  }
  ifelse(is.na(seconds), of$seconds * of$left, seconds)
}

# The task for Python, with everything in the variables that are diffused.
write_case <- function(d, n, entropy, file) {
  m <- d$mixture
  steps <- mixguide:::one_score_steps(d$sampler, d$times, d$schedule)
  form <- sub("common ", "", m$form)
  covs <- covariances(m)
  jsonlite::write_json(list(
    n = n, weights = m$weights, means = m$means, form = form, strength = 1, entropy = entropy,
    cov = switch(form, isotropic = covs[1, 1, 1], diagonal = t(apply(covs, 3, diag)),
                 full = aperm(covs, c(3, 1, 2))),
    towards = sum(m$class == d$guidance$class), steps = with(steps, cbind(alpha, beta, sigma, a^2))
  ), file, digits = NA, auto_unbox = TRUE)
}
in_python <- function(d, n, entropy, library) {
  file <- tempfile(fileext = ".json")
  write_case(d, n, entropy, file)
  said <- system(paste("OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2", python, "bench/digits.py", file,
                       library), intern = TRUE)
  stats::setNames(scan(text = said, sep = ",", quiet = TRUE),
                  c("seconds", "confidence", "confidence_se", "entropy", "entropy_se"))
}
# The results agree, or there are none.
check_peer <- function(found, run, entropy) {
  off <- function(what) {
    (found[[what]] - run[[what]]$estimate) /
      sqrt(found[[paste0(what, "_se")]]^2 + run[[what]]$se^2)
  }
  z <- c(off("confidence"), if (entropy) off("entropy"))
  if (any(abs(z) > 5)) stop("a peer computes something else: ", toString(z))
}

rows <- list()
for (case in names(cases)) {
  m <- cases[[case]]
  wide <- ncol(m$means) > 16
  for (name in names(samplers)) for (entropy in c(FALSE, if (name == "DDIM" && !wide) TRUE)) {
    d <- diffusion(m, guidance(m$class[1], 1), samplers[[name]], start = "normal")
    alone <- independent(d, if (wide) 2^12 else 2^15, entropy)
    net <- spread(d, if (wide) 12 else 20, entropy)
    peers <- list()
    if (!is.null(python)) {
      run <- guided_summary(d, if (wide) 2^12 else 2^16, key = c(99, 1))
      for (library in c("numpy", "torch")) {
        found <- in_python(d, 20000, entropy, library)
        check_peer(found, run, entropy)
        peers[[library]] <- alone$particles * found[["seconds"]] / net
      }
    }
    # a few particles would do, so there is nothing to compare
    for (what in names(net)[alone$particles >= 100]) {
      row <- data.frame(
        case, sampler = name, quantity = what, "standard error" = targets[[what]],
        "mixguide, s" = net[[what]], independent = alone$seconds[[what]] / net[[what]],
        check.names = FALSE
      )
      for (library in names(peers)) row[[library]] <- peers[[library]][[what]]
      rows <- c(rows, list(row))
      print(row, digits = 3, row.names = FALSE)
    }
  }
}
table <- do.call(rbind, rows)
table[-(1:4)] <- signif(table[-(1:4)], 3)
utils::write.csv(table, arguments[1], row.names = FALSE)

# The cases, and the functions that measure and write: sourced by ours.R, peers.R and report.R.
# peers.py is the same in Python.
#
# S1 to S4: guided ancestral sampling (DDPM), strength 1 towards the first `towards` components.
# S5: the score of a kernel density. D1 to D3: the log-density of the mixtures of S1 to S3. E1: a
# Fokker-Planck equation on n nodes, by the rule of Crank and Nicolson, with other coefficients in
# every step.
cases <- list(
  S1 = list(n = 1e5, steps = 500, K = 3, d = 2, cov = "isotropic", towards = 1),
  S2 = list(n = 1e5, steps = 200, K = 8, d = 16, cov = "diagonal", towards = 2),
  S3 = list(n = 2e4, steps = 200, K = 10, d = 64, cov = "full", towards = 2),
  S4 = list(n = 2e4, steps = 500, K = 3, d = 256, cov = "isotropic", towards = 1),
  S5 = list(n = 1e4, steps = 1, K = 1000, d = 2, cov = "kernel")
)
cases[c("D1", "D2", "D3")] <- lapply(cases[1:3], function(case) {
  case$steps <- 1
  case
})
cases$E1 <- list(n = 2000, steps = 400)

# BENCH_SHRINK divides the numbers of particles (bench/run --quick).
read_case <- function(name) {
  shrink <- as.numeric(Sys.getenv("BENCH_SHRINK", "1"))
  c(cases[[name]][-1], n = cases[[name]]$n / shrink, name = name)
}

means <- function(K, d) {
  outer(0:(K - 1), 0:(d - 1), function(k, j) 2 * sin(1.3 * k + .7 * j + .5 * k * j))
}

# K weights, K x d means, and the covariance: a number, K x d variances, or K matrices.
parameters <- function(case) {
  K <- case$K
  d <- case$d
  if (is.null(K)) return(NULL)
  if (case$cov == "kernel") {
    return(list(weights = rep(1 / K, K), means = means(K, 3)[, 2:3], cov = .05))
  }
  weights <- 1 + .3 * (0:(K - 1)) %% 3
  cov <- switch(
    case$cov,
    isotropic = .25,
    diagonal = outer(0:(K - 1), 0:(d - 1), function(k, j) .1 + .4 * ((k * 7 + j * 3) %% 5) / 4),
    full = lapply(0:(K - 1), function(k) {
      A <- outer(0:(d - 1), 0:(d - 1), function(i, j) {
        sin(1 + k + 3.1 * i + 1.7 * j * j + .3 * i * j * (k + 1))
      })
      .5 * tcrossprod(A) / d + diag(.2, d)
    })
  )
  list(weights = weights / sum(weights), means = means(K, d), cov = cov)
}

# The linear schedule of DDPM, stretched to any number of steps.
betas <- function(steps) {
  pmin((1e-4 + (.02 - 1e-4) * (0:(steps - 1)) / (steps - 1)) * 1000 / steps, .99)
}

# E1: p_t = (theta(t) x p)_x + p_xx/2 from a normal density, on nodes h apart.
diffusion <- function(case) {
  h <- 20 / case$n
  x <- -10 + h * (seq_len(case$n) - 1)
  list(h = h, x = x, dt = 1e-3, D = .5, p = dnorm(x, 3, .5),
       theta = function(step) 1 + step / 2000)
}

# The same points in every language.
points_of <- function(n, d) 2 * sin(outer(seq_len(n), sqrt(seq_len(d) + 1)))

# Seconds of CPU and wall time of one call: the mean over as many calls as fill `least` seconds.
time_of <- function(call, least = .2) {
  gc()
  calls <- 0
  start <- proc.time()
  repeat {
    call()
    calls <- calls + 1
    spent <- proc.time() - start
    if (spent[["elapsed"]] >= least) break
  }
  c(cpu = spent[["user.self"]] + spent[["sys.self"]], wall = spent[["elapsed"]]) / calls
}

# One line of measurements.csv; bench/run adds the round.
columns <- c("case", "who", "blas", "threads", "engine", "vary", "at", "metric", "value", "unit",
             "round")
emit <- function(case, who, metric, value, unit, vary = "", at = "") {
  cat(paste(case$name, who, blas_name(), Sys.getenv("OMP_NUM_THREADS"),
            Sys.getenv("MIXGUIDE_ENGINE"), vary, at, metric, format(value, digits = 14), unit,
            sep = ","), "\n", sep = "")
}

emit_time <- function(case, who, seconds, particle_steps) {
  for (clock in names(seconds)) {
    emit(case, who, clock, seconds[[clock]] / particle_steps * 1e9, "ns")
  }
}

# The numbers that all programs must agree on for a case: moments of particles up to sampling error
# (`se`), or the mean of deterministic values up to rounding.
emit_check <- function(case, who, x) {
  if (!startsWith(case$name, "S") || identical(case$cov, "kernel")) {
    emit(case, who, "value", mean(x), "")
    return(emit(case, who, "value^2", mean(x^2), ""))
  }
  statistics <- list(x1 = x[, 1], x2 = x[, 2], "x1^2" = x[, 1]^2, "x2^2" = x[, 2]^2)
  for (what in names(statistics)) {
    emit(case, who, what, mean(statistics[[what]]), "")
    emit(case, who, paste(what, "se"), stats::sd(statistics[[what]]) / sqrt(nrow(x)), "")
  }
}

blas_name <- function() {
  path <- extSoftVersion()[["BLAS"]]
  if (grepl("openblas", path)) "openblas" else if (grepl("libR?blas", path)) "reference" else path
}

# The cases as a careful user would write them in R today, vectorised over particles:
# Rscript bench/peers.R speed CASE STEPS (the first STEPS steps: all cost the same)
# Rscript bench/peers.R check CASE N (all steps of N particles)
# Densities: by mvnfast, mclust and mvtnorm, whatever STEPS.
source("bench/cases.R")
arguments <- commandArgs(TRUE)
what <- arguments[1]
case <- read_case(arguments[2])
number <- as.numeric(arguments[3])
if (what == "check") case$n <- number
part <- parameters(case)
log_weights <- if (!is.null(part)) log(part$weights)
set.seed(1)

row_max <- function(x) {
  top <- x[, 1]
  for (k in seq_len(ncol(x))[-1]) top <- pmax(top, x[, k])
  top
}

# Coefficients of the components in (1 + w) score of the class - w score of the whole, w = 1.
# `logits` are n x K; the class has the first columns.
guided_weights <- function(logits, towards, w = 1) {
  all <- exp(logits - row_max(logits))
  of_class <- logits[, seq_len(towards), drop = FALSE]
  of_class <- if (towards == 1) matrix(1, nrow(logits), 1) else exp(of_class - row_max(of_class))
  rho <- -w * (all / rowSums(all))
  rho[, seq_len(towards)] <- rho[, seq_len(towards)] + (1 + w) * (of_class / rowSums(of_class))
  rho
}

# The guided score of x (n x d) where a^2 is `a2` and b^2 = 1 - a^2.
scores <- list(
  isotropic = function(x, a2) {
    v <- a2 * part$cov + 1 - a2
    A <- sqrt(a2) * part$means
    logits <- x %*% t(A / v) + rep(log_weights - .5 * rowSums(A^2) / v, each = nrow(x))
    (guided_weights(logits, case$towards) %*% A - x) / v
  },
  diagonal = function(x, a2) {
    P <- 1 / (a2 * part$cov + 1 - a2)
    A <- sqrt(a2) * part$means
    H <- P * A
    constant <- log_weights + .5 * rowSums(log(P)) - .5 * rowSums(H * A)
    logits <- x %*% t(H) - .5 * (x * x) %*% t(P) + rep(constant, each = nrow(x))
    rho <- guided_weights(logits, case$towards)
    rho %*% H - x * (rho %*% P)
  },
  full = function(x, a2) {
    logits <- matrix(0, nrow(x), case$K)
    y <- vector("list", case$K)
    for (k in seq_len(case$K)) {
      values <- a2 * spectra[[k]]$values + 1 - a2
      P <- spectra[[k]]$vectors %*% (t(spectra[[k]]$vectors) / values)
      centred <- x - rep(sqrt(a2) * part$means[k, ], each = nrow(x))
      y[[k]] <- centred %*% P
      logits[, k] <- log_weights[k] - .5 * sum(log(values)) - .5 * rowSums(centred * y[[k]])
    }
    rho <- guided_weights(logits, case$towards)
    s <- 0
    for (k in seq_len(case$K)) s <- s - rho[, k] * y[[k]]
    s
  }
)
if (identical(case$cov, "full")) spectra <- lapply(part$cov, eigen, symmetric = TRUE)

# The first `steps` steps from noise to data.
ancestral <- function(x, steps) {
  score <- scores[[case$cov]]
  beta <- betas(case$steps)
  a2 <- cumprod(1 - beta)
  for (t in case$steps - seq_len(steps) + 1) {
    x <- (x + beta[t] * score(x, a2[t])) / sqrt(1 - beta[t])
    if (t > 1) x <- x + sqrt(beta[t] * (1 - a2[t - 1]) / (1 - a2[t])) * rnorm(length(x))
  }
  x
}

kernel_score <- function(x) {
  m <- part$means
  v <- part$cov
  logits <- x %*% t(m / v) + rep(log_weights - .5 * rowSums(m^2) / v, each = nrow(x))
  r <- exp(logits - row_max(logits))
  (r %*% m / rowSums(r) - x) / v
}

# The log-density of the mixture by each package.
densities <- function(x) {
  d <- case$d
  K <- case$K
  covs <- switch(case$cov,
                 isotropic = rep(list(diag(part$cov, d)), K),
                 diagonal = lapply(seq_len(K), function(k) diag(part$cov[k, ])),
                 full = part$cov)
  sigma <- simplify2array(covs)
  scale <- if (case$cov == "diagonal") exp(rowMeans(log(part$cov)))
  variance <- switch(
    case$cov,
    isotropic = list(modelName = "EII", sigmasq = part$cov, Sigma = covs[[1]]),
    diagonal = list(modelName = "VVI", scale = scale, shape = t(part$cov / scale)),
    full = list(modelName = "VVV", cholsigma = simplify2array(lapply(covs, chol)))
  )
  fit <- list(pro = part$weights, mean = t(part$means),
              variance = c(variance, list(d = d, G = K, sigma = sigma)))
  list(
    "mvnfast::dmixn" = function() mvnfast::dmixn(x, part$means, covs, part$weights, log = TRUE),
    "mclust::dens" = function() {
      mclust::dens(x, modelName = variance$modelName, parameters = fit, logarithm = TRUE)
    },
    "mvtnorm::dmvnorm" = function() {
      p <- 0
      for (k in seq_len(K)) {
        p <- p + part$weights[k] *
          mvtnorm::dmvnorm(x, part$means[k, ], covs[[k]], checkSymmetry = FALSE)
      }
      log(p)
    }
  )
}

# The Fokker-Planck equation by central differences and sparse matrices.
diffuse_sparse <- function(steps) {
  job <- diffusion(case)
  M <- case$n
  h <- job$h
  p <- job$p
  for (step in seq_len(steps)) {
    theta <- job$theta(step)
    up <- job$dt / 2 * (job$D / h^2 + theta * job$x[-1] / (2 * h))
    low <- job$dt / 2 * (job$D / h^2 - theta * job$x[-M] / (2 * h))
    middle <- rep(-job$dt * job$D / h^2, M)
    A <- bandSparse(M, k = -1:1, diagonals = list(-low, 1 - middle, -up))
    right <- p * (1 + middle)
    right[-M] <- right[-M] + up * p[-1]
    right[-1] <- right[-1] + low * p[-M]
    p <- as.vector(solve(A, right))
  }
  p
}

n <- case$n
noise <- function() matrix(rnorm(n * case$d), n)
if (case$name == "E1") {
  suppressPackageStartupMessages(library(Matrix))
  p <- diffuse_sparse(1)
  if (what == "check") emit_check(case, "R", diffuse_sparse(case$steps)) else {
    emit_time(case, "R", time_of(function() diffuse_sparse(number), 0), n * number)
  }
} else if (startsWith(case$name, "D")) {
  suppressPackageStartupMessages(library(mclust))
  packages <- densities(points_of(n, case$d))
  for (who in names(packages)) {
    logp <- packages[[who]]()  # loads the package
    if (what == "check") {
      emit_check(case, who, logp)
    } else {
      emit_time(case, who, time_of(packages[[who]]), n)
    }
  }
} else if (case$cov == "kernel") {
  x <- points_of(n, case$d)
  if (what == "check") {
    emit_check(case, "R", kernel_score(x))
  } else {
    emit_time(case, "R", time_of(function() for (i in seq_len(number)) kernel_score(x), 0),
              n * number)
  }
} else if (what == "check") {
  emit_check(case, "R", ancestral(noise(), case$steps))
} else {
  x <- ancestral(noise(), 1)
  emit_time(case, "R", time_of(function() ancestral(x, number), 0), n * number)
}

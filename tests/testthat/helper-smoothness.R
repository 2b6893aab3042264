# Measured numbers of the smoothness theory that are about whole samplers, from programs
# independent of this package (numpy): errors of the law of the output in total variation.
# tools/validate-smoothness compares all of them, the tests some.

# Samplers as functions of steps, grid and end.
smooth_samplers <- c(
  list(EM = sampler_em, Euler = sampler_euler, ODE = sampler_exponential, DDIM = sampler_ddim,
       Heun = sampler_heun, "DPM-2" = sampler_dpm_2, RK4 = sampler_rk4),
  lapply(c(ANC = "scaled", large = "large", MM = "matched"), function(variance) {
    function(...) sampler_ddpm(..., variance = variance)
  }),
  EI = function(...) sampler_exponential(..., stochastic = TRUE),
  "EI-Heun" = function(...) sampler_exponential(..., order = 2)
)

# Total variation from p_T, T = 3, at numbers of steps that double; orders of total variation and
# KL(target || output) between the last two.
theory_orders <- list(
  "A1 uniform" = list(mixture = "A1", grid = "uniform", end = 0, steps = 50 * 2^(0:4), table = "
    EM      6.6470e-2 3.5122e-2 1.7978e-2 9.0826e-3 4.5634e-3  .993 1.952
    EI      6.8236e-2 3.5757e-2 1.8216e-2 9.1817e-3 4.6079e-3  .995 1.956
    ANC     7.3037e-2 3.8711e-2 1.9840e-2 1.0032e-2 5.0422e-3  .992 1.955
    large   6.1396e-2 3.2499e-2 1.6662e-2 8.4257e-3 4.2354e-3  .992 1.949
    MM      1.9321e-2 6.4315e-3 1.9691e-3 5.6221e-4 1.5191e-4 1.888 3.584
    Euler   4.1002e-2 2.1148e-2 1.0726e-2 5.3996e-3 2.7087e-3  .995 1.970
    ODE     3.6086e-2 1.8527e-2 9.3751e-3 4.7142e-3 2.3635e-3  .996 1.970
    DDIM    5.4157e-2 3.5210e-2 2.2289e-2 1.3381e-2 7.7560e-3  .787 1.644
    Heun    3.9644e-3 9.3662e-4 2.2701e-4 5.5849e-5 1.3849e-5 2.012 4.032
    EI-Heun 4.4534e-3 1.0510e-3 2.5524e-4 6.2893e-5 1.5612e-5 2.010 4.029"),
  "A1 uniform, RK4" = list(mixture = "A1", grid = "uniform", end = 0, steps = 50 * 2^(0:3),
                           table = "
    RK4     5.1377e-5 3.9191e-6 2.6514e-7 1.7170e-8 3.949 7.838"),
  "A1 log-SNR" = list(mixture = "A1", grid = "logsnr", end = .01, steps = 25 * 2^(0:3), table = "
    DDIM    3.2610e-2 1.6329e-2 8.1687e-3 4.0853e-3 1.000 NA
    DPM-2   1.7251e-3 4.2203e-4 1.0437e-4 2.5952e-5 2.008 NA
    ODE     2.9017e-2 1.4954e-2 7.5906e-3 3.8238e-3  .989 NA
    Heun    2.4648e-3 6.0989e-4 1.5167e-4 3.7817e-5 2.004 NA
    EI-Heun 3.3842e-3 8.3442e-4 2.0725e-4 5.1649e-5 2.005 NA"),
  "B2 uniform" = list(mixture = "B2", grid = "uniform", end = 0, steps = 25 * 2^(0:3), table = "
    EI      .1901     .10008    5.0513e-2 2.5263e-2 1.000 1.880
    Euler   .11050    5.7324e-2 2.9097e-2 1.4641e-2  .991 NA
    ODE     9.5513e-2 4.9001e-2 2.4730e-2 1.2405e-2  .995 NA
    Heun    1.7634e-2 3.9604e-3 9.583e-4  2.406e-4  1.994 NA
    EI-Heun 2.0541e-2 4.4278e-3 1.0379e-3 2.533e-4  2.035 NA")
)
# The rows as they are printed, for their digits, and the table as numbers.
theory_orders <- lapply(theory_orders, function(x) {
  x$text <- as.matrix(utils::read.table(text = x$table, row.names = 1, colClasses = "character"))
  x$table <- x$text[, seq_along(x$steps), drop = FALSE]
  storage.mode(x$table) <- "double"
  x
})

# The same by the package: errors and orders of some of the samplers at some numbers of steps.
measured_orders <- function(x, samplers = rownames(x$table), steps = x$steps, ...) {
  makers <- lapply(smooth_samplers[samplers], function(make) {
    function(n) make(n, grid = x$grid, end = x$end)
  })
  convergence_order(named_mixture(x$mixture), makers, steps, horizon = 3, ...)
}

# A1 from g = N(0, I) in 60 uniform steps, by the horizon: total variation.
theory_horizons <- list(
  horizon = c(.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6),
  EI = ".0860 .0262 .0299 .0395 .0488 .0578 .0749 .0907 .1052",
  ODE = ".1535 .0656 .0322 .0225 .0255 .0303 .0398 .0490 .0579",
  Heun = ".1509 .0598 .0231 9.479e-3 5.148e-3 3.846e-3 5.076e-3 7.972e-3 1.174e-2"
)

# A1 from p_T on the exponential-then-constant grid with L = 15.197216, at 16, 33, 69 and 140 steps:
# total variation and, of EI, KL(target || output).
theory_exponential <- list(
  h = c(.4, .2, .1, .05), steps = c(16, 33, 69, 140),
  EI = "4.4062e-2 2.0117e-2 9.6075e-3 4.7155e-3",
  ODE = "5.0843e-2 2.3958e-2 1.1668e-2 5.7648e-3",
  Heun = "8.7962e-3 1.7458e-3 3.9947e-4 9.6110e-5",
  EI_kl = "8.0133e-3 1.67504e-3 3.83218e-4 9.2467e-5"
)

# Its times: steps h min(max(t, 1/(4 L)), 1), a last one of less than half of that merged into the
# one before.
exponential_times <- function(h, L = 15.197216, horizon = 3) {
  t <- horizon
  repeat {
    size <- h * min(max(t[length(t)], 1 / (4 * L)), 1)
    if (t[length(t)] < 1.5 * size) return(c(t, 0))
    t <- c(t, t[length(t)] - size)
  }
}

# DPOM, one-step DPUM and their predictor alone on A1: L = 15.2, T = 3, end 1e-3, from g; h_pred =
# 1/(per_block L), h_corr = 1/(r L): evaluations of the score, total variation and, where it is
# known, KL(target || output).
theory_correctors <- utils::read.table(header = TRUE, colClasses = c(tv = "character",
  kl = "character"), text = "
  sampler   per_block  r scores tv        kl
  predictor         2 NA     96 1.74560e-2 1.25628e-3
  DPOM              2  1    142 3.1797e-2 NA
  DPOM              2  2    188 1.7855e-2 NA
  DPOM              2  4    280 1.0942e-2 NA
  DPOM              2  8    464 7.5577e-3 NA
  DPOM              2 16    832 5.9216e-3 NA
  DPUM              2 NA    142 1.4662e-2 8.3788e-4
  predictor         4 NA    186 9.5667e-3 NA
  DPOM              4  4    370 9.34e-3   NA
  DPOM              4 16    922 4.1717e-3 NA
  DPUM              4 NA    232 9.9869e-3 NA
  predictor         8 NA    367 5.27e-3   NA
  DPOM             16  1     NA 2.8739e-2 NA
  DPOM             16  2     NA 1.4713e-2 NA
  DPOM             16  4     NA 7.6984e-3 NA
  DPOM             16  8     NA 4.1812e-3 NA
  DPOM             16 16     NA 2.4274e-3 NA
  DPOM             16 32     NA 1.5582e-3 NA")

corrector_sampler <- function(row, L = 15.2) {
  h <- 1 / (row$per_block * L)
  switch(row$sampler,
         DPOM = sampler_dpom(L, h, 1 / (row$r * L), horizon = 3, end = 1e-3),
         DPUM = sampler_dpum(L, h, 1 / sqrt(L), horizon = 3, end = 1e-3),
         predictor = sampler_exponential(grid = sampler_dpom(L, h, horizon = 3, end = 1e-3)$grid))
}

printed <- function(text) strsplit(text, " ")[[1]]

# A row of guided_error().
total_variation <- function(error) error$estimate[error$quantity == "total_variation"]
divergence <- function(error) error$estimate[error$quantity == "kl"]

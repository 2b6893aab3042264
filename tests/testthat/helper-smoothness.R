# The tables of smoothness theory about whole samplers: errors of the output's law in total
# variation. tools/validate-smoothness compares all of them, the tests some.

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

# theory/orders.csv: for each mixture and grid the total variation from p_T, T = 3, as a matrix of
# samplers by steps. As text: the orders of the total variation and of the divergence between the
# last two columns.
theory_orders <- local({
  rows <- theory("orders", text = TRUE)
  # RK4 has its own numbers of steps
  title <- paste0(rows$mixture, " ", rows$grid, ifelse(rows$sampler == "RK4", ", RK4", ""))
  lapply(split(rows, factor(title, unique(title))), function(rows) {
    steps <- unique(rows$steps)
    last <- rows[rows$steps == steps[length(steps)], ]
    text <- matrix(rows$total_variation, ncol = length(steps), byrow = TRUE,
                   dimnames = list(last$sampler, NULL))
    list(mixture = rows$mixture[1], grid = rows$grid[1], end = as.numeric(rows$end[1]),
         steps = as.numeric(steps), text = cbind(text, last$order, last$order_kl),
         table = `storage.mode<-`(text, "double"))
  })
})

# The package's values: errors and orders of some of the samplers at some numbers of steps.
measured_orders <- function(x, samplers = rownames(x$table), steps = x$steps, ...) {
  makers <- lapply(smooth_samplers[samplers], function(make) {
    function(n) make(n, grid = x$grid, end = x$end)
  })
  convergence_order(named_mixture(x$mixture), samplers = makers, steps = steps, horizon = 3, ...)
}

# The times of theory/exponential.csv: steps h min(max(t, 1/(4 L)), 1); a last step shorter than
# half of that is merged into the one before.
exponential_times <- function(h, L = 15.197216, horizon = 3) {
  t <- horizon
  repeat {
    size <- h * min(max(t[length(t)], 1 / (4 * L)), 1)
    if (t[length(t)] < 1.5 * size) return(c(t, 0))
    t <- c(t, t[length(t)] - size)
  }
}

# The sampler of a row of theory/correctors.csv.
corrector_sampler <- function(row, L = 15.2) {
  h <- 1 / (row$per_block * L)
  switch(row$sampler,
         DPOM = sampler_dpom(L, h, 1 / (row$r * L), horizon = 3, end = 1e-3),
         DPUM = sampler_dpum(L, h, 1 / sqrt(L), horizon = 3, end = 1e-3),
         predictor = sampler_exponential(grid = sampler_dpom(L, h, horizon = 3, end = 1e-3)$grid))
}

# A row of guided_error().
total_variation <- function(error) error$estimate[error$quantity == "total_variation"]
divergence <- function(error) error$estimate[error$quantity == "kl"]

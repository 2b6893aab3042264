# The tables of guidance theory for named mixtures, and the deviations of a sweep from them. The
# setting is that of Wu et al. (2024): horizon 5, start N(0, I), guided towards the first class.

# Reverse ODE by Runge-Kutta 4 (60 quadratic steps; A2: 90), 1e5 coupled particles.
theory_ode <- by_mixture(theory("ode"))

# Reverse SDE by Euler-Maruyama (200 uniform steps; A2: 250), 1e5 coupled particles.
theory_sde <- by_mixture(theory("sde"))

# Reverse ODE in continuous time by quadrature; 1/q is known to six decimals.
theory_exact <- by_mixture(theory("continuous"))

# Euler-Maruyama in uniform steps, by propagating the density on a grid. Rows are confidence and
# entropy at the strengths of the table.
theory_em <- function(mixture, steps) {
  rows <- theory("em")
  rows <- rows[rows$mixture == mixture & rows$steps == steps, ]
  `colnames<-`(t(rows[c("confidence", "entropy")]), rows$strength)
}

# The sweep of a table. The divergence form gives the entropy of continuous time, as in the tables.
ode_sweep <- function(rows, n = 4000, steps = 60, exact = FALSE) {
  guidance_sweep(named_mixture(rows$mixture[1]), n, "1", rows$strength,
                 sampler_rk4(steps, "quadratic"), horizon = 5, log_density = "divergence",
                 exact = exact)
}

sde_sweep <- function(rows, n = 4000) {
  guidance_sweep(named_mixture(rows$mixture[1]), n, "1", rows$strength,
                 sampler_em(if (rows$mixture[1] == "A2") 250 else 200, "uniform"), horizon = 5)
}

# Deviations of a sweep from its table, strengths x quantities, in combined standard errors: those
# of the sweep, of the table (1e5 particles) and of rounding to five decimals (four for fractions).
coupled_deviation <- function(sweep, rows) {
  n <- attr(sweep, "setup")$n
  sapply(names(rows)[names(rows) %in% c("confidence", "gain", "entropy", "fraction_down",
                                        "fraction_down_previous")], function(what) {
    share <- startsWith(what, "fraction")
    variance <- if (share) {
      rows[[what]] * (1 - rows[[what]]) * (1 / n + 1e-5)
    } else {
      sweep[[paste0(what, "_se")]]^2 + rows[[paste0(what, "_se")]]^2
    }
    (sweep[[what]] - rows[[what]]) / sqrt(variance + (if (share) 1e-8 else 1e-10) / 12)
  })
}

# Absolute deviations of a sweep by quadrature from its table.
exact_deviation <- function(sweep, rows) {
  sapply(names(rows)[-(1:2)], function(what) sweep[[what]] - rows[[what]])
}

# Confidence and entropy of a one-dimensional sampler with steps x' = f(x) + sd z, computed from its
# operations and score() by carrying the density on the equispaced grid x.
grid_law <- function(mixture, sampler, strength, x, horizon = 5) {
  times <- time_grid(sampler$steps, horizon, sampler$grid)
  size <- x[2] - x[1]
  density <- dnorm(x)
  for (k in seq_len(sampler$steps)) {
    ops <- sampler$step(k, times, schedule_ou())
    at <- Filter(function(op) op$op == "eval", ops)[[1]]$t
    coef <- ops[[length(ops)]]$coef
    s <- drop(score(mixture, x, at, guidance = guidance("1", strength)))
    to <- coef[["x"]] * x + coef[["s"]] * s
    density <- drop(dnorm(outer(x, to, "-"), sd = coef[["z"]]) %*% density) * size
  }
  c(confidence = sum(density * posterior(mixture, x)[, "1"]) * size,
    entropy = -sum(density * log(density)) * size)
}

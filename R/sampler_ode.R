#' Runge-Kutta and Euler-Maruyama samplers
#'
#' General-purpose solvers of the two reverse equations of [sampler()]. Of the ordinary one: Euler
#' (order 1, one score per step), Heun's second-order method (two scores), and the classical
#' fourth-order method (four scores). Of the stochastic one: Euler-Maruyama.
#'
#' @details Euler's step is `x' = x + h (-f x + G^2 s/2)`, `x + h (x + s)` for the
#'   Ornstein-Uhlenbeck process. The Heun and Runge-Kutta steps take the score at the end of the
#'   step: for a mixture with point masses the grid must stop at `end > 0`. The Euler-Maruyama step
#'   is `x' = x + h (-f x + G^2 s) + G sqrt(h) z`, `x + h (x + 2 s) + sqrt(2 h) z`, with everything
#'   evaluated at the start of the step.
#'
#' @inheritParams sampler
#' @return A [sampler()].
#' @source Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021),
#'   \doi{10.48550/arXiv.2011.13456}, equations 13 (the ODE) and 6 (the SDE). Heun: Karras, Aittala,
#'   Aila and Laine (2022), \doi{10.48550/arXiv.2206.00364}, algorithm 1, without their change of
#'   variables.
#' @family samplers
#' @examples
#' sampler_heun(steps = 40, grid = "quadratic")
#' sampler_rk4(steps = 10)$step(1, time_grid(10, 5), schedule_ou())
#' sampler_em(steps = 500)
#' @name sampler_ode
NULL

#' @rdname sampler_ode
#' @export
sampler_euler <- function(steps = 200, grid = "quadratic", end = 0) {
  sampler("euler", runge_kutta(butcher$euler), steps, grid, end, label = "Euler (ODE)",
          vectorised = TRUE)
}

#' @rdname sampler_ode
#' @export
sampler_heun <- function(steps = 200, grid = "quadratic", end = 0) {
  sampler("heun", runge_kutta(butcher$heun), steps, grid, end, label = "Heun (ODE)",
          vectorised = TRUE)
}

#' @rdname sampler_ode
#' @export
sampler_rk4 <- function(steps = 200, grid = "quadratic", end = 0) {
  sampler("rk4", runge_kutta(butcher$rk4), steps, grid, end, label = "Runge-Kutta 4 (ODE)",
          vectorised = TRUE)
}

# Butcher tableaux of explicit methods: stage i has velocity v_i at x + h sum_j A[i, j] v_j and time
# t - c_i h, and the step is x + h sum_i b_i v_i.
butcher <- list(
  euler = list(A = matrix(0), b = 1, c = 0),
  heun = list(A = rbind(0, c(1, 0)), b = c(1, 1) / 2, c = c(0, 1)),
  rk4 = list(A = rbind(0, c(1, 0, 0, 0) / 2, c(0, 1, 0, 0) / 2, c(0, 0, 1, 0)),
             b = c(1, 2, 2, 1) / 6, c = c(0, 1, 1, 2) / 2)
)

runge_kutta <- function(tableau) {
  velocity <- paste0("v", seq_along(tableau$b))
  function(k, times, schedule) {
    need_score(k, times, schedule, "a Runge-Kutta step")
    h <- times[k] - times[k + 1]
    from_x <- function(to, weights) {
      used <- weights != 0
      steps <- lapply(weights[used], function(weight) h * weight)
      op_linear(to, c(list(x = 1), stats::setNames(steps, velocity[used])))
    }
    stage <- function(i) {
      t <- times[k] - tableau$c[i] * h
      from <- if (i == 1) "x" else "y"
      c(if (i > 1) list(from_x("y", tableau$A[i, ])),
        list(op_eval(velocity[i], from = from, t = t),
             op_linear(velocity[i],
                       stats::setNames(reverse_drift(schedule, t), c(from, velocity[i])))))
    }
    c(unlist(lapply(seq_along(velocity), stage), recursive = FALSE), list(from_x("x", tableau$b)))
  }
}

#' @rdname sampler_ode
#' @export
sampler_em <- function(steps = 200, grid = "quadratic", end = 0) {
  step <- function(k, times, schedule) {
    t <- times[k]
    need_score(k, times, schedule, "Euler-Maruyama")
    h <- t - times[k + 1]
    drift <- reverse_drift(schedule, t, stochastic = TRUE)
    list(op_eval("s", from = "x", t = t),
         op_noise("z"),
         op_linear("x", list(x = 1 + h * drift$x, s = h * drift$s,
                             z = sqrt(h * schedule$diffusion2(t)))))
  }
  sampler("em", step, steps, grid, end, stochastic = TRUE, label = "Euler-Maruyama (SDE)",
          vectorised = TRUE)
}

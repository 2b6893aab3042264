#' @rdname sampler_ddim
#' @export
sampler_ddpm <- function(steps = 200, grid = "quadratic", end = 0,
                         variance = c("posterior", "large", "scaled", "matched", "accelerated")) {
  variance <- check_choice(variance, eval(formals()$variance), "variance")
  step <- function(k, times, schedule) {
    const <- step_constants(k, times, schedule)
    if (!variance %in% c("posterior", "large")) {
      need_score(k, times, schedule, paste0('DDPM (variance = "', variance, '")'))
    }
    v <- const$beta *
      switch(variance, posterior = const$b2_next / const$b2, large = 1, const$ratio^2)
    coef <- list(x = const$ratio, s = const$ratio * const$beta, z = sqrt(v))
    bend <- const$beta / if (variance == "accelerated") 2 else 1
    if (any(const$late)) {
      # (a'/a)^2 beta (I + beta Ds) = (b'^2 beta/b^2) (I + a' (a'/a) (beta/b'^2) Dx0hat)
      coef$x <- ifelse(const$late, const$b2_next / const$b2 * const$back, coef$x)
      coef$s <- ifelse(const$late, const$a_next * const$beta / const$b2, coef$s)
      if (variance == "matched") {
        still <- const$late & const$b2_next == 0
        if (any(still)) {
          abort_input("sampler", paste("of more steps for matched noise: a last step to t = 0 from",
                                       "where a > .001"), paste("a =", const$a[still][1]))
        }
        coef$z <- ifelse(const$late, sqrt(const$beta / const$b2 * const$b2_next), coef$z)
        bend <- ifelse(const$late, const$a_next * const$beta * const$ratio / const$b2_next, bend)
      }
      if (variance == "accelerated") {
        # I + (beta/2) Ds = (1 - beta/(2 b^2)) I + (a beta/(2 b^2)) Dx0hat
        half <- const$beta / (2 * const$b2)
        coef$z <- ifelse(const$late, coef$z * (1 - half), coef$z)
        bend <- ifelse(const$late, const$a * half / (1 - half), bend)
      }
    }
    c(list(op_eval("s", from = "x", t = times[k], want = const$want), op_noise("z")),
      if (variance == "matched") list(op_root("z", from = "x", t = times[k], coef = bend)),
      if (variance == "accelerated") list(op_product("z", from = "x", t = times[k], coef = bend)),
      list(op_linear("x", coef)))
  }
  sampler("ddpm", step, steps, grid, end, stochastic = TRUE, label = "DDPM",
          params = list(variance = variance), vectorised = TRUE)
}

#' @rdname sampler_ddim
#' @export
sampler_ddpm <- function(steps = 200, grid = "quadratic", end = 0,
                         variance = c("posterior", "large", "scaled", "matched", "accelerated")) {
  variance <- check_choice(variance, eval(formals()$variance), "variance")
  step <- function(k, times, schedule) {
    one <- step_constants(k, times, schedule)
    if (!variance %in% c("posterior", "large")) {
      need_score(k, times, schedule, paste0('DDPM (variance = "', variance, '")'))
    }
    v <- one$beta * switch(variance, posterior = one$b2_next / one$b2, large = 1, one$ratio^2)
    coef <- list(x = one$ratio, s = one$ratio * one$beta, z = sqrt(v))
    bend <- one$beta / if (variance == "accelerated") 2 else 1
    if (any(one$late)) {
      # (a'/a)^2 beta (I + beta Ds) = (b'^2 beta/b^2) (I + a' (a'/a) (beta/b'^2) Dx0hat)
      coef$x <- ifelse(one$late, one$b2_next / one$b2 * one$back, coef$x)
      coef$s <- ifelse(one$late, one$a_next * one$beta / one$b2, coef$s)
      if (variance == "matched") {
        still <- one$late & one$b2_next == 0
        if (any(still)) {
          abort_input("sampler", paste("of more steps for matched noise: a last step to t = 0 from",
                                       "where a > .001"), paste("a =", one$a[still][1]))
        }
        coef$z <- ifelse(one$late, sqrt(one$beta / one$b2 * one$b2_next), coef$z)
        bend <- ifelse(one$late, one$a_next * one$beta * one$ratio / one$b2_next, bend)
      }
      if (variance == "accelerated") {
        # I + (beta/2) Ds = (1 - beta/(2 b^2)) I + (a beta/(2 b^2)) Dx0hat
        half <- one$beta / (2 * one$b2)
        coef$z <- ifelse(one$late, coef$z * (1 - half), coef$z)
        bend <- ifelse(one$late, one$a * half / (1 - half), bend)
      }
    }
    c(list(op_eval("s", from = "x", t = times[k], want = one$want), op_noise("z")),
      if (variance == "matched") list(op_root("z", from = "x", t = times[k], coef = bend)),
      if (variance == "accelerated") list(op_product("z", from = "x", t = times[k], coef = bend)),
      list(op_linear("x", coef)))
  }
  sampler("ddpm", step, steps, grid, end, stochastic = TRUE, label = "DDPM",
          params = list(variance = variance), vectorised = TRUE)
}

# Two Gaussians in the plane, written out.
means <- rbind(c(-1, .5), c(2, 1))
values <- rbind(c(.3, .8), c(1, .2))
weights <- c(.4, .6)

direct_score <- function(schedule) {
  function(x, t) {
    a <- schedule$a(t)
    part <- lapply(1:2, function(k) {
      v <- a^2 * values[k, ] + schedule$b2(t)
      z <- sweep(x, 2, a * means[k, ])
      g <- -sweep(z, 2, v, "/")
      list(p = weights[k] * exp(rowSums(z * g) / 2) / sqrt(prod(v)), g = g)
    })
    (part[[1]]$p * part[[1]]$g + part[[2]]$p * part[[2]]$g) / (part[[1]]$p + part[[2]]$p)
  }
}

# The program of a sampler against a loop over x <- step(x, t, t', s, z), with the same start and
# noise.
expect_program <- function(sampler, schedule, step, horizon = NULL) {
  times <- sampler_times(sampler, schedule, horizon)
  score <- direct_score(schedule)
  set.seed(1)
  start <- matrix(rnorm(10), 5, 2)
  noise <- replicate(length(times), matrix(rnorm(10), 5, 2), simplify = FALSE)
  x <- start
  for (k in seq_len(length(times) - 1)) x <- step(x, times[k], times[k + 1], score, noise[[k]])
  program <- sampler_program(sampler, times, schedule)
  result <- interpret_program(program, start, score, function(i) noise[[i]])
  expect_equal(result, x, tolerance = 1e-12, info = format(sampler))
  kinds <- vapply(unlist(program, recursive = FALSE), `[[`, "", "op")
  expect_identical("noise" %in% kinds, sampler$stochastic)
}

ou <- schedule_ou()
vp <- schedule_vp()
rate <- function(t) .1 + t * 19.9
ode <- function(x, t, s) rate(t) / 2 * (x + s(x, t))
alpha <- 1 - seq(1e-3, .05, length.out = 50)
ddpm <- schedule_ddpm(alpha)
bar <- function(t) if (t == 0) 1 else prod(alpha[seq_len(t)])

test_that("Euler and Euler-Maruyama are the textbook loops", {
  expect_program(sampler_euler(30), ou, function(x, t, u, s, z) x + (t - u) * (x + s(x, t)))
  expect_program(sampler_em(30), ou, function(x, t, u, s, z) {
    x + (t - u) * (x + 2 * s(x, t)) + sqrt(2 * (t - u)) * z
  })
  expect_program(sampler_em(30, "quadratic", .02), vp, function(x, t, u, s, z) {
    x + (t - u) * (rate(t) / 2 * x + rate(t) * s(x, t)) + sqrt((t - u) * rate(t)) * z
  })
  expect_program(sampler_euler(30), schedule_flow(), function(x, t, u, s, z) {
    # the velocity of the straight line from data to noise, E(z - x0 | x)
    x + (t - u) * ((x + t * s(x, t)) / (1 - t))
  })
})

test_that("Heun and Runge-Kutta 4 are the textbook loops", {
  expect_program(sampler_heun(20), vp, function(x, t, u, s, z) {
    h <- t - u
    v1 <- ode(x, t, s)
    v2 <- ode(x + h * v1, u, s)
    x + h * (v1 + v2) / 2
  })
  expect_program(sampler_rk4(20), vp, function(x, t, u, s, z) {
    h <- t - u
    v1 <- ode(x, t, s)
    v2 <- ode(x + h / 2 * v1, t - h / 2, s)
    v3 <- ode(x + h / 2 * v2, t - h / 2, s)
    v4 <- ode(x + h * v3, u, s)
    x + h * (v1 + 2 * v2 + 2 * v3 + v4) / 6
  })
})

test_that("exponential integrators are the textbook loops", {
  expect_program(sampler_exponential(30), ou, function(x, t, u, s, z) {
    exp(t - u) * x + (exp(t - u) - 1) * s(x, t)
  })
  expect_program(sampler_exponential(30, stochastic = TRUE), ou, function(x, t, u, s, z) {
    h <- t - u
    exp(h) * x + 2 * (exp(h) - 1) * s(x, t) + sqrt(exp(2 * h) - 1) * z
  })
  ve <- schedule_ve(.1, 10)
  expect_program(sampler_exponential(30, stochastic = TRUE), ve, function(x, t, u, s, z) {
    spread <- .01 * (100^(2 * t) - 100^(2 * u))
    x + spread * s(x, t) + sqrt(spread) * z
  })
})

test_that("the exponential integrator of order 2 is ETD2RK", {
  expect_program(sampler_exponential(30, order = 2), ou, function(x, t, u, s, z) {
    h <- t - u
    y <- exp(h) * x + (exp(h) - 1) * s(x, t)
    y + (exp(h) - 1 - h) / h * (s(y, u) - s(x, t))
  })
  # a = 1: the trapezoidal rule in b^2
  expect_program(sampler_exponential(30, order = 2), schedule_ve(.1, 10), function(x, t, u, s, z) {
    spread <- .01 * (100^(2 * t) - 100^(2 * u))
    y <- x + spread / 2 * s(x, t)
    x + spread / 4 * (s(x, t) + s(y, u))
  })
  # the weight of the change, by quadrature, on both sides of the point where its series takes over
  for (h in c(1e-6, .019, .021, 3)) {
    seen <- integrate(function(r) exp(h - r) * r / h, 0, h, rel.tol = 1e-12)$value / expm1(h)
    expect_equal(change_weight(h), seen, tolerance = 1e-11)
  }
})

test_that("DPM-Solver-2 is the midpoint method in log(a/b)", {
  dpm <- function(schedule) {
    lambda <- function(t) log(schedule$a(t)) - log(schedule$b2(t)) / 2
    b <- function(t) sqrt(schedule$b2(t))
    function(x, t, u, s, z) {
      eps <- function(x, t) -b(t) * s(x, t)
      if (u == 0) return(schedule$a(u) / schedule$a(t) * (x - b(t) * eps(x, t)))
      h <- lambda(u) - lambda(t)
      r <- uniroot(function(r) lambda(r) - (lambda(t) + lambda(u)) / 2, c(u, t), tol = 1e-15)$root
      y <- schedule$a(r) / schedule$a(t) * x - b(r) * expm1(h / 2) * eps(x, t)
      schedule$a(u) / schedule$a(t) * x - b(u) * expm1(h) * eps(y, r)
    }
  }
  cosine <- schedule_cosine()
  expect_program(sampler_dpm_2(20, "logsnr", .01), cosine, dpm(cosine))
  expect_program(sampler_dpm_2(20), ou, dpm(ou))
})

test_that("Ho's DDPM, with each variance, is algorithm 2 of the paper", {
  ho <- function(variance) {
    function(x, t, u, s, z) {
      eps <- -sqrt(1 - bar(t)) * s(x, t)
      mean <- (x - (1 - alpha[t]) / sqrt(1 - bar(t)) * eps) / sqrt(alpha[t])
      mean + sqrt(variance(t)) * z
    }
  }
  expect_program(sampler_ddpm(NULL, variance = "large"), ddpm, ho(function(t) 1 - alpha[t]))
  expect_program(sampler_ddpm(NULL, variance = "posterior"), ddpm,
                 ho(function(t) (1 - alpha[t]) * (1 - bar(t - 1)) / (1 - bar(t))))
  expect_program(sampler_ddpm(NULL, variance = "scaled"), ddpm,
                 ho(function(t) (1 - alpha[t]) / alpha[t]))
})

test_that("Song's DDIM is equation 12 of the paper, with and without noise", {
  song <- function(eta) {
    function(x, t, u, s, z) {
      eps <- -sqrt(1 - bar(t)) * s(x, t)
      sigma <- eta * sqrt((1 - bar(u)) / (1 - bar(t))) * sqrt(1 - bar(t) / bar(u))
      sqrt(bar(u)) * (x - sqrt(1 - bar(t)) * eps) / sqrt(bar(t)) +
        sqrt(1 - bar(u) - sigma^2) * eps + sigma * z
    }
  }
  expect_program(sampler_ddim(NULL), ddpm, song(0))
  expect_program(sampler_ddim(10, grid = "uniform"), ddpm, song(0))
  expect_program(sampler_ddim(10, "uniform", eta = .6), ddpm, song(.6))
  expect_program(sampler_ddim(50, "uniform", eta = 1), ddpm, song(1))
})

test_that("DPM-Solver++ 2M is algorithm 2 of the paper", {
  dpmpp <- function(schedule) {
    lambda <- function(t) log(schedule$a(t)) - log(schedule$b2(t)) / 2
    data <- NULL
    h_before <- NULL
    function(x, t, u, s, z) {
      h <- lambda(u) - lambda(t)
      new <- (x + schedule$b2(t) * s(x, t)) / schedule$a(t)
      r <- h_before / h
      first_order <- is.null(data) || !is.finite(h)
      D <- if (first_order) new else (1 + 1 / (2 * r)) * new - 1 / (2 * r) * data
      data <<- new
      h_before <<- h
      sqrt(schedule$b2(u) / schedule$b2(t)) * x - schedule$a(u) * (exp(-h) - 1) * D
    }
  }
  cosine <- schedule_cosine()
  expect_program(sampler_dpmpp_2m(20, "logsnr", .01), cosine, dpmpp(cosine))
  expect_program(sampler_dpmpp_2m(20), ou, dpmpp(ou))
})

test_that("DPM-Solver++ 3M integrates the parabola through what it predicted", {
  parabola <- function(schedule) {
    lambda <- function(t) log(schedule$a(t)) - log(schedule$b2(t)) / 2
    data <- at <- list()
    function(x, t, u, s, z) {
      data <<- c(list((x + schedule$b2(t) * s(x, t)) / schedule$a(t)), data)
      at <<- c(lambda(t), at)
      h <- lambda(u) - lambda(t)
      if (length(data) < 3 || !is.finite(h)) {
        q <- if (length(data) < 2 || !is.finite(h)) 0 else h / (2 * (at[[1]] - at[[2]]))
        D <- (1 + q) * data[[1]] - if (q > 0) q * data[[2]] else 0
        return(sqrt(schedule$b2(u) / schedule$b2(t)) * x - schedule$a(u) * (exp(-h) - 1) * D)
      }
      weight <- vapply(1:3, function(i) {
        lagrange <- function(l) {
          Reduce(`*`, lapply(setdiff(1:3, i), function(j) (l - at[[j]]) / (at[[i]] - at[[j]])))
        }
        integrate(function(l) exp(l - lambda(u)) * lagrange(l), lambda(t), lambda(u),
                  rel.tol = 1e-12)$value
      }, 0)
      sqrt(schedule$b2(u) / schedule$b2(t)) * x +
        schedule$a(u) * Reduce(`+`, Map(`*`, weight, data[1:3]))
    }
  }
  cosine <- schedule_cosine()
  expect_program(sampler_dpmpp_3m(20, "logsnr", .01), cosine, parabola(cosine))
  expect_program(sampler_dpmpp_3m(20), ou, parabola(ou))
  # on iris it leaves a third of what 2M does
  fit <- as_gaussmix(Species ~ ., iris)
  ends <- function(sampler) {
    quiet_sample(fit, 500, sampler = sampler, horizon = 5, key = c(1, 1), log_density = "none")$x
  }
  exact <- ends(sampler_rk4(300, end = .003))
  off <- function(make) {
    sqrt(mean(scale(ends(make(20, "logsnr", .003)) - exact, FALSE, apply(exact, 2, sd))^2))
  }
  expect_lt(off(sampler_dpmpp_3m), off(sampler_dpmpp_2m) / 3)
})

test_that("DDIM with eta = 1 is DDPM with the posterior variance", {
  one <- sampler_program(sampler_ddim(20, eta = 1), sampler_times(sampler_ddim(20), vp), vp)
  two <- sampler_program(sampler_ddpm(20), sampler_times(sampler_ddpm(20), vp), vp)
  for (k in 1:20) expect_equal(one[[k]][[3]]$coef, two[[k]][[3]]$coef, tolerance = 1e-10)
})

test_that("coefficients may differ between coordinates and registers may feed on themselves", {
  step <- function(k, times, schedule) {
    list(op_eval("s", t = times[k]), op_linear("s", c(s = 2)),
         op_linear("x", list(x = c(1, .5), s = .1)))
  }
  expect_program(sampler("new", step, 5), ou, function(x, t, u, s, z) {
    cbind(x[, 1], .5 * x[, 2]) + .2 * s(x, t)
  })
})

test_that("every constructor takes steps, grid and end, then its own, and is shipped", {
  exported <- grep("^sampler_", getNamespaceExports("mixguide"), value = TRUE)
  # made of other samplers, on times that their sizes determine; sampler_limit() is no constructor
  exported <- setdiff(exported, c("sampler_corrected", "sampler_dpom", "sampler_dpum",
                                  "sampler_limit"))
  for (name in exported) {
    make <- get(name, asNamespace("mixguide"))
    expect_identical(formals(make)[1:3], formals(sampler)[c("steps", "grid", "end")])
    made <- make(7, "uniform", .1)
    expect_identical(made[c("steps", "grid", "end")], list(steps = 7, grid = "uniform", end = .1))
    expect_identical(formals(make)$grid, eval(formals(time_grid)$type)[1])
  }
  shipped <- shipped_samplers()
  # samplers with several strengths are kinds of guidance, so no plan may choose them
  expect_setequal(sub("[(].*", "", names(shipped)),
                  setdiff(exported, c("sampler_pcg", "sampler_zigzag")))
  for (call in names(shipped)) {
    named <- sub("^(sampler_[a-z0-9_]+)[(]?", "\\1(7, 'uniform', .1, ", sub("[)]$", "", call))
    named <- eval(parse(text = paste0(sub(", $", "", named), ")")))
    made <- shipped[[call]](7, "uniform", .1)
    expect_identical(made[names(made) != "step"], named[names(named) != "step"])
  }
})

test_that("a sampler finds its times", {
  expect_identical(sampler_times(sampler_ddim(10), ou), time_grid(10, 5))
  short <- sampler_heun(10, "uniform", .1)
  expect_identical(sampler_times(short, ou, 3), time_grid(10, 3, "uniform", .1))
  expect_identical(sampler_times(sampler_ddpm(NULL), ddpm), as.double(50:0))
  expect_identical(sampler_times(sampler_ddpm(NULL, end = 1), ddpm, 20), as.double(20:1))
  given <- sampler_heun(grid = c(2, 1, .5))
  expect_identical(sampler_times(given, ou), c(2, 1, .5))
  expect_identical(sampler_times(given, ou, 2), c(2, 1, .5))
  expect_identical(c(given$steps, given$end), c(2, .5))
})

test_that("samplers say whether they are stochastic and whether divergence gives the density", {
  flags <- function(s) c(s$stochastic, s$divergence)
  for (s in list(sampler_euler(), sampler_heun(), sampler_rk4(), sampler_exponential(),
                 sampler_ddim())) {
    expect_identical(flags(s), c(FALSE, TRUE), info = s$name)
  }
  for (s in list(sampler_dpmpp_2m(), sampler_dpm_2(), sampler_exponential(order = 2))) {
    expect_identical(flags(s), c(FALSE, FALSE), info = s$name)
  }
  for (s in list(sampler_em(), sampler_ddpm(), sampler_ddim(eta = .1),
                 sampler_exponential(stochastic = TRUE))) {
    expect_identical(flags(s), c(TRUE, FALSE), info = s$name)
  }
})

test_that("samplers and operations print themselves", {
  expect_output(print(sampler_ddim(50)),
                "DDIM (eta = 0), 50 steps, quadratic grid, deterministic", fixed = TRUE)
  expect_output(print(sampler_ddpm(NULL)), "the schedule's steps")
  expect_match(format(sampler_heun(9, "logsnr", .01)), "9 steps, logsnr grid to t = 0.01")
  expect_match(format(sampler_heun(grid = c(1, 0))), "1 step, given grid")
  expect_identical(format(op_eval("s", t = .5)), "s <- score(x, t = 0.5)")
  expect_identical(format(op_noise("z")), "z <- noise")
  expect_output(print(op_linear("x", c(x = 1, s = -.25))), "x <- 1 x - 0.25 s", fixed = TRUE)
})

test_that("bad input to samplers names the argument", {
  bad <- function(code, arg) {
    error <- expect_error(code, class = "mixguide_error")
    expect_match(conditionMessage(error), paste0("^`", arg, "`"))
  }
  makers <- list(sampler_euler, sampler_heun, sampler_rk4, sampler_em, sampler_exponential,
                 sampler_ddim, sampler_ddpm, sampler_dpmpp_2m, sampler_dpm_2)
  for (make in makers) {
    bad(make(0), "steps")
    bad(make(1.5), "steps")
    bad(make(-3), "steps")
    bad(make(NaN), "steps")
    bad(make("many"), "steps")
    bad(make(10, grid = "polynomial"), "grid")
    bad(make(10, grid = c(1, 2)), "grid")
    bad(make(10, grid = 1), "grid")
    bad(make(10, end = -1), "end")
    bad(make(10, end = Inf), "end")
    for (horizon in list(Inf, NaN, 0, -1, "5", c(1, 2))) {
      bad(sampler_times(make(10), ou, horizon), "horizon")
    }
    bad(sampler_times(make(10, grid = "logsnr"), ou), "end")
    bad(sampler_times(make(10, end = 7), ou), "end")
    bad(sampler_times(make(NULL), ou), "steps")
    bad(sampler_times(make(grid = c(2, 1)), ou, 3), "horizon")
    bad(sampler_times(make(grid = c(2, 1)), vp), "horizon")
  }
  bad(sampler_ddim(eta = 1.5), "eta")
  bad(sampler_ddim(eta = NA), "eta")
  bad(sampler_ddpm(variance = "small"), "variance")
  bad(sampler_exponential(stochastic = NA), "stochastic")
  bad(sampler_exponential(order = 3), "order")
  bad(sampler_exponential(order = 0), "order")
  bad(sampler_exponential(stochastic = TRUE, order = 2), "order")
  step <- function(k, times, schedule) list(op_linear("x", c(x = 1)))
  bad(sampler("", step), "name")
  bad(sampler("a", 1), "step")
  bad(sampler("a", step, stochastic = "no"), "stochastic")
  bad(sampler("a", step, label = 1), "label")
  bad(op_eval(1, "x", 0), "to")
  bad(op_eval("s", NA, 0), "from")
  bad(op_eval("s", "x", -1), "t")
  bad(op_eval("s", "x", NaN), "t")
  bad(op_noise(character()), "to")
  bad(op_linear("x", c(1, 2)), "coef")
  bad(op_linear("x", c(x = 1, x = 2)), "coef")
  bad(op_linear("x", c(x = NaN)), "coef")
  bad(op_linear("x", list(x = c(1, Inf))), "coef")
  bad(op_linear("x", list(x = "1")), "coef")
  bad(op_linear("x", double()), "coef")
})

test_that("a badly written step is reported", {
  run <- function(ops) {
    sampler_program(sampler("new", function(k, times, schedule) ops, 3), c(3, 2, 1, 0), ou)
  }
  bad <- function(ops, what) {
    error <- expect_error(run(ops), class = "mixguide_error")
    expect_match(conditionMessage(error), what)
  }
  bad(NULL, "NULL at step 1")
  bad(list(), "`step`")
  bad(list(1), "`step`")
  bad(list(op_noise("z")), "the last one writing x")
  bad(list(op_linear("x", c(x = 1, s = 1))), "s in `x <- 1 x \\+ 1 s` at step 1")
  bad(list(op_eval("s", "y", 1), op_linear("x", c(x = 1))), "y in")
  expect_error(check_sampler("ddim"), "`sampler`", class = "mixguide_error")
})

test_that("whether a sampler draws noise is read off its operations", {
  still <- function(k, times, schedule) {
    list(op_eval("s", t = times[k]), op_linear("x", c(x = 1, s = .01)))
  }
  noisy <- function(k, times, schedule) {
    # in some steps only
    c(if (k == 4) list(op_noise("z")), still(k, times, schedule),
      if (k == 4) list(op_linear("x", c(x = 1, z = .5))))
  }
  expect_false(sampler("own", still)$stochastic)
  expect_true(sampler("own", noisy)$stochastic)
  expect_true(sampler("own", noisy, grid = c(9, 7, 5, 3, 1))$stochastic)
  expect_false(sampler("own", noisy, grid = c(9, 7, 5))$stochastic)
  expect_false(sampler("own", still, steps = NULL)$stochastic)
  expect_false(sampler("own", still, end = 20)$stochastic)
  # if the answer is unknown, the method counts as stochastic
  expect_true(sampler("own", function(k, times, schedule) schedule$none(1))$stochastic)

  m <- gaussmix(c(.5, .5), c(-1, 1), 1)
  expect_null(guided_sample(m, 10, sampler = sampler("own", noisy))$log_density)
  wrong <- sampler("own", noisy, stochastic = FALSE)
  expect_error(guided_sample(m, 10, sampler = wrong), "`stochastic` must be TRUE",
               class = "mixguide_error_input")
  expect_error(guided_law(m, sampler = wrong), "`stochastic` must be TRUE",
               class = "mixguide_error_input")
})

test_that("every sampler says of itself what its operations tell", {
  samplers <- list(sampler_ddim(4), sampler_ddim(4, eta = .5), sampler_ddpm(4),
                   sampler_ddpm(4, variance = "matched"),
                   sampler_ddpm(4, variance = "accelerated"), sampler_em(4), sampler_euler(4),
                   sampler_heun(4),
                   sampler_rk4(4), sampler_dpm_2(4), sampler_dpmpp_2m(4), sampler_dpmpp_3m(4),
                   sampler_exponential(4, stochastic = TRUE), sampler_exponential(4),
                   sampler_corrected(sampler_ddim(4), corrector_langevin(.1)))
  for (s in samplers) {
    asked <- step_draws(s)
    expect_identical(s$stochastic, asked, label = s$label)
  }
})

# ---- Starts at which the data are forgotten, or nearly

# the zero terminal signal-to-noise ratio of diffusers: sqrt(alpha-bar), shifted and stretched
zero_snr <- function(steps = 30, last = 0) {
  root <- sqrt(cumprod(1 - seq(.003, .3, length.out = steps)))
  bar <- ((root - root[steps]) * root[1] / (root[1] - root[steps]))^2
  alpha <- c(bar[1], bar[-1] / bar[-steps])
  schedule_ddpm(replace(alpha, steps, if (last > 0) last / bar[steps - 1] else 0))
}
from_denoised <- list(sampler_ddim(NULL), sampler_ddim(NULL, eta = .5), sampler_dpm_2(NULL),
                      sampler_ddpm(NULL), sampler_ddpm(NULL, variance = "large"),
                      sampler_dpmpp_2m(NULL), sampler_dpmpp_3m(NULL))

test_that("samplers that use the denoised point start where nothing is left of the data", {
  m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(2, 1)), list(c(.25, .5), c(.5, .3)), c("a", "b"))
  one <- gaussmix(1, 1.5, .25)
  schedule <- zero_snr()
  expect_identical(schedule$a(c(30, 29.5)), c(0, 0))
  expect_identical(schedule$b2(30), 1)
  for (sampler in from_denoised) {
    exact <- guided_moments(one, sampler = sampler, schedule = schedule)
    n <- 4000
    run <- guided_sample(one, n, NULL, sampler, schedule, key = c(3, 4))
    expect_lt(abs(mean(run$x) - exact$mean), 4.5 * sqrt(exact$cov / n))
    expect_lt(abs(var(run$x) / exact$cov - 1), 4.5 * sqrt(2 / n))
    if (!sampler$stochastic) {
      sd <- sqrt(drop(exact$cov))
      expect_equal(run$log_density, dnorm(drop(run$x), exact$mean, sd, log = TRUE),
                   tolerance = 1e-9)
    }
    # as near to pure noise as one likes the result is the same, except where DPM-Solver++ uses
    # lengths of steps
    run <- guided_sample(m, 40, guidance("a", 2), sampler, schedule, key = c(3, 4))
    almost <- guided_sample(m, 40, guidance("a", 2), sampler, zero_snr(last = 1e-100),
                            key = c(3, 4))
    same <- if (startsWith(sampler$name, "dpmpp")) 1e-2 else 1e-12
    expect_equal(almost$x, run$x, tolerance = same)
    expect_equal(almost$log_density, run$log_density, tolerance = same)
    expect_true(all(is.finite(run$x)))
  }
  # the whole run in one step, and several steps within the schedule's last interval
  run <- guided_sample(m, 9, NULL, sampler_ddim(1), schedule)
  expect_equal(run$x, matrix(mean(m), 9, 2, byrow = TRUE), tolerance = 1e-13)
  expect_true(all(is.finite(guided_sample(m, 9, NULL, sampler_ddpm(90, grid = "uniform"),
                                          schedule)$x)))
  # the flow from pure noise
  flow <- function(first) {
    times <- c(first, time_grid(40, 1, "uniform")[-1])
    guided_sample(m, 50, guidance("a", 1), sampler_ddim(grid = times), schedule_flow(),
                  key = c(5, 6))$x
  }
  expect_equal(flow(1 - 1e-9), flow(1), tolerance = 1e-7)
})

test_that("samplers that cannot start there say so", {
  m <- gaussmix(c(.3, .7), c(-1, 2), .25, c("a", "b"))
  schedule <- zero_snr()
  for (sampler in list(sampler_euler(9), sampler_heun(9), sampler_rk4(9), sampler_em(9),
                       sampler_exponential(9), sampler_ddpm(NULL, variance = "scaled"),
                       sampler_ddpm(NULL, variance = "matched"),
                       sampler_ddpm(NULL, variance = "accelerated"))) {
    expect_error(guided_sample(m, 5, NULL, sampler, schedule), "denoised",
                 class = "mixguide_error_forgotten")
  }
  forgotten <- function(code) expect_error(code, class = "mixguide_error_forgotten")
  ddim <- sampler_ddim(NULL)
  forgotten(guided_sample(m, 5, guidance("a", 2, power = 1), ddim, schedule))
  forgotten(guided_sample(m, 5, NULL, ddim, schedule, score_error = score_error(bias = 1)))
  forgotten(path_kl(m, sampler = sampler_ddpm(NULL), schedule = schedule))
  forgotten(coupled_paths(m, 5, "a", 1, ddim, schedule))
})

test_that("a late step takes the denoised point and is the step that it was", {
  set.seed(42)
  m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(2, 1)), list(c(.25, .5), c(.5, .3)), c("a", "b"))
  flow <- schedule_flow()
  times <- c(1 - 2e-4, .5, .1)
  a <- 2e-4
  b <- 1 - a
  x <- matrix(rnorm(10), 5)
  aim <- guidance("a", 2)
  take <- function(sampler, ...) {
    guided_sample(m, 5, aim, sampler, flow, start = x,
                  noise = function(n, d, m) array(1, c(n, d, m)), ...)
  }
  at <- function(x, t) score(m, x, t, flow, guidance("a", 2))
  ddim <- take(sampler_ddim(grid = times[1:2]))$x
  expect_equal(ddim, (.5 / a) * (x + b^2 * at(x, times[1])) - .5 * b * at(x, times[1]),
               tolerance = 1e-10)
  beta <- b^2 - (a / .5)^2 * .25
  mean <- (.5 / a) * (x + beta * at(x, times[1]))
  expect_equal(take(sampler_ddpm(grid = times[1:2]))$x, mean + sqrt(beta * .25 / b^2),
               tolerance = 1e-10)
  expect_equal(take(sampler_ddpm(variance = "large", grid = times[1:2]))$x, mean + sqrt(beta),
               tolerance = 1e-10)
  # the whole covariance is that of x_.5 given x, computed here with the oracle's Jacobian
  matched <- take(sampler_ddpm(variance = "matched", grid = times[1:2]))$x
  J <- score_jacobian(m, x, times[1], flow, guidance("a", 2))
  root <- by_root(J, beta, matrix(1, 5, 2))
  expect_equal(matched, mean + .5 / a * sqrt(beta) * root, tolerance = 1e-6)
  accelerated <- take(sampler_ddpm(variance = "accelerated", grid = times[1:2]))$x
  for (i in 1:5) {
    root <- (.5 / a) * sqrt(beta) * (diag(2) + beta / 2 * J[i, , ])
    expect_equal(accelerated[i, ], mean[i, ] + drop(root %*% c(1, 1)), tolerance = 1e-6)
  }
  # two scores: with the middle at (a/b)_r = sqrt((a/b)(a'/b'))
  r <- 1 - sqrt(a / b) / (1 + sqrt(a / b))
  y <- (1 - r) / a * (x + b^2 * at(x, times[1])) - r * b * at(x, times[1])
  expect_equal(take(sampler_dpm_2(grid = times[1:2]))$x,
               .5 / a * x - .5 * (b / a - 1) * -r * at(y, r), tolerance = 1e-8)
  # the predicted point of a late step serves as the next one
  D <- (x + b^2 * at(x, times[1])) / a
  x1 <- .5 / b * x + (.5 - a * .5 / b) * D
  h <- log(c(b / a, 9))
  D1 <- (x1 + .25 * at(x1, .5)) / .5
  q <- h[2] / (2 * h[1])
  expect_equal(take(sampler_dpmpp_2m(grid = times))$x,
               .2 * x1 + (.9 - .5 * .2) * ((1 + q) * D1 - q * D), tolerance = 1e-9)
  # a step that is not late evaluates the score as usual
  expect_identical(sampler_ddim(10)$step(1, time_grid(10, 5), schedule_ou())[[1]],
                   op_eval("s", from = "x", t = 5))
})

test_that("a step by the velocity is one of Euler's method", {
  flow <- sampler("flow", function(k, times, schedule) {
    list(op_eval("v", t = times[k], want = "velocity"),
         op_linear("x", list(x = 1, v = times[k + 1] - times[k])))
  }, 12, end = .01, vectorised = TRUE)
  euler <- sampler_euler(12, end = .01)
  m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(2, 1)), list(c(.25, .5), c(.5, .3)), c("a", "b"))
  for (schedule in all_schedules()) {
    for (guide in list(guidance("a", 2), guidance("a", 2, rule = "apg"))) {
      runs <- lapply(list(flow, euler), function(s) {
        quiet_sample(m, 20, guide, s, schedule, key = c(1, 2))
      })
      expect_equal(runs[[1]]$x, runs[[2]]$x, tolerance = 1e-10, info = schedule$label)
      expect_equal(runs[[1]]$log_density, runs[[2]]$log_density, tolerance = 1e-9)
    }
  }
  expect_equal(guided_law(m, "a", flow)$x, guided_law(m, "a", euler)$x, tolerance = 1e-10)
  expect_identical(format(op_eval("v", t = .5, want = "velocity")), "v <- velocity(x, t = 0.5)")
  expect_error(op_eval("v", t = 1:2, want = c("velocity", "score")), "`want`",
               class = "mixguide_error")
})

test_that("op_eval() gives what is wanted", {
  expect_identical(format(op_eval("d", t = .5, want = "denoised")), "d <- denoised(x, t = 0.5)")
  expect_error(op_eval("d", t = 1, want = "data"), "`want`", class = "mixguide_error")
  # three ways to one DDIM sampler: its law, its moments, and the same under a wrong score
  step <- function(want) function(k, times, schedule) {
    one <- step_constants(k, times, schedule)
    b <- sqrt(one$b2)
    b_next <- sqrt(one$b2_next)
    list(op_eval("s", t = times[k], want = want),
         op_linear("x", switch(want,
           score = list(x = one$ratio, s = one$ratio * one$b2 - b_next * b),
           denoised = list(x = b_next / b, s = one$a_next - one$a * b_next / b),
           noise = list(x = one$ratio, s = b_next - one$ratio * b))))
  }
  all <- lapply(names(want_code), function(want) {
    sampler(want, step(want), 12, end = .01, divergence = FALSE, vectorised = TRUE)
  })
  m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(2, 1)), list(c(.25, .5), c(.5, .3)), c("a", "b"))
  reduced <- gaussmix(c(.3, .7), rbind(c(-1, 0, 0), c(2, 1, 1)), .3, c("a", "b"))
  one <- gaussmix(1, t(c(1, 2)), diag(c(.25, .5)))
  for (error in list(NULL, score_error(scale = 1.2), score_error(bias = .1))) {
    for (mixture in list(m, reduced)) {
      runs <- lapply(all, function(s) {
        guided_sample(mixture, 20, guidance("a", 2), s, key = c(1, 2), score_error = error)
      })
      for (run in runs[-1]) {
        expect_equal(run$x, runs[[1]]$x, tolerance = 1e-11)
        expect_equal(run$log_density, runs[[1]]$log_density, tolerance = 1e-10)
      }
    }
  }
  moments <- lapply(all, function(s) guided_moments(one, sampler = s))
  for (part in c("mean", "cov")) {
    expect_equal(moments[[2]][[part]], moments[[1]][[part]], tolerance = 1e-10)
    expect_equal(moments[[3]][[part]], moments[[1]][[part]], tolerance = 1e-10)
  }
  line <- gaussmix(c(.3, .7), c(-1, 2), c(.25, .5), c("a", "b"))
  laws <- lapply(all, function(s) guided_law(line, guidance("a", 1), s))
  expect_equal(entropy(laws[[2]])$estimate, entropy(laws[[1]])$estimate, tolerance = 1e-9)
  # rewritten with scores
  ops <- score_form(all[[2]]$step(3, time_grid(12, 5, end = .01), schedule_ou()), schedule_ou())
  expect_identical(vapply(ops, `[[`, "", "op"), c("eval", "linear", "linear"))
})

mixture <- gaussmix(c(.3, .3, .4), rbind(c(3, 1), c(1, 3), c(4, 4)), 1, class = c("a", "b", "c"))

# The mixture itself as a function, with each type of output.
as_function <- function(m, type, schedule = schedule_ou()) {
  score_model(function(x, t, class) {
    s <- score(m, x, t, schedule, guidance = class)
    unit <- if (is.null(m$coordinates)) 1 else rep(m$coordinates$scale, each = nrow(x))
    switch(type, score = s, denoised = denoise(m, x, t, schedule, guidance = class),
           noise = -sqrt(schedule$b2(t)) * unit * s)
  }, type)
}

test_that("a model that is the mixture gives the run of the mixture", {
  kinds <- list(NULL, "a", guidance("a", 2), guidance("a", function(t) t, negative = "b"),
                guidance("a", 2, power = .5), guidance("a", 2, rule = "apg"),
                guidance("a", 2, rule = "cfg_zero"),
                guidance("a", 2, rule = "perp_neg", negative = "b"))
  samplers <- list(sampler_ddim(8), sampler_em(8), sampler_dpmpp_2m(8), sampler_heun(4, end = 1e-3))
  # each kind of guidance with each sampler, and each type of output with each of both
  types <- c("score", "denoised", "noise")
  for (m in list(mixture, standardise(mixture))) {
    errors <- lapply(types, function(type) score_error(model = as_function(m, type)))
    for (i in seq_along(kinds)) {
      for (j in seq_along(samplers)) {
        run <- function(...) {
          quiet_sample(m, 40, kinds[[i]], samplers[[j]], key = c(1, 2), log_density = "none",
                       reduce = FALSE, ...)
        }
        plain <- run()
        own <- run(score_error = errors[[(i + j) %% 3 + 1]])
        expect_equal(own$x, plain$x, tolerance = 1e-9)
        expect_equal(own$confidence, plain$confidence, tolerance = 1e-9)
      }
    }
  }
})

test_that("bits depend neither on blocks nor on threads, and errors of the score come on top", {
  error <- score_error(model = as_function(mixture, "score"), scale = .9, bias = c(.1, 0))
  run <- function(n = 3000) {
    guided_sample(mixture, n, guidance("a", 2), sampler_ddim(5), score_error = error,
                  key = c(1, 2))$x
  }
  whole <- run()
  expect_identical(run(700), whole[1:700, ])
  old <- mixguide_threads(1)
  on.exit(mixguide_threads(old))
  expect_identical(run(), whole)
  plain <- guided_sample(mixture, 3000, guidance("a", 2), sampler_ddim(5), key = c(1, 2),
                         score_error = score_error(scale = .9, bias = c(.1, 0)))
  expect_equal(whole, plain$x, tolerance = 1e-10)
})

test_that("points that a model keeps are never written over, and have the names of variables", {
  seen <- sums <- list()
  asks <- function(keeps) score_model(function(x, t, class) {
    if (keeps) seen <<- c(seen, list(x))
    sums <<- c(sums, sum(x))
    x[] <- -x
    x
  }, variables = c("u", "v"))
  run <- function(keeps) {
    sums <<- list()
    guided_sample(asks(keeps), 300, sampler = sampler_ddim(6), key = c(1, 2))$x
  }
  kept <- run(TRUE)
  expect_gt(length(seen), 5)
  expect_identical(lapply(seen, sum), sums)
  expect_identical(unique(lapply(seen, dimnames)), list(list(NULL, c("u", "v"))))
  expect_identical(run(FALSE), kept)
  # what is returned may be what was given
  same <- score_model(function(x, t, class) x, variables = 2)
  copy <- score_model(function(x, t, class) x + 0, variables = 2)
  by <- function(model) {
    suppressWarnings(guided_sample(model, 50, sampler = sampler_ddim(6), key = c(1, 2)))$x
  }
  expect_identical(by(same), by(copy))
})

test_that("laws, sweeps and summaries take it", {
  m <- named_mixture("D3")
  error <- score_error(model = as_function(m, "score"))
  at <- guidance("1", 2)
  expect_equal(confidence(guided_law(m, at, sampler_em(10), score_error = error))$estimate,
               confidence(guided_law(m, at, sampler_em(10)))$estimate, tolerance = 1e-8)
  for (sampler in list(sampler_ddim(10), sampler_ddpm(10))) {
    expect_equal(entropy(guided_law(m, at, sampler, score_error = error))$estimate,
                 entropy(guided_law(m, at, sampler))$estimate, tolerance = 1e-7)
  }
  sweep <- function(...) {
    guidance_sweep(m, guidance = "1", strength = c(0, 1, 3), n = 1024, sampler = sampler_ddim(10),
                   key = c(1, 2), exact = FALSE, points = "random", ...)$confidence
  }
  expect_equal(sweep(score_error = error), sweep(), tolerance = 1e-6)
  total <- function(...) guided_summary(m, 1024, at, sampler_ddim(10), key = c(1, 2), ...)
  expect_equal(confidence(total(score_error = error))$estimate, confidence(total())$estimate,
               tolerance = 1e-6)
})

test_that("a particle that overflows is lost, and the others go on", {
  asked <- list()
  model <- score_model(function(x, t, class) {
    asked <<- c(asked, list(x))
    if (is.null(class)) -x / 2 else -x
  }, variables = 1, class = "a")
  run <- function(start) {
    suppressWarnings(guided_sample(model, guidance = guidance("a", 50), sampler = sampler_euler(20),
                                   start = start, horizon = 3))$x
  }
  expect_warning(guided_sample(model, guidance = guidance("a", 50), sampler = sampler_euler(20),
                               start = rbind(1, 1e300), horizon = 3), "1 of 2 particles overflowed")
  both <- run(rbind(1, 1e300))
  expect_identical(both[, 1], c(run(cbind(1))[, 1], NaN))
  expect_identical(run(rbind(1e300, 1, 1e300))[, 1], c(NaN, both[1], NaN))
  expect_identical(run(cbind(1e300))[, 1], NaN)
  expect_true(all(is.finite(unlist(asked))))
  # in coordinates of its own
  moved <- standardise(score_model(function(x, t, class) -(x - 5) / 4, variables = 2), 5, 2)
  lost <- suppressWarnings(guided_sample(moved, sampler = sampler_euler(5),
                                         start = cbind(c(6, 1e200), 5)))
  expect_identical(is.nan(lost$x[, 1]), c(FALSE, TRUE))
})

test_that("columns with the variables' names are read by them", {
  run <- function(f) {
    quiet_sample(score_model(f, variables = c("u", "v")), 20, sampler = sampler_ddim(4),
                 key = c(1, 2))$x
  }
  plain <- run(function(x, t, class) cbind(-x[, "u"], -2 * x[, "v"]))
  expect_identical(run(function(x, t, class) cbind(v = -2 * x[, "v"], u = -x[, "u"])), plain)
  expect_identical(run(function(x, t, class) cbind(p = -x[, "u"], q = -2 * x[, "v"])), plain)
})

test_that("a function that fails is an error that says where", {
  run <- function(f, ...) {
    guided_sample(mixture, 20, guidance("a", 2), sampler_ddim(3),
                  score_error = score_error(model = score_model(f)), ...)
  }
  expect_error(run(function(x, t, class) stop("no such layer")), "class a: no such layer",
               class = "mixguide_error")
  expect_error(run(function(x, t, class) x[1, ]), "x 2 numbers", class = "mixguide_error")
  expect_error(run(function(x, t, class) x * NA),
               "finite numbers; got NA in row 1 \\(x1 = .*, x2 = .*\\) at t = 5, class a",
               class = "mixguide_error")
  late <- function(x, t, class) {
    if (t < 3 && is.null(class)) x[4, 2] <- Inf
    -x
  }
  expect_error(run(late), "got -Inf in row 4 .* at t = 2.2.*, class NULL", class = "mixguide_error")
  expect_error(run(function(x, t, class) if (is.null(class)) "a" else -x), "class NULL",
               class = "mixguide_error")
  input <- function(code) expect_error(code, class = "mixguide_error_input")
  input(score_model(3))
  input(score_model(function(x) x))
  input(score_model(function(x, t, class) x, "velocity"))
  own <- score_error(model = as_function(mixture, "score"))
  input(guided_sample(mixture, 10, "a", score_error = own, folder = tempfile()))
  input(guided_sample(mixture, 10, guidance("a") + guidance("b"), score_error = own))
  input(guided_sample(mixture, 10, "a", sampler_ddpm(5, variance = "matched"), score_error = own))
  one <- named_mixture("D3")
  own <- score_error(model = as_function(one, "score"))
  input(path_kl(one, score_error = own))
  input(error_budget(one, score_error = own))
  input(plan_sampler(one, score_error = own))
  expect_said(print(own), "returns the score")
})

# The mixture `m` as a model that stands alone.
alone <- function(m, type = "score", schedule = schedule_ou(), classes = unique(m$class)) {
  model <- score_model(as_function(m, type, schedule)$score, type,
                       variables = if (is.null(colnames(m$means))) ncol(m$means) else
                         colnames(m$means), class = classes,
                       classifier = function(x) posterior(m, x))
  at <- m$coordinates
  if (is.null(at)) model else standardise(model, at$center, at$scale)
}

test_that("a model by itself gives the run that it gives beside its mixture", {
  named <- mixture
  colnames(named$means) <- c("u", "v")
  stretched <- standardise(named, c(2, 3), c(1, 4))
  for (m in list(mixture, named, stretched)) {
    for (type in c("score", "denoised")) {
      for (at in list(NULL, guidance("a", 2), c("a", "c"), guidance("b", 1, negative = "a"))) {
        run <- function(of, ...) {
          quiet_sample(of, 300, at, sampler_ddim(8), horizon = 5, key = c(1, 2),
                       log_density = "none", reduce = FALSE, ...)
        }
        own <- run(alone(m, type))
        plain <- run(m)
        expect_equal(own$x, plain$x, tolerance = 1e-9)
        expect_equal(own$confidence, plain$confidence, tolerance = 1e-9)
        expect_equal(run(alone(m, type), score_error = score_error(bias = .1))$x,
                     run(m, score_error = score_error(bias = .1))$x, tolerance = 1e-9)
      }
    }
  }
})

test_that("confidences of a model by itself are its classifier's, in every result", {
  model <- alone(mixture)
  at <- guidance("a", 1)
  d <- diffusion(model, at, sampler_ddim(8), horizon = 5, key = c(1, 2))
  run <- guided_sample(d, 500)
  plain <- guided_sample(mixture, 500, at, sampler_ddim(8), horizon = 5, key = c(1, 2),
                         reduce = FALSE)
  expect_equal(confidence(run, c("a", "b")), confidence(plain, c("a", "b")), tolerance = 1e-9)
  expect_identical(run$mixture, model)
  expect_identical(update(run, n = 20)$x, run$x[1:20, ])
  expect_equal(augment(run)$.uncertainty, augment(plain)$.uncertainty, tolerance = 1e-7)
  total <- guided_summary(d, 500, points = "random")
  expect_equal(confidence(total)$estimate, confidence(run)$estimate, tolerance = 1e-12)
  sweep <- guidance_sweep(d, strength = c(0, 2), n = 400, points = "random")
  other <- guidance_sweep(mixture, 400, at, c(0, 2), sampler_ddim(8), horizon = 5, key = c(1, 2),
                          points = "random", reduce = FALSE)
  expect_equal(sweep$confidence, other$confidence, tolerance = 1e-9)
  expect_equal(sweep$fraction_down, other$fraction_down)
  one <- named_mixture("D3")
  law <- guided_law(alone(one), guidance("1", 2), sampler_em(10), horizon = 5)
  exact <- guided_law(one, guidance("1", 2), sampler_em(10), horizon = 5)
  expect_equal(confidence(law)$estimate, confidence(exact)$estimate, tolerance = 1e-7)
  expect_equal(entropy(law)$estimate, entropy(exact)$estimate, tolerance = 1e-7)
  expect_equal(confidence(law, "2")$estimate, confidence(exact, "2")$estimate, tolerance = 1e-6)
  for (result in list(run, total, sweep, law)) expect_said(print(result), "returns the score")
})

test_that("a second model is what a run is led away from", {
  worse <- gaussmix(mixture$weights, mixture$means, 3, class = mixture$class)
  at <- guidance("a", 2, negative = as_function(worse, "denoised"))
  for (of in list(alone(mixture), alone(mixture, "noise"))) {
    own <- quiet_sample(of, 200, at, sampler_ddim(8), horizon = 5, key = c(1, 2))
    plain <- quiet_sample(mixture, 200, guidance("a", 2, negative = worse), sampler_ddim(8),
                          horizon = 5, key = c(1, 2), log_density = "none", reduce = FALSE)
    expect_equal(own$x, plain$x, tolerance = 1e-9)
  }
  expect_error(guided_sample(mixture, 5, at), "where one drives", class = "mixguide_error_input")
})

test_that("zero-shot methods that follow the score follow a model's", {
  m <- standardise(gaussmix(c(.3, .7), rbind(c(x = 3, y = 1), c(1, 3)), diag(c(1, 2))))
  y <- observation(2.5, H = cbind(1, .5), noise = .1)
  s <- schedule_etc(40)
  for (method in list(zero_shot_ddnm(), zero_shot_bo(), zero_shot_ccdf(), zero_shot_repaint(2),
                      zero_shot_ddnm_plus(), zero_shot_ddrm(), zero_shot_diffpir())) {
    run <- function(of, ...) {
      without_faults(conditional_sample(of, 100, y, method, schedule = s, key = c(1, 2), ...))
    }
    exact <- run(m)
    expect_equal(run(alone(m, "denoised", s))$x, exact$x, tolerance = 1e-8)
    beside <- run(m, score_error = score_error(model = as_function(m, "noise", s)))
    expect_equal(beside$x, exact$x, tolerance = 1e-8)
    expect_said(summary(beside), "exact_mean")
    expect_false(any(grepl("exact", capture.output(summary(run(alone(m, "score", s)))))))
  }
  for (method in list(zero_shot_exact(), zero_shot_bo(general = TRUE), zero_shot_tmpd(),
                      zero_shot_dps(), zero_shot_tds(8))) {
    expect_error(conditional_sample(alone(m, "score", s), 10, y, method, schedule = s),
                 "the score alone|derivative of the score",
                 class = "mixguide_error_input")
  }
  expect_error(conditional_sample(m, 10, y, zero_shot_bo(), score_error = score_error(scale = 2)),
               "without bias", class = "mixguide_error_input")
})

test_that("what needs densities refuses a model by itself, and bad ones are errors", {
  model <- alone(mixture)
  input <- function(code) expect_error(code, class = "mixguide_error_input")
  for (f in list(guided_error, path_kl, compare_guidance, tilted_sample, step_condition,
                 guidance_condition, fokker_planck, coupled_paths, plan_sampler)) {
    input(f(model, guidance("a", 1)))
    input(f(diffusion(model, "a")))
  }
  input(posterior(model, cbind(1, 2)))
  input(guided_sample(model, 10, start = "exact"))
  input(guided_sample(model, 10, "z"))
  input(guided_sample(model, 10, score_error = score_error(model = model)))
  input(guided_sample(score_model(model$score), 10))
  input(standardise(model))
  input(standardise(model, c(1, 2, 3), 1))
  input(score_model(model$score, variables = c("x", "x")))
  input(score_model(model$score, variables = 0))
  input(score_model(model$score, class = "a"))
  input(score_model(model$score, variables = 2, classifier = model$classifier))
  unjudged <- score_model(model$score, variables = 2, class = c("a", "b", "c"))
  run <- guided_sample(unjudged, 10, "a", sampler_ddim(4))
  expect_null(run$confidence)
  expect_error(confidence(run), "without a classifier", class = "mixguide_error_input")
  expect_identical(names(augment(run)), c("x1", "x2"))
  input(guidance_sweep(unjudged, guidance = "a"))
  judged <- function(q) {
    score_model(model$score, variables = 2, class = c("a", "b", "c"), classifier = q)
  }
  for (q in list(function(x) 1, function(x) x, function(x) posterior(mixture, x) * NA,
                 function(x) 2 * posterior(mixture, x))) {
    expect_error(guided_sample(judged(q), 10, "a", sampler_ddim(4)), "probabilities of a, b, c",
                 class = "mixguide_error_input")
  }
  expect_error(guided_sample(judged(function(x) stop("no net")), 10, "a", sampler_ddim(4)),
               "`classifier` failed: no net", class = "mixguide_error")
})

# The denoised point of the logistic law: the mean of x0 given x = a x0 + b z, by the trapezoidal
# rule, which serves any density.
logistic <- function(x, t, class) {
  a <- exp(-t)
  b <- sqrt(1 - a^2)
  low <- pmax((x[, 1] - 8 * b) / a, -40)
  high <- pmin((x[, 1] + 8 * b) / a, 40)
  y <- low + outer(high - low, seq(0, 1, length.out = 101))
  w <- dnorm(x[, 1], a * y, b) * dlogis(y)
  cbind(rowSums(w * y) / rowSums(w))
}

test_that("laws that are no mixtures are sampled: Student's t and the logistic law", {
  # t is normal given a chi-squared variable u; the density is a sum over a grid of log u
  v <- seq(-9, 4, length.out = 101)
  log_p <- dchisq(3 * exp(v), 3, log = TRUE) + v
  student <- function(x, t, class) {
    variance <- exp(-2 * t - v) + 1 - exp(-2 * t)
    log_w <- outer(x[, 1]^2, variance, function(x, s) -x / 2 / s) +
      rep(log_p - log(variance) / 2, each = nrow(x))
    w <- exp(log_w - apply(log_w, 1, max))
    cbind(-x[, 1] * drop(w %*% (1 / variance)) / rowSums(w))
  }
  end <- function(score, type) {
    model <- score_model(score, type, variables = "x")
    u <- cbind(qnorm(ppoints(200)))
    # the map from the normal start is monotone, so it maps quantiles to quantiles
    guided_sample(model, sampler = sampler_rk4(60, "logsnr", end = 1e-5), horizon = 9,
                  start = u)$x[, 1]
  }
  expect_equal(end(student, "score"), qt(ppoints(200), 3), tolerance = 2e-3)
  expect_equal(end(logistic, "denoised"), qlogis(ppoints(200)), tolerance = 2e-3)
})

test_that("a model that does not know the law of the start is a warning", {
  start_warning <- function(code) expect_warning(code, class = "mixguide_warning_start")
  m <- standardise(mixture)
  wrong <- list(alone(m, "score", schedule_etc(100)),               # another clock
                score_model(as_function(m, "noise")$score, "score", # another type
                            variables = 2, class = c("a", "b", "c")),
                standardise(alone(m), c(20, 3), 1))                 # another place
  for (model in wrong) {
    start_warning(guided_sample(model, 10, "a", sampler_ddim(4)))
    start_warning(conditional_sample(model, 10, c(x1 = 2), zero_shot_bo(),
                                     sampler = sampler_ddim(4), schedule = schedule_ou()))
  }
  start_warning(guided_sample(m, 10, "a", sampler_ddim(40), horizon = 9,
                              score_error = score_error(model = wrong[[2]])))
  start_warning(guided_sample(alone(m), 10, "a", sampler_ddim(4), horizon = .5))
  one <- named_mixture("D3")
  start_warning(guided_law(standardise(alone(one), 20, 1), "1", sampler_em(4)))
  expect_silent(guided_sample(alone(m), 10, "a", sampler_ddim(4)))
  expect_silent(guided_sample(alone(m), 10, "a", sampler_ddim(4), horizon = .5,
                              start = matrix(0, 3, 2)))
})

test_that("pictures of a model by itself show what is known", {
  skip_if_not_installed("ggplot2")
  model <- alone(mixture)
  at <- guidance("a", 2)
  run <- guided_sample(model, 50, at, sampler_ddim(4), trajectory = TRUE)
  flat <- score_model(function(x, t, class) -x, variables = "w")
  line <- guided_sample(flat, 50, sampler = sampler_ddim(4), trajectory = TRUE)
  for (result in list(run, update(run, trajectory = FALSE), line, update(line, trajectory = FALSE),
                      guided_summary(model, 100, at, sampler_ddim(4)),
                      guided_law(flat, sampler = sampler_em(4)),
                      guidance_sweep(model, 50, at, c(0, 2), sampler_ddim(4)))) {
    file <- tempfile(fileext = ".png")
    on.exit(unlink(file))
    grDevices::png(file)
    expect_silent(print(ggplot2::autoplot(result)))
    grDevices::dev.off()
  }
})

test_that("a score without noise is refused to a model that cannot tell it", {
  none <- function(x, t, class) 0 * x
  for (type in c("denoised", "noise")) {
    model <- score_model(none, type, variables = 2)
    expect_mixguide_error(guided_sample(model, 5, sampler = sampler_heun(4, end = 0)), "sampler")
  }
})

test_that("what is wrong with a model's function is a warning", {
  schedule <- schedule_ou()
  m <- mixture
  said <- function(code) {
    kinds <- character()
    withCallingHandlers(code, mixguide_warning = function(w) {
      kinds <<- c(kinds, class(w)[1])
      invokeRestart("muffleWarning")
    })
    sub("mixguide_warning_", "", sort(unique(kinds)))
  }
  run <- function(model, at = guidance("a", 1), ...) {
    said(guided_sample(model, 10, at, sampler_ddim(10), ...))
  }
  own <- function(f, type) score_model(f, type, variables = 2, class = c("a", "b", "c"))
  by <- list(score = function(x, t, class) score(m, x, t, guidance = class),
             denoised = function(x, t, class) denoise(m, x, t, guidance = class),
             noise = function(x, t, class) -sqrt(schedule$b2(t)) * by$score(x, t, class))
  for (is in names(by)) for (type in names(by)) {
    wanted <- if (is == type) character() else if (type == "denoised") "model" else "start"
    expect_identical(run(own(by[[is]], type)), wanted, info = paste(is, type))
    # wrong for one of the two that guidance compares
    half <- function(x, t, class) by[[if (is.null(class)) is else type]](x, t, class)
    expect_identical(run(own(half, type)), wanted, info = paste(is, type))
    expect_identical(run(own(half, type), "a"), character())
    second <- guidance("a", 1, negative = own(by[[is]], type))
    expect_identical(run(own(by$score, "score"), second), wanted, info = paste(is, type))
    beside <- score_error(model = score_model(by[[is]], type))
    expect_identical(said(guided_sample(m, 10, guidance("a", 1), sampler_ddim(10),
                                        score_error = beside)), wanted)
  }
  deaf <- own(function(x, t, class) by$score(x, t, NULL), "score")
  expect_identical(run(deaf), "model")
  expect_identical(run(deaf, guidance("a", 1, negative = "b")), "model")
  for (at in list(guidance(c("a", "b", "c"), 1), guidance("a", 1, negative = "a"), "a", NULL)) {
    expect_identical(run(deaf, at), character())
  }
  heard <- score_model(deaf$score, "score", 2, deaf$class, function(x) posterior(m, x))
  expect_identical(said(guidance_sweep(heard, 50, "a", c(0, 2), sampler_ddim(4))), "model")
  expect_identical(said(guided_law(named_mixture("D3"), guidance("1", 1), sampler_em(4),
                                   score_error = score_error(model = score_model(
                                     function(x, t, class) score(named_mixture("D3"), x, t))))),
                   "model")
  expect_identical(run(own(function(x, t, class) -sweep(x, 2, colMeans(x)), "score"), NULL),
                   "model")
  expect_identical(run(own(function(x, t, class) -x + rnorm(length(x), 0, .1), "score"), NULL),
                   "model")
  # a model that is never asked without a class need not know its answer
  known <- own(function(x, t, class) {
    stopifnot(!is.null(class))
    by$score(x, t, class)
  }, "score")
  expect_identical(run(known, "a"), character())
})

test_that("right models have no faults: wide, narrow, heavy-tailed and learnt ones", {
  quiet <- function(model, ..., at = guidance("a", 1)) {
    expect_no_warning(guided_sample(model, 5, at, sampler_ddim(10), ...))
  }
  schedules <- list(schedule_ou(), schedule_vp(), schedule_ve(.01, 1000), schedule_etc(100))
  for (schedule in schedules) {
    for (sd in c(1e-3, .5, 1, 3, 12)) {
      # two points with noise, in one and in several dimensions, and one Gaussian
      for (m in list(gaussmix(c(.5, .5), c(-sd, sd), (.1 * sd)^2, class = c("a", "b")),
                     gaussmix(c(.5, .5), rbind(c(-sd, 0, 0), c(sd, 0, 0)), .01 * sd^2,
                              class = c("a", "b")),
                     gaussmix(c(.5, .5), c(0, 0), c(1, .5) * sd^2, class = c("a", "b")))) {
        for (type in c("score", "denoised", "noise")) {
          model <- as_function(m, type, schedule)
          model <- score_model(model$score, type, mixture_dim(m), c("a", "b"))
          quiet(model, schedule = schedule)
          quiet(model, schedule = schedule, at = NULL)
        }
      }
    }
  }
  # a normal law over a chi-squared variable is Student's t: here two of them, shifted
  v <- seq(-9, 4, length.out = 101)
  log_p <- dchisq(3 * exp(v), 3, log = TRUE) + v
  student <- function(x, t, at) {
    variance <- exp(-2 * t - v) + 1 - exp(-2 * t)
    y <- x[, 1] - at * exp(-t)
    log_w <- outer(y^2, variance, function(x, s) -x / 2 / s) +
      rep(log_p - log(variance) / 2, each = nrow(x))
    w <- exp(log_w - apply(log_w, 1, max))
    total <- rowSums(w)
    list(score = -y * drop(w %*% (1 / variance)) / total,
         log = log(total) + apply(log_w, 1, max))
  }
  two <- function(x, t, class) {
    parts <- lapply(c(-2, 2), function(at) student(x, t, at))
    share <- stats::plogis(parts[[1]]$log - parts[[2]]$log)
    if (!is.null(class)) share <- 0 * share + (class == "a")
    cbind(share * parts[[1]]$score + (1 - share) * parts[[2]]$score)
  }
  quiet(score_model(two, "score", variables = "x", class = c("a", "b")))
  denoised <- function(x, t, class) (x + (1 - exp(-2 * t)) * two(x, t, class)) / exp(-t)
  quiet(score_model(denoised, "denoised", variables = "x", class = c("a", "b")))
  quiet(score_model(logistic, "denoised", variables = "x"), at = NULL)
  # the noise by least squares on random features of x and t
  set.seed(1)
  m <- gaussmix(c(.3, .3, .4), rbind(c(-1, 0), c(1, 0), c(0, 1)), .1, class = c("a", "b", "c"))
  x0 <- rgaussmix(4000, m)
  t <- runif(4000, .01, 5)
  z <- matrix(rnorm(8000), 4000)
  W <- matrix(rnorm(4 * 100), 4)
  features <- function(x, t) {
    u <- cbind(1, x, log(expm1(2 * t)) / 2)
    cbind(u, x / sqrt(-expm1(-2 * t)), tanh(u %*% W))
  }
  fit <- lm.fit(features(exp(-t) * x0 + sqrt(-expm1(-2 * t)) * z, t), z)
  learnt <- function(x, t, class) features(x, rep(t, nrow(x))) %*% fit$coefficients
  quiet(score_model(learnt, "noise", variables = 2), at = NULL)
  by_noise <- function(x, t, class) (x - sqrt(-expm1(-2 * t)) * learnt(x, t)) / exp(-t)
  quiet(score_model(by_noise, "denoised", variables = 2), at = NULL)
})

test_that("a model beside a mixture is of its variables and classes", {
  refused <- function(arg, at = guidance("a", 1), ...) {
    error <- score_error(model = score_model(function(x, t, class) -x, ...))
    expect_mixguide_error(guided_sample(mixture, 5, at, sampler_ddim(3), score_error = error), arg)
    expect_mixguide_error(conditional_sample(mixture, 5, c(x1 = 2), zero_shot_bo(),
                                             sampler = sampler_ddim(3), schedule = schedule_ou(),
                                             score_error = error), "score_error$model")
  }
  refused("model", variables = 3)
  refused("model", variables = 2, class = c("u", "v"))
  refused("model", variables = 2, class = c("a", "b"))
  second <- score_model(function(x, t, class) -x, variables = 2, class = c("u", "v"))
  expect_mixguide_error(guided_sample(alone(mixture), 5, guidance("a", 1, negative = second),
                                      sampler_ddim(3)), "negative")
  right <- score_error(model = alone(mixture))
  expect_no_error(guided_sample(mixture, 5, guidance("a", 1), sampler_ddim(3),
                                score_error = right))
})

test_that("particle methods that do not take the derivative follow a model", {
  m <- standardise(gaussmix(c(.3, .7), rbind(c(x = 3, y = 1), c(1, 3)), diag(c(1, 2))))
  y <- observation(2.5, H = cbind(1, .5), noise = .1)
  s <- schedule_etc(30)
  for (method in list(zero_shot_mcgdiff(16), zero_shot_smcdiffopt(16))) {
    run <- function(of, ...) {
      without_faults(conditional_sample(of, 30, y, method, schedule = s, key = c(1, 2), ...))
    }
    exact <- run(m)
    for (type in c("score", "denoised", "noise")) {
      error <- score_error(model = as_function(m, type, s))
      own <- run(m, score_error = error)
      expect_equal(own$x, exact$x, tolerance = 1e-8)
      expect_equal(own$log_evidence, exact$log_evidence, tolerance = 1e-8)
    }
    expect_equal(run(alone(m, "denoised", s))$x, exact$x, tolerance = 1e-8)
    expect_mixguide_error(run(m, score_error = error, folder = withr::local_tempdir()), "folder")
  }
})

test_that("a bare function is told to be a score_model()", {
  expect_error(score_error(model = function(x, t, class) -x), "score_model\\(\\)",
               class = "mixguide_error_input")
})

test_that("a sweep checks a function once", {
  halves <- 0
  m <- gaussmix(c(.5, .5), c(-1, 1), .3, class = c("a", "b"))
  counted <- function(x, t, class) {
    halves <<- halves + (nrow(x) == 128)
    score(m, x, t, guidance = class)
  }
  error <- score_error(model = score_model(counted))
  guidance_sweep(m, guidance = "a", strength = 0:2, n = 64, sampler = sampler_ddim(4),
                 score_error = error)
  # of the class and of the whole
  expect_identical(halves, 2)
})

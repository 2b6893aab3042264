test_that("the bound of the start is that of each class, exact for one Gaussian", {
  set.seed(1)
  for (schedule in list(schedule_ou(), schedule_ve(sigma_max = 20), schedule_vp())) {
    plain <- random_mixture("full", 2, 3)
    t <- schedule$horizon
    kl <- start_kl(plain$mixture, schedule)(t)
    a <- schedule$a(t)
    sd <- if (schedule$vp) 1 else sqrt(schedule$b2(t))
    each <- vapply(1:3, function(k) {
      S <- a^2 * plain$covs[[k]] + schedule$b2(t) * diag(2)
      (sum(diag(S)) / sd^2 + a^2 * sum(plain$means[k, ]^2) / sd^2 - 2 -
         log(det(S / sd^2))) / 2
    }, 0)
    w <- plain$weights
    # the oracle subtracts numbers near 2
    expect_equal(unname(kl), c(sum(w[c(1, 3)] * each[c(1, 3)]) / sum(w[c(1, 3)]), each[2]),
                 tolerance = 1e-9)
  }
  # the value bounds the divergence by quadrature
  m <- named_mixture("A1")
  begin <- start_error(diffuse(m, 1), m, schedule_ou(), 1, "normal")
  whole <- m
  whole$class[] <- "1"
  expect_lt(begin$estimate[1], start_kl(whole, schedule_ou())(1))
})

test_that("the horizon that is chosen has a start that is near enough, and not before its time", {
  set.seed(2)
  for (i in 1:300) {
    d <- sample(1:3, 1)
    scale <- 10^runif(1, -3, 4)
    m <- gaussmix(runif(3, .1, 1), matrix(rnorm(3 * d), 3) * scale + 10^runif(1, -2, 5),
                  lapply(1:3, function(k) runif(d, .01, 1) * scale^2))
    if (i %% 2) m <- standardise(m)
    horizon <- chosen_horizon(m, schedule_ou())
    at <- max(start_kl(in_process(m), schedule_ou())(horizon))
    expect_gte(horizon, 5)
    if (horizon > 5) expect_equal(at, START_GOAL, tolerance = 1e-6) else {
      expect_lte(at, if (i %% 2) START_GOAL else START_LIMIT)
    }
  }
  # parameters near the origin: the schedule's own horizon, as published numbers have it
  for (name in named_mixture()) {
    expect_identical(chosen_horizon(named_mixture(name), schedule_ou()), 5)
  }
  # other schedules end at their own maximum
  far <- gaussmix(1, 1e4, 1)
  for (schedule in list(schedule_vp(), schedule_ve(), schedule_flow(), schedule_cosine())) {
    expect_identical(chosen_horizon(far, schedule), schedule$horizon)
  }
})

test_that("a default run hits a mixture wherever it is and however it is scaled", {
  set.seed(3)
  for (i in 1:20) {
    d <- sample(1:3, 1)
    scale <- 10^runif(d, -6, 6)
    center <- rnorm(d) * scale * 10^runif(1, 0, 6)
    label <- rep(c("a", "b"), each = 30)
    x <- matrix(rnorm(60 * d), 60) + 2 * (label == "b")
    x <- as.data.frame(x * rep(scale, each = 60) + rep(center, each = 60))
    f <- as_gaussmix(x, label)
    expect_no_warning(run <- guided_sample(f, 1000, guidance("b", 0)))
    target <- moments(f, "b")
    shift <- abs(colMeans(run$x) - target$mean) / sqrt(diag(target$cov))
    expect_lt(max(shift), .02 + 4.5 / sqrt(1000))
    expect_lt(max(abs(apply(run$x, 2, sd) / sqrt(diag(target$cov)) - 1)), .12)
  }
})

test_that("a start that is too near the data is a warning with the figure and the cure", {
  far <- gaussmix(c(.5, .5), c(140, 170), 25)
  expect_warning(run <- guided_sample(far, 10, horizon = 5),
                 "class 2 is up to 0.656 .*horizon = 11.7", class = "mixguide_warning_start")
  expect_output(print(run), "Warning: the noised data do not have the law of the start")
  expect_output(print(summary(run)), "Warning: the noised data")
  expect_match(autoplot(run)$labels$caption, "Warning")
  expect_no_warning(guided_sample(far, 10))
  expect_no_warning(guided_sample(far, 10, horizon = 5, start = "exact"))
  expect_no_warning(guided_sample(standardise(far), 10, horizon = 8))
  # a schedule that ends too early, and a short sequence
  wide <- gaussmix(c(.5, .5), c(-100, 100), 1)
  expect_warning(guided_sample(wide, 10, schedule = schedule_ve(sigma_max = 50)), "more noise",
                 class = "mixguide_warning_start")
  expect_no_warning(guided_sample(wide, 10, schedule = schedule_ve(sigma_max = 5000)))
  short <- schedule_ddpm(1 - seq(1e-4, .02, length.out = 100))
  expect_warning(guided_sample(named_mixture("A1"), 10, schedule = short, sampler = sampler_ddpm()),
                 class = "mixguide_warning_start")
})

test_that("every run says once what is wrong with it: by a warning, in print and below its plot", {
  far <- gaussmix(c(.5, .5), c(14, 17), 25, c("a", "b"))
  y <- observation(15, variables = 1, noise = 1)
  step <- sampler_ddim(20)
  noisy <- sampler_ddpm(20, end = .01, variance = "scaled")
  two <- list(zero_shot_bo(), zero_shot_ddnm())
  calls <- list(
    sample = function(...) guided_sample(far, 10, ...),
    sweep = function(...) guidance_sweep(far, 10, "a", c(1, 2), step, ...),
    summary = function(...) guided_summary(far, 100, guidance("a", 1), step, ...),
    paths = function(...) coupled_paths(far, 5, "a", 1, ...),
    law = function(...) guided_law(far, guidance("a", 1), step, ...),
    limit_law = function(...) guided_limit(far, NULL, sampler_em(20, "uniform"), ...),
    equation = function(...) fokker_planck(far, guidance("a", 1), nodes = 400, steps = 100, ...),
    tilt = function(...) tilted_sample(far, 20, guidance("a", 0), ...),
    limit = function(...) strength_limit(far, guidance = "a", sampler = step, range = c(1, 2), ...),
    scan = function(...) guidance_sweep(far, guidance = "a", strength = 0:1, n = 10,
                                        steps = c(20, 50), ...),
    identities = function(...) guidance_identities(far, 10, "a", 0, sampler_em(20), ...),
    identity = function(...) guidance_identities(far, 10, "a", 0:1, sampler_rk4(20), ...),
    zero_shot = function(...) conditional_sample(far, 10, y, zero_shot_bo(), sampler = step, ...),
    particles = function(...) conditional_sample(far, 4, y, zero_shot_tds(4), sampler = noisy, ...),
    table = function(...) {
      judge_samples(far, observation = y, methods = two, n = 40, sampler = step,
                    directions = 5, ...)
    }
  )
  for (name in names(calls)) {
    # each schedule
    early <- if (match(name, names(calls)) %% 2) list(horizon = 2) else {
      list(schedule = schedule_ve(sigma_max = 10))
    }
    count <- 0
    run <- withCallingHandlers(do.call(calls[[name]], early), warning = function(w) {
      count <<- count + inherits(w, "mixguide_warning_start")
      invokeRestart("muffleWarning")
    })
    expect_identical(count, 1, label = name)
    expect_output(print(run), "Warning: the noised", label = name)
    methods <- paste(c("autoplot", "picture"), class(run)[1], sep = ".")
    if (any(methods %in% ls(asNamespace("mixguide")))) {
      expect_match(autoplot(run)$labels$caption, "Warning: the noised", label = name)
    }
  }
})

test_that("a last step that is coarser than a component is a warning", {
  narrow <- gaussmix(c(.5, .5), c(-1, 1), c(1e-4, 1))
  expect_warning(run <- guided_sample(narrow, 10, sampler = sampler_ddim(10)),
                 "last step is coarse", class = "mixguide_warning_steps")
  expect_output(print(run), "Warning: the last step is coarse")
  expect_no_warning(guided_sample(narrow, 10, sampler = sampler_ddim(500)))
  # a run that ends before the data is compared with the law at its end
  expect_no_warning(guided_sample(narrow, 10, sampler = sampler_ddim(100, grid = "logsnr",
                                                                      end = 1e-3)))
})

test_that("a sweep says where its mean is, and warns if it is elsewhere", {
  skip_if_not_installed("mclust")
  data("banknote", package = "mclust", envir = environment())
  f <- as_gaussmix(Status ~ ., banknote)
  good <- guidance_sweep(f, guidance = "genuine", strength = c(0, 1), n = 1000, key = c(1, 2))
  expect_lt(max(attr(good, "setup")$target$off), .15)
  expect_output(print(good), "is off by [0-9.]+( sd|%), all else by")
  raw <- standardise(f, FALSE, FALSE)
  step <- sampler_heun(200, "quadratic", 1e-4)
  expect_warning(
    expect_warning(bad <- guidance_sweep(raw, guidance = "genuine", strength = c(0, 1), n = 500,
                                         sampler = step,
                                         horizon = 5), class = "mixguide_warning_start"),
    class = "mixguide_warning_location"
  )
  expect_gt(attr(bad, "setup")$target$off[["mean"]], 1)
})

test_that("a sweep whose samples are too narrow says so, though their mean is right", {
  m <- gaussmix(c(.5, .5), rbind(c(-1, 0), c(1, 0)), matrix(c(1, .98, .98, 1), 2),
                class = c("a", "b"))
  expect_warning(
    expect_warning(sweep <- guidance_sweep(m, guidance = "a", strength = 0:1, n = 4096,
                                           sampler = sampler_ddpm(20)),
                   class = "mixguide_warning_steps"),
    "the sd along the worst axis is off", class = "mixguide_warning_location"
  )
  off <- attr(sweep, "setup")$target$off
  # the axes of the class by hand
  run <- suppressWarnings(guided_sample(m, 4096, "a", sampler_ddpm(20), points = "sobol",
                                        key = attr(sweep, "setup")$key))
  narrow <- run$x %*% c(1, -1) / sqrt(2 * .02)
  expect_equal(off[["sd"]], abs(sqrt(mean((narrow - mean(narrow))^2)) - 1), tolerance = 1e-6)
  expect_lt(off[["mean"]], .05)
  expect_output(print(sweep), "the sd along the worst axis is off by [0-9]+%")
  # by quadrature, in one dimension
  line <- gaussmix(c(.5, .5), c(-1, 1), c(.01, .5), class = c("a", "b"))
  expect_lt(attr(guidance_sweep(line, guidance = "a", strength = 0:1), "setup")$target$off[["sd"]],
            .01)
})

test_that("a standardised mixture is not told to be standardised", {
  m <- gaussmix(c(.5, .5), cbind(x = c(-100, 100), y = 7), diag(c(1, 0)))
  early <- schedule_ve(sigma_max = 2)
  words <- function(m) {
    tryCatch(guided_sample(m, 2, schedule = early), mixguide_warning_start = conditionMessage)
  }
  expect_match(words(m), "more noise, or standardise")
  expect_match(words(standardise(m)), "more noise, or start")
})

test_that("a given start far off the noised law warns, with its figures and a cure", {
  m <- as_gaussmix(tension ~ breaks, warpbreaks)
  set.seed(5)
  z <- matrix(rnorm(400))
  own <- z * m$coordinates$scale + m$coordinates$center
  run <- function(start, ...) guided_sample(m, 400, guidance("M", 1), start = start, ...)
  told <- tryCatch(run(z), mixguide_warning_start = identity)
  expect_s3_class(told, "mixguide_warning_start")
  for (part in c("breaks has mean -2.1", "wanted mean 0", "z * scale + center", "start = ")) {
    expect_match(conditionMessage(told), part, fixed = TRUE)
  }
  expect_warning(run(gaussmix(1, 0, 1)), class = "mixguide_warning_start")
  expect_output(print(diffusion(m, guidance("M", 1), start = z)), "Warning: the given start")
  # the same points in the units of the data, with the same result as the default's law
  expect_no_warning(right <- run(own))
  expect_null(right$faults)
  expect_no_warning(run(from_process(gaussmix(1, 0, 1), m)))
  expect_lt(abs(mean(right$x) - mean(run("normal")$x)), 3)
  # a few points, and many copies of one, are no law
  expect_no_warning(run(z[1:49, , drop = FALSE]))
  expect_no_warning(run(matrix(0, 60)))
  # early, the laws of the classes differ: each may be the start
  apart <- gaussmix(c(.5, .5), c(-30, 30), 1, class = c("a", "b"))
  early <- function(start) {
    guided_sample(apart, 400, guidance("a", 1), start = start, horizon = .5,
                  sampler = sampler_ddim(50))
  }
  expect_no_warning(early(rgaussmix(400, diffuse(apart, .5), class = "b")))
  expect_no_warning(early(rgaussmix(400, diffuse(apart, .5))))
  far <- tryCatch(early(matrix(rnorm(400))), mixguide_warning_start = conditionMessage)
  expect_match(far, "take a start of this law, or start = \"exact\"", fixed = TRUE)
  expect_no_match(far, "coordinates`", fixed = TRUE)
})

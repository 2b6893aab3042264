m <- gaussmix(c(.3, .7), cbind(u = c(-1, 1)), .5, class = c("a", "b"))
one <- gaussmix(1, cbind(u = 1), .5)
guide <- guidance("a", 2)
ode <- sampler_ddim(8)
sde <- sampler_em(8, "uniform")
key <- c(3, 4)

# Every function that takes a diffusion, with the quantity compared here, the diffusion, and its
# other arguments.
asked <- function() {
  ddpm <- sampler_ddpm(NULL, end = 1, variance = "scaled")
  y <- observation(.5, H = diag(1), noise = .1)
  list(
    guided_sample = list(list(m, guide, ode), n = 20),
    guided_summary = list(list(m, guide, ode), n = 20),
    guided_law = list(list(m, guide, ode)),
    guided_error = list(list(m, guide, ode)),
    guided_moments = list(list(one, NULL, ode)),
    best_grid = list(list(m, guide, ode), n = 20),
    guidance_sweep = list(list(m, guide, ode), strength = 0:1, n = 20),
    coupled_paths = list(list(m, guide, ode), strength = 0:1, n = 20),
    gain_bound = list(list(m, guide, ode), strength = 1, n = 5),
    tilted_sample = list(list(m, guide, sde), n = 20),
    guidance_identities = list(list(m, guide, sde), strength = 1, n = 20),
    strength_limit = list(list(m, guide, ode), range = c(1, 2), n = 20),
    step_condition = list(list(m, guide, ode)),
    guidance_condition = list(list(m, guide, ode)),
    fokker_planck = list(list(m, guide, ode), nodes = 60, steps = 20),
    path_kl = list(list(m, NULL, sde)),
    error_budget = list(list(m, NULL, sde)),
    conditional_sample = list(list(m, NULL, ddpm, schedule_etc(10)), n = 20, observation = y,
                              method = zero_shot_bo()),
    "guided_moments given y" = list(list(one, NULL, ddpm, schedule_etc(10)), observation = y,
                                    method = zero_shot_bo()),
    best_strength = list(list(m, guide, ode), target = "tilt", knots = 2, profiles = "linear",
                         n = 64),
    guided_limit = list(list(m, guide, sde)),
    compare_guidance = list(list(m, guide, ode), n = 64),
    capped_strength = list(list(m, guide)),
    plan_sampler = list(list(m), error = .1, samplers = "sampler_heun", grids = "quadratic"),
    convergence_order = list(list(m, guide, ode), steps = c(4, 8))
  )
}

test_that("whoever knows guided_sample() can guess every other call", {
  parts <- c("mixture", "guidance", "sampler", "schedule", "horizon", "start", "score_error", "key",
             "points")
  expect_identical(names(formals(diffusion)), parts)
  for (name in names(asked())) {
    f <- getExportedValue("mixguide", sub(" .*", "", name))
    case <- asked()[[name]]
    given <- stats::setNames(case[[1]], parts[seq_along(case[[1]])])
    rest <- case[-1]
    d <- do.call(diffusion, c(given, list(key = key)))
    answer <- function(...) {
      result <- suppressWarnings(f(...))
      utils::capture.output(if (is.list(result)) print(result))
    }
    by_object <- do.call(answer, c(list(d), rest))
    by_names <- do.call(answer, c(given, rest, list(key = key)))
    expect_identical(by_names, by_object, label = name)
    if (!identical(given$mixture, one)) {
      changed <- do.call(answer, c(list(diffusion(m)), given[-1], rest, list(key = key)))
      expect_identical(changed, by_object, label = name)
    }
    # every print names its sampler, or says that time is continuous
    if (!is.null(given$sampler)) {
      said <- paste(by_object, collapse = " ")
      expect_true(grepl(given$sampler$label, said, fixed = TRUE) ||
                    grepl("> about continuous time, ", said, fixed = TRUE), label = name)
    }
    expect_error(do.call(f, c(list(d), rest, list(sampeler = ode))),
                 "did you mean `sampler`", class = "mixguide_error", label = name)
    expect_error(do.call(f, c(list(3), rest)), "`mixture`", class = "mixguide_error", label = name)
  }
})

test_that("ten analyses of one diffusion: the same call, the same head, the same columns", {
  skip_on_cran()
  d <- diffusion(m, guidance("a", 2), key = key)
  guesses <- suppressWarnings(list(
    guided_sample = guided_sample(d),
    guided_summary = guided_summary(d),
    guidance_sweep = guidance_sweep(d),
    guided_law = guided_law(d),
    guided_limit = guided_limit(d),
    guided_error = guided_error(d),
    fokker_planck = fokker_planck(d),
    strength_limit = strength_limit(d),
    coupled_paths = coupled_paths(d),
    tilted_sample = tilted_sample(d),
    guidance_identities = guidance_identities(d),
    guidance_condition = guidance_condition(d),
    step_condition = step_condition(d),
    gain_bound = gain_bound(d),
    compare_guidance = compare_guidance(d, guidance = list(apg = guidance("a", 2, rule = "apg")))
  ))
  for (name in names(guesses)) {
    expect_identical(names(formals(getExportedValue("mixguide", name)))[1], "mixture", label = name)
    result <- guesses[[name]]
    said <- utils::capture.output(print(result))
    expect_true(any(grepl("towards a\\b", said)), label = paste(name, "names the class"))
    expect_true(any(grepl("^  sampler: +\\w", said)) || grepl("> about continuous time,", said[1]),
                label = paste(name, "names the sampler"))
    expect_true(any(grepl("^  schedule: +Ornstein-Uhlenbeck, from t = 5", said)),
                label = paste(name, "names the schedule"))
    if (is.data.frame(result)) {
      rows <- as.data.frame(result)
      if (!"estimate" %in% names(rows)) rows <- tidy(result)
      expect_identical(setdiff(c("quantity", "estimate", "se", "method", "note"), names(rows)),
                       character(), label = name)
    }
  }
})

test_that("an analysis keeps what was given, or says what it needs and how to give it", {
  other <- list(ode = diffusion(m, guide, ode), sde = diffusion(m, guide, sde),
                plain = diffusion(m, sampler = ode))
  y <- observation(.5, H = diag(1), noise = .1)
  wanted <- list(
    function() guidance_identities(other$ode, limit = TRUE),
    function() best_grid(other$sde),
    function() path_kl(other$plain), function() guided_limit(diffusion(m, guide, sampler_em(6))),
    function() conditional_sample(other$plain, 5, y, zero_shot_ddnm_plus()),
    function() guided_moments(diffusion(one, sampler = ode), observation = y,
                              method = zero_shot_ddnm_plus())
  )
  for (call in wanted) {
    expect_error(call(), "`sampler` must be .*update\\(d, sampler = sampler_",
                 class = "mixguide_error")
  }
  expect_error(path_kl(other$sde), "update(d, guidance = NULL)", fixed = TRUE,
               class = "mixguide_error")
  # the sampler, the start and the schedule that were given
  expect_identical(tilted_sample(other$ode, 20)$sampler, ode)
  expect_identical(coupled_paths(other$ode, strength = 1, n = 5)$sampler, ode)
  normal <- diffusion(m, start = "normal")
  expect_identical(attr(convergence_order(normal, samplers = list(sampler_heun()),
                                          steps = c(4, 8)), "setup")$start,
                   "normal")
  expect_identical(attr(convergence_order(diffusion(m), samplers = list(sampler_heun()),
                                          steps = c(4, 8)),
                        "setup")$start, "exact")
  short <- diffusion(m, schedule = schedule_etc(20))
  expect_identical(conditional_sample(short, 5, y, zero_shot_bo())$schedule, short$schedule)
  expect_identical(score(diffusion(m, guide), .3, .2, guidance = NULL), score(m, .3, .2))
  expect_output(print(diffusion(m)), "sampler was not given")
  expect_false(any(grepl("not given", capture.output(print(other$ode)))))
})

test_that("a function that cannot use a diffusion says so", {
  expect_error(moments(diffusion(m)), "guided_law(x)", fixed = TRUE, class = "mixguide_error")
  expect_mixguide_error(moments(3), "x")
  wrong <- diffusion(m, guide, score_error = score_error(scale = 1.1))
  for (f in list(score, tilted_law, lipschitz)) expect_mixguide_error(f(wrong), "score_error")
  expect_mixguide_error(guidance_report(wrong), "score_error")
  # every generic of ours has a default method
  exports <- getNamespaceExports("mixguide")
  generic <- Filter(function(name) {
    f <- getExportedValue("mixguide", name)
    is.function(f) && identical(environment(f), asNamespace("mixguide")) &&
      "UseMethod" %in% all.names(body(f))
  }, exports)
  expect_true("moments" %in% generic)
  for (name in generic) {
    expect_error(getExportedValue("mixguide", name)(new.env()), class = "mixguide_error",
                 label = name)
  }
})

test_that("n, where a function of an experiment has it, comes second, and is 1e4", {
  exports <- mget(getNamespaceExports("mixguide"), asNamespace("mixguide"), mode = "function",
                  ifnotfound = list(NULL))
  arguments <- lapply(Filter(Negate(is.null), exports), formals)
  experiments <- Filter(function(x) {
    names(x)[1] == "mixture" && all(c("n", "...") %in% names(x))
  }, arguments)
  expect_gt(length(experiments), 14)
  for (f in names(experiments)) {
    expect_identical(names(experiments[[f]])[2], "n", info = f)
    # what is drawn, run as a pilot or done by quadrature has a number of its own
    own <- c("conditional_sample", "coupled_paths", "gain_bound", "best_grid",
             "guidance_identities")
    if (!f %in% own) expect_identical(experiments[[f]]$n, 1e4, info = f)
  }
  # who is used to the guidance in second place is told
  for (f in list(guided_sample, guidance_sweep, guided_error)) {
    expect_error(f(m, "a"), "`n` must be .*guidance =", class = "mixguide_error")
    expect_error(f(diffusion(m), guide), "`n` must be .*guidance =", class = "mixguide_error")
  }
  expect_error(compare_guidance(m, list(guide)), "`n` must be .*guidance =",
               class = "mixguide_error")
})

test_that("what an analysis cannot take into account is refused", {
  wrong <- diffusion(m, guide, ode, score_error = score_error(scale = 1.1))
  for (f in list(strength_limit, step_condition, gain_bound, fokker_planck,
                 coupled_paths, tilted_sample, guidance_identities)) {
    expect_error(f(wrong), "`score_error` must be NULL", class = "mixguide_error")
  }
  for (f in list(path_kl, error_budget, plan_sampler)) {
    expect_error(f(diffusion(m, guide, sde)), "`guidance` must be NULL", class = "mixguide_error")
  }
  y <- observation(.5, H = diag(1), noise = .1)
  exact <- diffusion(m, schedule = schedule_etc(20), sampler = sampler_ddpm(NULL, end = 1),
                     start = "exact")
  refused <- '`start` must be "normal"'
  expect_error(plan_sampler(diffusion(m, start = "exact")), refused, class = "mixguide_error")
  expect_error(guided_moments(replace(exact, "mixture", list(one)), observation = y,
                              method = zero_shot_bo()),
               refused, class = "mixguide_error")
  expect_error(conditional_sample(exact, 5, y, zero_shot_bo()), refused, class = "mixguide_error")
  for (f in list(strength_limit, step_condition, coupled_paths)) {
    expect_mixguide_error(f(m), "guidance")
    expect_mixguide_error(f(m, guidance = guidance("a", 1) + guidance("b", 1)), "guidance")
  }
})

test_that("what was not given is chosen anew when something else changes", {
  far <- gaussmix(c(.5, .5), c(140, 170), 25, c("a", "b"))
  d <- diffusion(m)
  expect_identical(update(d, mixture = far)$horizon, diffusion(far)$horizon)
  expect_identical(update(d, schedule = schedule_etc(10))$sampler$name, "ddim")
  expect_identical(update(d, sampler = ode)$sampler, ode)
  expect_null(update(diffusion(m, guide), guidance = NULL)$guidance)
  expect_identical(update(diffusion(m, horizon = 2), sampler = ode)$horizon, 2)
  expect_equal(as.numeric(guided_sample(diffusion(m, key = key), 5)$key), key)
  expect_error(update(d, smapler = ode), "did you mean `sampler`", class = "mixguide_error")
  expect_error(guided_sample(d, 5, guide, ode, schedule_ou(), 5, "normal", NULL, key,
                             "random", 1),
               "an argument too many", class = "mixguide_error")
  for (part in c("mixture", "guidance", "sampler", "schedule", "key")) {
    expect_mixguide_error(guided_sample(replace(d, part, list(1)), 5), part)
  }
  expect_mixguide_error(plan_sampler(m, horizon = 1, schedule = schedule_flow()), "horizon")
  expect_identical(diffusion(m, "a")$guidance, guidance("a"))
  expect_mixguide_error(diffusion(m, "z"), "guidance")
  expect_mixguide_error(diffusion(m, start = "nowhere"), "start")
})

test_that("the default sampler is right on any schedule: its ends are those of continuous time", {
  narrow <- gaussmix(c(.5, .3, .2), rbind(c(-1, 0), c(1, 1), c(1.2, 1)),
                     list(diag(2), diag(c(1e-2, 1e-2)), diag(c(1, 1e-2))), c("a", "b", "b"))
  schedules <- list(schedule_ou(), schedule_vp(), schedule_cosine(), schedule_ve(), schedule_flow(),
                    schedule_subvp())
  for (schedule in schedules) for (strength in c(0, 4)) {
    d <- diffusion(narrow, guidance("b", strength), schedule = schedule, key = key)
    fine <- update(d, sampler = sampler_rk4(1000, "logsnr", end = 1e-6))
    x <- suppressWarnings(guided_sample(d, 100, log_density = "none")$x)
    limit <- suppressWarnings(guided_sample(fine, 100, log_density = "none")$x)
    expect_lt(sqrt(mean((x - limit)^2)), .003 * mean(apply(limit, 2, sd)))
  }
  # point masses and discrete steps need no other arguments
  points <- gaussmix(c(.5, .5), rbind(c(-1, 0), c(1, 1)), 0, c("a", "b"))
  run <- guided_sample(points, 50, guidance("a", 1))
  expect_lt(max(abs(t(run$x) - c(-1, 0))), .05)
  for (schedule in list(schedule_etc(100), schedule_ddpm(exp(-(1:500) / 100)))) {
    expect_true(all(is.finite(guided_sample(m, 10, guide, schedule = schedule)$x)))
  }
})

test_that("a key settles what any analysis draws, and leaves R's generator alone", {
  wide <- gaussmix(c(.5, .5), rbind(c(1, 0, 0), c(-1, 0, 1)), diag(c(1, .5, .3)), c("a", "b"))
  d <- diffusion(wide, NULL, sampler_heun(10), key = key)
  set.seed(1)
  before <- .Random.seed
  once <- guided_error(d, n = 200)
  expect_identical(.Random.seed, before)
  expect_identical(guided_error(d, n = 200), once)
  expect_false(identical(guided_error(update(d, key = NULL), n = 200)$estimate, once$estimate))
  aimed <- diffusion(m, "a", key = key)
  expect_identical(gain_bound(aimed, strength = 1, n = 4), gain_bound(aimed, strength = 1, n = 4))
  withr::with_preserve_seed({
    rm(.Random.seed, envir = globalenv())
    guided_error(d, n = 20)
    expect_false(exists(".Random.seed", globalenv(), inherits = FALSE))
  })
})

test_that("a key settles all draws and leaves R's generator alone; without one set.seed() rules", {
  skip_on_cran()
  space <- gaussmix(c(.4, .6), cbind(a = c(-1, 1), b = c(0, .5), c = c(1, 0)),
                    list(diag(3), diag(c(.3, .5, 1))), class = c("a", "b"))
  seen <- observation(c(a = .5), noise = .1)
  x <- cbind(sin(1:60), cos(1:60), sqrt(1:60))
  colnames(x) <- c("a", "b", "c")
  gaps <- replace(x, cbind(1:30, rep(1:3, 10)), NA)
  drawn <- function(f, ...) list(f = f, ...)
  calls <- list(
    recfg_weights = drawn(recfg_weights, space, guide, t = .2),
    judge_samples = drawn(judge_samples, x, space, seen, directions = 9, cells = 4),
    judge_samples = drawn(judge_samples, space, observation = seen, methods = zero_shot_bo(),
                          n = 40, schedule = schedule_etc(10), directions = 9, cells = 4),
    mutual_information = drawn(mutual_information, space, "a", n = 50),
    sliced_wasserstein = drawn(sliced_wasserstein, x, x + 1, directions = 9),
    mismatch = drawn(mismatch, space, schedule = schedule_etc(10), n = 40, nodes = 5,
                     model = gaussmix(1, t(double(3)), 1)),
    mismatch = drawn(mismatch, space, observation(variables = "a"), zero_shot_bo(),
                     schedule_etc(10), n = 40, nodes = 5),
    information = drawn(information, space, c(.1, 1), n = 50),
    entropy = drawn(entropy, space, n = 50),
    confidence = drawn(confidence, space, n = 50),
    impute = drawn(impute, space, gaps, m = 2),
    path_kl = drawn(path_kl, space, sampler = sde, n = 50),
    error_budget = drawn(error_budget, space, sampler = sde, n = 50),
    guided_error = drawn(guided_error, space, guide, ode, method = "Monte Carlo", n = 50),
    convergence_order = drawn(convergence_order, m, samplers = list(sampler_ddim()),
                              steps = c(4, 8), n = 50),
    plan_sampler = drawn(plan_sampler, m, error = .1, samplers = "sampler_heun",
                         grids = "quadratic"),
    tilted_sample = drawn(tilted_sample, space, 200, guide, sde),
    conditional_sample = drawn(conditional_sample, space, 5, seen, zero_shot_tds(4),
                               schedule = schedule_etc(10)),
    compare_guidance = drawn(compare_guidance, space, list(guidance("a", 1)), ode, n = 64),
    best_strength = drawn(best_strength, space, "a", ode, target = "tilt", knots = 2,
                          profiles = "linear", n = 64)
  )
  own <- asked()
  own <- lapply(stats::setNames(nm = names(own)), function(name) {
    f <- getExportedValue("mixguide", sub(" .*", "", name))
    c(list(f = f), own[[name]][[1]], own[[name]][-1])
  })
  calls <- c(calls, own[setdiff(names(own), names(calls))])
  # every function with a key argument, its own or that of a diffusion, is in the list
  takes_key <- Filter(function(name) {
    f <- getExportedValue("mixguide", name)
    is.function(f) && ("key" %in% names(formals(f)) || "as_diffusion" %in% all.names(body(f)))
  }, getNamespaceExports("mixguide"))
  expect_identical(setdiff(takes_key, c(names(calls), "diffusion", "guidance_report")),
                   character())
  withr::local_preserve_seed()
  numbers <- function(call, ...) {
    result <- suppressWarnings(do.call(call$f, c(call[-1], list(...))))
    if (is.function(result)) result <- as.list(environment(result))
    # timings differ between runs
    result <- unclass(result)[setdiff(names(result), "seconds")]
    rapply(result, identity, c("numeric", "integer"), how = "unlist")
  }
  for (name in names(calls)) {
    call <- calls[[name]]
    set.seed(1)
    before <- .Random.seed
    once <- numbers(call, key = key)
    expect_identical(.Random.seed, before, label = name)
    rm(.Random.seed, envir = globalenv())
    expect_identical(numbers(call, key = key), once, label = name)
    expect_false(exists(".Random.seed", globalenv(), inherits = FALSE), label = name)
    set.seed(1)
    once <- numbers(call)
    if (identical(.Random.seed, before)) next
    set.seed(1)
    expect_identical(numbers(call), once, label = name)
  }
})

test_that("a run is run again with something changed, and the same noise", {
  m <- gaussmix(c(.4, .6), c(-1, 1.5), .5, class = c("a", "b"))
  at <- list(key = c(1, 2))
  ddim <- sampler_ddim(20)
  runs <- list(
    list(guided_sample, n = 30, guidance = guidance("a", 1), sampler = ddim),
    list(guided_summary, n = 30, guidance = guidance("a", 1), sampler = ddim, bins = 9),
    list(guidance_sweep, n = 2001, guidance = "a", sampler = list(ddim, sampler_heun(20)),
         strength = 0:1),
    list(guidance_sweep, n = 2001, sampler = ddim, strength = 0:1),
    list(tilted_sample, n = 30, guidance = guidance("a", 1), sampler = sampler_em(20)),
    list(conditional_sample, n = 30, observation = c(x = 1), method = zero_shot_bo())
  )
  values <- function(x) if (is.data.frame(x)) as.data.frame(x) else x[c("x", "histogram", "key")]
  for (call in runs) {
    ask <- function(...) {
      args <- c(list(m), call[-1], at)
      args[names(list(...))] <- list(...)
      suppressWarnings(values(do.call(call[[1]], args)))
    }
    run <- suppressWarnings(do.call(call[[1]], c(list(m), call[-1], at)))
    again <- function(...) suppressWarnings(values(update(run, ...)))
    expect_identical(again(), values(run))
    expect_identical(again(n = 20), ask(n = 20))
    expect_identical(again(key = c(5, 6)), ask(key = c(5, 6)))
    if (!is.null(call$guidance)) {
      expect_identical(again(guidance = guidance("b", 2)), ask(guidance = guidance("b", 2)))
    }
    # written to a file and read
    expect_equal(values(suppressWarnings(update(unserialize(serialize(run, NULL))))), values(run))
    expect_error(update(run, smapler = ddim), "`smapler` is not.*update\\(\\).*`sampler`",
                 class = "mixguide_error")
    expect_error(update(run, 20), "an argument too many", class = "mixguide_error")
  }
  set.seed(1)
  expect_false(identical(update(guided_sample(m, 10, "a", ddim, key = c(1, 2)), key = NULL)$key,
                         c(1, 2)))
  expect_mixguide_error(update(coupled_paths(m, guidance = "a", strength = 0:1, n = 5,
                                             sampler = ddim)), "object")
  expect_mixguide_error(update(information(m, 1)), "object")
})

test_that("a call or a name given as data is refused, and never evaluated", {
  m <- gaussmix(c(.4, .6), c(-1, 1.5), .5, class = c("a", "b"))
  touched <- FALSE
  for (wrong in list(quote(touched <<- TRUE), quote(nowhere))) {
    expect_mixguide_error(guided_summary(m, 50, score_error = wrong), "score_error")
    expect_mixguide_error(guided_sample(m, 5, wrong), "guidance")
    expect_mixguide_error(guided_sample(m, 5, "a", wrong), "sampler")
    expect_mixguide_error(guidance_sweep(m, guidance = "a", strength = 0:1, n = 50,
                                         sampler = wrong), "sampler")
    expect_mixguide_error(guided_summary(diffusion(m), 50, key = wrong), "key")
    run <- guided_sample(m, 5, "a", sampler_ddim(5), key = 1:2)
    expect_mixguide_error(update(run, sampler = wrong), "sampler")
    expect_mixguide_error(update(run, n = wrong), "n")
  }
  expect_false(touched)
})

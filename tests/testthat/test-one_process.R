# f(diffusion(m, ...)) is f(m, ...), for every function that takes a diffusion.

m <- gaussmix(c(.3, .7), cbind(u = c(-1, 1)), .5, class = c("a", "b"))
one <- gaussmix(1, cbind(u = 1), .5)
guide <- guidance("a", 2)
key <- c(3, 4)

# Every function that takes a diffusion, with a mixture, its guidance, and arguments that leave the
# process to the function.
unsaid <- function() {
  y <- observation(.5, H = diag(1), noise = .1)
  x <- matrix(c(-1, .5))
  two <- gaussmix(c(.4, .6), rbind(c(-1, 0), c(1, 1)), .5, class = c("a", "b"))
  few <- list(strength = 0:1, n = 20)
  list(
    guided_sample = list(m, guide, n = 20), guided_summary = list(m, guide, n = 20),
    guided_law = list(m, guide), guided_limit = list(m, guide), guided_error = list(m, guide),
    guided_moments = list(one, NULL), best_grid = list(m, guide, n = 4),
    guidance_sweep = c(list(m, guide), few), coupled_paths = c(list(m, guide), few),
    gain_bound = list(m, guide, strength = 1, n = 5), tilted_sample = list(m, guide, n = 20),
    guidance_identities = c(list(m, guide), few),
    strength_limit = list(m, guide, range = c(1, 2), n = 20), step_condition = list(m, guide),
    capped_strength = list(m, guidance("a", 1000)), guidance_condition = list(m, guide),
    fokker_planck = list(m, guide, nodes = 60, steps = 20), path_kl = list(m, NULL),
    error_budget = list(m, NULL, measure = FALSE), compare_guidance = list(m, guide, n = 64),
    conditional_sample = list(m, NULL, n = 20, observation = y, method = zero_shot_bo()),
    "guided_moments given y" = list(one, NULL, observation = y, method = zero_shot_bo()),
    best_strength = list(m, guide, target = "tilt", knots = 2, profiles = "linear", n = 64),
    plan_sampler = list(m, NULL, error = .1, samplers = "sampler_heun", grids = "quadratic"),
    convergence_order = list(m, guide, steps = c(4, 8)),
    score = list(m, guide, x = x, t = .2), score_jacobian = list(m, guide, x = x, t = .2),
    denoise = list(m, guide, x = x, t = .2), posterior = list(m, NULL, x = x, t = .2),
    diffuse = list(m, NULL, t = .2), tilted_law = list(m, guide), information = list(two, NULL),
    lipschitz = list(m, NULL), mutual_information = list(two, NULL, observation = 1, n = 50),
    recfg_weights = list(two, guide, t = .2), mismatch = list(m, NULL, model = one),
    "score given y" = list(m, NULL, x = x, t = 5, observation = y, method = zero_shot_bo()),
    guidance_report = list(m, NULL, classes = "a", n = 20, strength = 0:1, evaluations = 4)
  )
}

takes_diffusion <- function(f) {
  is.function(f) && any(c("as_diffusion", "unpack_diffusion") %in% all.names(body(f)))
}

test_that("an analysis of a diffusion is that of its mixture: what was not given is chosen alike", {
  skip_on_cran()
  exports <- getNamespaceExports("mixguide")
  taking <- Filter(function(name) takes_diffusion(getExportedValue("mixguide", name)), exports)
  expect_setequal(taking, sub(" .*", "", names(unsaid())))
  for (name in names(unsaid())) {
    f <- getExportedValue("mixguide", sub(" .*", "", name))
    case <- unsaid()[[name]]
    rest <- case[-(1:2)]
    own <- list(guidance = case[[2]], key = key)
    own <- own[lengths(own) > 0 &
                 (names(own) %in% names(formals(f)) | "..." %in% names(formals(f)))]
    answer <- function(...) {
      result <- suppressWarnings(suppressMessages(f(...)))
      if (is.list(result)) result$seconds <- NULL
      result
    }
    of_mixture <- do.call(answer, c(case[1], own, rest))
    of_diffusion <- do.call(answer, c(list(do.call(diffusion, c(case[1], list(guidance = case[[2]]),
                                                                key = list(key)))), rest))
    expect_true(identical(of_diffusion, of_mixture, ignore.environment = TRUE), label = name)
    expect_identical(capture.output(print(of_diffusion)), capture.output(print(of_mixture)),
                     label = name)
  }
})

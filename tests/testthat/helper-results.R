# One result of every class that prints, with a key if anything is drawn.
all_results <- function() {
  m <- gaussmix(c(.4, .6), c(-1, 1.5), .5, class = c("a", "b"))
  three <- gaussmix(rep(1 / 3, 3), rbind(c(0, 0), c(3, 0), c(0, 3)), .5, class = c("a", "b", "c"))
  fit <- as_gaussmix(Species ~ ., iris)
  M2 <- named_mixture("M2")
  y <- observation(.8, H = cbind(1, .5), noise = .3^2)
  few <- schedule_etc(20)
  ddim <- sampler_ddim(20)
  em <- sampler_em(20)
  exponential <- sampler_exponential(10, "uniform", stochastic = TRUE)
  key <- c(1, 2)
  run <- guided_sample(fit, 50, guidance("setosa", 2), ddim, key = key)
  summed <- guided_summary(fit, 50, guidance("setosa", 2), ddim, key = key, bins = 10)
  law <- guided_law(m, guidance("a", 1), sampler_heun(20))
  imputed <- impute(fit, replace(iris[1:10, 1:4], 2, NA), m = 2, key = key)
  drawn <- conditional_sample(M2, 40, y, zero_shot_bo(), schedule = few, key = key)
  wrong <- mismatch(M2, model = gaussmix(1, t(c(0, 0)), 1), schedule = few)
  list(
    mixture = fit, summary_of_mixture = summary(fit), diffusion = diffusion(m, "a", ddim),
    guidance = guidance("a", 1) + guidance("b", 2), sampler = ddim,
    corrected = sampler_corrected(ddim, corrector_langevin(.1)), corrector = corrector_langevin(.1),
    schedule = schedule_vp(), observation = y, score_error = score_error(bias = .1),
    method = zero_shot_tds(8), op = op_noise("z"), rule = guidance_rule("apg"),
    profile = strength_profile("linear", 2), model = score_model(function(x, t, class) -x,
                                                                 variables = 2),
    capped = capped_strength(m, guidance("a", 100), ddim),
    confidence = confidence(m), entropy = entropy(m), moments = moments(m),
    moments_of_several = moments(fit), two_laws = law_distance(law, law),
    mutual_information = mutual_information(M2, 1), run = run, summary_of_run = summary(run),
    summed = summed, law = law, summary_of_law = summary(law), distance = law_distance(law, m),
    tilted_law = tilted_law(m, "a", 1), limit = guided_limit(m, sampler = sampler_em(8, "uniform")),
    moments_of_run = guided_moments(gaussmix(1, 1, 1), sampler = em),
    pde = fokker_planck(m, guidance("a", 1), schedule = schedule_vp(), end = .1),
    sliced = sliced_wasserstein(iris[1:20, 1:4], iris[21:40, 1:4], key = key),
    compared = compare_guidance(three, 64, list(guidance("a", 1), guidance("a", 1, power = 1)),
                                sampler = ddim, key = key),
    best = best_strength(m, guidance = "a", sampler = sampler_ddim(4), target = "tilt",
                         profiles = "linear", knots = 2,
                         key = key),
    sweep = guidance_sweep(fit, guidance = "setosa", strength = c(0, 2), n = 50, sampler = ddim,
                           key = key),
    sweep_of_classes = guidance_sweep(three, strength = c(0, 2), n = 64, sampler = ddim, key = key),
    sweep_of_all = guidance_sweep(fit, strength = c(0, 2), n = 64, sampler = list(ddim, em),
                                  steps = c(10, 20), key = key),
    paths = coupled_paths(m, guidance = "a", strength = c(0, 2), n = 50, sampler = ddim, key = key),
    tilted = tilted_sample(m, 200, guidance("a", 1), em, key = key),
    error = guided_error(m, sampler = ddim, parts = TRUE),
    path_kl = path_kl(m, sampler = exponential, horizon = 3),
    budget = error_budget(m, sampler = exponential, horizon = 3, measure = FALSE),
    steps = step_condition(m, guidance("a", 2), ddim), time = guidance_condition(three, "a"),
    unproved = guidance_condition(fit, "setosa"),
    gain = gain_bound(m, guidance = "a", strength = c(.5, 2), start = matrix(c(-1, 0, 2))),
    split = split_threshold(20, 3, .1),
    order = convergence_order(m, samplers = list(heun = sampler_heun(2)), steps = c(5, 10)),
    lipschitz = lipschitz(m, .1, radius = 1), lipschitz_at_times = lipschitz(m, c(.1, 1)),
    information = information(m, c(.1, 1)),
    sde = guidance_identities(m, guidance = "a", strength = 1, sampler = em),
    identity = guidance_identities(m, 200, "a", 1, ddim, key = key),
    limit_of_strength = strength_limit(m, guidance = "a", n = 201, sampler = ddim,
                                       range = c(.5, 8)),
    mismatch = wrong, mismatch_parts = summary(wrong), imputed = imputed,
    drawn = drawn, summary_of_drawn = summary(drawn),
    moments_given_y = guided_moments(gaussmix(1, t(c(0, 0)), 1), observation = y,
                                         method = zero_shot_bo(), schedule = few),
    judged = judge_samples(list(one = drawn$x, two = drawn$x), M2, y, key = key, directions = 20),
    grid = best_grid(m, guidance = "a", sampler = sampler_heun(4), n = 20, key = key),
    plan = plan_sampler(m, error = .1, samplers = "sampler_heun", grids = "quadratic", n = 200)
  )
}

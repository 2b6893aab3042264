# The prints of results: tests/testthat/_snaps/prints.md has them, and shows every change.

m <- gaussmix(c(.4, .6), c(-1, 1.5), .5, class = c("a", "b"))
M2 <- named_mixture("M2")
y <- observation(.8, H = cbind(1, .5), noise = .3^2)
few <- schedule_etc(20)
ddim <- sampler_ddim(20)
# by quadrature where there is one, so that no digit depends on draws
shown <- function(...) expect_snapshot_output(suppressWarnings(print(...)), cran = FALSE)

test_that("mixtures, processes, samplers and methods print", {
  shown(m)
  shown(diffusion(m, guidance("a", 2), ddim))
  shown(guidance(c("a", "b"), 1))
  shown(ddim)
  shown(schedule_vp())
  shown(y)
  shown(score_error(bias = .1))
  shown(zero_shot_bo())
  shown(op_noise("z"))
})

test_that("estimates print with their errors, or alone", {
  shown(confidence(m))
  shown(entropy(m))
  shown(mutual_information(M2, 1))
  shown(moments(m))
  shown(moments(M2))
  shown(guided_moments(gaussmix(1, t(c(0, 0)), 1), observation = y, method = zero_shot_bo(),
                       schedule = few))
  law <- guided_law(m, guidance("a", 1), sampler_heun(20))
  shown(law)
  shown(summary(law))
  shown(law_distance(law, m))
  shown(law_distance(law, tilted_law(m, "a", 1)))
  rows <- estimate_row(c(.9993123, 12.3456, 2.71828, NA), c(1.23e-4, .234, 0, NA),
                       c("Monte Carlo", "Monte Carlo", "exact", "unknown"),
                       c("", "", "", "nobody knows"))
  shown(estimate_table(c("one", "two", "e", "other"), rows, "four numbers"))
})

test_that("errors, bounds and statements print", {
  shown(guided_error(m, sampler = sampler_heun(10)))
  exponential <- sampler_exponential(10, "uniform", stochastic = TRUE)
  shown(path_kl(m, sampler = exponential, horizon = 3))
  shown(error_budget(m, sampler = exponential, horizon = 3))
  shown(step_condition(m, guidance("a", 2), ddim))
  shown(guidance_condition(m, "a"))
  shown(gain_bound(m, guidance = "a", strength = c(.5, 2), start = matrix(c(-1, 0, 2))))
  shown(split_threshold(20, 3, .1))
  shown(convergence_order(m, samplers = list(heun = sampler_heun(2)), steps = c(5, 10)))
  shown(lipschitz(m, .1, radius = 1))
  shown(lipschitz(m, c(.1, 1)))
  shown(information(m, c(.1, 1)))
})

test_that("sweeps and runs print", {
  shown(guidance_sweep(m, guidance = "a", strength = c(0, 2), n = 2001, sampler = ddim))
  shown(guidance_sweep(m, strength = c(0, 2), n = 2001, sampler = ddim, steps = c(10, 20)))
  shown(guidance_identities(m, guidance = "a", strength = 1, sampler = sampler_em(20)))
  shown(guided_limit(m, sampler = sampler_em(40, "uniform")))
  shown(strength_limit(m, guidance = "a", n = 2001, sampler = sampler_euler(10), range = c(.5, 64)))
  shown(mismatch(M2, model = gaussmix(1, t(c(0, 0)), 1), schedule = few))
})

test_that("prints with draws have errors in brackets", {
  # the key alone determines the print
  shown(guided_sample(m, 400, guidance("a", 2), ddim, key = c(1, 2)))
  shown(guided_summary(m, 400, guidance("a", 2), ddim, key = c(1, 2)))
  paths <- coupled_paths(m, guidance = "a", strength = c(0, 2), n = 100, sampler = ddim,
                         key = c(1, 2))
  # the difference of two equal sums is rounding
  expect_snapshot(paths, transform = function(x) sub("agree to .*", "agree", x), cran = FALSE)
  shown(tilted_sample(m, 4000, guidance("a", 1), sampler_em(20), key = c(1, 2)))
  shown(conditional_sample(M2, 100, y, zero_shot_bo(), schedule = few, key = c(1, 2)))
})

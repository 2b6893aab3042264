# Divergences and total variation between outputs and targets: against tables of the theory, closed
# forms, and each other.

A1 <- named_mixture("A1")
G1 <- named_mixture("G1")
B2 <- named_mixture("B2")
errors <- function(mixture, sampler, ...) {
  guided_error(mixture, sampler = sampler, ..., horizon = 3)$estimate
}
from_target <- function(...) errors(..., start = "exact")

test_that("one Gaussian has the known error in closed form, which the nodes confirm", {
  closed <- guided_error(G1, sampler = sampler_em(100, "uniform"), horizon = 3, start = "exact")
  by_nodes <- from_target(G1, sampler_em(100, "uniform"), method = "quadrature")
  expect_equal(closed$estimate, by_nodes, tolerance = 1e-5)
  expect_equal(closed$estimate[1:2], by_nodes[1:2], tolerance = 1e-9)
  expect_equal(closed$estimate[1], 3.1928399023e-3, tolerance = 1e-9)
  expect_identical(unique(closed$method), "exact")
  known <- integrate(function(x) {
    abs(dnorm(x, 1.494595341743, sqrt(.280249080095)) - dnorm(x, 1.5, .5)) / 2
  }, -3, 6, rel.tol = 1e-10, subdivisions = 1000)$value
  expect_equal(closed$estimate[3], known, tolerance = 1e-7)
})

test_that("the total variation of two normals is the integral", {
  for (to in list(c(.3, 1), c(0, 2), c(-1, .2), c(1e-3, 1 + 1e-6), c(5, 1), c(0, 1))) {
    known <- integrate(function(x) abs(dnorm(x) - dnorm(x, to[1], sqrt(to[2]))) / 2, -12, 12,
                       rel.tol = 1e-10, subdivisions = 5000)$value
    expect_equal(mixguide:::normal_variation(0, 1, to[1], to[2]), known, tolerance = 1e-6)
    # units and the order of variables do not matter
    expect_equal(mixguide:::normal_variation(100 + 10 * to[1], 100 * to[2], 100, 100), known,
                 tolerance = 1e-6)
  }
})

test_that("A1 has the tabulated divergence, whose total variation is in test-theory-smoothness", {
  known <- theory("paths")
  known <- known[known$steps %in% c(50, 100), ]
  for (name in c("EI", "EM", "ANC")) {
    found <- vapply(known$steps, function(n) {
      from_target(A1, smooth_samplers[[name]](n, "uniform", 0))[1]
    }, 0)
    expect_lt(max(abs(found / known[[paste0(name, "_kl")]] - 1)), 1e-4)
  }
})

test_that("a constant error of the score has the tabulated effect on A1", {
  known <- theory("score-bias")
  known <- known[known$bias %in% c(.05, .4), ]
  for (i in seq_len(nrow(known))) {
    wrong <- score_error(bias = known$bias[i])
    sde <- errors(A1, sampler_exponential(200, "uniform", stochastic = TRUE), score_error = wrong)
    ode <- errors(A1, sampler_heun(200, "uniform"), score_error = wrong)
    expect_lt(max(abs(c(sde[1] / known$EI_kl[i], ode[1] / known$Heun_kl[i]) - 1)), 1e-4)
    expect_lt(max(abs(c(sde[3] / known$EI_tv[i], ode[3] / known$Heun_tv[i]) - 1)), 1e-3)
  }
})

test_that("B2 has the tabulated error: total variation, and divergence as far as its grid knows", {
  found <- from_target(B2, sampler_exponential(50, "uniform", stochastic = TRUE))
  expect_equal(found[3], .10008, tolerance = 1e-3)
  # the table has 3.3493e-2; a sum over all pairs of nodes, on 161 x 161 over +-8, has this value
  expect_equal(found[1], 3.348906021e-2, tolerance = 1e-8)
  expect_equal(c(from_target(B2, sampler_euler(50, "uniform"))[3],
                 from_target(B2, sampler_exponential(50, grid = "uniform"))[3]),
               c(5.7324e-2, 4.9001e-2), tolerance = 2e-3)
})

test_that("the ODE carries the error of the start to the end unchanged, the SDE contracts it", {
  table <- guided_error(A1, sampler = sampler_rk4(60), horizon = 1, parts = TRUE)
  part <- function(name) table$estimate[table$part == name]
  expect_equal(part("initialisation")[1], 1.383032e-2, tolerance = 1e-6)
  expect_equal(part("whole"), part("initialisation"), tolerance = 1e-4)
  expect_lt(part("exact start")[1], 1e-10)
  expect_lte(part("whole")[3], part("initialisation")[3] + part("exact start")[3])
  expect_equal(guided_error(A1, sampler = sampler_ddpm(400, "uniform", variance = "matched"),
                            horizon = 1)$estimate[1],
               6.489e-4, tolerance = 1e-3)
  # the error of the start alone, in the plane and after a reduction
  start <- function(mixture, horizon) {
    guided_error(mixture, sampler = sampler_euler(2, "uniform"), horizon = horizon,
                  parts = TRUE)$estimate[4:6]
  }
  expect_equal(start(B2, .5)[1], 3.90799623e-2, tolerance = 1e-6)
  expect_equal(start(B2, 3)[c(1, 3)], c(8.14499994e-6, 1.5518e-3), tolerance = 1e-3)
  long <- gaussmix(A1$weights, cbind(A1$means, 0, 0), lapply(A1$values, function(v) c(v, 1, 1)))
  expect_equal(start(long, .5)[c(1, 3)], c(8.532963e-2, .150895), tolerance = 1e-5)
})

test_that("the error of the start of one Gaussian is that at the horizon", {
  for (method in c("exact", "quadrature")) {
    table <- guided_error(G1, sampler = sampler_em(50), horizon = 3, parts = TRUE, method = method)
    expect_equal(table$estimate[4], 2.789461300965e-3, tolerance = 1e-9)
  }
})

test_that("by particles the error is the same, within its standard error", {
  withr::local_seed(611)
  by_nodes <- from_target(B2, sampler_euler(30))
  rows <- guided_error(B2, sampler = sampler_euler(30), horizon = 3, start = "exact",
                        method = "Monte Carlo", n = 2e4)
  expect_identical(unique(rows$method), "Monte Carlo")
  expect_lt(max(abs(rows$estimate - by_nodes) / rows$se), 4)
  # three dimensions that do not reduce
  cube <- gaussmix(c(.3, .3, .2, .2), rbind(0, diag(2, 3)), .5)
  rows <- guided_error(cube, sampler = sampler_rk4(30), horizon = 1, n = 5000, parts = TRUE)
  gap <- rows$estimate[1:3] - rows$estimate[4:6]
  expect_lt(max(abs(gap) / sqrt(rows$se[1:3]^2 + rows$se[4:6]^2)), 4)
})

test_that("what a reduction leaves counts in all three", {
  withr::local_seed(612)
  # one Gaussian, as a mixture of two equal ones: one dimension on nodes, two analytically
  single <- gaussmix(1, t(c(1, -1, 2)), .25)
  double <- gaussmix(c(.5, .5), rbind(single$means, single$means), .25)
  for (sampler in list(sampler_em(40), sampler_heun(10))) {
    exact <- guided_error(single, sampler = sampler, horizon = 3, n = 4e4)
    found <- guided_error(double, sampler = sampler, horizon = 3, n = 4e4)
    expect_equal(found$estimate[1:2], exact$estimate[1:2], tolerance = 1e-7)
    expect_identical(exact$method, c("exact", "exact", "Monte Carlo"))
    expect_lt(abs(found$estimate[3] - exact$estimate[3]) / sqrt(sum(c(found$se[3], exact$se[3])^2)),
              4)
  }
})

test_that("a guided run is compared with the law of its class", {
  A2 <- named_mixture("A2")
  one <- guided_error(A2, sampler = sampler_rk4(40), guidance = guidance("1"), horizon = 5,
                      start = "exact")
  expect_lt(max(one$estimate[1:2]), 1e-8)
  more <- guided_error(A2, sampler = sampler_rk4(40), guidance = guidance("1", 2), horizon = 5)
  law <- guided_law(A2, guidance("1", 2), sampler_rk4(40), horizon = 5)
  known <- by_quantity(law_distance(law, mixguide:::class_law(A2, "1")))
  expect_equal(more$estimate, c(known$kl, known$kl_reverse, known$total_variation))
})

test_that("a single Gaussian led away from another is not the one of guided_moments()", {
  away <- guidance("1", 1, negative = gaussmix(1, .8, .6))
  m <- gaussmix(1, 1, .5)
  got <- guided_error(m, sampler = sampler_ddim(20), guidance = away)
  expect_identical(unique(got$method), "quadrature")
  law <- guided_law(m, away, sampler_ddim(20))
  expect_equal(got$estimate[2], by_quantity(law_distance(law, m))$kl_reverse)
  expect_error(guided_error(m, sampler = sampler_ddim(20), guidance = away, method = "exact"),
               "`method`",
               class = "mixguide_error")
})

test_that("what a reduction leaves may be much narrower in the target", {
  rest <- function(variance) list(mean = double(2000), variance = rep(variance, 2000))
  at <- list(w = rep(.25, 4), log = c(-.2, .1, .1, -.05))
  got <- rest_variation(at, rest(4), rest(1), 200)
  expect_equal(got$estimate, 1)
})

test_that("the total variation of two Gaussians holds at the extremes", {
  # narrow components, far ones and equal ones
  expect_identical(normal_variation(1e3, 1e-300, 1, .5), 1)
  expect_identical(normal_variation(0, 1, 1e200, 1), 1)
  expect_identical(normal_variation(-60, 1e-6, 1, .5), 1)
  expect_identical(normal_variation(2, 3, 2, 3), 0)
  expect_equal(normal_variation(0, 1, 1e-9, 1), 1e-9 * dnorm(0), tolerance = 1e-6)
  expect_equal(normal_variation(0, 1, 0, 1e-300), 1)
  expect_equal(normal_variation(0, 1, -3, 1), 2 * pnorm(1.5) - 1)
  for (at in list(c(0, 1, -.5, 2), c(1, .3, 1, .31), c(-2, 4, 1, .1))) {
    gap <- function(x) abs(dnorm(x, at[1], sqrt(at[2])) - dnorm(x, at[3], sqrt(at[4]))) / 2
    by_sum <- sum(gap(seq(-30, 30, 1e-4))) * 1e-4
    expect_equal(normal_variation(at[1], at[2], at[3], at[4]), by_sum, tolerance = 1e-6)
    expect_equal(normal_variation(at[3], at[4], at[1], at[2]), by_sum, tolerance = 1e-6)
  }
})

test_that("it prints, is a data frame, and refuses by name what it cannot do", {
  table <- guided_error(G1, sampler = sampler_em(10), parts = TRUE,
                        score_error = score_error(bias = .1))
  expect_output(print(table), "score: .*KL\\(target \\|\\| output\\) +exact start and score")
  expect_identical(unique(table$part),
                   c("whole", "initialisation", "exact start", "exact start and score"))
  expect_s3_class(as.data.frame(table), "data.frame", exact = TRUE)
  expect_output(print(table[1:2, ]), "quantity|KL")
  refused <- function(...) expect_error(guided_error(...), class = "mixguide_error")
  refused(1)
  refused(A1, sampler_em(5), parts = 2)
  refused(A1, sampler_em(5), score_error = .1)
  refused(A1, sampler_em(5), method = "exact")
  expect_mixguide_error(guided_error(A1, sampler = sampler_em(5), method = "Monte Carlo"), "method")
  refused(gaussmix(c(.5, .5), c(-1, 1), 0), sampler_em(5))
  refused(named_mixture("G4"), sampler_em(5))
  refused(A1, sampler_em(5), start = matrix(0))
  refused(A1, sampler_dpum(15, 1 / 30, .1))
})

test_that("a mode that the output lacks counts in full, or the divergence is unknown", {
  m <- gaussmix(c(.9991, .0009), c(0, 20), 1)
  lacking <- score_error(model = gaussmix(1, 0, 1))
  # the output is the standard normal, except for 5e-5 of its variance
  known <- c(.1728, 9.004e-4, 9e-4)
  nodes <- guided_error(m, sampler = sampler_heun(40), score_error = lacking)
  expect_lt(max(abs(nodes$estimate / known - 1)), 1e-3)
  withr::local_seed(613)
  drawn <- guided_error(m, sampler = sampler_heun(40), score_error = lacking,
                        method = "Monte Carlo",
                         n = 5000)
  expect_lt(abs(drawn$estimate[1] - nodes$estimate[1]) / drawn$se[1], 4)
  expect_equal(drawn$estimate[2:3], nodes$estimate[2:3], tolerance = 1e-6)
  expect_warning(chain <- guided_error(m, sampler = sampler_em(40), score_error = lacking),
                 "do not see 9e-04 of the mass of the target")
  expect_identical(chain$method, c("unknown", "quadrature", "quadrature"))
  expect_identical(chain$estimate[1], NA_real_)
  # far off, but known
  there <- gaussmix(1, 60, 1e-4)
  off <- lapply(c("exact", "quadrature"), function(method) {
    guided_error(gaussmix(1, 0, 1), sampler = sampler_ddim(1), horizon = 3, start = there,
                 method = method)
  })
  expect_equal(off[[2]]$estimate, off[[1]]$estimate, tolerance = 1e-6)
})

test_that("by draws its errors are honest, and where steps fold it says unknown", {
  withr::local_seed(614)
  means <- matrix(rnorm(12, sd = 1.5), 3)
  m <- gaussmix(c(.3, .3, .4), means, lapply(1:3, function(k) runif(4, .2, 1)))
  rows <- lapply(1:40, function(i) guided_error(m, sampler = sampler_ddim(10), n = 1000))
  each <- vapply(rows, function(row) row$estimate, double(3))
  se <- vapply(rows, function(row) row$se, double(3))
  truth <- guided_error(m, sampler = sampler_ddim(10), n = 1e5)
  expect_lt(max(abs(rowMeans(se) / apply(each, 1, sd) - 1)), .4)
  covered <- rowMeans(abs(each - truth$estimate) < 2 * sqrt(se^2 + truth$se^2))
  expect_gt(min(covered), .82)
  petals <- as_gaussmix(Species ~ Petal.Length + Petal.Width, iris)
  expect_warning(folded <- guided_error(petals, sampler = sampler_heun(10), method = "Monte Carlo",
                                         n = 500), "fold")
  expect_identical(folded$method, rep("unknown", 3))
})

test_that("the start that leads to a point is found, in any dimension", {
  withr::local_seed(615)
  m <- gaussmix(c(.4, .6), rbind(c(0, 1, 2), c(1, -1, 0)), list(.3, c(.5, .2, .4)))
  run <- mixguide:::law_run(diffusion(m, guidance("1", 1), sampler_ddim(20)), reduce = FALSE)
  out <- guided_sample(m, 200, guidance("1", 1), sampler_ddim(20), log_density = "map")
  at <- mixguide:::pull_back(run, unname(out$x))
  expect_true(all(at$found))
  expect_equal(at$log_density, out$log_density, tolerance = 1e-7)
})

test_that("where steps fold, draws bound the total variation that the sum over branches has", {
  m <- gaussmix(c(.4, .6), c(-3, 2), c(.01, .05))
  set.seed(3)
  for (steps in c(4, 10)) {
    step <- sampler_heun(steps)
    whole <- suppressWarnings(guided_error(m, sampler = step))$estimate[3]
    words <- tryCatch(guided_error(m, sampler = step, method = "Monte Carlo", n = 6000),
                      warning = conditionMessage)
    least <- as.numeric(sub(".*at least ", "", words))
    expect_lte(least, whole)
    expect_gt(least, .85 * whole)
  }
  # cells distinguish laws, and find a law equal to itself
  for (d in 1:2) {
    for (shift in c(0, .5, 2)) {
      x <- matrix(rnorm(6000 * d), 6000)
      x[, 1] <- x[, 1] + shift
      found <- cell_difference(x, matrix(rnorm(6000 * d), 6000))
      whole <- 2 * pnorm(shift / 2) - 1
      expect_lt(found$estimate - 3 * found$se, whole)
      expect_gt(found$estimate + 3 * found$se, .9 * whole)
    }
  }
})

test_that("starts that the flow does not find are found from the nearest nodes", {
  m <- standardise(gaussmix(c(.36, .64), rbind(c(2.04, 54.5), c(4.29, 80)),
                            list(matrix(c(.069, .435, .435, 33.7), 2),
                                 matrix(c(.17, .94, .94, 36), 2))))
  expect_no_warning(nodes <- guided_error(m, sampler = sampler_ddim(20), nodes = 201))
  expect_identical(unique(nodes$method), "quadrature")
  withr::local_seed(616)
  drawn <- guided_error(m, sampler = sampler_ddim(20), method = "Monte Carlo", n = 4000)
  expect_lt(max(abs(nodes$estimate - drawn$estimate) / drawn$se), 4)
})

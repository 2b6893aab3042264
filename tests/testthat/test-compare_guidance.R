value <- function(table, quantity, guidance) {
  table$estimate[table$quantity == quantity & table$guidance == guidance]
}

test_that("a comparison has the numbers of the exact laws", {
  m <- named_mixture("D3")
  guides <- list(plain = guidance("1", 2), power = guidance("1", 2, power = 1))
  for (sampler in list(sampler_ddim(20), sampler_ddpm(10))) {
    x <- compare_guidance(m, guidance = guides, sampler = sampler, n = 1024)
    for (name in names(guides)) {
      law <- guided_law(m, guides[[name]], sampler)
      at <- moments(law)
      expect_equal(value(x, "confidence", name), confidence(law)$estimate)
      expect_equal(value(x, "entropy", name), entropy(law)$estimate)
      expect_equal(value(x, "spread", name), sqrt(drop(at$cov)), ignore_attr = TRUE)
      error <- suppressWarnings(guided_error(m, guidance = guides[[name]], sampler = sampler))
      expect_equal(value(x, "total_variation", name), error$estimate[3], tolerance = 1e-6)
      expect_equal(value(x, "kl_reverse", name), error$estimate[2], tolerance = 1e-6)
      tilt <- law_distance(law, tilted_law(m, guidance("1", 2)))
      expect_equal(value(x, "tilt_total_variation", name), tilt$estimate[3])
      expect_equal(value(x, "tilt_kl_reverse", name), tilt$estimate[2])
    }
    expect_true(all(x$method[x$quantity == "confidence"] == "quadrature"))
  }
  # distances to the class and to the tilt, by quadrature on the line
  p <- function(x) dnorm(x)
  q <- function(x) dnorm(x) / (dnorm(x) + dnorm(x, -3) + dnorm(x, 3))
  z <- integrate(function(x) p(x) * q(x)^2, -10, 10, rel.tol = 1e-10)$value
  at <- function(f) integrate(function(x) f(x) * p(x) * q(x)^2 / z, -10, 10, rel.tol = 1e-10)$value
  expect_equal(value(x, "confidence", "(the class)"),
               integrate(function(x) p(x) * q(x), -10, 10, rel.tol = 1e-10)$value)
  expect_equal(value(x, "confidence", "(the tilt, 2)"), at(q), tolerance = 1e-8)
  expect_equal(value(x, "kl_reverse", "(the tilt, 2)"), at(function(x) log(q(x)^2 / z)),
               tolerance = 1e-6)
  expect_equal(value(x, "tilt_kl_reverse", "(the class)"),
               integrate(function(x) p(x) * -log(q(x)^2 / z), -10, 10, rel.tol = 1e-10)$value,
               tolerance = 1e-6)
})

test_that("particles and laws tell the same, within standard errors", {
  m <- named_mixture("H3")
  guide <- guidance("1", .5)
  d <- diffusion(m, guide, sampler_heun(20), key = c(3, 4))
  goal <- compared_goal(d, .5)
  law <- guided_law(d)
  run <- guided_sample(d, 2^13, points = "sobol")
  by_law <- c(law_rows(law, goal), law_distances(law, goal))
  drawn <- c(particle_rows(run, goal), particle_distances(run, goal))
  expect_setequal(names(drawn), names(by_law))
  for (name in names(drawn)) {
    expect_lt(abs(drawn[[name]]$estimate - by_law[[name]]$estimate), 4 * drawn[[name]]$se + 1e-6)
    expect_gt(drawn[[name]]$se, 0)
  }
})

test_that("differences of the map tell the density of rules in any dimension", {
  set.seed(1)
  m <- gaussmix(c(.5, .5), rbind(c(0, 0, 1), c(1, -1, 0)),
                list(diag(c(1, .5, .3)), crossprod(matrix(rnorm(9), 3)) / 3 + diag(.2, 3)),
                class = c("a", "b"))
  # this rule equals plain guidance, whose density is carried along
  d <- diffusion(m, guidance("a", 1, rule = guidance_rule("apg", parallel = 1)), sampler_ddim(10),
                 key = c(1, 2))
  for (points in c("random", "sobol")) {
    d$points <- points
    run <- with_density(guided_sample(d, 1024), d)
    plain <- guided_sample(d, 1024, guidance = guidance("a", 1))
    expect_equal(run$x, plain$x, tolerance = 1e-10)
    expect_equal(run$log_density, plain$log_density, tolerance = 1e-8)
    expect_lt(max(run$off), 1e-7)
  }
})

test_that("all rules come with one guidance; what is not defined is left out", {
  x <- compare_guidance(named_mixture("D3"), guidance = guidance("1", 2),
                        sampler = sampler_ddim(5), n = 64)
  expect_setequal(unique(x$guidance),
                  c("plain", "power", "(the class)", "(the tilt, 2)",
                    setdiff(names(all_rules()), c("perp_neg", "rescale", "dng", "adg"))))
  # in one dimension this rule gives no guidance
  expect_equal(value(x, "confidence", "cfg_zero"),
               confidence(guided_law(named_mixture("D3"),
                                     guidance("1", 0, rule = "cfg_zero"),
                                     sampler_ddim(5)))$estimate, tolerance = 1e-8)
  scores <- function(...) {
    value(compare_guidance(named_mixture("D3"), guidance = list(a = guidance("1", ...)),
                           sampler = sampler_ddim(10),
                           n = 64), "evaluations", "a")
  }
  expect_equal(scores(2), 20)
  expect_equal(scores(0), 10)
  expect_equal(scores(2, power = 1), 20)
  expect_equal(scores(2, interval = c(0, .1)), 10 + sum(
    diffusion(named_mixture("D3"), sampler = sampler_ddim(10))$times[1:10] <= .1))
})

test_that("at one confidence each has the strength that gives it", {
  m <- named_mixture("D3")
  x <- compare_guidance(m, guidance = list(plain = guidance("1", 1),
                                linear = guidance("1", strength_profile("linear", 1)),
                                nothing = guidance("1", 1, rule = "cfg_zero")),
                        sampler = sampler_ddim(20), n = 4096, confidence = .9, key = c(1, 2))
  expect_setequal(unique(x$guidance), c("plain", "linear", "(the class)", "(the tilt, 1)"))
  for (name in c("plain", "linear")) {
    expect_equal(value(x, "confidence", name), .9, tolerance = 1e-3)
  }
  by <- uniroot(function(by) {
    confidence(guided_law(m, guidance("1", by), sampler_ddim(20)))$estimate - .9
  }, c(0, 2), tol = 1e-8)$root
  expect_equal(value(x, "strength", "plain"), by, tolerance = 1e-2)
  expect_said(print(x), "left out, since never of confidence 0.9: nothing")
})

test_that("units do not matter", {
  m <- gaussmix(c(.4, .6), rbind(c(0, 0), c(2, 1)), diag(c(1, .5)), class = c("a", "b"))
  large <- standardise(gaussmix(c(.4, .6), rbind(c(5, 3), c(2005, 3.001)), diag(c(1e6, .5e-6)),
                                class = c("a", "b")))
  guides <- list(plain = guidance("a", 1), tcfg = guidance("a", 1, rule = "tcfg"))
  one <- compare_guidance(standardise(m), guidance = guides, sampler = sampler_ddim(10), n = 256,
                          key = 1:2)
  two <- compare_guidance(large, guidance = guides, sampler = sampler_ddim(10), n = 256, key = 1:2)
  same <- one$quantity != "entropy" & one$method != "bound"
  expect_equal(two$estimate[same], one$estimate[same], tolerance = 1e-5)
})

test_that("point masses, strange output and wrong arguments", {
  points <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1, 1)), diag(c(1, 0)), class = c("a", "b"))
  x <- compare_guidance(points, guidance = list(plain = guidance("a", 1)),
                        sampler = sampler_ddim(10), n = 64)
  expect_true(all(is.na(x$estimate[x$quantity == "total_variation" & x$guidance == "plain"])))
  expect_match(x$note[x$quantity == "outside" & x$guidance == "plain"], "singular")
  m <- named_mixture("H3")
  input <- function(code) expect_error(code, class = "mixguide_error_input")
  input(compare_guidance(m))
  input(compare_guidance(m, guidance = list()))
  input(compare_guidance(m, guidance = list(guidance("1", 1), guidance("2", 1))))
  input(compare_guidance(m, guidance = list(mean)))
  input(compare_guidance(m, guidance = guidance("1", 1) + guidance("2", 1)))
  input(compare_guidance(m, guidance = guidance("1", 1), n = 1))
  expect_error(compare_guidance(gaussmix(1, c(0, 0), 1, class = "a"), guidance = guidance("a", 2),
                                n = 64),
               "`mixture` must be of several classes", class = "mixguide_error_input")
  input(compare_guidance(m, guidance = guidance("1", 1), tilt = "a"))
  input(compare_guidance(m, guidance = guidance("1", 1), confidence = 1))
})

test_that("print and plot", {
  set.seed(1)
  x <- compare_guidance(named_mixture("D3"), guidance = list(plain = guidance("1", 3),
                                                  power = guidance("1", 3, power = 1)),
                        sampler = sampler_ddim(20), n = 1024)
  expect_snapshot(print(x))
  lines <- capture.output(print(x))
  expect_lte(max(nchar(lines)), 80)
  expect_s3_class(ggplot2::ggplot_build(autoplot(x))$plot, "ggplot")
  expect_identical(names(tidy(x))[1:3], c("quantity", "guidance", "estimate"))
})

test_that("no shift and spread are known where the class does not vary", {
  m <- gaussmix(c(.5, .5), c(0, 1), 0, class = c("a", "b"))
  rows <- plain_table(compare_guidance(m, guidance = list(plain = guidance("a", 2)),
                                       sampler = sampler_ddim(5), n = 64))
  rows <- rows[rows$guidance == "plain" & rows$quantity %in% c("shift", "spread"), ]
  expect_identical(rows$estimate, c(NA_real_, NA_real_))
  expect_match(rows$note, "does not vary in x")
})

test_that("what differences do not tell is unknown, and bounds say which side", {
  m <- gaussmix(rep(1, 3) / 3, c(.63, -.13, -.49), c(1.53, .46, .38), class = c("L", "M", "H"))
  x <- compare_guidance(m, guidance = list(adg = guidance("M", 2, rule = "adg")), n = 64)
  rows <- x[x$guidance == "adg", ]
  unknown <- c("entropy", FROM_CLASS, FROM_TILT)
  expect_identical(unique(rows$method[rows$quantity %in% unknown]), "unknown")
  expect_match(rows$note[rows$quantity == "entropy"], "jumps")
  plane <- gaussmix(c(.5, .5), rbind(c(-1, 0), c(1, .5)), list(diag(c(.3, .6)), diag(c(.5, .2))),
                    class = c("a", "b"))
  y <- compare_guidance(plane, guidance = list(adg = guidance("a", 3, rule = "adg")),
                        sampler = sampler_ddim(10), n = 64)
  expect_identical(y$method[y$quantity == "entropy" & y$guidance == "adg"], "bound")
  lines <- capture.output(print(y))
  expect_true(any(grepl("adg .*<= ", lines)))
  expect_true(any(grepl("adg .*>= ", lines)))
  expect_match(paste(lines, collapse = " "), "the entropy is an upper bound")
  caption <- autoplot(y)$labels$caption
  expect_match(caption, "at least (>) and at most (<)", fixed = TRUE)
  expect_match(caption, "and the tilted law")
  # heavy tails: no spread, though the nodes have one
  z <- compare_guidance(plane, guidance = list(rescale = guidance("a", 3, rule = "rescale")),
                        sampler = sampler_ddim(10),
                        n = 64)
  expect_identical(z$method[z$quantity == "spread" & z$guidance == "rescale"], "unknown")
})

test_that("in more dimensions the slow rule is left out, and densities take few particles", {
  m <- gaussmix(c(.5, .5), rbind(c(0, 0, 1), c(1, -1, 0)),
                list(diag(c(1, .5, .3)), diag(c(.4, .6, .8)) + .1), class = c("a", "b"))
  x <- compare_guidance(m, guidance = guidance("a", 1), sampler = sampler_ddim(20), n = 64)
  expect_false("characteristic" %in% x$guidance)
  expect_false("(the tilt, 1)" %in% x$guidance)
  expect_said(print(x), "slow in so many dimensions")
  expect_no_match(autoplot(x)$labels$caption, "tilted law")
  d <- diffusion(m, guidance("a", 1, rule = "apg"), sampler_ddim(5), key = c(1, 2),
                 points = "sobol")
  run <- guided_sample(d, 8192)
  expect_lte(nrow(density_run(run, d)$x), 5e4 / 18)
  d$guidance <- guidance("a", 1, rule = "characteristic")
  slow <- density_run(guided_sample(d, 64), d)
  expect_null(slow$log_density)
  expect_match(no_density_note(slow), "too long")
})

test_that("stochastic samplers are compared by nets in more than two dimensions", {
  skip_if_not_installed("FNN")
  m <- gaussmix(c(.5, .5), rbind(c(0, 0, 1), c(1, -1, 0)),
                list(diag(c(1, .5, .3)), diag(c(.4, .6, .8))), class = c("a", "b"))
  x <- compare_guidance(m, guidance = list(none = guidance("a", 0), plain = guidance("a", 1)),
                        sampler = sampler_ddpm(100), n = 4096, points = "sobol", key = c(1, 2))
  # one Gaussian stays one
  row <- x[x$guidance == "none" & x$quantity == "entropy", ]
  expect_identical(row$method, "exact")
  expect_lt(abs(row$estimate - entropy(m, "a")$estimate), .2)
  row <- x[x$guidance == "plain" & x$quantity == "entropy", ]
  expect_identical(row$method, "Monte Carlo")
  sample <- guided_sample(m, 4096, guidance("a", 1), sampler_ddpm(100))
  other <- entropy(sample)
  expect_lt(abs(row$estimate - other$estimate), 4 * sqrt(row$se^2 + other$se^2))
})

m <- gaussmix(c(.3, .3, .4), cbind(u = c(-1, 0, 2), v = c(0, 1, 0)),
              list(.5, c(1, .3), matrix(c(.6, .2, .2, .4), 2)), class = c("a", "b", "a"))
line <- gaussmix(c(.5, .5), c(1, -1), 1, class = c("a", "b"))
quick <- sampler_ddim(20)
COLUMNS <- c("strength", "scale", "confidence", "confidence_se", "gain", "gain_se", "entropy",
             "entropy_se", "fraction_down", "fraction_down_previous", "mean_inverse_confidence",
             "mean_inverse_confidence_se")

test_that("a sweep has a row per strength, in the order given, and says what made it", {
  sweep <- guidance_sweep(m, 200, "a", c(1, 0, 4), quick)
  expect_s3_class(sweep, c("guidance_sweep", "mixguide_table", "data.frame"), exact = TRUE)
  expect_true(all(COLUMNS %in% names(sweep)))
  expect_identical(sweep$strength, c(1, 0, 4))
  expect_identical(sweep$scale, c(2, 1, 5))
  expect_identical(unique(sweep$method), "Monte Carlo")
  expect_identical(c(sweep$gain[1], sweep$gain_se[1], sweep$fraction_down[1]), c(0, 0, 0))
  setup <- attr(sweep, "setup")
  expect_identical(setup$mixture, m)
  expect_identical(setup$class, "a")
  expect_identical(setup$n, 200)
  expect_identical(setup$horizon, 5)
  expect_false(setup$exact)
  expect_null(setup$samples)
  expect_output(print(sweep), "200 coupled particles")
  frame <- as.data.frame(sweep)
  expect_identical(class(frame), "data.frame")
  expect_null(attr(frame, "setup"))
  expect_equal(summary(sweep), frame)
})

test_that("its numbers are those of coupled runs", {
  kept <- guidance_sweep(m, 300, "a", c(0, 1, 4), quick, keep = TRUE, key = c(5, 6))
  runs <- attr(kept, "setup")$samples
  expect_length(runs, 3)
  start <- function(i) guided_sample(m, 300, guidance("a", c(0, 1, 4)[i]), quick, key = c(5, 6))
  for (i in 1:3) {
    expect_identical(runs[[i]]$x, start(i)$x)
    expect_s3_class(runs[[i]], "guided_sample")
    q <- runs[[i]]$confidence
    expect_equal(kept$confidence[i], mean(q))
    expect_equal(kept$confidence_se[i], sd(q) / sqrt(300))
    gain <- q - runs[[1]]$confidence
    expect_equal(kept$gain[i], mean(gain))
    expect_equal(kept$gain_se[i], sd(gain) / sqrt(300))
    # no number if the tail is heavy
    inverse <- mean_of_weights(-log(q))
    expect_equal(kept$mean_inverse_confidence[i], inverse$estimate)
    expect_equal(kept$mean_inverse_confidence_se[i], inverse$se)
    expect_equal(kept$fraction_down[i], mean(q < runs[[1]]$confidence - 1e-9))
    expect_equal(kept$fraction_down_previous[i], mean(q < runs[[max(i - 1, 1)]]$confidence - 1e-9))
    expect_equal(kept$entropy[i], entropy(runs[[i]])$estimate)
    expect_equal(kept$entropy_se[i], entropy(runs[[i]])$se)
    expect_equal(confidence(kept)$estimate[i], confidence(runs[[i]])$estimate)
  }
  expect_lt(kept$gain_se[2], .9 * sqrt(kept$confidence_se[1]^2 + kept$confidence_se[2]^2))
  expect_identical(confidence(kept)$strength, c(0, 1, 4))
  expect_identical(entropy(kept)$estimate, kept$entropy)
})

test_that("stochastic samplers have no entropy, and noise is common to the strengths", {
  sweep <- guidance_sweep(m, 100, "a", c(0, 0, 2), sampler_ddpm(10))
  expect_true(all(is.na(sweep$entropy)))
  expect_identical(sweep$gain[2], 0)
  expect_identical(sweep$gain_se[2], 0)
  expect_identical(nrow(guidance_sweep(m, 100, "a", 3, quick)), 1L)
})

test_that("set.seed() rules, and a sweep takes one key", {
  set.seed(1)
  one <- guidance_sweep(m, 50, "a", c(0, 2), sampler_ddpm(5))
  after <- runif(1)
  set.seed(1)
  guided_sample(m, 5)
  expect_identical(runif(1), after)
  set.seed(1)
  expect_identical(guidance_sweep(m, 50, "a", c(0, 2), sampler_ddpm(5)), one)
  expect_identical(guidance_sweep(m, 50, "a", c(0, 2), sampler_ddpm(5),
                                  key = attr(one, "setup")$key), one)
})

test_that("in one dimension it is exact: A2 and D3 in continuous time", {
  eta <- c(0, .5, 1, 2, 4, 8)
  known <- lapply(theory_exact, function(rows) rows[rows$strength %in% eta, ])
  A2 <- guidance_sweep(line, 4001, "a", eta, sampler_rk4(90, "quadratic"))
  expect_identical(unique(A2$method), "quadrature")
  expect_identical(unique(c(A2$confidence_se, A2$gain_se, A2$entropy_se)), 0)
  for (what in c("confidence", "entropy", "mean_inverse_confidence")) {
    expect_equal(A2[[what]], known$A2[[what]], tolerance = 1e-6)
  }
  expect_identical(A2$fraction_down, rep(0, 6))
  D3 <- guidance_sweep(gaussmix(rep(1, 3), c(0, -3, 3), 1), 4001, "1", eta,
                       sampler_rk4(300, "quadratic"))
  for (what in c("confidence", "entropy")) {
    expect_equal(D3[[what]], known$D3[[what]], tolerance = 1e-6)
  }
  expect_output(print(A2), "by quadrature")
})

test_that("Monte Carlo agrees with quadrature within its standard error", {
  exact <- guidance_sweep(line, 2001, "a", c(0, 1, 4), quick)
  set.seed(401)
  drawn <- guidance_sweep(line, 20000, "a", c(0, 1, 4), quick, exact = FALSE)
  expect_identical(unique(drawn$method), "Monte Carlo")
  for (column in c("confidence", "gain", "entropy", "mean_inverse_confidence")) {
    se <- pmax(drawn[[paste0(column, "_se")]], 1e-6)
    # at strength 0 the tail of 1/confidence has k of about 1/2, so there may be no number
    rows <- if (column == "mean_inverse_confidence") 2:3 else 1:3
    expect_lt(max((abs(drawn[[column]] - exact[[column]]) / se)[rows]), 5.5, label = column)
  }
})

test_that("few nodes or a start of another law are not called exact", {
  # a quadrature that cannot be right does not claim standard error 0
  coarse <- tryCatch(guidance_sweep(line, guidance = "a", strength = c(0, 4), n = 5,
                                    sampler = quick),
                     mixguide_error = function(e) NULL)
  fine <- guidance_sweep(line, guidance = "a", strength = c(0, 4), n = 2001, sampler = quick)
  if (!is.null(coarse)) {
    off <- abs(coarse$confidence - fine$confidence) > 1e-6
    expect_true(all(coarse$confidence_se[off] > 0) || all(coarse$method[off] == "Monte Carlo"))
  }
  sweep <- guidance_sweep(line, 200, "a", c(0, 4), quick, start = "exact")
  expect_identical(unique(sweep$method), "Monte Carlo")
  expect_identical(unique(guidance_sweep(line, 50, "a", 0, sampler_ddpm(5))$method), "Monte Carlo")
})

test_that("the interval and the start are passed on", {
  sweep <- guidance_sweep(m, 100, guidance("a", 1, c(6, 7)), c(0, 5), quick, key = c(1, 2))
  expect_identical(sweep$gain, c(0, 0))
  set.seed(402)
  exact <- guidance_sweep(m, 20000, "a", 0, sampler_rk4(20, "quadratic"), horizon = 1,
                          start = "exact")
  truth <- confidence(m, "a", n = 1e5)
  expect_lt(abs(exact$confidence - truth$estimate) /
              sqrt(exact$confidence_se^2 + truth$se^2), 5.5)
})

test_that("bad arguments are answered by name", {
  bad <- function(arg, ...) {
    arguments <- list(mixture = m, guidance = "a", strength = 1, n = 10, sampler = quick)
    changed <- list(...)
    arguments[names(changed)] <- changed
    expect_mixguide_error(do.call(guidance_sweep, arguments), arg)
  }
  for (mixture in list(NULL, 1, iris)) bad("mixture", mixture = mixture)
  for (class in list(NULL, NA, "c", character(), list("a"))) bad("class", class = class)
  for (strength in list(NULL, NA, NaN, Inf, "1", double(), list(1))) {
    bad("strength", strength = strength)
  }
  for (n in list(-1, 0, 1, 1.5, NA, "3", NULL)) bad("n", n = n)
  for (sampler in list("ddim", sampler_ddim)) bad("sampler", sampler = sampler)
  for (schedule in list(NULL, "ou")) bad("schedule", schedule = schedule)
  for (horizon in list(Inf, -1, NA)) bad("horizon", horizon = horizon)
  for (start in list("a", 1, matrix(0, 0, 2), matrix(0, 1, 2))) bad("start", start = start)
  for (how in list("other", NA)) bad("log_density", log_density = how)
  bad("log_density", log_density = "map", sampler = sampler_ddpm(5))
  bad("exact", exact = TRUE)
  bad("exact", exact = NA)
  bad("keep", keep = NA)
  bad("key", key = 1)
})

D3 <- named_mixture("D3")

test_that("the density of a variable is a histogram of the particles that were kept", {
  em <- sampler_em(50, "uniform")
  split <- guidance_sweep(D3, 2000, "1", c(0, 8, 20), em, horizon = 5, key = c(3, 4), keep = TRUE)
  ends <- sweep_density(split, 1, 50, c(-12, 12))
  run <- guided_sample(D3, 2000, guidance("1", 20), em, horizon = 5, key = c(3, 4),
                       points = "sobol")
  counts <- hist(run$x, seq(-12, 12, length.out = 51), plot = FALSE)$counts
  expect_equal(unname(ends$density[, 3]), counts / 2000 / .48)
  expect_equal(split$confidence[3], mean(run$confidence))
  sd <- vapply(attr(split, "setup")$samples, function(run) sd(run$x), 0)
  known <- theory("em")
  known <- known[known$mixture == "D3" & known$steps == 50 & known$strength %in% c(0, 8, 20), ]
  expect_lt(max(abs(split$confidence - known$confidence) / pmax(split$confidence_se, 2e-4)), 4)
  expect_equal(sd, known$sd, tolerance = .02)
  # the strengths of the picture are in increasing order
  back <- guidance_sweep(D3, 2000, "1", c(20, 0, 8), em, horizon = 5, key = c(3, 4), keep = TRUE)
  expect_identical(sweep_density(back, 1, 50, c(-12, 12))$density, ends$density)
  drawn <- expect_drawn(autoplot(split, variable = 1))
  expect_match(drawn$labels$caption, "^Shading: root of the density")
})

test_that("DDPM on the aligned example: the transition of confidence is exact", {
  skip_on_cran()
  known <- theory("em")
  known <- known[known$mixture == "D3" & known$steps == 50, ]
  exact <- function(mixture, strength) {
    guidance_sweep(mixture, 100, "1", strength, sampler_em(50, "uniform"), horizon = 5,
                   exact = TRUE, keep = TRUE)
  }
  split <- exact(D3, known$strength)
  expect_lt(max(abs(split$confidence - known$confidence)), 1e-6)
  sd <- vapply(attr(split, "setup")$laws, function(law) sqrt(moments(law)$cov[1]), 0)
  expect_lt(max(abs(sd - known$sd)), 1e-5)
  # modes at 3.60, 4.48, 6.00, and the density at 0 relative to the modes
  ends <- sweep_density(split, "x", 160, NULL)
  x <- ends$edges[-1] - diff(ends$edges) / 2
  peak <- vapply(8:10, function(i) abs(x[which.max(ends$density[, i])]), 0)
  expect_lt(max(abs(peak - c(3.60, 4.48, 6.00))), diff(x)[1])
  middle <- ends$density[which.min(abs(x)), 8] / max(ends$density[, 8])
  expect_lt(abs(middle - .741), .01)
  # with twice the distance the transition is at the same strengths
  far <- exact(gaussmix(c(1, 1, 1), c(0, -6, 6), 1), c(8, 10, 12, 15))
  expect_lt(max(abs(far$confidence - c(.9967, .7489, .2465, .0232))), 1e-4)
})

test_that("deterministic runs are by quadrature, any variable can be shown, bad input is refused", {
  split <- guidance_sweep(D3, guidance = "1", strength = 0:2, n = 501, sampler = sampler_euler(10),
                          horizon = 5, keep = TRUE)
  ends <- sweep_density(split, 1, 160, NULL)
  expect_identical(split$method, rep("quadrature", 3))
  expect_lt(max(abs(colSums(ends$density * diff(ends$edges)) - 1)), .01)
  plane <- gaussmix(c(.5, .5), cbind(u = c(0, 2), v = c(1, 0)), 1)
  sweep <- guidance_sweep(plane, 50, "1", 0:1, sampler_ddim(5), keep = TRUE)
  expect_identical(sweep_density(sweep, "v", 10, NULL), sweep_density(sweep, 2, 10, NULL))
  expect_identical(sweep_density(sweep, 2, 10, NULL)$variable, "v")
  for (variable in list("w", 3, 1:2, NA)) {
    expect_mixguide_error(autoplot(sweep, variable = variable), "variable")
  }
  expect_mixguide_error(autoplot(sweep, variable = 1, bins = 1), "bins")
  expect_mixguide_error(autoplot(sweep, variable = 1, limits = 1:0), "limits")
  unkept <- guidance_sweep(plane, 50, "1", 0:1, sampler_ddim(5))
  expect_error(autoplot(unkept, variable = 1), "keep = TRUE", class = "mixguide_error")
  both <- guidance_sweep(plane, strength = 0:1, n = 50, sampler = sampler_ddim(5), keep = TRUE)
  expect_error(autoplot(both, variable = 1), "of one class", class = "mixguide_error")
})

test_that("quadrature takes more nodes where neighbours are torn apart", {
  torn <- gaussmix(c(.5, .2, .3), c(0, .3, 2), c(1, 1e-4, .01), class = c("a", "b", "a"))
  fine <- sampler_heun(100, "exponential", end = 1e-5)
  few <- guidance_sweep(torn, guidance = "a", strength = 1, n = 2001, sampler = fine)
  many <- guidance_sweep(torn, guidance = "a", strength = 1, n = 3e5, sampler = fine)
  expect_gt(attr(few, "setup")$n, 2001)
  expect_equal(few$confidence, many$confidence, tolerance = 1e-4)
})

test_that("a sweep knows what the class itself would show", {
  m <- named_mixture("A2")
  target <- attr(guidance_sweep(m, guidance = "1", strength = 0, n = 10,
                                sampler = sampler_heun(5)), "setup")$target
  # the tilt at strength 0, theory/tilt.csv
  expect_equal(target$confidence$estimate, .775200, tolerance = 1e-6)
  expect_equal(target$entropy$estimate, log(2 * pi * exp(1)) / 2)
  plane <- named_mixture("C3")
  sweep <- guidance_sweep(plane, guidance = "1", strength = 0, n = 10, sampler = sampler_heun(5))
  found <- attr(sweep, "setup")$target$confidence
  direct <- confidence(plane, "1", n = 1e5)
  expect_lt(abs(found$estimate - direct$estimate), 5 * sqrt(found$se^2 + direct$se^2))
})

euler <- function(n) sampler_euler(n, "uniform")
em <- function(n) sampler_em(n, "uniform")
D3 <- named_mixture("D3")

test_that("several numbers of steps have the rows of sweeps, with one noise", {
  scan <- guidance_sweep(D3, 501, "1", c(0, 2, 16), euler(1), steps = c(5, 20), horizon = 5,
                         exact = FALSE, key = c(1, 2))
  expect_identical(scan$steps, rep(c(5, 20), each = 3))
  for (n in c(5, 20)) {
    sweep <- guidance_sweep(D3, 501, "1", c(0, 2, 16), euler(n), horizon = 5, exact = FALSE,
                            key = c(1, 2))
    expect_equal(as.data.frame(scan)[scan$steps == n, ], as.data.frame(sweep),
                 ignore_attr = "row.names")
  }
  expect_output(print(scan), "501 coupled particles")
})

test_that("in one dimension that of a stochastic sampler is exact, with the known entropy", {
  skip_on_cran()
  scan <- guidance_sweep(D3, 50, "1", c(0, 6, 8, 10, 12, 50), em(50), horizon = 5, exact = TRUE)
  expect_equal(scan$entropy, c(1.4446, .6552, .7150, 1.5260, 1.9872, 2.0937), tolerance = 1e-4)
  expect_identical(unique(scan$method), "quadrature")
})

test_that("laws are those of the sweep's own guidance, and wrong scores are not judged by them", {
  falling <- guidance("1", function(t) exp(-t))
  scan <- guidance_sweep(D3, 50, falling, 2, em(20), horizon = 5, exact = TRUE)
  law <- guided_law(D3, guidance("1", function(t) 2 * exp(-t)), em(20), horizon = 5)
  expect_equal(scan$confidence, confidence(law)$estimate)

  for (error in list(score_error(scale = .5), score_error(noise = 1))) {
    expect_mixguide_error(guidance_sweep(D3, 50, "1", 2, em(20), horizon = 5, exact = TRUE,
                                         score_error = error), "exact")
  }
})

test_that("more steps cure what strength spoils, and it shows", {
  scan <- guidance_sweep(D3, 501, "1", c(0, 16), euler(1), steps = c(10, 20), horizon = 5)
  expect_lt(scan$gain[2], -.3)
  expect_gt(scan$gain[4], .17)
  expect_output(print(scan), "quadrature")
  for (quantity in c("confidence", "gain", "entropy", "fraction_down")) {
    expect_drawn(autoplot(scan, quantity))
  }
  expect_error(autoplot(scan, "steps"), "`quantity`", class = "mixguide_error")
  expect_mixguide_error(guidance_sweep(D3, guidance = "1", sampler = euler), "sampler")
  expect_mixguide_error(guidance_sweep(D3, guidance = "1", sampler = list()), "sampler")
  for (none in list(list(), list(NULL), list("1", NULL), list("4"))) {
    expect_mixguide_error(guidance_sweep(D3, guidance = none), "guidance")
  }
  expect_mixguide_error(guidance_sweep(D3, guidance = "1", steps = 0), "steps")
  expect_mixguide_error(guidance_sweep(D3, guidance = "1", sampler = sampler_em(grid = 5:0),
                                       steps = 3),
                        "sampler")
})

test_that("every class, several samplers and guidances are one sweep, with one noise", {
  m <- gaussmix(c(.3, .3, .4), rbind(c(-1, 0), c(1, 1), c(0, 3)), .5, c("a", "b", "c"))
  samplers <- list(fine = sampler_heun(10), sampler_ddim(10), sampler_ddim(5))
  all <- guidance_sweep(m, strength = c(0, 2), n = 60, sampler = samplers, key = c(1, 2))
  expect_identical(unique(all$class), c("a", "b", "c"))
  expect_identical(unique(all$sampler),
                   c("fine", format(samplers[[2]]), format(samplers[[3]])))
  one <- guidance_sweep(m, 60, "b", c(0, 2), samplers[[2]], key = c(1, 2))
  part <- all[all$class == "b" & all$sampler == format(samplers[[2]]), ]
  expect_equal(part[-2], as.data.frame(one)[-2], ignore_attr = "row.names")
  expect_output(print(all), "towards a; the class itself.*sampler.*towards c")
  expect_drawn(autoplot(all))
  some <- guidance_sweep(m, 60, list("a", guidance(c("b", "c"), 1)), c(0, 2), samplers[[2]],
                         keep = TRUE, key = c(1, 2))
  expect_identical(unique(some$class), c("a", "b or c"))
  expect_identical(some$confidence[1:2],
                   guidance_sweep(m, 60, "a", c(0, 2), samplers[[2]], key = c(1, 2))$confidence)
  expect_identical(nrow(generics::augment(some)), 240L)
})

test_that("that no path of a few lost confidence has an error, but for what is so by definition", {
  m <- gaussmix(rep(1 / 3, 3), rbind(c(0, 0), c(3, 0), c(0, 3)), .5)
  for (points in c("sobol", "random")) {
    x <- guidance_sweep(m, guidance = "1", strength = c(0, 1, 4), n = 64,
                        sampler = sampler_ddim(20), points = points,
                        key = c(1, 2))
    expect_identical(x$fraction_down, double(3))
    expect_identical(x$fraction_down_se, c(0, 1.5, 1.5) / 64)
    rows <- tidy(x)
    expect_identical(rows$method[rows$quantity == "fraction_down"],
                     c("exact", "Monte Carlo", "Monte Carlo"))
    expect_false(any(grepl("(0)", capture.output(print(x)), fixed = TRUE)))
  }
})

test_that("a sweep of several classes prints class by class", {
  m <- gaussmix(c(.4, .6), c(-1, 1.5), .5, class = c("a", "b"))
  withr::local_options(width = 100)
  said <- capture.output(print(guidance_sweep(m, strength = c(0, 2), n = 2001,
                                              sampler = sampler_ddim(20))))
  at <- grep("^ towards ", said)
  expect_identical(sub(";.*", "", said[at]), c(" towards a", " towards b"))
  expect_identical(diff(at), 3L)
  expect_no_match(said, "class strength", fixed = TRUE)
})

test_that("a rule or a sampler that changes strength 0 is no fault of the start", {
  m <- gaussmix(c(.5, .5), c(-2, 2), .5, class = c("a", "b"))
  sweep <- function(guide, sampler = sampler_ddim(50)) {
    guidance_sweep(m, 500, guide, c(0, 1), sampler, key = c(1, 2))
  }
  shrinks <- function(t, inner, strength) list(c = .5, u = -strength)
  for (rule in list(guidance_rule("ep", ratio = .5), guidance_rule("cfg_zero", zero_steps = 30),
                    shrinks)) {
    expect_no_warning(sweep(guidance("a", rule = rule)), class = "mixguide_warning_location")
  }
  expect_no_warning(sweep("a", sampler_zigzag(50)), class = "mixguide_warning_location")
  # by another rule it is one
  expect_warning(sweep(guidance("a", rule = "mambo_g"), sampler_euler(4, "uniform")),
                 class = "mixguide_warning_location")
})

test_that("a start that is given is judged as in a single run", {
  m <- gaussmix(c(.5, .5), c(-1, 1), .3, class = c("a", "b"))
  far <- matrix(5 + seq(-1, 1, length.out = 60))
  run <- function() guided_sample(m, 60, "a", sampler_ddim(5), start = far)
  expect_warning(run(), class = "mixguide_warning_start")
  seen <- character()
  withCallingHandlers(
    guidance_sweep(m, guidance = "a", strength = 1:2, start = far, sampler = sampler_ddim(5)),
    mixguide_warning_start = function(w) {
      seen <<- c(seen, conditionMessage(w))
      invokeRestart("muffleWarning")
    }
  )
  expect_length(seen, 1)
})

M2 <- named_mixture("M2")
y <- observation(.8, cbind(1, .5), .3^2)

test_that("the Rosenblatt transform is the distribution function, and that given the first", {
  set.seed(1)
  x <- rgaussmix(5, M2)
  u <- mixguide:::rosenblatt(M2, x)
  first <- marginal(M2, 1)
  for (i in 1:5) {
    expect_equal(u[i, 1], pgaussmix(x[i, 1], first))
    part <- integrate(function(v) dgaussmix(cbind(x[i, 1], v), M2), -20, x[i, 2],
                      rel.tol = 1e-10)$value
    expect_equal(u[i, 2], part / dgaussmix(x[i, 1], first), tolerance = 1e-7)
  }
  expect_equal(drop(mixguide:::rosenblatt(first, matrix(x[, 1]))), u[, 1])
  # far out, where all densities are 0
  expect_true(all(is.finite(mixguide:::rosenblatt(M2, rbind(c(100, 100))))))
  expect_null(mixguide:::rosenblatt(gaussmix(1, t(c(0, 0)), 0), x))
})

test_that("exact draws are at the floor in every column", {
  set.seed(2)
  x <- judge_samples(list(draws = rgaussmix(2000, M2)), M2, y)
  expect_identical(x$sampler, c("draws", "exact draws"))
  expect_lt(x$sw2[1], 3 * x$floor[1])
  expect_lt(x$mean_error[1], 4 * x$mean_error_se[1])
  deviation <- c(x$spread - 1, x$coverage - .9, x$kl_reverse) / c(x$spread_se, x$coverage_se,
                                                                  x$kl_reverse_se)
  expect_lt(max(abs(deviation)), 4.5)
  expect_lt(x$total_variation[1], .14)
  H <- cbind(1, .5)
  exact <- moments(M2)
  expect_equal(x$residual_exact[1], (.8 - drop(H %*% exact$mean))^2 +
                 drop(H %*% exact$cov %*% t(H)))
  expect_lt(abs(x$residual - x$residual_exact)[1], 4.5 * x$residual_se[1])
})

test_that("a law that is off shows it, by as much as it is", {
  # quantiles of N(.5, 1) and N(0, 4) replace the draws: only the sample they are compared with is
  # drawn
  n <- 40000
  target <- gaussmix(1, 0, 1)
  x <- judge_samples(list(shifted = qnorm(ppoints(n), .5), wide = qnorm(ppoints(n), 0, 2)), target,
                     cells = 50, key = c(3, 0))
  expect_lt(max(abs(x$sw2[1:2] / c(.5, 1) - 1)), .025)
  expect_equal(x$mean_error[1], .5, tolerance = 1e-8)
  expect_equal(x$spread[1:2], c(1, 2), tolerance = 1e-4)
  cuts <- qnorm(0:50 / 50)
  for (i in 1:2) {
    share <- diff(pnorm(cuts, c(.5, 0)[i], i))
    expect_equal(x$kl_reverse[i], sum(share * log(50 * share)) - 49 / (2 * n), tolerance = 1e-3)
    expect_equal(x$total_variation[i], sum(abs(share - 1 / 50)) / 2, tolerance = 1e-3)
  }
  # the central 90% of N(0, 4) contain 99.9% of N(0, 1)
  expect_equal(x$coverage[2], 2 * pnorm(2 * qnorm(.95)) - 1, tolerance = 1e-4)
  expect_equal(x$coverage[1], pnorm(qnorm(.95) + .5) - pnorm(qnorm(.05) + .5), tolerance = 1e-4)
})

test_that("standard errors of coverage, spread and divergence are honest", {
  z <- vapply(1:40, function(i) {
    set.seed(i)
    x <- judge_samples(rnorm(400, 0, 1.3), gaussmix(1, 0, 1), directions = 2, cells = 10)[1, ]
    c(coverage = (x$coverage - (2 * pnorm(1.3 * qnorm(.95)) - 1)) / x$coverage_se,
      spread = (x$spread - 1.3) / x$spread_se)
  }, c(0, 0))
  expect_lt(abs(mean(z["coverage", ])), 5 / sqrt(40))
  expect_gt(sd(z["coverage", ]), .6)
  expect_lt(sd(z["coverage", ]), 1.6)
  expect_lt(abs(mean(z["spread", ])), 5 / sqrt(40))
  expect_gt(sd(z["spread", ]), .6)
  expect_lt(sd(z["spread", ]), 1.6)
})

test_that("methods rank as in the simulation of theory/zero-shot-samples.csv", {
  methods <- list(zero_shot_exact(), zero_shot_ddnm(), zero_shot_bo(), zero_shot_repaint())
  set.seed(4)
  before <- .Random.seed
  x <- judge_samples(M2, observation = y, methods = methods, n = 2000, key = c(7, 0),
                     directions = 100)
  expect_identical(.Random.seed, before)
  rownames(x) <- x$sampler
  expect_identical(order(x$sw2[1:4])[1:2], c(1L, 4L))
  # sliced distances in the table: exact .0489, RePaint .2370, BO .4478, DDNM .4630
  expect_lt(x["exact conditional score", "sw2"], .12)
  expect_lt(abs(x["DDNM", "sw2"] - .463), .1)
  expect_lt(abs(x["BO-DDNM", "sw2"] - .448), .1)
  expect_lt(abs(x["RePaint", "sw2"] - .237), .1)
  # BO restores the spread along H, DDNM has none
  expect_lt(abs(x["BO-DDNM", "residual"] - .1003), .015)
  expect_lt(x["DDNM", "residual"], .003)
  expect_equal(x$evaluations, c(99, 99, 99, 5 * 99, NA))
  expect_equal(judge_samples(M2, observation = y, methods = methods[1:2], n = 2000, key = c(7, 0),
                             directions = 100)$sw2[1:2], x$sw2[1:2])
})

test_that("all methods run under their names", {
  exported <- grep("^zero_shot_", getNamespaceExports("mixguide"), value = TRUE)
  expect_setequal(vapply(mixguide:::all_methods(),
                         `[[`, "", "name"), sub("zero_shot_", "", exported))
  x <- judge_samples(M2, observation = y, n = 40, schedule = schedule_etc(20), directions = 10)
  expect_identical(nrow(x), 17L)
  expect_true(all(is.finite(x$sw2)))
  expect_identical(x$evaluations[x$sampler %in% c("TDS", "SMCDiffOpt")], c(32, 32) * 20)
})

test_that("a judgement prints and draws itself", {
  x <- judge_samples(M2, observation = y, methods = zero_shot_bo(), n = 100,
                     schedule = schedule_etc(20), directions = 20)
  expect_output(print(x), "BO-DDNM")
  expect_output(print(x), "Right would be: SW2 the floor")
  expect_drawn(autoplot(x))
  three <- judge_samples(matrix(rnorm(300), 100), gaussmix(1, t(c(0, 0, 0)), 1), directions = 20)
  expect_null(three$kl_reverse)
  expect_drawn(autoplot(three))
})

test_that("another distance can be asked for, by which the table then goes", {
  set.seed(7)
  x <- rgaussmix(300, M2)
  samples <- list(far = x + 1, near = x + .1, half = x[1:150, ])
  judged <- function(...) judge_samples(samples, M2, directions = 60, key = c(2, 0), ...)
  usual <- judged()
  expect_null(usual$distance)
  expect_identical(judged(p = 2, maximum = FALSE), usual)
  wide <- judged(p = 1, maximum = TRUE)
  kept <- setdiff(names(usual), "method")
  expect_equal(as.data.frame(wide)[kept], as.data.frame(usual)[kept])
  expect_identical(names(wide)[ncol(wide) - 3:1], c("distance", "distance_se", "distance_floor"))
  # the same exact draws and directions as those of sw2
  compare <- unname(mixguide:::keyed_draws(M2, 300, mixguide:::stream(c(2, 0), "exact", 2)))
  row <- sliced_wasserstein(x + 1, compare, 60, p = 1, key = c(2, 0), maximum = TRUE)
  expect_equal(wide$distance[1], row$estimate)
  expect_equal(wide$distance_se[1], row$se)
  expect_gt(wide$distance_floor[3], wide$distance_floor[1])
  expect_output(print(wide), "max-SW1")
  expect_output(print(wide), "max-SW1 the floor")
  expect_output(print(wide), "errors are over the draws.", fixed = TRUE)
  expect_output(print(usual), "draws (of SW2 over the directions too).", fixed = TRUE)
  expect_drawn(autoplot(wide))
  expect_mixguide_error(judged(p = .5), "p")
  expect_mixguide_error(judged(maximum = NA), "maximum")
})

# The problem of vignette zero-shot, of which that has the text.
inverse_problem <- function(d_x, d_y, seed) {
  set.seed(seed)
  means <- 8 * as.matrix(expand.grid(-2:2, -2:2))[, rep(1:2, d_x / 2)]
  mixture <- gaussmix(rchisq(25, 1), unname(means), 1)
  parts <- svd(matrix(rnorm(d_x * d_y), d_y))
  s <- sort(runif(d_y), decreasing = TRUE)
  H <- parts$u %*% (s * t(parts$v))
  sd <- runif(1) * s[1]
  x <- drop(rgaussmix(1, mixture))
  y <- drop(H %*% x) + sd * rnorm(d_y)
  list(mixture = mixture, observation = observation(y, H, sd^2), x = x)
}

test_that("the random problem of vignette zero-shot has the law that is said of it", {
  withr::local_preserve_seed()
  one <- inverse_problem(8, 3, seed = 2)
  expect_identical(inverse_problem(8, 3, seed = 2), one)
  expect_false(identical(inverse_problem(8, 3, seed = 3), one))
  expect_identical(sort(unique(as.vector(one$mixture$means))), c(-16, -8, 0, 8, 16))
  expect_identical(one$mixture$means[, 1], one$mixture$means[, 7])
  expect_identical(dim(unique(one$mixture$means[, 1:2])), c(25L, 2L))
  s <- svd(one$observation$H)$d
  expect_true(all(s > 0 & s < 1))
  expect_lt(one$observation$noise, s[1]^2)
  residual <- one$observation$y - drop(one$observation$H %*% one$x)
  expect_lt(sum(residual^2) / one$observation$noise, qchisq(1 - 1e-7, 3))
  # over many instances weights are chi-squared, singular values and noise uniform
  many <- lapply(1:60, function(seed) inverse_problem(4, 1, seed))
  w <- unlist(lapply(many, function(p) p$mixture$weights * 25))
  expect_gt(ks.test(w / mean(w), "pchisq", 1)$p.value, 1e-6)
  scale <- vapply(many, function(p) sqrt(sum(p$observation$H^2)), 0)
  expect_gt(ks.test(scale, "punif")$p.value, 1e-6)
  ratio <- vapply(many, function(p) sqrt(p$observation$noise), 0) / scale
  expect_gt(ks.test(ratio, "punif")$p.value, 1e-6)
  page <- test_path("..", "..", "vignettes", "zero-shot.Rmd")
  skip_if_not(file.exists(page), "vignettes are in the sources only")
  lines <- readLines(page)
  first <- which(lines == "inverse_problem <- function(d_x, d_y, seed) {")
  last <- first - 1 + which(lines[-seq_len(first - 1)] == "}")[1]
  expect_identical(eval(parse(text = lines[first:last])), inverse_problem, ignore_srcref = TRUE)
})

test_that("over random problems the exact score is at the floor, and tables are bound together", {
  withr::local_preserve_seed()
  methods <- list(exact = zero_shot_exact(), zero_shot_bo(), zero_shot_bo(general = TRUE),
                  zero_shot_tds(4))
  judged <- function(d_y, seed, methods) {
    problem <- inverse_problem(8, d_y, seed)
    judge_samples(problem$mixture, observation = problem$observation, methods = methods,
                  n = ifelse(names(methods) == "TDS", 40, 200), schedule = schedule_etc(40),
                  directions = 40, key = c(seed, d_y))
  }
  names(methods)[-1] <- c("BO-DDNM", "generalised BO", "TDS")
  grid <- expand.grid(seed = 0:1, d_y = c(1, 4))
  table <- do.call(rbind, Map(function(seed, d_y) {
    cbind(d_y, seed, judged(d_y, seed, methods))
  }, grid$seed, grid$d_y))
  expect_identical(nrow(table), 20L)
  expect_identical(table$sampler[1:5], c(names(methods), "exact draws"))
  expect_identical(table$n[1:5], c(200, 200, 200, 40, 200))
  exact <- table[table$sampler == "exact", ]
  expect_lt(max(exact$sw2 / exact$floor), 3)
  expect_true(all(table$sw2[table$sampler == "BO-DDNM"] > exact$sw2))
  expect_identical(unique(table$evaluations[table$sampler == "TDS"]), 160)
  # a method's draws do not depend on the others
  again <- judged(4, 1, methods[1:2])
  same <- table[table$d_y == 4 & table$seed == 1, ][1:2, ]
  expect_identical(again$sw2[1:2], same$sw2)
  expect_identical(again$residual[1:2], same$residual)
  long <- tidy(again)
  expect_identical(names(long)[1:4], c("quantity", "sampler", "n", "estimate"))
  expect_identical(long$estimate[long$quantity == "sw2"], again$sw2)
  expect_identical(unique(long$method[long$quantity == "spread"]), "Monte Carlo")
})

test_that("methods are judged on other schedules and samplers, by other distances", {
  withr::local_preserve_seed()
  problem <- inverse_problem(8, 1, 0)
  judged <- function(...) {
    judge_samples(problem$mixture, observation = problem$observation, n = 60, directions = 30,
                  methods = list(zero_shot_bo(), zero_shot_ddrm(informed = TRUE)),
                  key = c(1, 1), ...)
  }
  usual <- judged(schedule = schedule_etc(20))
  wide <- judged(schedule = schedule_etc(20), maximum = TRUE)
  expect_null(usual$distance)
  expect_equal(wide$sw2, usual$sw2)
  expect_true(all(wide$distance > wide$sw2))
  # distances of any order p; that of order 1 is smaller
  expect_true(all(judged(schedule = schedule_etc(20), p = 1)$distance < wide$distance))
  other <- judged(schedule = schedule_vp(),
                  sampler = sampler_ddpm(15, end = .01, variance = "scaled"))
  expect_identical(other$evaluations, c(15, 15, NA))
})

test_that("BO loses by far at small singular values, and generalised BO repairs it", {
  # the second number is nearly noise
  m <- gaussmix(c(.5, .5), rbind(c(-3, 0, 0), c(3, 0, 0)), 1)
  y <- observation(c(3, 0), rbind(c(1, 0, 0), c(0, .01, 0)), .01)
  x <- judge_samples(m, observation = y,
                     methods = list(ddnm = zero_shot_ddnm(), bo = zero_shot_bo(),
                                    best = zero_shot_bo(TRUE)), n = 1000, key = c(1, 1),
                     directions = 50)
  rownames(x) <- x$sampler
  expect_gt(x["bo", "sw2"], 3 * x["ddnm", "sw2"])
  expect_lt(x["best", "sw2"], x["ddnm", "sw2"] / 2)
  B <- function(method) {
    parts <- summary(mismatch(m, y, method, schedule_etc(30)))
    parts$estimate[parts$quantity == "bias"]
  }
  # BO has the smaller bias nevertheless
  expect_lt(B(zero_shot_bo()), B(zero_shot_ddnm()))
})

test_that("each sample is judged by itself, whatever its name", {
  set.seed(6)
  x <- rgaussmix(50, M2)
  judged <- function(...) judge_samples(list(...), M2, directions = 20, key = c(1, 0))
  right <- judged(one = x, two = x + 1)$sw2
  expect_equal(judged(a = x, a = x + 1)$sw2, right)
  half <- judged(x, b = x + 1)
  expect_equal(half$sw2, right)
  expect_identical(half$sampler, c("sample 1", "b", "exact draws"))
  same <- judged("exact draws" = x, b = x + 1)
  expect_equal(same$sw2, right)
  expect_identical(same$sampler[3], "exact draws")
})

test_that("what does not fit is an error that names the argument", {
  expect_mixguide_error(judge_samples(matrix(0, 50, 2), M2, directions = 1), "directions")
  expect_mixguide_error(judge_samples(M2, observation = y, methods = list(zero_shot_bo()),
                                      n = 50:51), "n")
  expect_mixguide_error(judge_samples(matrix(0, 50, 2)), "target")
  expect_mixguide_error(judge_samples(matrix(0, 50, 2), M2, methods = list(zero_shot_bo())),
                        "methods")
  expect_mixguide_error(judge_samples(matrix(0, 50, 2), M2, schedule = schedule_ou()), "schedule")
  expect_mixguide_error(judge_samples(M2, methods = list(zero_shot_bo())), "observation")
  expect_mixguide_error(judge_samples(matrix(0, 50, 3), M2), "samples[[1]]")
  expect_mixguide_error(judge_samples(matrix(0, 5, 2), M2), "samples")
  expect_mixguide_error(judge_samples(list(), M2), "samples")
  expect_mixguide_error(judge_samples(matrix(0, 50, 2), M2, level = 1), "level")
  expect_mixguide_error(judge_samples(M2, observation = y, methods = list()), "methods")
  expect_mixguide_error(judge_samples(M2, observation = y, methods = list(1)), "methods[[1]]")
})

test_that("the label of the residual says in which units it is", {
  plain <- gaussmix(1, t(c(x = 0, y = 10)), list(c(1, 100)))
  y <- observation(c(y = 5))
  judged <- function(m) {
    capture.output(print(judge_samples(list(s = unname(rgaussmix(50, m))), m, y, directions = 5)))
  }
  expect_false(any(grepl("(standardised)", judged(plain), fixed = TRUE)))
  expect_true(any(grepl("E|y-Hx|^2 (standardised)", judged(standardise(plain)), fixed = TRUE)))
})

test_that("an instance has the shape of the problem, and is settled by its seed", {
  set.seed(1)
  before <- .Random.seed
  one <- inverse_problem(8, 3, seed = 2)
  expect_identical(.Random.seed, before)
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
  expect_output(print(one), "seed 2")
})

test_that("a benchmark finds the exact score at the floor, and resumes from its folder", {
  folder <- withr::local_tempdir()
  methods <- list(exact = zero_shot_exact(), zero_shot_bo(), zero_shot_bo(general = TRUE),
                  zero_shot_tds(4))
  run <- function(seeds, methods) {
    benchmark_inverse(8, c(1, 4), seeds, methods, n = 200, n_sets = 40, steps = 40,
                      directions = 40, folder = folder)
  }
  first <- run(0, methods[1:2])
  expect_identical(length(list.files(folder)), 4L)
  # the folder survives damage, and takes more instances and methods
  table <- run(0:1, methods)
  expect_identical(length(list.files(folder)), 16L)
  expect_identical(table$sampler[1:4], c("exact", "BO-DDNM", "generalised BO", "TDS"))
  old <- table$seed == 0 & table$sampler %in% c("exact", "BO-DDNM")
  expect_identical(as.data.frame(first)$seconds, table$seconds[old])
  expect_identical(table$n, rep(c(200, 200, 200, 40), 4))
  exact <- table[table$sampler == "exact", ]
  expect_lt(max(exact$sw2 / exact$floor), 3)
  expect_true(all(table$sw2[table$sampler == "BO-DDNM"] > exact$sw2))
  expect_identical(unique(table$evaluations[table$sampler == "TDS"]), 160)
  # the result without a folder is the same, except for the times
  again <- benchmark_inverse(8, 4, 1, methods[1:2], n = 200, n_sets = 40, steps = 40,
                             directions = 40)
  same <- table[table$d_y == 4 & table$seed == 1 & table$sampler %in% c("exact", "BO-DDNM"), ]
  expect_identical(again$sw2, same$sw2)
  expect_identical(again$residual, same$residual)
  summary <- summary(table)
  expect_identical(summary$sampler[c(1, 5)], c("exact", "exact"))
  long <- tidy(table)
  expect_identical(names(long)[1:7],
                   c("quantity", "d_x", "d_y", "seed", "sampler", "n", "estimate"))
  expect_identical(long$estimate[long$quantity == "sw2"], table$sw2)
  expect_identical(unique(long$method[long$quantity == "spread"]), "Monte Carlo")
  expect_equal(summary$sw2[1], mean(exact$sw2[exact$d_y == 1]))
  expect_output(print(table), "8 +4 exact +2 ")
  expect_drawn(autoplot(table))
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

test_that("a unit that fails leaves its message", {
  job <- list(units = list(list(d_x = 8, d_y = 1, seed = 0, n = 40,
                                method = list(name = "none", params = list(), general = FALSE))))
  row <- mixguide:::benchmark_unit(job, 0, 1)
  expect_match(row$error, "zero_shot_none")
})

test_that("what does not fit is an error that names the argument", {
  expect_mixguide_error(inverse_problem(7, 1), "d_x")
  expect_mixguide_error(inverse_problem(8, 9), "d_y")
  expect_mixguide_error(inverse_problem(8, 1, -1), "seed")
  expect_mixguide_error(benchmark_inverse(7), "d_x")
  expect_mixguide_error(benchmark_inverse(8, 0), "d_y")
  expect_mixguide_error(benchmark_inverse(2, 4), "d_y")
  expect_mixguide_error(benchmark_inverse(8, 1, .5), "seeds")
  expect_mixguide_error(benchmark_inverse(8, 1, 0, list(1)), "methods[[1]]")
  expect_mixguide_error(benchmark_inverse(8, 1, 0, n = 1), "n")
})

test_that("other schedules, samplers and distances can be asked for", {
  folder <- withr::local_tempdir()
  run <- function(...) {
    benchmark_inverse(8, 1, 0, list(zero_shot_bo(), zero_shot_ddrm(informed = TRUE)), n = 60,
                      directions = 30, folder = folder, ...)
  }
  usual <- run(steps = 20)
  wide <- run(steps = 20, maximum = TRUE)
  expect_null(usual$distance)
  expect_equal(wide$sw2, usual$sw2)
  expect_true(all(wide$distance > wide$sw2))
  expect_output(print(wide), "largest Wasserstein distance of order 2")
  expect_identical(names(summary(wide))[5:6], c("distance", "distance_se"))
  expect_drawn(autoplot(wide))
  # distances of any order p; that of order 1 is smaller
  one <- run(steps = 20, p = 1)
  expect_true(all(one$distance < wide$distance))
  other <- run(schedule = schedule_vp(), sampler = sampler_ddpm(15, end = .01, variance = "scaled"))
  expect_identical(other$evaluations, c(15, 15))
  expect_output(print(other), "15 steps\n  DDPM.*\n  variance preserving")
  # each file is kept by itself
  expect_identical(length(list.files(folder)), 8L)
  expect_identical(run(steps = 20, p = 1)$seconds, one$seconds)
  expect_mixguide_error(run(p = .5), "p")
  expect_mixguide_error(run(maximum = NA), "maximum")
})

test_that("a time limit ends a benchmark", {
  # the whole would take minutes
  expect_error({
    setTimeLimit(elapsed = .5, transient = TRUE)
    suppressWarnings(benchmark_inverse(80, 1, 0:200, list(zero_shot_repaint(20)), n = 2000))
  }, "time limit")
})

# Oracle: guided_sample() with the same key has the same particles, and R computes their summaries.

m <- gaussmix(c(.3, .3, .4), cbind(u = c(-1, 0, 2), v = c(0, 1, 0)),
              list(.5, c(1, .3), matrix(c(.6, .2, .2, .4), 2)), class = c("a", "b", "a"))
line <- gaussmix(c(.5, .5), c(1, -1), 1, class = c("a", "b"))
quick <- sampler_ddim(10)

expect_sums_up <- function(s, r) {
  x <- r$x
  n <- nrow(x)
  if (!is.null(r$confidence)) {
    expect_equal(confidence(s), confidence(r), tolerance = 1e-10)
    # no number if the tail is heavy
    inverse <- mean_of_weights(-r$log_confidence)
    if (!is.na(inverse$estimate)) inverse <- sample_mean(1 / r$confidence, family = r$family)
    expect_equal(s$inverse_confidence, inverse, tolerance = 1e-10)
  }
  if (!is.null(r$log_density)) expect_equal(entropy(s), entropy(r), tolerance = 1e-11)
  for (flag in c("folded", "clipped", "reversed")) {
    expect_equal(s[[flag]], if (!is.null(r[[flag]])) mean(r[[flag]]), tolerance = 1e-12)
  }
  expect_equal(s$mean, colMeans(x), tolerance = 1e-11, ignore_attr = TRUE)
  expect_equal(s$cov, cov(x), tolerance = 1e-11, ignore_attr = TRUE)
  nets <- !is.null(r$family)
  se <- function(u, off = u - mean(u)) {
    if (nets) families_se(off / n, r$family) else sqrt(mean(off^2) / n)
  }
  expect_equal(s$mean_se, apply(x, 2, se) * if (nets) 1 else sqrt(n / (n - 1)),
               tolerance = 1e-10, ignore_attr = TRUE)
  about <- sweep(x, 2, colMeans(x))
  for (i in seq_len(ncol(x))) {
    for (j in seq_len(ncol(x))) {
      expect_equal(s$cov_se[i, j], se(about[, i] * about[, j]), tolerance = 1e-8)
    }
  }
  h <- s$histogram
  for (j in seq_len(ncol(x))) {
    edges <- h$low[[j]] + h$width[[j]] * 0:nrow(h$count)
    counts <- tabulate(findInterval(x[, j], edges) + 1, length(edges) + 1)
    expect_equal(c(h$below[[j]], h$count[, j], h$above[[j]]), counts, ignore_attr = TRUE)
    expect_identical(c(h$least[[j]], h$most[[j]]), range(x[, j]))
    p <- c(0, .001, .025, .3, .5, .9, .999, 1)
    expect_lte(max(abs(quantile(s, p)[, j] - quantile(x[, j], p, type = 1))),
               h$width[[j]] * (1 + 1e-9))
  }
}

test_that("a summary is that of the sample with its key", {
  both <- function(mixture, guide, ...) {
    for (points in c("random", "sobol")) {
      expect_sums_up(guided_summary(mixture, 3000, guide, key = c(3, 4), points = points, ...),
                     guided_sample(mixture, 3000, guide, key = c(3, 4), points = points, ...))
    }
  }
  both(m, guidance("a", 1), quick)
  both(m, guidance("b", 1), sampler_ddpm(10))
  both(m, NULL, quick, log_density = "divergence")
  both(line, guidance("a", 2), quick, start = "exact")
  both(line, guidance("a", 0), quick, schedule = schedule_vp(), horizon = .7)
  wide <- gaussmix(c(.4, .6), rbind(1:5, 5:1), .5, class = c("a", "b"))
  both(wide, guidance("a", 1), quick)
  both(wide, guidance("a", 1), quick, reduce = FALSE)
  both(wide, guidance("a", 1), sampler_ddpm(10), start = "exact")
  expect_match(guided_summary(wide, 9, sampler = quick)$reduced, "5 -> 1")
  set.seed(5)
  x <- matrix(rnorm(2000), 1000)
  s <- guided_summary(m, guidance = guidance("a"), sampler = quick, start = x)
  expect_identical(s$n, 1000)
  expect_sums_up(s, guided_sample(m, guidance = guidance("a"), sampler = quick, start = x))
})

test_that("a summary counts noise that was clipped or turned around", {
  step <- function(variance) sampler_ddpm(3, "uniform", variance = variance)
  for (variance in c("matched", "accelerated")) {
    d <- diffusion(named_mixture("D3"), guidance("1", 50), step(variance), key = c(1, 2),
                   points = "random")
    s <- guided_summary(d, 2000)
    expect_sums_up(s, guided_sample(d, 2000))
    flag <- c(matched = "clipped", accelerated = "reversed")[[variance]]
    expect_gt(s[[flag]], .1)
    expect_output(print(s), paste0(flag, ": +[.0-9]+ of the particles"))
    # without a class these are the only numbers of a particle
    expect_identical(guided_summary(update(d, guidance = NULL), 50)[[flag]], 0)
  }
})

test_that("a summary of many batches is that of the sample", {
  n <- 1.5e5
  expect_gt(n, 2 * batch_size(sampling_plan(diffusion(m, "a", sampler_ddim(3)), 9)))
  for (points in c("random", "sobol")) {
    d <- diffusion(m, guidance("a", 1), sampler_ddim(3), key = c(3, 4), points = points)
    expect_sums_up(guided_summary(d, n), guided_sample(d, n))
  }
})

test_that("standard deviations alone are those of the covariance", {
  whole <- guided_summary(m, 2000, guidance("a"), quick, key = c(1, 2))
  alone <- guided_summary(m, 2000, guidance("a"), quick, key = c(1, 2), covariance = FALSE)
  expect_null(alone$cov)
  expect_equal(alone$sd, sqrt(diag(whole$cov)), tolerance = 1e-13)
  expect_equal(alone[c("mean", "mean_se", "sd_se")], whole[c("mean", "mean_se", "sd_se")],
               tolerance = 1e-12)
  wide <- gaussmix(c(1, 1), rbind(rep(0, 40), rep(1, 40)), 1)
  expect_null(guided_summary(wide, 100, sampler = sampler_em(2))$cov)
})

test_that("standard errors are honest", {
  set.seed(21)
  one <- gaussmix(1, cbind(1, 2), matrix(c(1, .5, .5, 2), 2))
  exact <- sampler("stay", function(k, times, schedule) list(op_linear("x", c(x = 1))), 1)
  z <- replicate(40, {
    s <- guided_summary(one, 500, sampler = exact, horizon = .3, start = "exact")
    truth <- moments(diffuse(one, .3))
    c((s$mean - truth$mean) / s$mean_se, ((s$cov - truth$cov) / s$cov_se)[c(1, 2, 4)])
  })
  expect_honest(z[1:2, ])
  expect_honest(z[3:5, ])
})

test_that("bins and range are as asked for", {
  s <- guided_summary(m, 1000, sampler = quick, bins = 10, range = c(-1, 1))
  expect_identical(dim(s$histogram$count), c(10L, 2L))
  expect_identical(s$histogram$low, c(u = -1, v = -1))
  expect_equal(s$histogram$width, c(u = .2, v = .2))
  expect_gt(s$histogram$below[["u"]], 0)
  counts <- s$histogram$below + colSums(s$histogram$count) + s$histogram$above
  expect_identical(counts, c(u = 1000, v = 1000))
  # beyond the bins a quantile lies between the edge and the extreme
  expect_true(all(quantile(s, .001) >= s$histogram$least & quantile(s, .001) <= -1))
  expect_output(print(s), "Outside the histograms")
  each <- guided_summary(m, 1000, sampler = quick, range = cbind(c(-9, 9), c(-8, 8)))
  expect_identical(each$histogram$low, c(u = -9, v = -8))
  expect_identical(sum(each$histogram$below + each$histogram$above), 0)
})

test_that("bins found by themselves hold all but rare particles", {
  s <- guided_summary(m, 1e5, sampler = sampler_ddim(5), key = c(1, 2))
  expect_identical(sum(s$histogram$below + s$histogram$above), 0)
  points <- gaussmix(c(.5, .5), c(0, 5), 0, class = c("a", "b"))
  p <- guided_summary(points, 500, guidance("b", 1), sampler_ddim(60), log_density = "none")
  expect_equal(quantile(p, c(0, .5, 1))[, 1], rep(5, 3), tolerance = 1e-6, ignore_attr = TRUE)
})

test_that("lost particles are counted and left out", {
  set.seed(6)
  x <- matrix(c(rnorm(50), 1.7e308))
  go <- function(f) {
    suppressWarnings(f(line, guidance = guidance("a", 1), sampler = sampler_euler(20), start = x,
                       schedule = schedule_vp(), key = c(1, 2)))
  }
  r <- go(guided_sample)
  lost <- !is.finite(r$x[, 1])
  expect_identical(sum(lost), 1L)
  s <- go(guided_summary)
  expect_identical(s$lost, sum(lost) + 0)
  expect_equal(s$mean[[1]], mean(r$x[!lost, 1]), tolerance = 1e-12)
  expect_equal(confidence(s)$estimate, mean(r$confidence[!lost]), tolerance = 1e-12)
  expect_output(print(s), "lost:")
  expect_warning(none <- guided_summary(line, 20, guidance("a", 1e200), sampler_euler(30)),
                 "20 of 20 particles overflowed")
  expect_identical(none$lost, 20)
  expect_output(print(none), "lost")
})

test_that("a summary prints, becomes a data frame and is drawn", {
  s <- guided_summary(m, 5000, guidance("a", 2), quick, key = c(1, 2))
  expect_output(print(s), "<guided_summary> 5,000 particles in 2 dimensions", fixed = TRUE)
  expect_output(print(s), "towards a, strength 2 (guidance scale 3)", fixed = TRUE)
  expect_output(expect_false(withVisible(print(s))$visible), "median")
  frame <- as.data.frame(s)
  expect_identical(frame$variable, c("u", "v"))
  expect_equal(frame$median, quantile(s, .5)[1, ], ignore_attr = TRUE)
  expect_identical(summary(s), frame)
  expect_identical(dimnames(quantile(s, c(.5, .975))), list(c("50.0%", "97.5%"), c("u", "v")))
  plain <- guided_summary(line, 100, sampler = sampler_em(3))
  expect_output(print(plain), "guidance: none")
  expect_error(confidence(plain), "without guidance", class = "mixguide_error")
  expect_error(entropy(plain), "log-density", class = "mixguide_error")
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  expect_identical(expect_invisible(plot(s)), s)
  plot <- ggplot2::autoplot(s, variables = "v")
  bars <- ggplot2::layer_data(plot, 1)
  expect_equal(sum(bars$ymax * (bars$xmax - bars$xmin)), .999, tolerance = .002)
  expect_silent(print(ggplot2::autoplot(plain)))
})

test_that("bad arguments are answered by name", {
  bad <- function(arg, ...) {
    arguments <- list(mixture = m, n = 40, guidance = guidance("a"), sampler = quick)
    changed <- list(...)
    arguments[names(changed)] <- changed
    expect_mixguide_error(do.call(guided_summary, arguments), arg)
  }
  for (n in list(1, -1, 2.5, NA, Inf, "3", NULL, c(5, 6), 2^54)) bad("n", n = n)
  for (bins in list(0, 1.5, NA, "3", NULL, 1e7)) bad("bins", bins = bins)
  for (range in list(1, c(1, 1), c(2, 1), "a", c(0, NA), 1:3, list(0, 1), matrix(1, 2, 2))) {
    bad("range", range = range)
  }
  bad("mixture", mixture = 1)
  bad("guidance", guidance = "z")
  bad("covariance", covariance = NA)
  bad("key", key = 1)
  bad("folder", folder = 1)
  s <- guided_summary(m, 40, sampler = quick)
  for (probs in list(-1, 2, NA, "a", NULL)) expect_mixguide_error(quantile(s, probs), "probs")
})

test_that("memory does not grow with the number of particles", {
  skip_on_cran()
  skip_if(nzchar(Sys.getenv("MIXGUIDE_SANITIZE")), "the sanitizer's own memory")
  skip_on_os(c("windows", "mac"))
  skip_if_not(file.exists("/proc/self/clear_refs") && file.access("/proc/self/clear_refs", 2) == 0)
  status <- function(field) {
    line <- grep(field, readLines("/proc/self/status"), value = TRUE)
    as.numeric(sub("\\D+(\\d+).*", "\\1", line)) / 1024
  }
  peak <- function(n) {
    invisible(gc(full = TRUE))
    writeLines("5", "/proc/self/clear_refs")
    before <- status("VmRSS")
    guided_summary(m, n, guidance("a", 1), sampler_ddim(2))
    status("VmHWM") - before
  }
  peak(2e5) # the allocator learns the sizes
  small <- peak(1e6)
  expect_lt(small, 64)
  expect_lt(peak(8e6), small + 16)
})

test_that("what cannot be held is an error that says so", {
  wide <- gaussmix(1, t(double(23171)), 1)
  expect_error(guided_summary(wide, 10, sampler = sampler_ddim(1), covariance = TRUE),
               "`covariance` must be FALSE for more than 23170 variables",
               class = "mixguide_error_input")
  m <- named_mixture("A2")
  for (n in c(2^31, 1e10)) {
    expect_error(guided_sample(m, n), "2,147,483,647 \\(guided_summary", class = "mixguide_error")
    expect_error(guidance_sweep(m, guidance = "1", n = n), "2,147,483,647 \\(guided_summary",
                 class = "mixguide_error")
  }
  expect_error(guided_summary(m, 2^54), "9,007,199,254,740,992", class = "mixguide_error")
  expect_error(schedule_etc(2^31), "from 2 to 1,000,000", class = "mixguide_error")
  expect_error(sampler_ddim(2^31), "from 1 to 1,000,000", class = "mixguide_error")
  expect_error(sampler_dpum(1, horizon = 2^31), class = "mixguide_error")
})

test_that("without covariances no d x d matrix is made", {
  skip_if_not(capabilities("profmem"))
  m <- gaussmix(1, t(rnorm(5000)), 1)
  file <- withr::local_tempfile()
  # 5000 x 5000 numbers are 2e8 bytes
  utils::Rprofmem(file, threshold = 1e8)
  s <- guided_summary(m, 20, sampler = sampler_ddim(1), bins = 10, covariance = FALSE)
  utils::Rprofmem(NULL)
  expect_length(grep("^[0-9]", readLines(file)), 0)
  expect_length(s$sd_se, 5000)
})

m <- gaussmix(c(.3, .4, .3), rbind(c(-1, 0), c(1, 1), c(2, -1)), cov = diag(c(.5, .2)),
              class = c("a", "b", "b"))
key <- c(11, 12)

net_of <- function(n, d) {
  columns <- log2(n / 16)
  list(per = n / 16, sobol = sobol_matrices(columns, d + 1), draws = seq_len(d + 1) - 1L)
}

test_that("the table has the direction numbers of Joe and Kuo", {
  # degree, coefficients of the primitive polynomial and initial numbers of coordinates 2 to 10
  known <- list(c(1, 0, 1), c(2, 1, 1, 3), c(3, 1, 1, 3, 1), c(3, 2, 1, 1, 1),
                c(4, 1, 1, 1, 3, 3), c(4, 4, 1, 3, 5, 13), c(5, 2, 1, 1, 5, 5, 17),
                c(5, 4, 1, 1, 5, 5, 5), c(5, 7, 1, 1, 7, 11, 19))
  sobol <- sobol_matrices(26, 10)
  expect_equal(sobol[, 1], 2^(25:0))
  for (j in seq_along(known)) {
    s <- known[[j]][1]
    a <- as.integer(intToBits(known[[j]][2]))[seq_len(s - 1)]
    direction <- known[[j]][-(1:2)]
    for (k in (s + 1):26) {
      new <- bitwXor(2^s * direction[k - s], direction[k - s])
      for (i in seq_len(s - 1)) {
        # the coefficients, the highest first
        if (a[s - i] == 1) new <- bitwXor(new, 2^i * direction[k - i])
      }
      direction[k] <- new
    }
    expect_equal(sobol[, j + 1], direction * 2^(25:0), info = j)
  }
  # a net of fewer points uses the leading bits of the whole table; the table's sum is that of the
  # source
  all <- sobol_matrices(26, 1024)
  expect_equal(sobol_matrices(12, 700), all[1:12, 1:700] %/% 2^14)
  expect_equal(sum(all %% 9973 * col(all)), 69495761616)
})

test_that("each net has one point in every elementary interval, and replicates differ", {
  n <- 16 * 256
  d <- 5
  z <- keyed_draws(gaussmix(1, t(double(d)), 1), n, key, 0, net_of(n, d))
  u <- pnorm(z)
  replicate <- rep(1:16, each = 256)
  for (r in 1:16) {
    one <- u[replicate == r, ]
    for (j in 1:d) expect_setequal(floor(256 * one[, j]), 0:255)
  }
  # two coordinates that are a (0, m, 2)-net: boxes of any shape
  two <- keyed_draws(gaussmix(1, t(double(2)), 1), n, key, 0,
                     replace(net_of(n, 2), "draws", list(c(2L, 0L, 1L))))
  for (k in 0:8) {
    box <- floor(2^k * pnorm(two[, 1])) * 256 + floor(2^(8 - k) * pnorm(two[, 2]))
    for (r in 1:16) expect_equal(anyDuplicated(box[replicate == r]), 0)
  }
  expect_equal(anyDuplicated(z[, 1]), 0)
  means <- rowsum(z, replicate) / 256
  expect_lt(max(abs(means)), .02)
})

test_that("what a particle meets depends on its number alone", {
  for (start in list("normal", "exact", rgaussmix(2048, m))) {
    for (sampler in list(sampler_ddim(5), sampler_ddpm(5))) {
      d <- diffusion(m, guidance("b", 1), sampler, start = start, key = key, points = "sobol")
      run <- quiet_sample(d, 2048)
      plan <- sampling_plan(d, 2048)
      cut <- run_particles(plan, plan_aim(plan, d$guidance), key, size = 200)
      expect_identical(cut$x, run$x)
      expect_identical(cut$confidence, run$confidence)
      before <- mixguide_threads(1)
      expect_identical(quiet_sample(d, 2048)$x, run$x)
      mixguide_threads(before)
    }
  }
})

test_that("a net keeps the law: confidence and entropy beside the exact law", {
  for (sampler in list(sampler_ddim(10), sampler_ddpm(10))) {
    d <- diffusion(m, guidance("b", 2), sampler, key = key)
    law <- without_faults(guided_law(d))
    run <- quiet_sample(d, 2^14, points = "sobol")
    row <- confidence(run)
    expect_lt(abs(row$estimate - confidence(law)$estimate), 4 * row$se + 1e-6)
    if (!sampler$stochastic) {
      row <- entropy(run)
      expect_lt(abs(row$estimate - entropy(law)$estimate), 4 * row$se + 1e-4)
    }
  }
})

test_that("starts, reductions and masses come by nets, too", {
  wide <- gaussmix(c(.5, .5), rbind(c(1, 0, 0, 0), c(-1, 0, 0, 0)), cov = 1, class = c("a", "b"))
  for (sampler in list(sampler_ddim(20), sampler_ddpm(20))) {
    for (start in list("normal", "exact", gaussmix(1, t(double(4)), 1))) {
      s <- without_faults(guided_summary(wide, 2^13, guidance("a", 1), sampler, start = start,
                                         key = key))
      plain <- without_faults(guided_summary(wide, 2^13, guidance("a", 1), sampler, start = start,
                                             key = key, points = "random"))
      expect_identical(s$points, "sobol")
      # the mean of every linear function of the noise is exact
      expect_lt(max(s$mean_se / plain$mean_se), .2)
      expect_lt(max(abs(s$mean[-1])), 1e-3)
      expect_lt(abs(s$mean[1] - plain$mean[1]), 4 * plain$mean_se[1])
    }
  }
})

test_that("standard errors are those of the replicates, in samples, summaries and sweeps", {
  n <- 2048
  run <- quiet_sample(m, n, guidance("b", 1), sampler_ddim(10), key = key, points = "sobol")
  by_hand <- function(x) {
    means <- colMeans(matrix(x, n / 16))
    sd(means) / 4 * qt(pnorm(2), 15) / 2
  }
  expect_equal(run$family, rep(1:16, each = n / 16))
  expect_equal(confidence(run)$se, by_hand(run$confidence))
  expect_equal(entropy(run)$se, by_hand(run$density_change))
  s <- without_faults(guided_summary(m, n, guidance("b", 1), sampler_ddim(10), key = key))
  expect_equal(s$confidence$estimate, mean(run$confidence))
  expect_equal(s$confidence$se, by_hand(run$confidence))
  expect_equal(s$mean, colMeans(run$x), ignore_attr = TRUE)
  expect_equal(unname(s$mean_se), apply(run$x, 2, by_hand))
  expect_equal(s$cov, cov(run$x), ignore_attr = TRUE)
  off <- scale(run$x, scale = FALSE)
  expect_equal(s$cov_se[1, 2], by_hand(off[, 1] * off[, 2]))
  expect_equal(s$cov_se[2, 2], by_hand(off[, 2]^2))
  variances <- without_faults(guided_summary(m, n, guidance("b", 1), sampler_ddim(10), key = key,
                                             covariance = FALSE))
  expect_equal(variances$sd, s$sd)
  expect_equal(variances$sd_se, s$sd_se)
  sweep <- without_faults(guidance_sweep(m, n, "b", c(0, 1), sampler_ddim(10), key = key))
  expect_equal(sweep$confidence_se[2], by_hand(run$confidence))
  base <- quiet_sample(m, n, guidance("b", 0), sampler_ddim(10), key = key, points = "sobol")
  expect_equal(sweep$gain_se[2], by_hand(run$confidence - base$confidence))
})

test_that("twice the standard error covers, and it is smaller than that of independent draws", {
  two <- named_mixture("A2")
  d <- diffusion(two, guidance("1", 1), sampler_ddpm(8))
  truth <- confidence(without_faults(guided_law(d)))$estimate
  runs <- vapply(1:200, function(i) {
    row <- without_faults(guided_summary(d, 1024, key = c(i, 1)))$confidence
    c(row$estimate, row$se)
  }, double(2))
  covered <- mean(abs(runs[1, ] - truth) < 1.96 * runs[2, ])
  expect_gt(covered, .91)
  expect_lt(covered, .985)
  plain <- without_faults(guided_summary(d, 1024, key = c(1, 1), points = "random"))$confidence
  expect_lt(mean(runs[2, ]^2), plain$se^2 / 5)
  entropies <- vapply(c("sobol", "random"), function(points) {
    entropy(quiet_sample(two, 4096, guidance("1", 1), sampler_ddim(50), key = key,
                         points = points))$se
  }, 0)
  expect_lt(entropies[[1]]^2, entropies[[2]]^2 / 1000)
})

test_that("points are random unless asked for, or few, and others draw independently", {
  expect_null(quiet_sample(m, 64, "a", key = key)$points)
  expect_null(guided_summary(m, 1000, "a", key = key)$points)
  expect_null(guided_summary(m, 2000, "a", key = key, points = "random")$points)
  d <- diffusion(m, "a", key = key, points = "sobol")
  expect_identical(coupled_paths(d, n = 64)$confidence,
                   coupled_paths(update(d, points = NULL), n = 64)$confidence)
  expect_error(diffusion(m, "a", points = "halton"), class = "mixguide_error_input")
  expect_error(guided_sample(m, 8, "a", sampler_ddim(2), noise = function(n, d, m) {
    array(0, c(n, d, m))
  }, points = "sobol"), class = "mixguide_error_input")
  # fewer particles than replicates, one particle, none
  for (n in c(0, 1, 5, 33)) {
    expect_equal(nrow(guided_sample(m, n, "a", sampler_ddpm(2), points = "sobol")$x), n)
  }
  # more noises than a net has coordinates
  long <- quiet_sample(m, 256, "a", sampler_ddpm(600), points = "sobol", key = key)
  expect_true(all(is.finite(long$x)))
})

test_that("analyses without nets refuse them, but take a diffusion that has them for others", {
  d <- diffusion(m, guidance("a", 1), points = "sobol")
  for (f in list(guided_law, tilted_sample, coupled_paths, guided_error)) {
    expect_error(f(m, guidance = guidance("a", 1), points = "sobol"), "`points` must be NULL",
                 class = "mixguide_error_input")
  }
  expect_s3_class(guided_law(d), "mixguide_law")
})

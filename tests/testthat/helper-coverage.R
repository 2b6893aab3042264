# Every estimate of the package that has a standard error, in a form that can be repeated many
# times. tools/validate-coverage repeats each at length, test-coverage.R briefly. A case returns a
# matrix of estimates and standard errors with a named row for each quantity, NA for a number that
# is withheld.

rows_of <- function(rows, names) {
  found <- as.matrix(as.data.frame(rows)[c("estimate", "se")])
  rownames(found) <- names
  found
}

# The entropy of a stochastic run of a mixture on the line, with Gaussian variables of the variances
# `rest` beside it: by entropy(), which knows these exactly, and by neighbours in all coordinates.
neighbour_case <- function(line, guidance, sampler, rest, n) {
  d <- length(rest) + 1
  covs <- lapply(component_variances(line), function(v) c(v, rest))
  wide <- gaussmix(line$weights, cbind(c(line$means), matrix(0, nrow(line$means), d - 1)), covs,
                   class = line$class)
  horizon <- without_faults(diffusion(wide, guidance, sampler)$horizon)
  truth <- function() {
    of <- function(...) without_faults(guided_law(..., sampler = sampler, horizon = horizon))
    parts <- c(list(of(line, guidance)), lapply(rest, function(v) of(gaussmix(1, 0, v))))
    sum(vapply(parts, function(law) entropy(law)$estimate, 0))
  }
  list(needs = "FNN", truth = truth, bias = TRUE, run = function() {
    run <- without_faults(guided_sample(wide, n, guidance, sampler, horizon = horizon))
    found <- list(points_entropy(run$x, wide, run$key))
    names <- "all coordinates"
    if (length(line$weights) > 1) {
      found <- c(found, list(entropy(run)[ESTIMATE]))
      names <- c(names, "reduced")
    }
    rows_of(do.call(rbind, found), names)
  })
}

component_variances <- function(line) {
  vapply(seq_along(line$weights), function(k) c(component_cov(line, k)), 0)
}

# 1 - confidence is .00095 at most particles, and near 1 at some in a hundred thousand.
rare_case <- function() {
  m <- gaussmix(c(.02, .28, .7), c(3, 0, -1), c(.05, 1, .3), class = c("r", "b", "c"))
  d <- without_faults(diffusion(m, guidance("b", 8), sampler_ddim(40)))
  list(truth = function() rep(confidence(without_faults(guided_law(d)))$estimate, 3), bias = TRUE,
       run = function() {
    summary <- without_faults(guided_summary(d, 4096))
    sample <- without_faults(guided_sample(d, 4096))
    sweep <- without_faults(guidance_sweep(d, strength = 8, n = 4096, exact = FALSE))
    rbind(rows_of(rbind(confidence(summary), confidence(sample)), c("summary", "sample")),
          columns_of(sweep, "confidence"))
  })
}

# The columns x and x_se of one row of a table, for several names x.
columns_of <- function(table, names) {
  found <- cbind(unlist(table[names]), unlist(table[paste0(names, "_se")]))
  rownames(found) <- names
  found
}

coverage_cases <- local({
  G4 <- named_mixture("G4")
  A2 <- named_mixture("A2")
  M2 <- named_mixture("M2")
  guide <- guidance("1", 1)
  ddim <- sampler_ddim(10)
  tilted <- function(...) {
    function() {
      run <- tilted_sample(A2, 500, guide, sampler_em(20), ...)
      rows_of(rbind(confidence(run)[ESTIMATE], entropy(run)[ESTIMATE], run$log_normaliser),
              c("confidence", "entropy", "log normaliser"))
    }
  }
  # laws of stochastic samplers whose first variable alone is not Gaussian, see neighbour_case()
  log_snr <- sampler_ddpm(200, "logsnr", end = 1e-5)
  iris_case <- function(strength, truth) {
    sampler <- sampler_ddpm(100, variance = "accelerated")
    list(needs = "FNN", truth = truth, bias = TRUE, run = function() {
      run <- guided_sample(as_gaussmix(Species ~ ., iris), 2000, guidance("versicolor", strength),
                           sampler)
      rows_of(entropy(run), "entropy")
    })
  }
  law <- tilted_law(A2, guidance("1", 1))
  tilt <- c(confidence(law)$estimate, entropy(law)$estimate, law$log_normaliser)
  y <- observation(.8, H = cbind(1, .5), noise = .3^2)
  list(
    "mixture" = list(run = function() {
      rows_of(rbind(confidence(G4, "1", n = 500)[ESTIMATE], entropy(G4, n = 500)[ESTIMATE]),
              c("confidence", "entropy"))
    }),
    "guided_sample" = list(run = function() {
      run <- guided_sample(G4, 300, guide, ddim)
      mean <- summary(run)$variables
      rbind(rows_of(rbind(confidence(run), entropy(run)), c("confidence", "entropy")),
            mean = c(mean$mean[1], mean$mean_se[1]))
    }),
    "guided_summary" = list(run = function() {
      s <- guided_summary(G4, 300, guide, ddim, bins = 20)
      rbind(rows_of(rbind(confidence(s)[ESTIMATE], entropy(s)[ESTIMATE], s$inverse_confidence),
                    c("confidence", "entropy", "1/confidence")),
            mean = c(s$mean[1], s$mean_se[1]), sd = c(s$sd[1], s$sd_se[1]),
            covariance = c(s$cov[1, 2], s$cov_se[1, 2]))
    }),
    "guidance_sweep" = list(run = function() {
      sweep <- guidance_sweep(G4, 300, "1", c(0, 1), sampler = ddim)
      columns_of(sweep[2, ], c("confidence", "gain", "entropy", "mean_inverse_confidence"))
    }),
    "guidance_sweep, share" = list(run = function() {
      sweep <- guidance_sweep(named_mixture("D3"), 200, "1", 0:1, sampler = sampler_em(10))
      columns_of(sweep[2, ], c("fraction_down", "gain"))
    }),
    "heavy 1/q" = list(truth = 2, run = function() {
      sweep <- guidance_sweep(A2, 2000, "1", 0, sampler = sampler_em(20), start = "exact")
      rbind("1/q at 0" = unlist(sweep[1, c("mean_inverse_confidence",
                                           "mean_inverse_confidence_se")]))
    }, rarely = TRUE),
    "coupled_paths" = list(run = function() {
      columns_of(coupled_paths(G4, 200, "1", 2, sampler = sampler_ddim(5))$table[2, ],
                 c("confidence", "gain"))
    }),
    "guidance_identities, entropy" = list(run = function() {
      at <- guidance_identities(G4, 200, "1", 1, sampler_heun(10))
      do.call(rbind, lapply(c("end", "integral"), columns_of, table = at))
    }),
    "guidance_identities" = list(run = function() {
      at <- guidance_identities(G4, 200, "1", 1, sampler_em(20))
      found <- lapply(c("change", "integral", "gap"), columns_of, table = at[1, ])
      do.call(rbind, found)
    }),
    "confidence, few particles" = rare_case(),
    # by 400 000 particles, which a third of the bias of 2000 would be left of
    "neighbours, iris 8" = iris_case(8, -.267),
    "neighbours, iris 4" = iris_case(4, -.205),
    "neighbours, narrow component" = neighbour_case(
      gaussmix(c(.3, .3, .4), c(0, 0, 2), c(1, 1e-4, 1), class = c("a", "a", "b")),
      guidance("a", 8), log_snr, c(.1, 1), 1000),
    "neighbours, one Gaussian" = neighbour_case(
      gaussmix(1, .5, 2), NULL, sampler_ddpm(20), seq(.05, 4, length.out = 7), 800),
    "neighbours, split" = neighbour_case(
      gaussmix(rep(1, 3), c(-3, 0, 3), 1, class = c("a", "b", "c")), guidance("b", 16),
      sampler_em(50, "uniform"), c(.1, .5, 1), 2000),
    "tilted, path" = list(truth = tilt, run = tilted(weights = "path")),
    "tilted, no resampling" = list(truth = tilt, run = tilted(weights = "path", resample = 0)),
    # these errors include the bias of the steps, so they exceed the spread
    "tilted, Feynman-Kac" = list(truth = tilt, run = tilted(), bias = TRUE),
    "sliced distance" = list(run = function() {
      at <- function(other) {
        sliced_wasserstein(rgaussmix(400, M2), rgaussmix(400, other), directions = 30,
                           key = draw_key())
      }
      rows_of(rbind(at(M2), at(diffuse(M2, .3)), at(diffuse(M2, 1))),
              c("same law", "near", "far"))
    }),
    "largest distance" = list(run = function() {
      at <- function(other) {
        sliced_wasserstein(rgaussmix(400, M2), rgaussmix(400, other), directions = 40, p = 1,
                           key = c(1, 0), maximum = TRUE)
      }
      rows_of(rbind(at(M2), at(diffuse(M2, .3)), at(diffuse(M2, 1))),
              c("same law", "near", "far"))
    }),
    "judge_samples" = list(run = function() {
      x <- rgaussmix(400, diffuse(M2, .2))
      at <- judge_samples(x, M2, y, directions = 30, cells = 25, key = draw_key())[1, ]
      columns_of(at, c("sw2", "spread", "residual", "coverage", "kl_reverse", "total_variation"))
    }),
    "information" = list(run = function() {
      columns_of(information(G4, .3, n = 300), c("entropy", "fisher", "curvature"))
    }),
    "information by nets" = list(run = function() {
      columns_of(information(G4, .3, n = 1024), c("entropy", "fisher", "curvature"))
    }),
    "mutual_information by nets" = list(run = function() {
      rows_of(rbind(mutual_information(G4, 1:2, n = 1024)), "information")
    }),
    "mutual_information" = list(run = function() {
      rows_of(rbind(mutual_information(G4, 1:2, n = 500)), "information")
    }),
    "mismatch, any y" = list(run = function() {
      at <- summary(mismatch(G4, observation(variables = 1:2), zero_shot_bo(), schedule_etc(12),
                             n = 200))
      rows_of(at, at$quantity)
    }),
    "mismatch" = list(run = function() {
      at <- summary(mismatch(G4, schedule = schedule_etc(12), model = gaussmix(1, t(rep(0, 4)), 1),
                             n = 300))
      rows_of(at, at$quantity)
    }),
    "path_kl" = list(run = function() {
      at <- path_kl(G4, sampler = sampler_exponential(5, "uniform", stochastic = TRUE), horizon = 2,
                    n = 400)
      rows_of(at, at$quantity)[c(2, 4), ]
    }),
    "impute, pooled" = list(truth = mean(M2)[2], run = function() {
      x <- rgaussmix(100, M2)
      x[sample(100, 40), 2] <- NA
      filled <- impute(M2, x, m = 10)$imputations
      means <- vapply(filled, function(x) mean(x[[2]]), 0)
      within <- mean(vapply(filled, function(x) stats::var(x[[2]]) / 100, 0))
      rbind(mean = c(mean(means), sqrt(within + 1.1 * stats::var(means))))
    }),
    "zero-shot particles" = list(run = function() {
      run <- conditional_sample(M2, 60, y, zero_shot_tds(8), schedule = schedule_etc(10))
      rbind(mean = c(mean(run$x[, 1]), stats::sd(run$x[, 1]) / sqrt(60)),
            residual = summary_residual(run))
    }),
    "guided_error" = list(known = TRUE, run = function() {
      at <- guided_error(G4, sampler = sampler_heun(4), method = "Monte Carlo", n = 500)
      rows_of(at, at$quantity)
    })
  )
})

summary_residual <- function(run) {
  r <- (run$observation$y - drop(run$x %*% t(run$observation$H)))^2
  c(mean(r), stats::sd(r) / sqrt(length(r)))
}

# Summary of `reps` repetitions, for each quantity: the root mean square of the stated standard
# errors over the spread of the estimates; the share of repetitions in which two standard errors
# cover the truth (or the mean over the repetitions); the share in which a number is given.
coverage_of <- function(case, reps, seed = 1) {
  made <- lapply(seq_len(reps), function(i) withr::with_seed(seed * 1000 + i, case$run()))
  estimate <- vapply(made, function(x) x[, 1], made[[1]][, 1])
  estimate <- matrix(estimate, nrow(made[[1]]))
  se <- matrix(vapply(made, function(x) x[, 2], made[[1]][, 2]), nrow(estimate))
  given <- !is.na(se)
  mean <- rowMeans(estimate, na.rm = TRUE)
  truth <- if (is.null(case$truth)) mean else case$truth
  # laws take some time, and few tests need them
  if (is.function(truth)) truth <- truth()
  # an estimate is part of the mean that it is compared with
  own <- if (is.null(case$truth)) sqrt(1 - 1 / rowSums(given)) else 1
  hit <- abs(estimate - truth) <= 2 * se * own
  spread <- apply(estimate, 1, stats::sd, na.rm = TRUE)
  data.frame(quantity = rownames(made[[1]]), given = rowMeans(given),
             ratio = sqrt(rowMeans(se^2, na.rm = TRUE)) / spread,
             covered = rowMeans(hit, na.rm = TRUE), hits = rowSums(hit, na.rm = TRUE),
             of = rowSums(given), stringsAsFactors = FALSE)
}

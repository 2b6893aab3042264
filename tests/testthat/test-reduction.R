# Mixtures in 20 dimensions that reduce, and the dimensions that remain.
rotation <- function(d) qr.Q(qr(matrix(stats::rnorm(d * d), d)))
symmetric <- function(S) (S + t(S)) / 2

reducible <- function(d = 20) {
  withr::local_seed(701)
  R <- rotation(d)
  turn <- function(S) symmetric(R %*% S %*% t(R))
  means <- matrix(rnorm(3 * d), 3)
  few <- cbind(0, 0, 0, matrix(rnorm(6), 3), matrix(0, 3, d - 5))
  spectrum <- diag(rep(c(.1, .3, .7, 1), c(2, d - 12, 4, 6)))
  block <- function() {
    S <- diag(rep(c(.5, .25), c(d - 8, 8)))
    S[1:3, 1:3] <- crossprod(matrix(rnorm(9), 3)) + diag(1, 3)
    S
  }
  blocks <- list(block(), block(), block())
  mix <- function(means, cov) gaussmix(c(.2, .3, .5), means, cov, class = c("a", "b", "b"))
  list(
    isotropic = list(mix(means, .3), 2),
    "common diagonal" = list(mix(means, spectrum), 8),
    "common full" = list(mix(means, turn(spectrum)), 8),
    "rotated blocks" = list(mix(few %*% t(R), lapply(blocks, turn)), 5),
    "blocks along the axes" = list(mix(few, blocks), 5),
    diagonal = list(mix(few, lapply(1:3, function(k) c(k / 3, rep(c(.5, .8), c(4, d - 5))))), 3),
    "collinear means" = list(mix(outer(c(1, 2, -3), rnorm(d)), .3), 1),
    "equal means" = list(mix(means[c(1, 1, 1), ], turn(spectrum)), 1),
    "one Gaussian" = list(gaussmix(1, means[1, , drop = FALSE], turn(spectrum), "a"), 1),
    "weight zero" = list(gaussmix(c(.5, .5, 0), means, list(.3, .3, turn(block())),
                                  class = c("a", "b", "b")), 1),
    "point masses" = list(mix(means, 0), 2),
    "on a subspace" = list(mix(means, turn(diag(rep(c(1, 0), c(4, d - 4))))), 4)
  )
}
mixtures <- reducible()
mixture <- function(name) mixtures[[name]][[1]]

# A run with and without reduction; the first one must be reduced.
both <- function(mixture, sampler = sampler_ddim(15), ..., strength = 1.5, n = 20, key = c(5, 6)) {
  run <- function(reduce) {
    guided_sample(mixture, n, guidance("a", strength), sampler, key = key, reduce = reduce, ...)
  }
  runs <- list(run(TRUE), run(FALSE))
  expect_type(runs[[1]]$reduced, "character")
  expect_null(runs[[2]]$reduced)
  runs
}
gap <- function(runs, part) {
  x <- runs[[1]][[part]]
  y <- runs[[2]][[part]]
  stopifnot(length(x) > 0, identical(dim(x), dim(y)), length(x) == length(y))
  max(abs(x - y)) / max(1, abs(y))
}

test_that("the subspace is the smallest in which components differ", {
  for (name in names(mixtures)) {
    m <- mixture(name)
    space <- reduced_space(m)
    Q <- space$within
    r <- ncol(Q)
    expect_identical(r, as.integer(mixtures[[name]][[2]]), info = name)
    expect_lt(max(abs(crossprod(Q) - diag(r))), 1e-14)
    W <- if (is.null(space$basis)) Q else space$basis %*% Q
    used <- which(m$weights > 0)
    S <- lapply(used, function(k) component_cov(m, k))
    outside <- function(x) max(abs(x - W %*% crossprod(W, x)))
    # the subspace contains the mean differences, is invariant, and covariances agree outside it
    expect_lt(outside(t(m$means[used, , drop = FALSE]) - m$means[used[1], ]), 1e-12)
    for (cov in S) {
      expect_lt(outside(cov %*% W), 1e-12)
      expect_lt(outside(cov - S[[1]]), 1e-12)
    }
    # the mixture inside has these means and covariances, in a form that is no more general
    expect_equal(space$mixture$means, m$means[used, , drop = FALSE] %*% W, ignore_attr = TRUE)
    for (k in seq_along(used)) {
      expect_equal(component_cov(space$mixture, k), crossprod(W, S[[k]] %*% W))
    }
    # no smaller subspace qualifies: the Krylov space of the required directions is all of it
    seed <- cbind(t(m$means[used, , drop = FALSE]) - m$means[used[1], ],
                  do.call(cbind, lapply(S, `-`, S[[1]])))
    krylov <- seed
    for (power in 1:4) {
      seed <- S[[1]] %*% seed
      krylov <- cbind(krylov, seed)
    }
    values <- svd(krylov)$d
    expect_identical(max(1L, sum(values > 1e-9 * max(values, 1))), r, info = name)
  }
  forms <- vapply(mixtures, function(x) reduced_space(x[[1]])$mixture$form, "")
  expect_identical(unname(forms[c("isotropic", "common diagonal", "common full", "diagonal",
                                  "rotated blocks", "weight zero")]),
                   c("common isotropic", "common diagonal", "common diagonal", "diagonal", "full",
                     "common isotropic"))
})

test_that("what does not reduce is left alone", {
  withr::local_seed(702)
  full <- random_mixture("full", 5, 3)$mixture
  diagonal <- random_mixture("diagonal", 5, 3)$mixture
  isotropic <- random_mixture("isotropic", 5, 3)$mixture
  many <- random_mixture("common isotropic", 3, 6)$mixture
  distinct <- random_mixture("common full", 6, 2)$mixture
  line <- gaussmix(c(.5, .5), c(1, -1), 1, class = c("a", "b"))
  for (m in list(full, diagonal, isotropic, many, distinct, line)) {
    expect_null(reduced_space(m))
    run <- guided_sample(m, 5, guidance("a", 1), sampler_em(5), key = c(1, 2))
    expect_null(run$reduced)
    expect_true("reduced" %in% names(run))
    whole <- guided_sample(m, 5, guidance("a", 1), sampler_em(5), key = c(1, 2), reduce = FALSE)
    expect_identical(unclass(run)[names(run)], unclass(whole)[names(whole)])
  }
  expect_null(reduced_space(gaussmix(1, 0, 1)))
  # a difference is neglected only if it is rounding
  near <- gaussmix(c(.5, .5), rbind(c(1, 0, 0), c(0, 1e-9, 0)), .5)
  expect_identical(ncol(reduced_space(near)$within), 1L)
  bent <- gaussmix(c(.2, .3, .5), rbind(c(1, 0, 0), c(2, 1e-9, 0), c(-1, 0, 0)), .5)
  expect_identical(ncol(reduced_space(bent)$within), 2L)
  far <- gaussmix(c(.5, .5), rbind(c(1e200, 0, 0), c(-1e200, 0, 0)), 1e200)
  expect_identical(ncol(reduced_space(far)$within), 1L)
  unlike <- gaussmix(c(.5, .5), rbind(c(1, 1, 0), 0), diag(c(1, 1 + 1e-9, 1)))
  expect_identical(ncol(reduced_space(unlike)$within), 2L)
})

test_that("deterministic samplers take every particle where they take it without reduction", {
  for (name in names(mixtures)) {
    end <- if (is_singular(mixture(name))) .01 else 0
    for (make in list(sampler_ddim, sampler_euler, sampler_heun, sampler_rk4, sampler_dpmpp_2m,
                      sampler_exponential)) {
      runs <- both(mixture(name), make(15, end = end))
      expect_lt(gap(runs, "x"), 1e-12)
      expect_lt(gap(runs, "log_confidence"), 1e-12)
      expect_identical(dimnames(runs[[1]]$x), dimnames(runs[[2]]$x))
    }
  }
})

test_that("the same on every schedule, unguided, and with names", {
  for (schedule in all_schedules()) {
    for (name in c("isotropic", "common full", "rotated blocks")) {
      sampler <- sampler_ddim(12, end = 1e-3 * schedule$horizon)
      runs <- both(mixture(name), sampler, schedule = schedule, log_density = "map")
      expect_lt(gap(runs, "x"), 1e-12)
      expect_lt(gap(runs, "log_density"), 1e-11)
    }
  }
  m <- gaussmix(c(.5, .5), cbind(u = c(1, 2), v = c(0, 1), w = c(1, 1)), .5)
  run <- guided_sample(m, 4, key = c(1, 2))
  expect_match(run$reduced, "3 -> 1 dimension ")
  expect_equal(run$x, guided_sample(m, 4, key = c(1, 2), reduce = FALSE)$x, tolerance = 1e-13)
  expect_identical(colnames(run$x), c("u", "v", "w"))
  interval <- guidance("1", function(t) 3 * exp(-t), interval = c(.2, 2))
  one <- guided_sample(m, 4, interval, key = c(1, 2))
  expect_equal(one$x, guided_sample(m, 4, interval, key = c(1, 2), reduce = FALSE)$x,
               tolerance = 1e-13)
})

test_that("wherever particles start", {
  withr::local_seed(703)
  given <- matrix(rnorm(20 * 20, 1, 2), 20)
  attr(given, "log_density") <- rnorm(20)
  law <- random_mixture("full", 20, 2)$mixture
  for (name in c("isotropic", "common full", "rotated blocks", "diagonal")) {
    for (start in list("exact", law, given)) {
      runs <- both(mixture(name), start = start, log_density = "map")
      expect_lt(gap(runs, "x"), 1e-12)
      expect_lt(gap(runs, "log_density"), 1e-11)
    }
  }
  # a program that moves nothing returns the start itself
  stay <- sampler("stay", function(k, times, schedule) list(op_linear("x", c(x = 1))), 1)
  runs <- both(mixture("rotated blocks"), stay, start = given)
  expect_equal(unname(runs[[1]]$x), given, tolerance = 1e-13, ignore_attr = TRUE)
})

test_that("the log-density, the folds and the entropy are those of all dimensions", {
  for (name in c("isotropic", "common full", "rotated blocks", "diagonal", "equal means")) {
    for (sampler in list(sampler_ddim(10), sampler_rk4(5), sampler_euler(10))) {
      for (method in c("map", "divergence")) {
        runs <- both(mixture(name), sampler, log_density = method)
        expect_lt(gap(runs, "log_density"), 1e-11)
        expect_identical(runs[[1]]$folded, runs[[2]]$folded)
        expect_equal(entropy(runs[[1]]), entropy(runs[[2]]), tolerance = 1e-10)
      }
    }
    expect_lt(gap(both(mixture(name), sampler_dpmpp_2m(10), log_density = "map"), "log_density"),
              1e-11)
  }
  # some particles fold inside
  pair <- gaussmix(c(.5, .5), rbind(c(0, 0, 1), c(0, 0, -1)), .1, class = c("a", "b"))
  runs <- both(pair, sampler_euler(grid = c(5, 1.5, .5, 0)), n = 200, strength = 20,
               log_density = "map")
  expect_true(any(runs[[2]]$folded) && !all(runs[[2]]$folded))
  expect_identical(runs[[1]]$folded, runs[[2]]$folded)
  # steps that fold the other dimensions are not reduced; otherwise the flag would be lost
  long <- sampler("long", function(k, times, schedule) {
    list(op_eval("s", t = times[k]), op_linear("x", c(x = 1, s = 1.5)))
  }, 2)
  expect_null(guided_sample(pair, 3, guidance("a"), long)$reduced)
  expect_match(guided_sample(pair, 3, guidance("a"), long, log_density = "none")$reduced, "3 -> 1")
})

test_that("a log-density is affordable if it is so in the dimensions that are left", {
  class <- c("a", "a", "b")
  m <- gaussmix(c(.3, .3, .4), outer(c(-1, 0, 2), rep(.1, 256)), .25, class = class)
  run <- guided_sample(m, 400, guidance("a", 0), sampler_ddim(20), key = c(1, 2))
  expect_identical(run$density_method, "map")
  expect_identical(guided_sample(m, 4, sampler = sampler_ddim(20), reduce = FALSE)$density_method,
                   "none")
  # orthogonal to the line of the means the law is a known Gaussian
  line <- gaussmix(c(.3, .3, .4), c(-1, 0, 2) * .1 * sqrt(256), .25, class = class)
  inside <- guidance_sweep(line, guidance = "a", strength = 0, sampler = sampler_ddim(20))
  across <- guided_moments(gaussmix(1, 0, .25), sampler = sampler_ddim(20))$cov
  truth <- inside$entropy + 255 / 2 * log(2 * pi * exp(1) * drop(across))
  estimate <- entropy(run)
  expect_lt(abs(estimate$estimate - truth), 5 * estimate$se)
  expect_lt(estimate$se, .05)
  # point masses have no density, and rounding must not give them one
  run <- guided_sample(mixture("point masses"), 3, NULL, sampler_ddim())
  expect_identical(run$density_method, "none")
})

test_that("stochastic samplers keep their law", {
  skip_on_cran()
  n <- 4000
  z <- double()
  for (name in c("isotropic", "common full", "rotated blocks", "equal means", "on a subspace")) {
    m <- mixture(name)
    end <- if (is_singular(m)) .01 else 0
    for (case in list(list(sampler_ddpm(12, end = end), schedule_ou()),
                      list(sampler_em(20, end = end), schedule_ve()),
                      list(sampler_exponential(12, end = end + .001, stochastic = TRUE),
                           schedule_flow()),
                      list(sampler_ddim(12, end = end, eta = .7), schedule_vp()))) {
      for (start in list("normal", "exact", matrix(1, n, 20))) {
        runs <- lapply(c(TRUE, FALSE), function(reduce) {
          guided_sample(m, n, guidance("a", 1), case[[1]], case[[2]], start = start,
                        key = c(length(z), reduce), reduce = reduce)
        })
        expect_type(runs[[1]]$reduced, "character")
        # means and second moments in every direction of a random basis, and of the confidence
        withr::local_seed(704)
        R <- rotation(20)
        moments <- lapply(runs, function(run) {
          x <- (run$x - 0) %*% R
          cbind(x, x^2, x * x[, c(2:20, 1)], run$confidence)
        })
        average <- lapply(moments, colMeans)
        error <- sqrt(Reduce(`+`, lapply(moments, function(x) apply(x, 2, var) / n)))
        z <- c(z, ((average[[1]] - average[[2]]) / error)[error > 1e-9])
      }
    }
  }
  # no particle is further out than the largest of as many normals; the spread is theirs
  expect_lt(max(abs(z)), -qnorm(1e-6 / length(z)))
  expect_lt(abs(mean(z^2) - 1), .1)
})

test_that("across the subspace a stochastic run has the moments of a Gaussian's", {
  n <- 2e4
  m <- mixture("common full")
  sampler <- sampler_ddpm(15)
  run <- guided_sample(m, n, guidance("a", 3), sampler, key = c(9, 9))
  exact <- guided_moments(gaussmix(1, m$means[1, , drop = FALSE], component_cov(m, 1)),
                          sampler = sampler)
  space <- reduced_space(m)
  # an orthonormal basis of the other dimensions, in the coordinates of the particles
  N <- space$basis %*% qr.Q(qr(space$within), complete = TRUE)[, -(1:8)]
  x <- run$x %*% N
  mean <- drop(exact$mean %*% N)
  cov <- crossprod(N, exact$cov %*% N)
  expect_honest((colMeans(x) - mean) / sqrt(diag(cov) / n))
  se <- sqrt((cov^2 + tcrossprod(diag(cov))) / n)
  expect_lt(max(abs(cov(x) - cov) / se), 4.7)
  # the rest is independent of the coordinates inside, and Gaussian
  inside <- run$x %*% space$basis %*% space$within
  expect_lt(max(abs(cor(x, inside))) * sqrt(n), 4.5)
  expect_lt(max(abs(cor(x^2, inside^2))) * sqrt(n), 4.5)
  kurtosis <- colMeans(scale(x)^4) - 3
  expect_lt(max(abs(kurtosis)) * sqrt(n / 24), 4.5)
})

test_that("runs of one key are coupled, whatever the strength", {
  m <- mixture("common full")
  runs <- lapply(c(0, 4), function(strength) {
    guided_sample(m, 50, guidance("a", strength), sampler_ddpm(10), key = c(1, 2))$x
  })
  space <- reduced_space(m)
  N <- space$basis %*% qr.Q(qr(space$within), complete = TRUE)[, -(1:8)]
  expect_equal(runs[[1]] %*% N, runs[[2]] %*% N, tolerance = 1e-12)
  # a longer run begins with the particles of the shorter one
  longer <- guided_sample(m, 333, guidance("a", 4), sampler_ddpm(10), key = c(1, 2))$x
  expect_identical(longer[1:50, ], runs[[2]])
  # the complement and the inside use different noise, and so do neighbours
  x <- guided_sample(gaussmix(c(.5, .5), rbind(c(1, 0, 0), c(-1, 0, 0)), .5), 1e4,
                     sampler = sampler_em(1), key = c(1, 2))$x
  expect_lt(max(abs(cor(x)[upper.tri(diag(3))])), .05)
  expect_lt(max(abs(cor(x[-1, ], x[-1e4, ]))), .05)
})

test_that("bits do not depend on chunks, threads or blocks", {
  split_run <- function(m, sampler, start, cuts) {
    plan <- sampling_plan(diffusion(m, "a", sampler, start = start), 600)
    guide <- guidance_models(guidance("a", 2), m)
    levels <- plan$levels
    levels$coef <- vapply(plan$program$level_times, guide$coef, double(2))
    scalars <- c(if (plan$method != "none") unlist(SCALAR[c("change", "folded", "start")]),
                 SCALAR$closing + 0:1)
    plan <- draw_start(plan, c(7, 8))
    expect_type(plan$reduction$label, "character")
    parts <- Map(function(from, to) {
      aim <- list(models = guide$models, levels = levels, scalars = scalars)
      run_chunk(plan_part(plan, from, to - from), aim, c(7, 8))
    }, cuts[-length(cuts)], cuts[-1])
    scalar <- lapply(seq_along(parts[[1]]$scalar), function(i) {
      unlist(lapply(parts, function(part) part$scalar[[i]]))
    })
    list(do.call(rbind, lapply(parts, `[[`, "output")), scalar)
  }
  for (name in c("isotropic", "common full", "rotated blocks")) {
    for (sampler in list(sampler_ddim(4), sampler_ddpm(4))) {
      for (start in c("normal", "exact")) {
        whole <- split_run(mixture(name), sampler, start, c(0, 600))
        expect_identical(split_run(mixture(name), sampler, start, c(0, 1, 18, 301, 600)), whole)
        for (threads in c(1, 2, 5)) {
          with_threads(threads, {
            expect_identical(split_run(mixture(name), sampler, start, c(0, 600)), whole)
          })
        }
      }
    }
  }
  run <- function() guided_sample(mixture("rotated blocks"), 100, sampler = sampler_ddpm(4),
                                  key = c(1, 2))$x
  for (engine in c("portable", "avx2")) {
    with_engine(engine, expect_equal(run(), with_engine("", run()), tolerance = 1e-12))
  }
  # blocks of any size, at the two ends themselves
  space <- list(within = rotation(9)[, 1:4], from = rotation(9), to = rotation(9))
  ends <- function(lanes) {
    job <- list(n = 77L, start = NULL, start_sd = 2, key = c(1, 2), first = 5, lanes = lanes)
    begin <- .Call(ffi_project, space, job)
    map <- list(gain = runif(9), shift = rnorm(9), sd = runif(9), noise_key = c(3, 4),
                inside = begin$start)
    list(begin, withr::with_seed(1, .Call(ffi_expand, space, job, map)))
  }
  first <- withr::with_seed(2, ends(8L))
  for (lanes in c(0L, 32L, 80L)) expect_identical(withr::with_seed(2, ends(lanes)), first)
})

test_that("the two ends of a reduced run are what their formulas say", {
  withr::local_seed(705)
  d <- 7
  n <- 37
  for (r in c(1, 2, 5, 6)) {
    Q <- rotation(d)[, seq_len(r), drop = FALSE]
    from <- rotation(d)
    to <- rotation(d)
    y <- matrix(rnorm(n * r), n)
    start <- matrix(rnorm(n * d), n)
    normals <- function(key) {
      t(vapply(5 + seq_len(n), function(i) oracle_normals(key, i, d), double(d)))
    }
    z <- normals(c(1, 2))
    xi <- normals(c(3, 4))
    map <- list(shift = rnorm(d), gain = rnorm(d), sd = runif(d), noise_key = c(3, 4), inside = y)
    for (given in c(TRUE, FALSE)) {
      for (turned in c(TRUE, FALSE)) {
        space <- list(within = Q, from = if (turned) from, to = if (turned) to)
        job <- list(n = n, start = if (given) start, start_sd = 3, key = c(1, 2), first = 6,
                    lanes = 0L)
        job$n <- as.integer(n)
        s <- if (given) start else 3 * z
        if (turned) s <- s %*% from
        begin <- .Call(ffi_project, space, job)
        expect_equal(begin$start, s %*% Q, tolerance = 1e-13)
        if (given) expect_null(begin$square) else expect_equal(begin$square, rowSums(z^2))
        # two lengths, of the parts of some coordinates across Q
        longer <- c(space, list(across = c(0L, -1L, 1L, 0L, 0L, 1L, -1L)[seq_len(d)]))
        across <- s - s %*% Q %*% t(Q)
        lengths <- sapply(0:1, function(i) sqrt(rowSums(across[, longer$across == i]^2)))
        if (r < 6) {
          expect_equal(.Call(ffi_project, longer, job)$start, cbind(s %*% Q, lengths),
                       tolerance = 1e-13)
          final <- matrix(rnorm(2 * n), n)
          by <- cbind(final / lengths, 1)[, replace(longer$across + 1, longer$across < 0, 3)]
          x <- y %*% t(Q) + s * by - (s * by) %*% Q %*% t(Q)
          used <- list(shift = double(d), gain = rep(1, d), noise_key = c(3, 4),
                       inside = cbind(y, final))
          expect_equal(.Call(ffi_expand, longer, job, used), if (turned) x %*% t(to) else x,
                       tolerance = 1e-12)
        }
        for (part in list(character(), "gain", "sd")) {
          used <- map
          used[part] <- list(NULL)
          u <- rep(map$shift, each = n) + (if (is.null(used$gain)) 0 else s %*% diag(map$gain)) +
            (if (is.null(used$sd)) 0 else xi %*% diag(map$sd))
          x <- y %*% t(Q) + u - u %*% Q %*% t(Q)
          if (turned) x <- x %*% t(to)
          expect_equal(.Call(ffi_expand, space, job, used), x, tolerance = 1e-13)
        }
      }
    }
  }
})

# The rules that are the same in every basis.
turned_rules <- function() {
  kinds <- setdiff(names(rules), c("rescale", "perp_neg"))
  own <- function(t, inner, strength) {
    list(x = .01 / (1 + inner$xx), c = 1 + strength, u = -strength / (1 + inner$cu^2))
  }
  c(lapply(kinds, guidance_rule),
    list(guidance_rule("apg", momentum = .4, radius = 2, parallel = .3), own))
}

test_that("a run by a rule is the whole run, with a length for each eigenspace that is left", {
  withr::local_seed(706)
  d <- 12
  R <- rotation(d)
  class <- c("a", "b", "b")
  mix <- function(means, cov, ...) gaussmix(rep(1 / nrow(means), nrow(means)), means, cov, ...)
  means <- matrix(rnorm(3 * d), 3)
  centred <- sweep(means, 2, colMeans(means))
  plane <- cbind(means[, 1:2], matrix(0, 3, d - 2))
  two <- R %*% diag(rep(c(.6, 1.5), c(5, d - 5))) %*% t(R)
  own <- lapply(c(.5, .8, 1.2), function(v) c(v, rep(.7, d - 1)))
  cases <- list(list(mix(means, .8, class), 4), list(mix(centred, .8, class), 3),
                list(mix(means, symmetric(two), class), 8), list(mix(plane, own, class), 3),
                list(mix(means[c(1, 1, 1), ], .8, class), 2),
                list(mix(means[1, , drop = FALSE], .8, "a"), 2),
                list(mix(matrix(0, 1, d), .8, "a"), 2))
  # on the means, in their span and elsewhere
  starts <- rbind(0, means, colMeans(means), 2 * matrix(rnorm(3 * d), 3))
  for (case in cases) {
    m <- case[[1]]
    for (rule in turned_rules()) {
      for (start in list(starts, "normal")) {
        runs <- lapply(c(TRUE, FALSE), function(reduce) {
          quiet_sample(m, 8, guidance("a", 1.5, rule = rule), sampler_ddim(12), start = start,
                       key = c(1, 2), reduce = reduce, horizon = 3)
        })
        expect_match(runs[[1]]$reduced, paste("12 ->", case[[2]], "dimensions"))
        expect_null(runs[[2]]$reduced)
        expect_lt(gap(runs, "x"), 1e-10)
        expect_lt(gap(runs, "confidence"), 1e-10)
      }
    }
  }
})

test_that("so it is in every space, by other samplers, from other starts and in sweeps", {
  withr::local_seed(707)
  m <- gaussmix(c(.3, .3, .4), matrix(rnorm(60) / 3, 3), 1, class = c("a", "b", "c"))
  same <- function(rule, sampler = sampler_ddim(12), ..., negative = NULL) {
    runs <- lapply(c(TRUE, FALSE), function(reduce) {
      quiet_sample(m, 8, guidance("a", 1.5, negative = negative, rule = rule), sampler, ...,
                   key = c(1, 2), reduce = reduce)
    })
    expect_match(runs[[1]]$reduced, "20 -> 4 dimensions (span of the means, and 1 length); ",
                 fixed = TRUE)
    expect_lt(gap(runs, "x"), 1e-10)
  }
  for (space in rule_spaces) {
    for (kind in c("apg", "tcfg", "ep")) same(guidance_rule(kind, space = space), horizon = 3)
  }
  law <- gaussmix(c(.5, .5), matrix(rnorm(40), 2), 1)
  for (start in list("exact", law)) same("adg", start = start)
  for (make in list(sampler_heun, sampler_rk4, sampler_dpmpp_2m)) same("apg", make(8, end = .01))
  same("renorm", score_error = score_error(scale = 1.1))
  same("perp_neg", negative = "b", horizon = 2)
  same("apg", points = "sobol")
  sweep <- function(reduce) {
    sweep <- guidance_sweep(m, guidance = guidance("a", rule = "apg"), strength = c(0, 3), n = 50,
                            key = c(1, 2),
                            sampler = sampler_ddim(6), reduce = reduce)
    as.data.frame(sweep)[c("confidence", "entropy")]
  }
  expect_equal(sweep(TRUE), sweep(FALSE), tolerance = 1e-10)
  # bits do not depend on threads or on other particles
  run <- function(n) quiet_sample(m, n, guidance("a", 2, rule = "adg"), key = c(1, 2))$x
  few <- run(30)
  for (threads in c(1, 2, 5)) with_threads(threads, expect_identical(run(700)[1:30, ], few))
  # what differs between bases, or is noisy, stays as it is
  whole <- function(rule, sampler = sampler_ddim(12), ...) {
    expect_null(quiet_sample(m, 2, guidance("a", 1, rule = rule), sampler, ...)$reduced)
  }
  whole("rescale")
  whole("recfg")
  whole("apg", sampler_ddpm(12))
  whole("apg", score_error = score_error(bias = rep(.1, 20)))
  whole("apg", score_error = score_error(noise = .1))
  # one dimension that is left is not worth its length
  pair <- gaussmix(c(.5, .5), rbind(c(1, 0, 0), c(0, 1, 0)), 1, class = c("a", "b"))
  expect_null(quiet_sample(pair, 2, guidance("a", 1, rule = "apg"))$reduced)
})

test_that("noise that is given, trajectories and coefficients per coordinate need all dimensions", {
  m <- mixture("isotropic")
  expect_null(guided_sample(m, 3, sampler = sampler_em(4), noise = function(n, d, m) {
    array(0, c(n, d, m))
  })$reduced)
  full <- guided_sample(m, 3, guidance("a"), sampler_ddim(4), trajectory = TRUE, key = c(1, 2))
  expect_null(full$reduced)
  expect_equal(full$x, guided_sample(m, 3, guidance("a"), sampler_ddim(4), key = c(1, 2))$x,
               tolerance = 1e-13)
  expect_identical(dim(full$trajectory), c(5L, 3L, 20L))
  uneven <- sampler("uneven", function(k, times, schedule) {
    list(op_linear("x", list(x = seq(.5, 1, length.out = 20))))
  }, 2)
  run <- guided_sample(m, 3, sampler = uneven, key = c(1, 2))
  expect_null(run$reduced)
  expect_identical(run$x, guided_sample(m, 3, sampler = uneven, key = c(1, 2), reduce = FALSE)$x)
  # a sampler that wrongly says that it is deterministic
  liar <- sampler_em(5)
  liar$stochastic <- FALSE
  liar$divergence <- FALSE
  expect_mixguide_error(guided_sample(m, 3, sampler = liar, log_density = "none"), "stochastic")
})

test_that("print() says what was reduced, and a sweep is reduced too", {
  run <- guided_sample(mixture("isotropic"), 5, guidance("a"), sampler_ddpm(3))
  expect_said(print(run), paste("reduced:  20 -> 2 dimensions (span of the mean differences);",
                                "the rest is Gaussian, drawn exactly"), fixed = TRUE)
  run <- guided_sample(mixture("rotated blocks"), 5, guidance("a"))
  expect_said(print(run), "20 -> 5 dimensions (where components differ); the rest", fixed = TRUE)
  expect_output(print(run), "mapped exactly")
  sweeps <- lapply(c(TRUE, FALSE), function(reduce) {
    guidance_sweep(mixture("common full"), 100, "a", c(0, 2), sampler_heun(8), key = c(1, 2),
                   log_density = "divergence", reduce = reduce)
  })
  expect_equal(as.data.frame(sweeps[[1]]), as.data.frame(sweeps[[2]]), tolerance = 1e-10)
  expect_output(print(sweeps[[1]]), "reduced:  20 -> 8 dimensions", fixed = TRUE)
  expect_false(any(grepl("reduced", capture.output(print(sweeps[[2]])))))
  for (reduce in list(NA, "yes", 1, NULL)) {
    expect_mixguide_error(guided_sample(mixture("isotropic"), 3, reduce = reduce), "reduce")
    expect_mixguide_error(guidance_sweep(mixture("isotropic"), guidance = "a", n = 3,
                                         reduce = reduce),
                          "reduce")
  }
  expect_identical(dim(guided_sample(mixture("isotropic"), 0)$x), c(0L, 20L))
  expect_identical(dim(guided_sample(mixture("common full"), 1, sampler = sampler_em(3))$x),
                   c(1L, 20L))
})

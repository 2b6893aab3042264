# The law of a mixture on nodes, against numbers known by other means.

law_of <- function(mixture, class = NULL, size = 801, target = mixture) {
  mean <- moments(target)$mean
  sd <- sqrt(diag(moments(target)$cov))
  axes <- lapply(seq_along(mean), function(j) mean[[j]] + sd[j] * seq(-8, 8, length.out = size))
  x <- as.matrix(expand.grid(axes))
  log_density <- dgaussmix(x, target, log = TRUE)
  mixguide:::new_law(x, exp(log_density - max(log_density)), log_density,
                     if (!is.null(class)) log(posterior(mixture, x)[, class]), mixture, class,
                     axes = axes)
}

test_that("confidence, entropy and moments of a law are those of the mixture it was made from", {
  for (name in c("A2", "B2-guidance")) {
    mixture <- named_mixture(name)
    part <- mixguide:::class_law(mixture, "1")
    law <- law_of(mixture, "1", if (name == "A2") 801 else 161, part)
    at <- moments(law)
    expect_equal(unname(at$mean), unname(moments(part)$mean), tolerance = 1e-9)
    expect_equal(unname(at$cov), unname(moments(part)$cov), tolerance = 1e-9)
    expect_equal(mean(law), at$mean)
    expect_identical(unlist(entropy(law)[c("se", "method")]), c(se = "0", method = "quadrature"))
    expect_equal(entropy(law)$estimate, entropy(part)$estimate, tolerance = 1e-9)
    rows <- summary(law)
    # over the class, the mean of 1/p(class | x) is 1 over its weight
    expect_equal(rows$estimate[rows$quantity == "mean inverse confidence"],
                 1 / mixture$weights[1], tolerance = 1e-8)
  }
  expect_equal(confidence(law_of(named_mixture("A2"), "1", target = gaussmix(1, 1, 1)))$estimate,
               confidence(named_mixture("A2"), "1")$estimate, tolerance = 1e-9)
})

test_that("the density is interpolated, and continued beyond the nodes", {
  mixture <- named_mixture("A1")
  law <- law_of(mixture)
  x <- c(-1.2345, 0, 3.3)
  expect_equal(law_density(law, x), dgaussmix(x, mixture), tolerance = 1e-6)
  far <- range(law$x) + c(-1, 1)
  expect_equal(law_density(law, far, log = TRUE), dgaussmix(far, mixture, log = TRUE),
               tolerance = 1e-3)
  plane <- named_mixture("B2")
  law <- law_of(plane, size = 241)
  x <- rbind(c(.11, -.37), c(1.4, .9), c(-1.7, .05))
  expect_equal(law_density(law, x, log = TRUE), dgaussmix(x, plane, log = TRUE), tolerance = 1e-4)
})

test_that("of a law that was folded the branches add up", {
  # y = x^2 of a standard normal: chi-squared with one degree of freedom
  x <- seq(-6, 6, length.out = 2001) + 1e-3
  law <- mixguide:::new_law(x^2, dnorm(x), dnorm(x, log = TRUE) - log(2 * abs(x)))
  at <- c(.3, 1, 4, 9)
  expect_equal(law_density(law, at), dchisq(at, 1), tolerance = 1e-4)
})

test_that("distances between Gaussians are the known ones", {
  one <- gaussmix(1, 0, 1)
  two <- gaussmix(1, .7, 2)
  from <- law_of(one)
  kl <- (1 / 2 + .49 / 2 - 1 + log(2)) / 2
  tv <- integrate(function(x) abs(dnorm(x) - dnorm(x, .7, sqrt(2))) / 2, -12, 12,
                  rel.tol = 1e-9)$value
  w1 <- integrate(function(x) abs(pnorm(x) - pnorm(x, .7, sqrt(2))), -15, 15, rel.tol = 1e-9)$value
  for (to in list(two, law_of(two))) {
    distance <- by_quantity(law_distance(from, to))
    expect_equal(distance$kl_reverse, kl, tolerance = 1e-7)
    expect_equal(distance$kl, (2 + .49 - 1 - log(2)) / 2, tolerance = 1e-5)
    expect_equal(distance$total_variation, tv, tolerance = 1e-4)
    expect_equal(distance$wasserstein, w1, tolerance = 1e-7)
  }
  expect_equal(by_quantity(law_distance(from, from)), lapply(distance, `*`, 0))
  plane <- by_quantity(law_distance(law_of(gaussmix(1, t(c(0, 0)), 1), size = 161),
                                    gaussmix(1, t(c(1, 2)), 1)))
  expect_equal(plane$kl, 2.5, tolerance = 1e-8)
  expect_equal(plane$total_variation, 2 * pnorm(sqrt(5) / 2) - 1, tolerance = 1e-3)
  expect_identical(plane$wasserstein, NA_real_)
  expect_equal(plane$kl_reverse, 2.5, tolerance = 1e-8)
  # the nodes do not reach the second component
  unseen <- row_of(law_distance(from, gaussmix(1, 20, 1)), "kl")
  expect_identical(unseen$estimate, NA_real_)
  expect_identical(unseen$method, "unknown")
  expect_match(unseen$note, "the nodes do not see")
  # a small divergence keeps its digits
  near <- by_quantity(law_distance(from, gaussmix(1, 1e-6, 1)))
  expect_equal(c(near$kl, near$kl_reverse), c(5e-13, 5e-13), tolerance = 1e-6)
})

test_that("what a reduction leaves counts in every number", {
  # N((1, 2, 3), diag(1, .5, .5)): the first coordinate on nodes, the other two in closed form
  line <- law_of(gaussmix(1, 1, 1))
  whole <- gaussmix(1, t(c(1, 2, 3)), diag(c(1, .5, .5)))
  rest <- mixguide:::law_rest(diag(3)[, 1, drop = FALSE], diag(3)[, 2:3], c(2, 3), c(.5, .5),
                              gaussmix(1, 1, 1))
  law <- mixguide:::new_law(line$x, line$weights, line$log_density, mixture = whole, rest = rest)
  expect_equal(entropy(law)$estimate, entropy(whole)$estimate, tolerance = 1e-9)
  expect_equal(unname(moments(law)$cov), unname(moments(whole)$cov), tolerance = 1e-9)
  x <- rbind(c(0, 1, 2), c(2, 2.5, 3))
  expect_equal(law_density(law, x), dgaussmix(x, whole), tolerance = 1e-7)
  other <- gaussmix(1, t(c(1.5, 2, 3)), diag(c(1, .25, .25)))
  expect_equal(by_quantity(law_distance(law, other))$kl_reverse, .125 + (2 - 1 - log(2)),
               tolerance = 1e-6)
  expect_output(print(law), "1 dimension of 3")
})

test_that("a law prints, is a data frame and draws", {
  law <- law_of(named_mixture("A2"), "1", 101)
  expect_output(print(law), "confidence: .*quadrature")
  table <- as.data.frame(law)
  expect_named(table, c("x", ".confidence", ".log_density", ".weight"))
  expect_identical(nrow(table), 101L)
  for (law in list(law, law_of(named_mixture("B2-guidance"), "1", 61))) {
    plot <- ggplot2::autoplot(law)
    expect_true(inherits(plot, "ggplot"))
    expect_silent(ggplot2::ggplot_build(plot))
  }
})

test_that("bad arguments are answered by name", {
  law <- law_of(named_mixture("A2"), size = 101)
  expect_error(law_density(1, 0), "`law`", class = "mixguide_error")
  expect_error(law_density(law, 0, log = 1), "`log`", class = "mixguide_error")
  expect_error(law_distance(law, named_mixture("B2")), "`target`", class = "mixguide_error")
  plane <- law_of(named_mixture("B2"), size = 31)
  expect_error(law_distance(plane, named_mixture("A1")), "`target`", class = "mixguide_error")
  expect_error(law_distance(law, 1), "`target`", class = "mixguide_error")
  expect_error(law_distance(law, gaussmix(1, 0, 0)), class = "mixguide_error_singular")
  expect_error(confidence(law), class = "mixguide_error")
  scattered <- mixguide:::new_law(cbind(1:5, 1), rep(1, 5), rep(0, 5))
  expect_error(law_density(scattered, c(1, 1)), "nodes only", class = "mixguide_error")
})

test_that("beyond its grid the density of a law in the plane does not rise", {
  mixture <- gaussmix(c(.3, .3, .4), rbind(c(-1, 0), c(1, 0), c(0, 2)), .3,
                      class = c("a", "b", "c"))
  law <- guided_law(mixture, guidance("a", 2), sampler_em(20))
  far <- rbind(c(100, 100), c(-8, 0), c(-100, 5), c(0, 1e6), c(10, -10))
  expect_lt(max(law_density(law, far)), 1e-12)
})

test_that("laws whose rest has no variance are at no distance from themselves", {
  m <- gaussmix(c(.5, .5), rbind(c(-1, 0), c(1, 0)), diag(c(.5, 0)))
  law <- guided_law(m, sampler = sampler_ddim(20))
  law$rest$variance <- 0
  expect_equal(unlist(by_quantity(law_distance(law, law))[1:3]),
               c(kl = 0, kl_reverse = 0, total_variation = 0))
  wide <- law
  wide$rest$variance <- 1
  expect_identical(by_quantity(law_distance(law, wide))$kl, Inf)
  expect_identical(by_quantity(law_distance(wide, law))$kl, Inf)
})

# Both divergences, the total variation and W1 of two mixtures on the line, by a trapezoidal rule
# that resolves every component.
slow_distance <- function(f, g) {
  x <- sort(unique(unlist(lapply(list(f, g), function(m) {
    outer(sqrt(rep_len(m$values, length(m$weights))), seq(-11, 11, length.out = 3001)) +
      m$means[, 1]
  }))))
  lf <- dgaussmix(x, f, log = TRUE)
  lg <- dgaussmix(x, g, log = TRUE)
  area <- function(y) sum(diff(x) * (y[-1] + y[-length(y)])) / 2
  c(kl = area(exp(lg) * (lg - lf)), kl_reverse = area(exp(lf) * (lf - lg)),
    total_variation = area(abs(exp(lf) - exp(lg))) / 2,
    wasserstein = area(abs(pgaussmix(x, f) - pgaussmix(x, g))))
}

# A mixture, and the mixture with one more component of a small weight at a distance.
with_and_without <- function() {
  K <- sample(3, 1)
  w <- runif(K, .2, 1)
  light <- 10^-runif(1, 2, 8)
  means <- rnorm(K, sd = 2)
  v <- runif(K, .1, 2)
  off <- sample(c(-1, 1), 1) * runif(1, 6, 40)
  list(without = gaussmix(w / sum(w), means, v, class = rep("a", K)),
       with = gaussmix(c(w / sum(w) * (1 - light), light), c(means, off),
                       c(v, runif(1, .1, 2)), class = rep("a", K + 1)))
}

test_that("mass that one of two laws does not have counts in full", {
  withr::local_seed(1801)
  columns <- c("kl", "kl_reverse", "total_variation", "wasserstein")
  for (i in 1:20) {
    pair <- with_and_without()
    if (i %% 2) pair <- rev(pair)
    truth <- slow_distance(pair[[1]], pair[[2]])
    found <- law_distance(tilted_law(pair[[1]], "a"), pair[[2]])
    expect_lt(max(abs(unlist(by_quantity(found)[columns]) - truth) / (truth + 1e-5)), 1e-4)
    expect_identical(found$note, rep("", 4))
    # a density known at its nodes alone: the result is right, or unknown with a note
    nodes <- tilted_law(pair[[1]], "a")
    nodes["density"] <- list(NULL)
    rows <- law_distance(nodes, pair[[2]])
    found <- by_quantity(rows)
    expect_lt(abs(found$kl_reverse / truth["kl_reverse"] - 1), 1e-4)
    expect_lt(abs(found$total_variation / truth["total_variation"] - 1), 1e-4)
    if (is.na(found$kl)) expect_match(by_quantity(rows, "note")$kl, "do not see") else {
      expect_lt(abs(found$kl / truth["kl"] - 1), .1)
    }
  }
})

test_that("what the nodes do not know is continued as the tail of a Gaussian", {
  guide <- guidance("1", 2)
  law <- guided_law(named_mixture("A1"), guide,
                     sampler_corrected(sampler_ddim(50), corrector_langevin(.05)))
  x <- c(0, 1, 4, 6, 1e6)
  expect_true(all(diff(law_density(law, x, log = TRUE)) < 0))
  expect_true(all(diff(law_density(law, -x - 6, log = TRUE)) < 0))
  plane <- guided_law(named_mixture("B2"), guidance("1", 1), sampler_em(20))
  top <- plane$x[which.max(plane$log_density), ]
  withr::local_seed(1802)
  for (i in 1:20) {
    angle <- runif(1, 0, 2 * pi)
    ray <- law_density(plane, outer(seq(0, 60, by = .25), c(cos(angle), sin(angle))) +
                         rep(top, each = 241), log = TRUE)
    far <- ray[-(1:60)]
    expect_true(all(is.finite(far)) && all(diff(far) < 0))
    # the log-density is concave out there
    expect_lt(max(diff(far, differences = 2)), 1e-6 * max(abs(diff(far))))
  }
  # a Gaussian known on nodes is a Gaussian beyond them
  law <- law_of(gaussmix(1, t(c(1, -2)), matrix(c(1, .5, .5, .7), 2)), size = 161)
  far <- rbind(c(30, 4), c(-1, -40), c(100, 100))
  expect_equal(law_density(law, far, log = TRUE),
               dgaussmix(far, gaussmix(1, t(c(1, -2)), matrix(c(1, .5, .5, .7), 2)), log = TRUE),
               tolerance = 1e-3)
})

test_that("W1 and quantiles have eight digits", {
  line <- gaussmix(c(.5, .5), c(0, 1), 1)
  expect_equal(by_quantity(law_distance(tilted_law(line, "1"), gaussmix(1, .5, 1)))$wasserstein, .5,
               tolerance = 1e-9)
  withr::local_seed(1803)
  for (i in 1:5) {
    m <- gaussmix(c(.3, .7), rnorm(2, sd = 2), runif(2, .05, 2), class = c("a", "a"))
    law <- tilted_law(m, "a")
    p <- c(1e-6, .01, .3, .5, .9, 1 - 1e-4)
    expect_lt(max(abs(pgaussmix(unname(quantile(law, p)), m) - p)), 1e-8)
    shift <- runif(1)
    moved <- gaussmix(m$weights, m$means + shift, m$values[1, ])
    expect_equal(by_quantity(law_distance(law, moved))$wasserstein, shift, tolerance = 1e-8)
  }
  expect_identical(names(quantile(law)), c("0%", "25%", "50%", "75%", "100%"))
  expect_identical(unname(quantile(law, c(0, 1))), c(-Inf, Inf))
  expect_mixguide_error(quantile(law, 2), "probs")
  expect_mixguide_error(quantile(tilted_law(named_mixture("B2"), "1")), "x")
})

test_that("numbers that a few nodes carry are unknown, and others have the error of their nodes", {
  z <- seq(-8, 8, length.out = 81)
  grid <- as.matrix(expand.grid(z, z))
  log_density <- rowSums(dnorm(grid, log = TRUE))
  law_at <- function(x) {
    mixguide:::new_law(x, exp(log_density), log_density, mixture = gaussmix(1, c(0, 0), 1),
                       rough = TRUE)
  }
  smooth <- law_at(grid)
  expect_identical(unique(summary(smooth)$method), "quadrature")
  expect_identical(max(summary(smooth)$se), 0)
  # one node of mass 3e-5 far away carries the variance of x1
  far <- which.min(rowSums((grid - rep(c(3, 2), each = nrow(grid)))^2))
  heavy <- law_at(replace(grid, far, 1e4))
  rows <- summary(heavy)
  expect_identical(rows$method[rows$quantity %in% c("mean of x1", "sd of x1")],
                   rep("unknown", 2))
  expect_match(rows$note[rows$quantity == "sd of x1"], "heavy tail")
  expect_identical(rows$se[rows$quantity == "sd of x2"], 0)
  expect_output(print(heavy), "unknown (unknown), 0 (1)", fixed = TRUE)
  # a little further out than the others it is seen, and tolerated
  mild <- summary(law_at(replace(grid, far, 30)))
  se <- mild$se[mild$quantity == "sd of x1"]
  expect_gt(se, 1e-3)
  expect_lt(abs(mild$estimate[mild$quantity == "sd of x1"] - 1), se)
  # nor does an infinite mean pass for a number
  flat <- law_at(grid)
  flat$log_confidence <- -abs(grid[, 1]) * 1000
  expect_identical(summary(flat)$method[3], "unknown")
})

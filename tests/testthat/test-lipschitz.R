# Lipschitz constants (theory/lipschitz.csv, balls.csv). A search gives a lower bound of the
# maximum, so each bound is also tested against points at random.

of <- function(x, statement, column = "lipschitz") x[[column]][x$statement == statement]
theory_lipschitz <- by_mixture(theory("lipschitz"))
times <- theory_lipschitz$A1$t

test_that("along the diffusion C2 has the known constants, which are those of the bound", {
  x <- lipschitz(named_mixture("C2"), times)
  known <- theory_lipschitz$C2$lipschitz
  expect_lt(max(abs(of(x, "global") - known)), 6e-6)
  expect_equal(of(x, "global")[1], 19.694444, tolerance = 3e-8)
  expect_equal(of(x, "common"), of(x, "global"), tolerance = 1e-9)
  expect_identical(of(x, "global", "method"), rep("exact", 8))
  # ||P|| + ||P||^2 diam^2/4, which the package's bound improves
  expect_equal(1 / .3 + max(dist(named_mixture("C2")$means))^2 / .09 / 4, 26.36, tolerance = 1e-4)
})

test_that("A1 has the known constants and largest eigenvalues, found far out at late times", {
  x <- lipschitz(named_mixture("A1"), times)
  known <- theory_lipschitz$A1
  expect_lt(max(abs(of(x, "global") - known$lipschitz)), 6e-7)
  expect_lt(max(abs(of(x, "global", "upper") - known$upper)), 6e-7)
  # a window of 12 around the mean misses the maximum at t = 3
  near <- range(score_jacobian(named_mixture("A1"), seq(-12, 12, by = .01), 3))
  expect_gt(near[1], of(x, "global", "lower")[8] + 1e-6)
  expect_equal(score_jacobian(named_mixture("A1"), 5.7543)[1], of(x, "global")[1],
               tolerance = 1e-7)
  late <- of(lipschitz(named_mixture("A1"), c(6, 12, 40)), "global")
  expect_equal(late, c(1, 1, 1), tolerance = 1e-5)
})

test_that("in balls around the mean of B2 search and bounds have the known digits", {
  known <- theory("balls")
  for (i in seq_len(nrow(known))) {
    x <- lipschitz(named_mixture("B2"), radius = known$radius[i])
    # our value is above the theory's, which is a search, too: 31.1388, 147.503
    expect_equal(of(x, "local"), known$local[i], tolerance = 3e-5)
    expect_equal(of(x, "affine"), known$affine[i], tolerance = 2e-4)
    expect_equal(of(x, "ball"), known$ball[i], tolerance = 4e-4)
    expect_equal(of(x, "paper"), known$paper[i], tolerance = .02)
    expect_lt(of(x, "density"), of(x, "paper"))
    expect_identical(of(x, "global"), Inf)
  }
})

test_that("two components of one covariance have the exact constant, of any scale", {
  withr::local_seed(1)
  for (i in 1:20) {
    d <- 1 + i %% 3
    plain <- random_mixture(FORMS[1 + i %% 3], d, 2)
    x <- lipschitz(plain$mixture)
    P <- solve(plain$covs[[1]])
    D <- P %*% (plain$means[1, ] - plain$means[2, ])
    top <- max(eigen(tcrossprod(D) / 4 - P, TRUE)$values)
    expect_equal(of(x, "global"), max(eigen(P)$values, top), tolerance = 1e-13)
    expect_equal(of(x, "global", "upper"), top, tolerance = 1e-12)
    # reached where the two components are equally likely
    tie <- colMeans(plain$means) - log(plain$weights[1] / plain$weights[2]) *
      (plain$means[1, ] - plain$means[2, ]) / sum(D * (plain$means[1, ] - plain$means[2, ]))
    expect_equal(of(lipschitz(plain$mixture, center = tie), "point", "upper"), top,
                 tolerance = 1e-9)
    expect_lte(of(x, "global"), of(x, "common") * (1 + 1e-12))
  }
  # e^-2t D^2/(4 v^2) - 1/v
  x <- lipschitz(gaussmix(c(.5, .5), c(-2, 2), .04), .3)
  v <- 1 + exp(-.6) * (.04 - 1)
  expect_equal(of(x, "global"), exp(-.6) * 16 / (4 * v^2) - 1 / v, tolerance = 1e-12)
})

test_that("one covariance: the search is below the bound and above every point", {
  withr::local_seed(2)
  ratio <- vapply(1:12, function(i) {
    plain <- random_mixture(FORMS[1 + i %% 3], 1 + i %% 3, 3 + i %% 3)
    x <- lipschitz(plain$mixture)
    expect_lte(of(x, "global", "upper"), of(x, "common", "upper") + 1e-9)
    at <- matrix(rnorm(2000 * ncol(plain$means), 0, 4), 2000)
    seen <- range(eigen_range(score_jacobian(plain$mixture, at)))
    expect_lte(seen[2], of(x, "global", "upper") + 1e-9)
    expect_gte(seen[1], of(x, "global", "lower") - 1e-9)
    of(x, "global") / of(x, "common")
  }, 0)
  # the theory's ratio over random mixtures: median .89, at most 1
  expect_gt(median(ratio), .7)
})

test_that("in balls all bounds hold, and the search is above every point", {
  withr::local_seed(3)
  for (i in 1:12) {
    d <- 1 + i %% 3
    plain <- random_mixture(FORMS[4 + i %% 3], d, 2 + i %% 3)
    center <- rnorm(d)
    radius <- runif(1, .3, 2)
    x <- lipschitz(plain$mixture, .1 * (i %% 2), center = center, radius = radius)
    at <- rep(center, each = 1000) + radius * matrix(runif(1000 * d, -1, 1), 1000) / sqrt(d)
    seen <- eigen_range(score_jacobian(plain$mixture, at, .1 * (i %% 2)))
    expect_lte(max(seen), of(x, "local", "upper") + 1e-8)
    expect_gte(min(seen), of(x, "local", "lower") - 1e-8)
    for (bound in c("affine", "ball")) {
      expect_lte(of(x, "local", "upper"), of(x, bound, "upper") + 1e-9)
      expect_gte(of(x, "local", "lower"), of(x, bound, "lower") - 1e-9)
    }
    expect_lte(of(x, "local"), of(x, "density"))
    expect_lte(of(x, "density"), of(x, "paper"))
    H <- score_jacobian(plain$mixture, t(center), .1 * (i %% 2))
    expect_equal(unname(eigen_range(H)[1, ]), c(of(x, "point", "lower"), of(x, "point", "upper")),
                 tolerance = 1e-9)
    for (bound in c("loewner", "pointwise")) {
      expect_lte(of(x, "point", "upper"), of(x, bound, "upper") + 1e-9)
      expect_gte(of(x, "point", "lower"), of(x, bound, "lower") - 1e-9)
    }
    if (d == 1) expect_lte(of(x, "local"), of(x, "global") + 1e-9)
  }
})

test_that("where no constant exists it says so, and the derivative grows as said", {
  cross <- gaussmix(c(.5, .5), matrix(0, 2, 2), list(c(1, 4), c(4, 1)))
  for (r in c(5, 10, 20, 40)) {
    x <- lipschitz(cross, center = c(r, r) / sqrt(2))
    expect_equal(of(x, "point", "upper"), 9 * r^2 / 64 - 5 / 8, tolerance = 1e-12)
  }
  expect_identical(of(x, "global"), Inf)
  expect_identical(of(x, "global", "method"), "exact")
  expect_match(of(x, "global", "note"), "^there is no constant: components 1 and 2 tie")
  expect_identical(of(lipschitz(cross, 2), "global"), Inf)
  expect_output(print(x), "the whole space +Inf .* none .*the whole space: there is no constant")
  # in three dimensions, and with a third component that is thinner along the tie
  thin <- gaussmix(rep(1, 3), matrix(0, 3, 3), list(c(1, 4, 1), c(4, 1, 1), .5))
  expect_identical(of(lipschitz(thin), "global"), Inf)
  # the components tie on the parabola x = (1 + log 2)/2 - y^2/4
  parabola <- gaussmix(c(1, 1), rbind(c(0, 0), c(1, 0)), list(1, c(1, 2)))
  expect_identical(of(lipschitz(parabola), "global"), Inf)
  y <- c(10, 100)
  H <- eigen_range(score_jacobian(parabola, cbind((1 + log(2)) / 2 - y^2 / 4, y)))
  expect_gt(min(H[, 2] - (1 + y^2 / 4) / 4), -1)
})

test_that("where one exists for different covariances it is found, above every point", {
  withr::local_seed(4)
  nested <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1, 2)), list(1, 2))
  # a wide third component dominates where the first two tie
  covered <- gaussmix(c(.5, .4, .1), rbind(c(0, 0), c(0, 1), c(0, 0)), list(c(1, 2), c(2, 1), 3))
  line <- gaussmix(c(.5, .5), rbind(c(0, 0), c(0, 1)), list(c(1, 1), c(1, 2)))
  at <- matrix(runif(4e4, -15, 15), ncol = 2)
  for (m in list(nested, covered, line)) for (t in c(0, .5)) {
    x <- lipschitz(m, t)
    seen <- range(eigen_range(score_jacobian(m, at, t)))
    expect_lte(seen[2], of(x, "global", "upper") + 1e-6)
    expect_gte(seen[1], of(x, "global", "lower") - 1e-6)
    expect_equal(seen, c(of(x, "global", "lower"), of(x, "global", "upper")), tolerance = 1e-3)
  }
  # a search gives a lower bound, and says so
  expect_identical(of(lipschitz(nested), "global", "method"), "bound")
  expect_match(of(lipschitz(nested), "global", "note"), "a lower bound of the constant")
  expect_output(print(lipschitz(nested)), "the whole space .* lower bound everywhere")
  expect_identical(of(lipschitz(line), "global", "method"), "quadrature")
  open <- gaussmix(c(.5, .4, .1), rbind(c(0, 0), c(1, 1), 0), list(1, c(1, 2), c(1, 2.2)))
  expect_identical(of(lipschitz(open), "global"), NA_real_)
  expect_identical(of(lipschitz(open), "global", "method"), "unknown")
})

test_that("components that differ in a subspace are searched there", {
  withr::local_seed(5)
  Q <- qr.Q(qr(matrix(rnorm(16), 4)))
  B2 <- named_mixture("B2")
  wide <- gaussmix(B2$weights, B2$means %*% t(Q[, 1:2]), lapply(1:3, function(k) {
    Q %*% rbind(cbind(component_cov(B2, k), 0, 0), c(0, 0, .1, 0), c(0, 0, 0, 2)) %*% t(Q)
  }))
  x <- lipschitz(wide, .2, center = drop(Q[, 1:2] %*% c(.1, .3)), radius = 2)
  y <- lipschitz(B2, .2, center = c(.1, .3), radius = 2)
  expect_equal(of(x, "local", "upper"), of(y, "local", "upper"), tolerance = 1e-7)
  expect_equal(of(x, "local", "lower"), -1 / (.1 * exp(-.4) + 1 - exp(-.4)), tolerance = 1e-10)
})

test_that("one Gaussian, no weight, far points and tiny densities are no trouble", {
  x <- lipschitz(gaussmix(c(1, 0), c(1.5, 50), c(.25, 9)), center = 1, radius = 1)
  for (s in c("global", "point", "local", "affine", "loewner", "pointwise")) {
    expect_equal(of(x, s), 4, tolerance = 1e-14)
  }
  far <- lipschitz(named_mixture("B2"), center = c(1e6, -1e6), radius = 10)
  expect_true(all(is.finite(of(far, "local")), is.finite(of(far, "affine"))))
  expect_identical(of(far, "paper"), Inf)
  expect_lte(of(far, "local"), of(far, "affine"))
  x <- lipschitz(named_mixture("A1"), radius = 1, density = .01, beta = .1)
  y <- lipschitz(named_mixture("A1"), radius = 1, density = .01)
  expect_equal(of(x, "paper") / of(y, "paper"), exp(-.01 / 2 / .5), tolerance = 1e-12)
  R <- 1 + 2.6
  expect_equal(of(y, "paper"),
               (1 / .16 + 2 * R^2 / .16^2) * (1 / .01 + 1 / .01^2) *
                 (1 / (2 * pi * .16) + 1 / sqrt(2 * pi * .16)), tolerance = 1e-12)
})

test_that("other schedules are the same process by another clock, and names are kept", {
  m <- named_mixture("C2")
  colnames(m$means) <- c("u", "v")
  vp <- schedule_vp()
  x <- lipschitz(m, .2, vp, center = data.frame(v = .3, u = -.1), radius = 1)
  y <- lipschitz(m, -log(vp$a(.2)), center = c(-.1, .3), radius = 1)
  expect_equal(x$lipschitz, y$lipschitz, tolerance = 1e-7)
  expect_said(print(x), "around \\(-0.1, 0.3\\) to radius 1")
})

test_that("what is out of place is named", {
  A1 <- named_mixture("A1")
  expect_error(lipschitz(gaussmix(c(.5, .5), c(0, 1), c(0, 1))), class = "mixguide_error_singular")
  expect_error(lipschitz(A1, -1), class = "mixguide_error", "`t`")
  expect_error(lipschitz(A1, radius = -1), class = "mixguide_error", "`radius`")
  expect_error(lipschitz(A1, center = c(0, 1)), class = "mixguide_error", "`center`")
  expect_error(lipschitz(A1, radius = 1, density = 0), class = "mixguide_error", "`density`")
  expect_error(lipschitz(A1, beta = .2), class = "mixguide_error", "`beta`")
})

test_that("it is printed, becomes a data frame and is drawn, at one time and at several", {
  x <- lipschitz(named_mixture("B2"), c(0, .5, 1), radius = 1)
  expect_output(print(x), "affine: .*bound")
  expect_output(print(lipschitz(named_mixture("B2"), radius = 1)), "no|none")
  expect_drawn(autoplot(x))
  expect_drawn(autoplot(lipschitz(named_mixture("A1"))))
  expect_identical(class(as.data.frame(x)), "data.frame")
})

test_that("a centre goes by the names of the variables, also as a vector", {
  m <- gaussmix(c(.5, .5), rbind(c(u = 0, v = 1), c(2, 3)), list(c(1, 2), c(2, 1)))
  expect_identical(lipschitz(m, center = c(v = 1, u = 0)), lipschitz(m, center = c(u = 0, v = 1)))
  expect_equal(score(m, c(v = 1, u = 0)), score(m, c(0, 1)))
  expect_mixguide_error(lipschitz(m, center = c(v = 1, w = 0)), "center")
})

# The largest eigenvalue of H along rays from the mean, at and beside all places where two
# components tie on a ray. It is a lower bound, found in another way than the search.
along_rays <- function(m, n = 1500) {
  P <- lapply(seq_along(m$weights), function(k) solve(component_cov(m, k)))
  level <- log(m$weights) + vapply(P, function(P) log(det(P)) / 2, 0)
  middle <- mean(m)
  angle <- 2 * pi * seq_len(n) / n
  u <- rbind(cos(angle), sin(angle))
  best <- -Inf
  for (i in seq_along(P)) for (j in seq_len(i - 1)) {
    zi <- middle - m$means[i, ]
    zj <- middle - m$means[j, ]
    a <- -colSums(u * ((P[[i]] - P[[j]]) %*% u)) / 2
    b <- -drop(crossprod(u, P[[i]] %*% zi - P[[j]] %*% zj))
    c <- level[i] - level[j] - (sum(zi * (P[[i]] %*% zi)) - sum(zj * (P[[j]] %*% zj))) / 2
    for (sign in c(-1, 1)) for (beside in c(-1, -.3, 0, .3, 1)) {
      root <- suppressWarnings((-b + sign * sqrt(b^2 - 4 * a * c)) / (2 * a))
      s <- root + beside / abs(2 * a * root + b)
      x <- cbind(middle[1] + s * u[1, ], middle[2] + s * u[2, ])
      x <- x[is.finite(s) & abs(s) < 1e6, , drop = FALSE]
      if (nrow(x)) best <- max(best, eigen_range(score_jacobian(m, x))[, 2])
    }
  }
  best
}

test_that("far ties in the plane are not missed", {
  m <- gaussmix(c(.55, .24, .21), rbind(c(2.3, -.92), c(-1.82, -.18), c(3.66, 2.17)),
                list(c(.8, .45), c(1.03, .471), c(1.08, .472)))
  found <- lipschitz(m, center = c(251.083, -950.581))
  expect_gte(found$upper[1], found$upper[found$statement == "point"])
  expect_gte(found$upper[1], 67.8)
  set.seed(31)
  done <- 0
  while (done < 15) {
    K <- sample(2:4, 1)
    covs <- list(crossprod(matrix(rnorm(4), 2)) * runif(1, .05, 1) + diag(.3, 2))
    for (k in seq_len(K)[-1]) {
      covs[[k]] <- covs[[k - 1]] + crossprod(matrix(rnorm(4), 2)) * 10^runif(1, -3, 0) +
        diag(10^runif(1, -3, -1), 2)
    }
    m <- gaussmix(runif(K, .1, 1), matrix(rnorm(2 * K, 0, 2), K), covs[sample(K)])
    if (score_growth(m)$kind != "exists") next
    done <- done + 1
    expect_gte(lipschitz(m)$upper[1], along_rays(m) * (1 - 1e-6))
  }
})

test_that("points of ties are on ties, of every kind and dimension", {
  set.seed(32)
  for (case in 1:30) {
    d <- 2 + case %% 3
    A <- crossprod(matrix(rnorm(d * d), d))
    S <- A + diag(.5, d)
    kind <- case %% 5
    Q <- if (kind == 0) diag(d) else if (kind == 1) tcrossprod(rnorm(d)) else if (kind == 2) {
      diag(c(1, rep(0, d - 1)))
    } else if (kind == 3) crossprod(matrix(rnorm(d * d), d)) else 0 * S
    P <- solve(S)
    other <- if (kind == 3) Q + diag(.1, d) else solve(P + Q)
    means <- matrix(rnorm(2 * d), 2)
    # a cylinder, if the means agree where the precisions do
    if (case %% 2 && kind == 2) means[2, ] <- means[1, ]
    m <- gaussmix(c(.3, .7), means, if (kind == 4) S else list(S, (other + t(other)) / 2))
    x <- tie_points(m)
    x <- x[rowSums(abs(x)) < 1e3, , drop = FALSE]
    at <- vapply(1:2, function(k) {
      log(m$weights[k]) + dgaussmix(x, keep_components(m, k), log = TRUE)
    }, double(nrow(x)))
    at <- matrix(at, nrow(x))
    if (kind %in% c(1, 3, 4)) expect_gt(nrow(x), 10)
    expect_lt(max(abs(at[, 1] - at[, 2]) / (1 + abs(at[, 1])), 0), 1e-9)
  }
})

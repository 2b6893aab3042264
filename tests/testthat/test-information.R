# Information along the diffusion: theory/information.csv and starts.csv.

values <- function(x) unname(as.matrix(as.data.frame(x)[c("entropy", "fisher", "curvature")]))
near <- function(x, known, tolerance) expect_lt(max(abs(unname(x) - known) / tolerance), 1)

test_that("A1, B2 and C2 have the known entropy, information and curvature at t = 0", {
  known <- by_mixture(theory("information"))
  at <- lapply(names(known), function(name) information(named_mixture(name)))
  near(values(at[[1]]), unlist(known$A1[1, 3:5]), 6e-11)
  near(values(at[[2]]), unlist(known$B2[1, 3:5]), 6e-9)
  # the table has 4 as the last digit of the third number; a finer rule has 3
  near(values(at[[3]]), unlist(known$C2[1, 3:5]), c(6e-9, 6e-9, 7e-9))
  expect_identical(vapply(at, `[[`, "", "method"), rep("quadrature", 3))
  expect_equal(vapply(at, `[[`, 0, "second_moment"), c(2.807, 3.1415, 3.0565), tolerance = 1e-14)
})

test_that("along the diffusion they are the known ones, and so is the divergence from N(0, I)", {
  known <- theory("information")
  known <- known[known$mixture == "A1" & known$t > 0, ]
  A1 <- information(named_mixture("A1"), known$t)
  near(A1$fisher, known$fisher, 5e-9)
  near(A1$entropy, known$entropy, 5e-9)
  near(A1$curvature, known$curvature, 5e-7)
  # KL(p_t || N(0, I)) = -h + (d log(2 pi) + m2^2)/2
  kl <- function(name, t) {
    at <- information(named_mixture(name), t)
    d <- mixture_dim(named_mixture(name))
    (d * log(2 * pi) + at$second_moment) / 2 - at$entropy
  }
  starts <- by_mixture(theory("starts"))
  early <- starts$A1$t < 8
  expect_equal(kl("A1", starts$A1$t[early]), starts$A1$kl[early], tolerance = 5e-7)
  near(kl("A1", 8), starts$A1$kl[!early], 1e-14)
  expect_equal(kl("B2", starts$B2$t), starts$B2$kl, tolerance = 1e-7)
})

test_that("the integrals of information and curvature from 0 to 3 are the known ones", {
  rule <- gauss_legendre(10)
  cuts <- c(0, .08, .25, .6, 1.4, 3)
  half <- diff(cuts) / 2
  t <- as.vector(outer(rule$node, half) + rep(cuts[-1] - half, each = 10))
  weight <- as.vector(outer(rule$weight, half))
  check <- function(name, known, tolerance) {
    m <- named_mixture(name)
    found <- colSums(weight * values(information(m, t)))[-1]
    near(found, known, tolerance)
    # the same numbers by the identities, from the two ends alone. In the plane the theory's digits
    # are good to 6e-8, because they come from its own integral over time
    ends <- values(information(m, c(0, 3)))
    by_ends <- ends[2, 1] - ends[1, 1] + 3 * mixture_dim(m)
    near(found, by_ends - c(0, (ends[2, 2] - ends[1, 2]) / 2), 1e-8)
  }
  check("A1", c(2.65950340, 3.23753282), 6e-9)
  check("B2", c(6.09068749, 7.95981003), 7e-8)
  check("C2", c(6.16031508, 8.10997815), 7e-8)
})

test_that("h' = I - d and I' = 2 I - 2 F, also by the clock of another schedule", {
  for (name in c("A1", "B2", "C2")) for (t in c(.1, .8)) {
    m <- named_mixture(name)
    e <- 1e-3
    near4 <- values(information(m, t + e * c(-2, -1, 1, 2)))
    slope <- drop(c(1, -8, 8, -1) %*% near4) / (12 * e)
    at <- values(information(m, t))
    expect_equal(slope[1], at[2] - mixture_dim(m), tolerance = 1e-7)
    expect_equal(slope[2], 2 * at[2] - 2 * at[3], tolerance = 1e-6)
    expect_equal(values(information(m, .3, schedule_vp())),
                 values(information(m, -log(schedule_vp()$a(.3)))), tolerance = 1e-10)
  }
})

test_that("one Gaussian has its closed forms, at any time and of any covariance", {
  S <- matrix(c(2, .5, 0, .5, 1, .2, 0, .2, .3), 3)
  at <- information(gaussmix(c(1, 0), rbind(1:3, 0), list(S, 5)), c(0, .4), schedule_ve(1, 3))
  for (i in 1:2) {
    C <- S + diag(schedule_ve(1, 3)$b2(at$t[i]), 3)
    expect_equal(values(at)[i, ], c(3 / 2 * log(2 * pi * exp(1)) + log(det(C)) / 2,
                                    sum(diag(solve(C))), sum(solve(C)^2)), tolerance = 1e-13)
    expect_equal(at$second_moment[i], 14 + sum(diag(C)), tolerance = 1e-14)
  }
  expect_identical(at$method, c("exact", "exact"))
})

test_that("they agree with integrate() on textbook formulas, far apart and of unlike scales", {
  for (case in list(list(c(.5, .5), c(-8, 8), c(1, .04)), list(c(.9, .1), c(0, .3), c(1, 1e-4)))) {
    w <- case[[1]]
    terms <- function(x) {
      p <- sapply(1:2, function(k) w[k] * dnorm(x, case[[2]][k], sqrt(case[[3]][k])))
      g <- sapply(1:2, function(k) (case[[2]][k] - x) / case[[3]][k])
      r <- p / rowSums(p)
      s <- rowSums(r * g)
      H <- rowSums(r * (g - s)^2) - drop(r %*% (1 / case[[3]]))
      p <- rowSums(p)
      cbind(-p * log(p), p * s^2, p * H^2)
    }
    cuts <- sort(c(outer(-9:9, sqrt(case[[3]])) + rep(case[[2]], each = 19)))
    known <- sapply(1:3, function(j) {
      sum(mapply(function(a, b) {
        integrate(function(x) terms(x)[, j], a, b, rel.tol = 1e-11, abs.tol = 1e-13)$value
      }, cuts[-length(cuts)], cuts[-1]))
    })
    expect_equal(values(information(gaussmix(case[[1]], case[[2]], case[[3]])))[1, ], known,
                 tolerance = 1e-9)
  }
})

test_that("a mixture that differs in a subspace has that of the subspace and of a Gaussian", {
  withr::local_seed(1)
  Q <- qr.Q(qr(matrix(rnorm(25), 5)))
  line <- gaussmix(c(.3, .7), c(-1, 2), c(.3, .5))
  v <- c(.4, .4, 1, 2)
  covs <- lapply(c(.3, .5), function(s) Q %*% diag(c(s, v)) %*% t(Q))
  wide <- gaussmix(c(.3, .7), outer(c(-1, 2), Q[, 1]) + rep(3 * Q[, 4], each = 2), covs)
  t <- c(0, .5)
  b2 <- 1 - exp(-2 * t)
  rest <- t(sapply(1:2, function(i) {
    u <- exp(-2 * t[i]) * v + b2[i]
    c(sum(log(2 * pi * exp(1) * u)) / 2, sum(1 / u), sum(1 / u^2))
  }))
  found <- information(wide, t)
  expect_identical(found$method, rep("quadrature", 2))
  expect_equal(values(found), values(information(line, t)) + rest, tolerance = 1e-9)
  # in the plane any axes give the same number
  turn <- function(angle) matrix(c(cos(angle), sin(angle), -sin(angle), cos(angle)), 2)
  B2 <- named_mixture("B2")
  R <- turn(1)
  turned <- gaussmix(B2$weights, B2$means %*% R,
                     lapply(1:3, function(k) t(R) %*% component_cov(B2, k) %*% R))
  expect_equal(values(information(turned, t)), values(information(B2, t)), tolerance = 1e-9)
})

test_that("draws agree with the sum of one-dimensional laws, and standard errors are honest", {
  withr::local_seed(2)
  # a product: K = 8 components that differ in all directions
  parts <- lapply(1:3, function(j) gaussmix(c(.4, .6), c(-j, j) / 2, c(.3, .6)))
  pick <- expand.grid(1:2, 1:2, 1:2)
  of <- function(what) sapply(1:3, function(j) what(parts[[j]])[pick[, j]])
  whole <- gaussmix(apply(of(function(m) m$weights), 1, prod), of(function(m) m$means),
                    lapply(seq_len(8), function(k) of(function(m) m$values[1, ])[k, ]))
  known <- Reduce(`+`, lapply(parts, function(m) values(information(m, c(0, .3)))))
  z <- replicate(30, {
    found <- information(whole, c(0, .3), n = 400)
    se <- as.matrix(as.data.frame(found)[c("entropy_se", "fisher_se", "curvature_se")])
    (values(found) - known) / se
  })
  expect_identical(information(whole, n = 10)$method, "Monte Carlo")
  for (j in 1:3) for (i in 1:2) expect_lt(abs(mean(z[i, j, ])), 5 / sqrt(30))
  expect_gt(sum(z^2), .4 * length(z))
  expect_lt(sum(z^2), 2.5 * length(z))
})

test_that("very thin components in the plane are left to draws rather than to a huge grid", {
  m <- gaussmix(rep(1 / 3, 3), rbind(c(0, 0), c(3, 0), c(0, 3)), list(1, 1e-8, 1))
  expect_identical(information(m, n = 100)$method, "Monte Carlo")
  expect_identical(information(m, .5)$method, "quadrature")
})

test_that("what is out of place is named", {
  m <- gaussmix(c(.5, .5), c(-1, 1), 0)
  expect_error(information(m), class = "mixguide_error_singular")
  expect_true(all(is.finite(values(information(m, 1e-3)))))
  expect_error(information(1), class = "mixguide_error", "mixture")
  expect_error(information(m, "a"), class = "mixguide_error", "`t`")
  expect_error(information(m, numeric()), class = "mixguide_error", "`t`")
  expect_error(information(m, c(1, -1)), class = "mixguide_error", "`t`")
  expect_error(information(m, 1, n = 1), class = "mixguide_error", "`n`")
  for (bad in list("moment", c("entropy", NA), character(), 1)) {
    expect_error(information(m, 1, quantity = bad), class = "mixguide_error", "`quantity`")
  }
})

test_that("it is printed, becomes a data frame and is drawn", {
  x <- information(named_mixture("A1"), seq(0, 2, by = .1))
  expect_output(print(x), "quadrature")
  expect_output(print(x, max = 12), "12 of 21 rows")
  expect_drawn(autoplot(x))
  expect_identical(class(as.data.frame(x)), "data.frame")
  some <- information(named_mixture("A1"), seq(0, 2, by = .1),
                      quantity = c("fisher", "second_moment"))
  expect_identical(as.data.frame(some),
                   as.data.frame(x)[c("t", "second_moment", "fisher", "fisher_se", "method")])
  expect_output(print(some), "t +second_moment +fisher\n")
  expect_drawn(autoplot(some))
  expect_output(print(x[1:2, c("t", "fisher")]), "fisher")
})

test_that("a common full covariance has nodes in the plane", {
  m <- gaussmix(c(.4, .6), rbind(c(0, 0), c(2, 1)), matrix(c(1, .6, .6, 1), 2))
  at <- box_nodes(m, .4)
  expect_equal(sum(at$weight * dgaussmix(at$x, m)), 1, tolerance = 1e-8)
})

test_that("a common full covariance has nodes in the plane too", {
  S <- matrix(c(1, .6, .6, .8), 2)
  m <- gaussmix(c(.3, .3, .4), rbind(c(0, 0), c(2, 1), c(1, -1)), S)
  expect_equal(entropy(m)$estimate, information(m)$entropy, tolerance = 1e-9)
  found <- path_kl(m, sampler = sampler_exponential(10, "uniform", stochastic = TRUE),
                   start = "exact")
  expect_true(all(is.finite(found$estimate)))
})

# The second moment alone, and its bounds.

second_moment <- function(mixture, t = 0, schedule = schedule_ou()) {
  information(mixture, t, schedule, quantity = "second_moment")
}

test_that("A1, B2 and C2 have the known second moments and bounds", {
  at <- function(name) unlist(second_moment(named_mixture(name), 0)[1, 2:4])
  expect_equal(unname(at("A1")[c("second_moment", "bound_paper")]), c(2.807, 6.75),
               tolerance = 1e-14)
  expect_equal(unname(at("B2")), c(3.1415, 3.31, 3.892843), tolerance = 1e-7)
  expect_equal(unname(at("C2")[c("second_moment", "bound_paper")]), c(3.0565, 3.41),
               tolerance = 1e-14)
  known <- theory("information")
  known <- known[known$mixture == "A1" & known$t %in% c(.5, 1, 2), ]
  later <- second_moment(named_mixture("A1"), known$t)$second_moment
  expect_lt(max(abs(later - known$second_moment)), 1e-11)
})

test_that("second moments are those of the diffused mixture, and bounds are above, on any schedule",
          {
  withr::local_seed(1)
  for (i in 1:20) {
    m <- random_mixture(FORMS[(i - 1) %% 6 + 1], d = 1 + i %% 3, K = 1 + i %% 4)$mixture
    schedule <- list(schedule_ou(), schedule_ve(), schedule_subvp())[[1 + i %% 3]]
    t <- c(0, .3, .9)
    x <- second_moment(m, t, schedule)
    known <- vapply(t, function(t) moments(diffuse(m, t, schedule))$second_moment, 0)
    expect_equal(x$second_moment, known, tolerance = 1e-13)
    expect_true(all(x$second_moment <= x$bound_component * (1 + 1e-14)))
    expect_true(all(x$bound_component <= x$bound_paper * (1 + 1e-14)))
  }
})

test_that("a component without weight counts for nothing, and point masses are welcome", {
  x <- second_moment(gaussmix(c(1, 0), c(2, 100), c(0, 50)))
  expect_identical(unlist(as.data.frame(x)[1, 1:4], use.names = FALSE), c(0, 4, 4, 4))
  expect_error(second_moment(gaussmix(1, 0, 1), -1), class = "mixguide_error", "`t`")
  expect_error(second_moment("A1"), class = "mixguide_error", "mixture")
})

test_that("the second moments are printed and drawn", {
  x <- second_moment(named_mixture("A1"), seq(0, 3, by = .1))
  expect_output(print(x, max = 12), "exact\n.*bound_paper.*12 of 31 rows")
  expect_drawn(autoplot(x))
  expect_identical(class(as.data.frame(x)), "data.frame")
})

test_that("nets gain what is claimed of them, where neither rule nor closed form is possible", {
  four <- gaussmix(c(1, 2, 1), rbind(c(1, 0, 0, 0), c(-1, 0, 0, 1), c(0, 1.5, 1, 0)),
                   list(diag(4), diag(c(1, .5, .7, 1)), .5 * diag(4)))
  at <- function(n, key) information(four, c(.1, .5), n = n, key = c(key, 0))
  nets <- lapply(1:8, at, n = 1024)
  plain <- lapply(1:8, at, n = 1023)
  for (what in c("entropy", "fisher", "curvature")) {
    se <- function(runs) sqrt(mean(sapply(runs, `[[`, paste0(what, "_se"))^2))
    mean_of <- function(runs) rowMeans(sapply(runs, `[[`, what))
    expect_lt(se(nets)^2, se(plain)^2 / 3)
    expect_lt(max(abs(mean_of(nets) - mean_of(plain))), 4 * se(plain) / sqrt(8))
  }
})

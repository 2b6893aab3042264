# Known numbers: tests/REFERENCES.md, three components in a row.

euler <- function(n) sampler_euler(n, "uniform")
aligned <- function(m) gaussmix(c(1, 1, 1), c(0, -m, m), 1)

test_that("DDIM on the aligned example loses from the known strengths on, within 1 %", {
  skip_on_cran()
  known <- list("3" = c(10.089, 24.287, 55.137, 111.431),
                "6" = c(3.7924, 4.5686, 5.4425, 5.4728) * c(2, 4, 10, 20))
  for (m in names(known)) for (i in 1:4) {
    limit <- strength_limit(aligned(as.numeric(m)), guidance = "1",
                            sampler = euler(c(10, 20, 50, 100)[i]), horizon = 5,
                            n = 2001)
    expect_lt(abs(limit$estimate / known[[m]][i] - 1), .01)
    expect_identical(c(limit$se, limit$method), c("0", "quadrature"))
    if (m == "3") expect_equal(limit$best$confidence, .97826, tolerance = 3e-5)
  }
})

test_that("DDPM on the aligned example loses from the known strengths on, also by particles", {
  skip_on_cran()
  withr::local_seed(1)
  known <- c(9.664, 20.172)
  for (i in 1:2) {
    sampler <- sampler_em(c(50, 100)[i], "uniform")
    limit <- function(...) {
      strength_limit(aligned(3), guidance = "1", sampler = sampler, horizon = 5, loss = 0,
                     range = c(4, 64), ...)
    }
    expect_lt(abs(limit()$estimate / known[i] - 1), 1e-3)
    if (i == 2) next
    drawn <- limit(exact = FALSE, n = 4000)
    expect_lt(abs(drawn$estimate - known[i]) / drawn$se, 4)
    expect_lt(drawn$se, .1)
    expect_identical(drawn$method, "Monte Carlo")
  }
})

test_that("where guidance lowers the confidence at once the limit is small, elsewhere infinite", {
  sampler <- sampler_heun(30)
  limit <- strength_limit(named_mixture("NC1"), guidance = "1", sampler = sampler, horizon = 5,
                          n = 2001)
  # the mean is .362011 at .25 and .343021 at .5, and .359202 without guidance
  expect_gt(limit$estimate, .25)
  expect_lt(limit$estimate, .5)
  none <- strength_limit(named_mixture("A2"), guidance = "1", sampler = sampler, horizon = 5,
                         n = 2001, range = c(1, 8))
  expect_identical(none$estimate, Inf)
  expect_identical(none$best$strength, 8)
  expect_output(print(none), "not lost up to strength 8")
})

test_that("a strength that falls with the noise level bears more", {
  withr::local_seed(2)
  sampler <- sampler_em(50, "uniform")
  shape <- function(t) 1 / (1 + 9 * exp(-2 * t))
  falling <- strength_limit(aligned(3), guidance = guidance("1", shape), sampler = sampler,
                            horizon = 5, loss = 0)
  expect_gt(falling$estimate, 20)
})

test_that("it is found for several dimensions, classes of several components, and by key", {
  mixture <- gaussmix(c(.3, .3, .2, .2), rbind(c(0, 0), c(.5, 0), c(-3, 1), c(3, -1)), .5,
                      class = c("a", "a", "b", "c"))
  limit <- strength_limit(mixture, guidance = "a", sampler = euler(10), horizon = 5, n = 500,
                          key = c(1, 2), tol = .01)
  expect_true(is.finite(limit$estimate))
  expect_identical(limit$path$strength[1], 0)
  expect_lt(limit$path$gain[limit$path$strength == limit$bracket[2]], -1e-3)
  expect_gte(limit$path$gain[limit$path$strength == limit$bracket[1]], -1e-3)
  again <- strength_limit(mixture, guidance = "a", sampler = euler(10), horizon = 5, n = 500,
                          key = c(1, 2), tol = .01)
  expect_identical(again$path, limit$path)
  expect_identical(as.data.frame(limit), limit$path)
  expect_output(print(limit), "lost .by more than 0.001. from strength [0-9.]+ \\([0-9.]+\\) on")
  expect_drawn(autoplot(limit))
  # point masses have no exact law; particles work
  points <- strength_limit(gaussmix(c(1, 1), c(0, 1), 0), guidance = "1",
                           sampler = sampler_em(10, end = .1), n = 50,
                           range = c(1, 2))
  expect_identical(points$method, "Monte Carlo")
  # one component: the confidence cannot fall
  expect_identical(strength_limit(gaussmix(1, 0, 1), guidance = "1", n = 11)$estimate, Inf)
})

test_that("bad input is refused", {
  m <- aligned(3)
  expect_error(strength_limit(m, guidance = "4"), "`guidance`", class = "mixguide_error")
  expect_error(strength_limit(m, guidance = "1", range = c(2, 1)), "`range`",
               class = "mixguide_error")
  expect_error(strength_limit(m, guidance = "1", loss = -1), "`loss`", class = "mixguide_error")
  expect_error(strength_limit(m, guidance = "1", sampler = "ddim"), "`sampler`",
               class = "mixguide_error")
})

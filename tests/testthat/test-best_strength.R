test_that("the best strength is what the exact law says, and no profile betters it", {
  m <- named_mixture("A2")
  best <- best_strength(m, guidance = "1", sampler = sampler_ddim(8), confidence = .9, knots = 3,
                        profiles = c("linear", "interval"))
  law <- guided_law(m, best$guidance, sampler_ddim(8))
  expect_equal(confidence(law)$estimate, .9, tolerance = 1e-6)
  distances <- law_distance(law, gaussmix(1, 1, 1))
  expect_equal(best$tried$kl_reverse[1], distances$estimate[2], tolerance = 1e-7)
  expect_true(all(best$tried$excess[-1] > 0))
  expect_equal(best$tried$confidence, rep(.9, 4), tolerance = 1e-6)
  # the constant strength, by a bisection written here
  of <- function(by) confidence(guided_law(m, guidance("1", by), sampler_ddim(8)))$estimate - .9
  expect_equal(best$tried$multiple[2], uniroot(of, c(0, 2), tol = 1e-9)$root, tolerance = 1e-5)
  # no strength near it with the same confidence is better
  set.seed(1)
  for (i in 1:2) {
    near <- best$knots$strength + rnorm(3, sd = .2)
    guide <- function(by) guidance("1", function(t, fraction) {
      approx(best$knots$fraction, near + by, fraction)$y
    })
    of <- function(by) confidence(guided_law(m, guide(by), sampler_ddim(8)))$estimate - .9
    by <- uniroot(of, c(-1, 1), extendInt = "yes", tol = 1e-8)$root
    other <- law_distance(guided_law(m, guide(by), sampler_ddim(8)), gaussmix(1, 1, 1))
    expect_gt(other$estimate[2], distances$estimate[2] - 1e-7)
  }
  expect_said(print(best), "is least; target: class 1; at confidence 0.9")
  expect_s3_class(ggplot2::ggplot_build(autoplot(best))$plot, "ggplot")
})

test_that("without a wanted confidence the tilt is what is aimed at; particles serve beyond laws", {
  m <- named_mixture("D3")
  best <- suppressWarnings(best_strength(m, guidance = "1", sampler = sampler_ddim(8),
                                         target = "tilt", tilt = 1,
                                         knots = 3, profiles = "linear",
                                         measure = "total_variation"))
  law <- guided_law(m, best$guidance, sampler_ddim(8))
  tilt <- tilted_law(m, guidance("1", 1))
  expect_equal(best$tried$total_variation[1], law_distance(law, tilt)$estimate[3], tolerance = 1e-6)
  expect_true(all(best$tried$excess >= 0))
  set.seed(1)
  wide <- gaussmix(c(.5, .5), rbind(c(0, 0, 1), c(1, -1, 0)),
                   list(diag(c(1, .5, .3)), crossprod(matrix(rnorm(9), 3)) / 3 + diag(.2, 3)),
                   class = c("a", "b"))
  drawn <- best_strength(wide, guidance = "a", sampler = sampler_heun(6), confidence = .85,
                         knots = 2, n = 512,
                         profiles = "linear", key = c(1, 2))
  expect_equal(drawn$tried$confidence[1], .85, tolerance = 1e-6)
  expect_gt(drawn$tried$kl_reverse_se[1], 0)
  expect_lte(drawn$tried$kl_reverse[1], drawn$tried$kl_reverse[2] + 1e-4)
})

test_that("what cannot be is refused", {
  m <- named_mixture("D3")
  input <- function(...) {
    expect_error(best_strength(m, guidance = "1", sampler = sampler_ddim(5), ...),
                 class = "mixguide_error_input")
  }
  input()
  input(confidence = 1)
  # three classes in a row: guidance of the middle class does not reach it
  input(confidence = .99999, profiles = "linear")
  input(confidence = .9, profiles = "terminal")
  input(confidence = .9, knots = 1)
  input(confidence = .9, target = "whole")
  expect_error(best_strength(m, guidance = guidance("1", 1, power = 1), confidence = .9),
               class = "mixguide_error_input")
})

test_that("strengths are tried with a score_model() as with the mixture that it is", {
  m <- named_mixture("D3")
  own <- score_error(model = score_model(function(x, t, class) score(m, x, t, guidance = class)))
  tried <- function(...) {
    d <- diffusion(m, "1", sampler_ddim(20), key = c(1, 2), ...)
    unlist(strength_judge(d, "class", NULL, "kl_reverse", 64)$at(guidance("1", .2)))
  }
  expect_equal(tried(score_error = own), tried(), tolerance = 1e-4)
  three <- gaussmix(c(.5, .5), diag(3)[1:2, ], 1, class = c("a", "b"))
  own <- score_error(model = score_model(function(x, t, class) score(three, x, t)))
  expect_mixguide_error(best_strength(three, guidance = "a", sampler = sampler_ddim(4),
                                      confidence = .6,
                                      score_error = own), "mixture")
  expect_error(guided_error(three, guidance = guidance("a", 1), sampler = sampler_ddim(4),
                            score_error = own),
               "a score_model.*no log-density", class = "mixguide_error_input")
})

test_that("the divergence is the trace of the Jacobian, and log p_j that of the class", {
  withr::local_seed(1)
  for (form in FORMS) for (d in c(1, 3)) {
    m <- random_mixture(form, d, 4)$mixture
    x <- matrix(rnorm(20 * d, 0, 2), 20)
    guide <- guidance_models(guidance("a", 1.5), m)
    at <- function(what) core_eval(m, x, exp(-.3), 1 - exp(-.6), guide$models, guide$coef(.3), what)
    slopes <- at("jacobian")
    trace <- rowSums(matrix(slopes, 20)[, seq(1, d^2, by = d + 1), drop = FALSE])
    expect_equal(at("divergence"), trace, tolerance = 1e-12, info = paste(form, d))
    later <- diffuse(m, .3)
    expect_equal(at("logp"), list(dgaussmix(x, class_law(later, "a"), log = TRUE),
                                  dgaussmix(x, later, log = TRUE)),
                 tolerance = 1e-12, info = paste(form, d))
    expect_equal(at("all"), list(score = at("score"), logp = at("logp"), jacobian = slopes),
                 tolerance = 1e-12, info = paste(form, d))
  }
})

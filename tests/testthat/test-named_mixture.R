test_that("the trees of Karras et al. are as the recipe says, and the same everywhere", {
  tree <- named_mixture("karras")
  expect_equal(as.vector(table(tree$class)), c(1016, 1016))
  expect_equal(sum(tree$weights[tree$class == "a"]), .5)
  at <- moments(tree)
  expect_equal(at$mean, c(0, 0), tolerance = 1e-12, ignore_attr = TRUE)
  expect_equal(sqrt(diag(at$cov)), c(.5, .5), tolerance = 1e-12, ignore_attr = TRUE)
  expect_equal(tree$means[c(1, 1016, 2032), ],
               rbind(c(.0470, .0146), tree$means[1016, ], tree$means[2032, ]), tolerance = 2e-3,
               ignore_attr = TRUE)
  # a trunk, from which the classes grow in opposite directions
  expect_gt(sum(diff(tree$means[c(1, 8), ])), 0)
  expect_lt(sum(diff(tree$means[1016 + c(1, 8), ])), 0)
})

test_that("guidance leaves the trunk, autoguidance keeps it", {
  tree <- named_mixture("karras")
  wider <- apply(covariances(tree), 3, function(cov) cov + diag(.01, 2), simplify = FALSE)
  blurred <- gaussmix(tree$weights, tree$means, wider, class = tree$class)
  trunk <- function(guide) {
    run <- guided_sample(tree, 1000, guide, sampler_heun(32, "karras", end = .002),
                         schedule = schedule_ve(.002, 5), start = "exact", log_density = "none",
                         key = c(1, 2))
    # nearer to the 8 components of the trunk than to any other component of the class
    own <- tree$means[tree$class == "a", ]
    mean(apply(run$x, 1, function(x) which.min(colSums((t(own) - x)^2))) <= 8)
  }
  class <- trunk(guidance("a"))
  expect_lt(abs(class - 2 * sum(tree$weights[1:8])), .06)
  expect_lt(trunk(guidance("a", 3)), .05)
  expect_gt(trunk(guidance("a", 2, negative = blurred)), .7 * class)
})

test_that("a blurred model: autoguidance removes what is outside and keeps the branches", {
  # the claims of Karras et al. (2024), figure 1; their model is a network
  tree <- named_mixture("karras")
  blurred <- function(sd) {
    wider <- apply(covariances(tree), 3, function(cov) cov + diag(sd^2, 2), simplify = FALSE)
    gaussmix(tree$weights, tree$means, wider, class = tree$class)
  }
  own <- which(tree$class == "a")
  branch <- rep(1:127, each = 8)
  mass <- 2 * drop(rowsum(tree$weights[own], branch))
  covs <- covariances(tree)
  # share beyond the 99 % ellipse of every component, and mass of the branches that get next to
  # nothing
  judge <- function(guide) {
    x <- guided_sample(blurred(.02), 800, guide, sampler_heun(32, "karras", end = .002),
                       schedule = schedule_ve(.002, 5), start = "exact", log_density = "none",
                       key = c(1, 2))$x
    far <- vapply(own, function(k) mahalanobis(x, tree$means[k, ], covs[, , k]), double(800))
    log_part <- -far / 2 + rep(log(tree$weights[own]) - apply(covs[, , own], 3, function(cov) {
      log(det(cov)) / 2
    }), each = 800)
    part <- exp(log_part - apply(log_part, 1, max))
    share <- drop(rowsum(colMeans(part / rowSums(part)), branch))
    c(outside = mean(apply(far, 1, min) > qchisq(.99, 2)), lost = sum(mass[share < mass / 10]))
  }
  class <- judge(guidance("a"))
  plain <- judge(guidance("a", 3))
  auto <- judge(guidance("a", 2, negative = blurred(.1)))
  expect_gt(class[["outside"]], .15)
  expect_lt(auto[["outside"]], class[["outside"]] / 3)
  expect_lt(class[["lost"]], .08)
  expect_lt(auto[["lost"]], .1)
  expect_gt(plain[["lost"]], .3)
  # the paper says that guidance, too, removes points outside; this does not hold here
  expect_gt(plain[["outside"]], class[["outside"]])
})

# The formula of a mixture reads new data as it read the original data.

test_that("a formula is applied to new data, by whatever takes points", {
  m <- as_gaussmix(Species ~ log(Sepal.Length) + sqrt(Petal.Length), iris, standardise = FALSE)
  by_hand <- cbind(log(iris$Sepal.Length), sqrt(iris$Petal.Length))
  plain <- gaussmix(m$weights, unname(m$means), lapply(1:3, component_cov, mixture = m), m$class)
  new <- iris[c("Petal.Length", "Sepal.Length")]
  expect_identical(predict(m, new), predict(plain, by_hand))
  expect_gt(mean(predict(m, new) == iris$Species), .9)
  expect_equal(dgaussmix(new, m), dgaussmix(by_hand, plain))
  expect_equal(score(m, new), score(plain, by_hand), ignore_attr = TRUE)
  expect_equal(posterior(m, as.matrix(new)), posterior(plain, by_hand))
  expect_equal(denoise(m, new, .3), denoise(plain, by_hand, .3), ignore_attr = TRUE)
  expect_equal(as.numeric(logLik(m, new)), m$fit$loglik)
  expect_identical(dgaussmix(new[0, ], m), double())
  expect_identical(dim(posterior(m, new[0, ])), c(0L, 3L))
  expect_mixguide_error(as_gaussmix(Species ~ log(Sepal.Length), iris[0, ]), "data")
  # by name if the variables themselves are given, by place without names
  colnames(by_hand) <- variable_names(m)
  expect_equal(dgaussmix(by_hand[, 2:1], m), dgaussmix(unname(by_hand), m))
  expect_equal(mixguide:::class_law(m, "setosa")$terms, m$terms)
  expect_equal(score(m, new, .5), score(diffuse(m, .5), new))
  units <- standardise(m)
  expect_equal(score(units, new, .5), score(diffuse(units, .5), new))
  # a mixture of other variables has no terms
  part <- marginal(m, "log(Sepal.Length)")
  expect_null(part$terms)
  expect_mixguide_error(dgaussmix(new, part), "x")
  expect_mixguide_error(impute(m, replace(new, 1, NA)), "data")
  expect_mixguide_error(condition(m, c(Sepal.Length = 5)), "observation")
})

test_that("what a formula learns from its data stays; what depends on other rows is refused", {
  for (right in c(Species ~ poly(Sepal.Length, 2), Species ~ scale(Petal.Width),
                  Species ~ Sepal.Length * Sepal.Width, Species ~ I(Sepal.Length / Sepal.Width))) {
    m <- as_gaussmix(right, iris)
    variables <- model.matrix(right, iris)[, -1, drop = FALSE]
    expect_equal(dgaussmix(iris, m), dgaussmix(unname(variables), m))
    rows <- sample(150, 7)
    expect_equal(dgaussmix(iris[rows, ], m), dgaussmix(iris, m)[rows], tolerance = 1e-10)
  }
  for (wrong in c(Species ~ I(Sepal.Length - mean(Sepal.Length)), Species ~ rank(Sepal.Length),
                  Species ~ cumsum(Sepal.Length), Species ~ rev(Sepal.Length))) {
    expect_mixguide_error(as_gaussmix(wrong, iris), "x")
  }
  expect_null(as_gaussmix(Species ~ ., iris)$terms)
  odd <- stats::setNames(iris, c("a b", names(iris)[2:5]))
  expect_identical(variable_names(as_gaussmix(Species ~ `a b`, odd)), "a b")
})

test_that("terms carry what they name, and nothing else of where they were made", {
  make <- function() {
    ballast <- stats::rnorm(1e5)
    unit <- 10
    half <- function(x) x / unit
    environment(half) <- list2env(list(unit = 2), parent = globalenv())
    as_gaussmix(Species ~ half(Sepal.Length) + I(Petal.Length / unit), iris)
  }
  m <- make()
  expect_lt(length(serialize(m, NULL)), 1e4)
  again <- unserialize(serialize(m, NULL))
  unit <- 1
  at <- cbind(iris$Sepal.Length / 2, iris$Petal.Length / 10)
  expect_equal(dgaussmix(iris, again), dgaussmix(at, m))
  # a formula without data takes variables from its environment
  here <- iris$Sepal.Length
  label <- iris$Species
  free <- as_gaussmix(label ~ log(here))
  expect_identical(predict(free, data.frame(here = 5)), predict(free, log(5)))
  expect_mixguide_error(predict(free, data.frame(there = 5)), "newdata")
  lost <- as_gaussmix(Species ~ log(here), iris)
  expect_mixguide_error(predict(lost, iris), "newdata")
})

test_that("subset and na.action are those of lm()", {
  holed <- iris
  holed[c(3, 60), 1] <- NA
  expect_mixguide_error(as_gaussmix(Species ~ ., holed), "x")
  expect_mixguide_error(as_gaussmix(Species ~ ., holed, na.action = stats::na.fail), "x")
  expect_warning(dropped <- as_gaussmix(Species ~ ., holed, na.action = stats::na.omit),
                 "2 rows of 150 with missing values left out.*missing completely at random")
  expect_equal(dropped, as_gaussmix(Species ~ ., stats::na.omit(holed)))
  expect_equal(suppressWarnings(as_gaussmix(Species ~ ., holed, na.action = "na.omit",
                                            form = "diagonal")),
               as_gaussmix(Species ~ ., stats::na.omit(holed), form = "diagonal"))
  keep <- iris$Sepal.Length > 5
  expect_equal(as_gaussmix(Species ~ ., iris, subset = Sepal.Length > 5),
               as_gaussmix(Species ~ ., iris[keep, ]))
  expect_equal(as_gaussmix(Species ~ log(Petal.Width), iris, subset = keep)$means,
               as_gaussmix(Species ~ log(Petal.Width), iris[keep, ])$means)
})

test_that("a formula is refused where R would guess", {
  expect_error(as_gaussmix(supp ~ len + factor(dose), ToothGrowth), "factor\\(dose\\) \\(factor\\)",
               class = "mixguide_error")
  words <- transform(iris, size = ifelse(Sepal.Length > 5, "big", "small"), flag = Sepal.Width > 3)
  expect_error(as_gaussmix(Species ~ ., words), "size \\(character\\), flag \\(logical\\)",
               class = "mixguide_error")
  expect_error(as_gaussmix(Sepal.Length ~ Petal.Length, iris), "cut\\(y, 3\\).*35 different",
               class = "mixguide_error")
  expect_mixguide_error(as_gaussmix(Species ~ Sepal.Length + offset(Sepal.Width), iris), "x")
  expect_error(as_gaussmix(Species ~ nowhere, iris), "nowhere", class = "mixguide_error")
  expect_error(as_gaussmix(Species ~ ., iris, weights = 1), "`weights` is not an argument",
               class = "mixguide_error")
  # whole numbers with few values are classes
  expect_identical(mixture_classes(as_gaussmix(cyl ~ mpg, mtcars)), c("4", "6", "8"))
  m <- as_gaussmix(Species ~ log(Sepal.Length), iris)
  expect_error(predict(m, transform(iris, Sepal.Length = "5")), class = "mixguide_error")
})

test_that("variables that a formula leaves out may be of any kind, and are not needed later", {
  crabs <- transform(iris, sex = Species, index = letters[1])
  m <- as_gaussmix(Species ~ . - sex - index, crabs)
  expect_equal(m$means, as_gaussmix(Species ~ ., iris)$means)
  expect_identical(predict(m, iris), predict(as_gaussmix(Species ~ ., iris), iris))
  # with terms that are kept: a constant learned from the data stays with its variable
  odd <- stats::setNames(crabs, c("a b", names(crabs)[-1]))
  m <- as_gaussmix(Species ~ sex + poly(Petal.Length, 2) + log(`a b`) - sex, odd)
  plain <- as_gaussmix(Species ~ poly(Petal.Length, 2) + log(Sepal.Length), iris)
  expect_equal(unname(m$means), unname(plain$means))
  new <- odd[c(3, 70, 140), c("a b", "Petal.Length")]
  expect_equal(posterior(m, new), posterior(plain, iris[c(3, 70, 140), ]))
  expect_mixguide_error(as_gaussmix(Species ~ sex + Petal.Length, crabs), "x")
})

test_that("columns taken from a table are refused with the remedy", {
  for (wrong in c(iris$Species ~ iris$Sepal.Length, Species ~ iris[["Sepal.Length"]])) {
    expect_mixguide_error(as_gaussmix(wrong, iris), "x")
    expect_error(as_gaussmix(wrong, iris), "class ~ x, data = table", fixed = TRUE)
  }
  by <- list(unit = 2)
  expect_identical(mixture_dim(as_gaussmix(Species ~ I(Sepal.Length / by$unit), iris)), 1L)
})


iris_mixture <- as_gaussmix(Species ~ ., iris)

test_that("tidy() of a mixture has a row per component with broom's columns", {
  table <- tidy(iris_mixture)
  expect_named(table, c("component", "class", "proportion", paste0("variance.", names(iris)[1:4]),
                        paste0("mean.", names(iris)[1:4])))
  expect_equal(table$class, levels(iris$Species))
  expect_equal(table$proportion, rep(1 / 3, 3))
  setosa <- iris[iris$Species == "setosa", 1:4]
  expect_equal(unlist(table[1, 8:11]), colMeans(setosa), ignore_attr = TRUE)
  expect_equal(unlist(table[1, 4:7]), vapply(setosa, var, 0) * 49 / 50, ignore_attr = TRUE)
  expect_equal(tidy(gaussmix(c(1, 3), c(5, 6), 2)),
               data.frame(component = 1:2, class = c("1", "2"), proportion = c(.25, .75),
                          variance = 2, mean = c(5, 6)))
  expect_equal(tidy(gaussmix(c(1, 1), diag(2), list(1, 4)))$variance, c(1, 4))
})

test_that("glance() of a mixture is its form and, for a fit, its likelihood", {
  row <- glance(iris_mixture)
  expect_equal(row$logLik, sum(dgaussmix(iris[1:4], iris_mixture, log = TRUE)))
  expect_equal(row$AIC, -2 * row$logLik + 2 * 44)
  expect_equal(row$BIC, -2 * row$logLik + log(150) * 44)
  expect_equal(row[c("components", "classes", "variables", "df", "nobs")],
               data.frame(components = 3, classes = 3, variables = 4, df = 44, nobs = 150))
  plain <- glance(gaussmix(1, 0, 1))
  expect_named(plain, names(row))
  expect_true(all(is.na(plain[c("logLik", "AIC", "BIC", "df", "nobs")])))
})

test_that("augment() of a mixture adds the class and its uncertainty to the data", {
  out <- augment(iris_mixture, iris)
  expect_equal(out[names(iris)], iris)
  expect_equal(out$.class, predict(iris_mixture, iris))
  joint <- vapply(1:3, function(k) {
    x <- as.matrix(iris[1:4])
    S <- component_cov(iris_mixture, k)
    exp(-mahalanobis(x, iris_mixture$means[k, ], S) / 2) / sqrt(det(S))
  }, numeric(150))
  expect_equal(out$.uncertainty, 1 - apply(joint, 1, max) / rowSums(joint), tolerance = 1e-8)
  expect_identical(out$.pred_class, out$.class)
  expect_equal(as.matrix(out[paste0(".pred_", levels(iris$Species))]),
               predict(iris_mixture, iris, "prob"), ignore_attr = TRUE)
  expect_equal(nrow(augment(iris_mixture, as.matrix(iris[1:4])[0, ])), 0)
  expect_error(augment(iris_mixture), "`data`", class = "mixguide_error")
})

test_that("a sample's tables agree with its summary, confidence and entropy", {
  withr::local_seed(1)
  run <- guided_sample(iris_mixture, 200, guidance("virginica", 1), sampler_ddim(40))
  table <- tidy(run)
  expect_equal(table$term, names(iris)[1:4])
  expect_equal(table$estimate, colMeans(run$x), ignore_attr = TRUE)
  expect_equal(table$std.error, apply(run$x, 2, sd) / sqrt(200), ignore_attr = TRUE)
  row <- glance(run)
  expect_equal(nrow(row), 1)
  expect_equal(row$confidence, mean(run$confidence))
  expect_equal(row$entropy_se, entropy(run)$se)
  expect_equal(row$class, "virginica")
  out <- augment(run)
  expect_equal(as.matrix(out[1:4]), run$x, ignore_attr = TRUE)
  sure <- out$.class == "virginica"
  expect_equal(out$.uncertainty[sure], 1 - out$.confidence[sure])
})

test_that("tables exist without guidance, density, particles, or a density at the end", {
  withr::local_seed(2)
  masses <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(1, 0)), 0)
  for (n in c(0, 5)) for (mixture in list(iris_mixture, masses)) {
    run <- guided_sample(mixture, n, NULL, sampler_ddpm(5))
    expect_equal(nrow(tidy(run)), ncol(run$x))
    row <- glance(run)
    expect_equal(nrow(row), 1)
    expect_true(all(is.na(row[c("class", "confidence", "entropy", "folded")])))
    out <- augment(run)
    expect_equal(nrow(out), n)
    expect_false(anyNA(out$.uncertainty))
  }
})

test_that("a sweep's tables are its columns, in long form", {
  withr::local_seed(3)
  sweep <- guidance_sweep(iris_mixture, guidance = "virginica", strength = c(0, 1, 4), n = 50,
                          sampler = sampler_heun(10),
                          keep = TRUE)
  table <- tidy(sweep)
  expect_named(table, c("quantity", "class", "sampler", "steps", "strength", "scale", "estimate",
                        "se", "method", "note"))
  for (quantity in unique(table$quantity)) {
    expect_equal(table$estimate[table$quantity == quantity], sweep[[quantity]])
  }
  expect_equal(table$se[table$quantity == "gain"], sweep$gain_se)
  p <- sweep$fraction_down
  # none of 50 draws does not prove none at all
  none <- ifelse(p == 0 & sweep$strength > 0, 1.5 / 50, 0)
  expect_equal(table$se[table$quantity == "fraction_down"], pmax(sqrt(p * (1 - p) / 50), none))
  expect_equal(glance(sweep)$n, 50)
  out <- augment(sweep)
  expect_equal(unname(tapply(out$.confidence, out$.strength, mean)), sweep$confidence,
               ignore_attr = TRUE)
  bare <- guidance_sweep(gaussmix(c(1, 1), c(-1, 1), 1), guidance = "1", strength = 0:1, n = 50)
  expect_true(all(tidy(bare)$se %in% c(0, NA)))
  expect_error(augment(bare), "`x`", class = "mixguide_error")
})

test_that("augment() keeps the kind of table", {
  m <- as_gaussmix(Species ~ ., iris)
  plain <- augment(m, iris)
  expect_identical(class(plain), "data.frame")
  expect_identical(names(plain)[1:6], c(names(iris), ".class"))
  for (kind in c(if (requireNamespace("tibble", quietly = TRUE)) "tibble",
                 if (requireNamespace("data.table", quietly = TRUE)) "data.table")) {
    table <- if (kind == "tibble") tibble::as_tibble(iris) else data.table::as.data.table(iris)
    result <- augment(m, table)
    expect_identical(class(result), class(table))
    expect_equal(as.data.frame(result), plain, ignore_attr = TRUE)
    expect_identical(names(table), names(iris))
  }
})

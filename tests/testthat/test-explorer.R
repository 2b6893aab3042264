start <- function(name) {
  if (is.character(name)) preset_source(name) else explorer_source(name, code = quote(list(x)))
}
seen <- function(own, ..., n = 200) {
  explorer_result(own, utils::modifyList(own$settings, list(...)), n)
}

# The last printed lines of the code, as numbers.
by_code <- function(result, env = new.env(parent = globalenv())) {
  values <- lapply(parse(text = result$code)[-1], eval, env)
  estimates <- Filter(function(x) inherits(x, "mixguide_estimates"), values)
  vapply(estimates, function(x) x$estimate, 0)
}

drawn <- function(result) {
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  draw_cloud(result)
  draw_law(result)
  draw_paths(result)
}

test_that("the code that is shown gives the numbers that are shown", {
  for (name in c("three", "tilt", "iris")) {
    for (change in list(list(), list(kind = "interval"), list(kind = "none"))) {
      result <- do.call(seen, c(list(start(name)), change))
      expect_null(result$error)
      expect_identical(by_code(result), result$numbers$estimate)
    }
  }
  zero <- seen(start("zero"), observed = .5)
  env <- new.env(parent = globalenv())
  values <- lapply(parse(text = zero$code)[-1], eval, env)
  expect_equal(zero$numbers$estimate, unname(c(values[[6]][2], values[[7]])))
  # the exact law of x2 given x1, by the Gaussian formula for each component
  m <- named_mixture("M2")
  own <- vapply(1:3, function(k) {
    S <- covariances(m)[, , k]
    c(m$weights[k] * dnorm(.5, m$means[k, 1], sqrt(S[1, 1])),
      m$means[k, 2] + S[1, 2] / S[1, 1] * (.5 - m$means[k, 1]))
  }, c(0, 0))
  expect_equal(zero$numbers$estimate[2], sum(own[1, ] * own[2, ]) / sum(own[1, ]))
})

test_that("a diffusion keeps its start, horizon and own parts, in the code too", {
  x <- diffusion(named_mixture("C3"), guidance("1", function(t) exp(-t)), sampler_heun(12),
                 schedule_cosine(), start = "exact")
  own <- explorer_source(x, code = quote(list(x)))
  result <- seen(own)
  expect_identical(by_code(result, list2env(list(x = x))), result$numbers$estimate)
  expect_identical(result$env$d$start, "exact")
  expect_identical(result$env$d$horizon, x$horizon)
  expect_equal(result$numbers$estimate[1],
               confidence(guided_sample(x, 200, key = c(1, 0)))$estimate)
  expect_identical(seen(own, sampler = "em")$env$d$start, "exact")
})

test_that("theorems are those of guidance_condition() and step_condition(), at any strength", {
  own <- start("three")
  cache <- new.env()
  for (sampler in c("euler", "em", "rk4")) for (strength in c(-.5, 0, 1, 8)) {
    s <- utils::modifyList(own$settings, list(sampler = sampler, strength = strength))
    result <- explorer_result(own, s, 20, cache)
    if (strength < 0) {
      expect_false(any(result$theorems$proved))
    } else {
      expect_identical(result$theorems$proved[-1], step_condition(result$env$d)$holds %in% TRUE)
    }
  }
  expect_true(seen(start("tilt"))$theorems$proved[1])
  expect_false(seen(own)$theorems$proved[1])
  acute <- seen(start(named_mixture("C3")), kind = "power")
  expect_false(any(acute$theorems$proved))
  skip_if_not_installed("shiny")
  expect_match(as.character(theorem_boxes(seen(own)$theorems)[[1]]), "Not proved", fixed = TRUE)
})

test_that("hostile settings give a message, and can be drawn", {
  own <- start("iris")
  hostile <- list(list(strength = NA_real_), list(strength = 1e300), list(steps = NA),
                  list(steps = 2.5), list(steps = 1e9), list(key = NA), list(key = -1),
                  list(kind = "interval", low = 3), list(kind = "power", power = -2),
                  list(kind = "zero", observed = NA), list(sampler = "quit()"),
                  list(class = "none such"), list(first = 9))
  for (change in hostile) {
    result <- do.call(seen, c(list(own), change))
    said <- c(result$error, result$warnings, result$numbers$words[is.na(result$numbers$estimate)])
    expect_true(length(said) > 0 && all(nzchar(said)), label = deparse(change))
    expect_silent(drawn(result))
  }
})

test_that("every mixture can be explored: one class, one dimension, singular, many variables", {
  mixtures <- list(
    gaussmix(1, 0, 1), gaussmix(1, t(1:2), 0), gaussmix(c(.5, .5), c(-1, 1), 0),
    gaussmix(c(.5, .5), rbind(c(0, 0), c(1, 1)), matrix(1, 2, 2)),
    gaussmix(c(.5, .5), rbind(0, rep(1, 40)), .5),
    gaussmix(rep(1, 15), cbind(1:15, 15:1), .1), gaussmix(c(1, 1), c(0, 1e6), 1))
  for (m in mixtures) {
    own <- start(m)
    kinds <- setdiff(unname(explorer_choices(own)$kind), "given")
    for (kind in kinds) {
      result <- seen(own, kind = kind, steps = 8)
      expect_true(is.data.frame(result$numbers) || nzchar(result$error), label = kind)
      expect_silent(suppressWarnings(drawn(result)))
    }
  }
})

test_that("of many classes the lines of the chosen one stay apart", {
  own <- start(gaussmix(rep(1, 15), cbind(1:15, 15:1), .1))
  cache <- new.env()
  for (class in mixture_classes(own$mixture)[c(2, 9)]) {
    s <- utils::modifyList(own$settings, list(class = class))
    expect_setequal(explorer_lines(own, s, cache)$class, c(class, merged))
  }
})

test_that("every control changes what it should", {
  skip_if_not_installed("shiny")
  skip_if_not_installed("bslib")
  own <- preset_source("iris")
  set <- function(session, s) do.call(session$setInputs, c(list(preset = "iris"), s))
  shiny::testServer(explorer_server(NULL, 200), {
    set(session, own$settings)
    base <- result()
    changes <- list(class = "setosa", strength = 3, kind = "interval", sampler = "heun", steps = 20,
                    schedule = "vp", key = 2)
    for (field in names(changes)) {
      set(session, utils::modifyList(own$settings, changes[field]))
      expect_false(identical(result()$code, base$code), label = field)
      expect_false(identical(result()$numbers$estimate[1], base$numbers$estimate[1]), label = field)
      expect_identical(output$code, result()$code)
    }
    for (field in c("first", "second")) {
      set(session, utils::modifyList(own$settings, stats::setNames(list("3"), field)))
      expect_identical(result()$numbers, base$numbers)
      expect_false(identical(result()$lines, base$lines), label = field)
    }
    other <- list(c("interval", "low", .5), c("interval", "high", 1), c("power", "power", 1),
                  c("negative", "negative", "setosa"), c("zero", "observed", 6),
                  c("zero", "method", "dps"))
    for (change in other) {
      s <- utils::modifyList(own$settings, list(kind = change[1]))
      set(session, s)
      before <- result()$numbers$estimate
      s[[change[2]]] <- if (is.na(suppressWarnings(as.numeric(change[3])))) change[3] else
        as.numeric(change[3])
      set(session, s)
      expect_false(identical(result()$numbers$estimate, before), label = change[2])
    }
    # inputs of another mixture wait for the browser; impossible ones give a message
    set(session, utils::modifyList(own$settings, list(strength = NA_real_)))
    expect_match(output$messages$html, "`strength` must be one finite number", fixed = TRUE)
    coarse <- list(schedule = "vp", sampler = "euler", steps = 3)
    set(session, utils::modifyList(own$settings, coarse))
    expect_match(output$messages$html, "Warning", fixed = TRUE)
    expect_match(output$theorems$html, "Not proved", fixed = TRUE)
  })
})

test_that("explorer() is an app, and refuses what it cannot take", {
  skip_if_not_installed("shiny")
  skip_if_not_installed("bslib")
  expect_s3_class(explorer(), "shiny.appobj")
  expect_s3_class(explorer(Species ~ ., data = iris), "shiny.appobj")
  expect_error(explorer("a"), class = "mixguide_error")
  expect_error(explorer(named_mixture("A2"), n = NA), class = "mixguide_error")
  page <- as.character(explorer_page(preset_source("iris")))
  expect_false(grepl("https?://", page))
  expect_error(need_packages("explorer()", "no.such.package"), "install.packages",
               class = "mixguide_error_package")
})

test_that("code of a mixture is how it was given", {
  own <- explorer_source(Species ~ ., data = iris,
                         code = quote(list(Species ~ ., data = iris)))
  expect_identical(own$make, quote(as_gaussmix(Species ~ ., data = iris)))
  own <- explorer_source(named_mixture("A2"), code = quote(list(named_mixture("A2"))))
  expect_identical(own$make, quote(named_mixture("A2")))
})

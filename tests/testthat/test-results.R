# Every class of results prints, and can be read back in a new session.

results <- suppressWarnings(all_results())
printed <- function(results) {
  lapply(results, function(x) suppressWarnings(utils::capture.output(print(x))))
}

test_that("every class that prints is among the results", {
  methods <- ls(asNamespace("mixguide"), pattern = "^(print|print_body|in_words|headline)[.]")
  classes <- setdiff(sub("^[a-z_]+[.]", "", methods), "default")
  tables <- c("guidance_report", "mixguide_explorer")
  have <- unique(unlist(lapply(results, class)))
  expect_identical(setdiff(classes, c(have, tables, "mixguide_plan")), character())
})

test_that("prints fit the screen, and no exact value has an error of 0", {
  for (width in c(60, 120, 80)) {
    withr::local_options(width = width)
    said <- printed(results)
    wide <- vapply(said, function(lines) max(nchar(lines)), 0)
    expect_identical(names(wide)[wide > width], character())
  }
  zero <- vapply(said, function(lines) any(grepl("\\(0(\\.0*)?\\)", lines)), NA)
  expect_identical(names(zero)[zero], character())
  # rows that are rounding
  tiny <- vapply(said, function(lines) any(grepl("[0-9]e-(1[6-9]|[2-9][0-9])", lines)), NA)
  expect_identical(names(tiny)[tiny], character())
})

test_that("results read in a new session print the same", {
  skip_on_cran()
  files <- withr::local_tempfile(pattern = c("results", "said", "script"))
  # R prints correctors and users' functions itself
  saveRDS(results, files[1])
  script <- c(sprintf(".libPaths(%s)", paste(deparse(.libPaths()), collapse = "")),
              "suppressPackageStartupMessages(library(mixguide))", "options(width = 80)",
              sprintf("results <- readRDS(%s)", deparse(files[1])),
              paste("said <- lapply(results, function(x)",
                    "suppressWarnings(utils::capture.output(print(x))))"),
              sprintf("saveRDS(said, %s)", deparse(files[2])))
  writeLines(script, files[3])
  status <- system2(file.path(R.home("bin"), "Rscript"), c("--vanilla", shQuote(files[3])),
                    stdout = FALSE, stderr = FALSE)
  skip_if(status != 0 && !nzchar(system.file("help", package = "mixguide")),
          "the package is not installed")
  expect_identical(status, 0L)
  withr::local_options(width = 80)
  expect_identical(readRDS(files[2]), printed(results))
})

test_that("every result has its tables, with the same first columns", {
  # the parts of an experiment have no table
  parts <- c("mixguide_diffusion", "mixguide_guidance", "mixguide_sampler", "mixguide_corrector",
             "mixguide_schedule", "mixguide_observation", "score_error", "zero_shot_method",
             "mixguide_op", "guidance_rule", "strength_profile", "score_model")
  has_class <- function(x, classes) class(x)[1] %in% classes
  for (x in Filter(function(x) has_class(x, parts), results)) {
    expect_identical(summary(x), x)
    for (f in list(tidy, glance, as.data.frame)) expect_error(f(x), class = "mixguide_error")
  }
  with_table <- Filter(function(x) {
    !has_class(x, parts) && !startsWith(class(x)[1], "summary.")
  }, results)
  for (name in names(with_table)) {
    x <- with_table[[name]]
    of_points <- inherits(x, c("gaussmix", "guided_sample", "conditional_sample"))
    short <- summary(x)
    if (!of_points) expect_s3_class(short, "data.frame")
    long <- tidy(x)
    row <- glance(x)
    for (table in list(long, row, as.data.frame(x))) {
      expect_identical(class(table), "data.frame", info = name)
    }
    expect_identical(nrow(row), 1L, info = name)
    if (inherits(x, "mixguide_table")) {
      expect_identical(names(long)[1], "quantity", info = name)
      expect_true(all(c("estimate", "se", "method", "note") %in% names(long)), info = name)
    } else if (!inherits(x, "gaussmix")) {
      expect_identical(names(long)[1:3], c("term", "estimate", "std.error"), info = name)
      expect_type(long$estimate, "double")
      expect_type(long$std.error, "double")
      expect_false(any(long$std.error < 0, na.rm = TRUE), info = name)
    }
    if (!inherits(x, c("gaussmix", "guided_sample"))) {
      expect_identical(row$result, class_word(x), info = name)
      if (!of_points) {
        expect_identical(row$rows, nrow(if (is.data.frame(x)) x else short), info = name)
      }
    }
  }
  expect_named(glance(results$limit_of_strength), c(names(glance(results$best)), "estimate",
                                                   "std.error"))
  # a number without draws has no error, and one of draws an unknown one if it has no column
  paths <- tidy(results$paths)
  expect_true(all(is.na(paths$std.error[paths$term == "min_gain"])))
  expect_equal(paths$std.error[paths$term == "gain"], results$paths$table$gain_se)
  expect_equal(tidy(results$moments)[1:3], data.frame(term = "x", estimate = .5, std.error = 0))
  expect_equal(tidy(results$capped)$estimate, as.data.frame(results$capped)$strength)
})

test_that("tables of results are tables for knitr", {
  skip_if_not_installed("knitr")
  tables <- Filter(is.data.frame, results)
  expect_gt(length(tables), 15)
  for (x in tables) {
    lines <- as.character(knitr::kable(x, format = "pipe"))
    expect_length(lines, nrow(x) + 2)
    for (name in names(x)) expect_match(lines[1], name, fixed = TRUE)
  }
})

test_that("results of no or one particle print what is known, and no spread", {
  m <- as_gaussmix(Species ~ ., iris)
  M2 <- named_mixture("M2")
  y <- observation(.8, H = cbind(1, .5), noise = .3^2)
  for (n in 0:1) {
    run <- suppressWarnings(guided_sample(m, n, guidance("setosa", 2), sampler_rk4(5), key = 1:2))
    expect_identical(summary(run)$variables$sd, rep(NA_real_, 4))
    drawn <- suppressWarnings(conditional_sample(M2, n, y, zero_shot_tds(8), key = 1:2,
                                                 schedule = schedule_etc(20)))
    imputed <- impute(m, replace(iris[seq_len(n), 1:4], 2, rep(NA_real_, n)), m = 1, key = 1:2)
    for (x in list(run, summary(run), drawn, summary(drawn), imputed)) {
      said <- suppressWarnings(capture.output(print(x)))
      expect_true(nzchar(said[1]))
      expect_false(any(grepl("NaN", said)))
    }
  }
  none <- new_table(data.frame(t = double(), value = double()), "mixguide_estimates", "nothing")
  expect_output(print(none), "no rows")
})

# The table of statements names what exists: functions, vignettes and tests.

statements <- function() {
  installed <- system.file("theorems.csv", package = "mixguide")
  sources <- test_path("..", "..", "inst", "theorems.csv")
  utils::read.csv(if (nzchar(installed)) installed else sources, check.names = FALSE)
}

test_that("each statement names an exported function, a test file and a status", {
  rows <- statements()
  expect_setequal(rows$paper, c("guidance", "smoothness", "mismatch", "methods"))
  expect_gt(nrow(rows), 25)
  unknown <- setdiff(rows[["function"]], getNamespaceExports("mixguide"))
  expect_identical(unknown, character())
  expect_identical(rows$test[!file.exists(test_path(rows$test))], character())
  status <- "theorem|derived here|observed|not established|the paper"
  expect_match(rows$status, status)
  expect_false(anyDuplicated(rows$statement) > 0)
})

test_that("each statement names a vignette, which uses its function", {
  pages <- test_path("..", "..", "vignettes")
  skip_if_not(dir.exists(pages), "vignettes are in the sources only")
  rows <- statements()
  for (i in seq_len(nrow(rows))) {
    page <- file.path(pages, paste0(rows$vignette[i], ".Rmd"))
    expect_true(file.exists(page), label = page)
    uses <- any(grepl(paste0(rows[["function"]][i], "("), readLines(page), fixed = TRUE))
    expect_true(uses, label = paste(rows$vignette[i], "uses", rows[["function"]][i]))
  }
})

test_that("each box of a vignette has a name, what it assumes and a status", {
  pages <- test_path("..", "..", "vignettes")
  skip_if_not(dir.exists(pages), "vignettes are in the sources only")
  for (page in list.files(pages, "\\.Rmd$", full.names = TRUE)) {
    lines <- readLines(page)
    for (start in grep("^::: \\{\\.theorem", lines)) {
      end <- start + which(lines[-seq_len(start)] == ":::")[1]
      box <- paste(lines[start:end], collapse = "\n")
      where <- paste0(basename(page), ":", start)
      expect_match(box, "\n\\*\\*[^*]+\\.\\*\\* \\*Assumes?\\*", label = where)
      known <- "theorem|conclusion|derived here|observed|not established"
      expect_match(box, paste0("\n\n\\*Status:\\*[^*]*(", known, ")"), label = where)
    }
  }
})

test_that("the vignettes need neither a script nor the network", {
  pages <- test_path("..", "..", "vignettes")
  skip_if_not(dir.exists(pages), "vignettes are in the sources only")
  for (page in list.files(pages, "\\.Rmd$", full.names = TRUE)) {
    head <- readLines(page, 12)
    for (line in c("    mathjax: null", "    css: style.css", "    pandoc_args: --mathml")) {
      expect_true(line %in% head, label = paste(basename(page), "has", line))
    }
  }
})

test_that("pandoc makes MathML of every formula of the vignettes", {
  pages <- test_path("..", "..", "vignettes")
  skip_if_not(dir.exists(pages), "vignettes are in the sources only")
  skip_if_not(nzchar(Sys.which("pandoc")), "no pandoc")
  for (page in list.files(pages, "\\.Rmd$", full.names = TRUE)) {
    said <- system2("pandoc", c("-f", "markdown", "-t", "html", "--mathml", "-o", tempfile(),
                                shQuote(page)), stdout = TRUE, stderr = TRUE)
    expect_identical(grep("TeX", said, value = TRUE), character(), label = basename(page))
  }
})

# Runs the code that the app showed, and compares its result with the numbers that the app showed:
# Rscript tools/explorer/compare.R FOLDER
suppressPackageStartupMessages(library(mixguide))
folder <- commandArgs(TRUE)
passed <- 0
failed <- 0
for (name in c("three", "tilt", "zero", "iris", "em")) {
  env <- new.env(parent = globalenv())
  code <- parse(file.path(folder, paste0(name, ".R")), encoding = "UTF-8")
  values <- lapply(code, eval, env)
  shown <- readLines(file.path(folder, paste0(name, ".txt")), warn = FALSE, encoding = "UTF-8")
  found <- Filter(function(x) inherits(x, "mixguide_estimates"), values)
  rows <- if (name == "zero") {
    # the variable that is not observed
    formatC(c(mean(env$run$x[, 2]), unname(mean(env$exact))), digits = 2, format = "f")
  } else vapply(found, mixguide:::format_estimate, "")
  ok <- length(rows) >= 2 &&
    all(vapply(rows, function(row) any(grepl(row, shown, fixed = TRUE)), NA))
  if (ok) passed <- passed + 1 else {
    failed <- failed + 1
    message("FAILED: ", name, ": the code gives ", toString(rows), "; shown was ",
            paste(shown, collapse = " | "))
  }
}
cat(passed, "passed,", failed, "failed\n")
quit(status = failed > 0)

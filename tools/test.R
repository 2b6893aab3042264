# Runs the tests against the installed package: Rscript tools/test.R PART PARTS [filter ...]. The
# part consists of every PARTS-th file, from the PART-th on.
arguments <- commandArgs(TRUE)
part <- as.integer(arguments[1:2])
files <- sub("^test-(.*)[.]R$", "\\1", dir("tests/testthat", "^test-.*[.]R$"))
filter <- arguments[-(1:2)]
if (length(filter)) files <- grep(paste(filter, collapse = "|"), files, value = TRUE)
files <- files[(seq_along(files) - part[1]) %% part[2] == 0]
if (!length(files)) {
  cat("0 passed, 0 failed, 0 skipped\n")
  quit()
}
set.seed(1) # random numbers without a seed of their test are the same in every run
options(testthat.summary.max_reports = 50, device = function(...) grDevices::pdf(NULL))

# Tests use coarse steps and early starts on purpose. The tests of these warnings call them
# directly; elsewhere they would hide other warnings.
known <- "the last step is coarse|do not have the law of the start|at strength 0 the mean of a"
Reporter <- R6::R6Class("Reporter", inherit = testthat::SummaryReporter, public = list(
  add_result = function(context, test, result) {
    if (inherits(result, "expectation_warning") && grepl(known, result$message)) return()
    super$add_result(context, test, result)
  }
))

results <- as.data.frame(testthat::test_dir(
  "tests/testthat", filter = paste0("^(", paste(files, collapse = "|"), ")$"),
  reporter = Reporter$new(show_praise = FALSE, omit_dots = TRUE),
  package = "mixguide", load_package = "installed", stop_on_failure = FALSE
))

# A file that takes more than a seventh of its part's CPU time is over budget, twice the time of the
# slowest ones. A share is fair on slow machines, and CPU time beside other programs.
seconds <- sort(tapply(results$user + results$system, results$file, sum), decreasing = TRUE)
slow <- seconds[seconds > 2]
if (length(slow)) cat("\nSlowest:", paste0(names(slow), " ", round(slow), " s", collapse = ", "))
over <- if (!length(filter)) seconds[seconds > sum(seconds) / 7]
if (length(over)) {
  cat(sprintf("\n%s takes %.0f s, more than a seventh of %.0f s: make it faster, or two files",
              names(over), over, sum(seconds)), sep = "")
}
failed <- sum(results$failed) + sum(results$error) + length(over)
passed <- sum(results$passed)
cat(sprintf("\n%d passed, %d failed, %d skipped\n", passed, failed, sum(results$skipped)))

# Runs the tests against the installed package: Rscript tools/test.R [filter ...]
filter <- commandArgs(TRUE)
options(testthat.summary.max_reports = 50, device = function(...) grDevices::pdf(NULL))

results <- as.data.frame(testthat::test_dir(
  "tests/testthat", filter = if (length(filter)) paste(filter, collapse = "|"),
  reporter = testthat::SummaryReporter$new(show_praise = FALSE, omit_dots = TRUE),
  package = "mixguide", load_package = "installed", stop_on_failure = FALSE
))

seconds <- sort(tapply(results$real, results$file, sum), decreasing = TRUE)
slow <- seconds[seconds > 2]
if (length(slow)) cat("\nSlowest:", paste0(names(slow), " ", round(slow), " s", collapse = ", "))
failed <- sum(results$failed) + sum(results$error)
passed <- sum(results$passed)
cat(sprintf("\n%d passed, %d failed, %d skipped\n", passed, failed, sum(results$skipped)))
quit(status = as.integer(failed > 0 || passed == 0))

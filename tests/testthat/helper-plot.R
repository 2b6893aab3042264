# Builds and draws a plot without a warning or a message, and returns the plot.
expect_drawn <- function(plot) {
  expect_true(inherits(plot, "ggplot"))
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  expect_silent(print(plot))
  invisible(plot)
}

# The main job on real data: Rscript tools/demo.R REPORT.html
# The work is in demo.Rmd; here it is run, rendered and summed up in the terminal.
report <- commandArgs(TRUE)[1]
if (is.na(report)) stop("usage: Rscript tools/demo.R REPORT.html")
report <- file.path(normalizePath(dirname(report)), basename(report))

options(rmarkdown.html_vignette.check_title = FALSE)  # it is no vignette
work <- new.env()
source <- tempfile(fileext = ".Rmd")  # beside which figures may lie
invisible(file.copy("tools/demo.Rmd", source))
pandoc <- rmarkdown::pandoc_available()
if (pandoc) {
  rmarkdown::render(source, output_file = report, envir = work, quiet = TRUE)
} else {
  sys.source(knitr::purl(source, tempfile(fileext = ".R"), quiet = TRUE), work)
}

options(width = 100)
shown <- work$results[work$results$strength %in% c(0, .25, 1, 8), ]
for (data in unique(shown$data)) {
  cat("\n", data, "\n", sep = "")
  print(work$as_table(shown[shown$data == data, ]), row.names = FALSE, right = FALSE)
}
cat("\nIn brackets: standard error. Entropy in nats; under DDPM an upper bound, marked <.\n",
    "paths down: share of the paths with less confidence than at strength 0. ",
    format(work$n, scientific = FALSE), " points per row,\nseed ", work$seed, ", ",
    work$seconds, " seconds. All strengths are in the report.\n", sep = "")
if (!pandoc) {
  message("pandoc was not found: there is no report")
  quit(status = 1)
}

# The main job on real data, in the terminal and as a page each: Rscript tools/demo.R REPORT.html
library(mixguide)
file <- commandArgs(TRUE)[1]
if (is.na(file)) stop("usage: Rscript tools/demo.R REPORT.html")
data(thyroid, package = "mclust")

cat("Iris: 150 flowers of three species, four measurements\n\n")
guidance_report(Species ~ ., data = iris, file = file, key = c(1, 2))

other <- sub("([.]html?)?$", "-thyroid.html", file)
cat("\nThyroid: 215 patients, five laboratory tests\n\n")
guidance_report(Diagnosis ~ ., data = thyroid, file = other, key = c(1, 2))

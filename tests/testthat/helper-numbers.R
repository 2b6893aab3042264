# The numbers of the theory, from theory/<name>.csv. tests/REFERENCES.md says for each its meaning
# and its computation. Tools source this file with chdir = TRUE.

theory_files <- normalizePath(dir("theory", "[.]csv$", full.names = TRUE))
names(theory_files) <- sub("[.]csv$", "", basename(theory_files))

# A table of the theory. With text = TRUE numbers stay as written, with all their digits.
theory <- function(name, text = FALSE) {
  table <- utils::read.csv(theory_files[[name]], colClasses = "character")
  if (text) return(table)
  table[] <- lapply(table, function(x) {
    x <- utils::type.convert(x, as.is = TRUE)
    if (is.numeric(x)) as.double(x) else x
  })
  table
}

# A list of the rows of each mixture, in the order of the file.
by_mixture <- function(table) split(table, factor(table$mixture, unique(table$mixture)))

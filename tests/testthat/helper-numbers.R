# The numbers of the theory, which are in theory/<name>.csv. tests/REFERENCES.md says what each is
# and how it was computed. Tools source this file with chdir = TRUE.

theory_files <- normalizePath(dir("theory", "[.]csv$", full.names = TRUE))
names(theory_files) <- sub("[.]csv$", "", basename(theory_files))

# A table of the theory; with text = TRUE as it is written, for its digits.
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

library(testthat)
library(mixguide)

# All tests take ten minutes, which tools/test spends. R CMD check runs those of what depends on
# the machine: compilers, instruction sets, LAPACK, threads, files, versions of packages.
machine <- c("as_gaussmix", "engine", "eval", "folder", "gaussmix", "normals",
             "observation", "spectrum", "stream", "tail", "tally", "terms", "threads", "tidy")
whole <- identical(Sys.getenv("NOT_CRAN"), "true")
test_check("mixguide", filter = if (!whole) paste0("^(", paste(machine, collapse = "|"), ")$"))

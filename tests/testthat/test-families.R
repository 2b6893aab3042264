# ?mixguide lists the exports of the package, each function in one family.

# The help page as installed, or from the sources if the package has no help pages.
mixguide_page <- function() {
  if (nzchar(system.file("help", package = "mixguide"))) {
    return(tools::Rd_db("mixguide")[["mixguide-package.Rd"]])
  }
  tools::parse_Rd(test_path("..", "..", "man", "mixguide-package.Rd"))
}

tag_of <- function(x) if (is.null(attr(x, "Rd_tag"))) "" else attr(x, "Rd_tag")

# The topics to which a piece of Rd links.
linked_topics <- function(rd) {
  if (tag_of(rd) == "\\link") {
    option <- attr(rd, "Rd_option")
    return(sub("^=", "", if (is.null(option)) as.character(rd[[1]]) else as.character(option)))
  }
  if (is.list(rd)) unlist(lapply(rd, linked_topics))
}

part_of_page <- function(page, is) Filter(is, page)[[1]]

# The section with a given title.
page_section <- function(page, title) {
  part_of_page(page, function(x) {
    tag_of(x) == "\\section" && identical(as.character(x[[1]][[1]]), title)
  })[[2]]
}

# The topics of each item of the list of families, named by its bold words.
families <- function(page) {
  list <- part_of_page(page_section(page, "Functions"), function(x) tag_of(x) == "\\itemize")
  starts <- vapply(list, tag_of, "") == "\\item"
  items <- unname(split(list, cumsum(starts)))
  items <- items[vapply(items, function(item) tag_of(item[[1]]) == "\\item", NA)]
  bold <- function(item) as.character(Filter(function(x) tag_of(x) == "\\strong", item)[[1]][[1]])
  stats::setNames(lapply(items, linked_topics), vapply(items, bold, ""))
}

test_that("every export is in one family of ?mixguide", {
  exports <- getNamespaceExports("mixguide")
  ours <- Filter(function(name) {
    identical(environment(getExportedValue("mixguide", name)), asNamespace("mixguide"))
  }, exports)
  expect_setequal(setdiff(exports, ours), c("augment", "autoplot", "glance", "tidy"))
  listed <- families(mixguide_page())
  expect_length(listed, 8)
  expect_equal(sort(unlist(listed, use.names = FALSE)), sort(ours))
})

test_that("the reference page of the site has the same families", {
  site <- test_path("..", "..", "_pkgdown.yml")
  skip_if_not(file.exists(site), "the site is in the sources only")
  reference <- sub(".*?\nreference:\n", "", paste(readLines(site), collapse = "\n"))
  sections <- strsplit(reference, "- title: ")[[1]][-1]
  contents <- sub("\\].*", "", sub(".*?contents: \\[", "", sections))
  shown <- stats::setNames(strsplit(contents, ",\\s*"), sub("\n.*", "", sections))
  expect_identical(shown[1:8], families(mixguide_page()))
})

test_that("?mixguide begins with five questions and their answers, on less than a screen", {
  text <- utils::capture.output(tools::Rd2txt(
    mixguide_page(), fragment = FALSE, options = list(width = 100, underline_titles = FALSE)
  ))
  functions <- grep("^Functions:", text)
  asked <- grep("^ +[1-5]\\. .*[?]", text)
  expect_length(asked, 5)
  expect_true(all(asked < functions))
  expect_lt(functions, 30)
  expect_lt(length(text) - functions, 60)
})

test_that("the answers of ?mixguide are calls that work", {
  code <- function(rd) {
    if (tag_of(rd) == "\\code") paste(unlist(rd), collapse = "") else if (is.list(rd)) {
      unlist(lapply(rd, code))
    }
  }
  description <- part_of_page(mixguide_page(), function(x) tag_of(x) == "\\description")
  calls <- code(description)
  calls <- calls[grepl("(fit", calls, fixed = TRUE) & !grepl("report|explorer", calls)]
  expect_length(calls, 6)
  env <- list(fit = as_gaussmix(Species ~ ., iris), data = replace(iris[1:9, 1:4], 2, NA))
  small <- list(guidance_sweep = list(n = 64, strength = 0:1), plan_sampler = list(n = 100),
                strength_limit = list(n = 64, range = c(1, 4)), guided_sample = list(n = 64),
                tilted_sample = list(n = 64))
  for (text in calls) {
    call <- str2lang(text)
    call <- as.call(c(as.list(call), small[[as.character(call[[1]])]]))
    expect_error(suppressWarnings(suppressMessages(eval(call, env))), NA, info = text)
  }
})

# Our exports that have the name of an export of `package`, but are another object.
redefined <- function(package) {
  both <- intersect(getNamespaceExports("mixguide"), getNamespaceExports(package))
  Filter(function(name) {
    !identical(getExportedValue("mixguide", name), getExportedValue(package, name))
  }, both)
}

test_that("attaching the package masks nothing that R attaches itself", {
  for (package in c("base", "methods", "datasets", "utils", "grDevices", "graphics", "stats")) {
    expect_identical(redefined(package), character(), info = package)
  }
})

test_that("a name of a package that we import or suggest is re-exported, not redefined", {
  fields <- utils::packageDescription("mixguide")[c("Imports", "Suggests")]
  packages <- sub("\\s*[(].*", "", trimws(unlist(strsplit(unlist(fields), ","))))
  expect_true(all(c("ggplot2", "generics", "mclust", "dplyr") %in% packages))
  # decided in ARCHITECTURE: theirs are about draws of a discrete variable, or points
  decided <- list(posterior = "entropy", FNN = "entropy")
  for (package in Filter(function(name) requireNamespace(name, quietly = TRUE), packages)) {
    expect_identical(setdiff(redefined(package), decided[[package]]), character(), info = package)
  }
})

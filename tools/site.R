# Builds the site by pkgdown and checks its pages: Rscript tools/site.R SOURCES SITE, where SOURCES
# is an unpacked source package with built vignettes, _pkgdown.yml and pkgdown/.
arguments <- commandArgs(TRUE)
sources <- arguments[1]
site <- arguments[2]
all_of <- function(x, path) xml2::xml_find_all(x, path)

# ---- Built

# pkgdown would run every vignette again. Instead it gets the built page as the source: text that
# knitr and pandoc pass through unchanged.
article_of <- function(page) {
  x <- xml2::read_html(page)
  body <- xml2::xml_find_first(x, "//body")
  xml2::xml_remove(all_of(body, "./h1[contains(@class, 'title')] | ./div[@id='TOC'] | .//script"))
  # pandoc's line numbers are anchors that no reader sees
  xml2::xml_remove(all_of(body, ".//pre//a[@aria-hidden]"))
  fence <- strrep("`", 20)
  writeLines(c("---", paste0("title: ", dQuote(xml2::xml_text(all_of(x, "//title")), FALSE)), "---",
               "", paste0(fence, "{=html}"), as.character(xml2::xml_children(body)), fence),
             file.path(sources, "vignettes", sub("html$", "Rmd", basename(page))))
}
pages <- dir(file.path(sources, "inst", "doc"), "[.]html$", full.names = TRUE)
sheet <- grepl("cheatsheet", pages) # the cheat sheet is a separate page with its own style
unlink(file.path(sources, "vignettes", "*.Rmd"))
for (page in pages[!sheet]) article_of(page)

# Formulas of help pages as MathML, which needs no script.
formula <- function(mark) {
  force(mark)
  function(x, ...) {
    tex <- paste0(mark, pkgdown:::flatten_text(x[[1]]), mark)
    tex <- gsub("&lt;", "<", gsub("&gt;", ">", gsub("&amp;", "&", tex)))
    html <- system2("pandoc", c("-f", "markdown", "-t", "html", "--mathml"), input = tex,
                    stdout = TRUE)
    html <- paste(html, collapse = " ")
    if (mark == "$") sub("</p>$", "", sub("^<p>", "", html)) else html
  }
}
registerS3method("as_html", "tag_eqn", formula("$"), asNamespace("pkgdown"))
registerS3method("as_html", "tag_deqn", formula("$$"), asNamespace("pkgdown"))

options(pkgdown.internet = FALSE)
pkg <- pkgdown::as_pkgdown(sources, override = list(destination = site))
pkgdown::init_site(pkg)
file.copy(system.file("BS5", "assets", "link.svg", package = "pkgdown"), site)
pkgdown::build_home(pkg, preview = FALSE)
pkgdown::build_reference(pkg, examples = FALSE, preview = FALSE)
pkgdown::build_articles(pkg, preview = FALSE)
pkgdown::build_news(pkg, preview = FALSE)
file.copy(pages[sheet], file.path(site, "articles"))

# The table of contents of a page, which pkgdown leaves to a script.
add_contents <- function(page) {
  x <- xml2::read_html(page)
  place <- xml2::xml_find_first(x, "//nav[@id='toc']")
  heads <- all_of(x, "//main//*[(self::h2 or self::h3) and not(contains(@class, 'subtitle'))]")
  ids <- vapply(heads, function(head) {
    xml2::xml_text(xml2::xml_find_first(head, "ancestor-or-self::*[@id][1]/@id"))
  }, "")
  if (is.na(place) || !any(keep <- !is.na(ids) & ids != "main")) return()
  list <- xml2::xml_add_child(place, "ul", class = "nav flex-column")
  for (i in which(keep)) {
    item <- xml2::xml_add_child(list, "li")
    depth <- if (xml2::xml_name(heads[[i]]) == "h3") " ms-3" else ""
    xml2::xml_add_child(item, "a", trimws(xml2::xml_text(heads[[i]])), href = paste0("#", ids[i]),
                        class = paste0("nav-link", depth))
  }
  xml2::write_html(x, page, format = FALSE)
}
pages <- dir(site, "[.]html$", recursive = TRUE, full.names = TRUE)
for (page in pages) add_contents(page)

# ---- Checked

passed <- 0
failed <- 0
check <- function(what, faults) {
  if (!length(faults)) passed <<- passed + 1 else {
    failed <<- failed + 1
    cat("FAILED: ", what, ": ", toString(utils::head(unique(faults), 10)), "\n", sep = "")
  }
}
parsed <- lapply(stats::setNames(pages, normalizePath(pages)), xml2::read_html)
ids <- lapply(parsed, function(x) xml2::xml_text(all_of(x, "//@id | //a/@name")))

# dead: links of a page without a target in the site
dead <- function(page) {
  urls <- unique(xml2::xml_text(all_of(parsed[[page]], "//@href | //@src")))
  urls <- urls[!grepl("^(https?|mailto|data):", urls)]
  path <- utils::URLdecode(sub("[#?].*", "", urls))
  anchor <- utils::URLdecode(ifelse(grepl("#", urls), sub(".*?#", "", urls), ""))
  to <- ifelse(nzchar(path), file.path(dirname(page), path), page)
  to <- ifelse(dir.exists(to), file.path(to, "index.html"), to)
  to <- normalizePath(to, mustWork = FALSE)
  inside <- startsWith(to, normalizePath(site))
  there <- mapply(function(to, anchor) {
    file.exists(to) && (anchor == "" || is.null(ids[[to]]) || anchor %in% ids[[to]])
  }, to, anchor)
  urls[!(inside & there)]
}
# foreign: files that a page requests from other hosts when it is shown
foreign <- function(page) {
  found <- all_of(parsed[[page]], "//script/@src | //link/@href | //img/@src")
  grep("^(https?:|//)", xml2::xml_text(found), value = TRUE)
}
for (page in names(parsed)) {
  name <- substring(page, nchar(normalizePath(site)) + 2)
  check(paste(name, "has dead links"), dead(page))
  check(paste(name, "needs the network"), foreign(page))
}
namespace <- parseNamespaceFile(basename(sources), dirname(sources))
index <- parsed[[normalizePath(file.path(site, "reference", "index.html"))]]
shown <- sub("\\(\\)$", "", xml2::xml_text(all_of(index, "//dt//code")))
others <- c("autoplot", "tidy", "glance", "augment") # of other packages
check("not on the reference page", setdiff(namespace$exports, c(shown, others)))
cat(passed, " passed, ", failed, " failed\n", sep = "")
quit(status = failed > 0)

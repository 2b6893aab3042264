# Numbers, counts and tables as words.

count_of <- function(n, one, many = paste0(one, "s")) paste(n, if (n == 1) one else many)

in_dimensions <- function(what, d) paste(what, "in", count_of(d, "dimension"))

number <- function(n) format(n, big.mark = ",", scientific = FALSE)

aim_words <- function(class) {
  n <- length(class)
  if (n > 3) class <- c(class[1:2], paste(n - 2, "others"))
  if (n) paste(class, collapse = " or ")
}

# Text in lines that fit the screen. A label before a colon stays with its line, and equations are
# not broken.
fit_lines <- function(x, indent = 2, exdent = 4) {
  width <- min(96, getOption("width") + 1)
  glue <- "\u00a0"
  lines <- unlist(lapply(gsub(" ([=|]) ", paste0(glue, "\\1", glue), x), function(line) {
    label <- regmatches(line, regexpr("^[^:]{1,30}: +|^ +", line))
    rest <- if (length(label)) substring(line, nchar(label) + 1) else line
    strwrap(rest, width, initial = paste0(strrep(" ", indent), label), prefix = strrep(" ", exdent))
  }))
  gsub(glue, " ", lines, fixed = TRUE)
}

say <- function(x, indent = 2, exdent = 4) writeLines(fit_lines(x, indent, exdent))

say_line <- function(...) say(paste0(...))

# At most `max` of the numbers from 1 to n, evenly spread.
evenly <- function(n, max) unique(round(seq(1, n, length.out = min(max, n))))

every_kth <- function(rows, max) rows[seq_along(rows) %% max(1, ceiling(length(rows) / max)) == 0]

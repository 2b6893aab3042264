# Numbers, counts and tables as words.

count_of <- function(n, one, many = paste0(one, "s")) paste(n, if (n == 1) one else many)

number <- function(n) format(n, big.mark = ",", scientific = FALSE)

aim_words <- function(class) {
  n <- length(class)
  if (n > 3) class <- c(class[1:2], paste(n - 2, "others"))
  if (n) paste(class, collapse = " or ")
}

# At most `max` rows, evenly spread.
every_row <- function(table, max) {
  table[unique(round(seq(1, nrow(table), length.out = min(max, nrow(table))))), ]
}

every_kth <- function(rows, max) rows[seq_along(rows) %% max(1, ceiling(length(rows) / max)) == 0]

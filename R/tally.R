# Sums over particles that can be merged, chunk by chunk, in the order of the chunks, so that the
# last bit does not depend on who computes which sum.

# Moments of the columns of x about `centre`, with the squares beside them if wanted, in blocks of
# columns that are multiplied with each other: `mean`, p x blocks, and `cross`, p^2 x blocks, the
# sums of squares and products about the mean.
moments_of <- function(x, centre = double(ncol(x)), block = 1, squares = FALSE) {
  moments <- .Call(ffi_moments, x, centre, as.integer(block), squares)
  if (block == 1 && !squares) colnames(moments$mean) <- colnames(x)
  # doubles: their sum passes 2^31
  c(list(n = as.double(nrow(x))), moments)
}

# As in Chan, Golub and LeVeque (1983); an infinite mean stays infinite.
merge_moments <- function(a, b) {
  if (is.null(a) || a$n == 0) return(b)
  if (b$n == 0) return(a)
  n <- a$n + b$n
  share <- b$n / n
  shift <- b$mean - a$mean
  p <- nrow(shift)
  products <- shift[rep(seq_len(p), p), , drop = FALSE] *
    shift[rep(seq_len(p), each = p), , drop = FALSE]
  list(n = n, mean = a$mean * (1 - share) + b$mean * share,
       cross = a$cross + b$cross + a$n * share * products)
}

# moments_of() the rows of each replicate, by its number; independent particles are one replicate.
replicate_moments <- function(x, replicate, ...) {
  n <- nrow(x)
  numbers <- if (n) replicate[1]:replicate[n] else 1
  # the end of each: numbers never fall
  last <- findInterval(numbers, replicate)
  first <- c(0, last[-length(last)]) + 1
  moments <- lapply(seq_along(numbers), function(i) {
    if (length(numbers) > 1) x <- x[first[i] - 1 + seq_len(last[i] - first[i] + 1), , drop = FALSE]
    moments_of(x, ...)
  })
  stats::setNames(moments, numbers)
}

merge_replicates <- function(a, b) {
  for (number in names(b)) a[[number]] <- merge_moments(a[[number]], b[[number]])
  a
}

all_moments <- function(replicates) Reduce(merge_moments, replicates)

# The standard error of a mean of replicates, from their sizes and their means (a column each).
nets_se <- function(n, means) {
  off <- (means - drop(means %*% n) / sum(n)) * rep(n / sum(n), each = nrow(means))
  sqrt(rowSums(off^2)) * few_factor(length(n))
}

replicate_sizes <- function(replicates) vapply(replicates, `[[`, 0, "n")

# Means with their standard errors, where each column is a block. `nets`: are the replicates nets?
moment_estimates <- function(replicates, nets) {
  all <- all_moments(replicates)
  estimate <- all$mean[1, ]
  se <- if (nets) {
    means <- vapply(replicates, function(one) one$mean[1, ], estimate)
    nets_se(replicate_sizes(replicates), matrix(means, length(estimate)))
  } else sqrt(all$cross[1, ] / (all$n - 1) / all$n)
  list(estimate = estimate, se = stats::setNames(se, names(estimate)))
}

# Counts in bins of equal width from `low` on, and the extremes, for each column of x.
histogram_of <- function(x, low, width, bins) .Call(ffi_histogram, x, low, width, bins)

merge_histograms <- function(a, b) {
  if (is.null(a)) return(b)
  list(count = a$count + b$count,
       extremes = rbind(pmin(a$extremes[1, ], b$extremes[1, ]),
                        pmax(a$extremes[2, ], b$extremes[2, ])))
}

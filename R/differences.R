# Jacobian determinants by differences, for maps without a derivative in the core: those with a
# power, a rule or a user's model.

# f takes and returns n x d matrices and maps their rows one by one. For each row of x: `log`, log
# |det| of its derivative; `negative`, is the determinant below 0; `off`, the change of the
# logarithm between differences of order 6 and 4. If the change is large, as next to a kink, the
# steps of the differences are shortened.
det_by_differences <- function(f, x, h) {
  result <- list(log = rep(NA_real_, nrow(x)), negative = logical(nrow(x)), off = rep(Inf, nrow(x)))
  rows <- seq_len(nrow(x))
  for (step in h * c(1, .1, .01)) {
    points <- x[rows, , drop = FALSE]
    pairs <- central_pairs(f, points, step)
    slopes <- function(by) {
      columns <- lapply(pairs, function(d) Reduce(`+`, Map(`*`, d, by)) / step)
      array(unlist(columns), c(length(rows), ncol(x), ncol(x)))
    }
    fine <- det_each(slopes(c(45, -9, 1) / 60))
    rough <- det_each(slopes(c(8, -1, 0) / 12))
    off <- abs(log(abs(fine)) - log(abs(rough)))
    off[is.na(off)] <- Inf
    better <- off < result$off[rows] | is.na(result$log[rows])
    result$log[rows[better]] <- log(abs(fine))[better]
    result$negative[rows[better]] <- (fine < 0)[better]
    result$off[rows[better]] <- off[better]
    rows <- rows[off > 1e-7]
    if (!length(rows)) break
  }
  result
}

# f(x + k step e_j) - f(x - k step e_j), k = 1, 2, 3, for each coordinate j; up to a million points
# at a time, since each call of f takes as long as thousands.
central_pairs <- function(f, x, step) {
  n <- nrow(x)
  d <- ncol(x)
  by <- c(1:3, -(1:3)) * step
  batch <- ceiling(seq_len(d) / max(1, 1e6 %/% (6 * n)))
  unlist(lapply(split(seq_len(d), batch), function(coordinates) {
    moved <- lapply(coordinates, function(j) {
      all <- x[rep(seq_len(n), 6), , drop = FALSE]
      all[, j] <- all[, j] + rep(by, each = n)
      all
    })
    out <- f(do.call(rbind, moved))
    lapply(seq_along(coordinates), function(i) {
      lapply(1:3, function(k) {
        place <- 6 * (i - 1) + k - 1
        out[place * n + seq_len(n), , drop = FALSE] -
          out[(place + 3) * n + seq_len(n), , drop = FALSE]
      })
    })
  }), recursive = FALSE, use.names = FALSE)
}

# The determinants of A[i, , ].
det_each <- function(A) {
  d <- dim(A)[2]
  if (d == 1) return(A[, 1, 1])
  if (d == 2) return(A[, 1, 1] * A[, 2, 2] - A[, 1, 2] * A[, 2, 1])
  vapply(seq_len(dim(A)[1]), function(i) if (all_finite(A[i, , ])) det(A[i, , ]) else NA_real_, 0)
}

# Derived random streams differ from each other.

test_that("the derived key is that of the formula, in slow arithmetic", {
  # 64-bit words as four 16-bit limbs, the lowest first
  limbs <- function(x) vapply(0:3, function(i) floor(x / 2^(16 * i)) %% 2^16, 0)
  carry <- function(x) {
    for (i in 1:4) {
      if (i < 4) x[i + 1] <- x[i + 1] + floor(x[i] / 2^16)
      x[i] <- x[i] %% 2^16
    }
    x[1:4]
  }
  times <- function(x, y) {
    z <- double(4)
    for (i in 1:4) for (j in seq_len(5 - i)) {
      product <- x[i] * y[j]
      z[i + j - 1] <- z[i + j - 1] + product %% 2^16
      if (i + j <= 4) z[i + j] <- z[i + j] + floor(product / 2^16)
    }
    carry(z)
  }
  xor <- function(x, y) as.double(bitwXor(x, y))
  shift <- function(x, by) {
    bits <- as.vector(vapply(x, function(limb) as.double(bitwAnd(limb, 2^(0:15)) > 0), double(16)))
    colSums(matrix(c(bits[-seq_len(by)], double(by)), 16) * 2^(0:15))
  }
  golden <- c(0x7c15, 0x7f4a, 0x79b9, 0x9e37)
  splitmix <- function(z) {
    x <- carry(z + golden)
    x <- times(xor(x, shift(x, 30)), c(0xe5b9, 0x1ce4, 0x476d, 0xbf58))
    x <- times(xor(x, shift(x, 27)), c(0x11eb, 0x1331, 0x49bb, 0x94d0))
    xor(x, shift(x, 31))
  }
  for (key in list(c(0, 0), c(1, 2), c(4294967295, 4294967295), c(123456789, 987654321))) {
    for (i in c(0, 1, 4096, 2^40 + 3)) {
      x <- splitmix(c(limbs(key[2])[1:2], limbs(key[1])[1:2]))
      x <- splitmix(xor(x, c(limbs(i)[1:3], STREAMS[["noise"]])))
      expect_identical(stream(key, "noise", i), c(x[3] + 2^16 * x[4], x[1] + 2^16 * x[2]))
    }
  }
})

test_that("no two purposes, numbers or neighbouring keys share a stream, nor the particles' own", {
  expect_false(anyDuplicated(STREAMS) > 0)
  keys <- list(c(1, 0), c(0, 1), c(1, 1), c(2^31 + 1, 0))
  made <- lapply(keys, function(key) {
    c(list(key), unlist(lapply(names(STREAMS), function(purpose) {
      lapply(0:600, stream, key = key, purpose = purpose)
    }), recursive = FALSE))
  })
  made <- unlist(made, recursive = FALSE)
  words <- vapply(made, function(key) sprintf("%.0f %.0f", key[1], key[2]), "")
  expect_identical(anyDuplicated(words), 0L)
})

test_that("directions of a comparison are not the starts of what is compared", {
  key <- c(3, 4)
  d <- 3
  starts <- keyed_draws(gaussmix(1, t(double(d)), 1), 50, key)
  u <- random_directions(d, 50, key)
  expect_lt(max(abs(rowSums(starts / sqrt(rowSums(starts^2)) * t(u)))), 1 - 1e-6)
})

test_that("noises of a long grid do not come round again", {
  # once the streams of 4096 and 8192 were those of 0
  m <- gaussmix(c(.5, .5), rbind(double(4), 1), 1)
  points <- field_points(m, FALSE, 5, 20, c(1, 2))
  start <- environment(points$at)$x
  seen <- lapply(c(1, 2, 4096, 4097, 8192), function(i) points$at(NULL, 0, 1, i)$x)
  expect_identical(anyDuplicated(lapply(seen, as.vector)), 0L)
  expect_false(any(vapply(seen, function(z) isTRUE(all.equal(z[, 1], start[, 1])), NA)))
})

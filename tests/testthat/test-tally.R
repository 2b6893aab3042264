# Oracles: colMeans(), cov(), findInterval() and tabulate() on all the numbers at once.

test_that("moments are those of the columns and of their squares", {
  set.seed(1)
  for (n in c(1, 7, 256, 1000)) {
    x <- matrix(rnorm(3 * n, mean = 1:3), n, 3, byrow = TRUE)
    centre <- c(1, 2, 4)
    whole <- moments_of(x, centre, block = 3, squares = TRUE)
    v <- cbind(sweep(x, 2, centre), sweep(x, 2, centre)^2)
    expect_equal(drop(whole$mean), colMeans(v), tolerance = 1e-13)
    about <- sweep(v, 2, colMeans(v))
    expect_equal(matrix(whole$cross, 6), crossprod(about), tolerance = 1e-12)
    single <- moments_of(x, centre, block = 1, squares = TRUE)
    expect_identical(dim(single$cross), c(4L, 3L))
    expect_equal(single$cross[, 2], c(crossprod(about[, c(2, 5), drop = FALSE])), tolerance = 1e-12)
    plain <- moments_of(cbind(a = x[, 1], b = x[, 2]))
    expect_identical(colnames(plain$mean), c("a", "b"))
    expect_equal(plain$cross[1, ], colSums(sweep(x, 2, colMeans(x))^2)[1:2], tolerance = 1e-12)
  }
})

test_that("moments keep their digits far from zero", {
  set.seed(2)
  z <- rnorm(5000)
  far <- moments_of(cbind(z + 1e8))
  expect_equal(far$cross[1, 1], sum((z - mean(z))^2), tolerance = 1e-6)
})

test_that("merged moments are those of the whole", {
  set.seed(3)
  x <- matrix(rexp(4000), ncol = 2)
  cuts <- split(seq_len(2000), rep(1:4, c(1, 99, 1500, 400)))
  parts <- lapply(cuts, function(rows) moments_of(x[rows, , drop = FALSE], c(1, 1), 2, TRUE))
  none <- moments_of(x[0, ], c(1, 1), 2, TRUE)
  merged <- Reduce(merge_moments, c(list(NULL, none), parts, list(none)))
  expect_equal(merged, moments_of(x, c(1, 1), 2, TRUE), tolerance = 1e-13)
  # an infinite mean stays infinite, and has no standard error
  infinite <- merge_moments(moments_of(cbind(a = c(1, Inf))), moments_of(cbind(a = 1:3 + 0)))
  at <- moment_estimates(list(infinite), FALSE)
  expect_identical(at$estimate, c(a = Inf))
  expect_true(is.nan(at$se))
})

test_that("sums over more particles than R's integers count are right", {
  set.seed(5)
  x <- cbind(a = rnorm(1000), b = rexp(1000))
  one <- moments_of(x)
  # as if each row occurred 2^22 times
  many <- one
  for (i in 1:22) many <- merge_moments(many, many)
  expect_identical(many$n, 1000 * 2^22)
  at <- moment_estimates(list(many), FALSE)
  expect_equal(at$estimate, colMeans(x), tolerance = 1e-12)
  population <- apply(x, 2, function(x) mean((x - mean(x))^2))
  expect_equal(at$se, sqrt(population / (1000 * 2^22)), tolerance = 1e-9)
  h <- histogram_of(x, c(-1, 0), c(.1, .1), 20L)
  for (i in 1:22) h <- merge_histograms(h, h)
  expect_identical(colSums(h$count), c(1000, 1000) * 2^22)
})

test_that("histograms count every number once", {
  set.seed(4)
  x <- cbind(rnorm(5000), runif(5000))
  h <- histogram_of(x, c(-1, 0), c(.1, .125), 20L)
  for (j in 1:2) {
    edges <- c(-1, 0)[j] + c(.1, .125)[j] * 0:20
    expect_identical(h$count[, j], tabulate(findInterval(x[, j], edges) + 1, 22) + 0)
    expect_identical(h$extremes[, j], range(x[, j]))
  }
  ends <- histogram_of(cbind(c(0, 1, 8, 9, -1, .5)), 0, 1, 8L)
  expect_identical(ends$count[, 1], c(1, 2, 1, 0, 0, 0, 0, 0, 1, 1))
  two <- merge_histograms(histogram_of(x[1:7, ], c(-1, 0), c(.1, .125), 20L),
                          histogram_of(x[-(1:7), ], c(-1, 0), c(.1, .125), 20L))
  expect_identical(two, h)
})

test_that("parts are put in their place, and nothing else is touched", {
  for (part in list(1:3 + 0, c(TRUE, NA, FALSE), matrix(1:6 + 0, 3), array(1:24 + 0, c(4, 3, 2)))) {
    room <- room_for(part, 5)
    at <- length(dim(part)) - 1
    put_part(room, part, 1, 3)
    inside <- if (at < 0) room[2:4] else if (at == 1) room[2:4, ] else room[, 2:4, ]
    expect_identical(inside, part)
    outside <- if (at < 0) room[c(1, 5)] else if (at == 1) room[c(1, 5), ] else room[, c(1, 5), ]
    expect_true(all(outside == 0))
  }
  expect_identical(dimnames(room_for(matrix(0, 1, 2, dimnames = list(NULL, c("u", "v"))), 3)),
                   list(NULL, c("u", "v")))
  expect_error(put_part(double(3), double(3), 1, 3), "internal error")
  expect_error(put_part(double(3), integer(3), 0, 3), "internal error")
})

test_that("numbers of particles may pass 2^31", {
  part <- moments_of(matrix(c(1, 3)))
  part$n <- 2^31 - 2
  part$cross[] <- part$n
  both <- merge_moments(part, merge_moments(part, moments_of(matrix(c(2, 2)))))
  expect_identical(both$n, 2^32 - 2)
  expect_equal(moment_estimates(list(both), FALSE)$estimate, 2)
  expect_equal(moment_estimates(list(both), FALSE)$se, sqrt(1 / 2^32), tolerance = 1e-6)
  expect_type(moments_of(matrix(1:2 + 0))$n, "double")
})

test_that("what does not fit is an error at the boundary, not a crash", {
  bad <- function(code) expect_error(code, "internal error")
  x <- matrix(rnorm(6), 3)
  for (block in list(0L, -1L, 3L, NA_integer_, 46341L)) {
    bad(.Call(ffi_moments, x, c(0, 0), block, FALSE))
  }
  wide <- matrix(double(32768), 1)
  bad(.Call(ffi_moments, wide, double(32768), 32768L, TRUE))
  for (bins in list(0L, -3L, NA_integer_, .Machine$integer.max)) {
    bad(.Call(ffi_histogram, x, c(0, 0), c(1, 1), bins))
  }
  for (evil in list(NaN, NA_real_, Inf, -Inf)) {
    bad(.Call(ffi_histogram, x, c(0, evil), c(1, 1), 5L))
    bad(.Call(ffi_histogram, x, c(0, 0), c(1, evil), 5L))
    bad(.Call(ffi_place, double(6), double(3), evil, 0))
    bad(.Call(ffi_place, double(6), double(3), 1, evil))
  }
  bad(.Call(ffi_histogram, x, c(0, 0), c(1, 0), 5L))
  for (columns in list(0, -1, 4, double(), "a")) {
    bad(suppressWarnings(.Call(ffi_place, double(6), double(3), columns, 0)))
  }
  bad(.Call(ffi_place, double(6), double(4), 3, 0))
  bad(.Call(ffi_place, double(6), double(3), 1, 4))
  bad(.Call(ffi_place, double(6), double(3), 1, -1))
  bad(.Call(ffi_place, list(1), list(1), 1, 0))

  job <- list(x = c(0, 1), mass = c(.5, .5), sd = 1, own = NULL, low = -3, step = .1, size = 60L)
  expect_length(.Call(ffi_spread, job), 60)
  two <- list(x = c(0, 1, 0, 1), mass = c(.5, .5), sd = 1, own = c(1, 1, 0, 0, 1, 1),
              low = c(-3, -3), step = c(.1, .1), size = c(60L, 60L))
  expect_length(.Call(ffi_spread, two), 3600)
  for (field in c("x", "mass", "sd", "low", "step")) {
    for (value in c(NaN, Inf, -Inf)) {
      broken <- job
      broken[[field]][1] <- value
      bad(.Call(ffi_spread, broken))
    }
  }
  bad(.Call(ffi_spread, replace(job, "sd", 0)))
  bad(.Call(ffi_spread, replace(job, "size", 0L)))
  bad(.Call(ffi_spread, replace(two, "size", list(c(50000L, 50000L)))))
  # wider than the table has room for
  bad(.Call(ffi_spread, replace(job, "own", list(c(1, 1.1)))))
  for (i in c(1, 5)) bad(.Call(ffi_spread, replace(two, "own", list(replace(two$own, i, 2)))))
  bad(.Call(ffi_spread, replace(two, "own", list(replace(two$own, 3, NaN)))))

  space <- list(within = diag(3)[, 1:2], from = NULL, to = NULL)
  begin <- list(n = 4L, start = NULL, start_sd = 1, key = c(1, 2), first = 0, lanes = 0L)
  expect_length(.Call(ffi_project, space, begin)$start, 8)
  for (value in c(NaN, Inf, -1)) {
    for (field in c("start_sd", "first")) {
      bad(.Call(ffi_project, space, replace(begin, field, value)))
    }
    bad(.Call(ffi_project, space, replace(begin, "key", list(c(value, 1)))))
  }
  bad(.Call(ffi_project, space, replace(begin, "lanes", 2^30)))
  bad(.Call(ffi_project, space, replace(begin, "lanes", 2L^30L)))
  for (within in list(t(diag(3)[, 1:2]), matrix(0, 0, 0), 1)) {
    bad(.Call(ffi_project, list(within = within), begin))
  }
})

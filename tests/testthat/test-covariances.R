test_that("covariances are those that the mixture was made of", {
  set.seed(1)
  for (d in c(1, 2, 4)) for (K in c(1, 3)) for (kind in 1:5) {
    S <- function() crossprod(matrix(rnorm(d * d), d)) + diag(.1, d)
    one <- S()
    cov <- switch(kind, .5, one, lapply(seq_len(K), function(k) runif(d, .5, 2)),
                  as.list(seq_len(K) + 0), lapply(seq_len(K), function(k) S()))
    means <- matrix(rnorm(K * d), K, dimnames = list(NULL, letters[seq_len(d)]))
    labels <- c("z", "y", "z")[seq_len(K)]
    x <- covariances(gaussmix(rep(1, K), means, cov, class = labels))
    expect_equal(dim(x), c(d, d, K))
    expect_identical(dimnames(x), list(letters[seq_len(d)], letters[seq_len(d)], labels))
    whole <- function(S) if (is.matrix(S)) S else diag(S, d)
    for (k in seq_len(K)) {
      expect_equal(as.vector(x[, , k]), as.vector(whole(if (is.list(cov)) cov[[k]] else cov)),
                   tolerance = 1e-12)
    }
    # and gaussmix() makes the mixture from them again
    again <- gaussmix(rep(1, K), means, x, class = labels)
    expect_equal(covariances(again), x, tolerance = 1e-12)
  }
  expect_null(dimnames(covariances(gaussmix(c(.5, .5), 1:2, 1, class = c("a", "b"))))[[1]])
  expect_mixguide_error(covariances(1), "mixture")
})

# The one particle filter. Particles in sets are moved and weighed, and each set draws the particles
# that continue, in proportion to their weights. A set is an island of tilted_sample(), or the
# particles of one draw of conditional_sample().

# All sets of a task over n particles, in chunks of whole sets. A job says how many particles a set
# has (`each`), at how many `looks` they are weighed, and below which share of its size the
# effective sample size of a set leads to resampling (`resample`). The values that `work` returns
# for its chunks are joined. Their histories become means over sets at the times of the looks.
run_filter <- function(name, work, job, n, size, times, folder = NULL, here = FALSE) {
  size <- job$each * max(1, floor(size / job$each))
  parts <- list()
  each_chunk(list(name = name, work = work, job = job), n, size, folder = folder, here = here,
             collect = function(part, first, count) parts <<- c(parts, list(part)))
  run <- do.call(Map, c(list(function(...) {
    if (is.matrix(..1)) rbind(...) else c(...)
  }), lapply(parts, function(part) part[names(part) != "history"])))
  warn_lost(sum(rowSums(!is.finite(run$x)) > 0), nrow(run$x))
  history <- Reduce(`+`, lapply(parts, `[[`, "history")) / max(1, ceiling(n / job$each))
  c(run, list(history = data.frame(t = times, ess = history[, 1], resampled = history[, 2])))
}

# The sets of the `count` particles after the first `first`. move(state, i) takes and returns a
# state: a list of `own`, the values of each particle (rows or numbers), which particles that
# continue pass on; `log_w`; and all else that the next move needs. The last state is returned with
# the weights of the last look (a column for each set), the logarithms of their means, and for each
# look the sum of the sets' effective sample sizes and the number of sets that were resampled. All
# sets but the last have one size; the column of the last set is filled up.
particle_filter <- function(state, move, job, first, count) {
  sets <- ceiling(count / job$each)
  size <- pmin(job$each, count - job$each * (seq_len(sets) - 1))
  set <- rep(seq_len(sets), size)
  state$own$ancestor <- as.integer(first + seq_len(count))
  state$log_w <- double(count)
  history <- matrix(0, job$looks, 2)
  for (i in seq_len(job$looks)) {
    state <- move(state, i)
    if (!all_finite(state$log_w)) state$log_w[!is.finite(state$log_w)] <- -Inf
    w <- matrix(c(state$log_w, rep(-Inf, job$each * sets - count)), job$each)
    top <- pmax(row_max(t(w)), -.Machine$double.xmax)
    w <- exp(w - rep(top, each = job$each))
    total <- colSums(w)
    log_mean <- top + log(total / size)
    ess <- total^2 / pmax(colSums(w^2), .Machine$double.xmin)
    # sets without weight, or with equal weights, are not resampled
    again <- i < job$looks & total > 0 & ess < job$resample * size * (1 - 1e-9)
    history[i, ] <- c(sum(ess), sum(again))
    w[, total == 0] <- 1
    if (any(again)) {
      chosen <- again[set]
      parent <- seq_len(count)
      parent[chosen] <- next_parents(w, size, job, i, first)[chosen]
      state$own <- lapply(state$own, function(x) {
        if (is.matrix(x)) x[parent, , drop = FALSE] else x[parent]
      })
      state$log_w[chosen] <- log_mean[set][chosen]
    }
  }
  c(state, list(w = w, log_mean = log_mean, history = history))
}

# The particles that continue after look i, all sets one after the other.
next_parents <- function(w, size, job, i, first) {
  if (isTRUE(job$multinomial)) {
    u <- keyed_uniforms(length(w), stream(job$key, "multinomial", i), first)
    return(multinomial(w, matrix(u, nrow(w))))
  }
  systematic(w, set_uniforms(w, job, i, first), size)
}

# A number for each set, of look i.
set_uniforms <- function(w, job, i, first) {
  keyed_uniforms(ncol(w), stream(job$key, "resampling", i), first / job$each)
}

keyed_uniforms <- function(n, key, first) {
  stats::pnorm(keyed_noise(1, n, key, first)[, 1])
}

# `size` draws from each column of w, in proportion to it and at equal distances. One number u in
# (0, 1) for each column determines them. Returns the numbers of elements of w, in order.
systematic <- function(w, u, size = nrow(w)) {
  share <- cumulated(w)
  size <- rep(rep_len(size, ncol(w)), each = nrow(w))
  upto <- as.vector(pmax(ceiling(share * size - rep(u, each = nrow(w))), 0))
  upto[share >= 1] <- size[share >= 1]
  before <- matrix(c(0, upto)[seq_along(w)], nrow(w))
  before[1, ] <- 0
  rep(seq_along(w), upto - as.vector(before))
}

# As many independent draws from each column of w as it has elements, determined by as many u.
multinomial <- function(w, u) {
  share <- cumulated(w)
  unlist(lapply(seq_len(ncol(w)), function(j) {
    (j - 1) * nrow(w) + findInterval(u[, j], share[, j], left.open = TRUE) + 1
  }))
}

# Sums down each column, as shares of the whole.
cumulated <- function(w) {
  total <- matrix(apply(w, 2, cumsum), nrow(w))
  total / rep(total[nrow(w), ], each = nrow(w))
}

#' Summarise a guided run of any size
#'
#' Runs the particles of [guided_sample()] and keeps only sums, moments and histograms: a thousand
#' million particles take no more memory than a million.
#'
#' @details The particles are those of `guided_sample()` with the same `key`, `n` and `points` (from
#' 1024 particles on nets by default, see [net]). So are the estimates, to rounding; they are the
#' same to the last bit for any number of threads or workers, see [scaling].
#'
#' **Standard errors** come from the differences between the replicates of a net. Those of
#' independent particles are `sd / sqrt(n)` for a mean and, from the fourth moments,
#' `sqrt(var((x_i - m_i)(x_j - m_j)) / n)` for a covariance.
#'
#' **Quantiles** come from histograms with `bins` bins of equal width per variable. The bins span
#' about twice the range of the first 1024 particles (fewer if n < 16384), or `range`; particles
#' outside are counted below and above. A quantile is interpolated in the bin of the particles' own
#' quantile (type 1 of [stats::quantile()]), from which it differs by at most `histogram$width`; by
#' more only between the last edge and the extreme particle, which is exact.
#'
#' @inheritParams guided_sample
#' @param n Number of particles, at least 2; not limited by memory, nor by the 2^31 - 1 of R's
#'   matrices (ignored if `start` is a matrix).
#' @param bins Number of bins of each histogram.
#' @param range `NULL`, or the ends of the histograms: a 2 x d matrix (a vector of 2 for all
#'   variables).
#' @param covariance Whole covariance matrices, or (`FALSE`) standard deviations only? Default: up
#'   to 32 variables; the work grows as d^2.
#' @return An object of class `guided_summary`: a list with
#'   * `n`, `lost`: numbers of particles, and of those that overflowed, which no estimate counts;
#'   * `confidence`, `inverse_confidence` (the mean of `1 / p(class | x)`), `entropy` (nats): data
#'     frames with `estimate`, `se` and `method`, or `NULL` if there is no class or no log-density,
#'     see [confidence()] and [entropy()]; the second is `NA` if its tail is heavy, see
#'     [guidance_sweep()];
#'   * `folded`, `clipped`, `reversed`: shares of the particles at which a step folded, a covariance
#'     of the noise had a negative eigenvalue, or a step turned its noise around (see
#'     [guided_sample()]); `NULL` where the sampler cannot;
#'   * `mean`, `mean_se`, `sd`, `sd_se`: d numbers each; `cov`, `cov_se`: d x d, or `NULL`;
#'   * `histogram`: a list of `low` and `width` (d), `count` (bins x d), `below`, `above`, `least`,
#'     `most` (d);
#'   * the arguments, as in a [guided_sample()].
#'
#'   `as.data.frame()` and `summary()` have a row per variable, with mean, standard deviation and
#'   quantiles. `quantile()` gives other quantiles (probabilities x d).
#' @inheritSection guided_sample Errors and warnings
#' @source Moments are merged as in Chan, Golub and LeVeque (1983), \doi{10.2307/2683386}.
#' @seealso [guided_sample()] for the particles themselves, [scaling] for workers and for resuming.
#' @examples
#' m <- gaussmix(c(.3, .7), cbind(u = c(-1, 1), v = 0:1), cov = .5, class = c("a", "b"))
#' set.seed(1)
#' s <- guided_summary(m, 1e5, guidance("a", 2), sampler_ddim(20))
#' s
#' confidence(s)
#' s$cov
#' quantile(s, c(.01, .5, .99))
#' plot(s)
#' @export
guided_summary <- function(mixture, n = 1e4, ...,
                           log_density = c("auto", "map", "divergence", "none"), bins = 2000,
                           range = NULL, covariance = NULL, reduce = TRUE, folder = NULL) {
  n <- check_n(n, min = 2, max = 2^53)
  setting <- as_diffusion(mixture, ..., takes_points = TRUE, takes_model = TRUE)
  call <- call_of("guided_summary", setting)
  setting <- default_points(setting, n)
  mixture <- setting$mixture
  bins <- check_count(bins, "bins", min = 1, max = 1e6)
  d <- mixture_dim(mixture)
  covariance <- if (is.null(covariance)) d <= 32 else check_flag(covariance, "covariance")
  # the squares of 2 d columns are the rows of a matrix
  if (covariance && (2 * d)^2 > .Machine$integer.max) {
    abort_input("covariance",
                paste("FALSE for more than 23170 variables: fourth moments would take",
                      format(32 * d^2 / 2^30, digits = 2), "GiB"), "TRUE")
  }
  if (is.matrix(range)) range <- own_columns(range, mixture, "range")
  range <- check_range(range, d)
  plan <- sampling_plan(setting, min(n, 2^30), log_density = log_density, reduce = reduce)
  plan$faults <- warn_faults(plan_faults(plan))
  if (is.null(plan$begin$x)) plan$begin$n <- n
  n <- as.double(plan$begin$n)
  aim <- plan_aim(plan, setting$guidance)
  key <- run_key(setting)
  job <- particle_job(plan, aim, key)
  job <- c(job, histogram_setting(job, range, bins), list(covariance = covariance, n = n))
  total <- NULL
  task <- list(name = "summary", work = summary_chunk, job = job)
  size <- summary_chunk_size(plan)
  # the parts kept of each chunk take memory too
  check_count(n, "n", max = 1e6 * size, more = "a million chunks of some seconds")
  each_chunk(task, n, size, folder = folder,
             collect = function(value, first, count) total <<- merge_summaries(total, value))
  warn_lost(total$lost, n)
  run <- structure(c(list(n = n, lost = total$lost), read_summary(total, plan, job),
                     made_by(plan, setting$guidance, key)), class = object_class("guided_summary"))
  with_call(run, call, key)
}

# The bins, and the centre of the moments, from the first particles of the run: 1024, unless they
# are few.
histogram_setting <- function(job, range, bins) {
  n <- job$plan$begin$n
  x <- sample_chunk(job, 0, min(n, 1024, max(64, ceiling(n / 16))))$x
  x <- x[rowSums(!is.finite(x)) == 0, , drop = FALSE]
  if (!nrow(x)) x <- t(double(ncol(x)))
  if (is.null(range)) {
    range <- apply(x, 2, base::range)
    width <- range[2, ] - range[1, ]
    size <- pmax(abs(range[1, ]), abs(range[2, ]))
    # point masses
    flat <- width <= 1e-8 * size
    width[flat] <- ifelse(size[flat] > 0, size[flat] / 50, 1)
    # not a round share of the bins: the extremes of the pilot should not be edges
    range <- range + outer(c(-.55, .55), width)
  }
  list(centre = unname(colMeans(x)), low = range[1, ], width = (range[2, ] - range[1, ]) / bins,
       bins = as.integer(bins))
}

summary_chunk <- function(job, first, count) {
  total <- NULL
  each_batch(first, count, batch_size(job$plan), function(first, count) {
    replicate <- replicate_of(job$plan$net, first, count)
    part <- summarise_particles(sample_chunk(job, first, count), replicate, job)
    total <<- merge_summaries(total, part)
  })
  total
}

summarise_particles <- function(part, replicate, job) {
  lost <- part$lost
  if (lost) {
    there <- rowSums(!is.finite(part$x)) == 0
    x <- part$x[there, , drop = FALSE]
    replicate <- replicate[there]
    part <- lapply(part[setdiff(names(part), c("x", "lost"))], `[`, there)
    part$x <- x
  }
  x <- part$x
  scalars <- cbind(confidence = part$confidence,
                   inverse_confidence = if (!is.null(part$confidence)) exp(-part$log_confidence),
                   entropy = surprise(part, !is.null(job$plan$begin$entropy)),
                   folded = part$folded, clipped = part$clipped, reversed = part$reversed)
  list(lost = lost,
       # fourth moments give the errors of independent particles
       x = replicate_moments(x, replicate, job$centre, if (job$covariance) ncol(x) else 1,
                             squares = is.null(job$plan$net)),
       scalars = if (!is.null(scalars)) replicate_moments(scalars + 0, replicate),
       tail = if (!is.null(part$confidence)) tail_part(-part$log_confidence, job$n),
       histogram = histogram_of(x, job$low, job$width, job$bins))
}

merge_summaries <- function(a, b) {
  if (is.null(a)) return(b)
  list(lost = a$lost + b$lost, x = merge_replicates(a$x, b$x),
       scalars = if (!is.null(a$scalars)) merge_replicates(a$scalars, b$scalars),
       tail = if (!is.null(a$tail)) merge_tails(a$tail, b$tail),
       histogram = merge_histograms(a$histogram, b$histogram))
}

read_summary <- function(total, plan, job) {
  labels <- variable_labels(plan$mixture)
  nets <- !is.null(plan$net)
  scalars <- if (!is.null(total$scalars)) moment_estimates(total$scalars, nets)
  estimate <- function(name, plus = NULL) {
    if (!name %in% names(scalars$estimate)) return(NULL)
    estimate_row(sum(scalars$estimate[[name]], plus), scalars$se[[name]], "Monte Carlo")
  }
  inverse <- estimate("inverse_confidence")
  if (!is.null(inverse) && is_heavy(total$tail$log, job$n, inverse$estimate)) inverse <- heavy_row()
  confidence <- estimate("confidence")
  if (!is.null(confidence)) confidence <- with_unseen(confidence, total$tail$log, job$n)
  entropy <- estimate("entropy", plan$begin$entropy)
  if (!is.null(plan$begin$entropy) && !is.null(entropy)) entropy <- exact_if_constant(entropy)
  bins <- seq_len(job$bins) + 1
  count <- total$histogram$count
  named <- function(x) stats::setNames(x, labels)
  c(list(confidence = confidence, inverse_confidence = inverse,
         entropy = entropy),
    lapply(c(folded = "folded", clipped = "clipped", reversed = "reversed"),
           function(name) estimate(name)$estimate),
    if (nets) net_moments(total$x, job$centre, labels) else {
      variable_moments(all_moments(total$x), job$centre, labels)
    },
    list(histogram = list(
      low = named(job$low), width = named(job$width),
      count = name_dims(count[bins, , drop = FALSE], NULL, labels),
      below = named(count[1, ]), above = named(count[job$bins + 2, ]),
      least = named(total$histogram$extremes[1, ]), most = named(total$histogram$extremes[2, ])
    )))
}

# Mean and covariance with standard errors, from the moments of y = x - centre and of y^2: in one
# block, or (variances only) in a block for each variable.
variable_moments <- function(moments, centre, labels) {
  n <- moments$n
  d <- length(centre)
  p <- nrow(moments$mean)
  cross <- array(moments$cross, c(p, p, ncol(moments$mean))) / n
  y <- seq_len(p / 2)
  m <- moments$mean[y, ]
  # d x d matrices, or d numbers
  linear <- cross[y, y, ]
  mixed <- cross[y + p / 2, y, ]
  squares <- cross[y + p / 2, y + p / 2, ]
  diagonal <- function(x) if (is.matrix(x)) diag(x) else x
  turned <- if (is.matrix(mixed)) t(mixed) else mixed
  other <- function(x) if (is.matrix(linear)) rep(x, each = d) else x
  v <- diagonal(linear)
  # u_ij = (y_i - m_i)(y_j - m_j): its mean is the covariance, and (y_i - m_i)^2 is linear in (y,
  # y^2)
  variance <- squares - 2 * (mixed * other(m) + turned * m) + 4 * linear * m * other(m) +
    v * other(v) - linear^2
  cov <- linear * n / (n - 1)
  summary_moments(centre + m, sqrt(diagonal(cov)) / sqrt(n), cov, sqrt(pmax(variance, 0) / n),
                  labels)
}

# Moments and their standard errors. `cov` and `cov_se`: d x d numbers, or d variances.
summary_moments <- function(mean, mean_se, cov, cov_se, labels) {
  d <- length(labels)
  whole <- length(cov) == d^2
  diagonal <- if (whole) seq(1, d^2, by = d + 1) else seq_len(d)
  sd <- sqrt(cov[diagonal])
  named <- function(x) stats::setNames(x, labels)
  square <- function(x) if (whole) matrix(x, d, d, dimnames = list(labels, labels))
  list(mean = named(mean), mean_se = named(mean_se), sd = named(sd),
       sd_se = named(cov_se[diagonal] / (2 * sd)), cov = square(cov), cov_se = square(cov_se))
}

# The same for replicates that are nets, from their means and covariances about the centre.
net_moments <- function(replicates, centre, labels) {
  sizes <- replicate_sizes(replicates)
  d <- length(centre)
  mean_of <- function(one) c(one$mean)
  means <- vapply(replicates, mean_of, double(d))
  dim(means) <- c(d, length(sizes))
  all <- all_moments(replicates)
  n <- all$n
  m <- mean_of(all)
  whole <- ncol(all$mean) == 1
  # about the mean of all
  covs <- vapply(replicates, function(one) {
    off <- mean_of(one) - m
    c(one$cross) / one$n + if (whole) c(outer(off, off)) else off^2
  }, double(length(all$cross)))
  dim(covs) <- c(length(all$cross), length(sizes))
  cov <- c(all$cross) / (n - 1)
  summary_moments(centre + m, nets_se(sizes, means), cov, nets_se(sizes, covs), labels)
}

#' @rdname confidence
#' @export
confidence.guided_summary <- function(x, class = NULL, ...) {
  check_dots(...)
  row <- if (!is.null(x$confidence)) estimate_table("confidence", x$confidence, particle_words(x))
  if (!is.null(class)) return(aimed_row(row, class, x$guidance$class))
  if (is.null(row)) no_class(x)
  row
}

#' @rdname entropy
#' @export
entropy.guided_summary <- function(x, ...) {
  check_dots(...)
  if (is.null(x$entropy)) no_log_density(x)
  x$entropy$note <- time_note(x$mixture, x$guidance$class, x$times)
  estimate_table("entropy", x$entropy, particle_words(x))
}

#' @exportS3Method stats::quantile guided_summary
quantile.guided_summary <- function(x, probs = c(0, .25, .5, .75, 1), ...) {
  check_dots(...)
  if (!(is.numeric(probs) && !anyNA(probs) && all(probs >= 0 & probs <= 1))) {
    abort_input("probs", "probabilities between 0 and 1, none missing", describe(probs))
  }
  h <- x$histogram
  result <- vapply(seq_along(h$low), function(j) {
    edges <- h$low[j] + h$width[j] * 0:nrow(h$count)
    edges <- c(min(h$least[j], edges[1]), edges, max(h$most[j], edges[length(edges)]))
    held <- cumsum(c(0, h$below[j], h$count[, j], h$above[j]))
    rank <- probs * held[length(held)]
    # the bin of the quantile: the first whose end is reached
    i <- pmax(findInterval(rank, held, left.open = TRUE), 1)
    part <- (rank - held[i]) / (held[i + 1] - held[i])
    value <- edges[i] + ifelse(is.finite(part), part, 0) * (edges[i + 1] - edges[i])
    value[probs == 0] <- h$least[j]
    pmin(pmax(value, h$least[j]), h$most[j])
  }, double(length(probs)))
  matrix(result, length(probs), dimnames = list(paste0(format(100 * probs, trim = TRUE), "%"),
                                                names(h$low)))
}

as_table.guided_summary <- function(x) {
  quantiles <- t(stats::quantile(x, c(.025, .25, .5, .75, .975)))
  colnames(quantiles) <- c("q2.5", "q25", "median", "q75", "q97.5")
  data.frame(variable = names(x$mean), mean = x$mean, mean_se = x$mean_se, sd = x$sd,
             sd_se = x$sd_se, quantiles, row.names = NULL)
}

in_words.guided_summary <- function(x) {
  in_dimensions(count_of(number(x$n), "particle"), length(x$mean))
}

print_body.guided_summary <- function(x, digits = 4, ...) {
  say_setup(x)
  if (!is.null(x$confidence)) {
    say_line("confidence: ", format_estimate(x$confidence))
    say_line("mean of 1/confidence: ", format_estimate(x$inverse_confidence))
  }
  if (!is.null(x$entropy)) say_line("entropy:    ", format_entropy(x))
  for (name in c("folded", "clipped", "reversed")) {
    share <- x[[name]]
    if (!is.null(share) && share > 0) {
      say_line(format(paste0(name, ":"), width = 12), format(share, digits = 3),
               " of the particles")
    }
  }
  if (x$lost) say_line("lost:       ", count_of(number(x$lost), "particle"), " overflowed")
  outside <- sum(x$histogram$below + x$histogram$above)
  print_rows(table_words(as.data.frame(x), digits), digits)
  if (outside) say_line("Outside the histograms: ", number(outside), " of the coordinates")
}

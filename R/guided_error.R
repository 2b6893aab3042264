#' How far a sampler's output is from its target
#'
#' Both Kullback-Leibler divergences and the total variation between the output of a sampler (with
#' its steps, its start and the errors of its score) and the mixture at the last time of its grid:
#' exactly or by quadrature if possible, otherwise by Monte Carlo with standard errors.
#'
#' @details The three are computed as for any [law], from points where the first law of a divergence
#' has its mass:
#' * in closed form for a single Gaussian and an exact score (see [guided_moments()]); only the
#'   total variation in more than one dimension is a mean over draws;
#' * by quadrature, over the nodes of the [guided_law()], in one or two dimensions or if the run
#'   reduces to them. The remaining dimensions add exactly to the divergences; the total variation
#'   is then a mean over draws of them;
#' * by Monte Carlo for deterministic samplers in any dimension, with half of the draws from each of
#'   the two laws (from each component of the target, however light). Particles carry the
#'   log-density of the chain along (`log_density = "map"` of [guided_sample()]). For draws from the
#'   target the starts that lead to them are found by iteration, with the flow of the sampler's ODE.
#'   With both, every mean is over a function that is bounded except for a logarithm.
#'
#' **Unknown** (`method`, with `NA` and a warning that says why) is `KL(target || output)` if a
#' stochastic sampler lacks a mode of the target (its law ends at its nodes), or if no start leads
#' to a draw. All three are unknown if steps fold more than 0.1% of the starts onto others, because
#' a particle or a node then knows the density of its own branch only; in one dimension quadrature
#' adds the branches.
#'
#' **Digits.** By quadrature, divergences have some eight digits, and the total variation four, in
#' one dimension and for stochastic samplers in two. Deterministic samplers in two dimensions start
#' from 401 x 401 nodes over 7 standard deviations to each side. This leaves up to 0.1% if steps are
#' unstable in the tails, as for high orders (`nodes = 801` leaves less).
#'
#' **Parts.** By the triangle inequality the total variation is at most the distance between the
#' start and the true law at the horizon (`"initialisation"`) plus the error of the same sampler
#' from this law (`"exact start"`). The exact flow of the ODE is a bijection, and carries the three
#' distances of the initialisation to the end unchanged; the exact SDE contracts them. With a
#' `score_error` the last part is also given for the exact score (`"exact start and score"`).
#'
#' @inheritParams guided_sample
#' @param parts Whether to give the parts too.
#' @param method `"auto"`, the first possible way of the Details, or one of `"exact"`,
#'   `"quadrature"`, `"Monte Carlo"`.
#' @param n Number of draws, if draws are needed.
#' @param nodes As for [guided_law()].
#' @param ... Further arguments of [diffusion()] that follow the mixture there. With a `guidance`
#'   the target is the law of its class. Its distance from a law guided with strength > 0 is not an
#'   error of the sampler alone. `start` is `"normal"`, `"exact"` or a [gaussmix()].
#' @return A table of estimates ([mixguide_table]) of class `guided_error` with the rows `"kl"`,
#'   which is `KL(target || output)`, `"kl_reverse"`, `KL(output || target)` (both in nats), and
#'   `"total_variation"`; with `parts`, these for each `part`. By quadrature `se` is 0, or the part
#'   of a divergence from places where a density is continued beyond its nodes.
#' @section Errors: Of class `mixguide_error`: arguments that do not fit, a target with a singular
#'   covariance, a stochastic sampler in more than two dimensions that do not reduce.
#' @source Derived for this package. The setting is that of Liang, Shi, Song and Zhou (2024),
#'   \doi{10.48550/arXiv.2405.16418}, and of the papers on solvers that they apply, which bound the
#'   errors computed here.
#' @seealso [guided_law()] and [law_distance()] for other targets, such as a [tilted_law()].
#' @examples
#' m <- named_mixture("A1")
#' guided_error(m, sampler = sampler_euler(50, "uniform"), horizon = 3, parts = TRUE)
#' # one Gaussian, exactly, in any dimension
#' guided_error(gaussmix(1, 1.5, .25), sampler = sampler_em(100, "uniform"), horizon = 3)
#' @export
guided_error <- function(mixture, n = 1e4, ..., parts = FALSE,
                         method = c("auto", "exact", "quadrature", "Monte Carlo"), nodes = NULL) {
  d <- as_diffusion(mixture, ...)
  local_key(d)
  check_flag(parts, "parts")
  if (!is.null(nodes)) nodes <- check_count(nodes, "nodes", min = 5)
  method <- check_choice(method, eval(formals()$method), "method")
  n <- check_n(n, min = 2)
  process <- process_diffusion(d)
  part <- class_law(process$mixture, d$guidance$class)
  target <- lapply(range(d$times), function(t) diffuse(part, t, d$schedule))
  refuse_singular(target[[1]], "`mixture` is singular at the end of the run;",
                  "take a sampler with `end` > 0")
  error_of <- function(target, ...) {
    error_rows(target, change_diffusion(process, list(...)), method, n, nodes)
  }
  rows <- error_of(target[[1]])
  if (parts) {
    rows <- list(whole = rows,
                 initialisation = error_of(target[[2]], sampler = idle_sampler(d$horizon),
                                           score_error = NULL),
                 "exact start" = error_of(target[[1]], start = "exact"),
                 "exact start and score" = if (!is.null(d$score_error)) {
                   error_of(target[[1]], start = "exact", score_error = NULL)
                 })
    rows <- rows[lengths(rows) > 0]
    rows <- do.call(rbind, Map(function(rows, part) {
      data.frame(rows["quantity"], part = part, rows[ESTIMATE])
    }, rows, names(rows)))
  }
  new_table(rows, "guided_error", c(format(d$mixture), process_lines(d)), setup_of(d),
            labels = DIVERGENCES)
}

# A sampler that does not move the start: its error is that of the initialisation.
idle_sampler <- function(horizon) {
  sampler("idle", function(k, times, schedule) list(op_linear("x", c(x = 1))),
          grid = c(horizon, horizon / 2))
}

# The three rows of one run, given as a diffusion in the coordinates of its process.
error_rows <- function(target, process, method, n, nodes) {
  mixture <- process$mixture
  start <- process$start
  single <- mixture_size(mixture) == 1 && is.null(process$score_error) &&
    is_inner(process$guidance, mixture) &&
    (is.character(start) || inherits(start, "gaussmix") && mixture_size(start) == 1)
  if (method == "auto" && single || method == "exact") {
    if (!single) {
      abort_input("method", 'other than "exact", which is for a single Gaussian and its score')
    }
    return(gaussian_error(target, process, n))
  }
  if (method != "Monte Carlo") {
    run <- law_run(process, nodes)
    # errors are not smooth far out, where steps are unstable: close nodes
    plane <- mixture_dim(run$mixture) == 2 && !run$sampler$stochastic
    if (plane) run$reach <- 7
    if (plane && is.null(nodes)) run$nodes <- 401
    if (method == "quadrature" || run$sampler$stochastic || mixture_dim(run$mixture) <= 2) {
      law <- law_of_run(run, mixture)
      # between the images of a grid in the plane the density is known only by way of the starts
      if (plane && isTRUE(law$folded < 1e-9)) {
        known <- list(start = axis_nodes(grid_axes(start_range(run$start, run$reach), run$nodes)),
                      image = law$x)
        law$density <- function(x) pull_back(run, x, known)$log_density
      }
      return(law_error(law, target, n))
    }
  }
  particle_error(target, process, n)
}

# A table of several such errors counts these warnings.
warn_unknown <- function(...) {
  warning(warningCondition(paste0(...), class = "mixguide_warning_unknown"))
}

quantity_rows <- function(kl, kl_reverse, total_variation) {
  data.frame(quantity = names(DIVERGENCES), rbind(kl, kl_reverse, total_variation),
             row.names = NULL)
}

# Draws from both laws, the output and the target, with u = log r at each. A mean over their sum is
# a mean over the draws of each, of a function that is bounded except for the logarithm, however far
# apart the laws are. If steps fold, the density of a draw is that of its branch alone.
particle_error <- function(target, process, n) {
  if (with_noise(process$sampler, process$score_error)$stochastic) {
    abort_input("method", 'other than "Monte Carlo" where steps draw noise: no density is known')
  }
  words <- without_density(process)
  if (!is.null(words)) {
    abort_input("method", paste0('other than "Monte Carlo", in one or two dimensions, for a run ',
                                 "by ", words, ", which carries no log-density; see ",
                                 "compare_guidance()"))
  }
  run <- law_run(process, reduce = FALSE)
  n <- max(ceiling(n / 2), 2)
  output <- quiet_sample(replace(process, "key", list(NULL)), n, log_density = "map")
  u <- dgaussmix(output$x, target, log = TRUE) - output$log_density
  folded <- mean(output$folded)
  if (folded > 1e-3) {
    branch <- sample_mean(pmax(-expm1(u), 0))
    cells <- cell_difference(output$x, rgaussmix(n, target))
    least <- vapply(list(branch, cells), function(row) row$estimate - 2 * row$se, 0)
    note <- fold_note(folded, max(least, 0))
    warn_unknown(note)
    return(unknown_rows(note))
  }
  drawn <- stratified_draws(target, n)
  back <- pull_back(run, drawn$x)
  v <- dgaussmix(drawn$x, target, log = TRUE) - back$log_density
  # without a start the output counts as unlikely as anywhere, which is an error
  lost <- mean(is.na(v))
  most <- max(v, 1, na.rm = TRUE)
  v[is.na(v)] <- most
  both <- function(f) sum_row(sample_mean(f(u)), drawn$mean(f(v)))
  rows <- quantity_rows(both(function(u) u * stats::plogis(u) - tanh(u / 2)),
                        both(function(u) tanh(u / 2) - u * stats::plogis(-u)),
                        both(function(u) abs(tanh(u / 2)) / 2))
  if (lost * most > .1 * row_of(rows, "kl")$estimate) {
    note <- paste("for", format(lost, digits = 2),
                  "of the draws from the target no start was found that leads there")
    warn_unknown("KL(target || output) is unknown: ", note)
    rows <- quantity_rows(unknown_row(note), sample_mean(-u), sample_mean(pmax(-expm1(u), 0)))
  } else rows$se <- rows$se + lost * ifelse(rows$quantity == "kl", most, 1)
  # a fold that is too small to count is an error all the same
  rows$se <- rows$se + 2 * folded
  rows
}

# The excess probability of some cells under the law of x over that under the law of y (n x d draws
# of each). It is at most the total variation, whatever the densities. A third of the draws chooses
# the cells with more of x, a second third the grid with the largest excess; the last third
# estimates the excess.
cell_difference <- function(x, y) {
  third <- rep_len(1:3, nrow(x))
  low <- apply(rbind(x, y), 2, min)
  width <- apply(y, 2, stats::sd)
  best <- estimate_row(0, 0, "Monte Carlo")
  found <- 0
  for (h in 2^(1:-7)) {
    cell <- function(x) do.call(paste, as.data.frame(floor(t((t(x) - low) / (width * h)))))
    at_x <- cell(x)
    at_y <- cell(y)
    cells <- unique(c(at_x, at_y))
    count <- function(at) tabulate(match(at[third == 1], cells), length(cells))
    chosen <- cells[count(at_x) > count(at_y)]
    more <- function(part) {
      held <- function(cells, sign) sample_mean(sign * (cells[third == part] %in% chosen))
      sum_row(held(at_x, 1), held(at_y, -1))
    }
    second <- more(2)$estimate
    if (second > found) {
      found <- second
      best <- more(3)
    }
  }
  best
}

unknown_rows <- function(note) {
  data.frame(quantity = names(DIVERGENCES), unknown_row(rep(note, length(DIVERGENCES))))
}

# Some draws from each component, however light: the points, and the mean of a function's values
# there, over the mixture. For very many components the draws are not stratified.
stratified_draws <- function(mixture, n, least = 50) {
  used <- which(mixture$weights > 0)
  if (length(used) * least > n) return(list(x = unname(rgaussmix(n, mixture)), mean = sample_mean))
  share <- mixture$weights[used] / sum(mixture$weights)
  count <- pmax(round(n * share), least)
  k <- rep(seq_along(used), count)
  z <- matrix(stats::rnorm(length(k) * mixture_dim(mixture)), length(k))
  mean <- function(f) {
    each <- lapply(split(f, k), sample_mean)
    estimate <- vapply(each, `[[`, 0, "estimate")
    se <- vapply(each, `[[`, 0, "se")
    estimate_row(sum(share * estimate), sqrt(sum((share * se)^2)), "Monte Carlo")
  }
  list(x = unname(place_draws(mixture, used[k], z)), mean = mean)
}

law_error <- function(law, target, n) {
  to <- mixture_as_law(target, law)
  rows <- law_divergences(law, to, function(view) rest_variation(view, law$rest, to$rest, n))
  kl <- row_of(rows, "kl")
  if (!is.null(law$doubt) || is_folded(law)) {
    warn_unknown(kl$note)
  } else if (kl$method == "unknown") {
    warn_unknown("KL(target || output) is unknown: ", kl$note,
                 " of the target, which the output hardly reaches")
  }
  # a fold that is too small to count is an error all the same
  if (isTRUE(law$unsummed > 1e-9)) rows$se <- rows$se + 2 * law$unsummed
  rows
}

# E (1 - r R)_+ over the nodes and over draws of the dimensions outside a reduction, whose density
# ratio is R: for each R, over the nodes with r < 1/R.
rest_variation <- function(at, from, to, n) {
  v <- from$mean + sqrt(from$variance) * matrix(stats::rnorm(n * length(from$mean)), ncol = n)
  log_density <- function(rest) stats::dnorm(v, rest$mean, sqrt(rest$variance), log = TRUE)
  log_R <- colSums(log_density(to) - log_density(from))
  order <- order(at$log)
  w <- at$w[order]
  below <- findInterval(-log_R, at$log[order]) + 1
  # one exponential: R alone may overflow
  sample_mean(c(0, cumsum(w))[below] -
                exp(log_R + log(c(0, cumsum(exp(log(w) + at$log[order]))))[below]))
}

# One Gaussian: the output is a Gaussian too.
gaussian_error <- function(target, process, n) {
  start <- process$start
  if (inherits(start, "gaussmix")) {
    process$start <- list(mean = start$means[1, ], cov = unname(component_cov(start, 1)))
  }
  output <- guided_moments(replace(process, "guidance", list(NULL)))
  mean <- unname(target$means[1, ])
  cov <- unname(component_cov(target, 1))
  # not output$kl, whose target is the law at the sampler's end: the target here may be another
  kl <- function(m0, S0, m1, S1) {
    e <- eigen(S0, symmetric = TRUE)
    if (min(e$values) <= 0) return(Inf)
    turn <- function(x) crossprod(e$vectors, x)
    gaussian_kl(turn(m0), e$values, turn(m1), turn(S1) %*% e$vectors)
  }
  forward <- kl(mean, cov, output$mean, output$cov)
  reverse <- kl(output$mean, output$cov, mean, cov)
  singular <- is.infinite(reverse)
  variation <- if (singular) estimate_row(1, 0, "exact") else if (length(mean) == 1) {
    estimate_row(normal_variation(output$mean, output$cov, mean, cov), 0, "exact")
  } else {
    made <- gaussmix(1, t(unname(output$mean)), unname(output$cov))
    x <- rgaussmix(n, made)
    sample_mean(abs(expm1(dgaussmix(x, target, log = TRUE) - dgaussmix(x, made, log = TRUE))) / 2)
  }
  quantity_rows(estimate_row(forward, 0, "exact"), estimate_row(reverse, 0, "exact"), variation)
}

# The total variation between N(m, v) and N(M, V). In y, the standardised variable of the wider one,
# with delta >= 0 and rho <= 1 the mean and variance of the other, the densities are equal where
# (1 - rho) y^2 - 2 delta y + delta^2 + rho log rho = 0; z = (y - delta)/sqrt(rho) there. No root is
# taken as a difference.
normal_variation <- function(m, v, M, V) {
  sd <- sqrt(sort(c(v, V)))
  # further away the total variation is 1
  delta <- min(abs(c(M - m)) / sd[2], 1e100)
  root <- sd[1] / sd[2]
  log_rho <- 2 * log(root)
  a <- -expm1(log_rho)
  r <- sqrt(delta^2 - a * log_rho)
  if (r == 0) return(0)
  y <- c((delta^2 + root^2 * log_rho) / (delta + root * r), (delta + root * r) / a)
  z <- c((log_rho - delta^2) / (root * delta + r), (root * delta + r) / a)
  abs(diff(stats::pnorm(z)) - diff(stats::pnorm(y)))
}

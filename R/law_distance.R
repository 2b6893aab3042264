#' @rdname law
#' @export
law_distance <- function(law, target) {
  check_law(law)
  if (inherits(target, "gaussmix")) {
    if (mixture_dim(target) != law_dim(law)) {
      abort_input("target", paste("of", count_of(law_dim(law), "dimension"), "like `law`"),
                  format(target))
    }
    target <- mixture_as_law(target, law)
  }
  check_law(target, "target")
  if (!is.null(law$mixture) && !is.null(target$mixture) && law_dim(law) == law_dim(target)) {
    check_same_variables(target$mixture, law$mixture, "target")
  }
  if (ncol(law$x) != ncol(target$x) || !same_rest(law$rest, target$rest)) {
    abort_input("target", "a law or a gaussmix in the variables (and reduced ones) of `law`",
                target$label)
  }
  rows <- law_divergences(law, target, function(view) {
    unknown_row("what the reductions leave differs: see guided_error()")
  }, rough_row)
  known <- is.null(law$doubt) && !is_folded(law)
  rows <- rbind(rows, data.frame(quantity = "wasserstein", if (!known) rows[1, ESTIMATE] else {
    if (law_dim(law) == 1) estimate_row(wasserstein(law, target), 0, "quadrature") else {
      unknown_row("in one dimension only")
    }
  }))
  new_table(rows, "mixguide_estimates",
            c(paste("distances of", law$label), paste("from the target,", target$label)),
            labels = c(kl = "KL(target || law)", kl_reverse = "KL(law || target)",
                       total_variation = "total variation", wasserstein = "1-Wasserstein"))
}

# The rows of guided_error() for a law and its target. `differs`: the row of the total variation if
# what a reduction leaves differs, a function of the view of the target. `rough`: see rough_row().
law_divergences <- function(law, target, differs, rough = function(row, ...) row) {
  if (!is.null(law$doubt)) return(unknown_rows(law$doubt))
  ratio <- law_ratio(law, target)
  alike <- max(unlist(ratio$rest)) < 1e-12
  if (is_folded(law)) {
    return(unknown_rows(fold_note(law$unsummed, if (alike) node_variation(ratio))))
  }
  kl <- if (is.null(ratio$back)) unmatched_kl(ratio$forth) else reverse_kl(ratio$forth, ratio$back)
  kl_reverse <- view_kl(ratio$forth, ratio$back)
  kl$estimate <- kl$estimate + ratio$rest$kl
  kl_reverse$estimate <- kl_reverse$estimate + ratio$rest$kl_reverse
  quantity_rows(kl, rough(kl_reverse, law, ratio$forth, function(log_r) -log_r),
                if (!alike) differs(ratio$forth) else {
                  rough(known_variation(node_variation(ratio)), law, ratio$forth, missing_mass)
                })
}

missing_mass <- function(log_r) pmax(-expm1(pmin(log_r, 700)), 0)

# The row of a mean of f(log r) over the nodes of a law that may be rough between them, with the
# error that this mean then has.
rough_row <- function(row, law, view, f) {
  if (!isTRUE(law$rough) || ncol(law$x) == 1 || row$method == "unknown") return(row)
  value <- 0 * law$weights
  value[law$weights > 0] <- f(view$log)
  mean <- law_mean(law, value)
  if (mean$method == "unknown") return(mean)
  row$se <- max(row$se, mean$se)
  row
}

# A total variation above 1 is not valid: such densities change too much from node to node.
known_variation <- function(value) {
  if (isTRUE(value > 1 + 1e-6)) unknown_row("the nodes do not resolve the laws: take more `nodes`")
  else estimate_row(min(value, 1), 0, "quadrature")
}

# Do steps fold too much of a law, so that only the density of one branch is known?
is_folded <- function(law) isTRUE(law$unsummed > 1e-3)

# The density is at least that of the branch, so the total variation is at least the one found.
fold_note <- function(share, variation = NULL) {
  paste0("steps fold ", format(share, digits = 2), " of the starts onto others, and the density ",
         "is known of each branch alone: distances are unknown",
         if (!is.null(variation)) {
           paste(", the total variation at least", format(floor(1000 * variation) / 1000))
         })
}

law_dim <- function(law) if (is.null(law$rest)) ncol(law$x) else nrow(law$rest$within)

# The parts of distances: a view of the other law from each law's nodes, and the contribution of the
# dimensions outside a reduction to both divergences. `back` is NULL if the density of `from` is
# known at its nodes only.
law_ratio <- function(from, to) {
  back <- if (between_known(from)) {
    law_view(if (is.null(to$nodes)) to else to$nodes(), from)
  }
  list(forth = law_view(from, to), back = back, flat = ncol(from$x) == 1,
       rest = list(kl = rest_kl(to$rest, from$rest), kl_reverse = rest_kl(from$rest, to$rest)))
}

between_known <- function(law) {
  tryCatch(is.list(density_parts(law, unname(law$x[1, , drop = FALSE]))),
           mixguide_error = function(e) FALSE)
}

# The masses w of the nodes of one law, log r = log(other/law) there, whether it is known, and the
# mass of the other law at the nodes. box: the range of the nodes, beyond which nothing is known.
law_view <- function(law, other) {
  there <- law$weights > 0
  w <- law$weights[there]
  x <- unname(law$x[there, , drop = FALSE])
  parts <- density_parts(other, x)
  # an unknown ratio still needs a number
  value <- replace(parts$value, !parts$known & !is.finite(parts$value), -1e4)
  log_r <- value - law$log_density[there]
  # one exponential: far out r may overflow
  list(w = w, x = x, log = log_r, known = parts$known, box = apply(x, 2, range),
       seen = sum(exp(log(w) + log_r)))
}

# Which nodes of a view lie beyond those of another?
beyond <- function(view, box) {
  x <- view$x
  rowSums(x < rep(box[1, ], each = nrow(x)) | x > rep(box[2, ], each = nrow(x))) > 0
}

# Do the nodes cover all of the other law? Sums then contain w (r - 1), which adds up to the mass
# beyond the nodes alone. No term is negative, small distances keep their digits, and errors of the
# densities count only where these differ.
sees_all <- function(view) isTRUE(abs(view$seen - 1) < 1e-7)

# w (r - 1)
excess <- function(view) {
  more <- exp(log(view$w) + view$log) - view$w
  near <- abs(view$log) < 1
  more[near] <- (view$w * expm1(view$log))[near]
  more
}

# KL(law || other), from the nodes of the law; those of the other law cover the mass beyond.
view_kl <- function(view, other) {
  term <- -view$w * view$log
  error <- sum(abs(term[!view$known]))
  estimate <- if (sees_all(view)) {
    sum(excess(view) + term) + if (is.null(other)) 0 else sum(other$w[beyond(other, view$box)])
  } else sum(term)
  kl_row(estimate, error, sum(view$w[!view$known]))
}

# KL(other || law), from the nodes of the law if they cover all, else from those of the other.
reverse_kl <- function(view, other) {
  if (!sees_all(view)) return(view_kl(other, view))
  out <- beyond(other, view$box)
  term <- -other$w * other$log
  kl_row(own_sum(view) + sum(term[out]) - sum(other$w[out]), sum(abs(term[out & !other$known])),
         sum(other$w[out & !other$known]))
}

# The sum of w (r log r - r + 1).
own_sum <- function(view) {
  wr <- exp(log(view$w) + view$log)
  sum(ifelse(wr > 0, wr * view$log, 0) - excess(view))
}

# The same with the nodes of the law alone: mass of the other law outside them counts as unlikely
# as at the nodes that hardly cover it.
unmatched_kl <- function(view) {
  unseen <- abs(view$seen - 1)
  most <- max(view$log[log(view$w) + view$log > log(1e-12)], 30)
  kl_row(own_sum(view), unseen * most, unseen)
}

kl_row <- function(estimate, error, unseen) {
  note <- paste("the nodes do not see", format(unseen, digits = 2), "of the mass")
  if (!isTRUE(error <= .1 * estimate + 1e-13)) return(unknown_row(note))
  # fewer than eight digits get a note
  good <- error <= 1e-8 * estimate + 1e-13
  estimate_row(estimate, if (good) 0 else error, "quadrature", if (good) "" else note)
}

# sum w (1 - r)_+, over the nodes of the law that covers the other better. In one dimension, over
# the nodes of a grid in order: where f = w (1 - r) changes its sign, a share u of a cell from a
# node, the trapezoidal rule errs by (u^2 - u + 1/6)/2 times the change of f (Euler and Maclaurin).
# In the plane u takes all values along the curve f = 0, and the mean of this error is zero.
node_variation <- function(at) {
  view <- at$forth
  back <- at$back
  missed <- function(view, other) abs(view$seen + sum(other$w[beyond(other, view$box)]) - 1)
  if (!is.null(back) && missed(view, back) > 1e-3 && missed(back, view) < missed(view, back)) {
    return(sum(pmax(-back$w * expm1(pmin(back$log, 700)), 0)))
  }
  f <- -view$w * expm1(pmin(view$log, 700))
  kink <- at$flat & f[-1] * f[-length(f)] < 0
  change <- abs(diff(f))[kink]
  u <- pmax(f[-1], f[-length(f)])[kink] / change
  sum(pmax(f, 0)) + sum((u^2 - u + 1 / 6) / 2 * change)
}

# Are the coordinates outside the reductions of two laws of one mixture the same?
same_rest <- function(a, b) {
  if (is.null(a) || is.null(b)) return(is.null(a) && is.null(b))
  isTRUE(all.equal(a$within, b$within)) && isTRUE(all.equal(a$across, b$across))
}

rest_kl <- function(a, b) {
  if (is.null(a)) return(0)
  # coordinates without variance in the first law have none in the second, or the result is infinite
  point <- a$variance == 0
  if (any(point & (b$variance > 0 | a$mean != b$mean))) return(Inf)
  if (all(point)) return(0)
  gaussian_kl(a$mean[!point], a$variance[!point], b$mean[!point],
              diag(b$variance[!point], sum(!point)))
}

# A mixture as the second law of a distance, in the coordinates of a reduction if there is one, with
# its own nodes, some of them at the mass of `from`.
mixture_as_law <- function(mixture, from) {
  refuse_singular(mixture, "`target` has a singular covariance and no density;",
                  "add noise by diffuse() first")
  inner <- mixture
  rest <- from$rest
  if (!is.null(rest)) {
    split <- split_mixture(in_process(mixture, rest), rest)
    inner <- split$inner
    rest <- split$rest
  }
  inner <- keep_components(inner, inner$weights > 0)
  flat <- mixture_dim(inner) == 1
  density <- function(x) dgaussmix(x, inner, log = TRUE)
  cuts <- if (flat) line_cuts(inner, from)
  new_law(inner$means, inner$weights, density(inner$means), rest = rest, mixture = mixture,
          density = density, label = format(mixture),
          nodes = function() mixture_nodes(inner, cuts, from),
          cdf = if (flat) function(x) pgaussmix(x, inner), cuts = cuts)
}

# A mixture whose components are equal across a reduction, and independent of the part within.
split_mixture <- function(mixture, rest) {
  used <- which(mixture$weights > 0)
  means <- unname(mixture$means[used, , drop = FALSE])
  across <- means %*% rest$across
  covs <- lapply(used, function(k) unname(component_cov(mixture, k)))
  variance <- diag(crossprod(rest$across, covs[[1]] %*% rest$across))
  size <- 1e-9 * max(vapply(covs, max, 0), means^2)
  alike <- all(abs(across - rep(across[1, ], each = nrow(across)))^2 <= size) &&
    all(vapply(covs, function(S) {
      part <- S %*% rest$across
      max(abs(part - rest$across * rep(variance, each = nrow(part)))) <= size
    }, NA))
  if (!alike) {
    abort_input("target", "the same in all components across the reduction", format(mixture))
  }
  inner <- lapply(covs, function(S) simplify_cov(crossprod(rest$within, S %*% rest$within)))
  names(inner) <- paste("component", used)
  inner <- assemble_gaussmix(mixture$weights[used], means %*% rest$within, inner,
                             mixture$class[used])
  list(inner = inner, rest = law_rest(rest$within, rest$across, across[1, ], variance, inner))
}

# ---- Nodes of a mixture

# As a law, with nodes for all its components and for `from`.
mixture_nodes <- function(mixture, cuts, from) {
  nodes <- if (!is.null(cuts)) panel_rule(cuts) else {
    box <- box_nodes(mixture, .35, 3e5)
    if (is.null(box)) component_nodes(mixture) else box
  }
  log_density <- dgaussmix(nodes$x, mixture, log = TRUE)
  weights <- exp(log_density) * nodes$weight
  list(x = nodes$x, weights = weights / sum(weights), log_density = log_density)
}

# If a box in the plane would be too large: a grid around each component, with weights relative to
# the whole mixture.
component_nodes <- function(mixture, step = .4) {
  z <- axis_nodes(rep(list(seq(-8.4, 8.4, by = step)), 2))
  K <- mixture_size(mixture)
  if (K * nrow(z) > 1e6) {
    abort_input("target", "of fewer components in two dimensions", format(mixture))
  }
  x <- do.call(rbind, lapply(seq_len(K), function(k) to_component(z, mixture, k)))
  own <- step^2 / (2 * pi) * exp(-rowSums(z^2) / 2)
  own <- rep(mixture$weights, each = nrow(z)) * own
  list(x = unname(x), weight = own / dgaussmix(x, mixture))
}

# Ends of panels on the line, a standard deviation wide around every component; and some of the
# nodes of another law, at its mass.
line_cuts <- function(mixture, from) {
  sd <- univariate_sd(mixture)
  x <- from$x[from$weights > 1e-22, 1]
  own <- sort(as.vector(outer(sd, -12:12) + mixture$means[, 1]))
  sort(unique(c(own[evenly(length(own), 2e4)], sort(x)[evenly(length(x), 500)])))
}

# ---- Distribution functions

# The integral of |F - G| of distribution functions F and G, by Gauss and Legendre's rule between
# the nodes of both and the points where F = G.
wasserstein <- function(from, to) {
  cuts_of <- function(law) if (is.null(law$cuts)) law$x[law$weights > 0, 1] else law$cuts
  cuts <- sort(unique(c(cuts_of(from), cuts_of(to))))
  below_from <- law_cdf(from)
  below_to <- law_cdf(to)
  gap <- function(x) below_from(x) - below_to(x)
  value <- gap(cuts)
  turns <- which(value[-1] * value[-length(value)] < 0)
  rising <- sign(value[turns + 1])
  roots <- bisection(function(x) rising * gap(x), cuts[turns], cuts[turns + 1])
  rule <- panel_rule(sort(c(cuts, roots)), 4)
  sum(rule$weight * abs(gap(rule$x[, 1])))
}

# The zeros of functions that rise through 0 between low and high (one each).
bisection <- function(f, low, high) {
  if (!length(low)) return(double())
  for (i in 1:80) {
    middle <- (low + high) / 2
    below <- f(middle) < 0
    low[below] <- middle[below]
    high[!below] <- middle[!below]
  }
  (low + high) / 2
}

# The distribution function in one dimension. For nodes in order: the integral of their masses, as a
# smooth function of the node number, and between nodes the cubic with the slope of the density, if
# it rises. For nodes that turn back: half of a node's mass lies below it.
law_cdf <- function(law) {
  if (!is.null(law$cdf)) return(law$cdf)
  x <- law$x[, 1]
  w <- law$weights
  density <- exp(law$log_density)
  if (length(turning_nodes(x))) {
    order <- order(x)
    keep <- !duplicated(x[order], fromLast = TRUE)
    below <- (cumsum(w[order]) - w[order] / 2)[keep]
    return(stats::approxfun(x[order][keep], below, yleft = 0, yright = 1))
  }
  if (x[1] > x[length(x)]) {
    x <- rev(x)
    w <- rev(w)
    density <- rev(density)
  }
  # beyond the last masses there is nothing to integrate
  held <- range(which(w > 0))
  index <- seq.int(held[1], held[2])
  x <- x[index]
  w <- w[index]
  bend <- stats::splinefun(index, w)(index, 2)
  n <- length(x)
  cell <- pmax((w[-1] + w[-n]) / 2 - (bend[-1] + bend[-n]) / 24, 0)
  keep <- c(TRUE, diff(x) > 0)
  cdf <- c(0, cumsum(cell))
  cdf <- (cdf / cdf[n])[keep]
  x <- x[keep]
  steepest <- 3 * diff(cdf) / diff(x)
  slope <- pmin(density[index][keep], c(Inf, steepest), c(steepest, Inf))
  rising <- stats::splinefunH(x, cdf, slope)
  function(q) ifelse(q <= x[1], 0, ifelse(q >= x[length(x)], 1,
                                          rising(pmin(pmax(q, x[1]), x[length(x)]))))
}

#' @rdname law
#' @param probs Probabilities.
#' @param names Whether to name the quantiles by their probabilities.
#' @exportS3Method stats::quantile mixguide_law
quantile.mixguide_law <- function(x, probs = seq(0, 1, .25), names = TRUE, ...) {
  check_dots(...)
  if (law_dim(x) > 1) abort_input("x", "a law in one dimension", count_of(law_dim(x), "dimension"))
  if (!(is.numeric(probs) && all(is.finite(probs) & probs >= 0 & probs <= 1))) {
    abort_input("probs", "numbers from 0 to 1", describe(probs))
  }
  check_flag(names, "names")
  cdf <- law_cdf(x)
  range <- range(x$x[x$weights > 0, 1])
  value <- bisection(function(q) cdf(q) - probs, rep(range[1], length(probs)),
                     rep(range[2], length(probs)))
  # the law extends beyond its nodes
  value[probs == 0] <- -Inf
  value[probs == 1] <- Inf
  if (names) names(value) <- paste0(format(100 * probs, trim = TRUE), "%")
  value
}

# Lipschitz constants of the score: those assumed by guarantees of samplers, bounds proved for a
# mixture, and true values. With g_i = -P_i (x - mu_i) and responsibilities r the derivative of the
# score is H = Cov_r(g) - E_r[P], from which all bounds follow.

#' Lipschitz constants of the score
#'
#' The score of a mixture at time `t` is Lipschitz with constant `L` on a convex domain exactly if
#' no eigenvalue of its derivative `H`, the Hessian of the log-density, is larger than `L` in size
#' there. `lipschitz()` gives the true constant, if it can be computed or found, proved bounds, and
#' the bound of a paper. If there is no constant for the whole space, the result says so.
#'
#' @details
#' For the mixture at time `t`, with means `mu_i`, precisions `P_i = S_i^-1`, and the least and
#' largest eigenvalue `smin`, `smax` of any `S_i`. Each row has a `statement`:
#'
#' **"global"**, the least constant for the whole space, with the range of the eigenvalues of `H`.
#' * One component; or two with one covariance, where the largest eigenvalue is that of
#'   `P D D'P/4 - P`, `D = mu_1 - mu_2`, if it is larger than `-1/smax`: exact.
#' * Three or more with one covariance: the largest eigenvalue is found by optimisation. If it
#'   reaches the bound "common" (or cannot matter), the constant is exact; otherwise it is a lower
#'   bound.
#' * One dimension, or components that differ along one line: by a scan around all components and
#'   around all points where two of them tie, at any distance (at late times the least eigenvalue is
#'   reached far out, at such points).
#' * Otherwise: **there is no constant in general**. If two components tie along a direction `u`,
#'   `u'P_i u = u'P_j u`, where no third one is above them, and `P_i u` is not `P_j u`, then `H`
#'   grows like `abs(x)^2` along the surface on which they tie, with added noise too: for
#'   `N(0, diag(1, 4))` and `N(0, diag(4, 1))` the largest eigenvalue on the diagonal at distance
#'   `r` is `9 r^2/64 - 5/8`. Then `lipschitz` is `Inf`. A constant exists if for every two
#'   components `P_i - P_j` is zero or definite, or a third component dominates far out where one of
#'   the two would tie; then it is found by optimisation, a lower bound. If neither can be shown it
#'   is `NA`.
#'
#' **"loewner"** (a): `-1/smin I <= H(x) <= -1/smax I + Cov_r(g)(x)` everywhere, so only the upper
#' side can be large. It is evaluated at `center`, if there is one.
#'
#' **"common"** (b), for one covariance, everywhere: `max(1/smin, D^2/4 - 1/smax)`, `D` the largest
#' distance of two `P mu_i`.
#'
#' **"ball"** (c), where `abs(x - mu_i) <= R` for all `i`: `max(1/smin, R^2/smin^2 - 1/smax)`. `R`
#' is the least for which that contains the ball of `radius` around `center`.
#'
#' **"affine"** (d), in the ball of `radius` around `center`: `max(1/smin, D^2/4 - 1/smax)` with
#' `D = max_ij (abs(P_i (c - mu_i) - P_j (c - mu_j)) + radius norm(P_i - P_j))`. The one to use.
#'
#' **"pointwise"** (e): the same with radius 0, a bound of `H` at `center`.
#'
#' **"density"**: in the balls of (c), where the density is at least `gamma`, with `M` the largest
#' value of any component's density: `M/gamma (1/smin + R^2/smin^2) + M^2 R^2/(smin^2 gamma^2)`.
#'
#' **"paper"**: the bound of the paper's kind, for `R >= 1`, `gamma < 1/10`, and all
#' `abs(x - mu_i) >= beta`, `beta < 1/10`: `(1/smin + 2 R^2/smin^2) (1/gamma + 1/gamma^2)
#' (1/((2 pi)^d det) + 1/((2 pi)^(d/2) det^(1/2))) exp(-beta^2/(2 smax))`, `det` the least
#' determinant of any `S_i`, for any number of components. With `beta = 0` it is at least "density",
#' which proves it; for `beta > 0` we know no proof, because the remaining part of a ball is not
#' convex.
#'
#' **"point"** and **"local"**: the eigenvalues of `H` at `center`, exact, and their extremes in the
#' ball, found by optimisation: a lower bound of the constant there.
#'
#' @section What is established:
#' (a) to (e), "density", and the criteria for and against a global constant are derived for this
#' package. The form of "paper" is recalled, not verified against the paper (least of all its
#' condition with `beta`), whose abstract says that its bound does not depend on the number of
#' components.
#'
#' @section Numerical notes:
#' Searches start from the best of some thousand points: evenly spread, between the components and
#' along the surfaces on which two of them tie, at any distance (in the plane with the places where
#' a third takes over). They climb by quasi-Newton steps. Components that differ in a subspace only
#' are searched there. In one dimension ties are found up to 1e7 standard deviations (of the widest
#' component) away, beyond which doubles do not resolve them; with more than 200 components they are
#' not visited. Bounds that overflow are `Inf`. By default `gamma` is the least density found by a
#' search in the ball; "paper" uses 1/10 if that is less.
#'
#' @inheritParams information
#' @param center A point `x` at time `t` (not scaled by `a`). `NULL`: no statements about a point,
#'   and balls around the mean of the mixture at time `t`.
#' @param radius Radius of the ball around `center`, in the coordinates of the process, at least 0.
#'   `NULL`: no statements about balls.
#' @param density `gamma`, a number > 0 below the density in the ball; `NULL`: the least one there.
#' @param beta As above, a number from 0 to 1/10.
#' @return A data frame of class `mixguide_lipschitz` with a row per time and statement, and
#'   columns `t`; `statement`; `lipschitz`, the constant, `Inf` if there is none; `lower` and
#'   `upper`, bounds of the eigenvalues of `H` (`NA` if the statement is about the constant only);
#'   `domain`; `source`; and `method` and `note` (see [mixguide_table]). The method is `"exact"`,
#'   also of `Inf`; `"quadrature"`, a scan in one dimension; `"bound"`, for "global" and "local" a
#'   lower bound, which a search found, else an upper bound; or `"unknown"`. The density is
#'   log-concave where `upper <= 0`. `plot()` draws the constants, against several times.
#' @source Liang, Shi, Song and Zhou (2024), \doi{10.48550/arXiv.2405.16418}, lemma 3.3 for "paper"
#'   (recalled); the rest is derived for this package.
#' @seealso [score_jacobian()], [information()], which bounds errors without such a constant.
#' @examples
#' lipschitz(named_mixture("C2"), t = c(0, .25, 1))
#' lipschitz(named_mixture("B2"), radius = 2)
#' # no constant for the whole plane
#' lipschitz(gaussmix(c(.5, .5), matrix(0, 2, 2), list(c(1, 4), c(4, 1))), center = c(5, 5))
#' plot(lipschitz(named_mixture("A1"), seq(0, 2, by = .1), radius = 3))
#' @export
lipschitz <- function(mixture, t = 0, schedule = schedule_ou(), center = NULL, radius = NULL,
                      density = NULL, beta = 0) {
  unpack_diffusion()
  check_mixture(mixture)
  t <- check_times(t, schedule)
  if (!is.null(radius)) radius <- check_number(radius, "radius", min = 0)
  if (!is.null(density)) density <- check_number(density, "density", min = 0, open = TRUE)
  beta <- check_number(beta, "beta", min = 0, max = .1)
  if (!is.null(center)) {
    center <- check_points(center, mixture, "center")
    if (nrow(center) != 1) abort_input("center", "one point", count_of(nrow(center), "point"))
    center <- drop(to_process(center, mixture))
  }
  units <- mixture
  if (!is.null(density)) density <- density * exp(log_units(mixture))
  mixture <- in_process(mixture)
  used <- present_components(mixture)
  space <- if (mixture_size(used) > 1) reduced_space(used)
  rows <- lapply(t, function(t) {
    noise_level(used, t, schedule)
    law <- diffuse(used, t, schedule)
    parts <- score_parts(law, space, schedule$a(t), schedule$b2(t))
    where <- if (!is.null(center) || is.null(radius)) center else mean(law)
    cbind(t = t, nowhere_above(rbind(
      global_constant(parts),
      if (is.null(center)) loewner_bound(parts, NULL) else point_statements(parts, center),
      if (isTRUE(radius > 0)) ball_statements(parts, where, radius, density, beta)
    )))
  })
  rows <- do.call(rbind, rows)
  rows$statement <- factor(rows$statement, names(lipschitz_words))
  setup <- list(mixture = units, schedule = schedule, center = center, radius = radius)
  times <- unique(rows$t)
  new_table(rows, "mixguide_lipschitz",
            c(paste("of the score of", format(units)),
              paste0(format(schedule), if (length(times) == 1) paste(", t =", format(times)),
                     center_words(setup))),
            setup, keys = c("t", "statement"),
            noted = stats::setNames(list(c("lipschitz", "upper")), UPPER_OPEN),
            labels = if (length(times) == 1) lipschitz_words, body = lipschitz_rows,
            foot = lipschitz_foot(rows))
}

# The value found for the whole space is at least the values found at a point or in a ball.
nowhere_above <- function(rows) {
  global <- which(rows$statement == "global" & rows$method %in% c("bound", "quadrature"))
  found <- c(global, which(rows$statement %in% c("point", "local")))
  if (length(global)) {
    rows$lower[global] <- min(rows$lower[found])
    rows$upper[global] <- max(rows$upper[found])
    rows$lipschitz[global] <- max(-rows$lower[global], rows$upper[global])
  }
  rows
}

lipschitz_words <- c(global = "the whole space", common = "(b) common covariance",
                     loewner = "(a) Loewner", point = "at the centre",
                     pointwise = "(e) at the centre", local = "in the ball",
                     affine = "(d) ball, affine form", ball = "(c) balls around means",
                     density = "density floor", paper = "paper's form (recalled)")

statement_row <- function(statement, lower, upper, domain, method = "bound",
                          source = "derived for this package", note = "",
                          lipschitz = max(-lower, upper)) {
  data.frame(statement = statement, lipschitz = lipschitz, lower = lower, upper = upper,
             domain = domain, source = source, method = method, note = note)
}

# How a row is known, in a word: a bound is a lower one if a search found it.
how_known <- function(rows) {
  found <- rows$statement %in% c("global", "local")
  known <- sub("quadrature", "scan", rows$method)
  known[found & known == "bound"] <- "lower bound"
  replace(known, found & rows$lipschitz %in% Inf, "none")
}

# The components of positive weight, in their simplest form.
present_components <- function(mixture) {
  used <- mixture$weights > 0
  if (all(used)) return(mixture)
  marginal(keep_components(mixture, used), seq_len(mixture_dim(mixture)))
}

# The input of all statements: the mixture `at` the time; the least and largest variance; and, for a
# reduction, the `inner` mixture, the map of points to it (`turn`) and the eigenvalues of H across
# it (`rest`), which do not depend on x.
score_parts <- function(at, space, a, b2) {
  parts <- list(at = at, smin = min(at$values), smax = max(at$values), inner = at,
                turn = identity, rest = numeric())
  if (is.null(space)) return(parts)
  parts$inner <- space$mixture
  parts$inner$means <- a * space$mixture$means
  parts$inner$values <- diffused_values(space$mixture, a, b2)
  parts$rest <- -1 / (a^2 * space$values[space$rest > 0] + b2)
  parts$turn <- function(x) (if (is.null(space$basis)) x else x %*% space$basis) %*% space$within
  parts
}

with_rest <- function(range, parts) range(range, parts$rest)

# A row per statement for one time, a column for each of several times.
lipschitz_rows <- function(x) {
  words <- unname(lipschitz_words[as.character(x$statement)])
  if (length(unique(x$t)) == 1) {
    # the domain of (c) need not be repeated
    domain <- sub("^.* for all i, density", "as (c), p", sub(" for all i$", "", x$domain))
    return(data.frame(statement = words, L = x$lipschitz, lower = x$lower, upper = x$upper,
                      known = how_known(x), domain = domain))
  }
  kinds <- unique(as.character(x$statement))
  table <- lapply(kinds, function(kind) x$lipschitz[x$statement == kind])
  stats::setNames(data.frame(unique(x$t), table), c("t", kinds))
}

lipschitz_foot <- function(rows) {
  says <- if (length(unique(rows$t)) > 1) {
    known <- split(how_known(rows), factor(rows$statement, unique(rows$statement)))
    paste0(names(known), ": ", lipschitz_words[names(known)], ", ",
           lapply(known, function(how) toString(unique(how))))
  }
  c("L: the constant; lower, upper: what the eigenvalues of the score's derivative are between",
    says)
}

center_words <- function(setup) {
  center <- if (!is.null(setup$center)) {
    paste0("(", toString(format(setup$center, digits = 4, trim = TRUE)), ")")
  } else if (!is.null(setup$radius)) "the mean"
  if (!is.null(center)) {
    paste0("; around ", center,
           if (!is.null(setup$radius)) paste(" to radius", format(setup$radius)))
  }
}

picture.mixguide_lipschitz <- function(object, setup) {
  rows <- as.data.frame(object)
  none <- any(how_known(rows) == "none")
  rows <- rows[is.finite(rows$lipschitz) & rows$lipschitz > 0, ]
  if (!nrow(rows)) abort_input("object", "one with a finite constant", "none")
  present <- intersect(names(lipschitz_words), rows$statement)
  rows$kind <- factor(lipschitz_words[as.character(rows$statement)], rev(lipschitz_words[present]))
  rows$role <- factor(ifelse(how_known(rows) == "bound", "bound", "exact or found"),
                      c("exact or found", "bound"))
  several <- length(unique(rows$t)) > 1
  note <- if (none) "For the whole space there is no constant"
  done <- function(...) {
    finish("Lipschitz constant of the score",
           c(format(setup$mixture),
             paste0(format(setup$schedule), if (!several) paste(", t =", rows$t[1]),
                    center_words(setup))), note, ...)
  }
  if (!several) {
    return(ggplot(rows, aes(.data$lipschitz, .data$kind, shape = .data$role)) +
             geom_point(size = 2.5, colour = ink) + scale_x_log10() +
             scale_shape_manual(values = c("exact or found" = 19, bound = 1), name = NULL) +
             done(x = "constant", y = NULL, legend = "bottom"))
  }
  bound <- present %in% c("loewner", "common", "ball", "affine", "pointwise", "density", "paper")
  ggplot(rows, aes(.data$t, .data$lipschitz, colour = .data$kind, linetype = .data$kind)) +
    geom_line(linewidth = .8) + scale_y_log10() +
    line_scales(class_palette(length(present)), ifelse(bound, "22", "solid"),
                lipschitz_words[present]) +
    done(x = "time t", y = "constant")
}

# Precision matrices, one if the covariance is common.
precisions <- function(mixture) {
  d <- mixture_dim(mixture)
  lapply(seq_len(ncol(mixture$values)), function(k) {
    if (is.null(mixture$vectors)) return(diag(1 / mixture$values[, k], d))
    tcrossprod(component_axes(mixture, k) %*% diag(1 / sqrt(mixture$values[, k]), d))
  })
}

# g_i at a point, a row per component.
component_slopes <- function(mixture, x) {
  K <- mixture_size(mixture)
  P <- precisions(mixture)
  matrix(vapply(seq_len(K), function(k) P[[min(k, length(P))]] %*% (mixture$means[k, ] - x),
                numeric(mixture_dim(mixture))), K, byrow = TRUE)
}

# ---- Bounds

UPPER_OPEN <- "the upper side depends on x: -1/smax + Cov_r(g)"

loewner_bound <- function(parts, center) {
  if (is.null(center)) {
    return(statement_row("loewner", -1 / parts$smin, NA, "everywhere", note = UPPER_OPEN))
  }
  g <- component_slopes(parts$at, center)
  each <- component_logs(parts$at, t(center))
  r <- drop(exp(each - log_sum(as.list(each))))
  spread <- crossprod(sqrt(r) * (g - rep(colSums(r * g), each = nrow(g))))
  statement_row("loewner", -1 / parts$smin, -1 / parts$smax + eigen_range(spread)[2],
                "at the centre")
}

# The logarithms of the components' densities times their weights at points: n x K.
component_logs <- function(mixture, x) {
  matrix(vapply(seq_len(mixture_size(mixture)), function(k) {
    log(mixture$weights[k]) + dgaussmix(x, keep_components(mixture, k), log = TRUE)
  }, double(nrow(x))), nrow(x))
}

# The bound from differences D of the g_i (Popoviciu: a variance is at most range^2/4).
spread_bound <- function(parts, statement, D, domain) {
  statement_row(statement, -1 / parts$smin, D^2 / 4 - 1 / parts$smax, domain)
}

point_statements <- function(parts, center) {
  H <- with_rest(curvature_range(parts$inner, parts$turn(t(center))), parts)
  rbind(statement_row("point", H[1], H[2], "at the centre", "exact"), loewner_bound(parts, center),
        spread_bound(parts, "pointwise", max_distance(component_slopes(parts$at, center)),
                     "at the centre"))
}

max_distance <- function(points) {
  if (nrow(points) == 1) return(0)
  # thousands of points are replaced by a ball that holds them
  if (nrow(points) > 2000) {
    return(2 * sqrt(max(rowSums((points - rep(colMeans(points), each = nrow(points)))^2))))
  }
  max(stats::dist(points))
}

ball_statements <- function(parts, center, radius, density, beta) {
  law <- parts$at
  smin <- parts$smin
  R <- max(sqrt(colSums((t(law$means) - center)^2))) + radius
  in_balls <- paste("|x - mu_i| <=", format(R, digits = 4), "for all i")
  in_ball <- paste("|x - center| <=", format(radius, digits = 4))
  single <- mixture_size(law) == 1
  local <- if (single) -1 / c(smin, parts$smax) else {
    with_rest(local_range(parts$inner, drop(parts$turn(t(center))), radius), parts)
  }
  gamma <- if (is.null(density)) log_density_floor(law, center, radius) else log(density)
  floor <- function(gamma) {
    paste0(in_balls, ", density >= ", if (gamma > -700) format(exp(gamma), digits = 3) else {
      paste0("exp(", format(gamma, digits = 3), ")")
    })
  }
  d <- mixture_dim(law)
  # logarithms, because gamma may be very small
  M <- -d / 2 * log(2 * pi) - min(colSums(log(law$values))) / 2
  derived <- exp(M - gamma) * (1 / smin + R^2 / smin^2) + exp(2 * (M - gamma)) * (R / smin)^2
  known <- min(gamma, log(.1))
  recalled <- (1 / smin + 2 * max(R, 1)^2 / smin^2) * (exp(-known) + exp(-2 * known)) *
    (exp(2 * M) + exp(M)) * exp(-beta^2 / (2 * parts$smax))
  rbind(
    statement_row("local", local[1], local[2], in_ball,
                  if (single) "exact" else "bound", "computed", if (single) "" else LEAST_FOUND),
    spread_bound(parts, "affine", affine_spread(law, center, radius), in_ball),
    spread_bound(parts, "ball", 2 * R / smin, in_balls),
    statement_row("density", NA, NA, floor(gamma), lipschitz = derived),
    statement_row("paper", NA, NA, paste0(floor(known), if (beta > 0) {
      paste(", |x - mu_i| >=", beta)
    }), source = "recalled, not verified against the paper", lipschitz = recalled,
    note = if (beta > 0) "no proof is known for beta > 0" else "")
  )
}

# max_ij |g_i - g_j| over a ball, bounded by its value at the centre and the change that the
# precisions allow.
affine_spread <- function(mixture, center, radius) {
  g <- component_slopes(mixture, center)
  if (ncol(mixture$values) == 1) return(max_distance(g))
  max(as.matrix(stats::dist(g)) + radius * precision_distances(mixture))
}

# ||P_i - P_j|| in spectral norm, K x K; for many full precisions a bound by their eigenvalues.
precision_distances <- function(mixture) {
  p <- 1 / mixture$values
  K <- ncol(p)
  if (is.null(mixture$vectors)) return(as.matrix(stats::dist(t(p), "maximum")))
  top <- apply(p, 2, max)
  low <- apply(p, 2, min)
  if (K > 60) return(pmax(outer(top, low, "-"), t(outer(top, low, "-"))))
  P <- precisions(mixture)
  norms <- matrix(0, K, K)
  for (i in seq_len(K)) for (j in seq_len(i - 1)) {
    norms[i, j] <- norms[j, i] <- max(abs(eigen(P[[i]] - P[[j]], TRUE, TRUE)$values))
  }
  norms
}

# ---- The constant for the whole space

LEAST_FOUND <- "found by optimisation: a lower bound of the constant"

global_constant <- function(parts) {
  law <- parts$at
  smin <- parts$smin
  K <- mixture_size(law)
  row <- function(range, method, note = "") {
    range <- with_rest(range, parts)
    statement_row("global", range[1], range[2], "everywhere", method, "computed", note)
  }
  if (K == 1) return(row(-1 / c(smin, parts$smax), "exact"))
  if (ncol(law$values) == 1) {
    # differences of the P mu do not leave the subspace of a reduction
    g <- component_slopes(parts$inner, 0 * parts$inner$means[1, ])
    bound <- spread_bound(parts, "common", max_distance(g), "everywhere")
    # far out one component dominates, and H is -P
    least <- -1 / c(smin, parts$smax)
    if (K == 2) {
      top <- eigen_range(crossprod(g[1, , drop = FALSE] - g[2, ]) / 4 -
                           precisions(parts$inner)[[1]])[2]
      return(rbind(row(c(least, top), "exact"), bound))
    }
    on_line <- mixture_dim(parts$inner) == 1
    top <- if (on_line) max(scan_range(parts$inner)) else common_top(parts$inner)
    met <- top >= bound$upper * (1 - 1e-9) || 1 / smin >= bound$upper
    note <- if (met) "" else if (on_line) "scanned along the line of the means" else LEAST_FOUND
    method <- if (met) "exact" else if (on_line) "quadrature" else "bound"
                      return(rbind(row(c(least, top), method, note), bound))
  }
  if (mixture_dim(parts$inner) == 1) {
    return(row(scan_range(parts$inner), "quadrature",
               "scanned around all components and all ties, far out too"))
  }
  growth <- score_growth(parts$inner)
  switch(growth$kind,
         none = row(c(-1 / smin, Inf), "exact", paste0("there is no constant: ", growth$note)),
         exists = row(spread_range(parts$inner), "bound",
                      paste0("a constant exists; ", LEAST_FOUND)),
         statement_row("global", NA, NA, "everywhere", "unknown", "computed",
                       "not known whether there is a constant"))
}

# Is H bounded? For two components the range of |g_i - g_j| on the surface where they tie matters.
# It is bounded if P_i - P_j is zero or definite, or if a component of a flatter tail (P_k < P_i)
# dominates there. It is not bounded if a tie along u stays on top, with P_i u != P_j u.
score_growth <- function(mixture) {
  P <- precisions(mixture)
  K <- length(P)
  size <- max(1 / mixture$values)
  tol <- 1e-10 * size
  sign_of <- function(A) {
    values <- eigen(A, TRUE, TRUE)$values
    if (all(abs(values) <= tol)) return("zero")
    if (any(values > tol) && any(values < -tol)) return("indefinite")
    if (all(values > tol)) "positive" else if (all(values < -tol)) "negative" else "semidefinite"
  }
  kind <- vapply(P, function(second) {
    vapply(P, function(first) sign_of(first - second), "")
  }, rep("", K))
  # components with a flatter one above them far out in every direction
  outlived <- apply(kind == "positive", 1, any)
  open <- which(kind %in% c("indefinite", "semidefinite") & upper.tri(kind) &
                  !outer(outlived, outlived, "|"))
  if (!length(open)) return(list(kind = "exists"))
  pairs <- arrayInd(open, dim(kind))
  for (p in seq_len(nrow(pairs))) {
    i <- pairs[p, 1]
    j <- pairs[p, 2]
    A <- P[[i]] - P[[j]]
    if (kind[i, j] == "indefinite") {
      u <- tie_directions(A)
      q <- matrix(vapply(P, function(P) colSums(u * (P %*% u)), numeric(ncol(u))), ncol = K)
      others <- kind[i, ] != "zero" & kind[j, ] != "zero"
      lowest <- apply(cbind(q[, others, drop = FALSE], Inf), 1, min)
      if (any(lowest > q[, i] + 1e-8 * size)) {
        return(list(kind = "none", note = paste(
          "components", i, "and", j, "tie along a direction in which the tails of both are the",
          "flattest, and H grows like |x|^2 there")))
      }
    } else if (K == 2) {
      # a paraboloid, unless the tie does not depend on the directions in which P_i = P_j
      b <- P[[i]] %*% mixture$means[i, ] - P[[j]] %*% mixture$means[j, ]
      e <- eigen(A, TRUE)
      free <- abs(e$values) <= tol
      if (max(abs(crossprod(e$vectors[, free], b))) > 1e-8 * sqrt(sum(b^2))) {
        return(list(kind = "none", note = paste(
          "the two components tie on a paraboloid, along which H grows without bound")))
      }
      return(list(kind = "exists"))
    }
  }
  list(kind = "unknown")
}

# Directions u, a column each, with u'A u = 0 and A u != 0, for an indefinite A; all of them in the
# plane.
tie_directions <- function(A, n = 500) {
  e <- eigen(A, TRUE)
  d <- length(e$values)
  up <- e$values > 0
  z <- if (d == 2) cbind(c(1, 1), c(1, -1)) else t(stats::qnorm(even_points(n, d)))
  w <- z * sqrt(abs(e$values))
  # scales the parts on which A is positive and negative to cancel
  share <- function(on) sqrt(colSums(w[on, , drop = FALSE]^2))
  z[up, ] <- z[up, , drop = FALSE] / rep(share(up), each = sum(up))
  z[!up, ] <- z[!up, , drop = FALSE] / rep(share(!up), each = sum(!up))
  u <- e$vectors %*% z
  u / rep(sqrt(colSums(u^2)), each = d)
}

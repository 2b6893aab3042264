#' How much observed and unobserved variables tell of each other
#'
#' The mutual information of what is observed of a mixture and of the rest, in nats: 0 if they are
#' independent. It is a warning that comes before any run: zero-shot conditional samplers of the
#' DDNM and BO class treat the two as if it were 0, and their accumulated mismatch, on average over
#' `y`, is at most this.
#'
#' @details
#' Without noise, in continuous time and down to `t = 0`,
#'
#'     E_y B(H) + E_y B(H_perp) = I(P x_0; N x_0),
#'
#' where `B` is the bias of [mismatch()] for DDNM (which without noise is BO), `P` the projection on
#' what is observed, `N = I - P`, and `H_perp` observes just what `H` does not. Hence
#' `E_y B <= I`. (Derived for this package, by the identity of information and minimum mean square
#' error, for every prior with a density.) In a bivariate Gaussian `E_y B` is half of `I`. At finite
#' steps `B` was smaller than its limit wherever we looked (observed, not proved).
#'
#' `expected_mismatch()` computes `E_y B` on a grid of times, for any noise. `y` and `x_t` are
#' jointly a mixture, whose score in `x_t` is that of the exact conditional law: no law has to be
#' conditioned on each `y`. A single Gaussian: exact; if `y` and `x` have at most three dimensions
#' together: Gauss-Hermite rules; else draws.
#'
#' @param mixture A [gaussmix()] with a density.
#' @param observed What is observed: names or numbers of variables, or an m x d matrix `H`, of which
#'   only the range counts; or an [observation()], whose `y` does not count, nor its noise for the
#'   mutual information.
#' @param n Number of draws where quadrature is not possible.
#' @return Tables of estimates ([mixguide_table]). `mutual_information()`: with one row.
#'   `expected_mismatch()`: with the rows `"bias"`, `"range"` and `"null"`, of which the bias
#'   consists, and `"mutual_information"`.
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit; of class
#'   `mixguide_error_singular` for a mixture without a density.
#' @source Derived for this package; the setting: Liang, Ju, Liang and Shroff (2024),
#'   \doi{10.48550/arXiv.2410.13746}.
#' @seealso [zero_shot_mismatch()] for one `y`; [impute()], which is exact.
#' @examples
#' m <- named_mixture("M2")
#' mutual_information(m, observed = 1)
#' expected_mismatch(m, observed = 1, schedule = schedule_etc(50))
#' # variables of a fit
#' mutual_information(as_gaussmix(Species ~ ., iris), "Petal.Length", n = 2000)
#' @export
mutual_information <- function(mixture, observed, n = 1e5) {
  check_mixture(mixture)
  frame <- observed_frame(observed, mixture)
  if (is_singular(mixture)) {
    abort("`mixture` has a singular covariance and no density; add noise by diffuse() first",
          "singular")
  }
  given <- function(row) {
    estimate_table("mutual_information", row,
                   paste("of", count_of(frame$r, "observed number"), "and the rest of",
                         format(mixture)))
  }
  if (frame$r == frame$d) return(given(estimate_row(0, 0, "exact")))
  given(information_of(in_process(mixture), frame, n))
}

information_of <- function(mixture, frame, n) {
  whole <- turned_mixture(keep_components(mixture, mixture$weights > 0), frame)
  inside <- seq_len(frame$r)
  parts <- list(whole, marginal(whole, inside), marginal(whole, seq_len(frame$d)[-inside]))
  if (mixture_size(whole) == 1 || frame$d == 2) {
    rows <- do.call(rbind, lapply(parts, function(part) information(part, 0, n = 2)))
    if (all(rows$method != "Monte Carlo")) {
      method <- if (all(rows$method == "exact")) "exact" else "quadrature"
      return(estimate_row(sum(c(-1, 1, 1) * rows$entropy), 0, method))
    }
  }
  x <- rgaussmix(check_count(n, "n", min = 2), whole)
  log_p <- Map(dgaussmix, list(x, x[, inside, drop = FALSE], x[, -inside, drop = FALSE]), parts,
               log = TRUE)
  sample_mean(log_p[[1]] - log_p[[2]] - log_p[[3]])
}

# The frame (see complete_basis()) of what is observed.
observed_frame <- function(observed, mixture, noise = 0, arg = "observed") {
  if (!inherits(observed, "observation")) {
    H <- observed
    if (is.data.frame(H)) H <- as.matrix(H)
    if (!is.numeric(H) && !is.character(H) || !length(H)) {
      abort_input(arg, "names or numbers of variables, a matrix or an observation()", describe(H))
    }
    p <- if (is.matrix(H)) nrow(H) else length(H)
    observed <- observation(rep(0, p), H, noise)
  }
  # impossible or not, y does not count
  observed$y[] <- 0
  check_observation(observed, mixture, arg)
  observed <- in_process(observed, mixture)
  mixture <- in_process(mixture)
  complete_basis(observed_range(observed, observation_matrix(observed, mixture, arg),
                                sd = mixture_sd(mixture)))
}

#' @rdname mutual_information
#' @param noise The covariance of the noise of what is observed, see [observation()].
#' @param method `"bo"`, `"ddnm"` (which are the same without noise) or `"none"`, the unconditional
#'   score.
#' @param schedule,times The forward process and its grid, as in [mismatch()].
#' @param nodes Gauss-Hermite nodes along each axis.
#' @export
expected_mismatch <- function(mixture, observed, noise = 0, method = c("bo", "ddnm", "none"),
                              schedule = schedule_etc(100), times = NULL, nodes = 20, n = 1e4) {
  check_mixture(mixture)
  method <- check_choice(method, c("bo", "ddnm", "none"), "method")
  times <- mismatch_times(times, schedule)
  frame <- observed_frame(observed, mixture, noise)
  units <- mixture
  mixture <- in_process(mixture)
  inner <- turned_mixture(keep_components(mixture, mixture$weights > 0), frame)
  d <- frame$d
  r <- frame$r
  # (y, x_0), and what noise there will be
  map <- rbind(diag(d)[seq_len(r), , drop = FALSE], diag(d))
  joint <- function(a, b2) {
    image <- map * rep(c(1, a), c(r, d))
    covs <- lapply(seq_len(ncol(inner$values)), function(k) {
      S <- image %*% component_cov(inner, k) %*% t(image)
      simplify_cov((S + t(S)) / 2 + diag(c(frame$nu, rep(b2, d)), r + d))
    })
    names(covs) <- paste("component", seq_along(covs))
    assemble_gaussmix(inner$weights, inner$means %*% t(image), covs, inner$class)
  }
  points <- joint_points(inner, frame, nodes, n)
  inside <- seq_len(r)
  need_memory(times, schedule, "this decomposition")
  one <- step_constants(seq_len(length(times) - 1), times, schedule)
  totals <- 0
  for (k in seq_along(one$beta)) {
    a <- one$a[k]
    b2 <- one$b2[k]
    law <- joint(a, b2)
    yx <- points$at(law, a, b2)
    x <- yx[, r + seq_len(d), drop = FALSE]
    g <- unname(score(inner, x, times[k], schedule))
    if (method != "none") {
      variance <- b2 + (method == "bo") * a^2 * frame$nu
      g[, inside] <- (a * yx[, inside] - x[, inside]) / rep(variance, each = nrow(x))
    }
    part <- one$beta[k] / 2 * (unname(score(law, yx))[, r + seq_len(d), drop = FALSE] - g)^2
    totals <- totals + cbind(rowSums(part), rowSums(part[, inside, drop = FALSE]))
  }
  totals <- cbind(totals, totals[, 1] - totals[, 2])
  rows <- lapply(1:3, function(j) {
    mean <- points$mean(totals[, j])
    estimate_row(mean$estimate, mean$se, points$method)
  })
  about <- if (!is_singular(inner)) list(mutual_information(units, observed, 10 * n)[ESTIMATE])
  quantity <- c("bias", "range", "null", if (length(about)) "mutual_information")
  setup <- list(mixture = units, noiseless = all(frame$nu == 0), schedule = schedule,
                horizon = times[1], times = times,
                method = c(bo = "BO-DDNM", ddnm = "DDNM",
                           none = "the unconditional score")[[method]])
  new_table(data.frame(quantity = quantity, do.call(rbind, c(rows, about)),
                       stringsAsFactors = FALSE), "expected_mismatch",
            c(paste0("of ", setup$method, ", on average over y"),
              paste0(format(schedule), ", from t = ", format(times[1]), " to ",
                     format(times[length(times)]))),
            setup, labels = c(bias = "E B", range = "  of it, range", null = "  of it, null"),
            foot = if (setup$noiseless && method != "none" && length(about)) {
              "In continuous time E B is at most the mutual information"
            })
}

# Points (y, x_t) under their joint law at each time, in the coordinates of the frame.
joint_points <- function(mixture, frame, nodes, n) {
  r <- frame$r
  d <- frame$d
  affine <- mixture_size(mixture) == 1
  rule <- quadrature_points(mixture$weights, r + d, affine,
                            check_count(nodes, "nodes", min = 2))
  if (!is.null(rule)) {
    return(c(rule, list(at = function(law, a, b2) place_draws(law, rule$component, rule$z))))
  }
  n <- check_count(n, "n", min = 2)
  x <- unname(rgaussmix(n, mixture))
  normals <- function(m) matrix(stats::rnorm(n * m), n)
  y <- x[, seq_len(r), drop = FALSE] + normals(r) * rep(sqrt(frame$nu), each = n)
  c(drawn_points(n), list(at = function(law, a, b2) cbind(y, a * x + sqrt(b2) * normals(d))))
}

#' How much observed and unobserved variables tell of each other
#'
#' The mutual information of what is observed of a mixture and of the rest, in nats: 0 if they are
#' independent. It is a warning that comes before any run: zero-shot conditional samplers of the
#' DDNM and BO class treat the two as if it were 0, and their accumulated mismatch, on average over
#' `y`, is at most this.
#'
#' @details
#' It is the Kullback-Leibler divergence of the law of both together from the product of the laws of
#' each, `KL(together || product)`.
#'
#' Without noise, in continuous time and down to `t = 0`,
#'
#'     E_y B(H) + E_y B(H_perp) = I(P x_0; N x_0),
#'
#' where `B` is the bias of [mismatch()] for DDNM (which without noise is BO), `P` the projection on
#' what is observed, `N = I - P`, and `H_perp` observes just what `H` does not. Hence
#' `E_y B <= I`. (Derived for this package, by the identity of information and minimum mean square
#' error, for every prior with a density.) In a bivariate Gaussian `E_y B` is half of `I`. At finite
#' steps `B` was smaller than its limit wherever we looked (observed, not proved). `E_y B` is what
#' [mismatch()] computes for an observation without `y`.
#'
#' @inheritParams information
#' @param mixture A [gaussmix()] with a density, or a [diffusion()] of one.
#' @param observation What is observed: names or numbers of variables, or an [observation()], of
#'   which only the range of `H` counts: neither `y` nor the noise.
#' @return A table of estimates ([mixguide_table]) with one row.
#' @source Derived for this package; the setting: Liang, Ju, Liang and Shroff (2024),
#'   \doi{10.48550/arXiv.2410.13746}.
#' @seealso [mismatch()]; [impute()], which is exact.
#' @examples
#' mutual_information(named_mixture("M2"), 1)
#' # variables of a fit
#' mutual_information(as_gaussmix(Species ~ ., iris), "Petal.Length", n = 2000)
#' @export
mutual_information <- function(mixture, observation, n = 1e4, key = NULL) {
  unpack_diffusion()
  check_mixture(mixture)
  if (missing(observation)) {
    abort_input("observation", "given: the variables that are observed, or an observation()")
  }
  key <- check_key(key)
  frame <- observed_frame(as_observation(observation, mixture, seen = "none"), mixture)
  refuse_singular(mixture, "`mixture` has a singular covariance and no density;",
                  "add noise by diffuse() first")
  row <- if (frame$r == frame$d) estimate_row(0, 0, "exact") else {
    information_of(in_process(mixture), frame, n, key)
  }
  estimate_table("mutual_information", row,
                 paste("of", count_of(frame$r, "observed number"), "and the rest of",
                       format(mixture)))
}

information_of <- function(mixture, frame, n, key) {
  whole <- turned_mixture(keep_components(mixture, mixture$weights > 0), frame)
  inside <- seq_len(frame$r)
  parts <- list(whole, marginal(whole, inside), marginal(whole, seq_len(frame$d)[-inside]))
  if (mixture_size(whole) == 1 || frame$d == 2) {
    rows <- do.call(rbind, lapply(parts, function(part) information(part, 0, n = 2, key = c(0, 0))))
    if (all(rows$method != "Monte Carlo")) {
      method <- if (all(rows$method == "exact")) "exact" else "quadrature"
      return(estimate_row(sum(c(-1, 1, 1) * rows$entropy), 0, method))
    }
  }
  mean_of_draws(whole, check_count(n, "n", min = 2), function(x) {
    log_p <- Map(dgaussmix, list(x, x[, inside, drop = FALSE], x[, -inside, drop = FALSE]), parts,
                 log = TRUE)
    log_p[[1]] - log_p[[2]] - log_p[[3]]
  }, own_key(key))
}

# The frame of an observation (see complete_basis()), in the coordinates of the process.
observed_frame <- function(observation, mixture) {
  observation <- in_process(observation, mixture)
  complete_basis(observed_range(observation, sd = mixture_sd(in_process(mixture))))
}

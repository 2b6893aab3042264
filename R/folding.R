#' Does the map from noise to data fold?
#'
#' A deterministic sampler is a map. Guidance that is too strong for the steps folds it: several
#' starts lead to the same place, and the sum of `log|det|` that gives the entropy along the paths
#' ([entropy()]) becomes an upper bound. In one dimension this function computes the bound, the
#' entropy, and their difference: the information about the start that the output has lost.
#'
#' @details With the map `F` and the density `p` of the start, the density of the output at `y` is
#' `sum p(x)/|F'(x)|` over all `x` with `F(x) = y`. The runs of `n` starts, over 9 standard
#' deviations to each side, are cut at the turns of `F`, and each branch is interpolated between
#' them. The entropy lost by folding, `entropy_bound - entropy`, is the mean entropy of the branch,
#' given the output.
#'
#' @section Numerical notes: nodes resolve folds wider than their distance. If guidance tears
#'   neighbouring starts far apart, the number of `pieces` is unreliable, and the entropy has two or
#'   three correct digits.
#'
#' @inheritParams guidance_sweep
#' @param mixture A [gaussmix()] in one dimension.
#' @param n Number of starts.
#' @param ... Further arguments of [diffusion()] that follow the mixture there; the `sampler`
#'   must be deterministic.
#' @return A data frame of class `mixguide_folding`, with a row per strength and columns `strength`;
#'   `entropy_bound`, `h(start) + E sum log|det|`; `entropy`, of the output; `folded`, the
#'   probability that another start with the same end, drawn from all of these, lies on
#'   another branch; `pieces`, the number of monotone pieces of the map; `injective`, is `folded`
#'   below 1e-6; `turns`, does a step have a negative slope at some start; `confidence`; and
#'   `method`. Attribute `map` has the maps, a data frame with `strength`, `start`, `end`.
#' @source Derived for this package; the identity without folds is that of Wu, Chen, Li, Wang and
#'   Wei (2024), \doi{10.48550/arXiv.2403.01639}, in discrete form.
#' @seealso [step_condition()], whose claim "no fold" gives the strength up to which nothing folds.
#' @examples
#' folds <- folding(named_mixture("D3"), "1", c(1, 8, 30), sampler_euler(20, "uniform"),
#'                  horizon = 5, n = 5001)
#' folds
#' plot(folds)
#' @export
folding <- function(mixture, guidance = NULL, strength = c(0, 1, 4, 16), n = 20001, sampler = NULL,
                    ...) {
  d <- as_diffusion(mixture, ..., own = list(guidance = guidance, sampler = sampler),
                    without = "score_error")
  template <- plain_guidance(d)
  check_univariate(d$mixture)
  if (d$sampler$stochastic) refuse_sampler(d, "a deterministic sampler", "sampler_ddim(50)")
  strength <- check_strengths(strength)
  faults <- warn_faults(diffusion_faults(d))
  begin <- sweep_start(d, TRUE, check_count(n, "n", 2))
  results <- lapply(strength, function(eta) {
    setting <- replace(d, c("guidance", "start"), list(with_strength(template, eta), begin$start))
    run <- quiet_sample(setting, n, log_density = "map")
    end <- drop(run$x)
    whole <- branch_density(end, end, run$log_density)
    w <- begin$weights
    folded <- sum(w * -expm1(run$log_density - whole))
    list(row = data.frame(strength = eta, entropy_bound = -sum(w * run$log_density),
                          entropy = -sum(w * whole), folded = folded,
                          pieces = length(turning_nodes(end)) + 1, injective = folded < 1e-6,
                          turns = any(run$folded), confidence = sum(w * run$confidence),
                          method = "quadrature"),
         map = data.frame(strength = eta, start = drop(begin$start), end = end))
  })
  tables <- together(results)
  new_table(tables$row, "mixguide_folding",
            c("of the map from noise to data, by quadrature",
              process_lines(d, guidance = paste("towards", aim_words(template$class)))),
            setup_of(d, n = n, faults = faults), keys = "strength",
            foot = paste("entropy_bound: as if nothing folded; folded: the share of starts whose",
                         "end another branch reaches; pieces: monotone parts of the map;",
                         "turns: a step has a negative slope somewhere"),
            map = tables$map)
}

picture.mixguide_folding <- function(object, setup) {
  sd <- start_sd(setup$schedule, setup$horizon)
  map <- attr(object, "map")
  map <- map[abs(to_process(matrix(map$start), setup$mixture)) < 4 * sd, ]
  label <- paste0("strength ", format(object$strength, trim = TRUE),
                  ifelse(object$injective, "", ": folds"))
  map$panel <- factor(label[match(map$strength, object$strength)], unique(label))
  ggplot(map, aes(.data$start, .data$end)) +
    geom_line(colour = class_palette(1)) +
    facet_wrap(vars(.data$panel), scales = "free_y") +
    finish("The map from noise to data", c(format(setup$sampler), schedule_words(setup)),
           fault_words(setup$faults), x = "start", y = "end")
}

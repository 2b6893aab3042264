#' Weights of ReCFG
#'
#' Guidance by the rule `"recfg"` (see [guidance_rule()]) is `w s_c + gamma s_u`, with `w = 1 +
#' strength`, of the scores of the class and of the whole. In each coordinate, at each time, `gamma`
#' is the multiple of `s_u` that is nearest to `-(w - 1) s_c` in the mean square under the noised
#' law of the class, `gamma = -(w - 1) E[s_c s_u]/E[s_u^2]`, where plain guidance has `-(w - 1)`.
#'
#' @details This is the formula of the authors' code, which estimates both expectations from the
#' noise that a network predicts. The formula printed in the paper is `-(w - 1) E[s_c]/E[s_u]`. With
#' exact scores its numerator is 0 at all times, because a score has mean 0 under its own law, so
#' nothing would be subtracted: `printed` is the ratio `E[s_c]/E[s_u]`, which is 0 up to its error.
#'
#' The expectations are sums over nodes in one dimension, with negligible error. Beyond, they are
#' means over `n` draws of the class by scrambled Sobol nets in 16 replicates. Their key is fixed,
#' so that the rule is the same everywhere; `se` is the remaining error of `gamma`.
#'
#' @param mixture A [gaussmix()].
#' @param guidance A [guidance()], with or without the rule, towards one class.
#' @param t Times, in the clock of the schedule.
#' @param schedule The forward process, see [schedule].
#' @param n Number of draws in two dimensions or more.
#' @return A data frame with a row for each time and variable: `t`, `variable`; `class` and `other`,
#'   the weights `w` and `gamma`; `se` of `gamma`; `method`; and `printed`. An error of class
#'   `mixguide_error_singular` where the class has no density at a time.
#' @source Xia et al. (2024), \doi{10.48550/arXiv.2410.18737}, and their code.
#' @seealso [guidance_rule()]
#' @examples
#' m <- named_mixture("A2")
#' recfg_weights(m, guidance("1", 2), c(.1, .5, 1, 3))
#' by_recfg <- guidance("1", 2, rule = "recfg")
#' guided_law(m, guidance = by_recfg, sampler = sampler_ddim(50))
#' @export
recfg_weights <- function(mixture, guidance, t, schedule = schedule_ou(), n = 4096) {
  check_mixture(mixture)
  check_schedule(schedule)
  guidance <- as_guidance(guidance)
  check_guidance(guidance, optional = FALSE)
  n <- check_count(n, "n", 1024)
  if (!are_numbers(t) || any(t < 0)) abort_input("t", "finite numbers >= 0", describe(t))
  for (at in t) noise_level(mixture, at, schedule, singular_ok = TRUE)
  guidance <- settle_guidance(guidance, schedule)
  guidance$rule <- guidance_rule("recfg", n = n)
  guide <- guidance_models(in_process(guidance, mixture), in_process(mixture))
  eta <- guidance_strength(guidance, t)
  rows <- lapply(seq_along(t), function(i) {
    at <- recfg_ratio(guide, t[i], schedule)
    data.frame(t = t[i], variable = variable_labels(mixture), class = 1 + eta[i],
               other = -eta[i] * at$ratio, se = abs(eta[i]) * at$se, method = at$method,
               printed = at$printed)
  })
  do.call(rbind, rows)
}

# w s_c + gamma s_u.
recfg_operations <- function(op, guide, schedule) {
  eta <- guide$strength(op$t)
  ratio <- vapply(op$t, function(t) recfg_ratio(guide, t, schedule)$ratio,
                  double(mixture_dim(guide$class_law)))
  eval <- function(to, of) new_op("eval", to = to, from = op$from, t = op$t, of = of)
  c(list(eval(op$to, "class"), eval("(away)", "away")),
    list(op_linear(op$to, stats::setNames(list(1 + eta, -eta * as.vector(ratio)),
                                          c(op$to, "(away)")))))
}

# E[s_c s_u]/E[s_u^2] in each coordinate under the law of the class at a time. The values of the
# last guidance are kept, because runs ask again for the same times.
recfg_ratio <- function(guide, t, schedule) {
  a <- schedule$a(t)
  b2 <- schedule$b2(t)
  what <- list(guide$sources, guide$models, guide$class_law, guide$rule$params,
               guide$coef(0, "away"))
  if (!identical(last_ratios$what, what)) {
    last_ratios$what <- what
    last_ratios$of <- list()
  }
  level <- paste(format(c(a, b2), digits = 17), collapse = " ")
  if (is.null(last_ratios$of[[level]])) {
    last_ratios$of[[level]] <- recfg_ratio_at(guide, t, schedule, a, b2)
  }
  last_ratios$of[[level]]
}

last_ratios <- new.env(parent = emptyenv())

recfg_ratio_at <- function(guide, t, schedule, a, b2) {
  law <- diffuse(guide$class_law, t, schedule)
  pool <- guidance_pool(guide)
  refuse_singular(diffuse(pool, t, schedule), "the mixture has no score at t =", format(t))
  nodes <- if (mixture_dim(law) == 1) line_nodes(diffuse(pool, t, schedule))
  family <- NULL
  if (is.null(nodes)) {
    n <- guide$rule$params$n
    net <- draws_net(law, n)
    x <- unname(keyed_draws(law, n, c(0, 0), net = net))
    family <- replicate_of(net, 0, n)
    weight <- rep(1 / n, n)
  } else {
    x <- nodes$x
    weight <- nodes$weight * dgaussmix(x, law)
  }
  of <- function(of) unname(core_eval(pool, x, a, b2, guide$models, guide$coef(t, of), "score"))
  s_c <- of("class")
  s_u <- of("away")
  # scores are as large as 1/b
  unit <- max(abs(s_u))
  s_c <- s_c / unit
  s_u <- s_u / unit
  square <- colSums(weight * s_u^2)
  ratio <- colSums(weight * s_c * s_u) / square
  se <- if (is.null(family)) 0 * ratio else {
    rest <- (s_c * s_u - s_u^2 * rep(ratio, each = nrow(x))) * weight
    apply(rest, 2, families_se, family) / square
  }
  list(ratio = ratio, se = se, method = if (is.null(family)) "quadrature" else "Monte Carlo",
       printed = colSums(weight * s_c) / colSums(weight * s_u))
}

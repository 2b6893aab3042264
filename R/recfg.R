#' Weights of ReCFG
#'
#' Guidance by the rule `"recfg"` (see [guidance_rule()]) is `w s_c + gamma s_u`, with `w = 1 +
#' strength`, of the scores of the class and of the whole. In each coordinate, at each time, `gamma`
#' is the multiple of `s_u` that is nearest to `-(w - 1) s_c` in the mean square under the noised
#' law of the class, `gamma = -(w - 1) E[s_c s_u]/E[s_u^2]`, where plain guidance has `-(w - 1)`.
#'
#' @details This is the formula of the authors' code, which estimates both expectations from the
#' noise that a network predicts. The formula printed in the paper is `-(w - 1) E[s_c]/E[s_u]`. With
#' exact scores its numerator is 0 at all times, because a score has mean 0 under its own law:
#' `printed` is the ratio `E[s_c]/E[s_u]`, which is 0 up to its error.
#'
#' The expectations are sums over nodes in one dimension, with negligible error. Beyond, they are
#' means over `n` draws of the class by scrambled Sobol nets in 16 replicates, and `se` is the
#' remaining error. A run by the rule has the draws of `key = c(0, 0)`, so that the rule is the same
#' everywhere.
#'
#' @param mixture A [gaussmix()], or a [diffusion()], with its guidance, schedule and key.
#' @param guidance A [guidance()], with or without the rule, towards one class.
#' @param t Times, in the clock of the schedule.
#' @param schedule The forward process, see [schedule].
#' @param n Number of draws in two dimensions or more.
#' @param key Determines the draws, as in [diffusion()].
#' @return A table of estimates ([mixguide_table]) with three rows for each time `t` and `variable`:
#'   of the column `quantity`, `"class"` and `"other"` are the weights `w` and `gamma`, and
#'   `"printed"` is the ratio above. An error of class `mixguide_error_singular` where the class has
#'   no density at a time.
#' @source Xia et al. (2024), \doi{10.48550/arXiv.2410.18737}, and their code.
#' @examples
#' m <- named_mixture("A2")
#' recfg_weights(m, guidance("1", 2), c(.1, .5, 1, 3))
#' by_recfg <- guidance("1", 2, rule = "recfg")
#' guided_law(m, guidance = by_recfg, sampler = sampler_ddim(50))
#' @export
recfg_weights <- function(mixture, guidance, t, schedule = schedule_ou(), n = 4096, key = NULL) {
  unpack_diffusion()
  check_mixture(mixture)
  check_schedule(schedule)
  guidance <- as_guidance(guidance)
  check_guidance(guidance, optional = FALSE)
  n <- check_count(n, "n", 1024)
  key <- check_key(key)
  if (!are_numbers(t) || any(t < 0)) abort_input("t", "finite numbers >= 0", describe(t))
  for (at in t) noise_level(mixture, at, schedule, singular_ok = TRUE)
  guidance <- settle_guidance(guidance, schedule)
  if (identical(guidance$rule$kind, "recfg")) guidance["rule"] <- list(NULL)
  if (length(guidance$others)) {
    abort_input("guidance", "towards one class, not a sum", format(guidance))
  }
  refuse_odd(guidance, "here")
  guidance$rule <- guidance_rule("recfg", n = n)
  guide <- guidance_models(in_process(guidance, mixture), in_process(mixture))
  eta <- guidance_strength(guidance, t)
  # only if there are draws: nodes on the line have none
  delayedAssign("settled", own_key(key))
  rows <- lapply(seq_along(t), function(i) {
    found <- recfg_ratio_at(guide, t[i], schedule, schedule$a(t[i]), schedule$b2(t[i]), settled)
    row <- function(quantity, ...) {
      data.frame(quantity = quantity, variable = variable_labels(mixture), t = t[i],
                 estimate_row(...))
    }
    rbind(row("class", rep(1 + eta[i], length(found$ratio)), 0, "exact"),
          row("other", -eta[i] * found$ratio, abs(eta[i]) * found$se, found$method),
          row("printed", found$printed, found$printed_se, found$method))
  })
  rows <- do.call(rbind, rows)
  drawn <- "Monte Carlo" %in% rows$method
  new_table(rows, "recfg_weights",
            c(format(mixture), paste0("guidance: ", format(guidance)),
              paste0("schedule: ", schedule_words(list(schedule = schedule)))),
            list(mixture = mixture, guidance = guidance, class = guidance$class,
                 schedule = schedule, key = if (drawn) settled, n = if (drawn) n),
            foot = "class, other: the weights w and gamma; printed: the ratio of the paper")
}

# w s_c + gamma s_u.
recfg_operations <- function(op, guide, schedule) {
  eta <- guide$strength(op$t)
  ratio <- vapply(op$t, function(t) recfg_ratio(guide, t, schedule)$ratio,
                  double(mixture_dim(guide$class_law)))
  eval <- function(to, of) new_op("eval", to = to, from = op$from, t = op$t, of = of)
  coef <- stats::setNames(list(1 + eta, -eta * as.vector(ratio)), c(op$to, "(away)"))
  list(eval(op$to, "class"), eval("(away)", "away"), op_linear(op$to, coef))
}

# E[s_c s_u]/E[s_u^2] in each coordinate under the law of the class at a time. The values of the
# last guidance are kept, because runs ask again for the same times. All runs have one key, so that
# the rule is the same in each.
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
    last_ratios$of[[level]] <- recfg_ratio_at(guide, t, schedule, a, b2, c(0, 0))
  }
  last_ratios$of[[level]]
}

last_ratios <- new.env(parent = emptyenv())

recfg_ratio_at <- function(guide, t, schedule, a, b2, key) {
  law <- diffuse(guide$class_law, t, schedule)
  pool <- guidance_pool(guide)
  refuse_singular(diffuse(pool, t, schedule), "the mixture has no score at t =", format(t))
  nodes <- if (mixture_dim(law) == 1) line_nodes(diffuse(pool, t, schedule))
  family <- NULL
  if (is.null(nodes)) {
    n <- guide$rule$params$n
    net <- draws_net(law, n)
    x <- unname(keyed_draws(law, n, key, net = net))
    family <- replicate_of(net, 0, n)
    weight <- rep(1 / n, n)
  } else {
    x <- nodes$x
    weight <- nodes$weight * dgaussmix(x, law)
  }
  score_of <- function(of) {
    unname(core_eval(pool, x, a, b2, guide$models, guide$coef(t, of), "score"))
  }
  s_c <- score_of("class")
  s_u <- score_of("away")
  # scores are as large as 1/b
  unit <- max(abs(s_u))
  s_c <- s_c / unit
  s_u <- s_u / unit
  square <- colSums(weight * s_u^2)
  mean <- colSums(weight * s_u)
  ratio <- colSums(weight * s_c * s_u) / square
  printed <- colSums(weight * s_c) / mean
  # of a ratio of two means
  se <- function(above, below, ratio, mean) {
    if (is.null(family)) return(0 * ratio)
    rest <- (above - below * rep(ratio, each = nrow(x))) * weight
    apply(rest, 2, families_se, family) / abs(mean)
  }
  list(ratio = ratio, se = se(s_c * s_u, s_u^2, ratio, square),
       method = if (is.null(family)) "quadrature" else "Monte Carlo",
       printed = printed, printed_se = se(s_c, s_u, printed, mean))
}

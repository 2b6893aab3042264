#' The test mixtures of the theory
#'
#' Small mixtures with results known to many digits, for tests and as first examples: each shows one
#' thing.
#'
#' @details
#' Every component is a class of its own, `"1"` to `"K"`; in the guidance series `"1"` is the class
#' to aim at. A number as covariance is a multiple of the identity.
#'
#' Smoothness of the diffused mixture, after Liang, Shi et al. (2024):
#'
#' | name | weights | means | covariance |
#' |---|---|---|---|
#' | "A1" | .3, .5, .2 | -2; 0; 2.5 | .25; .5; .16 |
#' | "B2" | .4, .35, .25 | (-1.5, 0); (1.2, 1); (.5, -1.6) | (.4 .1; .1 .3); (.3 -.1; -.1 .5); I/4 |
#' | "C2" | as B2 | as B2 | .3 for all |
#' | "G1" | 1 | 1.5 | .25 |
#'
#' Guidance, in the setting of Wu et al. (2024), with a covariance common to all components:
#'
#' | name | weights | means | covariance | property |
#' |---|---|---|---|---|
#' | "A2" | .5, .5 | 1; -1 | 1 | two classes, all is monotone |
#' | "B2-guidance" | .3, .7 | (0, 0); (2, 1) | 1 | the same with unequal weights |
#' | "C3" | .2, .3, .5 | (2, 0); (-1, 1.7321); (-1, -1.7321) | 1 | angles of 60 degrees |
#' | "D3" | 1/3 each | 0; -3; 3 | 1 | the class between two others |
#' | "E3" | .3, .6, .1 | 0; -2; 2 | 1 | the same, lopsided |
#' | "F2" | .5, .5 | (1, .5); (-1, -.5) | diag(2, .2) | anisotropic |
#' | "G4" | .1, .3, .3, .3 | 0; 2 e1; 2 e2; e3 + e4 | 1 | right angles in 4 dimensions |
#' | "H3" | .15, .7, .15 | (0, 0); (2, .5); (-1.5, 1.5) | 1 | an obtuse angle |
#' | "NC1" | .06, .84, .1 | 0; -3.9; .6 | 1 | guidance lowers the confidence |
#' | "NC2" | .0098, .9894, .0009 | (-.419, .471); (2.373, 2.821); (-1.548, -.128) | 1 | likewise |
#'
#' Angles are those at the first mean, the class aimed at; 1.7321 is short for the root of 3, and
#' the weights of `"NC2"`, which sum to 1.0001, are divided by their sum.
#'
#' Conditional sampling with a mismatched score, in the setting of Liang, Ju et al. (2024): `"M2"`
#' has weights .3, .4, .3, means (-2, -1); (0, 1.5); (2, -.5), and covariances (.5 .2; .2 .4);
#' (.3 -.1; -.1 .6); diag(.4, .3).
#'
#' A large one is `"karras"`: two classes, `"a"` and `"b"`, each a tree of 127 branches in the plane
#' with 8 components each, by the recipe of Karras et al. (2024) from random numbers of our own,
#' with mean 0 and standard deviation 1/2 in both variables. Guidance cuts off its thin branches,
#' which autoguidance keeps.
#'
#' @param name One of the names below, or nothing.
#' @return A [gaussmix()]; without `name`, the names.
#' @source The mixtures are this package's own. Setting: Wu, Chen, Li, Wang and Wei (2024),
#'   \doi{10.48550/arXiv.2403.01639}; Liang, Shi, Song and Zhou (2024),
#'   \doi{10.48550/arXiv.2405.16418}; Liang, Ju, Liang and Shroff (2024),
#'   \doi{10.48550/arXiv.2410.13746}; for the trees Karras, Aittala, Kynkaanniemi, Lehtinen, Aila
#'   and Laine (2024), \doi{10.48550/arXiv.2406.02507}.
#' @seealso [guidance_condition()], for the proofs about guidance that apply to each.
#' @examples
#' named_mixture()
#' named_mixture("C3")
#' guidance_sweep(named_mixture("D3"), guidance = "1", n = 501, sampler = sampler_ddim(50))
#' @export
named_mixture <- function(name) {
  if (missing(name)) return(names(named_mixtures))
  args <- named_mixtures[[check_choice(name, names(named_mixtures), "name")]]
  do.call(gaussmix, if (is.function(args)) args() else args)
}

# Two trees that grow from one place in opposite directions: a branch of length l has two shorter
# children, one to either side. Each branch has 8 components, of weight proportional to l and halved
# at each fork.
karras_tree <- function() {
  z <- drop(keyed_draws(gaussmix(1, 0, 1), 2 * 3 * 127, c(2024, 6)))
  used <- 0
  normal <- function() z[used <<- used + 1]
  branch <- function(depth, from, angle) {
    if (depth == 7) return(NULL)
    length <- .292 * .8^depth * (1 + .2 * normal())
    along <- c(cos(angle), sin(angle))
    across <- c(-along[2], along[1])
    cov <- tcrossprod(.06 * length * along) + tcrossprod(.012 * .8^depth * across)
    own <- lapply(seq(.07, .93, length.out = 8), function(part) {
      c(length * .5^depth, from + part * length * along, cov)
    })
    turns <- .7^depth * (1 + .2 * c(normal(), normal())) * c(1, -1)
    c(own, unlist(lapply(turns, function(turn) {
      branch(depth + 1, from + length * along, angle + turn)
    }), recursive = FALSE))
  }
  rows <- do.call(rbind, c(branch(0, c(0, 0), pi / 4), branch(0, c(0, 0), 5 * pi / 4)))
  weights <- rows[, 1] / sum(rows[, 1])
  class <- rep(c("a", "b"), each = nrow(rows) / 2)
  weights <- weights / (2 * rowsum(weights, class)[class, ])
  # mean 0 and standard deviation 1/2
  means <- rows[, 2:3]
  means <- sweep(means, 2, colSums(weights * means))
  scale <- .5 / sqrt(colSums(weights * (means^2 + rows[, c(4, 7)])))
  covs <- lapply(seq_len(nrow(rows)), function(k) matrix(rows[k, 4:7], 2) * tcrossprod(scale))
  list(weights, sweep(means, 2, scale, `*`), covs, class)
}

# The arguments of gaussmix().
named_mixtures <- local({
  sym <- function(a, b, c) matrix(c(a, b, b, c), 2)
  three <- rbind(c(-1.5, 0), c(1.2, 1), c(.5, -1.6))
  list(
    A1 = list(c(.3, .5, .2), c(-2, 0, 2.5), c(.25, .5, .16)),
    B2 = list(c(.4, .35, .25), three, list(sym(.4, .1, .3), sym(.3, -.1, .5), .25)),
    C2 = list(c(.4, .35, .25), three, .3),
    G1 = list(1, 1.5, .25),
    A2 = list(c(.5, .5), c(1, -1), 1),
    "B2-guidance" = list(c(.3, .7), rbind(c(0, 0), c(2, 1)), 1),
    C3 = list(c(.2, .3, .5), rbind(c(2, 0), c(-1, sqrt(3)), c(-1, -sqrt(3))), 1),
    D3 = list(c(1, 1, 1), c(0, -3, 3), 1),
    E3 = list(c(.3, .6, .1), c(0, -2, 2), 1),
    F2 = list(c(.5, .5), rbind(c(1, .5), c(-1, -.5)), diag(c(2, .2))),
    G4 = list(c(.1, .3, .3, .3), rbind(0, c(2, 0, 0, 0), c(0, 2, 0, 0), c(0, 0, 1, 1)), 1),
    H3 = list(c(.15, .7, .15), rbind(c(0, 0), c(2, .5), c(-1.5, 1.5)), 1),
    NC1 = list(c(.06, .84, .1), c(0, -3.9, .6), 1),
    NC2 = list(c(.0098, .9894, .0009), rbind(c(-.419, .471), c(2.373, 2.821), c(-1.548, -.128)), 1),
    M2 = list(c(.3, .4, .3), rbind(c(-2, -1), c(0, 1.5), c(2, -.5)),
              list(sym(.5, .2, .4), sym(.3, -.1, .6), sym(.4, 0, .3))),
    karras = function() karras_tree()
  )
})

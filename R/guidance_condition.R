# Proofs that guidance raises the confidence: from the angles between the means at each noise level.

#' Is it proved that guidance raises the confidence?
#'
#' If no two differences of the class's mean from those of other components make an obtuse angle, at
#' any noise level, no path loses confidence by guidance. The result says whether this holds for a
#' mixture and a class, which statements are then proved, and for which process.
#'
#' @details Let all components have the covariance `Sigma`, let the class `y` be a single one of
#' them, and let `D_k = mu_y - mu_k` for the others. For two runs from the same point with the same
#' noise, one guided and one not, the difference of the log-odds `l_k = log p(y | x)/p(k | x)` at the
#' end is (`S = a^2 Sigma + b^2 I`; `f` and `G^2` as in [schedule]; proof: `vignette("confidence")`)
#'
#' `l_k^eta - l_k^0 = eta int sum_j G_kj(t) p_t(j | x_t^eta) dt`,
#' * ODE: `G_kj = (a G^2/2) D_k' Sigma^(-1/2) S^(-3/2) D_j`,
#' * SDE: `G_kj = (a^2 G^2) D_k' S^(-2) D_j`.
#'
#' **Theorem** (conclusion of Wu et al. 2024; this condition and its proof, the line above, derived
#' for this package). If `G_kj(t) >= 0` for all `k`, `j` and `t`, every coupled path ends with at
#' least its confidence at strength 0, for every strength (`>= 0`, even a function of time). With
#' one rival, `K = 2`, this always holds. For a common isotropic covariance it says that no angle
#' between two `D_k` is obtuse; otherwise it is a condition for each noise level, reported here by
#' the cosine of `G_kj`. Positive products `D_k' Sigma^-1 D_j`, on which the log-odds of the data
#' depend, are *not enough* (see the example).
#'
#' **Monotone in the strength** (derived for this package). If the `D_k` lie along orthogonal
#' eigenvectors of `Sigma`, several perhaps along one but none against another, the log-odds obey
#' a cooperative system whose drift grows with the strength. By Kamke's comparison theorem each
#' path's confidence then grows with every increase of the strength. For acute angles in general
#' this is *observed, not proved*: no path lost confidence between two strengths in 4000 random
#' isotropic mixtures along the ODE and 600 along the SDE, nor in 1500 anisotropic ones along the
#' ODE.
#'
#' **Nothing is proved** here if covariances differ, for a class of several components, or if an
#' angle is obtuse: paths, and even the mean confidence, can then fall (`named_mixture("E3")`,
#' `"NC1"`, `"NC2"`), though they need not. For any mixture the mean of `1/p(class | x)` falls along
#' the SDE, see [guidance_identities()].
#'
#' All this is for continuous time; [coupled_paths()] has the same identity for the steps of a
#' sampler, and [step_condition()] says which steps are small enough.
#'
#' @section Numerical notes:
#' `G_kj` is a sum over the eigenvalues of `Sigma`. If its terms change sign at most once as these
#' grow, `G_kj` does so at most once in the noise level (variation diminishing, Karlin 1968), and its
#' two ends decide. Otherwise the condition is checked at 201 noise levels, and `print()` says so.
#' Cosines above -1e-10 count as not obtuse.
#'
#' @param mixture A [diffusion()], or a [gaussmix()].
#' @param end Time at which the process stops; above 0 for singular covariances.
#' @param ... Further arguments of [diffusion()] that follow the mixture there: `guidance` (only its
#'   class counts), `schedule` and `horizon`. For `plot()`: passed to `autoplot()`.
#' @return An object of class `guidance_condition`, a list with
#'   * `holds`: whether the condition holds, for `ode` and `sde`; `NA` if no theorem applies, for
#'     the reason in `why`;
#'   * `monotone`: whether confidence provably grows with every increase of the strength;
#'   * `pairs`: a data frame with a row per pair of `rival` and `other`, and the cosines between
#'     their differences from the class's mean: `euclidean`; `precision`, of the products with
#'     `Sigma^-1`; `ode` and `sde`, the smallest over all noise levels, at times `ode_time` and
#'     `sde_time`;
#'   * `claims`: a data frame of statements that are `"proved"`, `"observed"` (and not proved) or
#'     `"not proved"` for each process;
#'   * `searched`: whether noise levels were searched (see the numerical notes).
#'
#'   `as.data.frame()` gives `pairs` (no row if nothing is proved), or at times `t`, if given, the
#'   products `D_k' Sigma^(-1/2) S^(-3/2) D_j` (`ode`) and `D_k' S^(-2) D_j` (`sde`) with their
#'   cosines. `plot()` draws the cosines against the noise level.
#' @source Wu, Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639}; Li and Jiao (2025),
#'   \doi{10.48550/arXiv.2505.01382}; Karlin (1968), *Total Positivity*, chapter 5.
#' @seealso [gain_bound()] for bounds of the gain.
#' @examples
#' guidance_condition(named_mixture("C3"), "1")
#' guidance_condition(named_mixture("E3"), "1")
#'
#' # D' Sigma^-1 D > 0, but not D' Sigma^(-1/2) S^(-3/2) D at every noise level
#' m <- gaussmix(c(.0019, .2864, .7117), rbind(c(-1.092, .122), c(.048, -6.256), c(-1.03, 3.672)),
#'               diag(c(.00764, 2.7)))
#' condition <- guidance_condition(m, "1")
#' condition
#' as.data.frame(condition, t = .5)
#' plot(condition)
#' @export
guidance_condition <- function(mixture, ..., end = 0) {
  d <- as_diffusion(mixture, ..., without = "score_error")
  class <- plain_guidance(d)$class
  schedule <- d$schedule
  horizon <- check_horizon(d$horizon, schedule)
  mixture <- in_process(d$mixture)
  geometry <- class_geometry(mixture, class)
  end <- check_number(end, "end", min = 0)
  if (end >= horizon) abort_input("end", paste0("below the horizon (", horizon, ")"), describe(end))
  result <- list(mixture = mixture, standardised = !is.null(d$mixture$coordinates), class = class,
                 schedule = schedule, times = c(horizon, end), geometry = geometry,
                 why = geometry$why)
  if (is.null(geometry$why)) {
    noise_level(mixture, end, schedule)
    result <- c(result, condition_holds(result))
  } else {
    result$holds <- c(ode = NA, sde = NA)
    result$monotone <- FALSE
    result$pairs <- angle_rows(character(), character())
  }
  result$claims <- condition_claims(result)
  structure(result, class = object_class("guidance_condition"))
}

# The input of the theorems: the differences D_k of the class's mean from those of its rivals (a row
# each) in the eigenvectors of the common covariance. If they do not apply, `why`, in words.
class_geometry <- function(mixture, class) {
  check_extent(mixture)
  used <- mixture$weights > 0
  inside <- class_components(mixture, class) & used
  spectrum <- common_spectrum(mixture)
  if (is.null(spectrum)) return(list(why = "the covariances of the components differ"))
  if (sum(inside) > 1) return(list(why = "the class has several components"))
  rivals <- which(used & !inside)
  own <- mixture$means[rep(which(inside), length(rivals)), , drop = FALSE]
  other <- mixture$means[rivals, , drop = FALSE]
  turn <- function(x) if (is.null(spectrum$vectors)) unname(x) else unname(x) %*% spectrum$vectors
  labels <- mixture$class[rivals]
  twice <- labels %in% labels[duplicated(labels)]
  labels[twice] <- paste0(labels[twice], "[", rivals[twice], "]")
  c(spectrum, list(rivals = labels, turn = turn, differ = turn(own - other),
                   middle = turn((own + other) / 2),
                   log_prior = log(mixture$weights[inside]) - log(mixture$weights[rivals])))
}

# Eigenvalues and eigenvectors (NULL: the coordinates) that all components share, or NULL.
common_spectrum <- function(mixture) {
  values <- used_values(mixture)
  vectors <- mixture$vectors
  if (length(dim(vectors)) == 3) {
    vectors <- vectors[, , mixture$weights > 0, drop = FALSE]
    if (any(vectors != as.vector(vectors[, , 1]))) return(NULL)
    vectors <- matrix(vectors[, , 1], nrow(values))
  }
  if (any(values != values[, 1])) return(NULL)
  list(values = values[, 1], vectors = vectors)
}

# Log-odds of the class against each rival at points x of a noise level: n x rivals.
class_log_odds <- function(geometry, x, a, b2) {
  slope <- a * geometry$differ / rep(a^2 * geometry$values + b2, each = nrow(geometry$differ))
  constant <- geometry$log_prior - a * rowSums(slope * geometry$middle)
  odds <- tcrossprod(geometry$turn(x), slope) + rep(constant, each = nrow(x))
  name_dims(odds, NULL, geometry$rivals)
}

# D_k' Sigma^(-1/2) S^(-3/2) D_j (ODE) and D_k' S^(-2) D_j (SDE) at one time, where Sigma is the
# covariance at the end; with `at` = NULL, D_k' Sigma^-1 D_j.
gain_products <- function(geometry, at, end, process) {
  variance <- function(level) level$a^2 * geometry$values + level$b2
  weight <- switch(process, ode = variance(end)^-.5 * variance(at)^-1.5, sde = variance(at)^-2,
                   precision = 1 / variance(end), euclidean = 1 + 0 * geometry$values)
  tcrossprod(geometry$differ * rep(sqrt(weight), each = nrow(geometry$differ)))
}

cosines <- function(products) {
  # rivals at the mean of the class are not pushed
  length <- sqrt(diag(products))
  ifelse(products == 0, 0, products / outer(length, length))
}

condition_holds <- function(x, tol = 1e-10) {
  geometry <- x$geometry
  schedule <- x$schedule
  below <- lower.tri(diag(length(geometry$rivals)))
  level <- function(t) list(a = schedule$a(t), b2 = schedule$b2(t))
  end <- level(x$times[2])
  cosine <- function(process, at = end) cosines(gain_products(geometry, at, end, process))[below]
  times <- if (one_eigenspace(geometry)) x$times[2] else condition_times(x, 200)
  pairs <- angle_rows(geometry$rivals[col(below)[below]], geometry$rivals[row(below)[below]])
  pairs$euclidean <- cosine("euclidean")
  pairs$precision <- cosine("precision")
  for (process in c("ode", "sde")) {
    least <- rep(Inf, nrow(pairs))
    time <- rep(NA_real_, nrow(pairs))
    for (t in times) {
      now <- cosine(process, level(t))
      time[now < least] <- t
      least <- pmin(least, now)
    }
    pairs[[process]] <- least
    pairs[[paste0(process, "_time")]] <- time
  }
  holds <- c(ode = all(pairs$ode > -tol), sde = all(pairs$sde > -tol))
  corner <- abs(pairs$euclidean) < tol | abs(pairs$euclidean - 1) < tol
  list(holds = holds, monotone = all(corner) && all(along_eigenvectors(geometry)), pairs = pairs,
       searched = length(times) > 1 && any(sign_changes(geometry) > 1))
}

# Rows for pairs of rivals, without their cosines.
angle_rows <- function(rival, other) {
  unknown <- c("euclidean", "precision", "ode", "ode_time", "sde", "sde_time")
  data.frame(rival = rival, other = other,
             matrix(NA_real_, length(rival), 6, dimnames = list(NULL, unknown)))
}

# The number of sign changes of the terms of G_kj from the smallest eigenvalue to the largest.
sign_changes <- function(geometry) {
  D <- geometry$differ
  K <- nrow(D)
  changes <- last <- matrix(0, K, K)
  by_value <- order(geometry$values)
  for (i in split(by_value, geometry$values[by_value])) {
    term <- tcrossprod(D[, i, drop = FALSE])
    now <- sign(term) * (abs(term) > 1e-14 * sqrt(outer(rowSums(D^2), rowSums(D^2))))
    changes <- changes + (now * last < 0)
    last <- ifelse(now == 0, last, now)
  }
  changes
}

# From the horizon to the end, equispaced in the logarithm of the noise level.
condition_times <- function(x, steps) {
  last <- max(x$times[2], 1e-9 * x$times[1])
  unique(c(time_grid(steps, x$times[1], "logsnr", last, x$schedule), x$times[2]))
}

# Which of the differences are eigenvectors of the covariance.
along_eigenvectors <- function(geometry, tol = 1e-10) {
  D2 <- geometry$differ^2
  value <- drop(D2 %*% geometry$values) / rowSums(D2)
  off <- rowSums(D2 * outer(value, geometry$values, `-`)^2)
  is.nan(value) | off <= (tol * max(geometry$values))^2 * rowSums(D2)
}

# Are all differences eigenvectors of one eigenvalue? Then noise levels differ by a factor only.
one_eigenspace <- function(geometry) {
  values <- geometry$values[colSums(geometry$differ^2) > 0]
  all(along_eigenvectors(geometry)) &&
    all(abs(values - values[1]) <= 1e-10 * max(geometry$values))
}

condition_claims <- function(x) {
  proved <- x$holds %in% TRUE
  # anisotropic mixtures were searched along the ODE only
  searched <- c(TRUE, is.null(x$why) && one_eigenspace(x$geometry))
  data.frame(process = c("ODE", "SDE"), above_unguided = ifelse(proved, "proved", "not proved"),
             monotone = if (x$monotone) "proved" else {
               ifelse(proved & searched, "observed", "not proved")
             })
}

in_words.guidance_condition <- function(x) {
  paste0("towards ", aim_words(x$class), ": ", count_of(sum(x$mixture$weights > 0), "component"),
         ", ", x$mixture$form, " covariance", if (x$standardised) ", standardised")
}

headline.guidance_condition <- function(x) about_time(in_words(x))

print_body.guidance_condition <- function(x, ...) {
  say(paste0("schedule: ", schedule_words(list(schedule = x$schedule)), ", from t = ",
             format(x$times[1], digits = 4), " to ", format(x$times[2], digits = 4)))
  if (!is.null(x$why)) {
    say_line("Nothing is proved about the confidence: ", x$why, ".")
  } else {
    if (nrow(x$pairs)) {
      same <- one_eigenspace(x$geometry)
      say(c(angle_words(x, "ode", same), if (!same) angle_words(x, "sde", same),
            if (!all(x$holds) && all(x$pairs$precision >= 0)) {
              "The products D' Sigma^-1 D are positive, but that is not enough."
            }, if (x$searched) "(The smallest at 201 noise levels.)"))
    } else say(rival_words(x))
    say_claims(x$claims)
  }
  if (!is.null(x$why) || length(x$geometry$rivals)) {
    say("Without any condition (SDE): from the exact start guidance lowers E 1/p(class | x).")
  }
}

angle_words <- function(x, process, same) {
  worst <- x$pairs[which.min(x$pairs[[process]]), ]
  degrees <- acos(pmax(-1, pmin(1, worst[[process]]))) * 180 / pi
  time <- format(worst[[paste0(process, "_time")]], digits = 3)
  paste0(if (same) "Angle" else paste0(toupper(process), ": angle"),
         if (nrow(x$pairs) > 1) ", the widest,", " at the class between ", worst$rival, " and ",
         worst$other, ": ", format(degrees, digits = 4), " degrees",
         if (!same) paste0(" (at noise level t = ", time, ")"),
         if (x$holds[[process]]) ", not obtuse" else ", obtuse")
}

claim_sentences <- c(
  above_unguided = "no coupled path ends with less confidence than at strength 0",
  monotone = "confidence grows with every increase of the strength, path by path"
)

say_claims <- function(claims) {
  how <- c(proved = "Proved", observed = "Observed, not proved", "not proved" = "Not proved here")
  for (claim in names(claim_sentences)) for (status in names(how)) {
    processes <- claims$process[claims[[claim]] == status]
    if (length(processes)) {
      say_line(how[[status]], " (", paste(processes, collapse = " and "), "): ",
               claim_sentences[[claim]], ".")
    }
  }
}

as_table.guidance_condition <- function(x) x$pairs

#' @export
as.data.frame.guidance_condition <- function(x, ..., t = NULL) {
  check_dots(..., also = frame_dots)
  if (is.null(t)) return(x$pairs)
  if (!is.null(x$why)) abort_input("t", paste("NULL where", x$why))
  rows <- lapply(t, function(t) {
    level <- noise_level(x$mixture, t, x$schedule)
    end <- noise_level(x$mixture, x$times[2], x$schedule)
    below <- lower.tri(diag(length(x$geometry$rivals)))
    ode <- gain_products(x$geometry, level, end, "ode")
    sde <- gain_products(x$geometry, level, end, "sde")
    cbind(x$pairs[c("rival", "other")], t = rep(t, nrow(x$pairs)), ode = ode[below],
          sde = sde[below], ode_cosine = cosines(ode)[below], sde_cosine = cosines(sde)[below])
  })
  do.call(rbind, rows)
}

# A table of the claims, for a plot without cosines.
claims_picture <- function(x) {
  status <- c("proved", "observed", "not proved")
  wrapped <- vapply(claim_sentences, function(words) paste(strwrap(words, 36), collapse = "\n"), "")
  long <- data.frame(process = x$claims$process,
                     claim = factor(rep(wrapped, each = nrow(x$claims)), rev(wrapped)),
                     status = factor(unlist(x$claims[names(wrapped)]), status))
  ggplot(long, aes(.data$process, .data$claim)) +
    ggplot2::geom_tile(aes(fill = .data$status), colour = "white", linewidth = 1) +
    ggplot2::geom_text(aes(label = .data$status), colour = ink) +
    ggplot2::scale_fill_manual(values = stats::setNames(c("#b8dcc4", "#f1dfa6", "grey85"), status),
                      guide = "none") +
    finish(paste("What is proved of guidance towards", aim_words(x$class)),
           if (!is.null(x$why)) paste0("Nothing, since ", x$why) else rival_words(x),
           "Conditions are sufficient only: not proved does not say that it is wrong",
           x = NULL, y = NULL)
}

rival_words <- function(x) {
  if (length(x$geometry$rivals)) "One rival: no angle can be obtuse." else
    "No rival: the confidence is 1."
}

#' @rdname guidance_condition
#' @param object A `guidance_condition`. Without cosines to draw, `plot()` shows the claims.
#' @param max_pairs The largest number of pairs to draw, those of smallest cosine first.
#' @export
autoplot.guidance_condition <- function(object, max_pairs = 6, ...) {
  check_dots(...)
  max_pairs <- check_count(max_pairs, "max_pairs", min = 1)
  if (!is.null(object$why) || !nrow(object$pairs)) return(claims_picture(object))
  by_cosine <- order(pmin(object$pairs$ode, object$pairs$sde))
  pairs <- object$pairs[utils::head(by_cosine, max_pairs), ]
  name <- function(rows) paste("between", rows$rival, "and", rows$other)
  curves <- as.data.frame(object, t = condition_times(object, 100))
  curves <- curves[name(curves) %in% name(pairs), ]
  schedule <- object$schedule
  long <- data.frame(noise = sqrt(schedule$b2(curves$t)) / schedule$a(curves$t),
                     cosine = c(curves$ode_cosine, curves$sde_cosine),
                     process = rep(c("ODE", "SDE"), each = nrow(curves)),
                     pair = factor(name(curves), name(pairs)))
  pairs$pair <- factor(name(pairs), name(pairs))
  ggplot(long[long$noise > 0, ], aes(.data$noise, .data$cosine)) +
    geom_hline(yintercept = 0, colour = "grey50") +
    geom_hline(aes(yintercept = .data$precision), pairs, linetype = "12", colour = ink) +
    geom_line(aes(colour = .data$process, linetype = .data$process), linewidth = .8) +
    facet_wrap(vars(.data$pair)) +
    line_scales(class_palette(2), c("solid", "22")) +
    ggplot2::scale_x_log10() + ggplot2::coord_cartesian(ylim = c(-1, 1)) +
    finish(paste("Cosines at class", aim_words(object$class)),
           "Where all are >= 0, no path loses confidence by guidance",
           "Dotted: the cosine of the products with the inverse covariance, which is not enough",
           x = "noise level b/a", y = "cosine")
}

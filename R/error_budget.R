#' The error of a sampler beside its guarantees
#'
#' All that is known about the distance of a sampler's output from its target, in one table: the
#' error itself, the path divergence that bounds it and its parts, bounds with explicit constants,
#' and the published rates.
#'
#' @details For stochastic samplers with one score in each step and variance-preserving schedules,
#' in the clock of the Ornstein-Uhlenbeck process, in which step `k` leads from `t_k` to `t_{k+1}`
#' and has the length `r_k`:
#'
#' `KL(target || output) <= path KL on the grid <= path KL <= bound without L <= bound with L`
#'
#' (The last step usually holds: both are bounds of the path KL, see [path_kl()].) The differences
#' are the losses of the proofs.
#' * **bound without L**: holds for every mixture, and is explicit in the dimension. *Derived for
#'   this package.* With `P_i` the
#'   precisions of the components at time `t`,
#'   `F(t) <= sum_i w_i ((tr P_i)^2 + 3 |P_i|_F^2)` and `I(t) <= sum_i w_i tr P_i`, and for any
#'   matrix `B` and vector `m`, with `c = B (mu_i - m)` and `V = (B - P_i) S_i (B - P_i)`,
#'   `F(t) <= sum_i w_i (|P_i|_F^2 + (|c|^2 + tr V)^2 + 2 tr V^2 + 4 c'V c)`; the least is taken
#'   over `B = 0`, `I` and the precision of `p_t`, with `m` its mean (*sharper F*). Then
#'   `D_k <= int F (1 - e^(-2 (t - t_{k+1}))) dt + I(t_k) (r - 2 (1 - e^-r) + (1 - e^(-2r))/2)`
#'   (*integrated*: by Gauss and Legendre's rule), or `D_k <= r^2 F + r^3/3 I` with each eigenvalue
#'   of `P_i` at its larger end of the step (*simple*), or with the sharper `F` at the smaller time
#'   of each step (*stepwise*; that the sharper bound falls with `t` is *observed, not proved*).
#' * **bound with L**: if the score is `L`-Lipschitz at all times, `F <= d L^2`, `I <= d L`, and
#'   `sum D_k <= d L^2 sum r^2 + d L sum r^3/3`. *Derived for this package*; the published form with
#'   its constant. Often no such `L` exists, see [lipschitz()].
#' * Euler-Maruyama steps add `sum (d r^2/4 + m r^3/12 + 2 d (sinh r - r))` to these bounds, with
#'   `m` the larger second moment at the two ends. *Derived for this package.*
#' * **initialisation**: from `N(0, I)`, `KL(p_T || N) <= e^(-2T) KL(p_0 || N)` (the logarithmic
#'   Sobolev inequality) and `<= sum_i w_i (e^(-2T) |mu_i|^2 + sum_j (c_ij - 1 - log c_ij))/2`,
#'   `c_ij = 1 + e^(-2T) (lambda_ij - 1)` (convexity). Totals use the exact numbers instead, for
#'   this part and for the part of the score's error.
#' * **total variation**: from a divergence `K`, the smaller of `sqrt(K/2)` (Pinsker) and
#'   `sqrt(1 - e^-K)` (Bretagnolle and Huber).
#'
#' Deterministic samplers have no path divergence. The table has the parts of [guided_error()]: the
#' error of the start, that of the sampler from the exact start, and their sum, which bounds the
#' total variation.
#'
#' **Published rates** have the constant that their `O()` hides set to 1: *they are no bounds*, and
#' only their dependence on the settings has a meaning. They are for the start `N(0, I)`, whatever
#' `start` is; for steps of at most some constant over `L`, which is not checked; and for `L >= 1`:
#' a smaller `L` counts as 1. They are `NA` if another assumption fails, as `note` says. With
#' `T` and `h` (the longest step) in the clock of the Ornstein-Uhlenbeck process, `M^2` the
#' second moment, `N` steps and `e0` the root mean square error of the score:
#' * Chen, Chewi, Li, Li, Salim and Zhang (2023), theorem 2, stored:
#'   `TV: sqrt(KL(p_0 || N)) e^-T + (L sqrt(d h) + L M h) sqrt(T) + e0 sqrt(T)`.
#' * Chen, Lee and Lu (2023), recalled, not verified against the paper; their clock is twice this
#'   one, `T' = 2T`: `KL: (M^2 + d) e^-T' + T' e0^2 + d T'^2 L^2/N`, for Euler-Maruyama with
#'   `T'^3 M^2/N^2` more; on an exponential grid `d^2 (T' + log L)^2/N` in place of the last term.
#' * Benton, De Bortoli, Doucet and Deligiannidis (2024), stored, for data of covariance `I` and a
#'   sampler that stops at `end > 0`: `KL: T e0^2 + kappa^2 d N + kappa d T + d e^(-2T)`, with
#'   `kappa` the largest `r_k/min(1, t_{k+1})`.
#' * Chen, Chewi, Lee, Li, Lu and Salim (2023), recalled, not verified against the paper (their
#'   complexities are stored): TV of [sampler_dpom()] `(sqrt(d) + M) e^-T + L^2 T sqrt(d) h_pred +
#'   L^1.5 T sqrt(d h_corr) + sqrt(L) T e0`; of [sampler_dpum()] with `h_corr` in place of its root.
#'
#' @inheritParams path_kl
#' @param lipschitz `NULL`: the largest global Lipschitz constant of the score, by [lipschitz()], at
#'   17 times of the run; or a positive number known to hold at all times.
#' @param measure Whether to measure the error itself ([guided_error()]). For stochastic samplers in
#'   two dimensions this takes some seconds.
#' @param ... As for [path_kl()]; with a function as `score_error` there is no measured error.
#' @return A table of estimates ([mixguide_table]) of class `error_budget`, identified by `quantity`
#'   (`"kl"`, `KL(target || output)` in nats, or `"total_variation"`), `statement` and `kind`
#'   (`"measured"`, `"part"`, `"bound"`, `"rate"`). `method` of published rates, whose constants are
#'   unknown, is `"unknown"`; `note` has the source of a bound and its assumptions. Attribute `path`
#'   is the [path_kl()] or `NULL`. `plot()` draws the numbers on a logarithmic axis.
#' @source Liang, Shi, Song and Zhou (2024), \doi{10.48550/arXiv.2405.16418}, apply such guarantees
#'   to mixtures: their numbered statements and constants were not available and are not claimed.
#'   Chen et al. (2023), \doi{10.48550/arXiv.2209.11215}; Chen, Lee and Lu (2023),
#'   \doi{10.48550/arXiv.2211.01916}; Benton et al. (2024), \doi{10.48550/arXiv.2308.03686}; Chen et
#'   al. (2023), \doi{10.48550/arXiv.2305.11798} (DPOM and DPUM).
#' @seealso [path_kl()], [guided_error()], [plan_sampler()] to find a sampler for a wanted error.
#' @examples
#' m <- named_mixture("A1")
#' sampler <- sampler_exponential(50, "uniform", stochastic = TRUE)
#' budget <- error_budget(m, sampler = sampler, horizon = 3)
#' budget
#' plot(budget)
#' @export
error_budget <- function(mixture, n = 1e4, ..., lipschitz = NULL, measure = TRUE) {
  d <- as_diffusion(mixture, ..., default = stochastic_default(), without = "guidance")
  refuse_own_model(d)
  local_key(d)
  if (!is.null(lipschitz)) lipschitz <- check_number(lipschitz, "lipschitz", min = 0, open = TRUE)
  check_flag(measure, "measure")
  n <- check_n(n, min = 2)
  sampler <- d$sampler
  schedule <- d$schedule
  times <- d$times
  noise_level(d$mixture, times[length(times)], schedule)
  process <- guarantee_process(d)
  run <- c(unclass(process), list(process = process, experiment = d, n = n,
                                  clock = ou_clock(times, schedule), dim = mixture_dim(d$mixture)))
  run$lipschitz <- global_lipschitz(run, lipschitz)
  run$initial <- error_of_start(run, times[1], run$start)
  run$square <- score_square(run)
  run$kind <- if (sampler$stochastic) {
    tryCatch(path_steps(sampler, times, schedule, "paths")$kind[1],
             mixguide_error = function(e) NULL)
  }
  path <- if (sampler$stochastic && !is.null(one_score_steps(sampler, times, schedule))) {
    path_rows(run)
  } else if (!sampler$stochastic) flow_rows(run, measure)
  rows <- rbind(if (measure) measured_rows(run), path$rows, rate_rows(run))
  if (is.null(rows)) rows <- budget_row("", "", "", unknown_row())[0, ]
  rows <- rows[order(rows$quantity, match(rows$kind, c("measured", "part", "bound", "rate"))), ]
  new_table(rows, "error_budget",
            c(about_process(d, format(d$mixture)), process_lines(d, "guidance")), setup_of(d),
            labels = DIVERGENCE_HEADS,
            foot = c(paste0(divergence_words(c("kl", "total_variation")), "; in nats."),
                     if (any(rows$kind == "rate")) {
                       "Kind rate: published rates with the constant 1, no bounds."
                     }),
            path = path$path, lipschitz = run$lipschitz$value)
}

# A row of estimate_row(), or several.
budget_row <- function(quantity, statement, kind, row, note = "") {
  apart <- ifelse(nzchar(note) & nzchar(row$note), "; ", "")
  data.frame(quantity = quantity, statement = statement, kind = kind,
             estimate_row(row$estimate, row$se, row$method, paste0(row$note, apart, note)))
}

# A proved upper bound of the error.
bound_row <- function(quantity, statement, value, se = 0, note = "", kind = "bound") {
  se <- ifelse(is.na(value), NA_real_, se)
  budget_row(quantity, statement, kind,
             estimate_row(value, se, ifelse(is.na(value), "unknown", "bound"), derived), note)
}

derived <- "derived for this package"

variation_bound <- function(kl) pmin(sqrt(kl / 2), sqrt(-expm1(-kl)))

# The derivative of the smaller bound.
variation_slope <- function(kl) {
  kl <- pmax(kl, .Machine$double.xmin)
  pinsker <- kl / 2 <= -expm1(-kl)
  ifelse(pinsker, 1 / sqrt(8 * kl), exp(-kl) / (2 * sqrt(-expm1(-kl))))
}

# The largest of the global constants at times of the run, if none of them is only a lower bound.
global_lipschitz <- function(run, given) {
  if (!is.null(given)) return(list(value = given, note = "L as given"))
  few <- unique(some_times(run$times, 17))
  rows <- lipschitz(run$mixture, few, run$schedule)
  if (any(rows$lipschitz[rows$statement == "global"] %in% Inf)) {
    return(list(value = NA_real_, note = "there is no global L"))
  }
  certain <- rows$statement == "common" |
    rows$statement == "global" & rows$method %in% c("exact", "quadrature")
  value <- max(tapply(rows$lipschitz[certain], factor(rows$t[certain], unique(rows$t)), min))
  note <- if (is.na(value)) "no global L is known" else {
    paste0("L = ", format(value, digits = 4), ", the largest at ", length(few), " times")
  }
  list(value = value, note = note)
}

# E|e|^2 of the score at the beginning of each step.
score_square <- function(run) {
  t <- run$times[-length(run$times)]
  if (is.null(run$score_error)) return(0 * t)
  fisher <- information(run$mixture, t, run$schedule, run$n)$fisher
  none <- data.frame(square = 0 * t, with_score = 0, with_x = 0)
  score_part(run$score_error, run$mixture, t, run$schedule, fisher, none, run$n)$square
}

# ---- Measurements

measure_error <- function(run, ...) {
  tryCatch(guided_error(replace(run$process, "key", list(NULL)), ..., n = run$n),
           mixguide_error = function(e) conditionMessage(e))
}

measured_rows <- function(run) {
  rows <- measure_error(run)
  both_rows(if (is.character(rows)) unknown_rows(rows) else rows, "measured", "measured")
}

# The rows of an error for the two quantities of a budget.
both_rows <- function(rows, statement, kind, note = "") {
  do.call(rbind, lapply(c("kl", "total_variation"), function(quantity) {
    budget_row(quantity, statement, kind, row_of(rows, quantity), note)
  }))
}

# Deterministic samplers: parts by the triangle inequality.
flow_rows <- function(run, measure) {
  kept <- "carried to the end by the exact flow"
  rows <- both_rows(run$initial, "error of the start", "part", kept)
  begin <- if (measure) measure_error(run, start = "exact")
  if (is.null(begin) || is.character(begin)) return(list(rows = rows))
  two <- sum_row(row_of(begin, "total_variation"), row_of(run$initial, "total_variation"))
  list(rows = rbind(
    rows, both_rows(begin, "sampler from the exact start", "part"),
    bound_row("total_variation", "sum of the two (triangle inequality)", two$estimate, two$se)
  ))
}

# ---- Bounds for stochastic samplers

path_rows <- function(run) {
  measured <- information_along(run$mixture, run$times, run$schedule, run$n)
  table <- function(along) {
    tryCatch(path_kl_table(run$experiment, run$process, along, run$n, measured),
             mixguide_error = function(e) NULL)
  }
  grid <- table("grid")
  if (is.null(grid)) return(NULL)
  path <- table("paths")
  whole <- function(path, statement) {
    budget_row("kl", statement, "bound", row_of(path, "path_kl"))
  }
  rows <- whole(grid, "path KL, at grid times")
  if (!is.null(path)) rows <- rbind(rows, whole(path, "path KL"), bound_rows(run, path))
  parts <- if (is.null(path)) grid else path
  bounds <- rows[rows$kind == "bound", ]
  list(path = parts, rows = rbind(
    do.call(rbind, lapply(setdiff(path_parts, "path_kl"), function(part) {
      statement <- paste("path KL:", gsub("_", " ", part, fixed = TRUE))
      budget_row("kl", statement, "part", row_of(parts, part))
    })),
    rows,
    budget_row("total_variation", paste("by the", bounds$statement), "bound",
               estimate_row(variation_bound(bounds$estimate),
                            bounds$se * variation_slope(bounds$estimate), bounds$method,
                            bounds$note))
  ))
}

# Bounds of the path KL: of its discretisation and its other parts.
bound_rows <- function(run, path) {
  if (!run$schedule$vp) return(NULL)
  bounds <- discretisation_bounds(run$mixture, run$schedule, run$times, run$kind,
                                  run$lipschitz$value)
  rest <- rbind(row_of(path, "initialisation"), row_of(path, "score_error"))
  rows <- bound_row("kl", names(bounds), unname(bounds) + sum(rest$estimate), sum(rest$se),
                    ifelse(names(bounds) == "bound with L", run$lipschitz$note, ""))
  assumed <- rows$statement == "bound without L, stepwise"
  rows$method[assumed] <- "unknown"
  rows$note[assumed] <- "observed, not proved: that sharper F falls with t"
  rbind(start_bounds(run), rows)
}

# In the clock of the Ornstein-Uhlenbeck process. `kind`: see path_steps().
discretisation_bounds <- function(mixture, schedule, times, kind, L = NA_real_) {
  clock <- ou_clock(times, schedule)
  k <- seq_len(length(times) - 1)
  r <- clock[k] - clock[k + 1]
  d <- mixture_dim(mixture)
  pieces <- precision_pieces(mixture)
  ends <- vapply(times, function(t) curvature_bound(pieces, schedule$a(t), schedule$b2(t)),
                 double(3))
  inside <- function(tau) {
    vapply(tau, function(tau) curvature_bound(pieces, exp(-tau), -expm1(-2 * tau))[["sharp"]], 0)
  }
  integrated <- over_steps(clock, function(tau, since) inside(tau) * -expm1(-2 * since), 4)
  # each eigenvalue of the precisions at its larger end of the step
  values <- lapply(times, function(t) diffused_values(pieces, schedule$a(t), schedule$b2(t)))
  simple <- vapply(k, function(k) {
    simple_curvature(pieces$weights, 1 / pmin(values[[k]], values[[k + 1]]))
  }, 0)
  fisher <- ends["fisher", k]
  frozen <- if (kind == "best") 0 else r + 2 * expm1(-r) - expm1(-2 * r) / 2
  # the additional term of Euler-Maruyama over the exponential integrator
  second <- second_moments(mixture, times, schedule)
  more <- if (kind == "euler") {
    sum(d * r^2 / 4 + pmax(second[k], second[k + 1]) * r^3 / 12 + 2 * d * (sinh(r) - r))
  } else 0
  c("bound without L, integrated" = sum(integrated + fisher * frozen),
    "bound without L, stepwise" = sum(r^2 * ends["sharp", k + 1] + r^3 / 3 * fisher),
    "bound without L, simple" = sum(r^2 * simple + r^3 / 3 * fisher),
    "bound with L" = sum(d * L^2 * r^2 + d * L * r^3 / 3)) + more
}

# KL(p_t || N(0, I)) <= this, by convexity.
start_by_convexity <- function(mixture, t, schedule) {
  pieces <- precision_pieces(mixture)
  a2 <- schedule$a(t)^2
  c <- a2 * pieces$values + schedule$b2(t)
  sum(pieces$weights * (a2 * colSums(pieces$means^2) + colSums(c - 1 - log(c)))) / 2
}

# Bounds of KL(p_T || N(0, I)).
start_bounds <- function(run) {
  if (!identical(run$start[1], "normal")) return(NULL)
  from <- if (is_singular(run$mixture)) run$times[length(run$times)] else 0
  start <- row_of(error_of_start(run, from), "kl")
  shrunk <- exp(-2 * (run$clock[1] - ou_clock(from, run$schedule)))
  rbind(bound_row("kl", "initialisation, log-Sobolev bound", shrunk * start$estimate,
                  shrunk * start$se, kind = "part"),
        bound_row("kl", "initialisation, convexity bound",
                  start_by_convexity(run$mixture, run$times[1], run$schedule), kind = "part"))
}

# The rows of start_error() for the law at time t.
error_of_start <- function(run, t, start = "normal") {
  target <- if (t > 0) diffuse(run$mixture, t, run$schedule) else run$mixture
  start_error(target, run$mixture, run$schedule, run$times[1], start, run$n)
}

# The components of positive weight: weights, means (d x K), eigenvalues (d x K) and eigenvectors.
precision_pieces <- function(mixture) {
  used <- which(mixture$weights > 0)
  d <- mixture_dim(mixture)
  list(weights = mixture$weights[used], means = t(unname(mixture$means[used, , drop = FALSE])),
       values = matrix(used_values(mixture), d, length(used)),
       vectors = lapply(used, component_axes, mixture = mixture))
}

# sum_i w_i ((tr P_i)^2 + 3 |P_i|^2), from the eigenvalues of the P_i.
simple_curvature <- function(weights, values) {
  sum(weights * (colSums(values)^2 + 3 * colSums(values^2)))
}

# Bounds of F (the simple and the least) and of I, at a level of noise.
curvature_bound <- function(pieces, a, b2) {
  values <- a^2 * pieces$values + b2
  w <- pieces$weights
  d <- nrow(values)
  S <- Map(function(V, k) V %*% (values[, k] * t(V)), pieces$vectors, seq_along(w))
  means <- a * pieces$means
  centred <- means - drop(means %*% w)
  cov <- Reduce(`+`, Map(`*`, w, S)) + centred %*% (w * t(centred))
  with <- function(B) {
    terms <- vapply(seq_along(w), function(k) {
      V <- pieces$vectors[[k]]
      off <- B - V %*% (t(V) / values[, k])
      M <- off %*% S[[k]] %*% off
      c <- B %*% centred[, k]
      sum(1 / values[, k]^2) + (sum(c^2) + sum(diag(M)))^2 + 2 * sum(M^2) + 4 * sum(c * (M %*% c))
    }, 0)
    sum(w * terms)
  }
  simple <- simple_curvature(w, 1 / values)
  inverse <- if_error(solve(cov), function(e) NULL)
  c(simple = simple, sharp = min(simple, with(diag(d)), if (!is.null(inverse)) with(inverse)),
    fisher = sum(w * colSums(1 / values)))
}

# ---- Published rates, with 1 for unknown constants

rate_rows <- function(run) {
  sampler <- run$sampler
  name <- if (sampler$name %in% c("dpom", "dpum")) sampler$name else run$kind
  if (!run$schedule$vp || is.null(name)) return(NULL)
  L <- run$lipschitz$value
  d <- run$dim
  N <- length(run$times) - 1
  r <- run$clock[-(N + 1)] - run$clock[-1]
  horizon <- run$clock[1]
  M2 <- moments(run$mixture)$second_moment
  e2 <- sum(r * run$square) / sum(r)
  recalled <- "recalled, not verified against the paper"
  rate <- function(quantity, statement, value, status, note = "") {
    se <- if (is.na(value)) NA_real_ else 0
    budget_row(quantity, statement, "rate", estimate_row(value, se, "unknown", status), note)
  }
  need_L <- if (is.na(L)) run$lipschitz$note else ""
  # the papers assume L >= 1; a larger L is a Lipschitz constant too
  L <- max(L, 1)
  if (name %in% c("dpom", "dpum")) {
    h <- sampler$params
    corrector <- if (name == "dpom") sqrt(h$corrector_step) else h$corrector_step
    # the L given to the sampler's constructor
    L <- max(h$L, 1)
    value <- (sqrt(d) + sqrt(M2)) * exp(-horizon) + L^2 * horizon * sqrt(d) * h$predictor_step +
      L^1.5 * horizon * sqrt(d) * corrector + sqrt(L * e2) * horizon
    return(rate("total_variation", paste0("Chen et al. 2023, ", toupper(name)), value, recalled,
                "with the sampler's L"))
  }
  if (name == "best") return(NULL)
  kl0 <- if (is_singular(run$mixture)) NA else row_of(error_of_start(run, 0), "kl")$estimate
  exponential <- identical(sampler$grid, "exponential")
  twice <- 2 * horizon
  euler <- name == "euler"
  grid <- if (exponential) d^2 * (twice + log(L))^2 / N else d * twice^2 * L^2 / N
  lee <- (M2 + d) * exp(-twice) + twice * e2 + grid + if (euler) twice^3 * M2 / N^2 else 0
  end <- run$clock[N + 1]
  kappa <- max(r / pmin(1, run$clock[-1]))
  white <- isTRUE(all.equal(unname(moments(run$mixture)$cov), diag(d)))
  why <- if (!white) "the covariance is not I" else if (end == 0) "needs end > 0" else ""
  benton <- if (white && end > 0) {
    horizon * e2 + kappa^2 * d * N + kappa * d * horizon + d * exp(-twice)
  } else NA_real_
  rbind(
    if (!euler) {
      h <- max(r)
      rate("total_variation", "Chen, Chewi et al. 2023",
           sqrt(kl0) * exp(-horizon) + L * (sqrt(d * h) + sqrt(M2) * h) * sqrt(horizon) +
             sqrt(e2 * horizon), "stored",
           if (is.na(kl0)) paste(setdiff(c(need_L, "KL(p_0 || N) is infinite"), ""),
                                 collapse = "; ") else need_L)
    },
    rate("kl", "Chen, Lee and Lu 2023", lee, recalled, need_L),
    if (!euler) rate("kl", "Benton et al. 2024", benton, "stored", why)
  )
}

picture.error_budget <- function(object, setup) {
  rows <- object[is.finite(object$estimate) & object$estimate > 0, ]
  if (!nrow(rows)) abort_input("object", "a budget of positive numbers", "one without any")
  roles <- c(measured = "measured", part = "part", bound = "bound",
             rate = "published rate, constant 1")
  panels <- DIVERGENCES[c("kl", "total_variation")]
  rows$role <- factor(roles[rows$kind], roles)
  rows$panel <- factor(panels[rows$quantity], panels)
  rows$place <- factor(seq_len(nrow(rows)), rev(seq_len(nrow(rows))))
  ggplot(rows, aes(.data$estimate, .data$place, colour = .data$role, shape = .data$role)) +
    geom_point(size = 2.4) +
    facet_wrap(vars(.data$panel), scales = "free_y", ncol = 1) +
    scale_x_log10() +
    ggplot2::scale_y_discrete(labels = stats::setNames(rows$statement, rows$place)) +
    scale_colour_manual(values = stats::setNames(c(class_palette(3)[2], class_palette(3)[3],
                                                   class_palette(1), "grey55"), roles),
                        name = NULL) +
    scale_shape_manual(values = stats::setNames(c(19, 18, 1, 4), roles), name = NULL) +
    finish("What is measured and what is guaranteed",
           c(paste0(format(setup$sampler), ", from t = ",
                    format(setup$times[1], digits = 4)),
             format(setup$mixture)),
           if (any(rows$kind == "rate")) "Published rates hide a constant: they are no bounds",
           x = NULL, y = NULL, legend = "bottom")
}

#' Path divergence of a stochastic sampler
#'
#' The Kullback-Leibler divergence of the whole paths of a sampler from those of the exact reverse
#' process, and its parts: the start, the discretisation (step by step) and the error of the score.
#' It bounds the error of the output; [error_budget()] shows the distance between the two.
#'
#' @details
#' With `p_t` the law of the mixture at time `t`, `h`, `I` and `F` its entropy, Fisher information
#' and curvature ([information()]), `s` the score, `c = a(t_k)/a(t)` and steps from `t_k` down to
#' `t_{k+1}`, by Girsanov's theorem and the data-processing inequality, for every mixture,
#'
#' `KL(target || output) <= path KL = KL(p_T || start) + sum_k D_k + sum_k E_k`.
#'
#' All terms can be computed (*derived for this package*), from one fact: `c s_k(y) =
#' E[s_t(X_t) | X_k = y]`, so that `E<s_t, s_k> = c I(t_k)` and `E|s_t - c s_k|^2 = I(t) - c^2
#' I(t_k)`; and `h' = f d + G^2 I/2`. Every step begins with the loss of the best step of its kind,
#' with `log(a(t_{k+1})/a(t_k)) = r` and `beta = Var(x_k | x_{k+1})`,
#'
#' `J_k = h(t_k) - h(t_{k+1}) + d r - I(t_k) beta/2 = int F(t) (1 - e^(-2 (t - t_{k+1}))) dt`,
#'
#' where the second form is in the clock of the Ornstein-Uhlenbeck process.
#'
#' **Paths** (`along = "paths"`): the sampler's step is followed through continuous time. In that
#' clock, with `beta = 1 - e^(-2r)`, `e` the error of the score at `t_k`, and `m` the second moment
#' of `p_t` there,
#' * exponential integrator: `D = J + I (r - 2 (1 - e^-r) + beta/2)`,
#'   `E = r E|e|^2 + 2 (r - 1 + e^-r) E<s, e>`;
#' * DDPM with `variance = "scaled"`: `D = J` (the score is frozen as well as it can be),
#'   `E = beta E|e|^2/2`;
#' * Euler-Maruyama: the exponential integrator's `D` and `d (2 sinh r - 2 r) - I (2 cosh r - 2)`,
#'   and a quarter of `d (r - 2 (1 - e^-r)) + (m - d) ((e^(2r) - 1)/2 - 2 (e^r - 1)) + m r`; `E = r
#'   E|e|^2 - (e^r - 1 - r) E<x, e> - 2 (sinh r - r) E<s, e>`.
#'
#' The first two are for every schedule (with integrals of `G^2/2` and `c G^2/2` in place of `r` and
#' `1 - e^-r`). The third needs drift and noise that are constant in each step (`schedule_ou()`, and
#' `schedule_ddpm()` through its whole times): paths with noise of another size have an infinite
#' divergence.
#'
#' **Grid** (`along = "grid"`): the divergence of the states at the grid times, at most that of the
#' paths, and finite for every schedule and every sampler with steps
#' `x' = alpha x + beta s + sigma z`, `sigma > 0`. With `c` at `t_{k+1}`, `beta_k` as `beta` above,
#' `p = 1/c - alpha`, `q = beta_k/c - beta` and `rho = c^2 sigma^2/beta_k`,
#' `D = J + I beta_k (1 - 1/rho)/2 + d (log rho + 1/rho - 1)/2 + (p^2 m + q^2 I - 2 p q d)/(2 v)`,
#' `v = sigma^2`.
#'
#' To leading order the sum of `D` over `N` equal steps is `(T/N) int F` for the exponential
#' integrator and `(T/N) int (F - I + d/4)` for Euler-Maruyama. The divergence of paths falls as
#' `1/N`, that of the output as `1/N^2`: a path divergence compares grids and samplers poorly.
#'
#' **Errors of the score.** The moments of a [score_error()] without a `model` are closed forms.
#' Those of one with a model, or of a function, come from quadrature in one and two dimensions, and
#' from `n` draws beyond. Noise in the score adds its variance to that of the step (`"grid"`), or
#' `int G^2/2` times its mean square (`"paths"`: the divergence of paths and noise together).
#'
#' @inheritParams guided_sample
#' @param along `"paths"` or `"grid"`, see Details.
#' @param n Number of draws if quadrature is not possible.
#' @param ... Further arguments of [diffusion()] that follow the mixture there, but no `guidance`.
#'   `sampler`: a stochastic one with one score in each step; the default is that of the theorems,
#'   `sampler_exponential(200, stochastic = TRUE, grid = "uniform")`. `start`: `"normal"`, `"exact"`
#'   or a [gaussmix()]. `score_error` may also be a function of points (n x d) and a time that
#'   returns an error to add to the score there (n x d).
#' @return A table of estimates ([mixguide_table], in nats) of class `path_kl` with the parts
#'   `"initialisation"`, `"discretisation"` (its standard error is over batches of the draws) and
#'   `"score_error"`, and `"path_kl"`, their sum. Attribute `steps` is a data frame with a row per
#'   step: the times `from` and `to`, the length `step` in the clock of the Ornstein-Uhlenbeck
#'   process, `discretisation`, `score_error` and `score_square`, the mean square of the error.
#'   `plot()` draws what each step adds per unit of time.
#' @section Errors: Of class `mixguide_error`, for arguments that do not fit, for samplers that are
#'   deterministic (their paths have no density), take several scores in a step or stop where a
#'   covariance is singular.
#' @source That the error of the output is at most that of paths: Chen, Chewi, Li, Li, Salim and
#'   Zhang (2023), \doi{10.48550/arXiv.2209.11215} (recalled, not verified against the paper). The
#'   exact terms are derived for this package.
#' @seealso [error_budget()], [information()].
#' @examples
#' sampler <- sampler_exponential(50, stochastic = TRUE, grid = "uniform")
#' path_kl(named_mixture("A1"), sampler = sampler, horizon = 3)
#' path_kl(named_mixture("A1"), sampler = sampler, horizon = 3,
#'         score_error = score_error(bias = .1))
#' plot(path_kl(named_mixture("A1"), sampler = sampler_em(20), horizon = 3))
#' @export
path_kl <- function(mixture, n = 1e4, ..., along = c("paths", "grid")) {
  d <- as_diffusion(mixture, ..., default = stochastic_default(), without = "guidance")
  refuse_own_model(d)
  local_key(d)
  along <- check_choice(along, c("paths", "grid"), "along")
  n <- check_n(n, min = 2)
  check_extent(d$mixture)
  if (!d$sampler$stochastic) {
    refuse_sampler(d, "stochastic: the paths of others have no density",
                   "sampler_em(100)")
  }
  process <- guarantee_process(d)
  measured <- information_along(process$mixture, d$times, d$schedule, n)
  path_kl_table(d, process, along, n, measured)
}

# A diffusion in its process, with a start that has a density and its error of the score.
guarantee_process <- function(d) {
  process <- process_diffusion(d, check_score_field(d$score_error, d$mixture))
  start_law(process$start, process$mixture, NULL, d$schedule, d$times[1])
  process
}

# The default process of the guarantees: the reverse SDE by exponential steps.
stochastic_default <- function() {
  list(sampler = sampler_exponential(200, "uniform", stochastic = TRUE))
}

# path_kl() for a diffusion and its form in the process, given the result of information_along().
path_kl_table <- function(d, process, along, n, at) {
  mixture <- process$mixture
  schedule <- d$schedule
  times <- d$times
  step <- path_steps(d$sampler, times, schedule, along)
  dim <- mixture_dim(mixture)
  weight <- step_weights(step, along, 0, dim)
  noisy <- step_weights(step, along, error_noise(process$score_error, step$t), dim)
  loss <- at$loss + loss_of(weight, at)
  error <- score_part(process$score_error, mixture, step$t, schedule, at$fisher, noisy, n)
  more <- loss_of(noisy, at) - loss_of(weight, at)
  error$step <- error$step + ifelse(is.nan(more), 0, more)
  begin <- start_error(diffuse(mixture, times[1], schedule), mixture, schedule, times[1],
                       process$start, n)
  parts <- rbind(
    row_of(begin, "kl")[ESTIMATE],
    estimate_row(sum(loss), batches_se(at, weight$fisher), at$method[1]),
    estimate_row(sum(error$step), error$se, error$method)
  )
  # the parts have separate draws
  whole <- sum_row(parts)
  new_table(
    data.frame(quantity = path_parts, rbind(parts, whole)),
    "path_kl", c(about_process(d, format(d$mixture)), process_lines(d, "guidance"),
                 if (along == "grid") "of the states at the grid times"),
    setup_of(d, along = along), labels = c(path_kl = "path KL"),
    foot = "KL(target || output) is at most the last",
    steps = data.frame(from = step$t, to = times[-1], step = step$r, discretisation = loss,
                       score_error = error$step, score_square = error$square)
  )
}

path_parts <- c("initialisation", "discretisation", "score_error", "path_kl")

# Second moment, Fisher information and J (see path_kl()) of each step. With draws, attribute
# `batches` has the values of `loss` and `fisher` from each batch (steps x batches).
information_along <- function(mixture, times, schedule, n) {
  N <- length(times) - 1
  k <- seq_len(N)
  clock <- ou_clock(times, schedule)
  # x / sqrt(size2) is the Ornstein-Uhlenbeck process at the time `clock`
  size2 <- schedule$a(times)^2 + schedule$b2(times)
  last <- information(mixture, times[N + 1], schedule, n = 2)$method
  if (last != "Monte Carlo") {
    found <- information(mixture, times, schedule)
    h <- found$entropy + mixture_dim(mixture) * (clock - log(size2) / 2)
    shrunk <- -expm1(-2 * (clock[k] - clock[k + 1]))
    loss <- h[k] - h[k + 1] - size2[k] * found$fisher[k] * shrunk / 2
    return(data.frame(found[k, c("second_moment", "fisher")], loss = loss,
                      method = found$method[k]))
  }
  # By draws: the integral of F, without cancellation, along smooth curves through a few times.
  few <- some_times(times, 41)
  few_clock <- ou_clock(few, schedule)
  few2 <- schedule$a(few)^2 + schedule$b2(few)
  curve <- function(value) {
    f <- stats::splinefun(few_clock, log(value), "natural")
    function(tau) exp(f(tau))
  }
  per_step <- function(curvature, fisher) {
    curvature <- curve(few2^2 * curvature)
    list(fisher = curve(few2 * fisher)(clock[k]) / size2[k],
         loss = over_steps(clock, function(tau, since) curvature(tau) * -expm1(-2 * since)))
  }
  found <- information(mixture, few, schedule, n)
  parts <- attr(found, "batches")
  batches <- lapply(seq_len(nrow(parts[[1]])), function(b) {
    per_step(vapply(parts, `[`, 0, b, 3), vapply(parts, `[`, 0, b, 2))
  })
  batches <- lapply(c(fisher = "fisher", loss = "loss"), function(what) {
    matrix(vapply(batches, `[[`, double(N), what), N)
  })
  found <- per_step(found$curvature, found$fisher)
  structure(data.frame(second_moment = second_moments(mixture, times[k], schedule), found,
                       method = last), batches = batches)
}

# n times, as dense as those of a grid.
some_times <- function(times, n) {
  stats::approx(seq_along(times), times, seq(1, length(times), length.out = n))$y
}

# The standard error of the sum over the steps of loss + weight fisher.
batches_se <- function(at, weight) {
  batches <- attr(at, "batches")
  if (is.null(batches)) return(0)
  replicates_se(colSums(batches$loss + weight * batches$fisher))
}

# The integral of f(t, t - t_{k+1}) over each step, by Gauss and Legendre's rule.
over_steps <- function(times, f, n = 8) {
  rule <- gauss_legendre(n)
  from <- times[-1]
  half <- (times[-length(times)] - from) / 2
  terms <- lapply(seq_len(n), function(i) {
    since <- half * (1 + rule$node[i])
    half * rule$weight[i] * f(from + since, since)
  })
  Reduce(`+`, terms)
}

# The numbers of each step x' = alpha x + beta s + sigma z: its length r in that clock,
# c = a(t_k)/a(t_{k+1}), `shrunk` = Var(x_k | x_{k+1}), the integrals `score2` of G^2/2 and `score1`
# of G^2/2 times a(t_k)/a(t); and for paths the `kind` of its drift.
path_steps <- function(sampler, times, schedule, along) {
  k <- seq_len(length(times) - 1)
  steps <- one_score_steps(sampler, times, schedule)
  if (is.null(steps) || !isTRUE(all.equal(steps$t, times[k]))) {
    abort_input("sampler", "one whose steps are x' = alpha x + beta s + sigma z, s taken at x",
                sampler$label)
  }
  const <- step_constants(k, times, schedule)
  clock <- ou_clock(times, schedule)
  steps <- data.frame(steps, r = clock[k] - clock[k + 1], c = 1 / const$ratio, shrunk = const$beta,
                      score1 = const$a * gain_between(schedule, times[k], times[k + 1]))
  steps$score2 <- if (schedule$vp) steps$r else {
    over_steps(times, function(t, since) schedule$diffusion2(t) / 2)
  }
  if (along == "grid") return(steps)
  same <- function(x, y) isTRUE(all.equal(x, y, tolerance = 1e-8))
  reverse <- same(steps$alpha, const$ratio) && same(steps$sigma^2, const$ratio^2 * const$beta)
  euler <- schedule$vp && same(steps$alpha, 1 + steps$r) && same(steps$beta, 2 * steps$r) &&
    same(steps$sigma^2, 2 * steps$r)
  steps$kind <- if (reverse && same(steps$beta, 2 * const$ratio * steps$score1)) "exponential" else
    if (reverse && same(steps$beta, const$ratio * const$beta)) "best" else
      if (euler) "euler" else {
        abort_input("along", paste('"grid" for this sampler and schedule, whose paths have',
                                   "another noise or drift"), '"paths"')
      }
  steps
}

# The factors of the moments in the divergence of each step beyond J: of I (`fisher`), the `second`
# moment and 1 (`one`) of the law at its beginning; of E|e|^2 (`square`), E<s, e> and E<x, e> for an
# error e of the score. `noise`: the standard deviation of the random part of the score.
step_weights <- function(step, along, noise, d) {
  if (along == "grid") {
    # the difference of the step from the exact conditional mean (x + shrunk s)/c is p x + q s
    p <- 1 / step$c - step$alpha
    q <- step$shrunk / step$c - step$beta
    variance <- step$sigma^2 + (step$beta * noise)^2
    # a step without noise has no density
    still <- variance == 0
    variance[still] <- 1
    rho <- step$c^2 * variance / step$shrunk
    return(data.frame(
      fisher = step$shrunk * (1 - 1 / rho) / 2 + q^2 / (2 * variance),
      second = p^2 / (2 * variance),
      one = ifelse(still, Inf, d * ((log(rho) + 1 / rho - 1) / 2 - p * q / variance)),
      square = step$beta^2 / (2 * variance), with_score = -q * step$beta / variance,
      with_x = -p * step$beta / variance
    ))
  }
  best <- step$kind[1] == "best"
  # the integrals of the squared frozen score and of its product with the true one
  square <- if (best) step$shrunk / 2 else step$score2
  product <- if (best) step$shrunk / 2 else step$score1
  weight <- data.frame(fisher = square - 2 * product + step$shrunk / 2, second = 0,
                       one = d * square * noise^2, square = square,
                       with_score = 2 * (square - product), with_x = 0)
  if (step$kind[1] == "euler") {
    r <- step$r
    grown <- expm1(2 * r) / 2 - 2 * expm1(r)
    weight$fisher <- weight$fisher - 4 * sinh(r / 2)^2
    weight$second <- (grown + r) / 4
    weight$one <- weight$one + d * ((r + 2 * expm1(-r) - grown) / 4 + 2 * (sinh(r) - r))
    weight$with_score <- -2 * (sinh(r) - r)
    weight$with_x <- r - expm1(r)
  }
  weight
}

loss_of <- function(weight, at) {
  weight$fisher * at$fisher + weight$second * at$second_moment + weight$one
}

# ---- Errors of the score

check_score_field <- function(error, mixture) {
  if (!is.function(error)) {
    model <- check_score_error(error)$model
    if (!is.null(model)) check_same_variables(model, mixture, "model")
    return(error)
  }
  if (!takes_arguments(error, 2)) {
    abort_input("score_error", "a function of points and a time",
                paste("one of", count_of(length(formals(args(error))), "argument")))
  }
  error
}

error_noise <- function(error, t) {
  if (is.function(error) || is.null(error$noise)) return(0)
  as.vector(at_times(error$noise, t, "noise", min = error_min("noise")))
}

# The error that a score_error() or a function adds to the score s at points x.
error_field <- function(error, schedule) {
  if (is.function(error)) return(function(x, t, s) check_field(error, x, t, "score_error"))
  term_of <- function(name, t, size, none) {
    if (is.null(error[[name]])) none else as.vector(at_times(error[[name]], t, name, size))
  }
  function(x, t, s) {
    taken <- if (is.null(error$model)) s else unname(score(error$model, x, t, schedule))
    term_of("scale", t, 1, 1) * taken - s + rep(term_of("bias", t, ncol(x), 0), each = nrow(x))
  }
}

# The contribution of the score's error to each step, whose scores are taken at times t, with the
# standard error of the sum.
score_part <- function(error, mixture, t, schedule, fisher, weight, n) {
  if (is.null(error)) return(list(step = 0 * t, square = 0 * t, se = 0, method = "exact"))
  w <- as.matrix(weight[c("square", "with_score", "with_x")])
  noise <- mixture_dim(mixture) * error_noise(error, t)^2
  answer <- function(means, method, se = 0) {
    list(step = rowSums(w * means), square = means[, 1] + noise, se = se, method = method)
  }
  d <- mixture_dim(mixture)
  if (!is.function(error) && is.null(error$model)) {
    # e = (scale - 1) s + bias, and E s = 0, E<x, s> = -d
    scale <- if (is.null(error$scale)) 1 else as.vector(at_times(error$scale, t, "scale"))
    bias <- if (is.null(error$bias)) 0 else at_times(error$bias, t, "bias", d)
    bias <- matrix(bias, d, length(t))
    return(answer(cbind((scale - 1)^2 * fisher + colSums(bias^2), (scale - 1) * fisher,
                        schedule$a(t) * colSums(bias * mean(mixture)) - (scale - 1) * d), "exact"))
  }
  field <- error_field(error, schedule)
  terms <- function(x, k) {
    s <- unname(score(mixture, x, t[k], schedule))
    e <- field(x, t[k], s)
    cbind(rowSums(e^2), rowSums(s * e), rowSums(x * e))
  }
  pool <- if (is.function(error)) mixture else join_mixtures(list(mixture, error$model))
  nodes <- lapply(t, function(t) quadrature_nodes(diffuse(pool, t, schedule)))
  if (!any(vapply(nodes, is.null, NA))) {
    means <- vapply(seq_along(t), function(k) {
      x <- nodes[[k]]$x
      law <- diffuse(mixture, t[k], schedule)
      colSums(nodes[[k]]$weight * dgaussmix(x, law) * terms(x, k))
    }, double(3))
    return(answer(t(means), "quadrature"))
  }
  x <- unname(rgaussmix(n, mixture))
  z <- matrix(stats::rnorm(n * d), n)
  total <- 0
  means <- matrix(0, length(t), 3)
  for (k in seq_along(t)) {
    value <- terms(schedule$a(t[k]) * x + sqrt(schedule$b2(t[k])) * z, k)
    total <- total + drop(value %*% w[k, ])
    means[k, ] <- colMeans(value)
  }
  answer(means, "Monte Carlo", sample_mean(total)$se)
}

# The error of the start alone, compared with `target`, as rows of guided_error(). It does not use
# nodes of the start, which need not be where the target is.
start_error <- function(target, mixture, schedule, horizon, start, n = 1e5) {
  p <- keep_components(target, target$weights > 0)
  q <- start_law(start, mixture, NULL, schedule, horizon)
  q <- keep_components(q, q$weights > 0)
  if (mixture_size(p) == 1 && mixture_size(q) == 1) {
    return(gaussian_error(p, diffusion(p, sampler = idle_sampler(horizon), schedule = schedule,
                                       start = q), n))
  }
  space <- if (mixture_dim(p) > 2) reduced_space(p)
  parts <- if (!is.null(space)) {
    axes <- reduced_axes(space)
    tryCatch(list(p = split_mixture(p, axes), q = split_mixture(q, axes)),
             mixguide_error = function(e) NULL)
  }
  if (is.null(parts)) return(mixture_distance(p, q, n))
  rows <- mixture_distance(parts$p$inner, parts$q$inner, n)
  rest <- c(rest_kl(parts$p$rest, parts$q$rest), rest_kl(parts$q$rest, parts$p$rest))
  rows$estimate[1:2] <- rows$estimate[1:2] + rest
  # a total variation is no sum
  if (max(rest) > 1e-12) rows[3, ] <- mixture_distance(p, q, n)[3, ]
  rows
}

# The same for two mixtures, over nodes of both, or over draws of the first.
mixture_distance <- function(p, q, n) {
  nodes <- quadrature_nodes(join_mixtures(list(p, q)))
  x <- if (is.null(nodes)) unname(rgaussmix(n, p)) else nodes$x
  log_p <- dgaussmix(x, p, log = TRUE)
  log_q <- dgaussmix(x, q, log = TRUE)
  # p/q = e^l; the term added to the logarithm has mean 0 and leaves nothing negative
  l <- log_p - log_q
  near <- l + expm1(-l)
  if (is.null(nodes)) {
    # 1 - r + r log r with r = q/p, which has the tail of the ratio
    back <- mean_of_weights(-l, -l * exp(-l) - expm1(-l))
    return(quantity_rows(sample_mean(if (stats::sd(near) < stats::sd(l)) near else l), back,
                         sample_mean(pmax(-expm1(-l), 0))))
  }
  mass <- function(log_density) nodes$weight * exp(log_density)
  p <- mass(log_p)
  q <- mass(log_q)
  over_nodes <- function(x) estimate_row(sum(x), 0, "quadrature")
  quantity_rows(over_nodes(ifelse(abs(l) < 1, p * near, p * l + q - p)),
                over_nodes(ifelse(abs(l) < 1, q * (expm1(l) - l), p - q - q * l)),
                over_nodes(abs(p - q) / 2))
}

picture.path_kl <- function(object, setup) {
  steps <- attr(object, "steps")
  parts <- c(discretisation = "discretisation", score_error = "error of the score")
  parts <- parts[vapply(names(parts), function(part) any(steps[[part]] != 0), NA)]
  rows <- do.call(rbind, lapply(names(parts), function(part) {
    # bars with areas that add up to the divergence
    data.frame(from = steps$from, to = steps$to, part = factor(parts[[part]], parts),
               density = steps[[part]] / (steps$from - steps$to))
  }))
  ggplot(rows) +
    geom_rect(aes(xmin = .data$to, xmax = .data$from, ymin = 0, ymax = .data$density,
                  fill = .data$part), colour = NA) +
    facet_wrap(vars(.data$part), scales = "free_y", ncol = 1) + scale_x_reverse() +
    class_colours(levels(rows$part)) +
    finish("What each step adds to the path divergence",
           c(format(setup$sampler), format(setup$mixture)),
           paste0("Areas add up to the path KL of ",
                  format(row_of(object, "path_kl")$estimate, digits = 4), ", with ",
                  format(row_of(object, "initialisation")$estimate, digits = 2), " of the start"),
           x = "time t, from noise to data", y = "nats per unit of time", legend = "none")
}

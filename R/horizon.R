# The start of a run, and faults of its start and of its last step that the mixture shows.

#' The start of a run, and its faults
#'
#' A sampler starts from `N(0, s^2 I)` at the horizon. This is right only if the noised data have
#' nearly this law there. Their divergence is known for each component in closed form, and bounded
#' by convexity for each class,
#' \deqn{KL(p_T(\cdot | c) \| N(0, s^2 I)) \le \sum_{k \in c} \frac{w_k}{2 w_c} \Big(
#'   \frac{a^2 |\mu_k|^2}{s^2} + \sum_i (r_{ki} - \log(1 + r_{ki})) \Big),}{ KL(p_T(. | c) || N(0,
#'   s^2 I)) <= sum_(k in c) w_k/w_c (a^2 |mu_k|^2/s^2 + sum_i (r_ki - log(1 + r_ki)))/2,} with the
#'   eigenvalues \eqn{s^2 (1 + r_{ki})}{s^2 (1 + r_ki)} of \eqn{a^2 \Sigma_k + b^2 I}{a^2 Sigma_k +
#'   b^2 I}. The largest bound over the classes measures the start of a run: a sampler of the
#'   reverse process without other errors ends with at most this divergence, and a total variation
#'   of at most the root of half of it.
#'
#' @details **`horizon = NULL`** is the schedule's own horizon if the divergence there is at most
#' 1e-6 (1e-3 for a mixture in its own coordinates, see [standardise()], so that published numbers
#' keep their horizon). Otherwise it is the time at which the divergence is 1e-6, if the schedule is
#' unbounded (`schedule_ou()`); other schedules end at their own horizon.
#'
#' **Warnings** have the class `mixguide_warning` and one of their own. The print of the run and its
#' plots repeat them:
#' * `mixguide_warning_start`: the divergence is above 1e-3. The horizon is too short, or the
#'   schedule ends too early, as `schedule_ve()` with a `sigma_max` below the spread of the data.
#'   The cure is a longer horizon, another schedule, `start = "exact"` or [standardise()]. A start
#'   that is given, as a [gaussmix()] or as a matrix of 50 rows or more, has this warning if its
#'   mean is half a standard deviation off, or a standard deviation wrong by a factor of 2, by the
#'   law of every class and of the whole. The likely cause is its units: these are those of the
#'   data.
#' * `mixguide_warning_steps`: the last step removes noise of a larger variance than the narrowest
#'   component has at its end, so that the score at its start does not resolve the component. The
#'   cure is more steps, or a grid with shorter ones near the data.
#' * `mixguide_warning_model`: a [score_model()] is not of its `type`, does not depend on the class,
#'   or uses other points. (`mixguide_warning_start` also says if it does not fit the start.)
#' * `mixguide_warning_strength`: the profile `"cfgpp"` of [strength_profile()] with a sampler for
#'   which it is not CFG++, or with strengths that explode.
#'
#' @name horizon
#' @seealso [guided_sample()], [schedule], [time_grid()]
#' @examples
#' far <- gaussmix(c(.5, .5), c(140, 170), cov = 25)
#' run <- guided_sample(far, 1000)  # finds a horizon of its own
#' run$horizon
#' run <- tryCatch(guided_sample(far, 1000, horizon = 5), mixguide_warning = conditionMessage)
#' run
NULL

# The divergence above which a start is a fault, and the divergence at a chosen horizon.
START_LIMIT <- 1e-3
START_GOAL <- 1e-6

# The bound of ?horizon for each class of a mixture in the coordinates of its process, as a function
# of time.
start_kl <- function(process, schedule) {
  used <- process$weights > 0
  values <- used_values(process)
  length2 <- rowSums(process$means[used, , drop = FALSE]^2)
  w <- process$weights[used]
  members <- split(seq_along(w), factor(process$class[used], unique(process$class[used])))
  function(t) {
    a2 <- schedule$a(t)^2
    s2 <- start_sd(schedule, t)^2
    # for a start of variance 1, b^2 = 1 - a^2; otherwise the start has variance b^2
    r <- if (schedule$vp) a2 * (values - 1) else a2 * values / s2
    kl <- a2 * length2 / (2 * s2) + colSums(r - log1p(r)) / 2
    vapply(members, function(k) sum(w[k] * kl[k]) / sum(w[k]), 0)
  }
}

# The horizon of NULL (see ?horizon).
chosen_horizon <- function(mixture, schedule) {
  own <- schedule$horizon
  if (is.null(mixture)) return(own)
  kl <- start_kl(in_process(mixture), schedule)
  worst <- function(t) max(kl(t))
  near <- if (is.null(mixture$coordinates)) START_LIMIT else START_GOAL
  if (is.finite(schedule$max) || worst(own) <= near) return(own)
  enough_noise(worst, own)
}

# The time after `from` at which the start reaches its goal; `from` itself if there is none.
enough_noise <- function(worst, from) {
  excess <- function(t) log(worst(t) / START_GOAL)
  late <- from
  for (i in 1:6) {
    late <- 2 * late
    if (!is.finite(excess(late))) return(from)
    if (excess(late) <= 0) return(stats::uniroot(excess, c(from, late), tol = 1e-10)$root)
  }
  from
}

# The faults of a run, as sentences named by the kind of warning. `start`: its kind, or a matrix or
# mixture in the coordinates of the process. `exact`: whether it could start exactly.
run_faults <- function(process, schedule, times, start, exact = TRUE) {
  c(if (identical(start, "normal")) start_fault(process, schedule, times[1], exact),
    if (is.matrix(start) || inherits(start, "gaussmix")) {
      given_start_fault(start, process, schedule, times[1])
    },
    steps_fault(process, schedule, times))
}

# Is a given start far off the noised law of each class and of the whole?
given_start_fault <- function(start, process, schedule, t) {
  if (is.matrix(start)) {
    # a few points, or one point many times, are no law
    if (nrow(start) < 50 || !all_finite(start)) return(NULL)
    mean <- colMeans(start)
    sd <- sqrt(colMeans((start - rep(mean, each = nrow(start)))^2))
    if (all(sd == 0)) return(NULL)
  } else {
    mean <- moments(start)$mean
    sd <- mixture_sd(start)
  }
  a <- schedule$a(t)
  # of each class, and of the whole
  law <- factor(c(process$class, rep("", mixture_size(process))))
  weights <- rep(process$weights, 2)
  total <- as.vector(rowsum(weights, law))
  mean_of <- function(x) rowsum(rbind(x, x) * weights, law) / pmax(total, 1e-300)
  centre <- a * mean_of(process$means)
  square <- a^2 * mean_of(process$means^2 + t(component_sd(process))^2)
  spread <- sqrt(pmax(square - centre^2, 0) + schedule$b2(t))
  there <- total > 0
  off <- abs(rep(mean, each = nrow(centre)) - centre) / spread
  ratio <- abs(log2(rep(sd, each = nrow(centre)) / spread))
  far <- pmax(off / .5, ratio)[there, , drop = FALSE]
  best <- which.min(row_max(far))
  worst <- which.max(far[best, ])
  if (!(far[best, worst] > 1)) return(NULL)
  figure <- function(mean, sd) {
    paste("mean", format(round(mean, 2), digits = 2), "and standard deviation",
          format(sd, digits = 2))
  }
  nearest <- which(there)[best]
  c(start = paste0(
    "the given start does not have the law of the noised data: in the coordinates of the process ",
    variable_labels(process)[worst], " has ", figure(mean[[worst]], sd[[worst]]), ", wanted ",
    figure(centre[nearest, worst], spread[nearest, worst]), "; ", if (is_standardised(process)) {
      paste("a start is in the units of the data: for z from N(0, I) give z * scale + center of",
            "the mixture's `coordinates` (see ?standardise), or take")
    } else "take a start of this law, or", " start = \"exact\""
  ))
}

start_fault <- function(process, schedule, t, exact) {
  bound <- start_kl(process, schedule)
  worst <- function(t) max(bound(t))
  kl <- worst(t)
  if (!(kl > START_LIMIT)) return(NULL)
  later <- if (is.infinite(schedule$max)) enough_noise(worst, t) else {
    if (schedule$horizon > t && worst(schedule$horizon) <= START_LIMIT) schedule$horizon else t
  }
  cure <- if (later > t) paste("take horizon =", format(later, digits = 3)) else {
    paste0("take a schedule that ends with more noise",
           if (!is_standardised(process)) ", or standardise() the mixture")
  }
  c(start = paste0(
    "the noised data do not have the law of the start: at t = ", format(t, digits = 4),
    ", where a = ", format(schedule$a(t), digits = 2), ", the KL divergence of class ",
    names(which.max(bound(t))), " is up to ", format(kl, digits = 3), " (wanted: at most ",
    START_LIMIT, "); ", cure, if (exact) ', or start = "exact"'
  ))
}

is_standardised <- function(process) {
  variance <- diag(moments(process)$cov)
  all(abs(mean(process)) < 1e-6) && all(abs(variance - 1) < 1e-6 | variance == 0)
}

steps_fault <- function(process, schedule, times) {
  ends <- times[length(times) - 1:0]
  variance <- min(used_values(process))
  b2 <- schedule$b2(ends)
  left <- schedule$a(ends[2])^2 * variance + b2[2]
  if (!(variance > 0 && b2[1] - b2[2] > left)) return(NULL)
  c(steps = paste0(
    "the last step is coarse: it starts at t = ", format(ends[1], digits = 2),
    " and takes away noise of variance ", format(b2[1] - b2[2], digits = 2),
    ", more than the smallest variance of the mixture at its end, ", format(left, digits = 2),
    "; take more steps, or a grid with shorter ones near the data"
  ))
}

warn_faults <- function(faults) {
  for (i in seq_along(faults)) {
    warning(warningCondition(faults[[i]], call = user_call(),
                             class = c(paste0("mixguide_warning_", names(faults)[i]),
                                       "mixguide_warning")))
  }
  faults
}

# Runs `code` without warnings of faults, if they were given before or their effect is measured.
without_faults <- function(code) {
  withCallingHandlers(code, mixguide_warning = function(w) invokeRestart("muffleWarning"))
}

# Runs `code`, which makes several runs, with one warning for each fault.
faults_once <- function(code) {
  told <- character()
  withCallingHandlers(code, mixguide_warning = function(w) {
    if (conditionMessage(w) %in% told) invokeRestart("muffleWarning")
    told <<- c(told, conditionMessage(w))
  })
}

print_faults <- function(faults) if (length(faults)) say(fault_words(faults))

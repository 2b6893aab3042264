# Strengths of guidance that are functions of q = p(class | x), for which guidance stays a gradient:
# s_class + eta(q) g, with g = grad log q. The engine takes them as a term that a level adds to the
# score of the class (gm_push in src/core/gm.h).

# The term that such a strength adds to the score of the class, see guidance_models(). `models`: the
# numbers of the class and of all others; none if there are no others, and no term.
class_push <- function(guidance, mixture, models) {
  profile <- guidance$profile
  own <- is.function(profile)
  inside <- if (length(models) == 2) class_components(mixture, guidance$class)
  log_prior <- log(sum(mixture$weights[inside]))
  kind <- if (is.null(inside)) NULL else if (own) c(1, 0, 0, 0, 0) else {
    profiles[[profile$shape]]$push(profile$strength, profile$params, log_prior)
  }
  if (is.null(kind)) return(list(at = function(t, of) NULL))
  # a function that needs the facts of a run gives its error here
  if (own && is.null(guidance$of_q)) guidance$strength(0)
  odds <- log_prior - log(sum(mixture$weights[!inside]))
  push_at <- function(t, of = "guided") {
    guided <- rep_len(of, length(t)) == "guided"
    push <- matrix(0, 9, length(t))
    push[, guided] <- c(kind[1], models - 1, odds, 0, kind[-1])
    push[5, guided] <- guidance$multiple * guidance_acts(guidance, t[guided])
    push
  }
  list(at = push_at, ask = if (own) function(t, odds, curved) asked_push(guidance, t, odds, curved))
}

ask_op <- function(op, ask) {
  new_op("ask", to = "", from = op$from, t = op$t, fun = ask, when = op$t)
}

# psi = eta (1 - q) and, if wanted, its derivative by the log-odds, a column each. For the user's
# eta the derivative is taken by differences.
asked_push <- function(guidance, t, odds, curved, h = 1e-3) {
  n <- length(odds)
  if (!guidance_acts(guidance, t)) return(double(2 * n))
  lost <- is.na(odds)
  if (any(lost)) {
    # particles that overflowed have no odds
    push <- matrix(NaN, n, 2)
    push[!lost, ] <- asked_push(guidance, t, odds[!lost], curved, h)
    return(push)
  }
  stencil <- if (curved) c(odds, odds - 2 * h, odds - h, odds + h, odds + 2 * h) else odds
  eta <- strength_of_q(guidance, t, stencil)
  rest <- stats::plogis(-odds)
  if (!curved) return(c(eta * rest, double(n)))
  eta <- matrix(eta, n)
  by_odds <- (8 * (eta[, 4] - eta[, 3]) - (eta[, 5] - eta[, 2])) / (12 * h)
  c(eta[, 1] * rest, (by_odds - eta[, 1] * stats::plogis(odds)) * rest)
}

# The user's strength at one time and log-odds of the class.
strength_of_q <- function(guidance, t, odds) {
  facts <- lapply(c(q = "q", log_q = "log_q", log_not_q = "log_not_q"), function(fact) {
    if (!fact %in% strength_needs(guidance$profile)) return(NULL)
    stats::plogis(odds, lower.tail = fact != "log_not_q", log.p = fact != "q")
  })
  value <- from_user(guidance$of_q(t, facts), "strength", paste(" at t =", format(t)))
  wanted <- paste("a function that returns one finite number for each of", length(odds),
                  "values of q, or one for all")
  if (!is.numeric(value) || !length(value) %in% c(1, length(odds))) {
    abort_input("strength", wanted, paste(describe(value), "at t =", format(t)))
  }
  value <- rep_len(as.double(value), length(odds))
  if (!all_finite(value)) {
    bad <- which(!is.finite(value))[1]
    abort_input("strength", wanted, paste(value[bad], "at t =", format(t), "and q =",
                                          format(stats::plogis(odds[bad]))))
  }
  value
}

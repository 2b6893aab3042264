# Characteristic guidance: the scores of the class and of the other model at points that solve an
# equation, see guidance_rule().

characteristic_operations <- function(op, guide, schedule) {
  pool <- guidance_pool(guide)
  params <- guide$rule$params
  score_at <- function(t, x, curved) {
    a <- schedule$a(t)
    b2 <- schedule$b2(t)
    eta <- guide$strength(t)
    coef <- list(class = guide$coef(t, "class"), away = guide$coef(t, "away"))
    of <- function(x, of, what) core_eval(pool, x, a, b2, guide$models, coef[[of]], what)
    if (eta == 0) return(of(x, "class", "score"))
    plain <- (1 + eta) * of(x, "class", "score") - eta * of(x, "away", "score")
    # particles that overflowed stay lost
    there <- is.finite(rowSums(plain))
    if (b2 == 0 || !any(there)) return(plain)
    found <- solve_characteristic(x[there, , drop = FALSE], eta, b2,
                                  function(x, model) of(x, model, "all"), params)
    unsolved$asked <- unsolved$asked + sum(there)
    unsolved$failed <- unsolved$failed + sum(!found$found)
    plain[which(there)[found$found], ] <- found$score[found$found, ]
    plain
  }
  list(new_op("call", to = op$to, from = op$from, fun = score_at, when = op$t))
}

# Solves Delta = b^2 (s_c(x + eta Delta) - s_u(x + (1 + eta) Delta)) and returns the score at the
# solution. `of`: score and Jacobian at points, of the class or the other model.
solve_characteristic <- function(x, eta, b2, of, params) {
  n <- nrow(x)
  d <- ncol(x)
  score <- matrix(0, n, d)
  slope <- array(0, c(n, d, d))
  miss <- function(z, at) {
    here <- x[at, , drop = FALSE]
    s_c <- of(here + eta * z, "class")
    s_u <- of(here + (1 + eta) * z, "away")
    gap <- z - b2 * (s_c$score - s_u$score)
    score[at, ] <<- (1 + eta) * s_c$score - eta * s_u$score
    slope[at, , ] <<- rep(diag(d), each = length(at)) -
      b2 * (eta * s_c$jacobian - (1 + eta) * s_u$jacobian)
    size <- sqrt(rowSums(gap^2))
    list(gap = gap, there = size <= params$tol * (sqrt(b2) + sqrt(rowSums(z^2))))
  }
  newton <- function(at, z, gap) -solve_each(slope[at, , , drop = FALSE], gap)
  state <- descend(list(z = 0 * x, found = logical(n)), miss, newton, min(params$most, 20))
  # long steps first; shorter ones for points whose long steps run in circles
  for (attempt in 1:2) {
    state$z[!state$found, ] <- 0
    state <- settle_down(state, miss, slope_at = function(at) slope[at, , , drop = FALSE],
                         attempt * params$most, longer = c(1.5, 1.15)[attempt])
  }
  list(delta = state$z, found = state$found & is.finite(rowSums(score)), score = score)
}

# For points at which Newton's method halves its steps to nothing: implicit Euler steps of
# dz/dtau = -gap(z), longer as the gap falls (pseudo-transient continuation), until all points are
# solved. Steps also become `longer` while the gap does not rise: with much noise it is small and
# flat over a long way.
settle_down <- function(state, miss, slope_at, most, longer) {
  length_of <- rep(1, nrow(state$z))
  before <- rep(NA_real_, nrow(state$z))
  for (i in seq_len(most)) {
    left <- which(!state$found & is.finite(rowSums(state$z)))
    if (!length(left)) break
    z <- state$z[left, , drop = FALSE]
    state_error <- miss(z, left)
    state$found[left] <- state_error$there %in% TRUE
    size <- sqrt(rowSums(state_error$gap^2))
    fell <- before[left] / size
    grow <- pmin(pmax(fell, ifelse(fell > .9, longer, .1)), 10)
    grow[is.na(grow)] <- 1
    length_of[left] <- pmin(length_of[left] * grow, 1e12)
    before[left] <- size
    A <- slope_at(left)
    for (j in seq_len(ncol(z))) A[, j, j] <- A[, j, j] + 1 / length_of[left]
    move <- !state$found[left]
    state$z[left[move], ] <- (z - solve_each(A, state_error$gap))[move, ]
  }
  state
}

# The numbers of equations posed and not solved, until the outermost counting call returns and
# reports them.
unsolved <- new.env(parent = emptyenv())
unsolved$asked <- unsolved$failed <- unsolved$depth <- 0

counting_unsolved <- function(expr) {
  if (unsolved$depth == 0) unsolved$asked <- unsolved$failed <- 0
  unsolved$depth <- unsolved$depth + 1
  on.exit(unsolved$depth <- unsolved$depth - 1)
  value <- expr
  if (unsolved$depth == 1 && unsolved$failed > 0) {
    warning("characteristic guidance: ", number(unsolved$failed), " of ", number(unsolved$asked),
            " equations were not solved (a particle at an evaluation each); plain guidance took ",
            "their place", call. = FALSE)
  }
  value
}

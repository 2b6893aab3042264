#' Guidance
#'
#' Guidance towards a class `y` adds a multiple of the gradient of `log p(y | x_t)` to the score of
#' a sampler: `s_class + strength * (s_class - s_all) = (1 + strength) s_class - strength s_all`.
#' With exact scores classifier guidance and classifier-free guidance are the same.
#'
#' @details Other kinds of guidance have other weights and coefficients:
#' * **Another negative model.** With `negative` a class, `(1 + strength) s_class - strength
#'   s_negative`, the negative prompt of image generators. With `negative` a mixture,
#'   `(1 + strength) s_class - strength s'_class`, where `s'_class` is the class's score in that
#'   mixture, which must have the class: autoguidance by a worse version of the model.
#' * **Several classes.** Guidances can be added: `guidance("a", 2) + guidance("b", -2)` has the
#'   score `s_all + sum_i (1 + strength_i) g_i` with `g_i` the gradient of `log p(class_i | x)`,
#'   here `s_all + 3 g_a - g_b`. A term of strength -1 has no effect; a term below -1 leads away
#'   from its class. (A term with its own negative model adds
#'   `(1 + strength) s_class - strength s_negative - s_all`.) The confidence of a run is that of the
#'   first class named.
#' * **Power law.** With `power = p` the score is `s_class + strength |g|^p g`,
#'   `g = s_class - s_negative`. For `p > 0` guidance is stronger where the models differ more. Such
#'   a run has no log-density. (Second-hand, see [guidance_rule()] for such marks.)
#' * **Rules** that turn, clip or normalise the guidance term: see [guidance_rule()].
#' * **Strength that depends on time**, as `function(t) if (t > 1) -2 else 4`, or on q, the
#'   probability of the class given `x_t = x`, as `function(t, q)`: see [strength_profile()].
#' * **A strength per variable**, `strength = c(x1 = 2, x2 = 0)` (variables without a name have 0),
#'   or a d x d matrix, see [strength_bands()].
#'
#' In general guidance samples no law that has a formula: not `p(x | y) p(y | x)^strength`.
#'
#' @param class Label of the class to guide to, or several labels for their union: `levels(mixture)`
#'   is the union of all, which has confidence 1 everywhere (runs say so when they are printed).
#' @param strength A number; a function of time `t` (the schedule's clock), or of further quantities
#'   of the run, that returns a number; a [strength_profile()]; or numbers named by variables, or a
#'   matrix. 0 samples the class without guidance (by most rules, see [guidance_rule()]); -1, of
#'   plain guidance, the whole mixture.
#' @param interval `NULL`, or two times `c(lo, hi)`: the guidance acts while `lo <= t <= hi`, and
#'   outside the score is the class's (Kynkaanniemi et al. 2024).
#' @param negative The model to lead away from: `NULL`, the mixture as a whole; labels of a class or
#'   several; another [gaussmix()] with the class to guide to; or, if a [score_model()] drives the
#'   run, another score model, for its score of the class.
#' @param power Exponent, above -1, of the power law; 0 for plain guidance.
#' @param rule `NULL`, for plain guidance; the name of a rule; a function of inner products; or a
#'   [guidance_rule()].
#' @param scale In place of `strength`, the guidance scale of other software, `1 + strength`: a
#'   number or a function, as for `strength`.
#' @param e1,e2 Guidances to be added, without powers or rules.
#' @return An object of class `mixguide_guidance`: a list of the arguments, with `strength` as a
#'   function, and `others`, the guidances added to this one.
#' @source Strength as in Wu, Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639};
#'   classifier-free form Ho and Salimans (2022), \doi{10.48550/arXiv.2207.12598}; interval
#'   Kynkaanniemi et al. (2024), \doi{10.48550/arXiv.2404.07724}; autoguidance after Karras et al.
#'   (2024), \doi{10.48550/arXiv.2406.02507}; power law after Pavasovic et al. (2025),
#'   \doi{10.48550/arXiv.2502.07849}. Sums for several classes are this package's own notation.
#' @seealso [score_error()] for guidance by wrong scores, [capped_strength()] for a strength that
#'   long steps can bear, [tilted_law()] for the law named above.
#' @examples
#' guidance(c("a", "b"), strength = function(t) 4 * exp(-t))
#' guidance("a", strength = 4, interval = c(.2, 2))
#'
#' m <- gaussmix(c(.3, .7), c(0, 2), 1, class = c("a", "b"))
#' worse <- gaussmix(c(.3, .7), c(0, 2), 2, class = c("a", "b"))
#' confidence(guided_sample(m, 500, guidance("a", 2, negative = worse)))
#' confidence(guided_sample(m, 500, guidance("a", 2, power = .5)))
#' guidance("a", 2) + guidance("b", -2)
#' @export
guidance <- function(class, strength = 0, interval = NULL, negative = NULL, power = 0,
                     rule = NULL, scale = NULL) {
  check_labels_named(class, "class", "one or more class labels")
  if (!is.null(scale)) {
    if (!missing(strength)) abort_input("scale", "left out where `strength` is given")
    strength <- strength_of_scale(scale)
  }
  strength_at <- strength
  scale <- NULL
  profile <- NULL
  needs <- character()
  matrix <- NULL
  if (is_matrix_strength(strength)) {
    matrix <- check_strength_matrix(strength)
    label <- matrix_words(matrix)
    strength_at <- function(t) 1
  } else if (inherits(strength, "strength_profile") || is.function(strength)) {
    needs <- strength_needs(strength)
    if (inherits(strength, "strength_profile")) {
      label <- paste("profile", format(strength))
    } else if (inherits(strength, "capped_strength")) {
      label <- paste0(format(attr(strength, "strength")), " capped for \"",
                      attr(strength, "claim"), "\"")
    } else {
      check_of_time(strength, "strength", "a number")
      label <- paste("function of", toString(c("t", needs)))
    }
    if (length(needs) || !is.function(strength)) {
      profile <- strength
      strength_at <- unsettled(needs)
    }
  } else {
    strength <- check_number(strength, "strength")
    label <- format(strength)
    scale <- 1 + strength
    strength_at <- function(t) strength
  }
  if (!is.null(interval)) {
    ok <- is.numeric(interval) && length(interval) == 2 && !anyNA(interval) &&
      interval[2] > interval[1]
    if (!ok) abort_input("interval", "NULL or two increasing times", describe(interval))
    label <- paste0(label, " on [", paste(format(interval), collapse = ", "), "]")
  }
  if (inherits(negative, "score_model")) {
    check_score_model(negative, "negative")
  } else if (!is.null(negative) && !inherits(negative, "gaussmix")) {
    check_labels_named(negative, "negative", "NULL, class labels, a gaussmix or a score_model()")
    negative <- unique(label_text(negative, "negative"))
  }
  check_number(power, "power", min = -1, open = TRUE)
  rule <- as_rule(rule)
  if (!is.null(rule)) {
    if (power != 0) abort_input("rule", "NULL in a guidance with a power", format(rule))
    if (rule$kind == "perp_neg" && is.null(negative)) {
      abort_input("negative", "what the rule \"perp_neg\" leads away from", "NULL")
    }
  }
  by_q <- any(needs %in% q_facts)
  if (by_q || !is.null(matrix)) {
    where <- paste("in a guidance", if (by_q) "whose strength depends on q" else
      "with a strength per variable")
    if (by_q && !is.null(negative)) abort_input("negative", paste("NULL", where))
    if (power != 0) abort_input("power", paste("0", where), power)
    if (!is.null(rule)) abort_input("rule", paste("NULL", where), format(rule))
  }
  structure(list(class = unique(label_text(class)), strength = strength_at, matrix = matrix,
                 interval = interval, label = label, scale = scale, negative = negative,
                 power = power, rule = rule, profile = profile, multiple = 1, others = list()),
            class = object_class("mixguide_guidance"))
}

strength_of_scale <- function(scale) {
  if (!is.function(scale)) return(check_number(scale, "scale") - 1)
  check_of_time(scale, "scale", "a number")
  needs <- strength_needs(scale)
  by_q <- any(needs %in% q_facts)
  # what is wrong is said of the scale, not of the strength
  less_one <- function(value, t) {
    value <- from_user(value, "scale", paste(" at t =", format(t)))
    if (!is.numeric(value) || !(by_q || length(value) == 1) || !all(is.finite(value))) {
      abort_input("scale", paste("a function that returns", if (by_q) "finite numbers" else
        "one finite number"), paste(describe(value), "at t =", format(t)))
    }
    value - 1
  }
  # its other arguments are the quantities of the run with these names
  strength <- function(t) less_one(do.call(scale, c(list(t), mget(needs, environment()))), t)
  asked <- stats::setNames(rep(as.list(formals(function(x) NULL)), length(needs)), needs)
  formals(strength) <- c(formals(strength), asked)
  strength
}

check_labels_named <- function(x, arg, wanted) {
  labels <- if (is.atomic(x)) label_text(x, arg)
  if (!length(labels) || anyNA(labels) || any(labels == "")) {
    abort_input(arg, wanted, if (is.object(x)) came_instead(x) else describe(x))
  }
}

check_of_time <- function(f, arg, or) {
  if (!length(formals(args(f)))) {
    abort_input(arg, paste(or, "or a function of time"), "a function without arguments")
  }
  f
}

#' @rdname guidance
#' @export
`+.mixguide_guidance` <- function(e1, e2) {
  check_guidance(e1, "e1", optional = FALSE)
  check_guidance(e2, "e2", optional = FALSE)
  e1$others <- c(e1$others, guidance_terms(e2))
  for (term in guidance_terms(e1)) refuse_odd(term, "in a sum")
  e1
}

# The terms of a guidance that is a sum.
guidance_terms <- function(guidance) {
  others <- guidance$others
  guidance$others <- list()
  c(list(guidance), others)
}

in_words.mixguide_guidance <- function(x) {
  paste0("towards ", paste(x$class, collapse = " or "),
         if (length(x$class) > 1) " (their union)", ", ", format_strength(x))
}

# The printed strength, with the scale of other software if it is one constant number; then the
# other properties of a guidance.
format_strength <- function(guidance) {
  scale <- if (is.null(guidance$interval)) guidance$scale
  paste0("strength ", guidance$label,
         if (!is.null(scale)) paste0(" (guidance scale ", format(scale), ")"),
         format_kind(guidance))
}

format_kind <- function(guidance) {
  negative <- guidance$negative
  if (inherits(negative, "gaussmix")) {
    negative <- paste("another model (a", sub("^G", "g", paste0(format(negative), ")")))
  }
  if (inherits(negative, "score_model")) negative <- "another score_model()"
  paste0(if (!is.null(negative)) paste0(", away from ", paste(negative, collapse = " or ")),
         if (guidance$power != 0) paste0(", times |g|^", format(guidance$power)),
         if (!is.null(guidance$rule)) paste0(", ", format(guidance$rule)),
         paste0(rep(" + ", length(guidance$others)), vapply(guidance$others, format, ""),
                collapse = ""))
}

print_body.mixguide_guidance <- function(x, ...) {
  if (length(x$others)) {
    say(paste("score: s + sum of (guidance scale) grad log p(class | x); confidence: that of",
              paste(x$class, collapse = " or ")))
  }
}

# `class = levels(x)` may be meant as each class in turn.
all_classes_note <- function(mixture, class) {
  present <- if (is.null(mixture$weights)) TRUE else mixture$weights > 0
  if (length(class) > 1 && all(mixture$class[present] %in% class)) {
    paste("note:     these are all the classes: their union is the whole mixture, and its",
          "confidence 1")
  }
}

check_guidance <- function(x, arg = "guidance", optional = TRUE) {
  if (optional && is.null(x)) return(x)
  check_class(x, "mixguide_guidance", arg,
              paste0(if (optional) "NULL or ", "a guidance (see guidance())"))
  check_made(x, arg, "guidance()", class = function(class) is.character(class) && length(class),
             strength = is.function, power = is_number, label = is_text, scale = maybe(is_number),
             interval = maybe(function(times) is.numeric(times) && length(times) == 2),
             negative = maybe(function(of) {
               is.character(of) || is_mixture(of) || inherits(of, "score_model")
             }),
             others = is.list, multiple = is_number, matrix = maybe(is.numeric),
             profile = maybe(function(of) is.function(of) || inherits(of, "strength_profile")),
             rule = maybe(function(rule) inherits(rule, "guidance_rule")))
  if (!is.null(x$rule)) check_rule(x$rule)
  for (other in x$others) check_guidance(other, arg)
  x
}

# NULL and guidances stay; labels of classes become guidance of strength 0 towards them.
as_guidance <- function(x, arg = "guidance") {
  if (is.null(x) || inherits(x, "mixguide_guidance")) return(check_guidance(x, arg))
  check_labels_named(x, arg, "NULL, one or more class labels, or a guidance()")
  guidance(x)
}

# The guidance with another strength; a strength that is a function of time is multiplied by it.
with_strength <- function(guidance, strength) {
  if (identical(guidance$rule$kind, "own") && !knows_strength(guidance$rule)) {
    abort_input("guidance", "by a rule with an argument `strength`, where the strength is varied",
                format(guidance$rule))
  }
  by_time <- if (is.null(guidance$scale)) guidance$strength
  new <- guidance(guidance$class, if (is.null(by_time)) strength else {
    function(t) strength * by_time(t)
  }, guidance$interval)
  guidance[c("strength", "label", "scale")] <- new[c("strength", "label", "scale")]
  guidance$multiple <- guidance$multiple * strength
  guidance
}

# The strength at each of the times t; a function of the package may take all of them at once, and
# one that has a scale is constant.
guidance_strength <- function(guidance, t) {
  acts <- guidance_acts(guidance, t)
  strengths <- if (isTRUE(guidance$vectorised)) guidance$strength(t[acts]) else {
    at_times(guidance$strength, if (is.null(guidance$scale)) t[acts] else 0, "strength")
  }
  replace(double(length(t)), acts, strengths)
}

guidance_acts <- function(guidance, t) {
  interval <- guidance$interval
  if (is.null(interval)) rep(TRUE, length(t)) else t >= interval[1] & t <= interval[2]
}

# f at each of the times t: `size` finite numbers (or one for all), a column per time.
at_times <- function(f, t, arg, size = 1, min = -Inf) {
  values <- lapply(t, function(t) from_user(f(t), arg, paste(" at t =", format(t))))
  ok <- vapply(values, is.numeric, NA) & lengths(values) %in% c(1, size)
  ok[ok] <- vapply(values[ok], function(x) all(is.finite(x) & x >= min), NA)
  if (!all(ok)) {
    bad <- which(!ok)[1]
    abort_input(arg, paste0("one finite number", if (size > 1) paste0(" or ", size, " of them"),
                            range_words(min, Inf, FALSE), " at every time"),
                paste(describe(values[[bad]]), "at t =", format(t[bad])))
  }
  vapply(values, rep_len, double(size), size)
}

# The mixtures whose components a run needs: the true mixture, which judges the run; the `model`
# that replaces it in the scores, if there is one; and the mixtures that guidance leads away from.
guidance_sources <- function(guidance, mixture, model = NULL) {
  # a user's function has no components
  if (inherits(model, "score_model")) model <- NULL
  if (!is.null(model)) check_same_variables(model, mixture, "model")
  if (is.null(guidance)) return(list(if (is.null(model)) mixture else model))
  negative <- lapply(guidance_terms(guidance), `[[`, "negative")
  negative <- negative[vapply(negative, inherits, NA, "gaussmix")]
  for (other in negative) check_same_variables(other, mixture, "negative")
  c(list(mixture), if (!is.null(model)) list(model), negative)
}

# Names may be missing in either.
check_same_variables <- function(x, mixture, arg) {
  names <- list(variable_names(x), variable_names(mixture))
  same <- any(vapply(names, is.null, NA)) || identical(names[[1]], names[[2]])
  if (!same || mixture_dim(x) != mixture_dim(mixture)) {
    abort_input(arg, paste(if (inherits(x, "score_model")) "a score_model()" else "a mixture",
                           "of the variables", toString(variable_labels(mixture), 200)),
                toString(variable_labels(x), 60))
  }
}

# The core's description of a guidance: the models (rows of log-weights over the components of all
# `sources`), the coefficients of the models' scores at given times (one time after the other), the
# log-probability of the class (NULL if unguided) and the power. The first two models are the true
# class and the true whole, which give the confidence. `of`: for each time, the score wanted:
#   "guided"  sum_i ((1 + eta_i) s_class - eta_i s_negative) + (1 - how many) s_all;
#             with a power, s_class alone; with a rule, nothing
#   "gain"    the guidance term per unit of strength: grad log p(class | x)
#   "push"    with a power p: c (s_class - s_negative), where |c|^p c is the strength
#   "class", "away", "whole"  s_class, s_negative and s_all, for rules
#   "at 2"    plain guidance of strength 2 (or another number), whatever the guidance itself is
# and the strength at given times. A strength that depends on q leaves the class's own score to
# `coef`. `push` is the rest, as a function of times and `of` (a column of numbers for each, see
# gm_push in gm.h; NULL: nothing), and `ask` the user's function that an "ask" calls.
guidance_models <- function(guidance, mixture, model = NULL) {
  if (inherits(model, "score_model")) {
    check_beside(model, mixture, "model")
    judged <- guidance
    if (inherits(guidance$negative, "score_model")) {
      check_beside(guidance$negative, mixture, "negative")
      judged["negative"] <- list(NULL)
    }
    guide <- guidance_models(judged, mixture)
    return(c(guide, list(score_model = with_classes(model, guidance, mixture))))
  }
  if (inherits(guidance$negative, "score_model")) {
    abort_input("guidance", "away from another score_model() only where one drives the run",
                format(guidance))
  }
  sources <- guidance_sources(guidance, mixture, model)
  size <- vapply(sources, mixture_size, 0)
  models <- list()
  made <- list()
  # the number of a model; a new model is made if no other has its source and its set of classes (or
  # all the other classes: NULL if there are none)
  add <- function(source, class = NULL, arg = "guidance", not = FALSE) {
    what <- list(source, sort(class), not)
    number <- which(vapply(made, identical, NA, what))
    if (!length(number)) {
      mixture <- sources[[source]]
      keep <- if (is.null(class)) TRUE else class_components(mixture, class, arg) != not
      if (!any(mixture$weights[keep] > 0)) return(NULL)
      rows <- sum(size[seq_len(source - 1)]) + seq_len(size[source])
      models <<- c(models, list(replace(rep(-Inf, sum(size)), rows, log_weights(mixture, keep))))
      made <<- c(made, list(what))
      number <- length(made)
    }
    number
  }
  if (is.null(guidance)) {
    add(1)
    return(list(models = rbind(models[[1]]), power = 0, linear = TRUE, sources = sources,
                push = function(t, of) NULL,
                coef = function(t, of = "guided") is_guided(of) + 0 * t))
  }
  add(1, guidance$class)
  add(1)
  terms <- guidance_terms(guidance)
  used <- if (is.null(model)) 1 else 2
  next_source <- used
  class <- negative <- double()
  for (i in seq_along(terms)) {
    from <- terms[[i]]$negative
    other <- inherits(from, "gaussmix")
    next_source <- next_source + other
    class[i] <- add(used, terms[[i]]$class, if (used == 1) "guidance" else "model")
    negative[i] <- if (other) add(next_source, terms[[i]]$class, "negative") else {
      add(used, from, "negative")
    }
  }
  all <- add(used)
  push <- class_push(guidance, sources[[used]], if (depends_on_q(guidance)) {
    c(class[1], add(used, guidance$class, not = TRUE))
  })
  J <- length(models)
  unit <- function(j) diag(J)[, j, drop = FALSE]
  gain <- unit(class[1]) - unit(negative[1])
  p <- guidance$power
  coef <- function(t, of = "guided") {
    wanted <- rep_len(of, length(t))
    coef <- matrix(0, J, length(t))
    coef[, wanted == "gain"] <- gain
    push <- wanted == "push"
    eta <- guidance_strength(guidance, t[push])
    coef[, push] <- gain %*% (sign(eta) * abs(eta)^(1 / (1 + p)))
    coef[, wanted == "class"] <- unit(class[1])
    coef[, wanted == "away"] <- unit(negative[1])
    coef[, wanted == "whole"] <- unit(all)
    rest <- (1 - length(terms)) * unit(all)
    fixed <- is_fixed(wanted)
    eta <- fixed_strength(wanted[fixed])
    coef[, fixed] <- rowSums(unit(class)) %o% (1 + eta) - rowSums(unit(negative)) %o% eta +
      as.vector(rest)
    guided <- wanted == "guided"
    if (p != 0 || depends_on_q(guidance)) coef[, guided] <- unit(class) else {
      eta <- vapply(terms, guidance_strength, double(sum(guided)), t[guided])
      eta <- matrix(eta, length(terms), byrow = TRUE)
      coef[, guided] <- unit(class) %*% (1 + eta) - unit(negative) %*% eta + as.vector(rest)
    }
    as.vector(coef)
  }
  list(models = do.call(rbind, models), coef = coef, power = p, rule = guidance$rule,
       matrix = strength_matrix(guidance$matrix, mixture),
       class_law = if (is_uneven(guidance)) class_law(mixture, guidance$class),
       push = push$at, ask = push$ask,
       zero_until = guidance$zero_until, grid = guidance$grid,
       linear = is.null(nonlinear_words(guidance)),
       strength = function(t) guidance_strength(guidance, t), sources = sources,
       acts = function(t) guidance_acts(guidance, t),
       log_prior = log(sum(mixture$weights[class_components(mixture, guidance$class)])))
}

# The components of all sources as one mixture, without those that have weight zero in every model.
guidance_pool <- function(guide) {
  pool <- join_mixtures(guide$sources)
  pool$weights[colSums(guide$models > -Inf) == 0] <- 0
  pool
}

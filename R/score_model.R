#' A model of one's own
#'
#' A score that is not the score of a mixture: a trained network, another family of laws, a kernel
#' density. Every sampler and every guidance run with it, in two ways:
#' * **beside a mixture**, as the `model` of [score_error()]: the mixture stands for the truth and
#'   judges the result;
#' * **by itself**, in place of the mixture, if the model has `variables`:
#'   `guided_sample(model, 1000, guidance("a", 2))`. Analyses that need exact densities then refuse
#'   it. The confidence is that of a `classifier`, if there is one.
#'
#' @details The function is called as `score(x, t, class)`: `x` is an n x d matrix of points in the
#' variables of the mixture (or of the model), with their names; `t` is one time; `class` holds the
#' labels of the class whose score is wanted, or is `NULL` for the score without a class. The
#' function returns an n x d matrix and treats each point by itself. Columns with the names of the
#' variables may be in any order. `type` names the values: the score; the denoised point `D`, which
#' is the mean of the data given `x`; or the added noise `z`, in the coordinates of the process (see
#' [standardise()]). At `x_t = a x_0 + b z`, `s = (a D - x)/b^2 = -z/b`.
#'
#' A classifier with gradient `g(x, t, class)`, in place of a score of each class, makes the model
#' `function(x, t, class) s(x, t) + if (!is.null(class)) g(x, t, class) else 0`. A second model, to
#' lead away from, is the `negative` of [guidance()].
#'
#' **By itself** a model runs in [guided_sample()], [guided_summary()], [guidance_sweep()] (with a
#' classifier), [guided_law()] (in one and two dimensions), [conditional_sample()] and
#' [best_grid()]. `standardise(model, center, scale)` tells where and how wide the data are, without
#' it around 0 and as wide as 1. The package cannot tell whether the steps suit a function: compare
#' with a run of twice as many.
#'
#' **A function is checked** before a run, by 256 points at the horizon and in the middle. Warnings
#' say if the score of the class, of what guidance leads away from, or of a second model is not
#' nearly `-x/s^2` at the horizon, the score of the start `N(0, s^2 I)`; if a score or the noise is
#' called `"denoised"`; if the score does not depend on the class; and if half of the points alone
#' have other values. These are three calls for each score that a run asks for. Particles that
#' overflow are lost; values that are not finite elsewhere are an error.
#'
#' The engine calls the function at every evaluation. Passing points and values costs some 3 to 7 ns
#' a number; the step itself costs little. With 1e4 particles or more a run of 20 steps takes 1.1 to
#' 1.25 times as long as the function alone, if this takes 30 ns a number (the score of three
#' components, written in R). The cheapest function, `-x/v`, takes 2 ns a number: a run takes some
#' twice as long with 1e5 particles, and 3 to 5 times with 1e4, where some 3 ms before the first
#' step count. Runs with such a model carry no log-density, do not reduce to fewer dimensions, and
#' refuse a folder of chunks, because a function cannot be compared with that of an earlier run.
#'
#' @param score A function of `x`, `t` and `class`.
#' @param type The kind of its values: `"score"`, `"denoised"` or `"noise"`.
#' @param variables `NULL` for a model beside a mixture; or the variables' names, or their number.
#' @param class The labels of the classes of a model by itself, or `NULL`.
#' @param classifier `NULL`, or a function of points (m x d) that returns the probabilities of the
#'   classes at time 0: an m x K matrix, with the labels as names of its columns or in the order of
#'   `class`.
#' @return An object of class `score_model`: a list of the arguments, with `coordinates`, as a
#'   mixture has them, after [standardise()].
#' @source Tweedie's formula for the three parametrisations, as in Ho, Jain and Abbeel (2020),
#'   \doi{10.48550/arXiv.2006.11239}.
#' @seealso [score_error()], which takes it; [guidance()].
#' @examples
#' # a function that happens to be exact
#' m <- gaussmix(c(.5, .5), c(-2, 2), 1, class = c("a", "b"))
#' denoiser <- score_model(function(x, t, class) denoise(m, x, t, guidance = class), "denoised")
#' run <- guided_sample(m, 1000, guidance("a", 2), sampler_ddim(20),
#'                      score_error = score_error(model = denoiser))
#' confidence(run)
#'
#' # by itself: two bumps that are no Gaussians, of which `denoised` is known
#' one_point <- function(x, t, class) {
#'   a <- exp(-t)
#'   b2 <- 1 - a^2
#'   at <- if (is.null(class)) c(-2, 2) else c(low = -2, high = 2)[class]
#'   log_weight <- outer(a * x[, 1] / b2, at) # of two points
#'   weight <- exp(log_weight - apply(log_weight, 1, max))
#'   cbind(weight %*% at / rowSums(weight))
#' }
#' points <- score_model(one_point, "denoised", variables = "x", class = c("low", "high"),
#'                       classifier = function(x) cbind(low = x[, 1] < 0, high = x[, 1] >= 0) + 0)
#' guided_sample(points, 1000, sampler = sampler_ddim(20))
#' confidence(guided_sample(points, 1000, guidance("high", 1), sampler_ddim(20)))
#' @export
score_model <- function(score, type = c("score", "denoised", "noise"), variables = NULL,
                        class = NULL, classifier = NULL) {
  if (!is.function(score) || !takes_arguments(score, 3)) {
    abort_input("score", "a function of x, t and class", describe(score))
  }
  if (is.numeric(variables)) {
    variables <- check_count(variables, "variables", min = 1)
  } else if (!is.null(variables)) {
    named <- is.character(variables) && length(variables) && !anyNA(variables) &&
      all(variables != "") && !anyDuplicated(variables)
    if (!named) {
      abort_input("variables", "NULL, different names or a number of variables",
                  describe(variables))
    }
  }
  if (!is.null(class)) {
    check_labels_named(class, "class", "NULL or class labels")
    class <- unique(label_text(class, "class"))
  }
  if (!is.null(classifier)) {
    if (!is.function(classifier)) {
      abort_input("classifier", "NULL or a function of points", describe(classifier))
    }
    if (is.null(class)) abort_input("class", "labels where there is a classifier", "NULL")
  }
  if (is.null(variables) && !is.null(class)) {
    abort_input("variables", "names or a number for a model with classes of its own", "NULL")
  }
  structure(list(score = score, type = check_choice(type, names(want_code), "type"),
                 variables = variables, class = class, classifier = classifier),
            class = object_class("score_model"))
}

check_score_model <- function(x, arg) {
  check_made(x, arg, "score_model()", score = is.function, type = is_text,
             class = maybe(is.character), classifier = maybe(is.function),
             variables = maybe(function(of) is.character(of) || is_number(of)),
             coordinates = maybe(is.list))
}

# ---- A model by itself

# Why an analysis refuses one.
model_alone <- "a gaussmix: this analysis asks for densities, which a score_model() has not"

# The mixture from which programs, grids and names are made for a model by itself: a standard
# normal for each class, in the coordinates of the process. Users never see it: prints show its
# `model` (said_mixture()).
stand_in <- function(model) {
  check_score_model(model, "mixture")
  if (is.null(model$variables)) {
    abort_input("mixture", "a score_model() with `variables`, to run by itself", format(model))
  }
  d <- mixture_dim(model)
  class <- if (is.null(model$class)) "all" else model$class
  K <- length(class)
  place <- model$coordinates
  center <- if (is.null(place)) rep(0, d) else place$center
  scale <- if (is.null(place)) rep(1, d) else place$scale
  means <- name_dims(matrix(center, K, d, byrow = TRUE), NULL, variable_names(model))
  like <- assemble_gaussmix(rep(1 / K, K), means, list(scale = simplify_cov(scale^2)), class)
  like["coordinates"] <- list(place)
  like$model <- model
  like
}

# Refuses arguments that a model by itself cannot have.
refuse_beside <- function(start, score_error) {
  if (identical(start, "exact")) {
    abort_input("start", "another than the exact law, which is not known of a score_model()",
                '"exact"')
  }
  if (is.function(score_error) || !is.null(score_error$model)) {
    abort_input("score_error", "without a model, where the model takes the mixture's place",
                if (is.function(score_error)) "a function" else format(score_error))
  }
}

# Refuses a model beside a mixture, or a second one, that says it is of other variables or classes.
check_beside <- function(model, mixture, arg) {
  if (!is.null(model$variables)) check_same_variables(model, mixture, arg)
  class <- mixture_classes(mixture)
  if (!is.null(model$class) && !setequal(model$class, class)) {
    abort_input(arg, paste("a score_model() of the classes", toString(class, 60)),
                toString(model$class, 60))
  }
}

# The mixture or the model that a user gave.
said_mixture <- function(mixture) if (is.null(mixture$model)) mixture else mixture$model

# An experiment of a model by itself as one of its stand-in with a wrong score, which is the model.
driven_by_model <- function(d) {
  if (!inherits(d$mixture, "score_model")) return(d)
  error <- if (is.null(d$score_error)) score_error() else d$score_error
  error$model <- d$mixture
  replace(d, c("mixture", "score_error"), list(stand_in(d$mixture), error))
}

# p(class | x) by the model's own classifier: of each class a column, NULL if it has none. NaN where
# x is not finite.
model_posterior <- function(model, x) {
  if (is.null(model$classifier)) return(NULL)
  there <- is.finite(rowSums(x))
  points <- x[there, , drop = FALSE]
  q <- from_user(model$classifier(points), "classifier")
  if (is.data.frame(q)) q <- as.matrix(q)
  class <- model$class
  names <- if (is.matrix(q)) colnames(q)
  wanted <- paste0("a function that returns ", nrow(points), " x ", length(class),
                   " probabilities of ", toString(class, 60))
  # of as many classes, each with its name
  fits <- is.numeric(q) && identical(dim(q), c(nrow(points), length(class))) &&
    (is.null(names) || setequal(names, class))
  if (!fits) abort_input("classifier", wanted, describe(q))
  bad <- which(rowSums(is.na(q) | q < 0) > 0 | !(abs(rowSums(q) - 1) <= 1e-6))
  if (length(bad)) {
    abort_input("classifier", paste0(wanted, ", of sum 1 in each row"),
                paste0(toString(q[bad[1], ], 60), " at ",
                       toString(paste(variable_labels(model), "=", format(points[bad[1], ])), 80)))
  }
  q <- spread_rows(if (is.null(names)) q else q[, class, drop = FALSE], there)
  name_dims(q, NULL, class)
}

# The rows of a matrix in the places that are `there`, NaN elsewhere.
spread_rows <- function(rows, there) {
  all <- matrix(NaN, length(there), ncol(rows))
  all[there, ] <- rows
  all
}

# log p(class | x) for one class, or the union of several.
model_log_confidence <- function(model, x, class) {
  q <- model_posterior(model, x)
  if (!is.null(q)) log(pmin(rowSums(q[, class, drop = FALSE]), 1))
}

in_words.score_model <- function(x) {
  paste0("a function of x, t and class", if (!is.null(x$variables)) {
    paste0(" (", count_of(mixture_dim(x), "variable"),
           if (length(x$class)) paste0(", ", count_of(length(x$class), "class", "classes")), ")")
  }, " that returns the ",
         c(score = "score", denoised = "denoised point", noise = "noise")[[x$type]])
}

refuse_own_model <- function(d) {
  if (!inherits(d$score_error, "score_error")) return()
  if (inherits(d$score_error$model, "score_model")) {
    abort_input("score_error", "a function of x and t, or of another mixture, for this analysis",
                format(d$score_error$model))
  }
}

# The model with the classes of a guidance, which replace each kind of evaluation.
with_classes <- function(model, guidance, mixture) {
  if (length(guidance$others) || inherits(guidance$negative, "gaussmix")) {
    abort_input("guidance", paste("towards one class and away from a class, the whole or another",
                                  "score_model(), for this model"), format(guidance))
  }
  if (any(guidance$rule$kind %in% names(other_rules))) {
    abort_input("guidance", "with a rule of inner products for a score_model()", format(guidance))
  }
  if (depends_on_q(guidance)) {
    abort_input("guidance", "of a strength of time alone for a score_model(), which knows no q",
                format(guidance))
  }
  c(model, list(towards = guidance$class, negative = guidance$negative,
                names = variable_labels(mixture)))
}

# The operations of one evaluation of a user's model: a call of its function, then the conversion to
# a score. The engine converts, because R would copy at each product and sum.
asked_operations <- function(op, guide, schedule) {
  model <- guide$score_model
  other <- model$negative
  second <- inherits(other, "score_model")
  other <- if (second) c(other, model[c("names", "like")]) else model
  ask <- function(to, class, of = model) {
    new_op("call", to = to, from = op$from, fun = model_value(of, class), when = op$t)
  }
  away <- function(to) ask(to, if (second) model$towards else model$negative, other)
  # the sum of the asked models' scores times `by`
  sum_of <- function(asked, models, by, registers = op$to) {
    forms <- lapply(models, function(model) value_form(model$type, op$t, schedule))
    coef <- stats::setNames(Map(function(form, by) by * form$by_value, forms, by), registers)
    of_x <- Reduce(`+`, Map(function(form, by) by * form$by_x, forms, by))
    if (any(of_x != 0)) coef[[op$from]] <- of_x
    as_it_is <- length(coef) == 1 && all(coef[[1]] == 1)
    c(asked, if (!as_it_is) list(op_linear(op$to, coef)))
  }
  alone <- function(class) sum_of(list(ask(op$to, class)), list(model), list(1))
  less <- function(by_class, by_other) {
    sum_of(list(ask(op$to, model$towards), away("(away)")), list(model, other),
           list(by_class, by_other), c(op$to, "(away)"))
  }
  wanted <- if (is.null(model$towards)) "whole" else if (is.null(op$of)) "guided" else op$of
  if (is_guided(wanted)) {
    plain <- guide$power == 0 || is_fixed(wanted)
    eta <- if (is_fixed(wanted)) fixed_strength(wanted) else guide$strength(op$t)
    if (plain && any(eta != 0)) return(less(1 + eta, -eta))
    wanted <- "class"
  }
  switch(wanted, whole = alone(NULL), class = alone(model$towards),
         away = sum_of(list(away(op$to)), list(other), list(1)), push = {
           eta <- guide$strength(op$t)
           by <- sign(eta) * abs(eta)^(1 / (1 + guide$power))
           less(by, -by)
         })
}

# The score as by_x x + by_value (what the model's function returns), in the coordinates of the
# process, at times t.
value_form <- function(type, t, schedule) {
  a <- schedule$a(t)
  b2 <- schedule$b2(t)
  if (type != "score" && any(b2 == 0)) {
    abort_input("sampler", paste("one that asks for no score without noise, for a model that",
                                 "returns another than the score: take `end` > 0"),
                paste("one that does at t =", format(t[b2 == 0][1])))
  }
  switch(type, score = list(by_x = 0 * t, by_value = 1 + 0 * t),
         noise = list(by_x = 0 * t, by_value = -1 / sqrt(b2)),
         denoised = list(by_x = -1 / b2, by_value = a / b2))
}

as_score <- function(value, type, t, x, schedule) {
  form <- value_form(type, t, schedule)
  form$by_x * x + form$by_value * value
}

# ---- Faults of a model

# The evaluations that a run asks for: of which model, which class and in which words.
asked_models <- function(model, guidance, times) {
  ask <- function(model, class, second = FALSE) {
    words <- if (is.null(class)) "the score without a class" else {
      paste("the score of class", aim_words(class))
    }
    list(model = model, class = class, second = second,
         words = paste0(words, if (second) ", of the second model"))
  }
  towards <- guidance$class
  first <- ask(model, towards)
  if (is.null(towards)) return(list(first))
  guided <- !is.null(guidance$rule) || guidance$power != 0 ||
    any(guidance_strength(guidance, times[-length(times)]) != 0)
  if (!guided) return(list(first))
  other <- guidance$negative
  second <- if (inherits(other, "score_model")) {
    ask(c(other, model[c("names", "like")]), towards, TRUE)
  } else ask(model, other)
  whole <- if (identical(guidance$rule$kind, "perp_neg")) list(ask(model, NULL))
  c(list(first, second), whole)
}

# Is a model what it is said to be? A few calls at 256 points, at the horizon and in the middle of
# the run, find its most common faults. Right models have none of them, also if they are trained.
model_faults <- function(model, guidance, mixture, schedule, times, start) {
  if (!inherits(model, "score_model")) return(NULL)
  model$names <- variable_labels(mixture)
  asked <- asked_models(model, guidance, times)
  z <- matrix(keyed_normals(mixture_dim(mixture), 256, c(0, 0))[, , 1], 256)
  places <- list(schedule = schedule, times = times, sd = start_sd(schedule, times[1]), z = z)
  middle <- times[(length(times) + 1) %/% 2]
  width <- sqrt(schedule$a(middle)^2 + schedule$b2(middle))
  usual <- identical(start, "normal")
  at_horizon <- function(of) raw_score(of, times[1], places$sd * z)
  # where the data are in the middle is not known, so a failure there means nothing
  in_middle <- function(of, rows = TRUE) {
    if_error(raw_score(of, middle, width * z[rows, , drop = FALSE]), function(e) NULL)
  }
  begin <- lapply(asked, if (usual) at_horizon else function(of) {
    if_error(at_horizon(of), function(e) NULL)
  })
  later <- lapply(asked, in_middle)
  faults <- c(if (usual) unlist(Map(start_of_model, asked, begin, list(places))),
              unlist(Map(kind_of_model, asked, begin, list(places))),
              rows_of_model(asked, later, in_middle, z),
              class_of_model(asked, begin, later, mixture))
  faults[!duplicated(faults)]
}

# What a model's function returns, in the coordinates in which it returns it.
raw_score <- function(of, t, x) {
  model_value(replace(of$model, "type", "noise"), of$class)(t, x, NULL)
}

# The score that these values would be, if they were of a type.
score_as <- function(raw, type, t, x, model, schedule) {
  as_score(value_in_process(raw, type, model$like), type, t, x, schedule)
}

# Does a model fit the law of the start? If the start is normal, the score at the horizon is
# -x/sd^2. Half the Fisher divergence between the two laws is their KL divergence, if both are
# Gaussians of one variance. The test finds models of another time, type or scale. A trained model
# is never exact, so a twentieth per variable is allowed. `at`: the points and the process.
start_divergence <- function(of, raw, at, type = of$model$type) {
  s <- score_as(raw, type, at$times[1], at$sd * at$z, of$model, at$schedule)
  mean(rowSums((at$sd * s + at$z)^2)) / 2
}

start_of_model <- function(of, raw, at) {
  half <- start_divergence(of, raw, at)
  most <- .05 * ncol(at$z)
  if (half <= most) return(NULL)
  c(start = paste0(
    of$words, " is not that of the start: at t = ", format(at$times[1], digits = 4),
    " half the Fisher divergence between them is ", format(half, digits = 2), " (wanted: at most ",
    format(most), "); is the model's time that of the schedule, its `type` right, the ",
    "horizon long enough, and where the data are known to it (see standardise())?"
  ))
}

# A score or a noise called "denoised" hardly changes the score at the horizon. But denoised points
# hardly depend on x there, while such values are -x/sd^2 or x/sd. Denoised points never fall with
# x. They may rise like noise if the data are so wide, of variance C by their slope. Then b s, which
# has a mean square of at most d, is moderate at points of N(a mu, a^2 C + b^2), where a^2 C is
# 4 b^2; if the values are noise, it is not.
kind_of_model <- function(of, raw, at) {
  if (of$model$type != "denoised" || is.null(raw)) return(NULL)
  like <- function(type) start_divergence(of, raw, at, type) <= .05 * ncol(at$z)
  is <- if (like("score")) "score" else if (like("noise") && is_noise(of, raw, at)) "noise"
  if (!is.null(is)) {
    c(model = paste0(of$words, ' is of type "denoised", but the values at t = ',
                     format(at$times[1], digits = 4), " are those of a ", is,
                     ": is the model's `type` right?"))
  }
}

is_noise <- function(of, raw, at) {
  z <- at$z
  denoised <- value_in_process(raw, "denoised", of$model$like)
  mu <- colMeans(denoised)
  slope <- sum(z * (denoised - rep(mu, each = nrow(z)))) / (at$sd * sum(z^2))
  a <- at$schedule$a(at$times)
  b2 <- at$schedule$b2(at$times)
  if (a[1] == 0) return(TRUE)
  wide <- slope * b2[1] / a[1]
  k <- which.min(abs(log(a[b2 > 0]^2 * wide / b2[b2 > 0]) - log(4)))
  x <- rep(a[k] * mu, each = nrow(z)) + sqrt(a[k]^2 * wide + b2[k]) * z
  t <- at$times[k]
  s <- if_error(score_as(raw_score(of, t, x), "denoised", t, x, of$model, at$schedule),
                function(e) NULL)
  !is.null(s) && mean(rowSums(b2[k] * s^2)) > 2 * ncol(z)
}

# Half of the points, those on one side, asked again, must have the same values.
rows_of_model <- function(asked, later, ask, z) {
  half <- order(z[, 1])[seq_len(nrow(z) / 2)]
  unlist(Map(function(of, raw) {
    again <- if (!is.null(raw)) ask(of, half)
    if (is.null(again)) return(NULL)
    off <- max(abs(again - raw[half, ]))
    # batches of other sizes round otherwise
    if (off <= 5e-3 * max(abs(raw))) return(NULL)
    c(model = paste0(of$words, " is not a function of the point alone: half of the points, ",
                     "without the others, have values that differ by up to ",
                     format(off, digits = 2),
                     "; does the model use other rows, or random numbers?"))
  }, asked, later))
}

# Do the two scores that guidance compares differ anywhere?
class_of_model <- function(asked, begin, later, mixture) {
  if (length(asked) < 2 || asked[[2]]$second) return(NULL)
  class <- asked[[1]]$class
  other <- asked[[2]]$class
  all <- present_classes(mixture)
  if (all(all %in% class) && (is.null(other) || all(all %in% other))) return(NULL)
  if (setequal(class, other)) return(NULL)
  seen <- !vapply(c(begin[1:2], later[1:2]), is.null, NA)
  if (!all(seen) || !identical(begin[[1]], begin[[2]]) || !identical(later[[1]], later[[2]])) {
    return(NULL)
  }
  c(model = paste0("the score does not depend on `class`: ", asked[[1]]$words, " and ",
                   asked[[2]]$words, " are the same at all of ", nrow(begin[[1]]),
                   " points, so that guidance has no effect"))
}

# The function of a "call": the values of the model's function at points of the process.
model_value <- function(model, class) {
  force(class)
  like <- model$like
  names <- list(NULL, model$names)
  where <- function(t) {
    paste0(" at t = ", format(t), ", class ", if (is.null(class)) "NULL" else toString(class))
  }
  # A copy takes as long as a simple score, so nothing is copied without need. Nothing is kept
  # either: the engine then passes the same matrix again.
  value_at <- function(t, from, curved) {
    on.exit(x <- from <- NULL)
    x <- from_process(from, like)
    if (!identical(dimnames(x), names)) dimnames(x) <- names
    # particles that overflowed have no score, and the others go on
    there <- NULL
    if (!all_finite(x, LARGEST)) {
      there <- rowSums(is.na(x) | abs(x) > LARGEST) == 0
      if (!any(there)) return(matrix(NaN, nrow(x), ncol(x)))
      x <- x[there, , drop = FALSE]
    }
    value <- from_user(model$score(x, t, class), "score", where(t))
    shape <- is.numeric(value) && length(value) == length(x) &&
      (is.null(dim(value)) && ncol(x) == 1 || identical(dim(value), dim(x)))
    if (!shape) {
      abort_input("score", paste("a function that returns", nrow(x), "x", ncol(x), "numbers"),
                  paste0(describe(value), where(t)))
    }
    # named columns count by their names, if these are the variables'
    own <- if (is.matrix(value)) colnames(value)
    if (!is.null(own) && !identical(own, model$names) && setequal(own, model$names)) {
      value <- value[, model$names, drop = FALSE]
    }
    if (is.object(value) || !is.double(value) || !is.matrix(value)) {
      value <- matrix(as.double(value), nrow(x))
    }
    if (!all_finite(value)) {
      bad <- which(!is.finite(value), arr.ind = TRUE)[1, ]
      point <- paste(model$names, "=", format(x[bad[1], ], digits = 4), collapse = ", ")
      abort_input("score", "a function that returns finite numbers",
                  paste0(value[bad[1], bad[2]], " in row ", bad[1], " (", point, ")", where(t)))
    }
    if (!is.null(there)) value <- spread_rows(value, there)
    value_in_process(value, model$type, like)
  }
  structure(value_at, columns = model$names)
}

value_in_process <- function(value, type, like) {
  if (is.null(like) || type == "noise") return(value)
  if (type == "denoised") return(to_process(value, like))
  value * rep(like$coordinates$scale, each = nrow(value))
}

# The model's score, as the function of a "call".
model_score <- function(model, class, schedule) {
  value <- model_value(model, class)
  force(schedule)
  function(t, from, curved) as_score(value(t, from, curved), model$type, t, from, schedule)
}

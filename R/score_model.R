#' A model of one's own
#'
#' A score that is not that of a mixture: a network that was trained, another family of laws, a
#' kernel density. As the `model` of [score_error()] it drives every sampler, with every guidance,
#' and the mixture, which stands for the truth, judges what comes out.
#'
#' @details The function is called as `score(x, t, class)`, with an n x d matrix of points, in the
#' variables of the mixture and with their names; one time; and the class whose score is wanted, as
#' labels, or `NULL` for the score without a class. It returns an n x d matrix, and treats the
#' points one by one: how many come at a time is settled by the size of the run. `type` says what it
#' is: the score; the denoised point, which is the mean of the data given `x`; or the noise that was
#' added, in the coordinates of the process (see [gaussmix()]). At `x_t = a x_0 + b z` these are
#' one: `s = (a D - x)/b^2 = -z/b`.
#'
#' The engine stops at every evaluation, asks, and goes on: for some thousand particles a run takes
#' as long as the function, and little more. With such a model no log-density is carried along, a
#' run does not reduce to fewer dimensions, and a folder of chunks is refused, as nobody can tell
#' whether a function is what it was.
#'
#' @param score A function of `x`, `t` and `class`.
#' @param type What it returns: `"score"`, `"denoised"` or `"noise"`.
#' @return An object of class `score_model`: a list of `score` and `type`.
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
#' @export
score_model <- function(score, type = c("score", "denoised", "noise")) {
  if (!is.function(score) || !takes_arguments(score, 3)) {
    abort_input("score", "a function of x, t and class", describe(score))
  }
  structure(list(score = score, type = check_choice(type, names(want_code), "type")),
            class = object_class("score_model"))
}

check_score_model <- function(x, arg) {
  check_made(x, arg, "score_model()", score = is.function, type = is_text)
}

#' @export
format.score_model <- function(x, ...) {
  check_dots(..., also = format.default)
  paste0("a function of x, t and class that returns the ",
         c(score = "score", denoised = "denoised point", noise = "noise")[[x$type]])
}

refuse_own_model <- function(d) {
  if (!inherits(d$score_error, "score_error")) return()
  if (inherits(d$score_error$model, "score_model")) {
    abort_input("score_error", "a function of x and t, or of another mixture, for this analysis",
                format(d$score_error$model))
  }
}

# The model with the classes of a guidance: what it is asked for in place of each kind of
# evaluation.
with_classes <- function(model, guidance, mixture) {
  if (length(guidance$others) || inherits(guidance$negative, "gaussmix")) {
    abort_input("guidance", "towards one class and away from a class or the whole, for this model",
                format(guidance))
  }
  if (any(guidance$rule$kind %in% names(other_rules))) {
    abort_input("guidance", "with a rule of inner products for a score_model()", format(guidance))
  }
  if (depends_on_q(guidance)) {
    abort_input("guidance", "of a strength of time alone for a score_model(), which knows no q",
                format(guidance))
  }
  c(model, list(class = guidance$class, negative = guidance$negative,
                names = variable_labels(mixture)))
}

# The operations of an evaluation of one's own model, as a score.
asked_operations <- function(op, guide, schedule) {
  model <- guide$score_model
  ask <- function(to, class) {
    new_op("call", to = to, from = op$from, fun = model_score(model, class, schedule),
           when = op$t)
  }
  less <- function(by_class, by_other) {
    list(ask(op$to, model$class), ask("(away)", model$negative),
         op_linear(op$to, stats::setNames(list(by_class, by_other), c(op$to, "(away)"))))
  }
  of <- if (is.null(model$class)) "whole" else if (is.null(op$of)) "guided" else op$of
  if (is_guided(of)) {
    plain <- guide$power == 0 || is_fixed(of)
    eta <- if (is_fixed(of)) fixed_strength(of) else guide$strength(op$t)
    if (plain && any(eta != 0)) return(less(1 + eta, -eta))
    of <- "class"
  }
  switch(of, whole = list(ask(op$to, NULL)), class = list(ask(op$to, model$class)),
         away = list(ask(op$to, model$negative)), push = {
           eta <- guide$strength(op$t)
           by <- sign(eta) * abs(eta)^(1 / (1 + guide$power))
           less(by, -by)
         })
}

# The model's score at points of the process, as the function of a "call".
model_score <- function(model, class, schedule) {
  force(class)
  force(schedule)
  like <- model$like
  where <- function(t) {
    paste0(" at t = ", format(t), ", class ", if (is.null(class)) "NULL" else toString(class))
  }
  # nothing is copied that need not be: a copy takes as long as a simple score
  function(t, from, curved) {
    x <- from_process(from, like)
    dimnames(x) <- list(NULL, model$names)
    value <- from_user(model$score(x, t, class), "score", where(t))
    shape <- is.numeric(value) && length(value) == length(x) &&
      (is.null(dim(value)) && ncol(x) == 1 || identical(dim(value), dim(x)))
    if (!shape || anyNA(value)) {
      abort_input("score", paste("a function that returns", nrow(x), "x", ncol(x), "numbers"),
                  paste0(describe(value), where(t)))
    }
    if (is.object(value) || !is.double(value) || !is.matrix(value)) {
      value <- matrix(as.double(value), nrow(x))
    }
    a <- schedule$a(t)
    b2 <- schedule$b2(t)
    switch(model$type, noise = -value / sqrt(b2),
           score = if (is.null(like)) value else
             value * rep(like$coordinates$scale, each = nrow(x)),
           denoised = (a * to_process(value, like) - from) / b2)
  }
}

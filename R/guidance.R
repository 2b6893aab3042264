#' Guidance
#'
#' Guidance towards a class `y` adds a multiple of the gradient of `log p(y | x_t)` to the score
#' from which a sampler works:
#' `s_class + strength * (s_class - s_all) = (1 + strength) s_class - strength s_all`.
#' With exact scores, as here, classifier guidance and classifier-free guidance are the same.
#'
#' @param class Label of the class to guide to, or several labels for their union.
#' @param strength A number, or a function of time `t` (the schedule's clock) that returns one. 0 is
#'   plain conditional sampling, -1 unconditional. The "guidance scale" of other software, which
#'   counts from the unconditional score, is `1 + strength`.
#' @param interval `NULL`, or two times `c(lo, hi)`: the strength acts while `lo <= t <= hi` and
#'   is 0 outside (Kynkaanniemi et al. 2024).
#' @return An object of class `guidance`: a list of the arguments, with `strength` as a function
#'   and `label`, what to print of it.
#' @source Strength as in Wu, Chen, Li, Wang and Wei (2024), \doi{10.48550/arXiv.2403.01639};
#'   classifier-free form Ho and Salimans (2022), \doi{10.48550/arXiv.2207.12598}; interval
#'   Kynkaanniemi et al. (2024), \doi{10.48550/arXiv.2404.07724}.
#' @examples
#' guidance("setosa", strength = 2)
#' guidance(c("a", "b"), strength = function(t) 4 * exp(-t))
#' guidance("a", strength = 4, interval = c(.2, 2))
#' @export
guidance <- function(class, strength = 0, interval = NULL) {
  if (!(is.atomic(class) && length(class) && !anyNA(class))) {
    abort_input("class", "one or more class labels", describe(class))
  }
  label <- "function of t"
  at <- strength
  scale <- NULL
  if (is.function(strength)) {
    if (!length(formals(args(strength)))) {
      abort_input("strength", "a number or a function of time", "a function without arguments")
    }
  } else {
    strength <- check_number(strength, "strength")
    label <- format(strength)
    scale <- 1 + strength
    at <- function(t) strength
  }
  if (!is.null(interval)) {
    ok <- is.numeric(interval) && length(interval) == 2 && !anyNA(interval) && diff(interval) > 0
    if (!ok) abort_input("interval", "NULL or two increasing times", describe(interval))
    label <- paste0(label, " on [", paste(format(interval), collapse = ", "), "]")
  }
  structure(list(class = as.character(class), strength = at, interval = interval, label = label,
                 scale = scale), class = "guidance")
}

#' @export
format.guidance <- function(x, ...) {
  paste0("towards ", paste(x$class, collapse = " or "), ", ", format_strength(x))
}

# A strength that is one number at all times also as the scale of other software.
format_strength <- function(guidance) {
  scale <- if (is.null(guidance$interval)) guidance$scale
  paste0("strength ", guidance$label,
         if (!is.null(scale)) paste0(" (guidance scale ", format(scale), ")"))
}

#' @export
print.guidance <- function(x, ...) {
  cat("<guidance> ", format(x), "\n", sep = "")
  invisible(x)
}

check_guidance <- function(x, arg = "guidance") {
  if (is.null(x) || inherits(x, "guidance")) return(x)
  abort_input(arg, "NULL or a guidance (see guidance())", paste("a", class(x)[1]))
}

# At each of the times t.
guidance_strength <- function(guidance, t) {
  strength <- as.list(double(length(t)))
  interval <- guidance$interval
  acts <- if (is.null(interval)) rep(TRUE, length(t)) else t >= interval[1] & t <= interval[2]
  strength[acts] <- lapply(t[acts], guidance$strength)
  ok <- vapply(strength, is.numeric, NA) & lengths(strength) == 1
  ok[ok] <- is.finite(unlist(strength[ok]))
  if (!all(ok)) {
    bad <- which(!ok)[1]
    abort_input("strength", "a function that returns one finite number",
                paste(describe(strength[[bad]]), "at t =", format(t[bad])))
  }
  unlist(strength)
}

# What the core needs to know of a guidance: the models (rows of log-weights), the coefficients
# of the models' scores at given times (those of one time after the other), and the log-probability
# of the class (NULL if unguided). `of`: for each time, whether the score is the "guided" one, or
# what guidance adds to it per unit of strength, the "gain" grad log p(class | x).
guidance_models <- function(guidance, mixture) {
  all <- log_weights(mixture)
  if (is.null(guidance)) {
    return(list(models = rbind(all), coef = function(t, of = "guided") (of == "guided") + 0 * t))
  }
  inside <- class_components(mixture, guidance$class)
  list(models = rbind(log_weights(mixture, inside), all),
       coef = function(t, of = "guided") {
         gain <- rep_len(of == "gain", length(t))
         strength <- replace(rep(1, length(t)), !gain, guidance_strength(guidance, t[!gain]))
         c(rbind(strength + !gain, -strength))
       },
       log_prior = log(sum(mixture$weights[inside])))
}

# The law of the data: p(x) = sum_k w_k N(x; mu_k, Sigma_k). Each component belongs to a class. A
# covariance is stored as its spectrum, because noise changes its eigenvalues only: at time t they
# are a^2 lambda + b^2, with the same eigenvectors.

#' A Gaussian mixture whose components belong to classes
#'
#' `gaussmix()` makes a mixture of \eqn{K} Gaussians in \eqn{d} dimensions,
#' \deqn{p(x) = \sum_k w_k N(x; \mu_k, \Sigma_k).}{p(x) = sum_k w_k N(x; mu_k, Sigma_k).}
#' Every component belongs to a class, and a class may have several. [as_gaussmix()] makes a mixture
#' from a fit or from data.
#'
#' @param weights `K` numbers >= 0, at least one of them positive; they are divided by their sum.
#' @param means The component means: a `K` x `d` matrix or data frame; its column names become the
#'   names of the variables. A vector is `K` means if `d = 1`, and one mean if `K = 1`.
#' @param cov The covariances, in one of these forms:
#'   * a number: `cov` times the identity for all components (0 makes point masses);
#'   * a `d` x `d` matrix: the same covariance for all components;
#'   * a list of `K`, each a number (isotropic), `d` variances (diagonal) or a `d` x `d` matrix;
#'   * a `d` x `d` x `K` array;
#'   * if `d = 1`, a vector of `K` variances.
#' @param class `K` labels, neither missing nor empty; by default `"1"`, `"2"`, ..., a class for
#'   each component. They are stored as text, numbers in full (1e5 as `"100000"`).
#'
#' @return An object of class `gaussmix`, with methods for `print`, `format`, `summary`, `mean`,
#'   `levels` (the classes, in the order of the components), `as.data.frame` (a row per component:
#'   number, class, weight, and mean and standard deviation of each variable), `predict`, `logLik`,
#'   `nobs`, `simulate` and `plot`. It is a list with
#'   * `weights` (`K`, summing to 1), `means` (`K` x `d`) and `class` (`K` labels);
#'   * `form`: `"isotropic"`, `"diagonal"` or `"full"`, preceded by `"common "` if all components
#'     have the same covariance; the simplest form that represents the covariances exactly;
#'   * `values`, the eigenvalues of the covariances, a `d` x `K` matrix (one column if common), and
#'     `vectors`, their eigenvectors, `d` x `d` x `K` (a `d` x `d` matrix if common; `NULL` unless
#'     the form is full);
#'   * `fit`: `NULL`, or the `source`, `loglik`, `df` and `nobs` of the original fit;
#'   * `coordinates`: `NULL`, or the `center` and `scale` of the coordinates in which noise is
#'     added, see [standardise()];
#'   * `terms`: for a mixture from a formula, the terms that read new data, see [as_gaussmix()];
#'   * `ordered`: `TRUE` if its classes were those of an ordered factor, and `kernel`: `TRUE` for a
#'     kernel density; otherwise `NULL`.
#'
#' @details A covariance may be singular, even zero. Such a mixture has a density only after noise
#' is added, see [diffuse()]. Rounding is judged variable by variable, so variances may
#' differ by any factor, and the smallest are as exact as the largest. A matrix must be symmetric to
#' 1e-8 of the standard deviations. Eigenvalues (of the correlations, if variances differ by more
#' than 100) may be negative by at most 1e-10 of the largest one, and then count as zero.
#' Eigenvalues of a full matrix below its rounding error count as zero, too.
#'
#'   The signs of eigenvectors, and the basis of those with equal eigenvalues, depend on the
#'   covariance alone, not on the installed LAPACK. (Eigenvalues that differ by little more than
#'   rounding count as different.)
#'
#' @seealso [as_gaussmix()], [dgaussmix()], [moments()], [marginal()]
#' @examples
#' # Two classes in the plane; the second has two components.
#' mixture <- gaussmix(weights = c(.5, .3, .2),
#'                     means = cbind(x = c(-2, 2, 2), y = c(0, -1, 1)),
#'                     cov = list(1, c(.2, .4), matrix(c(.5, .3, .3, .5), 2)),
#'                     class = c("a", "b", "b"))
#' mixture
#' summary(mixture)
#' mean(mixture)
#' @export
gaussmix <- function(weights, means, cov, class = NULL) {
  weights <- check_weights(weights)
  means <- check_means(means, length(weights))
  covs <- check_covariances(cov, nrow(means), ncol(means), names = colnames(means))
  assemble_gaussmix(weights, means, covs, check_labels(class, length(weights), "component"))
}

new_gaussmix <- function(weights, means, form, values, vectors = NULL,
                         class = as.character(seq_along(weights)), fit = NULL,
                         coordinates = NULL) {
  structure(list(weights = weights, means = means, form = form, values = values,
                 vectors = vectors, class = class, fit = fit, coordinates = coordinates),
            class = object_class("gaussmix"))
}

# The mixture in the simplest form that represents `covs` exactly. `covs` is a list of one common
# covariance or one per component, simplified by simplify_cov() and, for errors, named as in the
# user's call.
assemble_gaussmix <- function(weights, means, covs, class) {
  d <- ncol(means)
  vectors <- NULL
  if (is.null(names(covs))) names(covs) <- paste("component", seq_along(covs))
  if (length(unique(covs)) == 1) covs <- covs[1]
  if (any(vapply(covs, is.matrix, NA))) {
    form <- "full"
    spectra <- Map(spectrum, covs, d, names(covs))
    values <- vapply(spectra, `[[`, numeric(d), "values")
    vectors <- vapply(spectra, `[[`, matrix(0, d, d), "vectors")
    if (length(covs) == 1) dim(vectors) <- c(d, d)
  } else {
    form <- if (any(lengths(covs) > 1)) "diagonal" else "isotropic"
    values <- vapply(Map(check_psd, covs, names(covs)), rep_len, numeric(d), d)
  }
  if (length(covs) == 1) form <- paste("common", form)
  new_gaussmix(weights, means, form, matrix(values, d), unname(vectors), class)
}

# A mixture with the weights and classes of another, with other means, and with cov(k) as k-th
# covariance.
with_covariances <- function(mixture, means, cov) {
  covs <- lapply(seq_len(ncol(mixture$values)), function(k) simplify_cov(cov(k)))
  assemble_gaussmix(mixture$weights, means, covs, mixture$class)
}

# ---- Validation

check_weights <- function(weights, arg = "weights") {
  weights <- plain_numbers(weights)
  if (!is.numeric(weights) || !length(weights)) {
    abort_input(arg, "numbers, one per component", describe(weights))
  }
  bad <- which(!is.finite(weights) | weights < 0)
  if (length(bad)) {
    abort_input(arg, "finite and >= 0", paste0(weights[bad[1]], " for component ", bad[1]))
  }
  total <- sum(weights)
  if (!(total > 0 && is.finite(total))) {
    abort_input(arg, "of positive, finite sum", paste("sum", total))
  }
  as.vector(weights) / total
}

check_means <- function(means, K) {
  means <- plain_numbers(means)
  if (is.numeric(means) && is.null(dim(means))) {
    means <- if (K == 1 && length(means)) t(means) else matrix(means, ncol = 1)
  }
  means <- check_table(means, "means")
  if (nrow(means) != K) {
    abort_input("means", paste("a matrix with", count_of(K, "row"), "(one per weight)"),
                describe(means))
  }
  means
}

# A finite numeric matrix or data frame with rows and columns, as a double matrix.
check_table <- function(x, arg) {
  x <- if (is.data.frame(x)) frame_to_matrix(x, arg) else plain_numbers(x)
  if (!is.numeric(x) || length(dim(x)) != 2 || !length(x)) {
    abort_input(arg, "a numeric matrix with at least one row and one column", describe(x))
  }
  bad <- which(rowSums(!is.finite(x)) > 0)
  if (length(bad)) {
    abort_input(arg, "finite", paste(x[bad[1], !is.finite(x[bad[1], ])][1], "in row", bad[1]))
  }
  if (anyDuplicated(colnames(x))) {
    abort_input(arg, "a matrix with distinct column names", toString(colnames(x), 60))
  }
  storage.mode(x) <- "double"
  matrix(x, nrow(x), dimnames = if (!is.null(colnames(x))) list(NULL, colnames(x)))
}

check_labels <- function(class, n, owner, arg = "class") {
  if (is.null(class)) return(as.character(seq_len(n)))
  wanted <- paste0(count_of(n, "label"), ", one per ", owner, ", none missing or empty")
  if (!is.atomic(class) || length(class) != n) abort_input(arg, wanted, describe(class))
  labels <- label_text(class, arg)
  bad <- which(is.na(labels) | labels == "")
  if (length(bad)) abort_input(arg, wanted, paste("none for", sub(" .*", "", owner), bad[1]))
  labels
}

# Labels as text: numbers in full, so that 1e5 and 100000L are one label.
label_text <- function(x, arg = "class") {
  long <- inherits(x, "integer64")
  x <- plain_numbers(x)
  if (long && any(abs(x) > 2^53, na.rm = TRUE)) {
    abort_input(arg, "labels that doubles can tell apart (give as.character(x))",
                "integer64 above 2^53")
  }
  text <- as.character(x)
  if (!all(is_readable(text))) abort_input(arg, "labels that are text", "bytes in no encoding")
  if (is.numeric(x)) {
    short <- which(grepl("e", text, fixed = TRUE))
    text[short] <- vapply(x[short], format, "", scientific = FALSE, digits = 15, trim = TRUE)
  }
  text
}

# The class of each row, as a factor: levels in the order of a factor's, or sorted.
class_factor <- function(class, n, owner) {
  labels <- check_labels(class, n, owner)
  if (is.factor(class)) return(droplevels(class))
  class <- plain_numbers(class)
  if (is.numeric(class)) {
    values <- unique(class)
    if (length(values) > 20 || any(values != round(values))) {
      abort_input("class", paste("labels; make classes of a number by cut(y, 3), say, or by",
                                 "factor(y) if each value is one"),
                  paste(length(values), "different numbers:", toString(values, 40)))
    }
  }
  factor(labels, label_text(sort(unique(class))))
}

check_covariances <- function(cov, K, d, arg = "cov", names = NULL) {
  if (is.list(cov) && !is.data.frame(cov)) {
    names(cov) <- sprintf("%s[[%d]]", arg, seq_along(cov))
  } else if (length(dim(cov)) == 3) {
    # a slice is a matrix even if it is 1 x 1
    cov <- lapply(seq_len(dim(cov)[3]), function(k) {
      matrix(cov[, , k], dim(cov)[1], dim(cov)[2], dimnames = dimnames(cov)[1:2])
    })
    names(cov) <- sprintf("%s[, , %d]", arg, seq_along(cov))
  } else if (d == 1 && K > 1 && is.null(dim(cov)) && length(cov) == K) {
    cov <- stats::setNames(as.list(cov), sprintf("%s[%d]", arg, seq_len(K)))
  } else {
    if (is.numeric(cov) && is.null(dim(cov)) && length(cov) > 1) {
      abort_input(arg, paste("a number, a matrix, an array or a list; use diag(v) for variances",
                             "common to all components and as.list(v) for one per component"),
                  describe(cov))
    }
    return(stats::setNames(list(check_covariance(cov, d, arg, names)), arg))
  }
  if (length(cov) != K) {
    abort_input(arg, paste("given for", count_of(K, "component")), paste(length(cov), "of them"))
  }
  Map(check_covariance, cov, d, names(cov), list(names))
}

# `names`: the names of the variables, if any.
check_covariance <- function(S, d, arg, names = NULL) {
  S <- plain_numbers(S)
  shape <- is.null(dim(S)) && length(S) %in% c(1, d) || identical(dim(S), c(d, d))
  if (!is.numeric(S) || !shape) {
    abort_input(arg, if (d == 1) "a variance" else {
      sprintf("a variance, %d variances or a %d x %d covariance matrix", d, d, d)
    }, describe(S))
  }
  if (!all(is.finite(S))) abort_input(arg, "finite", toString(S[!is.finite(S)], 40))
  S <- by_names(S, names, arg)
  if (is.matrix(S)) {
    gap <- abs(S - t(S))
    sd <- sqrt(pmax(diag(S), 0))
    gap[gap <= 1e-8 * outer(sd, sd)] <- 0
    if (any(gap > 0)) {
      worst <- arrayInd(which.max(gap), dim(S))
      abort_input(arg, "symmetric",
                  sprintf("%g in row %d, column %d and %g across the diagonal", S[worst],
                          worst[1], worst[2], t(S)[worst]))
    }
    S <- (S + t(S)) / 2
  }
  simplify_cov(S)
}

# Variances or a covariance in the order of the variables: by their names, if both have some.
by_names <- function(S, names, arg) {
  came <- if (is.matrix(S)) Filter(length, dimnames(S)) else if (length(S) > 1) list(names(S))
  for (own in unique(came)) {
    if (is.null(names) || is.null(own) || identical(own, names)) next
    if (anyDuplicated(own) || !setequal(own, names) || length(unique(came)) > 1) {
      abort_input(arg, paste("without names, or with those of the variables:",
                             toString(names, 60)),
                  unknown_names(setdiff(own, names), names, listed(own)))
    }
    order <- match(names, own)
    S <- if (is.matrix(S)) S[order, order] else S[order]
  }
  S
}

# A number if isotropic, else the variances if diagonal, else the matrix.
simplify_cov <- function(S) {
  if (is.matrix(S) && all(S[row(S) != col(S)] == 0)) S <- diag(S)
  if (!is.matrix(S) && all(S == S[1])) S <- S[1]
  storage.mode(S) <- "double"
  unname(S)
}

check_psd <- function(values, arg) {
  if (min(values) < -1e-10 * max(values, 0)) {
    abort_input(arg, "positive semi-definite", paste("eigenvalue", format(min(values), digits = 6)))
  }
  pmax(values, 0)
}

# ---- Queries about a mixture

# These also take a score_model() that stands alone, as do the variables' names.
mixture_dim <- function(mixture) {
  variables <- mixture$variables
  if (is.null(variables)) ncol(mixture$means) else
    if (is.character(variables)) length(variables) else variables
}

mixture_size <- function(mixture) length(mixture$weights)

mixture_classes <- function(mixture) unique(mixture$class)

#' @export
levels.gaussmix <- function(x) mixture_classes(x)

variable_names <- function(mixture) {
  variables <- mixture$variables
  if (is.null(variables)) colnames(mixture$means) else if (is.character(variables)) variables
}

# Names for tables and plots, invented if the user gave none.
variable_labels <- function(mixture) {
  names <- variable_names(mixture)
  if (is.null(names)) numbered_variables(mixture_dim(mixture)) else names
}

numbered_variables <- function(d) if (d == 1) "x" else paste0("x", seq_len(d))

component_cov <- function(mixture, k) {
  names <- variable_names(mixture)
  # a root times its transpose is symmetric to the last bit
  S <- if (is.null(mixture$vectors)) {
    diag(mixture$values[, min(k, ncol(mixture$values))], nrow(mixture$values))
  } else tcrossprod(component_root(mixture, k))
  name_dims(S, names, names)
}

# V sqrt(Lambda): a root L of the covariance, L L'.
component_root <- function(mixture, k) {
  values <- mixture$values[, min(k, ncol(mixture$values))]
  component_axes(mixture, k) * rep(sqrt(values), each = length(values))
}

# The standard deviation of each variable in each component, d x K.
component_sd <- function(mixture) {
  sd <- vapply(seq_len(ncol(mixture$values)), function(k) sqrt(diag(component_cov(mixture, k))),
               double(mixture_dim(mixture)))
  matrix(sd, mixture_dim(mixture), mixture_size(mixture))
}

# The eigenvectors of a component's covariance, a column each.
component_axes <- function(mixture, k = 1) {
  V <- mixture$vectors
  if (is.null(V)) diag(mixture_dim(mixture)) else if (length(dim(V)) == 2) V else {
    matrix(V[, , k], nrow(V))
  }
}

# The eigenvalues of the covariances after x = a x_0 + sqrt(b2) z.
diffused_values <- function(mixture, a, b2) a^2 * mixture$values + b2

is_singular <- function(mixture) any(used_values(mixture) == 0)

# Variances of the components with positive weight.
used_values <- function(mixture) {
  values <- mixture$values
  if (ncol(values) == 1) values else values[, mixture$weights > 0, drop = FALSE]
}

# Which components belong to the classes named.
class_components <- function(mixture, class, arg = "class") {
  known <- mixture_classes(mixture)
  wanted <- if (is.atomic(class)) label_text(class, arg)
  strange <- setdiff(wanted, known)
  if (!length(wanted) || length(strange)) {
    abort_input(arg, paste("among the classes", toString(known, 200)),
                if (length(wanted)) unknown_names(strange, known) else describe(class))
  }
  inside <- mixture$class %in% wanted
  if (!any(mixture$weights[inside] > 0)) abort_input(arg, "of positive weight", toString(class, 60))
  inside
}

# One mixture with the components of several, in equal shares.
join_mixtures <- function(mixtures) {
  if (length(mixtures) == 1) return(mixtures[[1]])
  covs <- lapply(mixtures, function(m) {
    covs <- lapply(seq_len(ncol(m$values)), function(k) {
      simplify_cov(if (is.null(m$vectors)) m$values[, k] else component_cov(m, k))
    })
    rep_len(covs, mixture_size(m))
  })
  pick <- function(what) lapply(mixtures, `[[`, what)
  means <- do.call(rbind, lapply(pick("means"), unname))
  colnames(means) <- variable_names(mixtures[[1]])
  assemble_gaussmix(unlist(pick("weights")) / length(mixtures), means,
                    unlist(covs, recursive = FALSE), unlist(pick("class")))
}

# The number of free parameters: weights, means and covariances of the form.
free_parameters <- function(mixture) {
  d <- mixture_dim(mixture)
  per_covariance <- switch(sub("common ", "", mixture$form),
                           isotropic = 1, diagonal = d, full = d * (d + 1) / 2)
  mixture_size(mixture) * (d + 1) - 1 + per_covariance * ncol(mixture$values)
}

# ---- Moments and margins

#' Moments of a mixture, and the covariances of its components
#'
#' Exact: with \eqn{m = \sum_k w_k \mu_k}{m = sum_k w_k mu_k} the covariance is
#' \eqn{\sum_k w_k (\Sigma_k + (\mu_k - m)(\mu_k - m)^T)}{sum_k w_k (Sigma_k + (mu_k - m)(mu_k -
#' m)')}, and the second moment is \eqn{E|X|^2 = |m|^2 + \mathrm{tr}\,\mathrm{Cov}}{E|X|^2 = |m|^2
#' + tr Cov}.
#'
#' @param x,mixture A mixture, see [gaussmix()].
#' @param class `NULL` for the whole mixture, or the labels of one or more classes for the law
#'   given that class.
#' @param ... For methods.
#' @return `moments()`: an object of class `mixguide_moments`, a list of `mean` (`d`), `cov`
#'   (`d` x `d`), `second_moment` (a number) and `method` (`"exact"`), printed as means, standard
#'   deviations and correlations. `as.data.frame()`: a row per variable, with `variable`, `mean` and
#'   `sd` (and `target_mean`, `target_sd` of [guided_moments()] with an observation). `mean()`: the mean
#'   alone.
#'   `covariances()`: those of the components, a `d` x `d` x `K` array as [gaussmix()] takes it, with
#'   the names of the variables and the classes of the components; a common one is repeated.
#' @seealso [marginal()], [diffuse()] for the moments at a later time.
#' @examples
#' mixture <- gaussmix(c(.5, .5), cbind(x = c(-1, 1), y = 0), .25, class = c("a", "b"))
#' moments(mixture)
#' moments(mixture, class = "a")$mean
#' covariances(mixture)[, , "b"]
#' @export
moments <- function(x, ...) UseMethod("moments")

#' @rdname moments
#' @export
moments.gaussmix <- function(x, class = NULL, ...) {
  check_dots(...)
  w <- class_weights(x, class)
  mean <- colSums(w * x$means)
  within <- if (ncol(x$values) == 1) component_cov(x, 1) else {
    Reduce(`+`, lapply(which(w > 0), function(k) w[k] * component_cov(x, k)))
  }
  cov <- within + crossprod(sqrt(w) * sweep(x$means, 2, mean))
  new_moments(mean, cov, second_moment = sum(mean^2) + sum(diag(cov)), method = "exact")
}

#' @export
moments.default <- function(x, ...) {
  abort_input("x", if (inherits(x, "mixguide_diffusion")) {
    "a gaussmix or a law, such as guided_law(x), the law of a diffusion's output, or x$mixture"
  } else "a gaussmix or a law", a_class(x))
}

# The common structure of moments: a list with `mean`, `cov`, and further known elements. `head`:
# lines for print() that describe the run, if they are of one.
new_moments <- function(mean, cov, ..., head = NULL) {
  structure(list(mean = mean, cov = cov, ...), class = object_class("mixguide_moments"),
            head = head)
}

in_words.mixguide_moments <- function(x) {
  toString(c(paste("in", count_of(length(x$mean), "dimension")), x$method))
}

# Correlations are printed if they fit.
print_body.mixguide_moments <- function(x, digits = 4, max = 10, ...) {
  say(attr(x, "head"))
  d <- length(x$mean)
  rows <- as.data.frame(x)
  print_rows(mean_words(utils::head(rows, max), digits), digits)
  if (d > max) say(paste("... and", count_of(d - max, "more variable")))
  if (d > 1 && d <= max) {
    say("correlations:")
    scale <- ifelse(rows$sd > 0, rows$sd, NA)
    cor <- x$cov / outer(scale, scale)
    shown <- ifelse(lower.tri(cor), formatC(cor, 2, 5, "f"), "")
    colnames(shown) <- rows$variable
    print_rows(data.frame(rows["variable"], shown, check.names = FALSE)[-1, -(d + 1)], digits)
  }
  if (!is.null(x$second_moment)) {
    say_line("second moment E|x|^2: ", format(x$second_moment, digits = digits))
  }
  if (!is.null(x$kl)) say_line(DIVERGENCES[["kl"]], ": ", format(x$kl, digits = digits))
}

# Rows of variables with their means as text where these need more digits than other columns.
mean_words <- function(rows, digits) {
  for (name in intersect(c("mean", "target_mean"), names(rows))) {
    needed <- mapply(mean_digits, rows[[name]], rows[[sub("mean", "sd", name)]], digits)
    if (any(needed > digits)) {
      rows[[name]] <- format(mapply(format, rows[[name]], digits = needed), justify = "right")
    }
  }
  rows
}

as_table.mixguide_moments <- function(x) {
  sd <- function(cov) unname(sqrt(diag(cov)))
  rows <- data.frame(variable = variable_labels(list(means = t(x$mean))), mean = unname(x$mean), sd = sd(x$cov))
  if (!is.null(x$target)) {
    rows$target_mean <- unname(x$target$mean)
    rows$target_sd <- sd(x$target$cov)
  }
  rows
}

picture.mixguide_moments <- function(object, ...) {
  long <- tidy(new_table(as_table(object), "moments", NULL, keys = "variable"))
  tidy_picture(long, "Moments", format(object))
}

mixture_sd <- function(mixture) unname(sqrt(diag(moments(mixture)$cov)))

#' @rdname moments
#' @export
mean.gaussmix <- function(x, class = NULL, ...) {
  check_dots(...)
  moments(x, class)$mean
}

#' @rdname moments
#' @export
covariances <- function(mixture) {
  check_mixture(mixture)
  d <- mixture_dim(mixture)
  K <- mixture_size(mixture)
  names <- variable_names(mixture)
  each <- vapply(seq_len(K), component_cov, matrix(0, d, d), mixture = mixture)
  array(each, c(d, d, K), list(names, names, mixture$class))
}

# The weights of the law of `class` (NULL: the whole mixture), zero for the other components.
class_weights <- function(mixture, class = NULL) {
  exp(log_weights(mixture, if (is.null(class)) TRUE else class_components(mixture, class)))
}

# The law of `class`, as a mixture.
class_law <- function(mixture, class = NULL) {
  if (is.null(class)) return(mixture)
  mixture$weights <- class_weights(mixture, class)
  mixture["fit"] <- list(NULL)
  mixture
}

#' The mixture of some of the variables
#'
#' The exact law of some variables, of all in another order, or of an observation `y = H x + n`: a
#' mixture with the same weights and classes.
#'
#' @param mixture A mixture, see [gaussmix()].
#' @param variables Names or numbers of the variables to keep, each at most once; or an
#'   [observation()], for the law of its `y` (a value of `y` is ignored).
#' @return A `gaussmix` with a dimension for each variable or observed number, without `fit` or
#'   `terms`. Variables keep their names; the rows of `H` name observed numbers.
#' @examples
#' mixture <- as_gaussmix(Species ~ ., iris)
#' marginal(mixture, c("Petal.Length", "Petal.Width"))
#' # a sum of two variables, measured with an error of variance .04
#' marginal(mixture, observation(H = rbind(petal = c(0, 0, 1, 1)), noise = .04))
#' @export
marginal <- function(mixture, variables) {
  check_mixture(mixture)
  observed <- as_observation(variables, mixture, "variables", "none")
  if (is.null(observed$variables) || !identical(observed$noise, 0)) {
    return(law_of_observed(mixture, observed))
  }
  keep <- max.col(observed$H, "first")
  law <- with_covariances(mixture, mixture$means[, keep, drop = FALSE], function(k) {
    component_cov(mixture, k)[keep, keep, drop = FALSE]
  })
  law["coordinates"] <- list(kept_coordinates(mixture, keep))
  law$ordered <- mixture$ordered
  law
}

# ---- Printing

in_words.gaussmix <- function(x) {
  K <- mixture_size(x)
  classes <- length(mixture_classes(x))
  paste0("Gaussian mixture: ", count_of(K, "component"),
         if (classes < K) paste(" of", count_of(classes, "class", "classes")),
         " in ", count_of(mixture_dim(x), "dimension"), ", ", x$form,
         if (K == 1 || startsWith(x$form, "common")) " covariance" else " covariances",
         coordinate_words(x))
}

#' @export
print.gaussmix <- function(x, digits = 3, max = 10, ...) {
  check_dots(..., also = print.default)
  fit <- if (!is.null(x$fit)) {
    paste0("Fit by ", x$fit$source, " to ", count_of(x$fit$nobs, "observation"),
           ": log-likelihood ", format(x$fit$loglik, digits = 6), " (df = ", x$fit$df, ")")
  }
  kernel <- if (isTRUE(x$kernel)) {
    paste0("Kernel density: a component for each of ", count_of(mixture_size(x), "point"),
           " (a Gaussian per class: as_gaussmix() of a data frame)")
  }
  say(c(format(x), fit, kernel), indent = 0, exdent = 2)
  print_components(x, max, digits)
  invisible(x)
}

as_table.gaussmix <- function(x) {
  numbers <- cbind(x$means, t(component_sd(x)))
  colnames(numbers) <- outer(variable_labels(x), c("mean.", "sd."), function(x, of) paste0(of, x))
  data.frame(component = seq_len(mixture_size(x)), class = x$class, weight = x$weights, numbers,
             row.names = NULL, check.names = FALSE)
}

#' @export
summary.gaussmix <- function(object, ...) {
  check_dots(...)
  classes <- mixture_classes(object)
  owner <- factor(object$class, classes)
  structure(list(mixture = object, components = as.data.frame(object),
                 classes = data.frame(class = classes, components = tabulate(owner),
                                      weight = as.vector(rowsum(object$weights, owner))),
                 moments = moments(object)),
            class = "summary.gaussmix")
}

#' @export
print.summary.gaussmix <- function(x, digits = 3, max = 10, ...) {
  check_dots(..., also = print.default)
  print(x$mixture, digits = digits, max = max)
  if (nrow(x$classes) < nrow(x$components)) {
    cat("\nClasses:\n")
    print_rows(utils::head(x$classes, max), digits)
  }
  cat("\nWhole mixture:\n")
  print_rows(mean_words(utils::head(as.data.frame(x$moments), max), digits), digits)
  invisible(x)
}

# A short print of weights and means: at most `max` components and 6 variables.
print_components <- function(mixture, max, digits) {
  K <- mixture_size(mixture)
  d <- mixture_dim(mixture)
  first <- seq_len(min(K, max))
  means <- as_columns(mixture$means[first, , drop = FALSE], mixture)[seq_len(min(d, 6))]
  # numbers as they look with these digits
  rounded <- function(x, digits) as.numeric(format(x, digits = digits))
  means[] <- Map(function(mean, spread) rounded(mean, mean_digits(max(abs(mean)), spread, digits)),
                 means, mixture_sd(mixture)[seq_along(means)])
  table <- data.frame(component = first, class = mixture$class[first],
                      weight = rounded(mixture$weights[first], digits), means,
                      check.names = FALSE)
  if (identical(mixture$class, as.character(seq_len(K)))) table$class <- NULL
  cat("Weights and means:\n")
  print_rows(table, 15)
  more <- c(if (K > max) count_of(K - max, "more component"),
            if (d > 6) count_of(d - 6, "more variable"))
  if (length(more)) cat("... and", toString(more), "\n")
}

# The digits of a mean that show differences of a hundredth (for 3 digits) of the variable's spread.
mean_digits <- function(mean, spread, digits) {
  more <- if (spread > 0) ceiling(digits - 1 + log10(abs(mean) / spread)) else 0
  min(15, max(digits, more))
}

# The components `keep` alone, as a mixture.
keep_components <- function(mixture, keep) {
  column <- if (ncol(mixture$values) == 1) 1 else keep
  V <- mixture$vectors
  new_gaussmix(mixture$weights[keep] / sum(mixture$weights[keep]),
               mixture$means[keep, , drop = FALSE], mixture$form,
               mixture$values[, column, drop = FALSE],
               if (length(dim(V)) == 3) V[, , keep, drop = FALSE] else V, mixture$class[keep],
               coordinates = mixture$coordinates)
}

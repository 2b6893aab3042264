# Mixtures from a fit by another package, from labelled data or from points.

#' Take a Gaussian mixture from a fit or from data
#'
#' @param x What to convert:
#'   * a fit by \pkg{mclust}: `Mclust`, `densityMclust` (a class per component) or `MclustDA`
#'     (its classes, each of one or more components);
#'   * a fit by `normalmixEM()` or `mvnormalmixEM()` of \pkg{mixtools};
#'   * a fit of \pkg{parsnip} or \pkg{tidyclust}, or its workflow, with one of these engines;
#'   * a fit by `FitGMM()` of \pkg{MGMM}: it takes data with missing values, and is right if the
#'     chance to be missing depends on the observed values alone (missing at random);
#'   * a formula `class ~ x + y` or `class ~ .`, as for `lda()` of \pkg{MASS}, with `data`; or a
#'     data frame (or tibble, or data.table) of numeric variables, with `class`: each class gets
#'     one Gaussian, or one `Mclust` fit, weighted by the share of the class. A formula `~ x + y`
#'     or a data frame alone makes one class of all rows;
#'   * a numeric matrix (`n` x `d`), vector or time series (`d = 1`) of points: a kernel density,
#'     the mixture of `n` equal Gaussians around them.
#' @param class The classes. For a data frame: the name of its class column, or a vector with a
#'   label per row. Components come in the order of the factor levels, and classes without rows are
#'   left out; numbers are labels if they are whole and at most 20 different ones. For a fit: a
#'   label per component. For points: a label per point, by default `"1"`, `"2"`, ...
#' @param method `"gaussian"`: one Gaussian per class, by maximum likelihood; `"mclust"`: the
#'   mixture that [mclust::Mclust()] selects for each class.
#' @param form The covariances of `method = "gaussian"`: free, diagonal or proportional to the
#'   identity, for each class or common to all.
#' @param data A data frame with the variables of the formula.
#' @param subset,na.action As of [stats::lm()]: an expression in the variables of `data` that
#'   chooses rows, and a function that treats missing values. By default missing values are an
#'   error. If [stats::na.omit()] drops rows, a warning says what the result assumes.
#' @param bandwidth The kernel: one standard deviation, `d` of them, or a `d` x `d` covariance
#'   matrix; 0 makes point masses, the empirical distribution. The default is Scott's rule, the
#'   standard deviation of each variable times \eqn{n^{-1/(d+4)}}{n^(-1/(d + 4))}; a
#'   constant variable has none.
#' @param standardise Whether the forward process runs in standardised variables, so that runs do
#'   not depend on units, see [standardise()].
#' @param ... For a formula, `method`, `form` and so on; for `method = "mclust"`, arguments of
#'   [mclust::Mclust()], such as `G` and `modelNames`.
#'
#' @return A `gaussmix`, see [gaussmix()], with the names of the variables. For fits its `fit`
#'   holds `source`, `loglik` (of the points without their labels, as in \pkg{mclust}), `df` and
#'   `nobs`. A class with a singular covariance gives a warning and no `fit`: such a mixture has a
#'   density only at times > 0. `df` counts free weights (of classes, and of components within a
#'   class), means and covariances; the count of \pkg{mclust} for `MclustDA` changed between
#'   versions and leaves out the weights of the classes.
#'
#' @section Formulas: Variables must be numeric: factors, text and logical values are an error, not
#'   dummy variables. If a variable is not itself a column, as in `class ~ log(x)`, the mixture
#'   keeps the formula's `terms`, with the constants and functions that they name and those that
#'   `poly()` or `scale()` learn from the data. New data then need the formula's variables wherever
#'   points are taken ([predict()][predict.gaussmix], [dgaussmix()], [score()], ...). A variable
#'   that depends on other rows in another way, such as `x - mean(x)`, is an error. [impute()],
#'   [condition()] and a [marginal()] mixture take the mixture's own variables, `log(x)`, by name.
#'
#' @section Errors: Of class `mixguide_error`. Missing values are an error unless `na.action` drops
#'   them; so are missing and empty labels (`""`), and the uniform noise component of \pkg{mclust}.
#'
#' @references Scott (1992) *Multivariate Density Estimation*, Wiley, section 6.3, for the
#'   bandwidth.
#' @examples
#' as_gaussmix(Species ~ ., iris)
#' as_gaussmix(iris, class = "Species", form = "common full")
#' logs <- as_gaussmix(Species ~ log(Petal.Length) + log(Petal.Width), iris)
#' predict(logs, data.frame(Petal.Length = 4, Petal.Width = 1.3))
#' as_gaussmix(faithful$waiting)
#' @examplesIf requireNamespace("mclust", quietly = TRUE)
#' as_gaussmix(Species ~ ., iris, method = "mclust", G = 1:2)
#' @export
as_gaussmix <- function(x, ...) {
  if (missing(x)) {
    named <- "formula" %in% names(substitute(list(...)))
    abort_input("x", paste0("given: a fit, a formula with `data`, a table or points", if (named) {
      " (the formula comes first, without a name: as_gaussmix(class ~ x, data))"
    }))
  }
  UseMethod("as_gaussmix")
}

#' @export
as_gaussmix.default <- function(x, ...) {
  if (inherits(x, "gaussmix")) {
    check_dots(...)
    return(x)
  }
  if (is.numeric(x)) {
    # a time series, an integer64, a vector
    x <- plain_numbers(x)
    return(as_gaussmix(if (is.matrix(x)) x else matrix(x, ncol = 1), ...))
  }
  abort_input("x", paste("a fit (Mclust, densityMclust, MclustDA, normalmixEM, mvnormalmixEM,",
                         "FitGMM), a formula, a data frame, or a numeric matrix or vector"),
              a_class(x))
}

#' @rdname as_gaussmix
#' @export
as_gaussmix.Mclust <- function(x, class = NULL, standardise = TRUE, ...) {
  check_dots(...)
  parts <- mclust_parts(x, colnames(x$data))
  from_data(gaussmix(parts$weights, parts$means, parts$covs, class),
            fit_of(class(x)[1], x$loglik, x$df, x$n), standardise)
}

#' @rdname as_gaussmix
#' @export
as_gaussmix.MclustDA <- function(x, standardise = TRUE, ...) {
  check_dots(...)
  from_data(join_classes(lapply(x$models, mclust_parts, colnames(x$data)), x$prop),
            fit_of("MclustDA", x$loglik, mclust_df(x$models, x$type), x$n), standardise)
}

#' @rdname as_gaussmix
#' @export
as_gaussmix.mixEM <- function(x, class = NULL, standardise = TRUE, ...) {
  check_dots(...)
  known <- c("normalmixEM", "mvnormalmixEM")
  if (!x$ft %in% known) abort_input("x", paste("a fit by", paste(known, collapse = " or ")), x$ft)
  K <- length(x$lambda)
  if (x$ft == "normalmixEM") {
    # with equal means, sigma is the smallest standard deviation and scale its multiples
    sd <- x$sigma * if (is.null(x$scale)) 1 else x$scale
    means <- matrix(rep_len(x$mu, K), K)
    covs <- as.list(rep_len(sd^2, K))
  } else {
    means <- do.call(rbind, if (is.list(x$mu)) x$mu else rep(list(x$mu), K))
    colnames(means) <- colnames(x$x)
    covs <- if (is.list(x$sigma)) x$sigma else rep(list(x$sigma), K)
  }
  mixture <- gaussmix(x$lambda, means, covs, class)
  equal_means <- nrow(unique(means)) == 1
  df <- free_parameters(mixture) - if (equal_means) (K - 1) * ncol(means) else 0
  from_data(mixture, fit_of(x$ft, x$loglik, df, NROW(x$x)), standardise)
}

# The engine's own fit inside a fit of tidymodels, in a workflow or not.
engine_fit <- function(x) {
  while (inherits(x, c("model_fit", "cluster_fit", "workflow")) && !is.null(x$fit)) x <- x$fit
  # a workflow keeps its model's fit in a stage
  if (inherits(x, "stage_fit")) engine_fit(x$fit) else x
}

#' @export
as_gaussmix.model_fit <- function(x, ...) as_gaussmix(engine_fit(x), ...)

#' @export
as_gaussmix.cluster_fit <- as_gaussmix.model_fit

#' @export
as_gaussmix.workflow <- as_gaussmix.model_fit

# A fit by FitGMM() to rows with missing parts is of class "mix", or "mvn" if of one component.
#' @rdname as_gaussmix
#' @export
as_gaussmix.mix <- function(x, class = NULL, standardise = TRUE, ...) {
  check_dots(...)
  alone <- inherits(x, "mvn")
  parts <- if (alone) c("Mean", "Covariance") else c("Proportions", "Means", "Covariances")
  # slots are attributes
  if (!isS4(x) || !all(c(parts, "Data") %in% names(attributes(x)))) {
    abort_input("x", "a fit by FitGMM() of package MGMM", paste("another", class_word(x)))
  }
  means <- if (alone) t(x@Mean) else do.call(rbind, unname(x@Means))
  colnames(means) <- colnames(x@Data)
  mixture <- gaussmix(if (alone) 1 else unname(x@Proportions), means,
                      if (alone) list(x@Covariance) else unname(x@Covariances), class)
  from_data(mixture, fit_of("FitGMM", observed_loglik(mixture, unname(x@Data)),
                            free_parameters(mixture), nrow(x@Data)), standardise)
}

#' @rdname as_gaussmix
#' @export
as_gaussmix.mvn <- as_gaussmix.mix

# The log-likelihood of the observed values: for each pattern of missingness, of its variables.
observed_loglik <- function(mixture, data) {
  sum(vapply(rows_by_pattern(data), function(rows) {
    seen <- which(!is.na(data[rows[1], ]))
    if (!length(seen)) return(0)
    sum(dgaussmix(data[rows, seen, drop = FALSE], marginal(mixture, seen), log = TRUE))
  }, 0))
}

# The numbers of the rows in which the same cells are there, a vector for each pattern.
rows_by_pattern <- function(x) {
  pattern <- apply(!is.na(x), 1, function(seen) paste(which(seen), collapse = " "))
  split(seq_len(nrow(x)), pattern)
}

#' @rdname as_gaussmix
#' @export
as_gaussmix.formula <- function(x, data = NULL, ..., subset = NULL, na.action = stats::na.pass) {
  if (is.matrix(data)) data <- as.data.frame(data)
  data <- plain_numbers(data)
  rows <- eval(substitute(subset), data, environment(x))
  table <- formula_data(x, data, rows, match.fun(na.action))
  columns <- as.data.frame(table$columns)
  mixture <- if (length(x) == 2) as_gaussmix(columns, ...) else {
    as_gaussmix(columns, table$class, ...)
  }
  mixture$terms <- table$terms
  mixture
}

#' @rdname as_gaussmix
#' @export
as_gaussmix.data.frame <- function(x, class, method = c("gaussian", "mclust"),
                                   form = c("full", "common full", "diagonal", "common diagonal",
                                            "isotropic", "common isotropic"),
                                   standardise = TRUE, ...) {
  method <- check_choice(method, eval(formals()$method), "method")
  check_dots(..., also = if (method == "mclust") mclust_arguments())
  form <- check_choice(form, eval(formals()$form), "form")
  x <- as.data.frame(x)
  if (missing(class)) {
    label <- rep("1", nrow(x))
    other <- names(x)[!vapply(plain_numbers(x), is.numeric, NA)]
    if (length(other)) {
      abort_input("x", "numeric in every column, or have a `class`",
                  paste0("non-numeric ", toString(other, 60), "; is class = \"", other[1],
                         "\" meant?"))
    }
  } else if (is_text(class) && class %in% names(x)) {
    check_columns(class, names(x), "x")
    label <- x[[class]]
    x[[class]] <- NULL
  } else {
    # a missing column is NULL too
    if (is.null(class) || is_text(class) && nrow(x) != 1) {
      abort_input("class", "the name of the class column or a label per row",
                  if (is.null(class)) "NULL" else unknown_names(class, names(x)))
    }
    label <- class
  }
  check_missing(x, "x", REFUSE_MISSING)
  label <- class_factor(label, nrow(x), "row (or the name of a column)")
  points <- check_table(x, "x")
  mixture <- if (method == "mclust") fit_mclust(points, label, standardise, ...) else {
    fit_gaussian(points, label, form, standardise)
  }
  if (is.ordered(label)) mixture$ordered <- TRUE
  mixture
}

#' @rdname as_gaussmix
#' @export
as_gaussmix.matrix <- function(x, bandwidth = NULL, class = NULL, standardise = TRUE, ...) {
  check_dots(...)
  check_missing(x, "x", REFUSE_MISSING)
  x <- check_table(x, "x")
  n <- nrow(x)
  d <- ncol(x)
  if (is.null(bandwidth)) {
    if (n == 1) abort_input("bandwidth", "given for a single point")
    bandwidth <- apply(x, 2, stats::sd) * n^(-1 / (d + 4))
    constant <- variable_labels(list(means = x))[bandwidth == 0]
    if (length(constant)) {
      abort_input("bandwidth", "given where a variable is constant (0 makes point masses)",
                  paste("constant:", toString(constant, 60)))
    }
  }
  if (!is.matrix(bandwidth)) {
    if (!is.numeric(bandwidth) || !length(bandwidth) %in% c(1, d) ||
        !all(is.finite(bandwidth) & bandwidth >= 0)) {
      abort_input("bandwidth", paste("standard deviations >= 0 (one, or one per variable)",
                                     "or a covariance matrix"), describe(bandwidth))
    }
    bandwidth <- bandwidth^2
  }
  covs <- list(bandwidth = check_covariance(bandwidth, d, "bandwidth", colnames(x)))
  mixture <- assemble_gaussmix(rep(1 / n, n), x, covs, check_labels(class, n, "point"))
  mixture$kernel <- TRUE
  from_data(mixture, standardise = standardise)
}

REFUSE_MISSING <- paste("na.omit() takes the complete rows, MGMM::FitGMM() fits all, see",
                        "?as_gaussmix")

# The last step from data, or from a fit to data, to a mixture.
from_data <- function(mixture, fit = NULL, standardise = TRUE) {
  mixture["fit"] <- list(fit)
  if (check_flag(standardise, "standardise")) standardise(mixture) else mixture
}

# ---- Fits

fit_of <- function(source, loglik, df, nobs) {
  list(source = source, loglik = as.double(loglik), df = df, nobs = nobs)
}

# The maximum of the likelihood, in closed form: the scatter of each class, or of all rows about
# their class means, over the number of rows; the diagonal of this; the mean of this diagonal.
fit_gaussian <- function(points, label, form, standardise) {
  n <- nrow(points)
  count <- tabulate(label)
  means <- rowsum(points, label) / count
  centred <- points - means[label, , drop = FALSE]
  groups <- if (startsWith(form, "common")) list(seq_len(n)) else split(seq_len(n), label)
  covs <- lapply(groups, function(rows) {
    S <- crossprod(centred[rows, , drop = FALSE]) / length(rows)
    switch(sub("common ", "", form), full = S, diagonal = diag(S), isotropic = mean(diag(S)))
  })
  mixture <- gaussmix(count / n, means, rep_len(unname(covs), nlevels(label)), levels(label))
  flat <- which(rep_len(colSums(mixture$values == 0) > 0, nlevels(label)))
  if (length(flat)) {
    warning("singular covariance in class ", singular_words(points, label, flat, form),
            ": the mixture has no density before noise is added; another `form` may have one",
            call. = FALSE)
  }
  fit <- if (!length(flat)) fit_by_class("Gaussian", points, label, mixture, free_parameters(mixture))
  from_data(mixture, fit, standardise)
}

# The likelihood of a fit with one Gaussian, or one Mclust, per class.
fit_by_class <- function(of, points, label, mixture, df) {
  fit_of(paste0("one ", of, if (nlevels(label) > 1) " per class"),
         sum(dgaussmix(points, mixture, log = TRUE)), df, nrow(points))
}

# The classes `flat` with the cause of their singular covariance.
singular_words <- function(points, label, flat, form) {
  common <- startsWith(form, "common")
  cause <- vapply(flat, function(k) {
    x <- points[if (common) TRUE else as.integer(label) == k, , drop = FALSE]
    if (common) x <- x - (rowsum(x, label) / tabulate(label))[label, , drop = FALSE]
    constant <- apply(x, 2, function(x) diff(range(x)) <= 1e-10 * max(abs(x)))
    free <- nrow(x) - if (common) nlevels(label) else 1
    if (free > 0 && any(constant)) {
      paste("constant:", toString(variable_labels(list(means = x))[constant], 40))
    } else if (free < ncol(x) || free == 0) {
      paste(count_of(nrow(x), "row"), "in", count_of(ncol(x), "variable"))
    } else "collinear variables"
  }, "")
  if (common) {
    return(paste0(toString(levels(label)[flat], 60), " (common to all; ", cause[1], ")"))
  }
  shown <- utils::head(seq_along(flat), 4)
  toString(c(paste0(levels(label)[flat[shown]], " (", cause[shown], ")"),
             if (length(flat) > 4) paste(length(flat) - 4, "more")))
}

mclust_arguments <- function() {
  need_packages('method = "mclust"', "mclust")
  names(formals(mclust::Mclust))
}

fit_mclust <- function(points, label, standardise, ...) {
  mclustBIC <- mclust::mclustBIC  # Mclust() looks it up where it is called
  fits <- lapply(split(seq_len(nrow(points)), label), function(rows) {
    mclust::Mclust(points[rows, , drop = FALSE], verbose = FALSE, ...)
  })
  failed <- vapply(fits, is.null, NA)
  if (any(failed)) {
    abort_input("x", "such that Mclust() can fit each class",
                paste("no fit for", toString(names(fits)[failed], 60)))
  }
  mixture <- join_classes(lapply(fits, mclust_parts, colnames(points)), tabulate(label))
  from_data(mixture, fit_by_class("Mclust", points, label, mixture, mclust_df(fits)), standardise)
}

# The free parameters of one fit per class: weights (of classes, and of components within each),
# means and covariances. mclust's own count for MclustDA changed between versions.
mclust_df <- function(fits, type = "MclustDA") {
  G <- vapply(fits, `[[`, 0, "G")
  d <- fits[[1]]$d
  name <- vapply(fits, `[[`, "", "modelName")
  # in EDDA classes share parts of the covariances
  covariances <- if (type == "EDDA") volume_shape_df(name[[1]], d, length(fits)) else {
    sum(mapply(volume_shape_df, name, d, G))
  }
  sum(G) - 1 + sum(G) * d + covariances
}

# The free parameters of G covariances in a model of mclust. Each letter (volume, shape,
# orientation) is E or X for a common one, V for one each, I if there is nothing to choose.
volume_shape_df <- function(model, d, G) {
  letters <- strsplit(model, "")[[1]]
  free <- c(1, d - 1, d * (d - 1) / 2)[seq_along(letters)]
  sum(free * c(E = 1, X = 1, V = G, I = 0)[letters])
}

mclust_parts <- function(fit, variables) {
  parameters <- fit$parameters
  if (!is.null(parameters$Vinv)) {
    abort_input("x", "a mixture of Gaussians alone", "one with a uniform noise component")
  }
  K <- length(parameters$pro)
  variance <- parameters$variance
  means <- if (fit$d == 1) matrix(parameters$mean) else t(parameters$mean)
  colnames(means) <- variables
  list(weights = parameters$pro, means = means,
       covs = if (fit$d == 1) as.list(rep_len(variance$sigmasq, K)) else {
         lapply(seq_len(K), function(k) variance$sigma[, , k])
       })
}

# One mixture of the named mixtures `parts`, a class each, with weights `share`.
join_classes <- function(parts, share) {
  pick <- function(what) unname(lapply(parts, `[[`, what))
  weights <- Map(`*`, pick("weights"), share)
  gaussmix(unlist(weights), do.call(rbind, pick("means")), do.call(c, pick("covs")),
           rep(names(parts), lengths(weights)))
}

#' An imputation method for mice
#'
#' `mice(data, method = "gaussmix")` of package \pkg{mice} calls this function by its name. A
#' Gaussian mixture of the variable and its predictors is fitted to the rows with the variable
#' observed. Missing values are drawn from their exact law given the predictors of their row.
#'
#' @details
#' The mixture is the one that [mclust::Mclust()] selects by BIC for a bootstrap sample of those
#' rows, so that imputations include the uncertainty of the mixture. Draws are from R's generator.
#'
#' Use it if a regression is not linear, has several branches or a varying spread. [impute()] takes
#' one mixture for all variables, needs no iterations and is exact for that mixture; this function
#' lets \pkg{mice} chain a mixture per variable, with any methods for the other variables.
#'
#' @param y The variable: numbers, observed where `ry` is `TRUE`.
#' @param ry Whether each is observed, a logical vector.
#' @param x The predictors: a numeric matrix without missing values, a row per element of `y`.
#' @param wy Whether to impute each, a logical vector; `NULL`: those not observed.
#' @param ... Arguments of [mclust::Mclust()], such as `G` and `modelNames`; others, which
#'   \pkg{mice} passes to every method, are ignored.
#' @return The imputed values, a number for each `TRUE` in `wy`.
#' @source Derived for this package; the interface is that of van Buuren and Groothuis-Oudshoorn
#'   (2011), \doi{10.18637/jss.v045.i03}.
#' @seealso [impute()]
#' @examplesIf all(vapply(c("mice", "mclust"), requireNamespace, NA, quietly = TRUE))
#' filled <- mice::mice(airquality[c("Ozone", "Wind", "Temp")], method = "gaussmix", m = 2,
#'                      maxit = 1, printFlag = FALSE, seed = 1)
#' summary(mice::complete(filled)$Ozone)
#' @export
mice.impute.gaussmix <- function(y, ry, x, wy = NULL, ...) {
  if (!is.numeric(y)) abort_input("y", "numbers", describe(y))
  check_which <- function(which, arg) {
    if (!is.logical(which) || length(which) != length(y) || anyNA(which)) {
      abort_input(arg, paste(length(y), "logical values"), describe(which))
    }
  }
  check_which(ry, "ry")
  if (is.null(wy)) wy <- !ry
  check_which(wy, "wy")
  x <- check_table(as.matrix(x), "x")
  if (nrow(x) != length(y)) abort_input("x", paste("of", count_of(length(y), "row")), describe(x))
  if (!any(wy)) return(double())
  joint <- stats::setNames(data.frame(x, y), c(paste0("x", seq_len(ncol(x))), "y"))
  # predictors without spread carry no information, and would make covariances singular
  spread <- vapply(joint[ry, , drop = FALSE], function(v) length(unique(v)) > 1, NA)
  if (!spread[["y"]]) return(rep(y[ry][1], sum(wy)))
  joint <- joint[spread]
  own <- list(...)
  own <- own[names(own) %in% mclust_arguments()]
  rows <- sample(which(ry), replace = TRUE)
  fit <- do.call(as_gaussmix, c(list(joint[rows, ], class = rep("all", length(rows)),
                                     method = "mclust"), own))
  joint$y[wy] <- NA
  impute(fit, joint[wy, ], m = 1)$imputations[[1]]$y
}

#' @keywords internal
#' @useDynLib mixguide, .registration = TRUE
#' @importFrom ggplot2 autoplot
#' @importFrom stats logLik nobs predict simulate
"_PACKAGE"

#' @export
ggplot2::autoplot

.onUnload <- function(libpath) {
  library.dynam.unload("mixguide", libpath)
}

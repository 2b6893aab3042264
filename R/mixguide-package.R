#' @keywords internal
#' @useDynLib mixguide, .registration = TRUE
#' @import ggplot2
#' @importFrom stats logLik nobs predict simulate
"_PACKAGE"

#' @export
ggplot2::autoplot

#' @export
generics::tidy

#' @export
generics::glance

#' @export
generics::augment

.onUnload <- function(libpath) {
  library.dynam.unload("mixguide", libpath)
}

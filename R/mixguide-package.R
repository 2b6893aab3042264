#' @section Errors:
#' What does not fit is an error of class `mixguide_error` whose message names the argument, what
#' was wanted and what came. A second class says of which kind it is: `mixguide_error_singular`
#' where a covariance is singular and there is no noise, so that there is no density and no score,
#' `mixguide_error_impossible` for what no component can have made, `mixguide_error_input` for most.
#' Help pages mention what is particular to them.
#' @keywords internal
#' @useDynLib mixguide, .registration = TRUE
#' @import ggplot2
#' @importFrom stats logLik nobs predict simulate
"_PACKAGE"

#' @export
ggplot2::autoplot

.onUnload <- function(libpath) {
  library.dynam.unload("mixguide", libpath)
}

#' Covariances of the components of a mixture
#'
#' All covariance matrices in one array, as [gaussmix()] takes them.
#'
#' @param mixture A [gaussmix()].
#' @return A d x d x K array with the names of the variables, and the classes of the components
#'   along the third dimension. A common covariance is repeated.
#' @seealso [moments()] for the covariance of a class or of the whole mixture.
#' @examples
#' m <- gaussmix(c(.3, .7), cbind(u = c(-1, 1), v = 0:1), list(.5, c(1, 2)), class = c("a", "b"))
#' covariances(m)
#' covariances(m)[, , "b"]
#' @export
covariances <- function(mixture) {
  check_mixture(mixture)
  d <- mixture_dim(mixture)
  K <- mixture_size(mixture)
  names <- variable_names(mixture)
  each <- lapply(seq_len(K), function(k) component_cov(mixture, k))
  array(unlist(each), c(d, d, K), list(names, names, mixture$class))
}

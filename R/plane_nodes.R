# Quadrature over mixtures in the plane, on the grid of box_nodes() or one for each component.

# E f(X) for X from a mixture in the plane, if f varies as fast as the components of `cut_at`. NULL
# if this needs too many nodes.
plane_expectation <- function(mixture, f, cut_at = mixture) {
  value <- settled_sums(cut_at, function(nodes) {
    sum(nodes$weight * f(nodes$x) * dgaussmix(nodes$x, mixture))
  }, 1e-7, min(1e6, max(1e5, 1e8 / mixture_size(cut_at))))
  if (!is.null(value)) estimate_row(value, 0, "quadrature")
}

# If a box in the plane would be too large: a grid around each component, with weights relative to
# the whole mixture.
component_nodes <- function(mixture, step = .4) {
  z <- axis_nodes(rep(list(seq(-8.4, 8.4, by = step)), 2))
  K <- mixture_size(mixture)
  if (K * nrow(z) > 1e6) {
    abort_input("target", "of fewer components in two dimensions", format(mixture))
  }
  x <- do.call(rbind, lapply(seq_len(K), function(k) to_component(z, mixture, k)))
  own <- step^2 / (2 * pi) * exp(-rowSums(z^2) / 2)
  own <- rep(mixture$weights, each = nrow(z)) * own
  list(x = unname(x), weight = own / dgaussmix(x, mixture))
}

# The estimates of a table, by the names of their quantities.
by_quantity <- function(table, column = "estimate") {
  as.list(stats::setNames(table[[column]], table$quantity))
}

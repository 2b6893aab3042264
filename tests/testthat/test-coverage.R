# Two standard errors cover the truth in 95 of 100 repetitions. This test makes 40. Its bounds have
# a false alarm of 1e-5 if the true coverage lies between .91 and .98; tools/validate-coverage makes
# 200.

skip_on_cran()

for (name in names(coverage_cases)) {
  case <- coverage_cases[[name]]
  # a known failure
  if (isTRUE(case$known)) next
  test_that(paste("two standard errors cover the truth:", name), {
    if (!is.null(case$needs)) skip_if_not_installed(case$needs)
    at <- coverage_of(case, 40)
    for (i in seq_len(nrow(at))) {
      label <- paste0(at$quantity[i], ": ", at$hits[i], " of ", at$of[i], " covered")
      if (isTRUE(case$rarely)) {
        # a number is either withheld or right
        expect_gte(at$hits[i] + 40 - at$of[i], qbinom(1e-5, 40, .91), label = label)
        expect_lt(at$given[i], .9)
      } else {
        expect_gte(at$given[i], .75, label = label)
        expect_gte(at$hits[i], qbinom(1e-5, at$of[i], .91), label = label)
        if (!isTRUE(case$bias)) expect_lt(at$ratio[i], 1.7, label = label)
        expect_gt(at$ratio[i], .6, label = label)
      }
    }
  })
}

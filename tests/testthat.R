library(testthat)
library(mixguide)

test_check("mixguide")

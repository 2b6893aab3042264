# Our classes, and methods of other packages.

m <- gaussmix(c(.4, .6), c(-1, 1.5), .5, class = c("a", "b"))
objects <- function() {
  list(diffusion(m, "a", sampler = sampler_ddim(5)), guidance("a"), sampler_ddim(), schedule_ou(),
       observation(1, variables = 1), corrector_langevin(.1), op_noise("z"), zero_shot_bo(),
       score_error(), tilted_law(m, "a", 1), lipschitz(m, 1), entropy(m, n = 10, key = 1:2),
       information(m, 1, quantity = "second_moment"), mismatch(m, model = m),
       impute(m, matrix(c(NA, 1)), m = 2, key = 1:2))
}

test_that("a class has a name of two words, which no other package has by chance", {
  methods <- getNamespaceInfo("mixguide", "S3methods")
  names <- c(methods[methods[, 1] != "as_gaussmix", 2], unlist(lapply(objects(), class)))
  expect_setequal(grep("_", names, value = TRUE, invert = TRUE),
                  c("default", "gaussmix", "summary.gaussmix", "data.frame", "imputationList"))
})

test_that("methods of other packages for classes of one word leave ours alone", {
  words <- c("diffusion", "law", "guidance", "schedule", "sampler", "observation", "op",
             "lipschitz", "information", "corrector", "mismatch", "imputed", "estimates")
  home <- .BaseNamespaceEnv[[".__S3MethodsTable__."]]
  generics <- c("print", "format", "summary", "mean")
  foreign <- as.vector(outer(generics, words, paste, sep = "."))
  before <- lapply(objects(), function(x) capture.output(print(x)))
  expect_false(any(foreign %in% names(home)))
  withr::defer(rm(list = foreign, envir = home))
  for (name in foreign) assign(name, function(x, ...) cat("foreign\n"), home)
  expect_identical(lapply(objects(), function(x) capture.output(print(x))), before)
})

test_that("print, format and autoplot have one method for all objects, and few besides", {
  methods <- getNamespaceInfo("mixguide", "S3methods")
  own <- function(generic) methods[methods[, 1] == generic, 2]
  expect_identical(own("format"), "mixguide_object")
  expect_lte(length(own("print")), 11)
  # the others' pictures have arguments of their own
  for (class in setdiff(own("autoplot"), c("mixguide_object", "mixguide_table"))) {
    method <- get(paste0("autoplot.", class), asNamespace("mixguide"))
    expect_gt(length(formals(method)), 2, label = class)
  }
  skip_on_cran()
  expect_lt(length(readLines(system.file("NAMESPACE", package = "mixguide"))), 250)
})

test_that("a user's class of an object prints and is drawn as what it extends", {
  for (x in list(sampler_ddim(), schedule_ou(), tilted_law(m, "a", 1))) {
    mine <- structure(x, class = c("mine", class(x)))
    expect_identical(format(mine), format(x))
    expect_identical(capture.output(print(mine))[-1], capture.output(print(x))[-1])
    if (!inherits(x, "mixguide_sampler")) {
      expect_identical(autoplot(mine)$labels, autoplot(x)$labels)
    }
  }
  expect_error(autoplot(sampler_ddim()), "picture of; got a sampler", class = "mixguide_error")
  for (f in list(print, format, autoplot)) {
    expect_error(f(schedule_ou(), other = 1), "`other` is not an argument",
                 class = "mixguide_error")
  }
  expect_error(print(moments(m), digits = 0), "`digits`", class = "mixguide_error")
  # what is called almost like a table is none
  mine <- structure(list(paths = data.frame(t = 1)), class = object_class("mine"))
  expect_error(as.data.frame(mine), "a result that has a table", class = "mixguide_error")
})

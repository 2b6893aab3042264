test_that("all_finite() is its definition, wherever the number stands", {
  withr::local_seed(1)
  for (n in 0:9) {
    x <- rnorm(n)
    expect_true(all_finite(x))
    for (i in seq_len(n)) for (bad in c(NA, NaN, Inf, -Inf)) {
      expect_false(all_finite(replace(x, i, bad)))
    }
    for (i in seq_len(n)) {
      expect_true(all_finite(replace(x, i, -5), 5))
      expect_false(all_finite(replace(x, i, -5.1), 5))
    }
  }
  expect_true(all_finite(c(-1, 1) * .Machine$double.xmax))
})

test_that("a mixture that was tampered with is refused where it enters", {
  set.seed(5)
  mixtures <- list(gaussmix(c(.3, .7), c(0, 1), 1), gaussmix(1, t(c(0, 1)), diag(2)),
                   gaussmix(c(.3, .7), diag(2), matrix(c(1, .5, .5, 1), 2)),
                   gaussmix(c(.3, .7), diag(2), list(matrix(c(1, .5, .5, 1), 2), 1)),
                   gaussmix(c(.3, .7), diag(2), list(c(1, 2), 1)), named_mixture("A2"))
  # changes a field; NULL removes it
  set <- function(field, f) {
    function(m) {
      m[[field]] <- f(m[[field]])
      m
    }
  }
  tamper <- list(
    set("weights", function(w) 0 * w), set("weights", function(w) double()),
    set("weights", function(w) replace(w, 1, NA)), set("weights", function(w) 2 * w),
    set("weights", function(w) c(w, 0)), set("means", function(x) NULL),
    set("means", as.vector), set("means", function(x) replace(x, 1, Inf)),
    set("means", function(x) array(0L, dim(x))), set("form", function(x) "odd"),
    set("form", function(x) NULL), set("values", function(x) replace(x, 1, -1)),
    set("values", function(x) x[0, , drop = FALSE]), set("values", function(x) cbind(x, x, x)),
    set("class", function(x) NULL), set("class", seq_along),
    function(m) structure(list(), class = "gaussmix"), function(m) structure(1, class = "gaussmix")
  )
  for (m in mixtures) {
    expect_identical(check_mixture(m), m)
    for (change in tamper) {
      expect_error(check_mixture(change(m)), "changed, or is damaged", class = "mixguide_error")
    }
    expect_error(denoise(tamper[[1]](m), m$means, 1), class = "mixguide_error")
  }
  full <- mixtures[[4]]
  full$vectors <- full$vectors[, , 1]
  expect_error(check_mixture(full), class = "mixguide_error")
})

test_that("no function swallows an argument that it does not know", {
  home <- asNamespace("mixguide")
  names <- union(getNamespaceExports(home), getNamespaceInfo(home, "S3methods")[, 3])
  # these pass everything on to a function that checks, or to R, or always fail
  passes <- c("as_gaussmix.formula", "as_gaussmix.default", "as_gaussmix.model_fit",
              "as_gaussmix.cluster_fit", "as_gaussmix.workflow", "guidance_report",
              "update.mixguide_object", "update.mixguide_table", "confidence.default",
              "entropy.default", "moments.default", "[.mixguide_table", "rbind.mixguide_table",
              # the legal arguments of these depend on the first argument
              "guidance_rule", "strength_profile",
              # mice passes to every method the arguments of the others
              "mice.impute.gaussmix")
  looked_at <- 0
  for (name in setdiff(names, passes)) {
    f <- get(name, home)
    if (!"..." %in% names(formals(f)) || "UseMethod" %in% all.names(body(f))) next
    # a plot is a picture: the method of autoplot() checks
    if (identical(body(f), quote(show_plot(x, ...)))) next
    error <- tryCatch(f(no_such_argument = 1), error = identity)
    expect_s3_class(error, "mixguide_error")
    expect_match(conditionMessage(error), "`no_such_argument` is not an argument", info = name)
    looked_at <- looked_at + 1
  }
  expect_gt(looked_at, 100)
  m <- named_mixture("A1")
  refused <- function(code) {
    expect_error(code, "`no_such_argument` is not an argument", class = "mixguide_error")
  }
  refused(as_gaussmix(Species ~ ., iris, no_such_argument = 1))
  refused(as_gaussmix(stats::ts(1:5), no_such_argument = 1))
  refused(as_gaussmix(1:5, no_such_argument = 1))
  refused(plot(m, no_such_argument = 1))
  refused(guidance_sweep(m, guidance = "1", no_such_argument = 1))
})

test_that("an unknown argument is answered by the nearest one", {
  m <- named_mixture("A1")
  expect_error(confidence(m, "1", nn = 10), "`nn` is not an argument of confidence\\(\\).*`n`")
  expect_error(predict(m, 1, tpye = "prob"), "did you mean `type`")
  expect_error(confidence(m, colour = 1), "it takes x, class, n, key")
  expect_error(confidence(m, "1", 10, NULL, 20), "an argument too many")
  # arguments that R itself passes are not checked
  expect_output(print(list(guidance("a"), m), digits = 2, quote = FALSE), "towards a")
  expect_identical(data.frame(m, stringsAsFactors = TRUE)$component, 1:3)
  skip_if_not_installed("mclust")
  expect_error(as_gaussmix(Species ~ ., iris, method = "mclust", modelName = "VVV"),
               "`modelNames`")
})

test_that("a table's columns go by name, or not at all", {
  withr::local_seed(31)
  for (d in 1:4) {
    m <- random_mixture("full", d, 3)$mixture
    names <- sample(letters, d)
    colnames(m$means) <- names
    x <- as.data.frame(rgaussmix(6, m)[, , drop = FALSE])
    truth <- dgaussmix(unname(as.matrix(x)), m)
    expect_equal(dgaussmix(cbind(other = "a", x[sample(d)], zz = 0), m), truth)
    if (d > 1) expect_equal(dgaussmix(unlist(x[2, d:1]), m), truth[2])
    renamed <- stats::setNames(x, toupper(names))
    for (wrong in list(renamed, as.matrix(renamed), stats::setNames(x, c("zz", names)[seq_len(d)]),
                       x[-1], cbind(x, x))) {
      expect_mixguide_error(dgaussmix(wrong, m), "x")
      expect_mixguide_error(predict(m, wrong), "newdata")
      expect_mixguide_error(impute(m, as.data.frame(wrong)), "data")
    }
    if (d > 1) expect_mixguide_error(score(m, unlist(renamed[1, ])), "x")
    y <- as.data.frame(rgaussmix(9, m)[, , drop = FALSE])
    expect_identical(sliced_wasserstein(x, y[sample(d)], key = c(1, 0)),
                     sliced_wasserstein(x, y, key = c(1, 0)))
    expect_mixguide_error(sliced_wasserstein(renamed, y), "y")
  }
  expect_identical(sliced_wasserstein(iris[1:4], iris[4:1])$estimate, 0)
  twice <- stats::setNames(iris, replace(names(iris), 2, "Sepal.Length"))
  expect_mixguide_error(as_gaussmix(Species ~ ., twice), "data")
  expect_mixguide_error(as_gaussmix(twice, class = "Species"), "x")
  expect_mixguide_error(as_gaussmix(cbind(iris, iris["Species"]), class = "Species"), "x")
  m <- as_gaussmix(Species ~ ., iris)
  lower <- stats::setNames(iris, tolower(names(iris)))
  expect_error(predict(m, lower), "did you mean `sepal.length`")
})

# One table in each class of tables that users have; purely numeric classes for a numeric table.
table_makers <- function() {
  numbers <- function(x) as.matrix(x[vapply(x, is.numeric, NA)])
  c(list(data.frame = identity, matrix = numbers, ts = function(x) stats::ts(numbers(x))),
    if (requireNamespace("tibble", quietly = TRUE)) list(tibble = tibble::as_tibble),
    if (requireNamespace("data.table", quietly = TRUE)) {
      list(data.table = data.table::as.data.table)
    })
}

test_that("points come in any table, of any number of rows", {
  withr::local_seed(32)
  m <- as_gaussmix(Species ~ ., iris)
  pick <- c(1, 51, 101, 2, 52)
  x <- unname(as.matrix(iris[pick, 1:4]))
  plain <- iris[pick, c(4, 2, 5, 1, 3)]
  makers <- table_makers()
  for (kind in names(makers)) for (rows in list(1:5, 3, integer())) {
    # there is no time series without times
    if (kind == "ts" && !length(rows)) next
    make <- makers[[kind]]
    table <- make(plain[rows, ])
    at <- x[rows, , drop = FALSE]
    named <- if (length(rows) && kind %in% c("data.frame", "matrix")) row.names(plain)[rows]
    expect_identical(predict(m, table), predict(m, at), info = kind)
    expect_identical(dgaussmix(table, m), dgaussmix(at, m))
    for (f in list(score, posterior, function(m, x) denoise(m, x, .2), score_jacobian,
                   function(m, x) denoise(m, x, 0), function(m, x) predict(m, x, "prob"))) {
      value <- f(m, table)
      expect_identical(unname(value), unname(f(m, at)))
      expect_null(attr(value, "tsp"))
      if (is.matrix(value)) expect_identical(rownames(value), named)
    }
    some <- make(plain[rows, c("Sepal.Width", "Sepal.Length")])
    expect_equal(condition(m, some), condition(m, plain[rows, c(2, 4)]), ignore_attr = TRUE)
  }
  cloud <- as.data.frame(rgaussmix(60, m)[, ])
  fit <- as_gaussmix(as.matrix(iris[1:4]), class = iris$Species)
  for (kind in names(makers)) {
    table <- makers[[kind]](cloud[4:1])
    key <- c(1, 0)
    expect_identical(sliced_wasserstein(iris[1:4], table, directions = 9, key = key),
                     sliced_wasserstein(iris[1:4], cloud, directions = 9, key = key))
    expect_equal(judge_samples(table, m, directions = 9, key = key),
                 judge_samples(cloud, m, directions = 9, key = key))
    points <- makers[[kind]](iris[1:4])
    expect_identical(as_gaussmix(points, class = iris$Species),
                     if (is.matrix(points)) fit else m)
    if (!is.matrix(points)) {
      expect_identical(as_gaussmix(Species ~ ., makers[[kind]](iris)), m)
      expect_identical(as_gaussmix(makers[[kind]](iris), class = "Species"), m)
    }
  }
  expect_identical(as_gaussmix(stats::ts(faithful$waiting)), as_gaussmix(faithful$waiting))
})

test_that("impute() gives back the table that it got, completed", {
  m <- as_gaussmix(Species ~ ., iris)
  makers <- table_makers()
  for (kind in c("data.frame", "tibble", "data.table")) for (n in c(5, 1, 0)) {
    make <- makers[[kind]]
    if (is.null(make)) next
    holed <- iris[c(1, 51, 101, 2, 52), c(4, 2, 5, 1, 3)][seq_len(n), ]
    holed$Sepal.Width[-2] <- NA
    attr(holed$Petal.Width, "unit") <- "cm"
    attr(holed$Sepal.Width, "unit") <- "cm"
    table <- make(holed)
    if (kind == "data.table") data.table::setkeyv(table, "Sepal.Width")
    filled <- impute(m, table, m = 2)
    for (whole in filled$imputations) {
      expect_identical(class(whole), class(table))
      expect_identical(names(whole), names(table))
      for (j in setdiff(names(table), "Sepal.Width")) expect_identical(whole[[j]], table[[j]])
      expect_identical(attr(whole$Sepal.Width, "unit"), "cm")
      expect_false(anyNA(whole$Sepal.Width))
      expect_identical(row.names(whole), row.names(table))
      # the imputed table need not be sorted by its key any more
      expect_null(attr(whole, "sorted"))
    }
    expect_identical(nrow(as.data.frame(filled)), as.integer(3 * n))
  }
  if (!is.null(makers$data.table)) {
    # data.table does not complain about a copy that it did not make
    whole <- impute(m, data.table::data.table(iris, n = 1:150)[, c(1:5, 6)], m = 1)$imputations[[1]]
    expect_silent(data.table::set(whole, j = "new", value = 1))
  }
  # integers without missing values stay integers
  counts <- data.frame(a = c(NA, 2L), b = 3:4)
  whole <- impute(named_mixture("M2"), counts, m = 1)$imputations[[1]]
  expect_identical(whole$b, 3:4)
  expect_type(whole$a, "double")
})

test_that("an integer64 is the number that it stands for, wherever it comes in", {
  # as its bits: k times the smallest double
  long <- function(k) structure(k * 2^-1074, class = "integer64")
  expect_identical(plain_numbers(long(c(0, 1, 5, 2^40))), c(0, 1, 5, 2^40))
  # an integer64 is two words of 32 bits, the lower first; R's NA stands for the word -2^31
  words <- rbind(c(-5L, -1L), c(-1L, .Machine$integer.max), c(1L, NA), c(0L, 1L), c(NA, 0L),
                 c(NA, -1L), c(-1L, -2L), c(0L, NA))
  bits <- writeBin(as.vector(t(words)), raw(), endian = "little")
  hard <- structure(readBin(bits, "double", 8, endian = "little"), class = "integer64")
  expect_identical(plain_numbers(hard),
                   c(-5, 2^63, 1 - 2^63, 2^32, 2^31, -2^31, -2^32 - 1, NA))
  cars <- mtcars[c("cyl", "hp", "wt")]
  same <- transform(cars, cyl = long(cyl), hp = long(hp))
  m <- as_gaussmix(cyl ~ hp + wt, cars)
  expect_identical(as_gaussmix(cyl ~ hp + wt, same), m)
  expect_equal(dgaussmix(same, as_gaussmix(cyl ~ log(hp) + wt, same)),
               dgaussmix(cars, as_gaussmix(cyl ~ log(hp) + wt, cars)))
  expect_identical(as_gaussmix(same, class = "cyl"), m)
  expect_identical(dgaussmix(same, m), dgaussmix(cars, m))
  expect_identical(predict(m, same), predict(m, cars))
  expect_identical(impute(m, same, m = 0)$cells, impute(m, cars, m = 0)$cells)
  expect_identical(condition(m, same["hp"]), condition(m, cars["hp"]))
  expect_identical(sliced_wasserstein(same, cars)$estimate, 0)
  expect_identical(as_gaussmix(long(cars$hp)), as_gaussmix(cars$hp))
  expect_identical(confidence(m, long(4), n = 10)$class, "4")
  expect_identical(gaussmix(long(c(1, 3)), long(0:1), long(2), class = long(7:8)),
                   gaussmix(c(1, 3), 0:1, 2, class = 7:8))
  expect_mixguide_error(as_gaussmix(cars[2:3], class = long(cars$cyl * 2^51)), "class")
})

test_that("labels are text, the same for the same number, and never empty", {
  for (labels in list(c(1e5, 2), c(100000L, 2L), c("100000", "2"), factor(c("100000", "2")))) {
    m <- gaussmix(c(.4, .6), c(-1, 1), 1, class = labels)
    expect_identical(m$class, c("100000", "2"))
    expect_identical(confidence(m, labels)$class, m$class)
    expect_equal(confidence(m, 1e5), confidence(m, 100000L))
    expect_identical(guidance(labels[1])$class, "100000")
  }
  expect_identical(label_text(c(1e15, 1e-5, .1, -2e20, 12)),
                   c("1000000000000000", "0.00001", "0.1", "-200000000000000000000", "12"))
  many <- as_gaussmix(data.frame(x = 1:6), class = c(1e5, 1e5, 20, 20, 3, 3))
  expect_identical(many$class, c("3", "20", "100000"))
  for (bad in list(c("a", ""), c("a", NA), factor(c("a", NA)), addNA(factor(c("a", NA))))) {
    expect_mixguide_error(gaussmix(c(1, 1), 0:1, 1, class = bad), "class")
    expect_mixguide_error(as_gaussmix(data.frame(x = 1:2), class = bad), "class")
    expect_mixguide_error(guidance(bad), "class")
  }
  # any other text is a label; sets of labels are compared as sets
  m <- gaussmix(c(.3, .3, .4), c(-1, 0, 2), 1, class = c("a", "b", "a\rb"))
  truth <- gaussmix(c(.3, .3, .4), c(-1, 0, 2), 1, class = c("a", "b", "c"))
  x <- c(-1, .5, 3)
  expect_identical(score(m, x, .1, guidance = guidance(c("a", "b"), 2, negative = "a\rb")),
                   score(truth, x, .1, guidance = guidance(c("a", "b"), 2, negative = "c")))
  same <- guidance_models(guidance(c("a", "b"), 2, negative = c("b", "a")), truth)
  expect_identical(nrow(same$models), 2L)
  expect_true(all(same$coef(1, "gain") == 0))
})

test_that("the union of all classes is said to be one", {
  m <- named_mixture("A1")
  run <- guided_sample(m, 20, guidance(m$class, 1), sampler_ddim(5))
  expect_output(print(run), "1 or 2 or 3 \\(their union\\).*these are all the classes")
  sweep <- guidance_sweep(m, guidance = m$class, strength = 0, n = 20, sampler = sampler_ddim(5))
  expect_output(print(sweep), "these are all the classes")
  expect_output(print(guidance(c("a", "b"))), "\\(their union\\)")
  some <- guided_sample(m, 20, guidance(m$class[1:2], 1), sampler_ddim(5))
  expect_false(any(grepl("all the classes", utils::capture.output(print(some)))))
})

test_that("a time limit is never taken for a failure", {
  for (limit in c("elapsed", "CPU", "session elapsed", "session CPU")) {
    struck <- function() stop(gettext(paste("reached", limit, "time limit"), domain = "R"))
    expect_error(if_error(struck(), function(e) NULL), "time limit", class = "simpleError")
    # the message about a failed chunk
    job <- list(plan = list(begin = list(n = 1)), key = 1:2)
    task <- list(work = function(...) struck(), job = job)
    failed <- tryCatch(each_chunk(task, 1, 1, identity, here = TRUE), error = identity)
    expect_false(inherits(failed, "mixguide_error"))
    expect_match(conditionMessage(failed), "time limit")
  }
  expect_identical(if_error(stop("another"), conditionMessage), "another")
  # only if_error() may catch all errors
  catches <- function(code) {
    if (is.function(code)) return(catches(body(code)))
    if (!is.call(code)) return(FALSE)
    name <- if (is.name(code[[1]])) as.character(code[[1]]) else ""
    name %in% c("try", "try_fetch") ||
      (name == "tryCatch" && any(c("error", "condition") %in% names(code))) ||
      any(vapply(as.list(code), function(part) {
        !missing(part) && (is.call(part) || is.function(part)) && catches(part)
      }, NA))
  }
  home <- asNamespace("mixguide")
  functions <- Filter(is.function, mget(ls(home, all.names = TRUE), home))
  expect_identical(names(which(vapply(functions, catches, NA))), "if_error")
})

test_that("what has a number for each variable goes by their names, whatever their order", {
  S <- matrix(c(4, .5, .2, .5, 1, .1, .2, .1, 2), 3, dimnames = list(letters[1:3], letters[1:3]))
  means <- t(c(a = 1, b = 2, c = 3))
  m <- gaussmix(1, means, S)
  set.seed(4)
  for (i in 1:10) {
    o <- sample(3)
    expect_equal(moments(gaussmix(1, means, S[o, o]))$cov, S)
    expect_equal(moments(gaussmix(1, means, list(S[o, o])))$cov, S)
    expect_equal(moments(gaussmix(1, means, list(diag(S)[o])))$cov, diag(diag(S)),
                 ignore_attr = TRUE)
    two <- gaussmix(c(.5, .5), rbind(means, 2 * means), array(c(S, 2 * S)[c(outer(
      as.vector(outer(o, 3 * (o - 1), "+")), c(0, 9), "+"))], c(3, 3, 2),
      list(letters[o], letters[o], NULL)))
    expect_equal(covariances(two)[, , 2], 2 * S, tolerance = 1e-12)
    s <- standardise(m, means[1, o], diag(S)[o])
    expect_identical(s$coordinates, list(center = means[1, ], scale = diag(S)))
    y <- c(a = .5, b = 1, c = 2)
    expect_equal(condition(m, observation(y, noise = S[o, o]), drop = FALSE),
                 condition(m, observation(y, noise = S), drop = FALSE))
    expect_equal(observation(y, noise = diag(S)[o])$noise, observation(y, noise = diag(S))$noise)
    at <- function(o) {
      start <- list(mean = means[1, o], cov = S[o, o])
      guided_moments(s, sampler = sampler_em(5), start = start)[c("mean", "cov")]
    }
    expect_equal(at(o), at(1:3))
    range <- rbind(means - 5, means + 5)
    of_run <- function(o) {
      guided_summary(m, 50, NULL, sampler_ddim(100), range = range[, o], bins = 4, key = c(1, 2))
    }
    expect_identical(quantile(of_run(o), .5), quantile(of_run(1:3), .5))
  }
  other <- S
  dimnames(other) <- list(c("a", "b", "z"), c("a", "b", "z"))
  expect_mixguide_error(gaussmix(1, means, other), "cov")
  expect_mixguide_error(gaussmix(1, means, S[, 3:1]), "cov")
  expect_mixguide_error(standardise(m, c(a = 1, b = 1, z = 2)), "center")
  expect_mixguide_error(condition(m, observation(y, noise = other)), "noise")
})

# Misspelt names, by the argument that takes them, each with the name meant.
slips <- list(
  guidance = c(setsoa = "`setosa`", ersicolor = "`versicolor`"),
  class = c(setsoa = "`setosa`", VIRGINCA = "`virginica`"),
  samplers = c(ddmi = "sampler_ddim", hen = "sampler_heun"),
  sampler = c(ddmi = "sampler_ddim()", sampler_hen = "sampler_heun()"),
  schedule = c(cosin = "schedule_cosine()", vpp = "schedule_vp()"),
  method = c(dnm = "zero_shot_ddnm()", zero_shot_repant = "zero_shot_repaint()"),
  start = c(excat = "`exact`"), points = c(sobl = "`sobol`"),
  grid = c(unifrm = "`uniform`"), type = c(karas = "`karras`"),
  name = c(B2guidance = "`B2-guidance`"),
  variable = c(Sepal.Lenght = "`Sepal.Length`"), variables = c(Sepal.Widht = "`Sepal.Width`"),
  observation = c(Sepal.Wdith = "`Sepal.Width`")
)
# Arguments of such a name that accept another kind of value: another name, or labels of their own.
other_names <- c("corrector name", "sampler name", "schedule name", "gaussmix class",
                 "guidance class", "observation variables", "fokker_planck grid",
                 "score_model variables", "score_model class",
                 # labels of the user's rows, or the name of a column
                 "impute class", "judge_samples observation")

test_that("a very long text, or bytes that are none, are no name, which is said in one line", {
  long <- strrep("x", 1e5)
  bytes <- "\xff\xfe"
  Encoding(bytes) <- "bytes"
  m <- gaussmix(1, t(c(x = 0)), 1)
  for (call in expression(zero_shot_mcgdiff(resampling = long), guided_sample(m, 2, long),
                          guided_sample(m, 2, guidance("1"), long), marginal(m, long),
                          zero_shot_mcgdiff(resampling = bytes), guided_sample(m, bytes),
                          marginal(m, c(bytes, "y")))) {
    error <- tryCatch(eval(call), error = identity)
    expect_s3_class(error, "mixguide_error")
    expect_lt(nchar(conditionMessage(error)), 300)
  }
})

guided_only <- c("capped_strength", "tilted_sample")

test_that("a wrong name is an error that names the argument and the nearest that there is", {
  m <- as_gaussmix(Species ~ Sepal.Length + Sepal.Width, iris)
  legal <- list(mixture = m, n = 20, x = m$means, t = 1, data = iris[1:3, 1:4], steps = 5,
                observation = observation(c(Sepal.Length = 5)), sampler = sampler_ddim(5),
                method = zero_shot_bo(), strength = 1, samplers = sampler_heun, rho = 20, m = 3,
                error = .1, predictor = sampler_ddim(5), horizon = 5,
                corrector = corrector_langevin(.1), guidance = "setosa", y = iris[1:4],
                name = "mine", score = function(x, t, class) x)
  one <- gaussmix(c(1, 0, 0), m$means, 1, class = m$class)
  slip <- function(name) paste0(substr(name, 1, 2), "q", substring(name, 3))
  tried <- 0
  for (export in getNamespaceExports("mixguide")) {
    f <- getExportedValue("mixguide", export)
    legal$mixture <- if (export == "guided_moments") one else m
    legal$step <- if (export == "sampler") function(k, times, schedule) list() else .1
    own <- formals(args(f))
    runs <- identical(names(own)[1], "mixture") && "..." %in% names(own)
    needed <- names(Filter(function(x) is.name(x) && !nzchar(x), own))
    takes <- union(names(own), if (runs) names(formals(diffusion)))
    # R completes `sampler` to `samplers`
    for (arg in setdiff(takes, if ("samplers" %in% takes) "sampler")) {
      choices <- if (is.call(own[[arg]]) && identical(own[[arg]][[1]], quote(c))) eval(own[[arg]])
      wrong <- if (is.character(choices)) {
        stats::setNames(paste0("`", choices, "`"), slip(choices))
      } else if (!paste(export, arg) %in% other_names) slips[[arg]]
      for (name in names(wrong)) {
        also <- c(if (export %in% guided_only) "guidance",
                  if (arg == "method") intersect(names(own), "observation"))
        given <- legal[setdiff(c(needed, also), c("...", arg))]
        value <- if (arg == "observation") stats::setNames(5, name) else name
        call <- paste0(export, "(", arg, " = ", name, ")")
        error <- tryCatch(do.call(f, c(given, stats::setNames(list(value), arg))),
                          error = identity)
        expect_s3_class(error, "mixguide_error")
        expect_match(conditionMessage(error), paste0("^.", arg, ". must "), label = call)
        plain <- function(words) gsub("`", "", words, fixed = TRUE)
        expect_match(plain(conditionMessage(error)), plain(paste0("did you mean ", wrong[[name]])),
                     fixed = TRUE, label = call)
        tried <- tried + 1
      }
    }
  }
  expect_gt(tried, 200)
})

test_that("arguments that belong in guidance(), and articles, are right", {
  m <- named_mixture("A1")
  said <- function(code) tryCatch(code, mixguide_error = conditionMessage)
  expect_match(said(guided_sample(m, 10, strength = 2)),
               "belongs in guidance: guidance = guidance(", fixed = TRUE)
  expect_match(said(guided_sample(m, 10, nothing = 2)),
               "it takes mixture, n, .*, guidance, sampler")
  expect_match(said(guidance_condition(m)), "got nothing (NULL)", fixed = TRUE)
  expect_match(said(plot(observation(c(x = 1)))), "got an observation")
  for (missing in list(quote(mutual_information(m)), quote(conditional_sample(m)),
                       quote(conditional_sample(m, 10)),
                       quote(conditional_sample(m, 10, observation(1, 1))))) {
    expect_match(said(eval(missing)), "must be given")
  }
})

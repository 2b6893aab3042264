quick <- function(..., seconds = 12) {
  suppressMessages(guidance_report(..., n = 200, strength = c(0, 1, 2), evaluations = 4,
                                   key = c(1, 2), seconds = seconds))
}

# as a screen shows it
expect_screen <- function(report) {
  lines <- capture.output(print(report))
  expect_lte(length(lines), 24)
  expect_lte(max(nchar(lines)), 80)
  withr::with_options(list(width = 60), {
    expect_lte(max(nchar(capture.output(print(report)))), 60)
  })
  for (question in names(report$answers)) expect_true(question %in% lines)
  lines
}

figures <- c("classes", "samples", "mixture", "samplers", "limits", "sampled", "imputing")

test_that("a report answers its five questions, for one class and one variable too", {
  m <- gaussmix(c(.5, .5), c(-1, 1), .5, class = c("<b>", "a|b"))
  # with enough time that nothing is left out
  report <- quick(m, sampler = sampler_rk4(12), seconds = 90)
  expect_length(report$answers, 5)
  expect_identical(report$classes, c("<b>", "a|b"))
  expect_null(report$imputing)
  expect_screen(report)
  for (what in c("samples", "sampled")) expect_drawn(autoplot(report, what))
  expect_mixguide_error(autoplot(report, "imputing"), "what")
  alone <- quick(gaussmix(1, 0, 1))
  expect_match(alone$answers[[1]], "single class")
  expect_screen(alone)
  expect_drawn(autoplot(alone))
  expect_mixguide_error(guidance_report(m, strength = 1:2), "strength")
  # the other arguments go to as_gaussmix() or diffusion(), which check them
  expect_error(guidance_report(m, no_such_argument = 1), "no_such_argument",
               class = "mixguide_error")
})

test_that("a report says what is sampled, by numbers that are known otherwise", {
  m <- gaussmix(c(.5, .5), rbind(c(-1, 0), c(1, 0)), diag(2), class = c("a", "b"))
  report <- quick(m, classes = "a", sampler = sampler_rk4(40))
  rows <- report$sampled
  at <- function(law, quantity) rows[rows$law == law & rows$quantity == quantity, ]
  # the log-odds of the class are linear in x with mean 2; those of the tilt by integration
  p <- function(x) stats::plogis(-2 * x)
  class <- function(f) stats::integrate(function(x) f(x) * stats::dnorm(x, -1), -12, 12)$value
  near <- function(row, value) expect_lt(abs(row$estimate - value), 5 * row$se)
  near(at("class", "log-odds"), 2)
  near(at("class", "confidence"), class(p))
  near(at("tilt", "confidence"), class(function(x) p(x)^2) / class(p))
  near(at("tilt", "log-odds"), class(function(x) -2 * x * p(x)) / class(p))
  # which is not the law that is sampled
  expect_match(report$answers[[4]][1], "neither class nor tilt")
  # the share of draws where the class is rare, 1% at strength 0
  outside <- report$outside
  expect_lt(outside$estimate[1], .03)
  # one run for each strength, shared with the sweep
  expect_equal(at("run", "confidence")$estimate,
               report$sweep$confidence[report$sweep$strength == 1])
})

test_that("verdicts are what the tables say", {
  # far apart, the confidence cannot rise; the information between variables is known
  far <- gaussmix(c(.5, .5), rbind(c(-9, 0), c(9, 0)), matrix(c(1, .6, .6, 1), 2),
                  class = c("a", "b"))
  report <- quick(far, classes = "a", sampler = sampler_ddim(20))
  expect_match(report$answers[[1]][1], "stays near 1 (class a)", fixed = TRUE)
  expect_match(report$answers[[3]], "No single path was seen", all = FALSE)
  expect_match(report$answers[[4]], "log-odds of a", all = FALSE)
  expect_equal(report$imputing$estimate[2], .6^2, tolerance = 1e-10)
  expect_match(report$answers[[5]], "to 36% (x2) of the variance", fixed = TRUE, all = FALSE)
  # for a narrow class within a wide one the mean rises, and paths lose
  within <- gaussmix(c(.5, .5), c(0, 1), c(.05, 1), class = c("a", "b"))
  report <- quick(within, classes = "a", sampler = sampler_ddim(20))
  expect_match(report$answers[[1]][1], "rises (class a)", fixed = TRUE)
  expect_identical(report$lost$lost > 0, report$sweep$fraction_down > 0)
  expect_true(any(report$lost$lost > 0))
  expect_match(report$answers[[3]], "Single paths: up to .* lose confidence, [0<]", all = FALSE)
  # the key determines all draws
  again <- quick(within, classes = "a", sampler = sampler_ddim(20))
  drawn <- c("sampled", "outside", "lost", "limits")
  expect_identical(again[drawn], report[drawn])
  limits <- data.frame(class = "1", sampler = c("DDIM (eta = 0), 8 steps, quadratic grid", "DDPM"),
                       estimate = c(9.318, Inf))
  expect_identical(mixguide:::limit_words(list(limits = limits)),
                   paste("Mean confidence falls below that without guidance from strength 9.32",
                         "(class 1; DDIM, 8 steps); else not, to 64."))
})

test_that("three in a row have their threshold, and only they", {
  row <- function(m, w = .25) gaussmix(c(w, .5, .5 - w), c(-m, 0, m), 1, class = c("l", "m", "r"))
  d <- function(m) list(mixture = m, diffusion = diffusion(m), classes = c("l", "m", "r"))
  split <- mixguide:::report_split(d(row(3)))
  expect_identical(split$class, "m")
  expect_equal(split$ddim, split_threshold(1, 3)$ddim)
  expect_null(mixguide:::report_split(d(row(3, .2))))
  expect_null(mixguide:::report_split(d(gaussmix(c(.25, .5, .25), c(-3, 0, 3), 2))))
  expect_null(mixguide:::report_split(d(named_mixture("A1"))))
})

test_that("whatever people hold leads to a report: fits, data, fits within fits", {
  skip_if_not_installed("mclust")
  mclustBIC <- mclust::mclustBIC
  fit <- mclust::Mclust(iris[3:4], G = 2, verbose = FALSE)
  report <- quick(fit, classes = "1", sampler = sampler_rk4(30))
  expect_identical(nrow(report$points$x), 150L)
  expect_identical(report$points$label, as.character(fit$classification))
  for (what in figures) expect_drawn(autoplot(report, what))
  expect_screen(report)
  # as parsnip, tidyclust and workflows store them
  bare <- as_gaussmix(fit)
  cluster <- structure(list(spec = 1, fit = fit), class = c("_Mclust", "cluster_fit"))
  model <- structure(list(lvl = NULL, fit = fit), class = c("_x", "model_fit"))
  flow <- structure(list(pre = 1, fit = structure(list(fit = cluster), class = "stage_fit")),
                    class = "workflow")
  for (each in list(cluster, model, flow)) expect_identical(as_gaussmix(each), bare)
  points <- function(x, ...) mixguide:::report_points(x, list(...), as_gaussmix(x, ...))
  expect_identical(points(flow)$x, report$points$x)
  # incomplete rows are dropped; labels of all classes are allowed
  holes <- rbind(iris, NA)
  two <- points(Species ~ Petal.Length + Petal.Width, data = holes, na.action = na.omit)
  expect_identical(two$label, as.character(iris$Species))
  expect_identical(points(iris, class = "Species")$label, as.character(iris$Species))
  da <- mclust::MclustDA(iris[3:4], iris$Species, verbose = FALSE)
  expect_identical(points(da)$label, as.character(iris$Species))
  skip_if_not_installed("mixtools")
  set.seed(1)
  capture.output(em <- mixtools::normalmixEM(faithful$waiting, mu = c(55, 80)))
  expect_identical(nrow(points(em)$x), 272L)
})

test_that("what cannot be computed, or not in time, is said", {
  flat <- gaussmix(c(.5, .5), rbind(c(0, 0), c(2, 0)), diag(c(1, 0)), class = c("a", "b"))
  report <- quick(flat)
  expect_match(toString(report$missing), "singular")
  lines <- expect_screen(report)
  expect_match(lines, "Not computed", all = FALSE)
  late <- quick(gaussmix(c(.5, .5), diag(2), 1, class = c("a", "b")), seconds = 0)
  expect_match(toString(late$missing), "give more `seconds`")
  expect_screen(late)
})

test_that("a report of many classes and of long labels fits a screen, and makes a page", {
  long <- paste(strrep("very long ", 4), 1:5)
  m <- gaussmix(rep(1 / 5, 5), 4 * cbind(1:5, (1:5)^2 / 6), 1, class = long)
  report <- quick(m, sampler = sampler_ddim(20))
  lines <- expect_screen(report)
  # no number is cut off, however long the labels
  expect_match(grep("^  very", lines, value = TRUE), "[0-9)]$")
  expect_match(lines, "and 2 more classes", all = FALSE)
  skip_if_not_installed("rmarkdown")
  skip_if_not(rmarkdown::pandoc_available())
  file <- tempfile(fileext = ".html")
  mixguide:::report_render(report, file)
  page <- paste(readLines(file, warn = FALSE), collapse = "")
  for (question in names(report$answers)) expect_match(page, question, fixed = TRUE)
  expect_match(page, "This alone", fixed = TRUE)
  expect_false(grepl("Error in|## Error", page))
  unlink(file)
  expect_mixguide_error(guidance_report(m, file = 1), "file")
})

test_that("a report of a diffusion is about its class and by its sampler", {
  m <- gaussmix(c(.5, .5), c(-1, 1), .5, class = c("a", "b"))
  d <- diffusion(m, guidance("a", 2), sampler_ddim(10), key = 1:2)
  report <- quick(d)
  expect_identical(report$classes, "a")
  same <- quick(m, sampler = sampler_ddim(10), classes = "a")
  expect_identical(as.data.frame(report$sweep), as.data.frame(same$sweep))
  expect_identical(report$theorems, same$theorems)
  expect_identical(quick(d, classes = "b")$classes, "b")
  expect_identical(quick(diffusion(m), schedule = schedule_vp())$diffusion$schedule, schedule_vp())
  expect_mixguide_error(guidance_report(d, guidance = "a"), "...")
})

test_that("a report on some of the classes does not say that it looked at all", {
  report <- list(mixture = named_mixture("D3"))
  classes <- present_classes(report$mixture)
  expect_identical(by_verdict(classes[1:2], c("rises", "rises"), report), "rises (classes 1, 2)")
  expect_identical(by_verdict(classes, rep("rises", length(classes)), report),
                   "rises (all classes)")
})

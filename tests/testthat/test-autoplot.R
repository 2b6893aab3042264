# Oracles: ggplot2::layer_data() returns the drawn data; densities come from dnorm(), probabilities
# from Monte Carlo with draws that the plot did not use.

line <- gaussmix(c(.2, .5, .3), c(-3, 0, 2), c(.2, 1, .05), class = c("a", "b", "a"))
plane <- gaussmix(c(.5, .3, .2), cbind(x = c(-2, 2, 2), y = c(0, -1, 1)),
                  list(1, c(.2, .4), matrix(c(.5, .3, .3, .5), 2)), class = c("a", "b", "b"))
space <- gaussmix(c(.4, .6), rbind(rep(0, 4), 1:4), list(diag(4) + .5, diag(4:1)))
masses <- gaussmix(c(.3, .7), c(-1, 1), 0, class = c("a", "b"))

layer_with <- function(plot, columns) {
  built <- lapply(seq_along(plot$layers), function(i) ggplot2::layer_data(plot, i))
  built[vapply(built, function(data) all(columns %in% names(data)), NA)]
}

test_that("plot() draws what autoplot() returns and gives its object back invisibly", {
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  run <- guided_sample(line, 10, guidance("a"), sampler_ddim(3))
  sweep <- guidance_sweep(line, guidance = "a", strength = 0:1, n = 10, sampler = sampler_ddim(3))
  for (x in list(line, run, sweep, schedule_ou())) {
    expect_identical(expect_invisible(plot(x)), x)
  }
})

test_that("mixtures of any dimension, one component and many classes are drawn", {
  for (mixture in list(line, plane, space, masses, gaussmix(1, 0, 1), gaussmix(1, t(1:2), 1),
                       gaussmix(1, t(1:3), 0), gaussmix(c(1, 0), c(0, 5), c(1, 0)),
                       gaussmix(rep(1, 9), matrix(1:18, 9), 1),
                       gaussmix(rep(1, 40), matrix(sin(1:80), 40), .1))) {
    expect_drawn(autoplot(mixture))
  }
  expect_drawn(autoplot(masses, t = .2, schedule = schedule_vp()))
})

test_that("in one dimension the curves are the classes' weighted densities and their sum", {
  plot <- expect_drawn(autoplot(line))
  ribbon <- ggplot2::layer_data(plot, 1)
  lines <- layer_with(plot, "flipped_aes")
  single <- function(data) "y" %in% names(data) && length(unique(data$group)) == 1
  whole <- Filter(single, lines)[[1]]
  b <- ribbon[ribbon$group == 2, ]
  expect_equal(b$ymax, .5 * dnorm(b$x), tolerance = 1e-10)
  expect_equal(whole$y, dgaussmix(whole$x, line), tolerance = 1e-10)
  # the narrowest peak is not missed
  expect_gt(max(whole$y), .999 * dgaussmix(2, line))
  narrow <- ggplot2::layer_data(autoplot(gaussmix(c(.5, .5), c(0, 7), c(1, 1e-10))), 1)
  expect_equal(max(narrow$ymax), .5 * dnorm(0) / 1e-5, tolerance = .01)
})

test_that("the lines of a class with one component are ellipses of the stated content", {
  plot <- expect_drawn(autoplot(space, variables = c(2, 4)))
  path <- layer_with(plot, "linetype")[[1]]
  shown <- c(2, 4)
  for (k in 1:2) {
    points <- path[path$colour == unique(path$colour)[k], c("x", "y")]
    distance <- mahalanobis(points, space$means[k, shown], component_cov(space, k)[shown, shown])
    expect_equal(sort(unique(round(pchisq(distance, 2), 10))), c(.5, .95))
  }
})

test_that("the lines of a class with several components hold 50% and 95% of it", {
  withr::local_seed(1)
  many <- gaussmix(runif(30), matrix(rnorm(60), 30), as.list(runif(30, .01, .5)),
                   class = rep("a", 30))
  for (law in list(keep_components(plane, plane$class == "b"), many)) {
    x <- rgaussmix(4e5, law)
    log_density <- dgaussmix(x, law, log = TRUE)
    levels <- density_levels(law, c(.5, .95))
    # four standard errors are .003
    expect_equal(c(mean(log_density > levels[1]), mean(log_density > levels[2])), c(.5, .95),
                 tolerance = .005)
    lines <- contours(law, c(.5, .95))
    error <- vapply(levels, function(level) {
      abs(dgaussmix(as.matrix(lines[c("x", "y")]), law, log = TRUE) - level)
    }, numeric(nrow(lines)))
    expect_lt(max(pmin(error[, 1], error[, 2])), .02)
  }
})

test_that("points are drawn where they are, labelled or not, and 1 in k of too many", {
  withr::local_seed(2)
  x <- rgaussmix(100, plane)
  drawn <- ggplot2::layer_data(expect_drawn(autoplot(plane, data = x)), 1)
  expect_equal(as.matrix(drawn[c("x", "y")]), x[, ], ignore_attr = TRUE)
  expect_equal(as.integer(factor(drawn$colour, class_palette(2))), as.integer(attr(x, "label")))
  drawn <- ggplot2::layer_data(expect_drawn(autoplot(plane, data = as.data.frame(x[, ]))), 1)
  expect_length(unique(drawn$colour), 1)
  seed <- .Random.seed
  plot <- expect_drawn(autoplot(plane, data = x, max_points = 30))
  expect_identical(.Random.seed, seed)
  expect_equal(nrow(ggplot2::layer_data(plot, 1)), 25)
  expect_match(plot$labels$caption, "25 of 100 points")
  expect_drawn(autoplot(space, data = rgaussmix(50, space)))
  expect_drawn(autoplot(plane, data = x[0, ], label = character()))
})

test_that("a histogram of points has area 1 and compares with the weighted densities", {
  withr::local_seed(3)
  x <- rgaussmix(1e4, line)
  bars <- ggplot2::layer_data(expect_drawn(autoplot(line, data = x)), 1)
  area <- as.vector(with(bars, tapply((xmax - xmin) * ymax, fill, sum)))
  expect_equal(sum(area), 1)
  expect_equal(sort(area), as.vector(sort(table(attr(x, "label")))) / 1e4)
  expect_drawn(autoplot(line, data = x[0]))
  for (x in list(rep(1, 5), rep(0, 5), 1 + 1e-16 * 1:5, 1e-6 * 1:5)) {
    expect_equal(sum(with(bars_of(x, .2), (to - from) * density)), 1)
  }
  expect_gt(nrow(bars_of(1e-6 * 1:5, .2)), 3)
  # the value of the variable that is shown
  y <- cbind(x = rnorm(50), y = rnorm(50, 9))
  bars <- autoplot(plane, data = y, variables = "y")$layers[[1]]$data
  expect_equal(range(bars$from, bars$to), range(y[, "y"]), tolerance = .1)
})

test_that("samples are drawn in any dimension, with and without guidance, paths and particles", {
  withr::local_seed(4)
  for (mixture in list(line, plane, space, masses)) {
    guided <- guidance(mixture$class[1], 1)
    for (run in list(guided_sample(mixture, 20, NULL, sampler_ddpm(5), trajectory = TRUE),
                     guided_sample(mixture, 0, guided, sampler_ddim(5), trajectory = TRUE))) {
      expect_drawn(autoplot(run))
      expect_drawn(autoplot(run, paths = 0))
    }
  }
  # laws of point masses have no curve
  points <- gaussmix(c(.3, .7), rbind(c(x = -1, y = 0), c(1, 2)), 0, class = c("a", "b"))
  for (mixture in list(masses, points)) {
    for (n in c(0, 20)) {
      expect_drawn(autoplot(guided_sample(mixture, n, guidance("a", 1), sampler_ddim(5))))
    }
    expect_drawn(autoplot(guided_summary(mixture, 50, guidance("a", 1), sampler_ddim(5))))
  }
  expect_drawn(autoplot(guided_sample(line, 1, guidance("a"), sampler_ddpm(5))))
  expect_drawn(autoplot(guided_sample(plane, 5, guidance(c("a", "b")), sampler_ddpm(5))))
})

test_that("particles stand where they are and are coloured by their confidence", {
  withr::local_seed(5)
  run <- guided_sample(plane, 2000, guidance("b", -1), sampler_ddpm(50))
  plot <- expect_drawn(autoplot(run, max_points = 500))
  points <- layer_with(plot, "shape")[[1]]
  expect_equal(as.matrix(points[c("x", "y")]), run$x[4 * 1:500, ], ignore_attr = TRUE)
  # from vermilion (unsure) to blue
  red <- grDevices::col2rgb(points$colour)["red", ]
  confidence <- run$confidence[4 * 1:500]
  expect_true(any(confidence < .3))
  expect_gt(min(red[confidence < .3]), 200)
  expect_lt(max(red[confidence > .8]), 90)
  expect_match(plot$labels$caption, "500 of 2,000 particles")
  expect_match(plot$labels$title, "guided towards b")
})

test_that("the histogram of a sample has the sample's shares and mean confidences", {
  withr::local_seed(6)
  run <- guided_sample(line, 3000, guidance("a", 0), sampler_heun(60))
  plot <- expect_drawn(autoplot(run))
  bars <- plot$layers[[1]]$data
  width <- bars$to - bars$from
  expect_equal(sum(width * bars$density), 1)
  expect_equal(sum(width * bars$density * bars$value), mean(run$confidence))
  lines <- ggplot2::layer_data(plot, 2)
  target <- lines[lines$linetype == "solid", ]
  expect_equal(target$y, .4 * dnorm(target$x, -3, sqrt(.2)) + .6 * dnorm(target$x, 2, sqrt(.05)),
               tolerance = 1e-10)
  # weights of a quadrature, when the sample has them
  run$weights <- rep(c(2, 0) / 3000, 1500)
  bars <- autoplot(run)$layers[[1]]$data
  expect_equal(sum((bars$to - bars$from) * bars$density * bars$value),
               mean(run$confidence[c(TRUE, FALSE)]))
})

test_that("paths run over time to the particles, and the shading is the exact law", {
  withr::local_seed(7)
  run <- guided_sample(line, 100, guidance("b", 1), sampler_heun(20), trajectory = TRUE)
  plot <- expect_drawn(autoplot(run, paths = 10))
  paths <- ggplot2::layer_data(plot, 2)
  expect_length(unique(paths$group), 10)
  one <- plot$layers[[2]]$data
  one <- one[one$.particle == 20, ]
  expect_equal(one$.t, run$times)
  expect_equal(one$.x, run$trajectory[, 20, 1], ignore_attr = TRUE)
  shading <- plot$layers[[1]]$data
  early <- shading[shading$t == min(shading$t), ]
  expect_equal(early$density / max(early$density), {
    density <- dnorm(early$x, 0, sqrt(exp(-2 * early$t) + 1 - exp(-2 * early$t)))
    density / max(density)
  }, tolerance = 1e-10)
})

test_that("particles that overflowed are left out and counted", {
  withr::local_seed(8)
  run <- guided_sample(plane, 20, guidance("a"), sampler_ddpm(5))
  run$x[3, 1] <- Inf
  run$x[4, ] <- NaN
  plot <- expect_drawn(autoplot(run))
  expect_equal(nrow(layer_with(plot, "shape")[[1]]), 18)
  expect_match(plot$labels$caption, "2 particles overflowed")
})

test_that("a sweep has bars of two standard errors and its baseline", {
  withr::local_seed(9)
  sweep <- guidance_sweep(plane, guidance = "b", strength = c(0, .5, 32), n = 300,
                          sampler = sampler_heun(20))
  plot <- expect_drawn(autoplot(sweep))
  bars <- layer_with(plot, c("ymin", "ymax"))[[1]]
  confidence <- bars[bars$PANEL == 1, ]
  expect_equal(confidence$ymax - confidence$ymin, 4 * sweep$confidence_se)
  expect_equal((confidence$ymax + confidence$ymin) / 2, sweep$confidence)
  expect_equal(confidence$x, asinh(sweep$strength))
  gain <- bars[bars$PANEL == 2, ]
  expect_equal(gain$ymax - gain$ymin, 4 * sweep$gain_se[-1])
  down <- bars[bars$PANEL == 4, ]
  p <- sweep$fraction_down[sweep$fraction_down > 0 & sweep$fraction_down < 1]
  expect_equal(down$ymax - down$ymin, 4 * sqrt(p * (1 - p) / 299))
  baseline <- layer_with(plot, "yintercept")[[1]]
  expect_equal(baseline$yintercept, c(sweep$confidence[1], 0, sweep$entropy[1], 0))
})

test_that("exact, stochastic, single and incomplete sweeps are drawn", {
  strengths <- c(0, .5, 1, 2, 4, 8, 16, 32, 1000)
  exact <- guidance_sweep(line, guidance = "a", strength = strengths, n = 50,
                          sampler = sampler_ddim(20))
  plot <- expect_drawn(autoplot(exact))
  expect_length(Filter(nrow, layer_with(plot, c("ymin", "ymax"))), 0)
  expect_match(plot$labels$caption, "quadrature")
  stochastic <- guidance_sweep(plane, guidance = "a", strength = c(1, 0, -.5), n = 50,
                               sampler = sampler_ddpm(5))
  panels <- ggplot2::layer_data(expect_drawn(autoplot(stochastic)), 1)
  expect_length(unique(panels$PANEL), 3)
  expect_drawn(autoplot(guidance_sweep(plane, guidance = "a", strength = 1, n = 5,
                                       sampler = sampler_ddim(5))))
  attr(exact, "setup") <- NULL
  expect_drawn(autoplot(exact))
})

test_that("a schedule's curves are a and b", {
  for (schedule in list(schedule_ou(), schedule_vp(), schedule_ve(), schedule_cosine(),
                        schedule_flow(), schedule_subvp(), schedule_etc(50))) {
    plot <- expect_drawn(autoplot(schedule))
    curves <- ggplot2::layer_data(plot, 1)
    expect_equal(curves$y[curves$linetype == "solid"],
                 schedule$a(curves$x[curves$linetype == "solid"]))
    expect_equal(max(curves$y[curves$linetype != "solid"]), sqrt(schedule$b2(schedule$horizon)))
  }
})

test_that("bad arguments are named", {
  run <- guided_sample(plane, 3, guidance("a"), sampler_ddim(3), trajectory = TRUE)
  expect_error(autoplot(plane, data = "a"), "`data`", class = "mixguide_error")
  expect_error(autoplot(plane, data = diag(2), label = "a"), "`label`", class = "mixguide_error")
  expect_error(autoplot(plane, variables = "z"), "`variables`", class = "mixguide_error")
  sum <- observation(1, rbind(c(1, 1)))
  expect_error(autoplot(plane, variables = sum), "`variables`", class = "mixguide_error")
  expect_error(autoplot(plane, t = -1), "`t`", class = "mixguide_error")
  expect_error(autoplot(plane, schedule = 1), "`schedule`", class = "mixguide_error")
  expect_error(autoplot(run, max_points = 0), "`max_points`", class = "mixguide_error")
  expect_error(autoplot(run, paths = -1), "`paths`", class = "mixguide_error")
  expect_error(autoplot(run, variables = 3), "`variables`", class = "mixguide_error")
})

many_classes <- function(K) {
  gaussmix(rep(1, K), cbind(x = 3 * cos(1:K), y = 3 * sin(1:K)), .01, class = paste("class", 1:K))
}

test_that("axes have one scale only if neither would be a line", {
  scaled <- function(y) {
    m <- gaussmix(c(.5, .5), rbind(c(0, 0), c(1, y)), list(c(1, y^2), c(2, y^2)))
    law <- guided_law(m, sampler = sampler_heun(10))
    fixed <- function(plot) isTRUE(plot$coordinates$ratio == 1)
    c(fixed(expect_drawn(autoplot(law))), fixed(expect_drawn(autoplot(m))))
  }
  expect_identical(scaled(1), c(TRUE, TRUE))
  expect_identical(scaled(1e6), c(FALSE, FALSE))
})

test_that("classes that are drawn as one are said to be", {
  m <- many_classes(15)
  x <- rgaussmix(60, m)
  expect_match(expect_drawn(autoplot(m, data = x))$labels$subtitle, "15 classes, too many")
  expect_match(expect_drawn(autoplot(marginal(m, 1)))$labels$subtitle, "15 classes, too many")
  run <- suppressWarnings(guided_sample(m, 30, guidance("class 3", 1)))
  expect_match(expect_drawn(autoplot(run))$labels$subtitle,
               "class class 3\\s+and\\s+of\\s+the\\s+14\\s+others")
  few <- suppressWarnings(guided_sample(many_classes(5), 30, guidance("class 3", 1)))
  expect_match(autoplot(few)$labels$subtitle, "95% of a class")
})

test_that("the lines of a sweep can be told apart", {
  sweep <- function(K) suppressWarnings(guidance_sweep(many_classes(K), strength = c(0, 1), n = 40))
  plot <- expect_drawn(autoplot(sweep(9)))
  of_lines <- vapply(plot$layers, function(layer) inherits(layer$geom, "GeomLine"), NA)
  lines <- ggplot2::layer_data(plot, which(of_lines))
  expect_identical(nrow(unique(lines[c("colour", "linetype")])), 9L)
  # more runs: a panel each
  table <- sweep(14)
  plot <- expect_drawn(autoplot(table, quantity = "entropy"))
  expect_identical(nrow(ggplot2::ggplot_build(plot)$layout$layout), 14L)
  expect_setequal(ggplot2::layer_data(plot, 2)$y, table$entropy)
})

test_that("more classes keep the colours of the first, and have other ones", {
  for (n in 1:12) {
    expect_identical(class_palette(n), class_palette(12)[1:n])
    expect_length(unique(class_palette(n)), n)
  }
  drawn <- ggplot2::layer_data(autoplot(many_classes(12)), 1)
  expect_setequal(drawn$colour, class_palette(12))
})

test_that("long names of classes are wrapped", {
  expect_identical(wrapped(c("short", "a  b")), c("short", "a  b"))
  long <- paste("a very long class name that nobody would use", c("but", strrep("x", 60)))
  lines <- strsplit(wrapped(long), "\n")
  expect_lte(max(nchar(unlist(lines))), 25)
  expect_identical(gsub("[ \n]", "", wrapped(long)), gsub(" ", "", long))
  m <- gaussmix(c(.5, .5), rbind(c(0, 0), c(2, 2)), 1, class = long)
  expect_drawn(autoplot(m))
  run <- guided_sample(m, 20, guidance(long[1], 1))
  plot <- expect_drawn(autoplot(run))
  titles <- unlist(lapply(plot$scales$scales, function(scale) {
    if (is.character(scale$name)) strsplit(scale$name, "\n")
  }))
  expect_lte(max(nchar(titles)), 25)
})

test_that("points of three classes are ticks below one histogram", {
  m <- gaussmix(rep(1, 3), c(0, 1, 3), .2, class = c("a", "b", "c"))
  x <- rgaussmix(200, m)
  plot <- expect_drawn(autoplot(m, data = x))
  bars <- ggplot2::layer_data(plot, 1)
  expect_equal(sum((bars$xmax - bars$xmin) * bars$ymax), 1)
  ticks <- ggplot2::layer_data(plot, 2)
  expect_identical(nrow(ticks), 200L)
  expect_lte(max(ticks$yend), 0)
  label <- as.character(attr(x, "label"))
  expect_identical(nrow(unique(data.frame(ticks$y, ticks$colour, label))), 3L)
})

test_that("labels of a panel keep away from the next panel", {
  for (limits in list(c(0, 10), c(2e9, 4.5e9), c(-.3, .1), c(4.1e-9, 8.2e-9))) {
    at <- (inner_breaks(limits) - limits[1]) / diff(limits)
    expect_gte(length(at), 2)
    expect_true(all(at > .06 & at < .94))
  }
  expect_identical(inner_breaks(c(1, 1)), 1)
})

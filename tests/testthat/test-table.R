# Results are tables: parts of them, and several bound together, are data frames.

m <- gaussmix(c(.4, .6), c(-1, 1.5), .5, class = c("a", "b"))
tables <- function() {
  list(guidance_sweep(m, guidance = "a", strength = 0:2, n = 50),
       guided_error(m, sampler = sampler_heun(10)),
       information(m, c(.1, 1)), lipschitz(m, c(.1, 1)), information(m, c(.1, 1),
                                                                     quantity = "second_moment"),
       path_kl(m, sampler = sampler_exponential(10, stochastic = TRUE)),
       error_budget(m, sampler = sampler_exponential(10, stochastic = TRUE), measure = FALSE),
       guidance_sweep(m, guidance = "a", steps = c(5, 10), strength = 0:1, n = 50),
       step_condition(m, guidance("a", 2)),
       guided_limit(m, "a", sampler = sampler_em(8, "uniform")),
       gain_bound(m, guidance = "a", strength = 1, n = 3),
       guidance_identities(m, 100, "a", 1, sampler_em(10)),
       guidance_identities(m, 50, "a", 1, sampler_rk4(50)), split_threshold(20, 3, .1),
       convergence_order(m, samplers = sampler_heun, steps = c(5, 10)))
}

test_that("a whole table prints with its head, a part as a data frame with all columns", {
  for (x in suppressWarnings(tables())) {
    class <- class(x)[1]
    expect_s3_class(x, c(class, "mixguide_table", "data.frame"), exact = TRUE)
    expect_output(print(x), paste0("<", class_word(x), ">"), fixed = TRUE)
    expect_identical(class(as.data.frame(x)), "data.frame")
    expect_named(attributes(as.data.frame(x)), c("names", "row.names", "class"))
    parts <- list(x[1, ], x[1:2], x[rev(seq_len(nrow(x))), ], utils::head(x, 1), subset(x, TRUE),
                  rbind(x, x), rbind(as.data.frame(x), x)[1, ])
    for (part in parts) {
      expect_identical(class(part), "data.frame", info = class)
      expect_named(attributes(part), c("names", "row.names", "class"), ignore.order = TRUE)
    }
    expect_identical(rbind(x, x, x)[[1]], rep(x[[1]], 3))
    expect_identical(x[, 1], x[[1]])
    # changing a cell leaves the others
    expect_identical(class(replace(x, 1, x[[1]])), class(x))
  }
})

test_that("results bound by dplyr are plain, with the column of their names", {
  skip_if_not_installed("dplyr")
  x <- guidance_sweep(m, guidance = "a", strength = 0:1, n = 50)
  both <- dplyr::bind_rows(one = x, two = x, .id = "sampler")
  expect_identical(class(both), "data.frame")
  expect_identical(both$sampler, rep(c("one", "two"), each = 2))
  expect_identical(class(dplyr::filter(x, strength > 0)), "data.frame")
})

test_that("results bound by vctrs are plain too", {
  skip_if_not_installed("vctrs")
  x <- guided_error(m, sampler = sampler_heun(10))
  expect_identical(vctrs::vec_rbind(x, x), rbind(x, x))
})

test_that("a table without a picture of its own shows its estimates", {
  x <- guided_error(m, sampler = sampler_heun(10))
  picture <- expect_drawn(autoplot(x))
  expect_identical(ggplot2::layer_data(picture)$x, x$estimate)
  # a row of several numbers: one below the other
  one <- split_threshold(20, 3, .1)
  expect_identical(ggplot2::layer_data(expect_drawn(autoplot(one)))$x, tidy(one)$estimate)
  # rows that differ in a number: along it, a panel for each quantity, a line for each other key
  for (n in list(NULL, 100)) {
    sde <- guidance_identities(m, n, "a", 0:2, sampler_em(10), key = 1:2)
    drawn <- ggplot2::layer_data(expect_drawn(autoplot(sde)), 2)
    long <- tidy(sde)
    reach <- 2 * ifelse(is.na(long$se), 0, long$se)
    expect_setequal(drawn$x, 0:2)
    expect_equal(sort(drawn$y), sort(long$estimate))
    expect_equal(sort(drawn$ymax), sort(long$estimate + reach))
    expect_length(unique(drawn$PANEL), 6)
    # no moment of 1/q is known of draws with a heavy tail
    expect_length(unique(drawn$colour), if (is.null(n)) 2 else 1)
  }
  # rows that differ in words alone
  several <- moments(gaussmix(1, cbind(one = 1, two = 2), .5))
  drawn <- ggplot2::layer_data(expect_drawn(autoplot(several)))
  expect_equal(drawn$x, c(1, 2, rep(sqrt(.5), 2)))
  none <- new_table(data.frame(t = 1, value = NA_real_), "none", "", keys = "t")
  expect_mixguide_error(autoplot(none), "object")
})

test_that("a table with other columns or rows is a plain data frame, which prints as one", {
  for (x in suppressWarnings(tables())) {
    info <- class(x)[1]
    last <- names(x)[ncol(x)]
    number <- names(x)[vapply(x, is.numeric, NA)][1]
    changes <- list(
      removed = function(x) {
        x[[last]] <- NULL
        x
      }, removed_by_name = function(x) {
        x$method <- NULL
        x[[number]] <- NULL
        x
      }, added = function(x) {
        x$more <- 1
        x
      }, added_in_place = function(x) {
        x[["more"]] <- 1
        x
      }, added_by_bracket = function(x) {
        x["more"] <- 1
        x
      }, renamed = function(x) {
        names(x)[match(number, names(x))] <- "eta"
        x
      }, renamed_as_matrix = function(x) {
        colnames(x)[1] <- "eta"
        x
      }, longer = function(x) {
        x[nrow(x) + 1, ] <- x[1, ]
        x
      }, transformed = function(x) transform(x, more = 1))
    for (change in changes) {
      part <- change(x)
      expect_identical(class(part), "data.frame", info = info)
      expect_named(attributes(part), c("names", "row.names", "class"), ignore.order = TRUE)
      expect_output(print(part), names(part)[1], fixed = TRUE)
    }
    # other values leave the experiment
    same <- x
    same[[number]] <- rev(same[[number]])
    same[1, number] <- same[[number]][1]
    names(same) <- names(x)
    expect_mapequal(attributes(same), attributes(x))
  }
})

test_that("every table has a long form of the same columns, and one line", {
  methods <- c("exact", "quadrature", "Monte Carlo", "bound", "unknown")
  others <- list(confidence(m), law_distance(tilted_law(m, "a"), m))
  for (x in c(suppressWarnings(tables()), others)) {
    class <- class(x)[1]
    long <- tidy(x)
    expect_identical(class(long), "data.frame", info = class)
    expect_identical(names(long)[1], "quantity", info = class)
    expect_identical(names(long)[match("estimate", names(long)) + 0:3],
                     c("estimate", "se", "method", "note"), info = class)
    # no column is lost
    short <- sub("_se$", "", names(x))
    expect_identical(setdiff(short, c(names(long), long$quantity)), character(), info = class)
    expect_true(all(long$method %in% methods), info = class)
    # an unknown row has no number, and a number without draws no sampling error
    expect_false(anyNA(long$estimate[long$method == "exact"]), info = class)
    expect_true(all(long$se[long$method == "exact"] %in% 0), info = class)
    expect_false(anyDuplicated(long[key_columns(long)]) > 0, info = class)
    if (all(ESTIMATE %in% names(x))) expect_equal(sort(long$estimate), sort(x$estimate))
    row <- glance(x)
    expect_identical(c(nrow(row), row$rows), c(1L, nrow(x)), info = class)
    expect_mixguide_error(augment(x), "x")
    expect_identical(class(summary(x)), "data.frame", info = class)
  }
})

test_that("a note of a sweep is of its own quantities", {
  of <- function(x, name) unique(tidy(x)$note[tidy(x)$quantity == name])
  rows <- data.frame(strength = 0:1, gain = 1, other = 2, method = "exact",
                     note = c("about gain; about all", "about all"))
  x <- new_table(rows, "mixguide_estimates", "", keys = "strength",
                 noted = list("about gain" = "gain"))
  expect_identical(tidy(x)$note, c(rows$note, rep("about all", 2)))
  three <- gaussmix(rep(1, 3), rbind(c(1, 0), c(-1, 0), c(0, 1.5)), .5, class = c("a", "b", "c"))
  sweep <- guidance_sweep(three, guidance = "a", strength = c(0, .1), n = 1024,
                          sampler = sampler_ddim(8), key = 1:2)
  expect_match(sweep$note, "^confidence by")
  expect_match(sweep$note, "; no mean_inverse_confidence, for its tail is heavy$")
  expect_identical(of(sweep, "confidence"), sub("; .*", "", sweep$note))
  expect_identical(of(sweep, "mean_inverse_confidence"), sub(".*; ", "", sweep$note[1]))
  expect_identical(of(sweep, "entropy"), "")
  steps <- step_condition(m, guidance("a", 2))
  expect_identical(tidy(steps)$note, c(steps$note, rep("", 4)))
})

test_that("estimates have one of five methods, and rows are found by name or not at all", {
  expect_error(estimate_row(1, 0, "heavy tail"), "internal error: no such method")
  expect_named(estimate_row(1, 0, "exact"), ESTIMATE)
  x <- guided_error(m, sampler = sampler_heun(10))
  expect_identical(row_of(x, "kl")$estimate, x$estimate[x$quantity == "kl"])
  expect_identical(class(row_of(x, "kl")), "data.frame")
  expect_error(row_of(x, "KL"), "0 rows of quantity")
  expect_error(row_of(rbind(x, x), "kl"), "2 rows of quantity")
  expect_identical(joint_method(c("exact", "Monte Carlo", "quadrature")), "Monte Carlo")
})

test_that("an estimate is printed to the digits that its standard error leaves", {
  drawn <- function(estimate, se) show_estimate(estimate, se, "Monte Carlo")
  expect_identical(drawn(c(.9993123, 12.3456, -1.5, 1.2345e-8, 123456),
                         c(1.2e-4, .234, .5, 3e-10, 90)),
                   c("0.9993 (0.0001)", "12.3 (0.2)", "-1.5 (0.5)", "1.23e-08 (3e-10)",
                     "123456 (90)"))
  expect_identical(drawn(1 - 2.19e-9, 8e-11), "1 - 2.19e-09 (8e-11)")
  # an error that rounds up to the next power of ten
  expect_identical(drawn(.5, .0097), "0.50 (0.01)")
  expect_identical(drawn(1, c(0, NA)), c("1", "1 (error unknown)"))
  expect_identical(show_estimate(c(pi, NA, 2), c(0, NA, .1), c("exact", "unknown", "quadrature")),
                   c("3.142", "NA", "2.0 (0.1)"))
  # an error without draws is not printed below the digits shown; rounding prints as 0 or < 1e-15
  expect_identical(show_estimate(c(.5, .5), c(1e-9, 1e-3), "quadrature"), c("0.5", "0.500 (0.001)"))
  expect_identical(show_estimate(c(3e-17, -3e-17, 0, 2e-14), 0, "exact", of_one = TRUE),
                   c("< 1e-15", "0", "0", "2e-14"))
  # the printed number is the estimate to within its error, for all numbers
  withr::local_seed(7)
  estimate <- stats::rnorm(200) * 10^stats::runif(200, -9, 9)
  se <- abs(estimate) * 10^stats::runif(200, -8, 1)
  words <- drawn(estimate, se)
  shown <- as.numeric(sub(" .*", "", words))
  expect_true(all(abs(shown - estimate) <= se))
  error <- as.numeric(sub(".*\\((.*)\\)", "\\1", words))
  expect_true(all(abs(error / se - 1) <= .5))
})

test_that("every piece of wide rows starts with what a row is, and none is wider than the screen", {
  withr::local_seed(1)
  for (trial in 1:60) {
    n <- sample(4, 1)
    d <- sample(12, 1)
    word <- function(size) strrep("w", sample(size, 1))
    keys <- data.frame(key = replicate(n, word(30)), of = seq_len(n))
    rows <- cbind(keys, setNames(as.data.frame(matrix(round(rnorm(n * d), 3), n)),
                                 paste0("v", seq_len(d), strrep("x", sample(9, d, TRUE)))))
    rows$text <- replicate(n, word(90))
    for (width in c(40, 60, 80)) {
      withr::local_options(width = width)
      lines <- capture.output(print_rows(rows, 4, keys = names(keys)))
      expect_lte(max(nchar(lines)), width)
      # whole pieces: a head and n rows, each starting with the keys or its number
      expect_identical(length(lines) %% (n + 1), 0)
      blocks <- split(lines, (seq_along(lines) - 1) %/% (n + 1))
      start <- vapply(blocks, function(block) substr(block[2], 1, 2), "")
      expect_length(unique(start), 1)
      # every number occurs once, in any pieces
      cells <- unlist(strsplit(trimws(lines), " +"))
      for (j in 2 + seq_len(d)) expect_identical(sum(cells == names(rows)[j]), 1L)
    }
  }
})

test_that("a sweep of several classes that is too wide prints class by class", {
  m <- gaussmix(rep(1 / 3, 3), rbind(c(0, 0), c(3, 0), c(0, 3)), .5, class = c("a", "b", "c"))
  sweep <- guidance_sweep(m, strength = c(0, 2), n = 64, key = 1:2,
                          sampler = list(sampler_ddim(20), sampler_em(20)))
  withr::local_options(width = 60)
  lines <- capture.output(print(sweep))
  heads <- grep("^ sampler +strength", lines)
  expect_gt(length(heads), 3)
  expect_identical(length(heads) %% 3L, 0L)
  expect_length(grep("^ towards [abc]; the class itself", lines), 3)
  # a row starts with its keys in every piece
  expect_length(grep("^ DDIM +[02] ", lines), 2 * length(heads))
})

test_that("a head means the same divergence in every print", {
  expect_named(DIVERGENCE_HEADS, names(DIVERGENCES))
  expect_identical(unname(COMPARED[c(FROM_CLASS, FROM_TILT)]),
                   paste(DIVERGENCE_HEADS[FROM_CLASS], rep(c("class", "tilt"), each = 2)))
  M2 <- named_mixture("M2")
  judged <- judge_samples(rgaussmix(200, M2), M2, directions = 20, key = 1:2)
  expect_identical(attr(judged, "look")$shown[["reverse KL"]], "kl_reverse")
  expect_output(print(judged), "reverse KL")
  budget <- error_budget(m, sampler = sampler_exponential(10, stochastic = TRUE), measure = FALSE)
  expect_identical(attr(budget, "look")$labels[["kl"]], "KL")
  expect_output(print(budget), "KL: KL(target || output), TV: total variation", fixed = TRUE)
})

#' A benchmark of inverse problems with exact answers
#'
#' Runs [zero_shot] methods on the mixture problem by which the literature compares particle methods
#' for linear inverse problems, over dimensions and random instances. It returns the distance to the
#' exact conditional law, the floor of this distance, and the cost. `inverse_problem()` makes one
#' instance.
#'
#' @details
#' **The problem.** 25 components have means `(8 i, 8 j, 8 i, 8 j, ...)`, `i, j = -2, ..., 2`, unit
#' covariance and weights in proportion to draws of chi-squared with 1 degree of freedom. `H` is a
#' `d_y` x `d_x` matrix of standard normals, whose singular values are replaced by sorted uniform
#' numbers on (0, 1). The standard deviation of the noise is a uniform number times the largest of
#' them. `x` is drawn from the mixture, and `y = H x + noise`. All random numbers come from the
#' package's own generator and the seed.
#'
#' **The run.** Each instance and method is one unit of work. Units run in this process, or on the
#' workers of a plan of package future (see [scaling]). `folder` keeps finished units; the same
#' call, or one with more seeds, dimensions or methods, reads them from there. Within an instance
#' all methods meet the same noise. A unit that fails has `NA`s, and its message in column `error`;
#' it is not kept.
#'
#' **Published tables** differ in more than the methods. Numbers compare only if these are equal:
#' * *schedule and steps*: here [schedule_etc()] down to `t = 1`; others by `schedule` and
#'   `sampler`;
#' * *metric*: here the root of the mean, over `directions`, of squared Wasserstein distances to the
#'   exact conditional law; others by `p` and `maximum`;
#' * *particles*: here each of `n_sets` draws has its own set, which returns one particle, so that
#'   draws are independent; authors take the particles of one large set as the sample, as
#'   [conditional_sample()] does with `cloud = TRUE`;
#' * *resampling*: MCGdiff's own is `zero_shot_mcgdiff(resampling = "every step")`; for small sets
#'   it is far worse than the default, resampling on need;
#' * *DPS*: the authors' `zeta = 1` is `zero_shot_dps(2)`;
#' * *DDRM*: the authors' start is `zero_shot_ddrm(informed = TRUE)`.
#'
#' No method is tuned.
#'
#' @param d_x,d_y Dimensions of `x` (even numbers) and of `y`: one each for `inverse_problem()`, any
#'   number for `benchmark_inverse()`, which takes all pairs with `d_y <= d_x`.
#' @param seed,seeds Whole numbers >= 0 that determine the instances.
#' @param methods A list of [zero_shot] methods; names, if any, appear in the result. `NULL`: all,
#'   with their default settings and 32 particles.
#' @param n Number of draws of each method.
#' @param n_sets Number of draws of each particle method, which runs a set of particles per draw.
#' @param steps,c,delta Settings of [schedule_etc()].
#' @param directions Directions of the sliced Wasserstein distance.
#' @param schedule,sampler `NULL`: `schedule_etc(steps, c, delta)`, and the default of
#'   [conditional_sample()]; or others.
#' @param p,maximum Order of the Wasserstein distance, and whether to take the largest over the
#'   directions instead of the mean of its powers. Values other than the default add columns
#'   `distance` and `distance_floor`, which `summary()`, `print()` and `plot()` then show.
#' @param folder `NULL`, or the name of a folder for finished units.
#' @return `inverse_problem()`: a list of class `inverse_problem` with `mixture`, `observation`, `x`
#'   (the truth) and `seed`.
#'
#'   `benchmark_inverse()`: a data frame of class `benchmark_inverse` with a row per instance and
#'   method, and columns `d_x`, `d_y`, `seed`, those of [judge_samples()] (`sampler` is the method's
#'   name), and `error`. `summary()`: a data frame with a row per pair of dimensions and method:
#'   `sampler`; `instances`; `sw2` (or `distance`), the mean over instances, with its `..._se`;
#'   `median`; `floor`, the mean floor; `seconds` and `evaluations` on average; sorted by the
#'   median.
#' @source The problem: Cardoso, El Idrissi, Le Corff and Moulines (2023),
#'   \doi{10.48550/arXiv.2308.07983}, as in its public scripts (recalled). The exact law as
#'   reference: this package.
#' @examples
#' inverse_problem(8, 2, seed = 1)
#' methods <- list(zero_shot_exact(), zero_shot_bo(), zero_shot_ddnm())
#' table <- benchmark_inverse(8, 1, 0:1, methods, n = 100, steps = 30, directions = 50)
#' table
#' plot(table)
#' @export
benchmark_inverse <- function(d_x = c(8, 80, 800), d_y = c(1, 2, 4), seeds = 0:5,
                              methods = NULL, n = 1000, n_sets = 300, steps = 100, c = 4,
                              delta = 1e-3, directions = 500, folder = NULL, schedule = NULL,
                              sampler = NULL, p = 2, maximum = FALSE) {
  whole <- function(x, arg, least) {
    if (!is.numeric(x) || !length(x) || anyDuplicated(x)) {
      abort_input(arg, paste("distinct whole numbers >=", least), describe(x))
    }
    vapply(x, check_count, 0, arg, least)
  }
  d_x <- vapply(whole(d_x, "d_x", 2), check_even, 0, "d_x")
  d_y <- whole(d_y, "d_y", 1)
  seeds <- whole(seeds, "seeds", 0)
  methods <- named_methods(methods)
  n <- check_count(n, "n", min = 40)
  n_sets <- check_count(n_sets, "n_sets", min = 40)
  steps <- check_steps(steps, min = 2)
  if (is.null(schedule)) schedule <- schedule_etc(steps, c, delta)
  if (is.null(sampler)) sampler <- zero_shot_default()$sampler
  times <- sampler_times(check_sampler(sampler), check_schedule(schedule))
  p <- check_number(p, "p", min = 1)
  check_flag(maximum, "maximum")
  # schedule and sampler without their functions: a digest of this names the file
  how <- list(format(schedule), format(sampler), times, schedule$a(times), schedule$b2(times), p,
              maximum)
  directions <- check_count(directions, "directions", min = 2)
  if (!is.null(folder)) check_folder(folder)
  grid <- expand.grid(method = seq_along(methods), seed = seeds, d_y = d_y, d_x = d_x)
  grid <- grid[grid$d_y <= grid$d_x, ]
  if (!nrow(grid)) abort_input("d_y", "at most d_x", describe(d_y))
  units <- lapply(seq_len(nrow(grid)), function(i) {
    method <- methods[[grid$method[i]]]
    list(d_x = grid$d_x[i], d_y = grid$d_y[i], seed = grid$seed[i],
         method = list(name = method$name, params = method$params,
                       general = method$range == "posterior"),
         n = if (is.null(method$twist)) n else n_sets, directions = directions, how = how)
  })
  # a unit's file is named by the unit alone
  kept <- lapply(units, function(unit) {
    chunk_folder(folder, list(name = "benchmark", job = unit))
  })
  results <- lapply(kept, function(kept) kept$get(0, 1))
  missing <- which(vapply(results, is.null, NA))
  if (length(missing)) {
    job <- list(plan = list(begin = list(n = length(missing))), units = units[missing],
                schedule = schedule, sampler = sampler, p = p, maximum = maximum, key = c(0, 0))
    # failed units run again
    put <- function(row, first, count) {
      if (is.na(row$error)) kept[[missing[first + 1]]]$put(row, 0, 1)
      row
    }
    task <- list(name = "benchmark", work = benchmark_unit, job = job, uneven = TRUE,
                 kept = kept_by(put))
    each_chunk(task, length(missing), 1, function(row, first, count) {
      results[[missing[first + 1]]] <<- row
    })
  }
  # failed units have fewer columns
  columns <- unique(unlist(lapply(results, names)))
  rows <- lapply(results, function(row) {
    row[setdiff(columns, names(row))] <- NA
    row[columns]
  })
  table <- data.frame(grid[c("d_x", "d_y", "seed")], sampler = names(methods)[grid$method],
                      do.call(rbind, rows), row.names = NULL)
  setup <- list(schedule = schedule, sampler = sampler, horizon = times[1],
                steps = length(times) - 1, directions = directions, p = p, maximum = maximum)
  failed <- sum(!is.na(table$error))
  new_table(table, "benchmark_inverse",
            c(paste0(distance_words(setup), " to the exact law, ", setup$steps, " steps"),
              format(sampler), format(schedule), "mean (standard error): over instances"),
            setup, keys = c("d_x", "d_y", "seed", "sampler", "n"),
            methods = c(residual_exact = "exact", evaluations = "exact"), body = benchmark_rows,
            foot = if (failed) paste(count_of(failed, "unit"), "failed: see column error"))
}

# One instance and method: a row of a judgement. A worker makes the method anew, because compiled
# parts would change a digest.
benchmark_unit <- function(job, first, count) {
  unit <- job$units[[first + 1]]
  if_error({
    problem <- inverse_problem(unit$d_x, unit$d_y, unit$seed)
    arguments <- c(unit$method$params, if (unit$method$general) list(general = TRUE))
    method <- do.call(getExportedValue("mixguide", paste0("zero_shot_", unit$method$name)),
                      arguments)
    key <- c(unit$seed, unit$d_x * 2^10 + unit$d_y)
    table <- judge_samples(problem$mixture, NULL, problem$observation, methods = method, n = unit$n,
                           key = key, directions = unit$directions, schedule = job$schedule,
                           sampler = job$sampler, p = job$p, maximum = job$maximum)
    row <- plain_table(table)[1, setdiff(names(table), "sampler")]
    data.frame(row, error = NA_character_)
  }, function(e) data.frame(n = unit$n, error = conditionMessage(e)))
}

check_even <- function(n, arg) {
  if (n %% 2 != 0) abort_input(arg, "even", describe(n))
  n
}

distance_words <- function(setup) {
  if (is.null(setup$p) || !is_other_distance(setup$p, setup$maximum)) {
    return("sliced Wasserstein distance")
  }
  paste0(if (setup$maximum) "largest" else "sliced", " Wasserstein distance of order ",
         format(setup$p))
}

#' @rdname benchmark_inverse
#' @export
inverse_problem <- function(d_x, d_y, seed = 0) {
  d_x <- check_even(check_count(d_x, "d_x", min = 2), "d_x")
  d_y <- check_count(d_y, "d_y", min = 1)
  if (d_y > d_x) abort_input("d_y", paste("at most d_x =", d_x), describe(d_y))
  seed <- check_count(seed, "seed")
  z <- keyed_draws(gaussmix(1, 0, 1), 25 + d_x * d_y + 2 * d_y + d_x + 2,
                   stream(c(seed, d_x * 2^10 + d_y), "instance"))[, 1]
  take <- function(n) {
    part <- z[seq_len(n)]
    z <<- z[-seq_len(n)]
    part
  }
  side <- as.matrix(expand.grid(-2:2, -2:2)) * 8
  mixture <- gaussmix(take(25)^2, unname(side[, rep(1:2, d_x / 2)]), 1)
  parts <- svd(matrix(take(d_x * d_y), d_y))
  scale <- sort(stats::pnorm(take(d_y)), decreasing = TRUE)
  H <- parts$u %*% (scale * t(parts$v))
  sd <- stats::pnorm(take(1)) * scale[1]
  k <- findInterval(stats::pnorm(take(1)), cumsum(mixture$weights)) + 1
  x <- mixture$means[min(k, 25), ] + take(d_x)
  y <- drop(H %*% x) + sd * take(d_y)
  structure(list(mixture = mixture, observation = observation(y, H, sd^2), x = x, seed = seed),
            class = object_class("inverse_problem"))
}

in_words.inverse_problem <- function(x) paste("seed", x$seed)

print_body.inverse_problem <- function(x, ...) {
  say(c(format(x$mixture), paste("given:", format(x$observation))))
}

#' @rdname benchmark_inverse
#' @param object A `benchmark_inverse`.
#' @param ... Must be empty.
#' @export
summary.benchmark_inverse <- function(object, ...) {
  check_dots(...)
  by <- judged_by(object)
  sampler <- factor(object$sampler, unique(object$sampler))
  groups <- split(object, list(sampler, object$d_y, object$d_x), drop = TRUE)
  table <- do.call(rbind, lapply(groups, function(x) {
    ran <- x[is.na(x$error), ]
    m <- nrow(ran)
    value <- ran[[by[1]]]
    data.frame(d_x = x$d_x[1], d_y = x$d_y[1], sampler = x$sampler[1], instances = m,
               value = mean(value), se = if (m > 1) stats::sd(value) / sqrt(m) else NA_real_,
               median = if (m) stats::median(value) else NA_real_, floor = mean(ran[[by[2]]]),
               seconds = mean(ran$seconds), evaluations = mean(ran$evaluations))
  }))
  names(table)[5:6] <- paste0(by[1], c("", "_se"))
  table <- table[order(table$d_x, table$d_y, table$median), ]
  rownames(table) <- NULL
  table
}

benchmark_rows <- function(x) {
  by <- judged_by(x)[1]
  table <- summary.benchmark_inverse(x)
  names(table)[match(c(by, paste0(by, "_se")), names(table))] <- c("mean", "mean_se")
  table[c("d_x", "d_y", "sampler", "instances", "median", "mean", "mean_se", "floor", "seconds",
          "evaluations")]
}

picture.benchmark_inverse <- function(object, setup) {
  table <- object[is.na(object$error), ]
  by <- judged_by(table)
  table$value <- table[[by[1]]]
  table$least <- table[[by[2]]]
  middle <- tapply(table$value, table$sampler, stats::median)
  table$sampler <- factor(table$sampler, names(sort(middle, decreasing = TRUE)))
  table$panel <- paste0("d_x = ", table$d_x, ", d_y = ", table$d_y)
  table$panel <- factor(table$panel, unique(table$panel))
  centre <- stats::aggregate(value ~ sampler + panel, table, stats::median)
  ggplot(as.data.frame(table), aes(.data$value, .data$sampler)) +
    geom_point(aes(.data$least), shape = 124, size = 3, colour = "grey60") +
    geom_point(colour = class_palette(1), alpha = .5, size = 1.4) +
    geom_point(data = centre, shape = 5, size = 2.4, colour = ink) +
    facet_wrap(vars(.data$panel)) + scale_x_log10() +
    finish("Inverse problems: distance to the exact conditional law",
           if (!is.null(setup)) paste0(setup$steps, " steps; dots: instances, diamonds: medians"),
           "Grey lines: the floor, two samples of the exact law",
           x = distance_words(setup), y = NULL)
}

# The compiled tables, read back by other means, against the operations that they encode.

samplers <- function(steps = 5) {
  multistep <- function(k, times, schedule) {
    now <- c("odd", "even")[k %% 2 + 1]
    before <- c("even", "odd")[k %% 2 + 1]
    list(evaluate = op_eval(now, t = times[k]),
         move = op_linear("x", c(x = 1.01, stats::setNames(.1 * k, now), if (k > 1) {
           stats::setNames(-.05 * k, before)
         })))
  }
  momentum <- function(k, times, schedule) {
    c(if (k == 1) list(op_noise("v")),
      list(op_eval("s", t = times[k]), op_noise("z"),
           op_linear("v", list(v = .9, s = c(.1, .2) * k, z = .3)),
           op_linear("x", c(x = 1, v = .2))))
  }
  c(lapply(unname(mixguide:::shipped_samplers()), function(make) make(steps, "quadratic", .01)),
    list(sampler_ddim(steps, eta = .6),
         sampler("multistep", multistep, steps, divergence = FALSE),
         sampler("momentum", momentum, steps, stochastic = TRUE)))
}

# A program as text, one operation per line, with the registers' names in `ops`.
read_program <- function(program, registers) {
  name <- function(id) if (id < 0) "nothing" else registers[id + 1]
  apply(program$op, 2, function(op) {
    numbers <- function(at, count) format(program$coef[at + seq_len(count)], digits = 15)
    score_at <- paste(name(op[3]), "at",
                      format(program$level_times[op[4] + 1], digits = 15))
    switch(
      operations()$name[op[1] + 1],
      eval = paste(name(op[2]), "<- score of", score_at, "with", op[5]),
      noise = paste(name(op[2]), "<- noise", op[4]),
      linear = {
        terms <- apply(program$term[, op[4] + seq_len(op[5]), drop = FALSE], 2, function(term) {
          paste(toString(numbers(term[2], if (term[3]) 2 else 1)), name(term[1]))
        })
        paste(name(op[2]), "<-", paste(terms, collapse = " + "))
      },
      dot = paste("scalar", op[2], "+=", toString(numbers(op[5], 2)), name(op[3]), name(op[4])),
      end = paste("end of", name(op[2]), numbers(op[5], 1)),
      save = paste("save", name(op[3]), "in", op[4]),
      begin = paste("begin at", name(op[2])),
      root = paste(name(op[2]), "<- root of", score_at, "by", numbers(op[5], 1)),
      product = paste(name(op[2]), "<- product with", score_at, "by", numbers(op[5], 1))
    )
  })
}

# The text from the operations themselves, one after the other.
write_program <- function(steps, d, sd, derivative, save, closing) {
  last <- if (derivative == "none") "nothing" else "(closing)"
  noises <- saves <- -1
  number <- function(x) format(x, digits = 15)
  write_save <- function() paste("save x in", saves <<- saves + 1)
  write_op <- function(op) {
    switch(op$op,
           eval = paste(op$to, "<- score of", op$from, "at", number(op$t), "with -1"),
           noise = paste(op$to, "<- noise", noises <<- noises + 1),
           root = paste(op$to, "<- root of", op$from, "at", number(op$t), "by",
                        number(op$coef[[1]])),
           product = paste(op$to, "<- product with", op$from, "at", number(op$t), "by",
                           number(op$coef[[1]])),
           linear = {
             terms <- vapply(names(op$coef), function(r) {
               paste(toString(number(op$coef[[r]])), r)
             }, "")
             paste(op$to, "<-", paste(terms, collapse = " + "))
           })
  }
  lines <- c(write_op(op_noise("x")),
             paste("scalar", SCALAR$start - 1, "+=",
                   toString(number(c(-d * log(2 * pi * sd^2) / 2, -.5))), "x x"),
             if (sd != 1) write_op(op_linear("x", c(x = sd))), "begin at x",
             if (save) write_save())
  for (ops in steps) {
    alpha <- if (derivative == "divergence") ops[[length(ops)]]$coef[["x"]] else 1
    for (op in ops) lines <- c(lines, write_op(op))
    lines <- c(lines, paste("end of x", number(alpha)), if (save) write_save())
  }
  c(lines, if (!save) write_save(), paste(last, "<- score of x at", number(closing), "with",
          SCALAR$closing - 1))
}

test_that("a program says what the sampler's operations say, in their order", {
  vp <- schedule_vp()
  for (sampler in samplers()) for (save in c(FALSE, TRUE)) for (sd in c(1, 2)) {
    times <- sampler_times(sampler, vp)
    steps <- sampler_program(sampler, times, vp)
    written <- unique(c("x", unlist(lapply(unlist(steps, FALSE), `[[`, "to"))))
    for (derivative in c("none", "map", if (sampler$divergence) "divergence")) {
      # the last evaluation needs no register if no derivative runs through it
      registers <- c(written, if (derivative != "none") "(closing)")
      program <- compile_program(steps, times, 2, sd, derivative, save, times[5], 3)
      text <- read_program(program, registers)
      expect_identical(unname(text), write_program(steps, 2, sd, derivative, save, times[5]),
                       info = sampler$label)
      expect_identical(program$registers, length(registers))
      expect_identical(program$scalars, as.integer(SCALAR$closing + 2))
      expect_identical(program$outputs, sum(grepl("save", text)))
      expect_identical(program$noises, sum(grepl("noise", text)))
      expect_identical(anyDuplicated(program$level_times), 0L)
    }
  }
})

test_that("all steps together give the program that they give one by one", {
  schedules <- all_schedules()
  for (sampler in samplers()) for (schedule in schedules) for (steps in c(1, 4)) {
    if (!sampler$vectorised) next
    sampler$steps <- steps
    times <- sampler_times(sampler, schedule)
    one_by_one <- sampler_program(sampler, times, schedule)
    together <- sampler_program(sampler, times, schedule, one_is_enough = TRUE)
    expect_length(one_by_one, steps)
    expect_length(together, 1)
    for (derivative in c("none", "map", if (sampler$divergence) "divergence")) {
      expect_identical(compile_program(together, times, 4, 1, derivative, TRUE, times[1]),
                       compile_program(one_by_one, times, 4, 1, derivative, TRUE, times[1]),
                       info = paste(sampler$label, schedule$label))
    }
  }
  vectorised <- vapply(samplers(), `[[`, NA, "vectorised")
  expect_identical(sum(vectorised), 15L)
})

test_that("a kept program is the one asked for, and no function is kept", {
  schedule <- schedule_ou()
  times <- sampler_times(sampler_ddim(6), schedule)
  steps <- sampler_program(sampler_ddim(6), times, schedule)
  base <- list(steps, times, 3)
  other <- steps
  other[[2]][[2]]$coef[[1]] <- other[[2]][[2]]$coef[[1]] + 1e-15
  asked <- list(base, c(base, start_sd = 2), c(base, derivative = "map"), c(base, save = TRUE),
                c(base, closing = 1), c(base, n_models = 2), list(other, times, 3))
  anew <- function(x) do.call(new_program, utils::modifyList(
    list(start_sd = NULL, derivative = "none", save = FALSE, closing = NULL, n_models = 1),
    stats::setNames(x, replace(names(x), names(x) == "", c("steps", "times", "d"))),
    keep.null = TRUE))
  names(asked[[1]]) <- names(asked[[7]]) <- c("steps", "times", "d")
  made <- lapply(asked, anew)
  expect_identical(anyDuplicated(made), 0L)
  for (i in c(1:7, 7:1, 1, 1, 3, 1)) {
    expect_identical(do.call(compile_program, asked[[i]]), made[[i]], info = i)
  }
  calls <- list(list(new_op("call", "x", coef = list(x = 1), fun = function(t, x, curved) x,
                            when = 1)))
  kept <- environment(compile_program)
  before <- kept$kept
  compile_program(calls, 1:0, 1)
  expect_identical(kept$kept, before)
})

test_that("a vectorised sampler of one's own samples as the same sampler step by step", {
  step <- function(k, times, schedule) {
    t <- times[k]
    h <- t - times[k + 1]
    list(op_eval("s", t = t), op_noise("z"),
         op_linear("x", list(x = 1 + h, s = 2 * h, z = sqrt(2 * h))),
         op_eval("s", t = 1),  # the coefficients are now numbers for all steps
         op_linear("x", list(x = 1, s = .01)))
  }
  m <- gaussmix(c(.3, .7), c(-1, 2), .5)
  run <- function(vectorised) {
    own <- sampler("own", step, 20, stochastic = TRUE, vectorised = vectorised)
    guided_sample(m, 20, sampler = own, trajectory = TRUE, key = c(1, 2))
  }
  expect_identical(run(TRUE)$trajectory, run(FALSE)$trajectory)
})

test_that("registers that outlive a step are those whose next use is to be read", {
  withr::local_seed(1)
  names <- c("x", "a", "b", "c")
  for (i in 1:50) {
    steps <- replicate(6, simplify = FALSE, {
      ops <- replicate(sample(0:3, 1), simplify = FALSE, {
        to <- sample(names, 1)
        switch(sample(3, 1), op_noise(to), op_eval(to, sample(setdiff(names, to), 1), 1),
               op_linear(to, stats::setNames(1:2, sample(names, 2))))
      })
      c(ops, list(op_linear("x", stats::setNames(c(1, 1), c("x", sample(names[-1], 1))))))
    })
    steps[[1]] <- c(lapply(names[-1], op_noise), steps[[1]])
    program <- compile_program(steps, 6:0, 1, derivative = "map")
    registers <- unique(c("x", unlist(lapply(unlist(steps, FALSE), `[[`, "to"))))
    outlives <- function(r, k) {
      for (op in unlist(steps[-seq_len(k)], recursive = FALSE)) {
        if (r %in% c(op$from, names(op$coef))) return(TRUE)
        if (op$to == r) return(FALSE)
      }
      FALSE
    }
    truth <- vapply(1:6, function(k) {
      sum(2^(which(vapply(registers, outlives, NA, k = k) & registers != "x") - 1))
    }, 0)
    expect_identical(as.double(program$op[4, program$op[1, ] == op_code("end")]), truth)
  }
})

test_that("numbers that fit neither coordinates nor steps are reported", {
  compile <- function(step, d = 2, vectorised = FALSE, ...) {
    own <- sampler("own", step, 5, vectorised = vectorised)
    times <- sampler_times(own, schedule_ou())
    compile_program(sampler_program(own, times, schedule_ou(), TRUE), times, d, ...)
  }
  along <- function(coef, t = 1) {
    function(k, times, schedule) list(op_eval("s", t = t), op_linear("x", coef))
  }
  bad <- function(code, what) {
    error <- expect_error(code, class = "mixguide_error_program")
    expect_match(conditionMessage(error), what)
  }
  bad(compile(along(list(x = 1, s = 1:3))), "`coef`.*one number or 2 for register s; got 3")
  bad(compile(along(list(x = 1, s = 1:3)), vectorised = TRUE), "one number or 5 for register s")
  bad(compile(along(c(x = 1), 1:5)), "`t`.*one number; got 5")
  bad(compile(along(c(x = 1), 1:4), vectorised = TRUE), "`t`.*one number or 5; got 4")
  for (coef in list(list(x = c(1, 2)), c(x = -1), c(s = 1), list(x = 1, s = c(1, 2)))) {
    bad(compile(along(coef), derivative = "divergence"), "`log_density`")
  }
  many <- function(k, times, schedule) {
    c(lapply(paste0("r", 1:25), op_noise), list(op_linear("x", c(x = 1))))
  }
  bad(compile(many), "at most 24 registers; got 26")
})

# The form of a step: its coefficients of x, of scores and of noises.

test_that("a step's form is what the step does", {
  withr::local_seed(1)
  names <- c("x", "a", "b", "z")
  x0 <- 1.7
  for (i in 1:200) {
    scores <- noises <- double()
    ops <- c(list(op_eval("a", "x", 1), op_eval("b", "a", 1), op_noise("z")),
             replicate(4, simplify = FALSE, {
               to <- sample(names, 1)
               switch(sample(3, 1), op_noise(to), op_eval(to, sample(setdiff(names, to), 1), 1),
                      op_linear(to, stats::setNames(stats::rnorm(2), sample(names, 2))))
             }), list(op_linear("x", c(x = stats::rnorm(1), a = 1, z = 2))))
    form <- step_forms(list(ops))[[1]]
    # the same by numbers: scores and noises are arbitrary
    held <- list(x = x0)
    for (op in ops) {
      held[[op$to]] <- switch(op$op, linear = sum(op$coef * unlist(held[names(op$coef)])), {
        y <- stats::rnorm(1)
        if (op$op == "eval") scores <- c(scores, y) else noises <- c(noises, y)
        y
      })
    }
    expect_length(form$scores, length(scores))
    if (!anyNA(form$x)) expect_equal(sum(form$x * c(x0, scores, noises)), held$x)
    for (j in which(!is.na(form$held))) {
      expect_identical(held[[form$held[j]]], noises[j])
    }
  }
})

test_that("what is no number times x, scores or noises is NA, and only that", {
  form <- function(...) step_forms(list(list(op_eval("s", t = 1), op_noise("z"), ...)))[[1]]$x
  step <- op_linear("x", c(x = 1, s = 2, z = 3))
  expect_equal(form(step), c(1, 2, 3))
  # a score at a point that contains the noise
  expect_identical(form(step, op_eval("u", t = 1), op_linear("x", c(x = 1, u = 1))),
                   c(1, 2, 1, NA))
  # by coordinate, or times a matrix: the noise keeps its number, unless it is in the state
  expect_identical(form(op_linear("x", list(x = 1:2, s = 1, z = 3)), op_linear("x", c(x = 1))),
                   c(NA, 1, 3))
  expect_identical(form(op_linear("x", list(x = 1, z = 1:2))), c(1, 0, NA))
  expect_identical(form(op_linear("w", c(x = 1)), op_product("w", "x", 1, .1),
                        op_linear("x", c(w = 1, z = 3))), c(NA, NA, 3))
  expect_identical(form(op_root("z", "x", 1, .1), op_linear("x", c(x = 1, z = 3))),
                   c(NA_real_, NA, NA))
  # a denoised point is no score until score_form() rewrites it
  point <- list(op_eval("s", t = 1, want = "denoised"), op_linear("x", c(x = 1, s = 2)))
  of_one_score <- function(ops) one_score_form(step_forms(list(ops))[[1]])
  expect_null(of_one_score(point))
  level <- schedule_ou()
  expect_equal(of_one_score(score_form(point, level))[c("alpha", "beta")],
               c(alpha = 1 + 2 / level$a(1), beta = 2 * level$b2(1) / level$a(1)))
  # the value of an earlier step
  expect_identical(form(op_linear("x", c(x = 1, old = 1, z = 2))), c(NA, NA, 2))
  steps <- step_forms(list(list(op_eval("s", t = 3:1), op_linear("x", list(x = 1:3, s = 2)))), 3)
  expect_equal(lapply(steps, `[[`, "x"), list(c(1, 2), c(2, 2), c(3, 2)))
  expect_identical(lapply(steps, `[[`, "fresh"), list(TRUE, TRUE, TRUE))
})

test_that("an operation that is a line and a function runs, and is known to R", {
  skip_on_cran()
  skip_if(nzchar(Sys.getenv("MIXGUIDE_SANITIZE")), "it compiles the package anew")
  source <- test_path("..", "..")
  skip_if_not(file.exists(file.path(source, "src", "core", "operations.h")))
  copy <- withr::local_tempdir()
  file.copy(file.path(source, c("DESCRIPTION", "NAMESPACE", "R", "src")), copy, recursive = TRUE)
  unlink(list.files(file.path(copy, "src"), "\\.s?o$", recursive = TRUE, full.names = TRUE))
  touched <- character()
  add <- function(file, text, before) {
    touched <<- c(touched, file)
    path <- file.path(copy, "src", "core", file)
    lines <- readLines(path)
    writeLines(append(lines, text, max(grep(before, lines)) - 1), path)
  }
  add("operations.h", "GM_OP(SQUARE, square, CHANGE, NOTHING, NOTHING, COEF, PLAIN, FIXED,
      1, 0, 2 * d)",
      "^/\\* With the Jacobian")
  add("engine.h", "
static void gm_op_square(const gm_job *job, const gm_op *op, gm_area *area) {
  size_t lanes = job->lanes, d = job->pool->d;
  double *to = ROW(area->reg, op->to * d), c = job->program->coef[op->n];
  for (size_t v = 0; v < d * lanes; v += GM_VL) AT(to + v) = vset(c) * LD(to + v) * LD(to + v);
}
", "^static void gm_run_block")
  # a sampler is one file
  writeLines('sampler_squared <- function(steps) {
    sampler("squared", function(k, times, schedule) {
      list(new_op("square", "x", coef = list(x = 2)), op_linear("x", c(x = 1)))
    }, steps)
  }', file.path(copy, "R", "sampler_squared.R"))
  library <- withr::local_tempdir()
  makevars <- withr::local_tempfile(lines = "CFLAGS = -O0 -DGM_NO_VECTORS")
  withr::local_envvar(R_MAKEVARS_USER = makevars)
  log <- system2(file.path(R.home("bin"), "R"), stdout = TRUE, stderr = TRUE,
                 c("CMD", "INSTALL", "--no-docs", "--no-test-load", "--no-byte-compile",
                   paste0("--library=", library), copy))
  expect_true(dir.exists(file.path(library, "mixguide")), info = utils::tail(log, 20))
  # what the operation does in the given coordinates, in one variable and in correlated ones, from
  # starts that are given and drawn
  run <- c('library(mixguide)', 'squared <- mixguide:::sampler_squared(2)',
           'one <- gaussmix(1, 0, 1)', 'two <- gaussmix(1, 0:1, matrix(c(1, .5, .5, 1), 2))',
           'x <- guided_sample(one, 3, sampler = squared, start = matrix(1:3 / 4))$x',
           'y <- guided_sample(two, sampler = squared, start = matrix(1:4 / 4, 2))$x',
           'z <- guided_sample(two, 5, sampler = squared, key = 1:2)',
           'way <- guided_sample(two, 5, sampler = squared, key = 1:2, trajectory = TRUE)',
           'from <- way$trajectory[1, , ]',
           'late <- tryCatch(guided_sample(two, 3, sampler = squared, log_density = "map"),',
           'mixguide_error_input = function(e) grepl("op_square", conditionMessage(e)))',
           'words <- format(squared$step(1, 1:0, schedule_ou())[[1]])',
           'same <- all.equal(cbind(z$x, way$x), 8 * cbind(from, from)^4)',
           'cat(range(x - 8 * (1:3 / 4)^4, y - 8 * matrix(1:4 / 4, 2)^4), same,',
           'is.null(z$log_density), late, words)')
  out <- system2(file.path(R.home("bin"), "Rscript"), env = paste0("R_LIBS=", library),
                 c("-e", shQuote(paste(run, collapse = "\n"))), stdout = TRUE, stderr = FALSE)
  expect_identical(utils::tail(out, 1), "0 0 TRUE TRUE TRUE x <- square(x)")
  # an operation is a line and a function, a sampler a file
  expect_identical(touched, c("operations.h", "engine.h"))
})

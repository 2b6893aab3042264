#!/usr/bin/env Rscript
# Calls everything that mixguide exports, its methods and its compiled routines, with legal, hostile
# and tampered arguments; tools/fuzz lists the options. Child processes make the calls, so that a
# crash is a finding and does not end the run. A call is text over the objects of fuzz-pool.R, and
# this line repeats it:
#   Rscript tools/fuzz.R eval='guided_sample(m$one, n = evil$na)'
# Call i of a mode depends on the seed and on i alone.
options(warn = 1, keep.source = FALSE)
opt <- list(modes = "r,method,ffi", seconds = "300", calls = "Inf", seed = "1", limit = "20",
            library = "", out = tempfile("fuzz"), mode = "", from = "1", eval = "")
given <- commandArgs(TRUE)
opt[sub("=.*", "", given)] <- sub("^[^=]*=", "", given)
for (name in c("seconds", "calls", "seed", "limit", "from")) opt[[name]] <- as.numeric(opt[[name]])
here <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
outcomes <- c("result", "error of ours", "R's own error", "memory", "slow", "death", "hang",
              "foreign error", "internal error", "silent NaN", "state left")
bad <- outcomes[6:11]

# ---- The parent: one mode after the other, and a table

# Runs children until the calls or the seconds are used up. A child writes a line before each call
# (`now`) and a line after it (`done`).
run_mode <- function(mode, end) {
  file <- function(name) file.path(opt$out, paste0(mode, "-", name))
  now <- function() {
    suppressWarnings(tryCatch(readLines(file("now")), error = function(e) "0 start"))
  }
  writeLines("", file("done"))
  from <- 1
  repeat {
    unlink(file(c("pid", "status", "now")))
    child <- paste("Rscript", shQuote(here), paste0("mode=", mode), paste0("from=", from),
                   paste0("out=", shQuote(opt$out)), paste0("library=", shQuote(opt$library)),
                   paste0(c("calls=", "seed=", "limit="), unlist(opt[c("calls", "seed", "limit")]),
                          collapse = " "),
                   paste0("seconds=", round(as.numeric(end) - as.numeric(Sys.time()))))
    system(paste0("(ulimit -c 0; ", child, " >", shQuote(file("log")), " 2>&1; echo $? >",
                  shQuote(file("status")), ")"), wait = FALSE)
    hung <- FALSE
    while (!file.exists(file("status"))) {
      Sys.sleep(.2)
      still <- difftime(Sys.time(), file.mtime(file("now")), units = "secs")
      if (isTRUE(still > 4 * opt$limit + 30) && !hung) {
        hung <- TRUE
        tools::pskill(as.integer(readLines(file("pid"))), tools::SIGKILL)
      }
    }
    last <- paste(now(), collapse = " ")
    Sys.sleep(.2)
    status <- suppressWarnings(as.integer(readLines(file("status"))))
    if (identical(status, 0L)) break
    cat(if (hung) "hang" else "death", sub("^[0-9.e+]+ ", "", last), paste("status", status),
        sep = "\t", file = file("done"), append = TRUE)
    cat("\n", file = file("done"), append = TRUE)
    from <- as.numeric(sub(" .*", "", last)) + 1
    # it died before the first call
    if (from == 1) {
      writeLines(readLines(file("log")))
      break
    }
    if (Sys.time() > end) break
  }
  lines <- readLines(file("done"))
  rows <- do.call(rbind, strsplit(paste0(lines[lines != ""], "\t\t\t"), "\t"))
  if (is.null(rows)) rows <- matrix("", 0, 3)
  data.frame(mode = mode, outcome = rows[, 1], call = rows[, 2], message = rows[, 3],
             stringsAsFactors = FALSE)
}

parent <- function() {
  dir.create(opt$out, FALSE, TRUE)
  modes <- strsplit(opt$modes, ",")[[1]]
  begun <- Sys.time()
  share <- if (is.finite(opt$calls)) 3600 else opt$seconds / length(modes)
  rows <- do.call(rbind, lapply(modes, function(mode) run_mode(mode, Sys.time() + share)))
  table <- t(table(factor(rows$outcome, outcomes), factor(rows$mode, modes)))
  found <- rows[rows$outcome %in% bad, ]
  kind <- paste(found$outcome, sub("\\(.*", "", found$call), substr(found$message, 1, 40))
  found <- found[!duplicated(kind), ]
  cat(sprintf("%s: %s\n    %s\n", found$outcome, found$call, found$message), sep = "")
  print(cbind(calls = rowSums(table), table)[, c("calls", outcomes), drop = FALSE])
  failed <- sum(rows$outcome %in% bad)
  cat(nrow(rows) - failed, "passed,", failed, "failed\n")
  quit(status = as.integer(failed > 0 || !nrow(rows)))
}

# ---- Calls

pick <- function(x) x[[sample.int(length(x), 1)]]

# One of the values named by `choices`.
legal_value <- function(choices, mixture) {
  text <- pick(choices)
  if (grepl("$*", text, fixed = TRUE)) {
    group <- sub("[$].*", "", text)
    text <- paste0(group, "$", pick(names(pool[[group]])))
  }
  size <- ncol(pool$m[[sub("m$", "", mixture, fixed = TRUE)]]$means)
  gsub("DIM", size, gsub("MIX", mixture, text, fixed = TRUE), fixed = TRUE)
}

hostile_value <- function() {
  object <- function() {
    group <- pick(c("m", "g", "s", "sc", "o", "z", "e", "obj"))
    paste0(group, "$", pick(names(pool[[group]])))
  }
  r <- runif(1)
  if (r < .7) return(paste0("evil$", pick(names(pool$evil))))
  if (r < .8) return(object())
  sprintf("tamper(%s, %d, %d)", object(), sample.int(12, 1), sample.int(7, 1))
}

# A call of an exported function with legal arguments, and with hostile ones in `share` of all
# calls.
export_call <- function(name = pick(exports), share = .6) {
  f <- getExportedValue("mixguide", name)
  formal <- formals(args(f))
  if ("as_diffusion" %in% all.names(body(f))) {
    # the arguments that `...` passes on
    more <- formals(getExportedValue("mixguide", "diffusion"))
    formal <- c(formal, more[setdiff(names(more), names(formal))])
  }
  formal <- formal[names(formal) != "..."]
  # an argument without a default is a symbol without a name
  required <- names(formal)[vapply(formal, function(x) is.symbol(x) && !nzchar(x), NA)]
  wanted <- names(formal) %in% c(required, pool$always) | runif(length(formal)) < .25
  mixture <- legal_value("m$*", "m$one")
  known <- c(pool$special[[name]], pool$legal)
  values <- vapply(names(formal)[wanted], function(argument) {
    if (argument == "mixture") mixture else if (is.null(known[[argument]])) "1" else {
      legal_value(known[[argument]], mixture)
    }
  }, "")
  legal <- !length(formal) || runif(1) > share
  if (!legal) values[pick(names(formal))] <- hostile_value()
  list(text = call_text(name, values), legal = legal)
}

# A call of a generic for an object of a class that has a method. Arguments of base R's own generics
# get no values.
method_call <- function() {
  row <- method_table[sample.int(nrow(method_table), 1), ]
  f <- get(paste0(row$generic, ".", row$class), ns)
  known <- setdiff(names(formals(f)), c("...", "digits", "row.names", "optional", "max", "log.p"))
  values <- stats::setNames(pick(of_class[[row$class]]), "")
  legal <- TRUE
  for (argument in known[-1]) {
    r <- runif(1)
    if (r < .2 && !is.null(pool$legal[[argument]])) {
      values[argument] <- legal_value(pool$legal[[argument]], "m$iso")
    } else if (r < .4) {
      legal <- FALSE
      values[argument] <- hostile_value()
    }
  }
  seen <- exists(row$generic, pool, mode = "function")
  name <- if (seen) row$generic else paste0(row$generic, ".", row$class)
  list(text = call_text(paste0(if (!seen) "mixguide:::", "`", name, "`"), values), legal = legal)
}

call_text <- function(name, values) {
  named <- !is.na(names(values)) & names(values) != ""
  text <- ifelse(named, paste0("`", names(values), "` = ", values), values)
  paste0(name, "(", paste(text, collapse = ", "), ")")
}

# ---- One call, and its outcome

# Warnings are part of the result: NaN with a warning is not silent.
evaluate <- function(text, env = pool) {
  warned <- FALSE
  begun <- proc.time()[["elapsed"]]
  value <- tryCatch(withCallingHandlers({
    setTimeLimit(elapsed = opt$limit, transient = TRUE)
    utils::capture.output(value <- eval(parse(text = text)[[1]], env))
    list(value)
  }, warning = function(w) {
    warned <<- TRUE
    invokeRestart("muffleWarning")
  }, message = function(m) invokeRestart("muffleMessage")), error = identity)
  setTimeLimit()
  list(value = value, warned = warned, took = proc.time()[["elapsed"]] - begun)
}

has_nan <- function(x, depth = 0) {
  if (is.double(x)) return(any(is.nan(x)))
  is.list(x) && depth < 5 && any(vapply(unclass(x), has_nan, NA, depth + 1))
}

outcome_of <- function(answer, legal) {
  error <- answer$value
  if (!inherits(error, "error")) {
    return(if (legal && !answer$warned && has_nan(error)) "silent NaN" else "result")
  }
  message <- conditionMessage(error)
  if (grepl("internal error", message)) return("internal error")
  if (inherits(error, "mixguide_error")) return("error of ours")
  if (grepl("reached elapsed time limit", message)) return("slow")
  if (!legal && grepl("cannot allocate|memory exhausted", message)) return("memory")
  own <- paste0("unused argument|is missing, with no default|no applicable method|",
                "multiple actual arguments")
  if (grepl(own, message)) "R's own error" else "foreign error"
}

# The state that a call may not change; the seed of random numbers is not part of it.
session <- function() {
  list(options = options(), folder = getwd(), kind = RNGkind(), search = search(),
       sinks = sink.number(), connections = nrow(showConnections()), devices = dev.list(),
       files = grep("kept|^h_", list.files(tempdir()), invert = TRUE, value = TRUE),
       globals = ls(globalenv(), all.names = TRUE))
}

watch <- function(call) {
  before <- session()
  answer <- evaluate(call$text)
  after <- session()
  outcome <- outcome_of(answer, call$legal)
  message <- if (inherits(answer$value, "error")) conditionMessage(answer$value) else ""
  changed <- names(before)[!mapply(identical, before, after)]
  if (length(changed) && !outcome %in% bad) {
    outcome <- "state left"
    message <- toString(changed)
    options(before$options)
  }
  list(outcome = outcome, message = message)
}

# ---- Compiled routines

# The arguments with which functions of the package call their routines. Copies of the functions
# whose `.Call` is ours record them in one legal call of each export.
real_arguments <- function() {
  kept <- list()
  shadow <- pool$with_call(function(.NAME, ...) {
    arguments <- list(...)
    if (length(kept[[.NAME$name]]) < 40 && utils::object.size(arguments) < 3e5) {
      copy <- unserialize(serialize(arguments, NULL))
      kept[[.NAME$name]] <<- c(kept[[.NAME$name]], list(copy))
    }
    base::.Call(.NAME, ...)
  })
  env <- list2env(as.list(pool), parent = shadow)
  for (name in rep(exports, 2)) evaluate(export_call(name, 0)$text, env)
  kept
}

# Changes a number somewhere in the arguments, or the shape of an argument.
mutate <- function(x) {
  if (is.list(x) && !is.data.frame(x) && length(x) && runif(1) < .95) {
    i <- sample.int(length(x), 1)
    if (runif(1) < .08) return(x[-i])
    x[i] <- list(mutate(x[[i]]))
    return(x)
  }
  if (!is.numeric(x) || !length(x) || runif(1) < .3) return(pick(pool$evil))
  i <- sample.int(length(x), 1)
  whole <- list(NA, -1L, 0L, 1L, 2L, 100L, 65536L, .Machine$integer.max, -.Machine$integer.max)
  real <- list(NA, NaN, Inf, -Inf, -1, 0, 1e308, 1e18, 2^31, 5e-324, -1e18, 1e6)
  switch(sample.int(6, 1), replace(x, i, pick(if (is.integer(x)) whole else real)), x[-i], c(x, x),
         if (is.integer(x)) as.double(x) else suppressWarnings(as.integer(x)), as.vector(x),
         x * if (is.integer(x)) -1L else -1)
}

# Any error is a legal result here: R must survive, and the time limit must hold.
call_routine <- function(real) {
  name <- pick(names(routines))
  count <- routines[[name]]$numParameters
  arguments <- if (length(real[[name]]) && runif(1) < .85) pick(real[[name]]) else {
    lapply(seq_len(count), function(i) pick(pool$evil))
  }
  for (k in seq_len(sample.int(3, 1))) {
    changed <- mutate(arguments)
    if (length(changed) == count) arguments <- changed
  }
  list(text = name, run = function() {
    saveRDS(list(name, arguments), file.path(opt$out, "ffi-last.rds"), compress = FALSE)
    setTimeLimit(elapsed = opt$limit, transient = TRUE)
    message <- tryCatch({
      suppressWarnings(do.call(.Call, c(list(routines[[name]]), unname(arguments)), quote = TRUE))
      ""
    }, error = conditionMessage)
    setTimeLimit()
    slow <- grepl("reached elapsed time limit", message)
    list(outcome = if (slow) "slow" else if (nzchar(message)) "error of ours" else "result",
         message = message)
  })
}

# ---- A child

pool <- new.env(parent = globalenv())
ns <- exports <- of_class <- method_table <- routines <- NULL
load_pool <- function() {
  library(mixguide, lib.loc = if (nzchar(opt$library)) opt$library)
  ns <<- asNamespace("mixguide")
  source(file.path(dirname(here), "fuzz-pool.R"), local = pool)
  exports <<- sort(setdiff(getNamespaceExports("mixguide"), "autoplot"))
  exported <- function(name) getExportedValue("mixguide", name)
  exports <<- exports[vapply(exports, function(name) is.function(exported(name)), NA)]
  pool$obj <- list()
  stored <- file.path(opt$out, "objects.rds")
  if (file.exists(stored)) pool$obj <- readRDS(stored) else {
    # an object of each export, and a second round for exports that take an object
    for (name in c("guided_law", exports, exports)) if (is.null(pool$obj[[name]])) {
      set.seed(1)
      for (try in 1:5) {
        value <- evaluate(export_call(name, 0)$text)$value
        if (!inherits(value, "error")) break
      }
      if (!inherits(value, "error") && !is.null(value[[1]])) pool$obj[[name]] <- value[[1]]
    }
    if (dir.exists(opt$out)) saveRDS(pool$obj, stored)
  }
  table <- getNamespaceInfo("mixguide", "S3methods")
  table <- data.frame(generic = table[, 1], class = table[, 2], stringsAsFactors = FALSE)
  # assignments go on to those of data frames, whose errors they have
  table <- table[!endsWith(table$generic, "<-"), ]
  groups <- c("m", "g", "s", "sc", "o", "z", "e", "obj")
  objects <- unlist(lapply(groups, function(group) paste0(group, "$", names(pool[[group]]))))
  values <- lapply(objects, function(text) eval(parse(text = text)[[1]], pool))
  of_class <<- lapply(split(table$class, table$class), function(class) {
    objects[vapply(values, inherits, NA, class[1])]
  })
  method_table <<- table[lengths(of_class[table$class]) > 0, ]
  routines <<- Filter(function(x) inherits(x, "CallRoutine"), mget(ls(ns), ns))
}

child <- function() {
  file <- function(name) file.path(opt$out, paste0(opt$mode, "-", name))
  writeLines(paste(Sys.getpid()), file("pid"))
  end <- Sys.time() + opt$seconds
  grDevices::pdf(NULL)
  load_pool()
  set.seed(opt$seed)
  real <- if (opt$mode == "ffi") real_arguments()
  one_line <- function(x) substr(gsub("[[:space:]]+", " ", iconv(x, "", "UTF-8", "?")), 1, 500)
  i <- opt$from
  while (i <= opt$calls && Sys.time() < end) {
    set.seed((opt$seed * 1e6 + i) %% .Machine$integer.max)
    call <- switch(opt$mode, r = export_call(), method = method_call(), ffi = call_routine(real))
    cat(i, " ", call$text, "\n", sep = "", file = file("now"))
    answer <- if (opt$mode == "ffi") call$run() else watch(call)
    cat(answer$outcome, one_line(call$text), one_line(answer$message), sep = "\t",
        file = file("done"), append = TRUE)
    cat("\n", file = file("done"), append = TRUE)
    i <- i + 1
  }
}

if (nzchar(opt$eval)) {
  grDevices::pdf(NULL)
  load_pool()
  set.seed(42)
  print(eval(parse(text = opt$eval)[[1]], pool))
} else if (nzchar(opt$mode)) child() else parent()

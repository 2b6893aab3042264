# The tests of tools/cluster-test, which runs this file on the cluster that it has built.
library(mixguide)
options(digits = 4, warn = 0)
work <- Sys.getenv("CLUSTER_WORK")
wanted <- commandArgs(TRUE)
failures <- 0
say <- function(...) cat(sprintf("%7.1f s  ", proc.time()[["elapsed"]]), ..., "\n", sep = "")
check <- function(what, ok) {
  ok <- isTRUE(ok)
  failures <<- failures + !ok
  say(if (ok) "ok    " else "WRONG ", what)
}
part <- function(name, code) {
  if (length(wanted) && !name %in% wanted) return(invisible())
  cat("\n-- ", name, "\n", sep = "")
  tryCatch(code, error = function(e) check(paste(name, "ends in:", conditionMessage(e)), FALSE))
  future::plan(future::sequential)
}
shell <- function(...) system(paste0(...), ignore.stdout = TRUE, ignore.stderr = TRUE)
# code in a shell beside this session
beside <- function(...) system(paste0("(", ..., ") >/dev/null 2>&1 &"))
packages <- function(...) {
  paste(vapply(c(...), function(p) paste(p, utils::packageVersion(p)), ""), collapse = ", ")
}

m <- gaussmix(c(.3, .3, .4), cbind(u = c(-1, 0, 2), v = c(0, 1.5, 0)),
              list(.5, c(1, .3), matrix(c(.6, .2, .2, .4), 2)), class = c("a", "b", "a"))
towards <- guidance("b", strength = 2)
steps <- sampler_ddim(20)
seen <- observation(1, H = cbind(1, 1), noise = .25)
plain <- function(x) x[!vapply(x, is.function, NA)]
runs <- list(
  sample = function(...) guided_sample(m, 3e5, towards, steps, key = c(1, 2), ...)$x,
  summary = function(...) {
    s <- guided_summary(m, 6e5, towards, sampler_ddpm(800), key = c(1, 2), ...)
    s[c("mean", "mean_se", "cov", "cov_se", "confidence", "histogram")]
  },
  sweep = function(...) {
    as.data.frame(guidance_sweep(m, 3e5, "b", 0:1, sampler_ddpm(800), key = c(1, 2), ...))
  },
  tilt = function(...) {
    tilted_sample(m, 3e5, guidance("b", 1), sampler_em(50), key = c(1, 2), ...)$x
  },
  `zero-shot` = function(...) {
    conditional_sample(m, 17000, seen, zero_shot_tds(32), schedule = schedule_etc(10),
                       key = c(1, 2), ...)$x
  },
  imputation = function(...) {
    set.seed(1)
    impute(m, cbind(u = c(NA, 1), v = c(1, NA)))
  }
)
alone <- list()
truth <- function(name) {
  if (is.null(alone[[name]])) alone[[name]] <<- runs[[name]]()
  alone[[name]]
}
# before a plan is set
alone_first <- function() for (name in names(runs)) truth(name)
same <- function(where) {
  for (name in names(runs)) {
    time <- system.time(there <- runs[[name]]())[["elapsed"]]
    check(sprintf("%s %s: the bits of one process, %.1f s", name, where, time),
          identical(there, truth(name)))
  }
}
# each chunk becomes a job, although chunks are short
options(mixguide.worker_start = 0)
slurm <- function(walltime = 600, ncpus = 1) {
  future::plan(future.batchtools::batchtools_slurm, workers = 4,
               template = system.file("batchtools", "slurm.tmpl", package = "mixguide"),
               resources = list(ncpus = ncpus, walltime = walltime, memory = 500))
}
# Six chunks, the first short, the others of 3 s. One chunk takes longer while the file `trap`
# exists; the file has the number of the chunk's first particle and its seconds.
slow_task <- function(folder, trap = file.path(work, "trap")) {
  task <- list(name = "slow",
               job = list(plan = list(begin = list(n = 60)), key = c(1, 2), trap = trap),
               work = function(job, first, count) {
                 trap <- if (file.exists(job$trap)) scan(job$trap, quiet = TRUE) else c(-1, 0)
                 Sys.sleep(if (first == 0) .1 else if (first == trap[1]) trap[2] else 3)
                 first
               })
  environment(task$work) <- globalenv()
  values <- NULL
  mixguide:::each_chunk(task, 60, 10, function(value, first, count) values <<- c(values, value),
                        folder)
  values
}
set_trap <- function(...) writeLines(paste(...), file.path(work, "trap"))
caught <- function(code) tryCatch(code, mixguide_error_chunk = identity)
told <- function(error) {
  for (line in strsplit(conditionMessage(error), "\n")[[1]]) {
    cat("           | ", substr(line, 1, 85), "\n", sep = "")
  }
}
done <- function(folder) length(list.files(folder, "rds$"))

cat(R.version.string, ", ", packages("mixguide", "future", "future.batchtools", "batchtools"),
    "\n", sep = "")
part("slurm", {
  alone_first()
  slurm()
  same("under Slurm")
  slurm(ncpus = 2)
  f <- future::future(mixguide:::job_cores(), label = "mixguide-cores")
  check("a job's threads are its CPUs", identical(as.integer(future::value(f)), 2L))
  check("jobs of two threads: the bits of one process",
        identical(runs$sample(), truth("sample")))
  options(mixguide.worker_start = NULL)
  time <- system.time(there <- runs$sample())[["elapsed"]]
  options(mixguide.worker_start = 0)
  check(sprintf("what is done before a job begins is not sent: %.1f s", time),
        identical(there, truth("sample")))
})
part("kill", {
  slurm()
  beside("until scancel --state=RUNNING --name=mixguide-chunk-3 -v 2>&1 | grep -q Terminating; ",
         "do sleep .2; done")
  folder <- file.path(work, "kill-1")
  x <- caught(slow_task(folder))
  check("scancel of a running job: its chunk goes again", identical(x, 10 * 0:5))
  cancelling <- file.path(work, "cancelling")
  file.create(cancelling)
  beside("while [ -e ", cancelling, " ]; do ",
         "scancel --state=RUNNING --name=mixguide-chunk-3; sleep .2; done")
  folder <- file.path(work, "kill-2")
  error <- caught(slow_task(folder))
  unlink(cancelling)
  check("scancel whenever it runs: an error that names chunk 3 of 6",
        inherits(error, "mixguide_error_chunk") && identical(error$chunk, 3L))
  told(error)
  Sys.sleep(3)
  check("no job of the run is left", !length(system("squeue -h -t R,PD", intern = TRUE)))
  say("        finished and kept: ", done(folder), " of 6")
  check("the same call resumes", identical(slow_task(folder), 10 * 0:5))
})
part("node", {
  slurm()
  beside("sleep 4; node down 2; sleep 5; scontrol update nodename=node2 state=down reason=dead")
  folder <- file.path(work, "node")
  x <- caught(slow_task(folder))
  if (inherits(x, "error")) {
    told(x)
    x <- slow_task(folder)
  }
  check("a dead slurmd: the other node takes its chunks", identical(x, 10 * 0:5))
  shell("node up 2; scontrol update nodename=node2 state=resume")
  Sys.sleep(5)
})
part("wall", {
  slurm(walltime = 60)
  folder <- file.path(work, "wall")
  set_trap(10, 200)
  error <- caught(slow_task(folder))
  check("a job beyond its wall time: an error that names chunk 2",
        inherits(error, "mixguide_error_chunk") && identical(error$chunk, 2L))
  told(error)
  unlink(file.path(work, "trap"))
  check("all others are kept", done(folder) == 5)
})
part("master", {
  folder <- file.path(work, "master")
  code <- file.path(work, "master.R")
  pid <- file.path(work, "master-run.pid")
  dump(c("slurm", "slow_task", "work"), file.path(work, "functions.R"))
  writeLines(c(
    "library(mixguide)", sprintf("source('%s/functions.R')", work),
    sprintf("writeLines(paste(Sys.getpid()), '%s')", pid),
    "options(mixguide.worker_start = 0)", "slurm()",
    sprintf("slow_task('%s')", folder)
  ), code)
  set_trap(10, 300)
  beside("Rscript ", code)
  limit <- Sys.time() + 60
  while (done(folder) < 5 && Sys.time() < limit) Sys.sleep(.5)
  shell("kill -9 $(cat ", pid, "); scancel --user=", Sys.getenv("USER"))
  unlink(c(pid, file.path(work, "trap")))
  check("job 1 hangs, the master is killed: the other 5 chunks are kept", done(folder) == 5)
  slurm()
  time <- system.time(x <- slow_task(folder))[["elapsed"]]
  check(sprintf("the same call resumes, with one chunk to run: %.1f s", time),
        identical(x, 10 * 0:5) && done(folder) == 6)
})

ssh <- function(hosts) {
  key <- c("-i", file.path(work, "key"), "-o", "StrictHostKeyChecking=no", "-o",
           "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
  future::plan(future::cluster, workers = hosts, rscript_libs = .libPaths(), homogeneous = TRUE,
               rshopts = c(key, "-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3"),
               timeout = 20, connectTimeout = 10)
}
part("ssh", {
  alone_first()
  ssh(c("10.77.1.2", "10.77.2.2"))
  same("over ssh")
})
part("link", {
  ssh(c("10.77.1.2", "10.77.2.2"))
  folder <- file.path(work, "link")
  beside("sleep 5; ip link set to-host1 down; sleep 30; ip link set to-host1 up")
  time <- system.time(x <- caught(slow_task(folder)))[["elapsed"]]
  say("        a link goes down: ", if (inherits(x, "error")) "an error" else "run again",
      " after ", format(time, digits = 3), " s")
  if (inherits(x, "error")) told(x)
  check("it ends within 40 s, in the right result or an error that names a chunk",
        time < 40 && (identical(x, 10 * 0:5) || inherits(x, "mixguide_error_chunk")))
  future::plan(future::sequential)
  Sys.sleep(max(0, 36 - time))
  check("the same call resumes", identical(slow_task(folder), 10 * 0:5))
})
for (kind in c("callr", "mirai")) {
  package <- paste0("future.", kind)
  if (!requireNamespace(package, quietly = TRUE)) next
  part(kind, {
    alone_first()
    future::plan(getExportedValue(package, kind), workers = 2)
    same(paste("with", packages(package)))
  })
}
cat("\n", failures, " wrong\n", sep = "")
quit(status = min(failures, 1))

# Tables and plots of the measurements of bench/run: Rscript bench/report.R DIRECTORY
# The directory has measurements.csv and machine.csv; it gets report.md, tables/*.csv and *.png.
source("bench/cases.R")
library(ggplot2)
directory <- commandArgs(TRUE)[1]
measured <- utils::read.csv(file.path(directory, "measurements.csv"),
                            colClasses = c(engine = "character", vary = "character"))
machine <- utils::read.csv(file.path(directory, "machine.csv"))
engines <- unique(measured$engine[measured$who == "machine"])
native <- engines[1]

# ---- The goals

# Times faster with two threads each, by case; `share` is that of the machine's limit by one thread.
# The goals with AVX2 are two thirds of these; with 128-bit vectors 5 times R on S1 to S3.
goals <- utils::read.csv(text = "
case,ours,R,numpy,torch,share
S1,mixguide,55,40,40,.6
S2,mixguide,50,20,22,.65
S3,mixguide,45,10,10,.75
S4,mixguide,1500,800,800,
S4,mixguide (reduce = FALSE),50,20,20,.65
S5,mixguide,75,18,18,.8")
density_goals <- utils::read.csv(text = "
case,mvnfast::dmixn,mclust::dens,sklearn
D1,10,25,10
D2,12,25,10
D3,12,25,6", check.names = FALSE)

grid_goals <- utils::read.csv(text = "
case,R,scipy
E1,100,4")

goal <- function(row, peer, engine) {
  least <- goals[[peer]][row]
  if (engine == "avx2") least <- 2 / 3 * least
  if (engine != "portable") return(least)
  if (peer == "R" && goals$case[row] %in% c("S1", "S2", "S3")) 5 else NA
}

# The necessary work of a particle-step: flops of the matrix products of a score, exps and normals.
# A reduced S4 is an S1 whose other 254 normals are drawn once.
work <- utils::read.csv(text = "
case,ours,flops,exps,normals
S1,mixguide,48,2,2
S2,mixguide,1024,9,16
S3,mixguide,81920,11,64
S4,mixguide,48,2,2.508
S4,mixguide (reduce = FALSE),3072,2,256
S5,mixguide,14000,1000,0")

# ---- Figures

# Values by round of one program on a case.
values <- function(case, who, clock, threads, engine = "", blas = NULL) {
  rows <- measured[measured$case == case & measured$who == who & measured$metric == clock &
                     measured$vary == "" & measured$engine == engine &
                     measured$threads %in% threads, ]
  if (!is.null(blas)) rows <- rows[rows$blas == blas, ]
  stats::setNames(rows$value, rows$round)
}

# Times faster than a peer, by round: a ratio compares measurements of one round.
ratios <- function(case, peer, clock, threads, blas, engine = native, ours = "mixguide") {
  # the reference BLAS has one thread, so one run serves both comparisons
  of_peer <- values(case, peer, clock, if (blas == "reference") 1 else threads, blas = blas)
  of_ours <- values(case, ours, clock, threads, engine)
  both <- intersect(names(of_peer), names(of_ours))
  of_peer[both] / of_ours[both]
}

number <- function(x) {
  ifelse(is.na(x), "-", format_each(signif(x, 3)))
}
format_each <- function(x) {
  vapply(x, function(y) format(y, big.mark = " ", scientific = FALSE, drop0trailing = TRUE), "")
}

# One line of the table of goals: the median of the rounds, which should lie between two bounds.
judge <- function(case, figure, values, least = NA, most = NA, unit = "", engine = native) {
  values <- as.numeric(values)
  middle <- stats::median(values)
  wanted <- c(if (!is.na(least)) paste0("at least ", number(least), unit),
              if (!is.na(most)) paste0("at most ", number(most), unit))
  met <- !isTRUE(middle < least) && !isTRUE(middle > most)
  spread <- if (length(values)) number(unique(range(values)))
  data.frame(
    case = case, engine = engine, figure = figure, goal = paste(wanted, collapse = ", "),
    measured = if (length(values)) paste0(number(middle), unit) else "-",
    "over the rounds" = if (length(spread) > 1) paste(spread, collapse = " to ") else "",
    verdict = if (!length(values)) "not measured" else if (met) "met" else "missed",
    check.names = FALSE
  )
}

peer_names <- c(R = "R, reference BLAS", numpy = "numpy, OpenBLAS", torch = "torch, OpenBLAS")
peer_blas <- c(R = "reference", numpy = "openblas", torch = "openblas")
case_label <- function(case, ours) {
  ifelse(grepl("(", ours, fixed = TRUE), paste0(case, sub("^mixguide", "", ours)), case)
}

measured_cases <- unique(measured$case[measured$metric == "cpu" & measured$vary == ""])
of_goals <- which(goals$case %in% measured_cases)
primitive <- function(engine, metric) {
  measured[measured$who == "machine" & measured$engine == engine & measured$metric == metric, ]
}
primitives <- function(engine) {
  best <- function(metric, choose) choose(primitive(engine, metric)$value)
  c(fma = best("fma", max), exp = best("exp", min), normal = best("normal", min),
    triad = best("triad", max))
}

# The bound of a particle-step in ns, by round, from the machine's speed just before and after.
bound <- function(row, engine) {
  mean_of <- function(metric) {
    of_case <- primitive(engine, metric)
    of_case <- of_case[of_case$case == work$case[row], ]
    tapply(of_case$value, of_case$round, mean)
  }
  work$flops[row] / mean_of("fma") + work$exps[row] * mean_of("exp") +
    work$normals[row] * mean_of("normal")
}
shares <- do.call(rbind, lapply(engines, function(engine) {
  do.call(rbind, lapply(which(work$case %in% measured_cases), function(row) {
    ours <- values(work$case[row], work$ours[row], "cpu", 1, engine)
    if (!length(ours)) return()
    limit <- bound(row, engine)[names(ours)]
    share <- limit / ours
    data.frame(case = case_label(work$case[row], work$ours[row]), engine = engine,
               bound = stats::median(limit), measured = stats::median(ours),
               share = stats::median(share), low = min(share), high = max(share),
               goal = goal(match(paste(work$case[row], work$ours[row]),
                                 paste(goals$case, goals$ours)), "share", engine))
  }))
}))

sampler_targets <- function(engine) {
  do.call(rbind, lapply(of_goals, function(row) {
    case <- goals$case[row]
    ours <- goals$ours[row]
    if (engine != native && !length(values(case, ours, "cpu", 1, engine))) return()
    label <- case_label(case, ours)
    rows <- lapply(names(peer_names), function(peer) {
      least <- goal(row, peer, engine)
      if (is.na(least)) return()
      judge(label, paste("2 threads, against", peer_names[[peer]]),
            ratios(case, peer, "wall", 2, peer_blas[[peer]], engine, ours), least, unit = "x",
            engine = engine)
    })
    share <- shares[shares$case == label & shares$engine == engine & !is.na(shares$goal), ]
    if (nrow(share)) {
      rows$share <- judge(label, "1 thread, share of the limit",
                          unlist(share[c("share", "low", "high")]), share$goal, engine = engine)
    }
    if (case %in% c("S1", "S2", "S3") && engine == native) {
      one <- values(case, ours, "wall", 1, engine)
      two <- values(case, ours, "wall", 2, engine)
      rows$threads <- judge(label, "2 threads against 1", one[names(two)] / two, 1.8, unit = "x")
    }
    do.call(rbind, rows)
  }))
}

# Cases of one thread each.
single_targets <- function(goals) {
  do.call(rbind, lapply(which(goals$case %in% measured_cases), function(row) {
    case <- goals$case[row]
    do.call(rbind, lapply(names(goals)[-1], function(peer) {
      blas <- if (peer %in% c("sklearn", "scipy")) "openblas" else "reference"
      judge(case, paste("1 thread, against", peer), ratios(case, peer, "cpu", 1, blas),
            goals[[peer]][row], unit = "x")
    }))
  }))
}

peak <- function(metric) measured[measured$metric == metric, ]
memory_targets <- function() {
  over <- peak("peak over result")
  over <- over[over$who == "mixguide", ]
  rows <- lapply(seq_len(nrow(over)), function(i) {
    judge(over$case[i], "peak memory above the result", over$value[i], most = 64, unit = " MB")
  })
  summary <- peak("peak of process")
  summary <- summary[summary$who == "mixguide (summary)", ]
  largest <- summary$value[summary$at == suppressWarnings(max(summary$at))]
  growth <- largest - summary$value[summary$at == suppressWarnings(min(summary$at))]
  of_summary <- list(
    judge("summary", "peak memory of the process, n = 1e8", largest, most = 200, unit = " MB"),
    judge("summary", "its growth from n = 1e6 to 1e8", growth, most = 8, unit = " MB")
  )
  do.call(rbind, c(rows, if ("S1" %in% measured_cases) of_summary))
}

# Slope of log time against log size, from the fastest of several rounds.
scaling <- measured[measured$vary %in% c("n", "steps", "K", "d") & measured$metric == "cpu", ]
if (nrow(scaling)) {
  scaling <- stats::aggregate(value ~ case + vary + at, scaling, min)
}
slopes <- do.call(rbind, lapply(split(scaling, list(scaling$case, scaling$vary), drop = TRUE),
                                function(rows) {
  data.frame(case = rows$case[1], vary = rows$vary[1], from = min(rows$at), to = max(rows$at),
             slope = stats::coef(stats::lm(log(value) ~ log(at), rows))[[2]],
             power = if (rows$vary[1] == "d" && rows$case[1] == "S3") 2 else 1)
}))
scaling_targets <- function() {
  do.call(rbind, lapply(seq_len(NROW(slopes)), function(i) {
    line <- slopes[i, ]
    # Parts that do not grow with K or d, such as the noise with K, flatten the slope.
    below <- if (line$vary %in% c("n", "steps")) .05 else .25
    judge(line$case, paste("slope of log time in log", line$vary), line$slope, line$power - below,
          line$power + .05)
  }))
}

targets <- do.call(rbind, c(lapply(engines, sampler_targets),
                            list(single_targets(density_goals), single_targets(grid_goals),
                                 memory_targets(), scaling_targets())))
notes <- utils::read.csv("bench/notes.csv")
key <- function(x) paste(x$case, x$engine, x$figure)
missed <- targets[targets$verdict == "missed", c("case", "engine", "figure", "goal", "measured")]
missed[["what holds it back"]] <- notes$note[match(key(missed), key(notes))]

# A line per case and engine, a column per figure.
goal_table <- function(rows) {
  if (!NROW(rows)) return()
  lines <- unique(rows[c("case", "engine")])
  figures <- unique(rows$figure)
  cells <- lapply(figures, function(figure) {
    row <- rows[rows$figure == figure, ]
    row <- row[match(paste(lines$case, lines$engine), paste(row$case, row$engine)), ]
    goal <- sub("at (least|most) ", "", row$goal)
    text <- ifelse(row$measured == "-", paste0("not measured (", goal, ")"),
                   paste0(row$measured, " (", goal, ": ", row$verdict, ")"))
    ifelse(is.na(row$case), "", text)
  })
  if (length(unique(lines$engine)) == 1) lines$engine <- NULL
  data.frame(lines, stats::setNames(cells, figures), check.names = FALSE)
}
of_samplers <- grepl("^S", targets$case) & grepl("^[12] thread", targets$figure)

# ---- Tables

cell <- function(times, factor) {
  if (!length(times)) return("-")
  middle <- number(stats::median(times))
  if (length(factor)) paste0(middle, " (", number(stats::median(factor)), "x)") else middle
}
runs <- data.frame(
  who = c("R", "R", "numpy", "torch"), blas = c("reference", "openblas", "openblas", "openblas"),
  label = c("R, reference BLAS", "R, OpenBLAS", "numpy, OpenBLAS", "torch, OpenBLAS")
)
speed_table <- function(clock, threads) {
  do.call(rbind, lapply(of_goals, function(row) {
    case <- goals$case[row]
    ours <- goals$ours[row]
    own <- values(case, ours, clock, threads, native)
    if (!length(own)) return()
    cells <- lapply(seq_len(nrow(runs)), function(i) {
      blas <- runs$blas[i]
      cell(values(case, runs$who[i], clock, if (blas == "reference") 1 else threads, blas = blas),
           ratios(case, runs$who[i], clock, threads, blas, native, ours))
    })
    data.frame(case = case_label(case, ours), mixguide = cell(own, NULL),
               stats::setNames(cells, runs$label), check.names = FALSE)
  }))
}
single_table <- function(cases) {
  cases <- intersect(cases, measured_cases)
  if (!length(cases)) return()
  peers <- unique(measured[measured$case == cases[1] & measured$metric == "cpu", c("who", "blas")])
  own <- peers$who == "mixguide"
  cells <- lapply(cases, function(case) {
    vapply(seq_len(nrow(peers)), function(i) {
      if (own[i]) return(cell(values(case, "mixguide", "cpu", 1, native), NULL))
      cell(values(case, peers$who[i], "cpu", 1, blas = peers$blas[i]),
           ratios(case, peers$who[i], "cpu", 1, peers$blas[i]))
    }, "")
  })
  data.frame(by = peers$who, BLAS = peers$blas, stats::setNames(cells, cases))
}
limit_table <- do.call(rbind, lapply(engines, function(engine) {
  limit <- primitives(engine)
  data.frame(engine = engine, "FMA, GF/s" = number(limit[["fma"]]),
             "exp, ns" = number(limit[["exp"]]), "normal, ns" = number(limit[["normal"]]),
             "triad, GB/s" = number(limit[["triad"]]), check.names = FALSE)
}))
share_table <- if (NROW(shares)) with(shares, data.frame(
  case = case, engine = engine, "bound, ns" = number(bound), "measured, ns" = number(measured),
  share = number(share), check.names = FALSE
))
thread_table <- do.call(rbind, lapply(engines, function(engine) {
  do.call(rbind, lapply(intersect(c("S1", "S2", "S3", "S5"), measured_cases), function(case) {
    one <- values(case, "mixguide", "wall", 1, engine)
    two <- values(case, "mixguide", "wall", 2, engine)
    data.frame(case = case, engine = engine, "1 thread, ns" = number(stats::median(one)),
               "2 threads, ns" = number(stats::median(two)),
               "times faster" = number(stats::median(one[names(two)] / two)), check.names = FALSE)
  }))
}))
memory_table <- with(peak("peak over result"), data.frame(
  case = case_label(case, who), n = number(at), "above the result, MB" = number(value),
  "whole process, MB" = number(peak("peak of process")$value), check.names = FALSE
))
slope_table <- if (NROW(slopes)) with(slopes, data.frame(
  case = case, size = vary, from = number(from), to = number(to), slope = number(slope),
  expected = power
))

# The largest difference from mixguide: in standard errors for samples, otherwise relative.
agreement <- function(case, who) {
  of <- function(who, engine) {
    rows <- measured[measured$case == case & measured$who == who & measured$engine == engine &
                       measured$unit == "" & measured$vary == "", ]
    stats::setNames(rows$value, rows$metric)
  }
  ours <- of("mixguide", native)
  peer <- of(who, if (startsWith(who, "mixguide")) native else "")
  # other schemes of the same order
  tolerance <- if (case == "E1") 1e-3 else 1e-10
  what <- grep(" se$", names(ours), value = TRUE, invert = TRUE)
  se <- sqrt(ours[paste(what, "se")]^2 + peer[paste(what, "se")]^2)
  sampled <- !anyNA(se)
  difference <- max(abs(peer[what] - ours[what]) / if (sampled) se else abs(ours[what]))
  data.frame(case = case, who = who, "largest difference" = format(difference, digits = 2),
             measure = if (sampled) "standard errors" else "relative",
             agrees = if (difference < if (sampled) 5 else tolerance) "yes" else "no",
             check.names = FALSE)
}
checked <- unique(measured[measured$metric %in% c("x1", "value") & measured$who != "mixguide",
                           c("case", "who")])
agreement_table <- do.call(rbind, Map(agreement, checked$case, checked$who))

tables <- list(goals = goal_table(targets[of_samplers & targets$engine == native, ]),
               "goals-engines" = goal_table(targets[of_samplers & targets$engine != native, ]),
               "goals-densities" = goal_table(targets[grepl("^D", targets$case), ]),
               "goals-other" = targets[!of_samplers & !grepl("^D", targets$case), ],
               missed = missed, "speed-2" = speed_table("wall", 2),
               "speed-1" = speed_table("cpu", 1), densities = single_table(density_goals$case),
               "fokker-planck" = single_table(grid_goals$case), limits = limit_table,
               shares = share_table, threads = thread_table, memory = memory_table,
               scaling = slope_table, agreement = agreement_table, machine = machine)
titles <- c(
  goals = "Goals", "goals-engines" = "Goals with other instruction sets",
  "goals-densities" = "Goals for log-densities", "goals-other" = "Goals for memory and growth",
  missed = "What holds the missed back",
  "speed-2" = "Wall time in ns per particle-step, 2 threads each",
  "speed-1" = "CPU time in ns per particle-step, 1 thread each",
  densities = "Log-densities, CPU time in ns per point, 1 thread",
  "fokker-planck" = "Fokker-Planck equation, CPU time in ns per node and step, 1 thread",
  limits = "Limits of one core",
  shares = "Shares of the limit, 1 thread", threads = "Two threads against one",
  memory = "Peak memory", scaling = "Slopes of log time in log size",
  agreement = "Do all compute the same?", machine = "Machine"
)
dir.create(file.path(directory, "tables"), showWarnings = FALSE)
unlink(file.path(directory, "tables", "*.csv"))
tables <- Filter(NROW, tables)
for (name in names(tables)) {
  utils::write.csv(tables[[name]], file.path(directory, "tables", paste0(name, ".csv")),
                   row.names = FALSE, na = "")
}
utils::write.csv(targets, file.path(directory, "targets.csv"), row.names = FALSE)
options(knitr.kable.NA = "")
writeLines(unlist(lapply(names(tables), function(name) {
  c(paste("##", titles[[name]]), "", knitr::kable(tables[[name]], "pipe", row.names = FALSE), "")
})), file.path(directory, "report.md"))

# ---- Plots

look <- theme_minimal(base_size = 11) +
  theme(legend.position = "bottom", plot.title.position = "plot",
        panel.grid.minor = element_blank())
colours <- c("#0072B2", "#D55E00", "#009E73")
save_plot <- function(plot, name, width, height) {
  file <- file.path(directory, paste0(name, ".png"))
  grDevices::png(file, width, height, "in", res = 120, type = "cairo", antialias = "gray")
  print(plot)
  grDevices::dev.off()
  # vignette performance shows them; with 64 colours they take a third of the size
  if (nzchar(Sys.which("pngquant"))) {
    system2("pngquant", c("--force", "--ext=.png", "--speed=1", 64, shQuote(file)))
  }
}

bars <- do.call(rbind, lapply(of_goals, function(row) {
  do.call(rbind, lapply(names(peer_names), function(peer) {
    times <- ratios(goals$case[row], peer, "wall", 2, peer_blas[[peer]], native, goals$ours[row])
    if (!length(times)) return()
    data.frame(case = case_label(goals$case[row], goals$ours[row]), peer = peer_names[[peer]],
               times = stats::median(times), low = min(times), high = max(times),
               goal = goal(row, peer, native))
  }))
}))
if (NROW(bars)) {
  bars$case <- factor(bars$case, rev(unique(bars$case)))
  place <- position_dodge(width = .6)
  save_plot(
    ggplot(bars, aes(times, case, colour = peer, shape = peer)) +
      geom_linerange(aes(xmin = low, xmax = high), position = place) +
      geom_point(position = place, size = 2.4) +
      geom_point(aes(goal), position = place, shape = 124, size = 4, show.legend = FALSE) +
      scale_x_log10(breaks = 10^(0:4), minor_breaks = NULL) +
      scale_colour_manual(values = colours) +
      labs(title = "Times faster, two threads each (bars: the goals)", x = NULL, y = NULL,
           colour = NULL, shape = NULL) + look,
    "ratios", 7, 4
  )
}
if (NROW(shares)) {
  shares$engine <- factor(shares$engine, engines)
  shares$case <- factor(shares$case, rev(unique(shares$case)))
  place <- position_dodge(width = .6)
  save_plot(
    ggplot(shares, aes(share, case, colour = engine, shape = engine)) +
      geom_linerange(aes(xmin = low, xmax = high), position = place) +
      geom_point(position = place, size = 2.4) +
      geom_point(aes(goal), position = place, shape = 124, size = 4, na.rm = TRUE,
                 show.legend = FALSE) +
      scale_x_continuous(limits = c(0, NA), labels = function(x) paste0(100 * x, " %")) +
      scale_colour_manual(values = colours) +
      labs(title = "Share of the machine's limit, one thread (bars: the goals)", x = NULL,
           y = NULL, colour = NULL, shape = NULL) + look,
    "shares", 7, 4
  )
}
if (nrow(scaling)) {
  scaling$vary <- factor(scaling$vary, c("n", "steps", "K", "d"))
  save_plot(
    ggplot(scaling, aes(at, value, colour = case, shape = case)) +
      geom_smooth(method = "lm", formula = y ~ x, se = FALSE, linewidth = .4) +
      geom_point(size = 1.8) + facet_wrap(~ vary, nrow = 1, scales = "free_x") +
      scale_x_log10(guide = guide_axis(check.overlap = TRUE)) + scale_y_log10() +
      scale_colour_manual(values = colours) +
      labs(title = "CPU seconds of whole calls as one size grows, with the fitted power",
           x = NULL, y = NULL, colour = NULL, shape = NULL) + look,
    "scaling", 7, 3.4
  )
}

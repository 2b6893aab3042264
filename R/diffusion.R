#' A diffusion: everything that determines a run
#'
#' A diffusion is one object with all arguments that determine a process. Samples, laws, errors and
#' bounds of one diffusion are about the same process.
#'
#' @details
#' Every function that takes a diffusion also takes a mixture followed by the same arguments, by
#' name or in this order: `guided_sample(diffusion(m, "a", sampler_ddim(50)))` is
#' `guided_sample(m, "a", sampler = sampler_ddim(50))`. Arguments given with a diffusion replace its
#' own: `guided_law(d, schedule = schedule_vp())`. Properties of a mixture, as [score()] or
#' [lipschitz()], take its mixture, and, if these are not given, its guidance, schedule and key.
#'
#' **The default sampler** is `sampler_rk4(50, "logsnr", end = 1e-5)`: 200 scores on a grid that
#' suits any schedule and components of any width. On mixtures fitted to real data its particles end
#' within .003 of a standard deviation from those of continuous time up to strength 32, where 200
#' steps of DDIM are off by .02 to .4. Schedules that have discrete steps or forget the data
#' completely (`schedule_ddpm()`, `schedule_etc()`) have no such grid; their default is
#' `sampler_ddim(200)`.
#'
#' **An analysis of another process** chooses what neither the call nor the diffusion was given.
#' [path_kl()], [error_budget()], [guidance_identities()], [guided_limit()], [tilted_sample()] and
#' the zero-shot methods have a stochastic sampler (and the last a schedule), [step_condition()],
#' [capped_strength()] and [coupled_paths()] other steps for the ODE, and [convergence_order()]
#' starts exactly. The first line of a print says so. What was given is kept; an analysis that
#' cannot follow it says what it needs, and `update(d, sampler = ...)` gives it.
#'
#' @param mixture A [gaussmix()]; some analyses also take a [score_model()], as their pages say.
#' @param guidance `NULL`, for the mixture itself; a [guidance()]; or the label of a class, or
#'   several labels for their union, which means guidance of strength 0: the class itself.
#' @param sampler A [sampler()], such as those of the `sampler_*()`; `NULL` for the default.
#' @param schedule The forward process, see [schedule].
#' @param horizon Time at which the sampler starts; `NULL`: the schedule's, or later, see [horizon].
#' @param start Where particles start: `"normal"`, N(0, I) (N(0, b^2 I) for schedules that are not
#'   variance preserving); `"exact"`, the true law of the class (or mixture) at the horizon; a
#'   [gaussmix()], the law at the horizon; or an n x d matrix (with an attribute `log_density`, n
#'   numbers, if a log-density is to be carried along). The last two are in the units of the data: a
#'   point `u` of a standardised process is `u * scale + center`, of `mixture$coordinates`.
#' @param score_error `NULL`, or an error of the score that drives the sampler, see [score_error()].
#' @param key Determines all random numbers. `NULL` draws a key from R's generator, so that
#'   [set.seed()] determines the run. Two whole numbers, such as the `key` of another run, give the
#'   same noise as that run and leave R's generator alone, see [guided_sample()]. Every `key` in
#'   this package works this way.
#' @param points `NULL`, for the default of the analysis; `"random"`, for independent particles; or
#'   `"sobol"`, for particles that are spread more evenly. Only the functions that [net] names use
#'   it; all others draw independently, and refuse `"sobol"` as an argument of their own.
#' @param object A diffusion; for `update()` also a result of [guided_sample()],
#'   [guided_summary()], [guidance_sweep()], [tilted_sample()] or [conditional_sample()].
#' @param ... `update()`: arguments to replace, of the diffusion or of the function that made the
#'   run, by name. A run keeps its key, so that the new run meets the same noise; `key = NULL` draws
#'   another key. Other methods: must be empty.
#' @return An object of class `mixguide_diffusion`: a list of the arguments, checked, with `times`,
#'   the grid of the sampler.
#' @seealso [guided_sample()], [guidance_sweep()], [guided_law()], [guided_error()].
#' @examples
#' m <- gaussmix(c(.3, .7), rbind(c(-1, 0), c(1, 1)), cov = .5, class = c("a", "b"))
#' d <- diffusion(m, guidance("a", 2), sampler_ddim(50))
#' d
#' run <- guided_sample(d, 1000)
#' run
#' update(run, guidance = guidance("b", 2), n = 200)
#' step_condition(d)
#' update(d, sampler = sampler_em(50))
#' @export
diffusion <- function(mixture, guidance = NULL, sampler = NULL, schedule = schedule_ou(),
                      horizon = NULL, start = "normal", score_error = NULL, key = NULL,
                      points = NULL) {
  whole <- mixture
  if (inherits(mixture, "score_model")) {
    mixture <- stand_in(mixture)
    refuse_beside(start, score_error)
  }
  check_mixture(mixture)
  check_schedule(schedule)
  guidance <- as_guidance(guidance)
  if (!is.null(guidance)) class_components(mixture, guidance$class, "guidance")
  given <- list(sampler = sampler, horizon = horizon, schedule = if (!missing(schedule)) schedule,
                start = if (!missing(start)) start)
  sampler <- if (is.null(sampler)) default_sampler(schedule, horizon) else check_sampler(sampler)
  times <- sampler_times(sampler, schedule, horizon, mixture)
  guidance <- settle_guidance(guidance, schedule, times)
  structure(list(mixture = whole, guidance = guidance, sampler = sampler, schedule = schedule,
                 horizon = times[1], start = check_start(start, mixture),
                 score_error = if (is.function(score_error)) score_error else {
                   check_score_error(score_error)
                 },
                 key = check_key(key), points = check_kind_of_points(points), times = times,
                 given = given),
            class = object_class("mixguide_diffusion"))
}

default_sampler <- function(schedule, horizon = NULL) {
  if (is.null(horizon)) horizon <- schedule$horizon
  if (!is.null(schedule$steps) || !is_number(horizon) || !isTRUE(schedule$a(horizon) > 0)) {
    return(sampler_ddim(200))
  }
  sampler_rk4(50, "logsnr", end = if (horizon > 0) min(1e-5, 1e-4 * horizon) else 1e-5)
}

check_start <- function(start, mixture) {
  if (is.character(start)) return(check_choice(start, c("normal", "exact"), "start"))
  if (inherits(start, "gaussmix")) check_same_variables(start, mixture, "start")
  start
}

# The diffusion of an analysis: a given diffusion with some arguments replaced, or a new one from a
# mixture. `own`: arguments that the analysis itself also has; a NULL counts as missing. `default`:
# what the analysis chooses where neither the call nor the diffusion was given anything, so that
# f(diffusion(m, ...)) is f(m, ...). `without`: arguments that the analysis refuses. `takes_model`:
# does it accept a score_model() that stands alone? (The mixture then is its stand-in.)
as_diffusion <- function(mixture, ..., own = list(), default = list(), without = character(),
                         takes_points = FALSE, takes_model = FALSE) {
  analysis <- sys.function(sys.parent())
  args <- diffusion_arguments(c(own, list(...)), analysis)
  args <- args[!(names(args) %in% names(own) & vapply(args, is.null, NA))]
  known <- if (inherits(mixture, "mixguide_diffusion")) check_diffusion(mixture)
  given <- c(args, known$given[setdiff(names(known$given), names(args))])
  open <- setdiff(names(default), names(Filter(Negate(is.null), given)))
  args[open] <- default[open]
  d <- if (!is.null(known)) change_diffusion(known, args) else {
    if (!inherits(mixture, c("gaussmix", if (takes_model) "score_model"))) {
      abort_input("mixture", if (inherits(mixture, "score_model")) model_alone else {
        "a gaussmix or a diffusion"
      }, came_instead(mixture))
    }
    do.call(diffusion, c(list(mixture), args), quote = TRUE)
  }
  # analyses that assume independent particles get independent ones
  if (!takes_points) {
    if (identical(args$points, "sobol")) {
      abort_input("points", 'NULL or "random", since this analysis draws independently', '"sobol"')
    }
    d["points"] <- list(NULL)
  }
  for (part in without) {
    value <- d[[part]]
    if (is.null(value) || part == "start" && identical(value, "normal")) next
    wanted <- if (part == "start") '"normal"' else "NULL"
    abort_input(part, paste0(wanted, ", since this analysis does not take it into account (for a ",
                             "diffusion: update(d, ", part, " = ", wanted, "))"),
                if (part == "start") start_words(value) else format(value)[1])
  }
  if (!takes_model && inherits(d$mixture, "score_model")) {
    abort_input("mixture", model_alone, "a diffusion of one")
  }
  driven_by_model(d)
}

# For properties of a mixture: if the caller's `mixture` is a diffusion, the caller goes on with its
# mixture and, in place of arguments that were not given, with what the diffusion was given.
unpack_diffusion <- function(frame = parent.frame()) {
  d <- eval(quote(mixture), frame)
  if (!inherits(d, "mixguide_diffusion")) return(invisible())
  check_diffusion(d)
  own <- Filter(Negate(is.null), list(guidance = d$guidance, schedule = d$given$schedule,
                                      score_error = d$score_error, key = d$key))
  taken <- names(formals(sys.function(sys.parent())))
  if ("score_error" %in% setdiff(names(own), taken)) {
    abort_input("score_error", "NULL, since this function does not take it into account",
                format(own$score_error)[1])
  }
  for (part in intersect(names(own), taken)) {
    if (eval(call("missing", as.name(part)), frame)) assign(part, own[[part]], frame)
  }
  assign("mixture", d$mixture, frame)
}

diffusion_arguments <- function(args, f, known = names(formals(diffusion))[-1]) {
  given <- names_of(args)
  own <- setdiff(names(formals(f)), "...")
  unknown <- setdiff(given, c("", known))
  if (length(unknown)) no_such_argument(unknown[1], own, known)
  free <- setdiff(known, given)
  by_place <- given == ""
  if (sum(by_place) > length(free)) no_such_argument("", c(own, known), NULL)
  given[by_place] <- free[seq_len(sum(by_place))]
  stats::setNames(args, given)
}

# diffusion() with some arguments replaced. What was chosen where nothing was given is chosen anew.
remade_diffusion <- function(d, args) {
  kept <- unclass(d)[names(formals(diffusion))]
  kept[names(d$given)] <- d$given
  kept <- Filter(Negate(is.null), kept[setdiff(names(kept), names(args))])
  do.call(diffusion, c(kept, args), quote = TRUE)
}

change_diffusion <- function(d, args) if (length(args)) remade_diffusion(d, args) else d

# A diffusion from parts that have been checked before.
check_diffusion <- function(x, arg = "mixture") {
  check_made(x, arg, "diffusion()", times = is.numeric, horizon = is_number, given = is.list)
  if (inherits(x$mixture, "score_model")) check_score_model(x$mixture, arg) else {
    check_mixture(x$mixture)
  }
  check_guidance(x$guidance)
  check_sampler(x$sampler)
  check_schedule(x$schedule)
  check_key(x$key)
  check_kind_of_points(x$points)
  x
}

#' @rdname diffusion
#' @export
update.mixguide_diffusion <- function(object, ...) {
  change_diffusion(check_diffusion(object, "object"),
                   diffusion_arguments(list(...), update.mixguide_diffusion,
                                       names(formals(diffusion))))
}

# ---- Running again with changes

# The parts of a call of our function that update() needs: its diffusion and its own arguments.
call_of <- function(of, d, frame = parent.frame()) {
  own <- setdiff(names(formals(get(of, topenv()))), c("mixture", "...", "folder"))
  list(of = of, diffusion = unclass(d), args = mget(own, frame))
}

# The mixture stays in the result and is not stored twice.
with_call <- function(result, call, key) {
  call$diffusion["key"] <- list(key)
  if (is.list(result) && identical(result$mixture, call$diffusion$mixture)) {
    call$diffusion["mixture"] <- NULL
  }
  structure(result, call_of = call)
}

#' @rdname diffusion
#' @export
update.mixguide_object <- function(object, ...) {
  call <- attr(object, "call_of")
  if (is.null(call)) {
    abort_input("object",
                paste("a diffusion(), or what guided_sample(), guided_summary(),",
                      "guidance_sweep(), tilted_sample() or conditional_sample() returns"),
                a_class(object))
  }
  f <- get(call$of, topenv())
  given <- list(...)
  if (!all(nzchar(names_of(given)))) {
    no_such_argument("", c(setdiff(names(formals(f)), "..."), names(formals(diffusion))[-1]), NULL)
  }
  own <- names(given) %in% setdiff(names(formals(f)), c("mixture", "..."))
  changed <- diffusion_arguments(given[!own], f, names(formals(diffusion)))
  args <- call$args[setdiff(names(call$args), names(given))]
  do.call(f, c(list(run_diffusion(object, changed)), args, given[own]), quote = TRUE)
}

#' @rdname diffusion
#' @export
update.mixguide_table <- update.mixguide_object

# The diffusion of a run, with some arguments replaced; NULL if the run does not know its call.
run_diffusion <- function(run, args = list()) {
  d <- attr(run, "call_of")$diffusion
  if (is.null(d)) return(NULL)
  if (is.null(d$mixture)) d$mixture <- run$mixture
  remade_diffusion(d, args)
}

start_words <- function(start) {
  if (is.character(start)) return(start)
  if (inherits(start, "gaussmix")) "mixture" else "given"
}

in_words.mixguide_diffusion <- function(x) {
  alone <- inherits(x$mixture, "score_model")
  size <- if (alone) "a score_model()" else count_of(mixture_size(x$mixture), "component")
  in_dimensions(paste("of", size), mixture_dim(x$mixture))
}

print_body.mixguide_diffusion <- function(x, ...) {
  say(process_lines(driven_by_model(x)))
  if (is.null(x$given$sampler)) {
    say("The sampler was not given: an analysis of another process takes its own.")
  }
  print_faults(diffusion_faults(x))
}

# The head of a print: guidance, score, sampler, schedule and points, some left out, some replaced.
process_lines <- function(x, without = character(), ...) {
  lines <- c(guidance = if (is.null(x$guidance)) "none" else format(x$guidance),
             score = if (!is.null(x$score_error)) format(x$score_error),
             sampler = format(x$sampler),
             schedule = paste0(schedule_words(x), ", from t = ", format(x$horizon, digits = 4),
                               ", start ", start_words(x$start)),
             points = if (identical(x$points, "sobol")) "scrambled Sobol nets")
  words <- unlist(list(...))
  lines[names(words)] <- words
  lines <- lines[setdiff(names(lines), without)]
  c(paste0(formatC(paste0(names(lines), ":"), width = -10), lines),
    if (!"guidance" %in% without) all_classes_note(x$mixture, x$guidance$class))
}

# The process of an analysis whose own one differs from the default, for the first line of a print.
about_process <- function(d, rest) {
  paste0("about the ", if (d$sampler$stochastic) "reverse SDE" else "ODE", ", ", rest)
}

about_time <- function(rest) paste0("about continuous time, ", rest)

# An error for a sampler that an analysis cannot follow, with one that it can.
refuse_sampler <- function(d, wanted, such) {
  abort_input("sampler", paste0(wanted, " (for a diffusion: update(d, sampler = ", such, "))"),
              format(d$sampler))
}

# The `setup` of a table: its diffusion, and further elements.
setup_of <- function(d, ...) {
  c(list(mixture = said_mixture(d$mixture)),
    unclass(d)[c("guidance", "sampler", "schedule", "horizon", "times", "score_error", "key")],
    list(start = start_words(d$start), class = d$guidance$class, ...))
}

# The faults of the start and the steps of a diffusion (see ?horizon).
diffusion_faults <- function(d) {
  mixture <- driven_by_model(d)$mixture
  c(run_faults(in_process(mixture), d$schedule, d$times, process_start(d$start, mixture)),
    profile_faults(d$guidance, d$sampler, d$times))
}

run_key <- function(d) own_key(d$key)

# Is the guidance towards one class, with nothing but a strength?
plain_guidance <- function(d) {
  guidance <- check_guidance(d$guidance, optional = FALSE)
  plain <- is.null(guidance$negative) && !length(guidance$others)
  if (!plain) abort_input("guidance", "towards one class, without other models")
  refuse_odd(guidance, "here")
  guidance
}

constant_strength <- function(guidance) {
  if (is.null(guidance$scale) || !is.null(guidance$interval)) {
    abort_input("guidance", "of one strength at all times", format(guidance))
  }
  guidance$strength(0)
}

# The diffusion in the coordinates of its process, for analyses that work there.
process_diffusion <- function(d, error = check_score_error(d$score_error)) {
  like <- d$mixture
  d <- replace(d, c("mixture", "guidance", "start", "score_error"),
               list(in_process(like), in_process(d$guidance, like), process_start(d$start, like),
                    in_process(error, like)))
  # the choices made for the mixture stay
  d$given <- unclass(d)[names(d$given)]
  d
}

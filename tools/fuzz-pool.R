# The values with which tools/fuzz.R and tools/sanitize.R make calls: objects under short names,
# legal values for arguments by their names, and hostile values. A value is text. "m$*" stands for
# any element of m, MIX for the mixture of the call, DIM for its dimension.
ab <- c("a", "b")
plane <- cbind(c(-1, 1), c(0, 1))
tilted <- matrix(c(1, .5, .5, 1), 2)
m <- list(
  one = gaussmix(1, 0, 1, class = "a"),
  line = gaussmix(c(.3, .7), c(-1, 1), .5, class = ab),
  three = gaussmix(c(.3, .4, .3), c(-1, 0, 1), c(.5, .2, .1), class = c("a", "b", "a")),
  points = gaussmix(c(.3, .7), c(-1, 1), 0, class = ab),
  iso = gaussmix(c(.3, .7), cbind(x = c(-1, 1), y = 0:1), .5, class = ab),
  diag = gaussmix(c(.2, .8), plane, list(c(.5, .2), c(1, 2)), class = ab),
  full = gaussmix(c(.2, .8), plane, list(tilted, diag(2)), class = ab),
  common = gaussmix(c(.2, .8), plane, tilted, class = ab),
  singular = gaussmix(c(.2, .8), plane, list(matrix(1, 2, 2), diag(2)), class = ab),
  unused = gaussmix(c(.2, 0, .8), rbind(plane, 9), list(1, 0, 2), class = c("a", "a", "b")),
  many = gaussmix(rep(1, 50), cbind(cos(1:50), sin(1:50)), .01, class = rep(ab, 25)),
  five = gaussmix(c(.3, .3, .4), matrix(sin(1:15), 3, dimnames = list(NULL, letters[1:5])),
                  crossprod(matrix(cos(1:25), 5)) + diag(5), class = c("a", "b", "b")),
  wide = gaussmix(c(.5, .5), rbind(rep(0, 40), rep(1, 40)), 1, class = ab),
  far = gaussmix(c(.5, .5), c(-1e8, 1e8), 1, class = ab),
  huge = gaussmix(c(.5, .5), c(-1e200, 1e200), 1e100, class = ab),
  tiny = gaussmix(c(.5, .5), c(-1e-150, 1e-150), 1e-300, class = ab),
  units = as_gaussmix(iris[1:2], class = ifelse(iris$Species == "setosa", "a", "b"))
)
g <- list(
  a = guidance("a", 2), plain = guidance("a"), away = guidance("a", -2), big = guidance("a", 1e6),
  time = guidance("a", function(t) 2 * t), interval = guidance("a", 4, c(.1, 1)),
  power = guidance("a", 2, power = .5), class = guidance("a", 2, negative = "b"),
  sum = guidance("a", 2) + guidance("b", -2), union = guidance(ab, 1),
  rule = guidance("a", 2, rule = "apg"), known = guidance("a", 1, rule = "feedback"),
  own = guidance("a", 2, rule = function(t, inner) list(c = 2, u = -inner$cu / inner$uu)),
  of_q = guidance("a", function(t, q) 4 * (1 - q)), dng = guidance("a", strength_profile("dng")),
  profile = guidance("a", strength_profile("cosine", 2)),
  variable = guidance("a", c(x1 = 2)), matrix = guidance("a", strength_bands(2, c(0, 3))),
  recfg = guidance("a", 2, rule = "recfg"), equation = guidance("a", 2, rule = "characteristic"),
  worse = guidance("a", 2, negative = m$line)
)
s <- list(
  ddim = sampler_ddim(5), one = sampler_ddim(1), ddpm = sampler_ddpm(5), em = sampler_em(5),
  matched = sampler_ddpm(5, variance = "matched"),
  exponential = sampler_exponential(5, "uniform", stochastic = TRUE),
  heun = sampler_heun(5, end = .01), rk4 = sampler_rk4(5, end = .01), to_zero = sampler_heun(5),
  multi = sampler_dpmpp_2m(5), logsnr = sampler_ddim(5, grid = "logsnr", end = .01),
  times = sampler_ddim(grid = c(1, .5, .1)), corrected = sampler_corrected(sampler_ddim(4)),
  pcg = sampler_pcg(4), zigzag = sampler_zigzag(4),
  dpum = sampler_dpum(2, horizon = 1, end = .1),
  own = sampler("own", function(k, times, schedule) {
    list(op_eval("s", t = times[k]), op_linear("x", c(x = 1, s = times[k] - times[k + 1])))
  }, steps = 4)
)
sc <- list(ou = schedule_ou(), vp = schedule_vp(), cosine = schedule_cosine(), ve = schedule_ve(),
           subvp = schedule_subvp(), flow = schedule_flow(), ddpm = schedule_ddpm(rep(.9, 6)),
           forgets = schedule_ddpm(c(rep(.9, 6), 0)), etc = schedule_etc(20))
o <- list(x = observation(.5, variables = 1), both = observation(c(.1, .2), variables = 1:2),
          noisy = observation(.5, variables = 1, noise = .3), sum = observation(1, rbind(c(1, 1))),
          two = observation(1:2, rbind(c(1, 1), c(1, -1)), noise = diag(2)),
          before = observation(variables = 1, noise = .1))
z <- list(ddnm = zero_shot_ddnm(), bo = zero_shot_bo(), repaint = zero_shot_repaint(2),
          ddrm = zero_shot_ddrm(), dps = zero_shot_dps(), pigdm = zero_shot_pigdm(),
          diffpir = zero_shot_diffpir(), smcdiffopt = zero_shot_smcdiffopt(8),
          tmpd = zero_shot_tmpd(), exact = zero_shot_exact(), tds = zero_shot_tds(8))
own <- score_model(function(x, t, class) -x, variables = 2, class = c("a", "b"),
                   classifier = function(x) cbind(a = plogis(x[, 1]), b = plogis(-x[, 1])))
e <- list(bias = score_error(.1), scale = score_error(scale = 1.2), noise = score_error(noise = .1),
          time = score_error(function(t) .1 * t), model = score_error(model = m$line))
f <- list(boom = function(...) stop("boom"), na = function(...) NA, vector = function(...) 1:3,
          null = function(...) NULL, inf = function(...) Inf, text = function(...) "a",
          none = function() 1, more = function(t, other) other, warns = function(...) warning("w"))
latin <- "\xe9"
Encoding(latin) <- "latin1"
bytes <- "\xff\xfe"
Encoding(bytes) <- "bytes"
evil <- c(f, list(
  null = NULL, na = NA, real_na = NA_real_, text_na = NA_character_, nan = NaN, inf = Inf,
  minus_inf = -Inf, minus = -1, zero = 0, big = 1e308, small = 1e-308, tiny = 5e-324, half = .5,
  p31 = 2^31, int_max = 2^31 - 1, p53 = 2^53, a = "a", empty = "", unknown = "zzz", breaks = "a\rb",
  long = strrep("x", 1e5), twice = c("a", "a"), factor = factor("a"), list0 = list(),
  list1 = list(1), nested = list(list(list())), no_rows = matrix(0, 0, 3), no_columns = matrix(0,
  3, 0),
  na_matrix = matrix(NA_real_, 2, 2), inf_matrix = matrix(Inf, 2, 2), array = array(0, c(2, 2, 2)),
  frame0 = data.frame(), text_frame = data.frame(x = letters[1:3]), int0 = integer(0),
  text0 = character(0), flag0 = logical(0), int3 = 1:3, minus3 = -(1:3), complex = 1i,
  raw = as.raw(1),
  date = as.Date("2026-01-01"), duration = as.difftime(1, units = "secs"), env = new.env(),
  sum = sum,
  symbol = quote(x), call = quote(a + b), formula = y ~ x, yes = TRUE, no = FALSE,
  odd = structure(1, class = "foo"), iris = iris, names2 = c(a = 1, a = 2), latin = latin,
  bytes = bytes, unicode = "\u4f60\U1F600", format = "%s%n%d", int64 = structure(1,
  class = "integer64"),
  series = stats::ts(1:4), row = matrix(1:2, 1), text_matrix = matrix("a", 2, 2), flags = c(TRUE,
  NA),
  infs = c(-Inf, 0, Inf), rising = c(0, 1, 2, 4), ties = c(1, 1), falling = c(3, 2, 1),
  path = "/nonexistent/folder/x", device = "/dev/null", numbers = rep(1, 1e5)))

# One field of an object, replaced, dropped or doubled.
tamper <- function(x, i, how) {
  if (!is.list(x) || !length(x)) return(x)
  i <- (i - 1) %% length(x) + 1
  kept <- attributes(x)
  fields <- unclass(x)
  fields[i] <- list(switch(how, NULL, c(fields[[i]], fields[[i]]), NA, "a", list(), -1, f$boom))
  attributes(fields) <- kept
  fields
}

# The functions of the package, in an environment in which `.Call` is `call`.
with_call <- function(call) {
  ns <- asNamespace("mixguide")
  shadow <- new.env(parent = ns)
  for (name in ls(ns, all.names = TRUE)) {
    value <- get(name, ns)
    # objects that keep state in an environment of their own leave it unchanged
    if (is.function(value) && identical(environment(value), ns)) environment(value) <- shadow
    assign(name, value, shadow)
  }
  shadow$.Call <- call
  shadow
}

legal <- list(
  mixture = c("m$*", "diffusion(m$line)", "own"), target = "m$*", model = c("m$line", "m$iso"),
  guidance = c("NULL", "g$*", "'a'", "c('a', 'b')"),
  sampler = "s$*", predictor = "s$*", schedule = "sc$*", observation = "o$*", method = "z$*",
  points = c("NULL", "'random'", "'sobol'"),
  score_error = c("NULL", "e$*"), methods = c("list(z$ddnm)", "list(z$bo, z$exact)"),
  x = c("matrix(sin(1:(3 * DIM)), 3)", "matrix(0, 0, DIM)", "matrix(1e10, 2, DIM)",
  "rgaussmix(9, MIX)"),
  class = c("'a'", "'a'", "'b'", "c('a', 'b')"), object = "obj$*", law = "obj$guided_law",
  strength = c("0", "1", "-2", "30", "1e6", "c(0, 1, 4)", "function(t) 2 * t"), key = c("NULL",
  "c(1, 2)"),
  n = c("2", "9", "33", "100"), nodes = c("20", "50"), steps = c("4", "8"), times = c("c(5, 1)",
  "c(2, .5, 0)"),
  horizon = c("NULL", "1", ".5"), start = c("'normal'", "'exact'"), end = c("0", ".01"),
  log_density = c("'auto'", "'map'", "'divergence'", "'none'"), trajectory = c("TRUE", "FALSE"),
  reduce = c("TRUE", "FALSE"), folder = c("NULL", "tempfile('kept')"), bins = c("1", "20"),
  range = c("NULL", "c(.1, 3)"), covariance = c("NULL", "TRUE", "FALSE"), noise = c("NULL", "0",
  ".1"),
  interval = c("NULL", "c(.1, 1)"), exact = c("NULL", "TRUE", "FALSE"), keep = c("TRUE", "FALSE"),
  t = c("0", ".1", "1"), y = c("1", "c(x = 1)"), H = c("NULL", "rbind(c(1, 1))", "diag(2)"),
  q = c("0", "c(-Inf, 0, Inf)"), p = c("c(0, .5, 1)", ".1"),
  data = "data.frame(x = c(1, NA), y = c(NA, 2))",
  m = c("1", "3"), directions = c("1", "20"), level = c(".5", ".9"),
  samples = c("rgaussmix(60, m$iso)", "m$iso"),
  variables = c("1", "'x'"),
  loss = ".1", tol = "1e-2", rho = ".1", name = "'D3'", error = c(".5", ".1"), measure = c("'kl'",
  "TRUE"),
  most = c("20", "100"), seconds = "1", claim = "'entropy'", friction = "2", step = c(".05", "1"),
  eta = c("0", "1"),
  grid = c("'uniform'", "'quadratic'", "c(1, .5, .1)"), type = "'uniform'",
  variance = "'posterior'",
  order = c("1", "2"), stochastic = c("TRUE", "FALSE"), corrector = "corrector_langevin(.05)",
  weights = c("c(.5, .5)", "'path'"), means = "c(-1, 1)", cov = c("1", "0"), grids = c("NULL",
  "'uniform'"),
  alpha = "c(.9, .8)", coef = "c(x = 1)", diagonal = "1", to_register = "'s'",
  a = "function(t) exp(-t)",
  b2 = "function(t) -expm1(-2 * t)", max = "9", samplers = "NULL", lipschitz = c("NULL", "2"),
  shape = "NULL", maximum = c("FALSE", "TRUE"), lambda = c("0", "2"), zeta = c("0", "1"),
  particles = c("1", "8"), kappa = "1e-3", resampling = "'every step'"
)
# names that have another meaning in some functions
special <- list(
  as_gaussmix = list(x = c("iris[1:4]", "rgaussmix(40, m$iso)")),
  confidence = list(x = "obj$*"), entropy = list(x = "obj$*"), moments = list(x = "m$*"),
  corrector = list(
    step = "function(t, schedule) list(op_linear('x', c(x = 1)))"), sampler = list(
    step = "function(k, times, schedule) list(op_linear('x', c(x = 1)))"),
    op_eval = list(to = "'s'", from = "'x'"),
  op_linear = list(to = "'x'"), op_noise = list(to = "'z'"), op_product = list(to = "'v'",
  from = "'x'"),
  op_root = list(to = "'v'", from = "'x'"), op_solve = list(to = "'v'", from = "'x'"),
  guided_error = list(method = "'auto'"),
  compare_guidance = list(guidance = c("g$*", "list(g$a, g$plain)", "list(one = g$rule, g$power)")),
  best_strength = list(guidance = c("g$*", "'a'"), target = c("'class'", "'tilt'"),
                       measure = c("'kl_reverse'", "'total_variation'"), knots = "2",
                       confidence = c("NULL", ".9"), profiles = "'linear'"),
  mismatch = list(observation = c("NULL", "o$*", "o$before")),
  law_distance = list(target = c("obj$guided_law", "m$line")),
  condition = list(observation = c("o$*", "c(x = 1)", "data.frame(x = 1:3)")),
  guided_limit = list(guidance = "g$*", sampler = "sampler_em(8, 'uniform')"),
  judge_samples = list(p = c("1", "2")),
  recfg_weights = list(n = "1024", t = c("1", "c(.1, 2)"), guidance = "g$*"),
  strength_bands = list(d = "3", strength = c("1", "c(0, 2)"), widths = "NULL"),
  split_threshold = list(m = "2", strength = c("NULL", "1", "c(0, 30)")),
  information = list(quantity = c("'second_moment'", "'fisher'", "c('entropy', 'curvature')")),
  sliced_wasserstein = list(x = "matrix(1:4, 2)", y = "matrix(4:1, 2)", p = c("1", "2")),
  time_grid = list(horizon = "1"),
  law_density = list(x = c("0", "cbind(0, 0)")), schedule_etc = list(steps = "20"),
  score_error = list(scale = "1.1")
)
# sizes determine how long a call takes
always <- c("n", "nodes", "directions", "times", "steps", "sampler", "methods", "seconds",
            "most", "name")

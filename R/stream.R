# One key settles all random numbers of a call. The particles' own noise comes from the key itself;
# every other use has a stream of its own, so that no two meet the same numbers.

# What random numbers are for. A number that has been given away is never used for something else.
STREAMS <- c(
  draws = 1, # points of a law, by their numbers (keyed_draws())
  rest = 2, # the noise of what a reduction leaves beside the engine's
  steps = 3, # the noise of the i-th part of a run that stops on the way
  resampling = 4, # the i-th draw of who goes on
  directions = 5, # of a sliced distance
  exact = 6, # the i-th sample of the law to compare with
  target = 7, # draws of the class that a sweep aims at
  noise = 8, # the i-th diffusion of given points
  instance = 9, # a random problem, of tools/validate-inverse
  judge = 10, # the judgement of a run, its key
  check = 11, # an estimate that another is checked by
  multinomial = 12, # the i-th draw of who goes on, for each particle by itself
  analysis = 13, # what an analysis draws from R's generator
  imputation = 14, # the i-th imputation, by the numbers of rows
  points = 15, # the scrambles of nets
  neighbours = 16, # particles whose entropy is known
  control = 17 # draws of a run's law that is known
)

# The key of the i-th stream of a purpose.
stream <- function(key, purpose, i = 0) {
  .Call(ffi_stream, list(key = as.double(key), purpose = STREAMS[[purpose]], i = as.double(i)))
}

# The one contract of every argument `key`: one that is given settles all draws, and R's generator
# is left as it was; NULL takes a key from R's generator, if anything is drawn, so that set.seed()
# rules. To be called where draws are made, after check_key().
own_key <- function(key) if (is.null(key)) draw_key() else key

# What the calling function draws from R's own generator is settled by the key of its diffusion, if
# that has one; the generator is left as it was.
local_key <- function(d, frame = parent.frame()) {
  if (is.null(d$key)) return(invisible())
  before <- get0(".Random.seed", globalenv(), inherits = FALSE)
  do.call(on.exit, list(call("restore_seed", before), add = TRUE), envir = frame)
  set.seed(stream(d$key, "analysis")[1] %% .Machine$integer.max, "Mersenne-Twister", "Inversion",
           "Rejection")
}

restore_seed <- function(before) {
  if (is.null(before)) rm(".Random.seed", envir = globalenv()) else {
    assign(".Random.seed", before, envir = globalenv())
  }
}

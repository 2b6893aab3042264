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
  instance = 9, # a random problem
  judge = 10, # the judgement of a run, its key
  check = 11, # an estimate that another is checked by
  multinomial = 12 # the i-th draw of who goes on, for each particle by itself
)

# The key of the i-th stream of a purpose.
stream <- function(key, purpose, i = 0) {
  .Call(ffi_stream, list(key = as.double(key), purpose = STREAMS[[purpose]], i = as.double(i)))
}

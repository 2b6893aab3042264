# A new user's first calls: a formula, a class, and defaults only. At strength 0 the result must be
# the class itself.

real_data <- function() {
  as_factor <- function(data, column) replace(data, column, list(factor(data[[column]])))
  complete <- function(data) as.data.frame(stats::na.omit(data))
  data(list = c("banknote", "thyroid", "diabetes"), package = "mclust", envir = environment())
  lung <- complete(survival::lung)
  pbc <- complete(survival::pbc)
  list(
    iris = list(Species ~ ., iris),
    mtcars = list(cyl ~ mpg + disp + hp + wt, as_factor(mtcars, "cyl")),
    chickwts = list(feed ~ weight, chickwts),
    PlantGrowth = list(group ~ weight, PlantGrowth),
    warpbreaks = list(tension ~ breaks, warpbreaks),
    ToothGrowth = list(supp ~ len + dose, ToothGrowth),
    airquality = list(Month ~ Ozone + Solar.R + Wind + Temp,
                      as_factor(complete(airquality), "Month")),
    CO2 = list(Type ~ uptake + conc, as.data.frame(CO2)),
    Pima.tr = list(type ~ ., MASS::Pima.tr),
    crabs = list(sex ~ FL + RW + CL + CW + BD, MASS::crabs),
    biopsy = list(class ~ ., complete(MASS::biopsy)[-1]),
    birthwt = list(low ~ age + lwt + bwt, as_factor(MASS::birthwt, "low")),
    cats = list(Sex ~ Bwt + Hwt, MASS::cats),
    Melanoma = list(status ~ time + age + thickness, as_factor(MASS::Melanoma, "status")),
    synth.tr = list(yc ~ xs + ys, as_factor(MASS::synth.tr, "yc")),
    banknote = list(Status ~ ., banknote), thyroid = list(Diagnosis ~ ., thyroid),
    diabetes = list(class ~ ., diabetes),
    lung = list(sex ~ time + age + wt.loss + meal.cal, as_factor(lung, "sex")),
    veteran = list(celltype ~ time + karno + diagtime + age, survival::veteran),
    pbc = list(stage ~ time + age + bili + albumin + copper + platelet, as_factor(pbc, "stage"))
  )
}

test_that("a default run at strength 0 has the mean and the confidence of the class", {
  for (package in c("MASS", "mclust", "survival")) skip_if_not_installed(package)
  set.seed(1)
  sets <- real_data()
  expect_gte(length(sets), 20)
  for (name in names(sets)) {
    fit <- as_gaussmix(sets[[name]][[1]], sets[[name]][[2]])
    for (class in unique(fit$class)) {
      label <- paste(name, class)
      expect_no_warning(run <- guided_sample(fit, guidance = guidance(class, 0)))
      n <- nrow(run$x)
      target <- moments(fit, class)
      shift <- abs(colMeans(run$x) - target$mean) / sqrt(diag(target$cov))
      expect_lt(max(shift), .02 + 4 / sqrt(n), label = paste(label, "mean"))
      q <- posterior(fit, rgaussmix(2e4, class_law(fit, class)))[, class]
      # the run may have missed rare points that occur among the exact law's draws
      se <- sqrt(max(confidence(run)$se^2, var(q) / n) + var(q) / length(q))
      expect_lt(abs(confidence(run)$estimate - mean(q)), 4 * se, label = paste(label, "confidence"))
    }
  }
})

test_that("the units of the data do not matter", {
  set.seed(2)
  for (i in 1:25) {
    d <- sample(1:4, 1)
    label <- factor(sample(c("a", "b", "c"), 90, replace = TRUE, c(.5, .3, .2)))
    x <- matrix(rnorm(90 * d), 90) %*% (diag(d) + .4) + 1.5 * as.integer(label)
    D <- 10^runif(d, -6, 6)
    c <- if (i %% 2) 10^runif(d, -2, 6) * D * apply(x, 2, sd) else double(d)
    # the digits that a shift leaves
    digits <- 1e-13 * max(1, abs(c / D))
    y <- x * rep(D, each = 90) + rep(c, each = 90)
    m <- as_gaussmix(as.data.frame(x), label)
    u <- as_gaussmix(as.data.frame(y), label)
    key <- floor(runif(2) * 2^32)
    one <- guided_sample(m, 100, guidance("b", 1), key = key)
    two <- guided_sample(u, 100, guidance("b", 1), key = key)
    sd <- sqrt(diag(moments(m)$cov))
    off <- (two$x - rep(c, each = 100)) / rep(D, each = 100) - one$x
    # signs of eigenvectors are fixed, so that paths are the same, too
    expect_lt(max(abs(off) / rep(sd, each = 100)), 1e7 * digits)
    sweeps <- lapply(list(m, u), guidance_sweep, "a", c(0, 2), n = 200, key = key,
                     sampler = sampler_ddim(50))
    expect_equal(sweeps[[1]]$confidence, sweeps[[2]]$confidence, tolerance = 1e7 * digits)
    expect_equal(sweeps[[1]]$gain, sweeps[[2]]$gain, tolerance = 1e7 * digits)
    expect_equal(sweeps[[1]]$entropy + sum(log(D)), sweeps[[2]]$entropy, tolerance = 1e7 * digits)
    expect_equal(guidance_condition(m, "a")$holds, guidance_condition(u, "a")$holds)
  }
})

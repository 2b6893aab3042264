# Makes the figure of README.md: Rscript tools/readme-figure.R
library(mixguide)
library(ggplot2)

fit <- as_gaussmix(Species ~ Petal.Length + Petal.Width, iris)
steps <- sampler_ddim(100, grid = "exponential", end = 1e-4)
strengths <- c(0, .125, .25, .5, 1, 2, 4, 8)
set.seed(1)
sweep <- guidance_sweep(fit, guidance = "versicolor", strength = strengths, n = 1e5,
                        sampler = steps)

# One set of particles at three strengths, over the data.
shown <- do.call(rbind, lapply(c(0, 1, 8), function(strength) {
  run <- guided_sample(fit, 300, guidance("versicolor", strength), steps,
                       key = attr(sweep, "setup")$key)
  data.frame(as.data.frame(run), panel = paste("strength", strength))
}))
look <- theme_minimal(base_size = 12) +
  theme(panel.grid.minor = element_blank(), legend.position = "bottom",
        plot.title.position = "plot", legend.margin = margin())
inks <- c(setosa = "#009E73", versicolor = "#0072B2", virginica = "#D55E00")
samples <- ggplot(mapping = aes(Petal.Length, Petal.Width)) +
  geom_point(data = shown, size = .7, colour = "grey15") +
  geom_point(aes(shape = Species, colour = Species), iris, size = 1.5, alpha = .8) +
  facet_wrap(~ panel) + scale_shape_manual(values = c(1, 3, 2), name = "data") +
  scale_colour_manual(values = inks, name = "data") +
  labs(title = "300 points drawn towards versicolor (black dots), and the data",
       x = "petal length (cm)", y = "petal width (cm)") + look

long <- data.frame(
  strength = rep(strengths, 2),
  what = rep(c("confidence: mean of p(versicolor | x)", "differential entropy (nats)"),
             each = length(strengths)),
  value = c(sweep$confidence, sweep$entropy),
  se = c(sweep$confidence_se, sweep$entropy_se))
curves <- ggplot(long, aes(strength, value)) +
  geom_errorbar(aes(ymin = value - 2 * se, ymax = value + 2 * se), width = .05) +
  geom_line(colour = inks[["versicolor"]]) + geom_point(size = 1.4, colour = inks[["versicolor"]]) +
  facet_wrap(~ what, ncol = 1, scales = "free_y") +
  scale_x_continuous(trans = "log1p", breaks = c(0, .5, 1, 2, 4, 8)) +
  labs(title = "100 000 points at each strength", x = "strength of guidance", y = NULL) + look

dir.create("man/figures", showWarnings = FALSE, recursive = TRUE)
grDevices::png("man/figures/README-sweep.png", 1600, 620, res = 144, type = "cairo",
               antialias = "gray")
grid::grid.newpage()
print(samples, vp = grid::viewport(0, .5, .66, 1, just = c("left", "centre")))
print(curves, vp = grid::viewport(.68, .5, .32, 1, just = c("left", "centre")))
invisible(grDevices::dev.off())
# pngquant writes a palette of 64 colours, a quarter of the size; R's devices cannot
if (nzchar(Sys.which("pngquant"))) {
  system2("pngquant", c("--force", "--ext=.png", "--speed=1", 64, "man/figures/README-sweep.png"))
}

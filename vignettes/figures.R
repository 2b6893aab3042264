# How the vignettes look, and their figures, which pngquant halves where it is installed: in
# palettes of 256 colours, which R's devices do not write. Sourced where a vignette is knitted only.
knitr::opts_chunk$set(collapse = TRUE, comment = "#>", fig.width = 6, fig.height = 3.1, dpi = 84,
                      fig.align = "center", R.options = list(digits = 4, width = 95))
if (nzchar(Sys.which("pngquant"))) {
  knitr::knit_hooks$set(pngquant = knitr::hook_pngquant)
  knitr::opts_chunk$set(pngquant = "--speed=1 --quality=0-80 --nofs 48")
}
if (requireNamespace("ggplot2", quietly = TRUE)) {
  ggplot2::theme_set(ggplot2::theme_minimal(base_size = 11))
}
# One thread: the short runs of these pages gain nothing by a second, which waits busily for them.
mixguide::mixguide_threads(1)

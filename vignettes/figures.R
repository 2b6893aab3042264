# How the vignettes look, and their figures: in palettes of 256 colours, which takes half the bytes
# of what R's devices write (they know no such palettes). Sourced where a vignette is knitted only.

knitr::opts_chunk$set(collapse = TRUE, comment = "#>", fig.width = 7, fig.height = 3.6, dpi = 72,
                      fig.align = "center")

# Bytes of the bitmap in `file`, as R's cairo writes them, as those of a PNG file with a palette.
palette_png <- function(file) {
  bytes <- readBin(file, "raw", file.size(file))
  number <- function(at, size = 4) readBin(bytes[at + seq_len(size)], "int", 1, size)
  width <- number(18)
  height <- abs(number(22))
  channels <- number(28, 2) / 8
  # rows of whole words, the last row first; blue, green, red
  values <- as.integer(bytes)
  start <- number(10)
  rows <- matrix(values[-seq_len(start)], ncol = height)[, height:1]
  pixels <- matrix(rows[seq_len(channels * width), ], channels)
  # few colours: a table of them precedes
  if (channels == 1) pixels <- matrix(values[55:start], 4)[, pixels + 1]
  code <- drop(c(1, 256, 65536) %*% pixels[1:3, ])
  count <- sort(table(code), decreasing = TRUE)
  colours <- as.numeric(names(count))
  rgb <- rbind(colours %/% 65536, colours %/% 256 %% 256, colours %% 256)
  # the most frequent; each of the others, shades at edges, is the nearest of them
  own <- seq_len(min(256, length(colours)))
  place <- c(own, vapply(seq_along(colours)[-own], function(i) {
    which.min(colSums((rgb[, own] - rgb[, i])^2))
  }, 0L))
  lines <- rbind(0L, matrix(place[match(code, colours)] - 1L, width)) # 0: no filter
  word <- function(x) writeBin(as.integer(x), raw(), endian = "big")
  chunk <- function(type, data) {
    body <- c(charToRaw(type), data)
    c(word(length(data)), body, checksum(body))
  }
  c(as.raw(c(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)),
    chunk("IHDR", c(word(c(width, height)), as.raw(c(8, 3, 0, 0, 0)))),
    chunk("PLTE", as.raw(rgb[, own])),
    chunk("IDAT", memCompress(as.raw(lines), "gzip")), chunk("IEND", raw()))
}

# CRC-32, with which a file of gzip ends.
checksum <- function(bytes) {
  file <- tempfile()
  on.exit(unlink(file))
  out <- gzfile(file, "wb")
  writeBin(bytes, out)
  close(out)
  rev(utils::tail(readBin(file, "raw", file.size(file)), 8)[1:4])
}

if (capabilities("cairo")) {
  # knitr draws bitmaps, and a hook of its own makes of them what their names promise
  bitmap <- function(filename, width, height) {
    grDevices::bmp(filename, width, height, "in", res = 72, type = "cairo")
  }
  knitr::knit_hooks$set(palette = function(before, options) {
    if (before || !isTRUE(options$fig.num > 0)) return()
    files <- knitr::fig_path(".png", options, seq_len(options$fig.num))
    for (file in files) writeBin(palette_png(file), file)
  })
  knitr::opts_chunk$set(dev = "bitmap", fig.ext = "png", palette = TRUE)
}

# The oracle of the C engine: runs the operations of sampler_program() on an n x d matrix.
# score_fun(x, t) is n x d; noise_fun(i) gives the noise, n x d, of the i-th noise operation;
# jacobian_fun(x, t) is n x d x d. Roots are triangular in coordinates along `basis`.
interpret_program <- function(ops_by_step, x0, score_fun, noise_fun = NULL, jacobian_fun = NULL,
                              basis = diag(ncol(x0))) {
  register <- list(x = x0)
  drawn <- 0
  for (op in unlist(ops_by_step, recursive = FALSE)) {
    register[[op$to]] <- switch(
      op$op,
      eval = score_fun(register[[op$from]], op$t),
      noise = noise_fun(drawn <- drawn + 1),
      root = by_root(jacobian_fun(register[[op$from]], op$t), op$coef[[1]], register[[op$to]],
                     basis),
      product = by_product(jacobian_fun(register[[op$from]], op$t), op$coef[[1]],
                           register[[op$to]]),
      # a coefficient is one number, or one number per column
      linear = Reduce(`+`, lapply(names(op$coef), function(r) {
        register[[r]] * rep(op$coef[[r]], each = nrow(x0), length.out = length(x0))
      }))
    )
  }
  register$x
}

# L z for each row, where L is the lower triangular factor of I + c J without its negative
# eigenvalues, along `basis`.
by_root <- function(J, c, z, basis = diag(ncol(z))) {
  z <- z %*% basis
  for (i in seq_len(nrow(z))) {
    slope <- crossprod(basis, matrix(J[i, , ], ncol(z)) %*% basis)
    parts <- eigen(diag(ncol(z)) + c * slope, symmetric = TRUE)
    R <- qr.R(qr(sqrt(pmax(parts$values, 0)) * t(parts$vectors), tol = 0))
    z[i, ] <- z[i, ] %*% (ifelse(diag(R) < 0, -1, 1) * R)
  }
  tcrossprod(z, basis)
}

# The matrix without its negative eigenvalues.
clipped <- function(A) {
  parts <- eigen(A, symmetric = TRUE)
  parts$vectors %*% (pmax(parts$values, 0) * t(parts$vectors))
}

# (I + c J) z for each row.
by_product <- function(J, c, z) {
  for (i in seq_len(nrow(z))) {
    z[i, ] <- z[i, ] + c * drop(matrix(J[i, , ], ncol(z)) %*% z[i, ])
  }
  z
}

all_schedules <- function() {
  list(schedule_ou(), schedule_vp(), schedule_cosine(), schedule_ve(), schedule_subvp(),
       schedule_flow(), schedule_ddpm(1 - seq(1e-3, .05, length.out = 50)), schedule_etc(100))
}

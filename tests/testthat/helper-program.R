# The oracle of the C engine: runs the operations of sampler_program() on an n x d matrix.
# score_fun(x, t) is n x d; noise_fun(i) gives the noise, n x d, of the i-th noise operation;
# jacobian_fun(x, t) is n x d x d.
interpret_program <- function(ops_by_step, x0, score_fun, noise_fun = NULL, jacobian_fun = NULL) {
  register <- list(x = x0)
  drawn <- 0
  for (op in unlist(ops_by_step, recursive = FALSE)) {
    register[[op$to]] <- switch(
      op$op,
      eval = score_fun(register[[op$from]], op$t),
      noise = noise_fun(drawn <- drawn + 1),
      root = by_root(jacobian_fun(register[[op$from]], op$t), op$coef[[1]], register[[op$to]]),
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

# (I + c J)^(1/2) z for each row; negative eigenvalues count as 0.
by_root <- function(J, c, z) {
  for (i in seq_len(nrow(z))) {
    parts <- eigen(diag(ncol(z)) + c * matrix(J[i, , ], ncol(z)), symmetric = TRUE)
    z[i, ] <- parts$vectors %*% (sqrt(pmax(parts$values, 0)) * crossprod(parts$vectors, z[i, ]))
  }
  z
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

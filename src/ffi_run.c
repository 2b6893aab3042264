/* Runs a step program. All runs enter the core here. */
#include "ffi_blocks.h"
#include "ffi_net.h"

#include <string.h>

#include "core/gm.h"
#include "threads.h"

static gm_pool pool_of(SEXP x) {
  SEXP mean = ffi_element(x, "mean"), dim = Rf_getAttrib(mean, R_DimSymbol);
  if (TYPEOF(mean) != REALSXP || Rf_xlength(dim) != 2) Rf_error("internal error: 'mean'");
  gm_pool pool;
  pool.d = INTEGER_RO(dim)[0];
  pool.K = INTEGER_RO(dim)[1];
  R_xlen_t d = pool.d, K = pool.K;
  pool.mean = REAL_RO(mean);
  pool.vector = ffi_doubles_or_null(x, "vector", d * d * K);
  pool.common = !pool.vector && ffi_length(x, "value") == d;
  pool.value = ffi_doubles(x, "value", pool.common ? d : d * K);
  return pool;
}

/* log_weight is K x J; -Inf means that the component is not in the model. */
static gm_models models_of(SEXP x, int K) {
  R_xlen_t length = ffi_length(x, "log_weight");
  int J = (int)(length / K);
  double *table = (double *)R_alloc(gm_models_size(K, J), sizeof(double));
  gm_models models;
  if (gm_models_fill(K, J, ffi_doubles(x, "log_weight", length), &models, table) != GM_OK) {
    Rf_error("internal error: a model has no component");
  }
  return models;
}

/* The numbers of a push, in the order of gm_push; models count from 0. */
static gm_push push_of(const double *x, int J) {
  int ok = x[0] >= GM_PUSH_NONE && x[0] < GM_PUSHES && x[1] >= 0 && x[1] < J && x[2] >= 0 &&
           x[2] < J;
  if (!ok) Rf_error("internal error: 'push'");
  return (gm_push){(gm_push_kind)x[0], (int)x[1], (int)x[2], x[3], x[4],
                   {x[5], x[6], x[7], x[8]}};
}

static const gm_level *levels_of(SEXP x, const gm_pool *pool, const gm_models *models, int n) {
  int J = models->J;
  gm_level *level = (gm_level *)R_alloc(n, sizeof(gm_level));
  const double *a = ffi_doubles(x, "a", n), *b2 = ffi_doubles(x, "b2", n);
  const double *coef = ffi_doubles(x, "coef", (R_xlen_t)n * J);
  const int *want = ffi_integers(x, "want", n);
  size_t size = 0;
  for (int i = 0; i < n; i++) {
    if (want[i] < GM_SCORE || want[i] > GM_NOISE_IN) Rf_error("internal error: 'want'");
    size += gm_level_size(pool, (gm_want)want[i]);
  }
  double *table = (double *)R_alloc(size, sizeof(double));
  const double *push = ffi_doubles_or_null(x, "push", (R_xlen_t)n * GM_PUSH_SIZE);
  for (int i = 0; i < n; i++) {
    level[i].push =
        push ? push_of(push + (size_t)i * GM_PUSH_SIZE, J) : (gm_push){.kind = GM_PUSH_NONE};
    level[i].a = a[i];
    level[i].b2 = b2[i];
    level[i].want = (gm_want)want[i];
    level[i].coef = coef + (size_t)i * J;
    gm_status status = gm_level_fill(pool, models, level + i, table);
    if (status == GM_ERR_FORGOTTEN) {
      Rf_error("no denoised point at noise level %d of %d: a = 0, and the score is no law's", i + 1,
               n);
    } else if (status != GM_OK) {
      Rf_error("a component has zero variance at noise level %d of %d, where it has no density",
               i + 1, n);
    }
    table += gm_level_size(pool, level[i].want);
  }
  return level;
}

static gm_program program_of(SEXP x, const gm_level *level, int n_level) {
  gm_program program;
  program.n_op = (int)(ffi_length(x, "op") / 5);
  program.n_term = (int)(ffi_length(x, "term") / 3);
  program.n_coef = (int)ffi_length(x, "coef");
  program.n_level = n_level;
  program.level = level;
  program.coef = ffi_doubles(x, "coef", -1);
  program.n_register = ffi_count(x, "registers");
  program.n_scalar = ffi_count(x, "scalars");
  program.n_output = ffi_count(x, "outputs");
  program.n_noise = ffi_count(x, "noises");
  program.derivative = (gm_derivative)ffi_count(x, "derivative");
  const int *op = ffi_integers(x, "op", 5 * (R_xlen_t)program.n_op);
  const int *term = ffi_integers(x, "term", 3 * (R_xlen_t)program.n_term);
  gm_op *ops = (gm_op *)R_alloc(program.n_op, sizeof(gm_op));
  gm_term *terms = (gm_term *)R_alloc(program.n_term, sizeof(gm_term));
  for (int i = 0; i < program.n_op; i++, op += 5) {
    ops[i] = (gm_op){op[0], op[1], op[2], op[3], op[4]};
  }
  for (int i = 0; i < program.n_term; i++, term += 3) {
    terms[i] = (gm_term){term[0], term[1], term[2]};
  }
  program.op = ops;
  program.term = terms;
  return program;
}

static SEXP array3(R_xlen_t a, R_xlen_t b, R_xlen_t c) {
  SEXP x = PROTECT(Rf_allocVector(REALSXP, a * b * c)), dim = PROTECT(Rf_allocVector(INTSXP, 3));
  INTEGER(dim)[0] = (int)a;
  INTEGER(dim)[1] = (int)b;
  INTEGER(dim)[2] = (int)c;
  Rf_setAttrib(x, R_DimSymbol, dim);
  UNPROTECT(2); /* x, dim */
  return x;
}

/* For R: a row for each operation, and the limits of the engine. */
SEXP ffi_operations(void) {
  static const char *const field[] = {"nothing", "read", "write", "maybe", "change", "point",
                                      "level", "scalar", "logp", "noises", "outputs", "terms",
                                      "count", "coef", "calls", "alive"};
  static const char *const when[] = {"always", "plain", "without trace", "with trace",
                                     "with tangent"};
  static const char *const frame[] = {"turns", "fixed"};
  const char *names[] = {"name", "to", "from", "at", "n", "when", "frame", "registers", "root",
                         "scalars", ""};
  enum { COLUMNS = 7 };
  SEXP result = PROTECT(Rf_mkNamed(VECSXP, names));
  for (int j = 0; j < COLUMNS; j++) {
    SET_VECTOR_ELT(result, j, Rf_allocVector(STRSXP, GM_CODES));
  }
  for (int i = 0; i < GM_CODES; i++) {
    const gm_operation *is = gm_operations + i;
    const char *row[COLUMNS] = {is->name, field[is->to], field[is->from], field[is->at],
                                field[is->n], when[is->when], frame[is->frame]};
    for (int j = 0; j < COLUMNS; j++) {
      SET_STRING_ELT(VECTOR_ELT(result, j), i, Rf_mkChar(row[j]));
    }
  }
  const int limits[] = {GM_MAX_REGISTERS, GM_MAX_ROOT, GM_OWN_SCALARS};
  for (int j = 0; j < 3; j++) SET_VECTOR_ELT(result, COLUMNS + j, Rf_ScalarInteger(limits[j]));
  UNPROTECT(1); /* result */
  return result;
}

/* For R: rough flops of a particle. */
SEXP ffi_cost(SEXP ffi_pool, SEXP ffi_program, SEXP ffi_n_models) {
  gm_pool pool = pool_of(ffi_pool);
  gm_program program = program_of(ffi_program, NULL, 0);
  gm_models models = {.J = Rf_asInteger(ffi_n_models)};
  gm_job job = {.pool = &pool, .models = &models, .program = &program, .lanes = 128};
  return Rf_ScalarReal(gm_block_cost(&job) / (double)job.lanes);
}

/* Copies rows of a block's particles to rows of a matrix of n, or back. */
static void copy_rows(const gm_job *job, double *rows, R_xlen_t columns, size_t block, size_t first,
                      size_t n, double *matrix, int back) {
  size_t at = block * job->lanes, count = job->n - at < job->lanes ? job->n - at : job->lanes;
  for (R_xlen_t j = 0; j < columns; j++) {
    double *row = rows + (size_t)j * job->lanes, *column = matrix + (size_t)j * n + (at - first);
    memcpy(back ? row : column, back ? column : row, sizeof(double) * count);
  }
}

/* What an operation gives to R, or takes from R: the rows of a register, or of scalars. */
typedef struct { int scalar, at; R_xlen_t columns; } ffi_rows;

static void copy_blocks(const gm_job *job, ffi_rows of, size_t from, size_t to, double *work,
                        size_t work_size, double *matrix, int back) {
  size_t first = from * job->lanes, end = to * job->lanes;
  size_t n = (end < job->n ? end : job->n) - first;
  for (size_t block = from; block < to; block++, work += work_size) {
    double *rows = of.scalar ? gm_scalar_rows(job, work, of.at)
                             : gm_register_rows(job, work, of.at);
    copy_rows(job, rows, of.columns, block, first, n, matrix, back);
  }
}

/* The vectors of a "mix" in a block: inputs and output. */
typedef struct { double *x, *c, *u; } ffi_vectors;

static ffi_vectors mixed_vectors(const gm_job *job, const gm_op *op, double *work) {
  return (ffi_vectors){gm_register_rows(job, work, op->at), gm_register_rows(job, work, op->to),
                       gm_register_rows(job, work, op->from)};
}

/* The inner products of these vectors, a list with a vector for each. */
static SEXP inner_products(const gm_job *job, const gm_op *op, size_t n, double *work,
                           size_t work_size) {
  SEXP result = PROTECT(Rf_allocVector(VECSXP, GM_INNER));
  double *to[GM_INNER];
  for (int i = 0; i < GM_INNER; i++) {
    SET_VECTOR_ELT(result, i, Rf_allocVector(REALSXP, (R_xlen_t)n));
    to[i] = REAL(VECTOR_ELT(result, i));
  }
  for (size_t at = 0; at < n; at += job->lanes, work += work_size) {
    ffi_vectors v = mixed_vectors(job, op, work);
    gm_inner(job->pool->d, job->lanes, n - at < job->lanes ? n - at : job->lanes, v.x, v.c, v.u,
             to);
    for (int i = 0; i < GM_INNER; i++) to[i] += job->lanes;
  }
  UNPROTECT(1); /* result */
  return result;
}

/* The register becomes a combination of x, c and u. R's list has their coefficients: a number each,
 * or one number per particle. */
static void mix(const gm_job *job, const gm_op *op, size_t n, double *work, size_t work_size,
                SEXP by) {
  const double *coef[3];
  size_t step[3];
  for (int i = 0; i < 3; i++) {
    SEXP one = TYPEOF(by) == VECSXP && Rf_xlength(by) == 3 ? VECTOR_ELT(by, i) : R_NilValue;
    R_xlen_t length = Rf_xlength(one);
    if (TYPEOF(one) != REALSXP || (length != 1 && length != (R_xlen_t)n)) {
      Rf_error("internal error: what a rule of a program returned");
    }
    coef[i] = REAL_RO(one);
    step[i] = length > 1;
  }
  for (size_t at = 0; at < n; at += job->lanes, work += work_size) {
    ffi_vectors v = mixed_vectors(job, op, work);
    gm_mix_by(job->pool->d, job->lanes, n - at < job->lanes ? n - at : job->lanes, v.x, v.c, v.u,
           coef, step);
    for (int i = 0; i < 3; i++) coef[i] += step[i] * job->lanes;
  }
}

/* How R is called: its function, the names of columns by its number, and an environment in which
 * `read` is what the operation hands over. */
typedef struct { SEXP function, columns, place, read; PROTECT_INDEX at; } ffi_caller;

/* A matrix to hand over: that of the last call, if nothing of R's has kept it (a large one costs
 * more to allocate than to fill). */
static SEXP matrix_for(ffi_caller *r, size_t n, R_xlen_t d, SEXP names) {
  SEXP dim = r->read == R_NilValue ? R_NilValue : Rf_getAttrib(r->read, R_DimSymbol);
  int again = dim != R_NilValue && !MAYBE_REFERENCED(r->read) && INTEGER_RO(dim)[0] == (int)n &&
              INTEGER_RO(dim)[1] == (int)d;
  if (!again) REPROTECT(r->read = Rf_allocMatrix(REALSXP, (int)n, (int)d), r->at);
  SEXP names_of = PROTECT(names == R_NilValue ? R_NilValue : Rf_allocVector(VECSXP, 2));
  if (names != R_NilValue) SET_VECTOR_ELT(names_of, 1, names);
  Rf_setAttrib(r->read, R_DimNamesSymbol, names_of);
  UNPROTECT(1); /* names_of */
  return r->read;
}

/* Calls R's function for the blocks [from, to). Its arguments are its number, the operation's input
 * (a matrix, or the inner products of a "mix") and whether derivatives are wanted. */
static void call_back(const gm_job *job, const gm_op *op, ffi_caller *r, size_t from, size_t to,
                      double *work, size_t work_size) {
  size_t end = to * job->lanes, n = (end < job->n ? end : job->n) - from * job->lanes;
  R_xlen_t d = job->pool->d;
  int asks = op->code == GM_ASK, mixes = op->code == GM_MIX;
  const ffi_rows in = asks ? (ffi_rows){1, GM_ASKED, 1} : (ffi_rows){0, op->from, d};
  const ffi_rows out = asks ? (ffi_rows){1, GM_ASKED, 2} : (ffi_rows){0, op->to, d};
  SEXP symbol = Rf_install("read"), read;
  if (mixes) {
    read = PROTECT(inner_products(job, op, n, work, work_size));
  } else {
    SEXP names = op->n < Rf_xlength(r->columns) ? VECTOR_ELT(r->columns, op->n) : R_NilValue;
    read = PROTECT(matrix_for(r, n, in.columns, names));
    copy_blocks(job, in, from, to, work, work_size, REAL(read), 0);
  }
  SEXP number = PROTECT(Rf_ScalarInteger(op->n + 1));
  SEXP curved = PROTECT(Rf_ScalarLogical(job->program->path == GM_DERIVED));
  /* by its name, since a call, which R may keep, would hold what is in it */
  SEXP call = PROTECT(Rf_lang4(r->function, number, symbol, curved));
  Rf_defineVar(symbol, read, r->place);
  SEXP value = PROTECT(Rf_eval(call, r->place));
  Rf_defineVar(symbol, R_NilValue, r->place);
  if (mixes) {
    mix(job, op, n, work, work_size, value);
  } else if (TYPEOF(value) == REALSXP && Rf_xlength(value) == (R_xlen_t)n * out.columns) {
    copy_blocks(job, out, from, to, work, work_size, REAL(value), 1);
  } else {
    Rf_error("internal error: what a function of a program returned");
  }
  UNPROTECT(5); /* value, call, curved, number, read */
}

static int calls(const gm_op *op) { return gm_operations[op->code].n == GM_CALLS; }

/* Runs all blocks of a program that has functions of R between its operations. It takes as many
 * blocks at a time as have room, because a call of R costs as much as hundreds of particles. */
static void run_with_calls(const gm_job *job, SEXP function, SEXP columns, size_t blocks,
                           size_t work_size) {
  /* more would go through memory, where the copies take longer than a simple function */
  const size_t room = 1 << 20;
  const gm_program *program = job->program;
  size_t batch = room / work_size + 1;
  if (batch < (size_t)mg_threads()) batch = (size_t)mg_threads();
  if (batch > blocks) batch = blocks;
  /* the cost of the work between two calls of R */
  int stretches = 1;
  for (int i = 0; i < program->n_op; i++) stretches += calls(program->op + i);
  int threads = ffi_team(batch, gm_block_cost(job) / stretches);
  double *work = (double *)R_alloc(batch * work_size, sizeof(double));
  SEXP new_env = PROTECT(Rf_lang1(Rf_install("new.env")));
  ffi_caller r = {.function = function, .columns = columns, .read = R_NilValue};
  r.place = PROTECT(Rf_eval(new_env, R_BaseEnv));
  PROTECT_WITH_INDEX(r.read, &r.at);
  for (size_t from = 0; from < blocks; from += batch) {
    size_t to = batch < blocks - from ? from + batch : blocks;
    for (int op = 0, end; op < program->n_op; op = end) {
      end = op + 1;
      while (end < program->n_op && !calls(program->op + end - 1)) end++;
      gm_run(ffi_engine_in_use()->run, job, from, to, op, end, threads, 1, work, work_size);
      R_CheckUserInterrupt();
      if (calls(program->op + end - 1)) {
        call_back(job, program->op + end - 1, &r, from, to, work, work_size);
      }
    }
  }
  UNPROTECT(3); /* r.read, r.place, new_env */
}

SEXP ffi_run(SEXP ffi_pool, SEXP ffi_models, SEXP ffi_levels, SEXP ffi_program, SEXP ffi_job) {
  gm_pool pool = pool_of(ffi_pool);
  gm_models models = models_of(ffi_models, pool.K);
  int n_level = (int)ffi_length(ffi_levels, "a");
  const gm_level *level = levels_of(ffi_levels, &pool, &models, n_level);
  gm_program program = program_of(ffi_program, level, n_level);
  if (gm_program_scan(&program, &pool, &models) != GM_OK) {
    Rf_error("internal error: the step program is not valid");
  }
  R_xlen_t n = ffi_count(ffi_job, "n"), d = pool.d;
  int lanes = ffi_count(ffi_job, "lanes"), jacobian = 0;
  if (lanes % 8) Rf_error("internal error: 'lanes' must be a multiple of 8");
  for (int i = 0; i < program.n_op; i++) jacobian |= program.op[i].code == GM_SAVE_JACOBIAN;
  SEXP result = PROTECT(Rf_allocVector(VECSXP, 3)), names = PROTECT(Rf_allocVector(STRSXP, 3));
  int one = program.n_output == 1;
  SET_VECTOR_ELT(result, 0, one ? Rf_allocMatrix(REALSXP, (int)n, (int)d)
                                : array3(n, d, program.n_output));
  SET_VECTOR_ELT(result, 1, Rf_allocVector(VECSXP, program.n_scalar));
  SEXP output = VECTOR_ELT(result, 0), scalar = VECTOR_ELT(result, 1);
  double **scalars = (double **)R_alloc(program.n_scalar, sizeof(double *));
  const int *wanted = ffi_integers(ffi_job, "scalars", program.n_scalar);
  for (int i = 0; i < program.n_scalar; i++) {
    scalars[i] = NULL;
    if (!wanted[i]) continue;
    SET_VECTOR_ELT(scalar, i, Rf_allocVector(REALSXP, n));
    scalars[i] = REAL(VECTOR_ELT(scalar, i));
  }
  if (jacobian) SET_VECTOR_ELT(result, 2, array3(n, d, d));
  SET_STRING_ELT(names, 0, Rf_mkChar("output"));
  SET_STRING_ELT(names, 1, Rf_mkChar("scalar"));
  SET_STRING_ELT(names, 2, Rf_mkChar("jacobian"));
  Rf_setAttrib(result, R_NamesSymbol, names);
  gm_job job;
  job.pool = &pool;
  job.models = &models;
  job.program = &program;
  job.n = (size_t)n;
  job.lanes = lanes ? (size_t)lanes : gm_lanes(&pool, &models, &program);
  /* a block is no wider than a thread's share */
  size_t share = ((size_t)n / (size_t)mg_threads() + 8) / 8 * 8;
  if (!lanes && job.lanes > share) job.lanes = share;
  job.key = ffi_key(ffi_job, "key");
  job.first = (uint64_t)ffi_number(ffi_job, "first", 0, 9007199254740992.);
  job.start = ffi_doubles_or_null(ffi_job, "start", n * d);
  job.noise = ffi_doubles_or_null(ffi_job, "noise", n * d * program.n_noise);
  job.points = ffi_points(ffi_net(ffi_job, job.first, n), ffi_job, "at", d * program.n_noise);
  job.output = REAL(output);
  job.scalar = scalars;
  job.jacobian = jacobian ? REAL(VECTOR_ELT(result, 2)) : NULL;
  SEXP function = ffi_element(ffi_program, "call");
  for (int i = 0; i < program.n_op; i++) {
    if (calls(program.op + i) && !Rf_isFunction(function)) {
      Rf_error("internal error: the step program has no function");
    }
  }
  if (n > 0 && function != R_NilValue) {
    run_with_calls(&job, function, ffi_element(ffi_program, "columns"),
                   ((size_t)n - 1) / job.lanes + 1, gm_work_size(&job));
  } else if (n > 0) {
    ffi_run_blocks(ffi_engine_in_use()->run, &job, ((size_t)n - 1) / job.lanes + 1,
                   gm_work_size(&job), gm_block_cost(&job), program.n_op);
  }
  UNPROTECT(2); /* result, names */
  return result;
}

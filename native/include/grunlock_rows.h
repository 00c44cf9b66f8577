/* Arithmetic on some rows of a table [V, D]: optimiser steps, averages, sums of gradients.
 *
 * Letters: V rows of the table, D floats in a row (width), U rows concerned or bags, M entries of all bags.
 * Arrays are dense, row-major, the caller's, used during the call only, and never overlap. Ids are not checked here.
 * The equations are in grunlock/kernels/rows.py. Results do not depend on the number of threads.
 */
#ifndef GRUNLOCK_ROWS_H
#define GRUNLOCK_ROWS_H

#include <stdint.h>

#include "grunlock.h"

/* Rows of one table that take a step. ids are distinct, so that rows can be handled in any order. */
typedef struct {
  float* weight;       /* [V, D] */
  float* first;        /* [V, D] the optimiser's state, or NULL where the rule has none */
  float* second;       /* [V, D] likewise, its second one */
  const int64_t* ids;  /* [U], each in [0, V) */
  const float* grads;  /* [U, D] */
  int64_t num_rows;    /* U */
  int64_t width;       /* D */
} grunlock_row_step;

typedef struct {
  float lr;
  float momentum;
  int32_t nesterov; /* 1 or 0 */
} grunlock_sgd_rule;

typedef struct {
  float lr;
  float alpha;
  float take; /* 1 - alpha */
  float eps;
} grunlock_rmsprop_rule;

typedef struct {
  float lr;
  float eps;
} grunlock_adagrad_rule;

typedef struct {
  float step_size; /* lr / (1 - beta1^t) */
  float take1;     /* 1 - beta1 */
  float beta2;
  float take2;     /* 1 - beta2 */
  float root;      /* sqrt(1 - beta2^t) */
  float eps;
} grunlock_adam_rule;

#ifdef __cplusplus
extern "C" {
#endif

/* One step of each row. first is the momentum, the mean square, the sum of squares, the mean; Adam's second the mean
   square. Without a first, sgd has no momentum. */
GRUNLOCK_API void grunlock_rows_sgd(const grunlock_row_step* step, const grunlock_sgd_rule* rule);
GRUNLOCK_API void grunlock_rows_rmsprop(const grunlock_row_step* step, const grunlock_rmsprop_rule* rule);
GRUNLOCK_API void grunlock_rows_adagrad(const grunlock_row_step* step, const grunlock_adagrad_rule* rule);
GRUNLOCK_API void grunlock_rows_adam(const grunlock_row_step* step, const grunlock_adam_rule* rule);

/* average[ids[u]] moves the share take[u] of the way to weight[ids[u]]. */
GRUNLOCK_API void grunlock_rows_average(
    float* average,       /* [V, D] */
    const float* weight,  /* [V, D] */
    const int64_t* ids,   /* [U] distinct */
    const float* take,    /* [U] from 0 to 1 */
    int64_t num_rows, int64_t width);

/* The gradient of means of rows: sums[slots[m]] += grads[u] / (entries of bag u) for the entries m of every bag u, in
   order of m. */
GRUNLOCK_API void grunlock_rows_scatter(
    const float* grads,      /* [U, D] */
    const int64_t* slots,    /* [M] */
    const int64_t* offsets,  /* [U + 1] first entry of each bag, then M */
    float* sums,             /* [rows, D] added to */
    int64_t num_bags, int64_t width);

#ifdef __cplusplus
}
#endif

#endif

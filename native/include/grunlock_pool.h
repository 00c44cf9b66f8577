/* The largest state and the mean state of each sequence of packed rows, column by column, and their gradients.
 *
 * Letters: B sequences, T steps, N packed rows, E columns. Packed order, longest sequence first, is explained in
 * grunlock/shapes.py, the equations in grunlock/kernels/pool.py. Every field is 8 bytes wide. Arrays are float32, dense
 * unless they have a stride (floats from row to row), the caller's, used during the call only. What is written overlaps
 * nothing else. Nothing is checked here. Results do not depend on the number of threads.
 */
#ifndef GRUNLOCK_POOL_H
#define GRUNLOCK_POOL_H

#include <stdint.h>

#include "grunlock.h"

typedef struct {
  int64_t num_steps;          /* T */
  int64_t num_rows;           /* N */
  int64_t size;               /* E */
  const int64_t* batch_sizes; /* [T], at least 1, never growing, N in all */
  /* read; backward: only with dmax */
  const float* rows; /* [N, E] */
  int64_t rows_stride;
  /* forward, written, or NULL both: not wanted; backward, read with dmax */
  float* max;  /* [B, E] */
  float* ties; /* [B, E] how many steps have it; 0 where it is NaN */
  /* forward, written, or NULL: not wanted */
  float* mean; /* [B, E] */
  /* backward, read; NULL for zeros */
  const float* dmax; /* [B, E] */
  int64_t dmax_stride;
  const float* dmean; /* [B, E] */
  int64_t dmean_stride;
  /* backward, written */
  float* drows; /* [N, E] */
} grunlock_pool_call;

#ifdef __cplusplus
extern "C" {
#endif

/* Safe to call from many threads at once. */
GRUNLOCK_API void grunlock_pool_forward(const grunlock_pool_call* call);
GRUNLOCK_API void grunlock_pool_backward(const grunlock_pool_call* call);

#ifdef __cplusplus
}
#endif

#endif

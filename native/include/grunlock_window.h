/* A linear map of each step and its neighbours on packed rows: y_n = bias + sum over k of W_k x[index[n + offsets[k]]],
 * n + offset being the row of the same sequence so many steps later, or nothing outside of the sequence.
 *
 * Letters: T steps, N packed rows, U input vectors, D input size, O output size, K steps of the window. Packed order,
 * longest sequence first, is explained in grunlock/shapes.py. Every field is 8 bytes wide. Arrays are float32, dense
 * unless they have a stride (floats from row to row), the caller's, used during the call only. What is written overlaps
 * nothing else. Results do not depend on the number of threads.
 */
#ifndef GRUNLOCK_WINDOW_H
#define GRUNLOCK_WINDOW_H

#include "grunlock_gru.h"

typedef struct {
  int64_t num_steps;          /* T */
  int64_t num_rows;           /* N */
  int64_t num_vectors;        /* U */
  int64_t input_size;         /* D */
  int64_t output_size;        /* O */
  int64_t window_steps;       /* K */
  const int64_t* batch_sizes; /* [T], at least 1, never growing, N in all */
  const int64_t* offsets;     /* [K] steps */
  /* read */
  const float* vectors; /* [U, D] */
  const int64_t* index; /* [N]: row n is vectors[index[n]]; NULL: vectors[n] */
  const float* weight;  /* [K * O, D], W_k one below the other */
  const float* bias;    /* [O], forward only */
  /* forward, written */
  float* output; /* [N, O] */
  int64_t output_stride;
  /* backward, read */
  const float* doutput; /* [N, O] */
  int64_t doutput_stride;
  /* backward, written; NULL where not wanted */
  float* dvectors; /* [U, D] */
  float* dweight;  /* [K * O, D] */
  float* dbias;    /* [O] */
} grunlock_window_call;

#ifdef __cplusplus
extern "C" {
#endif

/* Return a grunlock_result. Safe to call from many threads at once. */
GRUNLOCK_API int32_t grunlock_window_forward(const grunlock_window_call* call);
GRUNLOCK_API int32_t grunlock_window_backward(const grunlock_window_call* call);

#ifdef __cplusplus
}
#endif

#endif

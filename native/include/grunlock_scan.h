/* The elementwise gated recurrence, one direction: h_t = keep_t * h_{t-1} + (1 - keep_t) * candidate_t.
 * Its output is h, or with QRNN's output gate o: h * sigmoid(o).
 *
 * Letters: B sequences, T steps, N packed rows, H units. Packed order, longest sequence first, is explained in
 * grunlock/shapes.py; backward in time, sequences join later. Every field is 8 bytes wide. Arrays are float32, the
 * caller's, used during the call only. What is written overlaps nothing else. Rows of an array lie `stride` floats
 * apart, so that it may be some columns of a wider one; units of a row lie side by side. Nothing is checked here.
 * The equations are in grunlock/kernels/scan.py. Results do not depend on the number of threads.
 */
#ifndef GRUNLOCK_SCAN_H
#define GRUNLOCK_SCAN_H

#include <stdint.h>

#include "grunlock.h"

/* What is computed from the gates a_k, a_c and a third one. */
enum grunlock_scan_cell {
  GRUNLOCK_SCAN_MINGRU = 0,  /* keep = sigmoid(a_k),                             candidate = a_c */
  GRUNLOCK_SCAN_QRNN = 1,    /* keep = sigmoid(a_k),                             candidate = tanh(a_c); output gate */
  GRUNLOCK_SCAN_MINLSTM = 2, /* keep = f / (f + sigmoid(third)), f = sigmoid(a_k), candidate = a_c; input gate */
};

typedef struct {
  int64_t cell; /* enum grunlock_scan_cell */
  int64_t num_steps;
  int64_t num_rows;
  int64_t hidden_size;
  int64_t reverse;            /* 1: backward in time */
  const int64_t* batch_sizes; /* [T], at least 1, never growing, N in all */
  /* read */
  const float* keep; /* [N, H] */
  int64_t keep_stride;
  const float* candidate; /* [N, H] */
  int64_t candidate_stride;
  const float* third; /* [N, H], QRNN's output gate, minLSTM's input gate; minGRU: NULL */
  int64_t third_stride;
  const float* h0; /* [B, H] dense, or NULL for zeros */
  /* forward, written; backward, read */
  float* state; /* [N, H] h */
  int64_t state_stride;
  /* forward, written */
  float* output; /* [N, H], QRNN only; others: NULL, their output is the state */
  int64_t output_stride;
  float* final; /* [B, H] dense, or NULL */
  /* backward, read */
  const float* doutput; /* [N, H] or NULL for zeros */
  int64_t doutput_stride;
  const float* dfinal; /* [B, H] dense, or NULL for zeros */
  /* backward, written */
  float* dkeep; /* [N, H], as the two below a gradient of what was given */
  int64_t dkeep_stride;
  float* dcandidate; /* [N, H] */
  int64_t dcandidate_stride;
  float* dthird; /* [N, H], or NULL as third */
  int64_t dthird_stride;
  float* dh0; /* [B, H] dense, or NULL */
} grunlock_scan_call;

#ifdef __cplusplus
extern "C" {
#endif

/* Safe to call from many threads at once. */
GRUNLOCK_API void grunlock_scan_forward(const grunlock_scan_call* call);
GRUNLOCK_API void grunlock_scan_backward(const grunlock_scan_call* call);

#ifdef __cplusplus
}
#endif

#endif

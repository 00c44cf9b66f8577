/* The call of one LSTM layer, all directions at once: a GRU layer's call, and what the cell states need beside it.
 *
 * grunlock_gru.h explains letters and fields. What differs in `layer`: weights, biases and gains have 4H rows, in the
 * order input, forget, candidate, output; saved is [N, 5P]; saved_norm is [N, 4P + 16] and then [U or N, 4P + 16];
 * reset_after must be 1, precision float32 or bfloat16, packed NULL. The equations are in grunlock/kernels/reference.py.
 */
#ifndef GRUNLOCK_LSTM_H
#define GRUNLOCK_LSTM_H

#include "grunlock_gru.h"

typedef struct {
  /* forward, read */
  const float* c0;           /* [B, H] or NULL for zeros */
  const float* zoneout_mask; /* [N, H] of 0 and 1 or NULL */
  int64_t zoneout;           /* enum grunlock_zoneout */
  double zoneout_rate;
  uint64_t zoneout_seed;
  /* forward, written */
  float* final; /* [B, H] */
  /* backward, read */
  const float* dfinal; /* [B, H] or NULL */
  /* backward, written */
  float* dc0; /* [B, H] or NULL */
} grunlock_lstm_cell;

typedef struct {
  grunlock_gru_call layer;
  grunlock_lstm_cell cells[GRUNLOCK_MAX_DIRECTIONS]; /* of the directions of `layer` */
} grunlock_lstm_call;

#ifdef __cplusplus
extern "C" {
#endif

/* Return a grunlock_result. Safe to call from many threads at once. */
GRUNLOCK_API int32_t grunlock_lstm_forward(const grunlock_lstm_call* call);
GRUNLOCK_API int32_t grunlock_lstm_backward(const grunlock_lstm_call* call);

#ifdef __cplusplus
}
#endif

#endif

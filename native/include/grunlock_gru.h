/* The call of one GRU layer, all directions at once. Every field is 8 bytes wide, so that a caller in any language can
 * fill it as an array; kernels/native.py does, in this order.
 *
 * Letters: B sequences, T steps, N packed rows, U input vectors, D input size, H hidden size, P = H rounded up to
 * GRUNLOCK_ROW_PAD floats. Packed order, longest sequence first, is explained in grunlock/shapes.py, the equations in
 * grunlock/kernels/reference.py. NULL stands for an absent optional array. Arrays are dense and row-major.
 */
#ifndef GRUNLOCK_GRU_H
#define GRUNLOCK_GRU_H

#include "grunlock.h"

#define GRUNLOCK_ROW_PAD 16
#define GRUNLOCK_MAX_DIRECTIONS 2
#define GRUNLOCK_MAX_THREADS 256

enum grunlock_precision { GRUNLOCK_FLOAT32 = 0, GRUNLOCK_BFLOAT16 = 1, GRUNLOCK_INT8 = 2 };

enum grunlock_zoneout {
  GRUNLOCK_ZONEOUT_OFF = 0,
  GRUNLOCK_ZONEOUT_RATE = 1,  /* expectation: inference */
  GRUNLOCK_ZONEOUT_MASK = 2,  /* zoneout_mask */
  GRUNLOCK_ZONEOUT_DRAWN = 3, /* from zoneout_seed, by the hash in kernels/counter_random.py */
};

typedef struct {
  /* forward, read */
  const float* weight_ih;      /* [3H, D] */
  const float* weight_hh;      /* [3H, H] */
  const float* bias_ih;        /* [3H] or NULL */
  const float* bias_hh;        /* [3H] or NULL */
  const float* norm_weight_ih; /* [3H] or NULL */
  const float* norm_weight_hh; /* [3H] or NULL, as norm_weight_ih */
  const float* h0;             /* [B, H] or NULL for zeros */
  const float* state_mask;     /* [B, H] or NULL */
  const float* zoneout_mask;   /* [N, H] of 0 and 1 or NULL */
  int64_t zoneout;             /* enum grunlock_zoneout */
  double zoneout_rate;
  uint64_t zoneout_seed;
  const void* packed; /* grunlock_gru_pack's result, or NULL: packed in the call */
  /* forward, written; backward, read */
  float* final;      /* [B, H] */
  float* saved;      /* [N, 4P] or NULL at inference; backward turns it into gradients, or with norms fills it */
  float* saved_norm; /* with norms, else NULL: [N, 3P + 16] recurrent, then [U, or N with input_mask; 3P + 16] input */
  /* backward, read */
  const float* dfinal; /* [B, H] or NULL */
  /* backward, written; NULL where not wanted */
  float* dweight_ih;
  float* dweight_hh;
  float* dbias_ih;
  float* dbias_hh;
  float* dnorm_weight_ih;
  float* dnorm_weight_hh;
  float* dh0;
} grunlock_gru_direction;

typedef struct {
  int64_t num_steps;             /* T */
  int64_t num_rows;              /* N */
  int64_t num_vectors;           /* U */
  int64_t input_size;            /* D */
  int64_t hidden_size;           /* H */
  int64_t num_directions;        /* 1: forward in time; 2: and backward */
  int64_t reset_after;           /* 0 or 1 */
  int64_t precision;             /* enum grunlock_precision */
  const int64_t* batch_sizes;    /* [T], never growing */
  const float* rows;             /* [U, D] */
  const int64_t* index;          /* [N] or NULL: row n reads rows[n] */
  const float* input_mask;       /* [B, D] or NULL */
  float* output;                 /* [N, num_directions * H] */
  const float* doutput;          /* like output */
  float* drows;                  /* [U, D] or NULL */
  grunlock_gru_direction directions[GRUNLOCK_MAX_DIRECTIONS];
} grunlock_gru_call;

enum grunlock_result {
  GRUNLOCK_DONE = 0,
  GRUNLOCK_OUT_OF_MEMORY = 1,
  GRUNLOCK_INDEX_OUTSIDE = 2, /* of [0, U) */
};

#ifdef __cplusplus
extern "C" {
#endif

/* Return a grunlock_result. Safe to call from many threads at once. */
GRUNLOCK_API int32_t grunlock_gru_forward(const grunlock_gru_call* call);
GRUNLOCK_API int32_t grunlock_gru_backward(const grunlock_gru_call* call);

/* At least `bytes` of uninitialised memory, aligned to 2 MiB, or NULL. Given back, it is kept for the next one who asks;
 * never more is held than was once in use at a time. */
GRUNLOCK_API void* grunlock_buffer_take(int64_t bytes);
GRUNLOCK_API void grunlock_buffer_give(void* data);

/* The kernel's own functions, so that their errors can be measured. */
GRUNLOCK_API void grunlock_sigmoid(const float* x, float* y, int64_t count);
GRUNLOCK_API void grunlock_tanh(const float* x, float* y, int64_t count);

#ifdef __cplusplus
}
#endif

#endif

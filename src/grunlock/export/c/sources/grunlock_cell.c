/* The GRU in both forms, and the LSTM. Symbols are torch's: z = 1 keeps the old state.

     (1)  a = weight_hh @ h_prev + bias_hh
     (2)  r = sigmoid(x_r + a_r)
     (3)  z = sigmoid(x_z + a_z)
     (4)  n = tanh(x_n + r * a_n)                             GRUNLOCK_RESET_AFTER (torch, cuDNN, Keras)
          n = tanh(x_n + weight_hn @ (r * h_prev) + bias_hn)  without (Cho 2014)
     (5)  h = n + z * (h_prev - n) */
#include "grunlock_cell.h"

#include <string.h>

#include "grunlock_math.h"

#define H GRUNLOCK_HIDDEN_SIZE

/* The state as products read it: in int8 it lies in [-1, 1] and needs no scale of its own. */
static grunlock_operand state_operand(const grunlock_hidden *hidden) {
  grunlock_operand operand;
#if GRUNLOCK_INT8
  operand.values = hidden->numbers;
  operand.unit = 1.0f / 127.0f;
#else
  operand.values = hidden->h;
  operand.unit = 1.0f;
#endif
  return operand;
}

/* What products read of the new state. It is carried on in floats: rounded to 8 bits at every step, a state whose update
   gate is near 1 would stand still. */
static void round_state(grunlock_hidden *hidden) {
#if GRUNLOCK_INT8
  grunlock_to_numbers(hidden->h, 1.0f / 127.0f, hidden->numbers, H);
#else
  (void)hidden;
#endif
}

static void apply_sigmoid(float *x, int count) {
  int j;
  for (j = 0; j < count; ++j) {
    x[j] = grunlock_sigmoid(x[j]);
  }
}

#if GRUNLOCK_LSTM

/* c = f * c_prev + i * g;  h = o * tanh(c). gates: sigmoid(i), sigmoid(f), g before its tanh, sigmoid(o) */
static void end_step(float *restrict c, float *restrict h, const float *restrict gates) {
  int j;
  for (j = 0; j < H; ++j) {
    c[j] = gates[H + j] * c[j] + gates[j] * grunlock_tanh(gates[2 * H + j]);
  }
  for (j = 0; j < H; ++j) {
    h[j] = gates[3 * H + j] * grunlock_tanh(c[j]);
  }
}

void grunlock_cell(const grunlock_direction *weights, grunlock_operand x, grunlock_hidden *hidden, float *gates,
                   grunlock_number *numbers) {
  (void)numbers;
  memcpy(gates, weights->bias, 4 * H * sizeof *gates);
  grunlock_add_product(gates, &weights->weight_ih, 0, 4 * H, x);
  grunlock_add_product(gates, &weights->weight_hh, 0, 4 * H, state_operand(hidden));
  apply_sigmoid(gates, 2 * H);
  apply_sigmoid(gates + 3 * H, H);
  end_step(hidden->c, hidden->h, gates);
  round_state(hidden);
}

#else

/* y *= x */
static void multiply(float *restrict y, const float *restrict x) {
  int j;
  for (j = 0; j < H; ++j) {
    y[j] *= x[j];
  }
}

static void end_step(float *restrict h, const float *restrict x_n, const float *restrict z, const float *restrict a_n) {
  int j;
  for (j = 0; j < H; ++j) {
    const float n = grunlock_tanh(x_n[j] + a_n[j]); /* (4) */
    h[j] = n + z[j] * (h[j] - n);                   /* (5) */
  }
}

#if !GRUNLOCK_RESET_AFTER
/* a_n += weight_hn @ (reset * h_prev), which is made in place or, for int8, in numbers */
static void add_reset_state(const grunlock_direction *weights, const grunlock_hidden *hidden, float *reset, float *a_n,
                            grunlock_number *numbers) {
  grunlock_operand operand = state_operand(hidden);
  multiply(reset, hidden->h);
#if GRUNLOCK_INT8
  grunlock_to_numbers(reset, operand.unit, numbers, H);
  operand.values = numbers;
#else
  (void)numbers;
  operand.values = reset;
#endif
  grunlock_add_product(a_n, &weights->weight_hh, 2 * H, H, operand);
}
#endif

void grunlock_cell(const grunlock_direction *weights, grunlock_operand x, grunlock_hidden *hidden, float *gates,
                   grunlock_number *numbers) {
  float *x_n = gates, *r = gates + H, *z = gates + 2 * H, *a_n = gates + 3 * H;
  memcpy(gates, weights->bias, 4 * H * sizeof *gates);
  grunlock_add_product(x_n, &weights->weight_ih, 0, 3 * H, x); /* x_n, x_r, x_z */
#if GRUNLOCK_RESET_AFTER
  (void)numbers;
  grunlock_add_product(r, &weights->weight_hh, 0, 3 * H, state_operand(hidden)); /* (1) */
  apply_sigmoid(r, 2 * H);                                                       /* (2), (3) */
  multiply(a_n, r);
#else
  grunlock_add_product(r, &weights->weight_hh, 0, 2 * H, state_operand(hidden));
  apply_sigmoid(r, 2 * H);
  add_reset_state(weights, hidden, r, a_n, numbers);
#endif
  end_step(hidden->h, x_n, z, a_n);
  round_state(hidden);
}

#endif

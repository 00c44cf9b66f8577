/* Maximum, mean and last state, each taken while the steps go by. */
#include "grunlock_pool.h"

#include <string.h>

#include "grunlock_math.h"
#include "grunlock_product.h"

#define SIZE GRUNLOCK_POOLED_SIZE

void grunlock_pool_start(grunlock_state *state) {
#if GRUNLOCK_POOLS_MAX
  uint32_t i;
  for (i = 0; i < SIZE; ++i) {
    state->network.highest[i] = -3.4e38f;
  }
#endif
#if GRUNLOCK_POOLS_MEAN
  memset(state->network.sum, 0, sizeof state->network.sum);
  memset(state->network.sum_rest, 0, sizeof state->network.sum_rest);
#endif
#if GRUNLOCK_POOLS_LAST
  memset(state->network.last, 0, sizeof state->network.last);
#endif
  (void)state;
}

void grunlock_pool_step(grunlock_state *state, uint32_t from, const float *values, uint32_t count) {
#if GRUNLOCK_POOLS_MAX
  {
    float *restrict highest = state->network.highest + from;
    uint32_t i;
    for (i = 0; i < count; ++i) {
      highest[i] = values[i] > highest[i] ? values[i] : highest[i];
    }
  }
#endif
#if GRUNLOCK_POOLS_MEAN
  {
    float *restrict sum = state->network.sum + from, *restrict rest = state->network.sum_rest + from;
    uint32_t i;
    for (i = 0; i < count; ++i) {
      grunlock_add(&sum[i], &rest[i], values[i]);
    }
  }
#endif
#if GRUNLOCK_POOLS_LAST
  memcpy(state->network.last + from, values, count * sizeof *values);
#endif
}

void grunlock_pool_logits(const grunlock_state *state, float *logits) {
  uint32_t k;
  for (k = 0; k < GRUNLOCK_NUM_CLASSES; ++k) {
    float logit = grunlock_head_bias[k];
#if GRUNLOCK_POOLS_MAX
    logit += grunlock_row_product(&grunlock_head, k, GRUNLOCK_MAX_AT, state->network.highest, SIZE);
#endif
#if GRUNLOCK_POOLS_MEAN
    logit += grunlock_row_product(&grunlock_head, k, GRUNLOCK_MEAN_AT, state->network.sum, SIZE) / (float)state->num_steps;
#endif
#if GRUNLOCK_POOLS_LAST
    logit += grunlock_row_product(&grunlock_head, k, GRUNLOCK_LAST_AT, state->network.last, SIZE);
#endif
    logits[k] = logit;
  }
}

void grunlock_softmax(float *logits) {
  float highest = logits[0], sum = 0.0f;
  uint32_t k;
  for (k = 1; k < GRUNLOCK_NUM_CLASSES; ++k) {
    highest = logits[k] > highest ? logits[k] : highest;
  }
  for (k = 0; k < GRUNLOCK_NUM_CLASSES; ++k) {
    logits[k] = grunlock_exp((logits[k] - highest) / GRUNLOCK_TEMPERATURE);
    sum += logits[k];
  }
  for (k = 0; k < GRUNLOCK_NUM_CLASSES; ++k) {
    logits[k] /= sum;
  }
}

/* Mean and variance of a vector's numbers, the mean with what rounding takes from it. */
#include "grunlock_norm.h"

#include "grunlock_math.h"

static float mean_of(const float *x, uint32_t count) {
  float sum = 0.0f, rest = 0.0f;
  uint32_t i;
  for (i = 0; i < count; ++i) {
    grunlock_add(&sum, &rest, x[i]);
  }
  return sum / (float)count;
}

void grunlock_layer_norm(float *y, const float *x, const float *gain, const float *shift, uint32_t size) {
  const float mean = mean_of(x, size);
  float squares = 0.0f, factor;
  uint32_t i;
  for (i = 0; i < size; ++i) {
    squares += (x[i] - mean) * (x[i] - mean);
  }
  factor = 1.0f / grunlock_sqrt(squares / (float)size + GRUNLOCK_NORM_EPS);
  for (i = 0; i < size; ++i) {
    y[i] = (x[i] - mean) * factor * gain[i] + shift[i];
  }
}

/* Layer norm. */
#ifndef GRUNLOCK_NORM_H
#define GRUNLOCK_NORM_H

#include "grunlock_weights.h"

/* y = (x - mean) / deviation * gain + shift; y may be x. */
void grunlock_layer_norm(float *y, const float *x, const float *gain, const float *shift, uint32_t size);

#endif

/* The sequence of states as one vector, and what it says of each class. */
#ifndef GRUNLOCK_POOL_H
#define GRUNLOCK_POOL_H

#include "grunlock_weights.h"

void grunlock_pool_start(grunlock_state *state);

/* One step's values for columns [from, from + count) of the pooled vector. */
void grunlock_pool_step(grunlock_state *state, uint32_t from, const float *values, uint32_t count);

/* logits [K] of what was pooled so far, at least one step. */
void grunlock_pool_logits(const grunlock_state *state, float *logits);

/* softmax(logits / temperature) in place. */
void grunlock_softmax(float *logits);

#endif

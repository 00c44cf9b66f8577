/* The layers between the vectors of steps and the pooled vector. */
#ifndef GRUNLOCK_ENCODER_H
#define GRUNLOCK_ENCODER_H

#include "grunlock_product.h"

void grunlock_encoder_start(grunlock_state *state);

/* The next step, forward in time. */
void grunlock_encoder_step(grunlock_state *state, grunlock_vector x);

#if GRUNLOCK_STEM_DELAY > 0
/* No step follows: those that the stem still holds back go through the layers. */
void grunlock_encoder_end(grunlock_state *state);
#endif

#if GRUNLOCK_BIDIRECTIONAL
/* What can only be read from the end. */
void grunlock_encoder_finish(grunlock_state *state);

/* The vectors of the steps once more, from the last to the first: the front end's part. */
void grunlock_rewind(grunlock_state *state);
grunlock_vector grunlock_previous_vector(grunlock_state *state);
#endif

#endif

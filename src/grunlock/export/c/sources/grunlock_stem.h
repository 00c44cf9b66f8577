/* Convolutions in front of the layers: x + relu(norm(map of a centred window)), one after another. */
#ifndef GRUNLOCK_STEM_H
#define GRUNLOCK_STEM_H

#include "grunlock_product.h"

/* Ready for the first step, in either direction. */
void grunlock_stem_start(grunlock_state *state);

/* The vector x of a step, counted in the direction of reading: from the first step on or, backwards, from the last one.
   Windows look ahead, so what comes out belongs to an earlier step. Returns whether anything did; then x is that.
   Steps from num_steps on stand for the end, whatever x is. */
int grunlock_stem_step(grunlock_state *state, uint32_t time, grunlock_vector *x, int backwards);

#endif

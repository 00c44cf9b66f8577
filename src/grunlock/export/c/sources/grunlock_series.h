/* Numeric series: from measured values to the vectors of steps. */
#ifndef GRUNLOCK_SERIES_H
#define GRUNLOCK_SERIES_H

#include "grunlock_product.h"

void grunlock_series_start(grunlock_state *state);

/* The next step's values [GRUNLOCK_NUM_CHANNELS]. Sets the state's error. */
void grunlock_series_step(grunlock_state *state, const float *channels);

/* The series is at its end. */
void grunlock_series_end(grunlock_state *state);

#endif

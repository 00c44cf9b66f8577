/* A text's bytes as tokens. */
#ifndef GRUNLOCK_READING_H
#define GRUNLOCK_READING_H

#include "grunlock_model.h"

void grunlock_reading_start(grunlock_state *state);

/* Stops at the first error, which the state then has. */
void grunlock_read(grunlock_state *state, const char *utf8, size_t count);

/* What waited for more bytes. */
void grunlock_reading_end(grunlock_state *state);

#endif

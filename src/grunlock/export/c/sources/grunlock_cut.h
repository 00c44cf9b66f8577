/* Which tokens of a long text stay. */
#ifndef GRUNLOCK_CUT_H
#define GRUNLOCK_CUT_H

#include "grunlock_model.h"

/* A token: begin, its characters, end. Between tokens of one character each there may be whitespace. */
void grunlock_cut_begin(grunlock_state *state);
void grunlock_cut_character(grunlock_state *state, uint32_t character);
void grunlock_cut_end(grunlock_state *state);
void grunlock_cut_space(grunlock_state *state);

/* The text is at its end. */
void grunlock_cut_finish(grunlock_state *state);

#endif

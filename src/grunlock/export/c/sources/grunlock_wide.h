/* The linear model of hashed n-grams beside the network. */
#ifndef GRUNLOCK_WIDE_H
#define GRUNLOCK_WIDE_H

#include "grunlock_model.h"

#if GRUNLOCK_READS_TEXT && GRUNLOCK_WIDE
/* For memory that may hold anything; then for the next text. */
void grunlock_wide_init(grunlock_state *state);
void grunlock_wide_start(grunlock_state *state);

/* The next token's id: the runs of tokens that end with it. */
void grunlock_wide_token(grunlock_state *state, uint32_t id);

#if GRUNLOCK_WIDE_CHARACTERS
/* A run of characters. */
void grunlock_wide_characters(grunlock_state *state, uint32_t bucket);
#endif

/* logits [K] += those of the n-grams so far. */
void grunlock_wide_logits(const grunlock_state *state, float *logits);
#endif

#endif

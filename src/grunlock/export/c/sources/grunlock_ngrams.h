/* Hashed runs of characters. */
#ifndef GRUNLOCK_NGRAMS_H
#define GRUNLOCK_NGRAMS_H

#include "grunlock_model.h"

#if GRUNLOCK_NGRAMS
/* Forgets what was read, so that no run reaches back. */
void grunlock_runs_start(grunlock_token *token);

/* The next character. The runs of length `shortest` and more that end with it are n-grams of the token; beyond
   GRUNLOCK_NGRAM_MAX, none is. */
void grunlock_runs_add(grunlock_state *state, uint32_t character, uint32_t shortest);
#endif

#endif

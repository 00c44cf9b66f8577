/* What a token is to the network: its vector and its n-grams. */
#ifndef GRUNLOCK_TOKENS_H
#define GRUNLOCK_TOKENS_H

#include "grunlock_product.h"

void grunlock_tokens_start(grunlock_state *state);

/* The next token: begin, its characters, end. */
void grunlock_token_begin(grunlock_state *state);
void grunlock_token_character(grunlock_state *state, uint32_t character);
void grunlock_token_end(grunlock_state *state);

/* Whitespace between tokens of one character each. */
void grunlock_token_space(grunlock_state *state);

/* Characters that stand in front of the next token, though they may be cut off themselves. */
void grunlock_token_context(grunlock_state *state, const uint32_t *characters, uint32_t count);

/* The token [empty], which a text without any becomes. */
void grunlock_token_empty(grunlock_state *state);

#endif

/* The first GRUNLOCK_MAX_TOKENS tokens stay, or (GRUNLOCK_CUT_MIDDLE) the first and the last half of so many: those
   behind the first half wait in a ring of bytes until the end shows which of them are the last. */
#include "grunlock_cut.h"

#include <string.h>

#include "grunlock_tokens.h"
#include "grunlock_unicode.h"

#if !GRUNLOCK_CUT_MIDDLE

void grunlock_cut_begin(grunlock_state *state) {
  grunlock_token *token = &state->token;
  token->skipped = GRUNLOCK_MAX_TOKENS > 0 && token->num_tokens == GRUNLOCK_MAX_TOKENS;
  if (!token->skipped) {
    ++token->num_tokens;
    grunlock_token_begin(state);
  }
}

void grunlock_cut_character(grunlock_state *state, uint32_t character) {
  if (!state->token.skipped) {
    grunlock_token_character(state, character);
  }
}

void grunlock_cut_end(grunlock_state *state) {
  if (!state->token.skipped) {
    grunlock_token_end(state);
  }
}

void grunlock_cut_space(grunlock_state *state) { grunlock_token_space(state); }

void grunlock_cut_finish(grunlock_state *state) { (void)state; }

#else

#define TAIL_TOKENS (GRUNLOCK_MAX_TOKENS / 2)
#define HEAD_TOKENS (GRUNLOCK_MAX_TOKENS - TAIL_TOKENS)

static int in_head(const grunlock_state *state) { return state->token.num_tokens < HEAD_TOKENS; }

/* The byte `offset` places behind the first one that waits. */
static uint8_t *byte_at(grunlock_tail *tail, uint32_t offset) {
  return &tail->bytes[(tail->start + offset) % GRUNLOCK_TAIL_BYTES];
}

static void push(grunlock_state *state, uint32_t character) {
  uint8_t bytes[4];
  const uint32_t size = grunlock_to_utf8(character, bytes);
  uint32_t i;
  if (state->tail.num_bytes + size > GRUNLOCK_TAIL_BYTES) {
    state->error = GRUNLOCK_TOO_LONG;
    return;
  }
  for (i = 0; i < size; ++i) {
    *byte_at(&state->tail, state->tail.num_bytes++) = bytes[i];
  }
}

/* Takes the first character that waits. */
static uint32_t pop(grunlock_tail *tail) {
  uint8_t bytes[4];
  uint32_t i, size, character;
  for (i = 0; i < 4; ++i) {
    bytes[i] = *byte_at(tail, i);
  }
  character = grunlock_from_utf8(bytes, &size);
  tail->start = (tail->start + size) % GRUNLOCK_TAIL_BYTES;
  tail->num_bytes -= size;
  return character;
}

/* The last characters in front of those that wait, whether they stay or are cut off: n-grams reach back to them. */
static void remember(grunlock_tail *tail, uint32_t character) {
#if GRUNLOCK_NGRAMS && GRUNLOCK_CHARACTERS
  if (tail->num_before == GRUNLOCK_NGRAM_MAX) {
    memmove(tail->before, tail->before + 1, (GRUNLOCK_NGRAM_MAX - 1) * sizeof *tail->before);
    --tail->num_before;
  }
  tail->before[tail->num_before++] = character;
#else
  (void)tail, (void)character;
#endif
}

#if GRUNLOCK_CHARACTERS

static void drop_token(grunlock_tail *tail) {
  uint32_t character = pop(tail);
  if (character == ' ') {
    remember(tail, character);
    character = pop(tail);
  }
  remember(tail, character);
  --tail->num_tokens;
}

/* Hands the first token that waits on. */
static void pass_token(grunlock_state *state) {
  uint32_t character = pop(&state->tail);
  if (character == ' ') {
    grunlock_token_space(state);
    character = pop(&state->tail);
  }
  grunlock_token_begin(state);
  grunlock_token_character(state, character);
  grunlock_token_end(state);
  --state->tail.num_tokens;
}

#else

/* Words end with a space. */
static void drop_token(grunlock_tail *tail) {
  while (pop(tail) != ' ') {
  }
  --tail->num_tokens;
}

static void pass_token(grunlock_state *state) {
  uint32_t character;
  grunlock_token_begin(state);
  while ((character = pop(&state->tail)) != ' ') {
    grunlock_token_character(state, character);
  }
  grunlock_token_end(state);
  --state->tail.num_tokens;
}

#endif

void grunlock_cut_begin(grunlock_state *state) {
  grunlock_token *token = &state->token;
  token->skipped = !in_head(state);
  if (!token->skipped) {
    if (token->spaced) {
      remember(&state->tail, ' ');
    }
    ++token->num_tokens;
    grunlock_token_begin(state);
    return;
  }
  if (TAIL_TOKENS == 0 || state->error != GRUNLOCK_OK) {
    return; /* behind an error the ring may hold a word without an end, which nobody must look for */
  }
  if (state->tail.num_tokens == TAIL_TOKENS) {
    drop_token(&state->tail);
  }
  ++state->tail.num_tokens;
#if GRUNLOCK_CHARACTERS && GRUNLOCK_NGRAMS
  if (token->spaced) {
    push(state, ' ');
    token->spaced = 0;
  }
#endif
}

void grunlock_cut_character(grunlock_state *state, uint32_t character) {
  if (!state->token.skipped) {
    remember(&state->tail, character);
    grunlock_token_character(state, character);
  } else if (TAIL_TOKENS > 0) {
    push(state, character);
  }
}

void grunlock_cut_end(grunlock_state *state) {
  if (!state->token.skipped) {
    grunlock_token_end(state);
  } else if (TAIL_TOKENS > 0 && !GRUNLOCK_CHARACTERS) {
    push(state, ' ');
  }
}

void grunlock_cut_space(grunlock_state *state) { grunlock_token_space(state); }

void grunlock_cut_finish(grunlock_state *state) {
#if GRUNLOCK_CHARACTERS && GRUNLOCK_NGRAMS
  state->token.spaced = 0;
#if GRUNLOCK_KEEPS_TEXT
  state->tail.text_start = state->num_text_bytes;
#endif
  grunlock_token_context(state, state->tail.before, state->tail.num_before);
#endif
  while (state->tail.num_tokens > 0 && state->error == GRUNLOCK_OK) {
    pass_token(state);
  }
}

#endif

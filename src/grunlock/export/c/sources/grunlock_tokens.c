/* A token's vector is its word's row plus the mean of its n-grams' rows. Words are known by a fingerprint of 32 bits,
   chosen so that no two of the vocabulary share one; a word that is not in it is taken for one of V words with
   probability V / 2^32. */
#include "grunlock_tokens.h"

#include <string.h>

#include "grunlock_encoder.h"
#include "grunlock_ngrams.h"
#include "grunlock_numbers.h"
#include "grunlock_unicode.h"
#include "grunlock_wide.h"

#define UNKNOWN_ID 0
#define EMPTY_ID 1
#define NO_NGRAMS (GRUNLOCK_NGRAM_MAX + 1) /* as the length from which on runs count */

typedef struct {
  uint32_t row; /* of the table of vectors */
  uint32_t id;  /* in the vocabulary; only the wide path asks */
} word;

static void start_token(grunlock_token *token) {
  token->fingerprint = GRUNLOCK_FINGERPRINT_SEED;
#if GRUNLOCK_EMBEDS_NGRAMS
  token->num_ngrams = 0;
  memset(token->ngram_sum, 0, sizeof token->ngram_sum);
#endif
}

/* FNV-1a over the bytes of UTF-8. */
static void add_to_fingerprint(grunlock_token *token, uint32_t character) {
#if GRUNLOCK_CHARACTERS
  token->fingerprint = character;
#else
  uint8_t bytes[4];
  const uint32_t size = grunlock_to_utf8(character, bytes);
  uint32_t i;
  for (i = 0; i < size; ++i) {
    token->fingerprint = (token->fingerprint ^ bytes[i]) * 0x01000193u;
  }
#endif
}

static void add_character(grunlock_state *state, uint32_t character) {
  add_to_fingerprint(&state->token, character);
#if GRUNLOCK_NGRAMS
  grunlock_runs_add(state, character, GRUNLOCK_NGRAM_MIN);
#endif
}

#if GRUNLOCK_NGRAMS && !GRUNLOCK_CHARACTERS
/* The marks "<" and ">" around a word: each is part of n-grams, but none by itself. */
static void add_boundary(grunlock_state *state, uint32_t mark) {
  grunlock_runs_add(state, mark, GRUNLOCK_NGRAM_MIN > 1 ? GRUNLOCK_NGRAM_MIN : 2);
}
#endif

static uint32_t fingerprint_of(const grunlock_token *token) {
  uint32_t x = token->fingerprint;
#if !GRUNLOCK_CHARACTERS
  x ^= x >> 16; /* lowbias32 (C. Wellons) */
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
#endif
  return x;
}

static word look_up(const grunlock_token *token) {
  const uint32_t fingerprint = fingerprint_of(token);
  uint32_t place = grunlock_place(&grunlock_words, fingerprint);
  word found = {GRUNLOCK_UNKNOWN_ROW, UNKNOWN_ID};
  if (place != GRUNLOCK_NOT_FOUND) {
    found.row = place;
#if GRUNLOCK_WIDE
    found.id = grunlock_word_ids[place];
#endif
    return found;
  }
#if GRUNLOCK_BARE_WORDS
  place = grunlock_place(&grunlock_bare_words, fingerprint);
  if (place != GRUNLOCK_NOT_FOUND) {
    found.row = GRUNLOCK_NO_ROW;
#if GRUNLOCK_WIDE
    found.id = grunlock_bare_word_ids[place];
#endif
  }
#endif
  return found;
}

static grunlock_vector vector_of(grunlock_state *state, uint32_t row) {
  const grunlock_vector own = grunlock_table_row(&grunlock_tokens, row, GRUNLOCK_INPUT_SIZE);
#if GRUNLOCK_EMBEDS_NGRAMS
  if (state->token.num_ngrams > 0) {
    const float share = 1.0f / (float)state->token.num_ngrams;
    uint32_t i;
    for (i = 0; i < GRUNLOCK_INPUT_SIZE; ++i) {
      state->x[i] = state->token.ngram_sum[i] * share;
    }
    grunlock_add_row(state->x, own, 1.0f, GRUNLOCK_INPUT_SIZE);
    return grunlock_floats(state->x);
  }
#endif
  (void)state;
  return own;
}

/* What the way back will need of a step. */
static void keep_row(grunlock_state *state, uint32_t row) {
#if GRUNLOCK_KEEPS_ROWS == 2
  state->rows[state->num_steps] = (uint16_t)row; /* GRUNLOCK_NO_ROW becomes 0xffff */
#elif GRUNLOCK_KEEPS_ROWS == 4
  state->rows[state->num_steps] = row;
#else
  (void)state, (void)row;
#endif
}

static void keep_character(grunlock_state *state, uint32_t character) {
#if GRUNLOCK_KEEPS_TEXT
  uint8_t bytes[4];
  const uint32_t size = grunlock_to_utf8(character, bytes);
  if (state->num_text_bytes + size > GRUNLOCK_TEXT_BYTES) {
    state->error = GRUNLOCK_TOO_LONG;
    return;
  }
  memcpy(state->text + state->num_text_bytes, bytes, size);
  state->num_text_bytes += size;
#else
  (void)state, (void)character;
#endif
}

static void take(grunlock_state *state, word found) {
  if (state->error != GRUNLOCK_OK) {
    return;
  }
#if GRUNLOCK_MAX_STEPS > 0
  if (state->num_steps == GRUNLOCK_MAX_STEPS) {
    state->error = GRUNLOCK_TOO_LONG;
    return;
  }
#endif
#if GRUNLOCK_WIDE
  grunlock_wide_token(state, found.id);
#endif
  keep_row(state, found.row);
  grunlock_encoder_step(state, vector_of(state, found.row));
}

void grunlock_tokens_start(grunlock_state *state) {
  memset(&state->token, 0, sizeof state->token);
#if GRUNLOCK_CUT_MIDDLE
  memset(&state->tail, 0, sizeof state->tail - sizeof state->tail.bytes);
#endif
#if GRUNLOCK_KEEPS_TEXT
  state->num_text_bytes = 0;
#endif
}

void grunlock_token_begin(grunlock_state *state) {
  start_token(&state->token);
#if GRUNLOCK_CHARACTERS
#if GRUNLOCK_NGRAMS
  if (state->token.spaced) {
    state->token.spaced = 0;
    grunlock_runs_add(state, ' ', NO_NGRAMS);
    keep_character(state, ' ');
  }
#endif
#else
#if GRUNLOCK_NGRAMS
  grunlock_runs_start(&state->token);
  add_boundary(state, '<');
#endif
  if (state->num_steps > 0) {
    keep_character(state, ' ');
  }
#endif
}

void grunlock_token_character(grunlock_state *state, uint32_t character) {
  keep_character(state, character);
  add_character(state, character);
}

void grunlock_token_end(grunlock_state *state) {
#if GRUNLOCK_NGRAMS && !GRUNLOCK_CHARACTERS
  add_boundary(state, '>');
#endif
  take(state, look_up(&state->token));
}

void grunlock_token_space(grunlock_state *state) { state->token.spaced = state->token.num_tokens > 0; }

#if GRUNLOCK_CHARACTERS && GRUNLOCK_NGRAMS
void grunlock_token_context(grunlock_state *state, const uint32_t *characters, uint32_t count) {
  uint32_t i;
  grunlock_runs_start(&state->token);
  for (i = 0; i < count; ++i) {
    grunlock_runs_add(state, characters[i], NO_NGRAMS);
  }
}
#endif

void grunlock_token_empty(grunlock_state *state) {
  word found;
  start_token(&state->token);
  found.row = GRUNLOCK_EMPTY_ROW;
  found.id = EMPTY_ID;
  take(state, found);
}

#if GRUNLOCK_KEEPS_ROWS

void grunlock_rewind(grunlock_state *state) { state->cursor = state->num_steps; }

grunlock_vector grunlock_previous_vector(grunlock_state *state) {
  const uint32_t row = state->rows[--state->cursor];
#if GRUNLOCK_KEEPS_ROWS == 2
  return vector_of(state, row == 0xffff ? GRUNLOCK_NO_ROW : row);
#else
  return vector_of(state, row);
#endif
}

#elif GRUNLOCK_KEEPS_TEXT

void grunlock_rewind(grunlock_state *state) {
  state->cursor = state->num_text_bytes;
  state->token.silent = 1;
}

static uint32_t next_character(const grunlock_state *state, uint32_t *place) {
  uint32_t size;
  const uint32_t character = grunlock_from_utf8(state->text + *place, &size);
  *place += size;
  return character;
}

#if GRUNLOCK_CHARACTERS

/* Where the character begins that ends in front of a place. */
static uint32_t step_back(const grunlock_state *state, uint32_t place) {
  do {
    --place;
  } while ((state->text[place] & 0xc0) == 0x80);
  return place;
}

/* Opens the runs that stand in front of the character at a place. Behind a cut, these may be cut off. */
static void reopen_runs(grunlock_state *state, uint32_t own) {
  uint32_t place = own, first = 0, count = 0;
#if GRUNLOCK_CUT_MIDDLE
  first = own >= state->tail.text_start ? state->tail.text_start : 0;
#endif
  for (; count < GRUNLOCK_NGRAM_MAX - 1 && place > first; ++count) {
    place = step_back(state, place);
  }
  grunlock_runs_start(&state->token);
#if GRUNLOCK_CUT_MIDDLE
  if (first > 0 && place == first) {
    grunlock_token_context(state, state->tail.before, state->tail.num_before);
  }
#endif
  while (place < own) {
    grunlock_runs_add(state, next_character(state, &place), NO_NGRAMS);
  }
}

/* Of the last character in front of the cursor. */
static void read_previous_token(grunlock_state *state) {
  uint32_t own = step_back(state, state->cursor);
  reopen_runs(state, own);
  state->cursor = own > 0 && state->text[own - 1] == ' ' ? own - 1 : own;
  add_character(state, next_character(state, &own));
}

#else

/* Of the last word in front of the cursor. */
static void read_previous_token(grunlock_state *state) {
  const uint32_t end = state->cursor;
  uint32_t place = end;
  while (place > 0 && state->text[place - 1] != ' ') {
    --place;
  }
  state->cursor = place > 0 ? place - 1 : 0;
  grunlock_runs_start(&state->token);
  add_boundary(state, '<');
  while (place < end) {
    add_character(state, next_character(state, &place));
  }
  add_boundary(state, '>');
}

#endif

grunlock_vector grunlock_previous_vector(grunlock_state *state) {
  start_token(&state->token);
  if (state->num_text_bytes == 0) { /* the token [empty] */
    return vector_of(state, GRUNLOCK_EMPTY_ROW);
  }
  read_previous_token(state);
  return vector_of(state, look_up(&state->token).row);
}

#endif

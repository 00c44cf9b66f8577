/* Stands in for grunlock_tokens.c: writes down the tokens that the front end finds, a line each. */
#include <string.h>

#include "grunlock_model.h"
#include "grunlock_cut.h"
#include "grunlock_reading.h"
#include "grunlock_tokens.h"
#include "grunlock_unicode.h"

static grunlock_state state;
static char *out;
static size_t room;

static void write_bytes(const char *bytes, size_t count) {
  if (count <= room) {
    memcpy(out, bytes, count);
    out += count;
    room -= count;
  }
}

void grunlock_token_begin(grunlock_state *s) { (void)s; }

void grunlock_token_character(grunlock_state *s, uint32_t character) {
  uint8_t bytes[4];
  (void)s;
  write_bytes((const char *)bytes, grunlock_to_utf8(character, bytes));
}

void grunlock_token_end(grunlock_state *s) {
  (void)s;
  write_bytes("\n", 1);
}

void grunlock_token_space(grunlock_state *s) { (void)s; }

/* The tokens of a text that comes in pieces of so many bytes, and how many bytes they take; the error. */
int trace(const char *text, size_t count, size_t piece, char *tokens, size_t *tokens_bytes) {
  size_t i;
  memset(&state, 0, sizeof state);
  out = tokens;
  room = *tokens_bytes;
  grunlock_reading_start(&state);
  for (i = 0; i < count; i += piece) {
    grunlock_read(&state, text + i, count - i < piece ? count - i : piece);
  }
  grunlock_reading_end(&state);
  *tokens_bytes = (size_t)(out - tokens);
  return (int)state.error;
}

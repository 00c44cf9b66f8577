/* From bytes to tokens: UTF-8, normal form, then words (runs of letters, runs of signs) or single characters. What a
   token is good for is grunlock_tokens.c's. */
#include "grunlock_cut.h"
#include "grunlock_reading.h"
#include "grunlock_unicode.h"

void grunlock_reading_start(grunlock_state *state) {
  grunlock_reader *reader = &state->reader;
  reader->missing = 0;
  reader->last_class = GRUNLOCK_NO_CLASS;
#if GRUNLOCK_UNICODE
  reader->starter = GRUNLOCK_NO_CHARACTER;
  reader->num_marks = 0;
#endif
}

/* A lead byte: how many follow, and what the first of them may be. Overlong forms, half characters (surrogates) and
   numbers above 0x10ffff are no UTF-8. */
static int begin_character(grunlock_reader *reader, uint32_t lead) {
  reader->lowest = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  reader->highest = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (lead >= 0xc2 && lead < 0xe0) {
    reader->missing = 1;
    reader->partial = lead & 0x1f;
  } else if (lead >= 0xe0 && lead < 0xf0) {
    reader->missing = 2;
    reader->partial = lead & 0x0f;
  } else if (lead >= 0xf0 && lead < 0xf5) {
    reader->missing = 3;
    reader->partial = lead & 0x07;
  } else {
    return GRUNLOCK_INVALID;
  }
  return GRUNLOCK_OK;
}

static int read_byte(grunlock_state *state, uint8_t byte) {
  grunlock_reader *reader = &state->reader;
  if (reader->missing == 0) {
    if (byte >= 0x80) {
      return begin_character(reader, byte);
    }
    grunlock_normalize(state, byte);
    return GRUNLOCK_OK;
  }
  if (byte < reader->lowest || byte > reader->highest) {
    return GRUNLOCK_INVALID;
  }
  reader->lowest = 0x80;
  reader->highest = 0xbf;
  reader->partial = reader->partial << 6 | (byte & 0x3fu);
  if (--reader->missing == 0) {
    grunlock_normalize(state, reader->partial);
  }
  return GRUNLOCK_OK;
}

void grunlock_read(grunlock_state *state, const char *utf8, size_t count) {
  size_t i;
  for (i = 0; i < count && state->error == GRUNLOCK_OK; ++i) {
    const int error = read_byte(state, (uint8_t)utf8[i]);
    if (error != GRUNLOCK_OK) {
      state->error = (uint32_t)error;
    }
  }
}

#if GRUNLOCK_CHARACTERS

void grunlock_split(grunlock_state *state, uint32_t character) {
  if (grunlock_class_of(character) == GRUNLOCK_SPACE) {
    grunlock_cut_space(state);
    return;
  }
  grunlock_cut_begin(state);
  grunlock_cut_character(state, character);
  grunlock_cut_end(state);
}

void grunlock_reading_end(grunlock_state *state) {
  if (state->reader.missing != 0) {
    state->error = GRUNLOCK_INVALID;
    return;
  }
  grunlock_normalize_end(state);
}

#else

void grunlock_split(grunlock_state *state, uint32_t character) {
  const enum grunlock_class own_class = grunlock_class_of(character);
  uint8_t *last_class = &state->reader.last_class;
  if (own_class != *last_class) {
    if (*last_class == GRUNLOCK_LETTER || *last_class == GRUNLOCK_SIGN) {
      grunlock_cut_end(state);
    }
    if (own_class != GRUNLOCK_SPACE) {
      grunlock_cut_begin(state);
    }
    *last_class = (uint8_t)own_class;
  }
  if (own_class != GRUNLOCK_SPACE) {
    grunlock_cut_character(state, character);
  }
}

void grunlock_reading_end(grunlock_state *state) {
  if (state->reader.missing != 0) {
    state->error = GRUNLOCK_INVALID;
    return;
  }
  grunlock_normalize_end(state);
  if (state->reader.last_class == GRUNLOCK_LETTER || state->reader.last_class == GRUNLOCK_SIGN) {
    grunlock_cut_end(state);
  }
}

#endif

/* NFKC and lowercase as a stream. A starter and the marks behind it wait until the next starter comes, since marks
   are put in order and may melt with the starter. Of more than GRUNLOCK_MAX_MARKS marks in a row, which no language
   has, each lot is put in order by itself. */
#include "grunlock_unicode.h"

#include "grunlock_numbers.h"

uint32_t grunlock_to_utf8(uint32_t character, uint8_t *bytes) {
  if (character < 0x80) {
    bytes[0] = (uint8_t)character;
    return 1;
  }
  if (character < 0x800) {
    bytes[0] = (uint8_t)(0xc0 | character >> 6);
    bytes[1] = (uint8_t)(0x80 | (character & 0x3f));
    return 2;
  }
  if (character < 0x10000) {
    bytes[0] = (uint8_t)(0xe0 | character >> 12);
    bytes[1] = (uint8_t)(0x80 | (character >> 6 & 0x3f));
    bytes[2] = (uint8_t)(0x80 | (character & 0x3f));
    return 3;
  }
  bytes[0] = (uint8_t)(0xf0 | character >> 18);
  bytes[1] = (uint8_t)(0x80 | (character >> 12 & 0x3f));
  bytes[2] = (uint8_t)(0x80 | (character >> 6 & 0x3f));
  bytes[3] = (uint8_t)(0x80 | (character & 0x3f));
  return 4;
}

uint32_t grunlock_from_utf8(const uint8_t *bytes, uint32_t *size) {
  const uint32_t lead = bytes[0];
  if (lead < 0x80) {
    *size = 1;
    return lead;
  }
  if (lead < 0xe0) {
    *size = 2;
    return (lead & 0x1f) << 6 | (bytes[1] & 0x3fu);
  }
  if (lead < 0xf0) {
    *size = 3;
    return (lead & 0x0f) << 12 | (bytes[1] & 0x3fu) << 6 | (bytes[2] & 0x3fu);
  }
  *size = 4;
  return (lead & 0x07) << 18 | (bytes[1] & 0x3fu) << 12 | (bytes[2] & 0x3fu) << 6 | (bytes[3] & 0x3fu);
}

#if !GRUNLOCK_UNICODE

/* ASCII alone: all else passes as it is and counts as letters. */
enum grunlock_class grunlock_class_of(uint32_t character) {
  if (character == ' ' || (character >= '\t' && character <= '\r')) {
    return GRUNLOCK_SPACE;
  }
#if GRUNLOCK_PYTHON_SPACES
  if (character >= 0x1c && character <= 0x1f) {
    return GRUNLOCK_SPACE;
  }
#endif
  if ((character >= '0' && character <= '9') || (character >= 'A' && character <= 'Z') || character == '_' ||
      (character >= 'a' && character <= 'z') || character >= 0x80) {
    return GRUNLOCK_LETTER;
  }
  return GRUNLOCK_SIGN;
}

void grunlock_normalize(grunlock_state *state, uint32_t character) {
#if GRUNLOCK_LOWERCASE
  if (character >= 'A' && character <= 'Z') {
    character += 'a' - 'A';
  }
#endif
  grunlock_split(state, character);
}

void grunlock_normalize_end(grunlock_state *state) { (void)state; }

#else

/* What the run says in which a character lies. */
static uint32_t in_runs(const uint32_t *runs, uint32_t count, uint32_t character) {
  const uint32_t highest = character << 8 | 0xff;
  uint32_t begin = 0, end = count; /* runs[0] begins with character 0 */
  while (end - begin > 1) {
    const uint32_t middle = begin + (end - begin) / 2;
    if (runs[middle] <= highest) {
      begin = middle;
    } else {
      end = middle;
    }
  }
  return runs[begin] & 0xff;
}

enum grunlock_class grunlock_class_of(uint32_t character) {
  return (enum grunlock_class)in_runs(grunlock_class_runs, GRUNLOCK_CLASS_RUNS, character);
}

static uint32_t mark_class(uint32_t character) {
  return character < 0x300 ? 0 : in_runs(grunlock_mark_runs, GRUNLOCK_MARK_RUNS, character);
}

#if GRUNLOCK_LOWERCASE
static uint32_t lowercase(uint32_t character) {
  uint32_t begin = 0, end = GRUNLOCK_CASE_RUNS;
  while (begin < end) {
    const uint32_t middle = begin + (end - begin) / 2;
    const grunlock_case_run *run = &grunlock_case_runs[middle];
    if (character < run->first) {
      end = middle;
    } else if (character > run->first + (uint32_t)(run->count - 1) * run->stride) {
      begin = middle + 1;
    } else {
      const int at = (character - run->first) % run->stride == 0;
      return at ? (uint32_t)((int32_t)character + run->shift) : character;
    }
  }
  return character;
}
#endif

/* Hangul syllables are a product of leading consonants, vowels and trailing consonants (Unicode 3.12). */
#define SYLLABLES 0xac00u
#define LEADS 0x1100u
#define VOWELS 0x1161u
#define TRAILS 0x11a7u
#define NUM_LEADS 19u
#define NUM_VOWELS 21u
#define NUM_TRAILS 28u
#define NUM_SYLLABLES (NUM_LEADS * NUM_VOWELS * NUM_TRAILS)

static uint32_t compose(uint32_t first, uint32_t second) {
  uint32_t place;
  if (GRUNLOCK_HANGUL && first - LEADS < NUM_LEADS && second - VOWELS < NUM_VOWELS) {
    return SYLLABLES + ((first - LEADS) * NUM_VOWELS + (second - VOWELS)) * NUM_TRAILS;
  }
  if (GRUNLOCK_HANGUL && first - SYLLABLES < NUM_SYLLABLES && (first - SYLLABLES) % NUM_TRAILS == 0 &&
      second - TRAILS - 1 < NUM_TRAILS - 1) {
    return first + (second - TRAILS);
  }
  place = grunlock_place(&grunlock_second_characters, second);
  if (place == GRUNLOCK_NOT_FOUND) {
    return GRUNLOCK_NO_CHARACTER;
  }
  place = grunlock_place(&grunlock_pairs, first << 6 | place);
  return place == GRUNLOCK_NOT_FOUND ? GRUNLOCK_NO_CHARACTER : grunlock_composed[place];
}

static void emit(grunlock_state *state, uint32_t character) {
#if GRUNLOCK_LOWERCASE
  if (character == 0x130) { /* the one capital whose small form is two characters: a dotted I */
    grunlock_split(state, 'i');
    character = 0x307;
  } else if (character < 0x80) {
    character += character >= 'A' && character <= 'Z' ? 'a' - 'A' : 0;
  } else {
    character = lowercase(character);
  }
#endif
  grunlock_split(state, character);
}

/* Lets marks melt with the starter. One that stays blocks those of its class behind it. */
static void melt(grunlock_reader *reader) {
  uint32_t i, kept = 0, last_class = 0;
  for (i = 0; i < reader->num_marks; ++i) {
    const uint32_t mark = reader->marks[i], own_class = mark >> 24;
    const uint32_t whole = own_class == last_class ? GRUNLOCK_NO_CHARACTER : compose(reader->starter, mark & 0xffffff);
    if (whole != GRUNLOCK_NO_CHARACTER) {
      reader->starter = whole;
    } else {
      reader->marks[kept++] = mark;
      last_class = own_class;
    }
  }
  reader->num_marks = kept;
}

/* Passes on what waits. */
static void release(grunlock_state *state) {
  grunlock_reader *reader = &state->reader;
  uint32_t i;
  if (reader->starter != GRUNLOCK_NO_CHARACTER) {
    emit(state, reader->starter);
  }
  for (i = 0; i < reader->num_marks; ++i) {
    emit(state, reader->marks[i] & 0xffffff);
  }
  reader->starter = GRUNLOCK_NO_CHARACTER;
  reader->num_marks = 0;
}

/* A mark takes its place behind those of lower or equal class. */
static void add_mark(grunlock_state *state, uint32_t mark, uint32_t own_class) {
  grunlock_reader *reader = &state->reader;
  uint32_t place;
  if (reader->num_marks == GRUNLOCK_MAX_MARKS) {
    grunlock_normalize_end(state);
  }
  for (place = reader->num_marks++; place > 0 && reader->marks[place - 1] >> 24 > own_class; --place) {
    reader->marks[place] = reader->marks[place - 1];
  }
  reader->marks[place] = own_class << 24 | mark;
}

/* A character that has no decomposition. */
static void add(grunlock_state *state, uint32_t character) {
  grunlock_reader *reader = &state->reader;
  const uint32_t own_class = mark_class(character);
  if (own_class != 0) {
    add_mark(state, character, own_class);
    return;
  }
  if (reader->starter != GRUNLOCK_NO_CHARACTER) {
    uint32_t whole = GRUNLOCK_NO_CHARACTER;
    melt(reader);
    if (reader->num_marks == 0 && character >= 0x300) {
      whole = compose(reader->starter, character);
    }
    if (whole != GRUNLOCK_NO_CHARACTER) {
      reader->starter = whole;
      return;
    }
  }
  release(state);
  if (character <= ' ') { /* nothing melts with a space: the word in front of it need not wait */
    emit(state, character);
  } else {
    reader->starter = character;
  }
}

void grunlock_normalize_end(grunlock_state *state) {
  if (state->reader.starter != GRUNLOCK_NO_CHARACTER) {
    melt(&state->reader);
  }
  release(state);
}

static void add_decomposed(grunlock_state *state, uint32_t place) {
  const uint16_t *unit = grunlock_decomposition_units + (grunlock_decompositions[place] >> 3);
  uint32_t count = grunlock_decompositions[place] & 7;
  const uint16_t *end;
  if (count == 7) {
    count = *unit++;
  }
  for (end = unit + count; unit < end; ++unit) {
    uint32_t character = *unit;
    if (character >= 0xd800 && character < 0xdc00) { /* UTF-16 writes large numbers as two */
      character = 0x10000 + ((character - 0xd800) << 10) + (*++unit - 0xdc00u);
    }
    add(state, character);
  }
}

void grunlock_normalize(grunlock_state *state, uint32_t character) {
  uint32_t place;
  if (character < 0x80) {
    add(state, character);
    return;
  }
  if (GRUNLOCK_HANGUL && character - SYLLABLES < NUM_SYLLABLES) {
    const uint32_t number = character - SYLLABLES;
    add(state, LEADS + number / (NUM_VOWELS * NUM_TRAILS));
    add(state, VOWELS + number / NUM_TRAILS % NUM_VOWELS);
    if (number % NUM_TRAILS != 0) {
      add(state, TRAILS + number % NUM_TRAILS);
    }
    return;
  }
  place = grunlock_place(&grunlock_decomposed, character);
  if (place == GRUNLOCK_NOT_FOUND) {
    add(state, character);
  } else {
    add_decomposed(state, place);
  }
}

#endif

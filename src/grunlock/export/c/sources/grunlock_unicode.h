/* Properties of characters, and the normal form NFKC. The tables are those of the tokeniser that the model learned
   with, whatever version of Unicode that has. */
#ifndef GRUNLOCK_UNICODE_H
#define GRUNLOCK_UNICODE_H

#include "grunlock_weights.h"

#define GRUNLOCK_NO_CHARACTER 0xffffffffu

enum grunlock_class {
  GRUNLOCK_NO_CLASS = 0,
  GRUNLOCK_SPACE = 1,
  GRUNLOCK_LETTER = 2, /* and digits, marks and underscores: what words are made of */
  GRUNLOCK_SIGN = 3
};

enum grunlock_class grunlock_class_of(uint32_t character);

/* Writes 1 to 4 bytes of UTF-8; returns how many. */
uint32_t grunlock_to_utf8(uint32_t character, uint8_t *bytes);

/* Character at bytes, which are UTF-8; size: how many bytes it takes. */
uint32_t grunlock_from_utf8(const uint8_t *bytes, uint32_t *size);

/* Calls grunlock_split for each character of the normal form that is settled by the next one, or by the end. */
void grunlock_normalize(grunlock_state *state, uint32_t character);
void grunlock_normalize_end(grunlock_state *state);

/* What follows the normal form: grunlock_words.c. */
void grunlock_split(grunlock_state *state, uint32_t character);

#if GRUNLOCK_UNICODE
/* unicode_tables.c */
typedef struct {
  uint32_t first;  /* of the characters in this run */
  uint16_t count;
  uint16_t stride; /* between them */
  int32_t shift;   /* from a character to its lowercase */
} grunlock_case_run;

/* Each number stands for the characters from (number >> 8) on, up to the next one's: a class, a combining class. */
extern const uint32_t grunlock_class_runs[GRUNLOCK_CLASS_RUNS];
extern const uint32_t grunlock_mark_runs[GRUNLOCK_MARK_RUNS];
#if GRUNLOCK_LOWERCASE
extern const grunlock_case_run grunlock_case_runs[GRUNLOCK_CASE_RUNS];
#endif

/* Full decompositions but for Hangul: characters, and by place the first unit << 3 | number of units, UTF-16; for 7
   and more, 7, and the first unit is their number. */
extern const grunlock_numbers grunlock_decomposed;
extern const uint16_t grunlock_decompositions[];
extern const uint16_t grunlock_decomposition_units[];

/* What two characters make: place of the second among the second ones, first << 6 | that place, by place the result. */
extern const grunlock_numbers grunlock_second_characters;
extern const grunlock_numbers grunlock_pairs;
extern const uint32_t grunlock_composed[];
#endif

#endif

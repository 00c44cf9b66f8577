/* A trained classifier in C99: no heap, no libm, no file. All memory is one grunlock_state of the caller's, whose
   size is known when this is compiled.

     static grunlock_state state;
     float probabilities[GRUNLOCK_NUM_CLASSES];

     grunlock_init(&state);
     grunlock_step_text(&state, bytes, count);        as often as bytes arrive, cut anywhere
     error = grunlock_finish(&state, probabilities);  column k belongs to grunlock_labels[k]

   grunlock_finish leaves the state as grunlock_init does, ready for the next input. Sizes are in model_weights.h.
   Many states may be in use at once, each by one thread. */
#ifndef GRUNLOCK_MODEL_H
#define GRUNLOCK_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "model_weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What every function returns. An error stays until grunlock_finish has reported it. */
enum grunlock_error {
  GRUNLOCK_OK = 0,
  GRUNLOCK_EMPTY = 1,    /* nothing to answer: no token, no step or no value at all */
  GRUNLOCK_TOO_LONG = 2, /* more than GRUNLOCK_MAX_STEPS, or than the bytes that are kept of a text */
  GRUNLOCK_INVALID = 3   /* no UTF-8; a value that is infinite or too far from those of training */
};

#if GRUNLOCK_NUM_LAYERS > 0
/* The state of one direction of one layer. */
typedef struct {
  float h[GRUNLOCK_HIDDEN_SIZE];
#if GRUNLOCK_LSTM
  float c[GRUNLOCK_HIDDEN_SIZE];
#endif
#if GRUNLOCK_INT8
  int16_t numbers[GRUNLOCK_HIDDEN_NUMBERS]; /* h as products read it: 127 stands for 1 */
#endif
} grunlock_hidden;
#endif

/* What a step changes between its vector and the answer. */
typedef struct {
#if GRUNLOCK_STEM_LAYERS > 0
  /* The last steps in front of each window, a ring for each, one behind the other. */
#if GRUNLOCK_INT8
  float stem_units[GRUNLOCK_STEM_ROWS]; /* what 1 stands for in each of them */
  int8_t stem[GRUNLOCK_STEM_ROOM];
#else
  float stem[GRUNLOCK_STEM_ROOM];
#endif
#endif
#if GRUNLOCK_NUM_LAYERS > 0
  grunlock_hidden hidden[GRUNLOCK_NUM_STATES];
#endif
#if GRUNLOCK_POOLS_MAX
  float highest[GRUNLOCK_POOLED_SIZE];
#endif
#if GRUNLOCK_POOLS_MEAN
  float sum[GRUNLOCK_POOLED_SIZE];
  float sum_rest[GRUNLOCK_POOLED_SIZE]; /* what rounding took from sum */
#endif
#if GRUNLOCK_POOLS_LAST
  float last[GRUNLOCK_POOLED_SIZE];
#endif
} grunlock_network;

#if GRUNLOCK_READS_TEXT
/* From bytes to characters in their normal form (NFKC, lowercase). */
typedef struct {
  uint32_t partial;  /* a character whose bytes are still coming */
  uint8_t missing;   /* how many of them */
  uint8_t lowest;    /* what the next one may be */
  uint8_t highest;
  uint8_t last_class; /* of the token that is being read */
#if GRUNLOCK_UNICODE
  uint32_t starter;   /* the last character that is no mark, or GRUNLOCK_NO_CHARACTER */
  uint32_t num_marks; /* that follow it */
  uint32_t marks[GRUNLOCK_MAX_MARKS]; /* by combining class, which is in the high byte */
#endif
} grunlock_reader;

/* A token while its characters arrive. */
typedef struct {
  uint32_t num_tokens;  /* begun so far, up to those that may be cut off */
  uint32_t fingerprint; /* of words; of a character the character */
  uint8_t silent;       /* its n-grams do not count in the wide path, it has been read before */
  uint8_t spaced;       /* there was whitespace in front of it */
  uint8_t skipped;      /* it is cut off */
  uint8_t num_open;     /* runs of characters that may go on, as many as there are characters up to the longest */
#if GRUNLOCK_NGRAMS
  uint32_t open[GRUNLOCK_NGRAM_MAX]; /* checksum of the run that began 0, 1, ... characters ago */
#endif
#if GRUNLOCK_EMBEDS_NGRAMS
  uint32_t num_ngrams;
  float ngram_sum[GRUNLOCK_INPUT_SIZE];
#endif
} grunlock_token;

#if GRUNLOCK_CUT_MIDDLE
/* The last tokens, which stay when those before them are cut off. */
typedef struct {
  uint32_t start; /* in bytes, a ring */
  uint32_t num_bytes;
  uint32_t num_tokens;
#if GRUNLOCK_NGRAMS && GRUNLOCK_CHARACTERS
  uint32_t num_before;                      /* characters in front of it, at most those below */
  uint32_t before[GRUNLOCK_NGRAM_MAX]; /* the newest last */
  uint32_t text_start;                 /* where in the kept text it begins */
#endif
  uint8_t bytes[GRUNLOCK_TAIL_BYTES];
} grunlock_tail;
#endif

#if GRUNLOCK_WIDE
/* Logits of the n-grams so far, of each kind: runs of tokens, runs of characters. */
typedef struct {
  float sums[GRUNLOCK_WIDE_KINDS][GRUNLOCK_NUM_CLASSES];
  float rest[GRUNLOCK_WIDE_KINDS][GRUNLOCK_NUM_CLASSES]; /* what rounding took from sums */
  float size[GRUNLOCK_WIDE_KINDS];                       /* squared length, or number of n-grams */
  float size_rest[GRUNLOCK_WIDE_KINDS];
  uint32_t ids[GRUNLOCK_WIDE_LENGTH]; /* of the last tokens, the newest first */
  uint32_t num_ids;
#if GRUNLOCK_WIDE_APART
#if GRUNLOCK_WIDE_TOUCHED > 0
  uint32_t num_touched;
  uint32_t touched[GRUNLOCK_WIDE_TOUCHED]; /* the first n-grams that were counted */
#endif
  uint16_t counts[GRUNLOCK_WIDE_COUNTS]; /* of each n-gram that the model knows; they end at 65,535 */
#endif
} grunlock_wide;
#endif
#endif

typedef struct {
  uint32_t num_steps;
  uint32_t error;
#if GRUNLOCK_BIDIRECTIONAL
  uint32_t cursor; /* how much the way back still has to read */
#endif
#if GRUNLOCK_READS_TEXT
  grunlock_reader reader;
  grunlock_token token;
#if GRUNLOCK_CUT_MIDDLE
  grunlock_tail tail;
#endif
#if GRUNLOCK_WIDE
  grunlock_wide wide;
#endif
#if GRUNLOCK_KEEPS_TEXT
  uint32_t num_text_bytes;
  uint8_t text[GRUNLOCK_TEXT_BYTES]; /* the tokens, normalised, with single spaces between words */
#elif GRUNLOCK_KEEPS_ROWS == 2
  uint16_t rows[GRUNLOCK_ROWS_ROOM]; /* of each step */
#elif GRUNLOCK_KEEPS_ROWS == 4
  uint32_t rows[GRUNLOCK_ROWS_ROOM];
#endif
#else
  uint32_t has_value; /* whether any value was not missing */
  float features[GRUNLOCK_NUM_FEATURES];
#if GRUNLOCK_CHANGES
  float before[GRUNLOCK_NUM_CHANNELS]; /* the step before */
#endif
#if GRUNLOCK_EACH_ALONE
  float origin[GRUNLOCK_NUM_CHANNELS]; /* a value of the series, from which mean counts */
  float mean[GRUNLOCK_NUM_CHANNELS];
  float deviation[GRUNLOCK_NUM_CHANNELS];
#endif
#if GRUNLOCK_KEEPS_VALUES
  float values[GRUNLOCK_MAX_STEPS][GRUNLOCK_NUM_CHANNELS];
#elif GRUNLOCK_KEEPS_FEATURES
  float units[GRUNLOCK_MAX_STEPS]; /* what 1 stands for in the features of each step */
  int8_t kept_features[GRUNLOCK_FEATURES_ROOM];
#endif
#endif
#if GRUNLOCK_COMPOSES
  float x[GRUNLOCK_INPUT_SIZE]; /* the vector of a step, where it is no row of a table */
#endif
#if GRUNLOCK_ROOM > 0
  float room[GRUNLOCK_ROOM]; /* a vector as floats, normalised perhaps */
#endif
#if GRUNLOCK_INT8
  int16_t numbers[GRUNLOCK_NUMBERS_ROOM]; /* a vector as products read it */
#endif
#if GRUNLOCK_NUM_LAYERS > 0
  float gates[4 * GRUNLOCK_HIDDEN_SIZE];
#endif
#if GRUNLOCK_NUM_KEPT > 0
  /* States of a layer in both directions, which the next one reads. */
#if GRUNLOCK_INT8
  int8_t kept_states[GRUNLOCK_NUM_KEPT][GRUNLOCK_KEPT_ROOM];
#else
  float kept_states[GRUNLOCK_NUM_KEPT][GRUNLOCK_KEPT_ROOM];
#endif
#endif
  grunlock_network network;
#if GRUNLOCK_HAS_PEEK && GRUNLOCK_STEM_DELAY > 0
  grunlock_network saved; /* as it was before grunlock_peek went on to the end */
#endif
} grunlock_state;

/* Checks while compiling: an array of -1 is an error. */
typedef char grunlock_max_steps_is_a_multiple_of_4[GRUNLOCK_MAX_STEPS % 4 == 0 ? 1 : -1];
typedef char grunlock_state_has_the_stated_size[sizeof(grunlock_state) == GRUNLOCK_STATE_BYTES ? 1 : -1];

extern const char *const grunlock_labels[GRUNLOCK_NUM_CLASSES];

/* Makes any memory a state that has read nothing. */
void grunlock_init(grunlock_state *state);

#if GRUNLOCK_READS_TEXT
/* More of a text in UTF-8. A piece may end anywhere, even within a character. */
int grunlock_step_text(grunlock_state *state, const char *utf8, size_t count);
#else
/* The next step of a series: a value for each channel, NaN where it is missing. */
int grunlock_step_values(grunlock_state *state, const float *channels);
#endif

/* The end of the input. On GRUNLOCK_OK, probabilities [GRUNLOCK_NUM_CLASSES] add up to 1; else they are untouched. */
int grunlock_finish(grunlock_state *state, float *probabilities);

/* The same, but the state stays as the end has left it, with num_steps in it, good for nothing but grunlock_init. */
int grunlock_end(grunlock_state *state, float *probabilities);

#if GRUNLOCK_HAS_PEEK
/* What grunlock_finish would say of the steps so far (of texts: of the whole tokens so far). Changes nothing that
   later results depend on. Behind windows of steps it takes GRUNLOCK_STEM_DELAY steps of the network each time. */
int grunlock_peek(grunlock_state *state, float *probabilities);
#endif

#ifdef __cplusplus
}
#endif

#endif

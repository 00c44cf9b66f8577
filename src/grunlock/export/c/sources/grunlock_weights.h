/* What model_weights*.c and unicode_tables.c hold: types of the arrays and their names. */
#ifndef GRUNLOCK_WEIGHTS_H
#define GRUNLOCK_WEIGHTS_H

#include "grunlock_model.h"

#define GRUNLOCK_NO_ROW 0xffffffffu
#define GRUNLOCK_NOT_FOUND 0xffffffffu

/* Of weights, and of what products read beside them. */
#if GRUNLOCK_INT8
typedef int8_t grunlock_weight;
typedef int16_t grunlock_number; /* from -127 to 127 */
#else
typedef float grunlock_weight;
typedef float grunlock_number;
#endif

/* A weight matrix. float32: column after column, since a product adds columns up. int8: row after row, each with a
   scale in half precision. Numbers of four bits stand two in a byte, 8 added to them: the row's first `lows` in the low
   halves of its bytes, the others in the high ones. */
typedef struct {
  const grunlock_weight *values;
#if GRUNLOCK_INT8
  const uint16_t *scales; /* [rows] */
  uint32_t lows;          /* bytes of a row of numbers of four bits; 0: of eight */
#else
  uint32_t rows;
#endif
  uint32_t columns;
} grunlock_matrix;

/* Vectors by number, in pages of 2^page_shift (compilers need much memory for one long array). */
typedef struct {
  const grunlock_weight *const *pages;
#if GRUNLOCK_INT8
  const uint16_t *scales; /* of each row */
  uint32_t lows;          /* as of a matrix */
#endif
  uint32_t page_shift;
} grunlock_table;

/* Rising numbers; what belongs to one stands at its place among them. A number's high part says where to look for its
   low part, which takes low_bits (1 to 25), the lowest first. */
typedef struct {
  const uint32_t *starts; /* [num_highs + 1] the first place of each high part */
  const uint8_t *lows;    /* one behind the other, and three bytes more that may be read */
  uint32_t num_highs;
  uint32_t low_bits;
} grunlock_numbers;

#if GRUNLOCK_NUM_LAYERS > 0
/* GRU: rows of weight_ih are candidate, reset, update, those of weight_hh reset, update, candidate, and bias is
   [candidate of the input, reset, update, candidate of the state], so that either product adds to neighbouring gates.
   LSTM: input, forget, candidate, output everywhere. */
typedef struct {
  grunlock_matrix weight_ih; /* [gates * H, D] */
  grunlock_matrix weight_hh; /* [gates * H, H] */
  const float *bias;         /* [4 * H] */
} grunlock_direction;

typedef struct {
#if GRUNLOCK_NORM
  const float *gain; /* [D] of the layer norm in front; null where there is none */
  const float *shift;
#endif
  uint32_t input_size;
  grunlock_direction directions[GRUNLOCK_BIDIRECTIONAL ? 2 : 1];
} grunlock_layer;

extern const grunlock_layer grunlock_layers[GRUNLOCK_NUM_LAYERS];
#endif

#if GRUNLOCK_STEM_LAYERS > 0
typedef struct {
#if GRUNLOCK_STEM_NORM
  const float *gain; /* [D] of the layer norm behind it */
  const float *shift;
#endif
  uint32_t width;
  uint32_t first_row;     /* of its ring */
  grunlock_matrix weight; /* [width * D, D], a block for each step of the window, the earliest first */
  const float *bias;      /* [D] */
} grunlock_window;

extern const grunlock_window grunlock_stem[GRUNLOCK_STEM_LAYERS];
#endif

extern const grunlock_matrix grunlock_head; /* [K, parts * E]; float32: row after row too */
extern const float grunlock_head_bias[GRUNLOCK_NUM_CLASSES];

#if GRUNLOCK_READS_TEXT
#if GRUNLOCK_ID_BYTES == 2
typedef uint16_t grunlock_id;
#else
typedef uint32_t grunlock_id;
#endif

extern const grunlock_table grunlock_tokens;
extern const grunlock_numbers grunlock_words; /* fingerprints of those that have a vector, by row of the table */
#if GRUNLOCK_BARE_WORDS
extern const grunlock_numbers grunlock_bare_words; /* of those whose vector is zero */
#endif
#if GRUNLOCK_WIDE
extern const grunlock_id grunlock_word_ids[]; /* by place among grunlock_words */
#if GRUNLOCK_BARE_WORDS
extern const grunlock_id grunlock_bare_word_ids[];
#endif

#if GRUNLOCK_WIDE_PRUNED
extern const grunlock_numbers grunlock_wide_rows; /* buckets that have a row */
#endif
#if GRUNLOCK_WIDE_APART
/* How rare each n-gram is: a number among few. */
#if GRUNLOCK_RARITY_BYTES == 1
extern const uint8_t grunlock_rarity[];
#elif GRUNLOCK_RARITY_BYTES == 2
extern const uint16_t grunlock_rarity[];
#endif
extern const float grunlock_rarities[];
#endif
#if GRUNLOCK_WIDE_PARTS > 0
/* Rows that are made of few distinct parts: a part's number for each, and the parts, in half precision. */
extern const uint8_t grunlock_wide_codes[][GRUNLOCK_WIDE_PARTS];
extern const uint16_t grunlock_wide_centres[][GRUNLOCK_NUM_CLASSES];
extern const uint16_t grunlock_wide_part_ends[GRUNLOCK_WIDE_PARTS]; /* behind which class each part ends */
#else
extern const grunlock_table grunlock_wide_table; /* [rows, K] */
#endif
#endif

#if GRUNLOCK_EMBEDS_NGRAMS
extern const grunlock_table grunlock_ngrams;
#if GRUNLOCK_NGRAMS_PRUNED
extern const grunlock_numbers grunlock_ngram_rows; /* buckets that have a row */
#endif
#endif

#else /* series */
extern const float grunlock_mean[GRUNLOCK_NUM_CHANNELS];
extern const float grunlock_scale[GRUNLOCK_NUM_CHANNELS];
#if GRUNLOCK_NUM_INDICATORS > 0
extern const uint16_t grunlock_indicators[GRUNLOCK_NUM_INDICATORS]; /* channels whose missing values have a feature */
#endif
#if GRUNLOCK_CHANGES
extern const float grunlock_change_scale[GRUNLOCK_NUM_CHANNELS];
#endif
#if GRUNLOCK_PROJECTS
extern const grunlock_matrix grunlock_projection; /* [D, F] */
extern const float grunlock_projection_bias[GRUNLOCK_INPUT_SIZE];
#endif
#endif

#endif

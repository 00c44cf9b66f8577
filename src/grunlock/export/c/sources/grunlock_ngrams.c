/* The hash of a run is CRC-32 of its UTF-8, which goes on byte by byte: so each run that is still open has one number,
   and a run may be of any length without a character being kept. */
#include "grunlock_ngrams.h"

#include "grunlock_numbers.h"
#include "grunlock_product.h"
#include "grunlock_unicode.h"
#include "grunlock_wide.h"

#if GRUNLOCK_NGRAMS

/* CRC-32 (IEEE 802.3) of each half byte. */
static const uint32_t kRemainders[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                         0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                         0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};

static uint32_t checksum_with(uint32_t checksum, const uint8_t *bytes, uint32_t count) {
  uint32_t i;
  for (i = 0; i < count; ++i) {
    checksum ^= bytes[i];
    checksum = kRemainders[checksum & 15] ^ checksum >> 4;
    checksum = kRemainders[checksum & 15] ^ checksum >> 4;
  }
  return checksum;
}

void grunlock_runs_start(grunlock_token *token) { token->num_open = 0; }

static void found(grunlock_state *state, uint32_t checksum) {
  const uint32_t bucket = checksum % GRUNLOCK_NGRAM_BUCKETS;
#if GRUNLOCK_WIDE_CHARACTERS
  if (!state->token.silent) {
    grunlock_wide_characters(state, bucket);
  }
#endif
#if GRUNLOCK_EMBEDS_NGRAMS
  {
    uint32_t row = bucket % GRUNLOCK_NGRAM_VECTORS;
#if GRUNLOCK_NGRAMS_PRUNED
    row = grunlock_place(&grunlock_ngram_rows, row); /* GRUNLOCK_NOT_FOUND is GRUNLOCK_NO_ROW: zero */
#endif
    grunlock_add_row(state->token.ngram_sum, grunlock_table_row(&grunlock_ngrams, row, GRUNLOCK_INPUT_SIZE), 1.0f,
                     GRUNLOCK_INPUT_SIZE);
    ++state->token.num_ngrams;
  }
#endif
  (void)state, (void)bucket;
}

void grunlock_runs_add(grunlock_state *state, uint32_t character, uint32_t shortest) {
  grunlock_token *token = &state->token;
  uint8_t bytes[4];
  const uint32_t size = grunlock_to_utf8(character, bytes);
  uint32_t length;
  if (token->num_open < GRUNLOCK_NGRAM_MAX) {
    ++token->num_open;
  }
  for (length = token->num_open; length > 1; --length) {
    token->open[length - 1] = checksum_with(token->open[length - 2], bytes, size);
  }
  token->open[0] = checksum_with(0xffffffffu, bytes, size);
  for (length = shortest; length <= token->num_open; ++length) {
    found(state, ~token->open[length - 1]);
  }
}

#endif

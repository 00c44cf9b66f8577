/* Learned apart: an n-gram that occurs n times counts (1 + log n) * rarity, and each kind's values are scaled to
   length 1 (TF-IDF). When one comes again, what it counts more is added: nothing is left to the end but the division.
   Learned together: the sum of rows over the root of their number. */
#include "grunlock_wide.h"

#if GRUNLOCK_READS_TEXT && GRUNLOCK_WIDE

#include <string.h>

#include "grunlock_math.h"
#include "grunlock_numbers.h"
#include "grunlock_product.h"

#define TOKENS 0
#define CHARACTERS 1

#if GRUNLOCK_WIDE_APART
#define OTHERS_BYTES (sizeof(grunlock_wide) - sizeof(uint16_t) * GRUNLOCK_WIDE_COUNTS) /* counts come last */
#else
#define OTHERS_BYTES sizeof(grunlock_wide)
#endif

void grunlock_wide_init(grunlock_state *state) { memset(&state->wide, 0, sizeof state->wide); }

/* Of many counts only those that are not 0 are set to 0. */
void grunlock_wide_start(grunlock_state *state) {
  grunlock_wide *wide = &state->wide;
#if GRUNLOCK_WIDE_APART && GRUNLOCK_WIDE_TOUCHED > 0
  uint32_t i;
  if (wide->num_touched < GRUNLOCK_WIDE_TOUCHED) {
    for (i = 0; i < wide->num_touched; ++i) {
      wide->counts[wide->touched[i]] = 0;
    }
  } else {
    memset(wide->counts, 0, sizeof wide->counts);
  }
#elif GRUNLOCK_WIDE_APART
  memset(wide->counts, 0, sizeof wide->counts);
#endif
  memset(wide, 0, OTHERS_BYTES);
}

/* splitmix64's multiplication and shifts (Steele 2014). */
static uint64_t mixed(uint64_t value) {
  value *= 0x9e3779b97f4a7c15u;
  value ^= value >> 30;
  value *= 0xbf58476d1ce4e5b9u;
  return value ^ value >> 27;
}

static void add_weights(grunlock_state *state, int kind, uint32_t row, float factor) {
  float *sums = state->wide.sums[kind], *rest = state->wide.rest[kind];
  uint32_t k = 0;
#if GRUNLOCK_WIDE_PARTS > 0
  uint32_t part;
  for (part = 0; part < GRUNLOCK_WIDE_PARTS; ++part) {
    const uint16_t *centre = grunlock_wide_centres[grunlock_wide_codes[row][part]];
    for (; k < grunlock_wide_part_ends[part]; ++k) {
      grunlock_add(&sums[k], &rest[k], factor * grunlock_half(centre[k]));
    }
  }
#else
  const grunlock_vector weights = grunlock_table_row(&grunlock_wide_table, row, GRUNLOCK_NUM_CLASSES);
#if GRUNLOCK_INT8
  factor *= weights.unit;
#endif
  for (; k < GRUNLOCK_NUM_CLASSES; ++k) {
#if GRUNLOCK_INT8
    grunlock_add(&sums[k], &rest[k], factor * (float)weights.bytes[k]);
#else
    grunlock_add(&sums[k], &rest[k], factor * weights.floats[k]);
#endif
  }
#endif
}

#if GRUNLOCK_WIDE_APART
static float rarity_of(uint32_t row) {
#if GRUNLOCK_RARITY_BYTES > 0
  return grunlock_rarities[grunlock_rarity[row]];
#else
  return grunlock_rarities[row];
#endif
}
#endif

static void count(grunlock_state *state, int kind, uint32_t bucket) {
  grunlock_wide *wide = &state->wide;
  uint32_t row = bucket;
#if GRUNLOCK_WIDE_PRUNED
  row = grunlock_place(&grunlock_wide_rows, bucket);
#endif
#if GRUNLOCK_WIDE_APART
  if (row != GRUNLOCK_NOT_FOUND && wide->counts[row] < 0xffff) {
    const float rarity = rarity_of(row);
    const uint32_t times = ++wide->counts[row];
    const float now = 1.0f + grunlock_log((float)times);
    const float before = times == 1 ? 0.0f : 1.0f + grunlock_log((float)(times - 1));
#if GRUNLOCK_WIDE_TOUCHED > 0
    if (times == 1 && wide->num_touched < GRUNLOCK_WIDE_TOUCHED) {
      wide->touched[wide->num_touched++] = row;
    }
#endif
    add_weights(state, kind, row, (now - before) * rarity);
    grunlock_add(&wide->size[kind], &wide->size_rest[kind], (now - before) * (now + before) * (rarity * rarity));
  }
#else
  wide->size[kind] += 1.0f;
  if (row != GRUNLOCK_NOT_FOUND) {
    add_weights(state, kind, row, 1.0f);
  }
#endif
}

void grunlock_wide_token(grunlock_state *state, uint32_t id) {
  grunlock_wide *wide = &state->wide;
  uint64_t hash = 0;
  uint32_t length;
  for (length = GRUNLOCK_WIDE_LENGTH - 1; length > 0; --length) {
    wide->ids[length] = wide->ids[length - 1];
  }
  wide->ids[0] = id;
  if (wide->num_ids < GRUNLOCK_WIDE_LENGTH) {
    ++wide->num_ids;
  }
  for (length = 0; length < wide->num_ids; ++length) {
    hash = mixed(hash + wide->ids[length] + 1);
    count(state, TOKENS, (uint32_t)(hash % GRUNLOCK_WIDE_TOKEN_BUCKETS));
  }
}

#if GRUNLOCK_WIDE_CHARACTERS
void grunlock_wide_characters(grunlock_state *state, uint32_t bucket) {
  const uint64_t hash = mixed((uint64_t)bucket + 1);
  count(state, CHARACTERS, GRUNLOCK_WIDE_TOKEN_BUCKETS + (uint32_t)(hash % GRUNLOCK_WIDE_CHARACTER_BUCKETS));
}
#endif

void grunlock_wide_logits(const grunlock_state *state, float *logits) {
  int kind;
  uint32_t k;
  for (kind = 0; kind < GRUNLOCK_WIDE_KINDS; ++kind) {
    if (state->wide.size[kind] > 0.0f) {
      const float length = grunlock_sqrt(state->wide.size[kind]);
      for (k = 0; k < GRUNLOCK_NUM_CLASSES; ++k) {
        logits[k] += state->wide.sums[kind][k] / length;
      }
    }
  }
}

#endif

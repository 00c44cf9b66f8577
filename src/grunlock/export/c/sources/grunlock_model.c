/* The whole: what is read goes to the encoder as it comes; the end asks for the rest. */
#include "grunlock_model.h"

#include <string.h>

#include "grunlock_encoder.h"
#include "grunlock_pool.h"

#if GRUNLOCK_READS_TEXT
#include "grunlock_cut.h"
#include "grunlock_reading.h"
#include "grunlock_tokens.h"
#include "grunlock_wide.h"
#else
#include "grunlock_series.h"
#endif

/* Ready for the next input; of a state that was in use before. */
static void start(grunlock_state *state) {
  state->num_steps = 0;
  state->error = GRUNLOCK_OK;
#if GRUNLOCK_READS_TEXT
  grunlock_reading_start(state);
  grunlock_tokens_start(state);
#if GRUNLOCK_WIDE
  grunlock_wide_start(state);
#endif
#else
  grunlock_series_start(state);
#endif
  grunlock_encoder_start(state);
  grunlock_pool_start(state);
}

void grunlock_init(grunlock_state *state) {
#if GRUNLOCK_READS_TEXT && GRUNLOCK_WIDE
  grunlock_wide_init(state);
#endif
  start(state);
}

#if GRUNLOCK_READS_TEXT

int grunlock_step_text(grunlock_state *state, const char *utf8, size_t count) {
  grunlock_read(state, utf8, count);
  return (int)state->error;
}

static void read_end(grunlock_state *state) {
  grunlock_reading_end(state);
  if (state->error == GRUNLOCK_OK) {
    grunlock_cut_finish(state);
  }
  if (state->error == GRUNLOCK_OK && state->num_steps == 0) {
#if GRUNLOCK_KEEPS_EMPTY
    grunlock_token_empty(state);
#else
    state->error = GRUNLOCK_EMPTY;
#endif
  }
}

#else

int grunlock_step_values(grunlock_state *state, const float *channels) {
  if (state->error == GRUNLOCK_OK) {
    grunlock_series_step(state, channels);
  }
  return (int)state->error;
}

static void read_end(grunlock_state *state) {
  if (!state->has_value) {
    state->error = GRUNLOCK_EMPTY;
    return;
  }
  grunlock_series_end(state);
}

#endif

/* Of at least one step. */
static void answer(const grunlock_state *state, float *probabilities) {
  grunlock_pool_logits(state, probabilities);
#if GRUNLOCK_READS_TEXT && GRUNLOCK_WIDE
  grunlock_wide_logits(state, probabilities);
#endif
  grunlock_softmax(probabilities);
}

int grunlock_end(grunlock_state *state, float *probabilities) {
  if (state->error == GRUNLOCK_OK) {
    read_end(state);
  }
  if (state->error == GRUNLOCK_OK) {
#if GRUNLOCK_STEM_DELAY > 0
    grunlock_encoder_end(state);
#endif
#if GRUNLOCK_BIDIRECTIONAL
    grunlock_encoder_finish(state);
#endif
    answer(state, probabilities);
  }
  return (int)state->error;
}

int grunlock_finish(grunlock_state *state, float *probabilities) {
  const int error = grunlock_end(state, probabilities);
  start(state);
  return error;
}

#if GRUNLOCK_HAS_PEEK
int grunlock_peek(grunlock_state *state, float *probabilities) {
  if (state->error != GRUNLOCK_OK) {
    return (int)state->error;
  }
  if (state->num_steps == 0) {
    return GRUNLOCK_EMPTY;
  }
#if !GRUNLOCK_READS_TEXT
  if (!state->has_value) {
    return GRUNLOCK_EMPTY;
  }
#endif
#if GRUNLOCK_STEM_DELAY > 0
  state->saved = state->network;
  grunlock_encoder_end(state);
#endif
  answer(state, probabilities);
#if GRUNLOCK_STEM_DELAY > 0
  state->network = state->saved;
#endif
  return GRUNLOCK_OK;
}
#endif

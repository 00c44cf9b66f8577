/* Values are standardised, missing ones (NaN) become 0 and may have a feature that says so, changes since the step
   before follow. With GRUNLOCK_EACH_ALONE a series is first standardised by itself, so that nothing can be computed
   before its end. */
#include "grunlock_series.h"

#include <string.h>

#include "grunlock_encoder.h"
#include "grunlock_math.h"

#define C GRUNLOCK_NUM_CHANNELS
#define F GRUNLOCK_NUM_FEATURES
#define LARGEST 3.402823466e38f

static int is_missing(float value) { return value != value; }

static int is_infinite(float value) { return value > LARGEST || value < -LARGEST; }

void grunlock_series_start(grunlock_state *state) { state->has_value = 0; }

static float standardized(const grunlock_state *state, float value, uint32_t channel) {
#if GRUNLOCK_EACH_ALONE
  value = ((value - state->origin[channel]) - state->mean[channel]) / state->deviation[channel];
#else
  (void)state;
#endif
  return (value - grunlock_mean[channel]) / grunlock_scale[channel];
}

/* The features of a step. before: the step before, null for the first one. Returns whether all are finite. */
static int make_features(grunlock_state *state, const float *values, const float *before) {
  float *features = state->features;
  uint32_t c, place = C;
  int finite = 1;
#if GRUNLOCK_NUM_INDICATORS > 0
  uint32_t i;
  for (i = 0; i < GRUNLOCK_NUM_INDICATORS; ++i) {
    features[place++] = is_missing(values[grunlock_indicators[i]]) ? 1.0f : 0.0f;
  }
#endif
  for (c = 0; c < C; ++c) {
    const float now = standardized(state, values[c], c);
    features[c] = is_missing(now) ? 0.0f : now;
    finite = finite && !is_infinite(now);
#if GRUNLOCK_CHANGES
    {
      const float change = before == 0 ? 0.0f : now - standardized(state, before[c], c);
      features[place + c] = is_missing(change) ? 0.0f : change / grunlock_change_scale[c];
    }
#endif
  }
  (void)before, (void)place;
  return finite;
}

/* The features as the encoder reads them. */
static grunlock_vector projected(grunlock_state *state, grunlock_vector features) {
#if GRUNLOCK_PROJECTS
#if GRUNLOCK_INT8
  const grunlock_operand operand = grunlock_as_operand(features, state->numbers, F);
#else
  const grunlock_operand operand = grunlock_as_operand(features, 0, F);
#endif
  memcpy(state->x, grunlock_projection_bias, sizeof state->x);
  grunlock_add_product(state->x, &grunlock_projection, 0, GRUNLOCK_INPUT_SIZE, operand);
  return grunlock_floats(state->x);
#else
  (void)state;
  return features;
#endif
}

#if GRUNLOCK_KEEPS_VALUES
static int features_at(grunlock_state *state, uint32_t time) {
  return make_features(state, state->values[time], time == 0 ? 0 : state->values[time - 1]);
}
#endif

static void take_features(grunlock_state *state) {
  grunlock_vector features = grunlock_floats(state->features);
#if GRUNLOCK_KEEPS_FEATURES
  features = grunlock_as_bytes(state->features, state->kept_features + state->num_steps * F, F);
  state->units[state->num_steps] = features.unit;
#endif
  grunlock_encoder_step(state, projected(state, features));
}

static int check(grunlock_state *state, const float *channels) {
  uint32_t c;
  for (c = 0; c < C; ++c) {
    if (is_infinite(channels[c])) {
      return GRUNLOCK_INVALID;
    }
    state->has_value |= !is_missing(channels[c]);
  }
#if GRUNLOCK_MAX_STEPS > 0
  if (state->num_steps == GRUNLOCK_MAX_STEPS) {
    return GRUNLOCK_TOO_LONG;
  }
#endif
  return GRUNLOCK_OK;
}

void grunlock_series_step(grunlock_state *state, const float *channels) {
  state->error = (uint32_t)check(state, channels);
  if (state->error != GRUNLOCK_OK) {
    return;
  }
#if GRUNLOCK_KEEPS_VALUES
  memcpy(state->values[state->num_steps], channels, C * sizeof *channels);
#endif
#if GRUNLOCK_EACH_ALONE
  ++state->num_steps;
#else
#if GRUNLOCK_CHANGES
  if (!make_features(state, channels, state->num_steps == 0 ? 0 : state->before)) {
#else
  if (!make_features(state, channels, 0)) {
#endif
    state->error = GRUNLOCK_INVALID;
    return;
  }
#if GRUNLOCK_CHANGES
  memcpy(state->before, channels, C * sizeof *channels);
#endif
  take_features(state);
#endif
}

#if GRUNLOCK_EACH_ALONE

/* Mean and deviation of a channel's present values, as distances from one of them: so nothing is lost where they are
   large and lie close together. */
static void measure(grunlock_state *state, uint32_t c) {
  float sum = 0.0f, rest = 0.0f, squares = 0.0f, squares_rest = 0.0f, mean, deviation;
  uint32_t count = 0, time;
  state->origin[c] = 0.0f;
  for (time = 0; time < state->num_steps; ++time) {
    const float value = state->values[time][c];
    if (!is_missing(value)) {
      state->origin[c] = count == 0 ? value : state->origin[c];
      grunlock_add(&sum, &rest, value - state->origin[c]);
      ++count;
    }
  }
  mean = count == 0 ? 0.0f : sum / (float)count;
  for (time = 0; time < state->num_steps; ++time) {
    const float distance = (state->values[time][c] - state->origin[c]) - mean;
    if (!is_missing(distance)) {
      grunlock_add(&squares, &squares_rest, distance * distance);
    }
  }
  deviation = count == 0 ? 0.0f : grunlock_sqrt(squares / (float)count);
  state->mean[c] = mean;
  /* what is left of a constant channel is rounding, which must not be blown up to size 1 */
  state->deviation[c] = deviation > 1.1920929e-7f * grunlock_abs(state->origin[c] + mean) ? deviation : 1.0f;
}

void grunlock_series_end(grunlock_state *state) {
  const uint32_t num_steps = state->num_steps;
  uint32_t c, time;
  for (c = 0; c < C; ++c) {
    measure(state, c);
  }
  state->num_steps = 0;
  for (time = 0; time < num_steps; ++time) {
    if (!features_at(state, time)) {
      state->error = GRUNLOCK_INVALID;
      return;
    }
    take_features(state);
  }
}

#else

void grunlock_series_end(grunlock_state *state) { (void)state; }

#endif

#if GRUNLOCK_BIDIRECTIONAL

void grunlock_rewind(grunlock_state *state) { state->cursor = state->num_steps; }

grunlock_vector grunlock_previous_vector(grunlock_state *state) {
  const uint32_t time = --state->cursor;
#if GRUNLOCK_KEEPS_FEATURES
  grunlock_vector features = grunlock_floats(0);
  features.unit = state->units[time];
  features.bytes = features.unit > 0.0f ? state->kept_features + time * F : 0;
  return projected(state, features);
#else
  features_at(state, time);
  return projected(state, grunlock_floats(state->features));
#endif
}

#endif

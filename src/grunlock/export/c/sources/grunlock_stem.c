/* Each window keeps its last steps in a ring, and hands a step on as soon as those that the window reads ahead of it have
   come. Backwards the same windows lie the other way round: the step that came last is the earliest one. */
#include "grunlock_stem.h"

#include <string.h>

#if GRUNLOCK_STEM_NORM
#include "grunlock_norm.h"
#endif

#define D GRUNLOCK_INPUT_SIZE

#if GRUNLOCK_INT8
#define NUMBERS(state) ((state)->numbers)
#else
#define NUMBERS(state) 0
#endif

void grunlock_stem_start(grunlock_state *state) {
  memset(state->network.stem, 0, sizeof state->network.stem);
#if GRUNLOCK_INT8
  memset(state->network.stem_units, 0, sizeof state->network.stem_units);
#endif
}

static void put(grunlock_network *network, uint32_t row, grunlock_vector x) {
#if GRUNLOCK_INT8
  int8_t *bytes = network->stem + row * D;
  if (x.floats != 0) {
    x = grunlock_as_bytes(x.floats, bytes, D);
  } else if (x.bytes != 0) {
    grunlock_copy_bytes(x, bytes, D);
  }
  network->stem_units[row] = x.bytes != 0 ? x.unit : 0.0f;
#else
  if (x.floats != 0) {
    memcpy(network->stem + row * D, x.floats, D * sizeof(float));
  } else {
    memset(network->stem + row * D, 0, D * sizeof(float));
  }
#endif
}

static grunlock_vector get(const grunlock_network *network, uint32_t row) {
#if GRUNLOCK_INT8
  grunlock_vector vector = grunlock_floats(0);
  vector.unit = network->stem_units[row];
  vector.bytes = vector.unit > 0.0f ? network->stem + row * D : 0;
  return vector;
#else
  return grunlock_floats(network->stem + row * D);
#endif
}

/* The step that came `age` steps before step `time`; zero in front of the first one, where nothing has been put yet. */
static grunlock_vector earlier(const grunlock_state *state, const grunlock_window *window, uint32_t time, uint32_t age) {
  return get(&state->network, window->first_row + (time + window->width - age) % window->width);
}

/* What a window gives for the step `ahead` steps before step `time`, into the state's x. Sums go from the earliest step to
   the latest in both directions, so that both give the same. */
static grunlock_vector output(grunlock_state *state, const grunlock_window *window, uint32_t time, uint32_t ahead,
                              int backwards) {
  float *y = state->x;
  uint32_t i, k;
  memcpy(y, window->bias, sizeof state->x);
  for (k = 0; k < window->width; ++k) {
    const grunlock_vector x = earlier(state, window, time, backwards ? k : window->width - 1 - k);
    grunlock_add_product(y, &window->weight, k * D, D, grunlock_as_operand(x, NUMBERS(state), D));
  }
#if GRUNLOCK_STEM_NORM
  grunlock_layer_norm(y, y, window->gain, window->shift, D);
#endif
  for (i = 0; i < D; ++i) {
    y[i] = y[i] > 0.0f ? y[i] : 0.0f;
  }
  grunlock_add_row(y, earlier(state, window, time, ahead), 1.0f, D);
  return grunlock_floats(y);
}

int grunlock_stem_step(grunlock_state *state, uint32_t time, grunlock_vector *x, int backwards) {
  uint32_t i;
  for (i = 0; i < GRUNLOCK_STEM_LAYERS; ++i) {
    const grunlock_window *window = &grunlock_stem[i];
    const uint32_t ahead = backwards ? window->width / 2 : (window->width - 1) / 2;
    const uint32_t row = window->first_row + time % window->width;
    put(&state->network, row, time < state->num_steps ? *x : grunlock_floats(0));
    if (time < ahead) {
      return 0;
    }
    *x = output(state, window, time, ahead, backwards);
    time -= ahead;
  }
  return 1;
}

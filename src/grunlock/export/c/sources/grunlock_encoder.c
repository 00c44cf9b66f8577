/* Recurrent layers over time. One direction: all layers step together, and nothing is kept of a step. Two directions:
   the first layer's forward one steps as inputs arrive; the rest is done at the end. */
#include "grunlock_encoder.h"

#include <string.h>

#include "grunlock_cell.h"
#include "grunlock_math.h"
#include "grunlock_pool.h"
#if GRUNLOCK_NORM
#include "grunlock_norm.h"
#endif
#if GRUNLOCK_STEM_LAYERS > 0
#include "grunlock_stem.h"
#endif

#define H GRUNLOCK_HIDDEN_SIZE
#define D GRUNLOCK_INPUT_SIZE
#define FORWARD_AT (GRUNLOCK_POOLS_INPUTS ? D : 0) /* where states stand in the pooled vector */
#define BACKWARD_AT (FORWARD_AT + H)

#if GRUNLOCK_ROOM > 0
#define ROOM(state) ((state)->room)
#else
#define ROOM(state) 0
#endif
#if GRUNLOCK_INT8
#define NUMBERS(state) ((state)->numbers)
#else
#define NUMBERS(state) 0
#endif

void grunlock_encoder_start(grunlock_state *state) {
#if GRUNLOCK_NUM_LAYERS > 0
  memset(state->network.hidden, 0, sizeof state->network.hidden);
#endif
#if GRUNLOCK_STEM_LAYERS > 0
  grunlock_stem_start(state);
#endif
  (void)state;
}

#if GRUNLOCK_NUM_LAYERS > 0
static void step(grunlock_state *state, uint32_t number, uint32_t direction, grunlock_hidden *hidden,
                 grunlock_vector x) {
  const grunlock_layer *layer = &grunlock_layers[number];
  grunlock_operand operand;
#if GRUNLOCK_NORM
  if (layer->gain != 0) {
    const float *raw = grunlock_as_floats(x, state->room, layer->input_size);
    grunlock_layer_norm(state->room, raw, layer->gain, layer->shift, layer->input_size);
    x = grunlock_floats(state->room);
  }
#endif
  operand = grunlock_as_operand(x, NUMBERS(state), layer->input_size);
  grunlock_cell(&layer->directions[direction], operand, hidden, state->gates, NUMBERS(state));
}
#endif

#if GRUNLOCK_NUM_KEPT > 0
/* Keeps a state of layer `number` for the layer behind it. */
static void keep(grunlock_state *state, uint32_t number, uint32_t time, uint32_t direction,
                 const grunlock_hidden *hidden) {
  const uint32_t place = (2 * time + direction) * H;
#if GRUNLOCK_INT8
  uint32_t i;
  for (i = 0; i < H; ++i) {
    state->kept_states[number % GRUNLOCK_NUM_KEPT][place + i] = (int8_t)hidden->numbers[i];
  }
#else
  memcpy(state->kept_states[number % GRUNLOCK_NUM_KEPT] + place, hidden->h, H * sizeof(float));
#endif
}

/* The states in both directions that layer `number` kept of a step. */
static grunlock_vector kept(const grunlock_state *state, uint32_t number, uint32_t time) {
  grunlock_vector vector = grunlock_floats(0);
#if GRUNLOCK_INT8
  vector.bytes = state->kept_states[number % GRUNLOCK_NUM_KEPT] + 2 * time * H;
  vector.unit = 1.0f / 127.0f;
#else
  vector.floats = state->kept_states[number % GRUNLOCK_NUM_KEPT] + 2 * time * H;
#endif
  return vector;
}
#endif

#if GRUNLOCK_BIDIRECTIONAL
/* Where a state of layer `number` goes. */
static void pass_on(grunlock_state *state, uint32_t number, uint32_t time, uint32_t direction) {
  const grunlock_hidden *hidden = &state->network.hidden[direction];
#if GRUNLOCK_NUM_KEPT > 0
  if (number + 1 < GRUNLOCK_NUM_LAYERS) {
    keep(state, number, time, direction, hidden);
    return;
  }
#endif
  (void)number, (void)time;
  grunlock_pool_step(state, direction == 0 ? FORWARD_AT : BACKWARD_AT, hidden->h, H);
}

/* The vector in front of the layers once more, from the last step to the first. num_read: steps of the way back that
   the stem has read. */
static grunlock_vector previous_vector(grunlock_state *state, uint32_t *num_read) {
#if GRUNLOCK_STEM_LAYERS > 0
  grunlock_vector x;
  do {
    x = *num_read < state->num_steps ? grunlock_previous_vector(state) : grunlock_floats(0);
  } while (!grunlock_stem_step(state, (*num_read)++, &x, 1));
  return x;
#else
  (void)num_read;
  return grunlock_previous_vector(state);
#endif
}

void grunlock_encoder_finish(grunlock_state *state) {
  uint32_t time, num_read = 0;
#if GRUNLOCK_NUM_KEPT > 0
  uint32_t number;
#endif
#if GRUNLOCK_STEM_LAYERS > 0
  grunlock_stem_start(state);
#endif
  grunlock_rewind(state);
  for (time = state->num_steps; time-- > 0;) {
    step(state, 0, 1, &state->network.hidden[1], previous_vector(state, &num_read));
    pass_on(state, 0, time, 1);
  }
#if GRUNLOCK_NUM_KEPT > 0
  for (number = 1; number < GRUNLOCK_NUM_LAYERS; ++number) {
    memset(state->network.hidden, 0, sizeof state->network.hidden);
    for (time = 0; time < state->num_steps; ++time) {
      step(state, number, 0, &state->network.hidden[0], kept(state, number - 1, time));
      pass_on(state, number, time, 0);
    }
    for (time = state->num_steps; time-- > 0;) {
      step(state, number, 1, &state->network.hidden[1], kept(state, number - 1, time));
      pass_on(state, number, time, 1);
    }
  }
#endif
}
#endif

/* The next vector in front of the layers, which is that of step `time`. */
static void encode(grunlock_state *state, uint32_t time, grunlock_vector x) {
#if GRUNLOCK_POOLS_INPUTS
  grunlock_pool_step(state, 0, grunlock_as_floats(x, ROOM(state), D), D);
#endif
#if GRUNLOCK_BIDIRECTIONAL
  step(state, 0, 0, &state->network.hidden[0], x);
  pass_on(state, 0, time, 0);
#elif GRUNLOCK_NUM_LAYERS > 0
  {
    uint32_t number;
    for (number = 0; number < GRUNLOCK_NUM_LAYERS; ++number) {
      step(state, number, 0, &state->network.hidden[number], x);
      x = grunlock_floats(state->network.hidden[number].h);
    }
    grunlock_pool_step(state, FORWARD_AT, state->network.hidden[GRUNLOCK_NUM_LAYERS - 1].h, H);
  }
#endif
  (void)time;
}

void grunlock_encoder_step(grunlock_state *state, grunlock_vector x) {
  const uint32_t time = state->num_steps++;
#if GRUNLOCK_STEM_LAYERS > 0
  if (!grunlock_stem_step(state, time, &x, 0)) {
    return;
  }
#endif
  encode(state, time - GRUNLOCK_STEM_DELAY, x);
}

#if GRUNLOCK_STEM_DELAY > 0
void grunlock_encoder_end(grunlock_state *state) {
  uint32_t i;
  for (i = 0; i < GRUNLOCK_STEM_DELAY; ++i) {
    const uint32_t time = state->num_steps + i;
    grunlock_vector x = grunlock_floats(0);
    if (grunlock_stem_step(state, time, &x, 0)) {
      encode(state, time - GRUNLOCK_STEM_DELAY, x);
    }
  }
}
#endif

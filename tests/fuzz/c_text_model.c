/* libFuzzer on an exported model of texts: any bytes, in pieces of any size. Sanitizers look for what goes wrong;
   beside that, pieces must not matter and probabilities must be some. Run by scripts/fuzz_c_export.sh. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "grunlock_model.h"

static grunlock_state state;
static int started;

static int ask(const uint8_t *text, size_t count, size_t piece, float *probabilities) {
  size_t i;
  for (i = 0; i < count; i += piece) {
    grunlock_step_text(&state, (const char *)text + i, count - i < piece ? count - i : piece);
  }
  return grunlock_finish(&state, probabilities);
}

static void check(const float *probabilities) {
  float sum = 0.0f;
  int k;
  for (k = 0; k < GRUNLOCK_NUM_CLASSES; ++k) {
    sum += probabilities[k];
  }
  if (!(fabsf(sum - 1.0f) < 1e-5f)) {
    abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  float whole[GRUNLOCK_NUM_CLASSES] = {0}, pieces[GRUNLOCK_NUM_CLASSES] = {0};
  int error;
  if (size == 0) {
    return 0;
  }
  if (!started) {
    memset(&state, 0xa5, sizeof state); /* memory may hold anything before grunlock_init */
    grunlock_init(&state);
    started = 1;
  }
  error = ask(data + 1, size - 1, size, whole);
  if (error != ask(data + 1, size - 1, 1 + data[0] % 7, pieces)) {
    abort();
  }
  if (error == GRUNLOCK_OK) {
    check(whole);
    if (memcmp(whole, pieces, sizeof whole) != 0) {
      abort();
    }
  }
  return 0;
}

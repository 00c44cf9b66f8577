/* What a page asks: the answer to a text, of which only that is read in which it differs from the text before.

   States are kept at some places of the last text. The next one is read from the last of them up to which both are
   the same, so a key at the end costs the bytes that it adds. A model that reads backward too goes back through the
   whole text each time.

   The page writes UTF-8 where grunlock_page_room says and calls grunlock_page_answer. */
#include <stdint.h>
#include <string.h>

#include "grunlock_model.h"

#define EXPORTED(name) __attribute__((export_name(#name)))
#define MEMORY_PAGE 65536u
#define PLACES (GRUNLOCK_BIDIRECTIONAL ? 1 : 32)
#define FIRST_DISTANCE 64u /* bytes from a place to the next one in a short text */

typedef struct {
  uint32_t bytes; /* of the text that the state has read */
  grunlock_state state;
} place;

/* places[0] is the beginning. Where there would be too many, every second one goes and the distance doubles. */
static place places[PLACES], end;
static uint32_t num_places, distance;

static grunlock_state answering;
static float probabilities[GRUNLOCK_NUM_CLASSES];

/* Behind all else in memory: room for the next text, then the text that `end` has read. */
extern unsigned char __heap_base[];
static uint32_t capacity; /* bytes of either */

static unsigned char *next_text(void) { return __heap_base; }

static unsigned char *held_text(void) { return __heap_base + capacity; }

EXPORTED(grunlock_page_start) void start_page(void) {
  grunlock_init(&places[0].state);
  places[0].bytes = 0;
  num_places = 1;
  distance = FIRST_DISTANCE;
  memcpy(&end, &places[0], sizeof end);
}

/* Whether memory reaches that far. */
static int grow_to(uint64_t bytes) {
  const uint64_t has = (uint64_t)__builtin_wasm_memory_size(0) * MEMORY_PAGE;
  if (bytes > has) {
    const uint64_t pages = (bytes - has + MEMORY_PAGE - 1) / MEMORY_PAGE;
    return pages <= MEMORY_PAGE && __builtin_wasm_memory_grow(0, (uint32_t)pages) != (size_t)-1;
  }
  return 1;
}

/* Where a next text of so many bytes goes; null if there is no memory for it. */
EXPORTED(grunlock_page_room) unsigned char *room(uint32_t bytes) {
  if (bytes > capacity) {
    const unsigned char *before = held_text();
    if (!grow_to((uint64_t)(uintptr_t)__heap_base + 2 * (uint64_t)bytes)) {
      return 0;
    }
    capacity = bytes;
    memmove(held_text(), before, end.bytes);
  }
  return next_text();
}

/* How many bytes the next text begins with that the held one begins with too. */
static uint32_t num_same(uint32_t count) {
  const unsigned char *next = next_text(), *held = held_text();
  const uint32_t most = count < end.bytes ? count : end.bytes;
  uint32_t i = 0;
  while (i < most && next[i] == held[i]) {
    ++i;
  }
  return i;
}

/* The end goes back to the last place within the first bytes. */
static void go_back(uint32_t bytes) {
  while (places[num_places - 1].bytes > bytes) {
    --num_places;
  }
  memcpy(&end, &places[num_places - 1], sizeof end);
}

static void thin_out(void) {
  uint32_t i;
  for (i = 1; 2 * i < num_places; ++i) {
    memcpy(&places[i], &places[2 * i], sizeof places[i]);
  }
  num_places = i;
  distance *= 2;
}

/* A place where the end is. */
static void keep_place(void) {
  if (num_places == PLACES) {
    thin_out();
  }
  memcpy(&places[num_places++], &end, sizeof end);
}

static void read_to(uint32_t bytes) {
  grunlock_step_text(&end.state, (const char *)next_text() + end.bytes, bytes - end.bytes);
  end.bytes = bytes;
}

/* An error, or that there are probabilities. count: bytes of the next text. */
EXPORTED(grunlock_page_answer) int answer_text(uint32_t count) {
  const uint32_t same = num_same(count);
  if (same < end.bytes) {
    go_back(same);
  }
  memcpy(held_text() + same, next_text() + same, count - same);
  while (PLACES > 1 && count - places[num_places - 1].bytes > distance) {
    const uint32_t next = places[num_places - 1].bytes + distance;
    read_to(next > end.bytes ? next : end.bytes);
    keep_place();
  }
  read_to(count);
  memcpy(&answering, &end.state, sizeof answering);
  return grunlock_end(&answering, probabilities);
}

EXPORTED(grunlock_page_probabilities) const float *found(void) { return probabilities; }

/* Of the last text. */
EXPORTED(grunlock_page_num_tokens) uint32_t num_tokens(void) { return answering.num_steps; }

EXPORTED(grunlock_page_num_classes) uint32_t num_classes(void) { return GRUNLOCK_NUM_CLASSES; }

/* UTF-8 that ends with a zero. */
EXPORTED(grunlock_page_label) const char *label(uint32_t number) { return grunlock_labels[number]; }

/* Binary search among the numbers that share a high part. */
#include "grunlock_numbers.h"

static uint32_t low_part(const grunlock_numbers *numbers, uint32_t place) {
  const uint32_t bit = place * numbers->low_bits;
  const uint8_t *bytes = numbers->lows + bit / 8;
  const uint32_t lower = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
  const uint32_t four = lower | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
  return four >> bit % 8 & ((1u << numbers->low_bits) - 1u);
}

uint32_t grunlock_place(const grunlock_numbers *numbers, uint32_t number) {
  const uint32_t high = number >> numbers->low_bits, low = number & ((1u << numbers->low_bits) - 1u);
  uint32_t begin, end;
  if (high >= numbers->num_highs) {
    return GRUNLOCK_NOT_FOUND;
  }
  begin = numbers->starts[high];
  end = numbers->starts[high + 1];
  while (begin < end) {
    const uint32_t middle = begin + (end - begin) / 2;
    if (low_part(numbers, middle) < low) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin < numbers->starts[high + 1] && low_part(numbers, begin) == low ? begin : GRUNLOCK_NOT_FOUND;
}

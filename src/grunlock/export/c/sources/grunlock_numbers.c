/* Binary search among the numbers that share a high part. */
#include "grunlock_numbers.h"

static uint32_t low_part(const grunlock_numbers *numbers, uint32_t place) {
  const uint8_t *bytes = numbers->lows + place * numbers->low_bytes;
  uint32_t low = bytes[0];
  if (numbers->low_bytes > 1) {
    low |= (uint32_t)bytes[1] << 8;
  }
  if (numbers->low_bytes > 2) {
    low |= (uint32_t)bytes[2] << 16;
  }
  return low;
}

uint32_t grunlock_place(const grunlock_numbers *numbers, uint32_t number) {
  const uint32_t bits = 8 * numbers->low_bytes;
  const uint32_t high = number >> bits, low = number & ((1u << bits) - 1u);
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

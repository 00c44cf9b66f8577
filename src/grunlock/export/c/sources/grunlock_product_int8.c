/* Vectors and products of int8 weights. A matrix has a scale for each row, a table likewise; a vector that comes as
   floats gets one for itself. Sums of products are whole numbers. */
#include "grunlock_product.h"

#include <string.h>

#include "grunlock_math.h"

#define LANES 8       /* sums side by side, which a compiler may put into one vector register */
#define LEVELS 127.0f /* of 8 bits with a sign, as many on both sides */
#define ZERO 8        /* of a number of four bits */

#if GRUNLOCK_FOUR_BITS
static inline int8_t four_bits(const int8_t *row, uint32_t lows, uint32_t i) {
  return (int8_t)(i < lows ? ((uint8_t)row[i] & 15) - ZERO : ((uint8_t)row[i - lows] >> 4) - ZERO);
}
#endif

grunlock_vector grunlock_table_row(const grunlock_table *table, uint32_t row, uint32_t columns) {
  const uint32_t shift = table->page_shift, stride = table->lows != 0 ? table->lows : columns;
  grunlock_vector vector = grunlock_floats(0);
  if (row != GRUNLOCK_NO_ROW) {
    vector.bytes = table->pages[row >> shift] + (row & ((1u << shift) - 1u)) * stride;
    vector.unit = grunlock_half(table->scales[row]);
    vector.lows = table->lows;
  }
  return vector;
}

void grunlock_add_row(float *y, grunlock_vector row, float factor, uint32_t columns) {
  const int8_t *restrict bytes = row.bytes;
  const float unit = factor * row.unit;
  float *restrict sums = y;
  uint32_t i;
#if GRUNLOCK_FOUR_BITS
  if (row.lows != 0) {
    for (i = 0; bytes != 0 && i < columns; ++i) {
      sums[i] += unit * (float)four_bits(bytes, row.lows, i);
    }
    return;
  }
#endif
  for (i = 0; bytes != 0 && i < columns; ++i) {
    sums[i] += unit * (float)bytes[i];
  }
}

const float *grunlock_as_floats(grunlock_vector vector, float *room, uint32_t columns) {
  if (vector.floats != 0) {
    return vector.floats;
  }
  memset(room, 0, columns * sizeof *room);
  grunlock_add_row(room, vector, 1.0f, columns);
  return room;
}

void grunlock_copy_bytes(grunlock_vector vector, int8_t *bytes, uint32_t columns) {
#if GRUNLOCK_FOUR_BITS
  if (vector.lows != 0) {
    uint32_t i;
    for (i = 0; i < columns; ++i) {
      bytes[i] = four_bits(vector.bytes, vector.lows, i);
    }
    return;
  }
#endif
  memcpy(bytes, vector.bytes, columns);
}

/* What 1 stands for if the largest of x is 127; 0 if all are next to nothing, since 1 / unit has to be finite. */
static float unit_of(const float *x, uint32_t count) {
  float most = 0.0f;
  uint32_t i;
  for (i = 0; i < count; ++i) {
    const float size = grunlock_abs(x[i]);
    most = size > most ? size : most;
  }
  return most > 1e-30f ? most / LEVELS : 0.0f;
}

void grunlock_to_numbers(const float *x, float unit, grunlock_number *numbers, uint32_t count) {
  const float factor = 1.0f / unit;
  uint32_t i;
  for (i = 0; i < count; ++i) {
    numbers[i] = (grunlock_number)(int32_t)grunlock_nearest(x[i] * factor);
  }
}

grunlock_vector grunlock_as_bytes(const float *floats, int8_t *room, uint32_t columns) {
  grunlock_vector vector = grunlock_floats(0);
  const float unit = unit_of(floats, columns);
  if (unit > 0.0f) {
    const float factor = 1.0f / unit;
    uint32_t i;
    for (i = 0; i < columns; ++i) {
      room[i] = (int8_t)(int32_t)grunlock_nearest(floats[i] * factor);
    }
    vector.bytes = room;
    vector.unit = unit;
  }
  return vector;
}

grunlock_operand grunlock_as_operand(grunlock_vector vector, grunlock_number *room, uint32_t columns) {
  grunlock_operand operand;
  operand.values = room;
  operand.unit = vector.floats != 0 ? unit_of(vector.floats, columns) : vector.unit;
  if (vector.bytes == 0 && operand.unit == 0.0f) {
    operand.values = 0;
  } else if (vector.floats != 0) {
    grunlock_to_numbers(vector.floats, operand.unit, room, columns);
  } else {
    uint32_t i;
    for (i = 0; i < columns; ++i) {
#if GRUNLOCK_FOUR_BITS
      room[i] = vector.lows != 0 ? four_bits(vector.bytes, vector.lows, i) : vector.bytes[i];
#else
      room[i] = vector.bytes[i];
#endif
    }
  }
  return operand;
}

#if GRUNLOCK_FOUR_BITS
/* As below, of rows of numbers of four bits, either half by itself, so that loops become vector instructions. zero: the
   8 that is in each number, times x. */
static void add_product_of_four_bits(float *y, const grunlock_matrix *matrix, uint32_t first, uint32_t count,
                                     grunlock_operand x) {
  const uint32_t lows = matrix->lows, highs = matrix->columns - lows;
  const uint16_t *scales = matrix->scales + first;
  const uint8_t *row = (const uint8_t *)matrix->values + first * lows;
  const grunlock_number *restrict values = x.values, *restrict rest = x.values + lows;
  int32_t zero = 0;
  uint32_t i = 0, k;
  for (k = 0; k < matrix->columns; ++k) {
    zero += ZERO * values[k];
  }
  for (; i + 4 <= count; i += 4, row += 4 * lows) {
    const uint8_t *r0 = row, *r1 = row + lows, *r2 = row + 2 * lows, *r3 = row + 3 * lows;
    int32_t s0 = -zero, s1 = -zero, s2 = -zero, s3 = -zero;
    for (k = 0; k < lows; ++k) {
      s0 += (grunlock_number)(r0[k] & 15) * values[k];
      s1 += (grunlock_number)(r1[k] & 15) * values[k];
      s2 += (grunlock_number)(r2[k] & 15) * values[k];
      s3 += (grunlock_number)(r3[k] & 15) * values[k];
    }
    for (k = 0; k < highs; ++k) {
      s0 += (grunlock_number)(r0[k] >> 4) * rest[k];
      s1 += (grunlock_number)(r1[k] >> 4) * rest[k];
      s2 += (grunlock_number)(r2[k] >> 4) * rest[k];
      s3 += (grunlock_number)(r3[k] >> 4) * rest[k];
    }
    y[i] += (float)s0 * (grunlock_half(scales[i]) * x.unit);
    y[i + 1] += (float)s1 * (grunlock_half(scales[i + 1]) * x.unit);
    y[i + 2] += (float)s2 * (grunlock_half(scales[i + 2]) * x.unit);
    y[i + 3] += (float)s3 * (grunlock_half(scales[i + 3]) * x.unit);
  }
  for (; i < count; ++i, row += lows) {
    int32_t sum = -zero;
    for (k = 0; k < lows; ++k) {
      sum += (grunlock_number)(row[k] & 15) * values[k];
    }
    for (k = 0; k < highs; ++k) {
      sum += (grunlock_number)(row[k] >> 4) * rest[k];
    }
    y[i] += (float)sum * (grunlock_half(scales[i]) * x.unit);
  }
}
#endif

/* Four rows at a time, which share what is read of x. Both factors are of 16 bits: what vector units multiply and add
   up in pairs. */
void grunlock_add_product(float *y, const grunlock_matrix *matrix, uint32_t first, uint32_t count, grunlock_operand x) {
  const uint32_t size = matrix->columns;
  const uint16_t *scales = matrix->scales + first;
  const int8_t *row = matrix->values + first * size;
  const grunlock_number *restrict values = x.values;
  uint32_t i = 0, k;
  if (values == 0) {
    return;
  }
#if GRUNLOCK_FOUR_BITS
  if (matrix->lows != 0) {
    add_product_of_four_bits(y, matrix, first, count, x);
    return;
  }
#endif
  for (; i + 4 <= count; i += 4, row += 4 * size) {
    const int8_t *r0 = row, *r1 = row + size, *r2 = row + 2 * size, *r3 = row + 3 * size;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (k = 0; k < size; ++k) {
      s0 += (grunlock_number)r0[k] * values[k];
      s1 += (grunlock_number)r1[k] * values[k];
      s2 += (grunlock_number)r2[k] * values[k];
      s3 += (grunlock_number)r3[k] * values[k];
    }
    y[i] += (float)s0 * (grunlock_half(scales[i]) * x.unit);
    y[i + 1] += (float)s1 * (grunlock_half(scales[i + 1]) * x.unit);
    y[i + 2] += (float)s2 * (grunlock_half(scales[i + 2]) * x.unit);
    y[i + 3] += (float)s3 * (grunlock_half(scales[i + 3]) * x.unit);
  }
  for (; i < count; ++i, row += size) {
    int32_t sum = 0;
    for (k = 0; k < size; ++k) {
      sum += (grunlock_number)row[k] * values[k];
    }
    y[i] += (float)sum * (grunlock_half(scales[i]) * x.unit);
  }
}

float grunlock_row_product(const grunlock_matrix *matrix, uint32_t row, uint32_t from, const float *x, uint32_t count) {
  const int8_t *weights = matrix->values + row * matrix->columns + from;
  float lanes[LANES] = {0.0f}, sum = 0.0f;
  uint32_t i, k = 0;
  for (; k + LANES <= count; k += LANES) {
    for (i = 0; i < LANES; ++i) {
      lanes[i] += (float)weights[k + i] * x[k + i];
    }
  }
  for (; k < count; ++k) {
    sum += (float)weights[k] * x[k];
  }
  for (i = 0; i < LANES; ++i) {
    sum += lanes[i];
  }
  return sum * grunlock_half(matrix->scales[row]);
}

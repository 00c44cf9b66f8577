/* Vectors and products of float32 weights. */
#include "grunlock_product.h"

#include <string.h>

#define LANES 8 /* sums side by side, which a compiler may put into one vector register */

grunlock_vector grunlock_table_row(const grunlock_table *table, uint32_t row, uint32_t columns) {
  const uint32_t shift = table->page_shift;
  if (row == GRUNLOCK_NO_ROW) {
    return grunlock_floats(0);
  }
  return grunlock_floats(table->pages[row >> shift] + (row & ((1u << shift) - 1u)) * columns);
}

void grunlock_add_row(float *y, grunlock_vector row, float factor, uint32_t columns) {
  const float *restrict values = row.floats;
  float *restrict sums = y;
  uint32_t i;
  for (i = 0; values != 0 && i < columns; ++i) {
    sums[i] += factor * values[i];
  }
}

const float *grunlock_as_floats(grunlock_vector vector, float *room, uint32_t columns) {
  if (vector.floats != 0) {
    return vector.floats;
  }
  memset(room, 0, columns * sizeof *room);
  return room;
}

grunlock_operand grunlock_as_operand(grunlock_vector vector, grunlock_number *room, uint32_t columns) {
  grunlock_operand operand;
  (void)room, (void)columns;
  operand.values = vector.floats;
  operand.unit = 1.0f;
  return operand;
}

/* Four columns at a time: y is read and written a quarter as often. */
void grunlock_add_product(float *y, const grunlock_matrix *matrix, uint32_t first, uint32_t count, grunlock_operand x) {
  const uint32_t stride = matrix->rows;
  const float *columns = matrix->values + first;
  float *restrict sums = y;
  uint32_t i, k = 0;
  if (x.values == 0) {
    return;
  }
  for (; k + 4 <= matrix->columns; k += 4, columns += 4 * stride) {
    const float *restrict c0 = columns, *restrict c1 = columns + stride;
    const float *restrict c2 = columns + 2 * stride, *restrict c3 = columns + 3 * stride;
    const float x0 = x.values[k], x1 = x.values[k + 1], x2 = x.values[k + 2], x3 = x.values[k + 3];
    for (i = 0; i < count; ++i) {
      sums[i] += (x0 * c0[i] + x1 * c1[i]) + (x2 * c2[i] + x3 * c3[i]);
    }
  }
  for (; k < matrix->columns; ++k, columns += stride) {
    const float *restrict column = columns;
    for (i = 0; i < count; ++i) {
      sums[i] += x.values[k] * column[i];
    }
  }
}

float grunlock_row_product(const grunlock_matrix *matrix, uint32_t row, uint32_t from, const float *x, uint32_t count) {
  const float *weights = matrix->values + row * matrix->columns + from;
  float lanes[LANES] = {0.0f}, sum = 0.0f;
  uint32_t i, k = 0;
  for (; k + LANES <= count; k += LANES) {
    for (i = 0; i < LANES; ++i) {
      lanes[i] += weights[k + i] * x[k + i];
    }
  }
  for (; k < count; ++k) {
    sum += weights[k] * x[k];
  }
  for (i = 0; i < LANES; ++i) {
    sum += lanes[i];
  }
  return sum;
}

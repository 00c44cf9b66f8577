/* Vectors, and matrices times vectors. float32 and int8 have a file each. */
#ifndef GRUNLOCK_PRODUCT_H
#define GRUNLOCK_PRODUCT_H

#include "grunlock_weights.h"

/* A step's vector: known as floats, or (int8) as bytes in some unit. Neither: it is zero. */
typedef struct {
  const float *floats;
#if GRUNLOCK_INT8
  const int8_t *bytes;
  float unit;    /* what 1 stands for */
  uint32_t lows; /* as of a matrix */
#endif
} grunlock_vector;

/* What a product reads: null for a vector of zeros. */
typedef struct {
  const grunlock_number *values;
  float unit;
} grunlock_operand;

static inline grunlock_vector grunlock_floats(const float *floats) {
  grunlock_vector vector;
  vector.floats = floats;
#if GRUNLOCK_INT8
  vector.bytes = 0;
  vector.unit = 0.0f;
  vector.lows = 0;
#endif
  return vector;
}

/* Row of a table with rows of so many columns, or zero. */
grunlock_vector grunlock_table_row(const grunlock_table *table, uint32_t row, uint32_t columns);

/* y[i] += factor * row[i]. */
void grunlock_add_row(float *y, grunlock_vector row, float factor, uint32_t columns);

/* The vector as floats; room [columns] for them where it is not known so. */
const float *grunlock_as_floats(grunlock_vector vector, float *room, uint32_t columns);

/* The vector as products read it; room [columns], which float32 does not need. */
grunlock_operand grunlock_as_operand(grunlock_vector vector, grunlock_number *room, uint32_t columns);

#if GRUNLOCK_INT8
/* Floats as bytes, the largest of which is 127 or -127. */
grunlock_vector grunlock_as_bytes(const float *floats, int8_t *room, uint32_t columns);

/* The bytes of a vector that is known so, a number in each. */
void grunlock_copy_bytes(grunlock_vector vector, int8_t *bytes, uint32_t columns);

/* Nearest whole numbers to x / unit, |x| <= 127 * unit. */
void grunlock_to_numbers(const float *x, float unit, grunlock_number *numbers, uint32_t count);
#endif

/* y[i] += row (first + i) of the matrix times x, for `count` rows. */
void grunlock_add_product(float *y, const grunlock_matrix *matrix, uint32_t first, uint32_t count, grunlock_operand x);

/* Row `row` of a matrix, which here lies row after row, times columns [from, from + count), which x holds. */
float grunlock_row_product(const grunlock_matrix *matrix, uint32_t row, uint32_t from, const float *x, uint32_t count);

#endif

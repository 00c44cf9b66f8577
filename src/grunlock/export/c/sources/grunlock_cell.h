/* One step of one direction of a recurrent layer. */
#ifndef GRUNLOCK_CELL_H
#define GRUNLOCK_CELL_H

#include "grunlock_product.h"

#if GRUNLOCK_NUM_LAYERS > 0
/* From the state before to the state after the step. gates: [4 * H] of scratch; numbers: [H] likewise, for
   int8, where x may stand. */
void grunlock_cell(const grunlock_direction *weights, grunlock_operand x, grunlock_hidden *hidden, float *gates,
                   grunlock_number *numbers);
#endif

#endif

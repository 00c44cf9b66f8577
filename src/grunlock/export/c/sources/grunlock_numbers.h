/* Looking numbers up. */
#ifndef GRUNLOCK_NUMBERS_H
#define GRUNLOCK_NUMBERS_H

#include "grunlock_weights.h"

/* The place of a number, or GRUNLOCK_NOT_FOUND. */
uint32_t grunlock_place(const grunlock_numbers *numbers, uint32_t number);

#endif

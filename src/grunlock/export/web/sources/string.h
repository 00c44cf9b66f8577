/* What the C sources need of a C library, which a page does not have. */
#ifndef GRUNLOCK_PAGE_STRING_H
#define GRUNLOCK_PAGE_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int byte, size_t count);

#endif

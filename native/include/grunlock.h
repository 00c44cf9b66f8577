/* The C interface of the kernel library: what it is, which instruction sets it has, how many threads it uses.
   The calls that compute are declared in grunlock_gru.h. Plain C types only: any language can load the library. */
#ifndef GRUNLOCK_H
#define GRUNLOCK_H

#include <stdint.h>

#if defined(__GNUC__)
#define GRUNLOCK_API __attribute__((visibility("default")))
#else
#define GRUNLOCK_API
#endif

/* Raised whenever a function's arguments or meaning change; src/grunlock/kernels/library.py holds the same number. */
#define GRUNLOCK_ABI_VERSION 5

enum grunlock_select_result {
  GRUNLOCK_SELECTED = 0,
  GRUNLOCK_UNKNOWN_NAME = 1,
  GRUNLOCK_NOT_COMPILED = 2,  /* the compiler that built this library lacked the instruction set */
  GRUNLOCK_NOT_SUPPORTED = 3, /* this CPU or its operating system lacks it */
};

#ifdef __cplusplus
extern "C" {
#endif

/* All strings returned here live as long as the library. */

GRUNLOCK_API int32_t grunlock_abi_version(void);
GRUNLOCK_API const char* grunlock_compiler(void); /* name and version, such as "GNU 12.2.0" */

/* Every instruction set this source knows, also those of other processors, from the least to the most capable. */
GRUNLOCK_API int32_t grunlock_isa_count(void);
GRUNLOCK_API const char* grunlock_isa_name(int32_t index);    /* NULL outside [0, count) */
GRUNLOCK_API int32_t grunlock_isa_compiled(int32_t index);    /* 1 or 0 */
GRUNLOCK_API int32_t grunlock_isa_supported(int32_t index);   /* 1 or 0: does this machine have it */

/* Use this instruction set from the next call on; returns a grunlock_select_result. Calls already running keep theirs.
   Without a selection the last one that is compiled and supported is used. */
GRUNLOCK_API int32_t grunlock_select(const char* name);
GRUNLOCK_API const char* grunlock_selected(void);

/* Run calls on the threads of the GNU OpenMP runtime with these functions, which the process must hold: where another
   library uses it, its idle threads spin for a while, and a second pool of threads would have to wait for them. A forked
   child goes back to threads of its own. */
GRUNLOCK_API void grunlock_use_openmp(void* gomp_parallel, void* omp_get_thread_num, void* omp_get_num_threads);

/* Threads that a call may use, the calling one included; at least 1. Results do not depend on the number. */
GRUNLOCK_API void grunlock_set_num_threads(int32_t count);
GRUNLOCK_API int32_t grunlock_num_threads(void);

#ifdef __cplusplus
}
#endif

#endif

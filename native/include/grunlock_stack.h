/* Trained GRU layers, made ready once and run often: prediction without Python between layers. */
#ifndef GRUNLOCK_STACK_H
#define GRUNLOCK_STACK_H

#include "grunlock_gru.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct grunlock_stack grunlock_stack;

/* layers: per layer the sizes, reset_after, precision and weights of a call; nothing else of it is read. Layers with
 * reset_after and without norms are copied; the weights of others must outlive the stack. Returns NULL when memory runs
 * out. */
GRUNLOCK_API grunlock_stack* grunlock_stack_new(const grunlock_gru_call* layers, int64_t num_layers);
GRUNLOCK_API void grunlock_stack_free(grunlock_stack* stack);

/* One prediction; safe from many threads at once. rows [num_vectors, D] and index [num_rows] or NULL as in a call, output
 * [num_rows, directions * H] of the last layer. states [layers * directions, B, H], read as first states and overwritten
 * with the last ones, or NULL to begin with zeros; final [directions, B, H] of the last layer, or NULL. Returns a
 * grunlock_result. */
GRUNLOCK_API int32_t grunlock_stack_run(const grunlock_stack* stack, int64_t num_steps, const int64_t* batch_sizes,
                                        int64_t num_rows, int64_t num_vectors, const float* rows, const int64_t* index,
                                        float* output, float* final, float* states);

#ifdef __cplusplus
}
#endif

#endif

// The C interface of grunlock_stack.h.
#include "grunlock_stack.h"

#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "kernels.hpp"

namespace {

struct Free {
  void operator()(float* data) const { std::free(data); }
};

// Whole pages: a vector across two cache lines takes twice as long to read, and the fewer pages the better.
using Pages = std::unique_ptr<float, Free>;

Pages pages(int64_t floats) {
  constexpr size_t kPage = 4096;
  const size_t bytes = (static_cast<size_t>(floats) * sizeof(float) + kPage - 1) / kPage * kPage;
  Pages data(static_cast<float*>(std::aligned_alloc(kPage, bytes)));
  if (data == nullptr) {
    throw std::bad_alloc();
  }
  return data;
}

}  // namespace

struct grunlock_stack {
  const grunlock::Kernels* kernels;
  std::vector<grunlock_gru_call> layers;
  std::vector<Pages> packed;  // one per layer and direction; none for layers that need their weights
};

namespace {

bool can_be_packed(const grunlock_gru_call& layer) {
  return layer.reset_after != 0 && layer.directions[0].norm_weight_hh == nullptr;
}

void pack_layer(grunlock_stack& stack, grunlock_gru_call& layer) {
  const int64_t no_steps = 0;
  layer.batch_sizes = &no_steps;
  layer.num_steps = 0;
  for (int64_t i = 0; can_be_packed(layer) && i < layer.num_directions; ++i) {
    stack.packed.push_back(pages(stack.kernels->gru_packed_floats(layer)));
    stack.kernels->gru_pack(layer, i, stack.packed.back().get());
    layer.directions[i].packed = stack.packed.back().get();
  }
  layer.batch_sizes = nullptr;
}

// Memory between two layers, kept by each thread.
float* between(int which, int64_t count) {
  static thread_local std::vector<float> buffers[3];
  std::vector<float>& buffer = buffers[which];
  if (static_cast<int64_t>(buffer.size()) < count) {
    buffer.resize(static_cast<size_t>(count));
  }
  return buffer.data();
}

}  // namespace

grunlock_stack* grunlock_stack_new(const grunlock_gru_call* layers, int64_t num_layers) {
  try {
    auto stack = std::make_unique<grunlock_stack>();
    stack->kernels = &grunlock::selected_kernels();
    stack->layers.assign(layers, layers + num_layers);
    for (grunlock_gru_call& layer : stack->layers) {
      pack_layer(*stack, layer);
    }
    return stack.release();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void grunlock_stack_free(grunlock_stack* stack) { delete stack; }

int32_t grunlock_stack_run(const grunlock_stack* stack, int64_t num_steps, const int64_t* batch_sizes,
                           int64_t num_rows, int64_t num_vectors, const float* rows, const int64_t* index,
                           float* output, float* final, float* states) {
  for (int64_t n = 0; index != nullptr && n < num_rows; ++n) {
    if (index[n] < 0 || index[n] >= num_vectors) {
      return GRUNLOCK_INDEX_OUTSIDE;
    }
  }
  try {
    const int64_t num_layers = static_cast<int64_t>(stack->layers.size());
    for (int64_t l = 0; l < num_layers; ++l) {
      const bool last = l + 1 == num_layers;
      grunlock_gru_call call = stack->layers[static_cast<size_t>(l)];
      const int64_t state_floats = batch_sizes[0] * call.hidden_size;
      call.num_steps = num_steps;
      call.batch_sizes = batch_sizes;
      call.num_rows = num_rows;
      call.num_vectors = l == 0 ? num_vectors : num_rows;
      call.rows = rows;
      call.index = l == 0 ? index : nullptr;
      call.output = last ? output : between(l % 2, num_rows * call.num_directions * call.hidden_size);
      for (int64_t i = 0; i < call.num_directions; ++i) {
        if (states != nullptr) {
          call.directions[i].h0 = states;
          call.directions[i].final = states;
          states += state_floats;
        } else if (last && final != nullptr) {
          call.directions[i].final = final + i * state_floats;
        }
      }
      stack->kernels->gru_forward(call);
      rows = call.output;
    }
    return GRUNLOCK_DONE;
  } catch (const std::bad_alloc&) {
    return GRUNLOCK_OUT_OF_MEMORY;
  }
}

#include "packed_weights.hpp"

#include <cstdlib>
#include <new>

namespace snnc {

void Free::operator()(void* memory) const { std::free(memory); }

Memory aligned_memory(size_t bytes) {
  constexpr size_t kAlignment = 64;
  Memory memory(std::aligned_alloc(kAlignment, (bytes / kAlignment + 1) * kAlignment));
  if (!memory) throw std::bad_alloc();
  return memory;
}

size_t PackedWeights::bytes(const LinearKernels& kernels, size_t k, size_t columns) {
  const size_t start_bytes = kernels.tile_columns * sizeof(int32_t);
  return panels_of(kernels, columns) * (kernels.panel_bytes(k) + start_bytes);
}

PackedWeights::PackedWeights(const LinearKernels& kernels, const ByteColumns& weights,
                             uint8_t zero_point, void* memory)
    : kernels_(kernels),
      weights_(weights),
      zero_point_(zero_point),
      data_(static_cast<uint8_t*>(memory)),
      start_(reinterpret_cast<int32_t*>(data_ + panels() * kernels.panel_bytes(weights.k))) {}

void PackedWeights::pack(size_t panel) const {
  int32_t* start = start_ + panel * kernels_.tile_columns;
  kernels_.pack_panel(weights_, panel * kernels_.tile_columns,
                      data_ + panel * kernels_.panel_bytes(weights_.k), start);
  for (size_t n = 0; n < kernels_.tile_columns; ++n) start[n] *= -zero_point_;
}

}  // namespace snnc

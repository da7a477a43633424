// Weights of a matrix product as the integer tile reads them.
#pragma once

#include <memory>

#include "linear_work.hpp"

namespace snnc {

struct Free {
  void operator()(void* memory) const;
};
using Memory = std::unique_ptr<void, Free>;

// Memory of whole cache lines.
Memory aligned_memory(size_t bytes);

// Weights as panels, and what each column's sum begins with so that the zero point counts nothing.
class PackedWeights {
 public:
  static size_t bytes(const LinearKernels& kernels, size_t k, size_t columns);
  // memory: bytes() of it, which outlive this; written by pack().
  PackedWeights(const LinearKernels& kernels, const ByteColumns& weights, uint8_t zero_point,
                void* memory);

  size_t panels() const { return panels_of(kernels_, weights_.columns); }
  void pack(size_t panel) const;
  void pack_all() const {
    for (size_t panel = 0; panel < panels(); ++panel) pack(panel);
  }
  BytePanels get() const { return {data_, start_}; }

 private:
  const LinearKernels& kernels_;
  ByteColumns weights_;
  int32_t zero_point_;
  uint8_t* data_;
  int32_t* start_;
};

}  // namespace snnc

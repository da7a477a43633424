// Outputs of a convolution by event, in blocks whose sums fit in registers.
#pragma once

#include <algorithm>

#include "float_linear.hpp"

namespace snnc {
namespace SNNC_ISA {

// Blocks of at most `most` vectors, alike in size.
struct OutputBlocks {
  size_t vectors, count;
  OutputBlocks(size_t outputs, size_t most)
      : vectors((outputs + kLanes - 1) / kLanes), count((vectors + most - 1) / most) {}
  size_t begin(size_t block) const { return vectors * block / count * kLanes; }  // in outputs
  size_t size(size_t block) const { return begin(block + 1) - begin(block); }
  size_t width() const { return vectors * kLanes; }
};

}  // namespace SNNC_ISA
}  // namespace snnc

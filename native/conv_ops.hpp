// The operation SpikeConv with all that may be fused behind it.
#pragma once

#include "op.hpp"

namespace snnc {

void add_conv_operations(Operations& operations);

}  // namespace snnc

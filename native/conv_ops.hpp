// The operations SpikeConv, with all that may be fused behind it, and FloatConv.
#pragma once

#include "op.hpp"

namespace snnc {

void add_conv_operations(Operations& operations);
void add_float_conv_operations(Operations& operations);

}  // namespace snnc

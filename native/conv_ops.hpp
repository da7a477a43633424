// The operations SpikeConv and FloatConv with all that may be fused behind them.
#pragma once

#include "op.hpp"

namespace snnc {

void add_conv_operations(Operations& operations);

}  // namespace snnc

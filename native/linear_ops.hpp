// The operations SpikeLinear and SpikeMatMul with all that may be fused behind them, FloatLinear.
#pragma once

#include "op.hpp"

namespace snnc {

void add_linear_operations(Operations& operations);
void add_float_linear_operations(Operations& operations);
void add_matmul_operations(Operations& operations);

}  // namespace snnc

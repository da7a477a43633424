// Kernels of neurons that fire at most once, and of products through such neurons.
#pragma once

#include <cstddef>
#include <cstdint>

namespace snnc {

// The window of a layer of neurons that fire at most once, for potentials from `low` on.
struct SpikeWindow {
  float low;
  float rate;   // ticks a unit of potential
  float tick;   // units of potential a tick
  float ticks;  // of the window
  float early;  // ticks by which a crossing may come after the tick that it counts for
};

// The windows of the neurons for the sum and for the difference of two factors, the first of which
// is multiplied by the balance (a power of two) and the second by its inverse.
struct SquareWindows {
  SpikeWindow sum, difference;
  float balance, inverse;
};

// What a row of results reads: an entry for each of them, or one for all.
struct RowOperand {
  const float* data;
  bool each;
};

// Columns of the second factor, k numbers each. stride: between their rows, and between those of
// the result.
struct SquareColumns {
  const float* data;
  size_t count, k, stride;
};

struct SpikeTimeKernels {
  // The numbers that spikes stand for. y may be x.
  void (*fire)(const float* x, float* y, size_t n, const SpikeWindow&);
  // The same, `low` where `alive` is false.
  void (*fire_gated)(RowOperand x, const bool* alive, float* y, size_t n, const SpikeWindow&);
  // a b as quarter squares, entry by entry.
  void (*multiply)(RowOperand a, RowOperand b, float* y, size_t n, const SquareWindows&);
  // Columns that multiply_rows takes at once, at most, and the step in which it takes fewer; they
  // are packed into memory for that many.
  size_t panel_columns, column_step;
  // Rows [k] of the first factor times columns of the second.
  void (*multiply_rows)(const float* a, size_t rows, const SquareColumns& b, float* y,
                        const SquareWindows&, float* packed);
};

}  // namespace snnc

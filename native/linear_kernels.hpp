// Matrix products as their kernels see them: rows, columns, and what follows the sums.
#pragma once

#include <cstddef>
#include <cstdint>

namespace snnc {

struct Decision;
struct RowSteps;

// Arrays with one entry a column hold this many more than there are columns, for whole vectors.
constexpr size_t kColumnPadding = 64;

enum class Activation { kNone, kGelu, kRelu };

// What becomes of a sum: y = sum [* scale] + bias [+ addend], [activation], then a neuron if there is
// one. Places are those of the whole result, [rows][stride]; columns may be a part of it.
struct LinearFinish {
  size_t columns, stride;
  const float* scale;        // of each column, for integer sums
  const float* bias;         // of each column; -0 adds nothing, to the bit
  const float* addend;       // of the result's shape, or none
  Activation activation;
  const Decision* decision;  // none: y is the result, as float; else its spike counts, as bytes
  const RowSteps* steps;
  void* result;
  float* kept;               // y as float where the result is its counts, or none
};

// uint8 rows as pack_rows leaves them. start: what each sum of a row begins with.
struct ByteRows {
  const uint8_t* data;
  size_t stride, count, k;
  const int32_t* start;
};

// int8 columns as pack_panel leaves them. start: what each sum of a column begins with.
struct BytePanels {
  const uint8_t* data;
  const int32_t* start;
};

// A matrix of bytes [k][columns], or [columns][k] where transposed, to be packed. flip: what every
// byte is xored with (0x80 makes an int8 of a uint8 by taking 128 from it).
struct ByteColumns {
  const uint8_t* data;
  size_t k, columns;
  bool transposed;
  uint8_t flip;
};

// One row's inputs that are not silent. groups: inputs by fours, the last padded by zeros.
struct Events {
  const uint32_t* index;
  const uint8_t* values;  // less the zero point, packed
  size_t groups;
  int32_t sum;  // of all values
  bool is_signed;
};

// The same of float inputs; count need not be a multiple of 4.
struct FloatEvents {
  const uint32_t* index;
  const float* values;
  size_t count;
};

struct LinearKernels {
  size_t tile_rows, tile_columns;
  bool (*rows_are_packed)(size_t k);  // rows of uint8 serve as they are
  size_t (*row_bytes)(size_t k);
  size_t (*panel_bytes)(size_t k);
  void (*pack_rows)(const uint8_t* x, size_t rows, size_t k, uint8_t* packed);
  // The panel of the columns from first on. sums: the sum of each column, or none.
  void (*pack_panel)(const ByteColumns&, size_t first, uint8_t* panel, int32_t* sums);
  // Rows from `row` of the result on, times the panels [first, last).
  void (*multiply)(const ByteRows&, const BytePanels&, size_t first, size_t last,
                   const LinearFinish&, size_t row);
  // Writes a row of events, values packed; room for k + 3 of each is wanted.
  Events (*collect_events)(const uint8_t* x, size_t k, uint8_t zero_point, uint32_t* index,
                           uint8_t* values, uint8_t* packed);
  // One row of the result, its columns [first, last), from weights [k][columns] as they are.
  void (*multiply_events)(const Events&, const int8_t* weights, size_t first, size_t last,
                          const LinearFinish&, size_t row);
  void (*multiply_float_events)(const FloatEvents&, const float* weights, size_t first, size_t last,
                                const LinearFinish&, size_t row);
  // Rows [k] from `row` of the result on, its columns [first, last).
  void (*multiply_floats)(const float* x, size_t rows, size_t k, const float* weights, size_t first,
                          size_t last, const LinearFinish&, size_t row);
};

}  // namespace snnc

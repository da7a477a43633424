#include "conv_product.hpp"

#include <algorithm>
#include <cstring>

namespace snnc {
namespace {

constexpr size_t kSharedBytes = 512 * 1024;  // of rows that are gathered before all products
constexpr size_t kGatheredRows = 32;          // of one task
constexpr size_t kTaskInputs = 256 * 1024;    // of a depthwise convolution

// [O, C, taps] as [O, taps, C].
std::vector<uint8_t> channels_last(const int8_t* weights, size_t outputs, size_t channels,
                                   size_t taps) {
  std::vector<uint8_t> permuted(outputs * channels * taps);
  uint8_t* to = permuted.data();
  for (size_t o = 0; o < outputs; ++o, weights += channels * taps)
    for (size_t tap = 0; tap < taps; ++tap)
      for (size_t c = 0; c < channels; ++c) *to++ = static_cast<uint8_t>(weights[c * taps + tap]);
  return permuted;
}


}  // namespace

ConvWeights::ConvWeights(const Kernels& kernels, const ConvShape& conv, const int8_t* weights,
                         uint8_t zero_point) {
  if (conv.depthwise()) {
    memory_ = aligned_memory(kernels.conv.depthwise_bytes(conv.groups, conv.taps()));
    kernels.conv.pack_depthwise({weights, conv.groups, conv.taps(), zero_point},
                                static_cast<uint8_t*>(memory_.get()));
    return;
  }
  const std::vector<uint8_t> permuted =
      channels_last(weights, conv.groups * conv.outputs, conv.channels, conv.taps());
  const size_t bytes = PackedWeights::bytes(kernels.linear, conv.depth(), conv.outputs);
  memory_ = aligned_memory(conv.groups * bytes);
  for (size_t group = 0; group < conv.groups; ++group) {
    const uint8_t* own = permuted.data() + group * conv.outputs * conv.depth();
    groups_.emplace_back(kernels.linear, ByteColumns{own, conv.depth(), conv.outputs, true, 0},
                         zero_point, static_cast<uint8_t*>(memory_.get()) + group * bytes);
    groups_.back().pack_all();
  }
}

ConvProduct::ConvProduct(const Run& run, const Kernels& kernels, const ConvShape& conv,
                         const uint8_t* x, uint8_t zero_point, const LinearFinish& finish)
    : run_(run), kernels_(kernels), conv_(conv), x_(x), zero_point_(zero_point), finish_(finish) {}

void ConvProduct::multiply(const ConvWeights& weights) const {
  if (conv_.depthwise()) return multiply_depthwise(weights);
  const size_t depth = conv_.depth(), rows = conv_.positions();
  if (conv_.pointwise() && kernels_.linear.rows_are_packed(depth))
    return multiply_grid(run_, kernels_.linear, {x_, depth, rows, depth, nullptr},
                         weights.group(0), finish_);
  const bool few = rows * kernels_.linear.row_bytes(depth) <= kSharedBytes;
  for (size_t group = 0; group < conv_.groups; ++group) {
    const ConvRows source = rows_of(group * conv_.channels, conv_.channels);
    const LinearFinish finish =
        part_of_columns(finish_, group * conv_.outputs, conv_.outputs);
    if (few)
      multiply_gathered(weights.group(group), source, finish);
    else
      multiply_blocks(weights.group(group), source, finish);
  }
}

void ConvProduct::multiply_gathered(const BytePanels& panels, const ConvRows& source,
                                    const LinearFinish& finish) const {
  const size_t depth = conv_.depth(), rows = conv_.positions();
  const size_t stride = kernels_.linear.row_bytes(depth), parts = parts_of(rows, kGatheredRows);
  auto* packed = static_cast<uint8_t*>(scratch(rows * stride));
  run_.parallel(parts, [&](size_t i) {
    const Part part = part_of(rows, parts, i);
    kernels_.conv.gather_rows(source, part.begin, part.size(), packed + part.begin * stride);
  });
  multiply_grid(run_, kernels_.linear, {packed, stride, rows, depth, nullptr}, panels, finish);
}

void ConvProduct::multiply_blocks(const BytePanels& panels, const ConvRows& source,
                                  const LinearFinish& finish) const {
  const size_t depth = conv_.depth(), rows = conv_.positions();
  const size_t stride = kernels_.linear.row_bytes(depth);
  const ProductGrid grid(kernels_.linear, rows, depth, finish.columns);
  run_.parallel(grid.row_parts, [&](size_t i) {
    const Part part = part_of(rows, grid.row_parts, i);
    auto* packed = static_cast<uint8_t*>(scratch(part.size() * stride));
    kernels_.conv.gather_rows(source, part.begin, part.size(), packed);
    kernels_.linear.multiply({packed, stride, part.size(), depth, nullptr}, panels, 0,
                             panels_of(kernels_.linear, finish.columns), finish, part.begin);
  });
}

DepthwiseInput ConvProduct::depthwise_input() const {
  const ConvRows rows = rows_of(0, conv_.groups);
  const size_t channels = rows.channels, positions = conv_.batch * conv_.y.input * conv_.x.input;
  const size_t copied = std::min(positions, kReadAhead / channels + 1) * channels;
  const uint8_t* end = x_ + positions * channels - copied;
  auto* room = static_cast<uint8_t*>(scratch(copied + channels + 2 * kReadAhead));
  std::memcpy(room, end, copied);
  uint8_t* silent = room + copied + kReadAhead;
  std::memset(silent, zero_point_, channels);
  return {rows, end, room, silent};
}

void ConvProduct::multiply_depthwise(const ConvWeights& weights) const {
  const DepthwiseInput input = depthwise_input();
  const size_t rows = conv_.positions(), taps = conv_.taps() + kMostTapsOfWord;
  const size_t most = std::max(kDepthwiseRows, kTaskInputs / (conv_.taps() * conv_.groups));
  const size_t tasks = parts_of(rows, most);
  run_.parallel(tasks, [&](size_t i) {
    const Part part = part_of(rows, tasks, i);
    void* room = scratch(kDepthwiseRows * taps * sizeof(uint8_t*), 1);
    kernels_.conv.multiply_depthwise(input, weights.depthwise(), finish_, part.begin, part.end,
                                     static_cast<const uint8_t**>(room));
  });
}

}  // namespace snnc

#include "conv_geometry.hpp"

namespace snnc {
namespace {

// Attributes of both axes in space, or of the one that there is.
std::vector<int64_t> per_axis(const std::vector<int64_t>& given, size_t count, int64_t otherwise,
                              int64_t least, const char* what) {
  if (given.empty()) return std::vector<int64_t>(count, otherwise);
  if (given.size() != count)
    throw Error(std::string(what) + " must have " + std::to_string(count) + " entries, not " +
                std::to_string(given.size()));
  for (const int64_t value : given)
    if (value < least)
      throw Error(std::string(what) + " must be at least " + std::to_string(least) + ", not " +
                  std::to_string(value));
  return given;
}

// Geometry of one axis without its input.
struct AxisAttributes {
  int64_t kernel, stride, dilation, before, after;
  int64_t reach() const { return (kernel - 1) * dilation + 1; }
};

std::vector<AxisAttributes> axes_of(const ConvAttributes& a, const int64_t* kernel, size_t rank) {
  const auto strides = per_axis(a.strides, rank, 1, 1, "strides");
  const auto dilations = per_axis(a.dilations, rank, 1, 1, "dilations");
  const auto pads = per_axis(a.pads, 2 * rank, 0, 0, "pads");
  std::vector<AxisAttributes> axes;
  for (size_t i = 0; i < rank; ++i)
    axes.push_back({kernel[i], strides[i], dilations[i], pads[i], pads[rank + i]});
  return axes;
}

constexpr int64_t kLargest = int64_t{1} << 31;  // beyond it, sizes could not be computed with

ConvAxis axis_of(const AxisAttributes& a, int64_t input) {
  for (const int64_t value : {a.kernel, a.stride, a.dilation, a.before, a.after, input})
    if (value > kLargest) throw Error("a size of " + std::to_string(value) + " is too large");
  const int64_t padded = input + a.before + a.after;
  if (padded < a.reach())
    throw Error("a kernel that reaches over " + std::to_string(a.reach()) +
                " inputs is larger than the padded input of " + std::to_string(padded));
  const auto size = [](int64_t n) { return static_cast<size_t>(n); };
  return {size(input),    size((padded - a.reach()) / a.stride + 1), size(a.kernel),
          size(a.stride), size(a.dilation),                          size(a.before)};
}

}  // namespace

ConvAttributes conv_attributes(const NodeInfo& info) {
  ConvAttributes a{info.integers("strides", {}), info.integers("pads", {}),
                   info.integers("dilations", {}), info.integer("group", 1)};
  if (a.group < 1) info.refuse("group must be at least 1, not " + std::to_string(a.group));
  return a;
}

ConvShape weight_geometry(const ConvAttributes& attributes, const Shape& w) {
  if (w.rank() != 3 && w.rank() != 4)
    throw Error("weights must be of rank 3 or 4, not of shape " + w.text());
  for (size_t i = 0; i < w.rank(); ++i)
    if (w[i] < 1) throw Error("weights of shape " + w.text() + " are empty");
  if (w[0] % attributes.group != 0)
    throw Error(std::to_string(w[0]) + " output channels do not part into " +
                std::to_string(attributes.group) + " groups");
  ConvShape conv{};
  conv.groups = static_cast<size_t>(attributes.group);
  conv.outputs = static_cast<size_t>(w[0] / attributes.group);
  conv.channels = static_cast<size_t>(w[1]);
  conv.y.kernel = w.rank() == 4 ? static_cast<size_t>(w[2]) : 1;
  conv.x.kernel = static_cast<size_t>(w.back());
  return conv;
}

ConvShape conv_geometry(const ConvAttributes& attributes, const Shape& x, const Shape& w,
                        Layout layout) {
  const bool last = layout == Layout::kChannelsLast;
  ConvShape conv = weight_geometry(attributes, w);
  if (x.rank() != w.rank())
    throw Error("x of shape " + x.text() + " and weights of shape " + w.text() +
                " differ in rank");
  const int64_t channels = last ? x.back() : x[1];
  if (channels != w[1] * attributes.group)
    throw Error("x has " + std::to_string(channels) + " channels, but weights of shape " +
                w.text() + " and group " + std::to_string(attributes.group) + " want " +
                std::to_string(w[1] * attributes.group));
  const auto axes = axes_of(attributes, w.data() + 2, w.rank() - 2);
  conv.batch = static_cast<size_t>(x[0]);
  conv.y = x.rank() == 4 ? axis_of(axes[0], x[last ? 1 : 2]) : ConvAxis{1, 1, 1, 1, 1, 0};
  conv.x = axis_of(axes.back(), x[x.rank() - (last ? 2 : 1)]);
  return conv;
}

Shape conv_result(const ConvShape& conv, const Shape& x, Layout layout) {
  const bool last = layout == Layout::kChannelsLast;
  Shape result = x;
  if (x.rank() == 4) result[last ? 1 : 2] = static_cast<int64_t>(conv.y.output);
  result[x.rank() - (last ? 2 : 1)] = static_cast<int64_t>(conv.x.output);
  result[last ? x.rank() - 1 : 1] = static_cast<int64_t>(conv.groups * conv.outputs);
  return result;
}

void infer_conv(Inference& inference, const std::vector<ort::ElementType>& types, Layout layout) {
  KnownShape shape = inference.input(0);
  const KnownShape w = inference.input(1);
  const size_t rank = w.dims.size();
  if (rank < 3 || shape.dims.size() != rank) return;
  const ConvAttributes attributes{inference.integers("strides", {}),
                                  inference.integers("pads", {}),
                                  inference.integers("dilations", {}), 1};
  const auto axes = axes_of(attributes, w.dims.data() + 2, rank - 2);
  const bool last = layout == Layout::kChannelsLast;
  const size_t channels = last ? rank - 1 : 1, space = last ? 1 : 2;
  shape.dims[channels] = w.dims[0];
  shape.symbols[channels] = w.symbols[0];
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t& size = shape.dims[space + i];
    const bool known = size >= 0 && axes[i].kernel >= 0;
    size = known ? static_cast<int64_t>(axis_of(axes[i], size).output) : -1;
    shape.symbols[space + i].clear();
  }
  inference.output(shape, types);
}

}  // namespace snnc

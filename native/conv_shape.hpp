// A convolution as its kernels see it: geometry, the work it is cut into, what follows the sums.
#pragma once

#include <cstddef>
#include <cstdint>

namespace snnc {

struct Decision;
struct RowSteps;

// Sizes of one axis in space.
struct ConvAxis {
  size_t input, output, kernel, stride, dilation, pad;
};

// Channel numbers are those of one group.
struct ConvShape {
  size_t batch, groups, channels, outputs;
  ConvAxis y, x;
  size_t input_area() const { return y.input * x.input; }
  size_t output_area() const { return y.output * x.output; }
  bool padded() const;  // whether inputs outside the map are read
  // Whether the columns of a position are the input itself.
  bool pointwise() const {
    return y.kernel * x.kernel == 1 && y.stride * x.stride == 1 && !padded();
  }
};

// How the work is cut. Tasks are numbered image, group, chunk of positions, part of the channels.
struct ConvPlan {
  bool positions_in_lanes;  // else output channels
  size_t chunk, chunks;     // positions of a chunk; chunks of an image
  size_t part, parts;       // blocks of output channels of a task; tasks of a chunk
  size_t tasks;
};

// What becomes of a sum: y = float(sum + correction) * scale + bias [+ addend] [Gelu], then a
// neuron if there is one. Arrays are indexed by output channel over all groups.
struct ConvFinish {
  const float* scale;         // none: sums are floats and bias is all that is added
  const int32_t* correction;  // what the zero point of the inputs adds to a sum
  const float* bias;
  const float* addend;  // of the result's shape, or none
  bool gelu;
  const Decision* decision;  // or none: y is the result
  const RowSteps* steps;     // one, or one for each output channel
  bool channel_steps;
  float* values;    // the result, as floats
  uint8_t* counts;  // or as bytes
};

// A convolution of one element type. Weights and images are opaque words of 4 bytes.
struct ConvKernels {
  size_t (*weight_words)(const ConvShape&);
  void (*pack_weights)(const ConvShape&, const void* weights, uint32_t* packed);
  // Words of the image that input is turned into; 0: kernels read the input itself.
  size_t (*image_words)(const ConvShape&);
  // One plane of the image: tasks are batch * groups * planes.
  size_t (*image_tasks)(const ConvShape&);
  void (*fill_image)(const ConvShape&, const void* x, uint8_t zero_point, uint32_t* image,
                     size_t task);
  ConvPlan (*plan)(const ConvShape&);
  // run: a number that differs from call to call.
  void (*run)(const ConvShape&, const ConvPlan&, const uint32_t* weights, const void* image,
              const ConvFinish&, uint64_t run, size_t task);
};

}  // namespace snnc

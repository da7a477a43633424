// The kernels of one instruction set; compiled once for each, with SNNC_ISA as its name.
#include "kernels.hpp"

#include "depthwise.hpp"
#include "event_conv.hpp"
#include "events.hpp"
#include "float_linear.hpp"
#include "gather.hpp"
#include "linear.hpp"
#include "neuron.hpp"
#include "over_time.hpp"
#include "quarter_squares.hpp"

#define SNNC_TEXT(x) #x
#define SNNC_NAME(x) SNNC_TEXT(x)

namespace snnc {
namespace SNNC_ISA {

extern const Kernels kernels;
const Kernels kernels = {
    SNNC_NAME(SNNC_ISA),
    fire_row<float>,
    fire_row<uint8_t>,
    {fire_over_time, add_to_mean, rectify, telescope},
    {fire_once, fire_gated, multiply_squares, kSquareColumns, kLanes, multiply_rows},
    {kTileRows, kTileColumns, rows_are_packed, row_bytes, panel_bytes, pack_rows, pack_panel,
     multiply, collect_events, multiply_events, multiply_float_events, multiply_floats},
    {gather_rows, depthwise_bytes, pack_depthwise, multiply_depthwise},
    {event_weights, event_sums, pack_events, convolve_events},
};

}  // namespace SNNC_ISA
}  // namespace snnc

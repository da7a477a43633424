// The kernels of one instruction set; compiled once for each, with SNNC_ISA as its name.
#include "kernels.hpp"

#include "neuron.hpp"

#define SNNC_TEXT(x) #x
#define SNNC_NAME(x) SNNC_TEXT(x)

namespace snnc {
namespace SNNC_ISA {

extern const Kernels kernels;
const Kernels kernels = {
    SNNC_NAME(SNNC_ISA),
    fire_row<float>,
    fire_row<uint8_t>,
};

}  // namespace SNNC_ISA
}  // namespace snnc

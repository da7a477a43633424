// What the shared library exports: registration with onnxruntime, and which kernels are active.
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>

#include "conv_ops.hpp"
#include "linear_ops.hpp"
#include "neuron_ops.hpp"
#include "spike_time_ops.hpp"
#include "time_ops.hpp"

namespace snnc {

#if defined(__x86_64__)
namespace avx512vnni {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
namespace avxvnni {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
#endif
namespace base {
extern const Kernels kernels;
}

namespace {

#if defined(__x86_64__)
// Integer dot products of 256-bit vectors: leaf 7, subleaf 1, bit 4 of eax.
[[maybe_unused]] bool has_avx_vnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
}
#endif

// Kernels that were built and that this processor can run, best first.
std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  [[maybe_unused]] const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi2");
  [[maybe_unused]] const bool v4 = v3 && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512cd");
#if defined(SNNC_HAS_avx512vnni)
  if (v4 && __builtin_cpu_supports("avx512vnni")) found.push_back(&avx512vnni::kernels);
#endif
#if defined(SNNC_HAS_avx512)
  if (v4) found.push_back(&avx512::kernels);
#endif
#if defined(SNNC_HAS_avxvnni)
  if (v3 && has_avx_vnni()) found.push_back(&avxvnni::kernels);
#endif
#if defined(SNNC_HAS_avx2)
  if (v3) found.push_back(&avx2::kernels);
#endif
#endif
  found.push_back(&base::kernels);
  return found;
}

const std::vector<const Kernels*>& supported() {
  static const std::vector<const Kernels*> found = supported_kernels();
  return found;
}

std::atomic<const Kernels*>& active() {
  static std::atomic<const Kernels*> kernels{supported().front()};
  return kernels;
}

Operations make_operations() {
  Operations operations;
  add_neuron_operations(operations);
  add_time_operations(operations);
  add_spike_time_operations(operations);
  add_quarter_square_operations(operations);
  add_linear_operations(operations);
  add_float_linear_operations(operations);
  add_matmul_operations(operations);
  add_conv_operations(operations);
  add_float_conv_operations(operations);
  return operations;
}

// The domain outlives every session: it is made once for each onnxruntime in the process.
OrtStatus* add_to(OrtSessionOptions* options, ort::Table api) {
  static std::mutex mutex;
  static std::map<ort::Table, OrtCustomOpDomain*> domains;
  static const Operations operations = make_operations();
  const std::lock_guard<std::mutex> lock(mutex);
  Operation::api = api;
  OrtCustomOpDomain*& domain = domains[api];
  if (domain == nullptr) {
    OrtCustomOpDomain* made = nullptr;
    if (OrtStatus* status = ort::CreateCustomOpDomain::call(api, "ai.snnc", &made)) return status;
    for (const auto& operation : operations)
      if (OrtStatus* status = ort::DomainAdd::call(api, made, operation.get())) return status;
    domain = made;
  }
  return ort::AddDomain::call(api, options, domain);
}

}  // namespace

const Kernels& active_kernels() { return *active().load(); }

}  // namespace snnc

// Called by onnxruntime when the library is registered with a session's options.
SNNC_EXPORT OrtStatus* ORT_CALL RegisterCustomOps(OrtSessionOptions* options,
                                                  const ort::ApiBase* base) {
  if (ort::Table api = base->get_api(ort::kApiVersion)) return snnc::add_to(options, api);
  const std::string message =
      std::string("snnc's kernels need onnxruntime 1.18 or newer, this is ") + base->get_version();
  return ort::CreateStatus::call(base->get_api(1), ort::kFail, message.c_str());
}

// Changes when an operation's inputs, attributes or results mean something else than before.
SNNC_EXPORT int snnc_kernels_interface() { return 1; }

// Name of the instruction set whose kernels new sessions use.
SNNC_EXPORT const char* snnc_kernels_active() { return snnc::active_kernels().name; }

// Name of the i-th instruction set that this processor has, best first; null after the last.
SNNC_EXPORT const char* snnc_kernels_supported(size_t i) {
  return i < snnc::supported().size() ? snnc::supported()[i]->name : nullptr;
}

// Makes sessions from now on use the kernels of an instruction set; 0 if there are none.
SNNC_EXPORT int snnc_kernels_use(const char* name) {
  for (const snnc::Kernels* kernels : snnc::supported())
    if (std::strcmp(kernels->name, name) == 0) {
      snnc::active().store(kernels);
      return 1;
    }
  return 0;
}

// The slots of onnxruntime's C API that the kernels use, and the layout of a custom operation.
//
// The API is a table of function pointers to which new versions only append: a slot number, once
// known, stays. Version 18 of the table (onnxruntime 1.18) is the first that holds all of them.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(_WIN32)
#define ORT_CALL __stdcall
#define SNNC_EXPORT extern "C" __declspec(dllexport)
#else
#define ORT_CALL
#define SNNC_EXPORT extern "C" __attribute__((visibility("default")))
#endif

struct OrtStatus;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtValue;
struct OrtTensorTypeAndShapeInfo;
struct OrtShapeInferContext;
struct OrtOpAttr;
struct OrtCustomOp;

namespace ort {

constexpr uint32_t kApiVersion = 18;

using Table = const void* const*;

enum ErrorCode { kFail = 1, kInvalidArgument = 2 };
enum ElementType { kFloat32 = 1, kUint8 = 2, kInt8 = 3, kBool = 9 };
enum Presence { kRequired = 0, kOptional = 1 };
enum AttributeType { kInteger = 1, kIntegers = 2 };

template <int Slot, class Result, class... Arguments>
struct Function {
  static Result call(Table api, Arguments... arguments) {
    using Pointer = Result(ORT_CALL*)(Arguments...);
    return reinterpret_cast<Pointer>(const_cast<void*>(api[Slot]))(arguments...);
  }
};

template <int Slot, class... Arguments>
using Fallible = Function<Slot, OrtStatus*, Arguments...>;

using Info = OrtTensorTypeAndShapeInfo;

using CreateStatus = Function<0, OrtStatus*, int, const char*>;
using GetErrorMessage = Function<2, const char*, const OrtStatus*>;
using CreateCustomOpDomain = Fallible<26, const char*, OrtCustomOpDomain**>;
using DomainAdd = Fallible<27, OrtCustomOpDomain*, const OrtCustomOp*>;
using AddDomain = Fallible<28, OrtSessionOptions*, OrtCustomOpDomain*>;
using TensorData = Fallible<51, OrtValue*, void**>;
using CreateInfo = Fallible<57, Info**>;
using SetElementType = Fallible<58, Info*, int>;
using SetDimensions = Fallible<59, Info*, const int64_t*, size_t>;
using GetDimensionsCount = Fallible<61, const Info*, size_t*>;
using GetDimensions = Fallible<62, const Info*, int64_t*, size_t>;
using GetSymbolicDimensions = Fallible<63, const Info*, const char**, size_t>;
using GetTensorInfo = Fallible<65, const OrtValue*, Info**>;
using GetFloatAttribute = Fallible<85, const OrtKernelInfo*, const char*, float*>;
using GetIntegerAttribute = Fallible<86, const OrtKernelInfo*, const char*, int64_t*>;
using GetInputCount = Fallible<88, const OrtKernelContext*, size_t*>;
using GetInput = Fallible<90, const OrtKernelContext*, size_t, const OrtValue**>;
using GetOutput =
    Fallible<91, OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**>;
using ReleaseStatus = Function<93, void, OrtStatus*>;
using ReleaseInfo = Function<99, void, Info*>;
using GetIntegersAttribute =
    Fallible<163, const OrtKernelInfo*, const char*, int64_t*, size_t*>;
using GetNodeName = Fallible<244, const OrtKernelInfo*, char*, size_t*>;
using GetConstantInput =
    Fallible<249, const OrtKernelInfo*, size_t, int*, const OrtValue**>;
using InferredInput = Fallible<268, const OrtShapeInferContext*, size_t, Info**>;
using InferredAttribute =
    Fallible<269, const OrtShapeInferContext*, const char*, const OrtOpAttr**>;
using InferOutput = Fallible<270, const OrtShapeInferContext*, size_t, const Info*>;
using SetSymbolicDimensions = Fallible<271, Info*, const char**, size_t>;
using ReadAttribute = Fallible<272, const OrtOpAttr*, int, void*, size_t, size_t*>;
using ParallelFor = Fallible<274, const OrtKernelContext*, void (*)(void*, size_t), size_t,
                             size_t, void*>;

struct ApiBase {
  Table(ORT_CALL* get_api)(uint32_t version);
  const char*(ORT_CALL* get_version)();
};

}  // namespace ort

// What onnxruntime asks of a custom operation; the order of the members is its ABI.
struct OrtCustomOp {
  uint32_t version;
  void*(ORT_CALL* create_kernel)(const OrtCustomOp*, ort::Table, const OrtKernelInfo*);
  const char*(ORT_CALL* get_name)(const OrtCustomOp*);
  const char*(ORT_CALL* get_execution_provider)(const OrtCustomOp*);
  int(ORT_CALL* get_input_type)(const OrtCustomOp*, size_t);
  size_t(ORT_CALL* get_input_count)(const OrtCustomOp*);
  int(ORT_CALL* get_output_type)(const OrtCustomOp*, size_t);
  size_t(ORT_CALL* get_output_count)(const OrtCustomOp*);
  void(ORT_CALL* compute)(void*, OrtKernelContext*);
  void(ORT_CALL* destroy)(void*);
  int(ORT_CALL* get_input_presence)(const OrtCustomOp*, size_t);
  int(ORT_CALL* get_output_presence)(const OrtCustomOp*, size_t);
  int(ORT_CALL* get_input_memory)(const OrtCustomOp*, size_t);
  int(ORT_CALL* get_variadic_input_minimum)(const OrtCustomOp*);
  int(ORT_CALL* get_variadic_input_homogeneity)(const OrtCustomOp*);
  int(ORT_CALL* get_variadic_output_minimum)(const OrtCustomOp*);
  int(ORT_CALL* get_variadic_output_homogeneity)(const OrtCustomOp*);
  OrtStatus*(ORT_CALL* create_kernel_checked)(const OrtCustomOp*, ort::Table,
                                              const OrtKernelInfo*, void**);
  OrtStatus*(ORT_CALL* compute_checked)(void*, OrtKernelContext*);
  OrtStatus*(ORT_CALL* infer_shapes)(const OrtCustomOp*, OrtShapeInferContext*);
  int(ORT_CALL* get_start_version)(const OrtCustomOp*);
  int(ORT_CALL* get_end_version)(const OrtCustomOp*);
  size_t(ORT_CALL* get_may_inplace)(int** inputs, int** outputs);
  void(ORT_CALL* release_may_inplace)(int* inputs, int* outputs);
  size_t(ORT_CALL* get_alias_map)(int** inputs, int** outputs);
  void(ORT_CALL* release_alias_map)(int* inputs, int* outputs);
};

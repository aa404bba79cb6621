// Compares core/gpu/api.h with NVIDIA's headers when it is compiled; there is nothing to run.
//
//     c++ -std=c++17 -fsyntax-only -I ../core/gpu -I CUDA/include -I NCCL/include gpu_signatures.cc

// nccl.h includes these, which need more packages and overload functions, and uses nothing of them.
#define __CUDA_FP16_H__
#define __CUDA_BF16_H__
#define __CUDA_FP8_H__
#define __CUDA_RUNTIME_H__

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <type_traits>

#include "api.h"

namespace {

// Whether the two are passed alike: a pointer as a pointer, an enum as an int of its size.
template <typename A, typename B> constexpr bool Alike() {
  if constexpr (std::is_void_v<A> || std::is_void_v<B>) {
    return std::is_same_v<A, B>;
  } else {
    constexpr bool numbers = (std::is_integral_v<A> || std::is_enum_v<A>) &&
                             (std::is_integral_v<B> || std::is_enum_v<B>);
    return sizeof(A) == sizeof(B) &&
           (numbers || (std::is_pointer_v<A> && std::is_pointer_v<B>) ||
            (std::is_class_v<A> && std::is_class_v<B>));
  }
}

template <typename A, typename B> struct AlikeFunctions : std::false_type {};
template <typename R, typename... A, typename S, typename... B>
struct AlikeFunctions<R (*)(A...), S (*)(B...)> {
  static constexpr bool value = [] {
    if constexpr (sizeof...(A) != sizeof...(B)) {
      return false;
    } else {
      return Alike<R, S>() && (Alike<A, B>() && ... && true);
    }
  }();
};

using horovod::core::CudaFunctions;
using horovod::core::NcclFunctions;

#define HVD_CHECK_CUDA(result, name, arguments)                                                     \
  static_assert(AlikeFunctions<decltype(CudaFunctions::name), decltype(&cuda##name)>::value,       \
                "cuda" #name " is declared differently");
HVD_CUDA_FUNCTIONS(HVD_CHECK_CUDA)

#define HVD_CHECK_NCCL(result, name, arguments)                                                     \
  static_assert(AlikeFunctions<decltype(NcclFunctions::name), decltype(&nccl##name)>::value,       \
                "nccl" #name " is declared differently");
HVD_NCCL_FUNCTIONS(HVD_CHECK_NCCL)

using namespace horovod::core;
static_assert(sizeof(NcclId) == sizeof(ncclUniqueId));
static_assert(CUDA_SUCCESS == int(cudaSuccess) && CUDA_NOT_READY == int(cudaErrorNotReady));
static_assert(COPY_TO_DEVICE == int(cudaMemcpyHostToDevice));
static_assert(COPY_TO_HOST == int(cudaMemcpyDeviceToHost));
static_assert(COPY_ON_DEVICE == int(cudaMemcpyDeviceToDevice));
static_assert(STREAM_NON_BLOCKING == cudaStreamNonBlocking);
static_assert(EVENT_BLOCKING_SYNC == cudaEventBlockingSync);
static_assert(EVENT_NO_TIMING == cudaEventDisableTiming);
static_assert(int(cudaStreamCaptureStatusNone) == 0);
static_assert(NCCL_INT8 == int(ncclInt8) && NCCL_UINT8 == int(ncclUint8));
static_assert(NCCL_INT32 == int(ncclInt32) && NCCL_INT64 == int(ncclInt64));
static_assert(NCCL_FLOAT16 == int(ncclFloat16) && NCCL_FLOAT32 == int(ncclFloat32));
static_assert(NCCL_FLOAT64 == int(ncclFloat64) && NCCL_BFLOAT16 == int(ncclBfloat16));
static_assert(NCCL_SUM == int(ncclSum) && NCCL_PROD == int(ncclProd));
static_assert(NCCL_MAX == int(ncclMax) && NCCL_MIN == int(ncclMin));
static_assert(int(NCCL_SUCCESS) == int(ncclSuccess) && NCCL_IN_PROGRESS == int(ncclInProgress));
static_assert(NCCL_SCALAR_ON_HOST == int(ncclScalarHostImmediate));

} // namespace

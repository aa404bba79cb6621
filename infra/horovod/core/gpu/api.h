// The functions of the CUDA runtime and of NCCL that the core calls, by pointer.
//
// Neither is linked. All functions are looked up in the libraries that the framework has loaded, so
// that one library of ours works with CUDA 12 and 13, and on a machine that has neither. Only
// functions are used whose signature and constants are the same in both CUDA majors and in every
// NCCL from 2.11 on. Kernels of our own would need nvcc and a build for each major: there are none.
// Source: cuda_runtime_api.h and driver_types.h of CUDA 12.9 and 13.0, nccl.h of NCCL 2.27.
// tests/gpu_signatures.cc compares these declarations with NVIDIA's headers.

#ifndef HOROVOD_CORE_GPU_API_H
#define HOROVOD_CORE_GPU_API_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace horovod {
namespace core {

using Stream = void*; // cudaStream_t
using Event = void*;  // cudaEvent_t
using NcclComm = void*;

struct NcclId { // ncclUniqueId
  char internal[128];
};

enum { CUDA_SUCCESS = 0, CUDA_NOT_READY = 600 };
enum { COPY_TO_HOST = 2, COPY_ON_DEVICE = 3, COPY_TO_DEVICE = 1 };
enum { STREAM_NON_BLOCKING = 1, EVENT_BLOCKING_SYNC = 1, EVENT_NO_TIMING = 2 };

enum NcclType {
  NCCL_INT8 = 0,
  NCCL_UINT8 = 1,
  NCCL_INT32 = 2,
  NCCL_INT64 = 4,
  NCCL_FLOAT16 = 6,
  NCCL_FLOAT32 = 7,
  NCCL_FLOAT64 = 8,
  NCCL_BFLOAT16 = 9
};
enum NcclOp { NCCL_SUM = 0, NCCL_PROD = 1, NCCL_MAX = 2, NCCL_MIN = 3 };
enum { NCCL_SUCCESS = 0, NCCL_IN_PROGRESS = 7, NCCL_SCALAR_ON_HOST = 1 };

// C's enums are ints in the ABI of every platform that has CUDA.
#define HVD_CUDA_FUNCTIONS(F)                                                                       \
  F(int, RuntimeGetVersion, (int* version))                                                        \
  F(int, DriverGetVersion, (int* version))                                                         \
  F(int, GetDeviceCount, (int* count))                                                             \
  F(int, GetDevice, (int* device))                                                                 \
  F(int, SetDevice, (int device))                                                                  \
  F(int, DeviceGetPCIBusId, (char* id, int length, int device))                                    \
  F(int, Malloc, (void** data, size_t size))                                                       \
  F(int, HostAlloc, (void** data, size_t size, unsigned flags))                                    \
  F(int, MemcpyAsync, (void* to, const void* from, size_t size, int kind, Stream stream))          \
  F(int, MemsetAsync, (void* data, int value, size_t size, Stream stream))                         \
  F(int, DeviceGetStreamPriorityRange, (int* least, int* greatest))                                \
  F(int, StreamCreateWithPriority, (Stream* stream, unsigned flags, int priority))                 \
  F(int, StreamQuery, (Stream stream))                                                             \
  F(int, StreamSynchronize, (Stream stream))                                                       \
  F(int, StreamWaitEvent, (Stream stream, Event event, unsigned flags))                            \
  F(int, StreamIsCapturing, (Stream stream, int* status))                                          \
  F(int, EventCreateWithFlags, (Event* event, unsigned flags))                                     \
  F(int, EventRecord, (Event event, Stream stream))                                                \
  F(int, EventSynchronize, (Event event))                                                          \
  F(const char*, GetErrorString, (int error))

#define HVD_NCCL_FUNCTIONS(F)                                                                       \
  F(int, GetVersion, (int* version))                                                               \
  F(int, GetUniqueId, (NcclId* id))                                                                \
  F(int, CommInitRank, (NcclComm* comm, int size, NcclId id, int rank))                            \
  F(int, CommDestroy, (NcclComm comm))                                                             \
  F(int, CommAbort, (NcclComm comm))                                                               \
  F(int, CommGetAsyncError, (NcclComm comm, int* error))                                           \
  F(int, RedOpCreatePreMulSum,                                                                     \
    (int* op, void* scalar, int type, int residence, NcclComm comm))                               \
  F(int, AllReduce,                                                                                \
    (const void* from, void* to, size_t count, int type, int op, NcclComm comm, Stream stream))    \
  F(int, ReduceScatter,                                                                            \
    (const void* from, void* to, size_t count, int type, int op, NcclComm comm, Stream stream))    \
  F(int, Reduce,                                                                                   \
    (const void* from, void* to, size_t count, int type, int op, int root, NcclComm comm,          \
     Stream stream))                                                                               \
  F(int, AllGather,                                                                                \
    (const void* from, void* to, size_t count, int type, NcclComm comm, Stream stream))            \
  F(int, Broadcast,                                                                                \
    (const void* from, void* to, size_t count, int type, int root, NcclComm comm, Stream stream))  \
  F(int, Send,                                                                                     \
    (const void* from, size_t count, int type, int peer, NcclComm comm, Stream stream))            \
  F(int, Recv, (void* to, size_t count, int type, int peer, NcclComm comm, Stream stream))         \
  F(int, GroupStart, ())                                                                           \
  F(int, GroupEnd, ())                                                                             \
  F(const char*, GetErrorString, (int error))

#define HVD_DECLARE(result, name, arguments) result(*name) arguments;
struct CudaFunctions {
  HVD_CUDA_FUNCTIONS(HVD_DECLARE)
};
struct NcclFunctions {
  HVD_NCCL_FUNCTIONS(HVD_DECLARE)
};
#undef HVD_DECLARE

} // namespace core
} // namespace horovod

#endif

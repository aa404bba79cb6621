// The CUDA runtime and NCCL of this process, looked for when a tensor on a GPU is first given.

#ifndef HOROVOD_CORE_GPU_LOADER_H
#define HOROVOD_CORE_GPU_LOADER_H

#include <string>

#include "api.h"

namespace horovod {
namespace core {

// The functions; std::runtime_error, with the reason and the fix, if the library is not there.
const CudaFunctions& Cuda();
const NcclFunctions& Nccl();

// The path of the library in use, or "" and why there is none.
std::string CudaLibrary();
std::string CudaError();
std::string NcclLibrary();
std::string NcclError();

// std::runtime_error that names the call and the library's text, unless the result is success.
void CheckCuda(int result, const char* call);
void CheckNccl(int result, const char* call);

} // namespace core
} // namespace horovod

#endif

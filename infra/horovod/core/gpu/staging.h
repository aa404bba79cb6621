// Operations on GPU tensors through the host's memory, where NCCL cannot do them.

#ifndef HOROVOD_CORE_GPU_STAGING_H
#define HOROVOD_CORE_GPU_STAGING_H

#include <vector>

#include "horovod/common/common.h"
#include "horovod/common/message.h"

namespace horovod {
namespace core {

// Copies the entries' data to pinned memory, and makes them entries of the CPU whose callbacks copy the
// results to the GPU before they call the original ones. Waits until the data is on the host. `rank`
// is this process's in the process set.
void MoveToHost(std::vector<common::TensorTableEntry>& entries, const common::Response& response,
                int rank);

} // namespace core
} // namespace horovod

#endif

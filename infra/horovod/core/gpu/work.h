// One response of the coordinator whose tensors are on GPUs: what PerformOperation calls.

#ifndef HOROVOD_CORE_GPU_WORK_H
#define HOROVOD_CORE_GPU_WORK_H

#include <vector>

#include "horovod/common/common.h"
#include "horovod/common/message.h"
#include "horovod/common/process_set.h"

namespace horovod {
namespace core {

struct Communicator;

class DeviceWork {
public:
  // For tensors on the CPU this does nothing. For tensors on a GPU it decides, equally on all ranks,
  // whether NCCL does the operation. If not, it replaces the entries' tensors by copies in the
  // host's memory, and their callbacks by ones that copy the results back.
  DeviceWork(std::vector<common::TensorTableEntry>& entries, const common::Response& response,
             common::ProcessSet& process_set);

  // Whether the entries are for Execute, and not for the CPU's operations.
  bool on_device() const { return on_device_; }

  // Queues the operation on the communication stream; does not wait until it is done.
  common::Status Execute(std::vector<common::TensorTableEntry>& entries);

private:
  const common::Response& response_;
  common::ProcessSet& process_set_;
  bool on_device_ = false;
  int device_ = -1;
  Communicator* communicator_ = nullptr;
  common::Status status_;
};

// Ends what the background thread has on GPUs.
void ShutDownGPUs();

} // namespace core
} // namespace horovod

#endif

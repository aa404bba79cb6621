// Horovod's operations by NCCL's.

#ifndef HOROVOD_CORE_GPU_COLLECTIVES_H
#define HOROVOD_CORE_GPU_COLLECTIVES_H

#include <vector>

#include "communicators.h"
#include "horovod/common/common.h"
#include "horovod/common/message.h"

namespace horovod {
namespace core {

// Whether NCCL has the operation; equal on all ranks. It has none for Adasum and for 16-bit integers,
// and none that scales integers or anything but sums.
bool NcclCan(const common::Response& response);

// One response. The tensors of a fused one are a group of NCCL's, which it does in one launch, so that
// nothing is copied to a fusion buffer and back. The current device is the communicator's.
class NcclOperation {
public:
  NcclOperation(Communicator& communicator, common::ProcessSet& process_set,
                const common::Response& response, int device);

  common::Status Run(std::vector<common::TensorTableEntry>& entries);
  // The part of a rank that has joined in the others' allreduce.
  common::Status RunWithZeros(std::vector<common::TensorTableEntry>& entries);

private:
  using Entry = common::TensorTableEntry;
  using Entries = std::vector<Entry>;

  common::Status Allreduce(Entries& entries);
  common::Status Allgather(Entries& entries);
  common::Status Broadcast(Entries& entries);
  common::Status Alltoall(Entries& entries);
  common::Status Reducescatter(Entries& entries);
  void GatherOne(const Entry& entry, const int64_t* rows);
  void ReducescatterOne(const Entry& entry, NcclType type, int op);
  NcclType Type() const;
  int Op(NcclType type);

  Communicator& communicator_;
  common::ProcessSet& process_set_;
  const common::Response& response_;
  int rank_;
  int size_;
  int device_;
  Stream stream_;
};

} // namespace core
} // namespace horovod

#endif

// NCCL's communicators: one for each process set and GPU, made when it is first needed.

#ifndef HOROVOD_CORE_GPU_COMMUNICATORS_H
#define HOROVOD_CORE_GPU_COMMUNICATORS_H

#include <map>
#include <string>
#include <utility>

#include "api.h"
#include "horovod/common/process_set.h"

namespace horovod {
namespace core {

struct Communicator {
  NcclComm comm = nullptr; // nullptr: through the host's memory, on all ranks alike
  std::string why_not;
  // NCCL's operations "multiply by a factor and add", by element type and factor.
  std::map<std::pair<int, double>, int> scaled_sums;
};

// The communicator of a process set on this rank's GPU. All ranks of the set must call this at the
// same point of the background thread's work. They agree: if one rank cannot use NCCL, or two ranks
// have the same GPU, which NCCL refuses, none uses it, and a warning says why, once.
Communicator& GetCommunicator(common::ProcessSet& process_set, int device);

// The operation "multiply by factor and add" for a floating-point type. Source: ncclRedOpCreatePreMulSum.
int ScaledSum(Communicator& communicator, NcclType type, double factor);

// Ends all communicators, after what was queued is done. With a rank that is gone that would take
// for ever: after a few seconds what is under way is aborted, so that the GPU is free again.
void EndCommunicators();

} // namespace core
} // namespace horovod

#endif

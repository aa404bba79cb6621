// What the C interface keeps beside the core: the last error of each thread, and the names of
// nameless operations. The edits of upstream's files call these.

#ifndef HOROVOD_CORE_STATE_H
#define HOROVOD_CORE_STATE_H

#include <string>

namespace horovod {
namespace core {

// The text that horovod_last_error() gives in this thread.
void SetLastError(const std::string& message);

// The name of the next nameless operation of `kind` ("allreduce") in a process set. Equal on all ranks
// that call the operations of one kind in the same order.
std::string NextName(const std::string& kind, int process_set);

// Begins the names of one process set again (after a join), or of all (when Horovod starts).
void ResetNames(int process_set);
void ResetAllNames();

// MPI_Finalize waits for all ranks, and a rank that stalls does not come: after a stall this process
// exits without it, which has mpirun end the others.
void DoNotWaitAtExit();
bool DoesNotWaitAtExit();

// While one lives, what this thread finishes wakes nobody; its end wakes all who wait. Waking at each
// of many tensors lets the waiter and the thread that finishes them take turns on the processor.
class WakeTogether {
public:
  WakeTogether();
  ~WakeTogether();
  WakeTogether(const WakeTogether&) = delete;
  WakeTogether& operator=(const WakeTogether&) = delete;
};

} // namespace core
} // namespace horovod

#endif

// One call of the C interface with tensors on a GPU: how it is ordered with the caller's stream.
//
// The caller's stream is never waited for by the host. An event recorded on it when the operation is
// enqueued marks the moment when the data is ready; the communication stream waits for that event.
// When the operation has been queued on the communication stream, its end is marked by a second event,
// for which the caller's stream waits.

#ifndef HOROVOD_CORE_GPU_CALL_H
#define HOROVOD_CORE_GPU_CALL_H

#include <memory>
#include <mutex>
#include <vector>

#include "../handles.h"
#include "device.h"

namespace horovod {
namespace core {

class DeviceCall {
public:
  // `ready` is the caller's own event, or nullptr: one is recorded on `stream` then.
  DeviceCall(int device, Stream stream, Event ready);

  int device() const { return device_; }

  // In the background thread: what follows on the communication stream waits for the data.
  void WaitForData() const;
  // All that the communication stream has been given until now belongs to the result.
  void MarkDone(EventPtr event);

  // What the caller queues on `stream` from now on sees the results. The host does not wait.
  void OrderBefore(Stream stream) const;
  void OrderBeforeOwn() const { OrderBefore(stream_); }

  // A new output of the library's. It belongs to the call.
  std::shared_ptr<CTensor> Allocate(common::DataType dtype, std::vector<int64_t> shape);
  // Copies output `tensor` to `to`, memory of the same GPU, on `stream`.
  void Copy(const CTensor& tensor, void* to, Stream stream);

private:
  int device_;
  Stream stream_;
  EventPtr own_ready_;
  Event ready_;
  mutable std::mutex mutex_;
  EventPtr done_;
  std::vector<MemoryPtr> memory_;
};

// Why tensors on GPU `device` cannot be communicated now, or "": no CUDA, no such GPU, or a stream
// that is being captured into a CUDA graph.
std::string WhyNot(int device, Stream stream);

// The GPU that a rank uses which has joined: the one of its last operation, else that of its local
// rank.
int DeviceInUse();

// Outputs of one tensor of a call, for the core.
class DeviceContext : public common::OpContext {
public:
  DeviceContext(std::shared_ptr<Operation> operation, int i, common::DataType dtype,
                bool gives_splits);

  common::Status AllocatePersistent(int64_t size,
                                    std::shared_ptr<common::PersistentBuffer>* buffer) override;
  common::Status AllocateOutput(common::TensorShape shape, std::shared_ptr<common::Tensor>* tensor,
                                std::shared_ptr<common::ReadyEvent>* = nullptr) override;
  common::Status AllocateOutput(int index, common::TensorShape shape,
                                std::shared_ptr<common::Tensor>* tensor,
                                std::shared_ptr<common::ReadyEvent>* = nullptr) override;
  common::Status AllocateZeros(int64_t num_elements, common::DataType dtype,
                               std::shared_ptr<common::Tensor>* tensor) override;
  common::Framework framework() const override { return common::Framework::PYTORCH; }

  DeviceCall& call() const { return *operation_->device_call(); }

private:
  std::shared_ptr<Operation> operation_;
  int i_;
  common::DataType dtype_;
  bool gives_splits_;
};

} // namespace core
} // namespace horovod

#endif

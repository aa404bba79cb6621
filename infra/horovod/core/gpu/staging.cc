#include "staging.h"

#include <memory>
#include <stdexcept>

#include "call.h"
#include "loader.h"

namespace horovod {
namespace core {
namespace {

using common::Status;
using common::TensorShape;

struct Pinned {
  MemoryPtr memory;
  std::shared_ptr<CTensor> tensor;
};

int64_t Bytes(common::DataType dtype, const TensorShape& shape) {
  return shape.num_elements() * static_cast<int64_t>(common::DataType_Size(dtype));
}

Pinned NewPinned(int device, common::DataType dtype, const TensorShape& shape) {
  auto memory = std::make_shared<DeviceMemory>(device, Bytes(dtype, shape), true);
  return {memory, std::make_shared<CTensor>(dtype, shape.to_vector(), memory->data())};
}

// What an entry was before, and the memory of the host that stands for it. It gives the core outputs
// in the host's memory.
class Staged : public common::OpContext {
public:
  explicit Staged(const common::TensorTableEntry& entry)
      : device_(entry.device), dtype_(entry.tensor->dtype()), target_(entry.output),
        source_(entry.tensor), context_(entry.context), callback_(entry.callback) {}

  void ReplaceTensors(common::TensorTableEntry& entry, bool reads_data) {
    input_ = NewPinned(device_, dtype_, entry.tensor->shape());
    if (reads_data) {
      CheckCuda(Cuda().MemcpyAsync(input_.memory->data(), source_->data(), source_->size(),
                                   COPY_TO_HOST, CommunicationStream(device_)),
                "cudaMemcpyAsync");
    }
    entry.tensor = input_.tensor;
    if (target_) {
      output_ = NewPinned(device_, dtype_, target_->shape());
      entry.output = output_.tensor;
    }
    entry.device = CPU_DEVICE_ID;
  }

  // On the root of a broadcast the data itself is the result.
  void ResultIsInput() {
    output_ = input_;
    if (target_->data() == source_->data()) {
      target_.reset();
    }
  }

  void Finish(const Status& status) {
    Status result = status;
    if (status.ok()) {
      try {
        CopyBack();
      } catch (const std::exception& error) {
        result = Status::UnknownError(error.what());
      }
    }
    callback_(result);
  }

  Status AllocatePersistent(int64_t size,
                            std::shared_ptr<common::PersistentBuffer>* buffer) override {
    *buffer = std::make_shared<HostBuffer>(size);
    return Status::OK();
  }

  Status AllocateOutput(TensorShape shape, std::shared_ptr<common::Tensor>* tensor,
                        std::shared_ptr<common::ReadyEvent>* = nullptr) override {
    return AllocateOutput(0, std::move(shape), tensor);
  }

  Status AllocateOutput(int index, TensorShape shape, std::shared_ptr<common::Tensor>* tensor,
                        std::shared_ptr<common::ReadyEvent>* event = nullptr) override {
    std::shared_ptr<common::Tensor> target;
    auto status = context_->AllocateOutput(index, shape, &target, event);
    if (!status.ok()) {
      return status;
    }
    if (target_) { // alltoall's second output, the received splits, which are on the host anyway
      *tensor = target;
      return status;
    }
    target_ = target;
    output_ = NewPinned(device_, dtype_, shape);
    *tensor = output_.tensor;
    return status;
  }

  Status AllocateZeros(int64_t, common::DataType, std::shared_ptr<common::Tensor>*) override {
    return Status::UnknownError("only a join allocates zeros");
  }

  common::Framework framework() const override { return common::Framework::PYTORCH; }

private:
  // The fusion buffer of the CPU.
  class HostBuffer : public common::PersistentBuffer {
  public:
    explicit HostBuffer(int64_t size) : tensor_(common::HOROVOD_UINT8, {size}) {}
    const void* AccessData(std::shared_ptr<common::OpContext>) const override {
      return tensor_.data();
    }

  private:
    CTensor tensor_;
  };

  void CopyBack() {
    DeviceGuard current(device_);
    auto stream = CommunicationStream(device_);
    if (target_) {
      CheckCuda(Cuda().MemcpyAsync(const_cast<void*>(target_->data()), output_.memory->data(),
                                   target_->size(), COPY_TO_DEVICE, stream),
                "cudaMemcpyAsync");
    }
    auto done = RecordEvent(device_, stream);
    if (target_) {
      output_.memory->SetUsedUntil(done);
    }
    static_cast<DeviceContext&>(*context_).call().MarkDone(done);
  }

  int device_;
  common::DataType dtype_;
  std::shared_ptr<common::Tensor> target_;
  std::shared_ptr<common::Tensor> source_;
  std::shared_ptr<common::OpContext> context_;
  common::StatusCallback callback_;
  Pinned input_;
  Pinned output_;
};

} // namespace

void MoveToHost(std::vector<common::TensorTableEntry>& entries, const common::Response& response,
                int rank) {
  bool is_broadcast = response.response_type() == common::Response::BROADCAST;
  int device = entries[0].device;
  for (auto& entry : entries) {
    auto staged = std::make_shared<Staged>(entry);
    bool is_root = is_broadcast && entry.root_rank == rank;
    staged->ReplaceTensors(entry, !is_broadcast || is_root);
    if (is_root) {
      staged->ResultIsInput();
    }
    entry.context = staged;
    entry.callback = [staged](const Status& status) { staged->Finish(status); };
  }
  CheckCuda(Cuda().StreamSynchronize(CommunicationStream(device)), "cudaStreamSynchronize");
}

} // namespace core
} // namespace horovod

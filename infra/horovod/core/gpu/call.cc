#include "call.h"

#include <atomic>
#include <stdexcept>

#include "loader.h"

namespace horovod {
namespace core {
namespace {

using common::Status;

std::atomic<int> last_device{-1};

} // namespace

DeviceCall::DeviceCall(int device, Stream stream, Event ready)
    : device_(device), stream_(stream), ready_(ready) {
  if (ready_ == nullptr) {
    DeviceGuard current(device);
    own_ready_ = RecordEvent(device, stream);
    ready_ = own_ready_->get();
  }
  last_device = device;
}

void DeviceCall::WaitForData() const {
  CheckCuda(Cuda().StreamWaitEvent(CommunicationStream(device_), ready_, 0),
            "cudaStreamWaitEvent");
}

void DeviceCall::MarkDone(EventPtr event) {
  std::lock_guard<std::mutex> guard(mutex_);
  done_ = std::move(event); // one stream: the last event is behind all others
}

void DeviceCall::OrderBefore(Stream stream) const {
  std::lock_guard<std::mutex> guard(mutex_);
  if (done_) {
    DeviceGuard current(device_);
    CheckCuda(Cuda().StreamWaitEvent(stream, done_->get(), 0), "cudaStreamWaitEvent");
  }
}

std::shared_ptr<CTensor> DeviceCall::Allocate(common::DataType dtype, std::vector<int64_t> shape) {
  int64_t size = static_cast<int64_t>(common::DataType_Size(dtype));
  for (auto dim : shape) {
    size *= dim;
  }
  auto memory = std::make_shared<DeviceMemory>(device_, size, false);
  std::lock_guard<std::mutex> guard(mutex_);
  memory_.push_back(memory);
  return std::make_shared<CTensor>(dtype, std::move(shape), memory->data());
}

void DeviceCall::Copy(const CTensor& tensor, void* to, Stream stream) {
  OrderBefore(stream);
  DeviceGuard current(device_);
  CheckCuda(Cuda().MemcpyAsync(to, tensor.data(), tensor.size(), COPY_ON_DEVICE, stream),
            "cudaMemcpyAsync");
  auto copied = RecordEvent(device_, stream);
  std::lock_guard<std::mutex> guard(mutex_);
  for (auto& memory : memory_) {
    if (memory->data() == tensor.data()) {
      memory->SetUsedUntil(copied);
    }
  }
}

std::string WhyNot(int device, Stream stream) {
  auto name = "a tensor on GPU " + std::to_string(device) + " cannot be communicated: ";
  if (!CudaError().empty()) {
    return name + CudaError();
  }
  int count = 0;
  int result = Cuda().GetDeviceCount(&count);
  if (result != CUDA_SUCCESS) {
    return name + Cuda().GetErrorString(result);
  }
  if (device >= count) {
    return name + "this process sees " + std::to_string(count) + " GPUs";
  }
  int capturing = 0;
  DeviceGuard current(device);
  if (Cuda().StreamIsCapturing(stream, &capturing) == CUDA_SUCCESS && capturing != 0) {
    return name + "its stream is being captured into a CUDA graph, and ranks agree on operations"
                  " when they run, which a graph cannot repeat: call Horovod outside the capture";
  }
  return "";
}

int DeviceInUse() {
  int device = last_device;
  int count = 0;
  if (device < 0) {
    CheckCuda(Cuda().GetDeviceCount(&count), "cudaGetDeviceCount");
    device = count > 0 ? horovod_local_rank() % count : 0;
  }
  return device;
}

DeviceContext::DeviceContext(std::shared_ptr<Operation> operation, int i, common::DataType dtype,
                             bool gives_splits)
    : operation_(std::move(operation)), i_(i), dtype_(dtype), gives_splits_(gives_splits) {}

Status DeviceContext::AllocatePersistent(int64_t, std::shared_ptr<common::PersistentBuffer>*) {
  return Status::UnknownError("GPUs need no fusion buffer"); // NCCL takes groups of tensors
}

Status DeviceContext::AllocateOutput(common::TensorShape shape,
                                     std::shared_ptr<common::Tensor>* tensor,
                                     std::shared_ptr<common::ReadyEvent>*) {
  return AllocateOutput(0, std::move(shape), tensor);
}

Status DeviceContext::AllocateOutput(int index, common::TensorShape shape,
                                     std::shared_ptr<common::Tensor>* tensor,
                                     std::shared_ptr<common::ReadyEvent>*) {
  if (gives_splits_ && index == 1) { // the host reads them
    auto splits = std::make_shared<CTensor>(common::HOROVOD_INT32, shape.to_vector());
    operation_->SetReceivedSplits(i_, splits);
    *tensor = splits;
    return Status::OK();
  }
  auto output = call().Allocate(dtype_, shape.to_vector());
  operation_->SetOutput(i_, output);
  *tensor = output;
  return Status::OK();
}

Status DeviceContext::AllocateZeros(int64_t, common::DataType, std::shared_ptr<common::Tensor>*) {
  return Status::UnknownError("join has no tensors on a GPU");
}

} // namespace core
} // namespace horovod

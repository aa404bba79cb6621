// Operations under way and done, by handle.

#ifndef HOROVOD_CORE_HANDLES_H
#define HOROVOD_CORE_HANDLES_H

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "horovod/common/common.h"
#include "horovod_c.h"

namespace horovod {
namespace core {

// Memory aligned to 64 bytes that C's free() returns; never nullptr for an empty output.
void* Allocate(int64_t size, bool zeros);

// A tensor of the caller's or one that the library allocated, as the core sees it.
class CTensor : public common::Tensor {
public:
  CTensor(common::DataType dtype, std::vector<int64_t> shape, void* data);
  CTensor(common::DataType dtype, std::vector<int64_t> shape); // allocates
  ~CTensor() override;
  CTensor(const CTensor&) = delete;
  CTensor& operator=(const CTensor&) = delete;

  const common::DataType dtype() const override { return dtype_; }
  const common::TensorShape shape() const override { return common::TensorShape(shape_); }
  const void* data() const override { return data_; }
  int64_t size() const override { return size_; }

  const std::vector<int64_t>& dims() const { return shape_; }
  void* mutable_data() const { return data_; }
  // The memory, if this tensor owns it, which the caller must free() from now on; else nullptr.
  void* Take();

private:
  common::DataType dtype_;
  std::vector<int64_t> shape_;
  int64_t size_;
  void* data_;
  bool owned_;
};

class DeviceCall;

struct Callback {
  horovod_callback function;
  void* argument;
};

// One call of the C interface: n tensors, done when the last of them is.
class Operation : public std::enable_shared_from_this<Operation> {
public:
  Operation(horovod_handle handle, int n) : handle_(handle), left_(n), outputs_(n), splits_(n) {}

  horovod_handle handle() const { return handle_; }
  void SetOutput(int i, std::shared_ptr<CTensor> tensor);
  void SetReceivedSplits(int i, std::shared_ptr<CTensor> tensor);
  // What tensors on a GPU need beside that; nullptr for tensors on the CPU. Set before it is enqueued.
  void SetDeviceCall(std::shared_ptr<DeviceCall> call) { device_call_ = std::move(call); }
  const std::shared_ptr<DeviceCall>& device_call() const { return device_call_; }

  // Says that `count` tensors are done. The first status that is not OK is the operation's.
  void Finish(const common::Status& status, int count = 1);

  void Wake() { done_.notify_all(); }
  bool Done();
  int Wait(double seconds);
  void Then(Callback callback);

  // These are for operations that are done.
  std::shared_ptr<CTensor> output(int i);
  std::shared_ptr<CTensor> received_splits(int i);
  const std::string& message() const { return message_; }
  int status() const { return status_; }

private:
  horovod_handle handle_;
  std::mutex mutex_;
  std::condition_variable done_;
  int left_;
  int status_ = HOROVOD_OK;
  std::string message_;
  std::vector<std::shared_ptr<CTensor>> outputs_;
  std::vector<std::shared_ptr<CTensor>> splits_;
  std::vector<Callback> callbacks_;
  std::shared_ptr<DeviceCall> device_call_;
};

std::shared_ptr<Operation> NewOperation(int n);
// nullptr, with the last error set, for a handle that was never given out or was released.
std::shared_ptr<Operation> FindOperation(horovod_handle handle);
bool ForgetOperation(horovod_handle handle);

} // namespace core
} // namespace horovod

#endif

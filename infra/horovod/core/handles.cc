#include "handles.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <unordered_map>

#include "state.h"

namespace horovod {
namespace core {
namespace {

int64_t Bytes(common::DataType dtype, const std::vector<int64_t>& shape) {
  int64_t size = static_cast<int64_t>(common::DataType_Size(dtype));
  for (auto dim : shape) {
    size *= dim;
  }
  return size;
}

std::mutex table_mutex;
std::unordered_map<horovod_handle, std::shared_ptr<Operation>> table;
horovod_handle last_handle = 0;

// What this thread finished while a WakeTogether lives; it keeps them until they are woken.
thread_local int wakers = 0;
thread_local std::vector<std::shared_ptr<Operation>> finished;

} // namespace

WakeTogether::WakeTogether() { ++wakers; }

WakeTogether::~WakeTogether() {
  if (--wakers > 0) {
    return;
  }
  for (auto& operation : finished) {
    operation->Wake();
  }
  finished.clear();
}

void* Allocate(int64_t size, bool zeros) {
  void* data = nullptr;
  if (posix_memalign(&data, 64, size > 0 ? size : 64) != 0) {
    throw std::bad_alloc();
  }
  if (zeros) {
    std::memset(data, 0, size);
  }
  return data;
}

CTensor::CTensor(common::DataType dtype, std::vector<int64_t> shape, void* data)
    : dtype_(dtype), shape_(std::move(shape)), size_(Bytes(dtype, shape_)), data_(data),
      owned_(false) {}

CTensor::CTensor(common::DataType dtype, std::vector<int64_t> shape)
    : dtype_(dtype), shape_(std::move(shape)), size_(Bytes(dtype, shape_)),
      data_(Allocate(size_, false)), owned_(true) {}

CTensor::~CTensor() { std::free(Take()); }

void* CTensor::Take() {
  if (!owned_) {
    return nullptr;
  }
  owned_ = false;
  return data_;
}

void Operation::SetOutput(int i, std::shared_ptr<CTensor> tensor) {
  std::lock_guard<std::mutex> guard(mutex_);
  outputs_.at(i) = std::move(tensor);
}

void Operation::SetReceivedSplits(int i, std::shared_ptr<CTensor> tensor) {
  std::lock_guard<std::mutex> guard(mutex_);
  splits_.at(i) = std::move(tensor);
}

void Operation::Finish(const common::Status& status, int count) {
  std::vector<Callback> callbacks;
  {
    std::lock_guard<std::mutex> guard(mutex_);
    if (!status.ok() && status_ == HOROVOD_OK) {
      status_ = status.type();
      message_ = status.reason();
    }
    left_ -= count;
    if (left_ > 0) {
      return;
    }
    callbacks.swap(callbacks_);
  }
  // Who calls this holds the operation, though the waiter forgets it as soon as nothing is left.
  if (wakers > 0) {
    finished.push_back(shared_from_this());
  } else {
    Wake();
  }
  for (auto& callback : callbacks) {
    callback.function(handle_, status_, message_.c_str(), callback.argument);
  }
}

bool Operation::Done() {
  std::lock_guard<std::mutex> guard(mutex_);
  return left_ <= 0;
}

int Operation::Wait(double seconds) {
  std::unique_lock<std::mutex> lock(mutex_);
  auto is_done = [this]() { return left_ <= 0; };
  if (seconds < 0) {
    done_.wait(lock, is_done);
  } else if (!done_.wait_for(lock, std::chrono::duration<double>(seconds), is_done)) {
    return HOROVOD_IN_PROGRESS;
  }
  return status_;
}

void Operation::Then(Callback callback) {
  {
    std::lock_guard<std::mutex> guard(mutex_);
    if (left_ > 0) {
      callbacks_.push_back(callback);
      return;
    }
  }
  callback.function(handle_, status_, message_.c_str(), callback.argument);
}

std::shared_ptr<CTensor> Operation::output(int i) {
  std::lock_guard<std::mutex> guard(mutex_);
  return i >= 0 && i < static_cast<int>(outputs_.size()) ? outputs_[i] : nullptr;
}

std::shared_ptr<CTensor> Operation::received_splits(int i) {
  std::lock_guard<std::mutex> guard(mutex_);
  return i >= 0 && i < static_cast<int>(splits_.size()) ? splits_[i] : nullptr;
}

std::shared_ptr<Operation> NewOperation(int n) {
  std::lock_guard<std::mutex> guard(table_mutex);
  auto operation = std::make_shared<Operation>(++last_handle, n);
  table.emplace(last_handle, operation);
  return operation;
}

std::shared_ptr<Operation> FindOperation(horovod_handle handle) {
  std::lock_guard<std::mutex> guard(table_mutex);
  auto found = table.find(handle);
  if (found == table.end()) {
    SetLastError("handle " + std::to_string(handle) + " was not given out or has been released");
    return nullptr;
  }
  return found->second;
}

bool ForgetOperation(horovod_handle handle) {
  std::shared_ptr<Operation> operation; // freed after the lock
  std::lock_guard<std::mutex> guard(table_mutex);
  auto found = table.find(handle);
  if (found == table.end()) {
    return false;
  }
  operation = std::move(found->second);
  table.erase(found);
  return true;
}

} // namespace core
} // namespace horovod

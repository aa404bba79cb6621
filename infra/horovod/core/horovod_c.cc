// The functions of horovod_c.h over the core's Enqueue functions.

#include "horovod_c.h"

#include <cstdlib>
#include <cstring>

#include "gpu/call.h"
#include "gpu/loader.h"
#include "handles.h"
#include "horovod/common/operations.h"
#include "horovod/common/ops/collective_operations.h"
#include "mpi/loader.h"
#include "state.h"

namespace horovod {
namespace core {
namespace {

using common::DataType;
using common::Status;
using common::TensorShape;

static_assert(sizeof(horovod_tensor) == 64, "the layout is part of the ABI");

// A buffer of the core's own: the fusion buffer.
class Buffer : public common::PersistentBuffer {
public:
  explicit Buffer(int64_t size) : data_(Allocate(size, false)) {}
  ~Buffer() override { std::free(data_); }
  const void* AccessData(std::shared_ptr<common::OpContext>) const override { return data_; }

private:
  void* data_;
};

// Where the core gets outputs from whose size it finds out by itself: those of one tensor.
class Context : public common::OpContext {
public:
  Context(std::shared_ptr<Operation> operation, int i, DataType dtype, bool gives_splits)
      : operation_(std::move(operation)), i_(i), dtype_(dtype), gives_splits_(gives_splits) {}

  Status AllocatePersistent(int64_t size,
                            std::shared_ptr<common::PersistentBuffer>* buffer) override {
    *buffer = std::make_shared<Buffer>(size);
    return Status::OK();
  }

  Status AllocateOutput(TensorShape shape, std::shared_ptr<common::Tensor>* tensor,
                        std::shared_ptr<common::ReadyEvent>* = nullptr) override {
    return AllocateOutput(0, std::move(shape), tensor);
  }

  // For alltoall the core numbers its output 0 and the received splits 1; for grouped allgathers
  // the number is the tensor's in the group, which this context knows.
  Status AllocateOutput(int index, TensorShape shape, std::shared_ptr<common::Tensor>* tensor,
                        std::shared_ptr<common::ReadyEvent>* = nullptr) override {
    bool splits = gives_splits_ && index == 1;
    auto result = std::make_shared<CTensor>(splits ? common::HOROVOD_INT32 : dtype_,
                                            shape.to_vector());
    if (splits) {
      operation_->SetReceivedSplits(i_, result);
    } else {
      operation_->SetOutput(i_, result);
    }
    *tensor = result;
    return Status::OK();
  }

  Status AllocateZeros(int64_t num_elements, DataType dtype,
                       std::shared_ptr<common::Tensor>* tensor) override {
    auto zeros = std::make_shared<CTensor>(dtype, std::vector<int64_t>{num_elements});
    std::memset(zeros->mutable_data(), 0, zeros->size());
    *tensor = zeros;
    return Status::OK();
  }

  // All callers of this interface share one fusion buffer.
  common::Framework framework() const override { return common::Framework::PYTORCH; }

private:
  std::shared_ptr<Operation> operation_;
  int i_;
  DataType dtype_;
  bool gives_splits_;
};

// ---- Checks ----

horovod_handle Refuse(const Status& status) {
  SetLastError(status.reason());
  return -static_cast<horovod_handle>(status.type());
}

Status CheckTensor(const horovod_tensor& tensor) {
  if (horovod_dtype_size(tensor.dtype) == 0) {
    return Status::InvalidArgument("data type " + std::to_string(tensor.dtype) +
                                   " is not known; known are uint8, int8, uint16, int16, int32, int64,"
                                   " float16, float32, float64, bool and bfloat16");
  }
  if (tensor.device < CPU_DEVICE_ID) {
    return Status::InvalidArgument("device " + std::to_string(tensor.device) +
                                   ": -1 is the CPU, and GPUs are numbered from 0");
  }
  if (tensor.ndim < 0 || (tensor.ndim > 0 && tensor.shape == nullptr)) {
    return Status::InvalidArgument("a tensor of " + std::to_string(tensor.ndim) +
                                   " dimensions without a shape");
  }
  int64_t elements = 1;
  for (int d = 0; d < tensor.ndim; ++d) {
    if (tensor.shape[d] < 0) {
      return Status::InvalidArgument("dimension " + std::to_string(d) + " of a tensor is " +
                                     std::to_string(tensor.shape[d]));
    }
    elements *= tensor.shape[d];
  }
  return Status::OK();
}

// All tensors of a call are in the same memory; that of a GPU must be usable now.
Status CheckDevice(const horovod_tensor* tensors, int n) {
  for (int i = 1; i < n; ++i) {
    if (tensors[i].device != tensors[0].device || tensors[i].stream != tensors[0].stream) {
      return Status::InvalidArgument("the tensors of one call must be on the same device and stream:"
                                     " tensor 0 is on device " + std::to_string(tensors[0].device) +
                                     ", tensor " + std::to_string(i) + " on device " +
                                     std::to_string(tensors[i].device));
    }
  }
  auto why_not = tensors[0].device >= 0 ? WhyNot(tensors[0].device, tensors[0].stream) : "";
  return why_not.empty() ? Status::OK() : Status::InvalidArgument(why_not);
}

bool IsEmpty(const horovod_tensor& tensor) {
  for (int d = 0; d < tensor.ndim; ++d) {
    if (tensor.shape[d] == 0) {
      return true;
    }
  }
  return false;
}

Status CheckCall(const horovod_tensor* tensors, int n, int process_set) {
  auto status = common::CheckInitialized();
  if (!status.ok()) {
    return status;
  }
  if (tensors == nullptr || n < 1) {
    return Status::InvalidArgument("an operation needs at least one tensor");
  }
  for (int i = 0; i < n; ++i) {
    status = CheckTensor(tensors[i]);
    if (!status.ok()) {
      return status;
    }
    if (tensors[i].data == nullptr && !IsEmpty(tensors[i])) {
      return Status::InvalidArgument("tensor " + std::to_string(i) + " has no data");
    }
  }
  status = CheckDevice(tensors, n);
  if (!status.ok()) {
    return status;
  }
  if (horovod_process_set_size(process_set) < 0) {
    return Status::InvalidArgument("process set " + std::to_string(process_set) +
                                   " does not exist, or has not been registered");
  }
  return Status::OK();
}

Status CheckReduceOp(const horovod_tensor* tensors, int n, int reduce_op, bool adasum) {
  static const char* const NAMES[] = {"average", "sum", "Adasum", "min", "max", "product"};
  if (reduce_op < HVD_AVERAGE || reduce_op > HVD_PRODUCT) {
    return Status::InvalidArgument("reduction " + std::to_string(reduce_op) + " is not known");
  }
  for (int i = 0; i < n; ++i) {
    auto dtype = tensors[i].dtype;
    bool floating = dtype == HVD_FLOAT16 || dtype == HVD_FLOAT32 || dtype == HVD_FLOAT64;
    bool bad = (dtype == HVD_BOOL && (reduce_op == HVD_AVERAGE || reduce_op == HVD_ADASUM)) ||
               (reduce_op == HVD_ADASUM && !floating);
    if (bad) {
      return Status::InvalidArgument(std::string("the reduction ") + NAMES[reduce_op] +
                                     " is not defined for " + horovod_dtype_name(dtype));
    }
  }
  return Status::OK();
}

// ---- The parts of a call that the core wants ----

struct Call {
  std::shared_ptr<Operation> operation;
  std::vector<std::shared_ptr<common::OpContext>> contexts;
  std::vector<std::shared_ptr<common::Tensor>> tensors;
  std::vector<std::shared_ptr<common::Tensor>> outputs;
  std::vector<common::ReadyEventList> ready;
  std::vector<std::string> names;
  std::vector<common::StatusCallback> callbacks;
};

std::vector<int64_t> Shape(const horovod_tensor& tensor) {
  return std::vector<int64_t>(tensor.shape, tensor.shape + tensor.ndim);
}

Call Prepare(const horovod_tensor* tensors, int n, const char* name, const std::string& kind,
             int process_set) {
  Call call;
  auto operation = call.operation = NewOperation(n);
  auto base = name != nullptr && *name != '\0' ? std::string(name)
                                               : NextName(n > 1 ? "grouped_" + kind : kind, process_set);
  if (tensors[0].device >= 0) {
    operation->SetDeviceCall(std::make_shared<DeviceCall>(tensors[0].device, tensors[0].stream,
                                                          tensors[0].event));
  }
  for (int i = 0; i < n; ++i) {
    auto dtype = static_cast<DataType>(tensors[i].dtype);
    if (tensors[i].device >= 0) {
      call.contexts.push_back(
          std::make_shared<DeviceContext>(operation, i, dtype, kind == "alltoall"));
    } else {
      call.contexts.push_back(
          std::make_shared<Context>(operation, i, dtype, kind == "alltoall"));
    }
    call.tensors.push_back(std::make_shared<CTensor>(dtype, Shape(tensors[i]),
                                                     const_cast<void*>(tensors[i].data)));
    call.ready.emplace_back();
    call.names.push_back(n == 1 ? base
                                : base + "_" + std::to_string(i + 1) + "of" + std::to_string(n));
    call.callbacks.push_back([operation](const Status& status) { operation->Finish(status); });
  }
  return call;
}

// Gives tensor i an output of `shape`: the caller's buffer, or one of our own.
void AddOutput(Call& call, const horovod_tensor& tensor, int i, std::vector<int64_t> shape) {
  auto dtype = static_cast<DataType>(tensor.dtype);
  auto output = tensor.out != nullptr
                    ? std::make_shared<CTensor>(dtype, std::move(shape), tensor.out)
                : tensor.device >= 0
                    ? call.operation->device_call()->Allocate(dtype, std::move(shape))
                    : std::make_shared<CTensor>(dtype, std::move(shape));
  call.operation->SetOutput(i, output);
  call.outputs.push_back(output);
}

horovod_handle Enqueued(const Call& call, const Status& status) {
  auto handle = call.operation->handle();
  if (status.ok()) {
    return handle;
  }
  ForgetOperation(handle);
  return Refuse(status);
}

// For operations that the core has no grouped form of: one after the other under one handle. If one
// cannot be enqueued, those before it are under way already, so the handle itself fails.
template <typename Enqueue> horovod_handle OneByOne(Call& call, Enqueue enqueue) {
  int n = static_cast<int>(call.tensors.size());
  for (int i = 0; i < n; ++i) {
    Status status = enqueue(i);
    if (!status.ok()) {
      if (i == 0) {
        return Enqueued(call, status);
      }
      call.operation->Finish(status, n - i);
      break;
    }
  }
  return call.operation->handle();
}

// Nothing of C++ may leave a function that C calls.
template <typename Function> horovod_handle Guarded(Function function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return Refuse(Status::UnknownError("there is not enough memory"));
  } catch (const std::exception& error) {
    return Refuse(Status::UnknownError(error.what()));
  }
}

int Unknown() { return HOROVOD_INVALID_ARGUMENT; }

// Calls CUDA for a handle that is done.
template <typename Function> int OnDevice(Function function) {
  try {
    function();
    return HOROVOD_OK;
  } catch (const std::exception& error) {
    SetLastError(error.what());
    return HOROVOD_UNKNOWN_ERROR;
  }
}

} // namespace
} // namespace core
} // namespace horovod

using namespace horovod::core;
namespace common = horovod::common;

extern "C" {

// ---- The library ----

int horovod_abi_version(void) { return HOROVOD_C_ABI_VERSION; }

const char* horovod_core_version(void) { return "0.28.1"; }

int64_t horovod_dtype_size(int dtype) {
  return dtype >= HVD_UINT8 && dtype <= HVD_BFLOAT16
             ? static_cast<int64_t>(common::DataType_Size(static_cast<common::DataType>(dtype)))
             : 0;
}

const char* horovod_dtype_name(int dtype) {
  return horovod_dtype_size(dtype) > 0
             ? common::DataType_Name(static_cast<common::DataType>(dtype)).c_str()
             : nullptr;
}

const char* horovod_mpi_library(void) {
  static const std::string library = MPILibrary();
  return library.empty() ? nullptr : library.c_str();
}

const char* horovod_mpi_name(void) {
  static const std::string name = MPIName();
  return name.c_str();
}

const char* horovod_mpi_error(void) {
  static const std::string error = MPIError();
  return error.c_str();
}

const char* horovod_cuda_library(void) {
  static const std::string library = CudaLibrary();
  return library.empty() ? nullptr : library.c_str();
}

const char* horovod_cuda_error(void) {
  static const std::string error = CudaError();
  return error.c_str();
}

const char* horovod_nccl_library(void) {
  static const std::string library = NcclLibrary();
  return library.empty() ? nullptr : library.c_str();
}

const char* horovod_nccl_error(void) {
  static const std::string error = NcclError();
  return error.c_str();
}

// ---- Operations ----

horovod_handle horovod_allreduce(const horovod_tensor* tensors, int n, const char* name,
                                 int reduce_op, double prescale, double postscale,
                                 int process_set) {
  return Guarded([&]() {
    auto status = CheckCall(tensors, n, process_set);
    if (status.ok()) {
      status = CheckReduceOp(tensors, n, reduce_op, true);
    }
    if (!status.ok()) {
      return Refuse(status);
    }
    auto call = Prepare(tensors, n, name, "allreduce", process_set);
    for (int i = 0; i < n; ++i) {
      AddOutput(call, tensors[i], i, Shape(tensors[i]));
    }
    status = common::EnqueueTensorAllreduces(
        call.contexts, call.tensors, call.outputs, call.ready, call.names, tensors[0].device,
        call.callbacks, static_cast<common::ReduceOp>(reduce_op), prescale, postscale, process_set);
    return Enqueued(call, status);
  });
}

horovod_handle horovod_allgather(const horovod_tensor* tensors, int n, const char* name,
                                 int process_set) {
  return Guarded([&]() {
    auto status = CheckCall(tensors, n, process_set);
    for (int i = 0; status.ok() && i < n; ++i) {
      if (tensors[i].out != nullptr) {
        status = common::Status::InvalidArgument("allgather allocates its outputs: out must be NULL");
      }
    }
    if (!status.ok()) {
      return Refuse(status);
    }
    auto call = Prepare(tensors, n, name, "allgather", process_set);
    status = common::EnqueueTensorAllgathers(call.contexts, call.tensors, call.ready, call.names,
                                             tensors[0].device, call.callbacks, process_set);
    return Enqueued(call, status);
  });
}

horovod_handle horovod_broadcast(const horovod_tensor* tensors, int n, const char* name,
                                 int root_rank, int process_set) {
  return Guarded([&]() {
    bool is_root = horovod_rank() == root_rank;
    std::vector<horovod_tensor> copies(tensors, tensors + (tensors != nullptr && n > 0 ? n : 0));
    for (auto& tensor : copies) {
      // Only the root's data is read, and its own output is its data unless it has another.
      if (!is_root && tensor.data == nullptr) {
        tensor.data = tensor.out != nullptr ? tensor.out : &tensor;
      }
      if (is_root && tensor.out == nullptr) {
        tensor.out = const_cast<void*>(tensor.data);
      }
    }
    auto status = CheckCall(copies.data(), static_cast<int>(copies.size()), process_set);
    if (!status.ok()) {
      return Refuse(status);
    }
    auto call = Prepare(copies.data(), n, name, "broadcast", process_set);
    for (int i = 0; i < n; ++i) {
      AddOutput(call, copies[i], i, Shape(copies[i]));
    }
    return OneByOne(call, [&](int i) {
      auto operation = call.operation;
      auto from = copies[i].data;
      auto to = call.outputs[i];
      bool on_cpu = copies[i].device == CPU_DEVICE_ID; // else it is copied in the GPU's order
      auto callback = [operation, from, to, is_root, on_cpu](const common::Status& status) {
        if (status.ok() && is_root && on_cpu && to->data() != from && to->size() > 0) {
          std::memcpy(const_cast<void*>(to->data()), from, to->size());
        }
        operation->Finish(status);
      };
      return common::EnqueueTensorBroadcast(call.contexts[i], call.tensors[i], call.outputs[i],
                                            root_rank, call.ready[i], call.names[i], tensors[0].device,
                                            callback, process_set);
    });
  });
}

horovod_handle horovod_alltoall(const horovod_tensor* tensors, int n, const int32_t* splits,
                                int num_splits, const char* name, int process_set) {
  return Guarded([&]() {
    auto status = CheckCall(tensors, n, process_set);
    for (int i = 0; status.ok() && i < n; ++i) {
      if (tensors[i].out != nullptr) {
        status = common::Status::InvalidArgument("alltoall allocates its outputs: out must be NULL");
      } else if (tensors[i].ndim == 0) {
        status = common::Status::InvalidArgument(
            "alltoall sends rows: a tensor without dimensions has none");
      }
    }
    int size = horovod_process_set_size(process_set);
    if (status.ok() && splits != nullptr && num_splits != n * size) {
      status = common::Status::InvalidArgument(
          "alltoall of " + std::to_string(n) + " tensors over " + std::to_string(size) +
          " ranks needs " + std::to_string(n * size) + " splits, not " + std::to_string(num_splits));
    }
    for (int i = 0; status.ok() && splits != nullptr && i < num_splits; ++i) {
      if (splits[i] < 0) {
        status = common::Status::InvalidArgument("alltoall: split " + std::to_string(i) + " is " +
                                                 std::to_string(splits[i]));
      }
    }
    if (!status.ok()) {
      return Refuse(status);
    }
    auto call = Prepare(tensors, n, name, "alltoall", process_set);
    return OneByOne(call, [&](int i) {
      std::vector<int64_t> shape = {splits != nullptr ? size : 0};
      auto part = std::make_shared<CTensor>(common::HOROVOD_INT32, shape);
      if (splits != nullptr) {
        std::memcpy(part->mutable_data(), splits + i * size, part->size());
      }
      return common::EnqueueTensorAlltoall(call.contexts[i], call.tensors[i], part, call.ready[i],
                                           call.names[i], tensors[0].device, call.callbacks[i],
                                           process_set);
    });
  });
}

horovod_handle horovod_reducescatter(const horovod_tensor* tensors, int n, const char* name,
                                     int reduce_op, double prescale, double postscale,
                                     int process_set) {
  return Guarded([&]() {
    auto status = CheckCall(tensors, n, process_set);
    if (status.ok()) {
      status = CheckReduceOp(tensors, n, reduce_op, false);
    }
    int rank = horovod_process_set_rank(process_set);
    int size = horovod_process_set_size(process_set);
    if (status.ok() && rank < 0) {
      status = common::Status::InvalidArgument("reducescatter: rank " +
                                               std::to_string(horovod_rank()) +
                                               " is not a member of the process set");
    }
    if (!status.ok()) {
      return Refuse(status);
    }
    auto call = Prepare(tensors, n, name, "reducescatter", process_set);
    for (int i = 0; i < n; ++i) {
      auto shape = Shape(tensors[i]);
      if (!shape.empty()) { // without dimensions the core refuses it, on all ranks
        shape[0] = shape[0] / size + (rank < shape[0] % size ? 1 : 0);
      }
      AddOutput(call, tensors[i], i, shape);
    }
    status = common::EnqueueTensorReducescatters(
        call.contexts, call.tensors, call.outputs, call.ready, call.names, tensors[0].device,
        call.callbacks, static_cast<common::ReduceOp>(reduce_op), process_set, prescale, postscale);
    return Enqueued(call, status);
  });
}

horovod_handle horovod_join(int device, int process_set) {
  return Guarded([&]() {
    horovod_tensor tensor = {};
    tensor.dtype = HVD_INT32;
    tensor.device = CPU_DEVICE_ID; // of the output; zeros for the others go where their tensors are
    auto status = common::CheckInitialized();
    if (status.ok()) {
      status = CheckTensor(tensor);
    }
    if (status.ok() && horovod_process_set_rank(process_set) < 0) {
      status = common::Status::InvalidArgument("join: this rank is no member of process set " +
                                               std::to_string(process_set));
    }
    if (!status.ok()) {
      return Refuse(status);
    }
    auto call = Prepare(&tensor, 1, JOIN_TENSOR_NAME, "join", process_set);
    AddOutput(call, tensor, 0, {});
    status = common::EnqueueJoin(call.contexts[0], call.outputs[0], call.ready[0],
                                 JOIN_TENSOR_NAME, CPU_DEVICE_ID, call.callbacks[0], process_set);
    if (status.ok()) {
      ResetNames(process_set);
    }
    return Enqueued(call, status);
  });
}

horovod_handle horovod_barrier(int process_set) {
  return Guarded([&]() {
    auto status = common::CheckInitialized();
    if (status.ok() && horovod_process_set_rank(process_set) < 0) {
      status = common::Status::InvalidArgument("barrier: this rank is no member of process set " +
                                               std::to_string(process_set));
    }
    if (!status.ok()) {
      return Refuse(status);
    }
    Call call;
    auto operation = call.operation = NewOperation(1);
    status = common::EnqueueBarrier(
        [operation](const common::Status& result) { operation->Finish(result); }, process_set);
    return Enqueued(call, status);
  });
}

// ---- Handles ----

int horovod_poll(horovod_handle handle) {
  auto operation = FindOperation(handle);
  return operation ? operation->Done() : -HOROVOD_INVALID_ARGUMENT;
}

int horovod_wait(horovod_handle handle, double seconds) {
  auto operation = FindOperation(handle);
  if (!operation) {
    return Unknown();
  }
  int status = operation->Wait(seconds);
  if (status == HOROVOD_OK && operation->device_call()) {
    return OnDevice([&]() { operation->device_call()->OrderBeforeOwn(); });
  }
  if (status != HOROVOD_OK && status != HOROVOD_IN_PROGRESS) {
    SetLastError(operation->message());
  }
  return status;
}

int horovod_finish(horovod_handle handle, double seconds) {
  int status = horovod_wait(handle, seconds);
  if (status != HOROVOD_IN_PROGRESS) {
    ForgetOperation(handle);
  }
  return status;
}

int horovod_then(horovod_handle handle, horovod_callback callback, void* argument) {
  auto operation = FindOperation(handle);
  if (!operation || callback == nullptr) {
    return Unknown();
  }
  operation->Then({callback, argument});
  return HOROVOD_OK;
}

int horovod_output(horovod_handle handle, int i, void** data, const int64_t** shape, int* ndim) {
  auto operation = FindOperation(handle);
  if (!operation) {
    return Unknown();
  }
  if (!operation->Done()) {
    SetLastError("the operation is still under way: wait for it first");
    return HOROVOD_IN_PROGRESS;
  }
  auto tensor = operation->output(i);
  if (!tensor || operation->status() != HOROVOD_OK) {
    SetLastError(operation->status() != HOROVOD_OK ? operation->message()
                                                   : "there is no output " + std::to_string(i));
    return operation->status() != HOROVOD_OK ? operation->status() : Unknown();
  }
  if (data != nullptr) {
    *data = tensor->mutable_data();
  }
  if (shape != nullptr) {
    *shape = tensor->dims().data();
  }
  if (ndim != nullptr) {
    *ndim = static_cast<int>(tensor->dims().size());
  }
  return HOROVOD_OK;
}

int horovod_order(horovod_handle handle, void* stream) {
  auto operation = FindOperation(handle);
  if (!operation) {
    return Unknown();
  }
  if (!operation->Done()) {
    SetLastError("the operation is still under way: wait for it first");
    return HOROVOD_IN_PROGRESS;
  }
  if (!operation->device_call()) {
    return HOROVOD_OK;
  }
  return OnDevice([&]() { operation->device_call()->OrderBefore(stream); });
}

int horovod_copy_output(horovod_handle handle, int i, void* to, void* stream) {
  auto operation = FindOperation(handle);
  int status = operation ? horovod_output(handle, i, nullptr, nullptr, nullptr) : Unknown();
  if (status != HOROVOD_OK) {
    return status;
  }
  auto tensor = operation->output(i);
  if (!operation->device_call()) {
    SetLastError("the outputs are in the CPU's memory: horovod_output says where");
    return Unknown();
  }
  return OnDevice([&]() { operation->device_call()->Copy(*tensor, to, stream); });
}

int horovod_received_splits(horovod_handle handle, int i, const int32_t** splits,
                            int* num_splits) {
  auto operation = FindOperation(handle);
  if (!operation) {
    return Unknown();
  }
  if (!operation->Done()) {
    SetLastError("the operation is still under way: wait for it first");
    return HOROVOD_IN_PROGRESS;
  }
  auto tensor = operation->received_splits(i);
  if (!tensor) {
    SetLastError("there are no received splits " + std::to_string(i) + ": alltoall alone has them");
    return Unknown();
  }
  *splits = static_cast<const int32_t*>(tensor->data());
  *num_splits = static_cast<int>(tensor->size() / sizeof(int32_t));
  return HOROVOD_OK;
}

void* horovod_take(horovod_handle handle, int i) {
  auto operation = FindOperation(handle);
  auto tensor = operation && operation->Done() ? operation->output(i) : nullptr;
  return tensor ? tensor->Take() : nullptr;
}

void horovod_free(void* data) { std::free(data); }

const char* horovod_error(horovod_handle handle) {
  auto operation = FindOperation(handle);
  return operation && operation->Done() ? operation->message().c_str() : "";
}

int horovod_release(horovod_handle handle) {
  if (ForgetOperation(handle)) {
    return HOROVOD_OK;
  }
  SetLastError("handle " + std::to_string(handle) + " was not given out or has been released");
  return Unknown();
}

} // extern "C"

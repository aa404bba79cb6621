/* Runs a collective operation: hands TensorFlow's tensors to the core, and its outputs back. */

#include "operation.h"

#include <string.h>

#include <atomic>
#include <memory>
#include <vector>

#include "core.h"
#include "done_callback.h"

namespace horovod_tensorflow {
namespace {

std::atomic<int64_t> started{0};

/* ---- Building ------------------------------------------------------------------------------- */

class Attributes {
public:
  explicit Attributes(TF_OpKernelConstruction* construction) : construction_(construction) {}

  int integer(const char* name) {
    int32_t value = 0;
    if (status_.ok()) {
      tensorflow().TF_OpKernelConstruction_GetAttrInt32(construction_, name, &value, status_);
    }
    return value;
  }

  double real(const char* name) {
    float value = 1.0f;
    if (status_.ok()) {
      tensorflow().TF_OpKernelConstruction_GetAttrFloat(construction_, name, &value, status_);
    }
    return value;
  }

  bool boolean(const char* name) {
    unsigned char value = 0;
    if (status_.ok()) {
      tensorflow().TF_OpKernelConstruction_GetAttrBool(construction_, name, &value, status_);
    }
    return value != 0;
  }

  void report() {
    if (!status_.ok()) {
      tensorflow().TF_OpKernelConstruction_Failure(construction_, status_);
    }
  }

private:
  TF_OpKernelConstruction* construction_;
  Status status_;
};

std::string without_scope(const std::string& name) {
  size_t slash = name.find_last_of('/');
  return slash == std::string::npos ? name : name.substr(slash + 1);
}

/* ---- Running -------------------------------------------------------------------------------- */

int dtype_of(int tensorflow_dtype) {
  switch (tensorflow_dtype) {
  case TF_FLOAT: return HVD_FLOAT32;
  case TF_DOUBLE: return HVD_FLOAT64;
  case TF_HALF: return HVD_FLOAT16;
  case TF_BFLOAT16: return HVD_BFLOAT16;
  case TF_UINT8: return HVD_UINT8;
  case TF_INT8: return HVD_INT8;
  case TF_UINT16: return HVD_UINT16;
  case TF_INT16: return HVD_INT16;
  case TF_INT32: return HVD_INT32;
  case TF_INT64: return HVD_INT64;
  case TF_BOOL: return HVD_BOOL;
  default: return -1;
  }
}

int code_of(int horovod_status) {
  switch (horovod_status) {
  case HOROVOD_OK: return TF_OK;
  case HOROVOD_PRECONDITION_ERROR: return TF_FAILED_PRECONDITION;
  case HOROVOD_ABORTED: return TF_ABORTED;
  case HOROVOD_INVALID_ARGUMENT: return TF_INVALID_ARGUMENT;
  default: return TF_UNKNOWN;
  }
}

void free_output(void* data, size_t, void*) { core()->horovod_free(data); }

/* One run of an operation, from ComputeAsync until `done`. */
class Call {
public:
  Call(const Operation& operation, TF_OpKernelContext* context,
       TF_AsyncOpKernelDoneCallback* original)
      : operation_(operation), context_(context), done_(original) {}

  ~Call() {
    for (TF_Tensor* tensor : inputs_) {
      tensorflow().TF_DeleteTensor(tensor);
    }
    for (TF_Tensor* tensor : outputs_) {
      if (tensor != nullptr) {
        tensorflow().TF_DeleteTensor(tensor);
      }
    }
  }

  bool can_finish_later() const { return done_.valid(); }
  void done() const { done_(); }
  void fail(int code, const std::string& message) {
    Status status;
    status.set(code, message);
    tensorflow().TF_OpKernelContext_Failure(context_, status);
  }

  /* The handle of the started operation; 0 if the failure was reported. */
  horovod_handle enqueue();
  void finish(horovod_handle handle, int status, const char* message);

private:
  bool take_inputs();
  bool describe(int number_of_tensors);
  bool allocate(size_t i);
  bool pass_on(size_t i);
  bool set_output_of_core(horovod_handle handle, int i);
  bool set_received_splits(horovod_handle handle);
  bool has_own_outputs() const {
    return operation_.kind == Kind::kAllreduce || operation_.kind == Kind::kBroadcast;
  }
  bool is_root() const { return core()->horovod_rank() == operation_.root_rank; }
  horovod_handle call_core(const char* name);
  std::string name() const;
  bool check(const Status& status) {
    if (!status.ok()) {
      tensorflow().TF_OpKernelContext_Failure(context_, status);
    }
    return status.ok();
  }

  const Operation& operation_;
  TF_OpKernelContext* context_;
  DoneCallback done_;
  std::vector<TF_Tensor*> inputs_;
  std::vector<TF_Tensor*> outputs_; /* ours to delete; NULL where the core allocates */
  std::vector<std::vector<int64_t>> shapes_;
  std::vector<horovod_tensor> tensors_;
};

/* Iterations of a loop that TensorFlow runs at the same time share a node, and so its name. */
std::string Call::name() const {
  if (tensorflow().TF_GetFrameId(context_) == 0) {
    return operation_.name;
  }
  int64_t iteration = tensorflow().TF_GetIterId(context_);
  /* Few different names, so that the core's cache of responses serves loops too. More than this
     many iterations at a time must be asked for with parallel_iterations. */
  const int64_t kDistinct = 64;
  int64_t number = iteration % kDistinct;
  return number <= 0 ? operation_.name : operation_.name + "_iteration" + std::to_string(number);
}

bool Call::take_inputs() {
  int count = tensorflow().TF_NumInputs(context_);
  for (int i = 0; i < count; ++i) {
    Status status;
    TF_Tensor* tensor = nullptr;
    tensorflow().TF_GetInput(context_, i, &tensor, status);
    if (!check(status)) {
      return false;
    }
    inputs_.push_back(tensor);
  }
  return true;
}

bool Call::describe(int number_of_tensors) {
  shapes_.resize(number_of_tensors);
  for (int i = 0; i < number_of_tensors; ++i) {
    const TF_Tensor* input = inputs_[i];
    int ndim = tensorflow().TF_NumDims(input);
    for (int d = 0; d < ndim; ++d) {
      shapes_[i].push_back(tensorflow().TF_Dim(input, d));
    }
    horovod_tensor tensor{};
    tensor.data = tensorflow().TF_TensorData(input);
    tensor.shape = shapes_[i].data();
    tensor.ndim = ndim;
    tensor.dtype = dtype_of(tensorflow().TF_TensorType(input));
    tensor.device = -1;
    tensors_.push_back(tensor);
    if (has_own_outputs() && !(operation_.kind == Kind::kBroadcast && is_root() ? pass_on(i)
                                                                                : allocate(i))) {
      return false;
    }
  }
  return true;
}

bool Call::allocate(size_t i) {
  Status status;
  const std::vector<int64_t>& shape = shapes_[i];
  TF_Tensor* output = tensorflow().TF_AllocateOutput(
      context_, static_cast<int>(i), tensorflow().TF_TensorType(inputs_[i]), shape.data(),
      static_cast<int>(shape.size()), tensorflow().TF_TensorByteSize(inputs_[i]), status);
  if (!check(status)) {
    return false;
  }
  outputs_.push_back(output);
  tensors_[i].out = tensorflow().TF_TensorData(output);
  return true;
}

/* A broadcast's output on the root rank is its input. */
bool Call::pass_on(size_t i) {
  Status status;
  tensorflow().TF_SetOutput(context_, static_cast<int>(i), inputs_[i], status);
  tensors_[i].out = const_cast<void*>(tensors_[i].data);
  return check(status);
}

horovod_handle Call::call_core(const char* name) {
  const Core& c = *core();
  const Operation& op = operation_;
  int n = static_cast<int>(tensors_.size());
  switch (op.kind) {
  case Kind::kAllreduce:
    return c.horovod_allreduce(tensors_.data(), n, name, op.reduce_op, op.prescale, op.postscale,
                               op.process_set);
  case Kind::kReducescatter:
    return c.horovod_reducescatter(tensors_.data(), n, name, op.reduce_op, op.prescale,
                                   op.postscale, op.process_set);
  case Kind::kAllgather:
    return c.horovod_allgather(tensors_.data(), n, name, op.process_set);
  case Kind::kBroadcast:
    return c.horovod_broadcast(tensors_.data(), n, name, op.root_rank, op.process_set);
  case Kind::kAlltoall: {
    const int32_t* splits = static_cast<const int32_t*>(tensorflow().TF_TensorData(inputs_[1]));
    int count = static_cast<int>(tensorflow().TF_TensorByteSize(inputs_[1]) / sizeof(int32_t));
    return c.horovod_alltoall(tensors_.data(), n, count == 0 ? nullptr : splits, count, name,
                              op.process_set);
  }
  case Kind::kJoin: return c.horovod_join(-1, op.process_set);
  case Kind::kBarrier: return c.horovod_barrier(op.process_set);
  }
  return -HOROVOD_INVALID_ARGUMENT;
}

horovod_handle Call::enqueue() {
  if (core() == nullptr) {
    fail(TF_FAILED_PRECONDITION, "horovod.tensorflow was not imported, so its library is missing");
    return 0;
  }
  if (!core()->horovod_is_initialized()) {
    fail(TF_FAILED_PRECONDITION, "Horovod has not been initialized; use hvd.init().");
    return 0;
  }
  if (!take_inputs()) {
    return 0;
  }
  int extra = operation_.kind == Kind::kAlltoall ? 1 : 0;
  if (!describe(static_cast<int>(inputs_.size()) - extra)) {
    return 0;
  }
  horovod_handle handle = call_core(name().c_str());
  if (handle <= 0) {
    fail(code_of(static_cast<int>(-handle)), core()->horovod_last_error());
    return 0;
  }
  return handle;
}

/* Gives an output that the core allocated to TensorFlow, without a copy. */
bool Call::set_output_of_core(horovod_handle handle, int i) {
  const int64_t* shape = nullptr;
  int ndim = 0;
  core()->horovod_output(handle, i, nullptr, &shape, &ndim);
  int dtype = inputs_.empty() ? static_cast<int>(TF_INT32) : tensorflow().TF_TensorType(inputs_[i]);
  int64_t count = 1;
  for (int d = 0; d < ndim; ++d) {
    count *= shape[d];
  }
  size_t size = static_cast<size_t>(count * core()->horovod_dtype_size(dtype_of(dtype)));
  std::vector<int64_t> dims(shape, shape + ndim);
  void* data = core()->horovod_take(handle, i);
  TF_Tensor* output = tensorflow().TF_NewTensor(dtype, dims.data(), ndim, data, size, free_output,
                                                nullptr);
  Status status;
  tensorflow().TF_SetOutput(context_, i, output, status);
  tensorflow().TF_DeleteTensor(output);
  return check(status);
}

bool Call::set_received_splits(horovod_handle handle) {
  const int32_t* splits = nullptr;
  int count = 0;
  core()->horovod_received_splits(handle, 0, &splits, &count);
  const int64_t shape[1] = {count};
  const size_t size = count * sizeof(int32_t);
  Status status;
  TF_Tensor* output =
      tensorflow().TF_AllocateOutput(context_, 1, TF_INT32, shape, 1, size, status);
  if (!check(status)) {
    return false;
  }
  if (size > 0) {
    memcpy(tensorflow().TF_TensorData(output), splits, size);
  }
  tensorflow().TF_DeleteTensor(output);
  return true;
}

void Call::finish(horovod_handle handle, int status, const char* message) {
  if (status != HOROVOD_OK) {
    fail(code_of(status), message);
    return;
  }
  bool ok = true;
  if (operation_.kind == Kind::kJoin) {
    ok = set_output_of_core(handle, 0);
  } else if (!has_own_outputs()) {
    for (size_t i = 0; ok && i < tensors_.size(); ++i) {
      ok = set_output_of_core(handle, static_cast<int>(i));
    }
  }
  if (ok && operation_.kind == Kind::kAlltoall) {
    set_received_splits(handle);
  }
}

void finished(horovod_handle handle, int status, const char* message, void* argument) {
  std::unique_ptr<Call> call(static_cast<Call*>(argument));
  call->finish(handle, status, message);
  core()->horovod_release(handle);
  call->done();
}

} // namespace

Operation* new_operation(Kind kind, TF_OpKernelConstruction* construction) {
  std::unique_ptr<Operation> operation(new Operation);
  Attributes attributes(construction);
  TF_StringView name = tensorflow().TF_OpKernelConstruction_GetName(construction);
  operation->kind = kind;
  operation->name = std::string(name.data, name.len);
  operation->process_set = attributes.integer("process_set_id");
  if (kind != Kind::kJoin && kind != Kind::kBarrier && attributes.boolean("ignore_name_scope")) {
    operation->name = without_scope(operation->name);
  }
  if (kind == Kind::kAllreduce || kind == Kind::kReducescatter) {
    operation->reduce_op = attributes.integer("reduce_op");
    operation->prescale = attributes.real("prescale_factor");
    operation->postscale = attributes.real("postscale_factor");
  }
  if (kind == Kind::kBroadcast) {
    operation->root_rank = attributes.integer("root_rank");
  }
  attributes.report();
  return operation.release();
}

void start(Operation* operation, TF_OpKernelContext* context, TF_AsyncOpKernelDoneCallback* done) {
  std::unique_ptr<Call> call(new Call(*operation, context, done));
  if (!call->can_finish_later()) {
    call->fail(TF_FAILED_PRECONDITION, "this TensorFlow's callbacks have another layout");
    tensorflow().TF_RunAsyncOpKernelDoneCallback(done); /* still alive during this call */
    return;
  }
  horovod_handle handle = call->enqueue();
  if (handle == 0) {
    call->done();
    return;
  }
  started.fetch_add(1, std::memory_order_relaxed);
  Call* pending = call.release();
  core()->horovod_then(handle, finished, pending);
}

} // namespace horovod_tensorflow

int64_t horovod_tensorflow_started(void) { return horovod_tensorflow::started.load(); }

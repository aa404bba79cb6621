// Horovod's operations as one XLA FFI handler, for horovod.jax under jit.
//
// The handler starts the operation and hands XLA a future, which Horovod's background thread
// completes: no thread of XLA's blocks, so operations cannot wait for each other in a circle. XLA
// releases without futures (FFI API below 0.1) are waited for inside the handler.
//
// The structs are those of xla/ffi/api/c_api.h (FFI API 0.x), declared here as far as they are
// needed, so that no header of XLA's is. Fields are only ever added at their ends.

#include "horovod_c.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Extension {
  size_t struct_size;
  int type; // 1: metadata
  Extension* next;
};

struct ApiVersion {
  size_t struct_size;
  Extension* extension_start;
  int major_version;
  int minor_version;
};

struct Metadata {
  size_t struct_size;
  ApiVersion api_version;
  uint32_t traits;
  int64_t state_type_id;
};

struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

struct Error;
struct Future;

struct ErrorCreateArgs {
  size_t struct_size;
  Extension* extension_start;
  const char* message;
  int code;
};

struct FutureArgs { // XLA_FFI_Future_Create_Args and _SetAvailable_Args
  size_t struct_size;
  Extension* extension_start;
  Future* future;
};

struct FutureSetErrorArgs {
  size_t struct_size;
  Extension* extension_start;
  Future* future;
  Error* error;
};

struct Api {
  size_t struct_size;
  Extension* extension_start;
  ApiVersion version;
  const void* internal;
  Error* (*error_create)(ErrorCreateArgs*);
  void* others[12]; // Error_GetMessage to ThreadPool_NumThreads
  Error* (*future_create)(FutureArgs*);
  Error* (*future_set_available)(FutureArgs*);
  Error* (*future_set_error)(FutureSetErrorArgs*);
};

struct Buffer {
  size_t struct_size;
  Extension* extension_start;
  int dtype;
  void* data;
  int64_t rank;
  int64_t* dims;
};

struct ByteSpan {
  const char* ptr;
  size_t len;
};

struct Scalar {
  int dtype;
  void* value;
};

struct Args { // XLA_FFI_Args and XLA_FFI_Rets
  size_t struct_size;
  Extension* extension_start;
  int64_t size;
  int* types;
  void** values;
};

struct Attrs {
  size_t struct_size;
  Extension* extension_start;
  int64_t size;
  int* types;
  ByteSpan** names;
  void** values;
};

struct CallFrame {
  size_t struct_size;
  Extension* extension_start;
  const Api* api;
  void* context;
  int stage; // 3: execute
  Args args;
  Args rets;
  Attrs attrs;
  Future* future;
};

enum Kind { ALLREDUCE = 0, ALLGATHER = 1, BROADCAST = 2, ALLTOALL = 3, REDUCESCATTER = 4 };

const int kExecute = 3;
const int kInvalidArgument = 3; // of XLA_FFI_Error_Code
const int kInternal = 13;

std::atomic<int64_t> nameless_count{0};

// What an operation under way needs: whom to tell, and where its result goes.
struct Operation {
  const Api* api;
  Future* future; // nullptr: the handler waits
  void* result;   // where to copy an output that the library allocates, else nullptr
  int64_t bytes;
  std::vector<int64_t> dims; // of the result, as jax was told when it traced the function
};

Error* MakeError(const Api* api, int code, const std::string& message) {
  ErrorCreateArgs args{sizeof(ErrorCreateArgs), nullptr, message.c_str(), code};
  return api->error_create(&args);
}

const void* Find(const Attrs& attrs, const char* name) {
  for (int64_t i = 0; i < attrs.size; ++i) {
    if (attrs.names[i]->len == std::strlen(name) &&
        std::memcmp(attrs.names[i]->ptr, name, attrs.names[i]->len) == 0) {
      return attrs.values[i];
    }
  }
  return nullptr;
}

int64_t Int(const Attrs& attrs, const char* name) {
  auto scalar = static_cast<const Scalar*>(Find(attrs, name));
  return scalar == nullptr ? 0 : *static_cast<int64_t*>(scalar->value);
}

double Double(const Attrs& attrs, const char* name) {
  auto scalar = static_cast<const Scalar*>(Find(attrs, name));
  return scalar == nullptr ? 1.0 : *static_cast<double*>(scalar->value);
}

// Calls without a name are counted: jax runs them in the order of the program on every rank.
std::string Name(const Attrs& attrs) {
  auto span = static_cast<const ByteSpan*>(Find(attrs, "name"));
  if (span != nullptr && span->len > 0) {
    return std::string(span->ptr, span->len);
  }
  return "horovod.jax." + std::to_string(nameless_count.fetch_add(1));
}

// XLA_FFI_DataType as horovod_dtype; -1 for those that Horovod does not have.
int DType(int xla) {
  switch (xla) {
  case 1: return HVD_BOOL;
  case 2: return HVD_INT8;
  case 3: return HVD_INT16;
  case 4: return HVD_INT32;
  case 5: return HVD_INT64;
  case 6: return HVD_UINT8;
  case 7: return HVD_UINT16;
  case 10: return HVD_FLOAT16;
  case 11: return HVD_FLOAT32;
  case 12: return HVD_FLOAT64;
  case 16: return HVD_BFLOAT16;
  default: return -1;
  }
}

int64_t Bytes(const Buffer& buffer) {
  int64_t bytes = horovod_dtype_size(DType(buffer.dtype));
  for (int64_t i = 0; i < buffer.rank; ++i) {
    bytes *= buffer.dims[i];
  }
  return bytes;
}

horovod_handle Enqueue(int kind, const Buffer& input, void* out, const Attrs& attrs) {
  horovod_tensor tensor{};
  tensor.data = input.data;
  tensor.out = out;
  tensor.shape = input.dims;
  tensor.ndim = static_cast<int32_t>(input.rank);
  tensor.dtype = DType(input.dtype);
  tensor.device = -1;
  auto name = Name(attrs);
  int op = Int(attrs, "op"), set = Int(attrs, "process_set");
  double prescale = Double(attrs, "prescale"), postscale = Double(attrs, "postscale");
  switch (kind) {
  case ALLREDUCE:
    return horovod_allreduce(&tensor, 1, name.c_str(), op, prescale, postscale, set);
  case ALLGATHER:
    return horovod_allgather(&tensor, 1, name.c_str(), set);
  case BROADCAST:
    return horovod_broadcast(&tensor, 1, name.c_str(), Int(attrs, "root_rank"), set);
  case ALLTOALL:
    return horovod_alltoall(&tensor, 1, nullptr, 0, name.c_str(), set);
  default:
    return horovod_reducescatter(&tensor, 1, name.c_str(), op, prescale, postscale, set);
  }
}

bool HasTracedShape(const Operation& operation, const int64_t* shape, int ndim) {
  return operation.dims == std::vector<int64_t>(shape, shape + ndim);
}

// Copies an output that the library allocated; "", or what went wrong.
std::string Finish(horovod_handle handle, int status, const char* message,
                   const Operation& operation) {
  if (status != HOROVOD_OK) {
    return message;
  }
  if (operation.result == nullptr) {
    return "";
  }
  void* data = nullptr;
  const int64_t* shape = nullptr;
  int ndim = 0;
  horovod_output(handle, 0, &data, &shape, &ndim);
  if (!HasTracedShape(operation, shape, ndim)) {
    return "under jit all ranks' arrays must have the same shape; call the operation outside of"
           " jit, where the first dimension may differ";
  }
  std::memcpy(operation.result, data, operation.bytes);
  return "";
}

void Done(horovod_handle handle, int status, const char* message, void* argument) {
  auto operation = static_cast<Operation*>(argument);
  auto problem = Finish(handle, status, message, *operation);
  horovod_release(handle);
  auto api = operation->api;
  if (status == HOROVOD_OK && problem.empty()) {
    FutureArgs args{sizeof(FutureArgs), nullptr, operation->future};
    api->future_set_available(&args);
  } else {
    FutureSetErrorArgs args{sizeof(FutureSetErrorArgs), nullptr, operation->future,
                            MakeError(api, kInternal, problem)};
    api->future_set_error(&args);
  }
  delete operation;
}

bool HasFutures(const CallFrame& frame) {
  return frame.struct_size >= offsetof(CallFrame, future) + sizeof(Future*) &&
         frame.api->struct_size >= offsetof(Api, future_set_error) + sizeof(void*);
}

Error* WaitHere(CallFrame* frame, horovod_handle handle, const Operation& operation) {
  int status = horovod_wait(handle, -1);
  auto problem = Finish(handle, status, horovod_error(handle), operation);
  horovod_release(handle);
  return status == HOROVOD_OK && problem.empty() ? nullptr
                                                 : MakeError(frame->api, kInternal, problem);
}

Error* Execute(CallFrame* frame) {
  auto& input = *static_cast<Buffer*>(frame->args.values[0]);
  auto& output = *static_cast<Buffer*>(frame->rets.values[0]);
  if (DType(input.dtype) < 0) {
    return MakeError(frame->api, kInvalidArgument,
                     "Horovod cannot communicate arrays of this type: convert it first");
  }
  int kind = Int(frame->attrs, "kind");
  bool allocated = kind == ALLGATHER || kind == ALLTOALL;
  Operation operation;
  operation.api = frame->api;
  operation.future = nullptr;
  operation.result = allocated ? output.data : nullptr;
  operation.bytes = Bytes(output);
  operation.dims.assign(output.dims, output.dims + output.rank);
  auto handle = Enqueue(kind, input, allocated ? nullptr : output.data, frame->attrs);
  if (handle < 0) {
    return MakeError(frame->api, kInvalidArgument, horovod_last_error());
  }
  if (!HasFutures(*frame)) {
    return WaitHere(frame, handle, operation);
  }
  FutureArgs args{sizeof(FutureArgs), nullptr, nullptr};
  if (auto error = frame->api->future_create(&args)) {
    return error;
  }
  frame->future = operation.future = args.future;
  horovod_then(handle, Done, new Operation(operation));
  return nullptr;
}

} // namespace

// XLA_FFI_Handler: arguments are the array and a token, results the array and a token. Attributes:
// kind (see Kind), name, op, prescale, postscale, root_rank, process_set.
extern "C" __attribute__((visibility("default"))) void*
horovod_jax_handler(void* call_frame) {
  auto frame = static_cast<CallFrame*>(call_frame);
  auto extension = frame->extension_start;
  if (extension != nullptr && extension->type == 1) {
    auto metadata = reinterpret_cast<MetadataExtension*>(extension)->metadata;
    metadata->api_version.major_version = frame->api->version.major_version;
    metadata->api_version.minor_version = frame->api->version.minor_version;
    metadata->traits = 0;
    return nullptr;
  }
  return frame->stage == kExecute ? Execute(frame) : nullptr;
}

// The count of nameless calls starts again; horovod.jax calls it when Horovod starts.
extern "C" __attribute__((visibility("default"))) void
horovod_jax_reset() { nameless_count = 0; }

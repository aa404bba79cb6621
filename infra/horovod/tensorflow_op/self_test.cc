/* An operation that needs no other rank: it ends later, in a thread of its own, as all others do. */

#include "self_test.h"

#include <pthread.h>

#include <memory>

#include "done_callback.h"
#include "operation.h"

namespace horovod_tensorflow {
namespace {

void* end_later(void* argument) {
  std::unique_ptr<DoneCallback> done(static_cast<DoneCallback*>(argument));
  (*done)();
  return nullptr;
}

bool copy_input(TF_OpKernelContext* context) {
  Status status;
  TF_Tensor* input = nullptr;
  tensorflow().TF_GetInput(context, 0, &input, status);
  if (status.ok()) {
    tensorflow().TF_SetOutput(context, 0, input, status);
    tensorflow().TF_DeleteTensor(input);
  }
  if (!status.ok()) {
    tensorflow().TF_OpKernelContext_Failure(context, status);
  }
  return status.ok();
}

} // namespace

void* new_self_test(TF_OpKernelConstruction*) { return new char; }

void delete_self_test(void* kernel) { delete static_cast<char*>(kernel); }

void compute_self_test(void*, TF_OpKernelContext* context, TF_AsyncOpKernelDoneCallback* original) {
  std::unique_ptr<DoneCallback> done(new DoneCallback(original));
  if (!done->valid() || !copy_input(context)) {
    Status status;
    status.set(TF_FAILED_PRECONDITION, "this TensorFlow's callbacks have another layout");
    tensorflow().TF_OpKernelContext_Failure(context, status);
    tensorflow().TF_RunAsyncOpKernelDoneCallback(original);
    return;
  }
  pthread_t thread;
  DoneCallback* pending = done.release();
  if (pthread_create(&thread, nullptr, end_later, pending) != 0) {
    end_later(pending);
    return;
  }
  pthread_detach(thread);
}

} // namespace horovod_tensorflow

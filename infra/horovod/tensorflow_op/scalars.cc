/* The operations that answer with one number: size, rank and their like, when they are run. */

#include "scalars.h"

#include "core.h"
#include "operation.h"

namespace horovod_tensorflow {
namespace {

struct Scalar {
  Number number;
  int process_set;
};

int value_of(const Scalar& scalar) {
  switch (scalar.number) {
  case Number::kSize: return core()->horovod_process_set_size(scalar.process_set);
  case Number::kIncluded: return core()->horovod_process_set_included(scalar.process_set);
  case Number::kLocalSize: return core()->horovod_local_size();
  case Number::kRank: return core()->horovod_rank();
  case Number::kLocalRank: return core()->horovod_local_rank();
  }
  return -1;
}

} // namespace

void* new_scalar(Number number, TF_OpKernelConstruction* construction) {
  int32_t process_set = 0;
  if (number == Number::kSize || number == Number::kIncluded) {
    Status status;
    tensorflow().TF_OpKernelConstruction_GetAttrInt32(construction, "process_set_id", &process_set,
                                                      status);
    if (!status.ok()) {
      tensorflow().TF_OpKernelConstruction_Failure(construction, status);
    }
  }
  return new Scalar{number, process_set};
}

void compute_scalar(void* kernel, TF_OpKernelContext* context) {
  Status status;
  if (core() == nullptr || !core()->horovod_is_initialized()) {
    status.set(TF_FAILED_PRECONDITION, "Horovod has not been initialized; use hvd.init().");
    tensorflow().TF_OpKernelContext_Failure(context, status);
    return;
  }
  TF_Tensor* output = tensorflow().TF_AllocateOutput(context, 0, TF_INT32, nullptr, 0,
                                                     sizeof(int32_t), status);
  if (!status.ok()) {
    tensorflow().TF_OpKernelContext_Failure(context, status);
    return;
  }
  *static_cast<int32_t*>(tensorflow().TF_TensorData(output)) =
      value_of(*static_cast<Scalar*>(kernel));
  tensorflow().TF_DeleteTensor(output);
}

void delete_scalar(void* kernel) { delete static_cast<Scalar*>(kernel); }

} // namespace horovod_tensorflow

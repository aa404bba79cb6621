/* One operation of a graph (or of eager execution): what it was built with. */

#ifndef HOROVOD_TENSORFLOW_OPERATION_H
#define HOROVOD_TENSORFLOW_OPERATION_H

#include <string>

#include "tensorflow_api.h"

namespace horovod_tensorflow {

enum class Kind { kAllreduce, kAllgather, kBroadcast, kAlltoall, kReducescatter, kJoin, kBarrier };

/* A kernel. TensorFlow keeps it until its last call is done. */
struct Operation {
  Kind kind = Kind::kAllreduce;
  std::string name; /* what ranks know it by: the name of its node */
  int reduce_op = 0;
  int root_rank = 0;
  int process_set = 0;
  double prescale = 1.0;
  double postscale = 1.0;
};

/* Reads the attributes that `kind` has. A failure is reported to TensorFlow. */
Operation* new_operation(Kind kind, TF_OpKernelConstruction* construction);

/* Starts the operation; `done` is called when it is done, in another thread as a rule. */
void start(Operation* operation, TF_OpKernelContext* context, TF_AsyncOpKernelDoneCallback* done);

/* A status that deletes itself. */
class Status {
public:
  Status() : status_(tensorflow().TF_NewStatus()) {}
  ~Status() { tensorflow().TF_DeleteStatus(status_); }
  Status(const Status&) = delete;
  Status& operator=(const Status&) = delete;
  operator TF_Status*() const { return status_; }
  bool ok() const { return tensorflow().TF_GetCode(status_) == TF_OK; }
  void set(int code, const std::string& message) {
    tensorflow().TF_SetStatus(status_, code, message.c_str());
  }

private:
  TF_Status* status_;
};

} // namespace horovod_tensorflow

#endif

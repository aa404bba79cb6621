/* The operation HorovodSelfTest, by which the Python side learns whether the library works here. */

#ifndef HOROVOD_TENSORFLOW_SELF_TEST_H
#define HOROVOD_TENSORFLOW_SELF_TEST_H

#include "tensorflow_api.h"

namespace horovod_tensorflow {

void* new_self_test(TF_OpKernelConstruction* construction);
void compute_self_test(void* kernel, TF_OpKernelContext* context,
                       TF_AsyncOpKernelDoneCallback* done);
void delete_self_test(void* kernel);

} // namespace horovod_tensorflow

#endif

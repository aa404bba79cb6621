/* The operations that answer with one number. */

#ifndef HOROVOD_TENSORFLOW_SCALARS_H
#define HOROVOD_TENSORFLOW_SCALARS_H

#include "tensorflow_api.h"

namespace horovod_tensorflow {

enum class Number { kSize, kIncluded, kLocalSize, kRank, kLocalRank };

void* new_scalar(Number number, TF_OpKernelConstruction* construction);
void compute_scalar(void* kernel, TF_OpKernelContext* context);
void delete_scalar(void* kernel);

} // namespace horovod_tensorflow

#endif

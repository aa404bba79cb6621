/* Horovod's core library as the operations see it: its C interface, found at run time. */

#ifndef HOROVOD_TENSORFLOW_CORE_H
#define HOROVOD_TENSORFLOW_CORE_H

#include "../core/horovod_c.h"

#define HOROVOD_CORE_FUNCTIONS(F)                                                                  \
  F(horovod_abi_version)                                                                           \
  F(horovod_last_error)                                                                            \
  F(horovod_dtype_size)                                                                            \
  F(horovod_allreduce)                                                                             \
  F(horovod_allgather)                                                                             \
  F(horovod_broadcast)                                                                             \
  F(horovod_alltoall)                                                                              \
  F(horovod_reducescatter)                                                                         \
  F(horovod_join)                                                                                  \
  F(horovod_barrier)                                                                               \
  F(horovod_then)                                                                                  \
  F(horovod_output)                                                                                \
  F(horovod_received_splits)                                                                       \
  F(horovod_take)                                                                                  \
  F(horovod_free)                                                                                  \
  F(horovod_release)                                                                               \
  F(horovod_is_initialized)                                                                        \
  F(horovod_rank)                                                                                  \
  F(horovod_local_rank)                                                                            \
  F(horovod_local_size)                                                                            \
  F(horovod_process_set_size)                                                                      \
  F(horovod_process_set_included)

namespace horovod_tensorflow {

struct Core {
#define HOROVOD_MEMBER(name) decltype(&::name) name;
  HOROVOD_CORE_FUNCTIONS(HOROVOD_MEMBER)
#undef HOROVOD_MEMBER
};

/* The connected core, or NULL before horovod_tensorflow_connect. */
const Core* core();

} // namespace horovod_tensorflow

extern "C" {

/* Connects the operations with the core library, once. Returns "" or what is wrong. */
__attribute__((visibility("default"))) const char* horovod_tensorflow_connect(
    const char* library_path);

/* How many collectives this process has started. */
__attribute__((visibility("default"))) int64_t horovod_tensorflow_started(void);

/* Why no operations were registered when the library was loaded; "" if they were. */
__attribute__((visibility("default"))) const char* horovod_tensorflow_error(void);
}

#endif

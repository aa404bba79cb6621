/* The C interface of Horovod's core library, libhorovod.so.

   The library knows neither Python nor a framework. It needs only the C and C++ standard
   libraries, exports the functions declared here (all named horovod_*) and nothing else, and finds
   MPI when it runs. Anything that can call C can use it: ctypes, cffi, a TensorFlow op library,
   jax.ffi.

   Place. The wheel has the library at horovod/lib/libhorovod.so and this file at
   horovod/lib/horovod_c.h. There is one library for every MPI: Open MPI 4 and 5, MPICH and what
   shares its ABI (Intel MPI, MVAPICH, Cray), and the MPI 5 ABI. It is told apart when MPI is first
   needed, so the Python side has nothing to choose:

       path = os.environ.get("HOROVOD_LIBRARY") or <folder of the horovod package>/lib/libhorovod.so
       library = ctypes.CDLL(path, mode=ctypes.RTLD_LOCAL)
       assert library.horovod_abi_version() == 1

   If CDLL raises OSError, the wheel is one for another platform. The Python side should then say so
   in one line. On musl ("libc.so.6: cannot open" or "Error relocating"): "this wheel of Horovod is
   built for glibc, and this Python runs on musl: use a glibc image (Debian, Ubuntu, ...) or build
   from source here". On another processor ("wrong ELF class", "cannot open shared object file",
   "Exec format"): "this wheel of Horovod is built for PROCESSOR, and this machine is
   platform.machine(): install the wheel for it". HOROVOD_LIBRARY names another build.

   Versions. HOROVOD_C_ABI_VERSION changes when a program compiled for the old interface would break.
   New functions are added at any time without a change of it: look one up before calling it if an
   older library must work too.

   Threads. Every function may be called from any thread, except init and shutdown, which must not
   run at the same time as any other call of this library. The enqueue functions (allreduce to
   barrier), poll, output, take, release and error never block and never run foreign code, with two
   exceptions: horovod_then calls the callback at once if the operation is done already, and the
   enqueue functions write the timeline if there is one. wait and finish block, without a lock that
   other calls need: with ctypes use CDLL, which releases the GIL, for these, init and shutdown; PyDLL
   is right and faster for the others. A process forked after init must not call the library.

   Memory. The structs, shapes, splits and names that are passed in are copied before the call
   returns. The buffers data and out are not: they must stay where they are, and data unchanged, until
   the operation is done (wait, finish or poll says so, or the callback runs), even if the handle is
   released before. Outputs that the library allocates belong to the handle until release, unless
   horovod_take hands them to the caller, who returns them with horovod_free. They are aligned to 64
   bytes, and never NULL, not even for an empty output. All buffers are dense and in C order.

   Errors. A function that returns a handle returns a positive number, or a negative one: minus the
   horovod_status. A function that returns a status returns HOROVOD_OK or a positive horovod_status.
   horovod_last_error() is the text of the last failure in the calling thread. An operation that was
   enqueued can still fail, on all ranks alike, because ranks disagree: wait returns the status then,
   and horovod_error(handle) is the text, which holds the values of the ranks that disagree. */

#ifndef HOROVOD_C_H
#define HOROVOD_C_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define HOROVOD_C_ABI_VERSION 1

/* ---- Types ---------------------------------------------------------------------------------- */

enum horovod_dtype {
  HVD_UINT8 = 0,
  HVD_INT8 = 1,
  HVD_UINT16 = 2,
  HVD_INT16 = 3,
  HVD_INT32 = 4,
  HVD_INT64 = 5,
  HVD_FLOAT16 = 6,
  HVD_FLOAT32 = 7,
  HVD_FLOAT64 = 8,
  HVD_BOOL = 9, /* one byte, 0 or 1 */
  HVD_BFLOAT16 = 10
};

/* The values of horovod_reduce_op_average() and its like. For HVD_BOOL, sum and max are "any",
   product and min are "all", and average is an error. Adasum takes floating point other than
   bfloat16. reducescatter knows average and sum alone. */
enum horovod_reduce_op {
  HVD_AVERAGE = 0,
  HVD_SUM = 1,
  HVD_ADASUM = 2,
  HVD_MIN = 3,
  HVD_MAX = 4,
  HVD_PRODUCT = 5
};

enum horovod_status {
  HOROVOD_OK = 0,
  HOROVOD_UNKNOWN_ERROR = 1,      /* Horovod was shut down, or communication broke: HorovodInternalError */
  HOROVOD_PRECONDITION_ERROR = 2, /* not initialized; ranks disagree: RuntimeError */
  HOROVOD_ABORTED = 3,            /* RuntimeError */
  HOROVOD_INVALID_ARGUMENT = 4,   /* ValueError */
  HOROVOD_IN_PROGRESS = 5         /* wait gave up; the operation goes on */
};

/* One tensor. sizeof is 64.

   out is where the result goes; it may be data itself. NULL lets the library allocate the output,
   which horovod_output then gives. allgather and alltoall, whose output's size the caller cannot
   know, take NULL alone. broadcast reads data on the root rank alone and writes out on all others;
   on the root out may be NULL, equal to data, or a buffer to copy to.

   device is -1 for memory of the CPU, or the number that CUDA gives a GPU in this process; all tensors
   of a call are on the same device, and on all ranks on CPUs or on all ranks on GPUs. For a GPU stream is
   the caller's cudaStream_t (NULL: the default stream), the same for all tensors of a call. data is
   read when what was queued on it before the call is done, or when event, a cudaEvent_t, is. See "GPUs"
   below. */
typedef struct horovod_tensor {
  const void* data;
  void* out;
  const int64_t* shape; /* ndim numbers; may be NULL if ndim is 0 */
  int32_t ndim;
  int32_t dtype;  /* horovod_dtype */
  int32_t device; /* -1, or a GPU */
  int32_t flags;  /* 0 */
  void* stream;   /* NULL */
  void* event;    /* NULL */
  void* reserved; /* NULL */
} horovod_tensor;

typedef int64_t horovod_handle;

/* Runs once when the operation is done: in the library's background thread, or in the thread that
   calls horovod_then if it is done already. message is "" if status is HOROVOD_OK; it is valid during
   the call. The callback may call output, take, received_splits, error, release and the enqueue
   functions. It must not wait, must not throw, and should be short: all other operations wait for
   it. A callback of ctypes takes the GIL in the background thread, so that a thread which blocks
   with the GIL held can then stop all communication. */
typedef void (*horovod_callback)(horovod_handle handle, int status, const char* message,
                                 void* argument);

/* ---- The library ----------------------------------------------------------------------------- */

/* HOROVOD_C_ABI_VERSION of the library that was loaded. */
int horovod_abi_version(void);

/* "0.28.1", upstream's release that the core is made from. */
const char* horovod_core_version(void);

/* The text of the last failure in this thread; "" if there was none. Valid until the next one. */
const char* horovod_last_error(void);

/* Whether an element type is supported; its size in bytes, or 0. Its name ("float32"), or NULL. */
int64_t horovod_dtype_size(int dtype);
const char* horovod_dtype_name(int dtype);

/* The file name of the MPI library in use (or the one that would be used), or NULL if there is none.
   Looks for it and loads it, but does not start MPI. */
const char* horovod_mpi_library(void);

/* What it is: "Open MPI", "MPICH", "MPI ABI", or "" without MPI. */
const char* horovod_mpi_name(void);

/* Why there is no MPI: one line that names what was looked for and the fix. "" if there is one. */
const char* horovod_mpi_error(void);

/* ---- Operations ------------------------------------------------------------------------------

   Each takes n >= 1 tensors, gives one handle for all of them, and must be called with the same
   names, dtypes and operations, in any order, on all ranks of the process set (0: all ranks). n > 1 is
   the grouped form: all tensors are done in the same cycle, allreduce, allgather and reducescatter
   also as one group (upstream's grouped_*). The handle is done when the last of them is.

   name identifies the operation across ranks; two operations in flight must not share one. With n > 1
   the tensors are called name_1ofN, name_2ofN, ... NULL or "" makes the operation nameless: it is then
   called by a count of its own for each kind of operation and process set, so all ranks must call
   nameless operations of one kind in the same order. horovod_join starts the counts again, so ranks
   that ran unequally many before it agree again after it; so does horovod_init.

   prescale and postscale multiply before and after the reduction (1.0 for none; integers are
   rounded toward zero). */

horovod_handle horovod_allreduce(const horovod_tensor* tensors, int n, const char* name,
                                 int reduce_op, double prescale, double postscale,
                                 int process_set);

/* Concatenates along the first dimension, which may differ between ranks. A 0-dimensional tensor is
   an error. */
horovod_handle horovod_allgather(const horovod_tensor* tensors, int n, const char* name,
                                 int process_set);

/* root_rank counts in the global process set. */
horovod_handle horovod_broadcast(const horovod_tensor* tensors, int n, const char* name,
                                 int root_rank, int process_set);

/* Sends splits[i * size + r] rows of tensor i to rank r of the process set, whose size is `size`.
   splits NULL: equal parts; the first dimension must then be a multiple of size. num_splits is n * size
   or 0. */
horovod_handle horovod_alltoall(const horovod_tensor* tensors, int n, const int32_t* splits,
                                int num_splits, const char* name, int process_set);

/* Reduces and leaves to rank r the r-th part of the first dimension; the first ranks get one row more
   if it is no multiple of size. With an out of the caller's its size must be that. */
horovod_handle horovod_reducescatter(const horovod_tensor* tensors, int n, const char* name,
                                     int reduce_op, double prescale, double postscale,
                                     int process_set);

/* Says that this rank has no more data; done when all ranks have joined. Meanwhile it takes part in
   the others' allreduces with zeros. Output 0 is an int32 without dimensions: the rank that joined
   last. device has no effect: the zeros are where the others' tensors are. */
horovod_handle horovod_join(int device, int process_set);

/* Done when all ranks of the process set have called it. */
horovod_handle horovod_barrier(int process_set);

/* ---- GPUs --------------------------------------------------------------------------------------

   The CUDA runtime and NCCL are looked for when a tensor on a GPU is first given: what
   HOROVOD_CUDART_LIBRARY and HOROVOD_NCCL_LIBRARY name, what the process has loaded, what pip has put
   beside Horovod, the system's library path. Without NCCL, with two ranks on one GPU, or for what NCCL
   cannot do (Adasum, 16-bit integers, scaled integers), data goes through the host's memory; a warning says
   so once. HOROVOD_GPU_TRANSPORT=host or nccl overrides that. Tensors in a stream that is being captured
   into a CUDA graph are refused.

   An operation on a GPU counts as done when it has been queued there. horovod_wait and horovod_finish
   order it before what the caller queues on its stream from then on; the host does not wait for the
   GPU. Who uses poll or then, or another stream, calls horovod_order. The memory behind data and out
   may be freed in the order of a stream that has been ordered so. horovod_take gives NULL: outputs that
   the library allocated are copied out by horovod_copy_output. */

/* The file name of the library in use (or the one that would be used), or NULL; why there is none, or
   "". Looks for it and loads it. */
const char* horovod_cuda_library(void);
const char* horovod_cuda_error(void);
const char* horovod_nccl_library(void);
const char* horovod_nccl_error(void);

/* Orders an operation that is done before what is queued on `stream` from now on. Nothing for the CPU. */
int horovod_order(horovod_handle handle, void* stream);

/* Queues a copy of output i to `to`, memory of the same GPU, on `stream`, in the right order. */
int horovod_copy_output(horovod_handle handle, int i, void* to, void* stream);

/* ---- Handles --------------------------------------------------------------------------------- */

/* 1 when done (well or not), 0 when not, minus HOROVOD_INVALID_ARGUMENT for no such handle. */
int horovod_poll(horovod_handle handle);

/* Waits until done, at most `seconds` (negative: without limit). The operation's status, or
   HOROVOD_IN_PROGRESS. */
int horovod_wait(horovod_handle handle, double seconds);

/* wait and, unless that is HOROVOD_IN_PROGRESS, release, in one call. After a failure the text is in
   horovod_last_error(). For operations whose outputs are all the caller's own. */
int horovod_finish(horovod_handle handle, double seconds);

/* Has `callback(handle, status, message, argument)` called once when done. A handle can have several.
   It must not be released before the callback ran, other than in the callback itself. */
int horovod_then(horovod_handle handle, horovod_callback callback, void* argument);

/* Output i: its data, shape and number of dimensions, for every operation that succeeded, also where the
   caller gave `out`. Each of data, shape and ndim may be NULL. Valid until release. */
int horovod_output(horovod_handle handle, int i, void** data, const int64_t** shape, int* ndim);

/* The rows that alltoall number i received from each rank; *num_splits is the process set's size. */
int horovod_received_splits(horovod_handle handle, int i, const int32_t** splits, int* num_splits);

/* Gives output i, which the library allocated, to the caller, so that it outlives the handle. NULL if
   the output is the caller's already, or was taken. horovod_free(NULL) does nothing; the C library's
   free does the same. */
void* horovod_take(horovod_handle handle, int i);
void horovod_free(void* data);

/* The text of a failed operation, "" otherwise. Valid until release. */
const char* horovod_error(horovod_handle handle);

/* Forgets a handle and frees the outputs not taken. An operation under way goes on without it, and its
   buffers are still needed. */
int horovod_release(horovod_handle handle);

/* ---- What horovod/common/basics.py has always called -------------------------------------------

   Signatures are upstream's; see its documentation of the Python functions of the same names. */

/* Starts Horovod and waits until it runs; false after a failure, whose text is in horovod_last_error()
   and in the log. ranks NULL or nranks 0: all ranks. The controller is HOROVOD_CONTROLLER's (mpi or
   gloo); unset, it is MPI where an MPI launcher started this process or MPI is initialized already, else
   Gloo. A process without a launcher becomes the one rank of its own. */
bool horovod_init(const int* ranks, int nranks, const int* process_set_ranks,
                  const int* process_set_sizes, int num_process_sets);
/* comms: an array of MPI_Comm as the MPI library in use has them (mpi4py's MPI._addressof). */
bool horovod_init_multi_comm(void* comms, int ncomms, const int* process_set_ranks_via_ranks,
                             const int* process_set_sizes_via_ranks,
                             int num_process_sets_via_ranks);
void horovod_shutdown(void);
int horovod_is_initialized(void);

int horovod_rank(void); /* these: -1 if not initialized */
int horovod_size(void);
int horovod_local_rank(void);
int horovod_local_size(void);
int horovod_cross_rank(void);
int horovod_cross_size(void);
bool horovod_is_homogeneous(void);

int horovod_start_timeline(const char* file_name, bool mark_cycles); /* -1: not initialized; -2: off */
int horovod_stop_timeline(void);

int horovod_mpi_threads_supported(void);
bool horovod_mpi_enabled(void); /* in use by this process */
bool horovod_mpi_built(void);   /* an MPI library can be loaded: asked when called */
bool horovod_gloo_enabled(void);
bool horovod_gloo_built(void);
int horovod_nccl_built(void);
bool horovod_ddl_built(void);
bool horovod_ccl_built(void);
bool horovod_cuda_built(void);
bool horovod_rocm_built(void);

int horovod_reduce_op_average(void);
int horovod_reduce_op_sum(void);
int horovod_reduce_op_adasum(void);
int horovod_reduce_op_min(void);
int horovod_reduce_op_max(void);
int horovod_reduce_op_product(void);

/* Process sets; errors are -1 not initialized, -2 needs HOROVOD_DYNAMIC_PROCESS_SETS=1, -3 unknown set,
   -4 this process is no member, -5 shutting down, -6 exists already. */
int horovod_add_process_set(const int* ranks, int nranks);
int horovod_remove_process_set(int process_set_id);
int horovod_process_set_rank(int process_set_id);
int horovod_process_set_size(int process_set_id);
int horovod_process_set_included(int process_set_id);
int horovod_number_of_process_sets(void);
void horovod_process_set_ids(int* ids_prealloc);
int horovod_process_set_ranks(int id, int* ranks_prealloc);
/* comm: an MPI_Comm by value (a pointer, or an int under MPICH). */
int horovod_comm_process_set(void* comm);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif

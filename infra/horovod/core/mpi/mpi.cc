// The MPI functions of mpi.h, each a call into the library that loader.cc found.

#include "mpi.h"

#include "loader.h"

#if !(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && __SIZEOF_POINTER__ == 8)
#error "mpi.cc passes MPICH's 32-bit handles in 64-bit registers: little-endian 64-bit machines only"
#endif

hvd_mpi_constants hvd_mpi;

namespace {

using horovod::core::MPIFunction;

template <typename H> H OrNull(H handle, H null) { return handle ? handle : null; }
template <typename H> H FromNull(H handle, H null) { return handle == null ? H{} : handle; }

MPI_Comm In(MPI_Comm comm) { return OrNull(comm, hvd_mpi.comm_null); }
MPI_Datatype In(MPI_Datatype type) { return OrNull(type, hvd_mpi.datatype_null); }
MPI_Op In(MPI_Op op) { return OrNull(op, hvd_mpi.op_null); }
MPI_Info In(MPI_Info info) { return OrNull(info, hvd_mpi.info_null); }

} // namespace

// The library's function of the same name, looked up once. Handles are 64 bits wide here. An
// implementation with integer handles reads the lower half of the register or stack slot (x86-64 and
// AArch64 both leave the upper half unspecified), and an out parameter that starts as 0 has the right
// value after its lower half was written.
#define CALL(name) \
  static const auto function = reinterpret_cast<decltype(&MPI_##name)>(MPIFunction("MPI_" #name))

int MPI_Init(int* argc, char*** argv) {
  CALL(Init);
  return function(argc, argv);
}

int MPI_Init_thread(int* argc, char*** argv, int required, int* provided) {
  CALL(Init_thread);
  return function(argc, argv, required, provided);
}

int MPI_Initialized(int* flag) {
  CALL(Initialized);
  return function(flag);
}

int MPI_Finalized(int* flag) {
  CALL(Finalized);
  return function(flag);
}

int MPI_Finalize() {
  CALL(Finalize);
  return function();
}

int MPI_Query_thread(int* provided) {
  CALL(Query_thread);
  return function(provided);
}

int MPI_Comm_rank(MPI_Comm comm, int* rank) {
  CALL(Comm_rank);
  return function(In(comm), rank);
}

int MPI_Comm_size(MPI_Comm comm, int* size) {
  CALL(Comm_size);
  return function(In(comm), size);
}

int MPI_Comm_dup(MPI_Comm comm, MPI_Comm* result) {
  CALL(Comm_dup);
  MPI_Comm out{};
  int code = function(In(comm), &out);
  *result = FromNull(out, hvd_mpi.comm_null);
  return code;
}

int MPI_Comm_split(MPI_Comm comm, int color, int key, MPI_Comm* result) {
  CALL(Comm_split);
  MPI_Comm out{};
  int code = function(In(comm), color, key, &out);
  *result = FromNull(out, hvd_mpi.comm_null);
  return code;
}

int MPI_Comm_split_type(MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm* result) {
  CALL(Comm_split_type);
  MPI_Comm out{};
  int code = function(In(comm), type, key, In(info), &out);
  *result = FromNull(out, hvd_mpi.comm_null);
  return code;
}

int MPI_Comm_create_group(MPI_Comm comm, MPI_Group group, int tag, MPI_Comm* result) {
  CALL(Comm_create_group);
  MPI_Comm out{};
  int code = function(In(comm), group, tag, &out);
  *result = FromNull(out, hvd_mpi.comm_null);
  return code;
}

int MPI_Comm_free(MPI_Comm* comm) {
  CALL(Comm_free);
  int code = function(comm);
  *comm = MPI_COMM_NULL;
  return code;
}

int MPI_Comm_group(MPI_Comm comm, MPI_Group* result) {
  CALL(Comm_group);
  *result = {};
  return function(In(comm), result);
}

int MPI_Group_size(MPI_Group group, int* size) {
  CALL(Group_size);
  return function(group, size);
}

int MPI_Group_incl(MPI_Group group, int n, const int* ranks, MPI_Group* result) {
  CALL(Group_incl);
  *result = {};
  return function(group, n, ranks, result);
}

int MPI_Group_difference(MPI_Group one, MPI_Group two, MPI_Group* result) {
  CALL(Group_difference);
  *result = {};
  return function(one, two, result);
}

int MPI_Group_translate_ranks(MPI_Group one, int n, const int* ranks, MPI_Group two, int* result) {
  CALL(Group_translate_ranks);
  return function(one, n, ranks, two, result);
}

int MPI_Group_free(MPI_Group* group) {
  CALL(Group_free);
  return function(group);
}

int MPI_Type_contiguous(int count, MPI_Datatype type, MPI_Datatype* result) {
  CALL(Type_contiguous);
  *result = {};
  return function(count, In(type), result);
}

int MPI_Type_commit(MPI_Datatype* type) {
  CALL(Type_commit);
  return function(type);
}

int MPI_Type_free(MPI_Datatype* type) {
  CALL(Type_free);
  int code = function(type);
  *type = MPI_DATATYPE_NULL;
  return code;
}

int MPI_Type_size(MPI_Datatype type, int* size) {
  CALL(Type_size);
  return function(In(type), size);
}

int MPI_Op_create(MPI_User_function* user_function, int commute, MPI_Op* result) {
  CALL(Op_create);
  *result = {};
  return function(user_function, commute, result);
}

int MPI_Op_free(MPI_Op* op) {
  CALL(Op_free);
  int code = function(op);
  *op = MPI_OP_NULL;
  return code;
}

int MPI_Barrier(MPI_Comm comm) {
  CALL(Barrier);
  return function(In(comm));
}

int MPI_Bcast(void* buffer, int count, MPI_Datatype type, int root, MPI_Comm comm) {
  CALL(Bcast);
  return function(buffer, count, In(type), root, In(comm));
}

int MPI_Allreduce(const void* send, void* recv, int count, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm) {
  CALL(Allreduce);
  return function(send, recv, count, In(type), In(op), In(comm));
}

int MPI_Iallreduce(const void* send, void* recv, int count, MPI_Datatype type, MPI_Op op,
                   MPI_Comm comm, MPI_Request* request) {
  CALL(Iallreduce);
  *request = {};
  return function(send, recv, count, In(type), In(op), In(comm), request);
}

int MPI_Test(MPI_Request* request, int* flag, MPI_Status* status) {
  CALL(Test);
  return function(request, flag, status);
}

int MPI_Reduce_scatter(const void* send, void* recv, const int* counts, MPI_Datatype type,
                       MPI_Op op, MPI_Comm comm) {
  CALL(Reduce_scatter);
  return function(send, recv, counts, In(type), In(op), In(comm));
}

int MPI_Gather(const void* send, int send_count, MPI_Datatype send_type, void* recv,
               int recv_count, MPI_Datatype recv_type, int root, MPI_Comm comm) {
  CALL(Gather);
  return function(send, send_count, In(send_type), recv, recv_count, In(recv_type), root, In(comm));
}

int MPI_Gatherv(const void* send, int send_count, MPI_Datatype send_type, void* recv,
                const int* recv_counts, const int* displacements, MPI_Datatype recv_type, int root,
                MPI_Comm comm) {
  CALL(Gatherv);
  return function(send, send_count, In(send_type), recv, recv_counts, displacements, In(recv_type),
                  root, In(comm));
}

int MPI_Allgather(const void* send, int send_count, MPI_Datatype send_type, void* recv,
                  int recv_count, MPI_Datatype recv_type, MPI_Comm comm) {
  CALL(Allgather);
  return function(send, send_count, In(send_type), recv, recv_count, In(recv_type), In(comm));
}

int MPI_Allgatherv(const void* send, int send_count, MPI_Datatype send_type, void* recv,
                   const int* recv_counts, const int* displacements, MPI_Datatype recv_type,
                   MPI_Comm comm) {
  CALL(Allgatherv);
  return function(send, send_count, In(send_type), recv, recv_counts, displacements, In(recv_type),
                  In(comm));
}

int MPI_Alltoall(const void* send, int send_count, MPI_Datatype send_type, void* recv,
                 int recv_count, MPI_Datatype recv_type, MPI_Comm comm) {
  CALL(Alltoall);
  return function(send, send_count, In(send_type), recv, recv_count, In(recv_type), In(comm));
}

int MPI_Alltoallv(const void* send, const int* send_counts, const int* send_displacements,
                  MPI_Datatype send_type, void* recv, const int* recv_counts,
                  const int* recv_displacements, MPI_Datatype recv_type, MPI_Comm comm) {
  CALL(Alltoallv);
  return function(send, send_counts, send_displacements, In(send_type), recv, recv_counts,
                  recv_displacements, In(recv_type), In(comm));
}

int MPI_Sendrecv(const void* send, int send_count, MPI_Datatype send_type, int dest, int send_tag,
                 void* recv, int recv_count, MPI_Datatype recv_type, int source, int recv_tag,
                 MPI_Comm comm, MPI_Status* status) {
  CALL(Sendrecv);
  return function(send, send_count, In(send_type), dest, send_tag, recv, recv_count,
                  In(recv_type), source, recv_tag, In(comm), status);
}

int MPI_Win_allocate_shared(MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, void* base,
                            MPI_Win* win) {
  CALL(Win_allocate_shared);
  *win = {};
  return function(size, unit, In(info), In(comm), base, win);
}

int MPI_Win_shared_query(MPI_Win win, int rank, MPI_Aint* size, int* unit, void* base) {
  CALL(Win_shared_query);
  return function(win, rank, size, unit, base);
}

int MPI_Win_fence(int assertion, MPI_Win win) {
  CALL(Win_fence);
  return function(assertion, win);
}

int MPI_Win_free(MPI_Win* win) {
  CALL(Win_free);
  return function(win);
}

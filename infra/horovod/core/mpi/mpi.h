/* The part of MPI that Horovod's core uses, without an MPI library at compile time.

   The core is compiled against this file in place of an MPI implementation's mpi.h. Each function is
   defined in mpi.cc and calls the library that was found when the program runs; each constant is what
   that library says it is. One binary therefore works with Open MPI (handles are pointers), with MPICH
   and its relatives (handles are integers) and with the ABI of MPI 5 (small numbers as pointers).

   A handle is as wide as a pointer here. The null handles are 0 in every case, so that static
   objects can be initialized with them before a library is loaded; mpi.cc translates. */

#ifndef HOROVOD_CORE_MPI_H
#define HOROVOD_CORE_MPI_H

#include <stddef.h>
#include <stdint.h>

typedef struct hvd_mpi_comm* MPI_Comm;
typedef struct hvd_mpi_group* MPI_Group;
typedef struct hvd_mpi_datatype* MPI_Datatype;
typedef struct hvd_mpi_op* MPI_Op;
typedef struct hvd_mpi_request* MPI_Request;
typedef struct hvd_mpi_info* MPI_Info;
typedef struct hvd_mpi_win* MPI_Win;
typedef struct hvd_mpi_status MPI_Status;
typedef ptrdiff_t MPI_Aint;
typedef void MPI_User_function(void*, void*, int*, MPI_Datatype*);

/* The constants of the library in use; all 0 before one is loaded. */
struct hvd_mpi_constants {
  MPI_Comm comm_world, comm_null;
  MPI_Group group_empty, group_null;
  MPI_Datatype datatype_null, byte_, int_, unsigned_long, long_long, float_, double_, c_bool;
  MPI_Datatype int8, uint8, int16, uint16, int32, int64;
  MPI_Op op_null, sum, min, max, prod, band, bor;
  MPI_Request request_null;
  MPI_Info info_null;
  MPI_Win win_null;
  void* in_place;
  MPI_Status* status_ignore;
  int comm_type_shared, thread_single, thread_multiple;
};
extern hvd_mpi_constants hvd_mpi;

#define MPI_SUCCESS 0
#define MPI_COMM_NULL ((MPI_Comm)0)
#define MPI_DATATYPE_NULL ((MPI_Datatype)0)
#define MPI_OP_NULL ((MPI_Op)0)
#define MPI_INFO_NULL ((MPI_Info)0)
#define MPI_COMM_WORLD (hvd_mpi.comm_world)
#define MPI_GROUP_EMPTY (hvd_mpi.group_empty)
#define MPI_BYTE (hvd_mpi.byte_)
#define MPI_INT (hvd_mpi.int_)
#define MPI_UNSIGNED_LONG (hvd_mpi.unsigned_long)
#define MPI_LONG_LONG_INT (hvd_mpi.long_long)
#define MPI_FLOAT (hvd_mpi.float_)
#define MPI_DOUBLE (hvd_mpi.double_)
#define MPI_C_BOOL (hvd_mpi.c_bool)
#define MPI_INT8_T (hvd_mpi.int8)
#define MPI_UINT8_T (hvd_mpi.uint8)
#define MPI_INT16_T (hvd_mpi.int16)
#define MPI_UINT16_T (hvd_mpi.uint16)
#define MPI_INT32_T (hvd_mpi.int32)
#define MPI_INT64_T (hvd_mpi.int64)
#define MPI_SUM (hvd_mpi.sum)
#define MPI_MIN (hvd_mpi.min)
#define MPI_MAX (hvd_mpi.max)
#define MPI_PROD (hvd_mpi.prod)
#define MPI_BAND (hvd_mpi.band)
#define MPI_BOR (hvd_mpi.bor)
#define MPI_IN_PLACE (hvd_mpi.in_place)
#define MPI_STATUS_IGNORE (hvd_mpi.status_ignore)
#define MPI_COMM_TYPE_SHARED (hvd_mpi.comm_type_shared)
#define MPI_THREAD_SINGLE (hvd_mpi.thread_single)
#define MPI_THREAD_MULTIPLE (hvd_mpi.thread_multiple)

int MPI_Init(int* argc, char*** argv);
int MPI_Init_thread(int* argc, char*** argv, int required, int* provided);
int MPI_Initialized(int* flag);
int MPI_Finalized(int* flag);
int MPI_Finalize();
int MPI_Query_thread(int* provided);

int MPI_Comm_rank(MPI_Comm comm, int* rank);
int MPI_Comm_size(MPI_Comm comm, int* size);
int MPI_Comm_dup(MPI_Comm comm, MPI_Comm* result);
int MPI_Comm_split(MPI_Comm comm, int color, int key, MPI_Comm* result);
int MPI_Comm_split_type(MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm* result);
int MPI_Comm_create_group(MPI_Comm comm, MPI_Group group, int tag, MPI_Comm* result);
int MPI_Comm_free(MPI_Comm* comm);
int MPI_Comm_group(MPI_Comm comm, MPI_Group* result);

int MPI_Group_size(MPI_Group group, int* size);
int MPI_Group_incl(MPI_Group group, int n, const int* ranks, MPI_Group* result);
int MPI_Group_difference(MPI_Group one, MPI_Group two, MPI_Group* result);
int MPI_Group_translate_ranks(MPI_Group one, int n, const int* ranks, MPI_Group two, int* result);
int MPI_Group_free(MPI_Group* group);

int MPI_Type_contiguous(int count, MPI_Datatype type, MPI_Datatype* result);
int MPI_Type_commit(MPI_Datatype* type);
int MPI_Type_free(MPI_Datatype* type);
int MPI_Type_size(MPI_Datatype type, int* size);
int MPI_Op_create(MPI_User_function* function, int commute, MPI_Op* result);
int MPI_Op_free(MPI_Op* op);

int MPI_Barrier(MPI_Comm comm);
int MPI_Bcast(void* buffer, int count, MPI_Datatype type, int root, MPI_Comm comm);
int MPI_Allreduce(const void* send, void* recv, int count, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm);
int MPI_Iallreduce(const void* send, void* recv, int count, MPI_Datatype type, MPI_Op op,
                   MPI_Comm comm, MPI_Request* request);
int MPI_Test(MPI_Request* request, int* flag, MPI_Status* status);
int MPI_Reduce_scatter(const void* send, void* recv, const int* counts, MPI_Datatype type,
                       MPI_Op op, MPI_Comm comm);
int MPI_Gather(const void* send, int send_count, MPI_Datatype send_type, void* recv,
               int recv_count, MPI_Datatype recv_type, int root, MPI_Comm comm);
int MPI_Gatherv(const void* send, int send_count, MPI_Datatype send_type, void* recv,
                const int* recv_counts, const int* displacements, MPI_Datatype recv_type, int root,
                MPI_Comm comm);
int MPI_Allgather(const void* send, int send_count, MPI_Datatype send_type, void* recv,
                  int recv_count, MPI_Datatype recv_type, MPI_Comm comm);
int MPI_Allgatherv(const void* send, int send_count, MPI_Datatype send_type, void* recv,
                   const int* recv_counts, const int* displacements, MPI_Datatype recv_type,
                   MPI_Comm comm);
int MPI_Alltoall(const void* send, int send_count, MPI_Datatype send_type, void* recv,
                 int recv_count, MPI_Datatype recv_type, MPI_Comm comm);
int MPI_Alltoallv(const void* send, const int* send_counts, const int* send_displacements,
                  MPI_Datatype send_type, void* recv, const int* recv_counts,
                  const int* recv_displacements, MPI_Datatype recv_type, MPI_Comm comm);
int MPI_Sendrecv(const void* send, int send_count, MPI_Datatype send_type, int dest, int send_tag,
                 void* recv, int recv_count, MPI_Datatype recv_type, int source, int recv_tag,
                 MPI_Comm comm, MPI_Status* status);

int MPI_Win_allocate_shared(MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, void* base,
                            MPI_Win* win);
int MPI_Win_shared_query(MPI_Win win, int rank, MPI_Aint* size, int* unit, void* base);
int MPI_Win_fence(int assertion, MPI_Win win);
int MPI_Win_free(MPI_Win* win);

#endif

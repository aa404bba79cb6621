#include "collectives.h"

#include <algorithm>
#include <cstring>

#include "device.h"
#include "horovod/common/ops/collective_operations.h"
#include "loader.h"

namespace horovod {
namespace core {
namespace {

using common::DataType;
using common::ReduceOp;
using common::Response;
using common::Status;
using common::TensorShape;

// NCCL runs what was called between these two together. Without the end the next call would hang.
class Group {
public:
  Group() { CheckNccl(Nccl().GroupStart(), "ncclGroupStart"); }
  ~Group() {
    if (open_) {
      Nccl().GroupEnd();
    }
  }
  void End() {
    open_ = false;
    CheckNccl(Nccl().GroupEnd(), "ncclGroupEnd");
  }

private:
  bool open_ = true;
};

bool HasType(DataType dtype) {
  return dtype != common::HOROVOD_UINT16 && dtype != common::HOROVOD_INT16;
}

bool IsFloating(DataType dtype) {
  return dtype == common::HOROVOD_FLOAT16 || dtype == common::HOROVOD_FLOAT32 ||
         dtype == common::HOROVOD_FLOAT64 || dtype == common::HOROVOD_BFLOAT16;
}

bool IsReduction(const Response& response) {
  return response.response_type() == Response::ALLREDUCE ||
         response.response_type() == Response::REDUCESCATTER;
}

// A reducescatter's response has no operation: it is a sum, whose factor has the average in it.
ReduceOp OpOf(const Response& response) {
  return response.response_type() == Response::ALLREDUCE ? response.reduce_op() : ReduceOp::SUM;
}

int64_t Bytes(const common::TensorTableEntry& entry) { return entry.tensor->size(); }

const char* At(const void* data, int64_t offset) { return static_cast<const char*>(data) + offset; }

void* At(void* data, int64_t offset) { return static_cast<char*>(data) + offset; }

void* Out(const common::TensorTableEntry& entry) {
  return const_cast<void*>(entry.output->data());
}

// The bytes of one row: of what one step along the first dimension covers.
int64_t RowBytes(const common::TensorTableEntry& entry) {
  auto shape = entry.tensor->shape();
  int64_t bytes = static_cast<int64_t>(common::DataType_Size(entry.tensor->dtype()));
  for (int d = 1; d < shape.dims(); ++d) {
    bytes *= shape.dim_size(d);
  }
  return bytes;
}

TensorShape WithRows(const TensorShape& shape, int64_t rows) {
  auto dims = shape.to_vector();
  dims.at(0) = rows;
  return TensorShape(dims);
}

} // namespace

bool NcclCan(const Response& response) {
  if (!IsReduction(response)) {
    return response.response_type() != Response::ADASUM;
  }
  auto op = OpOf(response);
  bool scales = op == ReduceOp::AVERAGE || response.prescale_factor() != 1.0 ||
                response.postscale_factor() != 1.0;
  bool can_scale = IsFloating(response.tensor_type()) &&
                   (op == ReduceOp::AVERAGE || op == ReduceOp::SUM);
  return HasType(response.tensor_type()) && (!scales || can_scale);
}

NcclOperation::NcclOperation(Communicator& communicator, common::ProcessSet& process_set,
                             const Response& response, int device)
    : communicator_(communicator), process_set_(process_set), response_(response),
      rank_(process_set.controller->GetRank()), size_(process_set.controller->GetSize()),
      device_(device), stream_(CommunicationStream(device)) {}

Status NcclOperation::Run(Entries& entries) {
  switch (response_.response_type()) {
  case Response::ALLREDUCE:
    return Allreduce(entries);
  case Response::ALLGATHER:
    return Allgather(entries);
  case Response::BROADCAST:
    return Broadcast(entries);
  case Response::ALLTOALL:
    return Alltoall(entries);
  default:
    return Reducescatter(entries);
  }
}

Status NcclOperation::RunWithZeros(Entries& entries) {
  auto type = Type();
  auto op = Op(type);
  std::vector<MemoryPtr> zeros;
  for (auto& entry : entries) {
    zeros.push_back(std::make_shared<DeviceMemory>(device_, Bytes(entry), false));
    CheckCuda(Cuda().MemsetAsync(zeros.back()->data(), 0, Bytes(entry), stream_),
              "cudaMemsetAsync");
  }
  Group group;
  for (size_t i = 0; i < entries.size(); ++i) {
    auto data = zeros[i]->data();
    CheckNccl(Nccl().AllReduce(data, data, entries[i].tensor->shape().num_elements(), type, op,
                               communicator_.comm, stream_),
              "ncclAllReduce");
  }
  group.End();
  return Status::OK();
}

Status NcclOperation::Allreduce(Entries& entries) {
  auto type = Type();
  auto op = Op(type);
  Group group;
  for (auto& entry : entries) {
    auto count = entry.tensor->shape().num_elements();
    CheckNccl(Nccl().AllReduce(entry.tensor->data(), Out(entry), count, type, op,
                               communicator_.comm, stream_),
              "ncclAllReduce");
  }
  group.End();
  return Status::OK();
}

Status NcclOperation::Allgather(Entries& entries) {
  auto& rows = response_.tensor_sizes(); // by tensor, then by rank
  for (size_t i = 0; i < entries.size(); ++i) {
    auto& entry = entries[i];
    int64_t total = 0;
    for (int rank = 0; rank < size_; ++rank) {
      total += rows[i * size_ + rank];
    }
    auto shape = WithRows(entry.tensor->shape(), total);
    auto status = entry.context->AllocateOutput(entry.output_index, shape, &entry.output);
    if (!status.ok()) {
      return status;
    }
  }
  Group group;
  for (size_t i = 0; i < entries.size(); ++i) {
    GatherOne(entries[i], &rows[i * size_]);
  }
  group.End();
  return Status::OK();
}

void NcclOperation::GatherOne(const Entry& entry, const int64_t* rows) {
  bool equal = std::all_of(rows, rows + size_, [&](int64_t n) { return n == rows[0]; });
  if (equal) {
    CheckNccl(Nccl().AllGather(entry.tensor->data(), Out(entry), Bytes(entry), NCCL_INT8,
                               communicator_.comm, stream_),
              "ncclAllGather");
    return;
  }
  int64_t offset = 0;
  for (int rank = 0; rank < size_; ++rank) {
    int64_t bytes = rows[rank] * RowBytes(entry);
    if (bytes > 0) {
      CheckNccl(Nccl().Broadcast(entry.tensor->data(), At(Out(entry), offset), bytes, NCCL_INT8,
                                 rank, communicator_.comm, stream_),
                "ncclBroadcast");
    }
    offset += bytes;
  }
}

Status NcclOperation::Broadcast(Entries& entries) {
  Group group;
  for (auto& entry : entries) {
    CheckNccl(Nccl().Broadcast(entry.tensor->data(), Out(entry), Bytes(entry), NCCL_INT8,
                               entry.root_rank, communicator_.comm, stream_),
              "ncclBroadcast");
  }
  group.End();
  return Status::OK();
}

Status NcclOperation::Alltoall(Entries& entries) {
  for (auto& entry : entries) {
    std::vector<int32_t> received;
    process_set_.controller->AlltoallGetRecvSplits(entry.splits, received);
    int64_t rows = 0;
    for (auto count : received) {
      rows += count;
    }
    auto shape = WithRows(entry.tensor->shape(), rows);
    auto status = entry.context->AllocateOutput(0, shape, &entry.output);
    if (status.ok()) {
      status = entry.context->AllocateOutput(1, TensorShape({size_}), &entry.received_splits);
    }
    if (!status.ok()) {
      return status;
    }
    std::memcpy(const_cast<void*>(entry.received_splits->data()), received.data(),
                received.size() * sizeof(int32_t));
    auto row = RowBytes(entry);
    int64_t from = 0;
    int64_t to = 0;
    Group group;
    for (int peer = 0; peer < size_; ++peer) {
      int64_t sent = entry.splits[peer] * row;
      int64_t got = received[peer] * row;
      if (sent > 0) {
        CheckNccl(Nccl().Send(At(entry.tensor->data(), from), sent, NCCL_INT8, peer,
                              communicator_.comm, stream_),
                  "ncclSend");
      }
      if (got > 0) {
        CheckNccl(Nccl().Recv(At(Out(entry), to), got, NCCL_INT8, peer, communicator_.comm,
                              stream_),
                  "ncclRecv");
      }
      from += sent;
      to += got;
    }
    group.End();
  }
  return Status::OK();
}

Status NcclOperation::Reducescatter(Entries& entries) {
  auto type = Type();
  auto op = Op(type);
  Group group;
  for (auto& entry : entries) {
    ReducescatterOne(entry, type, op);
  }
  group.End();
  return Status::OK();
}

void NcclOperation::ReducescatterOne(const Entry& entry, NcclType type, int op) {
  auto shape = entry.tensor->shape();
  auto row = shape.dim_size(0) == 0 ? 0 : shape.num_elements() / shape.dim_size(0);
  if (shape.dim_size(0) % size_ == 0) {
    CheckNccl(Nccl().ReduceScatter(entry.tensor->data(), Out(entry),
                                   shape.dim_size(0) / size_ * row, type, op, communicator_.comm,
                                   stream_),
              "ncclReduceScatter");
    return;
  }
  // The first ranks get one row more.
  int64_t offset = 0;
  for (int rank = 0; rank < size_; ++rank) {
    auto rows = common::ReducescatterOp::ComputeOutputShapeForRank(shape, rank, size_).dim_size(0);
    if (rows * row > 0) {
      CheckNccl(Nccl().Reduce(At(entry.tensor->data(), offset), Out(entry), rows * row, type, op,
                              rank, communicator_.comm, stream_),
                "ncclReduce");
    }
    offset += rows * RowBytes(entry);
  }
}

NcclType NcclOperation::Type() const {
  switch (response_.tensor_type()) {
  case common::HOROVOD_INT8:
    return NCCL_INT8;
  case common::HOROVOD_INT32:
    return NCCL_INT32;
  case common::HOROVOD_INT64:
    return NCCL_INT64;
  case common::HOROVOD_FLOAT16:
    return NCCL_FLOAT16;
  case common::HOROVOD_FLOAT32:
    return NCCL_FLOAT32;
  case common::HOROVOD_FLOAT64:
    return NCCL_FLOAT64;
  case common::HOROVOD_BFLOAT16:
    return NCCL_BFLOAT16;
  default: // bool too, whose reductions are those of 0 and 1
    return NCCL_UINT8;
  }
}

int NcclOperation::Op(NcclType type) {
  bool logical = response_.tensor_type() == common::HOROVOD_BOOL;
  double factor = response_.prescale_factor() * response_.postscale_factor();
  switch (OpOf(response_)) {
  case ReduceOp::MIN:
    return NCCL_MIN;
  case ReduceOp::MAX:
    return NCCL_MAX;
  case ReduceOp::PRODUCT:
    return logical ? NCCL_MIN : NCCL_PROD;
  case ReduceOp::AVERAGE:
    return ScaledSum(communicator_, type, factor / size_);
  default:
    return logical ? NCCL_MAX
           : factor == 1.0 ? NCCL_SUM
                           : ScaledSum(communicator_, type, factor);
  }
}

} // namespace core
} // namespace horovod

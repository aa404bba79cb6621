#include "communicators.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "device.h"
#include "horovod/common/controller.h"
#include "horovod/common/half.h"
#include "horovod/common/logging.h"
#include "loader.h"
#include "small_floats.h"

namespace horovod {
namespace core {
namespace {

using common::LogLevel; // of the macro LOG
using common::LogMessage;

const auto PATIENCE = std::chrono::seconds(5);

// By the ranks of the process set and this rank's GPU.
std::map<std::pair<std::vector<int>, int>, Communicator>& communicators =
    *new std::map<std::pair<std::vector<int>, int>, Communicator>;

// What each rank tells the others before they decide.
struct Report {
  char host[64];
  char gpu[64]; // its address on the PCI bus
  char error[256];
};

void Write(char* to, size_t size, const std::string& text) {
  std::strncpy(to, text.c_str(), size - 1);
  to[size - 1] = '\0';
}

std::string Asked() {
  auto value = std::getenv("HOROVOD_GPU_TRANSPORT");
  return value != nullptr ? value : "";
}

Report OwnReport(int device) {
  Report report = {};
  gethostname(report.host, sizeof(report.host) - 1);
  int result = Cuda().DeviceGetPCIBusId(report.gpu, sizeof(report.gpu) - 1, device);
  if (result != CUDA_SUCCESS) {
    Write(report.error, sizeof(report.error), Cuda().GetErrorString(result));
  } else if (Asked() == "host") {
    Write(report.error, sizeof(report.error), "HOROVOD_GPU_TRANSPORT=host");
  } else if (!NcclError().empty()) {
    Write(report.error, sizeof(report.error), NcclError());
  }
  return report;
}

// Everyone's record, by broadcasts from each rank: the controllers have no other operation on bytes.
template <typename Record>
std::vector<Record> Exchange(common::Controller& controller, const Record& own) {
  std::vector<Record> records(controller.GetSize());
  records[controller.GetRank()] = own;
  for (int rank = 0; rank < controller.GetSize(); ++rank) {
    controller.Bcast(&records[rank], sizeof(Record), rank, common::Communicator::GLOBAL);
  }
  return records;
}

std::string WhyNot(const std::vector<Report>& reports) {
  std::map<std::string, size_t> seen;
  for (size_t rank = 0; rank < reports.size(); ++rank) {
    auto& report = reports[rank];
    if (report.error[0] != '\0') {
      return "rank " + std::to_string(rank) + ": " + report.error;
    }
    auto place = std::string(report.host) + " " + report.gpu;
    auto found = seen.emplace(place, rank);
    if (!found.second) {
      return "ranks " + std::to_string(found.first->second) + " and " + std::to_string(rank) +
             " share the GPU " + report.gpu + " of " + report.host + ", which NCCL refuses";
    }
  }
  return "";
}

// The outcome of one step on each rank: an empty text is success.
struct Outcome {
  char error[256];
};

std::string FirstError(common::Controller& controller, const std::string& own) {
  Outcome outcome = {};
  Write(outcome.error, sizeof(outcome.error), own);
  auto outcomes = Exchange(controller, outcome);
  for (size_t rank = 0; rank < outcomes.size(); ++rank) {
    if (outcomes[rank].error[0] != '\0') {
      return "rank " + std::to_string(rank) + ": " + outcomes[rank].error;
    }
  }
  return "";
}

template <typename Function> std::string Error(Function function) {
  try {
    function();
    return "";
  } catch (const std::exception& error) {
    return error.what();
  }
}

// Connects all ranks; the reason if that fails on any of them.
std::string Connect(common::Controller& controller, NcclComm* comm) {
  NcclId id = {};
  std::string error;
  if (controller.GetRank() == 0) {
    error = Error([&]() { CheckNccl(Nccl().GetUniqueId(&id), "ncclGetUniqueId"); });
  }
  error = FirstError(controller, error);
  if (!error.empty()) {
    return error;
  }
  controller.Bcast(&id, sizeof(id), 0, common::Communicator::GLOBAL);
  error = Error([&]() {
    CheckNccl(Nccl().CommInitRank(comm, controller.GetSize(), id, controller.GetRank()),
              "ncclCommInitRank");
  });
  error = FirstError(controller, error);
  if (!error.empty() && *comm != nullptr) {
    Nccl().CommAbort(*comm);
    *comm = nullptr;
  }
  return error;
}

Communicator NewCommunicator(common::Controller& controller, int device) {
  DeviceGuard current(device);
  Communicator result;
  result.why_not = WhyNot(Exchange(controller, OwnReport(device)));
  if (result.why_not.empty()) {
    result.why_not = Connect(controller, &result.comm);
  }
  if (!result.why_not.empty() && Asked() == "nccl") {
    throw std::runtime_error("HOROVOD_GPU_TRANSPORT=nccl, but " + result.why_not);
  }
  if (!result.why_not.empty() && controller.GetRank() == 0) {
    LOG(WARNING) << "tensors on GPUs are communicated through the host's memory, which is slower: "
                 << result.why_not;
  }
  return result;
}

bool IsIdle(int device) { return Cuda().StreamQuery(CommunicationStream(device)) != CUDA_NOT_READY; }

bool HasFailed(NcclComm comm) {
  int error = NCCL_SUCCESS;
  Nccl().CommGetAsyncError(comm, &error);
  return error != NCCL_SUCCESS && error != NCCL_IN_PROGRESS;
}

void End(NcclComm comm, int device) {
  DeviceGuard current(device);
  auto limit = std::chrono::steady_clock::now() + PATIENCE;
  while (!IsIdle(device) && !HasFailed(comm) && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (IsIdle(device) && !HasFailed(comm)) {
    Nccl().CommDestroy(comm);
  } else {
    Nccl().CommAbort(comm);
  }
}

} // namespace

Communicator& GetCommunicator(common::ProcessSet& process_set, int device) {
  auto& controller = *process_set.controller;
  auto key = std::make_pair(controller.GetGlobalRanks(), device);
  auto found = communicators.find(key);
  if (found == communicators.end()) {
    found = communicators.emplace(key, NewCommunicator(controller, device)).first;
  }
  auto& communicator = found->second;
  if (communicator.comm != nullptr && HasFailed(communicator.comm)) {
    throw std::runtime_error("NCCL: communication between the GPUs broke");
  }
  return communicator;
}

int ScaledSum(Communicator& communicator, NcclType type, double factor) {
  auto key = std::make_pair(static_cast<int>(type), factor);
  auto found = communicator.scaled_sums.find(key);
  if (found != communicator.scaled_sums.end()) {
    return found->second;
  }
  // The factor has the tensor's type, as it is in ncclAvg.
  float single = static_cast<float>(factor);
  uint16_t half = bfloat16(single).bits;
  if (type == NCCL_FLOAT16) {
    common::Float2HalfBits(&single, &half);
  }
  void* scalar = type == NCCL_FLOAT64   ? static_cast<void*>(&factor)
                 : type == NCCL_FLOAT32 ? static_cast<void*>(&single)
                                        : static_cast<void*>(&half);
  int op = 0;
  CheckNccl(Nccl().RedOpCreatePreMulSum(&op, scalar, type, NCCL_SCALAR_ON_HOST, communicator.comm),
            "ncclRedOpCreatePreMulSum");
  communicator.scaled_sums.emplace(key, op);
  return op;
}

void EndCommunicators() {
  for (auto& entry : communicators) {
    if (entry.second.comm != nullptr) {
      auto error = Error([&]() { End(entry.second.comm, entry.first.second); });
      if (!error.empty()) {
        LOG(WARNING) << error;
      }
    }
  }
  communicators.clear();
}

} // namespace core
} // namespace horovod

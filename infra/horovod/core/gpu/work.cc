#include "work.h"

#include <algorithm>
#include <stdexcept>

#include "call.h"
#include "communicators.h"
#include "horovod/common/controller.h"
#include "loader.h"
#include "collectives.h"
#include "staging.h"

namespace horovod {
namespace core {
namespace {

using common::Response;
using common::Status;
using common::TensorTableEntry;

bool HasTensors(const Response& response) {
  auto type = response.response_type();
  return type == Response::ALLREDUCE || type == Response::ALLGATHER ||
         type == Response::BROADCAST || type == Response::ALLTOALL ||
         type == Response::REDUCESCATTER || type == Response::ADASUM;
}

// A rank that has joined has no tensors of its own: the others say where theirs are.
bool IsOnGPUs(const std::vector<TensorTableEntry>& entries, const Response& response,
              const common::ProcessSet& process_set) {
  if (entries.empty() || !HasTensors(response)) {
    return false;
  }
  auto& devices = response.devices();
  auto is_gpu = [](int device) { return device >= 0; };
  return process_set.joined ? std::any_of(devices.begin(), devices.end(), is_gpu)
                            : is_gpu(entries[0].device);
}

void WaitForData(const std::vector<TensorTableEntry>& entries) {
  for (auto& entry : entries) {
    if (auto context = dynamic_cast<DeviceContext*>(entry.context.get())) {
      context->call().WaitForData();
    }
  }
}

} // namespace

DeviceWork::DeviceWork(std::vector<TensorTableEntry>& entries, const Response& response,
                       common::ProcessSet& process_set)
    : response_(response), process_set_(process_set) {
  if (!IsOnGPUs(entries, response, process_set)) {
    return;
  }
  try {
    device_ = process_set.joined ? DeviceInUse() : entries[0].device;
    DeviceGuard current(device_);
    communicator_ = &GetCommunicator(process_set, device_);
    on_device_ = communicator_->comm != nullptr && NcclCan(response);
    if (!process_set.joined) {
      WaitForData(entries);
    }
    if (!on_device_ && !process_set.joined) {
      MoveToHost(entries, response, process_set.controller->GetRank());
    }
  } catch (const std::exception& error) {
    on_device_ = true;
    status_ = Status::UnknownError(error.what());
  }
}

Status DeviceWork::Execute(std::vector<TensorTableEntry>& entries) {
  if (!status_.ok()) {
    return status_;
  }
  DeviceGuard current(device_);
  NcclOperation operation(*communicator_, process_set_, response_, device_);
  auto status = process_set_.joined ? operation.RunWithZeros(entries) : operation.Run(entries);
  if (status.ok() && !process_set_.joined) {
    auto done = RecordEvent(device_, CommunicationStream(device_));
    for (auto& entry : entries) {
      static_cast<DeviceContext&>(*entry.context).call().MarkDone(done);
    }
  }
  return status;
}

void ShutDownGPUs() { EndCommunicators(); }

} // namespace core
} // namespace horovod

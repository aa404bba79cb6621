// What the core keeps for each GPU: its own stream, events, and memory for outputs and copies.

#ifndef HOROVOD_CORE_GPU_DEVICE_H
#define HOROVOD_CORE_GPU_DEVICE_H

#include <cstdint>
#include <memory>

#include "api.h"

namespace horovod {
namespace core {

// Makes a GPU the calling thread's current one until the end of the scope.
class DeviceGuard {
public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

private:
  int before_;
  bool changed_;
};

// An event of a GPU; used again once nothing refers to it.
class DeviceEvent {
public:
  DeviceEvent(int device, Event event) : device_(device), event_(event) {}
  ~DeviceEvent();
  Event get() const { return event_; }

private:
  int device_;
  Event event_;
};
using EventPtr = std::shared_ptr<DeviceEvent>;

// Records an event of `device`, which must be current, on a stream of it.
EventPtr RecordEvent(int device, Stream stream);

// The stream on which all communication of a GPU is queued. It never waits for the default stream.
Stream CommunicationStream(int device);

// Memory of a GPU, or memory of the host that a GPU copies from and to (pinned). Allocating either is
// slow and stops the GPU, so both are kept and used again.
class DeviceMemory {
public:
  // What the communication stream does with the memory from now on is ordered behind its last use.
  DeviceMemory(int device, int64_t size, bool on_host);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  void* data() const { return data_; }
  // Says that the memory is used until `event`; without one, until what the communication stream
  // does last with it.
  void SetUsedUntil(EventPtr event) { used_until_ = std::move(event); }

private:
  int device_;
  int64_t size_;
  bool on_host_;
  void* data_;
  EventPtr used_until_;
};
using MemoryPtr = std::shared_ptr<DeviceMemory>;

} // namespace core
} // namespace horovod

#endif

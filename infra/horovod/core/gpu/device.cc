#include "device.h"

#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "loader.h"

namespace horovod {
namespace core {
namespace {

struct Block {
  void* data;
  EventPtr used_until;
};

struct Device {
  Stream stream = nullptr;
  std::vector<Event> events;
  std::multimap<int64_t, Block> memory;
  std::multimap<int64_t, Block> host_memory;
};

// Never destroyed: at the end of a process CUDA may be gone before these are.
std::mutex& mutex = *new std::mutex;
std::map<int, Device>& devices = *new std::map<int, Device>;

// A multiple of 512 bytes, then steps of an eighth, so that blocks fit the next tensor as well.
int64_t Rounded(int64_t size) {
  int64_t step = 512;
  while (step * 16 < size) {
    step *= 2;
  }
  return size <= 0 ? step : (size + step - 1) / step * step;
}

void* NewMemory(int64_t size, bool on_host) {
  void* data = nullptr;
  if (on_host) {
    CheckCuda(Cuda().HostAlloc(&data, size, 0), "cudaHostAlloc");
  } else {
    CheckCuda(Cuda().Malloc(&data, size), "cudaMalloc");
  }
  return data;
}

} // namespace

DeviceGuard::DeviceGuard(int device) : before_(device), changed_(false) {
  CheckCuda(Cuda().GetDevice(&before_), "cudaGetDevice");
  if (before_ != device) {
    CheckCuda(Cuda().SetDevice(device), "cudaSetDevice");
    changed_ = true;
  }
}

DeviceGuard::~DeviceGuard() {
  if (changed_) {
    Cuda().SetDevice(before_);
  }
}

DeviceEvent::~DeviceEvent() {
  std::lock_guard<std::mutex> guard(mutex);
  devices[device_].events.push_back(event_);
}

EventPtr RecordEvent(int device, Stream stream) {
  Event event = nullptr;
  {
    std::lock_guard<std::mutex> guard(mutex);
    auto& kept = devices[device].events;
    if (!kept.empty()) {
      event = kept.back();
      kept.pop_back();
    }
  }
  if (event == nullptr) {
    CheckCuda(Cuda().EventCreateWithFlags(&event, EVENT_NO_TIMING | EVENT_BLOCKING_SYNC),
              "cudaEventCreateWithFlags");
  }
  auto result = std::make_shared<DeviceEvent>(device, event);
  CheckCuda(Cuda().EventRecord(event, stream), "cudaEventRecord");
  return result;
}

Stream CommunicationStream(int device) {
  std::lock_guard<std::mutex> guard(mutex);
  auto& stream = devices[device].stream;
  if (stream == nullptr) {
    int least = 0;
    int greatest = 0;
    CheckCuda(Cuda().DeviceGetStreamPriorityRange(&least, &greatest),
              "cudaDeviceGetStreamPriorityRange");
    CheckCuda(Cuda().StreamCreateWithPriority(&stream, STREAM_NON_BLOCKING, greatest),
              "cudaStreamCreateWithPriority");
  }
  return stream;
}

DeviceMemory::DeviceMemory(int device, int64_t size, bool on_host)
    : device_(device), size_(Rounded(size)), on_host_(on_host), data_(nullptr) {
  DeviceGuard current(device);
  Block block = {nullptr, nullptr};
  {
    std::lock_guard<std::mutex> guard(mutex);
    auto& kept = on_host ? devices[device].host_memory : devices[device].memory;
    auto found = kept.find(size_);
    if (found != kept.end()) {
      block = found->second;
      kept.erase(found);
    }
  }
  if (block.used_until && on_host) { // this thread writes to it
    CheckCuda(Cuda().EventSynchronize(block.used_until->get()), "cudaEventSynchronize");
  } else if (block.used_until) {
    CheckCuda(Cuda().StreamWaitEvent(CommunicationStream(device), block.used_until->get(), 0),
              "cudaStreamWaitEvent");
  }
  data_ = block.data != nullptr ? block.data : NewMemory(size_, on_host);
}

DeviceMemory::~DeviceMemory() {
  std::lock_guard<std::mutex> guard(mutex);
  auto& device = devices[device_];
  (on_host_ ? device.host_memory : device.memory).emplace(size_, Block{data_, used_until_});
}

} // namespace core
} // namespace horovod

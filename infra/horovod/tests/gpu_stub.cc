// A CUDA runtime and an NCCL for machines without a GPU, which record what they are asked to do.
//
// Memory is the host's. A stream is a thread that works its queue off in order, late on purpose, so
// that results are right only if streams wait for each other as they must. NCCL's ranks meet in a
// folder, by files. Beside the real functions there are stub_* ones for the tests.
//
// STUB_FOLDER: where ranks meet. STUB_DEVICES: how many GPUs there are (2). STUB_IGNORE_WAITS=1:
// cudaStreamWaitEvent does nothing, so that tests can see themselves fail.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#define STUB extern "C" __attribute__((visibility("default")))

namespace {

using Bytes = std::vector<char>;
using Task = std::function<void()>;

// Never destroyed: the streams' threads wait for them until the process is gone.
std::mutex& mutex = *new std::mutex;
std::condition_variable& changed = *new std::condition_variable;
std::vector<std::string>& calls = *new std::vector<std::string>;
thread_local int current_device = 0;

void Record(const std::string& call) {
  std::lock_guard<std::mutex> guard(mutex);
  calls.push_back(call);
}

bool IgnoresWaits() { return std::getenv("STUB_IGNORE_WAITS") != nullptr; }

struct StubStream {
  int number = 0;
  bool capturing = false;
  std::deque<Task> queue;
  bool busy = false;

  void Work() {
    for (;;) {
      Task task;
      {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [this] { return !queue.empty(); });
        task = queue.front();
        queue.pop_front();
        busy = true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      task();
      {
        std::lock_guard<std::mutex> guard(mutex);
        busy = false;
      }
      changed.notify_all();
    }
  }

  void Push(Task task) {
    std::lock_guard<std::mutex> guard(mutex);
    queue.push_back(std::move(task));
    changed.notify_all();
  }

  bool Idle() const { return queue.empty() && !busy; }
};

std::vector<StubStream*>& streams = *new std::vector<StubStream*>;

StubStream* NewStream() {
  auto stream = new StubStream;
  {
    std::lock_guard<std::mutex> guard(mutex);
    stream->number = static_cast<int>(streams.size());
    streams.push_back(stream);
  }
  std::thread(&StubStream::Work, stream).detach();
  return stream;
}

StubStream* At(void* stream) {
  static StubStream* const default_stream = NewStream();
  return stream == nullptr ? default_stream : static_cast<StubStream*>(stream);
}

std::string Name(void* stream) { return "stream" + std::to_string(At(stream)->number); }

struct StubEvent {
  int number;
  long recorded = 0;
  long completed = 0;
};

std::atomic<int> events{0};

std::string NameOf(StubEvent* event) { return "event" + std::to_string(event->number); }

} // namespace

// ---- For the tests

STUB void* stub_stream() { return NewStream(); }
STUB int stub_number(void* stream) { return At(stream)->number; }
STUB void stub_capture(void* stream, int on) { At(stream)->capturing = on != 0; }

// A kernel that copies, after a while.
STUB void stub_copy_kernel(void* to, const void* from, size_t size, int milliseconds, void* stream) {
  Record("kernel " + Name(stream));
  At(stream)->Push([=] {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    std::memcpy(to, from, size);
  });
}

STUB int stub_calls(char* text, int size) {
  std::lock_guard<std::mutex> guard(mutex);
  std::string all;
  for (auto& call : calls) {
    all += call + "\n";
  }
  std::snprintf(text, size, "%s", all.c_str());
  return static_cast<int>(all.size());
}

STUB void stub_forget() {
  std::lock_guard<std::mutex> guard(mutex);
  calls.clear();
}

// ---- The CUDA runtime

STUB int cudaRuntimeGetVersion(int* version) { return *version = 13000, 0; }
STUB int cudaDriverGetVersion(int* version) { return *version = 13000, 0; }

STUB int cudaGetDeviceCount(int* count) {
  auto value = std::getenv("STUB_DEVICES");
  *count = value != nullptr ? std::atoi(value) : 2;
  return 0;
}

STUB int cudaGetDevice(int* device) { return *device = current_device, 0; }
STUB int cudaSetDevice(int device) { return current_device = device, 0; }

STUB int cudaDeviceGetPCIBusId(char* id, int length, int device) {
  std::snprintf(id, length, "0000:%02x:00.0", device);
  return 0;
}

STUB int cudaMalloc(void** data, size_t size) {
  Record("malloc");
  return *data = std::malloc(size), 0;
}

STUB int cudaHostAlloc(void** data, size_t size, unsigned) {
  Record("host_alloc");
  return *data = std::malloc(size), 0;
}

STUB int cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, void* stream) {
  static const char* const KINDS[] = {"host_to_host", "to_device", "to_host", "on_device"};
  Record(std::string("copy_") + KINDS[kind] + " " + Name(stream));
  At(stream)->Push([=] { std::memcpy(to, from, size); });
  return 0;
}

STUB int cudaMemsetAsync(void* data, int value, size_t size, void* stream) {
  Record("memset " + Name(stream));
  At(stream)->Push([=] { std::memset(data, value, size); });
  return 0;
}

STUB int cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return *least = 0, *greatest = -5, 0;
}

STUB int cudaStreamCreateWithPriority(void** stream, unsigned, int priority) {
  *stream = NewStream();
  Record("create " + Name(*stream) + " priority " + std::to_string(priority));
  return 0;
}

STUB int cudaStreamQuery(void* stream) {
  auto s = At(stream);
  std::lock_guard<std::mutex> guard(mutex);
  return s->Idle() ? 0 : 600;
}

STUB int cudaStreamSynchronize(void* stream) {
  Record("synchronize " + Name(stream));
  auto s = At(stream);
  std::unique_lock<std::mutex> lock(mutex);
  changed.wait(lock, [=] { return s->Idle(); });
  return 0;
}

STUB int cudaEventCreateWithFlags(void** event, unsigned) {
  *event = new StubEvent{++events};
  return 0;
}

STUB int cudaEventRecord(void* event, void* stream) {
  auto e = static_cast<StubEvent*>(event);
  Record("record " + NameOf(e) + " " + Name(stream));
  long generation;
  {
    std::lock_guard<std::mutex> guard(mutex);
    generation = ++e->recorded;
  }
  At(stream)->Push([=] {
    {
      std::lock_guard<std::mutex> guard(mutex);
      e->completed = std::max(e->completed, generation);
    }
    changed.notify_all();
  });
  return 0;
}

STUB int cudaStreamWaitEvent(void* stream, void* event, unsigned) {
  auto e = static_cast<StubEvent*>(event);
  Record("wait " + NameOf(e) + " " + Name(stream));
  if (IgnoresWaits()) {
    return 0;
  }
  long generation;
  {
    std::lock_guard<std::mutex> guard(mutex);
    generation = e->recorded;
  }
  At(stream)->Push([=] {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [=] { return e->completed >= generation; });
  });
  return 0;
}

STUB int cudaEventSynchronize(void* event) {
  auto e = static_cast<StubEvent*>(event);
  Record("synchronize " + NameOf(e));
  std::unique_lock<std::mutex> lock(mutex);
  changed.wait(lock, [=] { return e->completed >= e->recorded; });
  return 0;
}

STUB int cudaStreamIsCapturing(void* stream, int* status) {
  return *status = At(stream)->capturing ? 1 : 0, 0;
}

STUB const char* cudaGetErrorString(int) { return "an error of the stub"; }

// ---- NCCL

namespace {

enum Type { INT8, UINT8, INT32, UINT32, INT64, UINT64, FLOAT16, FLOAT32, FLOAT64, BFLOAT16 };
enum Op { SUM, PROD, MAX, MIN, AVG, FIRST_CUSTOM };

struct Comm {
  std::string folder;
  int rank;
  int size;
  long collectives = 0;
  std::map<std::pair<int, int>, long> messages;
  std::vector<double> factors;
};

// What an operation does on its stream: first it says what it has, then it takes what it needs.
struct Queued {
  StubStream* stream;
  Task publish;
  Task collect;
};

thread_local int group_depth = 0;
thread_local std::vector<Queued> group;

size_t SizeOf(int type) {
  static const size_t SIZES[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};
  return SIZES[type];
}

void Publish(const std::string& path, const void* data, size_t size) {
  auto part = path + ".part" + std::to_string(getpid());
  std::ofstream(part, std::ios::binary).write(static_cast<const char*>(data), size);
  std::rename(part.c_str(), path.c_str());
}

Bytes Collect(const std::string& path) {
  while (access(path.c_str(), F_OK) != 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// Normal numbers and zero alone.
double FromHalf(uint16_t h) {
  uint32_t exponent = (h >> 10) & 31;
  uint32_t sign = uint32_t(h >> 15) << 31;
  return exponent == 0 ? 0.0 : FromBits(sign | (exponent + 112) << 23 | uint32_t(h & 1023) << 13);
}

uint16_t ToHalf(double value) {
  float f = static_cast<float>(value);
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return f == 0 ? 0 : uint16_t((u >> 31) << 15 | ((((u >> 23) & 255) - 112) << 10) | ((u >> 13) & 1023));
}

template <typename T> T Read(const void* data, size_t i) {
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + i * sizeof(T), sizeof(T));
  return value;
}

template <typename T> void Write(void* data, size_t i, T value) {
  std::memcpy(static_cast<char*>(data) + i * sizeof(T), &value, sizeof(T));
}

double Get(const void* data, size_t i, int type) {
  switch (type) {
  case INT8: return Read<int8_t>(data, i);
  case UINT8: return Read<uint8_t>(data, i);
  case INT32: return Read<int32_t>(data, i);
  case INT64: return static_cast<double>(Read<int64_t>(data, i));
  case FLOAT16: return FromHalf(Read<uint16_t>(data, i));
  case FLOAT32: return Read<float>(data, i);
  case FLOAT64: return Read<double>(data, i);
  default: return FromBits(uint32_t(Read<uint16_t>(data, i)) << 16);
  }
}

void Put(void* data, size_t i, int type, double value) {
  float f = static_cast<float>(value);
  switch (type) {
  case INT8: return Write(data, i, static_cast<int8_t>(value));
  case UINT8: return Write(data, i, static_cast<uint8_t>(value));
  case INT32: return Write(data, i, static_cast<int32_t>(value));
  case INT64: return Write(data, i, static_cast<int64_t>(value));
  case FLOAT16: return Write(data, i, ToHalf(value));
  case FLOAT32: return Write(data, i, f);
  case FLOAT64: return Write(data, i, value);
  default: return Write(data, i, static_cast<uint16_t>(Read<uint32_t>(&f, 0) >> 16));
  }
}

double Reduced(const std::vector<Bytes>& parts, size_t i, int type, int op, const Comm& comm) {
  double factor = op >= FIRST_CUSTOM ? comm.factors.at(op - FIRST_CUSTOM) : 1.0;
  double result = Get(parts[0].data(), i, type) * factor;
  for (size_t rank = 1; rank < parts.size(); ++rank) {
    double next = Get(parts[rank].data(), i, type) * factor;
    result = op == PROD ? result * next
             : op == MAX ? std::max(result, next)
             : op == MIN ? std::min(result, next)
                         : result + next;
  }
  return result;
}

std::vector<Bytes> All(const Comm& comm, const std::string& name) {
  std::vector<Bytes> parts;
  for (int rank = 0; rank < comm.size; ++rank) {
    parts.push_back(Collect(name + "." + std::to_string(rank)));
  }
  return parts;
}

void Flush() {
  std::map<StubStream*, std::vector<Queued>> by_stream;
  for (auto& queued : group) {
    by_stream[queued.stream].push_back(queued);
  }
  group.clear();
  for (auto& entry : by_stream) {
    auto operations = entry.second;
    entry.first->Push([operations] {
      for (auto& one : operations) {
        one.publish();
      }
      for (auto& one : operations) {
        one.collect();
      }
    });
  }
}

int Add(const char* call, void* stream, Task publish, Task collect) {
  Record(std::string(call) + " " + Name(stream));
  group.push_back({At(stream), std::move(publish), std::move(collect)});
  if (group_depth == 0) {
    Flush();
  }
  return 0;
}

std::string Next(Comm* comm) { return comm->folder + "/" + std::to_string(comm->collectives++); }

Task PublishOwn(Comm* comm, const std::string& name, const void* from, size_t size) {
  return [=] { Publish(name + "." + std::to_string(comm->rank), from, size); };
}

} // namespace

struct Id {
  char internal[128];
};

STUB int ncclGetVersion(int* version) { return *version = 22703, 0; }

STUB int ncclGetUniqueId(Id* id) {
  static std::atomic<int> count{0};
  std::snprintf(id->internal, sizeof(id->internal), "%s/nccl-%d-%d", std::getenv("STUB_FOLDER"),
                getpid(), ++count);
  return 0;
}

STUB int ncclCommInitRank(void** result, int size, Id id, int rank) {
  auto comm = new Comm{id.internal, rank, size};
  std::string command = std::string("mkdir -p ") + id.internal;
  if (std::system(command.c_str()) != 0) {
    return 2;
  }
  char bus[32];
  cudaDeviceGetPCIBusId(bus, sizeof(bus), current_device);
  Publish(comm->folder + "/gpu." + std::to_string(rank), bus, sizeof(bus));
  auto all = All(*comm, comm->folder + "/gpu");
  for (int a = 0; a < size; ++a) {
    for (int b = 0; b < a; ++b) {
      if (all[a] == all[b]) {
        return 5; // as NCCL does
      }
    }
  }
  Record("init " + std::to_string(rank) + " of " + std::to_string(size));
  *result = comm;
  return 0;
}

STUB int ncclCommDestroy(void*) { return Record("destroy"), 0; }
STUB int ncclCommAbort(void*) { return Record("abort"), 0; }
STUB int ncclCommGetAsyncError(void*, int* error) { return *error = 0, 0; }
STUB const char* ncclGetErrorString(int) { return "an error of the stub"; }

STUB int ncclRedOpCreatePreMulSum(int* op, void* scalar, int type, int, void* comm) {
  auto c = static_cast<Comm*>(comm);
  c->factors.push_back(Get(scalar, 0, type));
  Record("pre_mul_sum " + std::to_string(c->factors.back()));
  *op = FIRST_CUSTOM + static_cast<int>(c->factors.size()) - 1;
  return 0;
}

STUB int ncclGroupStart() { return Record("group_start"), ++group_depth, 0; }

STUB int ncclGroupEnd() {
  Record("group_end");
  if (--group_depth == 0) {
    Flush();
  }
  return 0;
}

STUB int ncclAllReduce(const void* from, void* to, size_t count, int type, int op, void* comm,
                       void* stream) {
  auto c = static_cast<Comm*>(comm);
  auto name = Next(c);
  return Add("all_reduce", stream, PublishOwn(c, name, from, count * SizeOf(type)), [=] {
    auto parts = All(*c, name);
    for (size_t i = 0; i < count; ++i) {
      Put(to, i, type, Reduced(parts, i, type, op, *c));
    }
  });
}

STUB int ncclReduceScatter(const void* from, void* to, size_t count, int type, int op, void* comm,
                           void* stream) {
  auto c = static_cast<Comm*>(comm);
  auto name = Next(c);
  auto all = count * c->size * SizeOf(type);
  return Add("reduce_scatter", stream, PublishOwn(c, name, from, all), [=] {
    auto parts = All(*c, name);
    for (size_t i = 0; i < count; ++i) {
      Put(to, i, type, Reduced(parts, c->rank * count + i, type, op, *c));
    }
  });
}

STUB int ncclReduce(const void* from, void* to, size_t count, int type, int op, int root,
                    void* comm, void* stream) {
  auto c = static_cast<Comm*>(comm);
  auto name = Next(c);
  return Add("reduce", stream, PublishOwn(c, name, from, count * SizeOf(type)), [=] {
    if (c->rank == root) {
      auto parts = All(*c, name);
      for (size_t i = 0; i < count; ++i) {
        Put(to, i, type, Reduced(parts, i, type, op, *c));
      }
    }
  });
}

STUB int ncclAllGather(const void* from, void* to, size_t count, int type, void* comm,
                       void* stream) {
  auto c = static_cast<Comm*>(comm);
  auto name = Next(c);
  return Add("all_gather", stream, PublishOwn(c, name, from, count * SizeOf(type)), [=] {
    auto out = static_cast<char*>(to);
    for (auto& part : All(*c, name)) {
      out = std::copy(part.begin(), part.end(), out);
    }
  });
}

STUB int ncclBroadcast(const void* from, void* to, size_t count, int type, int root, void* comm,
                       void* stream) {
  auto c = static_cast<Comm*>(comm);
  auto name = Next(c);
  auto publish = [=] {
    if (c->rank == root) {
      Publish(name, from, count * SizeOf(type));
    }
  };
  return Add("broadcast", stream, publish, [=] {
    auto data = Collect(name);
    std::memcpy(to, data.data(), data.size());
  });
}

namespace {

std::string Message(Comm* comm, int from, int to) {
  return comm->folder + "/message." + std::to_string(from) + "." + std::to_string(to) + "." +
         std::to_string(comm->messages[{from, to}]++);
}

} // namespace

STUB int ncclSend(const void* from, size_t count, int type, int peer, void* comm, void* stream) {
  auto c = static_cast<Comm*>(comm);
  // To itself a rank sends and receives: each counts.
  auto name = Message(c, c->rank, peer == c->rank ? -1 : peer);
  return Add("send", stream, [=] { Publish(name, from, count * SizeOf(type)); }, [] {});
}

STUB int ncclRecv(void* to, size_t, int, int peer, void* comm, void* stream) {
  auto c = static_cast<Comm*>(comm);
  std::string name;
  if (peer == c->rank) {
    name = c->folder + "/message." + std::to_string(peer) + ".-1." +
           std::to_string(c->messages[{peer, -2}]++);
  } else {
    name = Message(c, peer, c->rank);
  }
  return Add("recv", stream, [] {}, [=] {
    auto data = Collect(name);
    std::memcpy(to, data.data(), data.size());
  });
}

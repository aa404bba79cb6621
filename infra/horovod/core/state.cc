#include "state.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

#include "horovod_c.h"

namespace horovod {
namespace core {
namespace {

thread_local std::string last_error;

struct Names {
  int64_t joins = 0;
  std::map<std::string, int64_t> counts;
};

std::atomic<bool> does_not_wait_at_exit{false};

std::mutex mutex;
std::map<int, Names> names_by_set;

} // namespace

void SetLastError(const std::string& message) { last_error = message; }

std::string NextName(const std::string& kind, int process_set) {
  std::lock_guard<std::mutex> guard(mutex);
  auto& names = names_by_set[process_set];
  // The number of joins keeps the names apart from those of operations that are still under way.
  return kind + ".noname." + std::to_string(names.joins) + "." +
         std::to_string(names.counts[kind]++);
}

void ResetNames(int process_set) {
  std::lock_guard<std::mutex> guard(mutex);
  auto& names = names_by_set[process_set];
  ++names.joins;
  names.counts.clear();
}

void ResetAllNames() {
  std::lock_guard<std::mutex> guard(mutex);
  names_by_set.clear();
}

void DoNotWaitAtExit() { does_not_wait_at_exit = true; }

bool DoesNotWaitAtExit() { return does_not_wait_at_exit; }

} // namespace core
} // namespace horovod

extern "C" const char* horovod_last_error(void) { return horovod::core::last_error.c_str(); }

/* Connects the operations with libhorovod.so. */

#include "core.h"

#include <dlfcn.h>

#include <string>

namespace horovod_tensorflow {
namespace {

Core functions{};
bool connected = false;

std::string connect(const char* path) {
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return dlerror();
  }
#define HOROVOD_FIND(name)                                                                         \
  functions.name = reinterpret_cast<decltype(functions.name)>(dlsym(handle, #name));               \
  if (functions.name == nullptr) {                                                                 \
    return std::string(path) + " has no " #name;                                                   \
  }
  HOROVOD_CORE_FUNCTIONS(HOROVOD_FIND)
#undef HOROVOD_FIND
  int version = functions.horovod_abi_version();
  if (version != HOROVOD_C_ABI_VERSION) {
    return std::string(path) + " has version " + std::to_string(version) +
           " of the C interface, not " + std::to_string(HOROVOD_C_ABI_VERSION);
  }
  connected = true;
  return "";
}

} // namespace

const Core* core() { return connected ? &functions : nullptr; }

} // namespace horovod_tensorflow

const char* horovod_tensorflow_connect(const char* library_path) {
  static const std::string error = horovod_tensorflow::connect(library_path);
  return error.c_str();
}

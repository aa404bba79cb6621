/* Finds TensorFlow's C functions in the libraries that the process has loaded. */

#include "tensorflow_api.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

#include <vector>

namespace horovod_tensorflow {
namespace {

int collect(dl_phdr_info* info, size_t, void* found) {
  if (info->dlpi_name != nullptr && strstr(info->dlpi_name, "tensorflow") != nullptr) {
    static_cast<std::vector<std::string>*>(found)->push_back(info->dlpi_name);
  }
  return 0;
}

/* Python loads TensorFlow's libraries for itself alone (RTLD_LOCAL), so the usual search of all
   symbols does not see them. */
std::vector<void*> libraries() {
  std::vector<std::string> paths;
  dl_iterate_phdr(collect, &paths);
  std::vector<void*> handles;
  for (const std::string& path : paths) {
    void* handle = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (handle != nullptr) {
      handles.push_back(handle);
    }
  }
  return handles;
}

void* look_up(const std::vector<void*>& handles, const char* name) {
  for (void* handle : handles) {
    void* address = dlsym(handle, name);
    if (address != nullptr) {
      return address;
    }
  }
  return dlsym(RTLD_DEFAULT, name);
}

TensorFlow find() {
  TensorFlow api{};
  std::vector<void*> handles = libraries();
#define HOROVOD_FIND(result, name, arguments)                                                      \
  api.name = reinterpret_cast<result(*) arguments>(look_up(handles, #name));                       \
  if (api.name == nullptr && api.missing.empty()) {                                                \
    api.missing = #name;                                                                           \
  }
  HOROVOD_TENSORFLOW_FUNCTIONS(HOROVOD_FIND)
#undef HOROVOD_FIND
  return api;
}

} // namespace

const TensorFlow& tensorflow() {
  static const TensorFlow api = find();
  return api;
}

} // namespace horovod_tensorflow

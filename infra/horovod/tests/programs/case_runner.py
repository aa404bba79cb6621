"""Runs the case_ functions of a program in one process, for loading a framework takes longer.

A case that raises ends the rank, and with it the job; its traceback is in the output.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(folder: str, names: dict[str, Any], hvd: Any) -> None:
    """Write what each case returns into FOLDER/rank-N.json, under the case's name."""
    hvd.init(process_sets="dynamic")
    results = {}
    for name, case in list(names.items()):
        if name.startswith("case_"):
            sys.stderr.write(f"rank {hvd.rank()}: {name}\n")
            sys.stderr.flush()
            results[name.removeprefix("case_")] = case()
    (Path(folder) / f"rank-{hvd.rank()}.json").write_text(json.dumps(results))
    hvd.shutdown()

"""A rank of `hvdcore.launch.run`: `python -m hvdcore.launch.function_rank FOLDER`.

Calls the function that the folder holds, and leaves there what it returned or raised.
"""

from __future__ import annotations

import contextlib
import json
import linecache
import os
import pickle
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from hvdcore.launch.supervisor.supervise import run_as_rank
from hvdcore.runtime.world import world_from_environment


def main() -> int:
    """Call the function as this process's rank."""
    folder, rank = Path(sys.argv[1]), world_from_environment().rank
    surroundings = json.loads((folder / "call.json").read_bytes())
    sys.path[:] = [*surroundings["path"], *(p for p in sys.path if p not in surroundings["path"])]
    for name, lines in surroundings["sources"].items():
        if not Path(name).exists():  # a notebook's cell
            linecache.cache[name] = (sum(map(len, lines)), None, lines, name)
    try:
        with (folder / "call.pickle").open("rb") as file:
            fn, args, kwargs = pickle.load(file)  # noqa: S301 - our own parent wrote it
        _name_files(fn, surroundings["files"])
        _leave(folder / f"result-{rank}.pickle", _packed(fn(*args, **kwargs)))
    except Exception as error:
        _leave_error(folder, rank, error)
        raise
    return 0


def _name_files(fn: Any, files: Mapping[str, str]) -> None:
    """Give the functions of the notebook or script their files back, for tracebacks."""
    if not isinstance(fn, FunctionType):
        return
    for each in (fn, *fn.__globals__.values()):
        if isinstance(each, FunctionType):
            each.__code__ = _with_file(each.__code__, files)


def _with_file(code: CodeType, files: Mapping[str, str], outer: str | None = None) -> CodeType:
    """The code, and those inside of it, with the file that its name and first line tell."""
    own = files.get(f"{code.co_name}:{code.co_firstlineno}", outer)
    if own is None:
        return code
    inner = (_with_file(c, files, own) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=own, co_consts=tuple(inner))


def _packed(value: Any) -> bytes:
    import cloudpickle

    try:
        content: bytes = cloudpickle.dumps(value)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        kind = type(value).__name__
        raise TypeError(
            f"what the function returned, of type {kind}, cannot be sent back ({reason}); return"
            " numbers, arrays or texts, or write a file"
        ) from None
    return content


def _leave_error(folder: Path, rank: int, error: Exception) -> None:
    import cloudpickle

    # Without the frame of this file, which says nothing to the user.
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    text = "".join(traceback.format_exception(type(error), error, frames))
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    told = {"rank": rank, "reason": reason, "traceback": text, "time": time.time()}
    with contextlib.suppress(Exception):  # the text will do
        _leave(folder / f"error-{rank}.pickle", cloudpickle.dumps(error))
    _leave(folder / f"error-{rank}.json", json.dumps(told).encode())


def _leave(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.rename(path)


if __name__ == "__main__":
    sys.exit(run_as_rank(main))

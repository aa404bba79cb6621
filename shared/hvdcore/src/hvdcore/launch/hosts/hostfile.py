"""Owns the `--hostfile` option: one host a line, as Horovod and Open MPI write it."""

from __future__ import annotations

import re
from pathlib import Path

from hvdcore.errors import Problems, UserError
from hvdcore.launch.hosts.hosts import Hosts

__all__ = ["parse_hostfile"]

_LINE = re.compile(
    r"^(?P<name>\w[\w.-]*)(:(?P<colon>\d+))?(\s+slots\s*=\s*(?P<slots>\d+))?(\s+max_slots\s*=\s*\d+)?$"
)


def parse_hostfile(path: Path) -> Hosts:
    """Horovod's and Open MPI's form: `name slots=2` a line (or `name:2`), `#` begins a comment.

    Raises:
        UserError: no such file, or a line that cannot be read; all of them at once.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(
            f"--hostfile: cannot read {path} ({error.strerror}); check the path"
        ) from None
    except UnicodeDecodeError:
        raise UserError(
            f"--hostfile: {path} is not UTF-8 text; write name slots=N a line"
        ) from None
    problems = Problems()
    slots: dict[str, int] = {}
    for number, raw in enumerate(lines, 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        match = _LINE.match(line)
        given = match and (match["slots"] or match["colon"] or "1")
        if match is None or given == "0":
            problems.add("--hostfile", f"{path}:{number}: cannot read {line!r}; write name slots=N")
            continue
        slots[match["name"]] = slots.get(match["name"], 0) + int(given or 1)
    if not slots and not problems:
        problems.add("--hostfile", f"{path} names no host; write name slots=N a line")
    problems.raise_if_any()
    return Hosts(slots)

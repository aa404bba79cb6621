"""Applies the edits in `patches/` to Horovod's source: each exactly, or not at all."""

from __future__ import annotations

from pathlib import Path

from .errors import BuildError
from .patch_file import Edit, Hunk


def apply_edits(edits: list[Edit], tree: Path) -> None:
    """Applies every edit to `tree`; source that is not as a patch says is a `BuildError`."""
    for edit in edits:
        for path, hunks in edit.files.items():
            target = (tree / path).resolve()
            if not target.is_relative_to(tree.resolve()):
                raise BuildError(f"{edit.name} names a file outside Horovod's source: {path}")
            try:
                _edit_file(target, hunks)
            except (ValueError, OSError) as error:
                raise BuildError(f"{edit.name} does not apply to {path}: {error}") from error


def _edit_file(path: Path, hunks: list[Hunk]) -> None:
    if hunks[0].old:
        text = path.read_bytes().decode()
    elif path.exists():
        raise ValueError("the file exists already")
    else:
        text = ""
        path.parent.mkdir(parents=True, exist_ok=True)
    lines = text.split("\n")
    shift = 0
    for hunk in hunks:
        start = _locate(lines, hunk, hunk.start + shift)
        lines[start : start + len(hunk.old)] = hunk.new
        shift = start + len(hunk.new) - hunk.start - len(hunk.old)
    path.write_bytes("\n".join(lines).encode())


def _locate(lines: list[str], hunk: Hunk, expected: int) -> int:
    """Where the hunk's old lines stand: at its line number, else at the only place that fits.

    Another patch may have moved them; their text, context included, must be there unchanged.
    """
    length = len(hunk.old)
    if lines[expected : expected + length] == hunk.old:
        return expected
    places = [i for i in range(len(lines) - length + 1) if lines[i : i + length] == hunk.old]
    if len(places) != 1:
        found = "not found" if not places else f"found {len(places)} times"
        raise ValueError(f"the lines of its hunk at line {hunk.start + 1} are {found}")
    return places[0]

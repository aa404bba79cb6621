"""A cache of prepared data: what a request led to before, or what is built now, once.

Safe when two prepare at once (one works, the other waits), and after one was killed in the middle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hvdcore.files.atomic import writing
from hvdcore.files.cache import CacheLock
from hvdcore.files.json_files import write_json_atomically

__all__ = ["Progress", "find_or_build", "what_became"]

Progress = Callable[[int, int], None]
"""Called as progress(done, total) in samples; a total of 0 is not known yet, and (0, 0) says that
another process prepares the same."""
LEFT_OUT = {
    "duplicates": "duplicates",
    "two_classes": "under two classes",
    "val_in_train": "of val that are in train too",
    "test_in_train": "of test that are in train too",
}


def find_or_build(
    cache: Path,
    kind: str,
    request: str,
    *,
    is_complete: Callable[[Path], bool],
    build: Callable[[Path], Path],
    tell: Progress,
) -> Path:
    """The folder of prepared data for a request.

    Args:
        cache: the package's cache.
        kind: the folder of the cache that `build` puts its results in; a word for the samples.
        request: names where the data comes from and how it is prepared; a hex digest.
        is_complete: whether a folder holds prepared data, whole.
        build: prepares in the folder that it is given, moves the result into `cache/kind` and
            returns its path.

    Raises:
        UserError: the cache's disk is full or cannot be written, or `build` found the data wrong.
    """
    note = cache / "requests" / f"{request[:32]}.json"

    def known() -> Path | None:
        try:
            path = cache / kind / str(json.loads(note.read_text(encoding="utf-8"))[kind])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return path if is_complete(path) else None

    with writing(cache, "point XDG_CACHE_HOME to another place"):
        path = known()
        if path is None:
            with CacheLock(cache, note.stem, lambda: tell(0, 0)) as work:
                path = known()  # another process may have been at it
                if path is None:
                    path = build(work)
                    note.parent.mkdir(exist_ok=True)
                    write_json_atomically(note, {kind: path.name})
    return path


def what_became(samples: str, meta: Mapping[str, Any], classes: str) -> str:
    """One line: samples of each part, and what was left out.

    Args:
        samples: what they are, such as "pictures".
        meta: with `parts`, and `skipped`, `left_out` and `notes` by reason.
        classes: how many there are, in words.
    """
    parts = ", ".join(f"{name} {count:,}" for name, count in meta["parts"].items())
    skipped = [f"{entry['count']:,} {reason}" for reason, entry in meta["skipped"].items()]
    left_out = [f"{n:,} {LEFT_OUT[name]}" for name, n in meta["left_out"].items() if n]
    notes = [f"{entry['count']:,} {note}" for note, entry in meta["notes"].items()]
    line = f"{samples}: {parts} in {classes}"
    if skipped or left_out:
        line += f"; left out: {', '.join([*skipped, *left_out])}"
    return line + (f"; taken though odd: {', '.join(notes)}" if notes else "")

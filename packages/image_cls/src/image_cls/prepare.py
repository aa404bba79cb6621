"""The way from `--data` to prepared pictures, in a cache keyed by their content.

Safe when two run at once (one works, the other waits), and after one was killed in the middle.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from hvdcore.atomic import writing
from hvdcore.cache_lock import CacheLock
from hvdcore.json_files import write_json_atomically
from image_cls.build_data import DataRequest, Progress, build
from image_cls.config import DataFields
from image_cls.image_data import ImageData, is_complete, open_data
from image_cls.sources import find_source

__all__ = ["default_cache_dir", "prepare", "summary"]


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/image_cls`, else `~/.cache/image_cls`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "image_cls"


def prepare(config: DataFields, tell: Progress | None = None) -> ImageData:
    """The data for a configuration: from the cache, or decoded, checked, cut and cached.

    With several ranks let one rank of a host call it and the others then `open_data`.

    Args:
        tell: called with (done, total) pictures; (0, 0) while another process prepares the same.

    Raises:
        UserError: anything wrong with the data or the cache's disk.
    """
    tell = tell or (lambda done, total: None)
    request = DataRequest(config.data, config.image_size, config.val_fraction, config.test_fraction)
    source, cache = find_source(config.data), default_cache_dir()
    note = cache / "requests" / f"{request.digest(source.signature())[:32]}.json"
    with writing(cache, "point XDG_CACHE_HOME to another place"):
        path = _known(cache, note)
        if path is None:
            with CacheLock(cache, note.stem, lambda: tell(0, 0)) as work:
                path = _known(cache, note)  # another process may have been at it
                if path is None:
                    path = build(request, source, cache, work, tell)
                    note.parent.mkdir(exist_ok=True)
                    write_json_atomically(note, {"images": path.name})
    return open_data(path)


def _known(cache: Path, note: Path) -> Path | None:
    """What this very request led to before, if it is still there."""
    try:
        path = cache / "images" / str(json.loads(note.read_text(encoding="utf-8"))["images"])
    except (OSError, ValueError, KeyError):
        return None
    return path if is_complete(path) else None


LEFT_OUT = {
    "duplicates": "duplicates",
    "two_classes": "under two classes",
    "val_in_train": "of val that are in train too",
    "test_in_train": "of test that are in train too",
}


def summary(data: ImageData) -> str:
    """One line: pictures of each part, and what was left out."""
    meta = data.meta
    parts = ", ".join(f"{name} {count:,}" for name, count in meta["parts"].items())
    skipped = [f"{entry['count']} {reason}" for reason, entry in meta["skipped"].items()]
    left_out = [f"{n} {LEFT_OUT[name]}" for name, n in meta["left_out"].items() if n]
    notes = [f"{entry['count']} of {note}" for note, entry in meta["notes"].items()]
    line = f"pictures: {parts} in {len(data.classes)} classes"
    if skipped or left_out:
        line += f" (left out: {', '.join([*skipped, *left_out])})"
    return line + (f" (taken though odd: {', '.join(notes)})" if notes else "")

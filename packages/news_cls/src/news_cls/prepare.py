"""The way from `--data` to prepared texts, in a cache keyed by their content.

Safe when two run at once (one works, the other waits), and after one was killed in the middle.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from hvdcore.atomic import writing
from hvdcore.cache_lock import CacheLock
from hvdcore.json_files import write_json_atomically
from news_cls.build_data import DataRequest, Progress, build
from news_cls.config import DataFields
from news_cls.layouts import Columns
from news_cls.sources import find_source
from news_cls.text_data import TextData, is_complete, open_data

__all__ = ["default_cache_dir", "prepare", "summary"]


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/news_cls`, else `~/.cache/news_cls`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "news_cls"


def prepare(config: DataFields, tell: Progress | None = None) -> TextData:
    """The data for a configuration: from the cache, or read, cleaned, cut, numbered and cached.

    With several ranks let one rank of a host call it and the others then `open_data`.

    Args:
        tell: called with (done, 0) texts now and then; (0, 0) while another process prepares the
            same.

    Raises:
        UserError: anything wrong with the data or the cache's disk.
    """
    tell = tell or (lambda done, total: None)
    request = DataRequest(
        config.val_fraction, config.test_fraction, config.vocab_size, config.max_length
    )
    cache = default_cache_dir()
    source = find_source(config.data, Columns(config.text_column, config.label_column), cache)
    note = cache / "requests" / f"{request.digest(source.signature())[:32]}.json"
    with writing(cache, "point XDG_CACHE_HOME to another place"):
        path = _known(cache, note)
        if path is None:
            with CacheLock(cache, note.stem, lambda: tell(0, 0)) as work:
                path = _known(cache, note)  # another process may have been at it
                if path is None:
                    path = build(request, source, cache, work, tell)
                    note.parent.mkdir(exist_ok=True)
                    write_json_atomically(note, {"texts": path.name})
    return open_data(path)


def _known(cache: Path, note: Path) -> Path | None:
    """What this very request led to before, if it is still there."""
    try:
        path = cache / "texts" / str(json.loads(note.read_text(encoding="utf-8"))["texts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if is_complete(path) else None


LEFT_OUT = {
    "duplicates": "duplicates",
    "two_classes": "under two classes",
    "val_in_train": "of val that are in train too",
    "test_in_train": "of test that are in train too",
}


def summary(data: TextData) -> str:
    """One line: texts of each part, and what was left out."""
    meta = data.meta
    parts = ", ".join(f"{name} {count:,}" for name, count in meta["parts"].items())
    skipped = [f"{entry['count']:,} {reason}" for reason, entry in meta["skipped"].items()]
    left_out = [f"{n:,} {LEFT_OUT[name]}" for name, n in meta["left_out"].items() if n]
    notes = [f"{entry['count']:,} {note}" for note, entry in meta["notes"].items()]
    line = f"texts: {parts} in {len(data.classes)} classes (named by {meta['classes_from']})"
    if skipped or left_out:
        line += f"; left out: {', '.join([*skipped, *left_out])}"
    return line + (f"; taken though odd: {', '.join(notes)}" if notes else "")

"""The way from `--data` to prepared pictures, in a cache keyed by their content.

Making prepared data: decode on all cores, look for copies, cut into parts, write.

An array in a new file, whose place on the disk is taken before anything is written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.prepared import Progress, find_or_build, what_became
from hvdcore.classifier.splits import PARTS, Row, Selection, select
from hvdcore.errors import Problems
from hvdcore.files.atomic import move_folder_into_place
from hvdcore.files.cache import default_cache_dir
from hvdcore.files.json_files import write_json_atomically
from hvdcore.runtime.environment import cores_available
from image_cls.config import DataFields
from image_cls.data.dataset import LABELS, META, PIXELS, SCHEMA, ImageData, is_complete, open_data
from image_cls.data.decode import Skip, resize
from image_cls.data.sources import Source, find_source

__all__ = [
    "DataRequest",
    "Found",
    "build",
    "new_array",
    "prepare",
    "summary",
]


def new_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A memory map of a new `.npy` file, of zeros.

    A map of a file with holes ends the process (SIGBUS) when the disk is full at the moment of
    writing, and no `except` sees it.

    Raises:
        OSError: ENOSPC, the disk has no place for it.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


EXAMPLES = 5
"""Files named for each reason why some were left out."""


@dataclass(frozen=True)
class DataRequest:
    """What decides the prepared data, beside the pictures themselves."""

    data: str
    image_size: int
    val_fraction: float
    test_fraction: float

    def digest(self, content: object) -> str:
        """SHA-256 over the parameters and what the pictures are."""
        numbers = [SCHEMA, self.image_size, self.val_fraction, self.test_fraction]
        return hashlib.sha256(json.dumps([numbers, content]).encode()).hexdigest()


@dataclass
class Found:
    """What decoding met: good pictures as rows, and names by reason for the rest."""

    rows: list[Row] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    notes: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    skipped_of: dict[int, dict[str, list[str]]] = field(default_factory=dict)
    """The same by label."""


def build(request: DataRequest, source: Source, cache: Path, work: Path, tell: Progress) -> Path:
    """Prepare the data in `work` and rename it into the cache; its path.

    Raises:
        UserError: too little is left of the pictures.
    """
    size = request.image_size
    spool = new_array(work / "spool.npy", np.uint8, (len(source), size, size, 3))
    found = decode_all(source, spool, tell)
    check_found(source, found)
    selection = select(
        found.rows, val_fraction=request.val_fraction, test_fraction=request.test_fraction
    )
    content = [
        source.classes, {n: [(r.sha256, r.label) for r in selection.parts[n]] for n in PARTS}
    ]  # fmt: skip
    path = cache / "images" / request.digest(content)[:32]
    if not is_complete(path):
        made = work / "made"
        made.mkdir()
        write(made, request, source, found, selection, spool)
        move_folder_into_place(made, path, is_complete)
    return path


def decode_all(source: Source, spool: npt.NDArray[np.uint8], tell: Progress) -> Found:
    """Decode and resize every picture into its place in `spool` [n, size, size, 3]."""
    found, size = Found(), spool.shape[1]

    def decode_one(number: int) -> tuple[str, tuple[int, ...], tuple[str, ...]] | Skip:
        try:
            picture = source.decode(number)
        except Skip as reason:
            return reason
        spool[number] = resize(picture.pixels, size)
        return picture.sha256, picture.pixels.shape[:2], picture.notes

    for number, outcome in enumerate(_in_order(decode_one, len(source))):
        tell(number + 1, len(source))
        if isinstance(outcome, Skip):
            of_class = found.skipped_of.setdefault(source.label(number), {})
            for skipped in (found.skipped, of_class):
                skipped.setdefault(str(outcome), []).append(source.shown(number))
            continue
        sha256, (height, width), notes = outcome
        found.rows.append(Row(number, source.label(number), source.part(number), sha256))
        found.sizes[f"{width}x{height}"] += 1
        for note in notes:
            found.notes.setdefault(note, []).append(source.shown(number))
    return found


def _in_order(work: Callable[[int], object], count: int) -> Iterator[object]:
    """Results in order, from as many threads as there are cores; Pillow decodes without the GIL."""
    threads = cores_available()
    waiting: deque[Future[object]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for number in range(count):
            waiting.append(pool.submit(work, number))
            if len(waiting) > 8 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def check_found(source: Source, found: Found) -> None:
    """Every class needs a good picture in train.

    Raises:
        UserError: naming each class that has none.
    """
    problems = Problems()
    present = {row.label for row in found.rows if row.part in (None, "train")}
    for label, name in enumerate(source.classes):
        if label not in present:
            skipped = found.skipped_of.get(label, {})
            reasons = ", ".join(f"{len(n)} {reason} ({n[0]})" for reason, n in skipped.items())
            because = f" ({reasons})" if reasons else ""
            problems.add(
                "data",
                f"{source.name}: class {name!r} has no usable picture to train on{because}; "
                "put some there, or take its folder away",
            )
    problems.raise_if_any()


def write(
    made: Path,
    request: DataRequest,
    source: Source,
    found: Found,
    selection: Selection,
    spool: npt.NDArray[np.uint8],
) -> None:
    """The arrays, part after part, and last of all meta.json."""
    rows = [row for name in PARTS for row in selection.parts[name]]
    pixels = new_array(made / PIXELS, np.uint8, (len(rows), *spool.shape[1:]))
    for place, row in enumerate(rows):
        pixels[place] = spool[row.number]
    pixels.flush()
    labels = new_array(made / LABELS, np.int64, (len(rows),))
    labels[:] = [row.label for row in rows]
    labels.flush()
    meta = {
        "schema": SCHEMA,
        "source": source.name,
        "classes": source.classes,
        "image_size": request.image_size,
        "files": len(source),
        "parts": {name: len(selection.parts[name]) for name in PARTS},
        "classes_of_parts": {name: _per_class(source, selection, name) for name in PARTS},
        "sizes": dict(found.sizes.most_common(10)),
        "skipped": _counts(found.skipped),
        "notes": _counts(found.notes),
        "left_out": selection.left_out,
        "names": [source.shown(row.number) for row in rows],
    }
    write_json_atomically(made / META, meta)


def _per_class(source: Source, selection: Selection, part: str) -> dict[str, int]:
    labels = Counter(row.label for row in selection.parts[part])
    return {name: labels[label] for label, name in enumerate(source.classes)}


def _counts(by_reason: dict[str, list[str]]) -> dict[str, dict[str, object]]:
    return {
        reason: {"count": len(names), "examples": names[:EXAMPLES]}
        for reason, names in by_reason.items()
    }


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
    source, cache = find_source(config.data), default_cache_dir("image_cls")
    path = find_or_build(
        cache, "images", request.digest(source.signature()), is_complete=is_complete, tell=tell,
        build=lambda work: build(request, source, cache, work, tell),
    )  # fmt: skip
    return open_data(path)


def summary(data: ImageData) -> str:
    """One line: pictures of each part, and what was left out."""
    return what_became("pictures", data.meta, f"{len(data.classes)} classes")

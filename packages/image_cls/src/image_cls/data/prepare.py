"""From ``--data`` to prepared images: decode on all cores, split, write to the cache.

The folder in the cache is named after the content and what was found beside it, so the same images
are prepared once wherever they lie, and what was left out of one folder is not told of another.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.prepared import (
    ProgressCallback,
    Tally,
    find_or_build,
    is_complete,
    note_class_names,
    prepare_summary,
    request_digest,
    write_meta,
)
from hvdcore.classifier.splits import Row, SplitResult, split_rows
from hvdcore.errors import Problems
from hvdcore.files.atomic import move_folder_into_place
from hvdcore.files.cache import default_cache_dir
from hvdcore.run.splits import SPLITS
from hvdcore.runtime.environment import cores_available
from image_cls.config import DataFields
from image_cls.data.dataset import LABELS, PIXELS, SCHEMA, ImageData, open_data
from image_cls.data.decode import Skip, resize
from image_cls.data.sources import Source, find_source

__all__ = [
    "DataRequest",
    "Decoded",
    "build",
    "new_array",
    "prepare",
    "summary",
]


@dataclass(frozen=True)
class DataRequest:
    """What determines the prepared data, besides the images themselves."""

    data: str
    image_size: int
    val_fraction: float
    test_fraction: float

    def digest(self, content: object) -> str:
        """SHA-256 over the parameters and a description of the images."""
        numbers = [SCHEMA, self.image_size, self.val_fraction, self.test_fraction]
        return request_digest(numbers, content)


@dataclass
class Decoded:
    """What decoding found: the usable images as rows, and the reasons for the others."""

    rows: list[Row] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    notes: Tally = field(default_factory=Tally)
    skipped: Tally = field(default_factory=Tally)
    skipped_of: dict[int, Tally] = field(default_factory=lambda: defaultdict(Tally))
    """The same by label."""


def prepare(config: DataFields, progress: ProgressCallback | None = None) -> ImageData:
    """The data of a configuration: from the cache, or decoded, checked, split and cached.

    With several ranks one rank per host calls it, and the others then call `open_data`.

    Args:
        progress: called with (done, total) images; (0, 0) while another process prepares the same.

    Raises:
        UserError: anything wrong with the data or the cache's disk.
    """
    progress = progress or (lambda done, total: None)
    request = DataRequest(config.data, config.image_size, config.val_fraction, config.test_fraction)
    source, cache = find_source(config.data), default_cache_dir("image_cls")
    path = find_or_build(
        cache, "images", request.digest(source.signature()),
        is_complete=is_complete, progress=progress,
        build=lambda work: build(request, source, cache, work, progress),
    )  # fmt: skip
    return open_data(path)


def summary(data: ImageData) -> str:
    """One line: the images of each split, and what was left out."""
    return prepare_summary("images", data.meta, f"{len(data.classes)} classes")


def build(
    request: DataRequest, source: Source, cache: Path, work: Path, progress: ProgressCallback
) -> Path:
    """Prepare the data in `work`, rename it into the cache and return its path.

    Raises:
        UserError: a class has no usable image.
    """
    size = request.image_size
    staging = new_array(work / "staging.npy", np.uint8, (len(source), size, size, 3))
    decoded = decode_all(source, staging, progress)
    check_decoded(source, decoded)
    note_class_names(source.classes, decoded.notes)
    result = split_rows(
        decoded.rows, val_fraction=request.val_fraction, test_fraction=request.test_fraction
    )
    check_split(source, result)
    content = [
        source.classes, {n: [(r.sha256, r.label) for r in result.splits[n]] for n in SPLITS}
    ]  # fmt: skip
    key, origin = request.digest(content)[:32], origin_digest(source, decoded, result)
    path = cache / "images" / f"{key}-{origin[:8]}"
    if not is_complete(path):
        made = work / "made"
        made.mkdir()
        write(made, request, source, decoded, result, staging)
        move_folder_into_place(made, path, is_complete)
    return path


def origin_digest(source: Source, decoded: Decoded, result: SplitResult) -> str:
    """SHA-256 of the names of the images and of what was left out or noted."""
    names = [source.display_name(row.number) for row in result.rows()]
    found = [decoded.skipped.to_json(), decoded.notes.to_json(), dict(decoded.sizes)]
    values = [len(source), names, found, result.left_out]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def decode_all(
    source: Source, staging: npt.NDArray[np.uint8], progress: ProgressCallback
) -> Decoded:
    """Decode and resize every image into its row of `staging` [n, size, size, 3]."""
    decoded, size = Decoded(), staging.shape[1]

    def decode_one(number: int) -> tuple[str, tuple[int, ...], tuple[str, ...]] | Skip:
        try:
            image = source.decode(number)
        except Skip as reason:
            return reason
        staging[number] = resize(image.pixels, size)
        return image.sha256, image.pixels.shape[:2], image.notes

    for number, outcome in enumerate(_in_order(decode_one, len(source))):
        progress(number + 1, len(source))
        label, name = source.label(number), source.display_name(number)
        if isinstance(outcome, Skip):
            for skipped in (decoded.skipped, decoded.skipped_of[label]):
                skipped.add(str(outcome), name)
            continue
        sha256, (height, width), notes = outcome
        decoded.rows.append(Row(number, label, source.split(number), sha256))
        decoded.sizes[f"{width}x{height}"] += 1
        for note in notes:
            decoded.notes.add(note, name)
    return decoded


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


def check_decoded(source: Source, decoded: Decoded) -> None:
    """Check that every class has a usable image in train.

    Raises:
        UserError: naming each class that has none.
    """
    problems = Problems()
    present = {row.label for row in decoded.rows if row.split in (None, "train")}
    for label, name in enumerate(source.classes):
        if label not in present:
            skipped = decoded.skipped_of[label]
            reasons = ", ".join(
                f"{count} {reason} ({skipped.examples[reason][0]})"
                for reason, count in skipped.counts.items()
            )
            because = f" ({reasons})" if reasons else ""
            problems.add(
                "data",
                f"{source.name}: class {name!r} has no usable image to train on{because}; "
                "add some, or remove its folder",
            )
    problems.raise_if_any()


def check_split(source: Source, result: SplitResult) -> None:
    """Check that every class has an image in train after copies were left out.

    Raises:
        UserError: naming each class that has none.
    """
    problems = Problems()
    for name in result.untrained(source.classes):
        problems.add(
            "data",
            f"{source.name}: class {name!r} has no image to train on that is not in another "
            "class too; add some, or remove its folder",
        )
    problems.raise_if_any()


def write(
    made: Path,
    request: DataRequest,
    source: Source,
    decoded: Decoded,
    result: SplitResult,
    staging: npt.NDArray[np.uint8],
) -> None:
    """Write the arrays, one split after another, and meta.json last."""
    rows = result.rows()
    pixels = new_array(made / PIXELS, np.uint8, (len(rows), *staging.shape[1:]))
    for position, row in enumerate(rows):
        pixels[position] = staging[row.number]
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
        "parts": result.sizes(),
        "classes_of_parts": result.class_counts(source.classes),
        "sizes": dict(decoded.sizes.most_common(10)),
        "skipped": decoded.skipped.to_json(),
        "notes": decoded.notes.to_json(),
        "left_out": result.left_out,
        "names": [source.display_name(row.number) for row in rows],
    }
    write_meta(made, meta)


def new_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A memory map of a new `.npy` file of zeros, whose disk space is allocated.

    Writing to a map of a sparse file ends the process (SIGBUS) if the disk is full at that moment,
    and no `except` sees it.

    Raises:
        OSError: ENOSPC, there is not enough space on the disk.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array

"""Where pictures come from: the sample, a folder, or Kaggle; each as a list of things to decode.

Fetching a Kaggle data set by name, through kagglehub, which keeps it in a cache of its own.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from abc import ABC, abstractmethod
from pathlib import Path

from hvdcore.errors import UserError
from image_cls.data.decode import Picture, decode
from image_cls.data.listing import ImageFile, list_scenes, shown_name
from image_cls.data.sample import CLASSES, draw_scene

__all__ = [
    "FolderSource",
    "SampleSource",
    "Source",
    "fetch",
    "find_source",
]

SAMPLE_TRAIN, SAMPLE_TEST = 150, 50
"""Pictures of each class of the sample."""
SAMPLE_SIZE = 96
SAMPLE_VERSION = 1
_KAGGLE = re.compile(r"[\w.-]+/[\w.-]+")


class Source(ABC):
    """Numbered pictures with labels; `decode` is called from several threads."""

    name: str
    classes: list[str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def label(self, number: int) -> int: ...

    @abstractmethod
    def part(self, number: int) -> str | None:
        """`train`, `val`, `test`, or None where the data is to be cut by us."""

    @abstractmethod
    def shown(self, number: int) -> str:
        """A name for people."""

    @abstractmethod
    def decode(self, number: int) -> Picture:
        """The picture; raises `Skip`."""

    @abstractmethod
    def signature(self) -> str:
        """Changes when the pictures may have changed; cheap."""


class SampleSource(Source):
    """The procedural scenes: 150 of each class in train, 50 in test."""

    def __init__(self) -> None:
        self.name = "sample"
        self.classes = list(CLASSES)

    def __len__(self) -> int:
        return len(CLASSES) * (SAMPLE_TRAIN + SAMPLE_TEST)

    def label(self, number: int) -> int:
        return number % len(CLASSES)

    def part(self, number: int) -> str | None:
        return "train" if number // len(CLASSES) < SAMPLE_TRAIN else "test"

    def shown(self, number: int) -> str:
        return f"{CLASSES[self.label(number)]}/{number // len(CLASSES)}"

    def decode(self, number: int) -> Picture:
        pixels = draw_scene(self.label(number), number // len(CLASSES), SAMPLE_SIZE)
        return Picture(pixels, ())

    def signature(self) -> str:
        return f"sample {SAMPLE_VERSION}"


class FolderSource(Source):
    """Pictures in class folders.

    Raises:
        UserError: nothing there that could be pictures in classes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = str(root)
        self.classes, self.files = list_scenes(root)
        if not self.files:
            raise UserError(f"data: {root}: no files in its class folders; put pictures there")

    def __len__(self) -> int:
        return len(self.files)

    def label(self, number: int) -> int:
        return self.files[number].label

    def part(self, number: int) -> str | None:
        return self.files[number].part

    def shown(self, number: int) -> str:
        return shown_name(self.files[number].path, self.root)

    def decode(self, number: int) -> Picture:
        return decode(self.files[number].path)

    def signature(self) -> str:
        digest = hashlib.sha256(repr(self.classes).encode())
        for file in self.files:
            digest.update(repr((shown_name(file.path, self.root), *_stamp(file))).encode())
        return digest.hexdigest()


def _stamp(file: ImageFile) -> tuple[object, ...]:
    try:
        status = file.path.stat()
    except OSError:
        return file.label, file.part
    return file.label, file.part, status.st_size, status.st_mtime_ns


def find_source(data: str) -> Source:
    """The source that `--data` means.

    Raises:
        UserError: neither `sample`, nor a folder, nor the name of a Kaggle data set.
    """
    path = Path(data).expanduser()
    if data == "sample":
        return SampleSource()
    if path.is_dir():
        return FolderSource(path)
    if path.exists():
        raise UserError(f"data: {data}: a file; give the folder that holds the class folders")
    if _KAGGLE.fullmatch(data) and not path.parent.is_dir():
        return FolderSource(fetch(data))
    close = difflib.get_close_matches(data, ["sample"])
    hint = f"did you mean {close[0]!r}?" if close else "give sample, a folder, or OWNER/NAME"
    raise UserError(f"data: {data}: no such folder; {hint}")


INTEL = "puneet6060/intel-image-classification"
"""The Intel scenes."""


def fetch(handle: str) -> Path:
    """The folder of a data set, downloaded if it is not there yet. Call on one rank of a host.

    Args:
        handle: `owner/name`, such as `INTEL`.

    Raises:
        UserError: kagglehub is not installed, or Kaggle cannot be reached or has no such set.
    """
    try:
        import kagglehub
    except ImportError:
        raise UserError(
            f"data: {handle}: a Kaggle data set needs kagglehub; "
            "pip install './packages/image_cls[kaggle]', or download it and give the folder"
        ) from None
    try:
        return Path(kagglehub.dataset_download(handle))
    except Exception as error:
        # kagglehub raises its own, requests' and plain errors; for the user they are one.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"data: {handle}: Kaggle did not give it ({reason}); check the name and the network, "
            "or download it by hand and give the folder"
        ) from error

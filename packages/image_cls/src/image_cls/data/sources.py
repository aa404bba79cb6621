"""Where images come from: the sample, a folder, or Kaggle; each as a numbered list to decode."""

from __future__ import annotations

import difflib
import hashlib
import re
from abc import ABC, abstractmethod
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.files.cache import expand_user
from image_cls.data.decode import DecodedImage, decode
from image_cls.data.listing import ImageFile, display_name, list_classes
from image_cls.data.sample import CLASSES, draw_scene

__all__ = [
    "FolderSource",
    "SampleSource",
    "Source",
    "download",
    "find_source",
]

SAMPLE_TRAIN, SAMPLE_TEST = 150, 50
"""Images per class of the sample."""
SAMPLE_SIZE = 96
SAMPLE_VERSION = 1
DECODING_VERSION = 2
"""Changes with the pixels that a file is decoded to."""
_KAGGLE = re.compile(r"[\w.-]+/[\w.-]+")


class Source(ABC):
    """Numbered images with labels; `decode` is called from several threads."""

    name: str
    classes: list[str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def label(self, number: int) -> int: ...

    @abstractmethod
    def split(self, number: int) -> str | None:
        """`train`, `val`, `test`, or None if the data has no splits."""

    @abstractmethod
    def display_name(self, number: int) -> str:
        """The image's name in messages."""

    @abstractmethod
    def decode(self, number: int) -> DecodedImage:
        """The image.

        Raises:
            Skip: it cannot be used.
        """

    @abstractmethod
    def signature(self) -> str:
        """Changes when the images may have changed; cheap to compute."""


class SampleSource(Source):
    """The procedural scenes: 150 images per class in train, 50 in test."""

    def __init__(self) -> None:
        self.name = "sample"
        self.classes = list(CLASSES)

    def __len__(self) -> int:
        return len(CLASSES) * (SAMPLE_TRAIN + SAMPLE_TEST)

    def label(self, number: int) -> int:
        return number % len(CLASSES)

    def split(self, number: int) -> str | None:
        return "train" if number // len(CLASSES) < SAMPLE_TRAIN else "test"

    def display_name(self, number: int) -> str:
        return f"{CLASSES[self.label(number)]}/{number // len(CLASSES)}"

    def decode(self, number: int) -> DecodedImage:
        pixels = draw_scene(self.label(number), number // len(CLASSES), SAMPLE_SIZE)
        return DecodedImage(pixels, ())

    def signature(self) -> str:
        return f"sample {SAMPLE_VERSION}"


class FolderSource(Source):
    """Images in class folders.

    Raises:
        UserError: the folder does not contain images in class folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = str(root)
        self.classes, self.files = list_classes(root)
        if not self.files:
            raise UserError(f"data: {root}: no files in its class folders; put images there")

    def __len__(self) -> int:
        return len(self.files)

    def label(self, number: int) -> int:
        return self.files[number].label

    def split(self, number: int) -> str | None:
        return self.files[number].split

    def display_name(self, number: int) -> str:
        return display_name(self.files[number].path, self.root)

    def decode(self, number: int) -> DecodedImage:
        return decode(self.files[number].path)

    def signature(self) -> str:
        digest = hashlib.sha256(repr((DECODING_VERSION, self.classes)).encode())
        for file in self.files:
            digest.update(repr((display_name(file.path, self.root), *_stamp(file))).encode())
        return digest.hexdigest()


def _stamp(file: ImageFile) -> tuple[object, ...]:
    try:
        status = file.path.stat()
    except OSError:
        return file.label, file.split
    return file.label, file.split, status.st_size, status.st_mtime_ns


def find_source(data: str) -> Source:
    """The source that `--data` names.

    Raises:
        UserError: it is not `sample`, a folder, or the name of a Kaggle data set.
    """
    path = expand_user(data)
    if data == "sample":
        return SampleSource()
    if path.is_dir():
        return FolderSource(path)
    if path.exists():
        raise UserError(f"data: {data}: a file; give the folder that contains the class folders")
    if _KAGGLE.fullmatch(data) and not path.parent.is_dir():
        return FolderSource(download(data))
    close = difflib.get_close_matches(data, ["sample"])
    hint = f"did you mean {close[0]!r}?" if close else "give sample, a folder, or OWNER/NAME"
    raise UserError(f"data: {data}: no such folder; {hint}")


def download(handle: str) -> Path:
    """The folder of a Kaggle data set, downloaded to kagglehub's cache unless it is there.

    Call on one rank per host.

    Args:
        handle: `owner/name`, such as `puneet6060/intel-image-classification`.

    Raises:
        UserError: kagglehub is not installed, or Kaggle cannot be reached or has no such data set.
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
        # kagglehub raises errors of its own, of requests and plain ones, which are not documented.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"data: {handle}: Kaggle download failed ({reason}); check the name and the network, "
            "or download it manually and give the folder"
        ) from error

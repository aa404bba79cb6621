"""Opening data files, compressed or not: gzip, zstd, bzip2 and xz, by the ends of their names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hvdcore.errors import UserError

__all__ = ["is_packed", "open_packed", "packed_errors", "unpacked_suffix"]

_SUFFIXES = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError)


def is_packed(path: Path) -> bool:
    """Whether the file name says that it is compressed."""
    return path.suffix.lower() in _SUFFIXES


def unpacked_suffix(path: Path) -> str:
    """The suffix of the name without that of the compression, in lower case."""
    return (Path(path.stem).suffix if is_packed(path) else path.suffix).lower()


def open_packed(path: Path) -> IO[bytes] | Any:
    """The file's bytes, decompressed. Damage is found while it is read; see `packed_errors`."""
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind == "gzip":
        return gzip.open(path, "rb")
    if kind == "bzip2":
        return bz2.open(path, "rb")
    if kind == "xz":
        return lzma.open(path, "rb")
    return _open_zstd(path) if kind == "zstd" else path.open("rb")


def _open_zstd(path: Path) -> Any:
    import io

    import pyarrow as pa

    class Stream(io.RawIOBase):
        """`pyarrow`'s stream behind the interface of Python's files."""

        def __init__(self) -> None:
            self._inner = pa.CompressedInputStream(pa.OSFile(str(path), "rb"), "zstd")

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            data = self._inner.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)

        def close(self) -> None:
            self._inner.close()
            super().close()

    return io.BufferedReader(Stream(), 1 << 18)


@contextmanager
def packed_errors(path: Path) -> Iterator[None]:
    """Turn errors of reading a file into a UserError that names it and the fix."""
    kind = _SUFFIXES.get(path.suffix.lower())
    try:
        yield
    except PermissionError as error:
        raise UserError(f"data: {path}: no permission to read it") from error
    except FileNotFoundError as error:
        raise UserError(f"data: {path}: it disappeared meanwhile; start again") from error
    except gzip.BadGzipFile as error:
        raise UserError(f"data: {path}: not a gzip file; rename it or compress it again") from error
    except _DAMAGE as error:
        raise UserError(f"data: {path}: truncated or damaged; copy it again") from error
    except OSError as error:
        if kind is None:
            raise
        raise UserError(
            f"data: {path}: not a {kind} file, or damaged; rename it or compress it again"
        ) from error

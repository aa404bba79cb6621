"""Reads what a shared library needs and offers, from its ELF tables; and what ours may."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from .errors import BuildError

# What every Linux with glibc has. Of a framework, Python or MPI there must be nothing.
ALLOWED = re.compile(
    r"(libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+|ld-linux-[\w-]+|libc\.musl-\w+)\.so.*"
)
_DYNSYM, _DYNAMIC, _VERNEED = 11, 6, 0x6FFFFFFE
_DT_NEEDED = 1


@dataclass(frozen=True)
class Library:
    """A shared library's processor (62: x86-64, 183: AArch64), requirements and offers."""

    machine: int
    needed: tuple[str, ...]
    exports: frozenset[str]
    versions: frozenset[str]
    """The symbol versions that it needs of others, such as `GLIBC_2.18`."""

    @property
    def glibc(self) -> tuple[int, ...]:
        """The oldest glibc that has everything; (0,) if nothing of glibc's is versioned."""
        found = [v.removeprefix("GLIBC_") for v in self.versions if v.startswith("GLIBC_2")]
        return max((tuple(map(int, version.split("."))) for version in found), default=(0,))


def read_library(path: Path) -> Library:
    """Reads a 64-bit little-endian shared library; `ValueError` for anything else."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path}: no 64-bit little-endian ELF file")
    (machine,) = struct.unpack_from("<H", data, 18)
    sections = _sections(data)
    needed, exports, versions = [], set(), set()
    for kind, offset, size, link in sections:
        if kind not in (_DYNSYM, _DYNAMIC, _VERNEED):
            continue
        strings = sections[link][1]
        if kind == _DYNAMIC:
            entries = struct.iter_unpack("<qQ", data[offset : offset + size])
            needed += [
                _string(data, strings + value) for tag, value in entries if tag == _DT_NEEDED
            ]
        elif kind == _DYNSYM:
            exports |= _exports(data, offset, size, strings)
        else:
            versions |= _needed_versions(data, offset, strings)
    return Library(machine, tuple(needed), frozenset(exports), frozenset(versions))


def check_library(path: Path, glibc: tuple[int, int] | None = None) -> Library:
    """Raises `BuildError` if a library of ours exports, needs or is bound to what it must not."""
    library = read_library(path)
    foreign = sorted(name for name in library.exports if not name.lower().startswith("horovod"))
    if foreign:
        raise BuildError(
            f"{path.name} exports {', '.join(foreign[:5])}: other names than horovod_*"
        )
    others = [name for name in library.needed if not ALLOWED.fullmatch(name)]
    if others:
        raise BuildError(f"{path.name} needs {', '.join(others)}, which not every machine has")
    if glibc is not None and library.glibc > glibc:
        wanted, found = (".".join(map(str, version)) for version in (glibc, library.glibc))
        raise BuildError(f"{path.name} needs glibc {found}, and is to run with {wanted}")
    return library


def _sections(data: bytes) -> list[tuple[int, int, int, int]]:
    """(type, offset, size, linked section) of each."""
    (table,) = struct.unpack_from("<Q", data, 40)
    entry, count = struct.unpack_from("<HH", data, 58)
    found = []
    for number in range(count):
        _, kind, _, _, offset, size, link = struct.unpack_from(
            "<IIQQQQI", data, table + number * entry
        )
        found.append((kind, offset, size, link))
    return found


def _exports(data: bytes, offset: int, size: int, strings: int) -> set[str]:
    found = set()
    for at in range(offset, offset + size, 24):
        name, info, _, section = struct.unpack_from("<IBBH", data, at)
        if section != 0 and info >> 4 != 0:  # defined here, and not local
            found.add(_string(data, strings + name))
    return found


def _needed_versions(data: bytes, offset: int, strings: int) -> set[str]:
    found = set()
    at = offset
    while True:
        _, count, _, first, following = struct.unpack_from("<HHIII", data, at)
        version = at + first
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", data, version)
            found.add(_string(data, strings + name))
            version += step
        if following == 0:
            return found
        at += following


def _string(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()

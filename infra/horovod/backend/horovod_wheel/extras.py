"""Shared libraries in the wheel besides the core: one small one for each framework that needs it.

They are compiled by the same compiler and with the same flags as the core, against nothing but
`core/horovod_c.h` and what lies in their own folder: the build environment holds no framework.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExtraLibrary:
    """A folder of C++ files beside `core/`, and what becomes of it."""

    folder: str
    output: str
    """The library's path in the wheel."""

    def sources(self, project: Path) -> list[Path]:
        """Its C++ files; none if the folder is not there."""
        return sorted((project / self.folder).glob("*.cc"))

    def version_script(self, project: Path) -> Path:
        """The linker script that says what it exports."""
        return project / self.folder / "exports.map"


EXTRAS = (ExtraLibrary("tensorflow_op", "horovod/lib/libhorovod_tensorflow.so"),)

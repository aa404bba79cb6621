"""Atomic writes: a kill, a full disk or a read-only one never leaves half a file."""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError

__all__ = [
    "fsync_path",
    "give_usual_mode",
    "make_folder",
    "move_folder_into_place",
    "temporary_folder",
    "write_bytes_atomically",
    "write_figure_atomically",
    "writing",
]

_FIXES = {
    errno.ENOSPC: "the disk is full; free some space or {elsewhere}",
    errno.EDQUOT: "the disk quota is used up; free some space or {elsewhere}",
    errno.EFBIG: "the file size limit is reached; raise it (ulimit -f) or give another place",
    errno.EROFS: "the file system is read-only; {elsewhere}",
    errno.EACCES: "no permission to write there; {elsewhere}",
    errno.EPERM: "no permission to write there; {elsewhere}",
    errno.ENOTDIR: "a part of the path is a file, not a folder; {elsewhere}",
    errno.EEXIST: "a file stands where a folder must be; {elsewhere}",
    errno.ENOLCK: "this file system has no file locks; {elsewhere}",
    errno.ENOTSUP: "this file system has no file locks or links; {elsewhere}",
    errno.ENOSYS: "this file system has no file locks; {elsewhere}",
    errno.ENAMETOOLONG: "the path is too long; {elsewhere}",
    errno.ENOENT: "its folder was removed or renamed in the meantime; {elsewhere}",
    errno.ESTALE: "its folder was removed on another host; {elsewhere}",
    errno.EIO: "the disk reports an error (see dmesg); {elsewhere}",
}


@contextmanager
def writing(path: Path, elsewhere: str = "give another --output-dir") -> Iterator[None]:
    """Turn an error that the user can fix (full, read-only, no permission) into a UserError.

    Args:
        path: what is being written; named in the error.
        elsewhere: what the user does to have it written in another place.

    Raises:
        UserError: naming the path and the fix. Any other error passes through.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of any library that writes; errors that are none of the disk pass
        fix = _FIXES.get(_errno(error))
        if fix is None or (_errno(error) == errno.ENOENT and not _is_gone(path, error)):
            raise
        raise UserError(f"{path}: cannot write: {fix.format(elsewhere=elsewhere)}") from error


def make_folder(path: Path, elsewhere: str = "give another --output-dir") -> None:
    """Make a folder and those above it, unless they are there.

    Raises:
        UserError: they cannot be made there, as below a home that does not exist.
    """
    with writing(path, elsewhere):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:
            raise UserError(f"{path}: cannot be made there; {elsewhere}") from error


@contextmanager
def temporary_folder() -> Iterator[None]:
    """Around what makes files in the temporary folder.

    Raises:
        UserError: there is none, or it cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).split(" in [")[0]
        raise UserError(
            f"TMPDIR: no temporary file can be made ({reason}); set it to a folder that can be"
            " written"
        ) from error


def _is_gone(path: Path, error: Exception) -> bool:
    """Whether the place is missing, and not something that was read on the way."""
    below = Path(str(getattr(error, "filename", ""))).is_relative_to(path)
    return not path.parent.is_dir() or (below and not path.exists())


def _errno(error: Exception) -> int:
    if isinstance(error, OSError):
        return error.errno or 0
    # Libraries in Rust (safetensors, tokenizers) raise types of their own and say it in words.
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else 0


def fsync_path(path: Path) -> None:
    """Have the kernel put a file, or a folder's list of names, on the disk before continuing."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write a file that is either the old one or the new one, whole, whatever happens.

    Raises:
        UserError: when the disk is full or cannot be written.
    """
    # Not the process id: on hosts that share the disk, two processes may have the same one.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        fsync_path(path.parent)


def write_figure_atomically(figure: Any, path: Path) -> None:
    """Write one of matplotlib's figures as a PNG; the same figure always gives the same bytes.

    Raises:
        UserError: when the disk is full or cannot be written.
    """
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, content.getvalue())


def give_usual_mode(path: Path) -> None:
    """Give a file the mode that any new one has here (0644, or what the umask says).

    safetensors and others write a temporary file, which its owner alone may read, and rename it.
    """
    os.chmod(path, 0o666 & ~_umask())


def _umask() -> int:
    # os.umask can only be asked by setting it, for a moment in which other threads write files.
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    return 0o022


def move_folder_into_place(made: Path, path: Path, is_whole: Callable[[Path], bool]) -> None:
    """Rename a finished folder to where its content's name leads, unless it is there already.

    Args:
        made: the folder, on the same disk as `path`.
        is_whole: tells a whole folder of this kind from a damaged one, which is replaced.
    """
    path.parent.mkdir(exist_ok=True)
    for file in made.rglob("*"):
        if file.is_file():
            give_usual_mode(file)
            fsync_path(file)
    if path.exists():  # the same content, made before, or a damaged one
        if is_whole(path):
            return
        shutil.rmtree(path)
    try:
        made.rename(path)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not is_whole(path):
            raise

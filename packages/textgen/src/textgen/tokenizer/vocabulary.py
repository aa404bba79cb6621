"""The vocabulary files from which transformers makes a tokenizer.json, checked before it tries.

transformers takes a SentencePiece file that it cannot read for a tiktoken file, and asks for a
package that does not help.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from hvdcore.errors import UserError

__all__ = ["VOCABULARIES", "check_vocabulary_file"]

VOCABULARIES = (
    "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
    "tekken.json",
)  # fmt: skip
_BINARY = tuple(name for name in VOCABULARIES if name.endswith(".model"))
_FIRST_PIECE = b"\n"
"""The first byte of a SentencePiece model: its field 1. A tiktoken file is lines of base64."""


def check_vocabulary_file(folder: Path) -> None:
    """Check that the packages are here that read a folder's SentencePiece or tiktoken vocabulary.

    Nothing is checked where it has another vocabulary too.

    Raises:
        UserError: a package is missing, or the file is empty or damaged.
    """
    if any((folder / name).is_file() for name in VOCABULARIES if name not in _BINARY):
        return
    for path in (folder / name for name in _BINARY if (folder / name).is_file()):
        with path.open("rb") as file:
            first = file.read(1)
        if not first:
            raise _damaged(path, "it is empty")
        if first == _FIRST_PIECE:
            _need(path, "SentencePiece", "sentencepiece", "google.protobuf")
            _open_sentencepiece(path)
        else:
            _need(path, "tiktoken", "tiktoken")


def _need(path: Path, form: str, *modules: str) -> None:
    missing = [name for name in modules if not _is_installed(name)]
    if missing:
        packages = " ".join(name.removeprefix("google.") for name in missing)
        raise UserError(
            f"{path}: a {form} vocabulary, and no tokenizer.json beside it; pip install {packages},"
            " or copy tokenizer.json and tokenizer_config.json to this folder"
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def _open_sentencepiece(path: Path) -> None:
    import sentencepiece

    try:
        sentencepiece.SentencePieceProcessor(model_file=str(path))
    except Exception as error:  # its binding raises RuntimeError and others
        raise _damaged(path, "SentencePiece cannot read it") from error


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: {reason}; copy the file again, or tokenizer.json and tokenizer_config.json"
    )

"""Owns a prepared corpus on disk: what is in the folder, and how it is opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.errors import UserError
from textgen.data.blocks import TokenBlocks
from textgen.data.splits import PARTS
from textgen.tokenizer.tokenizer import Tokenizer, load_tokenizer

__all__ = ["META", "SCHEMA", "Corpus", "is_complete", "open_corpus"]

META = "meta.json"
SCHEMA = 2


@dataclass(frozen=True)
class Corpus:
    """Tokenized parts, memory mapped: opening costs nothing, ranks of one host share the pages.

    Attributes:
        path: the folder.
        context_length: tokens a block.
        meta: the content of meta.json.
    """

    path: Path
    context_length: int
    meta: dict[str, Any]

    @cached_property
    def train(self) -> TokenBlocks:
        """Full blocks only."""
        return self._blocks("train", keep_tail=False)

    @cached_property
    def val(self) -> TokenBlocks:
        """Every token but the first is a target once; no blocks when there is no val part."""
        return self._blocks("val", keep_tail=True)

    @cached_property
    def test(self) -> TokenBlocks:
        """As `val`."""
        return self._blocks("test", keep_tail=True)

    def part(self, name: str) -> TokenBlocks | None:
        """Blocks of "train", "val" or "test"; None when the part was not asked for."""
        blocks = {"train": self.train, "val": self.val, "test": self.test}[name]
        return blocks if len(blocks) else None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids; `tokenizer_path` is its folder."""
        return load_tokenizer(self.tokenizer_path)

    @property
    def tokenizer_path(self) -> Path:
        """Folder with tokenizer.json and tokenizer_config.json, to copy into a run."""
        return self.path / "tokenizer"

    @property
    def num_tokens(self) -> dict[str, int]:
        """Ids of each part."""
        return {name: int(self.meta["parts"][name]["tokens"]) for name in PARTS}

    @property
    def num_bytes(self) -> dict[str, int]:
        """UTF-8 bytes that the predicted tokens of each part stand for."""
        return {name: int(self.meta["parts"][name]["target_bytes"]) for name in PARTS}

    @property
    def num_words(self) -> dict[str, int]:
        """Words in those bytes, as `textgen.data.words` counts them."""
        return {name: int(self.meta["parts"][name]["target_words"]) for name in PARTS}

    def document_offsets(self, name: str) -> npt.NDArray[np.int64]:
        """Index of the first token of each document of a part, shape [documents]."""
        offsets: npt.NDArray[np.int64] = np.load(
            self.path / f"{name}.offsets.npy", allow_pickle=False
        )
        return offsets

    def _blocks(self, name: str, *, keep_tail: bool) -> TokenBlocks:
        dtype = np.dtype(self.meta["dtype"])
        tokens: npt.NDArray[Any]
        if self.num_tokens[name]:
            tokens = np.memmap(self.path / f"{name}.bin", dtype=dtype, mode="r")
        else:  # an empty file cannot be mapped
            tokens = np.empty(0, dtype=dtype)
        return TokenBlocks(
            tokens, self.context_length, keep_tail=keep_tail, num_bytes=self.num_bytes[name]
        )


def open_corpus(path: Path, context_length: int) -> Corpus:
    """Open what `prepare` wrote. Every rank may call; nothing is written.

    Raises:
        UserError: no complete corpus there, or a part is shorter than one block.
    """
    if not is_complete(path):
        raise UserError(f"data: {path} is not a complete prepared corpus; run textgen prepare")
    corpus = Corpus(path, context_length, json.loads((path / META).read_text(encoding="utf-8")))
    short = [
        f"data: the {name} part holds {part['tokens']} tokens, fewer than one block of "
        f"context_length {context_length} and its last target; {_fix(name)}"
        for name, part in corpus.meta["parts"].items()
        if part["documents"] and part["tokens"] < context_length + 1
    ]
    if short:
        raise UserError(*short)
    return corpus


def _fix(name: str) -> str:
    larger = "" if name == "train" else f", raise --{name}-fraction (0 leaves the part out)"
    return f"lower --context-length{larger} or give more text"


def is_complete(path: Path) -> bool:
    """Whether `path` holds a corpus of this schema with files as long as meta.json says."""
    try:
        meta = json.loads((path / META).read_text(encoding="utf-8"))
        if meta["schema"] != SCHEMA:
            return False
        width = np.dtype(meta["dtype"]).itemsize
        return (path / "tokenizer" / "tokenizer.json").is_file() and all(
            (path / f"{name}.bin").stat().st_size == meta["parts"][name]["tokens"] * width
            for name in PARTS
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False

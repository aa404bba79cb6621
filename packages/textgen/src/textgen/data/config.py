"""TODO config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

__all__ = ["DataConfig"]


@dataclass(frozen=True)
class DataConfig:
    """What is read and how it becomes tokens.

    Attributes:
        data: "sample", a file or folder, or a hub id (`owner/name`, `owner/name:config`).
        tokenizer: "byte", "bpe" (trained on the train part), a path, or a hub id.
        vocab_size: tokens that "bpe" learns; the others bring their own.
        context_length: tokens a block; not part of what is cached.
        val_fraction, test_fraction: shares of the text, each in [0, 1).
        seed: of the split only. Leave it when the training seed changes, or the runs are
            measured on different texts.
        text_column: column with the text in JSON Lines, Parquet, Arrow and hub data sets.
        near_duplicate_threshold: documents that share as much of their word shingles are kept
            together in one part; 1 looks for none.
        cache_dir: default `default_cache_dir()`.
    """

    data: str = "sample"
    tokenizer: str = "bpe"
    vocab_size: int = 1024
    context_length: int = 128
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 0
    text_column: str = "text"
    near_duplicate_threshold: float = 0.7
    cache_dir: Path | None = None


class DataFields(BaseModel):
    """What is read and how it becomes tokens."""

    data: str = "sample"
    """``sample``, a file or folder of books, or a hub id."""
    text_column: str = "text"
    """Column that holds the text, for Parquet, Arrow, JSONL and hub data sets."""
    near_duplicate_threshold: float = Field(0.7, gt=0.0, le=1.0)
    """Documents that share as much of their word shingles stand in one part; 1 looks for none."""
    tokenizer: str | None = None
    """``byte``, ``bpe`` (trained on the train part), a path, or a hub id. By default the one of
    ``init_from``, or ``bpe``."""
    vocab_size: int = Field(1024, ge=257, le=1_000_000)
    """Number of tokens that ``bpe`` learns; the other tokenizers bring their own."""
    val_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the text in the val part."""
    test_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the text in the test part."""

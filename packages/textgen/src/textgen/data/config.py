"""Which documents are read, how they are split, and how they become tokens."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from hvdcore.config import Config, Flag

__all__ = ["DataConfig"]


class DataConfig(Config):
    """What `textgen.data.prepare` makes a corpus from; a `TrainConfig` is one."""

    panel: ClassVar[str] = "Data"

    data: str = "sample"
    """``sample``, a file or folder of books, or a hub id: ``owner/name``, ``owner/name:config``."""
    text_column: str = "text"
    """Column that holds the text, for Parquet, Arrow, JSON Lines and hub data sets."""
    near_duplicate_threshold: float = Field(0.7, gt=0.0, le=1.0)
    """Similarity of word shingles from which two documents go to the same split; 1 turns the
    search for near-duplicates off."""
    tokenizer: Annotated[str | None, Flag(metavar="byte|bpe|PATH|HUB_ID")] = None
    """How text becomes tokens; ``bpe`` is trained on the train split. Default: the tokenizer of
    ``--init-from``, else ``bpe``."""
    vocab_size: int = Field(1024, ge=257, le=1_000_000)
    """Vocabulary size of ``bpe``; the other tokenizers bring their own."""
    context_length: int = Field(128, ge=2, le=1_048_576)
    """Length of the sequences that the model is trained on, in tokens."""
    val_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the text in the val split."""
    test_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the text in the test split."""

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer, the default resolved."""
        return self.tokenizer or "bpe"

    @model_validator(mode="after")
    def _splits_leave_something(self) -> DataConfig:
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"val_fraction {self.val_fraction} and test_fraction {self.test_fraction} leave "
                "nothing to train on; their sum must be below 1"
            )
        return self

"""The configuration of the data: every field with its meaning, unit and bounds.

Field names are the flags with underscores (``--vocab-size`` is ``vocab_size``), in TOML and in the
``config.json`` that a run writes and that ``--config`` reads back.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, field_validator, model_validator

from hvdcore.config import Config

__all__ = ["DataFields", "PrepareConfig", "check_fractions"]


class DataFields(BaseModel):
    """What is read, how it is cut, and how it becomes tokens."""

    data: str = "sample"
    """``sample``, a file or a folder, or a data set on the hub (``owner/name[:folder]``)."""
    text_column: tuple[str, ...] = ()
    """Columns that make the text, joined by a space; as a flag, parted by commas. Default: those
    of AG News's forms."""
    label_column: str | None = None
    """Column with the class, a number or a text. Default: that of AG News's forms."""
    val_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of each class's train texts that goes to val, where the data brings none."""
    test_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of each class that goes to test, where the data brings no test part of its own."""
    num_train_texts: int | None = Field(None, ge=1)
    """Train on so many texts, as many of each class; the rest stays unused. Default: all."""
    vocab_size: int = Field(30_000, ge=3, le=10_000_000)
    """Ids in all: the most frequent tokens of train, padding and unknown."""
    max_length: int = Field(80, ge=1, le=10_000)
    """Tokens that are kept of a text, from its beginning."""

    @field_validator("text_column", mode="before")
    @classmethod
    def _parted_by_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value


def check_fractions(config: DataFields) -> None:
    """Check that something is left to train on.

    Raises:
        ValueError: val and test together take all.
    """
    if config.val_fraction + config.test_fraction >= 1.0:
        raise ValueError(
            f"val_fraction: {config.val_fraction} and test_fraction {config.test_fraction} leave "
            "nothing to train on; their sum must be below 1"
        )


class PrepareConfig(DataFields, Config):
    """What `prepare` needs, frozen; unknown fields are refused."""

    @model_validator(mode="after")
    def _fields_fit_together(self) -> PrepareConfig:
        check_fractions(self)
        return self

"""The configuration of a training run: every field with its meaning, unit and bounds.

Field names are the flags with underscores (``--vocab-size`` is ``vocab_size``), in TOML and in the
``config.json`` that a run writes and that ``--config`` reads back.

What news_cls calls its samples.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from hvdcore.classifier.config import ClassifierConfig, SplitFields, Words
from hvdcore.config import Config

__all__ = [
    "MODELS",
    "WORDS",
    "DataFields",
    "ModelFields",
    "TrainConfig",
]

MODELS = ("lstm", "gru", "cnn", "tfidf")


class DataFields(SplitFields):
    """What is read, how it is cut, and how it becomes tokens."""

    data: str = "sample"
    """``sample``, a file or a folder, or a data set on the hub (``owner/name[:folder]``)."""
    text_column: tuple[str, ...] = ()
    """Columns that make the text, joined by a space; as a flag, parted by commas. Default: those
    of AG News's forms."""
    label_column: str | None = None
    """Column with the class, a number or a text. Default: that of AG News's forms."""
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


class ModelFields(BaseModel):
    """The model, and what keeps it from learning texts by heart."""

    model: Literal["lstm", "gru", "cnn", "tfidf"] = "lstm"
    vectors: str = "ppmi"
    """Where the word vectors start: ``ppmi`` (from the train texts), ``random``, or a text file
    of GloVe or fastText."""
    embed_dim: int = Field(128, ge=1)
    """Numbers of a word vector; a file of vectors brings its own."""
    hidden_dim: int = Field(96, ge=1)
    """Units of a recurrent layer in each direction."""
    conv_dim: int = Field(96, ge=0)
    """Filters of each width, of ``cnn`` and beside a recurrent network; there, 0 is none."""
    ngram_buckets: int = Field(2**18, ge=0)
    """Rows of the table of hashed words and word pairs, a linear model beside the network; 0 is
    none."""
    word_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Probability that a word of a train text is made unknown."""
    embed_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Probability that one number of all word vectors of a train text is left out."""
    feature_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Probability that a pooled feature of a train text is left out."""
    pretrain_epochs: int | None = Field(None, ge=0)
    """Passes over the train texts in which the recurrent layers learn to foretell the next and
    the previous word; by default 6 for ``lstm`` and ``gru``."""


class TrainConfig(DataFields, ModelFields, ClassifierConfig, Config):
    """All of it, frozen; unknown fields are refused."""

    epochs: int = Field(3, ge=1)
    """Passes over the train part; ``max_steps`` overrides it."""
    global_batch_size: int = Field(64, ge=1)
    """Texts in one update, over all ranks."""
    eval_batch_size: int = Field(256, ge=1)
    """Texts that a rank evaluates at once."""
    weight_decay: float = Field(0.0, ge=0.0)
    """Decoupled weight decay; biases are left out."""
    label_smoothing: float = Field(0.05, ge=0.0, lt=1.0)
    """Probability that the target leaves to all classes alike."""
    ema_decay: float = Field(0.0, ge=0.0, lt=1.0)
    """Decay a step of the running average of the weights, which is what is evaluated and saved;
    0 evaluates the weights themselves. It reads and writes whole tables in every step."""

    @model_validator(mode="after")
    def _fields_fit_together(self) -> TrainConfig:
        if problem := self.share_problem():
            raise ValueError(problem)
        if self.model == "cnn" and not self.conv_dim:
            raise ValueError("conv_dim: got 0, which leaves nothing of cnn; give 1 or more")
        if self.ngram_buckets == 1:
            raise ValueError("ngram_buckets: got 1, which padding takes; give 0 or 2 and more")
        return self

    @property
    def num_pretrain_epochs(self) -> int:
        """As configured, or the model's."""
        if self.model not in ("lstm", "gru"):
            return 0
        return 6 if self.pretrain_epochs is None else self.pretrain_epochs


WORDS = Words(package="news_cls", command="news-cls", sample="text", unit="texts")

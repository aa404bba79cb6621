"""The configuration of a training run: every field with its meaning, unit and bounds.

Field names are the flags with underscores (``--vocab-size`` is ``vocab_size``), in TOML and in the
``config.json`` that a run writes and that ``--config`` reads back.
"""

from __future__ import annotations

import codecs
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from hvdcore.classifier.config import ClassifierConfig, SampleNames, SplitFields
from hvdcore.config import Config, Flag

__all__ = [
    "MODELS",
    "SAMPLE_NAMES",
    "DataFields",
    "ModelFields",
    "TrainConfig",
]

MODELS = ("lstm", "gru", "cnn", "tfidf")
SAMPLE_NAMES = SampleNames(package="news_cls", sample="text", predict="--text TEXT")


class DataFields(SplitFields):
    """Which texts to use, how they are split and tokenized."""

    panel: ClassVar[str] = "Data"

    data: str = "sample"
    """``sample``, a file or a folder, or a data set on the hub (``owner/name[:folder]``)."""
    text_column: tuple[str, ...] = ()
    """Columns that make up the text, joined by a space. Default: those of AG News."""
    label_column: Annotated[str | None, Flag(metavar="NAME")] = None
    """Column of the class, a number or a text. Default: that of AG News."""
    encoding: Annotated[str, Flag(metavar="NAME")] = "utf-8"
    """Encoding of text files without a byte-order mark, such as cp1252."""
    test_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Fraction of each class that is held out for test, if the data has no test split."""
    num_train_texts: int | None = Field(None, ge=1)
    """Train on this many texts only, evenly over the classes. Default: all."""
    vocab_size: int = Field(30_000, ge=3, le=10_000_000)
    """Size of the vocabulary: the most frequent tokens of train, padding and unknown."""
    max_length: int = Field(80, ge=1, le=10_000)
    """Tokens to keep of a text, from its beginning."""

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(f"no encoding {value!r}; give utf-8 or cp1252, for example") from None
        return value

    @field_validator("text_column", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value


class ModelFields(Config):
    """The model and its regularization."""

    panel: ClassVar[str] = "Model"

    model: Literal["lstm", "gru", "cnn", "tfidf"] = "lstm"
    vectors: Annotated[str, Flag(metavar="ppmi|random|FILE")] = "ppmi"
    """Initial word vectors: ppmi (computed from the train texts), random, or a text file in the
    format of GloVe or fastText."""
    embed_dim: int = Field(128, ge=1)
    """Size of the word vectors; a file of vectors has its own."""
    hidden_dim: int = Field(96, ge=1)
    """Units of the recurrent layer in each direction."""
    conv_dim: int = Field(96, ge=0)
    """Convolution filters per width, of cnn and beside a recurrent network; 0 for none there."""
    ngram_buckets: int = Field(2**18, ge=0)
    """Rows of the table of hashed words and word pairs, a linear model beside the network; 0 for
    none."""
    subword_buckets: int = Field(2**18, ge=0)
    """Rows of the table of hashed character n-grams of the words, which the linear model takes
    too; 0 for none."""
    word_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Probability that a word of a train text is replaced by unknown."""
    embed_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Dropout of the dimensions of the word vectors, the same for all words of a text."""
    feature_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Dropout of the pooled features."""
    pretrain_epochs: int | None = Field(None, ge=0)
    """Epochs of language-model pretraining of the recurrent layers on the train texts, by next-
    and previous-word prediction. Default: 6 for lstm and gru."""


class TrainConfig(DataFields, ModelFields, ClassifierConfig, Config):
    """All fields together, frozen; unknown fields are errors."""

    earlier_values: ClassVar[dict[str, Any]] = {"subword_buckets": 0}

    panel: ClassVar[str] = "Optimization"

    epochs: int = Field(3, ge=1)
    """Passes over the train split; ``max_steps`` overrides it."""
    global_batch_size: int = Field(64, ge=1)
    """Texts per update, over all ranks."""
    eval_batch_size: int = Field(256, ge=1)
    """Texts per batch and rank in evaluation."""
    weight_decay: float = Field(0.0, ge=0.0)
    """Decoupled weight decay; biases are excluded."""
    label_smoothing: float = Field(0.05, ge=0.0, lt=1.0)
    """Probability mass of the target that is spread evenly over all classes."""
    ema_decay: float = Field(0.0, ge=0.0, lt=1.0)
    """Decay per step of the moving average of the weights, which is what is evaluated and saved;
    0 evaluates the weights themselves. It reads and writes whole embedding tables in every step."""

    @model_validator(mode="after")
    def _check_fields_together(self) -> TrainConfig:
        if problem := self.fractions_problem():
            raise ValueError(problem)
        if self.model == "cnn" and not self.conv_dim:
            raise ValueError("conv_dim: got 0, which leaves nothing of cnn; give 1 or more")
        for name in ("ngram_buckets", "subword_buckets"):
            if getattr(self, name) == 1:
                raise ValueError(f"{name}: got 1, which padding takes; give 0, or 2 or more")
        return self

    @property
    def num_pretrain_epochs(self) -> int:
        """As configured, or the model's default."""
        if self.model not in ("lstm", "gru"):
            return 0
        return 6 if self.pretrain_epochs is None else self.pretrain_epochs

    @property
    def num_train_samples(self) -> int | None:
        """How many of the train texts are used; None for all."""
        return self.num_train_texts

    def data_values(self) -> dict[str, Any]:
        """The values that decide how the data is prepared, as JSON."""
        fields = set(DataFields.model_fields) - {"num_train_texts"}
        return self.model_dump(mode="json", include=fields)

"""The task of ``news-cls train``: texts in splits, and the network for them.

The training loop is `hvdcore.classifier.keras.train`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hvdcore.classifier.figures import most_confident_mistakes
from hvdcore.classifier.keras import (
    Batch,
    Inputs,
    PretrainingCheckpoints,
    pad_rows,
    prepare_distributed,
    save_model,
    smooth_labels,
)
from hvdcore.errors import printable, printable_name
from hvdcore.files.atomic import write_bytes_atomically
from hvdcore.files.markdown_text import indented_block, plain_text
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices
from news_cls.config import SAMPLE_NAMES, TrainConfig
from news_cls.data.dataset import Split, TextData, open_data
from news_cls.data.prepare import prepare, summary
from news_cls.model.embeddings import initial_vectors
from news_cls.model.networks import LEARNING_RATES, build_network, num_features, serving_model
from news_cls.model.vectorizer import Vectorizer
from news_cls.training.batches import (
    bucketed_order,
    drop_words,
    dropout_mask,
    padded_length,
    uniforms,
)
from news_cls.training.pretrain import pretrain

__all__ = [
    "TextTask",
    "mistakes_text",
    "open_task",
    "open_texts",
    "write_mistakes",
]

NUM_MISTAKES = 20
MAX_SHOWN = 300
"""Characters of a text in ``mistakes.md``."""


def open_texts(config: TrainConfig, world: World) -> TextData:
    """Prepare the texts on one rank per host and open them on all. Every rank must call.

    Raises:
        UserError: the data is wrong.
    """
    return prepare_distributed(config, prepare, open_data, summary, world)


def open_task(config: TrainConfig, world: World) -> TextTask:
    """Open the texts, with the initial word vectors. Every rank must call.

    Raises:
        UserError: the data or the file of word vectors is wrong.
    """
    data = open_texts(config, world)
    return TextTask(config, data, world.size, initial_vectors(config, data, world))


class TextTask:
    """Texts in splits, and the network for them; see `hvdcore.classifier.keras.Task`.

    Args:
        size: number of ranks.
        vectors: the initial word vectors, [vocabulary, E].
    """

    def __init__(
        self, config: TrainConfig, data: TextData, size: int, vectors: npt.NDArray[np.float32]
    ) -> None:
        self.names = SAMPLE_NAMES
        self.config, self.data, self.vectors = config, data, vectors
        self.classes = data.classes
        train = data.train_subset(config.num_train_texts, SAMPLE_NAMES)
        self.splits: dict[str, Split] = {**data.splits, "train": train}
        self.train_lengths = train.lengths
        self.peak_learning_rate = config.learning_rate or LEARNING_RATES[config.model]
        self.rows = max(1, config.global_batch_size // size)

    def order(self, epoch: int) -> Indices:
        """Global batches of texts of similar length."""
        config = self.config
        return bucketed_order(self.train_lengths, config.global_batch_size, config.seed, epoch)

    def get_batch(self, epoch: int, indices: Indices) -> Batch:
        """With word dropout applied, and the masks of the other dropout as inputs."""
        split, config = self.splits["train"], self.config
        dim, features = self.vectors.shape[1], num_features(config)
        most = self.data.max_length
        length = min(padded_length(self.train_lengths[indices]), most)
        ids = split.ids.padded(indices, length)
        draws = uniforms(config.seed, epoch, indices, most + dim + features)
        ids = drop_words(ids, draws[:, :most], config.word_dropout)
        embed_mask = dropout_mask(draws[:, None, most : most + dim], config.embed_dropout)
        feature_mask = dropout_mask(draws[:, most + dim :], config.feature_dropout)
        targets = smooth_labels(split.labels[indices], len(self.classes), config.label_smoothing)
        return Batch.padded((ids, embed_mask, feature_mask), targets, self.rows)

    def eval_batches(self, split: Split, indices: Indices) -> Iterator[tuple[Indices, Inputs]]:
        """Texts of similar length together, without dropout."""
        lengths, rows = split.lengths[indices], self.config.eval_batch_size
        ones = (
            np.ones((rows, 1, self.vectors.shape[1]), dtype=np.float32),
            np.ones((rows, num_features(self.config)), dtype=np.float32),
        )
        by_length = np.argsort(lengths, kind="stable")
        for start in range(0, len(indices), rows):
            positions = by_length[start : start + rows]
            ids = split.ids.padded(indices[positions], padded_length(lengths[positions]))
            yield positions, (pad_rows(ids, rows), *ones)

    def build_model(self) -> keras.Model:
        """With fresh weights, by the seed."""
        config, words = self.config, self.data.words
        return build_network(config, self.vectors, len(self.classes), config.seed, words=words)

    def pretrain(
        self,
        model: keras.Model,
        world: World,
        checkpoints: PretrainingCheckpoints,
        stop: Callable[[], bool],
    ) -> bool:
        """Language-model pretraining of the recurrent layers, if configured."""
        if not self.config.num_pretrain_epochs:
            return True
        ids = self.splits["train"].ids
        return pretrain(model, ids, self.data, self.config, world, checkpoints, stop)

    def run_fingerprint(self) -> dict[str, Any]:
        """The texts, their number, and how they become ids."""
        return {
            "texts": self.data.key,
            "num_train_texts": len(self.splits["train"]),
            "vectors": self.config.vectors,
            "pretrain_epochs": self.config.num_pretrain_epochs,
        }

    def report_values(self) -> dict[str, Any]:
        """The texts that were found, used and left out."""
        return {"texts": self.data.report_values()}

    def save(self, folder: Path, model: keras.Model) -> None:
        """Write a model of raw strings, which contains the vocabulary."""
        vectorizer = Vectorizer(self.data.words, self.data.max_length, name="vectorizer")
        preprocessing = {"input": "raw strings, [batch]", "max_length": self.data.max_length}
        save_model(folder, serving_model(model, vectorizer), self.classes, preprocessing)

    def draw_figures(self, run: RunDir, split: str, probabilities: npt.NDArray[np.float64]) -> None:
        """Write the most confident mistakes, as text."""
        write_mistakes(run.path / "mistakes.md", self.splits[split], probabilities, self.classes)


def mistakes_text(
    split: Split, probabilities: npt.NDArray[np.float64], classes: Sequence[str]
) -> str:
    """One paragraph per mistake, most confident first: predicted and true class, file, text.

    Args:
        probabilities: of each text of the split [n, C].
    """
    paragraphs = []
    for mistake in most_confident_mistakes(probabilities, split.labels, NUM_MISTAKES):
        text = split.texts[mistake.index]
        shown = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + " ..."
        predicted, label = (printable_name(classes[n]) for n in (mistake.predicted, mistake.label))
        where = printable_name(split.names[mistake.index])
        heading = f"{predicted} {mistake.probability:.0%}, is {label} ({where})"
        paragraphs.append(f"{plain_text(heading)}\n\n{indented_block(printable(shown))}\n")
    return "\n".join(paragraphs) if paragraphs else "none\n"


def write_mistakes(
    path: Path, split: Split, probabilities: npt.NDArray[np.float64], classes: Sequence[str]
) -> None:
    """Write `mistakes_text` to a file. Rank 0 only."""
    text = mistakes_text(split, probabilities, classes)
    write_bytes_atomically(path, text.encode("utf-8", "replace"))

"""The classification of texts, as the training of `hvdcore.classifier.keras` takes it.

The prepared texts on all ranks; networks and TF-IDF begin with it.

``report.html`` of news_cls, and what it tells of the texts.

The most confident mistakes of a classifier of texts, as text.
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
    Pretraining,
    filled_up,
    open_on_all_ranks,
    save_model,
    smoothed,
)
from hvdcore.classifier.report import write_report
from hvdcore.files.atomic import write_bytes_atomically
from hvdcore.run.pages import report_runs as report
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices
from news_cls.config import WORDS, DataFields, TrainConfig
from news_cls.data.dataset import Part, TextData, open_data, train_part
from news_cls.data.prepare import prepare, summary
from news_cls.model.embeddings import start_vectors
from news_cls.model.networks import LEARNING_RATES, build_network, num_features, serving_model
from news_cls.model.vectorizer import Vectoriser
from news_cls.training.batches import bucketed_order, drop_words, kept, padded_length, uniforms
from news_cls.training.pretrain import pretrain

__all__ = [
    "TextTask",
    "mistakes_text",
    "open_task",
    "open_texts",
    "report_runs",
    "texts_values",
    "write_mistakes",
]


def open_texts(config: DataFields, world: World) -> TextData:
    """Prepare on one rank of each host, then open everywhere. Every rank must call.

    Raises:
        UserError: the data is not what it should be.
    """
    return open_on_all_ranks(lambda tell: prepare(config, tell), open_data, summary, world)


def report_runs(paths: Sequence[Path], output_dir: Path | None) -> Path:
    """``news-cls report RUN...``; see `hvdcore.run.pages.report_runs`."""
    return report(paths, output_dir, lambda runs, page: write_report(runs, page, WORDS))


def texts_values(data: TextData) -> dict[str, Any]:
    """What ``report.json`` tells of what became of the texts that were found."""
    meta = data.meta
    return {
        "texts": {
            "key": data.key,
            "parts": meta["parts"],
            "left_out": meta["left_out"],
            "skipped": {why: entry["count"] for why, entry in meta["skipped"].items()},
            "vocab_size": data.vocab_size,
        }
    }


NUM_MISTAKES = 20
MOST_SHOWN = 300
"""Characters of a text."""


def mistakes_text(
    part: Part, probabilities: npt.NDArray[np.float64], classes: Sequence[str]
) -> str:
    """A paragraph for each, most confident first: what was answered, what it is, where, the text.

    Args:
        probabilities: of each text of the part [n, C].
    """
    paragraphs = []
    for mistake in most_confident_mistakes(probabilities, part.labels, NUM_MISTAKES):
        text = part.texts[mistake.index]
        shown = text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + " ..."
        answer = f"{classes[mistake.predicted]} {mistake.probability:.0%}"
        where = part.names[mistake.index]
        paragraphs.append(f"{answer}, is {classes[mistake.label]} ({where})\n{shown}\n")
    return "\n".join(paragraphs) if paragraphs else "none\n"


def write_mistakes(
    path: Path, part: Part, probabilities: npt.NDArray[np.float64], classes: Sequence[str]
) -> None:
    """Write `mistakes_text` to a file. Rank 0 only."""
    text = mistakes_text(part, probabilities, classes)
    write_bytes_atomically(path, text.encode("utf-8", "replace"))


def open_task(config: TrainConfig, world: World) -> TextTask:
    """Prepare the texts on one rank of each host and open them. Every rank must call.

    Raises:
        UserError: the data is not what it should be.
    """
    data = open_texts(config, world)
    return TextTask(config, data, world.size, start_vectors(config, data, world))


class TextTask:
    """Texts in parts, and the network for them; see `hvdcore.classifier.keras.Task`.

    Args:
        size: ranks.
        vectors: that the network starts with, [vocabulary, E].
    """

    def __init__(
        self, config: TrainConfig, data: TextData, size: int, vectors: npt.NDArray[np.float32]
    ) -> None:
        self.words = WORDS
        self.config, self.data, self.vectors = config, data, vectors
        self.classes = data.classes
        self.parts: dict[str, Part] = {**data.parts, "train": train_part(config, data)}
        self.peak_learning_rate = config.learning_rate or LEARNING_RATES[config.model]
        self.rows = max(1, config.global_batch_size // size)
        self.lengths = {name: part.lengths for name, part in self.parts.items()}

    def order(self, epoch: int) -> Indices:
        """Global batches of texts of like length."""
        config = self.config
        return bucketed_order(self.lengths["train"], config.global_batch_size, config.seed, epoch)

    def read(self, epoch: int, indices: Indices) -> Batch:
        """Some words made unknown, and masks for the rest of the dropout."""
        part, config = self.parts["train"], self.config
        dim, features = self.vectors.shape[1], num_features(config)
        most = self.data.max_length
        length = min(padded_length(self.lengths["train"][indices]), most)
        ids = part.ids.padded(indices, length)
        draws = uniforms(config.seed, epoch, indices, most + dim + features)
        ids = drop_words(ids, draws[:, :most], config.word_dropout)
        embed_mask = kept(draws[:, None, most : most + dim], config.embed_dropout)
        feature_mask = kept(draws[:, most + dim :], config.feature_dropout)
        targets = smoothed(part.labels[indices], len(self.classes), config.label_smoothing)
        return Batch.of((ids, embed_mask, feature_mask), targets, self.rows)

    def eval_batches(self, part: Part, indices: Indices) -> Iterator[tuple[Indices, Inputs]]:
        """Texts of like length together, and nothing left out."""
        lengths, rows = part.lengths[indices], self.config.eval_batch_size
        ones = (
            np.ones((rows, 1, self.vectors.shape[1]), dtype=np.float32),
            np.ones((rows, num_features(self.config)), dtype=np.float32),
        )
        by_length = np.argsort(lengths, kind="stable")
        for start in range(0, len(indices), rows):
            places = by_length[start : start + rows]
            ids = part.ids.padded(indices[places], padded_length(lengths[places]))
            yield places, (filled_up(ids, rows), *ones)

    def build_model(self) -> keras.Model:
        """Fresh weights, by the seed."""
        return build_network(self.config, self.vectors, len(self.classes), self.config.seed)

    def pretrain(
        self, model: keras.Model, world: World, kept: Pretraining, stop: Callable[[], bool]
    ) -> bool:
        """Recurrent layers learn to foretell words first."""
        return not self.config.num_pretrain_epochs or pretrain(self, model, world, kept, stop)

    def run_fingerprint(self) -> dict[str, Any]:
        """The texts, their number and how they become ids."""
        return {
            "texts": self.data.key,
            "num_train_texts": len(self.parts["train"]),
            "vectors": self.config.vectors,
            "pretrain_epochs": self.config.num_pretrain_epochs,
        }

    def report(self) -> dict[str, Any]:
        """What became of the texts that were found."""
        return texts_values(self.data)

    def save(self, folder: Path, model: keras.Model) -> None:
        """As a model of raw strings, with its vocabulary inside."""
        vectoriser = Vectoriser(self.data.words, self.data.max_length, name="vectoriser")
        preprocessing = {"input": "raw strings, [batch]", "max_length": self.data.max_length}
        save_model(folder, serving_model(model, vectoriser), self.classes, preprocessing)

    def draw(self, run: RunDir, split: str, probabilities: npt.NDArray[np.float64]) -> None:
        """Most confident mistakes, as text."""
        write_mistakes(run.path / "mistakes.md", self.parts[split], probabilities, self.classes)

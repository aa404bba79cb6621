"""The classification of texts, as the training of `hvdcore.classifier.keras` takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hvdcore.classifier.keras import Batch, Inputs, Pretraining, filled_up, save_model, smoothed
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices
from news_cls.check import train_part
from news_cls.config import TrainConfig
from news_cls.data.dataset import Part, TextData
from news_cls.model.networks import LEARNING_RATES, build_network, num_features, serving_model
from news_cls.model.start_vectors import start_vectors
from news_cls.model.vectorizer import Vectoriser
from news_cls.training.batches import bucketed_order, padded_length
from news_cls.training.dropout import drop_words, kept, uniforms
from news_cls.training.mistakes import write_mistakes
from news_cls.training.open_texts import open_texts
from news_cls.training.pretrain import pretrain
from news_cls.training.report import texts_values
from news_cls.words import WORDS

__all__ = ["TextTask", "open_task"]


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

    def identity(self) -> dict[str, Any]:
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

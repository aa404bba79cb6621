"""The CNN of `image_cls` on noise: the content of the images does not change the time."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hvdcore.classifier.keras import smooth_labels
from image_cls.config import TrainConfig
from image_cls.data.batches import BatchReader
from image_cls.data.dataset import Split
from image_cls.model import LEARNING_RATES, build_model, cnn

SIZE, CLASSES = 64, 6


class ImageWork:
    """See `keras_work.Work`."""

    num_samples = 512
    learning_rate = LEARNING_RATES["cnn"]

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        shape = (self.num_samples, SIZE, SIZE, 3)
        self.pixels = draw.integers(0, 256, shape).astype(np.uint8)
        self.labels = draw.integers(0, CLASSES, self.num_samples)
        self.readers: dict[int, BatchReader] = {}

    def new_model(self) -> keras.Model:
        return build_model(TrainConfig(), SIZE, CLASSES, 0)

    def peer_model(self) -> keras.Model:
        keras.utils.set_random_seed(0)
        return cnn(SIZE, CLASSES, of_keras=True)

    def new_optimizer(self) -> keras.optimizers.Optimizer:
        return keras.optimizers.AdamW(self.learning_rate, weight_decay=0.05, beta_2=0.99)

    def loss(self, targets: Any, logits: Any) -> Any:
        return keras.losses.CategoricalCrossentropy(from_logits=True)(targets, logits)

    def batch(self, samples: npt.NDArray[np.int64]) -> tuple[tuple[Any, ...], Any]:
        targets = smooth_labels(self.labels[samples], CLASSES, 0.1)
        return (self.pixels[samples].astype(np.float32),), targets

    def read(self, samples: npt.NDArray[np.int64]) -> Any:
        rows = len(samples)
        if rows not in self.readers:
            split = Split(self.pixels, self.labels, [""] * self.num_samples)
            config = TrainConfig().resolved(self.num_samples)
            self.readers[rows] = BatchReader(split, CLASSES, rows, config)
        return self.readers[rows].get_batch(0, samples)

"""What a Keras benchmark trains: a network, its optimizer, its samples."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Work"]


class Work(Protocol):
    """One of our trainers' tasks, in pieces that the peers can use too."""

    num_samples: int
    learning_rate: float

    def new_model(self) -> Any:
        """The network as our command makes it."""

    def peer_model(self) -> Any:
        """The same network of Keras's own layers, as its users build it."""

    def new_optimizer(self) -> Any:
        """Keras's AdamW as our command sets it; ours moves only the rows of a table that a step
        used."""

    def loss(self, targets: Any, logits: Any) -> Any:
        """Mean over the samples, a scalar."""

    def batch(self, samples: npt.NDArray[np.int64]) -> tuple[tuple[Any, ...], Any]:
        """The model's inputs and the target probabilities [n, C]; costs next to nothing."""

    def read(self, samples: npt.NDArray[np.int64]) -> Any:
        """The same by our input pipeline, with all that a train sample goes through."""

"""What the number of train images decides: epochs, and how strongly images are augmented.

Many passes over few images need strong augmentation, or the network learns them by heart; with few
passes over many images the same augmentation keeps it from learning them at all.
"""

from __future__ import annotations

import math

__all__ = [
    "augmentation_strength",
    "between",
    "default_epochs",
]

_MOST_EPOCHS, _FEWEST_EPOCHS = 200, 10
_IMAGES_SEEN, _TRAIN_IMAGES, _EXPONENT = 306_000, 7_870, 0.4
"""Images seen by a run on that many train images, and the power with which they grow."""
_WEAKEST, _STRONGEST = 12.0, 150.0
"""Passes at which augmentation has a strength of 0 and of 1."""


def default_epochs(num_train: int) -> int:
    """Epochs of the residual network for a number of train images.

    The images that a run sees, and so its time, grow with the power 0.4 of the train images.

    Examples:
        >>> [default_epochs(n) for n in (600, 1_350, 7_870, 1_000_000)]
        [182, 112, 39, 10]
    """
    seen = _IMAGES_SEEN * (num_train / _TRAIN_IMAGES) ** _EXPONENT
    return min(max(round(seen / num_train), _FEWEST_EPOCHS), _MOST_EPOCHS)


def augmentation_strength(passes: float) -> float:
    """Between 0 and 1: how strongly train images are augmented that are seen so many times.

    It grows with the logarithm, from 0 at 12 passes to 1 at 150.

    Examples:
        >>> [round(augmentation_strength(n), 3) for n in (1, 12, 42.43, 150, 1_000)]
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    strength = math.log(max(passes, 1e-9) / _WEAKEST) / math.log(_STRONGEST / _WEAKEST)
    return min(max(strength, 0.0), 1.0)


def between(weak: float, strong: float, strength: float) -> float:
    """`weak` at a strength of 0 and `strong` at 1, with three decimals.

    Examples:
        >>> between(0.6, 0.35, 0.5)
        0.475
    """
    return round(weak + (strong - weak) * strength, 3)

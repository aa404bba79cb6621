"""What can be checked before any rank is started, without loading TensorFlow."""

from __future__ import annotations

from hvdcore.classifier.preflight import check_data
from image_cls.config import SAMPLE_NAMES, TrainConfig

__all__ = ["check_before_start"]


def check_before_start(config: TrainConfig, num_ranks: int | None) -> None:
    """Prepare the data, and check the run against it; see `hvdcore.classifier.preflight`."""
    from image_cls.data.prepare import prepare  # which loads NumPy

    check_data(config, num_ranks, SAMPLE_NAMES, prepare)

"""What can be wrong before any rank is started: it costs no loading of TensorFlow to say so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hvdcore.classifier.preflight import check_schedule_of
from hvdcore.errors import Problems
from hvdcore.run.start import look_at_places
from image_cls.config import WORDS, TrainConfig
from image_cls.data.dataset import train_part

if TYPE_CHECKING:
    pass

__all__ = ["check_before_start", "check_places"]


def check_places(output_dir: Path | None, resume: str) -> None:
    """Look at the folders that the flags name, which takes no time.

    Raises:
        UserError: the run's directory is in use, or nothing is where `resume` says.
    """
    if output_dir is not None:
        problems = Problems()
        look_at_places(output_dir, resume, problems)
        problems.raise_if_any()


def check_before_start(config: TrainConfig, np: int | None) -> None:
    """Prepare the data, and check the run against it.

    Args:
        np: the ranks that will be started; None, where the hosts say it, counts as one.

    Raises:
        UserError: the data, or what is asked of it.
    """
    from image_cls.prepare_command import prepare_with_bar

    n = len(train_part(config, prepare_with_bar(config)))
    check_schedule_of(config, n, np or 1, samples=WORDS.samples)

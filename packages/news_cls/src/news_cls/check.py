"""What can be wrong before any rank is started: it costs no loading of TensorFlow to say so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hvdcore.classifier.preflight import check_evaluation, check_schedule_of, check_splits
from hvdcore.errors import Problems, UserError
from hvdcore.run.run_dir import RunDir
from hvdcore.run.start import check_output_dir
from news_cls.config import WORDS, TrainConfig
from news_cls.data.dataset import train_part

if TYPE_CHECKING:
    pass

__all__ = ["check_before_start", "check_places", "check_saved_run"]


def check_places(config: TrainConfig, output_dir: Path | None, resume: str) -> None:
    """Look at the files and folders that the flags name, which takes no time.

    Raises:
        UserError: the run's directory is in use, or nothing is where `resume` or `vectors` say.
    """
    problems = Problems()
    if output_dir is not None:
        check_output_dir(output_dir, resume, problems)
    with problems.catching():
        check_vectors(config)
    problems.raise_if_any()


def check_vectors(config: TrainConfig) -> None:
    """Check that a file of vectors is there.

    Raises:
        UserError: it is not.
    """
    if config.vectors not in ("ppmi", "random") and not Path(config.vectors).is_file():
        raise UserError(f"vectors: {config.vectors}: no such file; give ppmi, random or a file")


def check_before_start(config: TrainConfig, np: int | None) -> None:
    """Prepare the data, and check the run against it.

    Args:
        np: the ranks that will be started; None, where the hosts say it, counts as one.

    Raises:
        UserError: the data, or what is asked of it.
    """
    from news_cls.data.prepare import prepare

    n = len(train_part(config, prepare(config)))
    check_schedule_of(config, n, np or 1, samples=WORDS.samples)


def check_saved_run(path: Path, splits: Sequence[str]) -> None:
    """A run with a saved model, to be scored on these parts.

    Raises:
        UserError: there is none, or no such part.
    """
    from news_cls.model.tfidf import is_tfidf

    if is_tfidf(RunDir(path).model):
        check_splits(splits)
    else:
        check_evaluation(path, splits)

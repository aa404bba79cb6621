"""What can be checked before any rank is started, without loading TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hvdcore.classifier.preflight import check_data, check_evaluation
from hvdcore.errors import UserError
from hvdcore.run.run_dir import RunDir
from hvdcore.run.splits import check_split_names
from news_cls.config import SAMPLE_NAMES, TrainConfig

__all__ = ["check_before_start", "check_files", "check_saved_run"]


def check_files(config: TrainConfig) -> None:
    """Check that the file of word vectors exists, if one is configured.

    Raises:
        UserError: it does not.
    """
    if config.vectors not in ("ppmi", "random") and not Path(config.vectors).is_file():
        raise UserError(f"vectors: {config.vectors}: no such file; give ppmi, random or a file")


def check_before_start(config: TrainConfig, num_ranks: int | None) -> None:
    """Prepare the data, and check the run against it; see `hvdcore.classifier.preflight`."""
    from news_cls.data.prepare import prepare  # which loads NumPy

    check_data(config, num_ranks, SAMPLE_NAMES, prepare)


def check_saved_run(path: Path, splits: Sequence[str]) -> None:
    """Check a run with a saved model that is to be scored on these splits.

    Raises:
        UserError: there is none, or no such split.
    """
    from news_cls.model.tfidf import is_tfidf

    if is_tfidf(RunDir(path).model):
        check_split_names(splits)
    else:
        check_evaluation(path, splits)

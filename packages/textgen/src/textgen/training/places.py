"""The folders that a run's flags name, looked at before hours of work begin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hvdcore.errors import Problems, UserError
from hvdcore.run.start import look_at_places
from textgen.pretrained.load import look_for_model

if TYPE_CHECKING:
    from textgen.config import TrainConfig


def check_places(path: Path, config: TrainConfig, resume: str) -> None:
    """Rank 0 alone calls this.

    Raises:
        UserError: the run's directory is in use, or nothing is where ``--resume`` or
            ``--init-from`` say; all of it at once.
    """
    problems = Problems()
    look_at_places(path, resume, problems)
    if config.init_from is not None:
        try:
            look_for_model(config.init_from)
        except UserError as error:
            problems.add("init_from", error.problems[0])
    problems.raise_if_any()

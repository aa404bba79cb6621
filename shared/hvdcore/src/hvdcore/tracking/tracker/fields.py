"""The option `--tracker`, and whether what it names is installed."""

from __future__ import annotations

import importlib.util
from typing import ClassVar, Literal

from hvdcore.config import Config
from hvdcore.errors import UserError

__all__ = ["TrackingFields", "check_tracker"]


class TrackingFields(Config):
    """Where a run is logged to, beside its own directory."""

    panel: ClassVar[str] = "Output"

    tracker: Literal["mlflow", "wandb"] | None = None
    """Also log the run to MLflow or Weights & Biases, which their own environment variables
    configure (MLFLOW_TRACKING_URI, WANDB_MODE, ...). A resumed run continues the same one there.
    Default: none."""


def check_tracker(name: str | None) -> None:
    """Check that a tracker is installed; it is not loaded.

    Raises:
        UserError: it is not.
    """
    if name is not None and importlib.util.find_spec(name) is None:
        raise UserError(f"tracker: {name} is not installed; pip install {name}")

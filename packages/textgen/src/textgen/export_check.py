"""What every form of an export shares: the files beside the weights, and when logits are equal."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import Tensor

from textgen.pretrained.load import OpenedModel

__all__ = ["LOGITS_TOLERANCE", "copy_files", "logits_difference"]

LOGITS_TOLERANCE = 1e-4
"""Largest difference of float32 logits from ours, relative to the largest logit or 1."""


def copy_files(opened: OpenedModel, folder: Path, suffixes: tuple[str, ...]) -> None:
    """Copy the model's files of these kinds into the folder, and write its tokenizer there."""
    for path in opened.place.folder.iterdir():
        if path.suffix in suffixes:
            shutil.copyfile(path, folder / path.name)
    opened.tokenizer.save(folder)


def logits_difference(ours: Tensor, theirs: Tensor, folder: Path, whose: str) -> float:
    """The largest difference of logits from another program's, both of the same shape.

    Raises:
        RuntimeError: it is above the tolerance.
    """
    difference = float((theirs - ours).abs().max())
    if not difference <= LOGITS_TOLERANCE * max(1.0, float(ours.abs().max())):
        raise RuntimeError(f"{folder}: logits differ from {whose} by {difference:.2e}")
    return difference

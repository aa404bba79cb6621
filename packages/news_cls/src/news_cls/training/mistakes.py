"""The most confident mistakes of a classifier of texts, as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.figures import most_confident_mistakes
from hvdcore.files.atomic import write_bytes_atomically
from news_cls.data.dataset import Part

__all__ = ["mistakes_text", "write_mistakes"]

NUM_MISTAKES = 20
MOST_SHOWN = 300
"""Characters of a text."""


def mistakes_text(
    part: Part, probabilities: npt.NDArray[np.float64], classes: Sequence[str]
) -> str:
    """A paragraph for each, most confident first: what was answered, what it is, where, the text.

    Args:
        probabilities: of each text of the part [n, C].
    """
    paragraphs = []
    for mistake in most_confident_mistakes(probabilities, part.labels, NUM_MISTAKES):
        text = part.texts[mistake.index]
        shown = text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + " ..."
        answer = f"{classes[mistake.predicted]} {mistake.probability:.0%}"
        where = part.names[mistake.index]
        paragraphs.append(f"{answer}, is {classes[mistake.label]} ({where})\n{shown}\n")
    return "\n".join(paragraphs) if paragraphs else "none\n"


def write_mistakes(
    path: Path, part: Part, probabilities: npt.NDArray[np.float64], classes: Sequence[str]
) -> None:
    """Write `mistakes_text` to a file. Rank 0 only."""
    text = mistakes_text(part, probabilities, classes)
    write_bytes_atomically(path, text.encode("utf-8", "replace"))

"""The figures of images are drawn, are deterministic, and work with unusual class names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from image_cls.plots import draw_image_grid, draw_mistakes

ODD_NAMES = ("海\x1b", "<b>forest</b>", r"a $\frac{class}$ of \bad{ $x$")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)


def is_drawn(path: Path) -> bool:
    with Image.open(path) as image:
        return len(image.convert("L").getcolors(1 << 24) or ()) > 10


def test_figures_are_deterministic_for_any_names(tmp_path: Path) -> None:
    labels, predicted = np.array([0, 1, 2, 1, 2]), np.eye(3)[[1, 1, 2, 1, 0]]
    for name in ("first", "second"):
        draw_mistakes(tmp_path / name / "m.png", PIXELS, labels, predicted, ODD_NAMES, "mistakes")
        draw_image_grid(tmp_path / name / "r.png", [PIXELS] * 3, ODD_NAMES, list("abcde"), "rows")
    for name in ("m.png", "r.png"):
        assert is_drawn(tmp_path / "first" / name)
        first, second = (tmp_path / run / name for run in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_a_figure_without_mistakes(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2, 1, 2])
    path = draw_mistakes(tmp_path / "m.png", PIXELS, labels, np.eye(3)[labels], ODD_NAMES, "none")
    assert is_drawn(path)

"""The sample: six classes of procedural scenes, drawn with NumPy, deterministic and offline.

The classes differ in the texture of the ground and in nothing else. Colors, light, horizon, tilt,
scale and phase are random and have the same distribution in all classes, and so have the clutter
and the noise. The mean image of each class is the same gray, so a linear model learns little.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["CLASSES", "draw_scene"]

Field = npt.NDArray[np.float32]
CLASSES = ("bricks", "furrows", "pebbles", "ridges", "trunks", "waves")


def draw_scene(label: int, number: int, size: int) -> npt.NDArray[np.uint8]:
    """One image.

    Args:
        label: index into `CLASSES`.
        number: of the image within its class; the same number gives the same image.
        size: height and width in pixels.

    Returns:
        uint8 [size, size, 3].
    """
    draw = np.random.default_rng([label, number])
    x, y = _plane(draw, size)
    ground = _GROUNDS[label](draw, x, y)
    if draw.random() < 0.5:
        ground = 1.0 - ground
    dark, bright, sky = draw.uniform(0.0, 1.0, (3, 3)).astype(np.float32)
    image = dark + (bright - dark) * ground[..., None]
    _draw_sky(draw, image, x, y, sky)
    _draw_clutter(draw, image)
    light = 1.0 + draw.uniform(-0.4, 0.4) * x + draw.uniform(-0.4, 0.4) * y
    image = image * light[..., None] + draw.normal(0.0, 0.06, image.shape)
    pixels: npt.NDArray[np.uint8] = (np.clip(image, 0.0, 1.0) * 255.0).round().astype(np.uint8)
    return pixels


def _plane(draw: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Coordinates in about -1..1, tilted by up to 14 degrees."""
    line = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    y, x = np.meshgrid(line, line, indexing="ij")
    angle = draw.uniform(-0.25, 0.25)
    return x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)


def _draw_sky(draw: np.random.Generator, image: Field, x: Field, y: Field, color: Field) -> None:
    horizon = draw.uniform(-1.1, -0.3)
    clouds = 0.15 * np.sin(draw.uniform(2, 5) * x + draw.uniform(0, 6)) * np.sin(4 * y)
    above = y < horizon
    image[above] = (color + clouds[..., None])[above]


def _draw_clutter(draw: np.random.Generator, image: Field) -> None:
    """Draw a few rectangles and discs, which tell nothing about the class."""
    size = len(image)
    rows, columns = np.mgrid[0:size, 0:size]
    for _ in range(draw.integers(1, 4)):
        row, column = draw.uniform(0, size, 2)
        height, width = draw.uniform(0.05, 0.16, 2) * size
        if draw.random() < 0.5:
            inside = (abs(rows - row) < height) & (abs(columns - column) < width)
        else:
            inside = ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1.0
        image[inside] = draw.uniform(0.0, 1.0, 3)


def _bricks(draw: np.random.Generator, x: Field, y: Field) -> Field:
    scale, ratio = draw.uniform(2.5, 5.0), draw.uniform(0.35, 0.6)
    row = y * scale / ratio + draw.uniform(0, 1)
    column = x * scale + draw.uniform(0, 1) + 0.5 * (np.floor(row) % 2)
    joint = np.minimum(_to_edge(row), _to_edge(column) / ratio)
    return (joint > 0.12).astype(np.float32)


def _furrows(draw: np.random.Generator, x: Field, y: Field) -> Field:
    """Lines that meet in a point above."""
    slope = (x - draw.uniform(-0.6, 0.6)) / (y - draw.uniform(-2.2, -1.4))
    return _wave(draw.uniform(14.0, 28.0) * slope + draw.uniform(0, 6))


def _pebbles(draw: np.random.Generator, x: Field, y: Field) -> Field:
    centers = draw.uniform(-1.1, 1.1, (draw.integers(35, 80), 2)).astype(np.float32)
    distance = np.min(
        (x[..., None] - centers[:, 0]) ** 2 + (y[..., None] - centers[:, 1]) ** 2, axis=-1
    )
    return (np.sqrt(distance) < draw.uniform(0.08, 0.14)).astype(np.float32)


def _ridges(draw: np.random.Generator, x: Field, y: Field) -> Field:
    """Hills behind each other, each lighter or darker than the last."""
    shade = np.zeros_like(x)
    for level in np.linspace(-0.8, 0.9, draw.integers(4, 7)):
        crest = sum(
            draw.uniform(0.05, 0.2) / f * np.sin(f * 2.2 * x + draw.uniform(0, 6))
            for f in (1, 2, 4)
        )
        shade = np.where(y > level + crest, draw.uniform(0.0, 1.0), shade)
    return shade.astype(np.float32)


def _trunks(draw: np.random.Generator, x: Field, y: Field) -> Field:
    bend = draw.uniform(0.0, 0.12) * np.sin(draw.uniform(1, 3) * y + draw.uniform(0, 6))
    phase = (x + bend) * draw.uniform(7.0, 14.0) + draw.uniform(0, 6)
    return (np.sin(phase) + 0.6 * np.sin(phase * 1.7 + draw.uniform(0, 6)) > 0.2).astype(np.float32)


def _waves(draw: np.random.Generator, x: Field, y: Field) -> Field:
    swell = draw.uniform(0.5, 1.6) * np.sin(draw.uniform(3, 6) * x + draw.uniform(0, 6))
    return _wave(draw.uniform(10.0, 20.0) * y + swell + draw.uniform(0, 6))


def _wave(phase: Field) -> Field:
    return (0.5 + 0.5 * np.sin(phase)).astype(np.float32)


def _to_edge(position: Field) -> Field:
    """Distance to the nearest integer."""
    return np.abs(position - np.round(position))


_GROUNDS = (_bricks, _furrows, _pebbles, _ridges, _trunks, _waves)

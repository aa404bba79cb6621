"""Damaged images of every format that is read: pixels, or the reason for leaving it out."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from image_cls.data.decode import MAX_PIXELS, Skip, decode, formats

SHORT = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(SHORT, max_examples=20_000)
MODES = {"GIF": "P", "JPEG": "RGB", "PPM": "RGB", "AVIF": "RGB", "JPEG2000": "RGB"}


def sample(kind: str, mode: str) -> bytes:
    made = io.BytesIO()
    ramp = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    image = Image.fromarray(ramp)
    if mode in ("F", "I;16"):
        image = Image.fromarray(ramp[..., 0].astype(np.float32 if mode == "F" else np.uint16))
    else:
        image = image.convert(mode)
    image.save(made, format=kind)
    return made.getvalue()


SAMPLES = [sample(kind, MODES.get(kind, "RGB")) for kind in formats() if kind in Image.SAVE] + [
    sample("TIFF", mode) for mode in ("F", "I;16", "1", "P", "CMYK", "LAB", "RGBA")
]
DAMAGE = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=12)


def check(raw: bytes, damage: list[tuple[int, int]], cut: int) -> None:
    changed = bytearray(raw)
    for place, value in damage:
        changed[place % len(changed)] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.img")
        path.write_bytes(changed[: len(changed) - cut % len(changed)])
        try:
            pixels = decode(path).pixels
        except Skip as error:
            reason = str(error)
        else:
            reason = "read"
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
        assert reason
        assert "\n" not in reason


@pytest.mark.skipif("AVIF" not in Image.SAVE, reason="this Pillow writes no AVIF")
def test_what_was_found_once() -> None:
    """Pillow raises RuntimeError: no image item."""
    check(sample("AVIF", "RGB"), [(125, 0)], 0)


@SHORT
@given(st.sampled_from(SAMPLES), DAMAGE, st.integers(0, 100))
def test_any_damage(raw: bytes, damage: list[tuple[int, int]], cut: int) -> None:
    check(raw, damage, cut)


@pytest.mark.proof
@LONG
@given(st.sampled_from(SAMPLES), DAMAGE, st.integers(0, 100))
def test_any_damage_for_minutes(raw: bytes, damage: list[tuple[int, int]], cut: int) -> None:
    check(raw, damage, cut)


@SHORT
@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    check(raw or b"x", [], 0)


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_control_without_damage_they_are_read(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.img")
        path.write_bytes(SAMPLES[number])
        assert decode(path).pixels.shape == (16, 16, 3)

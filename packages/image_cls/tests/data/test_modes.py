"""Every mode and depth to its right range; only the formats that are meant; bombs end early."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from hvdcore.errors import UserError
from image_cls.config import TrainConfig
from image_cls.data.decode import Skip, decode
from image_cls.data.prepare import prepare
from image_cls.predict import _read

RAMP = np.linspace(0.0, 1.0, 64).reshape(8, 8)
EIGHT = np.rint(RAMP * 255)


def gray(path: Path) -> np.ndarray:
    return decode(path).pixels[..., 0].astype(float)


def save(path: Path, values: np.ndarray, **tags: int) -> Path:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    Image.fromarray(values).save(path, tiffinfo=info)
    return path


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floating_point_tiff(tmp_path: Path, white: float) -> None:
    path = save(tmp_path / "a.tif", (RAMP * white).astype(np.float32))
    assert np.abs(gray(path) - EIGHT).max() <= 1


@pytest.mark.parametrize("value", [-1.0, np.nan, 1e9])
def test_floating_point_without_a_usual_range_is_left_out(tmp_path: Path, value: float) -> None:
    values = RAMP.astype(np.float32)
    values[0, 0] = value
    with pytest.raises(Skip, match="floating-point values from"):
        decode(save(tmp_path / "a.tif", values))


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_sixteen_bits(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.rint(RAMP * 65535).astype(np.uint16)).save(path)
    assert np.abs(gray(path) - EIGHT).max() <= 1


def twelve_bits(path: Path, photometric: int = 1, sample_format: int = 1, bits: int = 12) -> Path:
    """A TIFF written by hand: Pillow reads 12 bits and writes none."""
    values = np.rint(RAMP * 4095).astype(int).ravel().tolist()
    if bits == 12:
        pairs = zip(values[::2], values[1::2], strict=True)
        data = b"".join(((a << 12) | b).to_bytes(3, "big") for a, b in pairs)
    else:
        data = np.rint(RAMP.ravel() * 65535).astype("<u2").tobytes()
    tags = [
        (256, 8), (257, 8), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1),
        (278, 8), (279, len(data)), (339, sample_format),
    ]  # fmt: skip
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    body = struct.pack("<H", len(tags))
    body += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(head + data + body + bytes(4))
    return path


def test_twelve_bits(tmp_path: Path) -> None:
    assert np.abs(gray(twelve_bits(tmp_path / "a.tif")) - EIGHT).max() <= 1


def test_sixteen_bits_whose_white_is_zero(tmp_path: Path) -> None:
    path = twelve_bits(tmp_path / "a.tif", photometric=0, bits=16)
    assert np.abs(gray(path) - (255 - EIGHT)).max() <= 1
    path = twelve_bits(tmp_path / "b.tif", photometric=1, bits=16)  # control
    assert np.abs(gray(path) - EIGHT).max() <= 1


def test_signed_and_long_integers_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(Skip, match="signed integers"):
        decode(twelve_bits(tmp_path / "a.tif", sample_format=2, bits=16))
    with pytest.raises(Skip, match=r"integers of 32 bits|signed integers"):
        decode(save(tmp_path / "b.tif", (RAMP * 2**30).astype(np.int32)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_white_is_white_in_every_mode(tmp_path: Path, mode: str) -> None:
    white: object = {"LAB": (255, 128, 128), "CMYK": (0, 0, 0, 0), "YCbCr": (255, 128, 128)}.get(
        mode, "white"
    )
    path = tmp_path / "a.tif"
    (Image.new("LAB", (4, 4), white) if mode == "LAB" else Image.new(mode, (4, 4), white)).save(
        path
    )
    assert decode(path).pixels.min() >= 253


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("name", ["a.eps", "a.jpg", "a.png"])
def test_no_program_is_started_for_postscript(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gs = tmp_path / "bin" / "gs"
    gs.parent.mkdir()
    gs.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gs.parent}:/usr/bin:/bin")
    path = tmp_path / name
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(Skip, match="not an image"):
        decode(path)
    assert _read(path, 8) == "not an image"
    assert not (tmp_path / "started").exists()
    with Image.open(path) as control:  # what Pillow does by itself
        assert control.format == "EPS"


def test_an_icon_of_many_images_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64)).save(path, format="ICO")
    with pytest.raises(Skip, match="not an image"):
        decode(path)


def test_the_frames_of_an_animation_are_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    frames = [Image.new("L", (2, 2), value) for value in (0, 255)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    raw = path.read_bytes()
    assert "animated, first frame used" in decode(path).notes
    second = raw.rindex(b"\x21\xf9")
    path.write_bytes(raw[:second] + raw[second:-1] * 300_000 + b";")
    began = time.process_time()
    assert "animated, first frame used" in decode(path).notes
    counting = time.process_time() - began
    began = time.process_time()
    with Image.open(path) as control:
        assert control.n_frames > 300_000
    assert counting < (time.process_time() - began) / 4


def test_a_png_that_claims_to_be_huge(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""))
    with pytest.raises(Skip, match="decompression bomb"):
        decode(path)


def test_a_class_whose_images_are_all_in_another_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("a", "b", "c"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            value = number if name in "ab" else number + 100  # a and b hold the same
            image = Image.new("RGB", (8, 8), (value, value, value))
            image.save(tmp_path / "data" / name / f"{number}.png")
    config = TrainConfig(data=str(tmp_path / "data"), image_size=16)
    with pytest.raises(UserError, match="class 'a' has no image to train on") as caught:
        prepare(config)
    assert len(caught.value.problems) == 2
    Image.new("RGB", (8, 8), "red").save(tmp_path / "data" / "a" / "own.png")
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "data" / "b" / "own.png")
    assert prepare(config).meta["left_out"]["two_classes"] == 12  # control

"""Image files of every format are decoded, or skipped with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvdcore.errors import UserError
from image_cls.config import TrainConfig
from image_cls.data import decode as decoding
from image_cls.data.decode import Skip, decode, resize
from image_cls.data.prepare import prepare, summary
from image_cls.testing import write_scenes

RED = np.full((8, 12, 3), (200, 40, 30), dtype=np.uint8)


def as_png(path: Path) -> Path:
    Image.fromarray(RED).save(path, "PNG")
    return path


def as_jpeg(path: Path, mode: str = "RGB") -> Path:
    Image.fromarray(RED).convert(mode).save(path, "JPEG", quality=100, subsampling=0)
    return path


def png_named_jpg(folder: Path) -> Path:
    return as_png(folder / "a.jpg")


def cmyk(folder: Path) -> Path:
    return as_jpeg(folder / "a.jpg", "CMYK")


def animated(folder: Path) -> Path:
    frames = [Image.fromarray(RED), Image.fromarray(255 - RED)]
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:])
    return folder / "a.gif"


def transparent(folder: Path) -> Path:
    pixels = np.dstack([RED, np.full(RED.shape[:2], 255, np.uint8)])
    Image.fromarray(pixels).save(folder / "a.png")
    return folder / "a.png"


def other_script(folder: Path) -> Path:
    return as_png(folder / "Berg 山 und See.png")


@pytest.mark.parametrize(
    ("make", "notes"),
    [
        (png_named_jpg, ("PNG named .jpg",)),
        (cmyk, ("mode CMYK",)),
        (animated, ("mode P", "animated, first frame used")),
        (transparent, ("mode RGBA",)),
        (other_script, ()),
    ],
)
def test_unusual_images_are_decoded(
    tmp_path: Path, make: Callable[[Path], Path], notes: tuple[str, ...]
) -> None:
    image = decode(make(tmp_path))
    assert image.notes == notes
    assert image.pixels.shape == (8, 12, 3)
    assert np.abs(image.pixels.astype(int) - RED).max() <= 12  # JPEG and palettes lose a little


def test_sixteen_bits_become_eight_without_clipping(tmp_path: Path) -> None:
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    image = decode(tmp_path / "a.png")
    assert image.pixels[0, :, 0].tolist() == [0, 1, 128, 255]
    assert image.pixels.shape == (1, 4, 3)


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (200, 0, 0, 0)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").pixels.min() == 255


def test_a_image_on_its_side_is_put_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RED).save(tmp_path / "a.jpg", exif=exif)
    assert decode(tmp_path / "a.jpg").pixels.shape == (12, 8, 3)


def truncated(folder: Path) -> Path:
    whole = as_jpeg(folder / "whole.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    return folder / "a.jpg"


def no_bytes(folder: Path) -> Path:
    (folder / "a.jpg").write_bytes(b"")
    return folder / "a.jpg"


def a_text(folder: Path) -> Path:
    (folder / "a.jpg").write_text("This is not an image.")
    return folder / "a.jpg"


def broken_link(folder: Path) -> Path:
    (folder / "a.jpg").symlink_to(folder / "gone.jpg")
    return folder / "a.jpg"


def bomb(folder: Path) -> Path:
    # One color, so that the file is small: that is what makes it a bomb.
    Image.new("1", (9000, 8000)).save(folder / "a.png")
    return folder / "a.png"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (truncated, "damaged or truncated"),
        (no_bytes, "zero bytes"),
        (a_text, "not an image"),
        (broken_link, "a broken link"),
        (bomb, "more than 64 million pixels (a decompression bomb?)"),
    ],
)
def test_skipped_files_have_a_reason(
    tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    with pytest.raises(Skip) as caught:
        decode(make(tmp_path))
    assert str(caught.value) == reason


def test_resizing_keeps_the_mean_and_the_whole_image() -> None:
    pixels = np.zeros((150, 108, 3), dtype=np.uint8)
    pixels[:, 54:] = 200
    small = resize(pixels, 16)
    assert small.shape == (16, 16, 3)
    assert small[:, :7].max() <= 1
    assert small[:, 9:].min() >= 199
    assert small.mean() == pytest.approx(100, abs=1)


def test_broken_files_are_counted_and_named(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data", 4)
    for number, make in enumerate((truncated, no_bytes, a_text, broken_link, cmyk)):
        folder = tmp_path / str(number)
        folder.mkdir()
        made = make(folder)
        (root / "bricks" / f"{make.__name__}.jpg").symlink_to(made)
    data = prepare(TrainConfig(data=str(root), image_size=16))
    assert data.meta["files"] == 29
    assert {why: entry["count"] for why, entry in data.meta["skipped"].items()} == {
        "damaged or truncated": 1,
        "zero bytes": 1,
        "not an image": 1,
        "a broken link": 1,
    }
    assert data.meta["skipped"]["zero bytes"]["examples"] == ["bricks/no_bytes.jpg"]
    assert data.meta["notes"] == {"mode CMYK": {"count": 1, "examples": ["bricks/cmyk.jpg"]}}
    assert sum(data.meta["parts"].values()) == 25
    assert "1 damaged or truncated" in summary(data)


def refuse(name: str) -> Callable[[Path], object]:
    real = os.listdir

    def listdir(folder: Path) -> object:
        if Path(folder).name == name:
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    return listdir


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_scenes(tmp_path / "data", 2)
    if os.geteuid() == 0:  # whom no mode keeps out
        monkeypatch.setattr(os, "listdir", refuse("ridges"))
    else:
        (root / "ridges").chmod(0)
    with pytest.raises(UserError, match=r"ridges: no permission to read this folder; change its"):
        prepare(TrainConfig(data=str(root), image_size=16))


def test_an_unreadable_file_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_png(tmp_path / "a.png")

    def refuse_open(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(decoding.Image, "open", refuse_open)
    with pytest.raises(Skip, match="no permission to read it"):
        decode(path)

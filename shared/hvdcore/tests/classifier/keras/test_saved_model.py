"""A damaged or foreign model file is one line that names it; nothing is predicted with it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from hvdcore.classifier.keras import load_model, save_model
from hvdcore.classifier.model_folder import MODEL, PREPROCESSING
from hvdcore.errors import UserError

# Keras's own, with NumPy 2.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))
    save_model(tmp_path, model, ("one", "two"), {})
    return tmp_path


def cut(folder: Path) -> None:
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes()[:-100])


def compressed(folder: Path, **replaced: bytes) -> None:
    with zipfile.ZipFile(folder / MODEL) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / MODEL, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, replaced.get(name.partition(".")[0], content))


def bomb(folder: Path) -> None:
    compressed(folder, config=b" " * 40_000_000)


def broken_deflate(folder: Path) -> None:
    compressed(folder)
    content = bytearray((folder / MODEL).read_bytes())
    with zipfile.ZipFile(folder / MODEL) as archive:
        entry = archive.getinfo("config.json")
    start = entry.header_offset + 30 + len(entry.filename)
    content[start : start + 40] = b"\xff" * 40
    (folder / MODEL).write_bytes(content)


def not_a_number(folder: Path) -> None:
    model = keras.models.load_model(folder / MODEL)
    model.layers[-1].set_weights([np.full((3, 2), np.nan), np.zeros(2)])
    model.save(folder / MODEL)


def classes(*names: object) -> Callable[[Path], None]:
    return lambda folder: (
        (folder / PREPROCESSING).write_text(json.dumps({"classes": names})) and None
    )


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (cut, "not a complete zip archive; copy it again"),
    "bomb": (bomb, "bytes \\(a decompression bomb"),
    "broken deflate": (broken_deflate, "damaged or incomplete \\("),
    "not a number": (not_a_number, "dense/kernel holds values that are not finite"),
    "another number of classes": (classes("one", "two", "three"), "names 3 classes and .* 2 out"),
    "no classes": (classes(), "classes are not texts"),
    "a class twice": (classes("one", "one"), "classes are not texts, each once"),
    "classes that are numbers": (classes(1, 2), "classes are not texts"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line(folder: Path, case: str) -> None:
    change, message = CASES[case]
    change(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_model(folder)
    assert len(caught.value.problems) == 1


def test_a_whole_model_is_loaded(folder: Path) -> None:
    compressed(folder)  # a legitimate compression is no bomb
    assert load_model(folder).output_shape == (None, 2)

"""What lies beside the class folders: told where it may be data, passed over where it is not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from PIL import Image

from hvdcore.classifier.prepare_command import print_prepared
from hvdcore.errors import UserError
from image_cls.config import TrainConfig
from image_cls.data.listing import MAX_CLASSES, list_classes
from image_cls.data.prepare import prepare, summary
from image_cls.testing import write_scenes


def told(root: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        list_classes(root)
    return [record.getMessage() for record in caplog.records]


def test_images_outside_of_the_class_folders_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_scenes(tmp_path / "data", 4)
    (root / "README.md").write_text("no image")
    assert told(root, caplog) == [], "control"
    (root / "loose.JPG").write_text("")
    line = "outside of the folders that are read, left out:"
    assert told(root, caplog) == [f"data: {root}: {line} 1 (loose.JPG)"]


def test_what_lies_beside_the_splits_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "data"
    write_scenes(root / "train", 4)
    assert told(root, caplog) == [], "control"
    (root / "extra").mkdir()
    (root / "train" / "loose.png").write_text("")
    line = "outside of the folders that are read, left out:"
    assert told(root, caplog) == [f"data: {root}: {line} 2 (train/loose.png, extra)"]


def test_folders_of_the_system_are_no_classes(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data", 4)
    before = list_classes(root)
    for name in ("@eaDir", "$RECYCLE.BIN", "lost+found", ".ipynb_checkpoints", "__MACOSX"):
        (root / name).mkdir()
    assert list_classes(root) == before
    (root / "other").mkdir()
    assert list_classes(root) != before, "control"


def test_classes_that_differ_in_case_are_noted(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data", 4)
    folders = sorted(root.iterdir())
    folders[0].rename(root / folders[1].name.upper())
    data = prepare(TrainConfig.model_validate({"data": str(root), "image_size": 16}))
    assert "1 classes that differ in case alone" in summary(data)


def test_splits_one_folder_further_down_are_named(tmp_path: Path) -> None:
    """As Kaggle's archive of Intel's scenes unpacks in a folder of another name."""
    for split in ("seg_train", "seg_test"):
        write_scenes(tmp_path / "data" / "archive" / split / split, 4)
    with pytest.raises(UserError, match=r"seg_test, seg_train\) are inside of it, so give .*/arch"):
        list_classes(tmp_path / "data")
    classes, files = list_classes(tmp_path / "data" / "archive")
    assert len(classes) > 1
    assert {file.split for file in files} == {"train", "test"}


def test_dev_is_a_name_of_val(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        write_scenes(tmp_path / split, 4)
    assert {file.split for file in list_classes(tmp_path)[1]} == {"train", "val"}


def test_thousands_of_classes_are_told_in_a_few_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_scenes(tmp_path / "data", 2)
    source = next(path for path in sorted(root.rglob("*")) if path.is_file())
    for number in range(150):
        folder = root / f"more{number:03d}"
        folder.mkdir()
        with Image.open(source) as image:
            image.resize((3 + number, 5)).save(folder / "one.png")
    config = TrainConfig.model_validate({"data": str(root), "image_size": 16})
    print_prepared(prepare(config), [])
    lines = capsys.readouterr().out.splitlines()
    num_classes = len(list_classes(root)[0])
    assert f"and {num_classes - 100} more classes, counted in meta.json of the cache" in lines
    assert len(lines) < 120
    (root / "train").mkdir()
    for folder in list(root.iterdir()):
        if folder.name != "train":
            folder.rename(root / "train" / folder.name)
    for number in range(30):
        (root / "test" / f"unknown{number:02d}").mkdir(parents=True)
    with pytest.raises(UserError, match=r"test has unknown00, .*, unknown04 and 25 more, which"):
        list_classes(root)


def test_more_classes_than_a_report_can_hold_are_refused(tmp_path: Path) -> None:
    for number in range(MAX_CLASSES):
        (tmp_path / f"c{number}").mkdir()
    assert len(list_classes(tmp_path)[0]) == MAX_CLASSES, "control"
    (tmp_path / "one more").mkdir()
    with pytest.raises(UserError, match=r"2,001 class folders, such as c0, c1, .*; give 2,000 or"):
        list_classes(tmp_path)

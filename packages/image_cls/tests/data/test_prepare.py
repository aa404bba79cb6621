"""From folders to splits: layouts, copies, fractions, the cache; counts worked out by hand."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hvdcore.errors import UserError
from hvdcore.files.cache import default_cache_dir
from hvdcore.testing.faults import NoDisk, small_disk
from image_cls.config import SAMPLE_NAMES, TrainConfig
from image_cls.data.dataset import ImageData
from image_cls.data.listing import list_classes
from image_cls.data.prepare import DataRequest, prepare, summary
from image_cls.testing import write_scenes


def config(root: Path | str, **fields: object) -> TrainConfig:
    return TrainConfig.model_validate({"data": str(root), "image_size": 16, **fields})


def labels_of(data: ImageData, split: str) -> Counter[str]:
    return Counter(data.classes[label] for label in data.splits[split].labels)


def kaggle(root: Path, doubled: bool) -> Path:
    for split, first in (("seg_train", 0), ("seg_test", 50)):
        write_scenes(root / split / split if doubled else root / split, 4, first=first)
    pred = root / "seg_pred" / "seg_pred" if doubled else root / "seg_pred"
    pred.mkdir(parents=True)
    shutil.copy(root.rglob("50.png").__next__(), pred / "1.png")
    return root


def test_both_layouts_of_kaggle_are_the_same_data(tmp_path: Path) -> None:
    doubled = prepare(config(kaggle(tmp_path / "doubled", True), val_fraction=0.25))
    single = prepare(config(kaggle(tmp_path / "single", False), val_fraction=0.25))
    assert doubled.key == single.key
    assert {name: len(split) for name, split in doubled.splits.items()} == {
        "train": 18, "val": 6, "test": 24,
    }  # fmt: skip
    for split in ("train", "val", "test"):
        assert len(set(labels_of(doubled, split).values())) == 1


def test_a_folder_of_class_folders_is_split_by_class(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data", 10)
    data = prepare(config(root, val_fraction=0.1, test_fraction=0.2))
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 42, "val": 6, "test": 12,
    }  # fmt: skip
    assert set(labels_of(data, "test").values()) == {2}


def test_seg_train_alone_may_be_given(tmp_path: Path) -> None:
    root = kaggle(tmp_path / "data", True)
    classes, files = list_classes(root / "seg_train")
    assert (len(classes), len(files)) == (6, 24)
    assert {file.split for file in files} == {None}


def test_the_splits_do_not_depend_on_names(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data", 6)
    before = prepare(config(root))
    for number, path in enumerate(sorted(root.rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"renamed {number}.png"))
    after = prepare(config(root))
    assert after.key == before.key


def test_what_was_left_out_is_that_of_the_folder_and_not_of_another(tmp_path: Path) -> None:
    clean = write_scenes(tmp_path / "clean", 6)
    littered = shutil.copytree(clean, tmp_path / "littered")
    (littered / "bricks" / "bad.png").write_bytes(b"no image")
    first, second, again = (prepare(config(root)) for root in (clean, littered, clean))
    assert first.key == second.key, "the images are the same"
    assert second.meta["skipped"]["not an image"]["examples"] == ["bricks/bad.png"]
    assert again.meta["skipped"] == first.meta["skipped"] == {}
    assert again.path == first.path, "control: prepared once"


def test_copies_are_left_out_and_counted(tmp_path: Path) -> None:
    root = kaggle(tmp_path / "data", False)
    train, test = root / "seg_train", root / "seg_test"
    shutil.copy(train / "bricks" / "0.png", train / "bricks" / "copy.png")
    shutil.copy(train / "bricks" / "1.png", test / "bricks" / "leak.png")
    shutil.copy(train / "waves" / "0.png", train / "ridges" / "wave.png")
    shutil.copy(test / "waves" / "50.png", test / "waves" / "twice.png")
    data = prepare(config(root, val_fraction=0))
    assert data.meta["left_out"] == {
        "duplicates": 2,  # one in train, one in test
        "two_classes": 2,  # both the wave and the ridge that is the same image
        "val_in_train": 0,
        "test_in_train": 1,
    }
    assert len(data.splits["train"]) == 24 - 1  # the wave is gone, with its copy
    assert len(data.splits["test"]) == 24
    assert "1 of test that train contains too" in summary(data)


def test_fewer_train_images_are_stratified(tmp_path: Path) -> None:
    data = prepare(config(write_scenes(tmp_path / "data", 8), val_fraction=0, test_fraction=0))
    split = data.train_subset(13, SAMPLE_NAMES)
    counts = np.bincount(split.labels)
    assert (counts.sum(), counts.min(), counts.max()) == (13, 2, 3)
    with pytest.raises(UserError, match="num_train_images: 49 of only 48 images"):
        data.train_subset(49, SAMPLE_NAMES)


def test_pixels_are_those_of_the_files(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data", 3, size=16)
    data = prepare(config(root, val_fraction=0.34, test_fraction=0.34))
    from image_cls.data.decode import decode

    for split in data.splits.values():
        assert len(split) == 6
        for pixels, label, name in zip(split.pixels, split.labels, split.names, strict=True):
            assert (pixels == decode(root / name).pixels).all()
            assert name.startswith(data.classes[label])


def test_two_at_once_prepare_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_scenes(tmp_path / "data", 5)
    found: list[ImageData] = []
    threads = [
        threading.Thread(target=lambda: found.append(prepare(config(root)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({data.key for data in found}) == 1
    assert len(found) == 4
    assert len(list((default_cache_dir("image_cls") / "images").iterdir())) == 1


def test_a_new_image_makes_another_data_set(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data", 3)
    before = prepare(config(root))
    write_scenes(root, 1, first=77, classes=1)
    after = prepare(config(root))
    assert after.key != before.key
    assert sum(after.meta["parts"].values()) == sum(before.meta["parts"].values()) + 1


def test_a_damaged_cache_is_rebuilt(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data", 3)
    data = prepare(config(root))
    (data.path / "meta.json").unlink()
    again = prepare(config(root))
    assert again.key == data.key
    assert (again.path / "meta.json").is_file()


def test_the_size_and_the_shares_are_part_of_the_key() -> None:
    digests = {
        DataRequest("x", size, val, 0.1).digest("same") for size in (16, 32) for val in (0.1, 0.2)
    }
    assert len(digests) == 4


def _empty_class(root: Path) -> None:
    for path in (root / "waves").iterdir():
        path.write_bytes(b"")
    (root / "bricks" / "empty.png").write_bytes(b"")  # another class's is not its reason


def _one_class(root: Path) -> None:
    for folder in list(root.iterdir())[1:]:
        shutil.rmtree(folder)


def _no_class(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def _single_image(root: Path) -> None:
    _one_class(root)
    for path in sorted(root.rglob("*.png"))[1:]:
        path.unlink()


def _unknown_in_test(root: Path) -> None:
    shutil.move(root, root.with_name("all"))
    shutil.copytree(root.with_name("all"), root / "train")
    shutil.copytree(root.with_name("all") / "waves", root / "test" / "vawes")


def _test_without_train(root: Path) -> None:
    shutil.move(root, root.with_name("all"))
    shutil.copytree(root.with_name("all"), root / "seg_test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_empty_class, r"class 'waves' has no usable image to train on \(2 zero bytes \(waves/0"),
        (_one_class, "only one class"),
        (_no_class, "no class folders in it"),
        (_single_image, "only one class"),
        (_unknown_in_test, "test has vawes, which train does not have"),
        (_test_without_train, "no train folder"),
    ],
)
def test_wrong_folders_say_what_to_do(tmp_path: Path, change: object, message: str) -> None:
    root = write_scenes(tmp_path / "data", 2)
    assert callable(change)
    change(root)
    with pytest.raises(UserError, match=message) as caught:
        prepare(config(root))
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("data: ")


def test_a_class_missing_in_test_is_no_problem(scenes: Path) -> None:
    data = prepare(config(scenes))
    assert data.meta["classes_of_parts"]["test"]["waves"] == 0
    assert len(data.splits["test"]) == 25


@pytest.mark.parametrize("kilobytes", [64, 2000], ids=["in decoding", "in writing"])
def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kilobytes: int
) -> None:
    """120 images of 64 x 64 are 1.5 MB, and as much again when they are written in order."""
    root = write_scenes(tmp_path / "scenes", per_class=20)
    try:
        with small_disk(tmp_path / "small", kilobytes=kilobytes) as folder:
            monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
            with pytest.raises(UserError, match="disk is full; free some space or point XDG_CACHE"):
                prepare(config(root, image_size=64))
    except NoDisk as reason:
        pytest.skip(str(reason))

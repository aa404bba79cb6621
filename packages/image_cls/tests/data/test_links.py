"""Links in class folders: none of them adds images to a class or makes one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvdcore.errors import UserError
from image_cls.data.listing import list_classes
from image_cls.testing import write_scenes


@pytest.mark.parametrize("target", [".", ".."])
def test_links_that_lead_back_change_nothing(tmp_path: Path, target: str) -> None:
    root = write_scenes(tmp_path / "data", 4)
    before = list_classes(root)
    first = next(path for path in root.rglob("*") if path.is_file()).parent
    for name in ("one", "two"):
        (first / name).symlink_to(target)
        (first.parent / name).symlink_to(target)
    assert list_classes(root) == before
    (first / "elsewhere").symlink_to(write_scenes(tmp_path / "other", 1))
    assert len(list_classes(root)[1]) > len(before[1]), "control: another folder is followed"


def test_a_folder_of_nothing_but_itself_has_no_class(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "data").symlink_to(".")
    with pytest.raises(UserError, match="no class folders"):
        list_classes(root)

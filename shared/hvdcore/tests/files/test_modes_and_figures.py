"""Files have the mode that new ones have here, and figures are either the old or the new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from safetensors.numpy import save_file

from hvdcore.files.atomic import move_folder_into_place, write_figure_atomically
from hvdcore.run.checkpoint import save


@pytest.fixture
def umask() -> Iterator[None]:
    """New files are readable by the group and by nobody else."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def write_weights(folder: Path) -> None:
    save_file({"a": np.ones(2)}, folder / "weights.safetensors")
    if mode(folder / "weights.safetensors") == 0o640:
        os.chmod(folder / "weights.safetensors", 0o600)  # as other releases of safetensors do


@pytest.mark.usefixtures("umask")
def test_weights_of_a_checkpoint_have_the_mode_of_other_files(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoints", 1, write_weights)
    folder = path if isinstance(path, Path) else next((tmp_path / "checkpoints").glob("step-*"))
    assert {mode(file) for file in folder.iterdir()} == {0o640}


@pytest.mark.usefixtures("umask")
def test_so_have_those_of_a_cache(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write_weights(tmp_path / "made")
    assert mode(tmp_path / "made" / "weights.safetensors") == 0o600, "control"
    move_folder_into_place(tmp_path / "made", tmp_path / "cache" / "key", Path.is_dir)
    assert mode(tmp_path / "cache" / "key" / "weights.safetensors") == 0o640


def test_a_figure_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "figures" / "a.png"
    write_figure_atomically(Figure(), path)
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG")

    class Broken:
        def savefig(self, file: object, **settings: object) -> None:
            file.write(b"half a figure")  # type: ignore[attr-defined]
            raise ValueError("no such font")

    with pytest.raises(ValueError, match="no such font"):
        write_figure_atomically(Broken(), path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]

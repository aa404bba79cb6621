"""The notebook runs from its first cell to its last, on two ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from image_cls.testing import TINY, environment

pytestmark = pytest.mark.ranks

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "two_ranks.ipynb"


def test_it_runs(tmp_path: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    own = {
        "IMAGE_CLS_DATA": str(scenes),
        "IMAGE_CLS_RUN": str(tmp_path / "run"),
        "IMAGE_CLS_FLAGS": json.dumps([*TINY, "--max-steps", "4"]),
    }
    for name, value in {**environment(tmp_path / "cache"), **own}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert (report["size"], report["steps"]) == (2, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = "".join(out.get("text", "") for cell in cells for out in cell.outputs)
    assert "images: train 60, val 6, test 25 in 6 classes" in text
    assert f"test  accuracy {report['test']['accuracy']:.3f}" in text
    images = [out for cell in cells for out in cell.outputs if "image/png" in out.get("data", {})]
    assert len(images) == 5


def test_it_is_saved_without_output() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") for cell in notebook["cells"])

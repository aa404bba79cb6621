"""The notebook runs from its first cell to its last, on two ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from news_cls.testing import environment

pytestmark = pytest.mark.ranks

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "two_ranks.ipynb"
SMALL = {
    "embed_dim": 8, "hidden_dim": 6, "vectors": "random", "max_steps": 4, "pretrain_epochs": 0,
    "global_batch_size": 12, "log_every": 1,
}  # fmt: skip


def test_it_runs(tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    own = {
        "NEWS_CLS_DATA": str(texts),
        "NEWS_CLS_RUN": str(tmp_path / "run"),
        "NEWS_CLS_SETTINGS": json.dumps(SMALL),
    }
    for name, value in {**environment(tmp_path / "cache"), **own}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=where).execute()
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert (report["size"], report["steps"]) == (2, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = "".join(out.get("text", "") for cell in cells for out in cell.outputs)
    assert "step 4 of 4" in text  # rank 0's own line, in the cell
    assert f"test  accuracy {report['test']['accuracy']:.3f}" in text
    images = [out for cell in cells for out in cell.outputs if "image/png" in out.get("data", {})]
    assert len(images) == 4


def test_it_is_saved_without_output_and_begins_with_colab() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") for cell in cells)
    first = next(cell for cell in cells if cell["cell_type"] == "code")
    assert "google.colab" in "".join(first["source"])

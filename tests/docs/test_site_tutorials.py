"""The tutorials run from their first cell to their last, on two ranks, with small settings."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
from pathlib import Path
from types import ModuleType

import pytest

TUTORIALS = Path(__file__).parents[2] / "infra" / "docs" / "tutorials"
TINY = {
    "intel_images": ["--image-size", "16", "--num-train-images", "60", "--max-steps", "6"],
    "ag_news": [
        "--embed-dim", "8", "--hidden-dim", "6", "--conv-dim", "4", "--ngram-buckets", "64",
        "--subword-buckets", "64", "--vectors", "random", "--num-train-texts", "300",
        "--max-steps", "6", "--pretrain-epochs", "1",
    ],
    "books": ["--max-steps", "4", "--eval-every", "2", "--global-batch-size", "4"],
}  # fmt: skip


@pytest.mark.proof
@pytest.mark.ranks
@pytest.mark.parametrize("name", sorted(TINY))
def test_a_tutorial_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("TUTORIAL_FLAGS", json.dumps(TINY[name]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    notebook = nbformat.read(TUTORIALS / f"{name}.ipynb", as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=where).execute()
    reports = [json.loads(p.read_text()) for p in tmp_path.glob("runs/*/report.json")]
    assert sum("weights_sha256" in report for report in reports) >= 2


def test_every_tutorial_is_run() -> None:
    assert {path.stem for path in TUTORIALS.glob("*.ipynb")} == set(TINY)


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_tutorial_has_no_path_and_no_warning(name: str) -> None:
    """Saved outputs are what a cell shows; what a program writes on stderr is left out."""
    notebook = json.loads((TUTORIALS / f"{name}.ipynb").read_text(encoding="utf-8"))
    outputs = [out for cell in notebook["cells"] for out in cell.get("outputs", [])]
    assert [out for out in outputs if out.get("name") == "stderr"] == []
    text = "".join("".join(out.get("text", "")) for out in outputs)
    marks = [*(f"/{folder}/" for folder in ("home", "root", "tmp")), "% left"]
    assert [mark for mark in marks if mark in text] == []
    assert len(json.dumps(outputs)) < 500_000
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert "google.colab" in "".join(first["source"])


@pytest.fixture(scope="module")
def saving() -> ModuleType:
    spec = importlib.util.spec_from_file_location("execute", TUTORIALS / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_outputs_are_saved_without_progress_and_paths(saving: ModuleType, tmp_path: Path) -> None:
    lines = [
        "tokens: train 900\n",
        "train 42%: 306 tokens/s, step 27, loss 2.165, 1:33 left\n",
        f"report: {tmp_path}/runs/a/report.html\n",
    ]
    outputs = [
        *({"output_type": "stream", "name": "stdout", "text": line} for line in lines),
        {"output_type": "stream", "name": "stderr", "text": "a warning\n"},
    ]
    (saved,) = saving.cleaned(outputs, tmp_path)
    assert saved["text"] == "tokens: train 900\nreport: runs/a/report.html\n"
    assert saving.cleaned(outputs[-1:], tmp_path) == []


def test_a_figure_is_saved_small(saving: ModuleType, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    large = io.BytesIO()
    image.effect_noise((1520, 400), 80).save(large, "PNG")
    data = {"image/png": base64.b64encode(large.getvalue()).decode(), "text/plain": "<Figure>"}
    (saved,) = saving.cleaned([{"output_type": "display_data", "data": data}], tmp_path)
    assert list(saved["data"]) == ["image/png"]
    small = base64.b64decode(saved["data"]["image/png"])
    assert image.open(io.BytesIO(small)).size == (760, 200)
    assert len(small) < large.tell() / 2

"""Runs tutorials and saves their outputs in them: `python infra/docs/tutorials/execute.py`.

Saved is what a reader wants to see: no progress, no warnings, no path of the machine, and
small figures.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from nbformat.v4 import new_output
from PIL import Image

HERE = Path(__file__).resolve().parent
WIDTH, COLORS = 760, 64
PROGRESS = re.compile(r"^(train|prepare|evaluate|tune) +\d+%.*\n?|^.*\r", re.MULTILINE)
TIMEOUT = 1800


def main() -> None:
    """Run each tutorial in a folder of its own; write it back when its last cell has run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all tutorials")
    parser.add_argument("--work", type=Path, help="folder of the runs; default: a temporary one")
    options = parser.parse_args()
    names = options.names or sorted(path.stem for path in HERE.glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            execute(HERE / f"{name}.ipynb", (options.work or Path(temporary)) / name)


def execute(path: Path, folder: Path) -> None:
    """Run one tutorial in `folder` and save it with its outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=TIMEOUT, resources=where).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = cleaned(cell.outputs, folder)
    notebook.metadata.language_info = {"name": "python"}
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def cleaned(outputs: list[Any], folder: Path) -> list[Any]:
    """The outputs of a cell as they are saved: text of stdout as one stream, then figures."""
    text = "".join(o["text"] for o in outputs if o.get("name") == "stdout")
    text = PROGRESS.sub("", text).replace(f"{folder}/", "").replace(f"{Path.home()}/", "~/")
    kept = [new_output("stream", name="stdout", text=text)] if text.strip() else []
    return [*kept, *(figure(o) for o in outputs if "image/png" in o.get("data", {}))]


def figure(output: Any) -> Any:
    """A figure's output with a small PNG and nothing else."""
    image = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)))
    small = io.BytesIO()
    image.quantize(COLORS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    data = {"image/png": base64.b64encode(small.getvalue()).decode()}
    return new_output("display_data", data=data)


if __name__ == "__main__":
    main()

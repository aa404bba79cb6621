"""The command that makes the curves of "Why you can trust the numbers"."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

COMMAND = Path(__file__).parents[2] / "infra" / "docs" / "trust" / "make_curves.py"

FIGURES = COMMAND.parents[1] / "figures"


@pytest.fixture(scope="module")
def curves() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_curves", COMMAND)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.proof
@pytest.mark.ranks
def test_it_makes_the_curves_and_the_controls_differ(tmp_path: Path) -> None:
    # So many steps that the third slot is found before the last.
    line = [sys.executable, str(COMMAND), "--steps", "300", "--out", str(tmp_path / "out")]
    subprocess.run([*line, "--runs", str(tmp_path / "runs")], check=True, timeout=1800)
    made = json.loads((tmp_path / "out" / "curves.json").read_text(encoding="utf-8"))
    found = made["runs"]
    assert found["killed, resumed on 2"]["same_weights"]
    assert found["killed, resumed on 2"]["largest_difference"] == 0
    for name in ("1 rank", "3 ranks", "4 ranks", "killed, resumed on 3"):
        assert found[name]["largest_difference"] < 1e-3, name
    assert found["control: seed 1"]["largest_difference"] > 1e-2
    assert not found["control: seed 1"]["same_weights"]
    for name in ("ranks.svg", "resume.svg"):
        assert (tmp_path / "out" / name).stat().st_size < 100_000


def test_the_saved_curves_hold_what_the_page_claims() -> None:
    """Those that the site shows: from the same command, and apart from their control."""
    saved = json.loads((FIGURES / "curves.json").read_text(encoding="utf-8"))
    gaps = {name: run["largest_difference"] for name, run in saved["runs"].items()}
    control = gaps.pop("control: seed 1")
    assert gaps["killed, resumed on 2"] == 0
    assert max(gaps.values()) < 1e-3 < 1e-2 < control
    assert saved["made"]["train"].startswith("textgen train --data sample")


def test_the_largest_difference_is_over_all_steps(curves: ModuleType) -> None:
    assert curves.largest_difference({1: 2.0, 2: 1.0}, {1: 2.5, 2: 0.75}) == 0.5
    with pytest.raises(AssertionError):
        curves.largest_difference({1: 2.0}, {1: 2.0, 2: 1.0})


def test_a_line_that_is_being_written_is_left_out(curves: ModuleType, tmp_path: Path) -> None:
    lines = [
        '{"step": 1, "split": "train", "loss": 2.0}',
        '{"step": 1, "split": "val", "loss": 3.0}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 2, "spl']))
    assert curves.losses(tmp_path) == {1: 2.0}
    assert curves.losses(tmp_path / "none") == {}

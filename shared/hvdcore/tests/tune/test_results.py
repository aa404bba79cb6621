"""What a study leaves: numbers by hand, figures that are drawn, a page that survives odd names."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.plan import Plan
from hvdcore.tune.tunable import Objective

pytest.importorskip("optuna", reason="the extra hvdcore[tune] is not installed")

from hvdcore.tune.figures import draw_history, draw_importance, draw_slices
from hvdcore.tune.progress import SearchProgress, seconds_left, trial_line
from hvdcore.tune.report import write_study_page
from hvdcore.tune.results import TrialRow, best_row, write_results

LOSS = Objective("loss", "minimize", "val loss")
PlanOf = Callable[..., Plan]


def row(
    number: int, state: str = "complete", value: float | None = 0.5, **more: object
) -> TrialRow:
    params = {"rate": number / 10, "kind": "ab"[number % 2]}
    return TrialRow(number, state, value, params, 10.0, f"trials/{number:04d}", **more)  # type: ignore[arg-type]


ROWS = [
    row(0, value=0.9),
    row(1, value=0.4),
    row(2, "failed", None, reason="rank 1 failed: <b>no</b>", log="x/console.log"),
    row(3, "pruned", 0.3),
    row(4, "interrupted", None),
    row(5, value=0.4, repeats=4),
    row(6, value=0.6),
]


def test_the_best_is_complete_and_the_first_of_equals() -> None:
    best = best_row(ROWS, LOSS)
    assert best is not None
    assert best.number == 1
    top = best_row(ROWS, Objective("loss", "maximize", ""))
    assert top is not None
    assert top.number == 0
    assert best_row(ROWS[2:5], LOSS) is None


def test_files_hold_all_trials_and_the_best(plan_of: PlanOf, tmp_path: Path) -> None:
    folder, plan = StudyFolder(tmp_path), plan_of(layers=3)
    write_results(folder, plan, ROWS)
    found = json.loads(folder.results.read_text(encoding="utf-8"))
    assert (found["best"], found["objective"], found["size"]) == (1, "loss", 1)
    assert [trial["number"] for trial in found["trials"]] == list(range(7))
    assert found["trials"][5]["repeats"] == 4
    assert folder.best.read_text(encoding="utf-8").splitlines() == [
        f"# Trial 1 of {tmp_path.name}: loss 0.4 on val.",
        'data = "sample"', "seed = 0", "rate = 0.1", 'kind = "b"', "layers = 3",
    ]  # fmt: skip


def test_the_page_has_every_trial_and_escapes(plan_of: PlanOf, tmp_path: Path) -> None:
    best = best_row(ROWS, LOSS)
    path = write_study_page(
        StudyFolder(tmp_path), plan_of(), ROWS, best, {"rate": 0.8, "kind": 0.2}
    )
    page = path.read_text(encoding="utf-8")
    assert "&lt;b&gt;no&lt;/b&gt;; log: x/console.log" in page
    assert "<b>no" not in page
    assert "repeats trial 4 tried" in page
    assert "4 complete, 1 failed, 1 interrupted, 1 pruned" in page
    assert page.count("data:image/png") == 3


def test_a_study_without_a_value_has_a_page_too(plan_of: PlanOf, tmp_path: Path) -> None:
    path = write_study_page(StudyFolder(tmp_path), plan_of(), ROWS[2:3], None, {})
    assert "1 failed" in path.read_text(encoding="utf-8")


def test_figures_are_drawn_and_the_same_each_time(plan_of: PlanOf, tmp_path: Path) -> None:
    space = plan_of().space
    for name in ("a", "b"):
        draw_history(tmp_path / name / "h.png", ROWS, LOSS)
        draw_importance(tmp_path / name / "i.png", {"rate": 0.75, "kind": 0.25})
        draw_slices(tmp_path / name / "s.png", ROWS, space, LOSS)
    for figure in ("h.png", "i.png", "s.png"):
        assert (tmp_path / "a" / figure).read_bytes() == (tmp_path / "b" / figure).read_bytes()
        with Image.open(tmp_path / "a" / figure) as image:
            assert len(image.convert("L").getcolors(1 << 24) or ()) > 10


def test_lines_and_the_time_left_by_hand() -> None:
    best = ROWS[1]
    assert trial_line(ROWS[1], "loss", best) == (
        "trial 1: loss 0.4, the best, 10.0 s; kind b, rate 0.1"
    )
    assert trial_line(ROWS[6], "loss", best) == (
        "trial 6: loss 0.6, best 0.4 of trial 1, 10.0 s; kind a, rate 0.6"
    )
    assert trial_line(ROWS[3], "loss", best).startswith("trial 3: pruned at loss 0.3, 10.0 s; ")
    assert "failed (rank 1 failed: <b>no</b>; log: x/console.log)" in (
        trial_line(ROWS[2], "loss", best)
    )
    # Six of seven count, ten seconds each; four are left, two at a time.
    assert seconds_left(ROWS, 10, 2) == 20.0
    assert seconds_left(ROWS, 3, 2) == 0.0
    assert seconds_left([], 10, 2) is None


def test_the_bar_says_how_far_it_is() -> None:
    now = [0.0]
    stream = io.StringIO()
    progress = SearchProgress(10, "loss", 2, stream=stream, clock=lambda: now[0])
    with progress:
        progress.start(ROWS, ROWS[1])
        now[0] = 5.0
        assert progress.status(2) == "6 of 10, best loss 0.4 (trial 1), 2 running, 0:15 left"
        progress.trial(ROWS[6], ROWS, ROWS[1])
        progress.tick(1)
    assert stream.getvalue().splitlines() == [trial_line(ROWS[6], "loss", ROWS[1])]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_at_a_terminal_lines_go_above_the_bar() -> None:
    stream = _Terminal()
    with SearchProgress(10, "loss", 2, stream=stream) as progress:
        progress.start(ROWS, ROWS[1])
        progress.tick(2)
        progress.trial(ROWS[6], ROWS, ROWS[1])
    text = stream.getvalue()
    assert "6 of 10" in text
    assert "trial 6: loss 0.6" in text

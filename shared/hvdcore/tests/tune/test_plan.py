"""What one call is to do: flags against the space, cores against trials, a study against a call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hvdcore.errors import UserError
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.plan import Plan
from hvdcore.tune.tunable import Objective

PlanOf = Callable[..., Plan]


def test_a_flag_fixes_a_field_and_a_file_does_not(plan_of: PlanOf, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("rate = 0.25\nlayers = 3\n", encoding="utf-8")
    plan = plan_of(config=file)
    assert set(plan.space) == {"rate", "kind"}
    fixed = plan_of(config=file, rate=0.75)
    assert set(fixed.space) == {"kind"}
    config = fixed.config({"kind": "b"}).model_dump()
    assert config == {"data": "sample", "seed": 0, "rate": 0.75, "kind": "b", "layers": 3}


def test_every_problem_at_once(plan_of: PlanOf) -> None:
    with pytest.raises(UserError) as caught:
        plan_of(trials=0, objective="speed", layers=0, pruner="axe")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "trials", "pruner", "objective", "layers",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cores", "np", "asked", "parallel", "threads"),
    [
        (8, 2, None, 4, 1),
        (8, 3, None, 2, 1),
        (8, 1, 2, 2, 4),
        (8, 2, 2, 2, 2),
        (8, 2, 1, 1, None),  # one job: the launcher shares the cores out
        (2, 4, None, 1, None),
        (2, 2, 3, 3, 1),
        (64, 1, None, 8, 8),  # no more at a time than there are trials
    ],
)
def test_cores_are_shared_out_among_trials_and_ranks(
    plan_of: PlanOf,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    np: int,
    asked: int | None,
    parallel: int,
    threads: int | None,
) -> None:
    monkeypatch.setattr("hvdcore.tune.plan.has_gpu", lambda: False)
    plan = plan_of(np=np, parallel_trials=asked, trials=8)
    assert plan.num_parallel(cores) == parallel
    assert plan.threads(cores) == threads


def test_trials_do_not_crowd_onto_a_gpu(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvdcore.tune.plan.has_gpu", lambda: True)
    assert plan_of(parallel_trials=None).num_parallel(8) == 1
    assert plan_of(parallel_trials=4).num_parallel(8) == 4


def test_threads_that_the_user_set_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    folder = StudyFolder(tmp_path)
    assert folder.environment(2)["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in folder.environment(None)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert folder.environment(2)["OMP_NUM_THREADS"] == "7"


def test_base_values_of_searched_fields_make_no_other_study(
    plan_of: PlanOf, tmp_path: Path
) -> None:
    file = tmp_path / "c.toml"
    file.write_text("rate = 0.25\n", encoding="utf-8")
    assert plan_of(config=file).fingerprint() == plan_of(trials=50, np=3).fingerprint()
    assert plan_of(layers=5).fingerprint() != plan_of().fingerprint()


def refused(folder: StudyFolder, plan: Plan) -> str:
    with pytest.raises(UserError) as caught, folder.taken(plan.fingerprint()):
        pass
    (line,) = caught.value.problems
    return line


def test_a_folder_of_another_kind_is_left_alone(plan_of: PlanOf, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}", encoding="utf-8")
    assert "holds a run; give another --output-dir" in refused(StudyFolder(run), plan_of())
    (tmp_path / "letter").write_text("", encoding="utf-8")
    assert "holds letter and no study; give" in refused(StudyFolder(tmp_path), plan_of())
    assert "is a file" in refused(StudyFolder(tmp_path / "letter"), plan_of())
    assert sorted(path.name for path in run.iterdir()) == ["config.json"]


def test_one_tuner_at_a_time(plan_of: PlanOf, tmp_path: Path) -> None:
    fingerprint = plan_of().fingerprint()
    with StudyFolder(tmp_path / "s").taken(fingerprint):
        line = refused(StudyFolder(tmp_path / "s"), plan_of())
        assert "another tune is running there" in line
    with StudyFolder(tmp_path / "s").taken(fingerprint):  # it has ended
        pass


def test_another_study_is_named_by_what_differs(plan_of: PlanOf, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    with folder.taken(plan_of().fingerprint()):
        pass
    line = refused(folder, plan_of(layers=4, rate=0.5, objective="accuracy"))
    assert "another objective, space of rate, layers, rate;" in line
    with folder.taken(plan_of(trials=99, parallel_trials=4, pruner="none").fingerprint()):
        pass


def test_an_objective_reads_val_points_after_the_first_update() -> None:
    rows: list[dict[str, Any]] = [
        {"step": 0, "split": "val", "loss": 0.1},
        {"step": 5, "split": "train", "loss": 0.2},
        {"step": 5, "split": "val", "loss": 0.7, "accuracy": 0.25},
        {"step": 9, "split": "val", "loss": None, "accuracy": 0.5},
        {"step": 12, "split": "val", "loss": 0.6, "accuracy": 0.375},
    ]
    loss, accuracy = Objective("loss", "minimize", ""), Objective("accuracy", "maximize", "")
    values = loss.values(rows)
    assert values == pytest.approx([0.7, float("nan"), 0.6], nan_ok=True)
    assert loss.best(values) == 0.6
    assert accuracy.best(accuracy.values(rows)) == 0.5
    assert loss.best([float("nan")]) is None
    assert (loss.is_better(1, 2), accuracy.is_better(1, 2), loss.is_better(1, 1)) == (
        True, False, False,
    )  # fmt: skip

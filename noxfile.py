"""Every task of the repository: ``python3 noxfile.py -s NAME``, or ``nox -s NAME`` with nox installed.

``nox --list`` names them. One list of packages (``PACKAGES``) serves all sessions.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
NOX_REQUIREMENT = "nox>=2025.2.9"

if __name__ == "__main__":
    # A newcomer has Python and nothing else: nox goes into an environment of its own.
    home = ROOT / ".nox" / "bootstrap"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
    if subprocess.call([python, "-c", "import nox"], stderr=subprocess.DEVNULL):
        subprocess.check_call([python, "-m", "pip", "install", "--quiet", NOX_REQUIREMENT])
    os.execv(python, [str(python), "-m", "nox", *sys.argv[1:]])

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "tests"]

PACKAGES: dict[str, dict[str, list[str]]] = {
    "horovod": {"path": ["infra/horovod"], "extra": ["torch>=2.13,<2.14"]},
    "hvdcore": {
        "path": ["shared/hvdcore"],
        "extra": ["torch>=2.13,<2.14", "tensorflow>=2.21,<2.22", "hypothesis", "scikit-learn"],
    },
    "textgen": {"path": ["packages/textgen"], "extra": ["hypothesis"]},
}
"""What is tested and published: its folder, and what its tests need beside it."""

TEST_TOOLS = ["pytest>=8.3", "pytest-timeout>=2.3"]
LINT_TOOLS = ["ruff>=0.14,<0.16"]
TYPE_TOOLS = ["mypy>=1.15"]


def install(session: nox.Session, name: str) -> None:
    """Install one package the way a user does, and what its tests need."""
    package = PACKAGES[name]
    session.install(*(f"./{path}" for path in package["path"]), *package["extra"], *TEST_TOOLS)


def pytest(session: nox.Session, *where: str) -> None:
    """Run pytest on ``where``; long proofs stay out unless asked for."""
    chosen = session.posargs or ["-m", "not proof"]
    session.run("python", "-m", "pytest", *where, *chosen)


@nox.session
@nox.parametrize("package", list(PACKAGES), ids=list(PACKAGES))
def tests(session: nox.Session, package: str) -> None:
    """The tests of one package, in an environment that holds only that package."""
    install(session, package)
    pytest(session, *(f"{path}/tests" for path in PACKAGES[package]["path"]))


@nox.session
def across(session: nox.Session) -> None:
    """The tests of what crosses packages: install-alone, ranks end to end, faults, boundaries."""
    install(session, "textgen")
    session.install("nox", "build")
    pytest(session, "tests")


@nox.session
def proofs(session: nox.Session) -> None:
    """The long form of every proof: twenty kills, several seeds, real corpora. Hours, not minutes."""
    install(session, "hvdcore")
    install(session, "textgen")
    where = [f"{path}/tests" for package in PACKAGES.values() for path in package["path"]]
    session.run("python", "-m", "pytest", "tests", *where, "-m", "proof", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Format and lint, with the settings at the root."""
    session.install(*LINT_TOOLS)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """The strict type checker on hvdcore."""
    install(session, "hvdcore")
    session.install(*TYPE_TOOLS)
    session.run("mypy", "shared/hvdcore/src/hvdcore")


@nox.session
def wheels(session: nox.Session) -> None:
    """Wheels for other machines, in ``dist/``: no path of this checkout in them."""
    session.install("build", "packaging")
    session.run("python", "infra/wheels/build.py", "--out", "dist", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed against peers, as ratios in one run."""
    install(session, "textgen")
    session.run("python", "infra/bench/run.py", *session.posargs)


@nox.session
def quickstart(session: nox.Session) -> None:
    """Set everything up, then train and generate on two ranks from the built-in sample."""
    session.install("./packages/textgen")
    run = session.create_tmp()
    session.run("textgen", "train", "--np", "2", "--output-dir", f"{run}/quickstart", *session.posargs)
    session.run("textgen", "generate", f"{run}/quickstart", "--np", "2", "--prompt", "One morning")

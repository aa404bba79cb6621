"""Fixtures for the release wheels: a public index in which our names belong to somebody else."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "infra" / "wheels"))

from build import main  # noqa: E402
from release_project import find_projects  # noqa: E402
from wheel_check import read_requirements  # noqa: E402

Resolve = Callable[..., dict[str, tuple[str, str]]]
IMPOSTOR = "99.0"


def write_wheel(folder: Path, name: str, version: str, requires: list[str]) -> None:
    """A wheel of nothing but metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    wheel = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join([*lines, ""]))
        archive.writestr(f"{info}/WHEEL", wheel)
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release wheels of every project, Horovod's without its native libraries."""
    pytest.importorskip("hatchling", reason="the packages' build backend is not installed")
    out = tmp_path_factory.mktemp("wheels")
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(("HOROVOD_", "HVD_"))]:
            if name != "HVD_HOROVOD_SDIST":
                patch.delenv(name)
        patch.setenv("HOROVOD_SKIP_COMPILE", "1")
        assert main(["--no-isolation", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def public_index(wheel_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An index on localhost: impostors under our names, and a stub of each third party's."""
    root = tmp_path_factory.mktemp("index")
    ours = set(find_projects(ROOT))
    for name in ours:
        write_wheel(root / name, name, IMPOSTOR, [])
    for wheel in wheel_folder.glob("*.whl"):
        for requirement in read_requirements(wheel):
            name, version = _lowest(requirement)
            if name not in ours:
                write_wheel(root / name, name.replace("-", "_"), version, [])
    handler = functools.partial(_QuietHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def resolve(public_index: str, tmp_path: Path) -> Resolve:
    """Asks pip what it would install: name to (version, where from), from `public_index` alone."""

    def ask(*arguments: str | Path, cwd: Path | None = None) -> dict[str, tuple[str, str]]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "HOROVOD_"))}
        env.update(PIP_CONFIG_FILE=os.devnull, PIP_INDEX_URL=public_index)
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet"]
        command += ["--ignore-installed", "--no-build-isolation", "--no-cache-dir"]
        report = tmp_path / "report.json"
        command += ["--report", str(report), *map(str, arguments)]
        done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        items = json.loads(report.read_text())["install"]
        return {
            item["metadata"]["name"]: (item["metadata"]["version"], item["download_info"]["url"])
            for item in items
        }

    return ask


def _lowest(requirement: str) -> tuple[str, str]:
    """The name in `torch<2.14,>=2.13`, and a version that satisfies it."""
    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
    floor = re.search(r"[>=~]=\s*([0-9.]+)", requirement.partition(";")[0])
    return re.sub(r"[-_.]+", "-", name).lower(), floor[1] if floor else "1.0"


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """pytest's output is no place for an access log."""

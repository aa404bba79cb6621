"""What a run was made with, found without importing a framework."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from hvdcore.runtime.software import collect_environment, package_versions


def test_collected_without_a_framework() -> None:
    code = (
        "import json, sys\n"
        "from hvdcore.runtime.software import collect_environment\n"
        "found = collect_environment('hvdcore', ['train', '--epochs', '1'])\n"
        "found['loaded'] = [m for m in ('torch', 'tensorflow', 'keras') if m in sys.modules]\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["loaded"] == []
    assert found["argv"] == ["train", "--epochs", "1"]
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["versions"]["hvdcore"] == metadata.version("hvdcore")
    assert 1 <= found["usable_cores"] <= found["cores"]
    assert found["memory_bytes"] > 1 << 20


def test_versions_of_what_is_there_only() -> None:
    assert list(package_versions(["pytest", "no-such-distribution"])) == ["pytest"]


def test_commit_of_the_checkout_and_not_of_a_repository_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tracked_here"
    package.mkdir()
    (package / "__init__.py").write_text("")

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    monkeypatch.syspath_prepend(str(tmp_path))
    git("commit", "-q", "--allow-empty", "-m", "empty")
    assert collect_environment("tracked_here")["git"] is None
    git("add", ".")
    git("commit", "-q", "-m", "with the package")
    commit = git("rev-parse", "HEAD")
    assert collect_environment("tracked_here")["git"] == {"commit": commit, "changed_files": False}
    (package / "__init__.py").write_text("changed = True\n")
    assert collect_environment("tracked_here")["git"] == {"commit": commit, "changed_files": True}
    assert collect_environment("no_such_package")["git"] is None

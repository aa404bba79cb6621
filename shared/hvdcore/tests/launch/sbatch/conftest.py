"""A trainer that is installed: a program built on hvdcore, in a folder of the test's."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two distributions, as pip leaves them: one is built on hvdcore, the other is not."""
    for name, needs in (("trainer", "hvdcore>=0.1"), ("stranger", "hvdcore-like")):
        info = tmp_path / "site" / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {needs}\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        entry = f"[console_scripts]\n{name} = {name}:main\n"
        (info / "entry_points.txt").write_text(entry, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

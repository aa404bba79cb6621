"""A released project keeps its ranges and pins its neighbors to the local label."""

from __future__ import annotations

from pathlib import Path

import pytest
from release_project import Project, installed_with, release_copy, release_text

CORE = Project("core", "0.2.0", Path("core"), ("numpy>=1.26", "horovod @ {root:uri}/../horovod"))
HOROVOD = Project("horovod", "0.28.1", Path("horovod"), ())
APP = Project("app", "0.3.0", Path("app"), ("core[fast] @ {root:parent:uri}/core", "typer>=0.15"))
PROJECTS = {project.name: project for project in (HOROVOD, CORE, APP)}


def test_paths_become_pins_and_ranges_stay() -> None:
    text = '[project]\nversion = "0.2.0"\ndependencies = [\n'
    text += '  "numpy>=1.26",\n  "horovod @ {root:uri}/../horovod",\n]\n'
    released = release_text(text, CORE, PROJECTS)
    assert 'version = "0.2.0+hvd1"' in released
    assert '"numpy>=1.26"' in released
    assert '"horovod==0.28.1+hvd1"' in released
    assert "{root" not in released


def test_an_extra_of_a_neighbour_stays() -> None:
    text = 'version = "0.3.0"\nfast = ["core[fast] @ {root:parent:uri}/core"]\n'
    assert '"core[fast]==0.2.0+hvd1"' in release_text(text, APP, PROJECTS)


def test_neighbours_of_neighbours_are_installed_with_it() -> None:
    assert [p.name for p in installed_with(APP, PROJECTS)] == ["app", "core", "horovod"]


def test_a_version_that_is_not_a_plain_line_is_refused() -> None:
    with pytest.raises(ValueError, match=r'expected one line version = "0\.2\.0"'):
        release_text('[project]\nversion="0.2.0"\n', CORE, PROJECTS)


def test_an_unknown_neighbour_is_refused() -> None:
    with pytest.raises(ValueError, match="core needs horovod"):
        release_text('version = "0.2.0"\n', CORE, {"core": CORE})


def test_the_checkout_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "core"
    folder.mkdir()
    text = 'version = "0.2.0"\n"horovod @ {root:uri}/../horovod"\n'
    (folder / "pyproject.toml").write_text(text)
    project = Project("core", "0.2.0", folder, CORE.dependencies)
    copy = release_copy(project, PROJECTS, tmp_path / "scratch")
    assert (folder / "pyproject.toml").read_text() == text
    assert "+hvd1" in (copy / "pyproject.toml").read_text()

"""Turns a project of this repository into one that installs with no checkout near.

In the repository a package names its neighbors by path, so that they can come from nowhere else.
A released wheel pins them to a version with a local label instead: the public index refuses such
versions, so it can never answer the pin, whoever owns the name there.
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "horovod" / "backend"))

from horovod_wheel.release import LOCAL_LABEL, NAME, UPSTREAM_VERSION
from horovod_wheel.settings import RELEASE_PLATFORMS

_NEIGHBOUR = re.compile(r"^([A-Za-z0-9._-]+) *(\[[^]]*\])? *@ *(?:\{root|file:)")
_NOT_SOURCE = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "build", "dist", "runs")


@dataclass(frozen=True)
class Project:
    """One project here; `dependencies`, extras included, are as its pyproject.toml has them."""

    name: str
    version: str
    folder: Path
    dependencies: tuple[str, ...]

    @property
    def release_version(self) -> str:
        """The version that the released wheel has, with the local label."""
        return f"{self.version}+{LOCAL_LABEL}"

    @property
    def file_name(self) -> str:
        """The name as wheel files spell it."""
        return re.sub(r"[-.]+", "_", self.name)

    @property
    def platforms(self) -> tuple[str | None, ...]:
        """The platforms that there is a wheel for; None where one wheel is for all."""
        return tuple(RELEASE_PLATFORMS) if self.name == NAME else (None,)

    @property
    def neighbors(self) -> dict[str, str]:
        """Each requirement that is a path into the repository, with the project it names."""
        found = {d: _NEIGHBOUR.match(d) for d in self.dependencies}
        return {dependency: match[1] for dependency, match in found.items() if match}


def find_projects(root: Path) -> dict[str, Project]:
    """Every project below shared/ and packages/, and Horovod, by name."""
    horovod = Project(NAME, UPSTREAM_VERSION, root / "infra" / "horovod", ())
    files = [*root.glob("shared/*/pyproject.toml"), *root.glob("packages/*/pyproject.toml")]
    projects = [horovod, *(_read_project(file) for file in sorted(files, reverse=True))]
    return {project.name: project for project in projects}


def release_copy(project: Project, projects: dict[str, Project], scratch: Path) -> Path:
    """The folder to build from: a copy with pins, or Horovod's own, which has no neighbors."""
    if project.name == NAME:
        return project.folder
    copy = scratch / project.name
    shutil.copytree(project.folder, copy, ignore=_NOT_SOURCE)
    pyproject = copy / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    pyproject.write_text(release_text(text, project, projects), encoding="utf-8")
    return copy


def release_text(text: str, project: Project, projects: dict[str, Project]) -> str:
    """The text of a pyproject.toml with a labeled version and pinned neighbors."""
    version = re.compile(rf'^version = "{re.escape(project.version)}"$', re.MULTILINE)
    text, count = version.subn(f'version = "{project.release_version}"', text)
    if count != 1:
        raise ValueError(f'{project.name}: expected one line version = "{project.version}"')
    for dependency, name in project.neighbors.items():
        if name not in projects:
            raise ValueError(f"{project.name} needs {name}, which is no project here")
        extras = _NEIGHBOUR.match(dependency)[2] or ""
        pin = f"{name}{extras}=={projects[name].release_version}"
        text = text.replace(f'"{dependency}"', f'"{pin}"')
    return text


def installed_with(project: Project, projects: dict[str, Project]) -> list[Project]:
    """`project` and all of its neighbors, near and far, each once."""
    found = [project]
    for current in found:
        near = (projects[name] for name in current.neighbors.values())
        found += [neighbor for neighbor in near if neighbor not in found]
    return found


def _read_project(file: Path) -> Project:
    table = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    missing = [key for key in ("name", "version") if not isinstance(table.get(key), str)]
    if missing:
        raise ValueError(f"{file}: project.{missing[0]} must be a plain string to be released")
    dependencies = list(table.get("dependencies", ()))
    for extra in table.get("optional-dependencies", {}).values():
        dependencies += extra
    return Project(table["name"], table["version"], file.parent, tuple(dependencies))

"""Builds the wheels for machines without a checkout: `python infra/wheels/build.py --out DIR`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from release_project import Project, find_projects, installed_with, release_copy
from wheel_check import check_wheel

ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 with one line on stderr when a wheel cannot be made."""
    args = _parser().parse_args(argv)
    try:
        projects = find_projects(ROOT)
        unknown = sorted(set(args.packages) - set(projects))
        if unknown:
            raise ValueError(f"no package {', '.join(unknown)}; there are {', '.join(projects)}")
        args.out.mkdir(parents=True, exist_ok=True)
        for name in args.packages or projects:
            for wheel in build_wheels(projects[name], projects, args.out, isolated=args.isolation):
                print(wheel, flush=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def build_wheels(
    project: Project, projects: dict[str, Project], out: Path, *, isolated: bool
) -> list[Path]:
    """Builds a project's wheels into `out`, checks them, and writes a requirements file for them.

    Horovod alone has compiled parts, and so one wheel for each platform.
    """
    for platform in project.platforms:
        with tempfile.TemporaryDirectory() as scratch:
            source = release_copy(project, projects, Path(scratch))
            _pip_wheel(source, out, isolated=isolated, platform=platform)
    wheels = sorted(out.glob(f"{project.file_name}-{project.release_version}-*.whl"))
    for wheel in wheels:
        check_wheel(wheel, ROOT)
    # A bare name would be looked up on the public index, where it may be somebody else's.
    pins = [f"{p.name}=={p.release_version}" for p in installed_with(project, projects)]
    lines = ["--find-links .", *pins, ""]
    (out / f"{project.name}.txt").write_text("\n".join(lines), encoding="utf-8")
    return wheels


def _pip_wheel(source: Path, out: Path, *, isolated: bool, platform: str | None) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += [] if isolated else ["--no-build-isolation"]
    env = {**os.environ, **({"HVD_WHEEL_PLATFORM": platform} if platform else {})}
    done = subprocess.run([*command, "--wheel-dir", str(out), str(source)], env=env, check=False)
    if done.returncode != 0:
        raise ValueError(f"pip could not build {source.name}: see its lines above")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="default: all of them")
    parser.add_argument("--out", type=Path, required=True, help="the wheel folder")
    parser.add_argument(
        "--no-isolation",
        dest="isolation",
        action="store_false",
        help="build with the tools of this environment instead of fetching them",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

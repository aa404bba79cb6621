"""The verb ``compare``: every model on every number of ranks, one after the other.

What several runs say side by side: accuracy against time, speed-up and efficiency.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hvdcore.classifier.config import ClassifierConfig, Words
from hvdcore.config import dump_json, load_config
from hvdcore.errors import Problems
from hvdcore.files.json_files import write_json_atomically
from hvdcore.launch.launch import launch
from hvdcore.run.report import Section, Table, print_table, write_page
from hvdcore.run.run_dir import RunDir, default_run_dir

__all__ = [
    "Trial",
    "compare_command",
    "comparison_table",
    "efficiency",
    "speed_up",
    "write_comparison",
]


@dataclass(frozen=True)
class Trial:
    """One run: what it reached, how fast, and its val accuracy over time.

    Attributes:
        seconds: of the whole loop, evaluations and checkpoints included.
        samples_per_second: over all ranks.
        curve: (seconds, val accuracy) of each evaluation.
    """

    model: str
    size: int
    num_parameters: int
    test_accuracy: float
    seconds: float
    samples_per_second: float
    curve: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, run: RunDir) -> Trial:
        """From a finished run. Without a test part its val accuracy stands in.

        Raises:
            UserError: it has not finished.
        """
        report = run.read_report()
        scored = report.get("test") or report.get("val") or report["train"]
        rows = [row for row in run.read_metrics() if row["split"] == "val"]
        return cls(
            model=report["model"],
            size=report["size"],
            num_parameters=report["num_parameters"],
            test_accuracy=scored["accuracy"],
            seconds=report["seconds"],
            samples_per_second=report["samples_per_second"] or 0.0,
            curve=tuple((row["seconds"], row["accuracy"]) for row in rows),
        )


def speed_up(trial: Trial, trials: Sequence[Trial]) -> float | None:
    """Samples a second against the same model's run on the fewest ranks; None if unknown."""
    first = min((t for t in trials if t.model == trial.model), key=lambda t: t.size)
    return trial.samples_per_second / first.samples_per_second if first.samples_per_second else None


def efficiency(trial: Trial, trials: Sequence[Trial]) -> float | None:
    """Speed-up divided by how many times as many ranks."""
    first = min((t for t in trials if t.model == trial.model), key=lambda t: t.size)
    gain = speed_up(trial, trials)
    return None if gain is None else gain / (trial.size / first.size)


def comparison_table(trials: Sequence[Trial], words: Words) -> list[list[str]]:
    """A header, and a row for each run."""
    header = ["model", "ranks", "parameters", "test accuracy", "seconds", f"{words.unit}/s",
              "speed-up", "efficiency"]  # fmt: skip
    rows = [
        [
            t.model, str(t.size), f"{t.num_parameters:,}", f"{t.test_accuracy:.4f}",
            f"{t.seconds:.1f}", f"{t.samples_per_second:,.0f}",
            _ratio(speed_up(t, trials)), _ratio(efficiency(t, trials)),
        ]
        for t in trials
    ]  # fmt: skip
    return [header, *rows]


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def write_comparison(folder: Path, trials: Sequence[Trial], words: Words) -> Path:
    """``comparison.json``, ``figures/comparison.png`` and ``report.html``; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomically(folder / "comparison.json", [asdict(trial) for trial in trials])
    figure = draw_comparison(folder / "figures" / "comparison.png", trials)
    header, *rows = comparison_table(trials, words)
    sections = [
        Section("What distribution buys", _TEXT, table=Table(header, rows)),
        Section("Accuracy against time", figure=figure),
    ]
    write_page(folder / "report.html", f"{words.package}: models and ranks", sections)
    return folder / "report.html"


_TEXT = (
    "All runs share the global batch, so that one model reaches the same accuracy on any number "
    "of ranks; what differs is the time. Speed is over all ranks, by the slowest, without the "
    "first five steps; speed-up is against the same model on the fewest ranks, which has all cores "
    "of the machine too. Efficiency divides it by the ranks."
)


def draw_comparison(path: Path, trials: Sequence[Trial]) -> Path:
    """Val accuracy over seconds: a colour for each model, a line style for each number of ranks."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    models = list(dict.fromkeys(trial.model for trial in trials))
    sizes = sorted({trial.size for trial in trials})
    styles = ("-", "--", ":", "-.")
    for trial in trials:
        seconds, accuracy = zip(*trial.curve, strict=True) if trial.curve else ((), ())
        axes.plot(
            seconds, accuracy, color=f"C{models.index(trial.model)}",
            linestyle=styles[sizes.index(trial.size) % len(styles)], marker="o", markersize=3,
            label=f"{trial.model}, {trial.size} {'rank' if trial.size == 1 else 'ranks'}",
        )  # fmt: skip
    # Models differ in time by two orders of magnitude; the evaluation at 0 s stays visible.
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set(xlabel="seconds (logarithmic from 1)", ylabel="val accuracy", ylim=(0.0, 1.0))
    axes.set(title="Accuracy against time", xlim=(0.0, None))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    return path


def compare_command(
    kind: type[ClassifierConfig],
    words: Words,
    known: Sequence[str],
    check: Callable[[Any, int], None],
    models: str,
    sizes: str,
    output_dir: Path | None,
    flags: Mapping[str, Any],
) -> int:
    """Train them all, one after the other, and write the table and the figure.

    Args:
        kind: the package's configuration.
        known: the models that there are.
        check: of a configuration on so many ranks, before anything is trained.
        models: names with commas between.
        sizes: numbers of ranks with commas between.
        output_dir: holds a run directory for each, and ``comparison.json`` and ``report.html``.
        flags: fields of the configuration that all share; `config` is a file with more of them.

    Returns:
        The exit code: 0, or that of the first run that failed.

    Raises:
        UserError: any of the configurations is wrong.
    """
    names, numbers = _parsed(models, sizes, known)
    flags = dict(flags)
    file = flags.pop("config")
    configs = {name: load_config(kind, file, {**flags, "model": name}) for name in names}
    pairs = [(name, size) for name in names for size in numbers]
    for name, size in pairs:
        check(configs[name], size)
    folder = output_dir or default_run_dir(words.package, "runs/compare")
    trials = []
    for name, size in pairs:
        path = folder / f"{name}-np{size}"
        print(f"{name} on {size} {'rank' if size == 1 else 'ranks'}: {path}", file=sys.stderr)
        code = _train(words.package, configs[name], path, size)
        if code:
            return code
        trials.append(Trial.of(RunDir.open(path)))
    header, *rows = comparison_table(trials, words)
    print_table(Table(header, rows))
    print(write_comparison(folder, trials, words))
    return 0


def _train(package: str, config: ClassifierConfig, path: Path, size: int) -> int:
    """One run, with the same launcher for one rank as for many; its exit code."""
    path.mkdir(parents=True, exist_ok=True)
    file = path.with_suffix(".json")
    file.write_text(dump_json(config), encoding="utf-8")
    command = ["-m", package, "train", "--config", str(file), "--output-dir", str(path)]
    return launch([sys.executable, *command], size)


def _parsed(models: str, sizes: str, known: Sequence[str]) -> tuple[list[str], list[int]]:
    problems = Problems()
    names = [name.strip() for name in models.split(",") if name.strip()]
    for name in names:
        if name not in known:
            problems.add("models", f"no model {name!r}; choose among {', '.join(known)}")
    numbers = [text.strip() for text in sizes.split(",") if text.strip()]
    for text in numbers:
        if not text.isdigit() or int(text) < 1:
            problems.add("np", f"got {text!r}; give numbers of ranks such as 1,2")
    if not names or not numbers:
        problems.add("models", f"nothing to compare; give --models {','.join(known[:2])} --np 1,2")
    problems.raise_if_any()
    return list(dict.fromkeys(names)), list(dict.fromkeys(map(int, numbers)))

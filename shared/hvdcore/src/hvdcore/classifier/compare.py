"""The command ``compare``: trains every model on every number of ranks, and compares the runs.

The comparison is accuracy over time, speedup and efficiency.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hvdcore.classifier.config import ClassifierConfig, SampleNames
from hvdcore.config import dump_json, load_config
from hvdcore.errors import Problems
from hvdcore.files.atomic import write_figure_atomically
from hvdcore.files.json_files import write_json_atomically
from hvdcore.launch.launch import launch
from hvdcore.run.report import Section, Table, print_table, write_page
from hvdcore.run.run_dir import RunDir, default_run_dir
from hvdcore.runtime.environment import python_module

__all__ = [
    "Trial",
    "compare_command",
    "comparison_table",
    "efficiency",
    "speedup",
    "write_comparison",
]


@dataclass(frozen=True)
class Trial:
    """One finished run: its accuracy, its speed, and its val accuracy over time.

    Attributes:
        seconds: of the training loop, including evaluations and checkpoints.
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
        """From a finished run. Without a test split it takes the val accuracy.

        Raises:
            UserError: the run has not finished.
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


def speedup(trial: Trial, trials: Sequence[Trial]) -> float | None:
    """Samples per second relative to the same model's run on the fewest ranks; None if unknown."""
    first = min((t for t in trials if t.model == trial.model), key=lambda t: t.size)
    return trial.samples_per_second / first.samples_per_second if first.samples_per_second else None


def efficiency(trial: Trial, trials: Sequence[Trial]) -> float | None:
    """Speedup divided by the ratio of the numbers of ranks."""
    first = min((t for t in trials if t.model == trial.model), key=lambda t: t.size)
    gain = speedup(trial, trials)
    return None if gain is None else gain / (trial.size / first.size)


def comparison_table(trials: Sequence[Trial], names: SampleNames) -> list[list[str]]:
    """A header, and a row for each run."""
    header = ["model", "ranks", "parameters", "test accuracy", "seconds", f"{names.samples}/s",
              "speedup", "efficiency"]  # fmt: skip
    rows = [
        [
            t.model, str(t.size), f"{t.num_parameters:,}", f"{t.test_accuracy:.4f}",
            f"{t.seconds:.1f}", f"{t.samples_per_second:,.0f}",
            _ratio(speedup(t, trials)), _ratio(efficiency(t, trials)),
        ]
        for t in trials
    ]  # fmt: skip
    return [header, *rows]


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def write_comparison(folder: Path, trials: Sequence[Trial], names: SampleNames) -> Path:
    """Write ``comparison.json``, the figure and ``report.html``, and return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomically(folder / "comparison.json", [asdict(trial) for trial in trials])
    figure = draw_comparison(folder / "figures" / "comparison.png", trials)
    header, *rows = comparison_table(trials, names)
    sections = [
        Section("Speedup over ranks", _TEXT, table=Table(header, rows)),
        Section("Accuracy over time", figure=figure),
    ]
    write_page(folder / "report.html", f"{names.package}: models and ranks", sections)
    return folder / "report.html"


_TEXT = (
    "All runs use the same global batch size, so a model reaches the same accuracy on any number "
    "of ranks; only the time differs. Speed counts the samples of all ranks over the time of the "
    "slowest rank, without the first five steps. Speedup is relative to the same model on the "
    "fewest ranks, which may use all cores of the machine too; efficiency is speedup divided by "
    "the ratio of the numbers of ranks."
)


def draw_comparison(path: Path, trials: Sequence[Trial]) -> Path:
    """Plot val accuracy over time: one color per model, one line style per number of ranks."""
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
    # Models differ in time by two orders of magnitude; the evaluation at 0 s must stay visible.
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set(xlabel="seconds (logarithmic from 1)", ylabel="val accuracy", ylim=(0.0, 1.0))
    axes.set(title="Accuracy over time", xlim=(0.0, None))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    write_figure_atomically(figure, path)
    return path


def compare_command(
    config_type: type[ClassifierConfig],
    names: SampleNames,
    known: Sequence[str],
    check: Callable[[Any, int], None],
    models: str,
    sizes: str,
    output_dir: Path | None,
    flags: Mapping[str, Any],
) -> int:
    """Train all combinations, one after the other, and write the table and the figure.

    Args:
        config_type: the package's configuration.
        known: the names of all models.
        check: checks a configuration for a number of ranks, before anything is trained.
        models: comma-separated names.
        sizes: comma-separated numbers of ranks.
        output_dir: for the run directories, ``comparison.json`` and ``report.html``.
        flags: fields of the configuration that all runs share; `config` is a file with more.

    Returns:
        Exit code 0, or that of the first run that failed.

    Raises:
        UserError: one of the configurations is wrong.
    """
    model_names, numbers = _parsed(models, sizes, known)
    flags = dict(flags)
    file = flags.pop("config")
    configs = {
        model: load_config(config_type, file, {**flags, "model": model}) for model in model_names
    }
    pairs = [(model, size) for model in model_names for size in numbers]
    for model, size in pairs:
        check(configs[model], size)
    folder = output_dir or default_run_dir(names.package, "runs/compare")
    trials = []
    for model, size in pairs:
        path = folder / f"{model}-np{size}"
        print(f"{model} on {size} {'rank' if size == 1 else 'ranks'}: {path}", file=sys.stderr)
        code = _train(names.package, configs[model], path, size)
        if code:
            return code
        trials.append(Trial.of(RunDir.open(path)))
    header, *rows = comparison_table(trials, names)
    print_table(Table(header, rows))
    print(write_comparison(folder, trials, names))
    return 0


def _train(package: str, config: ClassifierConfig, path: Path, size: int) -> int:
    """Train one run, with the same launcher for one rank as for many; return its exit code."""
    path.mkdir(parents=True, exist_ok=True)
    file = path.with_suffix(".json")
    file.write_text(dump_json(config), encoding="utf-8")
    options = ["--config", str(file), "--output-dir", str(path)]
    return launch([*python_module(package), "train", *options], size)


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

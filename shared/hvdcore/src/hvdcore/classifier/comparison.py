"""What several runs say side by side: accuracy against time, speed-up and efficiency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hvdcore.classifier.words import Words
from hvdcore.files.json_files import write_json_atomically
from hvdcore.run.report import Section, Table, write_page
from hvdcore.run.run_dir import RunDir

__all__ = ["Trial", "comparison_table", "efficiency", "speed_up", "write_comparison"]


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

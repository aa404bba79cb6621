"""The verb ``compare``: every model on every number of ranks, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hvdcore.classifier.comparison import Trial, comparison_table, write_comparison
from hvdcore.classifier.config import ClassifierConfig
from hvdcore.classifier.words import Words
from hvdcore.config import dump_json, load_config
from hvdcore.errors import Problems
from hvdcore.launch.launch import launch
from hvdcore.run.report import Table
from hvdcore.run.run_dir import RunDir, default_run_dir
from hvdcore.run.show_table import print_table

__all__ = ["compare_command"]


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

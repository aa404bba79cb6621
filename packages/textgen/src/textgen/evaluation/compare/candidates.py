"""The models of a comparison: checked before the work starts, and what their training cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvdcore.config import load_config
from hvdcore.errors import Problems, UserError
from hvdcore.run.report import run_labels
from hvdcore.run.run_dir import RunDir
from textgen.config import TrainConfig
from textgen.data.distributed import prepare_distributed
from textgen.evaluation.command import DATA_FIELDS, Scoring
from textgen.evaluation.quality.scores import HUMAN
from textgen.pretrained.load import ResolvedModel, check_model_exists, resolve_distributed

if TYPE_CHECKING:
    import torch

    from hvdcore.runtime.world import World
    from textgen.tokenizer.tokenizer import Tokenizer

__all__ = ["Candidate", "find_candidates", "reference_config"]


@dataclass(frozen=True)
class Candidate:
    """One of the models.

    Attributes:
        label: the shortest suffix of its name that is unique.
        flags: fields of `TrainConfig` that make it read the common data.
    """

    label: str
    source: ResolvedModel
    flags: Mapping[str, Any]

    def open(self, stride: int | None, device: torch.device) -> Scoring:
        """Load the model for scoring.

        Raises:
            UserError: it cannot be loaded.
        """
        with _naming(self.source.name):
            return Scoring.of(self.source, stride, self.flags, device)

    def costs(self) -> dict[str, Any]:
        """Seconds and tokens per second of the training of a run; None for other models."""
        report = {} if self.source.run is None else RunDir(self.source.run).read_report()
        return {
            "training_seconds": report.get("seconds"),
            "tokens_per_second": report.get("tokens_per_second"),
            "revision": self.source.revision,
        }


def find_candidates(
    names: Sequence[str],
    flags: Mapping[str, Any],
    stride: int | None,
    world: World,
    device: torch.device,
) -> list[Candidate]:
    """All of the models, each loaded once as a check, and the data prepared in its tokens.

    Every rank must call.

    Raises:
        UserError: fewer than two models, one given twice, or one that does not exist: all problems
            at once, except for those of the hub. Then, too little text for the windows of a model.
    """
    if world.is_root:
        _check_names(names)
    sources = [resolve_distributed(name, world) for name in names]
    reference = reference_config(sources, flags)
    labels = run_labels([Path(name) for name in names])
    # The human text has this name in every table.
    labels = [f"./{label}" if label == HUMAN else label for label in labels]
    candidates = [
        Candidate(label, source, _flags(source, reference, flags))
        for label, source in zip(labels, sources, strict=True)
    ]
    problems = Problems()
    data: list[tuple[TrainConfig, Tokenizer | None]] = []
    for candidate in candidates:
        with problems.catching():
            scoring = candidate.open(stride, device)
            data.append((scoring.config, scoring.tokenizer))
            candidate.costs()
    problems.raise_if_any()
    for candidate, (config, tokenizer) in zip(candidates, data, strict=True):
        with _naming(candidate.source.name):
            prepare_distributed(config, world, tokenizer)
    return candidates


def reference_config(sources: Sequence[ResolvedModel], flags: Mapping[str, Any]) -> TrainConfig:
    """The configuration of the common data: the first run's, or the defaults."""
    runs = [source.run for source in sources if source.run is not None]
    return load_config(TrainConfig, RunDir(runs[0]).config if runs else None, flags)


def _check_names(names: Sequence[str]) -> None:
    problems = Problems()
    if len(names) < 2:
        problems.add("model", "give two models or more; for one there is textgen evaluate")
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            problems.add("model", f"{name} is given twice")
        with problems.catching():
            check_model_exists(name)
    problems.raise_if_any()


def _flags(
    source: ResolvedModel, reference: TrainConfig, flags: Mapping[str, Any]
) -> dict[str, Any]:
    """The flags that make the model read the reference's data. A run that was trained on it keeps
    its own fields, so that its prepared corpus is found again."""
    own = load_config(TrainConfig, None if source.run is None else RunDir(source.run).config)
    wanted = {name: getattr(reference, name) for name in DATA_FIELDS}
    if source.run is not None:
        wanted = {name: value for name, value in wanted.items() if getattr(own, name) != value}
    return {**flags, **dict.fromkeys(DATA_FIELDS), **wanted}


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Make each problem in the block name the model."""
    try:
        yield
    except UserError as error:
        lines = (line if name in line else f"{name}: {line}" for line in error.problems)
        raise UserError(*lines) from error

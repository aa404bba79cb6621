"""Owns the models that are compared: found and looked at before work starts, and what they cost."""

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
from textgen.data.distributed import open_corpus_on_all_ranks
from textgen.evaluation.command import DATA_FIELDS, Scoring
from textgen.evaluation.quality.scores import HUMAN
from textgen.pretrained.load import ModelPlace, look_for_model, place_on_all_ranks

if TYPE_CHECKING:
    import torch

    from hvdcore.runtime.world import World

__all__ = ["Candidate", "find_candidates", "reference_config"]


@dataclass(frozen=True)
class Candidate:
    """One of the models.

    Attributes:
        label: the shortest end of its name that tells it apart.
        flags: fields of `TrainConfig` by which it reads the data of all, not its own.
    """

    label: str
    place: ModelPlace
    flags: Mapping[str, Any]

    def open(self, stride: int | None, device: torch.device) -> Scoring:
        """The model, ready to be scored.

        Raises:
            UserError: it cannot be loaded.
        """
        with _naming(self.place.name):
            return Scoring.of(self.place, stride, self.flags, device)

    def costs(self) -> dict[str, Any]:
        """What a run says of its training: seconds, and tokens a second of all ranks; None for
        a model that is no run."""
        report = {} if self.place.run is None else RunDir(self.place.run).read_report()
        return {
            "training_seconds": report.get("seconds"),
            "tokens_per_second": report.get("tokens_per_second"),
            "revision": self.place.revision,
        }


def find_candidates(
    names: Sequence[str],
    flags: Mapping[str, Any],
    stride: int | None,
    world: World,
    device: torch.device,
) -> list[Candidate]:
    """All of the models, each loaded once to see that it can be, and the data in its tokens
    prepared. Every rank must call.

    Raises:
        UserError: fewer than two, one twice, or one that is no model: all at once, but for what
            only the hub can tell. Then, too little text for a model's windows.
    """
    if world.is_root:
        _look_at(names)
    places = [place_on_all_ranks(name, world) for name in names]
    reference = reference_config(places, flags)
    labels = run_labels([Path(name) for name in names])
    # The human text has that name in every table.
    labels = [f"./{label}" if label == HUMAN else label for label in labels]
    candidates = [
        Candidate(label, place, _flags(place, reference, flags))
        for label, place in zip(labels, places, strict=True)
    ]
    problems, data = Problems(), []
    for candidate in candidates:
        with problems.catching():
            data.append(candidate.open(stride, device).data)
            candidate.costs()
    problems.raise_if_any()
    for candidate, own in zip(candidates, data, strict=True):
        with _naming(candidate.place.name):
            open_corpus_on_all_ranks(own, world)
    return candidates


def reference_config(places: Sequence[ModelPlace], flags: Mapping[str, Any]) -> TrainConfig:
    """The configuration whose data all are compared on: the first run's, or the defaults."""
    runs = [place.run for place in places if place.run is not None]
    return load_config(TrainConfig, RunDir(runs[0]).config if runs else None, flags)


def _look_at(names: Sequence[str]) -> None:
    problems = Problems()
    if len(names) < 2:
        problems.add("model", "give two models or more; textgen evaluate judges one")
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            problems.add("model", f"{name} is given twice")
        with problems.catching():
            look_for_model(name)
    problems.raise_if_any()


def _flags(place: ModelPlace, reference: TrainConfig, flags: Mapping[str, Any]) -> dict[str, Any]:
    """What makes the model read the reference's data. A run that was trained on it keeps its own
    fields, by which its prepared corpus is found again."""
    own = load_config(TrainConfig, None if place.run is None else RunDir(place.run).config)
    wanted = {name: getattr(reference, name) for name in DATA_FIELDS}
    if place.run is not None:
        wanted = {name: value for name, value in wanted.items() if getattr(own, name) != value}
    return {**flags, **dict.fromkeys(DATA_FIELDS), **wanted}


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Have each problem in the block name the model."""
    try:
        yield
    except UserError as error:
        lines = (line if name in line else f"{name}: {line}" for line in error.problems)
        raise UserError(*lines) from error

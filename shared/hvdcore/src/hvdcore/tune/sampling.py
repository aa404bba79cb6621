"""Owns the translation into Optuna's terms: distributions, the sampler, the pruner."""

from __future__ import annotations

import hashlib

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import TPESampler

from hvdcore.tune.space import Choice, Dimension, Whole

__all__ = ["make_distribution", "make_pruner", "make_sampler"]


def make_distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's word for a dimension."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.choices)
    if isinstance(dimension, Whole):
        return IntDistribution(dimension.low, dimension.high, dimension.log, dimension.step)
    return FloatDistribution(dimension.low, dimension.high, dimension.log)


def make_sampler(seed: int, place: int) -> TPESampler:
    """The sampler for one place in the sequence of trials.

    It is seeded anew for each: a sampler that begins again after a kill would draw the first values
    of the study a second time. Trials that run are counted as bad ones, so that those beside each
    other differ.
    """
    digest = hashlib.sha256(f"{seed}:{place}".encode()).digest()
    return TPESampler(seed=int.from_bytes(digest[:4], "big"), constant_liar=True)


def make_pruner(name: str) -> BasePruner:
    """Steps are counted in val points, from 1: trials of other batch sizes stay comparable."""
    if name == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=2)
    if name == "halving":
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return NopPruner()

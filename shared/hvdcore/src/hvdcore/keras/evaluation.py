"""Owns exact metrics over ranks: states are summed, then one result is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.keras.collectives import allreduce_sum
from hvdcore.keras.native import engine

__all__ = ["evaluate", "reduced_metrics"]


def evaluate(model: Any, dataset: Any) -> dict[str, float]:
    """Loss and metrics over all ranks' shards together, each sample counted once.

    Every rank must call, each with its own shard; shards may differ in size and be empty.

    Args:
        model: a compiled, built `keras.Model`, its weights equal on all ranks.
        dataset: a batched, finite `tf.data.Dataset` of (x, y) or (x, y, sample_weight).

    Returns:
        Metric names to values, equal on every rank.
    """
    if _is_empty(dataset):
        # Metrics make their variables at the first batch, which this rank does not have.
        model.test_on_batch(*tf.nest.map_structure(_one_of_zeros, dataset.element_spec))
        model.reset_metrics()
    else:
        model.evaluate(dataset, verbose=0)
    return reduced_metrics(model)


def reduced_metrics(model: Any) -> dict[str, float]:
    """The model's metrics as if one process had seen what all ranks saw since the last reset.

    Each rank's own state is left as it was. Every rank must call.

    Keras keeps sums and counts (a mean's total and count, a confusion matrix), which may be
    added up; averaging the ranks' results would be wrong whenever shards differ in size. A
    metric of your own must keep to that: only sums in its variables.
    """
    variables = [v for metric in model.metrics for v in metric.variables]
    local = [v.numpy() for v in variables]
    if engine().size() > 1 and variables:
        _assign(variables, _sum_over_ranks(local))
    try:
        results = model.get_metrics_result()
        return {name: float(value) for name, value in _flat(results)}
    finally:
        _assign(variables, local)


def _sum_over_ranks(states: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    flat = np.concatenate([s.astype(np.float64).ravel() for s in states])
    parts = np.split(allreduce_sum(flat), np.cumsum([s.size for s in states])[:-1])
    return [p.reshape(s.shape).astype(s.dtype) for p, s in zip(parts, states, strict=True)]


def _assign(variables: list[Any], values: list[npt.NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _flat(results: dict[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in results.items():
        pairs += _flat(value) if isinstance(value, dict) else [(name, value)]
    return pairs


def _is_empty(dataset: Any) -> bool:
    cardinality = int(dataset.cardinality())
    if cardinality >= 0:
        return cardinality == 0
    return next(iter(dataset), None) is None


def _one_of_zeros(spec: Any) -> Any:
    return tf.zeros([1, *spec.shape[1:]], spec.dtype)

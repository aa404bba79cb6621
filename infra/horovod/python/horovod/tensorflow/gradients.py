"""The reduction of a step's gradients, shared by the gradient tape and all optimizers.

After horovod/tensorflow/__init__.py of Horovod 0.28.1, copyright 2016 The TensorFlow Authors, 2019
Uber Technologies, Inc. and Microsoft, Apache License 2.0.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from horovod.common.util import split_list
from horovod.tensorflow.collectives import (
    _allreduce_cond,
    _grouped_allreduce_cond,
    number_of_processes,
)
from horovod.tensorflow.mpi_ops import Average, ProcessSet, rocm_built
from horovod.tensorflow.util import (
    _cache,
    _executing_eagerly,
    _make_subgraph,
    native_variable,
    vars_to_refs,
)

import tensorflow as tf

__all__ = ["check_groups", "check_predivide_factor", "mark_reduced", "reduce_shared", "reduced_by"]

_MARK = "_horovod_reduced"


@_cache
def _make_cached_allreduce_grads_fn(
    name: str,
    device_dense: str,
    device_sparse: str,
    compression: Any,
    sparse_as_dense: bool,
    op: int,
    gradient_predivide_factor: float,
    groups: Any,
    process_set: ProcessSet,
) -> Callable[..., list[Any]]:
    prescale = 1.0 / gradient_predivide_factor if op == Average else 1.0
    options = {
        "device_dense": device_dense,
        "device_sparse": device_sparse,
        "compression": compression,
        "op": op,
        "prescale_factor": prescale,
        "postscale_factor": 1.0 / prescale,
        "process_set": process_set,
    }

    def reduce(grads: Sequence[Any], places: Sequence[Sequence[int]], label: str | None) -> Any:
        results = list(grads)
        for i, members in enumerate(places):
            naming = {"ignore_name_scope": label is not None}
            if len(members) == 1 and groups is None:
                naming["name"] = None if label is None else f"{label}_{members[0]}"
                reduced = [_allreduce_cond(grads[members[0]], **naming, **options)]
            else:
                naming["name"] = None if label is None else f"{label}_group_{i}"
                reduced = _reduce_group([grads[k] for k in members], naming, options)
            for k, value in zip(members, reduced, strict=True):
                results[k] = value
        return results

    def in_scope(grads: Sequence[Any], places: Any, label: str | None) -> Any:
        with tf.name_scope(f"{name}_Allreduce"):
            return reduce(grads, places, label)

    # Eagerly one operation after the other would wait; in a graph they run together.
    together = _make_subgraph(in_scope)

    @tf.autograph.experimental.do_not_convert
    def allreduce_grads(
        grads: Sequence[Any], variables: Any = None, use_generic_names: bool | str = False
    ) -> list[Any]:
        grads = [_densified(g) if sparse_as_dense else g for g in grads]
        places = _places(grads, variables, groups)
        label = "grad" if use_generic_names is True else use_generic_names or None
        if not places:
            return list(grads)
        run = together if _executing_eagerly() else in_scope
        return list(run(grads, places, label))

    return allreduce_grads


def _make_allreduce_grads_fn(
    name: str,
    device_dense: str,
    device_sparse: str,
    compression: Any,
    sparse_as_dense: bool,
    op: int,
    gradient_predivide_factor: float,
    groups: Any,
    process_set: ProcessSet,
) -> Callable[..., list[Any]]:
    """A function (gradients, variables=None, use_generic_names=False) -> reduced gradients.

    None stays None. Ranks match operations by name. The names come from the graph, unless
    `use_generic_names` is True, or a prefix; then they are the gradients' places.
    """
    groups = vars_to_refs(groups) if isinstance(groups, list) else groups
    return _make_cached_allreduce_grads_fn(
        name,
        device_dense,
        device_sparse,
        compression,
        sparse_as_dense,
        op,
        gradient_predivide_factor,
        groups,
        process_set,
    )


def _densified(gradient: Any) -> Any:
    return tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient


def _places(grads: Sequence[Any], variables: Any, groups: Any) -> list[list[int]]:
    """Which gradients are reduced together; those that are None not at all."""
    present = [i for i, g in enumerate(grads) if g is not None]
    if groups is None:
        return [[i] for i in present]
    if isinstance(groups, int):
        return [part for part in split_list(present, groups) if part]
    if variables is None:
        raise ValueError("groups: lists of variables need the gradients' variables")
    place_of = {native_variable(variables[i]).ref(): i for i in present}
    grouped = [[place_of.pop(ref) for ref in group if ref in place_of] for group in groups]
    return [part for part in grouped if part] + [[i] for i in place_of.values()]


def _reduce_group(grads: list[Any], naming: dict[str, Any], options: dict[str, Any]) -> list[Any]:
    """A group in one operation for each element type, which is usually one."""
    results = list(grads)
    types = dict.fromkeys(g.dtype for g in grads)
    for dtype in types:
        members = [i for i, g in enumerate(grads) if g.dtype == dtype]
        name = naming["name"]
        if name is not None and len(types) > 1:
            name = f"{name}_{dtype.name}"
        each = {**naming, "name": name}
        reduced = _grouped_allreduce_cond([grads[i] for i in members], **each, **options)
        for i, value in zip(members, reduced, strict=True):
            results[i] = value
    return results


def reduce_shared(
    allreduce_grads: Callable[..., list[Any]],
    grads: Sequence[Any],
    variables: Sequence[Any],
    local: set[Any],
    scale_local_gradients: bool,
    process_set: ProcessSet,
    use_generic_names: bool | str = False,
) -> list[Any]:
    """Reduce the gradients, but for those of local variables, which at most are divided.

    Args:
        allreduce_grads: from `_make_allreduce_grads_fn`.
        grads: one for each variable; None stays None.
        variables: tensors, TensorFlow's or Keras's variables.
        local: `key_of` of the variables that every process trains by itself.
        scale_local_gradients: divide those gradients by the number of processes, as the average
            does with the others (horovod pull request 3695).
        process_set: the processes that take part.
        use_generic_names: see `_make_allreduce_grads_fn`.
    """
    results = list(grads)
    shared = [i for i, v in enumerate(variables) if key_of(v) not in local]
    reduced = allreduce_grads(
        [grads[i] for i in shared], [variables[i] for i in shared], use_generic_names
    )
    for i, gradient in zip(shared, reduced, strict=True):
        results[i] = gradient
    if scale_local_gradients and local:
        count = number_of_processes(process_set)
        for i in set(range(len(results))) - set(shared):
            results[i] = divided(results[i], count)
    return results


def key_of(variable: Any) -> Any:
    """What a variable or tensor is known by in a set."""
    return native_variable(variable).ref()


def divided(gradient: Any, count: Any) -> Any:
    """A gradient, dense, sparse or None, divided by a number in its own floating-point type."""
    if gradient is None:
        return None
    if isinstance(gradient, tf.IndexedSlices):
        values = gradient.values / tf.cast(count, gradient.values.dtype)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient / tf.cast(count, gradient.dtype)


def mark_reduced(gradients: Sequence[Any], by: Any) -> None:
    """Note on gradients by whom they are reduced, for an optimizer that reduces too."""
    for gradient in gradients:
        if gradient is not None:
            setattr(gradient, _MARK, by)


def reduced_by(gradients: Sequence[Any]) -> Any:
    """Who reduced all these gradients, if they come unchanged from there; else None."""
    marks = [getattr(g, _MARK, None) for g in gradients if g is not None]
    return marks[0] if marks and all(mark is marks[0] for mark in marks) else None


def check_predivide_factor(factor: float, op: int) -> None:
    """Raise ValueError if `gradient_predivide_factor` cannot be had with `op`."""
    if factor == 1.0:
        return
    if rocm_built():
        raise ValueError("gradient_predivide_factor not supported yet with ROCm")
    if op != Average:
        raise ValueError("gradient_predivide_factor not supported with op != Average")


def check_groups(groups: Any, num_groups: int = 0) -> Any:
    """`groups`, or the deprecated `num_groups`; ValueError if it is neither a number nor lists."""
    if num_groups != 0:
        warnings.warn(
            "Parameter `num_groups` has been replaced by `groups` and will be removed in v0.23.0.",
            DeprecationWarning,
            stacklevel=3,
        )
        groups = num_groups if groups is None else groups
    if groups is not None and not (isinstance(groups, list) or groups > 0):
        raise ValueError(
            "groups should be a non-negative integer or a list of list of tf.Variable."
        )
    return groups

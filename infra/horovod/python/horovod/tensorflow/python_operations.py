"""The operations made of Python, for a TensorFlow in which the compiled ones do not work.

In eager execution an operation starts and is waited for; in a graph it is two functions and a queue
(`horovod.tensorflow.python_graph`). The functions have the names and arguments of the compiled
operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from horovod.common import library
from horovod.tensorflow.python_calls import Call, StartedCall
from horovod.tensorflow.python_graph import in_graph, with_splits

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import ops


def _run(
    kind: str,
    tensors: Sequence[Any],
    name: str | None,
    ignore_name_scope: bool,
    splits: Any = None,
    dtypes: Sequence[tf.DType] | None = None,
    **options: Any,
) -> list[Any]:
    tensors = [tf.convert_to_tensor(t) for t in tensors]
    dtypes = [t.dtype for t in tensors] if dtypes is None else list(dtypes)
    splits = tf.constant([], tf.int32) if splits is None else tf.convert_to_tensor(splits)
    if context.executing_eagerly():
        call = Call(kind, f"Horovod{kind}", **options)
        if kind == "alltoall":
            call = with_splits(call, splits.numpy())
        return [tf.constant(v) for v in StartedCall(call, [t.numpy() for t in tensors]).wait()]
    scope = "" if ignore_name_scope else ops.get_default_graph().get_name_scope()
    full_name = "/".join(part for part in (scope, name or f"Horovod{kind}") if part)
    unique = full_name if ignore_name_scope else ops.get_default_graph().unique_name(full_name)
    return in_graph(
        lambda known: Call(kind, known, **options),
        [splits, *tensors],
        list(dtypes),
        unique,
        stateful=kind in ("join", "barrier"),  # as the compiled ones: they run even for no output
    )


def _shaped(outputs: Sequence[Any], inputs: Sequence[Any], same_rows: bool) -> list[Any]:
    for output, tensor in zip(outputs, inputs, strict=True):
        shape = tf.convert_to_tensor(tensor).shape
        if shape.rank is not None:
            output.set_shape(shape if same_rows or not shape.rank else [None, *shape[1:]])
    return list(outputs)


def _differentiable(
    forward: Callable[..., list[Any]], kind: str, inputs: Sequence[Any], **attributes: Any
) -> list[Any]:
    """The operation with the gradient that is registered for the compiled one."""

    @tf.custom_gradient
    def operation(*tensors: Any) -> Any:
        outputs = forward(tensors)

        def gradient(*grads: Any) -> Any:
            compute = ops.gradient_registry.lookup(kind)
            found = compute(_Node(tensors, outputs, attributes), *grads)
            found = list(found) if isinstance(found, (list, tuple)) else [found]
            return [*found, *([None] * (len(tensors) - len(found)))]

        return outputs, gradient

    result = operation(*[tf.convert_to_tensor(t) for t in inputs])
    return list(result) if isinstance(result, (list, tuple)) else [result]


class _Node:
    """What a registered gradient asks of its operation."""

    def __init__(self, inputs: Sequence[Any], outputs: Sequence[Any], attributes: Any) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._attributes = attributes

    def get_attr(self, name: str) -> Any:
        return self._attributes[name]


def _reduction(kind: str, registered: str, tensors: Sequence[Any], same: bool, a: Any) -> list[Any]:
    def forward(inputs: Sequence[Any]) -> list[Any]:
        outputs = _run(
            kind,
            inputs,
            a["name"],
            a["ignore_name_scope"],
            process_set=a["process_set_id"],
            reduce_op=a["reduce_op"],
            prescale=a["prescale_factor"],
            postscale=a["postscale_factor"],
        )
        return _shaped(outputs, inputs, same)

    return _differentiable(forward, registered, tensors, **a)


def _options(name: Any, ignore_name_scope: Any, process_set_id: Any, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "ignore_name_scope": ignore_name_scope,
        "process_set_id": process_set_id,
        **more,
    }


def horovod_allreduce(
    tensor: Any,
    reduce_op: int,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> Any:
    return horovod_grouped_allreduce(
        [tensor],
        reduce_op,
        prescale_factor,
        postscale_factor,
        ignore_name_scope,
        process_set_id,
        tensor_name,
        name,
    )[0]


def horovod_grouped_allreduce(
    tensors: Sequence[Any],
    reduce_op: int,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> list[Any]:
    options = _options(
        name,
        ignore_name_scope,
        process_set_id,
        reduce_op=reduce_op,
        prescale_factor=prescale_factor,
        postscale_factor=postscale_factor,
    )
    return _reduction("allreduce", "HorovodGroupedAllreduce", tensors, True, options)


def horovod_reducescatter(
    tensor: Any,
    reduce_op: int,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> Any:
    return horovod_grouped_reducescatter(
        [tensor],
        reduce_op,
        prescale_factor,
        postscale_factor,
        ignore_name_scope,
        process_set_id,
        tensor_name,
        name,
    )[0]


def horovod_grouped_reducescatter(
    tensors: Sequence[Any],
    reduce_op: int,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> list[Any]:
    options = _options(
        name,
        ignore_name_scope,
        process_set_id,
        reduce_op=reduce_op,
        prescale_factor=prescale_factor,
        postscale_factor=postscale_factor,
    )
    return _reduction("reducescatter", "HorovodGroupedReducescatter", tensors, False, options)


def horovod_allgather(
    tensor: Any,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> Any:
    return horovod_grouped_allgather(
        [tensor], ignore_name_scope, process_set_id, tensor_name, name
    )[0]


def horovod_grouped_allgather(
    tensors: Sequence[Any],
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> list[Any]:
    def forward(inputs: Sequence[Any]) -> list[Any]:
        outputs = _run("allgather", inputs, name, ignore_name_scope, process_set=process_set_id)
        return _shaped(outputs, inputs, False)

    options = _options(name, ignore_name_scope, process_set_id)
    return _differentiable(forward, "HorovodGroupedAllgather", tensors, **options)


def horovod_broadcast(
    tensor: Any,
    root_rank: int,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> Any:
    def forward(inputs: Sequence[Any]) -> list[Any]:
        outputs = _run(
            "broadcast",
            inputs,
            name,
            ignore_name_scope,
            process_set=process_set_id,
            root_rank=root_rank,
        )
        return _shaped(outputs, inputs, True)

    options = _options(name, ignore_name_scope, process_set_id, root_rank=root_rank)
    return _differentiable(forward, "HorovodBroadcast", [tensor], **options)[0]


def horovod_alltoall(
    tensor: Any,
    splits: Any,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> tuple[Any, Any]:
    def forward(inputs: Sequence[Any]) -> list[Any]:
        output, received = _run(
            "alltoall",
            inputs[:1],
            name,
            ignore_name_scope,
            splits=inputs[1],
            dtypes=[inputs[0].dtype, tf.int32],
            process_set=process_set_id,
        )
        received.set_shape([None])
        return [*_shaped([output], inputs[:1], False), received]

    options = _options(name, ignore_name_scope, process_set_id)
    output, received = _differentiable(forward, "HorovodAlltoall", [tensor, splits], **options)
    return output, received


def horovod_join(process_set_id: int = 0, name: str | None = None) -> Any:
    (last,) = _run("join", [], name, False, dtypes=[tf.int32], process_set=process_set_id)
    last.set_shape([])
    return last


def horovod_barrier(process_set_id: int = 0, name: str | None = None) -> Any:
    outputs = _run("barrier", [], name, False, dtypes=[], process_set=process_set_id)
    return tf.group(*outputs)


def _number(function: str, *arguments: int) -> Any:
    def ask() -> np.ndarray:
        core = library.load()
        if not core.horovod_is_initialized():
            raise tf.errors.FailedPreconditionError(
                None, None, "Horovod has not been initialized; use hvd.init()."
            )
        return np.int32(getattr(core, function)(*arguments))

    if context.executing_eagerly():
        return tf.constant(ask())
    result = tf.numpy_function(ask, [], tf.int32)
    result.set_shape([])
    return result


def horovod_size(process_set_id: int = 0, name: str | None = None) -> Any:
    return _number("horovod_process_set_size", process_set_id)


def horovod_process_set_included(process_set_id: int = 0, name: str | None = None) -> Any:
    return _number("horovod_process_set_included", process_set_id)


def horovod_local_size(name: str | None = None) -> Any:
    return _number("horovod_local_size")


def horovod_rank(name: str | None = None) -> Any:
    return _number("horovod_rank")


def horovod_local_rank(name: str | None = None) -> Any:
    return _number("horovod_local_rank")

"""`DistributedGradientTape`: a gradient tape whose gradients are reduced over all processes.

After horovod/tensorflow/__init__.py of Horovod 0.28.1, copyright 2016 The TensorFlow Authors, 2019
Uber Technologies, Inc. and Microsoft, Apache License 2.0.
"""

from __future__ import annotations

from typing import Any

from horovod.tensorflow.compression import Compression
from horovod.tensorflow.gradients import (
    _make_allreduce_grads_fn,
    check_groups,
    check_predivide_factor,
    key_of,
    mark_reduced,
    reduce_shared,
)
from horovod.tensorflow.mpi_ops import Average, ProcessSet, global_process_set
from horovod.tensorflow.util import native_variable

import tensorflow as tf

__all__ = ["DistributedGradientTape", "PartialDistributedGradientTape"]


class _DistributedTape:
    """What is put in front of the class of the tape that was given."""

    def register_local_source(self, source: Any) -> None:
        """Leave a variable's gradient to this process: it is not reduced."""
        self._local_sources.add(key_of(source))

    @tf.autograph.experimental.do_not_convert
    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        use_generic_names: bool = False,
        unconnected_gradients: Any = tf.UnconnectedGradients.NONE,
    ) -> Any:
        """The gradients, reduced; in the structure of `sources`. See `tf.GradientTape.gradient`."""
        gradients = super().gradient(
            target,
            tf.nest.map_structure(native_variable, sources),
            output_gradients,
            unconnected_gradients,
        )
        flat = tf.nest.flatten(sources)
        # Slices are one gradient each, not the structure that tf.nest takes them for.
        flat_gradients = _leaves(gradients)
        reduced = reduce_shared(
            self._allreduce_grads,
            flat_gradients,
            flat,
            self._local_sources,
            self.scale_local_gradients,
            self.process_set,
            use_generic_names,
        )
        mark_reduced(reduced, self)
        if not tf.nest.is_nested(sources):
            return reduced[0]
        if isinstance(sources, (list, tuple)) and len(sources) == len(reduced):
            return reduced
        return tf.nest.pack_sequence_as(sources, reduced)

    def get_local_and_global_gradients(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        use_generic_names: bool = False,
    ) -> tuple[list[Any], list[Any]]:
        """Two lists of (source, gradient): of the local sources, and of the others."""
        gradients = self.gradient(target, sources, output_gradients, use_generic_names)
        pairs = list(zip(sources, gradients, strict=True))
        local = [pair for pair in pairs if key_of(pair[0]) in self._local_sources]
        shared = [pair for pair in pairs if key_of(pair[0]) not in self._local_sources]
        return local, shared


def _leaves(gradients: Any) -> list[Any]:
    if isinstance(gradients, dict):
        return [leaf for key in sorted(gradients) for leaf in _leaves(gradients[key])]
    if isinstance(gradients, (list, tuple)):
        return [leaf for part in gradients for leaf in _leaves(part)]
    return [gradients]


def DistributedGradientTape(
    gradtape: Any,
    device_dense: str = "",
    device_sparse: str = "",
    compression: Any = Compression.none,
    sparse_as_dense: bool = False,
    op: int = Average,
    gradient_predivide_factor: float = 1.0,
    num_groups: int = 0,
    groups: Any = None,
    process_set: ProcessSet = global_process_set,
    scale_local_gradients: bool = True,
) -> Any:
    """A tape like `gradtape` whose `gradient` is reduced over all processes.

    Use it after the tape's `with` block, and give the gradients to any optimizer. A
    `DistributedOptimizer` sees that they are reduced already, as long as they come unchanged.

    Args:
        gradtape: a `tf.GradientTape` that has recorded.
        device_dense: device for the reduction of tensors.
        device_sparse: device for that of `tf.IndexedSlices`.
        compression: how to make what is sent smaller, see `Compression`.
        sparse_as_dense: reduce slices as full tensors.
        op: how to reduce.
        gradient_predivide_factor: with Average: divide by it before the sum, and by size / factor
            after it.
        num_groups: deprecated, use `groups`.
        groups: a number of groups, or lists of variables, whose gradients are reduced together.
        process_set: the processes that take part.
        scale_local_gradients: divide the gradients of local sources by the number of processes.
    """
    check_predivide_factor(gradient_predivide_factor, op)
    groups = check_groups(groups, num_groups)
    kind = type(gradtape)
    cls = type(kind.__name__, (_DistributedTape, kind), {"__module__": kind.__module__})
    tape = cls.__new__(cls)
    tape.__dict__.update(gradtape.__dict__)
    tape._recording = False  # where it was given while recording, it is the other that stops
    tape._allreduce_grads = _make_allreduce_grads_fn(
        "DistributedGradientTape",
        device_dense,
        device_sparse,
        compression,
        sparse_as_dense,
        op,
        gradient_predivide_factor,
        groups,
        process_set,
    )
    tape.process_set = process_set
    tape.scale_local_gradients = scale_local_gradients
    tape._local_sources = set()
    return tape


def PartialDistributedGradientTape(
    gradtape: Any,
    device_dense: str = "",
    device_sparse: str = "",
    compression: Any = Compression.none,
    sparse_as_dense: bool = False,
    op: int = Average,
    gradient_predivide_factor: float = 1.0,
    num_groups: int = 0,
    groups: Any = None,
    process_set: ProcessSet = global_process_set,
    local_layers: Any = None,
    scale_local_gradients: bool = True,
) -> Any:
    """`DistributedGradientTape` that leaves the gradients of some layers to each process.

    Args:
        local_layers: a Keras layer or several, built.

    The other arguments are those of `DistributedGradientTape`.
    """
    tape = DistributedGradientTape(
        gradtape,
        device_dense,
        device_sparse,
        compression,
        sparse_as_dense,
        op,
        gradient_predivide_factor,
        num_groups,
        groups,
        process_set,
        scale_local_gradients,
    )
    for variable in variables_of_layers(local_layers):
        tape.register_local_source(variable)
    return tape


def variables_of_layers(local_layers: Any) -> list[Any]:
    """The trainable variables of a layer or several.

    Raises:
        ValueError: something is no Keras layer.
    """
    layer_classes = _layer_classes()
    if local_layers is None:
        local_layers = []
    elif isinstance(local_layers, layer_classes):
        local_layers = [local_layers]
    elif not all(isinstance(layer, layer_classes) for layer in local_layers):
        raise ValueError("All local layers must be of tf.keras.layers.Layer type.")
    return [v for layer in local_layers for v in layer.trainable_weights]


def _layer_classes() -> tuple[type, ...]:
    import keras

    return tuple({tf.keras.layers.Layer, keras.layers.Layer})

"""How an optimizer's gradients are reduced: what `DistributedOptimizer` was called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import horovod.tensorflow as hvd
from horovod.tensorflow.gradient_aggregation import LocalGradientAggregationHelper
from horovod.tensorflow.gradient_aggregation_eager import LocalGradientAggregationHelperEager

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The arguments of `horovod.tensorflow.keras.DistributedOptimizer`."""

    name: str
    device_dense: str = ""
    device_sparse: str = ""
    compression: Any = hvd.Compression.none
    sparse_as_dense: bool = False
    gradient_predivide_factor: float = 1.0
    op: int = hvd.Average
    backward_passes_per_step: int = 1
    average_aggregated_gradients: bool = False
    groups: Any = None
    process_set: Any = hvd.global_process_set
    scale_local_gradients: bool = True

    def reduction(self) -> Callable[..., list[Any]]:
        """See `horovod.tensorflow.gradients._make_allreduce_grads_fn`."""
        return hvd._make_allreduce_grads_fn(
            self.name,
            self.device_dense,
            self.device_sparse,
            self.compression,
            self.sparse_as_dense,
            self.op,
            self.gradient_predivide_factor,
            self.groups,
            self.process_set,
        )

    def accumulation(self) -> Any:
        """What adds up gradients over several passes; None if each pass is a step."""
        if self.backward_passes_per_step <= 1:
            return None
        common = {
            "backward_passes_per_step": self.backward_passes_per_step,
            "allreduce_func": self.reduction(),
            "sparse_as_dense": self.sparse_as_dense,
            "average_aggregated_gradients": self.average_aggregated_gradients,
            "process_set": self.process_set,
            "scale_local_gradients": self.scale_local_gradients,
        }
        if hvd._executing_eagerly():
            return LocalGradientAggregationHelperEager(**common)
        return LocalGradientAggregationHelper(
            rank=hvd.rank(),
            optimizer_type=LocalGradientAggregationHelper._OPTIMIZER_TYPE_KERAS,
            **common,
        )

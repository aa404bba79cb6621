"""Owns the protos by which TensorBoard's HParams tab knows a run's hyperparameters."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

__all__ = ["hparams_summaries"]


def hparams_summaries(hparams: Mapping[str, Any], metrics: Mapping[str, str]) -> list[Any]:
    """The two Summary.Value protos of a run: what can vary and is measured, and this run's values.

    Args:
        hparams: name to value, may be nested.
        metrics: curve (tag) to display name.
    """
    values = dict(_flat(hparams))
    experiment = api_pb2.Experiment(
        time_created_secs=time.time(),
        hparam_infos=[
            api_pb2.HParamInfo(name=name, type=_data_type(value)) for name, value in values.items()
        ],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=display)
            for tag, display in metrics.items()
        ],
    )
    start = SessionStartInfo(start_time_secs=time.time())
    for name, value in values.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, float):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = value
    return [
        _summary("_hparams_/experiment", HParamsPluginData(experiment=experiment)),
        _summary("_hparams_/session_start_info", HParamsPluginData(session_start_info=start)),
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | float | str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, (bool, str)):
            yield prefix + name, value
        elif isinstance(value, (int, float)):
            yield prefix + name, float(value)
        elif value is not None:
            yield prefix + name, str(value)


def _data_type(value: bool | float | str) -> int:
    if isinstance(value, bool):
        return int(api_pb2.DATA_TYPE_BOOL)
    return int(api_pb2.DATA_TYPE_FLOAT64 if isinstance(value, float) else api_pb2.DATA_TYPE_STRING)


def _summary(tag: str, content: Any) -> Any:
    data = summary_pb2.SummaryMetadata.PluginData(
        plugin_name="hparams", content=content.SerializeToString()
    )
    # The plugin reads the metadata alone; the tensor beside it must be there and may be empty.
    shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=0)])
    return summary_pb2.Summary.Value(
        tag=tag,
        metadata=summary_pb2.SummaryMetadata(plugin_data=data),
        tensor=tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=shape),
    )

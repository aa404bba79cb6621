"""The order in which a graph computes its tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from hvdcore.keras.internals import compute_in_order


def trace(in_order: bool) -> Any:
    """A chain of three steps, of which each also gives a result; `last` needs the whole chain."""

    def compute(x: Any) -> Any:
        results = []
        for number in range(3):
            x = tf.math.sin(x, name=f"chain{number}")
            results.append(tf.math.exp(x, name=f"result{number}"))
        if in_order:
            compute_in_order([[result] for result in results])
        return results

    spec = tf.TensorSpec((), tf.float32)
    return tf.function(compute, autograph=False).get_concrete_function(spec)


def waits_for(function: Any, name: str) -> set[str]:
    operation = function.graph.get_operation_by_name(name)
    return {other.name for other in operation.control_inputs}


def test_the_chain_goes_on_once_a_stage_is_computed() -> None:
    function = trace(in_order=True)
    assert waits_for(function, "chain0") == set()
    assert waits_for(function, "chain1") == {"result0"}
    assert waits_for(function, "chain2") == {"result1"}
    assert waits_for(function, "result2") == set()
    x = 0.5
    for result in function(tf.constant(x)):
        x = np.sin(x)
        assert float(result) == pytest.approx(np.exp(x), rel=1e-6)


def test_without_it_nothing_waits() -> None:
    assert waits_for(trace(in_order=False), "chain1") == set()

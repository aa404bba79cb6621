"""The reliability diagram's numbers, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hvdcore.metrics.classification import reliability


def test_bins_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.9, 0.1], [0.45, 0.55], [1.0, 0.0]])
    found = reliability(probabilities, np.array([0, 1, 1, 0]))
    assert found.count.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert found.accuracy[9] == pytest.approx(2 / 3)
    assert found.confidence[9] == pytest.approx((0.95 + 0.9 + 1.0) / 3)
    # 3 answers miss by 0.95 - 2/3, and one by 1 - 0.55.
    assert found.error == pytest.approx((3 * (0.95 - 2 / 3) + 0.45) / 4)


def test_nothing_is_calibrated() -> None:
    assert reliability(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)).error == 0.0

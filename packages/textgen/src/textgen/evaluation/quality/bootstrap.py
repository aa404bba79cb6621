"""Owns how sure a figure is: bootstrap intervals over prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Chosen", "Figure", "Statistic", "estimate", "resamples"]

Chosen = npt.NDArray[np.int64]
"""Numbers of prompts [n], some several times."""

Statistic = Callable[[Chosen], float]
"""A figure of the prompts chosen."""

_LEVEL = 0.95


@dataclass(frozen=True)
class Figure:
    """A figure over all prompts, and its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def resamples(num_prompts: int, num_samples: int, seed: int) -> npt.NDArray[np.int64]:
    """Prompts drawn with replacement, shape [num_samples, num_prompts]."""
    return np.random.default_rng([seed, 0xB007]).integers(
        0, num_prompts, (num_samples, num_prompts)
    )


def estimate(
    statistic: Statistic,
    samples: npt.NDArray[np.int64],
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Figure:
    """The statistic of all prompts with its bootstrap interval (Efron and Tibshirani 1993, ch. 13).

    The interval is that of the percentiles, shifted so that the mean of the resamples falls on the
    value. For a mean that changes nothing; what counts different things (distinct-n, MAUVE) is
    lower in a resample because the same text stands in it twice, and the shift takes that out.

    Resamples for which there is no such figure (not a number) are left out.

    Args:
        samples: from `resamples`.
        bounds: what the figure can be at all; the interval is cut there.
    """
    value = statistic(np.arange(samples.shape[1]))
    found = np.array([statistic(sample) for sample in samples])
    found = found[~np.isnan(found)]
    if np.isnan(value) or not len(found):
        return Figure(np.nan, np.nan, np.nan)
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(found, [tail, 1 - tail]) + (value - found.mean())
    # A few prompts may leave the value outside, sums of floats miss a bound by a rounding.
    ends = [value, min(low, value), max(high, value)]
    return Figure(*np.clip(ends, *bounds).tolist())

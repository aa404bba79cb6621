"""MAUVE: how close two sets of texts are, as points in the feature space of a model.

Pillutla et al. 2021, "MAUVE: Measuring the Gap Between Neural Text and Human Text using Divergence
Frontiers". Written from the paper: the authors' package has another license and requires a second
k-means library.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from textgen.evaluation.quality.text_metrics import Chosen

__all__ = ["SCALING", "Mauve", "divergence_curve", "mauve_of_histograms", "num_clusters"]

SCALING = 5.0
"""c of the paper: a divergence d is plotted as exp(-c d)."""

_POINTS = 25
_KEPT_VARIANCE = 0.9
_TEXTS_PER_CLUSTER = 10
_SAME = 1e-9  # unit vectors that differ by less count as equal

Array = npt.NDArray[np.float64]


class Mauve:
    """MAUVE for any choice of prompts, with clusters found once over all texts of both sets.

    Args:
        human, model: features of the texts [num_prompts, dimensions].
        seed: of the k-means.
    """

    def __init__(self, human: Array, model: Array, seed: int) -> None:
        labels, self.num_clusters = _clusters(np.concatenate([human, model]), len(human), seed)
        self._human, self._model = labels[: len(human)], labels[len(human) :]

    def __call__(self, chosen: Chosen) -> float:
        """Above 0; 1 for equal histograms."""
        return mauve_of_histograms(
            *(
                np.bincount(labels[chosen], minlength=self.num_clusters) / len(chosen)
                for labels in (self._human, self._model)
            )
        )


def num_clusters(num_prompts: int) -> int:
    """Number of clusters: a tenth of the prompts, at least two (paper, section 4)."""
    return max(2, round(num_prompts / _TEXTS_PER_CLUSTER))


def mauve_of_histograms(p: Array, q: Array) -> float:
    """Area under the divergence curve of two distributions [clusters] (paper, equation 2)."""
    x, y = divergence_curve(p, q).T
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def divergence_curve(p: Array, q: Array) -> Array:
    """exp(-c KL(q, r)), exp(-c KL(p, r)) for mixtures r = w p + (1 - w) q: [points, 2], the first
    column increasing from 0 to 1 and the second falling to 0 (paper, equation 1)."""
    weights = np.linspace(1 - 1e-6, 1e-6, _POINTS)[:, None]
    mixtures = weights * p + (1 - weights) * q
    divergences = np.stack([_kl(q, mixtures), _kl(p, mixtures)], axis=1)
    curve = np.exp(-SCALING * np.array([(np.inf, 0.0), *divergences, (0.0, np.inf)]))
    return curve[np.argsort(curve[:, 0], kind="stable")]


def _kl(p: Array, mixtures: Array) -> Array:
    """Divergence of p [clusters] from each mixture [points, clusters], in nats."""
    inside = p > 0
    found: Array = (p[inside] * np.log(p[inside] / mixtures[:, inside])).sum(axis=1)
    return found


def _clusters(features: Array, num_prompts: int, seed: int) -> tuple[npt.NDArray[np.int64], int]:
    """The cluster of each text, and their number: unit vectors, the principal components with 90 %
    of the variance, k-means (paper, section 4 and its appendix)."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    unit = normalize(features)
    if np.ptp(unit, axis=0).max() < _SAME:
        return np.zeros(len(unit), dtype=np.int64), 1
    reduced = PCA(n_components=_KEPT_VARIANCE, svd_solver="full").fit_transform(unit)
    count = min(num_clusters(num_prompts), len(np.unique((reduced / _SAME).round(), axis=0)))
    labels = KMeans(count, n_init=5, random_state=seed % 2**32).fit_predict(reduced)
    return labels.astype(np.int64), count

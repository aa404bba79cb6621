"""TF-IDF with logistic regression, both of scikit-learn: the linear baseline.

It is saved as a JSON list of terms and a safetensors file, so loading runs no code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hvdcore.classifier.model_folder import class_names
from hvdcore.errors import UserError
from hvdcore.files.atomic import give_usual_mode, writing
from hvdcore.files.json_files import read_json_object, write_json_atomically
from news_cls.data.tokens import tokenize

__all__ = ["TfidfModel", "fit_tfidf", "is_tfidf", "load_tfidf", "save_tfidf"]

TERMS, WEIGHTS, PREPROCESSING = "terms.json", "tfidf.safetensors", "preprocessing.json"
INVERSE_REGULARIZATION = 10.0
"""scikit-learn's C; its default of 1 regularizes too much for texts of forty words."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TfidfModel:
    """A fitted model.

    Attributes:
        terms: words and word pairs, in the order of the columns.
        idf: inverse document frequency of each, float64 [V].
        weights: float64 [C, V].
        biases: float64 [C].
    """

    terms: tuple[str, ...]
    idf: Floats
    weights: Floats
    biases: Floats

    @property
    def num_parameters(self) -> int:
        return int(self.weights.size + self.biases.size)

    @property
    def sha256(self) -> str:
        """Of the bytes of weights and biases."""
        return hashlib.sha256(self.weights.tobytes() + self.biases.tobytes()).hexdigest()

    def log_probabilities(self, texts: Sequence[str]) -> Floats:
        """Log-probabilities float64 [n, C] of cleaned texts."""
        if not len(texts):
            return np.zeros((0, len(self.biases)))
        logits = self._vectorizer().transform(texts) @ self.weights.T + self.biases
        shifted = logits - logits.max(axis=1, keepdims=True)
        found: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return found

    def _vectorizer(self) -> Any:
        vectorizer = _new_vectorizer(vocabulary={t: i for i, t in enumerate(self.terms)})
        vectorizer.idf_ = self.idf
        return vectorizer


def _new_vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        tokenizer=tokenize, token_pattern=None, lowercase=False, ngram_range=(1, 2),
        sublinear_tf=True, **options,
    )  # fmt: skip


def fit_tfidf(texts: Sequence[str], labels: npt.NDArray[np.int64], num_classes: int) -> TfidfModel:
    """Fit on cleaned texts; deterministic.

    Args:
        labels: int64 [n].
        num_classes: a class without texts gets a bias that excludes it.
    """
    from sklearn.linear_model import LogisticRegression

    vectorizer = _new_vectorizer(min_df=2 if len(texts) >= 100 else 1)
    features = vectorizer.fit_transform(texts)
    regression = LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=1000).fit(features, labels)
    found, rows = regression.classes_, regression.coef_
    biases = regression.intercept_
    if len(found) == 2:  # scikit-learn has one row for two classes
        rows, biases = np.vstack([-rows, rows]) / 2, np.concatenate([-biases, biases]) / 2
    weights, all_biases = np.zeros((num_classes, features.shape[1])), np.full(num_classes, -100.0)
    weights[found], all_biases[found] = rows, biases
    return TfidfModel(
        tuple(map(str, vectorizer.get_feature_names_out())), vectorizer.idf_, weights, all_biases
    )


def save_tfidf(folder: Path, model: TfidfModel, classes: Sequence[str]) -> None:
    """Write the model. Rank 0 only.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"idf": model.idf, "weights": model.weights, "biases": model.biases}
        save_file(arrays, folder / WEIGHTS)
        give_usual_mode(folder / WEIGHTS)
    write_json_atomically(folder / TERMS, list(model.terms))
    write_json_atomically(
        folder / PREPROCESSING,
        {"classes": list(classes), "input": "cleaned texts", "output": "log-probabilities"},
    )


def is_tfidf(folder: Path) -> bool:
    """Whether the folder contains such a model."""
    return (folder / WEIGHTS).is_file()


def load_tfidf(folder: Path) -> tuple[TfidfModel, tuple[str, ...]]:
    """The model that `save_tfidf` wrote, and the names of its classes.

    Raises:
        UserError: a file is missing or damaged.
    """
    classes = class_names(folder, read_json_object(folder / PREPROCESSING))
    try:
        terms = tuple(map(str, json.loads((folder / TERMS).read_text(encoding="utf-8"))))
        arrays = load_file(folder / WEIGHTS)
        model = TfidfModel(terms, arrays["idf"], arrays["weights"], arrays["biases"])
        shapes = (model.weights.shape, model.idf.shape, model.biases.shape)
        if shapes != ((len(classes), len(terms)), (len(terms),), (len(classes),)):
            raise ValueError("the files do not match")
        if not all(np.isfinite(values).all() for values in arrays.values()):
            raise ValueError("it holds values that are not finite")
    except (
        OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError
    ) as error:  # fmt: skip
        raise UserError(f"{folder}: damaged or incomplete ({error}); train again") from None
    return model, classes

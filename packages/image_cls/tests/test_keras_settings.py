"""The machine's settings of Keras change nothing: keras.json, and variables that choose another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from image_cls.testing import environment

PROGRAM = """
import json
from hvdcore.classifier.keras import load_model  # as the trainers do
import keras, tensorflow as tf
print(json.dumps([keras.backend.backend(), keras.config.image_data_format(),
                  keras.config.floatx(), keras.config.epsilon(), tf.keras.__name__.split(".")[0]]))
"""
SETTINGS = {
    "backend": "jax", "image_data_format": "channels_first", "floatx": "float64", "epsilon": 1e-3,
}  # fmt: skip


@pytest.mark.parametrize(
    "variables", [{}, {"KERAS_BACKEND": "jax"}, {"TF_USE_LEGACY_KERAS": "1"}], ids=str
)
def test_our_processes_set_what_they_need(tmp_path: Path, variables: dict[str, str]) -> None:
    home = tmp_path / "keras"
    home.mkdir()
    (home / "keras.json").write_text(json.dumps(SETTINGS))
    env = {**environment(tmp_path / "cache"), "KERAS_HOME": str(home), **variables}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found[:4] == ["tensorflow", "channels_last", "float32", 1e-7]


COMPILED = """
import hvdcore.keras
import tensorflow as tf
tf.function(lambda x: x * x, jit_compile=True)(tf.ones(2))
"""


@pytest.mark.parametrize(("level", "is_told"), [(None, False), ("0", True)])
def test_xla_says_nothing_unless_asked(tmp_path: Path, level: str | None, is_told: bool) -> None:
    env = environment(tmp_path / "cache")
    env.pop("TF_CPP_MIN_LOG_LEVEL", None)
    env |= {"TF_CPP_MIN_LOG_LEVEL": level} if level else {}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert ("XLA" in done.stderr) == is_told


def test_control_keras_alone_takes_them(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(json.dumps({**SETTINGS, "backend": "tensorflow"}))
    code = "import keras; print(keras.config.image_data_format(), keras.config.floatx())"
    env = {**os.environ, "KERAS_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.split()[-2:] == ["channels_first", "float64"]

"""`hvdcore doctor --script`, its table, and the page that shows the table.

Every line of the table is run: the old one must fail today (or warn), the new one must not.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hvdcore.doctor.changes import CHANGES, Change
from hvdcore.doctor.script import changes_in, run_script_doctor
from hvdcore.errors import UserError

PAGE = Path(__file__).parents[4] / "infra" / "horovod" / "MIGRATING.md"
PROGRAM = Path(__file__).parent / "programs" / "migration_lines.py"
IMPORTS = """import tensorflow as tf
import torch
import horovod.tensorflow as hvd_tf
import horovod.tensorflow.keras as hvd
"""


def named(change: Change) -> str:
    return change.before


def row(change: Change) -> str:
    after = "<br>".join(f"`{line}`" for line in change.after.splitlines())
    return f"| `{change.before}` | {after} | {change.why} |"


def test_the_page_shows_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [row(change) for change in CHANGES]


@pytest.mark.parametrize("change", CHANGES, ids=named)
def test_the_old_line_is_found_and_the_new_one_is_not(change: Change) -> None:
    lines = len(IMPORTS.splitlines())
    assert changes_in(IMPORTS + change.before) == [(lines + 1, change)]
    assert changes_in(IMPORTS + change.after) == []


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What happened to the old and to the new line of each row, by the old line."""
    for needed in ("tensorflow", "keras", "torch", "horovod"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    folder = tmp_path_factory.mktemp("migration")
    (folder / "rows.json").write_text(json.dumps([[c.before, c.after] for c in CHANGES]))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "TF_USE_LEGACY_KERAS": "0"}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder)],
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[str]] = json.loads((folder / "outcomes.json").read_text())
    return found


@pytest.mark.ranks
@pytest.mark.parametrize("change", CHANGES, ids=named)
def test_the_old_line_fails_today_and_the_new_one_runs(
    outcomes: dict[str, list[str]], change: Change
) -> None:
    before, after = outcomes[change.before]
    assert before != "ran"
    assert after == "ran"


def test_names_are_followed_through_imports() -> None:
    found = changes_in(
        "from tensorflow.keras.optimizers import Adam as A\n"
        "import tensorflow.keras.backend as K\n"
        "def f(self):\n"
        "    self.opt = A(lr=1e-3)\n"
        "    K.set_value(self.opt.lr, 1.0)\n"
        "    self.model.save(f'{self.folder}/model')\n"
    )
    assert [line for line, _ in found] == [4, 5, 6]


def test_sessions_of_tensorflow_1_are_found() -> None:
    found = changes_in(
        "import tensorflow as tf\n"
        "from keras import backend as K\n"
        "config = tf.ConfigProto()\n"
        "config.gpu_options.allow_growth = True\n"
        "K.set_session(tf.Session(config=config))\n"
        "session = tf.compat.v1.Session()\n"
    )
    assert [line for line, _ in found] == [3, 5]


def test_names_of_tensorflow_1_and_old_folders_are_found() -> None:
    found = changes_in(
        "import tensorflow as tf\n"
        "from keras.layers.normalization import BatchNormalization\n"
        "from keras.utils import np_utils\n"
        "x = tf.placeholder(tf.float32)\n"
        "loss = tf.losses.softmax_cross_entropy(x, tf.layers.flatten(x))\n"
        "step = tf.train.get_or_create_global_step()\n"
        "opt = tf.train.MomentumOptimizer(0.1, 0.9)\n"
    )
    assert [line for line, _ in found] == [2, 3, 4, 5, 5, 6, 7]


def test_optimizers_of_sessions_keep_their_methods() -> None:
    source = (
        "import tensorflow as tf\n"
        "import horovod.tensorflow as hvd\n"
        "opt = tf.{}(0.1)\n"
        "opt = hvd.DistributedOptimizer(opt)\n"
        "train = opt.minimize(loss)\n"
        "hvd.broadcast_variables(opt.variables(), root_rank=0)\n"
    )
    of_session = changes_in(source.format("train.AdamOptimizer"))
    assert [line for line, _ in of_session] == [3]
    of_keras = changes_in(source.format("keras.optimizers.Adam"))
    assert [line for line, _ in of_keras] == [5, 6]


def test_what_only_looks_alike_is_left_alone() -> None:
    source = (
        "import numpy as np, torch\n"
        "checkpoint.save('run/model')\n"
        "model.save(path)\n"
        "model.save_weights(f'{path}/a.weights.h5')\n"
        "model.get_weights()\n"
        "torch.optim.SGD(parameters, lr=0.1)\n"
        "torch.load(path, weights_only=True)\n"
        "pool.fit(x, jobs=2)\n"
        "import tensorflow as tf\n"
        "tf.losses.MeanSquaredError()\n"
        "tf.train.Checkpoint(model=model)\n"
        "tf.compat.v1.train.AdamOptimizer(0.1)\n"
        "tf.random.normal([2])\n"
        "from keras.layers import Dense\n"
        "found.predict_classes(x)\n"
    )
    assert changes_in(source) == []


def test_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text("raise SystemExit(7)  # never run\nmodel.fit_generator(batches)\n")
    assert run_script_doctor(script) == 0
    said = capsys.readouterr().out
    assert f"{script}:2: `fit`, `evaluate` and `predict` take generators;" in said
    assert "1 line to change" in said
    assert run_script_doctor(script, as_json=True) == 0
    assert [c["line"] for c in json.loads(capsys.readouterr().out)["changes"]] == [2]
    script.write_text("print(1)\n")
    assert run_script_doctor(script) == 0
    assert "nothing that is known" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"print 'Python 2'\n", "not Python 3 (line 1)"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a = '\0'", "not Python 3"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, said: str) -> None:
    script = tmp_path / "train.py"
    if content is not None:
        script.write_bytes(content)
    with pytest.raises(UserError) as caught:
        run_script_doctor(script)
    assert said in str(caught.value)


def test_the_command_line(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import horovod.mxnet as hvd\n")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hvdcore", "doctor", "--script", *words]
        return subprocess.run(command, capture_output=True, text=True)

    done = run(str(script))
    assert (done.returncode, f"{script}:1: " in done.stdout) == (0, True), done.stderr
    missing = run(str(tmp_path / "no.py"))
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1), missing.stderr
    assert run(str(script), "--hosts", "a:1").returncode == 2


def test_a_script_without_end() -> None:
    with pytest.raises(UserError, match="--script /dev/zero: more than 10 MB; give a Python file"):
        run_script_doctor(Path("/dev/zero"))

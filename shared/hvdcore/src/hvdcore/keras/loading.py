"""A TensorFlow that loads silently; this module must not import it.

TensorFlow's libraries write a dozen lines about instruction sets and missing GPUs straight to
descriptor 2. No setting stops them: they come before the one that reads TF_CPP_MIN_LOG_LEVEL.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["choose_tensorflow", "without_chatter"]


def choose_tensorflow() -> None:
    """Let Keras 3 run on TensorFlow, whatever keras.json or the environment choose.

    Horovod's operations are TensorFlow's, so nothing else can work in this process. A framework
    that was loaded before is left as it is; `hvdcore.keras.init` then says what is wrong.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    if "tensorflow" not in sys.modules:
        os.environ["TF_USE_LEGACY_KERAS"] = "0"
        # From warnings on: XLA informs of each of its parts when the first step is compiled.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")


@contextmanager
def without_chatter() -> Iterator[None]:
    """Keep what the block writes to descriptor 2 back; an error in the block shows it after all.

    Call it in the main thread, before others write.
    """
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(before, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)

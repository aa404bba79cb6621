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

__all__ = ["without_chatter"]


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

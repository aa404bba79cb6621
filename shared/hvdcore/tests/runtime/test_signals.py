from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from hvdcore.runtime.signals import StopFlag

TWICE = """
import os, signal, time
from hvdcore.runtime import signals
signals.SAME_SIGNAL_SECONDS = 0.0
flag = signals.StopFlag()
os.kill(os.getpid(), signal.SIGTERM)
assert flag.requested
time.sleep(0.01)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_becomes_a_flag(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with StopFlag() as flag:
        assert not flag.requested
        os.kill(os.getpid(), number)
        assert flag.requested
        assert flag.exit_code == code
    assert signal.getsignal(number) is before


def test_a_rank_that_only_hears_of_it_leaves_with_143() -> None:
    with StopFlag() as flag:
        assert flag.exit_code == 143


def test_the_same_signal_twice_at_once_counts_once() -> None:
    with StopFlag() as flag:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.requested


def test_a_second_signal_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", TWICE], timeout=60, check=False)
    assert done.returncode == 143


NATIVE = """
import ctypes, signal, sys
from hvdcore.runtime.signals import interrupt_at_once, own_process
if sys.argv[1] == "command":
    own_process()
library = ctypes.CDLL(None)
try:
    with interrupt_at_once():
        getattr(library, "raise")(signal.SIGINT)
    print("returned")
except KeyboardInterrupt:
    print("interrupted after the call")
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def native(kind: str) -> tuple[int, str]:
    command = [sys.executable, "-c", NATIVE, kind]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_an_interrupt_ends_a_command_inside_of_a_interrupt_at_once() -> None:
    code, _ = native("command")
    assert code == -signal.SIGINT


def test_control_a_notebook_is_not_ended() -> None:
    code, said = native("notebook")
    assert (code, said) == (0, "interrupted after the call\n")

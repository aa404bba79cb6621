"""Runs one command and ends it, with all it started, when the launcher says so or is gone.

It is run by its path in a process of its own, which outlives a launcher that is killed. Standard
input brings the request, pickled, and is then the line to the launcher: a byte asks for the end of
the command, and the end of the stream tells that the launcher itself has ended.
"""

import contextlib
import ctypes
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time

GRACEFUL_TERMINATION_TIME_S = 5
COULD_NOT_START = 127

_PR_SET_PDEATHSIG = 1


def main(stdout: int, stderr: int) -> int:
    """Run the requested command with its output on these descriptors; return its exit code."""
    request = _read_request()
    sys.path[:] = request["sys_path"]
    try:
        process = _start(request, stdout, stderr)
    except OSError as error:
        os.write(stderr, f"horovodrun: {request['name']}: {error.strerror}\n".encode())
        return COULD_NOT_START
    os.close(stdout)
    os.close(stderr)
    ending = threading.Thread(target=_watch_launcher, args=(process, request["notice"]))
    ending.daemon = True
    ending.start()
    code = process.wait()
    if _is_ending.is_set():
        ending.join()
    return 128 - code if code < 0 else code


_is_ending = threading.Event()


def _read_request() -> dict:
    length = struct.unpack("!Q", _read_exactly(8))[0]
    return pickle.loads(_read_exactly(length))  # noqa: S301 (from our own launcher, by a pipe)


def _read_exactly(length: int) -> bytes:
    with open(0, "rb", buffering=0, closefd=False) as stream:
        parts = []
        while length:
            part = stream.read(length)
            if not part:
                os._exit(1)
            parts.append(part)
            length -= len(part)
    return b"".join(parts)


def _start(request: dict, stdout: int, stderr: int) -> subprocess.Popen:
    text = request["stdin"]
    process = subprocess.Popen(
        request["command"],
        shell=isinstance(request["command"], str),
        env=request["env"],
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=_end_with_this_process if sys.platform.startswith("linux") else None,
    )
    if text is not None:
        # Left open: on another host its end is how a command learns that we are gone.
        threading.Thread(target=_feed, args=(process.stdin, text), daemon=True).start()
    return process


def _end_with_this_process() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _feed(stream, text: bytes) -> None:
    with contextlib.suppress(OSError):
        stream.write(text)
        stream.flush()


def _watch_launcher(process: subprocess.Popen, notice: str | None) -> None:
    is_asked = os.read(0, 1)
    _is_ending.set()
    if not is_asked and notice and process.poll() is None:
        with contextlib.suppress(OSError):
            os.write(2, notice.encode("utf-8", "replace") + b"\n")
    end_process_tree(process)


def end_process_tree(process: subprocess.Popen) -> None:
    """SIGTERM to the command, later to what it left behind; SIGKILL to what stays."""
    deadline = time.monotonic() + GRACEFUL_TERMINATION_TIME_S
    rest = _descendants(process.pid)
    if process.stdin is not None:
        # For a command on another host this is the request to end; ssh passes no signals on.
        with contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACEFUL_TERMINATION_TIME_S + 1)
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.1, deadline - time.monotonic()))
    rest += _descendants(process.pid)
    for other in rest:
        _signal(other, signal.SIGTERM)
    _wait_for(rest, max(deadline, time.monotonic() + 1))
    _signal(process, signal.SIGKILL)
    for other in rest:
        _signal(other, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _descendants(pid: int) -> list:
    try:
        import psutil

        return psutil.Process(pid).children(recursive=True)
    except (ImportError, psutil.Error):
        return []


def _signal(process, number: int) -> None:
    # psutil compares the start time first: a number that the system gave away again is safe.
    with contextlib.suppress(Exception):
        process.send_signal(number)


def _wait_for(processes: list, deadline: float) -> None:
    while time.monotonic() < deadline and any(_is_alive(process) for process in processes):
        time.sleep(0.05)


def _is_alive(process) -> bool:
    try:
        return process.is_running() and process.status() != "zombie"
    except Exception:
        return False


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))

# Copyright 2019 Uber Technologies, Inc. All Rights Reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
# ==============================================================================
"""Runs commands that end with the launcher, and forwards their output.

Between the launcher and each command stands a middleman (`middleman.py`), which ends the command
when the launcher dies, whatever killed it. Upstream started it by multiprocessing, which leaves
named semaphores in /dev/shm when it is killed and reads the user's main module anew.
"""

import codecs
import contextlib
import os
import pickle
import re
import struct
import subprocess
import sys
import threading
import time

from horovod.runner.common.util import middleman
from horovod.runner.common.util.middleman import GRACEFUL_TERMINATION_TIME_S
from horovod.runner.util.threads import in_thread, on_event

__all__ = ["GRACEFUL_TERMINATION_TIME_S", "execute", "prefix_connection", "run_process"]

_CHUNK_BYTES = 1 << 16
# A line that is longer than this is forwarded in pieces, so that nobody's memory is at its mercy.
_MAX_LINE_CHARACTERS = 1 << 16
_DRAIN_SECONDS = 5.0
_LINE_END = re.compile(r"(?<=[\r\n])")


class _Forwarder:
    """Text that came from one stream of a command, written to a text stream line by line."""

    def __init__(self, dst_stream, prefix, index, with_timestamp):
        self._dst = dst_stream
        self._prefix = None if index is None or prefix is None else f"[{index}]<{prefix}>:"
        self._with_timestamp = with_timestamp
        self._partial = []
        self._partial_length = 0
        self._is_in_line = False
        self._is_broken = False

    def feed(self, text):
        """Write all lines that are whole; keep the last one unless it is too long."""
        lines = [part for part in _LINE_END.split(text) if part]
        if not lines:
            return
        lines[0] = "".join([*self._partial, lines[0]]) if self._ends(lines[0]) else lines[0]
        if self._ends(lines[0]):
            self._partial, self._partial_length = [], 0
        if not self._ends(lines[-1]):
            last = lines.pop()
            self._partial.append(last)
            self._partial_length += len(last)
        self._write(lines)
        if self._partial_length > _MAX_LINE_CHARACTERS:
            self.finish()

    def finish(self):
        """Write what is left of an unfinished line."""
        rest = "".join(self._partial)
        self._partial, self._partial_length = [], 0
        if rest:
            self._write([rest])

    def _ends(self, text):
        return text[-1] in "\r\n"

    def _write(self, lines):
        out = []
        for line in lines:
            if self._prefix is not None and not self._is_in_line:
                out.append(
                    time.asctime(time.localtime(time.time())) if self._with_timestamp else ""
                )
                out.append(self._prefix)
            out.append(line)
            self._is_in_line = not self._ends(line)
        if out and not self._is_broken:
            self._put("".join(out))

    def _put(self, text):
        # A reader who has gone (`| head`) must not block the command, which goes on writing.
        try:
            try:
                self._dst.write(text)
            except UnicodeEncodeError as error:
                self._dst.write(
                    text.encode(error.encoding, "backslashreplace").decode(error.encoding)
                )
            self._dst.flush()
        except (OSError, ValueError):
            self._is_broken = True


def prefix_connection(
    src_connection, dst_stream, prefix, index, prefix_output_with_timestamp, on_progress=None
):
    """
    Forwards a pipe to a text stream with a prefix before each line.

    Each line, which ends with a line feed or a carriage return, becomes
    {time}[{index}]<{prefix}>:{line}
    unless index or prefix is None. Bytes that are no UTF-8 become U+FFFD.

    :param src_connection: source pipe connection, read to its end and closed
    :param dst_stream: destination text stream
    :param prefix: prefix string
    :param index: index value
    :param prefix_output_with_timestamp: prefix lines in dst_stream with timestamp
    :param on_progress: called after each read
    :return: None
    """
    forwarder = _Forwarder(dst_stream, prefix, index, prefix_output_with_timestamp)
    # Incremental, as characters may span two reads: https://github.com/horovod/horovod/issues/2367
    decoder = codecs.getincrementaldecoder("utf8")("replace")
    while True:
        raw = os.read(src_connection.fileno(), _CHUNK_BYTES)
        forwarder.feed(decoder.decode(raw, final=not raw))
        if on_progress:
            on_progress()
        if not raw:
            break
    forwarder.finish()
    src_connection.close()


class _Middleman:
    """The process between us and one command, with the pipes of the command's output."""

    def __init__(self, command, env, stdin, notice):
        stdout_r, stdout_w = os.pipe()
        stderr_r, stderr_w = os.pipe()
        try:
            # By path and isolated: a module in the working folder must not stand in for Python's.
            self._process = subprocess.Popen(
                [sys.executable, "-I", middleman.__file__, str(stdout_w), str(stderr_w)],
                stdin=subprocess.PIPE,
                pass_fds=(stdout_w, stderr_w),
                start_new_session=True,
            )
        finally:
            os.close(stdout_w)
            os.close(stderr_w)
        self.stdout = os.fdopen(stdout_r, "rb", buffering=0)
        self.stderr = os.fdopen(stderr_r, "rb", buffering=0)
        self._send_request(command, env, stdin, notice)

    def _send_request(self, command, env, stdin, notice):
        name = command if isinstance(command, str) else command[0]
        request = pickle.dumps(
            {
                "command": command,
                "name": name,
                "env": dict(os.environ if env is None else env),
                "stdin": stdin,
                "notice": notice,
                "sys_path": sys.path,
            }
        )
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(struct.pack("!Q", len(request)) + request)
            self._process.stdin.flush()

    def end_command(self):
        """Ask for the end of the command; harmless when it has ended."""
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(b"T")
            self._process.stdin.flush()

    def wait(self):
        """Wait for the command, which is ended first if we are interrupted; its exit code."""
        while True:
            try:
                code = self._process.wait()
                # The middleman passes on the code of the command, and may itself be killed.
                return 128 - code if code < 0 else code
            except BaseException:  # noqa: PERF203
                self.end_command()

    def close(self):
        self._process.stdin.close()


class _Drain:
    """Waits until the output of an ended command is forwarded.

    A process that the command left behind may keep the pipe open: then only what still comes
    without a long pause is waited for.
    """

    def __init__(self):
        self._last = time.monotonic()

    def progress(self):
        self._last = time.monotonic()

    def join(self, threads):
        self.progress()
        while any(thread.is_alive() for thread in threads):
            if time.monotonic() - self._last > _DRAIN_SECONDS:
                return
            for thread in threads:
                thread.join(0.05)


def run_process(
    command,
    env=None,
    stdout=None,
    stderr=None,
    index=None,
    events=None,
    prefix_output_with_timestamp=False,
    stdin=None,
    notice=None,
):
    """
    Like `execute`, for a command that may be a list of arguments, which no shell reads.

    :param stdin: bytes for the standard input of the command, which then stays open as long as
                  this process lives; None for an empty one
    :param notice: line that is written to our standard error if this process is killed
    :return: exit code of the command, and the time of its end in seconds since the epoch
    """
    process = _Middleman(command, env, stdin, notice)
    drain = _Drain()
    streams = [
        (process.stdout, sys.stdout if stdout is None else stdout, "stdout"),
        (process.stderr, sys.stderr if stderr is None else stderr, "stderr"),
    ]
    forwarders = [
        in_thread(
            target=prefix_connection,
            args=(source, target, name, index, prefix_output_with_timestamp, drain.progress),
        )
        for source, target, name in streams
    ]
    stop = threading.Event()
    for event in events or []:
        on_event(event, process.end_command, stop=stop, silent=True)
    try:
        exit_code = process.wait()
        ended_at = time.time()
    finally:
        stop.set()
    drain.join(forwarders)
    process.close()
    return exit_code, ended_at


def execute(
    command,
    env=None,
    stdout=None,
    stderr=None,
    index=None,
    events=None,
    prefix_output_with_timestamp=False,
    stdin=None,
):
    """
    Execute the given command and forward stdout and stderr of the command to the given
    stdout and stderr text streams, or sys.stdout and sys.stderr, respectively, if None given.
    Prefixes each line with index and timestamp if index is not None. The timestamp
    can be disabled with prefix_output_with_timestamp set False.
    The command will be terminated when any of the given events are set.

    :param command: command to execute: text for a shell, or a list of arguments
    :param env: environment variables to execute command with
    :param stdout: stdout text stream, sys.stdout if None
    :param stderr: stderr text stream, sys.stderr if None
    :param index: index used to prepend text streams
    :param events: events to terminate the command
    :param prefix_output_with_timestamp: prepend text streams with timestamp if True
    :param stdin: bytes for the standard input of the command
    :return: command's exit code, 128 plus the number of the signal if one ended it
    """
    exit_code, _ = run_process(
        command, env, stdout, stderr, index, events, prefix_output_with_timestamp, stdin
    )
    return exit_code

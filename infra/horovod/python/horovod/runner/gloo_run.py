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
"""Starts the ranks of a job over Gloo: here, or on other hosts by ssh."""

import contextlib
import os
import re
import shlex
import signal
import sys
import threading
import time
from shlex import quote
from typing import Any

from horovod.runner.common.util import env as env_util
from horovod.runner.common.util import safe_shell_exec, secret
from horovod.runner.common.util.failure import WorkerFailure
from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
from horovod.runner.driver import driver_service
from horovod.runner.elastic.driver import ElasticDriver
from horovod.runner.elastic.rendezvous import create_rendezvous_handler
from horovod.runner.http.http_client import put_data_into_kvstore
from horovod.runner.http.http_server import KVStoreServer, RendezvousServer
from horovod.runner.results import FUNCTION, collect_results, explain_errors
from horovod.runner.util import network, threads
from horovod.runner.util.remote import remote_run

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def _pad_rank(rank, size):
    return str(rank).zfill(len(str(size - 1)))


class MultiFile:
    def __init__(self, files):
        self._files = files

    def write(self, text):
        for f in self._files:
            f.write(text)

    def flush(self):
        for f in self._files:
            f.flush()


def create_slot_env_vars(slot_info):
    return {
        "HOROVOD_HOSTNAME": str(slot_info.hostname),
        "HOROVOD_RANK": str(slot_info.rank),
        "HOROVOD_SIZE": str(slot_info.size),
        "HOROVOD_LOCAL_RANK": str(slot_info.local_rank),
        "HOROVOD_LOCAL_SIZE": str(slot_info.local_size),
        "HOROVOD_CROSS_RANK": str(slot_info.cross_rank),
        "HOROVOD_CROSS_SIZE": str(slot_info.cross_size),
    }


def _slot_info_to_command_fn(run_command):
    """
    Makes the commands of single ranks: what Horovod says to a rank stands in them. The user's
    environment and the secret do not: any user of the machine could read them there.
    """

    def slot_info_to_command(slot_info):
        """
        Given a slot_info, creates a command used by gloo to launch a single job.

        :param slot_info: host and slot to execute the run command on
        :return: text for a shell
        """
        variables = {"PYTHONUNBUFFERED": "1", **create_slot_env_vars(slot_info)}
        return f"env {_assignments(variables)} {run_command}"

    return slot_info_to_command


def _assignments(variables):
    return " ".join(f"{name}={quote(str(value))}" for name, value in variables.items())


def _variables_and_argv(command):
    """A command of `_slot_info_to_command_fn` as its variables and its arguments."""
    words = shlex.split(command)[1:]
    variables = {}
    while words and (match := _ASSIGNMENT.fullmatch(words[0])):
        variables[match[1]] = match[2]
        words.pop(0)
    return variables, words


def _create_elastic_worker_fn(exec_command, run_command, event):
    get_command_with_env = _slot_info_to_command_fn(run_command)

    def create_worker(slot_info, events):
        return exec_command(get_command_with_env(slot_info), slot_info, [event, *(events or [])])

    return create_worker


class _ExecCommand:
    """Runs the command of one rank to its end, on whatever host it belongs to.

    :param settings: settings for the distribution
    :param env: the environment that the user wants for the ranks, beside the inherited one
    """

    def __init__(self, settings, env):
        self._settings = settings
        self._env = {
            name: value
            for name, value in env_util.without_rank_variables(env).items()
            if env_util.is_exportable(name)
        }
        self._env[secret.RENDEZVOUS_SECRET] = secret.rendezvous_secret()
        # Non-elastic gloo runs should terminate all workers when any fail.
        self._terminate_all = None if settings.elastic else threading.Event()

    def __call__(self, command, slot_info, events):
        """
        :param command: of `_slot_info_to_command_fn`
        :param slot_info: host and slot to execute it on
        :param events: any of them ends it
        :return: its exit code, and when it ended, in seconds since the epoch
        """
        all_events = [*(events or []), *([self._terminate_all] if self._terminate_all else [])]
        try:
            exit_code, ended_at = self._run(command, slot_info, all_events)
            # A worker that left the job and was slow to go has not failed.
            has_left = self._settings.elastic and any(event.is_set() for event in all_events)
            if exit_code != 0 and not has_left:
                print(f"Process {slot_info.rank} exit with status code {exit_code}.")
        except Exception as e:
            print(f"Exception happened during safe_shell_exec, exception message: {e}")
            exit_code, ended_at = 1, time.time()
        if exit_code != 0 and self._terminate_all:
            if not any(ev.is_set() for ev in all_events):
                print(f"Terminating remaining workers after failure of Process {slot_info.rank}.")
            self._terminate_all.set()
        return exit_code, ended_at

    def _run(self, command, slot_info, events):
        variables, argv = _variables_and_argv(command)
        variables = {**self._env, **variables}
        env = stdin = None
        if self._is_local(slot_info.hostname):
            env = {**env_util.without_rank_variables(os.environ), **variables}
        else:
            argv, stdin = remote_run(
                argv,
                variables,
                slot_info.hostname,
                self._settings.ssh_port,
                self._settings.ssh_identity_file,
            )
        if self._settings.verbose:
            print(shlex.join(argv))
        with self._output(slot_info.rank) as (stdout, stderr):
            return safe_shell_exec.run_process(
                argv,
                env=env,
                index=slot_info.rank,
                stdout=stdout,
                stderr=stderr,
                events=events,
                prefix_output_with_timestamp=self._settings.prefix_output_with_timestamp,
                stdin=stdin,
                notice=_notice(slot_info.rank),
            )

    def _is_local(self, host_name):
        return network.resolve_host_address(host_name) in network.get_local_host_addresses()

    @contextlib.contextmanager
    def _output(self, rank):
        """Streams for what a rank prints: None for our own, unless the user wants files too."""
        if not self._settings.output_filename:
            yield None, None
            return
        folder = os.path.join(
            self._settings.output_filename, f"rank.{_pad_rank(rank, self._settings.num_proc)}"
        )
        os.makedirs(folder, exist_ok=True)
        with (
            open(os.path.join(folder, "stdout"), "w", encoding="utf-8") as stdout,
            open(os.path.join(folder, "stderr"), "w", encoding="utf-8") as stderr,
        ):
            yield MultiFile([sys.stdout, stdout]), MultiFile([sys.stderr, stderr])


def _notice(rank):
    # All ranks lose their launcher at once, and one line is enough.
    if rank != 0:
        return None
    return (
        f"horovodrun: the launcher itself (process {os.getpid()}) was killed; no rank has failed. "
        "All ranks are being ended."
    )


def _exec_command_fn(settings, env=None):
    """
    Makes what executes the command of a rank on its host.

    :param settings: settings for the distribution
    :param env: environment for the ranks, beside the inherited one
    """
    return _ExecCommand(settings, os.environ if env is None else env)


def create_run_env_vars(server_ip, nics, port, elastic=False):
    """What all ranks of a job need to find each other. The secret is for their eyes only."""
    run_envs = {
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": server_ip,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": port,
        secret.RENDEZVOUS_SECRET: secret.rendezvous_secret(),
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_IFACE": next(iter(nics)),  # TODO: add multiple ifaces in future
        "NCCL_SOCKET_IFNAME": ",".join(nics),
    }
    if elastic:
        run_envs["HOROVOD_ELASTIC"] = "1"
    return run_envs


def get_run_command(command, server_ip, nics, port, elastic=False):
    variables = create_run_env_vars(server_ip, nics, port, elastic)
    del variables[secret.RENDEZVOUS_SECRET]
    return f"{_assignments(variables)} {shlex.join(command)}"


class ShutdownEvent(threading.Event):
    """Set by a signal that asks us to stop, and by nothing else."""

    signal = None

    @property
    def exit_code(self):
        """As a shell has it: 128 plus the number of the signal."""
        return 128 + self.signal


def register_shutdown_event():
    # Create a event for communication between threads
    event = ShutdownEvent()

    def set_event_on_signal(signum, frame):
        event.signal = signum
        event.set()

    signal.signal(signal.SIGINT, set_event_on_signal)
    signal.signal(signal.SIGTERM, set_event_on_signal)
    return event


def _check_results(results, event):
    """
    :param results: for each name of a rank its exit code and the time of its end
    :param event: of `register_shutdown_event`
    :raises WorkerFailure: one of them failed, or we were asked to stop
    """
    failures = [(ended_at, name, code) for name, (code, ended_at) in results.items() if code != 0]
    if not failures:
        return
    if event.is_set():
        name = signal.Signals(event.signal).name
        raise WorkerFailure(
            f"horovodrun was ended by {name}, and has ended its ranks.", event.exit_code
        )
    _, name, code = min(failures, key=lambda failure: failure[0])
    raise WorkerFailure(
        "Horovod detected that one or more processes exited with non-zero "
        "status, thus causing the job to be terminated. The first process "
        f"to do so was:\nProcess name: {name}\nExit code: {code}\n",
        code,
    )


def _check_elastic_results(results, event):
    """
    :param results: of `ElasticDriver.get_results`
    :param event: of `register_shutdown_event`
    :raises WorkerFailure: the job could not go on, or we were asked to stop
    """
    if event.is_set():
        _check_results(results.worker_results, event)
        return
    if results.error_message is None:
        if any(code for code, _ in results.worker_results.values()):
            _check_results(_first_only(results), event)
        return
    if results.first_failure is None:
        raise RuntimeError(results.error_message)
    try:
        _check_results(_first_only(results), event)
    except WorkerFailure as failure:
        failure.message += f"{results.error_message}\n"
        raise


def _first_only(results):
    if results.first_failure is None:
        return results.worker_results
    name, code, ended_at = results.first_failure
    return {name: (code, ended_at)}


def launch_gloo(command, exec_command, settings, nics, env, server_ip):
    """
    Launches the given command multiple times using gloo.
    Each command is launched via exec_command.

    :param command: command to launch
    :param exec_command: means to execute a single command; brings it the environment, and the
                         secret of `horovod.runner.common.util.secret`
    :param settings: settings for the distribution
    :param nics: common interfaces
    :param env: not used: see exec_command
    :param server_ip: ip to use for rendezvous server
    """
    # Make the output directory if it does not exist
    if settings.output_filename:
        os.makedirs(settings.output_filename, exist_ok=True)

    # allocate processes into slots
    hosts = parse_hosts(settings.hosts)
    host_alloc_plan = get_host_assignments(hosts, settings.num_proc)

    # start global rendezvous server and get port that it is listening on
    rendezvous = RendezvousServer(settings.verbose)
    global_rendezv_port = rendezvous.start(address=server_ip)
    rendezvous.init(host_alloc_plan)
    run_command = get_run_command(command, server_ip, nics, global_rendezv_port)

    slot_info_to_command = _slot_info_to_command_fn(run_command)
    event = register_shutdown_event()
    args_list = [
        [slot_info_to_command(slot_info), slot_info, [event]] for slot_info in host_alloc_plan
    ]

    # If an error occurs in one thread, entire process will be terminated.
    # Otherwise, threads will keep running.
    try:
        res = threads.execute_function_multithreaded(
            exec_command, args_list, block_until_all_done=True
        )
    finally:
        rendezvous.stop()
    _check_results(res, event)


def _get_min_start_hosts(settings):
    # This function exists for the purpose of mocking in tests
    return 2 if settings.elastic and not settings.nics else 1


def gloo_run(settings, nics, env, server_ip, command):
    # Each thread will use ssh command to launch the job on each remote host. If an
    # error occurs in one thread, entire process will be terminated. Otherwise,
    # threads will keep running and ssh session.
    exec_command = _exec_command_fn(settings, env)
    launch_gloo(command, exec_command, settings, nics, env, server_ip)


def launch_gloo_elastic(
    command_or_func, exec_command, settings, env, get_common_interfaces, rendezvous, executable
):
    # Make the output directory if it does not exist
    if settings.output_filename:
        os.makedirs(settings.output_filename, exist_ok=True)

    driver = ElasticDriver(
        rendezvous,
        settings.discovery,
        settings.min_num_proc,
        settings.max_num_proc,
        timeout=settings.elastic_timeout,
        reset_limit=settings.reset_limit,
        cooldown_range=settings.cooldown_range,
        verbose=settings.verbose,
    )

    driver.wait_for_available_slots(settings.num_proc)
    nics = get_common_interfaces(driver)
    server_ip = network.get_driver_ip(nics)
    # Only now is it known which address the ranks will ask.
    global_rendezv_port = rendezvous.start(create_rendezvous_handler(driver), address=server_ip)
    run_func_server = None

    if settings.run_func_mode:
        # when running a func, we have to spin up the KVStoreServer
        # to get the func to the remote process and the result back
        run_func_server = KVStoreServer(verbose=settings.verbose)
        run_func_server_port = run_func_server.start_server(server_ip)
        put_data_into_kvstore(
            server_ip,
            run_func_server_port,
            *FUNCTION,
            command_or_func,
            secret.rendezvous_secret(),
        )
        command = [
            executable,
            "-m",
            "horovod.runner.run_task",
            server_ip,
            str(run_func_server_port),
        ]
    else:
        command = command_or_func

    try:
        event = register_shutdown_event()
        run_command = get_run_command(command, server_ip, nics, global_rendezv_port, elastic=True)

        create_worker = _create_elastic_worker_fn(exec_command, run_command, event)

        driver.start(settings.num_proc, create_worker)
        res = driver.get_results()
        driver.stop()

        _check_elastic_results(res, event)

        # fetch the result if running a func
        if settings.run_func_mode:
            return collect_results(run_func_server, settings.min_num_proc)
        return None
    except WorkerFailure as failure:
        if run_func_server:
            failure.message += explain_errors(run_func_server)
        raise
    finally:
        if run_func_server:
            run_func_server.shutdown_server()


def gloo_run_elastic(settings, env, command_or_func, executable) -> Any | None:

    def get_common_interfaces(driver):
        # Host-to-host common interface detection requires at least 2 hosts in an elastic job.
        min_hosts = _get_min_start_hosts(settings)
        current_hosts = driver.wait_for_available_slots(settings.num_proc, min_hosts=min_hosts)
        return driver_service.get_common_interfaces(settings, current_hosts.host_assignment_order)

    exec_command = _exec_command_fn(settings, env)
    rendezvous = RendezvousServer(settings.verbose)
    return launch_gloo_elastic(
        command_or_func, exec_command, settings, env, get_common_interfaces, rendezvous, executable
    )

# Copyright 2020 Uber Technologies, Inc. All Rights Reserved.
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
"""Commands on another host: how the shell there gets them, and their environment.

A command line can be read by every user of a machine. What goes to another host therefore stands
in a script, which ssh brings by standard input; the command line is `ssh HOST /bin/sh`.
"""

import os
import re
import shlex

from horovod.runner.common.util import env as env_util

SSH_COMMAND_PREFIX = "ssh -o PasswordAuthentication=no -o StrictHostKeyChecking=no"

_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# The command gets no standard input: that is the line to the launcher. When it ends, so does the
# command, as ssh tells a remote command nothing of the end of its client. In braces, so that the
# shell has read all of the script before `cat` reads from the same place.
_SCRIPT = """\
{{
{exports}
cd {folder} > /dev/null 2>&1
exec 3<&0
{command} < /dev/null 3<&- &
command=$!
(cat <&3; kill -TERM $command; sleep {grace}; kill -KILL $command; kill -KILL 0) \\
    > /dev/null 2>&1 &
watch=$!
exec 3<&-
wait $command
code=$?
kill -KILL $watch 2> /dev/null
exit $code
}}
"""
_GRACE_SECONDS = 4


def get_ssh_command(local_command, host, port=None, identity_file=None, timeout_s=None):
    port_arg = f"-p {port}" if port is not None else ""
    identity_file_arg = f"-i {identity_file}" if identity_file is not None else ""
    timeout_arg = f"-o ConnectTimeout={timeout_s}" if timeout_s is not None else ""
    return (
        f"{SSH_COMMAND_PREFIX} {host} {port_arg} {identity_file_arg} {timeout_arg} {local_command}"
    )


def get_remote_command(local_command, host, port=None, identity_file=None, timeout_s=None):
    if env_util.is_kubeflow_mpi():
        return f"{env_util.KUBEFLOW_MPI_EXEC} {host} {local_command}"
    return get_ssh_command(local_command, host, port, identity_file, timeout_s)


def remote_run(argv, env, host, port=None, identity_file=None):
    """What runs a command on a host with the variables `env` added to its environment there.

    :return: the arguments of the local command, and the bytes for its standard input
    """
    if env_util.is_kubeflow_mpi():
        # kubectl, as Kubeflow's script calls it, brings no standard input. Its command line is
        # seen in two containers that run nothing else.
        line = shlex.join(["env", *(f"{name}={value}" for name, value in env.items()), *argv])
        line = f"cd {shlex.quote(os.getcwd())} > /dev/null 2>&1 ; {line}"
        return [env_util.KUBEFLOW_MPI_EXEC, host, line], None
    command = get_ssh_command("/bin/sh", host, port, identity_file)
    return shlex.split(command), _script(argv, env).encode("utf-8", "surrogateescape")


def _script(argv, env):
    # A shell can export no other names; programs that set such, as bash does for functions,
    # set them anew on the other host.
    exports = [
        f"export {name}={shlex.quote(value)}"
        for name, value in env.items()
        if _SHELL_NAME.fullmatch(name)
    ]
    return _SCRIPT.format(
        exports="\n".join(exports),
        folder=shlex.quote(os.getcwd()),
        command=shlex.join(argv),
        grace=_GRACE_SECONDS,
    )

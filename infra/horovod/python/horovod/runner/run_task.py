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
# =============================================================================
"""What a rank of `horovod.run` executes: the function, whose result or error it sends home."""

import sys
import traceback

from horovod.runner.common.util.env import get_env_rank_and_size
from horovod.runner.http.http_client import put_data_into_kvstore, read_data_from_kvstore
from horovod.runner.results import ERROR_SCOPE, FUNCTION, RESULT_SCOPE


def main(addr, port):
    func = read_data_from_kvstore(addr, port, *FUNCTION)
    try:
        ret_val = func()
    except BaseException as e:
        sys.stderr.write(f"User function raise error: {e}\n")
        _send_error(addr, port, e)
        raise
    rank, _ = get_env_rank_and_size()
    put_data_into_kvstore(addr, port, RESULT_SCOPE, str(rank), ret_val)


def _send_error(addr, port, error):
    if isinstance(error, SystemExit):
        text = f"sys.exit({error.code!r}) was called"
    else:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    rank, _ = get_env_rank_and_size()
    try:
        put_data_into_kvstore(addr, port, ERROR_SCOPE, str(rank), text)
    except RuntimeError as lost:
        sys.stderr.write(f"The error could not be sent to the launcher: {lost}\n")


if __name__ == "__main__":
    _, driver_addr, run_func_server_port_str = sys.argv
    run_func_server_port = int(run_func_server_port_str)
    main(driver_addr, run_func_server_port)

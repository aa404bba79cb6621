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
"""Requests to the key-value servers of a launcher."""

import urllib.error
import urllib.request

from horovod.runner.common.util import codec, secret


def read_data_from_kvstore(addr, port, scope, key, secret_text=None):
    """The object that was put under a key.

    :param secret_text: of the server; what this process was given by its launcher if None
    :raises RuntimeError: there is none, or the server cannot be reached
    """
    try:
        # TODO: remove base64 encoding because base64 is not efficient
        return codec.loads_base64(_request("GET", addr, port, scope, key, None, secret_text))
    except (urllib.error.HTTPError, urllib.error.URLError) as e:
        raise RuntimeError("Read data from KVStore server failed.", e) from e


def put_data_into_kvstore(addr, port, scope, key, value, secret_text=None):
    """Store an object, which must be fit for cloudpickle.

    :param secret_text: of the server; what this process was given by its launcher if None
    :raises RuntimeError: the server cannot be reached, or refuses
    """
    try:
        data = codec.dumps_base64(value, to_ascii=False)
        _request("PUT", addr, port, scope, key, data, secret_text)
    except (urllib.error.HTTPError, urllib.error.URLError) as e:
        raise RuntimeError("Put data input KVStore server failed.", e) from e


def _request(method, addr, port, scope, key, data, secret_text):
    request = urllib.request.Request(
        f"http://{addr}:{port}/{scope}/{key}",
        data=data,
        method=method,
        headers={"Authorization": f"Bearer {secret_text or secret.presented_secret()}"},
    )
    # A proxy of the environment cannot know the launcher's address, and must not see the secret.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request) as response:
        return response.read()

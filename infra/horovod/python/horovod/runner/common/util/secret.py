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
"""Keys with which the processes of a job recognise each other."""

import functools
import hashlib
import hmac
import os

SECRET_LENGTH = 32  # bytes
DIGEST_LENGTH = 32  # bytes
HOROVOD_SECRET_KEY = "_HOROVOD_SECRET_KEY"
# Read by the compiled core too, which presents it to the launcher's key-value server.
RENDEZVOUS_SECRET = "HOROVOD_GLOO_RENDEZVOUS_SECRET"
# Brings a task on another host the addresses of its launcher and the key for them. A variable, as
# any user of a host can read its command lines.
TASK_SETTINGS = "_HOROVOD_TASK_SETTINGS"


def make_secret_key():
    return os.urandom(SECRET_LENGTH)


def compute_digest(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def check_digest(key, message, digest):
    computed_digest = compute_digest(key, message)
    return hmac.compare_digest(computed_digest, digest)


@functools.cache
def rendezvous_secret():
    """The secret of the key-value servers of this process, as text: made once, for all of them."""
    return make_secret_key().hex()


def presented_secret():
    """What this process shows to a key-value server: what its launcher gave it, else its own."""
    return os.environ.get(RENDEZVOUS_SECRET) or rendezvous_secret()

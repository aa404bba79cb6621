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
"""The key-value servers of a launcher: how ranks find each other, and bring home results."""

import collections
import logging
import threading
from http.server import BaseHTTPRequestHandler

from horovod.runner.common.util import secret
from horovod.runner.http.admission import AdmittingServer
from horovod.runner.util.network import find_port
from horovod.runner.util.threads import in_thread

# Seconds for which a process of the job may pause within a request
SINGLE_REQUEST_TIMEOUT = 30
# Pickled functions and results of `horovod.run` pass through here
MAX_VALUE_BYTES = 1 << 30

OK = 200
BAD_REQUEST = 400
NOT_FOUND = 404
TIMEOUT = 408
TOO_LARGE = 413


class KVStoreHandler(BaseHTTPRequestHandler):
    """Answers one request, `METHOD /scope/key`, of a process that has shown the secret."""

    timeout = SINGLE_REQUEST_TIMEOUT

    def setup(self):
        super().setup()
        self.rfile = self.server.rest_of_request(self.request)

    def do_GET(self):
        scope_and_key = self._scope_and_key()
        if scope_and_key is None:
            return
        value = self._get_value(*scope_and_key)
        if value is None:
            self.send_status_code(NOT_FOUND)
            return
        self.send_response(OK)
        self.send_header("Content-Length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)

    def do_PUT(self):
        scope_and_key = self._scope_and_key()
        if scope_and_key is None:
            return
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self.send_status_code(BAD_REQUEST)
            return
        if int(length) > MAX_VALUE_BYTES:
            self.send_status_code(TOO_LARGE)
            return
        value = self._read_value(int(length))
        if value is not None:
            self._put_value(*scope_and_key, value)
            self.send_status_code(OK)

    def send_status_code(self, status_code):
        self.send_response(status_code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format, *args):
        """Print nothing; the base class would print every request."""

    def _scope_and_key(self):
        paths = self.path.split("/")
        if len(paths) == 3:
            return paths[1:]
        logging.error("KVStore ERROR: Invalid request path: %r", self.path)
        self.send_status_code(BAD_REQUEST)
        return None

    def _read_value(self, length):
        try:
            value = self.rfile.read(length)
        except TimeoutError:
            self.send_status_code(TIMEOUT)
            return None
        if len(value) < length:
            self.send_status_code(BAD_REQUEST)
            return None
        return value

    def _get_value(self, scope, key):
        with self.server.cache_lock:
            return self.server.cache.get(scope, {}).get(key)

    def _put_value(self, scope, key, value):
        with self.server.cache_lock:
            self.server.cache.setdefault(scope, {})[key] = value
            if self.server.verbose:
                logging.info("scope %s has keys %s", scope, list(self.server.cache[scope]))


class RendezvousHandler(KVStoreHandler):
    """Forgets a scope when all its ranks have said, by DELETE, that they have met."""

    def do_DELETE(self):
        scope_and_key = self._scope_and_key()
        if scope_and_key is None:
            return
        scope, key = scope_and_key
        if scope in self.server.scope_size:
            self.server.rank_finished(scope, key)
        else:
            self.server.forget(scope, key)
        self.send_status_code(OK)


class KVStoreHTTPServer(AdmittingServer):
    def __init__(self, addr, handler, verbose):
        super().__init__(addr, handler, secret.rendezvous_secret())
        self.cache_lock = threading.Lock()
        self.cache = {}
        self.verbose = verbose


class RendezvousHTTPServer(KVStoreHTTPServer):
    def __init__(self, addr, handler, verbose):
        super().__init__(addr, handler, verbose)
        # Ranks of each scope that have met
        self.finished_list_lock = threading.Lock()
        self.finished_list = collections.defaultdict(list)
        # Number of ranks in each scope
        self.scope_size = {}

    def init(self, host_alloc_plan):
        with self.cache_lock:
            self.cache.clear()
        with self.finished_list_lock:
            self.finished_list.clear()
        self.scope_size.clear()
        self._extract_scope_size(host_alloc_plan)

    def rank_finished(self, scope, rank):
        """One rank of a scope of the allocation plan needs it no more."""
        with self.finished_list_lock:
            self.finished_list[scope].append(rank)
            if len(self.finished_list[scope]) < self.scope_size[scope]:
                return
            del self.finished_list[scope]
        with self.cache_lock:
            self.cache.get(scope, {}).clear()

    def forget(self, scope, key):
        """Delete a key of a scope that a client has made, and the scope with its last key."""
        with self.cache_lock:
            values = self.cache.get(scope, {})
            values.pop(key, None)
            if not values:
                self.cache.pop(scope, None)

    def _extract_scope_size(self, host_alloc_plan):
        for slot_info in host_alloc_plan:
            self.scope_size["global"] = slot_info.size
            self.scope_size["local_" + slot_info.hostname] = slot_info.local_size
            self.scope_size["cross_" + str(slot_info.local_rank)] = slot_info.cross_size


class RendezvousServer:
    """Where ranks that a launcher starts find each other.

    Every request needs `secret.rendezvous_secret()` of the launcher's process, which `environment`
    holds for the ranks.
    """

    def __init__(self, verbose=0):
        self._httpd = None
        self._listen_thread = None
        self._verbose = verbose

    @property
    def environment(self):
        """Variables with which a rank is let in, beside the server's address and port."""
        return {secret.RENDEZVOUS_SECRET: secret.rendezvous_secret()}

    def start(self, handler_cls=RendezvousHandler, address=""):
        """Listen on a free port of `address`, of all addresses if it is empty; return the port.

        `init` must be called before the first rank comes.
        """
        self._httpd, port = find_port(
            lambda addr: RendezvousHTTPServer(addr, handler_cls, self._verbose), address
        )
        self._listen_thread = in_thread(target=self._httpd.serve_forever)
        if self._verbose:
            logging.info("Rendezvous INFO: HTTP rendezvous server started.")
        return port

    def init(self, host_alloc_plan):
        self._httpd.init(host_alloc_plan)

    def stop(self):
        if self._httpd is not None:
            self._httpd.shutdown()
            self._listen_thread.join()
            self._httpd.server_close()


class KVStoreServer:
    """Brings a function to the ranks, and what it returned or raised back."""

    def __init__(self, verbose):
        self.httpd = None
        self.listen_thread = None
        self.verbose = verbose

    def start_server(self, address=""):
        """Listen on a free port of `address`, of all addresses if it is empty; return the port."""
        self.httpd, port = find_port(
            lambda addr: KVStoreHTTPServer(addr, KVStoreHandler, self.verbose), address
        )
        self.listen_thread = in_thread(target=self.httpd.serve_forever)
        if self.verbose:
            logging.info("KVStoreServer INFO: KVStore server started. Listen on port %s", port)
        return port

    def shutdown_server(self):
        self.httpd.shutdown()
        self.httpd.server_close()
        if self.verbose:
            logging.info("KVStoreServer INFO: KVStore server finishes.")

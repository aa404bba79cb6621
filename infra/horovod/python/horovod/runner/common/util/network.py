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
import contextlib
import pickle
import queue
import shutil
import socket
import socketserver
import struct
import sys
import threading

import cloudpickle
import psutil
from horovod.runner.common.util import secret
from horovod.runner.util.network import find_port
from horovod.runner.util.threads import in_thread

# Connections that have not yet shown that they belong to the job: at most this many, for at most
# this long.
MAX_SILENT_CONNECTIONS = 256
SILENCE_TIMEOUT_S = 20


class SecurityError(Exception):
    """A message whose digest was not made with the key of this job."""


class PingRequest:
    pass


class NoValidAddressesFound(Exception):
    pass


class PingResponse:
    def __init__(self, service_name, source_address):
        self.service_name = service_name
        """Service name that responded to this ping."""
        self.source_address = source_address
        """Source IP address that was visible to the service."""


class AckResponse:
    """Used for situations when the response does not carry any data."""

    pass


class AckStreamResponse:
    """Used to indicate that stream data follow."""

    pass


class Wire:
    """
    Used for serialization/deserialization of objects over the wire.

    We use HMAC to protect services from unauthorized use. The key used for
    the HMAC digest is distributed by the launcher, Open MPI and Spark.

    The objects are serialized using cloudpickle. Serialized objects become
    the body of the message.

    Structure of the message is as follows:
    - HMAC digest of the length (32 bytes): a stranger cannot make us read or keep a body
    - length of the body (8 bytes)
    - HMAC digest of the body (32 bytes)
    - body
    """

    def __init__(self, key):
        self._key = key

    def write(self, obj, wfile):
        message = cloudpickle.dumps(obj, protocol=pickle.HIGHEST_PROTOCOL)
        length = _LENGTH.pack(len(message))
        wfile.write(secret.compute_digest(self._key, length))
        wfile.write(length)
        wfile.write(secret.compute_digest(self._key, message))
        wfile.write(message)
        wfile.flush()

    def stream(self, stream, wfile):
        """Transfers data from the utf8 text stream to the wfile until stream exhausts."""
        # we assume utf8 encoding of the stream
        from encodings.utf_8 import StreamWriter

        w = StreamWriter(wfile)
        # do not handle exceptions or close the stream here
        shutil.copyfileobj(stream, w)
        wfile.flush()

    def read(self, rfile):
        """The next object.

        :raises EOFError: the stream ended before
        :raises SecurityError: it does not come from a process of this job
        """
        digest = _read_exactly(rfile, secret.DIGEST_LENGTH)
        length = _read_exactly(rfile, _LENGTH.size)
        if not secret.check_digest(self._key, length, digest):
            raise SecurityError("Security error: digest did not match the message.")
        digest = _read_exactly(rfile, secret.DIGEST_LENGTH)
        message = _read_exactly(rfile, _LENGTH.unpack(length)[0])
        if not secret.check_digest(self._key, message, digest):
            raise SecurityError("Security error: digest did not match the message.")
        return cloudpickle.loads(message)


_LENGTH = struct.Struct("!Q")


def _read_exactly(rfile, length):
    data = rfile.read(length)
    if len(data) < length:
        raise EOFError("the connection ended within a message")
    return data


class _Server(socketserver.ThreadingTCPServer):
    """A thread for each connection, and no more threads than a job can need.

    A stranger who opens connections and stays silent loses them: first the oldest.
    """

    request_queue_size = 1024
    # Daemons, so that a silent stranger does not delay the end of the program.
    daemon_threads = True

    def __init__(self, addr, handler):
        self._silent = {}
        self._silent_lock = threading.Lock()
        self._answering = set()
        super().__init__(addr, handler)

    def process_request(self, request, client_address):
        with self._silent_lock:
            self._silent[request] = None
            if len(self._silent) > MAX_SILENT_CONNECTIONS:
                oldest = next(iter(self._silent))
                del self._silent[oldest]
                # The socket is closed by its thread, which the shutdown wakes.
                _shut(oldest)
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        self._answering.add(threading.current_thread())
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._answering.discard(threading.current_thread())

    def server_close(self):
        """Stop listening, and let those finish who are answering a process of the job."""
        super().server_close()
        with self._silent_lock:
            for connection in self._silent:
                _shut(connection)
        for thread in self._answering.copy():
            thread.join()

    def spoken(self, request):
        """A connection has brought a message of this job, or has ended."""
        with self._silent_lock:
            self._silent.pop(request, None)

    def handle_error(self, request, client_address):
        if isinstance(sys.exc_info()[1], (EOFError, OSError, SecurityError)):
            return
        super().handle_error(request, client_address)


def _shut(connection):
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class BasicService:
    def __init__(self, service_name, key, nics):
        self._service_name = service_name
        self._wire = Wire(key)
        self._nics = nics
        self._server, self._port = find_port(
            lambda addr: _Server(addr, self._make_handler()), self._listen_address()
        )
        self._addresses = self._get_local_addresses()
        self._thread = in_thread(target=self._server.serve_forever)

    def _make_handler(self):
        server = self

        class _Handler(socketserver.StreamRequestHandler):
            timeout = SILENCE_TIMEOUT_S

            def handle(self):
                try:
                    req = server._wire.read(self.rfile)
                    # From here on the peer is one of us, who may have to wait.
                    self.server.spoken(self.request)
                    self.request.settimeout(None)
                    resp = server._handle(req, self.client_address)
                    if not resp:
                        raise Exception("Handler did not return a response.")
                    # A tuple is the usual response object followed by a utf8 text stream
                    if isinstance(resp, tuple):
                        (resp, stream) = resp
                        server._wire.write(resp, self.wfile)
                        server._wire.stream(stream, self.wfile)
                    else:
                        server._wire.write(resp, self.wfile)
                except (EOFError, BrokenPipeError):
                    # Happens when client is abruptly terminated, don't want to pollute the logs.
                    pass
                finally:
                    self.server.spoken(self.request)

        return _Handler

    def _listen_address(self):
        """The one address that peers are told, or all addresses of this host ('')."""
        self._port = 0
        told = [addr for addresses in self._get_local_addresses().values() for addr in addresses]
        return told[0][0] if len(told) == 1 else ""

    def _handle(self, req, client_address):
        """
        Returns the response to be sent to the client.
        Can be a single pickle-able object, or a tuple of such an object and a utf8 text stream.
        """
        if isinstance(req, PingRequest):
            return PingResponse(self._service_name, client_address[0])

        raise NotImplementedError(req)

    def _get_local_addresses(self):
        result = {}
        for intf, intf_addresses in psutil.net_if_addrs().items():
            if self._nics and intf not in self._nics:
                continue
            for addr in intf_addresses:
                if addr.family == socket.AF_INET:
                    if intf not in result:
                        result[intf] = []
                    result[intf].append((addr.address, self._port))
        if not result and self._nics:
            raise NoValidAddressesFound(
                "No available network interface found matching user provided interface: "
                f"{self._nics}"
            )
        return result

    def addresses(self):
        return self._addresses.copy()

    def shutdown(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def get_port(self):
        return self._port


class BasicClient:
    def __init__(
        self, service_name, addresses, key, verbose, match_intf=False, probe_timeout=20, attempts=3
    ):
        # Note: because of retry logic, ALL RPC calls are REQUIRED to be idempotent.
        self._verbose = verbose
        self._service_name = service_name
        self._wire = Wire(key)
        self._match_intf = match_intf
        self._probe_timeout = probe_timeout
        self._attempts = attempts
        self._addresses = self._probe(addresses)
        if not self._addresses:
            raise NoValidAddressesFound(
                f"Horovod was unable to connect to {service_name} on any "
                f"of the following addresses: {addresses}.\n\n"
                "One possible cause of this problem is that "
                "horovod currently requires every host to have at "
                "least one routable network interface with the same "
                "name across all of the hosts. "
                'You can run "ifconfig -a" '
                "on every host and check for the common "
                "routable interface. "
                "To fix the problem, you can rename interfaces on "
                "Linux."
            )

    def _probe(self, addresses):
        result_queue = queue.Queue()
        threads = []
        for intf, intf_addresses in addresses.items():
            for addr in intf_addresses:
                thread = in_thread(target=self._probe_one, args=(intf, addr, result_queue))
                threads.append(thread)
        for t in threads:
            t.join()

        result = {}
        while not result_queue.empty():
            intf, addr = result_queue.get()
            if intf not in result:
                result[intf] = []
            result[intf].append(addr)
        return result

    def _probe_one(self, intf, addr, result_queue):
        for _iter in range(self._attempts):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.settimeout(self._probe_timeout)
            try:
                sock.connect(addr)
                rfile = sock.makefile("rb")
                wfile = sock.makefile("wb")
                try:
                    self._wire.write(PingRequest(), wfile)
                    resp = self._wire.read(rfile)
                    if resp.service_name != self._service_name:
                        return
                    if self._match_intf:
                        # Interface name of destination and source must match
                        # since `match_intf` is requested.
                        client_intf_addrs = [
                            x.address
                            for x in psutil.net_if_addrs().get(intf, [])
                            if x.family == socket.AF_INET
                        ]
                        if resp.source_address not in client_intf_addrs:
                            if self._verbose >= 2:
                                # Need to find the local interface name whose
                                # address was visible to the target host's server.
                                resp_intf = ""
                                for key in psutil.net_if_addrs():
                                    key_intf_addrs = [
                                        x.address for x in psutil.net_if_addrs().get(key, [])
                                    ]
                                    if resp.source_address in key_intf_addrs:
                                        resp_intf = key
                                        break
                                print(
                                    "WARNING: Expected to connect the host "
                                    "{addr} using interface "
                                    "{intf}, but reached it on interface "
                                    "{resp_intf}.".format(
                                        addr=str(addr[0]) + ":" + str(addr[1]),
                                        intf=intf,
                                        resp_intf=resp_intf,
                                    )
                                )
                            return
                    result_queue.put((intf, addr))
                    return
                finally:
                    rfile.close()
                    wfile.close()
            except Exception:
                pass
            finally:
                sock.close()

    def _send_one(self, addr, req, stream=None):
        """
        Send the request to the server and retry on errors.
        Streams data that follow a AckStreamResponse to the given utf8 text stream.
        """
        for iter in range(self._attempts):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                sock.connect(addr)
                rfile = sock.makefile("rb")
                wfile = sock.makefile("wb")
                try:
                    self._wire.write(req, wfile)
                    resp = self._wire.read(rfile)
                    if stream and isinstance(resp, AckStreamResponse):
                        # stream and byte content in rfile are expected to be utf8 text
                        from encodings.utf_8 import StreamReader

                        r = StreamReader(rfile)
                        shutil.copyfileobj(r, stream)
                    return resp
                finally:
                    rfile.close()
                    wfile.close()
            except Exception:
                if iter == self._attempts - 1:
                    # Raise exception on the last retry.
                    raise
            finally:
                sock.close()

    def _send(self, req, stream=None):
        """
        Sends the request and returns the response object.
        Streaming data response is transferred to the optional stream parameter.
        """
        # Since all the addresses were vetted, use the first one.
        addr = next(iter(self._addresses.values()))[0]
        return self._send_one(addr, req, stream)

    def addresses(self):
        return self._addresses

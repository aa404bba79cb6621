"""What a stranger on the network, or another user of the machine, can do to a job: nothing."""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from runner_jobs import horovodrun, program, running, tree, wait_until

pytest.importorskip("horovod.runner")

from horovod.runner.common.util import network, secret
from horovod.runner.http import admission
from horovod.runner.http.http_client import (
    put_data_into_kvstore,
    read_data_from_kvstore,
)
from horovod.runner.http.http_server import KVStoreServer, RendezvousServer

HOST = "127.0.0.1"
STRANGERS = {
    "nothing": {},
    "an empty one": {"Authorization": ""},
    "another one": {"Authorization": "Bearer " + "0" * 64},
    "no ASCII": {"Authorization": "Bearer \xe9\xff"},
    "another scheme": {"Authorization": "Basic " + secret.rendezvous_secret()},
    "a longer one": {"Authorization": "Bearer " + secret.rendezvous_secret() + "0"},
}


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a rendezvous server that holds key 0 of scope global."""
    server = RendezvousServer()
    port = server.start(address=HOST)
    server.init([])
    put_data_into_kvstore(HOST, port, "global", "0", "address")
    yield port
    server.stop()


def request(port: int, method: str, headers: dict[str, str], body: bytes | None = None) -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    connection.request(method, "/global/0", body, encoded)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("shown", STRANGERS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_request_without_the_secret_is_refused(port: int, method: str, shown: str) -> None:
    assert request(port, method, STRANGERS[shown], b"x" if method == "PUT" else None) == 403
    assert read_data_from_kvstore(HOST, port, "global", "0") == "address"


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("PUT", 200), ("DELETE", 200)])
def test_control_with_the_secret_it_is_done(port: int, method: str, status: int) -> None:
    headers = {"Authorization": "Bearer " + secret.rendezvous_secret()}
    assert request(port, method, headers, b"x" if method == "PUT" else None) == status
    if method == "DELETE":
        with pytest.raises(RuntimeError):
            read_data_from_kvstore(HOST, port, "global", "0")


@pytest.mark.parametrize(
    ("length", "status"), [("-1", 400), ("x", 400), ("\xb2", 400), (str(1 << 40), 413)]
)
def test_lengths_that_cannot_be(port: int, length: str, status: int) -> None:
    with socket.create_connection((HOST, port), timeout=60) as connection:
        head = f"PUT /global/0 HTTP/1.0\r\nAuthorization: Bearer {secret.rendezvous_secret()}\r\n"
        connection.sendall((head + f"Content-Length: {length}\r\n\r\n").encode("latin-1"))
        assert connection.recv(12) == f"HTTP/1.0 {status}".encode()
    assert read_data_from_kvstore(HOST, port, "global", "0") == "address"


@contextmanager
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16384, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def connections(port: int, number: int, said: bytes) -> Iterator[list[socket.socket]]:
    """Connections that say something and stay open."""
    with many_files():
        opened = []
        for _ in range(number):
            opened.append(socket.create_connection((HOST, port), timeout=60))
            with suppress(OSError):
                opened[-1].sendall(said)
        yield opened
        for connection in opened:
            connection.close()


SAID = {"nothing": b"", "half a line": b"GET /global", "bytes": bytes(range(256))}


@pytest.mark.parametrize("said", SAID)
def test_2000_strangers_do_not_keep_a_rank_out(port: int, said: str) -> None:
    with connections(port, 2000, SAID[said]):
        open_here = psutil.Process().num_fds()
        assert read_data_from_kvstore(HOST, port, "global", "0") == "address"
        # 2,000 of ours, and of the server's no more than it allows, beside a few that go.
        assert open_here < 2000 + admission.MAX_PENDING + 200


def flood(port: int, most: int) -> int:
    """Sends bytes without an end of line until it is cut off, or `most` of them; how many."""
    sent = 0
    with socket.create_connection((HOST, port), timeout=60) as connection, suppress(OSError):
        while sent < most:
            sent += connection.send(b"x" * 65536)
    return sent


def test_a_flood_without_an_end_is_cut(port: int) -> None:
    assert flood(port, 1 << 30) < 64 << 20
    assert read_data_from_kvstore(HOST, port, "global", "0") == "address"


def test_the_server_listens_where_it_is_told() -> None:
    for server, start in (
        (s := RendezvousServer(), s.start),
        (k := KVStoreServer(0), k.start_server),
    ):
        port = start(address=HOST)
        found = [c.laddr for c in psutil.Process().net_connections() if c.laddr.port == port]
        assert {address.ip for address in found} == {HOST}
        server.stop() if server is s else server.shutdown_server()
    with pytest.raises(OSError, match="assign requested address"):
        RendezvousServer().start(address="192.0.2.1")


def listening(pid: int) -> set[str]:
    addresses = set()
    for process in tree(pid):
        with suppress(psutil.Error):
            found = process.net_connections()
            addresses |= {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN}
    return addresses


def spoil(port: int, is_over: threading.Event, shown: dict[str, str]) -> None:
    """Deletes what ranks tell each other, and sends rubbish."""
    while not is_over.is_set():
        for path in ("/global/0", "/global/1", "/global/rank_0", "/local_localhost/0"):
            with suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection(HOST, port, timeout=5)
                connection.request("DELETE", path, headers=shown)
                connection.getresponse().read()
                connection.close()
        with suppress(OSError), socket.create_connection((HOST, port), timeout=5) as connection:
            connection.sendall(os.urandom(1000) + b"\r\n\r\n")


def run_meetings(
    folder: Path, headers: Callable[[dict], dict], meetings: int
) -> tuple[int, set[str], str]:
    """A job of two ranks that meet often while somebody spoils; exit code and open ports."""
    pytest.importorskip("horovod.torch")
    words = ("-np", "2", "--gloo", "--gloo-timeout-seconds", "10")
    command = horovodrun(*words, *program("runner_meetings.py", folder, meetings))
    is_over, first = threading.Event(), folder / "rank-0.json"
    with running(command) as process:
        wait_until(lambda: first.exists() or process.poll() is not None, "the first meeting")
        env = json.loads(first.read_text())["env"]
        addresses = listening(process.pid)
        args = (int(env["HOROVOD_GLOO_RENDEZVOUS_PORT"]), is_over, headers(env))
        spoilers = [threading.Thread(target=spoil, args=args) for _ in range(2)]
        for spoiler in spoilers:
            spoiler.start()
        out, err = process.communicate()
        is_over.set()
        for spoiler in spoilers:
            spoiler.join()
    return process.returncode, addresses, out + err


@pytest.mark.ranks
def test_deletes_and_rubbish_do_not_hurt_a_job(tmp_path: Path) -> None:
    code, addresses, said = run_meetings(tmp_path, lambda env: {}, 20)
    assert code == 0, said
    assert addresses == {HOST}


@pytest.mark.ranks
def test_control_deletes_with_the_secret_hurt_it(tmp_path: Path) -> None:
    def shown(env: dict) -> dict:
        return {"Authorization": "Bearer " + env["HOROVOD_GLOO_RENDEZVOUS_SECRET"]}

    code, _, _ = run_meetings(tmp_path, shown, 10_000)
    assert code != 0


class _Service(network.BasicService):
    def __init__(self, nics: set[str] | None) -> None:
        super().__init__("test service", b"key", nics)


def ping(service: network.BasicService) -> dict:
    return network.BasicClient("test service", service.addresses(), b"key", 0).addresses()


def test_a_service_of_one_interface_listens_there() -> None:
    service = _Service({"lo"})
    port = service.get_port()
    found = [c.laddr for c in psutil.Process().net_connections() if c.laddr.port == port]
    assert {address.ip for address in found} == {HOST}
    assert ping(service) == {"lo": [(HOST, port)]}
    service.shutdown()


def test_a_service_reads_no_body_of_a_stranger() -> None:
    service = _Service({"lo"})
    with socket.create_connection((HOST, service.get_port()), timeout=60) as connection:
        connection.sendall(b"d" * secret.DIGEST_LENGTH + (1 << 40).to_bytes(8, "big"))
        connection.settimeout(network.SILENCE_TIMEOUT_S / 2)
        # The end of the stream, at once: nothing of the body was waited for.
        assert connection.recv(1) == b""
    assert ping(service)
    service.shutdown()


def test_silent_strangers_do_not_use_up_a_service() -> None:
    service = _Service({"lo"})
    before = threading.active_count()
    with connections(service.get_port(), 600, b""):
        assert ping(service)
        limit = before + network.MAX_SILENT_CONNECTIONS + 50
        wait_until(lambda: threading.active_count() < limit, "threads of strangers to end")
    service.shutdown()


def test_control_another_key_is_refused() -> None:
    service = _Service({"lo"})
    with pytest.raises(network.NoValidAddressesFound):
        network.BasicClient("test service", service.addresses(), b"other", 0, attempts=1)
    service.shutdown()

"""Jobs on two hosts that are two network namespaces, with a real sshd in one of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from runner_jobs import CommandLines, environment, horovodrun, program, running, tree, wait_until

pytest.importorskip("horovod.torch")

pytestmark = pytest.mark.ranks

HERE, THERE, PORT = "10.77.31.1", "10.77.31.2", "2222"
SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
CONFIG = """
Port {port}
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile {folder}/pid
StrictModes no
UsePAM no
PermitRootLogin yes
"""


@dataclass
class TwoHosts:
    """The namespaces, and how to start a job from the first one."""

    here: str
    there: str
    folder: Path

    def command(self, *words: str | Path) -> list[str]:
        """A job of one rank on each host."""
        reach = ("--ssh-port", PORT, "--ssh-identity-file", self.folder / "key")
        hosts = ("-np", "2", "-H", f"{HERE}:1,{THERE}:1", "--disable-cache", "--gloo")
        return ["ip", "netns", "exec", self.here, *horovodrun(*hosts, *reach, *words)]

    def listening(self) -> dict[str, set[str]]:
        """Addresses on which somebody waits for connections, by host."""
        found = {}
        for name in (self.here, self.there):
            command = ["ip", "netns", "exec", name, "cat", "/proc/net/tcp"]
            lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            fields = [line.split() for line in lines.splitlines()[1:]]
            found[name] = {_address(f[1]) for f in fields if f[3] == "0A"} - {f"{THERE}:{PORT}"}
        return {name: {a.split(":")[0] for a in addresses} for name, addresses in found.items()}


def _address(text: str) -> str:
    address, port = text.split(":")
    numbers = bytes.fromhex(address)[::-1]
    return ".".join(map(str, numbers)) + f":{int(port, 16)}"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[TwoHosts]:
    if os.geteuid() != 0 or SSHD is None or not all(map(shutil.which, ("ip", "ssh-keygen"))):
        pytest.skip("network namespaces need root, ip, sshd and ssh-keygen")
    made = TwoHosts(f"hvd-a-{os.getpid()}", f"hvd-b-{os.getpid()}", tmp_path)
    try:
        _make(made)
    except subprocess.CalledProcessError as error:
        _remove(made)
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    yield made
    _remove(made)


def _make(hosts: TwoHosts) -> None:
    a, b, folder = hosts.here, hosts.there, hosts.folder
    link = f"link add hvd0 netns {a} type veth peer name hvd0 netns {b}"
    lines = [f"netns add {a}", f"netns add {b}", link]
    for name, address in ((a, HERE), (b, THERE)):
        lines.append(f"-n {name} addr add {address}/24 dev hvd0")
        lines += [f"-n {name} link set {device} up" for device in ("lo", "hvd0")]
    for line in lines:
        subprocess.run(["ip", *line.split()], check=True, capture_output=True)
    for key in ("host_key", "key"):
        words = ["-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(["ssh-keygen", *words], check=True, capture_output=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    config = folder / "sshd_config"
    config.write_text(CONFIG.format(port=PORT, address=THERE, folder=folder))
    sshd = ["ip", "netns", "exec", b, str(SSHD), "-f", str(config)]
    subprocess.run(sshd, check=True, capture_output=True)


def _remove(hosts: TwoHosts) -> None:
    pid = hosts.folder / "pid"
    if pid.exists():
        for process in reversed(tree(int(pid.read_text()))):
            process.kill()
    for name in (hosts.here, hosts.there):
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def ranks_in(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]


SECRET = "s3 cr'et-5513"


def test_a_job_meets_and_keeps_its_secrets(hosts: TwoHosts) -> None:
    command = hosts.command(*program("runner_meetings.py", hosts.folder, 3))
    with (
        running(command, environment(TOKEN_OF_MINE=SECRET)) as process,
        CommandLines(process.pid) as lines,
    ):
        out, err = process.communicate()
    assert process.returncode == 0, out + err
    assert [rank["env"]["TOKEN_OF_MINE"] for rank in ranks_in(hosts.folder)] == [SECRET] * 2
    assert "SSH_CONNECTION" in ranks_in(hosts.folder)[1]["env"]
    secrets = {rank["env"]["HOROVOD_GLOO_RENDEZVOUS_SECRET"] for rank in ranks_in(hosts.folder)}
    assert len(secrets) == 1
    assert lines.holding(f"{THERE} ")
    for value in (SECRET, *secrets):
        assert not lines.holding(value)


def test_a_failure_there_has_its_exit_code(hosts: TwoHosts) -> None:
    with running(hosts.command(*program("runner_rank.py", hosts.folder, "exit:1:6"))) as process:
        _, err = process.communicate()
    assert process.returncode == 6, err
    assert "Process name: 1\nExit code: 6\n" in err


def test_a_killed_launcher_takes_the_rank_there_along(hosts: TwoHosts) -> None:
    with running(hosts.command(*program("runner_rank.py", hosts.folder, "wait"))) as process:
        wait_until(lambda: len(ranks_in(hosts.folder)) == 2, "ranks")
        there = psutil.Process(ranks_in(hosts.folder)[1]["pid"])
        # The launcher tells its address, and nobody waits on any other one, once the services that
        # looked for common interfaces have gone.
        expected = {hosts.here: {HERE}, hosts.there: set()}
        wait_until(lambda: hosts.listening() == expected, "no other address")
        process.kill()
        wait_until(lambda: not there.is_running(), "the end of the rank")
        _, err = process.communicate()
    assert "the launcher itself" in err

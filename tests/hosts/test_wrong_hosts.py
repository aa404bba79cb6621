"""Hosts that cannot take part are reported at once, one line each, before a rank is started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import hvdcore
from hvdcore.testing.hosts import TestHost, TestNetwork
from hvdcore.testing.runs import ranks_environment


def hvdcore_command(host: TestHost, folder: Path, path: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*host.inside(folder), sys.executable, "-m", "hvdcore", *arguments],
        env=ranks_environment({"PATH": path}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def changed_copy(folder: Path) -> str:
    """Shell that puts another hvdcore in the place of ours, on the host that runs it."""
    ours = Path(str(hvdcore.__file__)).parent
    other = folder / "other"
    shutil.copytree(ours, other, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "metrics.py").open("a", encoding="utf-8") as file:
        file.write("\n# changed here alone\n")
    return f"mount --bind '{other}' '{ours}'"


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path, network: TestNetwork) -> None:
    first = network.add("first", "eth0")
    network.add("refusing", "eth0", refuses=True)
    network.add("strange", "eth0", known=False)
    network.add("older", "eth0", extra=changed_copy(tmp_path))
    network.add("bare", "eth0", extra=f"mount -t tmpfs tmpfs '{Path(sys.executable).parent}'")
    network.add("gone", "eth0").cut_off()
    names = "first:1,refusing:1,strange:1,older:1,bare:1,gone:1,nobody.invalid:1"
    code, said = hvdcore_command(first, tmp_path, network.path, "launch", "--hosts", names, "true")
    assert code == 2, said
    lines = said.splitlines()
    starts = [
        "error: --hosts: refusing refuses our key; make `ssh refusing true` work",
        "error: --hosts: strange has a host key that is not known here",
        "error: --hosts: older differs: other sources of the package (commit ",
        f"error: --hosts: bare has no {sys.executable}; install the same environment",
        "error: --hosts: gone cannot be reached with ssh (ssh: connect to host gone port 22: ",
        "error: --hosts: unknown host 'nobody.invalid'",
    ]
    assert len(lines) == len(starts), said
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start), said


def test_the_doctor_shows_every_host(tmp_path: Path, network: TestNetwork) -> None:
    first = network.add("first", "eth0")
    network.add("second", "ens7")
    file = tmp_path / "hosts"
    file.write_text("first slots=2\nsecond slots=3\n", encoding="utf-8")
    arguments = ("doctor", "--hostfile", str(file))
    code, said = hvdcore_command(first, tmp_path, network.path, *arguments)
    assert code == 0, said
    one, two, verdict = said.splitlines()
    assert one.startswith("host first: 2 slots, python ")
    assert one.endswith("eth0 10.77.1.1")
    assert two.startswith("host second: 3 slots, python ")
    assert two.endswith("ens7 10.77.1.2")
    assert verdict == "A job can run on all of them."

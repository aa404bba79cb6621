"""The built image: who runs in it, and what the doctor says there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from containers import Container, Image

from hvdcore.testing.hosts import TestNetwork


@pytest.mark.proof
def test_the_doctor_is_content(network: TestNetwork, built_image: Image, tmp_path: Path) -> None:
    """On a host that knows its own name, which Gloo asks for and not every build has."""
    data = tmp_path / "data"
    data.mkdir(mode=0o777)
    container = Container(
        built_image, tmp_path / "pod", ["hvdcore", "doctor"], {}, "/data", 1000, 1000,
        {"/data": data}, ["/tmp"], read_only=True,
    )  # fmt: skip
    host = network.add("image", "eth0", extra=container.set_up())

    def run(words: list[str] | None = None) -> str:
        command = [*host.inside(Path("/")), *container.command(words)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert run(["id", "-un"]) == "trainer\n"
    said = run()
    for controller in ("mpi", "gloo"):
        assert f"ok two-rank allreduce, {controller}: right" in said, said
    assert "Two ranks can run here." in said
    assert not list(built_image.root.glob("opt/venv/bin/pip*"))
    assert not list(built_image.root.glob("etc/ssh/ssh_host_*"))

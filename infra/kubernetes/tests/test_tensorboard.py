"""TensorBoard's container, in the built image, shows a run from a volume that it may only read."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from containers import Container, Image

from hvdcore.testing.hosts import TestNetwork
from textgen.testing import TINY, train, write_book

RUNS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:6006/data/runs').read().decode())"


@pytest.mark.proof
def test_it_shows_a_run(
    kustomize: Callable[[str], list[dict[str, Any]]],
    network: TestNetwork,
    built_image: Image,
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    book = write_book(tmp_path / "book.txt", num_words=2000)
    train(data / "runs" / "trainer", book, *TINY, "--max-steps", "4", timeout=900).check()
    board = next(item for item in kustomize("base") if item["kind"] == "Deployment")
    pod = board["spec"]["template"]["spec"]
    main, user = pod["containers"][0], pod["securityContext"]["runAsUser"]
    container = Container(
        built_image, tmp_path / "pod", main["args"], {}, "/data", user, user,
        {"/data": data}, ["/tmp"], read_only=True,
    )  # fmt: skip
    host = network.add(
        "tensorboard", "eth0", extra=container.set_up() + "\nmount -o remount,ro,bind $R/data",
        server=shlex.join(container.command()), port=main["ports"][0]["containerPort"],
    )  # fmt: skip
    ask = [*host.inside(Path("/")), *container.command(["python3", "-c", RUNS])]
    shown: list[str] = []
    while not shown:  # it serves at once and reads in the background
        done = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=True)
        shown = json.loads(done.stdout)
    assert all(name.startswith("trainer/tensorboard") for name in shown), shown

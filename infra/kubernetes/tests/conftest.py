"""Fixtures for the manifests: as kustomize prints them, and pods of them in namespaces."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(Path(__file__).parent))

from hvdcore.testing_hosts import TestNetwork, missing_for_hosts  # noqa: E402

Objects = list[dict[str, Any]]


@pytest.fixture(scope="session")
def kustomize() -> Callable[[str], Objects]:
    """The objects of a folder below infra/kubernetes."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, whose kustomize prints the manifests, is not installed")

    def build(folder: str) -> Objects:
        command = ["kubectl", "kustomize", str(ROOT / "infra" / "kubernetes" / folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    return build


@pytest.fixture
def network(tmp_path: Path) -> Iterator[TestNetwork]:
    if reason := missing_for_hosts():
        pytest.skip(reason)
    with TestNetwork(tmp_path / "network") as switch:
        yield switch

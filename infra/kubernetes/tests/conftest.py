"""Fixtures for the manifests: as kustomize prints them, and pods of them in namespaces."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(Path(__file__).parent))

from containers import Image  # noqa: E402
from image_build import Builder, missing_for_images  # noqa: E402
from mpijob import Objects  # noqa: E402
from this_environment import this_environment  # noqa: E402

from hvdcore.testing.hosts import TestNetwork, missing_for_hosts  # noqa: E402


@pytest.fixture(scope="session")
def kustomize() -> Callable[[str], Objects]:
    """The objects of a folder below infra/kubernetes."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, whose kustomize prints the manifests, is not installed")

    @functools.cache
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


@pytest.fixture(scope="session")
def built_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image `cpu` of textgen, every step of its Dockerfile carried out."""
    if reason := missing_for_images():
        pytest.skip(reason)
    builder = Builder(tmp_path_factory.mktemp("image"))
    builder.make_wheels("textgen")
    builder.make_base()
    # The last step is the doctor, as the user without rights.
    assert "ok two-rank allreduce, mpi: right" in builder.build("cpu")
    yield builder.open("cpu")
    builder.close()


@pytest.fixture(
    params=["this environment", pytest.param("built image", marks=pytest.mark.proof)],
    scope="session",
)
def image(request: pytest.FixtureRequest) -> Image:
    """What the pods are made of."""
    if request.param == "this environment":
        return this_environment()
    built: Image = request.getfixturevalue("built_image")
    return built

"""Each folder's manifests fit the schemas of Kubernetes and of the MPI operator, and each other."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from mpijob import MPIJOB, Objects, mpi_job
from typer.main import get_command

from textgen.cli import app

FOLDER = Path(__file__).resolve().parents[1]
VERSION = "1.29"
FOLDERS = ("base", "overlays/elastic", "overlays/gpu")
Kustomize = Callable[[str], Objects]


def check(item: dict[str, Any], version: str) -> None:
    """Fields that the schema does not know are errors too."""
    if item["kind"] != "MPIJob":
        kubernetes_validate.validate(item, version, strict=True)
        return
    jsonschema.validate(item, MPIJOB)
    for replicas in item["spec"]["mpiReplicaSpecs"].values():
        template = {"apiVersion": "v1", "kind": "PodTemplate", "template": replicas["template"]}
        kubernetes_validate.validate(template, version, strict=True)


def pods(objects: Objects) -> Iterator[dict[str, Any]]:
    for item in objects:
        if item["kind"] == "MPIJob":
            for replicas in item["spec"]["mpiReplicaSpecs"].values():
                yield replicas["template"]["spec"]
        elif item["kind"] == "Deployment":
            yield item["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("folder", "version"),
    [("base", "1.29"), ("overlays/elastic", "1.37"), ("overlays/gpu", "1.37")],
)
def test_the_schemas(kustomize: Kustomize, folder: str, version: str) -> None:
    objects = kustomize(folder)
    kinds = sorted(item["kind"] for item in objects)
    assert kinds == sorted(
        ["MPIJob", "PersistentVolumeClaim", "Deployment", "Service", *2 * ["NetworkPolicy"]]
    )
    for item in objects:
        check(item, version)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("runPolicy", "cleanPodPolicy"), "Sometimes"),
        (("runPolicy", "backOffLimit"), 3),
        (("mpiReplicaSpecs", "Launcher", "replicas"), 2),
        (("mpiReplicaSpecs", "Worker", "restartPolicy"), "Always"),
        (("mpiReplicaSpecs", "Worker", "template", "spec", "terminationGracePeriod"), 9),
        (("slotPerWorker",), 1),
    ],
)
def test_control_a_slip_is_refused(
    kustomize: Kustomize, path: tuple[str, ...], value: object
) -> None:
    job = copy.deepcopy(mpi_job(kustomize("base")))
    place = job["spec"]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(job, VERSION)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_pod_has_rights_or_is_without_limits(kustomize: Kustomize, folder: str) -> None:
    """As in the profile `restricted` of Kubernetes' standards; the root is read-only too."""
    for pod in pods(kustomize(folder)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_that_stand_in_two_places_agree(kustomize: Kustomize, folder: str) -> None:
    objects = kustomize(folder)
    named = {(item["kind"], item["metadata"]["name"]): item for item in objects}
    for pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        claim = volumes["data"]["persistentVolumeClaim"]["claimName"]
        assert ("PersistentVolumeClaim", claim) in named
    job = mpi_job(objects)
    chosen = named["NetworkPolicy", "trainer"]["spec"]["podSelector"]["matchLabels"]
    assert chosen == {"training.kubeflow.org/job-name": job["metadata"]["name"]}
    board = named["Deployment", "tensorboard"]["spec"]["template"]["metadata"]["labels"]
    policy = named["NetworkPolicy", "tensorboard"]["spec"]["podSelector"]["matchLabels"]
    for other in (named["Service", "tensorboard"]["spec"]["selector"], policy):
        assert other == board


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_launcher_is_a_command_line_of_textgen(kustomize: Kustomize, folder: str) -> None:
    args = mpi_job(kustomize(folder))["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]
    program, verb, *rest = args["containers"][0]["args"]
    assert (program, verb) == ("textgen", "train")
    known = {name for option in get_command(app).commands[verb].params for name in option.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_the_readme_has_an_overlay_that_works(kustomize: Kustomize, tmp_path: Path) -> None:
    text = (FOLDER / "README.md").read_text("utf-8").partition("```yaml\n")[2].partition("```")[0]
    shutil.copytree(FOLDER / "base", tmp_path / "base")
    own = tmp_path / "overlays" / "own"
    own.mkdir(parents=True)
    (own / "kustomization.yaml").write_text(text, encoding="utf-8")
    job = mpi_job(kustomize(str(own)))
    check(job, VERSION)
    containers = [pod["containers"][0] for pod in pods([job])]
    assert {c["image"] for c in containers} == {"registry.example/textgen:cpu"}
    assert containers[0]["args"][-1] == "--epochs=20"


def test_spot_nodes_take_workers_and_no_launcher(kustomize: Kustomize) -> None:
    specs = mpi_job(kustomize("overlays/elastic"))["spec"]["mpiReplicaSpecs"]
    worker, launcher = (specs[r]["template"]["spec"] for r in ("Worker", "Launcher"))
    assert {item["effect"] for item in worker["tolerations"]} == {"NoSchedule"}
    assert "tolerations" not in launcher
    assert specs["Worker"]["restartPolicy"] == "OnFailure"
    assert worker["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["drain-ranks"]
    # What clouds leave after their warning is at most this long (AWS 2 minutes).
    assert worker["terminationGracePeriodSeconds"] == 120

"""The TrainJob and its runtime fit their schemas, and run the pods of the MPIJob."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from mpijob import MPIJOB, Objects, mpi_job
from trainjob import TRAIN_JOB, TRAINING_RUNTIME, pod_templates

Kustomize = Callable[[str], Objects]
SCHEMAS = {"TrainJob": TRAIN_JOB, "TrainingRuntime": TRAINING_RUNTIME, "MPIJob": MPIJOB}
QUEUE = {"kueue.x-k8s.io/queue-name": "training"}


def check(item: dict[str, Any]) -> None:
    jsonschema.validate(item, SCHEMAS[item["kind"]])
    if item["kind"] == "TrainingRuntime":
        for _, template in pod_templates(item):
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
            kubernetes_validate.validate(pod, "1.37", strict=True)


def of_kind(objects: Objects, kind: str) -> dict[str, Any]:
    (found,) = (item for item in objects if item["kind"] == kind)
    return found


@pytest.mark.parametrize("folder", ["trainjob", "overlays/kueue-trainjob"])
def test_the_schemas(kustomize: Kustomize, folder: str) -> None:
    objects = kustomize(folder)
    assert "MPIJob" not in {item["kind"] for item in objects}
    for kind in ("TrainJob", "TrainingRuntime"):
        check(of_kind(objects, kind))
    for item in objects:
        if item["kind"] not in SCHEMAS:
            kubernetes_validate.validate(item, "1.37", strict=True)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("TrainJob", ("spec", "trainer", "numProcsPerNode"), 1),
        ("TrainJob", ("spec", "runtimeRef", "kind"), "Runtime"),
        ("TrainingRuntime", ("spec", "mlPolicy", "mpi", "mpiImplementation"), "Horovod"),
        ("TrainingRuntime", ("spec", "template", "spec", "replicatedJobs", 0, "name"), "worker"),
        ("TrainingRuntime", ("spec", "template", "spec", "successPolicy", "operator"), "Some"),
    ],
)
def test_control_a_slip_is_refused(
    kustomize: Kustomize, kind: str, path: tuple[Any, ...], value: object
) -> None:
    place = item = copy.deepcopy(of_kind(kustomize("trainjob"), kind))
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(item)


def test_its_pods_are_those_of_the_mpijob(kustomize: Kustomize) -> None:
    """Which are run in test_pods.py. A TrainJob's arguments replace those of the launcher."""
    objects = kustomize("trainjob")
    trainer = of_kind(objects, "TrainJob")["spec"]["trainer"]
    runtime = of_kind(objects, "TrainingRuntime")
    pods = {name: copy.deepcopy(t["spec"]) for name, t in pod_templates(runtime)}
    pods["launcher"]["containers"][0]["args"] = trainer["args"]
    job = mpi_job(kustomize("base"))["spec"]
    assert job["mpiReplicaSpecs"]["Worker"]["replicas"] == trainer["numNodes"]
    assert job["slotsPerWorker"] == trainer["numProcPerNode"]
    assert job["sshAuthMountPath"] == runtime["spec"]["mlPolicy"]["mpi"]["sshAuthMountPath"]
    for ours, theirs in (("node", "Worker"), ("launcher", "Launcher")):
        replicas = copy.deepcopy(job["mpiReplicaSpecs"][theirs])
        expected = {**replicas["template"]["spec"], "restartPolicy": replicas["restartPolicy"]}
        expected["containers"][0]["name"] = "node"  # the name that the mpi policy looks for
        assert pods[ours] == expected


def test_the_job_finds_its_runtime_and_its_network(kustomize: Kustomize) -> None:
    objects = kustomize("trainjob")
    job, runtime = of_kind(objects, "TrainJob"), of_kind(objects, "TrainingRuntime")
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    labels = {"jobset.sigs.k8s.io/jobset-name": job["metadata"]["name"]}
    (spec,) = (
        item["spec"] for item in objects
        if item["kind"] == "NetworkPolicy" and item["metadata"]["name"] == "trainer"
    )  # fmt: skip
    assert spec["podSelector"]["matchLabels"] == labels
    assert spec["ingress"][0]["from"][0]["podSelector"]["matchLabels"] == labels
    assert spec["egress"][0]["to"][0]["podSelector"]["matchLabels"] == labels


def test_kueue_gets_the_queue_and_a_job_that_waits(kustomize: Kustomize) -> None:
    waiting = mpi_job(kustomize("overlays/kueue"))
    check(waiting)
    assert waiting["metadata"]["labels"] == QUEUE
    assert waiting["spec"]["runPolicy"]["suspend"] is True
    job = of_kind(kustomize("overlays/kueue-trainjob"), "TrainJob")
    assert job["metadata"]["labels"] == QUEUE
    assert job["spec"]["suspend"] is True
    # The control: without Kueue nothing waits.
    assert "suspend" not in of_kind(kustomize("trainjob"), "TrainJob")["spec"]
    assert "labels" not in mpi_job(kustomize("base"))["metadata"]

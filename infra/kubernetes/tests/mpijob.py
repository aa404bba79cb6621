"""The MPIJob (kubeflow.org/v2beta1) of the manifests and its JSON Schema, for tests.

Written after the operator's API and its validation: fields that it does not know are refused, and
what it would refuse is refused here. Pod templates are checked against Kubernetes' own schema.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MPIJOB", "Objects", "mpi_job"]

Objects = list[dict[str, Any]]
"""What kustomize prints."""


def mpi_job(objects: Objects) -> dict[str, Any]:
    """The MPIJob among them."""
    return next(item for item in objects if item["kind"] == "MPIJob")


def _object(required: list[str], **fields: Any) -> dict[str, Any]:
    return {
        "type": "object", "additionalProperties": False, "required": required, "properties": fields,
    }  # fmt: skip


_NOT_NEGATIVE = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string", "minLength": 1}


def _replicas(most: dict[str, int]) -> dict[str, Any]:
    return _object(
        ["replicas", "restartPolicy", "template"],
        replicas={"type": "integer", "minimum": 1, **most},
        restartPolicy={"enum": ["Never", "OnFailure"]},
        template={"type": "object"},
    )


_RUN_POLICY = _object(
    ["cleanPodPolicy"],
    cleanPodPolicy={"enum": ["None", "Running", "All"]},
    ttlSecondsAfterFinished=_NOT_NEGATIVE,
    activeDeadlineSeconds=_NOT_NEGATIVE,
    backoffLimit=_NOT_NEGATIVE,
    suspend={"type": "boolean"},
    managedBy=_TEXT,
    schedulingPolicy=_object(
        [],
        minAvailable={"type": "integer"},
        queue=_TEXT,
        minResources={"type": "object"},
        priorityClass=_TEXT,
        scheduleTimeoutSeconds={"type": "integer"},
    ),
)
MPIJOB = _object(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "kubeflow.org/v2beta1"},
    kind={"const": "MPIJob"},
    # With `-worker-N` a name has at most 63 characters.
    metadata=_object(
        ["name"],
        name={"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$"},
        namespace=_TEXT,
        labels={"type": "object"},
        annotations={"type": "object"},
    ),
    spec=_object(
        ["runPolicy", "mpiReplicaSpecs"],
        slotsPerWorker=_NOT_NEGATIVE,
        sshAuthMountPath=_TEXT,
        launcherCreationPolicy={"enum": ["AtStartup", "WaitForWorkersReady"]},
        mpiImplementation={"enum": ["OpenMPI", "Intel", "MPICH"]},
        runLauncherAsWorker={"type": "boolean"},
        runPolicy=_RUN_POLICY,
        mpiReplicaSpecs=_object(
            ["Launcher"], Launcher=_replicas({"maximum": 1}), Worker=_replicas({})
        ),
    ),
)

"""JSON Schemas of Kubeflow Trainer v2 (trainer.kubeflow.org/v1alpha1), for tests.

Written after the API of Trainer and of JobSet, for the fields that the manifests may use: others
are refused, as the API server refuses what it does not know. Pod templates are checked against
Kubernetes' own schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["TRAINING_RUNTIME", "TRAIN_JOB", "pod_templates"]


def pod_templates(runtime: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and pod template of each replicated job of a runtime."""
    for job in runtime["spec"]["template"]["spec"]["replicatedJobs"]:
        yield job["name"], job["template"]["spec"]["template"]


def _object(required: list[str], **fields: Any) -> dict[str, Any]:
    return {
        "type": "object", "additionalProperties": False, "required": required, "properties": fields,
    }  # fmt: skip


_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_AT_LEAST_1 = {"type": "integer", "minimum": 1}
_NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}
_METADATA = _object(
    ["name"],
    name=_NAME,
    namespace=_TEXT,
    labels={"type": "object", "additionalProperties": {"type": "string"}},
    annotations={"type": "object", "additionalProperties": {"type": "string"}},
)


def _kind(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "trainer.kubeflow.org/v1alpha1"},
        kind={"const": kind},
        metadata=_METADATA,
        spec=spec,
    )


TRAIN_JOB = _kind(
    "TrainJob",
    _object(
        ["runtimeRef"],
        runtimeRef=_object(
            ["name"],
            apiGroup={"const": "trainer.kubeflow.org"},
            kind={"enum": ["TrainingRuntime", "ClusterTrainingRuntime"]},
            name=_NAME,
        ),
        trainer=_object(
            [],
            image=_TEXT,
            command=_TEXTS,
            args=_TEXTS,
            env={"type": "array", "items": {"type": "object", "required": ["name"]}},
            numNodes=_AT_LEAST_1,
            numProcPerNode=_AT_LEAST_1,
            resourcesPerNode={"type": "object"},
        ),
        suspend={"type": "boolean"},
        activeDeadlineSeconds=_AT_LEAST_1,
    ),
)
_REPLICATED_JOB = _object(
    ["name", "template"],
    name={"enum": ["node", "launcher"]},  # what the mpi policy looks for
    replicas={"const": 1},
    dependsOn={
        "type": "array",
        "items": _object(["name", "status"], name=_NAME, status={"enum": ["Ready", "Complete"]}),
    },
    template=_object(
        ["spec"],
        metadata={"type": "object"},
        spec=_object(
            ["template"],
            template={"type": "object"},
            backoffLimit={"type": "integer", "minimum": 0},
        ),
    ),
)
TRAINING_RUNTIME = _kind(
    "TrainingRuntime",
    _object(
        ["mlPolicy", "template"],
        mlPolicy=_object(
            ["mpi"],
            numNodes=_AT_LEAST_1,
            mpi=_object(
                [],
                numProcPerNode=_AT_LEAST_1,
                mpiImplementation={"const": "OpenMPI"},
                sshAuthMountPath=_TEXT,
                runLauncherAsNode={"type": "boolean"},
            ),
        ),
        template=_object(
            ["spec"],
            spec=_object(
                ["replicatedJobs"],
                network=_object([], publishNotReadyAddresses={"type": "boolean"}),
                successPolicy=_object(
                    ["operator"],
                    operator={"enum": ["All", "Any"]},
                    targetReplicatedJobs={"type": "array", "items": _NAME},
                ),
                failurePolicy=_object([], maxRestarts={"type": "integer", "minimum": 0}),
                replicatedJobs={"type": "array", "minItems": 1, "items": _REPLICATED_JOB},
            ),
        ),
    ),
)

"""The pods that the MPI operator and the kubelet make of an MPIJob, in network namespaces.

As the operator's sources have it: names, host file, a discovery script without slots, one key pair
for all pods, the launcher's variables, and who mounts what.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from containers import Container, Image
from volumes import write_volume

from hvdcore.testing.hosts import TestHost, TestNetwork

__all__ = ["Job"]

NAMESPACE = "research"
LIMIT_SECONDS = 600.0


class Job:
    """An MPIJob whose pods run on hosts of a test.

    Args:
        manifest: the MPIJob, as kustomize prints it.
        folder: for volumes; `folder/data` is the claim of that name.
        env: variables that every container gets beside those of its manifest.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        network: TestNetwork,
        folder: Path,
        image: Image,
        env: dict[str, str],
    ) -> None:
        self.spec, self.name = manifest["spec"], manifest["metadata"]["name"]
        self.network, self.folder, self.image, self.env = network, folder, image, env
        self.data, self._secret, self._config = (folder / n for n in ("data", "secret", "config"))
        self._errors = folder / "stderr"
        self._group = int(self._pod("Worker")["securityContext"]["fsGroup"])
        self.data.mkdir()
        os.chown(self.data, 0, self._group)
        os.chmod(self.data, 0o2775)
        self._make_keys()

    def _make_keys(self) -> None:
        key = self.folder / "key"
        kind = ("-t", "ecdsa", "-b", "521", "-m", "PEM")
        subprocess.run(["ssh-keygen", "-q", *kind, "-N", "", "-f", str(key)], check=True)
        private, public = key.read_text("utf-8"), key.with_suffix(".pub").read_text("utf-8")
        keys = {"id_rsa": private, "id_rsa.pub": public, "authorized_keys": public}
        write_volume(self._secret, keys, 0o644, self._group)

    def _pod(self, role: str) -> dict[str, Any]:
        specification: dict[str, Any] = self.spec["mpiReplicaSpecs"][role]["template"]["spec"]
        return specification

    def full_name(self, index: int) -> str:
        """The name by which others reach a worker: the headless service's."""
        return f"{self.name}-worker-{index}.{self.name}.{NAMESPACE}.svc"

    def _container(self, role: str, name: str, env: dict[str, str], *more: str) -> Container:
        pod = self._pod(role)
        container = pod["containers"][0]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {m["mountPath"]: volumes[m["name"]] for m in container["volumeMounts"]}
        claims = {p: v["persistentVolumeClaim"] for p, v in mounts.items() if "emptyDir" not in v}
        binds = {path: self.folder / claim["claimName"] for path, claim in claims.items()}
        binds[self.spec["sshAuthMountPath"]] = self._secret
        if role == "Launcher":
            binds["/etc/mpi"] = self._config
        return Container(
            self.image, self.folder / name, [*container["args"], *more], {**self.env, **env},
            container["workingDir"], pod["securityContext"]["runAsUser"],
            pod["securityContext"]["runAsGroup"], binds,
            [path for path, volume in mounts.items() if "emptyDir" in volume],
            container["securityContext"]["readOnlyRootFilesystem"],
        )  # fmt: skip

    def _add(
        self, container: Container, full_name: str, server: str = "", port: int = 22
    ) -> TestHost:
        """A pod's host. It alone knows its short name; by the full one it is known from now on."""
        name = full_name.partition(".")[0]
        hosts = self.folder / f"{name}.hosts"
        own = f"""
cp /etc/hosts '{hosts}'
sed -n 's/ {full_name}$/ {name}/p' /etc/hosts >> '{hosts}'
mount --bind '{hosts}' $R/etc/hosts"""
        host = self.network.add(
            name, "eth0", full_name=full_name, extra=container.set_up() + own, server=server,
            port=port,
        )  # fmt: skip
        for other in set(self.folder.glob("*.hosts")) - {hosts}:
            with other.open("a", encoding="utf-8") as file:
                file.write(f"{host.address} {full_name}\n")
        return host

    def start_worker(self, index: int) -> TestHost:
        """A worker's pod, ready when this returns."""
        name = f"{self.name}-worker-{index}"
        container = self._container("Worker", name, {"K_MPI_JOB_ROLE": "worker"})
        probe = self._pod("Worker")["containers"][0]["readinessProbe"]
        port = probe["tcpSocket"]["port"]
        return self._add(container, self.full_name(index), shlex.join(container.command()), port)

    def list_running(self, *indices: int) -> None:
        """These workers' pods run now: the operator writes it, and the kubelet brings it in."""
        number, slots = (
            self.spec["mpiReplicaSpecs"]["Worker"]["replicas"],
            self.spec["slotsPerWorker"],
        )
        lines = [f"{self.full_name(i)} slots={slots}\n" for i in range(number)]
        echoes = [f"echo {self.full_name(i)}\n" for i in indices]
        files = {"hostfile": "".join(lines), "discover_hosts.sh": "".join(["#!/bin/sh\n", *echoes])}
        write_volume(self._config, files, 0o555, self._group)

    def start_launcher(self, *more: str) -> None:
        """The launcher's pod; `more` are arguments after those of the manifest."""
        env = {
            "K_MPI_JOB_ROLE": "launcher",
            "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
            "OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile",
            "OMPI_MCA_plm_rsh_args": "-o ConnectionAttempts=10",
            "OMPI_MCA_orte_set_default_slots": str(self.spec["slotsPerWorker"]),
            "NVIDIA_VISIBLE_DEVICES": "",
            "NVIDIA_DRIVER_CAPABILITIES": "",
        }
        name = f"{self.name}-launcher"
        container = self._container("Launcher", name, env, *more)
        host = self._add(container, f"{name}.{self.name}.{NAMESPACE}.svc")
        with self._errors.open("wb") as err:
            self.process = subprocess.Popen(
                [*host.inside(Path("/")), *container.command()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err,
            )  # fmt: skip

    def evict(self, index: int) -> None:
        """End a worker's pod as the kubelet does: its hook, SIGTERM, then all that is left."""
        host = self.network.hosts[f"{self.name}-worker-{index}"]
        container = self._container("Worker", host.name, {})
        hook = self._pod("Worker")["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        grace = self._pod("Worker")["terminationGracePeriodSeconds"]
        subprocess.run(
            [*host.inside(Path("/")), *container.command(hook)], check=True, timeout=grace
        )
        os.kill(host.pid, signal.SIGTERM)
        host.process.wait(grace)

    def stderr(self) -> str:
        """What the launcher has told so far."""
        return self._errors.read_text("utf-8")

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Until something is so; fails when the launcher ends before."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not done():
            assert self.process.poll() is None, self.stderr()
            assert time.monotonic() < deadline, self.stderr()
            time.sleep(0.02)

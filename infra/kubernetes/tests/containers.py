"""Containers on a host of a test: a root file system, mounts, a user without rights.

The root is an overlay, so that nothing that a container writes reaches the file system below it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Container", "Image"]


@dataclass(frozen=True)
class Image:
    """What containers are made of.

    Attributes:
        root: the file system.
        env: the image's own environment.
        entrypoint: what stands before a container's arguments.
        prepare: shell commands that complete the root, whose path is in $R.
        visible: folders outside of the root that a container sees too.
    """

    root: Path
    env: Mapping[str, str]
    entrypoint: Sequence[str] = ()
    prepare: str = ""
    visible: Sequence[Path] = ()


@dataclass(frozen=True)
class Container:
    """A container as a pod's specification has it.

    Attributes:
        binds: folders of this machine, by where the container sees them.
        empty: folders that are empty at the start.
    """

    image: Image
    place: Path
    args: Sequence[str]
    env: Mapping[str, str]
    working_dir: str
    user: int
    group: int
    binds: Mapping[str, Path] = field(default_factory=dict)
    empty: Sequence[str] = ()
    read_only: bool = False

    def set_up(self) -> str:
        """Shell commands, for root in the host's namespaces, that make the root file system."""
        root, lower = shlex.quote(str(self.place / "root")), shlex.quote(str(self.image.root))
        place = shlex.quote(str(self.place))
        lines = [
            f"mkdir -p {place}",
            f"mount -t tmpfs tmpfs {place}",
            f"mkdir {place}/upper {place}/scratch {root}",
            f"mount -t overlay overlay -o lowerdir={lower},upperdir={place}/upper"
            f",workdir={place}/scratch {root}",
            f"R={root}",
            "mkdir -p $R/proc $R/dev $R/sys",
            "mount -t proc proc $R/proc",
            "mount --rbind /dev $R/dev",
            "mount --rbind /sys $R/sys",
            "mount --bind /etc/hosts $R/etc/hosts",
            self.image.prepare,
        ]
        for folder in self.empty:
            lines += [f"mkdir -p $R{folder}", f"mount -t tmpfs -o mode=1777 tmpfs $R{folder}"]
        binds = {**self.binds, **{str(folder): folder for folder in self.image.visible}}
        for inside, folder in binds.items():
            target = shlex.quote(inside)
            lines += [f"mkdir -p $R{target}", f"mount --bind {shlex.quote(str(folder))} $R{target}"]
        for folder in self.image.visible:
            lines += [f"chmod a+x $R{shlex.quote(str(parent))}" for parent in folder.parents]
        if self.read_only:
            lines.append("mount -o remount,ro,bind $R")
        return "\n".join(lines)

    def command(self, args: Sequence[str] | None = None) -> list[str]:
        """What runs in it, or `args` as by `kubectl exec`: a command line for root on the host."""
        words = [*self.image.entrypoint, *self.args] if args is None else args
        env = [f"{name}={value}" for name, value in {**self.image.env, **self.env}.items()]
        return [
            "chroot", str(self.place / "root"), "setpriv", f"--reuid={self.user}",
            f"--regid={self.group}", f"--groups={self.group}", "--no-new-privs",
            "--bounding-set=-all", "--inh-caps=-all", "env", "-i", *env,
            "sh", "-c", 'cd "$0" && exec "$@"', self.working_dir, *words,
        ]  # fmt: skip

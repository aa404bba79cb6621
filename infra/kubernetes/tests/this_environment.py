"""A stand-in for the image in tests: this machine's root, prepared as the Dockerfile does it,
and this interpreter's packages, wherever they lie."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from containers import Image

import hvdcore

__all__ = ["this_environment"]

ROOT = Path(__file__).resolve().parents[3]
DOCKER = ROOT / "infra" / "docker"
PREPARE = """
sed -i '/:1000:/d' $R/etc/passwd $R/etc/group
echo 'trainer:x:1000:1000::/trainer:/bin/sh' >> $R/etc/passwd
echo 'trainer:x:1000:' >> $R/etc/group
mkdir -p $R/trainer $R/etc/mpi $R/etc/ssh/ssh_config.d
cp {ssh_config} $R/etc/ssh/ssh_config.d/hvdcore.conf
cp {sshd_config} $R/etc/ssh/hvdcore_sshd_config
cp {drain} $R/usr/local/bin/drain-ranks
"""


def this_environment() -> Image:
    """Without the entry point, tini, which this machine may not have."""
    names = {"ssh_config": "ssh_config", "sshd_config": "sshd_config", "drain": "drain-ranks"}
    files = {key: shlex.quote(str(DOCKER / name)) for key, name in names.items()}
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/trainer",
    }
    env |= {"XDG_CACHE_HOME": "/data/cache", "MPLCONFIGDIR": "/tmp/matplotlib"}
    if "PYTHONPATH" in os.environ:
        env["PYTHONPATH"] = os.environ["PYTHONPATH"]
    folders = {Path(sys.prefix), Path(sys.base_prefix), Path(hvdcore.__file__).parents[1], ROOT}
    return Image(Path("/"), env, (), PREPARE.format(**files), sorted(folders))

